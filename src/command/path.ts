/**
 * Files by what they are, not by how they are spelt: an output must not replace what another option names.
 *
 * @module
 */

import type { Command } from "commander";
import { basename, dirname, isAbsolute, join, normalize, resolve } from "node:path";
import { misused } from "./option.ts";

/** The longest chain of links that is followed, as Linux has it. */
const hops = 40;

/**
 * Where a path leads through links, also where there is no file yet: what a link without a target would make.
 *
 * @param path The path.
 * @returns A path without links; where that may not be read, the path itself, made absolute.
 */
export async function real(path: string): Promise<string> {
  let at = path;
  for (let i = 0; i < hops; i++) {
    const found = await Deno.realPath(at).catch(() => undefined);
    if (found !== undefined) return found;
    const link = await Deno.readLink(at).catch(() => undefined);
    if (link === undefined) break;
    // From the folder that the link really is in, which `..` leads out of.
    const folder = await Deno.realPath(dirname(at)).catch(() => dirname(at));
    at = isAbsolute(link) ? link : `${folder}/${link}`;
  }
  const folder = await Deno.realPath(dirname(at)).catch(() => resolve(dirname(at)));
  return join(folder, basename(at));
}

/** A file that an option names. */
export interface NamedFile {
  /** The option, as the help has it. */
  readonly option: string;
  /** Where the file is. Default: the option was not given. */
  readonly path?: string | undefined;
  /** Whether it is written. Default: it is only read. */
  readonly written?: boolean;
}

/**
 * Refuses two options that lead to one file, of which one would replace what the other names.
 *
 * @param command The command, which says so and ends.
 * @param files The files; `-`, the standard output, is none.
 */
export async function refuseSameFile(
  command: Command,
  ...files: readonly NamedFile[]
): Promise<void> {
  const seen: (NamedFile & { readonly at: string })[] = [];
  for (const file of files) {
    const { option, path, written = false } = file;
    if (path === undefined || path === "-") continue;
    const at = await real(path);
    const other = seen.find((each) => each.at === at && (each.written || written));
    if (other !== undefined) {
      misused(
        command,
        `options '${other.option}' and '${option}' must be two files, got ${path} for both`,
      );
    }
    seen.push({ ...file, at });
  }
}

/** The place of the number in a pattern, as `savePngs` reads it. */
const field = /%(?:0(\d+))?d|%%/g;

/**
 * Whether a pattern of numbered files leads to a file.
 *
 * @param pattern Such as `out/%04d.png`.
 * @param count How many are written, numbered from 0.
 * @param path The file.
 * @returns Whether it is one of them.
 */
export async function isNumbered(pattern: string, count: number, path: string): Promise<boolean> {
  const name = (number: string): string =>
    pattern.replace(
      field,
      (found, digits) => found === "%%" ? "%" : number.padStart(Number(digits ?? 0), "0"),
    );
  const target = await real(path);
  // Each by itself: a frame's name may be a link to the file, or the file's to a frame.
  for (let number = 0; number < count; number++) {
    if (await real(normalize(name(`${number}`))) === target) return true;
  }
  return false;
}

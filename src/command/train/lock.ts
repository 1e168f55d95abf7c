/**
 * Locks: one run at a time on a file.
 *
 * Beside the file stands another, `….lock`, on which the system holds a lock for as long as the process lives: it is let
 * go however that ends, so that what a killed run has left is no obstacle. In it stands the number of the process, for
 * whoever comes second.
 *
 * Source: The Linux man-pages project, `flock(2)`.
 *
 * @module
 */

import { checkWritable } from "../../io/file.ts";
import { real } from "../path.ts";

/** Lets go of a lock. */
export type Unlock = () => Promise<void>;

/**
 * Where a file's lock is, through links: two names of one file have one lock.
 *
 * @param path The file.
 * @returns The path of the lock.
 */
export const lockOf = async (path: string): Promise<string> => `${await real(path)}.lock`;

/**
 * Locks files, all or none of them.
 *
 * @param paths The files, which need not be there; their folders must.
 * @returns What lets go of them, and takes the locks away.
 * @throws {Error} If another process holds one, with its number; nothing of its is touched. Or if a lock cannot be made.
 */
export async function locked(...paths: readonly string[]): Promise<Unlock> {
  const held: Unlock[] = [];
  const unlock: Unlock = async () => {
    for (const each of held.splice(0).reverse()) await each();
  };
  try {
    for (const path of paths) held.push(await lockedOne(path));
    return unlock;
  } catch (error) {
    await unlock();
    throw error;
  }
}

async function lockedOne(path: string): Promise<Unlock> {
  if ((await Deno.stat(path).catch(() => undefined))?.isFile === false) await checkWritable(path);
  const at = await lockOf(path);
  for (;;) {
    const file = await opened(at, path);
    try {
      if (!await file.tryLock(true)) throw await busy(at, path);
      // Whoever held it may have taken it away before this process had it.
      if (!await isAt(file, at)) {
        file.close();
        continue;
      }
      await file.truncate();
      await file.write(new TextEncoder().encode(`${Deno.pid}\n`));
    } catch (error) {
      file.close();
      throw error;
    }
    return async () => {
      await Deno.remove(at).catch(() => undefined);
      file.close();
    };
  }
}

/** The lock's file; where it cannot be made, what `checkWritable` says of the file that it stands beside. */
async function opened(at: string, path: string): Promise<Deno.FsFile> {
  try {
    return await Deno.open(at, { read: true, write: true, create: true });
  } catch (error) {
    await checkWritable(path);
    throw error;
  }
}

async function isAt(file: Deno.FsFile, path: string): Promise<boolean> {
  const here = await file.stat(), there = await Deno.stat(path).catch(() => undefined);
  return here.ino === there?.ino && here.dev === there?.dev;
}

async function busy(at: string, path: string): Promise<Error> {
  const text = (await Deno.readTextFile(at).catch(() => "")).trim();
  const holder = /^\d+$/.test(text) ? `process ${text}` : "another process";
  return new Error(
    `Cannot train: ${path} must be that of one run, got ${holder} at work on it; wait for it, or stop it`,
  );
}

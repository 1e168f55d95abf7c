/**
 * Files that are there whole or not at all.
 *
 * Bytes go to a new file beside the wanted one, are flushed to the disk, and take the wanted name in one step: POSIX
 * `rename` replaces a file atomically (The Open Group Base Specifications, issue 7, `rename`), so a reader sees
 * the old file or the new one, and a failure leaves the old one as it was. The new file has the permissions and, where the
 * system lets it, the owner of the one that it replaces.
 *
 * @module
 */

import { checkDeno } from "../tensor/backend/runtime.ts";

const folderOf = (path: string): string => path.replace(/[^/\\]*$/, "") || ".";

const beside = (path: string): string => `${path}.${crypto.randomUUID().slice(0, 8)}.part`;

/** What a path leads to. */
interface Target {
  /** The path that was asked for. */
  readonly path: string;
  /** The file that it leads to through links, whether that is there or not. */
  readonly real: string;
  /** What is there now; null where nothing is. */
  readonly old: Deno.FileInfo | null;
}

function refusal({ path, real }: Omit<Target, "old">, cause: unknown): Error {
  const got = cause instanceof Error ? `${cause.name}: ${cause.message}` : String(cause);
  const message = `Cannot write ${path}: folder ${
    folderOf(real)
  } must exist and be writable, got ${got}`;
  return new Error(message, { cause });
}

/** Gives what goes wrong on the disk the file's name; errors of the source of the bytes stay as they are. */
async function onDisk<A>(to: Omit<Target, "old">, action: Promise<A>): Promise<A> {
  try {
    return await action;
  } catch (cause) {
    throw refusal(to, cause);
  }
}

/** The file that a path leads to through links; of a link to nothing, the file that it would lead to. */
async function target(path: string): Promise<Target> {
  checkDeno(`write ${path}`);
  const here = { path, real: path }, old = await onDisk(here, Deno.stat(path).catch(nullIfAbsent));
  if (old === null) return { path, real: await linked(here), old };
  if (old.isFile) return { path, real: await onDisk(here, Deno.realPath(path)), old };
  const kind = old.isDirectory ? "a folder" : "a device or a pipe";
  throw new TypeError(`Cannot write ${path}: path must be that of a file, got ${kind}`);
}

/** Where a path leads at whose end there is nothing: to itself, if it is no link. */
async function linked({ path, real }: Omit<Target, "old">): Promise<string> {
  const here = { path, real }, found = await onDisk(here, Deno.lstat(real).catch(nullIfAbsent));
  if (!found?.isSymlink) return real;
  const next = await onDisk(here, Deno.readLink(real));
  if (/^([/\\]|[A-Za-z]:)/.test(next)) return await linked({ path, real: next });
  // From the folder that the link really is in: Deno takes `..` for the folder before in the text of a path, which is
  // not where it leads behind another link.
  const folder = await onDisk(here, Deno.realPath(folderOf(real)));
  return await linked({ path, real: `${folder}/${next}` });
}

function nullIfAbsent(error: unknown): null {
  if (error instanceof Deno.errors.NotFound) return null;
  throw error;
}

async function writeAll(file: Deno.FsFile, bytes: Uint8Array): Promise<void> {
  for (let done = 0; done < bytes.length;) done += await file.write(bytes.subarray(done));
}

/** A new file beside a target, which nobody else may read before it has the permissions of the old one. */
async function opened(
  to: Target,
): Promise<{ readonly part: string; readonly file: Deno.FsFile }> {
  const part = beside(to.real), mode = to.old?.mode ?? null;
  const asOld = mode === null ? {} : { mode: mode & 0o600 };
  const file = await onDisk(to, Deno.open(part, { write: true, createNew: true, ...asOld }));
  return { part, file };
}

/** Gives a new file the owner and the permissions of the old one. */
async function dressed(part: string, { old }: Target): Promise<void> {
  if (old === null || old.mode === null) return;
  const { uid, gid } = await Deno.stat(part);
  // Only the system's administrator may give files away: without, the file is its writer's, as any new file is.
  if (uid !== old.uid || gid !== old.gid) await Deno.chown(part, old.uid, old.gid).catch(() => {});
  await Deno.chmod(part, old.mode & 0o7777);
}

/** Fills a new file, and takes it away again when the bytes or the disk fail. */
async function filled(to: Target, bytes: AsyncIterable<Uint8Array>): Promise<string> {
  const { part, file } = await opened(to);
  try {
    for await (const chunk of bytes) await onDisk(to, writeAll(file, checked(to, chunk)));
    await onDisk(to, dressed(part, to));
    await onDisk(to, file.sync());
  } catch (error) {
    file.close();
    await Deno.remove(part);
    throw error;
  }
  file.close();
  return part;
}

function checked({ path }: Target, chunk: unknown): Uint8Array {
  if (chunk instanceof Uint8Array) return chunk;
  const got = Object.prototype.toString.call(chunk).slice(8, -1);
  throw new TypeError(`Cannot write ${path}: bytes must be Uint8Arrays, got ${got}`);
}

async function* inOnePart(bytes: Uint8Array): AsyncGenerator<Uint8Array, void, undefined> {
  yield bytes;
}

/**
 * Writes a file whole or not at all: beside it first, flushed to the disk, then renamed over it. Needs the permissions
 * to read and to write the file's folder. A link is followed and stays: the file that it leads to is replaced, or made
 * where there is none yet. A file that is replaced hands on its permissions.
 *
 * @category Files
 * @param path Where to. Its folder must be there.
 * @param bytes The contents, or a stream of them such as a `ReadableStream`, written piece by piece.
 * @returns Once the file bears its name.
 * @throws {Error} If the folder is missing or not writable, or the disk is full; `cause` is the system's error.
 * @throws {TypeError} If the path is that of a folder, a device or a pipe; if the stream yields what are not bytes.
 * @throws What the stream throws. In each case a file that was there is unchanged and nothing half-written is left.
 *
 * @example A stream of two pieces
 * ```ts
 * import { writeAtomically } from "@tweedie/tweedie/io";
 * import assert from "node:assert/strict";
 *
 * const path = `${await Deno.makeTempDir()}/bytes.bin`;
 * await writeAtomically(path, new Blob(["half ", "and half"]).stream());
 * assert.equal(await Deno.readTextFile(path), "half and half");
 * ```
 */
export async function writeAtomically(
  path: string,
  bytes: Uint8Array | AsyncIterable<Uint8Array>,
): Promise<void> {
  const to = await target(path);
  const part = await filled(to, bytes instanceof Uint8Array ? inOnePart(bytes) : bytes);
  try {
    await onDisk(to, Deno.rename(part, to.real));
  } catch (error) {
    await Deno.remove(part);
    throw error;
  }
}

/**
 * Finds out whether a file could be written, before the work that makes its bytes: creates a file beside it and removes
 * it again.
 *
 * @category Files
 * @param path Where the file is to go.
 * @returns Once it is known that {@link writeAtomically} can start.
 * @throws {Error} If the folder is missing or not writable; `cause` is the system's error.
 * @throws {TypeError} If the path is that of a folder, a device or a pipe.
 *
 * @example A folder that is not there
 * ```ts
 * import { checkWritable } from "@tweedie/tweedie/io";
 * import assert from "node:assert/strict";
 *
 * const path = `${await Deno.makeTempDir()}/missing/bytes.bin`;
 * await assert.rejects(checkWritable(path), /folder .*missing\/ must exist and be writable, got NotFound/);
 * ```
 */
export async function checkWritable(path: string): Promise<void> {
  const to = await target(path), { part, file } = await opened(to);
  file.close();
  await onDisk(to, Deno.remove(part));
}

/**
 * Files that are there whole or not at all.
 *
 * Bytes go to a new file beside the wanted one, are flushed to the disk, and take the wanted name in one step: POSIX
 * `rename` replaces a file atomically (The Open Group Base Specifications, issue 7, `rename`), so a reader sees
 * the old file or the new one, and a failure leaves the old one as it was.
 *
 * @module
 */

const folderOf = (path: string): string => path.replace(/[^/\\]*$/, "") || ".";

const beside = (path: string): string => `${path}.${crypto.randomUUID().slice(0, 8)}.part`;

function refusal(path: string, cause: unknown): Error {
  const got = cause instanceof Error ? `${cause.name}: ${cause.message}` : String(cause);
  const message = `Cannot write ${path}: folder ${
    folderOf(path)
  } must exist and be writable, got ${got}`;
  return new Error(message, { cause });
}

/** Gives what goes wrong on the disk the file's name; errors of the source of the bytes stay as they are. */
async function onDisk<A>(path: string, action: Promise<A>): Promise<A> {
  try {
    return await action;
  } catch (cause) {
    throw refusal(path, cause);
  }
}

/** The file that a path leads to through links, or the path itself where there is none yet. */
async function target(path: string): Promise<string> {
  const found = await onDisk(path, Deno.stat(path).catch(nullIfAbsent));
  if (found === null) return path;
  if (found.isFile) return await onDisk(path, Deno.realPath(path));
  const kind = found.isDirectory ? "a folder" : "a device or a pipe";
  throw new TypeError(`Cannot write ${path}: path must be that of a file, got ${kind}`);
}

function nullIfAbsent(error: unknown): null {
  if (error instanceof Deno.errors.NotFound) return null;
  throw error;
}

async function writeAll(file: Deno.FsFile, bytes: Uint8Array): Promise<void> {
  for (let done = 0; done < bytes.length;) done += await file.write(bytes.subarray(done));
}

/** Fills a new file, and takes it away again when the bytes or the disk fail. */
async function filled(part: string, path: string, bytes: AsyncIterable<Uint8Array>): Promise<void> {
  const file = await onDisk(path, Deno.open(part, { write: true, createNew: true }));
  try {
    for await (const chunk of bytes) await onDisk(path, writeAll(file, chunk));
    await onDisk(path, file.sync());
  } catch (error) {
    file.close();
    await Deno.remove(part);
    throw error;
  }
  file.close();
}

async function* whole(bytes: Uint8Array): AsyncGenerator<Uint8Array, void, undefined> {
  yield bytes;
}

/**
 * Writes a file whole or not at all: beside it first, flushed to the disk, then renamed over it. Needs the permissions
 * to read and to write the file's folder. A link is followed; the file that it leads to is replaced.
 *
 * @param path Where to. Its folder must be there.
 * @param bytes The contents, or a stream of them such as a `ReadableStream`, written piece by piece.
 * @returns Once the file bears its name.
 * @throws {Error} If the folder is missing or not writable, or the disk is full; `cause` is the system's error.
 * @throws {TypeError} If the path is that of a folder, a device or a pipe.
 * @throws What the stream throws. In each case a file that was there is unchanged and nothing half-written is left.
 *
 * @example A stream of two pieces
 * ```ts
 * import { writeAtomically } from "@tweedie/tweedie";
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
  const real = await target(path), part = beside(real);
  await filled(part, path, bytes instanceof Uint8Array ? whole(bytes) : bytes);
  try {
    await onDisk(path, Deno.rename(part, real));
  } catch (error) {
    await Deno.remove(part);
    throw error;
  }
}

/**
 * Finds out whether a file could be written, before the work that makes its bytes: creates a file beside it and removes
 * it again.
 *
 * @param path Where the file is to go.
 * @returns Once it is known that {@link writeAtomically} can start.
 * @throws {Error} If the folder is missing or not writable; `cause` is the system's error.
 * @throws {TypeError} If the path is that of a folder, a device or a pipe.
 *
 * @example A folder that is not there
 * ```ts
 * import { checkWritable } from "@tweedie/tweedie";
 * import assert from "node:assert/strict";
 *
 * const path = `${await Deno.makeTempDir()}/missing/bytes.bin`;
 * await assert.rejects(checkWritable(path), /folder .*missing\/ must exist and be writable, got NotFound/);
 * ```
 */
export async function checkWritable(path: string): Promise<void> {
  const part = beside(await target(path));
  (await onDisk(path, Deno.open(part, { write: true, createNew: true }))).close();
  await onDisk(path, Deno.remove(part));
}

/**
 * Regular files, opened for reading piece by piece: a reader knows the size before it reads, and holds no more than it
 * asks for.
 *
 * @module
 */

import { checkDeno } from "../../tensor/backend/runtime.ts";
import { refusal } from "../../tensor/check/check.ts";

/** A file that is open for reading. */
export interface OpenFile {
  /** Its size in bytes, as it was when it was opened. */
  readonly size: number;
  /**
   * Fills an array with the bytes that follow an offset, and gives the array back; an error where the file ends before,
   * which then has changed.
   */
  readonly fill: <B extends Uint8Array>(bytes: B, offset: number) => Promise<B>;
}

/**
 * A file by its path, or the bytes of one.
 *
 * @category Data
 */
export type FileSource = string | Uint8Array;

/** What messages call a file: its path, where it has one. */
export const nameOf = (source: FileSource): string =>
  typeof source === "string" ? source : "the bytes";

/**
 * Opens a file, and closes it again; bytes in memory, in any runtime, stand for a file of them.
 *
 * @param source Where it is, or its bytes.
 * @param use What is done with it.
 * @returns What `use` gives.
 * @throws {TypeError} If the path is that of a folder, a device or a pipe: these have no size, and some no end.
 * @throws {Deno.errors.NotFound} If there is no such file.
 * @throws {Error} If this is not Deno.
 * @throws What `use` throws.
 */
export async function withFile<A>(
  source: FileSource,
  use: (file: OpenFile) => Promise<A>,
): Promise<A> {
  if (source instanceof Uint8Array) return await use(inMemory(source));
  const path = source;
  checkDeno(`read ${path}`, "; give its bytes instead");
  // Before it is opened: a pipe that nobody writes to would not let go.
  checkKind(path, await Deno.stat(path));
  const file = await Deno.open(path);
  try {
    const { size } = await file.stat();
    return await use({ size, fill: (bytes, offset) => filled(file, bytes, { path, offset }) });
  } finally {
    file.close();
  }
}

const inMemory = (all: Uint8Array): OpenFile => ({
  size: all.length,
  fill: (bytes, offset) => {
    bytes.set(all.subarray(offset, offset + bytes.length));
    return Promise.resolve(bytes);
  },
});

function checkKind(path: string, { isFile, isDirectory }: Deno.FileInfo): void {
  if (isFile) return;
  const kind = isDirectory ? "a directory" : "a device or a pipe";
  throw new TypeError(`Cannot read ${path}: path must be that of a file, got ${kind}`);
}

async function filled<B extends Uint8Array>(
  file: Deno.FsFile,
  bytes: B,
  { path, offset }: { readonly path: string; readonly offset: number },
): Promise<B> {
  await file.seek(offset, Deno.SeekMode.Start);
  for (let done = 0; done < bytes.length;) {
    const read = await file.read(bytes.subarray(done));
    if (read === null) {
      throw new Error(
        `Cannot read ${path}: the file must stay as it is while it is read, got its end at byte ${
          offset + done
        }`,
      );
    }
    done += read;
  }
  return bytes;
}

/**
 * New bytes, or an error that says what was too large for the memory.
 *
 * @param action What could not be done, such as `"decode IDX"`.
 * @param what What the bytes are of, such as `"the data"`.
 * @param length How many.
 * @returns The bytes, all 0.
 * @throws {RangeError} If there is no room for them.
 */
export function room(action: string, what: string, length: number): Uint8Array<ArrayBuffer> {
  try {
    return new Uint8Array(length);
  } catch {
    throw refusal(action, `the bytes of ${what} must fit into memory`, length);
  }
}

/** What a folder holds under a name. */
export interface FolderEntry {
  /** The name. */
  readonly name: string;
  /** What it is, through links; a link to nothing is other. */
  readonly kind: "file" | "folder" | "other";
}

/**
 * What a folder holds, in the order of the names.
 *
 * @param path The folder.
 * @returns Its entries, by the order of the code units of their names; nothing where there is no such folder.
 * @throws The system's error if it may not be read.
 */
export async function entriesOf(path: string): Promise<FolderEntry[] | undefined> {
  try {
    const entries: FolderEntry[] = [];
    for await (const entry of Deno.readDir(path)) {
      const { isFile, isDirectory } = entry.isSymlink
        ? await Deno.stat(`${path}/${entry.name}`).catch(() => entry)
        : entry;
      const kind = isFile ? "file" : isDirectory ? "folder" : "other";
      entries.push({ name: entry.name, kind });
    }
    return entries.sort((a, b) => a.name < b.name ? -1 : 1);
  } catch (error) {
    if (isAbsence(error)) return undefined;
    throw error;
  }
}

/** Whether there is a file, through links. */
export async function isFile(path: string): Promise<boolean> {
  try {
    return (await Deno.stat(path)).isFile;
  } catch (error) {
    if (isAbsence(error)) return false;
    throw error;
  }
}

const isAbsence = (error: unknown): boolean =>
  error instanceof Deno.errors.NotFound || error instanceof Deno.errors.NotADirectory;

/** SHA-256 in hexadecimal. */
export async function sha256(bytes: Uint8Array): Promise<string> {
  const hash = await crypto.subtle.digest("SHA-256", bytes as Uint8Array<ArrayBuffer>);
  return Array.from(new Uint8Array(hash), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

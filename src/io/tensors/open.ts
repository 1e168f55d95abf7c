/**
 * A safetensors file that is open: its header is read and held against its size, its tensors come when they are asked for.
 *
 * @module
 */

import { type FileSource, nameOf, type OpenFile, room, withFile } from "../../data/file/file.ts";
import { type HostTensor, tensorOn } from "./dtype.ts";
import { type Entry, type Header, headerLength, headerOf, shown } from "./header.ts";

/** An open file. */
export interface OpenTensors extends Header {
  /** Reads tensors by their names; each has memory of its own. */
  readonly read: (names: readonly string[]) => Promise<Record<string, HostTensor>>;
}

/**
 * Opens a safetensors file, and closes it again.
 *
 * @param source Where it is, or its bytes.
 * @param use What is done with it.
 * @returns What `use` gives.
 * @throws {SyntaxError} If the header is damaged or the file is not of the size that it says, with the path.
 * @throws {TypeError} If the path is that of a directory, a device or a pipe.
 * @throws {Deno.errors.NotFound} If there is no such file.
 * @throws What `use` throws.
 */
export async function withTensors<A>(
  source: FileSource,
  use: (file: OpenTensors) => Promise<A>,
): Promise<A> {
  return await withFile(source, async (file) => {
    const { start, ...header } = await headerIn(file, nameOf(source));
    const entries = new Map(header.entries.map((entry) => [entry.name, entry]));
    const read = async (names: readonly string[]): Promise<Record<string, HostTensor>> => {
      const tensors: [string, HostTensor][] = [];
      for (const name of names) {
        tensors.push([name, await tensorIn(file, start, entries.get(name)!)]);
      }
      return Object.fromEntries(tensors);
    };
    return await use({ ...header, read });
  });
}

/** The header, and where the data begin. */
async function headerIn(
  file: OpenFile,
  path: string,
): Promise<Header & { readonly start: number }> {
  try {
    const first = await file.fill(new Uint8Array(Math.min(8, file.size)), 0);
    const start = 8 + headerLength(first, file.size);
    const bytes = await file.fill(room("decode safetensors", "the header", start - 8), 8);
    return { ...headerOf(bytes, file.size - start), start };
  } catch (cause) {
    if (!(cause instanceof SyntaxError)) throw cause;
    throw new SyntaxError(`${cause.message}, in ${path}`, { cause });
  }
}

async function tensorIn(
  file: OpenFile,
  start: number,
  { name, dtype, shape, begin, end }: Entry,
): Promise<HostTensor> {
  const bytes = room("decode safetensors", `tensor ${shown(name)}`, end - begin);
  const { buffer } = await file.fill(bytes, start + begin);
  return tensorOn(dtype, shape, buffer);
}

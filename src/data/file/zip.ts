/**
 * ZIP archives, as far as `.npz` files use them: stored or deflated entries, found through the directory at the end.
 *
 * The directory says how large each entry is, which is held against the bytes that there are before memory is taken, and
 * against the CRC-32 of what was unpacked.
 *
 * Sources: PKWARE, "APPNOTE.TXT: .ZIP file format specification" 6.3, sections 4.3.7 (local header), 4.3.12 (directory),
 * 4.3.16 (its end); P. Deutsch, "DEFLATE compressed data format specification", RFC 1951, section 3.2.5.
 *
 * @module
 */

import { type OpenFile, room } from "./file.ts";

/** An entry of an archive. */
export interface ZipEntry {
  /** Its name. */
  readonly name: string;
  /** How it is compressed: 0 not at all, 8 by deflate. */
  readonly method: number;
  /** Its bytes in the file. */
  readonly packed: number;
  /** Its bytes. */
  readonly size: number;
  /** Where its local header begins. */
  readonly at: number;
  /** CRC-32 of its bytes. */
  readonly crc: number;
}

const action = "read a ZIP archive";

const unfit = (what: string, wanted: string, got: unknown): SyntaxError =>
  new SyntaxError(`Cannot ${action}: ${what} must be ${wanted}, got ${got}`);

/** The end of the directory: 22 bytes, and a comment of at most 65535. */
const end = 22, longestComment = 65535;

/** Most bytes that one byte of deflate stands for. */
const ratio = 1032;

const viewOf = (bytes: Uint8Array): DataView =>
  new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);

/**
 * The entries of an archive, from its directory.
 *
 * @param file The archive.
 * @returns Its entries in the order of the directory.
 * @throws {SyntaxError} If it is damaged or encrypted, if it or an entry has 4 GiB or more, or an entry says that it is larger
 * than its bytes can unpack to.
 */
export async function zipEntries(file: OpenFile): Promise<ZipEntry[]> {
  const from = Math.max(0, file.size - end - longestComment);
  const tail = await file.fill(new Uint8Array(file.size - from), from);
  let at = tail.length - end;
  while (at >= 0 && viewOf(tail).getUint32(at, true) !== 0x06054b50) at--;
  if (at < 0) throw unfit("the file", "whole, with a directory at its end", "none");
  const view = viewOf(tail), count = view.getUint16(at + 10, true);
  const size = view.getUint32(at + 12, true), start = view.getUint32(at + 16, true);
  if (count === 0xffff || size === 0xffffffff || start === 0xffffffff) {
    throw unfit("the file", "smaller than 4 GiB", "one of ZIP64");
  }
  if (start + size > file.size) throw unfit("the directory", "within the file", start + size);
  const bytes = await file.fill(room(action, "the directory", size), start);
  const entries: ZipEntry[] = [];
  for (let from = 0; entries.length < count;) {
    const [entry, length] = entryOf(bytes.subarray(from), file.size);
    entries.push(entry);
    from += length;
  }
  return entries;
}

/** An entry of the directory, and how long it is. */
function entryOf(bytes: Uint8Array, fileSize: number): readonly [ZipEntry, number] {
  const view = viewOf(bytes);
  if (bytes.length < 46 || view.getUint32(0, true) !== 0x02014b50) {
    throw unfit("the directory", "whole", "something else in place of an entry");
  }
  const [names, extras, comments] = [28, 30, 32].map((at) => view.getUint16(at, true));
  const entry = {
    name: new TextDecoder().decode(bytes.subarray(46, 46 + names!)),
    method: view.getUint16(10, true),
    crc: view.getUint32(16, true),
    packed: view.getUint32(20, true),
    size: view.getUint32(24, true),
    at: view.getUint32(42, true),
  };
  const { name, method, packed, size, at } = entry;
  if (view.getUint16(8, true) & 1) throw unfit(name, "plain", "an encrypted entry");
  if (method !== 0 && method !== 8) throw unfit(name, "stored or deflated", `method ${method}`);
  if (size === 0xffffffff || at + 30 + packed > fileSize) {
    throw unfit(name, `within the file of ${fileSize} bytes`, `${packed} bytes at ${at}`);
  }
  if (method === 0 ? size !== packed : size > ratio * packed) {
    throw unfit(`the size of ${name}`, `what ${packed} bytes can hold`, size);
  }
  return [entry, 46 + names! + extras! + comments!];
}

/** Bytes that are read and unpacked at a time. */
const piece = 65536;

/**
 * The bytes of an entry.
 *
 * @param file The archive.
 * @param entry The entry.
 * @returns As many bytes as it says.
 * @throws {SyntaxError} If they are damaged, or more or fewer.
 * @throws {RangeError} If there is no room for them.
 */
export async function zipBytes(file: OpenFile, entry: ZipEntry): Promise<Uint8Array> {
  const { name, method, packed, size, at, crc } = entry;
  const head = viewOf(await file.fill(new Uint8Array(30), at));
  if (head.getUint32(0, true) !== 0x04034b50) throw unfit(name, "where it is said to be", "none");
  const start = at + 30 + head.getUint16(26, true) + head.getUint16(28, true);
  if (start + packed > file.size) throw unfit(name, "within the file", `its end at ${file.size}`);
  const out = room(action, name, size);
  let filled = 0;
  const put = (data: Uint8Array): void => {
    if (filled + data.length > size) throw unfit(name, `${size} bytes`, "more");
    out.set(data, filled);
    filled += data.length;
  };
  const take = method === 0 ? put : await inflater(put);
  for (let from = 0; from < packed; from += piece) {
    const bytes = await file.fill(new Uint8Array(Math.min(piece, packed - from)), start + from);
    try {
      take(bytes);
    } catch (cause) {
      if (cause instanceof SyntaxError) throw cause;
      throw unfit(name, "whole", `"${cause instanceof Error ? cause.message : cause}"`);
    }
  }
  if (filled !== size) throw unfit(name, `${size} bytes`, filled);
  if (crc32(out) !== crc) throw unfit(`the CRC-32 of ${name}`, "that of its bytes", "another");
  return out;
}

/** Unpacks what it is given, a little at a time, since much may come of it. */
async function inflater(put: (data: Uint8Array) => void): Promise<(bytes: Uint8Array) => void> {
  const { Inflate } = await import("fflate"), inflate = new Inflate(put), little = 16384;
  return (bytes) => {
    for (let at = 0; at < bytes.length; at += little) inflate.push(bytes.subarray(at, at + little));
  };
}

/** The remainders of all bytes by the polynomial of CRC-32, its bits reversed. */
const remainders = Uint32Array.from({ length: 256 }, (_, byte) => {
  for (let bit = 0; bit < 8; bit++) byte = byte & 1 ? byte >>> 1 ^ 0xedb88320 : byte >>> 1;
  return byte;
});

function crc32(bytes: Uint8Array): number {
  let crc = -1;
  for (let i = 0; i < bytes.length; i++) crc = crc >>> 8 ^ remainders[(crc ^ bytes[i]!) & 255]!;
  return ~crc >>> 0;
}

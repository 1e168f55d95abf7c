/**
 * Unpacking gzip piece by piece, in any runtime.
 *
 * A file is one member or several, each a header, deflated data, and a trailer of the CRC-32 and the length of what the
 * data unpack to. The data are inflated by fflate, which leaves the trailers unread; they are held against the data here.
 *
 * Sources: P. Deutsch, "GZIP file format specification", RFC 1952, sections 2.2 and 2.3.1; "Portable Network Graphics
 * (PNG) Specification (Third Edition)", W3C, annex D (the CRC).
 *
 * @module
 */

import { Gunzip } from "fflate";

/** The remainders of all bytes by the polynomial of CRC-32, its bits reversed. */
const remainders = Uint32Array.from({ length: 256 }, (_, byte) => {
  for (let bit = 0; bit < 8; bit++) byte = byte & 1 ? byte >>> 1 ^ 0xedb88320 : byte >>> 1;
  return byte;
});

/**
 * The CRC-32 of bytes, or of bytes that follow others.
 *
 * @param bytes The bytes.
 * @param before The CRC-32 of those before. Default: 0, that of none.
 * @returns A whole number in [0, 2^32).
 */
export function crc32(bytes: Uint8Array, before = 0): number {
  let crc = ~before;
  for (let i = 0; i < bytes.length; i++) crc = crc >>> 8 ^ remainders[(crc ^ bytes[i]!) & 255]!;
  return ~crc >>> 0;
}

/** Two pieces in one. */
export function joined(a: Uint8Array, b: Uint8Array): Uint8Array<ArrayBuffer> {
  const both = new Uint8Array(a.length + b.length);
  both.set(a);
  both.set(b, a.length);
  return both;
}

/** How long a member's header and the trailer before it may be: a header holds a file's name, at most. */
const longestHeader = 8192;

/**
 * Unpacks gzip. A piece of n bytes unpacks to at most 1032·n at a time.
 *
 * @returns A function of the packed bytes, piece by piece, and whether a piece is the last; it gives what they unpack to,
 * and throws an error if the data are damaged or cut short.
 */
export function gunzip(): (packed: Uint8Array, last: boolean) => Uint8Array[] {
  let found: Uint8Array[] = [], crc = 0, length = 0;
  // The end of what has come: a member's trailer is looked at when the next one's header has been read.
  let recent = new Uint8Array(), seen = 0;
  const stream = new Gunzip((data) => {
    found.push(data);
    crc = crc32(data, crc);
    length = length + data.length >>> 0;
  });
  const checkTrailer = (end: number): void => {
    const at = recent.length - (seen - end) - 8;
    if (at < 0) throw new Error("unexpected end");
    const view = new DataView(recent.buffer, recent.byteOffset);
    if (view.getUint32(at, true) !== crc) throw new Error("incorrect data check");
    if (view.getUint32(at + 4, true) !== length) throw new Error("incorrect length check");
  };
  stream.onmember = (start) => {
    checkTrailer(start);
    crc = length = 0;
  };
  return (packed, last) => {
    recent = joined(recent.subarray(-longestHeader), packed);
    seen += packed.length;
    found = [];
    stream.push(packed, last);
    if (last) checkTrailer(seen);
    return found;
  };
}

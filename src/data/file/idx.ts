/**
 * IDX files: arrays of bytes with a shape, compressed by gzip or not.
 *
 * The header comes first, and says how many bytes there are. So no more is read, or unpacked, than it promises, and what
 * it promises is held against the size of the file before: a compressed byte holds at most 1032 bytes, as deflate's
 * shortest code of a repetition, 2 bits, stands for at most 258.
 *
 * Sources: Y. LeCun, C. Cortes, C. Burges, "The MNIST database of handwritten digits" (the IDX format); P. Deutsch,
 * "DEFLATE compressed data format specification", RFC 1951, section 3.2.5.
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
import type * as nodeStream from "node:stream";
import type * as nodeZlib from "node:zlib";
import { builtin } from "../../tensor/backend/runtime.ts";
import { type OpenFile, room, withFile } from "./file.ts";
import { gunzip, joined } from "./gzip.ts";

/**
 * An array of bytes with a shape, as an IDX file holds it.
 *
 * @category Data
 */
export interface IdxArray {
  /** Size of each axis, at least one. */
  readonly shape: readonly number[];
  /** The bytes, the last axis fastest. */
  readonly data: Uint8Array;
}

/** What a header says. */
interface Layout {
  /** Size of each axis. */
  readonly shape: readonly number[];
  /** Where the data begin. */
  readonly start: number;
  /** How many bytes of data there are. */
  readonly length: number;
}

/** Element types of IDX by their code. */
const idxTypes: Readonly<Record<number, string>> = {
  0x08: "unsigned byte",
  0x09: "signed byte",
  0x0b: "short",
  0x0c: "int",
  0x0d: "float",
  0x0e: "double",
};

/** Length of the longest header: one byte gives the rank. */
const longest = 4 + 4 * 255;

/** Most bytes that one byte of deflate stands for. */
const ratio = 1032;

function fault(what: string, wanted: string, got: unknown): SyntaxError {
  return new SyntaxError(`Cannot decode IDX: ${what} must be ${wanted}, got ${got}`);
}

/**
 * Reads an IDX file of unsigned bytes, compressed by gzip or not.
 *
 * @category Data
 * @param bytes The whole file.
 * @returns Shape and data. The data are a view into the bytes where these are not compressed.
 * @throws {SyntaxError} If the compressed data are damaged, the elements are not unsigned bytes, or there are more or
 * fewer of them than the header says; no more than that are unpacked.
 * @throws {RangeError} If there is no room in memory for what the header says.
 *
 * @example Two numbers
 * ```ts
 * import { decodeIdx } from "@tweedie/tweedie/data";
 * import assert from "node:assert/strict";
 *
 * const { shape, data } = decodeIdx(new Uint8Array([0, 0, 8, 1, 0, 0, 0, 2, 40, 41]));
 * assert.deepEqual([shape, [...data]], [[2], [40, 41]]);
 * ```
 */
export function decodeIdx(bytes: Uint8Array): IdxArray {
  if (isGzip(bytes)) return unpacked(bytes);
  const layout = layoutOf(bytes), data = bytes.subarray(layout.start);
  checkLength(layout, data.length);
  return { shape: layout.shape, data };
}

const isGzip = (bytes: Uint8Array): boolean => bytes[0] === 0x1f && bytes[1] === 0x8b;

/** By Node's zlib where it is there, which is faster, else by fflate. */
function unpacked(bytes: Uint8Array): IdxArray {
  const zlib = builtin<Zlib>("node:zlib");
  return zlib ? unpackedBy(zlib, bytes) : unpackedAnywhere(bytes);
}

type Zlib = typeof nodeZlib;

function unpackedBy(zlib: Zlib, bytes: Uint8Array): IdxArray {
  const layout = layoutOf(beginning(zlib, bytes)), { shape, start } = layout;
  checkPacked(layout, bytes.length);
  const { buffer, byteOffset, byteLength } = unzipped(zlib, bytes, layout);
  const data = new Uint8Array(buffer, byteOffset, byteLength).subarray(start);
  checkLength(layout, data.length);
  return { shape, data };
}

/** The first bytes of what is compressed, as many as a header can have, or all. */
function beginning({ constants, gunzipSync }: Zlib, bytes: Uint8Array): Uint8Array {
  for (let size = 1024;; size *= 2) {
    const begun = attempt(() =>
      gunzipSync(bytes.subarray(0, size), { finishFlush: constants.Z_SYNC_FLUSH })
    );
    if (begun.length >= longest || size >= bytes.length) return begun;
  }
}

/** All that is compressed, in one piece of memory, if it is no more than was promised. */
function unzipped({ gunzipSync }: Zlib, bytes: Uint8Array, layout: Layout): Uint8Array {
  const most = layout.start + layout.length;
  try {
    return attempt(() =>
      gunzipSync(bytes, { maxOutputLength: most, chunkSize: Math.max(most, 64) })
    );
  } catch (cause) {
    if (codeOf((cause as Error).cause) === "ERR_BUFFER_TOO_LARGE") throw tooMany(layout);
    if ((cause as Error).cause instanceof RangeError) room("decode IDX", "the data", most);
    throw cause;
  }
}

/** How many bytes are given to fflate at a time: those of a bomb are 1032 times as many before it is noticed. */
const smallPiece = 16384;

/** The same without zlib, in any runtime. */
function unpackedAnywhere(bytes: Uint8Array): IdxArray {
  const unzip = gunzip(), filling = fillingOf(bytes.length);
  for (let at = 0; at < bytes.length; at += smallPiece) {
    const packed = bytes.subarray(at, at + smallPiece), end = at + smallPiece >= bytes.length;
    attempt(() => unzip(packed, end)).forEach(filling.put);
  }
  return filling.end();
}

const codeOf = (error: unknown): unknown => (Object(error) as { readonly code?: unknown }).code;

/** Gives what goes wrong with compressed data the grammar of this file. */
function attempt<A>(unzip: () => A): A {
  try {
    return unzip();
  } catch (cause) {
    throw damaged(cause);
  }
}

function damaged(cause: unknown): SyntaxError {
  const error = fault("gzip data", "whole", `an error: ${(cause as Error).message}`);
  error.cause = cause;
  return error;
}

/** What the header says: 0, 0, type, rank, and a big-endian 32-bit size for each axis. */
function layoutOf(bytes: Uint8Array): Layout {
  if (bytes.length < 4) throw fault("file", "at least 4 bytes", bytes.length);
  const [zero, zero2, type, rank] = bytes as unknown as [number, number, number, number];
  if (zero || zero2) throw fault("first two bytes", "0, 0", `${zero}, ${zero2}`);
  if (type !== 8) {
    throw fault("element type", "8 (unsigned byte)", `${type} (${idxTypes[type] ?? "unknown"})`);
  }
  if (rank === 0) throw fault("rank", "at least 1", rank);
  const start = 4 + 4 * rank;
  if (bytes.length < start) throw fault(`header of rank ${rank}`, `${start} bytes`, bytes.length);
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  const shape = Array.from({ length: rank }, (_, axis) => view.getUint32(4 + 4 * axis));
  return { shape, start, length: tf.util.sizeFromShape(shape) };
}

const promised = ({ shape, length }: Layout): string =>
  `${length} bytes (shape ${shape.join("x")})`;

function checkLength(layout: Layout, got: number): void {
  if (got !== layout.length) throw fault("data", promised(layout), got);
}

const tooMany = (layout: Layout): SyntaxError => fault("data", promised(layout), "more");

/** Refuses a promise that so few compressed bytes cannot keep. */
function checkPacked(layout: Layout, size: number): void {
  if (layout.start + layout.length <= ratio * size) return;
  throw fault("data", promised(layout), `at most ${ratio * size} out of ${size} compressed bytes`);
}

/**
 * Reads an IDX file of unsigned bytes, compressed by gzip or not: header and size first, then no more than these say.
 *
 * @category Data
 * @param path Where it is.
 * @returns Shape and data.
 * @throws {SyntaxError} If the file is damaged, as {@link decodeIdx} does, with the path.
 * @throws {RangeError} If there is no room in memory for what the header says.
 * @throws {TypeError} If the path is that of a directory, a device or a pipe.
 * @throws {Deno.errors.NotFound} If there is no such file.
 */
export async function readIdx(path: string): Promise<IdxArray> {
  try {
    return await withFile(path, decoded);
  } catch (cause) {
    if (!(cause instanceof SyntaxError)) throw cause;
    throw new SyntaxError(`${cause.message}, in ${path}`, { cause });
  }
}

async function decoded(file: OpenFile): Promise<IdxArray> {
  const head = await file.fill(new Uint8Array(Math.min(longest, file.size)), 0);
  if (isGzip(head)) return await inflated(file);
  const layout = layoutOf(head), { shape, start, length } = layout;
  checkLength(layout, file.size - start);
  return { shape, data: await file.fill(room("decode IDX", "the data", length), start) };
}

/** Unpacks piece by piece, and stops at the first byte that was not promised. */
async function inflated(file: OpenFile): Promise<IdxArray> {
  const filling = fillingOf(file.size);
  for await (const piece of gunzipped(file)) filling.put(piece);
  return filling.end();
}

/** An array that is filled by what is unpacked, as it comes. */
interface Filling {
  /** Takes the next bytes; an error at the first that was not promised. */
  readonly put: (next: Uint8Array) => void;
  /** The array, once all has been taken. */
  readonly end: () => IdxArray;
}

/** Fills an array out of so many compressed bytes. */
function fillingOf(size: number): Filling {
  let head: Uint8Array = new Uint8Array(), found: { layout: Layout; data: Uint8Array } | undefined;
  let filled = 0;
  return {
    put(next): void {
      let piece = next;
      if (found === undefined) {
        head = joined(head, next);
        if (head.length < 4 || head.length < 4 + 4 * head[3]!) return;
        const layout = layoutOf(head);
        checkPacked(layout, size);
        found = { layout, data: room("decode IDX", "the data", layout.length) };
        piece = head.subarray(layout.start);
      }
      if (filled + piece.length > found.data.length) throw tooMany(found.layout);
      found.data.set(piece, filled);
      filled += piece.length;
    },
    end(): IdxArray {
      const layout = found?.layout ?? layoutOf(head);
      checkLength(layout, filled);
      return { shape: layout.shape, data: found!.data };
    },
  };
}

/** How many bytes are read, or unpacked, at a time. */
const pieceSize = 65536;

async function* pieces(file: OpenFile): AsyncGenerator<Uint8Array, void, undefined> {
  for (let at = 0; at < file.size; at += pieceSize) {
    yield await file.fill(new Uint8Array(Math.min(pieceSize, file.size - at)), at);
  }
}

async function* gunzipped(file: OpenFile): AsyncGenerator<Uint8Array, void, undefined> {
  // Files are opened by Deno, which has both modules.
  const { Readable } = builtin<typeof nodeStream>("node:stream")!;
  const gunzip = builtin<Zlib>("node:zlib")!.createGunzip({ chunkSize: pieceSize });
  const packed = Readable.from(pieces(file));
  packed.on("error", (error) => gunzip.destroy(error));
  try {
    yield* packed.pipe(gunzip);
  } catch (cause) {
    throw String(codeOf(cause)).startsWith("Z_") ? damaged(cause) : cause;
  } finally {
    packed.destroy();
    gunzip.destroy();
  }
}

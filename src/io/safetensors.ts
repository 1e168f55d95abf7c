/**
 * Named tensors in one file: the safetensors format.
 *
 * A file is an unsigned 64-bit length N, N bytes of JSON that give every tensor's element type, shape and byte range,
 * and the ranges themselves, one behind the other without holes. Reading runs no code and trusts nothing: whatever
 * the header says is held against the bytes that are there before a tensor is made. Numbers are little-endian, as is
 * every machine that Deno runs on.
 *
 * Source: "Safetensors", section "Format", https://github.com/huggingface/safetensors. Its unlisted rules (the header's
 * limit of 100 MB, no holes, no trailing bytes) are kept too.
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
import { refusal } from "../tensor/check/check.ts";
import { decoded, type Rules } from "../tensor/check/decode.ts";
import { room } from "../data/file/file.ts";
import { writeAtomically } from "./file.ts";
import {
  constructors,
  type Dtype,
  floats,
  holderOf,
  type HostArrays,
  type HostTensor,
  type HostTensors,
  isDtype,
  isFloat,
  isHeld,
  tensorOn,
  widthOf,
} from "./tensors/dtype.ts";
import { narrowHalves } from "../data/file/half.ts";
import {
  type Entry,
  headerLength,
  headerLimit,
  headerOf,
  isCount,
  isRecord,
  reserved,
  shown,
} from "./tensors/header.ts";
import { withTensors } from "./tensors/open.ts";

export { type Dtype, floats, type HostArrays, type HostTensor, type HostTensors };

/**
 * The element types in which floats can be stored.
 *
 * @category Files
 */
export type FloatDtype = "F32" | "F16";

/**
 * Options of {@link encodeSafetensors} and {@link writeSafetensors}.
 *
 * @category Files
 */
export interface SafetensorsOptions {
  /**
   * Store floats (F64, F32, F16, BF16, F8) as this type, or those of the tensors named here, rounded to the nearest,
   * ties to even. Other tensors keep theirs. Default: every tensor keeps its own.
   */
  readonly dtype?: FloatDtype | Readonly<Record<string, FloatDtype>>;
}

const safetensorsOptions: Rules<SafetensorsOptions> = { dtype: true };

/**
 * What a safetensors file holds.
 *
 * @category Files
 */
export interface Safetensors {
  /** Tensors by name, in the header's order. */
  readonly tensors: Record<string, HostTensor>;
  /** Free text by name; empty when the file has none. */
  readonly metadata: Record<string, string>;
}

/**
 * The bytes of a safetensors file. The same tensors give the same bytes, in whatever order they come: wide element
 * types first, so that every tensor is aligned, and then by name.
 *
 * @category Files
 * @param tensors Tensors by name.
 * @param metadata Free text by name. Default: none.
 * @param options How to store floats.
 * @returns The whole file.
 * @throws {TypeError} If an element type is unknown, or data or metadata are not of their type.
 * @throws {RangeError} If a shape does not fit its data, a name is `__metadata__`, a finite number overflows the type that it is
 * stored in, or the header is over 100 MB.
 *
 * @example Half the bytes
 * ```ts
 * import { decodeSafetensors, encodeSafetensors, floats } from "@tweedie/tweedie/io";
 * import assert from "node:assert/strict";
 *
 * const w = { dtype: "F32", shape: [2], data: new Float32Array([0.5, 1 / 3]) } as const;
 * const { tensors, metadata } = decodeSafetensors(encodeSafetensors({ w }, { of: "a line" }, { dtype: "F16" }));
 * assert.deepEqual([...floats(tensors.w!)], [0.5, 0.333251953125]);
 * assert.deepEqual(metadata, { of: "a line" });
 * ```
 */
export function encodeSafetensors(
  tensors: HostTensors,
  metadata: Readonly<Record<string, string>> = {},
  options: SafetensorsOptions = {},
): Uint8Array {
  const pieces = encoded(tensors, metadata, options);
  const file = new Uint8Array(pieces.reduce((length, piece) => length + piece.length, 0));
  pieces.reduce((at, piece) => (file.set(piece, at), at + piece.length), 0);
  return file;
}

/** The file in pieces, the header and then each tensor; views, so that nothing is copied that need not be. */
function encoded(
  tensors: HostTensors,
  metadata: Readonly<Record<string, string>>,
  options: SafetensorsOptions,
): Uint8Array[] {
  decoded(encoding, options, safetensorsOptions);
  const free = checkedMetadata(metadata), whole = checkedTensors(tensors);
  checkStored(whole, options);
  const stored = Object.entries(whole)
    .map(([name, tensor]): [string, Stored] => [name, converted(name, tensor, options)])
    .sort(byWidthAndName);
  return [writtenHeader(stored, free), ...stored.map(([, { data }]) => bytesOf(data))];
}

/** A tensor as it is written. */
interface Stored {
  readonly dtype: Dtype;
  readonly shape: readonly number[];
  /** Its elements, or their bits. */
  readonly data: HostArrays[Dtype];
}

const bytesOf = (data: HostArrays[Dtype]): Uint8Array =>
  new Uint8Array(data.buffer, data.byteOffset, data.byteLength);

const encoding = "encode safetensors";

const isStored = (dtype: unknown): dtype is FloatDtype => dtype === "F32" || dtype === "F16";

/** Refuses types that floats are not stored in, and those of tensors that are not there or not of floats. */
function checkStored(tensors: HostTensors, { dtype }: SafetensorsOptions): void {
  if (dtype === undefined || isStored(dtype)) return;
  if (!isRecord(dtype)) throw refusal(encoding, 'dtype must be "F32" or "F16"', dtype);
  for (const [name, wanted] of Object.entries(dtype)) {
    const of = `dtype of ${shown(name)}`, found = tensors[name]?.dtype;
    if (!isStored(wanted)) throw refusal(encoding, `${of} must be "F32" or "F16"`, wanted);
    if (found === undefined || !Object.hasOwn(tensors, name) || !isFloat(found)) {
      throw refusal(
        encoding,
        `${of} must be that of a tensor of floats`,
        found ?? "no such tensor",
      );
    }
  }
}

function byWidthAndName([a, x]: [string, Stored], [b, y]: [string, Stored]): number {
  return widthOf(y.dtype) - widthOf(x.dtype) || (a < b ? -1 : 1);
}

/** Tensors that are what they say, or an error. */
function checkedTensors(tensors: HostTensors): HostTensors {
  if (!isRecord(tensors)) {
    throw new TypeError(`Cannot ${encoding}: tensors must be an object, got ${shown(tensors)}`);
  }
  for (const [name, tensor] of Object.entries(tensors)) checkTensor(name, tensor);
  return tensors;
}

function checkTensor(name: string, tensor: HostTensor): void {
  const at = `Cannot encode safetensors: tensor ${shown(name)}`;
  if (!isRecord(tensor)) throw new TypeError(`${at} must be an object, got ${shown(tensor)}`);
  const { dtype, shape, data } = tensor;
  if (name === reserved) {
    throw new RangeError(`${at} must have another name, got the name of the metadata`);
  }
  if (!isDtype(dtype)) {
    throw new TypeError(
      `${at} must have one of ${Object.keys(constructors).join(", ")}, got ${shown(dtype)}`,
    );
  }
  if (!isHeld(dtype, data)) {
    const got = Object.prototype.toString.call(data).slice(8, -1);
    throw new TypeError(
      `${at} of type ${dtype} must have data in ${holderOf(dtype)}, got ${got}`,
    );
  }
  if (
    !Array.isArray(shape) || !shape.every(isCount) ||
    tf.util.sizeFromShape([...shape]) !== data.length
  ) {
    throw new RangeError(
      `${at} must have as many elements as its shape ${shown(shape)}, got ${data.length}`,
    );
  }
}

function checkedMetadata(
  metadata: Readonly<Record<string, string>>,
): Readonly<Record<string, string>> {
  if (!isRecord(metadata)) {
    throw new TypeError(
      `Cannot encode safetensors: metadata must be an object, got ${shown(metadata)}`,
    );
  }
  const wrong = Object.entries(metadata).find(([, value]) => typeof value !== "string");
  if (!wrong) return metadata;
  throw new TypeError(
    `Cannot encode safetensors: metadata ${shown(wrong[0])} must be a string, got ${
      shown(wrong[1])
    }`,
  );
}

/** The tensor in the type that the options want it stored in. */
function converted(name: string, tensor: HostTensor, { dtype }: SafetensorsOptions): Stored {
  const wanted = typeof dtype === "string"
    ? dtype
    : dtype && Object.hasOwn(dtype, name) && dtype[name];
  if (!wanted || wanted === tensor.dtype || !isFloat(tensor.dtype)) return tensor;
  // Not by way of float32: rounding twice is not rounding.
  const exact = tensor.dtype === "F64" ? tensor.data as Float64Array : floats(tensor);
  const stored = wanted === "F32" ? new Float32Array(exact) : narrowHalves(exact);
  const isFull = (x: number): boolean =>
    wanted === "F32" ? !Number.isFinite(x) : (x & 0x7c00) === 0x7c00;
  const over = stored.findIndex((x, i) => isFull(x) && Number.isFinite(exact[i]));
  if (over < 0) return { dtype: wanted, shape: tensor.shape, data: stored };
  const at = `tensor ${shown(name)}`, most = wanted === "F32" ? "3.4028235e38" : "65504";
  throw new RangeError(
    `Cannot ${encoding}: ${at} must be within ±${most} to be stored as ${wanted}, got ${
      exact[over]
    }`,
  );
}

/** Length and JSON, padded with spaces to a multiple of eight bytes. */
function writtenHeader(
  stored: readonly [string, Stored][],
  metadata: Readonly<Record<string, string>>,
): Uint8Array {
  const entries: [string, unknown][] = Object.keys(metadata).length ? [[reserved, metadata]] : [];
  let end = 0;
  for (const [name, { dtype, shape, data }] of stored) {
    entries.push([name, { dtype, shape, data_offsets: [end, end += data.byteLength] }]);
  }
  return framed(new TextEncoder().encode(JSON.stringify(Object.fromEntries(entries))));
}

function framed(json: Uint8Array): Uint8Array {
  const length = Math.ceil(json.length / 8) * 8;
  if (length > headerLimit) {
    throw new RangeError(
      `Cannot encode safetensors: header must be at most ${headerLimit} bytes, got ${length}`,
    );
  }
  const header = new Uint8Array(8 + length).fill(0x20);
  new DataView(header.buffer).setBigUint64(0, BigInt(length), true);
  header.set(json, 8);
  return header;
}

/**
 * Reads the bytes of a safetensors file. The result shares no memory with them, and is made only when all of them are
 * accounted for.
 *
 * @category Files
 * @param bytes The whole file.
 * @returns The tensors and the metadata.
 * @throws {SyntaxError} If the file is cut short or has bytes left over; if the header is not JSON, names a tensor
 * twice, or has an unknown type; or if ranges do not fit their shapes, overlap or leave holes.
 *
 * @example A file that was cut short
 * ```ts
 * import { decodeSafetensors, encodeSafetensors } from "@tweedie/tweedie/io";
 * import assert from "node:assert/strict";
 *
 * const file = encodeSafetensors({ w: { dtype: "U8", shape: [3], data: new Uint8Array([1, 2, 3]) } });
 * assert.deepEqual([...decodeSafetensors(file).tensors.w!.data], [1, 2, 3]);
 * assert.throws(() => decodeSafetensors(file.subarray(0, -1)), /data must be 3 bytes, got 2/);
 * ```
 */
export function decodeSafetensors(bytes: Uint8Array): Safetensors {
  const start = 8 + headerLength(bytes.subarray(0, 8), bytes.length), data = bytes.subarray(start);
  const { entries, metadata } = headerOf(bytes.subarray(8, start), data.length);
  const tensors = entries.map((entry) => [entry.name, tensorOf(entry, data)]);
  return { tensors: Object.fromEntries(tensors), metadata };
}

/** A tensor in memory of its own, because a range of a foreign file may begin at an odd byte. */
function tensorOf({ name, dtype, shape, begin, end }: Entry, data: Uint8Array): HostTensor {
  const bytes = room("decode safetensors", `tensor ${shown(name)}`, end - begin);
  bytes.set(data.subarray(begin, end));
  return tensorOn(dtype, shape, bytes.buffer);
}

/**
 * Reads a safetensors file: its header first, which is held against the file's size, and then tensor by tensor.
 *
 * @category Files
 * @param path Where it is.
 * @returns The tensors and the metadata.
 * @throws {SyntaxError} If the file is damaged, as {@link decodeSafetensors} does, with the path.
 * @throws {TypeError} If the path is that of a directory, a device or a pipe.
 * @throws {Deno.errors.NotFound} If there is no such file.
 *
 * @example
 * ```ts
 * import { readSafetensors, writeSafetensors } from "@tweedie/tweedie/io";
 * import assert from "node:assert/strict";
 *
 * const path = await Deno.makeTempFile();
 * await writeSafetensors(path, { w: { dtype: "I32", shape: [], data: new Int32Array([7]) } });
 * assert.deepEqual([...(await readSafetensors(path)).tensors.w!.data], [7]);
 * await Deno.remove(path);
 * ```
 */
export async function readSafetensors(path: string): Promise<Safetensors> {
  return await withTensors(path, async ({ entries, metadata, read }) => {
    return { tensors: await read(entries.map(({ name }) => name)), metadata };
  });
}

/**
 * Writes a safetensors file tensor by tensor, beside the old one, which it then replaces: a reader sees the one or the
 * other, never a half.
 *
 * @category Files
 * @param path Where to put it.
 * @param tensors Tensors by name.
 * @param metadata Free text by name. Default: none.
 * @param options How to store floats.
 * @returns When the file is there.
 * @throws {TypeError | RangeError} As {@link encodeSafetensors} does, before anything is written.
 */
export async function writeSafetensors(
  path: string,
  tensors: HostTensors,
  metadata: Readonly<Record<string, string>> = {},
  options: SafetensorsOptions = {},
): Promise<void> {
  await writeAtomically(path, stream(encoded(tensors, metadata, options)));
}

async function* stream(pieces: readonly Uint8Array[]): AsyncGenerator<Uint8Array, void, undefined> {
  yield* pieces;
}

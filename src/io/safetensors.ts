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
import { writeAtomically } from "./file.ts";

/** The array that holds each element type on the host. */
export interface HostArrays {
  /** Booleans, a byte each, 0 or 1. */
  readonly BOOL: Uint8Array;
  /** Unsigned bytes. */
  readonly U8: Uint8Array;
  /** Signed bytes. */
  readonly I8: Int8Array;
  /** Unsigned 16-bit whole numbers. */
  readonly U16: Uint16Array;
  /** Signed 16-bit whole numbers. */
  readonly I16: Int16Array;
  /** Unsigned 32-bit whole numbers. */
  readonly U32: Uint32Array;
  /** Signed 32-bit whole numbers. */
  readonly I32: Int32Array;
  /** Unsigned 64-bit whole numbers. */
  readonly U64: BigUint64Array;
  /** Signed 64-bit whole numbers. */
  readonly I64: BigInt64Array;
  /** IEEE half precision. */
  readonly F16: Float16Array;
  /** The upper halves of float32 numbers, as bits: {@link floats} widens them. */
  readonly BF16: Uint16Array;
  /** IEEE single precision. */
  readonly F32: Float32Array;
  /** IEEE double precision. */
  readonly F64: Float64Array;
}

/** An element type, by its name in the file. */
export type Dtype = keyof HostArrays;

/** A tensor on the host: plain data, not bound to any engine. */
export interface HostTensor<D extends Dtype = Dtype> {
  /** Element type. */
  readonly dtype: D;
  /** Size of each axis; empty for a scalar. */
  readonly shape: readonly number[];
  /** The elements, the last axis fastest; as many as the product of `shape`. */
  readonly data: HostArrays[D];
}

/** Host tensors by name. */
export type HostTensors = Readonly<Record<string, HostTensor>>;

/** The element types in which floats can be stored. */
export type FloatDtype = "F32" | "F16";

/** Options of {@link encodeSafetensors} and {@link writeSafetensors}. */
export interface SafetensorsOptions {
  /**
   * Store floats (F64, F32, F16, BF16) as this type, or those of the tensors named here, rounded to the nearest, ties
   * to even. Other tensors keep theirs. Default: every tensor keeps its own.
   */
  readonly dtype?: FloatDtype | Readonly<Record<string, FloatDtype>>;
}

/** What a safetensors file holds. */
export interface Safetensors {
  /** Tensors by name, in the header's order. */
  readonly tensors: Record<string, HostTensor>;
  /** Free text by name; empty when the file has none. */
  readonly metadata: Record<string, string>;
}

/** A tensor as the header describes it. */
interface Entry {
  readonly name: string;
  readonly dtype: Dtype;
  readonly shape: readonly number[];
  readonly begin: number;
  readonly end: number;
}

const constructors = {
  BOOL: Uint8Array,
  U8: Uint8Array,
  I8: Int8Array,
  U16: Uint16Array,
  I16: Int16Array,
  U32: Uint32Array,
  I32: Int32Array,
  U64: BigUint64Array,
  I64: BigInt64Array,
  F16: Float16Array,
  BF16: Uint16Array,
  F32: Float32Array,
  F64: Float64Array,
} as const;

const reserved = "__metadata__";

/** Most bytes that a header may have, as in the format's own reader. */
const headerLimit = 100_000_000;

const isDtype = (name: unknown): name is Dtype =>
  typeof name === "string" && Object.hasOwn(constructors, name);

const isCount = (value: unknown): value is number =>
  Number.isSafeInteger(value) && value as number >= 0;

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

const isFloat = (dtype: Dtype): boolean => dtype.includes("F");

const widthOf = (dtype: Dtype): number => constructors[dtype].BYTES_PER_ELEMENT;

/** JSON of a value for a message, cut short. */
function shown(value: unknown): string {
  const text = typeof value === "bigint" ? String(value) : JSON.stringify(value) ?? String(value);
  return text.length > 80 ? `${text.slice(0, 77)}...` : text;
}

const bytesOf = (data: HostArrays[Dtype]): Uint8Array =>
  new Uint8Array(data.buffer, data.byteOffset, data.byteLength);

/**
 * A tensor's elements as float32: bfloat16 and float16 widened without loss, others rounded to the nearest.
 *
 * @param tensor The tensor.
 * @returns As many floats as the tensor has elements: its own array when that is float32 already, else a new one.
 *
 * @example The bits 0x3fc0 are 1.5 in bfloat16
 * ```ts
 * import { floats } from "@tweedie/tweedie";
 * import assert from "node:assert/strict";
 *
 * const half = { dtype: "BF16", shape: [2], data: new Uint16Array([0x3fc0, 0xc000]) } as const;
 * assert.deepEqual([...floats(half)], [1.5, -2]);
 * ```
 */
export function floats(tensor: HostTensor): Float32Array {
  const { data } = tensor;
  if (data instanceof Float32Array) return data;
  if (tensor.dtype === "BF16") {
    return new Float32Array(Uint32Array.from(data as Uint16Array, widened).buffer);
  }
  if (data instanceof BigInt64Array || data instanceof BigUint64Array) {
    return Float32Array.from(data, Number);
  }
  return new Float32Array(data);
}

/** The float32 bits of a bfloat16. */
const widened = (bits: number): number => bits << 16;

/**
 * The bytes of a safetensors file. The same tensors give the same bytes, in whatever order they come: wide element
 * types first, so that every tensor is aligned, and then by name.
 *
 * @param tensors Tensors by name.
 * @param metadata Free text by name. Default: none.
 * @param options How to store floats.
 * @returns The whole file.
 * @throws {TypeError} If an element type is unknown, or data or metadata are not of their type.
 * @throws {RangeError} If a shape does not fit its data, a name is `__metadata__`, a finite number overflows float16, or
 * the header is over 100 MB.
 *
 * @example Half the bytes
 * ```ts
 * import { decodeSafetensors, encodeSafetensors, floats } from "@tweedie/tweedie";
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
  const stored = Object.entries(tensors)
    .map((
      [name, tensor],
    ): [string, HostTensor] => [name, converted(name, checked(name, tensor), options)])
    .sort(byWidthAndName);
  return [
    headerOf(stored, checkedMetadata(metadata)),
    ...stored.map(([, { data }]) => bytesOf(data)),
  ];
}

function byWidthAndName([a, x]: [string, HostTensor], [b, y]: [string, HostTensor]): number {
  return widthOf(y.dtype) - widthOf(x.dtype) || (a < b ? -1 : 1);
}

/** A tensor that is what it says, or an error. */
function checked(name: string, tensor: HostTensor): HostTensor {
  const { dtype, shape, data } = tensor, at = `Cannot encode safetensors: tensor ${shown(name)}`;
  if (name === reserved) {
    throw new RangeError(`${at} must have another name, got the name of the metadata`);
  }
  if (!isDtype(dtype)) {
    throw new TypeError(
      `${at} must have one of ${Object.keys(constructors).join(", ")}, got ${shown(dtype)}`,
    );
  }
  if (!(data instanceof constructors[dtype])) {
    const got = Object.prototype.toString.call(data).slice(8, -1);
    throw new TypeError(
      `${at} of type ${dtype} must have data in ${constructors[dtype].name}, got ${got}`,
    );
  }
  if (!shape.every(isCount) || tf.util.sizeFromShape([...shape]) !== data.length) {
    throw new RangeError(
      `${at} must have as many elements as its shape ${shown(shape)}, got ${data.length}`,
    );
  }
  return tensor;
}

function checkedMetadata(
  metadata: Readonly<Record<string, string>>,
): Readonly<Record<string, string>> {
  const wrong = Object.entries(metadata).find(([, value]) => typeof value !== "string");
  if (!wrong) return metadata;
  throw new TypeError(
    `Cannot encode safetensors: metadata ${shown(wrong[0])} must be a string, got ${
      shown(wrong[1])
    }`,
  );
}

/** The tensor in the type that the options want it stored in. */
function converted(name: string, tensor: HostTensor, { dtype }: SafetensorsOptions): HostTensor {
  const wanted = typeof dtype === "string"
    ? dtype
    : dtype && Object.hasOwn(dtype, name) && dtype[name];
  if (!wanted || wanted === tensor.dtype || !isFloat(tensor.dtype)) return tensor;
  // Not by way of float32: rounding twice is not rounding.
  const exact = tensor.dtype === "F64" ? tensor.data as Float64Array : floats(tensor);
  const { shape } = tensor;
  if (wanted === "F32") return { dtype: wanted, shape, data: new Float32Array(exact) };
  return { dtype: wanted, shape, data: halves(name, exact) };
}

/** Float16 of numbers, ties to even; an error where a finite one becomes infinite. */
function halves(name: string, exact: Float32Array | Float64Array): Float16Array {
  const data = new Float16Array(exact);
  const over = data.findIndex((half, i) => !Number.isFinite(half) && Number.isFinite(exact[i]));
  if (over < 0) return data;
  throw new RangeError(
    `Cannot encode safetensors: tensor ${
      shown(name)
    } must be within ±65504 to be stored as F16, got ${exact[over]}`,
  );
}

/** Length and JSON, padded with spaces to a multiple of eight bytes. */
function headerOf(
  stored: readonly [string, HostTensor][],
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
 * @param bytes The whole file.
 * @returns The tensors and the metadata.
 * @throws {SyntaxError} If the file is cut short or has bytes left over; if the header is not JSON, names a tensor
 * twice, or has an unknown type; or if ranges do not fit their shapes, overlap or leave holes.
 *
 * @example A file that was cut short
 * ```ts
 * import { decodeSafetensors, encodeSafetensors } from "@tweedie/tweedie";
 * import assert from "node:assert/strict";
 *
 * const file = encodeSafetensors({ w: { dtype: "U8", shape: [3], data: new Uint8Array([1, 2, 3]) } });
 * assert.deepEqual([...decodeSafetensors(file).tensors.w!.data], [1, 2, 3]);
 * assert.throws(() => decodeSafetensors(file.subarray(0, -1)), /data must be 3 bytes, got 2/);
 * ```
 */
export function decodeSafetensors(bytes: Uint8Array): Safetensors {
  const start = 8 + headerLength(bytes), text = headerText(bytes.subarray(8, start));
  const { [reserved]: metadata, ...described } = parsed(text);
  const entries = Object.entries(described).map(([name, info]) => entryOf(name, info));
  checkRanges(entries, bytes.length - start);
  const data = bytes.subarray(start);
  return {
    tensors: Object.fromEntries(entries.map((entry) => [entry.name, tensorOf(entry, data)])),
    metadata: metadataOf(metadata),
  };
}

function fault(what: string, wanted: string, got: unknown): SyntaxError {
  return new SyntaxError(`Cannot decode safetensors: ${what} must be ${wanted}, got ${got}`);
}

function headerLength(bytes: Uint8Array): number {
  if (bytes.length < 8) throw fault("file", "at least 8 bytes", bytes.length);
  const length = new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0, true);
  if (length > headerLimit) throw fault("header length", `at most ${headerLimit} bytes`, length);
  if (length > bytes.length - 8) throw fault("header", `${length} bytes`, bytes.length - 8);
  return Number(length);
}

function headerText(header: Uint8Array): string {
  if (header[0] !== 0x7b) {
    throw fault("header", 'JSON that begins with "{"', shown(header[0] ?? "nothing"));
  }
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(header);
  } catch {
    throw fault("header", "UTF-8", "bytes that are not");
  }
}

function parsed(text: string): Record<string, unknown> {
  const header = parsedJson(text);
  checkNames(text);
  return header;
}

function parsedJson(text: string): Record<string, unknown> {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw fault("header", "JSON", `an error: ${(cause as Error).message}`);
  }
}

/** Throws where an object of a valid JSON text has a name twice; `JSON.parse` keeps the last and says nothing. */
function checkNames(text: string): void {
  const open: Set<string>[] = [], colon = /\s*:/y;
  for (let i = 0; i < text.length; i++) {
    if (text[i] === "{") open.push(new Set());
    if (text[i] === "}") open.pop();
    if (text[i] !== '"') continue;
    const quoted = text.slice(i, quoteEnd(text, i));
    colon.lastIndex = i += quoted.length;
    if (colon.test(text)) addName(open.at(-1)!, quoted);
    i--;
  }
}

/** Index behind the closing quote of the string that opens at `i`. */
function quoteEnd(text: string, i: number): number {
  do i += text[i] === "\\" ? 2 : 1; while (text[i] !== '"');
  return i + 1;
}

function addName(names: Set<string>, quoted: string): void {
  const name: string = JSON.parse(quoted);
  if (names.has(name)) throw fault("header", "free of names that come twice", quoted);
  names.add(name);
}

function entryOf(name: string, info: unknown): Entry {
  const at = `tensor ${shown(name)}`;
  if (!isRecord(info)) throw fault(at, "an object", shown(info));
  const { dtype, shape, data_offsets: range } = info;
  if (!isDtype(dtype)) {
    throw fault(`dtype of ${at}`, `one of ${Object.keys(constructors).join(", ")}`, shown(dtype));
  }
  if (!Array.isArray(shape) || !shape.every(isCount)) {
    throw fault(`shape of ${at}`, "whole numbers", shown(shape));
  }
  if (!isRange(range)) {
    throw fault(`data_offsets of ${at}`, "[begin, end] with begin <= end", shown(range));
  }
  return sized({ name, dtype, shape, begin: range[0], end: range[1] });
}

const isRange = (value: unknown): value is [number, number] =>
  Array.isArray(value) && value.length === 2 && value.every(isCount) && value[0]! <= value[1]!;

function sized(entry: Entry): Entry {
  const { name, dtype, shape, begin, end } = entry,
    wanted = tf.util.sizeFromShape([...shape]) * widthOf(dtype);
  if (end - begin === wanted) return entry;
  throw fault(
    `tensor ${shown(name)}`,
    `${wanted} bytes (${dtype} of shape ${shown(shape)})`,
    end - begin,
  );
}

/** Ranges, in the order of the file, must each begin where the last one ended, and end with the file. */
function checkRanges(entries: readonly Entry[], length: number): void {
  let end = 0;
  for (const entry of entries.toSorted((a, b) => a.begin - b.begin || a.end - b.end)) {
    if (entry.begin !== end) {
      throw fault(`begin of tensor ${shown(entry.name)}`, `${end}`, entry.begin);
    }
    end = entry.end;
  }
  if (end !== length) throw fault("data", `${end} bytes`, length);
}

function tensorOf({ dtype, shape, begin, end }: Entry, data: Uint8Array): HostTensor {
  // A copy of its own, because a range of a foreign file may begin at an odd byte.
  const { buffer } = new Uint8Array(data.subarray(begin, end));
  return { dtype, shape, data: new constructors[dtype](buffer) };
}

function metadataOf(metadata: unknown): Record<string, string> {
  if (metadata === undefined) return {};
  if (isRecord(metadata) && Object.values(metadata).every((value) => typeof value === "string")) {
    return metadata as Record<string, string>;
  }
  throw fault(reserved, "an object of strings", shown(metadata));
}

/**
 * Reads a safetensors file.
 *
 * @param path Where it is.
 * @returns The tensors and the metadata.
 * @throws {SyntaxError} If the file is damaged, as {@link decodeSafetensors} does, with the path.
 * @throws {Deno.errors.NotFound} If there is no such file.
 *
 * @example
 * ```ts
 * import { readSafetensors, writeSafetensors } from "@tweedie/tweedie";
 * import assert from "node:assert/strict";
 *
 * const path = await Deno.makeTempFile();
 * await writeSafetensors(path, { w: { dtype: "I32", shape: [], data: new Int32Array([7]) } });
 * assert.deepEqual([...(await readSafetensors(path)).tensors.w!.data], [7]);
 * await Deno.remove(path);
 * ```
 */
export async function readSafetensors(path: string): Promise<Safetensors> {
  const bytes = await Deno.readFile(path);
  try {
    return decodeSafetensors(bytes);
  } catch (cause) {
    throw new SyntaxError(`${(cause as Error).message}, in ${path}`, { cause });
  }
}

/**
 * Writes a safetensors file tensor by tensor, beside the old one, which it then replaces: a reader sees the one or the
 * other, never a half.
 *
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

/**
 * The header of a safetensors file: JSON that gives every tensor's element type, shape and byte range. It comes from a
 * file, so nothing in it is believed before it is held against the rest and against the file's size.
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
import { constructors, type Dtype, isDtype, widthOf } from "./dtype.ts";

/** A tensor as a header describes it. */
export interface Entry {
  /** Its name. */
  readonly name: string;
  /** Its element type. */
  readonly dtype: Dtype;
  /** Size of each axis. */
  readonly shape: readonly number[];
  /** Where its bytes begin, counted from the end of the header. */
  readonly begin: number;
  /** Where they end. */
  readonly end: number;
}

/** What a header says. */
export interface Header {
  /** The tensors, in its order. */
  readonly entries: readonly Entry[];
  /** Free text by name. */
  readonly metadata: Record<string, string>;
}

/** The name of the metadata among those of the tensors. */
export const reserved = "__metadata__";

/** Most bytes that a header may have, as in the format's own reader. */
export const headerLimit = 100_000_000;

/** Whether a value can be the size of an axis. */
export const isCount = (value: unknown): value is number =>
  Number.isSafeInteger(value) && value as number >= 0;

/** Whether a value is an object of named values. */
export const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/** JSON of a value for a message, cut short. */
export function shown(value: unknown): string {
  const text = typeof value === "bigint" ? String(value) : JSON.stringify(value) ?? String(value);
  return text.length > 80 ? `${text.slice(0, 77)}...` : text;
}

/** What is wrong with a file. */
export function fault(what: string, wanted: string, got: unknown): SyntaxError {
  return new SyntaxError(`Cannot decode safetensors: ${what} must be ${wanted}, got ${got}`);
}

/**
 * The length of a header, which is no more than the file holds.
 *
 * @param first The file's first eight bytes, or as many as it has.
 * @param size The file's size.
 * @returns The length.
 */
export function headerLength(first: Uint8Array, size: number): number {
  if (first.length < 8) throw fault("file", "at least 8 bytes", first.length);
  const length = new DataView(first.buffer, first.byteOffset).getBigUint64(0, true);
  if (length > headerLimit) throw fault("header length", `at most ${headerLimit} bytes`, length);
  if (length > size - 8) throw fault("header", `${length} bytes`, size - 8);
  return Number(length);
}

/**
 * What a header says, held against itself and against the bytes of data that there are.
 *
 * @param bytes The header.
 * @param length The bytes of data behind it.
 * @returns The tensors in the header's order, and the metadata.
 */
export function headerOf(bytes: Uint8Array, length: number): Header {
  const { [reserved]: metadata, ...described } = parsed(headerText(bytes));
  const entries = Object.entries(described).map(([name, info]) => entryOf(name, info));
  checkRanges(entries, length);
  return { entries, metadata: metadataOf(metadata) };
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

function metadataOf(metadata: unknown): Record<string, string> {
  // As in the format's own reader, to which null is as good as none.
  if (metadata === undefined || metadata === null) return {};
  if (isRecord(metadata) && Object.values(metadata).every((value) => typeof value === "string")) {
    return metadata as Record<string, string>;
  }
  throw fault(reserved, "an object of strings", shown(metadata));
}

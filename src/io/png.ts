/**
 * PNG and animated PNG, written on Node's zlib where it is there, which is two to six times as fast, else on fflate.
 *
 * A PNG is eight fixed bytes and a list of chunks, each `length | type | data | CRC-32 of type and data`, numbers
 * big-endian: IHDR (size, 8 bits, colour type 0 grey or 2 RGB), IDAT (the filtered rows, deflated), IEND. Each row is
 * filtered by Sub, byte − byte one pixel to the left. An animation adds acTL (number of frames, loops) before the
 * first IDAT, and to each frame an fcTL (size, place, delay) and, from the second on, fdAT in place of IDAT.
 *
 * Source: "Portable Network Graphics (PNG) Specification (Third Edition)", W3C, sections 5 (datastream structure), 9.2
 * (filter types) and 11.3.3 (animation).
 *
 * @module
 */

import { zlibSync } from "fflate";
import type * as nodeZlib from "node:zlib";
import { builtin } from "../tensor/backend/runtime.ts";
import { decoded, is, type Rule, type Rules, whole } from "../tensor/check/decode.ts";
import { room } from "../data/file/file.ts";
import { crc32 } from "../data/file/gzip.ts";
import { checkImage, type Image, sameSize } from "../watch/frames.ts";
import { checkWritable, writeAtomically } from "./file.ts";

/**
 * Options of {@link png}.
 *
 * @category Files
 */
export interface PngOptions {
  /** Effort of compression, 0 (none) to 9 (most); 1 suits live streams. Default: 6. */
  readonly level?: number;
}

/**
 * Options of {@link apng}.
 *
 * @category Files
 */
export interface ApngOptions extends PngOptions {
  /** How long a frame is shown, in whole milliseconds, at most 65535. Default: 100. */
  readonly delay?: number;
  /** How long the last frame is shown, in whole milliseconds, at most 65535. Default: `delay`. */
  readonly hold?: number;
  /** How many times the animation is played; 0 is without end. Default: 0. */
  readonly loops?: number;
}

/**
 * Options of {@link savePngs}.
 *
 * @category Files
 */
export interface SequenceOptions extends PngOptions {
  /** Number of the first file, a whole number of at least 0. Default: 0. */
  readonly first?: number;
}

/** The rule of whole numbers that a file has room for. */
const upTo = (greatest: number): Rule =>
  is(`a whole number in [0, ${greatest}]`, (value) => whole(0)(value) && value <= greatest);

const pngOptions: Rules<PngOptions> = { level: upTo(9) };

const apngOptions: Rules<ApngOptions> = {
  ...pngOptions,
  delay: upTo(65535),
  hold: upTo(65535),
  loops: upTo(2 ** 31 - 1),
};

const sequenceOptions: Rules<SequenceOptions> = {
  ...pngOptions,
  first: upTo(Number.MAX_SAFE_INTEGER),
};

const signature = new Uint8Array([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]);

const writing = "write a PNG";

function joined(parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const out = new Uint8Array(parts.reduce((size, part) => size + part.length, 0));
  parts.reduce((at, part) => (out.set(part, at), at + part.length), 0);
  return out;
}

/** Unsigned 32-bit numbers, big-endian. */
function words(...values: number[]): Uint8Array {
  const view = new DataView(new ArrayBuffer(4 * values.length));
  values.forEach((value, i) => view.setUint32(4 * i, value));
  return new Uint8Array(view.buffer);
}

function chunk(type: string, ...parts: Uint8Array[]): Uint8Array {
  const body = joined([new TextEncoder().encode(type), ...parts]);
  return joined([words(body.length - 4), body, words(crc32(body))]);
}

/** Rows by the Sub filter, each after its filter type 1. */
function filtered({ width, height, channels, data }: Image): Uint8Array {
  const line = width * channels, rows = room(writing, "the rows", height * (line + 1));
  for (let y = 0, from = 0, to = 0; y < height; y++) {
    rows[to++] = 1;
    for (let x = 0; x < line; x++, from++) {
      rows[to++] = data[from]! - (x < channels ? 0 : data[from - channels]!);
    }
  }
  return rows;
}

/** Efforts of compression, from none to most. */
type Level = 0 | 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8 | 9;

function deflated(image: Image, { level = 6 }: PngOptions): Uint8Array {
  const zlib = builtin<typeof nodeZlib>("node:zlib"), rows = filtered(image);
  return zlib ? zlib.deflateSync(rows, { level }) : zlibSync(rows, { level: level as Level });
}

const header = ({ width, height, channels }: Image): Uint8Array =>
  chunk("IHDR", words(width, height), new Uint8Array([8, channels === 1 ? 0 : 2, 0, 0, 0]));

/**
 * A picture as the bytes of a PNG file, 8 bits a sample, grey or RGB.
 *
 * @category Files
 * @param image The picture.
 * @param options Effort of compression.
 * @returns The file's bytes.
 * @throws {RangeError} If the picture has no pixels, or its bytes do not fit its size, or `level` is not in 0 … 9.
 * @throws {TypeError} If an option is not known.
 *
 * @example
 * ```ts
 * import { png } from "@tweedie/tweedie";
 * import assert from "node:assert/strict";
 *
 * const bytes = png({ width: 1, height: 2, channels: 1, data: new Uint8Array([0, 255]) });
 * assert.equal(new TextDecoder("latin1").decode(bytes.subarray(1, 4)), "PNG");
 * ```
 */
export function png(image: Image, options: PngOptions = {}): Uint8Array<ArrayBuffer> {
  decoded(writing, options, pngOptions);
  checkImage(image);
  return joined([signature, header(image), chunk("IDAT", deflated(image, options)), chunk("IEND")]);
}

/** Frame control, PNG section 11.3.3.2: number in sequence, size, place, delay in thousandths of a second. */
const control = (sequence: number, { width, height }: Image, delay: number): Uint8Array =>
  chunk("fcTL", words(sequence, width, height, 0, 0, delay * 65536 + 1000), new Uint8Array(2));

/**
 * Pictures as the bytes of an animated PNG file. Viewers that do not know of animation show the first one.
 *
 * A file begins with the number of its frames, so it can be written only at the end; what is held until then is the
 * compressed frames.
 *
 * @category Files
 * @param images The frames, all of one size.
 * @param options Delays and loops.
 * @returns The file's bytes.
 * @throws {RangeError} If an option is out of its range, a frame is not of the first one's size, or there is none.
 * @throws {TypeError} If an option is not known.
 *
 * @example Two frames, the last one held for a second
 * ```ts
 * import { apng } from "@tweedie/tweedie/io";
 * import { type Image } from "@tweedie/tweedie";
 * import assert from "node:assert/strict";
 *
 * const grey = (level: number): Image => ({ width: 1, height: 1, channels: 1, data: new Uint8Array([level]) });
 * const bytes = await apng([grey(0), grey(255)], { delay: 40, hold: 1000 });
 * assert.ok(new TextDecoder("latin1").decode(bytes).includes("acTL"));
 * ```
 */
export async function apng(
  images: AsyncIterable<Image> | Iterable<Image>,
  options: ApngOptions = {},
): Promise<Uint8Array<ArrayBuffer>> {
  decoded(writing, options, apngOptions);
  let first: Image | undefined;
  const frames: Uint8Array[] = [];
  for await (const image of sameSize(images)) {
    first ??= image;
    frames.push(deflated(image, options));
  }
  if (first) return animation(first, frames, options);
  throw new RangeError("Cannot write a PNG: images must be at least one, got none");
}

function animation(
  first: Image,
  frames: readonly Uint8Array[],
  { delay = 100, hold = delay, loops = 0 }: ApngOptions,
): Uint8Array<ArrayBuffer> {
  // One number goes to each fcTL and fdAT in turn: 0 to the first fcTL, then 1 and 2, 3 and 4, …
  const chunks = frames.flatMap((data, i) => [
    control(Math.max(2 * i - 1, 0), first, i === frames.length - 1 ? hold : delay),
    i === 0 ? chunk("IDAT", data) : chunk("fdAT", words(2 * i), data),
  ]);
  const counts = chunk("acTL", words(frames.length, loops));
  return joined([signature, header(first), counts, ...chunks, chunk("IEND")]);
}

/**
 * Writes the last picture of a stream to a PNG file, whole or not at all. That the folder is there and writable is
 * looked at before the first picture is asked for.
 *
 * @category Files
 * @param path The file.
 * @param options Effort of compression.
 * @returns A function of a stream, which it runs to its end.
 * @throws {RangeError} If `level` is not in 0 … 9; if the stream is empty.
 * @throws {TypeError} If an option is not known.
 * @throws {Error} If the file cannot be written; what the stream throws.
 *
 * @example
 * ```ts
 * import { type Image, savePng } from "@tweedie/tweedie";
 * import assert from "node:assert/strict";
 *
 * const path = `${await Deno.makeTempDir()}/sample.png`;
 * const image: Image = { width: 1, height: 1, channels: 1, data: new Uint8Array([7]) };
 * await savePng(path)(ReadableStream.from([image]));
 * assert.equal((await Deno.readFile(path))[1], "P".charCodeAt(0));
 * ```
 */
export function savePng(
  path: string,
  options: PngOptions = {},
): (images: AsyncIterable<Image>) => Promise<void> {
  decoded(writing, options, pngOptions);
  return async (images) => {
    await checkWritable(path);
    let latest: Image | undefined;
    for await (const image of images) latest = image;
    if (!latest) throw new RangeError("Cannot write a PNG: images must be at least one, got none");
    await writeAtomically(path, png(latest, options));
  };
}

/** A pattern as a function of the number: `%d` plain, `%04d` padded with zeros to four digits, `%%` a percent sign. */
function numbering(pattern: string): (index: number) => string {
  const fields: string[] = pattern.match(/%(?:0\d+)?d|%%|%/g) ?? [];
  if (fields.includes("%") || fields.filter((field) => field !== "%%").length !== 1) {
    throw new SyntaxError(
      `Cannot number the files: pattern must hold one %d or %04d (and %% for %), got ${pattern}`,
    );
  }
  return (index) =>
    pattern.replace(
      /%(?:0(\d+))?d|%%/g,
      (field, digits) => field === "%%" ? "%" : `${index}`.padStart(Number(digits ?? 0), "0"),
    );
}

/**
 * Writes each picture of a stream to a PNG file of its own, as it comes.
 *
 * @category Files
 * @param pattern Path with the number's place, such as `"out/%04d.png"`; `%d` has no zeros in front, `%%` is a percent
 * sign. The folder must be there, which is looked at before the first picture is asked for.
 * @param options Number of the first file, effort of compression.
 * @returns A function of a stream, which it runs to its end; its result is the paths written.
 * @throws {SyntaxError} If the pattern does not hold just one number.
 * @throws {RangeError} If an option is out of its range, or a picture's bytes do not fit its size.
 * @throws {TypeError} If an option is not known.
 * @throws {Error} If a file cannot be written; what the stream throws. The files before it stay.
 *
 * @example
 * ```ts
 * import { type Image } from "@tweedie/tweedie";
 * import { savePngs } from "@tweedie/tweedie/io";
 * import assert from "node:assert/strict";
 *
 * const folder = await Deno.makeTempDir();
 * const image: Image = { width: 1, height: 1, channels: 1, data: new Uint8Array([7]) };
 * const paths = await savePngs(`${folder}/%03d.png`)(ReadableStream.from([image, image]));
 * assert.deepEqual(paths, [`${folder}/000.png`, `${folder}/001.png`]);
 * ```
 */
export function savePngs(
  pattern: string,
  options: SequenceOptions = {},
): (images: AsyncIterable<Image>) => Promise<string[]> {
  const { first = 0, ...effort } = decoded(writing, options, sequenceOptions);
  const name = numbering(pattern);
  return async (images) => {
    await checkWritable(name(first));
    const paths: string[] = [];
    for await (const image of images) {
      const path = name(first + paths.length);
      await writeAtomically(path, png(image, effort));
      paths.push(path);
    }
    return paths;
  };
}

/**
 * Writes a stream of pictures to one animated PNG file, whole or not at all. That the folder is there and writable is
 * looked at before the first picture is asked for.
 *
 * @category Files
 * @param path The file.
 * @param options Delays, loops, effort of compression.
 * @returns A function of a stream, which it runs to its end.
 * @throws {RangeError | TypeError} As {@link apng}.
 * @throws {Error} If the file cannot be written; what the stream throws.
 *
 * @example
 * ```ts
 * import { type Image, saveApng } from "@tweedie/tweedie";
 * import assert from "node:assert/strict";
 *
 * const path = `${await Deno.makeTempDir()}/film.png`;
 * const image: Image = { width: 1, height: 1, channels: 1, data: new Uint8Array([7]) };
 * await saveApng(path, { delay: 40, hold: 1000 })(ReadableStream.from([image, image]));
 * assert.ok((await Deno.stat(path)).isFile);
 * ```
 */
export function saveApng(
  path: string,
  options: ApngOptions = {},
): (images: AsyncIterable<Image>) => Promise<void> {
  decoded(writing, options, apngOptions);
  return async (images) => {
    await checkWritable(path);
    await writeAtomically(path, await apng(images, options));
  };
}

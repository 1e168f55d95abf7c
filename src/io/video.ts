/**
 * Pictures as byte streams that video tools read from a pipe.
 *
 * YUV4MPEG2 is a text line with the size and the rate, then for each picture the line `FRAME` and its planes. Grey is
 * written as `Cmono`, full range, byte for byte. Colour is written as `C444`, whose readers expect ITU-R BT.601 in
 * limited range, here from R, G, B in [0, 1] and rounded half up:
 *
 * ```text
 *   Y  =  16 +  65.481·R + 128.553·G +  24.966·B      16 … 235
 *   Cb = 128 −  37.797·R −  74.203·G + 112.000·B      16 … 240
 *   Cr = 128 + 112.000·R −  93.786·G −  18.214·B      16 … 240
 * ```
 *
 * so that a colour comes back to within 2 of 255. Where that is too much, write raw bytes.
 *
 * Sources: ITU-R BT.601-7, sections 2.5.1 to 2.5.3; mjpegtools, `yuv4mpeg(5)`.
 *
 * @module
 */

import { decoded, is, oneOf, type Rules, showing, whole } from "../tensor/check/decode.ts";
import { type Image, sameSize } from "../watch/frames.ts";

/**
 * Options of {@link y4m}.
 *
 * @category Files
 */
export interface Y4mOptions {
  /** Pictures a second, above 0; a pair is a fraction, such as [30000, 1001]. Default: 24. */
  readonly fps?: number | readonly [numerator: number, denominator: number];
}

/**
 * Options of {@link raw}.
 *
 * @category Files
 */
export interface RawOptions {
  /**
   * ffmpeg's name of the pixel format: three bytes or one byte a pixel. Grey becomes colour by repetition, colour grey
   * by 0.299·R + 0.587·G + 0.114·B (BT.601), rounded half up. Default: that of the first picture.
   */
  readonly format?: "rgb24" | "gray";
}

type Rate = NonNullable<Y4mOptions["fps"]>;

const y4mOptions: Rules<Y4mOptions> = {
  fps: showing(
    is("above 0, or two whole numbers above 0", (fps: Rate) => fractionOf(fps).every(whole(1))),
    String,
  ),
};

const rawOptions: Rules<RawOptions> = { format: showing(oneOf("rgb24", "gray"), String) };

const writing = "write a video";

/** The rate as a fraction of whole numbers, to a thousandth. */
function fractionOf(fps: Rate): readonly [number, number] {
  if (typeof fps !== "number") return [fps[0], fps[1]];
  return Number.isInteger(fps) ? [fps, 1] : [Math.round(fps * 1000), 1000];
}

function y4mHeader(
  { width, height, channels }: Image,
  [numerator, denominator]: readonly [number, number],
): Uint8Array {
  const colour = channels === 1 ? "Cmono XCOLORRANGE=FULL" : "C444 XCOLORRANGE=LIMITED";
  const size = `W${width} H${height} F${numerator}:${denominator} Ip A1:1`;
  return new TextEncoder().encode(`YUV4MPEG2 ${size} ${colour}\n`);
}

const marker = new TextEncoder().encode("FRAME\n");

/** The planes of one picture after their marker. */
function y4mFrame({ channels, data }: Image): Uint8Array {
  const out = new Uint8Array(marker.length + data.length);
  out.set(marker);
  if (channels === 1) out.set(data, marker.length);
  else fillPlanes(data, out.subarray(marker.length));
  return out;
}

function fillPlanes(rgb: Uint8Array, planes: Uint8Array): void {
  const size = rgb.length / 3;
  for (let i = 0; i < size; i++) {
    const r = rgb[3 * i]! / 255, g = rgb[3 * i + 1]! / 255, b = rgb[3 * i + 2]! / 255;
    planes[i] = 16.5 + 65.481 * r + 128.553 * g + 24.966 * b;
    planes[size + i] = 128.5 - 37.797 * r - 74.203 * g + 112 * b;
    planes[2 * size + i] = 128.5 + 112 * r - 93.786 * g - 18.214 * b;
  }
}

/**
 * Pictures as a YUV4MPEG2 stream, which ffmpeg, mpv and most encoders read with no more said.
 *
 * @category Files
 * @param options Rate.
 * @returns A function of pictures of one size, whose result is the bytes: a header, then one piece a picture.
 * @throws {RangeError} If the rate is not above 0; while iterated, at a picture of another size than the first.
 * @throws {TypeError} If an option is not known.
 *
 * @example
 * ```ts
 * import { type Image, y4m } from "@tweedie/tweedie";
 * import assert from "node:assert/strict";
 *
 * const image: Image = { width: 2, height: 1, channels: 1, data: new Uint8Array([65, 66]) };
 * const bytes = y4m({ fps: 8 })(ReadableStream.from([image]));
 * const text = await new Response(ReadableStream.from(bytes)).text();
 * assert.equal(text, "YUV4MPEG2 W2 H1 F8:1 Ip A1:1 Cmono XCOLORRANGE=FULL\nFRAME\nAB");
 * ```
 */
export function y4m(
  options: Y4mOptions = {},
): (images: AsyncIterable<Image>) => AsyncIterable<Uint8Array> {
  const { fps: rate = 24 } = decoded(writing, options, y4mOptions), fps = fractionOf(rate);
  return (images) => ({ [Symbol.asyncIterator]: () => y4mBytes(images, fps) });
}

async function* y4mBytes(
  images: AsyncIterable<Image>,
  fps: readonly [number, number],
): AsyncGenerator<Uint8Array, void, undefined> {
  let started = false;
  for await (const image of sameSize(images)) {
    if (!started) yield y4mHeader(image, fps);
    started = true;
    yield y4mFrame(image);
  }
}

const toColour = (grey: Uint8Array): Uint8Array =>
  Uint8Array.from({ length: 3 * grey.length }, (_, i) => grey[Math.floor(i / 3)]!);

const toGrey = (rgb: Uint8Array): Uint8Array =>
  Uint8Array.from(
    { length: rgb.length / 3 },
    (_, i) =>
      Math.floor((299 * rgb[3 * i]! + 587 * rgb[3 * i + 1]! + 114 * rgb[3 * i + 2]! + 500) / 1000),
  );

/**
 * Pictures as bare bytes, row by row, one piece a picture: ffmpeg's `-f rawvideo`, which must be told the format, the
 * size and the rate.
 *
 * @category Files
 * @param options Format.
 * @returns A function of pictures of one size, whose result is their bytes.
 * @throws {RangeError} If the format is none of the two; while iterated, at a picture of another size than the first.
 * @throws {TypeError} If an option is not known.
 *
 * @example
 * ```ts
 * import { type Image } from "@tweedie/tweedie";
 * import { raw } from "@tweedie/tweedie/io";
 * import assert from "node:assert/strict";
 *
 * const image: Image = { width: 2, height: 1, channels: 1, data: new Uint8Array([1, 2]) };
 * const [bytes] = await Array.fromAsync(raw({ format: "rgb24" })(ReadableStream.from([image])));
 * assert.deepEqual([...bytes!], [1, 1, 1, 2, 2, 2]);
 * ```
 */
export function raw(
  options: RawOptions = {},
): (images: AsyncIterable<Image>) => AsyncIterable<Uint8Array> {
  const { format } = decoded(writing, options, rawOptions);
  return (images) => ({ [Symbol.asyncIterator]: () => rawBytes(images, format) });
}

async function* rawBytes(
  images: AsyncIterable<Image>,
  format: RawOptions["format"],
): AsyncGenerator<Uint8Array, void, undefined> {
  for await (const { channels, data } of sameSize(images)) {
    if (format === "rgb24" && channels === 1) yield toColour(data);
    else if (format === "gray" && channels === 3) yield toGrey(data);
    else yield data;
  }
}

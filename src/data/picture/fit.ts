/**
 * Pictures of any size to images of one: resized by an area filter, cut or padded, grey or in colour.
 *
 * The area filter gives each pixel the mean of what it covers: a pixel of the image stands for a rectangle of the picture,
 * whose pixels count by how much of each lies in it. Where n × m pixels become one, that is their mean, to the rounding of a
 * half upwards; where a picture is enlarged, a pixel takes the value of the one that it lies in, or of its neighbours in
 * part. Values are averaged as they are stored.
 *
 * Source: ITU-R BT.601, section 2.5.1 (grey is 0.299·R + 0.587·G + 0.114·B).
 *
 * @module
 */

import { refusal } from "../../tensor/check/check.ts";
import { among, decoded, is, oneOf, type Rules, whole } from "../../tensor/check/decode.ts";
import { room } from "../file/file.ts";
import type { ImageSet } from "../images.ts";
import type { Picture } from "./decode.ts";
import { PictureFault } from "./header.ts";

/**
 * How a picture becomes an image of another size: `"cover"` is resized until it just covers the image, and cut to its centre;
 * `"pad"` is placed in the middle, on black, made smaller where it does not fit and never larger; `"crop"` is cut to its
 * centre as it is, and must be large enough.
 *
 * @category Data
 */
export type ImageFit = "cover" | "pad" | "crop";

/**
 * Options of {@link fitted}.
 *
 * @category Data
 */
export interface FitOptions {
  /** Height and width of the images. Default: those of the pictures, which must then be of one size. */
  readonly size?: readonly [height: number, width: number];
  /** 1: grey, 3: RGB. Default: 3 if any picture has colours, else 1. */
  readonly channels?: 1 | 3;
  /** How pictures of another size are brought to it. Default: `"cover"`. */
  readonly fit?: ImageFit;
}

/** All ways to fit. */
export const imageFits: readonly ImageFit[] = ["cover", "pad", "crop"];

const isSide = (side: unknown): boolean => whole(1)(side) && side as number <= 65536;

/** The rules of all options of {@link fitted}. */
export const fitRules: Rules<FitOptions> = {
  size: is(
    "a height and a width in [1, 65536]",
    (size: unknown) => Array.isArray(size) && size.length === 2 && size.every(isSide),
  ),
  channels: oneOf(1, 3),
  fit: among(imageFits),
};

/** A rectangle of pixels, also of parts of them. */
interface Region {
  readonly top: number;
  readonly left: number;
  readonly height: number;
  readonly width: number;
}

const centred = (
  { height, width }: Size,
  within: Size,
  round: (offset: number) => number,
): Region => ({
  top: round((within.height - height) / 2),
  left: round((within.width - width) / 2),
  height,
  width,
});

type Size = Pick<Region, "height" | "width">;

/** Which part of the picture becomes which part of the image. */
function regions(picture: Size, image: Size, fit: ImageFit): readonly [from: Region, to: Region] {
  const exactly = (offset: number): number => offset;
  if (fit === "cover") {
    const { height, width } = picture;
    // Whole numbers stay whole, so that whole factors average whole blocks.
    const part = image.height * width >= image.width * height
      ? { height, width: image.width * height / image.height }
      : { height: image.height * width / image.width, width };
    return [centred(part, picture, exactly), centred(image, image, exactly)];
  }
  if (fit === "pad") {
    const scale = Math.min(1, image.height / picture.height, image.width / picture.width);
    const inside = {
      height: Math.max(1, Math.round(picture.height * scale)),
      width: Math.max(1, Math.round(picture.width * scale)),
    };
    return [centred(picture, picture, exactly), centred(inside, image, Math.floor)];
  }
  if (picture.height < image.height || picture.width < image.width) {
    throw new PictureFault(
      `must be at least ${image.height}x${image.width} to be cut to that, got ${picture.height}x${picture.width}`,
    );
  }
  return [centred(image, picture, Math.floor), centred(image, image, exactly)];
}

/** How much of each pixel of a line lies in each of its equal parts. */
interface Coverage {
  readonly first: number;
  readonly weights: readonly number[];
  readonly sum: number;
}

function coverages(offset: number, span: number, parts: number, limit: number): Coverage[] {
  return Array.from({ length: parts }, (_, i) => {
    const from = offset + i * span / parts, to = offset + (i + 1) * span / parts;
    const first = Math.min(Math.floor(from), limit - 1), weights: number[] = [];
    for (let at = first; at < Math.min(Math.ceil(to), limit); at++) {
      weights.push(Math.min(to, at + 1) - Math.max(from, at));
    }
    return { first, weights, sum: weights.reduce((a, b) => a + b, 0) };
  });
}

/**
 * Brings a picture to a size and a number of channels.
 *
 * @param picture The picture.
 * @param shape Height, width and channels of the image.
 * @param fit How.
 * @param out Where its bytes go; they must be 0 where the image is padded.
 * @throws {PictureFault} If it is to be cut and is too small.
 */
export function fitInto(
  picture: Picture,
  [height, width, channels]: readonly [number, number, number],
  fit: ImageFit,
  out: Uint8Array,
): void {
  const [from, to] = regions(picture, { height, width }, fit), { data, channels: given } = picture;
  const rows = coverages(from.top, from.height, to.height, picture.height);
  const columns = coverages(from.left, from.width, to.width, picture.width);
  const line = new Float64Array(picture.width * given), pixel = new Float64Array(given);
  rows.forEach((row, y) => {
    line.fill(0);
    row.weights.forEach((weight, j) => {
      const start = (row.first + j) * line.length;
      for (let k = 0; k < line.length; k++) line[k]! += weight * data[start + k]!;
    });
    columns.forEach((column, x) => {
      pixel.fill(0);
      column.weights.forEach((weight, j) => {
        const start = (column.first + j) * given;
        for (let c = 0; c < given; c++) pixel[c]! += weight * line[start + c]!;
      });
      const area = row.sum * column.sum, at = ((to.top + y) * width + to.left + x) * channels;
      if (given === 3 && channels === 1) {
        const [r, g, b] = pixel as unknown as [number, number, number];
        out[at] = Math.round((0.299 * r + 0.587 * g + 0.114 * b) / area);
      } else for (let c = 0; c < channels; c++) out[at + c] = Math.round(pixel[c % given]! / area);
    });
  });
}

/**
 * A set of images brought to another size or number of channels, by an area filter.
 *
 * @category Data
 * @param set The set.
 * @param options Size, channels, and how.
 * @returns The set of the images; the same where nothing changes.
 * @throws {TypeError} If an option is not known.
 * @throws {RangeError} If an option is out of range, the set's channels are neither 1 nor 3, images are too small to be cut,
 * or there is no room in memory.
 *
 * @example The mean of four pixels; colours to grey
 * ```ts
 * import { fitted } from "@tweedie/tweedie/data";
 * import assert from "node:assert/strict";
 *
 * const set = { images: new Uint8Array([1, 2, 3, 6]), shape: [1, 2, 2, 1] } as const;
 * assert.deepEqual([...fitted(set, { size: [1, 1] }).images], [3]);
 * assert.deepEqual([...fitted(set, { size: [4, 2], fit: "pad" }).images], [0, 0, 1, 2, 3, 6, 0, 0]);
 * const red = { images: new Uint8Array([255, 0, 0]), shape: [1, 1, 1, 3] } as const;
 * assert.deepEqual([...fitted(red, { channels: 1 }).images], [76]);
 * ```
 */
export function fitted(set: ImageSet, options: FitOptions): ImageSet {
  const action = "fit images";
  decoded(action, options, fitRules);
  const { images, shape: [count, height, width, given] } = set, { fit = "cover" } = options;
  if (given !== 1 && given !== 3) {
    throw refusal(action, "the images must have 1 or 3 channels", given);
  }
  const [tall, wide] = options.size ?? [height, width], channels = options.channels ?? given;
  if (tall === height && wide === width && channels === given) return set;
  const shape = [tall, wide, channels] as const, length = tall * wide * channels;
  const out = room(action, "the images", count * length), size = height * width * given;
  try {
    for (let i = 0; i < count; i++) {
      const data = images.subarray(i * size, (i + 1) * size);
      const picture: Picture = { height, width, channels: given, data };
      fitInto(picture, shape, fit, out.subarray(i * length, (i + 1) * length));
    }
  } catch (error) {
    if (!(error instanceof PictureFault)) throw error;
    throw new RangeError(`Cannot ${action}: they ${error.message}`, { cause: error });
  }
  return { ...set, images: out, shape: [count, ...shape] };
}

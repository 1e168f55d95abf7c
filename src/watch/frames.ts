/**
 * Tensors as host images: a batch tiled as one picture.
 *
 * A value v of the range [low, high] becomes the byte ⌊255·(v − low)/(high − low) + ½⌋, after clamping v to the range:
 * rounding is half up, so that the 256 bytes are the nearest ones to equal parts of the range. NaN and infinity have no
 * place in a range, and are refused: clamped, they would pass for black and white.
 *
 * Images are plain bytes on the host. Encoding them is the business of `png`, `apng`, `y4m` and `raw`.
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
import { from } from "ix/asynciterable/asynciterablex";
import { defer } from "ix/asynciterable/defer";
import { map } from "ix/asynciterable/operators/map";
import {
  decoded,
  is,
  oneOf,
  type Rule,
  type Rules,
  showing,
  whole,
  wholeNumber,
} from "../tensor/check/decode.ts";
import { type ArrayView, elementsOf } from "../tensor/ndarray.ts";
import type { Tensor } from "../tensor/tensor.ts";

/**
 * A picture on the host.
 *
 * @category Watchers
 */
export interface Image {
  /** Width in pixels. */
  readonly width: number;
  /** Height in pixels. */
  readonly height: number;
  /** 1 for grey, 3 for red, green, blue. */
  readonly channels: 1 | 3;
  /** Samples 0 to 255, row by row from the top, channels together: shape [height, width, channels]. */
  readonly data: Uint8Array;
}

/**
 * Options of {@link toImage}.
 *
 * @category Watchers
 */
export interface ImageOptions {
  /** Rows and columns of tiles, at least as many as samples. Default: near-square, no fewer columns than rows. */
  readonly grid?: readonly [rows: number, columns: number];
  /**
   * The values drawn as 0 and 255, in units of x. `"auto"`: the least and the greatest value of each batch, for
   * the noise of a variance-exploding schedule; a batch of one value is drawn as 0. Default: [-1, 1].
   */
  readonly range?: readonly [low: number, high: number] | "auto";
  /** Gap between tiles, in pixels before scaling. Default: 0, which keeps sizes even, as video encoders want. */
  readonly pad?: number;
  /** Grey level of gaps and empty tiles, 0 to 255. Default: 0. */
  readonly background?: number;
  /** Each pixel becomes scale × scale pixels. Default: 1. */
  readonly scale?: number;
}

/**
 * What a picture is made of: x of a state, and its prediction of x0 where there is one.
 *
 * @category Watchers
 */
export interface Drawable {
  /** A batch of images, as a tensor or as a view of an array on the host. */
  readonly x: Tensor | ArrayView;
  /** The x0 prediction. Default: there is none. */
  readonly x0?: Tensor;
}

/** The rule of two numbers, which are shown as such. */
const pair = (wanted: string, fits: (value: unknown) => boolean): Rule =>
  showing(is(wanted, fits), (value: unknown) => `[${value}]`);

const isPair = (value: unknown): value is readonly [number, number] =>
  Array.isArray(value) && value.length === 2;

const imageOptions: Rules<ImageOptions> = {
  grid: pair("two whole numbers of at least 1", (grid) => isPair(grid) && grid.every(whole(1))),
  range: pair(
    'two finite numbers, the lesser first, or "auto"',
    (range) =>
      range === "auto" || isPair(range) && range.every(Number.isFinite) && range[0] < range[1],
  ),
  pad: wholeNumber(0),
  background: is("a whole number in [0, 255]", (grey) => whole(0)(grey) && grey <= 255),
  scale: wholeNumber(1),
};

/**
 * Options of {@link frames}.
 *
 * @category Watchers
 */
export interface FrameOptions extends ImageOptions {
  /**
   * What to draw: `"x"` the state x_t; `"x0"` the x0 prediction that led there, or x_t where there is none, as at the
   * start. Default: `"x"`.
   */
  readonly of?: "x" | "x0";
}

const frameOptions: Rules<FrameOptions> = {
  ...imageOptions,
  of: showing(oneOf("x", "x0"), String),
};

const making = "make an image";

/** The most bytes of a picture: a writer needs some three times as many. */
const mostBytes = 2 ** 30;

function refuse(parameter: string, wanted: string, got: unknown, action = making): never {
  throw new RangeError(`Cannot ${action}: ${parameter} must be ${wanted}, got ${got}`);
}

type Shape = readonly [count: number, height: number, width: number, channels: 1 | 3];

/** The shape of a batch; a view may leave out the count and the channels, as that of a lattice of spins does. */
function shapeOf(x: Tensor | ArrayView, name: string): Shape {
  if (isView(x)) {
    const { shape } = x, [count, height, width] = shape.length === 2 ? [1, ...shape] : shape;
    const channels = shape.length === 4 ? shape[3] : 1, isBatch = [2, 3, 4].includes(shape.length);
    if (isBatch && shape.every((size) => size > 0) && (channels === 1 || channels === 3)) {
      return [count!, height!, width!, channels];
    }
    refuse(
      name,
      "a view of shape [height, width], [count, height, width] or as a tensor",
      `[${shape}]`,
    );
  }
  if (!(x instanceof tf.Tensor) || x.isDisposed) {
    const got = x instanceof tf.Tensor ? "one that was disposed of" : typeof x;
    throw new TypeError(`Cannot ${making}: ${name} must be a tensor that lives, got ${got}`);
  }
  const [count, height, width, channels] = x.shape;
  if (x.shape.length !== 4 || x.size === 0 || (channels !== 1 && channels !== 3)) {
    refuse(name, "of shape [count, height, width, 1 or 3] and not empty", `[${x.shape}]`);
  }
  return [count!, height!, width!, channels];
}

const isView = (x: Tensor | ArrayView): x is ArrayView =>
  !(x instanceof tf.Tensor) && ArrayBuffer.isView((x as Partial<ArrayView> | undefined)?.data);

/** The given grid, or the nearest to a square that holds the count. */
function gridOf(count: number, grid: ImageOptions["grid"]): readonly [number, number] {
  const columns = Math.ceil(Math.sqrt(count));
  const [rows, across] = grid ?? [Math.ceil(count / columns), columns];
  if (rows * across < count) refuse("grid", `of at least ${count} tiles`, `[${grid}]`);
  return [rows, across];
}

/** Refuses a picture that would not fit into memory, before anything is made of it. */
function checkSize(
  [, h, w, channels]: Shape,
  [rows, columns]: readonly [number, number],
  { pad = 0, scale = 1 }: ImageOptions,
): void {
  const height = (rows * (h + pad) - pad) * scale, width = (columns * (w + pad) - pad) * scale;
  const bytes = height * width * channels;
  if (bytes <= mostBytes) return;
  refuse(
    "the picture",
    `of at most ${mostBytes} bytes`,
    `${bytes} (${width}x${height}x${channels})`,
  );
}

/** Refuses NaN and infinity, with the first sample that holds one. */
function checkFinite(values: ArrayLike<number>, [count]: Shape, name: string): void {
  for (let i = 0; i < values.length; i++) {
    if (Number.isFinite(values[i])) continue;
    refuse(name, "finite", `${values[i]} in sample ${Math.floor(i * count / values.length)}`);
  }
}

function extent(values: ArrayLike<number>): [number, number] {
  let low = Infinity, high = -Infinity;
  for (let i = 0; i < values.length; i++) {
    const value = values[i]!;
    if (value < low) low = value;
    if (value > high) high = value;
  }
  return [low, high];
}

/** Values to bytes, as the head of this file says. */
function quantized(values: ArrayLike<number>, range: ImageOptions["range"]): Uint8Array {
  const [low, high] = range === "auto" ? extent(values) : range ?? [-1, 1];
  const bytes = new Uint8Array(values.length);
  for (let i = 0; i < bytes.length; i++) {
    const value = Math.min(Math.max(values[i]!, low), high);
    // An empty range gives NaN here, which a byte array takes for 0.
    bytes[i] = Math.floor((value - low) * 255 / (high - low) + 0.5);
  }
  return bytes;
}

/** Puts the samples of a batch side by side, row by row of the grid. */
function tiled(
  bytes: Uint8Array,
  shape: Shape,
  grid: readonly [number, number],
  options: ImageOptions,
): Image {
  const [count, h, w, channels] = shape,
    { pad = 0, background = 0 } = options,
    [rows, columns] = grid;
  const height = rows * (h + pad) - pad, width = columns * (w + pad) - pad;
  const data = new Uint8Array(height * width * channels).fill(background), line = w * channels;
  for (let i = 0; i < count * h; i++) {
    const sample = Math.floor(i / h), tileRow = Math.floor(sample / columns);
    const y = tileRow * (h + pad) + i % h, left = (sample % columns) * (w + pad);
    data.set(bytes.subarray(i * line, (i + 1) * line), (y * width + left) * channels);
  }
  return { width, height, channels, data };
}

/** Nearest-neighbour enlargement by a whole factor. */
function enlarged(image: Image, scale: number): Image {
  if (scale === 1) return image;
  const width = image.width * scale, height = image.height * scale, { channels } = image;
  const data = new Uint8Array(width * height * channels), line = width * channels;
  for (let i = 0; i < data.length; i++) {
    const y = Math.floor(i / line / scale), x = Math.floor((i % line) / channels / scale);
    data[i] = image.data[(y * image.width + x) * channels + i % channels]!;
  }
  return { width, height, channels, data };
}

/**
 * A batch as one picture: its samples side by side in a grid, row by row.
 *
 * @category Watchers
 * @param x Shape [count, height, width, 1 or 3], or a view of an array on the host, such as spins [count, height, width] or
 *   [height, width]. A tensor is not disposed of; it must live until the promise settles.
 * @param options Grid, range of values, gaps, scale.
 * @returns The picture, (rows·(height + pad) − pad)·scale pixels high and as wide in its turn.
 * @throws {RangeError} If x is not such a batch, or holds NaN or infinity, with the sample; if an option is out of its range,
 * the grid is too small, or the picture too large for the memory.
 * @throws {TypeError} If an option is not known, or x was disposed of.
 *
 * @example Two grey samples of one pixel: −1 is black, 1 is white
 * ```ts
 * import { toImage } from "@tweedie/tweedie";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import * as tf from "@tensorflow/tfjs-core";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const image = await toImage(tf.tensor([-1, 1], [2, 1, 1, 1]));
 * assert.deepEqual(image, { width: 2, height: 1, channels: 1, data: new Uint8Array([0, 255]) });
 * ```
 */
export async function toImage(x: Tensor | ArrayView, options: ImageOptions = {}): Promise<Image> {
  return await drawn(x, "x", decoded(making, options, imageOptions));
}

async function drawn(
  x: Tensor | ArrayView,
  name: string,
  options: ImageOptions,
): Promise<Image> {
  const shape = shapeOf(x, name), grid = gridOf(shape[0], options.grid);
  checkSize(shape, grid, options);
  const values = isView(x) ? elementsOf(x) : await x.data();
  checkFinite(values, shape, name);
  const bytes = quantized(values, options.range);
  return enlarged(tiled(bytes, shape, grid, options), options.scale ?? 1);
}

/**
 * Pictures of the states of a trajectory, one for each.
 *
 * @category Watchers
 * @param options What to draw and how.
 * @returns The watcher: pictures as they are pulled.
 * @throws {RangeError} If an option is out of its range; while iterated, if a state is not a batch of images, or holds NaN or
 * infinity.
 * @throws {TypeError} If an option is not known.
 *
 * @example The x0 preview, enlarged
 * ```ts
 * import { frames } from "@tweedie/tweedie";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import * as tf from "@tensorflow/tfjs-core";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const state = { x: tf.zeros([4, 2, 2, 3]), x0: tf.ones([4, 2, 2, 3]) };
 * const [image] = await Array.fromAsync(frames({ of: "x0", scale: 5 })(ReadableStream.from([state])));
 * assert.deepEqual([image!.width, image!.height, image!.data[0]], [20, 20, 255]);
 * ```
 */
export function frames(
  options: FrameOptions = {},
): (source: AsyncIterable<Drawable>) => AsyncIterable<Image> {
  decoded(making, options, frameOptions);
  return map(({ x, x0 }: Drawable) => {
    const ofX0 = options.of === "x0" && x0 !== undefined;
    return drawn(ofX0 ? x0 : x, ofX0 ? "x0" : "x", options);
  });
}

const sizeOf = ({ width, height, channels }: Image): string => `${width}x${height}x${channels}`;

/**
 * Throws unless a picture has pixels and as many bytes as they need.
 *
 * @category Watchers
 * @param image The picture.
 * @param name What to call it in the message. Default: `"image"`.
 * @throws {RangeError} If width or height is not a whole number of at least 1, channels are neither 1 nor 3, or the data
 * are not width·height·channels bytes.
 * @throws {TypeError} If the data are not bytes.
 *
 * @example
 * ```ts
 * import { checkImage } from "@tweedie/tweedie/watch";
 * import assert from "node:assert/strict";
 *
 * const short = { width: 2, height: 2, channels: 1, data: new Uint8Array(3) } as const;
 * assert.throws(() => checkImage(short), /image must be of 4 bytes, got 3/);
 * ```
 */
export function checkImage(image: Image, name: string = "image"): void {
  const { width, height, channels, data } = image;
  if (![width, height].every(whole(1)) || (channels !== 1 && channels !== 3)) {
    refuse(name, "at least 1x1 with 1 or 3 channels", sizeOf(image), "encode");
  }
  const wanted = width * height * channels;
  if (!(data instanceof Uint8Array) && !((data as unknown) instanceof Uint8ClampedArray)) {
    const got = Object.prototype.toString.call(data).slice(8, -1);
    throw new TypeError(
      `Cannot encode an image: ${name} must have data in a Uint8Array, got ${got}`,
    );
  }
  if (data.length !== wanted) refuse(name, `of ${wanted} bytes`, data.length, "encode");
}

/**
 * Passes pictures on if each is whole and all are of one size, as films must be.
 *
 * @category Watchers
 * @param source Pictures.
 * @returns The same pictures.
 * @throws {RangeError} While iterated, at the first picture, counted from 0, that has no pixels, whose bytes do not fit
 * its size, or that is of another size than the first.
 *
 * @example
 * ```ts
 * import { type Image } from "@tweedie/tweedie";
 * import { sameSize } from "@tweedie/tweedie/watch";
 * import assert from "node:assert/strict";
 *
 * const image = (width: number): Image => ({ width, height: 1, channels: 1, data: new Uint8Array(width) });
 * await assert.rejects(
 *   Array.fromAsync(sameSize([image(2), image(3)])),
 *   /picture 1 must be 2x1x1 like the first, got 3x1x1/,
 * );
 * ```
 */
export function sameSize(source: AsyncIterable<Image> | Iterable<Image>): AsyncIterable<Image> {
  return defer(() => {
    let first: string | undefined;
    return map((image: Image, index) => {
      const name = `picture ${index}`, size = sizeOf(image);
      checkImage(image, name);
      first ??= size;
      if (size !== first) refuse(name, `${first} like the first`, size, "encode");
      return image;
    })(from(source));
  });
}

/**
 * Training data on the host: endless batches that are pure functions of a key, and the sets that they are made of.
 *
 * The batches read one long stream of samples: epoch 0 in a random order, then epoch 1 in another, and so on. Sample p
 * of the stream belongs to epoch floor(p / N), and its place there, its flip and its dequantization noise depend on the
 * key and on p alone. Batch b holds samples b·size to (b+1)·size - 1, across the border of an epoch where need be:
 * nothing is dropped, and a run that resumes at batch b sees what it would have seen.
 *
 * Source: L. Theis, A. van den Oord, M. Bethge, "A note on the evaluation of generative models" (ICLR 2016), section 3.1
 * (uniform dequantization).
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
import { refusal } from "../tensor/check/check.ts";
import {
  boolean,
  decoded,
  is,
  needed,
  type Rule,
  type Rules,
  whole,
} from "../tensor/check/decode.ts";
import { fillBits, fold, type Key } from "../tensor/key.ts";
import { uniforms } from "../tensor/random.ts";
import type { ImageClasses, ImageSet, ImageSource } from "./images.ts";

/**
 * A batch on the host.
 *
 * @category Data
 */
export interface ImageBatch {
  /** Pixels in [-1, 1], NHWC. */
  readonly images: Float32Array;
  /** [size, H, W, C]. */
  readonly shape: readonly [number, number, number, number];
  /** The class of each image, where the set has them. */
  readonly labels?: Int32Array;
  /** Number of this batch, from 0: to go on behind it, start at `position + 1`. */
  readonly position: number;
}

/**
 * Options of {@link batches}.
 *
 * @category Data
 */
export interface BatchOptions {
  /** Images a batch. */
  readonly size: number;
  /** Root of the order, the flips and the dequantization. */
  readonly key: Key;
  /** Mirror every image left to right with probability 1/2. Default: false. */
  readonly flip?: boolean;
  /** Uniform dequantization, (x + u)/128 - 1 with u in [0, 1), instead of x/127.5 - 1. Default: false. */
  readonly dequantize?: boolean;
  /** Number of the first batch. Default: 0. */
  readonly start?: number;
}

const count = (least: number): Rule =>
  is(
    `a whole number in [${least}, 2^32)`,
    (value: unknown) => whole(least)(value) && (value as number) < 2 ** 32,
  );

const isWord = (word: unknown): boolean => whole(0)(word) && (word as number) < 2 ** 32;

/** A key; a seed in its place would be one of which every word is NaN. */
const aKey = is(
  "a key, such as key(0) gives",
  (key: Key | null) => isWord(key?.hi) && isWord(key?.lo),
);

const batchRules: Rules<BatchOptions> = {
  size: needed(count(1)),
  key: needed(aKey),
  flip: boolean,
  dequantize: boolean,
  start: count(0),
};

const permutationRules: Rules<{ n: number; key: Key }> = { n: needed(count(0)), key: needed(aKey) };

/**
 * A random order of 0 to n - 1, by Fisher and Yates, from the key's bits. Its bias is below n·2⁻³².
 *
 * @category Data
 * @param key The key.
 * @param n How many; at least 0.
 * @returns Each of 0 to n - 1 once.
 * @throws {RangeError} If `n` is not a whole number in [0, 2³²), or there is no room in memory for so many; if the key is none.
 *
 * @example
 * ```ts
 * import { key } from "@tweedie/tweedie";
 * import { permutation } from "@tweedie/tweedie/data";
 * import assert from "node:assert/strict";
 *
 * assert.deepEqual([...permutation(key(1), 5)].sort(), [0, 1, 2, 3, 4]);
 * ```
 */
export function permutation(key: Key, n: number): Uint32Array {
  decoded("permute", { n, key }, permutationRules);
  const order = fitting("permute", "n", n, () => new Uint32Array(n)).map((_, i) => i);
  const words = fillBits(key, fitting("permute", "n", n, () => new Uint32Array(n)));
  for (let i = n - 1; i > 0; i--) {
    const j = Math.floor(words[i]! * 2 ** -32 * (i + 1));
    [order[i], order[j]] = [order[j]!, order[i]!];
  }
  return order;
}

/**
 * Options of {@link batches} of images that are read as they are needed.
 *
 * @category Data
 */
export interface SourceBatchOptions extends BatchOptions {
  /** How many batches are read before they are asked for, besides the one that is. Default: 2. */
  readonly ahead?: number;
}

const sourceRules: Rules<SourceBatchOptions> = { ...batchRules, ahead: count(0) };

/**
 * Endless shuffled batches. Each is a pure function of the set, the options and its position, so a run that starts at
 * batch b gets bit for bit what an unbroken one gets; each epoch visits each image once.
 *
 * Those of images that are read as they are needed are the same, bit for bit, and come asynchronously: a few are read ahead,
 * and whoever stops taking them calls that off, and waits until nothing is under way.
 *
 * @category Data
 * @param set The images.
 * @param options Size, key and augmentation.
 * @returns A lazy stream that can be iterated again and again, and never ends: break out of it, or `take`. A plain
 * `for await` reads it as well.
 * @throws {RangeError} If the set is empty, its arrays do not fit its shape, a label is none of its classes, or an option
 * is out of its range; when a batch is made, if there is no room in memory for it.
 * @throws {TypeError} If an option is not known, or the images or the labels are not bytes.
 *
 * @example Resume at batch 7
 * ```ts
 * import { batches, key } from "@tweedie/tweedie";
 * import assert from "node:assert/strict";
 *
 * const set = { images: new Uint8Array([0, 51, 255]), shape: [3, 1, 1, 1] } as const;
 * const options = { size: 2, key: key(0), dequantize: true };
 * const all: Float32Array[] = [];
 * for (const { images, position } of batches(set, options)) {
 *   all.push(images);
 *   if (position === 7) break;
 * }
 * for (const { images } of batches(set, { ...options, start: 7 })) {
 *   assert.deepEqual(images, all[7]);
 *   break;
 * }
 * ```
 */
export function batches(set: ImageSet, options: BatchOptions): Iterable<ImageBatch>;
/** The same, of images that are read as they are needed. */
export function batches(
  source: ImageSource,
  options: SourceBatchOptions,
): AsyncIterable<ImageBatch>;
/** The same, of either. */
export function batches(
  images: ImageSet | ImageSource,
  options: BatchOptions,
): Iterable<ImageBatch> | AsyncIterable<ImageBatch>;
export function batches(
  images: ImageSet | ImageSource,
  options: SourceBatchOptions,
): Iterable<ImageBatch> | AsyncIterable<ImageBatch> {
  if ("pixels" in images) return streamed(images, options);
  decoded(making, options, batchRules);
  checkSet(images);
  return {
    *[Symbol.iterator](): Generator<ImageBatch, void, undefined> {
      const draw = drawer(images, options), length = pixelsOf(images);
      for (let position = options.start ?? 0;; position++) {
        const { numbers, filled } = draw(position);
        yield filled((i) =>
          images.images.subarray(numbers[i]! * length, (numbers[i]! + 1) * length)
        );
      }
    },
  };
}

/** Batches of which the next few are being read. */
function streamed(
  source: ImageSource,
  options: SourceBatchOptions,
): AsyncIterable<ImageBatch> {
  decoded(making, options, sourceRules);
  checkClasses(source);
  const { ahead = 2, start = 0 } = options, length = pixelsOf(source);
  return {
    async *[Symbol.asyncIterator](): AsyncGenerator<ImageBatch, void, undefined> {
      const draw = drawer(source, options), stop = new AbortController();
      const read = async (position: number): Promise<ImageBatch> => {
        const { numbers, filled } = draw(position);
        const all = await source.pixels(numbers, stop.signal);
        return filled((i) => all.subarray(i * length, (i + 1) * length));
      };
      const coming: Promise<ImageBatch>[] = [];
      try {
        for (let position = start;; position++) {
          while (coming.length <= ahead) {
            const next = read(position + coming.length);
            // What is read ahead and goes wrong is heard of when it is asked for.
            next.catch(() => undefined);
            coming.push(next);
          }
          yield await coming.shift()!;
        }
      } finally {
        stop.abort();
        await Promise.allSettled(coming);
      }
    },
  };
}

const pixelsOf = ({ shape: [, h, w, c] }: ImageSet | ImageSource): number => h * w * c;

/** A batch that waits for the pixels of its images. */
interface Drawn {
  /** The numbers of the images. */
  readonly numbers: Uint32Array;
  /** The batch, of the pixels of each. */
  readonly filled: (pixels: (index: number) => Uint8Array) => ImageBatch;
}

/** Position to which images a batch is of; remembers the order of one epoch. */
function drawer(
  set: ImageSet | ImageSource,
  options: BatchOptions,
): (position: number) => Drawn {
  const { size } = options, [n, h, w, c] = set.shape, length = h * w * c;
  const indexOf = shuffled(n, fold(options.key, "order")), fill = filler(set.shape, options);
  return (position) => {
    const images = fitting(making, "size", size, () => new Float32Array(size * length));
    const numbers = Uint32Array.from({ length: size }, (_, i) => indexOf(position * size + i));
    const filled: Drawn["filled"] = (pixels) => {
      numbers.forEach((_, i) =>
        fill(pixels(i), position * size + i, images.subarray(i * length, (i + 1) * length))
      );
      return { images, shape: [size, h, w, c], ...labelsAt(set, numbers), position };
    };
    return { numbers, filled };
  };
}

function labelsAt({ labels }: ImageClasses, indices: Uint32Array): { labels?: Int32Array } {
  return labels ? { labels: Int32Array.from(indices, (at) => labels[at]!) } : {};
}

/** Sample of the stream to image of the set: an order for each epoch, of which the latest is remembered. */
function shuffled(n: number, key: Key): (sample: number) => number {
  let epoch = -1, order: Uint32Array = new Uint32Array();
  return (sample) => {
    const current = Math.floor(sample / n);
    if (current !== epoch) [epoch, order] = [current, permutation(fold(key, current), n)];
    return order[sample % n]!;
  };
}

/** Writes the pixels of an image into `out`, as sample `sample` of the stream. */
function filler(
  shape: ImageSet["shape"],
  { key, flip = false, dequantize = false }: BatchOptions,
): (pixels: Uint8Array, sample: number, out: Float32Array) => void {
  const upright = Uint32Array.from({ length: tf.util.sizeFromShape(shape.slice(1)) }, (_, i) => i),
    mirror = mirrored(shape);
  const flipKey = fold(key, "flip"), noiseKey = fold(key, "dequantize");
  return (pixels, sample, out) => {
    const from = flip && fold(flipKey, sample).lo & 1 ? mirror : upright;
    const noise = dequantize ? uniforms(fold(noiseKey, sample), out.length) : undefined;
    for (let i = 0; i < out.length; i++) {
      const x = pixels[from[i]!]!;
      out[i] = noise ? (x + noise[i]!) / 128 - 1 : x / 127.5 - 1;
    }
  };
}

/** Where each element of a mirrored image comes from. */
function mirrored([, h, w, c]: ImageSet["shape"]): Uint32Array {
  return Uint32Array.from({ length: h * w * c }, (_, i) => {
    const channel = i % c, column = Math.floor(i / c) % w;
    return i - channel - column * c + (w - 1 - column) * c + channel;
  });
}

const making = "make batches";

const refused = (what: string, wanted: string, got: unknown): RangeError =>
  new RangeError(`Cannot ${making}: ${what} must be ${wanted}, got ${got}`);

function checkSet(set: ImageSet): void {
  const { images, shape } = set;
  checkBytes("images", images);
  checkShape(shape);
  if (images.length !== tf.util.sizeFromShape([...shape])) {
    throw refused(
      "images",
      `${tf.util.sizeFromShape([...shape])} bytes (shape ${shape.join("x")})`,
      images.length,
    );
  }
  checkClasses(set);
}

function checkShape(shape: ImageSet["shape"]): void {
  const whole = Array.isArray(shape) && shape.length === 4 &&
    shape.every((size) => Number.isSafeInteger(size) && size > 0);
  if (!whole) throw refused("shape", "[N, H, W, C], each at least 1", `[${shape}]`);
}

function checkClasses(
  { shape, labels, classes, classCount }: ImageClasses & Pick<ImageSet, "shape">,
): void {
  checkShape(shape);
  if (labels === undefined) return;
  if (!(labels instanceof Uint16Array)) checkBytes("labels", labels);
  if (labels.length !== shape[0]) throw refused("labels", `${shape[0]} numbers`, labels.length);
  const count = classes?.length ?? classCount ?? Infinity;
  const wrong = labels.find((label) => label >= count);
  if (wrong !== undefined) throw refused("labels", `in [0, ${count}), the classes`, wrong);
}

/** Floats would be taken for bytes of 0 and 1. */
function checkBytes(what: string, data: unknown): void {
  if (data instanceof Uint8Array || data instanceof Uint8ClampedArray) return;
  const got = Object.prototype.toString.call(data).slice(8, -1);
  throw new TypeError(`Cannot ${making}: ${what} must be a Uint8Array, got ${got}`);
}

/** Memory, or an error that names what asks for too much of it. */
function fitting<A>(action: string, name: string, value: number, make: () => A): A {
  try {
    return make();
  } catch {
    throw refusal(action, `${name} must be of a size that fits into memory`, value);
  }
}

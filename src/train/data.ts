/**
 * Training data on the host: IDX files, and endless batches that are pure functions of a key.
 *
 * The batches read one long stream of samples: epoch 0 in a random order, then epoch 1 in another, and so on. Sample p
 * of the stream belongs to epoch floor(p / N), and its place there, its flip and its dequantization noise depend on the
 * key and on p alone. Batch b holds samples b·size to (b+1)·size - 1, across the border of an epoch where need be:
 * nothing is dropped, and a run that resumes at batch b sees what it would have seen.
 *
 * Sources: Y. LeCun, C. Cortes, C. Burges, "The MNIST database of handwritten digits" (the IDX format); H. Xiao, K.
 * Rasul, R. Vollgraf, "Fashion-MNIST: a novel image dataset for benchmarking machine learning algorithms" (2017),
 * table 1 (class names); L. Theis, A. van den Oord, M. Bethge, "A note on the evaluation of generative models" (ICLR
 * 2016), section 3.1 (uniform dequantization).
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
import { gunzipSync } from "node:zlib";
import { fillBits, fold, type Key } from "../tensor/key.ts";
import { uniforms } from "../tensor/random.ts";

/** An array of bytes with a shape, as an IDX file holds it. */
export interface IdxArray {
  /** Size of each axis, at least one. */
  readonly shape: readonly number[];
  /** The bytes, the last axis fastest. */
  readonly data: Uint8Array;
}

/** Images of one size, with or without classes. */
export interface ImageSet {
  /** Pixels, 0 to 255, NHWC. */
  readonly images: Uint8Array;
  /** [N, H, W, C]. */
  readonly shape: readonly [number, number, number, number];
  /** The class of each image, N whole numbers. */
  readonly labels?: Uint8Array;
  /** The name of each class. */
  readonly classes?: readonly string[];
}

/** A batch on the host. */
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

/** Options of {@link batches}. */
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

/** Which half of Fashion-MNIST: 60,000 images to train on, or 10,000 to test with. */
export type Split = "train" | "test";

/** Element types of IDX by their code. */
const idxTypes: Readonly<Record<number, string>> = {
  0x08: "unsigned byte",
  0x09: "signed byte",
  0x0b: "short",
  0x0c: "int",
  0x0d: "float",
  0x0e: "double",
};

const fashionClasses = [
  "T-shirt/top",
  "Trouser",
  "Pullover",
  "Dress",
  "Coat",
  "Sandal",
  "Shirt",
  "Sneaker",
  "Bag",
  "Ankle boot",
] as const;

function fault(what: string, wanted: string, got: unknown): SyntaxError {
  return new SyntaxError(`Cannot decode IDX: ${what} must be ${wanted}, got ${got}`);
}

/**
 * Reads an IDX file of unsigned bytes, compressed by gzip or not.
 *
 * @param bytes The whole file.
 * @returns Shape and data. The data are a view into the bytes where these are not compressed.
 * @throws {SyntaxError} If the compressed data are damaged, the elements are not unsigned bytes, or there are more or
 * fewer of them than the header says.
 *
 * @example Two numbers
 * ```ts
 * import { decodeIdx } from "@tweedie/tweedie";
 * import assert from "node:assert/strict";
 *
 * const { shape, data } = decodeIdx(new Uint8Array([0, 0, 8, 1, 0, 0, 0, 2, 40, 41]));
 * assert.deepEqual([shape, [...data]], [[2], [40, 41]]);
 * ```
 */
export function decodeIdx(bytes: Uint8Array): IdxArray {
  const plain = isGzip(bytes) ? unzipped(bytes) : bytes, shape = idxShape(plain);
  const data = plain.subarray(4 + 4 * shape.length), wanted = tf.util.sizeFromShape([...shape]);
  if (data.length !== wanted) {
    throw fault("data", `${wanted} bytes (shape ${shape.join("x")})`, data.length);
  }
  return { shape, data };
}

const isGzip = (bytes: Uint8Array): boolean => bytes[0] === 0x1f && bytes[1] === 0x8b;

function unzipped(bytes: Uint8Array): Uint8Array {
  try {
    const { buffer, byteOffset, byteLength } = gunzipSync(bytes);
    return new Uint8Array(buffer, byteOffset, byteLength);
  } catch (cause) {
    throw fault("gzip data", "whole", `an error: ${(cause as Error).message}`);
  }
}

/** The shape that the header gives: 0, 0, type, rank, and a big-endian 32-bit size for each axis. */
function idxShape(bytes: Uint8Array): number[] {
  if (bytes.length < 4) throw fault("file", "at least 4 bytes", bytes.length);
  const [zero, zero2, type, rank] = bytes as unknown as [number, number, number, number];
  if (zero || zero2) throw fault("first two bytes", "0, 0", `${zero}, ${zero2}`);
  if (type !== 8) {
    throw fault("element type", "8 (unsigned byte)", `${type} (${idxTypes[type] ?? "unknown"})`);
  }
  if (rank === 0) throw fault("rank", "at least 1", rank);
  if (bytes.length < 4 + 4 * rank) {
    throw fault(`header of rank ${rank}`, `${4 + 4 * rank} bytes`, bytes.length);
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  return Array.from({ length: rank }, (_, axis) => view.getUint32(4 + 4 * axis));
}

/**
 * Reads an IDX file of unsigned bytes, compressed by gzip or not.
 *
 * @param path Where it is.
 * @returns Shape and data.
 * @throws {SyntaxError} If the file is damaged, as {@link decodeIdx} does, with the path.
 * @throws {Deno.errors.NotFound} If there is no such file.
 */
export async function readIdx(path: string): Promise<IdxArray> {
  const bytes = await Deno.readFile(path);
  try {
    return decodeIdx(bytes);
  } catch (cause) {
    throw new SyntaxError(`${(cause as Error).message}, in ${path}`, { cause });
  }
}

/**
 * Fashion-MNIST: 28x28 grey images of ten kinds of clothes.
 *
 * @param folder Where the four files are, gzipped (`.gz`) or not. Default: where Debian's package
 * `dataset-fashion-mnist` puts them.
 * @param split Which half. Default: `"train"`.
 * @returns Images [60000, 28, 28, 1] or [10000, 28, 28, 1], labels and class names.
 * @throws {Error} If the files are not there, with how to get them.
 * @throws {SyntaxError} If they are damaged, or do not fit each other.
 *
 * @example
 * ```ts ignore
 * import { fashionMnist } from "@tweedie/tweedie";
 *
 * const { classes, labels } = await fashionMnist();
 * console.log(classes![labels![0]!]); // Ankle boot
 * ```
 */
export async function fashionMnist(
  folder: string = "/usr/share/datasets/fashion-mnist",
  split: Split = "train",
): Promise<ImageSet> {
  const stem = `${folder}/${split === "test" ? "t10k" : "train"}`;
  const [images, labels] = await Promise.all([
    readFashion(`${stem}-images-idx3-ubyte`),
    readFashion(`${stem}-labels-idx1-ubyte`),
  ]);
  return labelled(images, labels, folder);
}

/** An IDX file by its name without `.gz`, compressed or not; where both are there, the compressed one. */
async function readFashion(path: string): Promise<IdxArray> {
  let missing: unknown;
  for (const file of [`${path}.gz`, path]) {
    try {
      return await readIdx(file);
    } catch (cause) {
      if (!isAbsence(cause)) throw cause;
      missing = cause;
    }
  }
  const advice =
    "`apt install dataset-fashion-mnist` or https://github.com/zalandoresearch/fashion-mnist has it";
  throw new Error(
    `Cannot read Fashion-MNIST: ${path} or ${path}.gz must be there, got no such file (${advice})`,
    { cause: missing },
  );
}

const isAbsence = (error: unknown): boolean =>
  error instanceof Deno.errors.NotFound || error instanceof Deno.errors.NotADirectory;

function labelled(images: IdxArray, labels: IdxArray, folder: string): ImageSet {
  const [n, h, w] = images.shape as [number, number, number];
  const refuse = (what: string, wanted: unknown, got: unknown): SyntaxError =>
    new SyntaxError(
      `Cannot read Fashion-MNIST: ${what} must be ${wanted}, got ${got}, in ${folder}`,
    );
  if (images.shape.length !== 3) throw refuse("rank of the images", 3, images.shape.length);
  if (`${labels.shape}` !== `${n}`) {
    throw refuse("shape of the labels", `[${n}]`, `[${labels.shape}]`);
  }
  const wrong = labels.data.find((label) => label >= fashionClasses.length);
  if (wrong !== undefined) throw refuse("labels", "0 to 9", wrong);
  return { images: images.data, shape: [n, h, w, 1], labels: labels.data, classes: fashionClasses };
}

/**
 * A random order of 0 to n - 1, by Fisher and Yates, from the key's bits. Its bias is below n·2⁻³².
 *
 * @param key The key.
 * @param n How many; at least 0.
 * @returns Each of 0 to n - 1 once.
 * @throws {RangeError} If `n` is not a whole number in [0, 2³²).
 *
 * @example
 * ```ts
 * import { key, permutation } from "@tweedie/tweedie";
 * import assert from "node:assert/strict";
 *
 * assert.deepEqual([...permutation(key(1), 5)].sort(), [0, 1, 2, 3, 4]);
 * ```
 */
export function permutation(key: Key, n: number): Uint32Array {
  checkCount("permute", "n", n, 0);
  const order = Uint32Array.from({ length: n }, (_, i) => i),
    words = fillBits(key, new Uint32Array(n));
  for (let i = n - 1; i > 0; i--) {
    const j = Math.floor(words[i]! * 2 ** -32 * (i + 1));
    [order[i], order[j]] = [order[j]!, order[i]!];
  }
  return order;
}

/**
 * Endless shuffled batches. Each is a pure function of the set, the options and its position, so a run that starts at
 * batch b gets bit for bit what an unbroken one gets; each epoch visits each image once.
 *
 * @param set The images.
 * @param options Size, key and augmentation.
 * @returns A lazy stream that can be iterated again and again, and never ends: break out of it, or `take`. A plain
 * `for await` reads it as well.
 * @throws {RangeError} If the set is empty, its arrays do not fit its shape, or `size` or `start` are out of range.
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
export function batches(set: ImageSet, options: BatchOptions): Iterable<ImageBatch> {
  checkSet(set);
  checkCount("make batches", "size", options.size, 1);
  checkCount("make batches", "start", options.start ?? 0, 0);
  return {
    *[Symbol.iterator](): Generator<ImageBatch, void, undefined> {
      const batchAt = reader(set, options);
      for (let position = options.start ?? 0;; position++) yield batchAt(position);
    },
  };
}

/** Position to batch; remembers the order of one epoch. */
function reader(set: ImageSet, options: BatchOptions): (position: number) => ImageBatch {
  const { size } = options, [n, h, w, c] = set.shape, pixels = h * w * c;
  const indexOf = shuffled(n, fold(options.key, "order")), fill = filler(set, options);
  return (position) => {
    const indices = Uint32Array.from({ length: size }, (_, i) => indexOf(position * size + i));
    const images = new Float32Array(size * pixels);
    indices.forEach((at, i) =>
      fill(at, position * size + i, images.subarray(i * pixels, (i + 1) * pixels))
    );
    return { images, shape: [size, h, w, c], ...labelsAt(set, indices), position };
  };
}

function labelsAt({ labels }: ImageSet, indices: Uint32Array): { labels?: Int32Array } {
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

/** Writes image `at` of the set into `out`, as sample `sample` of the stream. */
function filler(
  { images, shape }: ImageSet,
  { key, flip = false, dequantize = false }: BatchOptions,
): (at: number, sample: number, out: Float32Array) => void {
  const upright = Uint32Array.from({ length: tf.util.sizeFromShape(shape.slice(1)) }, (_, i) => i),
    mirror = mirrored(shape);
  const flipKey = fold(key, "flip"), noiseKey = fold(key, "dequantize");
  return (at, sample, out) => {
    const from = flip && fold(flipKey, sample).lo & 1 ? mirror : upright, first = at * out.length;
    const noise = dequantize ? uniforms(fold(noiseKey, sample), out.length) : undefined;
    for (let i = 0; i < out.length; i++) {
      const x = images[first + from[i]!]!;
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

function checkSet({ images, shape, labels }: ImageSet): void {
  const refuse = (what: string, wanted: string, got: unknown): RangeError =>
    new RangeError(`Cannot make batches: ${what} must be ${wanted}, got ${got}`);
  const whole = shape.length === 4 && shape.every((size) => Number.isSafeInteger(size) && size > 0);
  if (!whole) throw refuse("shape", "[N, H, W, C], each at least 1", `[${shape}]`);
  if (images.length !== tf.util.sizeFromShape([...shape])) {
    throw refuse(
      "images",
      `${tf.util.sizeFromShape([...shape])} bytes (shape ${shape.join("x")})`,
      images.length,
    );
  }
  if (labels && labels.length !== shape[0]) {
    throw refuse("labels", `${shape[0]} numbers`, labels.length);
  }
}

function checkCount(action: string, name: string, value: number, least: number): void {
  if (Number.isSafeInteger(value) && value >= least && value < 2 ** 32) return;
  throw new RangeError(
    `Cannot ${action}: ${name} must be a whole number in [${least}, 2^32), got ${value}`,
  );
}

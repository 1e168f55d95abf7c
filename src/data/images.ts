/**
 * Images of one size with or without classes: in memory, or read as they are asked for.
 *
 * @module
 */

import { room } from "./file/file.ts";

/**
 * The class of each image, a whole number from 0 up.
 *
 * @category Data
 */
export type ImageLabels = Uint8Array | Uint16Array;

/**
 * The classes of images.
 *
 * @category Data
 */
export interface ImageClasses {
  /** The class of each image, N whole numbers. */
  readonly labels?: ImageLabels;
  /** The name of each class. */
  readonly classes?: readonly string[];
  /** Number of classes, where they have no names. Default: one more than the greatest label. */
  readonly classCount?: number;
}

/**
 * Images of one size, with or without classes.
 *
 * @category Data
 */
export interface ImageSet extends ImageClasses {
  /** Pixels, 0 to 255, NHWC. */
  readonly images: Uint8Array;
  /** [N, H, W, C]. */
  readonly shape: readonly [number, number, number, number];
}

/**
 * Images of one size that are read as they are asked for, so that they need not fit into memory together.
 *
 * @category Data
 */
export interface ImageSource extends ImageClasses {
  /** [N, H, W, C]. */
  readonly shape: readonly [number, number, number, number];
  /**
   * The pixels of some images, 0 to 255, one image behind the other, by their numbers in [0, N). A pure function of them, for
   * as long as the files stay as they are; a signal calls it off.
   */
  readonly pixels: (numbers: ArrayLike<number>, signal?: AbortSignal) => Promise<Uint8Array>;
}

/**
 * How many classes images have, and their names where they have names.
 *
 * @category Data
 * @param images The set or source.
 * @returns `count`: the number of names, or `classCount`, or one more than the greatest label; 0 without labels.
 *
 * @example
 * ```ts
 * import { classesOf } from "@tweedie/tweedie/data";
 * import assert from "node:assert/strict";
 *
 * const set = { images: new Uint8Array(2), shape: [2, 1, 1, 1], labels: new Uint8Array([0, 3]) } as const;
 * assert.deepEqual(classesOf(set), { count: 4 });
 * assert.deepEqual(classesOf({ ...set, classes: ["a", "b", "c", "d"] }).names, ["a", "b", "c", "d"]);
 * ```
 */
export function classesOf(
  { labels, classes, classCount }: ImageClasses,
): { readonly count: number; readonly names?: readonly string[] } {
  if (classes !== undefined) return { count: classes.length, names: classes };
  if (classCount !== undefined) return { count: classCount };
  let count = 0;
  for (const label of labels ?? []) count = Math.max(count, label + 1);
  return { count };
}

/**
 * All images of a source, in memory: the set whose batches are the same, bit for bit.
 *
 * @category Data
 * @param source The source.
 * @returns The set.
 * @throws {RangeError} If they do not fit into memory.
 * @throws What the source throws.
 *
 * @example
 * ```ts
 * import { type ImageSource, inMemory } from "@tweedie/tweedie/data";
 * import assert from "node:assert/strict";
 *
 * const source: ImageSource = {
 *   shape: [3, 1, 1, 1],
 *   pixels: (numbers) => Promise.resolve(Uint8Array.from(numbers, (number) => 10 * number)),
 * };
 * assert.deepEqual([...(await inMemory(source)).images], [0, 10, 20]);
 * ```
 */
export async function inMemory(
  { pixels, shape, labels, classes, classCount }: ImageSource,
): Promise<ImageSet> {
  const [count, ...sample] = shape, length = sample.reduce((a, b) => a * b, 1);
  const images = room("hold the images in memory", "the images", count * length);
  // A few at a time, so that they are not held twice.
  for (let first = 0; first < count; first += few) {
    const numbers = Array.from({ length: Math.min(few, count - first) }, (_, i) => first + i);
    images.set(await pixels(numbers), first * length);
  }
  return {
    images,
    shape,
    ...(labels && { labels }),
    ...(classes && { classes }),
    ...(classCount !== undefined && { classCount }),
  };
}

const few = 64;

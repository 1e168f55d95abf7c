/**
 * Rearrangements of pixels, without weights: to a higher resolution, into blocks and back.
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
import { scope } from "../../tensor/scope.ts";
import type { Tensor, Tensor4D } from "../../tensor/tensor.ts";

/**
 * Each pixel repeated to a 2×2 block: [N, H, W, C] to [N, 2H, 2W, C]. The result is the scope's, or the caller's where there
 * is none.
 *
 * @category Networks
 */
export function upsampled(x: Tensor): Tensor {
  const [, height, width] = x.shape as [number, number, number];
  return tf.image.resizeNearestNeighbor(x as Tensor4D, [2 * height, 2 * width]);
}

/**
 * Blocks of size×size pixels made into channels, row by row: [N, H, W, C] to [N, H/size, W/size, size²·C].
 *
 * @category Networks
 * @param x Images.
 * @param size Side of a block, in pixels; divides H and W.
 * @returns A new tensor. It is the scope's, or the caller's where there is none.
 * @throws {RangeError} If the blocks do not fit.
 *
 * @example One block
 * ```ts
 * import { patched } from "@tweedie/tweedie/network";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import * as tf from "@tensorflow/tfjs-core";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const block = patched(tf.tensor4d([1, 2, 3, 4], [1, 2, 2, 1]), 2);
 * assert.deepEqual(block.arraySync(), [[[[1, 2, 3, 4]]]]);
 * ```
 */
export function patched(x: Tensor, size: number): Tensor {
  const [n, height, width, channels] = x.shape as [number, number, number, number];
  if (!Number.isSafeInteger(size) || size < 1 || height % size !== 0 || width % size !== 0) {
    throw new RangeError(
      `Cannot cut images into blocks: size must divide ${height}×${width} pixels, got ${size}`,
    );
  }
  if (size === 1) return tf.clone(x);
  const [h, w] = [height / size, width / size];
  return scope(() => {
    const split = tf.reshape(x, [n * h, size, w, size * channels]);
    return tf.reshape(tf.transpose(split, [0, 2, 1, 3]), [n, h, w, size * size * channels]);
  });
}

/**
 * The inverse of {@link patched}: [N, h, w, size²·C] to [N, size·h, size·w, C].
 *
 * @category Networks
 * @param x Blocks.
 * @param size Side of a block, in pixels; its square divides the channels.
 * @returns A new tensor. It is the scope's, or the caller's where there is none.
 * @throws {RangeError} If the channels do not make blocks of this size.
 */
export function unpatched(x: Tensor, size: number): Tensor {
  const [n, height, width, depth] = x.shape as [number, number, number, number],
    channels = depth / (size * size);
  if (!Number.isSafeInteger(size) || size < 1 || !Number.isSafeInteger(channels)) {
    throw new RangeError(
      `Cannot join blocks into images: size must be a number whose square divides ${depth}, got ${size}`,
    );
  }
  if (size === 1) return tf.clone(x);
  return scope(() => {
    const split = tf.reshape(x, [n * height, width, size, size * channels]);
    const rows = tf.transpose(split, [0, 2, 1, 3]);
    return tf.reshape(rows, [n, height * size, width * size, channels]);
  });
}

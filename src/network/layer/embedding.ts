/**
 * What a network is told of times and classes, as vectors.
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
import type { Schedule } from "../../noise/schedule/schedule.ts";
import { notFinite } from "../../tensor/check/check.ts";
import type { Tensor2D } from "../../tensor/tensor.ts";
import type { Layer } from "./parameter.ts";
import { checkSizes } from "./linear.ts";

/**
 * A table of vectors, one for each class and one, the last, for "no class".
 *
 * @category Networks
 * @param name Prefix of `.weight` [classes + 1, size].
 * @param classes Number of classes.
 * @param size Length of a vector.
 * @returns A layer from one-hot rows [N, classes + 1], as {@link NetworkInputs} have them, to [N, size].
 * @throws {RangeError} If a number is not a whole one of at least 1.
 */
export function classEmbedding(name: string, classes: number, size: number): Layer {
  const weight = `${name}.weight`;
  checkSizes(name, { classes, size });
  return {
    parameters: { [weight]: { shape: [classes + 1, size], std: 1 } },
    // A product with one-hot rows: its gradient is a product too, on every backend.
    apply: (params, label) => tf.matMul(label, params[weight]!),
  };
}

/**
 * Classes as one-hot rows: 1 in the column of the class, 0 elsewhere.
 *
 * @category Networks
 * @param labels One class for each row, in [0, classes).
 * @param classes Number of columns.
 * @returns float32 [N, classes]. It is the scope's, or the caller's where there is none.
 * @throws {RangeError} If a label is out of range, or the number of classes not a whole one of at least 1.
 *
 * @example Two rows of three columns
 * ```ts
 * import { oneHot } from "@tweedie/tweedie/network";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * assert.deepEqual(oneHot([2, 0], 3).arraySync(), [[0, 0, 1], [1, 0, 0]]);
 * ```
 */
export function oneHot(labels: ArrayLike<number>, classes: number): Tensor2D {
  if (!Number.isSafeInteger(classes) || classes < 1) {
    throw new RangeError(
      `Cannot make one-hot rows: classes must be a whole number of at least 1, got ${classes}`,
    );
  }
  const list = Array.from(labels), rows = new Float32Array(list.length * classes);
  list.forEach((label, row) => {
    if (!Number.isInteger(label) || label < 0 || label >= classes) {
      throw new RangeError(
        `Cannot make one-hot rows: label must be a whole number in [0, ${classes}), got ${label}`,
      );
    }
    rows[row * classes + label] = 1;
  });
  return tf.tensor2d(rows, [list.length, classes]);
}

/**
 * A time in the network's unit: 1000 at the end of the schedule's span.
 *
 * @category Networks
 * @param schedule The schedule.
 * @param t Time on it.
 * @returns 1000·t/span[1]; t itself for a discrete schedule of 1000 steps.
 */
export function networkTime(schedule: Schedule, t: number): number {
  return 1000 * t / schedule.span[1];
}

/**
 * Sinusoidal features of time: sin and cos of t·10000^(−i/half), i = 0..half − 1.
 *
 * Source: J. Ho, A. Jain, P. Abbeel, "Denoising diffusion probabilistic models" (2020), appendix B, after A. Vaswani
 * et al., "Attention is all you need" (2017), section 3.5.
 *
 * @category Networks
 * @param times One time for each sample, in steps: of the order of 0 to 1000.
 * @param size Even number of features.
 * @returns float32 [N, size], sines first. It is the scope's, or the caller's where there is none.
 * @throws {RangeError} If `size` is not an even number of at least 2, or a time is not finite.
 *
 * @example At time 0 the sines are 0 and the cosines 1
 * ```ts
 * import { timeFeatures } from "@tweedie/tweedie/network";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * assert.deepEqual(timeFeatures([0], 4).arraySync(), [[0, 0, 1, 1]]);
 * ```
 */
export function timeFeatures(times: readonly number[], size: number): Tensor2D {
  if (!Number.isSafeInteger(size / 2) || size < 2) {
    throw new RangeError(
      `Cannot make features of time: size must be an even number of at least 2, got ${size}`,
    );
  }
  const wrong = notFinite(times);
  if (wrong !== undefined) {
    throw new RangeError(`Cannot make features of time: times must be finite, got ${wrong}`);
  }
  const half = size / 2, rates = Array.from({ length: half }, (_, i) => 10000 ** (-i / half));
  return tf.tensor2d(
    times.map((t) => [...rates.map((r) => Math.sin(t * r)), ...rates.map((r) => Math.cos(t * r))]),
    [times.length, size],
  );
}

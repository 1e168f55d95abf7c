/**
 * Models that are exactly right for Gaussian data and for a mixture of Gaussians: the formulas of `mixture.ts` on tensors.
 *
 * One component is the Gaussian, whose best denoiser is linear.
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
import type { Level, Schedule } from "../../noise/schedule/schedule.ts";
import { softmax } from "../../tensor/autodiff.ts";
import { decoded, type Rules } from "../../tensor/check/decode.ts";
import type { Tensor, Tensor1D, Tensor2D } from "../../tensor/tensor.ts";
import {
  along,
  checkFit,
  checkMixture,
  type Dimensions,
  filled,
  type Full,
  making,
  type Mixture,
} from "./mixture.ts";
import {
  conditional,
  type ConditionalOracle,
  type Oracle,
  predicted,
  type Query,
  restricted,
} from "./oracle.ts";

/**
 * A Gaussian with independent dimensions.
 *
 * @category Models
 */
export interface Gaussian {
  /** Mean. Default: 0. */
  readonly mean?: Dimensions;
  /** Variance, at least 0. Default: 1. */
  readonly variance?: Dimensions;
}

const gaussianRules: Rules<Gaussian> = { mean: true, variance: true };

/**
 * The exact model of Gaussian data: E[x_0 | x_t] = (sigma²·mean + alpha·variance·x_t) / (alpha²·variance + sigma²).
 *
 * @category Models
 * @param schedule The schedule of the model.
 * @param options Mean and variance, each one number or one for each dimension of a sample.
 * @returns The model.
 * @throws {TypeError} If an option is unknown.
 * @throws {RangeError} If a variance is below 0 or a number is not finite; in `predict`, if x does not fit.
 *
 * @example
 * ```ts
 * import { gaussian, rectified } from "@tweedie/tweedie";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import * as tf from "@tensorflow/tfjs-core";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const model = gaussian(rectified(), { mean: [3, 5], variance: [1, 0] });
 * assert.deepEqual([...model.predict(tf.tensor([[1.5, 0]]), 0.5).value.dataSync()], [3, 5]);
 * ```
 */
export function gaussian(schedule: Schedule, options: Gaussian = {}): Oracle {
  const { mean = 0, variance = 1 } = decoded(making, options, gaussianRules);
  checkMixture({ means: [mean], variances: [variance] });
  const row = (size: number, f: (m: number, v: number) => number): Tensor1D =>
    tf.tensor1d(Array.from({ length: size }, (_, i) => f(along(mean, i), along(variance, i))));
  const best = (x: Tensor2D, { alpha, sigma }: Level): Tensor => {
    checkFit([mean, variance], x.shape[1]);
    const spread = (v: number): number => alpha ** 2 * v + sigma ** 2;
    const gain = row(x.shape[1], (_, v) => alpha * v / spread(v));
    return tf.add(tf.mul(x, gain), row(x.shape[1], (m, v) => sigma ** 2 * m / spread(v)));
  };
  return { schedule, predict: (x, t) => predicted(x, schedule.at(t), best) };
}

/**
 * The exact model of a mixture of Gaussians. Its `given` picks components by their label, or by their index.
 *
 * Memory is of the order N·K·D, for N samples, K components and D dimensions.
 *
 * @category Models
 * @param schedule The schedule of the model.
 * @param law The data's law.
 * @returns The model, with classes.
 * @throws {TypeError} If an option is unknown.
 * @throws {RangeError} If the mixture is not one; in `given`, if a class is not among the labels; in `predict`, if x
 * or the condition does not fit.
 *
 * @example Guidance needs a model with and without a class
 * ```ts
 * import { mixture, rectified } from "@tweedie/tweedie";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import * as tf from "@tensorflow/tfjs-core";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const model = mixture(rectified(), { means: [-1, 1] }), x = tf.zeros([3, 1]);
 * const { value } = model.given([0, 1, null]).predict(x, 0.5);
 * assert.deepEqual([...value.dataSync()], [-1, 1, 0]);
 * ```
 */
export function mixture(schedule: Schedule, law: Mixture): ConditionalOracle {
  const full = filled(law);
  return conditional(full.labels, (condition) => ({
    schedule,
    predict: (x, t) =>
      predicted(x, schedule.at(t), (flat, level) => mixtureMean(full, { flat, level, condition })),
  }));
}

/** E[x_0 | x_t] of a mixture, [N, D]. */
function mixtureMean(full: Full, { flat, level: { alpha, sigma }, condition }: Query): Tensor {
  const [, size] = flat.shape;
  checkFit([...full.means, ...full.variances], size);
  const table = (f: (m: number, v: number) => number): Tensor =>
    tf.tensor(full.means.map((m, k) => cells(size, m, full.variances[k]!, f)));
  const spread = (v: number): number => alpha ** 2 * v + sigma ** 2;
  const x = tf.expandDims(flat, 1);
  const gaps = tf.div(tf.sub(x, table((m) => alpha * m)), table((_, v) => Math.sqrt(spread(v))));
  const volumes = tf.sum(table((_, v) => Math.log(spread(v))), 1);
  const halves = tf.mul(tf.add(tf.sum(tf.square(gaps), 2), volumes), -0.5);
  const r = softmax(
    restricted(tf.add(halves, tf.tensor1d([...full.logWeights])), condition, full),
  );
  const means = tf.add(
    tf.mul(x, table((_, v) => alpha * v / spread(v))),
    table((m, v) => sigma ** 2 * m / spread(v)),
  );
  return tf.sum(tf.mul(tf.expandDims(r, 2), means), 1);
}

const cells = (
  size: number,
  mean: Dimensions,
  variance: Dimensions,
  f: (m: number, v: number) => number,
): number[] => Array.from({ length: size }, (_, i) => f(along(mean, i), along(variance, i)));

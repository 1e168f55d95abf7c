/**
 * Models that are exactly right: for Gaussian data, for a mixture of Gaussians, and for a finite set of data.
 *
 * For data from a mixture Σ w_k·N(m_k, diag v_k) the marginal at a level is a mixture too, and Bayes' rule gives the
 * best denoiser and the score in closed form:
 *
 * ```text
 *   p_t(x) = Σ w_k·N(x; alpha·m_k, V_k)                V_k = alpha²·v_k + sigma²
 *   E[x_0 | x_t = x] = Σ r_k(x)·(sigma²·m_k + alpha·v_k·x) / V_k      r = softmax_k(ln w_k + ln N(x; alpha·m_k, V_k))
 *   ∇ ln p_t(x) = Σ r_k(x)·(alpha·m_k − x) / V_k = (alpha·E[x_0 | x] − x) / sigma²          (Tweedie's formula)
 * ```
 *
 * One component is the Gaussian; v = 0 with one component for each datum is the data set, whose best denoiser is a
 * softmax-weighted mean of the data. At sigma = 0 nothing is left to guess, and x_0 = x_t / alpha.
 *
 * Every formula stands here twice: as a {@link Model} on float32 tensors, and on plain numbers in float64 for measuring
 * the order of a solver or checking a derivative. Sources: P. Vincent, "A connection between score matching and
 * denoising autoencoders" (2011), section 4.2, for the data set's score; B. Efron, "Tweedie's formula and selection
 * bias" (2011), equation 1.4.
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
import { right } from "fp-ts/lib/Either.js";
import type { Level, Schedule } from "../noise/schedule/schedule.ts";
import { softmax } from "../tensor/autodiff.ts";
import { refusal } from "../tensor/check/check.ts";
import { above, atLeast, decoded, is, type Rule, type Rules } from "../tensor/check/decode.ts";
import { scope } from "../tensor/scope.ts";
import type { Condition, Model, TensorPrediction } from "./prediction.ts";
import type { Tensor, Tensor1D, Tensor2D } from "../tensor/tensor.ts";

/** What is refused here. */
const making = "make an oracle";

/**
 * A model that answers at once, with the exact E[x_0 | x_t].
 *
 * @category Models
 */
export interface Oracle extends Model {
  /**
   * E[x_0 | x_t] of each sample, of kind `"x0"`. x stays the caller's; the result is handed over.
   *
   * @param x x_t, shape [N, ...sample].
   * @param t Time on the schedule.
   */
  readonly predict: (x: Tensor, t: number) => TensorPrediction;
  /** The oracle of one class for each sample, or of all where it is null; absent without classes. */
  readonly given?: (condition: Condition) => Oracle;
}

/**
 * An oracle with classes.
 *
 * @category Models
 */
export interface ConditionalOracle extends Oracle {
  /** The oracle of one class for each sample, or of all where it is null. */
  readonly given: (condition: Condition) => Oracle;
}

/**
 * One number for all dimensions, or one for each, in row-major order.
 *
 * @category Models
 */
export type Dimensions = number | readonly number[];

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

/**
 * A mixture of Gaussians, each with independent dimensions.
 *
 * @category Models
 */
export interface Mixture {
  /** Mean of each component. */
  readonly means: readonly Dimensions[];
  /** Variance of each component, at least 0; 0 makes it a point. Default: 0. */
  readonly variances?: readonly Dimensions[];
  /** Weight of each component, above 0; scaled to a sum of 1. Default: equal. */
  readonly weights?: readonly number[];
  /** Class of each component. Default: its index. */
  readonly labels?: readonly number[];
}

const gaussianRules: Rules<Gaussian> = { mean: true, variance: true };

/** The rule of a list of numbers, or of lists: the first that does not fit is told. */
const each = (wanted: string, fits: (value: number) => boolean): Rule => (name, values) => {
  const wrong = (values as readonly Dimensions[]).flat().find((value) => !fits(value));
  return wrong === undefined ? right(values) : is(wanted, fits)(name, wrong);
};

const mixtureRules: Rules<Mixture> = {
  means: each("finite", Number.isFinite),
  variances: each("finite and at least 0", atLeast(0)),
  weights: each("finite and above 0", above(0)),
  labels: true,
};

/**
 * Options of {@link dataset}.
 *
 * @category Models
 */
export interface DatasetOptions {
  /** Class of each datum. Default: no classes, and no `given`. */
  readonly labels?: readonly number[];
}

const datasetRules: Rules<DatasetOptions> = { labels: true };

/**
 * A function of x and a level on plain numbers.
 *
 * @category Models
 */
export type HostFunction<A> = (x: readonly number[], level: Level) => A;

const along = (values: Dimensions, i: number): number =>
  typeof values === "number" ? values : values[i]!;

// ---------------------------------------------------------------------------------------------- Checks

/** Throws unless the numbers suit a mixture. */
function checkMixture(mixture: Mixture): void {
  const { means, variances, weights, labels } = decoded(making, mixture, mixtureRules);
  if (means.length === 0) throw refusal(making, "means must be of at least one component", 0);
  const sizes = { variances, weights, labels };
  for (const [name, values] of Object.entries(sizes)) {
    if (values && values.length !== means.length) {
      throw refusal(making, `${name} must be one for each of ${means.length} means`, values.length);
    }
  }
  checkWidths([...means, ...variances ?? []]);
}

/** Lists of dimensions must be of one length. */
function checkWidths(values: readonly Dimensions[]): void {
  const widths = new Set(values.flatMap((v) => typeof v === "number" ? [] : [v.length]));
  if (widths.size > 1) {
    throw new RangeError(
      `Cannot ${making}: means and variances must be of one length, got ${
        [...widths].join(" and ")
      }`,
    );
  }
}

/** Throws unless the parameters have as many dimensions as a sample. */
function checkFit(parameters: readonly Dimensions[], size: number): void {
  const list = parameters.find((v) => typeof v !== "number" && v.length !== size) as
    | readonly number[]
    | undefined;
  if (list === undefined) return;
  throw new RangeError(
    `Cannot evaluate an oracle: x must be of ${list.length} dimensions a sample, got ${size}`,
  );
}

// ---------------------------------------------------------------------------------------------- Plain numbers

/** A mixture with nothing left out. */
interface Full {
  readonly means: readonly Dimensions[];
  readonly variances: readonly Dimensions[];
  readonly logWeights: readonly number[];
  readonly labels: readonly number[];
}

function filled(mixture: Mixture): Full {
  checkMixture(mixture);
  const { means } = mixture, weights = mixture.weights ?? means.map(() => 1);
  const total = weights.reduce((a, b) => a + b, 0);
  return {
    means,
    variances: mixture.variances ?? means.map(() => 0),
    logWeights: weights.map((w) => Math.log(w / total)),
    labels: mixture.labels ?? means.map((_, k) => k),
  };
}

function logSumExp(values: readonly number[]): number {
  const top = Math.max(...values);
  return top + Math.log(values.reduce((sum, value) => sum + Math.exp(value - top), 0));
}

/** ln w_k + ln N(x; alpha·m_k, V_k) for each component. */
function logJoint(full: Full, x: readonly number[], { alpha, sigma }: Level): number[] {
  checkFit([...full.means, ...full.variances], x.length);
  const term = (k: number) => (sum: number, xi: number, i: number): number => {
    const spread = alpha ** 2 * along(full.variances[k]!, i) + sigma ** 2;
    const gap = xi - alpha * along(full.means[k]!, i);
    return sum - (gap ** 2 / spread + Math.log(2 * Math.PI * spread)) / 2;
  };
  return full.logWeights.map((logWeight, k) => x.reduce(term(k), logWeight));
}

/** r_k(x), the posterior probability of each component. */
function shares(full: Full, x: readonly number[], level: Level): number[] {
  const joint = logJoint(full, x, level), total = logSumExp(joint);
  return joint.map((value) => Math.exp(value - total));
}

/**
 * ln p_t(x) of a mixture's marginal, in float64.
 *
 * @category Models
 * @param mixture The data's law.
 * @returns A function of x, one number a dimension, and the level: nats. It needs sigma > 0 where a variance is 0.
 * @throws {TypeError} If an option is unknown.
 * @throws {RangeError} If the mixture is not one; in the function, if x is of another number of dimensions.
 *
 * @example One point seen through noise is a Gaussian
 * ```ts
 * import { mixtureLogDensity } from "@tweedie/tweedie/denoise";
 * import assert from "node:assert/strict";
 *
 * const logDensity = mixtureLogDensity({ means: [3] });
 * const value = logDensity([3], { alpha: 1, sigma: 1 });
 * assert.ok(Math.abs(value + Math.log(2 * Math.PI) / 2) < 1e-12);
 * ```
 */
export function mixtureLogDensity(mixture: Mixture): HostFunction<number> {
  const full = filled(mixture);
  return (x, level) => logSumExp(logJoint(full, x, level));
}

/**
 * r_k(x), the probability that x_t comes from each component, in float64: an exact classifier of noisy samples.
 *
 * @category Models
 * @param mixture The data's law.
 * @returns A function of x and the level: one number for each component, with a sum of 1.
 * @throws {TypeError} If an option is unknown.
 * @throws {RangeError} If the mixture is not one; in the function, if x is of another number of dimensions.
 *
 * @example Halfway between two equal components
 * ```ts
 * import { mixtureShares } from "@tweedie/tweedie/denoise";
 * import assert from "node:assert/strict";
 *
 * assert.deepEqual(mixtureShares({ means: [-1, 1] })([0], { alpha: 0.6, sigma: 0.8 }), [0.5, 0.5]);
 * ```
 */
export function mixtureShares(mixture: Mixture): HostFunction<number[]> {
  const full = filled(mixture);
  return (x, level) => shares(full, x, level);
}

/**
 * E[x_0 | x_t = x] of a mixture, in float64.
 *
 * @category Models
 * @param mixture The data's law.
 * @returns A function of x and the level: one number for each dimension. At sigma = 0 it is x / alpha.
 * @throws {TypeError} If an option is unknown.
 * @throws {RangeError} If the mixture is not one; in the function, if x is of another number of dimensions.
 *
 * @example Halfway to the mean where signal and noise are equal
 * ```ts
 * import { mixtureDenoiser } from "@tweedie/tweedie/denoise";
 * import assert from "node:assert/strict";
 *
 * const denoiser = mixtureDenoiser({ means: [4], variances: [1] });
 * assert.deepEqual(denoiser([2], { alpha: 1, sigma: 1 }), [3]);
 * ```
 */
export function mixtureDenoiser(mixture: Mixture): HostFunction<number[]> {
  const full = filled(mixture);
  return (x, level) => {
    checkFit([...full.means, ...full.variances], x.length);
    const { alpha, sigma } = level;
    if (sigma === 0) return x.map((xi) => xi / alpha);
    const r = shares(full, x, level);
    const mean = (xi: number, i: number, k: number): number => {
      const m = along(full.means[k]!, i), v = along(full.variances[k]!, i);
      return (sigma ** 2 * m + alpha * v * xi) / (alpha ** 2 * v + sigma ** 2);
    };
    return x.map((xi, i) => r.reduce((sum, rk, k) => sum + rk * mean(xi, i, k), 0));
  };
}

/**
 * ∇ ln p_t(x) of a mixture's marginal, in float64.
 *
 * @category Models
 * @param mixture The data's law.
 * @returns A function of x and the level: one number for each dimension. It needs sigma > 0 where a variance is 0.
 * @throws {TypeError} If an option is unknown.
 * @throws {RangeError} If the mixture is not one; in the function, if x is of another number of dimensions.
 *
 * @example The score of N(0, 2·I)
 * ```ts
 * import { mixtureScore } from "@tweedie/tweedie/denoise";
 * import assert from "node:assert/strict";
 *
 * const score = mixtureScore({ means: [0], variances: [1] });
 * assert.deepEqual(score([1, -4], { alpha: 1, sigma: 1 }), [-0.5, 2]);
 * ```
 */
export function mixtureScore(mixture: Mixture): HostFunction<number[]> {
  const full = filled(mixture);
  return (x, level) => {
    const r = shares(full, x, level), { alpha, sigma } = level;
    const pull = (xi: number, i: number, k: number): number =>
      (alpha * along(full.means[k]!, i) - xi) /
      (alpha ** 2 * along(full.variances[k]!, i) + sigma ** 2);
    return x.map((xi, i) => r.reduce((sum, rk, k) => sum + rk * pull(xi, i, k), 0));
  };
}

// ---------------------------------------------------------------------------------------------- Tensors

/** The x0 prediction of samples flattened to [N, D]; at sigma = 0 the samples themselves over alpha. */
function predicted(
  x: Tensor,
  level: Level,
  mean: (flat: Tensor2D, level: Level) => Tensor,
): TensorPrediction {
  if (x.rank === 0) {
    throw new RangeError("Cannot evaluate an oracle: x must be of shape [N, ...sample], got []");
  }
  const value = scope(() => {
    if (level.sigma === 0) return tf.div(x, level.alpha);
    const [count, ...sample] = x.shape, size = tf.util.sizeFromShape(sample);
    const flat = tf.reshape(x, [count!, size]) as Tensor2D;
    return tf.reshape(mean(flat, level), x.shape);
  });
  return { kind: "x0", value };
}

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

/** A large negative logarithm: a weight of nothing, on every backend. */
const never = -1e30;

/** Throws unless every class is among those known. */
function checkCondition(condition: Condition, labels: readonly number[]): void {
  const stranger = condition.find((label) => label !== null && !labels.includes(label));
  if (stranger === undefined) return;
  const known = [...new Set(labels)].join(", ");
  throw new RangeError(
    `Cannot condition an oracle: each class must be null or one of ${known}, got ${stranger}`,
  );
}

/** [N, K]: 0 where a sample may come from a component, a large negative number where its class forbids that. */
function mask(condition: Condition, labels: readonly number[], count: number): Tensor2D {
  if (condition.length !== count) {
    throw new RangeError(
      `Cannot evaluate an oracle: the condition must be of ${count} samples, got ${condition.length}`,
    );
  }
  const row = (label: number | null): number[] =>
    labels.map((known) => label === null || label === known ? 0 : never);
  return tf.tensor2d(condition.flatMap(row), [count, labels.length]);
}

/** An oracle with classes: one for each condition, each made by the same function of it. */
function conditional(
  labels: readonly number[],
  make: (condition?: Condition) => Oracle,
): ConditionalOracle {
  const given = (condition: Condition): Oracle => {
    checkCondition(condition, labels);
    return { ...make(condition), given };
  };
  return { ...make(), given };
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

/** Samples [N, D], their level and their classes. */
interface Query {
  readonly flat: Tensor2D;
  readonly level: Level;
  readonly condition: Condition | undefined;
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

/** Logits [N, K] with those of other classes put out of reach. */
function restricted(
  logits: Tensor,
  condition: Condition | undefined,
  { labels }: Pick<Full, "labels">,
): Tensor {
  return condition ? tf.add(logits, mask(condition, labels, logits.shape[0]!)) : logits;
}

/**
 * The exact model of a finite set of data, each datum as likely as any other: the softmax-weighted mean of the data
 *
 * ```text
 *   E[x_0 | x_t] = Σ_i softmax_i( −‖x_t − alpha·x_i‖² / (2·sigma²) )·x_i
 * ```
 *
 * It is what a network that has learnt its training set by heart would say, and generates nothing else. Its two matrix
 * products cost 4·N·M·D operations. Distances are in float32, about the mean of the data: their error is some
 * 10⁻⁶·‖x‖²/sigma², which counts only where two data are as near to x_t as that.
 *
 * @category Models
 * @param schedule The schedule of the model.
 * @param points The data, shape [M, ...sample], M at least 1. Not copied: the caller keeps it while the model is in use,
 * and disposes of it.
 * @param options Classes.
 * @returns The model, with `given` where there are labels.
 * @throws {TypeError} If an option is unknown.
 * @throws {RangeError} If the data or the labels do not fit; in `given`, if a class is not among the labels; in
 * `predict`, if x or the condition does not fit.
 *
 * @example With little noise the answer is the nearest datum
 * ```ts
 * import { dataset, rectified } from "@tweedie/tweedie";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import * as tf from "@tensorflow/tfjs-core";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const points = tf.tensor([[0, 0], [4, 4]]);
 * const { value } = dataset(rectified(), points).predict(tf.tensor([[3, 3]]), 0.1);
 * assert.deepEqual([...value.dataSync()], [4, 4]);
 * ```
 */
export function dataset(
  schedule: Schedule,
  points: Tensor,
  options: DatasetOptions & { readonly labels: readonly number[] },
): ConditionalOracle;
/** The same, with or without classes; {@link Oracle.given} is there where there are labels. */
export function dataset(schedule: Schedule, points: Tensor, options?: DatasetOptions): Oracle;
export function dataset(
  schedule: Schedule,
  points: Tensor,
  options: DatasetOptions = {},
): Oracle {
  const { labels } = decoded(making, options, datasetRules);
  const [count = 0] = points.shape;
  if (count < 1) {
    throw refusal(
      making,
      "points must be of shape [M, ...sample] with M at least 1",
      points.shape,
    );
  }
  if (labels && labels.length !== count) {
    throw refusal(making, `labels must be one for each of ${count} points`, labels.length);
  }
  const make = (condition?: Condition): Oracle => ({
    schedule,
    predict: (x, t) => {
      checkSample(x, points);
      return predicted(
        x,
        schedule.at(t),
        (flat, level) => datasetMean(points, labels ?? [], { flat, level, condition }),
      );
    },
  });
  return labels ? conditional(labels, make) : make();
}

/** Throws unless samples have the shape of the data. */
function checkSample(x: Tensor, points: Tensor): void {
  if (tf.util.arraysEqual(x.shape.slice(1), points.shape.slice(1))) return;
  throw new RangeError(
    `Cannot evaluate an oracle: x must be of shape [N,${points.shape.slice(1)}], got [${x.shape}]`,
  );
}

/** E[x_0 | x_t] of a data set, [N, D]. */
function datasetMean(points: Tensor, labels: readonly number[], query: Query): Tensor {
  const { flat, level: { alpha, sigma }, condition } = query;
  const data = tf.reshape(points, [points.shape[0]!, -1]) as Tensor2D;
  const centre = tf.mean(data, 0, true), arms = tf.sub(data, centre) as Tensor2D;
  const x = tf.sub(flat, tf.mul(centre, alpha)) as Tensor2D;
  // −‖x − alpha·arm‖²/2 but for ‖x‖²/2, which all data share.
  const lengths = tf.sum(tf.square(arms), 1);
  const near = tf.sub(tf.matMul(x, arms, false, true), tf.mul(lengths, alpha / 2));
  const logits = restricted(tf.mul(near, alpha / sigma ** 2), condition, { labels });
  return tf.add(tf.matMul(softmax(logits) as Tensor2D, arms), centre);
}

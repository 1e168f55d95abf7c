/**
 * Mixtures of Gaussians seen through noise, in closed form on plain numbers.
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
 * At sigma = 0 nothing is left to guess, and x_0 = x_t / alpha.
 *
 * The formulas stand here in float64, for measuring the order of a solver or checking a derivative; as models on float32
 * tensors they stand in `gaussian.ts`. Source: B. Efron, "Tweedie's formula and selection bias" (2011), equation 1.4.
 *
 * @module
 */

import { right } from "fp-ts/lib/Either.js";
import type { Level } from "../../noise/schedule/schedule.ts";
import { refusal } from "../../tensor/check/check.ts";
import { above, atLeast, decoded, is, type Rule, type Rules } from "../../tensor/check/decode.ts";

/** What is refused here. */
export const making = "make an oracle";

/**
 * One number for all dimensions, or one for each, in row-major order.
 *
 * @category Models
 */
export type Dimensions = number | readonly number[];

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
 * A function of x and a level on plain numbers.
 *
 * @category Models
 */
export type HostFunction<A> = (x: readonly number[], level: Level) => A;

export const along = (values: Dimensions, i: number): number =>
  typeof values === "number" ? values : values[i]!;

/** Throws unless the numbers suit a mixture. */
export function checkMixture(mixture: Mixture): void {
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
export function checkFit(parameters: readonly Dimensions[], size: number): void {
  const list = parameters.find((v) => typeof v !== "number" && v.length !== size) as
    | readonly number[]
    | undefined;
  if (list === undefined) return;
  throw new RangeError(
    `Cannot evaluate an oracle: x must be of ${list.length} dimensions a sample, got ${size}`,
  );
}

/** A mixture with nothing left out. */
export interface Full {
  readonly means: readonly Dimensions[];
  readonly variances: readonly Dimensions[];
  readonly logWeights: readonly number[];
  readonly labels: readonly number[];
}

export function filled(mixture: Mixture): Full {
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

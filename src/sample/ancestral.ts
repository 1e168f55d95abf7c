/**
 * Ancestral samplers: DDPM, the DDIM family between it and its deterministic limit, and DDIM run backwards.
 *
 * All take the law that x_s would have if the data were known, and put the model's prediction in their place:
 *
 * ```text
 *   q_v(x_s | x_t, x_0) = N(alpha_s·x_0 + √(sigma_s² − v)·eps, v·I)      eps = (x_t − alpha_t·x_0) / sigma_t
 *   x_s = alpha_s·x0hat + √(sigma_s² − v)·epshat + √w·z                   z ~ N(0, I)
 * ```
 *
 * | sampler | v | w |
 * |---|---|---|
 * | DDPM, small variance; DDIM with eta 1 | beta-tilde = sigma_s²·beta / sigma_t² | v |
 * | DDPM, large variance; DDIM with noise `"hat"` | beta-tilde | beta = sigma_t² − (alpha_t/alpha_s)²·sigma_s² |
 * | DDIM | eta²·beta-tilde | v |
 *
 * The form holds for any two levels, so for any sub-sequence of times and any schedule, variance preserving or not.
 *
 * Sources: J. Ho, A. Jain, P. Abbeel, "Denoising diffusion probabilistic models" (NeurIPS 2020), equations 6, 7, 11 and
 * algorithm 2; J. Song, C. Meng, S. Ermon, "Denoising diffusion implicit models" (ICLR 2021), equations 7, 12 and 16.
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
import { posterior, posteriorMean, variances } from "../denoise/posterior.ts";
import { type GridOptions, times, timesAmong } from "../noise/grid.ts";
import type { Schedule } from "../noise/schedule/schedule.ts";
import { refusal } from "../tensor/check/check.ts";
import { atLeast, boolean, is, oneOf } from "../tensor/check/decode.ts";
import { asked, type Leg, step } from "./step.ts";
import type { Sampler, Transition } from "./path.ts";
import { type LastNoise, noisy, over, type Own, silentLast } from "./grid.ts";

export type { LastNoise } from "./grid.ts";

/**
 * Options of {@link ddpm}.
 *
 * @category Samplers
 */
export interface DdpmOptions extends GridOptions, LastNoise {
  /**
   * Variance of the noise: `"small"` is that of the posterior q(x_s | x_t, x_0), beta-tilde; `"large"` that of the
   * kernel q(x_t | x_s), beta. Default: `"small"`.
   */
  readonly variance?: "small" | "large";
}

/**
 * Options of {@link ddim}.
 *
 * @category Samplers
 */
export interface DdimOptions extends GridOptions, LastNoise {
  /**
   * Noise, in units of DDPM's standard deviation: 0 is deterministic, 1 is DDPM with the small variance. At least 0;
   * above 1 as far as eta²·beta-tilde ≤ sigma_s² at each step. Default: 0, or 1 under noise `"hat"`.
   */
  readonly eta?: number;
  /**
   * `"eta"`: the noise has the variance that the mean makes room for. `"hat"`: the mean of eta 1 with the larger
   * standard deviation sigma-hat = √beta, the row of that name in table 1 of Song et al. (2021). Default: `"eta"`.
   */
  readonly noise?: "eta" | "hat";
}

const ddpmRules: Own<DdpmOptions> = {
  variance: oneOf(...Object.keys(variances)),
  lastNoise: boolean,
};

const ddimRules: Own<DdimOptions> = {
  eta: is("a number of at least 0", atLeast(0)),
  noise: oneOf("eta", "hat"),
  lastNoise: boolean,
};

/**
 * DDPM, the ancestral sampler (Ho et al. 2020, algorithm 2), between any two times of a grid:
 *
 * ```text
 *   x_s = c0·x0hat + ct·x_t + std·z      c0, ct of the posterior q(x_s | x_t, x_0)
 * ```
 *
 * @category Samplers
 * @param schedule The schedule of the model.
 * @param options Grid of times, variance, noise of the last step.
 * @returns A sampler with one evaluation of the model for each step.
 * @throws {RangeError} If an option is outside its domain.
 *
 * @example Exact for one-point data: the last step lands on the point
 * ```ts
 * import { ddpm, gaussian, key, linear, prior, run } from "@tweedie/tweedie";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const schedule = linear();
 * const model = gaussian(schedule, { mean: 2, variance: 0 });
 * let x: number[] = [];
 * for await (const state of run(prior([3, 1]), { model, key: key(0) })(ddpm(schedule, { steps: 20 }))) {
 *   x = [...state.x.dataSync()];
 * }
 * assert.ok(x.every((value) => Math.abs(value - 2) < 1e-4));
 * ```
 */
export function ddpm(schedule: Schedule, options: DdpmOptions = {}): Sampler {
  const grid = timesAmong("make a DDPM sampler", { schedule, options }, ddpmRules);
  const { variance = "small" } = options;
  return ancestral(schedule, grid, options, ({ from, to }) => [
    variances.small(from, to),
    variances[variance](from, to),
  ]);
}

/**
 * DDIM (Song et al. 2021, equation 12) with any eta, on any sub-sequence of times:
 *
 * ```text
 *   x_s = alpha_s·x0hat + √(sigma_s² − v)·epshat + √v·z      v = eta²·sigma_s²·beta / sigma_t²
 * ```
 *
 * With eta 0 nothing is drawn, and the step is Euler's for the probability-flow ODE in (x/alpha, sigma/alpha). Some
 * texts put sigma-hat under the root too, where it makes the argument negative; here the root keeps eta 1's variance.
 *
 * @category Samplers
 * @param schedule The schedule of the model.
 * @param options Grid of times, eta, kind of noise, noise of the last step.
 * @returns A sampler with one evaluation of the model for each step.
 * @throws {RangeError} If an option is outside its domain, or eta too great for a step of the grid.
 *
 * @example Deterministic: the start alone decides
 * ```ts
 * import { ddim, gaussian, key, linear, prior, run } from "@tweedie/tweedie";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const schedule = linear();
 * const model = gaussian(schedule, { mean: 2, variance: 0.25 });
 * const start = prior([4, 1])({ model, key: key(0) });
 * const ends: number[][] = [];
 * for (const seed of [1, 2]) {
 *   for await (const { x, t } of run(start, { model, key: key(seed) })(ddim(schedule, { steps: 10 }))) {
 *     if (t === 0) ends.push([...x.dataSync()]);
 *   }
 * }
 * assert.deepEqual(ends[0], ends[1]);
 * ```
 */
export function ddim(schedule: Schedule, options: DdimOptions = {}): Sampler {
  const grid = timesAmong(ddimAction, { schedule, options }, ddimRules);
  const hat = options.noise === "hat", eta = checkedEta(options.eta, hat);
  return ancestral(schedule, grid, options, (leg) => {
    const v = eta === 0 ? 0 : roomFor(eta, leg);
    return [v, hat ? variances.large(leg.from, leg.to) : v];
  });
}

/** The variance that the mean of a step makes room for, and that of its noise. */
type Variances = readonly [v: number, w: number];

/** The sampler of x_s = alpha_s·x0hat + √(sigma_s² − v)·epshat + √w·z on each leg of the grid. */
function ancestral(
  schedule: Schedule,
  grid: readonly number[],
  options: LastNoise,
  variancesOf: (leg: Leg) => Variances,
): Sampler {
  const isSilent = silentLast(options);
  return over(schedule, grid, (leg) => {
    // alpha_s·x0 + √(sigma_s² − v)·(x_t − alpha_t·x0)/sigma_t, as a sum of x0 and x_t.
    const [v, w] = variancesOf(leg), law = posterior(leg.from, leg.to, { variance: v });
    const deviation = isSilent(leg) ? 0 : Math.sqrt(w);
    return step(leg, function* (state, env) {
      const x0 = yield* asked(env, "x0", state.x, leg.t);
      const mean = posteriorMean(law, { x0, xt: state.x });
      return { x: noisy(mean, deviation, { env, state }), x0 };
    });
  });
}

const ddimAction = "make a DDIM sampler";

/** eta²·beta-tilde, refused where it is more than sigma_s². */
function roomFor(eta: number, { t, s, from, to }: Leg): number {
  const tilde = variances.small(from, to), variance = eta ** 2 * tilde;
  if (variance <= to.sigma ** 2) return variance;
  const most = to.sigma / Math.sqrt(tilde);
  throw refusal(ddimAction, `eta must be at most ${most} for the step from ${t} to ${s}`, eta);
}

function checkedEta(asked: number | undefined, hat: boolean): number {
  const eta = asked ?? (hat ? 1 : 0);
  if (hat && eta !== 1) throw refusal(ddimAction, 'eta must be 1 or absent with noise "hat"', eta);
  return eta;
}

/**
 * DDIM run from data to noise, to encode: the same grid in increasing order, deterministic.
 *
 * ```text
 *   x_s = alpha_s·(x_t − sigma_t·eps) / alpha_t + sigma_s·eps      eps = epshat(x_t, s),  s noisier than t
 * ```
 *
 * The noise is asked for at the later time s, as no model knows noise at sigma_t = 0; the error of that is of first
 * order, like the step's. Decoding by {@link ddim} on the same grid brings the data back with an error that falls as
 * 1/steps.
 *
 * @category Samplers
 * @param schedule The schedule of the model.
 * @param options Grid of times, as for {@link ddim}; it is travelled from its end.
 * @returns A sampler that starts at the least time of the grid, with one evaluation of the model for each step.
 * @throws {RangeError} If the grid is outside its domain.
 *
 * @example Encode and decode
 * ```ts
 * import { ddim, ddimInverse, gaussian, key, linear, run } from "@tweedie/tweedie";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import * as tf from "@tensorflow/tfjs-core";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const schedule = linear(), model = gaussian(schedule, { mean: 1, variance: 0.25 }), env = { model, key: key(0) };
 * let code = tf.tensor([[1.4]]);
 * for await (const { x } of run({ x: tf.tensor([[1.4]]), t: 0, step: 0 }, env)(ddimInverse(schedule, { steps: 100 }))) {
 *   code = tf.clone(x);
 * }
 * let back = 0;
 * for await (const { x } of run({ x: code, t: 1000, step: 0 }, env)(ddim(schedule, { steps: 100 }))) back = x.dataSync()[0]!;
 * assert.ok(Math.abs(back - 1.4) < 0.02);
 * ```
 */
export function ddimInverse(schedule: Schedule, options: GridOptions = {}): Sampler {
  return over(schedule, times(schedule, options).toReversed(), encoding);
}

function encoding(leg: Leg): Transition {
  const scale = leg.to.alpha / leg.from.alpha;
  return step(leg, function* ({ x }, env) {
    const eps = yield* asked(env, "eps", x, leg.s);
    return tf.add(tf.mul(x, scale), tf.mul(eps, leg.to.sigma - scale * leg.from.sigma));
  });
}

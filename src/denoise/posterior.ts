/**
 * The forward posterior q(x_s | x_t, x_0) between any two levels, and the Kullback–Leibler divergence of one reverse step.
 *
 * Two marginals fix the Markov kernel between them, whatever the schedule (variance preserving, variance exploding or
 * sub-variance-preserving):
 *
 * ```text
 *   q(x_t | x_s) = N(scale·x_s, kernel·I)     scale = alpha_t / alpha_s,  kernel = sigma_t² − scale²·sigma_s²
 *   q(x_s | x_0) = N(alpha_s·x_0, sigma_s²·I)
 * ```
 *
 * Their product over x_s, the rule of a linear-Gaussian system, is the posterior
 *
 * ```text
 *   q(x_s | x_t, x_0) = N( (alpha_s·kernel·x_0 + scale·sigma_s²·x_t) / sigma_t²,  (sigma_s²·kernel / sigma_t²)·I )
 * ```
 *
 * With alpha² = alphaBar and s = t − 1 these are the mean and the variance of DDPM. Some texts print the variance of
 * this law as beta, or its mean with a factor of 2 in numerator or denominator: both are slips.
 *
 * Sources: J. Ho, A. Jain, P. Abbeel, "Denoising diffusion probabilistic models" (NeurIPS 2020), equations 6 to 10;
 * J. Song, C. Meng, S. Ermon, "Denoising diffusion implicit models" (ICLR 2021), equation 7; D. Kingma, T. Salimans,
 * B. Poole, J. Ho, "Variational diffusion models" (NeurIPS 2021), appendix A. All in float64 on the host.
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
import { between } from "../noise/forward.ts";
import type { Level } from "../noise/schedule/schedule.ts";
import { checkOptions, type Known } from "../tensor/check/check.ts";
import { decoded, is, type Rules } from "../tensor/check/decode.ts";
import { scope } from "../tensor/scope.ts";
import type { Tensor } from "../tensor/tensor.ts";

/**
 * The law of x_s given x_t and x_0: N(x0·x_0 + xt·x_t, variance·I).
 *
 * @category Models
 */
export interface Posterior {
  /** Coefficient of x_0 in the mean. */
  readonly x0: number;
  /** Coefficient of x_t in the mean. */
  readonly xt: number;
  /** Variance of each dimension, at least 0. */
  readonly variance: number;
}

/**
 * Options of {@link posterior}.
 *
 * @category Models
 */
export interface PosteriorOptions {
  /**
   * Variance of x_s given x_t and x_0, in [0, sigma_s²]. Default: that of the Markov chain. Another one selects
   * another member of DDIM's family, which has the same marginals q(x_t | x_0); 0 is DDIM itself.
   */
  readonly variance?: number;
}

const posteriorOptions: Known<PosteriorOptions> = { variance: true };

/**
 * The law q(x_s | x_t, x_0) for two levels, s less noisy than t (Ho et al. 2020, equations 6 and 7; for another
 * variance Song et al. 2021, equation 7).
 *
 * At sigma_s = 0 the variance is 0 and the mean alpha_s·x_0; at alpha_t = 0 it is q(x_s | x_0), since x_t tells nothing.
 *
 * @category Models
 * @param t Level of x_t, with sigma > 0.
 * @param s Level of x_s, with alpha > 0 and a signal-to-noise ratio no less than that of t.
 * @param options Another variance than the Markov chain's.
 * @returns The coefficients of the mean, and the variance.
 * @throws {TypeError} If an option is unknown.
 * @throws {RangeError} If a level or the variance is outside its domain, or s is noisier than t.
 *
 * @example A step to the data adds no noise and lands on x_0
 * ```ts
 * import { posterior } from "@tweedie/tweedie/denoise";
 * import assert from "node:assert/strict";
 *
 * assert.deepEqual(posterior({ alpha: 0.8, sigma: 0.6 }, { alpha: 1, sigma: 0 }), { x0: 1, xt: 0, variance: 0 });
 * ```
 *
 * @example DDIM: with variance 0 the noise in x_t is kept and scaled
 * ```ts
 * import { posterior } from "@tweedie/tweedie/denoise";
 * import assert from "node:assert/strict";
 *
 * const t = { alpha: 0.6, sigma: 0.8 }, s = { alpha: 0.8, sigma: 0.6 };
 * const { x0, xt } = posterior(t, s, { variance: 0 });
 * assert.ok(Math.abs(xt - 0.6 / 0.8) < 1e-12 && Math.abs(x0 - (0.8 - 0.6 * xt)) < 1e-12);
 * ```
 */
export function posterior(t: Level, s: Level, options: PosteriorOptions = {}): Posterior {
  checkOptions("make a posterior", options, posteriorOptions);
  if (!(t.sigma > 0)) {
    throw new RangeError(`Cannot make a posterior: t.sigma must be above 0, got ${t.sigma}`);
  }
  const { scale, std } = between(s, t);
  if (options.variance !== undefined) return member(t, s, options.variance);
  const kept = (std / t.sigma) ** 2;
  return {
    x0: s.alpha * kept,
    xt: scale * (s.sigma / t.sigma) ** 2,
    variance: s.sigma ** 2 * kept,
  };
}

/** The member of DDIM's family with the variance given: x_s = alpha_s·x_0 + √(sigma_s² − variance)·eps + noise. */
function member(t: Level, s: Level, wanted: number): Posterior {
  // sigma² that is computed otherwise, as 1 − alpha², differs in its last digits.
  const most = s.sigma ** 2, variance = Math.min(wanted, most);
  if (!(wanted >= 0 && wanted <= most * (1 + 1e-12))) {
    throw new RangeError(
      `Cannot make a posterior: variance must be in [0, s.sigma^2 = ${most}], got ${wanted}`,
    );
  }
  const xt = Math.sqrt(most - variance) / t.sigma;
  return { x0: s.alpha - t.alpha * xt, xt, variance };
}

/**
 * A rule for the variance of the reverse step from t to s.
 *
 * @category Models
 */
export type ReverseVariance = (t: Level, s: Level) => number;

/**
 * The two variances that DDPM allows for p(x_s | x_t), as functions of the levels (Ho et al. 2020, section 3.2). Under
 * a variance-preserving schedule the true one lies between them for Gaussian data of variance between 0 and 1.
 *
 * - `small`: the posterior's, `sigma_s²·kernel / sigma_t²` (beta-tilde); exact for data that are one point.
 * - `large`: the kernel's, `sigma_t² − (alpha_t/alpha_s)²·sigma_s²` (beta); exact for data N(0, I) under a
 *   variance-preserving schedule.
 *
 * Where s is the data (sigma_s = 0) `small` is 0 and `large` is not. Samplers add no noise on that last step under
 * either rule; the nonzero value is the width of the decoder p(x_0 | x_1) in the bound.
 *
 * @category Models
 * @example
 * ```ts
 * import { variances } from "@tweedie/tweedie";
 * import assert from "node:assert/strict";
 *
 * const t = { alpha: 0.6, sigma: 0.8 }, data = { alpha: 1, sigma: 0 };
 * assert.equal(variances.small(t, data), 0);
 * assert.ok(Math.abs(variances.large(t, data) - 0.64) < 1e-12);
 * ```
 */
export const variances: { readonly small: ReverseVariance; readonly large: ReverseVariance } = {
  small: (t, s) => posterior(t, s).variance,
  large: (t, s) => between(s, t).std ** 2,
};

/**
 * The two ends of a step whose middle {@link posteriorMean} gives.
 *
 * @category Models
 */
export interface Ends {
  /** x_0, or a prediction of it; shape [N, ...sample]. */
  readonly x0: Tensor;
  /** x_t, shape of `x0`. */
  readonly xt: Tensor;
}

/**
 * The mean of a posterior, `law.x0·x_0 + law.xt·x_t`.
 *
 * @category Models
 * @param law The posterior.
 * @param ends x_0 and x_t. Not disposed of.
 * @returns A new tensor of the shape of x_t. It is the scope's, or the caller's where there is none.
 * @throws {RangeError} If x_0 is not of the shape of x_t.
 *
 * @example
 * ```ts
 * import { posterior, posteriorMean } from "@tweedie/tweedie/denoise";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import * as tf from "@tensorflow/tfjs-core";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const law = posterior({ alpha: 0.6, sigma: 0.8 }, { alpha: 1, sigma: 0 });
 * const mean = posteriorMean(law, { x0: tf.tensor([5]), xt: tf.tensor([-2]) });
 * assert.deepEqual([...mean.dataSync()], [5]);
 * ```
 */
export function posteriorMean(law: Posterior, ends: Ends): Tensor {
  if (!tf.util.arraysEqual(ends.x0.shape, ends.xt.shape)) {
    throw new RangeError(
      `Cannot take the mean of a posterior: x0 must be of shape [${ends.xt.shape}], got [${ends.x0.shape}]`,
    );
  }
  return scope(() => tf.add(tf.mul(ends.x0, law.x0), tf.mul(ends.xt, law.xt)));
}

/**
 * The weight of the x_0 error in the divergence of one step: `law.x0² / (2·variance)`.
 *
 * An error in eps is an error in x_0 times sigma_t/alpha_t, so the weight of the squared eps error is this one times
 * (sigma_t/alpha_t)². With the posterior's own variance the weight is half the drop in signal-to-noise ratio, and that
 * of eps is beta²/(2·sigma²·alpha·(1 − alphaBar)) in DDPM's letters (Ho et al. 2020, equation 12).
 *
 * @category Models
 * @param law The posterior q(x_s | x_t, x_0).
 * @param variance Variance of the model's p(x_s | x_t), above 0. Default: the posterior's.
 * @returns The weight, in nats for each unit of squared error.
 * @throws {RangeError} If the variance is not above 0, as for the posterior's own where s is the data.
 *
 * @example Half the drop in signal-to-noise ratio
 * ```ts
 * import { posterior, stepWeight } from "@tweedie/tweedie/denoise";
 * import assert from "node:assert/strict";
 *
 * const weight = stepWeight(posterior({ alpha: 0.6, sigma: 0.8 }, { alpha: 0.8, sigma: 0.6 }));
 * assert.ok(Math.abs(weight - ((0.8 / 0.6) ** 2 - (0.6 / 0.8) ** 2) / 2) < 1e-12);
 * ```
 */
export function stepWeight(law: Posterior, variance: number = law.variance): number {
  if (!(variance > 0)) {
    throw new RangeError(`Cannot weigh a step: variance must be above 0, got ${variance}`);
  }
  return law.x0 ** 2 / (2 * variance);
}

/**
 * Options of {@link stepDivergence}.
 *
 * @category Models
 */
export interface StepDivergenceOptions {
  /** Mean squared error of the model's x_0 prediction for each dimension, at least 0. Default: 0. */
  readonly error?: number;
  /** Variance of the model's p(x_s | x_t), above 0. Default: the posterior's. */
  readonly variance?: number;
}

const divergenceRules: Rules<StepDivergenceOptions> = {
  error: is("at least 0", (value) => value >= 0),
  variance: true,
};

/**
 * The term of the variational bound for one step, for each dimension:
 *
 * ```text
 *   KL( q(x_s | x_t, x_0) ‖ N(mean under the predicted x_0, variance·I) ) / d
 *     = error·law.x0² / (2·variance)  +  (ratio − 1 − ln ratio) / 2,    ratio = law.variance / variance
 * ```
 *
 * (Ho et al. 2020, equation 8, with the constant written out.) The last step of the bound, to the data, is no such
 * divergence but the decoder's likelihood −ln p(x_0 | x_1), and is refused.
 *
 * @category Models
 * @param law The posterior q(x_s | x_t, x_0), with a variance above 0.
 * @param options Error of the prediction, variance of the model.
 * @returns Nats for each dimension, at least 0.
 * @throws {TypeError} If an option is unknown.
 * @throws {RangeError} If either variance is not above 0, or the error is below 0.
 *
 * @example A perfect prediction costs nothing under the posterior's variance
 * ```ts
 * import { posterior, stepDivergence } from "@tweedie/tweedie/denoise";
 * import { variances } from "@tweedie/tweedie";
 * import assert from "node:assert/strict";
 *
 * const t = { alpha: 0.6, sigma: 0.8 }, s = { alpha: 0.8, sigma: 0.6 };
 * assert.equal(stepDivergence(posterior(t, s)), 0);
 * assert.ok(stepDivergence(posterior(t, s), { variance: variances.large(t, s) }) > 0);
 * ```
 */
export function stepDivergence(law: Posterior, options: StepDivergenceOptions = {}): number {
  const action = "compute the divergence of a step";
  const { error = 0, variance = law.variance } = decoded(action, options, divergenceRules);
  if (!(law.variance > 0)) {
    throw new RangeError(
      `Cannot compute the divergence of a step: law.variance must be above 0, got ${law.variance}`,
    );
  }
  const excess = law.variance / variance - 1;
  return error * stepWeight(law, variance) + (excess - Math.log1p(excess)) / 2;
}

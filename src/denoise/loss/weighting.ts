/**
 * How a training objective weighs the errors at each level.
 *
 * At a fixed x_t = alpha·x_0 + sigma·eps all predictions differ from their targets along one direction, so the errors
 * of any two kinds are multiples of each other,
 *
 * ```text
 *   eps error = b·(error of the prediction),   b = coefficients(kind, "eps", level)[1]
 *   score error = −eps error / sigma,  x_0 error = −(sigma/alpha)·eps error,  ...
 * ```
 *
 * and every published objective is E[ w · ‖target − prediction‖² / d ] with another w: `L_simple` is the unweighted eps
 * error, denoising score matching the score error weighed by sigma², the variational bound a sum of x_0 errors weighed
 * by drops in signal-to-noise ratio.
 *
 * The errors of x_0, eps and flow, and the ratio of alpha and sigma, are the same in every unit of x_t; that of a score is
 * not, nor that of v. The weightings here are made of the former, so that each is the same objective whether the schedule's
 * own unit is meant or that of networks, in which alpha² + sigma² = 1.
 *
 * Sources: P. Vincent, "A connection between score matching and denoising autoencoders" (2011), section 4.2; J. Ho,
 * A. Jain, P. Abbeel, "Denoising diffusion probabilistic models" (NeurIPS 2020), equations 8, 12 and 14; T. Salimans,
 * J. Ho, "Progressive distillation for fast sampling of diffusion models" (ICLR 2022), section 4.
 *
 * @module
 */

import type { Level, Schedule } from "../../noise/schedule/schedule.ts";
import { posterior, stepWeight, variances } from "../posterior.ts";
import { coefficients, type Kind, kinds } from "../prediction.ts";

/**
 * The squared error of each kind that goes with a squared error of 1 of the prediction; may be infinite.
 *
 * @category Models
 */
export type Errors = Readonly<Record<Kind, number>>;

/**
 * Where a weight is asked for.
 *
 * @category Models
 */
export interface WeightingPoint {
  /** Marginal at t. */
  readonly level: Level;
  /** Time on the schedule. */
  readonly t: number;
}

/**
 * The weight of a squared error of 1 of the prediction. Which error is weighed, and by how much, reads off the
 * function: `({ eps }) => eps` is the plain eps error, `({ x0 }, { level }) => x0 * level.alpha` the x_0 error times
 * alpha. Two networks of different kinds have the same loss under it where they say the same.
 *
 * @category Models
 */
export type Weighting = (errors: Errors, point: WeightingPoint) => number;

/**
 * The squared error of each kind that goes with a squared error of 1 of one kind.
 *
 * @category Models
 * @param kind The kind whose error is 1.
 * @param level Marginal at t.
 * @returns A number for each kind, infinite where the one does not determine the other.
 *
 * @example An x_0 error of 1 is an eps error of the signal-to-noise ratio
 * ```ts
 * import { errorsOf } from "@tweedie/tweedie/denoise";
 * import assert from "node:assert/strict";
 *
 * assert.ok(Math.abs(errorsOf("x0", { alpha: 0.8, sigma: 0.6 }).eps - (0.8 / 0.6) ** 2) < 1e-12);
 * ```
 */
export function errorsOf(kind: Kind, level: Level): Errors {
  const error = (wanted: Kind): number => coefficients(kind, wanted, level)[1] ** 2;
  return Object.fromEntries(kinds.map((wanted) => [wanted, error(wanted)])) as Errors;
}

/**
 * The weightings of the literature. SNR is alpha²/sigma².
 *
 * | name | weight of the eps error | of the x_0 error | source |
 * |---|---|---|---|
 * | `own` | that of the prediction itself | | |
 * | `simple` | 1 | SNR | Ho et al. 2020, equation 14 |
 * | `data` | 1 / SNR | 1 | Salimans and Ho 2022, section 4 |
 * | `truncated` | max(1, 1 / SNR) | max(SNR, 1) | Salimans and Ho 2022, section 4 |
 * | `velocity` | 1 + 1 / SNR, that of v where alpha² + sigma² = 1 | SNR + 1 | Salimans and Ho 2022, section 4 |
 * | `minSnr(gamma)` | min(1, gamma / SNR) | min(SNR, gamma) | Hang et al., "Min-SNR weighting strategy" (2023), eq. 7 |
 *
 * `minSnr` takes gamma above 0. Default: 5.
 *
 * @category Models
 * @example
 * ```ts
 * import { errorsOf } from "@tweedie/tweedie/denoise";
 * import { weightings } from "@tweedie/tweedie";
 * import assert from "node:assert/strict";
 *
 * const level = { alpha: 1, sigma: 0.1 }, point = { level, t: 1 };
 * assert.ok(Math.abs(weightings.simple(errorsOf("x0", level), point) - 100) < 1e-9);
 * assert.equal(weightings.minSnr()(errorsOf("x0", level), point), 5);
 * ```
 */
export const weightings: {
  readonly own: Weighting;
  readonly simple: Weighting;
  readonly data: Weighting;
  readonly truncated: Weighting;
  readonly velocity: Weighting;
  readonly minSnr: (gamma?: number) => Weighting;
} = {
  own: () => 1,
  simple: ({ eps }) => eps,
  data: ({ x0 }) => x0,
  truncated: ({ eps, x0 }) => Math.max(eps, x0),
  velocity: ({ eps, x0 }) => eps + x0,
  minSnr: (gamma = 5) => {
    if (!(gamma > 0)) {
      throw new RangeError(`Cannot make a weighting: gamma must be above 0, got ${gamma}`);
    }
    return ({ eps, x0 }) => Math.min(eps, gamma * x0);
  },
};

/**
 * The weighting under which the loss is the variational bound.
 *
 * For a discrete schedule the weight at t is that of KL(q(x_{t−1} | x_t, x_0) ‖ p(x_{t−1} | x_t)) with the large
 * variance, which is finite at the first time as well, from which the step leads to the data (Ho et al. 2020, equation 12);
 * N times the mean of the loss over its N times is the bound in nats for each dimension, but for constants. For a continuous
 * one it is
 *
 * ```text
 *   g²/2 of the score error = g²/(2·sigma²) of the eps error = −½·d(log-SNR)/dt of it,
 * ```
 *
 * the last in whatever unit x_t is, and the bound is the integral over t (Y. Song, C. Durkan, I. Murray, S. Ermon, "Maximum
 * likelihood training of score-based diffusion models", NeurIPS 2021, equation 7; D. Kingma et al., "Variational diffusion
 * models", NeurIPS 2021, equation 17).
 *
 * @category Models
 * @param schedule The schedule of the loss.
 * @returns The weighting, in nats.
 *
 * @example At the last step of DDPM
 * ```ts
 * import { errorsOf, variational } from "@tweedie/tweedie/denoise";
 * import { linear } from "@tweedie/tweedie";
 * import assert from "node:assert/strict";
 *
 * const schedule = linear(), level = schedule.at(1000);
 * const weight = variational(schedule)(errorsOf("eps", level), { level, t: 1000 });
 * assert.ok(Math.abs(weight - 0.0102045) < 1e-7);
 * ```
 *
 * @example The exploding noise, whose log-SNR falls evenly
 * ```ts
 * import { errorsOf, variational } from "@tweedie/tweedie/denoise";
 * import { ve } from "@tweedie/tweedie";
 * import assert from "node:assert/strict";
 *
 * const schedule = ve({ sigmaMin: 0.01, sigmaMax: 50 }), level = schedule.at(0.77);
 * const weight = variational(schedule)(errorsOf("eps", level), { level, t: 0.77 });
 * assert.ok(Math.abs(weight - Math.log(50 / 0.01)) < 1e-9);
 * ```
 */
export function variational(schedule: Schedule): Weighting {
  const { steps, at, diffusion } = schedule;
  if (steps === undefined) return ({ eps }, { t }) => eps * (diffusion(t) / at(t).sigma) ** 2 / 2;
  return ({ x0 }, { t }) => {
    // Both of the schedule's own, whatever the unit of the loss: the large variance is one of x_t.
    const level = at(t), s = t >= 1 ? at(t - 1) : data;
    return x0 * stepWeight(posterior(level, s), variances.large(level, s));
  };
}

/** The level of the data themselves. */
const data: Level = { alpha: 1, sigma: 0 };

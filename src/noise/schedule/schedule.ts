/**
 * Noise schedules: time to the two numbers alpha and sigma of q(x_t | x_0) = N(alpha·x_0, sigma²·I).
 *
 * Everything else follows from these two functions of t:
 *
 * ```text
 *   log-SNR   lambda = 2 ln(alpha / sigma), which falls as t grows
 *   SDE       dx = f x dt + g dw   with   f = d ln(alpha) / dt,   g² = d(sigma²)/dt − 2 f sigma²
 * ```
 *
 * Time of a discrete schedule is the papers': t = 0 is the data (alpha 1, sigma 0), t = 1 … T are the noise levels
 * (index i of a Python library is t = i + 1). Between whole times log-SNR is linear in t; where it is infinite at
 * one end (from t = 0 to 1, or up to a T of zero SNR) alphaBar = alpha² is linear instead. At a whole time f and g
 * are those of the interval that ends there, so that g² is −ln(1 − beta_t), which is beta_t to first order.
 *
 * A variance-preserving schedule is one function B(t) = −ln alphaBar(t): alpha² = exp(−B), sigma² = 1 − exp(−B),
 * f = −B′/2, g² = B′. Logarithms of alphaBar are summed in float64; libraries that keep alphaBar in float32 differ
 * from {@link linear} by up to 1e-6 of alphaBar, and by 1e-4 of sigma at t = 1, where 1 − alphaBar cancels.
 *
 * Sources: J. Ho, A. Jain, P. Abbeel, "Denoising diffusion probabilistic models" (NeurIPS 2020), eqs. 2 and 4;
 * Y. Song et al., "Score-based generative modeling through SDEs" (ICLR 2021), section 3.4 and appendices B and C;
 * T. Karras et al., "Elucidating the design space of diffusion-based generative models" (NeurIPS 2022), table 1;
 * D. Kingma et al., "Variational diffusion models" (NeurIPS 2021), section 3, for log-SNR.
 * A common slip writes the covariance of the jump as sqrt(1 − alpha²)·I; it is (1 − alpha²)·I.
 *
 * @module
 */

/**
 * The two numbers of a marginal: q(x_t | x_0) = N(alpha·x_0, sigma²·I).
 *
 * @category Schedules
 */
export interface Level {
  /** Signal scale, in [0, 1] for variance-preserving schedules, 1 for variance-exploding ones. */
  readonly alpha: number;
  /** Noise standard deviation, at least 0. */
  readonly sigma: number;
}

/**
 * How the times of a grid are laid out; see {@link times}.
 *
 * @category Schedules
 */
export type Spacing =
  | "uniform"
  | "leading"
  | "trailing"
  | "linspace"
  | "quadratic"
  | "karras"
  | "logLinear";

/**
 * The layout of a schedule's grids where none is asked for.
 *
 * @category Schedules
 */
export interface GridDefaults {
  /** The layout. */
  readonly spacing: Spacing;
  /** Exponent of karras, above 0. Default: 7. */
  readonly rho?: number;
  /** Shift of uniform, above 0. Default: 1. */
  readonly shift?: number;
}

/**
 * A noise schedule: pure functions of time, computed in float64 on the host.
 *
 * @category Schedules
 */
export interface Schedule {
  /** What it is, for messages and metadata, such as `"linear"`. */
  readonly name: string;
  /** Least and greatest time. Least is where the data are (sigma = 0, or the schedule's smallest sigma). */
  readonly span: readonly [number, number];
  /** Number of steps T of a discrete schedule, whose times are 0 (data) to T; absent for a continuous one. */
  readonly steps?: number;
  /**
   * The layout of grids where none is asked for, in a schedule whose levels need another than {@link times} would take.
   * Default: none.
   */
  readonly grid?: GridDefaults;
  /** Marginal at time t. Discrete schedules also answer between whole times. */
  readonly at: (t: number) => Level;
  /** Inverse of t ↦ log-SNR = 2 ln(alpha/sigma). */
  readonly timeOf: (logSnr: number) => number;
  /** f(t) of dx = f(t)·x dt + g(t) dw. */
  readonly drift: (t: number) => number;
  /** g(t) of dx = f(t)·x dt + g(t) dw. */
  readonly diffusion: (t: number) => number;
}

/**
 * The log-SNR of a marginal, 2 ln(alpha/sigma) (VDM, section 3.1).
 *
 * @category Schedules
 * @param level Marginal at t.
 * @returns In nats; +∞ at sigma = 0, −∞ at alpha = 0.
 *
 * @example Equal parts of signal and noise
 * ```ts
 * import { logSnr } from "@tweedie/tweedie/noise";
 * import assert from "node:assert/strict";
 *
 * assert.equal(logSnr({ alpha: 0.5, sigma: 0.5 }), 0);
 * ```
 */
export function logSnr({ alpha, sigma }: Level): number {
  return 2 * Math.log(alpha / sigma);
}

/**
 * The time of a schedule with a level's log-SNR, at which the same noise is on the same data in another unit; where the
 * schedule has none, the nearest.
 *
 * @category Schedules
 * @param schedule The schedule.
 * @param level A marginal, of any schedule.
 * @returns A time in its span.
 *
 * @example Half of the way to noise on one schedule, and beyond the end of another
 * ```ts
 * import { edm, rectified } from "@tweedie/tweedie";
 * import { timeNear } from "@tweedie/tweedie/noise";
 * import assert from "node:assert/strict";
 *
 * assert.ok(Math.abs(timeNear(rectified(), { alpha: 3, sigma: 3 }) - 0.5) < 1e-9);
 * assert.equal(timeNear(edm(), { alpha: 1, sigma: 1000 }), 80);
 * ```
 */
export function timeNear({ span: [first, last], at, timeOf }: Schedule, level: Level): number {
  const wanted = logSnr(level);
  if (wanted >= logSnr(at(first))) return first;
  return wanted <= logSnr(at(last)) ? last : timeOf(wanted);
}

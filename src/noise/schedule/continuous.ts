/**
 * Schedules of continuous time in closed form: the SDEs of score-based models, EDM's, straight paths, cosine and sigmoid.
 *
 * @module
 */

import type { Known } from "../../tensor/check/check.ts";
import {
  checkAbove,
  checkEnd,
  checkFrom,
  guarded,
  known,
  logistic,
  softplus,
  unmade,
} from "./guard.ts";
import type { Schedule } from "./schedule.ts";

/**
 * Options of {@link vp} and {@link subVp}.
 *
 * @category Schedules
 */
export interface VpOptions {
  /** beta(0), above 0. Default: 0.1. */
  readonly betaMin?: number;
  /** beta(1), at least `betaMin`. Default: 20. */
  readonly betaMax?: number;
  /** Greatest time, above 0. Default: 1. */
  readonly end?: number;
}

/**
 * Options of {@link ve}.
 *
 * @category Schedules
 */
export interface VeOptions {
  /** sigma(0), above 0, in units of the data. Default: 0.01. */
  readonly sigmaMin?: number;
  /** sigma(1), above `sigmaMin`, in units of the data. Default: 50. */
  readonly sigmaMax?: number;
  /** Whether the marginal variance is sigma(t)² − sigma(0)², which is 0 at t = 0. Default: false. */
  readonly fromZero?: boolean;
}

/**
 * Options of {@link edm}.
 *
 * @category Schedules
 */
export interface EdmOptions {
  /** Least sigma of the span, above 0, in units of the data. Default: 0.002. */
  readonly sigmaMin?: number;
  /** Greatest sigma, above `sigmaMin`, in units of the data. Default: 80. */
  readonly sigmaMax?: number;
}

/**
 * Options of {@link cosineContinuous}.
 *
 * @category Schedules
 */
export interface CosineContinuousOptions {
  /** Offset s, at least 0. Default: 0.008. */
  readonly offset?: number;
  /** Greatest time, in (0, 1]; alpha is 0 at 1. Default: 0.9946. */
  readonly end?: number;
}

/**
 * Options of {@link sigmoidContinuous}.
 *
 * @category Schedules
 */
export interface SigmoidContinuousOptions {
  /** Where on the logistic curve t = 0 lies. Default: −3. */
  readonly start?: number;
  /** Where on the logistic curve t = 1 lies, above `start`. Default: 3. */
  readonly stop?: number;
  /** Temperature of the logistic curve, above 0. Default: 1. */
  readonly temperature?: number;
  /** Greatest time, in (0, 1]; alpha is 0 at 1. Default: 0.9946. */
  readonly end?: number;
}

const vpOptions: Known<VpOptions> = { betaMin: true, betaMax: true, end: true };
const veOptions: Known<VeOptions> = { sigmaMin: true, sigmaMax: true, fromZero: true };
const edmOptions: Known<EdmOptions> = { sigmaMin: true, sigmaMax: true };
const cosineContinuousOptions: Known<CosineContinuousOptions> = { offset: true, end: true };
const sigmoidContinuousOptions: Known<SigmoidContinuousOptions> = {
  start: true,
  stop: true,
  temperature: true,
  end: true,
};

/** A variance-preserving schedule in terms of B(t) = −ln alphaBar(t). */
interface Attenuation {
  readonly name: string;
  readonly span: readonly [number, number];
  readonly domain: readonly [number, number];
  /** B(t), from 0 at t = 0. */
  readonly loss: (t: number) => number;
  /** B′(t). */
  readonly rate: (t: number) => number;
  /** Inverse of B. */
  readonly timeAt: (loss: number) => number;
}

/** log-SNR = −ln(exp(B) − 1), so B = softplus(−log-SNR). */
const preserving = ({ name, span, domain, loss, rate, timeAt }: Attenuation): Schedule =>
  guarded({
    name,
    span,
    at: (t) => ({ alpha: Math.exp(-loss(t) / 2), sigma: Math.sqrt(-Math.expm1(-loss(t))) }),
    timeOf: (wanted) => timeAt(softplus(-wanted)),
    drift: (t) => -rate(t) / 2,
    diffusion: (t) => Math.sqrt(rate(t)),
  }, domain);

/** beta(t) linear in t: B = betaMin·t + (betaMax − betaMin)·t²/2. */
function linearRate(name: string, options: VpOptions): Attenuation {
  const { betaMin = 0.1, betaMax = 20, end = 1 } = known(name, options, vpOptions);
  checkAbove(name, "betaMin", betaMin, 0);
  checkFrom(name, "betaMax", betaMax, betaMin);
  checkAbove(name, "end", end, 0);
  const slope = betaMax - betaMin;
  return {
    name,
    span: [0, end],
    domain: [0, Infinity],
    loss: (t) => betaMin * t + slope * t * t / 2,
    rate: (t) => betaMin + slope * t,
    timeAt: (loss) => 2 * loss / (betaMin + Math.sqrt(betaMin * betaMin + 2 * slope * loss)),
  };
}

/**
 * The variance-preserving SDE dx = −beta(t)·x/2 dt + √beta(t) dw with beta(t) = betaMin + (betaMax − betaMin)·t:
 * alpha = exp(−B/2), sigma² = 1 − exp(−B), B = ∫ beta (Song et al., eqs. 11, 29 and 33).
 *
 * With `betaMin` = `betaMax` = 1 it is the Ornstein–Uhlenbeck process: alpha = exp(−t/2), sigma² = 1 − exp(−t).
 * Sampling usually ends at t = 1e-3, training at 1e-5.
 *
 * @category Schedules
 * @param options Both betas and the greatest time.
 * @returns The schedule, on [0, end]; its functions answer beyond the end too.
 * @throws {RangeError} If not 0 < betaMin ≤ betaMax, or `end` is not above 0.
 *
 * @example The Ornstein–Uhlenbeck process
 * ```ts
 * import { vp } from "@tweedie/tweedie";
 * import assert from "node:assert/strict";
 *
 * const { alpha, sigma } = vp({ betaMin: 1, betaMax: 1, end: 5 }).at(0.7);
 * assert.ok(Math.abs(alpha - Math.exp(-0.35)) < 1e-15 && Math.abs(alpha ** 2 + sigma ** 2 - 1) < 1e-15);
 * ```
 */
export function vp(options: VpOptions = {}): Schedule {
  return preserving(linearRate("vp", options));
}

/**
 * The sub-variance-preserving SDE dx = −beta·x/2 dt + √(beta·(1 − exp(−2B))) dw: alpha = exp(−B/2),
 * sigma = 1 − exp(−B), B = ∫ beta (Song et al., eqs. 12 and 29). Its variance is at most that of {@link vp}.
 *
 * @category Schedules
 * @param options Both betas and the greatest time.
 * @returns The schedule, on [0, end]; its functions answer beyond the end too.
 * @throws {RangeError} If not 0 < betaMin ≤ betaMax, or `end` is not above 0.
 *
 * @example
 * ```ts
 * import { subVp } from "@tweedie/tweedie";
 * import assert from "node:assert/strict";
 *
 * assert.ok(Math.abs(subVp().at(0.3).sigma ** 2 - 0.3644136) < 1e-7);
 * ```
 */
export function subVp(options: VpOptions = {}): Schedule {
  const { name, span, domain, loss, rate, timeAt } = linearRate("subVp", options);
  return guarded({
    name,
    span,
    at: (t) => ({ alpha: Math.exp(-loss(t) / 2), sigma: -Math.expm1(-loss(t)) }),
    // sigma/alpha = 2 sinh(B/2).
    timeOf: (wanted) => timeAt(2 * Math.asinh(Math.exp(-wanted / 2) / 2)),
    drift: (t) => -rate(t) / 2,
    diffusion: (t) => Math.sqrt(rate(t) * -Math.expm1(-2 * loss(t))),
  }, domain);
}

/**
 * The variance-exploding SDE dx = √(d(sigma²)/dt) dw with sigma(t) = sigmaMin·(sigmaMax/sigmaMin)^t: equally spaced
 * times are a geometric sequence of noise levels, as in NCSN (Song et al., eqs. 9, 29 and 31).
 *
 * The literature has two marginals. Eq. 29 has variance sigma(t)² − sigma(0)², exact for a process that starts at
 * the data; eq. 31, appendix C and the released code drop sigma(0)². The default is the code's: x_0 is then the data
 * with noise sigmaMin already on them. `fromZero` is eq. 29. Both have the same g.
 *
 * @category Schedules
 * @param options Both sigmas and the choice of marginal.
 * @returns The schedule, on [0, 1]; its functions answer beyond t = 1 too.
 * @throws {RangeError} If not 0 < sigmaMin < sigmaMax.
 *
 * @example The geometric mean in the middle
 * ```ts
 * import { ve } from "@tweedie/tweedie";
 * import assert from "node:assert/strict";
 *
 * const { alpha, sigma } = ve({ sigmaMin: 0.01, sigmaMax: 100 }).at(0.5);
 * assert.ok(alpha === 1 && Math.abs(sigma - 1) < 1e-12);
 * ```
 */
export function ve(options: VeOptions = {}): Schedule {
  const { sigmaMin = 0.01, sigmaMax = 50, fromZero = false } = known("ve", options, veOptions);
  checkAbove("ve", "sigmaMin", sigmaMin, 0);
  checkAbove("ve", "sigmaMax", sigmaMax, sigmaMin);
  const rate = Math.log(sigmaMax / sigmaMin), first = Math.log(sigmaMin);
  const geometric = (t: number): number => sigmaMin * Math.exp(rate * t);
  const sigma = (t: number): number =>
    fromZero ? sigmaMin * Math.sqrt(Math.expm1(2 * rate * t)) : geometric(t);
  // 2·ln(sigma(t)/sigmaMin) from ln(sigma²/sigmaMin²).
  const twice = (log: number): number => fromZero ? softplus(log) : log;
  return guarded({
    name: "ve",
    span: [0, 1],
    at: (t) => ({ alpha: 1, sigma: sigma(t) }),
    timeOf: (wanted) => twice(-wanted - 2 * first) / (2 * rate),
    drift: () => 0,
    diffusion: (t) => geometric(t) * Math.sqrt(2 * rate),
  }, [0, Infinity]);
}

/**
 * EDM's schedule, whose time is sigma itself: alpha = 1, sigma = t, g² = 2t (EDM, section 3 and table 1).
 *
 * The span starts at `sigmaMin`, but t = 0, the data, is answered too, and grids end there. They are spaced by `"karras"`: of
 * 50 equal steps in sigma only the last would reach below 1.6.
 *
 * @category Schedules
 * @param options Least and greatest sigma of the span.
 * @returns The schedule, on [sigmaMin, sigmaMax]; its functions answer for every t ≥ 0.
 * @throws {RangeError} If not 0 < sigmaMin < sigmaMax.
 *
 * @example
 * ```ts
 * import { edm } from "@tweedie/tweedie";
 * import assert from "node:assert/strict";
 *
 * assert.deepEqual(edm().at(3), { alpha: 1, sigma: 3 });
 * ```
 */
export function edm(options: EdmOptions = {}): Schedule {
  const { sigmaMin = 0.002, sigmaMax = 80 } = known("edm", options, edmOptions);
  checkAbove("edm", "sigmaMin", sigmaMin, 0);
  checkAbove("edm", "sigmaMax", sigmaMax, sigmaMin);
  return guarded({
    name: "edm",
    span: [sigmaMin, sigmaMax],
    grid: { spacing: "karras" },
    at: (t) => ({ alpha: 1, sigma: t }),
    timeOf: (wanted) => Math.exp(-wanted / 2),
    drift: () => 0,
    diffusion: (t) => Math.sqrt(2 * t),
  }, [0, Infinity]);
}

/**
 * Straight paths between data and noise, alpha = 1 − t, sigma = t: rectified flow, or flow matching with the
 * optimal-transport path. f = −1/(1 − t), g² = 2t/(1 − t), both infinite at t = 1.
 *
 * Source: X. Liu, C. Gong, Q. Liu, "Flow straight and fast" (ICLR 2023), eq. 1, with time reversed so that noise is
 * at t = 1.
 *
 * @category Schedules
 * @returns The schedule, on [0, 1].
 *
 * @example Half way
 * ```ts
 * import { rectified } from "@tweedie/tweedie";
 * import assert from "node:assert/strict";
 *
 * assert.equal(rectified().timeOf(0), 0.5);
 * ```
 */
export function rectified(): Schedule {
  return guarded({
    name: "rectified",
    span: [0, 1],
    at: (t) => ({ alpha: 1 - t, sigma: t }),
    timeOf: (wanted) => logistic(-wanted / 2),
    drift: (t) => -1 / (1 - t),
    diffusion: (t) => Math.sqrt(2 * t / (1 - t)),
  }, [0, 1]);
}

/**
 * The cosine schedule in continuous time: alphaBar(t) = cos²θ(t)/cos²θ(0), θ(t) = (t + s)/(1 + s)·π/2.
 *
 * alpha is 0 at t = 1, where f and g are infinite; the span ends before it, at the 0.9946 of DPM-Solver's released
 * code (C. Lu et al., NeurIPS 2022).
 *
 * Source: A. Nichol, P. Dhariwal, "Improved denoising diffusion probabilistic models" (ICML 2021), eq. 17.
 *
 * @category Schedules
 * @param options Offset s and the greatest time.
 * @returns The schedule, on [0, end]; its functions answer up to t = 1.
 * @throws {RangeError} If `offset` is negative or `end` is not in (0, 1].
 *
 * @example Without an offset: alpha = cos(πt/2)
 * ```ts
 * import { cosineContinuous } from "@tweedie/tweedie";
 * import assert from "node:assert/strict";
 *
 * const { alpha } = cosineContinuous({ offset: 0 }).at(1 / 3);
 * assert.ok(Math.abs(alpha - Math.sqrt(3) / 2) < 1e-15);
 * ```
 */
export function cosineContinuous(options: CosineContinuousOptions = {}): Schedule {
  const name = "cosineContinuous";
  const { offset = 0.008, end = 0.9946 } = known(name, options, cosineContinuousOptions);
  checkFrom(name, "offset", offset, 0);
  checkEnd(name, end);
  const speed = Math.PI / 2 / (1 + offset);
  const angle = (t: number): number => Math.min(speed * (t + offset), Math.PI / 2);
  const first = angle(0), falling = (t: number): number => t === 1 ? 0 : Math.cos(angle(t));
  return preserving({
    name,
    span: [0, end],
    domain: [0, 1],
    loss: (t) => 2 * Math.log(Math.cos(first) / falling(t)),
    rate: (t) => t === 1 ? Infinity : 2 * speed * Math.tan(angle(t)),
    // sin²θ = sin²θ(0) + cos²θ(0)·sigma², which keeps its digits near t = 0, where the cosine loses them.
    timeAt: (loss) => {
      const sine = Math.sqrt(Math.sin(first) ** 2 - Math.cos(first) ** 2 * Math.expm1(-loss));
      return Math.atan2(sine, Math.cos(first) * Math.exp(-loss / 2)) / speed - offset;
    },
  });
}

/**
 * The sigmoid schedule in continuous time: alphaBar(t) = (S(1) − S(t))/(S(1) − S(0)), where
 * S(t) = logistic((start + (stop − start)·t)/temperature).
 *
 * alpha is 0 at t = 1, where f and g are infinite; the span ends before it.
 *
 * Source: A. Jabri, D. Fleet, T. Chen, "Scalable adaptive computation for iterative generation" (ICML 2023), and
 * T. Chen, "On the importance of noise scheduling for diffusion models" (2023), algorithm 1.
 *
 * @category Schedules
 * @param options The stretch of the logistic curve, its temperature and the greatest time.
 * @returns The schedule, on [0, end]; its functions answer up to t = 1.
 * @throws {RangeError} If `stop` is not above `start`, `temperature` not above 0 or `end` not in (0, 1].
 *
 * @example Symmetric about the middle
 * ```ts
 * import { sigmoidContinuous } from "@tweedie/tweedie/noise";
 * import assert from "node:assert/strict";
 *
 * assert.ok(Math.abs(sigmoidContinuous().at(0.5).alpha ** 2 - 0.5) < 1e-15);
 * ```
 */
export function sigmoidContinuous(options: SigmoidContinuousOptions = {}): Schedule {
  const name = "sigmoidContinuous";
  const { start = -3, stop = 3, temperature = 1, end = 0.9946 } = known(
    name,
    options,
    sigmoidContinuousOptions,
  );
  if (!Number.isFinite(start)) throw unmade(name, "start", "finite", start);
  checkAbove(name, "stop", stop, start);
  checkAbove(name, "temperature", temperature, 0);
  checkEnd(name, end);
  const first = start / temperature, last = stop / temperature, width = last - first;
  const curve = (t: number): number => logistic(first + width * t);
  const low = curve(0), range = logistic(last) - low;
  // How far S has risen, as a share: 1 − alphaBar.
  const risen = (t: number): number => t === 1 ? 1 : (curve(t) - low) / range;
  return preserving({
    name,
    span: [0, end],
    domain: [0, 1],
    loss: (t) => -Math.log1p(-risen(t)),
    rate: (t) => width * curve(t) * (1 - curve(t)) / range / (1 - risen(t)),
    timeAt: (loss) => {
      const value = low - range * Math.expm1(-loss);
      return (Math.log(value / (1 - value)) - first) / width;
    },
  });
}

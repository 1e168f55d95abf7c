/**
 * Discrete variance-preserving schedules, from betas or alphaBars; see the head of `schedule.ts` for how they run between
 * whole times.
 *
 * @module
 */

import type { Known } from "../../tensor/check/check.ts";
import {
  checkFrom,
  checkOpen,
  checkSteps,
  guarded,
  known,
  logistic,
  spread,
  unmade,
} from "./guard.ts";
import type { Level, Schedule } from "./schedule.ts";

/**
 * Options of the discrete schedules that run from one beta to another.
 *
 * @category Schedules
 */
export interface BetaOptions {
  /** Number of steps T, at least 1. Default: 1000. */
  readonly steps?: number;
  /** beta_1, in (0, 1). Default: 1e-4, and 0.00085 for {@link scaledLinear}. */
  readonly betaStart?: number;
  /** beta_T, in (0, 1). Default: 0.02, and 0.012 for {@link scaledLinear}. */
  readonly betaEnd?: number;
}

/**
 * Options of {@link cosine}.
 *
 * @category Schedules
 */
export interface CosineOptions {
  /** Number of steps T, at least 1. Default: 1000. */
  readonly steps?: number;
  /** Offset s, as a share of the whole time, at least 0. Default: 0.008. */
  readonly offset?: number;
  /** Greatest beta, in (0, 1). Default: 0.999. */
  readonly maxBeta?: number;
}

const betaOptions: Known<BetaOptions> = { steps: true, betaStart: true, betaEnd: true };
const cosineOptions: Known<CosineOptions> = { steps: true, offset: true, maxBeta: true };

/** A discrete variance-preserving schedule from −B(t) = ln alphaBar_t at t = 0 … T. */
function discrete(name: string, logs: Float64Array): Schedule {
  const steps = logs.length - 1;
  const signal = logs.map(Math.exp), noise = logs.map((log) => 0 - Math.expm1(log));
  const snr = logs.map((log, k) => log - Math.log(noise[k]!));
  const interval = (t: number) => intervalOf(Math.max(Math.ceil(t), 1), signal, noise, snr);
  const at = (t: number): Level =>
    Number.isInteger(t) ? levelOf(signal[t]!, noise[t]!) : interval(t).at(t);
  const growth = (t: number): number => interval(t).growth(t, at(t));
  return guarded({
    name,
    span: [0, steps],
    steps,
    at,
    timeOf: (wanted) => intervalOf(intervalWith(wanted, snr), signal, noise, snr).timeOf(wanted),
    drift: (t) => -growth(t) / 2,
    diffusion: (t) => Math.sqrt(growth(t)),
  }, [0, steps]);
}

const levelOf = (signal: number, noise: number): Level => ({
  alpha: Math.sqrt(signal),
  sigma: Math.sqrt(noise),
});

/** How a schedule runs between two whole times; `growth` is B′ = g² = −2f. */
interface Interval {
  readonly at: (t: number) => Level;
  readonly growth: (t: number, level: Level) => number;
  readonly timeOf: (logSnr: number) => number;
}

/** The interval from k − 1 to k. */
function intervalOf(
  k: number,
  signal: Float64Array,
  noise: Float64Array,
  snr: Float64Array,
): Interval {
  const from = snr[k - 1]!, slope = snr[k]! - from;
  if (Number.isFinite(slope)) return byLogSnr(k - 1, from, slope);
  return bySignal(k - 1, [signal[k - 1]!, signal[k]!], [noise[k - 1]!, noise[k]!]);
}

/** log-SNR linear in t: f = sigma²·slope/2. */
const byLogSnr = (start: number, from: number, slope: number): Interval => ({
  at: (t) => {
    const value = from + slope * (t - start);
    return levelOf(logistic(value), logistic(-value));
  },
  growth: (_, { sigma }) => -slope * sigma * sigma,
  timeOf: (wanted) => start + (wanted - from) / slope,
});

/** alphaBar linear in t: f = −rise / (2 alphaBar). Keeps both alpha² and sigma², for the digits of the lesser. */
function bySignal(start: number, signal: Ends, noise: Ends): Interval {
  const mixed = ([a, b]: Ends, u: number): number => (1 - u) * a + u * b;
  const share = ([a, b]: Ends, value: number): number => (value - a) / (b - a);
  const rise = signal[0] > 0.5 ? noise[1] - noise[0] : signal[0] - signal[1];
  return {
    at: (t) => levelOf(mixed(signal, t - start), mixed(noise, t - start)),
    growth: (_, { alpha }) => rise / (alpha * alpha),
    timeOf: (wanted) =>
      start + (wanted > 0 ? share(noise, logistic(-wanted)) : share(signal, logistic(wanted))),
  };
}

/** Values at the two ends of an interval. */
type Ends = readonly [number, number];

/** The k of the interval (k − 1, k] that holds a log-SNR, by bisection on a falling table. */
function intervalWith(wanted: number, snr: Float64Array): number {
  let low = 1, high = snr.length - 1;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (snr[middle]! <= wanted) high = middle;
    else low = middle + 1;
  }
  return low;
}

/**
 * The discrete schedule of given betas: alphaBar_t = Π (1 − beta_s) over s = 1 … t (DDPM, eq. 4).
 *
 * The product starts at s = 1: there is no beta_0. Constant betas are `fromBetas(Array(T).fill(beta))`.
 *
 * @category Schedules
 * @param betas beta_1 … beta_T, each in (0, 1). Usually they grow with t; nothing here depends on it.
 * @param name What the schedule is called. Default: `"betas"`.
 * @returns A variance-preserving schedule of T = `betas.length` steps.
 * @throws {RangeError} If there are no betas or one is not in (0, 1).
 *
 * @example Two steps by hand
 * ```ts
 * import { fromBetas } from "@tweedie/tweedie/noise";
 * import assert from "node:assert/strict";
 *
 * const { alpha, sigma } = fromBetas([0.1, 0.2]).at(2);
 * assert.ok(Math.abs(alpha ** 2 - 0.9 * 0.8) < 1e-15 && Math.abs(sigma ** 2 - 0.28) < 1e-15);
 * ```
 */
export function fromBetas(betas: readonly number[], name: string = "betas"): Schedule {
  checkSteps(name, betas.length);
  betas.forEach((beta, i) => checkOpen(name, `beta_${i + 1}`, beta));
  const logs = new Float64Array(betas.length + 1);
  betas.forEach((beta, i) => logs[i + 1] = logs[i]! + Math.log1p(-beta));
  return discrete(name, logs);
}

/**
 * The discrete schedule of given alphaBars, the squares of alpha.
 *
 * The schedule beta_t = 1/(T − t + 1) of J. Sohl-Dickstein et al., "Deep unsupervised learning using nonequilibrium
 * thermodynamics" (ICML 2015), section 2.4.1, has alphaBar_t = (T − t)/T.
 *
 * @category Schedules
 * @param alphaBars alphaBar_1 … alphaBar_T, each in (0, 1) and below the one before; the last may be 0.
 * @param name What the schedule is called. Default: `"alphaBars"`.
 * @returns A variance-preserving schedule of T = `alphaBars.length` steps.
 * @throws {RangeError} If there are no alphaBars, one is not in (0, 1), or they do not fall strictly.
 *
 * @example Sohl-Dickstein's schedule for binary data
 * ```ts
 * import { betas, fromAlphaBars } from "@tweedie/tweedie/noise";
 * import assert from "node:assert/strict";
 *
 * const schedule = fromAlphaBars([0.8, 0.6, 0.4, 0.2, 0]);
 * betas(schedule).forEach((beta, i) => assert.ok(Math.abs(beta - 1 / (5 - i)) < 1e-12));
 * ```
 */
export function fromAlphaBars(alphaBars: readonly number[], name: string = "alphaBars"): Schedule {
  checkSteps(name, alphaBars.length);
  alphaBars.forEach((value, i) => {
    const before = alphaBars[i - 1] ?? 1, last = i === alphaBars.length - 1;
    if (value < before && (value > 0 || (last && value === 0))) return;
    throw unmade(name, `alphaBar_${i + 1}`, `in (0, ${before}), or 0 at the end`, value);
  });
  return discrete(name, Float64Array.from([0, ...alphaBars.map(Math.log)]));
}

/**
 * Betas equally spaced from `betaStart` to `betaEnd` (DDPM, section 4).
 *
 * @category Schedules
 * @param options Steps and both betas.
 * @returns The schedule; alphaBar_T is 4.0358e-5 with the defaults.
 * @throws {RangeError} If `steps` is not a whole number of at least 1 or a beta is not in (0, 1).
 *
 * @example DDPM's own
 * ```ts
 * import { linear } from "@tweedie/tweedie";
 * import assert from "node:assert/strict";
 *
 * assert.ok(Math.abs(linear().at(1000).alpha ** 2 - 4.0358298e-5) < 1e-11);
 * ```
 */
export function linear(options: BetaOptions = {}): Schedule {
  const { steps = 1000, betaStart = 1e-4, betaEnd = 0.02 } = known("linear", options, betaOptions);
  checkSteps("linear", steps);
  return fromBetas(spread(betaStart, betaEnd, steps), "linear");
}

/**
 * Betas whose square roots are equally spaced, also called quadratic betas: those of latent diffusion.
 *
 * Source: R. Rombach et al., "High-resolution image synthesis with latent diffusion models" (CVPR 2022), released
 * configuration.
 *
 * @category Schedules
 * @param options Steps and both betas; defaults 1000, 0.00085 and 0.012.
 * @returns The schedule.
 * @throws {RangeError} If `steps` is not a whole number of at least 1 or a beta is not in (0, 1).
 *
 * @example
 * ```ts
 * import { betas } from "@tweedie/tweedie/noise";
 * import { scaledLinear } from "@tweedie/tweedie";
 * import assert from "node:assert/strict";
 *
 * const [first, middle, last] = betas(scaledLinear({ steps: 3, betaStart: 0.01, betaEnd: 0.09 }));
 * assert.ok(Math.abs(middle! - 0.04) < 1e-12 && first! < middle! && middle! < last!);
 * ```
 */
export function scaledLinear(options: BetaOptions = {}): Schedule {
  const name = "scaledLinear";
  const { steps = 1000, betaStart = 0.00085, betaEnd = 0.012 } = known(name, options, betaOptions);
  checkSteps(name, steps);
  checkOpen(name, "betaStart", betaStart);
  checkOpen(name, "betaEnd", betaEnd);
  const roots = spread(Math.sqrt(betaStart), Math.sqrt(betaEnd), steps);
  return fromBetas(roots.map((root) => root * root), name);
}

/**
 * alphaBar(t) ∝ cos²((t/T + s)/(1 + s)·π/2), with betas cut at `maxBeta`.
 *
 * Source: A. Nichol, P. Dhariwal, "Improved denoising diffusion probabilistic models" (ICML 2021), eq. 17.
 *
 * @category Schedules
 * @param options Steps, offset s and greatest beta.
 * @returns The schedule.
 * @throws {RangeError} If `steps` is not a whole number of at least 1, `offset` is negative or `maxBeta` is not in
 * (0, 1).
 *
 * @example The last beta is cut
 * ```ts
 * import { betas } from "@tweedie/tweedie/noise";
 * import { cosine } from "@tweedie/tweedie";
 * import assert from "node:assert/strict";
 *
 * assert.ok(Math.abs(betas(cosine({ steps: 50 }))[49]! - 0.999) < 1e-12);
 * ```
 */
export function cosine(options: CosineOptions = {}): Schedule {
  const { steps = 1000, offset = 0.008, maxBeta = 0.999 } = known("cosine", options, cosineOptions);
  checkSteps("cosine", steps);
  checkFrom("cosine", "offset", offset, 0);
  checkOpen("cosine", "maxBeta", maxBeta);
  const bar = (t: number): number =>
    Math.cos((t / steps + offset) / (1 + offset) * Math.PI / 2) ** 2;
  const beta = (_: unknown, i: number): number => Math.min(1 - bar(i + 1) / bar(i), maxBeta);
  return fromBetas(Array.from({ length: steps }, beta), "cosine");
}

/**
 * beta_t = betaStart + (betaEnd − betaStart)·logistic(u), u equally spaced from −6 to 6: the sigmoid betas of
 * diffusers (GeoDiff's). Not called `sigmoid`, which is the activation.
 *
 * Source: M. Xu et al., "GeoDiff" (ICLR 2022), to which diffusers credits it.
 *
 * @category Schedules
 * @param options Steps and the betas at both ends of the curve; beta_1 is `betaStart` plus 0.25% of the difference.
 * @returns The schedule.
 * @throws {RangeError} If `steps` is not a whole number of at least 1 or a beta is not in (0, 1).
 *
 * @example Symmetric about the middle
 * ```ts
 * import { betas, sigmoidBetas } from "@tweedie/tweedie/noise";
 * import assert from "node:assert/strict";
 *
 * const all = betas(sigmoidBetas({ steps: 101 }));
 * assert.ok(Math.abs(all[50]! - (1e-4 + 0.02) / 2) < 1e-12);
 * ```
 */
export function sigmoidBetas(options: BetaOptions = {}): Schedule {
  const { steps = 1000, betaStart = 1e-4, betaEnd = 0.02 } = known("sigmoid", options, betaOptions);
  checkSteps("sigmoid", steps);
  checkOpen("sigmoid", "betaStart", betaStart);
  checkOpen("sigmoid", "betaEnd", betaEnd);
  const beta = (u: number): number => betaStart + (betaEnd - betaStart) * logistic(u);
  return fromBetas(spread(-6, 6, steps).map(beta), "sigmoid");
}

/**
 * alphaBar_t = alpha_t² at t = 1 … T.
 *
 * @category Schedules
 * @param schedule A discrete schedule.
 * @returns T numbers in float64.
 * @throws {RangeError} If the schedule is not discrete and variance-preserving.
 *
 * @example
 * ```ts
 * import { alphaBars } from "@tweedie/tweedie/noise";
 * import { linear } from "@tweedie/tweedie";
 * import assert from "node:assert/strict";
 *
 * assert.ok(Math.abs(alphaBars(linear())[499]! - 0.0785872) < 1e-7);
 * ```
 */
export function alphaBars(schedule: Schedule): number[] {
  return levelsOf(schedule, "alphaBars").map(({ alpha }) => alpha * alpha);
}

/**
 * beta_t = 1 − alphaBar_t / alphaBar_{t−1} at t = 1 … T.
 *
 * @category Schedules
 * @param schedule A discrete schedule.
 * @returns T numbers in float64.
 * @throws {RangeError} If the schedule is not discrete and variance-preserving.
 *
 * @example
 * ```ts
 * import { betas } from "@tweedie/tweedie/noise";
 * import { linear } from "@tweedie/tweedie";
 * import assert from "node:assert/strict";
 *
 * assert.ok(Math.abs(betas(linear())[999]! - 0.02) < 1e-12);
 * ```
 */
export function betas(schedule: Schedule): number[] {
  const levels = levelsOf(schedule, "betas"), start = schedule.at(0);
  // (sigma_t² − ratio²·sigma_{t−1}²) equals 1 − ratio² and keeps its digits where alpha is near 1.
  return levels.map(({ alpha, sigma }, i) => {
    const before = levels[i - 1] ?? start, carried = alpha / before.alpha * before.sigma;
    return (sigma - carried) * (sigma + carried);
  });
}

/** Levels at t = 1 … T of a discrete variance-preserving schedule. */
function levelsOf({ name, steps, at }: Schedule, what: string): Level[] {
  const levels = Array.from({ length: steps ?? 0 }, (_, i) => at(i + 1));
  const preserving = (l: Level): boolean => Math.abs(l.alpha ** 2 + l.sigma ** 2 - 1) < 1e-9;
  if (levels.length > 0 && levels.every(preserving)) return levels;
  throw new RangeError(
    `Cannot list ${what}: schedule must be discrete and variance-preserving, got "${name}"`,
  );
}

/**
 * A discrete schedule rescaled so that alpha_T = 0 and alpha_1 is kept: alpha_t becomes
 * (alpha_t − alpha_T)·alpha_1 / (alpha_1 − alpha_T).
 *
 * A model of eps says nothing about x_0 at alpha = 0; use v or x0. Libraries that work in sigma/alpha put 2⁻²⁴ for
 * alphaBar_T here.
 *
 * Source: S. Lin et al., "Common diffusion noise schedules and sample steps are flawed" (WACV 2024), algorithm 1.
 *
 * @category Schedules
 * @param schedule A discrete variance-preserving schedule of at least 2 steps.
 * @returns The rescaled schedule, of as many steps.
 * @throws {RangeError} If the schedule is not discrete and variance-preserving, or has one step.
 *
 * @example
 * ```ts
 * import { linear } from "@tweedie/tweedie";
 * import { zeroTerminalSnr } from "@tweedie/tweedie/noise";
 * import assert from "node:assert/strict";
 *
 * assert.deepEqual(zeroTerminalSnr(linear()).at(1000), { alpha: 0, sigma: 1 });
 * ```
 */
export function zeroTerminalSnr(schedule: Schedule): Schedule {
  const alphas = alphaBars(schedule).map(Math.sqrt), name = `${schedule.name}, zero terminal SNR`;
  if (alphas.length < 2) throw unmade(name, "steps", "at least 2", alphas.length);
  const first = alphas[0]!, last = alphas[alphas.length - 1]!;
  return fromAlphaBars(alphas.map((a) => ((a - last) * first / (first - last)) ** 2), name);
}

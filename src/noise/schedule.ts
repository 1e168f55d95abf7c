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

import { checkOptions, type Known } from "../tensor/check.ts";

/** The two numbers of a marginal: q(x_t | x_0) = N(alpha·x_0, sigma²·I). */
export interface Level {
  /** Signal scale, in [0, 1] for variance-preserving schedules, 1 for variance-exploding ones. */
  readonly alpha: number;
  /** Noise standard deviation, at least 0. */
  readonly sigma: number;
}

/** How the times of a grid are laid out; see {@link times}. */
export type Spacing =
  | "uniform"
  | "leading"
  | "trailing"
  | "linspace"
  | "quadratic"
  | "karras"
  | "logLinear";

/** The layout of a schedule's grids where none is asked for. */
export interface GridDefaults {
  /** The layout. */
  readonly spacing: Spacing;
  /** Exponent of karras, above 0. Default: 7. */
  readonly rho?: number;
  /** Shift of uniform, above 0. Default: 1. */
  readonly shift?: number;
}

/** A noise schedule: pure functions of time, computed in float64 on the host. */
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

/** Options of the discrete schedules that run from one beta to another. */
export interface BetaOptions {
  /** Number of steps T, at least 1. Default: 1000. */
  readonly steps?: number;
  /** beta_1, in (0, 1). Default: 1e-4, and 0.00085 for {@link scaledLinear}. */
  readonly betaStart?: number;
  /** beta_T, in (0, 1). Default: 0.02, and 0.012 for {@link scaledLinear}. */
  readonly betaEnd?: number;
}

/** Options of {@link cosine}. */
export interface CosineOptions {
  /** Number of steps T, at least 1. Default: 1000. */
  readonly steps?: number;
  /** Offset s, as a share of the whole time, at least 0. Default: 0.008. */
  readonly offset?: number;
  /** Greatest beta, in (0, 1). Default: 0.999. */
  readonly maxBeta?: number;
}

/** Options of {@link vp} and {@link subVp}. */
export interface VpOptions {
  /** beta(0), above 0. Default: 0.1. */
  readonly betaMin?: number;
  /** beta(1), at least `betaMin`. Default: 20. */
  readonly betaMax?: number;
  /** Greatest time, above 0. Default: 1. */
  readonly end?: number;
}

/** Options of {@link ve}. */
export interface VeOptions {
  /** sigma(0), above 0, in units of the data. Default: 0.01. */
  readonly sigmaMin?: number;
  /** sigma(1), above `sigmaMin`, in units of the data. Default: 50. */
  readonly sigmaMax?: number;
  /** Whether the marginal variance is sigma(t)² − sigma(0)², which is 0 at t = 0. Default: false. */
  readonly fromZero?: boolean;
}

/** Options of {@link edm}. */
export interface EdmOptions {
  /** Least sigma of the span, above 0, in units of the data. Default: 0.002. */
  readonly sigmaMin?: number;
  /** Greatest sigma, above `sigmaMin`, in units of the data. Default: 80. */
  readonly sigmaMax?: number;
}

/** Options of {@link cosineContinuous}. */
export interface CosineContinuousOptions {
  /** Offset s, at least 0. Default: 0.008. */
  readonly offset?: number;
  /** Greatest time, in (0, 1]; alpha is 0 at 1. Default: 0.9946. */
  readonly end?: number;
}

/** Options of {@link sigmoidContinuous}. */
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

/** Options of {@link fromLevel}. */
export interface FromLevelOptions {
  /** What the schedule is called. Default: `"custom"`. */
  readonly name?: string;
  /** Least and greatest time. Default: [0, 1]. */
  readonly span?: readonly [number, number];
  /** The layout of grids where none is asked for. Default: as {@link times} has it. */
  readonly grid?: GridDefaults;
}

const betaOptions: Known<BetaOptions> = { steps: true, betaStart: true, betaEnd: true };
const cosineOptions: Known<CosineOptions> = { steps: true, offset: true, maxBeta: true };
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
const fromLevelOptions: Known<FromLevelOptions> = { name: true, span: true, grid: true };
const gridDefaults: Known<GridDefaults> = { spacing: true, rho: true, shift: true };

/** The options themselves, if the schedule knows them all. */
function known<T extends object>(name: string, options: T, all: Known<T>): T {
  checkOptions(`make the schedule "${name}"`, options, all);
  return options;
}

const logistic = (x: number): number => 1 / (1 + Math.exp(-x));

const softplus = (x: number): number => Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x)));

/** `count` numbers from `first` to `last`, both included; `first` alone for a count of 1. */
function spread(first: number, last: number, count: number): number[] {
  const step = count > 1 ? (last - first) / (count - 1) : 0;
  return Array.from(
    { length: count },
    (_, i) => i > 0 && i === count - 1 ? last : first + i * step,
  );
}

/** The error for a bad argument of a schedule's constructor. */
const unmade = (name: string, parameter: string, wanted: string, got: unknown): RangeError =>
  new RangeError(`Cannot make the schedule "${name}": ${parameter} must be ${wanted}, got ${got}`);

function checkSteps(name: string, steps: number): void {
  if (!Number.isSafeInteger(steps) || steps < 1) {
    throw unmade(name, "steps", "a whole number of at least 1", steps);
  }
}

function checkOpen(name: string, parameter: string, value: number): void {
  if (!(value > 0 && value < 1)) throw unmade(name, parameter, "in (0, 1)", value);
}

function checkFrom(name: string, parameter: string, value: number, least: number): void {
  if (!(value >= least && value < Infinity)) {
    throw unmade(name, parameter, `finite and at least ${least}`, value);
  }
}

function checkAbove(name: string, parameter: string, value: number, bound: number): void {
  if (!(value > bound && value < Infinity)) {
    throw unmade(name, parameter, `finite and above ${bound}`, value);
  }
}

function checkEnd(name: string, end: number): void {
  if (!(end > 0 && end <= 1)) throw unmade(name, "end", "in (0, 1]", end);
}

/** A schedule whose functions refuse times outside `domain` and log-SNRs that no such time has. */
function guarded(schedule: Schedule, domain: readonly [number, number]): Schedule {
  const { name, at, timeOf, drift, diffusion, span } = schedule, [least, most] = domain;
  // What rounding puts beyond an end is at that end.
  const slack = 1e-9 * (span[1] - span[0]);
  const inside = <A>(f: (t: number) => A) => (t: number): A => {
    if (t >= least - slack && t <= most + slack) return f(Math.min(Math.max(t, least), most));
    throw new RangeError(
      `Cannot read the schedule "${name}": t must be in [${domain.join(", ")}], got ${t}`,
    );
  };
  const inverse = (logSnr: number): number => settled(timeOf(logSnr), domain, name, logSnr);
  return {
    ...schedule,
    at: inside(at),
    timeOf: inverse,
    drift: inside(drift),
    diffusion: inside(diffusion),
  };
}

/** A time moved into the domain by what rounding may have moved it out. */
function settled(
  t: number,
  [least, most]: readonly [number, number],
  name: string,
  logSnr: number,
): number {
  const slack = 1e-9 * Math.min(1, most - least);
  if (t >= least - slack && t <= most + slack && Math.abs(t) < Infinity) {
    return Math.min(Math.max(t, least), most);
  }
  throw new RangeError(
    `Cannot invert the schedule "${name}": logSnr must be that of a time in ` +
      `[${least}, ${most}], got ${logSnr}`,
  );
}

/**
 * The log-SNR of a marginal, 2 ln(alpha/sigma) (VDM, section 3.1).
 *
 * @param level Marginal at t.
 * @returns In nats; +∞ at sigma = 0, −∞ at alpha = 0.
 *
 * @example Equal parts of signal and noise
 * ```ts
 * import { logSnr } from "@tweedie/tweedie";
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
 * @param schedule The schedule.
 * @param level A marginal, of any schedule.
 * @returns A time in its span.
 *
 * @example Half of the way to noise on one schedule, and beyond the end of another
 * ```ts
 * import { edm, rectified, timeNear } from "@tweedie/tweedie";
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

// Discrete schedules.

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
 * @param betas beta_1 … beta_T, each in (0, 1). Usually they grow with t; nothing here depends on it.
 * @param name What the schedule is called. Default: `"betas"`.
 * @returns A variance-preserving schedule of T = `betas.length` steps.
 * @throws {RangeError} If there are no betas or one is not in (0, 1).
 *
 * @example Two steps by hand
 * ```ts
 * import { fromBetas } from "@tweedie/tweedie";
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
 * @param alphaBars alphaBar_1 … alphaBar_T, each in (0, 1) and below the one before; the last may be 0.
 * @param name What the schedule is called. Default: `"alphaBars"`.
 * @returns A variance-preserving schedule of T = `alphaBars.length` steps.
 * @throws {RangeError} If there are no alphaBars, one is not in (0, 1), or they do not fall strictly.
 *
 * @example Sohl-Dickstein's schedule for binary data
 * ```ts
 * import { betas, fromAlphaBars } from "@tweedie/tweedie";
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
 * @param options Steps and both betas; defaults 1000, 0.00085 and 0.012.
 * @returns The schedule.
 * @throws {RangeError} If `steps` is not a whole number of at least 1 or a beta is not in (0, 1).
 *
 * @example
 * ```ts
 * import { betas, scaledLinear } from "@tweedie/tweedie";
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
 * @param options Steps, offset s and greatest beta.
 * @returns The schedule.
 * @throws {RangeError} If `steps` is not a whole number of at least 1, `offset` is negative or `maxBeta` is not in
 * (0, 1).
 *
 * @example The last beta is cut
 * ```ts
 * import { betas, cosine } from "@tweedie/tweedie";
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
 * @param options Steps and the betas at both ends of the curve; beta_1 is `betaStart` plus 0.25% of the difference.
 * @returns The schedule.
 * @throws {RangeError} If `steps` is not a whole number of at least 1 or a beta is not in (0, 1).
 *
 * @example Symmetric about the middle
 * ```ts
 * import { betas, sigmoidBetas } from "@tweedie/tweedie";
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
 * @param schedule A discrete schedule.
 * @returns T numbers in float64.
 * @throws {RangeError} If the schedule is not discrete and variance-preserving.
 *
 * @example
 * ```ts
 * import { alphaBars, linear } from "@tweedie/tweedie";
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
 * @param schedule A discrete schedule.
 * @returns T numbers in float64.
 * @throws {RangeError} If the schedule is not discrete and variance-preserving.
 *
 * @example
 * ```ts
 * import { betas, linear } from "@tweedie/tweedie";
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
 * @param schedule A discrete variance-preserving schedule of at least 2 steps.
 * @returns The rescaled schedule, of as many steps.
 * @throws {RangeError} If the schedule is not discrete and variance-preserving, or has one step.
 *
 * @example
 * ```ts
 * import { linear, zeroTerminalSnr } from "@tweedie/tweedie";
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

// Continuous schedules.

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
  const whole = (t: number): number => sigmaMin * Math.exp(rate * t);
  const sigma = (t: number): number =>
    fromZero ? sigmaMin * Math.sqrt(Math.expm1(2 * rate * t)) : whole(t);
  // 2·ln(sigma(t)/sigmaMin) from ln(sigma²/sigmaMin²).
  const twice = (log: number): number => fromZero ? softplus(log) : log;
  return guarded({
    name: "ve",
    span: [0, 1],
    at: (t) => ({ alpha: 1, sigma: sigma(t) }),
    timeOf: (wanted) => twice(-wanted - 2 * first) / (2 * rate),
    drift: () => 0,
    diffusion: (t) => whole(t) * Math.sqrt(2 * rate),
  }, [0, Infinity]);
}

/**
 * EDM's schedule, whose time is sigma itself: alpha = 1, sigma = t, g² = 2t (EDM, section 3 and table 1).
 *
 * The span starts at `sigmaMin`, but t = 0, the data, is answered too, and grids end there. They are spaced by `"karras"`: of
 * 50 equal steps in sigma only the last would reach below 1.6.
 *
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
 * @param options The stretch of the logistic curve, its temperature and the greatest time.
 * @returns The schedule, on [0, end]; its functions answer up to t = 1.
 * @throws {RangeError} If `stop` is not above `start`, `temperature` not above 0 or `end` not in (0, 1].
 *
 * @example Symmetric about the middle
 * ```ts
 * import { sigmoidContinuous } from "@tweedie/tweedie";
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

// Schedules from others.

/**
 * A schedule from alpha and sigma alone. The rest is derived numerically: f = alpha′/alpha and
 * g² = (sigma²)′ − 2 f sigma² by five-point differences 1/4000 of the span apart, good to seven digits or more for
 * the schedules of this file; the inverse of log-SNR by bisection, as far as the level has digits.
 *
 * @param at Marginal at time t; log-SNR must fall strictly over the span.
 * @param options Name, span and layout of grids.
 * @returns A continuous schedule. Where alpha is 0, f and g are infinite.
 * @throws {RangeError} If the span is not finite and increasing, or log-SNR does not fall from one end to the other.
 *
 * @example Straight paths again
 * ```ts
 * import { fromLevel, rectified } from "@tweedie/tweedie";
 * import assert from "node:assert/strict";
 *
 * const mine = fromLevel((t) => ({ alpha: 1 - t, sigma: t }), { name: "straight" });
 * assert.ok(Math.abs(mine.drift(0.25) - rectified().drift(0.25)) < 1e-9);
 * ```
 */
export function fromLevel(at: (t: number) => Level, options: FromLevelOptions = {}): Schedule {
  const { name = "custom", span = [0, 1], grid } = known("custom", options, fromLevelOptions);
  const [least, most] = span;
  if (grid) known(name, grid, gridDefaults);
  if (!(Math.abs(least) < Infinity)) throw unmade(name, "span[0]", "finite", least);
  checkAbove(name, "span[1]", most, least);
  const first = logSnr(at(least)), last = logSnr(at(most));
  if (!(first > last)) {
    throw unmade(name, "log-SNR", "falling over the span", `${first} to ${last}`);
  }
  const slope = (f: (t: number) => number) => (t: number): number => derivative(f, t, span);
  const drift = (t: number): number => slope((u) => at(u).alpha)(t) / at(t).alpha;
  const growth = (t: number): number =>
    slope((u) => at(u).sigma ** 2)(t) - 2 * drift(t) * at(t).sigma ** 2;
  return guarded({
    name,
    span,
    ...(grid && { grid }),
    at,
    timeOf: (wanted) => bisected((t) => logSnr(at(t)), wanted, span),
    drift,
    diffusion: (t) => Math.sqrt(Math.max(growth(t), 0)),
  }, span);
}

/** f′(t) of the quartic through five points of the span, h = 1/4000 of it apart, centred on t where they fit. */
function derivative(
  f: (t: number) => number,
  t: number,
  [least, most]: readonly [number, number],
): number {
  const h = (most - least) / 4000;
  const centre = Math.min(Math.max(t, least + 2 * h), most - 2 * h), u = (t - centre) / h;
  const [a, b, c, d, e] = [-2, -1, 0, 1, 2].map((i) =>
    f(Math.min(Math.max(centre + i * h, least), most))
  ) as [number, number, number, number, number];
  const first = (a - 8 * b + 8 * d - e) / 12, second = (-a + 16 * b - 30 * c + 16 * d - e) / 12;
  const third = (-a + 2 * b - 2 * d + e) / 2, fourth = a - 4 * b + 6 * c - 4 * d + e;
  return (first + u * (second + u * (third / 2 + u * fourth / 6))) / h;
}

/** The t of the span where a falling f takes a value, NaN where it does not. */
function bisected(
  f: (t: number) => number,
  wanted: number,
  [least, most]: readonly [number, number],
): number {
  const first = f(least), last = f(most);
  // What rounding puts beyond an end is at that end.
  const beyond = (end: number, t: number): number =>
    wanted === end || Math.abs(wanted - end) <= 1e-9 * (1 + Math.abs(end)) ? t : NaN;
  if (wanted >= first) return beyond(first, least);
  if (!(wanted > last)) return beyond(last, most);
  let low = least, high = most;
  for (let i = 0; i < 200; i++) {
    const middle = low + (high - low) / 2;
    if (f(middle) > wanted) low = middle;
    else high = middle;
  }
  return Math.abs(f(low) - wanted) < Math.abs(f(high) - wanted) ? low : high;
}

/**
 * A continuous schedule with its time measured in T equal steps: t = 0 … T for the span's two ends.
 *
 * The marginals are the continuous ones, exactly; so beta_t is 1 − exp(−∫ beta) over the step, not the
 * beta(t)/T of a chain that discretises the SDE.
 *
 * @param schedule A continuous schedule.
 * @param steps T, a whole number of at least 1.
 * @returns A discrete schedule that also answers between whole times, by the continuous one. t = 0 is the least time
 * of the span: noise is left there where the schedule has a smallest sigma above 0. It keeps the schedule's layout of grids.
 * @throws {RangeError} If the schedule is discrete or `steps` is not a whole number of at least 1.
 *
 * @example NCSN's ten noise levels
 * ```ts
 * import { discretized, ve } from "@tweedie/tweedie";
 * import assert from "node:assert/strict";
 *
 * const levels = discretized(ve({ sigmaMin: 0.01, sigmaMax: 1 }), 9);
 * assert.ok(Math.abs(levels.at(3).sigma / levels.at(2).sigma - 100 ** (1 / 9)) < 1e-12);
 * ```
 */
export function discretized(schedule: Schedule, steps: number): Schedule {
  const name = `${schedule.name}, ${steps} steps`, [least, most] = schedule.span;
  checkSteps(name, steps);
  if (schedule.steps !== undefined) {
    throw unmade(name, "schedule", "continuous", `one of ${schedule.steps} steps`);
  }
  const step = (most - least) / steps;
  const time = (t: number): number => t === steps ? most : least + t * step;
  return guarded({
    name,
    span: [0, steps],
    steps,
    ...(schedule.grid && { grid: schedule.grid }),
    at: (t) => schedule.at(time(t)),
    timeOf: (wanted) => (schedule.timeOf(wanted) - least) / step,
    drift: (t) => schedule.drift(time(t)) * step,
    diffusion: (t) => schedule.diffusion(time(t)) * Math.sqrt(step),
  }, [0, steps]);
}

/**
 * A schedule in the unit in which alpha² + sigma² = 1: x'_t = x_t/n with n² = alpha² + sigma², of the same log-SNR at each time.
 * It is variance-preserving, with the rate of noise
 *
 * ```text
 *   g'² = g²/n²      f' = −g'²/2      as n'/n = f + g²/(2·n²)
 * ```
 *
 * Networks see x in this unit, whatever the schedule: numbers of size 1 at every level of noise.
 *
 * @param schedule Any schedule.
 * @returns The schedule in that unit; itself if that is its own.
 *
 * @example The exploding noise does not
 * ```ts
 * import { logSnr, unit, ve } from "@tweedie/tweedie";
 * import assert from "node:assert/strict";
 *
 * const { alpha, sigma } = unit(ve()).at(1);
 * assert.ok(Math.abs(alpha ** 2 + sigma ** 2 - 1) < 1e-12);
 * assert.ok(Math.abs(logSnr({ alpha, sigma }) - logSnr(ve().at(1))) < 1e-12);
 * ```
 */
export function unit(schedule: Schedule): Schedule {
  const { name, span: [least, most], at, diffusion } = schedule;
  const size = (t: number): number => Math.hypot(at(t).alpha, at(t).sigma);
  const isPreserving = [0, 0.25, 0.5, 0.75, 1].every((share) =>
    Math.abs(size(least + share * (most - least)) - 1) < 1e-9
  );
  if (isPreserving) return schedule;
  const noise = (t: number): number => diffusion(t) / size(t);
  return {
    ...schedule,
    name: `${name}, in units`,
    at: (t) => ({ alpha: at(t).alpha / size(t), sigma: at(t).sigma / size(t) }),
    drift: (t) => -(noise(t) ** 2) / 2,
    diffusion: noise,
  };
}

/**
 * The times at which a diffusion model is trained.
 *
 * The objective is a mean over t, uniform on [eta, T]: eta cuts off the times near the data, where sigma goes to 0 and a
 * score error is weighed by 1/sigma². The same mean can be taken over another law p of t, if every sample's loss is
 * weighed by the ratio of the two:
 *
 * ```text
 *   E_uniform[ L(t) ] = E_p[ weight(t)·L(t) ],    weight(t) = 1/((T − eta)·p(t))
 * ```
 *
 * A p in proportion to the typical size of L makes the estimate steady. Leaving the weight out is another objective: texts
 * that only replace the law print a slip, and those that mean it (EDM, rectified flow) take p as part of the weighting.
 *
 * What samplers ask is trained: from the least time of a schedule that is noisy there, as EDM's and the exploding ones are,
 * and otherwise from a cut-off, up to the greatest, where alpha may be 0. Of a discrete schedule the times are all the N whole
 * ones with noise, 1 … T or 0 … T, p is a probability and the weight 1/(N·p).
 *
 * | law | p(t) in proportion to | source |
 * | --- | --- | --- |
 * | `uniform` | 1 | Ho et al. 2020, algorithm 1 |
 * | `inverseVariance` | 1/sigma² | steadies the score error |
 * | `constantRate` | the same for dx = −beta·x/2 dt + √beta dw, in closed form: 1/(1 − e^(−beta·t)) | |
 * | `likelihood` | g²/sigma²: uniform in log-SNR, whatever the schedule | Song et al. 2021, section 5.1 |
 * | `logitNormal` | the density of a share of the span whose logit is normal | Esser et al. 2024, eq. 19 |
 * | `logNormal` | the density of a t where ln(sigma/alpha) is normal | Karras et al. 2022, table 1 |
 *
 * The normalizer of `constantRate` is Z = ln((e^(beta·T) − 1)/(e^(beta·eta) − 1))/beta, which is infinite at eta = 0: without
 * a cut-off 1/sigma² is no density.
 *
 * Sources: D. Kingma, T. Salimans, B. Poole, J. Ho, "Variational diffusion models" (NeurIPS 2021), appendix I.1 (even
 * times) and section 5.1 (log-SNR); Y. Song, C. Durkan, I. Murray, S. Ermon, "Maximum likelihood training of score-based
 * diffusion models" (NeurIPS 2021), section 5.1; P. Esser et al., "Scaling rectified flow transformers for high-resolution
 * image synthesis" (ICML 2024), section 3.1; T. Karras et al., "Elucidating the design space of diffusion-based generative
 * models" (NeurIPS 2022), table 1.
 *
 * @module
 */

import { logSnr, type Schedule } from "../noise/schedule/schedule.ts";
import { checkKey } from "../tensor/check/check.ts";
import {
  above,
  among,
  decoded,
  is,
  type Rule,
  type Rules,
  showing,
  within,
} from "../tensor/check/decode.ts";
import type { Key } from "../tensor/key.ts";
import { uniforms } from "../tensor/random.ts";

/**
 * Options of {@link uniformTimes}.
 *
 * @category Training
 */
export interface UniformTimesOptions {
  /**
   * Least time of a continuous schedule, on whose span it lies. Default: the span's least, where sigma is above 0; otherwise
   * a thousandth of the span above it, as a score is infinite at sigma = 0.
   */
  readonly least?: number;
}

const uniformOptions = ({ steps, span: [start, end] }: Schedule): Rules<UniformTimesOptions> => ({
  least: steps !== undefined ? allSteps : is(`in the span [${start}, ${end}]`, within(start, end)),
});

/** The rule of bounds of a discrete schedule's times, all of which are drawn. */
const allSteps: Rule = is("absent for a schedule in steps", () => false);

/** The first time that is trained. */
function firstTime(schedule: Schedule): number {
  const { steps, span: [start], at } = schedule;
  if (at(start).sigma > 0) return start;
  return steps === undefined ? cutOff(schedule) : start + 1;
}

/** A thousandth of the span above its start. */
const cutOff = ({ span: [start, end] }: Schedule): number => start + 1e-3 * (end - start);

/**
 * Times that are evenly spread over the schedule: t_i at the fraction (u + i)/n of it, with one u for the batch. One of
 * them picked at random is uniform, so a mean over the batch has the expectation of one over independent times, with
 * less variance. Each by itself is not: sample i always comes from the i-th part, so samples must be in random order.
 *
 * Source: D. Kingma, T. Salimans, B. Poole, J. Ho, "Variational diffusion models" (2021), appendix I.1.
 *
 * @category Training
 * @param schedule Discrete: the whole times whose sigma is above 0. Continuous: the span, from `least` up.
 * @param n How many.
 * @param key The key.
 * @param options See {@link UniformTimesOptions}.
 * @returns n times, rising.
 * @throws {TypeError} If there is an option that is not known, or no key.
 * @throws {RangeError} If `n` is not a whole number of at least 0, or `least` is not in the schedule's span, or given for a
 *   discrete one.
 *
 * @example One in each quarter of a thousand steps
 * ```ts
 * import { key, linear, uniformTimes } from "@tweedie/tweedie";
 * import assert from "node:assert/strict";
 *
 * const times = uniformTimes(linear(), 4, key(0));
 * assert.ok(times.every((t, i) => Number.isInteger(t) && t > 250 * i && t <= 250 * (i + 1)));
 * ```
 */
export function uniformTimes(
  schedule: Schedule,
  n: number,
  key: Key,
  options: UniformTimesOptions = {},
): number[] {
  const { steps, span: [, end] } = schedule;
  checkKey("draw times", key);
  const { least = firstTime(schedule) } = decoded("draw times", options, uniformOptions(schedule));
  if (!Number.isSafeInteger(n) || n < 0) {
    throw new RangeError(`Cannot draw times: n must be a whole number of at least 0, got ${n}`);
  }
  const [u] = uniforms(key, 1), count = end - least + 1;
  return Array.from({ length: n }, (_, i) => {
    const fraction = (u! + i) / n;
    return steps === undefined
      ? least + (end - least) * fraction
      : least + Math.floor(count * fraction);
  });
}

/**
 * A law of t as data, neither normalized nor cut off: any positive function of t is one.
 *
 * @category Training
 */
export interface TimeLaw {
  /** What it is, such as `"likelihood"`. */
  readonly name: string;
  /** p(t) but for a factor, at least 0; in units of 1 per unit of time. */
  readonly density: (t: number) => number;
  /** An antiderivative of `density`. Default: integrated numerically. */
  readonly integral?: (t: number) => number;
  /** The inverse of `integral`. Default: inverted numerically. */
  readonly inverse?: (value: number) => number;
}

/**
 * Constants of the laws by a normal variable.
 *
 * @category Training
 */
export interface NormalLawOptions {
  /** Mean of the normal variable. Default: 0 for the logit, −1.2 for ln(sigma/alpha). */
  readonly mean?: number;
  /** Its standard deviation, above 0. Default: 1 for the logit, 1.2 for ln(sigma/alpha). */
  readonly deviation?: number;
}

/**
 * The laws by name; see {@link timeLaws}.
 *
 * @category Training
 */
export interface TimeLaws {
  /** p(t) = 1. */
  readonly uniform: () => TimeLaw;
  /** p(t) ∝ 1/sigma². */
  readonly inverseVariance: (schedule: Schedule) => TimeLaw;
  /** p(t) ∝ 1/(1 − e^(−beta·t)): 1/sigma² of `vp({ betaMin: beta, betaMax: beta })`. Default of beta: 1. */
  readonly constantRate: (beta?: number) => TimeLaw;
  /** p(t) ∝ g²/sigma². */
  readonly likelihood: (schedule: Schedule) => TimeLaw;
  /** logit of the share of the span ~ N(mean, deviation²). */
  readonly logitNormal: (schedule: Schedule, options?: NormalLawOptions) => TimeLaw;
  /** ln(sigma/alpha) ~ N(mean, deviation²). */
  readonly logNormal: (schedule: Schedule, options?: NormalLawOptions) => TimeLaw;
}

const refused = (wanted: string, got: unknown): RangeError =>
  new RangeError(`Cannot sample times: ${wanted}, got ${got}`);

const normalOptions: Rules<NormalLawOptions> = {
  mean: is("finite", Number.isFinite),
  deviation: is("finite and above 0", above(0)),
};

/** The slope of ln(sigma/alpha), which is g²/(2·sigma²) for every schedule. */
const noiseRate = ({ at, diffusion }: Schedule, t: number): number =>
  (diffusion(t) / at(t).sigma) ** 2 / 2;

const bell = (z: number): number => Math.exp(-z * z / 2);

/**
 * The laws. Each holds for the times of a schedule; {@link timeSampler} cuts it off and normalizes it.
 *
 * `likelihood` steadies the objective of `variational(schedule)`, the bound on −log p(x): as g²/sigma² is the slope of −log-SNR,
 * its integral and inverse are those of log-SNR. `logitNormal` and `logNormal` are meant without reweighting.
 *
 * @category Training
 * @example Every law is a function of t; so is one of your own
 * ```ts
 * import { type TimeLaw, timeLaws, timeSampler } from "@tweedie/tweedie/train";
 * import { vp } from "@tweedie/tweedie";
 * import assert from "node:assert/strict";
 *
 * const late: TimeLaw = { name: "late", density: (t) => t };
 * const { density } = timeSampler(vp(), { law: late, least: 0 });
 * assert.ok(Math.abs(density(0.5) - 1) < 1e-9); // 2t on [0, 1]
 * assert.ok(timeLaws.inverseVariance(vp()).density(0.01) > 100);
 * ```
 */
export const timeLaws: TimeLaws = {
  uniform: () => ({
    name: "uniform",
    density: () => 1,
    integral: (t) => t,
    inverse: (value) => value,
  }),
  inverseVariance: ({ at }) => ({
    name: "inverseVariance",
    density: (t) => at(t).sigma ** -2,
  }),
  constantRate: (beta = 1) => {
    if (!(beta > 0 && beta < Infinity)) throw refused("beta must be finite and above 0", beta);
    return {
      name: "constantRate",
      density: (t) => -1 / Math.expm1(-beta * t),
      integral: (t) => t + Math.log(-Math.expm1(-beta * t)) / beta, // ln(e^(beta·t) − 1)/beta
      inverse: (value) => Math.max(value, 0) + Math.log1p(Math.exp(-beta * Math.abs(value))) / beta,
    };
  },
  likelihood: (schedule) => ({
    name: "likelihood",
    density: (t) => 2 * noiseRate(schedule, t),
    integral: (t) => -logSnr(schedule.at(t)),
    inverse: (value) => schedule.timeOf(-value),
  }),
  logitNormal: (schedule, options = {}) => {
    const { mean = 0, deviation = 1 } = decoded("sample times", options, normalOptions);
    const { steps, span: [start, end] } = schedule;
    // In steps it is the middle of each that counts: a logit is infinite at both ends.
    const first = firstTime(schedule), count = end - first + 1;
    const shareOf = (t: number): number =>
      steps === undefined ? (t - start) / (end - start) : (t - first + 0.5) / count;
    return {
      name: "logitNormal",
      density: (t) => {
        const share = shareOf(t), rest = share * (1 - share);
        return rest > 0 ? bell((Math.log(share / (1 - share)) - mean) / deviation) / rest : 0;
      },
    };
  },
  logNormal: (schedule, options = {}) => {
    const { mean = -1.2, deviation = 1.2 } = decoded("sample times", options, normalOptions);
    const density = (t: number): number =>
      bell((-logSnr(schedule.at(t)) / 2 - mean) / deviation) * noiseRate(schedule, t);
    return {
      name: "logNormal",
      density: (t) => {
        const { alpha, sigma } = schedule.at(t);
        if (alpha > 0 && sigma > 0) return density(t);
        // The limit of a continuous law; of one in steps, the last is taken at its middle.
        return schedule.steps !== undefined && sigma > 0 ? density(t - 0.5) : 0;
      },
    };
  },
};

/**
 * How the n times of a batch are spread over the law; see {@link timeSpreads}.
 *
 * @category Training
 */
export type TimeSpread = "systematic" | "stratified" | "antithetic" | "independent";

/** From n uniforms to the n shares of the law that a batch takes, each in [0, 1). */
const spreads: Readonly<Record<TimeSpread, (u: Float32Array) => number[]>> = {
  systematic: (u) => Array.from(u, (_, i) => (u[0]! + i) / u.length),
  stratified: (u) => Array.from(u, (each, i) => (each + i) / u.length),
  antithetic: (u) => Array.from(u, (_, i) => i % 2 === 0 ? u[i]! : opposite(u[i - 1]!)),
  independent: (u) => Array.from(u),
};

/** 1 − u, but for a u of 0, which stays below 1. */
const opposite = (u: number): number => u === 0 ? 1 - 2 ** -24 : 1 - u;

/**
 * The spreads, by name. `systematic` and `stratified` put sample i into the i-th of n equal parts of the law.
 *
 * @category Training
 */
export const timeSpreads: readonly TimeSpread[] = Object.keys(spreads) as TimeSpread[];

/**
 * A law of training times, cut off and normalized: data, and the functions that follow from it.
 *
 * @category Training
 */
export interface TimeSampler {
  /** The law's name. */
  readonly name: string;
  /** Least and greatest time, eta and T. */
  readonly range: readonly [number, number];
  /** p(t), whose integral over the range is 1; the probability of t for a discrete schedule. 0 outside. */
  readonly density: (t: number) => number;
  /** Share of the law up to t, t included. */
  readonly cdf: (t: number) => number;
  /** Its inverse: the time with a share u of the law before it, u in [0, 1]. */
  readonly quantile: (u: number) => number;
  /** What makes a loss at t one of the uniform law: 1/((T − eta)·p(t)), or 1/(N·p(t)) for one of N steps. */
  readonly weight: (t: number) => number;
  /** How a batch is spread over the law. */
  readonly spread: TimeSpread;
}

/**
 * Options of {@link timeSampler}.
 *
 * @category Training
 */
export interface TimeSamplerOptions {
  /** The law. Default: `timeLaws.uniform()`. */
  readonly law?: TimeLaw;
  /**
   * Least time eta of a continuous schedule. Default: the span's least, where sigma is above 0 and the law finite; otherwise
   * a thousandth of the span above it.
   */
  readonly least?: number;
  /** Greatest time T of a continuous schedule. Default: the span's. */
  readonly most?: number;
  /**
   * How the times of a batch share the law: one uniform for all (`"systematic"`, the steadiest and what
   * {@link uniformTimes} does), one for each part, pairs u and 1 − u, or all by themselves. Each has the same
   * expectation. The first two need samples in random order. Default: `"systematic"`.
   */
  readonly spread?: TimeSpread;
}

/** The rules under a schedule; of a continuous one the bounds are looked at together. */
function samplerOptions({ steps }: Schedule): Rules<TimeSamplerOptions> {
  const bound = steps === undefined || allSteps;
  return { law: true, least: bound, most: bound, spread: showing(among(timeSpreads), String) };
}

/**
 * A law of training times on a schedule.
 *
 * @category Training
 * @param schedule Its times and their meaning.
 * @param options Law, cut-off, spread over a batch.
 * @returns The sampler; give it to {@link diffusionLoss} as `times`, or to {@link sampleTimes}.
 * @throws {TypeError} If there is an option that is not known.
 * @throws {RangeError} If an option is outside its domain, or a bound given for a discrete schedule, or the law has no finite
 *   positive total on the range, as `likelihood` where alpha is 0.
 *
 * @example Times by 1/sigma² of the Ornstein-Uhlenbeck process, in closed form
 * ```ts
 * import { timeLaws, timeSampler } from "@tweedie/tweedie/train";
 * import { vp } from "@tweedie/tweedie";
 * import assert from "node:assert/strict";
 *
 * const schedule = vp({ betaMin: 1, betaMax: 1, end: 5 });
 * const times = timeSampler(schedule, { law: timeLaws.constantRate(), least: 1e-3 });
 * const z = Math.log(Math.expm1(5) / Math.expm1(1e-3)); // 11.9004945
 * assert.ok(Math.abs(times.density(1) * z - 1 / (1 - Math.exp(-1))) < 1e-12);
 * assert.ok(Math.abs(times.quantile(0.5) - Math.log1p(Math.sqrt(Math.expm1(1e-3) * Math.expm1(5)))) < 1e-12);
 * assert.ok(Math.abs(times.weight(1) * 4.999 * times.density(1) - 1) < 1e-12);
 * ```
 */
export function timeSampler(schedule: Schedule, options: TimeSamplerOptions = {}): TimeSampler {
  const { law = timeLaws.uniform(), spread = "systematic", ...bounds } = decoded(
    "sample times",
    options,
    samplerOptions(schedule),
  );
  const base = { name: law.name, spread }, [start, end] = schedule.span;
  if (schedule.steps !== undefined) return { ...base, ...discreteLaw(law, schedule) };
  const { least = leastTime(law, schedule), most = end } = bounds;
  if (!(least >= start && least < most && most <= end)) {
    throw refused(`least and most must rise within [${start}, ${end}]`, `${least} and ${most}`);
  }
  return { ...base, ...continuousLaw(law, schedule, [least, most]) };
}

/** The first time, or a cut-off where a law is infinite there. */
function leastTime({ density }: TimeLaw, schedule: Schedule): number {
  const first = firstTime(schedule);
  return Number.isFinite(density(first)) ? first : cutOff(schedule);
}

/** What a law is on a range. */
type LawOnRange = Omit<TimeSampler, "name" | "spread">;

function continuousLaw(
  law: TimeLaw,
  schedule: Schedule,
  range: readonly [number, number],
): LawOnRange {
  const [least, most] = range, { integral, inverse } = law;
  if (!integral) checkEnds(law, { least, most });
  const whole = integral ? { integral, inverse } : { integral: integrated(law, schedule, range) };
  const from = whole.integral(least), total = whole.integral(most) - from;
  checkTotal(law, total, schedule, most);
  const inside = (t: number): number => Math.min(Math.max(t, least), most);
  const density = (t: number): number => t >= least && t <= most ? law.density(t) / total : 0;
  const cdf = (t: number): number => (whole.integral(inside(t)) - from) / total;
  const quantile = (u: number): number => {
    if (!(u >= 0 && u <= 1)) throw refused("u must be in [0, 1]", u);
    return inside(whole.inverse ? whole.inverse(from + u * total) : inverted(cdf, u, range));
  };
  return { range, density, cdf, quantile, weight: (t) => 1 / ((most - least) * density(t)) };
}

function discreteLaw(law: TimeLaw, schedule: Schedule): LawOnRange {
  const first = firstTime(schedule), last = schedule.span[1], count = last - first + 1;
  const sums = new Float64Array(count + 1);
  for (let i = 0; i < count; i++) sums[i + 1] = sums[i]! + massOf(law, first + i);
  const total = sums[count]!;
  checkTotal(law, total, schedule, last);
  const cdf = (t: number): number =>
    sums[Math.min(Math.max(Math.floor(t) - first + 1, 0), count)]! / total;
  const density = (t: number): number =>
    Number.isInteger(t) && t >= first && t <= last ? law.density(t) / total : 0;
  const quantile = (u: number): number => {
    if (!(u >= 0 && u <= 1)) throw refused("u must be in [0, 1]", u);
    return first - 1 + firstAbove(sums, u * total);
  };
  return { range: [first, last], density, cdf, quantile, weight: (t) => 1 / (count * density(t)) };
}

/** The mass of a law at a time; refuses one below 0, after which running sums would fall. */
function massOf({ name, density }: TimeLaw, t: number): number {
  const mass = density(t);
  if (!(mass < 0)) return mass;
  throw refused(`the law "${name}" must be at least 0`, `${mass} at t = ${t}`);
}

/** The first t whose running sum exceeds a value, or the last t of all. */
function firstAbove(sums: Float64Array, value: number): number {
  let low = 1, high = sums.length - 1;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (sums[middle]! > value) high = middle;
    else low = middle + 1;
  }
  return low;
}

/** Refuses a law that is infinite at an end, over which no numerical integral is right. */
function checkEnds({ name, density }: TimeLaw, ends: Readonly<Record<string, number>>): void {
  for (const [end, t] of Object.entries(ends)) {
    if (Number.isFinite(density(t))) continue;
    throw refused(`${end} must be a time at which the law "${name}" is finite`, t);
  }
}

function checkTotal({ name }: TimeLaw, total: number, { steps, at }: Schedule, most: number): void {
  if (total > 0 && total < Infinity) return;
  const why = total === Infinity && at(most).alpha === 0
    ? `, as alpha is 0 at t = ${most}${steps === undefined ? "; give a most below it" : ""}`
    : "";
  throw refused(`the law "${name}" must have a finite positive total`, `${total}${why}`);
}

/** Nodes and weights of Gauss and Legendre's rule of five points on [−1, 1]. */
const gauss: readonly (readonly [number, number])[] = [
  [0, 128 / 225],
  ...[-1, 1].flatMap((sign): [number, number][] => [
    [sign * Math.sqrt(5 - 2 * Math.sqrt(10 / 7)) / 3, (322 + 13 * Math.sqrt(70)) / 900],
    [sign * Math.sqrt(5 + 2 * Math.sqrt(10 / 7)) / 3, (322 - 13 * Math.sqrt(70)) / 900],
  ]),
];

const quadrature = (f: (t: number) => number, a: number, b: number): number =>
  gauss.reduce((sum, [x, w]) => sum + w * f((a + b) / 2 + (b - a) / 2 * x), 0) * (b - a) / 2;

/**
 * The integral of a law from the start of a range, by Gauss's rule between knots that are even in t and in log-SNR, so that
 * laws that climb at either end are cut finely there.
 */
function integrated(
  { density }: TimeLaw,
  schedule: Schedule,
  range: readonly [number, number],
): (t: number) => number {
  const knots = knotsOf(schedule, range), sums = new Float64Array(knots.length);
  for (let i = 1; i < knots.length; i++) {
    sums[i] = sums[i - 1]! + quadrature(density, knots[i - 1]!, knots[i]!);
  }
  return (t) => {
    const i = firstAbove(knots, t) - 1;
    return t >= range[1] ? sums.at(-1)! : sums[i]! + quadrature(density, knots[i]!, t);
  };
}

/** Rising times from one end of the range to the other: 256 even in t, and as many in log-SNR where it is finite. */
function knotsOf(schedule: Schedule, [least, most]: readonly [number, number]): Float64Array {
  const count = 256, [first, last] = [logSnr(schedule.at(least)), logSnr(schedule.at(most))];
  const even = Array.from({ length: count + 1 }, (_, i) => least + (most - least) * i / count);
  const inside = Number.isFinite(first - last) ? even.slice(1, -1) : [];
  const noise = inside.map((_, i) => schedule.timeOf(first + (last - first) * (i + 1) / count));
  const knots = [...even.slice(1, -1), ...noise.filter((t) => t > least && t < most)];
  return Float64Array.from([least, ...new Set(knots.sort((a, b) => a - b)), most]);
}

/** The t of a range where a rising function takes a value, by bisection. */
function inverted(
  f: (t: number) => number,
  value: number,
  [least, most]: readonly [number, number],
): number {
  let low = least, high = most;
  for (let i = 0; i < 60 && low < high; i++) {
    const middle = (low + high) / 2;
    if (f(middle) < value) low = middle;
    else high = middle;
  }
  return (low + high) / 2;
}

/**
 * The times of a batch.
 *
 * @category Training
 * @param sampler The law and its spread.
 * @param n How many.
 * @param key The key.
 * @returns n times; those of the uniform law are {@link uniformTimes}.
 * @throws {TypeError} If there is no key.
 * @throws {RangeError} If `n` is not a whole number of at least 0.
 *
 * @example Half of the times where log-SNR is in the upper half of its range
 * ```ts
 * import { key, vp } from "@tweedie/tweedie";
 * import { logSnr } from "@tweedie/tweedie/noise";
 * import { sampleTimes, timeLaws, timeSampler } from "@tweedie/tweedie/train";
 * import assert from "node:assert/strict";
 *
 * const schedule = vp(), times = timeSampler(schedule, { law: timeLaws.likelihood(schedule) });
 * const [first, last] = times.range.map((t) => logSnr(schedule.at(t))) as [number, number];
 * const drawn = sampleTimes(times, 100, key(0)).map((t) => logSnr(schedule.at(t)));
 * assert.equal(drawn.filter((value) => value > (first + last) / 2).length, 50);
 * ```
 */
export function sampleTimes(sampler: TimeSampler, n: number, key: Key): number[] {
  if (!Number.isSafeInteger(n) || n < 0) {
    throw refused("n must be a whole number of at least 0", n);
  }
  checkKey("sample times", key);
  return spreads[sampler.spread](uniforms(key, n)).map(sampler.quantile);
}

/**
 * Laws of training times, as data.
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
 * Sources: D. Kingma, T. Salimans, B. Poole, J. Ho, "Variational diffusion models" (NeurIPS 2021), section 5.1 (log-SNR);
 * Y. Song, C. Durkan, I. Murray, S. Ermon, "Maximum likelihood training of score-based
 * diffusion models" (NeurIPS 2021), section 5.1; P. Esser et al., "Scaling rectified flow transformers for high-resolution
 * image synthesis" (ICML 2024), section 3.1; T. Karras et al., "Elucidating the design space of diffusion-based generative
 * models" (NeurIPS 2022), table 1.
 *
 * @module
 */

import { logSnr, type Schedule } from "../../noise/schedule/schedule.ts";
import { above, decoded, is, type Rules } from "../../tensor/check/decode.ts";
import { firstTime } from "./uniform.ts";

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

export const refused = (wanted: string, got: unknown): RangeError =>
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

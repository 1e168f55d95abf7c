/**
 * The times at which a diffusion model is trained.
 *
 * The objective is a mean over t, uniform on [eta, T]. The same mean can be taken over another law p of t, if every sample's
 * loss is weighed by the ratio of the two:
 *
 * ```text
 *   E_uniform[ L(t) ] = E_p[ weight(t)·L(t) ],    weight(t) = 1/((T − eta)·p(t))
 * ```
 *
 * A p in proportion to the typical size of L makes the estimate steady. Leaving the weight out is another objective: texts
 * that only replace the law print a slip, and those that mean it (EDM, rectified flow) take p as part of the weighting.
 *
 * @module
 */

import type { Schedule } from "../../noise/schedule/schedule.ts";
import { checkKey } from "../../tensor/check/check.ts";
import { among, decoded, type Rules, showing } from "../../tensor/check/decode.ts";
import type { Key } from "../../tensor/key.ts";
import { uniforms } from "../../tensor/random.ts";
import { allSteps, cutOff, firstTime } from "./uniform.ts";
import { refused, type TimeLaw, timeLaws } from "./law.ts";
import { spreads, type TimeSpread, timeSpreads } from "./spread.ts";
import { continuousLaw, discreteLaw, type TimeSampler } from "./range.ts";

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

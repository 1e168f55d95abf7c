/**
 * Training times that are even over the schedule.
 *
 * The objective is a mean over t, uniform on [eta, T]: eta cuts off the times near the data, where sigma goes to 0 and a
 * score error is weighed by 1/sigma².
 *
 * What samplers ask is trained: from the least time of a schedule that is noisy there, as EDM's and the exploding ones are,
 * and otherwise from a cut-off, up to the greatest, where alpha may be 0. Of a discrete schedule the times are all the N whole
 * ones with noise, 1 … T or 0 … T.
 *
 * Source: D. Kingma, T. Salimans, B. Poole, J. Ho, "Variational diffusion models" (NeurIPS 2021), appendix I.1.
 *
 * @module
 */

import type { Schedule } from "../../noise/schedule/schedule.ts";
import { checkKey } from "../../tensor/check/check.ts";
import { decoded, is, type Rule, type Rules, within } from "../../tensor/check/decode.ts";
import type { Key } from "../../tensor/key.ts";
import { uniforms } from "../../tensor/random.ts";

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
export const allSteps: Rule = is("absent for a schedule in steps", () => false);

/** The first time that is trained. */
export function firstTime(schedule: Schedule): number {
  const { steps, span: [start], at } = schedule;
  if (at(start).sigma > 0) return start;
  return steps === undefined ? cutOff(schedule) : start + 1;
}

/** A thousandth of the span above its start. */
export const cutOff = ({ span: [start, end] }: Schedule): number => start + 1e-3 * (end - start);

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

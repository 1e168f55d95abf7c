/**
 * The times at which a diffusion model is trained.
 *
 * @module
 */

import type { Schedule } from "../noise/schedule.ts";
import type { Key } from "../tensor/key.ts";
import { uniforms } from "../tensor/random.ts";

/** Options of {@link uniformTimes}. */
export interface UniformTimesOptions {
  /**
   * Least time of a continuous schedule, on whose span it lies. Default: a thousandth of the span above its start,
   * where sigma would be 0 and a score infinite.
   */
  readonly least?: number;
}

/**
 * Times that are evenly spread over the schedule: t_i at the fraction (u + i)/n of it, with one u for the batch. One of
 * them picked at random is uniform, so a mean over the batch has the expectation of one over independent times, with
 * less variance. Each by itself is not: sample i always comes from the i-th part, so samples must be in random order.
 *
 * Source: D. Kingma, T. Salimans, B. Poole, J. Ho, "Variational diffusion models" (2021), appendix I.1.
 *
 * @param schedule Discrete: whole times 1 … T. Continuous: the span, from `least` up.
 * @param n How many.
 * @param key The key.
 * @param options See {@link UniformTimesOptions}.
 * @returns n times, rising.
 * @throws {RangeError} If `n` is not a whole number of at least 0, or `least` is not in the schedule's span.
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
  const { steps, span: [start, end] } = schedule,
    { least = start + 1e-3 * (end - start) } = options;
  if (!Number.isSafeInteger(n) || n < 0) {
    throw new RangeError(`Cannot draw times: n must be a whole number of at least 0, got ${n}`);
  }
  if (!(least >= start && least <= end)) {
    throw new RangeError(
      `Cannot draw times: least must be in the span [${start}, ${end}], got ${least}`,
    );
  }
  const [u] = uniforms(key, 1);
  return Array.from({ length: n }, (_, i) => {
    const fraction = (u! + i) / n;
    return steps === undefined
      ? least + (end - least) * fraction
      : 1 + Math.floor(steps * fraction);
  });
}

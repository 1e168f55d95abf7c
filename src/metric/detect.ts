/**
 * How well a score tells what is odd from what is usual.
 *
 * ```text
 *   AUROC = P(score of an odd one > score of a usual one) + P(equal)/2
 * ```
 *
 * It is the area under the curve of the share of the odd that is found against the share of the usual that is taken for odd, as
 * the threshold falls; it does not change when scores are replaced by a rising function of them.
 *
 * Sources: J. Hanley, B. McNeil, "The meaning and use of the area under a receiver operating characteristic (ROC) curve" (1982);
 * E. DeLong, D. DeLong, D. Clarke-Pearson, "Comparing the areas under two or more correlated receiver operating characteristic
 * curves: a nonparametric approach" (1988), the standard error.
 *
 * @module
 */

import { notFinite, refusal } from "../tensor/check/check.ts";

/**
 * An area and how far chance may have moved it.
 *
 * @category Metrics
 */
export interface Auroc {
  /** The area: 1 where every odd one has the higher score, 1/2 by chance. */
  readonly area: number;
  /** Its standard error, of both sets being samples; NaN of one element. */
  readonly standardError: number;
}

/** Scores in order, or why they are none. */
function ordered(action: string, name: string, scores: ArrayLike<number>): Float64Array {
  if (scores.length === 0) throw refusal(action, `${name} must be at least one score`, "none");
  const wrong = notFinite(scores);
  if (wrong !== undefined) throw refusal(action, `${name} must be finite`, wrong);
  return Float64Array.from(scores).sort();
}

/** For each number of one list the share of the other, which is in order, that is below it, with half of the equal. */
function below(list: Float64Array, other: Float64Array): Float64Array {
  const count = (fits: (x: number) => boolean): number => {
    let [from, to] = [0, other.length];
    while (from < to) {
      const middle = (from + to) >>> 1;
      if (fits(other[middle]!)) from = middle + 1;
      else to = middle;
    }
    return from;
  };
  return list.map((x) => (count((y) => y < x) + count((y) => y <= x)) / (2 * other.length));
}

const mean = (x: Float64Array): number => x.reduce((sum, each) => sum + each, 0) / x.length;

const variance = (x: Float64Array): number => {
  const centre = mean(x);
  return x.reduce((sum, each) => sum + (each - centre) ** 2, 0) / (x.length - 1);
};

/**
 * The area under the receiver operating characteristic, and its standard error.
 *
 * @category Metrics
 * @param odd Scores of what is to be found, such as energies of images of another kind.
 * @param usual Scores of what is not.
 * @returns The area, and the error by DeLong's way.
 * @throws {RangeError} If a list is empty, or a score not finite.
 *
 * @example Three of four pairs are in order
 * ```ts
 * import { auroc } from "@tweedie/tweedie/metric";
 * import assert from "node:assert/strict";
 *
 * assert.equal(auroc([3, 1], [2, 0]).area, 0.75);
 * ```
 */
export function auroc(odd: ArrayLike<number>, usual: ArrayLike<number>): Auroc {
  const action = "compute the AUROC";
  const high = ordered(action, "odd", odd), low = ordered(action, "usual", usual);
  const found = below(high, low), kept = below(low, high);
  const error = Math.sqrt(variance(found) / high.length + variance(kept) / low.length);
  return { area: mean(found), standardError: error };
}

/**
 * The least threshold that takes at most a share of the usual for odd: what has a higher score is odd.
 *
 * @category Metrics
 * @param usual Scores of what is usual.
 * @param rate The share, in [0, 1).
 * @returns One of the scores.
 * @throws {RangeError} If the list is empty, a score not finite, or the rate out of range.
 *
 * @example One of four may be taken for odd
 * ```ts
 * import { thresholdAt } from "@tweedie/tweedie/metric";
 * import assert from "node:assert/strict";
 *
 * assert.equal(thresholdAt([4, 1, 3, 2], 0.25), 3);
 * ```
 */
export function thresholdAt(usual: ArrayLike<number>, rate: number): number {
  const action = "find a threshold", scores = ordered(action, "usual", usual);
  if (!(rate >= 0 && rate < 1)) throw refusal(action, "rate must be in [0, 1)", rate);
  // Of equal scores at the threshold none is above it.
  const most = Math.floor(rate * scores.length * (1 + 1e-15));
  return scores[scores.length - 1 - most]!;
}

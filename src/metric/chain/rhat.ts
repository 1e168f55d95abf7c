/**
 * R̂: how much wider the draws of all chains are than those of one.
 *
 * ```text
 *   R² = (B/W + N − 1)/N      B = N·Var of the chains' means, W = mean of their variances, N draws in each
 *   z = Φ⁻¹((r − 3/8)/(n + 1/4))      r the draw's rank among all n, the average one where draws are equal
 *   R̂ = max(R of z, R of the z of |x − median|)      of chains split into halves
 * ```
 *
 * Ranks make it mean something for laws without a mean or a variance; the folded draws see chains that differ in their
 * scale. One chain is compared with itself, half with half. Near 1 when the chains agree: the usual limit is 1.01.
 *
 * Source: A. Vehtari, A. Gelman, D. Simpson, B. Carpenter, P.-C. Bürkner, "Rank-normalization, folding, and localization: an
 * improved R̂ for assessing convergence of MCMC" (2021), in the form of the package posterior for R (1.7), whose ranks have the
 * offsets of G. Blom, "Statistical estimates and transformed beta-variables" (1958).
 *
 * @module
 */

import { normalQuantile } from "../quantile.ts";
import {
  type Chains,
  type Draws,
  each,
  halves,
  isConstant,
  mean,
  quantileOf,
  sorted,
  told,
  variance,
} from "./draws.ts";

/**
 * R̂ of draws: the greater of that of their ranks and that of their folded ranks, of chains split into halves.
 *
 * @category Diagnostics
 * @param draws M ≥ 1 chains of S draws of one quantity.
 * @returns R̂, near 1 or above, of no unit. NaN where a draw is not finite, a chain is constant, all draws are equally far from
 * the median, or S < 4.
 * @throws {TypeError} If the draws are no list of chains.
 * @throws {RangeError} If there is no chain, or their lengths differ.
 *
 * @example Four chains, one of which is elsewhere
 * ```ts
 * import { rHat } from "@tweedie/tweedie/metric";
 * import { key, split } from "@tweedie/tweedie";
 * import { normals } from "@tweedie/tweedie/tensor";
 * import assert from "node:assert/strict";
 *
 * const chains = split(key(0), 4).map((key) => normals(key, 1000));
 * assert.ok(rHat(chains) < 1.01);
 * assert.ok(rHat([...chains.slice(1), chains[0]!.map((x) => x + 2)]) > 1.3);
 * ```
 */
export function rHat(draws: Draws): number {
  return told("find R-hat", draws, (chains) => {
    const middle = quantileOf(sorted(chains), 0.5);
    return greaterOf(normalised(halves(chains)), foldedScores(chains, middle));
  });
}

/** The z of the folded draws of split chains. */
export const foldedScores = (chains: Chains, median: number): Chains =>
  normalised(halves(each(chains, (x) => Math.abs(x - median))));

/** R̂ from the z of the draws and of the folded ones. */
export const greaterOf = (bulk: Chains, tail: Chains): number =>
  Math.max(spread(bulk), spread(tail));

/** R of chains, as they are. */
function spread(chains: Chains): number {
  if (isConstant(chains)) return NaN;
  const n = chains[0]!.length, between = n * variance(chains.map(mean));
  return Math.sqrt((between / mean(chains.map(variance)) + n - 1) / n);
}

/**
 * z of each draw, by its rank among those of all chains.
 *
 * @param chains The chains.
 * @param all Their draws in order, where that is known.
 * @returns z, shape of the chains.
 */
export function normalised(chains: Chains, all: Float64Array = sorted(chains)): Chains {
  const scores = scoresOf(all);
  return each(chains, (x) => scores[firstOf(all, x)]!);
}

/** z of each of sorted draws at the first of those equal to it, from their average rank. */
function scoresOf(all: Float64Array): Float64Array {
  const n = all.length, scores = new Float64Array(n);
  for (let first = 0, end = 1; first < n; first = end++) {
    while (end < n && all[end] === all[first]) end++;
    scores[first] = normalQuantile(((first + 1 + end) / 2 - 3 / 8) / (n + 1 / 4));
  }
  return scores;
}

/** Where a draw first stands among the sorted ones. */
function firstOf(all: Float64Array, x: number): number {
  let low = 0, high = all.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (all[middle]! < x) low = middle + 1;
    else high = middle;
  }
  return low;
}

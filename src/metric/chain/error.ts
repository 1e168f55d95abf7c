/**
 * Standard errors of what is estimated from the draws of Markov chains.
 *
 * ```text
 *   of the mean       s/√ESS                          s the standard deviation of all draws
 *   of s              √((m₄ − m₂²)/(4·m₂·ESS))        mₖ the mean of (x − x̄)ᵏ, ESS that of (x − x̄)²
 *   of a quantile     half the distance of two draws, those whose share of draws below is an error below and above p
 * ```
 *
 * The last has no density to be estimated: the share below the quantile is of the law Beta(p·ESS + 1, (1 − p)·ESS + 1), whose
 * quantiles of 15.87 % and 84.13 %, an error below and above, are looked up among the sorted draws.
 *
 * Sources: A. Vehtari, A. Gelman, D. Simpson, B. Carpenter, P.-C. Bürkner, "Rank-normalization, folding, and localization: an
 * improved R̂ for assessing convergence of MCMC" (2021), and the package posterior for R, for the second too; J. Kenney, E.
 * Keeping, "Mathematics of statistics" (1951), part 2, p. 141.
 *
 * @module
 */

import { betaQuantile } from "../quantile.ts";
import {
  type Chains,
  checkProbability,
  type Draws,
  each,
  pooledMean,
  sorted,
  told,
  variance,
} from "./draws.ts";
import { meanSize, quantileSize, sdSize } from "./ess.ts";

/** What is refused here. */
const finding = "find a standard error";

/** Φ(−1) and Φ(1), to the digits that posterior has. */
const [below, above] = [0.1586553, 0.8413447];

/** The standard error of the mean, of which the sorted draws are known. */
export const meanError = (chains: Chains, all: Float64Array): number =>
  Math.sqrt(variance(all) / meanSize(chains));

/** The standard error of the standard deviation. */
export function sdError(chains: Chains): number {
  const centre = pooledMean(chains);
  const squares = each(chains, (x) => (x - centre) ** 2), second = pooledMean(squares);
  const fourth = pooledMean(each(squares, (square) => square * square));
  return Math.sqrt((fourth - second ** 2) / sdSize(chains) / second / 4);
}

/** The standard error of a quantile, of which the sorted draws are known. */
export function quantileError(chains: Chains, all: Float64Array, p: number): number {
  const n = all.length, size = quantileSize(chains, all, p);
  if (Number.isNaN(size)) return NaN;
  const share = (level: number): number => betaQuantile(level, size * p + 1, size * (1 - p) + 1);
  const low = Math.max(Math.floor(share(below) * n), 1),
    high = Math.min(Math.ceil(share(above) * n), n);
  return (all[high - 1]! - all[low - 1]!) / 2;
}

/**
 * The standard error of the mean of the draws.
 *
 * @category Diagnostics
 * @param draws M ≥ 1 chains of S draws of one quantity.
 * @returns The error, in the unit of x. NaN where a draw is not finite, a chain is constant, or S < 12.
 * @throws {TypeError} If the draws are no list of chains.
 * @throws {RangeError} If there is no chain, or their lengths differ.
 *
 * @example
 * ```ts
 * import { mcseMean } from "@tweedie/tweedie/metric";
 * import { key, split } from "@tweedie/tweedie";
 * import { normals } from "@tweedie/tweedie/tensor";
 * import assert from "node:assert/strict";
 *
 * const chains = split(key(0), 4).map((key) => normals(key, 1000));
 * assert.ok(Math.abs(mcseMean(chains) * Math.sqrt(4000) - 1) < 0.1);
 * ```
 */
export function mcseMean(draws: Draws): number {
  return told(finding, draws, (chains) => meanError(chains, sorted(chains)));
}

/**
 * The standard error of the standard deviation of the draws.
 *
 * @category Diagnostics
 * @param draws M ≥ 1 chains of S draws of one quantity.
 * @returns The error, in the unit of x. NaN where a draw is not finite, a chain is constant, all draws are equally far from the
 * mean, or S < 12.
 * @throws {TypeError} If the draws are no list of chains.
 * @throws {RangeError} If there is no chain, or their lengths differ.
 *
 * @example That of n normal draws is near sigma/√(2n)
 * ```ts
 * import { mcseSd } from "@tweedie/tweedie/metric";
 * import { key, split } from "@tweedie/tweedie";
 * import { normals } from "@tweedie/tweedie/tensor";
 * import assert from "node:assert/strict";
 *
 * const chains = split(key(0), 4).map((key) => normals(key, 1000));
 * assert.ok(Math.abs(mcseSd(chains) * Math.sqrt(8000) - 1) < 0.1);
 * ```
 */
export function mcseSd(draws: Draws): number {
  return told(finding, draws, sdError);
}

/**
 * The standard error of a quantile of the draws.
 *
 * @category Diagnostics
 * @param draws M ≥ 1 chains of S draws of one quantity.
 * @param p The quantile's probability, in [0, 1].
 * @returns The error, in the unit of x. NaN where a draw is not finite, a chain is constant, no draw is above the quantile, or
 * S < 12.
 * @throws {TypeError} If the draws are no list of chains.
 * @throws {RangeError} If there is no chain, their lengths differ, or p is no probability.
 *
 * @example That of the median of n normal draws is near sigma·√(π/(2n))
 * ```ts
 * import { mcseQuantile } from "@tweedie/tweedie/metric";
 * import { key, split } from "@tweedie/tweedie";
 * import { normals } from "@tweedie/tweedie/tensor";
 * import assert from "node:assert/strict";
 *
 * const chains = split(key(0), 4).map((key) => normals(key, 1000));
 * assert.ok(Math.abs(mcseQuantile(chains, 0.5) * Math.sqrt(8000 / Math.PI) - 1) < 0.2);
 * ```
 */
export function mcseQuantile(draws: Draws, p: number): number {
  checkProbability(finding, p);
  return told(finding, draws, (chains) => quantileError(chains, sorted(chains), p));
}

/**
 * Effective sample sizes: as how many independent draws those of Markov chains are worth.
 *
 * ```text
 *   ESS = M·N/τ      τ = 1 + 2 Σ_{k ≥ 1} ρₖ      ρₖ = 1 − (W − c̄ₖ)/V
 *   W = c̄₀·N/(N − 1)      V = c̄₀ + Var of the chains' means      c̄ₖ the mean of their autocovariances at lag k
 * ```
 *
 * of M chains of N draws, split ones. The chains are pooled: V grows where their means differ, so that chains that do not agree
 * are worth little, however well each of them mixes. The sum ends where ρ₂ⱼ + ρ₂ⱼ₊₁ is no longer above 0, which it is for every
 * reversible chain, and its pairs are kept from growing (Geyer's initial monotone sequence). As an estimate of τ near 0 is
 * unsure, it is at least 1/log₁₀(M·N).
 *
 * What is asked about decides of which quantity: of the ranks for the bulk, of 1[x ≤ q] for a quantile, of (x − x̄)² for the
 * scale.
 *
 * Below 12 draws a chain, halves have too few lags for a second pair: there posterior gives M·N/2 whatever the draws are, and
 * here it is NaN. Where the very first pair is not above 0, as in chains that alternate, τ is the least, as in Stan.
 *
 * Sources: A. Vehtari, A. Gelman, D. Simpson, B. Carpenter, P.-C. Bürkner, "Rank-normalization, folding, and localization: an
 * improved R̂ for assessing convergence of MCMC" (2021), in the form of the package posterior for R (1.7); C. Geyer, "Practical
 * Markov chain Monte Carlo" (1992), section 3.3.
 *
 * @module
 */

import { autocovariances } from "./autocovariance.ts";
import {
  type Chains,
  checkProbability,
  type Draws,
  each,
  halves,
  isConstant,
  mean,
  pooledMean,
  quantileOf,
  sorted,
  told,
  variance,
} from "./draws.ts";
import { normalised } from "./rhat.ts";

/** What is refused here. */
const sizing = "find an effective sample size";

/** The fewest draws of a half that have more than one pair of lags. */
const fewest = 6;

/** τ of chains as they are: NaN where they are constant or too short. */
function timeOf(chains: Chains): number {
  const n = chains[0]!.length;
  if (n < fewest || isConstant(chains)) return NaN;
  const c = autocovariances(chains), within = c(0) * n / (n - 1);
  const whole = c(0) + variance(chains.map(mean)),
    rho = (lag: number) => 1 - (within - c(lag)) / whole;
  let lag = 0, even = 1, odd = rho(1), least = Infinity, sum = 0;
  while (lag < n - 5 && even + odd > 0) {
    least = Math.min(least, even + odd);
    sum += least;
    lag += 2;
    even = rho(lag);
    odd = rho(lag + 1);
  }
  const last = even + odd >= 0 ? even : Math.max(even, 0);
  return Math.max(-1 + 2 * sum + last, 1 / Math.log10(n * chains.length));
}

/** The effective sample size of chains as they are. */
export const sizeOf = (chains: Chains): number =>
  chains.length * chains[0]!.length / timeOf(chains);

/** That of the mean of a function of the draws. */
const sizeWith = (chains: Chains, of: (value: number) => number): number =>
  sizeOf(halves(each(chains, of)));

/** That of a quantile, of which the sorted draws are known. The greatest draw is that below which all but half a draw are. */
export function quantileSize(chains: Chains, all: Float64Array, p: number): number {
  const limit = quantileOf(all, p === 1 ? (all.length - 0.5) / all.length : p);
  return sizeWith(chains, (x) => x <= limit ? 1 : 0);
}

/** The lesser of those of the quantiles of 5 % and 95 %. */
export const tailSize = (chains: Chains, all: Float64Array): number =>
  Math.min(quantileSize(chains, all, 0.05), quantileSize(chains, all, 0.95));

/** That of the mean. */
export const meanSize = (chains: Chains): number => sizeOf(halves(chains));

/** That of the standard deviation. */
export function sdSize(chains: Chains): number {
  const centre = pooledMean(chains);
  return sizeWith(chains, (x) => (x - centre) ** 2);
}

/**
 * The effective sample size of the bulk: that of the mean of the draws' normalised ranks, which is there for laws without a
 * mean too.
 *
 * @category Diagnostics
 * @param draws M ≥ 1 chains of S draws of one quantity.
 * @returns A number of draws, of all chains together. NaN where a draw is not finite, a chain is constant, or S < 12.
 * @throws {TypeError} If the draws are no list of chains.
 * @throws {RangeError} If there is no chain, or their lengths differ.
 *
 * @example Draws that come twice are worth half of them
 * ```ts
 * import { essBulk } from "@tweedie/tweedie/metric";
 * import { key } from "@tweedie/tweedie";
 * import { normals } from "@tweedie/tweedie/tensor";
 * import assert from "node:assert/strict";
 *
 * const chain = Array.from(normals(key(0), 2000)).flatMap((x) => [x, x]);
 * assert.ok(Math.abs(essBulk([chain]) / 2000 - 1) < 0.1);
 * ```
 */
export function essBulk(draws: Draws): number {
  return told(sizing, draws, (chains) => sizeOf(normalised(halves(chains))));
}

/**
 * The effective sample size of the tails: the lesser of those of the quantiles of 5 % and 95 %.
 *
 * @category Diagnostics
 * @param draws M ≥ 1 chains of S draws of one quantity.
 * @returns A number of draws, of all chains together. NaN where a draw is not finite, a chain is constant, no draw is above the
 * 95 % quantile, or S < 12.
 * @throws {TypeError} If the draws are no list of chains.
 * @throws {RangeError} If there is no chain, or their lengths differ.
 *
 * @example
 * ```ts
 * import { essTail } from "@tweedie/tweedie/metric";
 * import { key, split } from "@tweedie/tweedie";
 * import { normals } from "@tweedie/tweedie/tensor";
 * import assert from "node:assert/strict";
 *
 * const chains = split(key(0), 4).map((key) => normals(key, 1000));
 * assert.ok(Math.abs(essTail(chains) / 4000 - 1) < 0.2);
 * ```
 */
export function essTail(draws: Draws): number {
  return told(sizing, draws, (chains) => tailSize(chains, sorted(chains)));
}

/**
 * The effective sample size of the mean, of a law that has a variance.
 *
 * @category Diagnostics
 * @param draws M ≥ 1 chains of S draws of one quantity.
 * @returns A number of draws, of all chains together. NaN where a draw is not finite, a chain is constant, or S < 12.
 * @throws {TypeError} If the draws are no list of chains.
 * @throws {RangeError} If there is no chain, or their lengths differ.
 *
 * @example Two chains that stay apart are worth a few draws, though each of them mixes at once
 * ```ts
 * import { essMean } from "@tweedie/tweedie/metric";
 * import { key, split } from "@tweedie/tweedie";
 * import { normals } from "@tweedie/tweedie/tensor";
 * import assert from "node:assert/strict";
 *
 * const [a, b] = split(key(0)).map((key) => normals(key, 1000));
 * assert.ok(essMean([a!]) > 800);
 * assert.ok(essMean([a!, b!.map((x) => x + 10)]) < 5);
 * ```
 */
export function essMean(draws: Draws): number {
  return told(sizing, draws, meanSize);
}

/**
 * The effective sample size of the standard deviation: that of the mean of (x − x̄)², x̄ of all chains.
 *
 * @category Diagnostics
 * @param draws M ≥ 1 chains of S draws of one quantity.
 * @returns A number of draws, of all chains together. NaN where a draw is not finite, a chain is constant, all draws are
 * equally far from the mean, or S < 12.
 * @throws {TypeError} If the draws are no list of chains.
 * @throws {RangeError} If there is no chain, or their lengths differ.
 *
 * @example
 * ```ts
 * import { essSd } from "@tweedie/tweedie/metric";
 * import { key, split } from "@tweedie/tweedie";
 * import { normals } from "@tweedie/tweedie/tensor";
 * import assert from "node:assert/strict";
 *
 * const chains = split(key(0), 4).map((key) => normals(key, 1000));
 * assert.ok(Math.abs(essSd(chains) / 4000 - 1) < 0.2);
 * ```
 */
export function essSd(draws: Draws): number {
  return told(sizing, draws, sdSize);
}

/**
 * The effective sample size of a quantile: that of the mean of 1[x ≤ q], q the quantile of all draws.
 *
 * @category Diagnostics
 * @param draws M ≥ 1 chains of S draws of one quantity.
 * @param p The quantile's probability, in [0, 1].
 * @returns A number of draws, of all chains together. NaN where a draw is not finite, a chain is constant, no draw is above q,
 * or S < 12.
 * @throws {TypeError} If the draws are no list of chains.
 * @throws {RangeError} If there is no chain, their lengths differ, or p is no probability.
 *
 * @example The median
 * ```ts
 * import { essQuantile } from "@tweedie/tweedie/metric";
 * import { key, split } from "@tweedie/tweedie";
 * import { normals } from "@tweedie/tweedie/tensor";
 * import assert from "node:assert/strict";
 *
 * const chains = split(key(0), 4).map((key) => normals(key, 1000));
 * assert.ok(Math.abs(essQuantile(chains, 0.5) / 4000 - 1) < 0.2);
 * ```
 */
export function essQuantile(draws: Draws, p: number): number {
  checkProbability(sizing, p);
  return told(sizing, draws, (chains) => quantileSize(chains, sorted(chains), p));
}

/**
 * The integrated autocorrelation time: how many steps of a chain are worth one independent draw.
 *
 * @category Diagnostics
 * @param draws M ≥ 1 chains of S draws of one quantity.
 * @returns τ of the mean, in steps: the draws, less the middle ones where S is odd, over {@link essMean}. NaN where that is.
 * @throws {TypeError} If the draws are no list of chains.
 * @throws {RangeError} If there is no chain, or their lengths differ.
 *
 * @example Draws that come twice
 * ```ts
 * import { autocorrelationTime } from "@tweedie/tweedie/metric";
 * import { key } from "@tweedie/tweedie";
 * import { normals } from "@tweedie/tweedie/tensor";
 * import assert from "node:assert/strict";
 *
 * const chain = Array.from(normals(key(0), 2000)).flatMap((x) => [x, x]);
 * assert.ok(Math.abs(autocorrelationTime([chain]) - 2) < 0.2);
 * ```
 */
export function autocorrelationTime(draws: Draws): number {
  return told("find an autocorrelation time", draws, (chains) => timeOf(halves(chains)));
}

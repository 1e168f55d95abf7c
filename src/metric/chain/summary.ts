/**
 * All that is mostly asked about the draws of Markov chains, in one table.
 *
 * @module
 */

import { mismatch, notFinite, shown } from "../../tensor/check/check.ts";
import {
  canTell,
  type Chains,
  chainsOf,
  type Draws,
  halves,
  pooledMean,
  quantileOf,
  sorted,
  variance,
} from "./draws.ts";
import { meanError, sdError } from "./error.ts";
import { sizeOf, tailSize } from "./ess.ts";
import { foldedScores, greaterOf, normalised } from "./rhat.ts";

/**
 * What the draws of one quantity say, over all chains.
 *
 * @category Diagnostics
 */
export interface Summary {
  /** Their number M·S. */
  readonly count: number;
  /** Their mean, in the unit of x. */
  readonly mean: number;
  /** Their standard deviation, over M·S − 1, in the unit of x. */
  readonly sd: number;
  /** The quantile of 5 %, in the unit of x. */
  readonly q5: number;
  /** The median, in the unit of x. */
  readonly median: number;
  /** The quantile of 95 %, in the unit of x. */
  readonly q95: number;
  /** The standard error of the mean. */
  readonly mcseMean: number;
  /** The standard error of the standard deviation. */
  readonly mcseSd: number;
  /** The effective sample size of the bulk. */
  readonly essBulk: number;
  /** The effective sample size of the tails. */
  readonly essTail: number;
  /** R̂. */
  readonly rHat: number;
}

/**
 * A summary of the draws of one quantity: what the functions of these names give, in one go.
 *
 * @category Diagnostics
 * @param draws M ≥ 1 chains of S draws.
 * @returns The summary. Errors, sizes and R̂ are NaN where the draws cannot tell them; mean, deviation and quantiles where a
 * draw is not finite or there is none.
 * @throws {TypeError} If the draws are no list of chains.
 * @throws {RangeError} If there is no chain, or their lengths differ.
 *
 * @example
 * ```ts
 * import { summary } from "@tweedie/tweedie/metric";
 * import { key, split } from "@tweedie/tweedie";
 * import { normals } from "@tweedie/tweedie/tensor";
 * import assert from "node:assert/strict";
 *
 * const { mean, mcseMean, rHat } = summary(split(key(0), 4).map((key) => normals(key, 1000)));
 * assert.ok(rHat < 1.01 && Math.abs(mean) < 4 * mcseMean);
 * ```
 */
export function summary(draws: Draws): Summary {
  const chains = chainsOf("summarise draws", draws), all = sorted(chains);
  const isFinite = chains.every((chain) => notFinite(chain) === undefined) && all.length > 0;
  const at = (p: number): number => isFinite ? quantileOf(all, p) : NaN, median = at(0.5);
  return {
    count: all.length,
    mean: isFinite ? pooledMean(chains) : NaN,
    sd: isFinite ? Math.sqrt(variance(all)) : NaN,
    q5: at(0.05),
    median,
    q95: at(0.95),
    ...(canTell(chains) ? diagnostics(chains, all, median) : unknown),
  };
}

type Diagnostics = Pick<Summary, "mcseMean" | "mcseSd" | "essBulk" | "essTail" | "rHat">;

const unknown: Diagnostics = { mcseMean: NaN, mcseSd: NaN, essBulk: NaN, essTail: NaN, rHat: NaN };

function diagnostics(chains: Chains, all: Float64Array, median: number): Diagnostics {
  const split = halves(chains);
  // Where no middle draw is left out, the draws of the halves are those that are sorted already.
  const z = normalised(split, chains[0]!.length % 2 === 0 ? all : undefined);
  return {
    mcseMean: meanError(chains, all),
    mcseSd: sdError(chains),
    essBulk: sizeOf(z),
    essTail: tailSize(chains, all),
    rHat: greaterOf(z, foldedScores(chains, median)),
  };
}

/**
 * Summaries of several quantities.
 *
 * @category Diagnostics
 * @param draws The draws of each, by name.
 * @returns The summary of each, by the same name.
 * @throws {TypeError} If they are no object, or some are no list of chains.
 * @throws {RangeError} If there is no chain, or their lengths differ.
 *
 * @example
 * ```ts
 * import { summaries } from "@tweedie/tweedie/metric";
 * import assert from "node:assert/strict";
 *
 * const { x, energy } = summaries({ x: [[1, 2, 3]], energy: [[0.5, 2, 4.5]] });
 * assert.equal(x.mean, 2);
 * assert.equal(energy.median, 2);
 * ```
 */
export function summaries<K extends string>(
  draws: Readonly<Record<K, Draws>>,
): Record<K, Summary> {
  if (typeof draws !== "object" || draws === null || Array.isArray(draws)) {
    throw mismatch("summarise draws", "draws must be an object of draws by name", shown(draws));
  }
  const named = Object.entries<Draws>(draws);
  return Object.fromEntries(named.map(([name, each]) => [name, summary(each)])) as Record<
    K,
    Summary
  >;
}

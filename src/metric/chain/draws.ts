/**
 * Draws of one quantity from several Markov chains, and what all diagnostics ask of them.
 *
 * A diagnostic is a number about M chains of S draws each. It is NaN where the draws cannot tell it: where a draw is NaN or
 * infinite, or a chain stays at one number, which may be a law of one point or a chain that is stuck. NaN is neither above nor
 * below a limit, so a test is best written as `rHat(draws) < 1.01`, which NaN does not pass.
 *
 * Chains are split into halves, so that a chain that drifts is seen as two that differ. The middle one of an odd number of
 * draws is left out.
 *
 * @module
 */

import { mismatch, notFinite, refusal, shown } from "../../tensor/check/check.ts";
import type { ArrayView } from "../../tensor/ndarray.ts";

/**
 * Draws of one quantity: a list of M chains of S numbers each, or a view of shape [M, S].
 *
 * @category Diagnostics
 */
export type Draws = readonly ArrayLike<number>[] | ArrayView;

/** Chains of equal length. */
export type Chains = readonly Float64Array[];

/**
 * The chains of some draws.
 *
 * @param action What is to be done with them.
 * @param draws M chains of S numbers.
 * @returns A copy in float64.
 * @throws {TypeError} If they are no list of lists of numbers, and no view.
 * @throws {RangeError} If there is no chain, their lengths differ, or a view is not of shape [M, S].
 */
export function chainsOf(action: string, draws: Draws): Chains {
  const rows = Array.isArray(draws)
    ? draws.map((row) => listOf(action, row))
    : rowsOf(action, draws);
  if (rows.length === 0) throw refusal(action, "draws must be of at least one chain", 0);
  const lengths = rows.map(({ length }) => length);
  if (lengths.every((length) => length === lengths[0])) return rows;
  throw refusal(action, "draws must be as many in each chain", lengths);
}

const kinds = "draws must be a list of chains, each a list of numbers, or a view of shape [M, S]";

function listOf(action: string, row: ArrayLike<number>): Float64Array {
  const isList = Array.isArray(row) || (ArrayBuffer.isView(row) && "length" in row);
  if (!isList) throw mismatch(action, kinds, shown(row));
  const unlike = Array.isArray(row) ? row.find((value) => typeof value !== "number") : undefined;
  if (unlike !== undefined) throw mismatch(action, kinds, `${shown(unlike)} in a chain`);
  return Float64Array.from(row);
}

function rowsOf(action: string, draws: Draws): Float64Array[] {
  const { data, shape, stride, offset } = (draws ?? {}) as ArrayView;
  if (data === undefined || !Array.isArray(shape) || !Array.isArray(stride)) {
    throw mismatch(action, kinds, shown(draws));
  }
  const [count, length] = shape, [across, along] = stride;
  if (shape.length !== 2) throw refusal(action, "draws must be of shape [M, S]", shape);
  return Array.from(
    { length: count! },
    (_, m) =>
      Float64Array.from({ length: length! }, (_, s) => data[offset + m * across! + s * along!]!),
  );
}

/** Below this share of their size, draws differ by rounding alone. */
const rounding = 8 * Number.EPSILON;

/** Whether numbers are all one, but for rounding. */
export function isConstant(chains: Chains): boolean {
  let least = Infinity, most = -Infinity;
  for (const chain of chains) {
    for (const value of chain) {
      if (value < least) least = value;
      if (value > most) most = value;
    }
  }
  return !(most - least > rounding * Math.max(Math.abs(least), Math.abs(most)));
}

/** Whether a diagnostic of the chains means something: all draws are finite, and no chain stays at one number. */
export const canTell = (chains: Chains): boolean =>
  chains.every((chain) => notFinite(chain) === undefined && !isConstant([chain]));

/**
 * A diagnostic of draws, NaN where they cannot tell it.
 *
 * @param action What it does, such as `"find R-hat"`.
 * @param draws M chains of S numbers.
 * @param measure The diagnostic of chains that can tell.
 * @returns The number.
 */
export function told(action: string, draws: Draws, measure: (chains: Chains) => number): number {
  const chains = chainsOf(action, draws);
  return canTell(chains) ? measure(chains) : NaN;
}

/** Twice as many chains of half the length, all first halves first. */
export function halves(chains: Chains): Chains {
  const half = Math.floor(chains[0]!.length / 2);
  return [
    ...chains.map((chain) => chain.subarray(0, half)),
    ...chains.map((chain) => chain.subarray(chain.length - half)),
  ];
}

/** The numbers of all chains, in ascending order; NaN comes last. */
export function sorted(chains: Chains): Float64Array {
  const length = chains[0]!.length, all = new Float64Array(chains.length * length);
  chains.forEach((chain, i) => all.set(chain, i * length));
  return all.sort();
}

/** Mean of numbers. */
export function mean(values: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < values.length; i++) sum += values[i]!;
  return sum / values.length;
}

/** Variance of numbers over n − 1, in two passes. */
export function variance(values: ArrayLike<number>): number {
  const centre = mean(values);
  let sum = 0;
  for (let i = 0; i < values.length; i++) sum += (values[i]! - centre) ** 2;
  return sum / (values.length - 1);
}

/** Mean over all chains, which are of equal length. */
export const pooledMean = (chains: Chains): number => mean(chains.map(mean));

/** A function of each draw. */
export const each = (chains: Chains, of: (value: number) => number): Chains =>
  chains.map((chain) => chain.map(of));

/**
 * The quantile of sorted numbers between the two draws around 1 + (n − 1)·p: R's seventh, NumPy's "linear".
 *
 * Where both are one number it is that number and not its rounding, as below it would be none of the draws that are equal to
 * it.
 */
export function quantileOf(all: Float64Array, p: number): number {
  const at = (all.length - 1) * p, below = Math.floor(at), share = at - below;
  const low = all[below]!, high = all[Math.ceil(at)]!;
  return low === high ? low : (1 - share) * low + share * high;
}

/** Refuses what is no probability. */
export function checkProbability(action: string, p: number): void {
  if (p >= 0 && p <= 1) return;
  throw refusal(action, "p must be a probability in [0, 1]", p);
}

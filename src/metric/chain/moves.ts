/**
 * How well the moves of chains go, from what they tell of themselves.
 *
 * ```text
 *   BFMI = Σ_s (E_s − E_{s−1})² / Σ_s (E_s − Ē)²
 * ```
 *
 * The Bayesian fraction of missing information compares what one move changes of the energy with how far it ranges: 2 for
 * independent draws, and near 0 where a chain gains and loses energy slowly, which its draws of x may not show. Below about 0.3
 * a Hamiltonian chain is not to be trusted.
 *
 * Source: M. Betancourt, "Diagnosing suboptimal cotangent disintegrations in Hamiltonian Monte Carlo" (2016), section 3.
 *
 * @module
 */

import { refusal } from "../../tensor/check/check.ts";
import { canTell, type Chains, chainsOf, type Draws, mean, pooledMean } from "./draws.ts";

/**
 * The Bayesian fraction of missing information of each chain, from the energies along it.
 *
 * @category Diagnostics
 * @param energies E, or the Hamiltonian where momenta are drawn anew, in nats: M chains of S.
 * @returns One number a chain, in (0, 4]. NaN where an energy is not finite, they are all one number, or S < 4.
 * @throws {TypeError} If the energies are no list of chains.
 * @throws {RangeError} If there is no chain, or their lengths differ.
 *
 * @example
 * ```ts
 * import { bfmi } from "@tweedie/tweedie/metric";
 * import assert from "node:assert/strict";
 *
 * assert.deepEqual([...bfmi([[1, 2, 3, 4], [1, 1, 1, 1]])], [0.6, NaN]);
 * ```
 */
export function bfmi(energies: Draws): Float64Array {
  return Float64Array.from(chainsOf("find a fraction of information", energies), (chain) => {
    if (chain.length < 4 || !canTell([chain])) return NaN;
    const centre = mean(chain);
    let moved = 0, ranged = 0;
    chain.forEach((energy, s) => {
      if (s > 0) moved += (energy - chain[s - 1]!) ** 2;
      ranged += (energy - centre) ** 2;
    });
    return moved / ranged;
  });
}

/**
 * The share of moves that were accepted, over all chains.
 *
 * @category Diagnostics
 * @param accepted For each move of M chains, 1 where it was accepted and 0 where not; or the share of its parts, or its
 * probability.
 * @returns Their mean, in [0, 1].
 * @throws {TypeError} If they are no list of chains.
 * @throws {RangeError} If there is no chain or no move, their lengths differ, or one is not in [0, 1].
 *
 * @example
 * ```ts
 * import { acceptanceRate } from "@tweedie/tweedie/metric";
 * import assert from "node:assert/strict";
 *
 * assert.equal(acceptanceRate([[1, 0, 1, 1], [0, 0, 0, 1]]), 0.5);
 * ```
 */
export function acceptanceRate(accepted: Draws): number {
  const action = "find an acceptance rate", chains: Chains = chainsOf(action, accepted);
  if (chains[0]!.length === 0) throw refusal(action, "accepted must be of at least one move", 0);
  for (const chain of chains) {
    const fault = chain.find((value) => !(value >= 0 && value <= 1));
    if (fault !== undefined) throw refusal(action, "accepted must be in [0, 1]", fault);
  }
  return pooledMean(chains);
}

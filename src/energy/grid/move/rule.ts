/**
 * How one site is changed, given all others: the heat bath and the test of Metropolis.
 *
 * ```text
 *   heat bath (Gibbs)   P(x_i → a) = e^(−beta·u_i(a))/Σ_b e^(−beta·u_i(b))
 *   Metropolis          P(x_i → a) = r·min(1, e^(−beta·(u_i(a) − u_i(x_i))))/(q − 1) for a ≠ x_i, and the rest stays; r = 7/8
 *   spins               P(s_i → +1) = 1/(1 + e^(−2·beta·m_i)), or by the test of turning s_i, of ΔE = 2·s_i·m_i
 * ```
 *
 * Both are in detailed balance with p ∝ e^(−beta·E). A printed rule that accepts with exp(f(x') − f(x')) accepts everything: it
 * must be exp(f(x') − f(x)), f = −E, and what is not accepted stays as it is.
 *
 * A site tries another value with probability r. If it did at every sweep, spins to which turning costs nothing would turn for
 * ever in step, at beta = 0 all of them, and on small lattices there would be states that no number of sweeps joins.
 *
 * Sources: N. Metropolis et al., "Equation of state calculations by fast computing machines" (1953), equation 3; S. Geman,
 * D. Geman, "Stochastic relaxation, Gibbs distributions, and the Bayesian restoration of images" (1984), section XI.
 *
 * @module
 */

import { conditional } from "../ising.ts";

/**
 * How a site is changed.
 *
 * @category Grids
 */
export type SiteRule = "gibbs" | "metropolis";

/** A sweep: at an inverse temperature, by a rule. */
export interface Sweep {
  /** Heat bath or Metropolis. */
  readonly rule: SiteRule;
  /** The inverse temperature. */
  readonly beta: number;
}

/** How often a site tries another value. */
const tries = 7 / 8;

/**
 * The probability that a spin is +1 after its change.
 *
 * @category Grids
 * @param rule Heat bath or Metropolis.
 * @param s The spin before, ±1.
 * @param m Its local field, in units of J.
 * @param beta The inverse temperature.
 * @returns The probability. The sweep draws by nothing else.
 *
 * @example Metropolis turns what lies against its field
 * ```ts
 * import { upProbability } from "@tweedie/tweedie/energy";
 * import assert from "node:assert/strict";
 *
 * assert.equal(upProbability("metropolis", -1, 2, 0.4), 7 / 8);
 * assert.equal(upProbability("metropolis", 1, 2, 0.4), 1 - 7 / 8 * Math.exp(-1.6));
 * ```
 */
export function upProbability(rule: SiteRule, s: number, m: number, beta: number): number {
  if (rule === "gibbs") return conditional(m, beta);
  const accept = tries * Math.min(1, Math.exp(-2 * beta * s * m));
  return s < 0 ? accept : 1 - accept;
}

/**
 * The probabilities of each level after a site's change.
 *
 * @category Grids
 * @param rule Heat bath or Metropolis.
 * @param energies u_i(a) of each level, as `siteEnergy` gives it.
 * @param from The level before.
 * @param beta The inverse temperature.
 * @returns One probability a level, with a sum of 1. The sweep draws by nothing else.
 *
 * @example
 * ```ts
 * import { levelProbabilities } from "@tweedie/tweedie/energy";
 * import assert from "node:assert/strict";
 *
 * assert.deepEqual(levelProbabilities("metropolis", [0, Math.LN2, 9], 2, 1), [7 / 16, 7 / 16, 1 / 8]);
 * ```
 */
export function levelProbabilities(
  rule: SiteRule,
  energies: readonly number[],
  from: number,
  beta: number,
): number[] {
  if (rule === "gibbs") {
    const least = Math.min(...energies);
    const weights = energies.map((u) => Math.exp(-beta * (u - least)));
    const sum = weights.reduce((a, b) => a + b);
    return weights.map((weight) => weight / sum);
  }
  const tried = energies.map((u, a) =>
    a === from
      ? 0
      : tries * Math.min(1, Math.exp(-beta * (u - energies[from]!))) / (energies.length - 1)
  );
  const left = tried.reduce((rest, p) => rest - p, 1);
  return tried.map((p, a) => a === from ? Math.max(left, 0) : p);
}

/**
 * What exponential integrators are made of: the functions phi_k, and the weights of a polynomial's integral.
 *
 * Source: M. Hochbruck, A. Ostermann, "Exponential integrators" (Acta Numerica 2010), section 2.1.
 *
 * @module
 */

/** k!, from 0 to 4. */
export const factorials = [1, 1, 2, 6, 24];

/**
 * phi_k(z) = ∫₀¹ e^((1−u)z)·u^(k−1)/(k−1)! du, the functions of exponential integrators; phi_0 = e^z.
 *
 * @category Differential equations
 * @param k Which, a whole number from 0 to 4.
 * @param z Where, finite.
 * @returns (phi_(k−1)(z) − 1/(k−1)!)/z, by its series near 0, where that cancels.
 *
 * @example
 * ```ts
 * import { phi } from "@tweedie/tweedie/solve";
 * import assert from "node:assert/strict";
 *
 * assert.equal(phi(2, 0), 1 / 2);
 * assert.ok(Math.abs(phi(1, 2) - (Math.exp(2) - 1) / 2) < 1e-14);
 * ```
 */
export function phi(k: number, z: number): number {
  if (k === 0) return Math.exp(z);
  if (k === 1 && z !== 0) return Math.expm1(z) / z;
  if (Math.abs(z) > 2) return (phi(k - 1, z) - 1 / factorials[k - 1]!) / z;
  let term = 1 / factorials[k]!, sum = 0;
  for (let j = 1; Math.abs(term) > 1e-18; j++) {
    sum += term;
    term *= z / (j + k);
  }
  return sum;
}

/**
 * Weights w_j = Σ_k c_jk·J_k of values at nodes, for the polynomial through them and the moments J_k of r^k. A node at infinity
 * has none.
 */
export function interpolated(nodes: readonly number[], moments: readonly number[]): number[] {
  return nodes.map((node, j) => {
    if (!Number.isFinite(node)) return 0;
    const others = nodes.filter((other, i) => i !== j && Number.isFinite(other));
    const numerator = others.reduce(timesRoot, [1]);
    const sum = numerator.reduce((total, c, k) => total + c * moments[k]!, 0);
    return sum / others.reduce((product, other) => product * (node - other), 1);
  });
}

/** The coefficients of p(r)·(r − root). */
const timesRoot = (p: readonly number[], root: number): number[] =>
  [...p, 0].map((c, k) => (p[k - 1] ?? 0) - (k < p.length ? root * c : 0));

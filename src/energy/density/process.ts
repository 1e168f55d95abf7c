/**
 * Gaussian processes in time whose laws are exact, and kernels with a law that they leave alone.
 *
 * ```text
 *   dx = −θx dt + σ dB        x_{t+Δ} | x_t ~ N(e^(−θΔ)·x_t, σ²(1 − e^(−2θΔ))/(2θ)·I)
 *   at rest N(0, σ²/(2θ)·I),  Cov[x_t, x_{t+τ}] = σ²/(2θ)·e^(−θ|τ|)·I        Cov[B_s, B_t] = min(s, t)
 *   dx = −½x dt + dB          KL(P_t ‖ N(0, I)) ≤ e^(−t)·KL(P_0 ‖ N(0, I))
 * ```
 *
 * Some texts give the law at rest as ∝ e^(−‖x‖²/(2σ²)), which is right for θ = ½ alone.
 *
 * Sources: G. Uhlenbeck, L. Ornstein, "On the theory of the Brownian motion" (1930); D. Bakry, I. Gentil, M. Ledoux,
 * "Analysis and geometry of Markov diffusion operators" (2014), theorem 5.2.1, for the convergence; W. Grassmann, M. Taksar,
 * D. Heyman, "Regenerative analysis and steady state distributions for Markov chains" (1985), for finite chains.
 *
 * @module
 */

import { EigenvalueDecomposition, inverse, Matrix } from "ml-matrix";
import { refusal } from "../../tensor/check/check.ts";
import { above, decoded, is, needed, type Rules } from "../../tensor/check/decode.ts";
import type { Rows, Vector } from "./density.ts";
import { composed, lawAfter, type LinearGaussian, scaling } from "./linear.ts";
import { multivariateNormal, type Normal, normalDivergence } from "./normal.ts";

/**
 * Parameters of {@link ouProcess}.
 *
 * @category Densities
 */
export interface OuParameters {
  /** θ, the rate of return to 0, above 0, in the inverse of the unit of time. */
  readonly theta: number;
  /** σ, the diffusion coefficient, above 0, in x's unit over the root of time's. */
  readonly sigma: number;
  /** d, the number of independent dimensions. Default: 1. */
  readonly dimension?: number;
}

/**
 * An Ornstein–Uhlenbeck process with its exact laws.
 *
 * @category Densities
 */
export interface OuProcess {
  /** The exact transition over a time Δ ≥ 0: a linear-Gaussian system, to draw from, to push laws through, to compose. */
  readonly step: (delta: number) => LinearGaussian;
  /** The transition of the Euler–Maruyama scheme over Δ: x·(1 − θΔ) + σ√Δ·z. */
  readonly eulerStep: (delta: number) => LinearGaussian;
  /** The law at rest, N(0, σ²/(2θ)·I). */
  readonly equilibrium: Normal;
  /** σ²/(2θ)·e^(−θ|τ|), of each dimension at rest. */
  readonly autocovariance: (tau: number) => number;
}

const ouRules: Rules<OuParameters> = {
  theta: needed(is("finite and above 0", above(0))),
  sigma: needed(is("finite and above 0", above(0))),
  dimension: is("a whole number of at least 1", (d) => Number.isSafeInteger(d) && d >= 1),
};

/** Refuses what is no length of time. */
function checkTime(action: string, name: string, time: number): void {
  if (time >= 0 && time < Infinity) return;
  throw refusal(action, `${name} must be finite and at least 0`, time);
}

/**
 * The Ornstein–Uhlenbeck process dx = −θx dt + σ dB.
 *
 * @category Densities
 * @param parameters See {@link OuParameters}.
 * @returns Its laws.
 * @throws {TypeError} If an option is unknown.
 * @throws {RangeError} If θ or σ is not above 0.
 *
 * @example The variance at rest is σ²/(2θ)
 * ```ts
 * import { ouProcess } from "@tweedie/tweedie/energy";
 * import assert from "node:assert/strict";
 *
 * const { equilibrium } = ouProcess({ theta: 2, sigma: 0.7 });
 * assert.equal(equilibrium.covariance[0]![0]!.toFixed(4), "0.1225");
 * ```
 */
export function ouProcess(parameters: OuParameters): OuProcess {
  const action = "make an Ornstein-Uhlenbeck process";
  const { theta, sigma, dimension = 1 } = decoded(action, parameters, ouRules);
  const rest = sigma ** 2 / (2 * theta);
  return {
    step: (delta) => {
      checkTime("step a process", "delta", delta);
      return scaling(Math.exp(-theta * delta), -rest * Math.expm1(-2 * theta * delta), dimension);
    },
    eulerStep: (delta) => {
      checkTime("step a process", "delta", delta);
      return scaling(1 - theta * delta, sigma ** 2 * delta, dimension);
    },
    equilibrium: multivariateNormal({ mean: Array<number>(dimension).fill(0), covariance: rest }),
    autocovariance: (tau) => rest * Math.exp(-theta * Math.abs(tau)),
  };
}

/**
 * The law of Brownian motion from 0 at several times: N(0, C), C_ij = min(tᵢ, tⱼ).
 *
 * @category Densities
 * @param times Different times above 0.
 * @returns The law of (B(t₁), …, B(tₙ)).
 * @throws {RangeError} If the times are not different and above 0.
 *
 * @example
 * ```ts
 * import { brownianLaw } from "@tweedie/tweedie/energy";
 * import assert from "node:assert/strict";
 *
 * assert.deepEqual(brownianLaw([3, 1]).covariance, [[3, 1], [1, 1]]);
 * ```
 */
export function brownianLaw(times: Vector): Normal {
  if (times.length === 0 || !times.every(above(0)) || new Set(times).size < times.length) {
    throw refusal("make a law of Brownian motion", "times must be different and above 0", times);
  }
  const covariance = times.map((s) => times.map((t) => Math.min(s, t)));
  return multivariateNormal({ mean: times.map(() => 0), covariance });
}

/**
 * The law at time t of dx = −½x dt + dB, and how far it is from N(0, I).
 *
 * @category Densities
 * @param start P_0, any normal law.
 * @param t Time, at least 0.
 * @returns P_t and KL(P_t ‖ N(0, I)) in nats, at most e^(−t) times that of the start.
 * @throws {RangeError} If the time is below 0 or not finite.
 *
 * @example A mean alone decays exactly at the rate of the bound
 * ```ts
 * import { forgotten, multivariateNormal } from "@tweedie/tweedie/energy";
 * import assert from "node:assert/strict";
 *
 * const { divergence } = forgotten(multivariateNormal({ mean: [2], covariance: 1 }), 3);
 * assert.ok(Math.abs(divergence - 2 * Math.exp(-3)) < 1e-15);
 * ```
 */
export function forgotten(
  start: Normal,
  t: number,
): { readonly law: Normal; readonly divergence: number } {
  const { step, equilibrium } = ouProcess({ theta: 0.5, sigma: 1, dimension: start.mean.length });
  const law = lawAfter(start, step(t));
  return { law, divergence: normalDivergence(law, equilibrium) };
}

/**
 * The time after which KL(P_t ‖ N(0, I)) is certain to be within a tolerance: ln(KL_0 / tolerance), or 0 where it is already.
 *
 * @category Densities
 * @param divergence KL_0 = KL(P_0 ‖ N(0, I)) in nats, finite. That of a list of samples is infinite, and says nothing.
 * @param tolerance Nats, above 0.
 * @returns T of dx = −½x dt + dB.
 * @throws {RangeError} If the divergence is not finite and at least 0, or the tolerance not above 0.
 *
 * @example
 * ```ts
 * import { horizonFor } from "@tweedie/tweedie/energy";
 * import assert from "node:assert/strict";
 *
 * assert.ok(Math.abs(horizonFor(10, 1e-4) - Math.log(1e5)) < 1e-12);
 * ```
 */
export function horizonFor(divergence: number, tolerance: number): number {
  checkTime("choose a horizon", "divergence", divergence);
  if (!(tolerance > 0)) throw refusal("choose a horizon", "tolerance must be above 0", tolerance);
  return Math.max(0, Math.log(divergence / tolerance));
}

/** Refuses what is no share of noise. */
function checkBeta(beta: number, most: number): void {
  if (beta > 0 && beta <= most) return;
  throw refusal("make a diffusion kernel", `beta must be above 0 and at most ${most}`, beta);
}

/**
 * Diffusion kernels T(x | x'; β) by name.
 *
 * - `gaussian`: √(1 − β)·x' + √β·z, which leaves N(0, I) alone, as (1 − β) + β = 1.
 * - `exploding`: x' + √β·z, which leaves no law alone.
 * - `binomial`: over {0, 1}, P(1 | x') = x'·(1 − β) + β/2, which leaves the fair coin alone; rows are x', columns x.
 *
 * Source: J. Sohl-Dickstein et al., "Deep unsupervised learning using nonequilibrium thermodynamics" (2015), table 1.
 *
 * @category Densities
 * @example
 * ```ts
 * import { diffusionKernels, stationary } from "@tweedie/tweedie/energy";
 * import assert from "node:assert/strict";
 *
 * assert.deepEqual(stationary(diffusionKernels.binomial(0.5)), [0.5, 0.5]);
 * ```
 */
export const diffusionKernels: {
  readonly gaussian: (beta: number, dimension?: number) => LinearGaussian;
  readonly exploding: (beta: number, dimension?: number) => LinearGaussian;
  readonly binomial: (beta: number) => Rows;
} = {
  gaussian: (beta, dimension = 1) => {
    checkBeta(beta, 1);
    return scaling(Math.sqrt(1 - beta), beta, dimension);
  },
  exploding: (beta, dimension = 1) => {
    checkBeta(beta, Number.MAX_VALUE);
    return scaling(1, beta, dimension);
  },
  binomial: (beta) => {
    checkBeta(beta, 1);
    return [[1 - beta / 2, beta / 2], [beta / 2, 1 - beta / 2]];
  },
};

/**
 * The law that a linear-Gaussian kernel leaves alone, μ = Aμ + b and Σ = AΣAᵀ + R, if it has one: if all eigenvalues of A are
 * within the unit circle.
 *
 * The sum Σ = R + ARAᵀ + A²R(A²)ᵀ + … is taken by doubling: the kernel composed with itself again and again.
 *
 * @category Densities
 * @param kernel Square, with noise that is positive definite.
 * @returns The law, or undefined where there is none.
 * @throws {RangeError} If the kernel is not square, or its noise is not positive definite.
 *
 * @example
 * ```ts
 * import { diffusionKernels, invariantLaw } from "@tweedie/tweedie/energy";
 * import assert from "node:assert/strict";
 *
 * assert.equal(invariantLaw(diffusionKernels.gaussian(0.1))?.covariance[0]![0]!.toFixed(12), "1.000000000000");
 * assert.equal(invariantLaw(diffusionKernels.exploding(0.1)), undefined);
 * ```
 */
export function invariantLaw(kernel: LinearGaussian): Normal | undefined {
  const d = kernel.matrix.length;
  if (!kernel.matrix.every((row) => row.length === d)) {
    throw refusal("find an invariant law", "kernel must be square", kernel.matrix);
  }
  const a = new Matrix(kernel.matrix as number[][]);
  const { realEigenvalues, imaginaryEigenvalues } = new EigenvalueDecomposition(a);
  if (!realEigenvalues.every((re, i) => Math.hypot(re, imaginaryEigenvalues[i]!) < 1)) {
    return undefined;
  }
  let many = kernel;
  while (many.matrix.some((row) => row.some((value) => Math.abs(value) > 1e-20))) {
    many = composed(many, many);
  }
  const shift = Matrix.columnVector(kernel.shift as number[]);
  const mean = inverse(Matrix.eye(d).sub(a)).mmul(shift).to1DArray();
  return multivariateNormal({ mean, covariance: many.noise });
}

/**
 * The law π = πP that a finite Markov chain leaves alone, by elimination without a subtraction, so that small probabilities keep
 * their digits too.
 *
 * @category Densities
 * @param transition P, n × n: row i is the law of the next state after i. Every state must be reached from every other.
 * @returns π, length n.
 * @throws {RangeError} If the rows are not n laws, or not every state is reached.
 *
 * @example
 * ```ts
 * import { stationary } from "@tweedie/tweedie/energy";
 * import assert from "node:assert/strict";
 *
 * assert.deepEqual(stationary([[0.5, 0.5], [0.25, 0.75]]).map((p) => p.toFixed(9)), ["0.333333333", "0.666666667"]);
 * ```
 */
export function stationary(transition: Rows): number[] {
  const action = "find a stationary law", n = transition.length;
  const isLaw = (row: Vector): boolean =>
    row.length === n && row.every((p) => p >= 0) &&
    Math.abs(row.reduce((a, b) => a + b, -1)) < 1e-9;
  if (n === 0 || !transition.every(isLaw)) {
    throw refusal(action, "transition must be n rows of n probabilities that sum to 1", transition);
  }
  const p = transition.map((row) => [...row]);
  for (let k = n - 1; k > 0; k--) {
    // State k is left out: who went there goes on to where it leads.
    const left = p[k]!.slice(0, k).reduce((a, b) => a + b, 0);
    if (left === 0) {
      throw refusal(action, "transition must lead from every state to every other", transition);
    }
    for (let i = 0; i < k; i++) {
      p[i]![k]! /= left;
      for (let j = 0; j < k; j++) p[i]![j]! += p[i]![k]! * p[k]![j]!;
    }
  }
  const pi = [1];
  for (let k = 1; k < n; k++) pi.push(pi.reduce((sum, value, i) => sum + value * p[i]![k]!, 0));
  const total = pi.reduce((a, b) => a + b, 0);
  return pi.map((value) => value / total);
}

/**
 * The weights of one step of a linear solver of the probability-flow ODE, and the step that they make.
 *
 * With rho = sigma/alpha and lambda = −ln rho the ODE is d(x/alpha) = eps d rho, or d(x/sigma) = e^lambda·x0 d lambda. A step
 * puts a polynomial through the last predictions in place of the curve and integrates it exactly:
 *
 * ```text
 *   x_s = (alpha_s/alpha_t)·x_t + alpha_s·∫ eps d rho                 of = "eps"
 *   x_s = (sigma_s/sigma_t)·x_t + sigma_s·∫ e^lambda·x0 d lambda      of = "x0"
 * ```
 *
 * so x_s = xt·x_t + Σ_j w_j·prediction_j, newest first. A solver is a row of a table: which prediction, in which variable
 * it is a polynomial (the nodes r_j, 0 at t and 1 at s), and the moments J_k = ∫ r^k of the weight. With the Lagrange
 * polynomials L_j(r) = Σ_k c_jk·r^k through the nodes, w_j = Σ_k c_jk·J_k.
 *
 * | solver | prediction | polynomial in | moments |
 * |---|---|---|---|
 * | DPM-Solver++ | x0 | lambda | k!·phi_(k+1)(−h)·h·alpha_s; its midpoint form has J_1 = J_0/2 |
 * | DEIS, DPM-Solver | eps | lambda | −k!·phi_(k+1)(h)·h·sigma_s |
 * | DEIS in t (tAB) | eps | t | alpha_s·∫ r^k d rho |
 * | LMS | eps | rho | alpha_s·(rho_s − rho_t)/(k + 1) |
 * | PNDM | eps | the number of the step | the same |
 * | UniPC | x0 | lambda | those of DPM-Solver++, but J_1 = alpha_s·B(h)/2 where it is the last |
 *
 * At alpha = 0 both integrals are infinite, but eps is x_t/sigma_t whatever the data: a step from there is DDIM's, or with noise
 * that of the reverse SDE, from x0 alone; polynomials begin after it, and what was asked there has no weight in them.
 *
 * All coefficients are float64 numbers from levels; phi_k(z) = ∫₀¹ e^((1−u)z)·u^(k−1)/(k−1)! du.
 *
 * Sources: C. Lu et al., "DPM-Solver++" (2022), section 4; Q. Zhang, Y. Chen, "Fast sampling of diffusion models with
 * exponential integrator" (ICLR 2023), equation 15 and its rho and log-rho forms.
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
import type { Level } from "../../noise/schedule/schedule.ts";
import { checkOptions, type Known } from "../../tensor/check/check.ts";
import { factorials, interpolated, phi } from "../../solve/exponential.ts";
import { scope } from "../../tensor/scope.ts";
import type { Tensor } from "../../tensor/tensor.ts";

/**
 * A level and its time.
 *
 * @category Samplers
 */
export interface Node extends Level {
  /** Time on the schedule. */
  readonly t: number;
}

/** The node of a level at a time. */
export const nodeAt = (t: number, { alpha, sigma }: Level): Node => ({ t, alpha, sigma });

/**
 * Nodes of one step of a multistep solver.
 *
 * @category Samplers
 */
export interface MultistepNodes {
  /** Where the step starts, with sigma > 0. */
  readonly from: Node;
  /** Where it ends. */
  readonly to: Node;
  /** Where the model was asked besides `from`, newest first. A node at `to` makes the step implicit. */
  readonly past: readonly Node[];
}

/**
 * One step: x_s = xt·x_t + Σ predictions[j]·prediction_j + noise·z.
 *
 * @category Samplers
 */
export interface MultistepWeights {
  /** Coefficient of x_t. */
  readonly xt: number;
  /** What the other coefficients are of. */
  readonly of: "x0" | "eps" | "v";
  /** Coefficients of the predictions: first that at t, then the past ones, in the order of the nodes. */
  readonly predictions: readonly number[];
  /** Standard deviation of the noise added; 0 for a deterministic step. */
  readonly noise: number;
}

/**
 * The weights of a step from its nodes: what tells one multistep solver from another.
 *
 * @category Samplers
 */
export type MultistepRule = (nodes: MultistepNodes) => MultistepWeights;

/** sigma/alpha. */
export const rhoOf = ({ alpha, sigma }: Level): number => sigma / alpha;

const lambdaOf = ({ alpha, sigma }: Level): number => Math.log(alpha / sigma);

/**
 * What a step in lambda leaves open.
 *
 * @category Samplers
 */
export interface ExponentialOptions {
  /** The prediction that is a polynomial in lambda. Default: `"x0"`. */
  readonly of?: "x0" | "eps";
  /** Strength of the noise: 0 solves the ODE, 1 the reverse SDE. Default: 0. */
  readonly eta?: number;
  /**
   * Replaces the moments J_k by others, given those of the exact integral in units of J_0 and z = ∓(1 + eta²)·h. For the
   * forms of the literature that are exact only to the order they need. Default: as they are.
   */
  readonly bent?: (moments: readonly number[], z: number) => readonly number[];
}

const exponentialOptions: Known<ExponentialOptions> = { of: true, eta: true, bent: true };

/**
 * The step of exponential solvers: the prediction is a polynomial in lambda, all else is exact. With noise of strength
 * eta it is that of the reverse SDE of the same marginals:
 *
 * ```text
 *   of x0:   x_s = (sigma_s/sigma_t)·e^(−eta²h)·x_t + alpha_s·∫₀^h k·e^(−k(h−u))·x0 du + sigma_s·√(1 − e^(−2·eta²·h))·z    k = 1 + eta²
 *   of eps:  x_s = (alpha_s/alpha_t)·x_t − k·sigma_s·∫₀^h e^(h−u)·eps du + eta·sigma_s·√(e^(2h) − 1)·z
 * ```
 *
 * From alpha = 0 the step is that of x0, which is all that is known there.
 *
 * @category Samplers
 * @param options Which prediction, how much noise, other moments.
 * @returns The rule. Past nodes at which lambda is infinite are of no weight.
 *
 * @example One node: DDIM
 * ```ts
 * import { exponential } from "@tweedie/tweedie";
 * import { posterior } from "@tweedie/tweedie/denoise";
 * import assert from "node:assert/strict";
 *
 * const from = { t: 2, alpha: 0.6, sigma: 0.8 }, to = { t: 1, alpha: 0.8, sigma: 0.6 };
 * const { xt, predictions } = exponential()({ from, to, past: [] }), ddim = posterior(from, to, { variance: 0 });
 * assert.ok(Math.abs(xt - ddim.xt) < 1e-12 && Math.abs(predictions[0]! - ddim.x0) < 1e-12);
 * ```
 */
export function exponential(options: ExponentialOptions = {}): MultistepRule {
  checkOptions("make a rule", options, exponentialOptions);
  const { of: asked = "x0", eta = 0, bent = (moments) => moments } = options;
  return ({ from, to, past }) => {
    const of = from.alpha === 0 ? "x0" : asked, h = lambdaOf(to) - lambdaOf(from);
    const r = [0, ...past.map((node) => (lambdaOf(node) - lambdaOf(from)) / h)];
    const z = of === "x0" ? -(1 + eta ** 2) * h : h;
    const moments = r.filter(Number.isFinite)
      .map((_, k) => k === 0 ? 1 : factorials[k]! * phi(k + 1, z) / phi(1, z));
    const { xt, whole, noise } = ends(from, to, of, eta);
    const predictions = interpolated(r, bent(moments, z)).map((w) => whole * w);
    return { xt, of, noise, predictions };
  };
}

/** What does not depend on the polynomial: the coefficient of x_t, the sum of all others, the noise. */
function ends(from: Level, to: Level, of: "x0" | "eps", eta: number) {
  const h = lambdaOf(to) - lambdaOf(from), quiet = eta === 0;
  if (of === "eps") {
    const drop = rhoOf(from) ** 2 - rhoOf(to) ** 2;
    return {
      xt: to.alpha / from.alpha,
      whole: (1 + eta ** 2) * to.alpha * (rhoOf(to) - rhoOf(from)),
      noise: quiet ? 0 : eta * to.alpha * Math.sqrt(drop),
    };
  }
  return {
    xt: to.sigma / from.sigma * (quiet ? 1 : Math.exp(-(eta ** 2) * h)),
    whole: -to.alpha * Math.expm1(-(1 + eta ** 2) * h),
    noise: quiet ? 0 : to.sigma * Math.sqrt(-Math.expm1(-2 * eta ** 2 * h)),
  };
}

/**
 * The step in eps over rho, exact down to rho = 0. From alpha = 0 it is DDIM's.
 *
 * @param place The nodes r_j of the past.
 * @param moment J_k in units of the whole step. Default: that of a polynomial in rho.
 * @returns The rule. Past nodes at alpha = 0 are of no weight.
 */
export const overRho = (
  place: (nodes: MultistepNodes) => readonly number[],
  moment: (k: number, nodes: MultistepNodes) => number = (k) => 1 / (k + 1),
): MultistepRule =>
(nodes) => {
  const { from, to, past } = nodes;
  if (from.alpha === 0) return exponential()(nodes);
  const r = [0, ...place(nodes).map((at, j) => past[j]!.alpha > 0 ? at : Infinity)];
  const moments = r.filter(Number.isFinite).map((_, k) => moment(k, nodes));
  const { xt, whole } = ends(from, to, "eps", 0);
  return { xt, of: "eps", noise: 0, predictions: interpolated(r, moments).map((w) => whole * w) };
};

/**
 * Adams–Bashforth in rho: eps is a polynomial in rho = sigma/alpha. Exact integrals, also down to rho = 0.
 *
 * @category Samplers
 * @param nodes Nodes of the step.
 * @returns The weights.
 *
 * @example Two past nodes at equal distances: 23/12, −16/12, 5/12
 * ```ts
 * import { adams } from "@tweedie/tweedie/sample";
 * import assert from "node:assert/strict";
 *
 * const node = (sigma: number) => ({ t: sigma, alpha: 1, sigma });
 * const { predictions } = adams({ from: node(2), to: node(1), past: [node(3), node(4)] });
 * assert.deepEqual(predictions.map((w) => Math.round(-12 * w)), [23, -16, 5]);
 * ```
 */
export function adams(nodes: MultistepNodes): MultistepWeights {
  const { from, to } = nodes, first = rhoOf(from), width = rhoOf(to) - first;
  return overRho(({ past }) => past.map((node) => (rhoOf(node) - first) / width))(nodes);
}

/** Weights of eps in units of the change of sigma/alpha from a node to a ratio at another's level. */
export const inRho = (
  from: Level,
  to: Level,
  shares: readonly number[],
  rho = rhoOf(to),
): MultistepWeights => {
  const predictions = shares.map((share) => share && share * to.alpha * (rho - rhoOf(from)));
  return { xt: to.alpha / from.alpha, of: "eps", predictions, noise: 0 };
};

/**
 * A point of the path: x there, the x0 prediction there and the level.
 *
 * @category Samplers
 */
export interface Point {
  /** Time and marginal. */
  readonly node: Node;
  /** x there, shape [N, ...sample]; needed by predictions of eps only. */
  readonly x?: Tensor;
  /** The x0 prediction there, shape of x. */
  readonly x0: Tensor;
}

/** Coefficients of x and x0 in each prediction, as in `coefficients("x0", kind, level)` but for v off the unit circle. */
export const parts: {
  readonly [K in MultistepWeights["of"]]: (level: Level) => readonly [x: number, x0: number];
} = {
  x0: () => [0, 1],
  eps: ({ alpha, sigma }) => [1 / sigma, -alpha / sigma],
  v: ({ alpha, sigma }) => [alpha / sigma, -(alpha ** 2 + sigma ** 2) / sigma],
};

/**
 * xt·x + Σ_j predictions[j]·prediction_j, the mean of a step. Predictions other than x0 are made from it and x of their
 * point.
 *
 * @category Samplers
 * @param weights The step.
 * @param x x_t, shape [N, ...sample].
 * @param points Where the model was asked, in the order of the weights.
 * @returns A new tensor of the shape of x: the scope's, or the caller's where there is none.
 */
export function combined(
  weights: MultistepWeights,
  x: Tensor,
  points: readonly Point[],
): Tensor {
  const terms = new Map<Tensor, number>([[x, weights.xt]]);
  const add = (tensor: Tensor | undefined, by: number): void => {
    if (tensor && by !== 0) terms.set(tensor, (terms.get(tensor) ?? 0) + by);
  };
  weights.predictions.forEach((weight, j) => {
    const point = points[j]!, [ofX, ofX0] = parts[weights.of](point.node);
    add(point.x, weight * ofX);
    add(point.x0, weight * ofX0);
  });
  return scope(() =>
    [...terms].map(([tensor, by]) => tf.mul(tensor, by) as Tensor)
      .reduce((sum, term) => tf.add(sum, term))
  );
}

/**
 * DPM-Solver++: a multistep solver that is exact but for the model's prediction.
 *
 * With lambda = ln(alpha/sigma), h = lambda_s − lambda_t, and x0(lambda) the model's prediction along the path, the ODE is solved by
 *
 * ```text
 *   x_s = (sigma_s/sigma_t)·x_t + sigma_s·∫ e^lambda·x0(lambda) dlambda    over [lambda_t, lambda_s]
 * ```
 *
 * exactly but for x0, which is a constant at order 1 (that is DDIM), a line through the last two evaluations at order 2, a
 * parabola through three at order 3. The same integral with noise solves the reverse SDE. Past evaluations ride in the
 * state, so that a trajectory can be forked, recorded and resumed.
 *
 * Sources: C. Lu, Y. Zhou, F. Bao, J. Chen, C. Li, J. Zhu, "DPM-Solver++: fast solver for guided sampling of diffusion
 * probabilistic models" (2022), proposition 4.1, algorithm 2 and appendix A. The released code gives the
 * parabola of a multistep step half its weight; see {@link DpmSolverOptions}.
 *
 * @module
 */

import { type GridOptions, timesAmong } from "../../noise/grid.ts";
import type { Schedule } from "../../noise/schedule/schedule.ts";
import { atLeast, decoded, is, oneOf, type Rules } from "../../tensor/check/decode.ts";
import type { Sampler } from "../path.ts";
import type { Own } from "../grid.ts";
import { lowered, type LowerOrderFinal, stepped } from "./multistep.ts";
import {
  exponential,
  type MultistepNodes,
  type MultistepRule,
  type MultistepWeights,
} from "./weights.ts";

/**
 * How the slope of x0 enters a second-order step.
 *
 * @category Samplers
 */
export type Corrector = "midpoint" | "heun";

/**
 * The form of a step of {@link dpmSolver}.
 *
 * @category Samplers
 */
export interface DpmSolverForm {
  /** Which prediction is a polynomial: `"x0"` is DPM-Solver++, `"eps"` is DPM-Solver. Default: `"x0"`. */
  readonly of?: "x0" | "eps";
  /**
   * How the slope enters a step with two predictions: `"midpoint"` takes x0 at the middle of the step in lambda, `"heun"`
   * integrates the line exactly. Both are of order 2. Default: `"midpoint"`.
   */
  readonly corrector?: Corrector;
  /**
   * Weight of the parabola in a step with three predictions: `"exact"`, which makes it of order 3, or `"halved"`, as in the
   * code that came with the paper and in diffusers, where the divided difference stands for the second derivative, of
   * which it is half; that is of order 2. Default: `"exact"`.
   */
  readonly curvature?: "exact" | "halved";
  /**
   * Strength of the noise: 0 solves the ODE, 1 the reverse SDE (SDE-DPM-Solver++). At least 0. Of eps it is for small steps
   * only: one over which sigma/alpha falls by more than a factor √2 adds more noise than its end holds. Default: 0.
   */
  readonly eta?: number;
}

/**
 * Options of {@link dpmSolver}.
 *
 * @category Samplers
 */
export interface DpmSolverOptions extends GridOptions, DpmSolverForm {
  /** Order of accuracy, 1, 2 or 3. Default: 2. */
  readonly order?: 1 | 2 | 3;
  /**
   * Whether the order falls to 1 with the last step, which is steadier with few steps; `"auto"` is true below 15 steps. A
   * step to sigma = 0 is of first order in any case, as lambda is infinite there. Default: `"auto"`.
   */
  readonly lowerOrderFinal?: LowerOrderFinal;
}

const formRules: Rules<DpmSolverForm> = {
  of: oneOf("x0", "eps"),
  corrector: oneOf("midpoint", "heun"),
  curvature: oneOf("exact", "halved"),
  eta: is("a number of at least 0", atLeast(0)),
};

const solverRules: Own<DpmSolverOptions> = {
  ...formRules,
  order: oneOf(1, 2, 3),
  lowerOrderFinal: lowered,
};

/**
 * The coefficients of one step of DPM-Solver++ (Lu et al. 2022, algorithm 2), in float64. With two predictions:
 *
 * ```text
 *   x_s = (sigma_s/sigma_t)·x_t + alpha_s·(1 − e^(−h))·x0hat_t + w·(x0hat_t − x0hat_past)/r
 *   r = (lambda_t − lambda_past)/h
 *   w = alpha_s·(1 − e^(−h))/2 (midpoint)  or  alpha_s·(1 − (1 − e^(−h))/h) (heun)
 * ```
 *
 * @category Samplers
 * @param nodes Levels at t, at s, and at the evaluations before: none at order 1, two at order 3.
 * @param form Which prediction, how slope and parabola enter, how much noise.
 * @returns The coefficients.
 *
 * @example The first order is DDIM
 * ```ts
 * import { multistepCoefficients } from "@tweedie/tweedie/sample";
 * import { posterior } from "@tweedie/tweedie/denoise";
 * import assert from "node:assert/strict";
 *
 * const from = { t: 2, alpha: 0.6, sigma: 0.8 }, to = { t: 1, alpha: 0.8, sigma: 0.6 };
 * const step = multistepCoefficients({ from, to, past: [] }), ddim = posterior(from, to, { variance: 0 });
 * assert.ok(Math.abs(step.predictions[0]! - ddim.x0) < 1e-12 && Math.abs(step.xt - ddim.xt) < 1e-12);
 * ```
 */
export function multistepCoefficients(
  nodes: MultistepNodes,
  form: DpmSolverForm = {},
): MultistepWeights {
  return ruleOf(decoded("make a step of DPM-Solver++", form, formRules))(nodes);
}

const ruleOf = ({ of = "x0", eta = 0, ...form }: DpmSolverForm): MultistepRule =>
  exponential({ of, eta, bent: bends(form) });

/** Moments of a step, changed to those of a form. */
const bends =
  ({ corrector = "midpoint", curvature = "exact" }: DpmSolverForm) =>
  (moments: readonly number[]): readonly number[] => {
    if (moments.length === 2 && corrector === "midpoint") return [1, 1 / 2];
    const [one, slope, square] = moments as [number, number, number];
    return moments.length === 3 && curvature === "halved" ? [one, slope, square / 2] : moments;
  };

/**
 * DPM-Solver++ multistep, 1S, 2M and 3M, deterministic or with noise: one evaluation of the model for each step. The first
 * steps are of lower order.
 *
 * @category Samplers
 * @param schedule The schedule of the model.
 * @param options Grid of times, order, form of a step, noise, order of the last step.
 * @returns A sampler; its states carry the past evaluations in `history`.
 * @throws {RangeError} If an option is outside its domain.
 *
 * @example Ten steps to the mean of Gaussian data
 * ```ts
 * import { dpmSolver, gaussian, key, linear, prior, run } from "@tweedie/tweedie";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import * as tf from "@tensorflow/tfjs-core";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const schedule = linear();
 * const model = gaussian(schedule, { mean: 3, variance: 0.25 });
 * let mean = 0;
 * for await (const { x } of run(prior([400, 1]), { model, key: key(0) })(dpmSolver(schedule, { steps: 10 }))) {
 *   mean = tf.mean(x).dataSync()[0]!;
 * }
 * assert.ok(Math.abs(mean - 3) < 0.2);
 * ```
 */
export function dpmSolver(schedule: Schedule, options: DpmSolverOptions = {}): Sampler {
  const grid = timesAmong("make a DPM-Solver++", { schedule, options }, solverRules);
  const { order = 2, lowerOrderFinal = "auto" } = options;
  return stepped(schedule, grid, { rule: ruleOf(options), order, lowerOrderFinal });
}

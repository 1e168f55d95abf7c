/**
 * DPM-Solver++ and UniPC: multistep solvers that are exact but for the model's prediction.
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
 * probabilistic models" (2022), proposition 4.1, algorithm 2 and appendix A; W. Zhao, L. Bai, Y. Rao, J. Zhou, J. Lu,
 * "UniPC: a unified predictor-corrector framework for fast sampling of diffusion models" (NeurIPS 2023), algorithms 1 to 3.
 * The released code of both gives the parabola of a multistep step half its weight; see {@link DpmSolverOptions}.
 *
 * @module
 */

import { type GridOptions, timesAmong } from "../noise/grid.ts";
import type { Schedule } from "../noise/schedule.ts";
import { checkOptions, type Known } from "../tensor/check.ts";
import type { Sampler } from "./chain.ts";
import {
  checkLowered,
  checkOrder,
  exponential,
  type LowerOrderFinal,
  type MultistepNodes,
  type MultistepRule,
  type MultistepWeights,
  refusal,
  stepped,
} from "./multistep.ts";

/** How the slope of x0 enters a second-order step. */
export type Corrector = "midpoint" | "heun";

/** The form of a step of {@link dpmSolver}. */
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
  /** Strength of the noise: 0 solves the ODE, 1 the reverse SDE (SDE-DPM-Solver++). At least 0. Default: 0. */
  readonly eta?: number;
}

/** Options of {@link dpmSolver}. */
export interface DpmSolverOptions extends GridOptions, DpmSolverForm {
  /** Order of accuracy, 1, 2 or 3. Default: 2. */
  readonly order?: 1 | 2 | 3;
  /**
   * Whether the order falls to 1 with the last step, which is steadier with few steps; `"auto"` is true below 15 steps. A
   * step to sigma = 0 is of first order in any case, as lambda is infinite there. Default: `"auto"`.
   */
  readonly lowerOrderFinal?: LowerOrderFinal;
}

const formOptions: Known<DpmSolverForm> = {
  of: true,
  corrector: true,
  curvature: true,
  eta: true,
};

const dpmSolverOptions: Known<Omit<DpmSolverOptions, keyof GridOptions>> = {
  ...formOptions,
  order: true,
  lowerOrderFinal: true,
};

/** Moments of a step, changed to those of a form. */
const bends =
  ({ corrector = "midpoint", curvature = "exact" }: DpmSolverForm) =>
  (moments: readonly number[]): readonly number[] => {
    if (moments.length === 2 && corrector === "midpoint") return [1, 1 / 2];
    const [one, slope, square] = moments as [number, number, number];
    return moments.length === 3 && curvature === "halved" ? [one, slope, square / 2] : moments;
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
 * @param nodes Levels at t, at s, and at the evaluations before: none at order 1, two at order 3.
 * @param form Which prediction, how slope and parabola enter, how much noise.
 * @returns The coefficients.
 *
 * @example The first order is DDIM
 * ```ts
 * import { multistepCoefficients, posterior } from "@tweedie/tweedie";
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
  checkOptions("make a step of DPM-Solver++", form, formOptions);
  return ruleOf(form)(nodes);
}

const ruleOf = (form: DpmSolverForm): MultistepRule =>
  exponential({ of: form.of ?? "x0", eta: form.eta ?? 0, bent: bends(form) });

/**
 * DPM-Solver++ multistep, 1S, 2M and 3M, deterministic or with noise: one evaluation of the model for each step. The first
 * steps are of lower order.
 *
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
  const grid = timesAmong("make a DPM-Solver++", { schedule, options }, dpmSolverOptions);
  const { order = 2, lowerOrderFinal = "auto" } = options;
  checkOrder(named, order, 3);
  checkLowered(named, lowerOrderFinal);
  checkForm(options);
  return stepped(schedule, grid, { rule: ruleOf(options), order, lowerOrderFinal });
}

const named = "a DPM-Solver++";

function checkForm({ of, corrector, curvature, eta = 0 }: DpmSolverForm): void {
  checkOneOf("of", of, ["x0", "eps"]);
  checkOneOf("corrector", corrector, ["midpoint", "heun"]);
  checkOneOf("curvature", curvature, ["exact", "halved"]);
  if (!(eta >= 0 && eta < Infinity)) {
    throw refusal(named, "eta must be a number of at least 0", eta);
  }
}

function checkOneOf(option: string, value: unknown, known: readonly string[]): void {
  if (value === undefined || known.includes(value as string)) return;
  throw refusal(named, `${option} must be ${known.map((k) => `"${k}"`).join(" or ")}`, value);
}

/** Options of {@link uniPc}. */
export interface UniPcOptions extends GridOptions {
  /** Order p of the predictor, 1, 2 or 3; with the corrector it is p + 1. Default: 2. */
  readonly order?: 1 | 2 | 3;
  /** B(h) where a step has one difference only: h for `"bh1"`, e^h − 1 of the signed step for `"bh2"`. Default: `"bh2"`. */
  readonly solver?: "bh1" | "bh2";
  /** Whether x_t is corrected when the model has answered there, at no further evaluation. Default: true. */
  readonly corrected?: boolean;
  /** Whether the order falls to 1 with the last step; `"auto"` is true below 15 steps. Default: true. */
  readonly lowerOrderFinal?: LowerOrderFinal;
}

const uniPcOptions: Known<Omit<UniPcOptions, keyof GridOptions>> = {
  order: true,
  solver: true,
  corrected: true,
  lowerOrderFinal: true,
};

/**
 * The coefficients of one step of UniPC (Zhao et al. 2023, algorithms 1 and 2), in float64. Where all its conditions are
 * solved the step integrates the polynomial through the predictions exactly, and B(h) cancels; with one difference the
 * paper sets its weight to 1/2, and only there B(h) is left:
 *
 * ```text
 *   x_s = (sigma_s/sigma_t)·x_t + alpha_s·(1 − e^(−h))·x0hat_t + alpha_s·B(h)·(x0hat_other − x0hat_t)/(2r)
 *   B(h) = h (bh1)  or  1 − e^(−h) (bh2)       r = (lambda_other − lambda_t)/h, which is 1 for the first corrector
 * ```
 *
 * @param nodes Levels at t, at s, and at other evaluations: those before for the predictor, s and those before for the
 * corrector.
 * @param form B(h).
 * @returns The coefficients.
 *
 * @example The predictor of order 2 with bh2 is DPM-Solver++ 2M
 * ```ts
 * import { multistepCoefficients, uniPcCoefficients } from "@tweedie/tweedie";
 * import assert from "node:assert/strict";
 *
 * const node = (t: number) => ({ t, alpha: Math.cos(t), sigma: Math.sin(t) });
 * const nodes = { from: node(1), to: node(0.8), past: [node(1.1)] };
 * assert.deepEqual(uniPcCoefficients(nodes), multistepCoefficients(nodes));
 * ```
 */
export function uniPcCoefficients(
  nodes: MultistepNodes,
  form: Pick<UniPcOptions, "solver"> = {},
): MultistepWeights {
  checkOptions("make a step of UniPC", form, { solver: true });
  const { solver = "bh2" } = form;
  // J_1 in units of J_0 = −(e^z − 1), z = −h: 1/2 for B = 1 − e^z, z/(e^z − 1)/2 for B = h.
  const bent = (moments: readonly number[], z: number): readonly number[] => {
    if (moments.length !== 2) return moments;
    return [1, solver === "bh2" ? 1 / 2 : z / Math.expm1(z) / 2];
  };
  return exponential({ bent })(nodes);
}

/**
 * UniPC: a multistep predictor, and a corrector that goes over the last step again once the model has answered at its end,
 * which costs no evaluation (Zhao et al. 2023, algorithm 3). The state's x is the predictor's; the corrected one is in
 * `history`, where the next step starts from.
 *
 * @param schedule The schedule of the model.
 * @param options Grid of times, order, B(h), whether to correct, order of the last step.
 * @returns A sampler with one evaluation of the model a step.
 * @throws {RangeError} If an option is outside its domain.
 *
 * @example
 * ```ts
 * import { gaussian, key, linear, prior, run, uniPc } from "@tweedie/tweedie";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const schedule = linear(), model = gaussian(schedule, { mean: 2, variance: 0 });
 * let last = 0;
 * for await (const { x } of run(prior([1, 1]), { model, key: key(0) })(uniPc(schedule, { steps: 8, order: 3 }))) {
 *   last = x.dataSync()[0]!;
 * }
 * assert.ok(Math.abs(last - 2) < 1e-3);
 * ```
 */
export function uniPc(schedule: Schedule, options: UniPcOptions = {}): Sampler {
  const grid = timesAmong("make a UniPC", { schedule, options }, uniPcOptions);
  const { order = 2, solver = "bh2", corrected = true, lowerOrderFinal = true } = options;
  checkOrder("a UniPC", order, 3);
  checkLowered("a UniPC", lowerOrderFinal);
  if (solver !== "bh1" && solver !== "bh2") {
    throw refusal("a UniPC", 'solver must be "bh1" or "bh2"', solver);
  }
  const rule: MultistepRule = (nodes) => uniPcCoefficients(nodes, { solver });
  return stepped(schedule, grid, {
    rule,
    order,
    lowerOrderFinal,
    ...(corrected && { corrector: rule }),
  });
}

/**
 * UniPC: a multistep predictor, and a corrector that asks the model no further.
 *
 * Source: W. Zhao, L. Bai, Y. Rao, J. Zhou, J. Lu, "UniPC: a unified predictor-corrector framework for fast sampling of
 * diffusion models" (NeurIPS 2023), algorithms 1 to 3.
 *
 * @module
 */

import { type GridOptions, timesAmong } from "../../noise/grid.ts";
import type { Schedule } from "../../noise/schedule/schedule.ts";
import { checkOptions } from "../../tensor/check/check.ts";
import { oneOf } from "../../tensor/check/decode.ts";
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
 * Options of {@link uniPc}.
 *
 * @category Samplers
 */
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

const uniPcRules: Own<UniPcOptions> = {
  order: oneOf(1, 2, 3),
  solver: oneOf("bh1", "bh2"),
  corrected: true,
  lowerOrderFinal: lowered,
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
 * @category Samplers
 * @param nodes Levels at t, at s, and at other evaluations: those before for the predictor, s and those before for the
 * corrector.
 * @param form B(h).
 * @returns The coefficients.
 *
 * @example The predictor of order 2 with bh2 is DPM-Solver++ 2M
 * ```ts
 * import { multistepCoefficients, uniPcCoefficients } from "@tweedie/tweedie/sample";
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
 * @category Samplers
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
  const grid = timesAmong("make a UniPC", { schedule, options }, uniPcRules);
  const { order = 2, solver = "bh2", corrected = true, lowerOrderFinal = true } = options;
  const rule: MultistepRule = (nodes) => uniPcCoefficients(nodes, { solver });
  const corrector = corrected && { corrector: rule };
  return stepped(schedule, grid, { rule, order, lowerOrderFinal, ...corrector });
}

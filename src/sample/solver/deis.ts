/**
 * DEIS and LMS: multistep solvers in the noise.
 *
 * ```text
 *   x_s = (alpha_s/alpha_t)·x_t + alpha_s·∫ eps d rho      eps a polynomial in lambda, in rho = sigma/alpha, or in t
 * ```
 *
 * Source: Q. Zhang, Y. Chen, "Fast sampling of diffusion models with exponential integrator" (ICLR 2023), equation 15 and
 * its rho and log-rho forms; LMS in k-diffusion's form.
 *
 * @module
 */

import { type GridOptions, timesAmong } from "../../noise/grid.ts";
import type { Schedule } from "../../noise/schedule/schedule.ts";
import { oneOf } from "../../tensor/check/decode.ts";
import type { Sampler } from "../path.ts";
import type { Own } from "../grid.ts";
import { lowered, type LowerOrderFinal, stepped } from "./multistep.ts";
import { adams, exponential, type MultistepRule, overRho, rhoOf } from "./weights.ts";

/**
 * Options of {@link deis}.
 *
 * @category Samplers
 */
export interface DeisOptions extends GridOptions {
  /** Number of predictions in a step, 1, 2 or 3. Default: 2. */
  readonly order?: 1 | 2 | 3;
  /** What eps is a polynomial in: lambda (`"logRho"`), sigma/alpha (`"rho"`), or t itself. Default: `"logRho"`. */
  readonly variable?: "logRho" | "rho" | "t";
  /** Whether the last steps are of lower order; `"auto"` is true below 15 steps. Default: `"auto"`. */
  readonly lowerOrderFinal?: LowerOrderFinal;
}

/** Gauss–Legendre on [0, 1]: eight nodes about the middle, and their weights. */
const gauss: readonly (readonly [at: number, weight: number])[] = [
  [0.1834346424956498, 0.362683783378362],
  [0.525532409916329, 0.3137066458778873],
  [0.7966664774136267, 0.2223810344533745],
  [0.9602898564975363, 0.1012285362903763],
].flatMap(([u, w]) => [[(1 - u!) / 2, w! / 2], [(1 + u!) / 2, w! / 2]] as const);

/** ∫₀¹ f on `panels` equal parts. */
function integral(f: (u: number) => number, panels: number): number {
  const part = (i: number): number =>
    gauss.reduce((sum, [at, weight]) => sum + weight * f((i + at) / panels), 0) / panels;
  return Array.from({ length: panels }, (_, i) => part(i)).reduce((a, b) => a + b, 0);
}

/** tAB-DEIS: eps is a polynomial in t. J_k = ∫ r^k d rho by parts, rho_s − k·∫ r^(k−1)·rho dr, in units of rho_s − rho_t. */
const inTime = (schedule: Schedule): MultistepRule =>
  overRho(
    ({ from, to, past }) => past.map(({ t }) => (t - from.t) / (to.t - from.t)),
    (k, { from, to }) => {
      if (k === 0) return 1;
      const rho = (u: number): number => rhoOf(schedule.at(from.t + u * (to.t - from.t)));
      const area = integral((u) => k * u ** (k - 1) * rho(u), 8);
      return (rhoOf(to) - area) / (rhoOf(to) - rhoOf(from));
    },
  );

const variables: {
  readonly [V in "logRho" | "rho" | "t"]: (schedule: Schedule) => MultistepRule;
} = { logRho: () => exponential({ of: "eps" }), rho: () => adams, t: inTime };

const deisRules: Own<DeisOptions> = {
  order: oneOf(1, 2, 3),
  variable: oneOf(...Object.keys(variables)),
  lowerOrderFinal: lowered,
};

/**
 * DEIS, the multistep exponential integrator in the noise (Zhang and Chen 2023, algorithm 1): `"t"` is the paper's tAB-DEIS,
 * `"rho"` its rhoAB-DEIS, `"logRho"` the form that diffusers has. All are of the order given, that of 1 is DDIM.
 *
 * @category Samplers
 * @param schedule The schedule of the model.
 * @param options Grid of times, order, variable, order of the last steps.
 * @returns A sampler with one evaluation of the model a step.
 * @throws {RangeError} If an option is outside its domain.
 *
 * @example
 * ```ts
 * import { deis, gaussian, key, linear, prior, run } from "@tweedie/tweedie";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const schedule = linear(), model = gaussian(schedule, { mean: 2, variance: 0 });
 * let last = 0;
 * for await (const { x } of run(prior([1, 1]), { model, key: key(0) })(deis(schedule, { steps: 10, order: 3 }))) {
 *   last = x.dataSync()[0]!;
 * }
 * assert.ok(Math.abs(last - 2) < 1e-3);
 * ```
 */
export function deis(schedule: Schedule, options: DeisOptions = {}): Sampler {
  const grid = timesAmong("make a DEIS", { schedule, options }, deisRules);
  const { order = 2, variable = "logRho", lowerOrderFinal = "auto" } = options;
  return stepped(schedule, grid, { rule: variables[variable](schedule), order, lowerOrderFinal });
}

/**
 * Options of {@link lms}.
 *
 * @category Samplers
 */
export interface LmsOptions extends GridOptions {
  /** Number of predictions in a step, 1 to 4. Default: 4. */
  readonly order?: 1 | 2 | 3 | 4;
}

/**
 * LMS, Adams–Bashforth in sigma/alpha: the linear multistep sampler of k-diffusion, with its coefficients integrated
 * exactly. It keeps its order to the end, at sigma = 0 too.
 *
 * @category Samplers
 * @param schedule The schedule of the model.
 * @param options Grid of times, order.
 * @returns A sampler with one evaluation of the model a step.
 * @throws {RangeError} If an option is outside its domain.
 *
 * @example
 * ```ts
 * import { edm, gaussian, key, lms, prior, run } from "@tweedie/tweedie";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const schedule = edm(), model = gaussian(schedule, { mean: 2, variance: 0 });
 * const sampler = lms(schedule, { steps: 10, spacing: "karras" });
 * let last = 0;
 * for await (const { x } of run(prior([1, 1]), { model, key: key(0) })(sampler)) last = x.dataSync()[0]!;
 * assert.ok(Math.abs(last - 2) < 1e-3);
 * ```
 */
export function lms(schedule: Schedule, options: LmsOptions = {}): Sampler {
  const grid = timesAmong("make an LMS", { schedule, options }, { order: oneOf(1, 2, 3, 4) });
  const { order = 4 } = options;
  return stepped(schedule, grid, { rule: adams, order, pastZero: true });
}

/**
 * DPM-Solver++ 2M: a multistep solver of the probability-flow ODE in data prediction.
 *
 * With lambda = ln(alpha/sigma), h = lambda_s − lambda_t, and x0(lambda) the model's prediction along the path, the ODE is solved by
 *
 * ```text
 *   x_s = (sigma_s/sigma_t)·x_t + sigma_s·∫ e^lambda·x0(lambda) dlambda    over [lambda_t, lambda_s]
 * ```
 *
 * exactly but for x0, which is a constant at order 1 (that is DDIM), and a line through the last two evaluations at order 2.
 * The past evaluation rides in the state, so that a trajectory can be forked, recorded and resumed.
 *
 * Source: C. Lu, Y. Zhou, F. Bao, J. Chen, C. Li, J. Zhu, "DPM-Solver++: fast solver for guided sampling of diffusion
 * probabilistic models" (2022), proposition 4.1 and algorithm 2.
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
import { andThen } from "../tensor/engine.ts";
import { type GridOptions, times } from "../noise/grid.ts";
import type { Level, Schedule } from "../noise/schedule.ts";
import {
  along,
  denoising,
  type Evaluation,
  type Leg,
  legs,
  type Sampler,
  type State,
  type Transition,
} from "./chain.ts";

/** How the slope of x0 enters a second-order step. */
export type Corrector = "midpoint" | "heun";

/** Options of {@link dpmSolver}. */
export interface DpmSolverOptions extends GridOptions {
  /** Order of accuracy, 1 or 2. Default: 2. */
  readonly order?: 1 | 2;
  /**
   * How the slope enters a second-order step: `"midpoint"` takes x0 at the middle of the step in lambda, `"heun"`
   * integrates the line exactly. Both are of order 2. Default: `"midpoint"`.
   */
  readonly corrector?: Corrector;
  /**
   * Whether the last step is of first order, which is steadier with few steps; `"auto"` is true below 15 steps. A step to
   * sigma = 0 is of first order in any case, as lambda is infinite there. Default: `"auto"`.
   */
  readonly lowerOrderFinal?: boolean | "auto";
}

/** Coefficients of one step: x_s = xt·x_t + x0·x0hat_t + past·x0hat_past. */
export interface MultistepCoefficients {
  /** Coefficient of x_t. */
  readonly xt: number;
  /** Coefficient of the x0 prediction at t. */
  readonly x0: number;
  /** Coefficient of the x0 prediction of the step before; 0 at order 1. */
  readonly past: number;
}

/** Levels of a multistep step. */
export interface MultistepLevels {
  /** Marginal at t, with sigma > 0. */
  readonly from: Level;
  /** Marginal at s. */
  readonly to: Level;
  /** Marginal at the time of the evaluation before; absent at order 1. */
  readonly past?: Level;
}

const lambda = ({ alpha, sigma }: Level): number => Math.log(alpha / sigma);

/** Weight of the slope D1 = (x0hat_t − x0hat_past)/r, in units of alpha_s; m is 1 − e^(−h). */
const slopes: { readonly [C in Corrector]: (h: number, m: number) => number } = {
  midpoint: (_h, m) => m / 2,
  heun: (h, m) => 1 - m / h,
};

/**
 * The coefficients of one step of DPM-Solver++ (Lu et al. 2022, algorithm 2), in float64:
 *
 * ```text
 *   x_s = (sigma_s/sigma_t)·x_t + alpha_s·(1 − e^(−h))·x0hat_t + w·(x0hat_t − x0hat_past)/r
 *   r = (lambda_t − lambda_past)/h
 *   w = alpha_s·(1 − e^(−h))/2 (midpoint)  or  alpha_s·(1 − (1 − e^(−h))/h) (heun)
 * ```
 *
 * @param levels Levels at t, at s, and at the evaluation before.
 * @param corrector How the slope enters. Default: `"midpoint"`.
 * @returns The three coefficients.
 *
 * @example The first order is DDIM
 * ```ts
 * import { multistepCoefficients, posterior } from "@tweedie/tweedie";
 * import assert from "node:assert/strict";
 *
 * const from = { alpha: 0.6, sigma: 0.8 }, to = { alpha: 0.8, sigma: 0.6 };
 * const step = multistepCoefficients({ from, to }), ddim = posterior(from, to, { variance: 0 });
 * assert.ok(Math.abs(step.x0 - ddim.x0) < 1e-12 && Math.abs(step.xt - ddim.xt) < 1e-12 && step.past === 0);
 * ```
 */
export function multistepCoefficients(
  { from, to, past }: MultistepLevels,
  corrector: Corrector = "midpoint",
): MultistepCoefficients {
  const h = lambda(to) - lambda(from), m = -Math.expm1(-h);
  const constant = to.alpha * m;
  const ratio = past ? (lambda(from) - lambda(past)) / h : Infinity;
  const slope = past ? to.alpha * slopes[corrector](h, m) / ratio : 0;
  return { xt: to.sigma / from.sigma, x0: constant + slope, past: -slope };
}

/**
 * DPM-Solver++ 2M: second order with one evaluation of the model for each step. The first step is of first order.
 *
 * @param schedule The schedule of the model.
 * @param options Grid of times, order, form of the second-order step, order of the last step.
 * @returns A sampler; its states carry the past evaluation in `history`.
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
  const { corrector, order, lowerOrderFinal } = checkedOptions(options);
  const isLow = ({ index, count, to }: Leg): boolean =>
    order === 1 || to.sigma === 0 ||
    (index === count - 1 && (lowerOrderFinal === "auto" ? count < 15 : lowerOrderFinal));
  return along(legs(schedule, times(schedule, options)), (leg) => {
    const past = isLow(leg) ? () => undefined : (state: State) => pastOf(state, leg);
    const coefficients = (evaluation?: Evaluation) =>
      multistepCoefficients(
        evaluation ? { ...leg, past: schedule.at(evaluation.t) } : leg,
        corrector,
      );
    return order === 1
      ? multistep(leg, past, coefficients)
      : remembering(leg, multistep(leg, past, coefficients));
  });
}

/** The evaluation before, if it belongs to this path: noisier than where the leg starts. */
const pastOf = ({ history }: State, { t }: Leg): Evaluation | undefined =>
  history?.[0] && history[0].t > t ? history[0] : undefined;

/** x_s from x_t, the prediction there and the past one, if any. */
function multistep(
  leg: Leg,
  past: (state: State) => Evaluation | undefined,
  coefficients: (past?: Evaluation) => MultistepCoefficients,
): Transition {
  return denoising(leg, (x0, state) => {
    const before = past(state), c = coefficients(before);
    return tf.tidy(() => {
      const x = tf.add(tf.mul(state.x, c.xt), tf.mul(x0, c.x0));
      return before ? tf.add(x, tf.mul(before.x0, c.past)) : x;
    });
  });
}

/** The same transition, whose new state carries its evaluation as history. */
const remembering = ({ t }: Leg, transition: Transition): Transition => (env) => (state) =>
  andThen(transition(env)(state), (next) => ({ ...next, history: [{ t, x0: next.x0! }] }));

function checkedOptions(
  options: DpmSolverOptions,
): Required<Omit<DpmSolverOptions, keyof GridOptions>> {
  const { order = 2, corrector = "midpoint", lowerOrderFinal = "auto" } = options;
  if (order !== 1 && order !== 2) throw refusal("order must be 1 or 2", order);
  if (!Object.hasOwn(slopes, corrector)) {
    throw refusal('corrector must be "midpoint" or "heun"', corrector);
  }
  if (![true, false, "auto"].includes(lowerOrderFinal)) {
    throw refusal('lowerOrderFinal must be a boolean or "auto"', lowerOrderFinal);
  }
  return { order, corrector, lowerOrderFinal };
}

const refusal = (wanted: string, got: unknown): RangeError =>
  new RangeError(`Cannot make a DPM-Solver++: ${wanted}, got ${JSON.stringify(got)}`);

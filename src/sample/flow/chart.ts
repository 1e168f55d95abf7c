/**
 * Charts of the probability-flow ODE, and one step of Runge–Kutta in them.
 *
 * The ODE is solved not in (x, t), where f and g may be infinite and each step would pay for the change of scale, but in a
 * chart (y, w), in which it reads dy/dw = prediction:
 *
 * | chart | w | y | dy/dw |
 * |---|---|---|---|
 * | `"flow"` | sigma/(alpha + sigma) | x/(alpha + sigma) | eps − x0: rectified flow's (x, t) |
 * | `"eps"` | sigma/alpha | x/alpha | eps: EDM's (x, sigma) |
 * | `"x0"` | alpha/sigma | x/sigma | x0 |
 * | `"v"` | φ = atan(sigma/alpha) | x/√(alpha² + sigma²) | cos φ·eps − sin φ·x0, which is v where alpha² + sigma² = 1 |
 *
 * None of them knows the schedule but by its levels. In the first three the path is a straight line where x0 and eps do not
 * change, so that Euler's step is DDIM; in the last it is an arc. `"flow"` is the default: its w is in [0, 1] and y finite
 * also where alpha or sigma is 0, so that no step is stiff for the sake of its variables.
 *
 * Sources: Y. Song et al., "Score-based generative modeling through SDEs" (ICLR 2021), equation 13; T. Karras et al.,
 * "Elucidating the design space of diffusion-based generative models" (NeurIPS 2022), algorithm 1.
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
import { coefficients } from "../../denoise/prediction.ts";
import { type Move, rungeKutta, type VectorField } from "../../solve/rungekutta.ts";
import type { Tableau } from "../../solve/tableau.ts";
import type { Level, Schedule } from "../../noise/schedule/schedule.ts";
import { owned, scope, type Scoped } from "../../tensor/scope.ts";
import { asked, type Leg } from "../step.ts";
import type { Env } from "../path.ts";
import type { Tensor } from "../../tensor/tensor.ts";

/**
 * The variables in which the ODE is solved, named for the prediction that is its right-hand side.
 *
 * @category Samplers
 */
export type Chart = "v" | "eps" | "flow" | "x0";

/** One chart: y = x/scale(level) as a function of w = place(level). */
export interface Coordinates {
  /** w. */
  readonly place: (level: Level) => number;
  /** x/y. */
  readonly scale: (level: Level) => number;
  /** sigma/alpha at w. */
  readonly ratio: (w: number) => number;
  /** Factor of the prediction in dy/dw. */
  readonly factor: (level: Level) => number;
}

const one = (): number => 1;

/** The charts by name. */
export const charts: { readonly [C in Chart]: Coordinates } = {
  v: {
    place: ({ alpha, sigma }) => Math.atan2(sigma, alpha),
    scale: ({ alpha, sigma }) => Math.hypot(alpha, sigma),
    ratio: Math.tan,
    factor: ({ alpha, sigma }) => 1 / Math.hypot(alpha, sigma),
  },
  eps: {
    place: ({ alpha, sigma }) => sigma / alpha,
    scale: ({ alpha }) => alpha,
    ratio: (w) => w,
    factor: one,
  },
  flow: {
    place: ({ alpha, sigma }) => sigma / (alpha + sigma),
    scale: ({ alpha, sigma }) => alpha + sigma,
    ratio: (w) => w / (1 - w),
    factor: one,
  },
  x0: {
    place: ({ alpha, sigma }) => alpha / sigma,
    scale: ({ sigma }) => sigma,
    ratio: (w) => 1 / w,
    factor: one,
  },
};

/** Whether a chart has no pole at the ends of a step. */
export function isRegular(chart: Chart, from: Level, to: Level): boolean {
  const { place, scale } = charts[chart];
  return scale(from) > 0 && scale(to) > 0 && Number.isFinite(place(from) - place(to));
}

/** The time at w. */
export const timeAt = (schedule: Schedule, chart: Chart, w: number): number =>
  schedule.timeOf(-2 * Math.log(charts[chart].ratio(w)));

/** A way from t to s, with the levels there. */
export type Way = Pick<Leg, "t" | "s" | "from" | "to">;

/** The ODE in a chart, and the method that solves it. */
export interface Method {
  /** Whose times the model is asked at. */
  readonly schedule: Schedule;
  /** The variables. */
  readonly chart: Chart;
  /** The Runge–Kutta method. */
  readonly tableau: Tableau;
}

/** dy/dw on a way, by asking the model where w lies on the schedule. */
export function field(env: Env, { t, s, from, to }: Way, { schedule, chart }: Method): VectorField {
  const { place, scale, factor } = charts[chart];
  const first = place(from), last = place(to), slack = 1e-9 * Math.abs(last - first);
  const isNear = (w: number, end: number): boolean => Math.abs(w - end) <= slack;
  const time = (w: number): number =>
    isNear(w, first) ? t : isNear(w, last) ? s : timeAt(schedule, chart, w);
  return (y, w) =>
    scope(function* () {
      const at = time(w), level = schedule.at(at);
      const said = yield* asked(env, chart, tf.mul(y, scale(level)), at);
      return tf.mul(said, factor(level));
    });
}

/** The end of a step. */
export interface Solved {
  /** x at the end of the way. */
  readonly x: Tensor;
  /** The x0 prediction at its start. */
  readonly x0: Tensor;
  /** The estimate of the error, in the unit of x; absent where the method has none. */
  readonly error?: Tensor;
}

/**
 * One step of Runge–Kutta in a chart:
 *
 * ```text
 *   y(w_t) = x_t/scale_t      y(w_s) = y(w_t) + h·Σ_i b_i·k_i      x_s = scale_s·y(w_s)        h = w_s − w_t
 *   k_i = dy/dw at y(w_t) + h·Σ_j a_ij·k_j, w_t + c_i·h            Heun: k_1 at the start, k_2 at the end, b = 1/2, 1/2
 * ```
 *
 * @param env The environment, whose model is asked.
 * @param way From where to where.
 * @param method Chart and method.
 * @param start x at its start, and dy/dw there if it is known, which stays whose it is.
 * @returns Its end; a part of work, called by `yield*`.
 */
export function* solved(
  env: Env,
  way: Way,
  method: Method,
  { x, first }: Pick<Move, "x" | "first">,
): Scoped<Solved> {
  const { chart, tableau } = method, { place, scale, factor } = charts[chart], { from, to } = way;
  const move = { x: tf.div(x, scale(from)), t: place(from), h: place(to) - place(from) };
  const { x: y, stages: [slope], error } = yield* owned(
    rungeKutta(tableau)(field(env, way, method), { ...move, ...(first && { first }) }),
    first,
  );
  const [a, b] = coefficients(chart, "x0", from);
  return {
    x: tf.mul(y, scale(to)),
    x0: tf.add(tf.mul(x, a), tf.mul(slope!, b / factor(from))),
    ...(error && { error: tf.mul(error, scale(to)) }),
  };
}

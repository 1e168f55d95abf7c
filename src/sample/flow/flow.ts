/**
 * The probability-flow ODE by Runge–Kutta on a grid, with EDM's noise put back before a step where it is asked for.
 *
 * Sources: Y. Song et al., "Score-based generative modeling through SDEs" (ICLR 2021), equation 13; T. Karras et al.,
 * "Elucidating the design space of diffusion-based generative models" (NeurIPS 2022), algorithms 1 and 2.
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
import { type GridOptions, timesAmong } from "../../noise/grid.ts";
import { type Tableau, tableaus } from "../../solve/tableau.ts";
import type { Schedule } from "../../noise/schedule/schedule.ts";
import { checkOptions, refusal } from "../../tensor/check/check.ts";
import { decoded, is, needed, type Rule, type Rules } from "../../tensor/check/decode.ts";
import { type Leg, step } from "../step.ts";
import type { Sampler } from "../path.ts";
import { named, noisy, over, type Own } from "../grid.ts";
import { type Chart, charts, isRegular, type Method, solved } from "./chart.ts";

/**
 * Noise put back before each step (Karras et al. 2022, algorithm 2).
 *
 * @category Samplers
 */
export interface Churn {
  /** S_churn: sigma/alpha grows by min(amount/steps, √2 − 1) of itself before a step. At least 0. */
  readonly amount: number;
  /** S_tmin, the least sigma/alpha with churn. Default: 0. */
  readonly from?: number;
  /** S_tmax, the greatest sigma/alpha with churn. Default: infinity. */
  readonly to?: number;
  /** S_noise, standard deviation of the noise in units of what the schedule would have. Default: 1. */
  readonly noise?: number;
}

/**
 * Options of {@link flow}.
 *
 * @category Samplers
 */
export interface FlowOptions extends GridOptions {
  /** The Runge–Kutta method. Default: `tableaus.heun`. */
  readonly tableau?: Tableau;
  /** The variables in which it works. Default: `"flow"`. */
  readonly chart?: Chart;
  /** Noise put back before each step: EDM's stochastic sampler. Default: none. */
  readonly churn?: Churn;
  /**
   * Whether the grid is travelled from its end to its start, from data to noise: to encode, or to weigh data. It must then
   * end at sigma above 0, since no model knows noise where there is none. Default: false.
   */
  readonly upward?: boolean;
}

const flowRules: Own<FlowOptions> = {
  tableau: true,
  chart: named(charts),
  churn: true,
  upward: true,
};

const level: Rule = (name, value) =>
  is("a number of at least 0", (value) => value >= 0)(`churn.${name}`, value);

const churnRules: Rules<Churn> = { amount: needed(level), from: level, to: level, noise: level };

/**
 * The probability-flow ODE by a Runge–Kutta method on a grid. A step to sigma = 0 of a method that would ask the model there, and
 * a step at whose start the chart is infinite, are Euler's, which is DDIM's.
 *
 * | known as | options |
 * |---|---|
 * | DDIM, Euler of k-diffusion and diffusers, flow-matching Euler | `{ tableau: tableaus.euler }`, in any chart but `"v"` |
 * | EDM (algorithm 1), Heun of k-diffusion and diffusers | `{ tableau: tableaus.heun, chart: "eps" }` |
 * | EDM's stochastic sampler (algorithm 2) | the same and `churn: { amount: 40, from: 0.05, to: 50, noise: 1.003 }` |
 * | flow-matching Heun | `{ tableau: tableaus.heun, chart: "flow" }` |
 *
 * @category Samplers
 * @param schedule The schedule of the model; a method with stages inside a step asks the model between the grid's times.
 * @param options Grid of times, method, chart, churn.
 * @returns A sampler whose transitions hold as many evaluations of the model as the method has stages. `x0` of a state is the
 * prediction at the step's start.
 * @throws {RangeError} If an option is outside its domain, churn leaves the schedule, or the way up starts at sigma = 0.
 *
 * @example The golden value of a Gaussian: x_t = x_0·√(v_t/v_0), here from noise to data
 * ```ts
 * import { flow, gaussian, key, run, tableaus, vp } from "@tweedie/tweedie";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import * as tf from "@tensorflow/tfjs-core";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const schedule = vp({ betaMin: 1, betaMax: 1, end: 3 }), model = gaussian(schedule, { mean: 0, variance: 0.25 });
 * const start = { x: tf.tensor([[1.5698434]]), t: 3, step: 0 };
 * let end = 0;
 * for await (const { x } of run(start, { model, key: key(0) })(flow(schedule, { steps: 20, tableau: tableaus.rk4, final: 1e-6 }))) {
 *   end = x.dataSync()[0]!;
 * }
 * assert.ok(Math.abs(end - 0.8) < 1e-3);
 * ```
 */
export function flow(schedule: Schedule, options: FlowOptions = {}): Sampler {
  const grid = timesAmong(action, { schedule, options }, flowRules);
  const { tableau = tableaus.heun, chart = "flow", churn, upward = false } = options;
  if (churn) {
    checkOptions("churn a flow", churn, churnRules);
    decoded(action, churn, churnRules);
  }
  if (upward) checkUpward(schedule, grid.at(-1)!, churn);
  return over(schedule, upward ? grid.toReversed() : grid, (leg) => {
    const raised = churn ? churned(leg, schedule, churn) : leg;
    const method = usable(raised, { schedule, tableau, chart });
    const scale = raised.from.alpha / leg.from.alpha, { noise = 1 } = churn ?? {};
    const deviation = Math.sqrt(raised.from.sigma ** 2 - (scale * leg.from.sigma) ** 2) * noise;
    return step(leg, function* (state, env) {
      const x = raised === leg ? state.x : noisy(tf.mul(state.x, scale), deviation, { env, state });
      const { x: end, x0 } = yield* solved(env, raised, method, { x });
      return { x: end, x0 };
    });
  });
}

const action = "make a flow";

/** Euler's method in a chart without poles, where the one asked for would look where it must not. */
function usable({ from, to }: Leg, { schedule, tableau, chart }: Method): Method {
  const early = to.sigma > 0 || !tableau.c.includes(1);
  return early && isRegular(chart, from, to)
    ? { schedule, tableau, chart }
    : { schedule, tableau: tableaus.euler, chart: "flow" };
}

/** The leg from the higher level that churn goes to, or the leg itself. */
function churned(leg: Leg, schedule: Schedule, { amount, from = 0, to = Infinity }: Churn): Leg {
  const rho = leg.from.sigma / leg.from.alpha;
  const growth = Math.min(amount / leg.count, Math.SQRT2 - 1);
  // At alpha = 0 all is noise already.
  if (growth === 0 || leg.from.alpha === 0 || !(rho >= from && rho <= to)) return leg;
  const t = raisedTime(schedule, rho * (1 + growth), leg.t);
  return { ...leg, t, from: schedule.at(t) };
}

/** The time of a higher sigma/alpha. */
function raisedTime(schedule: Schedule, rho: number, t: number): number {
  try {
    return schedule.timeOf(-2 * Math.log(rho));
  } catch {
    const wanted =
      `churn.to must keep sigma/alpha on the schedule "${schedule.name}" (logSnr must be that of a time)`;
    throw new RangeError(`Cannot ${action}: ${wanted}, got ${rho} from t = ${t}`);
  }
}

/** Refuses a way up from where there is no noise, or with noise on the way. */
function checkUpward(schedule: Schedule, final: number, churn: Churn | undefined): void {
  if (churn) throw refusal(action, "churn must be absent with upward", churn);
  if (schedule.at(final).sigma > 0) return;
  throw refusal(action, "final must be a time with sigma above 0 with upward", final);
}

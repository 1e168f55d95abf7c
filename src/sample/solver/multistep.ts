/**
 * The driver of linear multistep solvers: one evaluation of the model a step, the past ones in the state.
 *
 * ```text
 *   x_s = xt·x_t + Σ_j w_j·prediction_j + noise·z        prediction_0 at t, the others as the model has said them before
 * ```
 *
 * with the weights of the solver's rule. Past evaluations ride in the state, so that a trajectory can be forked, recorded and
 * resumed.
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
import { type GridOptions, times } from "../../noise/grid.ts";
import type { Schedule } from "../../noise/schedule/schedule.ts";
import { decoded, is, type Rule, type Rules } from "../../tensor/check/decode.ts";
import { asked, type Leg, step } from "../step.ts";
import type { Evaluation, Sampler, State, Transition } from "../path.ts";
import { noisy, over } from "../grid.ts";
import { combined, type MultistepRule, type Node, nodeAt, type Point } from "./weights.ts";
import type { Tensor } from "../../tensor/tensor.ts";

/**
 * Whether the last steps are of lower order; `"auto"`: with fewer than 15 steps.
 *
 * @category Samplers
 */
export type LowerOrderFinal = boolean | "auto";

/** The rule of {@link LowerOrderFinal}. */
export const lowered: Rule = is(
  'a boolean or "auto"',
  (value: unknown) => typeof value === "boolean" || value === "auto",
);

/**
 * A multistep solver: its rule, its order and where that is lowered.
 *
 * @category Samplers
 */
export interface Multistep {
  /** The weights of a step. */
  readonly rule: MultistepRule;
  /** Number of predictions in a step, at least 1. */
  readonly order: number;
  /** Whether the order falls to 1 with the last step. Default: false. */
  readonly lowerOrderFinal?: LowerOrderFinal;
  /** Whether a step to sigma = 0 may be of higher order. Default: false, as lambda is infinite there. */
  readonly pastZero?: boolean;
  /**
   * Weights with which the step to t is made anew when the model has answered at t: the nodes are those of the step before,
   * with t among `past` as the first. What that changes is added to x_t before the step goes on, so that what a refinement
   * has made of x_t stays. Default: none.
   */
  readonly corrector?: MultistepRule;
}

/**
 * The driver of every multistep solver: asks the model, combines, and keeps the evaluations that the next step needs in
 * the state. The first steps are of lower order, as there is no past yet; a state that brings its past along goes on as if
 * the run had never been broken.
 *
 * @category Samplers
 * @param schedule The schedule of the model.
 * @param grid Times of the steps.
 * @param solver The row of the table.
 * @returns A sampler with one evaluation of the model a step; its states carry the past ones in `history`.
 * @throws {RangeError} If the grid is outside its domain.
 *
 * @example A solver of your own: order 2 with weights 3/2 and −1/2, whatever the steps
 * ```ts
 * import { gaussian, key, linear, multistep, prior, run } from "@tweedie/tweedie";
 * import { pseudoAdams } from "@tweedie/tweedie/sample";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const schedule = linear(), model = gaussian(schedule, { mean: 2, variance: 0 });
 * const own = multistep(schedule, { steps: 10 }, { rule: pseudoAdams, order: 2 });
 * let last = 0;
 * for await (const { x } of run(prior([1, 1]), { model, key: key(0) })(own)) last = x.dataSync()[0]!;
 * assert.ok(Math.abs(last - 2) < 1e-3);
 * ```
 */
export function multistep(schedule: Schedule, grid: GridOptions, solver: Multistep): Sampler {
  decoded("make a multistep sampler", solver, multistepRules);
  return stepped(schedule, times(schedule, grid), solver);
}

const multistepRules: Rules<Multistep> = {
  rule: true,
  order: true,
  lowerOrderFinal: true,
  pastZero: true,
  corrector: true,
};

/** The sampler of a solver on the times of a grid. */
export const stepped = (schedule: Schedule, grid: readonly number[], solver: Multistep): Sampler =>
  over(schedule, grid, (leg) => multistepTransition(leg, solver, schedule));

/**
 * One transition of {@link multistep}, for samplers that begin in another way.
 *
 * @category Samplers
 * @param leg From where to where.
 * @param solver The row of the table.
 * @param schedule The schedule of the model.
 * @returns The transition.
 */
export function multistepTransition(leg: Leg, solver: Multistep, schedule: Schedule): Transition {
  const { rule, order, corrector } = solver, to = nodeAt(leg.s, leg.to);
  const kept = corrector ? order : order - 1;
  return step(leg, function* (state, env) {
    const x0 = yield* asked(env, "x0", state.x, leg.t), past = pastOf(state, leg.t);
    const points = past.map((each) => pointOf(schedule, each));
    const now = { node: nodeAt(leg.t, leg.from), x0, x: state.x };
    const from = corrector ? corrected(now, points, { leg, solver, corrector }) : now;
    const used = points.slice(0, orderOf(leg, solver, past.length) - 1);
    const weights = rule({ from: from.node, to, past: nodesOf(used) });
    const mean = combined(weights, from.x, [from, ...used]);
    const x = noisy(mean, weights.noise, { env, state, purpose: "multistep" });
    const history = [{ t: leg.t, x0, x: from.x }, ...past].slice(0, kept);
    return { x, x0, ...(kept > 0 && { history }) };
  });
}

/** A point at which x is known. */
type Here = Point & { readonly x: Tensor };

const pointOf = (schedule: Schedule, evaluation: Evaluation): Point => (
  { ...evaluation, node: nodeAt(evaluation.t, schedule.at(evaluation.t)) }
);

const nodesOf = (points: readonly Point[]): Node[] => points.map(({ node }) => node);

/** The evaluations that belong to this path: each noisier than the one after it. */
function pastOf({ history = [] }: State, t: number): readonly Evaluation[] {
  const end = history.findIndex((each, i) => !(each.t > (i === 0 ? t : history[i - 1]!.t)));
  return end < 0 ? history : history.slice(0, end);
}

/** Order of a step: no more than there are predictions, and falling to 1 at the end where it is to. */
function orderOf(leg: Leg, { order, lowerOrderFinal, pastZero }: Multistep, past: number): number {
  const zero = leg.to.sigma === 0 && pastZero !== true ? 1 : Infinity;
  return Math.min(order, past + 1, lowest(leg, lowerOrderFinal), zero);
}

/** The order that the end of a run leaves to a step. */
function lowest({ index, count }: Leg, rule: LowerOrderFinal = false): number {
  return (rule === "auto" ? count < 15 : rule) ? count - index : Infinity;
}

/** The point where the step starts: x_t, and what the corrector changes of the step that led there. */
function corrected(
  now: Here,
  past: readonly Point[],
  { leg, solver, corrector }: {
    readonly leg: Leg;
    readonly solver: Multistep;
    readonly corrector: MultistepRule;
  },
): Here {
  const { rule, order, lowerOrderFinal } = solver, x = past[0]?.x;
  // From alpha = 0 there is no polynomial to correct.
  if (!x || past[0]!.node.alpha === 0) return now;
  const used = past.slice(0, Math.min(order, lowest(leg, lowerOrderFinal) + 1));
  const [before, ...older] = used as [Point];
  const reached = (rule: MultistepRule, others: readonly Point[]): Tensor => {
    const weights = rule({ from: before.node, to: now.node, past: nodesOf(others) });
    return combined(weights, x, [before, ...others]);
  };
  // The change is added to x_t, not put in its place: a refinement may have moved x_t since it was predicted.
  const change = tf.sub(reached(corrector, [now, ...older]), reached(rule, older));
  return { ...now, x: tf.add(now.x, change) };
}

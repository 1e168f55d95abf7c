/**
 * Steps along a grid of times: what a transition is told of its leg, asks of the model and returns.
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
import type { Level, Schedule } from "../noise/schedule/schedule.ts";
import { convert, type Kind } from "../denoise/prediction.ts";
import { owned, scope, type Scoped } from "../tensor/scope.ts";
import { mismatch, refusal } from "../tensor/check/check.ts";
import { isLevel } from "../noise/schedule/same.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { type Env, type Sampler, sampler, type State, type Transition } from "./path.ts";

/**
 * One step of a sampler on a time grid, from t to s.
 *
 * @category Samplers
 */
export interface Leg {
  /** Time it starts from. */
  readonly t: number;
  /** Time it goes to. */
  readonly s: number;
  /** Marginal at t. */
  readonly from: Level;
  /** Marginal at s. */
  readonly to: Level;
  /** Number of legs before this one. */
  readonly index: number;
  /** Number of legs of the whole grid. */
  readonly count: number;
  /** The schedule that gives the levels. Default: not known, and a run cannot compare it with the model's. */
  readonly schedule?: Schedule;
}

/**
 * The legs between the neighbours of a time grid, with their levels.
 *
 * @category Samplers
 * @param schedule Gives the levels.
 * @param grid Times in the order of travel.
 * @returns One leg fewer than there are times.
 *
 * @example
 * ```ts
 * import { legs, linear } from "@tweedie/tweedie";
 * import assert from "node:assert/strict";
 *
 * assert.deepEqual(legs(linear(), [1000, 500, 0]).map(({ t, s }) => [t, s]), [[1000, 500], [500, 0]]);
 * ```
 */
export function legs(schedule: Schedule, grid: readonly number[]): Leg[] {
  const levels = grid.map((t) => schedule.at(t)), count = grid.length - 1;
  return grid.slice(1).map((s, i) => (
    { t: grid[i]!, s, from: levels[i]!, to: levels[i + 1]!, index: i, count, schedule }
  ));
}

/**
 * A sampler with one transition for each leg. A transition refuses a state that is not at its leg's start, but for rounding
 * or a time of the same level.
 *
 * @category Samplers
 * @param path The legs, in order.
 * @param make The transition of a leg; called for each leg at once, so that its errors come before the run.
 * @returns The sampler. Its transitions throw a RangeError on a state at another time.
 */
export function along<S extends State = State>(
  path: readonly Leg[],
  make: (leg: Leg) => Transition<S>,
): Sampler<S> {
  const transitions = path.map((leg) => checked(leg, make(leg))), first = path[0];
  if (first === undefined) return sampler(() => transitions);
  const { t: from, schedule } = first, times = [from, ...path.map(({ s }) => s)];
  return sampler(() => transitions, { from, ...(schedule && { schedule, times }) });
}

function checked<S extends State>({ t, s }: Leg, transition: Transition<S>): Transition<S> {
  const action = `step to t = ${s}`;
  return (env) => (state) => {
    const isThere = isLevel(env.model.schedule, state.t, t);
    if (!isThere) throw refusal(action, `state.t must be ${t}`, state.t);
    if (!("logDensity" in state)) return transition(env)(state);
    const wanted = "state.logDensity must be absent without likelihood()";
    throw mismatch(action, wanted, "a density, which nothing would carry on");
  };
}

/**
 * What a step makes: x, and whatever else of the state is new.
 *
 * @category Samplers
 */
export type Moved<S extends State = State> = Partial<S> & Pick<S, "x">;

/**
 * A transition, from what it does to x: the new state is the old one with what the work gives, its time and its number. What
 * else the work makes is freed.
 *
 * @category Samplers
 * @param leg Where it leads.
 * @param work A generator that gives the new x, or that with other parts of the state, such as `x0`. It disposes of nothing.
 * @returns The transition.
 *
 * @example A sampler of your own: DDIM in two lines
 * ```ts
 * import { along, asked, gaussian, key, legs, linear, prior, run, step, times } from "@tweedie/tweedie";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import * as tf from "@tensorflow/tfjs-core";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const schedule = linear(), model = gaussian(schedule, { mean: 2, variance: 0 });
 * const own = along(legs(schedule, times(schedule, { steps: 5 })), (leg) => {
 *   const kept = leg.to.sigma / leg.from.sigma;
 *   return step(leg, function* ({ x }, env) {
 *     const x0 = yield* asked(env, "x0", x, leg.t);
 *     return tf.add(tf.mul(x0, leg.to.alpha - kept * leg.from.alpha), tf.mul(x, kept));
 *   });
 * });
 * let last = 0;
 * for await (const { x } of run(prior([1, 1]), { model, key: key(0) })(own)) last = x.dataSync()[0]!;
 * assert.ok(Math.abs(last - 2) < 1e-4);
 * ```
 */
export function step<S extends State = State>(
  leg: Pick<Leg, "s">,
  work: (state: S, env: Env) => Scoped<Tensor | Moved<S>>,
): Transition<S> {
  const moved = (state: S, made: Tensor | Moved<S>): S => {
    const parts = made instanceof tf.Tensor ? { x: made } : made;
    return { ...state, ...parts, t: leg.s, step: state.step + 1 };
  };
  return (env) => (state) => {
    const made = scope(() => work(state, env));
    return made instanceof Promise ? made.then((late) => moved(state, late)) : moved(state, made);
  };
}

/**
 * What the run's model says at a point, in the kind that is wanted; it waits if the model does.
 *
 * @category Samplers
 * @param env The environment.
 * @param wanted The kind.
 * @param x x_t, shape [N, ...sample].
 * @param t Time on the model's schedule.
 * @returns The prediction, shape of x, of the scope's; a part of work, called by `yield*`.
 * @throws {RangeError} If the level does not determine it: see {@link convert}.
 */
export function* asked(env: Env, wanted: Kind, x: Tensor, t: number): Scoped<Tensor> {
  const { model, signal } = env, prediction = yield* owned(model.predict(x, t, signal));
  return convert(prediction, wanted, x, model.schedule.at(t));
}

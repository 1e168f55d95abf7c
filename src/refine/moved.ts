/**
 * Moving x besides a sampler's own steps.
 *
 * A density that is carried along is that of the probability flow: its integral knows nothing of other moves, so nothing but
 * the flow may move x there. What does asks {@link checkUnweighed} first.
 *
 * @module
 */

import {
  type Check,
  type Env,
  refined,
  type Refinement,
  type Sampler,
  type State,
  type Transition,
} from "../sample/path.ts";
import { owned, scope, type Scoped } from "../tensor/scope.ts";
import type { Tensor } from "../tensor/tensor.ts";

/** A transition with more around it: a part of work, to which the transition itself is another. */
export type Around = <S extends State>(
  state: S,
  env: Env,
  step: (state: S, env: Env) => Scoped<S>,
) => Scoped<S>;

/**
 * The refinement that puts work around each transition of a sampler.
 *
 * @param work From the state, the environment and the transition to the state that follows.
 * @param check Something more that has to hold before the first step. Default: nothing.
 * @returns The refinement.
 */
export const around =
  (work: Around, check?: Check): Refinement => <S extends State>(sampler: Sampler<S>): Sampler<S> =>
    refined<S>(
      (transition): Transition<S> => (env) => (state) =>
        scope(() => work(state, env, (state, env) => owned(transition(env)(state), state))),
      check,
    )(sampler);

/**
 * The refinement that puts another x into each state that a sampler reaches.
 *
 * @param move From the state reached, the environment, and the state before to the new x, which may be the old one. Called
 *   within a scope.
 * @param check Something more that has to hold before the first step. Default: nothing.
 * @returns The refinement. It throws a TypeError while run, if a density is carried along, or was.
 */
export const moved = (
  move: (next: State, env: Env, before: State) => Tensor,
  check?: Check,
): Refinement =>
  around(function* (state, env, step) {
    const next = yield* step(state, env);
    checkUnweighed(env, next);
    return { ...next, x: move(next, env, state) };
  }, check);

/**
 * Refuses to move x where its density would be lost: whether that is carried along outside the move, or came out of the step
 * that is moved.
 *
 * @param env The environment.
 * @param state The state that is about to be moved.
 * @throws {TypeError} If there is a density.
 */
export function checkUnweighed(env: Env, state: State): void {
  if (env.density !== "flow" && !("logDensity" in state)) return;
  throw new TypeError(
    "Cannot move x: state must carry no density, got a run with likelihood(), whose density is the flow's alone; " +
      "leave out likelihood(), or what moves x besides the flow",
  );
}

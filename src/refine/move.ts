/**
 * Putting another x into a state, before or after a transition, without losing or freeing a tensor twice.
 *
 * A transition's states share tensors: `run` disposes of those of the state before that the next one does not hold.
 * What a refinement makes in between belongs to nobody else, so it is disposed of here, unless a state holds it.
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
import type { Env, State } from "../sample/chain.ts";
import { andThen } from "../tensor/engine.ts";
import { type Awaitable } from "../tensor/scope.ts";

/** A step that has been made. */
export interface Made<S extends State> {
  /** The state that the transition was given. */
  readonly state: State;
  /** The state that it gave. */
  readonly next: S;
}

/**
 * The state that a transition gave, with another x.
 *
 * @param env The environment.
 * @param made The step. The x of its next state is disposed of, unless it is there elsewhere.
 * @param move The new x, handed over; or that of `next`, to leave it.
 * @returns The state.
 * @throws {TypeError} If a density is carried along, or was: nothing but the flow may move x then.
 */
export function movedAfter<S extends State>(
  env: Env,
  { state: before, next }: Made<S>,
  move: (next: S) => Awaitable<tf.Tensor>,
): Awaitable<S> {
  const settled = (x: tf.Tensor): S => {
    if (x === next.x) return next;
    const moved = { ...next, x };
    if (!holds(before, next.x) && !holds(moved, next.x)) next.x.dispose();
    return moved;
  };
  const moving = (): Awaitable<tf.Tensor> => {
    checkUnweighed(env, next);
    return move(next);
  };
  return andThen(rescued(moving, () => dropUnheld(next, before)), settled);
}

/**
 * What a transition gives from a state with another x.
 *
 * @param env The environment.
 * @param state The state, whose x stays.
 * @param move The new x, handed over and disposed of unless the next state holds it; or that of the state.
 * @param transition The rest of the transition.
 * @returns The next state.
 * @throws {TypeError} If a density is carried along, or was.
 */
export function movedBefore<S extends State>(
  env: Env,
  state: S,
  move: (state: S) => Awaitable<tf.Tensor>,
  transition: (state: S) => Awaitable<S>,
): Awaitable<S> {
  checkUnweighed(env, state);
  return andThen(move(state), (x) => {
    if (x === state.x) return transition(state);
    const moved = rescued(() => transition({ ...state, x }), () => x.dispose());
    return andThen(moved, (next) => {
      if (!holds(next, x)) x.dispose();
      return next;
    });
  });
}

/**
 * Refuses to move x where its density would be lost: the flow's integral knows nothing of the move, whether the density is
 * carried along outside the move, or came out of the step that is moved.
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

/**
 * A value, at once or later; if that fails, at once or later, what there is to free is freed.
 *
 * @param make Makes the value.
 * @param free Called before the error goes on.
 * @returns The value.
 */
export function rescued<A>(make: () => Awaitable<A>, free: () => void): Awaitable<A> {
  const failed = (error: unknown): never => {
    free();
    throw error;
  };
  try {
    const value = make();
    return value instanceof Promise ? value.catch(failed) : value;
  } catch (error) {
    return failed(error);
  }
}

const tensorsOf = (state: State): tf.Tensor[] =>
  tf.tensor_util.getTensorsInContainer({ ...state } as unknown as tf.TensorContainer);

const holds = (state: State, tensor: tf.Tensor): boolean =>
  tensorsOf(state).some(({ id }) => id === tensor.id);

/** Disposes of what a state holds and the one before does not. */
function dropUnheld(next: State, before: State): void {
  tensorsOf(next).filter((tensor) => !holds(before, tensor)).forEach((tensor) => tensor.dispose());
}

/**
 * Putting another x into a state, before or after a transition, without losing or freeing a tensor twice.
 *
 * A transition's states share tensors: `run` disposes of those of the state before that the next one does not hold.
 * What a refinement makes in between belongs to nobody else, so it is disposed of here, unless a state holds it.
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
import type { State } from "../sample/chain.ts";
import { andThen, type Awaitable } from "../tensor/engine.ts";

/**
 * The state that a transition gave, with another x.
 *
 * @param before The state that the transition was given.
 * @param next The state that it gave. Its x is disposed of, unless it is there elsewhere.
 * @param move The new x, handed over; or that of `next`, to leave it.
 * @returns The state.
 */
export function movedAfter<S extends State>(
  before: State,
  next: S,
  move: (next: S) => Awaitable<tf.Tensor>,
): Awaitable<S> {
  const settled = (x: tf.Tensor): S => {
    if (x === next.x) return next;
    const moved = { ...next, x };
    if (!holds(before, next.x) && !holds(moved, next.x)) next.x.dispose();
    return moved;
  };
  return andThen(rescued(() => move(next), () => dropUnheld(next, before)), settled);
}

/**
 * What a transition gives from a state with another x.
 *
 * @param state The state, whose x stays.
 * @param move The new x, handed over and disposed of unless the next state holds it; or that of the state.
 * @param transition The rest of the transition.
 * @returns The next state.
 */
export function movedBefore<S extends State>(
  state: S,
  move: (state: S) => Awaitable<tf.Tensor>,
  transition: (state: S) => Awaitable<S>,
): Awaitable<S> {
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

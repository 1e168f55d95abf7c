/**
 * A step of a chain on an engine.
 *
 * A transition is a function of a state that holds tensors among plain data. Here it is seen as a function of the
 * tensors alone: the engine looks at what it does with them and runs that as one graph; times, counters and random draws
 * are made as ever, and reach the graph as numbers.
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
import type { Engine } from "../tensor/engine.ts";
import { atOnce, tensorsIn } from "../tensor/scope.ts";
import type { Tensor } from "../tensor/tensor.ts";

/**
 * The state that follows, computed by an engine.
 *
 * @param engine What runs the step.
 * @param step The step.
 * @param state The state before. Its tensors stay the caller's.
 * @returns The state after: tensors that the step only passed on are those of the state before, others are new.
 * @throws {TypeError} If the step answers later, or does what cannot be compiled.
 */
export async function stepOn<S>(
  engine: Engine,
  step: (state: S) => S | Promise<S>,
  state: S,
): Promise<S> {
  const before = new Map<number, Tensor>(), after = new Map<number, string>();
  let shape: S | undefined;
  const given = numbered(tensorsIn(state));
  const made = await engine.run((inputs) => {
    const ofInput = new Map(Object.keys(given).map((name) => [given[name]!.id, inputs[name]!]));
    const next = atOnce(step(replaced(state, ({ id }) => ofInput.get(id)!)), onEngine);
    for (const name of Object.keys(given)) before.set(inputs[name]!.id, given[name]!);
    const outputs = numbered(tensorsIn(next).filter(({ id }) => !before.has(id)));
    for (const name of Object.keys(outputs)) after.set(outputs[name]!.id, name);
    shape = next;
    return outputs;
  }, given);
  return replaced(shape!, ({ id }) => before.get(id) ?? made[after.get(id)!]!);
}

const onEngine = {
  action: "run a step on an engine",
  who: "model and transition",
  advice: "leave it out: a model that has an engine runs on that by itself",
};

/** Distinct tensors by number. */
const numbered = (tensors: readonly Tensor[]): Record<string, Tensor> =>
  Object.fromEntries([...new Map(tensors.map((each) => [each.id, each])).values()].map(
    (tensor, i) => [`${i}`, tensor],
  ));

/**
 * The same tree of plain data with other tensors. What is neither a tensor nor plain data is shared as it is.
 *
 * @param value A state, or any such tree.
 * @param replace From a tensor to the one that takes its place.
 * @returns The new tree.
 */
export function replaced<S>(value: S, replace: (tensor: Tensor) => Tensor): S {
  const copy = (part: unknown): unknown => {
    if (part instanceof tf.Tensor) return replace(part);
    if (Array.isArray(part)) return part.map(copy);
    if (!isPlain(part)) return part;
    return Object.fromEntries(Object.entries(part).map(([name, inner]) => [name, copy(inner)]));
  };
  return copy(value) as S;
}

/** Whether a value is an object literal; a typed array, a date or a map passes as it is. */
const isPlain = (value: unknown): value is Record<string, unknown> =>
  value !== null && typeof value === "object" &&
  [Object.prototype, null].includes(Object.getPrototypeOf(value));

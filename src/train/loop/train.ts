/**
 * Training as a lazy stream of states.
 *
 * `train` folds batches into states: weights, their moving average, the optimizer's moments, the loss. Whatever is
 * done with them (logging, checkpoints, evaluation, early stopping) is the consumer's, by watching or by breaking
 * off. A state is plain data: from one of them, the stream goes on bit for bit as if it had never stopped, because
 * each step's randomness is a function of the key and the step, and each batch one of its position.
 *
 * On an engine the steps are compiled, and the state stays with the engine from one yielded state to the next: with
 * `every`, that is every so many steps.
 *
 * Batch, loss, gradient and weights are asked whether they are finite at every step, before a state is yielded. Where numbers
 * are far, on a GPU or an engine, one sum of weights and squared gradients is looked at, which NaN and infinity survive on
 * every backend, and the numbers themselves only where it is not finite.
 *
 * Ownership: a yielded state lives until the next pull; the start belongs to the caller. Breaking off, an error and an
 * abort free everything else, and close the batches. The event loop turns between steps.
 *
 * @module
 */

import { checkKey, checkOptions, shown } from "../../tensor/check/check.ts";
import { decoded } from "../../tensor/check/decode.ts";
import { heeding, pacer } from "../../tensor/engine.ts";
import { adamOptions } from "../optimizer/adam.ts";
import type { TrainState } from "./state.ts";
import { type TrainOptions, trainOptions } from "./options.ts";
import { checkBatch, checkMade, checkOptimizer, checkStart } from "./check.ts";
import { engineSteps, plainSteps, type Steps } from "./step.ts";

/**
 * Trains: yields the state after each batch, or after every so many, for as long as there are batches.
 *
 * @category Training
 * @param start The state to go on from; it stays the caller's, and must outlive the iteration.
 * @param options Loss, key and constants; engine.
 * @returns A function of the batches that follow the start's, whose result computes nothing until it is iterated.
 * @throws {TypeError} If there is an option that is not known, no loss or no key; if there is an engine and the loss is in one
 *   part.
 * @throws {RangeError} If `every` is not a whole number of at least 1.
 * @throws {RangeError} While iterated, before the first batch is taken: when the start is disposed of, not finite, or of parts
 *   that do not fit, and when a constant is out of range. Then: when a batch, a loss, a gradient or the weights are not finite,
 *   with the step; when the loss is not one number or does not depend on one of the weights, with its name.
 * @throws The signal's reason, when aborted.
 *
 * @example Fit one number to the mean of its data
 * ```ts
 * import { key, newTraining, train } from "@tweedie/tweedie";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import * as tf from "@tensorflow/tfjs-core";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const loss = (p: Readonly<Record<string, tf.Tensor>>, target: number) => tf.sum(tf.square(tf.sub(p["w"]!, target))) as tf.Scalar;
 * const start = newTraining({ w: tf.scalar(0) });
 * let last = NaN;
 * for await (const state of train(start, { loss, key: key(0), adam: { rate: 0.1 } })(Array(200).fill(3))) last = state.loss;
 * assert.ok(last < 1e-3);
 * ```
 */
export function train<Batch>(
  start: TrainState,
  options: TrainOptions<Batch>,
): (batches: Iterable<Batch> | AsyncIterable<Batch>) => AsyncIterable<TrainState> {
  const { every = 1, adam = {}, optimizer } = decoded("train", options, trainOptions);
  checkOptions("train", adam, adamOptions);
  if (optimizer !== undefined) checkOptimizer(optimizer, options.adam);
  checkKey("train", options.key);
  const begin = beginning(start, options);
  return (batches) => ({
    [Symbol.asyncIterator]: () => training(start, { ...options, every, begin }, batches),
  });
}

async function* training<Batch>(
  start: TrainState,
  { every, begin, ...options }: TrainOptions<Batch> & {
    readonly every: number;
    readonly begin: () => Promise<Steps<Batch>>;
  },
  batches: Iterable<Batch> | AsyncIterable<Batch>,
): AsyncGenerator<TrainState, void, undefined> {
  const { signal, finite = true } = options, pace = pacer();
  signal?.throwIfAborted();
  await checkStart(start, options);
  const steps = await begin();
  let { step } = start, losses: number[] = [];
  const reached = async (): Promise<TrainState> => {
    const since = losses;
    losses = [];
    return { step, ...await steps.state(), loss: since.at(-1)!, losses: since };
  };
  try {
    for await (const batch of heeding(batches, signal)) {
      signal?.throwIfAborted();
      step++;
      if (finite) await checkBatch(batch, step);
      const made = await steps.step(batch, step);
      if (finite) await checkMade(made, step, steps.state);
      losses.push(made.loss);
      if (step % every === 0) yield await reached();
      await pace();
      signal?.throwIfAborted();
    }
    if (losses.length > 0) yield await reached();
  } finally {
    await steps.close();
  }
}

/** How a run begins: on its engine or without one. */
function beginning<Batch>(
  start: TrainState,
  options: TrainOptions<Batch>,
): () => Promise<Steps<Batch>> {
  const { engine, loss } = options;
  const parts = typeof loss === "object" && loss !== null ? [loss.inputs, loss.loss] : [loss];
  if (!parts.every((part) => typeof part === "function")) {
    throw new TypeError(
      `Cannot train: loss must be a function or an objective, got ${shown(loss)}`,
    );
  }
  if (engine === undefined) return () => Promise.resolve(plainSteps(start, options));
  if (typeof loss !== "function") return () => engineSteps(start, loss, { ...options, engine });
  throw new TypeError(
    `Cannot train on ${engine.name}: loss must be an objective, in two parts, got a function`,
  );
}

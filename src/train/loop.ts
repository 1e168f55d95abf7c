/**
 * Training as a lazy stream of states.
 *
 * `train` folds batches into states: weights, their moving average, the optimizer's moments, the loss. Whatever is
 * done with them (logging, checkpoints, evaluation, early stopping) is the consumer's, by watching or by breaking
 * off. A state is plain data: from one of them, the stream goes on bit for bit as if it had never stopped, because
 * each step's randomness is a function of the key and the step, and each batch one of its position.
 *
 * Ownership: a yielded state lives until the next pull; the start belongs to the caller. Breaking off, an error and an
 * abort free everything else, and close the batches.
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
import type { Params } from "../network/layer.ts";
import { fold, type Key } from "../tensor/key.ts";
import { ema } from "./ema.ts";
import { adam, type AdamOptions, type Moments, noMoments } from "./optimizer.ts";

/** Where a training run stands. */
export interface TrainState {
  /** Number of steps made. */
  readonly step: number;
  /** Weights. */
  readonly params: Params;
  /** Moving average of the weights: use it to sample. */
  readonly ema: Params;
  /** The optimizer's moments. */
  readonly moments: Moments;
  /** Loss of the batch that led here; NaN at the start. */
  readonly loss: number;
}

/** A differentiable loss: weights, batch and key to a scalar. */
export type Loss<Batch> = (params: Params, batch: Batch, key: Key) => tf.Scalar;

/** What a training run is made of. */
export interface TrainOptions<Batch> {
  /** The loss. Pure: its only randomness is the key, another one each step. */
  readonly loss: Loss<Batch>;
  /** Root of all randomness of the run. */
  readonly key: Key;
  /** The optimizer's constants. */
  readonly adam?: AdamOptions;
  /** Decay of the moving average of the weights. Default: 0.999. */
  readonly decay?: number;
  /** Aborts the run. */
  readonly signal?: AbortSignal;
  /** Stop with an error when the loss is NaN or infinite. Default: true. */
  readonly finite?: boolean;
}

/**
 * The state before the first step.
 *
 * @param params First weights. They stay the caller's.
 * @returns A state with tensors of its own, which the caller disposes of.
 */
export function newTraining(params: Params): TrainState {
  const copy = () =>
    Object.fromEntries(Object.entries(params).map(([name, weight]) => [name, tf.clone(weight)]));
  return { step: 0, params: copy(), ema: copy(), moments: noMoments(params), loss: NaN };
}

/**
 * Trains: yields the state after each batch, for as long as there are batches.
 *
 * @param start The state to go on from; it stays the caller's, and must outlive the iteration.
 * @param options Loss, key and constants.
 * @returns A function of the batches that follow the start's, whose result computes nothing until it is iterated.
 * @throws {RangeError} While iterated: when the loss is not finite, with the step; when it is not one number or does
 *   not depend on one of the weights, with its name; when a constant is out of range.
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
  return (batches) => ({ [Symbol.asyncIterator]: () => training(start, options, batches) });
}

async function* training<Batch>(
  start: TrainState,
  options: TrainOptions<Batch>,
  batches: Iterable<Batch> | AsyncIterable<Batch>,
): AsyncGenerator<TrainState, void, undefined> {
  options.signal?.throwIfAborted();
  let state = start;
  try {
    for await (const batch of batches) {
      options.signal?.throwIfAborted();
      const next = await stepped(state, batch, options);
      if (state !== start) disposeTraining(state);
      state = next;
      yield state;
      options.signal?.throwIfAborted();
    }
  } finally {
    if (state !== start) disposeTraining(state);
  }
}

/** Disposes of the tensors of a state. */
export function disposeTraining({ params, ema, moments }: TrainState): void {
  tf.dispose([params, ema, moments.mean, moments.square].map((record) => Object.values(record)));
}

async function stepped<Batch>(
  state: TrainState,
  batch: Batch,
  options: TrainOptions<Batch>,
): Promise<TrainState> {
  const step = state.step + 1, { decay = 0.999 } = options;
  const { value, gradients } = differentiated(
    (params) => options.loss(params, batch, fold(options.key, step)),
    state.params,
  );
  try {
    const loss = (await value.data())[0]!;
    checkLoss(loss, step, options);
    return tf.tidy(() => {
      const { params, moments } = adam({ ...state, gradients, step }, options.adam);
      return {
        step,
        params,
        moments: { ...moments },
        ema: ema(state.ema, params, { step, decay }),
        loss,
      };
    });
  } finally {
    tf.dispose([value, ...Object.values(gradients)]);
  }
}

/** The loss and its gradient by each weight; an error on the way leaves no tensors behind. */
function differentiated(
  loss: (params: Params) => tf.Scalar,
  params: Params,
): { value: tf.Scalar; gradients: Record<string, tf.Tensor> } {
  const names = Object.keys(params), weights = Object.values(params);
  try {
    return tf.tidy(() => {
      const { value, grads } = tf.engine().gradients(
        () => one(loss(params)),
        weights,
        undefined,
        true,
      );
      const unused = names.find((_, i) => grads[i] == null);
      if (unused !== undefined) {
        throw new RangeError(
          `Cannot train: the loss must depend on every weight, got none of ${unused}`,
        );
      }
      return { value, gradients: Object.fromEntries(names.map((name, i) => [name, grads[i]!])) };
    });
  } catch (error) {
    releaseTape();
    throw error;
  }
}

function one(loss: tf.Scalar): tf.Scalar {
  if (loss.size === 1) return loss;
  throw new RangeError(`Cannot train: the loss must be one number, got shape [${loss.shape}]`);
}

/** Disposes of what tfjs saved for a backward pass that an error has called off, and that it would keep for ever. */
function releaseTape(): void {
  const { state } = tf.engine();
  if (state.gradientDepth > 0 || state.activeTape == null) return;
  tf.dispose(state.activeTape.map(({ saved }) => saved ?? []));
  state.activeTape = [];
}

function checkLoss<Batch>(
  loss: number,
  step: number,
  { finite = true }: TrainOptions<Batch>,
): void {
  if (finite && !Number.isFinite(loss)) {
    throw new RangeError(
      `Cannot go on with training: loss must be finite, got ${loss} at step ${step}`,
    );
  }
}

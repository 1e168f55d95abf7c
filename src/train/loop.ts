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
 * Ownership: a yielded state lives until the next pull; the start belongs to the caller. Breaking off, an error and an
 * abort free everything else, and close the batches.
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
import type { Params } from "../network/layer.ts";
import { type Engine, mapTensors, type Tensors } from "../tensor/engine.ts";
import { fold, type Key } from "../tensor/key.ts";
import { ema } from "./ema.ts";
import {
  differentiated,
  flatInputs,
  flatState,
  flatStep,
  layoutOf,
  namedState,
  unflattened,
  type Weights,
} from "./flat.ts";
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
  /** Loss of each step since the state before, of which `loss` is the last; none at the start. */
  readonly losses: readonly number[];
}

/** A differentiable loss: weights, batch and key to a scalar. */
export type Loss<Batch> = (params: Params, batch: Batch, key: Key) => tf.Scalar;

/** A loss in two parts, the second of which an engine can compile. */
export interface Objective<Batch> {
  /**
   * Makes the loss's inputs on the host: draws under the key, gathers, computes whatever does not depend on the weights.
   * What it makes is disposed of after the step.
   */
  readonly inputs: (batch: Batch, key: Key) => Record<string, tf.Tensor>;
  /** The loss: a pure function of tensors, differentiable in the weights, which reads no values. */
  readonly loss: (params: Params, inputs: Tensors) => tf.Scalar;
}

/**
 * An objective as one function, to evaluate it.
 *
 * @param objective The objective.
 * @returns The loss.
 *
 * @example A square
 * ```ts
 * import { key, lossOf } from "@tweedie/tweedie";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import * as tf from "@tensorflow/tfjs-core";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const loss = lossOf<number>({
 *   inputs: (target) => ({ target: tf.scalar(target) }),
 *   loss: ({ w }, { target }) => tf.squaredDifference(w!, target!) as tf.Scalar,
 * });
 * assert.equal(loss({ w: tf.scalar(1) }, 3, key(0)).dataSync()[0], 4);
 * ```
 */
export function lossOf<Batch>({ inputs, loss }: Objective<Batch>): Loss<Batch> {
  return (params, batch, key) => tf.tidy(() => loss(params, inputs(batch, key)));
}

/** What a training run is made of. */
export interface TrainOptions<Batch> {
  /** The loss, in one part or two. Pure: its only randomness is the key, another one each step. */
  readonly loss: Loss<Batch> | Objective<Batch>;
  /** Root of all randomness of the run. */
  readonly key: Key;
  /** The optimizer's constants. */
  readonly adam?: AdamOptions;
  /** Decay of the moving average of the weights. Default: 0.999. */
  readonly decay?: number;
  /** What compiles and runs the steps; the loss must then be an {@link Objective}. Default: none, tfjs as it is. */
  readonly engine?: Engine;
  /** Yields the states whose step is a multiple of it, and that after the last batch. Default: 1. */
  readonly every?: number;
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
  const copy = () => mapTensors(params, (weight) => tf.clone(weight)), moments = noMoments(params);
  return { step: 0, params: copy(), ema: copy(), moments, loss: NaN, losses: [] };
}

/**
 * Trains: yields the state after each batch, or after every so many, for as long as there are batches.
 *
 * @param start The state to go on from; it stays the caller's, and must outlive the iteration.
 * @param options Loss, key and constants; engine.
 * @returns A function of the batches that follow the start's, whose result computes nothing until it is iterated.
 * @throws {TypeError} If there is an engine and the loss is in one part.
 * @throws {RangeError} If `every` is not a whole number of at least 1.
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
  const { every = 1 } = options, begin = beginning(start, options);
  if (!Number.isSafeInteger(every) || every < 1) {
    throw new RangeError(`Cannot train: every must be a whole number of at least 1, got ${every}`);
  }
  return (batches) => ({
    [Symbol.asyncIterator]: () => training(start, { ...options, every, begin }, batches),
  });
}

/** What makes steps, and keeps the state from one to the next. */
interface Steps<Batch> {
  /** Makes a step, of this number; its loss. Frees the state that was asked for before. */
  readonly step: (batch: Batch, step: number) => Promise<number>;
  /** The state. */
  readonly state: () => Promise<Weights>;
  /** Frees everything. */
  readonly close: () => Promise<void>;
}

async function* training<Batch>(
  start: TrainState,
  { every, begin, ...options }: TrainOptions<Batch> & {
    readonly every: number;
    readonly begin: () => Promise<Steps<Batch>>;
  },
  batches: Iterable<Batch> | AsyncIterable<Batch>,
): AsyncGenerator<TrainState, void, undefined> {
  options.signal?.throwIfAborted();
  const steps = await begin();
  let { step } = start, losses: number[] = [];
  const reached = async (): Promise<TrainState> => {
    const since = losses;
    losses = [];
    return { step, ...await steps.state(), loss: since.at(-1)!, losses: since };
  };
  try {
    for await (const batch of batches) {
      options.signal?.throwIfAborted();
      const loss = await steps.step(batch, ++step);
      checkLoss(loss, step, options);
      losses.push(loss);
      if (step % every === 0) yield await reached();
      options.signal?.throwIfAborted();
    }
    if (losses.length > 0) yield await reached();
  } finally {
    await steps.close();
  }
}

/** Disposes of the tensors of a state. */
export function disposeTraining(
  { params, ema, moments }: Pick<TrainState, "params" | "ema" | "moments">,
): void {
  tf.dispose([params, ema, moments.mean, moments.square].map((record) => Object.values(record)));
}

/** How a run begins: on its engine or without one. */
function beginning<Batch>(
  start: TrainState,
  options: TrainOptions<Batch>,
): () => Promise<Steps<Batch>> {
  const { loss, engine } = options;
  if (engine === undefined) {
    const whole = typeof loss === "function" ? loss : lossOf(loss);
    return () => Promise.resolve(plainSteps(start, whole, options));
  }
  if (typeof loss !== "function") return () => engineSteps(start, { ...options, loss, engine });
  throw new TypeError(
    `Cannot train on ${engine.name}: loss must be an objective, in two parts, got a function`,
  );
}

function plainSteps<Batch>(
  start: Weights,
  loss: Loss<Batch>,
  { key, adam: constants, decay = 0.999 }: TrainOptions<Batch>,
): Steps<Batch> {
  let held = start;
  const free = (): void => {
    if (held !== start) disposeTraining(held);
  };
  const updated = (gradients: Params, step: number): Weights => {
    const { params, moments } = adam({ ...held, gradients, step }, constants);
    return { params, moments: { ...moments }, ema: ema(held.ema, params, { step, decay }) };
  };
  return {
    step: async (batch, step) => {
      const { value, gradients } = differentiated(
        (params) => loss(params, batch, fold(key, step)),
        held.params,
      );
      try {
        const next = tf.tidy(() => updated(gradients, step) as never) as Weights;
        free();
        held = next;
        return (await value.data())[0]!;
      } finally {
        tf.dispose([value, ...Object.values(gradients)]);
      }
    },
    state: () => Promise.resolve(held),
    close: () => Promise.resolve(free()),
  };
}

async function engineSteps<Batch>(
  start: Weights,
  { loss: { inputs, loss }, engine, key, ...options }: TrainOptions<Batch> & {
    readonly loss: Objective<Batch>;
    readonly engine: Engine;
  },
): Promise<Steps<Batch>> {
  const layout = layoutOf(start.params), step = flatStep(loss, { ...options, layout });
  const first = tf.tidy(() => flatState(start, layout));
  const running = await engine.fold(step, first).finally(() => tf.dispose(first));
  // On the engine too: tfjs's backends take ten times as long to turn the filters round.
  const reading = engine.compile(({ vector }) => unflattened(vector!, layout));
  let held: Weights | undefined;
  const free = (): void => {
    if (held !== undefined) disposeTraining(held);
    held = undefined;
  };
  return {
    step: async (batch, step) => {
      free();
      const given = tf.tidy(() => flatInputs(inputs(batch, fold(key, step)), { ...options, step }));
      const outputs = await running.step(given).finally(() => tf.dispose(given));
      try {
        return (await outputs["loss"]!.data())[0]!;
      } finally {
        tf.dispose(outputs);
      }
    },
    state: async () => {
      const flat = await running.state();
      try {
        return held = await namedState(flat, (vector) => reading.run({ vector }));
      } finally {
        tf.dispose(flat);
      }
    },
    close: async () => {
      free();
      await Promise.all([running.dispose(), reading.dispose()]);
    },
  };
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

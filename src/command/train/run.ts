/**
 * `tweedie train`: a run that can be killed at any moment and started again.
 *
 * Everything that decides the run is in the checkpoint: weights, moving average, moments, step, key and plan. A run
 * that finds its checkpoint goes on from it, bit for bit; one that finds a checkpoint of another plan, or of other data,
 * stops, and so does one that finds another at work.
 *
 * @module
 */

import { checkGpu } from "../../tensor/backend/backend.ts";
import type { Engine } from "../../tensor/engine.ts";
import { fold, key as newKey } from "../../tensor/key.ts";
import { batches, type ImageBatch } from "../../data/batches.ts";
import { disposeTraining, type TrainState } from "../../train/loop/state.ts";
import { train } from "../../train/loop/train.ts";
import { checkWritable } from "../../io/file.ts";
import { turn } from "../stop.ts";
import { digestOf, type TrainImages } from "./images.ts";
import { locked } from "./lock.ts";
import { objective, type Trained, type TrainPlan } from "./plan.ts";
import {
  clear,
  firstState,
  firstWeights,
  type Journal,
  opened,
  saveState,
  saveWeights,
} from "./state.ts";

/** Where a run keeps what it makes. */
export interface TrainFiles {
  /** The checkpoint, written at the end and every so many steps. */
  readonly checkpoint: string;
  /** The moving average as float16 safetensors, written at the end; none when absent. */
  readonly weights?: string;
  /** A file of weights to start from, or a checkpoint, of which it is the moving average; random ones when absent. */
  readonly start?: string;
  /** Steps between checkpoints, which are also those between the points of the loss curve. Default: 200. */
  readonly every?: number;
}

/** What a watcher of a run is told before the first step, once all has been found in order, and after every step. */
export interface TrainReport {
  /** Number of steps made. */
  readonly step: number;
  /** Loss of the step; NaN before the first. */
  readonly loss: number;
  /** Whether a checkpoint was just written. */
  readonly saved: boolean;
}

/**
 * Trains by a plan, from its checkpoint if there is one.
 *
 * @param planned What to train, on what terms.
 * @param options The images; the files; what runs the steps; a signal, at which the run writes a checkpoint and stops.
 * @returns A report before the first step and for each. On an engine, whose state is only fetched every few steps, those
 *   of a few steps come together. Nothing happens until it is iterated.
 * @throws {RangeError} If the checkpoint is of another plan, or the weights to start from are of another network.
 * @throws {SyntaxError} If the checkpoint or the file of weights is damaged.
 * @throws {Error} If another process works on the checkpoint or the weights, if the checkpoint cannot be read, or its
 *   folder not be written to; all this before any work.
 * @throws {RangeError} If weights are not finite any more: the checkpoint stays what it was.
 * @throws The signal's reason, once the checkpoint is written. A run that has made its last step is done, not stopped.
 */
export async function* trainRun(
  planned: TrainPlan,
  options: TrainRunOptions,
): AsyncGenerator<TrainReport, void, undefined> {
  const { checkpoint, weights } = options.files;
  const paths = [checkpoint, ...(weights === undefined ? [] : [weights])];
  const unlock = await locked(...paths);
  try {
    yield* runOn(await begun(planned, options, paths), options);
  } finally {
    await unlock();
  }
}

/** What {@link trainRun} needs besides its plan. */
export interface TrainRunOptions {
  /** The images. */
  readonly set: TrainImages;
  /** The files. */
  readonly files: TrainFiles;
  /** What runs the steps. Default: tfjs as it is. */
  readonly engine?: Engine;
  /** Stops the run, which writes a checkpoint first. Default: none. */
  readonly signal?: AbortSignal;
}

/** A run, found in order, before its next step. */
interface PreparedRun {
  readonly plan: TrainPlan;
  readonly loss: Trained["loss"];
  readonly start: TrainState;
  readonly journal: Journal;
  /** The batches from the one that follows a step. */
  readonly source: (start: number) => AsyncIterable<ImageBatch>;
}

/** Looks at all that a run needs, and takes up what it has left. */
async function begun(
  planned: TrainPlan,
  { set, files }: TrainRunOptions,
  paths: readonly string[],
): Promise<PreparedRun> {
  for (const path of paths) await checkWritable(path);
  const { network, loss } = objective(planned.target);
  const first = await firstWeights(files.start, planned, network.parameters);
  const plan = { ...planned, ...first.digest, data: await digestOf(set) };
  const source = batchesOf(set, plan);
  const found = await opened(files.checkpoint, plan, network.parameters);
  for (const path of paths) await clear(path);
  const start = found?.state ?? firstState(first.params);
  const journal = { curve: [...found?.curve ?? []], losses: [...found?.losses ?? []] };
  return { plan, loss, start, journal, source };
}

async function* runOn(
  { plan, loss, start, journal, source }: PreparedRun,
  { files, engine, signal }: TrainRunOptions,
): AsyncGenerator<TrainReport, void, undefined> {
  try {
    yield { step: start.step, loss: NaN, saved: false };
    signal?.throwIfAborted();
    const constants = { loss, key: fold(newKey(plan.seed), "train"), adam: plan.adam };
    const paced = engine && { engine, every: pace(files.every ?? every) };
    if (start.step < plan.steps) {
      const states = train(start, { ...constants, decay: plan.decay, ...paced });
      for await (const state of states(source(start.step))) {
        if (signal) await turn();
        const stop = signal?.aborted === true;
        const saved = await kept(state, journal, { plan, files, stop });
        yield* reports(state, saved);
        if (stop && state.step < plan.steps) signal.throwIfAborted();
      }
    } else if (files.weights !== undefined) {
      await saveWeights(files.weights, start, plan, journal.curve);
    }
  } finally {
    disposeTraining(start);
  }
}

/** Steps between checkpoints, where nothing else is said. */
const every = 200;

/**
 * Steps between the states of an engine: as many as divide those between checkpoints, and at most ten, so that a signal
 * is soon heeded.
 */
const pace = (between: number): number =>
  [10, 9, 8, 7, 6, 5, 4, 3, 2].find((few) => between % few === 0) ?? 1;

/** A report of each step since the state before. */
function* reports({ step, losses }: TrainState, saved: boolean): Generator<TrainReport> {
  for (const [i, loss] of losses.entries()) {
    const behind = losses.length - 1 - i;
    yield { step: step - behind, loss, saved: saved && behind === 0 };
  }
}

/** Notes the losses of steps; writes what is due: the checkpoint, and the weights at the end. */
async function kept(
  state: TrainState,
  { curve, losses }: Journal,
  { plan, files, stop }: {
    readonly plan: TrainPlan;
    readonly files: TrainFiles;
    readonly stop: boolean;
  },
): Promise<boolean> {
  const last = state.step >= plan.steps, due = last || state.step % (files.every ?? every) === 0;
  losses.push(...state.losses);
  if (!due && !stop) return false;
  // Not where the run is stopped: its curve is to be that of a run that was not.
  if (due) {
    curve.push([state.step, losses.reduce((a, b) => a + b, 0) / losses.length]);
    losses.length = 0;
  }
  await checkGpu();
  await saveState(files.checkpoint, state, plan, { curve, losses });
  if (last && files.weights !== undefined) await saveWeights(files.weights, state, plan, curve);
  return true;
}

/** The batches of a plan, from the one that follows a step. */
function batchesOf(
  set: TrainImages,
  plan: TrainPlan,
): (start: number) => AsyncIterable<ImageBatch> {
  const { batch: size, flip, dequantize, seed } = plan;
  const options = { size, flip, dequantize, key: fold(newKey(seed), "data") };
  batches(set, options);
  return async function* (start) {
    for await (const batch of batches(set, { ...options, start })) {
      yield batch;
      if (batch.position + 1 === plan.steps) return;
    }
  };
}

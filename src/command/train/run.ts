/**
 * `tweedie train`: a run that can be killed at any moment and started again.
 *
 * Everything that decides the run is in the checkpoint: weights, moving average, moments, step, key and plan. A run
 * that finds its checkpoint goes on from it, bit for bit; one that finds a checkpoint of another plan stops.
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
import { checkGpu } from "../../tensor/backend.ts";
import type { Schedule } from "../../noise/schedule.ts";
import type { Engine } from "../../tensor/engine.ts";
import { fold, key as newKey } from "../../tensor/key.ts";
import {
  initialize,
  oneHot,
  parameterCount,
  type Parameters,
  type Params,
} from "../../network/layer.ts";
import { classifier, crossEntropy, timedClassifier } from "../../network/classifier.ts";
import { type ImageModelConfig, type ScheduleConfig, scheduleOf } from "../../network/model.ts";
import { unet } from "../../network/unet.ts";
import { batches, type ImageBatch, type ImageSet } from "../../train/data.ts";
import {
  diffusionLoss,
  type DiffusionLossOptions,
  noisyClassifierLoss,
} from "../../train/diffusion.ts";
import {
  disposeTraining,
  newTraining,
  type Objective,
  train,
  type TrainState,
} from "../../train/loop.ts";
import type { AdamOptions } from "../../train/optimizer.ts";
import { timeLaws, timeSampler } from "../../train/timestep.ts";
import {
  type Checkpoint,
  fromTensors,
  loadCheckpoint,
  saveCheckpoint,
  toTensors,
} from "../../io/checkpoint.ts";
import { checkWritable } from "../../io/file.ts";
import { writeSafetensors } from "../../io/safetensors.ts";
import { checkWeights, type NamedClassifierConfig, readWeights } from "../../io/weights.ts";
import { turn } from "../stop.ts";

/** What is trained. */
export type TrainTarget =
  | {
    readonly task: "denoise";
    readonly model: ImageModelConfig;
    readonly nullShare: number;
    /** Law of the times, which is part of the objective; uniform in t where absent. */
    readonly times?: TimesPlan;
  }
  | {
    readonly task: "classify";
    /** With a schedule, of images noised under it; without, of clean ones. */
    readonly model: NamedClassifierConfig & { readonly schedule?: ScheduleConfig };
  };

/** A law of the times at which a denoiser is trained, as plain data. */
export interface TimesPlan {
  /** Its name. */
  readonly law: TimesName;
  /** The least time of a continuous schedule. Default: a thousandth of the span above its start. */
  readonly least?: number;
}

/** The laws of times by name. */
export const timesNames = ["uniform", "likelihood", "logNormal", "logitNormal"] as const;

/** A law that a run can be trained by. */
export type TimesName = typeof timesNames[number];

/** Everything that decides the outcome of a run, as plain data. Stored in the checkpoint. */
export interface TrainPlan {
  /** Network and task. */
  readonly target: TrainTarget;
  /** Number of steps. */
  readonly steps: number;
  /** Images a batch. */
  readonly batch: number;
  /** Seed of the key. */
  readonly seed: number;
  /** The optimizer's constants. */
  readonly adam: AdamOptions;
  /** Decay of the moving average. */
  readonly decay: number;
  /** Whether images are mirrored at random. */
  readonly flip: boolean;
  /** Whether images are dequantized. */
  readonly dequantize: boolean;
  /** SHA-256 of the file of weights that it starts from, in hexadecimal, which the run fills in; none when random. */
  readonly start?: string;
}

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

/** A point of the loss curve: a step, and the mean loss of the steps since the last point. */
export type CurvePoint = readonly [step: number, loss: number];

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
 * @throws {Error} If the checkpoint cannot be read or its folder not be written to; all this before any work.
 * @throws The signal's reason, once the checkpoint is written. A run that has made its last step is done, not stopped.
 */
export async function* trainRun(
  planned: TrainPlan,
  options: {
    readonly set: ImageSet;
    readonly files: TrainFiles;
    readonly engine?: Engine;
    readonly signal?: AbortSignal;
  },
): AsyncGenerator<TrainReport, void, undefined> {
  const { set, files, engine, signal } = options, { checkpoint, weights } = files;
  for (const path of [checkpoint, weights]) if (path !== undefined) await checkWritable(path);
  const { network, loss } = objective(planned.target);
  const first = await firstWeights(files.start, planned, network.parameters);
  const plan = { ...planned, ...first.digest }, source = batchesOf(set, plan);
  const found = await opened(checkpoint, plan, network.parameters);
  for (const path of [checkpoint, weights]) if (path !== undefined) await clear(path);
  const start = found?.state ?? firstState(first.params);
  const journal: Journal = { curve: [...found?.curve ?? []], losses: [...found?.losses ?? []] };
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
    } else if (weights !== undefined) await saveWeights(weights, start, plan, journal.curve);
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

/** The loss curve, and the losses since its last point. */
interface Journal {
  readonly curve: CurvePoint[];
  readonly losses: number[];
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
  await saveCheckpoint(files.checkpoint, await toCheckpoint(state, plan, { curve, losses }));
  if (last && files.weights !== undefined) await saveWeights(files.weights, state, plan, curve);
  return true;
}

/** The batches of a plan, from the one that follows a step. */
function batchesOf(set: ImageSet, plan: TrainPlan): (start: number) => Iterable<ImageBatch> {
  const { batch: size, flip, dequantize, seed } = plan;
  const options = { size, flip, dequantize, key: fold(newKey(seed), "data") };
  batches(set, options);
  return function* (start) {
    for (const batch of batches(set, { ...options, start })) {
      yield batch;
      if (batch.position + 1 === plan.steps) return;
    }
  };
}

/** A network, and the loss that it is trained by. */
interface Trained {
  readonly network: { readonly parameters: Parameters };
  readonly loss: Objective<ImageBatch>;
}

/** What a target stands for. */
function objective(target: TrainTarget): Trained {
  if (target.task === "classify") return classifying(target.model);
  const { kind, schedule: config, network: layers } = target.model, network = unet(layers);
  const { nullShare, times } = target, schedule = scheduleOf(config);
  const options = { schedule, kind, nullShare, ...(times && timing(schedule, times)) };
  return { network, loss: diffusionLoss(network, options) };
}

/** The times of a plan, not reweighted: the law is part of the objective. */
function timing(schedule: Schedule, { law, least }: TimesPlan): Partial<DiffusionLossOptions> {
  const times = timeSampler(schedule, {
    law: timeLaws[law](schedule),
    ...(least === undefined ? {} : { least }),
  });
  return { times, reweighted: false };
}

function classifying(
  { schedule, ...config }: (TrainTarget & { readonly task: "classify" })["model"],
): Trained {
  if (schedule !== undefined) {
    const network = timedClassifier(config);
    return { network, loss: noisyClassifierLoss(network, { schedule: scheduleOf(schedule) }) };
  }
  const network = classifier(config);
  const loss: Objective<ImageBatch> = {
    inputs: ({ images, shape, labels }) => ({
      x: tf.tensor4d(images, [...shape]),
      label: oneHot(labels!, config.classes),
    }),
    loss: (params, { x, label }) => crossEntropy(network.apply(params, x!), label!),
  };
  return { network, loss };
}

/** The number of weights that a plan trains. */
export function planSize(plan: TrainPlan): number {
  return parameterCount(objective(plan.target).network.parameters);
}

/** What a run starts from, and how its plan names that. */
async function firstWeights(
  path: string | undefined,
  { seed, target }: TrainPlan,
  parameters: Parameters,
): Promise<{ readonly params: () => Params; readonly digest: Pick<TrainPlan, "start"> }> {
  if (path === undefined) {
    return { params: () => initialize(parameters, fold(newKey(seed), "weights")), digest: {} };
  }
  const tensors = await readWeights(path, target.task, parameters);
  const hash = await crypto.subtle.digest("SHA-256", await Deno.readFile(path));
  return { params: () => toTensors(tensors), digest: { start: new Uint8Array(hash).toHex() } };
}

function firstState(first: () => Params): TrainState {
  const params = first(), state = newTraining(params);
  tf.dispose(Object.values(params));
  return state;
}

async function toCheckpoint(
  state: TrainState,
  plan: TrainPlan,
  { curve, losses }: Journal,
): Promise<Checkpoint> {
  const groups = {
    model: await fromTensors(state.params),
    ema: await fromTensors(state.ema),
    "adam.mean": await fromTensors(state.moments.mean),
    "adam.square": await fromTensors(state.moments.square),
  };
  return { groups, meta: { plan, step: state.step, curve, losses } };
}

/** A run as it was left. */
type Found = Journal & { readonly state: TrainState };

/** The run of a checkpoint, if the file is there. */
async function opened(
  path: string,
  plan: TrainPlan,
  parameters: Parameters,
): Promise<Found | undefined> {
  if (!await isThere(path)) return undefined;
  const { groups, meta } = await loadCheckpoint(path);
  checkPlan(plan, meta["plan"], path);
  const journal = journalOf(meta, path), step = stepOf(meta, plan, path);
  for (const name of ["model", "ema", "adam.mean", "adam.square"]) {
    checkWeights(groups[name] ?? {}, parameters, path);
  }
  const group = (name: string): Params => toTensors(groups[name]!);
  const moments = { mean: group("adam.mean"), square: group("adam.square") };
  const state = { step, params: group("model"), ema: group("ema"), moments };
  return { ...journal, state: { ...state, loss: NaN, losses: [] } };
}

async function isThere(path: string): Promise<boolean> {
  try {
    await Deno.stat(path);
    return true;
  } catch (cause) {
    if (cause instanceof Deno.errors.NotFound) return false;
    throw cause;
  }
}

function stepOf({ step }: Checkpoint["meta"], plan: TrainPlan, path: string): number {
  if (Number.isSafeInteger(step) && step as number >= 0 && step as number <= plan.steps) {
    return step as number;
  }
  throw unfit(path, "step", `a whole number in [0, ${plan.steps}]`, step);
}

/** The curve and the losses since; checkpoints of older versions have no such losses. */
function journalOf({ curve, losses = [] }: Checkpoint["meta"], path: string): Journal {
  const areNumbers = (list: unknown): list is number[] =>
    Array.isArray(list) && list.every(Number.isFinite);
  const arePoints = (list: unknown): list is CurvePoint[] =>
    Array.isArray(list) && list.every((point) => areNumbers(point) && point.length === 2);
  if (!arePoints(curve)) throw unfit(path, "curve", "pairs of numbers", curve);
  if (!areNumbers(losses)) throw unfit(path, "losses", "numbers", losses);
  return { curve, losses };
}

function unfit(path: string, name: string, wanted: string, got: unknown): SyntaxError {
  return new SyntaxError(
    `Cannot go on from ${path}: its ${name} must be ${wanted}, got ${
      (JSON.stringify(got) ?? "none").slice(0, 80)
    }`,
  );
}

/** Takes away what a run that was killed while it wrote a file has left beside it: half a file, of no use to anybody. */
async function clear(path: string): Promise<void> {
  const real = await isThere(path) ? await Deno.realPath(path) : path;
  const [, folder = "", name = ""] = /^(.*[/\\])?([^/\\]*)$/.exec(real)!;
  for await (const { name: other, isFile } of Deno.readDir(folder || ".")) {
    const rest = other.startsWith(`${name}.`) ? other.slice(name.length) : "";
    if (isFile && /^\.[0-9a-f]{8}\.part$/.test(rest)) await Deno.remove(folder + other);
  }
}

/** Refuses a checkpoint of another plan, naming the first entries that differ. */
function checkPlan(wanted: TrainPlan, got: unknown, path: string): void {
  const here = new Map(flat(wanted)), there = new Map(flat(got));
  const differing = [...new Set([...here.keys(), ...there.keys()])].filter((name) =>
    here.get(name) !== there.get(name)
  );
  if (differing.length === 0) return;
  const list = differing.slice(0, 4).map((name) =>
    `${name || "plan"} ${there.get(name) ?? "none"} (here ${here.get(name) ?? "none"})`
  );
  throw new RangeError(
    `Cannot go on from ${path}: its plan must be that of this run, got ${list.join(", ")}${
      differing.length > 4 ? ", ..." : ""
    }; give the options that it was started with, or another checkpoint`,
  );
}

/** The leaves of plain data with their dotted names. */
function flat(value: unknown, prefix: string = ""): [string, string][] {
  if (value === null || typeof value !== "object") return [[prefix, String(value)]];
  return Object.entries(value).flatMap(([name, part]) =>
    flat(part, prefix === "" ? name : `${prefix}.${name}`)
  );
}

/** Writes the moving average for others to use: float16, with what is needed to build the model again. */
async function saveWeights(
  path: string,
  state: TrainState,
  plan: TrainPlan,
  curve: readonly CurvePoint[],
): Promise<void> {
  const metadata = {
    format: `tweedie.${plan.target.task}`,
    model: JSON.stringify(plan.target.model),
    plan: JSON.stringify(plan),
    step: String(state.step),
    curve: JSON.stringify(curve),
  };
  await writeSafetensors(path, await fromTensors(state.ema), metadata, { dtype: "F16" });
}

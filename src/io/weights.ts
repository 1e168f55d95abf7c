/**
 * Trained models from files: weights and the description of their network in one safetensors file.
 *
 * Two kinds of files are read: weights, which `tweedie train --weights` writes for others to use, and checkpoints,
 * of which the moving average is taken.
 *
 * @module
 */

import { kinds, type Model } from "../denoise/prediction.ts";
import {
  type Classifier,
  classifier,
  type ClassifierConfig,
  noisyClassifier,
  type NoisyClassifierOptions,
  type TimedClassifier,
  timedClassifier,
} from "../network/classifier.ts";
import type { Parameters, Params } from "../network/layer.ts";
import {
  type EngineOptions,
  type ImageModelConfig,
  networkModel,
  type ScheduleConfig,
  scheduleOf,
} from "../network/model.ts";
import { unet } from "../network/unet.ts";
import type { Schedule } from "../noise/schedule.ts";
import type { NoisyClassifier } from "../refine/guide.ts";
import { checkShapes, toTensors } from "./checkpoint.ts";
import {
  floats,
  type HostTensor,
  type HostTensors,
  readSafetensors,
  type Safetensors,
} from "./safetensors.ts";

/** A classifier's description, with the names of its classes. */
export type NamedClassifierConfig = ClassifierConfig & { readonly names?: readonly string[] };

/** The description of a classifier of noisy images: besides, the schedule of the noise that it was trained under. */
export type NoisyClassifierConfig = NamedClassifierConfig & { readonly schedule: ScheduleConfig };

/** A trained denoiser. */
export interface LoadedDenoiser {
  /** The model, without a condition. */
  readonly model: Model;
  /** What it was built from. */
  readonly config: ImageModelConfig;
  /** Its weights, which the model uses. Disposing of them ends it. */
  readonly params: Params;
}

/** A trained classifier. */
export interface LoadedClassifier {
  /** The network. */
  readonly network: Classifier;
  /** What it was built from. */
  readonly config: NamedClassifierConfig;
  /** Its weights. The caller disposes of them. */
  readonly params: Params;
}

/** A trained classifier of noisy images. */
export interface LoadedNoisyClassifier {
  /** What guides are made of. */
  readonly classifier: NoisyClassifier;
  /** The schedule that it was trained under. */
  readonly schedule: Schedule;
  /** The network. */
  readonly network: TimedClassifier;
  /** What it was built from. */
  readonly config: NoisyClassifierConfig;
  /** Its weights, which the classifier uses. Disposing of them ends it. */
  readonly params: Params;
}

/** The descriptions by task. */
interface Configs {
  readonly denoise: ImageModelConfig;
  readonly classify: NamedClassifierConfig | NoisyClassifierConfig;
}

/** Tensors of a file that are to be a model's, and the model's description, of which nothing is checked yet. */
interface Contents<T extends keyof Configs> {
  readonly tensors: HostTensors;
  readonly config: Configs[T];
}

/** As much of a checkpoint's plain data as is read here. */
interface Meta {
  readonly plan?: { readonly target?: { readonly task?: unknown; readonly model?: unknown } };
}

/**
 * Reads a denoiser.
 *
 * @param path A file that `tweedie train` wrote: weights or a checkpoint.
 * @param options What runs the model.
 * @returns The model, ready to sample, on the backend in use. Needs read permission for the file.
 * @throws {Error} If the file cannot be read; `cause` is the system's error.
 * @throws {SyntaxError} If the file is damaged, or is not of a denoiser.
 * @throws {RangeError} If its tensors are not those of the network that it describes, or not finite.
 *
 * @example Sample what a run has learned so far
 * ```ts ignore
 * import { ddim, key, last, loadDenoiser, prior, run } from "@tweedie/tweedie";
 * import { useBackend } from "@tweedie/tweedie/backend";
 *
 * await useBackend();
 * const { model, config } = await loadDenoiser("run.safetensors");
 * const [height, width] = config.network.size, start = prior([4, height, width, 1]);
 * const { x } = await last(run(start, { model, key: key(0) })(ddim(model.schedule)));
 * console.log(x.shape);
 * ```
 */
export async function loadDenoiser(
  path: string,
  options: EngineOptions = {},
): Promise<LoadedDenoiser> {
  const { tensors, config } = await contents(path, "denoise");
  checkFields(config, denoiserFields, path);
  checkFields(config.network, networkFields(Object.keys(tensors).length), path);
  checkNames(config.classes, config.network.classes ?? 0, path);
  const { network, schedule } = described(path, () => ({
    network: unet(config.network),
    schedule: scheduleOf(config.schedule),
  }));
  checkWeights(tensors, network.parameters, path);
  const params = toTensors(tensors);
  const model = networkModel(network, params, { ...options, schedule, kind: config.kind });
  return { model, config, params };
}

/**
 * Reads a classifier of clean images.
 *
 * @param path A file that `tweedie train --task classify` wrote, without a schedule: weights or a checkpoint.
 * @returns Network and weights, on the backend in use. Needs read permission for the file.
 * @throws {Error} If the file cannot be read; `cause` is the system's error.
 * @throws {SyntaxError} If the file is damaged, or is not of a classifier, or of one of noisy images.
 * @throws {RangeError} If its tensors are not those of the network that it describes, or not finite.
 *
 * @example What a picture shows
 * ```ts ignore
 * import { loadClassifier } from "@tweedie/tweedie";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import * as tf from "@tensorflow/tfjs-core";
 *
 * await useBackend();
 * const { network, config, params } = await loadClassifier("judge.safetensors");
 * const logits = network.apply(params, tf.zeros([1, ...config.size, 1]));
 * console.log(config.names?.[tf.argMax(logits, 1).dataSync()[0]!]);
 * ```
 */
export async function loadClassifier(path: string): Promise<LoadedClassifier> {
  const { tensors, config } = await contents(path, "classify");
  checkFields(config, { ...classifierFields, schedule: noSchedule }, path);
  checkNames(config.names, config.classes, path);
  const network = described(path, () => classifier(config));
  checkWeights(tensors, network.parameters, path);
  return { network, config, params: toTensors(tensors) };
}

/**
 * Reads a classifier of noisy images, to guide samplers by.
 *
 * @param path A file that `tweedie train --task classify --schedule …` wrote: weights or a checkpoint.
 * @param options The schedule of the samples that it is to guide, where that is not the one that it was trained under.
 * @returns The classifier, on the backend in use, with what it is made of. Needs read permission for the file.
 * @throws {Error} If the file cannot be read; `cause` is the system's error.
 * @throws {SyntaxError} If the file is damaged, or is not of a classifier, or of one of clean images.
 * @throws {RangeError} If its tensors are not those of the network that it describes, or not finite.
 *
 * @example Two ankle boots by a gradient
 * ```ts ignore
 * import { byClassifier, ddim, guided, key, last, loadDenoiser, loadNoisyClassifier, prior, run } from "@tweedie/tweedie";
 * import { useBackend } from "@tweedie/tweedie/backend";
 *
 * await useBackend();
 * const { model } = await loadDenoiser("fashion-mnist.safetensors"), { schedule } = model;
 * const { classifier } = await loadNoisyClassifier("guide.safetensors", { under: schedule });
 * const sampler = guided(byClassifier(classifier, [9, 9], { scale: 3 }))(ddim(schedule, { steps: 50 }));
 * const { x } = await last(run(prior([2, 28, 28, 1]), { model, key: key(0) })(sampler));
 * console.log(x.shape);
 * ```
 */
export async function loadNoisyClassifier(
  path: string,
  options: Pick<NoisyClassifierOptions, "under"> = {},
): Promise<LoadedNoisyClassifier> {
  const { tensors, config: found } = await contents(path, "classify");
  checkFields(found, { ...classifierFields, schedule: someSchedule }, path);
  checkNames(found.names, found.classes, path);
  const config = found as NoisyClassifierConfig;
  const { network, schedule } = described(path, () => ({
    network: timedClassifier(config),
    schedule: scheduleOf(config.schedule),
  }));
  checkWeights(tensors, network.parameters, path);
  const params = toTensors(tensors);
  const classifier = noisyClassifier(network, params, { ...options, schedule });
  return { classifier, schedule, network, config, params };
}

/**
 * Reads the weights of a network that is already described, to train on from them.
 *
 * @param path A file that `tweedie train` wrote: weights, or a checkpoint, of which the moving average is taken.
 * @param task What the network was trained for.
 * @param parameters What it needs. The file's own description of its model is left aside: only the tensors must fit.
 * @returns The tensors by name. Needs read permission for the file.
 * @throws {Error} If the file cannot be read; `cause` is the system's error.
 * @throws {SyntaxError} If the file is damaged, or of another task.
 * @throws {RangeError} If its tensors are not those of the network, or not finite.
 *
 * @example The shipped weights as the start of another run
 * ```ts ignore
 * import { newTraining, readWeights, toTensors, unet } from "@tweedie/tweedie";
 * import { useBackend } from "@tweedie/tweedie/backend";
 *
 * await useBackend();
 * const network = unet({ size: [28, 28], base: 32, multipliers: [1, 2, 2], blocks: 1, middleAttention: true, classes: 10 });
 * const start = newTraining(toTensors(await readWeights("fashion-mnist.safetensors", "denoise", network.parameters)));
 * console.log(start.step);
 * ```
 */
export async function readWeights(
  path: string,
  task: "denoise" | "classify",
  parameters: Parameters,
): Promise<HostTensors> {
  const { tensors } = await contents(path, task);
  checkWeights(tensors, parameters, path);
  return tensors;
}

/**
 * Refuses tensors that are not a network's weights.
 *
 * @param tensors Tensors of a file, by name.
 * @param parameters What the network needs.
 * @param path Where the tensors came from, for the message.
 * @throws {RangeError} If a name or a shape differs, or a tensor is not of floats, or not of finite ones.
 *
 * @example
 * ```ts
 * import { checkWeights } from "@tweedie/tweedie";
 * import assert from "node:assert/strict";
 *
 * const w = { dtype: "F32", shape: [2], data: new Float32Array([1, NaN]) } as const;
 * assert.throws(() => checkWeights({ w }, { w: { shape: [2] } }, "run.safetensors"), /finite floats, got NaN/);
 * ```
 */
export function checkWeights(tensors: HostTensors, parameters: Parameters, path: string): void {
  const shapes = Object.entries(parameters).map(([name, { shape }]) => [name, shape] as const);
  checkShapes(tensors, Object.fromEntries(shapes), path);
  for (const [name, tensor] of Object.entries(tensors)) {
    const got = tensor.dtype.includes("F") ? firstNotFinite(tensor) : tensor.dtype;
    if (got === undefined) continue;
    throw new RangeError(`Cannot load ${path}: tensor ${name} must be finite floats, got ${got}`);
  }
}

const firstNotFinite = (tensor: HostTensor): number | undefined =>
  floats(tensor).find((value) => !Number.isFinite(value));

async function contents<T extends keyof Configs>(path: string, task: T): Promise<Contents<T>> {
  const { tensors, metadata } = await read(path), format = metadata["format"];
  if (format === `tweedie.${task}`) {
    return { tensors, config: parsed(path, metadata["model"]) as Configs[T] };
  }
  if (format !== "tweedie.checkpoint") throw unfit(path, "format", `tweedie.${task}`, format);
  const { plan } = Object(parsed(path, metadata["meta"])) as Meta;
  if (plan?.target?.task !== task) throw unfit(path, "task", task, plan?.target?.task);
  const average = Object.entries(tensors).filter(([name]) => name.startsWith("ema."))
    .map(([name, tensor]) => [name.slice("ema.".length), tensor]);
  return { tensors: Object.fromEntries(average), config: plan.target.model as Configs[T] };
}

async function read(path: string): Promise<Safetensors> {
  try {
    return await readSafetensors(path);
  } catch (cause) {
    if (cause instanceof SyntaxError || !(cause instanceof Error)) throw cause;
    const got = `${cause.name}: ${cause.message}`;
    throw new Error(`Cannot load ${path}: it must be a file that can be read, got ${got}`, {
      cause,
    });
  }
}

const unfit = (path: string, name: string, wanted: string, got: unknown): SyntaxError =>
  new SyntaxError(`Cannot load ${path}: its ${name} must be ${wanted}, got ${shown(got)}`);

const shown = (value: unknown): string =>
  (typeof value === "string" ? value : JSON.stringify(value))?.slice(0, 80) ?? "none";

function parsed(path: string, text: string | undefined): unknown {
  try {
    return JSON.parse(text ?? "");
  } catch {
    throw unfit(path, "description", "JSON", text);
  }
}

/** What a field must be, in words, and the test of it. */
type Field = readonly [wanted: string, fits: (value: unknown) => boolean];

type Fields = Readonly<Record<string, Field>>;

const isWhole = (least: number) => (value: unknown): boolean =>
  Number.isSafeInteger(value) && value as number >= least;

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

const isListOf = (fits: (value: unknown) => boolean) => (value: unknown): value is unknown[] =>
  Array.isArray(value) && value.every(fits);

const optional = ([wanted, fits]: Field): Field => [
  wanted,
  (value) => value === undefined || fits(value),
];

const object: Field = ["an object", isRecord];
const count: Field = ["a whole number of at least 1", isWhole(1)];
const counts: Field = [
  "whole numbers of at least 1, one or more",
  (value) => isListOf(isWhole(1))(value) && value.length > 0,
];
const size: Field = [
  "two whole numbers of at least 1",
  (value) => isListOf(isWhole(1))(value) && value.length === 2,
];
const names: Field = ["a list of names", isListOf((name) => typeof name === "string")];

const denoiserFields: Fields = {
  network: object,
  schedule: object,
  kind: [`one of ${kinds.join(", ")}`, (value) => kinds.some((kind) => kind === value)],
  classes: optional(names),
};

/** The fields of a U-Net. Every block has weights, so a file's own tensors bound what it can ask to be built. */
const networkFields = (tensors: number): Fields => ({
  size,
  channels: optional(["1 or 3", (value) => value === 1 || value === 3]),
  patch: optional(count),
  base: optional(count),
  multipliers: optional(counts),
  blocks: optional([
    `a whole number in [0, ${tensors}]`,
    (value) => isWhole(0)(value) && value as number <= tensors,
  ]),
  attention: optional(["whole numbers of at least 0", isListOf(isWhole(0))]),
  middleAttention: optional(["true or false", (value) => typeof value === "boolean"]),
  groups: optional(count),
  embedding: optional(count),
  classes: optional(["a whole number of at least 0", isWhole(0)]),
});

/** What tells classifiers of clean images from those of noisy ones. */
const noSchedule: Field = [
  "none, as loadNoisyClassifier reads those that have one",
  (value) => value === undefined,
];
const someSchedule: Field = [
  "an object, as loadClassifier reads those that have none",
  isRecord,
];

const classifierFields: Fields = {
  size,
  classes: count,
  channels: optional(count),
  base: optional(count),
  features: optional(count),
  names: optional(names),
};

/** Refuses a description that is not what its type says: it comes from a file. */
function checkFields(value: unknown, fields: Fields, path: string): void {
  if (!isRecord(value)) throw unfit(path, "description", "an object", value);
  for (const [name, [wanted, fits]] of Object.entries(fields)) {
    if (!fits(value[name])) throw unfit(path, name, wanted, value[name]);
  }
}

function checkNames(list: readonly string[] | undefined, classes: number, path: string): void {
  if (list === undefined || list.length === classes) return;
  throw unfit(path, "list of class names", `of length ${classes}`, list.length);
}

/** Builds from a file's description; where that fails, the file is at fault. */
function described<A>(path: string, build: () => A): A {
  try {
    return build();
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new SyntaxError(
      `Cannot load ${path}: it must describe a network, got one that fails: ${why}`,
      { cause },
    );
  }
}

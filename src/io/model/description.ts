/**
 * What files say of the models in them: which kind of model, under which configuration.
 *
 * A description comes from a file, or goes into one, and is held to the same rules both ways, so that what is written can
 * be read.
 *
 * @module
 */

import { kinds } from "../../denoise/prediction.ts";
import {
  type Classifier,
  classifier,
  type ClassifierConfig,
  type TimedClassifier,
  timedClassifier,
} from "../../network/classifier.ts";
import type { Network, Parameters } from "../../network/layer.ts";
import { checkKind, type ImageModelConfig } from "../../network/model.ts";
import { type ScheduleConfig, scheduleOf } from "../../noise/named.ts";
import { unet } from "../../network/unet.ts";
import type { Schedule } from "../../noise/schedule/schedule.ts";
import { compareShapes } from "../tensors/shape.ts";
import { type HostTensors, isFloat } from "../tensors/dtype.ts";
import { notFinite } from "../tensors/device.ts";
import { type Entry, type Header, isRecord } from "../tensors/header.ts";

/** A classifier's description, with the names of its classes. */
export type NamedClassifierConfig = ClassifierConfig & { readonly names?: readonly string[] };

/** The description of a classifier of noisy images: besides, the schedule of the noise that it was trained under. */
export type NoisyClassifierConfig = NamedClassifierConfig & { readonly schedule: ScheduleConfig };

/** The most steps of a schedule that is described in a file: each costs memory before anything is known to be amiss. */
const mostSteps = 1_000_000;

/** Where a description is held to the rules. */
export interface At {
  /** What cannot be done where it breaks them, such as `"load run.safetensors"`. */
  readonly action: string;
  /** What is thrown then: the fault is the file's, or the caller's. */
  readonly Fault: ErrorConstructor;
}

/** The rules for what is read. */
export const loading = (path: string): At => ({ action: `load ${path}`, Fault: SyntaxError });

/** The rules for what is written. */
export const saving = (path: string): At => ({ action: `save ${path}`, Fault: RangeError });

const unfit = ({ action, Fault }: At, name: string, wanted: string, got: unknown): Error =>
  new Fault(`Cannot ${action}: its ${name} must be ${wanted}, got ${got}`);

const shown = (value: unknown): string =>
  (typeof value === "string" ? value : JSON.stringify(value))?.slice(0, 80) ?? "none";

/** What a file may hold: in words, and what reads it. */
const kindsOfFile = {
  denoiser: ["a denoiser", "loadDenoiser"],
  classifier: ["a classifier of clean images", "loadClassifier"],
  noisyClassifier: ["a classifier of noisy images", "loadNoisyClassifier"],
  state: ["a sampler's state", "loadState"],
  checkpoint: ["a checkpoint of something else", "loadCheckpoint"],
  tensors: ["tensors without a model's description", "readSafetensors"],
} as const;

/** What a network was trained for, by the name that stands in files. */
export type Task = "denoise" | "classify";

/** What a reader wants: a task, and of a classifier whether it is one of noisy images, where that matters. */
export interface Wanted {
  /** The task. */
  readonly task: Task;
  /** Whether the description has a schedule that classifiers of clean images lack. Default: either way. */
  readonly noisy?: boolean;
}

/** The tensors in a file that are a model's, and the model's description, of which nothing is checked yet. */
export interface Contents {
  /** The description. */
  readonly config: unknown;
  /** The entries of the weights, by their names in the network. */
  readonly entries: ReadonlyMap<string, Entry>;
}

/** As much of a checkpoint's plain data as is read here. */
interface Meta {
  readonly plan?: { readonly target?: { readonly task?: unknown; readonly model?: unknown } };
}

/**
 * Finds the model in a file: weights, or the moving average in a checkpoint.
 *
 * @param header The file's header.
 * @param wanted What the reader is for.
 * @param at Where from, for the message.
 * @returns Description and entries.
 * @throws {SyntaxError} If there is no model of that kind, with what there is instead, and what reads that.
 */
export function contentsOf({ metadata, entries }: Header, wanted: Wanted, at: At): Contents {
  const isCheckpoint = metadata["format"] === checkpointFormat;
  const { task, config } = modelIn(metadata, at);
  if (task !== wanted.task) {
    const [name, want, got] = isCheckpoint
      ? ["task", wanted.task, task]
      : ["format", `tweedie.${wanted.task}`, metadata["format"]];
    throw unfit(at, name, want, shown(got) + holdsInstead(metadata));
  }
  const isOther = wanted.noisy !== undefined && isRecord(config) &&
    isNoisy(config) !== wanted.noisy;
  if (isOther) {
    const got = shown(config["schedule"]) + holdsInstead(metadata);
    throw unfit(at, "schedule", wanted.noisy ? "an object" : "none", got);
  }
  const prefix = isCheckpoint ? "ema." : "";
  const weights = entries.filter(({ name }) => name.startsWith(prefix))
    .map((entry) => [entry.name.slice(prefix.length), entry] as const);
  return { config, entries: new Map(weights) };
}

const checkpointFormat = "tweedie.checkpoint";

type Metadata = Header["metadata"];

/** What a file says that its model is for, and how it describes it. */
interface Found {
  readonly task: unknown;
  readonly config: unknown;
}

function modelIn(metadata: Metadata, at: At): Found {
  const format = metadata["format"];
  if (format === checkpointFormat) return targetIn(parsed(metadata["meta"], at));
  const task = taskOf(format);
  return { task, config: task && parsed(metadata["model"], at) };
}

const taskOf = (format: string | undefined): Task | undefined =>
  (["denoise", "classify"] as const).find((task) => format === `tweedie.${task}`);

function targetIn(meta: unknown): Found {
  const { plan } = Object(meta) as Meta, target = plan?.target;
  return { task: target?.task, config: target?.model };
}

/**
 * What a file holds, for a reader of other files to say.
 *
 * @param metadata The metadata in the file's header.
 * @returns The end of a message, such as `": a denoiser, which loadDenoiser reads"`.
 */
export function holdsInstead(metadata: Metadata): string {
  const [words, reader] = kindsOfFile[kindOf(metadata)];
  return `: ${words}, which ${reader} reads`;
}

function kindOf(metadata: Metadata): keyof typeof kindsOfFile {
  const format = metadata["format"], isCheckpoint = format === checkpointFormat;
  const { task, config } = isCheckpoint
    ? targetIn(attempted(metadata["meta"]))
    : { task: taskOf(format), config: attempted(metadata["model"]) };
  if (task === "denoise") return "denoiser";
  if (task === "classify") return isNoisy(config) ? "noisyClassifier" : "classifier";
  return isCheckpoint ? "checkpoint" : format === "tweedie.state" ? "state" : "tensors";
}

const isNoisy = (config: unknown): boolean => isRecord(config) && config["schedule"] !== undefined;

/** JSON of a file, or an error that says so. */
function parsed(text: string | undefined, at: At): unknown {
  const value = attempted(text);
  if (value === undefined) throw unfit(at, "description", "JSON", shown(text));
  return value;
}

/** JSON of a file; undefined where it is none. */
function attempted(text: string | undefined): unknown {
  try {
    return JSON.parse(text ?? "");
  } catch {
    return undefined;
  }
}

/** A denoiser as it is described. */
export interface DescribedDenoiser {
  /** The description, which is in order. */
  readonly config: ImageModelConfig;
  /** The network. */
  readonly network: Network;
  /** The schedule. */
  readonly schedule: Schedule;
}

/**
 * The network and the schedule of a denoiser.
 *
 * @param found A description.
 * @param tensors How many tensors there are. Every block has weights, so they bound what can be asked to be built.
 * @param at Where it is from, or goes.
 * @returns What it describes.
 * @throws What `at` says, if it is not in order.
 */
export function denoiserOf(found: unknown, tensors: number, at: At): DescribedDenoiser {
  checkFields(found, denoiserFields, at);
  const config = found as unknown as ImageModelConfig, { network, schedule } = config;
  checkFields(network, networkFields, at);
  const { multipliers, blocks = 2 } = network, levels = multipliers?.length ?? 3;
  if (levels * Math.max(blocks, 1) > tensors) {
    const most = Math.floor(tensors / levels), of = `of ${levels} levels, for ${tensors} tensors`;
    throw unfit(at, "blocks", `at most ${most} on each ${of}`, blocks);
  }
  checkSchedule(schedule, at);
  checkNames(config.classes, network.classes ?? 0, at);
  return built(at, () => {
    const made = { config, network: unet(network), schedule: scheduleOf(schedule) };
    checkKind("make a model", { kind: config.kind, schedule: made.schedule });
    return made;
  });
}

/**
 * The network of a classifier of clean images.
 *
 * @param found A description.
 * @param at Where it is from, or goes.
 * @returns What it describes.
 * @throws What `at` says, if it is not in order.
 */
export function classifierOf(
  found: unknown,
  at: At,
): { readonly config: NamedClassifierConfig; readonly network: Classifier } {
  checkFields(found, classifierFields, at);
  const config = found as unknown as NamedClassifierConfig;
  checkNames(config.names, config.classes, at);
  return built(at, () => ({ config, network: classifier(config) }));
}

/**
 * The network and the schedule of a classifier of noisy images.
 *
 * @param found A description.
 * @param at Where it is from, or goes.
 * @returns What it describes.
 * @throws What `at` says, if it is not in order.
 */
export function noisyClassifierOf(
  found: unknown,
  at: At,
): {
  readonly config: NoisyClassifierConfig;
  readonly network: TimedClassifier;
  readonly schedule: Schedule;
} {
  checkFields(found, { ...classifierFields, schedule: object }, at);
  const config = found as unknown as NoisyClassifierConfig;
  checkSchedule(config.schedule, at);
  checkNames(config.names, config.classes, at);
  return built(at, () => ({
    config,
    network: timedClassifier(config),
    schedule: scheduleOf(config.schedule),
  }));
}

/** What a field must be, in words, and the test of it. */
type Field = readonly [wanted: string, fits: (value: unknown) => boolean];

type Fields = Readonly<Record<string, Field>>;

const isWhole = (least: number) => (value: unknown): boolean =>
  Number.isSafeInteger(value) && value as number >= least;

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

const networkFields: Fields = {
  size,
  channels: optional(["1 or 3", (value) => value === 1 || value === 3]),
  patch: optional(count),
  base: optional(count),
  multipliers: optional(counts),
  blocks: optional(["a whole number of at least 0", isWhole(0)]),
  attention: optional(["whole numbers of at least 0", isListOf(isWhole(0))]),
  middleAttention: optional(["true or false", (value) => typeof value === "boolean"]),
  groups: optional(count),
  embedding: optional(count),
  classes: optional(["a whole number of at least 0", isWhole(0)]),
};

const classifierFields: Fields = {
  size,
  classes: count,
  channels: optional(count),
  base: optional(count),
  features: optional(count),
  names: optional(names),
};

/** Refuses a description that is not what its type says. */
function checkFields(value: unknown, fields: Fields, at: At): void {
  if (!isRecord(value)) throw unfit(at, "description", "an object", shown(value));
  for (const [name, [wanted, fits]] of Object.entries(fields)) {
    if (!fits(value[name])) throw unfit(at, name, wanted, shown(value[name]));
  }
}

function checkSchedule({ options }: ScheduleConfig, at: At): void {
  const steps = isRecord(options) ? options["steps"] : undefined;
  if (!(steps as number > mostSteps)) return;
  throw unfit(at, "schedule", `of at most ${mostSteps} steps`, steps);
}

function checkNames(list: readonly string[] | undefined, classes: number, at: At): void {
  if (list === undefined || list.length === classes) return;
  throw unfit(at, "list of class names", `of length ${classes}`, list.length);
}

/** Builds what is described; where that fails, the description is at fault. */
function built<A>({ action, Fault }: At, build: () => A): A {
  try {
    return build();
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new Fault(
      `Cannot ${action}: it must describe a network, got one that fails: ${why}`,
      { cause },
    );
  }
}

/**
 * Refuses names and shapes that are not those of a network's weights, before the numbers are looked at.
 *
 * @param got Anything with shapes, by name.
 * @param parameters What the network needs.
 * @param action What cannot be done then, such as `"load run.safetensors"`.
 * @throws {RangeError} If a name or a shape differs.
 */
export function checkParameters(
  got: Readonly<Record<string, { readonly shape: readonly number[] }>>,
  parameters: Parameters,
  action: string,
): void {
  const shapes = Object.entries(parameters).map(([name, { shape }]) => [name, shape] as const);
  compareShapes(got, Object.fromEntries(shapes), action);
}

/**
 * Refuses tensors that are not of finite floats.
 *
 * @param tensors Host tensors by name.
 * @param action What cannot be done then, such as `"load run.safetensors"`.
 * @throws {RangeError} If one is not, with its name.
 */
export function checkNumbers(tensors: HostTensors, action: string): void {
  for (const [name, tensor] of Object.entries(tensors)) {
    const got = isFloat(tensor.dtype) ? notFinite(tensor) : tensor.dtype;
    if (got === undefined) continue;
    throw new RangeError(`Cannot ${action}: tensor ${name} must be finite floats, got ${got}`);
  }
}

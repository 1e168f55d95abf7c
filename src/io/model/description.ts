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
  type Architecture,
  architectureNames,
  architectureOf,
  type ArchitectureOptions,
  type Misfit,
  type Networks,
  type Role,
  usualArchitecture,
} from "../../network/architecture.ts";
import type { Classifier, ClassifierConfig, TimedClassifier } from "../../network/classifier.ts";
import { choice, type Fields, names, object, optional } from "../../network/field.ts";
import type { Network } from "../../network/layer/network.ts";
import type { Parameters } from "../../network/layer/parameter.ts";
import { checkKind, type ImageModelConfig } from "../../network/model.ts";
import { type ScheduleConfig, scheduleOf } from "../../noise/named.ts";
import type { Schedule } from "../../noise/schedule/schedule.ts";
import { compareShapes } from "../tensors/shape.ts";
import { type HostTensors, isFloat } from "../tensors/dtype.ts";
import { notFinite } from "../tensors/device.ts";
import { toJson } from "../tensors/plain.ts";
import { type Entry, type Header, isRecord } from "../tensors/header.ts";

/**
 * A classifier's description, with the names of its classes.
 *
 * @category Files
 */
export type NamedClassifierConfig = ClassifierConfig & {
  /** Names of the classes. */
  readonly names?: readonly string[];
  /** The name of the network in the table of architectures. Default: that of this library for the role. */
  readonly architecture?: string;
};

/**
 * The description of a classifier of noisy images: besides, the schedule of the noise that it was trained under.
 *
 * @category Files
 */
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

const unfit = (at: At, name: string, wanted: string, got: unknown): Error =>
  misfits(at, [{ name, wanted, got }]);

/** One error of all that is amiss. */
const misfits = ({ action, Fault }: At, all: readonly Misfit[]): Error => {
  const told = all.map(({ name, wanted, got }) => `its ${name} must be ${wanted}, got ${got}`);
  return new Fault(`Cannot ${action}: ${told.join("; ")}`);
};

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
interface StoredModel {
  readonly task: unknown;
  readonly config: unknown;
}

function modelIn(metadata: Metadata, at: At): StoredModel {
  const format = metadata["format"];
  if (format === checkpointFormat) return targetIn(parsed(metadata["meta"], at));
  const task = taskOf(format), { architecture } = metadata;
  const config = task && parsed(metadata["model"], at);
  return { task, config: named(config, architecture) };
}

/** A description with the name of its network, where that is not the one that goes without saying. */
const named = (config: unknown, architecture: string | undefined): unknown =>
  architecture === undefined || !isRecord(config) ||
    architecture === usualArchitecture[roleOf(config)]
    ? config
    : { ...config, architecture };

/** What a described network is for: denoisers have a network in their description, noisy classifiers a schedule. */
const roleOf = (config: Readonly<Record<string, unknown>>): Role =>
  config["network"] !== undefined ? "denoiser" : isNoisy(config) ? "noisyClassifier" : "classifier";

/**
 * A description as the metadata of a file hold it: the network's name, and the rest.
 *
 * @param config The description.
 * @returns Strings by name.
 */
export function metadataOf(config: unknown): Record<string, string> {
  if (!isRecord(config)) return { model: toJson(config) };
  const { architecture, ...rest } = config;
  return {
    architecture: `${architecture ?? usualArchitecture[roleOf(rest)]}`,
    model: toJson(rest),
  };
}

const taskOf = (format: string | undefined): Task | undefined =>
  (["denoise", "classify"] as const).find((task) => format === `tweedie.${task}`);

function targetIn(meta: unknown): StoredModel {
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

/** Where the described network is looked for, and how many tensors bound what may be built. */
export interface Bounds extends ArchitectureOptions {
  /** How many tensors there are. Every block has weights, so they bound what can be asked to be built. */
  readonly tensors: number;
}

/** What is described, held to the rules. */
export type Describe<A> = (found: unknown, bounds: Bounds, at: At) => A;

/** A denoiser as it is described. */
export interface DescribedDenoiser {
  /** The description, which is in order. */
  readonly config: ImageModelConfig<object>;
  /** The network. */
  readonly network: Network;
  /** The schedule. */
  readonly schedule: Schedule;
}

/**
 * The network and the schedule of a denoiser.
 *
 * @param found A description.
 * @param bounds The table of architectures, and how many tensors there are.
 * @param at Where it is from, or goes.
 * @returns What it describes.
 * @throws What `at` says, if it is not in order.
 */
export function denoiserOf(found: unknown, bounds: Bounds, at: At): DescribedDenoiser {
  checkFields(found, denoiserFields, at);
  const config = found as unknown as ImageModelConfig<object>, { network, schedule } = config;
  const { build, classes } = described(
    "denoiser",
    config.architecture,
    network,
    bounds,
    at,
  );
  checkSchedule(schedule, at);
  checkNames(config.classes, classes(network), at);
  return built(at, () => {
    const made = { config, network: build(network), schedule: scheduleOf(schedule) };
    checkKind("make a model", { kind: config.kind, schedule: made.schedule });
    return made;
  });
}

/**
 * The network of a classifier of clean images.
 *
 * @param found A description.
 * @param bounds The table of architectures, and how many tensors there are.
 * @param at Where it is from, or goes.
 * @returns What it describes.
 * @throws What `at` says, if it is not in order.
 */
export function classifierOf(
  found: unknown,
  bounds: Bounds,
  at: At,
): { readonly config: NamedClassifierConfig; readonly network: Classifier } {
  const { config, build } = classifying("classifier", found, bounds, at);
  return built(at, () => ({ config, network: build() }));
}

/**
 * The network and the schedule of a classifier of noisy images.
 *
 * @param found A description.
 * @param bounds The table of architectures, and how many tensors there are.
 * @param at Where it is from, or goes.
 * @returns What it describes.
 * @throws What `at` says, if it is not in order.
 */
export function noisyClassifierOf(
  found: unknown,
  bounds: Bounds,
  at: At,
): {
  readonly config: NoisyClassifierConfig;
  readonly network: TimedClassifier;
  readonly schedule: Schedule;
} {
  const { config, build } = classifying<"noisyClassifier", NoisyClassifierConfig>(
    "noisyClassifier",
    found,
    bounds,
    at,
  );
  return built(at, () => ({ config, network: build(), schedule: scheduleOf(config.schedule) }));
}

/** A classifier's description, whose own fields stand among those of its network. */
function classifying<
  R extends "classifier" | "noisyClassifier",
  Config extends NamedClassifierConfig & Partial<NoisyClassifierConfig>,
>(
  role: R,
  found: unknown,
  bounds: Bounds,
  at: At,
): { readonly config: Config; readonly build: () => Networks[R] } {
  const { architecture, ...own } = Object(found) as Partial<Config>;
  const entry = described(role, architecture, found, bounds, at, {
    names: optional(names),
    ...(role === "noisyClassifier" && { schedule: object }),
  });
  const config = found as Config;
  if (config.schedule !== undefined) checkSchedule(config.schedule, at);
  checkNames(config.names, entry.classes(config), at);
  return { config, build: () => entry.build(own) };
}

/** The entry of a described network, once its configuration is looked at, with the fields that stand beside its own. */
function described<R extends Role>(
  role: R,
  name: string = usualArchitecture[role],
  config: unknown,
  { tensors, ...options }: Bounds,
  at: At,
  beside: Fields = {},
): Architecture<R, object> {
  const known = architectureNames(role, options);
  if (!known.includes(name)) {
    throw unfit(at, "architecture", `one of ${known.join(", ")}`, shown(name));
  }
  const entry = architectureOf(role, name, options);
  checkFields(config, { ...entry.fields, ...beside }, at);
  const excess = entry.excess?.(config as object, tensors);
  if (excess !== undefined) throw unfit(at, excess.name, excess.wanted, excess.got);
  return entry;
}

const denoiserFields: Fields = {
  network: object,
  schedule: object,
  kind: choice(`one of ${kinds.join(", ")}`, kinds),
  classes: optional(names),
};

/** Refuses a description that is not what its type says, with all fields that are not. */
function checkFields(value: unknown, fields: Fields, at: At): void {
  if (!isRecord(value)) throw unfit(at, "description", "an object", shown(value));
  const wrong = Object.entries(fields).filter(([name, { fits }]) => !fits(value[name]));
  if (wrong.length === 0) return;
  throw misfits(
    at,
    wrong.map(([name, { wanted }]) => ({ name, wanted, got: shown(value[name]) })),
  );
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

/**
 * Which model a file holds, by what stands in its header: weights of one, or a checkpoint of a run that trains one.
 *
 * @module
 */

import { type Role, usualArchitecture } from "../../network/architecture.ts";
import { type Entry, type Header, isRecord } from "../tensors/header.ts";
import { toJson } from "../tensors/plain.ts";
import { type At, shown, unfit } from "./description.ts";

/** What a file may hold: in words, and what reads it. */
const kindsOfFile = {
  denoiser: ["a denoiser", "loadDenoiser"],
  classifier: ["a classifier of clean images", "loadClassifier"],
  noisyClassifier: ["a classifier of noisy images", "loadNoisyClassifier"],
  energy: ["an energy", "loadEnergy"],
  state: ["a sampler's state", "loadState"],
  checkpoint: ["a checkpoint of something else", "loadCheckpoint"],
  tensors: ["tensors without a model's description", "readSafetensors"],
} as const;

/** What a network was trained for, by the name that stands in files. */
export type Task = "denoise" | "classify" | "energy";

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
  if (task === undefined) return { task, config: undefined };
  const config = parsed(metadata["model"], at);
  return { task, config: named(config, architecture, task) };
}

/** A description with the name of its network, where that is not the one that goes without saying. */
const named = (config: unknown, architecture: string | undefined, task: Task): unknown =>
  architecture === undefined || !isRecord(config) ||
    architecture === usualArchitecture[roleOf(config, task)]
    ? config
    : { ...config, architecture };

/** What a described network is for; classifiers of noisy images have a schedule. */
function roleOf(config: Readonly<Record<string, unknown>>, task: Task): Role {
  if (task === "classify") return isNoisy(config) ? "noisyClassifier" : "classifier";
  return task === "energy" ? "energy" : "denoiser";
}

/**
 * A description as the metadata of a file hold it: what for, the network's name, and the rest.
 *
 * @param config The description.
 * @param task What the network is for.
 * @returns Strings by name.
 */
export function metadataOf(config: unknown, task: Task): Record<string, string> {
  const format = `tweedie.${task}`;
  if (!isRecord(config)) return { format, model: toJson(config) };
  const { architecture, ...rest } = config;
  return {
    format,
    architecture: `${architecture ?? usualArchitecture[roleOf(rest, task)]}`,
    model: toJson(rest),
  };
}

const taskOf = (format: string | undefined): Task | undefined =>
  (["denoise", "classify", "energy"] as const).find((task) => format === `tweedie.${task}`);

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
  if (task === "energy") return "energy";
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

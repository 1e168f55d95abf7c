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
import type { EnergyConfig, EnergyNetwork } from "../../network/energy.ts";
import { choice, type Fields, names, object, optional } from "../../network/field.ts";
import type { Network } from "../../network/layer/network.ts";
import type { Parameters } from "../../network/layer/parameter.ts";
import { checkKind, type ImageModelConfig } from "../../network/model.ts";
import { type ScheduleConfig, scheduleOf } from "../../noise/named.ts";
import type { Schedule } from "../../noise/schedule/schedule.ts";
import { compareShapes } from "../tensors/shape.ts";
import { type HostTensors, isFloat } from "../tensors/dtype.ts";
import { notFinite } from "../tensors/device.ts";
import { isRecord } from "../tensors/header.ts";

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

/**
 * An energy's description, with the names of its classes: the fields of its network, and which network that is.
 *
 * @category Files
 */
export type NamedEnergyConfig<NetworkConfig extends object = EnergyConfig> = NetworkConfig & {
  /** Names of the classes. */
  readonly names?: readonly string[];
  /** The name of the network in the table of architectures. Default: that of this library for the role. */
  readonly architecture?: string;
};

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

/** One error of one fault. */
export const unfit = (at: At, name: string, wanted: string, got: unknown): Error =>
  misfits(at, [{ name, wanted, got }]);

/** One error of all that is amiss. */
const misfits = ({ action, Fault }: At, all: readonly Misfit[]): Error => {
  const told = all.map(({ name, wanted, got }) => `its ${name} must be ${wanted}, got ${got}`);
  return new Fault(`Cannot ${action}: ${told.join("; ")}`);
};

/** A value as messages show it. */
export const shown = (value: unknown): string =>
  (typeof value === "string" ? value : JSON.stringify(value))?.slice(0, 80) ?? "none";

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

/**
 * The network of an energy.
 *
 * @param found A description.
 * @param bounds The table of architectures, and how many tensors there are.
 * @param at Where it is from, or goes.
 * @returns What it describes.
 * @throws What `at` says, if it is not in order.
 */
export function energyOf(
  found: unknown,
  bounds: Bounds,
  at: At,
): { readonly config: NamedEnergyConfig<object>; readonly network: EnergyNetwork } {
  const { architecture, names: list, ...own } = Object(found) as NamedEnergyConfig<object>;
  const entry = described("energy", architecture, found, bounds, at, { names: optional(names) });
  checkNames(list, entry.classes(own), at);
  const config = found as NamedEnergyConfig<object>;
  return built(at, () => ({ config, network: entry.build(own) }));
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

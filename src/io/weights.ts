/**
 * Trained models in files: weights and the description of their network in one safetensors file.
 *
 * Two kinds of files are read: weights, which `saveDenoiser` and its like and `tweedie train --weights` write for
 * others to use, and checkpoints, of which the moving average is taken. The weights are read once the description, and the
 * names and shapes of all tensors, are in order.
 *
 * @module
 */

import type { Model } from "../denoise/prediction.ts";
import {
  type Classifier,
  noisyClassifier,
  type NoisyClassifierOptions,
  type TimedClassifier,
} from "../network/classifier.ts";
import type { EnergyConfig, EnergyNetwork } from "../network/energy.ts";
import type { Parameters, Params } from "../network/layer/parameter.ts";
import type { ArchitectureOptions } from "../network/architecture.ts";
import { type EngineOptions, type ImageModelConfig, networkModel } from "../network/model.ts";
import type { UNetConfig } from "../network/unet.ts";
import type { Schedule } from "../noise/schedule/schedule.ts";
import type { NoisyClassifier } from "../denoise/energy.ts";
import { decoded, type Rules } from "../tensor/check/decode.ts";
import { anEngine } from "../tensor/engine.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { type FileSource, nameOf } from "../data/file/file.ts";
import { contentsOf, type Task, type Wanted } from "./model/contents.ts";
import {
  type At,
  checkNumbers,
  checkParameters,
  classifierOf,
  denoiserOf,
  type Describe,
  energyOf,
  loading,
  type NamedClassifierConfig,
  type NamedEnergyConfig,
  type NoisyClassifierConfig,
  noisyClassifierOf,
} from "./model/description.ts";
import type { HostTensors } from "./safetensors.ts";
import { uploaded } from "./tensors/device.ts";
import type { Entry } from "./tensors/header.ts";
import { type OpenTensors, withTensors } from "./tensors/open.ts";

export type { FileSource, NamedClassifierConfig, NamedEnergyConfig, NoisyClassifierConfig };

/**
 * A trained denoiser.
 *
 * @category Files
 */
export interface LoadedDenoiser<NetworkConfig extends object = UNetConfig> {
  /** The model, without a condition. */
  readonly model: Model;
  /** What it was built from. */
  readonly config: ImageModelConfig<NetworkConfig>;
  /** Its weights, which the model uses. Disposing of them ends it. */
  readonly params: Params;
}

/**
 * A trained classifier.
 *
 * @category Files
 */
export interface LoadedClassifier {
  /** The network. */
  readonly network: Classifier;
  /** What it was built from. */
  readonly config: NamedClassifierConfig;
  /** Its weights. They are the scope's, or the caller's where there is none. */
  readonly params: Params;
}

/**
 * A trained classifier of noisy images.
 *
 * @category Files
 */
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

/**
 * Reads a denoiser.
 *
 * @category Files
 * @param file A file that `saveDenoiser` or `tweedie train` wrote, weights or a checkpoint: its path, or its bytes,
 * in any runtime.
 * @param options What runs the model; the table of architectures.
 * @returns The model, ready to sample, on the backend in use. Needs read permission for the file.
 * @throws {Error} If the file cannot be read; `cause` is the system's error.
 * @throws {SyntaxError} If the file is damaged, or is not of a denoiser, with what it is of and what reads that.
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
export async function loadDenoiser<NetworkConfig extends object = UNetConfig>(
  file: FileSource,
  options: EngineOptions & ArchitectureOptions = {},
): Promise<LoadedDenoiser<NetworkConfig>> {
  const { engine, ...table } = decoded(`load ${nameOf(file)}`, options, denoiserOptions);
  const found = await loaded(file, { task: "denoise" }, table, denoiserOf);
  const { network, schedule, params } = found;
  const config = found.config as ImageModelConfig<NetworkConfig>, { kind } = config;
  const model = networkModel(network, params, { ...(engine && { engine }), schedule, kind });
  return { model, config, params };
}

const tableOptions: Rules<ArchitectureOptions> = { architectures: true };

const denoiserOptions: Rules<EngineOptions & ArchitectureOptions> = {
  engine: anEngine,
  ...tableOptions,
};

/**
 * Reads a classifier of clean images.
 *
 * @category Files
 * @param file A file that `saveClassifier` or `tweedie train --task classify` wrote, without a schedule, weights or
 * a checkpoint: its path, or its bytes.
 * @param options The table of architectures.
 * @returns Network and weights, on the backend in use. Needs read permission for the file.
 * @throws {Error} If the file cannot be read; `cause` is the system's error.
 * @throws {SyntaxError} If the file is damaged, or is not of a classifier, or of one of noisy images, with what it is of
 * and what reads that.
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
export async function loadClassifier(
  file: FileSource,
  options: ArchitectureOptions = {},
): Promise<LoadedClassifier> {
  decoded(`load ${nameOf(file)}`, options, tableOptions);
  const clean = { task: "classify", noisy: false } as const;
  return await loaded(file, clean, options, classifierOf);
}

/**
 * Reads a classifier of noisy images, to guide samplers by.
 *
 * @category Files
 * @param file A file that `saveNoisyClassifier` or `tweedie train --task classify --schedule …` wrote, weights or a
 * checkpoint: its path, or its bytes.
 * @param options The schedule of the samples that it is to guide, where that is not the one that it was trained under; the
 * table of architectures.
 * @returns The classifier, on the backend in use, with what it is made of. Needs read permission for the file.
 * @throws {Error} If the file cannot be read; `cause` is the system's error.
 * @throws {SyntaxError} If the file is damaged, or is not of a classifier, or of one of clean images, with what it is of
 * and what reads that.
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
  file: FileSource,
  options: Pick<NoisyClassifierOptions, "under"> & ArchitectureOptions = {},
): Promise<LoadedNoisyClassifier> {
  decoded(`load ${nameOf(file)}`, options, underOptions);
  const noisy = { task: "classify", noisy: true } as const;
  const { under, ...table } = options;
  const found = await loaded(file, noisy, table, noisyClassifierOf);
  const { config, network, schedule, params } = found;
  const classifier = noisyClassifier(network, params, { schedule, ...(under && { under }) });
  return { classifier, schedule, network, config, params };
}

const underOptions: Rules<Pick<NoisyClassifierOptions, "under"> & ArchitectureOptions> = {
  under: true,
  ...tableOptions,
};

/**
 * A trained energy.
 *
 * @category Files
 */
export interface LoadedEnergy<NetworkConfig extends object = EnergyConfig> {
  /** E of samples [N, ...sample], in nats, of no class: [N]. It uses the weights. */
  readonly energy: (x: Tensor) => Tensor;
  /** The network, which may be asked for the energy of a class. */
  readonly network: EnergyNetwork;
  /** What it was built from. */
  readonly config: NamedEnergyConfig<NetworkConfig>;
  /** Its weights. Disposing of them ends the energy. */
  readonly params: Params;
}

/**
 * Reads an energy.
 *
 * @category Files
 * @param file A file that `saveEnergy` or `tweedie train --task energy` wrote, weights or a checkpoint: its path, or its
 * bytes.
 * @param options The table of architectures.
 * @returns The energy, on the backend in use, with what it is made of. Needs read permission for the file.
 * @throws {Error} If the file cannot be read; `cause` is the system's error.
 * @throws {SyntaxError} If the file is damaged, or is not of an energy, with what it is of and what reads that.
 * @throws {RangeError} If its tensors are not those of the network that it describes, or not finite.
 *
 * @example How much less probable one picture is than another
 * ```ts ignore
 * import { loadEnergy } from "@tweedie/tweedie/io";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import * as tf from "@tensorflow/tfjs-core";
 *
 * await useBackend();
 * const { energy, config } = await loadEnergy("energy.safetensors");
 * const [black, grey] = energy(tf.stack([tf.fill([...config.size, 1], -1), tf.zeros([...config.size, 1])])).dataSync();
 * console.log(`ln p(black)/p(grey) = ${grey! - black!} nats`);
 * ```
 */
export async function loadEnergy<NetworkConfig extends object = EnergyConfig>(
  file: FileSource,
  options: ArchitectureOptions = {},
): Promise<LoadedEnergy<NetworkConfig>> {
  decoded(`load ${nameOf(file)}`, options, tableOptions);
  const { config, network, params } = await loaded(file, { task: "energy" }, options, energyOf);
  const energy = (x: Tensor): Tensor => network.apply(params, x);
  return { energy, network, config: config as NamedEnergyConfig<NetworkConfig>, params };
}

/** A described network with its weights on the backend in use; the weights are read once all else is in order. */
async function loaded<A extends { readonly network: { readonly parameters: Parameters } }>(
  source: FileSource,
  wanted: Wanted,
  table: ArchitectureOptions,
  describe: Describe<A>,
): Promise<A & { readonly params: Params }> {
  return await opened(source, async (file) => {
    const at = loading(nameOf(source)), { config, entries } = contentsOf(file, wanted, at);
    const described = describe(config, { ...table, tensors: entries.size }, at);
    const tensors = await weightsIn(file, entries, described.network.parameters, at);
    return { ...described, params: uploaded(tensors) };
  });
}

/** The weights of a network, whose names and shapes are looked at before the numbers are read. */
async function weightsIn(
  { read }: OpenTensors,
  entries: ReadonlyMap<string, Entry>,
  parameters: Parameters,
  { action }: At,
): Promise<HostTensors> {
  checkParameters(Object.fromEntries(entries), parameters, action);
  const full = await read([...entries.values()].map(({ name }) => name));
  const tensors = [...entries].map(([short, { name }]) => [short, full[name]!] as const);
  const named = Object.fromEntries(tensors);
  checkNumbers(named, action);
  return named;
}

/** An open file, or why it cannot be read. */
async function opened<A>(
  source: FileSource,
  use: (file: OpenTensors) => Promise<A>,
): Promise<A> {
  let inside = false;
  try {
    return await withTensors(source, async (file) => {
      inside = true;
      return await use(file);
    });
  } catch (cause) {
    if (inside || cause instanceof SyntaxError || !(cause instanceof Error)) throw cause;
    const got = `${cause.name}: ${cause.message}`;
    throw new Error(
      `Cannot load ${nameOf(source)}: it must be a file that can be read, got ${got}`,
      {
        cause,
      },
    );
  }
}

/**
 * Reads the weights of a network that is already described, to train on from them.
 *
 * @category Files
 * @param source A file that `tweedie train` wrote, weights, or a checkpoint, of which the moving average is taken: its
 * path, or its bytes.
 * @param task What the network was trained for.
 * @param parameters What it needs. The file's own description of its model is left aside: only the tensors must fit.
 * @returns The tensors by name. Needs read permission for the file.
 * @throws {Error} If the file cannot be read; `cause` is the system's error.
 * @throws {SyntaxError} If the file is damaged, or of another task.
 * @throws {RangeError} If its tensors are not those of the network, or not finite.
 *
 * @example The shipped weights as the start of another run
 * ```ts ignore
 * import { newTraining, unet } from "@tweedie/tweedie";
 * import { readWeights, toTensors } from "@tweedie/tweedie/io";
 * import { useBackend } from "@tweedie/tweedie/backend";
 *
 * await useBackend();
 * const network = unet({ size: [28, 28], base: 32, multipliers: [1, 2, 2], blocks: 1, middleAttention: true, classes: 10 });
 * const start = newTraining(toTensors(await readWeights("fashion-mnist.safetensors", "denoise", network.parameters)));
 * console.log(start.step);
 * ```
 */
export async function readWeights(
  source: FileSource,
  task: Task,
  parameters: Parameters,
): Promise<HostTensors> {
  return await opened(source, async (file) => {
    const at = loading(nameOf(source)), { entries } = contentsOf(file, { task }, at);
    return await weightsIn(file, entries, parameters, at);
  });
}

/**
 * Refuses tensors that are not a network's weights.
 *
 * @category Files
 * @param tensors Tensors of a file, by name.
 * @param parameters What the network needs.
 * @param path Where the tensors came from, for the message.
 * @throws {RangeError} If a name or a shape differs, or a tensor is not of floats, or not of finite ones.
 *
 * @example
 * ```ts
 * import { checkWeights } from "@tweedie/tweedie/io";
 * import assert from "node:assert/strict";
 *
 * const w = { dtype: "F32", shape: [2], data: new Float32Array([1, NaN]) } as const;
 * assert.throws(() => checkWeights({ w }, { w: { shape: [2] } }, "run.safetensors"), /finite floats, got NaN/);
 * ```
 */
export function checkWeights(tensors: HostTensors, parameters: Parameters, path: string): void {
  checkParameters(tensors, parameters, `load ${path}`);
  checkNumbers(tensors, `load ${path}`);
}

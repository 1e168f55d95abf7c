/**
 * Trained models into files: weights and the description of their network in one safetensors file, which the readers of
 * `weights.ts` take. What a reader would refuse is not written.
 *
 * @module
 */

import type { ArchitectureOptions } from "../../network/architecture.ts";
import type { Parameters, Params } from "../../network/layer/parameter.ts";
import type { ImageModelConfig } from "../../network/model.ts";
import { refusal } from "../../tensor/check/check.ts";
import { decoded, is, type Rules } from "../../tensor/check/decode.ts";
import { type FloatDtype, type HostTensor, writeSafetensors } from "../safetensors.ts";
import { downloaded } from "../tensors/device.ts";
import { isRecord } from "../tensors/header.ts";
import { checkPlain } from "../tensors/plain.ts";
import { contentsOf, metadataOf, type Wanted } from "./contents.ts";
import {
  checkNumbers,
  checkParameters,
  classifierOf,
  denoiserOf,
  type Describe,
  energyOf,
  type NamedClassifierConfig,
  type NamedEnergyConfig,
  type NoisyClassifierConfig,
  noisyClassifierOf,
  saving,
} from "./description.ts";

/**
 * Options of {@link saveDenoiser}, {@link saveClassifier} and {@link saveNoisyClassifier}.
 *
 * @category Files
 */
export interface SaveOptions extends ArchitectureOptions {
  /** Store floats as this type: "F16" is half as large, rounded to the nearest. Default: "F32", to the last bit. */
  readonly dtype?: FloatDtype;
  /** Free text by name to go with the weights, such as where they came from; not `format`, `model` or `architecture`. Default: none. */
  readonly metadata?: Readonly<Record<string, string>>;
}

const saveOptions: Rules<SaveOptions> = {
  dtype: true,
  metadata: is("strings by name", isRecord),
  architectures: true,
};

/**
 * A description and its weights, on the host or on the backend.
 *
 * @category Files
 */
export interface Trained<Config> {
  /** What the network is built from. */
  readonly config: Config;
  /** Its weights, as training gives them, say `state.ema`. They stay the caller's. */
  readonly params: Readonly<Record<string, HostTensor | Params[string]>>;
}

/**
 * Writes a denoiser to a file that `loadDenoiser` and `tweedie sample` read. The file that it replaces stays whole
 * until the new one is.
 *
 * @category Files
 * @param path Where to.
 * @param denoiser Description and weights, as `loadDenoiser` gives them. The caller keeps the weights, and may
 * dispose of them right after the call.
 * @param options How to store the weights; what else to note.
 * @returns When the file is there. Needs the permissions to read and to write its folder.
 * @throws {TypeError | RangeError} If `loadDenoiser` would refuse the file: a description that is none, weights that are
 * not its network's, or not finite; if an option is not known or out of its range. Nothing is written then.
 * @throws {Error} If the file cannot be written; `cause` is the system's error.
 *
 * @example Train, save, load
 * ```ts
 * import { initialize, key, loadDenoiser, saveDenoiser, unet } from "@tweedie/tweedie";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const network = { size: [8, 8], base: 8, multipliers: [1], blocks: 1, classes: 2 } as const;
 * const config = { schedule: { name: "linear" }, kind: "eps", network, classes: ["bag", "boot"] } as const;
 * const params = initialize(unet(network).parameters, key(0)); // or state.ema of a training's last state
 * const path = `${await Deno.makeTempDir()}/mine.safetensors`;
 * await saveDenoiser(path, { config, params });
 * assert.deepEqual((await loadDenoiser(path)).config, config);
 * ```
 */
export async function saveDenoiser(
  path: string,
  denoiser: Trained<ImageModelConfig<object>>,
  options: SaveOptions = {},
): Promise<void> {
  await saved(path, denoiser, options, { task: "denoise" }, denoiserOf);
}

/**
 * Writes a classifier of clean images to a file that `loadClassifier` reads. The file that it replaces stays whole
 * until the new one is.
 *
 * @category Files
 * @param path Where to.
 * @param classifier Description and weights, as `loadClassifier` gives them. The caller keeps the weights.
 * @param options How to store the weights; what else to note.
 * @returns When the file is there. Needs the permissions to read and to write its folder.
 * @throws {TypeError | RangeError | Error} As {@link saveDenoiser} does; also if the description has a schedule, which is that
 * of a classifier of noisy images.
 *
 * @example
 * ```ts
 * import { classifier, initialize, key, loadClassifier } from "@tweedie/tweedie";
 * import { saveClassifier } from "@tweedie/tweedie/io";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const config = { size: [4, 4], classes: 2, base: 8, names: ["bag", "boot"] } as const;
 * const params = initialize(classifier(config).parameters, key(0));
 * const path = `${await Deno.makeTempDir()}/judge.safetensors`;
 * await saveClassifier(path, { config, params });
 * assert.deepEqual((await loadClassifier(path)).config, config);
 * ```
 */
export async function saveClassifier(
  path: string,
  classifier: Trained<NamedClassifierConfig>,
  options: SaveOptions = {},
): Promise<void> {
  const wanted = { task: "classify", noisy: false } as const;
  await saved(path, classifier, options, wanted, classifierOf);
}

/**
 * Writes a classifier of noisy images to a file that `loadNoisyClassifier` and `tweedie sample --classifier` read.
 * The file that it replaces stays whole until the new one is.
 *
 * @category Files
 * @param path Where to.
 * @param classifier Description, with the schedule, and weights, as `loadNoisyClassifier` gives them. The caller keeps
 * the weights.
 * @param options How to store the weights; what else to note.
 * @returns When the file is there. Needs the permissions to read and to write its folder.
 * @throws {TypeError | RangeError | Error} As {@link saveDenoiser} does; also if the description has no schedule.
 *
 * @example Half as large
 * ```ts
 * import { initialize, key, loadNoisyClassifier } from "@tweedie/tweedie";
 * import { saveNoisyClassifier } from "@tweedie/tweedie/io";
 * import { timedClassifier } from "@tweedie/tweedie/network";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const config = { size: [4, 4], classes: 2, base: 8, schedule: { name: "linear" } } as const;
 * const params = initialize(timedClassifier(config).parameters, key(0));
 * const path = `${await Deno.makeTempDir()}/guide.safetensors`;
 * await saveNoisyClassifier(path, { config, params }, { dtype: "F16" });
 * assert.equal((await loadNoisyClassifier(path)).schedule.steps, 1000);
 * ```
 */
export async function saveNoisyClassifier(
  path: string,
  classifier: Trained<NoisyClassifierConfig>,
  options: SaveOptions = {},
): Promise<void> {
  const wanted = { task: "classify", noisy: true } as const;
  await saved(path, classifier, options, wanted, noisyClassifierOf);
}

/**
 * Writes an energy to a file that `loadEnergy` reads. The file that it replaces stays whole until the new one is.
 *
 * @category Files
 * @param path Where to.
 * @param energy Description and weights, as `loadEnergy` gives them. The caller keeps the weights.
 * @param options How to store the weights; what else to note.
 * @returns When the file is there. Needs the permissions to read and to write its folder.
 * @throws {TypeError | RangeError | Error} As {@link saveDenoiser} does.
 *
 * @example
 * ```ts
 * import { initialize, key } from "@tweedie/tweedie";
 * import { loadEnergy, saveEnergy } from "@tweedie/tweedie/io";
 * import { energyNet } from "@tweedie/tweedie/network";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const config = { size: [8, 8], base: 8 } as const;
 * const params = initialize(energyNet(config).parameters, key(0)); // or state.ema of a training's last state
 * const path = `${await Deno.makeTempDir()}/energy.safetensors`;
 * await saveEnergy(path, { config, params });
 * assert.deepEqual((await loadEnergy(path)).config, config);
 * ```
 */
export async function saveEnergy(
  path: string,
  energy: Trained<NamedEnergyConfig<object>>,
  options: SaveOptions = {},
): Promise<void> {
  await saved(path, energy, options, { task: "energy" }, energyOf);
}

/** Writes what a reader takes: the file's contents go through the reader's own checks first. */
async function saved<A extends { readonly network: { readonly parameters: Parameters } }>(
  path: string,
  { config, params }: Trained<unknown>,
  options: SaveOptions,
  wanted: Wanted,
  describe: Describe<A>,
): Promise<void> {
  const at = saving(path), { action } = at;
  const { dtype = "F32", metadata = {}, ...table } = decoded(action, options, saveOptions);
  if (!isRecord(params)) throw refusal(action, "params must be tensors by name", params);
  const taken = ["format", "model"].find((name) => Object.hasOwn(metadata, name));
  if (taken !== undefined) {
    throw refusal(action, "metadata must leave format and model to the description", taken);
  }
  if (Object.hasOwn(metadata, "architecture")) {
    throw refusal(action, "metadata must leave architecture to the description", "architecture");
  }
  checkPlain(action, config, "config");
  const all = { ...metadata, ...metadataOf(config, wanted.task) };
  const { config: found } = contentsOf({ metadata: all, entries: [] }, wanted, at);
  const { network } = describe(found, { ...table, tensors: Object.keys(params).length }, at);
  const tensors = await downloaded(action, params);
  checkParameters(tensors, network.parameters, action);
  checkNumbers(tensors, action);
  await writeSafetensors(path, tensors, all, { dtype });
}

/**
 * Trained models from files: weights and the description of their network in one safetensors file.
 *
 * Two kinds of files are read: weights, which `tweedie train --weights` writes for others to use, and checkpoints,
 * of which the moving average is taken.
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
import type { Model } from "../denoise/prediction.ts";
import { type Classifier, classifier, type ClassifierConfig } from "../network/classifier.ts";
import type { Parameters, Params } from "../network/layer.ts";
import { imageModel, type ImageModelConfig } from "../network/model.ts";
import { unet } from "../network/unet.ts";
import { checkShapes, toTensors } from "./checkpoint.ts";
import { type HostTensors, readSafetensors } from "./safetensors.ts";

/** A classifier's description, with the names of its classes. */
export type NamedClassifierConfig = ClassifierConfig & { readonly names?: readonly string[] };

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

/** Tensors of a file that are to be a model's, and the model's description. */
interface Contents {
  readonly tensors: HostTensors;
  readonly config: unknown;
}

/**
 * Reads a denoiser.
 *
 * @param path A file that `tweedie train` wrote: weights or a checkpoint.
 * @returns The model, ready to sample, on the backend in use. Needs read permission for the file.
 * @throws {SyntaxError} If the file is damaged, or is not of a denoiser.
 * @throws {RangeError} If its tensors are not those of the network that it describes.
 */
export async function loadDenoiser(path: string): Promise<LoadedDenoiser> {
  const { tensors, config: found } = await contents(path, "denoise"),
    config = found as ImageModelConfig;
  const params = described(path, () => matching(tensors, unet(config.network).parameters, path));
  return { model: described(path, () => imageModel(config, params)), config, params };
}

/**
 * Reads a classifier.
 *
 * @param path A file that `tweedie train --task classify` wrote: weights or a checkpoint.
 * @returns Network and weights, on the backend in use. Needs read permission for the file.
 * @throws {SyntaxError} If the file is damaged, or is not of a classifier.
 * @throws {RangeError} If its tensors are not those of the network that it describes.
 */
export async function loadClassifier(path: string): Promise<LoadedClassifier> {
  const { tensors, config: found } = await contents(path, "classify"),
    config = found as NamedClassifierConfig;
  const network = described(path, () => classifier(config));
  return { network, config, params: matching(tensors, network.parameters, path) };
}

async function contents(path: string, task: "denoise" | "classify"): Promise<Contents> {
  const { tensors, metadata } = await readSafetensors(path), format = metadata["format"];
  if (format === `tweedie.${task}`) return { tensors, config: json(path, metadata["model"]) };
  if (format !== "tweedie.checkpoint") {
    throw new SyntaxError(
      `Cannot load ${path}: its format must be tweedie.${task}, got ${format ?? "none"}`,
    );
  }
  const plan =
    (json(path, metadata["meta"]) as { plan?: { target?: { task?: string; model?: unknown } } })
      .plan;
  if (plan?.target?.task !== task) {
    throw new SyntaxError(
      `Cannot load ${path}: its task must be ${task}, got ${plan?.target?.task ?? "none"}`,
    );
  }
  const average = Object.entries(tensors).filter(([name]) => name.startsWith("ema."));
  return {
    tensors: Object.fromEntries(average.map(([name, tensor]) => [name.slice(4), tensor])),
    config: plan.target.model,
  };
}

function json(path: string, text: string | undefined): unknown {
  try {
    return JSON.parse(text ?? "");
  } catch (cause) {
    throw new SyntaxError(
      `Cannot load ${path}: its description must be JSON, got ${text?.slice(0, 40) ?? "none"}`,
      { cause },
    );
  }
}

/** Builds something from a file's description; a description that cannot be built from is the file's fault. */
function described<A>(path: string, build: () => A): A {
  try {
    return build();
  } catch (cause) {
    if (cause instanceof RangeError && cause.message.includes(path)) throw cause;
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new SyntaxError(
      `Cannot load ${path}: it must describe a network, got one that fails: ${why}`,
      { cause },
    );
  }
}

function matching(
  tensors: HostTensors,
  parameters: Parameters,
  path: string,
): Record<string, tf.Tensor> {
  checkShapes(
    tensors,
    Object.fromEntries(Object.entries(parameters).map(([name, { shape }]) => [name, shape])),
    path,
  );
  return toTensors(tensors);
}

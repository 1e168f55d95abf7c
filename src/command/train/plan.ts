/**
 * What a training run is, as plain data, and the network and loss that follow from it.
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
import { refusal } from "../../tensor/check/check.ts";
import type { Schedule } from "../../noise/schedule/schedule.ts";
import type { Network } from "../../network/layer/network.ts";
import { oneHot } from "../../network/layer/embedding.ts";
import { parameterCount, type Parameters } from "../../network/layer/parameter.ts";
import {
  architectureOf,
  type ArchitectureOptions,
  type ForImages,
} from "../../network/architecture.ts";
import { crossEntropy } from "../../network/classifier.ts";
import type { ImageModelConfig } from "../../network/model.ts";
import { type ScheduleConfig, scheduleOf } from "../../noise/named.ts";
import type { ImageBatch } from "../../data/batches.ts";
import {
  diffusionLoss,
  type DiffusionLossOptions,
  noisyClassifierLoss,
} from "../../train/diffusion.ts";
import type { Objective } from "../../train/loop/objective.ts";
import type { AdamOptions } from "../../train/optimizer/adam.ts";
import { timeLaws } from "../../train/timestep/law.ts";
import { timeSampler } from "../../train/timestep/sampler.ts";
import type { NamedClassifierConfig } from "../../io/weights.ts";

/** What is trained. */
export type TrainTarget =
  | {
    readonly task: "denoise";
    readonly model: ImageModelConfig<object>;
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
  /** Digest of the images and their classes, which the run fills in; none in plans of older versions. */
  readonly data?: string;
}

/** A network, and the loss that it is trained by. */
export interface Trained {
  readonly network: { readonly parameters: Parameters };
  readonly loss: Objective<ImageBatch>;
}

/** What a target stands for. */
export function objective(target: TrainTarget, options: ArchitectureOptions = {}): Trained {
  if (target.task === "classify") return classifying(target.model, options);
  const { kind, schedule: config, architecture } = target.model;
  const network = architectureOf("denoiser", architecture, options).build(target.model.network);
  return { network, loss: denoising(network, target, { kind, schedule: scheduleOf(config) }) };
}

/** The loss of a denoiser. */
function denoising(
  network: Network,
  { nullShare, times }: TrainTarget & { readonly task: "denoise" },
  options: Pick<DiffusionLossOptions, "schedule" | "kind">,
): Objective<ImageBatch> {
  return diffusionLoss(network, {
    ...options,
    nullShare: network.classes > 0 ? nullShare : 0,
    ...(times && timing(options.schedule, times)),
  });
}

/** How the usual denoiser is chosen for images. */
export const denoiserOfImages: ForImages = architectureOf("denoiser").images!;

/** The times of a plan, not reweighted: the law is part of the objective. */
function timing(schedule: Schedule, { law, least }: TimesPlan): Partial<DiffusionLossOptions> {
  const times = timeSampler(schedule, {
    law: timeLaws[law](schedule),
    ...(least === undefined ? {} : { least }),
  });
  return { times, reweighted: false };
}

function classifying(
  { schedule, architecture, ...config }: (TrainTarget & { readonly task: "classify" })["model"],
  options: ArchitectureOptions,
): Trained {
  if (schedule !== undefined) {
    const network = architectureOf("noisyClassifier", architecture, options).build(config);
    return { network, loss: noisyClassifierLoss(network, { schedule: scheduleOf(schedule) }) };
  }
  const network = architectureOf("classifier", architecture, options).build(config);
  const loss: Objective<ImageBatch> = {
    inputs: ({ images, shape, labels }) => ({
      x: tf.tensor4d(images, [...shape]),
      label: oneHot(labels!, config.classes),
    }),
    loss: (params, { x, label }) => crossEntropy(network.apply(params, x!), label!),
  };
  return { network, loss };
}

/**
 * Refuses images whose sides the network cannot halve, and says what to do.
 *
 * @param size Height and width of the images.
 * @param options What the network is to be.
 * @throws {RangeError} If a side is no multiple of what it must be.
 */
export function checkSides(
  size: readonly [height: number, width: number],
  { task, patch, multipliers }: {
    readonly task: TrainTarget["task"];
    readonly patch: number;
    readonly multipliers: readonly number[];
  },
): void {
  const divisor = task === "classify" ? 4 : patch * 2 ** (multipliers.length - 1);
  if (size.every((side) => side % divisor === 0)) return;
  const up = size.map((side) => Math.ceil(side / divisor) * divisor);
  const down = size.map((side) => Math.floor(side / divisor) * divisor);
  const ways = [
    `--size ${up} --fit pad puts black around them`,
    ...(down.every((side) => side > 0) ? [`--size ${down} --fit crop cuts them`] : []),
    `--size ${up} resizes them`,
    ...(task === "classify" ? [] : ["--multipliers 1 --patch 1 takes any"]),
  ];
  const why = task === "classify"
    ? "a classifier"
    : `--patch ${patch} and --multipliers ${multipliers}`;
  throw new RangeError(
    `Cannot train: size must be multiples of ${divisor} pixels for ${why}, got ${size.join("x")} (${
      ways.join("; ")
    })`,
  );
}

/** The most numbers in one array: 1 GiB of them, of which a step makes several. */
const most = 2 ** 28;

/**
 * The number of weights that a plan trains.
 *
 * @param plan The plan.
 * @param shape Shape of the images, [N, H, W, C].
 * @returns How many.
 * @throws {RangeError} If these, or the images of a batch, are more than memory can be expected to hold.
 */
export function planSize(
  plan: TrainPlan,
  [, height, width, channels]: readonly [number, number, number, number],
): number {
  const fitting = Math.floor(most / (height * width * channels));
  if (plan.batch > fitting) {
    const wanted =
      `--batch must be at most ${fitting} for images of ${height}x${width}x${channels}`;
    throw refusal("train", wanted, plan.batch);
  }
  const size = parameterCount(objective(plan.target).network.parameters);
  if (size <= most) return size;
  const growing = Object.entries(denoiserOfImages.choices).filter(([, { grows }]) => grows);
  const flags = growing.map(([name]) => `--${name}`), last = flags.pop();
  throw refusal(
    "train",
    `${flags.join(", ")} and ${last} must give at most ${most} weights`,
    size,
  );
}

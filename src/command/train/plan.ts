/**
 * What a training run is, as plain data, and the network and loss that follow from it.
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
import { refusal } from "../../tensor/check.ts";
import type { Schedule } from "../../noise/schedule.ts";
import { oneHot, parameterCount, type Parameters } from "../../network/layer.ts";
import { classifier, crossEntropy, timedClassifier } from "../../network/classifier.ts";
import { type ImageModelConfig, type ScheduleConfig, scheduleOf } from "../../network/model.ts";
import { unet } from "../../network/unet.ts";
import type { ImageBatch } from "../../data/batches.ts";
import {
  diffusionLoss,
  type DiffusionLossOptions,
  noisyClassifierLoss,
} from "../../train/diffusion.ts";
import type { Objective } from "../../train/loop.ts";
import type { AdamOptions } from "../../train/optimizer.ts";
import { timeLaws, timeSampler } from "../../train/timestep.ts";
import type { NamedClassifierConfig } from "../../io/weights.ts";

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
  /** Digest of the images and their classes, which the run fills in; none in plans of older versions. */
  readonly data?: string;
}

/** A network, and the loss that it is trained by. */
export interface Trained {
  readonly network: { readonly parameters: Parameters };
  readonly loss: Objective<ImageBatch>;
}

/** What a target stands for. */
export function objective(target: TrainTarget): Trained {
  if (target.task === "classify") return classifying(target.model);
  const { kind, schedule: config, network: layers } = target.model, network = unet(layers);
  const { nullShare, times } = target, schedule = scheduleOf(config);
  const share = network.classes > 0 ? nullShare : 0;
  const options = { schedule, kind, nullShare: share, ...(times && timing(schedule, times)) };
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
  throw refusal(
    "train",
    `--base, --multipliers and --blocks must give at most ${most} weights`,
    size,
  );
}

/**
 * The losses of a diffusion model, and of the classifier that guides one, on batches of images: noise them at random
 * times, predict, compare.
 *
 * Sources: J. Ho, A. Jain, P. Abbeel, "Denoising diffusion probabilistic models" (2020), algorithm 1; the null class of
 * J. Ho, T. Salimans, "Classifier-free diffusion guidance" (2021), algorithm 1; the classifier of P. Dhariwal, A. Nichol,
 * "Diffusion models beat GANs on image synthesis" (NeurIPS 2021), section 4.
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
import { type DenoisingBatch, regression, regressionErrors } from "../denoise/loss/regression.ts";
import { type Weighting, weightings } from "../denoise/loss/weighting.ts";
import type { Condition, Kind } from "../denoise/prediction.ts";
import { jumpMany } from "../noise/forward.ts";
import { unit } from "../noise/schedule/derived.ts";
import type { Schedule } from "../noise/schedule/schedule.ts";
import { crossEntropy, type TimedClassifier } from "../network/classifier.ts";
import type { Network } from "../network/layer/network.ts";
import { networkTime, oneHot } from "../network/layer/embedding.ts";
import type { Params } from "../network/layer/parameter.ts";
import { checkKind } from "../network/model.ts";
import { checkKey, notFinite, refusal } from "../tensor/check/check.ts";
import { decoded, is, type Rules, within } from "../tensor/check/decode.ts";
import type { Tensors } from "../tensor/engine.ts";
import { fold, type Key, split } from "../tensor/key.ts";
import { normal, uniforms } from "../tensor/random.ts";
import { scope } from "../tensor/scope.ts";
import type { ImageBatch } from "../data/batches.ts";
import type { Objective } from "./loop/objective.ts";
import { sampleTimes } from "./timestep/sampler.ts";
import type { TimeSampler } from "./timestep/range.ts";
import { uniformTimes } from "./timestep/uniform.ts";
import type { Scalar, Tensor } from "../tensor/tensor.ts";

/**
 * Options of {@link diffusionLoss}.
 *
 * @category Training
 */
export interface DiffusionLossOptions {
  /** The noise schedule. */
  readonly schedule: Schedule;
  /** What the network predicts: x0, v or flow where the schedule's alpha is 0 at its greatest time. */
  readonly kind: Kind;
  /**
   * Weight of each level of noise, by the errors and the level in the schedule's own unit. Default: even in the space of the
   * prediction.
   */
  readonly weighting?: Weighting;
  /** Share of the samples whose class is replaced by "no class", for guidance, of a network with classes. Default: 0. */
  readonly nullShare?: number;
  /** The law of the times, on the same schedule. Default: uniform, as {@link uniformTimes} draws them. */
  readonly times?: TimeSampler;
  /**
   * Whether each sample's loss is weighed so that its expectation is that under uniform times of the same range, which a
   * law of times then makes steadier and nothing else. Without, the law is part of the objective, as in EDM and rectified
   * flow. Only with `times`. Default: true.
   */
  readonly reweighted?: boolean;
}

const lossOptions: Rules<DiffusionLossOptions> = {
  schedule: true,
  kind: true,
  weighting: true,
  nullShare: is("in [0, 1]", within(0, 1)),
  times: true,
  reweighted: true,
};

/**
 * The denoising loss of a network: {@link denoisingLoss} of its answers, as an objective in two parts. The first draws
 * times and noise and makes x_t and the target of them, the second asks the network and compares.
 *
 * The network is trained in the schedule's {@link unit}: it is shown x_t/√(alpha² + sigma²), and its target is that of the
 * variance-preserving schedule of the same log-SNR.
 *
 * @category Training
 * @param network The network, which takes times in [0, 1000] and a class or null a sample.
 * @param options Schedule, meaning of the output, weighting, share of samples without a class.
 * @returns The objective: its times, noise and dropped classes come from the key, one key a sample. A network without
 *   classes sees no labels.
 * @throws {TypeError} If there is an option that is not known; when evaluated, if there is no key.
 * @throws {RangeError} If `nullShare` is not in [0, 1], or above 0 for a network without classes; if there is `reweighted`
 *   without `times`; as {@link checkKind}. When evaluated, if the batch is empty, not finite, or not of the sizes and classes
 *   that it says or that the network has.
 *
 * @example A network that starts at zero loses the mean square of the noise, 1
 * ```ts
 * import { batches, diffusionLoss, initialize, key, linear, unet } from "@tweedie/tweedie";
 * import { lossOf } from "@tweedie/tweedie/train";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const network = unet({ size: [8, 8], base: 8, multipliers: [1], blocks: 1 });
 * const loss = lossOf(diffusionLoss(network, { schedule: linear(), kind: "eps" }));
 * const set = { images: new Uint8Array(4 * 64), shape: [4, 8, 8, 1] } as const;
 * for (const batch of batches(set, { size: 4, key: key(0) })) {
 *   const [value] = loss(initialize(network.parameters, key(1)), batch, key(2)).dataSync();
 *   assert.ok(Math.abs(value! - 1) < 4 * Math.sqrt(2 / 256)); // four standard errors
 *   break;
 * }
 * ```
 */
export function diffusionLoss(
  network: Network,
  options: DiffusionLossOptions,
): Objective<ImageBatch> {
  decoded("make a loss", options, lossOptions);
  checkKind("make a loss", options);
  checkShares(network, options);
  const { schedule, kind, nullShare = 0, times: law } = options;
  const weighed = {
    schedule: unit(schedule),
    kind,
    weighting: ownUnit(reweighted(options), schedule),
  };
  const inputs = (batch: ImageBatch, key: Key): Record<string, Tensor> => {
    checkBatch(batch, key);
    const [n] = batch.shape, labels = network.classes > 0 ? batch.labels : undefined;
    const condition = dropped(labels, n, { key: fold(key, "null"), share: nullShare });
    return scope(() => {
      const draws = drawn(batch, key, { schedule, ...(law && { law }) });
      const times = draws.t.map((time) => networkTime(schedule, time));
      return { ...regression(draws, weighed), ...network.inputs(times, condition) };
    });
  };
  const loss = (params: Params, { xt, target, weights, time, label }: Tensors): Scalar =>
    scope(() => {
      const under = { time: time!, ...(label && { label }) };
      const answer = network.forward(params, xt!, under);
      return tf.mean(regressionErrors(answer, { target: target!, weights: weights! })) as Scalar;
    });
  return { inputs, loss };
}

/** Refuses options that would do nothing. */
function checkShares(
  { classes }: Network,
  { nullShare = 0, times, reweighted }: DiffusionLossOptions,
): void {
  const refused = (wanted: string, got: unknown): RangeError => refusal("make a loss", wanted, got);
  if (nullShare > 0 && classes === 0) {
    throw refused("nullShare must be 0 for a network without classes", nullShare);
  }
  if (reweighted !== undefined && times === undefined) {
    throw refused("reweighted must be absent without times", reweighted);
  }
}

/** Refuses a batch of images that is none, by the name of what is wrong with it, and what is no key. */
function checkBatch({ images, shape, labels }: ImageBatch, key: Key): void {
  const action = "compute the loss", [n] = shape, count = shape.reduce((a, b) => a * b, 1);
  const refused = (wanted: string, got: unknown): RangeError => refusal(action, wanted, got);
  checkKey(action, key);
  if (!(n > 0)) throw refused("batch.shape must be of at least one image", shape);
  if (images.length !== count) {
    throw refused(
      `batch.images must be ${count} numbers, as the shape [${shape}] has`,
      images.length,
    );
  }
  if (labels !== undefined && labels.length !== n) {
    throw refused(`batch.labels must be one for each of ${n} images`, labels.length);
  }
  const wrong = notFinite(images);
  if (wrong !== undefined) throw refused("batch.images must be finite", wrong);
}

/** The weighting with the weight of the times in that of the levels. */
function reweighted(options: DiffusionLossOptions): Weighting {
  const { times, reweighted = true, weighting = weightings.own } = options;
  if (!times || !reweighted) return weighting;
  return (errors, point) => weighting(errors, point) * times.weight(point.t);
}

/**
 * A weighting of a schedule as one of its {@link unit}, in which networks answer: x_t is divided by n = √(alpha² + sigma²)
 * there, v too, and a score is multiplied by it.
 */
function ownUnit(weighting: Weighting, schedule: Schedule): Weighting {
  if (unit(schedule) === schedule) return weighting;
  return ({ score, v, ...errors }, { t }) => {
    const level = schedule.at(t), square = level.alpha ** 2 + level.sigma ** 2;
    return weighting({ ...errors, score: score / square, v: v * square }, { level, t });
  };
}

/** The labels as a condition, each replaced by null with the probability given; all null without labels. */
function dropped(
  labels: Int32Array | undefined,
  n: number,
  { key, share }: { readonly key: Key; readonly share: number },
): Condition {
  const u = uniforms(key, n);
  return Array.from(
    { length: n },
    (_, i) => labels === undefined || u[i]! < share ? null : labels[i]!,
  );
}

/** Images, a time for each, and noise, under one key a sample. The tensors are the scope's. */
function drawn(
  { images, shape }: ImageBatch,
  key: Key,
  { schedule, law }: { readonly schedule: Schedule; readonly law?: TimeSampler },
): DenoisingBatch {
  const [n, ...sample] = shape, root = fold(key, "times");
  const t = law ? sampleTimes(law, n, root) : uniformTimes(schedule, n, root);
  const eps = normal(split(fold(key, "noise"), n), sample);
  return { x0: tf.tensor4d(images, [...shape]), eps, t };
}

/**
 * Options of {@link noisyClassifierLoss}.
 *
 * @category Training
 */
export interface NoisyClassifierLossOptions {
  /** The noise schedule. */
  readonly schedule: Schedule;
}

const classifierOptions: Rules<NoisyClassifierLossOptions> = { schedule: true };

/**
 * The loss of a classifier of noisy images, as an objective in two parts: with t uniform, as {@link uniformTimes} draws
 * it,
 *
 * ```text
 *   E_{t, (x_0, y), eps} [ −ln p(y | x_t/√(alpha² + sigma²), t) ]      x_t = alpha·x_0 + sigma·eps
 * ```
 *
 * in nats. It is least where p is p_t(y | x_t), whatever the law of the times: that is what guidance asks for. A
 * classifier of clean images, shown noisy ones, says something else.
 *
 * @category Training
 * @param network The network, which takes times in [0, 1000].
 * @param options The schedule.
 * @returns The objective: its times and noise come from the key, one key a sample, and are those of {@link diffusionLoss}.
 * @throws {TypeError} If there is an option that is not known; when evaluated, if the batch has no labels, or there is no key.
 * @throws {RangeError} When evaluated, if a label is not a class of the network, or the batch is empty, not finite, or not of
 *   the sizes that it says or that the network has.
 *
 * @example A network that starts without an opinion loses about ln 2 over two classes
 * ```ts
 * import { batches, initialize, key, linear } from "@tweedie/tweedie";
 * import { lossOf, noisyClassifierLoss } from "@tweedie/tweedie/train";
 * import { timedClassifier } from "@tweedie/tweedie/network";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const network = timedClassifier({ size: [4, 4], classes: 2, base: 8 });
 * const loss = lossOf(noisyClassifierLoss(network, { schedule: linear() }));
 * const set = { images: new Uint8Array(16 * 16), shape: [16, 4, 4, 1], labels: Uint8Array.from({ length: 16 }, (_, i) => i % 2) } as const;
 * for (const batch of batches(set, { size: 16, key: key(0) })) {
 *   const [value] = loss(initialize(network.parameters, key(1)), batch, key(2)).dataSync();
 *   assert.ok(Math.abs(value! - Math.LN2) < 0.3);
 *   break;
 * }
 * ```
 */
export function noisyClassifierLoss(
  network: TimedClassifier,
  options: NoisyClassifierLossOptions,
): Objective<ImageBatch> {
  const { schedule } = decoded("make a loss", options, classifierOptions), { at } = unit(schedule);
  const inputs = (batch: ImageBatch, key: Key): Record<string, Tensor> => {
    const { labels } = batch;
    if (labels === undefined) {
      throw new TypeError("Cannot train a classifier: the batch must have labels, got none");
    }
    checkBatch(batch, key);
    return scope(() => {
      const { x0, eps, t } = drawn(batch, key, { schedule });
      const { time } = network.inputs(t.map((time) => networkTime(schedule, time)));
      return { xt: jumpMany(x0, t.map(at), eps), time, label: oneHot(labels, network.classes) };
    });
  };
  const loss = (params: Params, { xt, time, label }: Tensors): Scalar =>
    scope(() => crossEntropy(network.forward(params, xt!, { time: time! }), label!));
  return { inputs, loss };
}

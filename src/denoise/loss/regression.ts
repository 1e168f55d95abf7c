/**
 * The training objective of denoising: one regression, whatever the network predicts and however the levels are weighed.
 *
 * Targets come straight from x_0 and eps, never by division, so the ends of a schedule (alpha = 0, sigma = 0) are as good as
 * its middle.
 *
 * The norm is squared, the mean is over the dimensions too, and there is no factor of ½; texts differ in the last two,
 * and some print the norm without its square or the score's target eps/sigma without its minus sign: those are slips.
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
import { jumpMany } from "../../noise/forward.ts";
import type { Level, Schedule } from "../../noise/schedule/schedule.ts";
import { atHand } from "../../tensor/check/ready.ts";
import { checkAmong, checkOptions, type Known, notFinite } from "../../tensor/check/check.ts";
import { scope } from "../../tensor/scope.ts";
import { type Kind, kinds, plane } from "../prediction.ts";
import type { Scalar, Tensor, Tensor1D } from "../../tensor/tensor.ts";
import { errorsOf, type Weighting, weightings } from "./weighting.ts";

/**
 * A network to train: its output at x_t, shape [N, ...sample], and times t, one a sample; shape of x_t. Synchronous and
 * made of operations with gradients.
 *
 * @category Models
 */
export type Denoiser = (xt: Tensor, t: readonly number[]) => Tensor;

/**
 * What one evaluation of the objective averages over.
 *
 * @category Models
 */
export interface DenoisingBatch {
  /** Data, shape [N, ...sample]. */
  readonly x0: Tensor;
  /** Standard normal noise, shape of `x0`. */
  readonly eps: Tensor;
  /** Times on the schedule, one for each of the N samples. */
  readonly t: readonly number[];
}

/**
 * Options of {@link denoisingLoss} and {@link perSample}.
 *
 * @category Models
 */
export interface DenoisingLossOptions {
  /** The schedule that gives t its meaning. */
  readonly schedule: Schedule;
  /** What the network predicts. */
  readonly kind: Kind;
  /**
   * Weight of each level. Default: `weightings.own`, the unweighted error of the prediction, which for eps is L_simple
   * (Ho et al. 2020, equation 14). Give `weightings.simple` to train a score.
   */
  readonly weighting?: Weighting;
}

const lossOptions: Known<DenoisingLossOptions> = { schedule: true, kind: true, weighting: true };

/**
 * What {@link target} is made of.
 *
 * @category Models
 */
export interface TargetParts {
  /** Data, shape [N, ...sample]. */
  readonly x0: Tensor;
  /** Noise, shape of `x0`. */
  readonly eps: Tensor;
  /** Marginals, one for each of the N samples. */
  readonly levels: readonly Level[];
}

/**
 * What a perfect network would answer if it saw x_0 and eps: `r·x_0 + q·eps` with (r, q) = `plane(kind, level)`.
 *
 * @category Models
 * @param kind What the network predicts.
 * @param parts Data, noise and a level for each sample. The tensors are not disposed of.
 * @returns Shape of x_0. It is the scope's, or the caller's where there is none.
 * @throws {RangeError} If shapes or counts do not agree, or a score is wanted at sigma = 0.
 *
 * @example The target of v at two levels
 * ```ts
 * import { target } from "@tweedie/tweedie/denoise";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import * as tf from "@tensorflow/tfjs-core";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const levels = [{ alpha: 1, sigma: 0 }, { alpha: 0, sigma: 1 }];
 * const v = target("v", { x0: tf.tensor([[2], [2]]), eps: tf.tensor([[3], [3]]), levels });
 * assert.deepEqual([...v.dataSync()], [3, -2]);
 * ```
 */
export function target(kind: Kind, { x0, eps, levels }: TargetParts): Tensor {
  if (kind === "score" && !levels.every(({ sigma }) => sigma > 0)) {
    throw new RangeError(
      `Cannot make the target of a score: sigma must be above 0, got ${
        levels.map(({ sigma }) => sigma)
      }`,
    );
  }
  const places = levels.map((level) => plane(kind, level));
  // A target is a mixture of x_0 and eps as x_t is, with other coefficients.
  return jumpMany(x0, places.map(([alpha, sigma]) => ({ alpha, sigma })), eps);
}

/**
 * What a network is shown and what it should answer, as tensors: a step of training without the network.
 *
 * @category Models
 */
export interface Regression {
  /** x_t = alpha·x_0 + sigma·eps, shape [N, ...sample]. */
  readonly xt: Tensor;
  /** What a perfect network would answer, {@link target}; shape of x_t. */
  readonly target: Tensor;
  /** Weight of each sample's squared error, [N]. */
  readonly weights: Tensor;
}

/**
 * A batch as a regression: all of the loss that does not depend on the network.
 *
 * @category Models
 * @param batch Data, noise and times. Not disposed of.
 * @param options Schedule, meaning of the output, weighting.
 * @returns New tensors. They are the scope's, or the caller's where there is none.
 * @throws {TypeError} If there is an option that is not known.
 * @throws {RangeError} If the batch is empty or disposed of, not finite (where the backend reads numbers at once), or of shapes
 *   and counts that do not agree; if a weight is not finite, or a score is trained at sigma = 0.
 *
 * @example The loss in two parts
 * ```ts
 * import { denoisingLoss, linear } from "@tweedie/tweedie";
 * import { regression, regressionErrors } from "@tweedie/tweedie/denoise";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import * as tf from "@tensorflow/tfjs-core";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const batch = { x0: tf.ones([2, 2]), eps: tf.tensor([[1, 3], [0, 2]]), t: [1, 1000] };
 * const options = { schedule: linear(), kind: "eps" } as const, parts = regression(batch, options);
 * const errors = regressionErrors(tf.tanh(parts.xt), parts), whole = denoisingLoss(tf.tanh, batch, options);
 * assert.equal(tf.mean(errors).dataSync()[0], whole.dataSync()[0]);
 * ```
 */
export function regression(batch: DenoisingBatch, options: DenoisingLossOptions): Regression {
  const { x0, eps, t } = batch, { schedule, kind } = options;
  checkOptions("compute the loss", options, lossOptions);
  checkAmong("compute the loss", "kind", kind, kinds);
  checkBatch(batch);
  const levels = t.map(schedule.at),
    weights = levels.map((level, i) => weight(options, level, t[i]!));
  return scope(() => ({
    target: target(kind, { x0, eps, levels }),
    xt: jumpMany(x0, levels, eps),
    weights: tf.tensor1d(weights),
  }));
}

/** Refuses a batch that is no batch, by the name of what is wrong with it. */
function checkBatch({ x0, eps, t }: DenoisingBatch): void {
  const shapes = [x0, eps].map((tensor) => `[${tensor.shape}]`), [n = 0] = x0.shape;
  for (const [name, { isDisposed }] of Object.entries({ x0, eps })) {
    if (!isDisposed) continue;
    throw new RangeError(
      `Cannot compute the loss: batch.${name} must be a tensor that is not disposed of, got one that is`,
    );
  }
  const unfit = (wanted: string, got: string | number): RangeError =>
    new RangeError(`Cannot compute the loss: ${wanted}, got ${got}`);
  if (n === 0) throw unfit("batch.x0 must hold at least one sample", `shape ${shapes[0]}`);
  if (shapes[0] !== shapes[1]) throw unfit(`batch.eps must be of shape ${shapes[0]}`, shapes[1]!);
  if (t.length !== n) throw unfit(`batch.t must be one time for each of ${n} samples`, t.length);
  for (const [name, values] of Object.entries({ x0: atHand(x0), eps: atHand(eps), t })) {
    const got = notFinite(values ?? []);
    if (got !== undefined) throw unfit(`batch.${name} must be finite`, got);
  }
}

/**
 * The loss of each sample, `w·‖target − answer‖² / d`: a pure function of tensors.
 *
 * @category Models
 * @param answer The network's answer to x_t; shape of x_t.
 * @param parts The target and the weights of a {@link regression}. Not disposed of.
 * @returns Shape [N], differentiable in the answer. It is the scope's, or the caller's where there is none.
 * @throws {RangeError} If the answer is of another shape, and would be broadcast.
 */
export function regressionErrors(
  answer: Tensor,
  { target, weights }: Pick<Regression, "target" | "weights">,
): Tensor1D {
  if (!tf.util.arraysEqual(answer.shape, target.shape)) {
    throw new RangeError(
      `Cannot compute the loss: the network's output must be of shape [${target.shape}], got [${answer.shape}]`,
    );
  }
  return scope(() => {
    const squares = tf.square(tf.reshape(tf.sub(answer, target), [target.shape[0]!, -1]));
    return tf.mul(tf.mean(squares, 1), weights) as Tensor1D;
  });
}

/**
 * The loss of each sample, `w·‖target − prediction‖² / d`, for evaluation and for importance sampling of t.
 *
 * @category Models
 * @param network The network.
 * @param batch Data, noise and times. Not disposed of.
 * @param options Schedule, meaning of the output, weighting.
 * @returns Shape [N], differentiable in what the network is made of. It is the scope's, or the caller's where there is none.
 * @throws As {@link regression}, and if the network's output is of another shape.
 *
 * @example A network that always says 0 loses the mean of eps²
 * ```ts
 * import { linear } from "@tweedie/tweedie";
 * import { perSample } from "@tweedie/tweedie/denoise";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import * as tf from "@tensorflow/tfjs-core";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const batch = { x0: tf.ones([2, 2]), eps: tf.tensor([[1, 3], [0, 2]]), t: [1, 1000] };
 * const losses = perSample((xt) => tf.zerosLike(xt), batch, { schedule: linear(), kind: "eps" });
 * assert.deepEqual([...losses.dataSync()], [5, 2]);
 * ```
 */
export function perSample(
  network: Denoiser,
  batch: DenoisingBatch,
  options: DenoisingLossOptions,
): Tensor1D {
  return scope(() => {
    const parts = regression(batch, options);
    return regressionErrors(network(parts.xt, batch.t), parts);
  });
}

/** The weight of one sample; refuses one that is not finite. */
function weight(options: DenoisingLossOptions, level: Level, t: number): number {
  const { kind, weighting = weightings.own } = options;
  const value = weighting(errorsOf(kind, level), { level, t });
  if (Number.isFinite(value)) return value;
  throw new RangeError(
    `Cannot weigh the loss: the weight of the ${kind} error must be finite, got ${value} at t = ${t}`,
  );
}

/**
 * The training objective: the mean of {@link perSample} over the batch, one Monte Carlo draw of
 *
 * ```text
 *   E_{t, x_0, eps} [ w(t) · ‖eps − eps_theta(x_t, t)‖² / d ],   x_t = alpha·x_0 + sigma·eps
 * ```
 *
 * with eps_theta the network's answer read as noise. A pure function: times and noise are in the batch.
 *
 * @category Models
 * @param network The network.
 * @param batch Data, noise and times. Not disposed of.
 * @param options Schedule, meaning of the output, weighting.
 * @returns The loss, differentiable in what the network is made of. It is the scope's, or the caller's where there is none.
 * @throws As {@link perSample}.
 *
 * @example A network that knows that all data are 0
 * ```ts
 * import { denoisingLoss, linear } from "@tweedie/tweedie";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import * as tf from "@tensorflow/tfjs-core";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const batch = { x0: tf.zeros([2, 3]), eps: tf.ones([2, 3]), t: [10, 900] };
 * const loss = denoisingLoss((xt) => tf.zerosLike(xt), batch, { schedule: linear(), kind: "x0" });
 * assert.equal(loss.dataSync()[0], 0);
 * ```
 */
export function denoisingLoss(
  network: Denoiser,
  batch: DenoisingBatch,
  options: DenoisingLossOptions,
): Scalar {
  return scope(() => tf.mean(perSample(network, batch, options)) as Scalar);
}

/**
 * The training objective of denoising: one regression, whatever the network predicts and however the levels are weighed.
 *
 * At a fixed x_t = alpha·x_0 + sigma·eps all predictions differ from their targets along one direction, so the errors
 * of any two kinds are multiples of each other,
 *
 * ```text
 *   eps error = b·(error of the prediction),   b = coefficients(kind, "eps", level)[1]
 *   score error = −eps error / sigma,  x_0 error = −(sigma/alpha)·eps error,  ...
 * ```
 *
 * and every published objective is E[ w · ‖target − prediction‖² / d ] with another w: `L_simple` is the unweighted eps
 * error, denoising score matching the score error weighed by sigma², the variational bound a sum of x_0 errors weighed
 * by drops in signal-to-noise ratio. Targets come straight from x_0 and eps, never by division, so the ends of a
 * schedule (alpha = 0, sigma = 0) are as good as its middle.
 *
 * The norm is squared, the mean is over the dimensions too, and there is no factor of ½; texts differ in the last two,
 * and some print the norm without its square or the score's target eps/sigma without its minus sign: those are slips.
 *
 * The errors of x_0, eps and flow, and the ratio of alpha and sigma, are the same in every unit of x_t; that of a score is
 * not, nor that of v. The weightings here are made of the former, so that each is the same objective whether the schedule's
 * own unit is meant or that of networks, in which alpha² + sigma² = 1.
 *
 * Sources: P. Vincent, "A connection between score matching and denoising autoencoders" (2011), section 4.2; J. Ho,
 * A. Jain, P. Abbeel, "Denoising diffusion probabilistic models" (NeurIPS 2020), equations 8, 12 and 14; T. Salimans,
 * J. Ho, "Progressive distillation for fast sampling of diffusion models" (ICLR 2022), section 4.
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
import { jumpMany } from "../noise/forward.ts";
import type { Level, Schedule } from "../noise/schedule/schedule.ts";
import { atHand } from "../tensor/check/ready.ts";
import { checkAmong, checkOptions, type Known, notFinite } from "../tensor/check/check.ts";
import { scope } from "../tensor/scope.ts";
import { posterior, stepWeight, variances } from "./posterior.ts";
import { coefficients, type Kind, kinds, plane } from "./prediction.ts";
import type { Scalar, Tensor, Tensor1D } from "../tensor/tensor.ts";

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
 * The squared error of each kind that goes with a squared error of 1 of the prediction; may be infinite.
 *
 * @category Models
 */
export type Errors = Readonly<Record<Kind, number>>;

/**
 * Where a weight is asked for.
 *
 * @category Models
 */
export interface WeightingPoint {
  /** Marginal at t. */
  readonly level: Level;
  /** Time on the schedule. */
  readonly t: number;
}

/**
 * The weight of a squared error of 1 of the prediction. Which error is weighed, and by how much, reads off the
 * function: `({ eps }) => eps` is the plain eps error, `({ x0 }, { level }) => x0 * level.alpha` the x_0 error times
 * alpha. Two networks of different kinds have the same loss under it where they say the same.
 *
 * @category Models
 */
export type Weighting = (errors: Errors, point: WeightingPoint) => number;

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
 * The squared error of each kind that goes with a squared error of 1 of one kind.
 *
 * @category Models
 * @param kind The kind whose error is 1.
 * @param level Marginal at t.
 * @returns A number for each kind, infinite where the one does not determine the other.
 *
 * @example An x_0 error of 1 is an eps error of the signal-to-noise ratio
 * ```ts
 * import { errorsOf } from "@tweedie/tweedie/denoise";
 * import assert from "node:assert/strict";
 *
 * assert.ok(Math.abs(errorsOf("x0", { alpha: 0.8, sigma: 0.6 }).eps - (0.8 / 0.6) ** 2) < 1e-12);
 * ```
 */
export function errorsOf(kind: Kind, level: Level): Errors {
  const error = (wanted: Kind): number => coefficients(kind, wanted, level)[1] ** 2;
  return Object.fromEntries(kinds.map((wanted) => [wanted, error(wanted)])) as Errors;
}

/**
 * The weightings of the literature. SNR is alpha²/sigma².
 *
 * | name | weight of the eps error | of the x_0 error | source |
 * |---|---|---|---|
 * | `own` | that of the prediction itself | | |
 * | `simple` | 1 | SNR | Ho et al. 2020, equation 14 |
 * | `data` | 1 / SNR | 1 | Salimans and Ho 2022, section 4 |
 * | `truncated` | max(1, 1 / SNR) | max(SNR, 1) | Salimans and Ho 2022, section 4 |
 * | `velocity` | 1 + 1 / SNR, that of v where alpha² + sigma² = 1 | SNR + 1 | Salimans and Ho 2022, section 4 |
 * | `minSnr(gamma)` | min(1, gamma / SNR) | min(SNR, gamma) | Hang et al., "Min-SNR weighting strategy" (2023), eq. 7 |
 *
 * `minSnr` takes gamma above 0. Default: 5.
 *
 * @category Models
 * @example
 * ```ts
 * import { errorsOf } from "@tweedie/tweedie/denoise";
 * import { weightings } from "@tweedie/tweedie";
 * import assert from "node:assert/strict";
 *
 * const level = { alpha: 1, sigma: 0.1 }, point = { level, t: 1 };
 * assert.ok(Math.abs(weightings.simple(errorsOf("x0", level), point) - 100) < 1e-9);
 * assert.equal(weightings.minSnr()(errorsOf("x0", level), point), 5);
 * ```
 */
export const weightings: {
  readonly own: Weighting;
  readonly simple: Weighting;
  readonly data: Weighting;
  readonly truncated: Weighting;
  readonly velocity: Weighting;
  readonly minSnr: (gamma?: number) => Weighting;
} = {
  own: () => 1,
  simple: ({ eps }) => eps,
  data: ({ x0 }) => x0,
  truncated: ({ eps, x0 }) => Math.max(eps, x0),
  velocity: ({ eps, x0 }) => eps + x0,
  minSnr: (gamma = 5) => {
    if (!(gamma > 0)) {
      throw new RangeError(`Cannot make a weighting: gamma must be above 0, got ${gamma}`);
    }
    return ({ eps, x0 }) => Math.min(eps, gamma * x0);
  },
};

/**
 * The weighting under which the loss is the variational bound.
 *
 * For a discrete schedule the weight at t is that of KL(q(x_{t−1} | x_t, x_0) ‖ p(x_{t−1} | x_t)) with the large
 * variance, which is finite at the first time as well, from which the step leads to the data (Ho et al. 2020, equation 12);
 * N times the mean of the loss over its N times is the bound in nats for each dimension, but for constants. For a continuous
 * one it is
 *
 * ```text
 *   g²/2 of the score error = g²/(2·sigma²) of the eps error = −½·d(log-SNR)/dt of it,
 * ```
 *
 * the last in whatever unit x_t is, and the bound is the integral over t (Y. Song, C. Durkan, I. Murray, S. Ermon, "Maximum
 * likelihood training of score-based diffusion models", NeurIPS 2021, equation 7; D. Kingma et al., "Variational diffusion
 * models", NeurIPS 2021, equation 17).
 *
 * @category Models
 * @param schedule The schedule of the loss.
 * @returns The weighting, in nats.
 *
 * @example At the last step of DDPM
 * ```ts
 * import { errorsOf, variational } from "@tweedie/tweedie/denoise";
 * import { linear } from "@tweedie/tweedie";
 * import assert from "node:assert/strict";
 *
 * const schedule = linear(), level = schedule.at(1000);
 * const weight = variational(schedule)(errorsOf("eps", level), { level, t: 1000 });
 * assert.ok(Math.abs(weight - 0.0102045) < 1e-7);
 * ```
 *
 * @example The exploding noise, whose log-SNR falls evenly
 * ```ts
 * import { errorsOf, variational } from "@tweedie/tweedie/denoise";
 * import { ve } from "@tweedie/tweedie";
 * import assert from "node:assert/strict";
 *
 * const schedule = ve({ sigmaMin: 0.01, sigmaMax: 50 }), level = schedule.at(0.77);
 * const weight = variational(schedule)(errorsOf("eps", level), { level, t: 0.77 });
 * assert.ok(Math.abs(weight - Math.log(50 / 0.01)) < 1e-9);
 * ```
 */
export function variational(schedule: Schedule): Weighting {
  const { steps, at, diffusion } = schedule;
  if (steps === undefined) return ({ eps }, { t }) => eps * (diffusion(t) / at(t).sigma) ** 2 / 2;
  return ({ x0 }, { t }) => {
    // Both of the schedule's own, whatever the unit of the loss: the large variance is one of x_t.
    const level = at(t), s = t >= 1 ? at(t - 1) : data;
    return x0 * stepWeight(posterior(level, s), variances.large(level, s));
  };
}

/** The level of the data themselves. */
const data: Level = { alpha: 1, sigma: 0 };

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

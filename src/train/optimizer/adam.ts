/**
 * Adam as a pure function of weights, gradients and moments.
 *
 * Sources: D. Kingma, J. Ba, "Adam: a method for stochastic optimization" (2015), algorithm 1; I. Loshchilov,
 * F. Hutter, "Decoupled weight decay regularization" (2019), algorithm 2, line 12 (AdamW).
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
import type { Params } from "../../network/layer/parameter.ts";
import { checkTensors, refusal } from "../../tensor/check/check.ts";
import { decoded, type Rules } from "../../tensor/check/decode.ts";
import { mapTensors } from "../../tensor/engine.ts";
import { scope } from "../../tensor/scope.ts";
import type { Scalar, Tensor } from "../../tensor/tensor.ts";
import { clipped, type Optimizer, positive, share, size } from "./optimizer.ts";

/**
 * First and second moments of the gradients, by the weights' names.
 *
 * @category Training
 */
export type Moments = {
  /** Running mean of the gradient. */
  readonly mean: Params;
  /** Running mean of its square. */
  readonly square: Params;
};

/**
 * Options of {@link adam}.
 *
 * @category Training
 */
export interface AdamOptions {
  /** Step size after warm-up. Default: 1e-3. */
  readonly rate?: number;
  /** Decay of the mean of gradients, in [0, 1). Default: 0.9. */
  readonly beta1?: number;
  /** Decay of the mean of squares, in [0, 1). Default: 0.999. */
  readonly beta2?: number;
  /** Added to the root of the second moment. Default: 1e-8. */
  readonly epsilon?: number;
  /** Decoupled weight decay, in units of the step size (AdamW). Default: 0. */
  readonly decay?: number;
  /** Steps over which the step size rises from 0 to `rate`. Default: 0. */
  readonly warmup?: number;
  /** Step at which a cosine fall of the step size from `rate` to 0 ends; none when absent. */
  readonly anneal?: number;
  /** Greatest Euclidean norm of the whole gradient; a longer one is scaled down to it. Default: no limit. */
  readonly clip?: number;
}

/** The domains of the constants; outside of them weights would become NaN or go the wrong way. */
export const adamOptions: Rules<AdamOptions> = {
  rate: size,
  beta1: share,
  beta2: share,
  epsilon: size,
  decay: size,
  warmup: size,
  anneal: positive,
  clip: positive,
};

/**
 * Weights and moments after a step.
 *
 * @category Training
 */
export interface Updated {
  /** New weights. */
  readonly params: Record<string, Tensor>;
  /** New moments. */
  readonly moments: Moments;
}

/**
 * Zero moments for weights. They are the scope's, or the caller's where there is none.
 *
 * @category Training
 */
export function noMoments(params: Params): Moments {
  const zeros = () => mapTensors(params, (weight) => tf.zerosLike(weight));
  return { mean: zeros(), square: zeros() };
}

/**
 * The step size at a step: rate · min(1, step/warmup) · (1 + cos(π·min(1, step/anneal)))/2, the last factor only where
 * there is annealing.
 *
 * Source of the cosine: I. Loshchilov, F. Hutter, "SGDR: stochastic gradient descent with warm restarts" (2017),
 * equation 5, of one run that ends at 0.
 *
 * @category Training
 * @param step Number of the step, from 1.
 * @param options The constants; `rate`, `warmup` and `anneal` are read.
 * @returns The step size.
 * @throws {TypeError} If there is an option that is not known.
 * @throws {RangeError} If a constant is out of range.
 *
 * @example Half way up, at the top, half way down
 * ```ts
 * import { learningRate } from "@tweedie/tweedie/train";
 * import assert from "node:assert/strict";
 *
 * assert.equal(learningRate(50, { rate: 1, warmup: 100 }), 0.5);
 * assert.equal(learningRate(100, { rate: 1, warmup: 100 }), 1);
 * assert.ok(Math.abs(learningRate(500, { rate: 1, anneal: 1000 }) - 0.5) < 1e-12);
 * ```
 */
export function learningRate(step: number, options: AdamOptions = {}): number {
  return rateAt(step, decoded(action, options, adamOptions));
}

function rateAt(step: number, { rate = 1e-3, warmup = 0, anneal }: AdamOptions): number {
  const rise = warmup > 0 ? Math.min(1, step / warmup) : 1;
  if (anneal === undefined) return rate * rise;
  return rate * rise * 0.5 * (1 + Math.cos(Math.PI * Math.min(1, step / anneal)));
}

/**
 * One step of Adam, with decoupled weight decay, clipping and warm-up:
 *
 * ```text
 *   m ← β1·m + (1 − β1)·g         v ← β2·v + (1 − β2)·g²
 *   w ← w − rate·(m/(1 − β1ᵏ) / (√(v/(1 − β2ᵏ)) + epsilon) + decay·w)
 * ```
 *
 * @category Training
 * @param current Weights, their gradients, the moments so far, and the number k of this step, from 1. Not disposed of.
 * @param options The constants.
 * @returns New weights and moments. They are the scope's, or the caller's where there is none.
 * @throws {TypeError} If there is an option that is not known.
 * @throws {RangeError} If the step or a constant is out of range, or a tensor is disposed of, or not of the names and shapes of
 *   the weights.
 *
 * @example The first step goes against the sign of the gradient, by the step size
 * ```ts
 * import { adam, noMoments } from "@tweedie/tweedie/train";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import * as tf from "@tensorflow/tfjs-core";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const params = { w: tf.tensor1d([1]) }, gradients = { w: tf.tensor1d([20]) };
 * const next = adam({ params, gradients, moments: noMoments(params), step: 1 }, { rate: 0.1 });
 * assert.ok(Math.abs(next.params["w"]!.dataSync()[0]! - 0.9) < 1e-6);
 * ```
 */
export function adam(
  current: AdamInputs & { readonly step: number },
  options: AdamOptions = {},
): Updated {
  const { step, params, gradients, moments: { mean, square } } = current;
  const others = { gradients, "moments.mean": mean, "moments.square": square };
  checkTensors(action, params, { name: "params" });
  for (const [name, tensors] of Object.entries(others)) {
    checkTensors(action, tensors, { name, like: params, whose: "params" });
  }
  return adamUpdate(current, adamConstants(step, options));
}

/**
 * {@link adam} as an optimizer.
 *
 * @category Training
 * @param options The constants.
 * @returns The optimizer, which keeps {@link Moments}.
 * @throws {TypeError} If there is an option that is not known.
 * @throws {RangeError} If a constant is out of range.
 *
 * @example
 * ```ts
 * import { byAdam } from "@tweedie/tweedie";
 * import assert from "node:assert/strict";
 *
 * assert.equal(byAdam({ beta2: 0.75 }).numbers(1)["scale"], 4);
 * ```
 */
export function byAdam(options: AdamOptions = {}): Optimizer {
  const { beta1, beta2, epsilon, clip } = adamConstants(1, options);
  const fixed = { beta1, beta2, epsilon, ...(clip !== undefined && { clip }) };
  return {
    name: "adam",
    init: noMoments,
    numbers: (step) => {
      const { move, scale, keep } = constantsAt(step, options);
      return { move, scale, ...(keep !== undefined && { keep }) };
    },
    update: ({ params, gradients, moments }, { move, scale, keep }) =>
      adamUpdate({ params, gradients, moments: moments as Moments }, {
        ...fixed,
        move: move!,
        scale: scale!,
        ...(keep !== undefined && { keep }),
      }),
  };
}

/** What cannot be done with a constant out of range. */
const action = "make a step of Adam";

/**
 * Weights, their gradients and the moments so far, by the same names.
 *
 * @category Training
 */
export interface AdamInputs {
  /** Weights. */
  readonly params: Params;
  /** Gradient of the loss by each. */
  readonly gradients: Params;
  /** Moments before this step. */
  readonly moments: Moments;
}

/**
 * The numbers of a step of Adam. Those that change with the step may be tensors, for steps that are compiled once.
 *
 * @category Training
 */
export interface AdamConstants {
  /** Decay of the mean of gradients. */
  readonly beta1: number;
  /** Decay of the mean of squares. */
  readonly beta2: number;
  /** Added to the root of the second moment. */
  readonly epsilon: number;
  /** Greatest norm of the gradient; no limit when absent. */
  readonly clip?: number;
  /** Step size over 1 − β1ᵏ. */
  readonly move: number | Scalar;
  /** 1/(1 − β2ᵏ). */
  readonly scale: number | Scalar;
  /** 1 − step size · decay; absent without weight decay. */
  readonly keep?: number | Scalar;
}

/**
 * The numbers of a step, in float64 on the host.
 *
 * @category Training
 * @param step Number k of the step, from 1.
 * @param options The constants of the run.
 * @returns Those of the step.
 * @throws {TypeError} If there is an option that is not known.
 * @throws {RangeError} If the step or a constant is out of range.
 *
 * @example Moments that start at zero are scaled up at first
 * ```ts
 * import { adamConstants } from "@tweedie/tweedie/train";
 * import assert from "node:assert/strict";
 *
 * const { scale } = adamConstants(1, { beta2: 0.75 });
 * assert.equal(scale, 4);
 * ```
 */
export function adamConstants(
  step: number,
  options: AdamOptions = {},
): AdamConstants & { readonly move: number; readonly scale: number; readonly keep?: number } {
  return constantsAt(step, decoded(action, options, adamOptions));
}

/** The same of constants that are in their domains, as at every step of a run. */
function constantsAt(step: number, options: AdamOptions): ReturnType<typeof adamConstants> {
  const { beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8, decay = 0, clip } = options;
  if (!Number.isSafeInteger(step) || step < 1) {
    throw refusal(action, "step must be a whole number of at least 1", step);
  }
  const rate = rateAt(step, options);
  return {
    beta1,
    beta2,
    epsilon,
    ...(clip !== undefined && { clip }),
    move: rate / (1 - beta1 ** step),
    scale: 1 / (1 - beta2 ** step),
    ...(decay !== 0 && { keep: 1 - rate * decay }),
  };
}

/**
 * The arithmetic of {@link adam}: a pure function of tensors.
 *
 * @category Training
 * @param current Weights, gradients and moments. Not disposed of.
 * @param constants The numbers of the step, {@link adamConstants}.
 * @returns New weights and moments. They are the scope's, or the caller's where there is none.
 */
export function adamUpdate(current: AdamInputs, constants: AdamConstants): Updated {
  const { beta1, beta2, epsilon, clip, move, scale, keep } = constants,
    { params, moments } = current;
  return scope(() => {
    const gradients = clip === undefined ? current.gradients : clipped(current.gradients, clip);
    const mean = mapTensors(moments.mean, (m, name) => blend(m, gradients[name]!, beta1));
    const square = mapTensors(
      moments.square,
      (v, name) => blend(v, tf.square(gradients[name]!), beta2),
    );
    const updated = mapTensors(params, (weight, name) => {
      const size = tf.add(tf.sqrt(tf.mul(square[name]!, scale)), epsilon);
      const kept = keep === undefined ? weight : tf.mul(weight, keep);
      return tf.sub(kept, tf.mul(tf.div(mean[name]!, size), move));
    });
    return { params: updated, moments: { mean, square } };
  });
}

/** share·a + (1 − share)·b. */
const blend = (a: Tensor, b: Tensor, share: number): Tensor =>
  tf.add(tf.mul(a, share), tf.mul(b, 1 - share));

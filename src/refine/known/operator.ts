/**
 * Linear measurements A·x of samples, as data: A, its adjoint, and what makes the inverse of r²·A·Aᵀ + std²·I cheap. Where A·Aᵀ
 * is a multiple of the identity on A's range, that is a division, and A⁺ = Aᵀ/gram; elsewhere both are by conjugate gradients.
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
import { conjugateGradients } from "../../solve/linear.ts";
import type { Check } from "../../sample/path.ts";
import { scope } from "../../tensor/scope.ts";
import { checkMask, checkTensor, refusal } from "./check.ts";
import type { Tensor } from "../../tensor/tensor.ts";

/**
 * A linear map A of samples, as data.
 *
 * @category Refinements
 */
export interface Operator {
  /** A·x: from [N, ...sample] to [N, ...measured]; new tensor, in operations that have a gradient. */
  readonly apply: (x: Tensor) => Tensor;
  /** Aᵀ·y: from [N, ...measured] to [N, ...sample], such that ⟨A·x, y⟩ = ⟨x, Aᵀ·y⟩. */
  readonly adjoint: (y: Tensor) => Tensor;
  /** g where A·Aᵀ·y = g·y for all y = A·x; absent where there is no such number. */
  readonly gram?: number;
  /**
   * The part of y that A·x can have, where that is not all of it: what a mask hides has no part in a measurement. Default:
   * A·Aᵀ·y/g where there is a g, otherwise all of it.
   */
  readonly within?: (y: Tensor) => Tensor;
  /** What has to hold of the operator before the first step. Default: nothing. */
  readonly check?: Check;
}

/**
 * The operator that keeps what a mask keeps: A·x = mask·x, of the shape of x.
 *
 * @category Refinements
 * @param kept 1 where x is kept and 0 elsewhere, of a shape that broadcasts to that of x without growing it. It stays the
 * caller's, and is to outlive the operator.
 * @returns The operator, with gram 1. A run with it throws a RangeError on a mask of other numbers, or of another shape.
 * @throws {TypeError} If the mask is no tensor.
 *
 * @example
 * ```ts
 * import { mask } from "@tweedie/tweedie";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import * as tf from "@tensorflow/tfjs-core";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const left = mask(tf.tensor([[1, 0]]));
 * assert.deepEqual(left.apply(tf.tensor([[3, 4]])).arraySync(), [[3, 0]]);
 * ```
 */
export function mask(kept: Tensor): Operator {
  checkTensor("mask", kept);
  const apply = (x: Tensor): Tensor => tf.mul(x, kept);
  return {
    apply,
    adjoint: apply,
    gram: 1,
    within: (y) => shownBy(kept, y, tf.zerosLike(y)),
    check: (_, { x }) => scope(() => checkMask(kept, x.shape)),
  };
}

/**
 * y where a mask is 1, and something else where it is 0: also in place of NaN, which 0 times it would keep.
 *
 * @param mask Of zeros and ones.
 * @param y What is seen.
 * @param otherwise What is not.
 * @returns Of the shape that all three broadcast to. Called within a scope.
 */
export function shownBy(mask: Tensor, y: Tensor, otherwise: Tensor): Tensor {
  const shape = tf.broadcast_util.assertAndGetBroadcastShape(
    tf.broadcast_util.assertAndGetBroadcastShape(mask.shape, y.shape),
    otherwise.shape,
  );
  const wide = (tensor: Tensor): Tensor => tf.broadcastTo(tensor, shape);
  return tf.where(wide(tf.greater(mask, 0.5)), wide(y), wide(otherwise));
}

/**
 * The operator that averages blocks of pixels: [N, H, W, C] to [N, H/factor, W/factor, C].
 *
 * @category Refinements
 * @param factor Height and width of a block in pixels; divides H and W.
 * @returns The operator, with gram 1/factor². It throws a RangeError on images that it does not divide.
 * @throws {RangeError} If the factor is not a whole number of at least 1.
 *
 * @example
 * ```ts
 * import { downsample } from "@tweedie/tweedie";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import * as tf from "@tensorflow/tfjs-core";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const small = downsample(2).apply(tf.tensor([1, 2, 3, 6], [1, 2, 2, 1]));
 * assert.deepEqual([...small.dataSync()], [3]);
 * ```
 */
export function downsample(factor: number): Operator {
  if (!Number.isSafeInteger(factor) || factor < 1) {
    throw refusal("factor must be a whole number of at least 1", factor);
  }
  const blocks = (x: Tensor): Tensor => {
    const [n, h, w, c] = imageShape(x);
    if (h % factor || w % factor) {
      throw refusal(`x must be of sides divisible by ${factor}`, `[${x.shape}]`);
    }
    return tf.reshape(x, [n * h / factor, factor, w / factor, factor * c]);
  };
  return {
    apply: (x) =>
      scope(() => {
        const [n, h, w, c] = imageShape(x), rows = tf.sum(blocks(x), 1);
        const cells = tf.sum(tf.reshape(rows, [-1, factor, c]), 1);
        return tf.div(tf.reshape(cells, [n, h / factor, w / factor, c]), factor ** 2);
      }),
    adjoint: (y) => scope(() => tf.div(repeated(repeated(y, 1, factor), 2, factor), factor ** 2)),
    gram: 1 / factor ** 2,
  };
}

/** Each entry of an axis, `times` times over. */
function repeated(x: Tensor, axis: number, times: number): Tensor {
  const shape = x.shape, wide = tf.expandDims(x, axis + 1);
  const tiled = tf.tile(wide, wide.shape.map((_, i) => i === axis + 1 ? times : 1));
  return tf.reshape(tiled, shape.map((size, i) => i === axis ? size * times : size));
}

/**
 * The operator that makes pictures grey: [N, ..., C] to [N, ..., 1]. To observe it is to colour them in.
 *
 * @category Refinements
 * @param weights Of each channel. Default: equal parts of red, green and blue, 1/3.
 * @returns The operator, with gram Σ weights².
 * @throws {RangeError} If there are no weights, or one is not finite.
 *
 * @example
 * ```ts
 * import { grey } from "@tweedie/tweedie";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import * as tf from "@tensorflow/tfjs-core";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const luma = grey([0.25, 0.5, 0.25]).apply(tf.tensor([1, 2, 3], [1, 1, 1, 3]));
 * assert.deepEqual([...luma.dataSync()], [2]);
 * ```
 */
export function grey(weights: readonly number[] = [1 / 3, 1 / 3, 1 / 3]): Operator {
  if (weights.length === 0 || !weights.every(Number.isFinite)) {
    throw refusal("weights must be finite, one for each channel", `[${weights}]`);
  }
  return {
    apply: (x) => scope(() => tf.sum(tf.mul(x, tf.tensor1d([...weights])), -1, true)),
    adjoint: (y) => scope(() => tf.mul(y, tf.tensor1d([...weights]))),
    gram: weights.reduce((sum, w) => sum + w * w, 0),
  };
}

/**
 * The operator that blurs images [N, H, W, C] by a kernel, along rows and columns in turn, with nothing beyond the border.
 *
 * @category Refinements
 * @param kernel An odd number of weights.
 * @returns The operator; its inverse is by conjugate gradients.
 * @throws {RangeError} If the kernel has an even number of weights, or one is not finite.
 *
 * @example
 * ```ts
 * import { blur } from "@tweedie/tweedie";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import * as tf from "@tensorflow/tfjs-core";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const soft = blur([0.25, 0.5, 0.25]).apply(tf.tensor([0, 4, 0], [1, 1, 3, 1]));
 * assert.deepEqual([...soft.dataSync()], [0.5, 1, 0.5]);
 * ```
 */
export function blur(kernel: readonly number[]): Operator {
  if (kernel.length % 2 !== 1 || !kernel.every(Number.isFinite)) {
    throw refusal("kernel must be an odd number of finite weights", `[${kernel}]`);
  }
  const by = (weights: readonly number[]) => (x: Tensor): Tensor =>
    scope(() => alongAxis(alongAxis(x, 1, weights), 2, weights));
  return { apply: by(kernel), adjoint: by(kernel.toReversed()) };
}

/** Correlation along an axis with zeros beyond the border. */
function alongAxis(x: Tensor, axis: number, kernel: readonly number[]): Tensor {
  const half = (kernel.length - 1) / 2;
  const wide = tf.pad(x, x.shape.map((_, i) => i === axis ? [half, half] : [0, 0]));
  return tf.addN(
    kernel.map((weight, k) =>
      tf.mul(tf.slice(wide, x.shape.map((_, i) => i === axis ? k : 0), x.shape), weight)
    ),
  );
}

function imageShape(x: Tensor): [number, number, number, number] {
  if (x.rank === 4) return x.shape as [number, number, number, number];
  throw refusal("x must be of shape [N, H, W, C]", `[${x.shape}]`);
}

/** A system (r2·A·Aᵀ + noise2·I)·u = b. */
export interface System {
  /** A. */
  readonly operator: Operator;
  /** The weight of A·Aᵀ. */
  readonly r2: number;
  /** The weight of the identity. */
  readonly noise2: number;
  /** Steps of conjugate gradients, where there is no gram. */
  readonly iterations: number;
}

/**
 * u of a system, sample by sample.
 *
 * @param system The system.
 * @param b In A's range.
 * @returns u, shape of b. Called within a scope.
 */
export function solved(system: System, b: Tensor): Tensor {
  const { operator, r2, noise2, iterations } = system;
  if (operator.gram !== undefined) return tf.div(b, r2 * operator.gram + noise2);
  const times = (p: Tensor): Tensor =>
    tf.add(tf.mul(operator.apply(operator.adjoint(p)), r2), tf.mul(p, noise2));
  return conjugateGradients(times, b, iterations);
}

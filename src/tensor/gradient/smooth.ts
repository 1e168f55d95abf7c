/**
 * Smooth functions that are right at every order of differentiation, whatever gradients are registered.
 *
 * Each saves its input, and its derivative is written with functions of the same kind.
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
import type { Tensor } from "../tensor.ts";

/** A function of one tensor whose derivative is written with functions of the same kind, so that every order is right. */
function smooth(
  value: (x: Tensor) => Tensor,
  derivative: (x: Tensor) => Tensor,
): (x: Tensor) => Tensor {
  const lifted = tf.customGrad((...inputs) => {
    const [x, save] = inputs as unknown as [Tensor, tf.GradSaveFunc];
    save([x]);
    return {
      value: value(x),
      gradFunc: (dy: Tensor, saved: Tensor[]) => tf.mul(dy, derivative(saved[0]!)),
    };
  });
  return (x) => lifted(x);
}

/**
 * eˣ, right at every order of differentiation. float32 of x's shape; the caller disposes of it, as with all functions
 * here.
 */
export const exp: (x: Tensor) => Tensor = smooth(tf.exp, (x) => exp(x));

/** 1/(1 + e⁻ˣ), right at every order. Shape of x. */
export const sigmoid: (x: Tensor) => Tensor = smooth(
  tf.sigmoid,
  (x) => tf.mul(sigmoid(x), sigmoid(tf.neg(x))),
);

/** The same for what it is multiplied by: engines may have a faster one, whose small values are right to 1e-7 of 1. */
const gate: (x: Tensor) => Tensor = smooth(
  (x) => tf.engine().runKernel("Sigmoid", { x }, { gate: true }),
  (x) => tf.mul(gate(x), gate(tf.neg(x))),
);

/** tanh x, right at every order. Shape of x. */
export const tanh: (x: Tensor) => Tensor = smooth(
  tf.tanh,
  (x) => tf.sub(1, tf.square(tanh(x))),
);

/**
 * x·sigmoid(x), right at every order. Shape of x. On the `onnx` engine its error is 1e-6 at most, which below −12 is as much as
 * it is itself.
 *
 * Source: S. Elfwing, E. Uchibe, K. Doya, "Sigmoid-weighted linear units for neural network function approximation in
 * reinforcement learning" (2018), equation 5.
 *
 * @example The second derivative, of which tfjs's own gradients make 0.443
 * ```ts
 * import { smooth } from "@tweedie/tweedie";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import * as tf from "@tensorflow/tfjs-core";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const second = tf.grad(tf.grad(smooth.silu))(tf.scalar(0.7));
 * assert.equal(second.dataSync()[0]!.toFixed(3), "0.391");
 * ```
 */
export const silu: (x: Tensor) => Tensor = smooth(
  (x) => tf.mul(x, gate(x)),
  (x) => {
    // In terms of silu itself, which a compiled step has at hand.
    const s = gate(x);
    return tf.add(s, tf.mul(tf.mul(x, s), tf.sub(1, s)));
  },
);

const liftedSoftmax = tf.customGrad((...inputs) => {
  const [x, save] = inputs as unknown as [Tensor, tf.GradSaveFunc];
  save([x]);
  return {
    value: tf.softmax(x),
    gradFunc: (dy: Tensor, saved: Tensor[]) => softmaxVjp(dy, saved[0]!),
  };
});

/** The vector–Jacobian product of a softmax over the last axis, from its input. */
export function softmaxVjp(dy: Tensor, x: Tensor): Tensor {
  const s = softmax(x), weighted = tf.mul(dy, s);
  return tf.sub(weighted, tf.mul(s, tf.sum(weighted, -1, true)));
}

/** Softmax over the last axis, right at every order. Shape of x; rows sum to 1. */
export function softmax(x: Tensor): Tensor {
  return liftedSoftmax(x);
}

const liftedLogSoftmax = tf.customGrad((...inputs) => {
  const [x, save] = inputs as unknown as [Tensor, tf.GradSaveFunc];
  save([x]);
  return {
    value: tf.logSoftmax(x),
    gradFunc: (dy: Tensor, saved: Tensor[]) =>
      tf.sub(dy, tf.mul(softmax(saved[0]!), tf.sum(dy, -1, true))),
  };
});

/** Logarithm of the softmax over the last axis, right at every order. Shape of x; exponentials of rows sum to 1. */
export function logSoftmax(x: Tensor): Tensor {
  return liftedLogSoftmax(x);
}

/** ln Σ e^a of each row, −∞ where all are; differentiable, the greatest being taken for a number. */
export function logSum(a: Tensor): Tensor {
  const top = numberOf(a);
  return tf.add(tf.log(tf.sum(tf.exp(tf.sub(a, top)), 1)), tf.squeeze(top, [1]));
}

/** The greatest of each row where that is finite, else 0, of no gradient: it falls out of every result. */
const numberOf = tf.customGrad((a) => {
  const most = tf.max(a as Tensor, 1, true);
  return {
    value: tf.where(tf.isFinite(most), most, tf.zerosLike(most)),
    gradFunc: () => tf.zerosLike(a as Tensor),
  };
});

/**
 * Order statistics.
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
import type { Tensor } from "../tensor.ts";

/**
 * Quantile of each sample, with linear interpolation between order statistics, shape [N, 1, …] to broadcast. Only the
 * part of the sorted values from the quantile up is computed.
 *
 * @param x Shape [N, ...sample].
 * @param ratio Which, in [0, 1].
 * @returns Shape [N, 1, ...]. Called within a scope.
 */
export function quantile(x: Tensor, ratio: number): Tensor {
  const count = x.shape[0]!, size = x.size / count;
  const position = ratio * (size - 1), low = Math.floor(position);
  const { values } = tf.topk(tf.reshape(x, [count, size]), size - low);
  const at = (index: number): Tensor => tf.slice(values, [0, size - 1 - index], [count, 1]);
  const lower = at(low), upper = at(Math.min(low + 1, size - 1));
  const value = tf.add(lower, tf.mul(tf.sub(upper, lower), position - low));
  return tf.reshape(value, [count, ...x.shape.slice(1).map(() => 1)]);
}

/**
 * The types of tensors, by names of our own: tfjs's today, so that functions of tfjs take them as they are.
 *
 * @module
 */

import type * as tf from "@tensorflow/tfjs-core";

/**
 * An array of numbers on a backend, of any rank.
 *
 * @category Tensors
 */
export type Tensor = tf.Tensor;

/**
 * A tensor of rank 0: one number.
 *
 * @category Tensors
 */
export type Scalar = tf.Scalar;

/**
 * A tensor of rank 1.
 *
 * @category Tensors
 */
export type Tensor1D = tf.Tensor1D;

/**
 * A tensor of rank 2.
 *
 * @category Tensors
 */
export type Tensor2D = tf.Tensor2D;

/**
 * A tensor of rank 3.
 *
 * @category Tensors
 */
export type Tensor3D = tf.Tensor3D;

/**
 * A tensor of rank 4, such as images [N, H, W, C].
 *
 * @category Tensors
 */
export type Tensor4D = tf.Tensor4D;

/** All axes but the first, which is that of the samples. */
export const sampleAxes = ({ rank }: Tensor): number[] =>
  Array.from({ length: rank - 1 }, (_, i) => i + 1);

/**
 * What is known of noisy samples besides a model's prediction: energies and classifiers, functions of (x_t, t). A classifier's
 * −ln p_t(y | x_t) is such an energy, and its gradient is what a class adds to the score.
 *
 * @module
 */

import type * as tf from "@tensorflow/tfjs-core";

/**
 * A classifier of noisy samples.
 *
 * @param x x_t, shape [N, ...sample].
 * @param t Time on the schedule.
 * @returns Logits of p_t(y | x_t), shape [N, classes].
 */
export type NoisyClassifier = (x: tf.Tensor, t: number) => tf.Tensor;

/**
 * An energy of samples, in nats, in operations that have a gradient.
 *
 * @param x Samples, shape [N, ...sample].
 * @param t Time on the schedule.
 * @returns One number for each sample, shape [N].
 */
export type Energy = (x: tf.Tensor, t: number) => tf.Tensor;

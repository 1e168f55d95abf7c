/**
 * What is known of noisy samples besides a model's prediction: energies and classifiers, functions of (x_t, t). A classifier's
 * −ln p_t(y | x_t) is such an energy, and its gradient is what a class adds to the score.
 *
 * @module
 */

import type { Tensor } from "../tensor/tensor.ts";

/**
 * A classifier of noisy samples.
 *
 * @category Models
 * @param x x_t, shape [N, ...sample].
 * @param t Time on the schedule.
 * @returns Logits of p_t(y | x_t), shape [N, classes].
 */
export type NoisyClassifier = (x: Tensor, t: number) => Tensor;

/**
 * An energy of samples, in nats, in operations that have a gradient.
 *
 * @category Models
 * @param x Samples, shape [N, ...sample].
 * @param t Time on the schedule.
 * @returns One number for each sample, shape [N].
 */
export type Energy = (x: Tensor, t: number) => Tensor;

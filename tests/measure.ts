/**
 * What many tests measure: tensors alive, moments of numbers, and how near a number is to another.
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
import assert from "node:assert/strict";

/** How many tensors there are. */
export const live = (): number => tf.memory().numTensors;

/** The rows of a tensor of rank 2. */
export const rowsOf = (x: tf.Tensor): number[][] => x.arraySync() as number[][];

/** Mean of numbers. */
export const average = (values: readonly number[]): number =>
  values.reduce((a, b) => a + b, 0) / values.length;

/** Mean of the products of deviations, over n. */
export function covariance(a: readonly number[], b: readonly number[]): number {
  const [ma, mb] = [average(a), average(b)];
  return average(a.map((value, i) => (value - ma) * (b[i]! - mb)));
}

/** Mean square of the deviations from the mean, over n. */
export const variance = (values: readonly number[]): number => covariance(values, values);

/** A number is another, but for an absolute error. */
export const near = (actual: number, wanted: number, tolerance: number): void =>
  assert.ok(Math.abs(actual - wanted) <= tolerance, `${actual} is not ${wanted} to ${tolerance}`);

/** A number is another, but for a relative error. */
export const nearly = (actual: number, wanted: number, relative: number): void =>
  near(actual, wanted, relative * Math.abs(wanted));

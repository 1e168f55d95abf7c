/**
 * The weight of a guide: one number for all samples, or one for each.
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
import { refusal as refused } from "../../tensor/check/check.ts";

/** A weight of guidance: one for all samples, or one for each. Finite, no unit. */
export type Scale = number | readonly number[];

/** Whether a scale is the same number for all samples. */
export const isAll = (scale: Scale, value: number): boolean =>
  typeof scale === "number" ? scale === value : scale.every((each) => each === value);

/**
 * Refuses what is no scale.
 *
 * @param scale One finite number, or one for each sample.
 * @param count Number of samples. Default: not known.
 * @throws {RangeError} If it is none.
 */
export function checkScale(scale: Scale, count?: number): void {
  if (typeof scale === "number" && Number.isFinite(scale)) return;
  const isList = Array.isArray(scale) && scale.length > 0 && scale.every(Number.isFinite);
  if (isList && (count === undefined || scale.length === count)) return;
  const wanted = Array.isArray(scale) ? "one finite number for each sample" : "a finite number";
  throw refusal(`scale must be ${wanted}`, scale);
}

/** An error of a guide's options. */
export const refusal = (wanted: string, got: unknown): RangeError => refused("guide", wanted, got);

/** A number for all samples, or one for each, to multiply tensors of the shape of x by. */
export function column(scale: Scale, { shape: [count, ...sample] }: tf.Tensor): number | tf.Tensor {
  if (typeof scale === "number") return scale;
  if (scale.length !== count) {
    throw refusal(`scale must be one for each of ${count} samples`, scale);
  }
  return tf.tensor([...scale], [count, ...sample.map(() => 1)]);
}

/**
 * The weight of a guide: one number for all samples, or one for each.
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
import { refusal as refused } from "../../tensor/check/check.ts";
import { is, type Rule } from "../../tensor/check/decode.ts";
import type { Tensor } from "../../tensor/tensor.ts";

/**
 * A weight of guidance: one for all samples, or one for each. Finite, no unit.
 *
 * @category Refinements
 */
export type Scale = number | readonly number[];

/** Whether a scale is the same number for all samples. */
export const isAll = (scale: Scale, value: number): boolean =>
  typeof scale === "number" ? scale === value : scale.every((each) => each === value);

/**
 * The rule of a scale.
 *
 * @param count The number of samples; any when absent.
 * @returns The rule.
 */
export const scaled = (count?: number): Rule => {
  const one = is("a finite number", Number.isFinite);
  const many = is(
    "one finite number for each sample",
    (list: readonly number[]) =>
      list.length > 0 && list.every(Number.isFinite) && (count ?? list.length) === list.length,
  );
  return (name, value) => (Array.isArray(value) ? many : one)(name, value);
};

/** An error of a guide's options. */
export const refusal = (wanted: string, got: unknown): RangeError => refused("guide", wanted, got);

/** A number for all samples, or one for each, to multiply tensors of the shape of x by. */
export function column(scale: Scale, { shape: [count, ...sample] }: Tensor): number | Tensor {
  if (typeof scale === "number") return scale;
  if (scale.length !== count) {
    throw refusal(`scale must be one for each of ${count} samples`, scale);
  }
  return tf.tensor([...scale], [count, ...sample.map(() => 1)]);
}

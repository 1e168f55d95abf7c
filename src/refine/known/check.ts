/**
 * What is asked of masks, values and measurements.
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
import { refusal as refused, shown } from "../../tensor/check/check.ts";
import { awaited, type Scoped } from "../../tensor/scope.ts";
import type { Tensor } from "../../tensor/tensor.ts";

/** Refuses what is no tensor, or one no more. */
export function checkTensor(name: string, value: unknown): void {
  if (value instanceof tf.Tensor && !value.isDisposed) return;
  const got = value instanceof tf.Tensor ? "one that is disposed of" : shown(value);
  throw new TypeError(`Cannot use what is known: ${name} must be a tensor, got ${got}`);
}

/** Refuses what does not broadcast to a shape, or would grow it. */
export function checkFits(name: string, { shape }: Tensor, wanted: readonly number[]): void {
  const own = shape.toReversed(), all = wanted.toReversed();
  if (own.length <= all.length && own.every((size, i) => size === 1 || size === all[i])) return;
  throw refusal(`${name} must be of a shape that fits [${wanted}]`, `[${shape}]`);
}

/** Refuses a mask that is not of zeros and ones: cut at a half, other numbers would be taken for one of them. */
export function* checkMask(mask: Tensor, shape: readonly number[]): Scoped<void> {
  checkTensor("mask", mask);
  checkFits("mask", mask, shape);
  const stranger = (yield* awaited(mask.data())).find((value) => value !== 0 && value !== 1);
  if (stranger !== undefined) throw refusal("mask must be of zeros and ones", stranger);
}

/** Refuses values that are not finite. */
export function* checkNumbers(name: string, values: Tensor): Scoped<void> {
  const stranger = (yield* awaited(values.data())).find((value) => !Number.isFinite(value));
  if (stranger !== undefined) throw refusal(`${name} must be finite`, stranger);
}

/** An error of what is known. */
export const refusal = (wanted: string, got: unknown): RangeError =>
  refused("use what is known", wanted, got);

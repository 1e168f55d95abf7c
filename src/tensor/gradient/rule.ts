/**
 * What a gradient is to tfjs, and the steps that many share.
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
import type { Tensor } from "../tensor.ts";

/** One vector–Jacobian product for each input: the output's cotangent times the derivative. */
export type Vjp = (
  dy: Tensor,
  saved: Tensor[],
  attrs: tf.NamedAttrMap,
) => Record<string, () => Tensor>;

/** The gradient of a kernel: names of the inputs to save, or all of them where they are a list; and the product. */
export interface Gradient {
  /** Names of the inputs that the product needs. */
  readonly save?: string[];
  /** Whether it needs all of a list of inputs. */
  readonly all?: boolean;
  /** The product. */
  readonly vjp: Vjp;
}

/** Gradients by the names of their kernels. */
export type Gradients = Readonly<Record<string, Gradient>>;

/** Sums a cotangent over the axes along which its operand was broadcast. */
export function unbroadcast(dy: Tensor, shape: number[]): Tensor {
  const axes = tf.broadcast_util.getReductionAxes(shape, dy.shape);
  return tf.reshape(axes.length > 0 ? columnSum(dy, axes) : dy, shape);
}

/** A sum; on wasm, where one over leading axes first transposes its operand, a product with ones. */
export function columnSum(x: Tensor, axes: number[]): Tensor {
  const leading = axes.length < x.rank && axes.every((axis, i) => axis === i);
  if (!leading || tf.getBackend() !== "wasm") return tf.sum(x, axes);
  const rows = tf.util.sizeFromShape(x.shape.slice(0, axes.length)),
    rest = x.shape.slice(axes.length);
  return tf.reshape(
    tf.matMul(tf.ones([1, rows]), tf.reshape(x, [rows, tf.util.sizeFromShape(rest)])),
    rest,
  );
}

/** 1 where a condition holds, 0 elsewhere. */
export const indicator = (condition: Tensor): Tensor => tf.cast(condition, "float32");

/** The permutation that undoes one. */
export const inverse = (perm: number[]): number[] => perm.map((_, i) => perm.indexOf(i));

/** The axis of an attribute, counted from the front. */
export const axisOf = (axis: unknown, { shape }: Tensor): number =>
  tf.util.parseAxisParam(axis as number, shape)[0]!;

/** Runs a kernel by its name. */
export const run = (
  kernel: string,
  inputs: Record<string, Tensor>,
  attrs: Record<string, unknown>,
): Tensor => tf.engine().runKernel(kernel, inputs, attrs as unknown as tf.NamedAttrMap) as Tensor;

/** The part of x along one axis from `begin` on. */
export function part(x: Tensor, axis: number, begin: number, size: number): Tensor {
  return tf.slice(x, x.shape.map((_, i) => i === axis ? begin : 0), x.shape.with(axis, size));
}

/** x with zeros before and after it along one axis. */
export function padded(x: Tensor, axis: number, before: number, after: number): Tensor {
  if (before === 0 && after === 0) return x;
  return tf.pad(x, x.shape.map((_, i) => i === axis ? [before, after] : [0, 0]));
}

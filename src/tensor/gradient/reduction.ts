/**
 * Gradients of operations along axes: reductions, running sums and products, the largest of a row.
 *
 * Gradients of products divide by nothing, so they are right where factors are 0.
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
import { axisOf, type Gradients, indicator, inverse, padded, part } from "./rule.ts";
import { softmaxVjp } from "./smooth.ts";
import type { Tensor } from "../tensor.ts";

/** The shape of a reduction with its axes kept, so that it broadcasts against what was reduced. */
function keptShape(shape: number[], axis: unknown): number[] {
  const axes = tf.util.parseAxisParam(axis as number | number[], shape);
  return shape.map((size, i) => axes.includes(i) ? 1 : size);
}

/** A cotangent of a reduction spread over what was reduced. */
const spread = (dy: Tensor, x: Tensor, axis: unknown): Tensor =>
  tf.mul(tf.reshape(dy, keptShape(x.shape, axis)), tf.fill(x.shape, 1));

/** The cotangent of an extreme value along axes to where it was taken, shared evenly where several elements hold it. */
function toExtreme(dy: Tensor, x: Tensor, extreme: Tensor, axis: number[]): Tensor {
  const hits = indicator(tf.equal(x, extreme));
  return tf.mul(spread(dy, x, axis), tf.div(hits, tf.sum(hits, axis, true)));
}

/** The product of all others for each element along axes: those before it times those behind it. */
function othersProduct(x: Tensor, axes: number[]): Tensor {
  const kept = x.shape.map((_, i) => i).filter((i) => !axes.includes(i)), perm = [...kept, ...axes];
  const size = (of: number[]) => tf.util.sizeFromShape(of.map((i) => x.shape[i]!));
  const moved = tf.transpose(x, perm), rows = tf.reshape(moved, [size(kept), size(axes)]);
  const others = tf.mul(tf.cumprod(rows, 1, true), tf.cumprod(rows, 1, true, true));
  return tf.transpose(tf.reshape(others, moved.shape), inverse(perm));
}

/** x without its first `by` entries along an axis, and zeros behind. */
const advanced = (x: Tensor, axis: number, by: number): Tensor => {
  const left = x.shape[axis]! - by;
  return left > 0 ? padded(part(x, axis, by, left), axis, 0, by) : tf.zerosLike(x);
};

/**
 * The solution of s_k = b_k + a_k s_{k+1} along an axis, in log₂ n rounds, each of which doubles the distance over which
 * the terms have met.
 */
function recurrence(a: Tensor, b: Tensor, axis: number): Tensor {
  let factor = a, sum = b;
  for (let by = 1; by < a.shape[axis]!; by *= 2) {
    sum = tf.add(sum, tf.mul(factor, advanced(sum, axis, by)));
    factor = tf.mul(factor, advanced(factor, axis, by));
  }
  return sum;
}

interface Scan {
  readonly axis: number;
  readonly exclusive: boolean;
  readonly reverse: boolean;
}

/** With P_k = x₁⋯x_{k−1}: ∂L/∂x_k = P_k s_k, where s_k = dy_k + x_{k+1} s_{k+1}. */
function cumprodVjp(dy: Tensor, x: Tensor, { axis, exclusive, reverse }: Scan): Tensor {
  const turned = (t: Tensor) => reverse ? tf.reverse(t, axis) : t;
  const factors = turned(x), cotangents = turned(dy);
  const sums = recurrence(
    advanced(factors, axis, 1),
    exclusive ? advanced(cotangents, axis, 1) : cotangents,
    axis,
  );
  return turned(tf.mul(tf.cumprod(factors, axis, true), sums));
}

/** Puts the cotangents of the k largest of each row where these were. */
function topkVjp(dy: Tensor, x: Tensor, k: number): Tensor {
  const length = x.shape.at(-1)!, rows = tf.reshape(x, [-1, length]);
  const places = tf.cast(tf.oneHot(tf.topk(rows, k).indices, length), "float32");
  return tf.reshape(tf.matMul(tf.reshape(dy, [-1, 1, k]), places), x.shape);
}

/** The gradients of this file. */
export const reduction: Gradients = {
  Softmax: { save: ["logits"], vjp: (dy, [x]) => ({ logits: () => softmaxVjp(dy, x!) }) },
  Sum: { save: ["x"], vjp: (dy, [x], attrs) => ({ x: () => spread(dy, x!, attrs["axis"]) }) },
  Mean: {
    save: ["x"],
    vjp: (dy, [x], attrs) => ({
      x: () => tf.mul(spread(dy, x!, attrs["axis"]), dy.size / x!.size),
    }),
  },
  Max: {
    save: ["x"],
    vjp: (dy, [x], { reductionIndices }) => {
      const axis = reductionIndices as number[];
      return { x: () => toExtreme(dy, x!, tf.max(x!, axis, true), axis) };
    },
  },
  Min: {
    save: ["x"],
    vjp: (dy, [x], attrs) => {
      const axis = attrs["axis"] as number[];
      return { x: () => toExtreme(dy, x!, tf.min(x!, axis, true), axis) };
    },
  },
  Prod: {
    save: ["x"],
    vjp: (dy, [x], { axis }) => {
      const axes = tf.util.parseAxisParam(axis as number[], x!.shape);
      return { x: () => tf.mul(spread(dy, x!, axes), othersProduct(x!, axes)) };
    },
  },
  Cumsum: {
    vjp: (dy, _, { axis, exclusive, reverse }) => ({
      x: () => tf.cumsum(dy, axisOf(axis, dy), !!exclusive, !reverse),
    }),
  },
  Cumprod: {
    save: ["x"],
    vjp: (dy, [x], { axis, exclusive, reverse }) => {
      const scan = { axis: axisOf(axis, dy), exclusive: !!exclusive, reverse: !!reverse };
      return { x: () => cumprodVjp(dy, x!, scan) };
    },
  },
  TopK: {
    save: ["x"],
    vjp: (dy, [x], { k }) => ({ x: () => topkVjp([dy].flat()[0]!, x!, k as number) }),
  },
};

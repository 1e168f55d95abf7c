/**
 * Sums of very many numbers.
 *
 * float32 numbers added one after another lose digits as the sum grows: of 10⁷ the fourth is wrong. Rows of a hundred are
 * added first, then their sums, and the sums of those: so each number passes through few additions, and the sixth digit is
 * right.
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
import type { Repair } from "./repair.ts";
import type { Tensor } from "../tensor.ts";

/** More numbers than this are not added one after another. */
const few = 4096;

/** So long are the rows at most that are added first. Sums of rows are alike, and round to the same side. */
const most = 128;

/** Whether so many numbers are more than a few. */
export const isLong = (n: number): boolean => n > few;

/** Whether so many numbers make more than one row. */
export const isRows = (n: number): boolean => n > most;

/** How n numbers fall into rows: how many, of what length, and how many numbers are left over. */
export function rowsOf(n: number): {
  readonly rows: number;
  readonly length: number;
  readonly rest: number;
} {
  const length = Math.min(most, Math.ceil(Math.sqrt(n))), rows = Math.floor(n / length);
  return { rows, length, rest: n - rows * length };
}

/** The sums of the rows of x [m, n], [m]. */
function rowSums(x: Tensor): Tensor {
  const [m, n] = x.shape as [number, number];
  if (!isRows(n)) return tf.sum(x, 1);
  const { rows, length, rest } = rowsOf(n), whole = tf.slice(x, [0, 0], [m, rows * length]);
  const sums = tf.reshape(tf.sum(tf.reshape(whole, [m * rows, length]), 1), [m, rows]);
  if (rest === 0) return rowSums(sums);
  const last = tf.sum(tf.slice(x, [0, rows * length], [m, rest]), 1, true);
  return rowSums(tf.concat([sums, last], 1));
}

const axesOf = (
  { axis, reductionIndices }: Readonly<Record<string, unknown>>,
  x: Tensor,
): number[] => tf.util.parseAxisParam((axis ?? reductionIndices) as number[], x.shape);

const countOf = (x: Tensor, axes: readonly number[]): number =>
  tf.util.sizeFromShape(axes.map((axis) => x.shape[axis]!));

/** Sums and means of more than a few numbers, for a backend that adds them one after another. */
export const longSums: Repair = {
  kernels: ["Sum", "Mean"],
  wrong: ({ inputs: { x }, attrs }) =>
    x!.dtype === "float32" && isLong(countOf(x!, axesOf(attrs, x!))),
  right: ({ inputs: { x }, attrs, kernel }) => {
    const axes = axesOf(attrs, x!),
      kept = [...x!.shape.keys()].filter((axis) => !axes.includes(axis));
    const count = countOf(x!, axes), isLast = axes.every((axis, i) => axis === kept.length + i);
    const moved = isLast ? x! : tf.transpose(x!, [...kept, ...axes]);
    const total = rowSums(tf.reshape(moved, [x!.size / count, count]));
    const shape = x!.shape.flatMap((size, axis) =>
      kept.includes(axis) ? [size] : attrs["keepDims"] ? [1] : []
    );
    return tf.reshape(kernel === "Mean" ? tf.div(total, count) : total, shape);
  },
};

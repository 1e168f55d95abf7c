/**
 * Gradients of pooling and of resizing.
 *
 * A resize multiplies rows and columns by a matrix each, whose entries follow from the sizes alone: so its gradient is
 * the product with the transposed matrices. A mean over windows is a convolution with ones, divided by how many pixels
 * each window holds (a border holds none).
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
import { type ConvAttrs, convolveBack } from "./contraction.ts";
import { type Gradients, indicator, inverse, part } from "./rule.ts";
import { placed } from "./shape.ts";
import type { Tensor, Tensor2D, Tensor4D } from "../tensor.ts";

type Shape4 = [number, number, number, number];

/** Entry (to, from) of a resize along one axis: how much of a pixel goes into one of the result. */
type Weight = (to: number, from: number) => number;

interface Resize {
  readonly alignCorners: boolean;
  readonly halfPixelCenters: boolean;
}

/** How many pixels of the old grid one step on the new one is. */
const stepOf = (from: number, to: number, { alignCorners }: Resize): number =>
  alignCorners && to > 1 ? (from - 1) / (to - 1) : from / to;

function nearest(from: number, to: number, options: Resize): Weight {
  const step = stepOf(from, to, options), shift = options.halfPixelCenters ? 0.5 : 0;
  const chosen = (i: number) => {
    const at = step * (i + shift);
    return Math.max(0, Math.min(from - 1, options.alignCorners ? Math.round(at) : Math.floor(at)));
  };
  return (i, j) => chosen(i) === j ? 1 : 0;
}

function bilinear(from: number, to: number, options: Resize): Weight {
  const step = stepOf(from, to, options);
  return (i, j) => {
    const at = options.halfPixelCenters ? step * (i + 0.5) - 0.5 : step * i;
    const low = Math.max(0, Math.floor(at)), high = Math.min(from - 1, Math.ceil(at));
    return (low === j ? 1 - (at - low) : 0) + (high === j ? at - low : 0);
  };
}

/** x with one axis multiplied by a matrix [old length, new length]: one product of matrices. */
function along(x: Tensor, axis: number, matrix: Tensor2D): Tensor {
  const last = [...x.shape.keys()].filter((i) => i !== axis), perm = [...last, axis];
  const rows = tf.reshape(tf.transpose(x, perm), [x.size / x.shape[axis]!, x.shape[axis]!]);
  const product = tf.reshape(tf.matMul(rows, matrix), [
    ...last.map((i) => x.shape[i]!),
    matrix.shape[1],
  ]);
  return tf.transpose(product, inverse(perm));
}

const resizeVjp =
  (kind: (from: number, to: number, options: Resize) => Weight) =>
  (dy: Tensor, x: Tensor, options: Resize): Tensor =>
    [1, 2].reduce((sum, axis) => {
      const from = x.shape[axis]!, to = dy.shape[axis]!, weight = kind(from, to, options);
      const rows = Array.from({ length: to }, (_, i) =>
        Array.from({ length: from }, (_, j) => weight(i, j)));
      return along(sum, axis, tf.tensor2d(rows));
    }, dy);

/** Of pixels repeated a whole number of times: the sum over each block, which every backend has as a pool. */
function nearestVjp(dy: Tensor, x: Tensor, options: Resize): Tensor {
  const block = [1, 2].map((axis) => dy.shape[axis]! / x.shape[axis]!) as [number, number];
  const isPlain = !options.alignCorners && block.every(Number.isInteger);
  if (!isPlain) return resizeVjp(nearest)(dy, x, options);
  const means = tf.avgPool(dy as Tensor4D, block, block, "valid");
  return tf.mul(means, block[0] * block[1]);
}

interface Pool {
  readonly filterSize: number | [number, number];
  readonly strides: number | [number, number];
  readonly pad: "same" | "valid" | number;
  readonly dimRoundingMode?: "floor" | "round" | "ceil";
}

const pair = (size: number | [number, number]): [number, number] =>
  typeof size === "number" ? [size, size] : size;

function avgPoolVjp(dy: Tensor, x: Tensor, pool: Pool): Tensor {
  const [n, height, width, channels] = x.shape as Shape4, [, rows, columns] = dy.shape as Shape4;
  const { pad, dimRoundingMode } = pool, strides = pair(pool.strides);
  const ones = tf.ones([...pair(pool.filterSize), 1, 1]) as Tensor4D;
  const counts = tf.conv2d(
    tf.ones([1, height, width, 1]) as Tensor4D,
    ones,
    strides,
    pad,
    "NHWC",
    1,
    dimRoundingMode,
  );
  const planes = tf.reshape(tf.transpose(dy, [0, 3, 1, 2]), [n * channels, rows, columns, 1]);
  const attrs = { strides, pad, dataFormat: "NHWC", dimRoundingMode } as ConvAttrs;
  const spread = convolveBack(tf.div(planes, counts), ones, attrs, [
    n * channels,
    height,
    width,
    1,
  ]);
  return tf.transpose(tf.reshape(spread, [n, channels, height, width]), [0, 2, 3, 1]);
}

/** The windows of a pooling along one axis. */
interface Windows {
  /** Pixels of border before the image. */
  readonly before: number;
  /** Pixels from one window to the next. */
  readonly stride: number;
  /** Pixels of a window. */
  readonly size: number;
  /** Number of windows. */
  readonly count: number;
  /** Pixels of image and border that lie in windows or in the image. */
  readonly reach: number;
}

/** The windows along the rows and along the columns. */
function windowsOf(x: Tensor, pool: Pool): [Windows, Windows] {
  const { filterSize, strides, pad, dimRoundingMode } = pool, shape = x.shape as Shape4;
  const info = tf.backend_util.computePool2DInfo(
    shape,
    filterSize,
    strides,
    1,
    pad,
    dimRoundingMode,
  );
  const along = (before: number, stride: number, size: number, count: number, length: number) => ({
    before,
    stride,
    size,
    count,
    reach: Math.max((count - 1) * stride + size, before + length),
  });
  const { padInfo, strideHeight, strideWidth, filterHeight, filterWidth } = info;
  return [
    along(padInfo.top, strideHeight, filterHeight, info.outHeight, shape[1]),
    along(padInfo.left, strideWidth, filterWidth, info.outWidth, shape[2]),
  ];
}

/** x with a border of nothing, that no largest value is in. */
function bordered(x: Tensor, windows: readonly Windows[]): Tensor {
  const borders = windows.map(({ before, reach }, i): [number, number] => [
    before,
    reach - before - x.shape[i + 1]!,
  ]);
  return tf.pad(x, [[0, 0], ...borders, [0, 0]], -Infinity);
}

/** A place in a window, as steps from its corner. */
type Tap = readonly [row: number, column: number];

/** What all windows show at one place. */
function shown(x: Tensor, [rows, columns]: [Windows, Windows], [row, column]: Tap): Tensor {
  const end = (from: number, { count, stride }: Windows) => from + (count - 1) * stride + 1;
  return tf.stridedSlice(
    x,
    [0, row, column, 0],
    [x.shape[0]!, end(row, rows), end(column, columns), x.shape[3]!],
    [1, rows.stride, columns.stride, 1],
  );
}

/** The cotangent of what all windows show at one place. */
function unshown(
  dy: Tensor,
  [rows, columns]: [Windows, Windows],
  [row, column]: Tap,
): Tensor {
  const inRows = placed(dy, 1, { begin: row, stride: rows.stride, length: rows.reach });
  return placed(inRows, 2, { begin: column, stride: columns.stride, length: columns.reach });
}

const total = (terms: readonly Tensor[]): Tensor => terms.reduce((a, b) => tf.add(a, b));

/** The cotangent of each window to its largest value, shared evenly where several are as large. */
function maxPoolVjp(dy: Tensor, x: Tensor, pool: Pool): Tensor {
  const windows = windowsOf(x, pool), [rows, columns] = windows, whole = bordered(x, windows);
  const taps = [...Array(rows.size * columns.size).keys()]
    .map((i): Tap => [Math.floor(i / columns.size), i % columns.size]);
  const values = taps.map((tap) => shown(whole, windows, tap));
  const largest = values.reduce((a, b) => tf.maximum(a, b));
  const hits = values.map((value) => indicator(tf.equal(value, largest)));
  const share = tf.div(dy, total(hits));
  const dx = total(hits.map((hit, i) => unshown(tf.mul(hit, share), windows, taps[i]!)));
  const inRows = part(dx, 1, rows.before, x.shape[1]!);
  return part(inRows, 2, columns.before, x.shape[2]!);
}

/** The gradients of this file. */
export const window: Gradients = {
  AvgPool: {
    save: ["x"],
    vjp: (dy, [x], attrs) => ({ x: () => avgPoolVjp(dy, x!, attrs as unknown as Pool) }),
  },
  MaxPool: {
    save: ["x"],
    vjp: (dy, [x], attrs) => ({ x: () => maxPoolVjp(dy, x!, attrs as unknown as Pool) }),
  },
  ResizeNearestNeighbor: {
    save: ["images"],
    vjp: (dy, [x], attrs) => ({
      images: () => nearestVjp(dy, x!, attrs as unknown as Resize),
    }),
  },
  ResizeBilinear: {
    save: ["images"],
    vjp: (dy, [x], attrs) => ({
      images: () => resizeVjp(bilinear)(dy, x!, attrs as unknown as Resize),
    }),
  },
};

/**
 * Images in blocks put together, taken apart, made smaller and larger.
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
import type { Recorder } from "../graph/record.ts";
import { integers, same, type Value } from "../graph/value.ts";
import type { Operands } from "../lower/elementwise.ts";
import { orLess, poolInfo } from "../lower/pool.ts";
import { axisOf } from "../lower/shape.ts";
import type { Tensor } from "../../tensor/tensor.ts";
import { blocked, type BlockLowering, fits, inBlocks, nchwc } from "./layout.ts";

/** Images of which at least one is in blocks, side by side: by their channels, or one sample after another. */
function concat(rec: Recorder, operands: Operands, along: number): Value | undefined {
  const parts = Object.values(operands), first = parts[0]!;
  const rank = first.shape.length, axis = along < 0 ? along + rank : along;
  const isTaken = parts.some(({ isBlocked }) => isBlocked) && (axis === 0 || axis === 3) &&
    parts.every((part) => part.type === "float32" && fits(rec, part.shape));
  if (!isTaken) return undefined;
  const names = parts.map((part) => inBlocks(rec, part));
  const shape = first.shape.map((size, i) =>
    i === axis ? parts.reduce((sum, part) => sum + part.shape[axis]!, 0) : size
  );
  // The second axis of blocks is their channels', as far as whole blocks go.
  const attributes = { axis: axis === 3 ? 1 : 0 };
  return blocked(rec.node("Concat", names, { attributes }), { shape });
}

/** Whole blocks of an image in blocks, and some of its samples. */
function cut(
  rec: Recorder,
  x: Value,
  { begin, sizes }: { readonly begin: readonly number[]; readonly sizes: readonly number[] },
): Value | undefined {
  const places = [1, 2], shape = [...sizes], { block } = rec;
  const isTaken = x.isBlocked && fits(rec, shape) && begin[3]! % block === 0 &&
    places.every((axis) => begin[axis] === 0 && sizes[axis] === x.shape[axis]);
  if (!isTaken) return undefined;
  if (same(shape, x.shape)) return x;
  const axes = [0, 3];
  const name = rec.node("Slice", [
    x.name,
    integers(rec, axes.map((axis) => begin[axis]!)),
    integers(rec, axes.map((axis) => begin[axis]! + sizes[axis]!)),
    integers(rec, [0, 1]),
    integers(rec, [1, 1]),
  ]);
  return blocked(name, { shape, type: x.type });
}

function split(rec: Recorder, x: Value, sizes: readonly number[], axis: number) {
  const parts = sizes.map((size, i) => {
    const from = sizes.slice(0, i).reduce((a, b) => a + b, 0);
    const only = (value: number, others: readonly number[]): number[] =>
      others.map((other, k) => k === axis ? value : other);
    return cut(rec, x, { begin: only(from, [0, 0, 0, 0]), sizes: only(size, x.shape) });
  });
  return parts.every((part) => part !== undefined) ? parts : undefined;
}

/** A pool of an image in blocks. */
const pool = (
  kernel: "AvgPool" | "MaxPool",
  op: string,
  form: "average pool" | "largest pool",
): BlockLowering =>
(rec, { x }, attributes) => {
  if (!x!.isBlocked || !rec.uses(form)) return undefined;
  const { outShape, attributes: moves } = poolInfo(kernel, x!.shape, attributes);
  const name = rec.node(op, [x!.name], { attributes: moves, domain: nchwc });
  return blocked(kernel === "MaxPool" ? orLess(rec, name) : name, { shape: outShape });
};

/** Each pixel repeated. */
const repeated: BlockLowering = (rec, { images }, { size, alignCorners, halfPixelCenters }) => {
  const [n, h, w, c] = images!.shape as [number, number, number, number];
  const factors = [size[0] / h, size[1] / w];
  const isTaken = images!.isBlocked && rec.uses("upsampling") && !alignCorners &&
    !halfPixelCenters &&
    factors.every(Number.isInteger);
  if (!isTaken) return undefined;
  const attributes = { scales: [1, 1, ...factors], mode: "nearest" };
  const name = rec.node("Upsample", [images!.name], { attributes, domain: nchwc });
  return blocked(name, { shape: [n, ...size, c] });
};

/** The lowerings of this file. */
export const shapeBlocks: Readonly<Record<string, BlockLowering>> = {
  Concat: (rec, parts, { axis }) => concat(rec, parts, axis),
  Slice: (rec, { x }, { begin, size }) => {
    if (!x!.isBlocked) return undefined;
    const shaped = { shape: [...x!.shape], rank: x!.shape.length } as Tensor;
    const [from, sizes] = tf.slice_util.parseSliceParams(shaped, begin, size);
    return cut(rec, x!, { begin: from!, sizes: sizes! });
  },
  SplitV: (rec, { x }, { numOrSizeSplits, axis }) => {
    if (!x!.isBlocked) return undefined;
    const along = axisOf(x!, axis), shaped = { shape: [...x!.shape] } as Tensor;
    const sizes = tf.backend_util.prepareSplitSize(shaped, numOrSizeSplits, along);
    return split(rec, x!, sizes, along);
  },
  Reshape: (_, { x }, { shape }) => x!.isBlocked && same(x!.shape, shape) ? x : undefined,
  AvgPool: pool("AvgPool", "AveragePool", "average pool"),
  MaxPool: pool("MaxPool", "MaxPool", "largest pool"),
  ResizeNearestNeighbor: repeated,
};

/**
 * Gradients of operations that move elements, repeat them or leave some out.
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
import { axisOf, type Gradients, indicator, inverse, padded, part } from "./rule.ts";
import type { Tensor } from "../tensor.ts";

/** The cotangents of a kernel with several outputs. */
const several = (dy: Tensor): Tensor[] => [dy].flat();

/** Puts stride − 1 zeros between the entries along an axis. */
function spaced(x: Tensor, axis: number, stride: number): Tensor {
  if (stride === 1) return x;
  const size = tf.util.sizeFromShape, length = x.shape[axis]!;
  const [outer, inner] = [size(x.shape.slice(0, axis)), size(x.shape.slice(axis + 1))];
  const gaps = padded(tf.reshape(x, [outer * length, 1, inner]), 1, 0, stride - 1);
  const whole = tf.reshape(gaps, x.shape.with(axis, length * stride));
  return part(whole, axis, 0, (length - 1) * stride + 1);
}

/** The entries of a strided slice along an axis back in their places among `length`, zeros elsewhere. */
export function placed(
  dy: Tensor,
  axis: number,
  { begin, stride, length }: { begin: number; stride: number; length: number },
): Tensor {
  const count = dy.shape[axis]!, first = stride < 0 ? begin + stride * (count - 1) : begin;
  const row = spaced(stride < 0 ? tf.reverse(dy, axis) : dy, axis, Math.abs(stride));
  return padded(row, axis, first, length - first - row.shape[axis]!);
}

interface Strided {
  readonly begin: number[];
  readonly end: number[];
  readonly strides: number[];
  readonly beginMask: number;
  readonly endMask: number;
  readonly ellipsisMask: number;
  readonly newAxisMask: number;
  readonly shrinkAxisMask: number;
}

function stridedSliceVjp(dy: Tensor, x: Tensor, attrs: Strided): Tensor {
  const { finalShapeSparse, begin, strides } = tf.slice_util.sliceInfo(
    x.shape,
    attrs.begin,
    attrs.end,
    attrs.strides,
    attrs.beginMask,
    attrs.endMask,
    attrs.ellipsisMask,
    attrs.newAxisMask,
    attrs.shrinkAxisMask,
  );
  return x.shape.reduce(
    (sum, length, axis) =>
      placed(sum, axis, { begin: begin[axis]!, stride: strides[axis]!, length }),
    tf.reshape(dy, finalShapeSparse) as Tensor,
  );
}

/** The cotangents of a mirrored border, turned back and added to those of the entries that it mirrors. */
function folded(dy: Tensor, axis: number, border: readonly number[], skip: number): Tensor {
  const [before, after] = border as [number, number], length = dy.shape[axis]! - before - after;
  const middle = part(dy, axis, before, length);
  const mirrored = (from: number, size: number, to: number) =>
    padded(tf.reverse(part(dy, axis, from, size), axis), axis, to, length - to - size);
  const head = before > 0 ? [mirrored(0, before, skip)] : [];
  const tail = after > 0 ? [mirrored(before + length, after, length - skip - after)] : [];
  return [...head, ...tail].reduce((sum, x) => tf.add(sum, x), middle);
}

/** The entries of a gathering back in the places from which they came, those from one place summed. */
function gatherVjp(dy: Tensor, x: Tensor, indices: Tensor, axis: number): Tensor {
  const all = (rank: number) => Array.from({ length: rank }, (_, i) => i);
  const chosen = all(indices.rank).map((i) => i + axis);
  const front = [...chosen, ...all(dy.rank).filter((i) => !chosen.includes(i))];
  const moved = [axis, ...all(x.rank).filter((i) => i !== axis)];
  const rows = tf.reshape(tf.transpose(dy, front), [indices.size, x.size / x.shape[axis]!]);
  const sums = tf.unsortedSegmentSum(rows, tf.reshape(indices, [-1]), x.shape[axis]!);
  return tf.transpose(tf.reshape(sums, moved.map((i) => x.shape[i]!)), inverse(moved));
}

/** The cotangent of the segment of each row; 0 for a row that is in none. */
function segmentVjp(dy: Tensor, x: Tensor, ids: Tensor): Tensor {
  const last = dy.shape[0]! - 1;
  const valid = tf.logicalAnd(tf.greaterEqual(ids, 0), tf.lessEqual(ids, last));
  const rows = tf.gather(dy, tf.cast(tf.clipByValue(ids, 0, last), "int32"));
  return tf.mul(rows, tf.reshape(indicator(valid), x.shape.map((n, i) => i === 0 ? n : 1)));
}

/** Each block of pixels back in the channels of one. */
function spaceToDepth(dy: Tensor, block: number): Tensor {
  const [n, height, width, channels] = dy.shape as [number, number, number, number];
  const [rows, columns] = [height / block, width / block];
  const blocks = tf.reshape(dy, [n, rows, block, columns, block, channels]);
  const moved = tf.transpose(blocks, [0, 1, 3, 2, 4, 5]);
  return tf.reshape(moved, [n, rows, columns, block * block * channels]);
}

function refuse(parameter: string, wanted: string | number, got: unknown): void {
  if (got === wanted) return;
  throw new RangeError(`Cannot differentiate: ${parameter} must be ${wanted}, got ${got}`);
}

/** The gradients of this file. */
export const shape: Gradients = {
  Reshape: { save: ["x"], vjp: (dy, [x]) => ({ x: () => tf.reshape(dy, x!.shape) }) },
  ExpandDims: { save: ["input"], vjp: (dy, [x]) => ({ input: () => tf.reshape(dy, x!.shape) }) },
  Transpose: {
    vjp: (dy, _, { perm }) => ({ x: () => tf.transpose(dy, inverse(perm as number[])) }),
  },
  Reverse: { vjp: (dy, _, { dims }) => ({ x: () => tf.reverse(dy, dims as number[]) }) },
  Concat: {
    all: true,
    vjp: (dy, inputs, { axis }) => {
      const along = tf.util.parseAxisParam(axis as number, inputs[0]!.shape)[0]!;
      const sizes = inputs.map(({ shape }) => shape[along]!);
      const starts = sizes.map((_, i) => sizes.slice(0, i).reduce((a, b) => a + b, 0));
      return Object.fromEntries(
        inputs.map(({ shape }, i) => [i, () =>
          tf.slice(
            dy,
            shape.map((_, d) => d === along ? starts[i]! : 0),
            shape,
          )]
        ),
      );
    },
  },
  SplitV: { vjp: (dy, _, { axis }) => ({ x: () => tf.concat(several(dy), axis as number) }) },
  Pack: {
    all: true,
    vjp: (dy, inputs, { axis }) =>
      Object.fromEntries(
        inputs.map((_, i) => [i, () => tf.unstack(dy, axis as number)[i]!]),
      ),
  },
  Unpack: { vjp: (dy, _, { axis }) => ({ value: () => tf.stack(several(dy), axis as number) }) },
  Tile: {
    save: ["x"],
    vjp: (dy, [x], { reps }) => ({
      x: () => {
        const pairs = x!.shape.flatMap((size, i) => [(reps as number[])[i]!, size]);
        return tf.sum(tf.reshape(dy, pairs), x!.shape.map((_, i) => 2 * i));
      },
    }),
  },
  Slice: {
    save: ["x"],
    vjp: (dy, [x], { begin, size }) => {
      const [from] = tf.slice_util.parseSliceParams(x!, begin as number[], size as number[]);
      return { x: () => tf.pad(dy, from!.map((at, i) => [at, x!.shape[i]! - at - dy.shape[i]!])) };
    },
  },
  StridedSlice: {
    save: ["x"],
    vjp: (dy, [x], attrs) => {
      // Where axes are dropped, tfjs's kernels themselves take the wrong entries.
      refuse("shrinkAxisMask of stridedSlice()", 0, attrs["shrinkAxisMask"]);
      return { x: () => stridedSliceVjp(dy, x!, attrs as unknown as Strided) };
    },
  },
  PadV2: {
    save: ["x"],
    vjp: (dy, [x], { paddings }) => ({
      x: () =>
        tf.slice(
          dy,
          (paddings as unknown as [number, number][]).map(([before]) => before),
          x!.shape,
        ),
    }),
  },
  MirrorPad: {
    vjp: (dy, _, { paddings, mode }) => ({
      x: () =>
        (paddings as unknown as number[][]).reduce(
          (sum, border, axis) => folded(sum, axis, border, mode === "reflect" ? 1 : 0),
          dy,
        ),
    }),
  },
  GatherV2: {
    save: ["x", "indices"],
    vjp: (dy, [x, indices], { axis, batchDims }) => {
      refuse("batchDims of gather()", 0, batchDims ?? 0);
      return {
        x: () => gatherVjp(dy, x!, indices!, axisOf(axis, x!)),
        indices: () => tf.zeros(indices!.shape),
      };
    },
  },
  UnsortedSegmentSum: {
    save: ["x", "segmentIds"],
    vjp: (dy, [x, ids]) => ({
      x: () => segmentVjp(dy, x!, ids!),
      segmentIds: () => tf.zeros(ids!.shape),
    }),
  },
  DepthToSpace: {
    vjp: (dy, _, { blockSize, dataFormat }) => {
      refuse("dataFormat of depthToSpace()", "NHWC", dataFormat);
      return { x: () => spaceToDepth(dy, blockSize as number) };
    },
  },
};

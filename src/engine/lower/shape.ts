/**
 * Kernels that move numbers about, or make them from none.
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
import type { Recorder } from "../graph/record.ts";
import {
  constantOf,
  integers,
  namedValue,
  placed,
  product,
  range,
  reshaped,
  scalar,
  transposed,
  uniform,
  type Value,
} from "../graph/value.ts";
import type { Lowerings } from "./elementwise.ts";
import type { Tensor } from "../../tensor/tensor.ts";

/** The axis that tfjs means: negative ones count from the end. */
export const axisOf = (value: Value, axis: number): number =>
  tf.util.parseAxisParam(axis, [...value.shape])[0]!;

const withSize = (sizes: readonly number[], axis: number, size: number): number[] =>
  sizes.map((old, i) => i === axis ? size : old);

function concat(rec: Recorder, all: readonly Value[], along: number): Value {
  const parts = all.filter(({ shape }) => product(shape) > 0), first = parts[0] ?? all[0]!;
  const axis = axisOf(first, along), { type } = first;
  const shape = withSize(first.shape, axis, all.reduce((n, part) => n + part.shape[axis]!, 0));
  if (parts.length === 0) return constantOf([], { type, shape });
  if (parts.length === 1) return first;
  const { order } = parts.find(({ values }) => values === undefined) ?? first;
  const names = parts.map((part) => placed(rec, part, order));
  const name = rec.node("Concat", names, { attributes: { axis: order.indexOf(axis) } });
  return namedValue(name, { type, shape }, { order });
}

/** A value with an axis of size 1 put in. */
function expanded(rec: Recorder, value: Value, dim: number): Value {
  const shape = [...value.shape];
  shape.splice(dim < 0 ? shape.length + 1 + dim : dim, 0, 1);
  return reshaped(rec, value, shape);
}

/** Part of a value, every `step`-th place from `begin` to before `end` along each axis; steps may be negative. */
function sliced(
  rec: Recorder,
  value: Value,
  { begin, end, steps }: {
    readonly begin: readonly number[];
    readonly end: readonly number[];
    readonly steps: readonly number[];
  },
): Value {
  const shape = value.shape.map((_, i) =>
    Math.max(0, Math.ceil((end[i]! - begin[i]!) / steps[i]!))
  );
  const cut = range(shape.length).filter((i) => shape[i] !== value.shape[i] || steps[i]! < 0);
  const kept = cut.filter((i) => value.stored[i] !== 1 || shape[i] === 0);
  const stored = value.stored.map((size, i) => kept.includes(i) || size !== 1 ? shape[i]! : 1);
  const { type, order } = value;
  if (kept.length === 0) return { ...value, shape };
  // An end before the first place is written as far below 0.
  const ends = kept.map((i) => steps[i]! < 0 && end[i]! < 0 ? -value.shape[i]! - 1 : end[i]!);
  const name = rec.node("Slice", [
    placed(rec, value, order, shape.includes(0)),
    integers(rec, kept.map((i) => begin[i]!)),
    integers(rec, ends),
    integers(rec, kept.map((i) => order.indexOf(i))),
    integers(rec, kept.map((i) => steps[i]!)),
  ]);
  return namedValue(name, { type, shape }, { order, stored: shape.includes(0) ? shape : stored });
}

function split(rec: Recorder, value: Value, sizes: readonly number[], axis: number): Value[] {
  if (sizes.length === 1) return [value];
  // A GPU writes to no more than 8 buffers at once, one of which it needs for itself.
  if (sizes.length > 7) {
    return sizes.map((size, i) => {
      const from = sizes.slice(0, i).reduce((a, b) => a + b, 0);
      return sliced(rec, value, {
        begin: withSize(value.shape.map(() => 0), axis, from),
        end: withSize(value.shape, axis, from + size),
        steps: value.shape.map(() => 1),
      });
    });
  }
  const { order, type } = value;
  const names = rec.nodes("Split", [placed(rec, value, order), integers(rec, sizes)], {
    attributes: { axis: order.indexOf(axis) },
    outputs: sizes.length,
  });
  return names.map((name, i) =>
    namedValue(name, { type, shape: withSize(value.shape, axis, sizes[i]!) }, { order })
  );
}

type Paddings = readonly (readonly [number, number])[];

/** A value with places put before and behind each axis. */
function padded(
  rec: Recorder,
  value: Value,
  paddings: Paddings,
  filling: { readonly mode: "constant"; readonly value: number } | {
    readonly mode: "reflect" | "edge" | "symmetric";
  },
): Value {
  if (paddings.every(([before, behind]) => before === 0 && behind === 0)) return value;
  const { order, type } = value;
  const shape = value.shape.map((size, i) => size + paddings[i]![0] + paddings[i]![1]);
  const pads = [
    ...order.map((axis) => paddings[axis]![0]),
    ...order.map((axis) => paddings[axis]![1]),
  ];
  const name = rec.node("Pad", [
    placed(rec, value, order),
    integers(rec, pads),
    ...(filling.mode === "constant" ? [scalar(rec, filling.value, type)] : []),
  ], { attributes: { mode: filling.mode } });
  return namedValue(name, { type, shape }, { order });
}

/** A value with its edges mirrored, the outermost row twice: a slice of one place turned round, axis by axis. */
function symmetric(rec: Recorder, value: Value, paddings: Paddings): Value {
  return paddings.reduce<Value>((grown, [before, behind], axis) => {
    const size = grown.shape[axis]!, parts: Value[] = [];
    const turned = (begin: number, end: number): Value =>
      sliced(rec, grown, {
        begin: withSize(grown.shape.map(() => 0), axis, begin),
        end: withSize(grown.shape, axis, end),
        steps: withSize(grown.shape.map(() => 1), axis, -1),
      });
    if (before > 0) parts.push(turned(before - 1, -1));
    parts.push(grown);
    if (behind > 0) parts.push(turned(size - 1, size - 1 - behind));
    return concat(rec, parts, axis);
  }, value);
}

function tiled(rec: Recorder, value: Value, reps: readonly number[]): Value {
  const shape = value.shape.map((size, i) => size * reps[i]!);
  // An axis of size 1 repeats for nothing.
  if (reps.every((n, i) => n === 1 || value.shape[i] === 1)) return { ...value, shape };
  const { order, type } = value;
  const name = rec.node("Tile", [
    placed(rec, value, order),
    integers(rec, order.map((axis) => reps[axis]!)),
  ]);
  return namedValue(name, { type, shape }, { order });
}

/** The lowerings of this file. */
export const shapeKernels: Lowerings = {
  Identity: (_, { x }) => x!,
  Reshape: (rec, { x }, { shape }) =>
    reshaped(rec, x!, tf.util.inferFromImplicitShape(shape, product(x!.shape))),
  ExpandDims: (rec, { input }, { dim }) => expanded(rec, input!, dim),
  Transpose: (_, { x }, { perm }) => transposed(x!, perm),
  Concat: (rec, parts, { axis }) => concat(rec, Object.values(parts), axis),
  Pack: (rec, parts, { axis }) =>
    concat(rec, Object.values(parts).map((part) => expanded(rec, part, axis)), axis),
  SplitV: (rec, { x }, { numOrSizeSplits, axis }) => {
    const along = axisOf(x!, axis), shaped = { shape: [...x!.shape] } as Tensor;
    return split(rec, x!, tf.backend_util.prepareSplitSize(shaped, numOrSizeSplits, along), along);
  },
  Unpack: (rec, { value }, { axis }) => {
    const along = axisOf(value!, axis), ones = Array<number>(value!.shape[along]!).fill(1);
    const shape = value!.shape.filter((_, i) => i !== along);
    return split(rec, value!, ones, along).map((part) => reshaped(rec, part, shape));
  },
  Slice: (rec, { x }, { begin, size }) => {
    const shaped = { shape: [...x!.shape], rank: x!.shape.length } as Tensor;
    const [from, sizes] = tf.slice_util.parseSliceParams(shaped, begin, size);
    const end = from!.map((at, i) => at + sizes![i]!);
    return sliced(rec, x!, { begin: from!, end, steps: end.map(() => 1) });
  },
  StridedSlice: (rec, { x }, attributes) => {
    const info = tf.slice_util.sliceInfo(
      [...x!.shape],
      attributes["begin"],
      attributes["end"],
      attributes["strides"],
      attributes["beginMask"],
      attributes["endMask"],
      attributes["ellipsisMask"],
      attributes["newAxisMask"],
      attributes["shrinkAxisMask"],
    );
    const { begin, end, strides: steps } = info;
    return reshaped(rec, sliced(rec, x!, { begin, end, steps }), info.finalShape);
  },
  Reverse: (rec, { x }, { dims }) => {
    const turned = tf.util.parseAxisParam(dims, [...x!.shape]);
    const { shape } = x!, isTurned = (axis: number): boolean => turned.includes(axis);
    return sliced(rec, x!, {
      begin: shape.map((size, i) => isTurned(i) ? size - 1 : 0),
      end: shape.map((size, i) => isTurned(i) ? -1 : size),
      steps: shape.map((_, i) => isTurned(i) ? -1 : 1),
    });
  },
  PadV2: (rec, { x }, { paddings, constantValue = 0 }) =>
    padded(rec, x!, paddings, { mode: "constant", value: constantValue }),
  MirrorPad: (rec, { x }, { paddings, mode }) =>
    mode === "reflect" ? padded(rec, x!, paddings, { mode }) : symmetric(rec, x!, paddings),
  Tile: (rec, { x }, { reps }) => tiled(rec, x!, reps),
  ZerosLike: (_, { x }) => uniform(0, x!.shape, x!.type),
  OnesLike: (_, { x }) => uniform(1, x!.shape, x!.type),
  Fill: (_, __, { shape, value, dtype }) => uniform(value, shape, dtype ?? "float32"),
  DepthToSpace: (rec, { x }, { blockSize: b, dataFormat }) => {
    if (dataFormat !== "NHWC") throw unsupported("DepthToSpace", "dataFormat", "NHWC", dataFormat);
    const [n, h, w, c] = x!.shape as [number, number, number, number];
    const blocks = reshaped(rec, x!, [n, h, w, b, b, c / (b * b)]);
    return reshaped(rec, transposed(blocks, [0, 1, 3, 2, 4, 5]), [n, h * b, w * b, c / (b * b)]);
  },
};

/** An error for a kernel whose attribute has a value that is not written down. */
export const unsupported = (
  kernel: string,
  attribute: string,
  wanted: string,
  got: unknown,
): RangeError =>
  new RangeError(`Cannot compile ${kernel}: ${attribute} must be ${wanted}, got ${got}`);

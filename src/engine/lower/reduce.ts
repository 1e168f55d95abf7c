/**
 * Kernels that gather a whole axis: sums, extremes, running sums, softmax.
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
import { isLong, isRows, rowsOf } from "../../tensor/kernel/sum.ts";
import type { Recorder } from "../graph/record.ts";
import {
  asStored,
  elementwise,
  integers,
  namedValue,
  natural,
  placed,
  product,
  range,
  reshaped,
  reshapedTo,
  scalar,
  unary,
  uniform,
  type Value,
} from "../graph/value.ts";
import { type Attributes, binary, cast, type Lowering, type Lowerings } from "./elementwise.ts";

/** A value stored in full along some axes, for operators to which it matters how often a number is there. */
function whole(rec: Recorder, value: Value, axes: readonly number[]): Value {
  if (axes.every((axis) => value.stored[axis] === value.shape[axis])) return value;
  return namedValue(placed(rec, value, value.order), value, { order: value.order });
}

/** A value without some axes of size 1. */
export const dropped = (rec: Recorder, value: Value, axes: readonly number[]): Value =>
  reshaped(rec, value, value.shape.filter((_, axis) => !axes.includes(axis)));

/** How to reduce along axes. */
export interface Reduction {
  readonly axes: readonly number[];
  readonly keep: boolean;
}

function reduced(rec: Recorder, op: string, value: Value, { axes, keep }: Reduction): Value {
  const sizes = (from: readonly number[]) =>
    from.map((size, axis) => axes.includes(axis) ? 1 : size);
  const shape = sizes(value.shape), stored = sizes(value.stored), { order, type } = value;
  const along = axes.filter((axis) => value.stored[axis] !== 1).map((axis) => order.indexOf(axis));
  const name = along.length === 0 ? asStored(rec, value) : rec.node(
    op,
    [asStored(rec, value), integers(rec, along.sort((a, b) => a - b))],
    { attributes: { keepdims: 1 } },
  );
  const result = along.length === 0 && value.values !== undefined
    ? { ...value, shape }
    : namedValue(name, { type, shape }, { order, stored });
  return keep ? result : dropped(rec, result, axes);
}

/** How often each number of a value is there along axes on which it repeats. */
const repeats = (value: Value, axes: readonly number[]): number =>
  product(axes.filter((axis) => value.stored[axis] === 1).map((axis) => value.shape[axis]!));

/** A value of which very many numbers are to be summed, with its longest axes summed row by row: see `kernel/sum.ts`. */
function shortened(rec: Recorder, value: Value, axes: readonly number[]): Value {
  const count = product(axes.map((axis) => value.stored[axis]!));
  const isTaken = value.values === undefined && value.type === "float32" &&
    product(value.stored) > 0 && isLong(count);
  return isTaken ? inRows(rec, value, axes) : value;
}

function inRows(rec: Recorder, value: Value, axes: readonly number[]): Value {
  const { type, order, stored } = value;
  if (!isRows(product(axes.map((axis) => stored[axis]!)))) return value;
  const axis = [...axes].sort((a, b) => stored[b]! - stored[a]!)[0]!, size = stored[axis]!;
  // Of many short axes the longest is summed as a whole.
  const name = isRows(size)
    ? rowSums(rec, value, axis)
    : rec.node("ReduceSum", [value.name, integers(rec, [order.indexOf(axis)])], {
      attributes: { keepdims: 1 },
    });
  const left = isRows(size) ? Math.ceil(size / rowsOf(size).length) : 1;
  const resized = (sizes: readonly number[]): number[] =>
    sizes.map((other, i) => i === axis ? left : other);
  const next = namedValue(name, { type, shape: resized(value.shape) }, {
    order,
    stored: resized(stored),
  });
  return inRows(rec, next, axes);
}

/** The sums of rows along an axis, and of what is left over. */
function rowSums(rec: Recorder, { name, order, stored }: Value, axis: number): string {
  const { rows, length, rest } = rowsOf(stored[axis]!), at = order.indexOf(axis);
  const dims = order.map((each) => stored[each]!), end = rows * length;
  const part = (from: number, to: number): string =>
    rec.node("Slice", [name, integers(rec, [from]), integers(rec, [to]), integers(rec, [at])]);
  const split = [...dims.slice(0, at), rows, length, ...dims.slice(at + 1)];
  const whole = reshapedTo(rec, rest === 0 ? name : part(0, end), split);
  const sums = rec.node("ReduceSum", [whole, integers(rec, [at + 1])], {
    attributes: { keepdims: 0 },
  });
  if (rest === 0) return sums;
  const last = rec.node("ReduceSum", [part(end, end + rest), integers(rec, [at])], {
    attributes: { keepdims: 1 },
  });
  return rec.node("Concat", [sums, last], { attributes: { axis: at } });
}

function sum(rec: Recorder, value: Value, reduction: Reduction): Value {
  const short = shortened(rec, value, reduction.axes);
  const total = reduced(rec, "ReduceSum", short, reduction);
  return binary(rec, "Mul", total, uniform(repeats(value, reduction.axes), [], value.type));
}

/** The mean, of many numbers by their sum. */
function mean(rec: Recorder, value: Value, reduction: Reduction): Value {
  const short = shortened(rec, value, reduction.axes);
  if (short === value) return reduced(rec, "ReduceMean", value, reduction);
  const count = product(reduction.axes.map((axis) => value.stored[axis]!));
  return binary(rec, "Div", reduced(rec, "ReduceSum", short, reduction), uniform(count));
}

/** The axes that a kernel reduces. */
export const reductionOf = (
  value: Value,
  { axis, reductionIndices, keepDims }: Attributes,
): Reduction => ({
  axes: tf.util.parseAxisParam(axis ?? reductionIndices ?? range(value.shape.length), [
    ...value.shape,
  ]),
  keep: !!keepDims,
});

/** What a reduction makes of no numbers, if there are none. */
function ofNone(value: Value, { axes, keep }: Reduction, none: number): Value | undefined {
  const { shape, type } = value;
  if (axes.every((axis) => shape[axis] !== 0)) return undefined;
  const sizes = keep
    ? shape.map((size, axis) => axes.includes(axis) ? 1 : size)
    : shape.filter((_, axis) => !axes.includes(axis));
  return uniform(none, sizes, type);
}

/** The greatest or the least; NaN where there is one, which ONNX Runtime passes over unless it is the first. */
const extreme = (op: string): Lowering => (rec, { x }, attributes) => {
  const reduction = reductionOf(x!, attributes), found = reduced(rec, op, x!, reduction);
  if (x!.type !== "float32" || found.values !== undefined) return found;
  const isNaN = cast(rec, unary(rec, "IsNaN", x!, { type: "bool" }), "float32");
  const some = reduced(rec, "ReduceMax", isNaN, reduction);
  return elementwise(
    rec,
    "Where",
    [cast(rec, some, "bool"), uniform(NaN), found],
    "float32",
  );
};

/** All and any, as the least and greatest of 0 and 1; of none the one that one more would change. */
const logical = (op: string, none: number): Lowering => (rec, { x }, attributes) => {
  const whole = cast(rec, x!, "int32"), reduction = reductionOf(x!, attributes);
  return cast(rec, ofNone(whole, reduction, none) ?? reduced(rec, op, whole, reduction), "bool");
};

/** The place of an extreme value along one axis, the first of equals. */
const place = (op: string): Lowering => (rec, { x }, { axis }) => {
  const [along] = tf.util.parseAxisParam(axis, [...x!.shape]) as [number];
  const value = whole(rec, x!, [along]), { order } = value;
  const found = rec.node(op, [asStored(rec, value)], {
    attributes: { axis: order.indexOf(along), keepdims: 1 },
  });
  const small = rec.node("Cast", [found], { attributes: { to: 6 } });
  const sizes = (from: readonly number[]) => from.map((size, i) => i === along ? 1 : size);
  const kept = namedValue(small, { type: "int32", shape: sizes(value.shape) }, {
    order,
    stored: sizes(value.stored),
  });
  return dropped(rec, kept, [along]);
};

const running: Lowering = (rec, { x }, { axis, exclusive, reverse }) => {
  const [along] = tf.util.parseAxisParam(axis, [...x!.shape]) as [number];
  const value = whole(rec, x!, [along]), { type, shape, order, stored } = value;
  const name = rec.node(
    "CumSum",
    [asStored(rec, value), scalar(rec, order.indexOf(along), "int32")],
    { attributes: { exclusive: exclusive ? 1 : 0, reverse: reverse ? 1 : 0 } },
  );
  return namedValue(name, { type, shape }, { order, stored });
};

const softmax: Lowering = (rec, { logits }, { dim = -1 }) => {
  const x = logits!, along = dim < 0 ? dim + x.shape.length : dim;
  const value = whole(rec, x, [along]);
  return unary(rec, "Softmax", value, { attributes: { axis: value.order.indexOf(along) } });
};

/** The lowerings of this file. */
export const reducingKernels: Lowerings = {
  Sum: (rec, { x }, attributes) => sum(rec, x!, reductionOf(x!, attributes)),
  Mean: (rec, { x }, attributes) => {
    const value = cast(rec, x!, "float32"), reduction = reductionOf(value, attributes);
    return ofNone(value, reduction, NaN) ?? mean(rec, value, reduction);
  },
  Max: extreme("ReduceMax"),
  Min: extreme("ReduceMin"),
  Prod: (rec, { x }, attributes) => {
    const reduction = reductionOf(x!, attributes);
    return reduced(rec, "ReduceProd", whole(rec, x!, reduction.axes), reduction);
  },
  All: logical("ReduceMin", 1),
  Any: logical("ReduceMax", 0),
  ArgMax: place("ArgMax"),
  ArgMin: place("ArgMin"),
  Cumsum: running,
  Softmax: softmax,
  TopK: (rec, { x }, { k, sorted }) => {
    const shape = [...x!.shape.slice(0, -1), k];
    const [values, places] = rec.nodes("TopK", [natural(rec, x!), integers(rec, [k])], {
      attributes: { axis: -1, largest: 1, sorted: sorted === false ? 0 : 1 },
      outputs: 2,
    }) as [string, string];
    const small = rec.node("Cast", [places], { attributes: { to: 6 } });
    return [
      namedValue(values, { type: x!.type, shape }),
      namedValue(small, { type: "int32", shape }),
    ];
  },
};

/**
 * Kernels that are the library's own: what it does in one step where the backend knows how, and composes elsewhere.
 *
 * `Standardize` takes x [N, H, W, C] to zero mean and unit variance in each of `groups` groups of channels of a sample.
 */
export const ownKernels: Lowerings = {
  Standardize: (rec, { x }, { groups, epsilon }) => {
    const [n, h, w, c] = x!.shape as [number, number, number, number], order = [0, 3, 1, 2];
    const sizes = integers(rec, [n, groups, h * w * c / groups]);
    const rows = rec.node("Reshape", [placed(rec, x!, order), sizes]);
    const vector = (value: number): string =>
      rec.constant("float32", [groups], () => Array(groups).fill(value));
    const name = rec.node("InstanceNormalization", [rows, vector(1), vector(0)], {
      attributes: { epsilon: { float: epsilon } },
    });
    const image = rec.node("Reshape", [name, integers(rec, [n, c, h, w])]);
    return namedValue(image, x!, { order });
  },
};

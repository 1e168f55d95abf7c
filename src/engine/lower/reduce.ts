/**
 * Kernels that gather a whole axis: sums, extremes, running sums, softmax.
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
import type { Recorder } from "../graph/record.ts";
import {
  asStored,
  integers,
  namedValue,
  natural,
  placed,
  product,
  range,
  reshaped,
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
const dropped = (rec: Recorder, value: Value, axes: readonly number[]): Value =>
  reshaped(rec, value, value.shape.filter((_, axis) => !axes.includes(axis)));

/** How to reduce along axes. */
interface Reduction {
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

function sum(rec: Recorder, value: Value, reduction: Reduction): Value {
  const total = reduced(rec, "ReduceSum", value, reduction);
  return binary(rec, "Mul", total, uniform(repeats(value, reduction.axes), [], value.type));
}

const reductionOf = (
  value: Value,
  { axis, reductionIndices, keepDims }: Attributes,
): Reduction => ({
  axes: tf.util.parseAxisParam(axis ?? reductionIndices ?? range(value.shape.length), [
    ...value.shape,
  ]),
  keep: !!keepDims,
});

const extreme = (op: string): Lowering => (rec, { x }, attributes) =>
  reduced(rec, op, x!, reductionOf(x!, attributes));

/** All and any, as the least and greatest of 0 and 1. */
const logical = (op: string): Lowering => (rec, { x }, attributes) =>
  cast(rec, reduced(rec, op, cast(rec, x!, "int32"), reductionOf(x!, attributes)), "bool");

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
  Mean: (rec, { x }, attributes) =>
    reduced(rec, "ReduceMean", cast(rec, x!, "float32"), reductionOf(x!, attributes)),
  Max: extreme("ReduceMax"),
  Min: extreme("ReduceMin"),
  Prod: (rec, { x }, attributes) => {
    const reduction = reductionOf(x!, attributes);
    return reduced(rec, "ReduceProd", whole(rec, x!, reduction.axes), reduction);
  },
  All: logical("ReduceMin"),
  Any: logical("ReduceMax"),
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

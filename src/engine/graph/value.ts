/**
 * Values of a graph as tfjs sees them, and how they lie in memory.
 *
 * tfjs speaks of images as NHWC and of filters as HWIO; ONNX computes on NCHW and OIHW. A value therefore knows its
 * axes twice: by the `shape` that tfjs sees, and by the `order` in which they are stored. A transpose changes the order
 * and computes nothing; so does a reshape of axes that lie side by side; reductions, concatenations and slices act on
 * whichever axis it is. Only where an operator needs a certain order is the value really transposed, once. In the same
 * way an axis along which a value repeats is stored with size 1, and `tf.ones(x.shape)` is one number.
 *
 * @module
 */

import type { Attribute } from "./graph.ts";
import type { Recorder } from "./record.ts";

/** The types of tensors that are compiled. */
export type DType = "float32" | "int32" | "bool";

/** A value of a graph. */
export interface Value {
  /** Its name in the graph; "" for a constant, which is stored when it is needed. */
  readonly name: string;
  /** Its elements' type. */
  readonly type: DType;
  /** Its shape, as tfjs sees it. */
  readonly shape: readonly number[];
  /** The size that is stored for each axis of `shape`: its own, or 1 where the value repeats along it. */
  readonly stored: readonly number[];
  /** The axes of `shape` in the order in which they are stored. */
  readonly order: readonly number[];
  /** The numbers of a constant, row by row over `stored` in the order of `shape`. */
  readonly values?: ArrayLike<number>;
  /** Whether it is an image whose channels lie side by side in blocks: see `blocks/layout.ts`. Default: false. */
  readonly isBlocked?: boolean;
}

/** The order in which ONNX has the axes of images [N, H, W, C]. */
export const nchw: readonly number[] = [0, 3, 1, 2];

/** 0 ... n − 1. */
export const range = (n: number): number[] => Array.from({ length: n }, (_, i) => i);

/** The product of sizes. */
export const product = (sizes: readonly number[]): number => sizes.reduce((a, b) => a * b, 1);

/** Whether two lists hold the same numbers. */
export const same = (a: readonly number[], b: readonly number[]): boolean =>
  a.length === b.length && a.every((x, i) => x === b[i]);

/** The sizes of a value in the order in which they are stored. */
export const dimsOf = ({ order, stored }: Value): number[] => order.map((axis) => stored[axis]!);

/** How a value is stored, where that is not row by row and in full. */
export interface Layout {
  /** See {@link Value}. */
  readonly order?: readonly number[];
  /** See {@link Value}. */
  readonly stored?: readonly number[];
}

/** What a node has made, as a value. */
export function namedValue(
  name: string,
  { type, shape }: Pick<Value, "type" | "shape">,
  { order = range(shape.length), stored = shape }: Layout = {},
): Value {
  return { name, type, shape, stored, order };
}

/** A constant; one that is the same everywhere is stored as one number. */
export function constantOf(
  values: ArrayLike<number>,
  { type, shape }: Pick<Value, "type" | "shape">,
): Value {
  const order = range(shape.length);
  if (!isUniform(values)) return { name: "", type, shape, stored: shape, order, values };
  return { name: "", type, shape, stored: shape.map(() => 1), order, values: [+values[0]!] };
}

function isUniform(values: ArrayLike<number>): boolean {
  for (let i = 1; i < values.length; i++) if (!Object.is(values[i], values[0])) return false;
  return values.length > 0;
}

/** One number at every place of a shape. */
export const uniform = (x: number, shape: readonly number[] = [], type: DType = "float32"): Value =>
  constantOf([x], { type, shape });

/** The number that a constant is everywhere, if it is one. */
export const uniformOf = ({ values, stored }: Value): number | undefined =>
  values !== undefined && product(stored) === 1 ? +values[0]! : undefined;

/** The numbers of a constant, row by row over axes in any order; `full` repeats them along the axes that repeat. */
function gathered(value: Value, order: readonly number[], full: boolean): number[] {
  const { shape, stored, values } = value, strides = stridesOf(stored);
  const dims = order.map((axis) => full ? shape[axis]! : stored[axis]!);
  const steps = order.map((axis) => stored[axis] === 1 ? 0 : strides[axis]!);
  const result = new Array<number>(product(dims)), place = dims.map(() => 0);
  for (let i = 0, at = 0; i < result.length; i++) {
    result[i] = +values![at]!;
    for (let axis = dims.length - 1; axis >= 0; axis--) {
      at += steps[axis]!;
      if (++place[axis]! < dims[axis]!) break;
      at -= steps[axis]! * dims[axis]!;
      place[axis] = 0;
    }
  }
  return result;
}

function stridesOf(sizes: readonly number[]): number[] {
  return sizes.map((_, axis) => product(sizes.slice(axis + 1)));
}

/** The numbers of a constant as tfjs sees them. */
export const numbersOf = (value: Value): number[] =>
  gathered(value, range(value.shape.length), true);

/** The order of the axes that have more than one place: all that tells two ways to store a value apart. */
const essential = ({ stored }: Value, order: readonly number[]): number[] =>
  order.filter((axis) => stored[axis] !== 1);

/**
 * The name of a value, stored in a given order of axes.
 *
 * @param rec Where nodes are written.
 * @param value The value.
 * @param order Axes in the order wanted.
 * @param full Whether it must be repeated in full along axes where it repeats.
 */
export function placed(
  rec: Recorder,
  value: Value,
  order: readonly number[],
  full: boolean = true,
): string {
  const { shape, stored, type, values } = value;
  if (values !== undefined) {
    const dims = order.map((axis) => full ? shape[axis]! : stored[axis]!);
    const source = same(order, range(order.length)) && same(shape, stored) ? values : undefined;
    return rec.constant(type, dims, () => gathered(value, order, full), source as object);
  }
  const name = ordered(rec, value, order);
  if (!full || same(shape, stored)) return name;
  return rec.node("Expand", [name, integers(rec, order.map((axis) => shape[axis]!))]);
}

function ordered(rec: Recorder, value: Value, order: readonly number[]): string {
  const { name, order: present, stored } = value;
  if (same(order, present)) return name;
  if (!same(essential(value, order), essential(value, present))) {
    const perm = order.map((axis) => present.indexOf(axis));
    return rec.node("Transpose", [name], { attributes: { perm } });
  }
  const dims = order.map((axis) => stored[axis]!);
  return same(dims, dimsOf(value)) ? name : rec.node("Reshape", [name, integers(rec, dims)]);
}

/** The name of a list of whole numbers, as operators take sizes and axes. */
export const integers = (rec: Recorder, values: readonly number[]): string =>
  rec.constant("int64", [values.length], () => values);

/** The name of what is stored, with other sizes. */
export const reshapedTo = (rec: Recorder, name: string, dims: readonly number[]): string =>
  rec.node("Reshape", [name, integers(rec, dims)]);

/** The name of what is stored, with its axes in another order. */
export const transposedTo = (rec: Recorder, name: string, perm: readonly number[]): string =>
  rec.node("Transpose", [name], { attributes: { perm } });

/** The name of one number. */
export const scalar = (rec: Recorder, x: number, type: DType = "float32"): string =>
  rec.constant(type, [], () => [x]);

/** The name of a value as tfjs sees it: row by row, in full. */
export const natural = (rec: Recorder, value: Value): string =>
  placed(rec, value, range(value.shape.length));

/** The name of a value as it is stored. */
export const asStored = (rec: Recorder, value: Value): string =>
  placed(rec, value, value.order, false);

/** A value with axes of size 1 put before the others, up to a rank. */
export function lifted(value: Value, rank: number): Value {
  const extra = rank - value.shape.length, ones = Array<number>(Math.max(extra, 0)).fill(1);
  if (extra <= 0) return value;
  return {
    ...value,
    shape: [...ones, ...value.shape],
    stored: [...ones, ...value.stored],
    order: [...range(extra), ...value.order.map((axis) => axis + extra)],
  };
}

/** The shape that values broadcast to, and the sizes that are stored. */
function joint(values: readonly Value[], sizes: "shape" | "stored"): number[] {
  return values[0]!.shape.map((_, axis) =>
    values.map((value) => value[sizes][axis]!).find((size) => size !== 1) ?? 1
  );
}

/**
 * An operator that acts on each place by itself, with broadcasting. The result is stored as the largest operand is.
 *
 * @param rec Where nodes are written.
 * @param op The operator.
 * @param operands Its operands.
 * @param type The result's type.
 * @param attributes The operator's attributes.
 */
export function elementwise(
  rec: Recorder,
  op: string,
  operands: readonly Value[],
  type: DType,
  attributes: Readonly<Record<string, Attribute>> = {},
): Value {
  const rank = Math.max(...operands.map(({ shape }) => shape.length));
  const equal = operands.map((value) => lifted(value, rank));
  const shape = joint(equal, "shape"), stored = joint(equal, "stored");
  const weight = (i: number): number =>
    operands[i]!.values !== undefined
      ? -1
      : 2 * product(equal[i]!.stored) + (operands[i]!.shape.length === rank ? 1 : 0);
  const lead = range(operands.length).reduce((a, b) => weight(b) > weight(a) ? b : a);
  const { order } = equal[lead]!, covered = operands[lead]!.shape.length === rank;
  const names = equal.map((value, i) => {
    // A single number needs no shape, as long as the rank of the result comes from another operand.
    if (covered && i !== lead && product(value.stored) === 1) return one(rec, operands[i]!);
    if (covered && operands[i]!.values === undefined && same(value.order, order)) {
      return operands[i]!.name;
    }
    return spelled(rec, operands[i]!, value, order);
  });
  return namedValue(rec.node(op, names, { attributes }), { type, shape }, { order, stored });
}

const one = (rec: Recorder, value: Value): string =>
  value.values === undefined ? value.name : scalar(rec, +value.values[0]!, value.type);

/** An operand with its leading axes written out, in a given order. */
function spelled(rec: Recorder, short: Value, value: Value, order: readonly number[]): string {
  const isShort = short.shape.length < value.shape.length && short.values === undefined;
  if (!isShort) return placed(rec, value, order, false);
  const name = rec.node("Reshape", [short.name, integers(rec, dimsOf(value))]);
  return placed(rec, { ...value, name }, order, false);
}

/** An operator of one operand that acts on each place by itself. */
export function unary(
  rec: Recorder,
  op: string,
  value: Value,
  { type = value.type, attributes = {} }: {
    readonly type?: DType;
    readonly attributes?: Readonly<Record<string, Attribute>>;
  } = {},
): Value {
  const { shape, order, stored } = value;
  return namedValue(rec.node(op, [asStored(rec, value)], { attributes }), { type, shape }, {
    order,
    stored,
  });
}

/** A value with its axes permuted: nothing is computed. */
export function transposed(value: Value, perm: readonly number[]): Value {
  const shape = perm.map((axis) => value.shape[axis]!);
  if (value.values !== undefined && product(value.stored) > 1) {
    return constantOf(gathered(value, perm, true), { type: value.type, shape });
  }
  return {
    ...value,
    shape,
    stored: perm.map((axis) => value.stored[axis]!),
    order: value.order.map((axis) => perm.indexOf(axis)),
  };
}

/** Axes of one shape and of another that hold the same places: their products agree. */
interface Group {
  readonly from: readonly number[];
  readonly to: readonly number[];
}

/** Two shapes of the same size as the finest groups that agree; axes of size 1 are left out. */
function groups(from: readonly number[], to: readonly number[]): Group[] {
  const left = range(from.length).filter((axis) => from[axis] !== 1),
    right = range(to.length).filter((axis) => to[axis] !== 1),
    result: Group[] = [];
  while (left.length > 0 && right.length > 0) {
    const group = { from: [left.shift()!], to: [right.shift()!] };
    for (;;) {
      const a = product(group.from.map((axis) => from[axis]!)),
        b = product(group.to.map((axis) => to[axis]!));
      if (a === b) break;
      if (a < b) group.from.push(left.shift()!);
      else group.to.push(right.shift()!);
    }
    result.push(group);
  }
  return result;
}

/**
 * A value in another shape of the same size. Axes that are split, or joined with neighbours in memory, cost nothing;
 * otherwise the value is first stored row by row.
 */
export function reshaped(rec: Recorder, value: Value, shape: readonly number[]): Value {
  if (same(value.shape, shape)) return value;
  const { type } = value;
  if (value.values !== undefined) {
    const x = uniformOf(value);
    return x === undefined
      ? constantOf(numbersOf(value), { type, shape })
      : uniform(x, shape, type);
  }
  if (product(shape) === 0) {
    // Without this a 0 stands for the size that was there.
    const attributes = { allowzero: 1 };
    const name = rec.node("Reshape", [natural(rec, value), integers(rec, shape)], { attributes });
    return namedValue(name, { type, shape });
  }
  const parts = groups(value.shape, shape), expanded = expandedFor(rec, value, parts);
  const sound = isContiguous(expanded, parts) ? expanded : {
    ...expanded,
    name: placed(rec, expanded, range(expanded.shape.length), false),
    order: range(expanded.shape.length),
  };
  const repeats = new Set(
    parts.filter(({ from }) => from.every((axis) => sound.stored[axis] === 1)).flatMap(({ to }) =>
      to
    ),
  );
  const stored = shape.map((size, axis) => repeats.has(axis) ? 1 : size);
  const place = ({ from }: Group): number => sound.order.indexOf(from[0]!);
  const order = withUnits(
    [...parts].sort((a, b) => place(a) - place(b)).flatMap(({ to }) => to),
    shape.length,
  );
  const dims = order.map((axis) => stored[axis]!);
  const name = same(dims, dimsOf(sound))
    ? sound.name
    : rec.node("Reshape", [sound.name, integers(rec, dims)]);
  return namedValue(name, { type, shape }, { order, stored });
}

/** A value repeated in full if a group joins an axis that repeats with one that does not. */
function expandedFor(rec: Recorder, value: Value, parts: readonly Group[]): Value {
  const repeats = (axis: number): boolean => value.stored[axis] === 1;
  const mixed = parts.some(({ from }) => from.some(repeats) && !from.every(repeats));
  if (!mixed) return value;
  return { ...value, name: placed(rec, value, value.order), stored: value.shape };
}

/** Whether the axes that each group joins lie side by side in memory, in their order. */
function isContiguous({ shape, order }: Value, parts: readonly Group[]): boolean {
  const lying = order.filter((axis) => shape[axis] !== 1);
  return parts.every(({ from }) =>
    from.every((axis, i) => i === 0 || lying.indexOf(axis) === lying.indexOf(from[i - 1]!) + 1)
  );
}

/** An order of axes completed with those of size 1, each behind the axis before it. */
function withUnits(order: readonly number[], rank: number): number[] {
  if (order.every((axis, i) => i === 0 || axis > order[i - 1]!)) return range(rank);
  const result = [...order];
  for (const axis of range(rank)) {
    if (!result.includes(axis)) result.splice(result.indexOf(axis - 1) + 1, 0, axis);
  }
  return result;
}

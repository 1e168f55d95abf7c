/**
 * Kernels that act on each place of a tensor by itself.
 *
 * A lowering is a pure function from the values that a kernel of tfjs reads, and its attributes, to what it makes,
 * written down as nodes of ONNX. Numbers that are the same everywhere are reckoned at once.
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
import type { Recorder } from "../graph/record.ts";
import {
  constantOf,
  type DType,
  elementwise,
  numbersOf,
  reshaped,
  scalar,
  unary,
  uniform,
  uniformOf,
  type Value,
} from "../graph/value.ts";

/** A kernel's attributes, as tfjs passes them. */
// deno-lint-ignore no-explicit-any -- each kernel has its own, and tfjs's own type for them says as little
export type Attributes = Readonly<Record<string, any>>;

/** A kernel's inputs by tfjs's names; variadic kernels number them. */
export type Operands = Readonly<Record<string, Value>>;

/** Writes a kernel down. */
export type Lowering = (
  rec: Recorder,
  operands: Operands,
  attributes: Attributes,
) => Value | Value[];

/** Lowerings by kernel. */
export type Lowerings = Readonly<Record<string, Lowering>>;

/** A value that repeats along new or single axes up to a shape: nothing is computed. */
export function broadcast(rec: Recorder, value: Value, shape: readonly number[]): Value {
  const ones = Array<number>(shape.length - value.shape.length).fill(1);
  return { ...reshaped(rec, value, [...ones, ...value.shape]), shape };
}

const arithmetic: Readonly<Record<string, (a: number, b: number) => number>> = {
  Add: (a, b) => a + b,
  Sub: (a, b) => a - b,
  Mul: (a, b) => a * b,
  Div: (a, b) => a / b,
};

/** Operators that leave their first operand as it is when the second is this number. */
const neutral: Readonly<Record<string, number>> = { Add: 0, Sub: 0, Mul: 1, Div: 1 };

/** An arithmetic operator of two operands. */
export function binary(rec: Recorder, op: string, a: Value, b: Value): Value {
  const shape = tf.broadcast_util.assertAndGetBroadcastShape([...a.shape], [...b.shape]);
  const x = uniformOf(a), y = uniformOf(b), { type } = a, reckon = arithmetic[op];
  if (x !== undefined && y !== undefined && reckon && (type === "float32" || op !== "Div")) {
    return uniform(type === "float32" ? Math.fround(reckon(x, y)) : reckon(x, y), shape, type);
  }
  if (y !== undefined && y === neutral[op]) return broadcast(rec, a, shape);
  if (x !== undefined && x === neutral[op] && (op === "Add" || op === "Mul")) {
    return broadcast(rec, b, shape);
  }
  if (op === "Pow" && y === 2) return elementwise(rec, "Mul", [a, a], type);
  return elementwise(rec, op, [a, b], type);
}

/** A value as another type. */
export function cast(rec: Recorder, value: Value, type: DType): Value {
  if (type === value.type) return value;
  if (value.values !== undefined) {
    const convert = conversions[type];
    return constantOf(numbersOf(value).map(convert), { type, shape: value.shape });
  }
  return unary(rec, "Cast", value, { type, attributes: { to: codes[type] } });
}

/** ONNX's numbers for types. */
const codes: Readonly<Record<DType, number>> = { float32: 1, int32: 6, bool: 9 };

const conversions: Readonly<Record<DType, (x: number) => number>> = {
  float32: Math.fround,
  int32: Math.trunc,
  bool: (x) => x !== 0 ? 1 : 0,
};

const one = uniform(1);

const compare = (op: string): Lowering => (rec, { a, b }) => elementwise(rec, op, [a!, b!], "bool");
const computed = (op: string): Lowering => (rec, { a, b }) => binary(rec, op, a!, b!);
const mapped = (
  op: string,
  attributes: (given: Attributes) => Record<string, { float: number }> = () => ({}),
): Lowering =>
(rec, { x }, given) => unary(rec, op, x!, { attributes: attributes(given) });
const tested = (op: string): Lowering => (rec, { x }) => unary(rec, op, x!, { type: "bool" });

/** Where `x` is above 0: 1 or `otherwise`; NaN where x is NaN. */
function step(rec: Recorder, x: Value, otherwise: number): Value {
  const above = elementwise(rec, "Greater", [x, uniform(0)], "bool");
  const below = elementwise(rec, "Where", [isNaN(rec, x), x, uniform(otherwise)], "float32");
  return elementwise(rec, "Where", [above, one, below], "float32");
}

const isNaN = (rec: Recorder, x: Value): Value => unary(rec, "IsNaN", x, { type: "bool" });

/**
 * 1/(1 + e^(−x)), to its last digits where it is small too: ONNX Runtime's own is right to 1e-7 of 1 and 0 from −18 down, where
 * ln of it is −∞. That is a third of the work, and good enough for what is multiplied by x, a `gate`.
 */
function sigmoid(rec: Recorder, x: Value, isGate: boolean): Value {
  if (isGate) return unary(rec, "Sigmoid", x);
  return unary(rec, "Reciprocal", binary(rec, "Add", unary(rec, "Exp", unary(rec, "Neg", x)), one));
}

/** log(1 + x) = x·log(u)/(u − 1) with u = 1 + x as rounded, which is right for small x too. */
function log1p(rec: Recorder, x: Value): Value {
  const u = binary(rec, "Add", x, one), excess = binary(rec, "Sub", u, one);
  const exact = elementwise(rec, "Equal", [excess, uniform(0)], "bool");
  const scaled = binary(rec, "Mul", x, binary(rec, "Div", unary(rec, "Log", u), excess));
  const isInfinite = unary(rec, "IsInf", x, { type: "bool" });
  const large = elementwise(rec, "Where", [isInfinite, unary(rec, "Log", u), scaled], "float32");
  return elementwise(rec, "Where", [exact, x, large], "float32");
}

/** exp(x) − 1 = 2·h/(1 − h) with h = tanh(x/2) where |x| < 1, where the difference would lose digits. */
function expm1(rec: Recorder, x: Value): Value {
  const h = unary(rec, "Tanh", binary(rec, "Mul", x, uniform(0.5)));
  const near = binary(rec, "Div", binary(rec, "Add", h, h), binary(rec, "Sub", one, h));
  const far = binary(rec, "Sub", unary(rec, "Exp", x), one);
  const isNear = elementwise(rec, "Less", [unary(rec, "Abs", x), one], "bool");
  return elementwise(rec, "Where", [isNear, near, far], "float32");
}

function clipped(rec: Recorder, x: Value, least: number, most: number): Value {
  const bounds = [scalar(rec, least, x.type), scalar(rec, most, x.type)] as const;
  const { type, shape, order, stored } = x;
  const plain = x.values === undefined ? x : unary(rec, "Identity", x);
  return { name: rec.node("Clip", [plain.name, ...bounds]), type, shape, order, stored };
}

/** What is left of a after whole multiples of b, with the sign of b: exact, where a − ⌊a/b⌋·b would be 0 for a = 5b − tiny. */
function modulo(rec: Recorder, a: Value, b: Value): Value {
  if (a.type !== "float32") return elementwise(rec, "Mod", [a, b], a.type);
  const left = (a: Value): Value => elementwise(rec, "Mod", [a, b], a.type, { fmod: 1 });
  const below = (x: Value): Value => elementwise(rec, "Less", [x, uniform(0)], "bool");
  const isAcross = elementwise(rec, "Xor", [below(a), below(b)], "bool"), rest = left(a);
  return elementwise(rec, "Where", [isAcross, left(binary(rec, "Add", rest, b)), rest], "float32");
}

/** The quotient rounded down, as a whole number; of whole numbers too, which ONNX rounds towards 0. */
function floorDiv(rec: Recorder, a: Value, b: Value): Value {
  const quotient = binary(rec, "Div", cast(rec, a, "float32"), cast(rec, b, "float32"));
  return cast(rec, unary(rec, "Floor", quotient), "int32");
}

const pairs: Readonly<Record<string, string>> = {
  Add: "Add",
  Sub: "Sub",
  Multiply: "Mul",
  RealDiv: "Div",
  Pow: "Pow",
  Maximum: "Max",
  Minimum: "Min",
};

const comparisons: Readonly<Record<string, string>> = {
  Greater: "Greater",
  GreaterEqual: "GreaterOrEqual",
  Less: "Less",
  LessEqual: "LessOrEqual",
  Equal: "Equal",
  LogicalAnd: "And",
  LogicalOr: "Or",
};

/** Kernels that ONNX calls by the same name. */
const namesakes: readonly string[] = [
  ..."Abs Neg Exp Log Sqrt Sin Cos Tan Asin Acos Atan Sinh Cosh Asinh Acosh Atanh Tanh"
    .split(" "),
  ..."Relu Erf Floor Ceil Round Sign Reciprocal Softplus".split(" "),
];

const table = <A>(names: Readonly<Record<string, A>>, lower: (name: A) => Lowering): Lowerings =>
  Object.fromEntries(Object.entries(names).map(([kernel, name]) => [kernel, lower(name)]));

/** The lowerings of this file. */
export const elementwiseKernels: Lowerings = {
  ...table(pairs, computed),
  ...table(comparisons, compare),
  ...table(Object.fromEntries(namesakes.map((name) => [name, name])), mapped),
  NotEqual: (rec, { a, b }) => unary(rec, "Not", elementwise(rec, "Equal", [a!, b!], "bool")),
  LogicalNot: tested("Not"),
  IsNan: tested("IsNaN"),
  IsInf: tested("IsInf"),
  IsFinite: (rec, { x }) => {
    const difference = binary(rec, "Sub", x!, x!);
    return elementwise(rec, "Equal", [difference, uniform(0)], "bool");
  },
  SquaredDifference: (rec, { a, b }) => {
    const difference = binary(rec, "Sub", a!, b!);
    return binary(rec, "Mul", difference, difference);
  },
  FloorDiv: (rec, { a, b }) => floorDiv(rec, a!, b!),
  Mod: (rec, { a, b }) => modulo(rec, a!, b!),
  AddN: (rec, operands) => Object.values(operands).reduce((a, b) => binary(rec, "Add", a, b)),
  Square: (rec, { x }) => binary(rec, "Mul", x!, x!),
  Rsqrt: (rec, { x }) => unary(rec, "Reciprocal", unary(rec, "Sqrt", x!)),
  Expm1: (rec, { x }) => expm1(rec, x!),
  Log1p: (rec, { x }) => log1p(rec, x!),
  Sigmoid: (rec, { x }, { gate = false }) => sigmoid(rec, x!, gate),
  Step: (rec, { x }, { alpha = 0 }) => step(rec, x!, alpha),
  Elu: mapped("Elu", () => ({ alpha: { float: 1 } })),
  Selu: mapped("Selu"),
  LeakyRelu: mapped("LeakyRelu", ({ alpha }) => ({ alpha: { float: alpha } })),
  Prelu: (rec, { x, alpha }) => {
    const below = elementwise(rec, "Less", [x!, uniform(0)], "bool");
    return elementwise(rec, "Where", [below, binary(rec, "Mul", alpha!, x!), x!], "float32");
  },
  Relu6: (rec, { x }) => clipped(rec, x!, 0, 6),
  ClipByValue: (rec, { x }, { clipValueMin, clipValueMax }) =>
    clipped(rec, x!, clipValueMin, clipValueMax),
  Select: (rec, { condition, t, e }) => {
    const extra = Array<number>(t!.shape.length - condition!.shape.length).fill(1);
    // A condition of rank 1 chooses whole rows.
    const aligned = condition!.shape.length === 1
      ? reshaped(rec, condition!, [...condition!.shape, ...extra])
      : condition!;
    return elementwise(rec, "Where", [aligned, t!, e!], t!.type);
  },
  Cast: (rec, { x }, { dtype }) => cast(rec, x!, dtype),
};

/**
 * One function for each kernel that can be compiled, on inputs of random shapes.
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
import type { Pure } from "../../src/tensor/engine.ts";

/** Chance, as a pure stream of numbers in [0, 1). */
export type Chance = () => number;

/** A function and what to give it. */
export interface Case {
  /** Inputs by name, which the test owns. */
  readonly inputs: Record<string, tf.Tensor>;
  /** The function. */
  readonly fn: Pure;
  /** Names of inputs by which its output is differentiated. Default: none. */
  readonly by?: readonly string[];
}

/** Numbers in [0, 1) from a seed (a linear congruence of 48 bits is plenty for shapes and test data). */
export function chance(seed: number): Chance {
  let state = BigInt(seed) * 2654435761n + 12345n;
  return () => {
    state = (state * 25214903917n + 11n) & 0xffffffffffffn;
    return Number(state >> 16n) / 2 ** 32;
  };
}

const whole = (r: Chance, least: number, most: number): number =>
  least + Math.floor(r() * (most - least + 1));

const sizes = (r: Chance, rank: number): number[] =>
  Array.from({ length: rank }, () => whole(r, 1, 4));

const some = (r: Chance): number[] => sizes(r, whole(r, 1, 4));

/** Numbers between bounds, apart from each other and from the places where functions bend. */
const numbers = (r: Chance, shape: readonly number[], low = -2, high = 2): tf.Tensor => {
  const n = shape.reduce((a, b) => a * b, 1);
  const spread = Array.from(
    { length: n },
    (_, i) => low + (high - low) * (i + 0.5 + 0.2 * (r() - 0.5)) / n,
  );
  for (let i = n - 1; i > 0; i--) {
    const j = whole(r, 0, i);
    [spread[i], spread[j]] = [spread[j]!, spread[i]!];
  }
  return tf.tensor(spread, [...shape], "float32");
};

const integers = (r: Chance, shape: readonly number[], most: number): tf.Tensor =>
  tf.tensor(
    Array.from({ length: shape.reduce((a, b) => a * b, 1) }, () => whole(r, 0, most)),
    [...shape],
    "int32",
  );

const flags = (r: Chance, shape: readonly number[]): tf.Tensor =>
  tf.cast(integers(r, shape, 1), "bool");

/** A shape that broadcasts against another: some axes 1, some leading ones left out. */
const partner = (r: Chance, shape: readonly number[]): number[] =>
  shape.map((size) => r() < 0.3 ? 1 : size).slice(r() < 0.3 ? 1 : 0);

type Unary = (x: tf.Tensor) => tf.Tensor;
type Binary = (a: tf.Tensor, b: tf.Tensor) => tf.Tensor;
type Make = (r: Chance) => Case;

const unary = (op: Unary, low = -2, high = 2, by: readonly string[] = ["x"]): Make => (r) => ({
  inputs: { x: numbers(r, some(r), low, high) },
  fn: ({ x }) => ({ y: op(x!) }),
  by,
});

const flat = (op: Unary, low = -2, high = 2): Make => unary(op, low, high, []);

const binary =
  (op: Binary, low = -2, high = 2, by: readonly string[] = ["a", "b"]): Make => (r) => {
    const shape = some(r);
    const [a, b] = r() < 0.5 ? [shape, partner(r, shape)] : [partner(r, shape), shape];
    return {
      inputs: { a: numbers(r, a!, low, high), b: numbers(r, b!, low, high) },
      fn: ({ a, b }) => ({ y: op(a!, b!) }),
      by,
    };
  };

const logic = (op: Binary): Make => (r) => {
  const shape = some(r);
  return {
    inputs: { a: flags(r, shape), b: flags(r, partner(r, shape)) },
    fn: ({ a, b }) => ({ y: op(a!, b!) }),
  };
};

/** Some axes, at least one. */
const axes = (r: Chance, rank: number): number[] => {
  const chosen = Array.from({ length: rank }, (_, i) => i).filter(() => r() < 0.5);
  return chosen.length > 0 ? chosen : [whole(r, 0, rank - 1)];
};

const reduction = (
  op: (x: tf.Tensor, axis: number[], keep: boolean) => tf.Tensor,
  by: readonly string[] = ["x"],
): Make =>
(r) => {
  const shape = some(r), along = axes(r, shape.length), keep = r() < 0.5;
  return { inputs: { x: numbers(r, shape) }, fn: ({ x }) => ({ y: op(x!, along, keep) }), by };
};

const image = (r: Chance, least = 4): number[] => [
  whole(r, 1, 3),
  whole(r, least, 6),
  whole(r, least, 6),
  whole(r, 1, 3),
];

const pads = ["same", "valid"] as const;

const pick = <A>(r: Chance, list: readonly A[]): A => list[whole(r, 0, list.length - 1)]!;

const convolution = (
  op: (x: tf.Tensor4D, w: tf.Tensor4D, stride: number, pad: "same" | "valid") => tf.Tensor,
  depthwise = false,
  by = ["x", "w"],
): Make =>
(r) => {
  const shape = image(r),
    side = whole(r, 1, 3),
    stride = whole(r, 1, Math.min(2, side)),
    pad = pick(r, pads);
  return {
    inputs: {
      x: numbers(r, shape),
      w: numbers(r, [side, side, shape[3]!, depthwise ? whole(r, 1, 2) : whole(r, 1, 4)]),
    },
    fn: ({ x, w }) => ({ y: op(x as tf.Tensor4D, w as tf.Tensor4D, stride, pad) }),
    by,
  };
};

const kernel = (
  name: string,
  inputs: Record<string, tf.Tensor>,
  attrs: Record<string, unknown>,
): tf.Tensor =>
  tf.engine().runKernel(name, inputs, attrs as unknown as tf.NamedAttrMap) as tf.Tensor;

const gradientOf = (name: "Conv2DBackpropInput" | "Conv2DBackpropFilter"): Make => (r) => {
  const shape = image(r),
    side = whole(r, 1, 3),
    stride = whole(r, 1, Math.min(2, side)),
    pad = pick(r, pads);
  const filter = [side, side, shape[3]!, whole(r, 1, 3)];
  const { outShape } = tf.backend_util.computeConv2DInfo(
    shape as [number, number, number, number],
    filter as [number, number, number, number],
    stride,
    1,
    pad,
  );
  const attrs = { strides: [stride, stride], pad, dataFormat: "NHWC", dimRoundingMode: undefined };
  return name === "Conv2DBackpropInput"
    ? {
      inputs: { dy: numbers(r, outShape), filter: numbers(r, filter) },
      fn: (given) => ({
        y: kernel(name, given as Record<string, tf.Tensor>, { ...attrs, inputShape: shape }),
      }),
    }
    : {
      inputs: { x: numbers(r, shape), dy: numbers(r, outShape) },
      fn: (given) => ({
        y: kernel(name, given as Record<string, tf.Tensor>, { ...attrs, filterShape: filter }),
      }),
    };
};

const joined =
  (op: (parts: tf.Tensor[], axis: number) => tf.Tensor, free: boolean): Make => (r) => {
    const shape = some(r), axis = whole(r, 0, shape.length - 1);
    const other = free ? shape.map((size, i) => i === axis ? whole(r, 1, 3) : size) : shape;
    return {
      inputs: { a: numbers(r, shape), b: numbers(r, other), c: numbers(r, shape) },
      fn: ({ a, b, c }) => ({ y: op([a!, b!, c!], axis) }),
      by: ["a", "b", "c"],
    };
  };

const matrices =
  (op: (a: tf.Tensor, b: tf.Tensor, ta: boolean, tb: boolean) => tf.Tensor): Make => (r) => {
    const [m, k, n] = [whole(r, 1, 4), whole(r, 1, 4), whole(r, 1, 4)] as const;
    const batch = sizes(r, whole(r, 0, 2)), ta = r() < 0.5, tb = r() < 0.5;
    return {
      inputs: {
        a: numbers(r, [...batch, ...(ta ? [k, m] : [m, k])]),
        b: numbers(r, [...batch, ...(tb ? [n, k] : [k, n])]),
      },
      fn: ({ a, b }) => ({ y: op(a!, b!, ta, tb) }),
      by: ["a", "b"],
    };
  };

/** A case for each kernel, by tfjs's name of it. */
export const cases: Readonly<Record<string, Make>> = {
  Add: binary(tf.add),
  Sub: binary(tf.sub),
  Multiply: binary(tf.mul),
  RealDiv: binary(tf.div, 0.5, 3),
  Pow: binary(tf.pow, 0.5, 2),
  Maximum: binary(tf.maximum),
  Minimum: binary(tf.minimum),
  SquaredDifference: binary(tf.squaredDifference),
  FloorDiv: binary(tf.floorDiv, 0.5, 3, []),
  Mod: binary(tf.mod, 0.5, 3, []),
  Greater: binary(tf.greater, -2, 2, []),
  GreaterEqual: binary(tf.greaterEqual, -2, 2, []),
  Less: binary(tf.less, -2, 2, []),
  LessEqual: binary(tf.lessEqual, -2, 2, []),
  Equal: binary((a, b) => tf.equal(tf.round(a), tf.round(b)), -2, 2, []),
  NotEqual: binary((a, b) => tf.notEqual(tf.round(a), tf.round(b)), -2, 2, []),
  LogicalAnd: logic(tf.logicalAnd),
  LogicalOr: logic(tf.logicalOr),
  LogicalNot: (r) => ({
    inputs: { x: flags(r, some(r)) },
    fn: ({ x }) => ({ y: tf.logicalNot(x!) }),
  }),
  AddN: (r) => {
    const shape = some(r);
    return {
      inputs: { a: numbers(r, shape), b: numbers(r, shape), c: numbers(r, shape) },
      fn: ({ a, b, c }) => ({ y: tf.addN([a!, b!, c!]) }),
      by: ["a", "c"],
    };
  },
  Abs: unary(tf.abs),
  Neg: unary(tf.neg),
  Exp: unary(tf.exp),
  Expm1: flat(tf.expm1, -30, 20),
  Log: unary(tf.log, 0.1, 5),
  Log1p: unary(tf.log1p, -0.9, 5),
  Sqrt: unary(tf.sqrt, 0.1, 5),
  Rsqrt: unary(tf.rsqrt, 0.1, 5),
  Square: unary(tf.square),
  Reciprocal: unary(tf.reciprocal, 0.2, 3),
  Sin: unary(tf.sin, -10, 10),
  Cos: unary(tf.cos, -10, 10),
  Tan: flat(tf.tan, -1, 1),
  Asin: flat(tf.asin, -0.9, 0.9),
  Acos: flat(tf.acos, -0.9, 0.9),
  Atan: flat(tf.atan),
  Sinh: flat(tf.sinh),
  Cosh: flat(tf.cosh),
  Asinh: flat(tf.asinh),
  Acosh: flat(tf.acosh, 1.1, 4),
  Atanh: flat(tf.atanh, -0.9, 0.9),
  Tanh: unary(tf.tanh),
  Sigmoid: unary(tf.sigmoid, -8, 8),
  Softplus: unary(tf.softplus, -20, 20),
  Erf: unary(tf.erf),
  Relu: unary(tf.relu),
  Relu6: flat(tf.relu6, -2, 9),
  Elu: unary(tf.elu),
  Selu: flat(tf.selu),
  LeakyRelu: unary((x) => tf.leakyRelu(x, 0.1)),
  Prelu: (r) => {
    const shape = some(r);
    return {
      inputs: { x: numbers(r, shape), alpha: numbers(r, shape.slice(-1)) },
      fn: ({ x, alpha }) => ({ y: tf.prelu(x!, alpha!) }),
    };
  },
  Floor: unary(tf.floor),
  Ceil: unary(tf.ceil),
  Round: unary((x) => tf.round(tf.mul(tf.round(tf.mul(x, 4)), 0.5))),
  Sign: unary(tf.sign),
  Step: unary((x) => tf.step(x)),
  ClipByValue: unary((x) => tf.clipByValue(x, -1, 0.5)),
  IsNan: flat((x) => tf.isNaN(tf.log(x))),
  IsInf: flat((x) => tf.isInf(tf.reciprocal(tf.relu(x)))),
  IsFinite: flat((x) => tf.isFinite(tf.log(tf.relu(x)))),
  Cast: flat((x) => tf.cast(tf.cast(tf.cast(x, "int32"), "bool"), "float32")),
  Select: (r) => {
    const shape = some(r);
    return {
      inputs: { c: flags(r, shape), a: numbers(r, shape), b: numbers(r, shape) },
      fn: ({ c, a, b }) => ({ y: tf.where(c!, a!, b!) }),
      by: ["a", "b"],
    };
  },
  Sum: reduction(tf.sum),
  Mean: reduction(tf.mean),
  Max: reduction(tf.max),
  Min: reduction(tf.min),
  Prod: reduction(tf.prod, []),
  All: reduction((x, axis, keep) => tf.all(tf.greater(x, -1), axis, keep), []),
  Any: reduction((x, axis, keep) => tf.any(tf.greater(x, 1), axis, keep), []),
  ArgMax: reduction((x, axis) => tf.argMax(x, axis[0]), []),
  ArgMin: reduction((x, axis) => tf.argMin(x, axis[0]), []),
  Cumsum: (r) => {
    const shape = some(r),
      axis = whole(r, 0, shape.length - 1),
      exclusive = r() < 0.5,
      reverse = r() < 0.5;
    return {
      inputs: { x: numbers(r, shape) },
      fn: ({ x }) => ({ y: tf.cumsum(x!, axis, exclusive, reverse) }),
    };
  },
  Softmax: unary((x) => tf.softmax(x)),
  TopK: (r) => ({
    inputs: { x: numbers(r, [...sizes(r, 2), 5]) },
    fn: ({ x }) => {
      const { values, indices } = tf.topk(x!, 3);
      return { values, indices };
    },
  }),
  Identity: unary((x) => tf.clone(x)),
  Reshape: (r) => {
    const shape = sizes(r, 4), [a, b, c, d] = shape as [number, number, number, number];
    const to = pick(r, [[a * b, c, d], [a, b * c * d], [a, 1, b, c * d], [d, c, b, a], [
      a * b * c * d,
    ], [a, b * c, 1, d]]);
    return {
      inputs: { x: numbers(r, shape) },
      fn: ({ x }) => ({ y: tf.reshape(x!, to) }),
      by: ["x"],
    };
  },
  ExpandDims: unary((x) => tf.expandDims(x, 1)),
  Transpose: (r) => {
    const shape = sizes(r, 4), perm = [0, 1, 2, 3].sort(() => r() - 0.5);
    return {
      inputs: { x: numbers(r, shape) },
      fn: ({ x }) => ({ y: tf.transpose(x!, perm) }),
      by: ["x"],
    };
  },
  Concat: joined(tf.concat, true),
  Pack: joined(tf.stack, false),
  SplitV: (r) => {
    const shape = sizes(r, 3),
      axis = whole(r, 0, 2),
      grown = shape.map((size, i) => i === axis ? size + 3 : size);
    return {
      inputs: { x: numbers(r, grown) },
      fn: ({ x }) => {
        const [a, b, c] = tf.split(x!, [1, shape[axis]!, 2], axis) as [
          tf.Tensor,
          tf.Tensor,
          tf.Tensor,
        ];
        return { a, b: tf.mul(b, 2), c: tf.square(c) };
      },
      by: ["x"],
    };
  },
  Unpack: (r) => {
    const shape = sizes(r, 3), axis = whole(r, 0, 2);
    return {
      inputs: { x: numbers(r, shape) },
      fn: ({ x }) =>
        Object.fromEntries(
          tf.unstack(x!, axis).map((part, i) => [`part${i}`, tf.mul(part, i + 1)]),
        ),
      by: ["x"],
    };
  },
  Slice: (r) => {
    const shape = some(r), begin = shape.map((size) => whole(r, 0, size - 1));
    const size = shape.map((n, i) => whole(r, 1, n - begin[i]!));
    return {
      inputs: { x: numbers(r, shape) },
      fn: ({ x }) => ({ y: tf.slice(x!, begin, size) }),
      by: ["x"],
    };
  },
  StridedSlice: (r) => {
    const shape = sizes(r, 3).map((n) => n + 2), steps = shape.map(() => pick(r, [1, 2, -1]));
    const begin = shape.map((n, i) => steps[i]! > 0 ? whole(r, 0, 1) : n - 1);
    const end = shape.map((n, i) => steps[i]! > 0 ? n : whole(r, 0, 1));
    return {
      inputs: { x: numbers(r, shape) },
      fn: ({ x }) => ({ y: tf.stridedSlice(x!, begin, end, steps) }),
    };
  },
  Reverse: (r) => {
    const shape = some(r), along = axes(r, shape.length);
    return {
      inputs: { x: numbers(r, shape) },
      fn: ({ x }) => ({ y: tf.reverse(x!, along) }),
      by: ["x"],
    };
  },
  PadV2: (r) => {
    const shape = some(r),
      paddings = shape.map((): [number, number] => [whole(r, 0, 2), whole(r, 0, 2)]);
    return {
      inputs: { x: numbers(r, shape) },
      fn: ({ x }) => ({ y: tf.pad(x!, paddings, 0.5) }),
      by: ["x"],
    };
  },
  MirrorPad: (r) => {
    const shape = sizes(r, 3).map((n) => n + 2), mode = pick(r, ["reflect", "symmetric"] as const);
    const paddings = shape.map((): [number, number] => [whole(r, 0, 2), whole(r, 0, 2)]);
    return {
      inputs: { x: numbers(r, shape) },
      fn: ({ x }) => ({ y: tf.mirrorPad(x!, paddings, mode) }),
    };
  },
  Tile: (r) => {
    const shape = some(r), reps = shape.map(() => whole(r, 1, 3));
    return {
      inputs: { x: numbers(r, shape) },
      fn: ({ x }) => ({ y: tf.tile(x!, reps) }),
      by: ["x"],
    };
  },
  ZerosLike: flat((x) => tf.add(x, tf.zerosLike(x))),
  OnesLike: flat((x) => tf.add(x, tf.onesLike(x))),
  Fill: flat((x) => tf.add(x, tf.fill(x.shape, 0.5))),
  DepthToSpace: (r) => ({
    inputs: { x: numbers(r, [whole(r, 1, 2), whole(r, 1, 3), whole(r, 1, 3), 4 * whole(r, 1, 2)]) },
    fn: ({ x }) => ({ y: tf.depthToSpace(x as tf.Tensor4D, 2) }),
  }),
  OneHot: (r) => ({
    inputs: { x: integers(r, some(r), 4) },
    fn: ({ x }) => ({ y: tf.oneHot(x!, 5), z: tf.oneHot(x!, 5, 2, -1, "float32") }),
  }),
  GatherV2: (r) => {
    const shape = some(r), axis = whole(r, 0, shape.length - 1);
    return {
      inputs: { x: numbers(r, shape), i: integers(r, some(r).slice(0, 2), shape[axis]! - 1) },
      fn: ({ x, i }) => ({ y: tf.gather(x!, i as tf.Tensor1D, axis) }),
    };
  },
  GatherNd: (r) => {
    const shape = sizes(r, 3);
    return {
      inputs: {
        x: numbers(r, shape),
        i: integers(r, [whole(r, 1, 4), 2], Math.min(shape[0]!, shape[1]!) - 1),
      },
      fn: ({ x, i }) => ({ y: tf.gatherND(x!, i!) }),
    };
  },
  ScatterNd: (r) => {
    const n = whole(r, 1, 5);
    return {
      inputs: { i: integers(r, [n, 1], 3), u: numbers(r, [n, 2]) },
      fn: ({ i, u }) => ({ y: tf.scatterND(i!, u!, [4, 2]) }),
    };
  },
  TensorScatterUpdate: (r) => ({
    inputs: {
      x: numbers(r, [4, 2]),
      i: tf.tensor2d([[2], [0]], [2, 1], "int32"),
      u: numbers(r, [2, 2]),
    },
    fn: ({ x, i, u }) => ({ y: tf.tensorScatterUpdate(x!, i!, u!) }),
  }),
  UnsortedSegmentSum: (r) => {
    const n = whole(r, 1, 5);
    return {
      inputs: { x: numbers(r, [n, ...sizes(r, 2)]), i: integers(r, [n], 3) },
      fn: ({ x, i }) => ({ y: tf.unsortedSegmentSum(x!, i as tf.Tensor1D, 4) }),
    };
  },
  BatchMatMul: matrices((a, b, ta, tb) => tf.matMul(a, b, ta, tb)),
  _FusedMatMul: (r) => ({
    inputs: { a: numbers(r, [3, 4]), b: numbers(r, [4, 2]), bias: numbers(r, [2]) },
    fn: ({ a, b, bias }) => ({
      y: tf.fused.matMul({
        a: a!,
        b: b!,
        transposeA: false,
        transposeB: false,
        bias: bias!,
        activation: "relu",
      }),
    }),
  }),
  Einsum: (r) => {
    const [i, j, k] = [whole(r, 1, 4), whole(r, 1, 4), whole(r, 1, 4)] as const;
    return {
      inputs: { a: numbers(r, [i, j]), b: numbers(r, [j, k]) },
      fn: ({ a, b }) => ({ y: tf.einsum("ij,jk->ki", a!, b!) }),
    };
  },
  Conv2D: convolution((x, w, stride, pad) => tf.conv2d(x, w, stride, pad)),
  Conv2DBackpropInput: gradientOf("Conv2DBackpropInput"),
  Conv2DBackpropFilter: gradientOf("Conv2DBackpropFilter"),
  FusedConv2D: (r) => ({
    inputs: { x: numbers(r, [2, 4, 5, 3]), w: numbers(r, [3, 3, 3, 2]), b: numbers(r, [2]) },
    fn: ({ x, w, b }) => ({
      y: tf.fused.conv2d({
        x: x as tf.Tensor4D,
        filter: w as tf.Tensor4D,
        strides: 1,
        pad: "same",
        bias: b!,
        activation: "sigmoid",
      }),
    }),
  }),
  DepthwiseConv2dNative: convolution(
    (x, w, stride, pad) => tf.depthwiseConv2d(x, w, stride, pad),
    true,
    [],
  ),
  FusedDepthwiseConv2D: (r) => ({
    inputs: { x: numbers(r, [2, 4, 5, 3]), w: numbers(r, [3, 3, 3, 2]), b: numbers(r, [6]) },
    fn: ({ x, w, b }) => ({
      y: tf.fused.depthwiseConv2d({
        x: x as tf.Tensor4D,
        filter: w as tf.Tensor4D,
        strides: 1,
        pad: "same",
        bias: b!,
        activation: "relu",
      }),
    }),
  }),
  AvgPool: (r) => ({
    inputs: { x: numbers(r, image(r)) },
    fn: ({ x }) => ({ y: tf.avgPool(x as tf.Tensor4D, 2, 2, "valid") }),
  }),
  MaxPool: (r) => ({
    inputs: { x: numbers(r, image(r)) },
    fn: ({ x }) => ({ y: tf.maxPool(x as tf.Tensor4D, 2, 2, "same") }),
  }),
  ResizeNearestNeighbor: (r) => {
    const shape = image(r, 2);
    return {
      inputs: { x: numbers(r, shape) },
      fn: ({ x }) => ({
        y: tf.image.resizeNearestNeighbor(x as tf.Tensor4D, [2 * shape[1]!, 3 * shape[2]!]),
      }),
    };
  },
  ResizeNearestNeighborGrad: (r) => {
    // One image: tfjs's own reference is wrong for more.
    const [h, w, c] = sizes(r, 3) as [number, number, number];
    return {
      inputs: { images: numbers(r, [1, h, w, c]), dy: numbers(r, [1, 2 * h, 3 * w, c]) },
      fn: ({ images, dy }) => ({
        y: kernel("ResizeNearestNeighborGrad", { images: images!, dy: dy! }, {
          alignCorners: false,
        }),
      }),
    };
  },
  ResizeBilinear: (r) => {
    const shape = image(r, 2),
      size: [number, number] = [2 * shape[1]!, 2 * shape[2]!],
      half = r() < 0.5;
    return {
      inputs: { x: numbers(r, shape) },
      fn: ({ x }) => ({ y: tf.image.resizeBilinear(x as tf.Tensor4D, size, false, half) }),
    };
  },
};

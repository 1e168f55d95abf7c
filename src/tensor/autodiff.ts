/**
 * Gradients that can be differentiated again.
 *
 * tfjs-core knows no gradients by itself, and those of the tfjs union package are wrong or missing at second order
 * for every operation that saves its output (exp, sigmoid, tanh, softmax, ...). Here are the gradients that models
 * and losses need, from kernel to vector–Jacobian product, each written with operations that have one too. So they
 * are closed under differentiation: a gradient of a gradient of a convolution is a convolution. An operation that is
 * not here (gather, pooling, dilated or depthwise convolution, ...) stops a gradient with an error.
 *
 * Importing this file registers the table, except for kernels whose gradient somebody else has registered.
 * `exp`, `sigmoid`, `tanh`, `silu` and `softmax` are not tfjs's: they save their input, and are right at every order
 * whatever is registered. Use them in everything that differentiates a gradient.
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";

/** One vector–Jacobian product for each input: the output's cotangent times the derivative. */
type Vjp = (
  dy: tf.Tensor,
  saved: tf.Tensor[],
  attrs: tf.NamedAttrMap,
) => Record<string, () => tf.Tensor>;

/** The gradient of a kernel: names of the inputs to save, or all of them where they are a list; and the product. */
interface Gradient {
  readonly save?: string[];
  readonly all?: boolean;
  readonly vjp: Vjp;
}

/** Sums a cotangent over the axes along which its operand was broadcast. */
function unbroadcast(dy: tf.Tensor, shape: number[]): tf.Tensor {
  const axes = tf.broadcast_util.getReductionAxes(shape, dy.shape);
  return tf.reshape(axes.length > 0 ? columnSum(dy, axes) : dy, shape);
}

/** A sum; over leading axes alone it is a product with ones, for which every backend has a fast kernel. */
function columnSum(x: tf.Tensor, axes: number[]): tf.Tensor {
  const leading = axes.length < x.rank && axes.every((axis, i) => axis === i);
  if (!leading) return tf.sum(x, axes);
  const rows = tf.util.sizeFromShape(x.shape.slice(0, axes.length)),
    rest = x.shape.slice(axes.length);
  return tf.reshape(
    tf.matMul(tf.ones([1, rows]), tf.reshape(x, [rows, tf.util.sizeFromShape(rest)])),
    rest,
  );
}

/** The shape of a reduction with its axes kept, so that it broadcasts against what was reduced. */
function keptShape(shape: number[], axis: unknown): number[] {
  const axes = tf.util.parseAxisParam(axis as number | number[], shape);
  return shape.map((size, i) => axes.includes(i) ? 1 : size);
}

/** A cotangent of a reduction spread over what was reduced. */
const spread = (dy: tf.Tensor, x: tf.Tensor, axis: unknown): tf.Tensor =>
  tf.mul(tf.reshape(dy, keptShape(x.shape, axis)), tf.fill(x.shape, 1));

/** 1 where a condition holds, 0 elsewhere. */
const indicator = (condition: tf.Tensor): tf.Tensor => tf.cast(condition, "float32");

/** The cotangent of an extreme value along axes to where it was taken, shared evenly where several elements hold it. */
function toExtreme(dy: tf.Tensor, x: tf.Tensor, extreme: tf.Tensor, axis: number[]): tf.Tensor {
  const hits = indicator(tf.equal(x, extreme));
  return tf.mul(spread(dy, x, axis), tf.div(hits, tf.sum(hits, axis, true)));
}

/** The cotangents of a kernel with several outputs. */
const several = (dy: tf.Tensor): tf.Tensor[] => [dy].flat();

const inverse = (perm: number[]): number[] => perm.map((_, i) => perm.indexOf(i));

interface ConvAttrs {
  strides: [number, number];
  pad: "same" | "valid" | number;
  dataFormat: "NHWC";
  dimRoundingMode?: "floor" | "round" | "ceil";
}

/** Refuses what the kernels of the gradients cannot express, which would go wrong in silence. */
function convAttrs(attrs: tf.NamedAttrMap): ConvAttrs {
  const { dilations = 1, dataFormat } = attrs as unknown as {
    dilations?: number | number[];
    dataFormat: string;
  };
  if ([dilations].flat().some((step) => step !== 1)) {
    throw new RangeError(
      `Cannot differentiate a convolution: dilations must be 1, got ${dilations}`,
    );
  }
  if (dataFormat !== "NHWC") {
    throw new RangeError(
      `Cannot differentiate a convolution: dataFormat must be NHWC, got ${dataFormat}`,
    );
  }
  return attrs as unknown as ConvAttrs;
}

const run = (
  kernel: string,
  inputs: Record<string, tf.Tensor>,
  attrs: Record<string, unknown>,
): tf.Tensor =>
  tf.engine().runKernel(kernel, inputs, attrs as unknown as tf.NamedAttrMap) as tf.Tensor;

const convolve = (
  x: tf.Tensor,
  filter: tf.Tensor,
  { strides, pad, dataFormat, dimRoundingMode }: ConvAttrs,
): tf.Tensor =>
  run("Conv2D", { x, filter }, { strides, pad, dataFormat, dilations: [1, 1], dimRoundingMode });
const convolveBack = (
  dy: tf.Tensor,
  filter: tf.Tensor,
  attrs: ConvAttrs,
  inputShape: number[],
): tf.Tensor => run("Conv2DBackpropInput", { dy, filter }, { ...picked(attrs), inputShape });
const filterOf = (
  x: tf.Tensor,
  dy: tf.Tensor,
  attrs: ConvAttrs,
  filterShape: number[],
): tf.Tensor => run("Conv2DBackpropFilter", { x, dy }, { ...picked(attrs), filterShape });
const picked = (
  { strides, pad, dataFormat, dimRoundingMode }: ConvAttrs,
): Record<string, unknown> => ({
  strides,
  pad,
  dataFormat,
  dimRoundingMode,
});

/** Elementwise functions of one input: the derivative at x. */
const unary: Record<string, (x: tf.Tensor) => tf.Tensor> = {
  Abs: (x) => tf.sign(x),
  Neg: () => tf.scalar(-1),
  Square: (x) => tf.mul(x, 2),
  Sqrt: (x) => tf.div(0.5, tf.sqrt(x)),
  Rsqrt: (x) => tf.mul(-0.5, tf.div(tf.rsqrt(x), x)),
  Reciprocal: (x) => tf.neg(tf.square(tf.reciprocal(x))),
  Exp: (x) => exp(x),
  Log: (x) => tf.reciprocal(x),
  Log1p: (x) => tf.reciprocal(tf.add(x, 1)),
  Sin: (x) => tf.cos(x),
  Cos: (x) => tf.neg(tf.sin(x)),
  Tanh: (x) => tf.sub(1, tf.square(tanh(x))),
  Sigmoid: (x) => tf.mul(sigmoid(x), sigmoid(tf.neg(x))),
  Softplus: (x) => sigmoid(x),
  Erf: (x) => tf.mul(2 / Math.sqrt(Math.PI), exp(tf.neg(tf.square(x)))),
  Relu: (x) => tf.step(x),
  Elu: (x) => exp(tf.minimum(x, 0)),
};

/** Kernels that are flat but for jumps, by the names of their inputs: the derivative is 0. */
const flat: readonly (readonly [inputs: string[], kernels: string[]])[] = [
  [["x"], ["Step", "Sign", "Floor", "Ceil", "Round", "OnesLike", "ZerosLike", "LogicalNot"]],
  [["a", "b"], ["Greater", "GreaterEqual", "Less", "LessEqual", "Equal", "NotEqual"]],
  [["a", "b"], ["LogicalAnd", "LogicalOr"]],
];

/** Everything else. */
const general: Record<string, Gradient> = {
  Identity: { vjp: (dy) => ({ x: () => dy }) },
  Cast: { vjp: (dy) => ({ x: () => tf.clone(dy) }) },
  Add: {
    save: ["a", "b"],
    vjp: (dy, [a, b]) => ({
      a: () => unbroadcast(dy, a!.shape),
      b: () => unbroadcast(dy, b!.shape),
    }),
  },
  Sub: {
    save: ["a", "b"],
    vjp: (dy, [a, b]) => ({
      a: () => unbroadcast(dy, a!.shape),
      b: () => unbroadcast(tf.neg(dy), b!.shape),
    }),
  },
  Multiply: {
    save: ["a", "b"],
    vjp: (dy, [a, b]) => ({
      a: () => unbroadcast(tf.mul(dy, b!), a!.shape),
      b: () => unbroadcast(tf.mul(dy, a!), b!.shape),
    }),
  },
  RealDiv: {
    save: ["a", "b"],
    vjp: (dy, [a, b]) => ({
      a: () => unbroadcast(tf.div(dy, b!), a!.shape),
      b: () => unbroadcast(tf.neg(tf.div(tf.mul(dy, a!), tf.square(b!))), b!.shape),
    }),
  },
  SquaredDifference: {
    save: ["a", "b"],
    vjp: (dy, [a, b]) => ({
      a: () => unbroadcast(tf.mul(dy, tf.mul(2, tf.sub(a!, b!))), a!.shape),
      b: () => unbroadcast(tf.mul(dy, tf.mul(2, tf.sub(b!, a!))), b!.shape),
    }),
  },
  Maximum: {
    save: ["a", "b"],
    vjp: (dy, [a, b]) => ({
      a: () => unbroadcast(tf.mul(dy, indicator(tf.greaterEqual(a!, b!))), a!.shape),
      b: () => unbroadcast(tf.mul(dy, indicator(tf.less(a!, b!))), b!.shape),
    }),
  },
  Minimum: {
    save: ["a", "b"],
    vjp: (dy, [a, b]) => ({
      a: () => unbroadcast(tf.mul(dy, indicator(tf.lessEqual(a!, b!))), a!.shape),
      b: () => unbroadcast(tf.mul(dy, indicator(tf.greater(a!, b!))), b!.shape),
    }),
  },
  Pow: {
    save: ["a", "b"],
    vjp: (dy, [a, b]) => ({
      a: () => unbroadcast(tf.mul(dy, tf.mul(b!, tf.pow(a!, tf.sub(b!, 1)))), a!.shape),
      b: () => {
        const positive = tf.where(tf.greater(a!, 0), a!, tf.fill(a!.shape, 1));
        return unbroadcast(tf.mul(dy, tf.mul(tf.pow(a!, b!), tf.log(positive))), b!.shape);
      },
    }),
  },
  AddN: {
    all: true,
    vjp: (dy, inputs) => Object.fromEntries(inputs.map((_, i) => [i, () => tf.clone(dy)])),
  },
  ClipByValue: {
    save: ["x"],
    vjp: (dy, [x], { clipValueMin, clipValueMax }) => ({
      x: () => {
        const inside = tf.logicalAnd(
          tf.greaterEqual(x!, clipValueMin as number),
          tf.lessEqual(x!, clipValueMax as number),
        );
        return tf.mul(dy, indicator(inside));
      },
    }),
  },
  LeakyRelu: {
    save: ["x"],
    vjp: (dy, [x], { alpha }) => ({
      x: () => tf.mul(dy, tf.add(tf.mul(tf.step(x!), 1 - (alpha as number)), alpha as number)),
    }),
  },
  Softmax: { save: ["logits"], vjp: (dy, [x]) => ({ logits: () => softmaxVjp(dy, x!) }) },
  Sum: { save: ["x"], vjp: (dy, [x], attrs) => ({ x: () => spread(dy, x!, attrs["axis"]) }) },
  Mean: {
    save: ["x"],
    vjp: (dy, [x], attrs) => ({
      x: () => tf.mul(spread(dy, x!, attrs["axis"]), dy.size / x!.size),
    }),
  },
  Max: {
    save: ["x"],
    vjp: (dy, [x], { reductionIndices }) => {
      const axis = reductionIndices as number[];
      return { x: () => toExtreme(dy, x!, tf.max(x!, axis, true), axis) };
    },
  },
  Min: {
    save: ["x"],
    vjp: (dy, [x], attrs) => {
      const axis = attrs["axis"] as number[];
      return { x: () => toExtreme(dy, x!, tf.min(x!, axis, true), axis) };
    },
  },
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
  BatchMatMul: {
    save: ["a", "b"],
    vjp: (dy, [a, b], { transposeA, transposeB }) => ({
      a: () =>
        unbroadcast(
          transposeA
            ? tf.matMul(b!, dy, !!transposeB, true)
            : tf.matMul(dy, b!, false, !transposeB),
          a!.shape,
        ),
      b: () =>
        unbroadcast(
          transposeB
            ? tf.matMul(dy, a!, true, !!transposeA)
            : tf.matMul(a!, dy, !transposeA, false),
          b!.shape,
        ),
    }),
  },
  Select: {
    save: ["condition"],
    vjp: (dy, [condition]) => ({
      condition: () => tf.zeros(condition!.shape),
      t: () => tf.where(condition!, dy, tf.zeros(dy.shape)),
      e: () => tf.where(condition!, tf.zeros(dy.shape), dy),
    }),
  },
  Conv2D: {
    save: ["x", "filter"],
    vjp: (dy, [x, filter], attrs) => ({
      x: () => convolveBack(dy, filter!, convAttrs(attrs), x!.shape),
      filter: () => filterOf(x!, dy, convAttrs(attrs), filter!.shape),
    }),
  },
  Conv2DBackpropInput: {
    save: ["dy", "filter"],
    vjp: (g, [dy, filter], attrs) => ({
      dy: () => convolve(g, filter!, convAttrs(attrs)),
      filter: () => filterOf(g, dy!, convAttrs(attrs), filter!.shape),
    }),
  },
  Conv2DBackpropFilter: {
    save: ["x", "dy"],
    vjp: (g, [x, dy], attrs) => ({
      x: () => convolveBack(dy!, g, convAttrs(attrs), x!.shape),
      dy: () => convolve(x!, g, convAttrs(attrs)),
    }),
  },
};

function registerGradients(): void {
  for (const [kernelName, derivative] of Object.entries(unary)) {
    const vjp: Vjp = (dy, [x]) => ({ x: () => tf.mul(dy, derivative(x!)) });
    register(kernelName, { save: ["x"], vjp });
  }
  for (const [save, kernels] of flat) {
    const vjp: Vjp = (_, inputs) =>
      Object.fromEntries(inputs.map(({ shape }, i) => [save[i]!, () => tf.zeros(shape)]));
    for (const kernelName of kernels) register(kernelName, { save, vjp });
  }
  for (const [kernelName, entry] of Object.entries(general)) register(kernelName, entry);
}

function register(kernelName: string, { save, all, vjp }: Gradient): void {
  if (tf.getGradient(kernelName) != null) return;
  tf.registerGradient({
    kernelName,
    inputsToSave: save ?? [],
    saveAllInputs: all ?? false,
    gradFunc: (dy, saved, attrs) => vjp(dy as tf.Tensor, saved, attrs),
  });
}

registerGradients();

/** A function of one tensor whose derivative is written with functions of the same kind, so that every order is right. */
function smooth(
  value: (x: tf.Tensor) => tf.Tensor,
  derivative: (x: tf.Tensor) => tf.Tensor,
): (x: tf.Tensor) => tf.Tensor {
  const lifted = tf.customGrad((...inputs) => {
    const [x, save] = inputs as unknown as [tf.Tensor, tf.GradSaveFunc];
    save([x]);
    return {
      value: value(x),
      gradFunc: (dy: tf.Tensor, saved: tf.Tensor[]) => tf.mul(dy, derivative(saved[0]!)),
    };
  });
  return (x) => lifted(x);
}

/**
 * eˣ, right at every order of differentiation. float32 of x's shape; the caller disposes of it, as with all functions
 * here.
 */
export const exp: (x: tf.Tensor) => tf.Tensor = smooth(tf.exp, (x) => exp(x));

/** 1/(1 + e⁻ˣ), right at every order. Shape of x. */
export const sigmoid: (x: tf.Tensor) => tf.Tensor = smooth(
  tf.sigmoid,
  (x) => tf.mul(sigmoid(x), sigmoid(tf.neg(x))),
);

/** tanh x, right at every order. Shape of x. */
export const tanh: (x: tf.Tensor) => tf.Tensor = smooth(
  tf.tanh,
  (x) => tf.sub(1, tf.square(tanh(x))),
);

/**
 * x·sigmoid(x), right at every order. Shape of x.
 *
 * Source: S. Elfwing, E. Uchibe, K. Doya, "Sigmoid-weighted linear units for neural network function approximation in
 * reinforcement learning" (2018), equation 5.
 *
 * @example The second derivative, of which tfjs's own gradients make 0.443
 * ```ts
 * import { smooth } from "@tweedie/tweedie";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import * as tf from "@tensorflow/tfjs-core";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const second = tf.grad(tf.grad(smooth.silu))(tf.scalar(0.7));
 * assert.equal(second.dataSync()[0]!.toFixed(3), "0.391");
 * ```
 */
export const silu: (x: tf.Tensor) => tf.Tensor = smooth(
  (x) => tf.mul(x, tf.sigmoid(x)),
  (x) => {
    const s = sigmoid(x);
    return tf.mul(s, tf.add(1, tf.mul(x, tf.sub(1, s))));
  },
);

const liftedSoftmax = tf.customGrad((...inputs) => {
  const [x, save] = inputs as unknown as [tf.Tensor, tf.GradSaveFunc];
  save([x]);
  return {
    value: tf.softmax(x),
    gradFunc: (dy: tf.Tensor, saved: tf.Tensor[]) => softmaxVjp(dy, saved[0]!),
  };
});

function softmaxVjp(dy: tf.Tensor, x: tf.Tensor): tf.Tensor {
  const s = softmax(x), weighted = tf.mul(dy, s);
  return tf.sub(weighted, tf.mul(s, tf.sum(weighted, -1, true)));
}

/** Softmax over the last axis, right at every order. Shape of x; rows sum to 1. */
export function softmax(x: tf.Tensor): tf.Tensor {
  return liftedSoftmax(x);
}

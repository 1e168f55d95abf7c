/**
 * Gradients of operations that treat each element by itself.
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
import { type Gradient, type Gradients, indicator, unbroadcast, type Vjp } from "./rule.ts";
import { exp, sigmoid, tanh } from "./smooth.ts";
import type { Tensor } from "../tensor.ts";

/** Constants of the scaled exponential linear unit. */
const seluAlpha = 1.6732632423543772, seluScale = 1.0507009873554805;

/** Elementwise functions of one input: the derivative at x. */
const slopes: Record<string, (x: Tensor) => Tensor> = {
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
  Expm1: (x) => exp(x),
  Tan: (x) => tf.add(1, tf.square(tf.tan(x))),
  Asin: (x) => tf.rsqrt(tf.sub(1, tf.square(x))),
  Acos: (x) => tf.neg(tf.rsqrt(tf.sub(1, tf.square(x)))),
  Atan: (x) => tf.reciprocal(tf.add(1, tf.square(x))),
  Sinh: (x) => tf.cosh(x),
  Cosh: (x) => tf.sinh(x),
  Asinh: (x) => tf.rsqrt(tf.add(1, tf.square(x))),
  Acosh: (x) => tf.rsqrt(tf.sub(tf.square(x), 1)),
  Atanh: (x) => tf.reciprocal(tf.sub(1, tf.square(x))),
  Tanh: (x) => tf.sub(1, tf.square(tanh(x))),
  Sigmoid: (x) => tf.mul(sigmoid(x), sigmoid(tf.neg(x))),
  Softplus: (x) => sigmoid(x),
  Erf: (x) => tf.mul(2 / Math.sqrt(Math.PI), exp(tf.neg(tf.square(x)))),
  Relu: (x) => tf.step(x),
  Relu6: (x) => tf.mul(tf.step(x), tf.step(tf.sub(6, x))),
  Elu: (x) => exp(tf.minimum(x, 0)),
  Selu: (x) => {
    const above = tf.step(x), below = tf.mul(seluAlpha, exp(tf.minimum(x, 0)));
    return tf.mul(seluScale, tf.add(above, tf.mul(tf.sub(1, above), below)));
  },
};

/** Kernels that are flat but for jumps, by the names of their inputs: the derivative is 0. */
const flat: readonly (readonly [inputs: string[], kernels: string[]])[] = [
  [["x"], ["Step", "Sign", "Floor", "Ceil", "Round", "OnesLike", "ZerosLike", "LogicalNot"]],
  [["x"], ["IsNan", "IsInf", "IsFinite", "ArgMax", "ArgMin", "Any", "All"]],
  [["a", "b"], ["Greater", "GreaterEqual", "Less", "LessEqual", "Equal", "NotEqual"]],
  [["a", "b"], ["LogicalAnd", "LogicalOr", "FloorDiv"]],
  [["indices"], ["OneHot"]],
];

/** Those of several inputs, of attributes, or that pass their cotangent on. */
const several: Gradients = {
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
  Mod: {
    save: ["a", "b"],
    vjp: (dy, [a, b]) => ({
      a: () => unbroadcast(dy, a!.shape),
      b: () => unbroadcast(tf.neg(tf.mul(dy, tf.floor(tf.div(a!, b!)))), b!.shape),
    }),
  },
  Atan2: {
    save: ["a", "b"],
    vjp: (dy, [a, b]) => {
      const scaled = () => tf.div(dy, tf.add(tf.square(a!), tf.square(b!)));
      return {
        a: () => unbroadcast(tf.mul(scaled(), b!), a!.shape),
        b: () => unbroadcast(tf.neg(tf.mul(scaled(), a!)), b!.shape),
      };
    },
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
  Prelu: {
    save: ["x", "alpha"],
    vjp: (dy, [x, alpha]) => ({
      x: () => {
        const above = tf.step(x!);
        return tf.mul(dy, tf.add(above, tf.mul(tf.sub(1, above), alpha!)));
      },
      alpha: () => unbroadcast(tf.mul(dy, tf.minimum(x!, 0)), alpha!.shape),
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
};

const sloped = (slope: (x: Tensor) => Tensor): Gradient => ({
  save: ["x"],
  vjp: (dy, [x]) => ({ x: () => tf.mul(dy, slope(x!)) }),
});

const zero = (names: string[]): Vjp => (_, inputs) =>
  Object.fromEntries(inputs.map(({ shape }, i) => [names[i]!, () => tf.zeros(shape)]));

/** The gradients of this file. */
export const elementwise: Gradients = {
  ...Object.fromEntries(Object.entries(slopes).map(([kernel, slope]) => [kernel, sloped(slope)])),
  ...Object.fromEntries(
    flat.flatMap(([save, kernels]) => kernels.map((kernel) => [kernel, { save, vjp: zero(save) }])),
  ),
  ...several,
};

/**
 * Gradients that can be differentiated again.
 *
 * tfjs-core knows no gradients by itself, and those of the tfjs union package are wrong or missing at second order
 * for every operation that saves its output (exp, sigmoid, tanh, softmax, ...), and at first order for some (running
 * sums along any axis but the last, averages at a border). Here are the gradients that models and losses need, from
 * kernel to vector–Jacobian product, each written with operations that have one too. So they are closed under
 * differentiation: a gradient of a gradient of a convolution is a convolution. An operation that is not here (a dilated
 * convolution, einsum, fft, ...) stops a gradient with an error.
 *
 * `tf.logSigmoid`, `tf.logSoftmax` and `tf.losses.softmaxCrossEntropy` bring gradients of their own, which forget how what they
 * saved depends on their input: the first fails at third order, the others are wrong from the second on. They are
 * differentiated by their parts instead, which stay within the floats wherever they do.
 *
 * Importing this file registers the tables of `gradient/`, except for kernels whose gradient somebody else has
 * registered. `exp`, `sigmoid`, `tanh`, `silu`, `softmax` and `logSoftmax` are not tfjs's: they save their input, and
 * are right at every order whatever is registered. Use them in everything that differentiates a gradient.
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
import { contraction } from "./gradient/contraction.ts";
import { elementwise } from "./gradient/elementwise.ts";
import { reduction } from "./gradient/reduction.ts";
import type { Gradient } from "./gradient/rule.ts";
import { shape } from "./gradient/shape.ts";
import { window } from "./gradient/window.ts";
import { activeName } from "./scope.ts";
import type { Tensor } from "./tensor.ts";

export { exp, logSoftmax, sigmoid, silu, softmax, tanh } from "./gradient/smooth.ts";

function register(kernelName: string, { save, all, vjp }: Gradient): void {
  if (tf.getGradient(kernelName) != null) return;
  tf.registerGradient({
    kernelName,
    inputsToSave: save ?? [],
    saveAllInputs: all ?? false,
    gradFunc: (dy, saved, attrs) => vjp(dy as Tensor, saved, attrs),
  });
}

/** tfjs's functions that are differentiated by their parts. */
const composed: ReadonlySet<string> = new Set(
  ["logSigmoid", "logSoftmax", "softmaxCrossEntropy"].map((name) => `${name}__op`),
);

/** What a function with a gradient of its own is given to save, where that gradient is left out. */
const forget: tf.GradSaveFunc = () => {};

/** The engine, as far as it is changed here. */
interface Differentiating {
  customGrad: typeof tf.customGrad;
}

function composeInPlace(engine: Differentiating): void {
  const own = engine.customGrad.bind(engine);
  engine.customGrad = (f) => {
    if (!composed.has(activeName())) return own(f);
    return (...inputs) => f(...inputs, forget).value;
  };
}

composeInPlace(tf.engine() as unknown as Differentiating);

for (const table of [elementwise, reduction, shape, contraction, window]) {
  for (const [kernelName, gradient] of Object.entries(table)) register(kernelName, gradient);
}

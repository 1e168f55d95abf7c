/**
 * A gradient that is known, as a loss: what moves weights by means over samples has no loss whose derivative it is.
 *
 * ```text
 *   loss(θ) = value + Σ g·θ − Σ g·θ_0                at θ_0 it is the value, and its gradient is g
 * ```
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
import type { Params } from "../../network/layer/parameter.ts";
import type { Tensors } from "../../tensor/engine.ts";
import { scope } from "../../tensor/scope.ts";
import type { Scalar, Tensor } from "../../tensor/tensor.ts";

/** What the names of gradients begin with among the inputs of a loss. */
const slope = "slope.";

/** Σ g·θ. */
const along = (params: Params, gradientOf: (name: string) => Tensor): Tensor =>
  Object.keys(params).map((name) => tf.sum(tf.mul(params[name]!, gradientOf(name)))).reduce((
    sum,
    each,
  ) => tf.add(sum, each));

/**
 * The inputs of {@link slopeLoss}.
 *
 * @param params Weights.
 * @param gradient Their gradient, by the same names.
 * @param value What the loss is to be.
 * @returns Tensors by name. They are the scope's, or the caller's where there is none.
 */
export const sloped = (params: Params, gradient: Params, value: Tensor): Tensors =>
  scope(() => ({
    ...Object.fromEntries(Object.keys(params).map((name) => [`${slope}${name}`, gradient[name]!])),
    base: tf.sub(value, along(params, (name) => gradient[name]!)),
  }));

/**
 * The loss of a known gradient.
 *
 * @param params Weights.
 * @param inputs What {@link sloped} made.
 * @returns The loss.
 */
export const slopeLoss = (params: Params, inputs: Tensors): Scalar =>
  scope(() =>
    tf.add(along(params, (name) => inputs[`${slope}${name}`]!), inputs["base"]!) as Scalar
  );

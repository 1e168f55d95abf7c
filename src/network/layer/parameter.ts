/**
 * Layers over a tree of named parameters.
 *
 * A layer is data: the parameters that it needs, by their full dotted names, and a pure function of them. A network
 * is a layer made of layers, whose parameters are the union of theirs. Nothing holds weights: `initialize` makes them
 * from a key, `apply` takes them, safetensors stores them under the same names. Images are NHWC, filters HWIO, dense
 * weights [inputs, outputs].
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
// Whoever has a layer can differentiate it.
import "../../tensor/autodiff.ts";
import { checkBackend } from "../../tensor/check/ready.ts";
import { checkKey } from "../../tensor/check/check.ts";
import { fold, type Key } from "../../tensor/key.ts";
import { normals } from "../../tensor/random.ts";
import { scope } from "../../tensor/scope.ts";
import type { Tensor } from "../../tensor/tensor.ts";

/**
 * Weights by full name. The caller owns the tensors.
 *
 * @category Networks
 */
export type Params = Readonly<Record<string, Tensor>>;

/**
 * A parameter: its shape, and how it starts.
 *
 * @category Networks
 */
export interface Parameter {
  /** Shape. */
  readonly shape: readonly number[];
  /** Standard deviation of its normal start. Default: 0. */
  readonly std?: number;
  /** Mean of its start. Default: 0. */
  readonly mean?: number;
}

/**
 * Parameters by full name.
 *
 * @category Networks
 */
export type Parameters = Readonly<Record<string, Parameter>>;

/**
 * A pure function of weights and inputs, with the weights that it needs.
 *
 * @category Networks
 */
export interface Layer<Inputs extends readonly unknown[] = [x: Tensor]> {
  /** What `apply` reads from its weights. */
  readonly parameters: Parameters;
  /**
   * The function. Returns a new tensor, the scope's, or the caller's where there is none; differentiable in weights and
   * tensors.
   */
  readonly apply: (params: Params, ...inputs: Inputs) => Tensor;
}

/** A block of which nothing is left but its result, so that a network holds no more at once than it has to. */
export const scoped = <Inputs extends readonly unknown[]>(
  apply: (params: Params, ...inputs: Inputs) => Tensor,
): (params: Params, ...inputs: Inputs) => Tensor =>
(params, ...inputs) => scope(() => apply(params, ...inputs));

/**
 * The union of the parameters of layers.
 *
 * @category Networks
 */
export function parametersOf(
  ...layers: readonly { readonly parameters: Parameters }[]
): Parameters {
  return Object.assign({}, ...layers.map(({ parameters }) => parameters));
}

/**
 * How many numbers parameters hold.
 *
 * @category Networks
 */
export function parameterCount(parameters: Parameters): number {
  return Object.values(parameters).reduce(
    (total, { shape }) => total + tf.util.sizeFromShape([...shape]),
    0,
  );
}

/**
 * First weights: each parameter is normal under its own key, `fold(key, name)`, so that adding a layer changes no
 * other layer's start.
 *
 * @category Networks
 * @param parameters What to make.
 * @param key The key.
 * @returns float32 tensors by name. They are the scope's, or the caller's where there is none.
 * @throws {TypeError} If there is no key.
 *
 * @example The weights of a dense layer
 * ```ts
 * import { dense } from "@tweedie/tweedie/network";
 * import { initialize, key } from "@tweedie/tweedie";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const params = initialize(dense("out", 3, 2).parameters, key(0));
 * assert.deepEqual(params["out.weight"]!.shape, [3, 2]);
 * ```
 */
export function initialize(parameters: Parameters, key: Key): Record<string, Tensor> {
  checkBackend("initialize weights");
  checkKey("initialize weights", key);
  const start = (
    [name, { shape, std = 0, mean = 0 }]: [string, Parameter],
  ): [string, Tensor] => {
    const values = normals(fold(key, name), tf.util.sizeFromShape([...shape])).map((z) =>
      mean + std * z
    );
    return [name, tf.tensor(values, [...shape], "float32")];
  };
  return Object.fromEntries(Object.entries(parameters).map(start));
}

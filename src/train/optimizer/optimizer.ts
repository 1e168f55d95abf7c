/**
 * Optimizers as values, and what they have in common.
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
import type { Params } from "../../network/layer/parameter.ts";
import { above, atLeast, is, type Rule } from "../../tensor/check/decode.ts";
import { mapTensors } from "../../tensor/engine.ts";
import { scope } from "../../tensor/scope.ts";
import type { Scalar, Tensor } from "../../tensor/tensor.ts";

/**
 * What an optimizer keeps beside the weights: groups of tensors, each of the names and shapes of the weights.
 *
 * @category Training
 */
export type OptimizerState = Readonly<Record<string, Params>>;

/**
 * Weights and what an optimizer keeps beside them.
 *
 * @category Training
 */
export interface OptimizerStep {
  /** Weights. */
  readonly params: Params;
  /** What is kept. */
  readonly moments: OptimizerState;
}

/**
 * An optimizer as a value: what it keeps beside the weights, and how it moves them.
 *
 * A step is compiled once, and with all weights end to end in one vector: so its numbers are given by name, and `update` must
 * not ask which weight a number belongs to.
 *
 * @category Training
 */
export interface Optimizer {
  /** Its name, for messages and checkpoints. */
  readonly name: string;
  /** What is kept before the first step. */
  readonly init: (params: Params) => OptimizerState;
  /** The numbers of step k, from 1, in float64 on the host: step sizes and the like, of the same names at every step. */
  readonly numbers: (step: number) => Readonly<Record<string, number>>;
  /** The weights that follow, and what is kept then: a pure function of tensors. The numbers may be tensors. */
  readonly update: (
    current: OptimizerStep & { readonly gradients: Params },
    numbers: Readonly<Record<string, number | Scalar>>,
  ) => OptimizerStep;
}

/** The rules of step sizes and the like, and of what a norm is held to. */
export const size: Rule = is("at least 0", atLeast(0)), positive: Rule = is("above 0", above(0));

/** The rule of shares that are kept from step to step: all of it would never change. */
export const share: Rule = is("in [0, 1)", (value) => value >= 0 && value < 1);

/**
 * Gradients scaled by one factor so that their joint Euclidean norm is at most a limit.
 *
 * Source: R. Pascanu, T. Mikolov, Y. Bengio, "On the difficulty of training recurrent neural networks" (2013),
 * algorithm 1.
 *
 * @category Training
 * @param gradients Gradients by name. Not disposed of.
 * @param limit Greatest norm of all of them together, above 0.
 * @returns New tensors by the same names. They are the scope's, or the caller's where there is none.
 * @throws {RangeError} If the limit is not above 0.
 *
 * @example A gradient of norm 5
 * ```ts
 * import { clipped } from "@tweedie/tweedie/train";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import * as tf from "@tensorflow/tfjs-core";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const { a, b } = clipped({ a: tf.scalar(3), b: tf.scalar(4) }, 1);
 * assert.ok(Math.abs(Math.hypot(a!.dataSync()[0]!, b!.dataSync()[0]!) - 1) < 1e-6);
 * ```
 */
export function clipped(gradients: Params, limit: number): Record<string, Tensor> {
  if (!(limit > 0)) {
    throw new RangeError(`Cannot clip gradients: limit must be above 0, got ${limit}`);
  }
  return scope(() => {
    // In the order of the names, so that the sum is rounded alike whatever order they come in.
    const squares = Object.keys(gradients).sort().map((name) =>
      tf.sum(tf.square(gradients[name]!))
    );
    const norm = tf.sqrt(tf.sum(tf.stack(squares)));
    const factor = tf.minimum(1, tf.div(limit, tf.maximum(norm, 1e-12)));
    return mapTensors(gradients, (gradient) => tf.mul(gradient, factor));
  });
}

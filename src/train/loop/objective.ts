/**
 * What a training run makes small: a loss, in one part, in two, or with what it remembers.
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
import type { Params } from "../../network/layer/parameter.ts";
import type { Tensors } from "../../tensor/engine.ts";
import type { Key } from "../../tensor/key.ts";
import { scope } from "../../tensor/scope.ts";
import type { Prepare, StepLoss } from "../flat.ts";
import type { Scalar, Tensor } from "../../tensor/tensor.ts";
import type { TrainState } from "./state.ts";

/**
 * A differentiable loss: weights, batch and key to a scalar.
 *
 * @category Training
 */
export type Loss<Batch> = (params: Params, batch: Batch, key: Key) => Scalar;

/**
 * A loss in two parts, the second of which an engine can compile.
 *
 * @category Training
 */
export interface Objective<Batch> {
  /**
   * Makes the loss's inputs on the host: draws under the key, gathers, computes whatever does not depend on the weights.
   * What it makes is disposed of after the step.
   */
  readonly inputs: (batch: Batch, key: Key) => Record<string, Tensor>;
  /** The loss: a pure function of tensors, differentiable in the weights, which reads no values. */
  readonly loss: (params: Params, inputs: Tensors) => Scalar;
}

/**
 * A loss whose inputs depend on the weights, or on what was before.
 *
 * ```text
 *   on the host    inputs = inputs(batch, key, memory)
 *   tensors        prepared = prepare(params, inputs, carried)             no gradient goes through it
 *   tensors        loss, told = loss(params, inputs and prepared.inputs)
 *   then           carried ← prepared.carried        memory ← remember(memory, told)
 * ```
 *
 * `prepare` makes inputs under the weights of the step, such as what the model draws for contrastive divergence, and `carried` are
 * the chains that it goes on with; both are compiled with the step. `remember` is for what draws on the host depend on, such
 * as times that are drawn where the loss is large.
 *
 * @category Training
 */
export interface StatefulObjective<Batch, M = unknown> {
  /** As of an {@link Objective}, also of what is remembered. */
  inputs(batch: Batch, key: Key, memory: M): Record<string, Tensor>;
  /** As of an {@link Objective}; it may tell the host numbers besides. */
  readonly loss: StepLoss;
  /** Inputs that depend on the weights, and what is carried on. Default: none. */
  readonly prepare?: Prepare;
  /** What is remembered after a step, from what was before it and what the loss has told. Plain data. Default: nothing. */
  remember?(memory: M, told: Readonly<Record<string, ArrayLike<number>>>): M;
}

/**
 * An objective as one function, to evaluate it.
 *
 * @category Training
 * @param objective The objective.
 * @param state What it carries and remembers. Default: nothing.
 * @returns The loss.
 *
 * @example A square
 * ```ts
 * import { key } from "@tweedie/tweedie";
 * import { lossOf } from "@tweedie/tweedie/train";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import * as tf from "@tensorflow/tfjs-core";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const loss = lossOf<number>({
 *   inputs: (target) => ({ target: tf.scalar(target) }),
 *   loss: ({ w }, { target }) => tf.squaredDifference(w!, target!) as tf.Scalar,
 * });
 * assert.equal(loss({ w: tf.scalar(1) }, 3, key(0)).dataSync()[0], 4);
 * ```
 */
export function lossOf<Batch>(
  { inputs, loss, prepare }: StatefulObjective<Batch>,
  { carried = {}, memory }: Pick<TrainState, "carried" | "memory"> = {},
): Loss<Batch> {
  return (params, batch, key) =>
    scope(() => {
      const given = inputs(batch, key, memory), ready = prepare?.(params, given, carried);
      const said = loss(params, { ...given, ...ready?.inputs });
      return said instanceof tf.Tensor ? said : said.value;
    });
}

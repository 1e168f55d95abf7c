/**
 * Where a training run stands: plain data, before the first step and after each.
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
import type { Params } from "../../network/layer/parameter.ts";
import { checkTensors } from "../../tensor/check/check.ts";
import { decoded, is, type Rules } from "../../tensor/check/decode.ts";
import { mapTensors, type Tensors } from "../../tensor/engine.ts";
import type { StepState } from "../flat.ts";
import { byAdam, type Moments } from "../optimizer/adam.ts";
import type { Optimizer, OptimizerState } from "../optimizer/optimizer.ts";

/**
 * Where a training run stands. All of it is plain data and tensors: written to disk and read again, it goes on bit for bit.
 * `O` is what the optimizer keeps.
 *
 * @category Training
 */
export interface TrainState<O extends OptimizerState = Moments> {
  /** Number of steps made. */
  readonly step: number;
  /** Weights. */
  readonly params: Params;
  /** Moving average of the weights: use it to sample. */
  readonly ema: Params;
  /** What the optimizer keeps: Adam's moments. */
  readonly moments: O;
  /** Tensors that the objective carries from step to step, such as the ends of persistent chains; absent without such. */
  readonly carried?: Tensors;
  /** What the objective remembers on the host, as plain data, such as the errors at each time; absent without such. */
  readonly memory?: unknown;
  /** Loss of the batch that led here; NaN at the start. */
  readonly loss: number;
  /** Loss of each step since the state before, of which `loss` is the last; none at the start. */
  readonly losses: readonly number[];
}

/**
 * Options of {@link newTraining}.
 *
 * @category Training
 */
export interface NewTrainingOptions {
  /** The optimizer of the run. Default: Adam. */
  readonly optimizer?: Optimizer;
  /** What the objective carries: the first of it. It stays the caller's. Default: nothing. */
  readonly carried?: Tensors;
  /** What the objective remembers: the first of it, plain data. Default: nothing. */
  readonly memory?: unknown;
}

const isOptimizer = (value: Optimizer | null): boolean =>
  typeof value?.init === "function" && typeof value.update === "function";

const isTensors = (value: object | null): boolean =>
  typeof value === "object" && value !== null &&
  Object.values(value).every((each) => each instanceof tf.Tensor);

const newTrainingOptions: Rules<NewTrainingOptions> = {
  optimizer: is("an optimizer, such as byAdam()", isOptimizer, true),
  carried: is("tensors by name", isTensors, true),
  memory: true,
};

/**
 * The state before the first step.
 *
 * @category Training
 * @param params First weights. They stay the caller's.
 * @param options The optimizer; what the objective carries and remembers.
 * @returns A state with tensors of its own, which the caller disposes of.
 * @throws {RangeError} If there are no weights, or one is disposed of.
 */
export function newTraining(params: Params, options: NewTrainingOptions = {}): TrainState {
  const { optimizer = byAdam(), carried, memory } = decoded(
    "begin training",
    options,
    newTrainingOptions,
  );
  checkWeights("begin training", "params", params);
  const copy = (tensors: Tensors) => mapTensors(tensors, (each) => tf.clone(each));
  return {
    step: 0,
    params: copy(params),
    ema: copy(params),
    moments: optimizer.init(params) as Moments,
    ...(carried && { carried: copy(carried) }),
    ...(memory !== undefined && { memory }),
    loss: NaN,
    losses: [],
  };
}

/**
 * Disposes of the tensors of a state.
 *
 * @category Training
 */
export function disposeTraining(
  { params, ema, moments, carried = {} }: StepState<OptimizerState>,
): void {
  tf.dispose([params, ema, ...Object.values(moments), carried].map((each) => Object.values(each)));
}

/** Refuses weights that are none, or disposed of. */
export function checkWeights(action: string, name: string, params: Params): void {
  if (Object.keys(params).length === 0) {
    throw new RangeError(`Cannot ${action}: ${name} must be of at least one weight, got none`);
  }
  checkTensors(action, params, { name });
}

/**
 * What a training run is made of.
 *
 * @module
 */

import { flag, type Rules, wholeNumber } from "../../tensor/check/decode.ts";
import { anEngine, type Engine } from "../../tensor/engine.ts";
import type { Key } from "../../tensor/key.ts";
import type { AdamOptions } from "../optimizer/adam.ts";
import type { Optimizer } from "../optimizer/optimizer.ts";
import type { Loss, Objective, StatefulObjective } from "./objective.ts";

/**
 * What a training run is made of.
 *
 * @category Training
 */
export interface TrainOptions<Batch> {
  /** The loss, in one part or two. Pure: its only randomness is the key, another one each step. */
  readonly loss: Loss<Batch> | Objective<Batch> | StatefulObjective<Batch>;
  /** Root of all randomness of the run. */
  readonly key: Key;
  /** How the weights are moved. Default: Adam. */
  readonly optimizer?: Optimizer;
  /** Adam's constants, where no optimizer is given. */
  readonly adam?: AdamOptions;
  /** Decay of the moving average of the weights, in [0, 1). Default: 0.999. */
  readonly decay?: number;
  /** What compiles and runs the steps; the loss must then be an {@link Objective}. Default: none, tfjs as it is. */
  readonly engine?: Engine;
  /** Yields the states whose step is a multiple of it, and that after the last batch. Default: 1. */
  readonly every?: number;
  /** Aborts the run. */
  readonly signal?: AbortSignal;
  /**
   * Stop with an error when the start, a batch (the numbers, arrays of floats and tensors in its records and lists), a loss, a
   * gradient or the weights are NaN or infinite. Default: true.
   */
  readonly finite?: boolean;
}

export const trainOptions: Rules<TrainOptions<never>> = {
  loss: true,
  key: true,
  optimizer: true,
  adam: true,
  decay: true,
  engine: anEngine,
  every: wholeNumber(1),
  signal: true,
  finite: flag,
};

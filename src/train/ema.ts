/**
 * An exponential moving average of weights, which samples better than the weights themselves.
 *
 * Source: Y. Song, S. Ermon, "Improved techniques for training score-based generative models" (2020), section 4; the
 * warm-up min(decay, (1 + k)/(10 + k)) is TensorFlow's `ExponentialMovingAverage` with `num_updates`.
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
import type { Params } from "../network/layer/parameter.ts";
import { checkTensors } from "../tensor/check/check.ts";
import { decoded, is, needed, type Rules, wholeNumber } from "../tensor/check/decode.ts";
import { mapTensors } from "../tensor/engine.ts";
import { scope } from "../tensor/scope.ts";
import type { Scalar, Tensor } from "../tensor/tensor.ts";

/**
 * The share of the old average that is kept at a step: min(decay, (1 + step)/(10 + step)), small at first so that the
 * start is soon forgotten, `decay` in the end.
 *
 * @category Training
 * @param step Number of the step, from 1.
 * @param decay Final share, in [0, 1).
 * @returns A number in [0, 1).
 */
export function emaDecay(step: number, decay: number): number {
  return Math.min(decay, (1 + step) / (10 + step));
}

/**
 * Options of {@link ema}.
 *
 * @category Training
 */
export interface EmaOptions {
  /** Number of this step, from 1. */
  readonly step: number;
  /** Share of the old average that is kept in the end, in [0, 1): 1 would keep the first weights. Default: 0.999. */
  readonly decay?: number;
}

const emaOptions: Rules<EmaOptions> = {
  step: needed(wholeNumber(1)),
  decay: is("in [0, 1)", (value) => value >= 0 && value < 1),
};

/**
 * The average after one more step: d·average + (1 − d)·params, with d from {@link emaDecay}.
 *
 * @category Training
 * @param average The average so far, by name. Not disposed of.
 * @param params The new weights, by the same names. Not disposed of.
 * @param options See {@link EmaOptions}.
 * @returns New tensors. They are the scope's, or the caller's where there is none.
 * @throws {TypeError} If there is an option that is not known.
 * @throws {RangeError} If the decay is not in [0, 1), the step not a whole number of at least 1, the names differ, or a tensor is
 *   disposed of.
 *
 * @example Far along, with a decay of 3/4
 * ```ts
 * import { ema } from "@tweedie/tweedie/train";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import * as tf from "@tensorflow/tfjs-core";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const next = ema({ w: tf.scalar(0) }, { w: tf.scalar(1) }, { step: 1e6, decay: 0.75 });
 * assert.equal(next["w"]!.dataSync()[0], 0.25);
 * ```
 */
export function ema(
  average: Params,
  params: Params,
  options: EmaOptions,
): Record<string, Tensor> {
  const constants = emaConstants(options);
  const names = Object.keys(average), missing = names.find((name) => params[name] === undefined);
  if (missing !== undefined || names.length !== Object.keys(params).length) {
    throw new RangeError(
      `Cannot average weights: params must have the names of the average, got ${
        missing === undefined ? "more" : `none called ${missing}`
      }`,
    );
  }
  for (const [name, tensors] of Object.entries({ average, params })) {
    checkTensors("average weights", tensors, { name });
  }
  return emaUpdate({ average, params }, constants);
}

/**
 * The shares of a step of {@link ema}; tensors where the step is compiled once.
 *
 * @category Training
 */
export interface EmaConstants {
  /** Share d of the old average. */
  readonly kept: number | Scalar;
  /** Share 1 − d of the new weights. */
  readonly taken: number | Scalar;
}

/**
 * The shares of a step, in float64 on the host.
 *
 * @category Training
 * @param options Number of the step, and the final decay.
 * @returns d and 1 − d.
 * @throws {TypeError} If there is an option that is not known.
 * @throws {RangeError} If the decay is not in [0, 1), or the step not a whole number of at least 1.
 */
export function emaConstants(
  options: EmaOptions,
): { readonly kept: number; readonly taken: number } {
  const { step, decay = 0.999 } = decoded("average weights", options, emaOptions);
  const kept = emaDecay(step, decay);
  return { kept, taken: 1 - kept };
}

/**
 * The arithmetic of {@link ema}: a pure function of tensors.
 *
 * @category Training
 * @param current The average and the new weights, by the same names. Not disposed of.
 * @param constants The shares, {@link emaConstants}.
 * @returns New tensors. They are the scope's, or the caller's where there is none.
 */
export function emaUpdate(
  { average, params }: { readonly average: Params; readonly params: Params },
  { kept, taken }: EmaConstants,
): Record<string, Tensor> {
  return scope(() =>
    mapTensors(
      average,
      (old, name) => tf.add(tf.mul(old, kept), tf.mul(params[name]!, taken)),
    )
  );
}

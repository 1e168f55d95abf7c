/**
 * Models that answer by other models, and predictions made of others.
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
import { isDifferentiated } from "../tensor/scope.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { EnergyPrediction, Model, Prediction } from "./prediction.ts";

/**
 * A prediction and where it was made.
 *
 * @category Models
 */
export interface PredictionAt {
  /** x_t. */
  readonly x: Tensor;
  /** Time on the model's schedule. */
  readonly t: number;
  /** The prediction there. */
  readonly prediction: Prediction;
}

/**
 * A model that answers from what is known where it is asked for that, and asks the model otherwise: also within gradients,
 * which a known tensor would not let through.
 *
 * @category Models
 * @param model The model.
 * @param known A prediction of it, which stays the caller's and must outlive the result's use.
 * @returns The model that spares the evaluation.
 */
export function sharing(model: Model, known: PredictionAt): Model {
  const spared = (x: Tensor, t: number): boolean =>
    x === known.x && t === known.t && !isDifferentiated();
  return {
    ...model,
    schedule: model.schedule,
    predict: (x, t, signal) =>
      spared(x, t)
        ? mapped([known.prediction], (each) => tf.clone(each))
        : model.predict(x, t, signal),
  };
}

/**
 * A prediction made of others of one kind, tensor by tensor.
 *
 * @param predictions The others, of the kind of the first.
 * @param f From a tensor of each to the one that takes their place.
 * @returns The prediction, of that kind.
 */
export function mapped(
  predictions: readonly [Prediction, ...Prediction[]],
  f: (...each: Tensor[]) => Tensor,
): Prediction {
  const [{ kind }] = predictions, value = f(...predictions.map(({ value }) => value));
  if (kind !== "energy") return { kind, value };
  const gradients = predictions.map((each) => (each as EnergyPrediction).gradient);
  return { kind, value, gradient: f(...gradients) };
}

/** The model that takes no condition any more. */
export const settled = ({ given: _, ...model }: Model): Model => ({ ...model, conditioned: true });

/**
 * Models that are exactly right, and what those of all kinds of data share: the shape of their answers, and their classes.
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
import type { Level } from "../../noise/schedule/schedule.ts";
import { scope } from "../../tensor/scope.ts";
import type { Condition, Model, TensorPrediction } from "../prediction.ts";
import type { Tensor, Tensor2D } from "../../tensor/tensor.ts";
import type { Full } from "./mixture.ts";

/**
 * A model that answers at once, with the exact E[x_0 | x_t].
 *
 * @category Models
 */
export interface Oracle extends Model {
  /**
   * E[x_0 | x_t] of each sample, of kind `"x0"`. x stays the caller's; the result is handed over.
   *
   * @param x x_t, shape [N, ...sample].
   * @param t Time on the schedule.
   */
  readonly predict: (x: Tensor, t: number) => TensorPrediction;
  /** The oracle of one class for each sample, or of all where it is null; absent without classes. */
  readonly given?: (condition: Condition) => Oracle;
}

/**
 * An oracle with classes.
 *
 * @category Models
 */
export interface ConditionalOracle extends Oracle {
  /** The oracle of one class for each sample, or of all where it is null. */
  readonly given: (condition: Condition) => Oracle;
}

/** The x0 prediction of samples flattened to [N, D]; at sigma = 0 the samples themselves over alpha. */
export function predicted(
  x: Tensor,
  level: Level,
  mean: (flat: Tensor2D, level: Level) => Tensor,
): TensorPrediction {
  if (x.rank === 0) {
    throw new RangeError("Cannot evaluate an oracle: x must be of shape [N, ...sample], got []");
  }
  const value = scope(() => {
    if (level.sigma === 0) return tf.div(x, level.alpha);
    const [count, ...sample] = x.shape, size = tf.util.sizeFromShape(sample);
    const flat = tf.reshape(x, [count!, size]) as Tensor2D;
    return tf.reshape(mean(flat, level), x.shape);
  });
  return { kind: "x0", value };
}

/** A large negative logarithm: a weight of nothing, on every backend. */
const never = -1e30;

/** Throws unless every class is among those known. */
function checkCondition(condition: Condition, labels: readonly number[]): void {
  const stranger = condition.find((label) => label !== null && !labels.includes(label));
  if (stranger === undefined) return;
  const known = [...new Set(labels)].join(", ");
  throw new RangeError(
    `Cannot condition an oracle: each class must be null or one of ${known}, got ${stranger}`,
  );
}

/** [N, K]: 0 where a sample may come from a component, a large negative number where its class forbids that. */
function mask(condition: Condition, labels: readonly number[], count: number): Tensor2D {
  if (condition.length !== count) {
    throw new RangeError(
      `Cannot evaluate an oracle: the condition must be of ${count} samples, got ${condition.length}`,
    );
  }
  const row = (label: number | null): number[] =>
    labels.map((known) => label === null || label === known ? 0 : never);
  return tf.tensor2d(condition.flatMap(row), [count, labels.length]);
}

/** An oracle with classes: one for each condition, each made by the same function of it. */
export function conditional(
  labels: readonly number[],
  make: (condition?: Condition) => Oracle,
): ConditionalOracle {
  const given = (condition: Condition): Oracle => {
    checkCondition(condition, labels);
    return { ...make(condition), given };
  };
  return { ...make(), given };
}

/** Samples [N, D], their level and their classes. */
export interface Query {
  readonly flat: Tensor2D;
  readonly level: Level;
  readonly condition: Condition | undefined;
}

/** Logits [N, K] with those of other classes put out of reach. */
export function restricted(
  logits: Tensor,
  condition: Condition | undefined,
  { labels }: Pick<Full, "labels">,
): Tensor {
  return condition ? tf.add(logits, mask(condition, labels, logits.shape[0]!)) : logits;
}

/**
 * The model that is exactly right for a finite set of data.
 *
 * It is that of a mixture of points, v = 0 with one component for each datum: the best denoiser is a softmax-weighted mean of
 * the data. Source: P. Vincent, "A connection between score matching and denoising autoencoders" (2011), section 4.2, for
 * the data set's score.
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
import type { Schedule } from "../../noise/schedule/schedule.ts";
import { softmax } from "../../tensor/autodiff.ts";
import { refusal } from "../../tensor/check/check.ts";
import { decoded, type Rules } from "../../tensor/check/decode.ts";
import type { Condition } from "../prediction.ts";
import type { Tensor, Tensor2D } from "../../tensor/tensor.ts";
import { making } from "./mixture.ts";
import {
  conditional,
  type ConditionalOracle,
  type Oracle,
  predicted,
  type Query,
  restricted,
} from "./oracle.ts";

/**
 * Options of {@link dataset}.
 *
 * @category Models
 */
export interface DatasetOptions {
  /** Class of each datum. Default: no classes, and no `given`. */
  readonly labels?: readonly number[];
}

const datasetRules: Rules<DatasetOptions> = { labels: true };

/**
 * The exact model of a finite set of data, each datum as likely as any other: the softmax-weighted mean of the data
 *
 * ```text
 *   E[x_0 | x_t] = Σ_i softmax_i( −‖x_t − alpha·x_i‖² / (2·sigma²) )·x_i
 * ```
 *
 * It is what a network that has learnt its training set by heart would say, and generates nothing else. Its two matrix
 * products cost 4·N·M·D operations. Distances are in float32, about the mean of the data: their error is some
 * 10⁻⁶·‖x‖²/sigma², which counts only where two data are as near to x_t as that.
 *
 * @category Models
 * @param schedule The schedule of the model.
 * @param points The data, shape [M, ...sample], M at least 1. Not copied: the caller keeps it while the model is in use,
 * and disposes of it.
 * @param options Classes.
 * @returns The model, with `given` where there are labels.
 * @throws {TypeError} If an option is unknown.
 * @throws {RangeError} If the data or the labels do not fit; in `given`, if a class is not among the labels; in
 * `predict`, if x or the condition does not fit.
 *
 * @example With little noise the answer is the nearest datum
 * ```ts
 * import { dataset, rectified } from "@tweedie/tweedie";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import * as tf from "@tensorflow/tfjs-core";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const points = tf.tensor([[0, 0], [4, 4]]);
 * const { value } = dataset(rectified(), points).predict(tf.tensor([[3, 3]]), 0.1);
 * assert.deepEqual([...value.dataSync()], [4, 4]);
 * ```
 */
export function dataset(
  schedule: Schedule,
  points: Tensor,
  options: DatasetOptions & { readonly labels: readonly number[] },
): ConditionalOracle;
/** The same, with or without classes; {@link Oracle.given} is there where there are labels. */
export function dataset(schedule: Schedule, points: Tensor, options?: DatasetOptions): Oracle;
export function dataset(
  schedule: Schedule,
  points: Tensor,
  options: DatasetOptions = {},
): Oracle {
  const { labels } = decoded(making, options, datasetRules);
  const [count = 0] = points.shape;
  if (count < 1) {
    throw refusal(
      making,
      "points must be of shape [M, ...sample] with M at least 1",
      points.shape,
    );
  }
  if (labels && labels.length !== count) {
    throw refusal(making, `labels must be one for each of ${count} points`, labels.length);
  }
  const make = (condition?: Condition): Oracle => ({
    schedule,
    predict: (x, t) => {
      checkSample(x, points);
      return predicted(
        x,
        schedule.at(t),
        (flat, level) => datasetMean(points, labels ?? [], { flat, level, condition }),
      );
    },
  });
  return labels ? conditional(labels, make) : make();
}

/** Throws unless samples have the shape of the data. */
function checkSample(x: Tensor, points: Tensor): void {
  if (tf.util.arraysEqual(x.shape.slice(1), points.shape.slice(1))) return;
  throw new RangeError(
    `Cannot evaluate an oracle: x must be of shape [N,${points.shape.slice(1)}], got [${x.shape}]`,
  );
}

/** E[x_0 | x_t] of a data set, [N, D]. */
function datasetMean(points: Tensor, labels: readonly number[], query: Query): Tensor {
  const { flat, level: { alpha, sigma }, condition } = query;
  const data = tf.reshape(points, [points.shape[0]!, -1]) as Tensor2D;
  const centre = tf.mean(data, 0, true), arms = tf.sub(data, centre) as Tensor2D;
  const x = tf.sub(flat, tf.mul(centre, alpha)) as Tensor2D;
  // −‖x − alpha·arm‖²/2 but for ‖x‖²/2, which all data share.
  const lengths = tf.sum(tf.square(arms), 1);
  const near = tf.sub(tf.matMul(x, arms, false, true), tf.mul(lengths, alpha / 2));
  const logits = restricted(tf.mul(near, alpha / sigma ** 2), condition, { labels });
  return tf.add(tf.matMul(softmax(logits) as Tensor2D, arms), centre);
}

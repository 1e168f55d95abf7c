/**
 * What a model says about (x_t, t): a tagged prediction, and the one formula that turns any into any other.
 *
 * Every prediction is a point in the plane spanned by the data x_0 and the noise eps, and so is x_t itself:
 *
 * ```text
 *   x_t   = alpha·x0 + sigma·eps
 *   eps   = 0·x0 + 1·eps              score = −eps / sigma
 *   x0    = 1·x0 + 0·eps              flow  = eps − x0
 *   v     = alpha·eps − sigma·x0      ∇E    = eps / sigma
 * ```
 *
 * Two of them fix the plane, so any third is `a·x_t + b·value`, with a and b from a two-by-two system in float64.
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
import type { Level, Schedule } from "../noise/schedule.ts";

/** What the numbers of a prediction mean. `flow` is the velocity eps − x0 of rectified flow. */
export type Kind = "eps" | "x0" | "v" | "flow" | "score";

/** Every {@link Kind}. */
export const kinds: readonly Kind[] = ["eps", "x0", "v", "flow", "score"];

/** A prediction that is a tensor of the shape of x_t, tagged with its meaning. */
export interface TensorPrediction {
  /** What `value` means. */
  readonly kind: Kind;
  /** Shape of x_t, float32. */
  readonly value: tf.Tensor;
}

/** An energy and its gradient; the score is minus the gradient. */
export interface EnergyPrediction {
  /** Tag. */
  readonly kind: "energy";
  /** E(x_t, t) of each sample up to a constant, in nats, shape [N]. */
  readonly value: tf.Tensor;
  /** ∇ₓE(x_t, t), shape of x_t. */
  readonly gradient: tf.Tensor;
}

/** What a model says about (x_t, t). */
export type Prediction = TensorPrediction | EnergyPrediction;

/** A condition for each sample: a class, or null for none. */
export type Condition = readonly (number | null)[];

/** A network, an oracle or an energy, with the schedule it was made for. */
export interface Model {
  /** The schedule that gives t its meaning. */
  readonly schedule: Schedule;
  /**
   * The prediction at (x_t, t). The caller owns x and disposes of the tensors of the result.
   *
   * @param x x_t, shape [N, ...sample].
   * @param t Time on the schedule, the same for the whole batch.
   * @param signal Aborts an evaluation that is under way, where the model can.
   */
  readonly predict: (
    x: tf.Tensor,
    t: number,
    signal?: AbortSignal,
  ) => Prediction | Promise<Prediction>;
  /** The same model under a condition for each sample; absent for an unconditional model. */
  readonly given?: (condition: Condition) => Model;
}

/** A value in the plane: (x0·x_0 + eps·eps) / over. The divisor apart keeps sigma = 0 finite. */
type Point = readonly [x0: number, eps: number, over: number];

const points: { readonly [K in Kind | "gradient"]: (level: Level) => Point } = {
  eps: () => [0, 1, 1],
  x0: () => [1, 0, 1],
  v: ({ alpha, sigma }) => [-sigma, alpha, 1],
  flow: () => [-1, 1, 1],
  score: ({ sigma }) => [0, -1, sigma],
  gradient: ({ sigma }) => [0, 1, sigma],
};

/**
 * Where a kind of prediction lies in the plane: its value is `x0·x_0 + eps·eps`.
 *
 * @param kind The kind; `"gradient"` is ∇ₓE.
 * @param level Marginal at t.
 * @returns The coefficients of x_0 and of eps, in float64; those of a score are infinite at sigma = 0.
 *
 * @example
 * ```ts
 * import { plane } from "@tweedie/tweedie";
 * import assert from "node:assert/strict";
 *
 * assert.deepEqual(plane("v", { alpha: 0.8, sigma: 0.6 }), [-0.6, 0.8]);
 * ```
 */
export function plane(kind: Kind | "gradient", level: Level): [x0: number, eps: number] {
  const [x0, eps, over] = points[kind](level);
  return [x0 && x0 / over, eps && eps / over];
}

/**
 * The coefficients (a, b) such that `wanted = a·x_t + b·value`.
 *
 * @param from Meaning of the value at hand; `"gradient"` is ∇ₓE.
 * @param wanted Meaning of the value wanted.
 * @param level Marginal at t.
 * @returns a and b in float64; not finite where the value does not determine what is wanted (x0 from eps at alpha = 0).
 *
 * @example Tweedie's formula: x0 = (x_t + sigma²·score) / alpha
 * ```ts
 * import { coefficients } from "@tweedie/tweedie";
 * import assert from "node:assert/strict";
 *
 * const [a, b] = coefficients("score", "x0", { alpha: 0.8, sigma: 0.6 });
 * assert.ok(Math.abs(a - 1 / 0.8) < 1e-12 && Math.abs(b - 0.36 / 0.8) < 1e-12);
 * ```
 */
export function coefficients(
  from: Kind | "gradient",
  wanted: Kind,
  level: Level,
): [a: number, b: number] {
  if (from === wanted) return [0, 1];
  const [r, q, over] = points[from](level), [r1, q1, over1] = points[wanted](level);
  // Values along one line (eps, score, gradient) need no x_t, not even at alpha = 0, where x_t is on that line too.
  if (r === 0 && r1 === 0) return [0, (q1 / q) * (over === over1 ? 1 : over / over1)];
  const determinant = level.alpha * q - level.sigma * r;
  return [
    (r1 * q - q1 * r) / determinant / over1,
    ((level.alpha * q1 - level.sigma * r1) / determinant) * (over / over1),
  ];
}

/**
 * A prediction turned into another of the same (x_t, t).
 *
 * @param prediction What the model said. Not disposed of.
 * @param wanted The meaning wanted.
 * @param x x_t, the tensor that the model was given.
 * @param level Marginal at t.
 * @returns A new tensor of the shape of x_t. The caller disposes of it.
 *
 * @example
 * ```ts
 * import { convert } from "@tweedie/tweedie";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import * as tf from "@tensorflow/tfjs-core";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const x = tf.tensor([2]), eps = { kind: "eps", value: tf.tensor([1]) } as const;
 * const [x0] = convert(eps, "x0", x, { alpha: 0.8, sigma: 0.6 }).dataSync();
 * assert.ok(Math.abs(x0! - (2 - 0.6) / 0.8) < 1e-6);
 * ```
 */
export function convert(
  prediction: Prediction,
  wanted: Kind,
  x: tf.Tensor,
  level: Level,
): tf.Tensor {
  if (prediction.kind === wanted) return tf.clone(prediction.value);
  const energy = prediction.kind === "energy";
  const [a, b] = coefficients(energy ? "gradient" : prediction.kind, wanted, level);
  return tf.tidy(() =>
    tf.add(tf.mul(x, a), tf.mul(energy ? prediction.gradient : prediction.value, b))
  );
}

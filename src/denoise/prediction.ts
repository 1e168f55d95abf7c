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
import { shown } from "../tensor/check/check.ts";
import { scope } from "../tensor/scope.ts";
import type { Level, Schedule } from "../noise/schedule/schedule.ts";
import type { Condition } from "./condition.ts";
import type { Tensor } from "../tensor/tensor.ts";

export type { Condition } from "./condition.ts";

/**
 * What the numbers of a prediction mean. `flow` is the velocity eps − x0 of rectified flow.
 *
 * @category Models
 */
export type Kind = "eps" | "x0" | "v" | "flow" | "score";

/**
 * Every {@link Kind}.
 *
 * @category Models
 */
export const kinds: readonly Kind[] = ["eps", "x0", "v", "flow", "score"];

/**
 * A prediction that is a tensor of the shape of x_t, tagged with its meaning.
 *
 * @category Models
 */
export interface TensorPrediction {
  /** What `value` means. */
  readonly kind: Kind;
  /** Shape of x_t, float32. */
  readonly value: Tensor;
}

/**
 * An energy and its gradient; the score is minus the gradient.
 *
 * @category Models
 */
export interface EnergyPrediction {
  /** Tag. */
  readonly kind: "energy";
  /** E(x_t, t) of each sample up to a constant, in nats, shape [N]. */
  readonly value: Tensor;
  /** ∇ₓE(x_t, t), shape of x_t. */
  readonly gradient: Tensor;
}

/**
 * What a model says about (x_t, t).
 *
 * @category Models
 */
export type Prediction = TensorPrediction | EnergyPrediction;

/**
 * A network, an oracle or an energy, with the schedule it was made for. `C` is what it can be conditioned on, with a part for
 * each sample: classes where nothing else is said; words, pictures, or several at once (see {@link pickedCondition}).
 *
 * @category Models
 */
export interface Model<C = Condition> {
  /** The schedule that gives t its meaning. */
  readonly schedule: Schedule;
  /**
   * The prediction at (x_t, t). x stays the caller's; the result is handed over.
   *
   * @param x x_t, shape [N, ...sample].
   * @param t Time on the schedule, the same for the whole batch.
   * @param signal Aborts an evaluation that is under way, where the model can.
   */
  readonly predict: (
    x: Tensor,
    t: number,
    signal?: AbortSignal,
  ) => Prediction | Promise<Prediction>;
  /** The same model under a condition for each sample; absent for an unconditional model. */
  readonly given?: (condition: C) => Model<C>;
  /** Whether it is under a condition already, so that it takes no other. Default: no. */
  readonly conditioned?: true;
  /** Whether it is bound to the samples of one batch, in their order, as by a guide to targets. Default: no. */
  readonly bound?: true;
  /** Whether its predictions are cut off, as by a threshold: the flow of such a model has no density. Default: no. */
  readonly clipped?: true;
}

/**
 * A model with something changed: all that the change leaves out is passed on, and `given` makes models changed in the
 * same way. Whatever changes models is made by this.
 *
 * @category Models
 * @param model The model.
 * @param change What takes the place of the model's own, made from it, or from the conditional model.
 * @returns The model.
 *
 * @example A model whose predictions are halved, also under a condition
 * ```ts
 * import { decorated, gaussian, linear } from "@tweedie/tweedie";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import * as tf from "@tensorflow/tfjs-core";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const model = gaussian(linear(), { mean: 2, variance: 0 });
 * const half = decorated(model, () => ({
 *   predict: (x, t) => ({ kind: "x0", value: tf.mul(model.predict(x, t).value, 0.5) }),
 * }));
 * const { value } = await half.predict(tf.tensor([[5]]), 500) as { value: tf.Tensor };
 * assert.deepEqual([...value.dataSync()], [1]);
 * ```
 */
export function decorated<C = Condition>(
  model: Model<C>,
  change: (model: Model<C>) => Partial<Model<C>>,
): Model<C> {
  return {
    ...model,
    // A model may be an object of a class, whose schedule a copy of its own properties would not have.
    schedule: model.schedule,
    ...change(model),
    ...(model.given && { given: (condition) => decorated(model.given!(condition), change) }),
  };
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
 * @category Models
 * @param kind The kind; `"gradient"` is ∇ₓE.
 * @param level Marginal at t.
 * @returns The coefficients of x_0 and of eps, in float64; those of a score are infinite at sigma = 0.
 *
 * @example
 * ```ts
 * import { plane } from "@tweedie/tweedie/denoise";
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
 * @category Models
 * @param from Meaning of the value at hand; `"gradient"` is ∇ₓE.
 * @param wanted Meaning of the value wanted.
 * @param level Marginal at t.
 * @returns a and b in float64; not finite where the value does not determine what is wanted (x0 from eps at alpha = 0).
 *
 * @example Tweedie's formula: x0 = (x_t + sigma²·score) / alpha
 * ```ts
 * import { coefficients } from "@tweedie/tweedie/denoise";
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
 * Refuses what a model cannot have said of x: another shape would be broadcast into garbage.
 *
 * @category Models
 * @param prediction What it said. Its tensors are disposed of, if it is refused.
 * @param x What it was asked about.
 * @returns The prediction.
 * @throws {TypeError} If it is no prediction.
 * @throws {RangeError} If a tensor has another shape than x, or an energy not one number for each sample.
 */
export function checkPrediction(prediction: Prediction, x: Tensor): Prediction {
  const fault = faultOf(prediction, x);
  if (fault === undefined) return prediction;
  tf.dispose({ ...prediction });
  throw fault;
}

function faultOf(prediction: Prediction, x: Tensor): Error | undefined {
  const kind = prediction?.kind, isEnergy = kind === "energy";
  if (!isEnergy && !kinds.includes(kind)) {
    return new TypeError(
      `Cannot use a prediction: kind must be one of ${kinds.join(", ")} or energy, got ${
        shown(kind)
      }`,
    );
  }
  if (!isEnergy) return misshapen("value", prediction.value, x.shape);
  const { value, gradient } = prediction as EnergyPrediction;
  return misshapen("gradient", gradient, x.shape) ??
    misshapen("value", value, x.shape.slice(0, 1));
}

function misshapen(name: string, tensor: unknown, shape: readonly number[]): Error | undefined {
  if (!(tensor instanceof tf.Tensor) || tensor.isDisposed) {
    return new TypeError(`Cannot use a prediction: ${name} must be a tensor, got ${shown(tensor)}`);
  }
  if (tf.util.arraysEqual(tensor.shape, shape as number[])) return undefined;
  return new RangeError(
    `Cannot use a prediction: ${name} must be of shape [${shape}], got [${tensor.shape}]`,
  );
}

/**
 * A prediction turned into another of the same (x_t, t).
 *
 * @category Models
 * @param prediction What the model said. Not disposed of.
 * @param wanted The meaning wanted.
 * @param x x_t, the tensor that the model was given.
 * @param level Marginal at t.
 * @returns A new tensor of the shape of x_t. It is the scope's, or the caller's where there is none.
 * @throws {RangeError} If the level does not determine it: x0 from eps or a score where alpha is 0, eps from x0 where sigma is.
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
  x: Tensor,
  level: Level,
): Tensor {
  if (prediction.kind === wanted) return tf.clone(prediction.value);
  const energy = prediction.kind === "energy";
  const [a, b] = coefficients(energy ? "gradient" : prediction.kind, wanted, level);
  if (!Number.isFinite(a) || !Number.isFinite(b)) throw unreadable(prediction.kind, wanted, level);
  return scope(() =>
    tf.add(tf.mul(x, a), tf.mul(energy ? prediction.gradient : prediction.value, b))
  );
}

function unreadable(kind: string, wanted: Kind, { alpha, sigma }: Level): RangeError {
  const [what, hint] = alpha === 0
    ? ["alpha", "ask a model of x0, v or flow there, or start at a time with less noise (`from`)"]
    : ["sigma", "end at a time with noise left (`final`)"];
  return new RangeError(
    `Cannot read ${wanted} from a prediction of ${kind}: ${what} must be above 0, got alpha ${alpha}, sigma ${sigma}; ${hint}`,
  );
}

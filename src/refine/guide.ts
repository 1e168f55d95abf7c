/**
 * Guidance: refinements that change what the model says inside each step.
 *
 * A `Guide` is a function from a model to a model. `guided` pre-composes it on the environment of every transition, so that it
 * works with any sampler, stochastic or not, of any order. Where two are piped, the first is the nearest to the sampler
 * and has the last word: `pipe(sampler, thresholded(), guided(g))` thresholds what g has guided.
 *
 * Source: J. Ho, T. Salimans, "Classifier-free diffusion guidance" (2022), equation 6, whose w is scale − 1.
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
import { andThen, disposing } from "../tensor/engine.ts";
import type { Condition, Model, Prediction } from "../denoise/prediction.ts";
import { refined, type Refinement, type Sampler, type State } from "../sample/chain.ts";

/** A function from a model to the one that takes its place. */
export type Guide = (model: Model) => Model;

/**
 * The refinement that puts another model in place of the environment's, in each step.
 *
 * @param change From the environment's model to the one that the step sees. Called once a step.
 * @returns The refinement.
 *
 * @example Count evaluations
 * ```ts
 * import { ddim, gaussian, key, linear, onModel, prior, run } from "@tweedie/tweedie";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const schedule = linear(), model = gaussian(schedule, { mean: 0, variance: 1 });
 * let evaluations = 0;
 * const counted = onModel((m) => ({ ...m, predict: (x, t) => (evaluations++, m.predict(x, t)) }));
 * let states = 0;
 * for await (const _ of run(prior([2, 1]), { model, key: key(0) })(counted(ddim(schedule, { steps: 7 })))) states++;
 * assert.deepEqual([states, evaluations], [8, 7]);
 * ```
 */
export function onModel(change: Guide): Refinement {
  return <S extends State>(sampler: Sampler<S>): Sampler<S> =>
    refined<S>((transition) => (env) => transition({ ...env, model: change(env.model) }))(sampler);
}

/**
 * Guidance in each step of a sampler.
 *
 * @param guide Such as {@link classifierFree}.
 * @returns The refinement.
 *
 * @example
 * ```ts
 * import { classifierFree, ddim, guided, linear } from "@tweedie/tweedie";
 * import assert from "node:assert/strict";
 *
 * const sampler = guided(classifierFree([3, 3], { scale: 2 }))(ddim(linear(), { steps: 10 }));
 * assert.ok(Symbol.asyncIterator in sampler);
 * ```
 */
export function guided(guide: Guide): Refinement {
  return onModel(guide);
}

/**
 * The model under a condition, without guidance, in each step of a sampler.
 *
 * @param condition A class or null for each sample of the batch.
 * @returns The refinement.
 * @throws {TypeError} While run: if the model cannot be conditioned.
 * @throws {RangeError} While run: if the condition has not one entry for each sample.
 *
 * @example
 * ```ts
 * import { conditioned, ddim, linear } from "@tweedie/tweedie";
 * import assert from "node:assert/strict";
 *
 * assert.ok(Symbol.asyncIterator in conditioned([0, 1, null])(ddim(linear(), { steps: 10 })));
 * ```
 */
export function conditioned(condition: Condition): Refinement {
  return onModel((model) => under(model, condition));
}

/** Options of {@link classifierFree}. */
export interface ClassifierFreeOptions {
  /** Weight of the condition: 0 leaves it out, 1 takes it as it is, more sharpens it. Finite, no unit. */
  readonly scale: number;
}

/**
 * Classifier-free guidance (Ho, Salimans 2022, equation 6):
 *
 * ```text
 *   epshat = eps(x, null) + scale·(eps(x, condition) − eps(x, null))
 * ```
 *
 * The weights add up to 1, so the same line holds for x0, v, flow, score and energy, and is used in whichever the model
 * speaks. One evaluation of a batch of 2N, the conditions first and then the nulls; at scale 0 and 1 one of N.
 *
 * @param condition A class or null for each sample of the batch.
 * @param options The scale.
 * @returns A guide, for {@link guided}.
 * @throws {RangeError} If the scale is not finite; while run, if the condition has not one entry for each sample.
 * @throws {TypeError} While run: if the model cannot be conditioned.
 *
 * @example Scale 1 is the conditional model
 * ```ts
 * import { classifierFree, linear, type Model } from "@tweedie/tweedie";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import * as tf from "@tensorflow/tfjs-core";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const says = (c: readonly (number | null)[]): Model => ({
 *   schedule: linear(),
 *   predict: () => ({ kind: "eps", value: tf.tensor(c.map((k) => [k ?? 0])) }),
 *   given: says,
 * });
 * const at = async (scale: number) => {
 *   const { value } = await classifierFree([1, 4], { scale })(says([null])).predict(tf.zeros([2, 1]), 500);
 *   return [...value.dataSync()];
 * };
 * assert.deepEqual([await at(0), await at(1), await at(3)], [[0, 0], [1, 4], [3, 12]]);
 * ```
 */
export function classifierFree(condition: Condition, options: ClassifierFreeOptions): Guide {
  const { scale } = options, none = condition.map(() => null);
  if (!Number.isFinite(scale)) {
    throw new RangeError(`Cannot guide: scale must be a finite number, got ${scale}`);
  }
  if (scale === 1) return (model) => under(model, condition);
  if (scale === 0) return (model) => under(model, none);
  return (model) => {
    const both = givenOf(model)([...condition, ...none]);
    return ofBatch(condition, { schedule: model.schedule, predict: mixed(both, scale) });
  };
}

/** One evaluation of the doubled batch, its halves joined. */
function mixed(both: Model, scale: number): Model["predict"] {
  return (x, t, signal) => {
    const twice = tf.concat([x, x]);
    const prediction = disposing(twice, () => both.predict(twice, t, signal));
    return andThen(prediction, (prediction) => joined(prediction, scale));
  };
}

/** null + scale·(condition − null) for each tensor of a prediction of the doubled batch, which is disposed of. */
function joined(prediction: Prediction, scale: number): Prediction {
  const join = (tensor: tf.Tensor): tf.Tensor =>
    tf.tidy(() => {
      const [given, none] = tf.split(tensor, 2) as [tf.Tensor, tf.Tensor];
      return tf.add(none, tf.mul(tf.sub(given, none), scale));
    });
  try {
    if (prediction.kind !== "energy") return { ...prediction, value: join(prediction.value) };
    return { ...prediction, value: join(prediction.value), gradient: join(prediction.gradient) };
  } finally {
    tf.dispose({ ...prediction });
  }
}

/** The conditional model, which checks the size of the batch. */
const under = (model: Model, condition: Condition): Model =>
  ofBatch(condition, givenOf(model)(condition));

function givenOf(model: Model): (condition: Condition) => Model {
  if (model.given) return model.given;
  throw new TypeError(
    "Cannot condition: model must have `given`, got an unconditional model",
  );
}

const ofBatch = (condition: Condition, model: Model): Model => ({
  ...model,
  predict: (x, t, signal) => {
    if (x.shape[0] === condition.length) return model.predict(x, t, signal);
    throw new RangeError(
      `Cannot condition: condition must have one entry for each of ${
        x.shape[0]
      } samples, got ${condition.length}`,
    );
  },
});

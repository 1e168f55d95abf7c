/**
 * Guidance by the model's own conditions, without a classifier.
 *
 * ```text
 *   epshat = eps(x, none) + scale·(eps(x, condition) − eps(x, none))
 * ```
 *
 * Sources: J. Ho, T. Salimans, "Classifier-free diffusion guidance" (2022), equation 6, whose w is scale − 1; S. Lin et al.,
 * "Common diffusion noise schedules and sample steps are flawed" (WACV 2024), section 3.4.
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
import { type Condition, pickedCondition, sizeOfCondition } from "../../denoise/condition.ts";
import { decorated, type Model, type Prediction } from "../../denoise/prediction.ts";
import { onModel, type Refinement } from "../../sample/path.ts";
import { decoded, is, needed, type Rules, within } from "../../tensor/check/decode.ts";
import { sampleAxes, type Tensor } from "../../tensor/tensor.ts";
import { owned, scope, type Scoped } from "../../tensor/scope.ts";
import { mapped, settled } from "../../denoise/decorate.ts";
import { mismatch } from "../../tensor/check/check.ts";
import { during, type Guide, type Interval, intervalRules } from "./combine.ts";
import { column, isAll, refusal, type Scale, scaled } from "./scale.ts";

/**
 * A run of the model under a condition, without guidance.
 *
 * @category Refinements
 * @param condition A class or null for each sample of the batch, or whatever the model takes, with a part for each.
 * @returns The refinement.
 * @throws {TypeError} While run: if the model cannot be conditioned, or has been already.
 * @throws {RangeError} If an entry is no class; while run, if the condition has not one entry for each sample.
 *
 * @example
 * ```ts
 * import { conditioned, ddim, linear } from "@tweedie/tweedie";
 * import assert from "node:assert/strict";
 *
 * assert.ok(Symbol.asyncIterator in conditioned([0, 1, null])(ddim(linear(), { steps: 10 })));
 * ```
 */
export function conditioned<C = Condition>(condition: C): Refinement {
  checkCondition(condition);
  return onModel((model) => under(model, condition));
}

/**
 * Refuses what is no condition.
 *
 * @throws {RangeError} If it is not a list of classes and nulls.
 */
export function checkCondition(condition: unknown): void {
  const isClass = (entry: unknown): boolean =>
    entry === null || (Number.isSafeInteger(entry) && (entry as number) >= 0);
  const isOther = (entry: unknown): boolean => typeof entry === "string" || isRecord(entry);
  const isFine = Array.isArray(condition)
    ? condition.length > 0 && (condition.every(isClass) || condition.some(isOther))
    : isRecord(condition) && sizeOfCondition(condition) > 0;
  if (isFine) return;
  throw refusal("condition must be a list of classes from 0 on, or null for none", condition);
}

const isRecord = (value: unknown): boolean => typeof value === "object" && value !== null;

/**
 * Options of {@link classifierFree}.
 *
 * @category Refinements
 */
export interface ClassifierFreeOptions<C = Condition> {
  /** Weight of the condition: 0 leaves it out, 1 takes it as it is, more sharpens it. */
  readonly scale: Scale;
  /**
   * What the condition is set off against: a class, or null for none, for each sample; what is in it is pushed away by scales
   * above 1. Default: null for all; of a model that takes tensors it must be given.
   */
  readonly negative?: C;
  /**
   * Share phi of the guided prediction that is brought back to the standard deviation of the conditional one, sample by
   * sample (Lin et al. 2024, equations 15 and 16); in [0, 1]. It is done in the kind that the model speaks, as by its
   * authors; a model that gives an energy is refused. Default: 0.
   */
  readonly rescale?: number;
  /** Where the scale holds; outside it is 1 (Kynkäänniemi et al. 2024, equation 5). Default: everywhere. */
  readonly interval?: Interval;
}

/**
 * Classifier-free guidance (Ho, Salimans 2022, equation 6):
 *
 * ```text
 *   epshat = eps(x, null) + scale·(eps(x, condition) − eps(x, null))
 * ```
 *
 * The weights add up to 1, so the same line holds for x0, v, flow, score and energy, and is used in whichever the model
 * speaks. One evaluation of a batch of 2N, the conditions first and then the nulls, or two of N where a guide has bound the
 * model to its batch; at scale 0 and 1 one of N.
 *
 * @category Refinements
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
export function classifierFree<C = Condition>(
  condition: C,
  options: ClassifierFreeOptions<C>,
): Guide {
  checkCondition(condition);
  const rules = freeRules<C>(sizeOfCondition(condition));
  const { interval, ...rest } = decoded("guide", options, rules);
  checkNegative(condition, options);
  if (interval === undefined) return mixing(condition, rest);
  decoded("guide", interval, intervalRules);
  return during(mixing(condition, rest), {
    ...interval,
    otherwise: mixing(condition, { scale: 1 }),
  });
}

const freeRules = <C>(count: number): Rules<ClassifierFreeOptions<C>> => ({
  scale: needed(scaled(count)),
  negative: true,
  rescale: is("in [0, 1]", within(0, 1)),
  interval: true,
});

function checkNegative<C>(condition: C, { negative, scale }: ClassifierFreeOptions<C>): void {
  if (negative === undefined) return;
  checkCondition(negative);
  const size = sizeOfCondition(condition);
  if (sizeOfCondition(negative) !== size) {
    throw refusal(`negative must have one entry for each of ${size} samples`, negative);
  }
  if (isAll(scale, 1)) {
    throw refusal("negative must be absent at scale 1, where it has no part", negative);
  }
}

/** epshat = none + scale·(given − none), at every level. */
function mixing<C>(condition: C, options: ClassifierFreeOptions<C>): Guide {
  const { scale, rescale = 0 } = options;
  const all = Array.from({ length: sizeOfCondition(condition) }, (_, i) => i);
  const none = (): C => options.negative ?? pickedCondition([condition], all.map(() => null));
  if (isAll(scale, 1)) return (model) => under(model, condition);
  if (isAll(scale, 0)) return (model) => under(model, none());
  const twice = (): C =>
    pickedCondition([condition, none()], [0, 1].flatMap((k) => all.map((i) => [k, i] as const)));
  return (model) => {
    const given = givenOf<C>(model);
    const both = (): (...asked: Asked) => Scoped<Pair> =>
      model.bound ? inTurn(given(condition), given(none())) : atOnce(given(twice()));
    const predict: Model["predict"] = (...asked) =>
      scope(function* () {
        const [given, none] = yield* both()(...asked);
        checkPair(given, none, rescale);
        return mapped([given, none], (given, none) => {
          const mix = tf.add(none, tf.mul(tf.sub(given, none), column(scale, given)));
          return rescale === 0 ? mix : rescaled(mix, given, rescale);
        });
      });
    return under(model, condition, { predict });
  };
}

/** A prediction under the condition, and one without. */
type Pair = readonly [given: Prediction, none: Prediction];

/** Where the model is asked. */
type Asked = Parameters<Model["predict"]>;

/** Both from one evaluation of the doubled batch. */
const atOnce = <C>(both: Model<C>) =>
  function* (...[x, t, signal]: Asked): Scoped<Pair> {
    const said = yield* owned(both.predict(tf.concat([x, x]), t, signal));
    const half = (i: 0 | 1): Prediction => mapped([said], (each) => tf.split(each, 2)[i]!);
    return [half(0), half(1)];
  };

/** Both of a model that is bound to the batch, one after the other. */
const inTurn = <C>(given: Model<C>, none: Model<C>) =>
  function* (...asked: Asked): Scoped<Pair> {
    return [yield* owned(given.predict(...asked)), yield* owned(none.predict(...asked))];
  };

function checkPair(given: Prediction, none: Prediction, rescale: number): void {
  if (given.kind !== none.kind) {
    const got = `"${given.kind}" and "${none.kind}"`;
    throw mismatch("guide", "the model must answer in one kind", got);
  }
  if (rescale === 0) return;
  if (given.kind === "energy") {
    throw mismatch("rescale guidance", "the model must predict one tensor", "an energy");
  }
  if (given.value.size === given.value.shape[0]) {
    throw refusal(
      "rescale must be 0 where a sample is one number, which has no deviation",
      rescale,
    );
  }
}

/** x·(phi·std(given)/std(x) + 1 − phi), with a standard deviation for each sample. */
function rescaled(x: Tensor, given: Tensor, phi: number): Tensor {
  const deviation = (of: Tensor): Tensor =>
    tf.sqrt(
      tf.mean(tf.square(tf.sub(of, tf.mean(of, sampleAxes(of), true))), sampleAxes(of), true),
    );
  const ratio = tf.div(deviation(given), tf.maximum(deviation(x), 1e-12));
  return tf.mul(x, tf.add(tf.mul(ratio, phi), 1 - phi));
}

/**
 * The model under a condition for good, which checks the size of the batch: it takes no other, which would put the first out
 * of force without a word.
 */
function under<C>(
  model: Model,
  condition: C,
  conditional: Pick<Model, "predict"> = givenOf<C>(model)(condition),
): Model {
  const size = sizeOfCondition(condition);
  return settled(decorated(model, () => ({
    predict: (x, t, signal) => {
      if (x.shape[0] === size) return conditional.predict(x, t, signal);
      throw new RangeError(
        `Cannot condition: condition must have one entry for each of ${
          x.shape[0]
        } samples, got ${size}`,
      );
    },
  })));
}

/** What the model says under a condition: it takes what its maker says, which a run does not ask. */
function givenOf<C>(model: Model): (condition: C) => Model<C> {
  const { given } = model as Model<unknown> as Model<C>;
  if (given) return (condition) => given.call(model, condition);
  const got = model.conditioned
    ? "one that is under a condition already"
    : "an unconditional model";
  throw mismatch("condition", "model must have `given`", got);
}

/**
 * Guidance: refinements that change what the model says.
 *
 * A `Guide` is a function from a model to a model. `guided` puts the run under it: every step asks the guided model, of any
 * sampler, stochastic or not, of any order, and so does every corrector and density, wherever it stands. Where two are piped,
 * the first is the nearest to the sampler and has the last word: `pipe(sampler, thresholded(), guided(g))` thresholds what g
 * has guided.
 *
 * A guide by a gradient adds it to the score, by Bayes' rule for p_t(x | y), and in the same breath to every other reading
 * of the prediction:
 *
 * ```text
 *   s(x, y) = s(x) + scale·∇ ln p_t(y | x)        eps ← eps − scale·sigma·∇ ln p_t(y | x)
 * ```
 *
 * p_t(y | x) is that of noisy x: a classifier of clean data says something else. The gradient is of a scalar, with respect
 * to x, and the probability-flow ODE has half of g² of it; lecture notes are found that drop one or the other.
 *
 * Sources: J. Ho, T. Salimans, "Classifier-free diffusion guidance" (2022), equation 6, whose w is scale − 1; P. Dhariwal,
 * A. Nichol, "Diffusion models beat GANs on image synthesis" (NeurIPS 2021), algorithms 1 and 2; S. Lin et al., "Common
 * diffusion noise schedules and sample steps are flawed" (WACV 2024), section 3.4; T. Kynkäänniemi et al., "Applying
 * guidance in a limited interval improves sample and distribution quality" (NeurIPS 2024), equation 5.
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
import { logSoftmax } from "../tensor/autodiff.ts";
import { checkOptions, type Known as Names, refusal as refused, shown } from "../tensor/check.ts";
import { andThen, disposing, releaseTape } from "../tensor/engine.ts";
import { type Awaitable } from "../tensor/scope.ts";
import {
  coefficients,
  type Condition,
  convert,
  decorated,
  type Kind,
  type Model,
  type Prediction,
} from "../denoise/prediction.ts";
import { type ReverseVariance, variances } from "../denoise/posterior.ts";
import { type Level, type Schedule, timeNear } from "../noise/schedule.ts";
import {
  onModel,
  refined,
  type Refinement,
  type Sampler,
  type State,
  type Transition,
} from "../sample/chain.ts";
import { isNear } from "../sample/run/fit.ts";
import { movedAfter, rescued } from "./move.ts";

/** A function from a model to the one that takes its place. */
export type Guide = (model: Model) => Model;

/**
 * A run under guidance: the name by which {@link onModel} is known where what changes the model is a {@link Guide}.
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
  if (typeof guide !== "function") throw refusal("guide must be a function of a model", guide);
  return onModel(guide);
}

/**
 * A run of the model under a condition, without guidance.
 *
 * @param condition A class or null for each sample of the batch.
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
export function conditioned(condition: Condition): Refinement {
  checkCondition(condition);
  return onModel((model) => under(model, condition));
}

function checkCondition(condition: Condition): void {
  const isOne = (entry: unknown): boolean =>
    entry === null || (Number.isSafeInteger(entry) && (entry as number) >= 0);
  if (Array.isArray(condition) && condition.length > 0 && condition.every(isOne)) return;
  throw refusal("condition must be a list of classes from 0 on, or null for none", condition);
}

/** A weight of guidance: one for all samples, or one for each. Finite, no unit. */
export type Scale = number | readonly number[];

/** Options of {@link classifierFree}. */
export interface ClassifierFreeOptions {
  /** Weight of the condition: 0 leaves it out, 1 takes it as it is, more sharpens it. */
  readonly scale: Scale;
  /**
   * What the condition is set off against: a class, or null for none, for each sample; what is in it is pushed away by scales
   * above 1. Default: null for all.
   */
  readonly negative?: Condition;
  /**
   * Share phi of the guided prediction that is brought back to the standard deviation of the conditional one, sample by
   * sample (Lin et al. 2024, equations 15 and 16); in [0, 1]. It is done in the kind that the model speaks, as by its
   * authors; a model that gives an energy is refused. Default: 0.
   */
  readonly rescale?: number;
  /** Where the scale holds; outside it is 1 (Kynkäänniemi et al. 2024, equation 5). Default: everywhere. */
  readonly interval?: Interval;
}

/** A part of the levels. Both bounds, if there are both, must hold. */
export interface Interval {
  /** Least and greatest time, both included. Default: all. */
  readonly t?: readonly [number, number];
  /** Bounds of sigma/alpha: above the first, and at most the second, as in the source. Default: all. */
  readonly sigma?: readonly [number, number];
}

/** Options of {@link during}. */
export interface DuringOptions extends Interval {
  /** The guide everywhere else. Default: none, the model as it is. */
  readonly otherwise?: Guide;
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
  checkOptions("guide", options, freeOptions);
  const { interval, ...rest } = options;
  checkCondition(condition);
  checkScale(options.scale, condition.length);
  checkNegative(condition, options);
  checkRescale(options.rescale ?? 0);
  if (interval === undefined) return mixing(condition, rest);
  checkOptions("guide", interval, { t: true, sigma: true } satisfies Names<Interval>);
  return during(mixing(condition, rest), {
    ...interval,
    otherwise: mixing(condition, { scale: 1 }),
  });
}

const freeOptions: Names<ClassifierFreeOptions> = {
  scale: true,
  negative: true,
  rescale: true,
  interval: true,
};

function checkNegative(condition: Condition, { negative, scale }: ClassifierFreeOptions): void {
  if (negative === undefined) return;
  checkCondition(negative);
  if (negative.length !== condition.length) {
    throw refusal(`negative must have one entry for each of ${condition.length} samples`, negative);
  }
  if (isAll(scale, 1)) {
    throw refusal("negative must be absent at scale 1, where it has no part", negative);
  }
}

const isAll = (scale: Scale, value: number): boolean =>
  typeof scale === "number" ? scale === value : scale.every((each) => each === value);

/** One finite number, or one for each sample. */
function checkScale(scale: Scale, count?: number): void {
  if (typeof scale === "number" && Number.isFinite(scale)) return;
  const isList = Array.isArray(scale) && scale.length > 0 && scale.every(Number.isFinite);
  if (isList && (count === undefined || scale.length === count)) return;
  const wanted = Array.isArray(scale) ? "one finite number for each sample" : "a finite number";
  throw refusal(`scale must be ${wanted}`, scale);
}

function checkRescale(share: number): void {
  if (share >= 0 && share <= 1) return;
  throw refusal("rescale must be in [0, 1]", share);
}

const refusal = (wanted: string, got: unknown): RangeError => refused("guide", wanted, got);

/** The same scale at every level. */
function mixing(condition: Condition, options: ClassifierFreeOptions): Guide {
  const { scale, rescale = 0, negative: none = condition.map(() => null) } = options;
  if (isAll(scale, 1)) return (model) => under(model, condition);
  if (isAll(scale, 0)) return (model) => under(model, none);
  return (model) => {
    const given = givenOf(model);
    const both = model.bound
      ? inTurn(given(condition), given(none))
      : atOnceOf(given([...condition, ...none]));
    const predict: Model["predict"] = (x, t, signal) =>
      andThen(both(x, t, signal), (pair) => joined(pair, scale, rescale));
    return under(model, condition, { predict });
  };
}

/** A prediction under the condition, and one without. */
type Pair = readonly [given: Prediction, none: Prediction];

/** Both from one evaluation of the doubled batch. */
const atOnceOf =
  (both: Model) => (...[x, t, signal]: Parameters<Model["predict"]>): Awaitable<Pair> => {
    const twice = tf.concat([x, x]),
      prediction = disposing(twice, () => both.predict(twice, t, signal));
    return andThen(
      prediction,
      (prediction) => disposing({ ...prediction }, () => halves(prediction)),
    );
  };

/** Both of a model that is bound to the batch, one after the other. */
const inTurn =
  (given: Model, none: Model) =>
  (...[x, t, signal]: Parameters<Model["predict"]>): Awaitable<Pair> =>
    andThen(given.predict(x, t, signal), (first) =>
      andThen(
        rescued(() => none.predict(x, t, signal), () => tf.dispose({ ...first })),
        (second) => [first, second] as const,
      ));

function halves(prediction: Prediction): Pair {
  const half = (index: 0 | 1) => (tensor: tf.Tensor): tf.Tensor =>
    tf.tidy(() => tf.split(tensor, 2)[index]!);
  return [mapped(prediction, half(0)), mapped(prediction, half(1))];
}

/** none + scale·(given − none) for each tensor of the two predictions, which are disposed of. */
function joined([given, none]: Pair, scale: Scale, rescale: number): Prediction {
  const join = (a: tf.Tensor, b: tf.Tensor): tf.Tensor =>
    tf.tidy(() => {
      if (rescale !== 0 && a.size === a.shape[0]) {
        throw refusal(
          "rescale must be 0 where a sample is one number, which has no deviation",
          rescale,
        );
      }
      const mix = tf.add(b, tf.mul(tf.sub(a, b), column(scale, a)));
      return rescale === 0 ? mix : rescaled(mix, a, rescale);
    });
  return disposing([{ ...given }, { ...none }] as never, () => {
    if (given.kind !== none.kind) {
      throw new TypeError(
        `Cannot guide: the model must answer in one kind, got "${given.kind}" and "${none.kind}"`,
      );
    }
    if (given.kind !== "energy" || none.kind !== "energy") {
      return { ...given, value: join(given.value, none.value) };
    }
    if (rescale !== 0) {
      throw new TypeError(
        "Cannot rescale guidance: the model must predict one tensor, got an energy",
      );
    }
    return {
      kind: "energy",
      value: join(given.value, none.value),
      gradient: join(given.gradient, none.gradient),
    };
  }) as Prediction;
}

/** A number for all samples, or one for each, to multiply tensors of the shape of x by. */
function column(scale: Scale, { shape: [count, ...sample] }: tf.Tensor): number | tf.Tensor {
  if (typeof scale === "number") return scale;
  if (scale.length !== count) {
    throw refusal(`scale must be one for each of ${count} samples`, scale);
  }
  return tf.tensor([...scale], [count, ...sample.map(() => 1)]);
}

/** x·(phi·std(given)/std(x) + 1 − phi), with a standard deviation for each sample. */
function rescaled(x: tf.Tensor, given: tf.Tensor, phi: number): tf.Tensor {
  const deviation = (of: tf.Tensor): tf.Tensor =>
    tf.sqrt(tf.mean(tf.square(tf.sub(of, tf.mean(of, axes(of), true))), axes(of), true));
  const ratio = tf.div(deviation(given), tf.maximum(deviation(x), 1e-12));
  return tf.mul(x, tf.add(tf.mul(ratio, phi), 1 - phi));
}

const axes = ({ rank }: tf.Tensor): number[] => Array.from({ length: rank - 1 }, (_, i) => i + 1);

/**
 * The model under a condition for good, which checks the size of the batch: it takes no other, which would put the first out
 * of force without a word.
 */
function under(
  model: Model,
  condition: Condition,
  conditional: Pick<Model, "predict"> = givenOf(model)(condition),
): Model {
  return settled(decorated(model, () => ({
    predict: (x, t, signal) => {
      if (x.shape[0] === condition.length) return conditional.predict(x, t, signal);
      throw new RangeError(
        `Cannot condition: condition must have one entry for each of ${
          x.shape[0]
        } samples, got ${condition.length}`,
      );
    },
  })));
}

/** The model that takes no condition any more. */
const settled = ({ given: _, ...model }: Model): Model => ({ ...model, conditioned: true });

function givenOf(model: Model): (condition: Condition) => Model {
  if (model.given) return (condition) => model.given!(condition);
  throw new TypeError(
    `Cannot condition: model must have \`given\`, got ${
      model.conditioned ? "one that is under a condition already" : "an unconditional model"
    }`,
  );
}

/**
 * A guide in a part of the levels only.
 *
 * @param guide The guide there.
 * @param options The part, and the guide elsewhere.
 * @returns A guide, for {@link guided}.
 * @throws {RangeError} If a bound is not a number, or the first is above the second.
 *
 * @example
 * ```ts
 * import { classifierFree, during } from "@tweedie/tweedie";
 * import assert from "node:assert/strict";
 *
 * const guide = during(classifierFree([3, 3], { scale: 2 }), { sigma: [0.3, 5] });
 * assert.equal(typeof guide, "function");
 * ```
 */
export function during(guide: Guide, options: DuringOptions): Guide {
  checkOptions(
    "guide",
    options,
    { t: true, sigma: true, otherwise: true } satisfies Names<DuringOptions>,
  );
  const { t: times = everywhere, sigma = everywhere, otherwise = (model) => model } = options;
  if (typeof guide !== "function") throw refusal("guide must be a function of a model", guide);
  checkBounds("t", times);
  checkBounds("sigma", sigma);
  // Times are sums and products that grids have computed: one that is a bound but for rounding is that bound.
  const atMost = (a: number, b: number): boolean => a <= b || isNear(a, b);
  const inside = (t: number, level: Level): boolean => {
    const ratio = level.sigma / level.alpha;
    return atMost(times[0], t) && atMost(t, times[1]) &&
      !atMost(ratio, sigma[0]) && atMost(ratio, sigma[1]);
  };
  return (model) => {
    const joint = decorated(model, (model) => {
      const { schedule } = model, within = guide(model), without = otherwise(model);
      return {
        predict: (x, t, signal) =>
          (inside(t, schedule.at(t)) ? within : without).predict(x, t, signal),
        ...likeAny([within, without]),
      };
    });
    return takes(joint, [guide(model), otherwise(model)]);
  };
}

/** The model, which takes a condition if all others do. */
const takes = (model: Model, others: readonly Model[]): Model =>
  others.every(({ given }) => given) ? model : settled(model);

/** What holds of a model that answers by others, if it holds of one of them. */
const likeAny = (models: readonly Model[]): Pick<Model, "clipped" | "bound"> => ({
  ...(models.some(({ clipped }) => clipped) && { clipped: true }),
  ...(models.some(({ bound }) => bound) && { bound: true }),
});

const everywhere = [-Infinity, Infinity] as const;

function checkBounds(name: string, [least, most]: readonly [number, number]): void {
  if (least <= most) return;
  throw refusal(`${name} must be two numbers, the first at most the second`, `[${least}, ${most}]`);
}

/**
 * The sum of guides: what each adds to the model's prediction, added together.
 *
 * ```text
 *   prediction + Σ (guide_i(model)'s − prediction)
 * ```
 *
 * The model is evaluated once for the prediction; guides that ask for just that share it. All guides must answer in the
 * kind that the model speaks, as those of this library do.
 *
 * @param guides Any number.
 * @returns A guide, for {@link guided}.
 * @throws {TypeError} While run: if a guide answers in another kind than the model.
 *
 * @example Of none, it is the model itself
 * ```ts
 * import { gaussian, linear, summed } from "@tweedie/tweedie";
 * import assert from "node:assert/strict";
 *
 * const model = gaussian(linear());
 * assert.equal(summed()(model), model);
 * ```
 */
export function summed(...guides: readonly Guide[]): Guide {
  if (guides.length === 0) return (model) => model;
  return (model) => {
    const sum = decorated(model, (model) => ({
      predict: (x, t, signal) =>
        andThen(model.predict(x, t, signal), (base) => {
          const shared = sharing(model, { x, t, prediction: base });
          return disposing({ ...base }, () =>
            collected(guides, shared, base, (guide) => guide.predict(x, t, signal)));
        }),
      ...likeAny(guides.map((guide) => guide(model))),
    }));
    return takes(sum, guides.map((guide) => guide(model)));
  };
}

/** A prediction and where it was made. */
export interface Known {
  /** x_t. */
  readonly x: tf.Tensor;
  /** Time on the model's schedule. */
  readonly t: number;
  /** The prediction there. */
  readonly prediction: Prediction;
}

/**
 * A model that answers from what is known where it is asked for that, and asks the model otherwise: also within gradients,
 * which a known tensor would not let through.
 *
 * @param model The model.
 * @param known A prediction of it, which stays the caller's and must outlive the result's use.
 * @returns The model that spares the evaluation.
 */
export function sharing(model: Model, known: Known): Model {
  const spared = (x: tf.Tensor, t: number): boolean =>
    x === known.x && t === known.t && tf.engine().state.gradientDepth === 0;
  return {
    ...model,
    schedule: model.schedule,
    predict: (x, t, signal) =>
      spared(x, t)
        ? mapped(known.prediction, (each) => tf.clone(each))
        : model.predict(x, t, signal),
  };
}

/** The same prediction with other tensors. */
function mapped(prediction: Prediction, f: (tensor: tf.Tensor) => tf.Tensor): Prediction {
  if (prediction.kind !== "energy") return { ...prediction, value: f(prediction.value) };
  return { ...prediction, value: f(prediction.value), gradient: f(prediction.gradient) };
}

/** base + Σ (guided − base), guide after guide. */
function collected(
  guides: readonly Guide[],
  model: Model,
  base: Prediction,
  ask: (model: Model) => Awaitable<Prediction>,
): Awaitable<Prediction> {
  const from = (sum: Prediction, index: number): Awaitable<Prediction> => {
    const guide = guides[index];
    if (guide === undefined) return sum;
    const next = disposing(
      { ...sum },
      () =>
        andThen(
          ask(guide(model)),
          (guided) => disposing({ ...guided }, () => plus(sum, guided, base)),
        ),
    );
    return andThen(next, (value) => from(value, index + 1));
  };
  return from(mapped(base, (each) => tf.clone(each)), 0);
}

/** sum + guided − base. */
function plus(sum: Prediction, guided: Prediction, base: Prediction): Prediction {
  if (guided.kind !== base.kind) {
    throw new TypeError(
      `Cannot add guides: each must answer in the model's kind "${base.kind}", got "${guided.kind}"`,
    );
  }
  const add = (a: tf.Tensor, b: tf.Tensor, c: tf.Tensor): tf.Tensor =>
    tf.tidy(() => tf.add(a, tf.sub(b, c)));
  const value = add(sum.value, guided.value, base.value);
  if (sum.kind !== "energy" || guided.kind !== "energy" || base.kind !== "energy") {
    return { kind: base.kind as Kind, value };
  }
  return { kind: "energy", value, gradient: add(sum.gradient, guided.gradient, base.gradient) };
}

/**
 * A classifier of noisy samples.
 *
 * @param x x_t, shape [N, ...sample].
 * @param t Time on the schedule.
 * @returns Logits of p_t(y | x_t), shape [N, classes].
 */
export type NoisyClassifier = (x: tf.Tensor, t: number) => tf.Tensor;

/** Options of guidance by a gradient. */
export interface GradientOptions {
  /** Weight of the gradient: 0 leaves it out, 1 is Bayes' rule. Default: 1. */
  readonly scale?: Scale;
}

/** Options of {@link meanShifted}. */
export interface MeanShiftOptions extends GradientOptions {
  /** The variance of the noise that the sampler's step draws. Default: `variances.small`, that of {@link ddpm}. */
  readonly variance?: ReverseVariance;
}

/**
 * Classifier guidance of any sampler, ODE solvers included: the epsilon form (Dhariwal, Nichol 2021, algorithm 2).
 *
 * ```text
 *   eps ← eps − scale·sigma·∇ ln p_t(y | x_t)
 * ```
 *
 * At alpha = 0 it is done as {@link byEnergy} says.
 *
 * @param classifier Logits of noisy samples at times of the samples' schedule, in operations that have a gradient;
 *   `noisyClassifier` and `loadNoisyClassifier` make one of a network trained under that schedule, or another.
 * @param labels A class for each sample, or null to leave it alone.
 * @param options The scale.
 * @returns A guide, for {@link guided}. At scale 0 it is none, bit for bit.
 * @throws {RangeError} If the scale is not finite; while run, if there is not one label for each sample, or one is not a
 * class.
 *
 * @example The exact classifier of two points turns a mixture into one of them
 * ```ts
 * import { byClassifier, ddim, guided, key, last, linear, mixture, prior, run } from "@tweedie/tweedie";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import * as tf from "@tensorflow/tfjs-core";
 * import { pipe } from "fp-ts/lib/function.js";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const schedule = linear(), model = mixture(schedule, { means: [-1, 1], variances: [0.04, 0.04] });
 * const logits = (x: tf.Tensor, t: number) => {
 *   const { alpha, sigma } = schedule.at(t), total = alpha ** 2 * 0.04 + sigma ** 2;
 *   return tf.mul(x, tf.tensor([[-alpha / total, alpha / total]]));
 * };
 * const sampler = guided(byClassifier(logits, Array(50).fill(1)))(ddim(schedule, { steps: 50 }));
 * const { x } = await last(pipe(sampler, run(prior([50, 1]), { model, key: key(0) })));
 * assert.ok(x.dataSync().every((value) => value > 0));
 * ```
 */
export function byClassifier(
  classifier: NoisyClassifier,
  labels: Condition,
  options: GradientOptions = {},
): Guide {
  checkOptions("guide", options, { scale: true } satisfies Names<GradientOptions>);
  checkCondition(labels);
  const { scale = 1 } = options;
  checkScale(scale, labels.length);
  return byEnergy(classifierEnergy(classifier, labels), { scale });
}

/**
 * −ln p_t(y | x_t) of each sample: a classifier as an energy.
 *
 * @param classifier Logits of noisy samples.
 * @param labels A class for each sample, or null for an energy of 0.
 * @returns The energy, in nats.
 */
export function classifierEnergy(classifier: NoisyClassifier, labels: Condition): Energy {
  return (x, t) => {
    checkBatch(labels, x);
    const logits = classifier(x, t), classes = logits.shape[1]!;
    checkLabels(labels, classes);
    const chosen = labels.flatMap((label) =>
      Array.from({ length: classes }, (_, k) => k === label ? 1 : 0)
    );
    const picked = tf.mul(logSoftmax(logits), tf.tensor(chosen, [labels.length, classes]));
    return tf.neg(tf.sum(picked, 1));
  };
}

function checkBatch(labels: Condition, x: tf.Tensor): void {
  if (x.shape[0] === labels.length) return;
  throw refusal(`labels must be one for each of ${x.shape[0]} samples`, labels.length);
}

function checkLabels(labels: Condition, classes: number): void {
  const stranger = labels.find((k) =>
    k !== null && !(Number.isInteger(k) && k >= 0 && k < classes)
  );
  if (stranger === undefined) return;
  throw refusal(`labels must be null or whole numbers in [0, ${classes})`, stranger);
}

/**
 * An energy of samples, in nats, in operations that have a gradient.
 *
 * @param x Samples, shape [N, ...sample].
 * @param t Time on the schedule.
 * @returns One number for each sample, shape [N].
 */
export type Energy = (x: tf.Tensor, t: number) => tf.Tensor;

/** Options of {@link byEnergy}. */
export interface EnergyOptions extends GradientOptions {
  /**
   * What the energy is of: `"xt"`, the noisy sample, or `"x0"`, its prediction, through which the gradient goes, so that
   * the model must answer at once and in operations that have a gradient. Default: `"xt"`.
   */
  readonly of?: "xt" | "x0";
}

/**
 * Energy guidance: any differentiable energy, added to that of the model.
 *
 * ```text
 *   score ← score − scale·∇E(x_t, t)      or      score − scale·∇E(x0hat(x_t), t)
 * ```
 *
 * By −ln p_t(y | x_t) it is classifier guidance. An energy of x0hat puts E at the mean of x_0 given x_t in place of
 * −ln E[exp(−E(x_0)) | x_t], which is exact only for linear energies or without noise.
 *
 * At alpha = 0 the gradient is 0, and what it does to x0, scale·(sigma²/alpha)·∇E, the limit of a quotient: it is taken at
 * the time at which sigma/alpha is 300, at the same x, for one evaluation more if the gradient goes through the model.
 *
 * @param energy The energy.
 * @param options The scale; what the energy is of.
 * @returns A guide, for {@link guided}. At scale 0 it is none, bit for bit.
 * @throws {RangeError} If an option is outside its domain.
 * @throws {TypeError} While run: if the gradient must go through a model that answers later.
 *
 * @example A linear energy tilts N(0, 1) to N(0.5, 1)
 * ```ts
 * import { byEnergy, ddim, gaussian, guided, key, last, linear, prior, run } from "@tweedie/tweedie";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import * as tf from "@tensorflow/tfjs-core";
 * import { pipe } from "fp-ts/lib/function.js";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const schedule = linear(), model = gaussian(schedule);
 * const tilt = byEnergy((x0) => tf.sum(tf.mul(x0, -0.5), 1), { of: "x0" });
 * const sampler = guided(tilt)(ddim(schedule, { steps: 100 }));
 * const { x } = await last(pipe(sampler, run(prior([2000, 1]), { model, key: key(0) })));
 * const mean = [...x.dataSync()].reduce((a, b) => a + b) / 2000;
 * assert.ok(Math.abs(mean - 0.5) < 0.1);
 * ```
 */
export function byEnergy(energy: Energy, options: EnergyOptions = {}): Guide {
  checkOptions("guide", options, { scale: true, of: true } satisfies Names<EnergyOptions>);
  const { scale = 1, of = "xt" } = options;
  checkScale(scale);
  if (typeof energy !== "function") throw refusal("energy must be a function of x_t and t", energy);
  if (of !== "xt" && of !== "x0") throw refusal('of must be "xt" or "x0"', of);
  if (isAll(scale, 0)) return (model) => model;
  const pull = of === "x0" ? through(energy) : beside(energy);
  return (model) =>
    decorated(model, (model) => ({
      predict: (x, t, signal) =>
        andThen(pull(model, { x, t, signal }), (pulled) => {
          const { at } = model.schedule, near = at(readable(model.schedule, t));
          return tilted(pulled, { scale, level: at(t), near });
        }),
      bound: true,
    }));
}

/** The time itself, or at alpha = 0 one next to it at which a gradient with respect to x_t says something of x0. */
const readable = (schedule: Schedule, t: number): number =>
  schedule.at(t).alpha > 0 ? t : timeNear(schedule, { alpha: 1, sigma: 300 });

/** A sample to ask about. */
interface Asked {
  readonly x: tf.Tensor;
  readonly t: number;
  readonly signal: AbortSignal | undefined;
}

/** The prediction, and the energy of x_t itself. */
const beside = (energy: Energy) => (model: Model, { x, t, signal }: Asked): Awaitable<Pull> =>
  predicted(model, { x, t, signal }, () => {
    const time = readable(model.schedule, t);
    return gradientOf((x) => energy(x, time), x);
  });

/** The prediction, and the energy of its x0. */
const through = (energy: Energy) => (model: Model, { x, t, signal }: Asked): Awaitable<Pull> => {
  const time = readable(model.schedule, t),
    pull = () => pulledThrough(model, { x, t: time, cost: energy });
  if (time === t) return pull();
  return predicted(model, { x, t, signal }, () => {
    const { prediction, ...rest } = pull();
    tf.dispose({ ...prediction });
    return rest;
  });
};

/** What the model says, and a cost and its gradient beside that. */
const predicted = (
  model: Model,
  { x, t, signal }: Asked,
  pull: () => Omit<Pull, "prediction">,
): Awaitable<Pull> =>
  andThen(
    model.predict(x, t, signal),
    (prediction) => rescued(() => ({ prediction, ...pull() }), () => tf.dispose({ ...prediction })),
  );

/** A prediction at a sample, and a cost there with its gradient; the holder disposes of all. */
export interface Pull {
  /** What the model said. */
  readonly prediction: Prediction;
  /** The cost of each sample, shape [N]. */
  readonly cost: tf.Tensor;
  /** ∇ of the cost with respect to x_t, shape of x_t. */
  readonly gradient: tf.Tensor;
}

/** A cost [N] of each sample and its gradient. */
function gradientOf(cost: (x: tf.Tensor) => tf.Tensor, x: tf.Tensor): Omit<Pull, "prediction"> {
  let costs: tf.Tensor | undefined;
  try {
    const gradient = tf.tidy(() =>
      tf.grad((x) => {
        costs = tf.keep(tf.clone(checkedCost(cost(x), x)));
        return tf.sum(costs);
      })(x)
    );
    return { cost: costs!, gradient };
  } catch (error) {
    costs?.dispose();
    releaseTape();
    throw error;
  }
}

function checkedCost(cost: tf.Tensor, { shape: [count] }: tf.Tensor): tf.Tensor {
  if (cost instanceof tf.Tensor && cost.rank === 1 && cost.shape[0] === count) return cost;
  const got = cost instanceof tf.Tensor ? `a tensor of shape [${cost.shape}]` : shown(cost);
  throw new RangeError(
    `Cannot guide: the energy must be one number for each sample, of shape [${count}], got ${got}`,
  );
}

/** What {@link pulledThrough} is about. */
export interface Through {
  /** x_t, shape [N, ...sample]. */
  readonly x: tf.Tensor;
  /** Time on the schedule. */
  readonly t: number;
  /** A cost of the x0 prediction, shape [N]. */
  readonly cost: Energy;
}

/**
 * A model's prediction, and the gradient of a cost of its x0 with respect to x_t, by one evaluation.
 *
 * @param model A model that answers at once, in operations that have a gradient.
 * @param through Where, and the cost.
 * @returns All of them, to be disposed of by the caller.
 * @throws {TypeError} If the model answers later.
 */
export function pulledThrough(model: Model, { x, t, cost }: Through): Pull {
  let prediction: Prediction | undefined;
  try {
    const pull = gradientOf((x) => {
      const said = atOnce(model.predict(x, t));
      prediction = mapped(said, (each) => tf.keep(tf.clone(each)));
      return cost(convert(said, "x0", x, model.schedule.at(t)), t);
    }, x);
    return { prediction: prediction!, ...pull };
  } catch (error) {
    tf.dispose({ ...prediction });
    throw error;
  }
}

function atOnce(prediction: Prediction | Promise<Prediction>): Prediction {
  if (!(prediction instanceof Promise)) return prediction;
  prediction.catch(() => undefined);
  throw new TypeError(
    "Cannot take a gradient through the model: it must answer at once, got a promise; " +
      "make the model without an engine of its own",
  );
}

/** How strongly, at which level, and the level at which the gradient was taken. */
interface Tilt {
  readonly scale: Scale;
  readonly level: Level;
  readonly near: Level;
}

/** The prediction whose score is less by scale times the gradient; all of the pull is disposed of. */
function tilted({ prediction, cost, gradient }: Pull, { scale, level, near }: Tilt): Prediction {
  return disposing([{ ...prediction }, cost, gradient] as never, () => {
    const less = (from: tf.Tensor, pull: tf.Tensor, by: number): tf.Tensor =>
      tf.tidy(() => tf.sub(from, tf.mul(tf.mul(pull, by), column(scale, from))));
    if (prediction.kind === "energy") {
      return {
        kind: prediction.kind,
        value: less(prediction.value, cost, -1),
        gradient: less(prediction.gradient, gradient, -1),
      };
    }
    return {
      kind: prediction.kind,
      value: less(prediction.value, gradient, slope(prediction.kind, level, near)),
    };
  }) as Prediction;
}

/** What a unit of score is in a kind; at alpha = 0, by the x0 that it is at the level near by. */
function slope(kind: Kind, level: Level, near: Level): number {
  if (level === near || level.alpha > 0) return coefficients("score", kind, level)[1];
  return coefficients("x0", kind, level)[1] * near.sigma ** 2 / near.alpha;
}

/**
 * Classifier guidance by a shift of the mean, for samplers that draw noise (Dhariwal, Nichol 2021, algorithm 1):
 *
 * ```text
 *   x_s ← x_s − scale·variance·∇E(x_t, t)      E = −ln p_t(y | x_t) for a classifier
 * ```
 *
 * The gradient is taken at x_t, as in the code released with it, where the derivation has the mean of x_s. As the step
 * shrinks it becomes the epsilon form, which at each step shifts x_s by beta·alpha_s/alpha_t in place of the variance.
 *
 * @param energy Of noisy samples; see {@link classifierEnergy}.
 * @param options The scale; the variance of the sampler's noise.
 * @returns The refinement. At scale 0 it changes nothing, bit for bit.
 * @throws {RangeError} If the scale is not finite.
 *
 * @example
 * ```ts
 * import { classifierEnergy, ddpm, linear, meanShifted } from "@tweedie/tweedie";
 * import * as tf from "@tensorflow/tfjs-core";
 * import assert from "node:assert/strict";
 *
 * const energy = classifierEnergy((x) => tf.concat([tf.neg(x), x], 1), [0, 1]);
 * assert.ok(Symbol.asyncIterator in meanShifted(energy, { scale: 2 })(ddpm(linear(), { steps: 10 })));
 * ```
 */
export function meanShifted(energy: Energy, options: MeanShiftOptions = {}): Refinement {
  checkOptions("guide", options, { scale: true, variance: true } satisfies Names<MeanShiftOptions>);
  const { scale = 1, variance = variances.small } = options;
  checkScale(scale);
  return <S extends State>(sampler: Sampler<S>): Sampler<S> =>
    isAll(scale, 0)
      ? sampler
      : refined<S>((transition): Transition<S> => (env) => (state) =>
        andThen(transition(env)(state), (next) =>
          movedAfter(env, { state, next }, () => {
            const { at } = env.model.schedule, by = variance(at(state.t), at(next.t));
            if (by === 0) return next.x;
            return shifted(next.x, gradientOf((x) => energy(x, state.t), state.x), { by, scale });
          }))
      )(sampler);
}

function shifted(
  x: tf.Tensor,
  { cost, gradient }: Omit<Pull, "prediction">,
  { by, scale }: { readonly by: number; readonly scale: Scale },
): tf.Tensor {
  return disposing(
    [cost, gradient],
    () => tf.tidy(() => tf.sub(x, tf.mul(tf.mul(gradient, by), column(scale, x)))),
  ) as tf.Tensor;
}

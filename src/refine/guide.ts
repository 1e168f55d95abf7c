/**
 * Guidance: refinements that change what the model says inside each step.
 *
 * A `Guide` is a function from a model to a model. `guided` pre-composes it on the environment of every transition, so that it
 * works with any sampler, stochastic or not, of any order. Where two are piped, the first is the nearest to the sampler
 * and has the last word: `pipe(sampler, thresholded(), guided(g))` thresholds what g has guided.
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
import { andThen, type Awaitable, disposing, releaseTape } from "../tensor/engine.ts";
import {
  coefficients,
  type Condition,
  convert,
  type Kind,
  type Model,
  type Prediction,
} from "../denoise/prediction.ts";
import { type ReverseVariance, variances } from "../denoise/posterior.ts";
import type { Level } from "../noise/schedule.ts";
import {
  refined,
  type Refinement,
  type Sampler,
  type State,
  type Transition,
} from "../sample/chain.ts";
import { movedAfter, rescued } from "./move.ts";

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
  const { interval, ...rest } = options;
  checkScale(options.scale);
  checkRescale(options.rescale ?? 0);
  if (interval === undefined) return mixing(condition, rest);
  return during(mixing(condition, rest), {
    ...interval,
    otherwise: mixing(condition, { scale: 1 }),
  });
}

function checkScale(scale: number): void {
  if (Number.isFinite(scale)) return;
  throw refusal("scale must be a finite number", scale);
}

function checkRescale(share: number): void {
  if (share >= 0 && share <= 1) return;
  throw refusal("rescale must be in [0, 1]", share);
}

const refusal = (wanted: string, got: unknown): RangeError =>
  new RangeError(`Cannot guide: ${wanted}, got ${got}`);

/** The same scale at every level. */
function mixing(condition: Condition, { scale, rescale = 0 }: ClassifierFreeOptions): Guide {
  const none = condition.map(() => null);
  if (scale === 1) return (model) => under(model, condition);
  if (scale === 0) return (model) => under(model, none);
  return (model) => {
    const both = givenOf(model)([...condition, ...none]);
    return ofBatch(condition, { schedule: model.schedule, predict: mixed(both, scale, rescale) });
  };
}

/** One evaluation of the doubled batch, its halves joined. */
function mixed(both: Model, scale: number, rescale: number): Model["predict"] {
  return (x, t, signal) => {
    const twice = tf.concat([x, x]);
    const prediction = disposing(twice, () => both.predict(twice, t, signal));
    return andThen(prediction, (prediction) => joined(prediction, scale, rescale));
  };
}

/** null + scale·(condition − null) for each tensor of a prediction of the doubled batch, which is disposed of. */
function joined(prediction: Prediction, scale: number, rescale: number): Prediction {
  const join = (tensor: tf.Tensor): tf.Tensor =>
    tf.tidy(() => {
      const [given, none] = tf.split(tensor, 2) as [tf.Tensor, tf.Tensor];
      const mix = tf.add(none, tf.mul(tf.sub(given, none), scale));
      return rescale === 0 ? mix : rescaled(mix, given, rescale);
    });
  return disposing({ ...prediction }, () => {
    if (prediction.kind !== "energy") return { ...prediction, value: join(prediction.value) };
    if (rescale !== 0) {
      throw new TypeError(
        "Cannot rescale guidance: the model must predict one tensor, got an energy",
      );
    }
    return { ...prediction, value: join(prediction.value), gradient: join(prediction.gradient) };
  }) as Prediction;
}

/** x·(phi·std(given)/std(x) + 1 − phi), with a standard deviation for each sample. */
function rescaled(x: tf.Tensor, given: tf.Tensor, phi: number): tf.Tensor {
  const deviation = (of: tf.Tensor): tf.Tensor =>
    tf.sqrt(tf.mean(tf.square(tf.sub(of, tf.mean(of, axes(of), true))), axes(of), true));
  const ratio = tf.div(deviation(given), tf.maximum(deviation(x), 1e-12));
  return tf.mul(x, tf.add(tf.mul(ratio, phi), 1 - phi));
}

const axes = ({ rank }: tf.Tensor): number[] => Array.from({ length: rank - 1 }, (_, i) => i + 1);

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
  const { t: times = everywhere, sigma = everywhere, otherwise = (model) => model } = options;
  checkBounds("t", times);
  checkBounds("sigma", sigma);
  const inside = (t: number, { alpha, sigma: noise }: Level): boolean =>
    t >= times[0] && t <= times[1] && noise > sigma[0] * alpha && noise <= sigma[1] * alpha;
  return (model) => {
    const { schedule } = model, within = guide(model), without = otherwise(model);
    return {
      schedule,
      predict: (x, t, signal) =>
        (inside(t, schedule.at(t)) ? within : without).predict(x, t, signal),
    };
  };
}

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
  return (model) => ({
    schedule: model.schedule,
    predict: (x, t, signal) =>
      andThen(model.predict(x, t, signal), (base) => {
        const shared = sharing(model, { x, t, prediction: base });
        return disposing({ ...base }, () =>
          collected(guides, shared, base, (guide) => guide.predict(x, t, signal)));
      }),
  });
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
  /** Weight of the gradient: 0 leaves it out, 1 is Bayes' rule. Finite, no unit. Default: 1. */
  readonly scale?: number;
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
  const { scale = 1 } = options;
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
  const { scale = 1, of = "xt" } = options;
  checkScale(scale);
  if (of !== "xt" && of !== "x0") throw refusal('of must be "xt" or "x0"', JSON.stringify(of));
  if (scale === 0) return (model) => model;
  const guide = (model: Model): Model => ({
    schedule: model.schedule,
    predict: (x, t, signal) =>
      andThen(
        of === "x0"
          ? pulledThrough(model, { x, t, cost: energy })
          : beside(model, energy)(x, t, signal),
        (pull) => tilted(pull, scale, model.schedule.at(t)),
      ),
    ...(model.given && { given: (condition) => guide(model.given!(condition)) }),
  });
  return guide;
}

/** The prediction, and the energy of x_t itself. */
const beside =
  (model: Model, energy: Energy) =>
  (x: tf.Tensor, t: number, signal?: AbortSignal): Awaitable<Pull> =>
    andThen(model.predict(x, t, signal), (prediction) =>
      rescued(
        () => ({ prediction, ...gradientOf((x) => energy(x, t), x) }),
        () => tf.dispose({ ...prediction }),
      ));

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
        costs = tf.keep(tf.clone(cost(x)));
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

/** The prediction whose score is less by scale times the gradient; all of the pull is disposed of. */
function tilted({ prediction, cost, gradient }: Pull, scale: number, level: Level): Prediction {
  return disposing([{ ...prediction }, cost, gradient] as never, () => {
    const less = (from: tf.Tensor, pull: tf.Tensor, by: number): tf.Tensor =>
      tf.tidy(() => tf.sub(from, tf.mul(pull, by)));
    if (prediction.kind === "energy") {
      return {
        kind: prediction.kind,
        value: less(prediction.value, cost, -scale),
        gradient: less(prediction.gradient, gradient, -scale),
      };
    }
    const [, slope] = coefficients("score", prediction.kind, level);
    return { kind: prediction.kind, value: less(prediction.value, gradient, scale * slope) };
  }) as Prediction;
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
  const { scale = 1, variance = variances.small } = options;
  checkScale(scale);
  return <S extends State>(sampler: Sampler<S>): Sampler<S> =>
    scale === 0
      ? sampler
      : refined<S>((transition): Transition<S> => (env) => (state) =>
        andThen(transition(env)(state), (next) =>
          movedAfter(state, next, () => {
            const { at } = env.model.schedule, by = scale * variance(at(state.t), at(next.t));
            return by === 0
              ? next.x
              : shifted(next.x, gradientOf((x) => energy(x, state.t), state.x), by);
          }))
      )(sampler);
}

function shifted(
  x: tf.Tensor,
  { cost, gradient }: Omit<Pull, "prediction">,
  by: number,
): tf.Tensor {
  return disposing(
    [cost, gradient],
    () => tf.tidy(() => tf.sub(x, tf.mul(gradient, by))),
  ) as tf.Tensor;
}

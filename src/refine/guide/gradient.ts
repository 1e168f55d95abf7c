/**
 * Guidance by a gradient, which adds it to the score, by Bayes' rule for p_t(x | y), and in the same breath to every other
 * reading of the prediction:
 *
 * ```text
 *   s(x, y) = s(x) + scale·∇ ln p_t(y | x)        eps ← eps − scale·sigma·∇ ln p_t(y | x)
 * ```
 *
 * p_t(y | x) is that of noisy x: a classifier of clean data says something else. The gradient is of a scalar, with respect
 * to x, and the probability-flow ODE has half of g² of it; lecture notes are found that drop one or the other.
 *
 * Source: P. Dhariwal, A. Nichol, "Diffusion models beat GANs on image synthesis" (NeurIPS 2021), algorithms 1 and 2.
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
import type { Energy, NoisyClassifier } from "../../denoise/energy.ts";
import { type ReverseVariance, variances } from "../../denoise/posterior.ts";
import {
  coefficients,
  type Condition,
  convert,
  decorated,
  type Kind,
  type Model,
  type Prediction,
} from "../../denoise/prediction.ts";
import { type Level, type Schedule, timeNear } from "../../noise/schedule/schedule.ts";
import type { Refinement } from "../../sample/path.ts";
import { logSoftmax } from "../../tensor/autodiff.ts";
import { shown } from "../../tensor/check/check.ts";
import { decoded, oneOf, type Rules } from "../../tensor/check/decode.ts";
import { atOnce, own, owned, scope } from "../../tensor/scope.ts";
import { moved } from "../moved.ts";
import { mapped } from "../../denoise/decorate.ts";
import type { Guide } from "./combine.ts";
import { checkCondition } from "./free.ts";
import { column, isAll, refusal, type Scale, scaled } from "./scale.ts";
import type { Tensor } from "../../tensor/tensor.ts";

/**
 * Options of guidance by a gradient.
 *
 * @category Refinements
 */
export interface GradientOptions {
  /** Weight of the gradient: 0 leaves it out, 1 is Bayes' rule. Default: 1. */
  readonly scale?: Scale;
}

/**
 * Options of {@link meanShifted}.
 *
 * @category Refinements
 */
export interface MeanShiftOptions extends GradientOptions {
  /** The variance of the noise that the sampler's step draws. Default: `variances.small`, that of {@link ddpm}. */
  readonly variance?: ReverseVariance;
}

const shiftRules: Rules<MeanShiftOptions> = { scale: scaled(), variance: true };

/**
 * Classifier guidance of any sampler, ODE solvers included: the epsilon form (Dhariwal, Nichol 2021, algorithm 2).
 *
 * ```text
 *   eps ← eps − scale·sigma·∇ ln p_t(y | x_t)
 * ```
 *
 * At alpha = 0 it is done as {@link byEnergy} says.
 *
 * @category Refinements
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
 * import { pipe } from "@tweedie/tweedie";
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
  checkCondition(labels);
  const rules: Rules<GradientOptions> = { scale: scaled(labels.length) };
  const { scale = 1 } = decoded("guide", options, rules);
  return byEnergy(classifierEnergy(classifier, labels), { scale });
}

/**
 * −ln p_t(y | x_t) of each sample: a classifier as an energy.
 *
 * @category Refinements
 * @param classifier Logits of noisy samples.
 * @param labels A class for each sample, or null for an energy of 0.
 * @returns The energy, in nats.
 */
export function classifierEnergy(classifier: NoisyClassifier, labels: Condition): Energy {
  return (x, t) =>
    scope(() => {
      checkBatch(labels, x);
      const logits = classifier(x, t), classes = logits.shape[1]!;
      checkLabels(labels, classes);
      const chosen = labels.flatMap((label) =>
        Array.from({ length: classes }, (_, k) => k === label ? 1 : 0)
      );
      const picked = tf.mul(logSoftmax(logits), tf.tensor(chosen, [labels.length, classes]));
      return tf.neg(tf.sum(picked, 1));
    });
}

function checkBatch(labels: Condition, x: Tensor): void {
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
 * Options of {@link byEnergy}.
 *
 * @category Refinements
 */
export interface EnergyOptions extends GradientOptions {
  /**
   * What the energy is of: `"xt"`, the noisy sample, or `"x0"`, its prediction, through which the gradient goes, so that
   * the model must answer at once and in operations that have a gradient. Default: `"xt"`.
   */
  readonly of?: "xt" | "x0";
}

const energyRules: Rules<EnergyOptions> = { scale: scaled(), of: oneOf("xt", "x0") };

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
 * @category Refinements
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
 * import { pipe } from "@tweedie/tweedie";
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
  const { scale = 1, of = "xt" } = decoded("guide", options, energyRules);
  if (typeof energy !== "function") throw refusal("energy must be a function of x_t and t", energy);
  if (isAll(scale, 0)) return (model) => model;
  return (model) =>
    decorated(model, (model) => ({
      predict: (x, t, signal) =>
        scope(function* () {
          const { schedule } = model, time = readable(schedule, t);
          const levels = { level: schedule.at(t), near: schedule.at(time) };
          if (of === "xt") {
            const said = yield* owned(model.predict(x, t, signal));
            return tilted(said, costAt((x) => energy(x, time), x), { scale, ...levels });
          }
          const { prediction, ...cost } = gradientThrough(model, { x, t: time, cost: energy });
          const said = time === t ? prediction : yield* owned(model.predict(x, t, signal));
          return tilted(said, cost, { scale, ...levels });
        }),
      bound: true,
    }));
}

/** The time itself, or at alpha = 0 one next to it at which a gradient with respect to x_t says something of x0. */
const readable = (schedule: Schedule, t: number): number =>
  schedule.at(t).alpha > 0 ? t : timeNear(schedule, { alpha: 1, sigma: 300 });

/** A cost of each sample, and its gradient. */
type CostGradient = Omit<GradientThrough, "prediction">;

/** A cost [N] of each sample and its gradient. */
function costAt(cost: (x: Tensor) => Tensor, x: Tensor): CostGradient {
  const costs = (x: Tensor): Tensor => tf.clone(checkedCost(cost(x), x));
  const { value, grad } = tf.valueAndGrad(costs)(x, tf.ones([x.shape[0]!]));
  return { cost: value, gradient: grad };
}

function checkedCost(cost: Tensor, { shape: [count] }: Tensor): Tensor {
  if (cost instanceof tf.Tensor && cost.rank === 1 && cost.shape[0] === count) return cost;
  const got = cost instanceof tf.Tensor ? `a tensor of shape [${cost.shape}]` : shown(cost);
  throw new RangeError(
    `Cannot guide: the energy must be one number for each sample, of shape [${count}], got ${got}`,
  );
}

/**
 * What {@link gradientThrough} is about.
 *
 * @category Refinements
 */
export interface CostOfX0 {
  /** x_t, shape [N, ...sample]. */
  readonly x: Tensor;
  /** Time on the schedule. */
  readonly t: number;
  /** A cost of the x0 prediction, shape [N]. */
  readonly cost: Energy;
}

/**
 * The prediction at a sample, and a cost of its x0 with the gradient.
 *
 * @category Refinements
 */
export interface GradientThrough {
  /** What the model said. */
  readonly prediction: Prediction;
  /** The cost of each sample, shape [N]. */
  readonly cost: Tensor;
  /** ∇ of the cost with respect to x_t, shape of x_t. */
  readonly gradient: Tensor;
}

/**
 * A model's prediction, and the gradient of a cost of its x0 with respect to x_t, by one evaluation.
 *
 * @category Refinements
 * @param model A model that answers at once, in operations that have a gradient.
 * @param about Where, and the cost.
 * @returns All of them: the scope's, or the caller's where there is none.
 * @throws {TypeError} If the model answers later.
 */
export function gradientThrough(model: Model, { x, t, cost }: CostOfX0): GradientThrough {
  return scope(() => {
    let prediction: Prediction | undefined;
    const { at } = model.schedule;
    const gradient = costAt((x) => {
      const said = atOnce(model.predict(x, t), through);
      // When a gradient is taken tfjs frees what was made for it, unless it is kept; the scope frees that as well.
      prediction = mapped([said], (each) => own(tf.keep(each)));
      return cost(convert(prediction, "x0", x, at(t)), t);
    }, x);
    return { prediction: prediction!, ...gradient };
  });
}

const through = {
  action: "take a gradient through the model",
  who: "it",
  advice: "make the model without an engine of its own",
};

/** How strongly, at which level, and the level at which the gradient was taken. */
interface Tilt {
  readonly scale: Scale;
  readonly level: Level;
  readonly near: Level;
}

/** The prediction whose score is less by scale times the gradient. */
function tilted(
  said: Prediction,
  { cost, gradient }: CostGradient,
  { scale, level, near }: Tilt,
): Prediction {
  const less = (from: Tensor, pull: Tensor, by: number): Tensor =>
    tf.sub(from, tf.mul(tf.mul(pull, by), column(scale, from)));
  if (said.kind !== "energy") {
    return { kind: said.kind, value: less(said.value, gradient, slope(said.kind, level, near)) };
  }
  return {
    kind: said.kind,
    value: less(said.value, cost, -1),
    gradient: less(said.gradient, gradient, -1),
  };
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
 * @category Refinements
 * @param energy Of noisy samples; see {@link classifierEnergy}.
 * @param options The scale; the variance of the sampler's noise.
 * @returns The refinement. At scale 0 it changes nothing, bit for bit.
 * @throws {RangeError} If the scale is not finite.
 *
 * @example
 * ```ts
 * import { classifierEnergy } from "@tweedie/tweedie/refine";
 * import { ddpm, linear, meanShifted } from "@tweedie/tweedie";
 * import * as tf from "@tensorflow/tfjs-core";
 * import assert from "node:assert/strict";
 *
 * const energy = classifierEnergy((x) => tf.concat([tf.neg(x), x], 1), [0, 1]);
 * assert.ok(Symbol.asyncIterator in meanShifted(energy, { scale: 2 })(ddpm(linear(), { steps: 10 })));
 * ```
 */
export function meanShifted(energy: Energy, options: MeanShiftOptions = {}): Refinement {
  const { scale = 1, variance = variances.small } = decoded("guide", options, shiftRules);
  if (isAll(scale, 0)) return (sampler) => sampler;
  return moved((next, env, { x, t }) => {
    const { at } = env.model.schedule, by = variance(at(t), at(next.t));
    if (by === 0) return next.x;
    const { gradient } = costAt((x) => energy(x, t), x);
    return tf.sub(next.x, tf.mul(tf.mul(gradient, by), column(scale, next.x)));
  });
}

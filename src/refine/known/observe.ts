/**
 * Samples that agree with what is known of them: inpainting, and any linear measurement y = A·x_0 + noise.
 *
 * What is known can be put into the state, at the level of its noise, after each step (replacement), or pull the
 * prediction towards itself through its gradient (guidance by p_t(y | x_t)):
 *
 * ```text
 *   replacement   x_s ← x_s + A⁺(alpha_s·y + sigma_s·A·z − A·x_s)
 *   DPS           x_s ← x_s − scale·∇‖y − A·x0hat(x_t)‖
 *   PiGDM         score ← score + scale·∇x0hatᵀ·Aᵀ(r²·A·Aᵀ + std²·I)⁻¹(y − A·x0hat)      r² = Var[x_0 | x_t]
 * ```
 *
 * PiGDM is exact for Gaussian data N(m, v·I), where r² = v·sigma²/(alpha²·v + sigma²). Replacement forgets what the known part
 * says about the rest, but through the next evaluation; RePaint goes back up and repeats steps, so that both come to agree.
 *
 * Sources: Y. Song et al., "Score-based generative modeling through SDEs" (ICLR 2021), appendix I.2; H. Chung et al.,
 * "Diffusion posterior sampling for general noisy inverse problems" (ICLR 2023), algorithm 1; J. Song et al.,
 * "Pseudoinverse-guided diffusion models for inverse problems" (ICLR 2023), equation 7.
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
import { sampleAxes, type Tensor } from "../../tensor/tensor.ts";
import "../../tensor/autodiff.ts";
import { type Check, noise, onModel, type Refinement } from "../../sample/path.ts";
import { checkOptions, mismatch, shown } from "../../tensor/check/check.ts";
import { above, atLeast, decoded, is, type Rules, wholeNumber } from "../../tensor/check/decode.ts";
import { awaited, scope } from "../../tensor/scope.ts";
import { sharing } from "../../denoise/decorate.ts";
import { byEnergy, gradientThrough } from "../guide/gradient.ts";
import { around, checkUnweighed, moved } from "../moved.ts";
import { checkFits, checkMask, checkNumbers, checkTensor, refusal } from "./check.ts";
import { type Operator, shownBy, solved } from "./operator.ts";

/**
 * Options of {@link inpainted}.
 *
 * @category Refinements
 */
export interface InpaintOptions {
  /** What its noise is drawn for. Default: `"known"`. */
  readonly purpose?: string;
}

const inpaintRules: Rules<InpaintOptions> = { purpose: true };

/**
 * Inpainting by replacement: after each step the known pixels are those of the data, with fresh noise of the level reached
 * (Song et al. 2021, appendix I.2). Where sigma is 0 they are the known ones bit for bit.
 *
 * @category Refinements
 * @param mask 1 where a pixel is known and 0 where not, of a shape that broadcasts to that of the samples. The caller's.
 * @param known The data, in the same way; what is under a 0 has no part. The caller's.
 * @param options What the noise is drawn for.
 * @returns The refinement; it evaluates nothing.
 * @throws {TypeError} If mask or known is no tensor.
 * @throws {RangeError} While run: if the mask is not of zeros and ones, a known value is not finite, or a shape does not fit.
 *
 * @example Known pixels come out as they went in
 * ```ts
 * import { ddpm, gaussian, inpainted, key, last, linear, prior, run } from "@tweedie/tweedie";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import * as tf from "@tensorflow/tfjs-core";
 * import { pipe } from "@tweedie/tweedie";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const schedule = linear(), mask = tf.tensor([[1, 0]]), known = tf.tensor([[0.1, 0]]);
 * const sampler = inpainted(mask, known)(ddpm(schedule, { steps: 10 }));
 * const { x } = await last(pipe(sampler, run(prior([4, 2]), { model: gaussian(schedule), key: key(0) })));
 * assert.ok(x.dataSync().every((value, i) => i % 2 === 1 || value === Math.fround(0.1)));
 * ```
 */
export function inpainted(
  mask: Tensor,
  known: Tensor,
  options: InpaintOptions = {},
): Refinement {
  const { purpose = "known" } = decoded("use what is known", options, inpaintRules);
  checkTensor("mask", mask);
  checkTensor("known", known);
  const check: Check = (_, { x }) =>
    scope(function* () {
      yield* checkMask(mask, x.shape);
      checkTensor("known", known);
      checkFits("known", known, x.shape);
      yield* checkNumbers("known", shownBy(mask, known, tf.scalar(0)));
    });
  return moved((next, env) => {
    const { alpha, sigma } = env.model.schedule.at(next.t), z = noise(env, next, purpose);
    const exact = tf.mul(known, alpha);
    return shownBy(mask, sigma === 0 ? exact : tf.add(exact, tf.mul(z, sigma)), next.x);
  }, check);
}

/**
 * How {@link observed} brings a measurement in.
 *
 * @category Refinements
 */
export type ObservedMethod = "replacement" | "dps" | "pigdm";

/**
 * Options of {@link observed}.
 *
 * @category Refinements
 */
export interface ObservedOptions {
  /** How; see the table at the head of this file. Default: `"pigdm"`. */
  readonly method?: ObservedMethod;
  /** Weight of the gradient, at least 0: DPS's step over the norm's gradient, PiGDM's share. Default: 1. */
  readonly scale?: number;
  /** Standard deviation of y's noise, at least 0, in y's unit; for PiGDM. Default: 0. */
  readonly std?: number;
  /** v, the variance of the data in each dimension, above 0; for PiGDM's r². Default: 1. */
  readonly variance?: number;
  /** Steps of conjugate gradients for operators without `gram`. Default: 20. */
  readonly iterations?: number;
  /** What replacement's noise is drawn for. Default: `"known"`. */
  readonly purpose?: string;
}

/**
 * Samples under a linear measurement y = A·x_0 + noise: inpainting by {@link mask}, super-resolution by {@link downsample},
 * deblurring by {@link blur}, colouring in by {@link grey}, or any operator of yours.
 *
 * The gradients of `"dps"` and `"pigdm"` go through the model, which must answer at once and in operations that have a
 * gradient. DPS shifts the state by the gradient of the norm, as in the code released with it; its paper divides the
 * gradient of the squared norm by the norm, which is twice that. It evaluates the model once a step, as long as the
 * sampler asks for no more than the prediction at x_t.
 *
 * @category Refinements
 * @param operator A.
 * @param y The measurement, of the shape of A·x or one that broadcasts to it. The caller's.
 * @param options Method, weights, noise.
 * @returns The refinement.
 * @throws {RangeError} If an option is outside its domain; while run, if y does not fit A·x, or is not finite.
 * @throws {TypeError} If y is no tensor, or an option has no part in the method; while run, if a gradient must go through a
 * model that answers later.
 *
 * @example PiGDM on Gaussian data is Bayes' rule: half way to what was seen
 * ```ts
 * import { ddim, gaussian, key, last, linear, mask, observed, prior, run } from "@tweedie/tweedie";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import * as tf from "@tensorflow/tfjs-core";
 * import { pipe } from "@tweedie/tweedie";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const schedule = linear(), operator = mask(tf.tensor([[1, 0]]));
 * const sampler = observed(operator, tf.tensor([[2, 0]]), { std: 1 })(ddim(schedule, { steps: 50 }));
 * const { x } = await last(pipe(sampler, run(prior([1000, 2]), { model: gaussian(schedule), key: key(0) })));
 * const [seen] = tf.mean(x, 0).dataSync();
 * assert.ok(Math.abs(seen! - 1) < 0.1);
 * ```
 */
export function observed(
  operator: Operator,
  y: Tensor,
  options: ObservedOptions = {},
): Refinement {
  const { method = "pigdm", scale = 1, std = 0, variance = 1, iterations = 20 } = options;
  if (!Object.hasOwn(methods, method)) {
    throw refusal('method must be "replacement", "dps" or "pigdm"', method);
  }
  checkOptions(`use what is known by method "${method}"`, options, methods[method]);
  decoded<object, ObservedOptions>("use what is known", options, methods[method]);
  if (typeof operator?.apply !== "function" || typeof operator.adjoint !== "function") {
    const wanted = "operator must have apply and adjoint, such as mask(kept)";
    throw mismatch("use what is known", wanted, shown(operator));
  }
  checkTensor("y", y);
  const { gram, within } = operator, check = measured(operator, y);
  const seen = { operator, y: () => within ? within(y) : y };
  if (method === "replacement") {
    return replaced(seen, { iterations, purpose: options.purpose ?? "known" }, check);
  }
  if (method === "pigdm") return pseudoinverse(seen, { std, variance, iterations, scale }, check);
  const inRange = gram === undefined || within
    ? seen
    : { operator, y: () => tf.div(operator.apply(operator.adjoint(y)), gram) };
  return posteriorSampled(inRange, scale, check);
}

const least = is("a number of at least 0", atLeast(0));

/** The options that have a part in each method. */
const methods: { readonly [M in ObservedMethod]: Partial<Rules<ObservedOptions>> } = {
  replacement: { method: true, iterations: wholeNumber(1), purpose: true },
  dps: { method: true, scale: least },
  pigdm: {
    method: true,
    scale: least,
    std: least,
    variance: is("a number above 0", above(0)),
    iterations: wholeNumber(1),
  },
};

/** What has to hold of a measurement. */
const measured = (operator: Operator, y: Tensor): Check => (env, start) =>
  scope(function* () {
    yield* awaited(operator.check?.(env, start));
    checkTensor("y", y);
    const image = operator.apply(start.x), back = operator.adjoint(image);
    if (!tf.util.arraysEqual(back.shape, start.x.shape)) {
      throw refusal(
        `operator must be of samples of shape [${start.x.shape.slice(1)}]`,
        `one whose adjoint gives [${back.shape.slice(1)}]`,
      );
    }
    checkFits("y", y, image.shape);
    yield* checkNumbers("y", operator.within ? operator.within(y) : y);
  });

/** An operator, and what was measured by it as far as that is of the operator's range. */
interface Measurement {
  readonly operator: Operator;
  /** Called within a scope. */
  readonly y: () => Tensor;
}

/** x ← x + A⁺(alpha·y + sigma·A·z − A·x) after each step. */
const replaced = (
  { operator, y }: Measurement,
  { iterations, purpose }: Required<Pick<ObservedOptions, "iterations" | "purpose">>,
  check: Check,
): Refinement =>
  moved((next, env) => {
    const { alpha, sigma } = env.model.schedule.at(next.t), z = noise(env, next, purpose);
    const gap = tf.sub(tf.mul(y(), alpha), operator.apply(tf.sub(next.x, tf.mul(z, sigma))));
    const u = solved({ operator, r2: 1, noise2: 0, iterations }, gap);
    return tf.add(next.x, operator.adjoint(u));
  }, check);

/** DPS: x_s ← x_s − scale·∇‖y − A·x0hat(x_t)‖ after each step, with the evaluation that the step asks for as well. */
function posteriorSampled({ operator, y }: Measurement, scale: number, check: Check): Refinement {
  const cost = (x0: Tensor): Tensor => {
    const gap = tf.sub(y(), operator.apply(x0));
    return tf.sqrt(tf.add(tf.sum(tf.square(gap), sampleAxes(gap)), 1e-12));
  };
  if (scale === 0) return (sampler) => sampler;
  return around(function* (state, env, step) {
    const { x, t } = state, { prediction, gradient } = gradientThrough(env.model, { x, t, cost });
    const next = yield* step(state, { ...env, model: sharing(env.model, { x, t, prediction }) });
    checkUnweighed(env, next);
    return { ...next, x: tf.sub(next.x, tf.mul(gradient, scale)) };
  }, check);
}

/** PiGDM: score ← score + scale·∇x0hatᵀ·Aᵀ·u, u = (r²·A·Aᵀ + std²·I)⁻¹·gap, minus the gradient of the energy gapᵀ·u/2. */
const pseudoinverse = (
  { operator, y }: Measurement,
  { std, variance: v, iterations, scale }: Required<Omit<ObservedOptions, "method" | "purpose">>,
  check: Check,
): Refinement =>
  onModel((model) => {
    const energy = (x0: Tensor, t: number): Tensor => {
      const { alpha, sigma } = model.schedule.at(t);
      const r2 = v * sigma ** 2 / (alpha ** 2 * v + sigma ** 2);
      const gap = tf.sub(y(), operator.apply(x0));
      const u = solved({ operator, r2, noise2: std ** 2, iterations }, gap);
      return tf.mul(tf.sum(tf.mul(gap, u), sampleAxes(gap)), 0.5);
    };
    return byEnergy(energy, { scale, of: "x0" })(model);
  }, check);

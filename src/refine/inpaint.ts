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
 * An operator is data: A, its adjoint, and what makes the inverse of r²·A·Aᵀ + std²·I cheap. Where A·Aᵀ is a multiple of the
 * identity on A's range, that is a division, and A⁺ = Aᵀ/gram; elsewhere both are by conjugate gradients.
 *
 * Sources: Y. Song et al., "Score-based generative modeling through SDEs" (ICLR 2021), appendix I.2; A. Lugmayr et al.,
 * "RePaint" (CVPR 2022), algorithm 1; H. Chung et al., "Diffusion posterior sampling for general noisy inverse problems"
 * (ICLR 2023), algorithm 1; J. Song et al., "Pseudoinverse-guided diffusion models for inverse problems" (ICLR 2023),
 * equation 7.
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
import "../tensor/autodiff.ts";
import type { Level } from "../noise/schedule.ts";
import { diffuse } from "../noise/forward.ts";
import {
  type Check,
  type Env,
  noise,
  onModel,
  rearranged,
  refined,
  type Refinement,
  type Sampler,
  type State,
  type Transition,
} from "../sample/chain.ts";
import { checkOptions, type Known, refusal as refused, shown } from "../tensor/check.ts";
import { andThen, disposing } from "../tensor/engine.ts";
import { byEnergy, type Guide, pulledThrough, sharing } from "./guide.ts";
import { checkUnweighed, movedAfter } from "./move.ts";

/** A linear map A of samples, as data. */
export interface Operator {
  /** A·x: from [N, ...sample] to [N, ...measured]; new tensor, in operations that have a gradient. */
  readonly apply: (x: tf.Tensor) => tf.Tensor;
  /** Aᵀ·y: from [N, ...measured] to [N, ...sample], such that ⟨A·x, y⟩ = ⟨x, Aᵀ·y⟩. */
  readonly adjoint: (y: tf.Tensor) => tf.Tensor;
  /** g where A·Aᵀ·y = g·y for all y = A·x; absent where there is no such number. */
  readonly gram?: number;
  /**
   * The part of y that A·x can have, where that is not all of it: what a mask hides has no part in a measurement. Default:
   * A·Aᵀ·y/g where there is a g, otherwise all of it.
   */
  readonly within?: (y: tf.Tensor) => tf.Tensor;
  /** What has to hold of the operator before the first step. Default: nothing. */
  readonly check?: Check;
}

/**
 * The operator that keeps what a mask keeps: A·x = mask·x, of the shape of x.
 *
 * @param kept 1 where x is kept and 0 elsewhere, of a shape that broadcasts to that of x without growing it. It stays the
 * caller's, and is to outlive the operator.
 * @returns The operator, with gram 1. A run with it throws a RangeError on a mask of other numbers, or of another shape.
 * @throws {TypeError} If the mask is no tensor.
 *
 * @example
 * ```ts
 * import { mask } from "@tweedie/tweedie";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import * as tf from "@tensorflow/tfjs-core";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const left = mask(tf.tensor([[1, 0]]));
 * assert.deepEqual(left.apply(tf.tensor([[3, 4]])).arraySync(), [[3, 0]]);
 * ```
 */
export function mask(kept: tf.Tensor): Operator {
  checkTensor("mask", kept);
  const apply = (x: tf.Tensor): tf.Tensor => tf.mul(x, kept);
  return {
    apply,
    adjoint: apply,
    gram: 1,
    within: (y) => shownBy(kept, y, tf.zerosLike(y)),
    check: (_, { x }) => checkMask(kept, x.shape),
  };
}

/** y where a mask is 1, and something else where it is 0: also in place of NaN, which 0 times it would keep. */
function shownBy(mask: tf.Tensor, y: tf.Tensor, otherwise: tf.Tensor): tf.Tensor {
  const shape = tf.broadcast_util.assertAndGetBroadcastShape(
    tf.broadcast_util.assertAndGetBroadcastShape(mask.shape, y.shape),
    otherwise.shape,
  );
  const wide = (tensor: tf.Tensor): tf.Tensor => tf.broadcastTo(tensor, shape);
  return tf.where(wide(tf.greater(mask, 0.5)), wide(y), wide(otherwise));
}

function checkTensor(name: string, value: unknown): void {
  if (value instanceof tf.Tensor && !value.isDisposed) return;
  const got = value instanceof tf.Tensor ? "one that is disposed of" : shown(value);
  throw new TypeError(`Cannot use what is known: ${name} must be a tensor, got ${got}`);
}

/** Refuses what does not broadcast to a shape, or would grow it. */
function checkFits(name: string, { shape }: tf.Tensor, wanted: readonly number[]): void {
  const own = shape.toReversed(), all = wanted.toReversed();
  if (own.length <= all.length && own.every((size, i) => size === 1 || size === all[i])) return;
  throw refusal(`${name} must be of a shape that fits [${wanted}]`, `[${shape}]`);
}

/** Refuses a mask that is not of zeros and ones: cut at a half, other numbers would be taken for one of them. */
async function checkMask(mask: tf.Tensor, shape: readonly number[]): Promise<void> {
  checkTensor("mask", mask);
  checkFits("mask", mask, shape);
  const stranger = (await mask.data()).find((value) => value !== 0 && value !== 1);
  if (stranger !== undefined) throw refusal("mask must be of zeros and ones", stranger);
}

/** Refuses values that are not finite. */
async function checkNumbers(name: string, values: tf.Tensor): Promise<void> {
  const stranger = (await values.data().finally(() => values.dispose())).find((value) =>
    !Number.isFinite(value)
  );
  if (stranger !== undefined) throw refusal(`${name} must be finite`, stranger);
}

/**
 * The operator that averages blocks of pixels: [N, H, W, C] to [N, H/factor, W/factor, C].
 *
 * @param factor Height and width of a block in pixels; divides H and W.
 * @returns The operator, with gram 1/factor². It throws a RangeError on images that it does not divide.
 * @throws {RangeError} If the factor is not a whole number of at least 1.
 *
 * @example
 * ```ts
 * import { downsample } from "@tweedie/tweedie";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import * as tf from "@tensorflow/tfjs-core";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const small = downsample(2).apply(tf.tensor([1, 2, 3, 6], [1, 2, 2, 1]));
 * assert.deepEqual([...small.dataSync()], [3]);
 * ```
 */
export function downsample(factor: number): Operator {
  if (!Number.isSafeInteger(factor) || factor < 1) {
    throw refusal("factor must be a whole number of at least 1", factor);
  }
  const blocks = (x: tf.Tensor): tf.Tensor => {
    const [n, h, w, c] = imageShape(x);
    if (h % factor || w % factor) {
      throw refusal(`x must be of sides divisible by ${factor}`, `[${x.shape}]`);
    }
    return tf.reshape(x, [n * h / factor, factor, w / factor, factor * c]);
  };
  return {
    apply: (x) =>
      tf.tidy(() => {
        const [n, h, w, c] = imageShape(x), rows = tf.sum(blocks(x), 1);
        const cells = tf.sum(tf.reshape(rows, [-1, factor, c]), 1);
        return tf.div(tf.reshape(cells, [n, h / factor, w / factor, c]), factor ** 2);
      }),
    adjoint: (y) => tf.tidy(() => tf.div(repeated(repeated(y, 1, factor), 2, factor), factor ** 2)),
    gram: 1 / factor ** 2,
  };
}

/** Each entry of an axis, `times` times over. */
function repeated(x: tf.Tensor, axis: number, times: number): tf.Tensor {
  const shape = x.shape, wide = tf.expandDims(x, axis + 1);
  const tiled = tf.tile(wide, wide.shape.map((_, i) => i === axis + 1 ? times : 1));
  return tf.reshape(tiled, shape.map((size, i) => i === axis ? size * times : size));
}

/**
 * The operator that makes pictures grey: [N, ..., C] to [N, ..., 1]. To observe it is to colour them in.
 *
 * @param weights Of each channel. Default: equal parts of red, green and blue, 1/3.
 * @returns The operator, with gram Σ weights².
 * @throws {RangeError} If there are no weights, or one is not finite.
 *
 * @example
 * ```ts
 * import { grey } from "@tweedie/tweedie";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import * as tf from "@tensorflow/tfjs-core";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const luma = grey([0.25, 0.5, 0.25]).apply(tf.tensor([1, 2, 3], [1, 1, 1, 3]));
 * assert.deepEqual([...luma.dataSync()], [2]);
 * ```
 */
export function grey(weights: readonly number[] = [1 / 3, 1 / 3, 1 / 3]): Operator {
  if (weights.length === 0 || !weights.every(Number.isFinite)) {
    throw refusal("weights must be finite, one for each channel", `[${weights}]`);
  }
  return {
    apply: (x) => tf.tidy(() => tf.sum(tf.mul(x, tf.tensor1d([...weights])), -1, true)),
    adjoint: (y) => tf.tidy(() => tf.mul(y, tf.tensor1d([...weights]))),
    gram: weights.reduce((sum, w) => sum + w * w, 0),
  };
}

/**
 * The operator that blurs images [N, H, W, C] by a kernel, along rows and columns in turn, with nothing beyond the border.
 *
 * @param kernel An odd number of weights.
 * @returns The operator; its inverse is by conjugate gradients.
 * @throws {RangeError} If the kernel has an even number of weights, or one is not finite.
 *
 * @example
 * ```ts
 * import { blur } from "@tweedie/tweedie";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import * as tf from "@tensorflow/tfjs-core";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const soft = blur([0.25, 0.5, 0.25]).apply(tf.tensor([0, 4, 0], [1, 1, 3, 1]));
 * assert.deepEqual([...soft.dataSync()], [0.5, 1, 0.5]);
 * ```
 */
export function blur(kernel: readonly number[]): Operator {
  if (kernel.length % 2 !== 1 || !kernel.every(Number.isFinite)) {
    throw refusal("kernel must be an odd number of finite weights", `[${kernel}]`);
  }
  const by = (weights: readonly number[]) => (x: tf.Tensor): tf.Tensor =>
    tf.tidy(() => alongAxis(alongAxis(x, 1, weights), 2, weights));
  return { apply: by(kernel), adjoint: by(kernel.toReversed()) };
}

/** Correlation along an axis with zeros beyond the border. */
function alongAxis(x: tf.Tensor, axis: number, kernel: readonly number[]): tf.Tensor {
  const half = (kernel.length - 1) / 2;
  const wide = tf.pad(x, x.shape.map((_, i) => i === axis ? [half, half] : [0, 0]));
  return tf.addN(
    kernel.map((weight, k) =>
      tf.mul(tf.slice(wide, x.shape.map((_, i) => i === axis ? k : 0), x.shape), weight)
    ),
  );
}

function imageShape(x: tf.Tensor): [number, number, number, number] {
  if (x.rank === 4) return x.shape as [number, number, number, number];
  throw refusal("x must be of shape [N, H, W, C]", `[${x.shape}]`);
}

/** A system (r2·A·Aᵀ + noise2·I)·u = b. */
interface System {
  readonly operator: Operator;
  readonly r2: number;
  readonly noise2: number;
  readonly iterations: number;
}

/** u of a system for b in A's range, sample by sample; in a tidy. */
function solved(system: System, b: tf.Tensor): tf.Tensor {
  const { operator, r2, noise2, iterations } = system;
  if (operator.gram !== undefined) return tf.div(b, r2 * operator.gram + noise2);
  const times = (p: tf.Tensor): tf.Tensor =>
    tf.add(tf.mul(operator.apply(operator.adjoint(p)), r2), tf.mul(p, noise2));
  // The system is symmetric, so a gradient goes back through another solution of it, of any order, and not through the solver,
  // which divides by what is left of a residual.
  const inverse = (b: tf.Tensor): tf.Tensor =>
    tf.customGrad((...inputs) => ({
      value: conjugateGradients(times, inputs[0] as tf.Tensor, iterations),
      gradFunc: (dy: tf.Tensor) => inverse(dy),
    }))(b);
  return inverse(b);
}

/** As many steps as told, each sample by itself: no number is read, so that the step can be compiled. */
function conjugateGradients(
  times: (p: tf.Tensor) => tf.Tensor,
  b: tf.Tensor,
  iterations: number,
): tf.Tensor {
  let u = tf.zerosLike(b), rest = b, p = b, size = dots(b, b);
  for (let i = 0; i < iterations; i++) {
    const q = times(p), step = over(size, dots(p, q));
    u = tf.add(u, tf.mul(p, step));
    rest = tf.sub(rest, tf.mul(q, step));
    const next = dots(rest, rest);
    p = tf.add(rest, tf.mul(p, over(next, size)));
    size = next;
  }
  return u;
}

/** ⟨a, b⟩ of each sample, shape [N, 1, ...]. */
const dots = (a: tf.Tensor, b: tf.Tensor): tf.Tensor => tf.sum(tf.mul(a, b), axes(a), true);

const axes = ({ rank }: tf.Tensor): number[] => Array.from({ length: rank - 1 }, (_, i) => i + 1);

/** a/b, or 0 where both are nothing. */
const over = (a: tf.Tensor, b: tf.Tensor): tf.Tensor => tf.div(a, tf.maximum(b, 1e-30));

/** Options of {@link inpainted}. */
export interface InpaintOptions {
  /** What its noise is drawn for. Default: `"known"`. */
  readonly purpose?: string;
}

/**
 * Inpainting by replacement: after each step the known pixels are those of the data, with fresh noise of the level reached
 * (Song et al. 2021, appendix I.2). Where sigma is 0 they are the known ones bit for bit.
 *
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
 * import { pipe } from "fp-ts/lib/function.js";
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
  mask: tf.Tensor,
  known: tf.Tensor,
  options: InpaintOptions = {},
): Refinement {
  checkOptions("use what is known", options, { purpose: true } satisfies Known<InpaintOptions>);
  const { purpose = "known" } = options;
  checkTensor("mask", mask);
  checkTensor("known", known);
  const check: Check = async (_, { x }) => {
    await checkMask(mask, x.shape);
    checkTensor("known", known);
    checkFits("known", known, x.shape);
    await checkNumbers("known", tf.tidy(() => shownBy(mask, known, tf.scalar(0))));
  };
  return replacing(purpose, ({ x, z, level }) => {
    const noisy = level.sigma === 0
      ? tf.mul(known, level.alpha)
      : tf.add(tf.mul(known, level.alpha), tf.mul(z, level.sigma));
    return shownBy(mask, noisy, x);
  }, check);
}

/** A state's x, noise of its shape, and its level. */
interface Spot {
  readonly x: tf.Tensor;
  readonly z: tf.Tensor;
  readonly level: Level;
}

/** The refinement that puts another x into each state reached; `put` is called in a tidy. */
function replacing(
  purpose: string,
  put: (spot: Spot) => tf.Tensor,
  check: Check,
): Refinement {
  const moved = (env: Env) => (state: State): tf.Tensor =>
    tf.tidy(() =>
      put({ x: state.x, z: noise(env, state, purpose), level: env.model.schedule.at(state.t) })
    );
  return <S extends State>(sampler: Sampler<S>): Sampler<S> =>
    refined<S>((transition): Transition<S> => (env) => (state) =>
      andThen(
        transition(env)(state),
        (next) => movedAfter(env, { state, next }, moved(env)),
      ), check)(sampler);
}

/** How {@link observed} brings a measurement in. */
export type ObservedMethod = "replacement" | "dps" | "pigdm";

/** Options of {@link observed}. */
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
 * import { pipe } from "fp-ts/lib/function.js";
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
  y: tf.Tensor,
  options: ObservedOptions = {},
): Refinement {
  const { method = "pigdm", scale = 1, std = 0, variance = 1, iterations = 20 } = options;
  if (!Object.hasOwn(methods, method)) {
    throw refusal('method must be "replacement", "dps" or "pigdm"', method);
  }
  checkOptions(`use what is known by method "${method}"`, options, methods[method]);
  if (typeof operator?.apply !== "function" || typeof operator.adjoint !== "function") {
    throw new TypeError(
      `Cannot use what is known: operator must have apply and adjoint, such as mask(kept), got ${
        shown(operator)
      }`,
    );
  }
  checkTensor("y", y);
  checkAtLeast("scale", scale);
  checkAtLeast("std", std);
  if (!(variance > 0 && variance < Infinity)) {
    throw refusal("variance must be a number above 0", variance);
  }
  checkCount("iterations", iterations);
  const { gram, within } = operator, seen = { ...operator, y: () => within ? within(y) : y };
  const check = measured(operator, y);
  if (method === "replacement") {
    return replacing(options.purpose ?? "known", replacement(seen, iterations), check);
  }
  if (method === "dps") {
    const inRange = gram === undefined || within
      ? seen
      : { ...seen, y: () => tf.div(operator.apply(operator.adjoint(y)), gram) };
    return pulledBack(inRange, scale, check);
  }
  return onModel(pseudoinverse({ measurement: seen, std, variance, iterations, scale }), check);
}

/** The options that have a part in each method. */
const methods: { readonly [M in ObservedMethod]: Readonly<Record<string, true>> } = {
  replacement: { method: true, iterations: true, purpose: true },
  dps: { method: true, scale: true },
  pigdm: { method: true, scale: true, std: true, variance: true, iterations: true },
};

/** An operator and what was measured by it, as far as that is of the operator's range. */
interface Measurement extends Operator {
  /** y; in a tidy. */
  readonly y: () => tf.Tensor;
}

/** What has to hold of a measurement. */
const measured = (operator: Operator, y: tf.Tensor): Check => async (env, start) => {
  await operator.check?.(env, start);
  checkTensor("y", y);
  const [image, back] = tf.tidy(() => {
    const image = operator.apply(start.x);
    return [image, operator.adjoint(image)];
  }) as [tf.Tensor, tf.Tensor];
  tf.dispose([image, back]);
  if (!tf.util.arraysEqual(back.shape, start.x.shape)) {
    throw refusal(
      `operator must be of samples of shape [${start.x.shape.slice(1)}]`,
      `one whose adjoint gives [${back.shape.slice(1)}]`,
    );
  }
  checkFits("y", y, image.shape);
  await checkNumbers("y", tf.tidy(() => operator.within ? operator.within(y) : tf.clone(y)));
};

function checkAtLeast(name: string, value: number): void {
  if (value >= 0 && value < Infinity) return;
  throw refusal(`${name} must be a number of at least 0`, value);
}

/** x + A⁺(alpha·y + sigma·A·z − A·x). */
const replacement =
  ({ y, ...operator }: Measurement, iterations: number) =>
  ({ x, z, level: { alpha, sigma } }: Spot): tf.Tensor => {
    const gap = tf.sub(tf.mul(y(), alpha), operator.apply(tf.sub(x, tf.mul(z, sigma))));
    const system = { operator, r2: 1, noise2: 0, iterations };
    return tf.add(x, operator.adjoint(solved(system, gap)));
  };

/** DPS: after the step, less the gradient of ‖y − A·x0hat‖ at the state before. */
function pulledBack({ y, ...operator }: Measurement, scale: number, check: Check): Refinement {
  const cost = (x0: tf.Tensor): tf.Tensor => {
    const gap = tf.sub(y(), operator.apply(x0));
    return tf.sqrt(tf.add(tf.sum(tf.square(gap), axes(gap)), 1e-12));
  };
  return <S extends State>(sampler: Sampler<S>): Sampler<S> =>
    scale === 0 ? sampler : refined<S>((transition): Transition<S> => (env) => (state) => {
      const { x, t } = state, pull = pulledThrough(env.model, { x, t, cost });
      const model = sharing(env.model, { x, t, prediction: pull.prediction });
      const owned = [pull.cost, pull.gradient, { ...pull.prediction }];
      return disposing(
        owned as never,
        () =>
          andThen(
            transition({ ...env, model })(state),
            (next) =>
              movedAfter(
                env,
                { state, next },
                () => tf.tidy(() => tf.sub(next.x, tf.mul(pull.gradient, scale))),
              ),
          ),
      );
    }, check)(sampler);
}

/** What PiGDM needs. */
interface Pseudoinverse extends Required<Pick<ObservedOptions, "std" | "variance" | "scale">> {
  readonly measurement: Measurement;
  readonly iterations: number;
}

function pseudoinverse(options: Pseudoinverse): Guide {
  const { measurement: { y, ...operator }, std, variance: v, iterations, scale } = options;
  return (model) => {
    const energy = (x0: tf.Tensor, t: number): tf.Tensor => {
      const { alpha, sigma } = model.schedule.at(t);
      const r2 = v * sigma ** 2 / (alpha ** 2 * v + sigma ** 2);
      const system = { operator, r2, noise2: std ** 2, iterations };
      return residualEnergy(system, x0, y());
    };
    return byEnergy(energy, { scale, of: "x0" })(model);
  };
}

/** gapᵀ·(r²·A·Aᵀ + std²·I)⁻¹·gap/2 of each sample. */
function residualEnergy(system: System, x0: tf.Tensor, y: tf.Tensor): tf.Tensor {
  const gap = tf.sub(y, system.operator.apply(x0));
  return tf.mul(tf.sum(tf.mul(gap, solved(system, gap)), axes(gap)), 0.5);
}

/** Options of {@link repainted}. */
export interface RepaintOptions {
  /** Number of times that each stretch is gone down, at least 1; the source's r. Default: 10. */
  readonly jumps?: number;
  /** Number of transitions of a stretch, at least 1; the source's j. Default: 10. */
  readonly length?: number;
  /** What its noise is drawn for. Default: `"repaint"`. */
  readonly purpose?: string;
}

const repaintOptions: Known<RepaintOptions> = { jumps: true, length: true, purpose: true };

/** A state on its way down a stretch: where the stretch began. */
interface Returning extends State {
  /** Time to go back up to; absent outside a stretch. */
  readonly returnTo?: number;
}

/**
 * RePaint's jumps back in time: each stretch of transitions is gone down, noised up again to where it began, and gone down
 * again (Lugmayr et al. 2022, algorithm 1 and section 4.2):
 *
 * ```text
 *   stretch, up, stretch, up, … stretch      x_t ~ q(x_t | x_s) on the way up
 * ```
 *
 * So that what is known and what is made come to agree, pipe it after {@link inpainted} or {@link observed}. Any sampler
 * whose transitions can be made again from their own start will do: it repeats the transitions themselves. The time to go back
 * to rides in the state as `returnTo`, so that a run can be recorded and resumed in the middle; evaluations of a multistep
 * solver from below that time are dropped on the way up. The source's last stretch is not repeated where T is not reached by
 * whole stretches; here each is, also a shorter last one.
 *
 * @param options Number of passes, length of a stretch.
 * @returns The refinement, with about `jumps` times the transitions.
 * @throws {RangeError} If an option is not a whole number of at least 1; while run, if a stretch ended above its start.
 *
 * @example Twice down each stretch
 * ```ts
 * import { ddpm, linear, repainted } from "@tweedie/tweedie";
 * import assert from "node:assert/strict";
 *
 * let transitions = 0;
 * for await (const _ of repainted({ jumps: 2, length: 5 })(ddpm(linear(), { steps: 10 }))) transitions++;
 * assert.equal(transitions, 22);
 * ```
 */
export function repainted(options: RepaintOptions = {}): Refinement {
  checkOptions("repaint", options, repaintOptions);
  const { jumps = 10, length = 10, purpose = "repaint" } = options;
  checkCount("jumps", jumps);
  checkCount("length", length);
  return <S extends State>(source: Sampler<S>): Sampler<S> =>
    rearranged<S>(async function* (transitions) {
      for await (const stretch of stretches(transitions, length)) {
        const marked = stretch.map(marking);
        for (let pass = 1; pass < jumps; pass++) {
          yield* marked;
          yield back(purpose);
        }
        yield* stretch;
      }
    })(source);
}

function checkCount(name: string, value: number): void {
  if (Number.isSafeInteger(value) && value >= 1) return;
  throw refusal(`${name} must be a whole number of at least 1`, value);
}

/** Consecutive transitions, `length` at a time. */
async function* stretches<S extends State>(
  source: AsyncIterable<Transition<S>>,
  length: number,
): AsyncGenerator<Transition<S>[], void, undefined> {
  let stretch: Transition<S>[] = [];
  for await (const transition of source) {
    stretch.push(transition);
    if (stretch.length < length) continue;
    yield stretch;
    stretch = [];
  }
  if (stretch.length > 0) yield stretch;
}

/** The same transition, whose new state says where its stretch began. */
const marking = <S extends State>(transition: Transition<S>): Transition<S> => (env) => (state) =>
  andThen(transition(env)(state), (next) => ({
    ...next,
    returnTo: (state as Returning).returnTo ?? state.t,
  }));

/** The transition up to where the stretch began. */
const back = <S extends State>(purpose: string): Transition<S> => (env) => (state) => {
  checkUnweighed(env, state);
  const { returnTo: t, ...rest } = state as S & Returning, { at } = env.model.schedule;
  if (t === undefined) {
    throw new TypeError("Cannot go back up: state.returnTo must be a time, got undefined");
  }
  const z = noise(env, state, purpose);
  const x = disposing(z, () => diffuse(state.x, at(state.t), at(t), z)) as tf.Tensor;
  const history = state.history?.filter((evaluation) => evaluation.t > t);
  const next = { ...rest, x, t, step: state.step + 1, ...(history && { history }) };
  return next as unknown as S;
};

const refusal = (wanted: string, got: unknown): RangeError =>
  refused("use what is known", wanted, got);

/**
 * Tweedie: energy-based, score-based and diffusion models as lazy streams.
 *
 * Tweedie's formula, `E[x0 | x_t] = (x_t + sigma²·score) / alpha`, is where these models meet: one denoiser, one score,
 * one energy gradient, three readings. Five words carry the library:
 *
 * | word | what it is |
 * | --- | --- |
 * | {@link Schedule} | pure functions of time: `t -> {alpha, sigma}`, log-SNR, drift, diffusion |
 * | {@link Model} | what a network, an oracle or an energy says about `(x_t, t)`: a tagged prediction |
 * | {@link Transition} | a Markov kernel, `env => state => state` |
 * | {@link Sampler} | a lazy stream of transitions; a refinement maps samplers to samplers |
 * | trajectory | `run(start, env)(sampler)`: a lazy stream of states, x_T first, then each x_t; a watcher maps it to anything |
 *
 * Notation, the same everywhere:
 *
 * | symbol | meaning |
 * | --- | --- |
 * | `t`, `s` | times: from t to s. Discrete schedules count the papers' steps: 0 is data, T is noise |
 * | `alpha`, `sigma` | q(x_t given x_0) = N(alpha·x_0, sigma²·I). The papers' bar-alpha_t is alpha² |
 * | `alphaBar`, `beta` | alpha², and 1 − alphaBar_t/alphaBar_(t−1) of a discrete schedule |
 * | `logSnr` | 2·ln(alpha/sigma) |
 * | `x0`, `xt`, `eps` | data, noised data, unit noise: xt = alpha·x0 + sigma·eps |
 * | `score` | the gradient of ln p_t(x_t); −eps/sigma in expectation |
 * | `f`, `g` | drift and diffusion: dx = f(t)·x dt + g(t) dw |
 * | `eta` | share of noise in a DDIM step: 0 none, 1 that of DDPM |
 *
 * Images are NHWC float32 tensors in [−1, 1]. Callers own what they pass, the library what it makes; a yielded state
 * lives until the next pull.
 *
 * @example Sample from a mixture of two Gaussians, exactly denoised
 * ```ts
 * import { ddim, key, last, linear, mixture, prior, run } from "@tweedie/tweedie";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import { pipe } from "@tweedie/tweedie";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const schedule = linear();
 * const model = mixture(schedule, { weights: [0.5, 0.5], means: [[-2], [2]], variances: [[0.01], [0.01]] });
 * const { x } = await last(pipe(ddim(schedule, { steps: 50 }), run(prior([100, 1]), { model, key: key(0) })));
 * assert.ok(x.dataSync().every((value) => Math.abs(Math.abs(value) - 2) < 0.5));
 * ```
 *
 * @module
 */

import { pipe as applied } from "fp-ts/lib/function.js";

/** Operations whose gradients can be differentiated again. */
export * as smooth from "./src/tensor/autodiff.ts";
export {
  awaited,
  eager,
  type Engine,
  fold,
  folded,
  type Key,
  key,
  normal,
  owned,
  type Scalar,
  scope,
  type Scoped,
  slerp,
  split,
  type Tensor,
  uniform,
} from "./src/tensor/mod.ts";
export { after, type Chain, chain, type ChainEnv, noise } from "./src/chain/mod.ts";
export {
  brownian,
  geometricBrownianMotion,
  sdeSchemes,
  simulate,
  solve,
  tableaus,
} from "./src/solve/mod.ts";
export {
  cosine,
  cosineContinuous,
  edm,
  forwardSde,
  type GridOptions,
  type Level,
  linear,
  rectified,
  scaledLinear,
  type Schedule,
  subVp,
  times,
  ve,
  vp,
} from "./src/noise/mod.ts";
export {
  type Condition,
  convert,
  dataset,
  decorated,
  type Denoiser,
  denoisingLoss,
  gaussian,
  mixture,
  type Model,
  type Prediction,
  rescheduled,
  variances,
  weightings,
} from "./src/denoise/mod.ts";
export {
  adaptiveFlow,
  along,
  arrived,
  asked,
  ddim,
  ddimInverse,
  ddpm,
  deis,
  dpmSinglestep,
  dpmSolver,
  type Env,
  exponential,
  flow,
  kdpm2,
  type Leg,
  legs,
  lms,
  multistep,
  type MultistepRule,
  type Node,
  onModel,
  pndm,
  prior,
  rearranged,
  refined,
  type Refinement,
  reverseSde,
  run,
  type RunOptions,
  type Sampler,
  sampler,
  type Start,
  type State,
  step,
  type Transition,
  uniPc,
} from "./src/sample/mod.ts";
export {
  annealedLangevin,
  blur,
  byClassifier,
  byEnergy,
  classifierFree,
  conditioned,
  corrected,
  downsample,
  during,
  edited,
  fixedLangevin,
  grey,
  type Guide,
  guided,
  hutchinson,
  inpainted,
  langevin,
  likelihood,
  logLikelihood,
  mask,
  meanShifted,
  observed,
  repainted,
  summed,
  thresholded,
  type Weighed,
} from "./src/refine/mod.ts";
export {
  every,
  frames,
  type Image,
  kept,
  last,
  progress,
  recorded,
  toImage,
  watched,
  type Watcher,
} from "./src/watch/mod.ts";
export {
  classifier,
  initialize,
  mlp,
  type Network,
  networkModel,
  type Params,
  unet,
} from "./src/network/mod.ts";
export {
  byAdam,
  byMomentum,
  diffusionLoss,
  type Loss,
  newTraining,
  type Objective,
  type StatefulObjective,
  train,
  type TrainState,
  uniformTimes,
} from "./src/train/mod.ts";
export { bitsPerDim, dequantized, frechet } from "./src/metric/mod.ts";
export {
  batches,
  fashionMnist,
  idxImages,
  type ImageBatch,
  type ImageSet,
  openImages,
  pictures,
} from "./src/data/mod.ts";
export {
  loadCheckpoint,
  loadClassifier,
  loadDenoiser,
  loadNoisyClassifier,
  loadState,
  png,
  saveApng,
  saveCheckpoint,
  saveDenoiser,
  savePng,
  saveState,
  toProcess,
  toStdout,
  y4m,
} from "./src/io/mod.ts";

/** See {@link pipe}. */
export interface Pipe {
  /** A value as it is. */
  <A>(a: A): A;
  /** One function. */
  <A, B>(a: A, ab: (a: A) => B): B;
  /** 2 functions. */
  <A, B, C>(a: A, ab: (a: A) => B, bc: (b: B) => C): C;
  /** 3 functions. */
  <A, B, C, D>(a: A, ab: (a: A) => B, bc: (b: B) => C, cd: (c: C) => D): D;
  /** 4 functions. */
  <A, B, C, D, E>(a: A, ab: (a: A) => B, bc: (b: B) => C, cd: (c: C) => D, de: (d: D) => E): E;
  /** 5 functions. */
  <A, B, C, D, E, F>(
    a: A,
    ab: (a: A) => B,
    bc: (b: B) => C,
    cd: (c: C) => D,
    de: (d: D) => E,
    ef: (e: E) => F,
  ): F;
  /** 6 functions. */
  <A, B, C, D, E, F, G>(
    a: A,
    ab: (a: A) => B,
    bc: (b: B) => C,
    cd: (c: C) => D,
    de: (d: D) => E,
    ef: (e: E) => F,
    fg: (f: F) => G,
  ): G;
  /** 7 functions. */
  <A, B, C, D, E, F, G, H>(
    a: A,
    ab: (a: A) => B,
    bc: (b: B) => C,
    cd: (c: C) => D,
    de: (d: D) => E,
    ef: (e: E) => F,
    fg: (f: F) => G,
    gh: (g: G) => H,
  ): H;
  /** 8 functions. */
  <A, B, C, D, E, F, G, H, I>(
    a: A,
    ab: (a: A) => B,
    bc: (b: B) => C,
    cd: (c: C) => D,
    de: (d: D) => E,
    ef: (e: E) => F,
    fg: (f: F) => G,
    gh: (g: G) => H,
    hi: (h: H) => I,
  ): I;
  /** 9 functions. */
  <A, B, C, D, E, F, G, H, I, J>(
    a: A,
    ab: (a: A) => B,
    bc: (b: B) => C,
    cd: (c: C) => D,
    de: (d: D) => E,
    ef: (e: E) => F,
    fg: (f: F) => G,
    gh: (g: G) => H,
    hi: (h: H) => I,
    ij: (i: I) => J,
  ): J;
  /** 10 functions. */
  <A, B, C, D, E, F, G, H, I, J, K>(
    a: A,
    ab: (a: A) => B,
    bc: (b: B) => C,
    cd: (c: C) => D,
    de: (d: D) => E,
    ef: (e: E) => F,
    fg: (f: F) => G,
    gh: (g: G) => H,
    hi: (h: H) => I,
    ij: (i: I) => J,
    jk: (j: J) => K,
  ): K;
}

/**
 * A value, and functions in the order in which they are applied to it: fp-ts's.
 *
 * @example
 * ```ts
 * import { pipe } from "@tweedie/tweedie";
 * import assert from "node:assert/strict";
 *
 * assert.equal(pipe(3, (n) => n + 1, String), "4");
 * ```
 */
export const pipe: Pipe = applied;

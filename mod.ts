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

/** Functions in the order in which they are applied: fp-ts's. */
export { pipe } from "fp-ts/lib/function.js";
/** Operations whose gradients can be differentiated again. */
export * as smooth from "./src/tensor/autodiff.ts";
export * from "./src/tensor/key.ts";
export * from "./src/tensor/random.ts";
export {
  type ArrayView,
  fromNdarray,
  type HostView,
  type Scalar,
  type Tensor,
  type Tensor1D,
  type Tensor2D,
  type Tensor3D,
  type Tensor4D,
  toNdarray,
  view,
  type ViewData,
} from "./src/tensor/tensor.ts";
export {
  type Awaitable,
  awaited,
  folded,
  own,
  owned,
  scope,
  type Scoped,
  type ScopeOptions,
} from "./src/tensor/scope.ts";
export * from "./src/tensor/engine.ts";
export {
  type Chain,
  chain,
  type ChainCarried,
  type ChainCheck,
  type ChainEnv,
  type ChainSampler,
  type ChainStart,
  type ChainTransition,
  underlaid,
} from "./src/chain/chain.ts";
export type { RunControl } from "./src/chain/run.ts";
export { type Tableau, type Tableaus, tableaus } from "./src/solve/tableau.ts";
export {
  denseOutput,
  type DensePoint,
  type Move,
  rungeKutta,
  type RungeKuttaStep,
  stages,
  type VectorField,
} from "./src/solve/rungekutta.ts";
export {
  checkControl,
  errorNorm,
  firstLength,
  type Outset,
  type StepControl,
  type StepErrors,
  stepFactor,
} from "./src/solve/control.ts";
export * from "./src/solve/ode.ts";
export * from "./src/solve/brownian.ts";
export * from "./src/solve/sde.ts";
export * from "./src/noise/schedule/schedule.ts";
export * from "./src/noise/schedule/discrete.ts";
export * from "./src/noise/schedule/continuous.ts";
export * from "./src/noise/schedule/derived.ts";
export { type GridOptions, times } from "./src/noise/grid.ts";
export * from "./src/noise/named.ts";
export * from "./src/noise/forward.ts";
export * from "./src/denoise/condition.ts";
export * from "./src/denoise/prediction.ts";
export * from "./src/denoise/energy.ts";
export * from "./src/denoise/reschedule.ts";
export * from "./src/denoise/posterior.ts";
export * from "./src/denoise/loss.ts";
export * from "./src/denoise/oracle.ts";
export * from "./src/sample/path.ts";
export {
  ddim,
  ddimInverse,
  type DdimOptions,
  ddpm,
  type DdpmOptions,
  type LastNoise,
} from "./src/sample/ancestral.ts";
export * from "./src/sample/reverse.ts";
export type { Chart } from "./src/sample/flow/chart.ts";
export * from "./src/sample/flow/flow.ts";
export * from "./src/sample/flow/adaptive.ts";
export {
  adams,
  combined,
  exponential,
  type ExponentialOptions,
  type MultistepNodes,
  type MultistepRule,
  type MultistepWeights,
  type Node,
  phi,
  type Point,
} from "./src/sample/solver/weights.ts";
export {
  type LowerOrderFinal,
  type Multistep,
  multistep,
  multistepTransition,
} from "./src/sample/solver/multistep.ts";
export * from "./src/sample/solver/dpm.ts";
export * from "./src/sample/solver/unipc.ts";
export * from "./src/sample/solver/deis.ts";
export * from "./src/sample/solver/pndm.ts";
export {
  dpmSinglestep,
  type DpmSinglestepOptions,
  kdpm2,
  type Kdpm2Options,
  singlestepStages,
  type Stage,
} from "./src/sample/solver/singlestep.ts";
export {
  during,
  type DuringOptions,
  type Guide,
  guided,
  type Interval,
  type PredictionAt as Known,
  sharing,
  summed,
} from "./src/refine/guide/combine.ts";
export {
  classifierFree,
  type ClassifierFreeOptions,
  conditioned,
} from "./src/refine/guide/free.ts";
export {
  byClassifier,
  byEnergy,
  classifierEnergy,
  type CostOfX0 as Through,
  type EnergyOptions,
  type GradientOptions,
  type GradientThrough as Pull,
  gradientThrough as pulledThrough,
  meanShifted,
  type MeanShiftOptions,
} from "./src/refine/guide/gradient.ts";
export type { Scale } from "./src/refine/guide/scale.ts";
export * from "./src/refine/threshold.ts";
export {
  annealedLangevin,
  type AnnealedLangevinOptions,
  corrected,
  type CorrectedOptions,
  fixedLangevin,
  type FixedLangevinOptions,
  langevin,
  type LangevinCorrector,
  type LangevinOptions,
  type LangevinStep as Stir,
} from "./src/refine/correct.ts";
export { blur, downsample, grey, mask, type Operator } from "./src/refine/known/operator.ts";
export {
  inpainted,
  type InpaintOptions,
  observed,
  type ObservedMethod,
  type ObservedOptions,
} from "./src/refine/known/observe.ts";
export * from "./src/refine/known/repaint.ts";
export * from "./src/refine/edit.ts";
export * from "./src/refine/slerp.ts";
export * from "./src/refine/likelihood.ts";
export {
  exactTrace,
  hutchinson,
  type HutchinsonOptions,
  type Trace,
  type TraceAt,
} from "./src/refine/trace.ts";
export * from "./src/watch/record.ts";
export * from "./src/watch/progress.ts";
export * from "./src/watch/frames.ts";
export * from "./src/data/images.ts";
export * from "./src/data/batches.ts";
export * from "./src/data/file/idx.ts";
export * from "./src/data/sets/mnist.ts";
export { cifarImages, type CifarOptions } from "./src/data/sets/cifar.ts";
export { numpyImages } from "./src/data/sets/numpy.ts";
export {
  pictures,
  type PicturesOptions,
  type PictureSource,
  type SkippedFile,
} from "./src/data/sets/folder.ts";
export { type FitOptions, fitted, type ImageFit } from "./src/data/picture/fit.ts";
export * from "./src/data/read.ts";
export * from "./src/network/layer.ts";
export * from "./src/network/mlp.ts";
export * from "./src/network/unet.ts";
export * from "./src/network/classifier.ts";
export {
  type Architecture,
  architectureNames,
  architectureOf,
  type ArchitectureOptions,
  type Architectures,
  architectures,
  type ForImages,
  type ImageChoice,
  type ImageSpace,
  type Misfit,
  type Networks,
  type Role,
  usualArchitecture,
} from "./src/network/architecture.ts";
export {
  choice as choiceField,
  count as countField,
  counts as countsField,
  type Field,
  type FieldKind,
  type Fields,
  flag as flagField,
  indices as indicesField,
  names as namesField,
  object as objectField,
  optional as optionalField,
  size as sizeField,
} from "./src/network/field.ts";
export * from "./src/network/model.ts";
export * from "./src/train/loop.ts";
export {
  adam,
  type AdamConstants,
  adamConstants,
  type AdamInputs,
  type AdamOptions,
  adamUpdate,
  byAdam,
  byMomentum,
  clipped,
  learningRate,
  type Moments,
  type MomentumOptions,
  noMoments,
  type Optimizer,
  type OptimizerState,
  type OptimizerStep,
  type Updated,
} from "./src/train/optimizer.ts";
export * from "./src/train/tree.ts";
export type { Prepare, Prepared, StepLoss, Told } from "./src/train/flat.ts";
export * from "./src/train/ema.ts";
export * from "./src/train/timestep.ts";
export * from "./src/train/diffusion.ts";
export * from "./src/metric/frechet.ts";
export * from "./src/metric/bits.ts";
export * from "./src/io/file.ts";
export * from "./src/io/png.ts";
export * from "./src/io/video.ts";
export * from "./src/io/process.ts";
export * from "./src/io/safetensors.ts";
export { fromTensors, toTensors } from "./src/io/tensors/device.ts";
export * from "./src/io/checkpoint.ts";
export * from "./src/io/weights.ts";
export * from "./src/io/model/save.ts";
export * from "./src/io/model/state.ts";

/**
 * Training: the loop, optimizers, times, objectives.
 *
 * @module
 */

export { deepDivergence, type DeepDivergenceOptions, deepStart } from "./boltzmann/deep.ts";
export {
  contrastiveDivergence,
  type DivergenceOptions,
  divergenceStart,
} from "./boltzmann/divergence.ts";
export { pretrainedDbm, type PretrainedOptions } from "./boltzmann/greedy.ts";
export { rowBatches, type RowBatchesOptions, type VisibleRows } from "./boltzmann/rows.ts";
export {
  contrastiveLoss,
  type ContrastiveMemory,
  type ContrastiveOptions,
  freshChains,
  type SampleBatch,
} from "./contrastive.ts";
export {
  diffusionLoss,
  type DiffusionLossOptions,
  noisyClassifierLoss,
  type NoisyClassifierLossOptions,
} from "./diffusion.ts";
export {
  ema,
  type EmaConstants,
  emaConstants,
  emaDecay,
  type EmaOptions,
  emaUpdate,
} from "./ema.ts";
export type { Prepare, Prepared, StepLoss, StepState, Told } from "./flat.ts";
export {
  disposeTraining,
  newTraining,
  type NewTrainingOptions,
  type TrainState,
} from "./loop/state.ts";
export { type Loss, lossOf, type Objective, type StatefulObjective } from "./loop/objective.ts";
export { train } from "./loop/train.ts";
export type { TrainOptions } from "./loop/options.ts";
export {
  adam,
  type AdamConstants,
  adamConstants,
  type AdamInputs,
  type AdamOptions,
  adamUpdate,
  byAdam,
  learningRate,
  type Moments,
  noMoments,
  type Updated,
} from "./optimizer/adam.ts";
export { byMomentum, type MomentumOptions } from "./optimizer/momentum.ts";
export {
  clipped,
  type Optimizer,
  type OptimizerState,
  type OptimizerStep,
} from "./optimizer/optimizer.ts";
export { type NormalLawOptions, type TimeLaw, type TimeLaws, timeLaws } from "./timestep/law.ts";
export { sampleTimes, timeSampler, type TimeSamplerOptions } from "./timestep/sampler.ts";
export type { TimeSampler } from "./timestep/range.ts";
export { type TimeSpread, timeSpreads } from "./timestep/spread.ts";
export { uniformTimes, type UniformTimesOptions } from "./timestep/uniform.ts";
export { branch, tree } from "./tree.ts";

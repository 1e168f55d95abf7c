/**
 * What a model says of (x_t, t): predictions, posteriors, losses, oracles.
 *
 * @module
 */

export { type Condition, pickedCondition, type Place, sizeOfCondition } from "./condition.ts";
export { type PredictionAt, sharing } from "./decorate.ts";
export type { Energy, NoisyClassifier } from "./energy.ts";
export {
  type Denoiser,
  type DenoisingBatch,
  denoisingLoss,
  type DenoisingLossOptions,
  perSample,
  type Regression,
  regression,
  regressionErrors,
  target,
  type TargetParts,
} from "./loss/regression.ts";
export {
  type Errors,
  errorsOf,
  variational,
  type Weighting,
  type WeightingPoint,
  weightings,
} from "./loss/weighting.ts";
export type { ConditionalOracle, Oracle } from "./oracle/oracle.ts";
export { dataset, type DatasetOptions } from "./oracle/dataset.ts";
export {
  type Dimensions,
  type HostFunction,
  type Mixture,
  mixtureDenoiser,
  mixtureLogDensity,
  mixtureScore,
  mixtureShares,
} from "./oracle/mixture.ts";
export { type Gaussian, gaussian, mixture } from "./oracle/gaussian.ts";
export {
  type Ends,
  type Posterior,
  posterior,
  posteriorMean,
  type PosteriorOptions,
  type ReverseVariance,
  stepDivergence,
  type StepDivergenceOptions,
  stepWeight,
  variances,
} from "./posterior.ts";
export {
  checkPrediction,
  coefficients,
  convert,
  decorated,
  type EnergyPrediction,
  type Kind,
  kinds,
  type Model,
  plane,
  type Prediction,
  type TensorPrediction,
} from "./prediction.ts";
export { rescheduled } from "./reschedule.ts";

/**
 * Refinements: guidance, what is known, correctors, densities, edits.
 *
 * @module
 */

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
  type LangevinStep,
} from "./correct.ts";
export { edited, type EditOptions } from "./edit.ts";
export {
  during,
  type DuringOptions,
  type Guide,
  guided,
  type Interval,
  summed,
} from "./guide/combine.ts";
export { classifierFree, type ClassifierFreeOptions, conditioned } from "./guide/free.ts";
export {
  byClassifier,
  byEnergy,
  classifierEnergy,
  type CostOfX0,
  type EnergyOptions,
  type GradientOptions,
  type GradientThrough,
  gradientThrough,
  meanShifted,
  type MeanShiftOptions,
} from "./guide/gradient.ts";
export type { Scale } from "./guide/scale.ts";
export {
  inpainted,
  type InpaintOptions,
  observed,
  type ObservedMethod,
  type ObservedOptions,
} from "./known/observe.ts";
export { blur, downsample, grey, mask, type Operator } from "./known/operator.ts";
export { repainted, type RepaintOptions } from "./known/repaint.ts";
export {
  likelihood,
  type LikelihoodOptions,
  logLikelihood,
  type LogLikelihoodOptions,
  logPrior,
  type Weighed,
} from "./likelihood.ts";
export {
  type ClipOptions,
  type DynamicOptions,
  thresholded,
  type ThresholdOptions,
} from "./threshold.ts";
export {
  exactTrace,
  hutchinson,
  type HutchinsonOptions,
  type Trace,
  type TraceAt,
} from "./trace.ts";

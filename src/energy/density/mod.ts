/**
 * Normalised densities in closed form or by exact sums, in float64 on the host.
 *
 * @module
 */

export {
  chained,
  type Density,
  mixtureOf,
  productOf,
  relativeEntropy,
  type Rows,
  type Vector,
} from "./density.ts";
export { densityOf, families, type Family } from "./family.ts";
export {
  type ConfigurationOptions,
  configurations,
  enumerationCost,
  type ExactGibbs,
  exactGibbs,
  type Gibbs,
  gibbsScore,
  logRatio,
} from "./gibbs.ts";
export {
  composed,
  jointLaw,
  lawAfter,
  lawGiven,
  type LinearGaussian,
  reversed,
  scaling,
} from "./linear.ts";
export { type Link, linked, links, type Normalised, normalised } from "./link.ts";
export {
  type Known as KnownCoordinates,
  multivariateNormal,
  type Normal,
  normalConditional,
  normalDivergence,
  normalMarginal,
  type NormalParameters,
} from "./normal.ts";
export {
  brownianLaw,
  diffusionKernels,
  forgotten,
  horizonFor,
  invariantLaw,
  type OuParameters,
  type OuProcess,
  ouProcess,
  stationary,
} from "./process.ts";

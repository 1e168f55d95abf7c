/**
 * Numbers for samples: Fréchet distance, bits per dimension, diagnostics of chains.
 *
 * @module
 */

export {
  type Bits,
  type BitsOptions,
  bitsPerDim,
  dequantized,
  type DequantizeOptions,
} from "./bits.ts";
export { type FeatureMoments, frechet, moments } from "./frechet.ts";
export { type Auroc, auroc, thresholdAt } from "./detect.ts";
export {
  acceptanceRate,
  autocorrelation,
  autocorrelationTime,
  autocovariance,
  bfmi,
  type Draws,
  essBulk,
  essMean,
  essQuantile,
  essSd,
  essTail,
  mcseMean,
  mcseQuantile,
  mcseSd,
  rHat,
  summaries,
  type Summary,
  summary,
} from "./chain/mod.ts";

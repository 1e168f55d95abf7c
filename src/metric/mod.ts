/**
 * Numbers for samples: Fréchet distance, bits per dimension.
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

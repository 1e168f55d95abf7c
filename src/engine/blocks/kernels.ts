/**
 * All that is written down in blocks, by kernel.
 *
 * @module
 */

import { convolutionBlocks } from "./convolution.ts";
import { filterBlocks } from "./filter.ts";
import type { BlockLowering } from "./layout.ts";
import { placeBlocks } from "./pointwise.ts";
import { shapeBlocks } from "./shape.ts";

/** Lowerings of kernels to operators on images in blocks. */
export const blockLowerings: Readonly<Record<string, BlockLowering>> = {
  ...placeBlocks,
  ...shapeBlocks,
  ...convolutionBlocks,
  ...filterBlocks,
};

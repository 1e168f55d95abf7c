/**
 * Data sets: files and folders to batches.
 *
 * @module
 */

export {
  batches,
  type BatchOptions,
  type ImageBatch,
  permutation,
  type SourceBatchOptions,
} from "./batches.ts";
export type { FileSource } from "./file/file.ts";
export { decodeIdx, type IdxArray, readIdx } from "./file/idx.ts";
export {
  classesOf,
  type ImageClasses,
  type ImageLabels,
  type ImageSet,
  type ImageSource,
  inMemory,
} from "./images.ts";
export { type FitOptions, fitted, type ImageFit } from "./picture/fit.ts";
export { type OpenedImages, openImages, type OpenImagesOptions } from "./read.ts";
export { cifarImages, type CifarOptions } from "./sets/cifar.ts";
export {
  pictures,
  type PicturesOptions,
  type PictureSource,
  type SkippedFile,
} from "./sets/folder.ts";
export { fashionMnist, idxImages, type IdxImagesOptions, type Split } from "./sets/mnist.ts";
export { numpyImages } from "./sets/numpy.ts";

/**
 * Watchers of trajectories: picking, keeping, progress, pictures, diagnostics of chains.
 *
 * @module
 */

export type { Asked, AskOptions, Numbers } from "./ask.ts";
export { type Average, averaged, type AveragedOptions, type Averages } from "./average.ts";
export {
  diagnosed,
  type DiagnosedOptions,
  type Diagnosis,
  type Traced,
  traced,
} from "./diagnose.ts";
export {
  checkImage,
  type Drawable,
  type FrameOptions,
  frames,
  type Image,
  type ImageOptions,
  sameSize,
  toImage,
} from "./frames.ts";
export { progress, type Progressing, type ProgressOptions } from "./progress.ts";
export { every, kept, last, recorded, watched, type Watcher } from "./record.ts";

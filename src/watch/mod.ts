/**
 * Watchers of trajectories: picking, keeping, progress, pictures.
 *
 * @module
 */

export {
  checkImage,
  type FrameOptions,
  frames,
  type Image,
  type ImageOptions,
  sameSize,
  toImage,
} from "./frames.ts";
export { progress, type Progressing, type ProgressOptions } from "./progress.ts";
export { every, kept, last, recorded, watched, type Watcher } from "./record.ts";

/**
 * Files: pictures, video, weights, checkpoints, states.
 *
 * @module
 */

export { type Checkpoint, checkShapes, loadCheckpoint, saveCheckpoint } from "./checkpoint.ts";
export { checkWritable, writeAtomically } from "./file.ts";
export type { Task } from "./model/contents.ts";
export type {
  NamedClassifierConfig,
  NamedEnergyConfig,
  NoisyClassifierConfig,
} from "./model/description.ts";
export {
  saveClassifier,
  saveDenoiser,
  saveEnergy,
  saveNoisyClassifier,
  type SaveOptions,
  type Trained,
} from "./model/save.ts";
export { loadState, saveState } from "./model/state.ts";
export {
  apng,
  type ApngOptions,
  png,
  type PngOptions,
  saveApng,
  savePng,
  savePngs,
  type SequenceOptions,
} from "./png.ts";
export {
  type ByteSink,
  ClosedPipe,
  type PipeOptions,
  type ProcessOptions,
  toProcess,
  toStdout,
  toWritable,
  type WritableOptions,
} from "./process.ts";
export {
  decodeSafetensors,
  encodeSafetensors,
  type FloatDtype,
  readSafetensors,
  type Safetensors,
  type SafetensorsOptions,
  writeSafetensors,
} from "./safetensors.ts";
export { fromTensors, toTensors } from "./tensors/device.ts";
export {
  type Dtype,
  floats,
  type HostArrays,
  type HostTensor,
  type HostTensors,
} from "./tensors/dtype.ts";
export { raw, type RawOptions, y4m, type Y4mOptions } from "./video.ts";
export {
  checkWeights,
  loadClassifier,
  loadDenoiser,
  type LoadedClassifier,
  type LoadedDenoiser,
  type LoadedEnergy,
  type LoadedNoisyClassifier,
  loadEnergy,
  loadNoisyClassifier,
  readWeights,
} from "./weights.ts";

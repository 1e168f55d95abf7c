/**
 * Networks: layers, architectures, models made of them.
 *
 * @module
 */

export {
  type Architecture,
  architectureNames,
  architectureOf,
  type ArchitectureOptions,
  type Architectures,
  architectures,
  type ForImages,
  type ImageChoice,
  type ImageSpace,
  type Misfit,
  type Networks,
  type Role,
  usualArchitecture,
} from "./architecture.ts";
export {
  type Classifier,
  classifier,
  type ClassifierConfig,
  crossEntropy,
  noisyClassifier,
  type NoisyClassifierOptions,
  type TimedClassifier,
  timedClassifier,
} from "./classifier.ts";
export {
  choice,
  count,
  counts,
  type Field,
  type FieldKind,
  type Fields,
  flag,
  indices,
  names,
  object,
  optional,
  size,
} from "./field.ts";
export {
  attention,
  type AttentionOptions,
  classEmbedding,
  conv,
  type ConvOptions,
  dense,
  groupNorm,
  initialize,
  type Layer,
  type LinearOptions,
  type Network,
  type NetworkInputs,
  networkOf,
  type NetworkParts,
  networkTime,
  oneHot,
  type Parameter,
  parameterCount,
  type Parameters,
  parametersOf,
  type Params,
  patched,
  residual,
  type ResidualOptions,
  timeFeatures,
  unpatched,
  upsampled,
} from "./layer.ts";
export { mlp, type MlpConfig } from "./mlp.ts";
export {
  checkKind,
  type EngineOptions,
  imageModel,
  type ImageModelConfig,
  inUnits,
  networkModel,
  type NetworkOptions,
} from "./model.ts";
export { unet, type UNetConfig } from "./unet.ts";

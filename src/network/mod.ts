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
  type EnergyConfig,
  energyMlp,
  type EnergyMlpConfig,
  energyNet,
  type EnergyNetwork,
} from "./energy.ts";
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
  positive,
  size,
} from "./field.ts";
export { attention, type AttentionOptions, residual, type ResidualOptions } from "./layer/block.ts";
export { classEmbedding, networkTime, oneHot, timeFeatures } from "./layer/embedding.ts";
export { conv, type ConvOptions, dense, type LinearOptions } from "./layer/linear.ts";
export { groupNorm } from "./layer/norm.ts";
export {
  initialize,
  type Layer,
  type Parameter,
  parameterCount,
  type Parameters,
  parametersOf,
  type Params,
} from "./layer/parameter.ts";
export { type Network, type NetworkInputs, networkOf, type NetworkParts } from "./layer/network.ts";
export { patched, unpatched, upsampled } from "./layer/patch.ts";
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

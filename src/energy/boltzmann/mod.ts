/**
 * Boltzmann machines, restricted and deep: energies, conditionals, sampling, likelihoods and gradients.
 *
 * @module
 */

export {
  annealedImportance,
  type AnnealedOptions,
  annealedPartition,
  type AnnealedPartitionOptions,
  annealedStart,
  type AnnealedState,
  baseLogPartition,
  coldBetas,
  type PartitionEstimate,
  partitionEstimate,
} from "./partition/annealing.ts";
export {
  bipartite,
  type Dbm,
  dbmEnergy,
  dbmOf,
  dbmParams,
  dbmStatistics,
  doubled,
  layerMean,
  layersOf,
  meanField,
  type MeanFieldOptions,
  stacked,
  variationalBound,
} from "./dbm.ts";
export {
  type Contrast,
  contrasted,
  dbmContrasted,
  exactStatistics,
  movedOffsets,
  type Offsets,
  type RbmStatistics,
  rbmStatistics,
} from "./divergence.ts";
export { rbmGibbs, type RbmGibbsOptions, type RbmInfo, type RbmState } from "./gibbs.ts";
export {
  freeEnergyGap,
  pseudoLikelihood,
  type PseudoLikelihoodOptions,
  reconstructionError,
} from "./monitor.ts";
export {
  logPartition,
  type PartitionCost,
  partitionCost,
  type PartitionOptions,
  type RbmValues,
  rbmValues,
} from "./partition/exact.ts";
export {
  dataExpectations,
  likelihoodGradient,
  logLikelihoods,
  modelExpectations,
} from "./partition/likelihood.ts";
export {
  freeEnergy,
  heated,
  hiddenInputs,
  hiddenMean,
  initialRbm,
  type InitialRbmOptions,
  logOdds,
  type Rbm,
  rbmEnergy,
  visibleMean,
} from "./rbm.ts";

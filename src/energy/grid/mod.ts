/**
 * Discrete models on grids: Ising, Potts and grey levels, their exact sums, sweeps, clusters and modes.
 *
 * @module
 */

export {
  type Enumerated,
  enumerated,
  type EnumerateOptions,
  type PerSite,
  strip,
  type StripOptions,
  torus,
  type TorusOptions,
} from "./exact.ts";
export {
  conditional,
  flipEnergy,
  fromPotentials,
  type Ising,
  ising,
  isingEnergy,
  type IsingOptions,
  localField,
  type Mapped,
  type Potentials,
  restoration,
  type RestorationOptions,
} from "./ising.ts";
export { type Boundary, type Lattice, lattice, type LatticeOptions } from "./lattice.ts";
export { annealed, icm, minCut, type Mode } from "./mode.ts";
export {
  type GridChainOptions,
  type GridInfo,
  type GridModel,
  gridStart,
  type GridStartOptions,
  type GridState,
} from "./move/chain.ts";
export { heldProbability, swendsenWang, wolff } from "./move/cluster.ts";
export { levelProbabilities, type SiteRule, upProbability } from "./move/rule.ts";
export { gibbs, metropolis } from "./move/sweep.ts";
export {
  asPairwise,
  greyLevels,
  type Pairwise,
  pairwise,
  pairwiseEnergy,
  type PairwiseOptions,
  potts,
  siteEnergy,
} from "./potts.ts";

/**
 * Markov chains of any state: transitions, the driver, draws, and moves that leave a law alone.
 *
 * @module
 */

export {
  after,
  type Chain,
  chain,
  type ChainCarried,
  type ChainCheck,
  type ChainEnv,
  type ChainSampler,
  type ChainStart,
  type ChainTransition,
  underlaid,
} from "./chain.ts";
export { noise, sampleKeys } from "./draw.ts";
export { retained, type RunControl } from "./run.ts";
export {
  langevinChain,
  type Moves,
  type Place as ChainPlace,
  type Point as ChainPoint,
} from "./langevin.ts";
export type { MoveInfo, MoveOptions, MoveState } from "./move/accept.ts";
export {
  type BlockDraws,
  blockGibbs,
  type BlockGibbsOptions,
  type BlockUpdate,
} from "./move/gibbs.ts";
export { type Adapted, hmc, type HmcOptions, type HmcState } from "./move/hmc.ts";
export {
  type LangevinConvention,
  mala,
  type MalaOptions,
  ula,
  type UlaOptions,
} from "./move/mala.ts";
export {
  hostMetropolis,
  type HostMoveInfo,
  type HostMoves,
  type HostMoveState,
  type HostProposed,
  metropolisHastings,
  metropolisMatrix,
  type Proposal,
  type ProposalDraws,
  type Proposed,
  randomWalk,
  type RandomWalkOptions,
} from "./move/metropolis.ts";
export {
  type LawParts,
  type Target,
  targetOf,
  type TargetOptions,
  type TensorChain,
  type WeighedPlace,
} from "./move/target.ts";
export {
  parallelTempering,
  replicated,
  type TemperedState,
  type TemperingInfo,
  type TemperingOptions,
} from "./move/tempering.ts";

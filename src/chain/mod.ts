/**
 * Markov chains of any state: transitions, the driver, draws, Langevin moves.
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

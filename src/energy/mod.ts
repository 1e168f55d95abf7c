/**
 * Energies: laws known up to their normalising constant.
 *
 * @module
 */

export {
  conjunction,
  type ConjunctionOptions,
  conjunctionScore,
  disjunction,
  type DisjunctionOptions,
  disjunctionScore,
  type EnergyAndScore,
  negation,
  type SampleEnergy,
  type SampleScore,
} from "./compose.ts";
export * from "./grid/mod.ts";
export { observedEnergy, type Seen } from "./restore.ts";

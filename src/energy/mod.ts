/**
 * Energy-based models: what is in any of them.
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

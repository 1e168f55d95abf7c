/**
 * Energies: laws known up to their normalising constant, and those in closed form that they are held to.
 *
 * @module
 */

export * from "./boltzmann/mod.ts";
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
export * from "./density/mod.ts";
export * from "./grid/mod.ts";
export {
  type Counting,
  counting,
  crossed,
  integral,
  logIntegral,
  type Measure,
  quadrature,
} from "./measure.ts";
export { observedEnergy, type Seen } from "./restore.ts";

/**
 * Energies and densities: what is integrated exactly, and laws in closed form.
 *
 * @module
 */

export {
  type Counting,
  counting,
  crossed,
  integral,
  logIntegral,
  type Measure,
  quadrature,
} from "./measure.ts";
export * from "./density/mod.ts";

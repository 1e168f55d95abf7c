/**
 * Energies: models whose law is e^(−E)/Z.
 *
 * @module
 */

export * from "./boltzmann/mod.ts";

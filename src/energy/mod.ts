/**
 * Energies: laws known up to their normalising constant.
 *
 * @module
 */

export * from "./grid/mod.ts";

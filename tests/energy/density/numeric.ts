/**
 * Derivatives by differences and z-scores of draws, for the tests of densities.
 *
 * @module
 */

import { average, variance } from "../../measure.ts";

/** ∂f/∂xᵢ of each i by central differences, error about 1e-10 for f of order 1. */
export const slopes = (f: (x: number[]) => number, x: readonly number[], step = 1e-3): number[] =>
  x.map((_, i) => {
    const at = (by: number): number => f(x.map((xj, j) => i === j ? xj + by : xj));
    // Fourth order, so that a step at which nothing is lost to rounding is small enough.
    return (8 * (at(step) - at(-step)) - (at(2 * step) - at(-2 * step))) / (12 * step);
  });

/** How many standard errors the mean of draws is from a number. */
export const zScore = (values: readonly number[], wanted: number): number =>
  (average(values) - wanted) / Math.sqrt(variance(values) / values.length);

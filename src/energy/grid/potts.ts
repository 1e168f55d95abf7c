/**
 * Fields of several levels: one table says what neighbours of two levels cost.
 *
 * ```text
 *   u(x) = Σ_(ij) θ_ij·V(x_i, x_j) + Σ_i D_i(x_i)       x_i in 0 ... q − 1        p(x) ∝ e^(−beta·u(x))
 *   Potts: V(a, b) = −[a = b]          grey levels: V(a, b) = |a − b|          Ising: V = −(2a − 1)·(2b − 1)
 * ```
 *
 * Without a field the grey levels' energy does not change if a constant is added to all of x, u(x + c) = u(x), so on ℝ^n
 * e^(−u) has no finite sum: a law it gives on finitely many levels only, or with a field.
 *
 * Sources: R. Potts, "Some generalized order-disorder transformations" (1952); J. Besag, "On the statistical analysis of
 * dirty pictures" (1986), section 2.
 *
 * @module
 */

import { refusal } from "../../tensor/check/check.ts";
import { decoded, needed, type Rules, wholeNumber } from "../../tensor/check/decode.ts";
import { type Ising, list, numbers, owned, valueAt } from "./ising.ts";
import type { Lattice } from "./lattice.ts";

/**
 * A field of levels with a table of costs, plain data.
 *
 * @category Grids
 */
export interface Pairwise {
  /** Which model it is. */
  readonly kind: "pairwise";
  /** Where the levels are. */
  readonly lattice: Lattice;
  /** q, the number of levels. */
  readonly levels: number;
  /** V(a, b) at a·q + b, symmetric: q² numbers. */
  readonly table: Float64Array;
  /** θ, one number for all edges or one for each. */
  readonly weight: number | Float64Array;
  /** D_i(a) at i·q + a: sites·q numbers; undefined for none. */
  readonly single: Float64Array | undefined;
}

/**
 * Levels and weights of a field.
 *
 * @category Grids
 */
export interface PairwiseOptions {
  /** q, the number of levels: at least 2, at most 128. */
  readonly levels: number;
  /** θ, one number for all edges or one for each in the order of `lattice.edges`. Default: 1. */
  readonly weight?: number | ArrayLike<number>;
  /** D_i(a) at i·q + a, what level a costs at site i: sites·q numbers. Default: nothing. */
  readonly single?: ArrayLike<number>;
}

/**
 * A field with a table of its own.
 *
 * @category Grids
 * @param on The lattice.
 * @param cost V(a, b) for levels a and b, symmetric.
 * @param options Levels and weights. Lists are copied.
 * @returns The model.
 * @throws {TypeError} If an option is not known or of another type.
 * @throws {RangeError} If an option is out of range, or the table is not symmetric and finite.
 *
 * @example Squared differences, cut off
 * ```ts
 * import { lattice, pairwise, pairwiseEnergy } from "@tweedie/tweedie/energy";
 * import assert from "node:assert/strict";
 *
 * const model = pairwise(lattice(1, 3), (a, b) => Math.min((a - b) ** 2, 4), { levels: 8 });
 * assert.equal(pairwiseEnergy(model, Int8Array.of(0, 1, 7)), 5);
 * ```
 */
export function pairwise(
  on: Lattice,
  cost: (a: number, b: number) => number,
  options: PairwiseOptions,
): Pairwise {
  const action = "make a field of levels", { levels } = options ?? {};
  const rules: Rules<PairwiseOptions> = {
    levels: needed(wholeNumber(2)),
    weight: numbers(on.edges.length / 2),
    single: list(on.sites * levels),
  };
  const { weight = 1, single } = decoded(action, options, rules);
  if (levels > 128) throw refusal(action, "levels must be at most 128", levels);
  const table = new Float64Array(levels ** 2);
  for (let a = 0; a < levels; a++) {
    for (let b = 0; b < levels; b++) {
      const value = table[a * levels + b] = cost(a, b);
      if (Number.isFinite(value) && value === cost(b, a)) continue;
      throw refusal(action, `cost(${a}, ${b}) must be finite and cost(${b}, ${a})`, value);
    }
  }
  return {
    kind: "pairwise",
    lattice: on,
    levels,
    table,
    weight: owned(weight),
    single: single && Float64Array.from(single),
  };
}

/**
 * The Potts model, V(a, b) = −[a = b]: with 2 levels the Ising model at half its coupling, but for a constant.
 *
 * @category Grids
 * @param on The lattice.
 * @param options Levels and weights.
 * @returns The model.
 * @throws {TypeError} If an option is not known or of another type.
 * @throws {RangeError} If an option is out of range.
 *
 * @example
 * ```ts
 * import { lattice, pairwiseEnergy, potts } from "@tweedie/tweedie/energy";
 * import assert from "node:assert/strict";
 *
 * assert.equal(pairwiseEnergy(potts(lattice(1, 3), { levels: 3 }), Int8Array.of(2, 2, 0)), -1);
 * ```
 */
export const potts = (on: Lattice, options: PairwiseOptions): Pairwise =>
  pairwise(on, (a, b) => a === b ? -1 : 0, options);

/**
 * Grey levels whose neighbours cost their difference, u(x) = Σ θ_ij·|x_i − x_j|.
 *
 * @category Grids
 * @param on The lattice.
 * @param options Levels and weights.
 * @returns The model. Without `single`, u(x + c) = u(x).
 * @throws {TypeError} If an option is not known or of another type.
 * @throws {RangeError} If an option is out of range.
 *
 * @example
 * ```ts
 * import { greyLevels, lattice, pairwiseEnergy } from "@tweedie/tweedie/energy";
 * import assert from "node:assert/strict";
 *
 * assert.equal(pairwiseEnergy(greyLevels(lattice(1, 3), { levels: 8 }), Int8Array.of(2, 7, 6)), 6);
 * ```
 */
export const greyLevels = (on: Lattice, options: PairwiseOptions): Pairwise =>
  pairwise(on, (a, b) => Math.abs(a - b), options);

/**
 * An Ising model as a field of two levels, y = (s + 1)/2: the same energy.
 *
 * @category Grids
 * @param model The Ising model.
 * @returns The field.
 *
 * @example
 * ```ts
 * import { asPairwise, ising, lattice, pairwiseEnergy } from "@tweedie/tweedie/energy";
 * import assert from "node:assert/strict";
 *
 * const field = asPairwise(ising(lattice(1, 2), { field: 0.5 }));
 * assert.equal(pairwiseEnergy(field, Int8Array.of(1, 1)), -2);
 * ```
 */
export function asPairwise({ lattice, coupling, field }: Ising): Pairwise {
  const single = new Float64Array(2 * lattice.sites);
  for (let i = 0; i < lattice.sites; i++) {
    single[2 * i] = valueAt(field, i);
    single[2 * i + 1] = -valueAt(field, i);
  }
  const table = Float64Array.of(-1, 1, 1, -1);
  return { kind: "pairwise", lattice, levels: 2, table, weight: coupling, single };
}

/**
 * u(x) = Σ θ_ij·V(x_i, x_j) + Σ D_i(x_i).
 *
 * @category Grids
 * @param model The model.
 * @param x Levels in 0 ... q − 1, one a site.
 * @returns The energy of the whole lattice.
 *
 * @example
 * ```ts
 * import { greyLevels, lattice, pairwiseEnergy } from "@tweedie/tweedie/energy";
 * import assert from "node:assert/strict";
 *
 * const model = greyLevels(lattice(2, 2), { levels: 3, weight: 0.5 });
 * assert.equal(pairwiseEnergy(model, Int8Array.of(0, 2, 0, 2)), 2);
 * ```
 */
export function pairwiseEnergy(model: Pairwise, x: Int8Array): number {
  const { lattice: { edges }, levels, table, weight, single } = model;
  let sum = 0;
  for (let at = 0; at < edges.length; at += 2) {
    sum += valueAt(weight, at >> 1) * table[x[edges[at]!]! * levels + x[edges[at + 1]!]!]!;
  }
  if (single) { for (let i = 0; i < x.length; i++) sum += single[i * levels + x[i]!]!; }
  return sum;
}

/**
 * The part of u(x) in which site i stands, if it had level a: Σ_j θ_ij·V(a, x_j) + D_i(a). Differences of it are those of u.
 *
 * @category Grids
 * @param model The model.
 * @param x Levels in 0 ... q − 1, one a site.
 * @param i The site.
 * @param a The level that it is given.
 * @returns The energy, from the site's neighbours alone.
 *
 * @example
 * ```ts
 * import { greyLevels, lattice, siteEnergy } from "@tweedie/tweedie/energy";
 * import assert from "node:assert/strict";
 *
 * const model = greyLevels(lattice(1, 3), { levels: 8 });
 * assert.equal(siteEnergy(model, Int8Array.of(2, 7, 6), 1, 2), 4);
 * ```
 */
export function siteEnergy(model: Pairwise, x: Int8Array, i: number, a: number): number {
  const { lattice: { starts, neighbours, via }, levels, table, weight, single } = model;
  const end = starts[i + 1]!;
  let sum = single ? single[i * levels + a]! : 0;
  for (let at = starts[i]!; at < end; at++) {
    sum += valueAt(weight, via[at]!) * table[a * levels + x[neighbours[at]!]!]!;
  }
  return sum;
}

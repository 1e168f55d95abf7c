/**
 * Cluster moves: spins that hold together turn together, so that a critical lattice forgets its past in a few moves.
 *
 * ```text
 *   an edge whose ends agree is held with probability 1 − e^(−2·beta·J_ij)
 *   Wolff: from a site drawn at random, all that held edges reach is turned
 *   Swendsen–Wang: each part that held edges join is turned with probability 1/2
 * ```
 *
 * Both are for J ≥ 0 without a field, and in detailed balance with p ∝ e^(−beta·E). Wolff looks at an edge once at most, so that the
 * move is a function of the site and of which edges are held.
 *
 * Sources: R. Swendsen, J. Wang, "Nonuniversal critical dynamics in Monte Carlo simulations" (1987); U. Wolff, "Collective
 * Monte Carlo updating for spin systems" (1989), equations 4 to 6.
 *
 * @module
 */

import type { ChainEnv, ChainSampler } from "../../../chain/chain.ts";
import { refusal } from "../../../tensor/check/check.ts";
import { fillBits, fold, type Key } from "../../../tensor/key.ts";
import { energy, type Ising, valueAt } from "../ising.ts";
import { type ChainStep, gridChain, type GridOptions, type GridState } from "./chain.ts";

/** Whether an edge is held, given that its ends agree. */
export type Held = (edge: number) => boolean;

/**
 * The probability that an edge whose ends agree is held, 1 − e^(−2·beta·J).
 *
 * @category Grids
 * @param coupling J of the edge, at least 0.
 * @param beta The inverse temperature.
 * @returns The probability. The moves draw by nothing else.
 *
 * @example
 * ```ts
 * import { heldProbability } from "@tweedie/tweedie/energy";
 * import assert from "node:assert/strict";
 *
 * assert.equal(heldProbability(0, 1), 0);
 * ```
 */
export const heldProbability = (coupling: number, beta: number): number =>
  -Math.expm1(-2 * beta * coupling);

/**
 * Turns all that held edges reach from a site, in place.
 *
 * @param model The model.
 * @param x Spins of ±1.
 * @param site Where to begin.
 * @param isHeld Whether an edge is held; asked at most once of each.
 * @returns How many were turned.
 */
export function turned({ lattice }: Ising, x: Int8Array, site: number, isHeld: Held): number {
  const { starts, neighbours, via } = lattice, s = x[site]!, found = new Int32Array(x.length);
  let count = 1;
  found[0] = site;
  x[site] = -s;
  for (let next = 0; next < count; next++) {
    const i = found[next]!, end = starts[i + 1]!;
    for (let at = starts[i]!; at < end; at++) {
      const j = neighbours[at]!;
      if (x[j] !== s || !isHeld(via[at]!)) continue;
      x[j] = -s;
      found[count++] = j;
    }
  }
  return count;
}

/** Random words one after the other, filled in blocks as they are asked for. */
function wordsOf(key: Key): () => number {
  const words = new Uint32Array(256);
  let at = words.length, block = 0;
  return () => {
    if (at === words.length) {
      fillBits(fold(key, block++), words);
      at = 0;
    }
    return words[at++]!;
  };
}

const limitsOf = ({ coupling }: Ising, beta: number): number | Float64Array => {
  const limit = (j: number): number => 2 ** 32 * heldProbability(j, beta);
  return typeof coupling === "number" ? limit(coupling) : coupling.map(limit);
};

function wolffStep(model: Ising, beta: number): ChainStep {
  const limits = limitsOf(model, beta);
  return (before, key) => {
    const x = before.slice(), word = wordsOf(key), site = Math.floor(word() * 2 ** -32 * x.length);
    const moved = turned(model, x, site, (edge) => word() < valueAt(limits, edge));
    return { x, moved, energy: energy(model, x) };
  };
}

function swendsenWangStep(model: Ising, beta: number): ChainStep {
  const { edges, sites } = model.lattice, limits = limitsOf(model, beta), coins = edges.length / 2;
  return (before, key) => {
    const words = fillBits(key, new Uint32Array(coins + sites));
    const parent = Int32Array.from({ length: sites }, (_, i) => i);
    const rootOf = (i: number): number => {
      while (parent[i] !== i) i = parent[i] = parent[parent[i]!]!;
      return i;
    };
    for (let e = 0; e < coins; e++) {
      const i = edges[2 * e]!, j = edges[2 * e + 1]!;
      if (before[i] === before[j] && words[e]! < valueAt(limits, e)) parent[rootOf(i)] = rootOf(j);
    }
    let moved = 0;
    const x = before.map((s, i) => {
      if (words[coins + rootOf(i)]! >>> 31 === 0) return s;
      moved++;
      return -s;
    });
    return { x, moved, energy: energy(model, x) };
  };
}

function checkModel(model: Ising): void {
  const action = "move clusters", { coupling, field } = model;
  const couplings = typeof coupling === "number" ? [coupling] : coupling;
  const bad = couplings.findIndex((j) => !(j >= 0));
  if (bad >= 0) throw refusal(action, `coupling of edge ${bad} must be at least 0`, couplings[bad]);
  const fields = typeof field === "number" ? [field] : field;
  const site = fields.findIndex((h) => h !== 0);
  if (site >= 0) throw refusal(action, `field of site ${site} must be 0`, fields[site]);
}

/**
 * Wolff's chain: one cluster a step.
 *
 * @category Grids
 * @param model An Ising model with J ≥ 0 and no field.
 * @param options Inverse temperature and number of steps.
 * @returns The chain. `info.accepted` is the share of spins that were turned.
 * @throws {TypeError} If an option is not known.
 * @throws {RangeError} If a coupling is below 0 or a field is not 0; with the edge or site.
 *
 * @example At beta = 0 a cluster is a single site
 * ```ts
 * import { gridStart, ising, lattice, wolff } from "@tweedie/tweedie/energy";
 * import { key, last, run } from "@tweedie/tweedie";
 * import assert from "node:assert/strict";
 *
 * const model = ising(lattice(4, 4));
 * const { info } = await last(run(gridStart(model), { key: key(0) })(wolff(model, { beta: 0, steps: 1 })));
 * assert.equal(info!.accepted, 1 / 16);
 * ```
 */
export function wolff(model: Ising, options: GridOptions): ChainSampler<GridState, ChainEnv> {
  checkModel(model);
  return gridChain(model, { name: "wolff", at: (beta) => wolffStep(model, beta) }, options);
}

/**
 * The chain of Swendsen and Wang: all clusters in each step.
 *
 * @category Grids
 * @param model An Ising model with J ≥ 0 and no field.
 * @param options Inverse temperature and number of steps.
 * @returns The chain. `info.accepted` is the share of spins that were turned.
 * @throws {TypeError} If an option is not known.
 * @throws {RangeError} If a coupling is below 0 or a field is not 0; with the edge or site.
 *
 * @example A cold lattice turns as a whole, or not at all
 * ```ts
 * import { gridStart, ising, lattice, swendsenWang } from "@tweedie/tweedie/energy";
 * import { key, last, run } from "@tweedie/tweedie";
 * import assert from "node:assert/strict";
 *
 * const model = ising(lattice(4, 4)), start = gridStart(model, { from: "cold" });
 * const { info } = await last(run(start, { key: key(0) })(swendsenWang(model, { beta: 99, steps: 3 })));
 * assert.equal(Math.abs(info!.magnetization[0]!), 1);
 * ```
 */
export function swendsenWang(
  model: Ising,
  options: GridOptions,
): ChainSampler<GridState, ChainEnv> {
  checkModel(model);
  return gridChain(
    model,
    { name: "swendsen-wang", at: (beta) => swendsenWangStep(model, beta) },
    options,
  );
}

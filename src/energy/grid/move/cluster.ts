/**
 * Cluster moves: spins that hold together turn together, so that a critical lattice forgets its past in a few moves.
 *
 * ```text
 *   an edge whose ends agree is held with probability 1 − e^(−2·beta·J_ij)
 *   a site that agrees with its field is held by it, and cannot be turned, with probability 1 − e^(−2·beta·|h_i|)
 *   Wolff: from a site drawn at random, all that held edges reach is turned, unless a field holds one of them
 *   Swendsen–Wang: each part that held edges join, unless a field holds one of it, is turned with probability 1/2
 * ```
 *
 * Both are for J ≥ 0, and in detailed balance with p ∝ e^(−beta·E). A field is an edge to a further spin of +1 that stays as
 * it is. Wolff looks at an edge once at most, so that the move is a function of the site and of which edges are held.
 *
 * Sources: R. Swendsen, J. Wang, "Nonuniversal critical dynamics in Monte Carlo simulations" (1987); R. Edwards, A. Sokal,
 * "Generalization of the Fortuin–Kasteleyn–Swendsen–Wang representation and Monte Carlo algorithm" (1988); U. Wolff,
 * "Collective Monte Carlo updating for spin systems" (1989), equations 4 to 6.
 *
 * @module
 */

import type { ChainEnv, ChainSampler } from "../../../chain/chain.ts";
import { refusal } from "../../../tensor/check/check.ts";
import { fillBits, fold, type Key } from "../../../tensor/key.ts";
import { type Ising, isingEnergy, valueAt } from "../ising.ts";
import { type ChainStep, gridChain, type GridChainOptions, type GridState } from "./chain.ts";

/**
 * The probability that an edge whose ends agree is held, 1 − e^(−2·beta·J).
 *
 * @category Grids
 * @param coupling J of the edge, at least 0; or |h| of a site that agrees with its field.
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

/** Whether a random word holds an edge, or a site to a field that it agrees with. */
interface Holds {
  readonly edge: (word: number, edge: number) => boolean;
  readonly site: (word: number, site: number) => boolean;
}

function holds({ coupling, field }: Ising, beta: number): Holds {
  const limit = (j: number): number => 2 ** 32 * heldProbability(Math.abs(j), beta);
  const limits = (each: number | Float64Array) =>
    typeof each === "number" ? limit(each) : each.map(limit);
  const edges = limits(coupling), sites = limits(field);
  return {
    edge: (word, edge) => word < valueAt(edges, edge),
    site: (word, site) => word < valueAt(sites, site),
  };
}

/** Random words one after the other, filled in blocks as they are asked for. */
function wordsOf(key: Key): () => number {
  const words = new Uint32Array(64);
  let at = words.length, block = 0;
  return () => {
    if (at === words.length) {
      fillBits(fold(key, block++), words);
      at = 0;
    }
    return words[at++]!;
  };
}

function wolffStep(model: Ising, beta: number): ChainStep {
  const { lattice: { starts, neighbours, via }, field } = model, held = holds(model, beta);
  return (before, key) => {
    const x = before.slice(), word = wordsOf(key), cluster = new Int32Array(x.length);
    const site = Math.floor(word() * 2 ** -32 * x.length), s = x[site]!;
    let count = 0;
    const turn = (i: number): void => {
      x[i] = -s;
      cluster[count++] = i;
    };
    turn(site);
    for (let next = 0; next < count; next++) {
      const i = cluster[next]!, end = starts[i + 1]!;
      const isFixed = s * valueAt(field, i) > 0 && held.site(word(), i);
      if (isFixed) return { x: before, moved: 0, energy: isingEnergy(model, before) };
      for (let at = starts[i]!; at < end; at++) {
        const j = neighbours[at]!;
        if (x[j] === s && held.edge(word(), via[at]!)) turn(j);
      }
    }
    return { x, moved: count, energy: isingEnergy(model, x) };
  };
}

function swendsenWangStep(model: Ising, beta: number): ChainStep {
  const { lattice: { edges, sites }, field } = model, held = holds(model, beta);
  const count = edges.length / 2;
  return (before, key) => {
    const words = fillBits(key, new Uint32Array(count + 2 * sites)), fixed = words.subarray(count);
    const coins = fixed.subarray(sites);
    // The last stands for the field, and is the root of all that it holds.
    const parent = Int32Array.from({ length: sites + 1 }, (_, i) => i);
    const rootOf = (i: number): number => {
      while (parent[i] !== i) i = parent[i] = parent[parent[i]!]!;
      return i;
    };
    for (let e = 0; e < count; e++) {
      const i = edges[2 * e]!, j = edges[2 * e + 1]!;
      if (before[i] === before[j] && held.edge(words[e]!, e)) parent[rootOf(i)] = rootOf(j);
    }
    for (let i = 0; i < sites; i++) {
      const agrees = before[i]! * valueAt(field, i) > 0;
      if (agrees && held.site(fixed[i]!, i)) parent[rootOf(i)] = sites;
    }
    let moved = 0;
    const x = before.map((s, i) => {
      const root = rootOf(i);
      if (root === sites || coins[root]! >>> 31 === 0) return s;
      moved++;
      return -s;
    });
    return { x, moved, energy: isingEnergy(model, x) };
  };
}

function checkModel({ coupling }: Ising): void {
  const couplings = typeof coupling === "number" ? [coupling] : coupling;
  const bad = couplings.findIndex((j) => !(j >= 0));
  if (bad < 0) return;
  throw refusal("move clusters", `coupling of edge ${bad} must be at least 0`, couplings[bad]);
}

/**
 * Wolff's chain: one cluster a step.
 *
 * @category Grids
 * @param model An Ising model with J ≥ 0, with a field or without.
 * @param options Inverse temperature and number of steps.
 * @returns The chain. `info.accepted` is the share of spins that were turned.
 * @throws {TypeError} If an option is not known.
 * @throws {RangeError} If an option is out of range, or a coupling below 0; with the edge.
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
export function wolff(model: Ising, options: GridChainOptions): ChainSampler<GridState, ChainEnv> {
  checkModel(model);
  return gridChain(model, { name: "wolff", at: (beta) => wolffStep(model, beta) }, options);
}

/**
 * The chain of Swendsen and Wang: all clusters in each step.
 *
 * @category Grids
 * @param model An Ising model with J ≥ 0, with a field or without.
 * @param options Inverse temperature and number of steps.
 * @returns The chain. `info.accepted` is the share of spins that were turned.
 * @throws {TypeError} If an option is not known.
 * @throws {RangeError} If an option is out of range, or a coupling below 0; with the edge.
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
  options: GridChainOptions,
): ChainSampler<GridState, ChainEnv> {
  checkModel(model);
  return gridChain(
    model,
    { name: "swendsen-wang", at: (beta) => swendsenWangStep(model, beta) },
    options,
  );
}

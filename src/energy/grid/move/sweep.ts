/**
 * Sweeps: Markov kernels that look at every site of a lattice once, colour by colour, given all others.
 *
 * Each colour's part is in detailed balance with p ∝ e^(−beta·E), as its sites do not see each other; the sweep, one colour
 * after the other, is not, but leaves p as it is.
 *
 * Source: S. Geman, D. Geman, "Stochastic relaxation, Gibbs distributions, and the Bayesian restoration of images" (1984),
 * section XI.
 *
 * @module
 */

import type { ChainEnv, ChainSampler } from "../../../chain/chain.ts";
import { fillBits } from "../../../tensor/key.ts";
import { type Pairwise, pairwiseEnergy, siteEnergy } from "../potts.ts";
import {
  type ChainStep,
  gridChain,
  type GridChainOptions,
  type GridModel,
  type GridState,
} from "./chain.ts";
import { levelProbabilities, type SiteRule, type Sweep } from "./rule.ts";
import { spinSweep } from "./spins.ts";

/**
 * A sweep.
 *
 * @param model The model.
 * @param by The rule and the inverse temperature.
 * @returns The step of one chain.
 */
export const sweep = (model: GridModel, by: Sweep): ChainStep =>
  model.kind === "ising" ? spinSweep(model, by) : levelSweep(model, by);

/** Levels: one word of 32 bits a site, along the sum of the probabilities. */
const levelSweep = (model: Pairwise, { rule, beta }: Sweep): ChainStep => (before, key) => {
  const x = before.slice(), words = fillBits(key, new Uint32Array(x.length));
  const levels = Array.from({ length: model.levels }, (_, a) => a);
  let moved = 0;
  for (const sites of model.lattice.colours) {
    for (const i of sites) {
      const energies = levels.map((a) => siteEnergy(model, x, i, a));
      const p = levelProbabilities(rule, energies, x[i]!, beta);
      let next = 0;
      for (let rest = words[i]! * 2 ** -32 - p[0]!; rest >= 0 && next < model.levels - 1;) {
        rest -= p[++next]!;
      }
      if (next !== x[i]) moved++;
      x[i] = next;
    }
  }
  return { x, moved, energy: pairwiseEnergy(model, x) };
};

/**
 * Sweeps of the heat bath: each site is drawn from its law given its neighbours.
 *
 * @category Grids
 * @param model An Ising model or a field of levels.
 * @param options Inverse temperature and number of sweeps.
 * @returns The chain; several run at once if the start has several.
 * @throws {TypeError} If an option is not known.
 * @throws {RangeError} If an option is out of range; when it runs, if the start is not of the model's shape and values.
 *
 * @example Eight chains, from a hot start
 * ```ts
 * import { gibbs, gridStart, ising, lattice } from "@tweedie/tweedie/energy";
 * import { key, last, run } from "@tweedie/tweedie";
 * import assert from "node:assert/strict";
 *
 * const model = ising(lattice(16, 16, { boundary: "periodic" }));
 * const start = gridStart(model, { count: 8 });
 * const { x, info } = await last(run(start, { key: key(0) })(gibbs(model, { beta: 0.3, steps: 20 })));
 * assert.deepEqual(x.shape, [8, 16, 16]);
 * assert.equal(info!.energy.length, 8);
 * ```
 */
export const gibbs = (
  model: GridModel,
  options: GridChainOptions,
): ChainSampler<GridState, ChainEnv> => sweeps(model, "gibbs", options);

/**
 * Sweeps of Metropolis: each site tries another value, which is taken with probability min(1, e^(−beta·ΔE)).
 *
 * @category Grids
 * @param model An Ising model or a field of levels.
 * @param options Inverse temperature and number of sweeps.
 * @returns The chain; several run at once if the start has several.
 * @throws {TypeError} If an option is not known.
 * @throws {RangeError} If an option is out of range; when it runs, if the start is not of the model's shape and values.
 *
 * @example Cooling
 * ```ts
 * import { gridStart, ising, lattice, metropolis } from "@tweedie/tweedie/energy";
 * import { key, last, run } from "@tweedie/tweedie";
 * import assert from "node:assert/strict";
 *
 * const model = ising(lattice(4, 4), { field: 0.1 });
 * const beta = Array.from({ length: 60 }, (_, i) => 0.05 * i);
 * const { info } = await last(run(gridStart(model), { key: key(0) })(metropolis(model, { beta })));
 * assert.ok(Math.abs(info!.energy[0]! + 25.6) < 1e-12);
 * ```
 */
export const metropolis = (
  model: GridModel,
  options: GridChainOptions,
): ChainSampler<GridState, ChainEnv> => sweeps(model, "metropolis", options);

const sweeps = (
  model: GridModel,
  rule: SiteRule,
  options: GridChainOptions,
): ChainSampler<GridState, ChainEnv> =>
  gridChain(model, { name: rule, at: (beta) => sweep(model, { rule, beta }) }, options);

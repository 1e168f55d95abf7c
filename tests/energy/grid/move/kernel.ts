/**
 * Transition matrices over all states of a small grid, in closed form and as they are counted.
 *
 * @module
 */

import type { ChainEnv, ChainSampler } from "../../../../src/chain/chain.ts";
import { run } from "../../../../mod.ts";
import {
  type GridModel,
  type GridState,
  isingEnergy,
  levelProbabilities,
  localField,
  pairwiseEnergy,
  siteEnergy,
  type SiteRule,
  upProbability,
} from "../../../../src/energy/grid/mod.ts";
import { fold, type Key, key } from "../../../../src/tensor/key.ts";
import { view } from "../../../../src/tensor/ndarray.ts";
import { uniforms } from "../../../../src/tensor/random.ts";
import { last } from "../../../../src/watch/record.ts";

/** A matrix, row by row: p(y | x) at [x][y]. */
export type Matrix = readonly Float64Array[];

/** Numbers in [−1, 1). */
export const centred = (name: string, count: number): Float64Array =>
  Float64Array.from(uniforms(fold(key(1), name), count), (u) => 2 * u - 1);

const levelsOf = (model: GridModel): number => model.kind === "ising" ? 2 : model.levels;

/** All states, the first site fastest. */
export function statesOf(model: GridModel): Int8Array[] {
  const q = levelsOf(model), { sites } = model.lattice;
  return Array.from({ length: q ** sites }, (_, n) =>
    Int8Array.from({ length: sites }, (_, i) => {
      const a = Math.floor(n / q ** i) % q;
      return model.kind === "ising" ? 2 * a - 1 : a;
    }));
}

/** Where a state stands among all. */
export function numberOf(model: GridModel, x: Int8Array): number {
  const q = levelsOf(model);
  return x.reduceRight((n, v) => n * q + (model.kind === "ising" ? (v + 1) / 2 : v), 0);
}

/** E(x). */
export const energyOf = (model: GridModel, x: Int8Array): number =>
  model.kind === "ising" ? isingEnergy(model, x) : pairwiseEnergy(model, x);

/** p ∝ e^(−beta·E), a plain sum over all states. */
export function lawOf(model: GridModel, beta: number): Float64Array {
  const weights = Float64Array.from(statesOf(model), (x) => Math.exp(-beta * energyOf(model, x)));
  const z = weights.reduce((a, b) => a + b);
  return weights.map((weight) => weight / z);
}

/** What a site may become, and with what probability. */
export type SiteLaw = (model: GridModel, x: Int8Array, i: number) => readonly number[];

/** The law of a site by the rule's public functions. */
export const byRule = (rule: SiteRule, beta: number): SiteLaw => (model, x, i) => {
  if (model.kind === "ising") {
    const up = upProbability(rule, x[i]!, localField(model, x, i), beta);
    return [1 - up, up];
  }
  const energies = Array.from({ length: model.levels }, (_, a) => siteEnergy(model, x, i, a));
  return levelProbabilities(rule, energies, x[i]!, beta);
};

/** The slip: every trial is accepted, as by exp(f(x') − f(x')). */
export const acceptsAll: SiteLaw = (model, x, i) => {
  const q = levelsOf(model), from = model.kind === "ising" ? (x[i]! + 1) / 2 : x[i]!;
  return Array.from({ length: q }, (_, a) => a === from ? 0 : 1 / (q - 1));
};

/** All sites of one colour, each given the state before: the product of their laws. */
export function colourMatrix(model: GridModel, site: SiteLaw, colour: number): Matrix {
  const states = statesOf(model), sites = model.lattice.colours[colour]!, q = levelsOf(model);
  return states.map((x, n) => {
    let row = new Map([[n, 1]]);
    for (const i of sites) {
      const p = site(model, x, i), own = Math.floor(n / q ** i) % q;
      const next = new Map<number, number>();
      for (const [y, weight] of row) {
        p.forEach((each, a) => next.set(y + (a - own) * q ** i, weight * each));
      }
      row = next;
    }
    const out = new Float64Array(states.length);
    for (const [y, weight] of row) out[y] = weight;
    return out;
  });
}

/** A law after a matrix, p·T. */
export function after(p: Float64Array, matrix: Matrix): Float64Array {
  const out = new Float64Array(p.length);
  matrix.forEach((row, x) => {
    if (p[x] !== 0) row.forEach((each, y) => out[y]! += p[x]! * each);
  });
  return out;
}

/** One after the other, T_1·T_2· ... */
export const inTurn = (matrices: readonly Matrix[]): Matrix =>
  matrices.reduce((first, second) => first.map((row) => after(row, second)));

/** The whole sweep, colour after colour. */
export const sweepMatrix = (model: GridModel, site: SiteLaw): Matrix =>
  inTurn(model.lattice.colours.map((_, c) => colourMatrix(model, site, c)));

/** How often one step leads from each state to each, so many chains a state. */
export async function counted(
  model: GridModel,
  sampler: ChainSampler<GridState, ChainEnv>,
  times: number,
  under: Key,
): Promise<number[][]> {
  const states = statesOf(model), { height, width, sites } = model.lattice;
  const x = new Int8Array(states.length * times * sites);
  states.forEach((state, n) => {
    for (let t = 0; t < times; t++) x.set(state, (n * times + t) * sites);
  });
  const start: GridState = { x: view(x, [states.length * times, height, width]), step: 0 };
  const { x: { data } } = await last(run(start, { key: under })(sampler));
  const counts = states.map(() => states.map(() => 0));
  for (let c = 0; c < states.length * times; c++) {
    counts[Math.floor(c / times)]![
      numberOf(model, data.subarray(c * sites, (c + 1) * sites))
    ]!++;
  }
  return counts;
}

/** (χ² − degrees)/√(2·degrees) of counts by their laws, row by row; cells of fewer than five are put together. */
export function misfit(counts: readonly (readonly number[])[], laws: Matrix): number {
  let chi = 0, degrees = 0;
  counts.forEach((row, x) => {
    const times = row.reduce((a, b) => a + b);
    const cells: [wanted: number, got: number][] = [[0, 0]];
    row.forEach((got, y) => {
      const wanted = times * laws[x]![y]!;
      if (wanted >= 5) cells.push([wanted, got]);
      else cells[0] = [cells[0]![0] + wanted, cells[0]![1] + got];
    });
    // What cannot be and yet was is a misfit without end.
    const real = cells.filter(([wanted, got]) => wanted > 0 || got > 0);
    for (const [wanted, got] of real) chi += (got - wanted) ** 2 / Math.max(wanted, 1e-9);
    degrees += real.length - 1;
  });
  return (chi - degrees) / Math.sqrt(2 * Math.max(degrees, 1));
}

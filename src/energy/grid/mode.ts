/**
 * States of least energy of an Ising model: by descent, by cooling, and exactly by a cut.
 *
 * ```text
 *   iterated conditional modes   s_i ← sign(m_i), site by site, until nothing changes: E never rises
 *   annealing                    sweeps at a growing beta, and the best state seen
 *   least cut, J_ij ≥ 0          E(s) = constant + Σ_(ij) 2·J_ij·[s_i ≠ s_j] + Σ_i 2·|h_i|·[s_i ≠ sign h_i]
 * ```
 *
 * The last sum is a cut of a graph with a source of +1, joined to sites of h > 0, and a sink of −1, so its least value is the
 * greatest flow. The flow is found by blocking flows over shortest paths.
 *
 * Sources: J. Besag, "On the statistical analysis of dirty pictures" (1986), section 2.5; D. Greig, B. Porteous, A. Seheult,
 * "Exact maximum a posteriori estimation for binary images" (1989), section 2; E. Dinic, "Algorithm for solution of a problem
 * of maximum flow in networks with power estimation" (1970).
 *
 * @module
 */

import { refusal } from "../../tensor/check/check.ts";
import { fold, type Key } from "../../tensor/key.ts";
import { checkSpins, type Ising, isingEnergy, localField, valueAt } from "./ising.ts";
import { sweep } from "./move/sweep.ts";

/**
 * A state of low energy, and how it was come by.
 *
 * @category Grids
 */
export interface Mode {
  /** Spins of ±1, one a site. */
  readonly s: Int8Array;
  /** E(s). */
  readonly energy: number;
}

/**
 * Iterated conditional modes: each site takes the sign of its local field in turn, and stays where that is 0.
 *
 * @category Grids
 * @param model The model.
 * @param start Spins of ±1, one a site; left as they are.
 * @returns The states after each round, the start first: energies that never rise. The last is a local minimum.
 * @throws {RangeError} If the start is not of spins.
 *
 * @example A single stray spin
 * ```ts
 * import { icm, ising, lattice } from "@tweedie/tweedie/energy";
 * import assert from "node:assert/strict";
 *
 * const rounds = icm(ising(lattice(1, 3)), Int8Array.of(1, -1, 1));
 * assert.deepEqual(rounds.map(({ energy }) => energy), [2, -2]);
 * ```
 */
export function icm(model: Ising, start: Int8Array): Mode[] {
  checkSpins("find a mode", model.lattice, start);
  const s = start.slice(), rounds: Mode[] = [{ s: start.slice(), energy: isingEnergy(model, s) }];
  for (;;) {
    let changed = 0;
    for (let i = 0; i < s.length; i++) {
      if (s[i]! * localField(model, s, i) >= 0) continue;
      s[i] = -s[i]!;
      changed++;
    }
    if (changed === 0) return rounds;
    rounds.push({ s: s.slice(), energy: isingEnergy(model, s) });
  }
}

/**
 * Simulated annealing: a sweep of the heat bath at each inverse temperature.
 *
 * @category Grids
 * @param model The model.
 * @param betas Inverse temperatures, growing, one a sweep.
 * @param key All that is drawn comes from it.
 * @param start Spins of ±1, one a site. Default: all +1.
 * @returns The best state after any of the sweeps.
 * @throws {RangeError} If the start is not of spins, or there is no temperature.
 *
 * @example
 * ```ts
 * import { annealed, ising, lattice } from "@tweedie/tweedie/energy";
 * import { key } from "@tweedie/tweedie";
 * import assert from "node:assert/strict";
 *
 * const betas = Array.from({ length: 50 }, (_, i) => i / 10);
 * assert.equal(annealed(ising(lattice(4, 4), { coupling: -1 }), betas, key(0)).energy, -24);
 * ```
 */
export function annealed(
  model: Ising,
  betas: readonly number[],
  key: Key,
  start: Int8Array = new Int8Array(model.lattice.sites).fill(1),
): Mode {
  checkSpins("anneal", model.lattice, start);
  if (betas.length === 0) throw refusal("anneal", "betas must be of at least one number", "none");
  let x = start, best: Mode = { s: start, energy: isingEnergy(model, start) };
  betas.forEach((beta, i) => {
    const next = sweep(model, { rule: "gibbs", beta })(x, fold(key, i));
    x = next.x;
    if (next.energy < best.energy) best = { s: x, energy: next.energy };
  });
  return best;
}

/**
 * A state of least energy, exactly, for couplings of at least 0.
 *
 * @category Grids
 * @param model The model.
 * @returns The state; of several, the one with the fewest spins of +1.
 * @throws {RangeError} If a coupling is below 0; with the edge.
 *
 * @example
 * ```ts
 * import { ising, lattice, minCut } from "@tweedie/tweedie/energy";
 * import assert from "node:assert/strict";
 *
 * const model = ising(lattice(1, 3), { field: [2, -1, 0.5] });
 * assert.deepEqual(minCut(model).s, Int8Array.of(1, 1, 1));
 * ```
 */
export function minCut(model: Ising): Mode {
  const { lattice: { edges, sites }, coupling, field } = model;
  const ends: number[] = [], capacity: number[] = [], source = sites, sink = sites + 1;
  const join = (i: number, j: number, there: number, back: number): void => {
    ends.push(i, j);
    capacity.push(there, back);
  };
  for (let e = 0; 2 * e < edges.length; e++) {
    const j = valueAt(coupling, e), [a, b] = [edges[2 * e]!, edges[2 * e + 1]!];
    if (!(j >= 0)) {
      const wanted = `coupling of edge ${e}, sites ${a} and ${b}, must be at least 0`;
      throw refusal("find a mode by a cut", wanted, j);
    }
    join(a, b, 2 * j, 2 * j);
  }
  for (let i = 0; i < sites; i++) {
    const h = valueAt(field, i);
    if (h > 0) join(source, i, 2 * h, 0);
    if (h < 0) join(i, sink, -2 * h, 0);
  }
  const graph = graphOf(sites + 2, ends, capacity), level = saturated(graph, source, sink);
  const s = Int8Array.from({ length: sites }, (_, i) => level[i]! < 0 ? -1 : 1);
  return { s, energy: isingEnergy(model, s) };
}

/** Arc a goes from `ends[a]` to `ends[a ^ 1]` and has `left[a]` to spare. */
interface Graph {
  readonly ends: Int32Array;
  readonly left: Float64Array;
  readonly starts: Int32Array;
  readonly arcs: Int32Array;
}

function graphOf(nodes: number, ends: readonly number[], capacity: readonly number[]): Graph {
  const starts = new Int32Array(nodes + 1), arcs = new Int32Array(ends.length);
  for (const i of ends) starts[i + 1]!++;
  for (let i = 0; i < nodes; i++) starts[i + 1]! += starts[i]!;
  const next = starts.slice();
  ends.forEach((i, a) => arcs[next[i]!++] = a);
  return { ends: Int32Array.from(ends), left: Float64Array.from(capacity), starts, arcs };
}

/** Sends the greatest flow; the distance of each node from the source over what is left, −1 where none leads. */
function saturated(graph: Graph, source: number, sink: number): Int32Array {
  for (;;) {
    const level = levelsOf(graph, source);
    if (level[sink]! < 0) return level;
    blocked(graph, level, source, sink);
  }
}

function levelsOf({ ends, left, starts, arcs }: Graph, source: number): Int32Array {
  const level = new Int32Array(starts.length - 1).fill(-1), queue = [source];
  level[source] = 0;
  for (const i of queue) {
    for (let at = starts[i]!; at < starts[i + 1]!; at++) {
      const a = arcs[at]!, j = ends[a ^ 1]!;
      if (left[a]! <= 0 || level[j]! >= 0) continue;
      level[j] = level[i]! + 1;
      queue.push(j);
    }
  }
  return level;
}

/** Sends flow along shortest paths until each has an arc with nothing left. */
function blocked(graph: Graph, level: Int32Array, source: number, sink: number): void {
  const { ends, left, starts, arcs } = graph, next = starts.slice(), path: number[] = [];
  for (let i = source;;) {
    if (i === sink) {
      const flow = path.reduce((least, a) => Math.min(least, left[a]!), Infinity);
      for (const a of path) {
        left[a]! -= flow;
        left[a ^ 1]! += flow;
      }
      const full = path.findIndex((a) => left[a] === 0);
      i = ends[path[full]!]!;
      path.length = full;
      continue;
    }
    while (next[i]! < starts[i + 1]!) {
      const a = arcs[next[i]!]!;
      if (left[a]! > 0 && level[ends[a ^ 1]!] === level[i]! + 1) break;
      next[i]!++;
    }
    if (next[i]! < starts[i + 1]!) {
      path.push(arcs[next[i]!]!);
      i = ends[arcs[next[i]!]! ^ 1]!;
    } else if (i === source) return;
    else {
      const a = path.pop()!;
      i = ends[a]!;
      next[i]!++;
    }
  }
}

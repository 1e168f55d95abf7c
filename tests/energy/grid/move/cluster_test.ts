import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { key, last, run } from "../../../../mod.ts";
import {
  gridStart,
  heldProbability,
  type Ising,
  ising,
  lattice,
  restoration,
  swendsenWang,
  torus,
  wolff,
} from "../../../../src/energy/grid/mod.ts";
import { view } from "../../../../src/tensor/ndarray.ts";
import { near } from "../../../measure.ts";
import {
  after,
  centred,
  counted,
  lawOf,
  type Matrix,
  misfit,
  numberOf,
  statesOf,
} from "./kernel.ts";

const critical = Math.log(1 + Math.SQRT2) / 2, beta = 0.7;
const ring = { boundary: "periodic" } as const;
const samplers = { wolff, swendsenWang } as const;
const names = ["wolff", "swendsenWang"] as const;

const positive = (name: string, count: number) => centred(name, count).map((u) => Math.abs(u));

/** Models small enough to sum over all that may be held. */
const models: Readonly<Record<string, Ising>> = {
  "2 × 3, free": ising(lattice(2, 3), { coupling: positive("J", 7) }),
  "2 × 2 on a torus": ising(lattice(2, 2, ring), { coupling: positive("J", 8) }),
  "a ring of 5, alike": ising(lattice(1, 5, ring)),
  "2 × 2 in a field": ising(lattice(2, 2), { coupling: 0.6, field: centred("h", 4) }),
  "a ring of 3 in a field": ising(lattice(1, 3, ring), { coupling: 0.5, field: 0.4 }),
};

/** A bond between two places, of which the last is the field's, and how likely it is to be held. */
type Bond = readonly [i: number, j: number, p: number];

/** The bonds that may be held, from couplings and fields. */
function bondsOf({ lattice: { edges, sites }, coupling, field }: Ising, s: Int8Array): Bond[] {
  const at = (values: number | Float64Array, i: number) =>
    typeof values === "number" ? values : values[i]!;
  const bonds: Bond[] = [];
  for (let e = 0; 2 * e < edges.length; e++) {
    const i = edges[2 * e]!, j = edges[2 * e + 1]!;
    if (s[i] === s[j]) bonds.push([i, j, 1 - Math.exp(-2 * beta * at(coupling, e))]);
  }
  for (let i = 0; i < sites; i++) {
    const h = at(field, i) * s[i]!;
    if (h > 0) bonds.push([i, sites, 1 - Math.exp(-2 * beta * h)]);
  }
  return bonds;
}

/** The mean of a function of which part each place belongs to, over all that may be held. */
function overBonds(
  bonds: readonly Bond[],
  places: number,
  see: (part: number[], p: number) => void,
) {
  const go = (at: number, part: number[], p: number): void => {
    if (at === bonds.length) return see(part, p);
    const [i, j, held] = bonds[at]!;
    go(at + 1, part, p * (1 - held));
    go(at + 1, part.map((own) => own === part[i] ? part[j]! : own), p * held);
  };
  go(0, Array.from({ length: places }, (_, i) => i), 1);
}

/** The move as a matrix, by the sum over all bonds. */
function clusterMatrix(name: typeof names[number], model: Ising): Matrix {
  const { sites } = model.lattice, states = statesOf(model);
  return states.map((s) => {
    const row = new Float64Array(states.length);
    const without = (turned: (i: number) => boolean) =>
      numberOf(model, s.map((v, i) => turned(i) ? -v : v));
    overBonds(bondsOf(model, s), sites + 1, (part, p) => {
      const free = [...new Set(part.slice(0, sites))].filter((own) => own !== part[sites]);
      if (name === "wolff") {
        for (let site = 0; site < sites; site++) {
          const own = part[site], stays = own === part[sites];
          row[without((i) => !stays && part[i] === own)]! += p / sites;
        }
      } else {
        for (let coins = 0; coins < 2 ** free.length; coins++) {
          const isTurned = (i: number) => (coins >> free.indexOf(part[i]!) & 1) === 1;
          row[without((i) => free.includes(part[i]!) && isTurned(i))]! += p / 2 ** free.length;
        }
      }
    });
    return row;
  });
}

describe("clusters", () => {
  for (const name of names) {
    for (const [where, model] of Object.entries(models)) {
      it(`${name}() is in detailed balance, and goes where the sum over all bonds says: ${where}`, async () => {
        const matrix = clusterMatrix(name, model), p = lawOf(model, beta);
        matrix.forEach((row, x) => {
          near(row.reduce((a, b) => a + b), 1, 1e-13);
          row.forEach((each, y) => near(p[x]! * each, p[y]! * matrix[y]![x]!, 1e-15));
        });
        after(p, matrix).forEach((each, x) => near(each, p[x]!, 1e-14));
        const counts = await counted(
          model,
          samplers[name](model, { beta, steps: 1 }),
          1000,
          key(13),
        );
        const z = misfit(counts, matrix);
        assert.ok(Math.abs(z) < 4, `${z}`);
        const other = name === "wolff" ? "swendsenWang" : "wolff";
        assert.ok(misfit(counts, clusterMatrix(other, model)) > 10);
        // Held with 1 − e^(−beta·J), as where the energy is −J·[s_i = s_j]: another chain.
        const half = samplers[name](model, { beta: beta / 2, steps: 1 });
        assert.ok(misfit(await counted(model, half, 1000, key(13)), matrix) > 10);
      });
    }

    it(`${name}() finds the marginals of the restoration of 3 × 3`, async () => {
      const picture = view(Int8Array.of(0, 1, 0, 1, 0, 1, 0, 1, 0), [3, 3]), count = 1200;
      const { model } = restoration(picture, { data: 1, smooth: 0.7 });
      const sampler = samplers[name](model, { beta: 1, steps: name === "wolff" ? 90 : 20 });
      const { x: { data } } = await last(
        run(gridStart(model, { count }), { key: key(5) })(sampler),
      );
      [0.35088, 0.573305, 0.35088, 0.573305, 0.416].forEach((p, i) => {
        let up = 0;
        for (let c = 0; c < count; c++) if (data[c * 9 + i] === 1) up++;
        const z = (up / count - p) / Math.sqrt(p * (1 - p) / count);
        assert.ok(Math.abs(z) < 4, `site ${i}: ${z}`);
      });
    });
  }

  it("heldProbability() is that of Wolff's, and loses no digits of a weak coupling", () => {
    near(heldProbability(1, critical), 2 - Math.SQRT2, 1e-15);
    near(heldProbability(1e-12, 0.5) / 1e-12, 1, 1e-11);
  });

  // Onsager's −√2 is that of a lattice without end. A torus lies below it by 0.62/L, a fifth of the spread of its states at any L.
  for (const [side, steps, refuted] of [[16, 300, 10], [64, 100, 5]] as const) {
    it(`wolff() has Kaufman's energy on the critical torus of ${side} × ${side}, and not Onsager's of the plane`, async () => {
      const model = ising(lattice(side, side, ring)), count = 120, before = 40;
      const start = gridStart(model, { count, from: "cold" }), sums = new Float64Array(count);
      const chains = wolff(model, { beta: critical, steps: before + steps });
      for await (const { step, info } of run(start, { key: key(17) })(chains)) {
        if (step > before) info!.energy.forEach((u, c) => sums[c]! += u / side ** 2 / steps);
      }
      const mean = sums.reduce((a, b) => a + b) / count;
      const spread = sums.reduce((sum, u) => sum + (u - mean) ** 2, 0) / (count - 1);
      const kaufman = torus({ width: side, height: side, beta: critical }).energy;
      const z = (wanted: number) => (mean - wanted) / Math.sqrt(spread / count);
      assert.ok(Math.abs(z(kaufman)) < 4, `${z(kaufman)}`);
      assert.ok(z(-Math.SQRT2) < -refuted, `${z(-Math.SQRT2)}`);
    });
  }
});

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { run } from "../../../../mod.ts";
import {
  enumerated,
  gibbs,
  greyLevels,
  type GridModel,
  gridStart,
  type Ising,
  ising,
  lattice,
  metropolis,
  potts,
  restoration,
  torus,
} from "../../../../src/energy/grid/mod.ts";
import { key } from "../../../../src/tensor/key.ts";
import { view } from "../../../../src/tensor/ndarray.ts";
import { last } from "../../../../src/watch/record.ts";
import { near } from "../../../measure.ts";
import {
  acceptsAll,
  after,
  byRule,
  centred,
  colourMatrix,
  counted,
  lawOf,
  misfit,
  sweepMatrix,
} from "./kernel.ts";

const beta = 0.7;
const samplers = { gibbs, metropolis } as const;
const rules = ["gibbs", "metropolis"] as const;

const random = (height: number, width: number, boundary: "free" | "periodic"): Ising => {
  const on = lattice(height, width, { boundary });
  return ising(on, { coupling: centred("J", on.edges.length / 2), field: centred("h", on.sites) });
};

const ring = { boundary: "periodic" } as const;
const three = greyLevels(lattice(2, 2), { levels: 3, weight: 0.8, single: centred("D", 12) });

/** Free, rings of even and odd length, sides that join twice, one number for all; levels with and without a field. */
const models: Readonly<Record<string, GridModel>> = {
  "2 × 3 spins, free": random(2, 3, "free"),
  "2 × 2 spins on a torus": random(2, 2, "periodic"),
  "a ring of 5 spins": random(1, 5, "periodic"),
  "2 × 3 spins on a torus": random(2, 3, "periodic"),
  "2 × 3 spins alike": ising(lattice(2, 3), { coupling: 0.6, field: 0.3 }),
  "2 × 2 spins alike on a torus": ising(lattice(2, 2, ring), { coupling: 0.4, field: -0.2 }),
  "a ring of 5 spins alike": ising(lattice(1, 5, ring), { coupling: 0.5, field: 0.2 }),
  "a ring of 3 Potts levels": potts(lattice(1, 3, ring), { levels: 3, weight: 1.5 }),
  "2 × 2 grey levels": three,
};

describe("the kernels", () => {
  for (const rule of rules) {
    for (const [name, model] of Object.entries({ ...models, torus: random(3, 3, "periodic") })) {
      it(`${rule}() of each colour is in detailed balance, and of all leaves the law alone: ${name}`, () => {
        const site = byRule(rule, beta), p = lawOf(model, beta);
        let swept = p;
        model.lattice.colours.forEach((_, c) => {
          const matrix = colourMatrix(model, site, c);
          let worst = 0;
          matrix.forEach((row, x) => {
            near(row.reduce((a, b) => a + b), 1, 1e-14);
            row.forEach((each, y) => {
              worst = Math.max(worst, Math.abs(p[x]! * each - p[y]! * matrix[y]![x]!));
            });
          });
          assert.ok(worst < 1e-16, `${worst}`);
          swept = after(swept, matrix);
        });
        p.forEach((each, x) => near(swept[x]!, each, 1e-14));
      });
    }

    for (const [name, model] of Object.entries(models)) {
      it(`${rule}() goes from each state to each as its matrix says: ${name}`, async () => {
        const sampler = samplers[rule](model, { beta, steps: 1 });
        const counts = await counted(model, sampler, 1000, key(11));
        const z = misfit(counts, sweepMatrix(model, byRule(rule, beta)));
        assert.ok(Math.abs(z) < 4, `${z}`);
        const other = rule === "gibbs" ? byRule("metropolis", beta) : acceptsAll;
        assert.ok(misfit(counts, sweepMatrix(model, other)) > 10);
      });
    }
  }

  for (const rule of rules) {
    // No field, and nothing lost by turning some spin: trials that were always made would turn these in step for ever.
    const even: Readonly<Record<string, GridModel>> = {
      "2 × 2 spins": ising(lattice(2, 2)),
      "2 × 2 spins that oppose": ising(lattice(2, 2), { coupling: -1 }),
      "a ring of 6 spins": ising(lattice(1, 6, ring)),
      "a ring of 4 of two levels": potts(lattice(1, 4, ring), { levels: 2, weight: 1 }),
    };
    for (const [name, model] of Object.entries(even)) {
      for (const beta of [0, 0.5]) {
        it(`${rule}() comes to the law from any state at beta = ${beta}: ${name}`, () => {
          let matrix = sweepMatrix(model, byRule(rule, beta));
          // T^1024 by squares: each row is the law.
          for (let i = 0; i < 10; i++) matrix = matrix.map((row) => after(row, matrix));
          const p = lawOf(model, beta);
          for (const row of matrix) p.forEach((each, x) => near(row[x]!, each, 1e-10));
        });
      }
    }
  }

  it("the misfit of counts by their own law is that of a normal number", () => {
    // Rows of a fair coin, half of the rows one and the other half two standard errors off: χ² = 50·1 + 50·4.
    const counts = Array.from({ length: 100 }, (_, n) => n % 2 ? [5050, 4950] : [5100, 4900]);
    const fair = counts.map(() => Float64Array.of(0.5, 0.5));
    near(misfit(counts, fair), (250 - 100) / Math.sqrt(200), 1e-12);
  });
});

/** Chains by themselves after so many sweeps, from a hot start. */
async function ended(
  rule: typeof rules[number],
  model: GridModel,
  { count, steps, at = 1 }: { count: number; steps: number; at?: number },
) {
  const start = gridStart(model, { count }), sampler = samplers[rule](model, { beta: at, steps });
  return await last(run(start, { key: key(21) })(sampler));
}

/** How many standard errors a share of so many lies from a probability. */
const zOf = (share: number, p: number, count: number): number =>
  (share - p) / Math.sqrt(p * (1 - p) / count);

describe("the chains", () => {
  for (const rule of rules) {
    it(`${rule}() finds the marginals of the restoration of 3 × 3`, async () => {
      const picture = view(Int8Array.of(0, 1, 0, 1, 0, 1, 0, 1, 0), [3, 3]), count = 5000;
      const { model } = restoration(picture, { data: 1, smooth: 0.7 });
      const { x: { data } } = await ended(rule, model, { count, steps: 12 });
      const wanted = [0.35088, 0.573305, 0.35088, 0.573305, 0.416];
      wanted.forEach((p, i) => {
        let up = 0;
        for (let c = 0; c < count; c++) if (data[c * 9 + i] === 1) up++;
        const z = zOf(up / count, p, count);
        assert.ok(Math.abs(z) < 4, `site ${i}: ${z}`);
        // The data alone would say 1/(1 + e) and e/(1 + e).
        const alone = 1 / (1 + Math.exp(i % 2 ? -1 : 1));
        assert.ok(Math.abs(zOf(up / count, alone, count)) > 10);
      });
    });

    it(`${rule}() finds the marginals of grey levels`, async () => {
      const count = 5000, { x: { data } } = await ended(rule, three, { count, steps: 12 });
      const { marginals } = enumerated(three);
      for (let i = 0; i < 4; i++) {
        for (const a of [0, 1, 2]) {
          let found = 0;
          for (let c = 0; c < count; c++) if (data[c * 4 + i] === a) found++;
          const z = zOf(found / count, marginals[i * 3 + a]!, count);
          assert.ok(Math.abs(z) < 4, `${i}, ${a}: ${z}`);
        }
      }
    });

    it(`${rule}() has the energy of an 8 × 8 torus`, async () => {
      const at = 0.3, count = 1000, model = ising(lattice(8, 8, ring));
      const { info } = await ended(rule, model, { count, steps: 40, at });
      const mean = info!.energy.reduce((a, b) => a + b) / count;
      const spread = info!.energy.reduce((sum, u) => sum + (u - mean) ** 2, 0) / (count - 1);
      const wanted = 64 * torus({ width: 8, height: 8, beta: at }).energy;
      const z = (mean - wanted) / Math.sqrt(spread / count);
      assert.ok(Math.abs(z) < 4, `${z}`);
      const hotter = 64 * torus({ width: 8, height: 8, beta: 0.9 * at }).energy;
      assert.ok((mean - hotter) / Math.sqrt(spread / count) < -10);
    });
  }

  it("metropolis() does not end in the uniform law, as it would if it accepted all trials", async () => {
    const single = [0, 1, 0.5, 2, 0.2], model = potts(lattice(1, 1), { levels: 5, single });
    const count = 5000, { x: { data } } = await ended("metropolis", model, { count, steps: 20 });
    const counts = [single.map((_, a) => data.filter((level) => level === a).length)];
    const z = misfit(counts, [lawOf(model, 1)]);
    assert.ok(Math.abs(z) < 4, `${z}`);
    assert.ok(misfit(counts, [new Float64Array(5).fill(1 / 5)]) > 10);
  });

  for (const p of [0.002, 77.5 / 256, 0.998]) {
    it(`gibbs() draws a probability of ${p} finer than by bytes`, async () => {
      const model = ising(lattice(512, 512), { coupling: 0, field: Math.log(p / (1 - p)) / 2 });
      let up = 0, sweeps = 0;
      for await (
        const { info } of run(gridStart(model), { key: key(31) })(
          gibbs(model, { beta: 1, steps: 32 }),
        )
      ) {
        if (info === undefined) continue;
        up += (1 + info.magnetization[0]!) / 2;
        sweeps++;
      }
      const error = Math.sqrt(p * (1 - p) / (sweeps * 2 ** 18));
      const z = (wanted: number): number => Math.abs(up / sweeps - wanted) / error;
      assert.ok(z(p) < 4, `${z(p)}`);
      assert.ok(z(Math.floor(256 * p) / 256) > 10 && z(Math.ceil(256 * p) / 256) > 10);
    });
  }
});

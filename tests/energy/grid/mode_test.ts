import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import {
  annealed,
  enumerated,
  flipEnergy,
  icm,
  type Ising,
  ising,
  lattice,
  minCut,
} from "../../../src/energy/grid/mod.ts";
import { fold, type Key, key } from "../../../src/tensor/key.ts";
import { uniforms } from "../../../src/tensor/random.ts";
import { average, near, variance } from "../../measure.ts";
import { after, byRule, centred, colourMatrix, numberOf } from "./move/kernel.ts";

/** Couplings in [0, 1) and fields in [−1.5, 1.5). */
const random = (height: number, width: number, under: Key) => {
  const on = lattice(height, width);
  return ising(on, {
    coupling: uniforms(fold(under, "J"), on.edges.length / 2),
    field: Float64Array.from(uniforms(fold(under, "h"), on.sites), (u) => 3 * (u - 0.5)),
  });
};

const slow = Array.from({ length: 40 }, (_, i) => 0.1 * i);

/** The probability that sweeps of the heat bath from all +1 come by a state, where they are ended. */
function chanceOf(model: Ising, state: Int8Array, betas: readonly number[]): number {
  const at = numberOf(model, state);
  let p: Float64Array = new Float64Array(2 ** state.length), found = 0;
  p[p.length - 1] = 1;
  for (const beta of betas) {
    const site = byRule("gibbs", beta);
    for (const colour of [0, 1]) p = after(p, colourMatrix(model, site, colour));
    found += p[at]!;
    p[at] = 0;
  }
  return found;
}

describe("minCut()", () => {
  it("minCut() is the least of all states on a thousand grids of 3 × 4", () => {
    for (let i = 0; i < 1000; i++) {
      const model = random(3, 4, fold(key(3), i)), { energy, s } = minCut(model);
      const { least, mode } = enumerated(model);
      near(energy, least, 1e-12);
      assert.deepEqual(s, mode);
    }
  });

  it("minCut() of 64 × 64 is the least energy that PyMaxflow 1.3.2 finds", () => {
    const { energy, s } = minCut(random(64, 64, key(5)));
    near(energy, -4682.7024166584015, 1e-9);
    assert.equal(s.filter((v) => v > 0).length, 2053);
  });

  it("minCut() refuses a coupling below 0 and names its edge", () => {
    const model = ising(lattice(1, 3), { coupling: [1, -0.5] });
    assert.throws(
      () => minCut(model),
      /coupling of edge 1, sites 1 and 2, must be at least 0, got -0.5/,
    );
  });
});

describe("icm() and annealed()", () => {
  it("icm() never raises the energy, and ends where no single spin lowers it", () => {
    let longest = 0;
    for (let i = 0; i < 50; i++) {
      const model = random(8, 8, fold(key(7), i));
      const start = Int8Array.from(uniforms(fold(key(8), i), 64), (u) => u < 0.5 ? -1 : 1);
      const rounds = icm(model, start), last = rounds.at(-1)!;
      rounds.slice(1).forEach(({ energy }, r) => assert.ok(energy < rounds[r]!.energy));
      assert.equal(icm(model, last.s).length, 1);
      last.s.forEach((_, i) => assert.ok(flipEnergy(model, last.s, i) >= 0));
      assert.ok(last.energy >= minCut(model).energy - 1e-12);
      longest = Math.max(longest, rounds.length);
    }
    assert.ok(longest > 2);
    // Where a field is 0 a spin stays.
    assert.equal(icm(ising(lattice(1, 2), { coupling: 0 }), Int8Array.of(1, -1)).length, 1);
    assert.throws(
      () => icm(random(2, 2, key(0)), new Int8Array(4)),
      /s\[0\] must be -1 or 1, got 0/,
    );
  });

  for (const [pace, betas] of [["fast", [0.2, 0.5, 1, 2]], ["slow", slow]] as const) {
    it(`annealed() finds the mode as often as its transition matrices say, cooled ${pace}`, () => {
      const on = lattice(3, 3),
        model = ising(on, {
          coupling: centred("J", 12),
          field: centred("h", 9),
        });
      const { least, mode } = enumerated(model), found = chanceOf(model, mode, betas), runs = 2000;
      let count = 0;
      for (let i = 0; i < runs; i++) {
        if (annealed(model, betas, fold(key(9), i)).energy < least + 1e-9) count++;
      }
      const z = (p: number) => (count / runs - p) / Math.sqrt(p * (1 - p) / runs);
      assert.ok(Math.abs(z(found)) < 4, `${count} of ${runs}, ${found}`);
      if (pace === "slow") assert.ok(found > 0.9, `${found}`);
      // As of the other way round.
      else assert.ok(Math.abs(z(chanceOf(model, mode, [...betas].reverse()))) > 10);
    });
  }

  it("of least cut, annealing and descent each is at least as low as the next, and lower in the mean", () => {
    const betas = Array.from({ length: 100 }, (_, i) => 0.05 * i), gains: number[] = [];
    for (let i = 0; i < 40; i++) {
      const model = random(8, 8, fold(key(9), i)), { energy: least } = minCut(model);
      const { s, energy: descended } = icm(model, new Int8Array(64).fill(1)).at(-1)!;
      const { energy: cooled } = annealed(model, betas, key(i), s);
      assert.ok(least <= cooled + 1e-9 && cooled <= descended);
      gains.push(descended - annealed(model, betas, key(i)).energy);
    }
    const z = average(gains) / Math.sqrt(variance(gains) / (gains.length - 1));
    assert.ok(z > 4, `${z}`);
  });

  it("annealed() refuses no temperatures, and a start that is none", () => {
    const model = random(2, 2, key(0));
    assert.throws(() => annealed(model, [], key(0)), /betas must be of at least one number/);
    assert.throws(
      () => annealed(model, [1], key(0), new Int8Array(3)),
      /Cannot anneal: s must be of 4 spins, got 3/,
    );
  });
});

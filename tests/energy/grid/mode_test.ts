import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { annealed, enumerated, icm, ising, lattice, minCut } from "../../../src/energy/grid/mod.ts";
import { fold, type Key, key } from "../../../src/tensor/key.ts";
import { uniforms } from "../../../src/tensor/random.ts";
import { near } from "../../measure.ts";

/** Couplings in [0, 1) and fields in [−1.5, 1.5). */
const random = (height: number, width: number, under: Key) => {
  const on = lattice(height, width);
  return ising(on, {
    coupling: uniforms(fold(under, "J"), on.edges.length / 2),
    field: Float64Array.from(uniforms(fold(under, "h"), on.sites), (u) => 3 * (u - 0.5)),
  });
};

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
      assert.ok(last.energy >= minCut(model).energy - 1e-12);
      longest = Math.max(longest, rounds.length);
    }
    assert.ok(longest > 2);
    assert.throws(
      () => icm(random(2, 2, key(0)), new Int8Array(4)),
      /s\[0\] must be -1 or 1, got 0/,
    );
  });

  it("annealed() finds the least cut of 8 × 8, where a descent from the same start does not", () => {
    const betas = Array.from({ length: 300 }, (_, i) => 0.02 * i);
    // The draws are fixed: 14 and 0 of 20.
    let found = 0, descended = 0;
    for (let i = 0; i < 20; i++) {
      const model = random(8, 8, fold(key(9), i)), { energy: least } = minCut(model);
      if (annealed(model, betas, key(i)).energy < least + 1e-9) found++;
      if (icm(model, new Int8Array(64).fill(1)).at(-1)!.energy < least + 1e-9) descended++;
    }
    assert.ok(found >= 14 && descended < 4, `${found}, ${descended}`);
  });
});

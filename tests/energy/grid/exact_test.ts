import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import {
  conditional,
  enumerated,
  greyLevels,
  ising,
  lattice,
  pairwiseEnergy,
  potts,
  restoration,
  strip,
  torus,
} from "../../../src/energy/grid/mod.ts";
import { view } from "../../../src/tensor/ndarray.ts";
import { near } from "../../measure.ts";
import { centred } from "./move/kernel.ts";

const critical = Math.log(1 + Math.SQRT2) / 2;

describe("enumerated()", () => {
  const x = (text: string) => view(Int8Array.from(text.replaceAll("/", ""), Number), [3, 3]);

  it("enumerated() of a restoration on 3 × 3 gives the known numbers", () => {
    const { model, constant } = restoration(x("010/101/010"), { data: 1, smooth: 0.7 });
    const { logZ, mode, least, marginals, states } = enumerated(model);
    near(constant + logZ, 16.19923013, 1e-8);
    assert.equal(states, 512);
    assert.deepEqual(mode, new Int8Array(9).fill(-1));
    near(constant - least, 13.4, 1e-12);
    near(Math.exp(-least - logZ), 0.06085690, 1e-8);
    for (const [i, p] of [[0, 0.35088], [2, 0.35088], [1, 0.573305], [4, 0.416]] as const) {
      near(marginals[2 * i + 1]!, p, 5e-7);
    }
    const ring = restoration(x("111/101/111"), { data: 1, smooth: 0.7 });
    const full = enumerated(ring.model);
    near(ring.constant + full.logZ, 17.34930571, 1e-8);
    assert.deepEqual(full.mode, new Int8Array(9).fill(1));
  });

  it("enumerated() of picture and truth together gives the joint sum", () => {
    // Σ_x exp(data·[x = y]) is 1 + e whatever y is, so that the joint sum is that of the truth alone, nine times.
    const { model, constant } = restoration(x("000/000/000"), { data: 0, smooth: 0.7 });
    near(constant + enumerated(model).logZ + 9 * Math.log(1 + Math.E), 23.03467027, 1e-8);
  });

  it("enumerated() of spins that do not see each other is a product", () => {
    const field = centred("theta", 16), model = ising(lattice(4, 4), { coupling: 0, field });
    const { logZ, marginals } = enumerated(model, { beta: 0.8 });
    near(logZ, field.reduce((sum, h) => sum + Math.log(2 * Math.cosh(0.8 * h)), 0), 1e-11);
    field.forEach((h, i) => near(marginals[2 * i + 1]!, conditional(h, 0.8), 1e-12));
  });

  it("enumerated() of grey levels is a plain sum", () => {
    const model = greyLevels(lattice(2, 2), { levels: 3, weight: 0.4, single: centred("D", 12) });
    let z = 0;
    for (let n = 0; n < 81; n++) {
      const state = Int8Array.from({ length: 4 }, (_, i) => Math.floor(n / 3 ** i) % 3);
      z += Math.exp(-pairwiseEnergy(model, state));
    }
    near(enumerated(model).logZ, Math.log(z), 1e-13);
    const nine = enumerated(greyLevels(lattice(3, 3), { levels: 3 }), { beta: 0 });
    near(nine.logZ, 9 * Math.log(3), 1e-12);
    const two = enumerated(potts(lattice(2, 3), { levels: 2, weight: 2 }));
    near(two.logZ, enumerated(ising(lattice(2, 3))).logZ + 7, 1e-12);
  });

  it("enumerated() says how many states are too many", () => {
    assert.throws(
      () => enumerated(ising(lattice(5, 5))),
      /must have at most 1048576 states, got "2\^25 = 33554432"/,
    );
  });
});

describe("strip() and torus()", () => {
  for (const beta of [0.2, critical, 0.7]) {
    for (const [height, width] of [[2, 2], [2, 5], [3, 4], [4, 3]] as const) {
      it(`strip() and torus() of ${height} × ${width} at ${beta.toFixed(3)} are the sum of all states`, () => {
        const on = lattice(height, width, { boundary: "periodic" }), sites = height * width;
        const wanted = enumerated(ising(on, { coupling: 0.9 }), { beta });
        for (const sum of [strip, torus]) {
          const { logZ, energy } = sum({ height, width, beta, coupling: 0.9 });
          near(logZ, wanted.logZ / sites, 1e-12);
          near(energy, wanted.energy / sites, 1e-11);
        }
        const inField = enumerated(ising(on, { field: 0.3 }), { beta });
        const { logZ, energy } = strip({ height, width, beta, field: 0.3 });
        near(logZ, inField.logZ / sites, 1e-12);
        near(energy, inField.energy / sites, 1e-11);
      });
    }
  }

  it("torus() gives the energies of the critical torus, and strip() what it tends to", () => {
    near(torus({ width: 64, height: 64, beta: critical }).energy, -1.423938389833, 1e-12);
    near(torus({ width: 128, height: 128, beta: critical }).energy, -1.419076272085, 1e-12);
    for (const beta of [0.3, critical, 0.5]) {
      const long = torus({ width: 8, height: 4000, beta });
      const endless = strip({ width: 8, height: Infinity, beta });
      near(endless.logZ, long.logZ, beta > critical ? 1e-3 : 1e-11);
      near(endless.energy, long.energy, 1e-9);
    }
  });

  it("strip() and torus() refuse what they cannot sum", () => {
    assert.throws(() => strip({ width: 13, height: Infinity, beta: 1 }), /at most 12, got 13/);
    assert.throws(() => strip({ width: 9, height: 9, beta: 1 }), /at most 8, got 9/);
    assert.throws(
      () => torus({ width: 4, height: 4, beta: 1, coupling: -1 }),
      /coupling must be above 0, got -1/,
    );
  });
});

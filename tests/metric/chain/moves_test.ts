import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { acceptanceRate, bfmi } from "../../../src/metric/chain/moves.ts";
import { key } from "../../../src/tensor/key.ts";
import { normals } from "../../../src/tensor/random.ts";

describe("bfmi()", () => {
  it("is worked by hand, of each chain by itself", () => {
    // Squares of steps 1 + 4 + 1 = 6, of deviations from 2.5: (1.5² + 0.5² + 1.5² + 0.5²) = 5.
    assert.deepEqual([...bfmi([[1, 2, 4, 3], [0, 0, 1, 1]])], [6 / 5, 1]);
  });

  it("is 2(1 − φ) of an autoregressive chain within four standard errors, and 2 of independent energies", () => {
    for (const phi of [0, 0.9]) {
      const n = 20_000;
      let x = 0;
      const [found] = bfmi([normals(key(4), n).map((e) => x = phi * x + e)]);
      const z = (found! - 2 * (1 - phi)) / (2 * Math.sqrt((1 - phi * phi) / n));
      assert.ok(Math.abs(z) < 4, `z = ${z}`);
      assert.ok(Math.abs(found! - (1 - phi)) / (2 * Math.sqrt((1 - phi * phi) / n)) > 10);
    }
  });

  it("is NaN of fewer than four energies, of constant ones, and of one that is not finite", () => {
    assert.deepEqual([...bfmi([[1, 2, 4]])], [NaN]);
    assert.deepEqual([...bfmi([[1, 1, 1, 1], [1, 2, NaN, 3], [1, Infinity, 2, 3], [1, 2, 1, 2]])], [
      NaN,
      NaN,
      NaN,
      3,
    ]);
  });
});

describe("acceptanceRate()", () => {
  it("is the mean over all chains", () => {
    assert.equal(acceptanceRate([[1, 1, 0, 0], [0, 1, 0, 0.5]]), 3.5 / 8);
  });

  it("refuses no moves, and what is no share", () => {
    const action = "Cannot find an acceptance rate: ";
    assert.throws(() => acceptanceRate([[]]), {
      name: "RangeError",
      message: `${action}accepted must be of at least one move, got 0`,
    });
    for (const fault of [-0.5, 1.5, NaN]) {
      assert.throws(() => acceptanceRate([[0, fault]]), {
        name: "RangeError",
        message: `${action}accepted must be in [0, 1], got ${fault}`,
      });
    }
  });
});

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import {
  autocorrelation,
  autocovariance,
  transformedProducts,
} from "../../../src/metric/chain/autocovariance.ts";
import { fold, key } from "../../../src/tensor/key.ts";
import { normals } from "../../../src/tensor/random.ts";
import { near, nearly } from "../../measure.ts";

describe("transformedProducts()", () => {
  it("are the sums of products at every lag, of an even and an odd number of chains of any length", () => {
    for (const [count, n] of [[1, 1], [1, 2], [2, 7], [3, 8], [4, 33]] as const) {
      const chains = Array.from(
        { length: count },
        (_, c) => Float64Array.from(normals(fold(key(3), c), n)),
      );
      const found = transformedProducts(chains);
      assert.equal(found.length, n);
      for (let k = 0; k < n; k++) {
        let sum = 0;
        for (const y of chains) for (let t = k; t < n; t++) sum += y[t]! * y[t - k]!;
        near(found[k]!, sum, 1e-12 * found[0]!);
      }
    }
  });
});

describe("autocovariance()", () => {
  it("is worked by hand, with S for the divisor at each lag", () => {
    // Deviations −2, −1, 0, 3.
    assert.deepEqual([...autocovariance([1, 2, 3, 6])], [14, 2, -3, -6].map((sum) => sum / 4));
    assert.deepEqual([...autocovariance([5])], [0]);
  });

  it("gives as many lags as it is asked for, and loses no digits to a mean that is large", () => {
    const x = Array.from(normals(key(1), 64), (value) => Math.round(1024 * value) / 1024);
    const far = autocovariance(x.map((value) => value + 2 ** 30), 3), here = autocovariance(x, 3);
    assert.equal(here.length, 4);
    here.forEach((value, k) => nearly(far[k]!, value, 1e-12));
  });

  it("is NaN where a draw is not finite", () => {
    assert.deepEqual([...autocovariance([1, NaN, 2], 1)], [NaN, NaN]);
    assert.deepEqual([...autocovariance([1, Infinity, 2])], [NaN, NaN, NaN]);
  });

  it("refuses an empty chain and lags that there are not", () => {
    const action = "Cannot find autocovariances: ";
    assert.throws(() => autocovariance([]), {
      name: "RangeError",
      message: `${action}chain must be of at least one draw, got 0`,
    });
    for (const lags of [-1, 2, 0.5, NaN]) {
      assert.throws(() => autocovariance([1, 2], lags), {
        name: "RangeError",
        message: `${action}lags must be a whole number of 0 to 1, got ${lags}`,
      });
    }
  });
});

describe("autocorrelation()", () => {
  it("is 1 at lag 0, and φᵏ of an autoregressive chain within four standard errors", () => {
    const phi = 0.8, n = 50_000;
    let x = 0;
    const r = autocorrelation(normals(key(7), n).map((e) => x = phi * x + e), 4);
    assert.equal(r[0], 1);
    for (let k = 1; k <= 4; k++) {
      // Bartlett's formula for the variance of rₖ.
      const square = phi * phi;
      const variance = ((1 + square) * (1 - square ** k) / (1 - square) - 2 * k * square ** k) / n;
      const z = (r[k]! - phi ** k) / Math.sqrt(variance);
      assert.ok(Math.abs(z) < 4, `lag ${k}: z = ${z}`);
      assert.ok(Math.abs(r[k]! - phi ** (k + 1)) > 10 * Math.sqrt(variance));
    }
  });

  it("is NaN of a constant chain, also where the mean is rounded", () => {
    assert.deepEqual([...autocorrelation([0.1, 0.1, 0.1], 1)], [NaN, NaN]);
  });
});

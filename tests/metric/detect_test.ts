/** The area under the ROC: by all pairs, of normal laws in closed form, under rising functions; thresholds by counting. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { auroc, thresholdAt } from "../../src/metric/detect.ts";
import { fold, key } from "../../src/tensor/key.ts";
import { normals } from "../../src/tensor/random.ts";

/** Φ(0.7/√2), Φ(1/√2) and Φ(2/√2). */
const closed = [[0.7, 0.6896883], [1, 0.7602499], [2, 0.9213504]] as const;

describe("auroc()", () => {
  it("is the share of pairs in order, equal ones by half", () => {
    const odd = [1, 2, 2, 5, -3], usual = [2, 0, 2, 7];
    const pairs = odd.flatMap((a) => usual.map((b) => a > b ? 1 : a === b ? 0.5 : 0));
    const wanted = pairs.reduce((sum: number, each) => sum + each, 0) / pairs.length;
    assert.equal(auroc(odd, usual).area, wanted);
    assert.ok(Math.abs(auroc(usual, odd).area - (1 - wanted)) < 1e-15);
    assert.deepEqual([auroc([1, 2], [0]).area, auroc([0], [1, 2]).area], [1, 0]);
    assert.equal(auroc([3, 3], [3]).area, 0.5);
    // Shares 1, 1/2, 3/4, of variance 1/16, and 1/2, 0, of variance 1/8.
    assert.ok(Math.abs(auroc([3, 1, 2], [2, 0]).standardError - Math.sqrt(1 / 12)) < 1e-15);
  });

  it("is Φ(δ/√2) of two normal laws at a distance δ, within its error, which shrinks as 1/√n", () => {
    for (const [shift, wanted] of closed) {
      const [odd, usual] = ["odd", "usual"].map((use) => normals(fold(key(5), use), 4000));
      const { area, standardError: error } = auroc(odd!.map((x) => x + shift), usual!);
      assert.ok(Math.abs(area - wanted) < 4 * error, `${area} ± ${error}, ${wanted}`);
      // DeLong's error over many samples is the spread of the areas.
      const areas = Array.from({ length: 200 }, (_, i) => {
        const draw = (use: string) => normals(fold(fold(key(6), use), i), 50);
        return auroc(draw("odd").map((x) => x + shift), draw("usual"));
      });
      const mean = areas.reduce((sum, { area }) => sum + area, 0) / 200;
      const spread = areas.reduce((sum, { area }) => sum + (area - mean) ** 2, 0) / 199;
      const told = areas.reduce((sum, { standardError }) => sum + standardError ** 2, 0) / 200;
      assert.ok(Math.abs(spread / told - 1) < 4 * Math.sqrt(2 / 199), `${spread}, ${told}`);
    }
  });

  it("does not change under a rising function", () => {
    const odd = normals(key(1), 100), usual = normals(key(2), 100);
    const rising = (x: Float32Array) => Float64Array.from(x, (x) => Math.exp(3 * x) - 7);
    assert.deepEqual(auroc(rising(odd), rising(usual)), auroc(odd, usual));
  });

  it("refuses what is no score", () => {
    assert.throws(() => auroc([], [1]), /Cannot compute the AUROC: odd must be at least one score/);
    assert.throws(() => auroc([1], [NaN]), /usual must be finite, got NaN/);
    assert.throws(() => auroc([Infinity], [1]), /odd must be finite, got Infinity/);
    assert.ok(Number.isNaN(auroc([1], [0, 2]).standardError));
  });
});

describe("thresholdAt()", () => {
  it("leaves at most the share of the usual above it, and no lower one does", () => {
    const usual = [...normals(key(3), 37), 0.5, 0.5, 0.5];
    for (const rate of [0, 0.025, 0.05, 0.075, 0.1, 0.33, 0.5, 0.975, 0.999]) {
      const threshold = thresholdAt(usual, rate),
        above = (t: number) => usual.filter((x) => x > t).length;
      assert.ok(above(threshold) <= rate * 40 + 1e-9, `${rate}`);
      const lower = usual.filter((x) => x < threshold);
      if (lower.length > 0) assert.ok(above(Math.max(...lower)) > rate * 40, `${rate}`);
    }
  });

  it("refuses shares that are none", () => {
    for (const rate of [-0.1, 1, NaN]) {
      assert.throws(() => thresholdAt([1], rate), /rate must be in \[0, 1\)/);
    }
  });
});

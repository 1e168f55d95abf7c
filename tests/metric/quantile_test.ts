import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { betaQuantile, normalQuantile } from "../../src/metric/quantile.ts";
import { nearly } from "../measure.ts";

describe("normalQuantile()", () => {
  it("normalQuantile() is SciPy's ndtri, on all three of its ranges and at their borders", () => {
    const wanted: readonly (readonly [number, number])[] = [
      [1e-300, -37.0470962993612],
      [1e-20, -9.262340089798409],
      [1e-10, -6.361340902404056],
      [1e-5, -4.264890793922825],
      [0.001, -3.090232306167813],
      [0.075, -1.4395314709384563],
      [0.0750001, -1.4395307645017301],
      [0.1586553, -0.9999998096111062],
      [0.3, -0.5244005127080409],
      [0.7, 0.5244005127080407],
      [0.925, 1.4395314709384563],
      [0.99, 2.3263478740408408],
      [0.999999, 4.753424308817087],
    ];
    for (const [p, x] of wanted) nearly(normalQuantile(p), x, 1e-15);
  });

  it("normalQuantile() is 0 at 1/2, infinite at 0 and 1, and NaN outside", () => {
    assert.deepEqual([0.5, 0, 1, -0.1, 1.1, NaN].map(normalQuantile), [
      0,
      -Infinity,
      Infinity,
      NaN,
      NaN,
      NaN,
    ]);
  });
});

describe("betaQuantile()", () => {
  it("betaQuantile() is SciPy's beta.ppf, for small and for large parameters", () => {
    const wanted: readonly (readonly [number, number, number, number])[] = [
      [0.1586553, 1, 1, 0.1586553],
      [0.8413447, 1, 101, 0.018062810223504717],
      [0.1586553, 3.5, 2.25, 0.4057822405460536],
      [0.5, 0.5, 0.5, 0.5],
      [0.8413447, 51, 951, 0.05782260705770927],
      [0.1586553, 5001, 95001, 0.04931976526009513],
      [0.8413447, 50001, 50001, 0.5015811227178866],
      [0.1586553, 2, 1, 0.3983155784048623],
      [0.8413447, 1e6, 3, 0.9999986327067947],
      [1e-6, 20, 30, 0.12860994181679575],
    ];
    for (const [p, a, b, x] of wanted) nearly(betaQuantile(p, a, b), x, 1e-14);
  });

  it("betaQuantile() is a root where one parameter is 1: I_x(a, 1) = xᵃ", () => {
    for (const a of [0.3, 1, 7, 1e4]) {
      nearly(betaQuantile(0.2, a, 1), 0.2 ** (1 / a), 1e-14);
      nearly(1 - betaQuantile(0.2, 1, a), 0.8 ** (1 / a), 1e-14);
    }
  });
});

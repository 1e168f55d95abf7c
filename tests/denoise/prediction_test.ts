import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import fc from "fast-check";
import * as tf from "@tensorflow/tfjs-core";
import { useBackend } from "../../src/tensor/backend/backend.ts";
import type { Level } from "../../src/noise/schedule/schedule.ts";
import {
  coefficients,
  convert,
  type Kind,
  plane,
  type Prediction,
} from "../../src/denoise/prediction.ts";
import { live } from "../measure.ts";

await useBackend("cpu");

const kinds: readonly Kind[] = ["eps", "x0", "v", "flow", "score"];
const sources = [...kinds, "gradient"] as const;

/** Levels of any schedule, not only alpha² + sigma² = 1. */
const levels: fc.Arbitrary<Level> = fc.record({
  alpha: fc.double({ min: 0.01, max: 1, noNaN: true }),
  sigma: fc.double({ min: 0.01, max: 100, noNaN: true }),
});
const values = fc.double({ min: -3, max: 3, noNaN: true });

const near = (actual: number, wanted: number, tolerance: number, scale = 1): void =>
  assert.ok(Math.abs(actual - wanted) <= tolerance * scale, `${actual} is not ${wanted}`);

/** The value of a kind where x_0 and eps are known. */
const valueOf = (kind: Kind | "gradient", { alpha, sigma }: Level, x0: number, eps: number) =>
  ({
    eps,
    x0,
    v: alpha * eps - sigma * x0,
    flow: eps - x0,
    score: -eps / sigma,
    gradient: eps / sigma,
  })[kind];

describe("prediction", () => {
  it("coefficients() takes the value of each kind to that of each other, at any level", () => {
    fc.assert(fc.property(levels, values, values, (level, x0, eps) => {
      const xt = level.alpha * x0 + level.sigma * eps;
      for (const from of sources) {
        for (const wanted of kinds) {
          const [a, b] = coefficients(from, wanted, level), value = valueOf(from, level, x0, eps);
          const scale = 1 + Math.abs(a * xt) + Math.abs(b * value);
          near(a * xt + b * value, valueOf(wanted, level, x0, eps), 1e-11, scale);
        }
      }
    }));
  });

  it("coefficients() there and back are the identity", () => {
    fc.assert(fc.property(levels, (level) => {
      for (const from of kinds) {
        for (const wanted of kinds) {
          const [a, b] = coefficients(from, wanted, level);
          const [c, d] = coefficients(wanted, from, level);
          near(b * d, 1, 1e-9);
          near(d * a + c, 0, 1e-9, 1 + Math.abs(c));
        }
      }
    }));
  });

  it("coefficients() hold the textbook forms where alpha² + sigma² = 1", () => {
    const level = { alpha: 0.8, sigma: 0.6 };
    const close = (pair: number[], wanted: number[]) =>
      pair.forEach((value, i) => near(value, wanted[i]!, 1e-14));
    close(coefficients("v", "x0", level), [0.8, -0.6]);
    close(coefficients("v", "eps", level), [0.6, 0.8]);
    close(coefficients("eps", "x0", level), [1 / 0.8, -0.6 / 0.8]);
    close(coefficients("x0", "score", level), [-1 / 0.36, 0.8 / 0.36]);
    close(coefficients("eps", "score", level), [0, -1 / 0.6]);
    close(coefficients("gradient", "eps", level), [0, 0.6]);
  });

  it("coefficients() are finite at pure noise wherever the value determines the answer", () => {
    const noise = { alpha: 0, sigma: 2 };
    for (const from of ["eps", "score", "gradient"] as const) {
      for (const wanted of ["eps", "score"] as const) {
        const [a, b] = coefficients(from, wanted, noise);
        near(a * 6 + b * valueOf(from, noise, 5, 3), valueOf(wanted, noise, 5, 3), 1e-14);
      }
    }
    for (const from of ["x0", "v", "flow"] as const) {
      for (const wanted of kinds) {
        const [a, b] = coefficients(from, wanted, noise);
        near(a * 6 + b * valueOf(from, noise, 5, 3), valueOf(wanted, noise, 5, 3), 1e-14);
      }
    }
    for (const from of ["eps", "score"] as const) {
      assert.ok(!Number.isFinite(coefficients(from, "x0", noise)[1]));
    }
  });

  it("coefficients() at the data read x_0 off x_t, whatever the model says", () => {
    const data = { alpha: 0.5, sigma: 0 };
    for (const from of ["eps", "v", "flow", "score", "gradient"] as const) {
      const [a, b] = coefficients(from, "x0", data);
      near(a * 2 + b * 7, 4, 1e-14);
    }
    assert.deepEqual(coefficients("gradient", "score", data), [0, -1]);
    assert.deepEqual(coefficients("score", "score", data), [0, 1]);
  });

  it("plane() gives the value as a sum of x_0 and eps", () => {
    fc.assert(fc.property(levels, values, values, (level, x0, eps) => {
      for (const kind of sources) {
        const [r, q] = plane(kind, level), wanted = valueOf(kind, level, x0, eps);
        near(r * x0 + q * eps, wanted, 1e-12, 1 + Math.abs(r * x0) + Math.abs(q * eps));
      }
    }));
    assert.deepEqual(plane("score", { alpha: 1, sigma: 0 }), [0, -Infinity]);
  });

  it("convert() gives the tensor that coefficients() describe, for tensors and energies", () => {
    const level = { alpha: 0.6, sigma: 0.8 }, x0 = [1, -2], eps = [0.5, 0.25];
    const x = tf.tensor(x0.map((value, i) => 0.6 * value + 0.8 * eps[i]!));
    const list = (kind: Kind | "gradient") => x0.map((v, i) => valueOf(kind, level, v, eps[i]!));
    const predictions: Prediction[] = [
      ...kinds.map((kind) => ({ kind, value: tf.tensor(list(kind)) })),
      { kind: "energy", value: tf.scalar(7), gradient: tf.tensor(list("gradient")) },
    ];
    for (const prediction of predictions) {
      for (const wanted of kinds) {
        const actual = convert(prediction, wanted, x, level).dataSync();
        list(wanted).forEach((value, i) => near(actual[i]!, value, 1e-6, 3));
      }
    }
  });

  it("convert() makes one tensor, the caller's own also where there is nothing to convert", () => {
    const x = tf.tensor([1, 2]), value = tf.tensor([3, 4]), before = live();
    for (const wanted of kinds) {
      const made = convert({ kind: "eps", value }, wanted, x, { alpha: 0.6, sigma: 0.8 });
      assert.equal(live(), before + 1);
      made.dispose();
    }
    assert.deepEqual([...value.dataSync()], [3, 4]);
    tf.dispose([x, value]);
  });
});

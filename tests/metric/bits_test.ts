import { before, describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import * as tf from "@tensorflow/tfjs-core";
import {
  type BitsOptions,
  bitsPerDim,
  dequantized,
  type DequantizeOptions,
} from "../../src/metric/bits.ts";
import { useBackend } from "../../src/tensor/backend/backend.ts";
import { key, split } from "../../src/tensor/key.ts";
import { type Keys, normals } from "../../src/tensor/random.ts";

describe("bitsPerDim()", () => {
  it("of a uniform density is log2(levels) exactly, in any unit", () => {
    for (const [levels, width] of [[256, 2], [256, 1], [256, 256], [2, 2], [16, 0.5]] as const) {
      for (const dimensions of [1, 784]) {
        const { mean } = bitsPerDim([-dimensions * Math.log(width)], { dimensions, levels, width });
        assert.ok(Math.abs(mean - Math.log2(levels)) < 1e-12);
      }
    }
  });

  it("of a Gaussian is its entropy, with a standard error that is right", () => {
    const sigma = 0.1, dimensions = 4, count = 5000;
    const z = normals(key(0), dimensions * count);
    const densities = Array.from(
      { length: count },
      (_, n) =>
        Array.from(
          { length: dimensions },
          (_, i) => -(z[n * dimensions + i]! ** 2) / 2 - Math.log(2 * Math.PI * sigma ** 2) / 2,
        )
          .reduce((a, b) => a + b),
    );
    const { mean, standardError, each } = bitsPerDim(densities, { dimensions });
    const entropy = Math.log2(2 * Math.PI * Math.E * sigma ** 2) / 2 + 7;
    assert.ok(Math.abs(mean - entropy) < 4 * standardError);
    // Var(z²/2) = 1/2 for each of four independent dimensions.
    const exact = Math.sqrt(0.5 / dimensions / count) / Math.LN2;
    assert.ok(Math.abs(standardError / exact - 1) < 0.1);
    assert.equal(each.length, count);
  });

  it("refuses what it cannot count", () => {
    for (
      const make of [
        () => bitsPerDim([], { dimensions: 1 }),
        () => bitsPerDim([1], { dimensions: 0 }),
        () => bitsPerDim([1], { dimensions: 1, levels: 1 }),
        () => bitsPerDim([1], { dimensions: 1, width: 0 }),
        () => bitsPerDim([1, NaN], { dimensions: 1 }),
        () => bitsPerDim([-Infinity], { dimensions: 1 }),
      ]
    ) assert.throws(make, { name: "RangeError", message: /^Cannot count bits: .* got / });
    assert.throws(() => bitsPerDim([1], { dimensions: 0, levels: 1 }), {
      message: "Cannot count bits: dimensions must be a whole number of at least 1, got 0; " +
        "levels must be a whole number of at least 2, got 1",
    });
    assert.throws(() => bitsPerDim([0, NaN], { dimensions: 1 }), /got NaN of sample 1$/);
    assert.throws(() => bitsPerDim([0], { dimension: 1 } as unknown as BitsOptions), {
      name: "TypeError",
      message: /^Cannot count bits: options must be among dimensions, .*, got "dimension"$/,
    });
  });
});

describe("dequantized()", () => {
  before(() => useBackend("cpu"));

  it("fills each grey value's cell evenly, and fills the range without a gap", () => {
    const grey = tf.tensor(Array.from({ length: 40_000 }, (_, i) => (i % 4) * 2 / 3 - 1), [
      10,
      4000,
    ]);
    const x = dequantized(grey, split(key(1), 10), { levels: 4 });
    const shares = [...x.dataSync()].map((value, i) => {
      const share = (value + 1) * 2 - (i % 4);
      assert.ok(share >= 0 && share <= 1);
      return share;
    });
    const mean = shares.reduce((a, b) => a + b) / 40_000;
    const spread = shares.reduce((sum, s) => sum + (s - mean) ** 2, 0) / 40_000;
    assert.ok(Math.abs(mean - 0.5) < 4 * Math.sqrt(1 / 12 / 40_000));
    assert.ok(Math.abs(spread * 12 - 1) < 0.03);
    tf.dispose([grey, x]);
  });

  it("does to a picture what it does without its batch, and refuses too few keys", () => {
    const images = tf.fill([3, 5], 0.2), one = tf.fill([1, 5], 0.2), keys = split(key(2), 3);
    const all = dequantized(images, keys), alone = dequantized(one, [keys[1]!]);
    assert.deepEqual([...all.dataSync()].slice(5, 10), [...alone.dataSync()]);
    assert.throws(() => dequantized(images, [keys[0]!]), {
      name: "RangeError",
      message: "Cannot count bits: keys must be one for each of 3 pictures, got 1",
    });
    assert.throws(() => dequantized(images, key(0), { level: 4 } as DequantizeOptions), TypeError);
    assert.throws(() => dequantized(images, 5 as unknown as Keys), /key must be a key/);
    const none = tf.zeros([0, 5]), noise = dequantized(none, []);
    assert.deepEqual(noise.shape, [0, 5]);
    tf.dispose([none, noise]);
    tf.dispose([images, one, all, alone]);
  });
});

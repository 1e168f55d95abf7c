import { before, describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import * as tf from "@tensorflow/tfjs-core";
import { useBackend } from "../../src/tensor/backend/backend.ts";
import { ema, emaDecay } from "../../src/train/ema.ts";
import { live } from "../measure.ts";

/** The average of a sequence of numbers, from `first` on, at steps from `step` on. */
function averages(
  sequence: readonly number[],
  { first, step, decay }: { first: number; step: number; decay: number },
): number[] {
  return tf.tidy(() => {
    let average: Record<string, tf.Tensor> = { w: tf.scalar(first) };
    return sequence.map((value, i) => {
      average = ema(average, { w: tf.scalar(value) }, { step: step + i, decay });
      return average["w"]!.dataSync()[0]!;
    }) as unknown as tf.TensorContainer;
  }) as unknown as number[];
}

describe("emaDecay()", () => {
  it("emaDecay() is (1 + step)/(10 + step) until it meets the decay", () => {
    assert.deepEqual([1, 2, 8, 80].map((step) => emaDecay(step, 0.99)), [2 / 11, 0.25, 0.5, 0.9]);
    // (1 + k)/(10 + k) reaches 0.99 at k = 890.
    assert.ok(emaDecay(889, 0.99) < 0.99);
    assert.deepEqual([890, 891, 1e9].map((step) => emaDecay(step, 0.99)), [0.99, 0.99, 0.99]);
    assert.equal(emaDecay(1, 0), 0);
  });
});

describe("ema()", () => {
  before(() => useBackend("cpu"));

  it("ema() of a constant forgets its start by the product of the decays", () => {
    const got = averages(Array(30).fill(2), { first: 5, step: 1, decay: 0.6 });
    let left = 1;
    got.forEach((value, i) => {
      left *= Math.min(0.6, (2 + i) / (11 + i));
      assert.ok(Math.abs(value - (2 + 3 * left)) < 1e-6, `step ${i + 1}: ${value}`);
    });
  });

  it("ema() of a line lags by d/(1 - d), but for what is left of the start", () => {
    const d = 0.75, lag = d / (1 - d), sequence = Array.from({ length: 40 }, (_, i) => i + 1);
    const got = averages(sequence, { first: 0, step: 1000, decay: d });
    got.forEach((value, i) => {
      const n = i + 1, wanted = n - lag + lag * d ** n;
      assert.ok(Math.abs(value - wanted) < 2e-5, `step ${n}: ${value} against ${wanted}`);
    });
  });

  it("ema() has a decay of 0.999 by default; 0 keeps nothing", () => {
    const at = (decay?: number) =>
      tf.tidy(() =>
        ema({ w: tf.scalar(0) }, { w: tf.scalar(1) }, {
          step: 1e9,
          ...(decay !== undefined && { decay }),
        })["w"]!
          .dataSync()[0]!
      );
    assert.ok(Math.abs(at() - 0.001) < 1e-9);
    assert.equal(at(0), 1);
  });

  it("ema() keeps shapes and names, disposes of nothing and leaves nothing but its result", () => {
    const average = { a: tf.ones([2, 3]), b: tf.zeros([4]) };
    const params = { b: tf.ones([4]), a: tf.zeros([2, 3]) }, before = live();
    const next = ema(average, params, { step: 8 });
    assert.equal(live(), before + 2);
    assert.deepEqual(next["a"]!.arraySync(), [[0.5, 0.5, 0.5], [0.5, 0.5, 0.5]]);
    assert.deepEqual(next["b"]!.arraySync(), [0.5, 0.5, 0.5, 0.5]);
    tf.dispose([average, params, next]);
    assert.equal(live(), before - 4);
  });

  it("ema() refuses a decay out of range and weights of other names", () => {
    const a = { w: tf.scalar(0) }, more = { w: a.w, v: a.w }, other = { v: a.w };
    const cases: [() => unknown, string][] = [
      [() => ema(a, a, { step: 1, decay: 1 }), "decay must be in [0, 1), got 1"],
      [() => ema(a, a, { step: 1, decay: 1.1 }), "decay must be in [0, 1), got 1.1"],
      [() => ema(a, a, { step: 1, decay: -0.1 }), "decay must be in [0, 1), got -0.1"],
      [() => ema(a, a, { step: 1, decay: NaN }), "decay must be in [0, 1), got NaN"],
      [() => ema(a, a, { step: 0 }), "step must be a whole number of at least 1, got 0"],
      [() => ema(a, a, { step: NaN }), "step must be a whole number of at least 1, got NaN"],
      [() => ema(a, more, { step: 1 }), "params must have the names of the average, got more"],
      [
        () => ema(a, other, { step: 1 }),
        "params must have the names of the average, got none called w",
      ],
    ];
    for (const [call, message] of cases) {
      assert.throws(call, { name: "RangeError", message: `Cannot average weights: ${message}` });
    }
    a.w.dispose();
    const w = tf.scalar(1);
    assert.throws(() => ema(a, { w }, { step: 1 }), {
      name: "RangeError",
      message: "Cannot average weights: average must be of tensors that are not disposed of, got w",
    });
    assert.throws(() => ema(a, a, { step: 1, decya: 0.9 } as never), {
      name: "TypeError",
      message: 'Cannot average weights: options must be among step, decay, got "decya"',
    });
    w.dispose();
  });
});

import { before, describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import * as tf from "@tensorflow/tfjs-core";
import { pipe } from "fp-ts/lib/function.js";
import { gaussian } from "../../src/denoise/oracle.ts";
import { linear } from "../../src/noise/schedule.ts";
import { edited, slerp } from "../../src/refine/edit.ts";
import { ddim, ddimInverse } from "../../src/sample/ancestral.ts";
import { run, type State } from "../../src/sample/chain.ts";
import { useBackend } from "../../src/tensor/backend.ts";
import { key } from "../../src/tensor/key.ts";
import { normal } from "../../src/tensor/random.ts";

const schedule = linear(), model = gaussian(schedule), env = { model, key: key(0) };
const live = (): number => tf.memory().numTensors;

describe("edited()", () => {
  before(() => useBackend("cpu"));

  it("is q(x_t | x_0): mean alpha·x_0, deviation sigma, at any t; at 0 the guide itself", () => {
    const guide = tf.fill([10, 2000], 1.5);
    for (const t of [100, 400, 900]) {
      const { x, t: at } = edited(guide, { t })(env), { alpha, sigma } = schedule.at(t);
      const values = [...x.dataSync()], n = values.length;
      const mean = values.reduce((a, b) => a + b) / n;
      const spread = values.reduce((sum, v) => sum + (v - mean) ** 2, 0) / n;
      assert.equal(at, t);
      assert.ok(Math.abs(mean - 1.5 * alpha) < 4 * sigma / Math.sqrt(n));
      assert.ok(Math.abs(spread / sigma ** 2 - 1) < 4 * Math.sqrt(2 / n));
      x.dispose();
    }
    const none = edited(guide, { t: 0 })(env);
    assert.deepEqual([...none.x.dataSync()], [...guide.dataSync()]);
    tf.dispose([none.x, guide]);
  });

  it("starts a sampler in the middle, and the guide is worth less the later it starts", async () => {
    const guide = tf.fill([500, 1], 3), count = live(), means: number[] = [];
    for (const from of [200, 600]) {
      let mean = 0;
      const sampler = ddim(schedule, { from, steps: 10 });
      for await (const { x, t } of pipe(sampler, run(edited(guide, { t: from }), env))) {
        if (t === 0) mean = [...x.dataSync()].reduce((a, b) => a + b) / 500;
      }
      // On N(0, 1) the ODE keeps x_t, so what is left of the guide is alpha.
      assert.ok(Math.abs(mean - 3 * schedule.at(from).alpha) < 4 / Math.sqrt(500) + 0.01);
      means.push(mean);
    }
    assert.ok(means[0]! > means[1]!);
    assert.equal(live(), count);
    guide.dispose();
  });
});

describe("slerp()", () => {
  before(() => useBackend("cpu"));

  it("has its ends, keeps the norm, and turns at an even pace, sample by sample", () => {
    tf.tidy(() => {
      const a = tf.tensor([[2, 0], [0, 3]]), b = tf.tensor([[0, 2], [0, -1.5]]);
      const near = (x: tf.Tensor, wanted: number[]): void =>
        x.dataSync().forEach((v, i) => assert.ok(Math.abs(v - wanted[i]!) < 1e-5, `${x}`));
      near(slerp(a, b, 0), [2, 0, 0, 3]);
      const third = slerp(a, b, 1 / 3).dataSync();
      assert.ok(Math.abs(third[0]! - Math.sqrt(3)) < 1e-5 && Math.abs(third[1]! - 1) < 1e-5);
      near(slerp(a, a, 0.3), [2, 0, 0, 3]);
    });
  });

  it("keeps the variance of independent normals, which the mean halves", () => {
    tf.tidy(() => {
      const a = normal(key(1), [10, 2000]), b = normal(key(2), [10, 2000]);
      const spread = (x: tf.Tensor): number => tf.mean(tf.square(x)).dataSync()[0]!;
      assert.ok(Math.abs(spread(slerp(a, b, 0.5)) - 1) < 4 * Math.sqrt(2 / 20_000));
      assert.ok(Math.abs(spread(tf.div(tf.add(a, b), 2)) - 0.5) < 0.05);
    });
  });

  it("between encodings decodes to the data at its ends", async () => {
    const data = tf.tensor([[1.2, -0.4], [0.3, 0.9]]), steps = { steps: 50 };
    const end = async (start: State, sampler: ReturnType<typeof ddim>): Promise<tf.Tensor> => {
      let x = tf.tensor(0);
      for await (const state of run(start, env)(sampler)) {
        x.dispose();
        x = tf.clone(state.x);
      }
      return x;
    };
    const codes = await end({ x: data, t: 0, step: 0 }, ddimInverse(schedule, steps));
    const [a, b] = tf.split(codes, 2) as [tf.Tensor, tf.Tensor];
    const code = slerp(a, b, 0),
      back = await end({ x: code, t: 1000, step: 0 }, ddim(schedule, steps));
    [1.2, -0.4].forEach((value, i) => assert.ok(Math.abs(back.dataSync()[i]! - value) < 0.05));
    tf.dispose([data, codes, a, b, code, back]);
  });

  it("refuses ends of different shapes, and a share that is no number", () => {
    const a = tf.zeros([1, 2]), b = tf.zeros([2, 1]);
    assert.throws(() => slerp(a, b, 0.5), {
      name: "RangeError",
      message: /^Cannot interpolate: b must be/,
    });
    assert.throws(() => slerp(a, a, NaN), {
      name: "RangeError",
      message: /^Cannot interpolate: u must be/,
    });
    tf.dispose([a, b]);
  });
});

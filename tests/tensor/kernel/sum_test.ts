import { after, describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import * as tf from "@tensorflow/tfjs-core";
import { compiler } from "../../../src/engine/compile/compile.ts";
import { start } from "../../../src/engine/runtime/session.ts";
import { checkGpu, useBackend } from "../../../src/tensor/backend/backend.ts";
import { onGpu, useGpu } from "./gpu.ts";
import { live } from "../../measure.ts";

/** 10⁷ numbers and some, none of whose factors is near its root, so that rows have a rest. */
const count = 10_000_019 * 2;

/** The numbers, of one sign: their naive sum loses the fourth digit. */
const numbers = Float32Array.from({ length: count }, (_, i) => 0.5 + (i * 7919 % 1000) / 1000);

const total = (keep: (i: number) => boolean = () => true, f = (x: number) => x): number =>
  numbers.reduce((sum, x, i) => keep(i) ? sum + f(x) : sum, 0);

/** Reductions of x [2·10⁷, one prime], by what they are in float64. */
const reductions: Readonly<Record<string, [(x: tf.Tensor) => tf.Tensor, readonly number[]]>> = {
  "the sum": [(x) => tf.sum(x), [total()]],
  "the mean": [(x) => tf.mean(x), [total() / count]],
  "the norm": [(x) => tf.norm(x), [Math.sqrt(total(undefined, (x) => x * x))]],
  "sums of long rows": [
    (x) => tf.sum(tf.reshape(x, [2, count / 2]), 1),
    [total((i) => i < count / 2), total((i) => i >= count / 2)],
  ],
  "sums of long columns, whose axis stays": [
    (x) => tf.reshape(tf.sum(tf.reshape(tf.slice(x, 0, 2e7), [2e5, 100]), 0, true), [100]),
    Array.from({ length: 100 }, (_, k) => total((i) => i < 2e7 && i % 100 === k)),
  ],
  "means over the first and last axes": [
    (x) => tf.mean(tf.reshape(tf.slice(x, 0, 2e7), [1000, 2, 10_000]), [0, 2]),
    [0, 1].map((k) => total((i) => i < 2e7 && Math.floor(i / 10_000) % 2 === k) / 1e7),
  ],
};

/** Runs the reductions, and compares. */
async function held(run: (f: (x: tf.Tensor) => tf.Tensor, x: tf.Tensor) => Promise<tf.Tensor>) {
  const x = tf.tensor1d(numbers), alive = live();
  for (const [name, [f, wanted]] of Object.entries(reductions)) {
    const y = await run(f, x), got = await y.data();
    y.dispose();
    assert.equal(got.length, wanted.length, name);
    wanted.forEach((value, i) => {
      const apart = Math.abs(got[i]! - value) / value;
      assert.ok(apart <= 2e-6, `${name}[${i}] is ${got[i]}, must be ${value}: ${apart}`);
    });
    assert.equal(live(), alive, `${name} leaves tensors`);
  }
  x.dispose();
}

const eagerly = (f: (x: tf.Tensor) => tf.Tensor, x: tf.Tensor) =>
  Promise.resolve(tf.tidy(() => f(x)));

describe("reductions of more than 10⁷ numbers", () => {
  after(() => useBackend("cpu"));

  for (const backend of ["cpu", "wasm"] as const) {
    it(`are right to the sixth digit on ${backend}`, async () => {
      await useBackend(backend);
      await held(eagerly);
    });
  }

  onGpu("are right to the sixth digit on webgpu", async () => {
    await useGpu();
    await held(eagerly);
    await checkGpu();
  });

  it("of empty rows and columns compiled are as on cpu", async () => {
    await useBackend("cpu");
    const engine = compiler(await start({ threads: 1 }), { shapes: 1, blocked: false });
    for (const [shape, axis] of [[[5000, 0], 0], [[0, 5000], 1], [[3, 5000, 0], 1]] as const) {
      const x = tf.zeros([...shape]);
      const compiled = engine.compile(({ x }) => ({
        y: tf.sum(x!, axis),
        z: tf.mean(x!, axis, true),
      }));
      const { y, z } = await compiled.run({ x });
      assert.deepEqual(y!.shape, tf.sum(x, axis).shape);
      assert.deepEqual(z!.shape, tf.mean(x, axis, true).shape);
      await compiled.dispose();
    }
    await engine.close();
  });

  it("are right to the sixth digit compiled", async () => {
    await useBackend("cpu");
    const engine = compiler(await start({ threads: 1 }), { shapes: 1 });
    await held(async (f, x) => {
      const compiled = engine.compile(({ x }) => ({ y: f(x!) })), { y } = await compiled.run({ x });
      await compiled.dispose();
      return y!;
    });
    await engine.close();
  });
});

import { before, describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import * as tf from "@tensorflow/tfjs-core";
import { type Backend, useBackend } from "../../../src/tensor/backend/backend.ts";
import { key } from "../../../src/tensor/key.ts";
import { normal } from "../../../src/tensor/random.ts";
import { useGpu } from "./gpu.ts";
import { live } from "../../measure.ts";

const adapter = await navigator.gpu?.requestAdapter();
const required = Deno.env.get("TWEEDIE_REQUIRE_WEBGPU") === "1";
const engines: readonly Backend[] = adapter || required
  ? ["cpu", "wasm", "webgpu"]
  : ["cpu", "wasm"];

/** Shape, type and numbers of a tensor, which is disposed of. */
async function read(x: tf.Tensor): Promise<[number[], string, number[]]> {
  const values = [...await x.data()];
  x.dispose();
  return [x.shape, x.dtype, values];
}

type Reduce = (x: tf.Tensor, axis?: number | number[], keep?: boolean) => tf.Tensor;

/** Reductions, with what they give over nothing. */
const neutral: Record<string, [f: Reduce, value: number, dtype: tf.DataType]> = {
  "sum()": [tf.sum, 0, "float32"],
  "prod()": [tf.prod, 1, "float32"],
  "max()": [tf.max, -Infinity, "float32"],
  "min()": [tf.min, Infinity, "float32"],
  "mean()": [tf.mean, NaN, "float32"],
  "any()": [tf.any as Reduce, 0, "bool"],
  "all()": [tf.all as Reduce, 1, "bool"],
};

for (const engine of engines) {
  describe(`kernels on ${engine}`, () => {
    before(() => engine === "webgpu" ? useGpu() : useBackend(engine));

    for (const [name, [f, value, dtype]] of Object.entries(neutral)) {
      it(`${name} over nothing is ${value} on ${engine}`, async () => {
        // Memory that is used again must not show.
        tf.dispose([3, 1].map((n) => tf.add(tf.fill([n], 7), 7)));
        const none = tf.zeros([0, 3], dtype);
        assert.deepEqual(await read(f(none, 0)), [[3], dtype, [value, value, value]]);
        assert.deepEqual(await read(f(none)), [[], dtype, [value]]);
        assert.deepEqual(await read(f(none, [0, 1], true)), [[1, 1], dtype, [value]]);
        assert.deepEqual(await read(f(none, 1)), [[0], dtype, []]);
        none.dispose();
      });
    }

    it(`matMul() over nothing is 0 on ${engine}`, async () => {
      tf.dispose(tf.add(tf.fill([2, 3], 7), 7));
      const [a, b] = [tf.zeros([2, 0]), tf.zeros([0, 3])];
      assert.deepEqual(await read(tf.matMul(a, b)), [[2, 3], "float32", [0, 0, 0, 0, 0, 0]]);
      assert.deepEqual(await read(tf.matMul(b, a, true, true)), [
        [3, 2],
        "float32",
        Array(6).fill(0),
      ]);
      tf.dispose([a, b]);
    });

    it(`matMul() multiplies batches broadcast both ways on ${engine}`, async () => {
      // Row i of the first, column j of the second: aᵢ·bⱼ.
      const a = tf.tensor([0, 1, 2, 3], [2, 1, 1, 2]), b = tf.tensor([0, 1, 2, 3, 4, 5], [3, 2, 1]);
      assert.deepEqual(await read(tf.matMul(a, b)), [
        [2, 3, 1, 1],
        "float32",
        [1, 3, 5, 3, 13, 23],
      ]);
      tf.dispose([a, b]);
    });

    it(`cumsum() takes an axis from the end on ${engine}`, async () => {
      const x = tf.tensor2d([[1, 2, 3], [4, 5, 6]]);
      assert.deepEqual((await read(tf.cumsum(x, -1)))[2], [1, 3, 6, 4, 9, 15]);
      assert.deepEqual((await read(tf.cumsum(x, -2, false, true)))[2], [5, 7, 9, 4, 5, 6]);
      assert.deepEqual((await read(tf.cumprod(x, -1, true)))[2], [1, 1, 2, 1, 4, 20]);
      x.dispose();
    });

    it(`unsortedSegmentSum() leaves out rows of no segment on ${engine}`, async () => {
      const x = tf.tensor2d([[1, 2], [3, 4], [5, 6], [7, 8]]);
      const ids = tf.tensor1d([2, -1, 2, 9], "int32");
      assert.deepEqual(await read(tf.unsortedSegmentSum(x, ids, 3)), [
        [3, 2],
        "float32",
        [0, 0, 0, 0, 6, 8],
      ]);
      tf.dispose([x, ids]);
    });

    it(`the gradient kernel of a resize treats each image by itself on ${engine}`, async () => {
      const resized = (dy: tf.Tensor) => {
        const images = tf.zeros([dy.shape[0]!, 2, 3, 2]);
        const attrs = { alignCorners: false };
        const dx = tf.engine().runKernel("ResizeNearestNeighborGrad", { images, dy }, attrs);
        images.dispose();
        return dx as tf.Tensor;
      };
      const dy = normal(key(3), [3, 4, 6, 2]), alone = tf.split(dy, 3);
      const [, , together] = await read(resized(dy));
      const each = await Promise.all(alone.map((one) => read(resized(one))));
      assert.deepEqual(together, each.flatMap(([, , values]) => values));
      tf.dispose([dy, ...alone]);
    });

    it(`repairs leave no tensor behind on ${engine}`, () => {
      const x = tf.zeros([0, 3]), alive = live();
      tf.dispose([tf.sum(x), tf.cumsum(x, -1)]);
      tf.dispose(tf.tidy(() => tf.matMul(tf.ones([2, 1, 1, 1]), tf.ones([3, 1, 1]))));
      assert.equal(live(), alive);
      x.dispose();
    });
  });
}

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import * as tf from "@tensorflow/tfjs-core";
import { fold, key } from "../../../src/tensor/key.ts";
import { normal, uniforms } from "../../../src/tensor/random.ts";
import "../../../src/tensor/autodiff.ts";
import { useBackend } from "../../../src/tensor/backend/backend.ts";
import { assertClose } from "../../network/weights.ts";
import { live } from "../../measure.ts";

interface Case {
  readonly input: [number, number, number, number];
  readonly filter: [number, number, number, number];
  readonly stride: number;
  readonly pad: "same" | "valid" | number;
}

const cases: Case[] = [
  { input: [2, 7, 7, 3], filter: [3, 3, 3, 4], stride: 1, pad: "same" },
  { input: [3, 8, 6, 2], filter: [3, 3, 2, 5], stride: 2, pad: "same" },
  { input: [2, 7, 9, 2], filter: [3, 3, 2, 3], stride: 2, pad: "same" },
  { input: [2, 9, 8, 2], filter: [3, 2, 2, 3], stride: 2, pad: "valid" },
  { input: [1, 5, 5, 1], filter: [1, 1, 1, 2], stride: 1, pad: "valid" },
  { input: [2, 6, 6, 2], filter: [1, 1, 2, 2], stride: 2, pad: "same" },
  { input: [2, 5, 4, 2], filter: [5, 5, 2, 2], stride: 1, pad: "same" },
  { input: [2, 6, 5, 2], filter: [3, 3, 2, 2], stride: 1, pad: 2 },
  { input: [2, 10, 7, 2], filter: [3, 3, 2, 2], stride: 3, pad: "valid" },
  { input: [2, 4, 4, 2], filter: [1, 1, 2, 3], stride: 1, pad: 1 },
];

/** Values, then both gradients against a random cotangent, as plain arrays. */
async function gradientsOn(
  backend: "cpu" | "wasm",
  { input, filter, stride, pad }: Case,
): Promise<Float32Array[]> {
  await useBackend(backend);
  const x = normal(key(1), input) as tf.Tensor4D, w = normal(key(2), filter) as tf.Tensor4D;
  const y = tf.conv2d(
    x,
    w,
    stride,
    pad,
    "NHWC",
    1,
    pad === "same" || pad === "valid" ? undefined : "floor",
  );
  const dy = normal(key(3), y.shape);
  const [dx, dw] = tf.grads((...[a, b]) =>
    tf.sum(
      tf.mul(
        tf.conv2d(
          a as tf.Tensor4D,
          b as tf.Tensor4D,
          stride,
          pad,
          "NHWC",
          1,
          typeof pad === "number" ? "floor" : undefined,
        ),
        dy,
      ),
    )
  )([x, w]);
  const results = [y, dx!, dw!].map((tensor) => tensor.dataSync() as Float32Array);
  tf.dispose([x, w, y, dy, dx!, dw!]);
  return results;
}

describe("wasm kernels", () => {
  for (const one of cases) {
    it(`conv2d ${JSON.stringify(one)} has the cpu backend's values and gradients`, async () => {
      const cpu = await gradientsOn("cpu", one), wasm = await gradientsOn("wasm", one);
      cpu.forEach((wanted, i) => assertClose(wasm[i]!, wanted, 2e-6));
    });
  }

  it("conv2d gradients agree with the cpu backend on random shapes", async () => {
    for (let trial = 0; trial < 20; trial++) {
      const u = uniforms(fold(key(9), trial), 8),
        whole = (i: number, low: number, high: number) =>
          low + Math.floor(u[i]! * (high - low + 1));
      const size = whole(0, 1, 3), channels = whole(4, 1, 4);
      const one: Case = {
        input: [whole(1, 1, 3), whole(2, size, 9), whole(3, size, 9), channels],
        filter: [size, size, channels, whole(5, 1, 4)],
        stride: whole(6, 1, 2),
        pad: u[7]! < 0.5 ? "same" : "valid",
      };
      const cpu = await gradientsOn("cpu", one), wasm = await gradientsOn("wasm", one);
      cpu.forEach((wanted, i) => assertClose(wasm[i]!, wanted, 2e-6));
    }
  });

  it("matMul agrees with the cpu backend for every transposition and batch", async () => {
    const shapes: [number[], number[]][] = [[[], []], [[1], [1]], [[3], [3]], [[2, 3], [2, 3]], [[
      3,
    ], [1]]];
    for (const [batchA, batchB] of shapes) {
      for (
        const [ta, tb] of [[false, false], [true, false], [false, true], [true, true]] as const
      ) {
        const results: Float32Array[] = [];
        for (const backend of ["cpu", "wasm"] as const) {
          await useBackend(backend);
          const a = normal(key(4), [...batchA, ...(ta ? [5, 4] : [4, 5])]),
            b = normal(key(5), [...batchB, ...(tb ? [6, 5] : [5, 6])]);
          const c = tf.matMul(a, b, ta, tb);
          results.push(c.dataSync() as Float32Array);
          tf.dispose([a, b, c]);
        }
        assertClose(results[1]!, results[0]!, 1e-6);
      }
    }
  });

  it("gradients leave no tensor behind", async () => {
    await useBackend("wasm");
    const before = live();
    await gradientsOn("wasm", cases[1]!);
    assert.equal(live(), before);
  });
});

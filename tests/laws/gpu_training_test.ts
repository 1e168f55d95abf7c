/**
 * A network trains on the GPU as on the reference engine: the same output and gradients, and nothing is left behind.
 */

import { describe } from "@std/testing/bdd";
import assert from "node:assert/strict";
import * as tf from "@tensorflow/tfjs-core";
import { unet } from "../../src/network/unet.ts";
import { linear } from "../../src/noise/schedule/discrete.ts";
import { checkGpu } from "../../src/tensor/backend/backend.ts";
import { key } from "../../src/tensor/key.ts";
import { normals } from "../../src/tensor/random.ts";
import type { ImageBatch } from "../../src/data/batches.ts";
import { diffusionLoss } from "../../src/train/diffusion.ts";
import { disposeTraining, newTraining } from "../../src/train/loop/state.ts";
import { lossOf } from "../../src/train/loop/objective.ts";
import { train } from "../../src/train/loop/train.ts";
import { randomWeights } from "../network/weights.ts";
import { assertSame, both, onGpu, useGpu } from "../tensor/kernel/gpu.ts";
import { live } from "../measure.ts";

const network = unet({
  size: [8, 8],
  base: 8,
  multipliers: [1, 2],
  blocks: 1,
  groups: 4,
  classes: 3,
});
const loss = lossOf(diffusionLoss(network, { schedule: linear(), kind: "v", nullShare: 0.2 }));

const batch = (position: number): ImageBatch => ({
  images: Float32Array.from(normals(key(position), 4 * 64)),
  shape: [4, 8, 8, 1],
  labels: Int32Array.of(0, 1, 2, 1),
  position,
});

describe("training on webgpu", () => {
  onGpu("unet() gives the reference's output on webgpu", async () => {
    const found = await both(() => [
      network.apply(
        randomWeights(network.parameters),
        tf.tensor4d(batch(1).images, [4, 8, 8, 1]),
        [0, 0.3, 0.7, 1],
        [0, null, 2, 1],
      ),
    ]);
    assertSame(found, 1e-4);
  });

  onGpu("diffusionLoss() of unet() gives the reference's gradients on webgpu", async () => {
    const found = await both(() => {
      const weights = randomWeights(network.parameters), names = Object.keys(weights);
      const value = (...tensors: tf.Tensor[]) =>
        loss(Object.fromEntries(names.map((name, i) => [name, tensors[i]!])), batch(1), key(7));
      return tf.grads(value)(Object.values(weights));
    });
    assert.equal(found.gpu.length, Object.keys(network.parameters).length);
    // Of their own scale, where it is below 1 too.
    const scale = Math.max(...found.cpu.flatMap(({ values }) => values.map(Math.abs)));
    assertSame(found, 1e-4 * Math.min(1, scale));
  });

  onGpu(
    "train() of unet() holds no more memory after 10 steps than after 2 on webgpu",
    async () => {
      await useGpu();
      // A step of the network above is 2,800 programs, a second where the GPU is software.
      const shallow = unet({ size: [8, 8], base: 8, multipliers: [1], blocks: 1, groups: 4 });
      const objective = diffusionLoss(shallow, { schedule: linear(), kind: "v" });
      const weights = randomWeights(shallow.parameters), start = newTraining(weights);
      const batches = Array.from({ length: 10 }, (_, i) => batch(i % 2));
      const held: (readonly number[])[] = [];
      for await (const { step } of train(start, { loss: objective, key: key(3) })(batches)) {
        const memory = tf.memory() as tf.MemoryInfo & { numBytesInGPU: number };
        if (step >= 2) held.push([memory.numTensors, memory.numDataBuffers, memory.numBytesInGPU]);
      }
      await checkGpu();
      assert.equal(held.length, 9);
      assert.deepEqual(held, held.map(() => held[0]));
      disposeTraining(start);
      tf.dispose(weights);
      assert.equal(live(), 0);
    },
  );
});

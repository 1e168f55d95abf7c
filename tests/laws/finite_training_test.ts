/**
 * On every engine, training stops at what is not finite and says what it is: batch, loss, gradient or weights.
 */

import { after, describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import * as tf from "@tensorflow/tfjs-core";
import "../../src/tensor/autodiff.ts";
import { compiler } from "../../src/engine/compile/compile.ts";
import { start as startExecutor } from "../../src/engine/runtime/session.ts";
import { initialize } from "../../src/network/layer/parameter.ts";
import { unet } from "../../src/network/unet.ts";
import { linear } from "../../src/noise/schedule/discrete.ts";
import { useBackend } from "../../src/tensor/backend/backend.ts";
import type { Engine } from "../../src/tensor/engine.ts";
import { key } from "../../src/tensor/key.ts";
import { normals } from "../../src/tensor/random.ts";
import type { ImageBatch } from "../../src/data/batches.ts";
import { diffusionLoss } from "../../src/train/diffusion.ts";
import { disposeTraining, newTraining } from "../../src/train/loop/state.ts";
import type { Objective } from "../../src/train/loop/objective.ts";
import { train } from "../../src/train/loop/train.ts";
import type { TrainOptions } from "../../src/train/loop/options.ts";
import { onGpu, useGpu } from "../tensor/kernel/gpu.ts";
import { live } from "../measure.ts";

const engine = compiler(await startExecutor());
after(() => engine.close());

const network = unet({
  size: [4, 4],
  base: 8,
  multipliers: [1],
  blocks: 1,
  groups: 4,
  middleAttention: false,
});

const image = (position: number, bad?: number): ImageBatch => {
  const images = Float32Array.from(normals(key(position), 2 * 16));
  if (bad !== undefined) images[20] = bad;
  return { images, shape: [2, 4, 4, 1], position };
};

/** What a run of a U-Net or of one weight ends with: an error's message, or the number of steps. */
async function end<Batch>(
  params: Readonly<Record<string, tf.Tensor>>,
  options: Omit<TrainOptions<Batch>, "key">,
  batches: readonly Batch[],
): Promise<string> {
  const start = newTraining(params), alive = live();
  let steps = 0;
  try {
    for await (const state of train(start, { ...options, key: key(1) })(batches)) {
      steps = state.step;
      for (const weight of Object.values(state.params)) {
        assert.ok((await weight.data()).every(Number.isFinite));
      }
    }
    return `${steps}`;
  } catch (error) {
    return `${steps}: ${(error as Error).message}`;
  } finally {
    assert.equal(live(), alive);
    disposeTraining(start);
  }
}

/** The laws, on what has been made ready. */
async function obey(engine?: Engine): Promise<void> {
  const more = { adam: { rate: 0.01, clip: 1 }, ...(engine && { engine }) };
  const loss = diffusionLoss(network, { schedule: linear(), kind: "v" });
  const params = initialize(network.parameters, key(0));
  const told = async (message: string, batches: readonly ImageBatch[], change: object = {}) => {
    const got = await end(params, { loss, ...more, ...change }, batches);
    assert.equal(got, message);
  };
  await told("2", [image(0), image(1)]);
  for (const bad of [NaN, Infinity, -Infinity]) {
    await told(
      `1: Cannot go on with training: batch.images must be finite, got ${bad} at step 2`,
      [image(0), image(1, bad)],
    );
  }
  await told(
    "0: Cannot compute the loss: batch.images must be finite, got NaN",
    [image(0, NaN)],
    { finite: false },
  );
  const weight = Object.keys(params)[3]!, spoilt = tf.mul(params[weight]!, NaN);
  assert.equal(
    await end({ ...params, [weight]: spoilt }, { loss, ...more }, [image(0)]),
    `0: Cannot train: start.params must be finite, got NaN in ${weight}`,
  );
  tf.dispose([spoilt, params]);

  const of = (f: (w: tf.Tensor, x: tf.Tensor) => tf.Tensor): Objective<number> => ({
    inputs: (x) => ({ x: tf.scalar(x) }),
    loss: ({ w }, { x }) => tf.tidy(() => tf.sum(f(w!, x!)) as tf.Scalar),
  });
  const w = { w: tf.tensor1d([0, 1]) };
  const cases: [Objective<number>, readonly number[], object, string][] = [
    // |w − (0, 1)| at its least, and at a place where it has a gradient.
    [
      of((w, x) => tf.sqrt(tf.sum(tf.square(tf.sub(w, tf.mul(x, [0, 1])))))),
      [1],
      {},
      "0: gradient NaN 1",
    ],
    [of((w, x) => tf.div(tf.add(tf.square(w), 1), x)), [1, 0], {}, "1: loss Infinity 2"],
    [of((w, x) => tf.mul(w, x)), [1], { adam: { rate: 1e39 } }, "0: weights -Infinity 1"],
    [of((w, x) => tf.mul(w, x)), [1, 1, 1], {}, "3"],
  ];
  for (const [loss, batches, change, wanted] of cases) {
    const got = await end(w, { loss, ...more, ...change }, batches);
    const [, step, what, value, at] =
      /^(\d+): Cannot go on with training: (.*) must be finite, got (\S+)(?: in w)? at step (\d+)$/
        .exec(got) ?? [];
    assert.equal(step === undefined ? got : `${step}: ${what} ${value} ${at}`, wanted);
  }
  tf.dispose(w);
}

describe("training stops at what is not finite", () => {
  for (const backend of ["cpu", "wasm"] as const) {
    it(`batch, loss, gradient and weights are named on ${backend}`, async () => {
      await useBackend(backend);
      await obey();
    });
  }

  it("batch, loss, gradient and weights are named on the onnx engine", async () => {
    await useBackend("wasm");
    await obey(engine);
  });

  onGpu("batch, loss, gradient and weights are named on webgpu", async () => {
    await useGpu();
    await obey();
  });
});

/**
 * A program: makes one compiled forward pass and one compiled step of training of a small U-Net on a provider of ONNX
 * Runtime, and prints what came out as JSON.
 *
 * It is one of its own because a process chooses its graphics driver when it starts.
 *
 * @module
 */

import type * as tf from "@tensorflow/tfjs-core";
import { compiler } from "../../src/engine/compile/compile.ts";
import type { OnnxOptions } from "../../src/engine/runtime/executor.ts";
import { executor } from "../../src/engine/runtime/remote.ts";
import type { TensorPrediction } from "../../src/denoise/prediction.ts";
import { networkModel } from "../../src/network/model.ts";
import { unet } from "../../src/network/unet.ts";
import { linear } from "../../src/noise/schedule/discrete.ts";
import { useBackend } from "../../src/tensor/backend/backend.ts";
import { key } from "../../src/tensor/key.ts";
import { normal, normals } from "../../src/tensor/random.ts";
import { diffusionLoss } from "../../src/train/diffusion.ts";
import { newTraining } from "../../src/train/loop/state.ts";
import { train } from "../../src/train/loop/train.ts";
import { randomWeights } from "../network/weights.ts";

/** What a provider gave. */
export interface Given {
  /** What Deno calls the graphics adapter. */
  readonly adapter: string;
  /** The executor's name. */
  readonly name: string;
  /** The network's answer. */
  readonly forward: readonly number[];
  /** The loss of the first step. */
  readonly loss: number;
  /** The first moments after it, a tenth of the clipped gradient, by weight. */
  readonly gradients: Readonly<Record<string, readonly number[]>>;
  /** The moving average of the weights after it, by weight. */
  readonly ema: Readonly<Record<string, readonly number[]>>;
}

/** Makes both on a provider. */
export async function given(provider: NonNullable<OnnxOptions["provider"]>): Promise<Given> {
  await useBackend("cpu");
  const adapter = (await navigator.gpu?.requestAdapter())?.info.description ?? "none";
  const engine = compiler(await executor({ provider, worker: false }));
  const network = unet({
    size: [8, 8],
    base: 8,
    multipliers: [1, 2],
    blocks: 1,
    groups: 4,
    classes: 3,
  });
  const weights = randomWeights(network.parameters), schedule = linear(), kind = "v";
  const x = normal(key(1), [2, 8, 8, 1]);
  const model = networkModel(network, weights, { schedule, kind, engine });
  const { value } = await model.given!([2, null]).predict(x, 371) as TensorPrediction;
  const start = newTraining(weights),
    steps = train(start, {
      loss: diffusionLoss(network, { schedule, kind }),
      key: key(2),
      adam: { clip: 1 },
      engine,
    });
  const batch = {
    images: Float32Array.from(normals(key(3), 2 * 64)),
    shape: [2, 8, 8, 1],
    labels: Int32Array.of(0, 1),
    position: 0,
  } as const;
  const numbers = (params: Readonly<Record<string, tf.Tensor>>): Record<string, number[]> =>
    Object.fromEntries(Object.entries(params).map(([name, t]) => [name, [...t.dataSync()]]));
  let found: Given | undefined;
  for await (const { loss, moments, ema } of steps([batch])) {
    const gradients = numbers(moments.mean), forward = [...value.dataSync()];
    found = { adapter, name: engine.name, forward, loss, gradients, ema: numbers(ema) };
  }
  await engine.close();
  return found!;
}

if (import.meta.main) console.log(JSON.stringify(await given(Deno.args[0] as "webgpu")));

/**
 * One program for every runtime: what it computes is printed bit for bit.
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
import {
  annealedLangevin,
  corrected,
  ddim,
  dpmSolver,
  key,
  last,
  linear,
  loadDenoiser,
  mixture,
  type Model,
  normal,
  png,
  prior,
  run,
  type Sampler,
} from "@tweedie/tweedie";
import { decodeIdx } from "@tweedie/tweedie/data";
import { decodeSafetensors, encodeSafetensors, floats } from "@tweedie/tweedie/io";
import { type BackendOptions, useBackend } from "@tweedie/tweedie/backend";

/** How the runtime comes by each engine. */
export type Engines = Readonly<Record<"cpu" | "wasm", BackendOptions>>;

/** FNV-1a over the bytes of numbers, and the first two of them for the reader. */
function digest(
  { buffer, byteOffset, byteLength }: ArrayBufferView,
  first: ArrayLike<number>,
): string {
  let hash = 0x811c9dc5;
  for (const byte of new Uint8Array(buffer, byteOffset, byteLength)) {
    hash = Math.imul(hash ^ byte, 0x01000193);
  }
  return `${(hash >>> 0).toString(16).padStart(8, "0")} ${first[0]} ${first[1]}`;
}

const shown = (x: Float32Array): string => digest(x, x);

async function numbers(x: tf.Tensor): Promise<string> {
  const data = Float32Array.from(await x.data());
  x.dispose();
  return shown(data);
}

const schedule = linear();

const oracle = (): Model =>
  mixture(schedule, {
    weights: [0.3, 0.7],
    means: [[-2, 0], [2, 1]],
    variances: [[0.1, 0.2], [0.3, 0.1]],
  });

async function sampled(model: Model, sampler: Sampler): Promise<string> {
  const { x } = await last(run(prior([64, 2]), { model, key: key(7) })(sampler));
  return await numbers(x);
}

/** A U-Net of the shipped weights, at one image and time, on the engine in use. */
export async function predicted(weights: Uint8Array): Promise<string> {
  const { model, params } = await loadDenoiser(weights);
  const x = normal(key(1), [1, 28, 28, 1]);
  const { value } = await model.predict(x, 300) as { readonly value: tf.Tensor };
  const text = await numbers(value);
  tf.dispose([x, Object.values(params)]);
  return text;
}

/** What needs no engine: half precision in and out, an IDX file that is packed, a picture. */
function files(weights: Uint8Array, packed: Uint8Array): Record<string, string> {
  const { tensors } = decodeSafetensors(weights);
  const [name, tensor] = Object.entries(tensors)[0]!;
  const again = encodeSafetensors({ [name]: tensor }, {}, { dtype: "F16" });
  const { shape, data } = decodeIdx(packed);
  const grey = { width: 28, height: 28, channels: 1, data: data.subarray(0, 784) } as const;
  return {
    widened: shown(floats(tensor)),
    narrowed: digest(again, again),
    unpacked: `${shape} ${digest(data, data)}`,
    png: new TextDecoder("latin1").decode(png(grey).subarray(1, 4)),
  };
}

/**
 * Computes everything.
 *
 * @param weights The bytes of the shipped weights.
 * @param packed An IDX file of a picture of 28 by 28, packed by gzip.
 * @param engines How the runtime comes by each engine.
 * @returns The numbers by what they are, as text.
 */
export async function answers(
  weights: Uint8Array,
  packed: Uint8Array,
  engines: Engines,
): Promise<Record<string, string>> {
  const all: Record<string, string> = files(weights, packed);
  for (const engine of ["cpu", "wasm"] as const) {
    await useBackend(engine, engines[engine]);
    const model = oracle();
    all[`${engine} ddim`] = await sampled(model, ddim(schedule, { steps: 20 }));
    all[`${engine} dpmSolver, corrected`] = await sampled(
      model,
      corrected(annealedLangevin({ ratio: 0.3 }))(dpmSolver(schedule, { steps: 10 })),
    );
    all[`${engine} network`] = await predicted(weights);
  }
  return all;
}

// 2026-11-29, two virtual cores of an Intel Xeon beside other work, onnx, Deno 2.9.6, --sdes vp --count 500 --finer 50:
//   examples/weights/fashion-mnist-vp.safetensors, trained on vp; 500 images, 32 steps of heun
//   vp: 3.0125 bits per dimension, standard error 0.0368, log-SNR 13.8 to -10.0
//     finer: 0.0082 on the first 50
//   examples/weights/fashion-mnist-ve.safetensors, trained on ve; 500 images, 32 steps of heun (--sdes ve --finer 25)
//   ve: 3.2758 bits per dimension, standard error 0.0362, log-SNR 9.2 to -7.8
//     finer: 0.0065 on the first 25
//   trained on subVp, not shipped; 300 images, 32 steps of heun (--sdes subVp --finer 0)
//   subVp: 2.9639 bits per dimension, standard error 0.0476, log-SNR 13.8 to -10.0
//
// How many bits does a picture cost the shipped model? Bits per dimension of test images with uniform dequantization: the
// probability-flow ODE from data to noise, with the divergence by Hutchinson's estimator (one Rademacher probe a step).
//
// One network serves every SDE by `rescheduled`; the ODE starts where sigma/alpha is `--least`, or at the least that the SDE
// has (0.01 of ve(): the density then is that of images with so much noise), and runs in steps of equal log-SNR. `finer` is
// the mean change, of the first images, with twice as many steps.
//
// Run: deno run --allow-read --allow-ffi bench/likelihood.ts [--model f.safetensors] [--sdes vp,subVp,ve] [--count 1000]
//        [--steps 32] [--method heun|rk4] [--least 0.001] [--finer 100]; without --allow-ffi on wasm, which takes many times as long.

import { parseArgs } from "node:util";
import * as tf from "@tensorflow/tfjs-core";
import {
  bitsPerDim,
  dequantized,
  fashionMnist,
  flow,
  fold,
  hutchinson,
  type ImageSet,
  key,
  loadDenoiser,
  logLikelihood,
  rescheduled,
  type Schedule,
  subVp,
  tableaus,
  ve,
  vp,
} from "@tweedie/tweedie";
import { logSnr } from "@tweedie/tweedie/noise";
import { useBackend } from "@tweedie/tweedie/backend";
import { consecutive, native, pictures, pixels } from "./garments.ts";

const { values: options } = parseArgs({
  options: {
    model: { type: "string", default: "examples/weights/fashion-mnist-vp.safetensors" },
    sdes: { type: "string", default: "vp,subVp,ve" },
    count: { type: "string", default: "1000" },
    steps: { type: "string", default: "32" },
    method: { type: "string", default: "heun" },
    least: { type: "string", default: "0.001" },
    finer: { type: "string", default: "100" },
  },
});

const sdes: Readonly<Record<string, () => Schedule>> = { vp, subVp, ve };
const dimensions = pixels, part = 25, least = Number(options.least);

/** The first images of a set in [-1, 1], dequantized; the caller disposes of them. */
function data(set: ImageSet, first: number, count: number): tf.Tensor {
  const numbers = consecutive(first, count), root = fold(key(2026), "dequantize");
  return tf.tidy(() => dequantized(pictures(set, numbers), numbers.map((n) => fold(root, n))));
}

await useBackend();
const { model, config } = await loadDenoiser(options.model);
const test = await fashionMnist(undefined, "test");
const tableau = options.method === "rk4" ? tableaus.rk4 : tableaus.heun;

/** The time at which the ODE starts. */
const startOf = (sde: Schedule): number =>
  sde.timeOf(Math.min(-2 * Math.log(least), logSnr(sde.at(sde.span[0]))));

/** ln p of the first images under an SDE, in nats. */
async function densities(sde: Schedule, count: number, steps: number): Promise<number[]> {
  const engine = await native();
  const known = rescheduled(model, sde), t = startOf(sde), found: number[] = [];
  const sampler = flow(sde, { steps, spacing: "logLinear", final: t, tableau, upward: true });
  for (let first = 0; first < count; first += part) {
    const x = data(test, first, Math.min(part, count - first));
    const given = { model: known, key: key(2026), first, ...(engine && { engine }) };
    found.push(...await logLikelihood(x, { sampler, t, trace: hutchinson(), ...given }));
    x.dispose();
    console.error(`${found.length} of ${count}, ${steps} steps`);
  }
  await engine?.close();
  return found;
}

const count = Number(options.count), steps = Number(options.steps), few = Number(options.finer);
console.log(
  `${options.model}, trained on ${config.schedule.name}; ${count} images, ${steps} steps of ${options.method}`,
);
for (const name of options.sdes.split(",")) {
  const sde = sdes[name]!(), found = await densities(sde, count, steps);
  const { each, mean, standardError } = bitsPerDim(found, { dimensions });
  const span = [startOf(sde), sde.span[1]].map((t) => logSnr(sde.at(t)).toFixed(1));
  console.log(
    `${name}: ${mean.toFixed(4)} bits per dimension, standard error ${
      standardError.toFixed(4)
    }, log-SNR ${span.join(" to ")}`,
  );
  if (few === 0) continue;
  const finer = bitsPerDim(await densities(sde, few, 2 * steps), { dimensions }).each;
  const changes = finer.map((value, i) => value - each[i]!);
  console.log(`  finer: ${(changes.reduce((a, b) => a + b) / few).toFixed(4)} on the first ${few}`);
}

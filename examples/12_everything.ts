// Two streams of everything. One paints: the upper half of a boot is known, a network paints the lower half under guidance,
// a corrector stirs it. One weighs: the flow of a class carries the log-density of what it draws, which no sampler has that
// draws noise. Needs Fashion-MNIST (Debian: apt install dataset-fashion-mnist).
// Run: deno run --allow-read --allow-write=. examples/12_everything.ts [out.png] [weighed.png]
import {
  classifierFree,
  conditioned,
  corrected,
  ddim,
  every,
  fashionMnist,
} from "@tweedie/tweedie";
import { flow, frames, guided, hutchinson, inpainted, key, langevin } from "@tweedie/tweedie";
import { likelihood, loadDenoiser, prior, run, saveApng, thresholded } from "@tweedie/tweedie";
import { watched, type Weighed } from "@tweedie/tweedie";
import { useBackend } from "@tweedie/tweedie/backend";
import * as tf from "@tensorflow/tfjs-core";
import { pipe } from "@tweedie/tweedie";

await useBackend();
const weights = `${import.meta.dirname}/weights/fashion-mnist.safetensors`;
const { model } = await loadDenoiser(weights), { images } = await fashionMnist(undefined, "test");
const boot = tf.tensor(Array.from(images.subarray(0, 784), (v) => v / 127.5 - 1), [1, 28, 28, 1]);
const upper = tf.concat([tf.ones([1, 14, 28, 1]), tf.zeros([1, 14, 28, 1])], 1);
const told = ({ step, logDensity }: Weighed) =>
  logDensity && console.log(`step ${step}: ${(logDensity.dataSync()[0]! / 784).toFixed(2)} nats`);

await pipe(
  ddim(model.schedule, { steps: 10, spacing: "logLinear", least: 0.005 }), // a sampler
  thresholded(), // which clips
  guided(classifierFree([9, 9], { scale: 2 })), // what makes two ankle boots,
  inpainted(upper, boot), // whose upper half is known
  corrected(langevin({ snr: 0.05 })), // predictor and corrector
  run(prior([2, 28, 28, 1]), { model, key: key(0) }),
  every(2),
  frames({ scale: 4 }),
  saveApng(Deno.args[0] ?? "boots.png"),
);

await pipe(
  flow(model.schedule, { steps: 6, spacing: "logLinear", final: 0.02 }), // an ODE
  conditioned([9, 9]), // of ankle boots
  likelihood({ trace: hutchinson() }), // with a log-density, of which a pixel has these nats
  run<Weighed>(prior([2, 28, 28, 1]), { model, key: key(0) }),
  watched(told),
  frames({ scale: 4 }),
  saveApng(Deno.args[1] ?? "weighed.png"),
);

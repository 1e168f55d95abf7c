// Inpainting by an oracle that knows both numbers of a pair: the first is seen, the second follows from it.
// Run: deno run examples/11_inpaint.ts
import { ddpm, inpainted, key, last, mixture, prior, repainted, run, vp } from "@tweedie/tweedie";
import { useBackend } from "@tweedie/tweedie/backend";
import * as tf from "@tensorflow/tfjs-core";
import { pipe } from "@tweedie/tweedie";

await useBackend("cpu");
const schedule = vp();
const model = mixture(schedule, { means: [[-1, -1], [1, 1]], variances: [0.04, 0.04] });
const mask = tf.tensor([[1, 0]]), known = tf.tensor([[1, 0]]);

const { x } = await last(pipe(
  ddpm(schedule, { steps: 40, spacing: "logLinear" }),
  inpainted(mask, known),
  repainted({ jumps: 4, length: 4 }),
  run(prior([500, 2]), { model, key: key(0) }),
));
const pairs = x.arraySync() as number[][];
const exact = pairs.every(([seen]) => seen === 1);
const mean = pairs.reduce((sum, [, made]) => sum + made!, 0) / pairs.length;
console.log(`known number kept: ${exact} (expected: true)`);
console.log(`mean of the other: ${mean.toFixed(2)} (expected: 1.0 ± 0.1)`);

// 2026-11-29, two virtual cores of an Intel Xeon, Deno 2.9.6, --steps 8 --rounds 2:
//   batch 16, 8 steps, wasm, a plain step 592 ms
//                                      calls   added, ms   of a step
//   thresholded, clip                   1.00        0.09      0.02 %
//   thresholded, dynamic                1.00        3.79      0.64 %
//   conditioned                         1.00        0.02      0.00 %
//   classifierFree                      1.00        0.29      0.05 %
//   classifierFree, rescaled            1.00        0.83      0.14 %
//   byEnergy                            1.00        0.54      0.09 %
//   classifierFree and byEnergy         2.00        0.98      0.17 %
//   corrected, langevin                 1.86        1.93      0.33 %
//   corrected, annealedLangevin         1.86        1.67      0.28 %
//   inpainted                           1.00        4.16      0.70 %
//   inpainted, repainted                0.79        3.20      0.54 %
//   observed, replacement               1.00        4.09      0.69 %
//   beyond a gradient through the network:
//   observed, dps                       1.00        0.89      0.15 %
//   observed, pigdm                     1.00        0.74      0.13 %
//   likelihood, hutchinson              1.86        1.02      0.17 %
//
// What does a refinement cost beyond the network evaluations that it needs? Steps of the shipped U-Net, plain and
// refined, on wasm, where an evaluation is over when `predict` returns: the clock stops while the model works.
//
//   added = (time of a refined step outside the model − time of a plain step outside the model) / time of a plain step
//
// A gradient through the network is an evaluation too, whose backward pass runs outside `predict`, and whose time varies by
// more than a refinement costs. Refinements that take one are held against plain steps on a network that costs next to nothing,
// so that what is left is their own work; the step that it is a part of is still the U-Net's.
//
// Run: deno run --allow-read bench/refinements.ts [--batch 16] [--steps 6] [--rounds 3] [--model f.safetensors]

import { parseArgs } from "node:util";
import { pipe } from "fp-ts/lib/function.js";
import * as tf from "@tensorflow/tfjs-core";
import {
  annealedLangevin,
  byEnergy,
  classifierFree,
  conditioned,
  corrected,
  ddim,
  ddpm,
  downsample,
  guided,
  hutchinson,
  inpainted,
  key,
  langevin,
  likelihood,
  loadDenoiser,
  mask,
  type Model,
  normal,
  observed,
  prior,
  repainted,
  run,
  type Sampler,
  summed,
  thresholded,
} from "@tweedie/tweedie";
import { useBackend } from "@tweedie/tweedie/backend";

const { values: options } = parseArgs({
  options: {
    model: { type: "string", default: "examples/weights/fashion-mnist.safetensors" },
    batch: { type: "string", default: "16" },
    steps: { type: "string", default: "6" },
    rounds: { type: "string", default: "3" },
  },
});

await useBackend("wasm");
const { model } = await loadDenoiser(options.model), { schedule } = model;
const batch = Number(options.batch), steps = Number(options.steps), shape = [batch, 28, 28, 1];
const labels = Array.from({ length: batch }, (_, i) => i % 10);

/** Milliseconds that the model has worked since it was last asked, and how often. */
const inside = { ms: 0, calls: 0 };

function clocked(model: Model): Model {
  return {
    schedule: model.schedule,
    predict: (x, t) => {
      const start = performance.now(), prediction = model.predict(x, t);
      inside.ms += performance.now() - start;
      inside.calls++;
      return prediction;
    },
    given: (condition) => clocked(model.given!(condition)),
  };
}

/** A step's milliseconds in the model and outside of it, and its evaluations. */
interface Cost {
  readonly inside: number;
  readonly outside: number;
  readonly calls: number;
}

const median = (list: readonly number[]): number =>
  [...list].sort((a, b) => a - b)[list.length >> 1]!;

/** The steps of a sampler in the middle of the schedule, one by one. */
async function costs(sampler: Sampler, model: Model): Promise<Cost[]> {
  const found: Cost[] = [], start = schedule.span[1];
  let from = performance.now();
  inside.ms = inside.calls = 0;
  for await (
    const { step } of run(prior(shape, start), { model: clocked(model), key: key(0) })(sampler)
  ) {
    const ms = performance.now() - from;
    // The start is none, and the first step warms up.
    if (step > 1) found.push({ inside: inside.ms, outside: ms - inside.ms, calls: inside.calls });
    inside.ms = inside.calls = 0;
    from = performance.now();
  }
  return found;
}

const plain = ddim(schedule, { steps }), noisy = ddpm(schedule, { steps });
const square = tf.tensor(
  Array.from({ length: 784 }, (_, i) => i < 392 ? 1 : 0),
  [1, 28, 28, 1],
);
const known = normal(key(1), [1, 28, 28, 1]), small = normal(key(2), [1, 14, 14, 1]);
const bright = (x: tf.Tensor): tf.Tensor => tf.mean(x, [1, 2, 3]);

/** Refined samplers; those of the second table take gradients through the network. */
const forward: Readonly<Record<string, Sampler>> = {
  "thresholded, clip": thresholded()(plain),
  "thresholded, dynamic": thresholded({ kind: "dynamic" })(plain),
  "conditioned": conditioned(labels)(plain),
  "classifierFree": guided(classifierFree(labels, { scale: 2 }))(plain),
  "classifierFree, rescaled": guided(classifierFree(labels, { scale: 2, rescale: 0.7 }))(plain),
  "byEnergy": guided(byEnergy(bright))(plain),
  "classifierFree and byEnergy": guided(
    summed(classifierFree(labels, { scale: 2 }), byEnergy(bright)),
  )(plain),
  "corrected, langevin": corrected(langevin())(plain),
  "corrected, annealedLangevin": corrected(annealedLangevin({ ratio: 0.2 }))(plain),
  "inpainted": inpainted(square, known)(noisy),
  "inpainted, repainted": pipe(noisy, inpainted(square, known), repainted({ jumps: 2, length: 2 })),
  "observed, replacement": observed(downsample(2), small, { method: "replacement" })(noisy),
};
const backward: Readonly<Record<string, Sampler>> = {
  "observed, dps": observed(mask(square), known, { method: "dps" })(plain),
  "observed, pigdm": observed(mask(square), known)(plain),
  "likelihood, hutchinson": likelihood({ trace: hutchinson() })(plain) as Sampler,
};

/** A model with a gradient and next to no work of its own. */
const light: Model = { schedule, predict: (x) => ({ kind: "v", value: tf.mul(x, 0.5) }) };

const share = (ms: number, of: number): string => `${(100 * ms / of).toFixed(2)} %`;

/** Prints what each sampler's steps cost beyond plain ones. */
async function table(samplers: Readonly<Record<string, Sampler>>, model: Model): Promise<void> {
  for (const [name, sampler] of Object.entries(samplers)) {
    const bases: Cost[] = [], refinements: Cost[] = [];
    for (let round = 0; round < Number(options.rounds); round++) {
      bases.push(...await costs(plain, model));
      refinements.push(...await costs(sampler, model));
    }
    const outside = (list: readonly Cost[]): number => median(list.map(({ outside }) => outside));
    const added = outside(refinements) - outside(bases);
    const calls = refinements.reduce((sum, { calls }) => sum + calls, 0) / refinements.length;
    console.log(
      `${name.padEnd(32)}${calls.toFixed(2).padStart(8)}${added.toFixed(2).padStart(12)}${
        share(added, step).padStart(12)
      }`,
    );
  }
}

const step = median((await costs(plain, model)).map(({ inside, outside }) => inside + outside));
console.log(
  `batch ${batch}, ${steps} steps, ${tf.getBackend()}, a plain step ${step.toFixed(0)} ms`,
);
console.log(
  `${"".padEnd(32)}${"calls".padStart(8)}${"added, ms".padStart(12)}${"of a step".padStart(12)}`,
);
await table(forward, model);
console.log("beyond a gradient through the network:");
await table(backward, light);

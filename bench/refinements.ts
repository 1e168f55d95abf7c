// 2026-11-28, two virtual cores of an AMD EPYC, Deno 2.9.6:
//   batch 16, 6 steps, wasm
//                                      calls   added, ms   of a step
//   thresholded, clip                   1.00       -0.03     -0.01 %
//   thresholded, dynamic                1.00        2.80      0.77 %
//   conditioned                         1.00       -0.02     -0.01 %
//   classifierFree                      1.00        0.31      0.12 %
//   classifierFree, rescaled            1.00        0.38      0.15 %
//   byEnergy                            1.00        0.36      0.13 %
//   classifierFree and byEnergy         2.00        0.75      0.28 %
//   corrected, langevin                 1.80        1.22      0.48 %
//   corrected, annealedLangevin         1.80        1.08      0.44 %
//   inpainted                           1.00        2.32      0.91 %
//   inpainted, repainted                0.79        2.55      0.98 %
//   observed, replacement               1.00        4.12      1.65 %
// 2026-11-29, two virtual cores of an Intel Xeon, --batch 3 --steps 4 --rounds 2, a plain step about 128 ms; the base takes its
// gradient in a second evaluation, PiGDM's excess is not yet explained:
//   beyond a gradient through the network:
//   observed, dps                       1.00      -36.48    -28.59 %
//   observed, pigdm                     1.00       71.11     55.73 %
//   likelihood, hutchinson              1.67        8.64      6.77 %
//
// What does a refinement cost beyond the network evaluations that it needs? Steps of the shipped U-Net, plain and
// refined, on wasm, where an evaluation is over when `predict` returns: the clock stops while the model works.
//
//   added = (time of a refined step outside the model − time of a plain step outside the model) / time of a plain step
//
// A gradient through the network is an evaluation too, but its backward pass runs outside `predict`: refinements with
// one are held against steps that take a gradient and do nothing with it, `tf.grad` of the prediction times a probe.
// The two take turns, run by run, and medians are over the steps of all rounds.
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
  refined,
  repainted,
  run,
  type Sampler,
  type State,
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
async function costs(sampler: Sampler): Promise<Cost[]> {
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

/** Plain steps that also take a gradient through the network, at the same x_t, of which nothing comes. */
const graded: Sampler = refined<State>((transition) => (env) => (state) => {
  const probe = normal(key(4), shape);
  const of = (x: tf.Tensor): tf.Tensor => {
    const prediction = env.model.predict(x, state.t);
    if (prediction instanceof Promise || !("value" in prediction)) throw new TypeError("no value");
    return tf.sum(tf.mul(prediction.value, probe));
  };
  tf.dispose([tf.tidy(() => tf.grad(of)(state.x)), probe]);
  return transition(env)(state);
})(plain);

const share = (ms: number, of: number): string => `${(100 * ms / of).toFixed(2)} %`;

/** Prints what each sampler's steps cost beyond those of a base. */
async function table(samplers: Readonly<Record<string, Sampler>>, base: Sampler): Promise<void> {
  for (const [name, sampler] of Object.entries(samplers)) {
    const bases: Cost[] = [], refinements: Cost[] = [];
    for (let round = 0; round < Number(options.rounds); round++) {
      bases.push(...await costs(base));
      refinements.push(...await costs(sampler));
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

const step = median((await costs(plain)).map(({ inside, outside }) => inside + outside));
console.log(
  `batch ${batch}, ${steps} steps, ${tf.getBackend()}, a plain step ${step.toFixed(0)} ms`,
);
console.log(
  `${"".padEnd(32)}${"calls".padStart(8)}${"added, ms".padStart(12)}${"of a step".padStart(12)}`,
);
await table(forward, plain);
console.log("beyond a gradient through the network:");
await table(backward, graded);

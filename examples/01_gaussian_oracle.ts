// An exact denoiser instead of a network: data N(3, 0.5²), so every sampler can be held against the truth.
// Run: deno run examples/01_gaussian_oracle.ts
import {
  ddim,
  ddpm,
  dpmSolver,
  gaussian,
  key,
  last,
  linear,
  prior,
  run,
  type Sampler,
} from "@tweedie/tweedie";
import { useBackend } from "@tweedie/tweedie/backend";
import * as tf from "@tensorflow/tfjs-core";
import { pipe } from "@tweedie/tweedie";

await useBackend("cpu");
const schedule = linear();
const model = gaussian(schedule, { mean: 3, variance: 0.25 });

async function spread(sampler: Sampler): Promise<string> {
  const { x } = await last(pipe(sampler, run(prior([2_000, 1]), { model, key: key(0) })));
  const { mean, variance } = tf.moments(x), [m] = mean.dataSync(), [v] = variance.dataSync();
  return `mean ${m!.toFixed(2)}  standard deviation ${Math.sqrt(v!).toFixed(2)}`;
}

console.log("DDPM, 1000 steps     ", await spread(ddpm(schedule, { steps: 1000 })));
console.log("DDIM, 20 steps       ", await spread(ddim(schedule, { steps: 20 })));
console.log("DPM-Solver++, 20     ", await spread(dpmSolver(schedule, { steps: 20 })));
console.log(
  "expected             mean 3.00  standard deviation 0.50, a little less with few DDIM steps",
);

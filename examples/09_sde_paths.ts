// Paths of stochastic differential equations, and a picture of one in text: the same Brownian path in more and more steps.
// Run: deno run examples/09_sde_paths.ts
import * as tw from "@tweedie/tweedie";
import type { PathState } from "@tweedie/tweedie/solve";
import { useBackend } from "@tweedie/tweedie/backend";
import * as tf from "@tensorflow/tfjs-core";

await useBackend("cpu");

/** The last of a stream of states, as numbers. */
async function end(path: AsyncIterable<PathState>): Promise<readonly number[]> {
  let last: readonly number[] = [];
  for await (const { x } of path) last = [...x.dataSync()];
  return last;
}
const mean = (values: readonly number[]): number => values.reduce((a, b) => a + b) / values.length;

// dx = x/2 dt + x dW ends at exp(W(1)): how far off are 16 to 128 steps along the same paths?
const n = 2000,
  keys = tw.key(1),
  span = [0, 1] as const,
  sde = tw.geometricBrownianMotion({ mu: 0.5 });
const exact = [...tw.brownian(keys, [n], [0, 1])[0]!.dataSync()].map(Math.exp);
for (const name of ["eulerMaruyama", "milstein"] as const) {
  const errors: string[] = [], scheme = tw.sdeSchemes[name];
  for (const steps of [16, 32, 64, 128]) {
    const x = await end(tw.simulate(sde, { x: tf.ones([n]), span, steps, keys, scheme }));
    errors.push(mean(x.map((value, i) => Math.abs(value - exact[i]!))).toFixed(4));
  }
  console.log(
    `${name}: ${errors.join(" ")} (expected: ${scheme.order === 1 ? "halves" : "÷ √2"} each time)`,
  );
}

// Noise takes data to the prior: any start, through the forward SDE of a schedule.
const noised = await end(
  tw.simulate(tw.forwardSde(tw.vp()), { x: tf.fill([n], 3), span, steps: 256, keys }),
);
const variance = mean(noised.map((x) => (x - mean(noised)) ** 2));
console.log(`variance at t = 1: ${variance.toFixed(2)} (expected: 1.00 ± 0.13)`);

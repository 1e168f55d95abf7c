// How far can a chain be trusted? A random walk and Hamiltonian Monte Carlo on the same law, and what they say of its mean.
// Run: deno run examples/16_chains.ts
import { key, run } from "@tweedie/tweedie";
import { hmc, type MoveState, randomWalk, targetOf } from "@tweedie/tweedie/chain";
import { summary } from "@tweedie/tweedie/metric";
import { traced } from "@tweedie/tweedie/watch";
import { useBackend } from "@tweedie/tweedie/backend";
import * as tf from "@tensorflow/tfjs-core";

await useBackend("cpu");
// A banana: x ~ N(0, 1) and y ~ N(x², 1/4) given x, so that the mean of y is 1.
const banana = targetOf((sample) => {
  const [x, y] = tf.split(sample, 2, 1), away = tf.sub(y!, tf.square(x!));
  return tf.squeeze(tf.add(tf.div(tf.square(x!), 2), tf.mul(tf.square(away), 2)), [1]);
});
const start = { x: tf.zeros([4, 2]), step: 0 }, options = { key: key(1) };

async function told(name: string, states: AsyncIterable<MoveState>): Promise<void> {
  const { y, accepted } = await traced(states, ({ x, step, info }) => {
    if (step <= 300) return undefined; // on the way from the start, and while the moves are fitted
    const y = (x.arraySync() as [number, number][]).map(([, y]) => y);
    return { y, accepted: [...info!.acceptance.dataSync()] };
  });
  const { count, mean, mcseMean, essBulk, rHat } = summary(y), taken = summary(accepted).mean;
  console.log(
    `${name}: mean ${mean.toFixed(3)} ± ${mcseMean.toFixed(3)}, of ${count} draws worth ` +
      `${essBulk.toFixed(0)}, R-hat ${rHat.toFixed(3)}, ${(100 * taken).toFixed(0)} % taken`,
  );
}
await told("random walk", run(start, options)(randomWalk(banana, { scale: 0.6, steps: 1300 })));
const paths = hmc(banana, { stepSize: 0.1, leaps: 10, warmup: 300, steps: 1300 });
await told("Hamiltonian", run(start, options)(paths));

// A sampler of your own and a refinement of your own: a few lines each, and they fit into every pipe.
// Run: deno run examples/06_your_own_sampler.ts
import * as tw from "@tweedie/tweedie";
import { useBackend } from "@tweedie/tweedie/backend";
import * as tf from "@tensorflow/tfjs-core";
import { pipe } from "@tweedie/tweedie";

await useBackend("cpu");
const schedule = tw.linear();

/** The probability-flow ODE by Euler's method: d(x/alpha) = eps·d(sigma/alpha). */
const euler = (steps: number) =>
  tw.along(tw.legs(schedule, tw.times(schedule, { steps })), (leg) => {
    const { from, to } = leg, change = to.sigma / to.alpha - from.sigma / from.alpha;
    return tw.step(leg, function* ({ x }, env) {
      const eps = yield* tw.asked(env, "eps", x, leg.t);
      return tf.mul(to.alpha, tf.add(tf.div(x, from.alpha), tf.mul(eps, change)));
    });
  });

/** After every step, a little noise. What a scope makes and does not give back is freed. */
const shaken = (size: number) =>
  tw.refined<tw.State>((transition) => (env) => (state) =>
    tw.scope(function* () {
      const next = yield* tw.owned(transition(env)(state), state);
      return { ...next, x: tf.add(next.x, tf.mul(tw.noise(env, next, "shake"), size)) };
    })
  );

const model = tw.mixture(schedule, {
  weights: [0.3, 0.7],
  means: [[-1], [1]],
  variances: [[0.01], [0.01]],
});
const { x } = await tw.last(
  pipe(euler(100), shaken(0.02), tw.run(tw.prior([2000, 1]), { model, key: tw.key(0) })),
);
const right = x.dataSync().filter((value) => value > 0).length / 2000;
console.log(`share of the right-hand mode: ${right.toFixed(2)} (expected: 0.70 ± 0.04)`);

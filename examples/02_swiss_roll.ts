// Train a perceptron on a swiss roll in the plane, then sample it. About half a minute.
// Run: deno run examples/02_swiss_roll.ts
import * as tw from "@tweedie/tweedie";
import { useBackend } from "@tweedie/tweedie/backend";
import * as tf from "@tensorflow/tfjs-core";
import { pipe } from "@tweedie/tweedie";

await useBackend();
const schedule = tw.vp(),
  kind = "eps",
  size = 256,
  steps = 2000,
  network = tw.mlp({ dimension: 2 });

/** Fresh points of the roll [size, 2]: angle u, radius u/7, a little noise. */
function roll(key: tw.Key): tf.Tensor {
  const u = tw.uniform(tw.fold(key, "u"), [size, 1], { low: 1.5 * Math.PI, high: 4.5 * Math.PI });
  const exact = tf.mul(tf.div(u, 7), tf.concat([tf.cos(u), tf.sin(u)], 1));
  return tf.add(exact, tf.mul(tw.normal(tw.fold(key, "noise"), [size, 2]), 0.03));
}

const loss: tw.Loss<number> = (params, _step, key) => {
  const t = tw.uniformTimes(schedule, size, tw.fold(key, "t")),
    eps = tw.normal(tw.fold(key, "eps"), [size, 2]);
  const predict: tw.Denoiser = (xt, at) => network.apply(params, xt, at.map((v) => 1000 * v));
  return tw.denoisingLoss(predict, { x0: roll(key), eps, t }, { schedule, kind });
};

const start = tw.newTraining(tw.initialize(network.parameters, tw.key(0)));
const options = { loss, key: tw.key(1), adam: { rate: 3e-3, anneal: steps } };
const { ema } = await tw.last(tw.train(start, options)(Array(steps).keys()));
const model = tw.networkModel(network, ema, { schedule, kind });
const { x } = await tw.last(
  pipe(tw.ddim(schedule), tw.run(tw.prior([1000, 2]), { model, key: tw.key(2) })),
);
const points = await x.array() as [number, number][];
// Along the roll, 7 times the radius less the angle is a whole number of turns.
const off = points.map(([a, b]) => (7 * Math.hypot(a, b) - Math.atan2(b, a)) / (2 * Math.PI));
const near = off.filter((turns) => Math.abs(turns - Math.round(turns)) < 0.1).length;
console.log(`within a tenth of a turn of the roll: ${near} of 1000 (expected: more than 800)`);

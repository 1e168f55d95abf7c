// A restricted Boltzmann machine that learns garments in black and white, and dreams of others: its chain as an animation.
// Run: deno run --allow-read --allow-write=. examples/17_dreams.ts [out.png] [epochs]
import * as tw from "@tweedie/tweedie";
import { retained } from "@tweedie/tweedie/chain";
import * as energy from "@tweedie/tweedie/energy";
import * as training from "@tweedie/tweedie/train";
import { view } from "@tweedie/tweedie/tensor";
import { useBackend } from "@tweedie/tweedie/backend";
import * as tf from "@tensorflow/tfjs-core";

const [out = "dreams.png", epochs = "5"] = Deno.args, [k0, k1, k2, k3, k4] = tw.split(tw.key(1), 5);
await useBackend();
const { images } = await tw.fashionMnist(undefined, "train");
const bits = Float32Array.from(images.subarray(0, 20_000 * 784), (grey) => +(grey > 127));
const data = tf.tensor2d(bits, [20_000, 784]);

const first = energy.initialRbm({ visible: 784, hidden: 64, key: k0!, data });
const given = { negatives: "persistent", chains: 100, centring: 0.01 } as const;
const optimizer = training.byMomentum({ rate: 0.03, momentum: 0.5 });
const carried = training.divergenceStart(first, { ...given, key: k1! });
const loss = training.contrastiveDivergence(first, given);
const batches = training.rowBatches(bits, { width: 784, size: 100, epochs: +epochs, key: k2! });
const start = tw.newTraining(first, { optimizer, carried });
let machine: energy.Rbm = first;
for await (const state of tw.train(start, { loss, optimizer, key: k3!, every: 200 })(batches)) {
  machine = retained(state.params) as energy.Rbm;
}

async function* dreams(states: AsyncIterable<{ readonly x: tf.Tensor }>) {
  for await (const { x } of states) {
    const grey = tw.scope(() => energy.visibleMean(machine, energy.hiddenMean(machine, x)));
    yield { x: view((await grey.data()).map((p) => 2 * p - 1), [32, 28, 28]) };
    grey.dispose();
  }
}
const awake: energy.RbmState = { x: tf.slice(data, 0, 32), step: 0 };
const states = tw.run(awake, { key: k4! })(energy.rbmGibbs(machine, { steps: 120 }));
await tw.saveApng(out, { delay: 80 })(tw.frames({ grid: [4, 8], scale: 3 })(dreams(states)));

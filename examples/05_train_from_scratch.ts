// Train a small U-Net on Fashion-MNIST: training is a lazy stream, so logging and stopping are plain code.
// Run: deno run --allow-read examples/05_train_from_scratch.ts 300
import * as tw from "@tweedie/tweedie";
import { parameterCount } from "@tweedie/tweedie/network";
import { useBackend } from "@tweedie/tweedie/backend";

await useBackend();
const steps = Number(Deno.args[0] ?? 300), root = tw.key(0);
const network = tw.unet({
  size: [28, 28],
  patch: 2,
  base: 16,
  multipliers: [1, 2],
  blocks: 1,
  classes: 10,
});
console.log(`${parameterCount(network.parameters)} weights`);

const start = tw.newTraining(tw.initialize(network.parameters, tw.fold(root, "weights")));
const loss = tw.diffusionLoss(network, {
  schedule: tw.cosineContinuous(),
  kind: "v",
  nullShare: 0.1,
});
const data = tw.batches(await tw.fashionMnist(), { size: 16, key: tw.fold(root, "data") });
const options = { loss, key: root, adam: { rate: 2e-3, warmup: 20, clip: 1 } };

let mean = NaN;
for await (const { step, loss } of tw.train(start, options)(data)) {
  mean = step === 1 ? loss : mean + (loss - mean) / Math.min(step, 20);
  if (step % 20 === 0) console.log(`step ${step}  loss ${mean.toFixed(3)}`);
  if (step >= steps) break;
}
console.log(
  `loss ${
    mean.toFixed(3)
  } after ${steps} steps (expected: below 0.95 after 40, below 0.45 after 300)`,
);

// Sample the shipped Fashion-MNIST model, two of each class, guided, and write a grid.
// Run: deno run --allow-read --allow-write=. examples/03_sample_fashion.ts
import {
  classifierFree,
  dpmSolver,
  frames,
  guided,
  key,
  loadDenoiser,
  prior,
  progress,
  run,
  savePng,
  thresholded,
} from "@tweedie/tweedie";
import { useBackend } from "@tweedie/tweedie/backend";
import { pipe } from "@tweedie/tweedie";

await useBackend();
const { model, config } = await loadDenoiser(
  `${import.meta.dirname}/weights/fashion-mnist.safetensors`,
);
const labels = Array.from({ length: 20 }, (_, i) => i % 10);

await pipe(
  dpmSolver(model.schedule, { steps: 25 }),
  thresholded(),
  guided(classifierFree(labels, { scale: 2 })),
  run(prior([20, 28, 28, 1]), { model, key: key(0) }),
  progress({ total: 25 }),
  frames({ grid: [2, 10], scale: 3 }),
  savePng(Deno.args[0] ?? "fashion.png"),
);
console.log(`two rows of ${config.classes?.join(", ")}`);

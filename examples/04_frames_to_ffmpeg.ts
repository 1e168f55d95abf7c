// Each x_t as a video frame, into ffmpeg, while it is computed.
// Run: deno run --allow-read --allow-run=ffmpeg examples/04_frames_to_ffmpeg.ts
import {
  classifierFree,
  dpmSolver,
  frames,
  guided,
  key,
  loadDenoiser,
  prior,
  run,
  thresholded,
  toProcess,
  y4m,
} from "@tweedie/tweedie";
import { useBackend } from "@tweedie/tweedie/backend";
import { pipe } from "@tweedie/tweedie";

await useBackend();
const { model } = await loadDenoiser(
  `${import.meta.dirname}/weights/fashion-mnist.safetensors`,
);
const out = Deno.args[0] ?? "fashion.mp4";

await pipe(
  dpmSolver(model.schedule, { steps: 30 }),
  thresholded(),
  guided(classifierFree([0, 1, 2, 3, 4, 5, 6, 7, 8, 9], { scale: 2 })),
  run(prior([10, 28, 28, 1]), { model, key: key(4) }),
  frames({ grid: [2, 5], scale: 4 }),
  y4m({ fps: 10 }),
  toProcess("ffmpeg", ["-y", "-loglevel", "error", "-i", "-", "-pix_fmt", "yuv420p", out]),
);
console.log(`31 frames in ${out}`);

// Sample the shipped model twice from the same noise: by tfjs's WebAssembly, and compiled and run by ONNX Runtime.
// Run: deno run --allow-read --allow-ffi examples/07_native_speed.ts
import * as tw from "@tweedie/tweedie";
import { onnx } from "@tweedie/tweedie/onnx";
import { useBackend } from "@tweedie/tweedie/backend";
import * as tf from "@tensorflow/tfjs-core";
import { pipe } from "@tweedie/tweedie";

const weights = `${import.meta.dirname}/weights/fashion-mnist.safetensors`;
const count = 8, steps = 20, condition = Array.from({ length: count }, (_, i) => i);

/** Eight garments, one of each of the first classes, and how many were made in a second; compiling is left out. */
const garments = async (on: { engine?: tw.Engine } = {}) => {
  const env = { model: model.given!(condition), key: tw.key(0), ...on };
  const sample = (steps: number) =>
    tw.last(pipe(tw.ddim(model.schedule, { steps }), tw.run(tw.prior([count, 28, 28, 1]), env)));
  await sample(1);
  const began = performance.now(), { x } = await sample(steps);
  return { x, speed: count / (performance.now() - began) * 1000 };
};

await useBackend(); // wasm
const { model } = await tw.loadDenoiser(weights), engine = await onnx();
const eager = await garments(), native = await garments({ engine });
await engine.close();

const difference = tf.max(tf.abs(tf.sub(eager.x, native.x))).dataSync()[0]!;
console.log(`wasm: ${eager.speed.toFixed(2)} images a second`);
console.log(`onnx: ${native.speed.toFixed(2)} images a second, on all cores`);
console.log(
  `greatest difference of a pixel: ${difference.toExponential(1)} (expected: below 1e-3)`,
);

// Write the shipped model as an ONNX file, which any runtime reads, and sample the graph in that file.
// Run: deno run --allow-read --allow-write=. --allow-ffi examples/08_onnx_out_and_in.ts
import * as tw from "@tweedie/tweedie";
import { writeAtomically } from "@tweedie/tweedie/io";
import { executor, exportDenoiser, onnxModel } from "@tweedie/tweedie/onnx";
import { useBackend } from "@tweedie/tweedie/backend";
import * as tf from "@tensorflow/tfjs-core";
import { pipe } from "@tweedie/tweedie";

await useBackend();
const weights = `${import.meta.dirname}/weights/fashion-mnist.safetensors`;
const { model, config, params } = await tw.loadDenoiser(weights);

const path = Deno.args[0] ?? "fashion.onnx";
await writeAtomically(path, exportDenoiser(config, params));

const runtime = await executor(), graph = await onnxModel(runtime, await Deno.readFile(path));

/** Two garments, an ankle boot and a bag, from the same noise whatever the model. */
const garments = async (model: tw.Model) => {
  const given = model.given!([9, 8]), start = tw.prior([2, 28, 28, 1]);
  return (await tw.last(
    pipe(tw.ddim(model.schedule, { steps: 20 }), tw.run(start, { model: given, key: tw.key(0) })),
  )).x;
};

const difference = tf.max(tf.abs(tf.sub(await garments(model), await garments(graph.model))));
const size = difference.dataSync()[0]!.toExponential(1);
console.log(`greatest difference of a pixel: ${size} (expected: below 1e-4)`);
await runtime.close();

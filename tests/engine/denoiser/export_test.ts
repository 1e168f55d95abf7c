import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import * as tf from "@tensorflow/tfjs-core";
import type { Condition, TensorPrediction } from "../../../src/denoise/prediction.ts";
import { initialize, type Params } from "../../../src/network/layer/parameter.ts";
import { imageModel, type ImageModelConfig } from "../../../src/network/model.ts";
import { unet } from "../../../src/network/unet.ts";
import { useBackend } from "../../../src/tensor/backend/backend.ts";
import { key } from "../../../src/tensor/key.ts";
import { normal } from "../../../src/tensor/random.ts";
import type { Constant, Graph, Node } from "../../../src/engine/graph/graph.ts";
import { anyBatch, exportDenoiser } from "../../../src/engine/denoiser/export.ts";
import { onnxModel } from "../../../src/engine/denoiser/import.ts";
import { decode } from "../../../src/engine/onnx/proto.ts";
import type { Executor } from "../../../src/engine/runtime/executor.ts";
import { start } from "../../../src/engine/runtime/session.ts";
import { live } from "../../measure.ts";

await useBackend("cpu");

/** All that a U-Net can have, in small: two levels, attention, blocks of pixels, classes, two channels. */
const full: ImageModelConfig = {
  schedule: { name: "cosineContinuous", options: { end: 0.99 } },
  kind: "v",
  network: {
    size: [8, 12],
    channels: 2,
    patch: 2,
    base: 8,
    multipliers: [1, 2],
    blocks: 1,
    groups: 4,
    attention: [1],
    classes: 3,
  },
  classes: ["Trouser", "Bag", "Ankle boot"],
};

const { classes: _, network: { classes: __, attention: ___, ...plain }, ...rest } = full;

/** No classes, no attention, every pixel by itself. */
const bare: ImageModelConfig = { ...rest, network: { ...plain, middleAttention: false, patch: 1 } };

/** Weights that are nowhere zero, so that every layer matters. */
function weightsOf(config: ImageModelConfig): Params {
  const { parameters } = unet(config.network);
  const loud = Object.entries(parameters).map(([name, { shape, mean = 0 }]) =>
    [name, { shape, mean, std: 0.25 }] as const
  );
  return initialize(Object.fromEntries(loud), key(4));
}

/** Greatest difference between the elements of two tensors. */
const apart = (a: tf.Tensor, b: tf.Tensor): number =>
  tf.tidy(() => {
    assert.deepEqual(a.shape, b.shape);
    return tf.max(tf.abs(tf.sub(a, b))).dataSync()[0]!;
  });

/** A test with ONNX Runtime. */
const running = (use: (executor: Executor) => Promise<void>) => async (): Promise<void> => {
  const executor = await start({ threads: 1 });
  try {
    await use(executor);
  } finally {
    await executor.close();
  }
};

describe("exportDenoiser()", () => {
  for (
    const [what, config] of [["all that there is", full], [
      "neither classes nor attention",
      bare,
    ]] as const
  ) {
    it(
      `gives a graph of the network's numbers for any number of samples, with ${what}`,
      running(async (executor) => {
        const params = weightsOf(config), network = unet(config.network);
        const { id } = await executor.load(exportDenoiser(config, params));
        const [height, width] = config.network.size;
        for (const n of [1, 2, 5]) {
          const x = normal(key(n), [n, height, width, 2]);
          // Numbers that float32 has exactly, whole and not, at both ends.
          const times = [731.6875, 0, 1000, 3, 0.03125].slice(0, n);
          const labels = [2, 3, 0, 1, 3].slice(0, n);
          const condition = labels.map((label) => label === 3 ? null : label);
          const { prediction } = await executor.run(id, {
            x: { type: "float32", dims: x.shape, data: Float32Array.from(x.dataSync()) },
            t: { type: "float32", dims: [n], data: Float32Array.from(times) },
            ...(network.classes > 0 &&
              { label: { type: "int32", dims: [n], data: Int32Array.from(labels) } }),
          }, { prediction: true });
          const got = tf.tensor(prediction!.data as Float32Array, [...prediction!.dims]);
          const wanted = network.apply(
            params,
            x,
            times,
            network.classes > 0 ? condition : undefined,
          );
          const size = tf.max(tf.abs(wanted)).dataSync()[0]!;
          assert.ok(apart(got, wanted) < 1e-5 * size, `${n}: ${apart(got, wanted)} of ${size}`);
        }
        await executor.free([id], []);
      }),
    );
  }

  it(
    "gives a file that onnxModel() reads back as the model it was",
    running(async (executor) => {
      const params = weightsOf(full), wanted = imageModel(full, params);
      const { model, dispose } = await onnxModel(executor, exportDenoiser(full, params));
      const x = normal(key(9), [3, 8, 12, 2]), t = 0.37;
      for (const condition of [undefined, [2, null, 0]] as (Condition | undefined)[]) {
        const [a, b] = [model, wanted].map((of) => condition ? of.given!(condition) : of);
        const got = await a!.predict(x, t) as TensorPrediction;
        const { kind, value } = await b!.predict(x, t) as TensorPrediction;
        assert.equal(got.kind, kind);
        // networkTime(…) is rounded to float32 on the way in: 3e-5 of 1000 at most.
        const size = tf.max(tf.abs(value)).dataSync()[0]!;
        assert.ok(apart(got.value, value) < 1e-4 * size, `${apart(got.value, value)} of ${size}`);
      }
      assert.deepEqual(model.schedule.at(t), wanted.schedule.at(t));
      assert.deepEqual(model.schedule.span, [0, 0.99]);
      await dispose();
    }),
  );

  it(
    "computes the features of time in the graph as finely as float32 has the time",
    running(async (executor) => {
      // Of 16 frequencies; the 4 of a smaller network round less, since one of them is 1 and the next 0.1.
      const config: ImageModelConfig = { ...bare, network: { ...bare.network, base: 32 } };
      const params = weightsOf(config), network = unet(config.network);
      const { id } = await executor.load(exportDenoiser(config, params));
      const times = [999.9375, 998.0625, 513.8125, 255.5], n = times.length;
      const x = tf.zeros([n, 8, 12, 2]);
      const { prediction } = await executor.run(id, {
        x: { type: "float32", dims: x.shape, data: new Float32Array(x.size) },
        t: { type: "float32", dims: [n], data: Float32Array.from(times) },
      }, { prediction: true });
      const wanted = network.apply(params, x, times), size = tf.max(tf.abs(wanted)).dataSync()[0]!;
      const difference = apart(
        tf.tensor(prediction!.data as Float32Array, [...prediction!.dims]),
        wanted,
      );
      assert.ok(difference < 3e-6 * size, `${difference} of ${size}`);
      await executor.free([id], []);
    }),
  );

  it("writes what others need to know into the metadata", () => {
    const { inputs, outputs, metadata, opset, operators } = decode(
      exportDenoiser(full, weightsOf(full)),
    );
    // Nothing but ONNX's own: the engine's layout in blocks is ONNX Runtime's.
    assert.deepEqual(operators.filter((operator) => operator.includes(".")), []);
    const image = { type: "float32", dims: ["N", 8, 12, 2] };
    assert.deepEqual(inputs, [
      { name: "x", ...image },
      { name: "t", type: "float32", dims: ["N"] },
      { name: "label", type: "int32", dims: ["N"] },
    ]);
    assert.deepEqual(outputs, [{ name: "prediction", ...image }]);
    assert.equal(opset, 18);
    assert.deepEqual(metadata, {
      format: "tweedie.denoise",
      schedule: '{"name":"cosineContinuous","options":{"end":0.99}}',
      kind: "v",
      classes: '["Trouser","Bag","Ankle boot"]',
      layout: "NHWC",
      size: "[8,12,2]",
    });
  });

  it("numbers classes that have no names, and leaves the input out where there are none", () => {
    const { classes: _, ...unnamed } = full;
    const { metadata } = decode(exportDenoiser(unnamed, weightsOf(unnamed)));
    assert.equal(metadata["classes"], '["0","1","2"]');
    const without = decode(exportDenoiser(bare, weightsOf(bare)));
    assert.deepEqual(without.inputs.map(({ name }) => name), ["x", "t"]);
    assert.equal(without.metadata["classes"], "[]");
  });

  it("leaves the weights and the backend as they were, and no tensors behind", () => {
    const params = weightsOf(bare), before = live();
    const first = Object.values(params)[0]!, numbers = [...first.dataSync()];
    exportDenoiser(bare, params);
    assert.equal(live(), before);
    assert.equal(tf.getBackend(), "cpu");
    assert.deepEqual([...first.dataSync()], numbers);
  });

  it("writes nothing that could not be read back: no other kind or schedule, no weights that are none", () => {
    const params = weightsOf(bare), [name, first] = Object.entries(params)[0]!;
    const refused = (config: ImageModelConfig, weights: Params, message: RegExp): void =>
      assert.throws(() => exportDenoiser(config, weights), { name: "RangeError", message });
    refused(
      { ...bare, kind: "noise" as "eps" },
      params,
      /^Cannot export .*: kind must be one of eps, x0/,
    );
    refused({ ...bare, schedule: { name: "quadratic" as "linear" } }, params, /schedule/);
    refused({ ...full, classes: ["one"] }, params, /names of 3 classes, got 1$/);
    const { [name]: _, ...fewer } = params, count = live();
    refused(
      bare,
      fewer,
      new RegExp(`params must have the weights of the network, got none called ${name}$`),
    );
    const flat = tf.reshape(first, [-1]), wrong = tf.mul(first, NaN);
    refused(bare, { ...params, [name]: flat }, /of shape \[.*\] for \[.*\]$/);
    refused(
      bare,
      { ...params, [name]: wrong },
      new RegExp(`params must be finite, got NaN in ${name}$`),
    );
    tf.dispose([flat, wrong]);
    assert.equal(live(), count);
  });
});

const node = (op: string, inputs: string[], attributes: Node["attributes"] = {}): Node => ({
  op,
  inputs,
  outputs: ["y"],
  attributes,
  domain: "",
});

const graphOf = (one: Node, constants: Constant[] = []): Graph => ({
  nodes: [one],
  constants,
  inputs: [{ name: "x", type: "float32", dims: [7919, 4] }],
  outputs: [{ name: "y", type: "float32", dims: [7919, 2, 2] }],
});

const sizes = (...values: number[]): Constant => ({
  name: "c",
  type: "int64",
  dims: [values.length],
  data: BigInt64Array.from(values, BigInt),
});

const number = (value: number): Constant => ({
  name: "c",
  type: "float32",
  dims: [],
  data: Float32Array.of(value),
});

describe("anyBatch()", () => {
  it("opens ports and reshapes that follow the batch", () => {
    for (const wanted of [[7919, 2, 2], [3, 7919 * 8, 5]]) {
      const graph = anyBatch(graphOf(node("Reshape", ["x", "c"]), [sizes(...wanted)]), 7919);
      const [shape, ...others] = graph.constants;
      assert.deepEqual(others, []);
      assert.deepEqual(
        [...shape!.data],
        wanted.map((size) => size % 7919 === 0 ? -1n : BigInt(size)),
      );
      assert.deepEqual(graph.nodes[0]!.inputs, ["x", shape!.name]);
      assert.deepEqual(graph.inputs[0]!.dims, ["N", 4]);
      assert.deepEqual(graph.outputs[0]!.dims, ["N", 2, 2]);
    }
  });

  it("keeps reshapes that do not", () => {
    const constants = [sizes(0, 2, 2)], graph = graphOf(node("Reshape", ["x", "c"]), constants);
    assert.deepEqual(anyBatch(graph, 7919).nodes, graph.nodes);
    assert.deepEqual(anyBatch(graph, 7919).constants, constants);
  });

  it("refuses a graph in which the number of samples is left", () => {
    const rows: Constant = { ...number(0), dims: [7919], data: new Float32Array(7919) };
    const cases: [Graph, string][] = [
      [graphOf(node("Expand", ["x", "c"]), [sizes(7919, 4)]), "a constant of Expand"],
      [graphOf(node("Reshape", ["x", "c"]), [sizes(7919, 7919)]), "a constant of Reshape"],
      [graphOf(node("Reshape", ["x", "c"]), [sizes(-1, 7919)]), "a constant of Reshape"],
      [graphOf(node("Mul", ["x", "c"]), [number(1 / 7919)]), "a constant of Mul"],
      [graphOf(node("Div", ["x", "c"]), [number(4 * 7919)]), "a constant of Div"],
      [graphOf(node("Add", ["x", "c"]), [rows]), "a constant of Add"],
      [graphOf(node("Split", ["x"], { sizes: [1, 7919] })), "an attribute of Split"],
      [graphOf(node("Resize", ["x"], { rows: 2 * 7919 })), "an attribute of Resize"],
      [graphOf(node("Elu", ["x"], { alpha: { float: 7919 } })), "an attribute of Elu"],
      [
        {
          ...graphOf(node("Neg", ["x"])),
          outputs: [{ name: "y", type: "float32", dims: [2 * 7919] }],
        },
        "the shape of y",
      ],
    ];
    for (const [graph, where] of cases) {
      assert.throws(() => anyBatch(graph, 7919), {
        name: "RangeError",
        message:
          `Cannot leave the number of samples open: a graph must depend on it through shapes alone, got it in ${where}`,
      });
    }
  });
});

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { ModelProtoSchema, StringStringEntryProtoSchema, TensorProtoSchema } from "onnx-buf";
import * as tf from "@tensorflow/tfjs-core";
import type { TensorPrediction } from "../../../src/denoise/prediction.ts";
import { rectified } from "../../../src/noise/schedule/continuous.ts";
import { linear } from "../../../src/noise/schedule/discrete.ts";
import { useBackend } from "../../../src/tensor/backend/backend.ts";
import type { Port } from "../../../src/engine/graph/graph.ts";
import type { Executor, Feed, HostTensor } from "../../../src/engine/runtime/executor.ts";
import { onnxModel, type OnnxModelOptions } from "../../../src/engine/denoiser/import.ts";
import { encode } from "../../../src/engine/onnx/proto.ts";
import { live } from "../../measure.ts";

await useBackend("cpu");

type Answer = (feeds: Readonly<Record<string, HostTensor>>) => HostTensor;

/** An executor that answers every run by a function of what it was fed, and notes what it is asked. */
function standIn(answer: Answer): { executor: Executor; asked: string[]; fed: Fed[] } {
  const asked: string[] = [], fed: Fed[] = [];
  const refuse = () => Promise.reject(new Error("not asked for here"));
  const executor: Executor = {
    name: "a stand-in",
    load: () => {
      asked.push("load");
      return Promise.resolve({ id: 7, inputs: [], outputs: [] });
    },
    run: (id, feeds, fetches) => {
      const given = feeds as Record<string, HostTensor>;
      asked.push(`run ${id}`);
      fed.push(given);
      return Promise.resolve({ [Object.keys(fetches)[0]!]: answer(given) });
    },
    put: refuse,
    get: refuse,
    free: (sessions, slots) => {
      asked.push(`free [${sessions}] [${slots}]`);
      return Promise.resolve();
    },
    close: refuse,
  };
  return { executor, asked, fed };
}

type Fed = Readonly<Record<string, Feed>>;

/** Ports by name: a type, and sizes or words. */
const ports = (list: Record<string, [Port["type"], ...(number | string)[]]>): Port[] =>
  Object.entries(list).map(([name, [type, ...dims]]) => ({ name, type, dims }));

const file = (
  inputs: Port[],
  options: { metadata?: Record<string, string>; outputs?: Port[] } = {},
): Uint8Array => {
  const { metadata = {}, outputs = [{ name: "out", type: "float32", dims: ["N", 3, 2, 2] }] } =
    options;
  return encode({ nodes: [], constants: [], inputs, outputs }, metadata);
};

const images: [Port["type"], ...(number | string)[]] = ["float32", "N", 3, 2, 2];

/** What diffusers' UNet2DModel looks like once exported, in small. */
const foreign: OnnxModelOptions = {
  schedule: linear(),
  kind: "eps",
  inputs: { x: "sample", t: "timestep" },
  times: (t) => t - 1,
};

/** A file of ours. */
const metadata: Record<string, string> = {
  format: "tweedie.denoise",
  schedule: '{"name":"rectified"}',
  kind: "flow",
  layout: "NHWC",
  classes: '["Trouser","Bag"]',
};
const ownPorts = ports({
  x: ["float32", "N", 2, 2, 3],
  t: ["float32", "N"],
  label: ["int32", "N"],
});
const ownOutputs = ports({ prediction: ["float32", "N", 2, 2, 3] });
const own = (changed: Record<string, string> = {}): Uint8Array =>
  file(ownPorts, { metadata: { ...metadata, ...changed }, outputs: ownOutputs });

const ramp = (...shape: number[]): tf.Tensor =>
  tf.reshape(tf.range(0, tf.util.sizeFromShape(shape)), shape);

const same: Answer = ({ x, sample }) => (x ?? sample)!;

describe("onnxModel()", () => {
  it("shows another library's graph x_t with the channels first, and turns its answer back", async () => {
    const { executor, fed } = standIn(same);
    const bytes = file(ports({ sample: images, timestep: ["int64"] }));
    const { model } = await onnxModel(executor, bytes, foreign);
    const x = ramp(2, 2, 2, 3);
    const { kind, value } = await model.predict(x, 500) as TensorPrediction;
    const sample = fed[0]!["sample"] as HostTensor;
    assert.deepEqual(sample.dims, [2, 3, 2, 2]);
    assert.deepEqual([...sample.data].slice(0, 5), [0, 3, 6, 9, 1]);
    assert.equal(kind, "eps");
    assert.deepEqual(value.arraySync(), x.arraySync());
  });

  it("gives the time in the type and shape of its port", async () => {
    const cases: [Port["type"], (number | string)[], HostTensor][] = [
      ["int64", [], { type: "int64", dims: [], data: new BigInt64Array([499n]) }],
      ["int64", ["N"], { type: "int64", dims: [2], data: new BigInt64Array([499n, 499n]) }],
      ["int32", [1], { type: "int32", dims: [1], data: new Int32Array([499]) }],
      ["float32", ["N", 1], {
        type: "float32",
        dims: [2, 1],
        data: Float32Array.of(499.25, 499.25),
      }],
    ];
    for (const [type, dims, wanted] of cases) {
      const { executor, fed } = standIn(same);
      const bytes = file(ports({ sample: images, timestep: [type, ...dims] }));
      const { model } = await onnxModel(executor, bytes, foreign);
      await model.predict(ramp(2, 2, 2, 3), 500.25);
      assert.deepEqual(fed[0]!["timestep"], wanted);
    }
  });

  it("takes schedule, kind, layout and classes from the metadata of our own files", async () => {
    const { executor, fed } = standIn(same);
    const { model, description } = await onnxModel(executor, own());
    assert.deepEqual(model.schedule.at(0.25), rectified().at(0.25));
    // Our networks see x_t in the unit in which alpha² + sigma² = 1, and answer in it.
    const [alpha, sigma] = [0.75, 0.25].map((each) => each / Math.hypot(0.75, 0.25)) as [
      number,
      number,
    ];
    const units = Array.from({ length: 24 }, (_, i) => i / Math.hypot(0.75, 0.25));
    const prediction = await model.given!([1, null]).predict(ramp(2, 2, 2, 3), 0.25);
    const { data, ...rest } = fed[0]!["x"] as HostTensor;
    assert.deepEqual(rest, { type: "float32", dims: [2, 2, 2, 3] });
    units.forEach((x, i) => assert.ok(Math.abs(Number(data[i]) - x) < 1e-5));
    assert.equal(prediction.kind, "x0");
    const x0 = [...prediction.value.dataSync()];
    units.forEach((x, i) => {
      assert.ok(Math.abs(x0[i]! - x * (1 - sigma) / (alpha + sigma)) < 1e-5);
    });
    assert.deepEqual((fed[0]!["t"] as HostTensor).data, Float32Array.of(250, 250));
    assert.deepEqual(fed[0]!["label"], { type: "int32", dims: [2], data: Int32Array.of(1, 2) });
    assert.deepEqual(description.metadata, metadata);
  });

  it("hands over elements of its own, not those of x_t", async () => {
    const { executor, fed } = standIn(same);
    const { model } = await onnxModel(executor, own()), x = ramp(1, 2, 2, 3);
    await model.predict(x, 0.5);
    (fed[0]!["x"] as HostTensor).data.fill(0 as never);
    assert.deepEqual([...x.dataSync()], [...ramp(12).dataSync()]);
  });

  it("without a condition shows every sample the number for no class", async () => {
    const { executor, fed } = standIn(same);
    const { model } = await onnxModel(executor, own());
    await model.predict(ramp(3, 2, 2, 3), 0.5);
    assert.deepEqual((fed[0]!["label"] as HostTensor).data, Int32Array.of(2, 2, 2));
  });

  it("lets options have the last word over the metadata", async () => {
    const { executor, fed } = standIn(same);
    const { model } = await onnxModel(executor, own(), { kind: "eps", times: (t) => 8 * t });
    const { kind } = await model.predict(ramp(1, 2, 2, 3), 0.5);
    assert.equal(kind, "eps");
    assert.deepEqual((fed[0]!["t"] as HostTensor).data, Float32Array.of(4));
  });

  it("has no given() for a graph without classes", async () => {
    const { executor } = standIn(same);
    const bytes = file(ports({ sample: images, timestep: ["int64"] }));
    assert.equal((await onnxModel(executor, bytes, foreign)).model.given, undefined);
  });

  it("refuses a condition that the graph cannot be shown", async () => {
    const { executor, asked } = standIn(same);
    const { model } = await onnxModel(executor, own()), x = ramp(2, 2, 2, 3);
    const refused = (condition: (number | null)[], got: string) =>
      assert.rejects(async () => await model.given!(condition).predict(x, 0.5), {
        name: "RangeError",
        message: `Cannot predict: condition must be ${got}`,
      });
    await refused([0], "one entry for each of 2 samples, got 1");
    await refused([0, 2], "null or a whole number in [0, 2) for each sample, got 2");
    await refused([0.5, 0], "null or a whole number in [0, 2) for each sample, got 0.5");
    const bytes = file(ports({ sample: images, timestep: ["int64"], y: ["int64", "N"] }));
    const labelled = { ...foreign, inputs: { x: "sample", t: "timestep", label: "y" } };
    const other = (await onnxModel(executor, bytes, labelled)).model;
    await assert.rejects(async () => await other.predict(x, 1), /whole number in \[0, Infinity\)/);
    assert.ok(!asked.includes("run 7"));
  });

  it("refuses an x_t of another shape before the executor is asked", async () => {
    const { executor, asked } = standIn(same);
    const { model } = await onnxModel(executor, own());
    await assert.rejects(async () => await model.predict(ramp(1, 2, 2, 1), 0.5), {
      name: "RangeError",
      message: "Cannot predict: x_t as the graph's x must be of shape [N,2,2,3], got [1,2,2,1]",
    });
    assert.deepEqual(asked, ["load"]);
  });

  it("refuses an answer that is not of the shape of x_t, such as one with a variance", async () => {
    const { executor } = standIn(() => ({
      type: "float32",
      dims: [1, 2, 2, 6],
      data: new Float32Array(24),
    }));
    const { model } = await onnxModel(executor, own());
    await assert.rejects(async () => await model.predict(ramp(1, 2, 2, 3), 0.5), {
      name: "RangeError",
      message:
        "Cannot predict: the graph's prediction must be float32 [1,2,2,3], got float32 [1,2,2,6]",
    });
  });

  it("refuses, before it is loaded, a file that lacks what the options do not say", async () => {
    const { executor, asked } = standIn(same);
    const { schedule, kind, inputs } = foreign as Required<typeof foreign>;
    const half = ports({ sample: images, timestep: ["int64"] });
    const refused = (bytes: Uint8Array, options: OnnxModelOptions, message: string) =>
      assert.rejects(onnxModel(executor, bytes, options), {
        name: "TypeError",
        message: `Cannot use a graph as a model: ${message}`,
      });
    await refused(file(half), { kind, inputs }, "schedule must be given for such a file, got none");
    const wrong: readonly [object, string][] = [
      [
        { layouts: "NHWC" },
        "options must be among schedule, kind, inputs, output, layout, times, units, classes, nullClass, " +
        'got "layouts"',
      ],
      [{ inputs: { x: "sample", time: "t" } }, 'options must be among x, t, label, got "time"'],
      [{ schedule: "linear" }, "schedule must be a schedule, got linear"],
      [{ kind: "noise" }, "kind must be one of eps, x0, v, flow, score, got noise"],
      [{ layout: "CHW" }, "layout must be one of NHWC, NCHW, got CHW"],
      [{ times: 5 }, "times must be a function, got 5"],
      [{ units: 1 }, "units must be a boolean, got 1"],
      [{ classes: -1 }, "classes must be a whole number of at least 0, got -1"],
      [{ nullClass: NaN }, "nullClass must be a whole number of at least 0, got NaN"],
      [{ nullClass: 3 }, "nullClass must be absent where the graph takes no class, got 3"],
    ];
    for (const [changed, message] of wrong) {
      await refused(file(half), { ...foreign, ...changed } as OnnxModelOptions, message);
    }
    await refused(file(half), { schedule, inputs }, "kind must be given for such a file, got none");
    await refused(file(half), { schedule, kind }, "inputs must be given for such a file, got none");
    await refused(
      file(half),
      { ...foreign, inputs: { x: "sample", t: "time" } },
      "its inputs must be sample, time, got also timestep",
    );
    await refused(file(half.slice(0, 1)), foreign, "input must be one of sample, got timestep");
    await refused(
      file(ports({ sample: ["int32", "N", 3, 2, 2], timestep: ["int64"] })),
      foreign,
      "input sample must be of float32, got int32",
    );
    await refused(
      file(half, { outputs: ports({ mean: images, variance: images }) }),
      foreign,
      "output must be one of mean, variance, got none",
    );
    await refused(file(half), { ...foreign, output: "x" }, "output must be one of out, got x");
    const model = fromBinary(ModelProtoSchema, file(half));
    const entry = create(StringStringEntryProtoSchema, { key: "location", value: "unet.data" });
    model.graph!.initializer.push(create(TensorProtoSchema, { externalData: [entry] }));
    await refused(
      toBinary(ModelProtoSchema, model),
      foreign,
      "its constants must be in one file with it, got some in unet.data",
    );
    assert.deepEqual(asked, []);
  });

  it("refuses to show the graph a time that is no number", async () => {
    const { executor, asked } = standIn(same);
    const bytes = file(ports({ sample: images, timestep: ["int64"] }));
    const { model } = await onnxModel(executor, bytes, { ...foreign, times: () => NaN });
    const x = ramp(1, 2, 2, 3);
    await assert.rejects(async () => await model.predict(x, 3), {
      name: "RangeError",
      message: "Cannot predict: times(3) must be a finite number, got NaN",
    });
    assert.deepEqual(asked, ["load"]);
    x.dispose();
  });

  it("refuses damaged metadata and files", async () => {
    const { executor, asked } = standIn(same);
    for (
      const [changed, what] of [
        [{ kind: "noise" }, /kind must be one of eps, .*, got noise/],
        [{ layout: "CHWN" }, /layout must be NHWC or NCHW, got CHWN/],
        [{ schedule: "{" }, /schedule must be JSON, got {/],
        [{ schedule: "null" }, /schedule must be one that can be made, got null/],
        [{ classes: "Bag" }, /classes must be JSON, got Bag/],
      ] as const
    ) {
      await assert.rejects(onnxModel(executor, own(changed)), (error: Error) => {
        assert.equal(error.name, "SyntaxError");
        assert.match(error.message, what);
        return true;
      });
    }
    await assert.rejects(onnxModel(executor, new Uint8Array(9)), SyntaxError);
    assert.deepEqual(asked, []);
  });

  it("does nothing once its signal is aborted, and frees its session once", async () => {
    const { executor, asked } = standIn(same);
    const { model, dispose } = await onnxModel(executor, own());
    const reason = new Error("enough");
    await assert.rejects(
      async () => await model.predict(ramp(1, 2, 2, 3), 0.5, AbortSignal.abort(reason)),
      reason,
    );
    await Promise.all([dispose(), dispose()]);
    assert.deepEqual(asked, ["load", "free [7] []"]);
  });

  it("leaves no tensors behind but its answer, and none when it fails", async () => {
    const { executor } = standIn(same);
    const bytes = file(ports({ sample: images, timestep: ["int64"] }));
    const { model } = await onnxModel(executor, bytes, foreign);
    const x = ramp(2, 2, 2, 3), flat = ramp(2, 2, 2, 1), before = live();
    const { value } = await model.predict(x, 500);
    assert.equal(live(), before + 1);
    value.dispose();
    await assert.rejects(async () => await model.predict(flat, 500), RangeError);
    assert.equal(live(), before);
  });
});

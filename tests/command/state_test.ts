import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import * as tf from "@tensorflow/tfjs-core";
import type { TrainPlan } from "../../src/command/train/plan.ts";
import { opened, saveState, saveWeights } from "../../src/command/train/state.ts";
import { loadCheckpoint, saveCheckpoint } from "../../src/io/checkpoint.ts";
import { floats, readSafetensors } from "../../src/io/safetensors.ts";
import { loadDenoiser } from "../../src/io/weights.ts";
import type { Architecture } from "../../src/network/architecture.ts";
import { networkOf } from "../../src/network/layer/network.ts";
import { useBackend } from "../../src/tensor/backend/backend.ts";
import { disposeTraining, newTraining, type TrainState } from "../../src/train/loop/state.ts";
import { called, dataset, same, within } from "./run.ts";
import { live } from "../measure.ts";

const parameters = { w: { shape: [2] } } as const;
/** A network of one weight, and a plan for it. */
const pair: Architecture<"denoiser", object> = {
  role: "denoiser",
  fields: {},
  build: () => networkOf(parameters, { classes: 0, features: 2, forward: (_, x) => x }),
  sample: () => [2],
  classes: () => 0,
};
const model = { schedule: { name: "linear" }, kind: "eps", architecture: "pair", network: {} };
const plan = { steps: 9, batch: 2, target: { task: "denoise", model } } as unknown as TrainPlan;
const journal = { curve: [], losses: [] };

/** A state of one weight with two numbers, the second of which is this in one of the groups. */
function state(value: number, group: "params" | "ema" | "mean" | "square" | "" = ""): TrainState {
  const first = tf.tensor1d([0.5, 0.25]), made = newTraining({ w: first });
  first.dispose();
  const put = (record: TrainState["params"], name: string) => {
    if (group !== name) return record;
    tf.dispose(Object.values(record));
    return { w: tf.tensor1d([0.5, value]) };
  };
  const moments = {
    mean: put(made.moments.mean, "mean"),
    square: put(made.moments.square, "square"),
  };
  const [params, ema] = [put(made.params, "params"), put(made.ema, "ema")];
  return { ...made, params, ema, moments, step: 4, loss: 0.5 };
}

describe("saveState()", () => {
  it("saveState() writes nothing that opened() would refuse: in each group, NaN and infinity leave the older file", async () => {
    await useBackend("cpu");
    await within(async (folder) => {
      const path = `${folder}/run`, good = state(0);
      await saveState(path, good, plan, journal);
      const before = await Deno.readFile(path);
      const found = await opened(path, plan, parameters);
      assert.equal(found?.state.step, 4);
      disposeTraining(found!.state);
      const groups = [
        ["params", "model.w"],
        ["ema", "ema.w"],
        ["mean", "adam.mean.w"],
        ["square", "adam.square.w"],
      ] as const;
      for (const [group, name] of groups) {
        for (const value of [NaN, Infinity, -Infinity]) {
          const bad = state(value, group);
          await assert.rejects(saveState(path, bad, plan, journal), {
            name: "RangeError",
            message:
              `Cannot go on with training: ${name} must be finite, got ${value} at step 4, after a loss of 0.5; ${path} is left as it was, and a smaller --rate may help`,
          });
          disposeTraining(bad);
          same(await Deno.readFile(path), before);
        }
      }
      disposeTraining(good);
    });
  });
});

describe("saveWeights()", () => {
  it("saveWeights() writes no weight that float16 would make infinite, and all that it holds", async () => {
    await useBackend("cpu");
    await within(async (folder) => {
      const path = `${folder}/w`;
      for (const value of [65504, -65519, 1e-12]) {
        const fitting = state(value, "ema");
        await saveWeights(path, fitting, plan, [], { architectures: { pair } });
        disposeTraining(fitting);
        const { tensors } = await readSafetensors(path);
        assert.deepEqual([...floats(tensors["w"]!)], [0.5, Math.f16round(value)]);
      }
      const before = await Deno.readFile(path);
      for (const value of [65520, -1e12, NaN]) {
        const bad = state(value, "ema");
        await assert.rejects(saveWeights(path, bad, plan, [], { architectures: { pair } }), {
          message: `Cannot write ${path}: w must be within float16, at most 65504, got ${
            Math.fround(value)
          }; the checkpoint holds it`,
        });
        disposeTraining(bad);
        same(await Deno.readFile(path), before);
      }
    });
  });
});

describe("tweedie train whose weights run away", () => {
  const small = [
    ...["--batch", "2", "--base", "8", "--multipliers", "1", "--patch", "4", "--engine", "wasm"],
    ...["--warmup", "0", "--steps", "6", "--every", "1"],
  ];

  it("a step beyond all numbers ends the run with its number and the cause, and leaves a checkpoint that is read", async () => {
    await within(async (folder) => {
      const data = await dataset(`${folder}/data`), path = `${folder}/run`;
      const args = ["train", "--data", data, "--checkpoint", path, ...small];
      const alive = live();
      for (const rate of [["--rate", "1e12", "--clip", "0"], ["--rate", "1e38"]]) {
        const kept = rate.length > 2;
        for (let attempt = 0; attempt < 2; attempt++) {
          const { code, said } = await called(...args, ...rate);
          assert.equal(code, 1, said);
          const step = kept ? 2 : 1;
          assert.match(
            said,
            new RegExp(
              `\\ntweedie: Cannot go on with training: .*finite.* at step ${step}\\b[^\\n]*\\n$`,
            ),
          );
        }
        if (!kept) continue;
        const { groups, meta } = await loadCheckpoint(path);
        assert.equal(meta["step"], 1);
        for (const tensors of Object.values(groups)) {
          assert.ok(
            Object.values(tensors).every((tensor) => floats(tensor).every(Number.isFinite)),
          );
        }
        const { params } = await loadDenoiser(path);
        tf.dispose(Object.values(params));
        await Deno.remove(path);
      }
      assert.equal(live(), alive);
      assert.deepEqual([...Deno.readDirSync(folder)].map(({ name }) => name), ["data"]);
    });
  });
});

describe("tweedie train on other data", () => {
  const small = ["--batch", "2", "--base", "8", "--multipliers", "1", "--patch", "4"];

  it("a run does not go on with other images or labels of the same shape; one of an older version does", async () => {
    await within(async (folder) => {
      const data = await dataset(`${folder}/data`), path = `${folder}/run`;
      const train = (from: string) =>
        called(
          ...["train", "--data", from, "--checkpoint", path, ...small, "--engine", "wasm"],
          ...["--steps", "2"],
        );
      assert.equal((await train(data)).code, 0);
      assert.equal((await train(await dataset(`${folder}/same`, { zip: true }))).code, 0);
      const labels = Array.from({ length: 20 }, (_, i) => (i + 1) % 10);
      const relabelled = await dataset(`${folder}/labels`, { labels });
      const other = await dataset(`${folder}/images`), images = `${other}/train-images-idx3-ubyte`;
      const bytes = await Deno.readFile(images);
      await Deno.writeFile(images, bytes.with(99, bytes[99]! ^ 1));
      const before = await Deno.readFile(path);
      for (const from of [relabelled, other]) {
        const { code, said } = await train(from);
        assert.equal(code, 1);
        assert.match(
          said,
          /^tweedie: Cannot go on from .*: its plan must be that of this run, got data [0-9a-f]{64} \(here [0-9a-f]{64}\); give/,
        );
        same(await Deno.readFile(path), before);
      }
      // What older versions wrote says nothing of the data.
      const { groups, meta } = await loadCheckpoint(path);
      const { data: _, ...older } = meta["plan"] as Record<string, unknown>;
      await saveCheckpoint(path, { groups, meta: { ...meta, plan: older, step: 1 } });
      assert.equal((await train(data)).code, 0);
      assert.equal((await loadCheckpoint(path)).meta["step"], 2);
      assert.equal((await train(other)).code, 1);
    });
  });
});

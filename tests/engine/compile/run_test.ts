import { after, describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import * as tf from "@tensorflow/tfjs-core";
import { pipe } from "fp-ts/lib/function.js";
import "../../../src/tensor/autodiff.ts";
import { compilerIn } from "../../../src/engine/compile/compile.ts";
import { blocksOf } from "../../../src/engine/compile/trial.ts";
import { start } from "../../../src/engine/runtime/session.ts";
import { networkModel } from "../../../src/network/model.ts";
import { unet } from "../../../src/network/unet.ts";
import { linear } from "../../../src/noise/schedule/discrete.ts";
import { guided } from "../../../src/refine/guide/combine.ts";
import { classifierFree } from "../../../src/refine/guide/free.ts";
import { thresholded } from "../../../src/refine/threshold.ts";
import { ddim, ddimInverse, ddpm } from "../../../src/sample/ancestral.ts";
import { prior, run } from "../../../src/sample/run.ts";
import type { Sampler } from "../../../src/sample/path.ts";
import { dpmSolver } from "../../../src/sample/solver/dpm.ts";
import { useBackend } from "../../../src/tensor/backend/backend.ts";
import { type Engine, outlined } from "../../../src/tensor/engine.ts";
import { key } from "../../../src/tensor/key.ts";
import { randomWeights } from "../../network/weights.ts";
import { live } from "../../measure.ts";

await useBackend("cpu");

const executor = await start(), blocks = await blocksOf(executor);
let loads = 0;
const engine = compilerIn({ ...executor, load: (bytes) => (loads++, executor.load(bytes)) }, {
  blocks: () => blocks,
});
after(() => engine.close());

/** How many graphs were loaded meanwhile. */
async function loaded(work: () => Promise<unknown>): Promise<number> {
  const before = loads;
  await work();
  return loads - before;
}

const scaled = (by: number) => ({ x }: Readonly<Record<string, tf.Tensor>>) => ({
  y: tf.mul(x!, by),
});

async function numbers(answer: Promise<Record<string, tf.Tensor>>): Promise<number[]> {
  const { y } = await answer, values = [...await y!.data()];
  y!.dispose();
  return values;
}

describe("Engine.run()", () => {
  it("runs functions that differ in their numbers by one graph", async () => {
    const x = tf.tensor1d([1, -2]);
    const count = await loaded(async () => {
      for (const by of [2, 0.1, -0, NaN]) {
        assert.deepEqual(await numbers(engine.run(scaled(by), { x })), [
          Math.fround(by),
          -2 * Math.fround(by),
        ]);
      }
    });
    assert.equal(count, 1);
    x.dispose();
  });

  it("takes numbers that are equal in one run and not in the next apart", async () => {
    const affine = (a: number, b: number) => ({ x }: Readonly<Record<string, tf.Tensor>>) => ({
      y: tf.add(tf.mul(x!, a), b),
    });
    const x = tf.tensor1d([10]);
    assert.deepEqual(await numbers(engine.run(affine(3, 3), { x })), [33]);
    assert.deepEqual(await numbers(engine.run(affine(3, 4), { x })), [34]);
    x.dispose();
  });

  it("feeds tensors from outside, small and large, as they are at the time", async () => {
    const x = tf.ones([5000]);
    const count = await loaded(async () => {
      for (const value of [1, 2]) {
        const outside = tf.add(tf.range(0, 5000), value);
        const y = await numbers(engine.run(({ x }) => ({ y: tf.mul(x!, outside) }), { x }));
        assert.deepEqual([y[0], y[4999]], [value, 4999 + value]);
        outside.dispose();
      }
    });
    assert.equal(count, 1);
    x.dispose();
  });

  it("looks at an outlined function once for each set of shapes, wherever it is called", async () => {
    let looks = 0;
    const weight = tf.tensor1d([3]);
    const unit = outlined(({ x, w }) => {
      looks++;
      return { y: tf.mul(tf.square(x!), w!) };
    }, { w: weight });
    const x = tf.tensor1d([1, 2]);
    const twice = (by: number) =>
      engine.run(({ x }) => unit({ x: tf.mul(unit({ x: x! })["y"]!, by) }), { x });
    assert.deepEqual(await numbers(twice(1)), [27, 432]);
    const first = looks;
    assert.deepEqual(await numbers(twice(2)), [108, 1728]);
    assert.equal(looks, first);
    tf.dispose([x, weight]);
  });

  it("takes gradients through an outlined function", async () => {
    const unit = outlined(({ x }) => ({ y: tf.square(x!) }));
    const slope = tf.grad((x: tf.Tensor) => tf.sum(unit({ x })["y"]!));
    const x = tf.tensor1d([1, 2]);
    assert.deepEqual(await numbers(engine.run(({ x }) => ({ y: slope(x!) }), { x })), [2, 4]);
    x.dispose();
  });
});

describe("a run of a sampler on the engine", () => {
  const network = unet({
    size: [8, 8],
    base: 8,
    multipliers: [1, 2],
    blocks: 1,
    groups: 4,
    classes: 3,
  });
  const params = randomWeights(network.parameters, 5), schedule = linear();
  const model = networkModel(network, params, { schedule, kind: "v" });
  after(() => tf.dispose({ ...params }));

  const states = async (sampler: Sampler, engine?: Engine): Promise<number[][]> => {
    const refined = pipe(sampler, guided(classifierFree([2, null], { scale: 2 })));
    const options = { model, key: key(4), ...(engine && { engine }) }, found: number[][] = [];
    for await (const { x } of run(prior([2, 8, 8, 1]), options)(refined)) {
      found.push([...x.dataSync()]);
    }
    return found;
  };

  const samplers: Readonly<Record<string, Sampler>> = {
    ddim: ddim(schedule, { steps: 12 }),
    "ddim with noise": ddim(schedule, { steps: 12, eta: 1 }),
    ddpm: ddpm(schedule, { steps: 12 }),
    "dpmSolver of order 2": dpmSolver(schedule, { steps: 12 }),
    "ddim clipped": thresholded()(ddim(schedule, { steps: 12 })),
    "ddim clipped dynamically": thresholded({ kind: "dynamic", ratio: 0.9, max: 2 })(
      ddim(schedule, { steps: 12 }),
    ),
  };

  for (const [name, sampler] of Object.entries(samplers)) {
    it(`${name}: every x_t is that without an engine, of a few graphs, and nothing is left`, async () => {
      const before = live(), wanted = await states(sampler);
      let got: number[][] = [];
      const count = await loaded(async () => {
        got = await states(sampler, engine);
      });
      assert.ok(count <= 4, `${count} graphs for 12 steps`);
      assert.equal(got.length, wanted.length);
      got.forEach((x, step) => {
        x.forEach((value, i) => {
          const close = Math.abs(value - wanted[step]![i]!) < 1e-4 * (1 + Math.abs(value));
          assert.ok(close, `step ${step}: ${value}, must be ${wanted[step]![i]}`);
        });
      });
      assert.equal(live(), before);
    });
  }

  it("ddimInverse runs on it too", async () => {
    const sampler = ddimInverse(schedule, { steps: 6 });
    const start = { x: tf.ones([1, 8, 8, 1]), t: 0, step: 0 };
    const end = async (engine?: Engine): Promise<number[]> => {
      let last: number[] = [];
      const options = { model, key: key(4), ...(engine && { engine }) };
      for await (const { x } of run(start, options)(sampler)) last = [...x.dataSync()];
      return last;
    };
    const wanted = await end();
    (await end(engine)).forEach((value, i) =>
      assert.ok(Math.abs(value - wanted[i]!) < 1e-4 * (1 + Math.abs(value)))
    );
    start.x.dispose();
  });
});

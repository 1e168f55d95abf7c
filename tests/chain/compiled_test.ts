import { before, describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import * as tf from "@tensorflow/tfjs-core";
import { pipe } from "fp-ts/lib/function.js";
import type { Model } from "../../src/denoise/prediction.ts";
import { linear } from "../../src/noise/schedule/discrete.ts";
import { ddim } from "../../src/sample/ancestral.ts";
import { prior, run } from "../../src/sample/run.ts";
import { dpmSolver } from "../../src/sample/solver/dpm.ts";
import { replaced, stepOn } from "../../src/chain/compiled.ts";
import { useBackend } from "../../src/tensor/backend/backend.ts";
import { eager } from "../../src/tensor/engine.ts";
import { key } from "../../src/tensor/key.ts";
import { live } from "../measure.ts";

const schedule = linear();
const model: Model = { schedule, predict: (x) => ({ kind: "eps", value: tf.mul(x, 0.5) }) };

describe("stepOn()", () => {
  before(() => useBackend("cpu"));

  it("stepOn() gives what the step gives, and passes plain data on", async () => {
    const [x, y] = [tf.tensor([1, 2]), tf.tensor([5])], state = { x, t: 3, past: [{ t: 4, y }] };
    const step = (s: typeof state) => (
      { ...s, x: tf.add(s.x, s.past[0]!.y), t: s.t - 1, past: [{ t: s.t, y: s.x }] }
    );
    const next = await stepOn(eager, step, state);
    assert.deepEqual([...next.x.dataSync()], [6, 7]);
    assert.deepEqual([next.t, next.past[0]!.t], [2, 3]);
    tf.dispose([next.x, state.x, state.past[0]!.y]);
  });

  it("stepOn() gives tensors that were only passed on as the very same, so that they are freed once", async () => {
    const state = { x: tf.scalar(1), kept: tf.scalar(2) };
    const next = await stepOn(eager, ({ x, kept }) => ({ x: tf.neg(x), kept, also: kept }), state);
    assert.equal(next.kept, state.kept);
    assert.notEqual(next.x, state.x);
    tf.dispose([state.x, state.kept, next.x]);
  });

  it("stepOn() gives one tensor that is there twice as one", async () => {
    const x = tf.scalar(1), before = live();
    const next = await stepOn(eager, (s) => {
      const y = tf.neg(s.x);
      return { x: y, y };
    }, { x } as { x: tf.Tensor; y?: tf.Tensor });
    assert.equal(next.x, next.y);
    next.x.dispose();
    assert.equal(live(), before);
    x.dispose();
  });

  it("stepOn() refuses a step that answers later, and says what to do", async () => {
    const x = tf.scalar(1), before = live();
    await assert.rejects(
      stepOn(eager, (state) => Promise.reject<typeof state>(new Error("unheard")), { x }),
      /^TypeError: Cannot run a step on an engine: .*must answer at once, got a promise; leave it out: a model that has an engine/,
    );
    assert.equal(live(), before);
    x.dispose();
  });
});

describe("run() with an engine", () => {
  before(() => useBackend("cpu"));

  const final = async (sampler: Parameters<ReturnType<typeof run>>[0], engine?: typeof eager) => {
    const options = { model, key: key(0), ...(engine && { engine }) };
    const states: number[][] = [];
    for await (const { x, t, step } of pipe(sampler, run(prior([3, 2]), options))) {
      states.push([...x.dataSync(), t, step]);
    }
    return states;
  };

  for (
    const [name, sampler] of Object.entries({
      "ddim()": ddim(schedule, { steps: 5 }),
      "ddim() with noise": ddim(schedule, { steps: 5, eta: 1 }),
      "dpmSolver(), with its history": dpmSolver(schedule, { steps: 5 }),
    })
  ) {
    it(`run() on the eager engine gives ${name} bit for bit, and leaves nothing`, async () => {
      const before = live(), wanted = await final(sampler);
      assert.deepEqual(await final(sampler, eager), wanted);
      assert.equal(live(), before);
    });
  }

  it("run() on an engine frees everything when it is broken off and when a step fails", async () => {
    const before = live(), options = { model, key: key(0), engine: eager };
    for await (const { step } of run(prior([2, 2]), options)(ddim(schedule, { steps: 5 }))) {
      if (step === 2) break;
    }
    assert.equal(live(), before);
    const later: Model = { schedule, predict: async (x) => await model.predict(x, 0) };
    await assert.rejects(async () => {
      for await (
        const _ of run(prior([2, 2]), { ...options, model: later })(ddim(schedule, { steps: 5 }))
      );
    }, /must answer at once/);
  });
});

describe("replaced()", () => {
  before(() => useBackend("cpu"));

  it("replaced() shares what is neither a tensor nor plain data", () => {
    const x = tf.scalar(1), y = tf.scalar(2), list = new Float32Array(1), date = new Date(0);
    const tree = { x, deep: [{ x, list }], date, none: null };
    const other = replaced<unknown>(tree, () => y) as typeof tree;
    assert.equal(other.x, y);
    assert.equal(other.deep[0]!.x, y);
    assert.equal(other.deep[0]!.list, list);
    assert.deepEqual([other.date, other.none], [date, null]);
    tf.dispose([x, y]);
  });
});

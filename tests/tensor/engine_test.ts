import { before, describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import * as tf from "@tensorflow/tfjs-core";
import { useBackend } from "../../src/tensor/backend/backend.ts";
import { eager, type FoldStep, mapTensors } from "../../src/tensor/engine.ts";
import { awaited, owned, scope } from "../../src/tensor/scope.ts";
import { live } from "../measure.ts";

const values = (tensors: Record<string, tf.Tensor>): Record<string, number[]> =>
  Object.fromEntries(Object.entries(tensors).map(([name, t]) => [name, [...t.dataSync()]]));

describe("mapTensors()", () => {
  before(() => useBackend("cpu"));

  it("mapTensors() gives each name what the function makes of its tensor and name", () => {
    const tensors = { a: tf.scalar(1), b: tf.scalar(2) };
    const mapped = mapTensors(tensors, (t, name) => tf.mul(t, name === "a" ? 10 : 100));
    assert.deepEqual(values(mapped), { a: [10], b: [200] });
    tf.dispose([tensors, mapped]);
  });
});

describe("eager.compile()", () => {
  before(() => useBackend("cpu"));

  it("eager.compile() runs the function of inputs and constants, and leaves its outputs alone", async () => {
    const c = tf.scalar(3), x = tf.tensor1d([1, 2]), before = live();
    const { run, dispose } = eager.compile(({ x, c }) => {
      const scaled = tf.mul(x!, c!);
      return { y: tf.add(scaled, 1), scaled };
    }, { c });
    const made = await run({ x });
    assert.deepEqual(values(made), { y: [4, 7], scaled: [3, 6] });
    assert.equal(live(), before + 2);
    tf.dispose(made);
    await dispose();
    await dispose();
    assert.deepEqual(values({ c, x }), { c: [3], x: [1, 2] });
    tf.dispose([c, x]);
  });

  it("eager.compile() hands over handles of its own, be they inputs, constants or one tensor twice", async () => {
    const c = tf.scalar(3), x = tf.scalar(5);
    const { run } = eager.compile(({ x, c }) => {
      const y = tf.add(x!, c!);
      return { x: x!, c: c!, y, again: y };
    }, { c });
    const { again, ...made } = await run({ x });
    tf.dispose(made);
    assert.deepEqual(values({ again: again!, c, x }), { again: [8], c: [3], x: [5] });
    tf.dispose([again, c, x]);
  });

  it("eager.compile() rejects with what the function throws, and leaves nothing", async () => {
    const before = live();
    const { run } = eager.compile(() => {
      tf.scalar(1);
      throw new RangeError("no");
    });
    const failed = run({});
    await assert.rejects(failed, { name: "RangeError", message: "no" });
    assert.equal(live(), before);
  });
});

describe("eager.fold()", () => {
  before(() => useBackend("cpu"));

  /** Doubles and adds; tells the state before. */
  const step: FoldStep = ({ s, kept }, { x }) => ({
    state: { s: tf.add(tf.mul(s!, 2), x!), kept: kept! },
    outputs: { before: s!, x: x! },
  });

  it("eager.fold() carries its state from step to step and tells its outputs", async () => {
    const start = { s: tf.scalar(1), kept: tf.tensor1d([7, 8]) }, x = tf.scalar(3), before = live();
    const fold = await eager.fold(step, start);
    for (const [was, is] of [[1, 5], [5, 13], [13, 29]]) {
      const outputs = await fold.step({ x });
      assert.deepEqual(values(outputs), { before: [was], x: [3] });
      tf.dispose(outputs);
      const state = await fold.state();
      assert.deepEqual(values(state), { s: [is], kept: [7, 8] });
      tf.dispose(state);
      assert.equal(live(), before + 2);
    }
    await fold.dispose();
    await fold.dispose();
    assert.equal(live(), before);
    assert.deepEqual(values({ ...start, x }), { s: [1], kept: [7, 8], x: [3] });
    tf.dispose([start, x]);
  });

  it("eager.fold() keeps its state beyond the scopes that it is begun and stepped in", async () => {
    const before = live();
    const fold = await scope(function* () {
      return yield* awaited(eager.fold(step, { s: tf.scalar(1), kept: tf.scalar(7) }));
    });
    await scope(function* () {
      yield* owned(fold.step({ x: tf.scalar(3) }));
    });
    assert.equal(live(), before + 2);
    await fold.dispose();
    assert.equal(live(), before);
  });

  it("eager.fold() does without its start once it has begun", async () => {
    const start = { s: tf.scalar(1), kept: tf.scalar(0) }, x = tf.scalar(3);
    const fold = await eager.fold(step, start);
    tf.dispose(start);
    tf.dispose(await fold.step({ x }));
    const state = await fold.state();
    assert.deepEqual(values(state), { s: [5], kept: [0] });
    await fold.dispose();
    assert.deepEqual(values(state), { s: [5], kept: [0] });
    tf.dispose([state, x]);
  });

  it("eager.fold() keeps its state through a step that throws, or that makes another kind of state", async () => {
    const start = { s: tf.scalar(1) }, before = live();
    const wrong: (() => Record<string, tf.Tensor>)[] = [
      () => {
        tf.scalar(1);
        throw new RangeError("no");
      },
      () => ({ s: tf.zeros([2]) }),
      () => ({ other: tf.scalar(1) }),
      () => ({ s: tf.scalar(1), more: tf.scalar(1) }),
      () => ({}),
    ];
    const messages = [
      "no",
      ...["s [2]", "other []", "more [], s []", "none"].map((got) =>
        `Cannot fold: the state must stay s [], got ${got}`
      ),
    ];
    let turn = 0;
    const fold = await eager.fold(() => ({ state: wrong[turn]!(), outputs: {} }), start);
    for (; turn < wrong.length; turn++) {
      await assert.rejects(fold.step({}), { name: "RangeError", message: messages[turn]! });
      assert.equal(live(), before + 1);
    }
    const state = await fold.state();
    assert.deepEqual(values(state), { s: [1] });
    await fold.dispose();
    tf.dispose([state, start]);
  });

  it("eager.fold() refuses steps after it was disposed of", async () => {
    const fold = await eager.fold(step, {});
    await fold.dispose();
    const closed = {
      name: "TypeError",
      message: "Cannot use the fold: it must be open, got one that was disposed of",
    };
    await assert.rejects(fold.step({}), closed);
    await assert.rejects(fold.state(), closed);
  });

  it("eager.close() ends nothing that others use", async () => {
    await eager.close();
    const { run } = eager.compile(() => ({ y: tf.scalar(1) })), { y } = await run({});
    assert.deepEqual([...y!.dataSync()], [1]);
    y!.dispose();
  });
});

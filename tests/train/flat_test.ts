import { before, describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import * as tf from "@tensorflow/tfjs-core";
import { useBackend } from "../../src/tensor/backend/backend.ts";
import { key } from "../../src/tensor/key.ts";
import { normal } from "../../src/tensor/random.ts";
import { ema } from "../../src/train/ema.ts";
import {
  flatInputs,
  flatState,
  flatStep,
  flattened,
  layoutOf,
  namedState,
  type StepState,
  unflattened,
} from "../../src/train/flat.ts";
import { adam } from "../../src/train/optimizer/adam.ts";
import { assertClose } from "../network/weights.ts";
import { live } from "../measure.ts";

const shapes: Record<string, number[]> = { "b.x": [2, 3], a: [], "b": [4], "B": [1, 2] };

const drawn = (seed: number): Record<string, tf.Tensor> =>
  Object.fromEntries(
    Object.entries(shapes).map(([name, shape], i) => [name, normal(key(10 * seed + i), shape)]),
  );

const weights = (): StepState => ({
  params: drawn(1),
  ema: drawn(2),
  moments: {
    mean: drawn(3),
    square: Object.fromEntries(Object.entries(drawn(4)).map(([n, t]) => [n, tf.square(t)])),
  },
});

describe("flat weights", () => {
  before(() => useBackend("cpu"));

  it("layoutOf() has the names in the order of their code units, whatever the record's", () => {
    const params = drawn(0), layout = layoutOf(params);
    assert.deepEqual(layout, [["B", [1, 2]], ["a", []], ["b", [4]], ["b.x", [2, 3]]]);
    assert.deepEqual(layoutOf(Object.fromEntries(Object.entries(params).reverse())), layout);
    tf.dispose(params);
  });

  it("flattened() lays weights end to end, and unflattened() takes them apart", () => {
    const params = drawn(0), layout = layoutOf(params), alive = live();
    const vector = flattened(params, layout);
    assert.equal(live(), alive + 1);
    assert.deepEqual(
      [...vector.dataSync()],
      ["B", "a", "b", "b.x"].flatMap((name) => [...params[name]!.dataSync()]),
    );
    const back = unflattened(vector, layout);
    assert.equal(live(), alive + 5);
    for (const [name, tensor] of Object.entries(params)) {
      assert.deepEqual(back[name]!.arraySync(), tensor.arraySync());
    }
    tf.dispose([params, vector, back]);
  });

  it("namedState() undoes flatState()", async () => {
    const state = weights(), layout = layoutOf(state.params), flat = flatState(state, layout);
    assert.deepEqual(Object.keys(flat), ["params", "ema", "mean", "square"]);
    const back = await namedState(
      flat,
      (vector) => Promise.resolve(unflattened(vector, layout)),
    );
    const of = (
      { params, ema, moments: { mean, square } }: StepState,
    ) => [params, ema, mean, square];
    for (const name of Object.keys(shapes)) {
      const values = (groups: StepState) => of(groups).map((group) => group[name]!.arraySync());
      assert.deepEqual(values(back), values(state));
    }
    tf.dispose([Object.values(flat), ...[...of(state), ...of(back)].map(Object.values)]);
  });

  it("namedState() frees what it has found when it cannot find the rest", async () => {
    const state = weights(), layout = layoutOf(state.params), flat = flatState(state, layout);
    const alive = live();
    let calls = 0;
    const broken = (vector: tf.Tensor) =>
      ++calls < 3
        ? Promise.resolve(unflattened(vector, layout))
        : Promise.reject(new Error("gone"));
    await assert.rejects(namedState(flat, broken), /gone/);
    assert.equal(live(), alive);
    const { params, ema, moments: { mean, square } } = state;
    tf.dispose([Object.values(flat), ...[params, ema, mean, square].map(Object.values)]);
  });
});

describe("flatStep()", () => {
  before(() => useBackend("cpu"));

  const loss = (params: Record<string, tf.Tensor>, { move }: Record<string, tf.Tensor>) =>
    tf.addN(Object.values(params).map((w) => tf.sum(tf.sin(tf.mul(w, move!))))) as tf.Scalar;

  for (const step of [1, 7]) {
    it(`flatStep() is Adam and the moving average at step ${step}, with a loss whose input is called as a number of the step`, () => {
      tf.tidy(() => {
        const state = weights(), layout = layoutOf(state.params);
        const constants = { rate: 0.1, decay: 0.2, clip: 0.5, warmup: 10 }, move = tf.scalar(2);
        const given = flatInputs({ move }, { step, adam: constants, decay: 0.4 });
        const { state: next, outputs } = flatStep(loss, { layout, adam: constants })(
          flatState(state, layout),
          given,
        );
        const gradients = Object.fromEntries(
          Object.entries(state.params).map((
            [name, w],
          ) => [name, tf.mul(tf.cos(tf.mul(w, 2)), 2)]),
        );
        const { params, moments } = adam({ ...state, gradients, step }, constants);
        const average = ema(state.ema, params, { step, decay: 0.4 });
        const wanted = flatState({ params, moments, ema: average }, layout);
        for (const [name, vector] of Object.entries(wanted)) {
          assertClose(next[name]!.dataSync(), vector.dataSync(), 1e-6);
        }
        assertClose(outputs["loss"]!.dataSync(), loss(state.params, { move }).dataSync(), 1e-6);
        const total = tf.add(tf.sum(wanted["params"]!), tf.sum(wanted["square"]!));
        assertClose(outputs["sum"]!.dataSync(), total.dataSync(), 1e-5);
      });
    });
  }

  it("flatInputs() are of the same names at every step", () => {
    const names = [1, 2, 50].map((step) => {
      const inputs = flatInputs({ x: tf.scalar(1) }, { step, adam: { decay: 0.1 } });
      return Object.keys(inputs);
    });
    assert.deepEqual(names[0]!.toSorted(), ["keep", "kept", "loss.x", "move", "scale", "taken"]);
    assert.deepEqual(names, Array(3).fill(names[0]));
  });
});

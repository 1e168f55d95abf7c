import { before, describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import * as tf from "@tensorflow/tfjs-core";
import { initialize, parameterCount } from "../../src/network/layer/parameter.ts";
import { mlp, type MlpConfig } from "../../src/network/mlp.ts";
import { useBackend } from "../../src/tensor/backend/backend.ts";
import { key } from "../../src/tensor/key.ts";
import { normal } from "../../src/tensor/random.ts";
import {
  assertClose,
  assertLeavesOne,
  host,
  randomWeights,
  valueAndGradients,
  whole,
} from "./weights.ts";
import { live } from "../measure.ts";

const network = mlp({ dimension: 2, width: 6, layers: 2, features: 4, classes: 3 });
const times = [5, 300, 900], condition = [2, null, 0];

function output(
  { t = times, c = condition as (number | null)[], from = 0, to = 3 } = {},
): number[] {
  const params = randomWeights(network.parameters),
    x = normal(key(1), [3, 2]),
    part = tf.slice(x, [from], [to - from]);
  const y = network.apply(params, part, t.slice(from, to), c.slice(from, to)),
    values = [...y.dataSync()];
  tf.dispose([params, x, part, y]);
  return values;
}

describe("mlp()", () => {
  before(() => useBackend("cpu"));

  it("mlp() starts at zero, with the shape of its points", () => {
    const params = initialize(network.parameters, key(0)), x = normal(key(1), [3, 2]);
    const y = network.apply(params, x, times, condition);
    assert.deepEqual(y.shape, [3, 2]);
    assert.ok(y.dataSync().every((v) => v === 0));
    tf.dispose([params, x, y]);
  });

  it("mlp() has the number of weights that its plan has by hand", () => {
    const dense = (i: number, o: number) => i * o + o;
    const wanted = dense(2, 6) + dense(4, 6) + 4 * 6 + 2 * dense(6, 6) + dense(6, 2);
    assert.equal(parameterCount(network.parameters), wanted);
    const usual = dense(3, 128) + dense(32, 128) + 3 * dense(128, 128) + dense(128, 3);
    assert.equal(parameterCount(mlp({ dimension: 3 }).parameters), usual);
  });

  it("mlp() is what its formula says", () => {
    const params = randomWeights(network.parameters), p = (name: string) => host(params, name);
    const affine = (v: readonly number[], name: string) =>
      [...p(`${name}.bias`)].map((b, o, { length }) =>
        v.reduce((sum, value, i) => sum + value * p(`${name}.weight`)[i * length + o]!, b)
      );
    const silu = (v: readonly number[]) => v.map((x) => x / (1 + Math.exp(-x)));
    const points = normal(key(1), [3, 2]).arraySync() as number[][];
    const wanted = points.flatMap((point, n) => {
      const t = times[n]!,
        time = affine([Math.sin(t), Math.sin(t / 100), Math.cos(t), Math.cos(t / 100)], "time");
      const row = condition[n] ?? 3, label = [...p("class.weight")].slice(6 * row, 6 * row + 6);
      const first = affine(point, "point").map((v, i) => v + time[i]! + label[i]!);
      const last = ["hidden.0", "hidden.1"].reduce(
        (h, name) => affine(silu(h), name).map((v, i) => v + h[i]!),
        first,
      );
      return affine(silu(last), "out");
    });
    assertClose(output(), wanted, 2e-6);
    tf.dispose(params);
  });

  it("mlp() has a gradient in every weight, once the weights are random", () => {
    const fixed = {
      ...network,
      apply: (p: Record<string, tf.Tensor>, x: tf.Tensor) => network.apply(p, x, times, condition),
    };
    const [, , ...gradients] = valueAndGradients(whole(fixed as never, [[3, 2]]));
    Object.keys(network.parameters).forEach((name, i) => {
      const dead = gradients[i]!.filter((v) => v === 0).length;
      assert.equal(dead, name === "class.weight" ? 6 : 0, name); // class 1 is not in the batch
    });
  });

  it("mlp() answers to time and class, each sample to its own", () => {
    const before = output();
    for (
      const after of [
        output({ t: [6, 300, 900] }),
        output({ c: [1, null, 0] }),
        output({ c: [null, null, 0] }),
      ]
    ) {
      assert.ok(Math.abs(after[0]! - before[0]!) > 1e-3);
      assert.deepEqual(after.slice(2), before.slice(2));
    }
  });

  it("mlp() gives each sample of a batch what it gives it alone", () => {
    for (const i of [0, 1, 2]) {
      assertClose(output({ from: i, to: i + 1 }), output().slice(2 * i, 2 * i + 2), 1e-6);
    }
  });

  it("mlp() has the same values and gradients on wasm and on cpu", async () => {
    const fixed = {
      ...network,
      apply: (p: Record<string, tf.Tensor>, x: tf.Tensor) => network.apply(p, x, times, condition),
    };
    const one = whole(fixed as never, [[3, 2]]), cpu = valueAndGradients(one);
    await useBackend("wasm");
    valueAndGradients(one).forEach((wasm, i) => assertClose(wasm, cpu[i]!, 1e-5));
    await useBackend("cpu");
  });

  it("mlp() leaves no tensor behind but its output", () => {
    const params = randomWeights(network.parameters), x = normal(key(1), [3, 2]);
    assertLeavesOne(() => network.apply(params, x, times, condition));
    tf.dispose([params, x]);
  });

  it("mlp() refuses sizes that are not whole, and classes that it has not", () => {
    const cases: [MlpConfig, string][] = [
      [{ dimension: 0 }, "dimension must be a whole number of at least 1, got 0"],
      [{ dimension: 2, width: 1.5 }, "width must be a whole number of at least 1, got 1.5"],
      [{ dimension: 2, layers: -1 }, "layers must be a whole number of at least 1, got -1"],
      [{ dimension: 2, features: 5 }, "features must be an even number of at least 2, got 5"],
      [{ dimension: 2, features: 0 }, "features must be an even number of at least 2, got 0"],
    ];
    for (const [config, message] of cases) {
      assert.throws(() => mlp(config), {
        name: "RangeError",
        message: `Cannot build a perceptron: ${message}`,
      });
    }
    assert.throws(() => mlp({ dimension: 2, classes: 0.5 }), RangeError);
    assert.throws(
      () => output({ c: [3, null, 0] }),
      /class must be null or a whole number in \[0, 3\), got 3/,
    );
  });

  it("mlp() refuses an entry that it does not know, and points of another dimension", () => {
    assert.throws(() => mlp({ dimension: 2, depth: 3 } as MlpConfig), {
      name: "TypeError",
      message:
        "Cannot build a perceptron: options must be among dimension, width, layers, features, " +
        'classes, got "depth"',
    });
    const params = randomWeights(network.parameters), alive = live();
    for (const wrong of [[3, 1], [3, 2, 1], [3]]) {
      const x = tf.zeros(wrong);
      assert.throws(() => network.apply(params, x, times, condition), {
        name: "RangeError",
        message: `Cannot apply the network: x must be of shape [N, 2], got [${wrong}]`,
      });
      x.dispose();
    }
    assert.equal(live(), alive);
    tf.dispose(params);
  });
});

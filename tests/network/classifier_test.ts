import { before, describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import * as tf from "@tensorflow/tfjs-core";
import { classifier, crossEntropy } from "../../src/network/classifier.ts";
import { initialize, oneHot, parameterCount } from "../../src/network/layer.ts";
import { useBackend } from "../../src/tensor/backend.ts";
import { key } from "../../src/tensor/key.ts";
import { normal } from "../../src/tensor/random.ts";
import { checkSlopes } from "../tensor/differences.ts";
import {
  assertClose,
  assertLeavesOne,
  randomWeights,
  valueAndGradients,
  whole,
} from "./weights.ts";

const network = classifier({ size: [8, 4], classes: 3, channels: 2, base: 8, features: 5 });

describe("classifier()", () => {
  before(() => useBackend("wasm"));

  it("classifier() gives logits and features, and the logits are the last layer of the features", () => {
    const params = randomWeights(network.parameters), x = normal(key(1), [4, 8, 4, 2]);
    const logits = network.apply(params, x), features = network.features(params, x);
    assert.deepEqual([logits.shape, features.shape], [[4, 3], [4, 5]]);
    const again = tf.add(tf.matMul(features, params["logits.weight"]!), params["logits.bias"]!);
    assert.deepEqual(logits.dataSync(), again.dataSync());
    // SiLU is never below -0.2785.
    assert.ok(features.dataSync().every((v) => v > -0.279));
    tf.dispose([params, x, logits, features, again]);
  });

  it("classifier() has the number of weights that its plan has by hand", () => {
    const conv = (i: number, o: number) => 9 * i * o + o + 2 * o;
    const wanted = conv(2, 8) + conv(8, 16) + conv(16, 16) + (2 * 1 * 16 * 5 + 5) + (5 * 3 + 3);
    assert.equal(parameterCount(network.parameters), wanted);
    const usual = classifier({ size: [28, 28], classes: 10 }).parameters;
    assert.deepEqual(usual["features.weight"]!.shape, [7 * 7 * 64, 64]);
    assert.deepEqual(usual["conv.0.weight"]!.shape, [3, 3, 1, 32]);
  });

  it("classifier() has the gradients of its input and weights", () =>
    checkSlopes({ ...whole(network, [[2, 8, 4, 2]]), orders: 1 }));

  it("classifier() has a gradient in every weight but a bias that a norm of single channels takes out", () => {
    const [, , ...gradients] = valueAndGradients(whole(network, [[2, 8, 4, 2]]));
    Object.keys(network.parameters).forEach((name, i) => {
      const most = Math.max(...gradients[i]!.map(Math.abs));
      assert.equal(most > 1e-4, name !== "conv.0.bias", `${name}: ${most}`);
    });
  });

  it("classifier() gives each image of a batch what it gives it alone", () => {
    tf.tidy(() => {
      const params = randomWeights(network.parameters), x = normal(key(1), [3, 8, 4, 2]);
      const all = network.apply(params, x), one = network.apply(params, tf.slice(x, [1], [1]));
      assertClose(one.dataSync(), tf.slice(all, [1], [1]).dataSync(), 1e-6);
    });
  });

  it("classifier() has the same values and gradients on wasm and on cpu", async () => {
    const one = whole(network, [[2, 8, 4, 2]]), wasm = valueAndGradients(one);
    await useBackend("cpu");
    valueAndGradients(one).forEach((cpu, i) => assertClose(wasm[i]!, cpu, 2e-5));
    await useBackend("wasm");
  });

  it("classifier() leaves no tensor behind but its result", () => {
    const params = randomWeights(network.parameters), x = normal(key(1), [4, 8, 4, 2]);
    assertLeavesOne(() => network.apply(params, x));
    assertLeavesOne(() => network.features(params, x));
    tf.dispose([params, x]);
  });

  it("classifier() refuses sizes that do not halve twice, widths that do not group, and other images", () => {
    for (const size of [[28, 30], [0, 4], [4, 2]] as const) {
      assert.throws(() => classifier({ size, classes: 2 }), {
        name: "RangeError",
        message: `Cannot build a classifier: size must be multiples of 4 pixels, got ${
          size.join("×")
        }`,
      });
    }
    assert.throws(
      () => classifier({ size: [8, 8], classes: 2, base: 12 }),
      { name: "RangeError", message: "Cannot build norm.0: groups must divide 12 channels, got 8" },
    );
    const x = tf.zeros([1, 4, 8, 2]);
    assert.throws(() => network.apply({}, x), {
      name: "RangeError",
      message: "Cannot classify: x must be of shape [N, 8, 4, 2], got [1,4,8,2]",
    });
    x.dispose();
  });
});

const logits = [[0.5, -1, 2], [3, 0, 0.1], [-2, 1, 1]], labels = [2, 1, 0];
const odds = logits.map((row) => {
  const total = row.reduce((sum, v) => sum + Math.exp(v), 0);
  return row.map((v) => Math.exp(v) / total);
});

for (const backend of ["cpu", "wasm"] as const) {
  describe(`crossEntropy() on ${backend}`, () => {
    before(() => useBackend(backend));

    it(`crossEntropy() is the mean of -ln p(label) on ${backend}`, () => {
      const wanted = -labels.reduce((sum, label, i) => sum + Math.log(odds[i]![label]!), 0) / 3;
      const got = tf.tidy(() => crossEntropy(tf.tensor2d(logits), labels).dataSync()[0]!);
      assert.ok(Math.abs(got - wanted) < 1e-6, `${got} against ${wanted}`);
    });

    it(`crossEntropy() has the gradient (softmax - one-hot)/N on ${backend}`, () => {
      const got = tf.tidy(() =>
        tf.grad((x) => tf.mul(crossEntropy(x, labels), 2))(tf.tensor2d(logits)).dataSync()
      );
      const wanted = odds.flatMap((row, i) =>
        row.map((p, k) => 2 * (p - (k === labels[i] ? 1 : 0)) / 3)
      );
      assertClose(got, wanted, 1e-6);
    });

    it(`crossEntropy() can be differentiated again on ${backend}`, () =>
      checkSlopes({
        f: (x) => crossEntropy(x, [1, 0]),
        shapes: [[2, 3]],
        range: [-2, 2],
        orders: 3,
      }));

    it(`crossEntropy() is finite for logits of any size on ${backend}`, () => {
      tf.tidy(() => {
        const far = tf.tensor2d([[1e4, -1e4, 0]]);
        assert.ok(crossEntropy(far, [0]).dataSync()[0] === 0); // or minus zero
        assert.equal(crossEntropy(far, [1]).dataSync()[0], 2e4);
        assert.deepEqual([...tf.grad((x) => crossEntropy(x, [1]))(far).dataSync()], [1, -1, 0]);
      });
    });
  });
}

describe("crossEntropy()", () => {
  before(() => useBackend("cpu"));

  it("crossEntropy() takes any list of numbers, and leaves no tensor behind but its result", () => {
    const x = tf.tensor2d(logits);
    for (const list of [labels, Int32Array.from(labels), Uint8Array.from(labels)]) {
      assertLeavesOne(() => crossEntropy(x, list));
    }
    x.dispose();
  });

  it("crossEntropy() refuses labels that do not fit the logits, which would count for nothing", () => {
    const x = tf.tensor2d(logits), live = tf.memory().numTensors;
    const cases: [number[], string][] = [
      [[0, 1], "compute the cross entropy: labels must be one for each of 3 rows, got 2"],
      [[0, 1, 3], "make one-hot rows: label must be a whole number in [0, 3), got 3"],
      [[0, -1, 1], "make one-hot rows: label must be a whole number in [0, 3), got -1"],
      [[0, 0.5, 1], "make one-hot rows: label must be a whole number in [0, 3), got 0.5"],
    ];
    for (const [wrong, message] of cases) {
      assert.throws(() => crossEntropy(x, wrong), {
        name: "RangeError",
        message: `Cannot ${message}`,
      });
    }
    assert.equal(tf.memory().numTensors, live);
    const rows = tf.ones([1, 3]);
    assert.throws(() => crossEntropy(x, rows), {
      name: "RangeError",
      message: "Cannot compute the cross entropy: labels must be of shape [3,3], got [1,3]",
    });
    tf.dispose([x, rows]);
  });

  it("crossEntropy() takes distributions, of which one-hot rows are labels", () => {
    tf.tidy(() => {
      const x = tf.tensor2d(logits), sharp = crossEntropy(x, oneHot(labels, 3));
      assert.deepEqual(sharp.dataSync(), crossEntropy(x, labels).dataSync());
      const [even] = crossEntropy(x, tf.fill([3, 3], 1 / 3)).dataSync();
      const wanted = -odds.flat().reduce((sum, p) => sum + Math.log(p), 0) / 9;
      assert.ok(Math.abs(even! - wanted) < 1e-6, `${even} against ${wanted}`);
    });
  });

  it("crossEntropy() teaches a classifier two kinds of images", () => {
    // Bright above or bright below: by gradient descent, from ln 2.
    const small = classifier({ size: [4, 4], classes: 2, base: 8, features: 4 });
    let params = initialize(small.parameters, key(0));
    const images = tf.concat(
      [0, 1].map((below) =>
        tf.pad(tf.ones([1, 2, 4, 1]), [[0, 0], [2 * below, 2 - 2 * below], [0, 0], [0, 0]])
      ),
    );
    const names = Object.keys(params), losses: number[] = [];
    for (let step = 0; step < 15; step++) {
      params = tf.tidy(() => {
        const { value, grads } = tf.valueAndGrads((...w) =>
          crossEntropy(
            small.apply(Object.fromEntries(names.map((name, i) => [name, w[i]!])), images),
            [0, 1],
          )
        )(Object.values(params));
        losses.push(value.dataSync()[0]!);
        return Object.fromEntries(
          names.map((name, i) => [name, tf.sub(params[name]!, tf.mul(grads[i]!, 0.2))]),
        );
      });
    }
    assert.ok(losses.at(-1)! < 0.1 && losses[0]! > 0.3, `${losses}`);
  });
});

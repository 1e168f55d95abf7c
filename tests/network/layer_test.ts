import { before, describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import * as tf from "@tensorflow/tfjs-core";
import { attention, residual } from "../../src/network/layer/block.ts";
import { classEmbedding, oneHot, timeFeatures } from "../../src/network/layer/embedding.ts";
import { conv, dense } from "../../src/network/layer/linear.ts";
import { groupNorm } from "../../src/network/layer/norm.ts";
import {
  initialize,
  type Layer,
  parameterCount,
  type Parameters,
  parametersOf,
} from "../../src/network/layer/parameter.ts";
import { networkOf } from "../../src/network/layer/network.ts";
import { patched, unpatched, upsampled } from "../../src/network/layer/patch.ts";
import { useBackend } from "../../src/tensor/backend/backend.ts";
import { fold, type Key, key } from "../../src/tensor/key.ts";
import { normal, normals } from "../../src/tensor/random.ts";
import { checkSlopes } from "../tensor/differences.ts";
import {
  assertClose,
  assertLeavesOne,
  host,
  randomWeights,
  valueAndGradients,
  whole,
} from "./weights.ts";
import { live } from "../measure.ts";

const shapesOf = (parameters: Parameters): Record<string, readonly number[]> =>
  Object.fromEntries(Object.entries(parameters).map(([name, { shape }]) => [name, shape]));

/** Layers by name: the inputs of each, and its parameters as they should be. */
const layers: Record<
  string,
  {
    readonly layer: Layer<tf.Tensor[]>;
    readonly inputs: readonly number[][];
    readonly shapes: Record<string, number[]>;
  }
> = {
  "dense()": {
    layer: dense("d", 3, 2),
    inputs: [[4, 3]],
    shapes: { "d.weight": [3, 2], "d.bias": [2] },
  },
  "conv()": {
    layer: conv("c", 2, 3),
    inputs: [[2, 3, 4, 2]],
    shapes: { "c.weight": [3, 3, 2, 3], "c.bias": [3] },
  },
  "conv() of stride 2": {
    layer: conv("c", 2, 3, { stride: 2 }),
    inputs: [[2, 5, 4, 2]],
    shapes: { "c.weight": [3, 3, 2, 3], "c.bias": [3] },
  },
  "conv() of single pixels": {
    layer: conv("c", 2, 3, { size: 1 }),
    inputs: [[1, 2, 2, 2]],
    shapes: { "c.weight": [1, 1, 2, 3], "c.bias": [3] },
  },
  "groupNorm()": {
    layer: groupNorm("n", 6, 2),
    inputs: [[2, 2, 3, 6]],
    shapes: { "n.weight": [6], "n.bias": [6] },
  },
  "classEmbedding()": {
    layer: classEmbedding("e", 3, 2),
    inputs: [[3, 4]],
    shapes: { "e.weight": [4, 2] },
  },
  "attention()": {
    layer: attention("a", 4, { groups: 2, heads: 2 }),
    inputs: [[2, 2, 3, 4]],
    shapes: {
      "a.norm.weight": [4],
      "a.norm.bias": [4],
      "a.qkv.weight": [1, 1, 4, 12],
      "a.qkv.bias": [12],
      "a.proj.weight": [1, 1, 4, 4],
      "a.proj.bias": [4],
    },
  },
  "residual()": {
    layer: residual("r", 2, 4, { groups: 2, embedding: 3 }),
    inputs: [[2, 3, 2, 2], [2, 3]],
    shapes: {
      "r.norm1.weight": [2],
      "r.norm1.bias": [2],
      "r.conv1.weight": [3, 3, 2, 4],
      "r.conv1.bias": [4],
      "r.time.weight": [3, 4],
      "r.time.bias": [4],
      "r.norm2.weight": [4],
      "r.norm2.bias": [4],
      "r.conv2.weight": [3, 3, 4, 4],
      "r.conv2.bias": [4],
      "r.skip.weight": [1, 1, 2, 4],
      "r.skip.bias": [4],
    },
  },
  "upsampled()": {
    layer: { parameters: {}, apply: (_, x) => upsampled(x!) },
    inputs: [[2, 2, 3, 2]],
    shapes: {},
  },
  "patched()": {
    layer: { parameters: {}, apply: (_, x) => patched(x!, 2) },
    inputs: [[2, 4, 2, 3]],
    shapes: {},
  },
  "unpatched()": {
    layer: { parameters: {}, apply: (_, x) => unpatched(x!, 2) },
    inputs: [[2, 2, 1, 8]],
    shapes: {},
  },
};

describe("layers", () => {
  before(() => useBackend("cpu"));

  for (const [name, { layer, inputs, shapes }] of Object.entries(layers)) {
    it(`${name} has the parameters that it should`, () => {
      assert.deepEqual(shapesOf(layer.parameters), shapes);
    });

    it(`${name} has the gradients of its inputs and weights to second order`, () =>
      checkSlopes({ ...whole(layer, inputs), orders: 2 }));

    it(`${name} leaves no tensor behind but its result`, () => {
      const params = randomWeights(layer.parameters),
        x = inputs.map((shape) => normal(key(1), shape));
      assertLeavesOne(() => layer.apply(params, ...x));
      tf.dispose([params, x]);
    });

    it(`${name} has the same values and gradients on wasm and on cpu`, async () => {
      await useBackend("wasm");
      const wasm = valueAndGradients(whole(layer, inputs));
      await useBackend("cpu");
      valueAndGradients(whole(layer, inputs)).forEach((cpu, i) => assertClose(wasm[i]!, cpu, 1e-5));
    });

    it(`${name} gives each sample of a batch what it gives it alone`, () => {
      tf.tidy(() => {
        const params = randomWeights(layer.parameters),
          x = inputs.map((shape) => normal(key(1), shape));
        const y = layer.apply(params, ...x), last = x[0]!.shape[0]! - 1;
        const alone = layer.apply(params, ...x.map((t) => tf.slice(t, [last])));
        assertClose(alone.dataSync(), tf.slice(y, [last]).dataSync(), 1e-6);
      });
    });
  }
});

describe("initialize()", () => {
  before(() => useBackend("cpu"));

  it("initialize() draws each parameter under its own name", () => {
    const one = dense("a", 3, 2).parameters,
      two = parametersOf(dense("b", 2, 2), { parameters: one });
    const [small, large] = [initialize(one, key(5)), initialize(two, key(5))];
    assert.deepEqual(host(large, "a.weight"), host(small, "a.weight"));
    const drawn = normals(fold(key(5), "a.weight"), 6).map((z) => z / Math.sqrt(3));
    assert.deepEqual(host(small, "a.weight"), drawn);
    assert.notDeepEqual(host(initialize(one, key(6)), "a.weight"), drawn);
    tf.dispose([small, large]);
  });

  it("initialize() has the means and deviations asked for", () => {
    const parameters: Record<string, { shape: number[]; std?: number; mean?: number }> = {
      zero: { shape: [7] },
      one: { shape: [7], mean: 1 },
      wide: { shape: [100, 100], std: 3, mean: -2 },
    };
    const params = initialize(parameters, key(2)), n = 1e4;
    assert.ok(host(params, "zero").every((v) => v === 0));
    assert.ok(host(params, "one").every((v) => v === 1));
    const wide = [...host(params, "wide")], mean = wide.reduce((a, b) => a + b) / n;
    const variance = wide.reduce((a, v) => a + (v - mean) ** 2, 0) / n;
    const zMean = (mean + 2) / (3 / Math.sqrt(n)),
      zVariance = (variance / 9 - 1) / Math.sqrt(2 / n);
    assert.ok(Math.abs(zMean) < 4 && Math.abs(zVariance) < 4, `z = ${zMean}, ${zVariance}`);
    tf.dispose(params);
  });

  it("dense() and conv() start with deviation gain over the root of fan-in, biases and gain 0 at zero", () => {
    assert.equal(dense("d", 16, 2).parameters["d.weight"]!.std, 0.25);
    assert.equal(dense("d", 16, 2, { gain: 2 }).parameters["d.weight"]!.std, 0.5);
    assert.equal(conv("c", 4, 2).parameters["c.weight"]!.std, 1 / 6);
    assert.equal(conv("c", 4, 2, { size: 1, gain: 0 }).parameters["c.weight"]!.std, 0);
    assert.equal(dense("d", 16, 2).parameters["d.bias"]!.std ?? 0, 0);
  });

  it("parameterCount() counts the numbers of each parameter, a scalar as one", () => {
    assert.equal(parameterCount({ a: { shape: [2, 3] }, b: { shape: [] }, c: { shape: [4] } }), 11);
    assert.equal(parameterCount({}), 0);
  });
});

describe("values of layers", () => {
  before(() => useBackend("cpu"));

  it("dense() is x·W + b", () => {
    const x = normals(key(1), 6), params = randomWeights(dense("d", 3, 2).parameters);
    const w = host(params, "d.weight"), b = host(params, "d.bias");
    const y = dense("d", 3, 2).apply(params, tf.tensor2d(x, [2, 3])).dataSync();
    const wanted = [0, 1].flatMap((n) =>
      [0, 1].map((o) =>
        b[o]! + [0, 1, 2].reduce((sum, i) => sum + x[3 * n + i]! * w[2 * i + o]!, 0)
      )
    );
    assertClose(y, wanted, 1e-6);
    tf.dispose(params);
  });

  it("conv() sums the pixels under its filter, zeros beyond the border", () => {
    const params = { "c.weight": tf.ones([3, 3, 1, 1]), "c.bias": tf.tensor1d([0.5]) };
    const y = conv("c", 1, 1).apply(params, tf.ones([1, 3, 3, 1]));
    assert.deepEqual([...y.dataSync()], [4, 6, 4, 6, 9, 6, 4, 6, 4].map((v) => v + 0.5));
    const halved = conv("c", 1, 1, { stride: 2 }).apply(params, tf.ones([1, 5, 4, 1]));
    assert.deepEqual(halved.shape, [1, 3, 2, 1]);
    tf.dispose([params, y, halved]);
  });

  it("conv() refuses a stride that passes over pixels", () => {
    assert.throws(
      () => conv("c", 1, 1, { size: 2, stride: 3 }),
      /Cannot build c: stride must be at most size 2, got 3/,
    );
  });

  it("groupNorm() has zero mean and unit variance in each group of each sample, then scales and shifts", () => {
    const [n, h, w, c, groups] = [2, 3, 2, 6, 2] as const, x = normals(key(4), n * h * w * c);
    const params = randomWeights(groupNorm("n", c, groups).parameters);
    const y = groupNorm("n", c, groups).apply(params, tf.tensor4d(x, [n, h, w, c])).dataSync();
    const groupOf = (i: number) =>
      Math.floor(i / (h * w * c)) * groups + Math.floor((i % c) / (c / groups));
    const moments = Array.from({ length: n * groups }, (_, group) => {
      const members = [...x].filter((_, i) => groupOf(i) === group);
      const mean = members.reduce((a, b) => a + b) / members.length;
      return { mean, variance: members.reduce((a, v) => a + (v - mean) ** 2, 0) / members.length };
    });
    const weight = host(params, "n.weight"), bias = host(params, "n.bias");
    const wanted = [...x].map((v, i) => {
      const { mean, variance } = moments[groupOf(i)]!;
      return (v - mean) / Math.sqrt(variance + 1e-5) * weight[i % c]! + bias[i % c]!;
    });
    assertClose(y, wanted, 1e-6);
    tf.dispose(params);
  });

  it("groupNorm() of rows and of single numbers is that of images of one column, with its gradients", () => {
    const { parameters, apply } = groupNorm("n", 6, 2), params = randomWeights(parameters);
    const bent = (x: tf.Tensor): tf.Tensor => tf.sin(apply(params, x));
    const both = (
      x: tf.Tensor,
    ) => [apply(params, x), tf.grad((x: tf.Tensor) => tf.sum(bent(x)))(x)];
    for (const shape of [[2, 5, 6], [3, 6], [2, 2, 3, 2, 6]]) {
      const x = tf.cos(tf.reshape(tf.range(0, tf.util.sizeFromShape(shape)), shape));
      const image = tf.reshape(x, [shape[0]!, -1, 1, 6]), wanted = both(image);
      both(x).forEach((got, i) => {
        assert.deepEqual(got.shape, shape);
        assertClose(got.dataSync(), wanted[i]!.dataSync(), 1e-5);
      });
    }
  });

  it("groupNorm() of a constant image is its shift", () => {
    const params = { "n.weight": tf.tensor1d([2, 3]), "n.bias": tf.tensor1d([5, 7]) };
    const y = groupNorm("n", 2, 1).apply(params, tf.fill([1, 2, 2, 2], 4));
    assert.deepEqual([...y.dataSync()], [5, 7, 5, 7, 5, 7, 5, 7]);
    tf.dispose([params, y]);
  });

  it("attention() is x + proj(softmax(q·k/√d)·v), head by head", () => {
    const [n, h, w, c, heads] = [2, 2, 2, 4, 2] as const, d = c / heads, pixels = h * w;
    const layer = attention("a", c, { groups: 2, heads }), params = randomWeights(layer.parameters);
    const x = tf.tensor4d(normals(key(6), n * pixels * c), [n, h, w, c]),
      y = layer.apply(params, x);
    const normed = groupNorm("a.norm", c, 2).apply(params, x).dataSync(), input = x.dataSync();
    const affine = (v: readonly number[], name: string, outputs: number) =>
      Array.from({ length: outputs }, (_, o) =>
        v.reduce(
          (sum, value, i) => sum + value * host(params, `a.${name}.weight`)[i * outputs + o]!,
          host(params, `a.${name}.bias`)[o]!,
        ));
    const wanted = Array.from({ length: n }, (_, sample) => {
      const at = (p: number) => (sample * pixels + p) * c;
      const qkv = Array.from(
        { length: pixels },
        (_, p) => affine([...normed.slice(at(p), at(p) + c)], "qkv", 3 * c),
      );
      const part = (p: number, which: number, head: number) =>
        qkv[p]!.slice(which * c + head * d, which * c + (head + 1) * d);
      return Array.from({ length: pixels }, (_, p) => {
        const mixed = Array.from({ length: heads }, (_, head) => {
          const q = part(p, 0, head);
          const odds = qkv.map((_, other) =>
            Math.exp(part(other, 1, head).reduce((sum, k, i) => sum + k * q[i]!, 0) / Math.sqrt(d))
          );
          const total = odds.reduce((a, b) => a + b);
          return q.map((_, i) =>
            odds.reduce((sum, odd, other) => sum + odd / total * part(other, 2, head)[i]!, 0)
          );
        }).flat();
        return affine(mixed, "proj", c).map((v, i) => v + input[at(p) + i]!);
      });
    }).flat(2);
    assertClose(y.dataSync(), wanted, 2e-6);
    tf.dispose([params, x, y]);
  });

  it("attention() starts as the identity", () => {
    const layer = attention("a", 8), params = initialize(layer.parameters, key(0));
    const x = normal(key(1), [1, 2, 2, 8]), y = layer.apply(params, x);
    assert.deepEqual(y.dataSync(), x.dataSync());
    tf.dispose([params, x, y]);
  });

  it("residual() starts as its skip: the identity, or a convolution where the channels change", () => {
    const x = normal(key(1), [2, 3, 3, 8]), e = normal(key(2), [2, 8]);
    const same = residual("r", 8, 8), params = initialize(same.parameters, key(0));
    assert.ok(!("r.skip.weight" in params));
    assert.deepEqual(same.apply(params, x, e).dataSync(), x.dataSync());
    const wide = residual("r", 8, 16, { embedding: 8 }), more = initialize(wide.parameters, key(0));
    const skip = conv("r.skip", 8, 16, { size: 1 }).apply(more, x);
    assert.deepEqual(wide.apply(more, x, e).dataSync(), skip.dataSync());
    tf.dispose([x, e, params, more, skip]);
  });

  it("residual() sees its vector, but with one channel a group", () => {
    const x = normal(key(1), [1, 3, 3, 8]), e = [normal(key(2), [1, 8]), normal(key(3), [1, 8])];
    const apart = (groups: number) =>
      tf.tidy(() => {
        const layer = residual("r", 8, 8, { groups }), params = randomWeights(layer.parameters);
        const [a, b] = e.map((vector) => layer.apply(params, x, vector));
        return tf.max(tf.abs(tf.sub(a!, b!))).dataSync()[0]!;
      });
    assert.ok(apart(4) > 0.1, `${apart(4)}`);
    assert.ok(apart(8) < 1e-4, `${apart(8)}`);
    tf.dispose([x, e]);
  });

  it("classEmbedding() gives each class its row, and null the last", () => {
    const layer = classEmbedding("e", 3, 2),
      params = { "e.weight": tf.tensor2d([[0, 1], [2, 3], [4, 5], [6, 7]]) };
    const network = networkOf({}, { classes: 3, features: 2, forward: (_, x) => x });
    const { time, label } = network.inputs([0, 0, 0, 0], [2, null, 0, 2]);
    const rows = layer.apply(params, label!);
    assert.deepEqual(rows.arraySync(), [[4, 5], [6, 7], [0, 1], [4, 5]]);
    tf.dispose([params, time, label!, rows]);
  });

  it("oneHot() has a 1 in each label's column, and refuses a label without one", () => {
    const rows = oneHot(Uint8Array.of(2, 0), 3),
      none = oneHot([], 3),
      alive = live();
    assert.deepEqual([rows.arraySync(), rows.dtype], [[[0, 0, 1], [1, 0, 0]], "float32"]);
    assert.deepEqual(none.shape, [0, 3]);
    for (const wrong of [3, -1, 0.5, NaN]) {
      assert.throws(() => oneHot([0, wrong], 3), {
        name: "RangeError",
        message: `Cannot make one-hot rows: label must be a whole number in [0, 3), got ${wrong}`,
      });
    }
    assert.equal(live(), alive);
    tf.dispose([rows, none]);
  });

  it("timeFeatures() are sines, then cosines, at rates from 1 down to 10000^(1/half - 1)", () => {
    const times = [0, 1, 37.5, 999], features = timeFeatures(times, 6);
    const rates = [1, 10000 ** (-1 / 3), 10000 ** (-2 / 3)];
    assert.equal(features.dtype, "float32");
    const wanted = times.flatMap((t) => [
      ...rates.map((r) => Math.sin(t * r)),
      ...rates.map((r) => Math.cos(t * r)),
    ]);
    assertClose(features.dataSync(), wanted, 1e-7);
    features.dispose();
  });

  it("timeFeatures() refuses a size that is odd or too small, and takes no samples", () => {
    for (const size of [3, 0, -2, 1, 2.5]) {
      assert.throws(() => timeFeatures([1], size), {
        name: "RangeError",
        message:
          `Cannot make features of time: size must be an even number of at least 2, got ${size}`,
      });
    }
    const none = timeFeatures([], 4);
    assert.deepEqual(none.shape, [0, 4]);
    none.dispose();
  });

  it("upsampled() repeats each pixel to a block of four", () => {
    const x = tf.tensor4d([1, 10, 2, 20, 3, 30, 4, 40], [1, 2, 2, 2]), y = upsampled(x);
    const channel = (from: number) =>
      [1, 1, 2, 2, 1, 1, 2, 2, 3, 3, 4, 4, 3, 3, 4, 4].map((v) => v * from);
    assert.deepEqual(y.shape, [1, 4, 4, 2]);
    assert.deepEqual([...tf.slice(y, [0, 0, 0, 0], [1, 4, 4, 1]).dataSync()], channel(1));
    assert.deepEqual([...tf.slice(y, [0, 0, 0, 1], [1, 4, 4, 1]).dataSync()], channel(10));
    tf.dispose([x, y]);
  });

  it("patched() makes blocks of pixels into channels, row by row, and unpatched() undoes it", () => {
    const x = tf.tensor4d(Float32Array.from({ length: 2 * 4 * 6 * 3 }, (_, i) => i), [2, 4, 6, 3]);
    const blocks = patched(x, 2), back = unpatched(blocks, 2);
    assert.deepEqual(blocks.shape, [2, 2, 3, 12]);
    const pixel = (row: number, column: number) => [0, 1, 2].map((c) => 3 * (6 * row + column) + c);
    assert.deepEqual(
      [...tf.slice(blocks, [0, 1, 2, 0], [1, 1, 1, 12]).dataSync()],
      [...pixel(2, 4), ...pixel(2, 5), ...pixel(3, 4), ...pixel(3, 5)],
    );
    assert.deepEqual(back.dataSync(), x.dataSync());
    assert.deepEqual(back.shape, x.shape);
    tf.dispose([x, blocks, back]);
  });

  it("patched() and unpatched() of size 1 give a tensor of their own", () => {
    const x = tf.ones([1, 2, 2, 1]);
    tf.dispose([patched(x, 1), unpatched(x, 1)]);
    assert.deepEqual([...x.dataSync()], [1, 1, 1, 1]);
    x.dispose();
  });
});

describe("errors of layers", () => {
  before(() => useBackend("cpu"));

  it("groupNorm() and attention() refuse groups and heads that do not divide the channels", () => {
    const cases: [() => unknown, string][] = [
      [() => groupNorm("n", 6, 4), "n: groups must divide 6 channels, got 4"],
      [() => groupNorm("n", 6, 0), "n: groups must divide 6 channels, got 0"],
      [() => groupNorm("n", 6, -2), "n: groups must divide 6 channels, got -2"],
      [() => groupNorm("n", 6, 1.5), "n: groups must divide 6 channels, got 1.5"],
      [() => attention("a", 8, { heads: 3 }), "a: heads must divide 8 channels, got 3"],
      [() => attention("a", 6), "a.norm: groups must divide 6 channels, got 8"],
      [() => residual("r", 8, 12), "r.norm2: groups must divide 12 channels, got 8"],
    ];
    for (const [make, message] of cases) {
      assert.throws(make, { name: "RangeError", message: `Cannot build ${message}` });
    }
  });

  it("patched() and unpatched() refuse blocks that do not fit", () => {
    const x = tf.ones([1, 4, 6, 2]);
    for (const size of [4, 0, 1.5, -2]) {
      assert.throws(() => patched(x, size), {
        name: "RangeError",
        message: `Cannot cut images into blocks: size must divide 4×6 pixels, got ${size}`,
      });
    }
    for (const size of [2, 0, -1]) {
      assert.throws(() => unpatched(x, size), {
        name: "RangeError",
        message:
          `Cannot join blocks into images: size must be a number whose square divides 2, got ${size}`,
      });
    }
    x.dispose();
  });
});

describe("what layers and networks refuse", () => {
  before(() => useBackend("cpu"));

  it("layers refuse options that they do not know, and sizes that are none", () => {
    const unknown: [() => unknown, string][] = [
      [() => dense("a", 2, 2, { gian: 1 } as object), 'a: options must be among gain, got "gian"'],
      [
        () => conv("b", 2, 2, { strides: 2 } as object),
        'b: options must be among gain, size, stride, got "strides"',
      ],
      [
        () => attention("c", 8, { head: 2 } as object),
        'c: options must be among groups, heads, got "head"',
      ],
      [
        () => residual("d", 8, 8, { group: 2 } as object),
        'd: options must be among groups, embedding, got "group"',
      ],
      [
        () => networkOf({}, { classes: 0, features: 2, forward: tf.clone, features2: 1 } as never),
        'a network: options must be among classes, features, forward, got "features2"',
      ],
    ];
    for (const [call, message] of unknown) {
      assert.throws(call, { name: "TypeError", message: `Cannot build ${message}` });
    }
    const sizes: [() => unknown, string][] = [
      [() => dense("a", 0, 2), "a: inputs must be a whole number of at least 1, got 0"],
      [() => dense("a", 2, NaN), "a: outputs must be a whole number of at least 1, got NaN"],
      [() => conv("b", 1.5, 2), "b: inputs must be a whole number of at least 1, got 1.5"],
      [() => conv("b", 2, -1), "b: outputs must be a whole number of at least 1, got -1"],
      [() => conv("b", 2, 2, { size: 0 }), "b: size must be a whole number of at least 1, got 0"],
      [
        () => conv("b", 2, 2, { stride: 0.5 }),
        "b: stride must be a whole number of at least 1, got 0.5",
      ],
      [() => dense("a", 2, 2, { gain: NaN }), "a: gain must be finite, got NaN"],
      [() => conv("b", 2, 2, { gain: Infinity }), "b: gain must be finite, got Infinity"],
      [() => classEmbedding("e", 0, 2), "e: classes must be a whole number of at least 1, got 0"],
      [
        () => residual("d", 8, 8, { embedding: 0 }),
        "d.time: inputs must be a whole number of at least 1, got 0",
      ],
    ];
    for (const [call, message] of sizes) {
      assert.throws(call, { name: "RangeError", message: `Cannot build ${message}` });
    }
    for (const classes of [0, 1.5, NaN]) {
      assert.throws(() => oneHot([], classes), {
        name: "RangeError",
        message:
          `Cannot make one-hot rows: classes must be a whole number of at least 1, got ${classes}`,
      });
    }
  });

  it("initialize() refuses what is no key", () => {
    assert.throws(() => initialize({ w: { shape: [2] } }, 5 as unknown as Key), {
      name: "TypeError",
      message: "Cannot initialize weights: key must be a key, as key(0) makes them, got 5",
    });
  });

  it("a network refuses weights that are missing, of other shapes or disposed of, no samples, and times that are not finite", () => {
    const { parameters, apply } = dense("out", 2, 2);
    const network = networkOf(parameters, { classes: 2, features: 2, forward: apply });
    const params = initialize(parameters, key(0)), x = tf.zeros([2, 2]);
    const gone = tf.zeros([2]),
      none = tf.zeros([0, 2]),
      point = tf.scalar(0),
      lost = tf.zeros([2, 2]);
    gone.dispose();
    lost.dispose();
    const weight = "out.weight", bias = "out.bias", { [bias]: b, ...rest } = params;
    const alive = live();
    const cases: [() => unknown, string][] = [
      [
        () => network.apply(rest, x, [1, 2]),
        "params must have the weights of the network, got none called out.bias",
      ],
      [
        () => network.apply({ ...params, [bias]: x }, x, [1, 2]),
        "params must have the weights of the network, got out.bias of shape [2,2] for [2]",
      ],
      [
        () => network.apply({ ...params, [bias]: gone }, x, [1, 2]),
        "params must be of tensors that are not disposed of, got out.bias",
      ],
      [
        () => network.apply(params, none, []),
        "x must hold at least one sample, got shape [0,2]",
      ],
      [() => network.apply(params, point, []), "x must hold at least one sample, got shape []"],
      [
        () => network.apply(params, lost, [1, 2]),
        "x must be a tensor that is not disposed of, got one that is",
      ],
      [() => network.apply(params, x, [1, NaN]), "times must be finite, got NaN"],
      [() => network.inputs([Infinity]), "times must be finite, got Infinity"],
    ];
    for (const [call, message] of cases) {
      assert.throws(call, { name: "RangeError", message: `Cannot apply the network: ${message}` });
      assert.equal(live(), alive);
    }
    // Weights of something else beside it are none of its business.
    const y = network.apply({ ...params, more: b! }, x, [1, 2]);
    assert.deepEqual(y.shape, [2, 2]);
    assert.throws(() => timeFeatures([0, NaN], 4), {
      name: "RangeError",
      message: "Cannot make features of time: times must be finite, got NaN",
    });
    assert.ok(params[weight]);
    tf.dispose([params, x, none, point, y]);
  });
});

describe("networkOf()", () => {
  before(() => useBackend("cpu"));

  const seen: unknown[] = [];
  const network = networkOf({}, {
    classes: 2,
    features: 4,
    forward: (_, x, { time, label }) => {
      seen.push([time.arraySync(), label!.arraySync()]);
      return tf.add(tf.mul(x, 2), 1);
    },
  });
  const without = networkOf({}, { classes: 0, features: 2, forward: (_, x) => tf.clone(x) });

  it("networkOf() passes on features of the times and one-hot classes, none for each sample by default", () => {
    const x = tf.ones([2, 1]), features = timeFeatures([3, 4], 4), time = features.arraySync();
    tf.dispose([network.apply({}, x, [3, 4]), network.apply({}, x, [3, 4], [1, null])]);
    assert.deepEqual(seen, [
      [time, [[0, 0, 1], [0, 0, 1]]],
      [time, [[0, 1, 0], [0, 0, 1]]],
    ]);
    tf.dispose([x, features]);
  });

  it("networkOf() applies what it makes of its inputs", () => {
    const x = tf.ones([2, 1]), inputs = network.inputs([3, 4], [1, null]);
    const [one, other] = [
      network.forward({}, x, inputs),
      network.apply({}, x, [3, 4], [1, null]),
    ];
    assert.deepEqual([one.arraySync(), seen.at(-2)], [other.arraySync(), seen.at(-1)]);
    assert.deepEqual([network.classes, network.features], [2, 4]);
    assert.deepEqual([inputs.time.dtype, inputs.label!.dtype], ["float32", "float32"]);
    tf.dispose([x, inputs.time, inputs.label!, one, other]);
  });

  it("networkOf() without classes makes no tensor of classes", () => {
    const inputs = without.inputs([1, 2]);
    assert.deepEqual(Object.keys(inputs), ["time"]);
    inputs.time.dispose();
  });

  it("networkOf() disposes of what the function leaves behind", () => {
    const x = tf.ones([2, 1]), inputs = network.inputs([0, 0]);
    assertLeavesOne(() => network.apply({}, x, [0, 0]));
    assertLeavesOne(() => network.forward({}, x, inputs));
    tf.dispose([x, inputs.time, inputs.label!]);
  });

  it("networkOf() refuses times and classes that do not fit the samples", () => {
    const x = tf.ones([2, 1]), alive = live();
    const cases: [() => unknown, string][] = [
      [() => network.apply({}, x, [1]), "times must have one entry for each of 2 samples, got 1"],
      [
        () => network.apply({}, x, [1, 2], [0, 0, 0]),
        "condition must have one entry for each of 2 samples, got 3",
      ],
      [
        () => network.inputs([1, 2, 3], [0]),
        "condition must have one entry for each of 3 samples, got 1",
      ],
      ...[2, -1, 0.5, NaN].map((wrong): [() => unknown, string] => [
        () => network.apply({}, x, [1, 2], [wrong, 0]),
        `class must be null or a whole number in [0, 2), got ${wrong}`,
      ]),
      [
        () => without.apply({}, x, [1, 2], [null, 0]),
        "class must be null without classes, got 0",
      ],
    ];
    for (const [apply, message] of cases) {
      assert.throws(apply, { name: "RangeError", message: `Cannot apply the network: ${message}` });
    }
    assert.equal(live(), alive);
    x.dispose();
  });

  it("networkOf() refuses tensors of times and classes that would be broadcast", () => {
    const x = tf.ones([2, 1]), { time, label } = network.inputs([1, 2]), one = tf.ones([1, 4]);
    const cases: [() => unknown, string][] = [
      [
        () => network.forward({}, x, { time: one, label: label! }),
        "time must be [2, 4], got [1, 4]",
      ],
      [() => network.forward({}, x, { time, label: one }), "label must be [2, 3], got [1, 4]"],
      [() => network.forward({}, x, { time }), "label must be [2, 3], got none"],
      [
        () => without.forward({}, x, { time: label!, label: label! }),
        "time must be [2, 2], got [2, 3]",
      ],
    ];
    for (const [forward, message] of cases) {
      assert.throws(forward, {
        name: "RangeError",
        message: `Cannot apply the network: ${message}`,
      });
    }
    tf.dispose([x, time, label!, one]);
  });

  it("networkOf() refuses a number of classes that is not whole, and of features that is not even", () => {
    const forward = (_: unknown, x: tf.Tensor) => x;
    for (const classes of [-1, 1.5, NaN]) {
      assert.throws(() => networkOf({}, { classes, features: 2, forward }), {
        name: "RangeError",
        message:
          `Cannot build a network: classes must be a whole number of at least 0, got ${classes}`,
      });
    }
    for (const features of [0, 3, -2, 2.5, NaN]) {
      assert.throws(() => networkOf({}, { classes: 0, features, forward }), {
        name: "RangeError",
        message:
          `Cannot build a network: features must be an even number of at least 2, got ${features}`,
      });
    }
  });
});

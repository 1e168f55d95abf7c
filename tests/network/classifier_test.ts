import { before, describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import * as tf from "@tensorflow/tfjs-core";
import type { Model, TensorPrediction } from "../../src/denoise/prediction.ts";
import {
  classifier,
  crossEntropy,
  noisyClassifier,
  type TimedClassifier,
  timedClassifier,
} from "../../src/network/classifier.ts";
import { initialize, parameterCount, type Params } from "../../src/network/layer/parameter.ts";
import { networkOf } from "../../src/network/layer/network.ts";
import { oneHot } from "../../src/network/layer/embedding.ts";
import { ve, vp } from "../../src/noise/schedule/continuous.ts";
import { linear } from "../../src/noise/schedule/discrete.ts";
import { logSnr, type Schedule } from "../../src/noise/schedule/schedule.ts";
import { byClassifier } from "../../src/refine/guide/gradient.ts";
import { useBackend } from "../../src/tensor/backend/backend.ts";
import { key } from "../../src/tensor/key.ts";
import { normal } from "../../src/tensor/random.ts";
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
    const wrong: [object, string, string][] = [
      [
        { bas: 8 },
        "TypeError",
        "options must be among size, classes, channels, base, features, names, schedule, " +
        'got "bas"',
      ],
      [{ classes: 0 }, "RangeError", "classes must be a whole number of at least 1, got 0"],
      [{ channels: 1.5 }, "RangeError", "channels must be a whole number of at least 1, got 1.5"],
      [{ features: NaN }, "RangeError", "features must be a whole number of at least 1, got NaN"],
      [{ size: 8 }, "RangeError", "size must be a height and a width in pixels, got 8"],
      [{ size: [8, NaN] }, "RangeError", "size must be multiples of 4 pixels, got 8×NaN"],
    ];
    for (const [change, name, message] of wrong) {
      for (const make of [classifier, timedClassifier]) {
        assert.throws(() => make({ size: [8, 8], classes: 2, ...change }), {
          name,
          message: `Cannot build a classifier: ${message}`,
        });
      }
    }
    // What files keep beside it.
    classifier({ size: [8, 8], classes: 2, names: ["a", "b"], schedule: { name: "vp" } } as never);
    const x = tf.zeros([1, 4, 8, 2]);
    assert.throws(() => network.apply({}, x), {
      name: "RangeError",
      message: "Cannot classify: x must be of shape [N, 8, 4, 2], got [1,4,8,2]",
    });
    const none = tf.zeros([0, 8, 4, 2]), good = tf.zeros([1, 8, 4, 2]);
    const params = randomWeights(network.parameters), { "logits.bias": bias, ...rest } = params;
    for (const ask of [network.apply, network.features]) {
      assert.throws(() => ask(params, none), {
        name: "RangeError",
        message: "Cannot classify: x must be of at least one image, got none",
      });
      assert.throws(() => ask(rest, good), {
        name: "RangeError",
        message:
          "Cannot classify: params must have the weights of the network, got none called logits.bias",
      });
    }
    bias!.dispose();
    assert.throws(
      () => network.apply(params, good),
      /^RangeError: Cannot classify: params must be of tensors that are not disposed of, got logits.bias$/,
    );
    tf.dispose([x, none, good, rest]);
  });
});

const timed = timedClassifier({ size: [8, 4], classes: 3, channels: 2, base: 8, features: 5 });
const times = [5, 300, 900];

/** The network as a layer of its tensors: images and what it is told of their times. */
const ofTensors = {
  parameters: timed.parameters,
  apply: (params: Params, x: tf.Tensor, time: tf.Tensor) => timed.forward(params, x, { time }),
};

describe("timedClassifier()", () => {
  before(() => useBackend("wasm"));

  it("timedClassifier() has the weights of classifier() by their names, and those of the time", () => {
    const { parameters: plain } = network, all = timed.parameters;
    const more = Object.keys(all).filter((name) => !(name in plain));
    for (const [name, parameter] of Object.entries(plain)) assert.deepEqual(all[name], parameter);
    assert.deepEqual(more.sort(), [
      ...[0, 1, 2].flatMap((i) => [`norm.${i}.time.bias`, `norm.${i}.time.weight`]),
      ...[0, 1].flatMap((i) => [`time.${i}.bias`, `time.${i}.weight`]),
    ]);
    const dense = (i: number, o: number) => i * o + o;
    assert.equal(
      parameterCount(all) - parameterCount(plain),
      dense(8, 16) + dense(16, 16) + dense(16, 2 * 8) + 2 * dense(16, 2 * 16),
    );
    assert.equal(timed.classes, 3);
  });

  it("timedClassifier() starts as classifier(), bit for bit and at any time", () => {
    tf.tidy(() => {
      const params = initialize(timed.parameters, key(4)), x = normal(key(1), [3, 8, 4, 2]);
      const wanted = network.apply(params, x).dataSync();
      for (const t of [times, [0, 0, 1000]]) {
        assert.deepEqual(timed.apply(params, x, t).dataSync(), wanted);
      }
    });
  });

  it("timedClassifier() is classifier() with norms whose scales and shifts are those of the time", () => {
    tf.tidy(() => {
      const params = randomWeights(timed.parameters), x = normal(key(1), [3, 8, 4, 2]);
      const got = timed.apply(params, x, times);
      /** x·W + b on the host. */
      const dense = (name: string, x: readonly number[]): number[] => {
        const weight = host(params, `${name}.weight`), bias = [...host(params, `${name}.bias`)];
        return bias.map((b, o) =>
          x.reduce((sum, v, i) => sum + v * weight[i * bias.length + o]!, b)
        );
      };
      const silu = (v: number): number => v / (1 + Math.exp(-v));
      times.forEach((t, sample) => {
        const angles = [0, 1, 2, 3].map((i) => t * 10000 ** (-i / 4));
        const features = [...angles.map(Math.sin), ...angles.map(Math.cos)];
        const e = dense("time.1", dense("time.0", features).map(silu)).map(silu);
        const norms = [0, 1, 2].flatMap((i) => {
          const by = dense(`norm.${i}.time`, e), width = by.length / 2;
          const weight = host(params, `norm.${i}.weight`), bias = host(params, `norm.${i}.bias`);
          const scale = (value: number, c: number) => value * (1 + by[c]!);
          return [
            [`norm.${i}.weight`, tf.tensor1d([...weight].map(scale))],
            [
              `norm.${i}.bias`,
              tf.tensor1d([...bias].map((value, c) => scale(value, c) + by[width + c]!)),
            ],
          ];
        });
        const folded = { ...params, ...Object.fromEntries(norms) };
        const wanted = network.apply(folded, tf.slice(x, [sample], [1])).dataSync();
        assertClose(tf.slice(got, [sample], [1]).dataSync(), wanted, 2e-5);
      });
    });
  });

  it("timedClassifier() has the gradients of its input and weights", () =>
    checkSlopes({ ...whole(ofTensors, [[2, 8, 4, 2], [2, 8]]), orders: 1 }));

  it("timedClassifier() has a gradient in every weight but a bias that a norm of single channels takes out", () => {
    const [, , , ...gradients] = valueAndGradients(whole(ofTensors, [[2, 8, 4, 2], [2, 8]]));
    Object.keys(timed.parameters).forEach((name, i) => {
      const most = Math.max(...gradients[i]!.map(Math.abs));
      assert.equal(most > 1e-4, name !== "conv.0.bias", `${name}: ${most}`);
    });
  });

  it("timedClassifier() has the same values and gradients on wasm and on cpu", async () => {
    const one = whole(ofTensors, [[2, 8, 4, 2], [2, 8]]), wasm = valueAndGradients(one);
    await useBackend("cpu");
    valueAndGradients(one).forEach((cpu, i) => assertClose(wasm[i]!, cpu, 2e-5));
    await useBackend("wasm");
  });

  it("timedClassifier() is its two parts, and leaves no tensor behind but its result", () => {
    const params = randomWeights(timed.parameters), x = normal(key(1), [3, 8, 4, 2]);
    const inputs = timed.inputs(times),
      [one, two] = [
        timed.apply(params, x, times),
        timed.forward(params, x, inputs),
      ];
    assert.deepEqual(one.dataSync(), two.dataSync());
    assertLeavesOne(() => timed.apply(params, x, times));
    assertLeavesOne(() => timed.forward(params, x, inputs));
    tf.dispose([params, x, one, two, { ...inputs }]);
  });

  it("timedClassifier() refuses what classifier() does, and times that are not one for each image", () => {
    assert.throws(() => timedClassifier({ size: [28, 30], classes: 2 }), {
      name: "RangeError",
      message: "Cannot build a classifier: size must be multiples of 4 pixels, got 28×30",
    });
    const params = randomWeights(timed.parameters), alive = live();
    tf.tidy(() => {
      assert.throws(() => timed.apply(params, tf.zeros([1, 4, 8, 2]), [1]), {
        name: "RangeError",
        message: "Cannot classify: x must be of shape [N, 8, 4, 2], got [1,4,8,2]",
      });
      assert.throws(() => timed.apply(params, tf.zeros([2, 8, 4, 2]), [1]), {
        name: "RangeError",
        message: "Cannot apply the network: times must have one entry for each of 2 samples, got 1",
      });
    });
    assert.equal(live(), alive);
    tf.dispose(params);
  });
});

/** A network whose logits are 0 and w·Σx, and what it was asked. */
function sloped(w: number) {
  const asked: { x: number[]; times: readonly number[] }[] = [];
  const inner = networkOf({}, {
    classes: 0,
    features: 2,
    forward: (_, x) => {
      const sum = tf.sum(x, 1);
      return tf.stack([tf.zerosLike(sum), tf.mul(sum, w)], 1);
    },
  });
  const network: TimedClassifier = {
    ...inner,
    classes: 2,
    apply: (params, x, times) => {
      asked.push({ x: [...x.dataSync()], times });
      return inner.apply(params, x, times);
    },
  };
  return { network, asked };
}

for (const backend of ["cpu", "wasm"] as const) {
  describe(`noisyClassifier() on ${backend}`, () => {
    before(() => useBackend(backend));
    const points = [[0.5, -2], [30, 10]];

    it(`noisyClassifier() shows the network x in units, at its own time, on ${backend}`, () => {
      for (const schedule of [linear({ steps: 10 }), ve()]) {
        const { network, asked } = sloped(0.1), t = 0.4 * schedule.span[1];
        const { alpha, sigma } = schedule.at(t), size = Math.hypot(alpha, sigma);
        const x = tf.tensor2d(points), alive = live();
        const logits = noisyClassifier(network, {}, { schedule })(x, t);
        assert.equal(live(), alive + 1);
        assert.deepEqual(asked.map(({ times }) => times), [[400, 400]]);
        assertClose(asked[0]!.x, points.flat().map((value) => value / size), 1e-6);
        const sums = points.map(([a, b]) => (a! + b!) / size);
        assertClose(logits.dataSync(), sums.flatMap((sum) => [0, 0.1 * sum]), 1e-6);
        tf.dispose([x, logits]);
      }
    });

    it(`noisyClassifier() shows the network x_t itself under a schedule that preserves variance, on ${backend}`, () => {
      const { network, asked } = sloped(1), x = tf.tensor2d(points);
      for (const t of [1, 371, 1000]) {
        noisyClassifier(network, {}, { schedule: linear() })(x, t).dispose();
        assert.deepEqual(asked.pop(), { x: points.flat(), times: [t, t] });
      }
      x.dispose();
    });

    it(`byClassifier() of noisyClassifier() moves eps by −scale·sigma·(1 − p)·slope, on ${backend}`, () => {
      const schedule = ve(), t = 0.4, w = 0.3, scale = 2, { sigma } = schedule.at(t);
      const size = Math.hypot(1, sigma), { network } = sloped(w);
      const guide = byClassifier(noisyClassifier(network, {}, { schedule }), [1, null], { scale });
      const nothing: Model = {
        schedule,
        predict: (x) => ({ kind: "eps", value: tf.zerosLike(x) }),
      };
      const x = tf.tensor2d(points), alive = live();
      const said = guide(nothing).predict(x, t) as TensorPrediction;
      const p = 1 / (1 + Math.exp(-w * (0.5 - 2) / size));
      const shift = scale * sigma * (1 - p) * w / size;
      assert.ok(said.kind === "eps" && shift > 0.1);
      assertClose(said.value.dataSync(), [-shift, -shift, 0, 0], 1e-6);
      said.value.dispose();
      assert.equal(live(), alive);
      x.dispose();
    });
  });
}

describe("what noisyClassifier() refuses", () => {
  it("noisyClassifier() refuses options that it does not know", () => {
    assert.throws(() => noisyClassifier(timed, {}, { schedule: vp(), undr: ve() } as never), {
      name: "TypeError",
      message: 'Cannot make a classifier: options must be among schedule, under, got "undr"',
    });
  });
});

describe("noisyClassifier()", () => {
  before(() => useBackend("cpu"));

  it("noisyClassifier() under another schedule asks at the time of the same log-SNR", () => {
    const under = ve(), [x0, eps] = [0.3, -0.8];
    for (const schedule of [vp(), linear()]) {
      for (const share of [0.2, 0.5, 0.6]) {
        const { alpha, sigma } = schedule.at(share * schedule.span[1]),
          { network, asked } = sloped(1);
        // The exploding schedule has alpha = 1, so its sigma there is that of the ratio.
        const t = under.timeOf(2 * Math.log(alpha / sigma));
        const x = tf.tensor2d([[x0 + sigma / alpha * eps]]);
        noisyClassifier(network, {}, { schedule, under })(x, t).dispose();
        assertClose(asked[0]!.times, [1000 * share], 1e-9);
        assertClose(asked[0]!.x, [alpha * x0 + sigma * eps], 1e-6);
        x.dispose();
      }
    }
  });

  it("noisyClassifier() under a schedule with more or less noise than its own takes the nearest time", () => {
    const weak = vp({ betaMax: 2 }), strong = ve(), x = tf.ones([1, 1]);
    assert.ok(logSnr(strong.at(1)) < logSnr(weak.at(1)) && logSnr(strong.at(0)) < Infinity);
    const asks = (schedule: Schedule, under: Schedule, t: number): number => {
      const { network, asked } = sloped(1);
      noisyClassifier(network, {}, { schedule, under })(x, t).dispose();
      return asked[0]!.times[0]!;
    };
    assert.equal(asks(weak, strong, 1), 1000);
    assert.equal(asks(strong, weak, 0), 0);
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
    const x = tf.tensor2d(logits), alive = live();
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
    assert.equal(live(), alive);
    const none = tf.zeros([0, 3]), line = tf.zeros([3]);
    for (const wrong of [none, line]) {
      assert.throws(() => crossEntropy(wrong, []), {
        name: "RangeError",
        message:
          `Cannot compute the cross entropy: logits must be of shape [N, classes] with N at least 1, got [${wrong.shape}]`,
      });
    }
    tf.dispose([none, line]);
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

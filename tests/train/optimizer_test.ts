import { before, describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import * as tf from "@tensorflow/tfjs-core";
import type { Params } from "../../src/network/layer/parameter.ts";
import { useBackend } from "../../src/tensor/backend/backend.ts";
import { fold, key } from "../../src/tensor/key.ts";
import { normals } from "../../src/tensor/random.ts";
import {
  adam,
  adamConstants,
  type AdamOptions,
  adamUpdate,
  byAdam,
  learningRate,
  noMoments,
} from "../../src/train/optimizer/adam.ts";
import { clipped } from "../../src/train/optimizer/optimizer.ts";
import { live } from "../measure.ts";

/** Sizes of three weights; the gradients are drawn under the step. */
const sizes: Readonly<Record<string, number>> = { a: 4, b: 1, c: 6 };

const gradientAt = (step: number, name: string): number[] =>
  [...normals(fold(fold(key(9), step), name), sizes[name]!)].map((z) => 2 * z);

/** Algorithm 1 of Kingma and Ba with the decoupled decay of Loshchilov and Hutter, in float64. */
function reference(steps: number, options: AdamOptions): Record<string, number[]> {
  const { rate = 1e-3, beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8, decay = 0, warmup = 0 } =
    options;
  const w: Record<string, number[]> = {}, m: typeof w = {}, v: typeof w = {};
  for (const [name, size] of Object.entries(sizes)) {
    w[name] = [...normals(fold(key(1), name), size)];
    m[name] = Array(size).fill(0);
    v[name] = Array(size).fill(0);
  }
  for (let k = 1; k <= steps; k++) {
    const rising = warmup > 0 && k < warmup ? k / warmup : 1;
    const falling = options.anneal === undefined
      ? 1
      : k >= options.anneal
      ? 0
      : Math.cos(Math.PI * k / options.anneal / 2) ** 2;
    const eta = rate * rising * falling;
    const gradients = Object.fromEntries(
      Object.keys(sizes).map((name) => [name, gradientAt(k, name)]),
    );
    const norm = Math.hypot(...Object.values(gradients).flat());
    const factor = options.clip !== undefined && norm > options.clip ? options.clip / norm : 1;
    for (const name of Object.keys(sizes)) {
      gradients[name]!.forEach((raw, i) => {
        const g = raw * factor;
        m[name]![i] = beta1 * m[name]![i]! + (1 - beta1) * g;
        v[name]![i] = beta2 * v[name]![i]! + (1 - beta2) * g * g;
        const mHat = m[name]![i]! / (1 - beta1 ** k), vHat = v[name]![i]! / (1 - beta2 ** k);
        w[name]![i]! -= eta * (mHat / (Math.sqrt(vHat) + epsilon) + decay * w[name]![i]!);
      });
    }
  }
  return w;
}

const tensors = (values: (name: string) => number[]): Record<string, tf.Tensor> =>
  Object.fromEntries(Object.keys(sizes).map((name) => [name, tf.tensor1d(values(name))]));

/** The same by the library. */
function computed(steps: number, options: AdamOptions): Record<string, number[]> {
  return tf.tidy(() => {
    let params: Params = tensors((name) => [...normals(fold(key(1), name), sizes[name]!)]);
    let moments = noMoments(params);
    for (let step = 1; step <= steps; step++) {
      const gradients = tensors((name) => gradientAt(step, name));
      ({ params, moments } = adam({ params, gradients, moments, step }, options));
    }
    return Object.fromEntries(
      Object.entries(params).map(([name, w]) => [name, [...w.dataSync()]]),
    ) as unknown as tf.TensorContainerObject;
  }) as unknown as Record<string, number[]>;
}

const settings: Record<string, AdamOptions> = {
  "its defaults": {},
  "a large rate": { rate: 0.3 },
  "other betas and epsilon": { rate: 0.05, beta1: 0.5, beta2: 0.9, epsilon: 0.1 },
  "weight decay": { rate: 0.1, decay: 0.5 },
  "warm-up": { rate: 0.1, warmup: 8 },
  "annealing": { rate: 0.1, anneal: 15 },
  "clipping": { rate: 0.1, clip: 1.5, epsilon: 0.1 },
  "all together": { rate: 0.1, decay: 0.1, warmup: 5, anneal: 25, clip: 5, epsilon: 1e-3 },
};

describe("adam()", () => {
  for (const backend of ["cpu", "wasm"] as const) {
    for (const [name, options] of Object.entries(settings)) {
      it(`adam() with ${name} agrees with float64 for 20 steps on ${backend}`, async () => {
        await useBackend(backend);
        const wanted = reference(20, options), got = computed(20, options);
        for (const [weight, values] of Object.entries(wanted)) {
          values.forEach((value, i) => {
            const apart = Math.abs(got[weight]![i]! - value);
            assert.ok(apart < 3e-6, `${weight}[${i}]: ${got[weight]![i]} against ${value}`);
          });
        }
      });
    }
  }

  it("adam() takes no notice of the gradient's scale, but for epsilon", () => {
    const step = (scale: number) =>
      tf.tidy(() => {
        const params = { w: tf.tensor1d([1, 1]) },
          gradients = { w: tf.tensor1d([3 * scale, -scale]) };
        const next = adam({ params, gradients, moments: noMoments(params), step: 1 }, {
          rate: 0.1,
        });
        return [...next.params["w"]!.dataSync()].map((v) => v.toFixed(5));
      });
    assert.deepEqual(step(1), ["0.90000", "1.10000"]);
    assert.deepEqual(step(1e4), step(1));
  });

  it("adam() disposes of nothing that it was given and leaves nothing but its result", () => {
    const params = tensors(() => [1, 2]), gradients = tensors(() => [3, -4]);
    const moments = noMoments(params), before = live();
    const next = adam({ params, gradients, moments, step: 1 }, settings["all together"]);
    assert.equal(live(), before + 9);
    assert.deepEqual([...params["a"]!.dataSync(), ...gradients["a"]!.dataSync()], [1, 2, 3, -4]);
    assert.deepEqual([...moments.mean["a"]!.dataSync()], [0, 0]);
    tf.dispose([params, gradients, moments.mean, moments.square, next.params]);
    tf.dispose([next.moments.mean, next.moments.square]);
  });

  it("adam() refuses constants that are out of range", () => {
    const params = { w: tf.scalar(1) },
      moments = noMoments(params),
      before = live();
    const cases: [AdamOptions, string][] = [
      [{ rate: -1 }, "rate must be at least 0, got -1"],
      [{ rate: NaN }, "rate must be at least 0, got NaN"],
      [{ rate: Infinity }, "rate must be at least 0, got Infinity"],
      [{ beta1: 1 }, "beta1 must be in [0, 1), got 1"],
      [{ beta2: -0.1 }, "beta2 must be in [0, 1), got -0.1"],
      [{ epsilon: -1 }, "epsilon must be at least 0, got -1"],
      [{ decay: -1 }, "decay must be at least 0, got -1"],
      [{ warmup: -1 }, "warmup must be at least 0, got -1"],
      [{ anneal: 0 }, "anneal must be above 0, got 0"],
      [{ clip: 0 }, "clip must be above 0, got 0"],
    ];
    for (const [options, message] of cases) {
      assert.throws(() => adam({ params, gradients: params, moments, step: 1 }, options), {
        name: "RangeError",
        message: `Cannot make a step of Adam: ${message}`,
      });
    }
    for (const step of [0, 1.5, -1, NaN]) {
      assert.throws(() => adam({ params, gradients: params, moments, step }), {
        name: "RangeError",
        message:
          `Cannot make a step of Adam: step must be a whole number of at least 1, got ${step}`,
      });
    }
    assert.equal(live(), before);
    tf.dispose([params, moments.mean, moments.square]);
  });
});

describe("what adam() refuses", () => {
  before(() => useBackend("cpu"));

  it("byAdam() names all constants that are out of range", () => {
    assert.throws(() => byAdam({ rate: -1, beta1: 1, beta2: 0.5 }), {
      name: "RangeError",
      message:
        "Cannot make a step of Adam: rate must be at least 0, got -1; beta1 must be in [0, 1), got 1",
    });
  });

  it("adam(), adamConstants() and learningRate() refuse options that they do not know", () => {
    const wrong = { lr: 1 } as AdamOptions, params = { w: tf.scalar(1) };
    const message =
      "options must be among rate, beta1, beta2, epsilon, decay, warmup, anneal, clip, " +
      'got "lr"';
    const moments = noMoments(params), alive = live();
    for (
      const call of [
        () => adam({ params, gradients: params, moments, step: 1 }, wrong),
        () => adamConstants(1, wrong),
        () => learningRate(1, wrong),
      ]
    ) assert.throws(call, { name: "TypeError", message: `Cannot make a step of Adam: ${message}` });
    assert.equal(live(), alive);
    tf.dispose([params, moments.mean, moments.square]);
  });

  it("adam() refuses tensors of other names, or disposed of, by name", () => {
    const w = tf.scalar(1), gone = tf.scalar(1), v = tf.scalar(2);
    gone.dispose();
    const params = { w }, moments = noMoments(params), alive = live();
    const cases: [object, string][] = [
      [{ gradients: {} }, "gradients must have the weights of params, got none called w"],
      [{ gradients: { w, v } }, "gradients must have the weights of params, got also v"],
      [{ gradients: { w: gone } }, "gradients must be of tensors that are not disposed of, got w"],
      [{ params: { w: gone } }, "params must be of tensors that are not disposed of, got w"],
      [
        { moments: { ...moments, square: {} } },
        "moments.square must have the weights of params, got none called w",
      ],
    ];
    for (const [change, message] of cases) {
      assert.throws(() => adam({ params, gradients: params, moments, step: 1, ...change }), {
        name: "RangeError",
        message: `Cannot make a step of Adam: ${message}`,
      });
      assert.equal(live(), alive);
    }
    tf.dispose([w, v, moments.mean, moments.square]);
  });

  it("clipped() refuses a limit that is not above 0", () => {
    const w = tf.scalar(1), alive = live();
    for (const limit of [0, -1, NaN]) {
      assert.throws(() => clipped({ w }, limit), {
        name: "RangeError",
        message: `Cannot clip gradients: limit must be above 0, got ${limit}`,
      });
    }
    assert.equal(live(), alive);
    w.dispose();
  });
});

describe("adamConstants()", () => {
  it("adamConstants() has the step size and corrections of the step", () => {
    const { move, scale, keep, ...rest } = adamConstants(3, settings["all together"]);
    assert.deepEqual(rest, { beta1: 0.9, beta2: 0.999, epsilon: 1e-3, clip: 5 });
    const rate = learningRate(3, settings["all together"]);
    assert.ok(Math.abs(move - rate / (1 - 0.9 ** 3)) < 1e-15);
    assert.ok(Math.abs(scale * (1 - 0.999 ** 3) - 1) < 1e-12);
    assert.ok(Math.abs(keep! - (1 - 0.1 * rate)) < 1e-15);
    assert.deepEqual(Object.keys(adamConstants(1)), [
      "beta1",
      "beta2",
      "epsilon",
      "move",
      "scale",
    ]);
  });

  it("adamUpdate() takes the numbers of a step as tensors", async () => {
    await useBackend("cpu");
    tf.tidy(() => {
      const params = tensors((name) => gradientAt(5, name)), moments = noMoments(params);
      const current = { params, gradients: tensors((name) => gradientAt(6, name)), moments };
      const constants = adamConstants(2, settings["all together"]);
      const { move, scale, keep } = constants;
      const given = { move: tf.scalar(move), scale: tf.scalar(scale), keep: tf.scalar(keep!) };
      const [a, b] = [
        adamUpdate(current, constants),
        adamUpdate(current, { ...constants, ...given }),
      ];
      for (const name of Object.keys(sizes)) {
        assert.deepEqual(a.params[name]!.dataSync(), b.params[name]!.dataSync());
      }
    });
  });
});

describe("learningRate()", () => {
  it("learningRate() is constant by default, at 0.001", () => {
    assert.deepEqual([1, 10, 1e6].map((step) => learningRate(step)), [1e-3, 1e-3, 1e-3]);
  });

  it("learningRate() rises in a line over the warm-up, then stays", () => {
    const rates = [1, 2, 3, 4, 5, 50].map((step) => learningRate(step, { rate: 8, warmup: 4 }));
    assert.deepEqual(rates, [2, 4, 6, 8, 8, 8]);
  });

  it("learningRate() falls along a cosine to 0 and stays there", () => {
    const rates = [1, 30, 60, 90, 120, 500].map((step) =>
      learningRate(step, { rate: 2, anneal: 120 })
    );
    const wanted = [1 + Math.cos(Math.PI / 120), 1 + Math.SQRT1_2, 1, 1 - Math.SQRT1_2, 0, 0];
    rates.forEach((rate, i) => assert.ok(Math.abs(rate - wanted[i]!) < 1e-12));
  });

  it("learningRate() is the product of warm-up and annealing", () => {
    const options = { rate: 2, warmup: 10, anneal: 40 };
    const wanted = 2 * 0.5 * 0.5 * (1 + Math.cos(Math.PI / 8));
    assert.ok(Math.abs(learningRate(5, options) - wanted) < 1e-12);
  });
});

describe("clipped()", () => {
  before(() => useBackend("cpu"));

  const norm = (gradients: Params): number =>
    Math.hypot(...Object.values(gradients).flatMap((g) => [...g.dataSync()]));

  it("clipped() scales all gradients by one factor, down to the limit", () => {
    const gradients = tensors((name) => gradientAt(1, name)), short = clipped(gradients, 0.7);
    assert.ok(Math.abs(norm(short) - 0.7) < 1e-6);
    const factor = 0.7 / norm(gradients);
    for (const name of Object.keys(sizes)) {
      const [from, to] = [gradients[name]!.dataSync(), short[name]!.dataSync()];
      from.forEach((g, i) => assert.ok(Math.abs(to[i]! - g * factor) < 1e-6));
    }
    tf.dispose([gradients, short]);
  });

  it("clipped() leaves a shorter gradient as it is, and zeros as zeros", () => {
    const gradients = tensors((name) => gradientAt(1, name)), same = clipped(gradients, 1e3);
    for (const name of Object.keys(sizes)) {
      assert.deepEqual(same[name]!.dataSync(), gradients[name]!.dataSync());
    }
    const zeros = { w: tf.zeros([3]) }, still = clipped(zeros, 1);
    assert.deepEqual([...still["w"]!.dataSync()], [0, 0, 0]);
    tf.dispose([gradients, same, zeros, still]);
  });

  it("clipped() gives the same bits in whatever order the gradients come", async () => {
    await useBackend("wasm"); // which sums in float32
    for (let draw = 0; draw < 20; draw++) {
      tf.tidy(() => {
        const list = Array.from({ length: 9 }, (_, i): [string, tf.Tensor] => [
          `w${i}`,
          tf.tensor1d(normals(fold(fold(key(3), draw), i), 5)),
        ]);
        const gradients = Object.fromEntries(list), reversed = Object.fromEntries(list.reverse());
        const [one, other] = [clipped(gradients, 1), clipped(reversed, 1)];
        assert.deepEqual(Object.keys(other), Object.keys(reversed));
        for (const name of Object.keys(gradients)) {
          assert.deepEqual(one[name]!.dataSync(), other[name]!.dataSync());
        }
      });
    }
    await useBackend("cpu");
  });

  it("clipped() leaves no tensor behind but its result", () => {
    const gradients = tensors((name) => gradientAt(1, name)), before = live();
    tf.dispose(clipped(gradients, 1));
    assert.equal(live(), before);
    tf.dispose(gradients);
  });
});

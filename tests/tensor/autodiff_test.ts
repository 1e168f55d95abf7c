import { before, describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import fc from "fast-check";
import * as tf from "@tensorflow/tfjs-core";
import { attention, residual } from "../../src/network/layer/block.ts";
import { groupNorm } from "../../src/network/layer/norm.ts";
import { mlp } from "../../src/network/mlp.ts";
import { exp, sigmoid, silu, softmax, tanh } from "../../src/tensor/autodiff.ts";
import { useBackend } from "../../src/tensor/backend/backend.ts";
import { whole } from "../network/weights.ts";
import { cases, conv, matMul } from "./cases.ts";
import { type Case, checkSlopes } from "./differences.ts";
import { live } from "../measure.ts";

const s1 = (x: number) => 1 / (1 + Math.exp(-x));
const ds = (x: number) => s1(x) * (1 - s1(x));
const dds = (x: number) => ds(x) * (1 - 2 * s1(x));
const ddds = (x: number) => ds(x) * (1 - 6 * s1(x) + 6 * s1(x) ** 2);
const softplus = (x: number) => Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x)));
const density = (x: number) => Math.exp(-x * x / 2) / Math.sqrt(2 * Math.PI);

/** The distribution function of N(0, 1): its series (M. Abramowitz, I. Stegun, 26.2.10), which the tails do not need. */
function phi(x: number): number {
  if (Math.abs(x) > 6) return x > 0 ? 1 : 0;
  let term = x, sum = x;
  for (let n = 1; n < 200; n++) sum += (term *= -x * x / (2 * n)) / (2 * n + 1);
  return 0.5 + sum / Math.sqrt(2 * Math.PI);
}

const dt = (x: number) => 1 - Math.tanh(x) ** 2;

/** Functions of one number with their derivatives of order 0 to 3. */
const closedForms: Record<
  string,
  { f: (x: tf.Tensor) => tf.Tensor; derivatives: ((x: number) => number)[] }
> = {
  exp: { f: exp, derivatives: [Math.exp, Math.exp, Math.exp, Math.exp] },
  sigmoid: { f: sigmoid, derivatives: [s1, ds, dds, ddds] },
  tanh: {
    f: tanh,
    derivatives: [
      Math.tanh,
      dt,
      (x) => -2 * Math.tanh(x) * dt(x),
      (x) => -2 * dt(x) * (1 - 3 * Math.tanh(x) ** 2),
    ],
  },
  silu: {
    f: silu,
    derivatives: [
      (x) => x * s1(x),
      (x) => s1(x) + x * ds(x),
      (x) => 2 * ds(x) + x * dds(x),
      (x) => 3 * dds(x) + x * ddds(x),
    ],
  },
  softplus: { f: (x) => tf.softplus(tf.mul(x, 1)), derivatives: [softplus, s1, ds, dds] },
  // Of a tensor that nobody else keeps.
  logSigmoid: {
    f: (x) => tf.logSigmoid(tf.mul(x, 1)),
    derivatives: [(x) => -softplus(-x), (x) => s1(-x), (x) => -ds(x), (x) => -dds(x)],
  },
  // The first of a pair of logits x and 0 has the logarithm of its sigmoid.
  logSoftmax: {
    f: (x) =>
      tf.squeeze(tf.slice(tf.logSoftmax(tf.stack([x, tf.zerosLike(x)], 1)), [0, 0], [-1, 1]), [1]),
    derivatives: [(x) => -softplus(-x), (x) => s1(-x), (x) => -ds(x), (x) => -dds(x)],
  },
  logSumExp: {
    f: (x) => tf.logSumExp(tf.stack([x, tf.zerosLike(x)], 1), 1),
    derivatives: [softplus, s1, ds, dds],
  },
  gelu: {
    f: (x) => tf.mul(x, tf.mul(0.5, tf.add(1, tf.erf(tf.mul(x, Math.SQRT1_2))))),
    derivatives: [
      (x) => x * phi(x),
      (x) => phi(x) + x * density(x),
      (x) => (2 - x * x) * density(x),
      (x) => (x ** 3 - 4 * x) * density(x),
    ],
  },
};

function close(got: number, wanted: number, tolerance: number): void {
  assert.ok(
    Math.abs(got - wanted) <= tolerance * Math.max(1, Math.abs(wanted)),
    `${got} against ${wanted}`,
  );
}

const perceptron = mlp({ dimension: 2, width: 4, layers: 2, features: 2, classes: 2 });

/** Layers and small networks, by inputs and weights together: their Hessian holds what gradient penalties need. */
const networks: Record<string, Case> = {
  "group norm": whole(groupNorm("norm", 4, 2), [[2, 2, 2, 4]]),
  "attention": whole(attention("attention", 4, { groups: 2, heads: 2 }), [[2, 2, 2, 4]]),
  "a residual block": whole(
    residual("block", 2, 4, { groups: 2, embedding: 3 }),
    [[2, 3, 2, 2], [2, 3]],
  ),
  "a perceptron": whole(
    { ...perceptron, apply: (params, x) => perceptron.apply(params, x, [1, 3], [1, null]) },
    [[2, 2]],
  ),
};

/** The kernels of tfjs that have a gradient, and those of them whose gradient has been taken. */
const kernels = Object.values(tf).filter((name) =>
  typeof name === "string" && tf.getGradient(name) != null
) as unknown as string[];
const taken = new Set<string>();

for (const name of kernels) {
  const config = tf.getGradient(name) as { gradFunc: tf.GradFunc }, { gradFunc } = config;
  config.gradFunc = (...call) => (taken.add(name), gradFunc(...call));
}

const dims = fc.array(fc.integer({ min: 1, max: 3 }), { maxLength: 3 });

/** A shape, and another that broadcasts to it: leading axes gone, others of size 1. */
const broadcast = dims.chain((shape) =>
  fc.record({
    shape: fc.constant(shape),
    small: fc.tuple(
      fc.integer({ min: 0, max: shape.length }),
      fc.array(fc.boolean(), { minLength: shape.length, maxLength: shape.length }),
    ).map(([from, one]) => shape.map((size, i) => one[i] ? 1 : size).slice(from)),
    swap: fc.boolean(),
  })
);

const size = fc.integer({ min: 1, max: 3 });

/** Functions of random shapes. */
const properties: Record<string, fc.Arbitrary<Case>> = {
  "arithmetic with broadcasting": fc.tuple(
    broadcast,
    fc.constantFrom(tf.add, tf.sub, tf.mul, tf.div, tf.squaredDifference, tf.pow),
  ).map(([{ shape, small, swap }, f]) => ({
    f,
    shapes: swap ? [small, shape] : [shape, small],
    range: [0.8, 1.7],
  })),
  "matMul of batches with transposition": fc.tuple(
    broadcast,
    fc.tuple(size, size, size),
    fc.tuple(fc.boolean(), fc.boolean()),
  ).map(([{ shape, small, swap }, [m, k, n], [transposeA, transposeB]]) => {
    const [a, b] = swap ? [small, shape] : [shape, small];
    return {
      f: matMul(transposeA, transposeB),
      shapes: [
        [...a, ...(transposeA ? [k, m] : [m, k])],
        [...b, ...(transposeB ? [n, k] : [k, n])],
      ],
    };
  }),
  "reductions": fc.tuple(
    fc.array(size, { minLength: 1, maxLength: 4 }).chain((shape) =>
      fc.tuple(fc.constant(shape), fc.subarray(shape.map((_, i) => i), { minLength: 1 }))
    ),
    fc.constantFrom(tf.sum, tf.mean),
    fc.boolean(),
  ).map(([[shape, axes], f, keep]) => ({ f: (x) => f(x, axes, keep), shapes: [shape] })),
  "movements": fc.array(size, { minLength: 1, maxLength: 4 }).chain((shape) =>
    fc.tuple(
      fc.constant(shape),
      fc.shuffledSubarray(shape.map((_, i) => i), { minLength: shape.length }),
      fc.subarray(shape.map((_, i) => i), { minLength: 1 }),
      fc.tuple(...shape.map(() => fc.tuple(fc.nat(2), fc.nat(2)))),
      fc.tuple(...shape.map((length) => fc.nat(length - 1))),
      fc.nat(shape.length - 1),
    )
  ).map(([shape, perm, axes, paddings, begin, axis]) => ({
    f: (a, b) => {
      const joined = tf.concat([a, tf.reverse(b, axes), a], axis);
      const padded = tf.pad(joined, paddings as [number, number][]);
      return tf.transpose(tf.slice(padded, begin), perm);
    },
    shapes: [shape, shape],
  })),
  // No stride exceeds the filter: tfjs's wasm kernel pads "same" wrongly there.
  "convolutions": fc.tuple(
    fc.tuple(size, size, size),
    fc.tuple(size, size),
    fc.tuple(fc.nat(3), fc.nat(3)),
    fc.boolean(),
  ).map(([[n, stride, channels], [height, width], [more, less], same]) => {
    const [kh, kw] = [Math.max(height, stride), Math.max(width, stride)];
    return {
      f: conv(stride, same ? "same" : "valid"),
      shapes: [[n, kh + more, kw + less, channels], [kh, kw, channels, 2]],
      range: [-0.6, 0.6] as const,
    };
  }),
};

for (const backend of ["cpu", "wasm"] as const) {
  describe(`gradients on ${backend}`, () => {
    before(() => useBackend(backend));

    for (const [name, one] of Object.entries(cases)) {
      const orders = backend === "cpu" ? one.orders ?? 3 : 2;
      it(`${name} agrees with differences on ${backend} to order ${orders}`, () =>
        checkSlopes({ ...one, orders }));
    }

    for (const [name, drawn] of Object.entries(properties)) {
      it(`${name} of random shapes agree with differences on ${backend} to order 2`, () =>
        fc.assert(fc.property(drawn, (one) => checkSlopes({ ...one, orders: 2 })), {
          numRuns: 25,
          seed: 7,
        }));
    }

    for (const [name, { derivatives, f }] of Object.entries(closedForms)) {
      it(`${name}() has its closed form to third order on ${backend}`, () => {
        const points = [-30, -3, -1, -0.2, 0, 0.7, 1.9, 5];
        let derivative: (x: tf.Tensor) => tf.Tensor = f;
        for (const wanted of derivatives) {
          const got = tf.tidy(() => derivative(tf.tensor1d(points)).dataSync());
          points.forEach((x, i) => close(got[i]!, wanted(x), 3e-6));
          derivative = tf.grad(derivative);
        }
      });
    }

    it(`losses of tfjs agree with differences on ${backend} to order 3`, () => {
      const labels = tf.tensor2d([[1, 0, 0, 0], [0, 0.2, 0.8, 0]]);
      checkSlopes({
        f: (x) => tf.losses.softmaxCrossEntropy(labels, tf.mul(x, 2)),
        shapes: [[2, 4]],
      });
      checkSlopes({
        f: (x) => tf.losses.sigmoidCrossEntropy(labels, tf.mul(x, 2)),
        shapes: [[2, 4]],
      });
      checkSlopes({ f: (x) => tf.logSoftmax(tf.mul(x, 2)), shapes: [[2, 4]] });
      checkSlopes({ f: (x) => tf.logSumExp(tf.mul(x, 2), 1), shapes: [[2, 4]] });
      labels.dispose();
    });

    it(`tf.logSoftmax() has finite gradients far out on ${backend}`, () => {
      const f = (x: tf.Tensor) => tf.logSoftmax(tf.mul(x, 1));
      for (const g of [f, tf.grad(f), tf.grad((x) => tf.grad(f)(x))]) {
        const got = tf.tidy(() => g(tf.tensor2d([[-1e4, 0, 1e4], [80, -80, 80]])).dataSync());
        assert.ok(got.every(Number.isFinite), `${got}`);
      }
    });

    it(`silu() has the second derivative 0.391 at 0.7 on ${backend}`, () => {
      // tfjs's own gradients, through x * sigmoid(x), give 0.443.
      const got = tf.tidy(() => tf.grad(tf.grad(silu))(tf.scalar(0.7)).dataSync()[0]!);
      assert.equal(got.toFixed(3), "0.391");
    });

    it(`softmax() has its closed Hessian on ${backend}`, () => {
      const x = [0.3, -1.2, 2, 0.1], sum = x.reduce((total, v) => total + Math.exp(v), 0);
      const s = x.map((v) => Math.exp(v) / sum), d = (i: number, j: number) => i === j ? 1 : 0;
      for (const i of [0, 1, 2, 3]) {
        for (const j of [0, 1, 2, 3]) {
          const entry = (y: tf.Tensor, at: number) => tf.slice(y, at, 1);
          const first = tf.grad((y) => entry(softmax(y), i));
          const row = tf.tidy(() => tf.grad((y) => entry(first(y), j))(tf.tensor1d(x)).dataSync());
          x.forEach((_, k) => {
            const wanted = (d(i, j) - s[j]!) * (d(i, k) - s[k]!) - s[j]! * (d(j, k) - s[k]!);
            close(row[k]!, s[i]! * wanted, 1e-6);
          });
        }
      }
    });

    it(`the gradient of a squared gradient norm is twice Hessian times gradient on ${backend}`, () => {
      // f = Σ a x⁴: ∇f = 4 a x³, ∇‖∇f‖² = 96 a² x⁵.
      const a = [1, -2, 0.5], x = [0.5, 0.8, -1.1];
      const f = (y: tf.Tensor) => tf.sum(tf.mul(tf.tensor1d(a), tf.square(tf.square(y))));
      const got = tf.tidy(() =>
        tf.grad((y) => tf.sum(tf.square(tf.grad(f)(y))))(tf.tensor1d(x)).dataSync()
      );
      x.forEach((v, i) => close(got[i]!, 96 * a[i]! ** 2 * v ** 5, 1e-5));
    });

    it(`a gradient penalty reaches the weights of an energy in closed form on ${backend}`, () => {
      // E = Σ tanh(x·w): ∇ₓE = w·s with s = 1 - tanh²; ‖∇ₓE‖² = w²s², and its slope in w is 2ws² - 4w²xs²tanh.
      const x = 0.6, w = 1.3, t = Math.tanh(x * w), s = 1 - t * t;
      const got = tf.tidy(() =>
        tf.grad((weight) => {
          const energy = (y: tf.Tensor) => tf.sum(tanh(tf.mul(y, weight)));
          return tf.sum(tf.square(tf.grad(energy)(tf.tensor1d([x]))));
        })(tf.tensor1d([w])).dataSync()[0]!
      );
      close(got, 2 * w * s * s - 4 * w * w * x * s * s * t, 1e-6);
    });

    for (const [name, one] of Object.entries(networks)) {
      it(`second derivatives through ${name} agree with differences on ${backend}`, () =>
        checkSlopes({ ...one, orders: 2 }));
    }

    it(`products with factors of 0 have their gradients on ${backend}`, () => {
      const x = [2, 0, 3, 0], y = [2, 0, 3, 5];
      const slope = (f: (x: tf.Tensor) => tf.Tensor, at: number[]) =>
        tf.tidy(() => [...tf.grad((t) => tf.sum(f(t)))(tf.tensor1d(at)).dataSync()]);
      assert.deepEqual(slope((t) => tf.prod(t), x), [0, 0, 0, 0]);
      assert.deepEqual(slope((t) => tf.prod(t), y), [0, 30, 0, 0]);
      // x₁ + x₁x₂ + x₁x₂x₃ + x₁x₂x₃x₄
      assert.deepEqual(slope((t) => tf.cumprod(t), y), [1, 2 * (1 + 3 + 15), 0, 0]);
      assert.deepEqual(slope((t) => tf.cumprod(t, 0, true), y), [1, 2 * (1 + 3), 0, 0]);
      const second = tf.tidy(() =>
        tf.grad((u) => tf.sum(tf.grad((t) => tf.prod(t))(u)))(tf.tensor1d(x))
      );
      // Σ over i ≠ j of the product of the other two.
      assert.deepEqual([...second.dataSync()], [0, 6, 0, 6]);
      second.dispose();
    });

    it(`max() shares its gradient evenly between equal elements on ${backend}`, () => {
      const got = tf.tidy(() => tf.grad((x) => tf.max(x))(tf.tensor1d([2, 1, 2])).dataSync());
      assert.deepEqual([...got], [0.5, 0, 0.5]);
    });

    it(`smooth functions stay finite far out on ${backend}`, () => {
      for (const f of [sigmoid, tanh, silu, softmax]) {
        const second = tf.grad((x) => tf.grad(f)(x));
        for (const g of [f, tf.grad(f), second]) {
          const got = tf.tidy(() => g(tf.tensor1d([-1e4, -80, 80, 1e4])).dataSync());
          assert.ok(got.every(Number.isFinite), `${got}`);
        }
      }
    });

    it(`gradients of gradients leave no tensors behind on ${backend}`, () => {
      const x = tf.tensor2d([[0.1, 0.2]]), alive = live();
      for (const f of [exp, sigmoid, tanh, silu, softmax]) {
        tf.dispose([f(x), tf.grad(tf.grad(tf.grad(f)))(x)]);
      }
      assert.equal(live(), alive);
    });
  });
}

describe("the tables of gradients", () => {
  it("the tables have no kernel whose gradient is not taken in the tests above", () => {
    assert.ok(kernels.length > 55, `${kernels.length}`);
    assert.deepEqual(kernels.filter((name) => !taken.has(name)), []);
  });

  it("a dilated convolution refuses to be differentiated, which would go wrong in silence", () => {
    const f = (x: tf.Tensor) =>
      tf.conv2d(x as tf.Tensor4D, tf.ones([2, 2, 1, 1]), 1, "same", "NHWC", 2);
    tf.tidy(() =>
      assert.throws(() => tf.grad(f)(tf.ones([1, 4, 4, 1])), {
        name: "RangeError",
        message: "Cannot differentiate a convolution: dilations must be 1, got 2",
      })
    );
  });

  it("a convolution of NCHW refuses to be differentiated", async () => {
    await useBackend("cpu");
    const attrs = { strides: [1, 1], pad: "same", dataFormat: "NCHW", dilations: [1, 1] };
    const config = tf.getGradient("Conv2D"), x = tf.ones([1, 1, 2, 2]);
    assert.throws(
      () => (config.gradFunc(x, [x, x], attrs)["x"] as () => tf.Tensor)(),
      /dataFormat must be NHWC, got NCHW/,
    );
    x.dispose();
  });

  it("a gradient that is not here is refused, which would go wrong in silence", () => {
    const matrix = tf.ones([2, 2]), places = tf.zeros([2, 1], "int32");
    const image = tf.ones([1, 4, 1, 1]) as tf.Tensor4D;
    const refused: [f: (x: tf.Tensor) => tf.Tensor, x: tf.Tensor, message: string][] = [
      [(x) => tf.gather(x, places, 1, 1), matrix, "batchDims of gather() must be 0, got 1"],
      [
        (x) => tf.stridedSlice(x, [0, 0], [1, 2], [1, 1], 0, 0, 0, 0, 1),
        matrix,
        "shrinkAxisMask of stridedSlice() must be 0, got 1",
      ],
    ];
    for (const [f, x, message] of refused) {
      tf.tidy(() =>
        assert.throws(() => tf.grad(f)(x), {
          name: "RangeError",
          message: `Cannot differentiate: ${message}`,
        })
      );
    }
    const { gradFunc } = tf.getGradient("DepthToSpace");
    assert.throws(
      () => gradFunc(image, [], { blockSize: 2, dataFormat: "NCHW" }),
      /dataFormat of depthToSpace\(\) must be NHWC, got NCHW/,
    );
    tf.dispose([matrix, places, image]);
  });

  it("importing registers nothing over a gradient that somebody has registered", async () => {
    const [sin, cos] = ["Sin", "Cos"].map((name) => tf.getGradient(name)) as [
      tf.GradConfig,
      tf.GradConfig,
    ];
    const own: tf.GradConfig = {
      kernelName: "Sin",
      gradFunc: (dy) => ({ x: () => dy as tf.Tensor }),
    };
    tf.unregisterGradient("Sin");
    tf.unregisterGradient("Cos");
    try {
      tf.registerGradient(own);
      // Under another address the module runs again.
      await import(new URL("../../src/tensor/autodiff.ts?again", import.meta.url).href);
      assert.equal(tf.getGradient("Sin"), own);
      assert.notEqual(tf.getGradient("Cos"), undefined);
    } finally {
      for (const config of [sin, cos]) {
        tf.unregisterGradient(config.kernelName);
        tf.registerGradient(config);
      }
    }
  });

  it("smooth functions are right at third order under tfjs's own gradients, which are not", () => {
    // As tfjs has them: each saves its output, and a later gradient loses that path.
    const own: Record<string, [input: string, vjp: (dy: tf.Tensor, y: tf.Tensor) => tf.Tensor]> = {
      Exp: ["x", (dy, y) => tf.mul(dy, y)],
      Sigmoid: ["x", (dy, y) => tf.mul(dy, tf.mul(y, tf.sub(1, y)))],
      Tanh: ["x", (dy, y) => tf.mul(tf.sub(1, tf.square(y)), dy)],
      Softmax: ["logits", (dy, y) => tf.mul(y, tf.sub(dy, tf.sum(tf.mul(dy, y), -1, true)))],
    };
    const ours = Object.keys(own).map((name) => tf.getGradient(name));
    try {
      for (const [kernelName, [input, vjp]] of Object.entries(own)) {
        tf.unregisterGradient(kernelName);
        tf.registerGradient({
          kernelName,
          outputsToSave: [true],
          gradFunc: (dy, [y]) => ({ [input]: () => vjp(dy as tf.Tensor, y!) }),
        });
      }
      const plain = (x: tf.Tensor) => tf.mul(x, tf.sigmoid(x));
      const wrong = tf.tidy(() => tf.grad(tf.grad(plain))(tf.scalar(0.7)).dataSync()[0]!);
      assert.equal(wrong.toFixed(3), "0.443");
      for (const f of [exp, sigmoid, tanh, silu]) {
        checkSlopes({ f, shapes: [[5]], orders: 3 });
      }
      checkSlopes({ f: softmax, shapes: [[2, 4]], orders: 3 });
    } finally {
      for (const config of ours) {
        tf.unregisterGradient(config.kernelName);
        tf.registerGradient(config);
      }
    }
  });
});

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import * as tf from "@tensorflow/tfjs-core";
import { sigmoid } from "../../src/tensor/autodiff.ts";
import * as ort from "onnxruntime-node";
import { useBackend } from "../../src/tensor/backend/backend.ts";
import type { Pure, Tensors } from "../../src/tensor/engine.ts";
import { compiler } from "../../src/engine/compile/compile.ts";
import { type Ort, sessions } from "../../src/engine/runtime/session.ts";
import { lowerings } from "../../src/engine/compile/backend.ts";
import { type Case, cases, type Chance, chance } from "./cases.ts";

await useBackend("cpu");

const engine = compiler(sessions(ort as unknown as Ort, { threads: 1 }), { shapes: 1 });

/** How an input may lie when a kernel meets it. */
type Lie = "plain" | "turned" | "spread";

/** The same function of inputs that lie otherwise: with their axes reversed in memory, or spread from one of their slices. */
function lain({ inputs, fn, by = [] }: Case, r: Chance): Case {
  const lies = Object.fromEntries(
    Object.keys(inputs).map((
      name,
    ) => [name, (["plain", "turned", "spread"] as const)[Math.floor(3 * r())]!]),
  );
  const given = Object.fromEntries(
    Object.entries(inputs).map(([name, x]) => [name, given1(x, lies[name]!)]),
  );
  const seen = (all: Tensors): Record<string, tf.Tensor> =>
    Object.fromEntries(
      Object.entries(all).map(([name, x]) => [name, seen1(x, inputs[name]!.shape, lies[name]!)]),
    );
  return { inputs: given, fn: (all) => fn(seen(all)), by };
}

const reversed = (rank: number): number[] => Array.from({ length: rank }, (_, i) => rank - 1 - i);

function given1(x: tf.Tensor, lie: Lie): tf.Tensor {
  if (lie === "turned") return tf.transpose(x, reversed(x.rank));
  if (lie === "spread" && x.rank > 0) {
    return tf.slice(x, x.shape.map(() => 0), [...x.shape.slice(0, -1), 1]);
  }
  return tf.clone(x);
}

function seen1(x: tf.Tensor, shape: number[], lie: Lie): tf.Tensor {
  if (lie === "turned") return tf.transpose(x, reversed(x.rank));
  if (lie !== "spread" || shape.length === 0) return x;
  if (x.dtype === "float32") return tf.mul(x, tf.fill(shape, 1));
  return tf.tile(x, shape.map((size, i) => i === shape.length - 1 ? size : 1));
}

/** The gradient of a weighed sum of all outputs, as a function. */
const gradient = (fn: Pure, by: readonly string[]): Pure => (all) => {
  const total = (...xs: tf.Tensor[]): tf.Scalar => {
    const outputs = Object.values(
      fn({ ...all, ...Object.fromEntries(by.map((name, i) => [name, xs[i]!])) }),
    );
    const sums = outputs.map((y, i) => tf.sum(tf.mul(tf.mul(y, y), i + 0.5)));
    return tf.addN(sums) as tf.Scalar;
  };
  const grads = tf.grads(total)(by.map((name) => all[name]!));
  return Object.fromEntries(grads.map((grad, i) => [by[i]!, grad]));
};

async function compare(fn: Pure, inputs: Tensors, what: string): Promise<void> {
  const wanted = tf.tidy(() => fn(inputs)), compiled = engine.compile(fn);
  const got = await compiled.run(inputs);
  await compiled.dispose();
  assert.deepEqual(Object.keys(got).sort(), Object.keys(wanted).sort(), what);
  for (const [name, tensor] of Object.entries(wanted)) {
    assert.deepEqual(got[name]!.shape, tensor.shape, `${what}: shape of ${name}`);
    assert.equal(got[name]!.dtype, tensor.dtype, `${what}: type of ${name}`);
    const a = await got[name]!.data(), b = await tensor.data();
    b.forEach((x, i) => {
      const close = Object.is(a[i], x) || Math.abs(a[i]! - x) <= 2e-5 * (1 + Math.abs(x));
      assert.ok(close, `${what}: ${name}[${i}] is ${a[i]}, must be ${x}`);
    });
  }
  tf.dispose([wanted, got]);
}

const draws = 12;

describe("lowerings", () => {
  for (const [kernel, make] of Object.entries(cases)) {
    it(`${kernel} compiled is ${kernel} on the cpu backend, with its gradients`, async () => {
      for (let seed = 0; seed < draws; seed++) {
        const r = chance(1000 * seed + kernel.length),
          plain = make(r),
          { inputs, fn, by = [] } = lain(plain, r);
        const what = `seed ${seed}, ${Object.entries(inputs).map(([n, x]) => `${n} [${x.shape}]`)}`;
        await compare(fn, inputs, what);
        if (by.length > 0) await compare(gradient(fn, by), inputs, `gradient, ${what}`);
        tf.dispose([plain.inputs, inputs]);
      }
    });
  }

  it("third derivatives compiled are those of the cpu backend, also of what tfjs differentiates wrongly", async () => {
    const thrice = (f: (x: tf.Tensor) => tf.Tensor): Pure => ({ x }) => {
      const first = tf.grad((y) => tf.sum(f(y))), second = tf.grad((y) => tf.sum(first(y)));
      return { third: tf.grad((y) => tf.sum(tf.mul(second(y), y)))(x!), second: second(x!) };
    };
    const x = tf.tensor2d([[-3, -1, -0.2], [0, 0.7, 1.9]]);
    const functions: ((x: tf.Tensor) => tf.Tensor)[] = [
      (x) => tf.logSigmoid(tf.mul(x, 2)),
      (x) => tf.mul(tf.logSoftmax(tf.mul(x, 2)), x),
      (x) => tf.softplus(tf.mul(x, 2)),
      (x) => tf.tanh(tf.mul(x, 0.5)),
    ];
    for (const [i, f] of functions.entries()) await compare(thrice(f), { x }, `function ${i}`);
    x.dispose();
  });

  it("hold at NaN, at infinities, far from 0, and of nothing", async () => {
    const far = tf.tensor1d([-100, -60, -20, -17, -14, -8, 0, 9, 20]);
    const wide = tf.tensor1d([-Infinity, -2, -0, 0, 3, Infinity, NaN]);
    const gaps = tf.tensor2d([[1, NaN, 2], [NaN, 4, 3], [5, 6, NaN], [7, -Infinity, Infinity]]);
    const dividends = tf.tensor1d([5.5, -5.5, 1e10, 1e7, -1e-40, 6, -6, 0, 7.25]);
    const divisors = tf.tensor1d([1.1, 1.1, 3, 2 * Math.PI, 2, -4, 4, 5, -2]);
    const low = tf.fill([1, 4, 4, 8], -Infinity), none = tf.zeros([0, 3]);
    const slope = (f: (x: tf.Tensor) => tf.Tensor) => tf.grad((x: tf.Tensor) => tf.sum(f(x)));
    const functions: readonly [string, Pure][] = [
      ["logarithms of the sigmoid", ({ far }) => ({
        y: tf.log(tf.sigmoid(tf.slice(far!, 1))),
        slope: slope((x) => tf.log(tf.sigmoid(x)))(tf.slice(far!, 2)),
        smooth: slope((x) => tf.log(sigmoid(x)))(tf.slice(far!, 2)),
      })],
      ["sigmoids, of their own size", ({ far }) => ({
        y: tf.mul(tf.sigmoid(far!), tf.exp(tf.minimum(tf.neg(far!), 80))),
      })],
      ["extremes", ({ gaps }) => ({
        all: tf.max(gaps!),
        rows: tf.max(gaps!, 1),
        columns: tf.min(gaps!, 0, true),
        some: tf.min(tf.slice(gaps!, [3, 0], [1, 3])),
      })],
      ["steps", ({ wide }) => ({
        step: tf.step(wide!),
        leak: tf.step(wide!, 0.5),
        relu: slope(tf.relu)(tf.slice(wide!, 0, 6)),
        leaky: slope((x) => tf.leakyRelu(x, 0.2))(tf.slice(wide!, 0, 6)),
        relu6: slope(tf.relu6)(tf.slice(wide!, 0, 6)),
        second: slope(slope(tf.relu))(tf.slice(wide!, 0, 6)),
      })],
      ["remainders", ({ dividends, divisors }) => ({ y: tf.mod(dividends!, divisors!) })],
      ["pools", ({ low }) => ({
        same: tf.maxPool(low as tf.Tensor4D, 2, 2, "same"),
        one: tf.maxPool(tf.slice(low!, [0, 0, 0, 0], [1, 4, 4, 1]) as tf.Tensor4D, 3, 1, "valid"),
        inBlocks: tf.maxPool(
          tf.add(
            tf.conv2d(tf.zeros<tf.Rank.R4>([1, 4, 4, 8]), tf.ones([1, 1, 8, 8]), 1, "same"),
            low!,
          ) as tf.Tensor4D,
          2,
          2,
          "valid",
        ),
      })],
      ["nothing", ({ none }) => ({
        wide: tf.concat([none!, none!], 1),
        long: tf.concat([none!, tf.ones([2, 3]), none!], 0),
        stacked: tf.stack([none!, none!]),
        any: tf.any(tf.cast(none!, "bool")),
        all: tf.all(tf.cast(none!, "bool"), 0),
        mean: tf.mean(none!, 0),
        kept: tf.mean(none!, 0, true),
        sum: tf.sum(none!, 0),
      })],
    ];
    const inputs = { far, wide, gaps, dividends, divisors, low, none };
    for (const [what, fn] of functions) await compare(fn, inputs, what);
    tf.dispose(inputs);
  });

  it("take tensors whose numbers lie in the array of another type", async () => {
    const hot = tf.cast(tf.oneHot(tf.tensor1d([1, 0], "int32"), 2), "float32");
    const flags = tf.cast(tf.tensor1d([true, false], "bool"), "float32");
    await compare(({ hot, flags }) => ({ y: tf.matMul(hot!, tf.reshape(flags!, [2, 1])) }), {
      hot,
      flags,
    }, "cast");
    tf.dispose([hot, flags]);
  });

  it("have a case each, and no case is without", () => {
    assert.deepEqual(Object.keys(cases).sort(), Object.keys(lowerings).sort());
  });

  it("each case calls the kernel that it is named for", async () => {
    for (const [kernel, make] of Object.entries(cases)) {
      const { inputs, fn } = make(chance(1));
      const { kernels } = await tf.profile(() => fn(inputs));
      assert.ok(
        kernels.some(({ name }) => name === kernel),
        `${kernel}: ${kernels.map(({ name }) => name)}`,
      );
    }
  });
});

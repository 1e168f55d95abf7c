import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import fc from "fast-check";
import * as tf from "@tensorflow/tfjs-core";
import { useBackend } from "../../src/tensor/backend/backend.ts";
import { key, split } from "../../src/tensor/key.ts";
import { normal } from "../../src/tensor/random.ts";
import { edm, rectified, subVp, ve, vp } from "../../src/noise/schedule/continuous.ts";
import { betas, cosine, linear, zeroTerminalSnr } from "../../src/noise/schedule/discrete.ts";
import type { Schedule } from "../../src/noise/schedule/schedule.ts";
import { between, diffuse, jump, jumpMany } from "../../src/noise/forward.ts";
import { live, near } from "../measure.ts";

await useBackend("cpu");

const close = (a: ArrayLike<number>, b: readonly number[], tolerance: number): void => {
  assert.equal(a.length, b.length);
  b.forEach((value, i) => near(a[i]!, value, tolerance));
};

/** Mean and variance of numbers. */
function moments(values: ArrayLike<number>): { mean: number; variance: number } {
  const list = Array.from(values), mean = list.reduce((a, b) => a + b, 0) / list.length;
  return { mean, variance: list.reduce((a, b) => a + (b - mean) ** 2, 0) / (list.length - 1) };
}

describe("jump()", () => {
  it("jump() is alpha·x0 + sigma·eps and keeps one tensor", () => {
    const x0 = tf.tensor([[1, -2], [3, 0.5]]), eps = tf.tensor([[0.5, 1], [-1, 2]]);
    const before = live(), xt = jump(x0, { alpha: 0.8, sigma: 0.6 }, eps);
    assert.equal(live(), before + 1);
    close(xt.dataSync(), [1.1, -1, 1.8, 1.6], 1e-6);
    assert.deepEqual(xt.shape, [2, 2]);
    tf.dispose([x0, eps, xt]);
  });

  it("jump() at the ends is the data and the noise", () => {
    const x0 = tf.tensor([1, -2, 3]), eps = tf.tensor([7, 8, 9]);
    const { at } = zeroTerminalSnr(linear());
    close(jump(x0, at(0), eps).dataSync(), [1, -2, 3], 0);
    close(jump(x0, at(1000), eps).dataSync(), [7, 8, 9], 0);
  });

  it("jump() refuses noise of another shape, even one that would broadcast", () => {
    const x0 = tf.zeros([2, 3]);
    [[3], [2, 1], [3, 2], [1, 2, 3], [2, 3, 1]].forEach((shape) =>
      assert.throws(
        () => jump(x0, { alpha: 1, sigma: 1 }, tf.zeros(shape)),
        (error) =>
          error instanceof RangeError && /eps must be of shape \[2,3\]/.test(error.message),
      )
    );
  });
});

describe("jumpMany()", () => {
  it("jumpMany() is jump() for each row at its own level, whatever the rank", () => {
    const { at } = cosine(), levels = [1, 500, 1000].map(at);
    [[3], [3, 4], [3, 2, 2, 1]].forEach((shape) => {
      const [a, b] = split(key(5)), x0 = normal(a!, shape), eps = normal(b!, shape);
      const before = live(), xt = jumpMany(x0, levels, eps);
      assert.equal(live(), before + 1);
      assert.deepEqual(xt.shape, shape);
      levels.forEach((level, i) => {
        const row = (x: tf.Tensor): tf.Tensor => tf.slice(x, i, 1);
        const wanted = jump(row(x0), level, row(eps));
        close(row(xt).dataSync(), Array.from(wanted.dataSync()), 1e-6);
      });
    });
  });

  it("jumpMany() refuses a number of levels that is not the number of samples", () => {
    const x = tf.zeros([3, 2]), level = { alpha: 1, sigma: 1 };
    [1, 2, 4].forEach((count) =>
      assert.throws(
        () => jumpMany(x, Array(count).fill(level), x),
        (error) =>
          error instanceof RangeError &&
          error.message ===
            `Cannot jump: levels must be one for each of 3 samples, got ${count}`,
      )
    );
    assert.throws(
      () => jumpMany(x, Array(3).fill(level), tf.zeros([3, 1])),
      /eps must be of shape/,
    );
  });
});

describe("between()", () => {
  const schedules = [linear(), cosine(), vp(), subVp(), ve(), ve({ fromZero: true }), edm()];

  it("between() one step of a discrete schedule is N(√(1 − beta)·x, beta·I)", () => {
    const schedule = linear(), list = betas(schedule);
    [1, 2, 100, 500, 1000].forEach((t) => {
      const { scale, std } = between(schedule.at(t - 1), schedule.at(t));
      near(scale ** 2, 1 - list[t - 1]!, 1e-13);
      near(std ** 2, 1e-4 + 0.0199 * (t - 1) / 999, 1e-13);
    });
  });

  it("between() composes: s to u is s to t, then t to u", () => {
    const shares = fc.array(fc.double({ min: 0, max: 1, noNaN: true }), {
      minLength: 3,
      maxLength: 3,
    });
    fc.assert(fc.property(fc.constantFrom(...schedules), shares, ({ at, span }, us) => {
      const [s, t, u] = us.sort((a, b) => a - b).map((x) => at(span[0] + x * (span[1] - span[0])));
      const first = between(s!, t!), second = between(t!, u!), whole = between(s!, u!);
      near(second.scale * first.scale, whole.scale, 1e-12);
      const variance = second.scale ** 2 * first.std ** 2 + second.std ** 2;
      near(variance, whole.std ** 2, 1e-11 * u!.sigma ** 2 + 1e-15);
      // And from the data it is the marginal.
      near(whole.scale * s!.alpha, u!.alpha, 1e-14);
      near(whole.scale ** 2 * s!.sigma ** 2 + whole.std ** 2, u!.sigma ** 2, 1e-11 * u!.sigma ** 2);
    }));
  });

  it("between() a level and itself is the identity, though rounding says otherwise", () => {
    const level = fc.record({
      alpha: fc.double({ min: 1e-6, max: 1, noNaN: true }),
      sigma: fc.double({ min: 0, max: 100, noNaN: true }),
    });
    fc.assert(fc.property(level, (s) => {
      assert.deepEqual(between(s, s), { scale: 1, std: 0 });
    }));
    // alpha/alpha·sigma through a level that differs in the last digit only.
    const s = { alpha: 0.3, sigma: 0.7 };
    assert.equal(between(s, { alpha: 0.3, sigma: 0.7 * (1 - 2e-16) }).std, 0);
  });

  it("between() refuses to go towards the data, and from alpha 0", () => {
    schedules.forEach(({ at, span: [least, most] }: Schedule) => {
      const middle = least + 0.5 * (most - least), early = least + 0.4 * (most - least);
      assert.throws(
        () => between(at(middle), at(early)),
        (error) => error instanceof RangeError && /sigma_t must be at least/.test(error.message),
      );
    });
    assert.throws(
      () => between({ alpha: 0, sigma: 1 }, { alpha: 0, sigma: 1 }),
      (error) =>
        error instanceof RangeError && /alpha_s must be above 0, got 0$/.test(error.message),
    );
    assert.throws(() => between({ alpha: 1, sigma: 0 }, { alpha: 1, sigma: NaN }), RangeError);
    assert.throws(() => between({ alpha: 1, sigma: 0 }, { alpha: 1, sigma: Infinity }), {
      name: "RangeError",
      message: /^Cannot go from s to t: the levels must be finite numbers, got /,
    });
  });

  it("between() takes times that differ in their last digits for the same", () => {
    for (const { at } of [vp(), rectified()]) {
      const { scale, std } = between(at(0.1 * 3), at(0.3));
      assert.ok(Math.abs(scale - 1) < 1e-15 && std < 1e-7);
    }
  });

  it("jump() and jumpMany() refuse a level that is not finite", () => {
    const x = tf.ones([2, 1]), eps = tf.ones([2, 1]), count = live();
    for (const wrong of [{ alpha: NaN, sigma: 1 }, { alpha: 1, sigma: Infinity }]) {
      const message = /^Cannot jump: (alpha|sigma) must be a finite number, got /;
      assert.throws(() => jump(x, wrong, eps), { name: "RangeError", message });
      assert.throws(() => jumpMany(x, [{ alpha: 1, sigma: 0 }, wrong], eps), { message });
    }
    assert.equal(live(), count);
    tf.dispose([x, eps]);
  });
});

describe("diffuse()", () => {
  it("diffuse() is scale·x_s + std·eps and keeps one tensor", () => {
    const s = { alpha: 1, sigma: 3 }, t = { alpha: 0.5, sigma: 2.5 };
    const x = tf.tensor([2, 4]), eps = tf.tensor([1, -1]), before = live();
    const xt = diffuse(x, s, t, eps);
    assert.equal(live(), before + 1);
    close(xt.dataSync(), [3, 0], 1e-6);
    assert.throws(() => diffuse(x, t, s, eps), RangeError);
    assert.throws(() => diffuse(x, s, t, tf.zeros([1])), /eps must be of shape \[2\]/);
  });

  it("diffuse() in many steps has the mean and variance of jump() in one: |z| < 4", () => {
    const count = 20000, x0 = 2, { at } = linear({ steps: 25, betaStart: 0.02, betaEnd: 0.2 });
    const chain = split(key(11), 25).reduce((x, under, i) => {
      const eps = normal(under, [count]), next = diffuse(x, at(i), at(i + 1), eps);
      tf.dispose([x, eps]);
      return next;
    }, tf.fill([count], x0) as tf.Tensor);
    const { mean, variance } = moments(chain.dataSync()), { alpha, sigma } = at(25);
    chain.dispose();
    const zMean = (mean - alpha * x0) / (sigma / Math.sqrt(count));
    const zVariance = (variance - sigma ** 2) / (sigma ** 2 * Math.sqrt(2 / (count - 1)));
    assert.ok(Math.abs(zMean) < 4 && Math.abs(zVariance) < 4, `z ${zMean}, ${zVariance}`);
  });

  it("diffuse() of unit-variance data stays at unit variance under vp(): |z| < 4", () => {
    const count = 20000, { at } = vp(), [a, b, c] = split(key(12), 3);
    const s = jump(normal(a!, [count]), at(0.2), normal(b!, [count]));
    const { variance } = moments(diffuse(s, at(0.2), at(0.6), normal(c!, [count])).dataSync());
    const z = (variance - 1) / Math.sqrt(2 / (count - 1));
    assert.ok(Math.abs(z) < 4, `z ${z}`);
  });

  it("diffuse() along rectified() ends at pure noise", () => {
    const { at } = rectified();
    close(diffuse(tf.tensor([5]), at(0.5), at(1), tf.tensor([0.25])).dataSync(), [0.25], 0);
  });
});

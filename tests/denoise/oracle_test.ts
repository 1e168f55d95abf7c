import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import fc from "fast-check";
import * as tf from "@tensorflow/tfjs-core";
import { useBackend } from "../../src/tensor/backend/backend.ts";
import { rectified, ve, vp } from "../../src/noise/schedule/continuous.ts";
import { linear } from "../../src/noise/schedule/discrete.ts";
import type { Level, Schedule } from "../../src/noise/schedule/schedule.ts";
import { convert } from "../../src/denoise/prediction.ts";
import { dataset } from "../../src/denoise/oracle/dataset.ts";
import { gaussian, mixture } from "../../src/denoise/oracle/gaussian.ts";
import {
  type Mixture,
  mixtureDenoiser,
  mixtureLogDensity,
  mixtureScore,
  mixtureShares,
} from "../../src/denoise/oracle/mixture.ts";
import { live, near } from "../measure.ts";

await useBackend("cpu");

const allNear = (actual: ArrayLike<number>, wanted: ArrayLike<number>, tolerance: number): void => {
  assert.equal(actual.length, wanted.length);
  Array.from(actual).forEach((value, i) => near(value, wanted[i]!, tolerance));
};

/** A mixture with every feature: three components, unequal weights, a variance a dimension, one, and none. */
const law: Mixture = {
  means: [[-1, 2], [0.5, 0], 1.5],
  variances: [[0.3, 0.1], 0.5, 0],
  weights: [1, 2, 5],
};

/** A schedule of one level. */
const fixed = (level: Level): Schedule => ({ ...ve(), at: () => level });

const levels: fc.Arbitrary<Level> = fc.record({
  alpha: fc.double({ min: 0.1, max: 1, noNaN: true }),
  sigma: fc.double({ min: 0.2, max: 3, noNaN: true }),
});
const points = fc.array(fc.double({ min: -3, max: 3, noNaN: true }), {
  minLength: 2,
  maxLength: 2,
});

describe("mixture on plain numbers", () => {
  it("mixtureScore() is the gradient of mixtureLogDensity()", () => {
    const logDensity = mixtureLogDensity(law), score = mixtureScore(law), step = 1e-5;
    fc.assert(fc.property(points, levels, (x, level) => {
      const moved = (i: number, by: number) => x.map((xi, j) => i === j ? xi + by : xi);
      const slope = x.map((_, i) =>
        (logDensity(moved(i, step), level) - logDensity(moved(i, -step), level)) / (2 * step)
      );
      slope.forEach((value, i) => near(score(x, level)[i]!, value, 1e-6 * (1 + Math.abs(value))));
    }));
  });

  it("mixtureDenoiser() and mixtureScore() obey Tweedie's formula", () => {
    const denoiser = mixtureDenoiser(law), score = mixtureScore(law);
    fc.assert(fc.property(points, levels, (x, level) => {
      const s = score(x, level), best = denoiser(x, level);
      best.forEach((value, i) =>
        near(value, (x[i]! + level.sigma ** 2 * s[i]!) / level.alpha, 1e-11 / level.alpha ** 2)
      );
    }));
  });

  it("mixtureDenoiser() and mixtureLogDensity() agree with quadrature over x_0", () => {
    const parts = { means: [-1, 1.5], variances: [0.2, 0.6], weights: [3, 7] };
    const level = { alpha: 0.7, sigma: 0.9 }, x = 0.4, width = 0.005;
    const normal = (y: number, m: number, v: number): number =>
      Math.exp(-((y - m) ** 2) / (2 * v)) / Math.sqrt(2 * Math.PI * v);
    const sums = [0, 0];
    for (let x0 = -12; x0 < 12; x0 += width) {
      const prior = 0.3 * normal(x0, -1, 0.2) + 0.7 * normal(x0, 1.5, 0.6);
      const joint = prior * normal(x, 0.7 * x0, 0.81) * width;
      sums[0]! += joint;
      sums[1]! += joint * x0;
    }
    near(mixtureLogDensity(parts)([x], level), Math.log(sums[0]!), 1e-11);
    near(mixtureDenoiser(parts)([x], level)[0]!, sums[1]! / sums[0]!, 1e-11);
  });

  it("mixtureDenoiser() of noise alone moves uphill: log p rises by at least sigma²·|score|²/2", () => {
    const logDensity = mixtureLogDensity(law),
      denoiser = mixtureDenoiser(law),
      score = mixtureScore(law);
    fc.assert(fc.property(points, levels, (x, { sigma }) => {
      const level = { alpha: 1, sigma },
        rise = logDensity(denoiser(x, level), level) - logDensity(x, level);
      const square = score(x, level).reduce((sum, value) => sum + value ** 2, 0);
      assert.ok(rise >= sigma ** 2 * square / 2 - 1e-11 * (1 + square));
    }));
  });

  it("mixtureShares() sum to 1 and are the weights where x_t tells nothing", () => {
    const shares = mixtureShares(law);
    fc.assert(
      fc.property(points, levels, (x, level) =>
        near(
          shares(x, level).reduce((a, b) => a + b, 0),
          1,
          1e-12,
        )),
    );
    allNear(shares([0.3, 9], { alpha: 0, sigma: 2 }), [1 / 8, 2 / 8, 5 / 8], 1e-14);
  });

  it("mixtureDenoiser() of two points is a hyperbolic tangent", () => {
    const level = { alpha: 0.6, sigma: 0.8 };
    for (const x of [-2, -0.1, 0.7]) {
      const wanted = 3 * Math.tanh(0.6 * 3 * x / 0.64);
      near(mixtureDenoiser({ means: [-3, 3] })([x], level)[0]!, wanted, 1e-14);
    }
  });

  it("mixtureDenoiser() stays finite with hardly any noise and far from all data", () => {
    const level = { alpha: 1, sigma: 1e-3 };
    near(mixtureDenoiser({ means: [-1, 1] })([500], level)[0]!, 1, 1e-12);
    assert.ok(Number.isFinite(mixtureLogDensity({ means: [-1, 1] })([500], level)));
    near(mixtureScore({ means: [-1, 1] })([500], level)[0]!, -499e6, 1e-3);
  });

  it("mixtureDenoiser() at the data is x/alpha and at pure noise the mean of the data", () => {
    assert.deepEqual(mixtureDenoiser(law)([3, 4], { alpha: 0.5, sigma: 0 }), [6, 8]);
    const mean = [(-1 + 1 + 7.5) / 8, (2 + 0 + 7.5) / 8];
    allNear(mixtureDenoiser(law)([3, 4], { alpha: 0, sigma: 1 }), mean, 1e-14);
  });

  it("mixtureLogDensity() refuses what is no mixture", () => {
    const refused = (wrong: Mixture, message: RegExp): void =>
      assert.throws(() => mixtureLogDensity(wrong), { name: "RangeError", message });
    refused({ means: [] }, /at least one component, got 0$/);
    refused({ means: [0, 1], weights: [1] }, /weights must be one for each of 2 means, got 1$/);
    refused({ means: [0], weights: [0] }, /weights must be finite and above 0, got 0$/);
    refused({ means: [0], variances: [[1, -1]] }, /variances must be .* got -1$/);
    refused({ means: [NaN] }, /means must be finite, got NaN$/);
    refused({ means: [[1, 2], [1, 2, 3]] }, /of one length, got 2 and 3$/);
    assert.throws(
      () => mixtureScore(law)([1], { alpha: 1, sigma: 1 }),
      /x must be of 2 dim.*got 1$/,
    );
  });
});

/** A batch of samples spread over the plane. */
const grid = [[-2, 0.5], [0.3, -1], [1.4, 1.6], [4, -3]];

describe("gaussian", () => {
  it("gaussian() is the one-component mixture, at every level of several schedules", () => {
    const parts = { mean: [1, -2], variance: [0.25, 3] };
    const denoiser = mixtureDenoiser({ means: [parts.mean], variances: [parts.variance] });
    for (const schedule of [linear(), vp(), ve(), rectified()]) {
      const model = gaussian(schedule, parts), [start, end] = schedule.span;
      for (const share of [0, 0.1, 0.5, 1]) {
        const t = start + share * (end - start), level = schedule.at(t);
        const { kind, value } = model.predict(tf.tensor(grid), t);
        const wanted = grid.flatMap((x) => denoiser(x, level));
        assert.equal(kind, "x0");
        allNear(value.dataSync(), wanted, 2e-6 * Math.max(...wanted.map(Math.abs), 1));
      }
    }
  });

  it("gaussian() takes one mean and variance for samples of any shape, N(0, 1) unless told", () => {
    const schedule = fixed({ alpha: 0.6, sigma: 0.8 }), x = tf.fill([2, 3, 3, 1], 2);
    const { value } = gaussian(schedule).predict(x, 1);
    assert.deepEqual(value.shape, x.shape);
    near(value.dataSync()[0]!, 0.6 * 2, 1e-6);
    const spread = 0.36 * 0.25 + 0.64, wanted = (0.64 * 3 + 0.6 * 0.25 * 2) / spread;
    const shifted = gaussian(schedule, { mean: 3, variance: 0.25 }).predict(x, 1);
    near(shifted.value.dataSync()[5]!, wanted, 1e-6);
  });

  it("gaussian() read as a score is that of the marginal", () => {
    const level = { alpha: 0.6, sigma: 0.8 }, x = tf.tensor([[1], [-2]]);
    const prediction = gaussian(fixed(level), { mean: 1, variance: 2 }).predict(x, 1);
    const wanted = [1, -2].map((v) => -(v - 0.6) / (0.36 * 2 + 0.64));
    allNear(convert(prediction, "score", x, level).dataSync(), wanted, 1e-6);
  });

  it("gaussian() refuses a negative variance and samples of another size", () => {
    assert.throws(() => gaussian(vp(), { variance: -1 }), /variances must be .* got -1$/);
    const model = gaussian(vp(), { mean: [1, 2, 3] });
    assert.throws(() => model.predict(tf.zeros([4, 2]), 0.5), /x must be of 3 dim.*got 2$/);
  });
});

describe("mixture", () => {
  it("mixture() is mixtureDenoiser() on tensors, at the ends too", () => {
    const denoiser = mixtureDenoiser(law);
    const ends = [{ alpha: 1, sigma: 0 }, { alpha: 0, sigma: 1 }, { alpha: 1, sigma: 80 }];
    for (const level of [{ alpha: 0.9, sigma: 0.3 }, { alpha: 0.3, sigma: 0.9 }, ...ends]) {
      const { kind, value } = mixture(fixed(level), law).predict(tf.tensor(grid), 1);
      assert.equal(kind, "x0");
      assert.deepEqual(value.shape, [4, 2]);
      allNear(value.dataSync(), grid.flatMap((x) => denoiser(x, level)), 5e-6);
    }
  });

  it("mixture() given classes is the mixture of their components, sample by sample", () => {
    const labels = [7, 3, 7], level = { alpha: 0.7, sigma: 0.7 };
    const part = (keep: readonly number[]): Mixture => ({
      means: keep.map((k) => law.means[k]!),
      variances: keep.map((k) => law.variances![k]!),
      weights: keep.map((k) => law.weights![k]!),
    });
    const model = mixture(fixed(level), { ...law, labels }).given([7, 3, null, 7]);
    const parts = [[0, 2], [1], [0, 1, 2], [0, 2]].map(part);
    const wanted = grid.flatMap((x, i) => mixtureDenoiser(parts[i]!)(x, level));
    allNear(model.predict(tf.tensor(grid), 1).value.dataSync(), wanted, 5e-6);
  });

  it("mixture() given classes may be given others, and refuses strangers and other counts", () => {
    const model = mixture(vp(), { means: [-1, 1] }).given([0, 0]);
    const again = model.given!([1, null]), x = tf.zeros([2, 1]);
    allNear(again.predict(x, 0.5).value.dataSync(), [1, 0], 1e-6);
    assert.throws(() => model.given!([2]), /null or one of 0, 1, got 2$/);
    assert.throws(() => model.predict(tf.zeros([3, 1]), 0.5), /of 3 samples, got 2$/);
  });

  it("mixture() has the derivative of mixtureDenoiser() to second order", () => {
    const level = { alpha: 0.8, sigma: 0.6 }, parts = { means: [-1, 0.5], variances: [0.1, 0.4] };
    const model = mixture(fixed(level), parts), denoiser = mixtureDenoiser(parts), step = 1e-3;
    const value = (x: tf.Tensor): tf.Tensor => tf.sum(model.predict(x, 1).value);
    const at = (x: number): number => denoiser([x], level)[0]!;
    for (const x of [-0.7, 0.1]) {
      const slope = tf.grad(value), bend = tf.grad((y: tf.Tensor) => tf.sum(slope(y)));
      const input = tf.tensor([[x]]);
      near(slope(input).dataSync()[0]!, (at(x + step) - at(x - step)) / (2 * step), 1e-4);
      near(bend(input).dataSync()[0]!, (at(x + step) - 2 * at(x) + at(x - step)) / step ** 2, 1e-3);
    }
  });
});

describe("dataset", () => {
  const data = [[0, 0], [4, 4], [-2, 3], [1, -5], [0.1, 0.2]];

  it("dataset() of two points, by hand", () => {
    const level = { alpha: 0.5, sigma: 1 }, pair = tf.tensor([[0], [2]]);
    // Distances² from x = 1: (1 − 0)² and (1 − 1)², so the second weighs e^½ times the first.
    const share = Math.exp(0.5) / (1 + Math.exp(0.5));
    const { kind, value } = dataset(fixed(level), pair).predict(tf.tensor([[1]]), 1);
    assert.equal(kind, "x0");
    near(value.dataSync()[0]!, 2 * share, 1e-6);
  });

  it("dataset() is the mixture of its points, at every level", () => {
    const denoiser = mixtureDenoiser({ means: data });
    const ends = [{ alpha: 1, sigma: 0 }, { alpha: 0, sigma: 1 }, { alpha: 1, sigma: 80 }];
    for (const level of [{ alpha: 0.9, sigma: 0.4 }, { alpha: 0.3, sigma: 0.9 }, ...ends]) {
      const { value } = dataset(fixed(level), tf.tensor(data)).predict(tf.tensor(grid), 1);
      allNear(value.dataSync(), grid.flatMap((x) => denoiser(x, level)), 2e-5);
    }
  });

  it("dataset() keeps its precision where the data are far from the origin", () => {
    // Exact in float32; without centring, squares of 10⁷ would round by more than the distances.
    const far = [[3000, 3000], [3001, 3000.5], [2999.5, 3001]], x = [3000.5, 3000.25];
    const level = { alpha: 1, sigma: 0.5 }, wanted = mixtureDenoiser({ means: far })(x, level);
    const { value } = dataset(fixed(level), tf.tensor(far)).predict(tf.tensor([x]), 1);
    allNear(value.dataSync(), wanted, 1e-3);
  });

  it("dataset() with hardly any noise answers the nearest point, without NaN", () => {
    const { value } = dataset(fixed({ alpha: 1, sigma: 2e-3 }), tf.tensor(data)).predict(
      tf.tensor([[3, 3], [-50, 60]]),
      1,
    );
    allNear(value.dataSync(), [4, 4, -2, 3], 1e-5);
  });

  it("dataset() given labels is the data set of each label", () => {
    const labels = [0, 1, 0, 1, 1],
      level = { alpha: 0.6, sigma: 0.8 },
      of = (label: number) =>
        mixtureDenoiser({ means: data.filter((_, i) => labels[i] === label) });
    const model = dataset(fixed(level), tf.tensor(data), { labels }).given([0, 1, null, 1]);
    const experts = [of(0), of(1), mixtureDenoiser({ means: data }), of(1)];
    const wanted = grid.flatMap((x, i) => experts[i]!(x, level));
    allNear(model.predict(tf.tensor(grid), 1).value.dataSync(), wanted, 1e-5);
    assert.throws(() => model.given!([5]), /got 5$/);
  });

  it("dataset() takes images, and has classes only with labels", () => {
    const images = tf.randomNormal([5, 2, 2, 1], 0, 1, "float32", 3), model = dataset(vp(), images);
    assert.deepEqual(model.predict(tf.zeros([3, 2, 2, 1]), 0.4).value.shape, [3, 2, 2, 1]);
    assert.equal(model.given, undefined);
    assert.throws(() => model.predict(tf.zeros([3, 4]), 0.4), /\[N,2,2,1\], got \[3,4\]$/);
    assert.throws(() => dataset(vp(), images, { labels: [1] }), /each of 5 points, got 1$/);
    assert.throws(() => dataset(vp(), tf.zeros([0, 2])), /M at least 1, got \[0,2\]$/);
  });
});

describe("oracles", () => {
  it("gaussian(), mixture() and dataset() refuse options that they do not know, and samples without a batch", () => {
    const points = tf.tensor(grid),
      made = [
        (options: object) => gaussian(vp(), options),
        (options: object) => mixture(vp(), { ...law, ...options }),
        (options: object) => dataset(vp(), points, options),
        (options: object) => mixtureScore({ ...law, ...options }),
      ];
    for (const make of made) {
      assert.throws(() => make({ std: 1 }), {
        name: "TypeError",
        message: /^Cannot make an oracle: options must be among .*, got "std"$/,
      });
    }
    assert.throws(() => gaussian(vp(), { mean: [1, NaN], variance: -1 }), {
      name: "RangeError",
      message: "Cannot make an oracle: means must be finite, got NaN; " +
        "variances must be finite and at least 0, got -1",
    });
    const one = tf.scalar(1);
    for (const model of [gaussian(vp()), mixture(vp(), law)]) {
      assert.throws(
        () => model.predict(one, 0.5),
        /x must be of shape \[N, ...sample\], got \[\]$/,
      );
    }
    tf.dispose([points, one]);
  });

  it("gaussian(), mixture() and dataset() answer an empty batch with an empty one", () => {
    const x = tf.zeros([0, 2]), points = tf.tensor(grid), count = live();
    const models = [
      gaussian(vp()),
      mixture(vp(), law),
      mixture(vp(), law).given([]),
      dataset(vp(), points),
    ];
    for (const model of models) {
      const { value } = model.predict(x, 0.5);
      assert.deepEqual(value.shape, [0, 2]);
      value.dispose();
    }
    assert.equal(live(), count);
    tf.dispose([x, points]);
  });

  it("gaussian(), mixture() and dataset() leave one tensor a prediction and none of their own", () => {
    const x = tf.tensor(grid), data = tf.tensor(grid), before = live();
    const labels = [0, 1, 0, 1], condition = [0, null, 1, 1];
    const models = [
      gaussian(vp(), { mean: [1, 2] }),
      mixture(vp(), law),
      mixture(vp(), law).given(condition),
      dataset(vp(), data),
      dataset(vp(), data, { labels }).given(condition),
    ];
    for (const model of models) {
      for (const t of [0, 0.5, 1]) {
        const { value } = model.predict(x, t);
        assert.equal(live(), before + 1);
        value.dispose();
      }
    }
    assert.equal(live(), before);
    assert.ok(!x.isDisposed && !data.isDisposed);
  });
});

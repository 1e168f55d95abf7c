import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import fc from "fast-check";
import * as tf from "@tensorflow/tfjs-core";
import { useBackend } from "../../src/tensor/backend/backend.ts";
import { rectified, subVp, ve, vp } from "../../src/noise/schedule/continuous.ts";
import { linear } from "../../src/noise/schedule/discrete.ts";
import type { Level } from "../../src/noise/schedule/schedule.ts";
import { coefficients } from "../../src/denoise/prediction.ts";
import {
  posterior,
  posteriorMean,
  type PosteriorOptions,
  stepDivergence,
  type StepDivergenceOptions,
  stepWeight,
  variances,
} from "../../src/denoise/posterior.ts";
import { live, near, nearly } from "../measure.ts";

await useBackend("cpu");

/** DDPM's own tables, by plain products, so that nothing here leans on the schedules under test elsewhere. */
const beta = (t: number): number => 1e-4 + (0.02 - 1e-4) * (t - 1) / 999;
const alphaBar = (t: number): number =>
  Array.from({ length: t }, (_, i) => 1 - beta(i + 1)).reduce((a, b) => a * b, 1);
const ddpm = (t: number): Level => ({
  alpha: Math.sqrt(alphaBar(t)),
  sigma: Math.sqrt(1 - alphaBar(t)),
});

const schedules = [linear(), vp(), ve(), subVp(), rectified()];

/** Two levels of one schedule, s the less noisy, neither at the ends. */
const pairs: fc.Arbitrary<readonly [t: Level, s: Level]> = fc.tuple(
  fc.constantFrom(...schedules),
  fc.double({ min: 0.01, max: 0.99, noNaN: true }),
  fc.double({ min: 0.01, max: 0.99, noNaN: true }),
).map(([{ at, span: [start, end] }, u, w]) => {
  const time = (share: number): number => start + share * (end - start);
  return [at(time(Math.max(u, w))), at(time(Math.min(u, w)))];
});

describe("posterior", () => {
  it("posterior() has DDPM's golden mean and variance at t = 501", () => {
    const law = posterior(ddpm(501), ddpm(500));
    near(law.x0 * 0.3 + law.xt * -1.2, -1.19200780, 5e-9);
    near(law.variance, 0.01005133578, 5e-12);
  });

  it("posterior() equals DDPM's printed coefficients at every kind of step", () => {
    for (const t of [2, 10, 250, 1000]) {
      const { x0, xt, variance } = posterior(ddpm(t), ddpm(t - 1)), bar = alphaBar(t);
      nearly(x0, Math.sqrt(alphaBar(t - 1)) * beta(t) / (1 - bar), 1e-9);
      nearly(xt, Math.sqrt(1 - beta(t)) * (1 - alphaBar(t - 1)) / (1 - bar), 1e-9);
      nearly(variance, (1 - alphaBar(t - 1)) / (1 - bar) * beta(t), 1e-9);
    }
  });

  it("posterior() written with eps is (xt − beta/√(1 − alphaBar)·eps)/√(1 − beta)", () => {
    for (const t of [2, 500, 1000]) {
      const level = ddpm(t), { x0, xt } = posterior(level, ddpm(t - 1));
      const [a, b] = coefficients("eps", "x0", level), root = Math.sqrt(1 - beta(t));
      nearly(xt + x0 * a, 1 / root, 1e-10);
      nearly(x0 * b, -beta(t) / level.sigma / root, 1e-9);
    }
  });

  it("posterior() under Tweedie's estimate is the step (xt + beta·score)/√(1 − beta)", () => {
    for (const t of [2, 500, 1000]) {
      const level = ddpm(t), { x0, xt } = posterior(level, ddpm(t - 1));
      const [a, b] = coefficients("score", "x0", level), root = Math.sqrt(1 - beta(t));
      nearly(xt + x0 * a, 1 / root, 1e-10);
      nearly(x0 * b, beta(t) / root, 1e-9);
    }
  });

  it("posterior() is the posterior of a linear-Gaussian system, for any schedule and two levels", () => {
    fc.assert(fc.property(pairs, ([t, s]) => {
      const scale = t.alpha / s.alpha, kernel = t.sigma ** 2 - scale ** 2 * s.sigma ** 2;
      fc.pre(kernel > 1e-6 * t.sigma ** 2);
      const variance = 1 / (1 / s.sigma ** 2 + scale ** 2 / kernel), law = posterior(t, s);
      nearly(law.variance, variance, 1e-8);
      nearly(law.x0, variance * s.alpha / s.sigma ** 2, 1e-8);
      nearly(law.xt, variance * scale / kernel, 1e-8);
    }));
  });

  it("posterior() of any variance keeps the marginal q(x_s | x_0)", () => {
    const share = fc.double({ min: 0, max: 1, noNaN: true });
    fc.assert(fc.property(pairs, share, ([t, s], u) => {
      const laws = [posterior(t, s), posterior(t, s, { variance: u * s.sigma ** 2 })];
      for (const { x0, xt, variance } of laws) {
        near(x0 + xt * t.alpha, s.alpha, 1e-12);
        nearly(variance + (xt * t.sigma) ** 2, s.sigma ** 2, 1e-12);
      }
    }));
  });

  it("posterior() with the Markov variance given is the Markov posterior", () => {
    fc.assert(fc.property(pairs, ([t, s]) => {
      const markov = posterior(t, s), member = posterior(t, s, { variance: markov.variance });
      near(member.x0, markov.x0, 1e-7);
      near(member.xt, markov.xt, 1e-7);
    }));
  });

  it("posterior() of two steps composes to that of one", () => {
    for (const { at, span: [start, end] } of schedules) {
      const [s, u, t] = [0.2, 0.5, 0.9].map((share) => at(start + share * (end - start)));
      const far = posterior(t!, s!), late = posterior(t!, u!), early = posterior(u!, s!);
      nearly(early.xt * late.xt, far.xt, 1e-9);
      near(early.x0 + early.xt * late.x0, far.x0, 1e-12);
      nearly(early.variance + early.xt ** 2 * late.variance, far.variance, 1e-9);
    }
  });

  it("posterior() to the data is x_0 itself, and to x_t itself is x_t", () => {
    assert.deepEqual(posterior(ddpm(1), { alpha: 1, sigma: 0 }), { x0: 1, xt: 0, variance: 0 });
    assert.deepEqual(posterior(ddpm(7), ddpm(7)), { x0: 0, xt: 1, variance: 0 });
    assert.deepEqual(posterior({ alpha: 0.2, sigma: 3 }, { alpha: 0.5, sigma: 0 }), {
      x0: 0.5,
      xt: 0,
      variance: 0,
    });
  });

  it("posterior() from pure noise is the marginal of x_s", () => {
    const { x0, xt, variance } = posterior({ alpha: 0, sigma: 1 }, { alpha: 0.8, sigma: 0.6 });
    near(x0, 0.8, 1e-15);
    assert.equal(xt, 0);
    near(variance, 0.36, 1e-15);
  });

  it("posterior() refuses what has no posterior", () => {
    const t = ddpm(5), s = ddpm(4);
    assert.throws(() => posterior(s, t), RangeError);
    assert.throws(() => posterior({ alpha: 1, sigma: 0 }, { alpha: 1, sigma: 0 }), /t\.sigma must/);
    assert.throws(() => posterior(t, { alpha: 0, sigma: 1 }), RangeError);
    assert.throws(() => posterior(t, s, { variance: -1e-9 }), /variance must be in \[0/);
    assert.throws(() => posterior(t, s, { variance: s.sigma ** 2 * 1.01 }), RangeError);
    assert.throws(() => posterior(t, s, { variance: NaN }), RangeError);
    assert.throws(() => posterior(t, s, { std: 0 } as PosteriorOptions), {
      name: "TypeError",
      message: 'Cannot make a posterior: options must be among variance, got "std"',
    });
  });

  it("posterior() takes the whole variance of x_s, however that was computed", () => {
    const { at } = vp(), t = at(0.9);
    for (let i = 1; i < 90; i++) {
      const s = at(i / 100), { xt, variance } = posterior(t, s, { variance: 1 - s.alpha ** 2 });
      assert.ok(xt >= 0 && xt < 1e-6 && variance <= s.sigma ** 2, `${xt}`);
    }
  });

  it("posteriorMean() refuses ends of different shapes, which would be broadcast", () => {
    const ends = { x0: tf.ones([2]), xt: tf.ones([2, 1]) };
    assert.throws(() => posteriorMean(posterior(ddpm(5), ddpm(4)), ends), {
      name: "RangeError",
      message: "Cannot take the mean of a posterior: x0 must be of shape [2,1], got [2]",
    });
    tf.dispose([ends.x0, ends.xt]);
  });

  it("posteriorMean() mixes x_0 and x_t and leaves one tensor", () => {
    const ends = { x0: tf.tensor([0.3, 1]), xt: tf.tensor([-1.2, 2]) };
    const before = live();
    const mean = posteriorMean(posterior(ddpm(501), ddpm(500)), ends);
    assert.equal(live(), before + 1);
    near(mean.dataSync()[0]!, -1.19200780, 2e-7);
    tf.dispose([mean, ends.x0, ends.xt]);
  });
});

/** Variance of x_s given x_t alone, for data N(0, data·I). */
const reverseVariance = (t: Level, s: Level, data: number): number => {
  const scale = t.alpha / s.alpha, kernel = t.sigma ** 2 - scale ** 2 * s.sigma ** 2;
  const own = s.alpha ** 2 * data + s.sigma ** 2;
  return own * kernel / (scale ** 2 * own + kernel);
};

describe("variances", () => {
  it("large is exact for N(0, I) data and small for one point, DDPM's beta and beta-tilde", () => {
    for (const t of [2, 100, 1000]) {
      const from = ddpm(t), to = ddpm(t - 1);
      nearly(variances.large(from, to), beta(t), 1e-9);
      nearly(variances.large(from, to), reverseVariance(from, to, 1), 1e-9);
      nearly(variances.small(from, to), reverseVariance(from, to, 0), 1e-9);
      const between = reverseVariance(from, to, 0.3);
      assert.ok(variances.small(from, to) < between && between < variances.large(from, to));
    }
  });

  it("small is 0 at the data and large is beta_1", () => {
    const data = { alpha: 1, sigma: 0 };
    assert.equal(variances.small(ddpm(1), data), 0);
    nearly(variances.large(ddpm(1), data), 1e-4, 1e-10);
  });
});

/** KL(N(0, a) ‖ N(gap, b)) by the trapezoidal rule, exact to rounding for a Gaussian's tails. */
const divergence = (gap: number, a: number, b: number): number => {
  const width = 12 * Math.sqrt(a), steps = 4000;
  const logNormal = (x: number, v: number): number => -(x * x / v + Math.log(2 * Math.PI * v)) / 2;
  const term = (x: number): number =>
    Math.exp(logNormal(x, a)) * (logNormal(x, a) - logNormal(x - gap, b));
  return Array.from({ length: steps + 1 }, (_, i) => term(width * (2 * i / steps - 1)))
    .reduce((sum, value) => sum + value, 0) * 2 * width / steps;
};

describe("stepDivergence", () => {
  it("stepWeight() has the golden weights of the eps error under both variances", () => {
    const weight = (t: number, rule: "small" | "large"): number => {
      const from = ddpm(t), to = ddpm(t - 1);
      const onX0 = stepWeight(posterior(from, to), variances[rule](from, to));
      return onX0 * (from.sigma / from.alpha) ** 2;
    };
    const golden = {
      2: [0.5996715, 0.2726921],
      500: [0.0055082, 0.0055034],
      1000: [0.0102045, 0.0102045],
    };
    for (const [t, [small, large]] of Object.entries(golden)) {
      near(weight(Number(t), "small"), small!, 6e-8);
      near(weight(Number(t), "large"), large!, 6e-8);
    }
  });

  it("stepWeight() is half the drop in signal-to-noise ratio", () => {
    fc.assert(fc.property(pairs, ([t, s]) => {
      const drop = (s.alpha / s.sigma) ** 2 - (t.alpha / t.sigma) ** 2;
      fc.pre(drop > 1e-6 * (s.alpha / s.sigma) ** 2);
      nearly(stepWeight(posterior(t, s)), drop / 2, 1e-8);
    }));
  });

  it("stepWeight() of a member of DDIM's family is the weight of its own bound", () => {
    const t = ddpm(400), s = ddpm(300);
    for (const eta of [0.2, 0.5, 1]) {
      const variance = eta ** 2 * variances.small(t, s);
      const gap = s.alpha - Math.sqrt(s.sigma ** 2 - variance) * t.alpha / t.sigma;
      nearly(stepWeight(posterior(t, s, { variance })), gap ** 2 / (2 * variance), 1e-10);
    }
  });

  it("stepDivergence() is the divergence of the two Gaussians, by quadrature", () => {
    const t = ddpm(60), s = ddpm(40), law = posterior(t, s);
    for (const variance of [variances.small(t, s), variances.large(t, s)]) {
      for (const error of [0, 0.04]) {
        const wanted = divergence(law.x0 * Math.sqrt(error), law.variance, variance);
        near(stepDivergence(law, { error, variance }), wanted, 1e-10);
      }
    }
  });

  it("stepDivergence() has the golden constants of the large variance", () => {
    const constant = (t: number): number => {
      const from = ddpm(t), to = ddpm(t - 1);
      return stepDivergence(posterior(from, to), { variance: variances.large(from, to) });
    };
    near(constant(2), 0.1213873, 6e-8);
    near(constant(1000), 1.7e-13, 5e-15);
  });

  it("stepDivergence() and stepWeight() refuse a variance of 0", () => {
    const last = posterior(ddpm(1), { alpha: 1, sigma: 0 });
    assert.throws(() => stepDivergence(last, { variance: 1e-4 }), /law\.variance must be above 0/);
    assert.throws(() => stepWeight(last), /variance must be above 0, got 0$/);
    assert.throws(() => stepDivergence(posterior(ddpm(3), ddpm(2)), { variance: 0 }), RangeError);
    for (const error of [-1, NaN]) {
      assert.throws(() => stepDivergence(posterior(ddpm(3), ddpm(2)), { error }), RangeError);
    }
    assert.throws(
      () => stepDivergence(posterior(ddpm(3), ddpm(2)), { mse: 1 } as StepDivergenceOptions),
      TypeError,
    );
  });
});

import { before, describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { gaussian, mixture } from "../../src/denoise/oracle/gaussian.ts";
import { subVp, ve, vp } from "../../src/noise/schedule/continuous.ts";
import type { Schedule } from "../../src/noise/schedule/schedule.ts";
import { ddpm } from "../../src/sample/ancestral.ts";
import { prior, run } from "../../src/sample/run.ts";
import type { Sampler } from "../../src/sample/path.ts";
import { flow } from "../../src/sample/flow/flow.ts";
import { type Predictor, reverseCoefficients, reverseSde } from "../../src/sample/reverse.ts";
import { useBackend } from "../../src/tensor/backend/backend.ts";
import { key } from "../../src/tensor/key.ts";
import { average, live } from "../measure.ts";

const schedule = vp(), data = { mean: 1.5, tau: 0.5 };
const grid = [0.8, 0.65, 0.5, 0.4, 0.3, 0.22, 0.15], options = { times: grid, lastNoise: true };
const shape = [20, 1000], count = 20_000;

/** A step on Gaussian data: x_s = factor·x_t + shift + N(0, variance). */
interface Step {
  readonly factor: number;
  readonly shift: number;
  readonly variance: number;
}

type Law = (t: number, s: number) => Step;

// VP in Song et al.'s letters: B = ∫ beta, mean e^(−B/2), variance 1 − e^(−B); the score of N(m, v) is (m − x)/v.
const beta = (t: number): number => 0.1 + 19.9 * t;
const B = (t: number): number => 0.1 * t + 9.95 * t ** 2;
const m = (t: number): number => Math.exp(-B(t) / 2) * data.mean;
const v = (t: number): number => Math.exp(-B(t)) * data.tau ** 2 + 1 - Math.exp(-B(t));

/** x + a·x + c·score + noise. */
const step = (t: number, a: number, c: number, variance: number): Step => ({
  factor: 1 + a - c / v(t),
  shift: c * m(t) / v(t),
  variance,
});

const euler = (
  lambda: number,
  slip: Partial<Record<"f" | "g" | "half" | "noise" | "time", number>> = {},
): Law =>
(t, s) => {
  const { f = -0.5, g = 1, half = (1 + lambda ** 2) / 2, noise = lambda ** 2, time = t } = slip;
  const b = beta(time), h = t - s;
  return step(t, -f * b * h, half * g * b * h, noise * g * b * h);
};

/** x_t = √(1 − b)·x_s + √b·z, and its reversal (2 − √(1 − b))·x + b·score + √b·z. */
const reversed =
  (lambda: number, slip: Partial<Record<"root" | "half" | "noise", number>> = {}): Law =>
  (
    t,
    s,
  ) => {
    const b = 1 - Math.exp(B(s) - B(t)), { root = Math.sqrt(1 - b) } = slip;
    return step(
      t,
      1 - root,
      (slip.half ?? (1 + lambda ** 2) / 2) * b,
      (slip.noise ?? lambda ** 2) * b,
    );
  };

/** DDPM's posterior with x0hat: (x + b·score)/√(1 − b), variance b·(1 − e^(−B_s))/(1 − e^(−B_t)). */
const ancestral = (slip: Partial<Record<"root" | "variance", number>> = {}): Law => (t, s) => {
  const b = 1 - Math.exp(B(s) - B(t)), root = Math.sqrt(1 - b);
  const { factor, shift } = step(t, 0, b, 0),
    tilde = b * (1 - Math.exp(-B(s))) / (1 - Math.exp(-B(t)));
  return {
    factor: factor / (slip.root ?? root),
    shift: shift / (slip.root ?? root),
    variance: (slip.variance ?? 1) * tilde,
  };
};

/** DDIM: cos/sin form of the frozen prediction. */
const frozenWith = (root: (as: number) => number): Law => (t, s) => {
  const [at, as] = [t, s].map((u) => Math.exp(-B(u))) as [number, number];
  const keep = Math.sqrt((1 - as) / (1 - at)), gain = root(as) - keep * Math.sqrt(at);
  // x0hat = (x + (1 − at)·score)/√at.
  const { factor, shift } = step(t, 0, 1 - at, 0);
  return {
    factor: keep + gain * factor / Math.sqrt(at),
    shift: gain * shift / Math.sqrt(at),
    variance: 0,
  };
};

const frozen = frozenWith(Math.sqrt);

const make = (predictor: Predictor, lambda: number): Sampler =>
  reverseSde(schedule, { ...options, predictor, lambda });

const samplers: Readonly<Record<string, readonly [Sampler, Law]>> = {
  "euler-maruyama, lambda 0": [make("euler-maruyama", 0), euler(0)],
  "euler-maruyama, lambda 0.5": [make("euler-maruyama", 0.5), euler(0.5)],
  "euler-maruyama, lambda 1": [make("euler-maruyama", 1), euler(1)],
  "euler-maruyama, lambda 2": [make("euler-maruyama", 2), euler(2)],
  "reverse-diffusion, lambda 1": [make("reverse-diffusion", 1), reversed(1)],
  "reverse-diffusion, lambda 0": [make("reverse-diffusion", 0), reversed(0)],
  "ancestral, lambda 1": [make("ancestral", 1), ancestral()],
  "ancestral, lambda 0": [make("ancestral", 0), frozen],
};

const mutations: readonly (readonly [of: string, slip: string, law: Law])[] = [
  ["euler-maruyama, lambda 1", "the ODE's half in the SDE", euler(1, { half: 0.5 })],
  ["euler-maruyama, lambda 1", "no half in VP's drift", euler(1, { f: -1 })],
  ["euler-maruyama, lambda 1", "the drift's sign", euler(1, { f: 0.5 })],
  ["euler-maruyama, lambda 1", "no noise", euler(1, { noise: 0 })],
  ["euler-maruyama, lambda 1", "no score", euler(1, { half: 0 })],
  ["euler-maruyama, lambda 1", "g² twice", euler(1, { g: 2 })],
  ["euler-maruyama, lambda 0", "the SDE's g² in the ODE", euler(0, { half: 1 })],
  ["euler-maruyama, lambda 0", "noise in the ODE", euler(0, { noise: 1 })],
  ["euler-maruyama, lambda 0.5", "lambda for lambda² in the drift", euler(0.5, { half: 0.75 })],
  ["euler-maruyama, lambda 0.5", "lambda for lambda² in the noise", euler(0.5, { noise: 0.5 })],
  ["euler-maruyama, lambda 2", "1 + lambda for 1 + lambda²", euler(2, { half: 1.5 })],
  ["reverse-diffusion, lambda 1", "√(1 − b) for 2 − √(1 − b)", (t, s) => {
    const b = 1 - Math.exp(B(s) - B(t));
    return reversed(1, { root: 2 - Math.sqrt(1 - b) })(t, s);
  }],
  [
    "reverse-diffusion, lambda 1",
    "no root",
    (t, s) => reversed(1, { root: Math.exp(B(s) - B(t)) })(t, s),
  ],
  ["reverse-diffusion, lambda 1", "half the score", reversed(1, { half: 0.5 })],
  ["reverse-diffusion, lambda 0", "the whole score", reversed(0, { half: 1 })],
  ["reverse-diffusion, lambda 1", "Euler–Maruyama's", euler(1)],
  ["ancestral, lambda 1", "no root before the mean", ancestral({ root: 1 })],
  ["ancestral, lambda 1", "no noise", ancestral({ variance: 0 })],
  ["ancestral, lambda 1", "reverse diffusion's", reversed(1)],
  ["ancestral, lambda 0", "no root of alphaBar before x0hat", frozenWith((as) => as)],
];

interface Moments {
  readonly mean: number;
  readonly variance: number;
}

const start: Moments = { mean: 0, variance: 1 - Math.exp(-B(grid[0]!)) };

function moments(law: Law): Moments[] {
  return grid.slice(1).reduce<Moments[]>((found, s, i) => {
    const { mean, variance } = found.at(-1)!, { factor, shift, variance: noise } = law(grid[i]!, s);
    return [...found, { mean: factor * mean + shift, variance: factor ** 2 * variance + noise }];
  }, [start]);
}

const measured = async (sampler: Sampler): Promise<Moments[]> => {
  const found: Moments[] = [];
  const model = gaussian(schedule, { mean: data.mean, variance: data.tau ** 2 });
  for await (const { x } of run(prior(shape, grid[0]!), { model, key: key(3) })(sampler)) {
    const values = [...x.dataSync()], mean = average(values);
    found.push({ mean, variance: average(values.map((value) => (value - mean) ** 2)) });
  }
  return found;
};

const cache = new Map<string, Promise<Moments[]>>();
const statistics = (name: string): Promise<Moments[]> => {
  if (!cache.has(name)) cache.set(name, measured(samplers[name]![0]));
  return cache.get(name)!;
};

const scores = (found: readonly Moments[], law: Law): number[] =>
  moments(law).flatMap(({ mean, variance }, i) => [
    Math.abs(found[i]!.mean - mean) / Math.sqrt(variance / count),
    Math.abs(found[i]!.variance - variance) / (variance * Math.sqrt(2 / count)),
  ]);

describe("reverseSde() on Gaussian data", () => {
  before(() => useBackend("cpu"));
  let reached = 0;

  for (const [name, [, law]] of Object.entries(samplers)) {
    it(`${name} has the moments of the papers' recursion after every step`, async () => {
      const found = await statistics(name);
      assert.equal(found.length, grid.length);
      const z = scores(found, law);
      assert.ok(z.every((value) => value < 4), `|z| = ${z.map((value) => value.toFixed(1))}`);
    });
  }

  for (const [of, slip, law] of mutations) {
    it(`${of}: ${slip} is refuted`, async () => {
      const worst = Math.max(...scores(await statistics(of), law));
      assert.ok(worst > 10, `max |z| = ${worst.toFixed(1)}`);
      reached++;
    });
  }

  it("every mutation was reached", () => assert.equal(reached, mutations.length));

  it("with the ancestral predictor is ddpm(), draw by draw", async () => {
    const model = gaussian(schedule), ends: number[][] = [];
    const pair = [
      reverseSde(schedule, { steps: 8, predictor: "ancestral" }),
      ddpm(schedule, { steps: 8 }),
    ];
    for (const sampler of pair) {
      let end: number[] = [];
      for await (const { x } of run(prior([4, 3]), { model, key: key(1) })(sampler)) {
        end = [...x.dataSync()];
      }
      ends.push(end);
    }
    ends[0]!.forEach((value, i) => assert.ok(Math.abs(value - ends[1]![i]!) < 1e-5));
  });
});

/** Mean and variance at the end from exact marginals at the start, for data N(mean, tau²), in float64. */
function end(
  on: Schedule,
  predictor: Predictor,
  lambda: number,
  times: readonly number[],
): Moments {
  const at = (t: number) => {
    const { alpha, sigma } = on.at(t);
    return { alpha, sigma, variance: (alpha * data.tau) ** 2 + sigma ** 2 };
  };
  const first = at(times[0]!);
  return times.slice(1).reduce<Moments>(({ mean, variance }, s, i) => {
    const t = times[i]!, { alpha, variance: total } = at(t);
    const w = reverseCoefficients(on, predictor, { t, s, from: on.at(t), to: on.at(s), lambda });
    const gain = alpha * data.tau ** 2 / total, x0 = w.predictions[0]!;
    const factor = w.xt + x0 * gain;
    return {
      mean: factor * mean + x0 * (1 - gain * alpha) * data.mean,
      variance: factor ** 2 * variance + w.noise ** 2,
    };
  }, { mean: first.alpha * data.mean, variance: first.variance });
}

const evenly = (from: number, to: number, steps: number): number[] =>
  Array.from({ length: steps + 1 }, (_, i) => from + (to - from) * i / steps);

describe("weak convergence of the reverse SDE", () => {
  before(() => useBackend("cpu"));
  const predictors = ["euler-maruyama", "reverse-diffusion", "ancestral"] as const;

  for (const on of [vp(), subVp(), ve({ sigmaMax: 5 })]) {
    for (const lambda of [0, 0.5, 1, 2]) {
      it(`${on.name}, lambda ${lambda}: mean and variance converge with order 1`, () => {
        for (const predictor of predictors) {
          const [coarse, fine] = [1000, 2000].map((steps) => {
            const { mean, variance } = end(on, predictor, lambda, evenly(0.9, 0.3, steps));
            const { alpha, sigma } = on.at(0.3);
            return [mean - alpha * data.mean, variance - (alpha * data.tau) ** 2 - sigma ** 2];
          }) as [number[], number[]];
          coarse.forEach((error, i) => {
            if (Math.abs(error) < 1e-9) return;
            const order = Math.log2(error / fine[i]!);
            assert.ok(Math.abs(order - 1) < 0.1, `${predictor}, moment ${i + 1}: order ${order}`);
          });
          assert.ok(Math.abs(fine[1]!) < 0.02, `${predictor}: ${fine}`);
        }
      });
    }
  }

  it("all lambda reach the two modes: the energy distance is within its standard error", async () => {
    const law = { means: [[-2], [1]], variances: [[0.09], [0.16]], weights: [0.3, 0.7] };
    const model = mixture(schedule, law), n = 1500, level = schedule.at(1e-3);
    for (const lambda of [0, 0.5, 1, 2]) {
      const sampler = reverseSde(schedule, {
        steps: 150,
        lambda,
        final: 1e-3,
        predictor: "ancestral",
        lastNoise: true,
      });
      let found: number[] = [];
      for await (const { x } of run(prior([n, 1]), { model, key: key(11) })(sampler)) {
        found = [...x.dataSync()];
      }
      const right = energy(found, law, level);
      assert.ok(right < 4, `lambda ${lambda}: z = ${right}`);
      const wrong = energy(found, { ...law, weights: [0.7, 0.3] }, level);
      assert.ok(wrong > 10, `lambda ${lambda}: wrong weights, z = ${wrong}`);
    }
  });
});

/**
 * The energy distance 2·E|X − Y| − E|X − X′| − E|Y − Y′| between samples and a mixture's marginal, unbiased and with the law's
 * side in closed form, over the standard error of its mean in ten batches.
 */
function energy(
  samples: readonly number[],
  { means, variances, weights }: { means: number[][]; variances: number[][]; weights: number[] },
  { alpha, sigma }: { alpha: number; sigma: number },
): number {
  const folded = (mean: number, variance: number): number => {
    const s = Math.sqrt(variance), u = mean / s;
    return s * Math.sqrt(2 / Math.PI) * Math.exp(-(u ** 2) / 2) + mean * (1 - 2 * normalCdf(-u));
  };
  const parts = means.map((mean, k) => ({
    w: weights[k]!,
    m: alpha * mean[0]!,
    v: alpha ** 2 * variances[k]![0]! + sigma ** 2,
  }));
  const self = parts.reduce(
    (sum, a) =>
      sum + parts.reduce((inner, b) => inner + a.w * b.w * folded(a.m - b.m, a.v + b.v), 0),
    0,
  );
  const size = samples.length / 10;
  const distances = Array.from({ length: 10 }, (_, k) => {
    const batch = samples.slice(k * size, (k + 1) * size).sort((a, b) => a - b);
    const cross = average(
      batch.map((x) => parts.reduce((sum, { w, m, v }) => sum + w * folded(x - m, v), 0)),
    );
    const within = batch.reduce((sum, x, i) => sum + (2 * i - size + 1) * x, 0) * 2 /
      (size * (size - 1));
    return 2 * cross - within - self;
  });
  const mean = average(distances);
  return mean / Math.sqrt(average(distances.map((d) => (d - mean) ** 2)) / 9);
}

function normalCdf(x: number): number {
  // Abramowitz and Stegun, 7.1.26 on erf, to 1.5e-7.
  const u = Math.abs(x) / Math.SQRT2, t = 1 / (1 + 0.3275911 * u);
  const poly =
    ((((1.061405429 * t - 1.453152027) * t + 1.421413741) * t - 0.284496736) * t + 0.254829592) * t;
  const tail = poly * Math.exp(-(u ** 2)) / 2;
  return x > 0 ? 1 - tail : tail;
}

describe("flow() with churn", () => {
  before(() => useBackend("cpu"));

  it("keeps the marginals where its noise is that of the schedule, and not otherwise", async () => {
    const model = gaussian(schedule, { mean: data.mean, variance: data.tau ** 2 });
    const { alpha, sigma } = schedule.at(0.05);
    const wanted = { mean: alpha * data.mean, variance: (alpha * data.tau) ** 2 + sigma ** 2 };
    for (const [noise, right] of [[1, true], [1.5, false]] as const) {
      const churn = { amount: 20, noise, to: 5 };
      const sampler = flow(schedule, {
        steps: 60,
        from: 0.95,
        final: 0.05,
        spacing: "logLinear",
        chart: "eps",
        churn,
      });
      let values: number[] = [];
      for await (const { x } of run(prior(shape, 0.95), { model, key: key(8) })(sampler)) {
        values = [...x.dataSync()];
      }
      const mean = average(values), variance = average(values.map((value) => (value - mean) ** 2));
      const z = Math.abs(variance - wanted.variance) / (wanted.variance * Math.sqrt(2 / count));
      assert.ok(
        right ? z < 4 : z > 10,
        `noise ${noise}: z = ${z}, ${variance} for ${wanted.variance}`,
      );
    }
    assert.equal(live(), 0);
  });
});

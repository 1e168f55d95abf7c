import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { type ScheduleName, scheduleNames, scheduleOf } from "../../src/noise/named.ts";
import { times } from "../../src/noise/grid.ts";
import {
  cosineContinuous,
  edm,
  rectified,
  sigmoidContinuous,
  subVp,
  ve,
  vp,
} from "../../src/noise/schedule/continuous.ts";
import { discretized, fromLevel } from "../../src/noise/schedule/derived.ts";
import { cosine, linear, zeroTerminalSnr } from "../../src/noise/schedule/discrete.ts";
import { logSnr, type Schedule } from "../../src/noise/schedule/schedule.ts";
import { fold, type Key, key } from "../../src/tensor/key.ts";
import { normals } from "../../src/tensor/random.ts";
import {
  sampleTimes,
  timeSampler,
  type TimeSamplerOptions,
} from "../../src/train/timestep/sampler.ts";
import { type TimeLaw, type TimeLaws, timeLaws } from "../../src/train/timestep/law.ts";
import type { TimeSampler } from "../../src/train/timestep/range.ts";
import { timeSpreads } from "../../src/train/timestep/spread.ts";
import { uniformTimes } from "../../src/train/timestep/uniform.ts";
import { average } from "../measure.ts";

const continuous: Record<string, Schedule> = {
  vp: vp(),
  ve: ve(),
  edm: edm(),
  rectified: rectified(),
};

/** One time by itself under each of many keys. */
const singles = (schedule: Schedule, count: number): number[] =>
  Array.from({ length: count }, (_, i) => uniformTimes(schedule, 1, fold(key(3), i))[0]!);

describe("uniformTimes()", () => {
  for (const [name, schedule] of Object.entries(continuous)) {
    const [start, end] = schedule.span;
    const least = schedule.at(start).sigma > 0 ? start : start + 1e-3 * (end - start);

    it(`uniformTimes() puts one time into each n-th of the span of ${name}`, () => {
      for (const n of [1, 2, 7, 64]) {
        const times = uniformTimes(schedule, n, key(n)), part = (end - least) / n;
        assert.equal(times.length, n);
        times.forEach((t, i) => {
          assert.ok(
            t >= least + i * part - 1e-9 && t < least + (i + 1) * part + 1e-9,
            `${i}: ${t}`,
          );
          assert.ok(i === 0 || Math.abs(t - times[i - 1]! - part) < 1e-9);
        });
      }
    });

    it(`uniformTimes() are uniform over the span of ${name} from key to key`, () => {
      // Kolmogorov and Smirnov: √n·D exceeds 1.95 once in a thousand.
      const n = 2000, drawn = singles(schedule, n).sort((a, b) => a - b);
      const shares = drawn.map((t) => (t - least) / (end - least));
      assert.ok(shares[0]! >= 0 && shares.at(-1)! < 1);
      const d = Math.max(...shares.map((u, i) => Math.max(u - i / n, (i + 1) / n - u)));
      assert.ok(Math.sqrt(n) * d < 1.95, `${Math.sqrt(n) * d}`);
    });
  }

  it("uniformTimes() of a discrete schedule are its steps, each as often", () => {
    const steps = 8, count = 4000, schedule = linear({ steps });
    const counts = Array<number>(steps + 1).fill(0);
    for (const t of singles(schedule, count)) counts[t]!++;
    assert.equal(counts[0], 0);
    const chi = counts.slice(1).reduce(
      (sum, c) => sum + (c - count / steps) ** 2 / (count / steps),
      0,
    );
    const z = (chi - (steps - 1)) / Math.sqrt(2 * (steps - 1));
    assert.equal(counts.reduce((a, b) => a + b), count);
    assert.ok(Math.abs(z) < 4, `z = ${z}`);
  });

  it("uniformTimes() of as many times as steps are all the steps", () => {
    for (const seed of [0, 1, 2, 3]) {
      assert.deepEqual(
        uniformTimes(linear({ steps: 50 }), 50, key(seed)),
        Array.from({ length: 50 }, (_, i) => i + 1),
      );
    }
  });

  it("uniformTimes() stay within 1 to T", () => {
    const drawn = Array.from({ length: 200 }, (_, i) => uniformTimes(linear(), 64, key(i))).flat();
    assert.ok(drawn.every((t) => Number.isInteger(t) && t >= 1 && t <= 1000));
    assert.ok(drawn.includes(1) && drawn.includes(1000));
  });

  it("uniformTimes() estimate a mean over time without bias, and better than single draws", () => {
    // The mean of cos²(πt/1000) over t is 1/2, that of one draw has variance 1/8.
    const f = (t: number) => Math.cos(Math.PI * t / 1000) ** 2, schedule = vp(), n = 16, runs = 400;
    const at = (t: number) => f(1000 * (t - 0.001) / 0.999);
    const estimates = Array.from(
      { length: runs },
      (_, i) => average(uniformTimes(schedule, n, fold(key(8), i)).map(at)),
    );
    const variance = average(estimates.map((e) => (e - 0.5) ** 2));
    const z = (average(estimates) - 0.5) / Math.sqrt(variance / runs);
    assert.ok(Math.abs(z) < 4, `z = ${z}`);
    assert.ok(variance < 1 / 8 / n / 10, `${variance}`);
  });

  it("uniformTimes() are a function of the key", () => {
    assert.deepEqual(uniformTimes(vp(), 5, key(1)), uniformTimes(vp(), 5, key(1)));
    assert.notDeepEqual(uniformTimes(vp(), 5, key(1)), uniformTimes(vp(), 5, key(2)));
  });

  it("uniformTimes() start where they are told to, a thousandth of the span above its start by default", () => {
    const first = (least?: number) =>
      Math.min(
        ...Array.from({ length: 300 }, (_, i) =>
          uniformTimes(vp(), 1, key(i), least === undefined ? {} : { least })[0]!),
      );
    assert.ok(first() >= 1e-3 && first() < 0.03);
    assert.ok(first(0) < 0.03);
    assert.ok(first(0.4) >= 0.4 && first(0.4) < 0.43);
    assert.deepEqual(uniformTimes(vp(), 2, key(0), { least: 1 }), [1, 1]);
  });

  it("uniformTimes() of no samples are none; a bad count or start is refused", () => {
    assert.deepEqual(uniformTimes(linear(), 0, key(0)), []);
    for (const n of [-1, 1.5, NaN]) {
      assert.throws(() => uniformTimes(linear(), n, key(0)), {
        name: "RangeError",
        message: `Cannot draw times: n must be a whole number of at least 0, got ${n}`,
      });
    }
    for (const least of [-0.1, 1.1, NaN]) {
      assert.throws(() => uniformTimes(vp(), 1, key(0), { least }), {
        name: "RangeError",
        message: `Cannot draw times: least must be in the span [0, 1], got ${least}`,
      });
    }
  });
});

/** The Ornstein-Uhlenbeck process on [eta, T] = [1e-3, 5], sigma² = 1 − e^(−t). */
const ou = vp({ betaMin: 1, betaMax: 1, end: 5 }), eta = 1e-3, end = 5, length = end - eta;
const z = Math.log(Math.expm1(end) / Math.expm1(eta));
const closed = timeSampler(ou, { law: timeLaws.constantRate(), least: eta, spread: "independent" });

/** Midpoint rule in u over the quantile: the mean of f under the law. */
const underLaw = ({ quantile }: TimeSampler, f: (t: number) => number, n = 4000): number =>
  average(Array.from({ length: n }, (_, i) => f(quantile((i + 0.5) / n))));

/** Mean under the uniform law on the same range, on a grid even in t³, which is fine near the start. */
const underUniform = ({ range: [a, b] }: TimeSampler, f: (t: number) => number, n = 20_000) =>
  average(Array.from({ length: n }, (_, i) => {
    const u = (i + 0.5) / n;
    return 3 * u * u * f(a + (b - a) * u ** 3);
  }));

describe("timeSampler()", () => {
  const schedules: Record<string, Schedule> = {
    vp: vp(),
    subVp: subVp(),
    ve: ve(),
    edm: edm(),
    rectified: rectified(),
    cosine: cosineContinuous(),
  };
  const laws: Record<string, (schedule: Schedule) => TimeSamplerOptions["law"] & object> = {
    uniform: timeLaws.uniform,
    inverseVariance: timeLaws.inverseVariance,
    likelihood: timeLaws.likelihood,
    logitNormal: (schedule) => timeLaws.logitNormal(schedule, { mean: 0.3, deviation: 0.8 }),
    logNormal: timeLaws.logNormal,
    constantRate: () => timeLaws.constantRate(2),
  };
  for (const [name, schedule] of Object.entries(schedules)) {
    // Beyond 0.99 the rectified schedule's log-SNR goes to −∞.
    const most = name === "rectified" ? 0.99 : schedule.span[1];
    for (const [what, law] of Object.entries(laws)) {
      const sampler = timeSampler(schedule, { law: law(schedule), most, spread: "independent" });
      const { density, cdf, quantile, range: [a, b] } = sampler;

      it(`timeSampler() of ${what} on ${name}: quantile, cdf and density agree`, () => {
        assert.deepEqual([cdf(a), cdf(b), cdf(a - 1), cdf(b + 1)], [0, 1, 0, 1]);
        assert.ok(Math.abs(cdf(quantile(0))) < 1e-12 && Math.abs(cdf(quantile(1)) - 1) < 1e-12);
        for (const u of [0.001, 0.1, 0.37, 0.5, 0.9, 0.999]) {
          const t = quantile(u), h = 1e-4 * Math.min(t - a, b - t);
          assert.ok(Math.abs(cdf(t) - u) < 1e-9, `${u}: ${cdf(t)}`);
          const slope = (cdf(t + h) - cdf(t - h)) / (2 * h);
          assert.ok(Math.abs(sampler.weight(t) * density(t) * (b - a) - 1) < 1e-12);
          assert.ok(Math.abs(slope / density(t) - 1) < 1e-4, `${u}: ${slope}, ${density(t)}`);
        }
        assert.equal(density(a - 1), 0);
        assert.equal(density(b + 1), 0);
      });

      it(`sampleTimes() of ${what} on ${name} follow the cdf`, () => {
        // Kolmogorov and Smirnov: √n·D exceeds 1.95 once in a thousand.
        const n = 1000, shares = sampleTimes(sampler, n, key(5)).map(cdf).sort((x, y) => x - y);
        const d = Math.max(...shares.map((u, i) => Math.max(u - i / n, (i + 1) / n - u)));
        assert.ok(Math.sqrt(n) * d < 1.95, `${Math.sqrt(n) * d}`);
      });
    }
  }

  it("timeSampler() of constantRate has the golden normalizer 11.9004945 and the inverse cdf of the closed form", () => {
    assert.ok(Math.abs(z - 11.9004945) < 5e-8);
    const low = Math.expm1(eta), ratio = Math.expm1(end) / low;
    for (const u of [0, 0.01, 0.3, 0.5, 0.99, 1]) {
      assert.ok(Math.abs(closed.quantile(u) - Math.log1p(low * ratio ** u)) < 1e-12);
    }
    for (const t of [eta, 0.1, 1, end]) {
      assert.ok(Math.abs(closed.density(t) * z * -Math.expm1(-t) - 1) < 1e-12);
      assert.ok(Math.abs(closed.weight(t) * length / z / -Math.expm1(-t) - 1) < 1e-12);
    }
  });

  it("timeSampler() of inverseVariance is numerically what constantRate is in closed form", () => {
    const numeric = timeSampler(ou, { law: timeLaws.inverseVariance(ou), least: eta });
    for (const u of [0, 0.01, 0.3, 0.5, 0.99, 1]) {
      assert.ok(Math.abs(numeric.quantile(u) - closed.quantile(u)) < 1e-10);
    }
    for (const t of [eta, 0.1, 1, end]) {
      assert.ok(Math.abs(numeric.density(t) / closed.density(t) - 1) < 1e-10);
    }
  });

  it("timeSampler() of inverseVariance has no total without a cut-off", () => {
    for (const law of [timeLaws.constantRate(), timeLaws.likelihood(ou)]) {
      assert.throws(() => timeSampler(ou, { law, least: 0 }), {
        name: "RangeError",
        message:
          `Cannot sample times: the law "${law.name}" must have a finite positive total, got Infinity`,
      });
    }
  });

  it("timeSampler() of likelihood is uniform in log-SNR, with g²/sigma² as its density", () => {
    for (const schedule of [vp(), subVp(), ve()]) {
      const sampler = timeSampler(schedule, { law: timeLaws.likelihood(schedule) });
      const [first, last] = sampler.range.map((t) => logSnr(schedule.at(t))) as [number, number];
      for (const u of [0.1, 0.5, 0.8]) {
        const got = logSnr(schedule.at(sampler.quantile(u)));
        assert.ok(Math.abs(got - (first + (last - first) * u)) < 1e-8);
      }
      const ratio = (t: number) =>
        sampler.density(t) / (schedule.diffusion(t) / schedule.at(t).sigma) ** 2;
      assert.ok(Math.abs(ratio(0.2) / ratio(0.7) - 1) < 1e-12);
    }
  });

  it("timeSampler() of logNormal draws EDM's noise levels: ln sigma ~ N(−1.2, 1.2²), cut off", () => {
    const sampler = timeSampler(edm(), {
      law: timeLaws.logNormal(edm()),
      least: 0.002,
      spread: "independent",
    });
    const logs = sampleTimes(sampler, 4000, key(9)).map(Math.log), n = logs.length;
    // The cuts at ln 0.002 and ln 80 lie more than four deviations out.
    const centre = (average(logs) + 1.2) / (1.2 / Math.sqrt(n));
    const spread = (average(logs.map((l) => (l + 1.2) ** 2)) - 1.44) / (1.44 * Math.sqrt(2 / n));
    assert.ok(Math.abs(centre) < 4 && Math.abs(spread) < 4, `${centre}, ${spread}`);
  });

  it("timeSampler() of logitNormal has the median of its logit", () => {
    const law = timeLaws.logitNormal(rectified(), { mean: 0.5, deviation: 1 });
    const t = timeSampler(rectified(), { law, least: 0 }).quantile(0.5);
    assert.ok(Math.abs(Math.log(t / (1 - t)) - 0.5) < 1e-6);
  });

  it("timeSampler() reweighs any loss to that of the uniform law", () => {
    for (const [name, schedule] of Object.entries(schedules)) {
      for (const what of ["likelihood", "constantRate"]) {
        const most = name === "rectified" ? 0.99 : schedule.span[1];
        const sampler = timeSampler(schedule, { law: laws[what]!(schedule), most });
        const loss = (t: number) => Math.cos(t) + schedule.at(t).sigma ** -1;
        const got = underLaw(sampler, (t) => sampler.weight(t) * loss(t));
        const wanted = underUniform(sampler, loss);
        assert.ok(Math.abs(got / wanted - 1) < 2e-3, `${what} on ${name}: ${got}, ${wanted}`);
      }
    }
  });

  it("timeSampler() estimates E[xi²/sigma²] without bias: 2.3805750, of variance 11.33 instead of 601", () => {
    // E_uniform[xi²/sigma²] = Z/(T − eta), and the variances 3·E[1/sigma⁴] − mean² and 2·mean²; the integral of 1/sigma⁴ is
    // Z + 1/(e^eta − 1) − 1/(e^T − 1). Figures of 497 and 84 for the first variance and for the mean without weights are
    // from samples, whose eighth moments reach 1/eta³; the exact ones are 601.3 and 84.99.
    const exact = z / length, fourth = z + 1 / Math.expm1(eta) - 1 / Math.expm1(end);
    assert.ok(Math.abs(exact - 2.380575) < 5e-8);
    const n = 40_000, xi = normals(key(31), n), sigma = (t: number) => Math.sqrt(-Math.expm1(-t));
    const uniform = timeSampler(ou, { least: eta, spread: "independent" });
    const terms = (sampler: TimeSampler) =>
      sampleTimes(sampler, n, key(32)).map((t, i) => sampler.weight(t) * (xi[i]! / sigma(t)) ** 2);
    const variance = (values: number[]) => {
      const centre = average(values);
      return average(values.map((v) => (v - centre) ** 2));
    };
    const [plain, steady] = [terms(uniform), terms(closed)];
    const wanted = [3 * fourth / length - exact ** 2, 2 * exact ** 2];
    assert.ok(Math.abs(wanted[0]! - 601.29) < 0.01 && Math.abs(wanted[1]! - 11.334) < 1e-3);
    for (const [i, values] of [plain, steady].entries()) {
      const off = (average(values) - exact) / Math.sqrt(wanted[i]! / n);
      assert.ok(Math.abs(off) < 4, `z = ${off}`);
      const squares = values.map((v) => (v - exact) ** 2);
      const error = Math.sqrt(variance(squares) / n), far = (average(squares) - wanted[i]!) / error;
      assert.ok(Math.abs(far) < 4, `variance ${average(squares)}: z = ${far}`);
      if (i === 0) assert.ok(Math.abs((average(squares) - 497) / error) < 4);
      else assert.ok(Math.abs((average(squares) - 11.3) / error) < 4);
    }
    // Without weights it is another objective, 84.99.
    const other = underLaw(closed, (t) => 1 / sigma(t) ** 2, 100_000);
    assert.ok(
      Math.abs(other / (fourth / z) - 1) < 1e-3 && Math.abs(other - 84.99) < 0.1,
      `${other}`,
    );
  });

  it("timeSampler() on a discrete schedule gives whole times, probabilities and 1/(T·p)", () => {
    const schedule = linear({ steps: 12 });
    for (
      const law of [
        timeLaws.uniform(),
        timeLaws.inverseVariance(schedule),
        timeLaws.likelihood(schedule),
      ]
    ) {
      const sampler = timeSampler(schedule, { law, spread: "independent" });
      const all = Array.from({ length: 12 }, (_, i) => i + 1), p = all.map(sampler.density);
      assert.ok(Math.abs(p.reduce((a, b) => a + b) - 1) < 1e-12);
      assert.ok(Math.abs(p[2]! / p[6]! - law.density(3) / law.density(7)) < 1e-9);
      all.forEach((t, i) => assert.ok(Math.abs(sampler.weight(t) * 12 * p[i]! - 1) < 1e-12));
      const n = 6000, counts = Array<number>(13).fill(0);
      for (const t of sampleTimes(sampler, n, key(7))) counts[t]!++;
      const chi = all.reduce(
        (sum, t) => sum + (counts[t]! - n * p[t - 1]!) ** 2 / (n * p[t - 1]!),
        0,
      );
      assert.ok(Math.abs((chi - 11) / Math.sqrt(22)) < 4, `${chi}`);
      assert.deepEqual([sampler.quantile(0), sampler.quantile(1)], [1, 12]);
      assert.equal(sampler.density(0.5) + sampler.density(0) + sampler.density(13), 0);
      assert.ok(Math.abs(sampler.cdf(3.5) - p[0]! - p[1]! - p[2]!) < 1e-12);
    }
  });

  it("timeSampler() refuses what makes no sense", () => {
    const refused = (options: object, message: RegExp) =>
      assert.throws(() => timeSampler(vp(), options), { name: "RangeError", message });
    refused(
      { least: 1 },
      /^Cannot sample times: least and most must rise within \[0, 1\], got 1 and 1$/,
    );
    refused({ most: 1.1 }, /least and most must rise/);
    refused(
      { spread: "even" },
      /spread must be one of systematic, stratified, antithetic, independent, got even$/,
    );
    refused(
      { law: { name: "none", density: () => 0 } },
      /the law "none" must have a finite positive total, got 0$/,
    );
    assert.throws(() => timeLaws.logNormal(vp(), { deviation: 0 }), RangeError);
    assert.throws(() => timeLaws.logitNormal(vp(), { deviation: -1 }), RangeError);
    assert.throws(() => timeLaws.constantRate(0), RangeError);
    assert.throws(() => closed.quantile(1.1), RangeError);
    assert.throws(() => sampleTimes(closed, 1.5, key(0)), RangeError);
  });
});

describe("sampleTimes()", () => {
  it("sampleTimes() of the uniform law are uniformTimes()", () => {
    for (const schedule of [vp(), ve(), edm(), linear()]) {
      for (const n of [0, 1, 5, 64]) {
        assert.deepEqual(
          sampleTimes(timeSampler(schedule), n, key(n)),
          uniformTimes(schedule, n, key(n)),
        );
      }
    }
  });

  for (const spread of timeSpreads) {
    it(`sampleTimes() spread ${spread} estimate a mean without bias, none worse than by themselves`, () => {
      const sampler = timeSampler(ou, { law: timeLaws.constantRate(), least: eta, spread });
      const f = (t: number) => Math.sqrt(t),
        n = 6,
        runs = 600,
        exact = underLaw(sampler, f, 20_000);
      const single = underLaw(sampler, (t) => (f(t) - exact) ** 2, 20_000) / n;
      const estimates = Array.from(
        { length: runs },
        (_, i) => average(sampleTimes(sampler, n, fold(key(13), i)).map(f)),
      );
      const variance = average(estimates.map((e) => (e - exact) ** 2));
      assert.ok(Math.abs((average(estimates) - exact) / Math.sqrt(variance / runs)) < 4);
      if (spread === "independent") {
        assert.ok(Math.abs(variance / single - 1) < 4 * Math.sqrt(3 / runs));
      } else assert.ok(variance < 0.7 * single, `${variance} against ${single}`);
    });
  }

  it("sampleTimes() spread antithetic are pairs of shares u and 1 − u, systematic ones evenly apart", () => {
    const pairs = timeSampler(vp(), { spread: "antithetic" });
    const shares = sampleTimes(pairs, 7, key(3)).map(pairs.cdf);
    for (const i of [0, 2, 4]) assert.ok(Math.abs(shares[i]! + shares[i + 1]! - 1) < 1e-9);
    const sorted = timeSampler(vp(), { spread: "stratified" });
    sampleTimes(sorted, 9, key(3)).map(sorted.cdf).forEach((u, i) =>
      assert.equal(Math.floor(9 * u + 1e-9), i)
    );
    const even = sampleTimes(timeSampler(vp()), 9, key(3)).map(sorted.cdf);
    even.slice(1).forEach((u, i) => assert.ok(Math.abs(u - even[i]! - 1 / 9) < 1e-9));
    const strata = sampleTimes(sorted, 9, key(3)).map(sorted.cdf);
    assert.ok(strata.slice(1).some((u, i) => Math.abs(u - strata[i]! - 1 / 9) > 1e-3));
  });
});

/** Every law of times on a schedule, by name. */
const lawsOn = (schedule: Schedule): [keyof TimeLaws, TimeLaw][] =>
  (Object.keys(timeLaws) as (keyof TimeLaws)[]).map((name) => [
    name,
    name === "constantRate" || name === "uniform" ? timeLaws[name]() : timeLaws[name](schedule),
  ]);

/** Every schedule that has a name, in steps too where it is continuous, and those whose ends are special. */
const everySchedule: Record<string, Schedule> = {
  ...Object.fromEntries(scheduleNames.flatMap((name: ScheduleName) => {
    const schedule = scheduleOf({ name });
    return schedule.steps === undefined
      ? [[name, schedule], [`${name}, 8 steps`, discretized(schedule, 8)]]
      : [[name, schedule]];
  })),
  "linear of one step": linear({ steps: 1 }),
  "linear, zero terminal SNR": zeroTerminalSnr(linear()),
  "cosine of 10 steps, zero terminal SNR": zeroTerminalSnr(cosine({ steps: 10 })),
  "ve from zero": ve({ fromZero: true }),
  "cosineContinuous to 1": cosineContinuous({ end: 1 }),
  "sigmoidContinuous to 1": sigmoidContinuous({ end: 1 }),
  "of one's own": fromLevel((t) => ({ alpha: 2 - t, sigma: 0.1 + t })),
};

describe("what is trained is what samplers ask", () => {
  for (const [name, schedule] of Object.entries(everySchedule)) {
    const [first, last] = schedule.span, grid = [...times(schedule), first, last];
    const asked = [...new Set(grid)].filter((t) => schedule.at(t).sigma > 0);
    const isDiscrete = schedule.steps !== undefined;
    // In steps, grids by log-SNR ask between whole times too: then both of these are trained.
    const whole = (t: number): number[] => [Math.floor(t), Math.ceil(t)];

    it(`uniformTimes() on ${name} cover what its default grid asks`, () => {
      const n = 4 * (schedule.steps ?? 250), drawn = uniformTimes(schedule, n, key(1));
      const step = isDiscrete ? 0 : (last - first) / n;
      for (const t of asked) {
        assert.ok(t >= drawn[0]! - step && t <= drawn.at(-1)! + step, `${t}`);
        if (isDiscrete) assert.ok(whole(t).every((near) => drawn.includes(near)), `${t}`);
      }
      assert.ok(drawn.every((t) => schedule.at(t).sigma > 0));
    });

    for (const [what, law] of lawsOn(schedule)) {
      const isInfinite = what === "likelihood" && schedule.at(last).alpha === 0;
      if (isInfinite) {
        it(`timeSampler() of ${what} on ${name} is refused, as its total is infinite at alpha = 0`, () => {
          assert.throws(() => timeSampler(schedule, { law }), {
            name: "RangeError",
            message:
              'Cannot sample times: the law "likelihood" must have a finite positive total, ' +
              `got Infinity, as alpha is 0 at t = ${last}${
                isDiscrete ? "" : "; give a most below it"
              }`,
          });
        });
        continue;
      }
      if (what === "constantRate" && asked.includes(0)) {
        it(`timeSampler() of ${what} on ${name}, infinite at 0, is cut off above, or refused in steps`, () => {
          if (isDiscrete) {
            assert.throws(
              () => timeSampler(schedule, { law }),
              /finite positive total, got Infinity$/,
            );
          } else assert.equal(timeSampler(schedule, { law }).range[0], 1e-3 * last);
        });
        continue;
      }
      it(`timeSampler() of ${what} on ${name} covers what its default grid asks`, () => {
        const { range: [least, most], density, cdf, weight } = timeSampler(schedule, { law });
        for (const t of asked) {
          assert.ok(t >= least && t <= most, `${t} is not in [${least}, ${most}]`);
          if (isDiscrete) {
            for (const near of whole(t)) {
              assert.ok(density(near) > 0 && weight(near) < Infinity, `${t}: ${density(near)}`);
            }
          } else {
            const h = 0.05 * (most - least);
            assert.ok(cdf(Math.min(t + h, most)) > cdf(Math.max(t - h, least)), `${t}`);
            assert.ok(density(t) >= 0 && density(t) < Infinity, `${t}: ${density(t)}`);
          }
        }
      });
    }
  }

  it("times are trained from the least noise of a schedule that has some at its start: 0.002 of edm(), 0.01 of ve()", () => {
    for (const [schedule, sigma] of [[edm(), 0.002], [ve(), 0.01]] as const) {
      const { range: [least], quantile } = timeSampler(schedule);
      assert.ok(Math.abs(schedule.at(least).sigma - sigma) < 1e-15);
      assert.equal(quantile(0), least);
      const [drawn] = uniformTimes(schedule, 100_000, key(0));
      assert.ok(drawn! - least < 1e-3);
      const units = discretized(schedule, 9), n = 10 * 40;
      const counts = Array<number>(10).fill(0);
      for (const t of uniformTimes(units, n, key(2))) counts[t]!++;
      assert.deepEqual(counts, Array(10).fill(40));
      const { range, density, weight, cdf } = timeSampler(units);
      assert.deepEqual(range, [0, 9]);
      for (let t = 0; t < 10; t++) {
        assert.ok(Math.abs(density(t) - 0.1) < 1e-15 && Math.abs(weight(t) - 1) < 1e-12);
        assert.ok(Math.abs(cdf(t) - (t + 1) / 10) < 1e-12);
      }
      assert.deepEqual(
        sampleTimes(timeSampler(units), 50, key(4)),
        uniformTimes(units, 50, key(4)),
      );
    }
  });

  it("all of EDM's own law of times is trained, and all 18 of its levels", () => {
    const schedule = edm(), times18 = times(schedule, { steps: 18, spacing: "karras" });
    const { range: [least], cdf } = timeSampler(schedule, { law: timeLaws.logNormal(schedule) });
    assert.deepEqual(times18.filter((t) => t > 0 && t < least), []);
    // ln(0.081998) is 1.0845 deviations below the mean of ln sigma: Φ = 0.139.
    assert.ok(Math.abs(cdf(0.081998) - 0.139) < 5e-4, `${cdf(0.081998)}`);
  });

  it("timeSampler() of logitNormal in steps takes the middle of each, and so is even about the middle", () => {
    for (
      const [schedule, first] of [[linear({ steps: 9 }), 1], [discretized(ve(), 8), 0]] as const
    ) {
      const { density } = timeSampler(schedule, { law: timeLaws.logitNormal(schedule) });
      const p = Array.from({ length: 9 }, (_, i) => density(first + i));
      const bell = (share: number) =>
        Math.exp(-(Math.log(share / (1 - share)) ** 2) / 2) / (share * (1 - share));
      const all = p.map((_, i) => bell((i + 0.5) / 9)), total = all.reduce((a, b) => a + b);
      p.forEach((value, i) => assert.ok(Math.abs(value - all[i]! / total) < 1e-12));
      p.forEach((value, i) => assert.ok(Math.abs(value / p[8 - i]! - 1) < 1e-9));
    }
  });

  it("timeSampler() of logNormal at alpha = 0 takes the middle of the last step", () => {
    const schedule = zeroTerminalSnr(cosine({ steps: 10 })), law = timeLaws.logNormal(schedule);
    const middle = schedule.at(9.5);
    const z = (Math.log(middle.sigma / middle.alpha) + 1.2) / 1.2;
    const wanted = Math.exp(-z * z / 2) * (schedule.diffusion(9.5) / middle.sigma) ** 2 / 2;
    assert.ok(wanted > 0 && Math.abs(law.density(10) / wanted - 1) < 1e-12);
    assert.equal(timeLaws.logNormal(rectified()).density(1), 0);
    assert.equal(timeLaws.logNormal(vp()).density(0), 0);
  });
});

describe("what training times refuse", () => {
  it("uniformTimes() and timeSampler() refuse options that they do not know, or that do nothing in steps", () => {
    const refused = (call: () => unknown, name: string, message: string) =>
      assert.throws(call, { name, message });
    refused(
      () => uniformTimes(vp(), 4, key(0), { lest: 0 } as object),
      "TypeError",
      'Cannot draw times: options must be among least, got "lest"',
    );
    refused(
      () => timeSampler(vp(), { laws: timeLaws.uniform() } as object),
      "TypeError",
      'Cannot sample times: options must be among law, least, most, spread, got "laws"',
    );
    for (const make of [timeLaws.logNormal, timeLaws.logitNormal]) {
      refused(
        () => make(vp(), { std: 1 } as object),
        "TypeError",
        'Cannot sample times: options must be among mean, deviation, got "std"',
      );
      assert.throws(() => make(vp(), { mean: NaN }), /mean must be finite, got NaN$/);
    }
    refused(
      () => uniformTimes(linear(), 4, key(0), { least: 2 }),
      "RangeError",
      "Cannot draw times: least must be absent for a schedule in steps, got 2",
    );
    for (const name of ["least", "most"]) {
      refused(
        () => timeSampler(linear(), { [name]: 2 }),
        "RangeError",
        `Cannot sample times: ${name} must be absent for a schedule in steps, got 2`,
      );
    }
  });

  it("timeSampler() refuses a law that is infinite at an end, where no numerical integral is right", () => {
    assert.throws(() => timeSampler(vp(), { law: timeLaws.inverseVariance(vp()), least: 0 }), {
      name: "RangeError",
      message:
        'Cannot sample times: least must be a time at which the law "inverseVariance" is finite, got 0',
    });
    const late: TimeLaw = { name: "late", density: (t) => 1 / (1 - t) };
    assert.throws(
      () => timeSampler(vp(), { law: late }),
      /most must be a time at which the law "late" is finite, got 1$/,
    );
    assert.throws(
      () => timeSampler(linear({ steps: 2 }), { law: { name: "bad", density: () => -1 } }),
      /the law "bad" must be at least 0, got -1 at t = 1$/,
    );
  });

  it("uniformTimes() and sampleTimes() refuse what is no key", () => {
    for (const wrong of [5, undefined, {}, { hi: NaN, lo: 0 }]) {
      const key = wrong as unknown as Key;
      assert.throws(() => uniformTimes(vp(), 4, key), /^\w+: Cannot draw times: key must be a key/);
      assert.throws(
        () => sampleTimes(timeSampler(vp()), 4, key),
        /^\w+: Cannot sample times: key must be a key/,
      );
    }
  });
});

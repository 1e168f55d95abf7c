import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import fc from "fast-check";
import {
  cosineContinuous,
  edm,
  rectified,
  sigmoidContinuous,
  subVp,
  ve,
  vp,
} from "../../src/noise/schedule/continuous.ts";
import { discretized, fromLevel, unit } from "../../src/noise/schedule/derived.ts";
import {
  alphaBars,
  betas,
  cosine,
  fromAlphaBars,
  fromBetas,
  linear,
  scaledLinear,
  sigmoidBetas,
  zeroTerminalSnr,
} from "../../src/noise/schedule/discrete.ts";
import { logSnr, type Schedule } from "../../src/noise/schedule/schedule.ts";

/** |a − b| at most `tolerance` of the greater of |b| and `floor`. */
function near(a: number, b: number, tolerance: number, floor = 0): void {
  const error = Math.abs(a - b) / Math.max(Math.abs(b), floor, Number.MIN_VALUE);
  assert.ok(error <= tolerance || a === b, `${a} is not ${b} to ${tolerance} (off by ${error})`);
}

/** Runs a check a known number of times and says so, so that an empty list cannot pass. */
function each<A>(list: readonly A[], count: number, check: (a: A) => void): void {
  assert.equal(list.length, count);
  list.forEach(check);
}

const discrete = (): Schedule[] => [
  linear(),
  linear({ steps: 7, betaStart: 0.02, betaEnd: 0.5 }),
  scaledLinear(),
  cosine(),
  cosine({ steps: 20, offset: 0 }),
  sigmoidBetas(),
  fromBetas([0.3, 0.1, 0.2]),
  fromAlphaBars([0.5, 0.25, 0.1]),
  zeroTerminalSnr(linear({ steps: 50 })),
  fromAlphaBars([0]),
];

const continuous = (): Schedule[] => [
  vp(),
  vp({ betaMin: 1, betaMax: 1, end: 5 }),
  subVp(),
  ve(),
  ve({ fromZero: true }),
  edm(),
  rectified(),
  cosineContinuous(),
  cosineContinuous({ offset: 0 }),
  sigmoidContinuous(),
  sigmoidContinuous({ start: 0, stop: 3, temperature: 0.7 }),
  discretized(vp(), 100),
  discretized(ve(), 9),
  fromLevel((t) => ({ alpha: Math.exp(-t), sigma: Math.sin(t) }), { span: [0, 1.5] }),
];

const all = (): Schedule[] => [...discrete(), ...continuous()];

/** Times inside a span, the ends left out. */
const inner = ({ span: [least, most] }: Schedule, count: number): number[] =>
  Array.from({ length: count }, (_, i) => least + (most - least) * (i + 0.5) / count);

describe("linear()", () => {
  it("linear() has DDPM's alphaBars", () => {
    const golden = [
      [1, 0.9999, 1e-12],
      [100, 0.8970181, 1e-7],
      [250, 0.5240854, 1e-7],
      [500, 0.0785872, 1e-6],
      [750, 0.0033506, 2e-5],
      [1000, 4.0358298e-5, 1e-8],
    ] as const;
    const bars = alphaBars(linear());
    each(golden, 6, ([t, value, tolerance]) => near(bars[t - 1]!, value, tolerance));
  });

  it("linear() leaves DDPM's L_T of 2.01796e-5 nats a dimension at x0² = 1", () => {
    const { alpha, sigma } = linear().at(1000);
    near((sigma ** 2 + alpha ** 2 - 1 - Math.log(sigma ** 2)) / 2, 2.01796e-5, 1e-5);
  });

  it("linear() has sigma/alpha as listed by diffusers, which rounds to float32", () => {
    // From the golden schedulers, sigmas of DPM-Solver at index t − 1.
    const listed = [
      [1000, 157.40726, 1e-6],
      [900, 60.27141, 1e-6],
      [800, 25.528482, 1e-6],
      [501, 3.442967, 1e-6],
      [201, 0.7235912, 1e-5],
      [1, 0.01000133, 1e-4],
    ] as const;
    const { at } = linear();
    each(listed, 6, ([t, value, tolerance]) => near(at(t).sigma / at(t).alpha, value, tolerance));
  });

  it("linear() between whole times is within 1e-5 of Euler's sigmas, which are linear in t", () => {
    const listed = [[977.8889, 81.40568], [733.6667, 11.912564], [489.44446, 2.8648753]] as const;
    const { at } = linear({ steps: 1100 });
    each(listed, 3, ([t, value]) => near(at(t).sigma / at(t).alpha, value, 1e-5));
  });
});

describe("discrete schedules", () => {
  it("fromBetas() is the product of 1 − beta, with the variance of the recursion to 1e-13", () => {
    const list = Array.from({ length: 500 }, (_, i) => 1e-4 + 3e-5 * i), { at } = fromBetas(list);
    let bar = 1, variance = 0;
    list.forEach((beta, i) => {
      bar *= 1 - beta;
      variance = (1 - beta) * variance + beta;
      near(at(i + 1).alpha ** 2, bar, 1e-13);
      near(at(i + 1).sigma ** 2, variance, 1e-13);
    });
    assert.deepEqual(at(0), { alpha: 1, sigma: 0 });
  });

  it("betas() gives back the betas of fromBetas()", () => {
    const list = fc.array(fc.double({ min: 1e-6, max: 0.999, noNaN: true }), {
      minLength: 1,
      maxLength: 40,
    });
    fc.assert(fc.property(list, (wanted) => {
      const got = betas(fromBetas(wanted));
      assert.equal(got.length, wanted.length);
      got.forEach((beta, i) => near(beta, wanted[i]!, 1e-8));
    }));
  });

  it("betas() and alphaBars() agree for every discrete schedule", () => {
    each(discrete(), 10, (schedule) => {
      const bars = alphaBars(schedule);
      betas(schedule).forEach((beta, i) => near(beta, 1 - bars[i]! / (bars[i - 1] ?? 1), 1e-9));
    });
  });

  it("scaledLinear() has square roots of betas equally spaced between latent diffusion's", () => {
    const roots = betas(scaledLinear()).map(Math.sqrt);
    near(roots[0]!, Math.sqrt(0.00085), 1e-10);
    near(roots[999]!, Math.sqrt(0.012), 1e-10);
    near(roots[300]! - roots[299]!, (roots[999]! - roots[0]!) / 999, 1e-8);
  });

  it("cosine() follows cos² until the cut at maxBeta", () => {
    const f = (t: number) => Math.cos((t / 1000 + 0.008) / 1.008 * Math.PI / 2) ** 2;
    const bars = alphaBars(cosine()), list = betas(cosine());
    [1, 10, 500, 990].forEach((t) => near(bars[t - 1]!, f(t) / f(0), 1e-11));
    near(list[999]!, 0.999, 1e-12);
    near(list[998]!, 1 - f(999) / f(998), 1e-9);
    near(betas(cosine({ steps: 10, maxBeta: 0.5 }))[9]!, 0.5, 1e-12);
  });

  it("sigmoidBetas() has the logistic curve from −6 to 6", () => {
    const list = betas(sigmoidBetas()), range = 0.02 - 1e-4;
    near(list[0]!, 1e-4 + range / (1 + Math.exp(6)), 1e-9);
    near(list[999]!, 1e-4 + range / (1 + Math.exp(-6)), 1e-9);
    near(list[300]!, 1e-4 + range / (1 + Math.exp(6 - 3600 / 999)), 1e-9);
  });

  it("fromAlphaBars() with Sohl-Dickstein's (T − t)/T has betas 1/(T − t + 1)", () => {
    const steps = 40, bars = Array.from({ length: steps }, (_, i) => (steps - i - 1) / steps);
    betas(fromAlphaBars(bars)).forEach((beta, i) => near(beta, 1 / (steps - i), 1e-12));
  });

  it("zeroTerminalSnr() ends at alpha 0, keeps alpha_1, and shifts and scales alpha", () => {
    const before = linear(), after = zeroTerminalSnr(before);
    assert.deepEqual(after.at(1000), { alpha: 0, sigma: 1 });
    near(after.at(1).alpha, before.at(1).alpha, 1e-14);
    const ratio = (t: number) => after.at(t).alpha / (before.at(t).alpha - before.at(1000).alpha);
    near(ratio(700), ratio(1), 1e-12);
  });

  it("at() interpolates log-SNR between whole times and sigma² from 0 to 1", () => {
    const { at } = linear();
    near(logSnr(at(100.25)), 0.75 * logSnr(at(100)) + 0.25 * logSnr(at(101)), 1e-12);
    near(at(0.3).sigma ** 2, 0.3 * at(1).sigma ** 2, 1e-12);
    const ended = zeroTerminalSnr(linear());
    near(ended.at(999.75).alpha ** 2, 0.25 * ended.at(999).alpha ** 2, 1e-12);
    // alphaBar ∝ T − t there, so f = −1/(2(T − t)).
    near(ended.drift(999.75), -2, 1e-11);
  });

  it("drift() and diffusion() over a whole step integrate to −ln(1 − beta_t)", () => {
    const schedule = linear({ steps: 10, betaStart: 0.01, betaEnd: 0.3 });
    const list = betas(schedule), n = 2000;
    [1, 2, 6, 10].forEach((t) => {
      let sum = 0;
      for (let i = 0; i < n; i++) sum += schedule.diffusion(t - 1 + (i + 0.5) / n) ** 2 / n;
      near(sum, -Math.log1p(-list[t - 1]!), 1e-6);
      near(schedule.diffusion(t) ** 2, -2 * schedule.drift(t), 1e-13);
    });
  });

  it("a DDPM chain with small constant beta tends to the Ornstein–Uhlenbeck process at order 1", () => {
    const ou = vp({ betaMin: 1, betaMax: 1, end: 2 }).at(2);
    const errors = [50, 100, 200, 400].map((n) => {
      const { alpha, sigma } = fromBetas(Array(n).fill(2 / n)).at(n);
      return [Math.abs(alpha - ou.alpha), Math.abs(sigma ** 2 - ou.sigma ** 2)] as const;
    });
    [0, 1].forEach((moment) => {
      const order = Math.log2(errors[2]![moment]! / errors[3]![moment]!);
      assert.ok(order > 0.95 && order < 1.05, `order ${order}`);
    });
  });
});

describe("continuous schedules", () => {
  it("subVp() has the golden variances, none above those of vp()", () => {
    const golden = [[0.1, 0.0107574], [0.3, 0.3644136], [1, 0.9999137]] as const;
    each(golden, 3, ([t, value]) => near(subVp().at(t).sigma ** 2, value, 5e-6));
    inner(vp(), 50).forEach((t) => assert.ok(subVp().at(t).sigma < vp().at(t).sigma));
  });

  it("vp() has the mean coefficient of score SDE and ends where DDPM does", () => {
    const coefficient = (t: number) => -0.25 * t * t * 19.9 - 0.5 * t * 0.1;
    [1e-5, 0.1, 0.5, 1].forEach((t) => {
      near(vp().at(t).alpha, Math.exp(coefficient(t)), 1e-13);
      near(vp().at(t).sigma ** 2, -Math.expm1(2 * coefficient(t)), 1e-13);
    });
    near(vp().at(1).alpha ** 2, 4.0358e-5, 0.1);
  });

  it("vp() with betas of 1 is the Ornstein–Uhlenbeck process with variance 1 − exp(−t)", () => {
    const { at } = vp({ betaMin: 1, betaMax: 1, end: 3 });
    near(at(0.7).alpha, Math.exp(-0.35), 1e-15);
    near(at(0.7).sigma ** 2, 1 - Math.exp(-0.7), 1e-15);
    // The slip sqrt(1 − alpha) in place of sqrt(1 − alpha²) leaves unit-variance data at 0.792.
    near(at(0.7).alpha ** 2 + at(0.7).sigma ** 2, 1, 1e-15);
    near(at(0.7).alpha ** 2 + (1 - at(0.7).alpha), 0.792, 1e-3);
  });

  it("ve() is geometric with exact ends, and fromZero subtracts sigma(0)²", () => {
    const { at } = ve(), sigmas = Array.from({ length: 11 }, (_, i) => at(i / 10).sigma);
    assert.equal(sigmas[0], 0.01);
    near(sigmas[10]!, 50, 1e-14);
    sigmas.slice(1).forEach((sigma, i) => near(sigma / sigmas[i]!, 5000 ** 0.1, 1e-12));
    const shifted = ve({ fromZero: true });
    near(shifted.at(0.4).sigma ** 2, at(0.4).sigma ** 2 - 1e-4, 1e-12);
    assert.equal(shifted.at(0).sigma, 0);
    near(shifted.diffusion(0.4), at(0.4).sigma * Math.sqrt(2 * Math.log(5000)), 1e-13);
  });

  it("edm() has sigma for its time and answers at the data", () => {
    assert.deepEqual(edm().span, [0.002, 80]);
    assert.deepEqual(edm().at(0), { alpha: 1, sigma: 0 });
    near(edm().diffusion(3), Math.sqrt(6), 1e-15);
  });

  it("rectified() is the straight path with f = −1/(1 − t) and g² = 2t/(1 − t)", () => {
    assert.deepEqual(rectified().at(0.25), { alpha: 0.75, sigma: 0.25 });
    near(rectified().drift(0.25), -4 / 3, 1e-15);
    near(rectified().diffusion(0.25) ** 2, 2 / 3, 1e-15);
  });

  it("cosineContinuous() and sigmoidContinuous() are their formulas, and end at alpha 0", () => {
    const f = (t: number) => Math.cos((t + 0.008) / 1.008 * Math.PI / 2) ** 2;
    near(cosineContinuous().at(0.6).alpha ** 2, f(0.6) / f(0), 1e-14);
    const s = (t: number) => 1 / (1 + Math.exp(3 - 6 * t));
    near(sigmoidContinuous().at(0.2).alpha ** 2, (s(1) - s(0.2)) / (s(1) - s(0)), 1e-14);
    [cosineContinuous({ end: 1 }), sigmoidContinuous({ end: 1 })].forEach((schedule) => {
      assert.deepEqual(schedule.at(1), { alpha: 0, sigma: 1 });
      assert.deepEqual(schedule.at(0), { alpha: 1, sigma: 0 });
    });
  });

  it("discretized() is the continuous schedule with time in steps", () => {
    const schedule = discretized(vp(), 40);
    assert.deepEqual([schedule.steps, schedule.span], [40, [0, 40]]);
    assert.deepEqual(schedule.at(10), vp().at(0.25));
    assert.deepEqual(schedule.at(40), vp().at(1));
    near(betas(schedule)[19]!, -Math.expm1(-(0.1 / 40 + 19.9 * (0.25 - 0.475 ** 2) / 2)), 1e-11);
    // The betas of the chain that discretises the SDE, linspace(0.1/N, 20/N, N), are near.
    near(betas(discretized(vp(), 1000))[499]!, 0.0001 + 0.0199 * 499 / 999, 1e-2);
  });

  it("discretized() of vp() in 1000 steps is close to linear()", () => {
    [100, 500, 1000].forEach((t) => {
      near(Math.log(discretized(vp(), 1000).at(t).alpha), Math.log(linear().at(t).alpha), 0.01);
    });
  });
});

describe("every schedule", () => {
  it("every schedule starts at its least time with the least noise and falls in log-SNR", () => {
    each(all(), 24, ({ name, span: [least, most], at }) => {
      let before = logSnr(at(least));
      for (let i = 1; i <= 400; i++) {
        const now = logSnr(at(least + (most - least) * i / 400));
        assert.ok(now < before, `${name} at ${i}/400: ${now} after ${before}`);
        before = now;
      }
    });
  });

  it("timeOf() inverts log-SNR inside every span and at its ends", () => {
    each(all(), 24, (schedule) => {
      const { at, timeOf, span: [least, most] } = schedule;
      inner(schedule, 101).forEach((t) => near(timeOf(logSnr(at(t))), t, 1e-10));
      near(timeOf(logSnr(at(least))), least, 1e-10, 1);
      near(timeOf(logSnr(at(most))), most, 1e-10);
    });
  });

  it("timeOf() inverts near the data, where sigma is 1e-5 and less", () => {
    each([vp(), subVp(), edm(), rectified(), ve({ fromZero: true })], 5, ({ at, timeOf }) => {
      [1e-3, 1e-6, 1e-10].forEach((t) => near(timeOf(logSnr(at(t))), t, 1e-9));
    });
    [cosineContinuous(), sigmoidContinuous()].forEach(({ at, timeOf }) => {
      near(timeOf(logSnr(at(1e-6))), 1e-6, 1e-7);
    });
  });

  it("timeOf(Infinity) is the time of the data, where there is one", () => {
    each(all().filter(({ name }) => !name.startsWith("ve")), 21, ({ at, timeOf }) => {
      assert.deepEqual(at(timeOf(Infinity)), { alpha: 1, sigma: 0 });
    });
    assert.throws(() => discretized(ve(), 9).timeOf(Infinity), RangeError);
    assert.equal(ve({ fromZero: true }).timeOf(Infinity), 0);
    assert.throws(() => ve().timeOf(Infinity), RangeError);
  });

  it("drift() and diffusion() carry the moments: m′ = f·m, v′ = 2f·v + g² integrate to at()", () => {
    each(continuous(), 14, (schedule) => {
      const { name, at, drift, diffusion, span: [least, most] } = schedule;
      const [a, b] = [least + (most - least) * 0.01, least + (most - least) * 0.9];
      const n = 4000, h = (b - a) / n;
      let m = at(a).alpha, v = at(a).sigma ** 2;
      for (let i = 0; i < n; i++) {
        // Classical Runge–Kutta; both equations are linear, so three evaluations of f and g do.
        const [f, g] = [0, 0.5, 1].map((c) => a + (i + c) * h).reduce(
          ([fs, gs], t) => [[...fs, drift(t)], [...gs, diffusion(t) ** 2]],
          [[] as number[], [] as number[]],
        );
        const step = (y: number, slope: (j: number, y: number) => number): number => {
          const k1 = slope(0, y), k2 = slope(1, y + h / 2 * k1), k3 = slope(1, y + h / 2 * k2);
          return y + h / 6 * (k1 + 2 * k2 + 2 * k3 + slope(2, y + h * k3));
        };
        m = step(m, (j, y) => f![j]! * y);
        v = step(v, (j, y) => 2 * f![j]! * y + g![j]!);
      }
      assert.ok(Math.abs(m - at(b).alpha) < 1e-8, `${name}: m ${m}, alpha ${at(b).alpha}`);
      near(v, at(b).sigma ** 2, 1e-7);
    });
  });

  it("fromLevel() derives the closed forms of every smooth schedule", () => {
    each(
      [vp(), subVp(), ve(), rectified(), cosineContinuous(), sigmoidContinuous()],
      6,
      (known) => {
        const { span: [least, most] } = known, span = [least, most * 0.95] as const;
        const derived = fromLevel(known.at, { span });
        [0.001, 0.1, 0.5, 0.93].map((u) => least + u * (most - least)).forEach((t) => {
          near(derived.drift(t), known.drift(t), 1e-7, 1);
          near(derived.diffusion(t), known.diffusion(t), 1e-7);
          near(derived.timeOf(logSnr(known.at(t))), t, 1e-10);
        });
        near(derived.drift(span[1]), known.drift(span[1]), 1e-5, 1);
      },
    );
  });

  it("vp() and its kin keep unit variance, whatever the options", () => {
    const positive = fc.double({ min: 0.01, max: 30, noNaN: true });
    const share = fc.double({ min: 0, max: 1, noNaN: true });
    fc.assert(fc.property(positive, positive, share, fc.nat(3), (a, b, u, which) => {
      const [betaMin, betaMax] = [Math.min(a, b), Math.max(a, b)];
      const made = [
        vp({ betaMin, betaMax }),
        cosineContinuous({ offset: a / 30 }),
        sigmoidContinuous({ start: -a / 6, stop: b / 6, temperature: 0.5 + u }),
        linear({ steps: 1 + Math.floor(a), betaStart: betaMin / 40, betaEnd: betaMax / 40 }),
      ][which]!;
      const t = made.span[1] * u, { alpha, sigma } = made.at(t);
      near(alpha ** 2 + sigma ** 2, 1, 1e-12);
      near(made.diffusion(t) ** 2, -2 * made.drift(t), 1e-12);
      if (sigma > 1e-6 && alpha > 1e-6) near(made.timeOf(logSnr({ alpha, sigma })), t, 1e-6, 1e-3);
    }));
  });

  it("at() takes what rounding has put beyond an end for that end", () => {
    assert.deepEqual(rectified().at(1 + 1e-12), { alpha: 0, sigma: 1 });
    assert.deepEqual(linear().at(-1e-10), { alpha: 1, sigma: 0 });
    assert.deepEqual(linear().at(1000 + 1e-7), linear().at(1000));
  });

  it("at(), drift(), diffusion() and timeOf() refuse what lies outside, by name", () => {
    const refused = (act: () => unknown, pattern: RegExp): void => {
      assert.throws(act, (error) => error instanceof RangeError && pattern.test(error.message));
    };
    refused(() => linear().at(1001), /schedule "linear": t must be in \[0, 1000\], got 1001$/);
    refused(() => linear().at(-0.5), /got -0.5$/);
    refused(() => vp().at(NaN), /got NaN$/);
    refused(() => vp().drift(-1), /t must be/);
    refused(() => rectified().diffusion(1.1), /t must be/);
    refused(() => linear().timeOf(-50), /invert the schedule "linear": logSnr .* got -50$/);
    refused(() => linear().timeOf(NaN), /got NaN$/);
    refused(() => fromLevel(rectified().at, { span: [0.1, 0.9] }).timeOf(9), /got 9$/);
  });

  it("constructors refuse an option that they do not know", () => {
    const wrong = { step: 5 } as object;
    const makers: (() => unknown)[] = [
      () => linear(wrong),
      () => scaledLinear(wrong),
      () => cosine(wrong),
      () => sigmoidBetas(wrong),
      () => vp(wrong),
      () => subVp(wrong),
      () => ve(wrong),
      () => edm(wrong),
      () => cosineContinuous(wrong),
      () => sigmoidContinuous(wrong),
      () => fromLevel(rectified().at, wrong),
      () => fromLevel(rectified().at, { grid: { spacing: "karras", ...wrong } }),
    ];
    each(makers, 12, (make) =>
      assert.throws(make, {
        name: "TypeError",
        message: /^Cannot make the schedule "\w+": options must be among .*, got "step"$/,
      }));
    assert.throws(() => linear(1000 as unknown as object), /options must be an object, got 1000$/);
  });

  it("a schedule's layout of grids is kept by what is made of it", () => {
    const grid = { spacing: "karras" } as const;
    each(
      [edm(), unit(edm()), discretized(edm(), 9)],
      3,
      (made) => assert.deepEqual(made.grid, grid),
    );
    assert.deepEqual(fromLevel(rectified().at, { grid }).grid, grid);
    assert.equal(fromLevel(rectified().at).grid, undefined);
  });

  it("constructors refuse bad options before any work", () => {
    const bad: [() => unknown, RegExp][] = [
      [() => linear({ steps: 0 }), /"linear": steps must be a whole number .* got 0$/],
      [() => linear({ steps: 2.5 }), /got 2.5$/],
      [() => linear({ betaStart: 0 }), /beta_1 must be in \(0, 1\), got 0$/],
      [() => linear({ steps: 5, betaEnd: 1 }), /beta_5 must be in \(0, 1\), got 1$/],
      [() => scaledLinear({ betaEnd: -1 }), /betaEnd must be/],
      [() => cosine({ maxBeta: 1 }), /maxBeta must be/],
      [() => cosine({ offset: -1 }), /offset must be/],
      [() => sigmoidBetas({ betaStart: NaN }), /betaStart must be .* NaN$/],
      [() => fromBetas([]), /steps must be/],
      [() => fromBetas([0.1, 1.5]), /beta_2 must be/],
      [() => fromAlphaBars([0.5, 0.5]), /alphaBar_2 must be in \(0, 0.5\)/],
      [() => fromAlphaBars([0.5, 0, 0.1]), /alphaBar_2 must be/],
      [() => fromAlphaBars([1]), /alphaBar_1 must be/],
      [() => vp({ betaMin: 0 }), /betaMin must be/],
      [() => vp({ betaMax: 0.05 }), /betaMax must be .* 0.1, got 0.05$/],
      [() => subVp({ end: 0 }), /end must be/],
      [() => ve({ sigmaMin: 60 }), /sigmaMax must be .* above 60, got 50$/],
      [() => edm({ sigmaMin: 0 }), /sigmaMin must be/],
      [() => cosineContinuous({ end: 1.1 }), /end must be in \(0, 1\]/],
      [() => sigmoidContinuous({ stop: -4 }), /stop must be/],
      [() => discretized(linear(), 10), /schedule must be continuous, got one of 1000 steps$/],
      [() => discretized(vp(), 0), /steps must be/],
      [() => fromLevel((t) => ({ alpha: t, sigma: 1 - t })), /log-SNR must be falling/],
      [() => fromLevel(rectified().at, { span: [1, 0] }), /span\[1\] must be/],
      [
        () => betas(vp()),
        /list betas: schedule must be discrete and variance-preserving, got "vp"$/,
      ],
      [() => alphaBars(discretized(ve(), 5)), /variance-preserving/],
      [() => zeroTerminalSnr(linear({ steps: 1 })), /steps must be at least 2, got 1$/],
    ];
    each(bad, 27, ([act, pattern]) => {
      assert.throws(act, (error) => error instanceof RangeError && pattern.test(error.message));
    });
  });
});

describe("unit()", () => {
  it("unit() has alpha² + sigma² = 1, and the same log-SNR at the same times", () => {
    for (const schedule of [...discrete(), ...continuous()]) {
      const units = unit(schedule), [least, most] = schedule.span;
      assert.deepEqual([units.span, units.steps], [schedule.span, schedule.steps]);
      for (const share of [0.01, 0.3, 0.8, 1]) {
        const t = least + share * (most - least), { alpha, sigma } = units.at(t);
        near(alpha ** 2 + sigma ** 2, 1, 1e-9);
        near(logSnr({ alpha, sigma }), logSnr(schedule.at(t)), 1e-9, 1);
      }
    }
  });

  it("unit() has the drift and diffusion that lead to its levels", () => {
    each([subVp(), ve(), edm(), rectified()], 4, (schedule) => {
      const units = unit(schedule), h = 1e-5;
      for (const t of [0.2, 0.5, 0.9]) {
        const [before, at, after] = [t - h, t, t + h].map(units.at), f = units.drift(t);
        near((Math.log(after!.alpha) - Math.log(before!.alpha)) / (2 * h), f, 1e-5);
        const growth = (after!.sigma ** 2 - before!.sigma ** 2) / (2 * h);
        near(growth - 2 * f * at!.sigma ** 2, units.diffusion(t) ** 2, 1e-5);
      }
    });
  });

  it("unit() of a variance-preserving schedule is itself", () => {
    for (const schedule of [linear(), vp(), cosineContinuous()]) {
      assert.equal(unit(schedule), schedule);
    }
    for (const schedule of [subVp(), ve(), rectified(), edm()]) {
      assert.notEqual(unit(schedule), schedule);
      assert.equal(unit(unit(schedule)).name, unit(schedule).name);
    }
  });
});

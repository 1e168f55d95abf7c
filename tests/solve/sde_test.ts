import { before, describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import * as tf from "@tensorflow/tfjs-core";
import * as fc from "fast-check";
import { brownian, brownianSteps } from "../../src/solve/brownian.ts";
import { solve } from "../../src/solve/ode.ts";
import { subVp, ve, vp } from "../../src/noise/schedule/continuous.ts";
import type { Schedule } from "../../src/noise/schedule/schedule.ts";
import {
  brownianMotion,
  geometricBrownianMotion,
  ornsteinUhlenbeck,
} from "../../src/solve/sde/motion.ts";
import type { Sde } from "../../src/solve/sde/equation.ts";
import { type SdeScheme, sdeSchemes } from "../../src/solve/sde/scheme.ts";
import { simulate, type SimulateOptions } from "../../src/solve/sde/simulate.ts";
import { forwardSde } from "../../src/noise/forward.ts";
import { useBackend } from "../../src/tensor/backend/backend.ts";
import { type Key, key, split } from "../../src/tensor/key.ts";
import { type Keys, normal } from "../../src/tensor/random.ts";
import { average, live } from "../measure.ts";

/** Mean of values and its standard error. */
function estimate(values: readonly number[]): { readonly mean: number; readonly error: number } {
  const centre = average(values), spread = average(values.map((v) => (v - centre) ** 2));
  return { mean: centre, error: Math.sqrt(spread / values.length) };
}

const zOf = (values: readonly number[], wanted: number, slack = 0): number => {
  const { mean, error } = estimate(values);
  return (mean - wanted) / Math.hypot(error, slack);
};

function near(values: readonly number[], wanted: number, slack = 0): void {
  const z = zOf(values, wanted, slack);
  assert.ok(Math.abs(z) < 4, `${average(values)} against ${wanted}: z = ${z}`);
}

async function endOf(sde: Sde, options: SimulateOptions): Promise<number[]> {
  let last: number[] = [];
  for await (const { x } of simulate(sde, options)) last = [...x.dataSync()];
  return last;
}

/** Paths for the measurement of orders. */
const count = 4000, root = key(11);

/** W(1) of each path. */
const ends = (): number[] => {
  const [w] = brownian(root, [count], [0, 1]), values = [...w!.dataSync()];
  w!.dispose();
  return values;
};

const start = (value: number) => tf.fill([count], value);

const gbm = geometricBrownianMotion({ mu: 0.5, sigma: 1 });

/** x(1) of dx = x/2 dt + x dW from 1: exp(W(1)). */
const exactGbm = (): number[] => ends().map(Math.exp);

const errorsOf = async (scheme: SdeScheme, steps: number): Promise<number[]> => {
  const exact = exactGbm();
  const end = await endOf(gbm, { x: start(1), span: [0, 1], steps, keys: root, scheme });
  return end.map((x, i) => x - exact[i]!);
};

/** Mean of the product of two linear functions of the path, step for step: m^N. */
interface Moments {
  /** E of one step's factor. */
  readonly first: (h: number) => number;
  /** E of its square. */
  readonly second: (h: number) => number;
  /** E of its product with the exact factor e^(dW). */
  readonly cross: (h: number) => number;
}

// One step of dx = mu·x dt + x dW is x·(1 + mu·h + dW + share·(dW² − h)/2); E[dW·e^(dW)] = h·e^(h/2),
// E[dW²·e^(dW)] = (h + h²)·e^(h/2).
const momentsOf = (share: number): Moments => ({
  first: (h) => 1 + h / 2,
  second: (h) => (1 + h / 2) ** 2 + h + share * h * h / 2,
  cross: (h) => Math.exp(h / 2) * (1 + h / 2 + h + share * h * h / 2),
});

/** E[(x_N − x(1))²], exactly. */
const squared = ({ second, cross }: Moments, steps: number): number => {
  const h = 1 / steps;
  return second(h) ** steps - 2 * cross(h) ** steps + Math.exp(2);
};

describe("brownianSteps()", () => {
  before(() => useBackend("cpu"));

  it("brownianSteps() are brownian() bit for bit, one at a time", () => {
    const times = [0, 0.1, 0.1, 0.25, 0.6, 1], horizon = 1.7;
    for (const keys of [key(3), split(key(3), 4)]) {
      const all = brownian(keys, [3], times, { horizon });
      const steps = [...brownianSteps(keys, [3], times, { horizon })];
      assert.deepEqual(steps.map(({ shape }) => shape), all.map(({ shape }) => shape));
      assert.deepEqual(steps.map((dw) => [...dw.dataSync()]), all.map((dw) => [...dw.dataSync()]));
      tf.dispose([all, steps]);
    }
  });

  it("brownianSteps() of coarse times are exact sums of those of fine ones", () => {
    fc.assert(
      fc.property(
        fc.array(fc.double({ min: 0, max: 2, noNaN: true }), { minLength: 2, maxLength: 9 }),
        fc.array(fc.double({ min: 0, max: 2, noNaN: true }), { maxLength: 9 }),
        (some, more) => {
          const coarse = some.toSorted((a, b) => a - b);
          const fine = [...coarse, ...more.filter((t) => t >= coarse[0]! && t <= coarse.at(-1)!)]
            .sort((a, b) => a - b);
          const walk = (times: number[]) => {
            let w = 0;
            return [...brownianSteps(key(5), [], times, { horizon: 2 })].map((dw) => {
              w += dw.dataSync()[0]!;
              dw.dispose();
              return w;
            });
          };
          const [slow, quick] = [walk(coarse), walk(fine)];
          slow.forEach((w, i) => assert.ok(quick.includes(w) || coarse[i + 1] === coarse[0]));
          assert.equal(slow.at(-1), quick.at(-1));
        },
      ),
      { numRuns: 50, seed: 1 },
    );
  });

  it("brownianSteps() are independent normals of the variance of their times", () => {
    const times = [0, 0.1, 0.4, 0.5, 1], n = 10_000;
    const steps = [...brownianSteps(key(6), [n], times)].map((dw, i) =>
      [...dw.dataSync()].map((value) => value / Math.sqrt(times[i + 1]! - times[i]!))
    );
    steps.forEach((a, i) => {
      near(a, 0);
      near(a.map((v) => v * v), 1);
      near(a.map((v) => v ** 4), 3);
      steps.slice(0, i).forEach((b) => near(a.map((v, j) => v * b[j]!), 0));
    });
  });

  it("brownianSteps() draw nothing before they are asked, and can be asked again", () => {
    const held = live(), steps = brownianSteps(key(1), [2], [0, 0.5, 1]);
    const [first] = steps;
    assert.equal(live(), held + 1);
    assert.deepEqual([...[...steps][0]!.dataSync()], [...first!.dataSync()]);
  });

  it("brownianSteps() refuse times that fall or lie outside", () => {
    assert.throws(() => brownianSteps(key(1), [], [0.5, 0.4]), {
      name: "RangeError",
      message: "Cannot draw Brownian paths: times must not fall, got [0.5, 0.4]",
    });
    assert.throws(() => brownianSteps(key(1), [], [0, 2]), RangeError);
    assert.throws(() => brownianSteps(key(1), [], []), RangeError);
    // 0.1·3 is beyond 0.3, and the same tick.
    const times = [0, 0.1 * 3, 0.3],
      steps = [...brownianSteps(key(1), [], times, { horizon: 0.3 })];
    const [whole] = brownian(key(1), [], [0, 0.3], { horizon: 0.3 });
    assert.deepEqual(steps.map((dw) => dw.dataSync()[0]), [whole!.dataSync()[0], 0]);
  });
});

describe("sdeSchemes", () => {
  before(() => useBackend("cpu"));

  const golden = {
    eulerMaruyama: [0.232, 0.165, 0.116, 0.082],
    milstein: [0.0504, 0.0262, 0.0134, 0.0068],
  };
  for (const [name, values] of Object.entries(golden)) {
    const scheme = sdeSchemes[name as keyof typeof golden], share = name === "milstein" ? 1 : 0;

    it(`sdeSchemes.${name} on geometric Brownian motion has strong order ${scheme.order}, the golden and the exact errors`, async () => {
      const found: number[] = [];
      for (const [i, steps] of [16, 32, 64, 128].entries()) {
        const errors = await errorsOf(scheme, steps), absolute = errors.map(Math.abs);
        // Golden figures are rounded, and from a sample themselves, of about this size.
        near(absolute, values[i]!, estimate(absolute).error + 10 ** -(share + 3) / 2);
        near(errors.map((e) => e * e), squared(momentsOf(share), steps));
        found.push(average(absolute));
      }
      const order = Math.log2(found[0]! / found[3]!) / 3;
      assert.ok(Math.abs(order - scheme.order) < 0.07, `${order}`);
    });

    it(`sdeSchemes.${name} has weak order 1: its mean is (1 + h/2)^N`, async () => {
      for (const steps of [4, 16]) {
        const wanted = momentsOf(share).first(1 / steps) ** steps - Math.exp(0.5);
        near(await errorsOf(scheme, steps), wanted);
      }
      const bias = [64, 128].map((n) => (1 + 0.5 / n) ** n - Math.exp(0.5));
      assert.ok(Math.abs(Math.log2(bias[0]! / bias[1]!) - 1) < 0.02);
    });
  }

  for (const name of ["heun", "platen"] as const) {
    it(`sdeSchemes.${name} has strong order 1 on geometric Brownian motion`, async () => {
      const found: number[] = [];
      for (const steps of [16, 64]) {
        found.push(average((await errorsOf(sdeSchemes[name], steps)).map(Math.abs)));
      }
      const order = Math.log2(found[0]! / found[1]!) / 2;
      assert.ok(Math.abs(order - 1) < 0.12, `${order}: ${found}`);
    });
  }

  it("sdeSchemes.heun and .milstein and .platen solve Itô's equation where g is curved", async () => {
    // The tangent, x = tan(s·W + c), of dx = s²·x·(1 + x²) dt + s·(1 + x²) dW.
    const s = 0.3, one = (x: tf.Tensor) => tf.tidy(() => tf.add(1, tf.square(x)));
    const tangent: Sde = {
      drift: (x) => tf.tidy(() => tf.mul(tf.mul(x, one(x)), s * s)),
      diffusion: (x) => tf.tidy(() => tf.mul(one(x), s)),
      diffusionSlope: (x) => tf.mul(x, 2 * s),
    };
    const n = 1000, [dw] = brownian(root, [n], [0, 1]), w = [...dw!.dataSync()];
    const kept = w.map((value) => Math.abs(value) < 2);
    for (const [name, scheme] of Object.entries(sdeSchemes)) {
      const found: number[] = [];
      for (const steps of [16, 64]) {
        const end = await endOf(tangent, {
          x: tf.fill([n], 0.2),
          span: [0, 1],
          steps,
          keys: root,
          scheme,
        });
        const errors = end.map((x, i) => Math.abs(x - Math.tan(s * w[i]! + Math.atan(0.2))));
        found.push(average(errors.filter((_, i) => kept[i])));
      }
      const order = Math.log2(found[0]! / found[1]!) / 2;
      assert.ok(Math.abs(order - scheme.order) < 0.15, `${name}: ${order}, ${found}`);
    }
  });

  it("sdeSchemes.eulerMaruyama has strong order 1 where noise is additive, with the golden errors", async () => {
    // dx = −2x dt + dB from 1: the reference is the same path in 4096 steps.
    const n = 1000, x = tf.ones([n]), sde = ornsteinUhlenbeck({ theta: 2 }), found: number[] = [];
    const at = (steps: number) => endOf(sde, { x, span: [0, 1], steps, keys: root });
    const fine = await at(1024);
    for (const [i, steps] of [16, 32, 64].entries()) {
      const errors = (await at(steps)).map((value, j) => Math.abs(value - fine[j]!));
      const wanted = [0.0265, 0.013, 0.0063][i]!;
      // The reference's own error is of a hundredth of these; its sign is the same.
      near(errors, wanted, estimate(errors).error + 5e-5 + wanted * steps / 1024);
      found.push(average(errors));
    }
    const order = Math.log2(found[0]! / found[2]!) / 2;
    assert.ok(Math.abs(order - 1) < 0.1, `${order}`);
  });

  it("sdeSchemes take a step back in time as its mirror image, and without ∂g/∂x are Euler-Maruyama but for Heun's", async () => {
    const move = { x: tf.tensor([0.5, -1]), t: 0.3, h: 0.1, dw: tf.tensor([0.2, -0.4]) };
    const forward: Sde = {
      drift: (x, t) => tf.tidy(() => tf.mul(tf.sin(x), t)),
      diffusion: (x, t) => tf.tidy(() => tf.add(tf.square(x), t)),
      diffusionSlope: (x) => tf.mul(x, 2),
    };
    // y(u) = x(0.6 − u): time falls where it rose, and the drift changes its sign.
    const mirrored: Sde = {
      drift: (x, t) => tf.tidy(() => tf.neg(tf.mul(tf.sin(x), 0.6 - t))),
      diffusion: (x, t) => tf.tidy(() => tf.add(tf.square(x), 0.6 - t)),
      diffusionSlope: forward.diffusionSlope!,
    };
    for (const [name, { step }] of Object.entries(sdeSchemes)) {
      const there = [...(await step(forward, move)).dataSync()];
      const back = [...(await step(mirrored, { ...move, h: -0.1 })).dataSync()];
      there.forEach((value, i) => assert.ok(Math.abs(value - back[i]!) < 1e-6, name));
    }
    const plain = ornsteinUhlenbeck({ theta: 1.5, sigma: 0.7, mean: 0.4 });
    const euler = [...(await sdeSchemes.eulerMaruyama.step(plain, move)).dataSync()];
    const wanted = [0.5, -1].map((x, i) => x + 1.5 * (0.4 - x) * 0.1 + 0.7 * [0.2, -0.4][i]!);
    for (const name of ["milstein", "platen"] as const) {
      const other = [...(await sdeSchemes[name].step(plain, move)).dataSync()];
      euler.forEach((value, i) => assert.ok(Math.abs(value - other[i]!) < 1e-6, name));
    }
    euler.forEach((value, i) => assert.ok(Math.abs(value - wanted[i]!) < 1e-6));
  });

  it("sdeSchemes.heun without noise is Heun's method for ODEs", async () => {
    const sde: Sde = { drift: (x, t) => tf.mul(x, t), diffusion: () => 0, diffusionSlope: () => 0 };
    const [got] = await endOf(sde, {
      x: tf.tensor([1]),
      span: [0, 1],
      steps: 1,
      keys: key(0),
      scheme: sdeSchemes.heun,
    });
    assert.equal(got, 1.5); // x + h/2·(0 + (x + 0)·1)
  });

  it("sdeSchemes answer at once where the SDE does, later where it does, and keep no tensor", async () => {
    const later: Sde = {
      drift: async (x, t) => await gbm.drift(x, t),
      diffusion: async (x, t) => await gbm.diffusion(x, t),
      diffusionSlope: async (x, t) => await gbm.diffusionSlope!(x, t),
    };
    const move = { x: tf.tensor([0.5, -1]), t: 0.3, h: 0.1, dw: tf.tensor([0.2, -0.4]) };
    const held = live();
    for (const [name, { step }] of Object.entries(sdeSchemes)) {
      const now = step(gbm, move), then = step(later, move);
      assert.ok(now instanceof tf.Tensor && then instanceof Promise, name);
      const awaited = await then;
      assert.deepEqual([...now.dataSync()], [...awaited.dataSync()]);
      tf.dispose([now, awaited]);
      assert.equal(live(), held, name);
    }
    // A field may answer with its argument.
    const bare: Sde = { drift: (x) => x, diffusion: (x) => x, diffusionSlope: () => 1 };
    for (const { step } of Object.values(sdeSchemes)) (await step(bare, move)).dispose();
    assert.equal(live(), held);
    assert.equal(move.x.dataSync()[0], 0.5);
  });
});

describe("simulate()", () => {
  before(() => useBackend("cpu"));

  it("simulate() of Brownian motion is the path, whatever the scheme and the steps", async () => {
    const [w] = brownian(key(2), [5], [0, 3], { horizon: 3 }),
      sde = brownianMotion({ drift: 0.5, sigma: 2 });
    const wanted = [...w!.dataSync()].map((value) => 1 + 0.5 * 3 + 2 * value);
    for (const scheme of Object.values(sdeSchemes)) {
      for (const steps of [1, 8, 11]) {
        const end = await endOf(sde, {
          x: tf.ones([5]),
          span: [2, 5],
          steps,
          keys: key(2),
          scheme,
        });
        end.forEach((value, i) => assert.ok(Math.abs(value - wanted[i]!) < 2e-5));
      }
    }
  });

  it("simulate() refines one path: the distance to the finest falls with every halving", async () => {
    const options = { x: tf.ones([500]), span: [0, 1], keys: key(8) } as const,
      ladder = [8, 32, 128, 512];
    const states: number[][] = [];
    for (const steps of ladder) states.push(await endOf(gbm, { ...options, steps }));
    const distance = states.slice(0, 3).map((each) =>
      average(each.map((x, i) => Math.abs(x - states[3]![i]!)))
    );
    assert.ok(
      distance[1]! < 0.7 * distance[0]! && distance[2]! < 0.7 * distance[1]!,
      `${distance}`,
    );
    const other = await endOf(gbm, { ...options, keys: key(9), steps: 512 });
    assert.ok(average(other.map((x, i) => Math.abs(x - states[3]![i]!))) > 5 * distance[0]!);
  });

  it("simulate() under a key for each sample gives each its path, whatever the batch", async () => {
    const keys = split(key(4), 6), sde = ornsteinUhlenbeck();
    const run = (keys: Key[], n: number) =>
      endOf(sde, { x: tf.ones([n, 2]), span: [0, 1], steps: 8, keys });
    const six = await run(keys, 6), two = await run(keys.slice(2, 4), 2);
    assert.deepEqual(two, six.slice(4, 8));
    assert.equal(new Set(six).size, 12);
  });

  it("simulate() of Ornstein and Uhlenbeck's process is its autoregression, and stays in the law that it keeps", async () => {
    const theta = 2, sigma = 0.7, h = 0.05, keep = 1 - theta * h;
    const limit = sigma ** 2 * h / (1 - keep ** 2),
      sde = ornsteinUhlenbeck({ theta, sigma, mean: 1 });
    // The chain's own variance; in the limit of short steps sigma²/(2·theta) = 0.1225, not 0.49.
    assert.ok(Math.abs(limit / (1 - theta * h / 2) ** -1 - sigma ** 2 / (2 * theta)) < 1e-12);
    const x = tf.tidy(() => tf.add(1, tf.mul(normal(key(21), [count]), Math.sqrt(limit))));
    const first = [...x.dataSync()];
    let step = 0;
    for await (const state of simulate(sde, { x, span: [0, 1], steps: 20, keys: root })) {
      if (state.step % 5 === 0) {
        const at = [...state.x.dataSync()].map((v) => v - 1);
        near(at, 0);
        near(at.map((v) => v * v), limit);
        near(at.map((v, i) => v * (first[i]! - 1)), limit * keep ** state.step);
      }
      step = state.step;
    }
    assert.equal(step, 20);
    // From elsewhere: mean and variance by the recursion.
    const end = await endOf(sde, { x: start(3), span: [0, 1], steps: 20, keys: root });
    near(end, 1 + 2 * keep ** 20);
    near(end.map((v) => (v - 1 - 2 * keep ** 20) ** 2), limit * (1 - keep ** 40));
  });

  it("simulate() answers the schedule's times and falls through them backward", async () => {
    const seen: number[] = [];
    for await (
      const { t, step } of simulate(gbm, { x: tf.ones([1]), span: [1, 0], steps: 4, keys: key(0) })
    ) {
      assert.equal(step, seen.length);
      seen.push(t);
    }
    assert.deepEqual(seen, [1, 0.75, 0.5, 0.25, 0]);
  });

  it("simulate() frees everything when it ends, is broken off, is aborted or fails", async () => {
    const x = tf.ones([3]),
      held = live(),
      options = { x, span: [0, 1], steps: 6, keys: key(0) } as const;
    for (const scheme of Object.values(sdeSchemes)) {
      for await (const _ of simulate(gbm, { ...options, scheme })) {
        assert.equal(live(), held + 1);
      }
      for await (const { step } of simulate(gbm, { ...options, scheme })) if (step === 2) break;
      assert.equal(live(), held);
      const stop = new AbortController();
      await assert.rejects(async () => {
        for await (const { step } of simulate(gbm, { ...options, scheme, signal: stop.signal })) {
          if (step === 2) stop.abort(new Error("stop"));
        }
      }, /stop/);
      let count = 0;
      const failing: Sde = {
        ...gbm,
        diffusion: (x) => {
          if (++count === 4) throw new Error("no");
          return tf.clone(x);
        },
      };
      await assert.rejects(() => endOf(failing, { ...options, scheme }), /no/);
      assert.equal(live(), held);
    }
  });

  it("simulate() refuses what makes no sense before it begins", () => {
    const refused = (
      options: Partial<SimulateOptions>,
      message: RegExp,
      sde = gbm,
      name = "RangeError",
    ) =>
      assert.throws(
        () => simulate(sde, { x: tf.ones([2]), span: [0, 1], steps: 2, keys: key(0), ...options }),
        { name, message },
      );
    refused(
      { span: [1, 1] },
      /^Cannot simulate an SDE: span must be two different finite times, got \[1, 1\]$/,
    );
    refused({ steps: 1.5 }, /steps must be a whole number of at least 1, got 1.5$/);
    refused(
      { span: [0, NaN], steps: undefined! },
      /^Cannot simulate an SDE: span must be two different .*, got \[0, NaN\]; steps must be .*, got undefined$/,
    );
    refused({ keys: [key(0)] }, /keys must be one, or one for each of 2 samples, got 1$/);
    refused({ x: tf.zeros([0, 1]) }, /x must have elements, got shape \[0,1\]$/);
    refused(
      { keys: 5 as unknown as Keys },
      /^Cannot simulate an SDE: keys must be a key, as key\(0\) makes them, got 5$/,
      gbm,
      "TypeError",
    );
    refused({ keys: [key(0), undefined!] }, /each of keys must be a key/, gbm, "TypeError");
    refused(
      { step: 5 } as Partial<SimulateOptions>,
      /options must be among x, span, .*, got "step"$/,
      gbm,
      "TypeError",
    );
    const { diffusionSlope: _, ...bare } = gbm;
    refused({ scheme: sdeSchemes.milstein }, /sde.diffusionSlope must be given/, bare, "TypeError");
    refused({ scheme: sdeSchemes.heun }, /sde.diffusionSlope must be given/, bare, "TypeError");
    simulate(bare, {
      x: tf.ones([2]),
      span: [0, 1],
      steps: 2,
      keys: key(0),
      scheme: sdeSchemes.platen,
    });
  });

  it("simulate() refuses a field that broadcasts x, and keeps nothing of it", async () => {
    const x = tf.ones([3, 1]), held = live();
    const flat: Sde = { drift: (x) => tf.reshape(x, [3]), diffusion: () => 1 };
    await assert.rejects(
      async () => {
        for await (const _ of simulate(flat, { x, span: [0, 1], steps: 2, keys: key(0) }));
      },
      {
        name: "RangeError",
        message:
          "Cannot simulate an SDE: drift and diffusion must fit x of shape [3,1], got [3,3] after a step",
      },
    );
    assert.equal(live(), held);
    x.dispose();
  });

  it("the SDEs refuse options that they do not know, and numbers that are none", () => {
    const makers = { brownianMotion, geometricBrownianMotion, ornsteinUhlenbeck };
    for (const [name, make] of Object.entries(makers)) {
      const of = make as (options: object) => Sde;
      assert.throws(() => of({ std: 1 }), {
        name: "TypeError",
        message: /^Cannot make an? .*: options must be among .*sigma.*, got "std"$/,
      }, name);
      assert.throws(() => of({ sigma: NaN }), /sigma must be a finite number, got NaN$/, name);
      assert.throws(() => of({ sigma: -1 }), /sigma must be at least 0, got -1$/, name);
    }
    assert.throws(() => ornsteinUhlenbeck({ theta: Infinity }), RangeError);
  });
});

describe("forwardSde()", () => {
  before(() => useBackend("cpu"));

  const schedules: Record<string, Schedule> = {
    vp: vp(),
    subVp: subVp(),
    ve: ve({ sigmaMax: 5, fromZero: true }),
  };

  for (const [name, schedule] of Object.entries(schedules)) {
    it(`forwardSde() of ${name}: the moments' equations m′ = f·m, v′ = 2f·v + g² lead to its marginals`, async () => {
      const sde = forwardSde(schedule), one = tf.ones([1]), zero = tf.zeros([1]);
      const moments = (x: tf.Tensor, t: number): tf.Tensor =>
        tf.tidy(() => {
          const rate = (sde.drift(one, t) as tf.Tensor).dataSync()[0]!,
            g = sde.diffusion(zero, t) as number;
          return tf.add(tf.mul(x, [rate, 2 * rate]), [0, g * g]);
        });
      const x = tf.tensor1d([1, 0]), times = [0.1, 0.3, 1];
      let asked = 0;
      for await (
        const { x: at, t } of solve(moments, {
          x,
          span: [0, 1],
          times,
          control: { absolute: 1e-8, relative: 1e-5 },
        })
      ) {
        const [m, v] = at.dataSync(), { alpha, sigma } = schedule.at(t);
        assert.ok(Math.abs(m! - alpha) < 2e-5, `${t}: ${m} against ${alpha}`);
        assert.ok(Math.abs(v! / sigma ** 2 - 1) < 1e-4, `${t}: ${v} against ${sigma ** 2}`);
        asked++;
      }
      assert.equal(asked, 3);
    });

    it(`forwardSde() of ${name} by Euler-Maruyama is its recursion, which tends to the marginals`, async () => {
      const recursion = (steps: number): [number, number] => {
        let m = 2, v = 0;
        for (let i = 0; i < steps; i++) {
          const keep = 1 + schedule.drift(i / steps) / steps;
          [m, v] = [m * keep, v * keep ** 2 + schedule.diffusion(i / steps) ** 2 / steps];
        }
        return [m, v];
      };
      const [m, v] = recursion(64), { alpha, sigma } = schedule.at(1);
      const end = await endOf(forwardSde(schedule), {
        x: start(2),
        span: [0, 1],
        steps: 64,
        keys: root,
      });
      near(end, m);
      near(end.map((x) => (x - m) ** 2), v);
      const far = [256, 512].map((steps) => recursion(steps)[1] - sigma ** 2);
      const order = Math.log2(far[0]! / far[1]!);
      assert.ok(Math.abs(order - 1) < 0.3 || Math.abs(far[1]!) < 1e-4, `${order}, ${far}`);
      assert.ok(Math.abs(recursion(4096)[0] - 2 * alpha) < 2e-4);
    });
  }

  it("forwardSde() of subVp has the golden variances .0107574, .3644136 and .9999137, below those of vp", () => {
    for (const [t, wanted] of [[0.1, 0.0107574], [0.3, 0.3644136], [1, 0.9999137]] as const) {
      assert.ok(Math.abs(subVp().at(t).sigma ** 2 - wanted) < 1e-7);
      assert.ok(subVp().at(t).sigma < vp().at(t).sigma);
    }
  });
});

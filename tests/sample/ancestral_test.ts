import { before, describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import * as tf from "@tensorflow/tfjs-core";
import fc from "fast-check";
import { convert, type Kind, type Model } from "../../src/denoise/prediction.ts";
import { gaussian, mixture } from "../../src/denoise/oracle/gaussian.ts";
import { times } from "../../src/noise/grid.ts";
import { edm, ve, vp } from "../../src/noise/schedule/continuous.ts";
import { cosine, linear } from "../../src/noise/schedule/discrete.ts";
import type { Level, Schedule } from "../../src/noise/schedule/schedule.ts";
import { ddim, ddimInverse, type DdimOptions, ddpm } from "../../src/sample/ancestral.ts";
import type { Env, RunOptions, Sampler, State } from "../../src/sample/path.ts";
import { prior, run } from "../../src/sample/run.ts";
import { useBackend } from "../../src/tensor/backend/backend.ts";
import { key } from "../../src/tensor/key.ts";
import { live } from "../measure.ts";

const schedule = linear();
const model = mixture(schedule, { means: [[-1], [1]], variances: [0.05, 0.2] });
const env: Env = { model, key: key(2) };

async function states(sampler: Sampler, options: Partial<RunOptions> = {}): Promise<number[][]> {
  const found: number[][] = [];
  for await (const { x } of run(prior([6, 1]), { ...env, ...options })(sampler)) {
    found.push([...x.dataSync()]);
  }
  return found;
}

/** The factor of x0hat, of x_t and of z in one step, read off the sampler with x0hat, x_t and z one at a time. */
async function coefficients(sampler: Sampler, schedule: Schedule, t: number): Promise<number[]> {
  const says = tf.tensor([[1], [0], [0]]);
  const constant: Model = { schedule, predict: () => ({ kind: "x0", value: tf.clone(says) }) };
  const noise = () => tf.tensor([[0], [0], [1]]);
  for await (const transition of sampler) {
    const state: State = { x: tf.tensor([[0], [1], [0]]), t, step: 0 };
    const next = await transition({ model: constant, key: key(0), noise })(state);
    return [...next.x.dataSync()];
  }
  return [];
}

const near = (found: readonly number[], wanted: readonly number[], tolerance = 1e-6): void =>
  wanted.forEach((value, i) =>
    assert.ok(
      Math.abs(found[i]! - value) <= tolerance * Math.max(1, Math.abs(value)),
      `${found} instead of ${wanted}`,
    )
  );

/** DDIM's step in its own letters, at any two levels. */
function song(t: Level, s: Level, eta: number): number[] {
  const beta = t.sigma ** 2 - (t.alpha / s.alpha * s.sigma) ** 2;
  const v = eta ** 2 * beta * s.sigma ** 2 / t.sigma ** 2, direction = Math.sqrt(s.sigma ** 2 - v);
  return [s.alpha - direction * t.alpha / t.sigma, direction / t.sigma, Math.sqrt(v)];
}

const schedules: readonly Schedule[] = [linear(), cosine(), vp(), ve(), edm()];

describe("ddim()", () => {
  before(() => useBackend("cpu"));

  it("has the paper's coefficients between any two times of any schedule, for any eta", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(...schedules),
        fc.tuple(
          fc.double({ min: 0.02, max: 1, noNaN: true }),
          fc.double({ min: 0.01, max: 0.95, noNaN: true }),
        ),
        fc.double({ min: 0, max: 1, noNaN: true }),
        async (schedule, [u, share], eta) => {
          const [least, greatest] = schedule.span;
          const start = least + u * (greatest - least), end = least + share * (start - least);
          const [t, s] = times(schedule, { times: [start, end] }) as [number, number];
          const last = eta > 1e-9 && { lastNoise: true };
          const sampler = ddim(schedule, { times: [t, s], eta, ...last });
          near(
            await coefficients(sampler, schedule, t),
            song(schedule.at(t), schedule.at(s), eta),
            2e-6,
          );
        },
      ),
      { numRuns: 60, seed: 1 },
    );
  });

  it("with eta 1 is ddpm() with the small variance, draw by draw", async () => {
    const options = { steps: 12 };
    assert.deepEqual(
      await states(ddim(schedule, { ...options, eta: 1 })),
      await states(ddpm(schedule, options)),
    );
  });

  it("with noise hat is ddpm() with the large variance, draw by draw", async () => {
    const options = { steps: 12 };
    assert.deepEqual(
      await states(ddim(schedule, { ...options, noise: "hat" })),
      await states(ddpm(schedule, { ...options, variance: "large" })),
    );
  });

  it("with eta 0 draws no noise, and with eta 0.5 once a step but the last", async () => {
    const drawn = async (options: DdimOptions) => {
      const steps: number[] = [];
      const noise = ({ step, x }: State) => (steps.push(step), tf.zerosLike(x));
      await states(ddim(schedule, { steps: 4, ...options }), { noise });
      return steps;
    };
    assert.deepEqual(await drawn({}), []);
    assert.deepEqual(await drawn({ eta: 0.5 }), [0, 1, 2]);
    assert.deepEqual(await drawn({ eta: 0.5, final: 100 }), [0, 1, 2]);
    assert.deepEqual(await drawn({ eta: 0.5, final: 100, lastNoise: true }), [0, 1, 2, 3]);
    assert.deepEqual(await drawn({ noise: "hat", lastNoise: true }), [0, 1, 2, 3]);
  });

  it("frees the noise of the environment's own source, made beforehand or in the step", async () => {
    const before = live(), ready = [tf.zeros([6, 1]), tf.zeros([6, 1])];
    const sampler = ddim(schedule, { steps: 3, eta: 1 });
    await states(sampler, { noise: ({ step }) => ready[step]! });
    await states(sampler, { noise: () => tf.zeros([6, 1]) });
    assert.equal(live(), before);
  });

  it("with eta 0 does not depend on the key but for the start", async () => {
    const start = prior([6, 1])(env);
    const ends = [];
    for (const seed of [8, 9]) {
      for await (
        const { x, t } of run(start, { model, key: key(seed) })(ddim(schedule, { steps: 5 }))
      ) {
        if (t === 0) ends.push([...x.dataSync()]);
      }
    }
    start.x.dispose();
    assert.deepEqual(ends[0], ends[1]);
  });

  it("takes any sub-sequence, and visits its times in order", async () => {
    const times = [977, 400, 399, 3, 0], found: number[] = [];
    for await (const { t } of run(prior([1, 1]), env)(ddim(schedule, { times }))) found.push(t);
    assert.deepEqual(found, [977, 400, 399, 3, 0]);
  });

  it("takes eta above 1 as far as eta²·beta-tilde ≤ sigma_s², and refuses it beyond, with the step", async () => {
    const times = [1000, 500], t = schedule.at(1000), s = schedule.at(500);
    const betaTilde = (t.sigma ** 2 - (t.alpha / s.alpha * s.sigma) ** 2) * s.sigma ** 2 /
      t.sigma ** 2;
    const most = s.sigma / Math.sqrt(betaTilde);
    assert.ok(most > 1);
    const eta = 1 + (most - 1) * 0.9;
    near(
      await coefficients(ddim(schedule, { times, eta, lastNoise: true }), schedule, 1000),
      song(t, s, eta),
    );
    assert.throws(() => ddim(schedule, { times, eta: most * 1.001 }), {
      name: "RangeError",
      message:
        /^Cannot make a DDIM sampler: eta must be at most 1\.0\d+ for the step from 1000 to 500, got 1\.0/,
    });
  });

  it("refuses options outside their domain before any work", () => {
    for (const eta of [-0.1, NaN, Infinity]) {
      assert.throws(() => ddim(schedule, { eta }), {
        name: "RangeError",
        message: /eta must be a number of at least 0, got/,
      });
    }
    assert.throws(() => ddim(schedule, { noise: "hat", eta: 0.5 }), {
      name: "RangeError",
      message: /with noise "hat", got 0.5/,
    });
    assert.throws(() => ddim(schedule, { noise: "hut" as "hat" }), {
      name: "RangeError",
      message: /must be "eta" or "hat", got "hut"/,
    });
    assert.throws(() => ddim(schedule, { steps: 0 }), RangeError);
    assert.doesNotThrow(() => ddim(schedule, { noise: "hat", eta: 1 }));
  });

  it("does not depend on which kind of prediction the model makes", async () => {
    const [x0, ...others] = ["x0", "eps", "v", "flow", "score"] as const;
    const as = (kind: Kind): Model => ({
      schedule,
      predict: (x, t) => {
        const prediction = model.predict(x, t);
        const value = convert(prediction, kind, x, schedule.at(t));
        prediction.value.dispose();
        return { kind, value };
      },
    });
    const wanted = (await states(ddim(schedule, { steps: 8, eta: 0.5 }), { model: as(x0) })).at(
      -1,
    )!;
    for (const kind of others) {
      const found = (await states(ddim(schedule, { steps: 8, eta: 0.5 }), { model: as(kind) })).at(
        -1,
      )!;
      near(found, wanted, 1e-4);
    }
  });
});

describe("ddpm()", () => {
  before(() => useBackend("cpu"));

  it("has the paper's posterior coefficients at t = 501: mean −1.19200780, variance .01005133578", async () => {
    const found = await coefficients(
      ddpm(schedule, { times: [501, 500], lastNoise: true }),
      schedule,
      501,
    );
    assert.ok(Math.abs(0.3 * found[0]! - 1.2 * found[1]! + 1.1920078) < 1e-6);
    assert.ok(Math.abs(found[2]! ** 2 - 0.01005133578) < 1e-8);
  });

  it("adds sqrt(beta) at full length with the large variance", async () => {
    const beta = 1e-4 + (0.02 - 1e-4) * 500 / 999;
    const sampler = ddpm(schedule, { times: [501, 500], variance: "large", lastNoise: true });
    assert.ok(Math.abs((await coefficients(sampler, schedule, 501))[2]! ** 2 - beta) < 1e-8);
  });

  it("gives x0hat in its last step, without noise", async () => {
    for (const variance of ["small", "large"] as const) {
      near(await coefficients(ddpm(schedule, { times: [20, 0], variance }), schedule, 20), [
        1,
        0,
        0,
      ]);
    }
  });

  it("carries the x0 prediction in its state", async () => {
    for await (const { x, x0, t, step } of run(prior([2, 1]), env)(ddpm(schedule, { steps: 3 }))) {
      assert.equal(x0 === undefined, step === 0);
      if (t === 0) near([...x.dataSync()], [...x0!.dataSync()]);
    }
  });

  it("refuses another variance, and a grid that is none, before any work", () => {
    assert.throws(() => ddpm(schedule, { variance: "fixed" as "small" }), {
      name: "RangeError",
      message: 'Cannot make a DDPM sampler: variance must be "small" or "large", got "fixed"',
    });
    assert.throws(() => ddpm(schedule, { times: [1, 2] }), RangeError);
  });
});

describe("ddimInverse()", () => {
  before(() => useBackend("cpu"));
  const start = () => ({ x: tf.tensor([[-1.3], [-0.8], [0.6], [1.4]]), t: 0, step: 0 });

  const roundTrip = async (steps: number): Promise<number> => {
    const from = start();
    let code = from.x, back: number[] = [];
    for await (const { x } of run(from, env)(ddimInverse(schedule, { steps }))) code = tf.clone(x);
    const again = { x: code, t: 1000, step: 0 };
    for await (const { x } of run(again, env)(ddim(schedule, { steps }))) back = [...x.dataSync()];
    const wanted = [...from.x.dataSync()];
    return Math.max(...back.map((value, i) => Math.abs(value - wanted[i]!)));
  };

  it("is undone by ddim() with an error that halves as the steps double", async () => {
    const errors = [await roundTrip(100), await roundTrip(200), await roundTrip(400)];
    assert.ok(errors[0]! < 0.2, `${errors}`);
    const ratios = [errors[0]! / errors[1]!, errors[1]! / errors[2]!];
    assert.ok(ratios.every((ratio) => ratio > 1.6 && ratio < 2.6), `${errors}: ${ratios}`);
  });

  it("takes N(0, 1) data to N(0, 1) noise, one to one", async () => {
    const standard = gaussian(schedule, { mean: 0, variance: 1 }), from = start();
    let code: number[] = [];
    for await (
      const { x } of run(from, { ...env, model: standard })(ddimInverse(schedule, { steps: 500 }))
    ) {
      code = [...x.dataSync()];
    }
    near(code, [-1.3, -0.8, 0.6, 1.4], 0.02);
    from.x.dispose();
  });

  it("refuses a start that is not at the grid's end", async () => {
    const from = { ...start(), t: 5 };
    await assert.rejects(async () => {
      for await (const _ of run(from, env)(ddimInverse(schedule, { steps: 4 })));
    }, /state.t must be 0, got 5/);
    from.x.dispose();
  });
});

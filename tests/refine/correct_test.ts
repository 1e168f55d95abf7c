import { before, describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import * as tf from "@tensorflow/tfjs-core";
import { pipe } from "fp-ts/lib/function.js";
import { gaussian, mixture } from "../../src/denoise/oracle/gaussian.ts";
import { mixtureLogDensity } from "../../src/denoise/oracle/mixture.ts";
import type { Model } from "../../src/denoise/prediction.ts";
import { ve, vp } from "../../src/noise/schedule/continuous.ts";
import { linear } from "../../src/noise/schedule/discrete.ts";
import {
  annealedLangevin,
  corrected,
  fixedLangevin,
  langevin,
  type LangevinCorrector,
} from "../../src/refine/correct.ts";
import { ddim, ddpm } from "../../src/sample/ancestral.ts";
import { noise, type Sampler, sampler, type State } from "../../src/sample/path.ts";
import { prior, run } from "../../src/sample/run.ts";
import { useBackend } from "../../src/tensor/backend/backend.ts";
import { key } from "../../src/tensor/key.ts";
import { normal } from "../../src/tensor/random.ts";
import { live, variance } from "../measure.ts";

const still: Sampler = sampler(() => [() => (state) => ({ ...state, x: tf.clone(state.x) })]);

/** N(0, v) whatever the time, as a score, and as an energy. */
const target = (v: number, schedule = vp()): Model => ({
  schedule,
  predict: (x) => ({ kind: "score", value: tf.mul(x, -1 / v) }),
});
const energy = (v: number): Model => ({
  schedule: vp(),
  predict: (x) => ({
    kind: "energy",
    value: tf.tidy(() => tf.mul(tf.sum(tf.square(x), 1), 0.5 / v)),
    gradient: tf.mul(x, 1 / v),
  }),
});

async function ends(
  sampler: Sampler,
  model: Model,
  start: State | ReturnType<typeof prior>,
): Promise<number[]> {
  let found: number[] = [];
  for await (const { x } of pipe(sampler, run(start, { model, key: key(3) }))) {
    found = [...x.dataSync()];
  }
  return found;
}

/** Samples of N(0, variance), moved by a corrector. */
async function stirred(
  corrector: LangevinCorrector,
  model: Model,
  variance: number,
): Promise<number[]> {
  const z = normal(key(8), [20, 1000]), x = tf.mul(z, Math.sqrt(variance));
  const found = await ends(corrected(corrector)(still), model, { x, t: 0.5, step: 0 });
  tf.dispose([z, x]);
  return found;
}

const zOfVariance = (values: readonly number[], v: number): number =>
  Math.abs(variance(values) - v) / (v * Math.sqrt(2 / values.length));

describe("fixedLangevin()", () => {
  before(() => useBackend("cpu"));
  const v = 0.7, size = 0.35, biased = v / (1 - size / (2 * v));

  it("leaves N(0, v/(1 − eps/(2v))) alone, and that law only", async () => {
    const found = await stirred(fixedLangevin({ size, steps: 3 }), target(v), biased);
    assert.ok(zOfVariance(found, biased) < 4, `${zOfVariance(found, biased)}`);
    for (const wrong of [v, v / (1 - size / v), v / (1 - size / (4 * v)), 2 * biased]) {
      assert.ok(zOfVariance(found, wrong) > 10, `${wrong}`);
    }
  });

  it("goes from any law to it by v ← (1 − eps/p)²·v + 2·eps", async () => {
    const found = await stirred(fixedLangevin({ size, steps: 2 }), target(v), 4);
    const step = (w: number): number => (1 - size / v) ** 2 * w + 2 * size;
    assert.ok(zOfVariance(found, step(step(4))) < 4);
    assert.ok(zOfVariance(found, step(4)) > 10);
  });

  it("with the Metropolis test leaves N(0, v) itself alone, at a size where the plain one is far off", async () => {
    const found = await stirred(
      fixedLangevin({ size: 0.9, steps: 3, metropolis: true }),
      energy(v),
      v,
    );
    // A thousand dimensions would refuse every move: each sample is tested by itself, so here each has one.
    assert.ok(zOfVariance(found, v) < 4);
    const z = normal(key(8), [20_000, 1]), x = tf.mul(z, Math.sqrt(v));
    const sampler = corrected(fixedLangevin({ size: 0.9, steps: 3, metropolis: true }))(still);
    const single = await ends(sampler, energy(v), { x, t: 0.5, step: 0 });
    assert.ok(zOfVariance(single, v) < 4, `${zOfVariance(single, v)}`);
    assert.ok(zOfVariance(single, v / (1 - 0.9 / (2 * v))) > 10);
    const moved = single.filter((value, i) => value !== x.dataSync()[i]).length / 20_000;
    assert.ok(moved > 0.5, `${moved} of the samples moved`);
    tf.dispose([z, x]);
  });

  it("with the Metropolis test comes to N(0, v) from elsewhere", async () => {
    const z = normal(key(9), [4000, 1]), x = tf.mul(z, 0.3);
    const sampler = corrected(fixedLangevin({ size: 0.5, steps: 25, metropolis: true }))(still);
    const found = await ends(sampler, energy(v), { x, t: 0.5, step: 0 });
    assert.ok(zOfVariance(found, v) < 4, `${zOfVariance(found, v)}`);
    tf.dispose([z, x]);
  });

  it("with the Metropolis test refuses a model without an energy, and frees everything", async () => {
    const count = live();
    await assert.rejects(
      () => stirred(fixedLangevin({ size: 0.1, metropolis: true }), target(1), 1),
      { name: "TypeError", message: /^Cannot test a move: the model must give an energy, got/ },
    );
    // The test's own two tensors are what its throw left.
    assert.equal(live() - count, 2);
  });
});

describe("annealedLangevin()", () => {
  before(() => useBackend("cpu"));

  it("with ratio 1 on one-point data leaves 2·sigma², as taking out sigma² and putting in 2·sigma² does", async () => {
    const schedule = vp(), { sigma } = schedule.at(0.5);
    const model = gaussian(schedule, { mean: 0, variance: 0 });
    const found = await stirred(annealedLangevin({ ratio: 1 }), model, 2 * sigma ** 2);
    assert.ok(zOfVariance(found, 2 * sigma ** 2) < 4);
    assert.ok(zOfVariance(found, sigma ** 2) > 10);
  });

  it("scales with the power of sigma", () => {
    const stir = { level: { alpha: 1, sigma: 3 } } as Parameters<LangevinCorrector["size"]>[0];
    assert.equal(annealedLangevin({ ratio: 0.5 }).size(stir), 4.5);
    assert.equal(annealedLangevin({ ratio: 0.5, power: 1 }).size(stir), 1.5);
  });
});

describe("langevin()", () => {
  before(() => useBackend("cpu"));

  it("takes eps = 2·a·(snr·‖z‖/‖s‖)² from each sample's own norms", async () => {
    const schedule = linear(), x = tf.tensor([[1, 2, 2], [0.5, 0, 0]]), t = 700;
    let z: number[][] = [];
    const watching: Model = {
      schedule,
      predict: (x) => ({ kind: "score", value: tf.mul(x, -2) }),
    };
    const env = { model: watching, key: key(3) };
    const drawn = noise(env, { x, t, step: 0 }, "corrector 0");
    z = drawn.arraySync() as number[][];
    const found = await ends(corrected(langevin({ snr: 0.2 }))(still), watching, { x, t, step: 0 });
    const kept = (schedule.at(t).alpha / schedule.at(t - 1).alpha) ** 2;
    (x.arraySync() as number[][]).forEach((row, i) => {
      const squared = (values: number[]): number => values.reduce((a, b) => a + b * b, 0);
      const eps = 2 * kept * 0.04 * squared(z[i]!) / (4 * squared(row));
      row.forEach((value, j) => {
        const wanted = value - 2 * eps * value + Math.sqrt(2 * eps) * z[i]![j]!;
        assert.ok(Math.abs(found[3 * i + j]! - wanted) < 1e-5);
      });
    });
    tf.dispose([x, drawn]);
  });

  it("keeps the variance s²·(1 + 2/d)²/(1 − snr²) of N(0, s²·I) in d dimensions, 48 % too much at d = 10", async () => {
    const schedule = ve(), snr = 0.16, s2 = 2.5, d = 10, count = 4000;
    const model: Model = {
      schedule,
      predict: (x) => ({ kind: "score", value: tf.mul(x, -1 / s2) }),
    };
    const expected = s2 * (1 + 2 / d) ** 2 / (1 - snr ** 2), z = normal(key(8), [count, d]);
    const x = tf.mul(z, Math.sqrt(expected));
    const found = await ends(corrected(langevin({ snr, steps: 150 }))(still), model, {
      x,
      t: 0.5,
      step: 0,
    });
    // The formula is of first order in the fluctuation of the norms.
    assert.ok(
      Math.abs(variance(found) / expected - 1) < 0.05,
      `${variance(found)} for ${expected}`,
    );
    assert.ok(variance(found) / s2 > 1.35);
    tf.dispose([x, z]);
  });

  it("does to a sample what it does without its batch", async () => {
    const model = mixture(linear(), { means: [-1, 1], variances: [0.1, 0.2] });
    const sampler = corrected(langevin({ steps: 2 }))(ddpm(linear(), { steps: 5 }));
    const all = await ends(sampler, model, prior([3, 4]));
    const alone: number[] = [];
    for (const first of [0, 1, 2]) {
      for await (const { x } of pipe(sampler, run(prior([1, 4]), { model, key: key(3), first }))) {
        alone.splice(4 * first, 4, ...x.dataSync());
      }
    }
    all.forEach((value, i) => assert.ok(Math.abs(value - alone[i]!) < 1e-5));
  });

  it("caps eps at most·sigma²", async () => {
    const { sigma } = vp().at(0.5), x = tf.zeros([1, 2]);
    const found = await ends(corrected(langevin({ most: 0.5 }))(still), target(1), {
      x,
      t: 0.5,
      step: 0,
    });
    const drawn = noise({ model: target(1), key: key(3) }, { x, t: 0.5, step: 0 }, "corrector 0");
    drawn.dataSync().forEach((z, i) => assert.ok(Math.abs(found[i]! - sigma * z) < 1e-5));
    tf.dispose([x, drawn]);
  });
});

describe("corrected()", () => {
  before(() => useBackend("cpu"));
  const schedule = vp(), model = gaussian(schedule, { mean: 1, variance: 0.3 });

  /** Times at which the model is asked. */
  async function asked(
    steps: number,
    options: Parameters<typeof corrected>[1],
    final = 0,
    under = schedule,
  ): Promise<number[]> {
    const times: number[] = [], model = gaussian(under);
    const watching: Model = { ...model, predict: (x, t) => (times.push(t), model.predict(x, t)) };
    const sampler = ddim(under, { times: [1, 0.5, final] });
    await ends(corrected(annealedLangevin({ steps }), options)(sampler), watching, prior([2, 1]));
    return times;
  }

  it("corrects at each level reached, at the last only if so told, and before the predictor if so told", async () => {
    assert.deepEqual(await asked(2, {}), [1, 0.5, 0.5, 0.5]);
    assert.deepEqual(await asked(1, { order: "before" }), [1, 1, 0.5, 0.5]);
    assert.deepEqual(await asked(1, { final: true }), [1, 0.5, 0.5]);
    assert.deepEqual(await asked(1, {}, 0.1), [1, 0.5, 0.5, 0.1]);
    assert.deepEqual(await asked(0, {}), [1, 0.5]);
    // Where noise is left at the end, as in ve(), it corrects there if so told.
    const noisy = ve();
    assert.ok(noisy.at(0).sigma > 0);
    assert.deepEqual(await asked(1, {}, 0, noisy), [1, 0.5, 0.5]);
    assert.deepEqual(await asked(1, { final: true }, 0, noisy), [1, 0.5, 0.5, 0]);
  });

  it("with no steps changes nothing, and its two orders differ", async () => {
    const sampler = ddim(schedule, { steps: 6 }),
      at = (steps: number, order: "after" | "before") =>
        ends(corrected(annealedLangevin({ steps }), { order })(sampler), model, prior([3, 2]));
    assert.deepEqual(await at(0, "after"), await ends(sampler, model, prior([3, 2])));
    assert.notDeepEqual(await at(1, "after"), await at(1, "before"));
  });

  it("draws anew in each of its steps, and under each purpose", async () => {
    const from = async (corrector: LangevinCorrector, purpose?: string) => {
      const x = tf.zeros([1, 3]);
      return await ends(
        corrected(corrector, purpose === undefined ? {} : { purpose })(still),
        target(1e9),
        { x, t: 0.5, step: 0 },
      );
    };
    const one = await from(fixedLangevin({ size: 0.5 })),
      two = await from(fixedLangevin({ size: 0.5, steps: 2 }));
    assert.notDeepEqual(two, one.map((value) => Math.fround(2 * value)));
    assert.notDeepEqual(await from(fixedLangevin({ size: 0.5 }), "other"), one);
  });

  it("keeps the number of tensors over steps, at once or later, and after a failure", async () => {
    const slow: Model = {
      schedule,
      predict: async (x, t) => await Promise.resolve(model.predict(x, t)),
    };
    for (const order of ["after", "before"] as const) {
      for (const each of [model, slow]) {
        const count = live(), counts: number[] = [];
        const sampler = corrected(langevin({ steps: 2 }), { order })(ddim(schedule, { steps: 6 }));
        for await (const _ of pipe(sampler, run(prior([2, 3]), { model: each, key: key(0) }))) {
          counts.push(live());
        }
        assert.equal(live(), count);
        assert.equal(new Set(counts.slice(1)).size, 1);
      }
      let calls = 0;
      const failing: Model = {
        schedule,
        predict: (x, t) => {
          if (++calls === 4) throw new Error("no");
          return model.predict(x, t);
        },
      };
      const count = live();
      await assert.rejects(
        () =>
          ends(
            corrected(langevin({ steps: 3 }), { order })(ddim(schedule, { steps: 6 })),
            failing,
            prior([2, 1]),
          ),
        /^Error: no$/,
      );
      assert.equal(live(), count);
    }
  });

  it("refuses options outside their domain, before the run", () => {
    for (
      const make of [
        () => langevin({ snr: 0 }),
        () => langevin({ most: NaN }),
        () => langevin({ steps: 1.5 }),
        () => annealedLangevin({ ratio: -1 }),
        () => annealedLangevin({ power: -1 }),
        () => fixedLangevin({ size: Infinity }),
        () => corrected(langevin(), { order: "both" as "after" }),
      ]
    ) assert.throws(make, { name: "RangeError", message: /^Cannot correct: .* must be .*, got / });
  });
});

describe("predictor-corrector on two modes", () => {
  before(() => useBackend("cpu"));

  it("lowers the error of the law at equal evaluations", async () => {
    // Two modes of weights 1/5 and 4/5, as in naive Langevin's failure; error: squared Cramér distance at the end.
    const schedule = vp(),
      final = 0.01,
      law = {
        means: [-2, 2],
        variances: [0.04, 0.04],
        weights: [0.2, 0.8],
      };
    const model = mixture(schedule, law), count = 6000, level = schedule.at(final);
    const density = mixtureLogDensity(law), cells = 300, width = 6 / cells;
    let total = 0;
    const exact = Array.from(
      { length: cells },
      (_, i) => total += width * Math.exp(density([-3 + (i + 0.5) * width], level)),
    );
    const error = async (sampler: Sampler): Promise<number> => {
      const values = (await ends(sampler, model, prior([count, 1]))).sort((a, b) => a - b);
      let below = 0;
      return exact.reduce((sum, wanted, i) => {
        while (below < count && values[below]! < -3 + (i + 1) * width) below++;
        return sum + width * (below / count - wanted) ** 2;
      }, 0);
    };
    const grid = (steps: number) => ({ steps, final, spacing: "logLinear" } as const);
    const predictors = [
      [(steps: number) => ddpm(schedule, { ...grid(steps), lastNoise: true }), 0.6],
    ] as const;
    for (const [predictor, ratio] of predictors) {
      const alone = await error(predictor(40));
      const both = await error(corrected(annealedLangevin({ ratio }))(predictor(20)));
      assert.ok(both < alone / 2, `${both} with the corrector, ${alone} without`);
    }
  });
});

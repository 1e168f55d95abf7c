import { before, describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import * as tf from "@tensorflow/tfjs-core";
import { pipe } from "fp-ts/lib/function.js";
import { gaussian } from "../../src/denoise/oracle/gaussian.ts";
import type { Model } from "../../src/denoise/prediction.ts";
import { vp } from "../../src/noise/schedule/continuous.ts";
import { inpainted, observed, type ObservedOptions } from "../../src/refine/known/observe.ts";
import { blur, downsample, grey, mask, type Operator } from "../../src/refine/known/operator.ts";
import { repainted } from "../../src/refine/known/repaint.ts";
import { ddim, ddpm } from "../../src/sample/ancestral.ts";
import { prior, run } from "../../src/sample/run.ts";
import type { Sampler, State } from "../../src/sample/path.ts";
import { dpmSolver } from "../../src/sample/solver/dpm.ts";
import { useBackend } from "../../src/tensor/backend/backend.ts";
import { key } from "../../src/tensor/key.ts";
import { normal } from "../../src/tensor/random.ts";
import { average, covariance, live } from "../measure.ts";

const schedule = vp();

async function ends(
  sampler: Sampler,
  model: Model,
  shape: readonly number[],
  seed = 0,
): Promise<number[][]> {
  let found: number[][] = [];
  for await (const { x } of pipe(sampler, run(prior(shape), { model, key: key(seed) }))) {
    found = x.arraySync() as number[][];
  }
  return found;
}

const column = (rows: readonly number[][], i: number): number[] => rows.map((row) => row[i]!);

describe("operators", () => {
  before(() => useBackend("cpu"));
  const image = [2, 4, 4, 3];
  const cases: Readonly<Record<string, () => Operator>> = {
    "mask()": () => mask(tf.tensor([[[1], [0], [1], [0]]])),
    "downsample()": () => downsample(2),
    "grey()": () => grey([0.2, 0.7, 0.1]),
    "blur()": () => blur([0.5, 0.3, -0.1]),
  };

  for (const [name, make] of Object.entries(cases)) {
    it(`${name} has its adjoint, and its gram where it says so`, () => {
      tf.tidy(() => {
        const operator = make(), x = normal(key(1), image), ax = operator.apply(x);
        const y = normal(key(2), ax.shape), back = operator.adjoint(y);
        assert.deepEqual(back.shape, image);
        const [left, right] = [tf.sum(tf.mul(ax, y)), tf.sum(tf.mul(x, back))];
        assert.ok(Math.abs(left.dataSync()[0]! - right.dataSync()[0]!) < 1e-4);
        assert.ok(Math.abs(left.dataSync()[0]!) > 1e-2);
        if (operator.gram === undefined) return;
        const twice = operator.apply(operator.adjoint(ax)).dataSync();
        ax.dataSync().forEach((value, i) =>
          assert.ok(Math.abs(twice[i]! - operator.gram! * value) < 1e-5)
        );
      });
    });
  }

  it("do what they say: average, weigh, blur", () => {
    tf.tidy(() => {
      const x = tf.tensor(Array.from({ length: 16 }, (_, i) => i), [1, 4, 4, 1]);
      assert.deepEqual([...downsample(2).apply(x).dataSync()], [2.5, 4.5, 10.5, 12.5]);
      assert.deepEqual([...grey([1, 2]).apply(tf.tensor([[[[3, 4]]]])).dataSync()], [11]);
      const row = tf.tensor([1, 2, 4], [1, 1, 3, 1]);
      assert.deepEqual([...blur([0, 1, 10]).apply(row).dataSync()], [21, 42, 4]);
    });
  });

  it("refuse what they cannot do", () => {
    for (
      const make of [
        () => downsample(0),
        () => grey([]),
        () => blur([1, 2]),
        () => downsample(3).apply(tf.zeros(image)),
        () => downsample(2).apply(tf.zeros([4])),
      ]
    ) assert.throws(make, { name: "RangeError", message: /^Cannot use what is known: .* got / });
  });
});

describe("inpainted()", () => {
  before(() => useBackend("cpu"));

  it("gives known pixels back bit for bit at t = 0, and with their noise before", async () => {
    const kept = tf.tensor([[1, 0]]), known = tf.tensor([[0.1, 9]]), model = gaussian(schedule);
    const sampler = inpainted(kept, known)(ddpm(schedule, { times: [1, 0.5, 0] }));
    const seen: number[][] = [];
    for await (const { x, t } of pipe(sampler, run(prior([4000, 2]), { model, key: key(0) }))) {
      const values = column(x.arraySync() as number[][], 0);
      if (t === 0.5) {
        const { alpha, sigma } = schedule.at(0.5);
        assert.ok(Math.abs(average(values) - alpha * 0.1) < 4 * sigma / Math.sqrt(4000));
        const spread = covariance(values, values);
        assert.ok(Math.abs(spread / sigma ** 2 - 1) < 4 * Math.sqrt(2 / 4000));
      }
      if (t === 0) seen.push(values, column(x.arraySync() as number[][], 1));
    }
    assert.ok(seen[0]!.every((value) => value === Math.fround(0.1)));
    assert.ok(seen[1]!.every((value) => value !== 9));
    tf.dispose([kept, known]);
  });

  it("is observed() by replacement with the mask, and keeps the number of tensors", async () => {
    const kept = tf.tensor([[1, 0, 1]]),
      known = tf.tensor([[0.5, 0, -1]]),
      model = gaussian(schedule);
    const count = live();
    const grid = { steps: 5 }, sampler = ddpm(schedule, grid);
    const a = await ends(inpainted(kept, known)(sampler), model, [3, 3]);
    const b = await ends(observed(mask(kept), known, { method: "replacement" })(sampler), model, [
      3,
      3,
    ]);
    a.flat().forEach((value, i) => assert.ok(Math.abs(value - b.flat()[i]!) < 1e-5));
    assert.equal(live(), count);
    tf.dispose([kept, known]);
  });
});

describe("observed()", () => {
  before(() => useBackend("cpu"));
  // y = x·(1, 2) + noise, on N(m, v·I).
  const row = [1, 2], mean = [0.5, -1], v = 0.6, std = 0.5, seen = 2.5;
  const model = gaussian(schedule, { mean, variance: v });
  const functional = (gram: boolean): Operator => ({
    apply: (x) => tf.matMul(x as tf.Tensor2D, tf.tensor2d(row, [2, 1])),
    adjoint: (y) => tf.matMul(y as tf.Tensor2D, tf.tensor2d(row, [1, 2])),
    ...(gram && { gram: 5 }),
  });

  async function posterior(options: ObservedOptions, gram = true, count = 2000) {
    const y = tf.tensor([[seen]]);
    const grid = { steps: 50, spacing: "logLinear", least: 1e-3 } as const;
    const sampler = observed(functional(gram), y, options)(dpmSolver(schedule, grid));
    const found = await ends(sampler, model, [count, 2]);
    y.dispose();
    return found;
  }

  const total = 5 * v + std ** 2, gap = seen - (mean[0]! + 2 * mean[1]!);
  const wantedMean = mean.map((m, i) => m + v * row[i]! * gap / total);
  const wanted = (i: number, j: number): number =>
    (i === j ? v : 0) - v * v * row[i]! * row[j]! / total;

  it('"pigdm" on Gaussian data has the mean and covariance of Bayes\' rule', async () => {
    const found = await posterior({ std, variance: v }), n = found.length;
    for (const i of [0, 1]) {
      const z = (average(column(found, i)) - wantedMean[i]!) / Math.sqrt(wanted(i, i) / n);
      assert.ok(Math.abs(z) < 4, `mean ${i}: z = ${z}`);
      for (const j of [0, 1]) {
        const error = Math.sqrt((wanted(i, i) * wanted(j, j) + wanted(i, j) ** 2) / n);
        const z = (covariance(column(found, i), column(found, j)) - wanted(i, j)) / error;
        assert.ok(Math.abs(z) < 4, `covariance ${i}, ${j}: z = ${z}`);
      }
    }
    // Without its noise, or with another variance, it is another law.
    for (const wrong of [{ std: 0, variance: v }, { std: 2, variance: v }]) {
      const values = (await posterior(wrong)).map(([a, b]) => a! + 2 * b!);
      const right = 5 * v * std ** 2 / total;
      const z = (covariance(values, values) / right - 1) / Math.sqrt(2 / n);
      assert.ok(Math.abs(z) > 10, `${z}`);
    }
  });

  it('"pigdm" by conjugate gradients is that by division', async () => {
    const options = { std, variance: v, iterations: 3 };
    const [a, b] = [await posterior(options, true, 5), await posterior(options, false, 5)];
    a.flat().forEach((value, i) => assert.ok(Math.abs(value - b.flat()[i]!) < 1e-3));
  });

  it('"replacement" makes A·x what was seen, with gram and without', async () => {
    for (const gram of [true, false]) {
      for (const [a, b] of await posterior({ method: "replacement" }, gram, 5)) {
        assert.ok(Math.abs(a! + 2 * b! - seen) < 1e-4);
      }
    }
  });

  it('"replacement" makes A·x what was seen under the noise of its level: alpha·y + sigma·A·z', async () => {
    const y = tf.tensor([[seen]]), sampler = ddpm(schedule, { times: [1, 0.4, 0] }), count = 4000;
    const stream = pipe(
      observed(functional(true), y, { method: "replacement" })(sampler),
      run(prior([count, 2]), { model, key: key(0) }),
    );
    for await (const { x, t } of stream) {
      if (t !== 0.4) continue;
      const { alpha, sigma } = schedule.at(t), variance = 5 * sigma ** 2;
      const values = (x.arraySync() as number[][]).map(([a, b]) => a! + 2 * b!);
      const z = (average(values) - alpha * seen) / Math.sqrt(variance / count);
      assert.ok(Math.abs(z) < 4, `mean: z = ${z}`);
      const spread = (covariance(values, values) / variance - 1) / Math.sqrt(2 / count);
      assert.ok(Math.abs(spread) < 4, `variance: z = ${spread}`);
    }
    y.dispose();
  });

  it('"dps" shifts each step by the gradient of the norm, with one evaluation', async () => {
    let evaluations = 0;
    const counting: Model = { schedule, predict: (x, t) => (evaluations++, model.predict(x, t)) };
    const y = tf.tensor([[seen]]), at = [0.7, 0.4] as const, scale = 0.8;
    const x = tf.tensor([[0.3, -0.6], [1, 1]]), start: State = { x, t: at[0], step: 0 };
    const plain = ddim(schedule, { times: [...at] });
    const last = async (sampler: Sampler): Promise<number[][]> => {
      let found: number[][] = [];
      for await (const s of run(start, { model: counting, key: key(0) })(sampler)) {
        found = s.x.arraySync() as number[][];
      }
      return found;
    };
    const before = await last(plain);
    evaluations = 0;
    const count = live();
    const after = await last(observed(functional(true), y, { method: "dps", scale })(plain));
    assert.equal(live(), count);
    assert.equal(evaluations, 1);
    const { alpha, sigma } = schedule.at(at[0]), spread = alpha ** 2 * v + sigma ** 2;
    (x.arraySync() as number[][]).forEach((point, n) => {
      const x0 = point.map((xi, i) => (sigma ** 2 * mean[i]! + alpha * v * xi) / spread);
      const sign = Math.sign(seen - x0[0]! - 2 * x0[1]!);
      row.forEach((a, i) => {
        const wanted = before[n]![i]! + scale * sign * a * alpha * v / spread;
        assert.ok(Math.abs(after[n]![i]! - wanted) < 1e-4);
      });
    });
    tf.dispose([x, y]);
  });

  it("what a mask hides has no part in a measurement, under any method", async () => {
    const operator = mask(tf.tensor([[1, 0]])), law = gaussian(schedule, { mean: 0, variance: 1 });
    const plain = ddim(schedule, { steps: 20, spacing: "logLinear", final: 1e-3 });
    for (const method of ["dps", "pigdm", "replacement"] as const) {
      const all: number[][] = [];
      for (const hidden of [0, 7, -1e6, NaN]) {
        const y = tf.tensor([[2, hidden]]), sampler = observed(operator, y, { method })(plain);
        all.push((await ends(sampler, law, [50, 2])).flat());
        y.dispose();
      }
      for (const each of all) assert.deepEqual(each, all[0], method);
    }
    // A user's operator that tells its gram: the part of y that A·x can have is A·Aᵀ·y/g.
    const own: Operator = { apply: operator.apply, adjoint: operator.adjoint, gram: 1 };
    const y = tf.tensor([[2, 7]]), zeros = tf.tensor([[2, 0]]);
    const [found, wanted] = await Promise.all(
      [y, zeros].map((seen) => ends(observed(own, seen, { method: "dps" })(plain), law, [50, 2])),
    );
    assert.deepEqual(found, wanted);
    tf.dispose([y, zeros]);
  });

  it("refuses an option that has no part in the method", () => {
    const y = tf.tensor([[1]]), operator = functional(true);
    const wrong = [
      { method: "dps", std: 1 },
      { method: "dps", iterations: 3 },
      { method: "replacement", scale: 2 },
      { method: "pigdm", purpose: "seen" },
      { purpose: "seen" },
    ] as const;
    for (const options of wrong) {
      assert.throws(() => observed(operator, y, options), {
        name: "TypeError",
        message:
          /^Cannot use what is known by method "\w+": options must be among method, .*, got "/,
      });
    }
    y.dispose();
  });

  it("at scale 0 is the sampler itself, bit for bit", async () => {
    const grid = { steps: 50, spacing: "logLinear", least: 1e-3 } as const;
    const plain = await ends(dpmSolver(schedule, grid), model, [3, 2]);
    assert.deepEqual(await posterior({ scale: 0 }, true, 3), plain);
    assert.deepEqual(await posterior({ scale: 0, method: "dps" }, true, 3), plain);
  });

  it("refuses options outside their domain, and a model that answers later", async () => {
    const y = tf.scalar(0), operator = functional(true);
    for (
      const options of [{ scale: -1 }, { std: NaN }, { variance: 0 }, { method: "x" as "dps" }]
    ) {
      assert.throws(() => observed(operator, y, options), {
        name: "RangeError",
        message: /^Cannot use what is known: .* must be .*, got /,
      });
    }
    const slow: Model = {
      schedule,
      predict: async (x, t) => await Promise.resolve(model.predict(x, t)),
    };
    const sampler = observed(operator, y)(ddim(schedule, { steps: 3 }));
    await assert.rejects(() => ends(sampler, slow, [1, 2]), {
      name: "TypeError",
      message: /^Cannot take a gradient through the model: it must answer at once, got a promise/,
    });
    y.dispose();
  });
});

describe("repainted()", () => {
  before(() => useBackend("cpu"));

  it("goes down each stretch, up again, and down, for samplers of any kind", async () => {
    const times: number[] = [];
    const sampler = repainted({ jumps: 3, length: 2 })(
      dpmSolver(schedule, { order: 3, times: [0.9, 0.6, 0.4, 0.2] }),
    );
    const states = pipe(
      sampler,
      run(prior([1, 2], 0.9), { model: gaussian(schedule), key: key(0) }),
    );
    for await (const { t, step, history } of states) {
      assert.equal(step, times.length);
      // A stretch that is gone down again knows what was before it, and nothing of its last pass.
      if (t > times.at(-1)!) {
        assert.deepEqual(history!.map(({ t }) => t), t === 0.9 ? [] : [0.6]);
      }
      times.push(t);
    }
    assert.deepEqual(times, [0.9, 0.6, 0.4, 0.9, 0.6, 0.4, 0.9, 0.6, 0.4, 0.2, 0.4, 0.2, 0.4, 0.2]);
  });

  it("with one pass is the sampler, and keeps the number of tensors with more", async () => {
    const plain = ddpm(schedule, { steps: 6 }), model = gaussian(schedule);
    assert.deepEqual(
      await ends(repainted({ jumps: 1, length: 4 })(plain), model, [2, 2]),
      await ends(plain, model, [2, 2]),
    );
    const count = live();
    await ends(repainted({ jumps: 3, length: 4 })(dpmSolver(schedule, { steps: 6 })), model, [
      2,
      2,
    ]);
    assert.equal(live(), count);
  });

  it("refuses options that are not whole numbers of at least 1", () => {
    for (const options of [{ jumps: 0 }, { length: 1.5 }]) {
      assert.throws(() => repainted(options), {
        name: "RangeError",
        message: /must be a whole number/,
      });
    }
    assert.throws(() => repainted({ jumps: 0, length: 1.5 }), {
      message: /^Cannot use what is known: jumps must be .*, got 0; length must be .*, got 1.5$/,
    });
  });

  it("brings what is made to agree with what is known, where replacement alone does not", async () => {
    // Two dimensions of correlation 0.9; the first is known to be 1.5, so the second is N(1.35, 0.19).
    const rho = 0.9, seen = 1.5, count = 500;
    const model: Model = {
      schedule,
      predict: (x, t) => {
        const { alpha, sigma } = schedule.at(t), [a, b] = [1, rho * alpha ** 2];
        const over = sigma / (a * a - b * b), at = a * over, across = -b * over;
        return {
          kind: "eps",
          value: tf.tidy(() =>
            tf.matMul(x as tf.Tensor2D, tf.tensor2d([[at, across], [across, at]]))
          ),
        };
      },
    };
    const kept = tf.tensor([[1, 0]]), known = tf.tensor([[seen, 0]]);
    const z = async (jumps: number): Promise<number> => {
      const sampler = pipe(
        ddpm(schedule, { steps: 40, spacing: "logLinear", least: 0.01 }),
        inpainted(kept, known),
        repainted({ jumps, length: 4 }),
      );
      const values = column(await ends(sampler, model, [count, 2]), 1);
      return (average(values) - rho * seen) / Math.sqrt((1 - rho ** 2) / count);
    };
    const found = [await z(1), await z(4), await z(30)].map(Math.abs);
    tf.dispose([kept, known]);
    assert.ok(found[0]! > 10 && found[1]! < found[0]! && found[2]! < 4, `|z| = ${found}`);
  });
});

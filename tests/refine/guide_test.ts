import { before, describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import * as tf from "@tensorflow/tfjs-core";
import fc from "fast-check";
import { pipe } from "fp-ts/lib/function.js";
import { gaussian, mixture } from "../../src/denoise/oracle.ts";
import {
  type Condition,
  convert,
  type Kind,
  type Model,
  type Prediction,
} from "../../src/denoise/prediction.ts";
import { linear } from "../../src/noise/schedule.ts";
import {
  classifierFree,
  conditioned,
  type Guide,
  guided,
  onModel,
} from "../../src/refine/guide.ts";
import { ddim, ddpm } from "../../src/sample/ancestral.ts";
import { type Env, prior, run, type Sampler } from "../../src/sample/chain.ts";
import { dpmSolver } from "../../src/sample/solver.ts";
import { useBackend } from "../../src/tensor/backend.ts";
import { key } from "../../src/tensor/key.ts";

const schedule = linear();
const oracle = mixture(schedule, {
  means: [[-1, 0], [1, 0.5]],
  variances: [0.1, 0.2],
  weights: [0.4, 0.6],
});
const label: Condition = [0, 1, 1, null];
const env: Env = { model: oracle, key: key(21) };
const live = (): number => tf.memory().numTensors;

async function ends(sampler: Sampler, options: Partial<Env> = {}): Promise<number[]> {
  let found: number[] = [];
  for await (const { x } of run(prior([4, 2]), { ...env, ...options })(sampler)) {
    found = [...x.dataSync()];
  }
  return found;
}

/** Says its condition (null is −7) plus x, and notes the sizes of the batches that it is asked. */
function talking(sizes: number[], kind: Kind = "eps"): Model {
  const says = (condition?: Condition): Model => ({
    schedule,
    predict: (x) => {
      sizes.push(x.shape[0]!);
      const value = tf.tidy(() => tf.add(x, tf.tensor((condition ?? []).map((c) => [c ?? -7]))));
      return { kind, value };
    },
    given: says,
  });
  return says();
}

const said = async (guide: Guide, model: Model, x: tf.Tensor): Promise<number[]> => {
  const prediction = await guide(model).predict(x, 500), found = [...prediction.value.dataSync()];
  tf.dispose({ ...prediction });
  return found;
};

describe("classifierFree()", () => {
  before(() => useBackend("cpu"));

  it("is null + scale·(condition − null), for any scale", async () => {
    const x = tf.tensor([[0.5], [2]]);
    await fc.assert(fc.asyncProperty(fc.double({ min: -3, max: 9, noNaN: true }), async (scale) => {
      const found = await said(classifierFree([3, null], { scale }), talking([]), x);
      [0.5 - 7 + scale * 10, 2 - 7].forEach((value, i) =>
        assert.ok(Math.abs(found[i]! - value) < 1e-4)
      );
    }));
    x.dispose();
  });

  it("asks once for a doubled batch, and once for a plain one at scale 0 and 1", async () => {
    const x = tf.tensor([[0.5], [2]]);
    for (const [scale, size] of [[0, 2], [1, 2], [2.5, 4], [0.5, 4], [-1, 4]] as const) {
      const sizes: number[] = [], before = live();
      await said(classifierFree([3, 4], { scale }), talking(sizes), x);
      assert.deepEqual(sizes, [size]);
      assert.equal(live(), before);
    }
    x.dispose();
  });

  it("puts the conditions first and then the nulls", async () => {
    const asked: Condition[] = [];
    const model: Model = {
      ...talking([]),
      given: (condition) => (asked.push(condition), talking([]).given!(condition)),
    };
    const x = tf.tensor([[0.5], [2]]);
    await said(classifierFree([3, 4], { scale: 2 }), model, x);
    assert.deepEqual(asked, [[3, 4, null, null]]);
    x.dispose();
  });

  for (
    const [name, make] of [
      ["ddpm()", () => ddpm(schedule, { steps: 8 })],
      ["ddim()", () => ddim(schedule, { steps: 8 })],
      ["dpmSolver()", () => dpmSolver(schedule, { steps: 8 })],
    ] as const
  ) {
    it(`at scale 1 is the conditional run of ${name} exactly, at scale 0 the unconditional one`, async () => {
      const at = (scale: number) => ends(guided(classifierFree(label, { scale }))(make()));
      assert.deepEqual(await at(1), await ends(make(), { model: oracle.given(label) }));
      assert.deepEqual(await at(1), await ends(conditioned(label)(make())));
      assert.deepEqual(await at(0), await ends(make()));
      assert.notDeepEqual(await at(1), await at(0));
    });
  }

  it("near scale 1 is near the conditional run: the doubled batch and the single one say the same", async () => {
    const exact = await ends(
      guided(classifierFree(label, { scale: 1 }))(ddim(schedule, { steps: 8 })),
    );
    const near = await ends(
      guided(classifierFree(label, { scale: 1 + 1e-7 }))(ddim(schedule, { steps: 8 })),
    );
    near.forEach((value, i) => assert.ok(Math.abs(value - exact[i]!) < 1e-4));
  });

  it("leaves a sample with the null condition alone, at any scale", async () => {
    const none = label.map(() => null), sampler = ddim(schedule, { steps: 8 });
    const plain = await ends(sampler),
      found = await ends(guided(classifierFree(none, { scale: 6 }))(sampler));
    found.forEach((value, i) => assert.ok(Math.abs(value - plain[i]!) < 1e-4));
  });

  it("means the same in whichever kind the model speaks, energy included", async () => {
    const level = schedule.at(500), x = tf.tensor([[0.2, -0.4], [1.1, 0.3]]);
    const speaking = (kind: Kind | "energy") => {
      const says = (condition?: Condition): Model => ({
        schedule,
        predict: (x, t): Prediction => {
          const prediction = (condition ? oracle.given(condition) : oracle).predict(x, t);
          const value = convert(prediction, kind === "energy" ? "score" : kind, x, level);
          prediction.value.dispose();
          if (kind !== "energy") return { kind, value };
          const gradient = tf.neg(value);
          value.dispose();
          return { kind, value: tf.sum(gradient, 1), gradient };
        },
        given: says,
      });
      return says();
    };
    const heard: number[][] = [];
    for (const kind of ["x0", "eps", "v", "flow", "score", "energy"] as const) {
      const before = live();
      const prediction = await classifierFree([0, 1], { scale: 3 })(speaking(kind)).predict(x, 500);
      assert.equal(prediction.kind, kind);
      const x0 = convert(prediction, "x0", x, level);
      heard.push([...x0.dataSync()]);
      if (prediction.kind === "energy") {
        const sums = tf.sum(prediction.gradient, 1);
        [...sums.dataSync()].forEach((value, i) =>
          assert.ok(Math.abs(value - prediction.value.dataSync()[i]!) < 1e-4)
        );
        sums.dispose();
      }
      tf.dispose([x0, { ...prediction }]);
      assert.equal(live(), before);
    }
    for (const row of heard) {
      row.forEach((value, i) => assert.ok(Math.abs(value - heard[0]![i]!) < 1e-4));
    }
    x.dispose();
  });

  it("drives samples to their class as the scale grows", async () => {
    const sharpness = async (scale: number) => {
      const found = await ends(
        guided(classifierFree([0, 1, 0, 1], { scale }))(ddim(schedule, { steps: 20 })),
      );
      return found.filter((_, i) => i % 2 === 0).reduce(
        (sum, value, i) => sum + value * (i % 2 ? 1 : -1),
        0,
      ) / 4;
    };
    const [one, three] = [await sharpness(1), await sharpness(3)];
    assert.ok(one > 0.5 && three > one, `${one}, ${three}`);
  });

  it("refuses a scale that is not finite at once, and an unconditional model in the run", async () => {
    for (const scale of [NaN, Infinity]) {
      assert.throws(() => classifierFree(label, { scale }), {
        name: "RangeError",
        message: /^Cannot guide: scale must be a finite number, got/,
      });
    }
    const model = gaussian(schedule, { mean: 0, variance: 1 });
    for (
      const sampler of [
        conditioned(label),
        ...[0, 1, 2].map((scale) => guided(classifierFree(label, { scale }))),
      ]
    ) {
      const before = live();
      await assert.rejects(() => ends(sampler(ddim(schedule, { steps: 3 })), { model }), {
        name: "TypeError",
        message: "Cannot condition: model must have `given`, got an unconditional model",
      });
      assert.equal(live(), before);
    }
  });

  it("refuses a condition of another length than the batch, before the model is asked", async () => {
    const x = tf.zeros([3, 1]);
    for (const scale of [0, 1, 2]) {
      const sizes: number[] = [], before = live();
      await assert.rejects(() => said(classifierFree([1, 2], { scale }), talking(sizes), x), {
        name: "RangeError",
        message: "Cannot condition: condition must have one entry for each of 3 samples, got 2",
      });
      assert.deepEqual(sizes, []);
      assert.equal(live(), before);
    }
    x.dispose();
  });

  it("frees its doubled batch when the model throws", async () => {
    const failing: Model = {
      schedule,
      predict: () => {
        throw new Error("no");
      },
      given: () => failing,
    };
    const x = tf.zeros([2, 1]), before = live();
    await assert.rejects(
      () => said(classifierFree([1, 2], { scale: 2 }), failing, x),
      /^Error: no$/,
    );
    assert.equal(live(), before);
    x.dispose();
  });
});

describe("onModel() and guided()", () => {
  before(() => useBackend("cpu"));

  const shifted = (by: number): Guide => (model) => ({
    ...model,
    predict: async (x, t) => {
      const prediction = await model.predict(x, t) as { kind: "x0"; value: tf.Tensor };
      const value = tf.add(prediction.value, by);
      prediction.value.dispose();
      return { kind: "x0", value };
    },
  });
  const scaled = (by: number): Guide => (model) => ({
    ...model,
    predict: async (x, t) => {
      const prediction = await model.predict(x, t) as { kind: "x0"; value: tf.Tensor };
      const value = tf.mul(prediction.value, by);
      prediction.value.dispose();
      return { kind: "x0", value };
    },
  });

  it("onModel() with the identity changes nothing", async () => {
    const sampler = dpmSolver(schedule, { steps: 6 });
    assert.deepEqual(await ends(onModel((model) => model)(sampler)), await ends(sampler));
  });

  it("the first of two in a pipe has the last word", async () => {
    const sampler = ddim(schedule, { times: [1000, 0] });
    const plain = await ends(sampler),
      found = await ends(pipe(sampler, guided(scaled(2)), guided(shifted(1))));
    found.forEach((value, i) => assert.ok(Math.abs(value - 2 * (plain[i]! + 1)) < 1e-4));
  });
});

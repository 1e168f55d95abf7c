import { before, describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import * as tf from "@tensorflow/tfjs-core";
import fc from "fast-check";
import { pipe } from "fp-ts/lib/function.js";
import { gaussian, mixture } from "../../src/denoise/oracle/gaussian.ts";
import {
  type Condition,
  convert,
  decorated,
  type Kind,
  type Model,
  type Prediction,
} from "../../src/denoise/prediction.ts";
import { variances } from "../../src/denoise/posterior.ts";
import { rectified, vp } from "../../src/noise/schedule/continuous.ts";
import { linear } from "../../src/noise/schedule/discrete.ts";
import type { NoisyClassifier } from "../../src/denoise/energy.ts";
import { during, type Guide, guided, summed } from "../../src/refine/guide/combine.ts";
import {
  classifierFree,
  type ClassifierFreeOptions,
  conditioned,
} from "../../src/refine/guide/free.ts";
import {
  byClassifier,
  byEnergy,
  classifierEnergy,
  meanShifted,
} from "../../src/refine/guide/gradient.ts";
import { ddim, ddpm } from "../../src/sample/ancestral.ts";
import { type Env, onModel, type Sampler } from "../../src/sample/path.ts";
import { prior, run } from "../../src/sample/run.ts";
import { dpmSolver } from "../../src/sample/solver/dpm.ts";
import { useBackend } from "../../src/tensor/backend/backend.ts";
import { key } from "../../src/tensor/key.ts";
import { normal } from "../../src/tensor/random.ts";
import { live } from "../measure.ts";

const schedule = linear();
const oracle = mixture(schedule, {
  means: [[-1, 0], [1, 0.5]],
  variances: [0.1, 0.2],
  weights: [0.4, 0.6],
});
const label: Condition = [0, 1, 1, null];
const env: Env = { model: oracle, key: key(21) };

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
    assert.throws(() => classifierFree(label, { rescale: 2 } as ClassifierFreeOptions), {
      name: "RangeError",
      message:
        /^Cannot guide: rescale must be in \[0, 1\], got 2; scale must be .*, got undefined$/,
    });
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

describe("gradient guides", () => {
  before(() => useBackend("cpu"));
  const sde = vp();
  const parts = {
    means: [[-1, 0], [1, 0.5]],
    variances: [[0.1, 0.3], [0.2, 0.2]],
    weights: [0.3, 0.7],
  };
  const two = mixture(sde, parts);

  /** Logits of p_t(k | x_t), exactly: ln w_k + ln N(x; alpha·m_k, alpha²·v_k + sigma²). */
  const exact: NoisyClassifier = (x, t) => {
    const { alpha, sigma } = sde.at(t);
    const logit = (k: number): tf.Tensor => {
      const total = parts.variances[k]!.map((v) => alpha ** 2 * v + sigma ** 2);
      const gap = tf.sub(x, tf.tensor1d(parts.means[k]!.map((m) => alpha * m)));
      const half = tf.sum(tf.div(tf.square(gap), tf.tensor1d(total.map((v) => -2 * v))), 1);
      const volume = total.reduce((sum, v) => sum + Math.log(v), 0) / 2;
      return tf.add(half, Math.log(parts.weights[k]!) - volume);
    };
    return tf.stack([logit(0), logit(1)], 1);
  };
  const labels: Condition = [0, 1, null];

  const answers = async (model: Model, kind: Kind, t = 0.4): Promise<number[]> => {
    const x = tf.tensor([[0.3, 0.7], [-0.5, 0.2], [1, -1]]), prediction = await model.predict(x, t);
    const value = convert(prediction, kind, x, sde.at(t)), found = [...value.dataSync()];
    tf.dispose([x, value, { ...prediction }]);
    return found;
  };
  const near = (found: readonly number[], wanted: readonly number[], by = 1e-4): void => {
    assert.equal(found.length, wanted.length);
    found.forEach((value, i) =>
      assert.ok(Math.abs(value - wanted[i]!) < by, `${found} instead of ${wanted}`)
    );
  };
  /** The oracle in another kind. */
  const speaking = (kind: Kind | "energy"): Model => ({
    schedule: sde,
    predict: (x, t): Prediction => {
      const value = convert(two.predict(x, t), kind === "energy" ? "score" : kind, x, sde.at(t));
      if (kind !== "energy") return { kind, value };
      return { kind, value: tf.zeros([x.shape[0]!]), gradient: tf.neg(value) };
    },
  });

  it("byClassifier() with the exact classifier is the component, in whichever kind the model speaks", async () => {
    const wanted = await answers(two.given(labels), "x0");
    for (const kind of ["x0", "eps", "v", "flow", "score", "energy"] as const) {
      near(await answers(byClassifier(exact, labels)(speaking(kind)), "x0"), wanted, 5e-4);
    }
  });

  it("byClassifier() moves eps by −scale·sigma·∇ ln p(y|x), and the energy by −scale·ln p(y|x)", async () => {
    const at = async (scale: number) =>
      await answers(byClassifier(exact, labels, { scale })(two), "eps");
    const [none, one, three] = [await at(0), await at(1), await at(3)];
    near(three, none.map((value, i) => value + 3 * (one[i]! - value)), 1e-3);
    const x = tf.tensor([[0.3, 0.7], [-0.5, 0.2], [1, -1]]);
    const said = await byClassifier(exact, labels, { scale: 2 })(speaking("energy")).predict(
      x,
      0.4,
    );
    const shares = tf.softmax(exact(x, 0.4) as tf.Tensor2D).arraySync() as number[][];
    near([...said.value.dataSync()], [
      -2 * Math.log(shares[0]![0]!),
      -2 * Math.log(shares[1]![1]!),
      0,
    ]);
    x.dispose();
  });

  it("guides at scale 0 are the run without them, bit for bit", async () => {
    const sampler = dpmSolver(sde, { steps: 6 }), plain = await ends(sampler, { model: two });
    const four: Condition = [0, 1, 0, 1];
    for (
      const refinement of [
        guided(byClassifier(exact, four, { scale: 0 })),
        guided(byEnergy((x) => tf.sum(x, 1), { scale: 0, of: "x0" })),
        guided(summed()),
        meanShifted(classifierEnergy(exact, four), { scale: 0 }),
      ]
    ) assert.deepEqual(await ends(refinement(sampler), { model: two }), plain);
  });

  it("byClassifier() on an ODE solver gives what the component's model gives", async () => {
    const four: Condition = [0, 1, 0, 1], sampler = dpmSolver(sde, { steps: 20 });
    near(
      await ends(guided(byClassifier(exact, four))(sampler), { model: two }),
      await ends(sampler, { model: two.given(four) }),
      2e-3,
    );
  });

  it("byEnergy() of x0 goes through the model: gain·∇E for Gaussian data, and a linear energy tilts it exactly", async () => {
    const model = gaussian(sde, { mean: 0.2, variance: 0.5 }), { alpha, sigma } = sde.at(0.4);
    const tilt = byEnergy((x0) => tf.sum(tf.mul(x0, tf.tensor1d([1, -2])), 1), {
      of: "x0",
      scale: 1.5,
    });
    const tilted = gaussian(sde, { mean: [0.2 - 1.5 * 0.5, 0.2 + 3 * 0.5], variance: 0.5 });
    near(await answers(tilt(model), "x0"), await answers(tilted, "x0"));
    assert.ok(alpha > 0 && sigma > 0);
  });

  it("summed() adds what each guide adds, and evaluates the model once", async () => {
    let asked = 0;
    const counting: Model = { schedule: sde, predict: (x, t) => (asked++, two.predict(x, t)) };
    const a = byEnergy((x) => tf.sum(tf.square(x), 1)),
      b = byClassifier(exact, labels, { scale: 2 });
    const found = await answers(summed(a, b)(counting), "x0");
    assert.equal(asked, 1);
    const [none, first, second] = [two, a(two), b(two)];
    const parts = [
      await answers(none, "x0"),
      await answers(first, "x0"),
      await answers(second, "x0"),
    ];
    near(found, parts[0]!.map((value, i) => parts[1]![i]! + parts[2]![i]! - value));
    near(found, await answers(a(b(two)), "x0"));
  });

  it("summed() takes classifier-free guidance and a guide through the model alike", async () => {
    const free = classifierFree(labels, { scale: 3 });
    const through = byEnergy((x0) => tf.sum(tf.square(x0), 1), { of: "x0", scale: 0.3 });
    const found = await answers(summed(free, through)(two), "x0");
    const parts = [two, free(two), through(two)].map((model) => answers(model, "x0"));
    const [none, first, second] = await Promise.all(parts);
    near(found, none!.map((value, i) => first![i]! + second![i]! - value));
    assert.ok(second!.some((value, i) => Math.abs(value - none![i]!) > 0.05));
  });

  it("meanShifted() shifts each step by scale·variance·∇ ln p, which is the epsilon form up to alpha_t/alpha_s", async () => {
    const four: Condition = [0, 1, 0, 1],
      sampler = ddpm(sde, { times: [0.5, 0.4], lastNoise: true });
    const z = normal(key(4), [4, 2]), start = { x: z, t: 0.5, step: 0 };
    const last = async (one: Sampler): Promise<number[]> => {
      let found: number[] = [];
      for await (const { x } of run(start, { model: two, key: key(1) })(one)) {
        found = [...x.dataSync()];
      }
      return found;
    };
    const plain = await last(sampler), [from, to] = [sde.at(0.5), sde.at(0.4)];
    const shift = (await last(meanShifted(classifierEnergy(exact, four))(sampler))).map((v, i) =>
      v - plain[i]!
    );
    const epsilon = (await last(guided(byClassifier(exact, four))(sampler))).map((v, i) =>
      v - plain[i]!
    );
    const ratio = variances.small(from, to) / (variances.large(from, to) * to.alpha / from.alpha);
    near(shift, epsilon.map((value) => value * ratio), 1e-4);
    assert.ok(Math.max(...shift.map(Math.abs)) > 0.05);
    z.dispose();
  });

  it("during() guides between its bounds only, and classifierFree() has scale 1 outside its interval", async () => {
    const free = classifierFree(labels, { scale: 3, interval: { t: [0.3, 0.5] } });
    const full = classifierFree(labels, { scale: 3 });
    assert.deepEqual(await answers(free(two), "x0", 0.4), await answers(full(two), "x0", 0.4));
    for (const t of [0.29, 0.51]) {
      assert.deepEqual(
        await answers(free(two), "x0", t),
        await answers(two.given(labels), "x0", t),
      );
    }
    const { alpha, sigma } = sde.at(0.4), level = sigma / alpha;
    const by = byEnergy((x) => tf.sum(x, 1)), inside = await answers(by(two), "x0");
    assert.deepEqual(
      await answers(during(by, { sigma: [level - 0.1, level + 0.1] })(two), "x0"),
      inside,
    );
    const outside = during(by, { sigma: [level + 0.01, Infinity] })(two);
    assert.deepEqual(await answers(outside, "x0"), await answers(two, "x0"));
  });

  it("during() takes a computed bound for the bound, and holds at alpha = 0 where nothing bounds sigma", async () => {
    const by = byEnergy((x) => tf.sum(x, 1)), third = 0.1 * 3;
    assert.notEqual(third, 0.3);
    const inside = await answers(by(two), "x0", third);
    assert.deepEqual(await answers(during(by, { t: [0.1, 0.3] })(two), "x0", third), inside);
    const { alpha, sigma } = sde.at(0.4), ratio = sigma / alpha, above = ratio * (1 - 1e-15);
    const plain = await answers(two, "x0");
    assert.deepEqual(await answers(during(by, { sigma: [above, Infinity] })(two), "x0"), plain);
    assert.notDeepEqual(await answers(by(two), "x0"), plain);
    const pure = gaussian(rectified()),
      guide: Guide = (model) =>
        decorated(model, () => ({ predict: (x) => ({ kind: "x0", value: tf.onesLike(x) }) }));
    const ones = await answers(during(guide, { t: [0.5, 1] })(pure), "x0", 1);
    assert.ok(ones.every((value) => value === 1), `${ones}`);
  });

  it("classifierFree() with rescale brings each sample's deviation back to the conditional one's, by its share", async () => {
    const deviation = (values: readonly number[]): number[] =>
      [0, 2, 4].map((i) => Math.abs(values[i]! - values[i + 1]!) / 2);
    const at = async (rescale: number): Promise<number[]> =>
      await answers(classifierFree([0, 1, 1], { scale: 4, rescale })(two), "x0");
    const given = await answers(two.given([0, 1, 1]), "x0"), plain = await at(0);
    near(deviation(await at(1)), deviation(given), 1e-4);
    const full = await at(1);
    near(await at(0.7), plain.map((value, i) => 0.7 * full[i]! + 0.3 * value), 1e-4);
    assert.ok(full.some((value, i) => Math.abs(value - plain[i]!) > 0.01));
  });

  it("keep the number of tensors, also where a gradient fails", async () => {
    const x = tf.tensor([[0.3, 0.7], [-0.5, 0.2], [1, -1]]);
    const guides: Guide[] = [
      byClassifier(exact, labels),
      byEnergy((x0) => tf.sum(tf.square(x0), 1), { of: "x0" }),
      summed(byClassifier(exact, labels), classifierFree(labels, { scale: 2 })),
      classifierFree(labels, { scale: 2, rescale: 0.5 }),
    ];
    for (const guide of guides) {
      const count = live(), said = await guide(two).predict(x, 0.4);
      tf.dispose({ ...said });
      assert.equal(live(), count);
    }
    for (const said of ["xt", "x0"] as const) {
      const failing = byEnergy(() => {
        throw new Error("no");
      }, { of: said });
      const count = live();
      assert.throws(() => failing(two).predict(x, 0.4), /^Error: no$/);
      assert.equal(live(), count);
    }
    x.dispose();
  });

  it("refuse options and labels outside their domain", async () => {
    for (
      const make of [
        () => byEnergy((x) => x, { scale: NaN }),
        () => byEnergy((x) => x, { of: "eps" as "x0" }),
        () => meanShifted((x) => x, { scale: Infinity }),
        () => classifierFree(labels, { scale: 1, rescale: 2 }),
        () => during((model) => model, { t: [1, 0] }),
        () => classifierFree(labels, { scale: 2, interval: { sigma: [NaN, 1] } }),
      ]
    ) assert.throws(make, { name: "RangeError", message: /^Cannot guide: .* must be .*, got / });
    const x = tf.zeros([2, 2]);
    for (const wrong of [[0], [0, 2], [0.5, 1]]) {
      assert.throws(() => byClassifier(exact, wrong)(two).predict(x, 0.4), { name: "RangeError" });
    }
    const energy = classifierFree([0, 1], { scale: 2, rescale: 1 });
    const says: Model = { ...speaking("energy"), given: () => speaking("energy") };
    assert.throws(() => energy(says).predict(x, 0.4), {
      name: "TypeError",
      message: /^Cannot rescale/,
    });
    await Promise.resolve(x.dispose());
  });
});

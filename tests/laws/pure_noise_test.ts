import { before, describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import * as tf from "@tensorflow/tfjs-core";
import {
  byClassifier,
  byEnergy,
  cosineContinuous,
  ddim,
  decorated,
  flow,
  gaussian,
  type Guide,
  key,
  last,
  likelihood,
  linear,
  logLikelihood,
  mask,
  mixture,
  type Model,
  observed,
  prior,
  rectified,
  rescheduled,
  run,
  type Sampler,
  type Schedule,
  tableaus,
  vp,
  type Weighed,
} from "../../mod.ts";
import { sigmoidContinuous, zeroTerminalSnr } from "../../src/noise/mod.ts";
import { useBackend } from "../../src/tensor/backend/backend.ts";
import { live } from "../measure.ts";

/** Schedules whose greatest time has no signal. */
const schedules: Readonly<Record<string, Schedule>> = {
  "rectified()": rectified(),
  "zeroTerminalSnr(linear())": zeroTerminalSnr(linear()),
  "cosineContinuous({ end: 1 })": cosineContinuous({ end: 1 }),
  "sigmoidContinuous({ end: 1 })": sigmoidContinuous({ end: 1 }),
};
const root = key(5);

/** A model that says v, flow or x0 of what an oracle knows, also where there is no signal. */
const speaking = (model: Model, kind: "v" | "flow" | "x0"): Model =>
  decorated(model, (model) => ({
    predict: (x, t) => {
      const value = tf.tidy(() => {
        const said = model.predict(x, t);
        if (said instanceof Promise || said.kind !== "x0") throw new TypeError("an oracle says x0");
        const { alpha, sigma } = model.schedule.at(t), x0 = said.value;
        if (kind === "x0") return x0;
        const eps = tf.div(tf.sub(x, tf.mul(x0, alpha)), sigma);
        return kind === "v" ? tf.sub(tf.mul(eps, alpha), tf.mul(x0, sigma)) : tf.sub(eps, x0);
      });
      return { kind, value };
    },
  }));

describe("a density from and to pure noise", () => {
  before(() => useBackend("cpu"));

  for (const [name, schedule] of Object.entries(schedules)) {
    it(`${name}: of Gaussian data is the closed form, down and up`, async () => {
      const model = gaussian(schedule, { mean: 0.5, variance: 0.25 });
      const [start, end] = schedule.span, least = schedule.steps ? 1 : start + (end - start) * 1e-3;
      const exact = (x: number, t: number): number => {
        const { alpha, sigma } = schedule.at(t), v = alpha ** 2 * 0.25 + sigma ** 2;
        return -((x - alpha * 0.5) ** 2) / (2 * v) - Math.log(2 * Math.PI * v) / 2;
      };
      // Times dense at both ends, the first without signal.
      const count = 400;
      const times = schedule.steps
        ? Array.from({ length: 200 }, (_, i) => 1000 - 5 * i)
        : Array.from({ length: count + 1 }, (_, i) =>
          least + (end - least) * (1 + Math.cos(Math.PI * i / count)) / 2);
      const grid = { times, tableau: tableaus.rk4 } as const;
      const down = likelihood()(flow(schedule, grid));
      const states = run<Weighed>(prior([3, 1]), { model, key: root })(down);
      const { x, t, logDensity } = await last(states);
      x.dataSync().forEach((value, i) => {
        const found = logDensity!.dataSync()[i]!, wanted = exact(value, t);
        assert.ok(Math.abs(found - wanted) < 2e-3, `${found} for ${wanted}`);
      });
      const up = flow(schedule, { ...grid, upward: true }), x0 = tf.tensor([[0.2], [1.1]]);
      const found = await logLikelihood(x0, { sampler: up, model, key: root });
      [0.2, 1.1].forEach((value, i) => {
        const wanted = exact(value, times.at(-1)!);
        assert.ok(Math.abs(found[i]! - wanted) < 2e-3, `${found[i]} for ${wanted}`);
      });
      x0.dispose();
    });
  }

  it("a step down from it adds −D·ln(sigma_s/sigma_t) − (D − tau_s)/2", async () => {
    const schedule = rectified(), model = gaussian(schedule, { variance: 0.25 });
    const start = { x: tf.tensor([[0.3, -0.2]]), t: 1, step: 0 }, s = 0.9;
    const sampler = likelihood()(ddim(schedule, { times: [1, s] }));
    const { logDensity } = await last(run<Weighed>(start, { model, key: root })(sampler));
    const first = -(0.3 ** 2 + 0.2 ** 2) / 2 - Math.log(2 * Math.PI);
    const tau = 2 * s ** 2 / ((1 - s) ** 2 * 0.25 + s ** 2);
    const wanted = first - 2 * Math.log(s / 1) - (2 - tau) / 2;
    assert.ok(Math.abs(logDensity!.dataSync()[0]! - wanted) < 1e-6);
    start.x.dispose();
  });

  it("a step up to it takes that away again", async () => {
    const schedule = rectified(), model = gaussian(schedule, { variance: 0.25 }), s = 0.9;
    const start = { x: tf.tensor([[0.3, -0.2]]), t: s, step: 0 };
    const up = flow(schedule, { times: [1, s], tableau: tableaus.euler, upward: true });
    const { logDensity } = await last(run<Weighed>(start, { model, key: root })(likelihood()(up)));
    const tau = 2 * s ** 2 / ((1 - s) ** 2 * 0.25 + s ** 2);
    const wanted = 2 * Math.log(s / 1) + (2 - tau) / 2;
    assert.ok(Math.abs(logDensity!.dataSync()[0]! - wanted) < 1e-6);
    start.x.dispose();
  });

  it("one step from noise to data has none, and says so", async () => {
    const schedule = rectified(), model = gaussian(schedule, { variance: 0.25 }), before = live();
    await assert.rejects(
      () =>
        last(
          run<Weighed>(prior([1, 1]), { model, key: root })(
            likelihood()(ddim(schedule, { times: [1, 0] })),
          ),
        ),
      /^RangeError: Cannot carry a density: steps must be at least 2 from alpha = 0 to sigma = 0/,
    );
    assert.equal(live(), before);
  });
});

describe("guidance of pure noise", () => {
  before(() => useBackend("cpu"));

  for (const [name, schedule] of Object.entries(schedules)) {
    for (const kind of ["x0", "v", "flow"] as const) {
      it(`${name}, a model of ${kind}: gradients move the first x0 by Bayes' rule`, async () => {
        const oracle = gaussian(schedule, { mean: 0.5, variance: 0.25 });
        const model = speaking(oracle, kind), t = schedule.span[1], x = tf.tensor([[0.7], [-1.2]]);
        /** x0 that a guided model says at pure noise. */
        const said = async (guide: Guide): Promise<number> => {
          const before = live(), { kind, ...prediction } = await guide(model).predict(x, t);
          const value = (prediction as { value: tf.Tensor }).value, { sigma } = schedule.at(t);
          const [first] = value.dataSync(), eps = 0.7 / sigma;
          value.dispose();
          assert.equal(live(), before);
          if (kind === "x0") return first!;
          return kind === "v" ? -first! / sigma : eps - first!;
        };
        // An energy of x0 that is a·x0: the mean of x0 falls by a·variance.
        const tilt = byEnergy((x0) => tf.mul(tf.sum(x0, 1), 2), { of: "x0" });
        assert.ok(Math.abs(await said(tilt) - (0.5 - 2 * 0.25)) < 2e-3);
        // Half of it for one sample and all for the other.
        const each = byEnergy((x0) => tf.mul(tf.sum(x0, 1), 2), { of: "x0", scale: [0.5, 1] });
        assert.ok(Math.abs(await said(each) - (0.5 - 2 * 0.25 / 2)) < 2e-3);
        // The exact classifier of x0's sign of a tilt, through noise: logits b·E[x0 | x_t].
        const logits = (x: tf.Tensor, t: number): tf.Tensor => {
          const { alpha, sigma } = schedule.at(t), v = alpha ** 2 * 0.25 + sigma ** 2;
          const mean = tf.div(tf.add(tf.mul(x, alpha * 0.25), 0.5 * sigma ** 2), v);
          return tf.concat([tf.zerosLike(mean), mean], 1);
        };
        const p = 1 / (1 + Math.exp(-0.5));
        const classified = await said(byClassifier(logits, [1, 1]));
        assert.ok(Math.abs(classified - (0.5 + 0.25 * (1 - p))) < 2e-3, `${classified}`);
        x.dispose();
      });
    }

    it(`${name}: PiGDM is Bayes' rule from the first step on`, async () => {
      const model = speaking(gaussian(schedule, { mean: 0, variance: 1 }), "v");
      const operator = mask(tf.tensor([[1, 0]])), y = tf.tensor([[2, 7]]), count = 4000;
      const sampler = observed(operator, y, { std: 1 })(ddim(schedule, { steps: 50 }));
      const { x } = await last(run(prior([count, 2]), { model, key: root })(sampler));
      const [seen, unseen] = tf.mean(x, 0).dataSync();
      // N(1, ½) and N(0, 1), up to the steps.
      assert.ok(Math.abs(seen! - 1) < 0.06, `${seen}`);
      assert.ok(Math.abs(unseen!) < 0.06, `${unseen}`);
      tf.dispose([y]);
    });
  }
});

describe("a model of eps at pure noise", () => {
  before(() => useBackend("cpu"));
  const sampled = async (model: Model, sampler: Sampler): Promise<number> => {
    const { x } = await last(run(prior([64, 1]), { model, key: root })(sampler));
    return tf.mean(x).dataSync()[0]!;
  };
  const ofEps = (schedule: Schedule): Model => ({
    schedule,
    predict: (x) => ({ kind: "eps", value: tf.clone(x) }),
  });

  for (const [name, schedule] of Object.entries(schedules)) {
    for (const steps of [1, 2, 10]) {
      it(`${name}: is refused in ${steps} steps, with what fits, and frees every tensor`, async () => {
        const before = live();
        await assert.rejects(
          () => sampled(ofEps(schedule), ddim(schedule, { steps })),
          /^RangeError: Cannot read x0 from a prediction of eps: alpha must be above 0, got alpha 0, .*v or flow.*from/,
        );
        assert.equal(live(), before);
      });
    }
  }

  it("of another schedule is read where that has signal, as one of x0", async () => {
    const own = vp(), schedule = rectified();
    const oracle = gaussian(own, { mean: 0.8, variance: 0 });
    const model = decorated(oracle, () => ({
      predict: (x, t) =>
        tf.tidy(() => {
          const { alpha, sigma } = own.at(t);
          return { kind: "eps", value: tf.div(tf.sub(x, alpha * 0.8), sigma) };
        }) as never,
    }));
    for (const steps of [1, 2, 20]) {
      const found = await sampled(rescheduled(model, schedule), ddim(schedule, { steps }));
      assert.ok(Math.abs(found - 0.8) < 1e-3, `${found}`);
    }
  });

  it("a mixture is sampled from pure noise by v as by x0", async () => {
    const schedule = rectified(),
      data = mixture(schedule, { means: [-1, 2], variances: [0.1, 0.1] });
    const ends = await Promise.all(
      (["v", "x0", "flow"] as const).map((kind) =>
        sampled(speaking(data, kind), ddim(schedule, { steps: 20 }))
      ),
    );
    assert.ok(ends.every((end) => Math.abs(end - ends[0]!) < 1e-4), `${ends}`);
  });
});

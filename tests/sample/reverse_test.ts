import { before, describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import * as tf from "@tensorflow/tfjs-core";
import { gaussian, mixture } from "../../src/denoise/oracle/gaussian.ts";
import { mixtureDenoiser } from "../../src/denoise/oracle/mixture.ts";
import type { Model } from "../../src/denoise/prediction.ts";
import { tableaus } from "../../src/solve/tableau.ts";
import { edm, rectified, vp } from "../../src/noise/schedule/continuous.ts";
import { linear } from "../../src/noise/schedule/discrete.ts";
import { ddim } from "../../src/sample/ancestral.ts";
import type { Env, Sampler, State } from "../../src/sample/path.ts";
import { prior, run } from "../../src/sample/run.ts";
import { adaptiveFlow, type AdaptiveState, arrived } from "../../src/sample/flow/adaptive.ts";
import { type Churn, flow } from "../../src/sample/flow/flow.ts";
import { reverseSde } from "../../src/sample/reverse.ts";
import { pndm } from "../../src/sample/solver/pndm.ts";
import { dpmSinglestep, kdpm2 } from "../../src/sample/solver/singlestep.ts";
import { useBackend } from "../../src/tensor/backend/backend.ts";
import { key } from "../../src/tensor/key.ts";
import { live } from "../measure.ts";

const schedule = linear();
const law = { means: [[-1], [1]], variances: [0.1, 0.1] };

async function last(
  sampler: Sampler,
  env: Env & { until?: (state: State) => boolean },
  t?: number,
): Promise<number[]> {
  let found: number[] = [];
  for await (const { x } of run(prior([5, 1], t), env)(sampler)) found = [...x.dataSync()];
  return found;
}

const near = (a: readonly number[], b: readonly number[], within: number): void =>
  a.forEach((value, i) => assert.ok(Math.abs(value - b[i]!) < within, `${value} and ${b[i]}`));

describe("flow()", () => {
  before(() => useBackend("cpu"));

  it("with Euler's tableau is ddim() in all charts with straight paths", async () => {
    const env = { model: mixture(schedule, law), key: key(2) };
    const wanted = await last(ddim(schedule, { steps: 9 }), env);
    for (const chart of ["flow", "eps", "x0"] as const) {
      near(
        await last(flow(schedule, { steps: 9, tableau: tableaus.euler, chart }), env),
        wanted,
        2e-5,
      );
    }
  });

  it("starts from alpha 0 and ends at sigma 0 in every chart", async () => {
    const straight = rectified(),
      env = { model: gaussian(straight, { mean: 2, variance: 0 }), key: key(2) };
    for (const chart of ["flow", "eps", "x0", "v"] as const) {
      near(await last(flow(straight, { steps: 6, chart }), env), [2, 2, 2, 2, 2], 1e-4);
    }
  });

  it("leads up to the code that it came from, with the order of its method", async () => {
    const way = vp(), env = { model: mixture(way, law), key: key(2) };
    const grid = { spacing: "logLinear", final: 0.01, tableau: tableaus.rk4 } as const;
    const start = prior([5, 1])(env), code = [...start.x.dataSync()];
    // Down in steps so small that only those up are seen.
    const data = await last(flow(way, { ...grid, steps: 400 }), env);
    start.x.dispose();
    for (
      const [tableau, order, first] of [[tableaus.heun, 2, 40], [tableaus.rk4, 4, 10]] as const
    ) {
      const off: number[] = [];
      for (const steps of [first, 2 * first]) {
        const x: tf.Tensor = tf.tensor2d(data, [5, 1]),
          up = { ...grid, steps, tableau, upward: true };
        const states = run({ x, t: 0.01, step: 0 }, env)(flow(way, up));
        let end: State | undefined, found: number[] = [];
        for await (end of states) found = [...end.x.dataSync()];
        x.dispose();
        assert.equal(end!.t, 1);
        off.push(Math.max(...found.map((value, i) => Math.abs(value - code[i]!))));
      }
      const measured = Math.log2(off[0]! / off[1]!);
      assert.ok(Math.abs(measured - order) < 0.5, `order ${measured} of ${off}`);
    }
  });

  it("leaves no tensor behind, broken off or not", async () => {
    const env = { model: mixture(schedule, law), key: key(2) }, before = live();
    const all = [
      flow(schedule, { steps: 5, churn: { amount: 1, to: 10 } }),
      kdpm2(schedule, { steps: 5, eta: 1 }),
      pndm(schedule, { steps: 6 }),
      dpmSinglestep(schedule, { steps: 6 }),
      reverseSde(schedule, { steps: 5 }),
    ];
    for (const sampler of all) {
      await last(sampler, env);
      for await (const { step } of run(prior([2, 1]), env)(sampler)) if (step === 2) break;
    }
    const wrong: Env = {
      ...env,
      model: {
        schedule,
        predict: () => {
          throw new Error("broken");
        },
      },
    };
    for (const sampler of all) await assert.rejects(() => last(sampler, wrong), /broken/);
    assert.equal(live(), before);
  });

  it("refuses options outside their domain before any work", () => {
    const refused = (make: () => unknown, message: RegExp) => assert.throws(make, { message });
    refused(
      () => flow(schedule, { chart: "y" as "v" }),
      /^Cannot make a flow: chart must be one of .*, got y$/,
    );
    refused(
      () => flow(schedule, { churn: { amount: -1 } }),
      /churn.amount must be a number of at least 0/,
    );
    refused(
      () => flow(schedule, { churn: { to: NaN } as Churn }),
      /^Cannot make a flow: churn.to must be .*, got NaN; churn.amount must be .*, got undefined$/,
    );
    refused(
      () => flow(schedule, { churn: { amount: 1, most: 2 } as Churn }),
      /^Cannot churn a flow: options must be among amount, from, to, noise, got "most"$/,
    );
    refused(
      () => flow(schedule, { upward: true }),
      /final must be a time with sigma above 0 with upward, got 0$/,
    );
    refused(
      () => flow(schedule, { upward: true, final: 0.1, churn: { amount: 1 } }),
      /churn must be absent with upward, got \{"amount":1\}$/,
    );
    refused(
      () => flow(schedule, { churn: { amount: 100 } }),
      /churn.to must keep sigma\/alpha on the schedule "linear" \(logSnr must be that of a time\), got .* from t = 1000$/,
    );
    refused(
      () => reverseSde(schedule, { lambda: -1 }),
      /lambda must be a number of at least 0, got -1$/,
    );
    refused(
      () => reverseSde(schedule, { predictor: "x" as "ancestral" }),
      /predictor must be one of/,
    );
    for (const predictor of ["euler-maruyama", "reverse-diffusion"] as const) {
      refused(
        () => reverseSde(rectified(), { predictor }),
        /the step from 1 to .* must have finite coefficients: from must be a time .* for predictor "[a-z-]+" .*, got 1$/,
      );
    }
    refused(
      () => adaptiveFlow(schedule, { tableau: tableaus.rk4 }),
      /tableau must have an error and an order/,
    );
    refused(
      () => adaptiveFlow(schedule, { control: { absolute: 0 } }),
      /absolute must be above 0, got 0$/,
    );
    refused(
      () => adaptiveFlow(schedule, { final: 0 }),
      /final must be a time with sigma above 0, got 0$/,
    );
  });
});

describe("adaptiveFlow()", () => {
  before(() => useBackend("cpu"));

  it("forks: a run goes on from a recorded state, with its step, as if it had not stopped", async () => {
    const on = vp(), env = { model: mixture(on, law), key: key(3), until: arrived(1e-3) };
    const sampler = adaptiveFlow(on), before = live();
    let fork: number[] = [], end: number[] = [], steps = 0;
    for await (const state of run(prior([5, 1]), env)(sampler)) {
      end = [...state.x.dataSync()];
      steps = state.step;
      if (state.step !== 3) continue;
      for await (const other of run(state, env)(sampler)) fork = [...other.x.dataSync()];
    }
    assert.deepEqual(fork, end);
    assert.ok(steps > 5 && steps < 200, `${steps} steps`);
    assert.equal(live(), before);
  });

  it("keeps its tolerance in the unit of x, in every chart, and takes no more steps than it must", async () => {
    const data = { mean: 0.3, variance: 0.25 };
    for (const [on, final] of [[edm(), 0.002], [vp(), 1e-3]] as const) {
      const top = on.span[1],
        spread = (t: number) => {
          const { alpha, sigma } = on.at(t);
          return {
            mean: alpha * data.mean,
            std: Math.sqrt(alpha ** 2 * data.variance + sigma ** 2),
          };
        };
      const [a, b] = [spread(top), spread(final)];
      const x = tf.tensor2d([-1.9, -0.6, 0.1, 1.4].map((z) => [a.mean + z * a.std]));
      const wanted = [...x.dataSync()].map((each) => b.mean + (each - a.mean) / a.std * b.std);
      for (const chart of ["flow", "v", "eps", "x0"] as const) {
        for (const tolerance of [1e-1, 1e-2, 1e-3]) {
          const control = { absolute: tolerance, relative: tolerance }, oracle = gaussian(on, data);
          let asked = 0, end: number[] = [], made = 0, rejected = 0;
          const model: Model = {
            ...oracle,
            predict: (x, t) => (asked++, oracle.predict(x, t)),
          };
          const sampler = adaptiveFlow(on, { chart, final, control });
          const env = { model, key: key(0), until: arrived(final) };
          for await (const state of run<AdaptiveState>({ x, t: top, step: 0 }, env)(sampler)) {
            end = [...state.x.dataSync()];
            made = state.step;
            rejected = state.rejected ?? 0;
          }
          const off = end.map((v, i) =>
            Math.abs(v - wanted[i]!) / (tolerance * (1 + Math.abs(wanted[i]!)))
          );
          // In "x0" from sigma = 80 it was 245 tolerances off, where scipy's RK45 is a quarter of one.
          assert.ok(Math.max(...off) < 15, `${off} tolerances in ${chart} at ${tolerance}`);
          if (chart === "x0") assert.ok(Math.max(...off) < 0.5, `${off} in ${chart}`);
          assert.ok(asked < 160, `${asked} evaluations in ${chart} at ${tolerance}`);
          // One slope serves all trials of a step, and the length of the first step asks once more.
          assert.equal(asked, 1 + made + 6 * (made + rejected));
        }
      }
      x.dispose();
    }
  });

  it("measures a step's error in the unit of x, against what the smaller end allows", async () => {
    const on = vp(),
      data = { mean: 0.3, variance: 0.25 },
      oracle = mixtureDenoiser({
        means: [data.mean],
        variances: [data.variance],
      });
    const ratio = (t: number) => on.at(t).sigma / on.at(t).alpha, t = 0.8, x = -0.7;
    const end = on.timeOf(-2 * Math.log(ratio(t) / 2)), h = ratio(end) - ratio(t);
    const eps = (x: number, t: number) => {
      const level = on.at(t);
      return (x - level.alpha * oracle([x], level)[0]!) / level.sigma;
    };
    const { alpha } = on.at(end), y = x / on.at(t).alpha, first = eps(x, t);
    const second = eps(alpha * (y + h * first), end), next = alpha * (y + h * (first + second) / 2);
    const control = { absolute: 0.1, relative: 1, firstStep: -h };
    const allowed = control.absolute + control.relative * Math.min(Math.abs(x), Math.abs(next));
    const wanted = Math.abs(alpha * h / 2 * (second - first)) / allowed;
    const sampler = adaptiveFlow(on, { chart: "eps", tableau: tableaus.heun, control });
    const start = { x: tf.tensor([[x]]) as tf.Tensor, t, step: 0 };
    for await (
      const { step, t, previous } of run<AdaptiveState>(start, {
        model: gaussian(on, data),
        key: key(0),
      })(sampler)
    ) {
      if (step === 0) continue;
      assert.ok(Math.abs(t - end) < 1e-6);
      assert.ok(Math.abs(previous! / wanted - 1) < 1e-3, `${previous} for ${wanted}`);
      break;
    }
    start.x.dispose();
  });

  it("begins with Hairer's step, in the unit of x where the chart's is another", async () => {
    const on = edm(), oracle = mixtureDenoiser({ means: [0], variances: [1] }), absolute = 0.01;
    // y = x/sigma over w = 1/sigma has the slope E[x_0 | x].
    const sigma = on.at(on.span[1]).sigma, x = 110, w = 1 / sigma;
    const slope = (y: number, w: number) => oracle([y / w], { alpha: 1, sigma: 1 / w })[0]!;
    const allowed = absolute / sigma, y = x / sigma, first = slope(y, w);
    const trial = 0.01 * y / first, second = slope(y + trial * first, w + trial);
    const rate = Math.max(Math.abs(first), Math.abs(second - first) / trial) / allowed;
    const h = Math.min(100 * trial, (0.01 / rate) ** (1 / 5)), wanted = 1 / (w + h);
    const start: AdaptiveState = { x: tf.tensor([[x]]), t: on.span[1], step: 0 };
    const sampler = adaptiveFlow(on, { control: { absolute, relative: 0 }, chart: "x0" });
    for await (const { step, t } of run(start, { model: gaussian(on), key: key(0) })(sampler)) {
      if (step === 0) continue;
      assert.ok(Math.abs(on.at(t).sigma / wanted - 1) < 1e-4, `${t} for ${wanted}`);
      break;
    }
    start.x.dispose();
  });

  it("arrives where its final time and the test's differ in their last digits", async () => {
    const on = vp(),
      final = 0.1 * 3,
      env = { model: gaussian(on), key: key(3), until: arrived(0.3) };
    let steps = 0;
    for await (const { t } of run(prior([2, 1]), env)(adaptiveFlow(on, { final }))) {
      if (t === final) break;
      assert.ok(++steps < 100);
    }
    assert.deepEqual([0.3 + 1e-8, final, 0].map((t) => arrived(0.3)({ t })), [false, true, true]);
    assert.throws(() => arrived(NaN), /t must be a finite number, got NaN$/);
  });

  it("does not move beyond its final time", async () => {
    const on = vp(), start: State = { x: tf.ones([2, 1]), t: 1e-3, step: 0 };
    let pulled = 0;
    for await (
      const { t, step } of run(start, { model: gaussian(on), key: key(0) })(adaptiveFlow(on))
    ) {
      assert.deepEqual([t, step], [1e-3, 0]);
      if (++pulled === 4) break;
    }
    start.x.dispose();
  });
});

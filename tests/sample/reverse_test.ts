import { before, describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import * as tf from "@tensorflow/tfjs-core";
import { gaussian, mixture } from "../../src/denoise/oracle.ts";
import { tableaus } from "../../src/noise/ode.ts";
import { linear, rectified, vp } from "../../src/noise/schedule.ts";
import { ddim } from "../../src/sample/ancestral.ts";
import { type Env, prior, run, type Sampler, type State } from "../../src/sample/chain.ts";
import { adaptiveFlow, arrived, flow, reverseSde } from "../../src/sample/reverse.ts";
import { dpmSinglestep, kdpm2, pndm } from "../../src/sample/singlestep.ts";
import { useBackend } from "../../src/tensor/backend.ts";
import { key } from "../../src/tensor/key.ts";

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
    const env = { model: mixture(schedule, law), key: key(2) }, before = tf.memory().numTensors;
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
    assert.equal(tf.memory().numTensors, before);
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
      () => flow(schedule, { upward: true }),
      /final must be a time with sigma above 0 with upward, got 0$/,
    );
    refused(
      () => flow(schedule, { upward: true, final: 0.1, churn: { amount: 1 } }),
      /churn must be absent with upward, got \{"amount":1\}$/,
    );
    refused(
      () => flow(schedule, { churn: { amount: 100 } }),
      /churn.to must keep sigma\/alpha on the schedule "linear", got .* from t = 1000$/,
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
        /from must be a time at which f and g are finite for predictor "[a-z-]+" .*, got 1$/,
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
    const sampler = adaptiveFlow(on), before = tf.memory().numTensors;
    let fork: number[] = [], end: number[] = [], steps = 0;
    for await (const state of run(prior([5, 1]), env)(sampler)) {
      end = [...state.x.dataSync()];
      steps = state.step;
      if (state.step !== 3) continue;
      for await (const other of run(state, env)(sampler)) fork = [...other.x.dataSync()];
    }
    assert.deepEqual(fork, end);
    assert.ok(steps > 5 && steps < 200, `${steps} steps`);
    assert.equal(tf.memory().numTensors, before);
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

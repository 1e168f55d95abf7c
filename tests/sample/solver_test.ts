import { before, describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import * as tf from "@tensorflow/tfjs-core";
import fc from "fast-check";
import { pipe } from "fp-ts/lib/function.js";
import { mixture } from "../../src/denoise/oracle.ts";
import type { Level } from "../../src/noise/schedule.ts";
import { linear, ve } from "../../src/noise/schedule.ts";
import { ddim } from "../../src/sample/ancestral.ts";
import { type Env, prior, run, type Sampler, type State } from "../../src/sample/chain.ts";
import { dpmSolver, multistepCoefficients } from "../../src/sample/solver.ts";
import { useBackend } from "../../src/tensor/backend.ts";
import { key } from "../../src/tensor/key.ts";

const schedule = linear();
const env: Env = {
  model: mixture(schedule, { means: [[-1], [1]], variances: [0.1, 0.1] }),
  key: key(4),
};
const level = (lambda: number): Level => {
  const sigma = 1 / Math.sqrt(1 + Math.exp(2 * lambda));
  return { alpha: sigma * Math.exp(lambda), sigma };
};

async function states<A>(sampler: Sampler, use: (state: State) => A): Promise<A[]> {
  const found: A[] = [];
  for await (const state of pipe(sampler, run(prior([5, 1]), env))) found.push(use(state));
  return found;
}
const values = ({ x }: State): number[] => [...x.dataSync()];

/** Simpson's rule of e^lambda·f(lambda) on [a, b]. */
function integral(f: (lambda: number) => number, a: number, b: number): number {
  const n = 200, h = (b - a) / n;
  const weight = (i: number) => i === 0 || i === n ? 1 : i % 2 ? 4 : 2;
  return h / 3 *
    Array.from({ length: n + 1 }, (_, i) => weight(i) * Math.exp(a + i * h) * f(a + i * h)).reduce((
      p,
      q,
    ) => p + q);
}

describe("multistepCoefficients()", () => {
  const lambdas = fc.tuple(
    fc.double({ min: -4, max: 2, noNaN: true }),
    fc.double({ min: 0.05, max: 1.5, noNaN: true }),
    fc.double({ min: 0.05, max: 1.5, noNaN: true }),
  );

  it("solves the ODE exactly for a constant x0, at either order", () => {
    fc.assert(
      fc.property(lambdas, fc.constantFrom("midpoint", "heun"), ([lambda, gap, h], corrector) => {
        const from = level(lambda), to = level(lambda + h), past = level(lambda - gap);
        const wanted = to.sigma * integral(() => 1, lambda, lambda + h);
        for (const levels of [{ from, to }, { from, to, past }]) {
          const step = multistepCoefficients(levels, corrector as "heun");
          assert.ok(Math.abs(step.x0 + step.past - wanted) < 1e-7);
          assert.ok(Math.abs(step.xt - to.sigma / from.sigma) < 1e-12);
        }
      }),
    );
  });

  it("with heun solves it exactly for an x0 that is a line in lambda", () => {
    fc.assert(fc.property(lambdas, ([lambda, gap, h]) => {
      const step = multistepCoefficients({
        from: level(lambda),
        to: level(lambda + h),
        past: level(lambda - gap),
      }, "heun");
      const wanted = level(lambda + h).sigma * integral((l) => l - lambda, lambda, lambda + h);
      assert.ok(Math.abs(step.past * -gap - wanted) < 1e-7);
    }));
  });

  it("with midpoint takes x0 in the middle of the step", () => {
    fc.assert(fc.property(lambdas, ([lambda, gap, h]) => {
      const step = multistepCoefficients({
        from: level(lambda),
        to: level(lambda + h),
        past: level(lambda - gap),
      });
      const wanted = level(lambda + h).sigma * integral(() => h / 2, lambda, lambda + h);
      assert.ok(Math.abs(step.past * -gap - wanted) < 1e-7);
    }));
  });

  it("lands on x0 at sigma 0, and starts from alpha 0", () => {
    const noisy = { alpha: 0, sigma: 1 },
      clean = { alpha: 1, sigma: 0 },
      middle = { alpha: 0.6, sigma: 0.8 };
    assert.deepEqual(multistepCoefficients({ from: middle, to: clean }), {
      xt: 0,
      x0: 1,
      past: -0,
    });
    const first = multistepCoefficients({ from: noisy, to: middle });
    assert.deepEqual([first.xt, first.x0], [0.8, 0.6]);
    const second = multistepCoefficients({ from: middle, to: level(2), past: noisy });
    assert.ok(Object.values(second).every(Number.isFinite) && Math.abs(second.past) === 0);
  });
});

describe("dpmSolver()", () => {
  before(() => useBackend("cpu"));

  it("of order 1 is ddim() with eta 0, on any schedule", async () => {
    const found = await states(dpmSolver(schedule, { steps: 7, order: 1 }), values);
    const wanted = await states(ddim(schedule, { steps: 7 }), values);
    found.forEach((row, i) =>
      row.forEach((value, j) => assert.ok(Math.abs(value - wanted[i]![j]!) < 1e-5))
    );
    assert.doesNotThrow(() => dpmSolver(ve(), { steps: 7 }));
  });

  it("takes its first step, and one to sigma 0, of first order", async () => {
    const one = await states(
      dpmSolver(schedule, { times: [1000, 400], lowerOrderFinal: false }),
      values,
    );
    const wanted = await states(ddim(schedule, { times: [1000, 400] }), values);
    one[1]!.forEach((value, j) => assert.ok(Math.abs(value - wanted[1]![j]!) < 1e-5));
    const last = await states(
      dpmSolver(schedule, { times: [1000, 400, 100, 0], lowerOrderFinal: false }),
      (state) => [values(state), [...(state.x0 ?? state.x).dataSync()]],
    );
    assert.deepEqual(last.at(-1)![0], last.at(-1)![1]);
  });

  it("takes its last step of first order if told, and by itself below 15 steps", async () => {
    const end = async (steps: number, lowerOrderFinal?: boolean | "auto") => {
      const options = {
        steps,
        final: 50,
        ...(lowerOrderFinal !== undefined && { lowerOrderFinal }),
      };
      return (await states(dpmSolver(schedule, options), values)).at(-1);
    };
    assert.notDeepEqual(await end(14, true), await end(14, false));
    assert.notDeepEqual(await end(15, true), await end(15, false));
    assert.deepEqual(await end(14), await end(14, true));
    assert.deepEqual(await end(15), await end(15, false));
    assert.deepEqual(await end(15, "auto"), await end(15));
  });

  it("carries its last evaluation in the state, and none at order 1", async () => {
    const times = [1000, 600, 300, 100, 0];
    const found = await states(dpmSolver(schedule, { times }), ({ history, x0 }) => [
      history?.map(({ t }) => t),
      history?.[0]?.x0.id === x0?.id,
    ]);
    assert.deepEqual(found, [[undefined, true], [[1000], true], [[600], true], [[300], true], [[
      100,
    ], true]]);
    const first = await states(dpmSolver(schedule, { times, order: 1 }), ({ history }) => history);
    assert.deepEqual(first, times.map(() => undefined));
  });

  it("does not take an evaluation from ahead for a past one", async () => {
    const sampler = dpmSolver(schedule, { times: [500, 300, 100], lowerOrderFinal: false });
    const x = tf.tensor([[0.4]]), x0 = tf.tensor([[9]]);
    const ends: number[][] = [];
    for (const history of [undefined, [{ t: 200, x0 }], [{ t: 500, x0 }]]) {
      const start: State = { x, t: 500, step: 0, ...(history && { history }) };
      for await (const state of run(start, env)(sampler)) {
        if (state.t === 100) ends.push(values(state));
      }
    }
    assert.deepEqual(ends[1], ends[0]);
    assert.deepEqual(ends[2], ends[0]);
    const past: State = { x, t: 500, step: 0, history: [{ t: 700, x0 }] };
    for await (const state of run(past, env)(sampler)) {
      if (state.t === 100) assert.notDeepEqual(values(state), ends[0]);
    }
    tf.dispose([x, x0]);
  });

  it("forks: two runs go on from one state and do not disturb it", async () => {
    const times = [1000, 600, 300, 100, 0], rest = dpmSolver(schedule, { times: times.slice(2) });
    for await (const state of run(prior([5, 1]), env)(dpmSolver(schedule, { times }))) {
      if (state.t !== 300) continue;
      const before = values(state), ends = [];
      for (let fork = 0; fork < 2; fork++) {
        for await (const end of run(state, env)(rest)) if (end.t === 0) ends.push(values(end));
      }
      assert.deepEqual(ends[0], ends[1]);
      assert.deepEqual(values(state), before);
      assert.deepEqual(ends[0], (await states(dpmSolver(schedule, { times }), values)).at(-1));
    }
  });

  it("refuses options outside their domain before any work", () => {
    const refused = (options: unknown, message: RegExp) =>
      assert.throws(() => dpmSolver(schedule, options as { steps: number }), {
        name: "RangeError",
        message,
      });
    refused({ order: 3 }, /^Cannot make a DPM-Solver\+\+: order must be 1 or 2, got 3$/);
    refused({ corrector: "euler" }, /corrector must be "midpoint" or "heun", got "euler"$/);
    refused({ corrector: "toString" }, /corrector must be/);
    refused({ lowerOrderFinal: 1 }, /lowerOrderFinal must be a boolean or "auto", got 1$/);
    refused({ steps: 0 }, /steps/);
  });
});

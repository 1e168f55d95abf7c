import { before, describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import * as tf from "@tensorflow/tfjs-core";
import fc from "fast-check";
import { pipe } from "fp-ts/lib/function.js";
import { gaussian, mixture } from "../../src/denoise/oracle/gaussian.ts";
import type { Model } from "../../src/denoise/prediction.ts";
import { edm, ve } from "../../src/noise/schedule/continuous.ts";
import { cosine, linear } from "../../src/noise/schedule/discrete.ts";
import type { Schedule } from "../../src/noise/schedule/schedule.ts";
import { posterior } from "../../src/denoise/posterior.ts";
import { ddim, ddimInverse, ddpm } from "../../src/sample/ancestral.ts";
import type { Env, Sampler, State } from "../../src/sample/path.ts";
import { prior, run } from "../../src/sample/run.ts";
import { deis, lms } from "../../src/sample/solver/deis.ts";
import { multistep } from "../../src/sample/solver/multistep.ts";
import { adams, type Node } from "../../src/sample/solver/weights.ts";
import { adaptiveFlow } from "../../src/sample/flow/adaptive.ts";
import { flow } from "../../src/sample/flow/flow.ts";
import { reverseSde } from "../../src/sample/reverse.ts";
import { pndm } from "../../src/sample/solver/pndm.ts";
import { dpmSinglestep, kdpm2 } from "../../src/sample/solver/singlestep.ts";
import { dpmSolver, multistepCoefficients } from "../../src/sample/solver/dpm.ts";
import { uniPc } from "../../src/sample/solver/unipc.ts";
import { useBackend } from "../../src/tensor/backend/backend.ts";
import { key } from "../../src/tensor/key.ts";

const schedule = linear();
const env: Env = {
  model: mixture(schedule, { means: [[-1], [1]], variances: [0.1, 0.1] }),
  key: key(4),
};
const level = (lambda: number): Node => {
  const sigma = 1 / Math.sqrt(1 + Math.exp(2 * lambda));
  return { t: -lambda, alpha: sigma * Math.exp(lambda), sigma };
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
        for (const nodes of [[], [past]]) {
          const form = { corrector: corrector as "heun" };
          const step = multistepCoefficients({ from, to, past: nodes }, form);
          const sum = step.predictions.reduce((a, b) => a + b);
          assert.ok(Math.abs(sum - wanted) < 1e-7);
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
        past: [level(lambda - gap)],
      }, { corrector: "heun" });
      const wanted = level(lambda + h).sigma * integral((l) => l - lambda, lambda, lambda + h);
      assert.ok(Math.abs(step.predictions[1]! * -gap - wanted) < 1e-7);
    }));
  });

  it("with three predictions solves it exactly for a parabola, whichever prediction it is", () => {
    fc.assert(fc.property(lambdas, ([lambda, gap, h]) => {
      const [from, to] = [level(lambda), level(lambda + h)];
      const past = [level(lambda - gap), level(lambda - 3 * gap)];
      for (const which of ["x0", "eps"] as const) {
        const [, near, far] = multistepCoefficients({ from, to, past }, { of: which }).predictions;
        const square = (l: number) => (l - lambda) ** 2;
        // eps carries d rho = −e^(−lambda) d lambda where x0 carries e^lambda d lambda.
        const wanted = which === "x0"
          ? to.sigma * integral(square, lambda, lambda + h)
          : -to.alpha * integral((l) => Math.exp(-2 * l) * square(l), lambda, lambda + h);
        const found = near! * gap ** 2 + far! * 9 * gap ** 2;
        assert.ok(Math.abs(found - wanted) < 1e-7 * (1 + Math.abs(wanted)), `${found} ${wanted}`);
      }
    }));
  });

  it("with curvature halved differs from that by half a parabola", () => {
    const nodes = { from: level(0), to: level(0.4), past: [level(-0.3), level(-0.7)] };
    const exact = multistepCoefficients(nodes),
      halved = multistepCoefficients(nodes, { curvature: "halved" });
    const square = (w: readonly number[]) => w[1]! * 0.09 + w[2]! * 0.49;
    const line = (w: readonly number[]) => w[1]! * 0.3 + w[2]! * 0.7;
    const [, near] = [exact, halved].map((each) => each.predictions);
    assert.ok(Math.abs(square(near!) - square(exact.predictions) / 2) < 1e-12);
    assert.ok(Math.abs(line(near!) - line(exact.predictions)) < 1e-12);
  });

  it("with eta 1 has the mean and the noise of DDPM", () => {
    const from = level(-0.5), to = level(0.2), law = posterior(from, to);
    const step = multistepCoefficients({ from, to, past: [] }, { eta: 1 });
    assert.ok(
      Math.abs(step.xt - law.xt) < 1e-12 && Math.abs(step.predictions[0]! - law.x0) < 1e-12,
    );
    assert.ok(Math.abs(step.noise ** 2 - law.variance) < 1e-12);
  });

  it("with midpoint takes x0 in the middle of the step", () => {
    fc.assert(fc.property(lambdas, ([lambda, gap, h]) => {
      const step = multistepCoefficients({
        from: level(lambda),
        to: level(lambda + h),
        past: [level(lambda - gap)],
      });
      const wanted = level(lambda + h).sigma * integral(() => h / 2, lambda, lambda + h);
      assert.ok(Math.abs(step.predictions[1]! * -gap - wanted) < 1e-7);
    }));
  });

  it("lands on x0 at sigma 0, and starts from alpha 0", () => {
    const noisy = { t: 9, alpha: 0, sigma: 1 }, clean = { t: 0, alpha: 1, sigma: 0 };
    const middle = { t: 1, alpha: 0.6, sigma: 0.8 };
    const last = multistepCoefficients({ from: middle, to: clean, past: [] });
    assert.deepEqual(last, { xt: 0, of: "x0", noise: 0, predictions: [1] });
    const first = multistepCoefficients({ from: noisy, to: middle, past: [] });
    assert.deepEqual([first.xt, ...first.predictions], [0.8, 0.6]);
    const second = multistepCoefficients({ from: middle, to: level(2), past: [noisy] });
    assert.ok(second.predictions.every(Number.isFinite) && second.predictions[1] === 0);
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
    refused({ order: 4 }, /^Cannot make a DPM-Solver\+\+: order must be 1, 2 or 3, got 4$/);
    refused({ eta: -1 }, /eta must be a number of at least 0, got -1$/);
    refused({ curvature: "none" }, /curvature must be "exact" or "halved", got "none"$/);
    refused(
      { curvature: "none", eta: -1, order: 4 },
      /: curvature must be .*, got "none"; eta must be .*, got -1; order must be 1, 2 or 3, got 4$/,
    );
    refused({ corrector: "euler" }, /corrector must be "midpoint" or "heun", got "euler"$/);
    refused({ corrector: "toString" }, /corrector must be/);
    refused({ lowerOrderFinal: 1 }, /lowerOrderFinal must be a boolean or "auto", got 1$/);
    refused({ steps: 0 }, /steps/);
  });
});

describe("uniPc()", () => {
  before(() => useBackend("cpu"));

  it("without its corrector is dpmSolver(), where B(h) is that of bh2", async () => {
    const times = [1000, 600, 300, 100, 20];
    const found = await states(
      uniPc(schedule, { times, corrected: false, lowerOrderFinal: false }),
      values,
    );
    const wanted = await states(dpmSolver(schedule, { times, lowerOrderFinal: false }), values);
    assert.deepEqual(found, wanted);
    assert.notDeepEqual(
      await states(uniPc(schedule, { times, lowerOrderFinal: false }), values),
      wanted,
    );
  });

  it("keeps the corrected x in the history, and the predictor's in the state", async () => {
    const found = await states(uniPc(schedule, { steps: 5 }), ({ x, history }) => [
      [...x.dataSync()],
      history?.map((each) => [...each.x!.dataSync()]),
    ]);
    assert.deepEqual(found[1]![1]![0], found[0]![0]);
    assert.notDeepEqual(found[2]![1]![0], found[1]![0]);
    assert.ok(found.every(([, history]) => (history?.length ?? 0) <= 2));
  });

  it("refuses options outside their domain before any work", () => {
    const refused = (options: object, message: RegExp) =>
      assert.throws(() => uniPc(schedule, options), { name: "RangeError", message });
    refused({ order: 0 }, /^Cannot make a UniPC: order must be 1, 2 or 3, got 0$/);
    refused({ solver: "bh3" }, /solver must be "bh1" or "bh2", got "bh3"$/);
  });
});

describe("options of samplers", () => {
  type Make = (schedule: Schedule, options: object) => Sampler;
  const all: Readonly<Record<string, Make>> = {
    ddpm,
    ddim,
    ddimInverse,
    dpmSolver,
    dpmSinglestep,
    uniPc,
    deis,
    lms,
    pndm,
    kdpm2,
    reverseSde,
    flow,
    adaptiveFlow: adaptiveFlow as unknown as Make,
    multistep: (schedule, grid) => multistep(schedule, grid, { rule: adams, order: 1 }),
    "multistep's own": (schedule, own) =>
      multistep(schedule, {}, { rule: adams, order: 1, ...own }),
    "flow's churn": (schedule, churn) => flow(schedule, { churn: { amount: 0, ...churn } }),
  };

  it("one that is not known is refused by name, by every sampler", () => {
    assert.equal(Object.keys(all).length, 16);
    for (const [name, make] of Object.entries(all)) {
      assert.throws(() => make(schedule, { step: 5 }), {
        name: "TypeError",
        message: /^Cannot .*: options must be among .*, got "step"$/,
      }, name);
      assert.doesNotThrow(() => make(schedule, { step: undefined }));
    }
  });

  it("one that would do nothing is refused by name", () => {
    const idle: readonly (readonly [string, object, RegExp])[] = [
      ["ddim", { eta: 0.5, noise: "hat" }, /eta must be 1 or absent with noise "hat", got 0.5$/],
      ["ddpm", { lastNoise: 1 }, /lastNoise must be true or false, got 1$/],
      ["reverseSde", { lastNoise: 1 }, /lastNoise must be true or false, got 1$/],
      ["kdpm2", { times: [9, 0], from: 9 }, /from must be absent beside times, got 9$/],
      ["pndm", { shift: 2 }, /shift must be absent with spacing "trailing"/],
      ["uniPc", { reach: 0.5 }, /reach must be absent with spacing "trailing"/],
      ["lms", { least: 1 }, /least must be absent with spacing "trailing"/],
    ];
    for (const [name, options, message] of idle) {
      assert.throws(() => all[name]!(schedule, options), { name: "RangeError", message });
    }
  });

  it("pndm() combines v only where alpha² + sigma² = 1", () => {
    assert.throws(() => pndm(edm(), { of: "v" }), {
      name: "RangeError",
      message: /^Cannot make a PNDM: of must be "eps" where alpha² \+ sigma² is not 1.*, got "v"$/,
    });
    assert.doesNotThrow(() => pndm(schedule, { of: "v" }));
  });
});

describe("steps over a great change of sigma/alpha", () => {
  before(() => useBackend("cpu"));
  const on = cosine(), oracle = gaussian(on, { mean: 1.5, variance: 0.25 });

  /** The times at which a sampler asks the model, and where it ends. */
  async function asked(sampler: Sampler, t = 1000): Promise<[at: number[], end: number[]]> {
    const at: number[] = [], x: tf.Tensor = tf.tensor2d([[0.3], [-2]]);
    const model: Model = { ...oracle, predict: (x, t) => (at.push(t), oracle.predict(x, t)) };
    let end: number[] = [];
    for await (const state of run<State>({ x, t, step: 0 }, { model, key: key(0) })(sampler)) {
      end = values(state);
    }
    x.dispose();
    return [at, end];
  }

  it("are one stage of pndm() where its own would go astray: from T of cosine(), and not below", async () => {
    const [at, end] = await asked(pndm(on, { steps: 5 }));
    assert.deepEqual(
      at.map(Math.round),
      [1000, 800, 700, 700, 600, 600, 500, 500, 400, 400, 200],
    );
    // .3 and −2 deviations of the noise are 1.65 and .5 of the data.
    [1.65, 0.5].forEach((x, i) => assert.ok(Math.abs(end[i]! - x) < 0.4, `${end}`));
    // Stages that are asked for by name are made.
    const [named] = await asked(pndm(on, { steps: 5, warmUp: "heun" }));
    assert.deepEqual(named.map(Math.round), [1000, 800, 800, 600, 400, 200]);
    const [small] = await asked(pndm(on, { from: 900, steps: 20 }), 900);
    assert.deepEqual(small.slice(0, 4), [900, 878, 878, 855]);
  });
});

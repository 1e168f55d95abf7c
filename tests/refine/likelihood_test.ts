import { before, describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import * as tf from "@tensorflow/tfjs-core";
import { pipe } from "fp-ts/lib/function.js";
import { gaussian, mixture } from "../../src/denoise/oracle/gaussian.ts";
import { type Mixture, mixtureLogDensity } from "../../src/denoise/oracle/mixture.ts";
import type { Model } from "../../src/denoise/prediction.ts";
import { type Tableau, tableaus } from "../../src/solve/tableau.ts";
import { vp } from "../../src/noise/schedule/continuous.ts";
import type { Level } from "../../src/noise/schedule/schedule.ts";
import { likelihood, logLikelihood, type Weighed } from "../../src/refine/likelihood.ts";
import { exactTrace, hutchinson, type Trace } from "../../src/refine/trace.ts";
import { ddim, ddimInverse } from "../../src/sample/ancestral.ts";
import type { Env, Sampler, State } from "../../src/sample/path.ts";
import { prior, run } from "../../src/sample/run.ts";
import { flow, type FlowOptions } from "../../src/sample/flow/flow.ts";
import { dpmSolver } from "../../src/sample/solver/dpm.ts";
import { useBackend } from "../../src/tensor/backend/backend.ts";
import { scope } from "../../src/tensor/scope.ts";
import { key } from "../../src/tensor/key.ts";
import { normal } from "../../src/tensor/random.ts";
import { live, rowsOf } from "../measure.ts";

const schedule = vp();
const law = {
  means: [[-1, 0.5], [1, -0.3]],
  variances: [[0.1, 0.3], [0.2, 0.15]],
  weights: [0.3, 0.7],
};
const oracle = mixture(schedule, law), density = mixtureLogDensity(law);

const least = 0.01;

/** The probability-flow ODE from data to noise, by Heun's method unless another is given. */
const up = (steps: number, options: FlowOptions = {}, on = schedule): Sampler =>
  flow(on, { steps, spacing: "logLinear", final: least, chart: "eps", upward: true, ...options });

/** Points near those of a mixture's law. */
function points(count: number, dimensions = 2): tf.Tensor {
  return scope(() => tf.mul(normal(key(1), [count, dimensions]), 0.9));
}

/** What logLikelihood() is off by at each point, with the exact density at the end. */
async function errors(
  x: tf.Tensor,
  steps: number,
  { trace = exactTrace, mixed = law, tableau = tableaus.heun }: {
    readonly trace?: Trace;
    readonly mixed?: Mixture;
    readonly tableau?: Tableau;
  } = {},
): Promise<number[]> {
  const density = mixtureLogDensity(mixed);
  const found = await logLikelihood(x, {
    sampler: up(steps, { tableau }),
    t: least,
    model: mixture(schedule, mixed),
    key: key(2),
    prior: (x, level) => tf.tensor1d(rowsOf(x).map((row) => density(row, level))),
    trace,
  });
  return rowsOf(x).map((row, i) => found[i]! - density(row, schedule.at(least)));
}

/** Two laws, in the plane and in eight dimensions. */
const laws: Readonly<Record<number, Mixture>> = {
  2: law,
  8: {
    means: [
      [-1, 0.5, 0, 0.8, -0.4, 0.2, 0, 1],
      [1, -0.3, 0.6, -0.7, 0, -0.9, 0.3, 0],
      [0, 0, -0.8, 0.1, 0.9, 0.4, -0.6, -0.5],
    ],
    variances: [
      [0.1, 0.3, 0.2, 0.4, 0.15, 0.25, 0.5, 0.3],
      [0.2, 0.15, 0.4, 0.1, 0.3, 0.2, 0.25, 0.6],
      [0.3, 0.2, 0.1, 0.25, 0.5, 0.15, 0.2, 0.4],
    ],
    weights: [0.3, 0.5, 0.2],
  },
};

describe("logLikelihood()", () => {
  before(() => useBackend("cpu"));

  it("of Gaussian data is the golden number −1.5057914 (variance 0.25, x0 = 0.8, T = 3)", async () => {
    const ou = vp({ betaMin: 1, betaMax: 1, end: 3 }), model = gaussian(ou, { variance: 0.25 });
    const exact = (x: tf.Tensor, { alpha, sigma }: Level): tf.Tensor => {
      const v = alpha ** 2 * 0.25 + sigma ** 2;
      return tf.tidy(() =>
        tf.sub(tf.mul(tf.sum(tf.square(x), 1), -0.5 / v), Math.log(2 * Math.PI * v) / 2)
      );
    };
    const x0 = tf.tensor([[0.8]]), options = { model, key: key(0) };
    const at = async (steps: number): Promise<number> =>
      (await logLikelihood(x0, {
        ...options,
        t: 1e-6,
        prior: exact,
        sampler: up(steps, { final: 1e-6 }, ou),
      }))[0]!;
    const fine = await at(240), found = (4 * fine - await at(120)) / 3;
    assert.ok(Math.abs(found + 1.5057914) < 2e-5, `${found}`);
    assert.ok(Math.abs(fine + 1.5057914) < 3e-3, `${fine}`);
    let end = 0;
    const states = run<State>({ x: x0, t: 1e-6, step: 0 }, options)(up(120, { final: 1e-6 }, ou));
    for await (const { x } of states) end = x.dataSync()[0]!;
    assert.ok(Math.abs(end - 1.5698434) < 1e-3, `${end}`);
    x0.dispose();
  });

  for (const dimensions of [2, 8]) {
    const mixed = laws[dimensions]!;

    it(`of a mixture in ${dimensions} dimensions is the closed form to 1e-3 nats, at each of 200 points`, async () => {
      // In steps of equal lambda tau is flat at both ends, where the trapezoid rule is far better than of order 2.
      const x = points(200, dimensions);
      const off = await errors(x, 80, { mixed, tableau: tableaus.rk4 });
      const worst = Math.max(...off.map(Math.abs));
      assert.ok(worst < 1e-3, `${worst}`);
      x.dispose();
    });

    for (const rule of ["rademacher", "normal"] as const) {
      it(`with ${rule} probes in ${dimensions} dimensions is within 3 standard errors of that with the exact trace`, async () => {
        const x = points(200, dimensions), trace = hutchinson({ law: rule });
        const exact = await errors(x, 40, { mixed });
        const off = (await errors(x, 40, { mixed, trace })).map((value, i) => value - exact[i]!);
        const mean = off.reduce((a, b) => a + b) / 200;
        const deviation = Math.sqrt(off.reduce((sum, e) => sum + (e - mean) ** 2, 0) / 199);
        assert.ok(deviation > 0.01, `${deviation}`);
        assert.ok(Math.abs(mean) < 3 * deviation / Math.sqrt(200), `${mean}, ${deviation}`);
        x.dispose();
      });
    }
  }

  it("converges with order 2", async () => {
    const x = points(20), sizes = [];
    for (const steps of [16, 32, 64]) {
      const off = await errors(x, steps);
      sizes.push(Math.sqrt(off.reduce((sum, e) => sum + e * e, 0) / off.length));
    }
    const order = Math.log2(sizes[0]! / sizes[2]!) / 2;
    assert.ok(Math.abs(order - 2) < 0.25, `order ${order}, errors ${sizes}`);
    x.dispose();
  });
});

describe("likelihood()", () => {
  before(() => useBackend("cpu"));

  /** The last state's samples and densities. */
  async function carried(sampler: Sampler, options?: Parameters<typeof likelihood>[0]) {
    let x: number[][] = [], logDensity: number[] = [];
    const start = prior([8, 2]), env: Env = { model: oracle, key: key(4) };
    for await (const state of pipe(sampler, likelihood(options), run<Weighed>(start, env))) {
      x = rowsOf(state.x);
      if (state.logDensity) logDensity = [...state.logDensity.dataSync()];
    }
    return { x, logDensity };
  }

  it("going down gives the density of what is sampled, to the prior's own error", async () => {
    const options = { steps: 100, spacing: "logLinear", final: least } as const;
    const { x, logDensity } = await carried(dpmSolver(schedule, options));
    // N(0, sigma²) in place of the marginal at T is off by about alpha = 0.0066 a dimension.
    x.forEach((row, i) =>
      assert.ok(Math.abs(logDensity[i]! - density(row, schedule.at(least))) < 0.05)
    );
  });

  it("reaches sigma = 0 by tau/2", async () => {
    const options = { steps: 100, spacing: "logLinear", least: 1e-3 } as const;
    const { x, logDensity } = await carried(dpmSolver(schedule, options));
    x.forEach((row, i) => {
      const wanted = density(row, { alpha: 1, sigma: 0 });
      assert.ok(Math.abs(logDensity[i]! - wanted) < 0.05, `${logDensity[i]}, ${wanted}`);
    });
  });

  it("a step from sigma = 0 up is that step down, taken back: −tau/2 − d·ln alpha", async () => {
    const model = gaussian(schedule, { variance: 0.5 }), t = 0.3, x = points(3), times = [t, 0];
    const { alpha, sigma } = schedule.at(t), tau = 2 * sigma ** 2 / (0.5 * alpha ** 2 + sigma ** 2);
    const stream = pipe(
      ddimInverse(schedule, { times }),
      likelihood(),
      run<Weighed>({ x, t: 0, step: 0 }, { model, key: key(4) }),
    );
    for await (const { step, logDensity } of stream) {
      if (step === 0) continue;
      logDensity!.dataSync().forEach((value) =>
        assert.ok(Math.abs(value + tau / 2 + 2 * Math.log(alpha)) < 1e-5, `${value}`)
      );
    }
    x.dispose();
  });

  it("by the Jacobian is the density of the sampler's own map: exact for Gaussian data at two steps", async () => {
    const model = gaussian(schedule, { mean: [1, 2], variance: [0.3, 2] });
    const sampler = ddim(schedule, { times: [1, 0.4, 0.1] });
    // DDIM on Gaussian data is affine, dimension by dimension.
    const gain = [0.3, 2].map((v) =>
      [[1, 0.4], [0.4, 0.1]].reduce((product, [t, s]) => {
        const from = schedule.at(t!),
          to = schedule.at(s!),
          total = from.alpha ** 2 * v + from.sigma ** 2;
        return product * (to.alpha * from.alpha * v + to.sigma * from.sigma) / total;
      }, 1)
    );
    const states = pipe(
      sampler,
      likelihood({ rule: "jacobian" }),
      run<Weighed>(prior([3, 2]), { model, key: key(0) }),
    );
    let first: number[] = [], last: number[] = [];
    for await (const { x, logDensity } of states) {
      if (logDensity) last = [...logDensity.dataSync()];
      else {
        const { sigma } = schedule.at(1);
        first = rowsOf(x).map((row) =>
          row.reduce(
            (sum, value) => sum - (value / sigma) ** 2 / 2 - Math.log(2 * Math.PI * sigma ** 2) / 2,
            0,
          )
        );
      }
    }
    last.forEach((value, i) => {
      const wanted = first[i]! - Math.log(Math.abs(gain[0]! * gain[1]!));
      assert.ok(Math.abs(value - wanted) < 1e-4, `${value}, ${wanted}`);
    });
  });

  it("by the Jacobian and by the trapezoid agree as steps shrink, on a mixture", async () => {
    const sampler = ddim(schedule, { steps: 60, spacing: "logLinear", final: 0.01 });
    const a = await carried(sampler), b = await carried(sampler, { rule: "jacobian" });
    a.logDensity.forEach((value, i) => assert.ok(Math.abs(value - b.logDensity[i]!) < 0.1));
    assert.notDeepEqual(a.logDensity, b.logDensity);
  });

  it("keeps the number of tensors over steps, also after a failure", async () => {
    const sampler = ddim(schedule, { steps: 5, final: least });
    for (const rule of ["trapezoid", "jacobian"] as const) {
      const count = live(), counts: number[] = [];
      for await (
        const _ of pipe(
          sampler,
          likelihood({ rule }),
          run(prior([2, 2]), { model: oracle, key: key(0) }),
        )
      ) {
        counts.push(live());
      }
      assert.equal(live(), count);
      assert.equal(new Set(counts.slice(1)).size, 1);
    }
    const slow: Model = {
      schedule,
      predict: async (x, t) => await Promise.resolve(oracle.predict(x, t)),
    };
    const later = pipe(sampler, likelihood(), run(prior([2, 2]), { model: slow, key: key(0) }));
    await assert.rejects(async () => {
      for await (const _ of later) continue;
    }, {
      name: "TypeError",
      message: "Cannot carry a density: the model must answer at once, got a promise",
    });
  });

  it("refuses the Jacobian of a sampler with a history, and options outside their domain", async () => {
    const run2 = carried(dpmSolver(schedule, { steps: 4, final: least }), { rule: "jacobian" });
    await assert.rejects(() => run2, { name: "TypeError", message: /history must be absent/ });
    for (
      const make of [
        () => likelihood({ rule: "left" as "trapezoid" }),
        () => hutchinson({ probes: 0 }),
        () => hutchinson({ law: "uniform" as "normal" }),
      ]
    ) assert.throws(make, { name: "RangeError", message: /^Cannot carry a density: .* got / });
  });
});

describe("hutchinson()", () => {
  before(() => useBackend("cpu"));
  const matrix = [[1, 0.5, -0.3], [0.5, -2, 0.8], [-0.3, 0.8, 0.7]];
  const frobenius = matrix.flat().reduce((sum, a) => sum + a * a, 0);
  const diagonal = matrix.reduce((sum, row, i) => sum + row[i]! ** 2, 0);

  /** Estimates of the trace of a matrix at a step, one a sample. */
  function estimates(trace: Trace, entries = matrix, step = 0): number[] {
    const x = tf.zeros([20_000, 3]), m = tf.tensor2d(entries);
    const env: Env = { model: oracle, key: key(6) };
    const of = (x: tf.Tensor): tf.Tensor => tf.matMul(x as tf.Tensor2D, m);
    const value = tf.tidy(() => trace({ env, state: { x, t: 1, step }, of }));
    const found = [...value.dataSync()];
    tf.dispose([x, m, value]);
    return found;
  }

  for (
    const [law, variance] of [["rademacher", 2 * (frobenius - diagonal)], [
      "normal",
      2 * frobenius,
    ]] as const
  ) {
    it(`with ${law} probes is unbiased, with the variance of the formula`, () => {
      for (const probes of [1, 4]) {
        const found = estimates(hutchinson({ law, probes })), n = found.length;
        const mean = found.reduce((a, b) => a + b) / n;
        const squares = found.map((value) => (value - mean) ** 2);
        const spread = squares.reduce((a, b) => a + b) / n;
        const error = Math.sqrt(squares.reduce((sum, s) => sum + (s - spread) ** 2, 0)) / n;
        assert.ok(Math.abs(mean - -0.3) < 4 * Math.sqrt(spread / n), `${mean}`);
        assert.ok(
          Math.abs(spread - variance / probes) < 4 * error,
          `${spread}, ${variance / probes}`,
        );
      }
    });
  }

  it("with Rademacher probes is exact for a diagonal Jacobian", () => {
    const found = estimates(hutchinson(), [[1, 0, 0], [0, 2, 0], [0, 0, 4]]);
    assert.ok(found.every((value) => Math.abs(value - 7) < 1e-5));
  });

  it("draws probes anew at each step, unless they are to be shared", () => {
    const at = (step: number, fresh?: boolean): number[] =>
      estimates(hutchinson(fresh === undefined ? {} : { fresh }), matrix, step);
    assert.notDeepEqual(at(1), at(0));
    assert.deepEqual(at(1, false), at(0, false));
    assert.deepEqual(at(0, false), at(0, true));
  });

  it("exactTrace() is the trace", () => {
    assert.ok(estimates(exactTrace).every((value) => Math.abs(value + 0.3) < 1e-6));
  });
});

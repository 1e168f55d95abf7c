import { before, describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import * as tf from "@tensorflow/tfjs-core";
import { pipe } from "fp-ts/lib/function.js";
import { gaussian, mixture, mixtureLogDensity } from "../../src/denoise/oracle.ts";
import { convert, type Model } from "../../src/denoise/prediction.ts";
import { times } from "../../src/noise/grid.ts";
import { type Level, vp } from "../../src/noise/schedule.ts";
import {
  exactTrace,
  hutchinson,
  likelihood,
  logLikelihood,
  type Trace,
  type Weighed,
} from "../../src/refine/likelihood.ts";
import { ddim } from "../../src/sample/ancestral.ts";
import {
  along,
  type Env,
  legs,
  prior,
  run,
  type Sampler,
  type State,
} from "../../src/sample/chain.ts";
import { dpmSolver } from "../../src/sample/solver.ts";
import { useBackend } from "../../src/tensor/backend.ts";
import { key } from "../../src/tensor/key.ts";
import { normal } from "../../src/tensor/random.ts";

const live = (): number => tf.memory().numTensors;
const schedule = vp();
const law = {
  means: [[-1, 0.5], [1, -0.3]],
  variances: [[0.1, 0.3], [0.2, 0.15]],
  weights: [0.3, 0.7],
};
const oracle = mixture(schedule, law), density = mixtureLogDensity(law);

/** The probability-flow ODE d(x/alpha) = eps·d(sigma/alpha) by Heun's method, up or down. */
function heun(grid: readonly number[], on = schedule): Sampler {
  return along(legs(on, grid), ({ t, s, from, to }) => (env) => (state) => {
    const slope = (x: tf.Tensor, at: number, level: Level): tf.Tensor => {
      const said = env.model.predict(x, at);
      if (said instanceof Promise) throw new Error("later");
      return convert(said, "eps", x, level);
    };
    const width = to.sigma / to.alpha - from.sigma / from.alpha;
    const x = tf.tidy(() => {
      const y = tf.div(state.x, from.alpha), first = slope(state.x, t, from);
      const ahead = tf.mul(tf.add(y, tf.mul(first, width)), to.alpha);
      const mean = tf.mul(tf.add(first, slope(ahead, s, to)), 0.5);
      return tf.mul(tf.add(y, tf.mul(mean, width)), to.alpha);
    });
    return { ...state, x, t: s, step: state.step + 1 };
  });
}

const least = 0.01;
const up = (steps: number): Sampler =>
  heun(times(schedule, { steps, spacing: "logLinear", final: least }).toReversed());

/** Points of the mixture's law at the least time, roughly. */
function points(count: number): tf.Tensor {
  const z = normal(key(1), [count, 2]);
  const x = tf.tidy(() => tf.mul(z, 0.9));
  z.dispose();
  return x;
}

const rowsOf = (x: tf.Tensor): number[][] => x.arraySync() as number[][];
const exactPrior = (x: tf.Tensor, level: Level): tf.Tensor =>
  tf.tensor1d(rowsOf(x).map((row) => density(row, level)));

async function errors(x: tf.Tensor, steps: number, trace: Trace = exactTrace): Promise<number[]> {
  const found = await logLikelihood(x, {
    sampler: up(steps),
    t: least,
    model: oracle,
    key: key(2),
    prior: exactPrior,
    trace,
  });
  return rowsOf(x).map((row, i) => found[i]! - density(row, schedule.at(least)));
}

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
    const grid = (steps: number) =>
      times(ou, { steps, spacing: "logLinear", final: 1e-6 }).toReversed();
    const x0 = tf.tensor([[0.8]]), options = { t: 1e-6, model, key: key(0), prior: exact };
    const at = async (steps: number): Promise<number> =>
      (await logLikelihood(x0, { ...options, sampler: heun(grid(steps), ou) }))[0]!;
    const fine = await at(240), found = (4 * fine - await at(120)) / 3;
    assert.ok(Math.abs(found + 1.5057914) < 2e-5, `${found}`);
    assert.ok(Math.abs(fine + 1.5057914) < 3e-3, `${fine}`);
    let end = 0;
    const states = run<State>({ x: x0, t: 1e-6, step: 0 }, options)(heun(grid(120), ou));
    for await (const { x } of states) end = x.dataSync()[0]!;
    assert.ok(Math.abs(end - 1.5698434) < 1e-3, `${end}`);
    x0.dispose();
  });

  it("of a mixture in the plane is the closed form to 1e-3 nats, at each of 200 points", async () => {
    // Order 2, extrapolated: 1/n² falls out of 50 and 100 steps.
    const x = points(200), coarse = await errors(x, 50), fine = await errors(x, 100);
    const worst = Math.max(...fine.map((value, i) => Math.abs(4 * value - coarse[i]!) / 3));
    assert.ok(worst < 1e-3, `${worst}`);
    x.dispose();
  });

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

  it("with Hutchinson's estimator is within 4 standard errors of the closed form, and not nearer by chance", async () => {
    for (const rule of ["rademacher", "normal"] as const) {
      const one = points(1), x = tf.tile(one, [300, 1]);
      const off = await errors(x, 40, hutchinson({ law: rule }));
      const [bias] = await errors(one, 40);
      const mean = off.reduce((a, b) => a + b) / 300;
      const deviation = Math.sqrt(off.reduce((sum, e) => sum + (e - mean) ** 2, 0) / 299);
      assert.ok(deviation > 0.01, `${deviation}`);
      assert.ok(
        Math.abs(mean - bias!) < 4 * deviation / Math.sqrt(300),
        `${mean}, ${bias}, ${deviation}`,
      );
      tf.dispose([one, x]);
    }
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

  /** Estimates of the trace of the matrix, or of its diagonal alone, one a sample. */
  function estimates(trace: Trace, entries = matrix): number[] {
    const x = tf.zeros([20_000, 3]), m = tf.tensor2d(entries);
    const env: Env = { model: oracle, key: key(6) };
    const of = (x: tf.Tensor): tf.Tensor => tf.matMul(x as tf.Tensor2D, m);
    const value = tf.tidy(() => trace({ env, state: { x, t: 1, step: 0 }, of }));
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

  it("exactTrace() is the trace", () => {
    assert.ok(estimates(exactTrace).every((value) => Math.abs(value + 0.3) < 1e-6));
  });
});

/**
 * The contract's cases about laws, held against closed forms: densities, editing, adaptive steps, Markov chains and latent
 * models. Refinements of any sampler are in `contract_refinement_test.ts`, what holds of the streams in
 * `contract_streams_test.ts`.
 *
 * @module
 */

import { before, describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import * as tf from "@tensorflow/tfjs-core";
import { pipe } from "fp-ts/lib/function.js";
import { map } from "ix/asynciterable/operators";
import {
  adaptiveFlow,
  after,
  arrived,
  corrected,
  ddim,
  ddimInverse,
  ddpm,
  dpmSolver,
  edited,
  type Env,
  fixedLangevin,
  flow,
  gaussian,
  hutchinson,
  initialize,
  key,
  last,
  type Level,
  likelihood,
  lms,
  logLikelihood,
  mixture,
  mlp,
  type Model,
  normal,
  prior,
  run,
  type Sampler,
  sampler,
  slerp,
  type Start,
  type State,
  tableaus,
  times,
  type Transition,
  uniform,
  vp,
  type Weighed,
} from "../../mod.ts";
import type { AdaptiveState } from "../../src/sample/mod.ts";
import { mixtureLogDensity } from "../../src/denoise/mod.ts";
import { sampleKeys } from "../../src/chain/mod.ts";
import type { Trace } from "../../src/refine/mod.ts";
import { useBackend } from "../../src/tensor/backend/backend.ts";
import { average, live, rowsOf } from "../measure.ts";

const schedule = vp(), top = schedule.span[1], clean: Level = { alpha: 1, sigma: 0 };
const grid = (steps: number) => ({ steps, spacing: "logLinear" } as const);
const root = key(5);

const worst = (errors: readonly number[]): number => Math.max(...errors.map(Math.abs));

/** Mean and variance of one number. */
interface Law {
  readonly mean: number;
  readonly variance: number;
}

/** Marginal of N(mean, variance) at a level. */
const marginal = ({ mean, variance }: Law, { alpha, sigma }: Level): Law => ({
  mean: alpha * mean,
  variance: alpha ** 2 * variance + sigma ** 2,
});

/** Where the ODE of N(mean, variance) takes x: it keeps the distance from the mean, in deviations. */
function carried(x: number, law: Law, from: Level, to: Level): number {
  const a = marginal(law, from), b = marginal(law, to);
  return b.mean + (x - a.mean) * Math.sqrt(b.variance / a.variance);
}

function assertScores(z: readonly number[], what: string): void {
  assert.ok(z.every((value) => Math.abs(value) < 4), `${what}: z = ${z.map((v) => v.toFixed(2))}`);
}

/** z-scores of the mean and of the variance of independent normals. */
function scores(values: readonly number[], { mean, variance }: Law): number[] {
  const found = average(values), n = values.length;
  const spread = average(values.map((value) => (value - found) ** 2));
  return [(found - mean) / Math.sqrt(variance / n), (spread / variance - 1) / Math.sqrt(2 / n)];
}

/** Where a run ends; the caller disposes of it. */
const ended = (sampler: Sampler, model: Model, start: Start): Promise<State> =>
  last(run(start, { model, key: root })(sampler));

/** The samples there. */
async function ending(sampler: Sampler, model: Model, start: Start): Promise<number[][]> {
  const end = await ended(sampler, model, start), rows = rowsOf(end.x);
  tf.dispose(end as unknown as tf.TensorContainer);
  return rows;
}

describe("the contract: likelihood", () => {
  before(() => useBackend("cpu"));
  const law = {
    means: [[-1, 0.5], [1, -0.3]],
    variances: [[0.1, 0.3], [0.2, 0.15]],
    weights: [0.3, 0.7],
  };
  const model = mixture(schedule, law), density = mixtureLogDensity(law), least = 0.01;
  const densityOf = (x: tf.Tensor, level: Level): number[] =>
    rowsOf(x).map((row) => density(row, level));

  /** What a run down the ODE says of ln p at its end, less the mixture's own; from the exact density at its start. */
  async function errors(sampler: Sampler, start: tf.Tensor, trace?: Trace): Promise<number[]> {
    const logDensity = tf.tensor1d(densityOf(start, schedule.at(top)));
    const end = await last(pipe(
      sampler,
      likelihood(trace && { trace }),
      run<Weighed>({ x: start, t: top, step: 0, logDensity }, { model, key: root }),
    ));
    const found = [...end.logDensity!.dataSync()], wanted = densityOf(end.x, schedule.at(end.t));
    tf.dispose([logDensity, end as unknown as tf.TensorContainer]);
    return found.map((value, i) => value - wanted[i]!);
  }

  const path = (steps: number) => ({ ...grid(steps), final: least });

  it("4. likelihood: along ODE solvers of any family it is the mixture's log-density, to order 2", async () => {
    const start = normal(key(1), [8, 2]);
    const solvers: Readonly<Record<string, (steps: number) => Sampler>> = {
      "flow()": (steps) => flow(schedule, path(steps)),
      "flow() by RK4": (steps) => flow(schedule, { ...path(steps), tableau: tableaus.rk4 }),
      "dpmSolver()": (steps) => dpmSolver(schedule, path(steps)),
      "lms()": (steps) => lms(schedule, path(steps)),
    };
    for (const [name, make] of Object.entries(solvers)) {
      const [coarse, fine] = [
        worst(await errors(make(40), start)),
        worst(await errors(make(80), start)),
      ];
      assert.ok(fine < 4e-3 && fine < 0.28 * coarse, `${name}: ${coarse}, then ${fine}`);
    }
    start.dispose();
  });

  it("4. likelihood: of data, up the ODE, it is the closed form as steps shrink", async () => {
    const x = tf.tensor2d([[-1, 0.5], [0.8, 0], [0.1, 0.2], [1.5, -1]]),
      wanted = densityOf(x, schedule.at(least));
    const at = async (steps: number): Promise<number[]> => {
      const found = await logLikelihood(x, {
        sampler: ddimInverse(schedule, path(steps)),
        t: least,
        model,
        key: root,
        prior: (x, level) => tf.tensor1d(densityOf(x, level)),
      });
      return wanted.map((value, i) => found[i]! - value);
    };
    const [coarse, fine] = [await at(80), await at(160)];
    assert.ok(worst(fine) < 0.02 && worst(fine) > 1e-3, `${fine}`);
    // Of order 1, as ddimInverse() is: what is left after extrapolation is of order 2.
    const left = fine.map((value, i) => 2 * value - coarse[i]!);
    assert.ok(worst(left) < 2e-3, `${left}`);
    x.dispose();
  });

  it("4. likelihood: by Hutchinson's estimator it is right on average", async () => {
    const one = tf.tensor2d([[0.6, -0.4]]),
      start = tf.tile(one, [250, 1]),
      sampler = flow(schedule, path(40));
    const [exact] = await errors(sampler, one);
    for (const law of ["rademacher", "normal"] as const) {
      const off = await errors(sampler, start, hutchinson({ law })), mean = average(off);
      const deviation = Math.sqrt(average(off.map((value) => (value - mean) ** 2)));
      assert.ok(deviation > 0.01, `${law}: estimates differ by ${deviation}`);
      assertScores([(mean - exact!) / (deviation / Math.sqrt(off.length))], law);
    }
    tf.dispose([one, start]);
  });
});

describe("the contract: editing", () => {
  before(() => useBackend("cpu"));
  const data: Law = { mean: 0.5, variance: 0.36 }, model = gaussian(schedule, data);

  it("5. SDEdit: from the middle of the schedule the guide comes back as far as the closed form says", async () => {
    for (const t of [0.25, 0.5]) {
      const { alpha, sigma } = schedule.at(t), { variance } = marginal(data, { alpha, sigma });
      for (const value of [-1, 2]) {
        const guide = tf.fill([2, 1000], value),
          noisy: Law = { mean: alpha * value, variance: sigma ** 2 };
        // The ODE shrinks the distance from the mean by the ratio of deviations, Bayes' rule by alpha·v/V, and that adds
        // the posterior's variance.
        const ratio = Math.sqrt(data.variance / variance), gain = alpha * data.variance / variance;
        const shift = noisy.mean - alpha * data.mean;
        const wanted: readonly (readonly [string, Sampler, Law])[] = [
          ["dpmSolver()", dpmSolver(schedule, { ...grid(40), from: t }), {
            mean: data.mean + ratio * shift,
            variance: ratio ** 2 * noisy.variance,
          }],
          ["ddpm()", ddpm(schedule, { ...grid(100), from: t }), {
            mean: data.mean + gain * shift,
            variance: gain ** 2 * noisy.variance + data.variance * sigma ** 2 / variance,
          }],
        ];
        for (const [name, sampler, law] of wanted) {
          const found = await ending(sampler, model, edited(guide, { t }));
          assertScores(scores(found.flat(), law), `${name} from ${t}, guide ${value}`);
        }
        guide.dispose();
      }
    }
  });

  it("5. SDEdit: starts anywhere on a grid and counts its steps from there", async () => {
    const path = times(schedule, grid(12)), step = 7, guide = tf.fill([2, 3], 1);
    const whole = dpmSolver(schedule, { times: path }),
      part = dpmSolver(schedule, { times: path.slice(step) });
    const visited = async (sampler: Sampler, step: number) => {
      const found: { step: number; t: number; x: number[][] }[] = [];
      const start = edited(guide, { t: path[7]!, step });
      for await (const { x, t, step } of run(start, { model, key: root })(sampler)) {
        found.push({ x: rowsOf(x), t, step });
      }
      return found;
    };
    const found = await visited(after(step)(whole), step);
    assert.deepEqual(found.map(({ t }) => t), path.slice(step));
    assert.deepEqual(found.map(({ step }) => step), [7, 8, 9, 10, 11, 12]);
    assert.equal((await visited(part, 0)).at(-1)!.t, 0);
    guide.dispose();
  });

  it("6. encode, interpolate, decode: codes, their slerp and what it decodes to are the closed form's, to order 1", async () => {
    const pair = [[1.2, -0.4, 0.3], [0.3, 0.9, -1]], share = 0.35, x = tf.tensor2d(pair);
    const code = (row: readonly number[]) =>
      row.map((value) => carried(value, data, clean, schedule.at(top)));
    const [a, b] = pair.map(code) as [number[], number[]];
    const dot = (u: number[], v: number[]) => u.reduce((sum, value, i) => sum + value * v[i]!, 0);
    const omega = Math.acos(dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b)));
    const size = (1 - share) * Math.hypot(...a) + share * Math.hypot(...b), sine = Math.sin(omega);
    const between = a.map((value, i) =>
      size / sine * (Math.sin((1 - share) * omega) * value / Math.hypot(...a) +
        Math.sin(share * omega) * b[i]! / Math.hypot(...b))
    );
    const decoded = between.map((value) => carried(value, data, schedule.at(top), clean));

    /** Errors of the codes, of the pair that comes back, and of what lies between. */
    const errors = async (steps: number): Promise<number[]> => {
      const codes = await ended(ddimInverse(schedule, grid(steps)), model, { x, t: 0, step: 0 });
      const ends = tf.split(codes.x, 2),
        middle = slerp(ends[0]!, ends[1]!, share),
        all = tf.concat([codes.x, middle]);
      const back = await ending(ddim(schedule, grid(steps)), model, { x: all, t: top, step: 0 });
      const found = rowsOf(codes.x),
        off = (rows: number[][], wanted: number[][]) =>
          Math.max(
            ...rows.flatMap((row, n) => row.map((value, i) => Math.abs(value - wanted[n]![i]!))),
          );
      tf.dispose([codes.x, ...ends, middle, all]);
      return [off(found, [a, b]), off(back.slice(0, 2), pair), off(back.slice(2), [decoded])];
    };
    const [coarse, fine] = [await errors(100), await errors(200)];
    fine.forEach((error, i) => {
      assert.ok(error < 0.04, `${fine}`);
      assert.ok(Math.abs(Math.log2(coarse[i]! / error) - 1) < 0.1, `${coarse}, then ${fine}`);
    });
    x.dispose();
  });
});

describe("the contract: adaptive steps", () => {
  before(() => useBackend("cpu"));

  it("8. adaptive steps: as many as tolerance and data ask for, to t = 0, with an error of the tolerance's size", async () => {
    const data: Law = { mean: 1, variance: 0.04 }, final = 1e-4;
    const one = gaussian(schedule, data);
    const two = mixture(schedule, { means: [-1, 1], variances: [0.04, 0.1] });
    const x = tf.tensor2d([[-2], [-0.5], [0], [0.8], [2.5]]), start: State = { x, t: top, step: 0 };
    const wanted = rowsOf(x).map(([value]) => carried(value!, data, schedule.at(top), clean));
    for (const tableau of [tableaus.heun, tableaus.dormandPrince]) {
      let fewer = 0;
      for (const tolerance of [1e-2, 1e-3, 1e-4]) {
        const control = { absolute: tolerance, relative: tolerance };
        const sampler = adaptiveFlow(schedule, { tableau, control, final });
        const solved = (model: Model): Promise<AdaptiveState> =>
          last(run<AdaptiveState>(start, { model, key: root, until: arrived(final) })(sampler));
        const end = await solved(one), other = await solved(two);
        assert.deepEqual([end.t, other.t], [final, final]);
        assert.ok(end.step > fewer, `${end.step} steps for ${tolerance}, ${fewer} before`);
        fewer = end.step;
        if (tolerance === 1e-4) assert.ok(other.step > end.step, `${other.step}, ${end.step}`);
        // The rest, to sigma = 0, is one step of DDIM, which is off by 2e-4 here.
        const zero = await ending(ddim(schedule, { times: [final, 0] }), one, end);
        const error = worst(zero.map(([value], i) => value! - wanted[i]!));
        assert.ok(error < 2 * tolerance + 3e-4, `${error} for ${tolerance}`);
        tf.dispose([end, other] as unknown as tf.TensorContainer);
      }
    }
    x.dispose();
  });
});

describe("the contract: Markov chains over an energy", () => {
  before(() => useBackend("cpu"));

  /** Metropolis's kernel for a proposal that goes both ways with equal odds: a transition like any other. */
  const metropolis =
    (propose: (env: Env, state: State) => tf.Tensor): Transition => (env) => async (state) => {
      const { x, t, step } = state, { model } = env, y = propose(env, state);
      const [here, there] = [await model.predict(x, t), await model.predict(y, t)];
      const u = uniform(sampleKeys(env, x.shape[0]!, "accept", step), []);
      const next = tf.tidy(() => {
        const taken = tf.less(tf.log(u), tf.sub(here.value, there.value));
        return tf.where(tf.broadcastTo(tf.expandDims(taken, 1), y.shape), y, x);
      });
      tf.dispose([y, u, { ...here }, { ...there }]);
      return { ...state, x: next, step: step + 1 };
    };
  const repeated = (transition: Transition, steps: number): Sampler =>
    sampler(() => Array<Transition>(steps).fill(transition));

  /** The expectation of a function under exp(−energy) on equally spaced points. */
  const expectation = <A>(points: readonly A[], energy: (point: A) => number) =>
  (
    f: (point: A) => number,
  ): number => {
    const weights = points.map((point) => Math.exp(-energy(point)));
    const sum = points.reduce((sum, point, i) => sum + weights[i]! * f(point), 0);
    return sum / weights.reduce((a, b) => a + b);
  };

  /** Independent chains, each of which gives one value of f. */
  function assertMoments<A>(
    found: readonly A[],
    exact: (f: (point: A) => number) => number,
    functions: readonly ((point: A) => number)[],
  ): void {
    for (const f of functions) {
      const mean = exact(f), variance = exact((point) => f(point) ** 2) - mean ** 2;
      assertScores([(average(found.map(f)) - mean) / Math.sqrt(variance / found.length)], `${f}`);
    }
  }

  it("12. Metropolis: over an Ising model it has the moments of all 512 states", async () => {
    // Spins on a 3 × 3 torus: E = −coupling·Σ s_i·s_j − field·Σ s_i in units of kT, the first sum over 18 pairs.
    const coupling = 0.25, field = 0.1, sites = 9, count = 1500;
    const pairs = Array.from({ length: sites }, (_, i) => [
      [i, i - i % 3 + (i + 1) % 3],
      [i, (i + 3) % sites],
    ]).flat() as [number, number][];
    const energy = (spins: readonly number[]): number =>
      -pairs.reduce((sum, [i, j]) => sum + coupling * spins[i]! * spins[j]!, 0) -
      field * sites * average(spins);
    const bonds = tf.buffer([sites, sites]);
    pairs.forEach(([i, j]) => (bonds.set(coupling, i, j), bonds.set(coupling, j, i)));
    const matrix = bonds.toTensor() as tf.Tensor2D;
    const model: Model = {
      schedule,
      predict: (x) => {
        const gradient = tf.tidy(() => tf.neg(tf.add(tf.matMul(x as tf.Tensor2D, matrix), field)));
        const value = tf.tidy(() => tf.mul(tf.sum(tf.mul(x, tf.sub(gradient, field)), 1), 0.5));
        return { kind: "energy", value, gradient };
      },
    };
    const flip = metropolis((env, state) => {
      const u = uniform(sampleKeys(env, count, "site", state.step), []);
      const y = tf.tidy(() => {
        const site = tf.cast(tf.floor(tf.mul(u, sites)), "int32") as tf.Tensor1D;
        return tf.mul(state.x, tf.sub(1, tf.mul(tf.oneHot(site, sites), 2)));
      });
      u.dispose();
      return y;
    });
    const states = Array.from(
      { length: 2 ** sites },
      (_, bits) => Array.from({ length: sites }, (_, i) => bits >> i & 1 ? 1 : -1),
    );
    const up = tf.ones([count, sites]);
    const found = await ending(repeated(flip, 150), model, { x: up, t: 0.5, step: 0 });
    assert.ok(found.flat().every((spin) => Math.abs(spin) === 1));
    const neighbouring = (spins: readonly number[]): number => spins[0]! * spins[1]!;
    const square = (spins: readonly number[]): number => average(spins) ** 2;
    assertMoments(found, expectation(states, energy), [energy, average, square, neighbouring]);
    tf.dispose([up, matrix]);
  });

  it("12. Metropolis: over a network's energy it has the moments of quadrature, by a random walk and by Langevin's moves", async () => {
    // E = network(x) + x²/2, far from a Gaussian.
    const network = mlp({ dimension: 1, width: 8, layers: 1, features: 2 }), count = 1500;
    const { "out.weight": zero, ...rest } = initialize(network.parameters, key(4));
    const z = normal(key(41), [8, 1]), params = { ...rest, "out.weight": tf.mul(z, 1.5) };
    const energy = (x: tf.Tensor): tf.Tensor =>
      tf.tidy(() => {
        const said = network.apply(params, x, Array(x.shape[0]!).fill(0));
        return tf.sum(tf.add(said, tf.mul(tf.square(x), 0.5)), 1);
      });
    const model: Model = {
      schedule,
      predict: (x) => {
        const gradient = tf.tidy(() => tf.grad((x) => tf.sum(energy(x)))(x));
        return { kind: "energy", value: energy(x), gradient };
      },
    };
    const points = Array.from({ length: 3200 }, (_, i) => -8 + (i + 0.5) / 200);
    const at = tf.tensor2d(points.map((x) => [x])),
      heights = energy(at),
      table = heights.dataSync();
    const exact = expectation([...points.keys()], (i) => table[i]!);

    const walk = metropolis((env, { x, step }) => {
      const z = normal(sampleKeys(env, count, "walk", step), [1]), y = tf.add(x, tf.mul(z, 1.2));
      z.dispose();
      return y;
    });
    const still: Transition = () => (state) => ({
      ...state,
      x: tf.clone(state.x),
      step: state.step + 1,
    });
    const langevin = corrected(fixedLangevin({ size: 0.9, metropolis: true }));
    const wide = normal(key(6), [count, 1]), start = { x: tf.mul(wide, 2), t: 0.5, step: 0 };
    for (const chain of [repeated(walk, 60), langevin(repeated(still, 80))]) {
      const found = (await ending(chain, model, start)).flat();
      for (const f of [(x: number) => x, (x: number) => x * x, (x: number) => +(x > 1)]) {
        const mean = exact((i) => f(points[i]!)),
          variance = exact((i) => f(points[i]!) ** 2) - mean ** 2;
        assertScores([(average(found.map(f)) - mean) / Math.sqrt(variance / count)], `${f}`);
      }
      assert.ok(Math.abs(average(found)) > 1, "the network matters");
    }
    tf.dispose([zero!, z, params, at, heights, wide, start.x]);
  });
});

describe("the contract: a latent model", () => {
  before(() => useBackend("cpu"));
  const latent = { mean: [0.5, -1], variance: [0.4, 1.5] }, model = gaussian(schedule, latent);
  const weights = [[1, 0.5, -1, 0], [0.3, -0.8, 0, 1]], bias = [0.1, 0, -0.2, 1], count = 1500;

  /** A linear decoder of two numbers to a picture of 2 × 2. */
  const decode = (z: tf.Tensor): tf.Tensor =>
    tf.tidy(() => {
      const pixels = tf.matMul(z as tf.Tensor2D, tf.tensor2d(weights));
      return tf.reshape(tf.add(pixels, tf.tensor1d(bias)), [-1, 2, 2, 1]);
    });

  /** The watcher: pictures that live until the next pull, as states do. */
  async function* decoded(states: AsyncIterable<State>) {
    for await (const { x, t } of states) {
      const picture = decode(x);
      try {
        yield { t, picture };
      } finally {
        picture.dispose();
      }
    }
  }

  /** z-scores of means and covariances of pictures whose latents have the marginal at t. */
  function pictureScores(values: Float32Array, t: number): number[] {
    const laws = latent.mean.map((mean, k) =>
      marginal({ mean, variance: latent.variance[k]! }, schedule.at(t))
    );
    const sum = (f: (law: Law, row: readonly number[]) => number): number =>
      laws.reduce((total, law, k) => total + f(law, weights[k]!), 0);
    const covariance = (i: number, j: number): number =>
      sum(({ variance }, row) => row[i]! * row[j]! * variance);
    const pixels = bias.map((_, i) => [...values].filter((_, n) => n % 4 === i));
    const off = pixels.map((pixel) => pixel.map((value) => value - average(pixel)));
    return bias.flatMap((offset, i) => {
      const mean = offset + sum((law, row) => row[i]! * law.mean);
      return [
        (average(pixels[i]!) - mean) / Math.sqrt(covariance(i, i) / count),
        ...bias.map((_, j) => {
          const found = average(off[i]!.map((value, n) => value * off[j]![n]!));
          const square = covariance(i, i) * covariance(j, j) + covariance(i, j) ** 2;
          return (found - covariance(i, j)) / Math.sqrt(square / count);
        }),
      ];
    });
  }

  it("13. a latent model: pictures decoded by a watcher have the mean and covariance of the decoder's image", async () => {
    const before = live(), held: number[] = [], pictures: number[][] = [];
    const states = run(prior([count, 2]), { model, key: root })(dpmSolver(schedule, grid(40)));
    for await (const { t, picture } of decoded(states)) {
      held.push(live());
      assert.deepEqual(picture.shape, [count, 2, 2, 1]);
      const values = picture.dataSync<"float32">();
      pictures.push([...values]);
      // The prior's mean is 0, that of the marginal at T not quite; of that nothing is left in the second half.
      if (t < 0.5) assertScores(pictureScores(values, t), `at t = ${t}`);
    }
    assert.equal(pictures.length, 41);
    // The start, the first step and the step to sigma = 0 hold other tensors than those between.
    assert.equal(new Set(held.slice(3, -1)).size, 1, `${held}`);
    assert.equal(live(), before);

    // The same by ix's map; and a stream that is broken off frees its picture and the run.
    const mapped = pipe(
      states,
      map(({ x }: State) => {
        const picture = decode(x), values = [...picture.dataSync()];
        picture.dispose();
        return values;
      }),
    );
    assert.deepEqual(await Array.fromAsync(mapped), pictures);
    for await (const { t } of decoded(states)) if (t < 0.5) break;
    assert.equal(live(), before);
  });
});

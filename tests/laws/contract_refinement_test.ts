/**
 * The contract's cases about refinements of any sampler, held against closed forms: predictor-corrector, guidance and
 * inpainting. Other laws are in `contract_laws_test.ts`, what holds of the streams in `contract_streams_test.ts`.
 *
 * @module
 */

import { before, describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import * as tf from "@tensorflow/tfjs-core";
import { pipe } from "fp-ts/lib/function.js";
import {
  adaptiveFlow,
  annealedLangevin,
  arrived,
  byClassifier,
  byEnergy,
  classifierFree,
  type Condition,
  convert,
  corrected,
  ddim,
  ddpm,
  deis,
  dpmSinglestep,
  dpmSolver,
  fixedLangevin,
  flow,
  gaussian,
  type Guide,
  guided,
  inpainted,
  kdpm2,
  key,
  langevin,
  last,
  type Level,
  lms,
  mixture,
  type Model,
  normal,
  pndm,
  prior,
  type Refinement,
  repainted,
  reverseSde,
  run,
  type RunOptions,
  type Sampler,
  type Start,
  summed,
  tableaus,
  times,
  uniPc,
  vp,
} from "../../mod.ts";
import {
  classifierEnergy,
  type CorrectedOptions,
  type LangevinCorrector,
} from "../../src/refine/mod.ts";
import { type Energy, type Mixture, mixtureLogDensity } from "../../src/denoise/mod.ts";
import { useBackend } from "../../src/tensor/backend/backend.ts";
import { average, rowsOf } from "../measure.ts";

const schedule = vp(), top = schedule.span[1];
const grid = (steps: number) => ({ steps, spacing: "logLinear" } as const);
const root = key(5);

/** A sampler of each family, in so many steps. */
const samplers: Readonly<Record<string, (steps: number) => Sampler>> = {
  "ddpm()": (steps) => ddpm(schedule, grid(steps)),
  "ddim()": (steps) => ddim(schedule, grid(steps)),
  "ddim() with eta 0.5": (steps) => ddim(schedule, { ...grid(steps), eta: 0.5 }),
  "Euler–Maruyama": (steps) => reverseSde(schedule, grid(steps)),
  "reverse diffusion": (steps) =>
    reverseSde(schedule, { ...grid(steps), predictor: "reverse-diffusion" }),
  "flow()": (steps) => flow(schedule, grid(steps)),
  "flow() with churn": (steps) =>
    flow(schedule, { ...grid(steps), chart: "eps", churn: { amount: 10, to: 20 } }),
  "dpmSolver()": (steps) => dpmSolver(schedule, grid(steps)),
  "dpmSolver() with eta 1": (steps) => dpmSolver(schedule, { ...grid(steps), eta: 1 }),
  "uniPc()": (steps) => uniPc(schedule, { ...grid(steps), order: 3 }),
  "deis()": (steps) => deis(schedule, grid(steps)),
  "lms()": (steps) => lms(schedule, grid(steps)),
  "pndm()": (steps) => pndm(schedule, grid(steps)),
  "dpmSinglestep()": (steps) => dpmSinglestep(schedule, grid(steps)),
  "kdpm2() with eta 1": (steps) => kdpm2(schedule, { ...grid(steps), eta: 1 }),
};

const column = (rows: readonly (readonly number[])[], i: number) => rows.map((row) => row[i]!);

/** Mean and variance of one number. */
interface Law {
  readonly mean: number;
  readonly variance: number;
}

/** z-scores of the mean and of the variance of independent normals. */
function scores(values: readonly number[], { mean, variance }: Law): number[] {
  const found = average(values), n = values.length;
  const spread = average(values.map((value) => (value - found) ** 2));
  return [(found - mean) / Math.sqrt(variance / n), (spread / variance - 1) / Math.sqrt(2 / n)];
}

function assertScores(z: readonly number[], what: string): void {
  assert.ok(z.every((value) => Math.abs(value) < 4), `${what}: z = ${z.map((v) => v.toFixed(2))}`);
}

function assertNear(
  found: ArrayLike<number>,
  wanted: ArrayLike<number>,
  by: number,
  what = "",
): void {
  assert.equal(found.length, wanted.length);
  const worst = Math.max(...Array.from(found, (value, i) => Math.abs(value - wanted[i]!)));
  assert.ok(worst < by, `${what} is off by ${worst}`);
}

/** Where a run ends. */
async function ending(
  sampler: Sampler,
  model: Model,
  start: Start,
  options: Partial<RunOptions> = {},
): Promise<number[][]> {
  const end = await last(run(start, { model, key: root, ...options })(sampler));
  const rows = rowsOf(end.x);
  tf.dispose(end as unknown as tf.TensorContainer);
  return rows;
}

/** Marginal of N(mean, variance) at a level. */
const marginal = ({ mean, variance }: Law, { alpha, sigma }: Level): Law => ({
  mean: alpha * mean,
  variance: alpha ** 2 * variance + sigma ** 2,
});

describe("the contract: predictor-corrector", () => {
  before(() => useBackend("cpu"));
  const data: Law = { mean: 1.5, variance: 0.25 }, model = gaussian(schedule, data);

  /** The law of where a sampler ends. */
  interface Outcome extends Law {
    /** Part of the variance that the corrector's draws have made. */
    readonly stirred: number;
  }

  /**
   * The law of where a sampler ends from the exact marginal, to float rounding and without sampling: on Gaussian data
   * each step is affine in x and in its draws, so a batch in which each row has one of them at 1 gives all coefficients.
   * Draws under one name are one draw, as they are under a key, so that a corrector that shares its predictor's noise is
   * found out.
   */
  async function outcome(sampler: Sampler): Promise<Outcome> {
    const draws: string[] = [];
    const end = async (starts: number[], noise: (name: string) => number[]): Promise<number[]> => {
      const x = tf.tensor2d(starts, [starts.length, 1]);
      const found = await ending(sampler, model, { x, t: top, step: 0 }, {
        noise: (state, purpose) =>
          tf.tensor2d(noise(`${purpose} ${state.step}`), x.shape as [number, 1]),
      });
      x.dispose();
      return found.flat();
    };
    await end([0], (name) => (draws.includes(name) || draws.push(name), [0]));
    const count = draws.length + 3,
      unit = (i: number) => Array.from({ length: count }, (_, j) => +(i === j));
    // The last row has some of everything, to see that the map is affine at all.
    const some = (k: number) => Math.cos(k);
    const rows = await end(
      unit(1).with(count - 1, some(-1)),
      (name) => unit(draws.indexOf(name) + 2).with(count - 1, some(draws.indexOf(name))),
    );
    const [shift, ...ends] = rows as [number, ...number[]];
    const [slope, ...weights] = ends.slice(0, -1).map((value) => value - shift) as [
      number,
      ...number[],
    ];
    const mixed = weights.reduce((sum, w, k) => sum + w * some(k), shift + slope * some(-1));
    assertNear([rows.at(-1)!], [mixed], 1e-3, "an affine map");
    const from = marginal(data, schedule.at(top));
    const part = (of: (name: string) => boolean): number =>
      weights.reduce((sum, w, k) => sum + (of(draws[k]!) ? w ** 2 : 0), 0);
    const variance = slope ** 2 * from.variance + part(() => true);
    const stirred = part((name) => name.startsWith("corrector")) / variance;
    return { mean: shift + slope * from.mean, variance, stirred };
  }

  /** Error of the mean in deviations and of the variance as a share. */
  const errorOf = ({ mean, variance }: Law): number =>
    Math.abs(mean - data.mean) / Math.sqrt(data.variance) +
    Math.abs(variance / data.variance - 1);

  /** Correctors whose steps shrink as there are more of them, as a solution's of one Langevin equation do. */
  const correctors: Readonly<Record<string, (steps: number) => Refinement>> = {
    "annealed Langevin after it": (n) => corrected(annealedLangevin({ ratio: 4 / n })),
    "annealed Langevin before it": (n) =>
      corrected(annealedLangevin({ ratio: 4 / n }), { order: "before" }),
    "two steps of fixed size": (n) => corrected(fixedLangevin({ size: 0.5 / n, steps: 2 })),
  };

  for (const [name, make] of Object.entries(samplers)) {
    it(`1. predictor-corrector: ${name} with any corrector converges to the law of the data`, async () => {
      for (const [how, correct] of Object.entries(correctors)) {
        const [coarse, fine] = [
          await outcome(correct(40)(make(40))),
          await outcome(correct(80)(make(80))),
        ];
        const errors = [errorOf(coarse), errorOf(fine)], what = `${how}: ${errors}`;
        assert.ok(errors[1]! < 0.13, what);
        // Of order 1, like Langevin's own bias; an error as small as 2 % may be two that nearly cancel.
        assert.ok(errors[1]! < 0.02 || errors[1]! < 0.62 * errors[0]!, what);
        assert.ok(fine.stirred > 0.2, `${how} made ${fine.stirred} of the variance`);
      }
    });
  }

  it("1. predictor-corrector: adaptiveFlow() with a corrector has the law of the data, on real draws", async () => {
    const predictor = adaptiveFlow(schedule, {
      tableau: tableaus.heun,
      control: { absolute: 1e-4, relative: 1e-4 },
      final: 1e-3,
    });
    const stir = corrected(annealedLangevin({ ratio: 0.05 }));
    const end = async (refine: Refinement): Promise<number[]> =>
      (await ending(refine(predictor), model, prior([4, 1000]), { until: arrived(1e-3) })).flat();
    const found = await end(stir), alone = await end((sampler) => sampler);
    const law = marginal(data, schedule.at(1e-3));
    assertScores(scores(found, law), "adaptiveFlow()");
    const moved = average(found.map((value, i) => (value - alone[i]!) ** 2)) / law.variance;
    assert.ok(moved > 0.2, `${moved}`);
  });

  it("1. predictor-corrector: score SDE's ordering, algorithm 1 and as released, draw by draw", async () => {
    const path = [1, 0.8, 0.55, 0.3, 0.1], ratio = 0.3, start = 0.7;
    const predictor = reverseSde(schedule, {
      times: path,
      predictor: "reverse-diffusion",
      lastNoise: true,
    });
    const drawn = (name: string): number =>
      Math.sin(7 * [...name].reduce((sum, c) => sum + c.charCodeAt(0), 0));
    const score = (x: number, t: number): number => {
      const { mean, variance } = marginal(data, schedule.at(t));
      return (mean - x) / variance;
    };
    const predict = (i: number) => (x: number): number => {
      const [from, to] = [schedule.at(path[i]!), schedule.at(path[i + 1]!)];
      const a = from.alpha / to.alpha, b2 = from.sigma ** 2 - (a * to.sigma) ** 2;
      return (2 - a) * x + b2 * score(x, path[i]!) + Math.sqrt(b2) * drawn(`ancestral ${i}`);
    };
    const correct = (i: number) => (x: number): number => {
      const eps = ratio * schedule.at(path[i]!).sigma ** 2;
      return x + eps * score(x, path[i]!) + Math.sqrt(2 * eps) * drawn(`corrector 0 ${i}`);
    };
    const orders:
      readonly (readonly [CorrectedOptions, (i: number) => ((x: number) => number)[]])[] = [
        // Algorithm 1: x_i from x_(i+1), then corrected at i, the last one too.
        [{ final: true }, (i) => [predict(i), correct(i + 1)]],
        // The code released with it: corrected at the time of departure, then on.
        [{ order: "before" }, (i) => [correct(i), predict(i)]],
      ];
    for (const [options, moves] of orders) {
      const wanted = path.slice(1).flatMap((_, i) => moves(i)).reduce((x, move) => move(x), start);
      const x = tf.tensor2d([[start]]);
      const found = await ending(
        corrected(annealedLangevin({ ratio }), options)(predictor),
        model,
        { x, t: 1, step: 0 },
        { noise: (state, purpose) => tf.fill([1, 1], drawn(`${purpose} ${state.step}`)) },
      );
      x.dispose();
      assertNear(found.flat(), [wanted], 1e-4, JSON.stringify(options));
    }
  });

  it("1. predictor-corrector: the signal-to-noise rule has the law of its size, on real draws", async () => {
    // In 1000 dimensions ‖z‖ and ‖s‖ hardly vary: eps is 2·a·snr² times the variance of x_t.
    const snr = 0.16, rule = langevin({ snr });
    const even: LangevinCorrector = {
      ...rule,
      size: ({ t, level }) => {
        const kept = (level.alpha / schedule.at(Math.max(t - 1e-3, 0)).alpha) ** 2;
        return 2 * kept * snr ** 2 * marginal(data, level).variance;
      },
    };
    for (const name of ["ddpm()", "dpmSolver()", "uniPc()"]) {
      const predictor = samplers[name]!(30);
      const found = await ending(corrected(rule)(predictor), model, prior([20, 1000]));
      const wanted = await outcome(corrected(even)(predictor));
      assertScores(scores(found.flat(), wanted), name);
      assert.ok(wanted.stirred > 0.2);
    }
  });

  it("1. predictor-corrector: with the Metropolis test two modes come out right, however coarse the predictor", async () => {
    const law = { means: [-1, 0.8], variances: [0.1, 0.2], weights: [0.35, 0.65] };
    const path = { times: [1, 0.5, 0.3, 0.15] }, model = energyOf(law);
    const stir = fixedLangevin({ size: 0.12, steps: 25, metropolis: true });
    const predictors: Readonly<Record<string, Sampler>> = {
      "ddpm()": ddpm(schedule, path),
      "dpmSolver()": dpmSolver(schedule, path),
      "uniPc()": uniPc(schedule, path),
      "pndm()": pndm(schedule, { ...path, warmUp: "rungeKutta" }),
    };
    for (const [name, predictor] of Object.entries(predictors)) {
      const z = async (sampler: Sampler): Promise<number[]> => {
        const values = (await ending(sampler, model, prior([1000, 1]))).flat();
        return momentScores(values, law, schedule.at(0.15));
      };
      assertScores(await z(corrected(stir, { final: true })(predictor)), name);
      const alone = await z(predictor);
      assert.ok(Math.max(...alone.map(Math.abs)) > 6, `${name} alone: z = ${alone}`);
    }
  });
});

/** −ln p_t of a mixture and its gradient, as a model. */
function energyOf(law: Mixture): Model {
  const oracle = mixture(schedule, law), density = mixtureLogDensity(law);
  return {
    schedule,
    predict: (x, t) => {
      const level = schedule.at(t), prediction = oracle.predict(x, t);
      const gradient = tf.tidy(() => tf.neg(convert(prediction, "score", x, level)));
      prediction.value.dispose();
      const value = tf.tensor1d(rowsOf(x).map((row) => -density(row, level)));
      return { kind: "energy", value, gradient };
    },
  };
}

/** A mixture of Gaussians on a line. */
interface Modes {
  readonly means: readonly number[];
  readonly variances: readonly number[];
  readonly weights: readonly number[];
}

/** z-scores of E x and E x² of independent draws of a mixture's marginal. */
function momentScores(
  values: readonly number[],
  { means, variances, weights }: Modes,
  level: Level,
): number[] {
  const parts = means.map((mean, k) => marginal({ mean, variance: variances[k]! }, level));
  const moment = (f: (m: number, v: number) => number): number =>
    parts.reduce((sum, { mean, variance }, k) => sum + weights[k]! * f(mean, variance), 0);
  const first = moment((m) => m), second = moment((m, v) => m ** 2 + v);
  const fourth = moment((m, v) => m ** 4 + 6 * m ** 2 * v + 3 * v ** 2), n = values.length;
  return [
    (average(values) - first) / Math.sqrt((second - first ** 2) / n),
    (average(values.map((x) => x ** 2)) - second) / Math.sqrt((fourth - second ** 2) / n),
  ];
}

describe("the contract: guidance", () => {
  before(() => useBackend("cpu"));
  // A guide for each of three dimensions: a classifier of two modes, a measurement of a Gaussian, and a class that moves
  // the mean of another.
  const modes = { means: [-1, 1], variances: [0.1, 0.3], weights: [0.4, 0.6] };
  const measured: Law = { mean: 0.4, variance: 0.6 }, seen = 1.2, error = 0.5;
  const classes = [-0.5, 0.7] as const, none: Law = { mean: 0.2, variance: 0.3 }, scale = 2.5;
  const labels: Condition = [0, 1, 1, 0, 1, 0];
  const oracles = [
    mixture(schedule, modes),
    gaussian(schedule, measured),
    gaussian(schedule, none),
  ];

  /** The law of all three dimensions. The mean of the third enters E[x_0 | x_t] with the factor sigma²/variance. */
  const under = (condition?: Condition): Model => ({
    schedule,
    given: under,
    predict: (x, t) => {
      const level = schedule.at(t), weight = level.sigma ** 2 / marginal(none, level).variance;
      const shifts = condition?.map((label) => label === null ? 0 : classes[label]! - none.mean);
      const value = tf.tidy(() => {
        const said = tf.split(x, 3, 1).map((part, i) => oracles[i]!.predict(part, t).value);
        const moved = shifts && tf.add(said[2]!, tf.tensor2d(shifts.map((by) => [by * weight])));
        return tf.concat(moved ? [said[0]!, said[1]!, moved] : said, 1);
      });
      return { kind: "x0", value };
    },
  });

  /** ln w_k + ln N(x; alpha·m_k, V_k) of the first dimension. */
  const classifier = (x: tf.Tensor, t: number): tf.Tensor => {
    const first = tf.slice(x, [0, 0], [-1, 1]);
    const logits = modes.means.map((mean, k) => {
      const law = marginal({ mean, variance: modes.variances[k]! }, schedule.at(t));
      const offset = Math.log(modes.weights[k]!) - Math.log(law.variance) / 2;
      return tf.add(tf.mul(tf.square(tf.sub(first, law.mean)), -0.5 / law.variance), offset);
    });
    return tf.concat(logits, 1);
  };

  /** −ln p(seen | x_t) for seen = x_0 + error·z in the second dimension. */
  const measurement: Energy = (x, t) => {
    const { alpha, sigma } = schedule.at(t), { mean, variance: v } = measured;
    const total = alpha ** 2 * v + sigma ** 2, left = error ** 2 + v * sigma ** 2 / total;
    const second = tf.squeeze(tf.slice(x, [0, 1], [-1, 1]), [1]);
    const x0 = tf.add(tf.mul(second, alpha * v / total), sigma ** 2 * mean / total);
    return tf.mul(tf.square(tf.sub(seen, x0)), 0.5 / left);
  };

  const guides = (labels: Condition) => [
    byClassifier(classifier, labels),
    byEnergy(measurement),
    classifierFree(labels, { scale }),
  ];

  /** What all guides together make of a class, by Bayes' rule. */
  const target = (label: number): Law[] => {
    const { mean, variance } = measured, precision = 1 / variance + 1 / error ** 2;
    return [
      { mean: modes.means[label]!, variance: modes.variances[label]! },
      { mean: (mean / variance + seen / error ** 2) / precision, variance: 1 / precision },
      { mean: none.mean + scale * (classes[label]! - none.mean), variance: none.variance },
    ];
  };
  const targetOf = (laws: readonly Law[]): Model =>
    gaussian(schedule, {
      mean: laws.map(({ mean }) => mean),
      variance: laws.map(({ variance }) => variance),
    });

  for (const [name, make] of Object.entries(samplers)) {
    it(`2. guidance: a classifier, an energy and classifier-free guidance, summed, make ${name} one of the guided law`, async () => {
      // Guided, the model says what the exact model of the target says, so with the same key each path is the same.
      const found = await ending(
        guided(summed(...guides(labels)))(make(12)),
        under(),
        prior([6, 3]),
      );
      for (const label of [0, 1]) {
        const wanted = await ending(make(12), targetOf(target(label)), prior([6, 3]));
        labels.forEach((of, i) => {
          if (of === label) assertNear(found[i]!, wanted[i]!, 2e-3, `sample ${i}`);
        });
      }
    });
  }

  it("2. guidance: each guide alone guides its own dimension and leaves the others alone", async () => {
    const unguided = under(), make = samplers["dpmSolver()"]!;
    const plain = await ending(make(12), unguided, prior([6, 3]));
    for (const [own, guide] of guides(labels).entries()) {
      const found = await ending(guided(guide)(make(12)), unguided, prior([6, 3]));
      for (const i of [0, 1, 2]) {
        const moved = Math.max(...found.map((row, n) => Math.abs(row[i]! - plain[n]![i]!)));
        assert.ok(i === own ? moved > 0.1 : moved < 1e-4, `guide ${own}, dimension ${i}: ${moved}`);
      }
    }
  });

  it("2. guidance: the sum of guides is the guide of the summed shift, in any order, to float rounding", async () => {
    const x = normal(key(2), [6, 3]),
      [first, second, third] = guides(labels) as [Guide, Guide, Guide];
    const energy = classifierEnergy(classifier, labels);
    const together = byEnergy((x, t) => tf.add(energy(x, t), measurement(x, t)));
    const said = async (guide: Guide, t: number): Promise<number[]> => {
      const prediction = await guide(under()).predict(x, t),
        values = [...prediction.value.dataSync()];
      tf.dispose({ ...prediction });
      return values;
    };
    for (const t of [0.9, 0.5, 0.1]) {
      const wanted = await said((model) => together(third(model)), t);
      for (
        const order of [[first, second, third], [third, first, second], [second, third, first]]
      ) {
        assertNear(await said(summed(...order), t), wanted, 1e-5, `at t = ${t}`);
      }
    }
    x.dispose();
  });

  it("2. guidance: samples have the means and variances of the guided law", async () => {
    const many = Array.from({ length: 800 }, (_, i) => i % 2);
    for (const name of ["dpmSolver()", "flow()"]) {
      const sampler = guided(summed(...guides(many)))(samplers[name]!(40));
      const found = await ending(sampler, under(), prior([800, 3]));
      for (const label of [0, 1]) {
        const mine = found.filter((_, i) => many[i] === label);
        target(label).forEach((law, i) =>
          assertScores(scores(column(mine, i), law), `${name}, ${i}`)
        );
      }
    }
  });
});

describe("the contract: inpainting", () => {
  before(() => useBackend("cpu"));
  // Two numbers of variance 1 and correlation rho: the exact model along the diagonals, where they are independent.
  const rho = 0.6, seen = 2, along = gaussian(schedule, { variance: [1 + rho, 1 - rho] });
  const turn = (x: tf.Tensor): tf.Tensor =>
    tf.matMul(
      x as tf.Tensor2D,
      tf.tensor2d([[1, 1], [1, -1]].map((row) => row.map((v) => v * Math.SQRT1_2))),
    );
  const model: Model = {
    schedule,
    predict: (x, t) => ({
      kind: "x0",
      value: tf.tidy(() => turn(along.predict(turn(x), t).value)),
    }),
  };

  it("3. inpainting: what is known is exact at t = 0 and noisy before, under any sampler", async () => {
    const mask = tf.tensor2d([[1, 0]]), known = tf.tensor2d([[seen, 7]]);
    for (const [name, make] of Object.entries(samplers)) {
      const states = run(prior([3, 2]), { model, key: root })(inpainted(mask, known)(make(6)));
      for await (const { x, t } of states) {
        const rows = rowsOf(x);
        if (t === 0) assert.ok(rows.every(([a]) => a === Math.fround(seen)), name);
        else assert.equal(new Set(column(rows, 0)).size, 3, `${name} at ${t}`);
        assert.ok(rows.every(([, b]) => b !== 7), name);
      }
    }
    tf.dispose([mask, known]);
  });

  it("3. inpainting: RePaint goes back in time until the rest has its law given what is known", async () => {
    const mask = tf.tensor2d([[1, 0]]),
      known = tf.tensor2d([[seen, 0]]),
      path = { ...grid(20), least: 0.03 };
    const z = async (sampler: Sampler, jumps: number): Promise<number[]> => {
      const visited: number[] = [];
      const states = pipe(
        sampler,
        inpainted(mask, known),
        repainted({ jumps, length: 4 }),
        run(prior([400, 2]), { model, key: root }),
      );
      let rows: number[][] = [];
      for await (const { x, t } of states) {
        visited.push(t);
        if (t === 0) rows = rowsOf(x);
      }
      // Five stretches of four steps, each gone down `jumps` times, with a jump up to its start in between.
      const starts = times(schedule, path).filter((_, i) => i % 4 === 0).slice(0, -1);
      const up = visited.filter((t, i) => t > visited[i - 1]!);
      assert.deepEqual(up, starts.flatMap((t) => Array(jumps - 1).fill(t)));
      assert.equal(visited.length, 1 + 20 * jumps + up.length);
      return scores(column(rows, 1), { mean: rho * seen, variance: 1 - rho ** 2 });
    };
    const solvers = {
      "dpmSolver() with eta 1": dpmSolver(schedule, { ...path, eta: 1 }),
      "uniPc()": uniPc(schedule, path),
    };
    for (const [name, sampler] of Object.entries(solvers)) {
      assertScores(await z(sampler, 24), name);
      // Replacement alone falls short of it.
      assert.ok(Math.abs((await z(sampler, 1))[0]!) > 10, name);
    }
    tf.dispose([mask, known]);
  });
});

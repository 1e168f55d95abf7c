import { before, describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import * as tf from "@tensorflow/tfjs-core";
import { pipe } from "fp-ts/lib/function.js";
import { gaussian } from "../../src/denoise/oracle/gaussian.ts";
import type { Model } from "../../src/denoise/prediction.ts";
import { linear } from "../../src/noise/schedule/discrete.ts";
import { ddim, ddpm } from "../../src/sample/ancestral.ts";
import { prior, run } from "../../src/sample/run.ts";
import type { Sampler } from "../../src/sample/path.ts";
import { dpmSolver } from "../../src/sample/solver/dpm.ts";
import { useBackend } from "../../src/tensor/backend/backend.ts";
import { key } from "../../src/tensor/key.ts";
import { mutations } from "./mutations.ts";
import * as law from "./recursion.ts";
import { average, covariance } from "../measure.ts";

const schedule = linear(), data = { mean: 3, tau: 0.5 };
const grid = [1000, 900, 500, 400, 200, 150, 60, 0], options = { times: grid };
const alphaBars = grid.map((t) => schedule.at(t).alpha ** 2);

/** Twenty samples of a thousand dimensions: 20,000 independent one-dimensional ones with few keys. */
const shape = [20, 1000], count = 20_000;

/** The exact model of N(mean, tau²) data: eps = sigma·(x − alpha·mean) / (alpha²·tau² + sigma²). */
const exact: Model = {
  schedule,
  predict: (x, t) => {
    const { alpha, sigma } = schedule.at(t), total = (alpha * data.tau) ** 2 + sigma ** 2;
    const value = tf.tidy(() => tf.mul(tf.sub(x, alpha * data.mean), sigma / total));
    return { kind: "eps", value };
  },
};

const samplers: Readonly<Record<string, readonly [Sampler, law.Law]>> = {
  "ddpm small": [ddpm(schedule, options), law.ddpmSmall],
  "ddpm large": [ddpm(schedule, { ...options, variance: "large" }), law.ddpmLarge],
  "ddim eta 0": [ddim(schedule, options), law.ddim(0)],
  "ddim eta 0.5": [ddim(schedule, { ...options, eta: 0.5 }), law.ddim(0.5)],
  "ddim eta 1": [ddim(schedule, { ...options, eta: 1 }), law.ddim(1)],
  "ddim hat": [ddim(schedule, { ...options, noise: "hat" }), law.ddimHat],
  "dpm 2M": [dpmSolver(schedule, options), law.multistep("midpoint")],
  "dpm 2M heun": [dpmSolver(schedule, { ...options, corrector: "heun" }), law.multistep("heun")],
};

/** Sample moments of x after each step. */
async function measured(sampler: Sampler, model: Model = exact): Promise<law.Moments[]> {
  const found: law.Moments[] = [];
  let start: number[] | undefined;
  for await (const { x } of pipe(sampler, run(prior(shape), { model, key: key(5) }))) {
    const values = [...x.dataSync()];
    start ??= values;
    const variance = covariance(values, values), withStart = covariance(values, start);
    found.push({ mean: average(values), variance, withStart });
  }
  return found;
}

/** |z| of each mean, variance and covariance against the law's, with the standard errors of normal samples. */
const scores = (found: readonly law.Moments[], expected: readonly law.Moments[]): number[] =>
  found.flatMap(({ mean, variance, withStart }, i) => {
    const wanted = expected[i]!;
    const crossed = wanted.variance * expected[0]!.variance + wanted.withStart ** 2;
    return [
      Math.abs(mean - wanted.mean) / Math.sqrt(wanted.variance / count),
      Math.abs(variance - wanted.variance) / (wanted.variance * Math.sqrt(2 / count)),
      Math.abs(withStart - wanted.withStart) / Math.sqrt(crossed / count),
    ];
  });

const cache = new Map<string, Promise<law.Moments[]>>();
const statistics = (name: string): Promise<law.Moments[]> => {
  if (!cache.has(name)) cache.set(name, measured(samplers[name]![0]));
  return cache.get(name)!;
};

describe("samplers on Gaussian data", () => {
  before(() => useBackend("cpu"));

  it("gaussian() is the exact model: ddpm() on it has the same moments", async () => {
    const oracle = gaussian(schedule, { mean: data.mean, variance: data.tau ** 2 });
    const [sampler, right] = samplers["ddpm small"]!;
    const z = scores(await measured(sampler, oracle), law.moments(right, alphaBars, data));
    assert.ok(z.every((value) => value < 4), `|z| = ${z.map((value) => value.toFixed(1))}`);
  });

  for (const [name, [, right]] of Object.entries(samplers)) {
    it(`${name} has the moments of the papers' recursion after every step`, async () => {
      const found = await statistics(name);
      assert.equal(found.length, grid.length);
      const z = scores(found, law.moments(right, alphaBars, data));
      assert.ok(z.every((value) => value < 4), `|z| = ${z.map((value) => value.toFixed(1))}`);
    });
  }
});

describe("mutations of samplers", () => {
  before(() => useBackend("cpu"));
  let reached = 0;

  for (const { of, slip, law: wrong, predict } of mutations) {
    it(`${of}: ${slip} is refuted`, async () => {
      const z = scores(await statistics(of), law.moments(wrong, alphaBars, data, predict));
      const worst = Math.max(...z.filter(Number.isFinite));
      assert.ok(worst > 10, `max |z| = ${worst.toFixed(1)}`);
      reached++;
    });
  }

  it("every mutation was reached, and every sampler has some", () => {
    assert.equal(reached, mutations.length);
    assert.equal(new Set(mutations.map(({ of, slip }) => `${of}: ${slip}`)).size, mutations.length);
    assert.ok(mutations.length >= 50, `${mutations.length} mutations`);
    const without = Object.keys(samplers).filter((name) =>
      !mutations.some(({ of }) => of === name)
    );
    assert.deepEqual(without, ["dpm 2M heun"]);
  });
});

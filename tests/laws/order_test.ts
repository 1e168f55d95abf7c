import { before, describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import * as tf from "@tensorflow/tfjs-core";
import type { Model } from "../../src/denoise/prediction.ts";
import { vp } from "../../src/noise/schedule/continuous.ts";
import { logSnr } from "../../src/noise/schedule/schedule.ts";
import { ddim } from "../../src/sample/ancestral.ts";
import { run } from "../../src/sample/run.ts";
import type { Sampler } from "../../src/sample/path.ts";
import { dpmSolver } from "../../src/sample/solver/dpm.ts";
import { useBackend } from "../../src/tensor/backend/backend.ts";
import { key } from "../../src/tensor/key.ts";

/** A mixture on the line: weight, mean and standard deviation of each part. */
const parts = [[0.3, -1.2, 0.35], [0.7, 0.9, 0.5]] as const;
const schedule = vp(), span = { from: 0.9, final: 0.03 };

/** E[x0 | x_t] of the mixture, in float64. */
function denoised(x: number, alpha: number, sigma: number): number {
  const posteriors = parts.map(([weight, mean, sd]) => {
    const total = (alpha * sd) ** 2 + sigma ** 2, away = x - alpha * mean;
    const density = weight / Math.sqrt(total) * Math.exp(-(away ** 2) / (2 * total));
    return [density, mean + alpha * sd ** 2 / total * away] as const;
  });
  const sum = posteriors.reduce((a, [density]) => a + density, 0);
  return posteriors.reduce((a, [density, mean]) => a + density * mean, 0) / sum;
}

const model: Model = {
  schedule,
  predict: (x, t) => {
    const { alpha, sigma } = schedule.at(t);
    const value = tf.tensor([...x.dataSync()].map((xi) => denoised(xi, alpha, sigma)), x.shape);
    return { kind: "x0", value };
  },
};

/** d(x/sigma)/d lambda = (alpha/sigma)·x0hat, by the classical fourth-order method in float64. */
function reference(start: number, steps: number): number {
  const [first, last] = [span.from, span.final].map((t) => logSnr(schedule.at(t)) / 2);
  const h = (last! - first!) / steps;
  const slope = (u: number, lambda: number): number => {
    const sigma = 1 / Math.sqrt(1 + Math.exp(2 * lambda)), alpha = sigma * Math.exp(lambda);
    return alpha / sigma * denoised(u * sigma, alpha, sigma);
  };
  let u = start / schedule.at(span.from).sigma;
  for (let i = 0; i < steps; i++) {
    const lambda = first! + i * h;
    const a = slope(u, lambda), b = slope(u + h / 2 * a, lambda + h / 2);
    const c = slope(u + h / 2 * b, lambda + h / 2), d = slope(u + h * c, lambda + h);
    u += h / 6 * (a + 2 * b + 2 * c + d);
  }
  return u * schedule.at(span.final).sigma;
}

const starts = Array.from({ length: 24 }, (_, i) => -2.3 + 0.2 * i);

async function end(sampler: Sampler): Promise<number[]> {
  const x = tf.tensor(starts, [starts.length, 1]);
  let values: number[] = [];
  const states = run({ x, t: span.from, step: 0 }, { model, key: key(0) })(sampler);
  for await (const state of states) values = [...state.x.dataSync()];
  x.dispose();
  return values;
}

/** Minus the least-squares slope of log error against log steps. */
function order(counts: readonly number[], errors: readonly number[]): number {
  const x = counts.map(Math.log), y = errors.map(Math.log);
  const mean = (values: readonly number[]) => values.reduce((a, b) => a + b) / values.length;
  const covariance = mean(x.map((xi, i) => (xi - mean(x)) * (y[i]! - mean(y))));
  return -covariance / mean(x.map((xi) => (xi - mean(x)) ** 2));
}

describe("order of convergence on a mixture", () => {
  before(() => useBackend("cpu"));
  const exact = starts.map((start) => reference(start, 4000));

  const measured = async (make: (steps: number) => Sampler, counts: readonly number[]) => {
    const errors = [];
    for (const steps of counts) {
      const squares = (await end(make(steps))).map((value, i) => (value - exact[i]!) ** 2);
      errors.push(Math.sqrt(squares.reduce((a, b) => a + b) / squares.length));
    }
    return { errors, order: order(counts, errors) };
  };

  const grid = (steps: number) => ({ ...span, steps, spacing: "logLinear" } as const);
  const cases = [
    ["ddim()", (n: number) => ddim(schedule, grid(n)), [32, 64, 128, 256], 1, 0.1],
    [
      "dpmSolver() of order 1",
      (n: number) => dpmSolver(schedule, { ...grid(n), order: 1 }),
      [32, 64, 128, 256],
      1,
      0.1,
    ],
    ["dpmSolver()", (n: number) => dpmSolver(schedule, grid(n)), [24, 48, 96, 192], 2, 0.2],
    [
      "dpmSolver() with the heun corrector",
      (n: number) => dpmSolver(schedule, { ...grid(n), corrector: "heun" }),
      [24, 48, 96, 192],
      2,
      0.2,
    ],
  ] as const;

  it("reference() is exact to far below the errors", () => {
    const coarse = starts.map((start) => reference(start, 2000));
    assert.ok(coarse.every((value, i) => Math.abs(value - exact[i]!) < 1e-9));
  });

  for (const [name, make, counts, wanted, width] of cases) {
    it(`${name} converges with order ${wanted}`, async () => {
      const found = await measured(make, counts);
      const report = `order ${found.order.toFixed(3)}, errors ${
        found.errors.map((e) => e.toExponential(2))
      }`;
      assert.ok(Math.abs(found.order - wanted) <= width, report);
      // Float32 ends are off by some 1e-7, and do not bend the slope.
      assert.ok(found.errors.every((error) => error > 3e-6), report);
    });
  }
});

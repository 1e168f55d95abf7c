/** Likelihoods in float64: against all states of all units, against quadrature, and gradients against finite differences. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { logPartition, type RbmValues } from "../../../../src/energy/boltzmann/partition/exact.ts";
import {
  dataExpectations,
  likelihoodGradient,
  logLikelihoods,
  modelExpectations,
} from "../../../../src/energy/boltzmann/partition/likelihood.ts";
import { key } from "../../../../src/tensor/key.ts";
import { normals } from "../../../../src/tensor/random.ts";
import { average, near } from "../../../measure.ts";
import { brute, energy, gaussianMachine, machine } from "../machines.ts";

const small = machine(5, 4, 1), all = brute(small);
const data = [1, 0, 0, 1, 1, 0, 1, 1, 0, 1, 1, 1, 1, 1, 0];

/** All parameters, each with what it is moved to. */
function* moved(rbm: RbmValues, by: number): Generator<[string, number, RbmValues, RbmValues]> {
  for (const [name, values] of Object.entries(rbm) as [keyof RbmValues, Float64Array][]) {
    for (let i = 0; i < values.length; i++) {
      const at = (step: number): RbmValues => ({
        ...rbm,
        [name]: values.with(i, values[i]! + step),
      });
      yield [name, i, at(-by), at(by)];
    }
  }
}

/** A gradient is that by differences of mean ln p(x). */
function asDifferences(rbm: RbmValues, x: ArrayLike<number>): void {
  const gradient = likelihoodGradient(rbm, x), by = 1e-4;
  const mean = (at: RbmValues): number => average([...logLikelihoods(at, x)]);
  for (const [name, i, low, high] of moved(rbm, by)) {
    near(gradient[name as "weights"][i]!, (mean(high) - mean(low)) / (2 * by), 1e-6);
  }
}

describe("the likelihood of a Boltzmann machine", () => {
  it("logLikelihoods() are those of all states, and p sums to 1", () => {
    const logs = logLikelihoods(small, all.xs.flat());
    logs.forEach((log, s) => near(log, Math.log(all.p[s]!), 1e-12));
    near(logs.reduce((sum, log) => sum + Math.exp(log), 0), 1, 1e-12);
    near(logLikelihoods(small, all.xs[3]!, { logZ: 0 })[0]!, -all.free[3]!, 1e-12);
  });

  it("the likelihood is that of x, not that of x and h together", () => {
    const h = all.hs.reduce((best, each) =>
      energy(small, all.xs[9]!, each) < energy(small, all.xs[9]!, best) ? each : best
    );
    const joint = -energy(small, all.xs[9]!, h) - all.logZ,
      [log] = logLikelihoods(small, all.xs[9]!);
    assert.ok(log! > joint + 0.1);
  });

  it("likelihoodGradient() is that by finite differences to 1e-6", () => {
    asDifferences(small, data);
    asDifferences(machine(3, 6, 7), data);
    asDifferences(gaussianMachine(3, 4, 6), normals(key(5), 12));
  });

  it("likelihoodGradient() is E[xhᵀ] under the data less that under the model, each by all states", () => {
    const { weights, visible, hidden } = modelExpectations(small);
    const mean = (f: (x: number[], h: number[]) => number): number =>
      all.xs.reduce(
        (sum, x, s) =>
          sum + all.p[s]! * all.hs.reduce((inner, h, t) => inner + all.given[s]![t]! * f(x, h), 0),
        0,
      );
    weights.forEach((w, at) => near(w, mean((x, h) => x[Math.floor(at / 4)]! * h[at % 4]!), 1e-12));
    visible.forEach((b, i) => near(b, mean((x) => x[i]!), 1e-12));
    hidden.forEach((c, j) => near(c, mean((_, h) => h[j]!), 1e-12));
    const one = dataExpectations(small, all.xs[13]!);
    one.weights.forEach((w, at) => {
      const wanted = all.hs.reduce((sum, h, t) => sum + all.given[13]![t]! * h[at % 4]!, 0);
      near(w, all.xs[13]![Math.floor(at / 4)]! * wanted, 1e-12);
    });
  });

  it("the gradient is zero where the data have the law of the model", () => {
    const model = modelExpectations(small), mean = model.weights.map(() => 0);
    all.xs.forEach((x, s) =>
      dataExpectations(small, x).weights.forEach((w, i) => mean[i]! += all.p[s]! * w)
    );
    mean.forEach((w, i) => near(w, model.weights[i]!, 1e-12));
  });

  it("Gaussian units: ln Z and the law of x are those of quadrature", () => {
    const rbm = gaussianMachine(2, 3, 6), step = 0.1, grid: number[] = [];
    for (let a = -30; a < 30; a += step) for (let b = -30; b < 30; b += step) grid.push(a, b);
    const logs = logLikelihoods(rbm, grid);
    near(logs.reduce((sum, log) => sum + Math.exp(log), 0) * step ** 2, 1, 1e-9);
  });

  it("raising the numerator alone raises Z too: the likelihood stalls or falls, where the gradient lets it rise", () => {
    const after = (gradient: (at: RbmValues) => RbmValues, steps: number): number[] => {
      let at = machine(5, 4, 12, 0.1);
      const found: number[] = [];
      for (let k = 0; k < steps; k++) {
        found.push(average([...logLikelihoods(at, data)]));
        const { weights, visible, hidden } = gradient(at), rate = 0.3;
        const up = (a: Float64Array, g: Float64Array) => a.map((value, i) => value + rate * g[i]!);
        at = {
          weights: up(at.weights, weights),
          visible: up(at.visible, visible),
          hidden: up(at.hidden, hidden),
        };
      }
      return found;
    };
    const exact = after((at) => likelihoodGradient(at, data), 40);
    exact.slice(1).forEach((value, k) => assert.ok(value > exact[k]!));
    const numerator = after((at) => dataExpectations(at, data), 40);
    assert.ok(numerator.at(-1)! < numerator[0]! - 0.1, `${numerator.at(-1)} from ${numerator[0]}`);
  });

  it("refuses numbers that are not finite or do not fit, by name", () => {
    const refused = (work: () => unknown, message: RegExp) => assert.throws(work, message);
    refused(
      () => logPartition({ ...small, hidden: Float64Array.of(1, NaN, 0, 0) }),
      /hidden must be finite, got NaN$/,
    );
    refused(
      () => logPartition({ ...small, hidden: Float64Array.of(1) }),
      /weights must be 5·1 numbers, got 20$/,
    );
    refused(() => logLikelihoods(small, [1, 0]), /x must be rows of 5 numbers, got 2$/);
    refused(() => logLikelihoods(small, [1, 0, 0, NaN, 1]), /x must be finite, got NaN$/);
    refused(
      () => logLikelihoods(small, [1, 0, 0, 0, 1], { logz: 1 } as object),
      /options must be among most, logZ, got "logz"/,
    );
  });
});

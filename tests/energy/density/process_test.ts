import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { composed, jointLaw, lawAfter, lawGiven } from "../../../src/energy/density/linear.ts";
import { relativeEntropy } from "../../../src/energy/density/density.ts";
import { integral, quadrature } from "../../../src/energy/measure.ts";
import { multivariateNormal, normalDivergence } from "../../../src/energy/density/normal.ts";
import {
  brownianLaw,
  diffusionKernels,
  forgotten,
  horizonFor,
  invariantLaw,
  ouProcess,
  stationary,
} from "../../../src/energy/density/process.ts";
import { key } from "../../../src/tensor/key.ts";
import { near, nearly } from "../../measure.ts";
import { zScore } from "./numeric.ts";

const { step, eulerStep, equilibrium, autocovariance } = ouProcess({ theta: 2, sigma: 0.7 });
const at = (mean: number, covariance: number) => multivariateNormal({ mean: [mean], covariance });

describe("ouProcess()", () => {
  it("at rest the variance is 0.1225, not 0.49, and a step leaves that law alone", () => {
    near(equilibrium.covariance[0]![0]!, 0.1225, 1e-15);
    for (const delta of [0.01, 0.5, 3]) {
      near(lawAfter(equilibrium, step(delta)).covariance[0]![0]!, 0.1225, 1e-15);
      near(invariantLaw(step(delta))!.covariance[0]![0]!, 0.1225, 1e-14);
    }
    const draws = equilibrium.draw(key(1), 20_000).map(([x]) => x! ** 2);
    assert.ok(Math.abs(zScore(draws, 0.1225)) < 4);
    assert.ok(Math.abs(zScore(draws, 0.49)) > 10);
  });

  it("the transition has mean e^−θΔ·x, and its density solves the Fokker–Planck equation", () => {
    const x0 = 0.8, p = (x: number, t: number) => Math.exp(lawGiven(step(t), [x0]).logDensity([x]));
    near(lawGiven(step(0.3), [x0]).mean[0]!, Math.exp(-0.6) * x0, 1e-15);
    for (const [x, t] of [[0.1, 0.2], [0.5, 0.4], [-0.2, 1]] as const) {
      const h = 1e-3, dt = (p(x, t + h) - p(x, t - h)) / (2 * h);
      const flux = (2 * ((x + h) * p(x + h, t) - (x - h) * p(x - h, t))) / (2 * h);
      const bend = 0.49 / 2 * (p(x + h, t) - 2 * p(x, t) + p(x - h, t)) / h ** 2;
      near(dt, flux + bend, 1e-3);
    }
  });

  it("steps compose: two of them are one of their sum", () => {
    const two = composed(step(0.2), step(0.5)), one = step(0.7);
    nearly(two.matrix[0]![0]!, one.matrix[0]![0]!, 1e-14);
    nearly(two.noise[0]![0]!, one.noise[0]![0]!, 1e-14);
  });

  it("the autocovariance is that of two times at rest", () => {
    for (const tau of [0.1, 1]) {
      nearly(jointLaw(equilibrium, step(tau)).covariance[0]![1]!, autocovariance(tau), 1e-14);
      assert.equal(autocovariance(-tau), autocovariance(tau));
    }
    near(autocovariance(0), 0.1225, 1e-15);
  });

  it("Euler–Maruyama's coefficient is 1 − θη, and its law at rest too wide by 1/(1 − θη/2)", () => {
    near(eulerStep(0.1).matrix[0]![0]!, 0.8, 1e-15);
    nearly(invariantLaw(eulerStep(0.1))!.covariance[0]![0]!, 0.1225 / 0.9, 1e-13);
    assert.equal(invariantLaw(eulerStep(1.01)), undefined); // beyond 2/θ
    // First order in the step: halving it halves the distance.
    const gap = (eta: number) =>
      eulerStep(eta).matrix[0]![0]! ** (1 / eta) - step(1).matrix[0]![0]!;
    near(gap(1 / 512) / gap(1 / 1024), 2, 0.01);
  });

  it("parameters that are none are refused", () => {
    assert.throws(
      () => ouProcess({ theta: 0, sigma: NaN }),
      /theta must be finite and above 0, got 0; sigma must be .* got NaN/,
    );
    assert.throws(() => step(-1), /delta must be finite and at least 0, got -1/);
  });
});

describe("brownianLaw()", () => {
  it("the covariance is min(s, t), and increments are independent", () => {
    const law = brownianLaw([0.5, 2, 1]);
    assert.deepEqual(law.covariance, [[0.5, 0.5, 0.5], [0.5, 2, 1], [0.5, 1, 1]]);
    const draws = law.draw(key(2), 20_000), increment = draws.map(([a, , c]) => a! * (c! - a!));
    assert.ok(Math.abs(zScore(increment, 0)) < 4);
    assert.ok(Math.abs(zScore(draws.map(([a, b]) => a! * b!), 0.5)) < 4);
    assert.ok(Math.abs(zScore(draws.map(([a, b]) => a! * b!), 2)) > 10);
    assert.throws(() => brownianLaw([1, 1]), /times must be different and above 0/);
    assert.throws(() => brownianLaw([0]), /times must be different and above 0/);
  });
});

describe("forgotten() and horizonFor()", () => {
  it("KL_t/(e^−t·KL_0) has the golden ratios at t = 0, 0.5, 1, 3", () => {
    const golden = [
      [2, 0.3, [1, 0.935, 0.9124, 0.8909]],
      [0, 4, [1, 0.8, 0.6064, 0.1264]],
      [1, 1, [1, 1, 1, 1]],
    ] as const;
    for (const [m, v, ratios] of golden) {
      const start = forgotten(at(m, v), 0).divergence;
      near(start, (v + m ** 2 - 1 - Math.log(v)) / 2, 1e-14);
      [0, 0.5, 1, 3].forEach((t, i) => {
        const { divergence, law } = forgotten(at(m, v), t);
        near(divergence / (Math.exp(-t) * start), ratios[i]!, 6e-5);
        near(law.covariance[0]![0]!, 1 + (v - 1) * Math.exp(-t), 1e-14);
      });
    }
  });

  it("the divergence agrees with quadrature, and the bound holds in three dimensions", () => {
    const flat = (law: ReturnType<typeof at>) => ({
      logDensity: (x: number) => law.logDensity([x]),
    });
    const { law, divergence } = forgotten(at(2, 0.3), 0.5), line = quadrature(-Infinity, Infinity);
    near(relativeEntropy(flat(law), flat(at(0, 1)), line), divergence, 1e-12);
    near(integral(line, (x) => Math.exp(flat(law).logDensity(x))), 1, 1e-12);
    const start = multivariateNormal({
      mean: [1, 0, -2],
      covariance: [[3, 0.5, 0], [0.5, 0.4, 0.1], [0, 0.1, 1]],
    });
    const first = normalDivergence(start, multivariateNormal({ mean: [0, 0, 0], covariance: 1 }));
    for (const t of [0.1, 1, 4]) assert.ok(forgotten(start, t).divergence <= Math.exp(-t) * first);
  });

  it("after the horizon the divergence is within the tolerance; a shift needs all of it", () => {
    const start = at(3, 1),
      first = forgotten(start, 0).divergence,
      horizon = horizonFor(first, 1e-4);
    nearly(forgotten(start, horizon).divergence, 1e-4, 1e-9);
    assert.equal(horizonFor(1e-6, 1e-4), 0);
    assert.equal(horizonFor(0, 1e-4), 0);
    assert.throws(
      () => horizonFor(Infinity, 1),
      /divergence must be finite and at least 0, got Infinity/,
    );
    assert.throws(() => horizonFor(1, 0), /tolerance must be above 0, got 0/);
  });
});

describe("kernels and the laws that they leave alone", () => {
  it("N(0, I) under the Gaussian kernel, as (1 − β) + β = 1", () => {
    for (const beta of [1e-4, 0.3, 1]) {
      const law = invariantLaw(diffusionKernels.gaussian(beta, 2))!;
      law.covariance.forEach((row, i) => row.forEach((c, j) => near(c, i === j ? 1 : 0, 1e-12)));
      assert.deepEqual(law.mean.map(Math.abs), [0, 0]);
    }
  });

  it("none under the kernel of exploding variance, whose variance grows by β a step", () => {
    const kernel = diffusionKernels.exploding(0.25);
    assert.equal(invariantLaw(kernel), undefined);
    assert.deepEqual(lawAfter(at(1, 2), kernel).covariance, [[2.25]]);
  });

  it("the fair coin under the binomial kernel, to 1e-15", () => {
    for (const beta of [0.01, 0.4, 1]) {
      const p = diffusionKernels.binomial(beta), pi = stationary(p);
      pi.forEach((value) => near(value, 1 / 2, 1e-15));
      near(p[1]![1]!, 1 * (1 - beta) + beta / 2, 1e-15);
      near(p[0]![1]!, beta / 2, 1e-15);
    }
  });

  it("a system with shift and turning has μ = Aμ + b and Σ = AΣAᵀ + R", () => {
    const kernel = {
      matrix: [[0.5, -0.6], [0.6, 0.5]],
      shift: [1, -2],
      noise: [[1, 0.2], [0.2, 0.5]],
    };
    const law = invariantLaw(kernel)!, after = lawAfter(law, kernel);
    after.mean.forEach((m, i) => near(m, law.mean[i]!, 1e-13));
    after.covariance.forEach((row, i) =>
      row.forEach((c, j) => near(c, law.covariance[i]![j]!, 1e-13))
    );
    assert.equal(invariantLaw({ ...kernel, matrix: [[0.8, -0.6], [0.6, 0.8]] }), undefined); // on the circle
  });

  it("stationary() has π = πP to 1e-15, the digits of small probabilities included", () => {
    const p = [[0.9, 0.05, 0.05], [0.3, 0.6, 0.1], [0.2, 0.2, 0.6]], pi = stationary(p);
    near(pi.reduce((a, b) => a + b, 0), 1, 1e-15);
    pi.forEach((value, j) => near(pi.reduce((sum, q, i) => sum + q * p[i]![j]!, 0), value, 1e-15));
    const rare = 1e-18, [, small] = stationary([[1 - rare, rare], [0.5, 0.5]]);
    nearly(small!, 2 * rare, 1e-14);
    assert.throws(() => stationary([[1, 0], [0, 1]]), /must lead from every state to every other/);
    assert.throws(() => stationary([[1, 0.1], [0, 1]]), /rows of n probabilities/);
    assert.throws(() => diffusionKernels.binomial(0), /beta must be above 0 and at most 1, got 0/);
  });
});

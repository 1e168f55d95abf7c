import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { posterior } from "../../../src/denoise/posterior.ts";
import type { Rows } from "../../../src/energy/density/density.ts";
import { integral, quadrature } from "../../../src/energy/measure.ts";
import {
  composed,
  jointLaw,
  lawAfter,
  lawGiven,
  type LinearGaussian,
  reversed,
  scaling,
} from "../../../src/energy/density/linear.ts";
import {
  multivariateNormal,
  normalConditional,
  normalMarginal,
} from "../../../src/energy/density/normal.ts";
import { near, nearly } from "../../measure.ts";

const prior = multivariateNormal({ mean: [1, -0.5], covariance: [[1.2, 0.3], [0.3, 0.7]] });
const system: LinearGaussian = {
  matrix: [[1, 2], [0.5, -1], [0, 1]],
  shift: [0.1, 0.2, 0.3],
  noise: [[0.5, 0.1, 0], [0.1, 0.6, 0], [0, 0, 0.4]],
};
const allNear = (a: Rows, b: Rows, tolerance: number): void =>
  a.forEach((row, i) => row.forEach((value, j) => near(value, b[i]![j]!, tolerance)));

/** DDPM's betas, by the formula. */
const beta = (t: number): number => 1e-4 + (0.02 - 1e-4) * (t - 1) / 999;
const step = (t: number): LinearGaussian => scaling(Math.sqrt(1 - beta(t)), beta(t));
const alphaBar = (t: number): number =>
  Array.from({ length: t }, (_, i) => 1 - beta(i + 1)).reduce((a, b) => a * b, 1);

describe("linear-Gaussian systems", () => {
  it("the law of x and y is p(x)·p(y | x), and the parts are its marginals and conditionals", () => {
    const joint = jointLaw(prior, system), x = [0.4, 0.2], y = [1, -1, 0.5];
    near(
      joint.logDensity([...x, ...y]),
      prior.logDensity(x) + lawGiven(system, x).logDensity(y),
      1e-12,
    );
    const after = lawAfter(prior, system);
    allNear(normalMarginal(joint, [2, 3, 4]).covariance, after.covariance, 1e-14);
    near(after.mean[0]!, 1 + 2 * -0.5 + 0.1, 1e-15);
    const back = lawGiven(reversed(prior, system), y);
    const wanted = normalConditional(joint, { indices: [2, 3, 4], values: y });
    allNear([back.mean, ...back.covariance], [wanted.mean, ...wanted.covariance], 1e-12);
  });

  it("reversed() obeys Bayes' rule at points", () => {
    const y = [0.3, 0, 2],
      back = lawGiven(reversed(prior, system), y),
      after = lawAfter(prior, system);
    for (const x of [[0, 0], [1, 2], [-2, 0.5]]) {
      const joint = prior.logDensity(x) + lawGiven(system, x).logDensity(y);
      near(back.logDensity(x), joint - after.logDensity(y), 1e-12);
    }
  });

  it("on the line they agree with quadrature over x", () => {
    const prior = multivariateNormal({ mean: [0.7], covariance: 1.3 });
    const system: LinearGaussian = { matrix: [[-0.8]], shift: [0.4], noise: [[0.25]] };
    const y = [-0.6], line = quadrature(-Infinity, Infinity);
    const e = (f: (x: number) => number) =>
      integral(
        line,
        (x) => Math.exp(prior.logDensity([x]) + lawGiven(system, [x]).logDensity(y)) * f(x),
      );
    const total = e(() => 1), back = lawGiven(reversed(prior, system), y);
    near(Math.exp(lawAfter(prior, system).logDensity(y)), total, 1e-12);
    near(e((x) => x) / total, back.mean[0]!, 1e-11);
    near(e((x) => (x - back.mean[0]!) ** 2) / total, back.covariance[0]![0]!, 1e-11);
  });

  it("composed() is one system after the other, and does not depend on the grouping", () => {
    const second: LinearGaussian = {
      matrix: [[1, 0, 2], [0, 1, 1]],
      shift: [1, 2],
      noise: [[0.3, 0], [0, 0.2]],
    };
    const both = composed(system, second);
    const a = lawAfter(prior, both), b = lawAfter(lawAfter(prior, system), second);
    allNear([a.mean, ...a.covariance], [b.mean, ...b.covariance], 1e-13);
    const third: LinearGaussian = { matrix: [[0.5, -1]], shift: [0.5], noise: [[0.1]] };
    const left = composed(composed(system, second), third),
      right = composed(system, composed(second, third));
    allNear([...left.matrix, left.shift, ...left.noise], [
      ...right.matrix,
      right.shift,
      ...right.noise,
    ], 1e-13);
  });

  it("a chain of DDPM steps is q(x_t | x_0)", () => {
    for (const t of [1, 2, 50, 1000]) {
      const chain = composed(...Array.from({ length: t }, (_, i) => step(i + 1))),
        bar = alphaBar(t);
      nearly(chain.matrix[0]![0]!, Math.sqrt(bar), 1e-12);
      nearly(chain.noise[0]![0]!, 1 - bar, 1e-12);
    }
  });

  it("a DDPM step turned round under q(x_{t−1} | x_0) is the posterior of the repository", () => {
    for (const t of [2, 10, 501, 1000]) {
      const x0 = 0.3, bar = alphaBar(t - 1), now = alphaBar(t);
      const before = multivariateNormal({ mean: [Math.sqrt(bar) * x0], covariance: 1 - bar });
      const { matrix, shift, noise } = reversed(before, step(t));
      const law = posterior(
        { alpha: Math.sqrt(now), sigma: Math.sqrt(1 - now) },
        { alpha: Math.sqrt(bar), sigma: Math.sqrt(1 - bar) },
      );
      nearly(matrix[0]![0]!, law.xt, 1e-10);
      nearly(shift[0]!, law.x0 * x0, 1e-9);
      nearly(noise[0]![0]!, law.variance, 1e-10);
    }
    const before = multivariateNormal({
      mean: [Math.sqrt(alphaBar(500)) * 0.3],
      covariance: 1 - alphaBar(500),
    });
    const golden = lawGiven(reversed(before, step(501)), [-1.2]);
    near(golden.mean[0]!, -1.19200780, 5e-9);
    near(golden.covariance[0]![0]!, 0.01005133578, 5e-12);
  });

  it("a conditional of x_{t−1} and x_t side by side is that posterior too", () => {
    const before = multivariateNormal({
      mean: [Math.sqrt(alphaBar(500)) * 0.3],
      covariance: 1 - alphaBar(500),
    });
    const given = normalConditional(jointLaw(before, step(501)), { indices: [1], values: [-1.2] });
    near(given.mean[0]!, -1.19200780, 5e-9);
    near(given.covariance[0]![0]!, 0.01005133578, 5e-12);
  });

  it("systems that do not fit are refused", () => {
    assert.throws(
      () => lawAfter(prior, scaling(1, 1)),
      /^RangeError: Cannot push a law through a system: matrix must be of rows of length 2/,
    );
    assert.throws(() => composed(), /systems must be at least one/);
    assert.throws(() => composed(system, scaling(1, 1, 2)), /matrix must be of rows of length 3/);
    assert.throws(
      () => lawGiven({ ...system, shift: [0] }, [0, 0]),
      /shift and noise must be of 3 rows/,
    );
    assert.throws(() => lawGiven(scaling(1, 0), [0]), /covariance must be positive definite/);
    assert.throws(
      () => scaling(NaN, 1),
      /scale must be finite and variance at least 0, got \[NaN,1\]/,
    );
    assert.throws(() => scaling(1, -1), /variance at least 0/);
  });
});

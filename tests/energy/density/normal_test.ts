import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { crossed, integral, quadrature } from "../../../src/energy/measure.ts";
import {
  multivariateNormal,
  normalConditional,
  normalDivergence,
  normalMarginal,
} from "../../../src/energy/density/normal.ts";
import { key } from "../../../src/tensor/key.ts";
import { near } from "../../measure.ts";
import { slopes, zScore } from "./numeric.ts";

const covariance = [[1.5, 0.4, -0.3], [0.4, 0.8, 0.2], [-0.3, 0.2, 2]];
const law = multivariateNormal({ mean: [1, -2, 0.5], covariance });
const line = quadrature(-Infinity, Infinity, 161), plane = crossed(line, line);
const two = multivariateNormal({ mean: [0.3, -1], covariance: [[1, 0.6], [0.6, 2]] });
const x = [0.2, -1, 3];

describe("multivariateNormal()", () => {
  it("multivariateNormal() integrates to 1 in the plane, with its mean, covariance and entropy", () => {
    const e = (f: (x: readonly number[]) => number) =>
      integral(plane, (x) => Math.exp(two.logDensity(x)) * f(x));
    near(e(() => 1), 1, 1e-10);
    near(e(([a]) => a!), 0.3, 1e-10);
    near(e(([a, b]) => (a! - 0.3) * (b! + 1)), 0.6, 1e-9);
    near(e((x) => -two.logDensity(x)), two.entropy, 1e-9);
  });

  it("multivariateNormal() is the same by covariance and by precision", () => {
    const other = multivariateNormal({ mean: law.mean, precision: law.precision });
    near(other.logDensity(x), law.logDensity(x), 1e-13);
    near(other.entropy, law.entropy, 1e-14);
    other.covariance.forEach((row, i) => row.forEach((c, j) => near(c, covariance[i]![j]!, 1e-14)));
    other.gradient(x).forEach((g, i) => near(g, law.gradient(x)[i]!, 1e-13));
  });

  it("the gradient is that of the log-density", () => {
    slopes(law.logDensity, x).forEach((wanted, i) => near(law.gradient(x)[i]!, wanted, 1e-10));
  });

  it("draws have the mean and the covariance, by either form", () => {
    const other = multivariateNormal({ mean: law.mean, precision: law.precision });
    for (const each of [law, other]) {
      const draws = each.draw(key(1), 20_000);
      each.mean.forEach((m, i) => assert.ok(Math.abs(zScore(draws.map((d) => d[i]!), m)) < 4));
      const product = (i: number, j: number) =>
        draws.map((d) => (d[i]! - law.mean[i]!) * (d[j]! - law.mean[j]!));
      covariance.forEach((row, i) =>
        row.forEach((c, j) => assert.ok(Math.abs(zScore(product(i, j), c)) < 4))
      );
      // The slip of a covariance without its sign, or of a factor in place of the covariance.
      assert.ok(Math.abs(zScore(product(0, 2), 0.3)) > 10);
      assert.ok(Math.abs(zScore(product(0, 0), Math.sqrt(1.5))) > 10);
    }
  });

  it("a number is that many times the identity", () => {
    const round = multivariateNormal({ mean: [0, 0], covariance: 4 });
    near(round.logDensity([2, 0]), -0.5 - Math.log(8 * Math.PI), 1e-15);
    assert.deepEqual(multivariateNormal({ mean: [0, 0], precision: 4 }).covariance, [[0.25, 0], [
      0,
      0.25,
    ]]);
  });

  it("what is no law is refused", () => {
    const refused = (options: object, message: RegExp) =>
      assert.throws(() => multivariateNormal({ mean: [0, 0], ...options } as never), message);
    refused({}, /one of covariance and precision must be given, got neither/);
    refused({ covariance: 1, precision: 1 }, /got both/);
    refused(
      { covariance: [[1, 2], [2, 1]] },
      /^RangeError: .*covariance must be positive definite/,
    );
    refused({ precision: [[1, 0.5], [0.4, 1]] }, /precision must be symmetric/);
    refused({ covariance: [[1]] }, /covariance must be a number or 2 rows of 2 finite numbers/);
    refused(
      { covariance: NaN },
      /covariance must be a number or 2 rows of 2 finite numbers, got NaN/,
    );
    refused({ covariance: 0 }, /positive definite/);
    refused({ covariance: 1, mean: [NaN] }, /mean must be a list of finite numbers, got \[NaN\]/);
    refused({ covariance: 1, spread: 1 }, /^TypeError/);
    assert.throws(() => law.logDensity([1]), /x must be of length 3, got 1/);
  });
});

describe("normalDivergence()", () => {
  const other = multivariateNormal({ mean: [0, 0], covariance: [[4, -0.5], [-0.5, 2]] });

  it("normalDivergence() agrees with quadrature and with draws, and is 0 for one law alone", () => {
    const kl = normalDivergence(two, other);
    near(
      integral(
        plane,
        (x) => Math.exp(two.logDensity(x)) * (two.logDensity(x) - other.logDensity(x)),
      ),
      kl,
      1e-9,
    );
    const terms = two.draw(key(2), 20_000).map((x) => two.logDensity(x) - other.logDensity(x));
    assert.ok(Math.abs(zScore(terms, kl)) < 4);
    // The slip of the entropies in the wrong order.
    assert.ok(Math.abs(zScore(terms, kl - 2 * (other.entropy - two.entropy))) > 10);
    near(normalDivergence(two, two), 0, 1e-14);
    assert.ok(kl > 0);
    assert.throws(() => normalDivergence(two, law), /q must be of dimension 2, got 3/);
  });
});

describe("normalConditional() and normalMarginal()", () => {
  it("p(a | b)·p(b) = p(a, b) at points", () => {
    for (const b of [[0], [1], [2], [0, 1], [2, 0]]) {
      const a = [0, 1, 2].filter((i) => !b.includes(i));
      for (const point of [x, [-3, 0, 1], [2, 2, 2]]) {
        const at = (indices: number[]) => indices.map((i) => point[i]!);
        const given = normalConditional(law, { indices: b, values: at(b) });
        near(
          given.logDensity(at(a)) + normalMarginal(law, b).logDensity(at(b)),
          law.logDensity(point),
          1e-10,
        );
      }
    }
  });

  it("the conditional covariance is the inverse of a block of the precision", () => {
    const given = normalConditional(law, { indices: [1], values: [0] });
    const block = [0, 2].map((i) => [0, 2].map((j) => law.precision[i]![j]!));
    given.precision.forEach((row, i) =>
      row.forEach((value, j) => near(value, block[i]![j]!, 1e-12))
    );
  });

  it("the marginal is the integral over the others", () => {
    const b = -0.7, slice = integral(line, (a) => Math.exp(two.logDensity([a, b])));
    near(Math.exp(normalMarginal(two, [1]).logDensity([b])), slice, 1e-12);
    assert.deepEqual(normalMarginal(law, [2, 0]).covariance, [[2, -0.3], [-0.3, 1.5]]);
  });

  it("indices that are none are refused", () => {
    for (const indices of [[], [3], [0, 0], [0.5]]) {
      assert.throws(
        () => normalMarginal(law, indices),
        /indices must be different whole numbers in \[0, 3\)/,
      );
    }
    assert.throws(
      () => normalConditional(law, { indices: [0, 1, 2], values: x }),
      /leave one of 3/,
    );
    assert.throws(
      () => normalConditional(law, { indices: [0], values: [] }),
      /values must be 1 finite numbers/,
    );
  });
});

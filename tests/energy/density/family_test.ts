import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import type { Rows, Vector } from "../../../src/energy/density/density.ts";
import {
  counting,
  crossed,
  integral,
  logIntegral,
  type Measure,
  quadrature,
} from "../../../src/energy/measure.ts";
import { densityOf, families, type Family } from "../../../src/energy/density/family.ts";
import { key } from "../../../src/tensor/key.ts";
import { near } from "../../measure.ts";
import { slopes, zScore } from "./numeric.ts";

/** A family, its usual parameters, and what its densities are over. */
interface Case {
  readonly name: string;
  readonly run: () => void;
}

/** A measure carried to other points. */
const carried = <X, Y>(measure: Measure<X>, to: (x: X) => readonly [Y, number]): Measure<Y> => ({
  size: measure.size,
  *nodes() {
    for (const [x, weight] of measure.nodes()) {
      const [y, volume] = to(x);
      yield [y, weight * volume];
    }
  },
});

const half = quadrature(0, Infinity, 121), unit = quadrature(0, 1, 81);
const simplex: Measure<Vector> = carried(
  crossed(unit, unit),
  ([a, b]) => [[a, (1 - a) * b, (1 - a) * (1 - b)], 1 - a],
);
/** Positive definite 2 × 2 matrices, by their diagonal and correlation. */
const cone: Measure<Rows> = carried(
  crossed(quadrature(0, Infinity, 61), quadrature(0, Infinity, 61), quadrature(-1, 1, 31)),
  ([a, b, r]) => {
    const root = Math.sqrt(a * b);
    return [[[a, r * root], [r * root, b]], r * r < 1 ? root : 0];
  },
);

/** All that holds of a member of a family; quadrature to a tolerance. */
function member<X, P>(
  name: string,
  family: Family<X, P>,
  over: { readonly parameters: P; readonly measure: Measure<X>; readonly tolerance?: number },
): Case {
  const run = (): void => {
    const { parameters, measure, tolerance = 1e-9 } = over, theta = family.natural(parameters);
    const { logDensity, draw } = densityOf(family, parameters);
    const dot = (x: X) => family.statistic(x).reduce((sum, t, i) => sum + t * theta[i]!, 0);
    near(logIntegral(measure, (x) => family.logH(x) + dot(x)), family.logVolume(theta), tolerance);
    // Each point of the measure is asked once, for all sums.
    const asked = [...measure.nodes()].map(([x, weight]) => {
      const p = Math.exp(logDensity(x));
      return { mass: weight * p, t: p === 0 ? [] : family.statistic(x) };
    }).filter(({ t }) => t.length > 0);
    const e = (f: (t: readonly number[]) => number) =>
      asked.reduce((sum, { mass, t }) => sum + mass * f(t), 0);
    near(e(() => 1), 1, tolerance);
    near(integral(measure, (x) => Math.exp(logDensity(x))), 1, tolerance);
    const means = family.meanStatistic(theta), draws = draw(key(7), 4000);
    const slope = slopes((at) => family.logVolume(at), theta, 1e-4);
    means.forEach((mean, i) => {
      const scale = 1 + Math.abs(mean);
      near(slope[i]!, mean, 1e-8 * scale);
      near(e((t) => t[i]!), mean, 10 * tolerance * scale);
      const z = zScore(draws.map((x) => family.statistic(x)[i]!), mean);
      assert.ok(Math.abs(z) < 4, `${name}: E[T${i}] is off by ${z} standard errors`);
      // ∇²A = Cov[T]: row i by differences of ∇A, exactly by the sum, and in the draws.
      const row = slopes((at) => family.meanStatistic(at)[i]!, theta, 1e-4);
      row.forEach((c, j) => {
        const product = (t: readonly number[]): number => (t[i]! - mean) * (t[j]! - means[j]!);
        near(e(product), c, (20 * tolerance + 1e-7) * (1 + Math.abs(c)));
        assert.ok(
          Math.abs(zScore(draws.map((x) => product(family.statistic(x))), c)) < 4.5,
          `${name}: Cov[T${i}, T${j}]`,
        );
      });
    });
    assert.deepEqual(draw(key(7), 3), draws.slice(0, 3));
  };
  return { name, run };
}

const { normal, poisson, exponential, bernoulli, beta, gamma, dirichlet, wishart } = families;
const whole = counting(Array.from({ length: 80 }, (_, n) => n));
const cases: readonly Case[] = [
  member("normal", normal, {
    parameters: { mean: 0.7, variance: 0.6 },
    measure: quadrature(-Infinity, Infinity),
  }),
  member("Poisson", poisson, { parameters: { rate: 3.3 }, measure: whole }),
  member("exponential", exponential, { parameters: { rate: 2.5 }, measure: half }),
  member("Bernoulli", bernoulli, { parameters: { probability: 0.3 }, measure: counting([0, 1]) }),
  member("beta", beta, { parameters: { a: 1.7, b: 2.4 }, measure: unit }),
  member("gamma", gamma, { parameters: { shape: 2.3, rate: 1.8 }, measure: half }),
  member("gamma of a shape below 1", gamma, {
    parameters: { shape: 0.6, rate: 0.5 },
    measure: quadrature(0, Infinity, 241),
  }),
  member("Dirichlet", dirichlet, {
    parameters: { concentration: [1.5, 2, 1.2] },
    measure: simplex,
    tolerance: 1e-8,
  }),
  member("Wishart", wishart, {
    parameters: { scale: [[1, 0.3], [0.3, 0.6]], freedom: 4.5 },
    measure: cone,
    tolerance: 1e-5,
  }),
];

describe("exponential families", () => {
  for (const { name, run } of cases) {
    it(`${name}: volume, E[T] = ∇A and Cov[T] = ∇²A by sums and by draws`, run);
  }

  it("known values: volumes of S2's Gaussian and exponential, and Wishart's mean n·V", () => {
    const theta = normal.natural({ mean: 0, variance: 4 });
    // h carries 1/√2π, so e^A is the standard deviation and the volume √(2πσ²).
    near(Math.exp(normal.logVolume(theta)) * Math.sqrt(2 * Math.PI), Math.sqrt(8 * Math.PI), 1e-14);
    near(Math.exp(exponential.logVolume(exponential.natural({ rate: 4 }))), 1 / 4, 1e-16);
    const { mean } = densityOf(wishart, { scale: [[1, 0.3], [0.3, 0.6]], freedom: 4.5 });
    mean!.flat().forEach((m, i) => near(m, 4.5 * [1, 0.3, 0.3, 0.6][i]!, 1e-13));
  });

  it("a gamma law of shape below 1 is not that of the shape above it", () => {
    const draws = densityOf(gamma, { shape: 0.6, rate: 1 }).draw(key(3), 4000);
    assert.ok(Math.abs(zScore(draws, 0.6)) < 4);
    assert.ok(Math.abs(zScore(draws, 1.6)) > 10);
  });

  it("a Poisson law of a rate whose e^−λ underflows is drawn too", () => {
    const draws = densityOf(poisson, { rate: 2000 }).draw(key(4), 2000);
    assert.ok(Math.abs(zScore(draws, 2000)) < 4);
    assert.ok(Math.abs(zScore(draws.map((n) => (n - 2000) ** 2), 2000)) < 4);
  });

  it("outside the support the density is 0", () => {
    assert.equal(densityOf(poisson, { rate: 1 }).logDensity(0.5), -Infinity);
    assert.equal(densityOf(gamma, { shape: 1, rate: 1 }).logDensity(-1), -Infinity);
    assert.equal(densityOf(beta, { a: 1, b: 1 }).logDensity(1), -Infinity);
    assert.equal(densityOf(dirichlet, { concentration: [1, 1] }).logDensity([0.6, 0.6]), -Infinity);
    const law = densityOf(wishart, { scale: [[1, 0], [0, 1]], freedom: 3 });
    assert.equal(law.logDensity([[1, 2], [2, 1]]), -Infinity);
  });

  it("parameters outside a family are refused", () => {
    const above = /must be finite and above/;
    assert.throws(() => normal.natural({ mean: 0, variance: 0 }), above);
    assert.throws(() => normal.natural({ mean: NaN, variance: 1 }), above);
    assert.throws(() => poisson.natural({ rate: 0 }), above);
    assert.throws(() => exponential.natural({ rate: -1 }), above);
    assert.throws(() => beta.natural({ a: 0, b: 1 }), above);
    assert.throws(() => gamma.natural({ shape: 1, rate: Infinity }), above);
    assert.throws(() => dirichlet.natural({ concentration: [1, 0] }), above);
    assert.throws(() => dirichlet.natural({ concentration: [1] }), /of at least 2 numbers/);
    assert.throws(() => bernoulli.natural({ probability: 1 }), /must be in \(0, 1\), got 1/);
    assert.throws(() => wishart.natural({ scale: [[1, 0], [0, 1]], freedom: 1 }), above);
    const indefinite = { scale: [[1, 2], [2, 1]], freedom: 3 };
    assert.throws(() => wishart.natural(indefinite), /symmetric and positive definite/);
  });
});

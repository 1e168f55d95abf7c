import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import {
  chained,
  chosen,
  type Density,
  mixtureOf,
  productOf,
  relativeEntropy,
} from "../../../src/energy/density/density.ts";
import {
  counting,
  crossed,
  integral,
  logIntegral,
  logSumExp,
  quadrature,
} from "../../../src/energy/measure.ts";
import { doubles } from "../../../src/tensor/random.ts";
import { densityOf, families } from "../../../src/energy/density/family.ts";
import { multivariateNormal, normalDivergence } from "../../../src/energy/density/normal.ts";
import { key } from "../../../src/tensor/key.ts";
import { average, near, nearly } from "../../measure.ts";
import { slopes, zScore } from "./numeric.ts";

const line = quadrature(-Infinity, Infinity);
const on = (mean: number, variance: number): Density<number> =>
  densityOf(families.normal, { mean, variance });
const p = (density: Pick<Density<number>, "logDensity">) => (x: number): number =>
  Math.exp(density.logDensity(x));

describe("measures", () => {
  it("quadrature() has the exact integral on the line, half-lines and intervals", () => {
    near(integral(line, (x) => Math.exp(-(x ** 2) / 2)), Math.sqrt(2 * Math.PI), 1e-13);
    near(integral(line, (x) => 1 / (1 + x ** 2)), Math.PI, 1e-12);
    near(integral(quadrature(0, Infinity), (x) => Math.exp(-3 * x)), 1 / 3, 1e-14);
    near(integral(quadrature(2, Infinity), (x) => x * Math.exp(-x)), 3 * Math.exp(-2), 1e-13);
    near(integral(quadrature(-1, 3), (x) => x ** 3 + 1), 24, 1e-12);
  });

  it("quadrature() bears a singularity at an end", () => {
    near(integral(quadrature(0, 1), (x) => x ** -0.5), 2, 1e-12);
    near(integral(quadrature(0, 1), Math.log), -1, 1e-13);
    near(
      integral(quadrature(0, Infinity), (x) => Math.exp(-x) / Math.sqrt(x)),
      Math.sqrt(Math.PI),
      1e-12,
    );
  });

  it("crossed() is a quadrature in the plane, and a counting measure of pairs", () => {
    const side = quadrature(0, 1, 41), plane = crossed(side, quadrature(0, Infinity, 81));
    near(integral(plane, ([x, y]) => x * Math.exp(-y)), 1 / 2, 1e-10);
    const pairs = crossed(counting(["a", "b"]), counting([1, 2, 3]));
    assert.equal(pairs.isCounting, true);
    assert.equal(pairs.size, 6);
    assert.deepEqual([...pairs.nodes()].at(4), [["b", 2], 1]);
    assert.equal(crossed(side, counting([1])).isCounting, undefined);
  });

  it("logSumExp() and logIntegral() neither overflow nor lose small terms", () => {
    nearly(logSumExp([1000, 1000 + Math.log(3)]), 1000 + Math.log(4), 1e-15);
    nearly(logSumExp([-2000, -1000 + Math.log(3)]), -1000 + Math.log(3), 1e-15);
    assert.equal(logSumExp([]), -Infinity);
    assert.equal(logSumExp([-Infinity, 0]), 0);
    assert.ok(Number.isNaN(logSumExp([0, NaN])));
    near(logIntegral(line, (x) => -(x ** 2) / 2 - 5000), Math.log(2 * Math.PI) / 2 - 5000, 1e-11);
  });

  it("measures refuse what is none", () => {
    const message = /^RangeError: Cannot make a quadrature: /;
    for (const [low, high] of [[1, 1], [-Infinity, 0], [0, NaN]] as const) {
      assert.throws(() => quadrature(low, high), message);
    }
    assert.throws(() => quadrature(0, 1, 2), /count must be a whole number of at least 3, got 2/);
  });
});

describe("draws", () => {
  it("doubles() are uniform and do not depend on the count", () => {
    const u = [...doubles(key(1), 20_000)];
    assert.ok(Math.abs(zScore(u, 1 / 2)) < 4);
    assert.ok(Math.abs(zScore(u.map((x) => x ** 2), 1 / 3)) < 4);
    assert.deepEqual([...doubles(key(1), 5)], u.slice(0, 5));
    assert.throws(() => doubles(key(1), -1), /count must be a whole number of at least 0, got -1/);
    assert.throws(() => doubles(1 as never, 1), /^TypeError/);
  });

  it("chosen() has the odds of the weights (chi-squared), and never draws weight 0", () => {
    const weights = [0, 1, 4, 0, 3, 0], picks = chosen(weights, key(2), 40_000);
    assert.ok(picks.every((k) => weights[k]! > 0));
    const chi = [1, 2, 4].reduce((sum, k) => {
      const wanted = 40_000 * weights[k]! / 8;
      return sum + (picks.filter((pick) => pick === k).length - wanted) ** 2 / wanted;
    }, 0);
    assert.ok(chi < 18.4, `${chi}`); // two degrees of freedom, one in 10⁴
  });
});

describe("mixtureOf()", () => {
  const parts = [on(-2, 0.3), on(1, 1.5)];

  it("mixtureOf() integrates to 1 for any weights", () => {
    for (const alpha of [0, 0.01, 0.3, 1]) {
      const mixed = mixtureOf([alpha, 1 - alpha], parts);
      near(integral(line, p(mixed)), 1, 1e-12);
      near(p(mixed)(0.4), alpha * p(parts[0]!)(0.4) + (1 - alpha) * p(parts[1]!)(0.4), 1e-15);
    }
    near(integral(line, p(mixtureOf([2, 6], parts))), 1, 1e-12);
  });

  it("mixtureOf() has the mean, covariance and gradient of its density", () => {
    const normals = [
      multivariateNormal({ mean: [1, -1], covariance: [[0.5, 0.2], [0.2, 0.4]] }),
      multivariateNormal({ mean: [-1, 0.5], covariance: 0.7 }),
    ];
    const { logDensity, mean, covariance, gradient } = mixtureOf([1, 3], normals);
    const plane = crossed(line, line);
    const e = (f: (x: readonly number[]) => number) =>
      integral(plane, (x) => Math.exp(logDensity(x)) * f(x));
    near(e(() => 1), 1, 1e-9);
    mean!.forEach((m, i) => near(e((x) => x[i]!), m, 1e-9));
    covariance!.forEach((row, i) =>
      row.forEach((c, j) => near(e((x) => (x[i]! - mean![i]!) * (x[j]! - mean![j]!)), c, 1e-8))
    );
    const wanted = slopes(logDensity, [0.3, -0.2]);
    gradient!([0.3, -0.2]).forEach((value, i) => near(value, wanted[i]!, 1e-9));
  });

  it("mixtureOf() draws its density (chi-squared over 20 bins)", () => {
    const mixed = mixtureOf([0.3, 0.7], parts), n = 20_000, draws = mixed.draw(key(3), n);
    const edges = Array.from({ length: 19 }, (_, i) => -3.5 + i * 0.4);
    const bins = [-40, ...edges, 40],
      z = bins.slice(1).map((high, i) => {
        const share = integral(quadrature(bins[i]!, high, 61), p(mixed));
        const count = draws.filter((x) => x >= bins[i]! && x < high).length;
        return (count - n * share) ** 2 / (n * share);
      });
    const chi = z.reduce((a, b) => a + b, 0);
    assert.ok(chi < 50.8, `${chi}`); // 19 degrees of freedom, one in 10⁴
    // The same draws against equal weights.
    const even = mixtureOf([0.5, 0.5], parts);
    assert.ok(Math.abs(zScore(draws, 0.1)) < 4);
    assert.ok(Math.abs(zScore(draws, even.mean!)) > 10);
    assert.deepEqual(mixed.draw(key(3), n), draws);
  });

  it("mixtureOf() refuses weights that are none", () => {
    assert.throws(
      () => mixtureOf([1], parts),
      /Cannot mix: weights must be one for each of 2 parts, got 1/,
    );
    for (const weights of [[1, -1], [0, 0], [NaN, 1], [Infinity, 1]]) {
      assert.throws(
        () => mixtureOf(weights, parts),
        /weights must be at least 0 with a finite positive sum/,
      );
    }
  });
});

describe("productOf() and chained()", () => {
  it("productOf() integrates to 1, and has the fields of its parts", () => {
    const pair = productOf(on(1, 2), densityOf(families.gamma, { shape: 2, rate: 3 }));
    const plane = crossed(line, quadrature(0, Infinity, 101));
    near(integral(plane, (x) => Math.exp(pair.logDensity(x))), 1, 1e-12);
    assert.equal(pair.covariance, undefined);
    const normals = [0.5, 2].map((v) =>
      multivariateNormal({ mean: [v, 0], covariance: [[v, 0.1], [0.1, 1]] })
    );
    const both = productOf(normals[0]!, normals[1]!);
    nearly(both.entropy!, normals[0]!.entropy + normals[1]!.entropy, 1e-15);
    assert.deepEqual(both.mean, [[0.5, 0], [2, 0]]);
    assert.deepEqual(both.covariance, [[0.5, 0.1, 0, 0], [0.1, 1, 0, 0], [0, 0, 2, 0.1], [
      0,
      0,
      0.1,
      1,
    ]]);
    const x: [number[], number[]] = [[1, 2], [-1, 0]];
    assert.deepEqual(both.gradient!(x), x.map((xk, k) => normals[k]!.gradient(xk)));
  });

  it("productOf() draws parts that are independent", () => {
    const draws = productOf(on(0, 1), on(0, 1)).draw(key(4), 20_000);
    assert.ok(Math.abs(zScore(draws.map(([x, y]) => x * y), 0)) < 4);
    // The slip of one key for both parts.
    assert.ok(Math.abs(zScore(draws.map(([x]) => x * x), 0)) > 10);
  });

  it("chained() integrates to 1 and is p(x)·p(y | x)", () => {
    const next = (x: number): Density<number> => on(x / 2 - 1, 0.5 + x ** 2 / 10);
    const pair = chained(on(0.5, 1.2), next);
    near(
      integral(
        crossed(line, line),
        (x) => Math.exp(pair.logDensity(x)),
      ),
      1,
      1e-8,
    );
    near(pair.logDensity([1, 2]), on(0.5, 1.2).logDensity(1) + on(-0.5, 0.6).logDensity(2), 1e-15);
    const draws = pair.draw(key(5), 20_000), xy = draws.map(([x, y]) => x * y);
    // E[x(x/2 − 1)] = (1.2 + 0.25)/2 − 0.5
    assert.ok(Math.abs(zScore(xy, 0.225)) < 4, `${average(xy)}`);
    // The slip of y drawn on its own.
    assert.ok(Math.abs(zScore(xy, 0.5 * -0.75)) > 10);
  });
});

describe("relativeEntropy()", () => {
  it("relativeEntropy() agrees with the closed form of normal laws", () => {
    const a = multivariateNormal({ mean: [1], covariance: 0.5 }),
      b = multivariateNormal({ mean: [0], covariance: 2 });
    const flat = (d: typeof a) => ({ logDensity: (x: number) => d.logDensity([x]) });
    near(relativeEntropy(flat(a), flat(b), line), normalDivergence(a, b), 1e-12);
  });

  it("relativeEntropy() is at least 0, not symmetric, and infinite where q is 0 and p is not", () => {
    const coin = (q: number) => ({ logDensity: (x: number) => Math.log(x === 1 ? q : 1 - q) });
    const both = counting([0, 1]);
    near(
      relativeEntropy(coin(0.2), coin(0.5), both),
      0.2 * Math.log(0.4) + 0.8 * Math.log(1.6),
      1e-15,
    );
    near(
      relativeEntropy(coin(0.5), coin(0.2), both),
      0.5 * Math.log(2.5) + 0.5 * Math.log(0.625),
      1e-15,
    );
    assert.equal(relativeEntropy(coin(0), coin(0.5), both), Math.LN2);
    assert.equal(relativeEntropy(coin(0.5), coin(0), both), Infinity);
  });
});

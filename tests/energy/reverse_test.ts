import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { mixtureOf, relativeEntropy } from "../../src/energy/density/density.ts";
import { exactGibbs } from "../../src/energy/density/gibbs.ts";
import { diffusionKernels } from "../../src/energy/density/process.ts";
import { lawGiven } from "../../src/energy/density/linear.ts";
import { multivariateNormal } from "../../src/energy/density/normal.ts";
import { quadrature } from "../../src/energy/measure.ts";
import { near } from "../measure.ts";

// A mixture with two modes, and what x_t says of x_{t−1} after one step x_t = √(1 − β)·x_{t−1} + √β·z: the exact reverse kernel
// by Bayes' rule on a quadrature.
const [left, right] = [-1, 1].map((m) => multivariateNormal({ mean: [m], covariance: 0.2 }));
const data = mixtureOf([0.3, 0.7], [left!, right!]);

function reverse(beta: number, after: number) {
  const reach = 9 * Math.sqrt(beta), line = quadrature(after - reach, after + reach, 301);
  const step = diffusionKernels.gaussian(beta);
  const energy = (x: number) => -data.logDensity([x]) - lawGiven(step, [x]).logDensity([after]);
  return { ...exactGibbs({ energy }, line), line };
}

/** Least KL(reverse ‖ N(m, v)) over m, in nats, for a variance v. */
function distance(beta: number, after: number, variance = beta): number {
  const exact = reverse(beta, after), mean = [exact.expectation((x) => x)];
  const law = multivariateNormal({ mean, covariance: variance });
  return relativeEntropy(exact, { logDensity: (x: number) => law.logDensity([x]) }, exact.line);
}

describe("the reverse of a small step", () => {
  const places = [-1.2, -0.3, 0.3, 1.1], small = 2 ** -14, h = 1e-3;
  const slope = (x: number) => (data.logDensity([x + h]) - data.logDensity([x - h])) / (2 * h);
  const bend = (x: number) => (slope(x + h) - slope(x - h)) / (2 * h);

  it("is N(·, β) as β falls: the divergence is (β·(1 + (ln q)″))²/4", () => {
    for (const place of places) {
      for (const beta of [small, 4 * small]) {
        const wanted = (beta * (1 + bend(place))) ** 2 / 4, got = distance(beta, place);
        assert.ok(Math.abs(got / wanted - 1) < 0.05, `${place}: ${got} for ${wanted}`);
      }
    }
  });

  it("is far from it for a step of 0.5, whatever the variance of the normal law", () => {
    const middle = -0.15; // where both modes are as likely
    const exact = reverse(0.5, middle), mean = exact.expectation((x) => x);
    const variance = exact.expectation((x) => (x - mean) ** 2);
    assert.ok(distance(0.5, middle) > 0.1);
    assert.ok(distance(0.5, middle, variance) > 0.05);
  });

  it("has Tweedie's mean and the curvature's variance to the first order", () => {
    for (const place of places) {
      const exact = reverse(small, place), mean = exact.expectation((x) => x);
      const variance = exact.expectation((x) => (x - mean) ** 2);
      near((mean - place) / small, place / 2 + slope(place), 0.01);
      near((variance / small - 1) / small, 1 + bend(place), 0.05);
    }
  });
});

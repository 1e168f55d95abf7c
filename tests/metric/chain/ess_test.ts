import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import * as metric from "../../../src/metric/chain/mod.ts";
import { fold, key } from "../../../src/tensor/key.ts";
import { normals } from "../../../src/tensor/random.ts";
import { chainsNamed } from "../../golden/chains.ts";
import { average, near, nearly } from "../../measure.ts";

/** Stationary autoregressive chains of variance 1. */
function regressive(phi: number, run: number, count: number, length: number): Float64Array[] {
  const innovation = Math.sqrt(1 - phi * phi);
  return Array.from({ length: count }, (_, c) => {
    const [first, ...rest] = normals(fold(fold(key(17), run), c), length);
    let x = first!;
    return Float64Array.of(x, ...rest.map((e) => x = phi * x + innovation * e));
  });
}

const runs = <T>(count: number, of: (run: number) => T): T[] =>
  Array.from({ length: count }, (_, run) => of(run));

describe("essMean()", () => {
  for (const phi of [0, 0.5, 0.9, -0.5]) {
    it(`is near M·S·(1 − φ)/(1 + φ) of autoregressive chains, φ = ${phi}`, () => {
      const wanted = (1 - phi) / (1 + phi), n = 4 * 2000;
      const shares = runs(12, (run) => metric.essMean(regressive(phi, run, 4, 2000)) / n);
      // Geyer's sum is of one sign more often than not, which makes it some percent too long.
      near(average(shares) / wanted, 1, 0.08);
    });
  }

  it("makes errors of the mean that are as large as they say, z² being 1 on the average", () => {
    const count = 300,
      z2 = runs(count, (run) => {
        const chains = regressive(0.5, run, 4, 500), { mean, mcseMean } = metric.summary(chains);
        return (mean / mcseMean) ** 2;
      });
    const z = (average(z2) - 1) * Math.sqrt(count / 2);
    assert.ok(Math.abs(z) < 4, `z = ${z}`);
    // The same errors, were the draws taken to be independent: τ = 3.
    const slip = (3 * average(z2) - 1) * Math.sqrt(count / 2);
    assert.ok(slip > 10, `z = ${slip}`);
  });

  it("is of the chains pooled: where they are apart, it is not the sum of each by itself", () => {
    const chains = chainsNamed("independent 4 1000").map((x, c) => x.map((value) => value + 3 * c));
    const sum = chains.map((x) => metric.essMean([x])).reduce((a, b) => a + b);
    assert.ok(sum > 3000);
    assert.ok(metric.essMean(chains) < 6);
    assert.ok(metric.rHat(chains) > 2);
  });

  it("is at most M·S·log₁₀(M·S), which chains that alternate reach", () => {
    const alternating = [0, 1].map((c) => Float64Array.from({ length: 50 }, (_, t) => (t + c) % 2));
    assert.equal(metric.essMean(alternating), 100 * Math.log10(100));
  });

  it("is the same of all chains in another order, moved and scaled", () => {
    const chains = chainsNamed("slow 4 1000"), wanted = metric.essMean(chains);
    nearly(metric.essMean(chains.toReversed()), wanted, 1e-9);
    nearly(metric.essMean(chains.map((x) => x.map((value) => 5 - 3 * value))), wanted, 1e-9);
  });
});

describe("essBulk() and rHat()", () => {
  it("see ranks alone: a growing function of the draws changes neither ESS nor the part of R-hat that is of the bulk", () => {
    const chains = chainsNamed("elsewhere 4 1000"), grown = chains.map((x) => x.map(Math.exp));
    assert.equal(metric.essBulk(grown), metric.essBulk(chains));
    assert.equal(metric.essTail(grown), metric.essTail(chains));
    assert.ok(metric.rHat(grown) > 1.1);
  });

  it("are there for a law without a mean", () => {
    const { rHat, essBulk } = metric.summary(chainsNamed("heavy 4 1000"));
    assert.ok(rHat < 1.01 && Math.abs(essBulk / 4000 - 1) < 0.1);
  });

  it("R-hat sees chains that differ in their place, in their scale, and a single one that drifts", () => {
    assert.ok(metric.rHat(chainsNamed("independent 4 1000")) < 1.01);
    assert.ok(metric.rHat(chainsNamed("elsewhere 4 1000")) > 1.1);
    assert.ok(metric.rHat(chainsNamed("wider 4 1000")) > 1.1);
    assert.ok(
      metric.rHat(chainsNamed("independent 1 1000").map((x) => x.map((v, t) => v + t / 500))) > 1.1,
    );
  });

  it("R-hat is the square root of (B/W + N − 1)/N, worked by hand on four draws", () => {
    // Halves (0, 0) and (1, 2) of ranks 1.5, 1.5, 3 and 4, whose z are Φ⁻¹ of 1.125, 2.625 and 3.625 over 4.25.
    const low = -0.6289042176321898, third = 0.2993069104656671, top = 1.0491313979639707;
    // The folded draws 1/2, 1/2, 1/2, 3/2 differ less.
    const between = (low - (third + top) / 2) ** 2, within = (top - third) ** 2 / 4;
    nearly(metric.rHat([[0, 0, 1, 2]]), Math.sqrt((between / within + 1) / 2), 1e-12);
  });

  it("R-hat is that of the folded draws where it is greater, worked by hand on four draws", () => {
    // Halves (−1, 1) and (−3, 4) about 0: folded they are (1, 1) and (3, 4), of the ranks above.
    const first = -0.6289042176321898, third = 0.2993069104656671, top = 1.0491313979639707;
    const between = (first - (third + top) / 2) ** 2, within = (top - third) ** 2 / 4;
    nearly(metric.rHat([[-1, 1, -3, 4]]), Math.sqrt((between / within + 1) / 2), 1e-12);
  });
});

describe("standard errors", () => {
  it("of the standard deviation and of the quartile are as large as they say", () => {
    const count = 200,
      truth = -0.6744897501960817,
      found = runs(count, (run) => {
        const chains = regressive(0.5, 1000 + run, 4, 500), { sd, mcseSd } = metric.summary(chains);
        const all = chains.flatMap((x) => [...x]).sort((a, b) => a - b);
        const quartile = (all[499]! + all[500]!) / 2;
        return {
          sd: ((sd - 1) / mcseSd) ** 2,
          quartile: ((quartile - truth) / metric.mcseQuantile(chains, 0.25)) ** 2,
        };
      });
    for (const what of ["sd", "quartile"] as const) {
      const z = (average(found.map((each) => each[what])) - 1) * Math.sqrt(count / 2);
      assert.ok(Math.abs(z) < 4, `${what}: z = ${z}`);
      // Were the error half of what it is, z² would be 4.
      assert.ok((4 * average(found.map((each) => each[what])) - 1) * Math.sqrt(count / 2) > 10);
    }
  });
});

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import * as metric from "../../../src/metric/chain/mod.ts";
import { type Draws, quantileOf } from "../../../src/metric/chain/draws.ts";
import { view } from "../../../src/tensor/ndarray.ts";
import { chainsNamed } from "../../golden/chains.ts";
import { nearly } from "../../measure.ts";

/** Every diagnostic that gives one number. */
const diagnostics: Readonly<Record<string, (draws: Draws) => number>> = {
  rHat: metric.rHat,
  essBulk: metric.essBulk,
  essTail: metric.essTail,
  essMean: metric.essMean,
  essSd: metric.essSd,
  essQuantile: (draws) => metric.essQuantile(draws, 0.3),
  mcseMean: metric.mcseMean,
  mcseSd: metric.mcseSd,
  mcseQuantile: (draws) => metric.mcseQuantile(draws, 0.3),
  autocorrelationTime: metric.autocorrelationTime,
};

const chains = chainsNamed("half 4 100");

/** The draws with one changed. */
const spoilt = (value: number): Float64Array[] =>
  chains.map((chain, c) => c === 2 ? chain.with(50, value) : chain);

describe("diagnostics of draws that cannot tell", () => {
  for (const [name, diagnostic] of Object.entries(diagnostics)) {
    it(`${name}() is NaN where one draw is NaN or infinite`, () => {
      for (const value of [NaN, Infinity, -Infinity]) assert.equal(diagnostic(spoilt(value)), NaN);
    });

    it(`${name}() is NaN where all draws are one number, or those of one chain`, () => {
      assert.equal(diagnostic(chains.map((chain) => chain.map(() => 0.1))), NaN);
      const stuck = chains.map((chain, c) => c === 1 ? chain.map(() => chain[9]!) : chain);
      assert.equal(diagnostic(stuck), NaN);
      assert.equal(diagnostic(chains.map((chain) => chain.map(() => 0))), NaN);
    });

    it(`${name}() is NaN where draws differ by rounding alone, and not where they are small`, () => {
      assert.equal(diagnostic(chains.map((chain) => chain.map((x) => 1 + x * 2e-16))), NaN);
      assert.ok(diagnostic(chains.map((chain) => chain.map((x) => x * 1e-30))) > 0);
    });

    it(`${name}() is NaN of fewer than 4 draws a chain`, () => {
      for (const length of [0, 1, 2, 3]) {
        assert.equal(diagnostic(chains.map((chain) => chain.subarray(0, length))), NaN);
      }
    });
  }

  it("effective sizes and errors are there from 12 draws on, and R-hat from 4", () => {
    for (const [name, diagnostic] of Object.entries(diagnostics)) {
      const few = name === "rHat" ? 3 : 11;
      const of = (length: number) => diagnostic(chains.map((chain) => chain.subarray(0, length)));
      assert.equal(of(few), NaN, name);
      assert.ok(of(few + 1) > 0, name);
    }
  });

  it("a summary tells the moments and the quantiles of a constant, and nothing of what is not finite", () => {
    const constant = metric.summary([[2, 2, 2, 2], [2, 2, 2, 2]]);
    assert.deepEqual(constant, {
      count: 8,
      mean: 2,
      sd: 0,
      q5: 2,
      median: 2,
      q95: 2,
      mcseMean: NaN,
      mcseSd: NaN,
      essBulk: NaN,
      essTail: NaN,
      rHat: NaN,
    });
    const { mean, sd, essBulk, essTail, mcseMean, mcseSd, rHat } = metric.summary([
      chains[0]!,
      chains[0]!.map(() => 0.5),
    ]);
    assert.ok(mean < 1 && sd > 0);
    assert.deepEqual([essBulk, essTail, mcseMean, mcseSd, rHat], Array(5).fill(NaN));
    for (const draws of [spoilt(NaN), spoilt(Infinity), [[]]]) {
      const { count, ...rest } = metric.summary(draws);
      assert.equal(count, draws.length * draws[0]!.length);
      assert.ok(Object.values(rest).every(Number.isNaN));
    }
  });
});

describe("quantileOf()", () => {
  it("quantileOf() lies between two draws, and on the draws where these are equal, without rounding", () => {
    const all = Float64Array.of(1, 2, 4, 8, 16);
    assert.deepEqual([0, 0.125, 0.5, 0.6875, 1].map((p) => quantileOf(all, p)), [1, 1.5, 4, 7, 16]);
    for (let i = 1; i < 100; i++) {
      assert.equal(quantileOf(new Float64Array(7).fill(i / 10), i / 101), i / 10);
    }
  });
});

describe("forms of draws", () => {
  it("lists of numbers, typed arrays and views are the same draws", () => {
    const wanted = metric.summary(chains);
    assert.deepEqual(metric.summary(chains.map((chain) => [...chain])), wanted);
    const flat = view(Float64Array.from(chains.flatMap((chain) => [...chain])), [4, 100]);
    assert.deepEqual(metric.summary(flat), wanted);
    const across = Float64Array.from({ length: 400 }, (_, i) => chains[i % 4]![Math.floor(i / 4)]!);
    assert.deepEqual(metric.summary(view(across, [100, 4]).transpose(1, 0)), wanted);
    assert.deepEqual(metric.summary(flat.lo(1, 10)).count, 270);
    assert.equal(
      metric.summary(flat.lo(1, 10)).mean,
      metric.summary(chains.slice(1).map((c) => c.subarray(10))).mean,
    );
  });

  it("the draws stay as they are", () => {
    const copy = structuredClone(chains);
    metric.summary(chains);
    metric.mcseQuantile(chains, 0.5);
    assert.deepEqual(chains, copy);
  });

  it("refuses what is no list of chains", () => {
    const kinds =
      "draws must be a list of chains, each a list of numbers, or a view of shape [M, S]";
    const given: readonly (readonly [unknown, string])[] = [
      [5, "5"],
      [null, "null"],
      [[1, 2, 3], "1"],
      [new Float64Array(3), '{"0":0,"1":0,"2":0}'],
      [[[1, "2"]], '"2" in a chain'],
      [["ab"], '"ab"'],
    ];
    for (const [draws, got] of given) {
      assert.throws(() => metric.rHat(draws as Draws), {
        name: "TypeError",
        message: `Cannot find R-hat: ${kinds}, got ${got}`,
      });
    }
  });

  it("refuses no chains, chains of different lengths and views of other ranks", () => {
    const refused = (draws: Draws, message: string) =>
      assert.throws(() => metric.essBulk(draws), {
        name: "RangeError",
        message: `Cannot find an effective sample size: ${message}`,
      });
    refused([], "draws must be of at least one chain, got 0");
    refused([[1, 2], [1]], "draws must be as many in each chain, got [2,1]");
    refused(view(new Float64Array(4), [4]), "draws must be of shape [M, S], got [4]");
  });

  it("refuses what is no probability", () => {
    for (const p of [-0.1, 1.1, NaN]) {
      const message = `p must be a probability in [0, 1], got ${p}`;
      assert.throws(() => metric.essQuantile(chains, p), {
        name: "RangeError",
        message: `Cannot find an effective sample size: ${message}`,
      });
      assert.throws(() => metric.mcseQuantile(chains, p), {
        name: "RangeError",
        message: `Cannot find a standard error: ${message}`,
      });
    }
  });

  it("summaries are by name, and refuse what has none", () => {
    const found = metric.summaries({
      x: chains,
      minus: chains.map((chain) => chain.map((x) => -x)),
    });
    assert.deepEqual(Object.keys(found), ["x", "minus"]);
    assert.deepEqual(found.x, metric.summary(chains));
    nearly(found.minus.q5, -found.x.q95, 1e-14);
    assert.throws(() => metric.summaries([chains] as never), {
      name: "TypeError",
      message: /^Cannot summarise draws: draws must be an object of draws by name, got \[\[/,
    });
  });
});

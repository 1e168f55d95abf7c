import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import * as metric from "../../../src/metric/chain/mod.ts";
import { chainCases, chainsNamed } from "../../golden/chains.ts";
import golden from "../../golden/chains.json" with { type: "json" };

/** JSON's null stands for NaN. */
type Number = number | null;

interface Golden {
  readonly [name: string]: Number | readonly Number[] | Readonly<Record<string, Number>>;
}

const all: Readonly<Record<string, Golden>> = golden;

function agrees(actual: number, wanted: Number, told: string): void {
  const isSame = wanted === null
    ? Number.isNaN(actual)
    : Math.abs(actual - wanted) <= 1e-9 * Math.abs(wanted);
  assert.ok(isSame, `${told}: wanted ${wanted}, got ${actual}`);
}

const single = [
  "rHat",
  "essBulk",
  "essTail",
  "essMean",
  "essSd",
  "mcseMean",
  "mcseSd",
] as const;

describe("diagnostics", () => {
  it("there are golden numbers of each case", () => {
    assert.deepEqual(Object.keys(all), chainCases);
  });

  for (const name of chainCases) {
    it(`"${name}" has the numbers of posterior's definitions in NumPy and SciPy`, () => {
      const draws = chainsNamed(name), wanted = all[name]!;
      for (const what of single) {
        agrees(metric[what](draws), wanted[what] as Number, `${name}: ${what}`);
      }
      for (const what of ["essQuantile", "mcseQuantile"] as const) {
        for (const [p, value] of Object.entries(wanted[what] as Record<string, Number>)) {
          agrees(metric[what](draws, Number(p)), value, `${name}: ${what} ${p}`);
        }
      }
      agrees(
        metric.autocorrelationTime(draws),
        wanted["essMean"] === null
          ? null
          : draws.length * 2 * Math.floor(draws[0]!.length / 2) / (wanted["essMean"] as number),
        `${name}: time`,
      );
      const summary = metric.summary(draws);
      for (const what of [...single.slice(0, 3), "mcseMean", "mcseSd"] as const) {
        agrees(summary[what as "rHat"], wanted[what] as Number, `${name}: summary, ${what}`);
      }
      for (const what of ["sd", "q5", "median", "q95"] as const) {
        agrees(summary[what], wanted[what] as Number, `${name}: summary, ${what}`);
      }
      assert.ok(Math.abs(summary.mean - (wanted["mean"] as number)) < 1e-12 * summary.sd);
      assert.equal(summary.count, draws.length * draws[0]!.length);
      const information = wanted["bfmi"] as readonly Number[];
      metric.bfmi(draws).forEach((value, m) =>
        agrees(value, information[m]!, `${name}: bfmi ${m}`)
      );
    });
  }

  it("autocovariances are those of NumPy, on both sides of the lag from which they are transformed", () => {
    for (const name of chainCases) {
      const [chain] = chainsNamed(name), wanted = all[name]!["autocovariance"] as number[];
      const lags = wanted.length === 3 ? [0, 1, 2] : [0, 1, 2, 63, 64, 200, 299];
      const found = metric.autocovariance(chain!);
      lags.forEach((lag, i) => {
        const off = Math.abs(found[lag]! - wanted[i]!);
        assert.ok(off < 1e-12 * wanted[0]!, `${name}: lag ${lag} is off by ${off}`);
      });
    }
  });
});

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { levelProbabilities, upProbability } from "../../../../src/energy/grid/mod.ts";
import { near } from "../../../measure.ts";

describe("rules of a site", () => {
  it("levelProbabilities() of Metropolis tries each other level alike, and stays where it is refused", () => {
    const energies = [0, 1, 3, 0.5],
      beta = 0.7,
      p = levelProbabilities("metropolis", energies, 1, beta);
    const each = 7 / 24, up = (change: number) => each * Math.exp(-beta * change);
    [each, 1 - 2 * each - up(2), up(2), each].forEach((wanted, a) => near(p[a]!, wanted, 1e-15));
    const hot = levelProbabilities("metropolis", energies, 0, 0);
    [1 / 8, each, each, each].forEach((wanted, a) => near(hot[a]!, wanted, 1e-15));
  });

  it("levelProbabilities() of the heat bath is the law itself, also where its weights are beyond all numbers", () => {
    const [a, b, c] = levelProbabilities("gibbs", [2000, 2000 + Math.LN2, 3000], 0, 1);
    near(a!, 2 / 3, 1e-13);
    near(b!, 1 / 3, 1e-13);
    assert.equal(c, 0);
  });

  for (const rule of ["gibbs", "metropolis"] as const) {
    it(`upProbability() by ${rule} is that of two levels`, () => {
      for (const m of [-1.3, 0, 0.4, 900]) {
        for (const s of [-1, 1]) {
          const [, up] = levelProbabilities(rule, [m, -m], (s + 1) / 2, 0.6);
          near(upProbability(rule, s, m, 0.6), up!, 1e-15);
        }
      }
    });
  }
});

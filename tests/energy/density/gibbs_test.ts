import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { counting, crossed, quadrature } from "../../../src/energy/measure.ts";
import {
  configurations,
  enumerationCost,
  exactGibbs,
  gibbsScore,
  logRatio,
} from "../../../src/energy/density/gibbs.ts";
import { key } from "../../../src/tensor/key.ts";
import { near } from "../../measure.ts";
import { slopes, zScore } from "./numeric.ts";

const line = quadrature(-Infinity, Infinity);
const spins = {
  energy: (s: readonly number[]) => -0.6 * (s[0]! * s[1]! + s[1]! * s[2]!) - 0.3 * s[0]!,
};
const entropyOf = (p: readonly number[]): number => -p.reduce((sum, q) => sum + q * Math.log(q), 0);

describe("exactGibbs()", () => {
  it("u = x²/2 has Z = 2.5066283, which is not the mean of e^−u, 0.7071068", () => {
    const law = exactGibbs({ energy: (x: number) => x ** 2 / 2 }, line);
    near(Math.exp(law.logZ), 2.5066283, 5e-8);
    near(Math.exp(law.logZ), Math.sqrt(2 * Math.PI), 1e-12);
    near(law.expectation((x) => Math.exp(-(x ** 2) / 2)), 0.7071068, 5e-8);
    near(law.meanEnergy, 1 / 2, 1e-12);
    near(law.entropy, Math.log(2 * Math.PI * Math.E) / 2, 1e-12);
  });

  it("a temperature scales the energy, on the line and in the plane", () => {
    const hot = exactGibbs({ energy: (x: number) => x ** 2 / 2, temperature: 3 }, line);
    near(hot.expectation((x) => x ** 2), 3, 1e-11);
    near(hot.freeEnergy, hot.meanEnergy - 3 * hot.entropy, 1e-11);
    const rule = quadrature(-Infinity, Infinity, 161);
    const plane = exactGibbs({
      energy: ([x, y]: readonly [number, number]) => x ** 2 + y ** 2 - x * y,
      temperature: 2,
    }, crossed(rule, rule));
    near(plane.logZ, Math.log(4 * Math.PI / Math.sqrt(3)), 1e-10);
    near(plane.expectation(([x, y]) => x * y), 2 / 3, 1e-9);
  });

  it("a chain of three spins has the partition function, marginals and correlations of its transfer matrix", () => {
    const law = exactGibbs(spins, configurations([-1, 1], 3));
    near(law.logZ, Math.log(8 * Math.cosh(0.6) ** 2 * Math.cosh(0.3)), 1e-14);
    near(law.expectation((s) => s[0]! * s[2]!), Math.tanh(0.6) ** 2, 1e-14);
    const up = law.marginal((s) => s[0]!);
    near(up.get(1)!, (1 + Math.tanh(0.3)) / 2, 1e-14);
    near(up.get(1)! + up.get(-1)!, 1, 1e-14);
    near(law.marginal((s) => s[1]!).get(1)!, (1 + Math.tanh(0.3) * Math.tanh(0.6)) / 2, 1e-14);
    const draws = law.draw(key(1), 20_000);
    assert.ok(Math.abs(zScore(draws.map((s) => s[0]! * s[1]!), Math.tanh(0.6))) < 4);
    assert.ok(Math.abs(zScore(draws.map((s) => s[0]! * s[1]!), -Math.tanh(0.6))) > 10);
  });

  it("separable energies have Z = Π(1 + e^θ) for up to 12 sites (S22)", () => {
    for (const n of [1, 5, 12]) {
      const theta = Array.from({ length: n }, (_, i) => Math.sin(i + 1));
      const energy = (x: readonly number[]) => -x.reduce((sum, xi, i) => sum + theta[i]! * xi, 0);
      const wanted = theta.reduce((sum, t) => sum + Math.log1p(Math.exp(t)), 0);
      near(exactGibbs({ energy }, configurations([0, 1], n)).logZ, wanted, 1e-12);
    }
  });

  it("a constant in the energy changes nothing but Z", () => {
    const all = configurations([-1, 1], 3), law = exactGibbs(spins, all);
    const moved = exactGibbs({ energy: (s: readonly number[]) => spins.energy(s) + 1000 }, all);
    for (const [s] of all.nodes()) near(moved.logDensity(s), law.logDensity(s), 1e-12);
    near(moved.logZ, law.logZ - 1000, 1e-12);
  });

  it("of all laws with the same mean energy it has the greatest entropy", () => {
    const u = [0, 0.5, 1.3, 2, 3.1];
    const law = exactGibbs(
      { energy: (k: number) => u[k]!, temperature: 0.8 },
      counting([0, 1, 2, 3, 4]),
    );
    const p = u.map((_, k) => Math.exp(law.logDensity(k)));
    near(entropyOf(p), law.entropy, 1e-14);
    near(law.entropy, law.meanEnergy / 0.8 + law.logZ, 1e-14);
    // Directions that keep Σp and ⟨u⟩: (u₁ − u₂, u₂ − u₀, u₀ − u₁) on any three states.
    for (const [a, b, c] of [[0, 1, 2], [1, 2, 4], [0, 3, 4]] as const) {
      for (const size of [0.003, -0.003]) {
        const q = [...p];
        q[a]! += size * (u[b]! - u[c]!);
        q[b]! += size * (u[c]! - u[a]!);
        q[c]! += size * (u[a]! - u[b]!);
        near(q.reduce((sum, qk, k) => sum + qk * u[k]!, 0), law.meanEnergy, 1e-14);
        assert.ok(q.every((qk) => qk > 0) && entropyOf(q) < law.entropy - 1e-7);
      }
    }
  });

  it("states of infinite energy have probability 0", () => {
    const law = exactGibbs({ energy: (k: number) => k === 1 ? Infinity : 0 }, counting([0, 1, 2]));
    near(law.logZ, Math.LN2, 1e-15);
    assert.equal(law.logDensity(1), -Infinity);
    near(law.entropy, Math.LN2, 1e-15);
    near(law.meanEnergy, 0, 0);
  });

  it("what is no law is refused", () => {
    const energy = (x: number) => x ** 2;
    assert.throws(
      () => exactGibbs({ energy, temperature: 0 }, line),
      /temperature must be finite and above 0, got 0/,
    );
    assert.throws(
      () => exactGibbs({ energy: 1 } as never, line),
      /^TypeError: .*energy must be a function/,
    );
    assert.throws(
      () => exactGibbs({ energy, beta: 1 } as never, line),
      /^TypeError: .*options must be among/,
    );
    assert.throws(
      () => exactGibbs({ energy: () => NaN }, line),
      /volume must be finite and above 0/,
    );
  });
});

describe("logRatio() and gibbsScore()", () => {
  it("the ratio is that of the normalised law, without Z", () => {
    const law = { energy: (k: number) => k ** 2, temperature: 1.7 },
      exact = exactGibbs(law, counting([0, 1, 2]));
    near(logRatio(law, 1, 2), exact.logDensity(1) - exact.logDensity(2), 1e-15);
    assert.ok(logRatio(law, 0, 1) > 0);
  });

  it("the score is the gradient of the log-density", () => {
    const law = {
      energy: ([x, y]: readonly number[]) => x! ** 4 + x! * y! + y! ** 2,
      gradient: ([x, y]: readonly number[]) => [4 * x! ** 3 + y!, x! + 2 * y!],
      temperature: 0.5,
    };
    const wanted = slopes((x) => -law.energy(x) / 0.5, [0.4, -1]);
    gibbsScore<readonly number[]>(law)([0.4, -1]).forEach((s, i) => near(s, wanted[i]!, 1e-9));
    assert.throws(
      () => gibbsScore({ energy: law.energy }),
      /^TypeError: Cannot take a score: gradient/,
    );
  });
});

describe("configurations()", () => {
  it("configurations() are all of them, the last site fastest", () => {
    const all = configurations([0, 1, 2], 2);
    assert.equal(all.size, 9);
    assert.deepEqual([...all.nodes()].map(([x]) => x.join("")), [
      "00",
      "01",
      "02",
      "10",
      "11",
      "12",
      "20",
      "21",
      "22",
    ]);
    assert.deepEqual([...all.nodes()].length, 9);
  });

  it("too many states are refused with their number", () => {
    assert.equal(enumerationCost(2, 16).states, 65_536);
    near(enumerationCost(2, 2000).logStates, 2000 * Math.LN2, 1e-10);
    assert.throws(
      () => configurations([-1, 1], 21),
      /states must be at most limit = 1048576, got 2\^21 = 2097152/,
    );
    assert.throws(() => configurations([0, 1], 5, { limit: 31 }), /limit = 31, got 2\^5 = 32/);
    assert.equal(configurations([0, 1], 5, { limit: 32 }).size, 32);
    assert.throws(() => configurations([], 2), /values must be at least one/);
    assert.throws(
      () => configurations([1], 0),
      /sites must be a whole number of at least 1, got 0/,
    );
  });
});

/**
 * The Fokker–Planck equation on cells: mass, sign and rest exactly, Gaussian laws in closed form at the orders of the scheme, relative
 * entropy that falls, a ring in its Fourier series; and paths in a potential against the law.
 */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import * as tf from "@tensorflow/tfjs-core";
import { fokkerPlanck, type PlanckOptions } from "../../src/solve/sde/planck.ts";
import { overdamped } from "../../src/solve/sde/potential.ts";
import { simulate } from "../../src/solve/sde/simulate.ts";
import { useBackend } from "../../src/tensor/backend/backend.ts";
import { key } from "../../src/tensor/key.ts";

await useBackend("cpu");

const sum = (p: ArrayLike<number>): number => Array.from(p).reduce((a, b) => a + b, 0);

const entropy = (p: Float64Array, q: Float64Array): number =>
  sum(p.map((mass, i) => mass > 0 ? mass * Math.log(mass / q[i]!) : 0));

/** Masses of N(mean, variance) in cells, by the density at the middles. */
const gaussian = (x: Float64Array, mean: number, variance: number): Float64Array => {
  const p = x.map((x) => Math.exp(-((x - mean) ** 2) / (2 * variance)));
  const total = sum(p);
  return p.map((mass) => mass / total);
};

const momentsOf = (x: Float64Array, p: Float64Array): readonly [mean: number, variance: number] => {
  const mean = sum(p.map((mass, i) => mass * x[i]!));
  return [mean, sum(p.map((mass, i) => mass * (x[i]! - mean) ** 2))];
};

const wells: PlanckOptions = {
  potential: (x) => (x ** 2 - 1) ** 2 + 0.2 * x,
  diffusion: 0.4,
  span: [-2.2, 2],
  cells: 37,
};

describe("fokkerPlanck()", () => {
  for (const boundary of ["wall", "ring"] as const) {
    it(`keeps mass and sign, and p ∝ e^(−U/D) to the last digits, with a ${boundary}`, () => {
      const { x, rest, after } = fokkerPlanck({ ...wells, boundary });
      const weights = x.map((x) => Math.exp(-wells.potential!(x) / 0.4)), total = sum(weights);
      rest!.forEach((mass, i) => assert.ok(Math.abs(mass - weights[i]! / total) < 1e-15));
      const still = after(rest!, 50, 20);
      still.forEach((mass, i) => assert.ok(Math.abs(mass - rest![i]!) < 1e-13 * rest![i]! + 1e-16));
      let p: Float64Array = x.map((_, i) => i === 5 ? 1 : 0), before = entropy(p, rest!);
      for (let i = 0; i < 60; i++) {
        p = after(p, 0.05 * 1.1 ** i, 1);
        assert.ok(Math.abs(sum(p) - 1) < 1e-12);
        assert.ok(p.every((mass) => mass >= 0));
        const now = entropy(p, rest!);
        assert.ok(now <= before + 1e-12, `${now} > ${before}`);
        before = now;
      }
      assert.ok(before < 1e-10, `${before}`);
    });
  }

  it("is the master equation of jumps: the exact matrix on four cells", () => {
    const ring = {
      drift: (x: number) => 1 + x,
      diffusion: 0.5,
      span: [0, 2],
      cells: 4,
      boundary: "ring",
    } as const;
    for (const options of [ring, { ...ring, boundary: "wall" } as const]) {
      const { after } = fokkerPlanck(options), dt = 0.3, h = 0.5;
      const q = Array.from({ length: 4 }, () => [0, 0, 0, 0]);
      for (let i = 0; i < (options.boundary === "ring" ? 4 : 3); i++) {
        const w = (1 + (i + 1) * h) * h / 0.5,
          j = (i + 1) % 4,
          b = (w: number) => w / (Math.exp(w) - 1);
        q[j]![i]! += 2 * b(-w);
        q[i]![i]! -= 2 * b(-w);
        q[i]![j]! += 2 * b(w);
        q[j]![j]! -= 2 * b(w);
      }
      // (1 − dt·Q)·after = before.
      const masses = [0.1, 0.4, 0.3, 0.2], p = after(masses, dt, 1);
      q.forEach((row, i) => {
        const back = p[i]! - dt * sum(row.map((rate, j) => rate * p[j]!));
        assert.ok(Math.abs(back - masses[i]!) < 1e-14, `${i}: ${back}`);
      });
    }
  });

  it("follows an Ornstein–Uhlenbeck process: second order in space, first in time", () => {
    // dx = −x dt + dB from N(1.5, 0.2): mean 1.5·e^(−t), variance 1/2 + (0.2 − 1/2)·e^(−2t).
    const time = 0.7, mean = 1.5 * Math.exp(-time), variance = 0.5 - 0.3 * Math.exp(-2 * time);
    const error = (cells: number, steps: number): number => {
      const { x, after } = fokkerPlanck({
        potential: (x) => x ** 2 / 2,
        diffusion: 0.5,
        span: [-5, 6],
        cells,
      });
      const [m, v] = momentsOf(x, after(gaussian(x, 1.5, 0.2), time, steps));
      return Math.abs(m - mean) + Math.abs(v - variance);
    };
    const inTime = error(400, 100) / error(400, 200);
    assert.ok(Math.abs(inTime - 2) < 0.1, `${inTime}`);
    // Time's own error goes out of the difference between two grids.
    const at = (cells: number) => {
      const { x, after } = fokkerPlanck({
        potential: (x) => x ** 2 / 2,
        diffusion: 0.5,
        span: [-5, 6],
        cells,
      });
      return momentsOf(x, after(gaussian(x, 1.5, 0.2), time, 50))[1];
    };
    const inSpace = (at(50) - at(100)) / (at(100) - at(200));
    assert.ok(Math.abs(inSpace - 4) < 0.3, `${inSpace}`);
  });

  it("has the relative entropy of the forward process fall as e^(−t) or faster", () => {
    // dx = −x/2 dt + dB from N(m, v): KL_t/(e^(−t)·KL_0).
    const golden = [
      [2, 0.3, [[0.5, 0.935], [1, 0.9124], [3, 0.8909]]],
      [0, 4, [[0.5, 0.8], [1, 0.6064], [3, 0.1264]]],
      [1, 1, [[0.5, 1], [1, 1], [3, 1]]],
    ] as const;
    const { x, rest, after } = fokkerPlanck({
      potential: (x) => x ** 2 / 4,
      diffusion: 0.5,
      span: [-11, 11],
      cells: 600,
    });
    for (const [m, v, ratios] of golden) {
      const first = gaussian(x, m, v), start = entropy(first, rest!);
      for (const [t, wanted] of ratios) {
        const ratio = entropy(after(first, t, 2000), rest!) / (Math.exp(-t) * start);
        assert.ok(Math.abs(ratio - wanted) < 2e-3, `${m}, ${v}, ${t}: ${ratio}`);
      }
    }
  });

  it("spreads dye on a ring as its Fourier series says, and its entropy rises to that of no structure", () => {
    const cells = 64,
      { x, after } = fokkerPlanck({
        drift: () => 0,
        diffusion: 0.03,
        span: [0, 1],
        cells,
        boundary: "ring",
      });
    const wave = x.map((x) => (1 + 0.8 * Math.cos(2 * Math.PI * x)) / cells),
      time = 0.5,
      steps = 40;
    // On cells a wave decays by 1/(1 + dt·λ) a step, λ = D·(2·sin(πh)/h)².
    const rate = 0.03 * (2 * Math.sin(Math.PI / cells) * cells) ** 2;
    const left = (1 + rate * time / steps) ** -steps;
    after(wave, time, steps).forEach((mass, i) =>
      assert.ok(Math.abs(mass - (1 + 0.8 * left * Math.cos(2 * Math.PI * x[i]!)) / cells) < 1e-14)
    );
    const even = x.map(() => 1 / cells);
    let p: Float64Array = x.map((_, i) => i === 3 ? 1 : 0), before = Infinity;
    for (let i = 0; i < 40; i++) {
      p = after(p, 1, 10);
      const lack = entropy(p, even);
      assert.ok(lack <= before + 1e-12);
      before = lack;
    }
    assert.ok(before < 1e-12);
  });

  it("carries mass round a ring with the drift", () => {
    const { x, after } = fokkerPlanck({
      drift: () => 0.5,
      diffusion: 1e-3,
      span: [0, 1],
      cells: 200,
      boundary: "ring",
    });
    const p = after(x.map((x) => Math.abs(x - 0.7) < 0.05 ? 1 : 0), 1, 2000);
    const angle = Math.atan2(
      sum(p.map((m, i) => m * Math.sin(2 * Math.PI * x[i]!))),
      sum(p.map((m, i) => m * Math.cos(2 * Math.PI * x[i]!))),
    );
    assert.ok(Math.abs((angle / (2 * Math.PI) + 1) % 1 - 0.2) < 1e-3);
  });

  it("takes any pull between cells, also one that e^w cannot hold", () => {
    const { after } = fokkerPlanck({
      drift: (x) => -1e5 * x,
      diffusion: 1,
      span: [-1, 1],
      cells: 10,
    });
    const p = after(new Float64Array(10).fill(0.1), 1, 4);
    assert.ok(Math.abs(p[4]! + p[5]! - 1) < 1e-9);
    assert.deepEqual([...after(p, 0, 1)], [...p]);
  });

  it("refuses what is none", () => {
    const wrong: readonly [Partial<PlanckOptions> | object, RegExp][] = [
      [{ diffusion: 0 }, /diffusion must be a number above 0, got 0/],
      [{ cells: 1 }, /cells must be a whole number of at least 2, got 1/],
      [{ span: [1, 1] }, /span must be two finite numbers that rise/],
      [{ drift: () => 0 }, /there must be a potential or a drift, got both/],
      [{ potential: (x: number) => Math.log(x) }, /potential must be finite, got .* at -2/],
      [{ boundary: "open" }, /boundary must be/],
      [{ dimension: 2 }, /"dimension"/],
    ];
    for (const [change, message] of wrong) {
      assert.throws(() => fokkerPlanck({ ...wells, ...change } as PlanckOptions), { message });
    }
    const { after } = fokkerPlanck(wells), flat = new Float64Array(37).fill(1 / 37);
    assert.throws(() => after([1], 1, 1), /masses must be one for each of 37 cells, got 1/);
    assert.throws(
      () => after(flat.map((m, i) => i ? m : NaN), 1, 1),
      /masses must be at least 0 and finite, got NaN/,
    );
    assert.throws(() => after(flat, -1, 1), /time must be at least 0/);
    assert.throws(() => after(flat, 1, 0), /steps must be a whole number of at least 1, got 0/);
  });
});

describe("overdamped()", () => {
  it("moves paths as the Fokker–Planck equation moves their law", async () => {
    // Sixteen cells of a double well, by 4,000 paths from the same law: Pearson's χ² of 15 degrees.
    const potential = (x: number) => (x ** 2 - 1) ** 2, beta = 2, count = 4000;
    const { x, after, width } = fokkerPlanck({
      potential,
      diffusion: 1 / beta,
      span: [-3, 3],
      cells: 600,
    });
    const law = after(x.map((x) => Math.abs(x - 0.505) < 0.001 ? 1 : 0), 0.5, 500);
    const motion = overdamped((x) => tf.sum(tf.square(tf.sub(tf.square(x), 1)), 1), { beta });
    let ends: number[] = [];
    for await (
      const state of simulate(motion, {
        x: tf.fill([count, 1], 0.505),
        span: [0, 0.5],
        steps: 256,
        keys: key(1),
      })
    ) {
      if (state.step === 256) ends = [...state.x.dataSync()];
    }
    const edges = [
      -Infinity,
      -0.9,
      -0.5,
      -0.2,
      0,
      0.2,
      0.35,
      0.5,
      0.65,
      0.8,
      0.9,
      1,
      1.1,
      1.25,
      1.4,
      Infinity,
    ];
    let chi = 0;
    for (let i = 0; i + 1 < edges.length; i++) {
      const inside = (at: number) => at >= edges[i]! && at < edges[i + 1]!;
      const wanted = count * sum(law.filter((_, j) => inside(x[j]!))),
        got = ends.filter(inside).length;
      chi += (got - wanted) ** 2 / wanted;
    }
    assert.ok(width < 0.011 && (chi - 14) / Math.sqrt(28) < 4, `${chi}`);
  });

  it("refuses what is none", () => {
    assert.throws(() => overdamped(3 as never), /potential must be a function, got 3/);
    for (const beta of [0, -1, NaN, Infinity]) {
      assert.throws(() => overdamped((x) => x, { beta }), /beta must be a number above 0/);
    }
  });
});

import { before, describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import * as tf from "@tensorflow/tfjs-core";
import { mala, type MalaOptions, ula, type UlaOptions } from "../../../src/chain/move/mala.ts";
import { targetOf } from "../../../src/chain/move/target.ts";
import { useBackend } from "../../../src/tensor/backend/backend.ts";
import type { Tensor } from "../../../src/tensor/tensor.ts";
import {
  ended,
  fromTwoModes,
  halfSquares,
  numbers,
  twoModes,
  twoMoments,
  unit,
  zOf,
  zOfSquares,
} from "./chains.ts";

/** The variance that Langevin's chain keeps of N(0, 1). */
const kept = (eps: number): number => 1 / (1 - eps / 2);

const places = [[0.5, -2], [3, 0.25]], draws = [[1, -0.5], [0.25, 2]];
const noise = (): Tensor => tf.tensor(draws);

/** One step from given places under given noise. */
const stepped = async (
  options: UlaOptions,
  law = unit(),
): Promise<number[]> => [
  ...(await ended({ x: tf.tensor(places), step: 0 }, ula(law, { ...options, steps: 1 }), 1, {
    noise,
  })).x.dataSync(),
];

const flat = (f: (x: number, z: number) => number): number[] =>
  places.flatMap((row, i) => row.map((x, j) => f(x, draws[i]![j]!)));

const nearly = (actual: readonly number[], wanted: readonly number[], tolerance = 1e-6): void =>
  actual.forEach((v, i) =>
    assert.ok(Math.abs(v - wanted[i]!) < tolerance, `${v} is not ${wanted[i]}`)
  );

describe("ula()", () => {
  before(() => useBackend("cpu"));

  it("ula() is x - eps·grad E + √(2·eps)·z, and the same as printed in B and C", async () => {
    nearly(await stepped({ stepSize: 0.3 }), flat((x, z) => x - 0.3 * x + Math.sqrt(0.6) * z));
    const b = { stepSize: 0.3, convention: "B" } as const;
    nearly(await stepped(b), flat((x, z) => x - 0.15 * x + Math.sqrt(0.3) * z));
    const c = { stepSize: 0.3, convention: "C", beta: 2.5 } as const;
    nearly(await stepped(c), flat((x, z) => x - 0.3 * x + Math.sqrt(2 * 0.3 / 2.5) * z));
  });

  it("ula() of one size in two conventions is the same bit for bit, and C at beta = 1 is A", async () => {
    const run = async (
      options: MalaOptions,
    ) => [
      ...(await ended(
        { x: fromTwoModes(1, 50), step: 0 },
        ula(twoModes(), { ...options, steps: 9 }),
      )).x.dataSync(),
    ];
    const a = await run({ stepSize: 0.1 });
    assert.deepEqual(await run({ stepSize: 0.2, convention: "B" }), a);
    assert.deepEqual(await run({ stepSize: 0.1, convention: "C" }), a);
    assert.notDeepEqual(await run({ stepSize: 0.1, convention: "B" }), a);
  });

  it("ula() keeps of N(0, 1) the variance 1/(1 - eps/2), not 1", async () => {
    assert.deepEqual([0.1, 0.05, 1, 0.5].map((eps) => kept(eps).toFixed(7)), [
      "1.0526316",
      "1.0256410",
      "2.0000000",
      "1.3333333",
    ]);
    const start = { x: tf.zeros([20_000, 1]), step: 0 };
    for (const [convention, eps] of [["A", 1], ["B", 0.5]] as const) {
      const { x } = await ended(start, ula(unit(), { stepSize: 1, convention, steps: 20 }));
      assert.ok(Math.abs(zOfSquares(x, kept(eps))) < 4, convention);
      assert.ok(zOfSquares(x, 1) > 10);
    }
    const score = (x: Tensor) => tf.mul(x, -1);
    const { x } = await ended(
      start,
      ula(targetOf({ score }), { stepSize: 1, convention: "C", beta: 2, steps: 20 }),
    );
    assert.ok(Math.abs(zOfSquares(x, kept(1) / 2)) < 4);
  });

  it("ula() without noise descends to the modes, by (1 - eps)^k of N(0, 1)", async () => {
    const still = { stepSize: 0.25, noise: false } as const;
    const { x } = await ended(
      { x: tf.tensor(places), step: 0 },
      ula(unit(), { ...still, steps: 6 }),
    );
    nearly([...x.dataSync()], flat((x) => x * 0.75 ** 6));
    const modes = await ended(
      { x: tf.tensor([[-3], [-0.5], [0.6], [4]]), step: 0 },
      ula(twoModes(), { ...still, stepSize: 0.1, steps: 100 }),
    );
    nearly([...modes.x.dataSync()], [-1.5, -1.5, 1.5, 1.5], 1e-3);
  });

  it("ula() and mala() refuse what they cannot take, by name", () => {
    for (const stepSize of [0, -1, NaN, Infinity]) {
      assert.throws(
        () => ula(unit(), { stepSize }),
        /^RangeError: Cannot make a Langevin chain: stepSize must be a number above 0, got/,
      );
      assert.throws(
        () => mala(unit(), { stepSize }),
        /^RangeError: Cannot make a tested Langevin chain: stepSize must be a number above 0, got/,
      );
    }
    assert.throws(
      () => ula(unit(), { stepSize: 1, convention: "D" } as never),
      /convention must be "A", "B" or "C", got "D"/,
    );
    assert.throws(
      () => ula(unit(), { stepSize: 1, beta: 2 }),
      /beta must be left out in conventions A and B, got 2/,
    );
    assert.throws(
      () => ula(unit(), { stepSize: 1, convention: "C", beta: 0 }),
      /beta must be a number above 0, got 0/,
    );
    assert.throws(() => mala(unit(), { stepSize: 1, noise: false } as never), /got "noise"/);
  });
});

describe("mala()", () => {
  before(() => useBackend("cpu"));

  it("mala() takes moves with the probability of the test, by the densities of both proposals", async () => {
    const eps = 0.4, x = places.flat().map((v) => [v]), z = draws.flat().map((v) => [v]);
    const quartic = targetOf((x) => tf.sum(tf.div(tf.pow(x, 4), 4), 1));
    const { info } = await ended(
      { x: tf.tensor(x), step: 0 },
      mala(quartic, { stepSize: eps, steps: 1 }),
      1,
      { noise: () => tf.tensor(z) },
    );
    const logQ = (to: number, from: number) => -((to - from + eps * from ** 3) ** 2) / (4 * eps);
    const wanted = x.map(([v], i) => {
      const y = v! - eps * v! ** 3 + Math.sqrt(2 * eps) * z[i]![0]!;
      return Math.min(1, Math.exp((v! ** 4 - y ** 4) / 4 + logQ(v!, y) - logQ(y, v!)));
    });
    assert.ok(wanted.some((a) => a > 0.1 && a < 0.9));
    nearly([...info!.acceptance.dataSync()], wanted, 1e-5);
  });

  it("mala() draws N(0, 1) where ula() does not", async () => {
    const start = { x: tf.zeros([20_000, 1]), step: 0 };
    const { x, info } = await ended(start, mala(unit(), { stepSize: 1, steps: 20 }));
    assert.ok(Math.abs(zOf(numbers(x), 0)) < 4);
    assert.ok(Math.abs(zOfSquares(x, 1)) < 4);
    assert.deepEqual([...info!.energy.dataSync()], [...halfSquares(x).dataSync()]);
  });

  it("mala() leaves two modes as they are, and ula() does not", async () => {
    const start = { x: fromTwoModes(2, 20_000), step: 0 }, options = { stepSize: 0.25, steps: 8 };
    const { x } = await ended(start, mala(twoModes(), options));
    assert.ok(Math.abs(zOf(numbers(x), twoMoments.mean)) < 4);
    assert.ok(Math.abs(zOfSquares(x, twoMoments.square)) < 4);
    const biased = await ended(start, ula(twoModes(), options));
    assert.ok(Math.abs(zOfSquares(biased.x, twoMoments.square)) > 10);
  });

  it("mala() refuses less and less as steps become small: by 2^1.5 for each halving", async () => {
    const refused = async (stepSize: number): Promise<number> => {
      const { info } = await ended(
        { x: fromTwoModes(3, 20_000), step: 0 },
        mala(twoModes(), { stepSize, steps: 1 }),
      );
      return 1 - numbers(info!.acceptance).reduce((a, b) => a + b) / 20_000;
    };
    const [large, small] = [await refused(0.02), await refused(0.01)];
    assert.ok(small < 0.01 && small > 1e-4, `${small}`);
    assert.ok(Math.abs(Math.log2(large / small) - 1.5) < 0.15, `${Math.log2(large / small)}`);
  });

  it("mala() does not go where the energy is infinite, though its score says nothing there", async () => {
    const walled = (x: Tensor, inside: Tensor, outside: number) =>
      tf.where(tf.greater(tf.abs(x), 1), tf.fill(x.shape, outside), inside);
    const law = targetOf({
      energy: (x) => tf.reshape(walled(x, tf.zerosLike(x), Infinity), [-1]),
      gradient: (x) => walled(x, tf.zerosLike(x), NaN),
    });
    const start = { x: tf.zeros([4000, 1]), step: 0 };
    const { x } = await ended(start, mala(law, { stepSize: 0.3, steps: 20 }));
    assert.ok(x.dataSync().every((v) => Math.abs(v) <= 1));
    assert.ok(Math.abs(zOfSquares(x, 1 / 3)) < 4);
  });

  it("mala() in convention C is for the law at beta", async () => {
    const start = { x: tf.zeros([20_000, 1]), step: 0 };
    const { x } = await ended(
      start,
      mala(unit(), { stepSize: 1, convention: "C", beta: 2, steps: 20 }),
    );
    assert.ok(Math.abs(zOfSquares(x, 1 / 2)) < 4);
  });
});

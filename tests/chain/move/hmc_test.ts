import { before, describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import * as tf from "@tensorflow/tfjs-core";
import { determinant, Matrix } from "ml-matrix";
import { key, run, scope } from "../../../mod.ts";
import { hmc, type HmcState, leapfrog, massWindows } from "../../../src/chain/move/hmc.ts";
import { type Known, targetOf } from "../../../src/chain/move/target.ts";
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

/** x⁴/4 + x² of each coordinate, coupled. */
const bent = targetOf((x) =>
  tf.add(tf.sum(tf.add(tf.div(tf.pow(x, 4), 4), tf.square(x)), 1), tf.mul(tf.prod(x, 1), 0.5))
);

/** Ends of paths of the leapfrog: x and p of each start, side by side. */
async function flowed(
  starts: readonly (readonly number[])[],
  eps: number,
  leaps: number,
): Promise<number[][]> {
  const all = tf.tensor2d(starts.map((row) => [...row]));
  const [x, p] = tf.split(all, 2, 1) as [Tensor, Tensor],
    inverseMass = tf.tensor([[0.5, 2]]);
  const end = await scope(function* () {
    const place = (yield* bent.pointAt(x)) as Known;
    const { place: there, p: q } = yield* leapfrog(bent, { place, p }, { eps, leaps, inverseMass });
    return tf.concat([there.x, q], 1);
  });
  return end.arraySync() as number[][];
}

const starts = [[0.5, -1, 1, 0.3], [1.2, 0.4, -0.7, 0.9]];

describe("leapfrog()", () => {
  before(() => useBackend("cpu"));

  it("leapfrog() goes back the way that it came when p is turned", async () => {
    const turned = (rows: number[][]) => rows.map(([x, y, p, q]) => [x!, y!, -p!, -q!]);
    const there = await flowed(starts, 0.2, 7), back = turned(await flowed(turned(there), 0.2, 7));
    back.forEach((row, i) => row.forEach((v, j) => assert.ok(Math.abs(v - starts[i]![j]!) < 1e-5)));
    assert.ok(there.every((row, i) => Math.abs(row[1]! - starts[i]![1]!) > 0.1));
  });

  it("leapfrog() keeps volumes", async () => {
    const h = 0.01, [centre] = starts;
    const shifted = centre!.flatMap((_, k) =>
      [h, -h].map((by) => centre!.map((v, j) => j === k ? v + by : v))
    );
    const ends = await flowed(shifted, 0.2, 4);
    const jacobian = new Matrix(
      centre!.map((_, k) => ends[2 * k]!.map((v, j) => (v - ends[2 * k + 1]![j]!) / (2 * h))),
    );
    assert.ok(Math.abs(determinant(jacobian) - 1) < 2e-3, `${determinant(jacobian)}`);
    assert.ok(Math.abs(jacobian.get(0, 0) - 1) > 0.1);
  });

  it("leapfrog() loses energy by eps squared", async () => {
    const total = ([x, y, p, q]: number[]) =>
      x! ** 4 / 4 + x! ** 2 + y! ** 4 / 4 + y! ** 2 + x! * y! / 2 + p! ** 2 / 4 + q! ** 2;
    const lost = async (leaps: number): Promise<number[]> =>
      (await flowed(starts, 1.2 / leaps, leaps)).map((row, i) =>
        total(row) - total([...starts[i]!])
      );
    const coarse = await lost(8), fine = await lost(16);
    coarse.forEach((v, i) => assert.ok(Math.abs(v / fine[i]! - 4) < 0.6, `${v / fine[i]!}`));
    assert.ok(fine.every((v) => Math.abs(v) > 1e-4));
  });
});

describe("hmc()", () => {
  before(() => useBackend("cpu"));

  it("hmc() draws N(0, 1) exactly by coarse steps, and has masses", async () => {
    const start = { x: tf.zeros([20_000, 2]), step: 0 };
    const law = targetOf((x) => tf.mul(tf.sum(tf.mul(tf.square(x), [1, 0.04]), 1), 0.5));
    const options = { stepSize: 1.2, leaps: 2, mass: [1, 0.04], steps: 12 };
    const { x, info } = await ended(start, hmc(law, options));
    const [a, b] = tf.split(x, 2, 1) as [Tensor, Tensor];
    for (const [part, variance] of [[a, 1], [b, 25]] as const) {
      assert.ok(Math.abs(zOf(numbers(part), 0)) < 4);
      assert.ok(Math.abs(zOfSquares(part, variance)) < 4);
    }
    const mean = numbers(info!.acceptance).reduce((s, v) => s + v) / 20_000;
    assert.ok(mean > 0.5 && mean < 0.95, `${mean}`);
    assert.ok(Math.abs(zOf(numbers(info!.accepted), mean)) < 4);
    assert.ok(info!.divergent!.dataSync().every((v) => v === 0));
  });

  it("hmc() with masses moves each coordinate by its own", async () => {
    const start = { x: tf.tensor([[1, 1]]), step: 0 },
      flat = targetOf((x) => tf.mul(tf.sum(x, 1), 0));
    const noise = () => tf.tensor([[1, 1]]);
    const { x } = await ended(
      start,
      hmc(flat, { stepSize: 0.5, leaps: 3, mass: [4, 0.25], steps: 1 }),
      1,
      { noise },
    );
    assert.deepEqual([...x.dataSync()], [1 + 1.5 / 2, 1 + 1.5 * 2]);
  });

  it("hmc() leaves two modes as they are, with its steps strayed too", async () => {
    const start = { x: fromTwoModes(6, 20_000), step: 0 };
    for (const jitter of [0, 0.5]) {
      const { x } = await ended(
        start,
        hmc(twoModes(), { stepSize: 0.6, leaps: 3, jitter, steps: 4 }),
      );
      assert.ok(Math.abs(zOf(numbers(x), twoMoments.mean)) < 4);
      assert.ok(Math.abs(zOfSquares(x, twoMoments.square)) < 4);
    }
  });

  it("hmc() strays uniformly about its step", async () => {
    const start = { x: tf.zeros([4000, 1]), step: 0 },
      flat = targetOf((x) => tf.mul(tf.sum(x, 1), 0));
    const options = { stepSize: 1, leaps: 1, jitter: 0.5, steps: 1 };
    const { x } = await ended(start, hmc(flat, options), 1, { noise: () => tf.ones([4000, 1]) });
    assert.ok(x.dataSync().every((v) => v >= 0.5 && v < 1.5));
    assert.ok(Math.abs(zOf(numbers(x), 1)) < 4);
    assert.ok(Math.abs(zOf(numbers(x, (v) => (v - 1) ** 2), 1 / 12)) < 4);
  });

  it("hmc() says which paths have diverged, and does not go there", async () => {
    const steep = targetOf((x) => tf.sum(tf.pow(x, 4), 1));
    const x = tf.tensor([[4], [0.01]]), noise = () => tf.tensor([[1], [0.001]]);
    const { x: y, info } = await ended(
      { x, step: 0 },
      hmc(steep, { stepSize: 0.5, leaps: 20, steps: 1 }),
      1,
      { noise },
    );
    assert.deepEqual([...info!.divergent!.dataSync()], [1, 0]);
    assert.deepEqual([...info!.accepted.dataSync()], [0, 1]);
    assert.deepEqual([...info!.acceptance.dataSync()].map((v) => v > 0.5), [false, true]);
    assert.equal(y.dataSync()[0], 4);
    // One step only: a number still, and too much of it.
    const lost = await ended({ x, step: 0 }, hmc(steep, { stepSize: 0.5, leaps: 1, steps: 1 }), 1, {
      noise,
    });
    assert.deepEqual([...lost.info!.divergent!.dataSync()], [1, 0]);
  });

  it("hmc() stops at an energy of NaN where x is a point", async () => {
    const bad = targetOf({
      energy: (x) =>
        tf.where(tf.greater(tf.reshape(x, [-1]), 1), tf.fill([x.shape[0]!], NaN), halfSquares(x)),
      gradient: (x) => x,
    });
    await assert.rejects(
      ended({ x: tf.zeros([200, 1]), step: 0 }, hmc(bad, { stepSize: 1, leaps: 2, steps: 9 })),
      /^RangeError: Cannot test a move: energy and score must be numbers, got NaN for sample \d+ at step \d$/,
    );
  });

  it("hmc() refuses what it cannot take, by name", async () => {
    for (const stepSize of [0, -1, NaN]) {
      assert.throws(
        () => hmc(unit(), { stepSize, leaps: 1 }),
        /^RangeError: Cannot make a Hamiltonian chain: stepSize must be a number above 0, got/,
      );
    }
    const told = (options: object) => () => hmc(unit(), { stepSize: 1, leaps: 1, ...options });
    assert.throws(told({ leaps: 0 }), /leaps must be a whole number of at least 1, got 0/);
    assert.throws(told({ jitter: 1 }), /jitter must be a number of at least 0 and below 1, got 1/);
    assert.throws(told({ mass: [1, 0] }), /mass must be numbers above 0/);
    assert.throws(told({ acceptance: 1 }), /acceptance must be a number within \(0, 1\), got 1/);
    assert.throws(told({ warmup: 1.5 }), /warmup must be a whole number/);
    const start = { x: tf.zeros([3, 2]), step: 0 };
    await assert.rejects(
      ended(start, hmc(unit(), { stepSize: 1, leaps: 1, mass: [1], steps: 0 })),
      /mass must be one for each of 2 coordinates, got 1/,
    );
  });
});

describe("the warm-up of hmc()", () => {
  before(() => useBackend("cpu"));

  const unlike = targetOf((x) => tf.mul(tf.sum(tf.mul(tf.square(x), [1, 0.01, 25]), 1), 0.5));

  it("massWindows() double, and the last one reaches up to the end of the windows", () => {
    assert.deepEqual(massWindows(1000), { from: 75, ends: [100, 150, 250, 450, 950] });
    assert.deepEqual(massWindows(150), { from: 75, ends: [100] });
    // After 50 more the next would not fit: these are part of it.
    assert.deepEqual(massWindows(280), { from: 75, ends: [100, 230] });
    assert.deepEqual(massWindows(100), { from: 15, ends: [50] });
    assert.deepEqual(massWindows(19), { from: 19, ends: [] });
  });

  it("steps follow the averaging of Hoffman and Gelman, masses the variances of the window", async () => {
    const options = { stepSize: 0.3, leaps: 2, warmup: 40, steps: 40 } as const,
      start: HmcState = { x: tf.ones([3, 3]), step: 0 };
    const seen: {
      chance: number[];
      x: number[];
      logStep?: number[];
      logMean?: number[];
      inverse?: number[];
    }[] = [];
    for await (
      const { x, info, adapted } of run(start, { key: key(4) })(
        hmc(unlike, options),
      ) as AsyncIterable<HmcState>
    ) {
      const list = (tensor: Tensor) => [...tensor.dataSync()];
      seen.push({
        x: list(x),
        chance: info ? list(info.acceptance) : [],
        ...(adapted &&
          {
            logStep: list(adapted.logStep),
            logMean: list(adapted.logMean),
            inverse: list(adapted.inverseMass),
          }),
      });
    }
    const { from, ends } = massWindows(40), end = ends[0]!;
    // By the paper, in float64, for the second chain.
    let mu = Math.log(10 * 0.3), h = 0, logMean = 0, k = 0;
    for (let i = 1; i <= 40; i++) {
      k++;
      h = (1 - 1 / (k + 10)) * h + (0.8 - seen[i]!.chance[1]!) / (k + 10);
      const logStep = mu - Math.sqrt(k) / 0.05 * h;
      logMean = k ** -0.75 * logStep + (1 - k ** -0.75) * logMean;
      if (i === end) {
        assert.ok(Math.abs(seen[i]!.logStep![1]! - logMean) < 1e-4);
        mu = Math.log(10) + logMean;
        h = logMean = k = 0;
        continue;
      }
      assert.ok(Math.abs(seen[i]!.logStep![1]! - logStep) < 1e-3, `${i}`);
      assert.ok(Math.abs(seen[i]!.logMean![1]! - logMean) < 1e-3, `${i}`);
    }
    const points = seen.slice(from + 1, end + 1).map(({ x }) => x), n = points.length;
    for (let j = 0; j < 9; j++) {
      const all = points.map((x) => x[j]!), mean = all.reduce((a, b) => a + b) / n;
      const variance = all.reduce((sum, v) => sum + (v - mean) ** 2, 0) / (n - 1);
      const wanted = n / (n + 5) * variance + 5e-3 / (n + 5);
      assert.ok(Math.abs(seen[end]!.inverse![j]! / wanted - 1) < 1e-3);
      assert.equal(seen[end - 1]!.inverse![j], 1);
    }
  });

  it("moves reach the acceptance that is wanted from far too large and far too small steps, and masses the variances", async () => {
    for (const [stepSize, acceptance] of [[3, 0.8], [0.002, 0.6]] as const) {
      const options = { stepSize, acceptance, leaps: 5, warmup: 200, steps: 210 } as const;
      const start: HmcState = { x: tf.ones([100, 3]), step: 0 };
      const within: number[] = [], later: number[] = [];
      let inverse: number[] = [];
      const states = run(start, { key: key(4) })(hmc(unlike, options)) as AsyncIterable<HmcState>;
      for await (const { step, info, adapted } of states) {
        if (step > 175) (step > 200 ? later : within).push(...info!.acceptance.dataSync());
        if (step === 200) inverse = [...tf.mean(adapted!.inverseMass, 0).dataSync()];
      }
      const mean = (all: number[]) => all.reduce((a, b) => a + b) / all.length;
      assert.ok(Math.abs(mean(within) - acceptance) < 0.03, `${acceptance}: ${mean(within)}`);
      // At the average of steps moves are taken more often than on the average over steps, as the probability is concave.
      assert.ok(mean(later) > acceptance && mean(later) < 0.97, `${acceptance}: ${mean(later)}`);
      [1, 100, 0.04].forEach((variance, j) => {
        const ratio = inverse[j]! / variance;
        assert.ok(ratio > 0.6 && ratio < 1.2, `${j}: ${ratio}`);
      });
    }
  });

  it("moves after the warm-up have the averaged step", async () => {
    const flat = targetOf((x) => tf.mul(tf.sum(x, 1), 0)),
      start: HmcState = { x: tf.zeros([1, 1]), step: 0 };
    const chain = hmc(flat, { stepSize: 0.1, leaps: 2, warmup: 5, steps: 6 });
    const noise = () => tf.ones([1, 1]), states: { x: number; mean?: number; last?: number }[] = [];
    for await (
      const { x, adapted } of run(start, { key: key(0), noise })(chain) as AsyncIterable<HmcState>
    ) {
      const [mean, last] = [adapted?.logMean, adapted?.logStep].map((each) =>
        Math.exp(each?.dataSync()[0] ?? 0)
      );
      states.push({ x: x.dataSync()[0]!, mean: mean!, last: last! });
    }
    const [before, after] = [states[5]!, states[6]!];
    assert.ok(Math.abs((after.x - before.x) / (2 * before.mean!) - 1) < 1e-5);
    assert.ok(Math.abs(before.last! / before.mean! - 1) > 0.1);
  });

  it("a chain after its warm-up draws its law", async () => {
    const start: HmcState = { x: tf.zeros([3000, 1]), step: 0 };
    const options = { stepSize: 1, leaps: 3, jitter: 0.3, warmup: 40, steps: 55 } as const;
    const { x, adapted } = await ended(start, hmc(unit(), options));
    // From 2 on the leapfrog would not be stable.
    const steps = numbers(tf.exp(adapted!.logMean)), inverse = numbers(adapted!.inverseMass);
    assert.ok(steps.every((eps, i) => eps * Math.sqrt(inverse[i]!) < 1.9));
    assert.ok(Math.abs(zOf(numbers(x), 0)) < 4);
    assert.ok(Math.abs(zOfSquares(x, 1)) < 4);
    await assert.rejects(
      ended(
        { x: tf.zeros([2, 1]), step: 0 },
        { [Symbol.asyncIterator]: () => skipped(hmc(unit(), options), 40) } as never,
      ),
      /the state must have been adapted, got none/,
    );
  });
});

async function* skipped<A>(
  source: AsyncIterable<A>,
  count: number,
): AsyncGenerator<A, void, undefined> {
  let i = 0;
  for await (const each of source) if (i++ >= count) yield each;
}

import { before, describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import * as tf from "@tensorflow/tfjs-core";
import { key, run } from "../../../mod.ts";
import {
  hostMetropolis,
  type HostMoveState,
  type HostProposed,
  metropolisHastings,
  metropolisMatrix,
  randomWalk,
} from "../../../src/chain/move/metropolis.ts";
import { targetOf } from "../../../src/chain/move/target.ts";
import { stationary } from "../../../src/energy/density/process.ts";
import { useBackend } from "../../../src/tensor/backend/backend.ts";
import { type Key, normal, uniforms } from "../../../src/tensor/mod.ts";
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
  zOfTransitions,
} from "./chains.ts";

/** A ring of five, f = −E. */
const f = [0, 1, 0.5, -1, 2], energies = f.map((v) => -v);

/** To the next with probability `up`, else to the one before. */
const ring = (up: number): number[][] =>
  f.map((_, i) => f.map((_, j) => j === (i + 1) % 5 ? up : j === (i + 4) % 5 ? 1 - up : 0));

const gibbs = f.map((v) => Math.exp(v) / f.reduce((sum, w) => sum + Math.exp(w), 0));

/** The greatest |pi_i·P_ij − pi_j·P_ji|. */
const imbalance = (p: readonly (readonly number[])[]): number =>
  Math.max(
    ...p.flatMap((row, i) => row.map((v, j) => Math.abs(gibbs[i]! * v - gibbs[j]! * p[j]![i]!))),
  );

/** Moves on the ring, up with probability `up`. */
const around = (up: number, isWeighed: boolean) => (x: number, key: Key): HostProposed<number> => {
  const isUp = uniforms(key, 1)[0]! < up, odds = [Math.log(up), Math.log(1 - up)] as const;
  const [forth, back] = isUp ? odds : [odds[1], odds[0]];
  return { x: (x + (isUp ? 1 : 4)) % 5, ...(isWeighed && { forth, back }) };
};

const walked = async (
  up: number,
  isWeighed: boolean,
  steps = 30_000,
): Promise<HostMoveState<number>[]> => {
  const chain = hostMetropolis<number>({
    energy: (x) => energies[x]!,
    propose: around(up, isWeighed),
    steps,
  });
  const start: HostMoveState<number> = { x: 0, step: 0 };
  return await Array.fromAsync(run(start, { key: key(2) })(chain));
};

describe("metropolisMatrix()", () => {
  it("metropolisMatrix() is in detailed balance with exp(f) on a ring of 5, for any proposal", () => {
    for (const up of [0.5, 0.8]) {
      const p = metropolisMatrix(energies, ring(up));
      assert.ok(imbalance(p) < 1e-15, `${up}`);
      assert.ok(p.every((row) => Math.abs(row.reduce((a, b) => a + b) - 1) < 1e-15));
      stationary(p).forEach((v, i) => assert.ok(Math.abs(v - gibbs[i]!) < 1e-14));
    }
    const printed = stationary(metropolisMatrix(energies, ring(0.5))).map((v) => v.toFixed(4));
    assert.deepEqual(printed, ["0.0762", "0.2071", "0.1256", "0.0280", "0.5630"]);
  });

  it("metropolisMatrix() is not what is printed with f(x') - f(x'), nor without the proposal's odds", () => {
    stationary(ring(0.5)).forEach((v) => assert.ok(Math.abs(v - 0.2) < 1e-14));
    const unweighed = ring(0.8).map((row, i) => {
      const p = row.map((q, j) => q * Math.min(1, Math.exp(f[j]! - f[i]!)));
      p[i] = 1 - p.reduce((a, b) => a + b);
      return p;
    });
    assert.ok(imbalance(unweighed) > 0.02);
    assert.throws(() => metropolisMatrix([0, 1], [[1, 0]]), /proposal must be 2 × 2/);
  });
});

describe("hostMetropolis()", () => {
  it("hostMetropolis() has the transitions of its matrix, with symmetric proposals and others", async () => {
    const even = (await walked(0.5, false)).map(({ x }) => x),
      p = metropolisMatrix(energies, ring(0.5));
    assert.ok(zOfTransitions(even, p) < 4);
    assert.ok(zOfTransitions(even, ring(0.5)) > 10);
    const odd = (await walked(0.8, true)).map(({ x }) => x),
      q = metropolisMatrix(energies, ring(0.8));
    assert.ok(zOfTransitions(odd, q) < 4);
    assert.ok(zOfTransitions((await walked(0.8, false)).map(({ x }) => x), q) > 10);
  });

  it("hostMetropolis() says what it did: downhill is always taken, and a refusal repeats the state", async () => {
    const states = await walked(0.5, false, 500);
    for (const [k, { x, info }] of states.slice(1).entries()) {
      const before = states[k]!.x;
      assert.equal(info!.energy, energies[x]);
      assert.equal(info!.accepted, x !== before);
      if (info!.accepted) {
        assert.equal(info!.acceptance, Math.min(1, Math.exp(energies[before]! - energies[x]!)));
      } else assert.ok(info!.acceptance < 1);
    }
    const taken = states.slice(1).filter(({ info }) => info!.accepted).length;
    assert.ok(taken > 100 && taken < 450, `${taken}`);
  });

  it("hostMetropolis() stays where p > 0, and stops at a NaN", async () => {
    const chain = (bad: number) =>
      hostMetropolis<readonly number[]>({
        energy: ([x]) => x! > 1 ? bad : 0,
        propose: ([x], key) => ({ x: [uniforms(key, 1)[0]! < 0.5 ? x! + 1 : x! - 1] }),
        steps: 100,
      });
    const start: HostMoveState<readonly number[]> = { x: [0], step: 0 };
    const xs = (await Array.fromAsync(run(start, { key: key(0) })(chain(Infinity)))).map(({ x }) =>
      x[0]!
    );
    assert.equal(Math.max(...xs), 1);
    await assert.rejects(
      ended(start, chain(NaN)),
      /^RangeError: Cannot test a move: .* got NaN at step \d+$/,
    );
    await assert.rejects(
      ended({ x: [2], step: 0 }, chain(Infinity)),
      /the energy at x must be finite, got Infinity/,
    );
    assert.throws(
      () => hostMetropolis({ energy: () => 0 } as never),
      /propose must be a function, got undefined/,
    );
  });

  it("hostMetropolis() draws another path for another chain of the run", async () => {
    const chain = hostMetropolis<number>({
      energy: (x) => energies[x]!,
      propose: around(0.5, false),
      steps: 40,
    });
    const path = async (first: number) =>
      (await Array.fromAsync(run({ x: 0, step: 0 }, { key: key(2), first })(chain))).map(({ x }) =>
        x
      );
    assert.deepEqual(await path(3), await path(3));
    assert.notDeepEqual(await path(3), await path(4));
  });
});

describe("metropolisHastings() and randomWalk()", () => {
  before(() => useBackend("cpu"));

  it("randomWalk() draws N(0, I) from any start", async () => {
    const { x, info } = await ended(
      { x: tf.zeros([20_000, 1]), step: 0 },
      randomWalk(unit(), { scale: 2.4, steps: 40 }),
    );
    assert.ok(Math.abs(zOf(numbers(x), 0)) < 4);
    assert.ok(Math.abs(zOfSquares(x, 1)) < 4);
    // The mean acceptance of steps of size s at N(0, 1) is 2/pi·arctan(2/s).
    assert.ok(Math.abs(zOf(numbers(info!.acceptance), 2 / Math.PI * Math.atan(2 / 2.4))) < 4);
    assert.ok(Math.abs(zOf(numbers(info!.accepted), 2 / Math.PI * Math.atan(2 / 2.4))) < 4);
    assert.deepEqual([...info!.energy.dataSync()].map(Math.fround), [...halfSquares(x).dataSync()]);
  });

  it("randomWalk() leaves two modes as they are", async () => {
    const start = { x: fromTwoModes(4, 20_000), step: 0 };
    const { x } = await ended(start, randomWalk(twoModes(), { scale: 1.5, steps: 8 }));
    assert.ok(Math.abs(zOf(numbers(x), twoMoments.mean)) < 4);
    assert.ok(Math.abs(zOfSquares(x, twoMoments.square)) < 4);
  });

  it("metropolisHastings() takes account of a proposal's odds", async () => {
    // Independent draws of N(1, 4), whose odds are those of its energy.
    const odds = (x: Tensor) => tf.mul(tf.sum(tf.square(tf.sub(x, 1)), 1), -1 / 8);
    const chain = (isWeighed: boolean) =>
      metropolisHastings(unit(), (x, { keys }) => {
        const y = tf.add(tf.mul(normal(keys(), [1]), 2), 1);
        return { x: y, ...(isWeighed && { forth: odds(y), back: odds(x) }) };
      }, { steps: 25 });
    const start = { x: tf.zeros([20_000, 1]), step: 0 };
    const { x } = await ended(start, chain(true));
    assert.ok(Math.abs(zOf(numbers(x), 0)) < 4);
    assert.ok(Math.abs(zOfSquares(x, 1)) < 4);
    assert.ok(Math.abs(zOf(numbers((await ended(start, chain(false))).x), 0)) > 10);
  });

  it("a move to infinite energy is refused, and a NaN stops the run by name", async () => {
    const walled = (bad: number) =>
      targetOf((x) => {
        const flat = tf.reshape(x, [-1]);
        return tf.where(tf.greater(tf.abs(flat), 1), tf.fill(flat.shape, bad), tf.zerosLike(flat));
      });
    const start = { x: tf.zeros([4000, 1]), step: 0 };
    const { x } = await ended(start, randomWalk(walled(Infinity), { scale: 1, steps: 20 }));
    assert.ok(x.dataSync().every((v) => Math.abs(v) <= 1));
    assert.ok(Math.abs(zOfSquares(x, 1 / 3)) < 4);
    await assert.rejects(
      ended(start, randomWalk(walled(NaN), { scale: 1, steps: 20 })),
      /^RangeError: Cannot test a move: energy and score must be numbers, got NaN for sample \d+ at step 0$/,
    );
  });

  it("what one law says of a point is not taken for another's", async () => {
    const start = { x: fromTwoModes(5, 8000), step: 0 }, cold = targetOf(halfSquares, { beta: 4 });
    async function* inTurn() {
      for await (const move of randomWalk(unit(), { scale: 1, steps: 1 })) yield move;
      for await (const move of randomWalk(cold, { scale: 1, steps: 1 })) yield move;
    }
    const states = await Array.fromAsync(
      run(start, { key: key(1) })({ [Symbol.asyncIterator]: inTurn } as never) as AsyncIterable<
        typeof start & { info?: { energy: Tensor } }
      >,
      ({ x, info }) => [halfSquares(x).dataSync(), info?.energy.dataSync()] as const,
    );
    const [energy, told] = states[2]!;
    told!.forEach((value, i) =>
      assert.ok(Math.abs(value - 4 * energy[i]!) <= 1e-5 * Math.abs(value))
    );
  });

  it("options and proposals outside their domain are refused by name", async () => {
    for (const scale of [0, -1, NaN, Infinity]) {
      assert.throws(
        () => randomWalk(unit(), { scale }),
        /^RangeError: Cannot make a random walk: scale must be a number above 0, got/,
      );
    }
    assert.throws(
      () => randomWalk(unit(), { scale: 1, size: 2 } as never),
      /options must be among steps, scale, got "size"/,
    );
    assert.throws(
      () => metropolisHastings(unit(), 3 as never),
      /proposal must be a function, got 3/,
    );
    const start = { x: tf.zeros([3, 1]), step: 0 };
    const chain = (proposed: object) =>
      metropolisHastings(unit(), () => proposed as never, { steps: 1 });
    await assert.rejects(
      ended(start, chain({ x: tf.zeros([3]) })),
      /y must be of shape \[3,1\], got \[3\]/,
    );
    await assert.rejects(
      ended(start, chain({ x: tf.zeros([3, 1]), forth: tf.zeros([3]) })),
      /forth and back must come together, got forth/,
    );
    const wrong = { x: tf.zeros([3, 1]), forth: tf.zeros([3, 1]), back: tf.zeros([3]) };
    await assert.rejects(
      ended(start, chain(wrong)),
      /forth and back must be of shape \[3\], got \[3,1\]/,
    );
  });
});

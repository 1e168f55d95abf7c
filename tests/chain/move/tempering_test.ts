import { before, describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import * as tf from "@tensorflow/tfjs-core";
import { Matrix } from "ml-matrix";
import { chain, key, run } from "../../../mod.ts";
import {
  hostMetropolis,
  type HostMoveState,
  metropolisMatrix,
  randomWalk,
} from "../../../src/chain/move/metropolis.ts";
import { targetOf } from "../../../src/chain/move/target.ts";
import {
  parallelTempering,
  replicated,
  type TemperedState,
} from "../../../src/chain/move/tempering.ts";
import { useBackend } from "../../../src/tensor/backend/backend.ts";
import { uniforms } from "../../../src/tensor/mod.ts";
import type { Tensor } from "../../../src/tensor/tensor.ts";
import { ended, numbers, stepsOf, zOf, zOfSteps } from "./chains.ts";

/** Three states in a ring at two temperatures. */
const energies = [0, 1.5, 0.7], betas = [1.2, 0.3];
const ring = [[0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]];
const moves = (beta: number) =>
  hostMetropolis<number>({
    energy: (x) => beta * energies[x]!,
    propose: (x, key) => ({ x: (x + (uniforms(key, 1)[0]! < 0.5 ? 1 : 2)) % 3 }),
  });
const energy = (x: number): number => energies[x]!;

/** Moves of both, at odds with nothing but each other. */
const [cold, hot] = betas.map((beta) => metropolisMatrix(energies.map((e) => beta * e), ring)) as [
  number[][],
  number[][],
];
const both = new Matrix(cold).kroneckerProduct(new Matrix(hot));

/** The exchange of a pair, by the ratio of what they are draws of; or by that ratio's inverse. */
function exchanges(power: 1 | -1): Matrix {
  const made = Matrix.zeros(9, 9);
  for (let a = 0; a < 3; a++) {
    for (let b = 0; b < 3; b++) {
      const [low, high] = betas as [number, number];
      const before = -low * energies[a]! - high * energies[b]!;
      const after = -low * energies[b]! - high * energies[a]!;
      const taken = Math.min(1, Math.exp(power * (after - before)));
      made.set(3 * a + b, 3 * b + a, taken);
      if (a !== b) made.set(3 * a + b, 3 * a + b, 1 - taken);
    }
  }
  return made;
}

const exchange = exchanges(1);

const start: TemperedState<HostMoveState<number>> = replicated({ x: 0, step: 0 }, 2);

describe("parallelTempering()", () => {
  before(() => useBackend("cpu"));

  it("the exchange is in detailed balance with the product of the laws", () => {
    const law = Array.from(
      { length: 9 },
      (_, k) => Math.exp(-betas[0]! * energies[Math.floor(k / 3)]! - betas[1]! * energies[k % 3]!),
    );
    for (let a = 0; a < 9; a++) {
      for (let b = 0; b < 9; b++) {
        assert.ok(Math.abs(law[a]! * exchange.get(a, b) - law[b]! * exchange.get(b, a)) < 1e-15);
      }
    }
  });

  it("parallelTempering() has the transitions of its moves and of the exchange, in turns", async () => {
    const chains = parallelTempering({ betas, energy, moves, steps: 20_000 });
    const at: number[] = [];
    let info: TemperedState<HostMoveState<number>>["info"];
    for await (const state of run(start, { key: key(3) })(chains) as AsyncIterable<typeof start>) {
      at.push(3 * state.x[0]!.x + state.x[1]!.x);
      info = state.info;
    }
    const steps = stepsOf(at), every = (parity: number) => steps.filter((_, k) => k % 2 === parity);
    const z = (parity: number, p: Matrix): number => zOfSteps(every(parity), p.to2DArray());
    assert.ok(z(0, both.mmul(exchange)) < 4);
    assert.ok(z(1, both) < 4);
    assert.ok(z(0, both) > 10);
    assert.ok(z(1, both.mmul(exchange)) > 10);
    // The energies the wrong way round.
    assert.ok(z(0, both.mmul(exchanges(-1))) > 10);
    // In the product of the laws an exchange is taken with a mean probability that can be summed.
    const law = Array.from(
      { length: 9 },
      (_, k) => Math.exp(-betas[0]! * energies[Math.floor(k / 3)]! - betas[1]! * energies[k % 3]!),
    );
    const sum = law.reduce((s, v) => s + v);
    const rate = law.reduce(
      (s, v, k) => s + v / sum * exchange.get(k, 3 * (k % 3) + Math.floor(k / 3)),
      0,
    );
    assert.deepEqual(info!.tried, [10_000]);
    assert.ok(
      Math.abs(info!.taken[0] as number / 10_000 - rate) < 0.03,
      `${info!.taken[0]} of ${rate}`,
    );
  });

  it("parallelTempering() exchanges neighbours by turns, and counts them", async () => {
    const chains = parallelTempering({ betas: [1, 0.5, 0.2, 0], energy, moves, steps: 5 });
    const pairs: (readonly number[])[] = [], rates: (readonly number[])[] = [];
    for await (
      const { info } of run(replicated({ x: 0, step: 0 } as HostMoveState<number>, 4), {
        key: key(1),
      })(chains) as AsyncIterable<typeof start>
    ) {
      if (info) {
        pairs.push(info.pairs);
        rates.push(info.tried);
        assert.ok(info.acceptance.every((p) => (p as number) > 0 && (p as number) <= 1));
      }
    }
    assert.deepEqual(pairs, [[0, 2], [1], [0, 2], [1], [0, 2]]);
    assert.deepEqual(rates.at(-1), [3, 2, 3]);
  });

  it("parallelTempering() crosses a barrier that a single chain does not, and finds the weights", async () => {
    // One fifth at −4, four fifths at 4, each of variance 1/4: 32 nats lie between.
    const law = (beta: number) =>
      targetOf((x) => {
        const at = (mean: number, weight: number) =>
          tf.add(tf.mul(tf.square(tf.sub(x, mean)), -2), Math.log(weight));
        return tf.neg(tf.sum(tf.logSumExp(tf.stack([at(-4, 0.2), at(4, 0.8)]), 0), 1));
      }, { beta });
    const walk = (beta: number) => randomWalk(law(beta), { scale: 0.8 / Math.sqrt(beta) });
    const count = 400, x: Tensor = tf.fill([count, 1], -4), steps = 300;
    const single = await ended({ x, step: 0 }, randomWalk(law(1), { scale: 0.8, steps }));
    assert.ok(single.x.dataSync().every((v) => v < 0));
    const energy = (y: Tensor) => {
      const at = (mean: number, weight: number) =>
        tf.add(tf.mul(tf.square(tf.sub(y, mean)), -2), Math.log(weight));
      return tf.neg(tf.sum(tf.logSumExp(tf.stack([at(-4, 0.2), at(4, 0.8)]), 0), 1));
    };
    const chains = parallelTempering({ betas: [1, 0.35, 0.12, 0.04], energy, moves: walk, steps });
    const { x: replicas, info } = await ended(
      replicated({ x, step: 0 }, 4) as never,
      chains as never,
    ) as TemperedState<{ x: Tensor; step: number }>;
    const share = zOf(numbers(replicas[0]!.x, (v) => +(v > 0)), 0.8);
    assert.ok(Math.abs(share) < 4, `${share}`);
    assert.ok(Math.abs(zOf(numbers(replicas[0]!.x, (v) => (Math.abs(v) - 4) ** 2), 0.25)) < 4);
    // Without the weights both modes would be alike.
    assert.ok(Math.abs(zOf(numbers(replicas[0]!.x, (v) => +(v > 0)), 0.5)) > 10);
    assert.deepEqual(info!.tried, [150, 150, 150]);
    const rates = info!.taken.map((each) =>
      numbers(each as Tensor).reduce((a, b) => a + b) / count / 150
    );
    assert.ok(rates.every((rate) => rate > 0.2 && rate < 0.9), `${rates}`);
  });

  it("parallelTempering() ends with its moves, and checks each replica before the first step", async () => {
    const two = (beta: number) =>
      chain<HostMoveState<number>>(async function* () {
        let i = 0;
        for await (const move of moves(beta)) {
          if (i++ === 2) return;
          yield move;
        }
      });
    const { step } = await ended(start, parallelTempering({ betas, energy, moves: two }));
    assert.equal(step, 2);
    const walled = parallelTempering({
      betas: [1, 0.5],
      energy: () => 0,
      moves: () =>
        hostMetropolis<number>({ energy: (x) => x === 1 ? Infinity : 0, propose: (x) => ({ x }) }),
      steps: 0,
    });
    const outside = { x: [{ x: 0, step: 0 }, { x: 1, step: 0 }], step: 0 };
    await assert.rejects(ended(outside, walled), /the energy at x must be finite, got Infinity/);
    await assert.rejects(
      ended(
        replicated({ x: 0, step: 0 } as HostMoveState<number>, 3),
        parallelTempering({ betas, energy, moves }),
      ),
      /x must be 2 states, one for each beta, got 3/,
    );
  });

  it("parallelTempering() refuses what it cannot take, by name", async () => {
    for (const wrong of [[1], [1, -1], [1, NaN], 1]) {
      assert.throws(
        () => parallelTempering({ betas: wrong as number[], energy, moves }),
        /^RangeError: Cannot make replicas: betas must be at least two numbers of at least 0, got/,
      );
    }
    assert.throws(
      () => parallelTempering({ betas, moves } as never),
      /energy must be a function, got undefined/,
    );
    assert.throws(
      () => replicated({ x: 0, step: 0 }, 1),
      /count must be a whole number of at least 2, got 1/,
    );
    const lost = parallelTempering({ betas, energy: () => NaN, moves, steps: 2 });
    await assert.rejects(
      ended(start, lost),
      /Cannot exchange replicas: energies must be numbers, got NaN/,
    );
  });
});

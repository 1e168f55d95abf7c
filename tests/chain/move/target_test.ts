import { before, describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import * as tf from "@tensorflow/tfjs-core";
import { scope } from "../../../mod.ts";
import { cooled, type Target, targetOf } from "../../../src/chain/move/target.ts";
import { randomWalk } from "../../../src/chain/move/metropolis.ts";
import { mala } from "../../../src/chain/move/mala.ts";
import { useBackend } from "../../../src/tensor/backend/backend.ts";
import type { Tensor } from "../../../src/tensor/tensor.ts";
import { ended, halfSquares, unit } from "./chains.ts";

const quartic = (x: Tensor): Tensor => tf.sum(tf.pow(x, 4), 1);
const cubic = (x: Tensor): Tensor => tf.mul(tf.pow(x, 3), 4);
const later = <A>(value: A): Promise<A> => new Promise((done) => setTimeout(() => done(value), 1));

describe("targetOf()", () => {
  before(() => useBackend("cpu"));

  const told = async (target: Target) => {
    const { energy, score } = await scope(() => target.pointAt(tf.tensor([[1, 2], [-3, 0.5]])));
    return [energy && [...energy.dataSync()], [...score.dataSync()]];
  };

  it("targetOf() has the energy, and the score -beta·grad E, however they are given", async () => {
    const wanted = [[17, 81.0625], [-4, -32, 108, -0.5]];
    assert.deepEqual(await told(targetOf(quartic)), wanted);
    assert.deepEqual(await told(targetOf({ energy: quartic, gradient: cubic })), wanted);
    const waiting = {
      energy: (x: Tensor) => later(quartic(x)),
      gradient: (x: Tensor) => later(cubic(x)),
    };
    assert.deepEqual(await told(targetOf(waiting)), wanted);
    const score = (x: Tensor) => tf.neg(cubic(x));
    assert.deepEqual(await told(targetOf({ score })), [undefined, wanted[1]]);
  });

  it("targetOf() is as cold as it is told to be, and cooled() again", async () => {
    const wanted = [[8.5, 40.53125], [-2, -16, 54, -0.25]];
    assert.deepEqual(await told(targetOf(quartic, { beta: 0.5 })), wanted);
    assert.deepEqual(await told(cooled(targetOf(quartic, { beta: 2 }), 0.25)), wanted);
    const alone = targetOf(quartic, { beta: 0.5 });
    const { energy } = await scope(() => alone.energyAt(tf.tensor([[1, 2]])));
    assert.equal(energy.dataSync()[0], 8.5);
  });

  it("targetOf() refuses what is no law", () => {
    assert.throws(
      () => targetOf({}),
      /^TypeError: Cannot make a target: there must be an energy or a score, got neither$/,
    );
    assert.throws(() => targetOf({ energy: quartic, score: cubic }), /got both$/);
    assert.throws(
      () => targetOf({ score: cubic, gradient: cubic }),
      /a gradient must have an energy, got none$/,
    );
    for (const beta of [-1, NaN, Infinity]) {
      assert.throws(
        () => targetOf(quartic, { beta }),
        /^RangeError: .*beta must be a number of at least 0/,
      );
    }
  });

  it("a chain looks at what a target says before its first step", async () => {
    const walk = (energy: (x: Tensor) => Tensor, x: Tensor = tf.zeros([3, 2])) =>
      ended({ x, step: 0 }, randomWalk(targetOf(energy), { scale: 1, steps: 0 }));
    await assert.rejects(
      walk((x) => tf.sum(x)),
      /its energy must be of shape \[3\] for x of shape \[3,2\], got \[\]$/,
    );
    await assert.rejects(
      walk((x) => tf.add(halfSquares(x), Infinity)),
      /^RangeError: Cannot start a chain of moves: the energy at x must be finite, got Infinity$/,
    );
    await assert.rejects(walk((x) => tf.add(halfSquares(x), NaN)), /must be finite, got NaN$/);
    await assert.rejects(walk(halfSquares, tf.tensor([[NaN, 0]])), /the start's x must be finite/);
    await assert.rejects(
      walk(halfSquares, tf.scalar(0)),
      /x must be a float32 tensor of shape \[N, ...sample\]/,
    );
    const bad = targetOf({ energy: halfSquares, gradient: (x) => tf.sum(x, 1) });
    const start = { x: tf.zeros([3, 2]), step: 0 };
    await assert.rejects(
      ended(start, mala(bad, { stepSize: 1, steps: 0 })),
      /its score must be of shape \[3,2\]/,
    );
    await ended(start, randomWalk(unit(), { scale: 1, steps: 0 }));
  });

  it("a target without an energy is refused where moves are tested", () => {
    const score = targetOf({ score: tf.neg as (x: Tensor) => Tensor });
    assert.throws(
      () => randomWalk(score, { scale: 1 }),
      /^TypeError: .*the target must have an energy, got a score alone$/,
    );
    assert.throws(() => mala(score, { stepSize: 1 }), /the target must have an energy/);
  });
});

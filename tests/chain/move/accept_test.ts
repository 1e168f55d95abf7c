import { before, describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import * as tf from "@tensorflow/tfjs-core";
import { key, split } from "../../../mod.ts";
import { acceptance, logRatio, logUniforms, tested } from "../../../src/chain/move/accept.ts";
import { useBackend } from "../../../src/tensor/backend/backend.ts";
import { zOf } from "./chains.ts";

describe("the test of a move", () => {
  before(() => useBackend("cpu"));

  it("logRatio() is E(x) - E(y) + ln q(x | y) - ln q(y | x), and refuses what has no probability", () => {
    assert.equal(logRatio({ from: 1, to: 3 }), -2);
    assert.equal(logRatio({ from: 1, to: 3, forth: -4, back: -1 }), 1);
    assert.equal(logRatio({ from: 1, to: Infinity, forth: -Infinity, back: Infinity }), -Infinity);
    assert.ok(Number.isNaN(logRatio({ from: 1, to: NaN })));
    assert.equal(acceptance(2), 1);
    assert.equal(acceptance(-2), Math.exp(-2));
  });

  it("logUniforms() are those of uniforms, one a key, and none is infinite", () => {
    const keys = split(key(3), 20_000), logs = logUniforms(keys);
    assert.ok(Math.abs(zOf(Array.from(logs, (l) => -l), 1)) < 4);
    assert.ok(Math.abs(zOf(Array.from(logs, (l) => Math.exp(l) ** 2), 1 / 3)) < 4);
    assert.ok(logs.every((l) => l < 0 && l > -38));
    assert.deepEqual(logUniforms([keys[7]!]), logs.slice(7, 8));
  });

  it("tested() takes rows by themselves, with all that is known of them, and shows a NaN", () => {
    const here = { x: tf.tensor([[1, 2], [3, 4], [5, 6]]), energy: tf.tensor1d([1, 2, 3]) };
    const there = { x: tf.neg(here.x), energy: tf.neg(here.energy) };
    const logA = tf.tensor1d([-1, -3, NaN]), logU = tf.tensor1d([-2, -2, -2]);
    const { place, accepted } = tested({ here, there, logA, logU });
    assert.deepEqual(place.x.arraySync(), [[-1, -2], [3, 4], [NaN, NaN]]);
    assert.deepEqual(place.energy.arraySync(), [-1, 2, 3]);
    assert.deepEqual([...accepted.dataSync()], [1, 0, 0]);
  });
});

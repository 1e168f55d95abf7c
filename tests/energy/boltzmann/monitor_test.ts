/** Pseudo-likelihood, reconstruction and the gap of free energies against all states. */

import { before, describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import * as tf from "@tensorflow/tfjs-core";
import {
  freeEnergyGap,
  pseudoLikelihood,
  reconstructionError,
} from "../../../src/energy/boltzmann/monitor.ts";
import { useBackend } from "../../../src/tensor/backend/backend.ts";
import { key } from "../../../src/tensor/key.ts";
import { uniform } from "../../../src/tensor/random.ts";
import { average, near, variance } from "../../measure.ts";
import { brute, gaussianMachine, machine, rows, tensors } from "./machines.ts";

const small = machine(5, 4, 1), all = brute(small);

/** ln p(x_i | the other bits), by all states. */
const kept = (s: number, i: number): number =>
  Math.log(all.p[s]! / (all.p[s]! + all.p[s ^ (1 << i)]!));

describe("what is watched of a Boltzmann machine", () => {
  before(() => useBackend("wasm"));

  it("pseudoLikelihood() of all bits is the sum of the conditionals", () => {
    const found = pseudoLikelihood(tensors(small), rows(all.xs)).dataSync();
    found.forEach((log, s) =>
      near(log, [0, 1, 2, 3, 4].reduce((sum, i) => sum + kept(s, i), 0), 1e-5)
    );
  });

  it("pseudoLikelihood() is the same in one part and in several", () => {
    const wide = machine(600, 80, 2, 0.1),
      x = tf.cast(tf.less(uniform(key(3), [100, 600]), 0.5), "float32");
    const whole = pseudoLikelihood(tensors(wide), x).dataSync();
    const one = pseudoLikelihood(tensors(wide), tf.slice(x, [90, 0], [1, 600])).dataSync();
    assert.equal(whole.length, 100);
    near(whole[90]!, one[0]!, 1e-3);
  });

  it("pseudoLikelihood() of one random bit has that as its mean, and is n times one of the conditionals", () => {
    const s = 13, count = 4000, x = tf.tile(rows([all.xs[s]!]), [count, 1]);
    const found = [...pseudoLikelihood(tensors(small), x, { key: key(1) }).dataSync()];
    const each = [0, 1, 2, 3, 4].map((i) => 5 * kept(s, i)), mean = average(each);
    const z = (average(found) - mean) / Math.sqrt(variance(each) / count);
    assert.ok(Math.abs(z) < 4, `${z}`);
    assert.ok(found.every((log) => each.some((wanted) => Math.abs(log - wanted) < 1e-4)));
    // A bit of each sample by itself, and not one for all.
    assert.equal(
      new Set(found.map((log) => each.findIndex((wanted) => Math.abs(log - wanted) < 1e-4))).size,
      5,
    );
    assert.throws(
      () => pseudoLikelihood(tensors(gaussianMachine(2, 2, 1)), tf.zeros([1, 2])),
      /^RangeError: Cannot find a pseudo-likelihood: the visible units must be binary, got "gaussian"$/,
    );
  });

  it("reconstructionError() and freeEnergyGap() are what they say", () => {
    const some = [1, 9, 30], rest = [0, 17];
    const at = (list: readonly number[]) => rows(list.map((s) => all.xs[s]!));
    const sigmoid = (a: number) => 1 / (1 + Math.exp(-a));
    const errors = some.flatMap((s) => {
      const h = [0, 1, 2, 3].map((j) =>
        sigmoid(
          small.hidden[j]! +
            all.xs[s]!.reduce((sum, x, i) => sum + x * small.weights[4 * i + j]!, 0),
        )
      );
      return all.xs[s]!.map((x, i) =>
        (x -
          sigmoid(
            small.visible[i]! + h.reduce((sum, hj, j) => sum + hj * small.weights[4 * i + j]!, 0),
          )) ** 2
      );
    });
    near(reconstructionError(tensors(small), at(some)).dataSync()[0]!, average(errors), 1e-6);
    const gap = average(rest.map((s) => all.free[s]!)) - average(some.map((s) => all.free[s]!));
    near(freeEnergyGap(tensors(small), at(some), at(rest)).dataSync()[0]!, gap, 1e-5);
  });
});

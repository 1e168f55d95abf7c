/** ln Z in float64, against all states of all units. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { logPartition, partitionCost } from "../../../../src/energy/boltzmann/partition/exact.ts";
import { near } from "../../../measure.ts";
import { brute, energy, gaussianMachine, logSum, machine, states } from "../machines.ts";

const small = machine(5, 4, 1), all = brute(small);

describe("ln Z of a Boltzmann machine", () => {
  it("logPartition() by the states of one layer is that by all 2⁹ states, whichever layer is the smaller", () => {
    near(logPartition(small), all.logZ, 1e-12);
    const wide = machine(3, 7, 4);
    near(logPartition(wide), brute(wide).logZ, 1e-12);
  });

  it("logPartition() of units without weights is the product of their sums, to 16 units", () => {
    const rbm = { ...machine(16, 9, 3), weights: new Float64Array(144) };
    const wanted = [...rbm.visible, ...rbm.hidden].map((b) => Math.log(1 + Math.exp(b)));
    near(logPartition(rbm), wanted.reduce((a, b) => a + b), 1e-12);
  });

  it("logPartition() stays within the floats where Z does not", () => {
    const rbm = machine(6, 5, 8, 400);
    const logs = states(6).flatMap((x) => states(5).map((h) => -energy(rbm, x, h)));
    near(logPartition(rbm), Math.max(...logs), 1e-9);
    assert.ok(logPartition(rbm) > 800);
    // Products where they fit into the floats, and sums of logarithms where they do not, meet.
    const wide = machine(9, 6, 8, 20),
      sums = { ...wide, visible: wide.visible.map((b) => b + 499 * Number(b > 0)) };
    for (const each of [wide, sums]) {
      const all = states(9).flatMap((x) => states(6).map((h) => -energy(each, x, h)));
      near(logPartition(each), logSum(all), 1e-9);
    }
  });

  it("partitionCost() grows with the smaller layer alone, and a sum that costs too much is refused with it", () => {
    const cost = (n: number, m: number) => partitionCost(machine(n, m, 0));
    assert.deepEqual(cost(5, 4), { layer: "hidden", states: 16, operations: 80 });
    assert.deepEqual(cost(50, 4), { layer: "hidden", states: 16, operations: 800 });
    assert.deepEqual(cost(4, 50), { layer: "visible", states: 16, operations: 800 });
    assert.deepEqual(partitionCost(gaussianMachine(2, 5, 0)), {
      layer: "hidden",
      states: 32,
      operations: 64,
    });
    assert.throws(
      () => logPartition(machine(30, 25, 0)),
      /^RangeError: Cannot sum over all states: the states of the hidden layer must be at most 1048576, got 33554432, which take 1\.0e\+9 operations; annealedPartition estimates ln Z$/,
    );
    assert.throws(() => logPartition(small, { most: 15 }), /at most 15, got 16/);
  });
});

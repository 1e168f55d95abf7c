/** Restricted machines on tensors against all 2⁹ states of 5 + 4 units, and Gaussian units against sums and quadrature. */

import { before, describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import * as tf from "@tensorflow/tfjs-core";
import {
  freeEnergy,
  heated,
  hiddenMean,
  initialRbm,
  logOdds,
  rbmEnergy,
  visibleMean,
} from "../../../src/energy/boltzmann/rbm.ts";
import { useBackend } from "../../../src/tensor/backend/backend.ts";
import { key } from "../../../src/tensor/key.ts";
import { average, live, near, variance } from "../../measure.ts";
import {
  brute,
  energy,
  gaussianMachine,
  logSum,
  machine,
  rows,
  states,
  tensors,
} from "./machines.ts";

const small = machine(5, 4, 1), all = brute(small);

describe("a restricted Boltzmann machine", () => {
  before(() => useBackend("wasm"));

  it("rbmEnergy() has the pairs of the two layers and the biases, and no pairs within a layer", () => {
    const pairs = all.xs.flatMap((x) => all.hs.map((h) => [x, h] as const));
    const found = rbmEnergy(
      tensors(small),
      rows(pairs.map(([x]) => x)),
      rows(pairs.map(([, h]) => h)),
    );
    found.dataSync().forEach((e, i) => near(e, energy(small, ...pairs[i]!), 1e-5));
    // The second difference of E in two units of one layer is 0, in the first it is the bias and what W tells.
    const none = [0, 0, 0, 0, 0], h = [1, 0, 1, 1];
    const at = (...on: number[]) => energy(small, none.map((_, i) => on.includes(i) ? 1 : 0), h);
    near(at(0, 1) - at(0) - at(1) + at(), 0, 1e-12);
    assert.ok(Math.abs(at(0) - at()) > 0.1);
  });

  it("freeEnergy() is −ln of the sum over the hidden units, and e^(−F) sums to Z", () => {
    const free = freeEnergy(tensors(small), rows(all.xs)).dataSync();
    free.forEach((f, s) => near(f, all.free[s]!, 1e-5));
    near(logSum(Array.from(free, (f) => -f)), all.logZ, 1e-6);
  });

  it("hiddenMean() and visibleMean() are the conditionals of all states", () => {
    const p = hiddenMean(tensors(small), rows(all.xs)).arraySync() as number[][];
    p.forEach((row, s) =>
      row.forEach((value, j) =>
        near(value, all.hs.reduce((sum, h, t) => sum + h[j]! * all.given[s]![t]!, 0), 1e-6)
      )
    );
    const q = visibleMean(tensors(small), rows(all.hs)).arraySync() as number[][];
    q.forEach((row, t) => {
      const weights = all.joint.map((each) => Math.exp(each[t]!));
      const total = weights.reduce((a, b) => a + b);
      row.forEach((value, i) =>
        near(value, all.xs.reduce((sum, x, s) => sum + x[i]! * weights[s]!, 0) / total, 1e-6)
      );
    });
  });

  it("heated() has beta times the energy, also of Gaussian units", () => {
    const x = rows(all.xs), h = rows(all.xs.map((_, s) => all.hs[s % 16]!));
    const binary = tensors(small);
    const once = rbmEnergy(binary, x, h).dataSync(),
      half = rbmEnergy(heated(binary, 0.3), x, h).dataSync();
    half.forEach((e, s) => near(e, 0.3 * once[s]!, 1e-5));
    const gaussian = tensors(gaussianMachine(5, 4, 2)), y = tf.mul(tf.sub(x, 0.3), 1.7);
    const a = rbmEnergy(gaussian, y, h).dataSync(),
      b = rbmEnergy(heated(gaussian, 0.3), y, h).dataSync();
    b.forEach((e, s) => near(e, 0.3 * a[s]!, 2e-5));
  });

  it("Gaussian units: the conditional law of x is e^(−E), by quadrature, and so is F", () => {
    const values = gaussianMachine(1, 3, 5), rbm = tensors(values), hs = states(3);
    const grid = Array.from({ length: 4001 }, (_, k) => -20 + k / 100);
    const x = rows(grid.map((each) => [each]));
    const mean = visibleMean(rbm, rows(hs)).dataSync();
    const sigma = Math.exp(values.logVariance![0]! / 2);
    const sums = grid.map(() => 0);
    hs.forEach((h, t) => {
      const e = rbmEnergy(rbm, x, tf.tile(rows([h]), [grid.length, 1])).dataSync();
      const p = Array.from(e, (each) => Math.exp(-each)), total = p.reduce((a, b) => a + b);
      const m = p.reduce((sum, each, k) => sum + each * grid[k]!, 0) / total;
      near(m, mean[t]!, 1e-4);
      const spread = p.reduce((sum, each, k) => sum + each * (grid[k]! - m) ** 2, 0) / total;
      near(spread / sigma ** 2, 1, 1e-4);
      // The scale of the pairs is x/σ, not x/σ²: one unit of h moves the mean by σ·W.
      near(
        mean[t]!,
        values.visible[0]! + sigma * h.reduce((sum, hj, j) => sum + hj * values.weights[j]!, 0),
        1e-5,
      );
      p.forEach((each, k) => sums[k]! += each);
    });
    freeEnergy(rbm, x).dataSync().forEach((f, k) => {
      if (sums[k]! > 1e-30) near(f, -Math.log(sums[k]!), 1e-4);
    });
  });

  it("initialRbm() starts with the means of the data, and weights of deviation 0.01", () => {
    const data = rows([[1, 0, 1, 1], [1, 0, 0, 1], [1, 0, 0, 0], [1, 0, 0, 1]]);
    const rbm = initialRbm({ visible: 4, hidden: 500, key: key(3), data });
    const wanted = [7 / 8, 1 / 8, 1 / 4, 3 / 4].map((p) => Math.log(p / (1 - p)));
    rbm.visible.dataSync().forEach((b, i) => near(b, wanted[i]!, 1e-5));
    const w = [...rbm.weights.dataSync()];
    // four standard errors of a variance, √(2/2000)
    near(variance(w) / 1e-4, 1, 4 * Math.sqrt(2 / 2000));
    assert.ok(rbm.hidden.dataSync().every((c) => c === 0));
    near(average([...logOdds(data).dataSync()]), average(wanted), 1e-5);
    const real = initialRbm({
      visible: 2,
      hidden: 2,
      key: key(3),
      units: "gaussian",
      data: rows([[1, 5], [3, 5]]),
    });
    assert.deepEqual([...real.visible.dataSync()], [2, 5]);
    near(real.logVariance!.dataSync()[0]!, 0, 1e-6);
    near(real.logVariance!.dataSync()[1]!, Math.log(1e-4), 1e-4);
  });

  it("leaves nothing behind but its results", () => {
    const rbm = tensors(small), x = rows(all.xs), count = live();
    const made = [freeEnergy(rbm, x), hiddenMean(rbm, x), logOdds(x)];
    assert.equal(live() - count, made.length);
  });

  it("refuses shapes that do not fit, and what is out of range", () => {
    const rbm = tensors(small);
    const refused = (work: () => unknown, message: string): void =>
      assert.throws(
        work,
        (error: Error) => (assert.equal(`${error.name}: ${error.message}`, message), true),
      );
    refused(
      () => freeEnergy(rbm, tf.zeros([2, 4])),
      "RangeError: Cannot find a free energy: x must be of shape [N, 5], got [2,4]",
    );
    refused(
      () => freeEnergy({ ...rbm, hidden: tf.zeros([5]) }, tf.zeros([2, 5])),
      "RangeError: Cannot find a free energy: rbm.hidden must be of shape [4], got [5]",
    );
    refused(
      () => freeEnergy({ ...rbm, weights: 3 as unknown as tf.Tensor }, tf.zeros([2, 5])),
      "TypeError: Cannot find a free energy: rbm.weights must be a tensor, got 3",
    );
    refused(
      () => heated(rbm, NaN),
      "RangeError: Cannot heat a Boltzmann machine: beta must be at least 0 and finite, got NaN",
    );
    refused(
      () => heated(tensors(gaussianMachine(2, 2, 0)), 0),
      "RangeError: Cannot heat a Boltzmann machine: beta must be above 0 for Gaussian units and finite, got 0",
    );
    refused(
      () => initialRbm({ visible: 0, hidden: 2, key: key(0), units: "gauss" as "gaussian" }),
      "RangeError: Cannot make a Boltzmann machine: visible must be a whole number of at least 1, got 0; " +
        'units must be binary or gaussian, got "gauss"',
    );
  });
});

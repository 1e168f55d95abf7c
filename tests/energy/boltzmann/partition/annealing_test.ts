/** Annealed importance sampling against exact sums, by its own error bars. */

import { before, describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import * as tf from "@tensorflow/tfjs-core";
import type { ChainEnv } from "../../../../src/chain/chain.ts";
import { driver, plainly } from "../../../../src/chain/run.ts";
import {
  annealedImportance,
  annealedPartition,
  annealedStart,
  type AnnealedState,
  baseLogPartition,
  coldBetas,
  partitionEstimate,
} from "../../../../src/energy/boltzmann/partition/annealing.ts";
import { logPartition } from "../../../../src/energy/boltzmann/partition/exact.ts";
import { logOdds } from "../../../../src/energy/boltzmann/rbm.ts";
import { useBackend } from "../../../../src/tensor/backend/backend.ts";
import { fold, key } from "../../../../src/tensor/key.ts";
import { uniforms } from "../../../../src/tensor/random.ts";
import { live, near } from "../../../measure.ts";
import { brute, gaussianMachine, machine, rows, tensors } from "../machines.ts";

const small = machine(5, 4, 1, 1.5), all = brute(small);

/** Exact samples of the small machine. */
const samples = (count: number): tf.Tensor2D =>
  rows(Array.from(uniforms(key(77), count), (u) => {
    let at = 0, sum = all.p[0]!;
    while (u >= sum && at < all.p.length - 1) sum += all.p[++at]!;
    return all.xs[at]!;
  }));

/** The mean weight over many chains, which has no bias however few temperatures there are. */
const z = (found: { readonly logZ: number; readonly error: number }, exact: number): number =>
  // By the weights themselves, as their mean, and not its logarithm, is without bias.
  (1 - Math.exp(exact - found.logZ)) / found.error;

describe("annealed importance sampling", () => {
  before(() => useBackend("wasm"));

  it("has no bias in Z, forwards and backwards, whatever the base and the temperatures", async () => {
    const rbm = tensors(small), base = tf.tensor1d([0.5, -1, 0, 2, 0.3]), from = samples(5_000);
    for (const betas of [1, 3, [0, 0.2, 1]]) {
      for (const given of [{}, { base }]) {
        const forward = await annealedPartition(rbm, {
          key: key(1),
          betas,
          chains: 5_000,
          ...given,
        });
        assert.ok(Math.abs(z(forward, all.logZ)) < 4, `${z(forward, all.logZ)}`);
        const backward = await annealedPartition(rbm, {
          key: key(2),
          betas,
          samples: from,
          ...given,
        });
        assert.ok(Math.abs(z(backward, all.logZ)) < 4, `${z(backward, all.logZ)}`);
        // The mean of ln w is below ln Z, and backwards above it.
        assert.ok(forward.bound < all.logZ - 4 * forward.boundError);
        assert.ok(backward.bound > all.logZ + 4 * backward.boundError);
        near(forward.logZ, all.logZ, 4 * forward.error);
      }
    }
  });

  it("is so for Gaussian units", async () => {
    const values = gaussianMachine(4, 3, 3), rbm = tensors(values), exact = logPartition(values);
    const base = tf.tensor1d([1, 0, -1, 0.5]);
    for (const given of [{}, { base }]) {
      const found = await annealedPartition(rbm, {
        key: key(4),
        betas: 20,
        chains: 5_000,
        ...given,
      });
      assert.ok(Math.abs(z(found, exact)) < 4, `${z(found, exact)}`);
    }
  });

  it("baseLogPartition() is ln Z of the machine without weights", async () => {
    const none = {
      ...small,
      weights: small.weights.map(() => 0),
      hidden: small.hidden.map(() => 0),
    };
    near(await baseLogPartition(tensors(small), tensors(none).visible), logPartition(none), 1e-6);
    near(await baseLogPartition(tensors(small)), 9 * Math.LN2, 1e-12);
    const real = gaussianMachine(3, 2, 5);
    const alone = { ...real, weights: real.weights.map(() => 0), hidden: real.hidden.map(() => 0) };
    near(await baseLogPartition(tensors(real)), logPartition(alone), 1e-6);
  });

  it("finds ln Z of 784 × 20 units within its error bar, which falls with the number of temperatures", async () => {
    // logPartition(machine(784, 20, 1, 0.1)), which takes seconds; of 12 hidden units it is found here.
    const exact = 581.9284874295371, rbm = tensors(machine(784, 20, 1, 0.1));
    const errors: number[] = [];
    for (const betas of [10, 40, 160]) {
      const { logZ, error } = await annealedPartition(rbm, { key: key(2), betas });
      assert.ok(Math.abs(logZ - exact) < 4 * error, `${logZ} ± ${error}`);
      errors.push(error);
    }
    assert.ok(errors[1]! < 0.75 * errors[0]! && errors[2]! < 0.75 * errors[1]!, `${errors}`);
    const fewer = machine(784, 12, 1, 0.1);
    const { logZ, error } = await annealedPartition(tensors(fewer), { key: key(2), betas: 40 });
    near(logZ, logPartition(fewer), 4 * error);
  });

  it("without weights all chains weigh the same, ln Z to rounding over thousands of steps", async () => {
    const none = { ...machine(50, 20, 6), weights: new Float64Array(1000) }, rbm = tensors(none);
    const found = await annealedPartition(rbm, {
      key: key(1),
      betas: 2000,
      chains: 5,
      base: rbm.visible,
    });
    near(found.logZ, logPartition(none), 2e-3);
    assert.ok(found.error < 1e-3 && found.ess > 4.99);
  });

  it("a base with the means of the data makes weights more even", async () => {
    const values = {
      ...machine(30, 6, 2, 0.2),
      visible: Float64Array.from({ length: 30 }, (_, i) => i % 2 ? 3 : -3),
    };
    const rbm = tensors(values),
      data = rows(
        Array.from(
          { length: 50 },
          (_, s) =>
            Array.from(uniforms(fold(key(9), s), 30), (u, i) => Number(u < (i % 2 ? 0.95 : 0.05))),
        ),
      );
    const plain = await annealedPartition(rbm, { key: key(1), betas: 20 });
    const based = await annealedPartition(rbm, { key: key(1), betas: 20, base: logOdds(data) });
    assert.ok(based.error < 0.5 * plain.error);
    near(based.logZ, logPartition(values), 4 * based.error);
  });

  it("partitionEstimate() has the error of the mean weight, and the number of even weights that are as good", () => {
    const w = [1, 2, 3, 6], logs = w.map((each) => Math.log(each) + 900), sum = 12, squares = 50;
    const { logZ, error, ess, bound, boundError } = partitionEstimate(logs, { logZ0: 2 });
    near(logZ, 902 + Math.log(3), 1e-12);
    near(error, Math.sqrt((squares - sum ** 2 / 4) / 3 / 4) / 3, 1e-12);
    near(ess, sum ** 2 / squares, 1e-12);
    near(bound, 902 + Math.log(36) / 4, 1e-9);
    const mean = Math.log(36) / 4;
    near(
      boundError,
      Math.sqrt(w.reduce((s, each) => s + (Math.log(each) - mean) ** 2, 0) / 12),
      1e-9,
    );
    near(
      partitionEstimate([Math.log(0.5)], { logZ0: 2, backward: true }).logZ,
      2 + Math.LN2,
      1e-12,
    );
  });

  it("coldBetas() rise from 0 to 1", () => {
    const betas = coldBetas(300);
    assert.equal(betas.length, 301);
    assert.ok(
      betas[0] === 0 && betas[300] === 1 && betas.every((b, k) => k === 0 || b > betas[k - 1]!),
    );
    assert.ok(betas.filter((b) => b > 0.9).length > 200);
  });

  it("weighs each chain the same in any batch, and leaves nothing behind", async () => {
    const rbm = tensors(small), before = live();
    const run = driver(plainly<AnnealedState, ChainEnv>()),
      sampler = annealedImportance(rbm, { betas: 5 });
    const weights = async (count: number, first: number): Promise<number[]> => {
      let found: number[] = [];
      const start = annealedStart(rbm, { count });
      for await (const { logWeight } of run(start, { key: key(3), first })(sampler)) {
        found = [...logWeight.dataSync()];
      }
      return found;
    };
    assert.deepEqual((await weights(8, 0)).slice(5, 7), await weights(2, 5));
    await annealedPartition(rbm, { key: key(0), betas: 2, chains: 3 });
    assert.equal(live(), before);
  });

  it("refuses temperatures that do not rise from 0 to 1, and others, and stops with the step of what is not finite", async () => {
    const rbm = tensors(small);
    const wanted =
      /betas must be a whole number of at least 1, or numbers that rise from 0 to 1, got/;
    for (const betas of [0, 1.5, [0, 0.5], [0, 0.5, 0.5, 1], [0, NaN, 1], [0.1, 1]]) {
      assert.throws(() => annealedImportance(rbm, { betas }), wanted);
    }
    await assert.rejects(
      annealedPartition(rbm, { key: key(0), base: tf.zeros([4]) }),
      /base must be of shape \[5\], got \[4\]$/,
    );
    await assert.rejects(annealedPartition(rbm, { betas: 3 } as never), /key must be a key/);
    await assert.rejects(
      annealedPartition(rbm, { key: key(0), chains: 3, samples: samples(3) }),
      /chains must be absent beside samples, got 3$/,
    );
    const signal = AbortSignal.abort(new Error("called off"));
    await assert.rejects(annealedPartition(rbm, { key: key(0), signal }), /called off/);
    await assert.rejects(
      annealedPartition({ ...rbm, weights: tf.fill([5, 4], NaN) }, {
        key: key(0),
        betas: 3,
        chains: 2,
      }),
      /must be finite, got NaN or infinity at step 1/,
    );
    assert.throws(
      () => partitionEstimate([0, -Infinity], { logZ0: 0 }),
      /logWeights must be finite, got -Infinity$/,
    );
  });
});

/** Block Gibbs sampling: its kernel against all states, its chains against the kernel by z. */

import { before, describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import * as tf from "@tensorflow/tfjs-core";
import { last } from "../../../src/watch/record.ts";
import type { ChainEnv, ChainSampler } from "../../../src/chain/chain.ts";
import { driver, plainly } from "../../../src/chain/run.ts";
import { rbmGibbs, type RbmState } from "../../../src/energy/boltzmann/gibbs.ts";
import { hiddenMean, type Rbm, rbmEnergy, visibleMean } from "../../../src/energy/boltzmann/rbm.ts";
import { useBackend } from "../../../src/tensor/backend/backend.ts";
import { key } from "../../../src/tensor/key.ts";
import { live, near, rowsOf } from "../../measure.ts";
import { bits, brute, gaussianMachine, machine, rows, states, tensors } from "./machines.ts";

const run = driver(plainly<RbmState, ChainEnv>());
const small = machine(4, 3, 1), all = brute(small);

/** T(x → x') = Σ_h p(h | x)·p(x' | h) from the conditionals on tensors. */
function kernel(rbm: Rbm): number[][] {
  const law = (p: number[], x: number[]): number =>
    x.reduce((product, xi, i) => product * (xi === 1 ? p[i]! : 1 - p[i]!), 1);
  const up = rowsOf(hiddenMean(rbm, rows(states(4)))),
    down = rowsOf(visibleMean(rbm, rows(states(3))));
  return up.map((p) =>
    states(4).map((x) => states(3).reduce((sum, h, t) => sum + law(p, h) * law(down[t]!, x), 0))
  );
}

/** How often each state of 4 bits is among rows. */
function counts(x: tf.Tensor): number[] {
  const found = Array.from({ length: 16 }, () => 0);
  for (const row of rowsOf(x)) found[row.reduce((sum, bit, i) => sum + (bit << i), 0)]!++;
  return found;
}

/** The greatest |z| of counts under probabilities. */
const greatest = (found: readonly number[], p: readonly number[], total: number): number =>
  Math.max(
    ...found.map((n, s) => Math.abs(n - total * p[s]!) / Math.sqrt(total * p[s]! * (1 - p[s]!))),
  );

const end = (
  sampler: ChainSampler<RbmState, ChainEnv>,
  x: tf.Tensor,
  env: Partial<ChainEnv> = {},
): Promise<RbmState> => last(run({ x, step: 0 }, { key: key(5), ...env })(sampler));

describe("rbmGibbs()", () => {
  before(() => useBackend("wasm"));

  it("has a kernel in detailed balance with p(x), which it leaves as it is", () => {
    const t = kernel(tensors(small));
    all.p.forEach((p, a) => all.p.forEach((q, b) => near(p * t[a]![b]!, q * t[b]![a]!, 1e-7)));
    all.p.forEach((q, b) => near(all.p.reduce((sum, p, a) => sum + p * t[a]![b]!, 0), q, 1e-6));
  });

  it("draws the next state by that kernel", async () => {
    const total = 20_000, t = kernel(tensors(small));
    for (const from of [0, 6, 15]) {
      const x = tf.tile(rows([bits(from, 4)]), [total, 1]);
      const { x: next } = await end(rbmGibbs(tensors(small), { steps: 1 }), x);
      assert.ok(greatest(counts(next), t[from]!, total) < 4);
      // Other rows of the kernel are refuted.
      assert.ok(greatest(counts(next), t[from ^ 15]!, total) > 10);
    }
  });

  it("comes to p(x), and at beta to the law of beta times the energy", async () => {
    const total = 10_000, rbm = tensors(small), zeros = tf.zeros([total, 4]);
    const { x } = await end(rbmGibbs(rbm, { steps: 20 }), zeros);
    assert.ok(greatest(counts(x), all.p, total) < 4);
    const { x: warm } = await end(rbmGibbs(rbm, { steps: 20, beta: 0.5 }), zeros);
    const half = brute({
      weights: small.weights.map((w) => w / 2),
      visible: small.visible.map((b) => b / 2),
      hidden: small.hidden.map((c) => c / 2),
    });
    assert.ok(greatest(counts(warm), half.p, total) < 4);
    assert.ok(greatest(counts(warm), all.p, total) > 10);
  });

  it("of Gaussian units comes to their means and variances, also at beta", async () => {
    const values = gaussianMachine(2, 2, 9), rbm = tensors(values), total = 5_000;
    for (const beta of [1, 0.5]) {
      const { x } = await end(rbmGibbs(rbm, { steps: 25, beta }), tf.zeros([total, 2]));
      // Moments of e^(−beta·E) by a grid.
      const step = 0.2, points: number[][] = [];
      for (let a = -15; a < 15; a += step) for (let b = -15; b < 15; b += step) points.push([a, b]);
      const log = (h: number[]) =>
        Array.from(
          rbmEnergy(rbm, rows(points), tf.tile(rows([h]), [points.length, 1])).dataSync(),
          (e) => -beta * e,
        );
      const logs = states(2).map(log),
        w = points.map((_, s) => logs.reduce((sum, each) => sum + Math.exp(each[s]!), 0));
      const z = w.reduce((a, b) => a + b), found = rowsOf(x);
      for (const i of [0, 1]) {
        const moment = (k: number) =>
          w.reduce((sum, each, s) => sum + each * points[s]![i]! ** k, 0) / z;
        const seen = (k: number) => found.reduce((sum, row) => sum + row[i]! ** k, 0) / total;
        for (const k of [1, 2]) {
          const se = Math.sqrt((moment(2 * k) - moment(k) ** 2) / total);
          assert.ok(Math.abs(seen(k) - moment(k)) / se < 4);
        }
      }
    }
  });

  it("draws the same for a chain in any batch, and goes on from its middle", async () => {
    const rbm = tensors(small), x = rows(states(4)), sampler = rbmGibbs(rbm, { steps: 6 });
    const whole = await end(sampler, x),
      part = await end(sampler, tf.slice(x, [10, 0], [3, 4]), { first: 10 });
    assert.deepEqual(rowsOf(part.x), rowsOf(whole.x).slice(10, 13));
    let middle: RbmState | undefined;
    for await (const state of run({ x, step: 0 }, { key: key(5) })(sampler)) {
      if (state.step === 2) middle = { x: tf.clone(state.x), step: 2 };
    }
    const rest = await last(run(middle!, { key: key(5) })(rbmGibbs(rbm, { steps: 4 })));
    assert.deepEqual(rowsOf(rest.x), rowsOf(whole.x));
  });

  it("tells the hidden units of each step, and leaves nothing behind", async () => {
    const rbm = tensors(small), x = rows(states(4)), before = live();
    let steps = 0;
    for await (const { info, step } of run({ x, step: 0 }, { key: key(1) })(rbmGibbs(rbm))) {
      if (step === 0) assert.equal(info, undefined);
      else assert.deepEqual(info!.hidden.shape, [16, 3]);
      if (++steps === 5) break;
    }
    assert.equal(live(), before);
  });

  it("refuses what does not fit before the first step", async () => {
    const rbm = tensors(small);
    assert.throws(() => rbmGibbs(rbm, { beta: 0 }), /beta must be above 0, got 0$/);
    assert.throws(
      () => rbmGibbs(rbm, { kSteps: 3 } as object),
      /options must be among steps, beta, got "kSteps"$/,
    );
    await assert.rejects(
      end(rbmGibbs(rbm, { steps: 1 }), tf.zeros([2, 5])),
      /^RangeError: Cannot run a Boltzmann machine: x must be of shape \[N, 4\], got \[2,5\]$/,
    );
    await assert.rejects(
      end(
        rbmGibbs({ ...rbm, visible: tf.tensor1d([0, NaN, 0, 0]), logVariance: tf.zeros([4]) }, {
          steps: 1,
        }),
        tf.zeros([2, 4]),
      ),
      /x must be finite, got NaN or infinity at step 1/,
    );
  });
});

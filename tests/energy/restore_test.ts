/** Restoration: the posterior of a Gaussian in closed form, with and without a mask. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import * as tf from "@tensorflow/tfjs-core";
import "../../src/tensor/autodiff.ts";
import { observedEnergy } from "../../src/energy/restore.ts";
import { useBackend } from "../../src/tensor/backend/backend.ts";

await useBackend("cpu");

const numbers = (tensor: tf.Tensor): number[] => [...tensor.dataSync()];

/** N(0, tau²) of each number. */
const prior = (tau: number) => (x: tf.Tensor) =>
  tf.mul(tf.sum(tf.square(x), x.shape.map((_, i) => i).slice(1)), 0.5 / tau ** 2);

describe("observedEnergy()", () => {
  const tau = 0.7, sigma = 0.3, y = tf.tensor3d([[[0.5, -1], [2, 0.1]], [[1, 1], [-2, 3]]]);
  const weight = tau ** 2 / (tau ** 2 + sigma ** 2);

  it("is least at Wiener's τ²/(τ² + σ²)·y, and as steep around it as the posterior is narrow", () => {
    const energy = observedEnergy(prior(tau), { y, sigma });
    const slope = tf.grad((x: tf.Tensor) => tf.sum(energy(x)));
    numbers(slope(tf.mul(y, weight))).forEach((x) => assert.ok(Math.abs(x) < 1e-5));
    const precision = 1 / tau ** 2 + 1 / sigma ** 2, off = tf.add(tf.mul(y, weight), 0.25);
    numbers(slope(off)).forEach((x) => assert.ok(Math.abs(x / (0.25 * precision) - 1) < 1e-5));
    const [first] = numbers(energy(tf.zeros([2, 2, 2])));
    assert.ok(Math.abs(first! - (0.25 + 1 + 4 + 0.01) / (2 * sigma ** 2)) < 1e-4);
  });

  it("knows nothing of what the mask leaves out, and one y serves all samples", () => {
    const one = tf.slice(y, [0, 0, 0], [1, 2, 2]), mask = tf.tensor2d([[1, 0], [0, 1]]);
    const energy = observedEnergy(prior(tau), { y: one, sigma, mask });
    const x = tf.tensor3d([[[1, 5], [-4, 0]], [[0.5, 1], [1, 0.1]]]), p = numbers(prior(tau)(x));
    const wanted = [(0.5 ** 2 + 0.1 ** 2) / (2 * sigma ** 2), 0];
    numbers(energy(x)).forEach((e, i) => assert.ok(Math.abs(e - p[i]! - wanted[i]!) < 1e-5));
    const slope = numbers(tf.grad((x: tf.Tensor) => tf.sum(energy(x)))(x));
    assert.ok(Math.abs(slope[1]! - 5 / tau ** 2) < 1e-5);
  });

  it("refuses what does not fit", () => {
    const energy = prior(1);
    for (const sigma of [0, -1, NaN, Infinity]) {
      assert.throws(
        () => observedEnergy(energy, { y, sigma }),
        /Cannot restore: sigma must be positive/,
      );
    }
    assert.throws(() => observedEnergy(energy, { sigma: 1 } as never), /y must be/);
    assert.throws(
      () => observedEnergy(3 as never, { y, sigma }),
      /energy must be a function, got 3/,
    );
    assert.throws(() => observedEnergy(energy, { y, sigma, noise: 1 } as never), /noise/);
    const seen = observedEnergy(energy, { y, sigma });
    assert.throws(
      () => seen(tf.zeros([3, 2, 2])),
      /y must be of a shape that spreads to \[3,2,2\], got \[2,2,2\]/,
    );
    const slip = observedEnergy((x) => tf.sum(x), { y, sigma });
    assert.throws(() => slip(y), /a part must answer with shape \[2\], got \[\]/);
    const masked = observedEnergy(energy, { y, sigma, mask: tf.ones([3]) });
    assert.throws(() => masked(y), /mask must be of a shape that spreads/);
  });
});

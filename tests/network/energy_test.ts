/** Energies: against the formula in plain numbers, their gradients against differences, to the second order. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import * as tf from "@tensorflow/tfjs-core";
import { energyMlp, energyNet, type EnergyNetwork } from "../../src/network/energy.ts";
import { oneHot } from "../../src/network/layer/embedding.ts";
import { initialize } from "../../src/network/layer/parameter.ts";
import { useBackend } from "../../src/tensor/backend/backend.ts";
import { key } from "../../src/tensor/key.ts";
import { normal } from "../../src/tensor/random.ts";
import { live } from "../measure.ts";

await useBackend("cpu");

const silu = (x: number): number => x / (1 + Math.exp(-x));

/** A random network with weights that are not 0, biases neither. */
const lively = (network: EnergyNetwork) =>
  initialize(
    Object.fromEntries(
      Object.entries(network.parameters).map(([name, each]) => [name, { std: 0.3, ...each }]),
    ),
    key(5),
  );

/** Relative differences of numbers. */
const close = (got: ArrayLike<number>, wanted: ArrayLike<number>, most: number): void => {
  assert.equal(got.length, wanted.length);
  const size = Math.max(...Array.from(wanted, Math.abs));
  for (let i = 0; i < wanted.length; i++) {
    assert.ok(Math.abs(got[i]! - wanted[i]!) <= most * size, `${i}: ${got[i]}, ${wanted[i]}`);
  }
};

describe("energyMlp()", () => {
  it("is W·silu(… silu(W·x + b)) + b + ‖x‖²/(2s²), for each class, and −ln Σ e^(−E) of them", () => {
    const network = energyMlp({ dimension: 2, width: 3, layers: 2, classes: 2, reference: 0.5 });
    const params = lively(network), x = normal(key(1), [4, 2]);
    const rows = (name: string): number[][] => params[name]!.arraySync() as number[][];
    const bias = (name: string): number[] => params[name]!.arraySync() as number[];
    const layer = (h: readonly number[], name: string): number[] =>
      bias(`${name}.bias`).map((b, j) =>
        h.reduce((sum, value, i) => sum + value * rows(`${name}.weight`)[i]![j]!, b)
      );
    const both = (x.arraySync() as number[][]).map((row) => {
      const features = ["dense.0", "dense.1"].reduce((h, name) => layer(h, name).map(silu), row);
      const away = row.reduce((sum, value) => sum + value ** 2, 0) / (2 * 0.25);
      return layer(features, "energy").map((e) => e + away);
    });
    const labels = [1, 0, 0, 1];
    const of = network.apply(params, x, oneHot(labels, 2));
    close(of.dataSync(), both.map((e, i) => e[labels[i]!]!), 1e-6);
    const sum = network.apply(params, x);
    close(sum.dataSync(), both.map(([a, b]) => -Math.log(Math.exp(-a!) + Math.exp(-b!))), 1e-6);
    tf.dispose([params, x, of, sum]);
  });

  it("of classes far apart in energy neither overflows nor loses its gradient", () => {
    const network = energyMlp({ dimension: 1, width: 1, layers: 1, classes: 2 });
    const params = { ...lively(network), "energy.bias": tf.tensor1d([-1000, 0]) };
    const x = tf.tensor2d([[0.5]]), both = network.apply(params, x);
    const first = network.apply(params, x, oneHot([0], 2));
    assert.equal(both.dataSync()[0], first.dataSync()[0]);
    const gradient = (label?: tf.Tensor) =>
      tf.grad((x: tf.Tensor) => tf.sum(network.apply(params, x, label)))(x).dataSync()[0];
    assert.equal(gradient(), gradient(oneHot([0], 2)));
  });
});

describe("energyNet()", () => {
  const network = energyNet({ size: [8, 4], base: 2, channels: 2 });

  it("has the score of differences, and a gradient of the score's square by its weights", () => {
    const params = lively(network), x = tf.mul(normal(key(1), [2, 8, 4, 2]), 0.7);
    const energy = (x: tf.Tensor): tf.Tensor => network.apply(params, x);
    const along = normal(key(2), x.shape), h = 1e-2;
    const score = tf.grad((x: tf.Tensor) => tf.sum(energy(x)))(x);
    const slope = tf.sum(tf.mul(score, along), [1, 2, 3]);
    const step = (by: number): tf.Tensor => energy(tf.add(x, tf.mul(along, by)));
    const differences = tf.div(tf.sub(step(h), step(-h)), 2 * h);
    close(slope.dataSync(), differences.dataSync(), 2e-3);

    const name = "conv.1.weight", weight = params[name]!;
    const size = (w: tf.Tensor): tf.Scalar => {
      const s = tf.grad((x: tf.Tensor) => tf.sum(network.apply({ ...params, [name]: w }, x)))(x);
      return tf.sum(tf.square(s));
    };
    const turn = normal(key(3), weight.shape), by = 1e-2;
    const second = tf.sum(tf.mul(tf.grad(size)(weight), turn)).dataSync();
    const moved = (by: number): tf.Tensor => size(tf.add(weight, tf.mul(turn, by)));
    close(second, tf.div(tf.sub(moved(by), moved(-by)), 2 * by).dataSync(), 5e-3);
  });

  it("leaves nothing behind", () => {
    const params = lively(network), x = normal(key(1), [2, 8, 4, 2]), alive = live();
    network.apply(params, x).dispose();
    assert.equal(live(), alive);
    tf.dispose([params, x]);
  });

  it("refuses samples, labels and weights of other shapes, and configurations that are none", () => {
    const params = lively(network), x = normal(key(1), [2, 8, 4, 2]);
    assert.throws(() => network.apply(params, tf.zeros([2, 4, 8, 2])), {
      message: "Cannot compute an energy: x must be of shape [N, 8, 4, 2], got [2,4,8,2]",
    });
    assert.throws(() => network.apply(params, x, tf.zeros([2, 1])), {
      message:
        "Cannot compute an energy: label must be absent of a network without classes, got [2,1]",
    });
    const many = energyMlp({ dimension: 1, classes: 3 });
    assert.throws(() => many.apply(lively(many), tf.zeros([2, 1]), tf.zeros([2, 2])), {
      message: "Cannot compute an energy: label must be one-hot rows [2, 3], got [2,2]",
    });
    assert.throws(() => network.apply({}, x), /Cannot compute an energy: params/);
    assert.throws(() => energyNet({ size: [6, 8] }), /size must be multiples of 4 pixels, got 6×8/);
    assert.throws(() => energyNet({ size: [8, 8], width: 3 } as never), /got "width"/);
    for (const reference of [0, -1, NaN, Infinity]) {
      assert.throws(() => energyMlp({ dimension: 2, reference }), /reference must be positive/);
    }
  });
});

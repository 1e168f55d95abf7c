/** Gradients of Boltzmann machines on tensors: against sums in float64, against tfjs's own gradients, and under flipped bits. */

import { before, describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import * as tf from "@tensorflow/tfjs-core";
import "../../../src/tensor/autodiff.ts";
import {
  type Contrast,
  contrasted,
  dbmContrasted,
  exactStatistics,
  movedOffsets,
  type Offsets,
  type RbmStatistics,
  rbmStatistics,
} from "../../../src/energy/boltzmann/divergence.ts";
import { logPartition, type RbmValues } from "../../../src/energy/boltzmann/partition/exact.ts";
import {
  dataExpectations,
  likelihoodGradient,
  modelExpectations,
} from "../../../src/energy/boltzmann/partition/likelihood.ts";
import { freeEnergy, type Rbm } from "../../../src/energy/boltzmann/rbm.ts";
import { useBackend } from "../../../src/tensor/backend/backend.ts";
import { key } from "../../../src/tensor/key.ts";
import { normals } from "../../../src/tensor/random.ts";
import { near } from "../../measure.ts";
import { gaussianMachine, machine, rows, tensors } from "./machines.ts";

const small = machine(5, 4, 1), names = ["weights", "visible", "hidden"] as const;
const data = [[1, 0, 0, 1, 1], [0, 1, 1, 0, 1], [1, 1, 1, 1, 0]];

/** Tensors hold the same as numbers. */
function same(found: Rbm, wanted: RbmValues, by = 1e-5): void {
  for (const [name, values] of Object.entries(wanted) as ["weights", Float64Array][]) {
    assert.equal(found[name].size, values.length);
    found[name].dataSync().forEach((value, i) => near(value, values[i]!, by));
  }
}

/** The machine that has p(1 − x) for p(x). */
const flipped = ({ weights, visible, hidden }: Rbm): Rbm => ({
  weights: tf.neg(weights),
  visible: tf.neg(visible),
  hidden: tf.add(hidden, tf.sum(weights, 0)),
});

/** The greatest difference of parameters. */
const apart = (a: Rbm, b: Rbm): number =>
  Math.max(...names.map((name) => tf.max(tf.abs(tf.sub(a[name], b[name]))).dataSync()[0]!));

describe("the gradient of a Boltzmann machine", () => {
  before(() => useBackend("wasm"));

  it("rbmStatistics() are the means of −∂E/∂θ, also of Gaussian units and of uneven shares", () => {
    same(rbmStatistics(tensors(small), rows(data)), dataExpectations(small, data.flat()));
    const real = gaussianMachine(3, 4, 6), x = normals(key(5), 12);
    const found = rbmStatistics(tensors(real), tf.tensor2d(x, [4, 3]));
    same(found, dataExpectations(real, x));
    const twice = [...data, data[1]!];
    same(
      rbmStatistics(tensors(small), rows(data), tf.tensor1d([0.25, 0.5, 0.25])),
      dataExpectations(small, twice.flat()),
    );
  });

  it("exactStatistics() are the model's, whichever layer is gone through, with ln Z", () => {
    for (const values of [small, machine(3, 6, 2)]) {
      const { statistics, logZ } = exactStatistics(tensors(values));
      same(statistics, modelExpectations(values));
      near(logZ.dataSync()[0]!, logPartition(values), 1e-5);
    }
    assert.throws(
      () => exactStatistics(tensors(machine(17, 18, 0))),
      /the smaller layer must be of at most 16 units, got 17$/,
    );
    assert.throws(
      () => exactStatistics(tensors(gaussianMachine(2, 2, 0))),
      /the visible units must be binary, got "gaussian"$/,
    );
  });

  it("contrasted() of both is the gradient of −ln p(x), and tfjs's of F and ln Z", () => {
    const rbm = tensors(small), x = rows(data);
    const contrast = { positive: rbmStatistics(rbm, x), negative: exactStatistics(rbm).statistics };
    const found = contrasted(rbm, contrast), up = likelihoodGradient(small, data.flat());
    const down = Object.fromEntries(
      Object.entries(up).map(([name, each]) => [name, (each as Float64Array).map((v) => -v)]),
    );
    same(found, down as unknown as RbmValues);
    const loss = (weights: tf.Tensor, visible: tf.Tensor, hidden: tf.Tensor) => {
      const at = { weights, visible, hidden };
      return tf.add(tf.mean(freeEnergy(at, x)), exactStatistics(at).logZ) as tf.Scalar;
    };
    tf.grads(loss)([rbm.weights, rbm.visible, rbm.hidden]).forEach((each, i) =>
      each.dataSync().forEach((value, k) => near(value, found[names[i]!].dataSync()[k]!, 1e-5))
    );
    const decayed = contrasted(rbm, { ...contrast, decay: 0.1 });
    decayed.weights.dataSync().forEach((w, i) =>
      near(w, found.weights.dataSync()[i]! + 0.1 * small.weights[i]!, 1e-5)
    );
    near(apart({ ...decayed, weights: found.weights }, found), 0, 0);
  });

  it("the gradient of Gaussian units points along the likelihood's, variances too", () => {
    const real = gaussianMachine(3, 4, 6), x = normals(key(5), 12), rbm = tensors(real);
    const model = tensors(modelExpectations(real));
    const found = contrasted(rbm, {
      positive: rbmStatistics(rbm, tf.tensor2d(x, [4, 3])),
      negative: model,
    });
    const up = likelihoodGradient(real, x);
    for (const [name, values] of Object.entries(up)) {
      found[name as "weights"].dataSync().forEach((value, i) => near(value, -values[i]!, 2e-5));
    }
  });

  it("centring makes flipped bits learn the mirrored parameters, which without it they do not", () => {
    const rbm = tensors(small), x = rows(data), mirror = flipped(rbm), y = tf.sub(1, x);
    const offsets: Offsets = {
      visible: tf.tensor1d([0.9, 0.2, 0.5, 0.7, 0.1]),
      hidden: tf.tensor1d([0.3, 0.8, 0.5, 0.1]),
    };
    const opposite = { ...offsets, visible: tf.sub(1, offsets.visible) };
    const step = (
      at: Rbm,
      on: tf.Tensor,
      given: Partial<Contrast<RbmStatistics, Offsets>>,
    ): Rbm => {
      const g = contrasted(at, {
        positive: rbmStatistics(at, on),
        negative: exactStatistics(at).statistics,
        ...given,
      });
      const move = (name: typeof names[number]) => tf.sub(at[name], tf.mul(g[name], 0.5));
      return { weights: move("weights"), visible: move("visible"), hidden: move("hidden") };
    };
    for (const decay of [0, 0.2]) {
      const a = step(rbm, x, { offsets, decay }), b = step(mirror, y, { offsets: opposite, decay });
      near(apart(flipped(a), b), 0, 2e-6);
      assert.ok(apart(flipped(step(rbm, x, { decay })), step(mirror, y, { decay })) > 0.01);
    }
    const zero = { visible: tf.zeros([5]), hidden: tf.zeros([4]) };
    near(apart(step(rbm, x, { offsets: zero }), step(rbm, x, {})), 0, 1e-6);
  });

  it("dbmContrasted() centres each layer between its neighbours: flipped bits of any layer are mirrored", () => {
    const sizes = [4, 3, 2],
      part = (seed: number, ...shape: number[]) =>
        tf.tensor(normals(key(seed), shape.reduce((a, b) => a * b)), shape);
    const dbm = {
      weights: [part(1, 4, 3), part(2, 3, 2)],
      biases: sizes.map((size, l) => part(3 + l, size)),
    };
    const law = (seed: number) => ({
      weights: [part(seed, 4, 3), part(seed + 1, 3, 2)],
      biases: sizes.map((size, l) => part(seed + 2 + l, size)),
    });
    const positive = law(20),
      negative = law(40),
      offsets = sizes.map((size, l) => part(60 + l, size));
    /** Means of −∂E/∂θ, or parameters, when the middle layer's bits are flipped. */
    const meansFlipped = ({ weights, biases }: typeof dbm) => ({
      weights: [
        tf.sub(tf.reshape(biases[0]!, [-1, 1]), weights[0]!),
        tf.sub(tf.reshape(biases[2]!, [1, -1]), weights[1]!),
      ],
      biases: [biases[0]!, tf.sub(1, biases[1]!), biases[2]!],
    });
    const flip = ({ weights, biases }: typeof dbm) => ({
      weights: weights.map((w) => tf.neg(w)),
      biases: [
        tf.add(biases[0]!, tf.sum(weights[0]!, 1)),
        tf.neg(biases[1]!),
        tf.add(biases[2]!, tf.sum(weights[1]!, 0)),
      ],
    });
    const found = dbmContrasted(dbm, { positive, negative, offsets, decay: 0.1 });
    const mirrored = dbmContrasted(flip(dbm), {
      positive: meansFlipped(positive),
      negative: meansFlipped(negative),
      offsets: [offsets[0]!, tf.sub(1, offsets[1]!), offsets[2]!],
      decay: 0.1,
    });
    const wanted = flip({ weights: [...found.weights], biases: [...found.biases] });
    [...wanted.weights, ...wanted.biases].forEach((each, i) => {
      const other = [...mirrored.weights, ...mirrored.biases][i]!;
      near(tf.max(tf.abs(tf.sub(each, other))).dataSync()[0]!, 0, 2e-5);
    });
  });

  it("movedOffsets() go a share of the way to the batch's means", () => {
    const rbm = tensors(small), positive = rbmStatistics(rbm, rows(data));
    const { visible, hidden } = movedOffsets(
      { visible: tf.ones([5]), hidden: tf.zeros([4]) },
      positive,
      0.25,
    );
    visible.dataSync().forEach((v, i) =>
      near(v, 0.75 + 0.25 * positive.visible.dataSync()[i]!, 1e-6)
    );
    hidden.dataSync().forEach((v, j) => near(v, 0.25 * positive.hidden.dataSync()[j]!, 1e-6));
  });
});

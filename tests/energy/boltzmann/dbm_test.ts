/** Deep machines of 4 + 3 + 2 + 2 units against all their states. */

import { before, describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import * as tf from "@tensorflow/tfjs-core";
import { annealedPartition } from "../../../src/energy/boltzmann/partition/annealing.ts";
import {
  bipartite,
  type Dbm,
  dbmEnergy,
  dbmOf,
  dbmParams,
  dbmStatistics,
  doubled,
  layerMean,
  layersOf,
  meanField,
  stacked,
  variationalBound,
} from "../../../src/energy/boltzmann/dbm.ts";
import { logPartition, rbmValues } from "../../../src/energy/boltzmann/partition/exact.ts";
import {
  freeEnergy,
  hiddenMean,
  type Rbm,
  rbmEnergy,
  visibleMean,
} from "../../../src/energy/boltzmann/rbm.ts";
import { useBackend } from "../../../src/tensor/backend/backend.ts";
import { key } from "../../../src/tensor/key.ts";
import { normals } from "../../../src/tensor/random.ts";
import { live, near, rowsOf } from "../../measure.ts";
import { logSum, machine, rows, states, tensors } from "./machines.ts";

/** A deep machine of random parameters. */
function deep(sizes: readonly number[], seed: number, spread = 1): Dbm {
  const part = (at: number, ...shape: number[]): tf.Tensor =>
    tf.mul(tf.tensor(normals(key(100 * seed + at), shape.reduce((a, b) => a * b)), shape), spread);
  return {
    weights: sizes.slice(1).map((size, l) => part(l, sizes[l]!, size)),
    biases: sizes.map((size, l) => part(50 + l, size)),
  };
}

/** All states of all layers: the units of each layer, by their number, and −E by sums over numbers. */
function brute(dbm: Dbm) {
  const sizes = dbm.biases.map(({ size }) => size), count = sizes.reduce((a, b) => a + b);
  const w = dbm.weights.map((each) => rowsOf(each)),
    b = dbm.biases.map((each) => [...each.dataSync()]);
  const all = states(count).map((units) => {
    let at = 0;
    return sizes.map((size) => units.slice(at, at += size));
  });
  const logs = all.map((layers) => {
    let sum = 0;
    layers.forEach((h, l) =>
      h.forEach((hi, i) => {
        sum += b[l]![i]! * hi;
        layers[l + 1]?.forEach((hj, j) => sum += hi * w[l]![i]![j]! * hj);
      })
    );
    return sum;
  });
  const logZ = logSum(logs);
  /** ln p*(v) of a row of visible units. */
  const seen = (v: readonly number[]): number =>
    logSum(logs.filter((_, s) => all[s]![0]!.join() === v.join()));
  return { all, logs, logZ, seen };
}

let four: Dbm, found: ReturnType<typeof brute>;

describe("a deep Boltzmann machine", () => {
  before(async () => {
    await useBackend("wasm");
    four = deep([4, 3, 2, 2], 1);
    found = brute(four);
  });

  it("dbmEnergy() and layerMean() are those of all states", () => {
    const layers = [0, 1, 2, 3].map((l) => rows(found.all.map((each) => each[l]!)));
    dbmEnergy(four, layers).dataSync().forEach((e, s) => near(e, -found.logs[s]!, 1e-5));
    for (const l of [0, 1, 2, 3]) {
      const p = rowsOf(layerMean(four, layers, l));
      for (const s of [0, 77, 1000, 2047]) {
        const others = (each: number[][]) => each.filter((_, k) => k !== l).join("|");
        const same = found.all.map((each, t) => [each, found.logs[t]!] as const)
          .filter(([each]) => others(each) === others(found.all[s]!));
        const total = logSum(same.map(([, log]) => log));
        p[s]!.forEach((value, i) =>
          near(
            value,
            same.reduce((sum, [each, log]) => sum + each[l]![i]! * Math.exp(log - total), 0),
            1e-6,
          )
        );
      }
    }
  });

  it("bipartite() is the same machine: its energy, its Z, and layers that come apart again", async () => {
    const rbm = bipartite(four), n = 6, m = 5;
    assert.deepEqual(rbm.weights.shape, [n, m]);
    const x = rows(found.all.map(([v, , h2]) => [...v!, ...h2!])),
      h = rows(found.all.map(([, h1, , h3]) => [...h1!, ...h3!]));
    rbmEnergy(rbm, x, h).dataSync().forEach((e, s) => near(e, -found.logs[s]!, 1e-5));
    near(logPartition(await rbmValues(rbm)), found.logZ, 1e-6);
    layersOf(four, x, h).forEach((layer, l) =>
      assert.deepEqual(rowsOf(layer), found.all.map((each) => each[l]!))
    );
  });

  it("alternating layers are in detailed balance with the law of the even ones", () => {
    const rbm = bipartite(four),
      free = Array.from(freeEnergy(rbm, rows(states(6))).dataSync(), (f) => -f);
    const p = free.map((log) => Math.exp(log - found.logZ));
    const law = (q: number[], x: number[]): number =>
      x.reduce((product, xi, i) => product * (xi ? q[i]! : 1 - q[i]!), 1);
    const up = rowsOf(hiddenMean(rbm, rows(states(6)))),
      down = rowsOf(visibleMean(rbm, rows(states(5))));
    const t = (a: number, b: number): number =>
      states(5).reduce((sum, h, k) => sum + law(up[a]!, h) * law(down[k]!, states(6)[b]!), 0);
    for (const [a, b] of [[0, 63], [5, 40], [17, 18], [33, 2]] as const) {
      near(p[a]! * t(a, b) / (p[b]! * t(b, a)), 1, 1e-4);
    }
    near(p.reduce((x, y) => x + y), 1, 1e-5);
  });

  it("variationalBound() is at most ln p*(v), rises with each update of the mean field, and is exact without a top", () => {
    const vs = states(4), v = rows(vs), exact = vs.map((each) => found.seen(each));
    let last = vs.map(() => -Infinity);
    for (const steps of [0, 1, 2, 3, 5, 10, 30]) {
      const bound = [...variationalBound(four, v, meanField(four, v, { steps })).dataSync()];
      bound.forEach((each, s) => {
        assert.ok(each <= exact[s]! + 1e-5, `${each} above ${exact[s]}`);
        assert.ok(each >= last[s]! - 1e-5);
      });
      last = bound;
    }
    // Close to it, but not it, as the mean field leaves out what the layers tell each other.
    assert.ok(Math.max(...last.map((each, s) => exact[s]! - each)) > 1e-3);
    // Any means at all keep to the bound.
    const any = [3, 2, 2].map((size, l) => tf.fill([16, size], 0.1 + 0.3 * l));
    variationalBound(four, v, any).dataSync().forEach((each, s) => assert.ok(each < exact[s]!));
    // At a fixed point each layer is what its neighbours tell it.
    const means = meanField(four, v, { steps: 200 }), layers = [v, ...means];
    means.forEach((mean, l) =>
      near(tf.max(tf.abs(tf.sub(mean, layerMean(four, layers, l + 1)))).dataSync()[0]!, 0, 1e-5)
    );
  });

  it("with W_2 = 0 it is a restricted machine, and its bound is exact", async () => {
    const values = machine(4, 3, 7), rbm = tensors(values), top = tf.tensor1d([0.3, -1]);
    const dbm: Dbm = {
      weights: [rbm.weights, tf.zeros([3, 2])],
      biases: [rbm.visible, rbm.hidden, top],
    };
    const more = [0.3, -1].reduce((sum, b) => sum + Math.log(1 + Math.exp(b)), 0),
      v = rows(states(4));
    near(logPartition(await rbmValues(bipartite(dbm))), logPartition(values) + more, 1e-6);
    const bound = variationalBound(dbm, v, meanField(dbm, v)), free = freeEnergy(rbm, v).dataSync();
    bound.dataSync().forEach((each, s) => near(each, more - free[s]!, 1e-5));
    near(tf.max(tf.abs(tf.sub(meanField(dbm, v)[0]!, hiddenMean(rbm, v)))).dataSync()[0]!, 0, 1e-6);
  });

  it("annealedPartition() of bipartite() finds ln Z", async () => {
    const { logZ, error } = await annealedPartition(bipartite(four), {
      key: key(3),
      betas: 50,
      chains: 1000,
    });
    assert.ok(Math.abs(logZ - found.logZ) < 4 * error && error < 0.02);
  });

  it("dbmStatistics() are the means of pairs of neighbours and of units", () => {
    const layers = [rows([[1, 0], [1, 1]]), rows([[0.5], [1]]), rows([[0, 1, 1], [1, 1, 0]])];
    const { weights, biases } = dbmStatistics(layers);
    assert.deepEqual(rowsOf(weights[0]!), [[0.75], [0.5]]);
    assert.deepEqual(rowsOf(weights[1]!), [[0.5, 0.75, 0.25]]);
    assert.deepEqual(biases.map((each) => [...each.dataSync()]), [[1, 0.5], [0.75], [0.5, 1, 0.5]]);
  });

  it("stacked() takes the ends as they are, halves what is between, and joins the biases of a layer by their mean", () => {
    const rbms = [machine(4, 3, 1), machine(3, 2, 2), machine(2, 5, 3)],
      made = stacked(rbms.map(tensors));
    [1, 0.5, 1].forEach((share, l) =>
      made.weights[l]!.dataSync().forEach((w, i) => near(w, share * rbms[l]!.weights[i]!, 1e-6))
    );
    const mean = (a: Float64Array, b: Float64Array) => Array.from(a, (v, i) => (v + b[i]!) / 2);
    const wanted = [
      [...rbms[0]!.visible],
      mean(rbms[0]!.hidden, rbms[1]!.visible),
      mean(rbms[1]!.hidden, rbms[2]!.visible),
      [...rbms[2]!.hidden],
    ];
    wanted.forEach((each, l) =>
      made.biases[l]!.dataSync().forEach((b, i) => near(b, each[i]!, 1e-6))
    );
    assert.throws(
      () => stacked([tensors(rbms[0]!), tensors(rbms[2]!)]),
      /rbms\[1\] must have 3 visible units, got 2$/,
    );
    assert.throws(() => stacked([tensors(rbms[0]!)]), /rbms must be at least two, got 1$/);
  });

  it("doubled() hears a layer twice", () => {
    const rbm = tensors(machine(3, 2, 4)), x = rows(states(3)), h = rows(states(2));
    const twice = hiddenMean(doubled(rbm, "visible"), tf.concat([x, x], 1));
    const by = tf.sigmoid(tf.add(tf.mul(tf.matMul(x, rbm.weights), 2), rbm.hidden));
    near(tf.max(tf.abs(tf.sub(twice, by))).dataSync()[0]!, 0, 1e-6);
    const down = visibleMean(doubled(rbm, "hidden"), tf.concat([h, h], 1));
    const wanted = tf.sigmoid(
      tf.add(tf.mul(tf.matMul(h, rbm.weights, false, true), 2), rbm.visible),
    );
    near(tf.max(tf.abs(tf.sub(down, wanted))).dataSync()[0]!, 0, 1e-6);
  });

  it("dbmParams() and dbmOf() are each other's inverse, and misfits are refused", () => {
    const params = dbmParams(four);
    assert.deepEqual(Object.keys(params), [
      "weights.1",
      "weights.2",
      "weights.3",
      "biases.0",
      "biases.1",
      "biases.2",
      "biases.3",
    ]);
    const again = dbmOf(params);
    assert.ok(
      [...again.weights, ...again.biases].every((each, i) =>
        each === [...four.weights, ...four.biases][i]
      ),
    );
    const { "biases.2": _, ...less } = params;
    assert.throws(() => dbmOf(less), /params must have biases\.2/);
    assert.throws(
      () => bipartite({ ...four, biases: four.biases.slice(1) }),
      /biases must be one more than 3 weights/,
    );
    assert.throws(
      () => dbmOf({ ...params, "weights.2": tf.zeros([2, 3]) }),
      /^RangeError: Cannot read a deep Boltzmann machine: weights\[1\] must be of shape \[3,2\], got \[2,3\]$/,
    );
    assert.throws(
      () => meanField(four, tf.zeros([2, 3])),
      /v must be of shape \[N, 4\], got \[2,3\]$/,
    );
  });

  it("leaves nothing behind but its results", () => {
    const v = rows(states(4)), count = live();
    const means = meanField(four, v),
      bound = variationalBound(four, v, means),
      rbm: Rbm = bipartite(four);
    assert.equal(live() - count, means.length + 1 + 3);
    tf.dispose([bound, ...means, ...Object.values(rbm)]);
  });
});

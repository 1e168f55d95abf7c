/** Deep machines in training: the update against the exact law of all states, likelihoods by all states. */

import { after, before, describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import * as tf from "@tensorflow/tfjs-core";
import { compiler } from "../../../src/engine/compile/compile.ts";
import { start as started } from "../../../src/engine/runtime/session.ts";
import {
  bipartite,
  type Dbm,
  dbmOf,
  dbmParams,
  dbmStatistics,
  doubled,
  layersOf,
  meanField,
  stacked,
} from "../../../src/energy/boltzmann/dbm.ts";
import { logPartition, rbmValues } from "../../../src/energy/boltzmann/partition/exact.ts";
import { freeEnergy, hiddenMean, initialRbm, type Rbm } from "../../../src/energy/boltzmann/rbm.ts";
import { useBackend } from "../../../src/tensor/backend/backend.ts";
import { mapTensors } from "../../../src/tensor/engine.ts";
import { fold, key } from "../../../src/tensor/key.ts";
import { normals, uniforms } from "../../../src/tensor/random.ts";
import { contrastiveDivergence } from "../../../src/train/boltzmann/divergence.ts";
import {
  deepDivergence,
  type DeepDivergenceOptions,
  deepStart,
} from "../../../src/train/boltzmann/deep.ts";
import { pretrainedDbm } from "../../../src/train/boltzmann/greedy.ts";
import { rowBatches } from "../../../src/train/boltzmann/rows.ts";
import { disposeTraining, newTraining, type TrainState } from "../../../src/train/loop/state.ts";
import { train } from "../../../src/train/loop/train.ts";
import { byMomentum } from "../../../src/train/optimizer/momentum.ts";
import { average, live, near, rowsOf } from "../../measure.ts";
import { logSum, rows, states } from "../../energy/boltzmann/machines.ts";

const engine = compiler(await started());
after(() => engine.close());

/** A deep machine of random parameters. */
function deep(sizes: readonly number[], seed: number, spread = 1): Dbm {
  const part = (at: number, ...shape: number[]): tf.Tensor =>
    tf.mul(tf.tensor(normals(key(100 * seed + at), shape.reduce((a, b) => a * b)), shape), spread);
  return {
    weights: sizes.slice(1).map((size, l) => part(l, sizes[l]!, size)),
    biases: sizes.map((size, l) => part(50 + l, size)),
  };
}

/** ln p(v) of each row, of a machine of two or three hidden layers: a sum over the even layers. */
async function likelihoods(dbm: Dbm, data: readonly (readonly number[])[]): Promise<number[]> {
  const law = bipartite(dbm), logZ = logPartition(await rbmValues(law));
  const rest = states(law.visible.size - data[0]!.length);
  const free = Array.from(
    freeEnergy(law, rows(data.flatMap((v) => rest.map((h) => [...v, ...h])))).dataSync(),
  );
  return data.map((_, s) =>
    logSum(free.slice(s * rest.length, (s + 1) * rest.length).map((f) => -f)) - logZ
  );
}

const host = (params: Readonly<Record<string, tf.Tensor>>): number[][] =>
  Object.keys(params).sort().map((name) => [...params[name]!.dataSync()]);

/** The end of a run. */
async function trained(
  dbm: Dbm,
  { options = {}, batches, carried, rate = 0.05, momentum = 0.5, from, on }: {
    readonly options?: DeepDivergenceOptions;
    readonly batches: readonly ArrayLike<number>[];
    readonly carried?: Record<string, tf.Tensor>;
    readonly rate?: number;
    readonly momentum?: number;
    readonly from?: TrainState;
    readonly on?: typeof engine;
  },
) {
  const optimizer = byMomentum({ rate, momentum }), loss = deepDivergence(dbm, options);
  const start = from ?? newTraining(dbmParams(dbm), { optimizer, ...(carried && { carried }) });
  const losses: number[] = [];
  let params: Record<string, tf.Tensor> = {}, kept: number[][] = [];
  for await (
    const state of train(start, { loss, optimizer, key: key(3), ...(on && { engine: on }) })(
      batches,
    )
  ) {
    losses.push(state.loss);
    tf.dispose(params);
    params = mapTensors(state.params, (each) => tf.clone(each));
    kept = host(state.carried ?? {});
  }
  if (from === undefined) disposeTraining(start);
  return { params, losses, kept };
}

const batch = [1, 0, 0, 1, 1, 1, 0, 1, 0, 1, 1, 0];

describe("deepDivergence()", () => {
  before(() => useBackend("wasm"));

  it("steps by the mean field over the data less the model's own law, by z over exact chains", async () => {
    const dbm = deep([4, 3, 2], 1), law = bipartite(dbm), count = 6000, evens = states(6);
    const logs = Array.from(freeEnergy(law, rows(evens)).dataSync(), (f) => -f),
      logZ = logSum(logs);
    const p = logs.map((log) => Math.exp(log - logZ)), u = uniforms(key(9), count);
    const chains = rows(Array.from(u, (each) => {
      let s = 0, sum = p[0]!;
      while (each >= sum && s < 63) sum += p[++s]!;
      return evens[s]!;
    }));
    for (const kSteps of [1, 3]) {
      const options = { chains: count, kSteps, meanFieldSteps: 7 };
      const { params } = await trained(dbm, {
        options,
        batches: [batch],
        carried: { chains },
        rate: 1,
        momentum: 0,
      });
      const x = tf.tensor2d(batch, [3, 4]),
        seen = dbmParams(dbmStatistics([x, ...meanField(dbm, x, { steps: 7 })]));
      const each = evens.map((even) =>
        host(dbmParams(dbmStatistics(layersOf(dbm, rows([even]), hiddenMean(law, rows([even]))))))
      );
      const greatest = (positive: number[][]) =>
        Math.max(
          ...Object.entries(dbmParams(dbm)).sort(([a], [b]) => a < b ? -1 : 1).flatMap((
            [name, was],
            g,
          ) =>
            Array.from(params[name]!.dataSync(), (now, i) => {
              const first = p.reduce((sum, q, s) => sum + q * each[s]![g]![i]!, 0);
              const spread = p.reduce((sum, q, s) => sum + q * (each[s]![g]![i]! - first) ** 2, 0);
              return Math.abs(was.dataSync()[i]! - now - (first - positive[g]![i]!)) /
                Math.sqrt(spread / count);
            })
          ),
        );
      assert.ok(greatest(host(seen)) < 4, `${greatest(host(seen))}`);
      // A mean field that is not updated from above is refuted.
      assert.ok(
        greatest(host(dbmParams(dbmStatistics([x, ...meanField(dbm, x, { steps: 0 })])))) > 10,
      );
    }
  });

  it("chains go on from step to step, to the law of the model", async () => {
    const dbm = deep([4, 3, 2], 1), law = bipartite(dbm), count = 4000, evens = states(6);
    const logs = Array.from(freeEnergy(law, rows(evens)).dataSync(), (f) => -f),
      logZ = logSum(logs);
    const mean = (i: number): number =>
      evens.reduce((sum, x, s) => sum + x[i]! * Math.exp(logs[s]! - logZ), 0);
    const greatest = async (updates: number): Promise<number> => {
      const { kept: [chains] } = await trained(dbm, {
        options: { chains: count, kSteps: 1 },
        batches: Array(updates).fill(batch),
        carried: { chains: tf.zeros([count, 6]) },
        rate: 0,
      });
      return Math.max(...[0, 1, 2, 3, 4, 5].map((i) => {
        const found = average(chains!.filter((_, at) => at % 6 === i)), p = mean(i);
        return Math.abs(found - p) / Math.sqrt(p * (1 - p) / count);
      }));
    };
    assert.ok(await greatest(12) < 4);
    assert.ok(await greatest(1) > 10);
  });

  it("goes on from a state bit for bit, and compiled is the same", async () => {
    const dbm = deep([4, 3, 2, 2], 2, 0.5),
      options = { chains: 8, kSteps: 2, centring: 0.1, decay: 1e-3 };
    const carried = deepStart(dbm, { ...options, key: key(1) }), batches = Array(5).fill(batch);
    const whole = await trained(dbm, { options, batches, carried });
    const compiled = await trained(dbm, { options, batches, carried, on: engine });
    host(compiled.params).forEach((each, g) =>
      each.forEach((v, i) => near(v, host(whole.params)[g]![i]!, 1e-5))
    );
    assert.deepEqual(compiled.kept[0], whole.kept[0]);
    const optimizer = byMomentum({ rate: 0.05, momentum: 0.5 });
    const start = newTraining(dbmParams(dbm), { optimizer, carried });
    for await (
      const state of train(start, { loss: deepDivergence(dbm, options), optimizer, key: key(3) })(
        batches,
      )
    ) {
      if (state.step !== 2) continue;
      const rest = await trained(dbm, { options, batches: batches.slice(2), from: state });
      assert.deepEqual(host(rest.params), host(whole.params));
      assert.deepEqual(rest.kept, whole.kept);
    }
  });

  it("learns two patterns from a start that knows none of them, and a greedy start learns them too", async () => {
    const shown = [[1, 1, 0, 0], [0, 0, 1, 1]], data = Array(32).fill(shown.flat()).flat();
    const start = (epochs: number): Promise<Dbm> =>
      pretrainedDbm(data, { sizes: [4, 3, 2], key: key(2), epochs, size: 32, rate: 0.2 });
    const nll = async (dbm: Dbm): Promise<number> => -average(await likelihoods(dbm, shown));
    // Independent bits have 4·ln 2, two patterns ln 2.
    const first = await start(4);
    near(await nll(first), 4 * Math.LN2, 0.01);
    const greedy = await nll(await start(40));
    assert.ok(greedy < 1 && greedy > Math.LN2, `${greedy}`);
    const options = { chains: 100, kSteps: 5, centring: 0.05 };
    const carried = deepStart(first, { ...options, key: key(4) });
    const { params, losses } = await trained(first, {
      options,
      batches: Array(150).fill(data),
      carried,
      rate: 0.1,
    });
    const end = await nll(dbmOf(params));
    assert.ok(end < 1.3 && end > Math.LN2, `${end}`);
    assert.equal(losses.length, 150);
  });

  it("pretrainedDbm() doubles the visible layer of the first machine and the hidden one of the last, on means of the data", async () => {
    const data = Float32Array.from(batch),
      made = await pretrainedDbm(data, {
        sizes: [4, 3, 2, 2],
        key: key(6),
        epochs: 2,
        size: 3,
        rate: 0.3,
        momentum: 0.5,
        decay: 0.01,
      });
    const layers = ["visible", undefined, "hidden"] as const,
      sizes = [4, 3, 2, 2],
      rbms: Rbm[] = [];
    let below: tf.Tensor = tf.tensor2d(data, [3, 4]);
    for (const [l, layer] of layers.entries()) {
      const under = fold(key(6), l);
      const rbm = initialRbm({
        visible: sizes[l]!,
        hidden: sizes[l + 1]!,
        key: fold(under, "weights"),
        data: below,
      });
      const optimizer = byMomentum({ rate: 0.3, momentum: 0.5 }),
        start = newTraining(rbm, { optimizer });
      const loss = contrastiveDivergence(rbm, { decay: 0.01, ...(layer && { doubled: layer }) });
      const batches = rowBatches(below.dataSync(), {
        width: sizes[l]!,
        size: 3,
        epochs: 2,
        key: fold(under, "batches"),
      });
      for await (const { params } of train(start, { loss, optimizer, key: under })(batches)) {
        rbms[l] = mapTensors(params, (each) => tf.clone(each)) as Rbm;
      }
      below = layer === "visible"
        ? hiddenMean(doubled(rbms[l]!, layer), tf.concat([below, below], 1))
        : hiddenMean(rbms[l]!, below);
    }
    assert.deepEqual(host(dbmParams(made)), host(dbmParams(stacked(rbms))));
    assert.ok(rowsOf(made.weights[0]!).flat().some((w) => Math.abs(w) > 0.03));
  });

  it("leaves nothing behind", async () => {
    const dbm = deep([4, 3, 2], 1),
      before = live(),
      carried = deepStart(dbm, { key: key(1), chains: 5, centring: 0.1 });
    const { params } = await trained(dbm, {
      options: { chains: 5, centring: 0.1 },
      batches: [batch, batch],
      carried,
    });
    const made = await pretrainedDbm(batch, { sizes: [4, 3, 2], key: key(1), epochs: 1, size: 3 });
    tf.dispose([carried, params, Object.values(dbmParams(made))]);
    assert.equal(live(), before);
  });

  it("refuses what does not fit", async () => {
    const dbm = deep([4, 3, 2], 1);
    assert.throws(
      () => deepDivergence(dbm, { k: 1 } as object),
      /options must be among kSteps, .*, got "k"/,
    );
    assert.throws(
      () => deepDivergence(dbm, { kSteps: 0, centring: -1 }),
      /kSteps must be a whole number of at least 1, got 0; centring must be in \[0, 1\], got -1/,
    );
    await assert.rejects(
      trained(dbm, { batches: [batch] }),
      /start\.carried must have chains, as deepStart\(\) makes it/,
    );
    await assert.rejects(
      trained(dbm, { batches: [[1, 0]], carried: deepStart(dbm, { key: key(0) }) }),
      /a batch must be rows of 4 numbers, got 2/,
    );
    await assert.rejects(
      pretrainedDbm(batch, { sizes: [4, 3], key: key(0) }),
      /sizes must be at least three whole numbers of at least 1, got \[4,3\]/,
    );
    await assert.rejects(
      pretrainedDbm(batch, { sizes: [4, 3, 2], key: key(0), size: 5 }),
      /rows must be at least 5 of 4 numbers, got 12/,
    );
  });
});

/** Contrastive divergence: its mean update against powers of the exact kernel, by z; training against exact likelihoods. */

import { after, before, describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import * as tf from "@tensorflow/tfjs-core";
import { compiler } from "../../../src/engine/compile/compile.ts";
import { start as started } from "../../../src/engine/runtime/session.ts";
import { type RbmValues, rbmValues } from "../../../src/energy/boltzmann/partition/exact.ts";
import {
  dataExpectations,
  logLikelihoods,
  modelExpectations,
} from "../../../src/energy/boltzmann/partition/likelihood.ts";
import { initialRbm, type Rbm } from "../../../src/energy/boltzmann/rbm.ts";
import { useBackend } from "../../../src/tensor/backend/backend.ts";
import { fold, key } from "../../../src/tensor/key.ts";
import { uniforms } from "../../../src/tensor/random.ts";
import {
  contrastiveDivergence,
  type DivergenceOptions,
  divergenceStart,
} from "../../../src/train/boltzmann/divergence.ts";
import type { VisibleRows } from "../../../src/train/boltzmann/rows.ts";
import { disposeTraining, newTraining, type TrainState } from "../../../src/train/loop/state.ts";
import { lossOf, type StatefulObjective } from "../../../src/train/loop/objective.ts";
import { train } from "../../../src/train/loop/train.ts";
import { byAdam } from "../../../src/train/optimizer/adam.ts";
import { byMomentum } from "../../../src/train/optimizer/momentum.ts";
import { average, live, near } from "../../measure.ts";
import {
  brute,
  gaussianMachine,
  machine,
  rows,
  states,
  tensors,
} from "../../energy/boltzmann/machines.ts";

const engine = compiler(await started());
after(() => engine.close());

const small = machine(4, 3, 8, 2), all = brute(small), n = 4, m = 3;
const names = ["weights", "visible", "hidden"] as const;
type Name = typeof names[number];

/** p(x_k = b | x_0 = a) after k steps of block Gibbs sampling, by all states. */
function kernel(k: number): number[][] {
  const one = all.xs.map((_, a) =>
    all.xs.map((_, b) =>
      all.hs.reduce((sum, _, t) => {
        const column = all.joint.reduce((total, each) => total + Math.exp(each[t]!), 0);
        return sum + all.given[a]![t]! * Math.exp(all.joint[b]![t]!) / column;
      }, 0)
    )
  );
  const identity = all.xs.map((_, a) => all.xs.map((_, b) => Number(a === b)));
  return Array.from({ length: k }).reduce<number[][]>(
    (power) =>
      power.map((row) => all.xs.map((_, b) => row.reduce((sum, p, c) => sum + p * one[c]![b]!, 0))),
    identity,
  );
}

/** −∂E/∂θ at each state, the hidden units' means given it. */
const at = all.xs.map((x) => dataExpectations(small, x));

/** Mean of E[−∂E/∂θ | x] under a law of x. */
const mean = (p: readonly number[], name: Name, i: number): number =>
  p.reduce((sum, each, s) => sum + each * at[s]![name][i]!, 0);

/** Data: how often each state is in a batch. */
const counts = [40, 0, 3, 0, 25, 60, 0, 0, 0, 12, 0, 30, 0, 0, 70, 10];
const total = counts.reduce((a, b) => a + b), share = counts.map((each) => each / total);

const batchOf = (often: readonly number[], times: number): number[] =>
  often.flatMap((count, s) => Array.from({ length: count * times }, () => all.xs[s]!)).flat();

/** The gradient that a step takes, as plain numbers. */
async function gradient(
  options: DivergenceOptions,
  batch: VisibleRows,
  carried?: Record<string, tf.Tensor>,
): Promise<RbmValues> {
  const rbm = tensors(small), optimizer = byMomentum({ rate: 1, momentum: 0 });
  const start = newTraining(rbm, { optimizer, ...(carried && { carried }) });
  const loss = contrastiveDivergence(rbm, options);
  let found: RbmValues | undefined;
  for await (const { params } of train(start, { loss, optimizer, key: key(8) })([batch])) {
    const now = await rbmValues(params as Rbm), was = await rbmValues(rbm);
    found = Object.fromEntries(
      names.map((name) => [name, was[name].map((v, i) => v - now[name][i]!)]),
    ) as unknown as RbmValues;
  }
  disposeTraining(start);
  return found!;
}

/** The greatest |z| of a CD-k gradient of a batch under what the k-th power of the kernel has it be. */
function greatest(
  found: RbmValues,
  { often, times, k }: { often: readonly number[]; times: number; k: number },
): number {
  const t = kernel(k), size = often.reduce((a, b) => a + b) * times;
  const p = often.map((each) => each * times / size);
  const end = all.xs.map((_, b) => p.reduce((sum, each, a) => sum + each * t[a]![b]!, 0));
  return Math.max(...names.flatMap((name) =>
    Array.from(found[name], (value, i) => {
      const wanted = mean(end, name, i) - mean(p, name, i);
      const spread = p.reduce((sum, each, a) => {
        const first = mean(t[a]!, name, i);
        return sum + each * t[a]!.reduce((s, q, b) => s + q * (at[b]![name][i]! - first) ** 2, 0);
      }, 0);
      return Math.abs(value - wanted) / Math.sqrt(spread / size);
    })
  ));
}

/** The end of a run, with numbers of its own. */
async function trained(
  objective: StatefulObjective<VisibleRows>,
  { rbm, batches, carried, rate = 0.1, momentum = 0.5, from, on }: {
    readonly rbm: Rbm;
    readonly batches: Iterable<VisibleRows>;
    readonly carried?: Record<string, tf.Tensor>;
    readonly rate?: number;
    readonly momentum?: number;
    readonly from?: TrainState;
    readonly on?: typeof engine;
  },
) {
  const optimizer = byMomentum({ rate, momentum });
  const start = from ?? newTraining(rbm, { optimizer, ...(carried && { carried }) });
  const losses: number[] = [];
  let values = await rbmValues(rbm), chains: number[] = [];
  for await (
    const state of train(start, {
      loss: objective,
      optimizer,
      key: key(3),
      ...(on && { engine: on }),
    })(batches)
  ) {
    losses.push(state.loss);
    values = await rbmValues(state.params as Rbm);
    chains = [...state.carried?.["chains"]?.dataSync() ?? []];
  }
  if (from === undefined) disposeTraining(start);
  return { values, losses, chains };
}

const apart = (a: RbmValues, b: RbmValues): number =>
  Math.max(...names.flatMap((name) => Array.from(a[name], (v, i) => Math.abs(v - b[name][i]!))));

const flip = (
  { weights, visible, hidden }: RbmValues,
  [wide, high]: readonly [number, number],
): RbmValues => ({
  weights: weights.map((w) => -w),
  visible: visible.map((b) => -b),
  hidden: hidden.map((c, j) =>
    c + Array.from({ length: wide }, (_, i) => weights[i * high + j]!).reduce((a, b) => a + b)
  ),
});

/** Bars and stripes of a square: each row, or each column, all on or all off. */
const patterns = (side: number): number[][] =>
  states(side).flatMap((bits) => [
    Array.from({ length: side * side }, (_, i) => bits[Math.floor(i / side)]!),
    Array.from({ length: side * side }, (_, i) => bits[i % side]!),
  ]);

describe("contrastiveDivergence()", () => {
  before(() => useBackend("wasm"));

  it("CD-k has the mean update of k steps of the kernel from the data", async () => {
    for (const k of [1, 2, 4]) {
      const found = await gradient({ kSteps: k }, batchOf(counts, 40));
      assert.ok(greatest(found, { often: counts, times: 40, k }) < 4, `${k}`);
      // One step less, or the model's own law, is refuted.
      if (k === 1) assert.ok(greatest(found, { often: counts, times: 40, k: 2 }) > 10);
      if (k < 4) assert.ok(greatest(found, { often: counts, times: 40, k: 200 }) > 10);
    }
  });

  it("CD-k is biased, the less the greater k, and comes to the exact gradient", async () => {
    const model = modelExpectations(small);
    const bias = (k: number): number => {
      const t = kernel(k),
        end = all.xs.map((_, b) => share.reduce((sum, p, a) => sum + p * t[a]![b]!, 0));
      return Math.max(
        ...names.flatMap((name) =>
          Array.from(model[name], (each, i) => Math.abs(mean(end, name, i) - each))
        ),
      );
    };
    const found = [1, 2, 4, 8, 16].map(bias);
    found.slice(1).forEach((each, i) => assert.ok(each < found[i]!));
    assert.ok(found[0]! > 0.05 && found.at(-1)! < 1e-4);
    const long = await gradient({ kSteps: 64 }, batchOf(counts, 10));
    assert.ok(greatest(long, { often: counts, times: 10, k: 1000 }) < 4);
  });

  it("has no mean update where the data have the law of the model, for any k", async () => {
    const often = all.p.map((p) => Math.round(p * 8000)), size = often.reduce((a, b) => a + b);
    for (const k of [1, 3]) {
      const found = await gradient({ kSteps: k }, batchOf(often, 1));
      assert.ok(greatest(found, { often, times: 1, k }) < 4);
      // Nothing but the noise of that many samples is left.
      names.forEach((name) =>
        found[name].forEach((each) => near(each, 0, 4 * 0.6 / Math.sqrt(size)))
      );
    }
  });

  it('negatives: "exact" is the gradient of −ln p(x), and its loss is that', async () => {
    const batch = batchOf(counts, 1),
      found = await gradient({ negatives: "exact" }, batch),
      model = modelExpectations(small);
    names.forEach((name) =>
      found[name].forEach((each, i) => near(each, model[name][i]! - mean(share, name, i), 1e-5))
    );
    const value = lossOf(contrastiveDivergence(tensors(small), { negatives: "exact" }))(
      tensors(small),
      batch,
      key(0),
    );
    near(value.dataSync()[0]!, -average([...logLikelihoods(small, batch)]), 1e-5);
  });

  it("persistent chains go on from step to step, to the law of the model, and are carried by the state", async () => {
    const rbm = tensors(small),
      options: DivergenceOptions = { negatives: "persistent", chains: 4000 };
    const carried = divergenceStart(rbm, { ...options, key: key(2) }),
      objective = contrastiveDivergence(rbm, options);
    const batches = Array.from({ length: 12 }, () => batchOf(counts, 1));
    const whole = await trained(objective, { rbm, batches, carried, rate: 0 });
    const often = all.xs.map(() => 0);
    for (let at = 0; at < whole.chains.length; at += n) {
      often[whole.chains.slice(at, at + n).reduce((sum, bit, i) => sum + (bit << i), 0)]!++;
    }
    const z = (p: readonly number[]) =>
      Math.max(
        ...often.map((count, s) =>
          Math.abs(count - 4000 * p[s]!) / Math.sqrt(4000 * p[s]! * (1 - p[s]!))
        ),
      );
    assert.ok(z(all.p) < 4, `${z(all.p)}`);
    // After one step only they are not there yet.
    const first = carried["chains"]!.arraySync() as number[][], t = kernel(1);
    const start = all.xs.map((x) => first.filter((row) => row.join() === x.join()).length / 4000);
    assert.ok(z(all.xs.map((_, b) => start.reduce((sum, p, a) => sum + p * t[a]![b]!, 0))) > 10);
  });

  it("goes on from a state bit for bit, chains and offsets and all", async () => {
    const rbm = tensors(small),
      options: DivergenceOptions = {
        negatives: "persistent",
        chains: 7,
        centring: 0.1,
        kSteps: 2,
        decay: 1e-3,
      };
    const objective = contrastiveDivergence(rbm, options),
      optimizer = byMomentum({ rate: 0.1, momentum: 0.5 });
    const carried = divergenceStart(rbm, { ...options, key: key(2) });
    const batches = Array.from({ length: 6 }, (_, i) => batchOf(counts.with(i, 20), 1));
    const whole = await trained(objective, { rbm, batches, carried });
    const start = newTraining(rbm, { optimizer, carried });
    for await (const state of train(start, { loss: objective, optimizer, key: key(3) })(batches)) {
      if (state.step !== 2) continue;
      const rest = await trained(objective, { rbm, batches: batches.slice(2), from: state });
      assert.deepEqual(rest.values, whole.values);
      assert.deepEqual(rest.chains, whole.chains);
      assert.deepEqual(rest.losses, whole.losses.slice(2));
    }
  });

  it("compiled it is the same as without an engine", async () => {
    const rbm = tensors(small);
    for (
      const options of [{ kSteps: 2 }, { negatives: "persistent", chains: 9, centring: 0.1 }, {
        doubled: "visible",
      }] as const
    ) {
      const objective = contrastiveDivergence(rbm, options),
        carried = divergenceStart(rbm, { ...options, key: key(2) });
      const batches = Array.from({ length: 4 }, () => batchOf(counts, 1));
      const plain = await trained(objective, { rbm, batches, carried });
      const compiled = await trained(objective, { rbm, batches, carried, on: engine });
      near(apart(plain.values, compiled.values), 0, 1e-5);
      assert.deepEqual(compiled.chains, plain.chains);
      compiled.losses.forEach((each, i) => near(each, plain.losses[i]!, 1e-4));
    }
  });

  it("centred, flipped bits are learnt to the mirrored parameters, exactly and by CD of mirrored draws", async () => {
    const data = batchOf(counts, 1), opposite = data.map((bit) => 1 - bit);
    const values = machine(n, m, 5, 0.5), mirror = flip(values, [n, m]);
    const end = async (
      on: RbmValues,
      batch: number[],
      options: DivergenceOptions,
      isMirrored = false,
    ) => {
      const rbm = tensors(on), objective = contrastiveDivergence(rbm, options);
      const mirrored: typeof objective = {
        ...objective,
        inputs: (...given) => {
          const found = objective.inputs(...given);
          if (!isMirrored) return found;
          // u < p where 1 − u > 1 − p
          return Object.fromEntries(
            Object.entries(found).map((
              [name, each],
            ) => [name, name.startsWith("visible") ? tf.sub(1 - 2 ** -24, each) : each]),
          );
        },
      };
      const carried = divergenceStart(rbm, { ...options, key: key(2) });
      return (await trained(mirrored, {
        rbm,
        batches: Array(25).fill(batch),
        carried,
        momentum: 0.8,
      })).values;
    };
    for (const options of [{ negatives: "exact" }, { kSteps: 2 }] as const) {
      const centred = { ...options, centring: 0.2, decay: 0.01 };
      const a = await end(values, data, centred), b = await end(mirror, opposite, centred, true);
      near(apart(flip(a, [n, m]), b), 0, 1e-4);
      assert.ok(apart(a, values) > 0.05);
      const plain = { ...options, decay: 0.01 };
      assert.ok(
        apart(
          flip(await end(values, data, plain), [n, m]),
          await end(mirror, opposite, plain, true),
        ) > 0.05,
      );
    }
  });

  it("offsets follow the means of the batches from step to step", async () => {
    const rbm = tensors(small),
      batch = batchOf(counts, 1),
      rate = 0.25,
      options = { centring: rate };
    const carried = divergenceStart(rbm, { ...options, key: key(2) });
    const optimizer = byMomentum({ rate: 0, momentum: 0 }),
      loss = contrastiveDivergence(rbm, options);
    const start = newTraining(rbm, { optimizer, carried }), data = dataExpectations(small, batch);
    for await (
      const { step, carried: now } of train(start, { loss, optimizer, key: key(3) })(
        Array(3).fill(batch),
      )
    ) {
      for (
        const [name, means] of [["visibleOffset", data.visible], [
          "hiddenOffset",
          data.hidden,
        ]] as const
      ) {
        const first = carried[name]!.dataSync();
        now![name]!.dataSync().forEach((each, i) =>
          near(each, means[i]! + (1 - rate) ** step * (first[i]! - means[i]!), 1e-5)
        );
      }
    }
    carried["visibleOffset"]!.dataSync().forEach((each, i) =>
      near(each, 1 / (1 + Math.exp(-small.visible[i]!)), 1e-6)
    );
    disposeTraining(start);
  });

  it("a doubled layer has one set of weights: its gradient is that of the machine with both copies", async () => {
    const batch = batchOf(counts, 1);
    for (const layer of ["visible", "hidden"] as const) {
      const found = await gradient({ negatives: "exact", doubled: layer, decay: 0.1 }, batch),
        by = 1e-4;
      const copied = ({ weights, visible, hidden }: RbmValues): RbmValues => {
        if (layer === "visible") {
          return {
            weights: Float64Array.of(...weights, ...weights),
            visible: Float64Array.of(...visible, ...visible),
            hidden,
          };
        }
        const wide = Array.from(
          { length: n },
          (_, i) => [...weights.slice(i * m, i * m + m), ...weights.slice(i * m, i * m + m)],
        );
        return {
          weights: Float64Array.from(wide.flat()),
          visible,
          hidden: Float64Array.of(...hidden, ...hidden),
        };
      };
      const data = layer === "visible"
        ? Array.from(
          { length: total },
          (_, r) => [...batch.slice(r * n, r * n + n), ...batch.slice(r * n, r * n + n)],
        ).flat()
        : batch;
      const nll = (values: RbmValues): number =>
        -average([...logLikelihoods(copied(values), data)]);
      names.forEach((name) =>
        found[name].forEach((each, i) => {
          const moved = (step: number) =>
            nll({ ...small, [name]: small[name].with(i, small[name][i]! + step) });
          const decay = name === "weights" ? 0.1 * small.weights[i]! : 0;
          near(each, (moved(by) - moved(-by)) / (2 * by) + decay, 1e-4);
        })
      );
    }
  });

  it("Gaussian units learn the mean and the variance of their data", async () => {
    const data = Array.from({ length: 200 }, (_, s) =>
      [0, 1].map((i) => {
        const u = uniforms(fold(key(6), s), 12).subarray(6 * i, 6 * i + 6).reduce((a, b) => a + b) -
          3;
        return i === 0 ? 2 + 1.5 * u : -1 + 0.5 * u;
      })).flat();
    const rbm = tensors({ ...gaussianMachine(2, 1, 1, 0.1), logVariance: new Float64Array(2) });
    const end = async (variances: "fixed" | "learned") =>
      (await trained(contrastiveDivergence(rbm, { kSteps: 2, variances }), {
        rbm,
        batches: Array(200).fill(data),
        rate: 0.05,
      })).values;
    const learned = await end("learned"), fixed = await end("fixed");
    assert.deepEqual([...fixed.logVariance!], [0, 0]);
    const moments = [0, 1].map((i) => {
      const each = data.filter((_, k) => k % 2 === i), first = average(each);
      return { first, spread: average(each.map((x) => (x - first) ** 2)) };
    });
    const model = (i: number) => {
      const sigma2 = Math.exp(learned.logVariance![i]!),
        w = learned.weights[i]! * Math.sqrt(sigma2);
      // p(h = 1) of the one hidden unit, which all visible ones tell
      const odds = learned.hidden[0]! +
        [0, 1].reduce(
          (sum, k) =>
            sum +
            learned.weights[k]! * learned.visible[k]! * Math.exp(-learned.logVariance![k]! / 2) +
            learned.weights[k]! ** 2 / 2,
          0,
        );
      const q = 1 / (1 + Math.exp(-odds));
      return { first: learned.visible[i]! + q * w, spread: sigma2 + q * (1 - q) * w ** 2 };
    };
    moments.forEach(({ first, spread }, i) => {
      near(model(i).first, first, 0.1);
      near(model(i).spread / spread, 1, 0.12);
    });
  });

  it("learns bars and stripes of 3 × 3 to within 0.1 nat of their entropy by the exact gradient", async () => {
    const shown = patterns(3), entropy = Math.log(16) - Math.log(2) / 4;
    assert.equal(new Set(shown.map(String)).size, 14);
    const rbm = initialRbm({ visible: 9, hidden: 8, key: key(1), data: rows(shown), std: 0.1 });
    const optimizer = byAdam({ rate: 0.05 }), start = newTraining(rbm, { optimizer });
    const objective = contrastiveDivergence(rbm, { negatives: "exact" });
    let last: TrainState | undefined;
    const states = train(start, { loss: objective, optimizer, key: key(2), every: 500 })(
      Array(500).fill(shown.flat()),
    );
    for await (const state of states) {
      last = state;
      const nll = -average([...logLikelihoods(await rbmValues(state.params as Rbm), shown.flat())]);
      assert.ok(nll < entropy + 0.1 && nll > entropy, `${nll} for ${entropy}`);
      near(state.losses.at(-1)!, nll, 0.01);
    }
    assert.equal(last!.step, 500);
  });

  it("stops with the step and the cause of what is not finite", async () => {
    const rbm = tensors(small), objective = contrastiveDivergence(rbm), good = batchOf(counts, 1);
    await assert.rejects(
      trained(objective, { rbm, batches: [good, good.with(5, NaN)] }),
      /^RangeError: Cannot go on with training: batch must be finite, got NaN at step 2$/,
    );
    await assert.rejects(
      trained(objective, { rbm, batches: [good, good], rate: 1e39 }),
      /^RangeError: Cannot go on with training: (weights|loss) must be finite, got -?(Infinity|NaN).* at step 1$/,
    );
  });

  it("leaves nothing behind", async () => {
    const rbm = tensors(small),
      options: DivergenceOptions = { negatives: "persistent", chains: 5, centring: 0.1 };
    const before = live(), carried = divergenceStart(rbm, { ...options, key: key(1) });
    await trained(contrastiveDivergence(rbm, options), {
      rbm,
      batches: Array(3).fill(batchOf(counts, 1)),
      carried,
    });
    tf.dispose(carried);
    assert.equal(live(), before);
  });

  it("refuses options that are unknown or do not fit, and runs without what they carry", async () => {
    const rbm = tensors(small), real = tensors(gaussianMachine(3, 2, 1));
    const refused = (of: Rbm, options: object, message: RegExp) =>
      assert.throws(() => contrastiveDivergence(of, options), message);
    refused(rbm, { k_steps: 10 }, /options must be among kSteps, .*, got "k_steps"/);
    refused(
      rbm,
      { kSteps: 0, centring: 2, decay: NaN },
      /kSteps must be a whole number of at least 1, got 0; centring must be in \[0, 1\], got 2; decay must be at least 0, got NaN/,
    );
    refused(rbm, { chains: 5 }, /chains must be absent without negatives: "persistent", got 5/);
    refused(rbm, { variances: "learned" }, /variances must be absent for binary units/);
    refused(real, { centring: 0.1 }, /centring must be absent for Gaussian units/);
    refused(real, { negatives: "exact" }, /negatives must not be "exact" for Gaussian units/);
    refused(
      tensors(machine(17, 17, 0)),
      { negatives: "exact" },
      /smaller layer must be of at most 16 units for negatives: "exact", got 17/,
    );
    refused(
      tensors(machine(9, 17, 0)),
      { negatives: "exact", doubled: "visible" },
      /smaller layer must be of at most 16 units for negatives: "exact", got 17/,
    );
    const batches = [batchOf(counts, 1)];
    await assert.rejects(
      trained(contrastiveDivergence(rbm, { negatives: "persistent" }), { rbm, batches }),
      /start\.carried must have chains, as divergenceStart\(\) makes them/,
    );
    await assert.rejects(
      trained(contrastiveDivergence(rbm, { centring: 0.1 }), { rbm, batches }),
      /start\.carried must have offsets/,
    );
    await assert.rejects(
      trained(contrastiveDivergence(rbm), { rbm, batches: [[1, 0, 1]] }),
      /a batch must be rows of 4 numbers, got 3/,
    );
  });
});

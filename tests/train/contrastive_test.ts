/**
 * Contrastive divergence: the chains against their recursion in plain numbers, the gradient against its formula, the fixed point of a
 * Gaussian against the law of its chains, a learned energy against the true one; eagerly and compiled.
 */

import { after, describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import * as tf from "@tensorflow/tfjs-core";
import "../../src/tensor/autodiff.ts";
import { compiler } from "../../src/engine/compile/compile.ts";
import { start as started } from "../../src/engine/runtime/session.ts";
import { energyMlp, type EnergyNetwork } from "../../src/network/energy.ts";
import { initialize } from "../../src/network/layer/parameter.ts";
import { useBackend } from "../../src/tensor/backend/backend.ts";
import { fold, type Key, key } from "../../src/tensor/key.ts";
import { normals, uniforms } from "../../src/tensor/random.ts";
import {
  contrastiveLoss,
  type ContrastiveMemory,
  type ContrastiveOptions,
  freshChains,
  type SampleBatch,
} from "../../src/train/contrastive.ts";
import { newTraining, type TrainState } from "../../src/train/loop/state.ts";
import { train } from "../../src/train/loop/train.ts";
import { byMomentum } from "../../src/train/optimizer/momentum.ts";

await useBackend("cpu");
const engine = compiler(await started());
after(() => engine.close());

/** E = λ·(x − m)²/2 of each of d numbers, or, with classes, of class y with m_y. */
const quadratic = (d: number, classes = 0): EnergyNetwork => ({
  sample: [d],
  classes,
  parameters: { lambda: { shape: [] }, mean: { shape: [Math.max(1, classes), d] } },
  apply: ({ lambda, mean }, x, label) => {
    const m = label ? tf.matMul(label, mean!) : tf.broadcastTo(mean!, x.shape);
    return tf.mul(tf.sum(tf.square(tf.sub(x, m)), 1), tf.mul(lambda!, 0.5));
  },
});

const batch = (key: Key, shape: readonly number[], sd = 1): SampleBatch => ({
  images: normals(key, shape.reduce((a, b) => a * b)).map((z) => sd * z),
  shape,
});

const numbers = (tensor: tf.Tensor | undefined): number[] => [...tensor!.dataSync()];

describe("contrastiveLoss()", () => {
  const network = quadratic(2), params = { lambda: tf.scalar(2), mean: tf.tensor2d([[0.5, -1]]) };
  const options = { kSteps: 3, stepSize: 0.1, temperature: 0.5, chains: 6, fresh: 0.4 };
  const { inputs, prepare, loss } = contrastiveLoss(network, { ...options, squares: 0.1 });
  const kept = freshChains(network, 6, key(1)), root = key(2);

  /** Ends of chains from starts, in plain numbers. */
  const ends = (start: readonly number[], z: tf.Tensor, bound = Infinity): number[] =>
    start.map((x, at) => {
      const i = Math.floor(at / 2), j = at % 2, noise = z.arraySync() as number[][][];
      return [0, 1, 2].reduce((x, k) => {
        const score = -2 * (x - [0.5, -1][j]!);
        return x + 0.1 * Math.max(-bound, Math.min(bound, score)) +
          Math.sqrt(2 * 0.1 * 0.5) * noise[i]![k]![j]!;
      }, x);
    });

  it("moves its chains by x − eps·∇E + √(2·eps·T)·z, kept ones from where they were, and keeps the ends", () => {
    let begun = 0, gone = 0;
    for (let step = 0; step < 12; step++) {
      const given = inputs(batch(fold(root, step), [4, 2]), fold(root, step), undefined);
      const { inputs: made, carried } = prepare!(params, given, kept);
      const index = numbers(given["index"]), isFresh = numbers(given["isFresh"]);
      assert.equal(new Set(index).size, 4);
      const before = kept.chains.arraySync() as number[][];
      const begin = given["begin"]!.arraySync() as number[][];
      const start = index.flatMap((i, row) => isFresh[row] ? begin[row]! : before[i]!);
      isFresh.forEach((flag) => flag ? begun++ : gone++);
      const wanted = ends(start, given["z"]!), got = numbers(made["ends"]);
      got.forEach((x, i) => assert.ok(Math.abs(x - wanted[i]!) < 1e-6));
      const after = carried!["chains"]!.arraySync() as number[][];
      before.forEach((row, i) => {
        const at = index.indexOf(i);
        assert.deepEqual(after[i], at < 0 ? row : got.slice(2 * at, 2 * at + 2));
      });
    }
    assert.ok(begun > 10 && gone > 18, `${begun} of 48 begin afresh`);
  });

  it("bounds each number of the score where it is told to", () => {
    const bounded = contrastiveLoss(network, { ...options, fresh: 0, scoreBound: 0.6 });
    const given = bounded.inputs(batch(root, [4, 2]), root, undefined);
    const got = numbers(bounded.prepare!(params, given, kept).inputs["ends"]);
    const start = numbers(tf.gather(kept.chains, given["index"]!));
    const wanted = ends(start, given["z"]!, 0.6), free = ends(start, given["z"]!);
    got.forEach((x, i) => assert.ok(Math.abs(x - wanted[i]!) < 1e-6));
    assert.ok(wanted.some((x, i) => Math.abs(x - free[i]!) > 0.01));
  });

  it("is mean E(x+) − mean E(x−) + a·mean(E² + E²), which it tells, with that gradient", () => {
    const data = batch(root, [4, 2]), given = inputs(data, root, undefined);
    const all = { ...given, ...prepare!(params, given, kept).inputs };
    const energies = (x: readonly number[]): number[] =>
      [0, 1, 2, 3].map((i) => (x[2 * i]! - 0.5) ** 2 + (x[2 * i + 1]! + 1) ** 2);
    const mean = (x: readonly number[]): number => x.reduce((a, b) => a + b) / x.length;
    const below = energies([...data.images]), above = energies(numbers(all["ends"]));
    const squares = mean(below.map((e) => e * e)) + mean(above.map((e) => e * e));
    const said = loss(params, all) as { value: tf.Scalar; told: Record<string, tf.Tensor> };
    const near = (got: tf.Tensor | undefined, wanted: number): void =>
      assert.ok(Math.abs(numbers(got)[0]! - wanted) < 1e-5 * Math.abs(wanted) + 1e-6);
    near(said.value, mean(below) - mean(above) + 0.1 * squares);
    near(said.told["data"], mean(below));
    near(said.told["model"], mean(above));
    // λ = 2 multiplies each energy once.
    const slope = tf.grad((lambda: tf.Tensor) =>
      (loss({ ...params, lambda }, all) as { value: tf.Scalar }).value
    )(params.lambda);
    near(slope, (mean(below) - mean(above)) / 2 + 0.1 * squares);
  });

  it("adds noise to the data where it is told to, of its own key", () => {
    const noisy = contrastiveLoss(network, { smoothing: 0.5 }), many = batch(root, [2000, 2]);
    const { data } = noisy.inputs(many, root, undefined);
    const z = numbers(data).map((x, i) => (x - many.images[i]!) / 0.5);
    const variance = z.reduce((sum, x) => sum + x * x, 0) / z.length;
    assert.ok(Math.abs(variance - 1) < 4 * Math.sqrt(2 / z.length), `${variance}`);
  });

  it("begins every chain afresh where none is kept, uniform in [−1, 1]", () => {
    const short = contrastiveLoss(network, { kSteps: 1 }), many = batch(root, [500, 2]);
    const given = short.inputs(many, root, undefined), begin = numbers(given["begin"]);
    assert.deepEqual(Object.keys(given).sort(), ["begin", "data", "z"]);
    const variance = begin.reduce((sum, x) => sum + x * x, 0) / begin.length;
    const mean = begin.reduce((sum, x) => sum + x, 0) / begin.length;
    assert.ok(Math.max(...begin.map(Math.abs)) <= 1);
    assert.ok(Math.abs(mean) < 4 / Math.sqrt(3 * begin.length));
    assert.ok(Math.abs(variance - 1 / 3) < 4 * Math.sqrt(4 / 45 / begin.length));
    assert.equal(short.prepare!(params, given, {}).carried, undefined);
  });

  it("gives each sample a chain of its class, and that class's energy", () => {
    const three = quadratic(1, 3),
      weights = { lambda: tf.scalar(1), mean: tf.tensor2d([-3, 0, 3], [3, 1]) };
    const labels = Int32Array.of(2, 0, 2, 1, 1, 2);
    const made = contrastiveLoss(three, { chains: 9, kSteps: 40, stepSize: 0.2, fresh: 0 });
    const given = made.inputs({ ...batch(root, [6, 1]), labels }, root, undefined);
    assert.deepEqual(numbers(given["index"]).map((i) => i % 3), [...labels]);
    const { inputs: { ends } } = made.prepare!(weights, given, freshChains(three, 9, root));
    numbers(ends).forEach((x, i) => assert.ok(Math.abs(x - 3 * (labels[i]! - 1)) < 4.5, `${x}`));
    assert.deepEqual(numbers(ends).map((x) => Math.round(x / 3) + 1).length, 6);
  });

  for (const [name, on] of [["tfjs", undefined], ["onnx", engine]] as const) {
    it(`makes a Gaussian's precision that of chains with the data's variance, on ${name}`, async () => {
      // The law of x ← (1 − eps·λ)·x + √(2·eps)·z has the variance 1/(λ·(1 − eps·λ/2)): of 0.25 at eps = 0.1, λ = 5.5279.
      const one: EnergyNetwork = {
        ...quadratic(1),
        parameters: { lambda: { shape: [] } },
        apply: ({ lambda }, x) => tf.mul(tf.sum(tf.square(x), 1), tf.mul(lambda!, 0.5)),
      };
      const eps = 0.1, wanted = (1 - Math.sqrt(1 - 2 * eps / 0.25)) / eps;
      const loss = contrastiveLoss(one, { kSteps: 10, stepSize: eps, chains: 200, fresh: 0 });
      const optimizer = byMomentum({ rate: 1, momentum: 0 });
      const start = newTraining({ lambda: tf.scalar(3) }, {
        optimizer,
        carried: freshChains(one, 200, key(3)),
      });
      const steps = 300,
        data = Array.from({ length: steps }, (_, i) => ({
          // Data of the variance itself, so that only the chains are noisy.
          images: Float32Array.from({ length: 100 }, (_, j) => j % 2 ? 0.5 : -0.5),
          shape: [100, 1],
          position: i,
        }));
      const chosen = { loss, optimizer, key: key(4), ...(on && { engine: on }) };
      const seen: number[] = [];
      let memory: ContrastiveMemory | undefined;
      for await (const state of train(start, chosen)(data)) {
        seen.push(numbers(state.params["lambda"])[0]!);
        memory = state.memory as ContrastiveMemory;
      }
      const late = seen.slice(100), mean = late.reduce((a, b) => a + b) / late.length;
      // A mean of 20 blocks of 10 steps, of which chains of one block are nearly independent of those of the next but one.
      const blocks = Array.from(
        { length: 10 },
        (_, i) => late.slice(20 * i, 20 * i + 20).reduce((a, b) => a + b) / 20,
      );
      const error = Math.sqrt(blocks.reduce((s, b) => s + (b - mean) ** 2, 0) / 9 / 10);
      assert.ok(Math.abs(mean - wanted) < 4 * error, `${mean} ± ${error}, ${wanted}`);
      assert.ok(
        Math.abs(mean - 4) > 10 * error,
        "1/variance, without the chains' own error, is refuted",
      );
      assert.ok(Math.abs(memory!.data - seen.at(-2)! * 0.125) < 1e-5);
    });
  }

  it("goes on from a state as if it had never stopped", async () => {
    const two = energyMlp({ dimension: 2, width: 8, layers: 1 });
    const loss = contrastiveLoss(two, { kSteps: 2, chains: 8, stepSize: 0.05 });
    const start = newTraining(initialize(two.parameters, key(0)), {
      carried: freshChains(two, 8, key(1)),
    });
    const data = [0, 1, 2, 3].map((i) => batch(fold(root, i), [4, 2]));
    const ended = async (from: TrainState, given: readonly SampleBatch[]): Promise<TrainState> => {
      let state = from;
      for await (const each of train(from, { loss, key: key(2), every: given.length })(given)) {
        state = {
          ...each,
          params: cloned(each.params),
          ema: cloned(each.ema),
          carried: cloned(each.carried!),
          moments: Object.fromEntries(
            Object.entries(each.moments).map(([n, m]) => [n, cloned(m)]),
          ) as never,
        };
      }
      return state;
    };
    const cloned = <T extends Record<string, tf.Tensor>>(tensors: Readonly<T>): T =>
      Object.fromEntries(Object.entries(tensors).map(([n, t]) => [n, tf.clone(t)])) as T;
    const whole = await ended(start, data);
    const half = await ended(start, data.slice(0, 2)), rest = await ended(half, data.slice(2));
    assert.deepEqual(numbers(rest.carried!["chains"]), numbers(whole.carried!["chains"]));
    assert.deepEqual(
      numbers(rest.params["dense.0.weight"]),
      numbers(whole.params["dense.0.weight"]),
    );
    assert.notDeepEqual(numbers(half.carried!["chains"]), numbers(whole.carried!["chains"]));
  });

  it("learns the energy of two modes up to a constant", async () => {
    // p = (N(−1, 0.4²) + 2·N(1, 0.3²))/3: a constant apart, E = −ln p.
    const line = energyMlp({ dimension: 1, width: 32, layers: 2, reference: 2 });
    // Chains that have just begun have another law than p: with 5 % of them the correlation is 0.93.
    const loss = contrastiveLoss(line, { kSteps: 10, stepSize: 0.02, chains: 512, fresh: 0 });
    const start = newTraining(initialize(line.parameters, key(0)), {
      carried: freshChains(line, 512, key(1)),
    });
    const data = Array.from({ length: 1200 }, (_, i) => {
      const u = uniforms(fold(root, i), 256), z = normals(fold(key(7), i), 256);
      return {
        images: z.map((z, j) => u[j]! < 1 / 3 ? 0.4 * z - 1 : 0.3 * z + 1),
        shape: [256, 1],
      };
    });
    const grid = Array.from({ length: 45 }, (_, i) => -2.2 + 0.1 * i).filter((x) => x < 2);
    const density = (x: number, m: number, s: number) => Math.exp(-(((x - m) / s) ** 2) / 2) / s;
    const truth = grid.map((x) => Math.log(density(x, -1, 0.4) + 2 * density(x, 1, 0.3)));
    let learned: number[] = [];
    for await (
      const { ema } of train(start, {
        loss,
        key: key(2),
        engine,
        every: 400,
        decay: 0.98,
        adam: { rate: 3e-3 },
      })(data)
    ) {
      learned = numbers(line.apply(ema, tf.tensor2d(grid, [grid.length, 1]))).map((e) => -e);
    }
    const mean = (x: readonly number[]) => x.reduce((a, b) => a + b) / x.length;
    const centred = (x: readonly number[]) => x.map((each) => each - mean(x));
    const [a, b] = [centred(truth), centred(learned)];
    const dot = (x: readonly number[], y: readonly number[]) =>
      x.reduce((s, each, i) => s + each * y[i]!, 0);
    const correlation = dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b));
    assert.ok(correlation > 0.98, `${correlation}`);
    // In nats: the slope of what is learned on what is true is 1.
    const slope = dot(a, b) / dot(a, a);
    assert.ok(Math.abs(slope - 1) < 0.15, `${slope}`);
  });

  it("refuses options, batches and states that are none", () => {
    const wrong: readonly [ContrastiveOptions, RegExp][] = [
      [{ kSteps: 0 }, /kSteps must be a whole number of at least 1, got 0/],
      [{ stepSize: NaN }, /stepSize must be positive and finite, got NaN/],
      [{ temperature: -1 }, /temperature must be at least 0 and finite, got -1/],
      [{ chains: 4, fresh: 1 }, /fresh must be in \[0, 1\), got 1/],
      [{ fresh: 0.1 }, /fresh must be absent without chains, got 0.1/],
      [{ scoreBound: 0 }, /scoreBound must be positive and finite, got 0/],
      [{ buffer: 5 } as never, /got "buffer"/],
    ];
    for (const [options, message] of wrong) {
      assert.throws(() => contrastiveLoss(network, options), { message });
    }
    const good = batch(root, [4, 2]);
    const bad: readonly [SampleBatch, RegExp][] = [
      [{ ...good, shape: [4, 3] }, /batch.shape must be \[N, 2\] with N at least 1, got \[4,3\]/],
      [{ ...good, shape: [0, 2], images: new Float32Array(0) }, /with N at least 1/],
      [{ ...good, images: new Float32Array(7) }, /batch.images must be as many numbers/],
      [
        { ...good, images: Float32Array.of(1, 2, NaN, 4, 5, 6, 7, 8) },
        /batch.images must be finite, got NaN/,
      ],
      [
        batch(root, [7, 2]),
        /chains must be enough for 7 samples, got 6/,
      ],
    ];
    for (const [each, message] of bad) {
      assert.throws(() => inputs(each, root, undefined), { message });
    }
    const given = inputs(good, root, undefined);
    assert.throws(
      () => prepare!(params, given, {}),
      /the state must carry chains of shape \[6,2\].*, got none/,
    );
    const short = contrastiveLoss(network);
    assert.throws(
      () => short.prepare!(params, short.inputs(good, root, undefined), kept),
      /must carry no chains/,
    );
    const classed = contrastiveLoss(quadratic(2, 2));
    assert.throws(
      () => classed.inputs(good, root, undefined),
      /the batch must have labels, got none/,
    );
    assert.throws(
      () => freshChains(network, 0, root),
      /count must be a whole number of at least 1, got 0/,
    );
  });
});

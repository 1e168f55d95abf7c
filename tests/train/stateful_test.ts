/**
 * Training with its doors open: other optimizers, objectives that carry and remember, negatives drawn under the weights, several
 * networks at once. Each is held to a recursion in plain numbers, eagerly and compiled, and goes on from a written state.
 */

import { after, before, describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import * as tf from "@tensorflow/tfjs-core";
import "../../src/tensor/autodiff.ts";
import { compiler } from "../../src/engine/compile/compile.ts";
import { start as started } from "../../src/engine/runtime/session.ts";
import { loadCheckpoint, saveCheckpoint } from "../../src/io/checkpoint.ts";
import { fromTensors, toTensors } from "../../src/io/tensors/device.ts";
import { useBackend } from "../../src/tensor/backend/backend.ts";
import { type Engine, mapTensors } from "../../src/tensor/engine.ts";
import { fold, key } from "../../src/tensor/key.ts";
import { normal, normals, uniforms } from "../../src/tensor/random.ts";
import {
  disposeTraining,
  newTraining,
  type NewTrainingOptions,
  type TrainState,
} from "../../src/train/loop/state.ts";
import type { Objective, StatefulObjective } from "../../src/train/loop/objective.ts";
import { train } from "../../src/train/loop/train.ts";
import type { TrainOptions } from "../../src/train/loop/options.ts";
import { byMomentum } from "../../src/train/optimizer/momentum.ts";
import type { Optimizer } from "../../src/train/optimizer/optimizer.ts";
import { branch, tree } from "../../src/train/tree.ts";
import { live } from "../measure.ts";

const engine = compiler(await started()), root = key(4);
after(() => engine.close());

const engines: readonly (readonly [name: string, engine: Engine | undefined])[] = [
  ["tfjs", undefined],
  ["onnx", engine],
];

const host = (tensors: Readonly<Record<string, tf.Tensor>>): Record<string, number[]> =>
  Object.fromEntries(Object.entries(tensors).map(([name, each]) => [name, [...each.dataSync()]]));

/** A state as plain data. */
const plain = ({ step, params, ema, moments, carried, memory, loss }: TrainState) => ({
  step,
  params: host(params),
  ema: host(ema),
  moments: Object.fromEntries(Object.entries(moments).map(([name, each]) => [name, host(each)])),
  carried: host(carried ?? {}),
  memory: structuredClone(memory),
  loss,
});

type Plain = ReturnType<typeof plain>;

/** What a run is made of. */
interface Trained<Batch> extends NewTrainingOptions {
  readonly params: Readonly<Record<string, number[]>>;
  readonly loss: TrainOptions<Batch>["loss"];
  readonly batches: readonly Batch[];
}

const tensorsOf = (values: Readonly<Record<string, number[]>>): Record<string, tf.Tensor> =>
  Object.fromEntries(Object.entries(values).map(([name, each]) => [name, tf.tensor1d(each)]));

/** All states of a run, or of the rest of one from a state that was written to disk and read again. */
async function states<Batch>(
  { params, carried, memory, optimizer, loss, batches }: Trained<Batch>,
  engine: Engine | undefined,
  from?: TrainState,
): Promise<{ all: Plain[]; middle: string }> {
  const first = tensorsOf(params), all: Plain[] = [], path = await Deno.makeTempFile();
  const start = from ?? newTraining(first, {
    ...(carried && { carried }),
    ...(memory !== undefined && { memory }),
    ...(optimizer && { optimizer }),
  });
  const options = { loss, key: root, ...(optimizer && { optimizer }), ...(engine && { engine }) };
  for await (const state of train(start, options)(batches.slice(start.step))) {
    all.push(plain(state));
    if (state.step === 3) await written(path, state);
  }
  disposeTraining(start);
  tf.dispose(first);
  return { all, middle: path };
}

async function written(path: string, state: TrainState): Promise<void> {
  const { step, params, ema, moments, carried = {}, memory = null } = state;
  const kept = Object.entries(moments).map(([name, each]) => [`moments.${name}`, each] as const);
  const groups = { params, ema, ...Object.fromEntries(kept), carried };
  const onHost: Record<string, Awaited<ReturnType<typeof fromTensors>>> = {};
  for (const [name, each] of Object.entries(groups)) onHost[name] = await fromTensors(each);
  await saveCheckpoint(path, { groups: onHost, meta: { step, memory } });
}

async function read(path: string): Promise<TrainState> {
  const { groups, meta } = await loadCheckpoint(path), all = Object.entries(groups);
  const of = (name: string) => toTensors(groups[name] ?? {});
  const moments = Object.fromEntries(
    all.flatMap(([name]) => name.startsWith("moments.") ? [[name.slice(8), of(name)]] : []),
  ) as TrainState["moments"];
  const carried = of("carried"), { step, memory } = meta as { step: number; memory: unknown };
  return {
    step,
    params: of("params"),
    ema: of("ema"),
    moments,
    ...(Object.keys(carried).length > 0 && { carried }),
    ...(memory !== null && { memory }),
    loss: NaN,
    losses: [],
  };
}

const near = (found: readonly number[], wanted: readonly number[], by: number): void => {
  assert.equal(found.length, wanted.length);
  found.forEach((value, i) =>
    assert.ok(Math.abs(value - wanted[i]!) <= by, `${value} for ${wanted[i]}`)
  );
};

/** Runs on each engine, and goes on from the middle, to the same bits. */
async function everywhere<Batch>(
  run: Trained<Batch>,
  check: (all: readonly Plain[]) => void,
): Promise<void> {
  for (const [name, engine] of engines) {
    const before = live();
    const { all, middle } = await states(run, engine);
    assert.equal(all.length, run.batches.length, name);
    check(all);
    const rest = await states(run, engine, await read(middle));
    assert.deepEqual(rest.all, all.slice(3), name);
    await Deno.remove(middle);
    await Deno.remove(rest.middle);
    assert.equal(live(), before, name);
  }
}

describe("train() with another optimizer", () => {
  before(() => useBackend("cpu"));
  const loss: Objective<number> = {
    inputs: (target) => ({ target: tf.scalar(target) }),
    loss: ({ w }, { target }) => tf.mul(tf.sum(tf.square(tf.sub(w!, target!))), 0.5) as tf.Scalar,
  };

  it("train() moves weights by momentum, as its equation has it", async () => {
    const optimizer = byMomentum({ rate: 0.1, momentum: 0.5 }), batches = [1, 2, -1, 3, 0, 1, 1, 2];
    await everywhere({ params: { w: [1, -2] }, loss, batches, optimizer }, (all) => {
      const w = [1, -2], u = [0, 0];
      all.forEach(({ params, moments }, k) => {
        for (const i of [0, 1]) {
          u[i] = 0.5 * u[i]! + w[i]! - batches[k]!;
          w[i] = w[i]! - 0.1 * u[i]!;
        }
        near(params["w"]!, w, 1e-6);
        near(moments["velocity"]!["w"]!, u, 1e-6);
      });
    });
  });

  it("train() takes an optimizer of one's own, whose numbers change with the step", async () => {
    const decaying: Optimizer = {
      name: "decaying",
      init: () => ({}),
      numbers: (step) => ({ rate: 1 / step }),
      update: ({ params, gradients, moments }, { rate }) => ({
        params: Object.fromEntries(
          Object.entries(params).map(([n, w]) => [n, tf.sub(w, tf.mul(gradients[n]!, rate!))]),
        ),
        moments,
      }),
    };
    // Steps of 1/k on this loss give the mean of the targets so far.
    const batches = [4, 1, 7, 2, 2];
    await everywhere(
      { params: { w: [9] }, loss, batches, optimizer: decaying },
      (all) =>
        all.forEach(({ params }, k) =>
          near(params["w"]!, [batches.slice(0, k + 1).reduce((a, b) => a + b) / (k + 1)], 1e-6)
        ),
    );
  });

  it("train() refuses what is no optimizer, Adam's constants beside one, and a start of another's", async () => {
    const w = { w: tf.scalar(1) }, start = newTraining(w);
    const options = { loss, key: root };
    assert.throws(
      () => train(start, { ...options, optimizer: {} as Optimizer }),
      /optimizer must be/,
    );
    assert.throws(
      () => train(start, { ...options, optimizer: byMomentum(), adam: { rate: 1 } }),
      /adam must be absent beside an optimizer/,
    );
    await assert.rejects(async () => {
      for await (const _ of train(start, { ...options, optimizer: byMomentum() })([1])) {
        /* none */
      }
    }, /start\.moments\.velocity/);
    assert.throws(() => byMomentum({ momentum: 1 }), /momentum must be in \[0, 1\), got 1/);
    assert.throws(() => byMomentum({ rate: NaN }), /rate must be at least 0, got NaN/);
    disposeTraining(start);
    tf.dispose(w);
  });
});

describe("train() with persistent chains", () => {
  before(() => useBackend("cpu"));

  it("train() draws negatives under the weights of the step, and carries the chains on", async () => {
    // E(x; m) = (x − m)²/2, whose model is N(m, 1): contrastive divergence moves m to the mean of the data.
    const size = 4,
      eps = 0.2,
      energy = (x: tf.Tensor, m: tf.Tensor): tf.Tensor => tf.mul(tf.square(tf.sub(x, m)), 0.5);
    const loss: StatefulObjective<readonly number[]> = {
      inputs: (data, key) => ({ data: tf.tensor1d([...data]), z: normal(fold(key, "z"), [size]) }),
      prepare: ({ m }, { z }, { chains }) => {
        const score = tf.sub(m!, chains!);
        const next = tf.addN([chains!, tf.mul(score, eps), tf.mul(z!, Math.sqrt(2 * eps))]);
        return { inputs: { negatives: next }, carried: { chains: next } };
      },
      loss: ({ m }, { data, negatives }) =>
        tf.sub(tf.mean(energy(data!, m!)), tf.mean(energy(negatives!, m!))) as tf.Scalar,
    };
    const batches = [[1, 2, 3], [2, 2, 2], [0, 4, 2], [3, 1, 2], [2, 3, 1], [2, 2, 1]];
    const optimizer = byMomentum({ rate: 0.5, momentum: 0 });
    const carried = { chains: tf.tensor1d([0, 0, 1, -1]) };
    await everywhere({ params: { m: [0] }, loss, batches, optimizer, carried }, (all) => {
      const mean = (x: readonly number[]) => x.reduce((a, b) => a + b, 0) / x.length;
      let m = 0, x = [0, 0, 1, -1];
      all.forEach(({ params, carried }, k) => {
        const z = normals(fold(fold(root, k + 1), "z"), size);
        x = x.map((xi, i) => xi + eps * (m - xi) + Math.sqrt(2 * eps) * z[i]!);
        m = m - 0.5 * (mean(x) - mean(batches[k]!));
        near(carried["chains"]!, x, 1e-5);
        near(params["m"]!, [m], 1e-5);
      });
    });
    carried.chains.dispose();
  });

  it("train() names what is carried where that is not finite", async () => {
    const w = { w: tf.scalar(1) };
    const loss: StatefulObjective<number> = {
      inputs: (x) => ({ x: tf.scalar(x) }),
      prepare: (_, { x }, { chains }) => ({ inputs: {}, carried: { chains: tf.div(chains!, x!) } }),
      loss: ({ w }) => tf.square(w!) as tf.Scalar,
    };
    for (const [name, engine] of engines) {
      const chains = tf.scalar(1), start = newTraining(w, { carried: { chains } });
      await assert.rejects(
        async () => {
          const options = { loss, key: root, ...(engine && { engine }) };
          for await (const _ of train(start, options)([1, 0, 1])) { /* the second is infinite */ }
        },
        /carried must be finite, got Infinity in chains at step 2/,
        name,
      );
      disposeTraining(start);
      chains.dispose();
    }
    tf.dispose(w);
  });
});

describe("train() holds the state to its form", () => {
  before(() => useBackend("cpu"));
  const w = { w: [1] },
    common: Pick<StatefulObjective<number>, "inputs" | "loss"> = {
      inputs: (x) => ({ x: tf.scalar(x) }),
      loss: ({ w }, { x }) => tf.sum(tf.square(tf.sub(w!, x!))) as tf.Scalar,
    };

  it("train() refuses to carry on another name or shape, and an optimizer's other groups", async () => {
    const chain = tf.zeros([2]);
    const wrong: Record<string, Partial<Trained<number>>> = {
      "what is carried must stay chain \\[2\\], got chain \\[2\\], chian \\[2\\]": {
        loss: {
          ...common,
          prepare: (_, __, { chain }) => ({ inputs: {}, carried: { chian: chain! } }),
        },
      },
      "what is carried must stay chain \\[2\\], got chain \\[3\\]": {
        loss: { ...common, prepare: () => ({ inputs: {}, carried: { chain: tf.zeros([3]) } }) },
      },
      "velocity must stay w \\[1\\], got none": {
        optimizer: { ...byMomentum(), update: ({ params }) => ({ params, moments: {} }) },
      },
    };
    for (const [message, change] of Object.entries(wrong)) {
      const run = { params: w, loss: common, batches: [1, 2, 3], carried: { chain }, ...change };
      await assert.rejects(() => states(run, undefined), new RegExp(message));
      await assert.rejects(() => states(run, engine));
    }
    chain.dispose();
  });

  it("train() takes an optimizer that passes tensors on as they were, and swaps its groups", async () => {
    const lazy: Optimizer = {
      name: "lazy",
      init: (params) => ({
        scale: mapTensors(params, (each) => tf.onesLike(each)),
        before: mapTensors(params, (each) => tf.clone(each)),
      }),
      numbers: () => ({ rate: 0.25 }),
      update: ({ params, gradients, moments: { scale } }, { rate }) => ({
        params: mapTensors(
          params,
          (w, name) => tf.sub(w, tf.mul(tf.mul(gradients[name]!, scale![name]!), rate!)),
        ),
        moments: { scale: scale!, before: params },
      }),
    };
    const batches = [3, 3, 5, 5, 1];
    await everywhere({ params: w, loss: common, batches, optimizer: lazy }, (all) => {
      let x = 1;
      all.forEach(({ params, moments }, k) => {
        near(moments["before"]!["w"]!, [x], 1e-6);
        x -= 0.25 * 2 * (x - batches[k]!);
        near(params["w"]!, [x], 1e-6);
      });
    });
  });

  it("train() carries whole numbers, as spins are, on engines too", async () => {
    const spins = tf.tensor1d([1, -1, 1], "int32"), batches = [1, 2, 3, 4];
    const loss: StatefulObjective<number> = {
      ...common,
      prepare: (_, __, { spins }) => ({ inputs: {}, carried: { spins: tf.neg(spins!) } }),
    };
    await everywhere(
      { params: w, loss, batches, carried: { spins } },
      (all) =>
        all.forEach(({ carried }, k) =>
          assert.deepEqual(carried["spins"], [1, -1, 1].map((s) => k % 2 ? s : -s))
        ),
    );
    spins.dispose();
  });

  it("newTraining() refuses an optimizer and carried tensors that are none", () => {
    const params = tensorsOf(w);
    assert.throws(
      () => newTraining(params, { optimizer: "adam" as never, carried: { c: 3 as never } }),
      /^TypeError: Cannot begin training: optimizer must be an optimizer, .* got "adam"; carried must be tensors by name/,
    );
    tf.dispose(params);
  });

  it("train() ends at an abort while its batches hang", async () => {
    const params = tensorsOf(w), start = newTraining(params), signal = AbortSignal.timeout(30);
    const hanging = async function* () {
      yield 1;
      await new Promise(() => {});
    };
    let steps = 0;
    await assert.rejects(async () => {
      const options = { loss: common, key: root, signal };
      for await (const state of train(start, options)(hanging())) steps = state.step;
    }, { name: "TimeoutError" });
    assert.equal(steps, 1);
    disposeTraining(start);
    tf.dispose(params);
  });
});

describe("train() with times drawn where the loss is large", () => {
  before(() => useBackend("cpu"));

  it("train() remembers what the loss has told, and draws by it", async () => {
    // Three levels of their own scale; a level is drawn in proportion to what its error was last.
    type Memory = readonly number[];
    const scales = [1, 2, 3],
      drawn = (u: number, memory: Memory): number => {
        const total = memory.reduce((a, b) => a + b), edges = [memory[0]!, memory[0]! + memory[1]!];
        return edges.findIndex((edge) => u * total < edge) < 0
          ? 2
          : edges.findIndex((e) => u * total < e);
      };
    const levelsOf = (seed: ReturnType<typeof key>, memory: Memory): number[] =>
      [...uniforms(fold(seed, "levels"), 2)].map((u) => drawn(u, memory));
    const loss: StatefulObjective<number, Memory> = {
      inputs: (target, key, memory) => {
        const levels = levelsOf(key, memory);
        return {
          level: tf.tensor1d(levels),
          scale: tf.tensor1d(levels.map((k) => scales[k]!)),
          target: tf.scalar(target),
        };
      },
      loss: ({ w }, { level, scale, target }) => {
        const errors = tf.square(tf.mul(scale!, tf.sub(w!, target!)));
        return { value: tf.mean(errors) as tf.Scalar, told: { level: level!, errors } };
      },
      remember: (memory, { level, errors }) =>
        memory.map((old, k) => {
          const own = Array.from(level!).flatMap((l, i) => l === k ? [errors![i]!] : []);
          return own.length > 0 ? Math.fround(own.at(-1)!) : old;
        }),
    };
    const batches = [1, 1, 2, 2, 1, 0, 1, 1], optimizer = byMomentum({ rate: 0.05, momentum: 0 });
    await everywhere(
      { params: { w: [0] }, loss, batches, optimizer, memory: [1, 1, 1] },
      (all) => {
        let w = 0, memory: number[] = [1, 1, 1];
        all.forEach((state, k) => {
          const levels = levelsOf(fold(root, k + 1), memory), gap = w - batches[k]!;
          const errors = levels.map((l) => (scales[l]! * gap) ** 2);
          levels.forEach((l, i) => memory[l] = errors[i]!);
          w -= 0.05 * levels.reduce((sum, l) => sum + 2 * scales[l]! ** 2 * gap, 0) / 2;
          near(state.params["w"]!, [w], 1e-5);
          near(state.memory as number[], memory, 1e-4);
          memory = [...state.memory as number[]];
        });
        assert.ok(new Set(all.flatMap(({ memory }) => memory as number[])).size > 4);
      },
    );
  });
});

describe("several networks in one tree", () => {
  before(() => useBackend("cpu"));

  it("are trained together, and taken apart again", async () => {
    const parts = {
      encoder: { w: tf.tensor1d([2]) },
      prior: { w: tf.tensor1d([5]), b: tf.tensor1d([1]) },
    };
    const params = host(tree(parts));
    assert.deepEqual(Object.keys(params), ["encoder/w", "prior/w", "prior/b"]);
    const loss: Objective<number> = {
      inputs: (x) => ({ x: tf.scalar(x) }),
      loss: (all, { x }) => {
        const encoder = branch(all, "encoder"), prior = branch(all, "prior");
        const code = tf.mul(encoder["w"]!, x!),
          wanted = tf.add(tf.mul(prior["w"]!, x!), prior["b"]!);
        return tf.mul(tf.sum(tf.square(tf.sub(code, wanted))), 0.5) as tf.Scalar;
      },
    };
    const optimizer = byMomentum({ rate: 0.1, momentum: 0 }), batches = [1, -1, 2, 0.5, 1];
    await everywhere({ params, loss, batches, optimizer }, (all) => {
      let [e, w, b] = [2, 5, 1] as [number, number, number];
      all.forEach(({ params }, k) => {
        const x = batches[k]!, gap = e * x - (w * x + b);
        [e, w, b] = [e - 0.1 * gap * x, w + 0.1 * gap * x, b + 0.1 * gap];
        near(
          [params["encoder/w"]![0]!, params["prior/w"]![0]!, params["prior/b"]![0]!],
          [e, w, b],
          1e-5,
        );
      });
    });
    assert.throws(
      () => branch(tree(parts), "decoder"),
      /name must be one of encoder, prior, got decoder/,
    );
    assert.throws(() => tree({ "a/b": {} }), /no slash, got a\/b/);
    tf.dispose([parts.encoder, parts.prior]);
  });
});

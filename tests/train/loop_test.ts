import { before, describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import * as tf from "@tensorflow/tfjs-core";
import { denoisingLoss, perSample } from "../../src/denoise/loss/regression.ts";
import { initialize, type Params } from "../../src/network/layer/parameter.ts";
import { mlp } from "../../src/network/mlp.ts";
import { linear } from "../../src/noise/schedule/discrete.ts";
import { useBackend } from "../../src/tensor/backend/backend.ts";
import { eager, type Engine } from "../../src/tensor/engine.ts";
import { fold, type Key, key } from "../../src/tensor/key.ts";
import { normal, normals } from "../../src/tensor/random.ts";
import { emaDecay } from "../../src/train/ema.ts";
import { disposeTraining, newTraining, type TrainState } from "../../src/train/loop/state.ts";
import { type Loss, lossOf, type Objective } from "../../src/train/loop/objective.ts";
import { train } from "../../src/train/loop/train.ts";
import type { TrainOptions } from "../../src/train/loop/options.ts";
import { adam } from "../../src/train/optimizer/adam.ts";
import { uniformTimes } from "../../src/train/timestep/uniform.ts";
import { assertClose } from "../network/weights.ts";
import { average, live } from "../measure.ts";

/** A regression with noise under the key: (x·w + b − 3x − noise)², where x is the batch. */
const loss: Loss<number> = (params, x, key) =>
  tf.tidy(() => {
    const y = tf.add(tf.matMul(tf.fill([2, 3], x), params["w"]!), params["b"]!);
    return tf.mean(tf.square(tf.sub(y, tf.add(normal(key, [2, 2]), 3 * x)))) as tf.Scalar;
  });

const options: TrainOptions<number> = {
  loss,
  key: key(5),
  adam: { rate: 0.1, warmup: 3, anneal: 20, decay: 0.01, clip: 2 },
  decay: 0.9,
};

function fresh(): TrainState {
  const params = initialize({ w: { shape: [3, 2], std: 1 }, b: { shape: [2] } }, key(1));
  const start = newTraining(params);
  tf.dispose(params);
  return start;
}

const records = ({ params, ema, moments }: TrainState): Params[] => [
  params,
  ema,
  moments.mean,
  moments.square,
];

/** A state on the host, bit for bit. */
const plain = (state: TrainState): unknown => ({
  step: state.step,
  loss: state.loss,
  tensors: records(state).map((record) =>
    Object.entries(record).map(([name, tensor]) => [name, [...tensor.dataSync()]])
  ),
});

const copied = (state: TrainState): TrainState => {
  const copy = (params: Params): Params =>
    Object.fromEntries(Object.entries(params).map(([name, tensor]) => [name, tf.clone(tensor)]));
  return {
    ...state,
    params: copy(state.params),
    ema: copy(state.ema),
    moments: { mean: copy(state.moments.mean), square: copy(state.moments.square) },
  };
};

const data = [0.5, -1, 2, 0.1, 1.5, -0.3, 0.7];

/** Batches that say how often they were asked, and whether they were closed. */
function watched(values: readonly number[], wait = false) {
  const seen = { pulled: 0, closed: false };
  async function* later(): AsyncGenerator<number> {
    try {
      for (const value of values) {
        await new Promise((resolve) => setTimeout(resolve));
        seen.pulled++;
        yield value;
      }
    } finally {
      seen.closed = true;
    }
  }
  function* now(): Generator<number> {
    try {
      for (const value of values) {
        seen.pulled++;
        yield value;
      }
    } finally {
      seen.closed = true;
    }
  }
  return { seen, batches: wait ? later() : now() };
}

async function all<A>(
  states: AsyncIterable<TrainState>,
  use: (state: TrainState) => A,
): Promise<A[]> {
  const found: A[] = [];
  for await (const state of states) found.push(use(state));
  return found;
}

for (const backend of ["cpu", "wasm"] as const) {
  describe(`train() on ${backend}`, () => {
    before(() => useBackend(backend));

    it(`train() goes on from any of its states as if it had never stopped, on ${backend}`, async () => {
      const start = fresh(), copies: TrainState[] = [];
      const wanted = await all(train(start, options)(data), (state) => {
        copies.push(copied(state));
        return plain(state);
      });
      for (const [done, from] of [start, ...copies].entries()) {
        assert.equal(from.step, done);
        const again = await all(train(from, options)(data.slice(done)), plain);
        assert.deepEqual(again, wanted.slice(done));
      }
      [start, ...copies].forEach(disposeTraining);
    });

    it(`train() holds as many tensors at every step, and none in the end, on ${backend}`, async () => {
      const start = fresh(), before = live();
      const counts = await all(train(start, options)(Array(50).fill(0.3)), live);
      assert.deepEqual(counts, Array(50).fill(before + 8)); // 2 weights, their average and moments
      assert.equal(live(), before);
      disposeTraining(start);
      assert.equal(live(), before - 8);
    });

    it(`train() leaves no tensors when the loss throws, on ${backend}`, async () => {
      const start = fresh(), before = live(), { batches, seen } = watched(data);
      const fails: Loss<number> = (params, x, key) => {
        const value = loss(params, x, key);
        if (x === 2) throw new TypeError("the loss is broken");
        return value;
      };
      const states = train(start, { ...options, loss: fails })(batches);
      await assert.rejects(all(states, (state) => state.step), {
        name: "TypeError",
        message: "the loss is broken",
      });
      assert.ok(seen.closed && seen.pulled === 3);
      assert.equal(live(), before);
      assert.equal((await all(train(start, options)(data), () => 0)).length, data.length);
      assert.equal(live(), before);
      disposeTraining(start);
    });

    it(`train() leaves no tensors when an operation has no gradient, on ${backend}`, async () => {
      const start = fresh(), before = live();
      const fails: Loss<number> = (params, x, key) =>
        tf.tidy(() => {
          const image = tf.reshape(params["w"]!, [1, 3, 2, 1]) as tf.Tensor4D;
          const part = tf.image.cropAndResize(image, [[0, 0, 1, 1]], [0], [2, 2]);
          return tf.add(loss(params, x, key), tf.sum(part)) as tf.Scalar;
        });
      await assert.rejects(
        all(train(start, { ...options, loss: fails })(data), () => 0),
        /gradient function not found for CropAndResize/,
      );
      assert.equal(live(), before);
      disposeTraining(start);
    });
  });
}

describe("newTraining()", () => {
  before(() => useBackend("cpu"));

  it("newTraining() starts with copies of the weights, zero moments and no loss", () => {
    const params = { w: tf.tensor1d([1, 2]) }, before = live(), state = newTraining(params);
    assert.equal(live(), before + 4);
    params.w.dispose();
    assert.deepEqual(plain(state), {
      step: 0,
      loss: NaN,
      tensors: [[["w", [1, 2]]], [["w", [1, 2]]], [["w", [0, 0]]], [["w", [0, 0]]]],
    });
    disposeTraining(state);
    assert.equal(live(), before - 1);
  });
});

describe("train()", () => {
  before(() => useBackend("cpu"));

  it("train() computes nothing until it is iterated", () => {
    const start = fresh(), { batches, seen } = watched(data);
    const never: Loss<number> = () => assert.fail("called");
    train(start, { ...options, loss: never })(batches)[Symbol.asyncIterator]();
    assert.deepEqual(seen, { pulled: 0, closed: false });
    disposeTraining(start);
  });

  for (const wait of [false, true]) {
    it(`train() yields a state after each batch, from ${wait ? "later" : "ready"} batches`, async () => {
      const start = fresh(), { batches, seen } = watched(data, wait), pulled: number[] = [];
      const steps = await all(train(start, options)(batches), (state) => {
        pulled.push(seen.pulled);
        return state.step;
      });
      assert.deepEqual(steps, [1, 2, 3, 4, 5, 6, 7]);
      assert.deepEqual(pulled, steps);
      assert.ok(seen.closed);
      disposeTraining(start);
    });

    it(`train() closes its ${wait ? "later" : "ready"} batches and frees its state on break`, async () => {
      const start = fresh(), before = live(), { batches, seen } = watched(data, wait);
      for await (const { step } of train(start, options)(batches)) if (step === 2) break;
      assert.deepEqual(seen, { pulled: 2, closed: true });
      assert.equal(live(), before);
      disposeTraining(start);
    });

    it(`train() closes its ${wait ? "later" : "ready"} batches and frees its state when the consumer throws`, async () => {
      const start = fresh(), before = live(), { batches, seen } = watched(data, wait);
      const consume = all(train(start, options)(batches), () => {
        throw new Error("enough");
      });
      await assert.rejects(consume, /enough/);
      assert.deepEqual(seen, { pulled: 1, closed: true });
      assert.equal(live(), before);
      disposeTraining(start);
    });
  }

  it("train() gives each state the loss before its step, under the key folded with the step", async () => {
    const start = fresh(), given: [number, Key][] = [];
    const spy: Loss<number> = (params, x, key) => {
      given.push([x, key]);
      return loss(params, x, key);
    };
    const losses = await all(train(start, { ...options, loss: spy })(data), (state) => state.loss);
    assert.deepEqual(given, data.map((x, i) => [x, fold(key(5), i + 1)]));
    const first = loss(start.params, data[0]!, fold(key(5), 1));
    assert.equal(losses[0], first.dataSync()[0]);
    first.dispose();
    disposeTraining(start);
  });

  it("train() makes steps of Adam, of the step's own number", async () => {
    const start = fresh(), names = Object.keys(start.params);
    let last = copied(start);
    await all(train(start, options)(data), (state) => {
      tf.tidy(() => {
        const gradients = tf.grads((...w) =>
          loss(
            Object.fromEntries(names.map((name, i) => [name, w[i]!])),
            data[last.step]!,
            fold(key(5), state.step),
          )
        )(Object.values(last.params));
        const { params, moments } = adam({
          ...last,
          gradients: Object.fromEntries(names.map((name, i) => [name, gradients[i]!])),
          step: state.step,
        }, options.adam);
        for (const name of names) {
          assert.deepEqual(state.params[name]!.dataSync(), params[name]!.dataSync());
          assert.deepEqual(state.moments.mean[name]!.dataSync(), moments.mean[name]!.dataSync());
        }
      });
      disposeTraining(last);
      last = copied(state);
    });
    [start, last].forEach(disposeTraining);
  });

  it("train() carries the moving average of the weights", async () => {
    const start = fresh(), wanted = [...start.params["w"]!.dataSync()];
    await all(train(start, options)(data), (state) => {
      const d = emaDecay(state.step, 0.9), now = state.params["w"]!.dataSync();
      now.forEach((v, i) => wanted[i] = d * wanted[i]! + (1 - d) * v);
      state.ema["w"]!.dataSync().forEach((v, i) => assert.ok(Math.abs(v - wanted[i]!) < 1e-6));
    });
    disposeTraining(start);
  });

  it("train() leaves its start as it was", async () => {
    const start = fresh(), before = plain(start);
    await all(train(start, options)(data), () => 0);
    assert.deepEqual(plain(start), before);
    disposeTraining(start);
  });

  it("train() keeps a state until the next pull", async () => {
    const start = fresh(), states: TrainState[] = [];
    await all(train(start, options)(data), (state) => {
      assert.ok(records(state).every((r) => Object.values(r).every((t) => !t.isDisposed)));
      states.push(state);
    });
    assert.ok(
      states.every((s) => records(s).every((r) => Object.values(r).every((t) => t.isDisposed))),
    );
    disposeTraining(start);
  });

  it("train() can be iterated twice, and two at once do not disturb each other", async () => {
    const start = fresh(), states = train(start, options)(data), wanted = await all(states, plain);
    const [a, b] = [states[Symbol.asyncIterator](), states[Symbol.asyncIterator]()];
    for (const one of wanted) {
      assert.deepEqual(plain((await a.next()).value), one);
      assert.deepEqual(plain((await b.next()).value), one);
    }
    await Promise.all([a.next(), b.next()]);
    disposeTraining(start);
  });

  it("train() of no batches yields nothing", async () => {
    const start = fresh();
    assert.deepEqual(await all(train(start, options)([]), () => 0), []);
    disposeTraining(start);
  });

  it("train() takes nothing under a signal that was aborted before", async () => {
    const start = fresh(), before = live(), { batches, seen } = watched(data);
    const signal = AbortSignal.abort(new Error("not today"));
    await assert.rejects(all(train(start, { ...options, signal })(batches), () => 0), /not today/);
    assert.equal(seen.pulled, 0);
    assert.equal(live(), before);
    disposeTraining(start);
  });

  it("train() stops with the signal's reason before it takes another batch", async () => {
    const start = fresh(), before = live(), { batches, seen } = watched(data);
    const control = new AbortController(), steps: number[] = [];
    const run = all(train(start, { ...options, signal: control.signal })(batches), ({ step }) => {
      steps.push(step);
      if (step === 3) control.abort(new Error("stop"));
    });
    await assert.rejects(run, /stop/);
    assert.deepEqual([steps, seen], [[1, 2, 3], { pulled: 3, closed: true }]);
    assert.equal(live(), before);
    disposeTraining(start);
  });

  it("train() makes no step of a batch that came after the abort", async () => {
    const start = fresh(), before = live(), control = new AbortController();
    let closed = false;
    async function* batches(): AsyncGenerator<number> {
      try {
        yield 1;
        control.abort(new Error("stop"));
        yield await Promise.resolve(2);
      } finally {
        closed = true;
      }
    }
    const steps: number[] = [];
    const states = train(start, { ...options, signal: control.signal })(batches());
    await assert.rejects(all(states, ({ step }) => steps.push(step)), /stop/);
    assert.deepEqual([steps, closed], [[1], true]);
    assert.equal(live(), before);
    disposeTraining(start);
  });

  it("train() passes on an error of the batches and frees its state", async () => {
    const start = fresh(), before = live();
    function* broken(): Generator<number> {
      yield 1;
      throw new Error("no such file");
    }
    await assert.rejects(all(train(start, options)(broken()), () => 0), /no such file/);
    assert.equal(live(), before);
    disposeTraining(start);
  });

  for (const bad of [NaN, Infinity]) {
    it(`train() stops at a loss of ${bad} and names the step`, async () => {
      const start = fresh(), before = live(), steps: number[] = [];
      const scales = [1, 1, bad, 1];
      const scaled: Loss<number> = (params, x, key) => tf.mul(loss(params, 1, key), scales[x]!);
      const states = train(start, { ...options, loss: scaled })([0, 1, 2, 3]);
      await assert.rejects(all(states, ({ step }) => steps.push(step)), {
        name: "RangeError",
        message: `Cannot go on with training: loss must be finite, got ${bad} at step 3`,
      });
      assert.deepEqual(steps, [1, 2]);
      assert.equal(live(), before);
      disposeTraining(start);
    });
  }

  it("train() goes on through a loss that is not finite where it is told to", async () => {
    const start = fresh();
    const losses = await all(
      train(start, { ...options, finite: false })([1, NaN, 1]),
      (s) => s.loss,
    );
    assert.equal(losses.length, 3);
    assert.ok(Number.isNaN(losses[1]));
    disposeTraining(start);
  });

  it("train() refuses a loss that leaves a weight out, or is not one number", async () => {
    const start = fresh(), before = live();
    const cases: [Loss<number>, string][] = [
      [
        (params) => tf.sum(tf.square(params["w"]!)) as tf.Scalar,
        "the loss must depend on every weight, got none of b",
      ],
      [(params) => params["b"] as tf.Scalar, "the loss must be one number, got shape [2]"],
    ];
    for (const [wrong, message] of cases) {
      await assert.rejects(all(train(start, { ...options, loss: wrong })(data), () => 0), {
        name: "RangeError",
        message: `Cannot train: ${message}`,
      });
      assert.equal(live(), before);
    }
    disposeTraining(start);
  });

  it("train() passes on the complaints about its constants and frees its tensors", async () => {
    const start = fresh(), before = live();
    for (const wrong of [{ decay: 2 }, { adam: { beta2: 1 } }]) {
      await assert.rejects(all(train(start, { ...options, ...wrong })(data), () => 0), RangeError);
      assert.equal(live(), before);
    }
    disposeTraining(start);
  });
});

/** The same loss in two parts. */
const objective: Objective<number> = {
  inputs: (x, key) => {
    tf.scalar(0); // left behind
    return { x: tf.fill([2, 3], x), target: tf.add(normal(key, [2, 2]), 3 * x) };
  },
  loss: (params, { x, target }) =>
    tf.tidy(() => {
      const y = tf.add(tf.matMul(x!, params["w"]!), params["b"]!);
      return tf.mean(tf.square(tf.sub(y, target!))) as tf.Scalar;
    }),
};

/** The eager engine, with a count of the folds that are open and of the states that were fetched. */
function counting(): { engine: Engine; count: { open: number; begun: number; fetched: number } } {
  const count = { open: 0, begun: 0, fetched: 0 };
  const engine: Engine = {
    ...eager,
    fold: async (step, start) => {
      const fold = await eager.fold(step, start);
      count.open++;
      count.begun++;
      return {
        ...fold,
        state: () => {
          count.fetched++;
          return fold.state();
        },
        dispose: () => {
          count.open--;
          return fold.dispose();
        },
      };
    },
  };
  return { engine, count };
}

/** Asserts that two states are the same to a tolerance, but for the order of the names. */
function close(got: TrainState, wanted: TrainState, tolerance: number): void {
  assert.equal(got.step, wanted.step);
  assert.ok(Math.abs(got.loss - wanted.loss) <= tolerance * Math.max(1, wanted.loss));
  records(got).forEach((record, i) => {
    const other = records(wanted)[i]!;
    assert.deepEqual(Object.keys(record).sort(), Object.keys(other).sort());
    for (const [name, tensor] of Object.entries(record)) {
      assert.deepEqual(tensor.shape, other[name]!.shape);
      assertClose(tensor.dataSync(), other[name]!.dataSync(), tolerance);
    }
  });
}

describe("train() on an engine", () => {
  before(() => useBackend("cpu"));

  const ten = [...data, 1.1, -0.6, 0.9];
  const constants: Record<string, Partial<TrainOptions<number>>> = {
    "clipping, warm-up, annealing, weight decay and average": {},
    "its defaults": { adam: {} },
    "an average that nears its final decay": { adam: { rate: 0.1 }, decay: 0.3 },
  };
  for (const [what, more] of Object.entries(constants)) {
    it(`train() on an engine makes the steps that it makes without: ${what}`, async () => {
      const start = fresh(), wanted: TrainState[] = [];
      const both = { ...options, ...more, loss: objective };
      await all(train(start, both)(ten), (state) => wanted.push(copied(state)));
      const steps = await all(train(start, { ...both, engine: eager })(ten), (state) => {
        close(state, wanted[state.step - 1]!, 1e-6);
        return state.step;
      });
      assert.deepEqual(steps, wanted.map(({ step }) => step));
      [start, ...wanted].forEach(disposeTraining);
    });
  }

  it("train() takes an objective without an engine, as the loss of its two parts", async () => {
    const start = fresh(), wanted = await all(train(start, options)(data), plain);
    for (const one of [objective, lossOf(objective)]) {
      assert.deepEqual(await all(train(start, { ...options, loss: one })(data), plain), wanted);
    }
    disposeTraining(start);
  });

  it("train() on an engine goes on from any of its states, in whatever order the weights come", async () => {
    const start = fresh(), copies: TrainState[] = [];
    const both = { ...options, loss: objective, engine: eager };
    const wanted = await all(train(start, both)(data), (state) => {
      copies.push(copied(state));
      return plain(state);
    });
    for (const from of copies) {
      const reversed = (params: Params): Params =>
        Object.fromEntries(Object.entries(params).reverse());
      const { mean, square } = from.moments;
      const again = {
        ...from,
        params: reversed(from.params),
        ema: reversed(from.ema),
        moments: { mean: reversed(mean), square: reversed(square) },
      };
      const rest = await all(train(again, both)(data.slice(from.step)), plain);
      assert.deepEqual(rest, wanted.slice(from.step));
    }
    [start, ...copies].forEach(disposeTraining);
  });

  it("train() on an engine holds as many tensors at every step, and none in the end", async () => {
    const start = fresh(), before = live(), { engine, count } = counting();
    const run = train(start, { ...options, loss: objective, engine });
    const counts = await all(run(Array(20).fill(0.3)), live);
    assert.deepEqual(counts, Array(20).fill(before + 4 + 8)); // the engine's vectors and the state
    assert.equal(live(), before);
    assert.deepEqual(count, { open: 0, begun: 1, fetched: 20 });
    disposeTraining(start);
  });

  it("train() on an engine fetches no state but those that it yields", async () => {
    const start = fresh(), { engine, count } = counting();
    const run = train(start, { ...options, loss: objective, engine, every: 3 });
    const steps = await all(run(data), ({ step, losses }) => [step, losses.length]);
    assert.deepEqual(steps, [[3, 3], [6, 3], [7, 1]]);
    assert.equal(count.fetched, 3);
    disposeTraining(start);
  });

  it("train() on an engine computes nothing until it is iterated, and takes nothing once aborted", async () => {
    const start = fresh(), before = live(), { engine, count } = counting();
    const { batches, seen } = watched(data), signal = AbortSignal.abort(new Error("not today"));
    const common = { ...options, loss: objective, engine };
    train(start, common)(batches)[Symbol.asyncIterator]();
    await assert.rejects(all(train(start, { ...common, signal })(batches), () => 0), /not today/);
    assert.deepEqual([count.begun, seen.pulled, live()], [0, 0, before]);
    disposeTraining(start);
  });

  it("train() is called off by its signal also in a step that never comes to its end", async () => {
    const start = fresh(), before = live(), control = new AbortController();
    const hanging: Engine = {
      ...eager,
      fold: async (step, first) => ({
        ...await eager.fold(step, first),
        step: () => new Promise(() => setTimeout(() => control.abort(new Error("stop")))),
      }),
    };
    const { batches, seen } = watched(data), { signal } = control;
    const run = train(start, { ...options, loss: objective, engine: hanging, signal });
    await assert.rejects(all(run(batches), () => 0), /stop/);
    assert.ok(seen.closed);
    assert.equal(live(), before);
    disposeTraining(start);
  });

  it("train() on an engine frees everything on break, throw, abort and error, and closes its batches", async () => {
    const start = fresh(), before = live(), control = new AbortController();
    const throwing: Objective<number> = {
      ...objective,
      loss: (params, inputs) => {
        const value = objective.loss(params, inputs);
        if (inputs["x"]!.dataSync()[0] === 2) throw new TypeError("the loss is broken");
        return value;
      },
    };
    const scaled: Objective<number> = {
      inputs: (x, key) => ({ ...objective.inputs(1, key), scale: tf.scalar(x === 2 ? NaN : 1) }),
      loss: (params, inputs) => tf.mul(objective.loss(params, inputs), inputs["scale"]!),
    };
    const unused: Objective<number> = {
      ...objective,
      loss: (params) => tf.sum(tf.square(params["w"]!)) as tf.Scalar,
    };
    const lost: Objective<number> = {
      ...objective,
      inputs: () => {
        tf.scalar(1);
        throw new TypeError("no data");
      },
    };
    const none = () => {};
    type Ending = [Partial<TrainOptions<number>>, (step: number) => unknown, RegExp];
    const endings: Ending[] = [
      [{}, () => assert.fail("enough"), /enough/],
      [{ signal: control.signal }, () => control.abort(new Error("stop")), /stop/],
      [{ loss: throwing }, none, /the loss is broken/],
      [{ loss: scaled }, none, /loss must be finite, got NaN at step 3/],
      [{ loss: scaled, every: 100 }, none, /loss must be finite, got NaN at step 3/],
      [{ loss: unused }, none, /must depend on every weight, got none of b/],
      [{ loss: lost }, none, /no data/],
      [{ adam: { beta1: 2 } }, none, /beta1 must be in/],
      [{ decay: 2 }, none, /decay must be in/],
    ];
    for (const [more, use, message] of endings) {
      const { engine, count } = counting(), { batches, seen } = watched(data);
      const run = train(start, { ...options, loss: objective, engine, ...more })(batches);
      await assert.rejects(all(run, ({ step }) => use(step)), message);
      assert.deepEqual([live(), count.open], [before, 0], `${message}`);
      assert.ok(seen.closed || seen.pulled === 0, `${message}`);
    }
    const { engine, count } = counting(), { batches, seen } = watched(data);
    for await (const { step } of train(start, { ...options, loss: objective, engine })(batches)) {
      if (step === 2) break;
    }
    assert.deepEqual([live(), count.open, seen], [before, 0, { pulled: 2, closed: true }]);
    disposeTraining(start);
  });

  it("train() on an engine keeps a state until the next pull", async () => {
    const start = fresh(), states: TrainState[] = [];
    const gone = (state: TrainState) =>
      records(state).flatMap((r) => Object.values(r)).map((t) => t.isDisposed);
    await all(train(start, { ...options, loss: objective, engine: eager })(data), (state) => {
      assert.ok(gone(state).every((is) => !is));
      states.push(state);
    });
    assert.ok(states.every((state) => gone(state).every((is) => is)));
    disposeTraining(start);
  });

  it("train() leaves alone the inputs of an objective that keeps them", async () => {
    const start = fresh(), x = tf.ones([2, 3]), target = tf.zeros([2, 2]);
    const keeping: Objective<number> = { ...objective, inputs: () => ({ x, target }) };
    await all(train(start, { ...options, loss: keeping, engine: eager })(data), () => 0);
    assert.ok(!x.isDisposed && !target.isDisposed);
    tf.dispose([x, target]);
    disposeTraining(start);
  });

  it("train() refuses a loss in one part on an engine at once", () => {
    const start = fresh();
    assert.throws(() => train(start, { ...options, engine: eager }), {
      name: "TypeError",
      message:
        "Cannot train on tfjs, uncompiled: loss must be an objective, in two parts, got a function",
    });
    disposeTraining(start);
  });
});

describe("train() every so many steps", () => {
  before(() => useBackend("cpu"));

  it("train() yields the multiples of every and the last, with the losses since the state before", async () => {
    const start = fresh(), losses = await all(train(start, options)(data), (s) => s.losses);
    assert.deepEqual(losses.map((list) => list.length), data.map(() => 1));
    const seen = await all(
      train(start, { ...options, every: 3 })(data),
      ({ step, loss, losses }) => ({ step, loss, losses }),
    );
    const flat = losses.flat(),
      part = (from: number, to: number) => ({
        step: to,
        loss: flat[to - 1],
        losses: flat.slice(from, to),
      });
    assert.deepEqual(seen, [part(0, 3), part(3, 6), part(6, 7)]);
    disposeTraining(start);
  });

  it("train() yields the same states after a start in between, and a last one only once", async () => {
    const start = fresh(), four: TrainState[] = [];
    const whole = await all(train(start, { ...options, every: 2 })(data.slice(0, 6)), plain);
    assert.equal(whole.length, 3);
    await all(train(start, options)(data.slice(0, 3)), (state) => {
      if (state.step === 3) four.push(copied(state));
    });
    const rest = await all(train(four[0]!, { ...options, every: 2 })(data.slice(3, 6)), plain);
    assert.deepEqual(rest, whole.slice(1));
    [start, ...four].forEach(disposeTraining);
  });

  it("train() holds no tensors of the states that it does not yield", async () => {
    const start = fresh(), before = live();
    const counts = await all(train(start, { ...options, every: 4 })(Array(10).fill(0.3)), live);
    assert.deepEqual(counts, Array(3).fill(before + 8));
    assert.equal(live(), before);
    disposeTraining(start);
  });

  it("train() stops at a signal between two states", async () => {
    const start = fresh(), before = live(), control = new AbortController();
    const stopping: Loss<number> = (params, x, key) => {
      if (x === 2) control.abort(new Error("stop"));
      return loss(params, x, key);
    };
    const { batches, seen } = watched(data);
    const run = train(start, { ...options, loss: stopping, every: 5, signal: control.signal });
    await assert.rejects(all(run(batches), () => 0), /stop/);
    assert.deepEqual([seen, live()], [{ pulled: 3, closed: true }, before]);
    disposeTraining(start);
  });

  it("train() refuses an every that is not a whole number of at least 1, at once", () => {
    const start = fresh();
    for (const every of [0, 1.5, -1, NaN]) {
      assert.throws(() => train(start, { ...options, every }), {
        name: "RangeError",
        message: `Cannot train: every must be a whole number of at least 1, got ${every}`,
      });
    }
    disposeTraining(start);
  });
});

/** A training of one number under a loss, on cpu, wasm or as a fold of an engine. */
const one = (value: number): TrainState => {
  const w = tf.tensor1d([value, 2]), start = newTraining({ w });
  w.dispose();
  return start;
};

describe("train() of what is not finite", () => {
  /** |w|: at its minimum the loss is 0, and its gradient 0/0. */
  const length = (w: tf.Tensor): tf.Scalar => tf.sqrt(tf.sum(tf.square(tf.sub(w, [0, 2]))));

  for (const backend of ["cpu", "wasm"] as const) {
    for (const engine of [undefined, eager]) {
      const on = `${backend}${engine ? ", on an engine" : ""}`;
      const runs = async (
        more: Partial<TrainOptions<number>> & {
          readonly of: (w: tf.Tensor, x: tf.Tensor) => tf.Scalar;
        },
        { from = 0, batches = [1, 1, 1] as readonly number[] } = {},
      ): Promise<number[]> => {
        await useBackend(backend);
        const start = one(from), alive = live(), steps: number[] = [];
        const { of, ...rest } = more;
        const objective: Objective<number> = {
          inputs: (x) => ({ x: tf.scalar(x) }),
          loss: ({ w }, { x }) => tf.tidy(() => of(w!, x!)),
        };
        try {
          const run = train(start, {
            key: key(0),
            adam: { rate: 0.1 },
            ...rest,
            loss: objective,
            ...(engine && { engine }),
          });
          for await (const { step } of run(batches)) steps.push(step);
        } finally {
          assert.equal(live(), alive);
          disposeTraining(start);
        }
        return steps;
      };

      it(`train() stops at a gradient of NaN of a loss of 0, and names step and weight, on ${on}`, async () => {
        for (const adam of [{ rate: 0.1 }, { rate: 0.1, clip: 1 }]) {
          await assert.rejects(runs({ of: length, adam }), {
            name: "RangeError",
            message: "Cannot go on with training: gradient must be finite, got NaN in w at step 1",
          });
        }
        assert.deepEqual(await runs({ of: length, finite: false }, { batches: [1] }), [1]);
      });

      it(`train() stops at an infinite gradient, clipped or not, on ${on}`, async () => {
        const steep = (w: tf.Tensor, x: tf.Tensor): tf.Scalar =>
          tf.mul(tf.sum(tf.sqrt(tf.mul(w, tf.sub(1, x)))), 1);
        for (const adam of [{}, { clip: 1 }]) {
          await assert.rejects(
            runs({ of: steep, adam }, { batches: [0, 0.5, 1] }),
            /gradient must be finite, got (NaN|-?Infinity) in w at step [13]$/,
          );
        }
      });

      it(`train() stops at weights beyond all numbers, and at gradients whose squares are, on ${on}`, async () => {
        const line = (w: tf.Tensor, x: tf.Tensor): tf.Scalar => tf.sum(tf.mul(w, x));
        await assert.rejects(runs({ of: line, adam: { rate: 1e39 } }), {
          name: "RangeError",
          message:
            "Cannot go on with training: weights must be finite, got -Infinity in w at step 1",
        });
        await assert.rejects(runs({ of: line }, { batches: [1, 1e25] }), {
          name: "RangeError",
          message:
            "Cannot go on with training: square of the gradient must be finite, got Infinity in w at step 2",
        });
        // Large is not infinite, not even where a sum of it is.
        assert.deepEqual(
          await runs({ of: line, adam: { rate: 3e37 } }, { from: 3e38, batches: [-1e-3] }),
          [1],
        );
      });

      it(`train() stops at a batch that is not finite, though the loss is, on ${on}`, async () => {
        const deaf = (w: tf.Tensor, x: tf.Tensor): tf.Scalar =>
          tf.sum(tf.add(tf.square(w), tf.mul(tf.relu(tf.step(x)), 0)));
        for (const bad of [NaN, Infinity, -Infinity]) {
          await assert.rejects(runs({ of: deaf }, { batches: [1, bad] }), {
            name: "RangeError",
            message: `Cannot go on with training: batch must be finite, got ${bad} at step 2`,
          });
        }
      });

      it(`train() refuses a start that is not finite before it takes a batch, on ${on}`, async () => {
        const batches = (function* () {
          assert.fail("asked");
          yield 1;
        })();
        await assert.rejects(
          runs({ of: length }, { from: NaN, batches: batches as unknown as number[] }),
          {
            name: "RangeError",
            message: "Cannot train: start.params must be finite, got NaN in w",
          },
        );
      });
    }
  }

  for (const backend of ["cpu", "wasm"] as const) {
    it(`train() finds one number among many that is not finite, on ${backend}`, async () => {
      await useBackend(backend);
      const size = 2 ** 15, params = { a: tf.zeros([3]), w: tf.zeros([size]) };
      const start = newTraining(params);
      tf.dispose(params);
      const peak = tf.tidy(() => tf.oneHot(tf.scalar(size - 3, "int32"), size)), before = live();
      // Of the square of one weight, times a number: squares of its gradient are beyond all numbers at 1e25.
      const of: Loss<number> = ({ a, w }, x) =>
        tf.tidy(() => tf.add(tf.sum(tf.mul(tf.mul(w!, peak), x)), tf.sum(a!)) as tf.Scalar);
      const run = train(start, { loss: of, key: key(0) })([1, 2, 1e25, 1]), steps: number[] = [];
      await assert.rejects(all(run, ({ step }) => steps.push(step)), {
        name: "RangeError",
        message:
          "Cannot go on with training: square of the gradient must be finite, got Infinity in w at step 3",
      });
      assert.deepEqual(steps, [1, 2]);
      assert.equal(live(), before);
      peak.dispose();
      disposeTraining(start);
    });
  }

  it("train() finds NaN wherever it is in a batch, and says where", async () => {
    await useBackend("cpu");
    const bad = tf.tensor1d([1, NaN]), gone = tf.scalar(1);
    gone.dispose();
    const cases: [unknown, string][] = [
      [[0, 1, NaN], "batch must be finite, got NaN"],
      [Float32Array.of(1, Infinity), "batch must be finite, got Infinity"],
      [{ x: { y: Float64Array.of(NaN) } }, "batch.x.y must be finite, got NaN"],
      [[{ t: 0 }, { t: -Infinity }], "batch[1].t must be finite, got -Infinity"],
      [{ x: bad }, "batch.x must be finite, got NaN"],
      [bad, "batch must be finite, got NaN"],
      [{ x: gone }, "batch.x must be a tensor that is not disposed of, got one that is"],
    ];
    const start = one(1), before = live();
    const plain: Loss<unknown> = ({ w }) => tf.sum(tf.square(w!)) as tf.Scalar;
    for (const [batch, message] of cases) {
      const run = train(start, { loss: plain, key: key(0) })([{}, batch]);
      await assert.rejects(all(run, ({ step }) => step), {
        name: "RangeError",
        message: `Cannot go on with training: ${message} at step 2`,
      });
      assert.equal(live(), before);
    }
    const around: Record<string, unknown> = {
      n: 1n,
      s: "NaN",
      none: null,
      labels: Int32Array.of(1),
    };
    around["self"] = around;
    const fine = [null, undefined, "x", around, new Map([[1, NaN]]), { big: BigInt64Array.of(1n) }];
    const steps = await all(train(start, { loss: plain, key: key(0) })(fine), ({ step }) => step);
    assert.deepEqual(steps, [1, 2, 3, 4, 5, 6]);
    bad.dispose();
    disposeTraining(start);
  });
});

describe("what train() refuses", () => {
  before(() => useBackend("cpu"));

  it("train() refuses options that it does not know, no key and no loss, at once", () => {
    const start = fresh(), before = live();
    const cases: [object, string, string][] = [
      [
        { rate: 1 },
        "TypeError",
        'options must be among loss, key, optimizer, adam, decay, engine, every, signal, finite, got "rate"',
      ],
      [
        { adam: { learningRate: 1 } },
        "TypeError",
        "options must be among rate, beta1, beta2, epsilon, decay, warmup, anneal, clip, " +
        'got "learningRate"',
      ],
      [{ key: 5 }, "TypeError", "key must be a key, as key(0) makes them, got 5"],
      [{ loss: undefined }, "TypeError", "loss must be a function or an objective, got undefined"],
      [{ finite: "x" }, "TypeError", 'finite must be a boolean, got "x"'],
      [{ engine: {} }, "TypeError", "engine must be an engine, such as onnx() makes, got {}"],
      [{ loss: { loss } }, "TypeError", "loss must be a function or an objective, got {}"],
    ];
    for (const [change, name, message] of cases) {
      assert.throws(() => train(start, { ...options, ...change }), {
        name,
        message: `Cannot train: ${message}`,
      });
    }
    assert.equal(live(), before);
    disposeTraining(start);
  });

  it("train() refuses constants out of range before it takes a batch, a moving average that keeps all among them", async () => {
    const start = fresh(), before = live();
    for (const engine of [undefined, eager]) {
      const cases: [object, RegExp][] = [
        [{ decay: 1 }, /^RangeError: Cannot average weights: decay must be in \[0, 1\), got 1$/],
        [{ adam: { beta2: 1 } }, /^RangeError: Cannot make a step of Adam: beta2 must be in/],
      ];
      for (const [change, message] of cases) {
        const { batches, seen } = watched(data), more = engine && { engine };
        const run = train(start, { ...options, loss: objective, ...more, ...change })(batches);
        await assert.rejects(all(run, () => 0), message);
        assert.deepEqual([seen.pulled, live()], [0, before]);
      }
    }
    disposeTraining(start);
  });

  it("train() refuses a start whose parts do not fit, or are disposed of, by name", async () => {
    const start = fresh(), gone = tf.zeros([2]), flat = tf.zeros([6]);
    gone.dispose();
    const before = live(), { moments } = start;
    const cases: [Partial<TrainState>, string][] = [
      [
        { ema: { w: start.ema["w"]! } },
        "start.ema must have the weights of start.params, got none called b",
      ],
      [
        { ema: { ...start.ema, c: flat } },
        "start.ema must have the weights of start.params, got also c",
      ],
      [
        { moments: { ...moments, mean: { ...moments.mean, w: flat } } },
        "start.moments.mean must have the weights of start.params, got w of shape [6] for [3,2]",
      ],
      [
        { moments: { ...moments, square: { ...moments.square, b: gone } } },
        "start.moments.square must be of tensors that are not disposed of, got b",
      ],
      [
        { params: { ...start.params, b: gone } },
        "start.params must be of tensors that are not disposed of, got b",
      ],
      [{ params: {} }, "start.params must be of at least one weight, got none"],
      [{ step: -1 }, "start.step must be a whole number of at least 0, got -1"],
    ];
    for (const [change, message] of cases) {
      const { batches, seen } = watched(data);
      const run = train({ ...start, ...change }, options)(batches);
      await assert.rejects(all(run, () => 0), {
        name: "RangeError",
        message: `Cannot train: ${message}`,
      });
      assert.deepEqual([seen.pulled, live()], [0, before]);
    }
    assert.throws(() => newTraining({ gone }), {
      name: "RangeError",
      message:
        "Cannot begin training: params must be of tensors that are not disposed of, got gone",
    });
    assert.throws(() => newTraining({}), /params must be of at least one weight, got none$/);
    assert.equal(live(), before);
    flat.dispose();
    disposeTraining(start);
  });

  it("train() makes the same numbers in whatever order the weights come", async () => {
    const start = fresh();
    const reversed = (params: Params): Params =>
      Object.fromEntries(Object.entries(params).reverse());
    const { mean, square } = start.moments;
    const other = {
      ...start,
      params: reversed(start.params),
      ema: reversed(start.ema),
      moments: { mean: reversed(mean), square: reversed(square) },
    };
    const numbers = ({ params, ema, moments }: TrainState) =>
      [params, ema, moments.mean, moments.square].map(({ w, b }) => [
        [...w!.dataSync()],
        [...b!.dataSync()],
      ]);
    const wanted = await all(train(start, options)(data), numbers);
    assert.deepEqual(await all(train(other, options)(data), numbers), wanted);
    disposeTraining(start);
  });
});

describe("train() and the event loop", () => {
  for (const backend of ["cpu", "wasm"] as const) {
    for (const engine of [undefined, eager]) {
      it(`train() lets timers fire and a signal by time arrive, on ${backend}${engine ? ", on an engine" : ""}`, async () => {
        await useBackend(backend);
        const start = fresh(), before = live(), begun = performance.now();
        const end = begun + 4000; // of batches that are always there
        const endless = function* () {
          while (performance.now() < end) yield 0.3;
        };
        let ticks = 0, steps = 0;
        const timer = setInterval(() => ticks++, 20);
        const signal = AbortSignal.timeout(300), more = engine && { engine };
        try {
          const run = train(start, { ...options, loss: objective, signal, ...more });
          await assert.rejects(all(run(endless()), () => steps++), { name: "TimeoutError" });
        } finally {
          clearInterval(timer);
        }
        const took = performance.now() - begun;
        assert.ok(took >= 290 && took < 1500, `${took} ms`);
        assert.ok(ticks >= 3 && steps > 10, `${ticks} ticks, ${steps} steps`);
        assert.equal(live(), before);
        disposeTraining(start);
      });
    }
  }
});

describe("a whole training", () => {
  before(() => useBackend("wasm"));

  it("train() brings a perceptron on a Gaussian to the least loss that there is", async () => {
    // With data N(0, τ²) the best guess of eps is sigma·x_t/(alpha²τ² + sigma²), and costs alpha²τ²/(alpha²τ² + sigma²).
    const schedule = linear(), deviations = [2, 0.5], batchSize = 128, steps = 300;
    const network = mlp({ dimension: 2, width: 32, layers: 2, features: 16 });
    const draw = (key: Key, n: number) => ({
      x0: tf.mul(tf.tensor2d(normals(fold(key, "x0"), 2 * n), [n, 2]), tf.tensor1d(deviations)),
      eps: tf.tensor2d(normals(fold(key, "eps"), 2 * n), [n, 2]),
      t: uniformTimes(schedule, n, fold(key, "t")),
    });
    const denoising: Loss<null> = (params, _, key) =>
      tf.tidy(() =>
        denoisingLoss((xt, t) => network.apply(params, xt, t), draw(key, batchSize), {
          schedule,
          kind: "eps",
        })
      );
    const first = initialize(network.parameters, key(0)), start = newTraining(first);
    let last = start;
    const run = train(start, {
      loss: denoising,
      key: key(1),
      adam: { rate: 1e-2, anneal: steps + 20, warmup: 10 },
      decay: 0.95,
    })(Array<null>(steps).fill(null));
    for await (const state of run) if (state.step === steps) last = copied(state);

    const share = (t: number, i: number) => {
      const { alpha, sigma } = schedule.at(t), signal = (alpha * deviations[i]!) ** 2;
      return signal / (signal + sigma ** 2);
    };
    let least = 0;
    for (let t = 1; t <= 1000; t++) least += (share(t, 0) + share(t, 1)) / 2 / 1000;
    const n = 4096,
      evaluate = (predict: (xt: tf.Tensor, t: readonly number[]) => tf.Tensor) =>
        tf.tidy(() => [
          ...perSample(predict, draw(key(2), n), { schedule, kind: "eps" }).dataSync(),
        ]);
    const best = evaluate((xt, t) =>
      tf.mul(
        xt,
        tf.tensor2d(
          t.map((time) => [0, 1].map((i) => (1 - share(time, i)) / schedule.at(time).sigma)),
        ),
      )
    );
    const error = Math.sqrt(average(best.map((v) => (v - average(best)) ** 2)) / n);
    assert.ok(
      Math.abs(average(best) - least) < 4 * error,
      `${average(best)} ± ${error} against ${least}`,
    );

    const before = average(evaluate((xt) => tf.zerosLike(xt)));
    const excess = average(evaluate((xt, t) => network.apply(last.ema, xt, t))) - average(best);
    assert.ok(before - average(best) > 0.4, `${before}`);
    assert.ok(excess > -0.01 && excess < 0.03, `${excess} above ${average(best)}`);
    disposeTraining(last);
    disposeTraining(start);
    tf.dispose(first);
  });
});

import { before, describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import * as tf from "@tensorflow/tfjs-core";
import { convert, type Kind, type TensorPrediction } from "../../src/denoise/prediction.ts";
import { type Network, networkOf } from "../../src/network/layer/network.ts";
import { networkTime } from "../../src/network/layer/embedding.ts";
import { imageModel, type ImageModelConfig, networkModel } from "../../src/network/model.ts";
import { type ScheduleName, scheduleNames, scheduleOf } from "../../src/noise/named.ts";
import { mlp } from "../../src/network/mlp.ts";
import { unet } from "../../src/network/unet.ts";
import * as continuous from "../../src/noise/schedule/continuous.ts";
import * as discrete from "../../src/noise/schedule/discrete.ts";
import type { Schedule } from "../../src/noise/schedule/schedule.ts";
import { eager, type Engine } from "../../src/tensor/engine.ts";
import { useBackend } from "../../src/tensor/backend/backend.ts";
import { key } from "../../src/tensor/key.ts";
import { normal } from "../../src/tensor/random.ts";
import { randomWeights } from "./weights.ts";
import { live } from "../measure.ts";

const schedules = { ...discrete, ...continuous };

/** Options that each schedule takes, away from its defaults. */
const options: Record<ScheduleName, Record<string, number | boolean>> = {
  linear: { steps: 10 },
  scaledLinear: { steps: 10 },
  cosine: { steps: 10 },
  sigmoidBetas: { steps: 10 },
  vp: { betaMax: 10 },
  subVp: { betaMax: 10 },
  ve: { sigmaMax: 20 },
  edm: { sigmaMax: 20 },
  rectified: {},
  cosineContinuous: { offset: 0.02 },
  sigmoidContinuous: { start: -2 },
};

describe("scheduleOf()", () => {
  it("scheduleOf() knows eleven schedules, each by the name of its function", () => {
    assert.deepEqual([...scheduleNames].sort(), Object.keys(options).sort());
  });

  for (const name of scheduleNames) {
    it(`scheduleOf() makes ${name}, with options and without`, () => {
      const make = schedules[name] as (options?: object) => Schedule;
      for (const given of [undefined, options[name]]) {
        const got = scheduleOf({ name, ...(given && { options: given }) }), wanted = make(given);
        assert.equal(got.name, wanted.name);
        assert.deepEqual(got.span, wanted.span);
        for (const share of [0.1, 0.5, 0.9]) {
          const [low, high] = wanted.span, t = low + share * (high - low);
          const at = wanted.steps === undefined ? t : Math.round(t);
          assert.deepEqual(got.at(at), wanted.at(at));
        }
      }
    });

    if (Object.keys(options[name]).length > 0) {
      it(`scheduleOf() passes the options on to ${name}`, () => {
        const plain = scheduleOf({ name }), other = scheduleOf({ name, options: options[name] });
        assert.notDeepEqual(
          [plain.span, plain.at(plain.span[1] / 2)],
          [other.span, other.at(plain.steps ? 5 : plain.span[1] / 2)],
        );
      });
    }
  }

  it("scheduleOf() refuses a name that it does not know", () => {
    for (const name of ["quadratic", "toString", "__proto__", ""]) {
      assert.throws(() => scheduleOf({ name: name as ScheduleName }), {
        name: "RangeError",
        message: `Cannot make a schedule: name must be one of ${
          scheduleNames.join(", ")
        }, got ${name}`,
      });
    }
  });

  it("scheduleOf() passes on the schedule's own complaint", () => {
    assert.throws(() => scheduleOf({ name: "linear", options: { steps: -1 } }), RangeError);
  });
});

describe("what models refuse", () => {
  before(() => useBackend("cpu"));

  it("scheduleOf(), networkModel() and imageModel() refuse entries that they do not know", () => {
    const plain = mlp({ dimension: 1 }), schedule = schedules.linear();
    const cases: [() => unknown, string][] = [
      [
        () => scheduleOf({ name: "vp", option: {} } as never),
        'make a schedule: options must be among name, options, got "option"',
      ],
      [
        () => scheduleOf({ name: "rectified", options: { end: 1 } }),
        'make a schedule: options must be among none, got "end"',
      ],
      [
        () => networkModel(plain, {}, { schedule, kind: "eps", engin: eager } as never),
        'make a model: options must be among engine, schedule, kind, got "engin"',
      ],
      [
        () => imageModel({ ...config, class: [] } as never, {}),
        'make a model: options must be among schedule, kind, network, classes, architecture, got "class"',
      ],
      [
        () => imageModel(config, {}, { kind: "eps" } as never),
        'make a model: options must be among engine, architectures, got "kind"',
      ],
    ];
    for (const [call, message] of cases) {
      assert.throws(call, { name: "TypeError", message: `Cannot ${message}` });
    }
  });

  for (
    const schedule of [
      schedules.rectified(),
      schedules.zeroTerminalSnr(schedules.linear()),
      schedules.cosineContinuous({ end: 1 }),
      schedules.sigmoidContinuous({ end: 1 }),
    ]
  ) {
    it(`networkModel() of eps or a score is refused under ${schedule.name}, whose alpha is 0 at its end`, () => {
      const plain = mlp({ dimension: 1 });
      for (const kind of ["eps", "score"] as const) {
        assert.throws(() => networkModel(plain, {}, { schedule, kind }), {
          name: "RangeError",
          message:
            `Cannot make a model: kind must be x0, v or flow under "${schedule.name}", whose alpha is 0 at ` +
            `t = ${schedule.span[1]}, got "${kind}"`,
        });
      }
      for (const kind of ["x0", "v", "flow"] as const) networkModel(plain, {}, { schedule, kind });
      assert.throws(
        () => networkModel(plain, {}, { schedule, kind: "noise" as Kind }),
        /^RangeError: Cannot make a model: kind must be one of eps, x0, v, flow, score, got "noise"$/,
      );
    });
  }

  it("networkModel() refuses no samples, points of another size, and weights that are missing or disposed of, when asked", () => {
    const plain = mlp({ dimension: 2, width: 4, layers: 1, features: 2 });
    const params = randomWeights(plain.parameters),
      x = tf.zeros([3, 2]),
      alive = live();
    const ask = (weights: Record<string, tf.Tensor>, x: tf.Tensor) => () =>
      networkModel(plain, weights, { schedule: schedules.linear(), kind: "eps" }).predict(x, 5);
    const none = tf.zeros([0, 2]), wide = tf.zeros([3, 4]), { "out.bias": bias, ...rest } = params;
    assert.throws(ask(params, none), /x must hold at least one sample, got shape \[0,2\]$/);
    assert.throws(ask(params, wide), /x must be of shape \[N, 2\], got \[3,4\]$/);
    assert.throws(
      ask(rest, x),
      /params must have the weights of the network, got none called out.bias$/,
    );
    tf.dispose([none, wide]);
    assert.equal(live(), alive);
    bias!.dispose();
    assert.throws(
      ask(params, x),
      /params must be of tensors that are not disposed of, got out.bias$/,
    );
    assert.equal(live(), alive - 1);
    tf.dispose([rest, x]);
  });
});

describe("networkTime()", () => {
  it("networkTime() is 1000 at the end of the span, and t on a discrete schedule of 1000 steps", () => {
    for (const name of scheduleNames) {
      const schedule = scheduleOf({ name }), end = schedule.span[1];
      assert.equal(networkTime(schedule, end), 1000);
      assert.equal(networkTime(schedule, end / 4), 250);
    }
    assert.equal(networkTime(schedules.linear(), 37), 37);
    assert.equal(networkTime(schedules.linear({ steps: 10 }), 3), 300);
  });
});

const config: ImageModelConfig = {
  schedule: { name: "linear", options: { steps: 10 } },
  kind: "v",
  network: { size: [4, 4], base: 8, groups: 4, multipliers: [1], blocks: 1, classes: 2 },
};
const network = unet(config.network);

const said = async (prediction: unknown): Promise<TensorPrediction> =>
  await prediction as TensorPrediction;

describe("networkModel()", () => {
  before(() => useBackend("cpu"));

  it("networkModel() asks the network at its time, under no class or under the one given", async () => {
    const asked: unknown[] = [];
    const network = networkOf({}, { classes: 2, features: 2, forward: (_, x) => tf.mul(x, 2) });
    const spy: Network = {
      ...network,
      inputs: (times, condition) => {
        asked.push({ times, condition });
        return network.inputs(times, condition);
      },
    };
    const schedule = schedules.linear({ steps: 10 });
    const model = networkModel(spy, {}, { schedule, kind: "eps" }), x = tf.tensor2d([[1], [2]]);
    assert.equal(model.schedule, schedule);
    const predictions = [
      await said(model.predict(x, 3)),
      await said(model.given!([1, null]).predict(x, 5)),
      await said(model.given!([1, null]).given!([0, 0]).predict(x, 5)),
    ];
    assert.deepEqual(asked, [
      { times: [300, 300], condition: undefined },
      { times: [500, 500], condition: [1, null] },
      { times: [500, 500], condition: [0, 0] },
    ]);
    for (const { kind, value } of predictions) {
      assert.equal(kind, "eps");
      assert.deepEqual([...value.dataSync()], [2, 4]);
      value.dispose();
    }
    x.dispose();
  });

  it("networkModel() shows the network x_t in units, and reads its answer in them", async () => {
    const schedule = schedules.ve(), t = 0.7, { alpha, sigma } = schedule.at(t);
    const size = Math.hypot(alpha, sigma),
      x0 = 0.3,
      eps = -0.8,
      x = tf.tensor2d([[x0 + sigma * eps]]);
    const truth = {
      eps,
      x0,
      v: (alpha * eps - sigma * x0) / size,
      flow: eps - x0,
      score: -eps * size / sigma,
    };
    for (const [kind, value] of Object.entries(truth)) {
      const shown: number[] = [], times: number[] = [];
      const plain = networkOf({}, {
        classes: 0,
        features: 2,
        forward: (_, x) => {
          shown.push(...x.dataSync());
          return tf.fill(x.shape, value);
        },
      });
      const network: Network = {
        ...plain,
        inputs: (given) => {
          times.push(...given);
          return plain.inputs(given);
        },
      };
      const model = networkModel(network, {}, { schedule, kind: kind as Kind });
      assert.equal(model.schedule, schedule);
      const prediction = await said(model.predict(x, t));
      const read = convert(prediction, "eps", x, schedule.at(t));
      assert.ok(Math.abs(shown[0]! - (x0 + sigma * eps) / size) < 1e-6);
      assert.ok(Math.abs(times[0]! - 700) < 1e-6);
      assert.ok(Math.abs(read.dataSync()[0]! - eps) < 1e-5, kind);
      tf.dispose([prediction.value, read]);
    }
    x.dispose();
  });

  it("networkModel() without classes takes no condition", () => {
    const plain = mlp({ dimension: 1 });
    assert.ok(!("given" in networkModel(plain, {}, { schedule: schedules.linear(), kind: "eps" })));
  });

  it("networkModel() refuses a condition of another length, or of a class that is not there", () => {
    const params = randomWeights(network.parameters), x = normal(key(0), [2, 4, 4, 1]);
    const alive = live(), model = imageModel(config, params);
    assert.throws(
      () => model.given!([1]).predict(x, 3),
      /condition must have one entry for each of 2 samples, got 1/,
    );
    assert.throws(() => model.given!([1, 2]).predict(x, 3), /class must be null or a whole number/);
    assert.equal(live(), alive);
    tf.dispose([params, x]);
  });

  it("networkModel() leaves x and the weights alone and makes one tensor", async () => {
    const params = randomWeights(network.parameters), x = normal(key(0), [2, 4, 4, 1]);
    const model = imageModel(config, params), alive = live();
    const first = await said(model.predict(x, 3)), second = await said(model.predict(x, 3));
    assert.equal(live(), alive + 2);
    assert.deepEqual(first.value.dataSync(), second.value.dataSync());
    tf.dispose([first.value, second.value, x, params]);
  });
});

describe("networkModel() on an engine", () => {
  before(() => useBackend("cpu"));

  /** The eager engine, with a count of what was compiled and of the inputs of each run. */
  function counting() {
    const count = { compiled: 0, runs: [] as string[][] };
    const engine: Engine = {
      ...eager,
      compile: (fn, constants) => {
        count.compiled++;
        const { run, dispose } = eager.compile(fn, constants);
        return {
          run: (inputs) => {
            count.runs.push(Object.keys(inputs));
            return run(inputs);
          },
          dispose,
        };
      },
    };
    return { engine, count };
  }

  it("networkModel() on an engine says what it says without, under every condition, compiled once", async () => {
    const params = randomWeights(network.parameters), x = normal(key(0), [2, 4, 4, 1]);
    const { engine, count } = counting(), plain = imageModel(config, params);
    const model = imageModel(config, params, { engine }), alive = live();
    assert.equal(count.compiled, 0);
    for (
      const pair of [
        [model, plain],
        ...[[1, null], [0, 1]].map((c) => [model, plain].map((m) => m.given!(c))),
      ]
    ) {
      const [got, wanted] = [
        await said(pair[0]!.predict(x, 3)),
        await said(pair[1]!.predict(x, 3)),
      ];
      assert.equal(got.kind, wanted.kind);
      assert.deepEqual(got.value.dataSync(), wanted.value.dataSync());
      tf.dispose([got.value, wanted.value]);
    }
    assert.equal(live(), alive);
    assert.deepEqual(count, { compiled: 1, runs: Array(3).fill(["x", "time", "label"]) });
    tf.dispose([params, x]);
  });

  it("networkModel() on an engine takes weights of any name, and no class where there are none", async () => {
    const { engine, count } = counting(), params = { x: tf.scalar(3), time: tf.scalar(5) };
    const named = networkOf({ x: { shape: [] }, time: { shape: [] } }, {
      classes: 0,
      features: 2,
      forward: (p, x) => tf.add(tf.mul(x, p["x"]!), p["time"]!),
    });
    const model = networkModel(named, params, {
      schedule: schedules.linear(),
      kind: "eps",
      engine,
    });
    const x = tf.tensor2d([[1], [2]]), { value } = await said(model.predict(x, 3));
    assert.deepEqual([...value.dataSync()], [8, 11]);
    assert.deepEqual(count.runs, [["x", "time"]]);
    tf.dispose([params, x, value]);
  });

  it("networkModel() on an engine rejects a wrong condition and leaves no tensor", async () => {
    const params = randomWeights(network.parameters), x = normal(key(0), [2, 4, 4, 1]);
    const model = imageModel(config, params, { engine: eager }), alive = live();
    const wrong = normal(key(0), [2, 8, 4, 1]);
    await assert.rejects(
      async () => await model.given!([1]).predict(x, 3),
      /condition must have one entry for each of 2 samples, got 1/,
    );
    await assert.rejects(async () => await model.predict(wrong, 3), /x must be of shape/);
    wrong.dispose();
    assert.equal(live(), alive);
    tf.dispose([params, x]);
  });
});

describe("imageModel()", () => {
  before(() => useBackend("cpu"));

  it("imageModel() is the network, schedule and kind of its configuration, through JSON and back", async () => {
    const stored = JSON.parse(JSON.stringify(config)) as ImageModelConfig;
    const params = randomWeights(network.parameters), x = normal(key(0), [2, 4, 4, 1]);
    const model = imageModel(stored, params),
      { kind, value } = await said(model.given!([1, 0]).predict(x, 3));
    const wanted = network.apply(params, x, [300, 300], [1, 0]);
    assert.equal(kind, "v");
    assert.deepEqual(model.schedule.at(3), schedules.linear({ steps: 10 }).at(3));
    assert.deepEqual(value.dataSync(), wanted.dataSync());
    assert.ok(value.dataSync().some((v) => v !== 0));
    tf.dispose([params, x, value, wanted]);
  });
});

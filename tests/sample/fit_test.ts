import { before, describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import * as tf from "@tensorflow/tfjs-core";
import {
  annealedLangevin,
  classifierFree,
  corrected,
  ddim,
  ddpm,
  edited,
  edm,
  flow,
  gaussian,
  grey,
  guided,
  key,
  langevin,
  last,
  linear,
  mixture,
  type Model,
  observed,
  prior,
  run,
  type RunOptions,
  type Sampler,
  sampler,
  type Schedule,
  type Start,
  type State,
  subVp,
  ve,
  vp,
} from "../../mod.ts";
import { unit } from "../../src/noise/mod.ts";
import { useBackend } from "../../src/tensor/backend/backend.ts";
import { live } from "../measure.ts";

const root = key(7);
const end = (sampler: Sampler, start: Start, options: RunOptions) =>
  last(run(start, options)(sampler));

/** Mean and deviation of what a run ends with. */
async function moments(
  sampler: Sampler,
  start: Start,
  options: RunOptions,
): Promise<[number, number]> {
  const { x } = await end(sampler, start, options);
  return tf.tidy(() => {
    const { mean, variance } = tf.moments(x);
    return [mean.dataSync()[0]!, Math.sqrt(variance.dataSync()[0]!)] as [number, number];
  });
}

describe("a run asks whether sampler and model are of one schedule", () => {
  before(() => useBackend("cpu"));
  const law = { mean: 1, variance: 0.25 };

  it("refuses another one, and says which, at which time, and what to do", async () => {
    const pairs: readonly (readonly [Schedule, Schedule])[] = [
      [subVp(), vp()],
      [ve(), vp()],
      [vp(), ve()],
      [vp(), vp({ betaMax: 10 })],
      [linear(), linear({ steps: 500 })],
      [linear({ steps: 500 }), linear()],
      [linear(), vp()],
      [edm(), vp()],
    ];
    for (const [ours, theirs] of pairs) {
      const start = live(), model = gaussian(theirs, law);
      await assert.rejects(
        () => end(ddim(ours, { steps: 4 }), prior([4, 1]), { model, key: root }),
        (error: Error) =>
          error instanceof RangeError &&
          error.message.startsWith(
            `Cannot run: the sampler's schedule must be the model's, "${theirs.name}", got "${ours.name}" with alpha`,
          ) && error.message.includes("rescheduled(model, schedule)"),
      );
      assert.equal(live(), start);
    }
  });

  it("takes the same schedule made twice", async () => {
    const [mean] = await moments(ddim(vp(), { steps: 20 }), prior([500, 1]), {
      model: gaussian(vp(), law),
      key: root,
    });
    assert.ok(Math.abs(mean - 1) < 0.1, `${mean}`);
  });

  it("takes one of the same log-SNR in another unit: the model is rescheduled", async () => {
    // vp is sub-vp in no unit, but ve in its unit is ve.
    const start = live();
    for (const [ours, theirs] of [[ve(), unit(ve())], [unit(ve()), ve()]] as const) {
      const options = { model: gaussian(theirs, law), key: root };
      const [mean, deviation] = await moments(
        ddim(ours, { steps: 100 }),
        prior([4000, 1]),
        options,
      );
      // The prior of ve() knows nothing of the mean: it is off by 1/50 of a deviation of N(0, 1/0.25).
      assert.ok(Math.abs(mean - 1) < 0.04, `${mean}`);
      assert.ok(Math.abs(deviation - 0.5) < 0.02, `${deviation}`);
    }
    assert.equal(live(), start + 4);
  });
});

describe("a run asks where it starts", () => {
  before(() => useBackend("cpu"));

  it("prior() starts at the sampler's first time, with the noise of that", async () => {
    const schedule = edm(), model = gaussian(schedule, { mean: 0, variance: 0.25 });
    const sampler = ddim(schedule, { from: 10, steps: 100, spacing: "karras" });
    const [, deviation] = await moments(sampler, prior([4000, 1]), { model, key: root });
    assert.ok(Math.abs(deviation - 0.5) < 0.03, `${deviation}`);
    for await (const { x, t } of run(prior([4000, 1]), { model, key: root })(sampler)) {
      assert.equal(t, 10);
      const { variance } = tf.moments(x);
      assert.ok(Math.abs(Math.sqrt(variance.dataSync()[0]!) - 10) < 0.5);
      break;
    }
  });

  it("refuses a prior and an edit at another time than that", async () => {
    const schedule = edm(), model = gaussian(schedule, { mean: 2, variance: 0.25 });
    const options = { model, key: root }, x0 = tf.fill([4, 1], 2), first = live();
    const sampler = ddim(schedule, { from: 10, steps: 5, spacing: "karras" });
    for (const start of [prior([4, 1], 80), edited(x0, { t: 20 }), edited(x0, { t: 5 })]) {
      await assert.rejects(
        () => end(sampler, start, options),
        /^RangeError: Cannot step to t = [\d.]+: state\.t must be 10, got (80|20|5)$/,
      );
    }
    assert.equal(live(), first);
    x0.dispose();
  });

  it("an edit starts where the sampler does, and at 0.1·3 where that starts at 0.3", async () => {
    const schedule = vp(), model = gaussian(schedule, { mean: 2, variance: 1e-4 });
    const options = { model, key: root }, x0 = tf.fill([1000, 1], 2);
    const sampler = ddim(schedule, { from: 0.3, steps: 20 });
    for (const start of [edited(x0), edited(x0, { t: 0.1 * 3 })]) {
      const [mean] = await moments(sampler, start, options);
      assert.ok(Math.abs(mean - 2) < 0.01, `${mean}`);
    }
    x0.dispose();
  });

  it("refuses times that are none of the schedule, before anything is drawn", async () => {
    const schedule = vp(), options = { model: gaussian(schedule), key: root };
    const x0 = tf.zeros([2, 1]), first = live();
    for (const t of [5, NaN, -0.1, Infinity, "1" as unknown as number]) {
      await assert.rejects(
        () => end(flow(schedule, { steps: 3 }), prior([2, 1], t), options),
        /^RangeError: Cannot start from the prior: t must be a time of "vp", in \[0, 1\], got /,
      );
      await assert.rejects(
        () => end(flow(schedule, { steps: 3 }), edited(x0, { t }), options),
        /^RangeError: Cannot edit: t must be a time of "vp", in \[0, 1\], got /,
      );
    }
    assert.equal(live(), first);
    x0.dispose();
  });

  it("refuses shapes without samples", () => {
    for (
      const shape of [[], [0, 2], [2, 0], [1.5, 2], [NaN], [-1, 2], 4 as never, undefined as never]
    ) {
      assert.throws(
        () => prior(shape),
        /^(RangeError|TypeError): Cannot start from the prior: shape must be/,
      );
    }
  });
});

describe("a run asks for its parts", () => {
  before(() => useBackend("cpu"));
  const schedule = vp(), model = gaussian(schedule), sampler = ddim(schedule, { steps: 3 });
  const good: RunOptions = { model, key: root };

  const wrong: readonly (readonly [name: string, options: unknown, message: RegExp])[] = [
    ["no key", { model }, /key must be a key, as key\(0\) makes them, got undefined/],
    ["a number as key", { model, key: 5 }, /key must be a key, as key\(0\) makes them, got 5/],
    ["no model", { key: root }, /model must be a model: a schedule and predict, got undefined/],
    ["a network", { model: () => 0, key: root }, /model must be a model/],
    [
      "a model without a schedule",
      { model: { predict: model.predict }, key: root },
      /model must be/,
    ],
    ["an unknown option", { ...good, seed: 3 }, /options must be among model, key, .*, got "seed"/],
    [
      "a half first",
      { ...good, first: 0.5 },
      /first must be a whole number of at least 0, got 0.5/,
    ],
    [
      "several at once",
      { model, key: 5, first: -1 },
      /^TypeError: Cannot run: key must be a key, .*, got 5; first must be .* at least 0, got -1$/,
    ],
    ["finite as a word", { ...good, finite: "yes" }, /finite must be a boolean, got "yes"/],
    ["noise that is none", { ...good, noise: 3 }, /noise must be a function, got 3/],
    ["until that is none", { ...good, until: 3 }, /until must be a function, got 3/],
    ["a signal that is none", { ...good, signal: {} }, /signal must be an AbortSignal/],
    ["no options", undefined, /options must be an object, got undefined/],
  ];
  for (const [name, options, message] of wrong) {
    it(`refuses ${name}`, async () => {
      const before = live();
      await assert.rejects(() => end(sampler, prior([2, 1]), options as RunOptions), message);
      assert.equal(live(), before);
    });
  }

  it("refuses a start without samples, without time, or disposed of", async () => {
    const dead = tf.zeros([2, 1]), before = live() - 1;
    dead.dispose();
    const x = tf.zeros([2, 1]), none = tf.zeros([0, 1]);
    const starts: readonly (readonly [unknown, RegExp])[] = [
      [{ x: dead, t: 1, step: 0 }, /the start's tensors must be alive/],
      [{ x, x0: dead, t: 1, step: 0 }, /the start's tensors must be alive/],
      [{ x: none, t: 1, step: 0 }, /x must have at least one sample, got "?shape \[0,1\]/],
      [{ x: [1], t: 1, step: 0 }, /the start must have a tensor x, got \[1\]/],
      [{ x, t: NaN, step: 0 }, /the start's t must be a finite number, got NaN/],
      [{ x, t: 1 }, /the start's step must be a whole number of at least 0, got undefined/],
      [undefined, /the start must have a tensor x/],
    ];
    for (const [start, message] of starts) {
      await assert.rejects(() => end(sampler, start as never, good), message);
    }
    tf.dispose([x, none]);
    assert.equal(live(), before);
  });

  const answers: Readonly<Record<string, readonly [(x: tf.Tensor) => unknown, RegExp]>> = {
    "a list for a column": [
      (x) => ({ kind: "eps", value: tf.zeros([x.shape[0]!]) }),
      /value must be of shape \[5,1\], got \[5\]/,
    ],
    "one number for all": [
      () => ({ kind: "x0", value: tf.zeros([1]) }),
      /value must be of shape \[5,1\], got \[1\]/,
    ],
    "an unknown kind": [
      () => ({ kind: "noise", value: tf.zeros([5, 1]) }),
      /kind must be one of eps, x0, v, flow, score or energy, got "noise"/,
    ],
    "a bare tensor": [() => tf.zeros([5, 1]), /kind must be one of/],
    "nothing": [() => undefined, /kind must be one of/],
    "an energy for all": [
      () => ({ kind: "energy", value: tf.scalar(1), gradient: tf.zeros([5, 1]) }),
      /value must be of shape \[5\], got \[\]/,
    ],
    "an energy with another gradient": [
      () => ({ kind: "energy", value: tf.zeros([5]), gradient: tf.zeros([5]) }),
      /gradient must be of shape \[5,1\], got \[5\]/,
    ],
    "a number": [() => ({ kind: "eps", value: 3 }), /value must be a tensor, got 3/],
  };
  for (const [name, [answer, message]] of Object.entries(answers)) {
    it(`refuses a model that answers ${name}, at once or later`, async () => {
      for (const later of [false, true]) {
        const predict = ((x: tf.Tensor) =>
          later ? Promise.resolve(answer(x)) : answer(x)) as Model["predict"];
        const before = live();
        await assert.rejects(
          () => end(sampler, prior([5, 1]), { model: { schedule, predict }, key: root }),
          message,
        );
        // What is no prediction cannot be freed by its names.
        if (name !== "a bare tensor") assert.equal(live(), before);
      }
    });
  }
});

describe("a run asks what comes back", () => {
  before(() => useBackend("cpu"));
  const schedule = vp(), model = gaussian(schedule, { mean: 0.8, variance: 0.25 });

  it("refuses a step to another shape, or to no time, and what is no sampler", async () => {
    const wrong: readonly (readonly [Partial<State>, RegExp])[] = [
      [
        { x: tf.zeros([7, 2]) },
        /step 1 must lead from x of shape \[2,2\], t = 1 to the like, got x of shape \[7,2\]/,
      ],
      [{ t: NaN }, /got x of shape \[2,2\], t = NaN/],
    ];
    for (const [change, message] of wrong) {
      const own = sampler(() => [() => (state: State) => ({ ...state, step: 1, ...change })]);
      await assert.rejects(() => end(own, prior([2, 2]), { model, key: root }), message);
    }
    assert.throws(
      () => run(prior([1, 1]), { model, key: root })(ddim as never),
      /sampler must be a sampler/,
    );
    assert.throws(
      () => run(prior([1, 1]), { model, key: root })(undefined as never),
      /got undefined/,
    );
  });

  it("holds a corrector's own model to the schedule and to the shape of x", async () => {
    const stir = annealedLangevin({ ratio: 0.1, steps: 2 }), plain = ddpm(schedule, { steps: 5 });
    const ended = (model: Model) =>
      end(corrected(stir, { model })(plain), prior([20, 1]), {
        model: gaussian(schedule),
        key: root,
      });
    for (const other of [edm(), subVp(), linear()]) {
      await assert.rejects(
        () => ended(gaussian(other)),
        /the sampler's schedule must be the model's/,
      );
    }
    const narrow: Model = { schedule, predict: () => ({ kind: "eps", value: tf.zeros([1]) }) };
    await assert.rejects(() => ended(narrow), /value must be of shape \[20,1\], got \[1\]/);
    await ended(gaussian(vp()));
    assert.throws(
      () => corrected(langevin as never),
      /corrector must be a corrector, such as langevin\(\)/,
    );
  });

  it("holds an operator to the shape of x, and rescaling to samples of more than one number", async () => {
    const y = tf.fill([1, 2, 2, 1], 0.7), options = { model, key: root };
    for (const operator of [grey(), grey([1])]) {
      const channels = operator.gram === 1 ? 3 : 1;
      const sampler = observed(operator, y, { method: "replacement" })(
        ddim(schedule, { steps: 2 }),
      );
      await assert.rejects(
        () => end(sampler, prior([2, 2, 2, channels]), options),
        /operator must be of samples of shape \[2,2,[13]\]/,
      );
    }
    const classes = mixture(schedule, { means: [-1, 1], variances: [0.16, 0.16] });
    const guide = guided(classifierFree([1], { scale: 2, rescale: 0.5 }));
    await assert.rejects(
      () => end(guide(ddim(schedule, { steps: 2 })), prior([1, 1]), { model: classes, key: root }),
      /rescale must be 0 where a sample is one number/,
    );
    y.dispose();
  });
});

describe("a run lets the event loop turn", () => {
  before(() => useBackend("cpu"));
  const schedule = vp(), model = gaussian(schedule);
  /** A model that works for some milliseconds and answers at once. */
  const busy = (milliseconds: number): Model => ({
    ...model,
    predict: (x, t) => {
      for (const end = performance.now() + milliseconds; performance.now() < end;);
      return model.predict(x, t);
    },
  });

  it("timers fire, and a signal of theirs ends it", async () => {
    let ticks = 0;
    const clock = setInterval(() => ticks++, 20), began = performance.now();
    const signal = AbortSignal.timeout(300);
    await assert.rejects(
      () =>
        end(ddim(schedule, { steps: 300 }), prior([1, 1]), { model: busy(10), key: root, signal }),
      { name: "TimeoutError" },
    );
    clearInterval(clock);
    const took = performance.now() - began;
    // The whole run would take three seconds, without one tick.
    assert.ok(took < 2000, `${took} ms`);
    assert.ok(ticks >= 3, `${ticks} ticks`);
  });

  it("a model that ignores its signal keeps no abort waiting, and what it makes is freed in the end", async () => {
    const before = live(), controller = new AbortController();
    let answer: () => void = () => undefined;
    const asked = new Promise<void>((resolve) => answer = resolve);
    const deaf: Model = {
      schedule,
      predict: async (x, t) => {
        await asked;
        return model.predict(x, t);
      },
    };
    setTimeout(() => controller.abort(new Error("enough")), 20);
    await assert.rejects(
      () =>
        end(ddim(schedule, { steps: 3 }), prior([1, 1]), {
          model: deaf,
          key: root,
          signal: controller.signal,
        }),
      /enough/,
    );
    answer();
    await new Promise((resolve) => setTimeout(resolve, 20));
    assert.equal(live(), before);
  });
});

describe("without a backend", () => {
  it("draws, weights and runs say which call is missing, instead of tfjs", async () => {
    const program = `
      import { ddim, gaussian, initialize, key, last, linear, normal, prior, run, unet } from "./mod.ts";
      const schedule = linear(), env = { model: gaussian(schedule), key: key(0) };
      const network = unet({ size: [4, 4], base: 8, multipliers: [1], blocks: 1 });
      const all = [
        () => normal(key(0), [2]),
        () => initialize(network.parameters, key(0)),
        () => last(run(prior([1, 1]), env)(ddim(schedule, { steps: 2 }))),
      ];
      for (const each of all) await Promise.resolve().then(each).catch(({ message }) => console.log(message));
    `;
    const root = new URL("../../", import.meta.url);
    const { stdout } = await new Deno.Command(Deno.execPath(), {
      args: ["eval", "--no-lock", "--ext=ts", program],
      cwd: root,
      stderr: "null",
    }).output();
    const lines = new TextDecoder().decode(stdout).trim().split("\n");
    const wanted =
      "a backend must be chosen first, by await useBackend() of @tweedie/tweedie/backend, got none";
    assert.deepEqual(lines.map((line) => line.replace(/^Cannot [^:]+: /, "")), [
      wanted,
      wanted,
      wanted,
    ]);
  });
});

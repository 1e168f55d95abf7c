import { before, describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import * as tf from "@tensorflow/tfjs-core";
import fc from "fast-check";
import { pipe } from "fp-ts/lib/function.js";
import type { Model } from "../../src/denoise/prediction.ts";
import { ve } from "../../src/noise/schedule/continuous.ts";
import { fromLevel } from "../../src/noise/schedule/derived.ts";
import { linear } from "../../src/noise/schedule/discrete.ts";
import { gaussian } from "../../src/denoise/oracle/gaussian.ts";
import {
  after,
  type Env,
  noise,
  refined,
  type RunOptions,
  sampleKeys,
  sampler,
  type State,
  type Transition,
} from "../../src/sample/path.ts";
import { along, asked, type Leg, legs, step } from "../../src/sample/step.ts";
import { prior, run } from "../../src/sample/run.ts";
import { useBackend } from "../../src/tensor/backend/backend.ts";
import { fold, key } from "../../src/tensor/key.ts";
import { normal } from "../../src/tensor/random.ts";
import { scope } from "../../src/tensor/scope.ts";
import { live } from "../measure.ts";

const schedule = linear();

/** eps = x / 2, and a note of when it was asked. */
const model: Model = {
  schedule,
  predict: (x) => ({ kind: "eps", value: tf.mul(x, 0.5) }),
};
const env: Env = { model, key: key(3) };

const halve: Transition = () => (state) => ({
  ...state,
  x: tf.mul(state.x, 0.5),
  t: state.t - 1,
  step: state.step + 1,
});
const start = (values: number[] = [8, -4]): State => ({
  x: tf.tensor(values, [values.length, 1]),
  t: 5,
  step: 0,
});
const values = ({ x }: State): number[] => [...x.dataSync()];

async function collect<S extends State, A>(
  states: AsyncIterable<S>,
  use: (state: S) => A,
): Promise<A[]> {
  const found: A[] = [];
  for await (const state of states) found.push(use(state));
  return found;
}

/** A sampler that notes when it is opened, pulled and closed. */
function watched(count: number, transition: Transition = halve) {
  const log: string[] = [];
  const source = sampler(function* () {
    log.push("open");
    try {
      for (let i = 0; i < count; i++) {
        log.push(`pull ${i}`);
        yield transition;
      }
    } finally {
      log.push("close");
    }
  });
  return { log, source };
}

describe("run()", () => {
  before(() => useBackend("cpu"));

  it("run() ends before the next transition once a state has arrived, and closes an endless sampler", async () => {
    let closed = false;
    const endless = sampler(function* () {
      try {
        while (true) yield halve;
      } finally {
        closed = true;
      }
    });
    const before = live(), begin = start(), until = ({ t }: State) => t <= 2;
    const times = await collect(run(begin, { ...env, until })(endless), ({ t }) => t);
    assert.deepEqual(times, [5, 4, 3, 2]);
    assert.ok(closed);
    assert.deepEqual(
      await collect(run(begin, { ...env, until: () => true })(endless), ({ t }) => t),
      [5],
    );
    begin.x.dispose();
    assert.equal(live(), before);
  });

  it("yields the start first, then each state", async () => {
    const from = start();
    assert.deepEqual(await collect(run(from, env)(watched(2).source), values), [[8, -4], [4, -2], [
      2,
      -1,
    ]]);
    assert.deepEqual(values(from), [8, -4]);
    from.x.dispose();
  });

  it("yields the start alone for a sampler without transitions", async () => {
    const from = start();
    assert.deepEqual(await collect(run(from, env)(watched(0).source), ({ step }) => step), [0]);
    from.x.dispose();
  });

  it("opens the sampler when it is pulled past the start, and pulls once for each state", async () => {
    const { log, source } = watched(3), from = start();
    const iterator = run(from, env)(source)[Symbol.asyncIterator]();
    assert.deepEqual(log, []);
    await iterator.next();
    assert.deepEqual(log, []);
    await iterator.next();
    assert.deepEqual(log, ["open", "pull 0"]);
    await iterator.next();
    assert.deepEqual(log, ["open", "pull 0", "pull 1"]);
    await iterator.return!();
    assert.deepEqual(log, ["open", "pull 0", "pull 1", "close"]);
    from.x.dispose();
  });

  it("waits for a start and a transition that come later", async () => {
    const late: Transition = (env) => async (state) => await halve(env)(state);
    const states = run(async () => await start([2]), env)(watched(1, late).source);
    assert.deepEqual(await collect(states, values), [[2], [1]]);
  });

  it("closes the sampler when the consumer throws, and hands the error on", async () => {
    const { log, source } = watched(3), before = live();
    await assert.rejects(async () => {
      for await (const { step } of run(() => start(), env)(source)) {
        if (step === 1) throw new Error("mine");
      }
    }, /^Error: mine$/);
    assert.equal(log.at(-1), "close");
    assert.equal(live(), before);
  });

  it("closes the sampler and frees everything when a transition throws or rejects", async () => {
    const failures: Transition[] = [
      () => () => {
        throw new Error("no");
      },
      () => () => Promise.reject(new Error("no")),
    ];
    for (const transition of failures) {
      const { log, source } = watched(3, transition), before = live();
      await assert.rejects(() => collect(run(() => start(), env)(source), () => 0), /^Error: no$/);
      assert.deepEqual(log, ["open", "pull 0", "close"]);
      assert.equal(live(), before);
    }
  });

  it("does not start under a signal that is aborted already", async () => {
    const { log, source } = watched(3);
    const signal = AbortSignal.abort(new Error("early"));
    let made = 0;
    const states = run(() => (made++, start()), { ...env, signal })(source);
    await assert.rejects(() => collect(states, () => 0), /^Error: early$/);
    assert.deepEqual([log, made], [[], 0]);
  });

  it("stops at an abort between steps, with the signal's reason, makes no other step, and closes the sampler", async () => {
    const aborter = new AbortController(), before = live();
    let made = 0;
    const { log, source } = watched(5, (env) => (state) => (made++, halve(env)(state)));
    const seen: number[] = [];
    await assert.rejects(async () => {
      for await (const { step } of run(() => start(), { ...env, signal: aborter.signal })(source)) {
        seen.push(step);
        if (step === 2) aborter.abort(new Error("enough"));
      }
    }, /^Error: enough$/);
    assert.deepEqual([seen, made], [[0, 1, 2], 2]);
    assert.equal(log.at(-1), "close");
    assert.equal(live(), before);
  });

  it("does not yield the state of a step that was aborted in its middle", async () => {
    const aborter = new AbortController(), before = live(), seen: number[] = [];
    const { log, source } = watched(5, (env) => async (state) => {
      const next = await halve(env)(state);
      if (next.step === 2) aborter.abort(new Error("now"));
      return next;
    });
    const states = run(() => start(), { ...env, signal: aborter.signal })(source);
    await assert.rejects(() => collect(states, ({ step }) => seen.push(step)), /^Error: now$/);
    assert.deepEqual([seen, log.at(-1), live()], [[0, 1], "close", before]);
  });

  it("hands the signal to the model, which can give up in the middle of a step", async () => {
    const aborter = new AbortController(), before = live();
    const waiting: Model = {
      schedule,
      predict: (_x, _t, signal) =>
        new Promise((_, reject) => {
          signal!.addEventListener("abort", () => reject(signal!.reason), { once: true });
          queueMicrotask(() => aborter.abort(new Error("now")));
        }),
    };
    const asking = step(legs(schedule, [5, 0])[0]!, function* ({ x }, env) {
      return yield* asked(env, "x0", x, 5);
    });
    const states = run(() => start(), { model: waiting, key: key(0), signal: aborter.signal })(
      watched(2, asking).source,
    );
    await assert.rejects(() => collect(states, () => 0), /^Error: now$/);
    assert.equal(live(), before);
  });

  const spoilt = (value: number): Transition => () => (state) => ({
    ...state,
    x: tf.mul(state.x, state.step === 1 ? value : 1),
    t: state.t - 1,
    step: state.step + 1,
  });

  for (const value of [NaN, Infinity, -Infinity]) {
    it(`stops at ${value} in x_t, and names the step and the time`, async () => {
      const { log, source } = watched(5, spoilt(value)), before = live();
      await assert.rejects(
        () => collect(run(() => start(), env)(source), () => 0),
        { name: "RangeError", message: /finite.* at step 2, t = 3$/ },
      );
      assert.equal(log.at(-1), "close");
      assert.equal(live(), before);
    });
  }

  it("stops at a start that is not finite", async () => {
    const before = live();
    await assert.rejects(
      () => collect(run(() => start([1, NaN]), env)(watched(1).source), () => 0),
      /at step 0, t = 5$/,
    );
    assert.equal(live(), before);
  });

  it("goes on past NaN with finite false", async () => {
    const states = run(() => start(), { ...env, finite: false })(watched(4, spoilt(NaN)).source);
    const seen = await collect(states, (state) => values(state).every(Number.isNaN));
    assert.deepEqual(seen, [false, false, true, true, true]);
  });

  it("leaves the caller's start alone, tensors in any depth included", async () => {
    interface Deep extends State {
      readonly deep: readonly { readonly y: tf.Tensor }[];
    }
    const from: Deep = { ...start(), deep: [{ y: tf.tensor([1]) }], x0: tf.tensor([[0], [0]]) };
    const before = live();
    const drop: Transition<Deep> = () => (state) => ({ ...state, x: tf.mul(state.x, 2), deep: [] });
    await collect(run(from, env)(sampler(() => [drop, drop])), () => 0);
    assert.equal(live(), before);
    assert.deepEqual([values(from), [...from.deep[0]!.y.dataSync()]], [[8, -4], [1]]);
    tf.dispose(from as unknown as tf.TensorContainer);
  });

  it("hands on what is not a tensor as it is: typed arrays, dates and maps", async () => {
    interface Tagged extends State {
      readonly bits: Uint8Array;
      readonly day: Date;
    }
    const from: Tagged = { ...start(), bits: Uint8Array.of(1, 2), day: new Date(0) };
    const [first] = await collect(
      run(from, env)(sampler<Tagged>(() => [])),
      ({ bits, day }) => ({ bits, day }),
    );
    assert.ok(first!.bits === from.bits && first!.day === from.day);
    from.x.dispose();
  });

  it("keeps a tensor that passes from state to state, and frees it at the end", async () => {
    interface Masked extends State {
      readonly mask: tf.Tensor;
    }
    const before = live();
    const step: Transition<Masked> = () => (state) => ({
      ...state,
      x: tf.mul(state.x, state.mask),
      step: state.step + 1,
    });
    const states = run<Masked>(() => ({ ...start(), mask: tf.tensor([[1], [2]]) }), env)(
      sampler(() => [step, step]),
    );
    assert.deepEqual(await collect(states, values), [[8, -4], [8, -8], [8, -16]]);
    assert.equal(live(), before);
  });

  it("lets a transition return its state unchanged", async () => {
    const before = live();
    const states = run(() => start(), env)(sampler(() => [() => (state) => state, halve]));
    assert.deepEqual(await collect(states, values), [[8, -4], [8, -4], [4, -2]]);
    assert.equal(live(), before);
  });

  it("can be written by hand: for await over the sampler", async () => {
    let state = start();
    for await (const transition of watched(3).source) state = await transition(env)(state);
    assert.deepEqual(values(state), [1, -0.5]);
  });
});

describe("sampler()", () => {
  it("takes a generator, an async generator or a list, and starts afresh each time", async () => {
    const makes = [
      function* () {
        yield halve;
        yield halve;
      },
      async function* () {
        yield await Promise.resolve(halve);
        yield halve;
      },
      () => [halve, halve],
    ];
    for (const make of makes) {
      const source = sampler(make);
      for (let time = 0; time < 2; time++) {
        let count = 0;
        for await (const _ of source) count++;
        assert.equal(count, 2);
      }
    }
  });
});

describe("refined() and after()", () => {
  before(() => useBackend("cpu"));

  const doubled = refined<State>((transition) => (env) => async (state) => {
    const next = await transition(env)(state);
    const x = tf.mul(next.x, 2);
    next.x.dispose();
    return { ...next, x };
  });

  it("refined() takes the place of every transition and opens nothing by itself", async () => {
    const { log, source } = watched(2), sampler = doubled(source), before = live();
    assert.deepEqual(log, []);
    assert.deepEqual(await collect(run(() => start(), env)(sampler), values), [[8, -4], [8, -4], [
      8,
      -4,
    ]]);
    assert.equal(live(), before);
  });

  it("refined() and after() close their source on break and on throw", async () => {
    for (const refine of [doubled, after(0), after(1)]) {
      const { log, source } = watched(9);
      for await (const _ of refine(source)) break;
      assert.equal(log.at(-1), "close");
      await assert.rejects(async () => {
        for await (const _ of refine(source)) throw new Error("mine");
      }, /mine/);
      assert.equal(log.filter((line) => line === "close").length, 2);
    }
  });

  it("after() leaves out the first transitions, and all if there are no more", async () => {
    const counts = [];
    for (const count of [0, 1, 3, 7]) {
      let left = 0;
      for await (const _ of after(count)(watched(3).source)) left++;
      counts.push(left);
    }
    assert.deepEqual(counts, [3, 2, 0, 0]);
  });

  it("after() refuses a count that is not a whole number of at least 0", () => {
    for (const count of [-1, 1.5, NaN, Infinity]) {
      assert.throws(() => after(count), {
        name: "RangeError",
        message: /^Cannot .*count must be .*, got /,
      });
    }
  });
});

describe("legs() and along()", () => {
  before(() => useBackend("cpu"));

  it("legs() pairs the neighbours with their levels", () => {
    const [first, second] = legs(schedule, [900, 400, 0]);
    const common = { count: 2, to: schedule.at(400), s: 400, schedule };
    assert.deepEqual(first, { ...common, t: 900, from: schedule.at(900), index: 0 });
    assert.deepEqual([second!.from, second!.to.sigma, second!.index], [schedule.at(400), 0, 1]);
    assert.deepEqual(legs(schedule, [3]), []);
  });

  const moving = ({ s }: Leg): Transition => () => (state) => ({
    ...state,
    t: s,
    step: state.step + 1,
  });
  const path = along(legs(schedule, [900, 400, 0]), moving);
  const from = (t: number) => () => ({ ...start(), t });

  it("along() makes each transition at once, and hands them out again and again", async () => {
    const made: number[] = [];
    const source = along(legs(schedule, [900, 400, 0]), (leg) => (made.push(leg.t), moving(leg)));
    assert.deepEqual(made, [900, 400]);
    for (let time = 0; time < 2; time++) {
      assert.deepEqual(await collect(run(from(900), env)(source), ({ t }) => t), [900, 400, 0]);
    }
    assert.deepEqual(made, [900, 400]);
  });

  it("along() takes a start that differs from its first leg's by rounding, and none that is further back", async () => {
    const near = 900 * (1 + 1e-12);
    assert.deepEqual(await collect(run(from(near), env)(path), ({ t }) => t), [near, 400, 0]);
    await assert.rejects(
      () => collect(run(from(1000), env)(path), () => 0),
      /^RangeError: Cannot step to t = 400: state.t must be 900, got 1000$/,
    );
  });

  it("along() takes a start at another time of the same level", async () => {
    const still = fromLevel((t) => ({ alpha: 1 - Math.min(t, 0.5), sigma: Math.min(t, 0.5) }));
    const path = along(legs(still, [0.5, 0]), moving), model = gaussian(still);
    const states = run(from(0.75), { ...env, model })(path);
    assert.deepEqual(await collect(states, ({ t }) => t), [0.75, 0]);
  });

  it("along() refuses a state that is past its leg's start, or beside a later one's", async () => {
    const refused = {
      name: "RangeError",
      message: /^Cannot step to t = 400: state.t must be 900, got 899$/,
    };
    await assert.rejects(() => collect(run(from(899), env)(path), () => 0), refused);
    const astray = refined<State>((transition) => (env) => async (state) => {
      const next = await transition(env)(state);
      return { ...next, t: next.t + 1 };
    });
    await assert.rejects(
      () => collect(run(from(900), env)(astray(path)), () => 0),
      /must be 400, got 401/,
    );
  });

  it("along() goes up a rising grid too", async () => {
    const up = along(legs(schedule, [0, 400, 900]), moving);
    assert.deepEqual(await collect(run(from(0), env)(up), ({ t }) => t), [0, 400, 900]);
    await assert.rejects(() => collect(run(from(1), env)(up), () => 0), /must be 0, got 1/);
  });
});

describe("step() and asked()", () => {
  before(() => useBackend("cpu"));
  const leg = legs(schedule, [500, 200])[0]!;

  it("asked() of x0 is (x − sigma·eps)/alpha for a model of eps, and leaves x alone", async () => {
    const { x } = start(), level = leg.from, before = live();
    const x0 = await scope(() => asked(env, "x0", x, 500));
    assert.equal(live(), before + 1);
    [...x0.dataSync()].forEach((value, i) =>
      assert.ok(Math.abs(value - (1 - 0.5 * level.sigma) / level.alpha * [8, -4][i]!) < 1e-4)
    );
    tf.dispose([x, x0]);
  });

  it("asked() turns an energy's gradient into x0 and frees both of its tensors", async () => {
    const energy: Model = {
      schedule,
      predict: (x) => ({ kind: "energy", value: tf.sum(x, 1), gradient: tf.mul(x, 2) }),
    };
    const { x } = start(), { alpha, sigma } = leg.from, before = live();
    const x0 = await scope(() => asked({ ...env, model: energy }, "x0", x, 500));
    assert.equal(live(), before + 1);
    const factor = (1 - 2 * sigma ** 2) / alpha;
    [...x0.dataSync()].forEach((value, i) =>
      assert.ok(Math.abs(value - factor * [8, -4][i]!) < 1e-3)
    );
    tf.dispose([x, x0]);
  });

  it("step() goes to where its work says, and carries the prediction as x0", async () => {
    interface Noted extends State {
      readonly note: string;
    }
    const from: Noted = { ...start(), t: 500, note: "kept" };
    const transition = step<Noted>(leg, function* ({ x }, env) {
      const x0 = yield* asked(env, "x0", x, leg.t);
      return { x: tf.add(x0, x), x0 };
    });
    const next = await transition(env)(from);
    assert.deepEqual([next.t, next.step, next.note], [200, 1, "kept"]);
    const x0 = [...next.x0!.dataSync()];
    values(next).forEach((value, i) => assert.ok(Math.abs(value - x0[i]! - [8, -4][i]!) < 1e-4));
    tf.dispose([from.x, next.x, next.x0!]);
  });
});

describe("prior(), sampleKeys() and noise()", () => {
  before(() => useBackend("cpu"));

  it("prior() is sigma_T times a normal draw under each sample's key, at the schedule's greatest time", () => {
    const { x, t, step, ...rest } = prior([3, 2])(env);
    assert.deepEqual([t, step, rest], [1000, 0, {}]);
    const z = normal(sampleKeys(env, 3, "prior", 0), [2]);
    const { sigma } = schedule.at(1000);
    const wanted = [...tf.mul(z, sigma).dataSync()];
    assert.deepEqual([...x.dataSync()], wanted);
    assert.notEqual(sigma, 1);
    tf.dispose([x, z]);
  });

  it("prior() has the schedule's sigma at another time, and on a variance-exploding schedule", () => {
    const sd = (at: Env, t?: number): number => {
      const { x } = prior([10, 400], t)(at);
      const found = Math.sqrt(tf.mean(tf.square(x)).dataSync()[0]!);
      x.dispose();
      return found;
    };
    const exploding = { ...env, model: { ...model, schedule: ve() } };
    for (
      const [found, sigma] of [
        [sd(env, 300), schedule.at(300).sigma],
        [sd(exploding), 50],
      ] as const
    ) {
      const z = (found / sigma - 1) * Math.sqrt(2 * 4000);
      assert.ok(Math.abs(z) < 4, `z = ${z}`);
    }
  });

  it("sampleKeys() depends on the run's key, the sample's index in the run, the purpose and the step alone", () => {
    fc.assert(
      fc.property(
        fc.nat({ max: 50 }),
        fc.integer({ min: 1, max: 8 }),
        fc.nat({ max: 99 }),
        (first, count, step) => {
          const keys = sampleKeys({ key: key(1), first }, count, "a", step);
          keys.forEach((found, i) =>
            assert.deepEqual(found, sampleKeys({ key: key(1), first: first + i }, 1, "a", step)[0])
          );
          const others = [
            sampleKeys({ key: key(2), first }, count, "a", step),
            sampleKeys({ key: key(1), first: first + count }, count, "a", step),
            sampleKeys({ key: key(1), first }, count, "b", step),
            sampleKeys({ key: key(1), first }, count, "a", step + 1),
          ];
          const all = [keys, ...others].flat().map(({ hi, lo }) => `${hi} ${lo}`);
          assert.equal(new Set(all).size, all.length);
        },
      ),
      { numRuns: 20 },
    );
    assert.deepEqual(sampleKeys({ key: key(1) }, 1, "a", 4), [fold(fold(fold(key(1), "a"), 4), 0)]);
  });

  it("noise() is the normal draw of the state's step, in the shape of x", () => {
    const state = { ...start(), step: 7 }, z = noise(env, state, "test");
    const wanted = normal(sampleKeys(env, 2, "test", 7), [1]);
    assert.deepEqual([z.shape, [...z.dataSync()]], [[2, 1], [...wanted.dataSync()]]);
    tf.dispose([state.x, z, wanted]);
  });

  it("noise() comes from the environment's own source where there is one", () => {
    const asked: [number, string][] = [], state = { ...start(), step: 7 };
    const own: RunOptions = {
      ...env,
      noise: ({ step, x }, purpose) => (asked.push([step, purpose]), tf.onesLike(x)),
    };
    const z = noise(own, state, "test");
    assert.deepEqual([[...z.dataSync()], asked], [[1, 1], [[7, "test"]]]);
    tf.dispose([state.x, z]);
  });

  it("noise() refuses another shape from that source, and frees it", () => {
    const state = start(), before = live();
    assert.throws(() => noise({ ...env, noise: () => tf.zeros([2]) }, state, "test"), {
      name: "RangeError",
      message: "Cannot draw noise: env.noise must return shape [2,1], got [2]",
    });
    assert.equal(live(), before);
    state.x.dispose();
  });
});

describe("a pipeline", () => {
  before(() => useBackend("cpu"));

  it("computes nothing while it is built", () => {
    const { log, source } = watched(3), before = live();
    let made = 0;
    pipe(source, after(1), run(() => (made++, start()), env));
    assert.deepEqual([log, made, live()], [[], 0, before]);
  });
});

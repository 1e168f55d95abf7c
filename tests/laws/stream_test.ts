import { before, describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import * as tf from "@tensorflow/tfjs-core";
import { pipe } from "fp-ts/lib/function.js";
import type { Condition, Model } from "../../src/denoise/prediction.ts";
import { mixture } from "../../src/denoise/oracle/gaussian.ts";
import { linear } from "../../src/noise/schedule/discrete.ts";
import { guided } from "../../src/refine/guide/combine.ts";
import { classifierFree, conditioned } from "../../src/refine/guide/free.ts";
import { thresholded } from "../../src/refine/threshold.ts";
import { ddim, ddimInverse, ddpm } from "../../src/sample/ancestral.ts";
import {
  after,
  type Env,
  type Refinement,
  type RunOptions,
  type Sampler,
  type State,
} from "../../src/sample/path.ts";
import { prior, run } from "../../src/sample/run.ts";
import { dpmSolver } from "../../src/sample/solver/dpm.ts";
import { useBackend } from "../../src/tensor/backend/backend.ts";
import { key } from "../../src/tensor/key.ts";
import { live } from "../measure.ts";

const schedule = linear(), steps = 6;
const oracle = mixture(schedule, { means: [[-1, 0], [1, 0.5]], variances: [0.1, 0.2] });
const label: Condition = [0, 1, null];
const shape = [3, 2], env: Env = { model: oracle, key: key(11) };

/** The two kinds of model: one that answers at once, one that answers later. */
const later: Model = {
  ...oracle,
  predict: async (x, t) => {
    await new Promise((resolve) => setTimeout(resolve, 0));
    return oracle.predict(x, t);
  },
};

const samplers: Readonly<Record<string, (steps: number) => Sampler>> = {
  "ddpm()": (steps) => ddpm(schedule, { steps }),
  "ddpm() with the large variance": (steps) => ddpm(schedule, { steps, variance: "large" }),
  "ddim()": (steps) => ddim(schedule, { steps }),
  "ddim() with eta 0.7": (steps) => ddim(schedule, { steps, eta: 0.7 }),
  "ddim() with sigma-hat": (steps) => ddim(schedule, { steps, noise: "hat" }),
  "dpmSolver()": (steps) => dpmSolver(schedule, { steps, lowerOrderFinal: false }),
  "dpmSolver() of order 1": (steps) => dpmSolver(schedule, { steps, order: 1 }),
};

const refinements: Readonly<Record<string, Refinement>> = {
  "as it is": (sampler) => sampler,
  "guided": guided(classifierFree(label, { scale: 2.5 })),
  "conditioned and thresholded": (sampler) =>
    pipe(sampler, thresholded({ kind: "dynamic", max: 2 }), conditioned(label)),
};

/** Plain copy of a state: time, step and numbers. */
const plain = ({ x, t, step, x0, history }: State): unknown => ({
  x: [...x.dataSync()],
  t,
  step,
  x0: x0 && [...x0.dataSync()],
  history: history?.map((past) => ({ t: past.t, x0: [...past.x0.dataSync()] })),
});

/** Its own copy of a state, which outlives the next pull. */
const copied = (state: State): State => ({
  ...state,
  x: tf.clone(state.x),
  ...(state.x0 && { x0: tf.clone(state.x0) }),
  ...(state.history && { history: state.history.map(({ t, x0 }) => ({ t, x0: tf.clone(x0) })) }),
});

async function collected<A>(
  sampler: Sampler,
  use: (state: State) => A,
  { start = prior(shape), ...options }: Partial<RunOptions> & {
    start?: Parameters<typeof run>[0];
  } = {},
): Promise<A[]> {
  const found: A[] = [];
  for await (const state of run(start, { ...env, ...options })(sampler)) found.push(use(state));
  return found;
}

/** Samplers that are also taken refined; the others differ from them in numbers only. */
const alsoRefined = ["ddpm()", "ddim() with eta 0.7", "dpmSolver()"];

for (const [name, make] of Object.entries(samplers)) {
  for (const [how, refine] of Object.entries(refinements)) {
    if (how !== "as it is" && !alsoRefined.includes(name)) continue;
    const sampler = (count = steps): Sampler => refine(make(count));

    describe(`${name} ${how}, as a stream`, () => {
      before(() => useBackend("cpu"));

      it("computes nothing until it is pulled, and then one step for each pull", async () => {
        let evaluations = 0;
        const model: Model = {
          ...oracle,
          predict: (x, t) => (evaluations++, oracle.predict(x, t)),
          given: (condition) => ({
            ...oracle,
            predict: (x, t) => (evaluations++, oracle.given(condition).predict(x, t)),
          }),
        };
        const states = run(prior(shape), { ...env, model })(sampler());
        const iterator = states[Symbol.asyncIterator]();
        assert.equal(evaluations, 0);
        for (let step = 0; step <= steps; step++) {
          const { value } = await iterator.next();
          assert.deepEqual([value.step, evaluations], [step, step]);
        }
        assert.equal((await iterator.next()).done, true);
        assert.equal(evaluations, steps);
      });

      it("yields x_T first and ends at the data, every time it is iterated", async () => {
        const one = sampler();
        const first = await collected(one, plain), second = await collected(one, plain);
        assert.equal(first.length, steps + 1);
        assert.deepEqual(second, first);
        const start = prior(shape)(env);
        assert.deepEqual(first[0], plain(start));
        start.x.dispose();
        assert.deepEqual([(first.at(-1) as State).t, (first.at(-1) as State).step], [0, steps]);
      });

      it("drives two trajectories at once", async () => {
        const one = sampler(), alone = await collected(one, plain);
        const a = run(prior(shape), env)(one)[Symbol.asyncIterator]();
        const b = run(prior(shape), { ...env, key: key(12) })(one)[Symbol.asyncIterator]();
        for (const wanted of alone) {
          const [mine, other] = await Promise.all([a.next(), b.next()]);
          assert.deepEqual(plain(mine.value), wanted);
          assert.notDeepEqual(plain(other.value), wanted);
        }
        await Promise.all([a.return!(), b.return!()]);
      });

      it("goes on from any state bit for bit", async () => {
        const one = sampler(),
          whole = await collected(one, plain),
          kept = await collected(one, copied);
        for (const state of kept) {
          const rest = await collected(after(state.step)(one), plain, { start: state });
          assert.deepEqual(rest, whole.slice(state.step));
        }
        tf.dispose(kept as unknown as tf.TensorContainer);
      });

      it("gives four batches of one what it gives one batch of four", async () => {
        const four: Condition = [0, 1, null, 1],
          byCondition = (part: Condition): Sampler =>
            how === "as it is"
              ? make(steps)
              : how === "guided"
              ? guided(classifierFree(part, { scale: 2.5 }))(make(steps))
              : pipe(make(steps), thresholded({ kind: "dynamic", max: 2 }), conditioned(part));
        const rows = (state: State) => state.x.arraySync() as number[][];
        const batch = await collected(byCondition(four), rows, { start: prior([4, 2]) });
        for (const first of [0, 1, 2, 3]) {
          const alone = await collected(byCondition([four[first]!]), rows, {
            start: prior([1, 2]),
            first,
          });
          assert.deepEqual(alone.map(([row]) => row), batch.map((all) => all[first]));
        }
      });

      it("holds the same number of tensors at each of 200 steps", async () => {
        const before = live();
        const counts = await collected(sampler(200), live);
        assert.deepEqual([...new Set(counts.slice(2, -1))].length, 1, `${counts}`);
        assert.equal(live(), before);
      });

      it("frees every tensor when it is broken off at any step", async () => {
        for (let last = 0; last <= steps; last++) {
          const before = live();
          for await (const { step } of run(prior(shape), env)(sampler())) if (step === last) break;
          assert.equal(live(), before);
        }
      });

      it("frees every tensor when it is aborted in the middle of a step", async () => {
        const before = live(), aborter = new AbortController();
        const states = run(prior(shape), {
          ...env,
          model: withGiven(later),
          signal: aborter.signal,
        })(sampler());
        const seen: number[] = [];
        await assert.rejects(async () => {
          for await (const { step } of states) {
            seen.push(step);
            if (step === 2) setTimeout(() => aborter.abort(new Error("enough")), 0);
          }
        }, /^Error: enough$/);
        assert.ok(seen.length >= 3 && seen.length < steps, `${seen}`);
        assert.equal(live(), before);
      });

      it("frees every tensor when the model throws at any step", async () => {
        for (let at = 0; at < steps; at++) {
          let evaluations = 0;
          const failing = (model: Model): Model => ({
            ...model,
            predict: (x, t) => {
              if (evaluations++ === at) throw new Error("no answer");
              return model.predict(x, t);
            },
            ...(model.given && { given: (condition) => failing(model.given!(condition)) }),
          });
          const before = live();
          await assert.rejects(
            () => collected(sampler(), () => 0, { model: failing(oracle) }),
            /no answer/,
          );
          assert.equal(evaluations, at + 1);
          assert.equal(live(), before);
        }
      });

      it("frees every tensor when a step cannot be put together", async () => {
        const misshapen = (model: Model): Model => ({
          ...model,
          predict: async (x, t) => {
            const prediction = await model.predict(x, t);
            if (t > 500) return prediction;
            tf.dispose({ ...prediction });
            return { kind: "x0", value: tf.zeros([2, 5, 7]) };
          },
          ...(model.given && { given: (condition) => misshapen(model.given!(condition)) }),
        });
        const before = live();
        await assert.rejects(() => collected(sampler(), () => 0, { model: misshapen(oracle) }));
        assert.equal(live(), before);
      });
    });
  }
}

/** The late model, also under a condition. */
const withGiven = (model: Model): Model => ({
  ...model,
  given: (condition) => ({
    ...model,
    predict: async (x, t) => {
      await new Promise((resolve) => setTimeout(resolve, 0));
      return oracle.given(condition).predict(x, t);
    },
  }),
});

describe("ddimInverse(), as a stream", () => {
  before(() => useBackend("cpu"));

  it("frees every tensor, whether it ends, is broken off or thrown in", async () => {
    const before = live(), inverse = ddimInverse(schedule, { steps });
    const start = { x: tf.tensor([[0.3, 0.1]]), t: 0, step: 0 };
    const counts = await collected(inverse, live, { start });
    assert.equal(new Set(counts).size, 1);
    for await (const { step } of run(start, env)(inverse)) if (step === 2) break;
    const broken: Model = {
      schedule,
      predict: () => ({ kind: "eps", value: tf.zeros([2, 5, 7]) }),
    };
    await assert.rejects(() => collected(inverse, live, { start, model: broken }));
    start.x.dispose();
    assert.equal(live(), before);
  });
});

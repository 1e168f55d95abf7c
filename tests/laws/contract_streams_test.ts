/**
 * The contract's cases about streams: states that are data, samplers that are values, samples that do not know of their
 * batch, cancelling, and models that answer later. Each is held for samplers of every family, as they are and refined.
 *
 * @module
 */

import { before, describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { isDeepStrictEqual } from "node:util";
import * as tf from "@tensorflow/tfjs-core";
import { pipe } from "fp-ts/lib/function.js";
import {
  adaptiveFlow,
  after,
  annealedLangevin,
  arrived,
  byClassifier,
  byEnergy,
  classifierFree,
  convert,
  corrected,
  ddim,
  ddpm,
  deis,
  dpmSinglestep,
  dpmSolver,
  fixedLangevin,
  flow,
  guided,
  hutchinson,
  inpainted,
  kdpm2,
  type Key,
  key,
  langevin,
  likelihood,
  lms,
  loadCheckpoint,
  mask,
  meanShifted,
  mixture,
  type Model,
  observed,
  pndm,
  type Prediction,
  prior,
  recorded,
  type Refinement,
  repainted,
  reverseSde,
  run,
  type RunOptions,
  type Sampler,
  saveCheckpoint,
  type State,
  summed,
  thresholded,
  uniPc,
  vp,
} from "../../mod.ts";
import { classifierEnergy } from "../../src/refine/mod.ts";
import { fromTensors, toTensors } from "../../src/io/mod.ts";
import { useBackend } from "../../src/tensor/backend/backend.ts";
import { inFolder } from "../io/folder.ts";
import { live } from "../measure.ts";

const schedule = vp(), grid = { steps: 6, spacing: "logLinear" } as const;
const model = mixture(schedule, { means: [[-1, 0], [1, 0.5]], variances: [0.1, 0.2] });
const root = key(11);

/** Multistep solvers, whose history rides in the state. */
const multistep: Readonly<Record<string, Sampler>> = {
  "dpmSolver() of order 3": dpmSolver(schedule, { ...grid, order: 3, lowerOrderFinal: false }),
  "dpmSolver() with eta 1": dpmSolver(schedule, { ...grid, eta: 1, lowerOrderFinal: false }),
  "uniPc()": uniPc(schedule, { ...grid, order: 3, lowerOrderFinal: false }),
  "deis()": deis(schedule, { ...grid, order: 3, lowerOrderFinal: false }),
  "lms()": lms(schedule, grid),
  "pndm()": pndm(schedule, grid),
};

/** Samplers that draw noise. */
const stochastic: Readonly<Record<string, Sampler>> = {
  "ddpm()": ddpm(schedule, grid),
  "ddim() with eta 0.7": ddim(schedule, { ...grid, eta: 0.7 }),
  "reverse diffusion": reverseSde(schedule, { ...grid, predictor: "reverse-diffusion" }),
  "flow() with churn": flow(schedule, { ...grid, chart: "eps", churn: { amount: 3, to: 20 } }),
  "dpmSolver() with eta 1": multistep["dpmSolver() with eta 1"]!,
  "kdpm2() with eta 1": kdpm2(schedule, { ...grid, eta: 1 }),
};

/** One of each family. */
const samplers: Readonly<Record<string, Sampler>> = {
  ...multistep,
  ...stochastic,
  "ddim()": ddim(schedule, grid),
  "flow()": flow(schedule, grid),
  "dpmSinglestep()": dpmSinglestep(schedule, grid),
  "adaptiveFlow()": adaptiveFlow(schedule, { control: { absolute: 0.01, relative: 0.01 } }),
};

const classifier = (x: tf.Tensor): tf.Tensor => tf.concat([tf.neg(x), tf.mul(x, 0.5)], 1);

/** Refinements of the samples `first` … `first + count − 1`, each with a class of its own. */
const refinements: Readonly<Record<string, (count: number, first?: number) => Refinement>> = {
  "as it is": () => (sampler) => sampler,
  "guided": (count, first) => {
    const labels = labelled(count, first);
    const guide = summed(classifierFree(labels, { scale: 2.5 }), byClassifier(classifier, labels));
    return (sampler) => pipe(sampler, thresholded({ kind: "dynamic", max: 2 }), guided(guide));
  },
  "corrected": () => (sampler) =>
    pipe(
      sampler,
      corrected(langevin({ steps: 2, most: 0.1 })),
      corrected(annealedLangevin(), { order: "before", purpose: "other" }),
    ),
  "shifted by its classifier": (count, first) =>
    meanShifted(classifierEnergy(classifier, labelled(count, first))),
  "inpainted with jumps back": () => (sampler) =>
    pipe(sampler, inpainted(half, known), repainted({ jumps: 2, length: 3 })),
};

const labelled = (count: number, first = 0): number[] =>
  Array.from({ length: count }, (_, i) => (first + i) % 2);

// What inpainting knows: the first of two numbers. Made once there is a backend.
let half: tf.Tensor, known: tf.Tensor;
async function ready(): Promise<void> {
  await useBackend("cpu");
  half ??= tf.tensor2d([[1, 0]]);
  known ??= tf.tensor2d([[0.4, 0]]);
}

const tensorsOf = (state: State): tf.Tensor[] =>
  tf.tensor_util.getTensorsInContainer({ ...state } as unknown as tf.TensorContainer);

/** Every number of a state or of any tree of plain data and tensors, with its shape. */
function told(value: unknown): unknown {
  if (value instanceof tf.Tensor) return { shape: value.shape, values: [...value.dataSync()] };
  if (Array.isArray(value)) return value.map(told);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, told(inner)]));
}

/** Adaptive samplers go on for ever. */
const until = arrived(1e-3);
const options = (name: string, more: Partial<RunOptions> = {}): RunOptions => ({
  model,
  key: root,
  ...(name.startsWith("adaptive") && { until }),
  ...more,
});

async function collected<A>(states: AsyncIterable<State>, use: (state: State) => A): Promise<A[]> {
  const found: A[] = [];
  for await (const state of states) found.push(use(state));
  return found;
}

/** Every sampler under every refinement. */
function each(test: (name: string, refined: (count: number) => Sampler) => Promise<void>) {
  return async (): Promise<void> => {
    for (const [name, sampler] of Object.entries(samplers)) {
      for (const [how, refine] of Object.entries(refinements)) {
        try {
          await test(name, (count) => refine(count)(sampler));
        } catch (error) {
          (error as Error).message = `${name}, ${how}: ${(error as Error).message}`;
          throw error;
        }
      }
    }
  };
}

describe("the contract: history in the state", () => {
  before(ready);

  /** Writes a state and the run's key: tensors under their paths, the rest as plain data. */
  async function saved(path: string, state: State, key: Key): Promise<void> {
    const tensors: Record<string, tf.Tensor> = {};
    const plain = (value: unknown, at: string): unknown => {
      if (value instanceof tf.Tensor) return (tensors[at] = value, { tensor: at });
      if (Array.isArray(value)) return value.map((inner, i) => plain(inner, `${at}.${i}`));
      if (typeof value !== "object" || value === null) return value;
      const entries = Object.entries(value);
      return Object.fromEntries(
        entries.map(([name, inner]) => [name, plain(inner, `${at}.${name}`)]),
      );
    };
    const meta = { state: plain(state, "state"), key };
    await saveCheckpoint(path, { groups: { all: await fromTensors(tensors) }, meta });
  }

  /** Reads them again. */
  async function loaded(path: string): Promise<{ state: State; key: Key }> {
    const { groups, meta } = await loadCheckpoint(path), tensors = toTensors(groups["all"]!);
    const whole = (value: unknown): unknown => {
      if (Array.isArray(value)) return value.map(whole);
      if (typeof value !== "object" || value === null) return value;
      if ("tensor" in value) return tensors[value.tensor as string]!;
      return Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, whole(inner)]));
    };
    return { state: whole(meta["state"]) as State, key: meta["key"] as Key };
  }

  const resumable: Readonly<Record<string, Sampler>> = {
    ...multistep,
    "corrected lms()": corrected(annealedLangevin())(multistep["lms()"]!),
    "uniPc() with jumps back": repainted({ jumps: 2, length: 3 })(multistep["uniPc()"]!),
    "deis() with its density": likelihood()(multistep["deis()"]!) as Sampler,
  };
  for (const [name, sampler] of Object.entries(resumable)) {
    it(`7. history in the state: ${name} is recorded, forked and written to disk at any step, and goes on bit for bit`, async () => {
      const before = live();
      const whole = await collected(run(prior([3, 2]), options(name))(sampler), told);
      const states = await recorded(run(prior([3, 2]), options(name))(sampler));
      assert.deepEqual(states.map(told), whole);
      let differed = 0;
      for (const state of states.slice(0, -1)) {
        const k = state.step, rest = after(k)(sampler);
        assert.equal(k, states.indexOf(state));
        await inFolder(async (folder) => {
          const path = `${folder}/state.safetensors`;
          await saved(path, state, root);
          const from = await loaded(path);
          assert.deepEqual(
            await collected(run(from.state, { model, key: from.key })(rest), told),
            whole.slice(k),
          );
          tf.dispose(from.state as unknown as tf.TensorContainer);
        });

        // Two branches, pulled by turns, one of them under another key; the state that they share stays as it was.
        const same = run(state, options(name))(rest)[Symbol.asyncIterator]();
        const other = run(state, options(name, { key: key(12) }))(rest)[Symbol.asyncIterator]();
        for (const wanted of whole.slice(k)) {
          assert.deepEqual(told((await same.next()).value), wanted);
          await other.next();
        }
        await Promise.all([same.return!(), other.return!()]);
        assert.deepEqual(told(state), whole[k]);

        // Without its history it goes elsewhere: that is what is carried.
        const { history, ...bare } = state;
        if (history === undefined) continue;
        const [end] = (await collected(run(bare, options(name))(rest), told)).slice(-1);
        if (!isDeepStrictEqual(end, whole.at(-1))) differed++;
      }
      assert.ok(differed >= 3, `the history mattered at ${differed} steps`);
      tf.dispose(states as unknown as tf.TensorContainer);
      assert.equal(live(), before);
    });
  }
});

describe("the contract: two trajectories at once", () => {
  before(ready);

  it(
    "9. two trajectories with one sampler value, pulled by turns, are what each is alone",
    each(async (name, refined) => {
      const sampler = refined(3);
      const one = options(name), two = options(name, { key: key(12), first: 40 });
      const [a, b] = [one, two].map((each) => run(prior([3, 2]), each)(sampler));
      const [alone, other] = [await collected(a!, told), await collected(b!, told)];
      assert.notDeepEqual(other, alone);
      const [left, right] = [a![Symbol.asyncIterator](), b![Symbol.asyncIterator]()];
      // Out of step: the first is one ahead from its first pull on, and the second is asked while the first is at work.
      assert.deepEqual(told((await left.next()).value), alone[0]);
      for (let i = 0; i < Math.max(alone.length, other.length); i++) {
        const [mine, yours] = await Promise.all([left.next(), right.next()]);
        assert.deepEqual(told(mine.value), alone[i + 1]);
        assert.deepEqual(told(yours.value), other[i]);
      }
      await Promise.all([left.return!(), right.return!()]);
    }),
  );
});

describe("the contract: batches and shards", () => {
  before(ready);

  const weighed: typeof refinements = {
    "with its density by random probes": () => (sampler) =>
      likelihood({ trace: hutchinson() })(sampler as Sampler) as typeof sampler,
  };
  // What draws noise has no density, so that of the flow stands for it.
  const all = { ...stochastic, "ddim()": samplers["ddim()"]! };
  for (const [name, sampler] of Object.entries(all)) {
    it(`10. batches: ${name} gives sixteen samples the same whether in one batch, in sixteen or in three shards`, async () => {
      for (const [how, refine] of Object.entries(name in stochastic ? refinements : weighed)) {
        /** All numbers of each sample, step by step. */
        const samples = async (first: number, count: number): Promise<unknown[]> => {
          const states = run(prior([count, 2]), options(name, { first }))(
            refine(count, first)(sampler),
          );
          const steps = await collected(
            states,
            (state) => tensorsOf(state).map((tensor) => tensor.arraySync() as unknown[]),
          );
          return Array.from(
            { length: count },
            (_, i) => steps.map((tensors) => tensors.map((rows) => rows[i])),
          );
        };
        const batch = await samples(0, 16);
        assert.equal(new Set(batch.map((sample) => JSON.stringify(sample))).size, 16);
        const single: unknown[] = [], sharded: unknown[] = [];
        for (let i = 0; i < 16; i++) single.push(...await samples(i, 1));
        for (const [first, count] of [[0, 3], [3, 8], [11, 5]] as const) {
          sharded.push(...await samples(first, count));
        }
        assert.deepEqual(single, batch, `${how}, one by one`);
        assert.deepEqual(sharded, batch, `${how}, in shards`);
      }
    });
  }
});

describe("the contract: cancelling", () => {
  before(ready);
  const reason = new Error("enough");

  /** A model that answers later, until call number `at`, which it gives to `stop` to answer or to leave. */
  function stopping(
    at: number,
    stop: (answer: () => Prediction, signal?: AbortSignal) => Promise<Prediction>,
  ) {
    const calls = { count: 0 };
    const says = (of: Model): Model => ({
      schedule,
      ...(of.given && { given: (condition) => says(of.given!(condition)) }),
      predict: async (x, t, signal) => {
        const answer = () => of.predict(x, t) as Prediction;
        if (++calls.count === at) return await stop(answer, signal);
        await Promise.resolve();
        return answer();
      },
    });
    return { calls, model: says(model) };
  }

  it(
    "11. cancelling: a run is aborted while the model is at work, with the reason, and frees every tensor",
    each(async (name, refined) => {
      for (const at of [1, 4]) {
        const before = live(), aborter = new AbortController();
        // It would never answer, but that it listens: the signal must have come to it.
        const { calls, model } = stopping(at, (_, signal) =>
          new Promise((_, reject) => {
            assert.ok(signal, "the model must be told of the signal");
            signal.addEventListener("abort", () => reject(signal.reason));
            setTimeout(() => aborter.abort(reason), 0);
          }));
        const states = run(prior([3, 2]), options(name, { model, signal: aborter.signal }))(
          refined(3),
        );
        await assert.rejects(() => collected(states, () => 0), (error) => error === reason);
        assert.equal(calls.count, at, "no call after the abort");
        assert.equal(live(), before);
      }
    }),
  );

  it(
    "11. cancelling: a model that does not listen ends its answer, and the run ends before the next state",
    each(async (name, refined) => {
      const before = live(), aborter = new AbortController();
      let seen = 0, late = 0;
      const { model } = stopping(4, async (answer) => {
        aborter.abort(reason);
        await new Promise((resolve) => setTimeout(resolve, 0));
        return answer();
      });
      const states = run(prior([3, 2]), options(name, { model, signal: aborter.signal }))(
        refined(3),
      );
      await assert.rejects(
        () => collected(states, () => aborter.signal.aborted ? late++ : seen++),
        (error) => error === reason,
      );
      assert.ok(seen >= 1 && late === 0, `${seen} states, and ${late} after the abort`);
      assert.equal(live(), before);
    }),
  );
});

describe("the contract: a model that answers later", () => {
  before(ready);

  /** The model, answering after a turn of the event loop. */
  function later(of: Model): Model {
    return {
      ...of,
      ...(of.given && { given: (condition) => later(of.given!(condition)) }),
      predict: async (x, t) => {
        await new Promise((resolve) => setTimeout(resolve, 0));
        return of.predict(x, t);
      },
    };
  }

  it(
    "14. a model that answers later gives the same numbers, bit for bit",
    each(async (name, refined) => {
      const before = live();
      const at = (model: Model) =>
        collected(run(prior([3, 2]), options(name, { model }))(refined(3)), told);
      const wanted = await at(model);
      assert.ok(wanted.length > 3);
      assert.deepEqual(await at(later(model)), wanted);
      assert.equal(live(), before);
    }),
  );

  it("14. a model that answers later gives an energy, and moves are put to the test, the same", async () => {
    const speaking: Model = {
      schedule,
      predict: (x, t) => {
        const said = model.predict(x, t), level = schedule.at(t);
        const gradient = tf.tidy(() => tf.neg(convert(said, "score", x, level)));
        said.value.dispose();
        return { kind: "energy", value: tf.tidy(() => tf.sum(tf.square(gradient), 1)), gradient };
      },
    };
    const before = live(), corrector = fixedLangevin({ size: 0.1, steps: 2, metropolis: true });
    const at = (model: Model) =>
      collected(
        run(prior([3, 2]), { model, key: root })(corrected(corrector)(samplers["ddpm()"]!)),
        told,
      );
    assert.deepEqual(await at(later(speaking)), await at(speaking));
    assert.equal(live(), before);
  });

  it("14. what needs a gradient through the model refuses one that answers later, and frees every tensor", async () => {
    const operator = mask(half);
    const through: Readonly<Record<string, Refinement>> = {
      "pigdm": observed(operator, known),
      "dps": observed(operator, known, { method: "dps" }),
      "energy of x0": guided(byEnergy((x0) => tf.sum(x0, 1), { of: "x0" })),
      "density": (sampler) => likelihood()(sampler as Sampler) as typeof sampler,
    };
    for (const [name, refine] of Object.entries(through)) {
      const before = live(),
        at = (model: Model) =>
          collected(run(prior([3, 2]), { model, key: root })(refine(samplers["ddim()"]!)), told);
      await assert.rejects(() => at(later(model)), {
        name: "TypeError",
        message: /must answer at once, got a promise/,
      }, name);
      assert.equal((await at(model)).length, 7);
      assert.equal(live(), before);
    }
  });
});

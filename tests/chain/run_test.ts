import { before, describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import * as tf from "@tensorflow/tfjs-core";
import ndarray from "ndarray";
import { pipe } from "fp-ts/lib/function.js";
import { type Chain, chain, type ChainEnv, fold, key, last, run, scope } from "../../mod.ts";
import { type ChainTransition, underlaid } from "../../src/chain/mod.ts";
import { normals, uniforms } from "../../src/tensor/mod.ts";
import { after, rearranged, refined } from "../../src/chain/chain.ts";
import { noise } from "../../src/chain/draw.ts";
import { useBackend } from "../../src/tensor/backend/backend.ts";
import { live } from "../measure.ts";

/** A walk over spins on a ring that Metropolis takes by p ∝ exp(coupling·Σ x_i·x_(i+1)). */
interface Spins extends Chain {
  readonly x: ndarray.NdArray<Int8Array>;
  readonly info?: { readonly accepted: boolean };
}

const energy = ({ data }: ndarray.NdArray<Int8Array>, coupling: number): number =>
  -coupling * data.reduce((sum, s, i) => sum + s * data[(i + 1) % data.length]!, 0);

const metropolis = (coupling: number, steps: number) =>
  chain<Spins>(() =>
    Array.from({ length: steps }, (): ChainTransition<Spins, ChainEnv> => ({ key }) => (state) => {
      const { x, step } = state, [where, test] = uniforms(fold(key, step), 2);
      const y = ndarray(x.data.slice(), x.shape), site = Math.floor(where! * y.size);
      y.data[site] = -y.data[site]!;
      const accepted = Math.log(test!) < energy(x, coupling) - energy(y, coupling);
      return { x: accepted ? y : x, step: step + 1, info: { accepted } };
    })
  );

describe("run() of a chain without a schedule", () => {
  before(() => useBackend("cpu"));

  it("draws spins on a ring by the exact distribution", async () => {
    const size = 3, coupling = 0.4, steps = 40_000, counts = new Float64Array(2 ** size);
    const start: Spins = { x: ndarray(Int8Array.from({ length: size }, () => 1)), step: 0 };
    for await (const { x } of run(start, { key: key(5) })(metropolis(coupling, steps))) {
      counts[x.data.reduce((sum, s, i) => sum + (s > 0 ? 2 ** i : 0), 0)]!++;
    }
    const states = Array.from(
      { length: 2 ** size },
      (_, k) => ndarray(Int8Array.from({ length: size }, (_, i) => (k >> i) & 1 ? 1 : -1)),
    );
    const weights = states.map((x) => Math.exp(-energy(x, coupling)));
    const total = weights.reduce((a, b) => a + b);
    // The chain's own memory makes its errors larger than those of independent draws: by less than 4 here.
    weights.forEach((weight, k) => {
      const p = weight / total, z = (counts[k]! / steps - p) / Math.sqrt(p * (1 - p) / steps);
      assert.ok(Math.abs(z) < 4 * 4, `state ${k}: z = ${z}`);
    });
    assert.deepEqual([...start.x.data], [1, 1, 1]);
  });

  it("takes several tensors, in flat memory, and frees all but the start", async () => {
    interface Pair extends Chain {
      readonly x: { readonly place: tf.Tensor; readonly pace: tf.Tensor };
    }
    const leapfrog = chain<Pair>(() =>
      Array.from({ length: 50 }, (): ChainTransition<Pair, ChainEnv> => () => ({ x, step }) => {
        const half = tf.sub(x.pace, tf.mul(x.place, 0.05));
        const place = tf.add(x.place, tf.mul(half, 0.1));
        return { x: { place, pace: tf.sub(half, tf.mul(place, 0.05)) }, step: step + 1 };
      })
    );
    const outset = live(), x = { place: tf.tensor([1, 0]), pace: tf.tensor([0, 1]) };
    const counts: number[] = [];
    let end: number[] = [];
    for await (const { x: { place } } of run<Pair>({ x, step: 0 }, { key: key(0) })(leapfrog)) {
      counts.push(live());
      end = [...place.dataSync()];
    }
    assert.equal(new Set(counts.slice(1)).size, 1);
    // The leapfrog's own frequency: cos(w·h) = 1 − h²/2.
    const angle = 50 * Math.acos(1 - 0.1 ** 2 / 2);
    assert.ok(Math.abs(end[0]! - Math.cos(angle)) < 1e-5, `${end}`);
    tf.dispose([x.place, x.pace]);
    assert.equal(live(), outset);
  });

  it("refines and changes the environment wherever that is written", async () => {
    interface Number extends Chain {
      readonly x: number;
    }
    interface Warm extends ChainEnv {
      readonly temperature?: number;
    }
    const noisy = chain<Number, Warm>(function* () {
      for (let i = 0; i < 4; i++) {
        yield ({ key, temperature = 1 }) => ({ x, step }) => ({
          x: x + temperature * normals(fold(key, step), 1)[0]!,
          step: step + 1,
        });
      }
    });
    const doubled = refined<Number, Warm>((transition) => (env) => async (state) => {
      const next = await transition(env)(state);
      return { ...next, x: next.x + (env.temperature ?? 1) };
    });
    const cold = underlaid<Number, Warm>((env) => ({ ...env, temperature: 0 }));
    const by = (chain: typeof noisy) =>
      last(run({ x: 3, step: 0 }, { key: key(2) })(chain as never));
    const ends = [cold(doubled(noisy)), doubled(cold(noisy))].map(by);
    for (const { x, step } of await Promise.all(ends) as Number[]) {
      assert.deepEqual([x, step], [3, 4]);
    }
    const twice = rearranged<Number, Warm>(async function* (transitions) {
      for await (const transition of transitions) yield* [transition, transition];
    });
    const { step } = await by(after(3)(twice(noisy))) as Number;
    assert.equal(step, 5);
  });

  it("goes on from any of its states, bit for bit", async () => {
    const spins = metropolis(0.4, 30),
      start: Spins = { x: ndarray(Int8Array.of(1, -1, 1)), step: 0 };
    const whole = await last(run(start, { key: key(9) })(spins));
    let middle = start;
    for await (const state of run(start, { key: key(9) })(spins)) {
      if (state.step === 11) middle = state;
    }
    const rest = await last(pipe(spins, after(11), run(middle, { key: key(9) })));
    assert.deepEqual([...rest.x.data], [...whole.x.data]);
  });

  it("refuses options, starts and states that are none", async () => {
    const still = chain(() => [() => (state) => ({ ...state, step: state.step + 1 })]);
    const ends = (start: unknown, options: unknown, of: unknown = still) =>
      last(run(start as Chain, options as ChainEnv)(of as typeof still));
    const good = { x: 1, step: 0 };
    await assert.rejects(() => ends(good, { key: key(0), speed: 3 }), /speed/);
    await assert.rejects(() => ends(good, { key: 5 }), /Cannot run: key must be/);
    await assert.rejects(() => ends(good, { key: 5, first: -1, until: 3 }), {
      name: "TypeError",
      message: "Cannot run: key must be a key, as key(0) makes them, got 5; " +
        "until must be a function, got 3; first must be a whole number of at least 0, got -1",
    });
    for (const engine of ["onnx", {}, { run: () => {} }]) {
      await assert.rejects(
        () => ends(good, { key: key(0), engine }),
        /Cannot run: engine must be an engine, such as onnx\(\) makes, got /,
      );
    }
    await assert.rejects(() => ends({ step: 0 }, { key: key(0) }), /start must have an x/);
    await assert.rejects(() => ends({ x: 1, step: -1 }, { key: key(0) }), /step must be/);
    await assert.rejects(
      () => ends({ x: NaN, step: 0 }, { key: key(0) }),
      /start's x must be finite/,
    );
    const dead = tf.tensor([1]);
    dead.dispose();
    await assert.rejects(() => ends({ x: dead, step: 0 }, { key: key(0) }), /must be alive/);
    for (const x of [NaN, Float64Array.of(0, Infinity), ndarray(Float32Array.of(NaN))]) {
      const lost = chain(() => [() => ({ step }) => ({ x, step: step + 1 })]);
      await assert.rejects(
        () => ends(good, { key: key(0) }, lost),
        /Cannot go on with the run: x must be finite, got NaN or infinity at step 1$/,
      );
    }
    const grown = chain(() => [() => ({ step }) => ({ x: tf.ones([3]), step: step + 1 })]);
    const x = tf.ones([2]), outset = live();
    await assert.rejects(
      () => ends({ x, step: 0 }, { key: key(0) }, grown),
      /step 1 must lead from x of shape \[2\] to the like, got x of shape \[3\]/,
    );
    x.dispose();
    assert.equal(live(), outset - 1);
  });

  it("counts a transition that moves x and forgets its step, so that the next draws anew", async () => {
    const draws: number[] = [], steps: number[] = [];
    const forgetful = chain<Chain & { readonly x: tf.Tensor }>(() =>
      [0, 1, 2].map(() => (env) => (state) => ({ ...state, x: noise(env, state, "z") }))
    );
    const x = tf.tensor([0]);
    for await (const { x: at, step } of run({ x, step: 0 }, { key: key(0) })(forgetful)) {
      draws.push(at.dataSync()[0]!);
      steps.push(step);
    }
    x.dispose();
    assert.deepEqual(steps, [0, 1, 2, 3]);
    assert.equal(new Set(draws).size, 4);
  });

  it("ends at an abort while its source hangs", async () => {
    const hanging = chain<Chain & { readonly x: number }>(async function* () {
      yield () => ({ x, step }) => ({ x: x + 1, step: step + 1 });
      await new Promise(() => {});
    });
    const signal = AbortSignal.timeout(30), seen: number[] = [];
    await assert.rejects(async () => {
      for await (const { x } of run({ x: 0, step: 0 }, { key: key(0), signal })(hanging)) {
        seen.push(x);
      }
    }, { name: "TimeoutError" });
    assert.deepEqual(seen, [0, 1]);
  });

  it("is aborted in the middle of a wait that never ends, and frees all", async () => {
    const controller = new AbortController(), outset = live();
    const stuck = chain<Chain & { readonly x: tf.Tensor }>(
      () => [() => ({ x }) =>
        scope(function* () {
          const y = tf.square(x);
          yield new Promise(() => {});
          return { x: y, step: 1 };
        })],
    );
    const x = tf.tensor([2]);
    const ended = last(run({ x, step: 0 }, { key: key(0), signal: controller.signal })(stuck));
    setTimeout(() => controller.abort(new Error("enough")), 5);
    await assert.rejects(() => ended, /enough/);
    x.dispose();
    assert.equal(live(), outset);
  });
});

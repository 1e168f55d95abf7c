/**
 * The driver of every chain in the library.
 *
 * A `Transition` is a Markov kernel, `env => state => state`. A `Sampler` is a lazy stream of transitions, one a
 * step, and can be iterated again and again. `run` folds a sampler over a start and yields each state: it is the
 * only loop over time in the library. What must reach the next step (correctors, guidance, inpainting) transforms
 * samplers, before `run`; what only looks (pictures, progress, metrics) transforms the states, after it.
 *
 * Ownership: a yielded state lives until the next pull. `run` disposes of every tensor of the last state that the
 * next one does not share, also when it is broken off, aborted or thrown in. The start belongs to the caller.
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
import type { Level } from "../noise/schedule.ts";
import { convert, type Model } from "../denoise/prediction.ts";
import { fold, type Key } from "../tensor/key.ts";
import { normal } from "../tensor/random.ts";

/** A past evaluation, for multistep solvers. */
export interface Evaluation {
  /** Time of the evaluation. */
  readonly t: number;
  /** The x0 prediction there, shape of x_t. */
  readonly x0: tf.Tensor;
}

/** Where a chain stands. Read-only plain data: it can be recorded, forked, written to disk and resumed. */
export interface State {
  /** x_t, shape [N, ...sample]. */
  readonly x: tf.Tensor;
  /** Time on the schedule. */
  readonly t: number;
  /** Number of transitions made, 0 at the start. */
  readonly step: number;
  /** The x0 prediction that led here, shape of x_t; absent at the start. */
  readonly x0?: tf.Tensor;
  /** Past evaluations of a multistep solver, newest first. */
  readonly history?: readonly Evaluation[];
}

/** What a transition may read. */
export interface Env {
  /** The model, already refined by guidance and the like. */
  readonly model: Model;
  /** Root of all randomness of the run. */
  readonly key: Key;
  /** Index of the batch's first sample among all samples of the run, for batches and shards. Default: 0. */
  readonly first?: number;
  /** Aborts the run. */
  readonly signal?: AbortSignal;
}

/** A value or a promise of it. */
export type Awaitable<A> = A | Promise<A>;

/** A Markov transition kernel. Returns new tensors, leaves those of the state alone. */
export type Transition<S extends State = State> = (env: Env) => (state: S) => Awaitable<S>;

/** A lazy stream of transitions, one a step; each iteration starts afresh. */
export type Sampler<S extends State = State> = AsyncIterable<Transition<S>>;

/** A sampler to a sampler, whatever the state. */
export type Refinement = <S extends State>(sampler: Sampler<S>) => Sampler<S>;

/** Options of {@link run}. */
export interface RunOptions extends Env {
  /** Stop with an error when x_t holds NaN or infinity. Default: true. */
  readonly finite?: boolean;
}

/** A state, or a function that makes one from the environment and hands it over, such as {@link prior}. */
export type Start<S extends State = State> = S | ((env: Env) => Awaitable<S>);

/**
 * A sampler from a generator function: each iteration calls it afresh, so one sampler drives any number of runs.
 *
 * @param make Makes the transitions, in order.
 * @returns The sampler.
 *
 * @example Write your own: shrink x to its half, three times
 * ```ts
 * import { sampler } from "@tweedie/tweedie";
 * import * as tf from "@tensorflow/tfjs-core";
 *
 * const halving = sampler(function* () {
 *   for (let i = 0; i < 3; i++) yield () => (state) => ({ ...state, x: tf.mul(state.x, 0.5), step: state.step + 1 });
 * });
 * ```
 */
export function sampler<S extends State = State>(
  make: () => Iterable<Transition<S>> | AsyncIterable<Transition<S>>,
): Sampler<S> {
  return {
    async *[Symbol.asyncIterator](): AsyncGenerator<Transition<S>, void, undefined> {
      yield* make();
    },
  };
}

/**
 * The start of a generation: x_T ~ N(0, sigma_T²·I) under the environment's key, one key a sample.
 *
 * @param shape [N, ...sample].
 * @param t Time to start at. Default: the schedule's greatest.
 * @returns A start for {@link run}.
 *
 * @example
 * ```ts
 * import { prior } from "@tweedie/tweedie";
 *
 * const sixteen = prior([16, 28, 28, 1]);
 * ```
 */
export function prior(shape: readonly number[], t?: number): (env: Env) => State {
  return (env) => {
    const { schedule } = env.model, at = t ?? schedule.span[1];
    const z = normal(sampleKeys(env, shape[0]!, "prior", 0), shape.slice(1));
    const x = tf.tidy(() => tf.mul(z, schedule.at(at).sigma));
    z.dispose();
    return { x, t: at, step: 0 };
  };
}

/**
 * The keys of a batch for one use: each depends on the run's key, the sample's index in the run, the purpose and
 * the step, and on nothing else.
 *
 * @param env The environment.
 * @param count Number of samples in the batch.
 * @param purpose What the draw is for; different purposes are independent.
 * @param step The state's step.
 * @returns One key for each sample.
 */
export function sampleKeys(env: Pick<Env, "key" | "first">, count: number, purpose: string, step: number): Key[] {
  const first = env.first ?? 0;
  return Array.from({ length: count }, (_, i) => fold(fold(fold(env.key, first + i), purpose), step));
}

/**
 * Standard normal noise for one step of a transition, of the shape of the state's x.
 *
 * @param env The environment.
 * @param state The state that the transition starts from.
 * @param purpose What the draw is for.
 * @returns float32, shape of `state.x`. The caller disposes of it.
 */
export function noise(env: Env, state: State, purpose: string): tf.Tensor {
  const [count, ...sample] = state.x.shape;
  return normal(sampleKeys(env, count!, purpose, state.step), sample);
}

/**
 * The environment's model evaluated at a state, as an x0 prediction.
 *
 * @param env The environment.
 * @param x x_t, shape [N, ...sample].
 * @param t Time on the model's schedule.
 * @param level Marginal at t.
 * @returns The x0 prediction, shape of x. The caller disposes of it.
 */
export async function denoised(env: Env, x: tf.Tensor, t: number, level: Level): Promise<tf.Tensor> {
  const prediction = await env.model.predict(x, t, env.signal);
  try {
    return convert(prediction, "x0", x, level);
  } finally {
    // Energy predictions hold two tensors, the others one.
    tf.dispose({ ...prediction });
  }
}

/**
 * Runs a sampler: yields the start, then each x_t, pulled one at a time.
 *
 * @param start The first state, which stays the caller's, or a function that makes it.
 * @param options Model and key; an abort signal; whether to stop at NaN and infinity.
 * @returns A function of a sampler, whose result computes nothing until it is iterated.
 * @throws {RangeError} While iterated: when x_t is not finite, with the step and the time.
 * @throws The signal's reason, when aborted.
 *
 * @example
 * ```ts
 * import { gaussian, ddim, key, linear, prior, run } from "@tweedie/tweedie";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const schedule = linear();
 * const model = gaussian(schedule, { mean: 3, variance: 0.25 });
 * let steps = 0;
 * for await (const { step } of run(prior([8, 1]), { model, key: key(0) })(ddim(schedule, { steps: 10 }))) steps = step;
 * assert.equal(steps, 10);
 * ```
 */
export function run<S extends State>(
  start: Start<S>,
  options: RunOptions,
): (sampler: Sampler<S>) => AsyncIterable<S> {
  return (sampler) => ({ [Symbol.asyncIterator]: () => trajectory(start, options, sampler) });
}

async function* trajectory<S extends State>(
  start: Start<S>,
  options: RunOptions,
  sampler: Sampler<S>,
): AsyncGenerator<S, void, undefined> {
  options.signal?.throwIfAborted();
  let state = typeof start === "function" ? await start(options) : retained(start);
  try {
    await checkFinite(state, options);
    yield state;
    for await (const transition of sampler) {
      options.signal?.throwIfAborted();
      const next = await transition(options)(state);
      release(state, next);
      state = next;
      options.signal?.throwIfAborted();
      await checkFinite(state, options);
      yield state;
    }
  } finally {
    tensorsOf(state).forEach((tensor) => tensor.dispose());
  }
}

/** A state that shares the caller's data but can be disposed of on its own. */
function retained<S extends State>(state: S): S {
  const copy = (value: unknown): unknown => {
    if (value instanceof tf.Tensor) return tf.clone(value);
    if (Array.isArray(value)) return value.map(copy);
    if (value === null || typeof value !== "object") return value;
    return Object.fromEntries(Object.entries(value).map(([name, part]) => [name, copy(part)]));
  };
  return copy(state) as S;
}

/** Disposes of the tensors of a state that its successor does not hold. */
function release(state: State, next: State): void {
  const held = new Set(tensorsOf(next).map(({ id }) => id));
  tensorsOf(state).filter(({ id }) => !held.has(id)).forEach((tensor) => tensor.dispose());
}

const tensorsOf = (state: State): tf.Tensor[] =>
  tf.tensor_util.getTensorsInContainer({ ...state } as unknown as tf.TensorContainer);

async function checkFinite(state: State, options: RunOptions): Promise<void> {
  if (options.finite === false) return;
  // NaN and infinity both survive a sum; a sum costs one number's read-back.
  const sum = tf.tidy(() => tf.sum(tf.mul(state.x, 0)));
  const [value] = await sum.data();
  sum.dispose();
  if (value !== 0) {
    throw new RangeError(
      `Cannot go on with the run: x_t must be finite, got NaN or infinity at step ${state.step}, t = ${state.t}`,
    );
  }
}

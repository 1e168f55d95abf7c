/**
 * The driver of every chain in the library.
 *
 * A `Transition` is a Markov kernel, `env => state => state`. A `Sampler` is a lazy stream of transitions, one a
 * step, and can be iterated again and again. `run` folds a sampler over a start and yields each state: it is the
 * only loop over time in the library. What must reach the next step (correctors, guidance, inpainting) transforms
 * samplers, before `run`; what only looks (pictures, progress, metrics) transforms the states, after it.
 *
 * In one run there is one model. A refinement either changes the model (guidance, conditions, thresholds) or moves the
 * state (correctors, known pixels, densities). A sampler carries its changes of the model beside its transitions, and each
 * transition of an iteration stands under all of them: so a corrector stirs with the score of the guided model, whether it
 * was written before the guide or after it. Changes of the model keep their own order among themselves.
 *
 * Ownership: a yielded state lives until the next pull. `run` disposes of every tensor of the last state that the
 * next one does not share, also when it is broken off, aborted or thrown in. The start belongs to the caller.
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
import type { Level, Schedule } from "../noise/schedule.ts";
import { convert, type Kind, type Model } from "../denoise/prediction.ts";
import { type Engine, pacer } from "../tensor/engine.ts";
import { type Awaitable, awaited, own, owned, scope, type Scoped } from "../tensor/scope.ts";
import { checkBackend, shown } from "../tensor/check.ts";
import { fold, type Key } from "../tensor/key.ts";
import { normal } from "../tensor/random.ts";
import { checkedShape, checkedTime, checkRun, checkStart, fitted, isLevel } from "./run/fit.ts";
import { replaced, stepOn } from "./run/step.ts";

/** A past evaluation, for multistep solvers. */
export interface Evaluation {
  /** Time of the evaluation. */
  readonly t: number;
  /** The x0 prediction there, shape of x_t. */
  readonly x0: tf.Tensor;
  /** x there, for solvers that need it; shape of x_t. */
  readonly x?: tf.Tensor;
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
  /**
   * Where {@link noise} comes from: standard normal, shape of `state.x`, handed over to the library, which disposes of
   * it. For common random numbers, a recorded path or another program's generator. Default: drawn under `key`.
   */
  readonly noise?: (state: State, purpose: string) => tf.Tensor;
  /**
   * Set where a log-density is carried along: a step may not draw, as then the law of the next state is not that of a map,
   * and under `"flow"`, where the density is the probability-flow ODE's, nothing but the flow may move x. What draws or moves
   * refuses. Default: none is carried.
   */
  readonly density?: "flow" | "map";
}

/** A Markov transition kernel. Returns new tensors, leaves those of the state alone. */
export type Transition<S extends State = State> = (env: Env) => (state: S) => Awaitable<S>;

/** Something that has to hold before the first step of a run; throws if it does not. */
export type Check = (env: Env, start: State) => Awaitable<void>;

/** What a sampler says of itself, beside its transitions. A refinement keeps what it does not change. */
export interface Carried {
  /**
   * The change of the model under which all transitions stand, those of later refinements too: guidance, conditions,
   * thresholds. Default: none.
   */
  readonly under?: (model: Model) => Model;
  /** Time of the state that the first transition takes, at which {@link prior} starts. Default: not known. */
  readonly from?: number;
  /** The schedule of the transitions' coefficients, which has to be the model's. Default: not known. */
  readonly schedule?: Schedule;
  /** The times at which the two schedules are compared. Default: none. */
  readonly times?: readonly number[];
  /** What has to hold before the first step. Default: nothing. */
  readonly checks?: readonly Check[];
}

/**
 * A lazy stream of transitions, one a step; each iteration starts afresh. Any async iterable of transitions is one;
 * {@link sampler} makes one that also carries what there is to know of it.
 */
export type Sampler<S extends State = State> = AsyncIterable<Transition<S>> & Carried & {
  /** The transitions without the change of the model: those of an iteration stand under it. Default: as iterated. */
  readonly bare?: AsyncIterable<Transition<S>>;
};

/** A sampler to a sampler, whatever the state. */
export type Refinement = <S extends State>(sampler: Sampler<S>) => Sampler<S>;

/** Options of {@link run}. */
export interface RunOptions extends Env {
  /** Stop with an error when x_t holds NaN or infinity. Default: true. */
  readonly finite?: boolean;
  /**
   * What runs the steps: each is compiled as a whole (network, guidance and update), with everything that it does not
   * compute with tensors left here. The model must answer at once. Default: none, each operation by itself.
   */
  readonly engine?: Engine;
  /**
   * Ends the run before the next transition, when a state has awaited: for samplers that go on for ever, such as those that
   * choose their own steps. Default: never, the run ends with its sampler.
   */
  readonly until?: (state: State) => boolean;
}

/**
 * A state, or a function that makes one from the environment and the time at which the sampler starts, if that has one, and
 * hands it over, such as {@link prior}.
 */
export type Start<S extends State = State> = S | ((env: Env, from?: number) => Awaitable<S>);

/**
 * A sampler from a generator function: each iteration calls it afresh, so one sampler drives any number of runs.
 *
 * @param make Makes the transitions, in order.
 * @param carried What there is to know of it. Default: nothing.
 * @returns The sampler.
 *
 * @example Write your own: shrink x to its half, three times
 * ```ts
 * import { sampler } from "@tweedie/tweedie";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import * as tf from "@tensorflow/tfjs-core";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const halving = sampler(function* () {
 *   for (let i = 0; i < 3; i++) yield () => (state) => ({ ...state, x: tf.mul(state.x, 0.5), step: state.step + 1 });
 * });
 * let pulled = 0;
 * for await (const _ of halving) pulled++;
 * assert.equal(pulled, 3);
 * ```
 */
export function sampler<S extends State = State>(
  make: () => Iterable<Transition<S>> | AsyncIterable<Transition<S>>,
  carried: Carried = {},
): Sampler<S> {
  const bare: AsyncIterable<Transition<S>> = {
    async *[Symbol.asyncIterator](): AsyncGenerator<Transition<S>, void, undefined> {
      yield* make();
    },
  };
  const { under } = carried;
  if (under === undefined) return { ...carried, ...bare };
  return {
    ...carried,
    bare,
    async *[Symbol.asyncIterator](): AsyncGenerator<Transition<S>, void, undefined> {
      for await (const transition of bare) {
        yield (env) => transition({ ...env, model: under(env.model) });
      }
    },
  };
}

/** The transitions of a sampler without its change of the model. */
const bareOf = <S extends State>({ bare, ...source }: Sampler<S>): AsyncIterable<Transition<S>> =>
  bare ?? source;

/** What a sampler carries, with something changed. */
const carriedBy = <S extends State>(
  { under, from, schedule, times, checks }: Sampler<S>,
  change: Carried = {},
): Carried => ({
  ...(under && { under }),
  ...(from !== undefined && { from }),
  ...(schedule && { schedule }),
  ...(times && { times }),
  ...(checks && { checks }),
  ...change,
});

/**
 * A function of the transitions of a sampler lifted to the sampler: how a refinement is made that moves the state. What the
 * sampler carries is kept, and the new transitions stand under its change of the model. Closing the result closes its source.
 *
 * @param refine From the stream of transitions to the one that takes its place.
 * @param check Something more that has to hold before the first step. Default: nothing.
 * @returns A function of samplers.
 *
 * @example Every step twice
 * ```ts
 * import { rearranged, sampler } from "@tweedie/tweedie";
 * import assert from "node:assert/strict";
 *
 * const three = sampler(() => [1, 2, 3].map((t) => () => (state) => ({ ...state, t })));
 * const twice = rearranged(async function* (transitions) {
 *   for await (const transition of transitions) yield* [transition, transition];
 * });
 * let steps = 0;
 * for await (const _ of twice(three)) steps++;
 * assert.equal(steps, 6);
 * ```
 */
export function rearranged<S extends State, R extends S = S>(
  refine: (transitions: AsyncIterable<Transition<S>>) => AsyncIterable<Transition<R>>,
  check?: Check,
): (source: Sampler<S>) => Sampler<R> {
  return (source) =>
    sampler(
      () => refine(bareOf(source)),
      carriedBy(source, check && { checks: [...source.checks ?? [], check] }),
    );
}

/**
 * A function of one transition lifted to a sampler, as by {@link rearranged}.
 *
 * @param refine From a transition to the one that takes its place.
 * @param check Something more that has to hold before the first step. Default: nothing.
 * @returns A function of samplers; a {@link Refinement} if `refine` takes a transition of any state.
 *
 * @example Count the steps of any sampler
 * ```ts
 * import { refined, type State, type Transition } from "@tweedie/tweedie";
 * import assert from "node:assert/strict";
 *
 * let steps = 0;
 * const counted = refined((transition: Transition<State>): Transition<State> => (env) => (state) => {
 *   steps++;
 *   return transition(env)(state);
 * });
 * assert.equal(typeof counted, "function");
 * assert.equal(steps, 0);
 * ```
 */
export function refined<S extends State, R extends S = S>(
  refine: (transition: Transition<S>) => Transition<R>,
  check?: Check,
): (source: Sampler<S>) => Sampler<R> {
  return rearranged<S, R>(async function* (transitions) {
    for await (const transition of transitions) yield refine(transition);
  }, check);
}

/**
 * The refinement that puts another model in place of the environment's, for the whole run: every step, corrector and density
 * asks it, wherever it stands. Of two, the one that is written last acts first on the model of the run.
 *
 * @param change From the environment's model to the one that the steps see; pure, as it is called once a step.
 * @param check Something more that has to hold before the first step. Default: nothing.
 * @returns The refinement.
 *
 * @example Count evaluations
 * ```ts
 * import { ddim, decorated, gaussian, key, linear, onModel, prior, run } from "@tweedie/tweedie";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const schedule = linear(), model = gaussian(schedule, { mean: 0, variance: 1 });
 * let evaluations = 0;
 * const counted = onModel((m) =>
 *   decorated(m, (m) => ({ predict: (x, t) => (evaluations++, m.predict(x, t)) }))
 * );
 * let states = 0;
 * for await (const _ of run(prior([2, 1]), { model, key: key(0) })(counted(ddim(schedule, { steps: 7 })))) states++;
 * assert.deepEqual([states, evaluations], [8, 7]);
 * ```
 */
export function onModel(change: (model: Model) => Model, check?: Check): Refinement {
  return <S extends State>(source: Sampler<S>): Sampler<S> => {
    const { under } = source;
    return sampler(
      () => bareOf(source),
      carriedBy(source, {
        under: under ? (model) => under(change(model)) : change,
        ...(check && { checks: [...source.checks ?? [], check] }),
      }),
    );
  };
}

/**
 * A sampler without its first transitions, to go on from a recorded state: `run(state, env)(after(state.step)(sampler))`
 * gives what the unbroken run gave, bit for bit.
 *
 * @param count Number of transitions to leave out.
 * @returns The refinement.
 * @throws {RangeError} If `count` is not a whole number of at least 0.
 *
 * @example
 * ```ts
 * import { after, sampler } from "@tweedie/tweedie";
 * import assert from "node:assert/strict";
 *
 * const three = sampler(() => [1, 2, 3].map((t) => () => (state) => ({ ...state, t })));
 * let left = 0;
 * for await (const _ of after(2)(three)) left++;
 * assert.equal(left, 1);
 * ```
 */
export function after(count: number): Refinement {
  if (!Number.isSafeInteger(count) || count < 0) {
    throw new RangeError(
      `Cannot skip transitions: count must be a whole number of at least 0, got ${count}`,
    );
  }
  return <S extends State>({ from, ...source }: Sampler<S>): Sampler<S> =>
    rearranged<S>(async function* (transitions) {
      let index = 0;
      for await (const transition of transitions) if (index++ >= count) yield transition;
    })({ ...source, ...(count === 0 && from !== undefined && { from }) });
}

/** One step of a sampler on a time grid, from t to s. */
export interface Leg {
  /** Time it starts from. */
  readonly t: number;
  /** Time it goes to. */
  readonly s: number;
  /** Marginal at t. */
  readonly from: Level;
  /** Marginal at s. */
  readonly to: Level;
  /** Number of legs before this one. */
  readonly index: number;
  /** Number of legs of the whole grid. */
  readonly count: number;
  /** The schedule that gives the levels. Default: not known, and a run cannot compare it with the model's. */
  readonly schedule?: Schedule;
}

/**
 * The legs between the neighbours of a time grid, with their levels.
 *
 * @param schedule Gives the levels.
 * @param grid Times in the order of travel.
 * @returns One leg fewer than there are times.
 *
 * @example
 * ```ts
 * import { legs, linear } from "@tweedie/tweedie";
 * import assert from "node:assert/strict";
 *
 * assert.deepEqual(legs(linear(), [1000, 500, 0]).map(({ t, s }) => [t, s]), [[1000, 500], [500, 0]]);
 * ```
 */
export function legs(schedule: Schedule, grid: readonly number[]): Leg[] {
  const levels = grid.map((t) => schedule.at(t)), count = grid.length - 1;
  return grid.slice(1).map((s, i) => (
    { t: grid[i]!, s, from: levels[i]!, to: levels[i + 1]!, index: i, count, schedule }
  ));
}

/**
 * A sampler with one transition for each leg. A transition refuses a state that is not at its leg's start, but for rounding
 * or a time of the same level.
 *
 * @param path The legs, in order.
 * @param make The transition of a leg; called for each leg at once, so that its errors come before the run.
 * @returns The sampler. Its transitions throw a RangeError on a state at another time.
 */
export function along<S extends State = State>(
  path: readonly Leg[],
  make: (leg: Leg) => Transition<S>,
): Sampler<S> {
  const transitions = path.map((leg) => checked(leg, make(leg))), first = path[0];
  if (first === undefined) return sampler(() => transitions);
  const { t: from, schedule } = first, times = [from, ...path.map(({ s }) => s)];
  return sampler(() => transitions, { from, ...(schedule && { schedule, times }) });
}

const checked =
  <S extends State>({ t, s }: Leg, transition: Transition<S>): Transition<S> =>
  (env) =>
  (
    state,
  ) => {
    if (!isLevel(env.model.schedule, state.t, t)) {
      throw new RangeError(`Cannot step to t = ${s}: state.t must be ${t}, got ${state.t}`);
    }
    if ("logDensity" in state) {
      throw new TypeError(
        `Cannot step to t = ${s}: state.logDensity must be absent without likelihood(), as nothing would carry it on`,
      );
    }
    return transition(env)(state);
  };

/** What a step makes: x, and whatever else of the state is new. */
export type Moved<S extends State = State> = Partial<S> & Pick<S, "x">;

/**
 * A transition, from what it does to x: the new state is the old one with what the work gives, its time and its number. What
 * else the work makes is freed.
 *
 * @param leg Where it leads.
 * @param work A generator that gives the new x, or that with other parts of the state, such as `x0`. It disposes of nothing.
 * @returns The transition.
 *
 * @example A sampler of your own: DDIM in two lines
 * ```ts
 * import { along, asked, gaussian, key, legs, linear, prior, run, step, times } from "@tweedie/tweedie";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import * as tf from "@tensorflow/tfjs-core";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const schedule = linear(), model = gaussian(schedule, { mean: 2, variance: 0 });
 * const own = along(legs(schedule, times(schedule, { steps: 5 })), (leg) => {
 *   const kept = leg.to.sigma / leg.from.sigma;
 *   return step(leg, function* ({ x }, env) {
 *     const x0 = yield* asked(env, "x0", x, leg.t);
 *     return tf.add(tf.mul(x0, leg.to.alpha - kept * leg.from.alpha), tf.mul(x, kept));
 *   });
 * });
 * let last = 0;
 * for await (const { x } of run(prior([1, 1]), { model, key: key(0) })(own)) last = x.dataSync()[0]!;
 * assert.ok(Math.abs(last - 2) < 1e-4);
 * ```
 */
export function step<S extends State = State>(
  leg: Pick<Leg, "s">,
  work: (state: S, env: Env) => Scoped<tf.Tensor | Moved<S>>,
): Transition<S> {
  return (env) => (state) =>
    scope(function* () {
      const made = yield* work(state, env);
      const moved = made instanceof tf.Tensor ? { x: made } : made;
      return { ...state, ...moved, t: leg.s, step: state.step + 1 };
    });
}

/**
 * What the run's model says at a point, in the kind that is wanted; it waits if the model does.
 *
 * @param env The environment.
 * @param wanted The kind.
 * @param x x_t, shape [N, ...sample].
 * @param t Time on the model's schedule.
 * @returns The prediction, shape of x, of the scope's; a part of work, called by `yield*`.
 * @throws {RangeError} If the level does not determine it: see {@link convert}.
 */
export function* asked(env: Env, wanted: Kind, x: tf.Tensor, t: number): Scoped<tf.Tensor> {
  const { model, signal } = env, prediction = yield* owned(model.predict(x, t, signal));
  return convert(prediction, wanted, x, model.schedule.at(t));
}

/**
 * The start of a generation: x_t ~ N(0, sigma_t²·I) under the environment's key, one key a sample. That is the law of x_t as
 * far as no signal is left at t: from the middle of a schedule start with data, by `edited`.
 *
 * @param shape [N, ...sample].
 * @param t Time to start at. Default: where the sampler starts; the schedule's greatest, if that is not known.
 * @returns A start for {@link run}.
 * @throws {RangeError} If a size is not a whole number of at least 1; while run, if t is not a time of the schedule.
 *
 * @example
 * ```ts
 * import { gaussian, key, linear, prior } from "@tweedie/tweedie";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const { x, t } = prior([16, 28, 28, 1])({ model: gaussian(linear()), key: key(0) });
 * assert.deepEqual([x.shape, t], [[16, 28, 28, 1], 1000]);
 * ```
 */
export function prior(
  shape: readonly number[],
  t?: number,
): (env: Env, from?: number) => State {
  const [count, ...sample] = checkedShape("start from the prior", shape);
  return (env, from) => {
    checkBackend("start from the prior");
    const { schedule } = env.model;
    const at = checkedTime("start from the prior", schedule, t ?? from ?? schedule.span[1]);
    const x = scope(() =>
      tf.mul(normal(sampleKeys(env, count!, "prior", 0), sample), schedule.at(at).sigma)
    );
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
 * @throws {TypeError} If a density is carried along, of which nothing that is drawn has a part.
 */
export function sampleKeys(
  env: Pick<Env, "key" | "first" | "density">,
  count: number,
  purpose: string,
  step: number,
): Key[] {
  if (env.density !== undefined) throw drawn(purpose);
  // The sample comes last, so that a batch pays for purpose and step once.
  const use = fold(fold(env.key, purpose), step), first = env.first ?? 0;
  return Array.from({ length: count }, (_, i) => fold(use, first + i));
}

const drawn = (purpose: string): TypeError =>
  new TypeError(
    `Cannot carry a density: the sampler must be deterministic, got a step that draws noise ("${purpose}"); ` +
      "a flow, or a sampler without noise and without correctors, has one",
  );

/**
 * Standard normal noise for one step of a transition, of the shape of the state's x.
 *
 * @param env The environment.
 * @param state The state that the transition starts from.
 * @param purpose What the draw is for.
 * @returns float32, shape of `state.x`, from `env.noise` if there is one. It is the scope's, or the caller's where there is none.
 * @throws {RangeError} If `env.noise` returns another shape.
 */
export function noise(env: Env, state: State, purpose: string): tf.Tensor {
  const [count, ...sample] = state.x.shape;
  if (env.density !== undefined) throw drawn(purpose);
  if (env.noise) return injected(env.noise(state, purpose), state.x.shape);
  return normal(sampleKeys(env, count!, purpose, state.step), sample);
}

function injected(z: tf.Tensor, shape: readonly number[]): tf.Tensor {
  if (z.shape.join() === shape.join()) return own(z);
  const wrong = new RangeError(
    `Cannot draw noise: env.noise must return shape [${shape}], got [${z.shape}]`,
  );
  z.dispose();
  throw wrong;
}

/**
 * Runs a sampler: yields the start, then each x_t, pulled one at a time.
 *
 * @param start The first state, which stays the caller's, or a function that makes it.
 * @param options Model and key; an abort signal; whether to stop at NaN and infinity; what runs the steps.
 * @returns A function of a sampler, whose result computes nothing until it is iterated.
 * @throws {RangeError} While iterated: when x_t is not finite, with the step and the time.
 * @throws {TypeError} While iterated, on an engine: when a step or the model answers later, or cannot be compiled.
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
  return (sampler) => {
    if (typeof sampler?.[Symbol.asyncIterator] !== "function") {
      throw new TypeError(
        `Cannot run: sampler must be a sampler, such as ddim(schedule), got ${shown(sampler)}`,
      );
    }
    return { [Symbol.asyncIterator]: () => trajectory(start, options, sampler) };
  };
}

async function* trajectory<S extends State>(
  start: Start<S>,
  options: RunOptions,
  sampler: Sampler<S>,
): AsyncGenerator<S, void, undefined> {
  checkRun(options);
  const { engine, signal, until } = options, pace = pacer();
  signal?.throwIfAborted();
  const env: RunOptions = { ...options, model: fitted(options.model, sampler) };
  if (typeof start !== "function") checkStart(start);
  let state = typeof start === "function"
    ? await scope(() => owned(start(env, sampler.from)), { signal })
    : retained(start);
  const next = (transition: Transition<S>): Awaitable<S> => {
    const before = state, compiled = engine && stepOn(engine, transition(env), before);
    return scope(() => owned(compiled ?? transition(env)(before), before), { signal });
  };
  try {
    checkStart(state);
    let held = tensorsOf(state);
    await checkFinite(state, held, options);
    for (const check of sampler.checks ?? []) await check(env, state);
    yield state;
    for await (const transition of sampler) {
      signal?.throwIfAborted();
      if (until?.(state)) return;
      const coming = next(transition), reached = coming instanceof Promise ? await coming : coming;
      const old = held, made = tensorsOf(reached);
      checkStep(state, reached);
      state = reached;
      held = made;
      const fresh = made.filter((each) => !old.includes(each));
      try {
        await checkFinite(state, fresh, options);
      } finally {
        dropped(old, made);
      }
      await pace();
      signal?.throwIfAborted();
      yield state;
    }
  } finally {
    tensorsOf(state).forEach((tensor) => tensor.dispose());
  }
}

/** Refuses a step that leads to another shape, which would be broadcast into garbage, or to no time. */
function checkStep({ x, step, t }: State, reached: State): void {
  if (tf.util.arraysEqual(x.shape, reached.x.shape) && Number.isFinite(reached.t)) return;
  dropped(tensorsOf(reached), [x]);
  throw new RangeError(
    `Cannot go on with the run: step ${
      step + 1
    } must lead from x of shape [${x.shape}], t = ${t} to the like, ` +
      `got x of shape [${reached.x.shape}], t = ${reached.t}`,
  );
}

/**
 * The same value with tensors of its own, so that it can be disposed of by itself. The copies share their numbers with
 * the originals; what is neither a tensor nor plain data is shared as it is.
 *
 * @param value A state, or any tree of plain data and tensors.
 * @returns The copy. The caller disposes of its tensors.
 *
 * @example
 * ```ts
 * import { retained } from "@tweedie/tweedie";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import * as tf from "@tensorflow/tfjs-core";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const state = { x: tf.tensor([1, 2]), t: 1, step: 0 }, copy = retained(state);
 * state.x.dispose();
 * assert.deepEqual([...copy.x.dataSync()], [1, 2]);
 * ```
 */
export function retained<S>(value: S): S {
  return replaced(value, (tensor) => tf.clone(tensor));
}

/** Disposes of the tensors of one state that another does not hold. */
const dropped = (tensors: readonly tf.Tensor[], held: readonly tf.Tensor[]): void =>
  tensors.filter((tensor) => !held.includes(tensor)).forEach((tensor) => tensor.dispose());

const tensorsOf = (state: State): tf.Tensor[] =>
  tf.tensor_util.getTensorsInContainer({ ...state } as unknown as tf.TensorContainer);

/**
 * Asks all that a step has made: what replaces a part of x_t would hide a NaN in the prediction, and a density shows nothing of
 * its own in x_t.
 */
async function checkFinite(
  state: State,
  made: readonly tf.Tensor[],
  options: RunOptions,
): Promise<void> {
  if (options.finite === false) return;
  if (await areFinite(made.filter(({ dtype }) => dtype === "float32"))) return;
  const place = `got NaN or infinity at step ${state.step}, t = ${state.t}`;
  if (state.step === 0) throw new RangeError(`Cannot run: the start's x must be finite, ${place}`);
  const names = await Promise.all(
    Object.entries(state).filter(([name, value]) => name !== "x" && value instanceof tf.Tensor)
      .map(async ([name, tensor]) => await areFinite([tensor]) ? [] : [called[name] ?? name]),
  );
  const others = names.flat();
  throw new RangeError(
    `Cannot go on with the run: x_t must be finite, ${place}${
      others.length > 0 ? `, also in ${others.join(" and ")}` : ""
    }`,
  );
}

/** What fields of a state are called in messages. */
const called: Readonly<Record<string, string>> = { x0: "the model's prediction" };

/** NaN and infinity both survive a sum; a sum costs one number's read-back. */
async function areFinite(tensors: readonly tf.Tensor[]): Promise<boolean> {
  if (tensors.length === 0) return true;
  return await scope(function* () {
    // Those of one shape are added first: to read a sum costs more than to add.
    const sums: tf.Tensor[] = [];
    for (const each of tensors) {
      const i = sums.findIndex(({ shape }) => tf.util.arraysEqual(shape, each.shape));
      if (i < 0) sums.push(each);
      else sums[i] = tf.add(sums[i]!, each);
    }
    const total = sums.map((each) => tf.sum(tf.mul(each, 0))).reduce((sum, each) =>
      tf.add(sum, each)
    );
    const [value] = yield* awaited(total.data());
    return value === 0;
  });
}

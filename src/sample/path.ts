/**
 * Chains with a time and a model: the states, samplers and refinements of diffusion.
 *
 * In one run there is one model. A refinement either changes the model (guidance, conditions, thresholds) or moves the
 * state (correctors, known pixels, densities). A sampler carries its changes of the model beside its transitions, and each
 * transition of an iteration stands under all of them: so a corrector stirs with the score of the guided model, whether it
 * was written before the guide or after it. Changes of the model keep their own order among themselves.
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
import * as chains from "../chain/chain.ts";
import type {
  Chain,
  ChainCarried,
  ChainCheck,
  ChainEnv,
  ChainSampler,
  ChainStart,
  ChainTransition,
} from "../chain/chain.ts";
import { sampleKeys } from "../chain/draw.ts";
import { driver, type Driving, plainly, type RunControl } from "../chain/run.ts";
import type { Level, Schedule } from "../noise/schedule/schedule.ts";
import { convert, type Kind, type Model } from "../denoise/prediction.ts";
import { checkBackend } from "../tensor/check/ready.ts";
import { normal } from "../tensor/random.ts";
import { owned, scope, type Scoped } from "../tensor/scope.ts";
import { checkedShape, checkedTime, checkRun, checkStart, fitted, isLevel } from "./fit.ts";
import type { Tensor } from "../tensor/tensor.ts";

export { after } from "../chain/chain.ts";
export { noise, sampleKeys } from "../chain/draw.ts";
export { retained } from "../chain/run.ts";

/**
 * A past evaluation, for multistep solvers.
 *
 * @category Samplers
 */
export interface Evaluation {
  /** Time of the evaluation. */
  readonly t: number;
  /** The x0 prediction there, shape of x_t. */
  readonly x0: Tensor;
  /** x there, for solvers that need it; shape of x_t. */
  readonly x?: Tensor;
}

/**
 * Where a chain stands. Read-only plain data: it can be recorded, forked, written to disk and resumed.
 *
 * @category Samplers
 */
export interface State extends Chain {
  /** x_t, shape [N, ...sample]. */
  readonly x: Tensor;
  /** Time on the schedule. */
  readonly t: number;
  /** The x0 prediction that led here, shape of x_t; absent at the start. */
  readonly x0?: Tensor;
  /** Past evaluations of a multistep solver, newest first. */
  readonly history?: readonly Evaluation[];
}

/**
 * What a transition may read.
 *
 * @category Samplers
 */
export interface Env extends ChainEnv {
  /** The model, already refined by guidance and the like. */
  readonly model: Model;
  /** Where noise comes from: see {@link ChainEnv.noise}. */
  readonly noise?: (state: State, purpose: string) => Tensor;
}

/**
 * A Markov transition kernel. Returns new tensors, leaves those of the state alone.
 *
 * @category Samplers
 */
export type Transition<S extends Chain = State, E extends ChainEnv = Env> = ChainTransition<S, E>;

/**
 * Something that has to hold before the first step of a run; throws if it does not.
 *
 * @category Samplers
 */
export type Check = ChainCheck<State, Env>;

/**
 * What a sampler says of itself, beside its transitions. A refinement keeps what it does not change.
 *
 * @category Samplers
 */
export interface Carried<S extends Chain = State, E extends ChainEnv = Env>
  extends ChainCarried<S, E> {
  /** The schedule of the transitions' coefficients, which has to be the model's. Default: not known. */
  readonly schedule?: Schedule;
  /** The times at which the two schedules are compared. Default: none. */
  readonly times?: readonly number[];
}

/**
 * A lazy stream of transitions, one a step; each iteration starts afresh. Any async iterable of transitions is one;
 * {@link sampler} makes one that also carries what there is to know of it.
 *
 * @category Samplers
 */
export type Sampler<S extends Chain = State, E extends ChainEnv = Env> =
  & ChainSampler<S, E>
  & Carried<S, E>;

/**
 * A sampler to a sampler, whatever the state.
 *
 * @category Samplers
 */
export type Refinement = <S extends State>(sampler: Sampler<S>) => Sampler<S>;

/**
 * Options of {@link run}.
 *
 * @category Samplers
 */
export type RunOptions<S extends State = State> = Env & RunControl<S>;

/**
 * A state, or a function that makes one from the environment and the time at which the sampler starts, if that has one, and
 * hands it over, such as {@link prior}.
 *
 * @category Samplers
 */
export type Start<S extends Chain = State, E extends ChainEnv = Env> = ChainStart<S, E>;

/**
 * A sampler from a generator function: each iteration calls it afresh, so one sampler drives any number of runs.
 *
 * @category Samplers
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
export const sampler: <S extends Chain = State, E extends ChainEnv = Env>(
  make: () => Iterable<Transition<S, E>> | AsyncIterable<Transition<S, E>>,
  carried?: Carried<S, E>,
) => Sampler<S, E> = chains.chain;

/**
 * {@link chains.rearranged}, of samplers.
 *
 * @category Samplers
 */
export const rearranged: <S extends Chain = State, R extends S = S, E extends ChainEnv = Env>(
  refine: (transitions: AsyncIterable<Transition<S, E>>) => AsyncIterable<Transition<R, E>>,
  check?: ChainCheck<S, E>,
) => (source: Sampler<S, E>) => Sampler<R, E> = chains.rearranged;

/**
 * {@link chains.refined}, of samplers.
 *
 * @category Samplers
 */
export const refined: <S extends Chain = State, R extends S = S, E extends ChainEnv = Env>(
  refine: (transition: Transition<S, E>) => Transition<R, E>,
  check?: ChainCheck<S, E>,
) => (source: Sampler<S, E>) => Sampler<R, E> = chains.refined;

/**
 * The refinement that puts another model in place of the environment's, for the whole run: every step, corrector and density
 * asks it, wherever it stands. Of two, the one that is written last acts first on the model of the run.
 *
 * @category Samplers
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
  return <S extends State>(source: Sampler<S>): Sampler<S> =>
    chains.underlaid<S, Env>((env) => ({ ...env, model: change(env.model) }), check)(source);
}

/**
 * One step of a sampler on a time grid, from t to s.
 *
 * @category Samplers
 */
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
 * @category Samplers
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
 * @category Samplers
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

/**
 * What a step makes: x, and whatever else of the state is new.
 *
 * @category Samplers
 */
export type Moved<S extends State = State> = Partial<S> & Pick<S, "x">;

/**
 * A transition, from what it does to x: the new state is the old one with what the work gives, its time and its number. What
 * else the work makes is freed.
 *
 * @category Samplers
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
  work: (state: S, env: Env) => Scoped<Tensor | Moved<S>>,
): Transition<S> {
  const moved = (state: S, made: Tensor | Moved<S>): S => {
    const parts = made instanceof tf.Tensor ? { x: made } : made;
    return { ...state, ...parts, t: leg.s, step: state.step + 1 };
  };
  return (env) => (state) => {
    const made = scope(() => work(state, env));
    return made instanceof Promise ? made.then((late) => moved(state, late)) : moved(state, made);
  };
}

/**
 * What the run's model says at a point, in the kind that is wanted; it waits if the model does.
 *
 * @category Samplers
 * @param env The environment.
 * @param wanted The kind.
 * @param x x_t, shape [N, ...sample].
 * @param t Time on the model's schedule.
 * @returns The prediction, shape of x, of the scope's; a part of work, called by `yield*`.
 * @throws {RangeError} If the level does not determine it: see {@link convert}.
 */
export function* asked(env: Env, wanted: Kind, x: Tensor, t: number): Scoped<Tensor> {
  const { model, signal } = env, prediction = yield* owned(model.predict(x, t, signal));
  return convert(prediction, wanted, x, model.schedule.at(t));
}

/**
 * The start of a generation: x_t ~ N(0, sigma_t²·I) under the environment's key, one key a sample. That is the law of x_t as
 * far as no signal is left at t: from the middle of a schedule start with data, by `edited`.
 *
 * @category Samplers
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
 * See {@link run}.
 *
 * @category Samplers
 */
export interface Run {
  /** Runs a chain without a model and a time. */
  <S extends Chain>(
    start: ChainStart<S, ChainEnv>,
    options: ChainEnv & RunControl<S> & { readonly model?: never },
  ): (chain: ChainSampler<S, ChainEnv>) => AsyncIterable<S>;
  /** Runs a sampler under a model. */
  <S extends State = State>(
    start: Start<S>,
    options: Omit<RunOptions<S>, "model"> & { readonly model: Model<never> },
  ): (sampler: Sampler<S>) => AsyncIterable<S>;
}

/** How samplers are driven: under one model, which fits. */
const modelled: Driving<State, Env> = {
  environment: (options, sampler: Sampler) => {
    checkRun(options);
    return { ...options, model: fitted(options.model, sampler) };
  },
  check: checkStart,
  where: ({ t }) => Number.isFinite(t) ? `, t = ${t}` : undefined,
  called: { x: "x_t", x0: "the model's prediction" },
};

const runs = (start: Start, options: RunOptions) => (sampler: Sampler): AsyncIterable<State> => {
  const isModelled = sampler?.schedule !== undefined || options?.model !== undefined;
  return driver(isModelled ? modelled : plainly<State, Env>())(start, options)(sampler);
};

/**
 * Runs a sampler: yields the start, then each x_t, pulled one at a time.
 *
 * @category Samplers
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
export const run: Run = runs as unknown as Run;

/**
 * Markov chains as streams, of any state: what a Metropolis chain over spins and a reverse diffusion have in common.
 *
 * A transition is a Markov kernel, `env => state => state`. A chain's stream of transitions, one a step, is lazy and can be
 * iterated again and again. `run` folds it over a start and yields each state: it is the only loop over time in the library.
 * What must reach the next step transforms streams of transitions, before `run`; what only looks transforms the states,
 * after it.
 *
 * A refinement either changes the environment (guidance, conditions, a temperature) or moves the state (correctors, known
 * pixels, densities). A stream carries its changes of the environment beside its transitions, and each transition of an iteration
 * stands under all of them, also those of refinements that were written later. Among themselves they keep their order.
 *
 * Nothing here knows a model, a schedule or a time: `State` and `Env` of the samplers extend {@link Chain} and
 * {@link ChainEnv}.
 *
 * @module
 */

import type { Key } from "../tensor/key.ts";
import type { Awaitable } from "../tensor/scope.ts";
import type { Tensor } from "../tensor/tensor.ts";

/**
 * Where a chain stands. Read-only plain data: it can be recorded, forked and resumed.
 *
 * @category Chains
 */
export interface Chain {
  /** The state itself: a tensor, several of them, an ndarray of spins, any plain data. */
  readonly x: unknown;
  /** Number of transitions made, 0 at the start. */
  readonly step: number;
}

/**
 * What a transition may read.
 *
 * @category Chains
 */
export interface ChainEnv {
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
  noise?(state: Chain, purpose: string): Tensor;
  /**
   * Set where a log-density is carried along: a step may not draw, as then the law of the next state is not that of a map,
   * and under `"flow"`, where the density is the probability-flow ODE's, nothing but the flow may move x. What draws or moves
   * refuses. Default: none is carried.
   */
  readonly density?: "flow" | "map";
}

/**
 * A Markov transition kernel. Returns new values, leaves those of the state alone.
 *
 * @category Chains
 */
export type ChainTransition<S extends Chain, E extends ChainEnv> = (
  env: E,
) => (state: S) => Awaitable<S>;

/**
 * Something that has to hold before the first step of a run; throws if it does not.
 *
 * @category Chains
 */
export type ChainCheck<S extends Chain, E extends ChainEnv> = (
  env: E,
  start: S,
) => Awaitable<void>;

/**
 * What a stream of transitions says of itself. A refinement keeps what it does not change.
 *
 * @category Chains
 */
export interface ChainCarried<S extends Chain, E extends ChainEnv> {
  /** The change of the environment under which all transitions stand, those of later refinements too. Default: none. */
  readonly under?: (env: E) => E;
  /** Where the first transition starts, such as a time or a temperature, which a start may ask for. Default: not known. */
  readonly from?: number;
  /** What has to hold before the first step. Default: nothing. */
  readonly checks?: readonly ChainCheck<S, E>[];
}

/**
 * A lazy stream of transitions, one a step; each iteration starts afresh. Any async iterable of transitions is one;
 * {@link chain} makes one that also carries what there is to know of it.
 *
 * @category Chains
 */
export type ChainSampler<S extends Chain, E extends ChainEnv> =
  & AsyncIterable<ChainTransition<S, E>>
  & ChainCarried<S, E>
  & {
    /** The transitions without the change of the environment: those of an iteration stand under it. Default: as iterated. */
    readonly bare?: AsyncIterable<ChainTransition<S, E>>;
  };

/**
 * A state, or a function that makes one from the environment and where the chain starts, and hands it over.
 *
 * @category Chains
 */
export type ChainStart<S extends Chain, E extends ChainEnv> =
  | S
  | ((env: E, from?: number) => Awaitable<S>);

/**
 * A chain from a generator function: each iteration calls it afresh, so one chain drives any number of runs.
 *
 * @category Chains
 * @param make Makes the transitions, in order.
 * @param carried What there is to know of it. Default: nothing.
 * @returns The stream of transitions.
 *
 * @example A random walk on the whole numbers
 * ```ts
 * import { type Chain, chain, fold, key, last, run } from "@tweedie/tweedie";
 * import { uniforms } from "@tweedie/tweedie/tensor";
 * import assert from "node:assert/strict";
 *
 * const walk = chain<Chain & { readonly x: number }>(function* () {
 *   for (let i = 0; i < 100; i++) {
 *     yield ({ key }) => ({ x, step }) => {
 *       const [u] = uniforms(fold(key, step), 1);
 *       return { x: x + (u! < 0.5 ? -1 : 1), step: step + 1 };
 *     };
 *   }
 * });
 * const { x, step } = await last(run({ x: 0, step: 0 }, { key: key(1) })(walk));
 * assert.equal(step, 100);
 * assert.ok(Math.abs(x) <= 100 && x % 2 === 0);
 * ```
 */
export function chain<S extends Chain, E extends ChainEnv = ChainEnv>(
  make: () => Iterable<ChainTransition<S, E>> | AsyncIterable<ChainTransition<S, E>>,
  carried: ChainCarried<S, E> = {},
): ChainSampler<S, E> {
  const bare: AsyncIterable<ChainTransition<S, E>> = {
    async *[Symbol.asyncIterator](): AsyncGenerator<ChainTransition<S, E>, void, undefined> {
      yield* make();
    },
  };
  const { under } = carried;
  if (under === undefined) return { ...carried, ...bare };
  return {
    ...carried,
    bare,
    async *[Symbol.asyncIterator](): AsyncGenerator<ChainTransition<S, E>, void, undefined> {
      for await (const transition of bare) yield (env) => transition(under(env));
    },
  };
}

/** The transitions without the change of the environment, and all else that a stream carries. */
function parted<S extends Chain, E extends ChainEnv>(source: ChainSampler<S, E>): {
  readonly bare: AsyncIterable<ChainTransition<S, E>>;
  readonly carried: ChainCarried<S, E>;
} {
  const { bare = source, [Symbol.asyncIterator]: _, ...carried } = source;
  return { bare, carried };
}

const also = <S extends Chain, E extends ChainEnv>(
  { checks = [] }: ChainCarried<S, E>,
  check: ChainCheck<S, E> | undefined,
): Pick<ChainCarried<S, E>, "checks"> => check ? { checks: [...checks, check] } : {};

/**
 * A function of the transitions of a chain lifted to the chain: how a refinement is made that moves the state. What the
 * chain carries is kept, and the new transitions stand under its change of the environment. Closing the result closes its source.
 *
 * @param refine From the stream of transitions to the one that takes its place.
 * @param check Something more that has to hold before the first step. Default: nothing.
 * @returns A function of chains.
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
export function rearranged<S extends Chain, E extends ChainEnv, R extends S = S>(
  refine: (
    transitions: AsyncIterable<ChainTransition<S, E>>,
  ) => AsyncIterable<ChainTransition<R, E>>,
  check?: ChainCheck<S, E>,
): (source: ChainSampler<S, E>) => ChainSampler<R, E> {
  return (source) => {
    const { bare, carried } = parted(source);
    return chain<R, E>(() => refine(bare), { ...carried, ...also(carried, check) });
  };
}

/**
 * A function of one transition lifted to a chain, as by {@link rearranged}.
 *
 * @param refine From a transition to the one that takes its place.
 * @param check Something more that has to hold before the first step. Default: nothing.
 * @returns A function of chains.
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
export function refined<S extends Chain, E extends ChainEnv, R extends S = S>(
  refine: (transition: ChainTransition<S, E>) => ChainTransition<R, E>,
  check?: ChainCheck<S, E>,
): (source: ChainSampler<S, E>) => ChainSampler<R, E> {
  return rearranged<S, E, R>(async function* (transitions) {
    for await (const transition of transitions) yield refine(transition);
  }, check);
}

/**
 * The refinement that puts another environment in place of the run's, for the whole run, wherever it stands. Of two, the one
 * that is written last acts first on the environment of the run.
 *
 * @category Chains
 * @param change From the run's environment to the one that the steps see; pure, as it is called once a step.
 * @param check Something more that has to hold before the first step. Default: nothing.
 * @returns A function of chains.
 */
export function underlaid<S extends Chain, E extends ChainEnv>(
  change: (env: E) => E,
  check?: ChainCheck<S, E>,
): (source: ChainSampler<S, E>) => ChainSampler<S, E> {
  return (source) => {
    const { bare, carried } = parted(source), { under } = carried;
    return chain<S, E>(() => bare, {
      ...carried,
      ...also(carried, check),
      under: under ? (env) => under(change(env)) : change,
    });
  };
}

/**
 * A chain without its first transitions, to go on from a recorded state: `run(state, env)(after(state.step)(sampler))`
 * gives what the unbroken run gave, bit for bit.
 *
 * @category Chains
 * @param count Number of transitions to leave out.
 * @returns A function of chains.
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
export function after(
  count: number,
): <S extends Chain, E extends ChainEnv>(source: ChainSampler<S, E>) => ChainSampler<S, E> {
  if (!Number.isSafeInteger(count) || count < 0) {
    throw new RangeError(
      `Cannot skip transitions: count must be a whole number of at least 0, got ${count}`,
    );
  }
  return <S extends Chain, E extends ChainEnv>({ from, ...source }: ChainSampler<S, E>) =>
    rearranged<S, E>(async function* (transitions) {
      let index = 0;
      for await (const transition of transitions) if (index++ >= count) yield transition;
    })({ ...source, ...(count === 0 && from !== undefined && { from }) });
}

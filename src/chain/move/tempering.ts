/**
 * Parallel tempering: replicas of a chain at inverse temperatures, each moved by itself, and exchanged with their neighbours.
 *
 * ```text
 *   replica r draws from p_r ∝ e^(−beta_r·E)        exchange of i and j: min(1, e^((beta_i − beta_j)·(E(x_i) − E(x_j))))
 * ```
 *
 * The hot replicas cross barriers that the cold one does not, and the exchanges bring what they find to it. Pairs (0, 1), (2, 3), … and
 * (1, 2), (3, 4), … take turns. Moves and exchanges leave Π p_r alone, so each replica has its own law exactly.
 *
 * Source: C. Geyer, "Markov chain Monte Carlo maximum likelihood" (1991), section 5; D. Earl, M. Deem, "Parallel tempering:
 * theory, applications, and new perspectives" (2005), equation 2.
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
import { mismatch, refusal, shown } from "../../tensor/check/check.ts";
import { callable, decoded, is, needed, type Rules } from "../../tensor/check/decode.ts";
import { fold } from "../../tensor/key.ts";
import { type Awaitable, owned, scope } from "../../tensor/scope.ts";
import type { Tensor } from "../../tensor/tensor.ts";
import {
  type Chain,
  chain,
  type ChainEnv,
  type ChainSampler,
  type ChainTransition,
} from "../chain.ts";
import { sampleKeys } from "../draw.ts";
import { acceptance, checkTest, logUniforms, type MoveOptions, stepRules } from "./accept.ts";

/**
 * What the exchanges have done: of a chain on the host numbers, of chains in a tensor one for each, shape [N].
 *
 * @category Moves
 */
export interface TemperingInfo {
  /** The lower replica of each pair that the last step tried to exchange. */
  readonly pairs: readonly number[];
  /** The probability of each of these exchanges. */
  readonly acceptance: readonly (number | Tensor)[];
  /** How often each pair, by its lower replica, has been tried since the start. */
  readonly tried: readonly number[];
  /** How often it has been exchanged. Over `tried`, the rate. */
  readonly taken: readonly (number | Tensor)[];
}

/**
 * Where replicas stand.
 *
 * @category Moves
 */
export interface TemperedState<S extends Chain> extends Chain {
  /** The state of each replica, in the order of the temperatures. */
  readonly x: readonly S[];
  /** What the exchanges have done; none at the start. */
  readonly info?: TemperingInfo;
}

/**
 * Options of {@link parallelTempering}.
 *
 * @category Moves
 */
export interface TemperingOptions<S extends Chain> extends MoveOptions {
  /** Inverse temperatures, at least two, each of at least 0; neighbours in the list are exchanged. */
  readonly betas: readonly number[];
  /** E(x) at beta = 1, in nats: of x on the host a number, of samples in a tensor one for each, shape [N]. */
  readonly energy: (x: S["x"]) => Awaitable<number | Tensor>;
  /** The moves of a replica: a chain for p ∝ e^(−beta·E). */
  readonly moves: (beta: number) => ChainSampler<S, ChainEnv>;
}

const rules: Rules<TemperingOptions<Chain>> = {
  ...stepRules,
  betas: needed(
    is(
      "at least two numbers of at least 0",
      (betas: readonly number[]) =>
        Array.isArray(betas) && betas.length >= 2 && betas.every((b) => b >= 0 && b < Infinity),
    ),
  ),
  energy: needed(callable),
  moves: needed(callable),
};

/**
 * Replicas of a chain at several temperatures.
 *
 * @category Moves
 * @param options Temperatures, energy, and the moves at each temperature.
 * @returns The chain over the list of replicas. It ends with the shortest of their chains.
 * @throws {TypeError} If an option is missing or unknown.
 * @throws {RangeError} If an option is out of range; while run, if there is not a replica for each temperature.
 *
 * @example
 * ```ts
 * import { hostMetropolis, parallelTempering, replicated } from "@tweedie/tweedie/chain";
 * import { key, last, run } from "@tweedie/tweedie";
 * import assert from "node:assert/strict";
 *
 * const energy = (x: number) => x === 0 || x === 4 ? 0 : 20;
 * const moves = (beta: number) => hostMetropolis<number>({
 *   energy: (x) => beta * energy(x),
 *   propose: (x, { lo }) => ({ x: (x + (lo & 1 ? 1 : 7)) % 8 }),
 * });
 * const chain = parallelTempering({ betas: [1, 0.3, 0], energy, moves, steps: 200 });
 * const { info } = await last(run(replicated({ x: 0, step: 0 }, 3), { key: key(0) })(chain));
 * assert.deepEqual(info!.tried, [100, 100]);
 * ```
 */
export function parallelTempering<S extends Chain>(
  options: TemperingOptions<S>,
): ChainSampler<TemperedState<S>, ChainEnv> {
  const { betas, moves, steps = Infinity } = decoded<TemperingOptions<S>, TemperingOptions<S>>(
    "make replicas",
    options,
    rules as Rules<TemperingOptions<S>>,
  );
  const samplers = betas.map(moves);
  return chain<TemperedState<S>>(async function* () {
    const streams = samplers.map((sampler) => sampler[Symbol.asyncIterator]());
    try {
      for (let i = 0; i < steps; i++) {
        const next = await Promise.all(streams.map((stream) => stream.next()));
        if (next.some(({ done }) => done)) return;
        yield together(options, next.map(({ value }) => value as ChainTransition<S, ChainEnv>));
      }
    } finally {
      await Promise.all(streams.map((stream) => stream.return?.()));
    }
  }, {
    checks: [async (env, { x }) => {
      if (!Array.isArray(x) || x.length !== betas.length) {
        const got = Array.isArray(x) ? x.length : shown(x);
        throw refusal("run replicas", `x must be ${betas.length} states, one for each beta`, got);
      }
      for (const [r, { checks = [] }] of samplers.entries()) {
        for (const check of checks) await check(replicaEnv(env, r), x[r]!);
      }
    }],
  });
}

/**
 * The start of replicas that all stand at the same place.
 *
 * @category Moves
 * @param state Where each of them starts; its tensors stay the caller's.
 * @param count Number of replicas.
 * @returns The start.
 * @throws {RangeError} If `count` is not a whole number of at least 2.
 */
export function replicated<S extends Chain>(state: S, count: number): TemperedState<S> {
  if (!Number.isSafeInteger(count) || count < 2) {
    throw refusal("start replicas", "count must be a whole number of at least 2", count);
  }
  return { x: Array.from({ length: count }, () => state), step: state.step };
}

/** Each replica draws by itself. */
const replicaEnv = (env: ChainEnv, r: number): ChainEnv => ({
  ...env,
  key: fold(fold(env.key, "replica"), r),
  ...(env.noise && { noise: (state, purpose) => env.noise!(state, `replica ${r} ${purpose}`) }),
});

/** One move of each replica, and the exchanges of a step. */
const together = <S extends Chain>(
  options: TemperingOptions<S>,
  transitions: readonly ChainTransition<S, ChainEnv>[],
): ChainTransition<TemperedState<S>, ChainEnv> =>
(env) =>
(state) =>
  scope(function* () {
    const { betas, energy } = options, { step, info } = state, moved: S[] = [];
    for (const [r, transition] of transitions.entries()) {
      const before = state.x[r]!;
      const next = yield* owned(transition(replicaEnv(env, r))(before), before);
      moved.push({ ...next, step: before.step + 1 });
    }
    const pairs = [...betas.keys()].filter((i) => i % 2 === step % 2 && i + 1 < betas.length);
    const tried = betas.slice(1).map((_, i) => (info?.tried[i] ?? 0) + +pairs.includes(i));
    const taken = betas.slice(1).map((_, i): number | Tensor => info?.taken[i] ?? 0);
    const chances: (number | Tensor)[] = [];
    for (const i of pairs) {
      const ends = [moved[i]!, moved[i + 1]!] as const, colder = betas[i]! - betas[i + 1]!;
      const low = yield* owned(energy(ends[0].x)), high = yield* owned(energy(ends[1].x));
      const done = exchanged(env, { ends, low, high, colder, step, i });
      [moved[i], moved[i + 1]] = done.ends;
      chances.push(done.acceptance);
      taken[i] = added(taken[i]!, done.accepted);
    }
    return { x: moved, step: step + 1, info: { pairs, acceptance: chances, tried, taken } };
  });

const added = (sum: number | Tensor, more: number | Tensor): number | Tensor =>
  typeof sum === "number" && typeof more === "number" ? sum + more : tf.add(sum, more);

/** A pair that may be exchanged. */
interface Pair<S extends Chain> {
  readonly ends: readonly [S, S];
  readonly low: number | Tensor;
  readonly high: number | Tensor;
  /** beta_i − beta_j. */
  readonly colder: number;
  readonly step: number;
  readonly i: number;
}

/** What has become of a pair; whether it was exchanged is 1 or 0. */
interface Exchanged<S extends Chain> {
  readonly ends: readonly [S, S];
  readonly acceptance: number | Tensor;
  readonly accepted: number | Tensor;
}

function exchanged<S extends Chain>(env: ChainEnv, pair: Pair<S>): Exchanged<S> {
  const { ends: [a, b], low, high, colder, step, i } = pair;
  const draws = (count: number) => logUniforms(sampleKeys(env, count, `exchange ${i}`, step));
  if (typeof low === "number" && typeof high === "number") {
    const logA = colder * (low - high), accepted = draws(1)[0]! < logA;
    if (Number.isNaN(logA)) throw refusal("exchange replicas", "energies must be numbers", logA);
    return {
      ends: accepted ? [{ ...a, x: b.x }, { ...b, x: a.x }] : [a, b],
      acceptance: acceptance(logA),
      accepted: +accepted,
    };
  }
  const x = a.x as Tensor, y = b.x as Tensor;
  if (!(low instanceof tf.Tensor && high instanceof tf.Tensor && low.shape[0] === x.shape[0])) {
    throw mismatch("exchange replicas", "energy must give one number a chain", shown(low));
  }
  const logA = tf.mul(tf.sub(low, high), colder);
  checkTest(logA, step);
  const accepted = tf.less(tf.tensor1d(Float32Array.from(draws(x.shape[0]!))), logA);
  const wide = tf.broadcastTo(tf.reshape(accepted, [-1, ...x.shape.slice(1).fill(1)]), x.shape);
  return {
    ends: [{ ...a, x: tf.where(wide, y, x) }, { ...b, x: tf.where(wide, x, y) }],
    acceptance: tf.minimum(tf.exp(logA), 1),
    accepted: tf.cast(accepted, "float32"),
  };
}

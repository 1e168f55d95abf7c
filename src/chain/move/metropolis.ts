/**
 * Metropolis' chain and that of Hastings: propose, and take what is proposed by a test on energies alone.
 *
 * ```text
 *   y ~ q(· | x)        P(x → y) = q(y | x)·min(1, e^(E(x) − E(y))·q(x | y)/q(y | x))        the rest stays at x
 * ```
 *
 * Here for many chains at once over tensors, and for one chain over plain data of any kind. Each is in detailed balance with
 * p ∝ e^(−E), π_i·P_ij = π_j·P_ji, whatever the proposal.
 *
 * Sources: N. Metropolis et al., "Equation of state calculations by fast computing machines" (1953); W. Hastings, "Monte Carlo
 * sampling methods using Markov chains and their applications" (1970), section 2.
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
import { mismatch, refusal, shown } from "../../tensor/check/check.ts";
import { above, callable, decoded, is, needed, type Rules } from "../../tensor/check/decode.ts";
import type { Key } from "../../tensor/key.ts";
import { scope } from "../../tensor/scope.ts";
import type { Tensor } from "../../tensor/tensor.ts";
import type { Chain, ChainEnv, ChainSampler, ChainTransition } from "../chain.ts";
import { noise, sampleKeys } from "../draw.ts";
import {
  acceptance,
  checkWeighed,
  logRatio,
  logUniforms,
  type MoveOptions,
  type MoveState,
  placeOf,
  repeated,
  settled,
  stepRules,
} from "./accept.ts";
import { checkedStart, type Target } from "./target.ts";

/**
 * What a proposal gives.
 *
 * @category Moves
 */
export interface Proposed {
  /** y, shape of x. */
  readonly x: Tensor;
  /** ln q(y | x) of each sample, shape [N]; together with `back`. Default: the proposal is symmetric. */
  readonly forth?: Tensor;
  /** ln q(x | y) of each sample, shape [N]. */
  readonly back?: Tensor;
}

/**
 * What a proposal may draw with.
 *
 * @category Moves
 */
export interface ProposalDraws {
  /** One key for each sample, of which to fold others. */
  readonly keys: () => readonly Key[];
  /** Standard normal noise, shape of x: the run's, where it has some of its own. To be called once. */
  readonly noise: () => Tensor;
}

/**
 * A proposal for samples in a tensor, each by itself.
 *
 * @category Moves
 */
export type Proposal = (x: Tensor, draws: ProposalDraws) => Proposed;

/**
 * The chain of Metropolis and Hastings over samples in a tensor.
 *
 * @category Moves
 * @param target The law, by its energy.
 * @param proposal From x to what is tried, with its log-densities both ways unless it is symmetric.
 * @param options Number of moves.
 * @returns The chain.
 * @throws {TypeError} If the target has no energy, the proposal is no function, or an option is unknown.
 * @throws {RangeError} If an option is out of range; while run, if a shape is wrong or a NaN decides on a move.
 *
 * @example Independent proposals from N(0, 4) for N(0, 1)
 * ```ts
 * import { metropolisHastings, targetOf } from "@tweedie/tweedie/chain";
 * import { key, last, run } from "@tweedie/tweedie";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import * as tf from "@tensorflow/tfjs-core";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const half = (x: tf.Tensor, factor: number) => tf.mul(tf.sum(tf.square(x), 1), factor / 2);
 * const target = targetOf((x) => half(x, 1));
 * const chain = metropolisHastings(target, (x, { noise }) => {
 *   const y = tf.mul(noise(), 2);
 *   return { x: y, forth: half(y, -1 / 4), back: half(x, -1 / 4) };
 * }, { steps: 20 });
 * const { x } = await last(run({ x: tf.zeros([4000, 1]), step: 0 }, { key: key(0) })(chain));
 * assert.ok(Math.abs(tf.mean(tf.square(x)).dataSync()[0]! - 1) < 0.1);
 * ```
 */
export function metropolisHastings(
  target: Target,
  proposal: Proposal,
  options: MoveOptions = {},
): ChainSampler<MoveState, ChainEnv> {
  const action = "make a Metropolis-Hastings chain";
  decoded(action, options, stepRules);
  checkWeighed(action, target);
  if (typeof proposal !== "function") {
    throw mismatch(action, "proposal must be a function", shown(proposal));
  }
  return repeated(proposing(target, proposal, "metropolis"), options, [
    checkedStart(target.energyAt),
  ]);
}

const proposing =
  (target: Target, proposal: Proposal, purpose: string): ChainTransition<MoveState, ChainEnv> =>
  (env) =>
  (state) =>
    scope(function* () {
      const { x, step } = state;
      const here = yield* placeOf(state, target, "energy");
      const said = proposal(x, {
        keys: () => sampleKeys(env, x.shape[0]!, `${purpose} proposal`, step),
        noise: () => noise(env, state, purpose),
      });
      const there = yield* target.energyAt(proposed(said, x));
      const odds = tf.sub(here.energy, there.energy);
      const logA = said.forth ? tf.add(odds, tf.sub(said.back!, said.forth)) : odds;
      const { law } = target;
      return settled(env, state, { here: { x, energy: here.energy }, there, law, logA, purpose });
    });

/** y, if what is said of it is of the right shapes. */
function proposed({ x: y, forth, back }: Proposed, x: Tensor): Tensor {
  const action = "propose a move";
  if (!tf.util.arraysEqual(y.shape, x.shape)) {
    throw refusal(action, `y must be of shape [${x.shape}]`, y.shape);
  }
  if ((forth === undefined) !== (back === undefined)) {
    throw mismatch(action, "forth and back must come together", forth ? "forth" : "back");
  }
  for (const each of [forth, back]) {
    if (each && !tf.util.arraysEqual(each.shape, x.shape.slice(0, 1))) {
      throw refusal(action, `forth and back must be of shape [${x.shape[0]}]`, each.shape);
    }
  }
  return y;
}

/**
 * Options of {@link randomWalk}.
 *
 * @category Moves
 */
export interface RandomWalkOptions extends MoveOptions {
  /** Standard deviation of a proposal in each coordinate, in x's unit; above 0. */
  readonly scale: number;
}

const walkRules: Rules<RandomWalkOptions> = {
  ...stepRules,
  scale: needed(is("a number above 0", above(0))),
};

/**
 * Metropolis' random walk over samples in a tensor: y = x + scale·z, z ~ N(0, I).
 *
 * @category Moves
 * @param target The law, by its energy.
 * @param options The size of its steps, and their number.
 * @returns The chain.
 * @throws {TypeError} If the target has no energy, or an option is unknown.
 * @throws {RangeError} If an option is out of range; while run, if a shape is wrong or a NaN decides on a move.
 *
 * @example
 * ```ts
 * import { randomWalk, targetOf } from "@tweedie/tweedie/chain";
 * import { key, last, run } from "@tweedie/tweedie";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import * as tf from "@tensorflow/tfjs-core";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const target = targetOf((x) => tf.mul(tf.sum(tf.square(x), 1), 0.5));
 * const start = { x: tf.zeros([4000, 1]), step: 0 };
 * const { x } = await last(run(start, { key: key(0) })(randomWalk(target, { scale: 2, steps: 20 })));
 * assert.ok(Math.abs(tf.mean(tf.square(x)).dataSync()[0]! - 1) < 0.1);
 * ```
 */
export function randomWalk(
  target: Target,
  options: RandomWalkOptions,
): ChainSampler<MoveState, ChainEnv> {
  const action = "make a random walk", { scale } = decoded(action, options, walkRules);
  checkWeighed(action, target);
  const walk: Proposal = (x, { noise }) => ({ x: tf.add(x, tf.mul(noise(), scale)) });
  return repeated(proposing(target, walk, "metropolis"), options, [checkedStart(target.energyAt)]);
}

/**
 * A state on the host, with what the last move did.
 *
 * @category Moves
 */
export interface HostMoveState<X> extends Chain {
  /** The state, any plain data. */
  readonly x: X;
  /** What the last move did; none at the start. */
  readonly info?: HostMoveInfo;
}

/**
 * What a tested move on the host has done.
 *
 * @category Moves
 */
export interface HostMoveInfo {
  /** Whether it was taken. */
  readonly accepted: boolean;
  /** The probability that it would be. */
  readonly acceptance: number;
  /** E(x) where the chain stands now, in nats. */
  readonly energy: number;
}

/**
 * A law over plain data, and how to move in it.
 *
 * @category Moves
 */
export interface HostMoves<X> extends MoveOptions {
  /** E(x) up to a constant, in nats; ∞ where p = 0. */
  readonly energy: (x: X) => number;
  /** What is tried from x, a pure function of x and the key: y, with ln q(y | x) and ln q(x | y) unless they are equal. */
  readonly propose: (x: X, key: Key) => HostProposed<X>;
}

/**
 * What is tried on the host.
 *
 * @category Moves
 */
export interface HostProposed<X> {
  /** y. */
  readonly x: X;
  /** ln q(y | x). Default: 0. */
  readonly forth?: number;
  /** ln q(x | y). Default: 0. */
  readonly back?: number;
}

const hostRules: Rules<HostMoves<unknown>> = {
  ...stepRules,
  energy: needed(callable),
  propose: needed(callable),
};

/**
 * The chain of Metropolis and Hastings over plain data of any kind.
 *
 * @category Moves
 * @param moves Energy, proposal, number of moves.
 * @returns The chain. Chains that are to run side by side differ in `first` of their environment.
 * @throws {TypeError} If an option is missing or unknown.
 * @throws {RangeError} If an option is out of range; while run, if the start's energy is not finite or ln a is NaN.
 *
 * @example A coin that is heads twice as often as tails
 * ```ts
 * import { hostMetropolis, type HostMoveState } from "@tweedie/tweedie/chain";
 * import { key, run } from "@tweedie/tweedie";
 * import assert from "node:assert/strict";
 *
 * const chain = hostMetropolis<number>({
 *   energy: (x) => x === 1 ? 0 : Math.LN2,
 *   propose: (x) => ({ x: 1 - x }),
 *   steps: 10_000,
 * });
 * let heads = 0;
 * const start: HostMoveState<number> = { x: 0, step: 0 };
 * for await (const { x } of run(start, { key: key(0) })(chain)) heads += x;
 * assert.ok(Math.abs(heads / 10_001 - 2 / 3) < 0.02);
 * ```
 */
export function hostMetropolis<X>(moves: HostMoves<X>): ChainSampler<HostMoveState<X>, ChainEnv> {
  const { energy, propose } = decoded<HostMoves<X>, HostMoves<X>>(
    "make a Metropolis-Hastings chain",
    moves,
    hostRules,
  );
  const transition: ChainTransition<HostMoveState<X>, ChainEnv> = (env) => ({ x, step }) => {
    const [key] = sampleKeys(env, 1, "metropolis", step), { x: y, ...odds } = propose(x, key!);
    const from = energy(x), to = energy(y), logA = logRatio({ from, to, ...odds });
    if (Number.isNaN(logA)) {
      throw new RangeError(
        `Cannot test a move: energies and log-densities must be numbers, got NaN at step ${step}`,
      );
    }
    const [logU] = logUniforms(sampleKeys(env, 1, "metropolis test", step));
    const accepted = logU! < logA;
    const info = { accepted, acceptance: acceptance(logA), energy: accepted ? to : from };
    return { x: accepted ? y : x, step: step + 1, info };
  };
  return repeated(transition, moves, [(_, { x }) => {
    const value = energy(x);
    if (Number.isFinite(value)) return;
    throw refusal("start a chain of moves", "the energy at x must be finite", value);
  }]);
}

/**
 * The transition matrix of the chain on states that can be counted: an oracle, by the same probabilities that the chains draw by.
 *
 * ```text
 *   P_ij = Q_ij·min(1, e^(E_i − E_j)·Q_ji/Q_ij) for j ≠ i        P_ii = 1 − Σ_(j ≠ i) P_ij
 * ```
 *
 * @category Moves
 * @param energies E of each state, in nats.
 * @param proposal Q, each row a law.
 * @returns P, each row a law.
 * @throws {RangeError} If there is not a row of the proposal for each energy.
 *
 * @example Detailed balance
 * ```ts
 * import { metropolisMatrix } from "@tweedie/tweedie/chain";
 * import assert from "node:assert/strict";
 *
 * assert.deepEqual(metropolisMatrix([0, Math.log(2)], [[0, 1], [1, 0]]), [[0.5, 0.5], [1, 0]]);
 * ```
 */
export function metropolisMatrix(
  energies: readonly number[],
  proposal: readonly (readonly number[])[],
): number[][] {
  const n = energies.length;
  if (proposal.length !== n || proposal.some((row) => row.length !== n)) {
    throw refusal("make a transition matrix", `proposal must be ${n} × ${n}`, proposal);
  }
  return energies.map((from, i) => {
    const row = energies.map((to, j) => {
      const forth = Math.log(proposal[i]![j]!), back = Math.log(proposal[j]![i]!);
      const isTried = j !== i && proposal[i]![j]! > 0;
      return isTried ? Math.exp(forth) * acceptance(logRatio({ from, to, forth, back })) : 0;
    });
    row[i] = 1 - row.reduce((a, b) => a + b, 0);
    return row;
  });
}

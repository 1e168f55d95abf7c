/**
 * The test of Metropolis and Hastings: which moves are taken, so that a law p ∝ e^(−E) is left alone exactly.
 *
 * ```text
 *   ln a = E(x) − E(y) + ln q(x | y) − ln q(y | x)        y is taken with probability min(1, a), else x is repeated
 * ```
 *
 * In lecture notes the exponent is also found as f(x') − f(x'), f = −E, which takes every move and leaves the law of the
 * proposals; and without its second branch, in which the chain stays and x counts once more.
 *
 * A point of infinite energy has p = 0: a move to it is refused, whatever else is said of it. A NaN says nothing: the run stops.
 *
 * Sources: N. Metropolis et al., "Equation of state calculations by fast computing machines" (1953), equation 3; W. Hastings,
 * "Monte Carlo sampling methods using Markov chains and their applications" (1970), section 2.
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
import { atHand } from "../../tensor/check/ready.ts";
import { mismatch } from "../../tensor/check/check.ts";
import { type Rules, wholeNumber } from "../../tensor/check/decode.ts";
import type { Key } from "../../tensor/key.ts";
import { doubles } from "../../tensor/random.ts";
import type { Scoped } from "../../tensor/scope.ts";
import type { Tensor } from "../../tensor/tensor.ts";
import {
  type Chain,
  chain,
  type ChainEnv,
  type ChainSampler,
  type ChainTransition,
} from "../chain.ts";
import { sampleKeys } from "../draw.ts";
import type { Place } from "../langevin.ts";
import type { Known, Target, TensorChain, WeighedPlace } from "./target.ts";

/** Both ends of a move of one chain, with what is known of the proposal: its densities cancel where it is symmetric. */
export interface Move {
  /** E(x), where it starts. */
  readonly from: number;
  /** E(y), where it leads. */
  readonly to: number;
  /** ln q(y | x). Default: 0. */
  readonly forth?: number;
  /** ln q(x | y). Default: 0. */
  readonly back?: number;
}

/**
 * ln a of a move.
 *
 * @param move Energies of both ends, in nats, and the log-densities of the proposal.
 * @returns The logarithm; −∞ where the end has infinite energy.
 */
export const logRatio = ({ from, to, forth = 0, back = 0 }: Move): number =>
  to === Infinity ? -Infinity : from - to + back - forth;

/**
 * The probability that a move is taken, min(1, a).
 *
 * @param logA ln a.
 * @returns The probability.
 */
export const acceptance = (logA: number): number => Math.min(1, Math.exp(logA));

/**
 * The logarithms of uniforms on (0, 1) of 53 bits, one a key. None is −∞, which would take any move.
 *
 * @param keys One a chain.
 * @returns One a key.
 */
export const logUniforms = (keys: readonly Key[]): Float64Array =>
  Float64Array.from(keys, (key) => Math.log(doubles(key, 1)[0]! + 2 ** -54));

/**
 * What a tested move has done.
 *
 * @category Moves
 */
export interface MoveInfo {
  /** Whether each chain's move was taken, bool, shape [N]. */
  readonly accepted: Tensor;
  /** The probability that it would be, shape [N]. */
  readonly acceptance: Tensor;
  /** E(x) where each chain stands now, in nats, shape [N]. */
  readonly energy: Tensor;
  /** Whether each chain's path was lost on its way, bool, shape [N]; it has then stayed. Of Hamiltonian moves alone. */
  readonly divergent?: Tensor;
}

/** Both ends of the moves of a batch. */
export interface Ends<P extends Place> {
  readonly here: P;
  readonly there: P;
  /** ln a of each chain, shape [N]. */
  readonly logA: Tensor;
  /** ln u of each chain, shape [N]. */
  readonly logU: Tensor;
}

/** Where a batch stands after the test. */
export interface Tested<P extends Place> {
  readonly place: P;
  readonly accepted: Tensor;
}

/**
 * The test for a batch: of each sample the end of its move where that is taken, elsewhere its start.
 *
 * @param ends Both ends, with ln a and ln u.
 * @returns The places; NaN throughout where ln a is NaN, so that the run stops.
 */
export function tested<P extends Place>({ here, there, logA, logU }: Ends<P>): Tested<P> {
  const accepted = tf.less(logU, logA);
  const wide = tf.reshape(accepted, [-1, ...here.x.shape.slice(1).fill(1)]);
  const choice = (a: Tensor, b: Tensor): Tensor =>
    tf.where(a.rank === 1 ? accepted : tf.broadcastTo(wide, a.shape), a, b);
  // A comparison with NaN is false: the point would stay for ever, as if it had been refused each time.
  const lost = tf.where(tf.isNaN(logA), tf.fill(logA.shape, NaN), tf.zerosLike(logA));
  const place = Object.fromEntries(
    Object.entries(here).filter(([, value]) => value instanceof tf.Tensor).map((
      [name, value],
    ) => [name, choice(there[name as keyof P] as Tensor, value)]),
  ) as unknown as P;
  return { place: { ...place, x: tf.add(place.x, tf.reshape(lost, wide.shape)) }, accepted };
}

/** ln a, but −∞ where the end has infinite energy. */
const refusedAtInfinity = (logA: Tensor, energy: Tensor): Tensor =>
  tf.where(tf.equal(energy, Infinity), tf.fill(logA.shape, -Infinity), logA);

/** Stops where a NaN decides on a move, if that can be seen without waiting; elsewhere the run stops at the NaN in x. */
export function checkTest(logA: Tensor, step: number): void {
  const values = atHand(logA) ?? [], bad = Array.prototype.findIndex.call(values, Number.isNaN);
  if (bad >= 0) {
    throw new RangeError(
      `Cannot test a move: energy and score must be numbers, got NaN for sample ${bad} at step ${step}`,
    );
  }
}

/** What a test of a move needs besides its ends. */
export interface Trial<P extends Place> extends Omit<Ends<P>, "logU"> {
  /** The law that it is for. */
  readonly law: symbol;
  /** What its noise was drawn for. */
  readonly purpose: string;
  /** Whether each path was lost on its way, bool, shape [N]: such a move is not taken. Default: none can be. */
  readonly divergent?: Tensor;
}

/**
 * The state after the test.
 *
 * @param env The environment.
 * @param state The state before.
 * @param trial Both ends, ln a, and what was lost.
 * @returns The state.
 * @throws {RangeError} If a NaN decides on a move.
 */
export function settled<P extends WeighedPlace>(
  env: ChainEnv,
  state: MoveState,
  { here, there, law, logA: ratio, purpose, divergent }: Trial<P>,
): MoveState {
  const no = tf.fill(ratio.shape, -Infinity), possible = refusedAtInfinity(ratio, there.energy);
  const logA = divergent ? tf.where(divergent, no, possible) : possible;
  checkTest(logA, state.step);
  const { place, accepted } = tested({ here, there, logA, logU: testDraws(env, state, purpose) });
  const info: MoveInfo = {
    accepted,
    acceptance: tf.minimum(tf.exp(logA), 1),
    energy: place.energy,
    ...(divergent && { divergent }),
  };
  return { ...state, x: place.x, step: state.step + 1, place: { ...place, law }, info };
}

/**
 * Where chains of moves over tensors stand.
 *
 * @category Moves
 */
export interface MoveState extends TensorChain {
  /** What the last move did; none at the start. */
  readonly info?: MoveInfo;
  /** What is known at x, so that the next move need not ask again. It counts while its x is the state's own, and its law the target's. */
  readonly place?: Place & { readonly law: symbol };
}

/**
 * How long a chain goes on.
 *
 * @category Moves
 */
export interface MoveOptions {
  /** Number of moves. Default: for ever. */
  readonly steps?: number;
}

/** How a chain is told how long it is. */
export const stepRules: Rules<MoveOptions> = { steps: wholeNumber(0) };

/**
 * The same transition again and again.
 *
 * @param transition The transition.
 * @param steps How often. Default: for ever.
 * @param checks What has to hold before the first step.
 * @returns The chain.
 */
export const repeated = <S extends Chain>(
  transition: ChainTransition<S, ChainEnv>,
  { steps = Infinity }: MoveOptions,
  checks: NonNullable<ChainSampler<S, ChainEnv>["checks"]>,
): ChainSampler<S, ChainEnv> =>
  chain<S>(function* () {
    for (let i = 0; i < steps; i++) yield transition;
  }, { checks });

/** What is known where a chain stands, energy alone or all: said before by the same target, or asked now. */
export function* placeOf<K extends "energy" | "score">(
  { x, place }: MoveState,
  target: Target,
  what: K,
): Scoped<What[K]> {
  const isKnown = place?.x === x && place.law === target.law && place[what] !== undefined;
  if (isKnown) return { ...place } as What[K];
  return (what === "score" ? yield* target.pointAt(x) : yield* target.energyAt(x)) as What[K];
}

/** What is asked of a target: an energy; or a score, which comes with it. */
interface What {
  readonly energy: WeighedPlace;
  readonly score: Known;
}

/** ln u for the test of a step, one a sample, shape [N]. */
const testDraws = (env: ChainEnv, { x, step }: TensorChain, purpose: string): Tensor =>
  tf.tensor1d(
    Float32Array.from(logUniforms(sampleKeys(env, x.shape[0]!, `${purpose} test`, step))),
  );

/** Throws unless a target can be tested by. */
export function checkWeighed(action: string, { hasEnergy }: Target): void {
  if (!hasEnergy) throw mismatch(action, "the target must have an energy", "a score alone");
}

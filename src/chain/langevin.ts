/**
 * Langevin's chain: moves that leave a law alone up to their size, by its score alone; or exactly, by its energy as well, with
 * the test of Metropolis and Hastings.
 *
 * ```text
 *   y = x + eps·s(x) + √(2·eps)·z      z ~ N(0, I)      s = ∇ ln p = −∇E
 *   ln a = E(x) − E(y) + (‖z‖² − ‖z + √(eps/2)·(s(x) + s(y))‖²)/2      y is taken with probability min(1, a)
 * ```
 *
 * Texts that write x + (a/2)·s + √a·z have a = 2·eps. The second line is ln p(y)·q(x | y) − ln p(x)·q(y | x) for the law q of
 * the first: the way back needs the noise z + √(eps/2)·(s(x) + s(y)), but for its sign.
 *
 * Source: G. Roberts, R. Tweedie, "Exponential convergence of Langevin distributions and their discrete approximations"
 * (1996), section 1.4.
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
import { folded, type Scoped } from "../tensor/scope.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { tested } from "./move/accept.ts";

/** Where a chain stands. A score that is known already spares its evaluation. */
export interface Place {
  /** Samples, shape [N, ...sample]. */
  readonly x: Tensor;
  /** s(x), shape of x. */
  readonly score?: Tensor;
  /** E(x) of each sample up to a constant, in nats, shape [N]. */
  readonly energy?: Tensor;
}

/** A place whose score is known. */
export type Point = Place & Required<Pick<Place, "score">>;

/** The moves of a chain. Its functions are called within a scope. */
export interface Moves {
  /** Their number. */
  readonly steps: number;
  /** The score at x; with it, where moves are tested, the energy. A part of work, which may wait. */
  readonly at: (x: Tensor) => Scoped<Point>;
  /**
   * The size of a move, in the square of x's unit: one number, or one for each sample in a tensor of shape [N, 1, ...]. Where
   * moves are tested it must not depend on the point, or on its noise: the test takes the way back to be of the same size.
   */
  readonly eps: (here: Point, z: Tensor) => number | Tensor;
  /** The noise of move i: standard normal, shape of x. */
  readonly z: (i: number) => Tensor;
  /** What decides on move i: uniform on (0, 1), shape [N]. Default: moves are not tested. */
  readonly u?: (i: number) => Tensor;
}

/**
 * Goes along a chain. Without a test each move evaluates one point, that which it starts from; with it, the one that it leads
 * to, and the first move the start as well, unless that is known.
 *
 * @param start Where to start; its tensors stay whose they are.
 * @param moves How to move.
 * @returns The last place, with what is known there; a part of work, called by `yield*`.
 * @throws {TypeError} If a move is tested at a point without an energy.
 *
 * @example Twenty thousand draws of N(0, 1), from its energy
 * ```ts
 * import { langevinChain } from "./langevin.ts";
 * import { scope } from "../tensor/scope.ts";
 * import { fold, key } from "../tensor/key.ts";
 * import { normal, uniform } from "../tensor/random.ts";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import * as tf from "@tensorflow/tfjs-core";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const { x } = await scope(() => langevinChain({ x: tf.zeros([20_000, 1]) }, {
 *   steps: 10,
 *   *at(x) {
 *     return { x, score: tf.neg(x), energy: tf.mul(tf.sum(tf.square(x), 1), 0.5) };
 *   },
 *   eps: () => 1,
 *   z: (i) => normal(fold(key(0), i), [20_000, 1]),
 *   u: (i) => uniform(fold(key(1), i), [20_000]),
 * }));
 * const variance = tf.mean(tf.square(x)).dataSync()[0]!;
 * assert.ok(Math.abs(variance - 1) < 0.05);
 * ```
 */
export function* langevinChain(start: Place, { steps, at, eps: size, z: noise, u }: Moves): Scoped<
  Place
> {
  return yield* folded(start, steps, function* (from, i) {
    const here = isPoint(from) ? from : yield* at(from.x);
    const z = noise(i), eps = size(here, z);
    const y = langevinEnd(here, { z, eps });
    if (u === undefined) return { x: y };
    const there = yield* at(y), logA = logAcceptance(here, there, { z, eps });
    return tested({ here, there, logA, logU: tf.log(u(i)) }).place;
  });
}

const isPoint = (place: Place): place is Point => place.score !== undefined;

/** A move's noise and size. */
export interface LangevinMove {
  /** Standard normal, shape of x. */
  readonly z: Tensor;
  /** eps, one number or one for each sample. */
  readonly eps: number | Tensor;
}

/**
 * Where a move leads: x + eps·s(x) + √(2·eps)·z.
 *
 * @param here Where it starts.
 * @param move Its noise and size.
 * @returns y, shape of x.
 */
export const langevinEnd = ({ x, score }: Point, { z, eps }: LangevinMove): Tensor =>
  tf.addN([x, tf.mul(score, eps), tf.mul(z, tf.sqrt(tf.mul(eps, 2)))]);

/**
 * ln a = E(x) − E(y) + (‖z‖² − ‖z + √(eps/2)·(s(x) + s(y))‖²)/2 of each sample.
 *
 * @param here Where the move starts.
 * @param there Where it leads.
 * @param move Its noise and size.
 * @returns The logarithms, shape [N].
 * @throws {TypeError} If a point has no energy.
 */
export function logAcceptance(here: Point, there: Point, { z, eps }: LangevinMove): Tensor {
  if (here.energy === undefined || there.energy === undefined) {
    throw new TypeError("Cannot test a move: a point must have an energy, got none");
  }
  const root = typeof eps === "number" ? Math.sqrt(eps / 2) : tf.sqrt(tf.div(eps, 2));
  const back = tf.add(z, tf.mul(tf.add(here.score, there.score), root));
  const ratio = tf.mul(tf.sub(squares(z), squares(back)), 0.5);
  return tf.add(tf.sub(here.energy, there.energy), ratio);
}

/** ‖x‖² of each sample, shape [N]. */
export const squares = (x: Tensor): Tensor =>
  tf.sum(tf.square(x), x.shape.map((_, i) => i).slice(1));

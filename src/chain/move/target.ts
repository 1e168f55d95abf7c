/**
 * What a chain is to draw from: a law p ∝ e^(−beta·E(x)), known by its energy, with a gradient that is given or found, or by its
 * score alone.
 *
 * ```text
 *   E_beta = beta·E        s = ∇ ln p = −beta·∇E
 * ```
 *
 * Energies are in nats and of each sample by itself: the gradient of their sum over a batch is then that of each.
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
import { mismatch, refusal, shown } from "../../tensor/check/check.ts";
import { atLeast, callable, decoded, is, type Rules } from "../../tensor/check/decode.ts";
import { type Awaitable, awaited, owned, scope, type Scoped } from "../../tensor/scope.ts";
import type { Tensor } from "../../tensor/tensor.ts";
import type { Chain, ChainCheck, ChainEnv } from "../chain.ts";
import type { Place, Point } from "../langevin.ts";
import "../../tensor/autodiff.ts";

/**
 * What is known of a law. Either an energy or a score has to be there.
 *
 * @category Moves
 */
export interface LawParts {
  /** E(x) of each sample up to a constant, in nats: from [N, ...sample] to [N]. */
  readonly energy?: (x: Tensor) => Awaitable<Tensor>;
  /** ∇E(x), shape of x. Default: found by differentiating the energy, which must then answer at once. */
  readonly gradient?: (x: Tensor) => Awaitable<Tensor>;
  /** ∇ ln p(x), shape of x, of a law whose energy is not known. */
  readonly score?: (x: Tensor) => Awaitable<Tensor>;
}

/**
 * How cold a law is taken.
 *
 * @category Moves
 */
export interface TargetOptions {
  /** The inverse temperature beta, at least 0. Default: 1. */
  readonly beta?: number;
}

/**
 * A law that moves can be made for. Its functions are parts of work, called by `yield*`.
 *
 * @category Moves
 */
export interface Target {
  /** Tells it from all others, so that what one says of x is not taken for what another does. */
  readonly law: symbol;
  /** Whether its energy is known. */
  readonly hasEnergy: boolean;
  /** x with beta·E(x). */
  readonly energyAt: (x: Tensor) => Scoped<WeighedPlace>;
  /** x with its score, and with beta·E(x) where that is known. */
  readonly pointAt: (x: Tensor) => Scoped<Point>;
}

/**
 * A place whose energy is known.
 *
 * @category Moves
 */
export type WeighedPlace = Place & Required<Pick<Place, "energy">>;

/** A place of which all is known. */
export type Known = Required<Place>;

const partRules: Rules<LawParts> = { energy: callable, gradient: callable, score: callable };

const optionRules: Rules<TargetOptions> = { beta: is("a number of at least 0", atLeast(0)) };

/** What is refused here. */
const action = "make a target";

/**
 * A law from what is known of it.
 *
 * @category Moves
 * @param of An energy, in operations that have a gradient; or an energy with its gradient; or a score.
 * @param options The inverse temperature.
 * @returns The law.
 * @throws {TypeError} If there is neither an energy nor a score, both, a gradient without an energy, or an unknown option.
 * @throws {RangeError} If beta is out of range; when it is asked, if what it gives is not of the right shape.
 *
 * @example
 * ```ts
 * import { targetOf } from "@tweedie/tweedie/chain";
 * import { scope } from "@tweedie/tweedie";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import * as tf from "@tensorflow/tfjs-core";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const law = targetOf((x) => tf.mul(tf.sum(tf.square(x), 1), 0.5), { beta: 2 });
 * const { energy, score } = await scope(() => law.pointAt(tf.tensor([[3], [1]])));
 * assert.deepEqual([...energy!.dataSync()], [9, 1]);
 * assert.deepEqual(score.arraySync(), [[-6], [-2]]);
 * ```
 */
export function targetOf(
  of: LawParts | ((x: Tensor) => Tensor),
  options: TargetOptions = {},
): Target {
  const parts = typeof of === "function" ? { energy: of } : decoded(action, of, partRules);
  const { beta = 1 } = decoded(action, options, optionRules), { energy, gradient, score } = parts;
  if ((energy === undefined) === (score === undefined)) {
    throw mismatch(action, "there must be an energy or a score", energy ? "both" : "neither");
  }
  if (gradient && !energy) throw mismatch(action, "a gradient must have an energy", "none");
  const energyAt = energy && energyOf(energy);
  return cooled({
    law: Symbol("law"),
    hasEnergy: energy !== undefined,
    energyAt: energyAt ?? unweighed,
    pointAt: score
      ? scoreOf(score)
      : gradient
      ? bothOf(energyAt!, scoreOf(gradient))
      : differentiated(energy as (x: Tensor) => Tensor),
  }, beta);
}

// deno-lint-ignore require-yield
function* unweighed(): Scoped<never> {
  throw new TypeError("Cannot test a move: the target must have an energy, got a score alone");
}

const energyOf = (energy: (x: Tensor) => Awaitable<Tensor>) =>
  function* (x: Tensor): Scoped<WeighedPlace> {
    return { x, energy: shaped("energy", yield* owned(energy(x)), x) };
  };

const scoreOf = (field: (x: Tensor) => Awaitable<Tensor>) =>
  function* (x: Tensor): Scoped<Point> {
    return { x, score: shaped("score", yield* owned(field(x)), x) };
  };

const bothOf = (energyAt: Target["energyAt"], gradientAt: Target["pointAt"]) =>
  function* (x: Tensor): Scoped<Known> {
    const { score: gradient } = yield* gradientAt(x);
    return { ...yield* energyAt(x), score: tf.neg(gradient) };
  };

const differentiated = (energy: (x: Tensor) => Tensor) =>
  // deno-lint-ignore require-yield
  function* (x: Tensor): Scoped<Known> {
    const one = tf.ones([x.shape[0]!]);
    const { value, grad } = tf.valueAndGrad((y: Tensor) => shaped("energy", energy(y), y))(x, one);
    return { x, energy: value, score: tf.neg(grad) };
  };

/** What a law says of x, if it is of the right shape. */
function shaped(name: "energy" | "score", value: Tensor, { shape }: Tensor): Tensor {
  const wanted = name === "energy" ? shape.slice(0, 1) : shape;
  if (!(value instanceof tf.Tensor)) {
    throw mismatch("ask a target", `its ${name} must be a tensor`, shown(value));
  }
  if (tf.util.arraysEqual(value.shape, wanted)) return value;
  throw new RangeError(
    `Cannot ask a target: its ${name} must be of shape [${wanted}] for x of shape [${shape}], got [${value.shape}]`,
  );
}

/**
 * The same law at another inverse temperature.
 *
 * @param target The law.
 * @param beta What multiplies its energy, at least 0.
 * @returns The law.
 */
export function cooled(target: Target, beta: number): Target {
  if (beta === 1) return target;
  const scaled = <P extends Place>(place: P): P => ({
    ...place,
    ...(place.energy && { energy: tf.mul(place.energy, beta) }),
    ...(place.score && { score: tf.mul(place.score, beta) }),
  });
  return {
    law: Symbol("law"),
    hasEnergy: target.hasEnergy,
    *energyAt(x) {
      return scaled(yield* target.energyAt(x));
    },
    *pointAt(x) {
      return scaled(yield* target.pointAt(x));
    },
  };
}

/**
 * A chain over samples in a tensor.
 *
 * @category Moves
 */
export type TensorChain = Chain & { readonly x: Tensor };

/**
 * The check that a chain of moves can start where it is told to.
 *
 * @param at What is asked of the law at each move.
 * @returns The check: x must be samples, and what is said of each of them finite.
 */
export const checkedStart =
  (at: (x: Tensor) => Scoped<Place>): ChainCheck<TensorChain, ChainEnv> => async (_, { x }) => {
    const start = "start a chain of moves";
    if (!(x instanceof tf.Tensor) || x.dtype !== "float32" || x.rank === 0) {
      const got = x instanceof tf.Tensor ? `${x.dtype} of shape [${x.shape}]` : shown(x);
      throw mismatch(start, "x must be a float32 tensor of shape [N, ...sample]", got);
    }
    await scope(function* () {
      const { energy, score } = yield* at(x);
      for (const [name, tensor] of Object.entries({ energy, score })) {
        if (tensor === undefined) continue;
        const values = yield* awaited(tensor.data()), bad = values.findIndex((v) => v - v !== 0);
        if (bad >= 0) throw refusal(start, `the ${name} at x must be finite`, values[bad]);
      }
    });
  };

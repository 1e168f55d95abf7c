/**
 * Langevin's chain as moves: unadjusted, tested, or without its noise, in the three ways in which it is printed.
 *
 * ```text
 *   A   y = x + eps·s + √(2·eps)·z              B   y = x + (a/2)·s + √a·z              C   y = x − eta·∇U + √(2·eta/beta)·z
 * ```
 *
 * They are one: B is A at eps = a/2; C is A at eps = eta/beta, on the energy beta·U. The unadjusted chain keeps another law than p:
 * of N(0, s²) it makes the variance s²/(1 − eps/(2·s²)), and none at eps ≥ 2·s². The test takes that away. Without noise it is
 * the descent of the energy to a mode.
 *
 * Sources: G. Roberts, R. Tweedie, "Exponential convergence of Langevin distributions and their discrete approximations" (1996),
 * sections 1.3 and 1.4.
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
import {
  above,
  boolean,
  decoded,
  is,
  needed,
  oneOf,
  type Rules,
} from "../../tensor/check/decode.ts";
import { mismatch } from "../../tensor/check/check.ts";
import { scope } from "../../tensor/scope.ts";
import type { ChainEnv, ChainSampler } from "../chain.ts";
import { noise } from "../draw.ts";
import { langevinEnd, logAcceptance } from "../langevin.ts";
import {
  checkWeighed,
  type MoveOptions,
  type MoveState,
  placeOf,
  repeated,
  settled,
  stepRules,
} from "./accept.ts";
import { checkedStart, cooled, type Known, type Target } from "./target.ts";

/**
 * What is called the size of a step; see the top of the file.
 *
 * @category Moves
 */
export type LangevinConvention = "A" | "B" | "C";

/**
 * Options of {@link mala}.
 *
 * @category Moves
 */
export interface MalaOptions extends MoveOptions {
  /** The size of a step in its convention, in the square of x's unit; above 0. */
  readonly stepSize: number;
  /** What it is the size of. Default: `"A"`, eps. */
  readonly convention?: LangevinConvention;
  /** The inverse temperature, in convention C alone; above 0. Default: 1. */
  readonly beta?: number;
}

/**
 * Options of {@link ula}.
 *
 * @category Moves
 */
export interface UlaOptions extends MalaOptions {
  /** Whether noise is added; without it the energy is descended. Default: true. */
  readonly noise?: boolean;
}

const positive = is("a number above 0", above(0));

const malaRules: Rules<MalaOptions> = {
  ...stepRules,
  stepSize: needed(positive),
  convention: oneOf("A", "B", "C"),
  beta: positive,
};

const ulaRules: Rules<UlaOptions> = { ...malaRules, noise: boolean };

/** The step of convention A, and the law that it is for. */
interface Langevin {
  readonly eps: number;
  readonly law: Target;
}

/** Any convention, as A. */
function asA(action: string, target: Target, options: MalaOptions): Langevin {
  const { stepSize, convention = "A", beta } = options;
  if (beta !== undefined && convention !== "C") {
    throw mismatch(action, "beta must be left out in conventions A and B", `${beta}`);
  }
  switch (convention) {
    case "A":
      return { eps: stepSize, law: target };
    case "B":
      return { eps: stepSize / 2, law: target };
    case "C":
      return { eps: stepSize / (beta ?? 1), law: cooled(target, beta ?? 1) };
  }
}

/**
 * Langevin's chain without a test, for a law whose score is known.
 *
 * @category Moves
 * @param target The law.
 * @param options The size of a step, what it is the size of, whether there is noise.
 * @returns The chain.
 * @throws {TypeError} If an option is unknown, or beta is given without convention C.
 * @throws {RangeError} If an option is out of range; while run, if a shape is wrong.
 *
 * @example The variance that it keeps of N(0, 1) at eps = 1 is 2
 * ```ts
 * import { targetOf, ula } from "@tweedie/tweedie/chain";
 * import { key, last, run } from "@tweedie/tweedie";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import * as tf from "@tensorflow/tfjs-core";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const chain = ula(targetOf({ score: tf.neg }), { stepSize: 1, steps: 20 });
 * const { x } = await last(run({ x: tf.zeros([4000, 1]), step: 0 }, { key: key(0) })(chain));
 * assert.ok(Math.abs(tf.mean(tf.square(x)).dataSync()[0]! - 2) < 0.2);
 * ```
 */
export function ula(target: Target, options: UlaOptions): ChainSampler<MoveState, ChainEnv> {
  const action = "make a Langevin chain",
    { noise: isNoisy = true } = decoded(action, options, ulaRules);
  const { eps, law } = asA(action, target, options);
  return repeated<MoveState>(
    (env) => (state) =>
      scope(function* () {
        const here = yield* law.pointAt(state.x);
        const y = isNoisy
          ? langevinEnd(here, { z: noise(env, state, "langevin"), eps })
          : tf.add(state.x, tf.mul(here.score, eps));
        return { x: y, step: state.step + 1 };
      }),
    options,
    [checkedStart(law.pointAt)],
  );
}

/**
 * Langevin's chain with the test of Metropolis and Hastings, which leaves the law alone exactly.
 *
 * @category Moves
 * @param target The law, by its energy.
 * @param options The size of a step, and what it is the size of.
 * @returns The chain.
 * @throws {TypeError} If the target has no energy, an option is unknown, or beta is given without convention C.
 * @throws {RangeError} If an option is out of range; while run, if a shape is wrong or a NaN decides on a move.
 *
 * @example The variance that it keeps of N(0, 1) is 1
 * ```ts
 * import { mala, targetOf } from "@tweedie/tweedie/chain";
 * import { key, last, run } from "@tweedie/tweedie";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import * as tf from "@tensorflow/tfjs-core";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const target = targetOf((x) => tf.mul(tf.sum(tf.square(x), 1), 0.5));
 * const start = { x: tf.zeros([4000, 1]), step: 0 };
 * const { x } = await last(run(start, { key: key(0) })(mala(target, { stepSize: 1, steps: 20 })));
 * assert.ok(Math.abs(tf.mean(tf.square(x)).dataSync()[0]! - 1) < 0.1);
 * ```
 */
export function mala(target: Target, options: MalaOptions): ChainSampler<MoveState, ChainEnv> {
  const action = "make a tested Langevin chain";
  const { eps, law } = asA(action, target, decoded(action, options, malaRules));
  checkWeighed(action, target);
  const pointAt = law.pointAt as (x: Known["x"]) => Generator<Promise<unknown>, Known, unknown>;
  return repeated<MoveState>(
    (env) => (state) =>
      scope(function* () {
        const z = noise(env, state, "langevin");
        const here = yield* placeOf(state, law, "score");
        const there = yield* pointAt(langevinEnd(here, { z, eps }));
        const logA = logAcceptance(here, there, { z, eps });
        return settled(env, state, {
          here,
          there,
          law: law.law,
          logA,
          purpose: "langevin",
        });
      }),
    options,
    [checkedStart(law.pointAt)],
  );
}

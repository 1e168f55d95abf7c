/**
 * Gibbs' chain over states of any kind: one block of them after another is drawn from its law given all others.
 *
 * ```text
 *   systematic   P = P_1·P_2 ⋯ P_B, all blocks in order in a step        random   P = Σ_b P_b/B, one block in a step
 * ```
 *
 * Blocks that do not meet, such as one colour of a chequerboard, are drawn at once in one update. Each P_b is in detailed balance with
 * the law; their sum is too, their product is not, but leaves the law alone.
 *
 * Source: S. Geman, D. Geman, "Stochastic relaxation, Gibbs distributions, and the Bayesian restoration of images" (1984),
 * section XI.
 *
 * @module
 */

import { mismatch, shown } from "../../tensor/check/check.ts";
import { decoded, oneOf, type Rules } from "../../tensor/check/decode.ts";
import { fold, type Key } from "../../tensor/key.ts";
import { uniforms } from "../../tensor/random.ts";
import { owned, scope, type Scoped } from "../../tensor/scope.ts";
import type { Awaitable } from "../../tensor/scope.ts";
import type { Chain, ChainEnv, ChainSampler, ChainTransition } from "../chain.ts";
import { sampleKeys } from "../draw.ts";
import { type MoveOptions, repeated, stepRules } from "./accept.ts";

/**
 * What an update of a block may draw with.
 *
 * @category Moves
 */
export interface BlockDraws {
  /** The key of the update, for a state that is one chain. */
  readonly key: Key;
  /** Keys for a batch of chains, one each; the first is `key`. */
  readonly keys: (count: number) => readonly Key[];
}

/**
 * Draws a block anew, given all others: a pure function that leaves x alone and returns another.
 *
 * @category Moves
 */
export type BlockUpdate<X> = (x: X, draws: BlockDraws) => Awaitable<X>;

/**
 * Options of {@link blockGibbs}.
 *
 * @category Moves
 */
export interface BlockGibbsOptions extends MoveOptions {
  /** All blocks in order in a step, or one by chance, the same for all chains of the run. Default: `"systematic"`. */
  readonly scan?: "systematic" | "random";
}

const rules: Rules<BlockGibbsOptions> = { ...stepRules, scan: oneOf("systematic", "random") };

/**
 * Gibbs' chain.
 *
 * @category Moves
 * @param blocks The updates, one a block; at least one.
 * @param options The order of the blocks, and the number of steps.
 * @returns The chain.
 * @throws {TypeError} If there is no block, one is no function, or an option is unknown.
 * @throws {RangeError} If an option is out of range.
 *
 * @example Two normal coordinates of correlation 0.8
 * ```ts
 * import { blockGibbs, type BlockUpdate } from "@tweedie/tweedie/chain";
 * import { key, run } from "@tweedie/tweedie";
 * import { normals } from "@tweedie/tweedie/tensor";
 * import assert from "node:assert/strict";
 *
 * const given = (other: number, z: number) => 0.8 * other + 0.6 * z;
 * const blocks: BlockUpdate<readonly number[]>[] = [
 *   ([, b], { key }) => [given(b!, normals(key, 1)[0]!), b!],
 *   ([a], { key }) => [a!, given(a!, normals(key, 1)[0]!)],
 * ];
 * let sum = 0;
 * const start = { x: [0, 0] as readonly number[], step: 0 };
 * for await (const { x: [a, b] } of run(start, { key: key(0) })(blockGibbs(blocks, { steps: 5000 }))) {
 *   sum += a! * b!;
 * }
 * assert.ok(Math.abs(sum / 5000 - 0.8) < 0.1);
 * ```
 */
export function blockGibbs<X, S extends Chain & { readonly x: X } = Chain & { readonly x: X }>(
  blocks: readonly BlockUpdate<X>[],
  options: BlockGibbsOptions = {},
): ChainSampler<S, ChainEnv> {
  const action = "make a Gibbs chain", { scan = "systematic" } = decoded(action, options, rules);
  const isList = Array.isArray(blocks) && blocks.length > 0;
  if (!isList || blocks.some((block) => typeof block !== "function")) {
    throw mismatch(action, "blocks must be a list of functions, at least one", shown(blocks));
  }
  const transition: ChainTransition<S, ChainEnv> = (env) => (state) =>
    scope(function* () {
      const { step } = state, all = [...blocks.keys()];
      const chosen = scan === "random" ? [picked(env, step, blocks.length)] : all;
      let x: X = state.x;
      for (const b of chosen) x = yield* updated(blocks[b]!, x, drawsOf(env, b, step));
      return { ...state, x, step: step + 1 };
    });
  return repeated(transition, options, []);
}

function* updated<X>(block: BlockUpdate<X>, x: X, draws: BlockDraws): Scoped<X> {
  return yield* owned(block(x, draws), x);
}

/** The block of a step: by the run's key alone, so that it does not depend on the batch. */
function picked({ key }: ChainEnv, step: number, count: number): number {
  const [u] = uniforms(fold(fold(key, "block"), step), 1);
  return Math.floor(u! * count);
}

const drawsOf = (env: ChainEnv, block: number, step: number): BlockDraws => {
  const keys = (count: number): Key[] => sampleKeys(env, count, `block ${block}`, step);
  return { key: keys(1)[0]!, keys };
};

/**
 * What the tests of moves share: laws with known moments, chains run to their end, and z.
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
import { type Chain, type ChainEnv, fold, key, last, run } from "../../../mod.ts";
import type { ChainSampler } from "../../../src/chain/chain.ts";
import { type Target, targetOf } from "../../../src/chain/move/target.ts";
import { normal, uniforms } from "../../../src/tensor/mod.ts";
import { sampleAxes } from "../../../src/tensor/tensor.ts";
import type { Tensor } from "../../../src/tensor/tensor.ts";

/** Σ x²/2 of each sample. */
export const halfSquares = (x: Tensor): Tensor => tf.mul(tf.sum(tf.square(x), sampleAxes(x)), 0.5);

/** N(0, I). */
export const unit = (): Target => targetOf(halfSquares);

/** Two modes on a line, 3/10 at −1.5 and 7/10 at 1.5, each of variance 1/4. */
export const twoModes = (): Target =>
  targetOf((x) => {
    const at = (mean: number, weight: number) =>
      tf.add(tf.mul(tf.square(tf.sub(x, mean)), -2), Math.log(weight));
    return tf.neg(tf.sum(tf.logSumExp(tf.stack([at(-1.5, 0.3), at(1.5, 0.7)]), 0), 1));
  });

/** Mean and mean square of it. */
export const twoMoments = { mean: 0.6, square: 2.5 } as const;

/** Exact draws of it, shape [count, 1]. */
export function fromTwoModes(seed: number, count: number): Tensor {
  const picks = uniforms(fold(key(seed), "mode"), count);
  const means = tf.tensor2d(Float32Array.from(picks, (u) => u < 0.3 ? -1.5 : 1.5), [count, 1]);
  return tf.add(means, tf.mul(normal(fold(key(seed), "point"), [count, 1]), 0.5));
}

/** The last state of a chain. */
export const ended = <S extends Chain>(
  start: NoInfer<S>,
  chain: ChainSampler<S, ChainEnv>,
  seed = 1,
  env: Partial<ChainEnv> = {},
): Promise<S> =>
  last(run(start as never, { key: key(seed), ...env } as never)(chain as never)) as Promise<S>;

/** z of the mean of independent numbers against what it should be. */
export function zOf(values: ArrayLike<number>, wanted: number): number {
  const n = values.length, all = Array.from(values);
  const mean = all.reduce((a, b) => a + b, 0) / n;
  const spread = all.reduce((sum, v) => sum + (v - mean) ** 2, 0) / (n - 1);
  return (mean - wanted) / Math.sqrt(spread / n);
}

/** Numbers with a function of each. */
export const numbers = (x: Tensor, f: (value: number) => number = (v) => v): number[] =>
  Array.from(x.dataSync(), f);

const square = (v: number): number => v * v;

/** z of the mean square. */
export const zOfSquares = (x: Tensor, wanted: number): number => zOf(numbers(x, square), wanted);

/** Where a chain was, and where it went. */
export type Step = readonly [from: number, to: number];

/** The steps of a path. */
export const stepsOf = (states: readonly number[]): Step[] =>
  states.slice(1).map((to, k) => [states[k]!, to]);

/** The greatest |z| of steps counted against their probabilities, where at least 20 are awaited or 10 seen. */
export function zOfSteps(steps: readonly Step[], matrix: readonly (readonly number[])[]): number {
  const n = matrix.length, counts = Array.from({ length: n }, () => new Float64Array(n));
  for (const [from, to] of steps) counts[from]![to]!++;
  const scores = counts.flatMap((row, i) => {
    const all = row.reduce((a, b) => a + b, 0);
    return Array.from(row, (seen, j) => {
      const p = matrix[i]![j]!, awaited = all * p;
      if (awaited < 20 && seen < 10) return 0;
      return Math.abs(seen - awaited) / Math.sqrt(Math.max(awaited * (1 - p), 1e-9));
    });
  });
  return Math.max(...scores);
}

/** The same of a path. */
export const zOfTransitions = (
  states: readonly number[],
  matrix: readonly (readonly number[])[],
): number => zOfSteps(stepsOf(states), matrix);

/**
 * Brownian motion that can be looked at again, more finely.
 *
 * A path W on [0, T] is a pure function of its key, by Lévy's construction: W(0) = 0, W(T) ~ N(0, T), and the middle
 * of each halved interval [a, b] is a Brownian bridge,
 *
 * ```text
 *   W((a + b)/2) = (W(a) + W(b))/2 + √((b − a)/4) ξ,    ξ ~ N(0, 1) under the middle's own key
 * ```
 *
 * Only the halvings that lead to a wanted time are made. Times are whole multiples ("ticks") of T/2²⁴, and values
 * whole multiples of about √T/2²⁰, so that differences of W, and their sums, are exact in float32: a solver's coarse
 * noise is exactly the sum of its fine noise, which is what a measurement of strong order needs.
 *
 * Sources: P. Lévy, "Processus stochastiques et mouvement brownien" (1948); X. Li, T.-K. Wong, R. Chen, D. Duvenaud,
 * "Scalable gradients for stochastic differential equations" (AISTATS 2020), section 4, for the tree of keys.
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
import { fold, type Key } from "../tensor/key.ts";
import { type Keys, normals } from "../tensor/random.ts";

/** Options of {@link brownian}. */
export interface BrownianOptions {
  /** T, the end of the paths, in the unit of the times. Paths with different T differ. Default: 1. */
  readonly horizon?: number;
}

/** Halvings of [0, T] down to a tick, and the number of ticks in it. */
const depth = 24, ticks = 2 ** depth;

/** Values of a path, by tick, in units of √T. */
type Path = Map<number, Float64Array>;

/**
 * Increments of Brownian paths between consecutive times: W(t₁) − W(t₀), W(t₂) − W(t₁), …
 *
 * @param keys One key, or one for each sample: a path for each element of the sample.
 * @param shape Shape of a tensor under one key, or of one sample under many.
 * @param times At least one time in [0, horizon], in any order, rounded to ticks of `horizon`·2⁻²⁴. Dyadic times such
 * as multiples of 1/1024 cost about one normal an element each, others up to 24.
 * @param options See {@link BrownianOptions}.
 * @returns `times.length − 1` tensors, float32, `shape` or `[keys.length, ...shape]`. The caller disposes of them.
 * Each increment is N(0, |tᵢ₊₁ − tᵢ|), and increments over one span add up to each other exactly.
 * @throws {RangeError} If there are no times, one lies outside [0, horizon], or the horizon is not positive.
 *
 * @example One coarse step is the sum of two fine ones, exactly
 * ```ts
 * import { brownian, key } from "@tweedie/tweedie";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const [coarse] = brownian(key(4), [], [0.2, 0.9]).map((dw) => dw.dataSync()[0]!);
 * const [first, second] = brownian(key(4), [], [0.2, 0.31, 0.9]).map((dw) => dw.dataSync()[0]!);
 * assert.equal(coarse, first! + second!);
 * ```
 */
export function brownian(
  keys: Keys,
  shape: readonly number[],
  times: readonly number[],
  { horizon = 1 }: BrownianOptions = {},
): tf.Tensor[] {
  validate(times, horizon);
  const list = "hi" in keys ? [keys] : keys;
  const size = tf.util.sizeFromShape([...shape]);
  const at = times.map((t) => Math.round(t / horizon * ticks));
  const steps = at.slice(1).map(() => new Float32Array(list.length * size));
  list.forEach((key, row) => {
    const path = values(fold(key, "brownian"), size, at), round = rounding(horizon);
    steps.forEach((out, i) => {
      const from = path.get(at[i]!)!, to = path.get(at[i + 1]!)!;
      for (let j = 0; j < size; j++) out[row * size + j] = round(to[j]!) - round(from[j]!);
    });
  });
  const whole = "hi" in keys ? [...shape] : [list.length, ...shape];
  return steps.map((step) => tf.tensor(step, whole, "float32"));
}

function validate(times: readonly number[], horizon: number): void {
  if (!(horizon > 0 && horizon < Infinity)) {
    throw new RangeError(`Cannot draw Brownian paths: horizon must be positive, got ${horizon}`);
  }
  if (times.length > 0 && times.every((t) => t >= 0 && t <= horizon)) return;
  throw new RangeError(
    `Cannot draw Brownian paths: times must lie in [0, ${horizon}], got [${times.join(", ")}]`,
  );
}

/** From units of √T to the nearest multiple of 2⁻²⁰ times the power of two at or above √T. */
function rounding(horizon: number): (value: number) => number {
  const scale = Math.sqrt(horizon), grain = 2 ** (Math.ceil(Math.log2(scale)) - 20);
  return (value) => Math.round(value * scale / grain) * grain;
}

/** A path's values at the wanted ticks, both ends included. */
function values(key: Key, size: number, wanted: readonly number[]): Path {
  const end = Float64Array.from(normals(fold(key, ticks), size));
  const path: Path = new Map([[0, new Float64Array(size)], [ticks, end]]);
  halve(key, 0, ticks, wanted, path);
  return path;
}

/** Adds the wanted ticks strictly between two known ones, by bridges; forgets a middle that nobody wanted. */
function halve(key: Key, low: number, high: number, wanted: readonly number[], path: Path): void {
  const inside = wanted.filter((tick) => tick > low && tick < high);
  if (inside.length === 0) return;
  const middle = (low + high) / 2;
  const a = path.get(low)!, b = path.get(high)!, xi = normals(fold(key, middle), a.length);
  const spread = Math.sqrt((high - low) / ticks / 4);
  path.set(middle, a.map((value, j) => (value + b[j]!) / 2 + spread * xi[j]!));
  halve(key, low, middle, inside, path);
  halve(key, middle, high, inside, path);
  if (!inside.includes(middle)) path.delete(middle);
}

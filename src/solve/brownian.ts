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
import { checkShape } from "../tensor/check/check.ts";
import { above, decoded, is, type Rules } from "../tensor/check/decode.ts";
import { checkKey, fold, type Key } from "../tensor/key.ts";
import { type Keys, normals } from "../tensor/random.ts";
import type { Tensor } from "../tensor/tensor.ts";

/**
 * Options of {@link brownian}.
 *
 * @category Differential equations
 */
export interface BrownianOptions {
  /** T, the end of the paths, in the unit of the times. Paths with different T differ. Default: 1. */
  readonly horizon?: number;
}

const brownianRules: Rules<BrownianOptions> = { horizon: is("positive", above(0)) };

const action = "draw Brownian paths";

/** Halvings of [0, T] down to a tick, and the number of ticks in it. */
const depth = 24, ticks = 2 ** depth;

/**
 * Increments of Brownian paths between consecutive times: W(t₁) − W(t₀), W(t₂) − W(t₁), …
 *
 * @category Differential equations
 * @param keys One key, or one for each sample: a path for each element of the sample.
 * @param shape Shape of a tensor under one key, or of one sample under many.
 * @param times At least one time that is, rounded to ticks of `horizon`·2⁻²⁴, in [0, horizon], in any order. Dyadic times such
 * as multiples of 1/1024 cost about one normal an element each, others up to 24.
 * @param options See {@link BrownianOptions}.
 * @returns `times.length − 1` tensors, float32, `shape` or `[keys.length, ...shape]`. They are the scope's, or the caller's
 * where there is none.
 * Each increment is N(0, |tᵢ₊₁ − tᵢ|), and increments over one span add up to each other exactly.
 * @throws {TypeError} If a key is none, or an option is unknown.
 * @throws {RangeError} If there are no times, one lies outside [0, horizon], the horizon is not positive, or the shape is none.
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
  options: BrownianOptions = {},
): Tensor[] {
  const { at, list, horizon } = checked(keys, shape, times, options);
  const rows = list.map((key) => pathOf(key, shape, at));
  return at.slice(1).map((to, i) =>
    increment(keys, shape, rows.map((path) => [path.get(at[i]!)!, path.get(to)!]), horizon)
  );
}

/** A path's values at the wanted ticks, by tick, in units of √T. */
function pathOf(
  key: Key,
  shape: readonly number[],
  wanted: readonly number[],
): ReadonlyMap<number, Float64Array> {
  const rising = [...new Set(wanted)].sort((a, b) => a - b), walk = values(key, shape, rising);
  return new Map(rising.map((tick) => [tick, walk.next().value!]));
}

/** One increment of every path, from the first to the second of each row's values. */
function increment(
  keys: Keys,
  shape: readonly number[],
  rows: readonly (readonly [Float64Array, Float64Array])[],
  horizon: number,
): Tensor {
  const size = tf.util.sizeFromShape([...shape]), round = rounding(horizon);
  const out = new Float32Array(rows.length * size);
  rows.forEach(([from, to], row) => {
    for (let j = 0; j < size; j++) out[row * size + j] = round(to[j]!) - round(from[j]!);
  });
  return tf.tensor(out, Array.isArray(keys) ? [rows.length, ...shape] : [...shape], "float32");
}

/**
 * The increments of {@link brownian} one at a time, in the order of rising times: nothing is drawn before it is asked
 * for, and no more than one value for each of the 24 halvings is held.
 *
 * @category Differential equations
 * @param keys One key, or one for each sample: a path for each element of the sample.
 * @param shape Shape of a tensor under one key, or of one sample under many.
 * @param times At least one time in [0, horizon], none before the one that it follows; rounded to ticks.
 * @param options See {@link BrownianOptions}.
 * @returns `times.length − 1` tensors, those of {@link brownian} bit for bit. The caller disposes of each.
 * @throws {TypeError} If a key is none, or an option is unknown.
 * @throws {RangeError} If there are no times, they fall, one lies outside [0, horizon], the horizon is not positive, or the
 * shape is none.
 *
 * @example The sum of a thousand steps is one long one
 * ```ts
 * import { brownian, key } from "@tweedie/tweedie";
 * import { brownianSteps } from "@tweedie/tweedie/solve";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const times = Array.from({ length: 1001 }, (_, i) => i / 1000);
 * let sum = 0;
 * for (const dw of brownianSteps(key(4), [], times)) sum += dw.dataSync()[0]!;
 * assert.equal(sum, brownian(key(4), [], [0, 1])[0]!.dataSync()[0]);
 * ```
 */
export function brownianSteps(
  keys: Keys,
  shape: readonly number[],
  times: readonly number[],
  options: BrownianOptions = {},
): Iterable<Tensor> {
  const { at, list, horizon } = checked(keys, shape, times, options);
  if (at.some((tick, i) => i > 0 && tick < at[i - 1]!)) {
    throw wrongTimes("not fall", times);
  }
  const rising = [...new Set(at)];
  return {
    *[Symbol.iterator](): Generator<Tensor, void, undefined> {
      const walks = list.map((key) => values(key, shape, rising));
      const next = (): Float64Array[] => walks.map((walk) => walk.next().value!);
      let from = next();
      for (let i = 1; i < at.length; i++) {
        const to = at[i] === at[i - 1] ? from : next();
        yield increment(keys, shape, from.map((value, row) => [value, to[row]!]), horizon);
        from = to;
      }
    },
  };
}

/** What a path is drawn from, once it is known to be usable: times in ticks, since a time is what it is rounded to. */
function checked(
  keys: Keys,
  shape: readonly number[],
  times: readonly number[],
  options: BrownianOptions,
): { readonly at: number[]; readonly list: readonly Key[]; readonly horizon: number } {
  const { horizon = 1 } = decoded(action, options, brownianRules);
  checkShape(action, shape);
  const list: readonly Key[] = Array.isArray(keys) ? keys : [keys];
  for (const key of list) checkKey(action, key, list === keys ? "each of keys" : "key");
  const at = times.map((t) => Math.round(t / horizon * ticks));
  if (at.length > 0 && at.every((tick) => tick >= 0 && tick <= ticks)) {
    return { at, list, horizon };
  }
  throw wrongTimes(`lie in [0, ${horizon}]`, times);
}

const wrongTimes = (wanted: string, times: readonly number[]): RangeError =>
  new RangeError(`Cannot ${action}: times must ${wanted}, got [${times.join(", ")}]`);

/** From units of √T to the nearest multiple of 2⁻²⁰ times the power of two at or above √T. */
function rounding(horizon: number): (value: number) => number {
  const scale = Math.sqrt(horizon), grain = 2 ** (Math.ceil(Math.log2(scale)) - 20);
  return (value) => Math.round(value * scale / grain) * grain;
}

/** A path's values at the wanted ticks, which rise, in units of √T. */
function* values(
  key: Key,
  shape: readonly number[],
  wanted: readonly number[],
): Generator<Float64Array, undefined, undefined> {
  const size = tf.util.sizeFromShape([...shape]), root = fold(key, "brownian");
  const start = new Float64Array(size);
  const end = Float64Array.from(normals(fold(root, ticks), size));
  if (wanted[0] === 0) yield start;
  yield* between(root, { low: 0, high: ticks, a: start, b: end }, wanted);
  if (wanted.at(-1) === ticks) yield end;
}

/** An interval of ticks, with the path's values a and b at its ends. */
interface Interval {
  readonly low: number;
  readonly high: number;
  readonly a: Float64Array;
  readonly b: Float64Array;
}

/** The values at the wanted ticks strictly within an interval, by bridges. */
function* between(
  key: Key,
  { low, high, a, b }: Interval,
  wanted: readonly number[],
): Generator<Float64Array, void, undefined> {
  const inside = wanted.filter((tick) => tick > low && tick < high);
  if (inside.length === 0) return;
  const middle = (low + high) / 2, xi = normals(fold(key, middle), a.length);
  const spread = Math.sqrt((high - low) / ticks / 4);
  const value = a.map((from, j) => (from + b[j]!) / 2 + spread * xi[j]!);
  yield* between(key, { low, high: middle, a, b: value }, inside);
  if (inside.includes(middle)) yield value;
  yield* between(key, { low: middle, high, a: value, b }, inside);
}

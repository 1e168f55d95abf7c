/**
 * Random tensors as pure functions of keys.
 *
 * Every function here draws on the host from Philox bits and uploads once, so a draw is the same on every backend.
 * Given one key, a function fills the whole shape; given an array of keys, it puts one sample under each key along a
 * new leading axis, and row i depends on key i alone. Normals are by Box–Muller, with a fixed number of bits for each
 * element. Bits are exact everywhere; `Math.log` and `Math.cos` may differ in the last place from one engine to another.
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
import { checkBackend } from "./check/ready.ts";
import { checkShape, refusal } from "./check/check.ts";
import { decoded, type Rules } from "./check/decode.ts";
import { checkKey, fillBits, type Key } from "./key.ts";
import type { Tensor } from "./tensor.ts";

/**
 * One key for the whole tensor, or one for each sample along a new leading axis.
 *
 * @category Random numbers
 */
export type Keys = Key | readonly Key[];

/** A distribution: how many words of bits its numbers take, and how it writes them into a part of an array. */
interface Draw {
  readonly words: (size: number) => number;
  readonly write: (words: Uint32Array, part: Part) => void;
}

/** `size` elements of an array, from `at` on. */
interface Part {
  readonly out: Float32Array;
  readonly at: number;
  readonly size: number;
}

const isMany = (keys: Keys): keys is readonly Key[] => Array.isArray(keys);

/** Keys as a list; refuses what is neither a key nor a list of them. */
function listed(action: string, keys: Keys): readonly Key[] {
  const list = isMany(keys) ? keys : [keys], name = isMany(keys) ? "each of keys" : "key";
  for (const key of list) checkKey(action, key, name);
  return list;
}

function checkCount(action: string, count: number): void {
  if (Number.isSafeInteger(count) && count >= 0) return;
  throw refusal(action, "count must be a whole number of at least 0", count);
}

const bits = (key: Key, count: number): Uint32Array => fillBits(key, new Uint32Array(count));

/** Fills a tensor: each key fills its own row, or the only key the whole shape. */
function drawn(action: string, draw: Draw, keys: Keys, shape: readonly number[]): Tensor {
  checkBackend(action);
  checkShape(action, shape);
  const list = listed(action, keys), size = tf.util.sizeFromShape([...shape]);
  const whole = isMany(keys) ? [list.length, ...shape] : [...shape];
  return tf.tensor(drawnArray(draw, list, size), whole, "float32");
}

function drawnArray(draw: Draw, keys: readonly Key[], size: number): Float32Array {
  const out = new Float32Array(keys.length * size), words = new Uint32Array(draw.words(size));
  keys.forEach((key, i) => draw.write(fillBits(key, words), { out, at: i * size, size }));
  return out;
}

const uniformDraw = (low: number, high: number): Draw => ({
  words: (size) => size,
  write: (words, { out, at, size }) => {
    for (let i = 0; i < size; i++) {
      out[at + i] = low + (high - low) * ((words[i]! >>> 8) * 2 ** -24);
    }
  },
});

const normalDraw: Draw = {
  words: (size) => size + (size & 1),
  write: (words, { out, at, size }) => {
    for (let i = 0; i < size; i += 2) {
      // The first uniform is in (0, 1], so that its logarithm is finite.
      const radius = Math.sqrt(-2 * Math.log((words[i]! + 1) * 2 ** -32));
      const angle = 2 * Math.PI * 2 ** -32 * words[i + 1]!;
      out[at + i] = radius * Math.cos(angle);
      if (i + 1 < size) out[at + i + 1] = radius * Math.sin(angle);
    }
  },
};

const rademacherDraw: Draw = {
  words: (size) => Math.ceil(size / 32),
  write: (words, { out, at, size }) => {
    for (let i = 0; i < size; i++) out[at + i] = (words[i >>> 5]! >>> (i & 31)) & 1 ? 1 : -1;
  },
};

/**
 * Uniforms on [0, 1) with all 53 bits of a double, on the host; draw i does not depend on the count.
 *
 * @param key The key.
 * @param count How many.
 * @returns `count` doubles.
 * @throws {TypeError} If the key is none.
 * @throws {RangeError} If `count` is not a whole number of at least 0.
 */
export function doubles(key: Key, count: number): Float64Array {
  checkCount("draw uniforms", count);
  const words = bits(key, 2 * count);
  return Float64Array.from(
    { length: count },
    (_, i) => ((words[2 * i]! >>> 5) * 2 ** 26 + (words[2 * i + 1]! >>> 6)) * 2 ** -53,
  );
}

/**
 * Standard normal draws, N(0, I).
 *
 * @category Random numbers
 * @param keys One key, or one for each sample.
 * @param shape Shape of the tensor under one key, or of one sample under many.
 * @returns float32, `shape` or `[keys.length, ...shape]`. The caller disposes of it. No draw exceeds 6.67 in size,
 * which is the normal's own bound but once in 4 × 10¹⁰ draws.
 * @throws {TypeError} If a key is none.
 * @throws {RangeError} If the shape is none.
 *
 * @example One key for each sample: a row does not depend on its batch
 * ```ts
 * import { key, normal, split } from "@tweedie/tweedie";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const keys = split(key(3), 4);
 * const batch = normal(keys, [2]).arraySync() as number[][];
 * assert.deepEqual(batch[2], normal(keys[2]!, [2]).arraySync());
 * ```
 */
export function normal(keys: Keys, shape: readonly number[]): Tensor {
  return drawn("draw normals", normalDraw, keys, shape);
}

/**
 * Standard normal draws as a plain array, for host work: the same numbers as {@link normal}.
 *
 * @category Random numbers
 * @param key The key.
 * @param count How many.
 * @returns `count` floats.
 * @throws {TypeError} If the key is none.
 * @throws {RangeError} If `count` is not a whole number of at least 0.
 *
 * @example The numbers of the tensor, without a backend
 * ```ts
 * import { key } from "@tweedie/tweedie";
 * import { normals } from "@tweedie/tweedie/tensor";
 * import assert from "node:assert/strict";
 *
 * const draws = normals(key(3), 10_000);
 * assert.ok(Math.abs(draws.reduce((a, b) => a + b) / 10_000) < 0.04); // four standard errors
 * ```
 */
export function normals(key: Key, count: number): Float32Array {
  checkCount("draw normals", count);
  return drawnArray(normalDraw, listed("draw normals", key), count);
}

/**
 * Bounds of {@link uniform}.
 *
 * @category Random numbers
 */
export interface UniformOptions {
  /** Lower bound, drawn with the rest. Default: 0. */
  readonly low?: number;
  /** Upper bound, not drawn but by the rounding of `low + (high − low)·u` to float32. Default: 1. */
  readonly high?: number;
}

const uniformOptions: Rules<UniformOptions> = { low: true, high: true };

/**
 * Uniform draws on [low, high): `low + (high − low)·u`, with u a multiple of 2⁻²⁴ in [0, 1).
 *
 * @category Random numbers
 * @param keys One key, or one for each sample.
 * @param shape Shape of the tensor under one key, or of one sample under many.
 * @param options See {@link UniformOptions}.
 * @returns float32, `shape` or `[keys.length, ...shape]`. The caller disposes of it.
 * @throws {TypeError} If a key is none, or an option is unknown.
 * @throws {RangeError} If the shape is none, a bound is not finite, or `low` is above `high`.
 *
 * @example Times in [0.5, 1)
 * ```ts
 * import { key, uniform } from "@tweedie/tweedie";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const times = uniform(key(1), [100], { low: 0.5 }).dataSync();
 * assert.ok(times.every((t) => t >= 0.5 && t < 1));
 * ```
 */
export function uniform(
  keys: Keys,
  shape: readonly number[],
  options: UniformOptions = {},
): Tensor {
  const { low = 0, high = 1 } = decoded("draw uniforms", options, uniformOptions);
  if (!(low <= high && Number.isFinite(high - low))) {
    throw new RangeError(
      `Cannot draw uniforms: [low, high) must be a finite interval, got [${low}, ${high})`,
    );
  }
  return drawn("draw uniforms", uniformDraw(low, high), keys, shape);
}

/**
 * Uniform draws on [0, 1) as a plain array, for host work: the same numbers as {@link uniform}.
 *
 * @category Random numbers
 * @param key The key.
 * @param count How many.
 * @returns `count` floats, each a multiple of 2⁻²⁴.
 * @throws {TypeError} If the key is none.
 * @throws {RangeError} If `count` is not a whole number of at least 0.
 *
 * @example Metropolis accepts where log u < −ΔE
 * ```ts
 * import { key } from "@tweedie/tweedie";
 * import { uniforms } from "@tweedie/tweedie/tensor";
 * import assert from "node:assert/strict";
 *
 * const accepted = uniforms(key(0), 10_000).filter((u) => Math.log(u) < -1).length;
 * assert.ok(Math.abs(accepted / 10_000 - Math.exp(-1)) < 0.02);
 * ```
 */
export function uniforms(key: Key, count: number): Float32Array {
  checkCount("draw uniforms", count);
  return drawnArray(uniformDraw(0, 1), listed("draw uniforms", key), count);
}

/**
 * Rademacher draws, −1 or +1 with equal odds: the probes of least variance for the trace estimator E[εᵀAε] = tr A
 * (M. Hutchinson, "A stochastic estimator of the trace of the influence matrix", 1990).
 *
 * @category Random numbers
 * @param keys One key, or one for each sample.
 * @param shape Shape of the tensor under one key, or of one sample under many.
 * @returns float32 of −1 and +1, `shape` or `[keys.length, ...shape]`. The caller disposes of it.
 * @throws {TypeError} If a key is none.
 * @throws {RangeError} If the shape is none.
 *
 * @example Every probe has the norm √d exactly
 * ```ts
 * import { key } from "@tweedie/tweedie";
 * import { rademacher } from "@tweedie/tweedie/tensor";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const probe = rademacher(key(1), [49]).dataSync();
 * assert.equal(Math.hypot(...probe), 7);
 * ```
 */
export function rademacher(keys: Keys, shape: readonly number[]): Tensor {
  return drawn("draw signs", rademacherDraw, keys, shape);
}

/**
 * Weights of the categories, all of at least 0: one vector for all samples, or a row for each of them.
 *
 * @category Random numbers
 */
export type Weights = readonly number[] | readonly (readonly number[])[];

const isRows = (weights: Weights): weights is readonly (readonly number[])[] =>
  Array.isArray(weights[0]);

/**
 * Categorical draws: index k with probability pₖ, by the inverse of the cumulative sum, in float64 with 53-bit
 * uniforms.
 *
 * @category Random numbers
 * @param keys One key, or one for each sample.
 * @param probabilities One vector for all samples; or, with many keys, a row for each key. Scaled to sum to 1.
 * @param shape Shape of the tensor under one key, or of one sample under many. Default: `[]`, one index.
 * @returns int32 in [0, K), `shape` or `[keys.length, ...shape]`. The caller disposes of it. An index of probability
 * 0 is never drawn.
 * @throws {TypeError} If a key is none.
 * @throws {RangeError} If the shape is none, a probability is negative or not finite, all are 0, or the rows do not match the keys.
 *
 * @example A class for each sample
 * ```ts
 * import { categorical } from "@tweedie/tweedie/tensor";
 * import { key, split } from "@tweedie/tweedie";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const classes = categorical(split(key(2), 3), [[1, 0], [0, 1], [1, 0]]);
 * assert.deepEqual(classes.arraySync(), [0, 1, 0]);
 * ```
 */
export function categorical(
  keys: Keys,
  probabilities: Weights,
  shape: readonly number[] = [],
): Tensor {
  checkShape("draw categories", shape);
  const list = listed("draw categories", keys);
  const rows = isRows(probabilities) ? probabilities : list.map(() => probabilities);
  if (rows.length !== list.length) {
    throw new RangeError(
      `Cannot draw categories: probabilities must have a row for each of ${list.length} keys, got ${rows.length}`,
    );
  }
  const size = tf.util.sizeFromShape([...shape]);
  const indices = list.flatMap((key, i) => choices(key, size, cumulative(rows[i]!)));
  return tf.tensor(indices, isMany(keys) ? [keys.length, ...shape] : [...shape], "int32");
}

/** Running sums of the weights; the last is their total. */
function cumulative(weights: readonly number[]): number[] {
  let total = 0;
  const sums = weights.map((weight) => total += weight);
  if (weights.every((weight) => weight >= 0) && total > 0 && total < Infinity) return sums;
  throw new RangeError(
    `Cannot draw categories: probabilities must be at least 0 with a finite positive sum, got [${weights}]`,
  );
}

/** The first index whose running sum exceeds u times the total, for each uniform u in [0, 1). */
function choices(key: Key, count: number, sums: readonly number[]): number[] {
  const total = sums.at(-1)!;
  return Array.from(doubles(key, count), (u) => sums.findIndex((sum) => sum > u * total));
}

/**
 * Range of {@link randint}.
 *
 * @category Random numbers
 */
export interface IntegerRange {
  /** Smallest number drawn. Default: 0. */
  readonly low?: number;
  /** One more than the largest number drawn. */
  readonly high: number;
}

const integerRange: Rules<IntegerRange> = { low: true, high: true };

/**
 * Whole numbers drawn uniformly from {low, …, high − 1}, on the host: `low + ⌊(high − low)·u⌋`, u of 53 bits.
 *
 * A number's probability is off by at most 2⁻⁵³, so a range of a million is uneven by one part in 10¹⁰.
 *
 * @category Random numbers
 * @param key The key.
 * @param count How many.
 * @param range See {@link IntegerRange}.
 * @returns `count` whole numbers.
 * @throws {TypeError} If the key is none, or an option is unknown.
 * @throws {RangeError} If `count` is not a whole number of at least 0, the bounds are not whole numbers with `low` < `high`, or lie 2⁵³ or more apart.
 *
 * @example The indices of a batch
 * ```ts
 * import { key } from "@tweedie/tweedie";
 * import { randint } from "@tweedie/tweedie/tensor";
 * import assert from "node:assert/strict";
 *
 * const indices = randint(key(0), 64, { high: 60_000 });
 * assert.ok(indices.every((i) => Number.isInteger(i) && i >= 0 && i < 60_000));
 * ```
 */
export function randint(key: Key, count: number, range: IntegerRange): number[] {
  const { low = 0, high } = decoded("draw integers", range, integerRange);
  checkCount("draw integers", count);
  if (!(Number.isSafeInteger(low) && Number.isSafeInteger(high - low) && low < high)) {
    throw new RangeError(
      `Cannot draw integers: [low, high) must be a range of whole numbers, got [${low}, ${high})`,
    );
  }
  return Array.from(doubles(key, count), (u) => low + Math.floor((high - low) * u));
}

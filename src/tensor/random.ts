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
import { fillBits, fold, type Key } from "./key.ts";

/** One key for the whole tensor, or one for each sample along a new leading axis. */
export type Keys = Key | readonly Key[];

/** A function that fills a float array from one key. */
type Fill = (key: Key, out: Float32Array) => Float32Array;

const isMany = (keys: Keys): keys is readonly Key[] => Array.isArray(keys);

const bits = (key: Key, count: number): Uint32Array => fillBits(key, new Uint32Array(count));

/** Fills a tensor: each key fills its own row, or the only key the whole shape. */
function drawn(fill: Fill, keys: Keys, shape: readonly number[]): tf.Tensor {
  const size = shape.reduce((a, b) => a * b, 1);
  if (!isMany(keys)) return tf.tensor(fill(keys, new Float32Array(size)), [...shape], "float32");
  const values = new Float32Array(keys.length * size);
  keys.forEach((key, i) => fill(key, values.subarray(i * size, (i + 1) * size)));
  return tf.tensor(values, [keys.length, ...shape], "float32");
}

const fillUniform: Fill = (key, out) => {
  const words = bits(key, out.length);
  for (let i = 0; i < out.length; i++) out[i] = (words[i]! >>> 8) * 2 ** -24;
  return out;
};

const fillNormal: Fill = (key, out) => {
  const words = bits(key, out.length + (out.length & 1));
  for (let i = 0; i < out.length; i += 2) {
    // The first uniform is in (0, 1], so that its logarithm is finite.
    const radius = Math.sqrt(-2 * Math.log((words[i]! + 1) * 2 ** -32));
    const angle = 2 * Math.PI * 2 ** -32 * words[i + 1]!;
    out[i] = radius * Math.cos(angle);
    if (i + 1 < out.length) out[i + 1] = radius * Math.sin(angle);
  }
  return out;
};

const fillRademacher: Fill = (key, out) => {
  const words = bits(key, Math.ceil(out.length / 32));
  for (let i = 0; i < out.length; i++) out[i] = (words[i >>> 5]! >>> (i & 31)) & 1 ? 1 : -1;
  return out;
};

/**
 * Standard normal draws, N(0, I).
 *
 * @param keys One key, or one for each sample.
 * @param shape Shape of the tensor under one key, or of one sample under many.
 * @returns float32, `shape` or `[keys.length, ...shape]`. The caller disposes of it.
 *
 * @example One key for each sample: a row does not depend on its batch
 * ```ts
 * import { key, normal, split } from "@tweedie/tweedie";
import { useBackend } from "@tweedie/tweedie/backend";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const keys = split(key(3), 4);
 * const batch = normal(keys, [2]).arraySync() as number[][];
 * assert.deepEqual(batch[2], normal(keys[2]!, [2]).arraySync());
 * ```
 */
export function normal(keys: Keys, shape: readonly number[]): tf.Tensor {
  return drawn(fillNormal, keys, shape);
}

/**
 * Standard normal draws as a plain array, for host work: the same numbers as {@link normal}.
 *
 * @param key The key.
 * @param count How many.
 * @returns `count` floats.
 */
export function normals(key: Key, count: number): Float32Array {
  return fillNormal(key, new Float32Array(count));
}

/**
 * Uniform draws on [0, 1) as a plain array, for host work.
 *
 * @param key The key.
 * @param count How many.
 * @returns `count` floats, each a multiple of 2⁻²⁴.
 */
export function uniforms(key: Key, count: number): Float32Array {
  return fillUniform(key, new Float32Array(count));
}

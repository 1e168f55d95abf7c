/**
 * Bits per dimension: how many bits a model needs for each number of a picture.
 *
 * A density of x in nats, where pictures of `levels` grey values lie on [−1, 1], is that of the grey values u = 0 … levels − 1
 * after one change of unit. Noise makes it comparable with the probability of the discrete picture, which it bounds from below:
 *
 * ```text
 *   x = 2·(u + U)/levels − 1      U uniform on [0, 1)
 *   bits = −ln p(x)/(D·ln 2) + log2(levels/2)      at least −log2 P(u)/D on the average over U
 * ```
 *
 * A density uniform on the range has log2(levels) bits. Sources: L. Theis, A. van den Oord, M. Bethge, "A note on the
 * evaluation of generative models" (ICLR 2016), section 3.1, for the bound.
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
import { refusal } from "../tensor/check/check.ts";
import { above, decoded, is, needed, type Rules, wholeNumber } from "../tensor/check/decode.ts";
import { type Keys, uniform } from "../tensor/random.ts";
import { scope } from "../tensor/scope.ts";
import type { Tensor } from "../tensor/tensor.ts";

/** What is refused here. */
const counting = "count bits";

/**
 * Options of {@link bitsPerDim}.
 *
 * @category Metrics
 */
export interface BitsOptions {
  /** D, the numbers of a sample, at least 1. */
  readonly dimensions: number;
  /** Number of grey values, at least 2. Default: 256. */
  readonly levels?: number;
  /** Width of the range that they lie on, above 0, in the unit of x. Default: 2, that of [−1, 1]. */
  readonly width?: number;
}

const bitsOptions: Rules<BitsOptions> = {
  dimensions: needed(wholeNumber(1)),
  levels: wholeNumber(2),
  width: is("a number above 0", above(0)),
};

/**
 * Bits per dimension of some data.
 *
 * @category Metrics
 */
export interface Bits {
  /** Of each sample. */
  readonly each: Float64Array;
  /** Their mean. */
  readonly mean: number;
  /** The mean's standard error: NaN for one sample. */
  readonly standardError: number;
}

/**
 * Bits per dimension of dequantized data.
 *
 * @category Metrics
 * @param logDensities ln p(x) of each sample, in nats; at least one.
 * @param options Dimensions, grey values, range.
 * @returns Of each sample, and their mean with its standard error.
 * @throws {TypeError} If an option is unknown.
 * @throws {RangeError} If there are no densities, one is not finite, or an option is outside its domain.
 *
 * @example A uniform density has as many bits as the data
 * ```ts
 * import { bitsPerDim } from "@tweedie/tweedie";
 * import assert from "node:assert/strict";
 *
 * const dimensions = 784, uniform = -dimensions * Math.LN2; // 1/2 for each dimension of [-1, 1]
 * assert.equal(bitsPerDim([uniform, uniform], { dimensions }).mean, 8);
 * ```
 */
export function bitsPerDim(logDensities: ArrayLike<number>, options: BitsOptions): Bits {
  const { dimensions, levels = 256, width = 2 } = decoded(counting, options, bitsOptions);
  const count = logDensities.length;
  if (count === 0) throw refusal(counting, "logDensities must be of at least one sample", 0);
  const fault = Array.from(logDensities).findIndex((value) => !Number.isFinite(value));
  if (fault >= 0) {
    throw new RangeError(
      `Cannot ${counting}: logDensities must be finite, got ${
        logDensities[fault]
      } of sample ${fault}`,
    );
  }
  const each = Float64Array.from(
    logDensities,
    (value) => -value / (dimensions * Math.LN2) + Math.log2(levels / width),
  );
  const mean = each.reduce((a, b) => a + b, 0) / count;
  const squares = each.reduce((sum, value) => sum + (value - mean) ** 2, 0);
  return { each, mean, standardError: Math.sqrt(squares / (count - 1) / count) };
}

/**
 * Options of {@link dequantized}.
 *
 * @category Metrics
 */
export interface DequantizeOptions {
  /** Number of grey values, at least 2. Default: 256. */
  readonly levels?: number;
}

const dequantizeOptions: Rules<DequantizeOptions> = { levels: true };

/**
 * Pictures with uniform noise within each grey value: x = 2·(u + U)/levels − 1.
 *
 * @category Metrics
 * @param images Pictures with u/(levels − 1) spread over [−1, 1], shape [N, ...sample]; rounded to the nearest grey value.
 * @param keys One key for each picture, or one for the batch.
 * @param options Number of grey values.
 * @returns float32 in [−1, 1], shape of the pictures. It is the scope's, or the caller's where there is none.
 * @throws {TypeError} If an option is unknown, or a key is none.
 * @throws {RangeError} If there is not one key for each picture, or an option is outside its domain.
 *
 * @example
 * ```ts
 * import { dequantized, key } from "@tweedie/tweedie";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import * as tf from "@tensorflow/tfjs-core";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const [black, white] = dequantized(tf.tensor([[-1, 1]]), key(0)).dataSync();
 * assert.ok(black! < -1 + 2 / 256 && white! >= 1 - 2 / 256);
 * ```
 */
export function dequantized(
  images: Tensor,
  keys: Keys,
  options: DequantizeOptions = {},
): Tensor {
  const { levels = 256 } = decoded("add noise to grey values", options, dequantizeOptions);
  checkLevels(levels);
  const [count, ...sample] = images.shape, many = Array.isArray(keys);
  if (many && keys.length !== count) {
    throw refusal(counting, `keys must be one for each of ${count} pictures`, keys.length);
  }
  return scope(() => {
    const u = tf.round(tf.mul(tf.add(images, 1), (levels - 1) / 2));
    const noise = uniform(keys, many ? sample : images.shape);
    return tf.sub(tf.mul(tf.add(u, noise), 2 / levels), 1);
  });
}

function checkLevels(levels: number): void {
  if (Number.isSafeInteger(levels) && levels >= 2) return;
  throw refusal(counting, "levels must be a whole number of at least 2", levels);
}

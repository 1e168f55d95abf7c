/**
 * Batches of rows of numbers, for models that need no images.
 *
 * @module
 */

import { isKey, refusal } from "../../tensor/check/check.ts";
import { decoded, is, needed, type Rules, wholeNumber } from "../../tensor/check/decode.ts";
import { fold, type Key } from "../../tensor/key.ts";
import { uniforms } from "../../tensor/random.ts";

/**
 * Visible units: rows of n numbers, one after the other.
 *
 * @category Training
 */
export type VisibleRows = ArrayLike<number>;

/**
 * How rows are cut into batches.
 *
 * @category Training
 */
export interface RowBatchesOptions {
  /** n, the numbers of a row. */
  readonly width: number;
  /** Rows of a batch; those that are left over at the end of an epoch are left out. */
  readonly size: number;
  /** How often all rows are gone through. */
  readonly epochs: number;
  /** Key of their order, another one each epoch. */
  readonly key: Key;
}

const rowRules: Rules<RowBatchesOptions> = {
  width: needed(wholeNumber(1)),
  size: needed(wholeNumber(1)),
  epochs: needed(wholeNumber(0)),
  key: needed(is("a key, as key(0) makes them", isKey, true)),
};

/**
 * Batches of rows, in another order each epoch.
 *
 * @category Training
 * @param rows Rows of numbers, one after the other.
 * @param options Width of a row, size of a batch, number of epochs, key.
 * @returns The batches; each iteration begins anew.
 * @throws {TypeError} If an option is not known.
 * @throws {RangeError} If one is out of range, or the numbers are not rows enough for one batch.
 *
 * @example
 * ```ts
 * import { rowBatches } from "@tweedie/tweedie/train";
 * import { key } from "@tweedie/tweedie";
 * import assert from "node:assert/strict";
 *
 * const all = [...rowBatches([1, 1, 2, 2, 3, 3], { width: 2, size: 1, epochs: 2, key: key(0) })];
 * assert.equal(all.length, 6);
 * assert.deepEqual(all.slice(0, 3).map(([first]) => first).sort(), [1, 2, 3]);
 * ```
 */
export function rowBatches(rows: VisibleRows, options: RowBatchesOptions): Iterable<Float32Array> {
  const { width, size, epochs, key } = decoded("cut batches", options, rowRules);
  const count = rows.length / width;
  if (!Number.isInteger(count) || count < size) {
    throw refusal("cut batches", `rows must be at least ${size} of ${width} numbers`, rows.length);
  }
  const values = Float32Array.from(rows);
  return {
    *[Symbol.iterator]() {
      for (let epoch = 0; epoch < epochs; epoch++) {
        const order = shuffled(count, fold(key, epoch));
        for (let at = 0; at + size <= count; at += size) {
          const batch = new Float32Array(size * width);
          for (let i = 0; i < size; i++) {
            const from = order[at + i]! * width;
            batch.set(values.subarray(from, from + width), i * width);
          }
          yield batch;
        }
      }
    },
  };
}

/** The numbers below another, in an order that the key draws. */
function shuffled(count: number, key: Key): Uint32Array {
  const order = Uint32Array.from({ length: count }, (_, i) => i), u = uniforms(key, count);
  for (let i = count - 1; i > 0; i--) {
    const j = Math.floor(u[i]! * (i + 1));
    [order[i], order[j]] = [order[j]!, order[i]!];
  }
  return order;
}

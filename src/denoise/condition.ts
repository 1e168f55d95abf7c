/**
 * Conditions: what each sample of a batch is asked to be.
 *
 * A model says by its type what it takes: classes, words, pictures, or several at once. To the library a condition is a list
 * with an entry for each sample, a tensor with a row for each, or a record of these: so one function can split a batch of them,
 * double it and put it together again, whatever they mean.
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
import { refusal, shown } from "../tensor/check/check.ts";
import { scope } from "../tensor/scope.ts";
import type { Tensor } from "../tensor/tensor.ts";

/**
 * Classes: one for each sample, or null for none. What models are conditioned on where nothing else is said.
 *
 * @category Models
 */
export type Condition = readonly (number | null)[];

/**
 * A sample of a condition: which of several, and which row of it; null for no condition.
 *
 * @category Models
 */
export type Place = readonly [source: number, row: number] | null;

/**
 * The number of samples that a condition is of.
 *
 * @category Models
 * @param condition A list, a tensor [N, ...], or a record of these.
 * @returns The number.
 * @throws {TypeError} If it is none of these.
 * @throws {RangeError} If the parts of a record are of different numbers, or there are none.
 *
 * @example
 * ```ts
 * import { sizeOfCondition } from "@tweedie/tweedie/denoise";
 * import assert from "node:assert/strict";
 *
 * assert.equal(sizeOfCondition({ class: [3, null], prompt: ["a boot", "a shirt"] }), 2);
 * ```
 */
export function sizeOfCondition(condition: unknown): number {
  if (Array.isArray(condition)) return condition.length;
  if (condition instanceof tf.Tensor) return condition.shape[0] ?? 0;
  if (typeof condition !== "object" || condition === null) {
    throw new TypeError(
      `Cannot condition: condition must be a list, a tensor, or a record of these, got ${
        shown(condition)
      }`,
    );
  }
  const sizes = new Set(Object.values(condition).map(sizeOfCondition)), [size] = sizes;
  if (sizes.size === 1) return size!;
  throw refusal("condition", "the parts of condition must be of one number of samples", [...sizes]);
}

/**
 * Samples of one or several conditions as one: how a batch is split, doubled and put together.
 *
 * @category Models
 * @param sources The conditions, all of one kind.
 * @param places Which sample of which of them, in order; null for none.
 * @returns A condition of the same kind. Tensors in it are the scope's, or the caller's where there is none.
 * @throws {RangeError} If there is no such sample.
 * @throws {TypeError} If none is wanted of a tensor, which has no row for that: say what stands for none.
 *
 * @example A batch under its classes, and the same batch under none
 * ```ts
 * import { pickedCondition } from "@tweedie/tweedie/denoise";
 * import assert from "node:assert/strict";
 *
 * assert.deepEqual(pickedCondition([[3, 7]], [[0, 0], [0, 1], null, null]), [3, 7, null, null]);
 * assert.deepEqual(pickedCondition([{ class: [3, 7] }, { class: [1] }], [[1, 0], [0, 1]]), { class: [1, 7] });
 * ```
 */
export function pickedCondition<C>(sources: readonly C[], places: readonly Place[]): C {
  const [first] = sources as readonly unknown[];
  const isLike = (source: unknown): boolean =>
    Array.isArray(source) === Array.isArray(first) &&
    (source instanceof tf.Tensor) === (first instanceof tf.Tensor);
  const unlike = sources.find((source) => !isLike(source));
  if (unlike !== undefined) throw refusal("condition", "conditions must be of one kind", unlike);
  if (Array.isArray(first)) {
    return places.map((place) => place && rowOf(sources as readonly unknown[][], place)) as C;
  }
  if (first instanceof tf.Tensor) return gathered(sources as readonly Tensor[], places) as C;
  sizeOfCondition(first);
  checkParts(sources);
  return Object.fromEntries(
    Object.keys(first as object).map((name) => [
      name,
      pickedCondition(
        (sources as readonly Record<string, unknown>[]).map((source) => source[name]),
        places,
      ),
    ]),
  ) as C;
}

/** Refuses conditions of other kinds, or of other parts, than the first: what it lacks would be left out without a word. */
function checkParts(sources: readonly unknown[]): void {
  const partsOf = (source: unknown): string =>
    Array.isArray(source) || source instanceof tf.Tensor || typeof source !== "object" ||
      source === null
      ? shown(source)
      : Object.keys(source).sort().join(", ");
  const [first, ...others] = sources.map(partsOf), other = others.find((each) => each !== first);
  if (other === undefined) return;
  throw refusal("condition", `conditions must be of the parts ${first}`, other);
}

function rowOf(sources: readonly (readonly unknown[])[], [source, row]: readonly [number, number]) {
  const rows = sources[source];
  if (rows !== undefined && row in rows) return rows[row];
  throw refusal("condition", `places must be of samples that are there`, [source, row]);
}

function gathered(sources: readonly Tensor[], places: readonly Place[]): Tensor {
  const starts = sources.map((_, i) =>
    sources.slice(0, i).reduce((sum, { shape }) => sum + shape[0]!, 0)
  );
  const rows = places.map((place) => {
    if (place === null) {
      throw new TypeError(
        "Cannot condition: what stands for no condition must be given (`negative`) for a model that takes tensors, got none",
      );
    }
    const [source, row] = place;
    if (row >= 0 && row < (sources[source]?.shape[0] ?? 0)) return starts[source]! + row;
    throw refusal("condition", "places must be of samples that are there", place);
  });
  return scope(() => tf.gather(tf.concat([...sources]), tf.tensor1d(rows, "int32")));
}

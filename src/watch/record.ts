/**
 * Watchers that pick and keep the states of a stream.
 *
 * A watcher is a function of a stream that looks at it and cannot change its course. All of them are pull-driven: they
 * ask their source for one item when they are asked for one, hold nothing ahead, and close the source (its `finally`
 * runs) when they are broken off, when the consumer throws, and when the source itself throws, as it does on an abort.
 *
 * A state that a trajectory yields lives until the next pull. {@link every} and {@link watched} hand on states of just
 * that life; {@link kept}, {@link last} and {@link recorded} give copies that live until the caller disposes of them
 * with `tf.dispose`. A copy shares its numbers with the original, so keeping costs no copying, only the memory's life.
 *
 * {@link kept} and {@link watched} are operators of ix, which close their source: 1 µs a state, where a step of the cheapest
 * model takes 95 µs. {@link every} is not, as none of ix's frees what it has passed over.
 *
 * @module
 */

import { map } from "ix/asynciterable/operators/map";
import { retained } from "../sample/path.ts";
import { refusal, shown as told } from "../tensor/check/check.ts";
import { tensorsIn } from "../tensor/scope.ts";

/**
 * A stream to a stream of the same items.
 *
 * @category Watchers
 */
export type Watcher = <S>(source: AsyncIterable<S>) => AsyncIterable<S>;

/** tf.dispose would ask a state of spins for each of them. */
const disposeOf = (item: unknown): void => tensorsIn(item).forEach((tensor) => tensor.dispose());

/**
 * Every n-th item of a stream, counted from the first; the first and the last are always there.
 *
 * Whether an item is the last is known only when the next is asked for, which ends the item's life, so a passed-over
 * item is held as a copy until then: at most one, which shares its numbers with the original.
 *
 * @category Watchers
 * @param n How many items from one that passes to the next, a whole number of at least 1.
 * @returns The watcher: items 0, n, 2n, … and the last, each alive until the next pull.
 * @throws {RangeError} If n is not a whole number of at least 1.
 *
 * @example
 * ```ts
 * import { every } from "@tweedie/tweedie";
 * import assert from "node:assert/strict";
 *
 * const steps = ReadableStream.from([0, 1, 2, 3, 4, 5, 6, 7]);
 * assert.deepEqual(await Array.fromAsync(every(3)(steps)), [0, 3, 6, 7]);
 * ```
 */
export function every(n: number): Watcher {
  if (!Number.isSafeInteger(n) || n < 1) {
    throw refusal("pick states", "n must be a whole number of at least 1", n);
  }
  return (source) => ({ [Symbol.asyncIterator]: () => picked(source, n) });
}

async function* picked<S>(
  source: AsyncIterable<S>,
  n: number,
): AsyncGenerator<S, void, undefined> {
  let index = 0, passedOver: { item: S } | undefined;
  try {
    for await (const item of source) {
      disposeOf(passedOver);
      passedOver = index % n === 0 ? undefined : { item: retained(item) };
      if (index++ % n === 0) yield item;
    }
    if (passedOver) yield passedOver.item;
  } finally {
    disposeOf(passedOver);
  }
}

/**
 * Copies of a stream's items, which outlive the next pull.
 *
 * @category Watchers
 * @returns The watcher. The caller disposes of each item that it was given.
 *
 * @example Three tensors that their maker has disposed of
 * ```ts
 * import { kept } from "@tweedie/tweedie";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import * as tf from "@tensorflow/tfjs-core";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * async function* counted() {
 *   for (let i = 0; i < 3; i++) {
 *     const x = tf.scalar(i);
 *     yield { x };
 *     x.dispose();
 *   }
 * }
 * const all = await Array.fromAsync(kept()(counted()));
 * assert.deepEqual(all.map(({ x }) => x.dataSync()[0]), [0, 1, 2]);
 * tf.dispose(all);
 * ```
 */
export function kept(): Watcher {
  return map(<S>(item: S) => retained(item)) as Watcher;
}

/**
 * The last item of a stream: where a trajectory ends.
 *
 * @category Watchers
 * @param stream The stream, which is run to its end.
 * @returns A copy of the last item. The caller disposes of its tensors.
 * @throws {RangeError} If the stream is empty.
 *
 * @example The sample at the end of a run
 * ```ts
 * import { ddim, gaussian, key, last, linear, prior, run } from "@tweedie/tweedie";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const schedule = linear(), model = gaussian(schedule, { mean: 3, variance: 0.25 });
 * const { x, step } = await last(run(prior([8, 1]), { model, key: key(0) })(ddim(schedule, { steps: 10 })));
 * assert.deepEqual([step, ...x.shape], [10, 8, 1]);
 * ```
 */
export async function last<S>(stream: AsyncIterable<S>): Promise<S> {
  let latest: { item: S } | undefined;
  try {
    for await (const item of stream) {
      disposeOf(latest);
      latest = { item: retained(item) };
    }
  } catch (error) {
    disposeOf(latest);
    throw error;
  }
  if (latest) return latest.item;
  throw new RangeError("Cannot take the last state: stream must yield at least one, got none");
}

/**
 * All items of a stream, in memory at once.
 *
 * @category Watchers
 * @param stream The stream, which is run to its end.
 * @returns Copies of its items, in order. The caller disposes of their tensors: `tf.dispose(states)`.
 * @throws What the stream throws, after disposing of what was recorded.
 *
 * @example
 * ```ts
 * import { every, recorded } from "@tweedie/tweedie";
 * import assert from "node:assert/strict";
 *
 * assert.deepEqual(await recorded(every(2)(ReadableStream.from([0, 1, 2, 3]))), [0, 2, 3]);
 * ```
 */
export async function recorded<S>(stream: AsyncIterable<S>): Promise<S[]> {
  const items: S[] = [];
  try {
    for await (const item of stream) items.push(retained(item));
    return items;
  } catch (error) {
    disposeOf(items);
    throw error;
  }
}

/**
 * Shows each item to a function and passes it on: logging, counters, a metric along the way.
 *
 * @category Watchers
 * @param look Called with each item and its index from 0, before the consumer sees it; awaited. What it throws ends the
 * stream. The item stays the stream's: do not dispose of it.
 * @returns The watcher.
 * @throws {TypeError} If `look` is no function.
 *
 * @example
 * ```ts
 * import { watched } from "@tweedie/tweedie";
 * import assert from "node:assert/strict";
 *
 * const seen: string[] = [];
 * const stream = watched((item: string, index) => void seen.push(`${index} ${item}`));
 * for await (const _ of stream(ReadableStream.from(["a", "b"])));
 * assert.deepEqual(seen, ["0 a", "1 b"]);
 * ```
 */
export function watched<S>(
  look: (item: S, index: number) => void | Promise<void>,
): (source: AsyncIterable<S>) => AsyncIterable<S> {
  if (typeof look !== "function") {
    throw new TypeError(`Cannot watch a stream: look must be a function, got ${told(look)}`);
  }
  return map(async (item: S, index) => {
    await look(item, index);
    return item;
  });
}

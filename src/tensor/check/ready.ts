/**
 * What can be asked of the backend in use without choosing one: whether there is any, and whether its numbers are at hand.
 * It is apart from the other checks, which need no tensors, so that schedules can be loaded without tfjs.
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
import type { Tensor } from "../tensor.ts";

/**
 * Refuses work on tensors where there is nothing that could run it.
 *
 * @param action What is to be done.
 * @throws {TypeError} If no backend has been registered.
 */
export function checkBackend(action: string): void {
  const { backendName, registryFactory } = tf.engine();
  if (backendName || Object.keys(registryFactory).length > 0) return;
  throw new TypeError(
    `Cannot ${action}: a backend must be chosen first, by await useBackend() of @tweedie/tweedie/backend, got none`,
  );
}

/** Backends whose numbers can be read at once. */
const prompt: readonly string[] = ["cpu", "wasm", "tensorflow"];

/**
 * A tensor's numbers, where they are at hand.
 *
 * @param tensor The tensor.
 * @returns Its numbers; undefined on a backend on which they would have to be waited for, as in the steps that engines trace.
 */
export const atHand = (tensor: Tensor): ArrayLike<number> | undefined =>
  prompt.includes(tf.getBackend()) ? tensor.dataSync() : undefined;

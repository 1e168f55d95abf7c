/**
 * Refusals in one grammar: what could not be done, which parameter, what was wanted, what came.
 *
 * ```text
 *   Cannot <action>: <parameter> must be <wanted>, got <got>
 * ```
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";

/** The names of all options of an interface, so that the compiler sees when one is added or renamed. */
export type Known<T> = { readonly [K in keyof T]-?: true };

/**
 * An error for a parameter outside its domain.
 *
 * @param action What could not be done, such as `"make a DDIM sampler"`.
 * @param wanted The parameter and its domain, such as `"eta must be a number of at least 0"`.
 * @param got What came.
 * @returns The error, to throw.
 */
export const refusal = (action: string, wanted: string, got: unknown): RangeError =>
  new RangeError(`Cannot ${action}: ${wanted}, got ${shown(got)}`);

/** A value as it is written, cut off where it is long. */
export function shown(value: unknown): string {
  if (typeof value === "number" || typeof value === "bigint" || value === undefined) {
    return String(value);
  }
  if (typeof value === "function") return `a function`;
  let text: string | undefined;
  try {
    text = JSON.stringify(value);
  } catch {
    // A cycle, or a number that JSON does not have.
  }
  text ??= String(value);
  return text.length > 80 ? `${text.slice(0, 77)}...` : text;
}

/**
 * Refuses options that a function does not know: a misspelt one would be ignored without a word.
 *
 * @param action What the function does, such as `"make a grid"`.
 * @param options What it was given. A name whose value is undefined counts as absent.
 * @param known All that it knows.
 * @throws {TypeError} If the options are no object, or one of them is not known.
 *
 * @example
 * ```ts
 * import { checkOptions } from "./check.ts";
 * import assert from "node:assert/strict";
 *
 * const known = { steps: true, eta: true } as const;
 * checkOptions("sample", { steps: 5 }, known);
 * assert.throws(() => checkOptions("sample", { step: 5 }, known), /options must be among steps, eta, got "step"/);
 * ```
 */
export function checkOptions(
  action: string,
  options: unknown,
  known: Readonly<Record<string, true>>,
): void {
  if (typeof options !== "object" || options === null || Array.isArray(options)) {
    throw new TypeError(`Cannot ${action}: options must be an object, got ${shown(options)}`);
  }
  for (const [name, value] of Object.entries(options)) {
    if (value === undefined || Object.hasOwn(known, name)) continue;
    const names = Object.keys(known).join(", ") || "none";
    throw new TypeError(`Cannot ${action}: options must be among ${names}, got "${name}"`);
  }
}

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

/**
 * Refuses what is no shape of a tensor.
 *
 * @param action What it is for.
 * @param shape What was given.
 * @throws {RangeError} If it is not a list of whole numbers of at least 0.
 */
export function checkShape(action: string, shape: unknown): void {
  const isSize = (size: unknown): boolean => Number.isSafeInteger(size) && (size as number) >= 0;
  if (Array.isArray(shape) && shape.every(isSize)) return;
  throw refusal(action, "shape must be a list of whole numbers of at least 0", shape);
}

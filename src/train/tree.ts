/**
 * Several networks in one tree of parameters: a flat record whose names begin with the network's own, so that one optimizer
 * moves them all, and one checkpoint holds them.
 *
 * @module
 */

import type { Params } from "../network/layer/parameter.ts";

/**
 * The weights of several networks as one record.
 *
 * @category Training
 * @param parts Weights by the names of networks; no name has a slash.
 * @returns `network/weight` for each weight. The tensors are shared.
 * @throws {RangeError} If a network's name has a slash.
 *
 * @example
 * ```ts
 * import { branch, tree } from "@tweedie/tweedie/train";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import * as tf from "@tensorflow/tfjs-core";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const w = tf.scalar(1), params = tree({ encoder: { w }, prior: { w: tf.scalar(2) } });
 * assert.deepEqual(Object.keys(params), ["encoder/w", "prior/w"]);
 * assert.equal(branch(params, "encoder")["w"], w);
 * ```
 */
export function tree(parts: Readonly<Record<string, Params>>): Params {
  const slashed = Object.keys(parts).find((name) => name.includes("/"));
  if (slashed !== undefined) {
    throw new RangeError(
      `Cannot join weights: names of networks must have no slash, got ${slashed}`,
    );
  }
  return Object.fromEntries(
    Object.entries(parts).flatMap(([network, params]) =>
      Object.entries(params).map(([name, weight]) => [`${network}/${name}`, weight])
    ),
  );
}

/**
 * The weights of one network of a {@link tree}.
 *
 * @category Training
 * @param params The tree.
 * @param name The network's name.
 * @returns Its weights by their own names. The tensors are shared.
 * @throws {RangeError} If there is no such network.
 */
export function branch(params: Params, name: string): Params {
  const own = Object.entries(params).filter(([full]) => full.startsWith(`${name}/`));
  if (own.length > 0) {
    return Object.fromEntries(own.map(([full, weight]) => [full.slice(name.length + 1), weight]));
  }
  const known = [...new Set(Object.keys(params).map((full) => full.split("/")[0]))];
  throw new RangeError(
    `Cannot take weights apart: name must be one of ${known.join(", ")}, got ${name}`,
  );
}

/**
 * What is known of a picture when a spoilt one has been seen: an energy of the clean one, and the noise of the other.
 *
 * ```text
 *   y = x + sigma·z where m is 1, unknown where it is 0      E(x | y) = E(x) + Σ m·(x − y)²/(2·sigma²)
 * ```
 *
 * Its least value is the most probable picture, to which moves without noise lead; moves with noise draw from p(x | y).
 *
 * Source: S. Geman, D. Geman, "Stochastic relaxation, Gibbs distributions, and the Bayesian restoration of images" (1984), section
 * VIII.
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
import "../tensor/autodiff.ts"; // Whoever has an energy can differentiate it.
import { refusal, shown } from "../tensor/check/check.ts";
import { decoded, is, needed, type Rules } from "../tensor/check/decode.ts";
import { scope } from "../tensor/scope.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { countOf, said, type SampleEnergy } from "./compose.ts";

/**
 * What has been seen.
 *
 * @category Composition
 */
export interface Seen {
  /** y, of the shape of x, or of one sample for all. */
  readonly y: Tensor;
  /** sigma, the standard deviation of its noise, above 0, in x's unit. */
  readonly sigma: number;
  /** m, of a shape that spreads to y's: 1 where a number has been seen, 0 where it is unknown. Default: 1 everywhere. */
  readonly mask?: Tensor;
}

const seenRules: Rules<Seen> = {
  y: needed(is("a tensor", (y: unknown) => y instanceof tf.Tensor, true)),
  sigma: needed(is("positive and finite", (sigma) => Number.isFinite(sigma) && sigma > 0)),
  mask: is("a tensor", (mask: unknown) => mask instanceof tf.Tensor, true),
};

/**
 * The energy of what may have been there, given what has been seen: E(x) + Σ m·(x − y)²/(2·sigma²).
 *
 * @category Composition
 * @param energy E of clean samples, from [N, ...sample] to [N].
 * @param seen The spoilt ones, which stay the caller's and must outlive the energy.
 * @returns The energy, the scope's, or the caller's where there is none.
 * @throws {TypeError} If the energy is no function, y or the mask no tensor, or an option is not known.
 * @throws {RangeError} If sigma is not positive; when it is asked, if the shapes do not fit.
 *
 * @example Between a normal law and an observation of the same width the truth lies half way
 * ```ts
 * import { observedEnergy } from "@tweedie/tweedie/energy";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import * as tf from "@tensorflow/tfjs-core";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const prior = (x: tf.Tensor) => tf.mul(tf.sum(tf.square(x), 1), 0.5);
 * const posterior = observedEnergy(prior, { y: tf.tensor([[2]]), sigma: 1 });
 * const slope = tf.grad((x: tf.Tensor) => tf.sum(posterior(x)))(tf.tensor([[1]]));
 * assert.equal(slope.dataSync()[0], 0);
 * ```
 */
export function observedEnergy(energy: SampleEnergy, seen: Seen): SampleEnergy {
  const action = "restore";
  if (typeof energy !== "function") {
    throw new TypeError(`Cannot ${action}: energy must be a function, got ${shown(energy)}`);
  }
  const { y, sigma, mask } = decoded(action, seen, seenRules);
  return (x) =>
    scope(() => {
      checkFit(x, y, mask);
      const away = tf.square(tf.div(tf.sub(x, y), sigma));
      const counted = mask === undefined ? away : tf.mul(away, mask);
      const axes = x.shape.map((_, i) => i).slice(1);
      return tf.add(said(energy, x, countOf(x)), tf.mul(tf.sum(counted, axes), 0.5));
    });
}

/** Refuses what was seen of other samples. */
function checkFit(x: Tensor, y: Tensor, mask: Tensor | undefined): void {
  for (const [name, { shape }] of Object.entries({ y, ...(mask && { mask }) })) {
    const like = x.shape.slice(x.rank - shape.length);
    const fits = shape.length <= x.rank &&
      shape.every((size, i) => size === like[i] || (size === 1 && (name === "mask" || i === 0)));
    if (!fits) {
      throw refusal("restore", `${name} must be of a shape that spreads to [${x.shape}]`, shape);
    }
  }
}

/**
 * Motion in a potential: what slides down and is shaken.
 *
 * ```text
 *   dx = −∇U(x) dt + √(2/beta) dB        at rest p ∝ e^(−beta·U)
 * ```
 *
 * Source: G. Pavliotis, "Stochastic processes and applications" (2014), section 4.5 (the overdamped Langevin equation).
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
import "../../tensor/autodiff.ts"; // Potentials are differentiated.
import { shown } from "../../tensor/check/check.ts";
import { above, decoded, is, type Rules } from "../../tensor/check/decode.ts";
import { scope } from "../../tensor/scope.ts";
import type { Tensor } from "../../tensor/tensor.ts";
import type { Sde } from "./equation.ts";

/**
 * Options of {@link overdamped}.
 *
 * @category Differential equations
 */
export interface OverdampedOptions {
  /** The inverse temperature beta, above 0, in the inverse of the potential's unit. Default: 1. */
  readonly beta?: number;
}

const overdampedRules: Rules<OverdampedOptions> = {
  beta: is("a number above 0", (beta) => above(0)(beta) && Number.isFinite(beta)),
};

/**
 * The overdamped Langevin equation of a potential, dx = −∇U dt + √(2/beta) dB.
 *
 * @category Differential equations
 * @param potential U of samples [N, ...sample], [N], in operations that have a gradient.
 * @param options The inverse temperature.
 * @returns The equation, for `simulate`; its noise is additive, so that every scheme takes it.
 * @throws {TypeError} If the potential is no function, or an option is not known.
 * @throws {RangeError} If beta is not above 0 and finite.
 *
 * @example A spring at rest: N(0, 1/(beta·k))
 * ```ts
 * import { key, last } from "@tweedie/tweedie";
 * import { overdamped, simulate } from "@tweedie/tweedie/solve";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import * as tf from "@tensorflow/tfjs-core";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const spring = overdamped((x) => tf.mul(tf.sum(tf.square(x), 1), 2), { beta: 0.5 }); // k = 4
 * const { x } = await last(simulate(spring, { x: tf.zeros([4000, 1]), span: [0, 2], steps: 64, keys: key(0) }));
 * const variance = tf.mean(tf.square(x)).dataSync()[0]!;
 * assert.ok(Math.abs(variance - 0.5) < 0.05);
 * ```
 */
export function overdamped(
  potential: (x: Tensor) => Tensor,
  options: OverdampedOptions = {},
): Sde {
  const action = "make an equation of motion";
  if (typeof potential !== "function") {
    throw new TypeError(`Cannot ${action}: potential must be a function, got ${shown(potential)}`);
  }
  const { beta = 1 } = decoded(action, options, overdampedRules), size = Math.sqrt(2 / beta);
  return {
    drift: (x) => scope(() => tf.grad((x: Tensor) => tf.neg(tf.sum(potential(x))))(x)),
    diffusion: () => size,
    diffusionSlope: () => 0,
  };
}

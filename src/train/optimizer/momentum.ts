/**
 * Gradient descent with momentum.
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
import { decoded, type Rules } from "../../tensor/check/decode.ts";
import { mapTensors } from "../../tensor/engine.ts";
import { scope } from "../../tensor/scope.ts";
import { type Optimizer, share, size } from "./optimizer.ts";

/**
 * Options of {@link byMomentum}.
 *
 * @category Training
 */
export interface MomentumOptions {
  /** Step size. Default: 1e-2. */
  readonly rate?: number;
  /** Share of the velocity that is kept, in [0, 1); 0 is gradient descent. Default: 0.9. */
  readonly momentum?: number;
}

const momentumOptions: Rules<MomentumOptions> = { rate: size, momentum: share };

/**
 * Gradient descent with momentum (B. Polyak, "Some methods of speeding up the convergence of iteration methods", 1964):
 *
 * ```text
 *   u ← momentum·u + g      w ← w − rate·u
 * ```
 *
 * @category Training
 * @param options Step size and momentum.
 * @returns The optimizer, which keeps `velocity`.
 * @throws {TypeError} If there is an option that is not known.
 * @throws {RangeError} If one is out of range.
 *
 * @example
 * ```ts
 * import { byMomentum } from "@tweedie/tweedie";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import * as tf from "@tensorflow/tfjs-core";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const descent = byMomentum({ rate: 0.5, momentum: 0 }), params = { w: tf.scalar(1) };
 * const next = descent.update({ params, gradients: { w: tf.scalar(1) }, moments: descent.init(params) }, descent.numbers(1));
 * assert.equal(next.params["w"]!.dataSync()[0], 0.5);
 * ```
 */
export function byMomentum(options: MomentumOptions = {}): Optimizer {
  const { rate = 1e-2, momentum = 0.9 } = decoded(
    "make a step of gradient descent",
    options,
    momentumOptions,
  );
  return {
    name: "momentum",
    init: (params) => ({ velocity: mapTensors(params, (weight) => tf.zerosLike(weight)) }),
    numbers: () => ({ rate }),
    update: ({ params, gradients, moments }, { rate }) =>
      scope(() => {
        const velocity = mapTensors(
          moments["velocity"]!,
          (u, name) => tf.add(tf.mul(u, momentum), gradients[name]!),
        );
        const moved = mapTensors(params, (w, name) => tf.sub(w, tf.mul(velocity[name]!, rate!)));
        return { params: moved, moments: { velocity } };
      }),
  };
}

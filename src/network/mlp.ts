/**
 * A perceptron over points under a time: the network for data in a few dimensions.
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
import { silu } from "../tensor/autodiff.ts";
import { decoded, is, needed, type Rules, whole, wholeNumber } from "../tensor/check/decode.ts";
import { classEmbedding } from "./layer/embedding.ts";
import { dense } from "./layer/linear.ts";
import { type Network, networkOf } from "./layer/network.ts";
import { parametersOf } from "./layer/parameter.ts";
import type { Tensor } from "../tensor/tensor.ts";

/**
 * Shape of a perceptron. Plain data: it can be stored with the weights.
 *
 * @category Networks
 */
export interface MlpConfig {
  /** Dimension of a point. */
  readonly dimension: number;
  /** Width of the hidden layers. Default: 128. */
  readonly width?: number;
  /** Number of residual hidden layers. Default: 3. */
  readonly layers?: number;
  /** Number of sinusoidal features of time; even. Default: 32. */
  readonly features?: number;
  /** Number of classes; 0 for a network without. Default: 0. */
  readonly classes?: number;
}

const mlpFields: Rules<MlpConfig> = {
  dimension: needed(wholeNumber(1)),
  width: wholeNumber(1),
  layers: wholeNumber(1),
  features: is("an even number of at least 2", (count) => whole(1)(count / 2)),
  classes: true,
};

/**
 * Builds a perceptron: point, time and class are each mapped to the hidden width and added; then come residual layers
 * h + dense(silu(h)), and a dense layer back to the dimension of the points. Every activation can be differentiated
 * again, so the network serves energies and divergences too.
 *
 * @category Networks
 * @param config Its shape.
 * @returns A layer of x [N, dimension], times (one a sample, of the order of 0 to 1000) and condition (a class or null
 *   a sample; default all null), to [N, dimension]. It starts at zero.
 * @throws {TypeError} If there is an entry that is not known.
 * @throws {RangeError} If a size is not a whole number of at least 1, or the number of features is odd; when applied, if x is of
 *   another shape, or as {@link networkOf} does.
 *
 * @example Five points at five times
 * ```ts
 * import { initialize, key, mlp, normal } from "@tweedie/tweedie";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const network = mlp({ dimension: 2 });
 * const y = network.apply(initialize(network.parameters, key(0)), normal(key(1), [5, 2]), [0, 10, 100, 500, 1000]);
 * assert.deepEqual(y.shape, [5, 2]);
 * ```
 */
export function mlp(config: MlpConfig): Network {
  const { dimension, width = 128, layers = 3, features = 32, classes = 0 } = decoded(
    "build a perceptron",
    config,
    mlpFields,
  );
  const point = dense("point", dimension, width), time = dense("time", features, width);
  const label = classes > 0 ? classEmbedding("class", classes, width) : undefined;
  const hidden = Array.from({ length: layers }, (_, i) => dense(`hidden.${i}`, width, width));
  const out = dense("out", width, dimension, { gain: 0 });
  return networkOf(parametersOf(point, time, ...hidden, out, ...(label ? [label] : [])), {
    classes,
    features,
    forward: (params, x, under) => {
      checkPoints(x, dimension);
      const t = time.apply(params, under.time);
      const embedded = label ? tf.add(t, label.apply(params, under.label!)) : t;
      const first = tf.add(point.apply(params, x), embedded);
      const last = hidden.reduce((h, layer) => tf.add(h, layer.apply(params, silu(h))), first);
      return out.apply(params, silu(last));
    },
  });
}

function checkPoints({ shape }: Tensor, dimension: number): void {
  if (shape.length === 2 && shape[1] === dimension) return;
  throw new RangeError(
    `Cannot apply the network: x must be of shape [N, ${dimension}], got [${shape}]`,
  );
}

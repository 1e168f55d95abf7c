/**
 * A small convolutional classifier, the judge of generated images: its class probabilities say whether a sample is
 * what it was meant to be, its penultimate features carry the Fréchet distance.
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
import { silu, softmax } from "../tensor/autodiff.ts";
import { conv, dense, groupNorm, type Layer, oneHot, parametersOf, type Params } from "./layer.ts";

/** Shape of a classifier. Plain data: it is stored with the weights. */
export interface ClassifierConfig {
  /** Height and width of the image in pixels; multiples of 4. */
  readonly size: readonly [number, number];
  /** Number of classes. */
  readonly classes: number;
  /** Channels of the image. Default: 1. */
  readonly channels?: number;
  /** Channels of the first convolution, a multiple of 8; the later ones have twice as many. Default: 32. */
  readonly base?: number;
  /** Length of the penultimate features. Default: 64. */
  readonly features?: number;
}

/** A classifier: `apply` gives logits [N, classes], `features` what the last layer sees, [N, features]. */
export interface Classifier extends Layer {
  /** Penultimate features of images [N, H, W, C] in [-1, 1]: [N, features], after their activation. */
  readonly features: (params: Params, x: tf.Tensor) => tf.Tensor;
}

/**
 * Builds a classifier: three convolutions, two of stride 2, each with group norm and SiLU, then two dense layers.
 *
 * @param config Its shape.
 * @returns The network. x is [N, H, W, C] in [-1, 1]; `apply` gives logits [N, classes].
 * @throws {RangeError} If the size is not made of multiples of 4, or `base` is not a multiple of 8; when applied, if x
 *   is of another shape.
 *
 * @example Logits of three classes
 * ```ts
 * import { classifier, initialize, key, normal } from "@tweedie/tweedie";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const network = classifier({ size: [8, 8], classes: 3, base: 8 });
 * const logits = network.apply(initialize(network.parameters, key(0)), normal(key(1), [2, 8, 8, 1]));
 * assert.deepEqual(logits.shape, [2, 3]);
 * ```
 */
export function classifier(config: ClassifierConfig): Classifier {
  const { size: [height, width], classes, channels = 1, base = 32, features: length = 64 } = config;
  if (height % 4 !== 0 || width % 4 !== 0 || height < 4 || width < 4) {
    throw new RangeError(
      `Cannot build a classifier: size must be multiples of 4 pixels, got ${height}×${width}`,
    );
  }
  const inner = (height / 4) * (width / 4) * 2 * base;
  const blocks = [
    { conv: conv("conv.0", channels, base, { stride: 2 }), norm: groupNorm("norm.0", base, 8) },
    { conv: conv("conv.1", base, 2 * base), norm: groupNorm("norm.1", 2 * base, 8) },
    {
      conv: conv("conv.2", 2 * base, 2 * base, { stride: 2 }),
      norm: groupNorm("norm.2", 2 * base, 8),
    },
  ];
  const joined = dense("features", inner, length), last = dense("logits", length, classes);
  const features = (params: Params, x: tf.Tensor): tf.Tensor => {
    checkImages(x, [height, width, channels]);
    return tf.tidy(() => {
      const image = blocks.reduce(
        (h, block) => silu(block.norm.apply(params, block.conv.apply(params, h))),
        x,
      );
      return silu(joined.apply(params, tf.reshape(image, [x.shape[0]!, inner])));
    });
  };
  return {
    parameters: parametersOf(...blocks.flatMap(({ conv, norm }) => [conv, norm]), joined, last),
    features,
    apply: (params, x) => tf.tidy(() => last.apply(params, features(params, x))),
  };
}

function checkImages(x: tf.Tensor, [height, width, channels]: readonly number[]): void {
  if (tf.util.arraysEqual(x.shape.slice(1), [height!, width!, channels!])) return;
  throw new RangeError(
    `Cannot classify: x must be of shape [N, ${height}, ${width}, ${channels}], got [${x.shape}]`,
  );
}

/**
 * The cross entropy −mean ln p(label), in nats, of logits and labels.
 *
 * @param logits [N, classes].
 * @param labels One class for each row, in [0, classes); or, as a tensor [N, classes], a distribution for each row, such
 *   as {@link oneHot} makes.
 * @returns A scalar, differentiable in the logits, twice if need be. The caller disposes of it.
 * @throws {RangeError} If there is not one label for each row, or one is out of range, or the tensor's shape is not that
 *   of the logits.
 *
 * @example Ignorance of two classes costs ln 2
 * ```ts
 * import { crossEntropy } from "@tweedie/tweedie";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import * as tf from "@tensorflow/tfjs-core";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const [loss] = crossEntropy(tf.tensor2d([[3, 3]]), [1]).dataSync();
 * assert.ok(Math.abs(loss! - Math.LN2) < 1e-6);
 * ```
 */
export function crossEntropy(
  logits: tf.Tensor,
  labels: ArrayLike<number> | tf.Tensor,
): tf.Scalar {
  const [count, classes] = logits.shape as [number, number];
  return tf.tidy(() => {
    const target = labels instanceof tf.Tensor ? labels : oneHot(labels, classes);
    if (!tf.util.arraysEqual(target.shape, logits.shape)) {
      const [wanted, got] = labels instanceof tf.Tensor
        ? [`of shape [${logits.shape}]`, `[${target.shape}]`]
        : [`one for each of ${count} rows`, target.shape[0]];
      throw new RangeError(
        `Cannot compute the cross entropy: labels must be ${wanted}, got ${got}`,
      );
    }
    return lifted(logits, target) as tf.Scalar;
  });
}

/** With the gradient (softmax − target)/N in closed form, so that the shift against overflow takes no part in it. */
const lifted = tf.customGrad((...inputs) => {
  const [logits, target, save] = inputs as unknown as [tf.Tensor, tf.Tensor, tf.GradSaveFunc];
  save([logits, target]);
  const value = tf.neg(tf.mean(tf.sum(tf.mul(tf.logSoftmax(logits), target), 1)));
  const gradFunc = (dy: tf.Tensor, saved: tf.Tensor[]) => {
    const [x, wanted] = saved as [tf.Tensor, tf.Tensor];
    const gradient = tf.mul(dy, tf.mul(tf.sub(softmax(x), wanted), 1 / x.shape[0]!));
    return [gradient, tf.zerosLike(wanted)];
  };
  return { value, gradFunc };
});

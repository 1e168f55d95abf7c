/**
 * Group normalization, with its gradient in closed form.
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
import type { Tensor } from "../../tensor/tensor.ts";
import type { Layer } from "./parameter.ts";

/**
 * Group normalization over pixels and the channels of a group, with a scale and a shift for each channel.
 *
 * Source: Y. Wu, K. He, "Group normalization" (2018), equations 1 and 2; eps is 1e-5.
 *
 * @category Networks
 * @param name Prefix of `.weight` and `.bias`, both [channels].
 * @param channels Channels of [N, H, W, channels].
 * @param groups Number of groups; divides `channels`.
 * @returns The layer.
 * @throws {RangeError} If `groups` does not divide `channels`.
 */
export function groupNorm(name: string, channels: number, groups: number): Layer {
  checkDivides(name, { groups, channels });
  const weight = `${name}.weight`, bias = `${name}.bias`, normalized = normalization(groups);
  return {
    parameters: { [weight]: { shape: [channels], mean: 1 }, [bias]: { shape: [channels] } },
    apply: (params, x) => normalized(x, params[weight]!, params[bias]!),
  };
}

/** Refuses a division of channels into equal parts that does not come out even. */
export function checkDivides(
  name: string,
  { channels, ...parts }: { readonly channels: number; readonly [part: string]: number },
): void {
  for (const [part, count] of Object.entries(parts)) {
    if (Number.isSafeInteger(count) && count > 0 && channels % count === 0) continue;
    throw new RangeError(
      `Cannot build ${name}: ${part} must divide ${channels} channels, got ${count}`,
    );
  }
}

/** A function of x [N, H, W, C] and a weight and a bias [C]. */
type Normalization = (x: Tensor, weight: Tensor, bias: Tensor) => Tensor;

/**
 * Group normalization with its gradient in closed form, in as few passes over the image as it takes. With m and s the
 * mean and 1/standard deviation of a group of M numbers, and sums A = Σ dy, B = Σ dy·(x − m) over the pixels of a channel,
 *
 * ```text
 *   dbias = A,  dweight = s·B,  dx = s·w·dy − s³·(x − m)·Σ(w·B)/M − s·Σ(w·A)/M,  the last sums over the group's channels
 * ```
 *
 * Everything is a number for each channel, or acts on an image as one: so a compiler may keep the image as it lies.
 */
function normalization(groups: number): Normalization {
  const normalized = tf.customGrad((...inputs) => {
    const [x, weight, bias, save] = inputs as unknown as [
      Tensor,
      Tensor,
      Tensor,
      tf.GradSaveFunc,
    ];
    // Not the output, nor anything between, so that the gradient can be differentiated again.
    save([x, weight]);
    const gradFunc = (dy: Tensor, saved: Tensor[]) => {
      const [x, weight] = saved as [Tensor, Tensor], { centred, scale } = standardized(x, groups);
      const a = pixelSums(dy), b = pixelSums(tf.mul(dy, centred));
      const share = (sums: Tensor): Tensor =>
        tf.mul(scale, groupMean(tf.mul(sums, weight), x, groups));
      const bend = tf.mul(share(b), tf.square(scale));
      const rest = tf.sub(tf.mul(centred, tf.neg(bend)), share(a));
      const dx = tf.add(tf.mul(dy, tf.mul(scale, weight)), rest);
      const flat = (sums: Tensor): Tensor => tf.reshape(tf.sum(sums, 0), weight.shape);
      return [dx, flat(tf.mul(b, scale)), flat(a)];
    };
    if (standardizes(x)) {
      const y = tf.engine().runKernel(standardize, { x }, { groups, epsilon }) as Tensor;
      return { value: tf.add(tf.mul(y, weight), bias), gradFunc };
    }
    const { centred, scale } = standardized(x, groups);
    return { value: tf.add(tf.mul(centred, tf.mul(scale, weight)), bias), gradFunc };
  });
  return (x, weight, bias) => normalized(x, weight, bias);
}

/** A kernel that some engines have: x [N, H, W, C] with zero mean and unit variance in each group. */
const standardize = "Standardize", epsilon = 1e-5;

/** Whether to use it: where there is one, and no gradient whose backward pass would have use for the moments. */
const standardizes = ({ rank }: Tensor): boolean =>
  rank === 4 && tf.engine().state.gradientDepth === 0 &&
  tf.getKernel(standardize, tf.getBackend()) != null;

/** x [N, H, W, C] less the mean of each group, and 1/standard deviation of each group, [N, 1, 1, C]. */
function standardized(x: Tensor, groups: number): {
  readonly centred: Tensor;
  readonly scale: Tensor;
} {
  const centred = tf.sub(x, groupMean(pixelSums(x), x, groups));
  const variance = groupMean(pixelSums(tf.square(centred)), x, groups);
  return { centred, scale: tf.rsqrt(tf.add(variance, epsilon)) };
}

/** The sums over the pixels of each channel, [N, 1, 1, C]; of samples of any rank, with an axis of 1 for each of theirs. */
const pixelSums = (x: Tensor): Tensor => tf.sum(x, x.shape.slice(1, -1).map((_, i) => i + 1), true);

/** The means of groups of channels, from the sums over the pixels of each, both of the shape of the sums. */
function groupMean(sums: Tensor, x: Tensor, groups: number): Tensor {
  const channels = x.shape.at(-1)!, split = [x.shape[0]!, groups, channels / groups];
  const total = tf.sum(tf.reshape(sums, split), 2, true);
  const mean = tf.mul(total, groups / tf.util.sizeFromShape(x.shape.slice(1)));
  return tf.reshape(tf.tile(mean, [1, 1, split[2]!]), sums.shape);
}

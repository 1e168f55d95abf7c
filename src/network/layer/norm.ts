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
 *   dbias = A,  dweight = s·B,  dx = s·w·dy − s·Σ(w·A)/M − s³·(x − m)·Σ(w·B)/M,  the last sums over the group's channels
 * ```
 */
function normalization(groups: number): Normalization {
  const normalized = tf.customGrad((...inputs) => {
    const [x, weight, bias, save] = inputs as unknown as [
      Tensor,
      Tensor,
      Tensor,
      tf.GradSaveFunc,
    ];
    const channels = x.shape.at(-1)!, pixels = tf.util.sizeFromShape(x.shape.slice(1, -1));
    const split = [x.shape[0]!, pixels, groups, channels / groups],
      each = [1, 1, ...split.slice(2)];
    // Not the output, nor anything between, so that the gradient can be differentiated again.
    save([x, weight]);
    const gradFunc = (dy: Tensor, saved: Tensor[]) => {
      const [x, weight] = [tf.reshape(saved[0]!, split), tf.reshape(saved[1]!, each)];
      const { mean, scale } = moments(x), slope = tf.reshape(dy, split);
      const a = tf.sum(slope, 1, true), b = centredSum(slope, x, { mean, sum: a });
      const share = (sums: Tensor): Tensor =>
        tf.div(tf.sum(tf.mul(sums, weight), 3, true), pixels * split[3]!);
      const bend = tf.mul(share(b), tf.mul(scale, tf.square(scale)));
      const level = tf.sub(tf.mul(mean, bend), tf.mul(scale, share(a)));
      const dx = tf.add(tf.sub(tf.mul(slope, tf.mul(scale, weight)), tf.mul(x, bend)), level);
      const flat = (sums: Tensor): Tensor => tf.reshape(tf.sum(sums, 0), [channels]);
      return [tf.reshape(dx, saved[0]!.shape), flat(tf.mul(b, scale)), flat(a)];
    };
    if (standardizes()) {
      const y = tf.engine().runKernel(standardize, { x }, { groups, epsilon }) as Tensor;
      return { value: tf.add(tf.mul(y, weight), bias), gradFunc };
    }
    const grouped = tf.reshape(x, split), { mean, scale } = moments(grouped);
    const factor = tf.mul(scale, tf.reshape(weight, each));
    const value = tf.add(tf.mul(tf.sub(grouped, mean), factor), tf.reshape(bias, each));
    return { value: tf.reshape(value, x.shape), gradFunc };
  });
  return (x, weight, bias) => normalized(x, weight, bias);
}

/** A kernel that some engines have: x [N, H, W, C] with zero mean and unit variance in each group. */
const standardize = "Standardize", epsilon = 1e-5;

/** Whether to use it: where there is one, and no gradient whose backward pass would have use for the moments. */
const standardizes = (): boolean =>
  tf.engine().state.gradientDepth === 0 && tf.getKernel(standardize, tf.getBackend()) != null;

/** Σ slope·(x − mean) over the pixels of each channel, from Σ slope·x: the image is read once. */
const centredSum = (
  slope: Tensor,
  x: Tensor,
  { mean, sum }: { readonly mean: Tensor; readonly sum: Tensor },
): Tensor => tf.sub(tf.sum(tf.mul(slope, x), 1, true), tf.mul(mean, sum));

/** Mean and 1/standard deviation of each group of [N, pixels, G, C/G], both [N, 1, G, 1]. */
function moments(x: Tensor): { readonly mean: Tensor; readonly scale: Tensor } {
  const mean = tf.mean(x, [1, 3], true),
    variance = tf.mean(tf.square(tf.sub(x, mean)), [1, 3], true);
  return { mean, scale: tf.rsqrt(tf.add(variance, epsilon)) };
}

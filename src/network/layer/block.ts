/**
 * Blocks with a skip around them: self-attention between pixels, and the residual block.
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
import { decoded, type Rules } from "../../tensor/check/decode.ts";
import { silu, softmax } from "../../tensor/autodiff.ts";
import type { Tensor } from "../../tensor/tensor.ts";
import { type Layer, parametersOf, type Params, scoped } from "./parameter.ts";
import { conv, dense } from "./linear.ts";
import { checkDivides, groupNorm } from "./norm.ts";

/**
 * Options of {@link attention}.
 *
 * @category Networks
 */
export interface AttentionOptions {
  /** Groups of the norm; divides the channels. Default: 8. */
  readonly groups?: number;
  /** Heads, each of which sees channels/heads of q, k and v; divides the channels. Default: 1. */
  readonly heads?: number;
}

const attentionOptions: Rules<AttentionOptions> = { groups: true, heads: true };

/**
 * Self-attention between the pixels of an image with a skip around it: x + proj(softmax(q·kᵀ/√d)·v), where q, k, v =
 * qkv(norm(x)), d channels a head, and the softmax is over the pixels of k.
 *
 * Sources: A. Vaswani et al., "Attention is all you need" (2017), equation 1; J. Ho, A. Jain, P. Abbeel, "Denoising
 * diffusion probabilistic models" (2020), appendix B.
 *
 * @category Networks
 * @param name Prefix of `.norm`, `.qkv` and `.proj`.
 * @param channels Channels of [N, H, W, channels].
 * @param options Groups of the norm, and heads.
 * @returns The layer; it starts as the identity.
 * @throws {TypeError} If there is an option that is not known.
 * @throws {RangeError} If `groups` or `heads` does not divide `channels`.
 */
export function attention(
  name: string,
  channels: number,
  options: AttentionOptions = {},
): Layer {
  const { groups = 8, heads = 1 } = decoded(`build ${name}`, options, attentionOptions),
    size = channels / heads;
  checkDivides(name, { heads, channels });
  const norm = groupNorm(`${name}.norm`, channels, groups);
  const qkv = conv(`${name}.qkv`, channels, 3 * channels, { size: 1 });
  const proj = conv(`${name}.proj`, channels, channels, { size: 1, gain: 0 });
  const apply = (params: Params, x: Tensor): Tensor => {
    const [n, height, width] = x.shape as [number, number, number], pixels = height * width;
    const joint = tf.reshape(qkv.apply(params, norm.apply(params, x)), [n, pixels, 3, heads, size]);
    const [q, k, v] = tf.split(tf.transpose(joint, [2, 0, 3, 1, 4]), 3).map((part) =>
      tf.reshape(part, [n * heads, pixels, size])
    ) as [Tensor, Tensor, Tensor];
    const weights = softmax(tf.mul(tf.matMul(q, k, false, true), 1 / Math.sqrt(size)));
    const mixed = tf.transpose(tf.reshape(tf.matMul(weights, v), [n, heads, pixels, size]), [
      0,
      2,
      1,
      3,
    ]);
    return tf.add(x, proj.apply(params, tf.reshape(mixed, [n, height, width, channels])));
  };
  return { parameters: parametersOf(norm, qkv, proj), apply: scoped(apply) };
}

/**
 * Options of {@link residual}.
 *
 * @category Networks
 */
export interface ResidualOptions {
  /**
   * Groups of the norms; divides the channels in and out. With as many groups as channels out, the second norm takes
   * out again what the vector adds, and the block is blind to it. Default: 8.
   */
  readonly groups?: number;
  /** Length of the vector. Default: the channels out. */
  readonly embedding?: number;
}

const residualOptions: Rules<ResidualOptions> = { groups: true, embedding: true };

/**
 * A residual block with a vector, such as an embedding of time, added between its convolutions:
 * skip(x) + conv(silu(norm(conv(silu(norm(x))) + dense(e)))).
 *
 * @category Networks
 * @param name Prefix of the parts' names.
 * @param inputs Channels in.
 * @param outputs Channels out; the skip is a 1×1 convolution when they differ from `inputs`.
 * @param options Groups of the norms, and length of the vector.
 * @returns A layer of x [N, H, W, inputs] and e [N, embedding]; it starts as its skip.
 * @throws {TypeError} If there is an option that is not known.
 * @throws {RangeError} If `groups` does not divide `inputs` and `outputs`, or a size is not a whole number of at least 1.
 */
export function residual(
  name: string,
  inputs: number,
  outputs: number,
  options: ResidualOptions = {},
): Layer<[x: Tensor, e: Tensor]> {
  const { groups = 8, embedding = outputs } = decoded(`build ${name}`, options, residualOptions);
  const norm1 = groupNorm(`${name}.norm1`, inputs, groups),
    norm2 = groupNorm(`${name}.norm2`, outputs, groups);
  const conv1 = conv(`${name}.conv1`, inputs, outputs),
    conv2 = conv(`${name}.conv2`, outputs, outputs, { gain: 0 });
  const time = dense(`${name}.time`, embedding, outputs);
  const skip = inputs === outputs ? undefined : conv(`${name}.skip`, inputs, outputs, { size: 1 });
  const apply = (params: Params, x: Tensor, e: Tensor): Tensor => {
    const shift = tf.reshape(time.apply(params, e), [e.shape[0]!, 1, 1, outputs]);
    const h = tf.add(conv1.apply(params, silu(norm1.apply(params, x))), shift);
    return tf.add(skip?.apply(params, x) ?? x, conv2.apply(params, silu(norm2.apply(params, h))));
  };
  return {
    parameters: parametersOf(norm1, conv1, time, norm2, conv2, ...(skip ? [skip] : [])),
    apply: scoped(apply),
  };
}

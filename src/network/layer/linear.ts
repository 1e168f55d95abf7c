/**
 * Affine maps: of the last axis, and of each pixel's surroundings.
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
import { decoded, is, type Rules, wholeNumber } from "../../tensor/check/decode.ts";
import type { Tensor4D } from "../../tensor/tensor.ts";
import { type Layer, scoped } from "./parameter.ts";

/**
 * Options of {@link dense} and {@link conv}.
 *
 * @category Networks
 */
export interface LinearOptions {
  /** Factor on the standard deviation 1/√fan-in of the weights' start; 0 starts the layer at zero. Default: 1. */
  readonly gain?: number;
}

const linearOptions: Rules<LinearOptions> = { gain: is("finite", Number.isFinite) };

/** Refuses sizes of a layer that are not whole numbers of at least 1. */
export function checkSizes(name: string, sizes: Readonly<Record<string, number>>): void {
  for (const [size, value] of Object.entries(sizes)) {
    if (Number.isSafeInteger(value) && value >= 1) continue;
    throw new RangeError(
      `Cannot build ${name}: ${size} must be a whole number of at least 1, got ${value}`,
    );
  }
}

/**
 * An affine map of the last axis, x·W + b: [N, inputs] to [N, outputs].
 *
 * @category Networks
 * @param name Prefix of `.weight` [inputs, outputs] and `.bias` [outputs].
 * @param inputs Size of the last axis.
 * @param outputs Size wanted.
 * @param options Scale of the start.
 * @returns The layer.
 * @throws {TypeError} If there is an option that is not known.
 * @throws {RangeError} If a size is not a whole number of at least 1, or the gain not finite.
 */
export function dense(
  name: string,
  inputs: number,
  outputs: number,
  options: LinearOptions = {},
): Layer {
  const { gain = 1 } = decoded(`build ${name}`, options, linearOptions),
    weight = `${name}.weight`,
    bias = `${name}.bias`;
  checkSizes(name, { inputs, outputs });
  return {
    parameters: {
      [weight]: { shape: [inputs, outputs], std: gain / Math.sqrt(inputs) },
      [bias]: { shape: [outputs] },
    },
    apply: scoped((params, x) => tf.add(tf.matMul(x, params[weight]!), params[bias]!)),
  };
}

/**
 * Options of {@link conv}.
 *
 * @category Networks
 */
export interface ConvOptions extends LinearOptions {
  /** Height and width of the filter, in pixels. Default: 3. */
  readonly size?: number;
  /** Step between outputs, in pixels. Default: 1. */
  readonly stride?: number;
}

const convOptions: Rules<ConvOptions> = {
  ...linearOptions,
  size: wholeNumber(1),
  stride: wholeNumber(1),
};

/**
 * A convolution with zero padding, [N, H, W, inputs] to [N, ⌈H/stride⌉, ⌈W/stride⌉, outputs].
 *
 * @category Networks
 * @param name Prefix of `.weight` [size, size, inputs, outputs] and `.bias` [outputs].
 * @param inputs Channels in.
 * @param outputs Channels out.
 * @param options Filter size, stride, scale of the start.
 * @returns The layer.
 * @throws {TypeError} If there is an option that is not known.
 * @throws {RangeError} If a size is not a whole number of at least 1, or the gain not finite, or the stride is more than the size
 *   of the filter.
 */
export function conv(
  name: string,
  inputs: number,
  outputs: number,
  options: ConvOptions = {},
): Layer {
  const { size = 3, stride = 1, gain = 1 } = decoded(`build ${name}`, options, convOptions),
    weight = `${name}.weight`,
    bias = `${name}.bias`;
  checkSizes(name, { inputs, outputs });
  if (stride > size) {
    // tfjs's wasm kernel is wrong there, and pixels between the filters would go unseen anyway.
    throw new RangeError(
      `Cannot build ${name}: stride must be at most size ${size}, got ${stride}`,
    );
  }
  return {
    parameters: {
      [weight]: {
        shape: [size, size, inputs, outputs],
        std: gain / Math.sqrt(inputs * size * size),
      },
      [bias]: { shape: [outputs] },
    },
    apply: (params, x) =>
      tf.fused.conv2d({
        x: x as Tensor4D,
        filter: params[weight] as Tensor4D,
        bias: params[bias]!,
        strides: stride,
        pad: "same",
      }),
  };
}

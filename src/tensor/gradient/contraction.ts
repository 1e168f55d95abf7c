/**
 * Gradients of products of matrices and of convolutions, which are products and convolutions.
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
import { type Gradients, run, unbroadcast } from "./rule.ts";
import type { Tensor } from "../tensor.ts";

/** Attributes of a convolution. */
export interface ConvAttrs {
  /** Steps along the rows and columns. */
  strides: [number, number];
  /** The border of zeros. */
  pad: "same" | "valid" | number;
  /** The order of the axes. */
  dataFormat: "NHWC";
  /** What becomes of half steps. */
  dimRoundingMode?: "floor" | "round" | "ceil";
}

/** Refuses what the kernels of the gradients cannot express, which would go wrong in silence. */
function convAttrs(attrs: tf.NamedAttrMap): ConvAttrs {
  const { dilations = 1, dataFormat } = attrs as unknown as {
    dilations?: number | number[];
    dataFormat: string;
  };
  if ([dilations].flat().some((step) => step !== 1)) {
    throw new RangeError(
      `Cannot differentiate a convolution: dilations must be 1, got ${dilations}`,
    );
  }
  if (dataFormat !== "NHWC") {
    throw new RangeError(
      `Cannot differentiate a convolution: dataFormat must be NHWC, got ${dataFormat}`,
    );
  }
  return attrs as unknown as ConvAttrs;
}

const convolve = (
  x: Tensor,
  filter: Tensor,
  { strides, pad, dataFormat, dimRoundingMode }: ConvAttrs,
): Tensor =>
  run("Conv2D", { x, filter }, { strides, pad, dataFormat, dilations: [1, 1], dimRoundingMode });
/** The cotangent of a convolution's input. */
export const convolveBack = (
  dy: Tensor,
  filter: Tensor,
  attrs: ConvAttrs,
  inputShape: number[],
): Tensor => run("Conv2DBackpropInput", { dy, filter }, { ...picked(attrs), inputShape });
const filterOf = (
  x: Tensor,
  dy: Tensor,
  attrs: ConvAttrs,
  filterShape: number[],
): Tensor => run("Conv2DBackpropFilter", { x, dy }, { ...picked(attrs), filterShape });
const picked = (
  { strides, pad, dataFormat, dimRoundingMode }: ConvAttrs,
): Record<string, unknown> => ({
  strides,
  pad,
  dataFormat,
  dimRoundingMode,
});

/** The same three of a convolution of each channel by itself. */
const eachForth = (x: Tensor, filter: Tensor, attrs: ConvAttrs): Tensor =>
  run("DepthwiseConv2dNative", { x, filter }, { ...picked(attrs), dilations: [1, 1] });
const eachBack = (
  dy: Tensor,
  filter: Tensor,
  attrs: ConvAttrs,
  inputShape: number[],
): Tensor =>
  run("DepthwiseConv2dNativeBackpropInput", { dy, filter }, {
    ...picked(attrs),
    dilations: [1, 1],
    inputShape,
  });
const eachFilter = (
  x: Tensor,
  dy: Tensor,
  attrs: ConvAttrs,
  filterShape: number[],
): Tensor =>
  run("DepthwiseConv2dNativeBackpropFilter", { x, dy }, {
    ...picked(attrs),
    dilations: [1, 1],
    filterShape,
  });

/** The gradients of this file. */
export const contraction: Gradients = {
  BatchMatMul: {
    save: ["a", "b"],
    vjp: (dy, [a, b], { transposeA, transposeB }) => ({
      a: () =>
        unbroadcast(
          transposeA
            ? tf.matMul(b!, dy, !!transposeB, true)
            : tf.matMul(dy, b!, false, !transposeB),
          a!.shape,
        ),
      b: () =>
        unbroadcast(
          transposeB
            ? tf.matMul(dy, a!, true, !!transposeA)
            : tf.matMul(a!, dy, !transposeA, false),
          b!.shape,
        ),
    }),
  },
  Conv2D: {
    save: ["x", "filter"],
    vjp: (dy, [x, filter], attrs) => ({
      x: () => convolveBack(dy, filter!, convAttrs(attrs), x!.shape),
      filter: () => filterOf(x!, dy, convAttrs(attrs), filter!.shape),
    }),
  },
  Conv2DBackpropInput: {
    save: ["dy", "filter"],
    vjp: (g, [dy, filter], attrs) => ({
      dy: () => convolve(g, filter!, convAttrs(attrs)),
      filter: () => filterOf(g, dy!, convAttrs(attrs), filter!.shape),
    }),
  },
  Conv2DBackpropFilter: {
    save: ["x", "dy"],
    vjp: (g, [x, dy], attrs) => ({
      x: () => convolveBack(dy!, g, convAttrs(attrs), x!.shape),
      dy: () => convolve(x!, g, convAttrs(attrs)),
    }),
  },
  DepthwiseConv2dNative: {
    save: ["x", "filter"],
    vjp: (dy, [x, filter], attrs) => ({
      x: () => eachBack(dy, filter!, convAttrs(attrs), x!.shape),
      filter: () => eachFilter(x!, dy, convAttrs(attrs), filter!.shape),
    }),
  },
  DepthwiseConv2dNativeBackpropInput: {
    save: ["dy", "filter"],
    vjp: (g, [dy, filter], attrs) => ({
      dy: () => eachForth(g, filter!, convAttrs(attrs)),
      filter: () => eachFilter(g, dy!, convAttrs(attrs), filter!.shape),
    }),
  },
  DepthwiseConv2dNativeBackpropFilter: {
    save: ["x", "dy"],
    vjp: (g, [x, dy], attrs) => ({
      x: () => eachBack(dy!, g, convAttrs(attrs), x!.shape),
      dy: () => eachForth(x!, g, convAttrs(attrs)),
    }),
  },
};

/**
 * Kernels that make images smaller or larger: pools, and resizing.
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
import type { Recorder } from "../graph/record.ts";
import {
  integers,
  namedValue,
  nchw,
  placed,
  reshaped,
  scalar,
  type Value,
} from "../graph/value.ts";
import type { Attributes, Lowering, Lowerings } from "./elementwise.ts";
import { checkedSize } from "./convolution.ts";
import { reducingKernels } from "./reduce.ts";
import { unsupported } from "./shape.ts";

/** What a pool makes of an image, and how it moves. */
export function poolInfo(
  kernel: string,
  shape: readonly number[],
  { filterSize, strides, pad, dimRoundingMode, dataFormat = "NHWC" }: Attributes,
) {
  if (dataFormat !== "NHWC") throw unsupported(kernel, "dataFormat", "NHWC", dataFormat);
  const info = tf.backend_util.computePool2DInfo(
    [...shape] as [number, number, number, number],
    filterSize,
    strides,
    1,
    pad,
    dimRoundingMode,
  );
  checkedSize(kernel, info, pad);
  const { top, left, bottom, right } = info.padInfo;
  const attributes = {
    kernel_shape: [info.filterHeight, info.filterWidth],
    strides: [info.strideHeight, info.strideWidth],
    pads: [top, left, bottom, right],
  };
  return { outShape: info.outShape, attributes };
}

/** The least number that is finite, with which ONNX Runtime begins to look for the largest. */
const least = -3.4028234663852886e38;

/** The largest of windows, −∞ where nothing in one is larger. */
export const orLess = (rec: Recorder, name: string): string => {
  const [least32, below] = [least, -Infinity].map((x) => scalar(rec, x, "float32"));
  return rec.node("Where", [rec.node("Equal", [name, least32!]), below!, name]);
};

/** A pool, by the operator that does it. */
const pool = (kernel: "AvgPool" | "MaxPool", op: string): Lowering => (rec, { x }, given) => {
  const { outShape: shape, attributes } = poolInfo(kernel, x!.shape, given);
  const name = rec.node(op, [placed(rec, x!, nchw)], { attributes });
  return namedValue(
    kernel === "MaxPool" ? orLess(rec, name) : name,
    { type: "float32", shape },
    { order: nchw },
  );
};

/** By how much an image grows, if by whole numbers; both kinds of half-pixel rules agree only then. */
function factorsOf(
  kernel: string,
  small: readonly number[],
  large: readonly number[],
): readonly [number, number] {
  const factors = [large[0]! / small[1]!, large[1]! / small[2]!] as const;
  if (factors.every(Number.isInteger)) return factors;
  throw unsupported(
    kernel,
    "size",
    `a multiple of ${small.slice(1, 3).join("×")}`,
    large.join("×"),
  );
}

/** Each pixel repeated. As a broadcast along two new axes it takes ONNX Runtime eight times as long. */
function repeated(rec: Recorder, x: Value, factors: readonly [number, number]): Value {
  const [n, h, w, c] = x.shape as [number, number, number, number];
  const scales = rec.constant("float32", [4], () => [1, 1, ...factors]);
  const name = rec.node("Resize", [placed(rec, x, nchw), "", scales], {
    attributes: {
      mode: "nearest",
      coordinate_transformation_mode: "asymmetric",
      nearest_mode: "floor",
    },
  });
  const shape = [n, h * factors[0], w * factors[1], c];
  return namedValue(name, { type: "float32", shape }, { order: nchw });
}

/** The sum over each block of pixels. */
function gathered(rec: Recorder, dy: Value, small: readonly number[]): Value {
  const [n, h, w, c] = small as [number, number, number, number];
  const factors = factorsOf("ResizeNearestNeighborGrad", small, dy.shape.slice(1, 3));
  const blocks = reshaped(rec, dy, [n, h, factors[0], w, factors[1], c]);
  return reducingKernels["Sum"]!(rec, { x: blocks }, { axis: [2, 4], keepDims: false }) as Value;
}

function checkPlain(kernel: string, { alignCorners, halfPixelCenters }: Attributes): void {
  if (alignCorners) throw unsupported(kernel, "alignCorners", "false", alignCorners);
  if (halfPixelCenters && kernel.includes("Nearest")) {
    throw unsupported(kernel, "halfPixelCenters", "false", halfPixelCenters);
  }
}

/** The lowerings of this file. */
export const poolKernels: Lowerings = {
  AvgPool: pool("AvgPool", "AveragePool"),
  MaxPool: pool("MaxPool", "MaxPool"),
  ResizeNearestNeighbor: (rec, { images }, { size, ...rest }) => {
    checkPlain("ResizeNearestNeighbor", rest);
    return repeated(rec, images!, factorsOf("ResizeNearestNeighbor", images!.shape, size));
  },
  ResizeNearestNeighborGrad: (rec, { images, dy }, attributes) => {
    checkPlain("ResizeNearestNeighborGrad", attributes);
    return gathered(rec, dy!, images!.shape);
  },
  ResizeBilinear: (rec, { images }, { size, ...rest }) => {
    checkPlain("ResizeBilinear", rest);
    const [n, , , c] = images!.shape as [number, number, number, number];
    const name = rec.node(
      "Resize",
      [placed(rec, images!, nchw), "", "", integers(rec, [n, c, ...size])],
      {
        attributes: {
          mode: "linear",
          coordinate_transformation_mode: rest["halfPixelCenters"] ? "half_pixel" : "asymmetric",
        },
      },
    );
    return namedValue(name, { type: "float32", shape: [n, ...size, c] }, { order: nchw });
  },
};

/**
 * Functions that call each kernel of the tables of gradients, with where to differentiate them.
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
import { exp, logSoftmax, sigmoid, silu, softmax, tanh } from "../../src/tensor/autodiff.ts";
import type { Case } from "./differences.ts";

/** A convolution. */
export const conv = (strides: number | [number, number], pad: "same" | "valid" | number) =>
(
  x: tf.Tensor,
  w: tf.Tensor,
): tf.Tensor =>
  tf.conv2d(
    x as tf.Tensor4D,
    w as tf.Tensor4D,
    strides,
    pad,
    "NHWC",
    1,
    typeof pad === "number" ? "floor" : undefined,
  );

/** A product of matrices. */
export const matMul = (transposeA: boolean, transposeB: boolean) => (a: tf.Tensor, b: tf.Tensor) =>
  tf.matMul(a, b, transposeA, transposeB);

const depthwise = (stride: number, pad: "same" | "valid") => (x: tf.Tensor, w: tf.Tensor) =>
  tf.depthwiseConv2d(x as tf.Tensor4D, w as tf.Tensor4D, stride, pad);

const avgPool = (size: number, stride: number, pad: "same" | "valid" | number) => (x: tf.Tensor) =>
  tf.avgPool(x as tf.Tensor4D, size, stride, pad, pad === 1 ? "floor" : undefined);

/** The pooling of values that lie half a unit apart, in no order. */
const maxPool =
  (size: number, stride: number, pad: "same" | "valid" | number) => (x: tf.Tensor) => {
    const places = Array.from({ length: x.size }, (_, i) => (i * 7) % x.size / 2);
    const apart = tf.add(x, tf.tensor(places, x.shape)) as tf.Tensor4D;
    return tf.maxPool(apart, size, stride, pad, pad === 1 ? "floor" : undefined);
  };

/** A resize, with its corners or its pixels' centres in the same places, or neither. */
const resize = (
  kind: "resizeNearestNeighbor" | "resizeBilinear",
  size: [number, number],
  { corners = false, centres = false } = {},
) =>
(x: tf.Tensor) => tf.image[kind](x as tf.Tensor4D, size, corners, centres);

const indices = (values: number[], shape?: number[]) => tf.tensor(values, shape, "int32");

const v = [5], m = [3, 4];

/** At least one case for each kernel that the tables cover, by its name. */
export const cases: Record<string, Case> = {
  "Abs above 0": { f: tf.abs, shapes: [v], range: [0.2, 1.5] },
  "Abs below 0": { f: tf.abs, shapes: [v], range: [-1.5, -0.2] },
  "Neg": { f: tf.neg, shapes: [v] },
  "Square": { f: tf.square, shapes: [v] },
  "Sqrt": { f: tf.sqrt, shapes: [v], range: [0.7, 2] },
  "Rsqrt": { f: tf.rsqrt, shapes: [v], range: [0.8, 2] },
  "Reciprocal": { f: tf.reciprocal, shapes: [v], range: [0.9, 2] },
  "Exp": { f: tf.exp, shapes: [v] },
  "Log": { f: tf.log, shapes: [v], range: [0.8, 2] },
  "Log1p": { f: tf.log1p, shapes: [v], range: [-0.2, 1] },
  "Sin": { f: tf.sin, shapes: [v] },
  "Cos": { f: tf.cos, shapes: [v] },
  "Tanh": { f: tf.tanh, shapes: [v] },
  "Sigmoid": { f: tf.sigmoid, shapes: [v] },
  "Softplus": { f: tf.softplus, shapes: [v] },
  "Erf": { f: tf.erf, shapes: [v] },
  "Relu above 0": { f: tf.relu, shapes: [v], range: [0.2, 1.2] },
  "Relu below 0": { f: (x) => tf.add(tf.relu(x), x), shapes: [v], range: [-1.2, -0.2] },
  "Elu above 0": { f: tf.elu, shapes: [v], range: [0.2, 1.2] },
  "Elu below 0": { f: tf.elu, shapes: [v], range: [-1.2, -0.2] },
  "LeakyRelu above 0": { f: (x) => tf.leakyRelu(x, 0.3), shapes: [v], range: [0.2, 1.2] },
  "LeakyRelu below 0": { f: (x) => tf.leakyRelu(x, 0.3), shapes: [v], range: [-1.2, -0.2] },
  "ClipByValue inside": { f: (x) => tf.clipByValue(x, -2, 2), shapes: [v] },
  "ClipByValue outside": { f: (x) => tf.add(x, tf.clipByValue(x, 2, 3)), shapes: [v] },
  "Identity and Cast": { f: (x) => tf.cast(tf.clone(x), "float32"), shapes: [v] },
  "exp": { f: exp, shapes: [v] },
  "sigmoid": { f: sigmoid, shapes: [v] },
  "tanh": { f: tanh, shapes: [v] },
  "silu": { f: silu, shapes: [v], range: [-3, 3] },
  "softmax": { f: softmax, shapes: [[2, 4]] },
  "Softmax": { f: (x) => tf.softmax(x), shapes: [[2, 4]] },
  "Add": { f: tf.add, shapes: [m, m] },
  "Add with broadcasting": { f: tf.add, shapes: [[2, 1, 3], [4, 1]] },
  "Sub with broadcasting": { f: tf.sub, shapes: [[3], [2, 3]] },
  "Multiply": { f: tf.mul, shapes: [m, m] },
  "Multiply with broadcasting": { f: tf.mul, shapes: [[], [2, 3]] },
  "RealDiv": { f: tf.div, shapes: [m, m], range: [0.8, 1.6] },
  "RealDiv with broadcasting": { f: tf.div, shapes: [[2, 3], [2, 1]], range: [0.8, 1.6] },
  "SquaredDifference with broadcasting": { f: tf.squaredDifference, shapes: [[2, 3], [1, 3]] },
  "Maximum": { f: (a, b) => tf.maximum(a, tf.add(b, 2)), shapes: [m, m] },
  "Maximum with broadcasting": {
    f: (a, b) => tf.maximum(tf.add(a, 3), b),
    shapes: [[3], m.with(1, 3)],
  },
  "Minimum": { f: (a, b) => tf.minimum(a, tf.add(b, 3)), shapes: [m, [4]] },
  "Pow": { f: tf.pow, shapes: [m, m], range: [0.7, 1.7] },
  "Pow with a constant exponent": { f: (x) => tf.pow(x, 3), shapes: [v], range: [-1.5, -0.5] },
  "AddN": { f: (...x) => tf.addN(x), shapes: [m, m, m] },
  "Sum over all": { f: (x) => tf.sum(x), shapes: [[2, 3]] },
  "Sum over leading axes": { f: (x) => tf.sum(x, [0, 1]), shapes: [[2, 2, 3]] },
  "Sum over a middle axis": { f: (x) => tf.sum(x, 1), shapes: [[2, 3, 2]] },
  "Sum that keeps its axis": { f: (x) => tf.sum(x, -1, true), shapes: [[2, 3]] },
  "Mean over all": { f: (x) => tf.mean(x), shapes: [[2, 3]] },
  "Mean over two axes": { f: (x) => tf.mean(x, [0, 2]), shapes: [[2, 3, 2]] },
  "Mean that keeps its axis": { f: (x) => tf.mean(x, 0, true), shapes: [[2, 3]] },
  "Max": { f: (x) => tf.max(x, 1), shapes: [[2, 5]] },
  "Max over all": { f: (x) => tf.max(x), shapes: [[4]] },
  "Min": { f: (x) => tf.min(x, 0, true), shapes: [[5, 2]] },
  "logSumExp": { f: (x) => tf.logSumExp(x, 1), shapes: [[2, 3]] },
  "Reshape": { f: (x) => tf.reshape(x, [3, 2]), shapes: [[2, 3]] },
  "ExpandDims": { f: (x) => tf.expandDims(x, 1), shapes: [[2, 3]] },
  "squeeze": { f: (x) => tf.squeeze(x), shapes: [[2, 1, 3]] },
  "Transpose": { f: (x) => tf.transpose(x, [2, 0, 1]), shapes: [[2, 3, 2]] },
  "Reverse": { f: (x) => tf.reverse(x, [0, 2]), shapes: [[2, 2, 3]] },
  "Reverse of all axes": { f: (x) => tf.reverse(x), shapes: [[2, 3]] },
  "Concat": { f: (...x) => tf.concat(x, 1), shapes: [[2, 1], [2, 3], [2, 2]] },
  "Concat of the last axis": { f: (...x) => tf.concat(x, -1), shapes: [[2, 1], [2, 3]] },
  "SplitV": {
    f: (x) => {
      const [a, b, c] = tf.split(x, [1, 2, 1], 1);
      return tf.add(tf.mul(a!, b!), c!);
    },
    shapes: [[2, 4]],
  },
  "SplitV of which one part is used": { f: (x) => tf.split(x, 3, 1)[1]!, shapes: [[2, 3]] },
  "SplitV into one part": { f: (x) => tf.split(x, 1, 1)[0]!, shapes: [[2, 3]] },
  "Pack": { f: (...x) => tf.stack(x, 1), shapes: [[2, 3], [2, 3]] },
  "Unpack": {
    f: (x) => {
      const [a, b] = tf.unstack(x, 1);
      return tf.mul(a!, b!);
    },
    shapes: [[3, 2]],
  },
  "Tile": { f: (x) => tf.tile(x, [2, 1, 3]), shapes: [[2, 3, 1]] },
  "broadcastTo": { f: (x) => tf.broadcastTo(x, [2, 3, 2]), shapes: [[3, 1]] },
  "Slice": { f: (x) => tf.slice(x, [0, 1], [2, 2]), shapes: [[3, 4]] },
  "Slice to the end": { f: (x) => tf.slice(x, 1), shapes: [[3, 2]] },
  "PadV2": { f: (x) => tf.pad(x, [[1, 0], [2, 1]], 0.5), shapes: [[2, 2]] },
  "PadV2 of images": {
    f: (x) => tf.pad(x, [[0, 0], [1, 2], [0, 1], [0, 0]]),
    shapes: [[1, 2, 2, 1]],
  },
  "Select": {
    f: (a, b) => tf.where(tf.tensor1d([true, false, true], "bool"), a, b),
    shapes: [[3], [3]],
  },
  "Select by a comparison": {
    f: (a, b) => tf.where(tf.logicalNot(tf.logicalAnd(tf.less(a, -9), tf.greater(b, 9))), a, b),
    shapes: [[3], [3]],
  },
  "Select by every comparison": {
    f: (a, b) =>
      [tf.greater, tf.greaterEqual, tf.less, tf.lessEqual, tf.equal, tf.notEqual].reduce(
        (total: tf.Tensor, compare) =>
          tf.add(total, tf.where(tf.logicalOr(compare(a, b), tf.equal(b, a)), a, tf.square(b))),
        a,
      ),
    shapes: [[3], [3]],
  },
  "Step, Sign, rounding and likes": {
    f: (x) =>
      [tf.step, tf.sign, tf.floor, tf.ceil, tf.round, tf.onesLike, tf.zerosLike].reduce(
        (total: tf.Tensor, flat) => tf.add(total, tf.mul(x, flat(x))),
        x,
      ),
    shapes: [v],
    range: [0.6, 0.95],
  },
  "BatchMatMul of matrices": { f: matMul(false, false), shapes: [[2, 3], [3, 2]] },
  "BatchMatMul, the first transposed": { f: matMul(true, false), shapes: [[2, 3, 2], [2, 3, 1]] },
  "BatchMatMul, the second transposed": { f: matMul(false, true), shapes: [[2, 2, 3], [2, 1, 3]] },
  "BatchMatMul, both transposed": { f: matMul(true, true), shapes: [[2, 3, 2], [2, 1, 3]] },
  "BatchMatMul of batches": { f: matMul(false, false), shapes: [[2, 2, 3], [2, 3, 2]] },
  "BatchMatMul of one with a batch": { f: matMul(false, false), shapes: [[1, 2, 3], [2, 3, 2]] },
  "BatchMatMul of a batch with a matrix": {
    f: matMul(false, true),
    shapes: [[2, 2, 3], [2, 3]],
  },
  "BatchMatMul of batches broadcast both ways": {
    f: matMul(false, false),
    shapes: [[2, 1, 1, 2], [3, 2, 1]],
  },
  "Conv2D": { f: conv(1, "same"), shapes: [[2, 3, 3, 2], [3, 3, 2, 2]], range: [-0.6, 0.6] },
  "Conv2D without padding": { f: conv(1, "valid"), shapes: [[1, 3, 4, 2], [2, 2, 2, 1]] },
  "Conv2D of stride 2": { f: conv(2, "same"), shapes: [[1, 4, 5, 1], [3, 3, 1, 2]] },
  "Conv2D of unequal strides": { f: conv([2, 1], "valid"), shapes: [[1, 4, 4, 1], [3, 2, 1, 2]] },
  "Conv2D padded by 1": { f: conv(1, 1), shapes: [[1, 3, 3, 1], [3, 3, 1, 2]] },
  "Conv2D of single pixels": { f: conv(1, "same"), shapes: [[1, 2, 2, 3], [1, 1, 3, 2]] },
  "Expm1": { f: tf.expm1, shapes: [v] },
  "Tan": { f: tf.tan, shapes: [v], range: [-0.8, 0.8] },
  "Asin": { f: tf.asin, shapes: [v], range: [-0.6, 0.6] },
  "Acos": { f: tf.acos, shapes: [v], range: [-0.6, 0.6] },
  "Atan": { f: tf.atan, shapes: [v] },
  "Sinh": { f: tf.sinh, shapes: [v] },
  "Cosh": { f: tf.cosh, shapes: [v] },
  "Asinh": { f: tf.asinh, shapes: [v] },
  "Acosh": { f: tf.acosh, shapes: [v], range: [1.7, 2.6] },
  "Atanh": { f: tf.atanh, shapes: [v], range: [-0.5, 0.5] },
  "Relu6 inside": { f: (x) => tf.relu6(tf.add(x, 3)), shapes: [v] },
  "Relu6 outside": { f: (x) => tf.add(tf.relu6(tf.mul(x, 20)), x), shapes: [v], range: [0.5, 1.5] },
  "Selu above 0": { f: tf.selu, shapes: [v], range: [0.2, 1.2] },
  "Selu below 0": { f: tf.selu, shapes: [v], range: [-1.2, -0.2] },
  "Prelu above 0": { f: tf.prelu, shapes: [m, [4]], range: [0.2, 1.2] },
  "Prelu below 0": { f: tf.prelu, shapes: [m, [4]], range: [-1.2, -0.2] },
  "Mod": { f: (a, b) => tf.mod(tf.add(a, 3), b), shapes: [m, [4]], range: [1.32, 1.44] },
  "Atan2": { f: tf.atan2, shapes: [m, [3, 1]], range: [0.6, 1.5] },
  "logSoftmax": { f: logSoftmax, shapes: [[2, 4]] },
  "divNoNan": { f: tf.divNoNan, shapes: [m, m], range: [0.8, 1.6] },
  "Masks of all kinds": {
    f: (x) =>
      [
        tf.isNaN(x),
        tf.isInf(x),
        tf.isFinite(x),
        tf.oneHot(tf.argMax(tf.add(x, tf.range(0, 5))), 5),
        tf.oneHot(tf.argMin(tf.add(x, tf.range(0, 5))), 5),
        tf.floorDiv(x, tf.scalar(0.3)),
        tf.any(tf.greater(x, 0)),
        tf.all(tf.greater(x, 0)),
      ].reduce(
        (total: tf.Tensor, mask) => tf.add(total, tf.mul(x, tf.cast(mask, "float32"))),
        x,
      ),
    shapes: [v],
    range: [0.65, 0.85],
  },
  "Cumsum": { f: (x) => tf.cumsum(x, 0), shapes: [v] },
  "Cumsum of the first of two axes": { f: (x) => tf.cumsum(x, 0), shapes: [[4, 3]] },
  "Cumsum of a middle axis, backwards": {
    f: (x) => tf.cumsum(x, 1, false, true),
    shapes: [[2, 3, 2]],
  },
  "Cumsum without itself": { f: (x) => tf.cumsum(x, 1, true), shapes: [[3, 4]] },
  "Cumsum without itself, backwards, of a square": {
    f: (x) => tf.cumsum(x, 0, true, true),
    shapes: [[3, 3]],
  },
  "Cumsum of the last axis, counted from the end": { f: (x) => tf.cumsum(x, -1), shapes: [[2, 3]] },
  "Cumprod": { f: (x) => tf.cumprod(x, 0), shapes: [v], range: [0.5, 1.3] },
  "Cumprod of a middle axis, backwards": {
    f: (x) => tf.cumprod(x, 1, false, true),
    shapes: [[2, 4, 2]],
  },
  "Cumprod without itself": { f: (x) => tf.cumprod(x, 1, true), shapes: [[2, 4]] },
  "Cumprod without itself, backwards": {
    f: (x) => tf.cumprod(x, 0, true, true),
    shapes: [[4, 2]],
  },
  "Prod over all": { f: (x) => tf.prod(x), shapes: [[2, 2]], range: [0.5, 1.5] },
  "Prod over a middle axis": { f: (x) => tf.prod(x, 1), shapes: [[2, 3, 2]] },
  "Prod over two axes that are kept": { f: (x) => tf.prod(x, [0, 2], true), shapes: [[2, 2, 2]] },
  "TopK": {
    f: (x) => tf.topk(tf.add(x, tf.tensor2d([[3, 0, 9, 6], [0, 9, 3, 6]])), 3).values,
    shapes: [[2, 4]],
  },
  "TopK of one axis": {
    f: (x) => tf.topk(tf.add(x, tf.tensor1d([3, 0, 6])), 2).values,
    shapes: [[3]],
  },
  "GatherV2": { f: (x) => tf.gather(x, indices([2, 0, 2, 1])), shapes: [[3, 2]] },
  "GatherV2 along a middle axis": {
    f: (x) => tf.gather(x, indices([1, 1, 0, 2], [2, 2]), 1),
    shapes: [[2, 3, 2]],
  },
  "GatherV2 along the last axis": { f: (x) => tf.gather(x, indices([1, 1]), -1), shapes: [[2, 3]] },
  "UnsortedSegmentSum": {
    f: (x) => tf.unsortedSegmentSum(x, indices([1, 0, 1, -1]) as tf.Tensor1D, 3),
    shapes: [[4, 2]],
  },
  "StridedSlice": {
    f: (x) => tf.stridedSlice(x, [0, 1], [3, 5], [2, 2]),
    shapes: [[3, 6]],
  },
  "StridedSlice backwards": {
    f: (x) => tf.stridedSlice(x, [4, 2], [0, 0], [-2, -1]),
    shapes: [[5, 3]],
  },
  "StridedSlice with masks and a new axis": {
    f: (x) => tf.stridedSlice(x, [1, 0, 2], [2, 0, 3], [1, 1, 2], 1, 4, 0, 2),
    shapes: [[3, 4]],
  },
  "MirrorPad, the border repeated": {
    f: (x) => tf.mirrorPad(x, [[1, 2], [2, 0]], "symmetric"),
    shapes: [[3, 2]],
  },
  "MirrorPad, the border not repeated": {
    f: (x) => tf.mirrorPad(x, [[0, 0], [1, 2], [2, 1], [0, 0]], "reflect"),
    shapes: [[1, 3, 4, 2]],
  },
  "DepthToSpace": {
    f: (x) => tf.depthToSpace(x as tf.Tensor4D, 2, "NHWC"),
    shapes: [[2, 2, 1, 8]],
  },
  "AvgPool": { f: avgPool(2, 2, "valid"), shapes: [[2, 4, 4, 2]] },
  "AvgPool with a border": { f: avgPool(3, 2, "same"), shapes: [[2, 4, 5, 2]] },
  "AvgPool padded by 1": { f: avgPool(3, 1, 1), shapes: [[1, 3, 3, 2]] },
  "MaxPool": { f: maxPool(2, 2, "valid"), shapes: [[2, 4, 4, 2]], range: [-0.2, 0.2] },
  "MaxPool with a border": { f: maxPool(3, 2, "same"), shapes: [[2, 4, 5, 2]], range: [-0.2, 0.2] },
  "MaxPool that leaves pixels out": {
    f: maxPool(2, 3, 1),
    shapes: [[1, 4, 5, 1]],
    range: [-0.2, 0.2],
  },
  "ResizeNearestNeighbor of a batch": {
    f: resize("resizeNearestNeighbor", [4, 6]),
    shapes: [[3, 2, 3, 2]],
  },
  "ResizeNearestNeighbor to fewer": {
    f: resize("resizeNearestNeighbor", [2, 3]),
    shapes: [[2, 5, 4, 1]],
  },
  "ResizeNearestNeighbor with corners": {
    f: resize("resizeNearestNeighbor", [5, 4], { corners: true }),
    shapes: [[2, 3, 3, 1]],
  },
  "ResizeNearestNeighbor with centres": {
    f: resize("resizeNearestNeighbor", [3, 5], { centres: true }),
    shapes: [[2, 4, 3, 1]],
  },
  "ResizeBilinear of a batch": { f: resize("resizeBilinear", [5, 3]), shapes: [[2, 3, 2, 2]] },
  "ResizeBilinear with corners": {
    f: resize("resizeBilinear", [3, 5], { corners: true }),
    shapes: [[2, 2, 3, 1]],
  },
  "ResizeBilinear with centres": {
    f: resize("resizeBilinear", [5, 2], { centres: true }),
    shapes: [[2, 3, 4, 1]],
  },
  "DepthwiseConv2dNative": {
    f: depthwise(1, "same"),
    shapes: [[2, 3, 4, 2], [3, 3, 2, 2]],
    range: [-0.6, 0.6],
  },
  "DepthwiseConv2dNative of stride 2": {
    f: depthwise(2, "valid"),
    shapes: [[1, 5, 4, 2], [3, 2, 2, 1]],
  },
  "Conv2DBackpropInput": {
    f: (x, w) => tf.conv2dTranspose(x as tf.Tensor4D, w as tf.Tensor4D, [1, 4, 4, 1], 2, "same"),
    shapes: [[1, 2, 2, 2], [3, 3, 1, 2]],
  },
};

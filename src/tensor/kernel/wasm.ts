/**
 * What training needs and tfjs's wasm backend lacks: gradients of convolution, and matrix products that are not slow.
 *
 * tfjs's wasm backend has no `Conv2DBackpropFilter` and a `Conv2DBackpropInput` that is about ten times slower than
 * its forward convolution. Both gradients are convolutions themselves, so both are composed here from the forward
 * kernel (XNNPACK), for any stride and padding, without dilation:
 *
 * ```text
 *   ∂/∂x:  correlate dy, with stride − 1 zeros between its pixels, with the flipped filter, its channels swapped
 *   ∂/∂w:  correlate x with dy, channels in the place of the batch and the batch in the place of the channels
 * ```
 *
 * `BatchMatMul` has a fast kernel (XNNPACK) for one product of untransposed matrices only; every other product is
 * brought to that form. `Identity`, which copies in tfjs, shares its data instead. `UnsortedSegmentSum`, the gradient of
 * an embedding, is a scattering, which sums what lands in one place.
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
import { onWasm } from "./nan.ts";
import { everywhere, repairBackend } from "./repair.ts";
import { longSums } from "./sum.ts";
import type { Tensor, Tensor1D, Tensor4D } from "../tensor.ts";

type Shape4 = [number, number, number, number];
type Window = readonly [before: number, after: number];

interface BackpropAttrs {
  readonly strides: number | [number, number];
  readonly pad: "same" | "valid" | number | tf.backend_util.ExplicitPadding;
  readonly dimRoundingMode?: "floor" | "round" | "ceil";
}

interface Backprop {
  readonly inputs: Record<string, Tensor4D>;
  readonly attrs: BackpropAttrs & { readonly inputShape: Shape4; readonly filterShape: Shape4 };
}

/** ∂L/∂x from dy [N, h', w', O] and the filter [kh, kw, C, O]: shape `inputShape`, [N, H, W, C]. */
function backpropInput({ inputs: { dy, filter }, attrs }: Backprop): Tensor {
  const { padInfo, strideHeight, strideWidth, filterHeight, filterWidth, inHeight, inWidth } =
    geometry(
      attrs,
      attrs.inputShape,
      filter!.shape,
    );
  const spaced = dilate(dy!, strideHeight, strideWidth);
  const above = filterHeight - 1 - padInfo.top, left = filterWidth - 1 - padInfo.left;
  const below = inHeight + filterHeight - 1 - spaced.shape[1] - above;
  const right = inWidth + filterWidth - 1 - spaced.shape[2] - left;
  return correlate(spaced, tf.transpose(flip(filter!), [0, 1, 3, 2]), [above, below], [
    left,
    right,
  ]);
}

/** ∂L/∂w from x [N, H, W, C] and dy [N, h', w', O]: shape `filterShape`, [kh, kw, C, O]. */
function backpropFilter({ inputs: { x, dy }, attrs }: Backprop): Tensor {
  const { padInfo, strideHeight, strideWidth, filterHeight, filterWidth } = geometry(
    attrs,
    x!.shape,
    attrs.filterShape,
  );
  const spaced = tf.transpose(dilate(dy!, strideHeight, strideWidth), [1, 2, 0, 3]) as Tensor4D;
  const [height, width] = spaced.shape, [, inHeight, inWidth] = x!.shape;
  const below = height + filterHeight - 1 - inHeight - padInfo.top;
  const right = width + filterWidth - 1 - inWidth - padInfo.left;
  const swapped = tf.transpose(x!, [3, 1, 2, 0]) as Tensor4D;
  return tf.transpose(correlate(swapped, spaced, [padInfo.top, below], [padInfo.left, right]), [
    1,
    2,
    0,
    3,
  ]);
}

function geometry(attrs: BackpropAttrs, input: Shape4, filter: Shape4): tf.backend_util.Conv2DInfo {
  return tf.backend_util.computeConv2DInfo(
    input,
    filter,
    attrs.strides,
    1,
    attrs.pad,
    attrs.dimRoundingMode,
  );
}

/** A stride-1 convolution over the window given. */
function correlate(
  x: Tensor4D,
  filter: Tensor,
  rows: Window,
  columns: Window,
  operation: Operation = (image, kernel) => tf.conv2d(image, kernel, 1, "valid"),
): Tensor4D {
  return operation(framed(x, rows, columns), filter as Tensor4D);
}

/** The window given of an image: zeros where it reaches out, a cut where it falls short. */
function framed(x: Tensor4D, rows: Window, columns: Window): Tensor4D {
  const [n, height, width, channels] = x.shape,
    out = (size: number) => Math.max(0, size),
    cut = (size: number) => Math.min(0, size);
  const whole = [...rows, ...columns].every((size) => size >= 0);
  const inner = whole ? x : tf.slice(x, [0, -cut(rows[0]), -cut(columns[0]), 0], [
    n,
    height + cut(rows[0]) + cut(rows[1]),
    width + cut(columns[0]) + cut(columns[1]),
    channels,
  ]);
  if ([...rows, ...columns].every((size) => size <= 0)) return inner;
  return tf.pad(inner, [
    [0, 0],
    [out(rows[0]), out(rows[1])],
    [out(columns[0]), out(columns[1])],
    [0, 0],
  ]);
}

/** Puts stride − 1 zeros between the pixels of each row and column. */
function dilate(x: Tensor4D, strideHeight: number, strideWidth: number): Tensor4D {
  if (strideHeight === 1 && strideWidth === 1) return x;
  const [n, height, width, channels] = x.shape;
  const columns = tf.pad(tf.reshape(x, [n * height, width, channels]), [[0, 0], [0, 0], [
    0,
    (strideWidth - 1) * channels,
  ]]);
  const rows = tf.pad(tf.reshape(columns, [n, height, width * strideWidth * channels]), [
    [0, 0],
    [0, 0],
    [0, (strideHeight - 1) * width * strideWidth * channels],
  ]);
  const full = tf.reshape(rows, [n, height * strideHeight, width * strideWidth, channels]);
  return tf.slice(full, [0, 0, 0, 0], [
    n,
    (height - 1) * strideHeight + 1,
    (width - 1) * strideWidth + 1,
    channels,
  ]) as Tensor4D;
}

/** The filter turned by half a turn. Slices and one concatenation: tfjs's wasm reverse is several times slower. */
function flip(filter: Tensor4D): Tensor4D {
  const [height, width, channels, out] = filter.shape, taps = height * width;
  const rows = tf.split(tf.reshape(filter, [taps, channels * out]), taps);
  return tf.reshape(rows.length > 1 ? tf.concat(rows.reverse()) : rows[0]!, filter.shape);
}

interface Product {
  readonly inputs: { readonly a: Tensor; readonly b: Tensor };
  readonly attrs: { readonly transposeA: boolean; readonly transposeB: boolean };
  readonly backend: unknown;
}

/** a·b of [..., m, k] and [..., k, n] with equal or broadcast batches, one XNNPACK product for each pair. */
const productOf =
  (plain: tf.KernelConfig["kernelFunc"]) => ({ inputs, attrs, backend }: Product): Tensor => {
    const a = attrs.transposeA ? swapped(inputs.a) : inputs.a,
      b = attrs.transposeB ? swapped(inputs.b) : inputs.b;
    const batch = tf.broadcast_util.assertAndGetBroadcastShape(
      a.shape.slice(0, -2),
      b.shape.slice(0, -2),
    );
    const [m, k, n] = [a.shape.at(-2)!, a.shape.at(-1)!, b.shape.at(-1)!];
    const multiply = (left: Tensor, right: Tensor): Tensor =>
      tf.engine().makeTensorFromTensorInfo(
        plain({
          inputs: { a: tf.reshape(left, [1, m, k]), b: tf.reshape(right, [1, k, n]) },
          attrs: { transposeA: false, transposeB: false },
          backend: backend as object,
        }) as tf.TensorInfo,
      );
    const count = tf.util.sizeFromShape(batch);
    if (count === 1) return tf.reshape(multiply(a, b), [...batch, m, n]);
    const lefts = matrices(a, batch), rights = matrices(b, batch);
    return tf.reshape(
      tf.concat(lefts.map((left, i) => tf.reshape(multiply(left, rights[i]!), [1, m, n]))),
      [...batch, m, n],
    );
  };

const swapped = (x: Tensor): Tensor => {
  const axes = x.shape.map((_, i) => i);
  return tf.transpose(x, [...axes.slice(0, -2), axes.length - 1, axes.length - 2]);
};

/** The matrices of a batch, after broadcasting it. */
function matrices(x: Tensor, batch: number[]): Tensor[] {
  const whole = [...batch, ...x.shape.slice(-2)], count = tf.util.sizeFromShape(batch);
  const full = tf.util.arraysEqual(x.shape, whole) ? x : tf.broadcastTo(x, whole);
  return tf.split(tf.reshape(full, [count, ...x.shape.slice(-2)]), count);
}

type Operation = (x: Tensor4D, filter: Tensor4D) => Tensor4D;

const depthwise: Operation = (x, filter) => tf.depthwiseConv2d(x, filter, 1, "valid");

/**
 * ∂L/∂x of a convolution of each channel by itself, from dy [N, h', w', C·M] and the filter [kh, kw, C, M]: each channel
 * of dy with its flipped filter, and the M of one channel summed.
 */
function depthwiseInput({ inputs: { dy, filter }, attrs }: Backprop): Tensor {
  const { padInfo, strideHeight, strideWidth, inHeight, inWidth } = geometry(
    attrs,
    attrs.inputShape,
    filter!.shape,
  );
  const [kh, kw, channels, multiplier] = filter!.shape;
  const spaced = dilate(dy!, strideHeight, strideWidth);
  const above = kh - 1 - padInfo.top, left = kw - 1 - padInfo.left;
  const rows = [above, inHeight + kh - 1 - spaced.shape[1] - above] as const;
  const columns = [left, inWidth + kw - 1 - spaced.shape[2] - left] as const;
  const each = tf.reshape(flip(filter!), [kh, kw, channels * multiplier, 1]);
  const all = correlate(spaced, each, rows, columns, depthwise);
  return tf.sum(tf.reshape(all, [...all.shape.slice(0, 3), channels, multiplier]), 4);
}

/** ∂L/∂w of the same from x [N, H, W, C] and dy: for each tap the sum of what it saw times dy; [kh, kw, C, M]. */
function depthwiseFilter({ inputs: { x, dy }, attrs }: Backprop): Tensor {
  const { padInfo, strideHeight, strideWidth } = geometry(attrs, x!.shape, attrs.filterShape);
  const [kh, kw, channels, multiplier] = attrs.filterShape;
  const [n, height, width] = dilate(dy!, strideHeight, strideWidth).shape;
  const seen = framed(
    x!,
    [padInfo.top, height + kh - 1 - x!.shape[1] - padInfo.top],
    [padInfo.left, width + kw - 1 - x!.shape[2] - padInfo.left],
  );
  const cotangents = tf.reshape(dy!, [-1, channels, multiplier]);
  const taps = Array.from({ length: kh * kw }, (_, i) => {
    const [row, column] = [Math.floor(i / kw), i % kw];
    const part = tf.stridedSlice(seen, [0, row, column, 0], [
      n,
      row + height,
      column + width,
      channels,
    ], [1, strideHeight, strideWidth, 1]);
    return tf.sum(tf.mul(tf.reshape(part, [-1, channels, 1]), cotangents), 0);
  });
  return tf.reshape(tf.stack(taps), [kh, kw, channels, multiplier]);
}

interface Segments {
  readonly inputs: { readonly x: Tensor; readonly segmentIds: Tensor1D };
  readonly attrs: { readonly numSegments: number };
}

/** The sums of the rows of x with equal numbers; rows whose number is no segment's land in one more, which is cut off. */
function segmentSum({ inputs: { x, segmentIds }, attrs: { numSegments } }: Segments): Tensor {
  const rest = x.shape.slice(1), width = tf.util.sizeFromShape(rest);
  const valid = tf.logicalAnd(
    tf.greaterEqual(segmentIds, 0),
    tf.less(segmentIds, numSegments),
  );
  const rows = tf.where(valid, segmentIds, tf.fill(segmentIds.shape, numSegments, "int32"));
  const sums = tf.scatterND(
    tf.reshape(rows, [-1, 1]),
    tf.reshape(x, [-1, width]),
    [numSegments + 1, width],
  );
  return tf.reshape(tf.slice(sums, 0, numSegments), [numSegments, ...rest]);
}

interface Copy {
  readonly inputs: { readonly x: tf.TensorInfo };
  readonly backend: { incRef(dataId: tf.DataId): void };
}

/** The same data under another tensor; tfjs's wasm kernel copies, once for each value that a gradient saves. */
function shared({ inputs: { x }, backend }: Copy): tf.TensorInfo {
  backend.incRef(x.dataId);
  return { dataId: x.dataId, shape: x.shape, dtype: x.dtype };
}

let registered = false;

/**
 * Registers the kernels for the wasm backend, in the place of what tfjs has. Called by `useBackend`; calling it again
 * changes nothing.
 */
export function registerWasmKernels(): void {
  if (registered) return;
  registered = true;
  replaceKernel("Identity", shared);
  replaceKernel("BatchMatMul", productOf(tf.getKernel("BatchMatMul", "wasm").kernelFunc));
  replaceKernel("Conv2DBackpropInput", backpropInput);
  replaceKernel("Conv2DBackpropFilter", backpropFilter);
  replaceKernel("DepthwiseConv2dNativeBackpropInput", depthwiseInput);
  replaceKernel("DepthwiseConv2dNativeBackpropFilter", depthwiseFilter);
  replaceKernel("UnsortedSegmentSum", segmentSum);
  repairBackend("wasm", [...onWasm, longSums, ...everywhere]);
}

function replaceKernel(
  kernelName: string,
  kernel: (call: Backprop & Product & Copy & Segments) => tf.TensorInfo,
): void {
  const old = tf.getKernel(kernelName, "wasm") as tf.KernelConfig | undefined;
  if (old !== undefined) tf.unregisterKernel(kernelName, "wasm");
  const kernelFunc = (call: unknown): tf.TensorInfo =>
    tf.tidy(() => kernel(call as Backprop & Product & Copy & Segments) as Tensor);
  // The set-up binds the old kernel's C function, which a replacement may call.
  tf.registerKernel({ ...old, kernelName, backendName: "wasm", kernelFunc });
}

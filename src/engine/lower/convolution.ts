/**
 * Convolutions and their gradients, on images as NHWC [N, H, W, C] and filters as HWIO, stored as NCHW and OIHW.
 *
 * ONNX has the convolution. The gradient by its input is again one, with the filter turned round, or its transpose where
 * there are strides. The gradient by its filter, W'[i, j] = sum over n and places p of x[p + (i, j)]·dy[p], is one
 * product of matrices: the image shifted by each j side by side, times the cotangent shifted back by each i.
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
  product,
  range,
  reshapedTo,
  transposedTo,
  type Value,
} from "../graph/value.ts";
import { type Attributes, binary, type Lowerings } from "./elementwise.ts";
import { activated, multiplied } from "./contraction.ts";
import { unsupported } from "./shape.ts";

/** The order in which filters are stored. */
export const oihw: readonly number[] = [3, 2, 0, 1];

/** A convolution's sizes. */
export type Info = tf.backend_util.Conv2DInfo;

/** The sizes of a convolution from images to images. */
export function infoOf(
  kernel: string,
  { image, filter, depthwise = false }: {
    readonly image: readonly number[];
    readonly filter: readonly number[];
    readonly depthwise?: boolean;
  },
  { strides, pad, dilations = 1, dataFormat = "NHWC", dimRoundingMode }: Attributes,
): Info {
  if (dataFormat !== "NHWC") throw unsupported(kernel, "dataFormat", "NHWC", dataFormat);
  const info = tf.backend_util.computeConv2DInfo(
    [...image] as [number, number, number, number],
    [...filter] as [number, number, number, number],
    strides,
    dilations,
    pad,
    dimRoundingMode,
    depthwise,
  );
  return checkedSize(kernel, info, pad);
}

/** The sizes of a convolution or pool, if what it makes is of the size that tfjs takes it to be. */
export function checkedSize(kernel: string, info: Info, pad: unknown): Info {
  if (isSized(info)) return info;
  // Of one number for all sides tfjs reckons the columns with the rows' filter and stride.
  const wanted = '"same", "valid" or numbers for each side where rows and columns differ';
  throw unsupported(kernel, "pad", wanted, JSON.stringify(pad));
}

function isSized(info: Info): boolean {
  const { top, left, bottom, right } = info.padInfo;
  const places = (size: number, extent: number, stride: number): number =>
    Math.max(0, Math.floor((size - extent) / stride) + 1);
  const rows = info.inHeight + top + bottom, columns = info.inWidth + left + right;
  return info.outHeight === places(rows, info.effectiveFilterHeight, info.strideHeight) &&
    info.outWidth === places(columns, info.effectiveFilterWidth, info.strideWidth);
}

/** Places put before and behind, as ONNX writes them. */
export const padsOf = ({ padInfo: { top, left, bottom, right } }: Info): number[] => [
  top,
  left,
  bottom,
  right,
];

/** How a convolution moves. */
export const convAttributes = (info: Info) => ({
  kernel_shape: [info.filterHeight, info.filterWidth],
  strides: [info.strideHeight, info.strideWidth],
  dilations: [info.dilationHeight, info.dilationWidth],
  pads: padsOf(info),
});

const image = (name: string, shape: readonly number[]): Value =>
  namedValue(name, { type: "float32", shape }, { order: nchw });

function conv(
  rec: Recorder,
  { x, filter, bias }: { readonly x: Value; readonly filter: Value; readonly bias?: Value },
  attributes: Attributes,
): Value {
  const info = infoOf("Conv2D", { image: x.shape, filter: filter.shape }, attributes);
  const name = rec.node(
    "Conv",
    [placed(rec, x, nchw), placed(rec, filter, oihw), ...(bias ? [placed(rec, bias, [0])] : [])],
    { attributes: { ...convAttributes(info), group: 1 } },
  );
  return image(name, info.outShape);
}

/** The gradient by the input. */
function convBack(rec: Recorder, dy: Value, filter: Value, attributes: Attributes): Value {
  const shape = attributes["inputShape"] as number[];
  const info = infoOf("Conv2DBackpropInput", { image: shape, filter: filter.shape }, attributes);
  return image(
    isPlain(info) ? turnedConv(rec, dy, filter, info) : transposedConv(rec, dy, filter, info),
    shape,
  );
}

/** Whether a filter stands on each place in turn, and on neighbours. */
export const isPlain = (info: Info): boolean =>
  [info.strideHeight, info.strideWidth, info.dilationHeight, info.dilationWidth].every((n) =>
    n === 1
  );

/** A stored filter OIHW turned by half a turn. */
export function turnedFilter(
  rec: Recorder,
  filter: string,
  [height, width]: readonly [height: number, width: number],
): string {
  return height * width === 1 ? filter : rec.node("Slice", [
    filter,
    integers(rec, [height - 1, width - 1]),
    integers(rec, [-height - 1, -width - 1]),
    integers(rec, [2, 3]),
    integers(rec, [-1, -1]),
  ]);
}

/** What is put around the cotangent of a convolution, for that with its filter turned; below 0 where some is cut off. */
export const turnedPads = (info: Info): Sides => {
  const { filterHeight, filterWidth } = info, { top, left, bottom, right } = info.padInfo;
  return [
    filterHeight - 1 - top,
    filterWidth - 1 - left,
    filterHeight - 1 - bottom,
    filterWidth - 1 - right,
  ];
};

/** A convolution with the filter turned by half a turn and its channels exchanged. */
function turnedConv(rec: Recorder, dy: Value, filter: Value, info: Info): string {
  const size = [info.filterHeight, info.filterWidth] as const;
  const turned = turnedFilter(rec, placed(rec, filter, oihw), size);
  const pads = turnedPads(info), cut = pads.map((pad) => Math.min(0, pad)) as Sides;
  const seen = put(rec, placed(rec, dy, nchw), cut);
  return rec.node("Conv", [seen, transposedTo(rec, turned, [1, 0, 2, 3])], {
    attributes: {
      kernel_shape: size,
      strides: [1, 1],
      dilations: [1, 1],
      group: 1,
      pads: pads.map((pad) => Math.max(0, pad)),
    },
  });
}

function transposedConv(rec: Recorder, dy: Value, filter: Value, info: Info): string {
  const { kernel_shape, strides, dilations, pads } = convAttributes(info);
  return rec.node("ConvTranspose", [placed(rec, dy, nchw), placed(rec, filter, oihw)], {
    attributes: {
      kernel_shape,
      strides,
      dilations,
      pads,
      group: 1,
      output_padding: leftOver(info),
    },
  });
}

/** Rows and columns of an image and its padding that strides leave over at the far edges. */
export function leftOver(info: Info): [rows: number, columns: number] {
  const { top, left, bottom, right } = info.padInfo;
  const rest = (size: number, out: number, stride: number, extent: number): number =>
    size - ((out - 1) * stride + extent);
  return [
    rest(
      info.inHeight + top + bottom,
      info.outHeight,
      info.strideHeight,
      info.effectiveFilterHeight,
    ),
    rest(info.inWidth + left + right, info.outWidth, info.strideWidth, info.effectiveFilterWidth),
  ];
}

/** The gradient by the filter. */
function convFilter(rec: Recorder, x: Value, dy: Value, attributes: Attributes): Value {
  const shape = attributes["filterShape"] as number[];
  const info = infoOf("Conv2DBackpropFilter", { image: x.shape, filter: shape }, attributes);
  const keepsSize = info.strideHeight === 1 && info.strideWidth === 1 &&
    info.outHeight === info.inHeight && info.outWidth === info.inWidth;
  const name = keepsSize && product(shape.slice(0, 2)) > 1
    ? filterByShifts(rec, x, dy, info)
    : filterByPlaces(rec, x, dy, info);
  return namedValue(name, { type: "float32", shape }, { order: oihw });
}

/** From so many output channels on, three products are faster than one of three times as many rows. */
const wide = 64;

/** Products of the image, shifted along its rows, and the cotangent, shifted by whole rows. */
function filterByShifts(rec: Recorder, x: Value, dy: Value, info: Info): string {
  const { batchSize: n, inChannels: c, outChannels: o, outHeight: h, outWidth: w } = info;
  const { filterHeight: rows, filterWidth: columns, padInfo } = info;
  const images = shiftedColumns(rec, placed(rec, x, nchw), {
    channels: c,
    columns,
    pads: [0, padInfo.left, 0, padInfo.right],
  });
  const flat = reshapedTo(rec, images, [n, c * columns, h * w]);
  const cotangent = reshapedTo(rec, placed(rec, dy, nchw), [n, o, h * w]);
  const shifts = range(rows).map((i) => shiftedRows(rec, cotangent, w * (i - padInfo.top)));
  const sums = o < wide
    ? productOver(rec, [concat(rec, shifts, 1), flat], [n, rows * o, columns * c])
    : concat(rec, shifts.map((shift) => productOver(rec, [shift, flat], [n, o, columns * c])), 0);
  return transposedTo(rec, reshapedTo(rec, sums, [rows, o, c, columns]), [1, 2, 0, 3]);
}

const concat = (rec: Recorder, parts: readonly string[], axis: number): string =>
  parts.length === 1 ? parts[0]! : rec.node("Concat", parts, { attributes: { axis } });

/** Maps [N, C, H·W] moved on by a number of places, with zeros behind them. */
const shiftedRows = (rec: Recorder, name: string, places: number): string =>
  places === 0 ? name : rec.node("Pad", [name, integers(rec, [0, 0, places, 0, 0, -places])]);

/**
 * Each channel of an image moved along its rows in as many ways as a filter has columns, side by side: a convolution with
 * filters of a single 1, of all ways in ONNX Runtime the fastest.
 */
function shiftedColumns(
  rec: Recorder,
  name: string,
  { channels, columns, pads }: {
    readonly channels: number;
    readonly columns: number;
    readonly pads: readonly number[];
  },
): string {
  if (columns === 1) return name;
  const unit = range(columns).flatMap((j) => range(columns).map((k) => k === j ? 1 : 0));
  const filter = rec.constant(
    "float32",
    [channels * columns, 1, 1, columns],
    () => range(channels).flatMap(() => unit),
  );
  return rec.node("Conv", [name, filter], {
    attributes: {
      kernel_shape: [1, columns],
      pads,
      group: channels,
      strides: [1, 1],
      dilations: [1, 1],
    },
  });
}

/** The products a·bᵀ [N, rows, columns] of two stacks of matrices, summed over the stack: [1, rows·columns]. */
function productOver(
  rec: Recorder,
  operands: readonly [string, string],
  [n, rows, columns]: readonly [n: number, rows: number, columns: number],
): string {
  const each = multiplied(rec, operands, { rank: 3, turned: [false, true] });
  // As a product with ones the sum takes ONNX Runtime a fifth of the time.
  const ones = rec.constant("float32", [1, n], () => Array(n).fill(1));
  return rec.node("MatMul", [ones, reshapedTo(rec, each, [n, rows * columns])]);
}

/** For each place of the filter the image as it sees it; then one product. */
function filterByPlaces(rec: Recorder, x: Value, dy: Value, info: Info): string {
  const { batchSize: n, inChannels: c, outChannels: o, outHeight: h, outWidth: w } = info;
  const { filterHeight: rows, filterWidth: columns } = info, places = rows * columns;
  const images = framed(rec, placed(rec, x, nchw), info);
  const seen = range(places).map((k) =>
    seenFrom(rec, images, info, [Math.floor(k / columns), k % columns])
  );
  const left = reshapedTo(rec, concat(rec, seen, 1), [n, places * c, h * w]);
  const right = reshapedTo(rec, placed(rec, dy, nchw), [n, o, h * w]);
  const sums = productOver(rec, [right, left], [n, o, places * c]);
  return transposedTo(rec, reshapedTo(rec, sums, [o, rows, columns, c]), [0, 3, 1, 2]);
}

/** Places above, left, below and right of an image. */
export type Sides = [top: number, left: number, bottom: number, right: number];

/** An image NCHW with zeros put around it, or, of numbers below 0, with places cut off. */
function put(rec: Recorder, name: string, [top, left, bottom, right]: Sides): string {
  if ([top, left, bottom, right].every((pad) => pad === 0)) return name;
  return rec.node("Pad", [name, integers(rec, [0, 0, top, left, 0, 0, bottom, right])]);
}

/** An image with its padding. */
const framed = (rec: Recorder, name: string, info: Info): string =>
  put(rec, name, padsOf(info) as Sides);

/** The places of a padded image that one place of the filter meets. */
function seenFrom(
  rec: Recorder,
  name: string,
  info: Info,
  [row, column]: readonly [number, number],
): string {
  const { strideHeight, strideWidth, padInfo, inHeight, inWidth } = info;
  const from = [row * info.dilationHeight, column * info.dilationWidth] as const;
  const to = [
    from[0] + (info.outHeight - 1) * strideHeight + 1,
    from[1] + (info.outWidth - 1) * strideWidth + 1,
  ];
  const all = strideHeight * strideWidth === 1 && from[0] === 0 && from[1] === 0 &&
    to[0] === inHeight + padInfo.top + padInfo.bottom &&
    to[1] === inWidth + padInfo.left + padInfo.right;
  if (all) return name;
  return rec.node("Slice", [
    name,
    integers(rec, from),
    integers(rec, to),
    integers(rec, [2, 3]),
    integers(rec, [strideHeight, strideWidth]),
  ]);
}

/** Each channel by itself: a convolution in as many groups as there are channels. */
function depthwise(rec: Recorder, x: Value, filter: Value, attributes: Attributes): Value {
  const info = infoOf(
    "DepthwiseConv2dNative",
    { image: x.shape, filter: filter.shape, depthwise: true },
    attributes,
  );
  const [h, w, c, multiplier] = filter.shape as [number, number, number, number];
  const flat = reshapedTo(rec, placed(rec, filter, [2, 3, 0, 1]), [c * multiplier, 1, h, w]);
  const name = rec.node("Conv", [placed(rec, x, nchw), flat], {
    attributes: { ...convAttributes(info), group: c },
  });
  return image(name, info.outShape);
}

/** A convolution with what tfjs fuses to it. */
function fused(
  rec: Recorder,
  operands: Readonly<Record<string, Value>>,
  attributes: Attributes,
  result: Value,
): Value {
  const { bias, preluActivationWeights: weights } = operands;
  const biased = bias ? binary(rec, "Add", result, bias) : result;
  const { activation, leakyreluAlpha } = attributes;
  return activated(rec, biased, { activation, leakyreluAlpha, weights });
}

/** The lowerings of this file. */
export const convolutionKernels: Lowerings = {
  Conv2D: (rec, { x, filter }, attributes) => conv(rec, { x: x!, filter: filter! }, attributes),
  FusedConv2D: (rec, operands, attributes) => {
    const { x, filter, bias, ...others } = operands;
    const isVector = bias?.shape.length === 1;
    const result = conv(rec, { x: x!, filter: filter!, ...(isVector && { bias }) }, attributes);
    return fused(rec, isVector || !bias ? others : { bias, ...others }, attributes, result);
  },
  Conv2DBackpropInput: (rec, { dy, filter }, attributes) => convBack(rec, dy!, filter!, attributes),
  Conv2DBackpropFilter: (rec, { x, dy }, attributes) => convFilter(rec, x!, dy!, attributes),
  DepthwiseConv2dNative: (rec, { x, filter }, attributes) =>
    depthwise(rec, x!, filter!, attributes),
  FusedDepthwiseConv2D: (rec, operands, attributes) =>
    fused(
      rec,
      operands,
      attributes,
      depthwise(rec, operands["x"]!, operands["filter"]!, attributes),
    ),
};

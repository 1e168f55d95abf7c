/**
 * What acts on each place of images in blocks by itself, with numbers for each channel, or sums over the places.
 *
 * @module
 */

import type { Recorder } from "../graph/record.ts";
import {
  namedValue,
  nchw,
  reshaped,
  reshapedTo,
  same,
  unary,
  uniform,
  type Value,
} from "../graph/value.ts";
import { binary, elementwiseKernels, type Lowering } from "../lower/elementwise.ts";
import { dropped, reducingKernels, reductionOf } from "../lower/reduce.ts";
import { blocked, type BlockLowering, disguised, inBlocks, isSingle, nchwc } from "./layout.ts";
import { factorsOf, scaled, shifted, sum, times, unshifted } from "./pseudo.ts";

/** The image in blocks among operands. */
const leadOf = (operands: readonly Value[]): Value | undefined =>
  operands.find(({ isBlocked }) => isBlocked);

/** A value in blocks as another image is; nothing if it is of another shape, or not of real numbers. */
function alike(rec: Recorder, value: Value, { shape }: Value): Value | undefined {
  if (value.isBlocked && same(value.shape, shape)) return value;
  const isWhole = value.type === "float32" && same(value.shape, shape) && same(value.stored, shape);
  return isWhole ? blocked(inBlocks(rec, value), value) : undefined;
}

/** A kernel that asks for no place, as it is written down of plain values: all its images in blocks alike. */
const eachPlace = (lower: Lowering): BlockLowering => (rec, operands, attributes) => {
  const lead = leadOf(Object.values(operands)), given: Record<string, Value> = {};
  if (lead === undefined) return undefined;
  for (const [name, value] of Object.entries(operands)) {
    const fitting = isSingle(value) ? value : alike(rec, value, lead);
    if (fitting === undefined) return undefined;
    given[name] = disguised(fitting);
  }
  const result = lower(rec, given, attributes) as Value;
  if (result.values !== undefined) return result;
  // A single number may have a shape that spreads the image further; whole numbers cannot be laid out plainly again.
  const isImage = same(result.shape, lead.shape) && same(result.stored, lead.shape);
  return isImage && result.type !== "int32" ? { ...result, isBlocked: true } : undefined;
};

/** Whether a value is one number for each channel, of all samples or of each, that an image meets everywhere. */
function isPerChannel({ type, shape, stored, isBlocked }: Value, image: Value): boolean {
  const fitting = shape.length <= 4 &&
    shape.every((size, i) => [1, image.shape[i + 4 - shape.length]].includes(size));
  return type === "float32" && !isBlocked && fitting &&
    stored.slice(-3, -1).every((size) => size === 1);
}

/** Two operands of which at least one is an image in blocks, the image first. */
interface Two {
  readonly image: Value;
  readonly other: Value;
  /** Whether the image was the second. */
  readonly isTurned: boolean;
}

/** A kernel of two operands: of two images, or of an image and a number for each channel. */
const ofTwo = (
  { images, channels, kernel }: {
    readonly images?: (rec: Recorder, a: Value, b: Value) => Value;
    readonly channels: (rec: Recorder, two: Two) => Value;
    readonly kernel: string;
  },
): BlockLowering =>
(rec, operands, attributes) => {
  const [a, b] = [operands["a"]!, operands["b"]!], image = leadOf([a, b]);
  if (image === undefined) return undefined;
  const other = image === a ? b : a;
  if (isSingle(other)) return pointwise[kernel]!(rec, operands, attributes);
  const full = alike(rec, other, image);
  if (full && images) return image === a ? images(rec, image, full) : images(rec, full, image);
  if (full) return pointwise[kernel]!(rec, operands, attributes);
  if (!rec.uses("affine map of channels") || !isPerChannel(other, image)) return undefined;
  return channels(rec, { image, other, isTurned: image === b });
};

const pointwise: Readonly<Record<string, BlockLowering>> = Object.fromEntries(
  Object.entries(elementwiseKernels).map(([kernel, lower]) => [kernel, eachPlace(lower)]),
);

const minus = uniform(-1);

const arithmetic: Readonly<Record<string, BlockLowering>> = {
  Add: ofTwo({
    kernel: "Add",
    images: sum,
    channels: (rec, { image, other }) => shifted(rec, image, other),
  }),
  Sub: ofTwo({
    kernel: "Sub",
    channels: (rec, { image, other, isTurned }) =>
      isTurned
        ? shifted(rec, { ...binary(rec, "Mul", disguised(image), minus), isBlocked: true }, other)
        : shifted(rec, image, other, "Sub"),
  }),
  Multiply: ofTwo({
    kernel: "Multiply",
    images: times,
    channels: (rec, { image, other }) => scaled(rec, image, other),
  }),
  Square: (rec, { x }) => x!.isBlocked && x!.type === "float32" ? times(rec, x!, x!) : undefined,
};

/** Up to so many places a sum of float32 numbers one after another keeps its digits. */
const places = 2 ** 14;

/** The sums over the places of each channel, [N, 1, 1, C] laid out plainly; nothing where there is no way. */
function channelSums(rec: Recorder, x: Value): Value | undefined {
  const [n, h, w, c] = x.shape as [number, number, number, number], factors = factorsOf(rec, x);
  const channels = (name: string): Value =>
    namedValue(reshapedTo(rec, name, [n, c, 1, 1]), { type: "float32", shape: [n, 1, 1, c] }, {
      order: nchw,
    });
  if (h * w > places) return undefined;
  if (factors && rec.uses("product of channels")) {
    // The one is the filter of the other, as large as a map.
    const [a, b] = factors as [string, string], attributes = { kernel_shape: [h, w], group: n * c };
    const image = reshapedTo(rec, a, [1, n * c, h, w]),
      filter = reshapedTo(rec, b, [n * c, 1, h, w]);
    return channels(rec.node("Conv", [image, filter], { attributes, domain: nchwc }));
  }
  const moved = unshifted(rec, x);
  if (!rec.uses("mean of channels")) return undefined;
  const mean = channels(
    rec.node("GlobalAveragePool", [moved?.x.name ?? x.name], { domain: nchwc }),
  );
  const total = moved ? binary(rec, "Add", mean, channels(moved.shift)) : mean;
  return binary(rec, "Mul", total, uniform(h * w));
}

/** A sum or mean over at least all places. */
const reduced = (kernel: "Sum" | "Mean"): BlockLowering => (rec, { x }, attributes) => {
  const { axes, keep } = reductionOf(x!, attributes);
  const isTaken = x!.isBlocked && x!.type === "float32" && axes.includes(1) && axes.includes(2);
  const sums = isTaken ? channelSums(rec, x!) : undefined;
  if (sums === undefined) return undefined;
  const rest = axes.filter((axis) => axis !== 1 && axis !== 2);
  const total = reducingKernels[kernel]!(rec, { x: sums }, { axis: rest, keepDims: true }) as Value;
  const pixels = x!.shape[1]! * x!.shape[2]!;
  const result = kernel === "Sum" ? total : binary(rec, "Mul", total, uniform(1 / pixels));
  return keep ? result : dropped(rec, result, axes);
};

/** Zero mean and unit variance in each group of channels: the mean first, and the variance of what is left. */
const standardized: BlockLowering = (rec, { x }, { groups, epsilon }) => {
  const needed = ["affine map of channels", "product of channels", "mean of channels"] as const;
  const [n, h, w, c] = x!.shape as [number, number, number, number];
  if (!x!.isBlocked || h * w > places || !needed.every(rec.uses)) return undefined;
  const each = [n, groups, c / groups];
  const groupMean = (sums: Value): Value => {
    const grouped = reshaped(rec, sums, each);
    const total = reducingKernels["Sum"]!(rec, { x: grouped }, {
      axis: 2,
      keepDims: true,
    }) as Value;
    const mean = binary(rec, "Mul", total, uniform(groups / (h * w * c)));
    return reshaped(rec, { ...mean, shape: each }, [n, 1, 1, c]);
  };
  const centred = shifted(rec, x!, groupMean(channelSums(rec, x!)!), "Sub");
  const variance = groupMean(channelSums(rec, times(rec, centred, centred))!);
  const deviation = unary(rec, "Sqrt", binary(rec, "Add", variance, uniform(epsilon)));
  return scaled(rec, centred, unary(rec, "Reciprocal", deviation));
};

/** The lowerings of this file. */
export const placeBlocks: Readonly<Record<string, BlockLowering>> = {
  ...pointwise,
  ...arithmetic,
  Identity: (_, { x }) => x!.isBlocked ? x : undefined,
  Sum: reduced("Sum"),
  Mean: reduced("Mean"),
  Standardize: standardized,
};

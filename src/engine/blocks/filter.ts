/**
 * The gradient of a convolution by its filter, as a convolution of images in blocks.
 *
 * W'[i, j, c, o] = Σ_n Σ_p x[n, s·p + (i, j), c]·dy[n, p, o] sums over samples n and places p. So the samples are taken for the
 * channels that a convolution sums over, and all of dy for its filter, as large as a map; what is left to move over are the
 * places (i, j) of the filter that is sought. The image's channels c lie side by side in memory, so that a step of one
 * channel along a row of H × (W·c) numbers is a place of its own, and a step of a pixel c of them: with the filter dilated
 * by as much, every channel meets its own. The channels o of dy, in blocks, are the channels out.
 *
 * @module
 */

import type { Recorder } from "../graph/record.ts";
import {
  integers,
  namedValue,
  placed,
  range,
  reshapedTo,
  transposedTo,
  type Value,
} from "../graph/value.ts";
import {
  infoOf,
  leftOver,
  oihw,
  type Sides,
  turnedFilter,
  turnedPads,
} from "../lower/convolution.ts";
import type { Attributes, Operands } from "../lower/elementwise.ts";
import { type BlockLowering, fits, inBlocks, nchwc, plain } from "./layout.ts";

/** Images of which the one moves over the other. */
interface Pair {
  /** The one whose places are looked at. */
  readonly image: Value;
  /** The one that is the filter; its channels fit into blocks. */
  readonly lanes: Value;
  /** Rows and columns of zeros put around the image. */
  readonly pads: Sides;
  /** From one place of the lanes to the next, in pixels of the image. */
  readonly strides: readonly [row: number, column: number];
}

function filterGradient(rec: Recorder, { x, dy }: Operands, attributes: Attributes) {
  const shape = attributes["filterShape"] as number[];
  const info = infoOf("Conv2DBackpropFilter", { image: x!.shape, filter: shape }, attributes);
  const { strideHeight, strideWidth, dilationHeight, dilationWidth, padInfo } = info;
  const [rows, columns, c, o] = shape as [number, number, number, number];
  const strides = [strideHeight, strideWidth] as const, back = turnedPads(info);
  // More channels on the side of the lanes are faster.
  const straight = fits(rec, dy!.shape), [below, behind] = leftOver(info);
  const turned = strideHeight * strideWidth === 1 && back.every((pad) => pad >= 0) &&
    fits(rec, x!.shape) && !(straight && o >= c);
  if (!rec.uses("filter gradient") || dilationHeight * dilationWidth !== 1) return undefined;
  const filter = (pair: Pair, perm: readonly number[]): string =>
    reshapedTo(rec, transposedTo(rec, moved(rec, pair), perm), [o, c, rows, columns]);
  if (turned) {
    const half = filter({ image: dy!, lanes: x!, pads: back, strides }, [0, 4, 1, 5, 2, 3]);
    return stored(turnedFilter(rec, half, [rows, columns]), shape);
  }
  // What strides leave over at the far edges is not looked at.
  const { top, left, bottom, right } = padInfo;
  const pads: Sides = [top, left, bottom - below, right - behind];
  if (!straight || pads.some((pad) => pad < 0)) return undefined;
  return stored(filter({ image: x!, lanes: dy!, pads, strides }, [1, 5, 0, 4, 2, 3]), shape);
}

const stored = (name: string, shape: readonly number[]): Value =>
  namedValue(name, { type: "float32", shape }, { order: oihw });

/** Numbers of a map in a group of samples: as many as leave a core's cache some room. */
const mapped = 6272;

/**
 * The sums over samples and places, [blocks of the image, blocks of the lanes, rows, columns, inside of a block of the
 * image, inside of a block of the lanes], group of samples by group, each added to those before.
 */
function moved(rec: Recorder, { image, lanes, pads, strides }: Pair): string {
  const { block } = rec, [top, left, bottom, right] = pads;
  const [n, height, width, c] = image.shape as [number, number, number, number];
  const [, h, w, o] = lanes.shape as [number, number, number, number];
  const inside = c % block === 0 ? block : c, wide = width + left + right;
  const images = samples(rec, framed(rec, image, [left, right]), [
    n,
    c / inside,
    height * wide * inside,
  ]);
  const filters = samples(rec, inBlocks(rec, lanes), [n, o / block, h * w * block]);
  // Fewer channels than a block's are read as they lie.
  const most = Math.max(1, Math.min(block - 1, Math.floor(mapped / (h * w))));
  const groups = range(Math.ceil(n / most)).map((i) =>
    [i * most, Math.min(n, (i + 1) * most)] as const
  );
  const sum = groups.reduce<string | undefined>((before, [from, to]) => {
    const map = reshapedTo(rec, images(from, to), [c / inside, to - from, height, wide * inside]);
    const filter = reshapedTo(rec, filters(from, to), [o, to - from, h, w]);
    const rest = before === undefined ? [] : ["", before];
    return rec.node("Conv", [map, filter, ...rest], {
      attributes: {
        kernel_shape: [h, w],
        strides: [1, 1],
        dilations: [strides[0], strides[1] * inside],
        pads: [top, 0, bottom, 0],
        group: 1,
      },
      domain: nchwc,
    });
  }, undefined)!;
  const rows = (height + top + bottom) - (h - 1) * strides[0];
  const columns = wide - (w - 1) * strides[1];
  return reshapedTo(rec, sum, [c / inside, o / block, rows, columns, inside, block]);
}

/** An image with columns of zeros before and behind: in blocks, or with all its channels side by side. */
function framed(
  rec: Recorder,
  image: Value,
  [left, right]: readonly [left: number, right: number],
): string {
  const [n, height, width, c] = image.shape as [number, number, number, number];
  if (!fits(rec, image.shape)) {
    const rows = reshapedTo(rec, placed(rec, plain(rec, image), range(4)), [n, height, width * c]);
    if (left + right === 0) return rows;
    return rec.node("Pad", [rows, integers(rec, [0, 0, left * c, 0, 0, right * c])]);
  }
  const name = inBlocks(rec, image);
  if (left + right === 0) return name;
  // As a convolution with ones it takes the runtime a quarter of the time of a pad.
  const one = rec.constant("float32", [], () => [1]);
  const ones = rec.node("Expand", [one, integers(rec, [n * c, 1, 1, 1])]);
  return rec.node("Conv", [reshapedTo(rec, name, [1, n * c, height, width]), ones], {
    attributes: { kernel_shape: [1, 1], pads: [0, left, 0, right], group: n * c },
    domain: nchwc,
  });
}

/** Some samples of an image that lies as [samples, blocks, numbers of a block], with the blocks before the samples. */
function samples(
  rec: Recorder,
  image: string,
  [n, blocks, numbers]: readonly [n: number, blocks: number, numbers: number],
): (from: number, to: number) => string {
  const rows = reshapedTo(rec, image, [n * blocks, numbers]);
  return (from, to) => {
    const wanted = range(blocks).flatMap((block) =>
      range(to - from).map((i) => (from + i) * blocks + block)
    );
    const isAll = blocks === 1 && to - from === n;
    return isAll ? rows : rec.node("Gather", [rows, integers(rec, wanted)]);
  };
}

/** The lowerings of this file. */
export const filterBlocks: Readonly<Record<string, BlockLowering>> = {
  Conv2DBackpropFilter: filterGradient,
};

/**
 * Convolutions of images in blocks, and their gradients by the input.
 *
 * @module
 */

import type { Recorder } from "../graph/record.ts";
import { nchw, placed, reshapedTo, transposedTo, type Value } from "../graph/value.ts";
import { activated } from "../lower/contraction.ts";
import {
  convAttributes,
  type Info,
  infoOf,
  isPlain,
  oihw,
  turnedFilter,
  turnedPads,
} from "../lower/convolution.ts";
import type { Attributes, Operands } from "../lower/elementwise.ts";
import { blocked, type BlockLowering, disguised, fits, inBlocks, nchwc, plain } from "./layout.ts";

/** Channels in and out. */
type Channels = readonly [inputs: number, outputs: number];

/** Whether the runtime convolves so: blocks to blocks, or fewer channels than a block's, laid out plainly, to blocks. */
const isTaken = (rec: Recorder, inputs: number, made: readonly number[]): boolean =>
  rec.uses("convolution") && fits(rec, made) && (inputs % rec.block === 0 || inputs < rec.block);

/** An image as the runtime reads it. */
const read = (rec: Recorder, x: Value, inputs: number): string =>
  inputs % rec.block === 0 ? inBlocks(rec, x) : placed(rec, plain(rec, x), nchw);

/**
 * A filter OIHW in blocks: of output channels, of input channels where they come in blocks, places, and then the insides of
 * the blocks of input and output channels. One that is `turned` has its I for outputs.
 */
function filterInBlocks(
  rec: Recorder,
  filter: string,
  { channels: [inputs, outputs], size: [height, width], turned }: {
    readonly channels: Channels;
    readonly size: readonly [height: number, width: number];
    readonly turned: boolean;
  },
): string {
  const { block } = rec, inside = inputs % block === 0 ? block : 1;
  const sides = [[outputs / block, block], [inputs / inside, inside]];
  const dims = [...(turned ? sides.reverse() : sides).flat(), height, width];
  const [first, second] = turned ? [2, 0] : [0, 2];
  const perm = [first!, second!, 4, 5, second! + 1, first! + 1];
  const blocks = transposedTo(rec, reshapedTo(rec, filter, dims), perm);
  return reshapedTo(rec, blocks, [outputs, inputs, height, width]);
}

function conv(rec: Recorder, { x, filter, bias }: Operands, attributes: Attributes) {
  const info = infoOf("Conv2D", { image: x!.shape, filter: filter!.shape }, attributes);
  const channels = [info.inChannels, info.outChannels] as const;
  if (!isTaken(rec, info.inChannels, info.outShape)) return undefined;
  const weights = filterInBlocks(rec, placed(rec, plain(rec, filter!), oihw), {
    channels,
    size: [info.filterHeight, info.filterWidth],
    turned: false,
  });
  const name = rec.node(
    "Conv",
    [read(rec, x!, info.inChannels), weights, ...(bias ? [placed(rec, bias, [0])] : [])],
    { attributes: { ...convAttributes(info), group: 1 }, domain: nchwc },
  );
  return blocked(name, { shape: info.outShape });
}

/** The gradient by the input, where it is again a convolution. */
function convBack(rec: Recorder, { dy, filter }: Operands, attributes: Attributes) {
  const shape = attributes["inputShape"] as number[];
  const info: Info = infoOf(
    "Conv2DBackpropInput",
    { image: shape, filter: filter!.shape },
    attributes,
  );
  const channels = [info.outChannels, info.inChannels] as const;
  const size = [info.filterHeight, info.filterWidth] as const;
  const pads = turnedPads(info), isCut = pads.some((pad) => pad < 0);
  if (!isPlain(info) || isCut || !isTaken(rec, info.outChannels, shape)) return undefined;
  const weights = filterInBlocks(
    rec,
    turnedFilter(rec, placed(rec, plain(rec, filter!), oihw), size),
    {
      channels,
      size,
      turned: true,
    },
  );
  const name = rec.node("Conv", [read(rec, dy!, info.outChannels), weights], {
    attributes: {
      kernel_shape: size,
      strides: [1, 1],
      dilations: [1, 1],
      pads,
      group: 1,
    },
    domain: nchwc,
  });
  return blocked(name, { shape });
}

/** A convolution with a bias and an activation of each number by itself. */
function fused(rec: Recorder, operands: Operands, attributes: Attributes): Value | undefined {
  const { bias, preluActivationWeights } = operands, { activation, leakyreluAlpha } = attributes;
  if (preluActivationWeights || (bias && bias.shape.length !== 1)) return undefined;
  const y = conv(rec, operands, attributes);
  return y && { ...activated(rec, disguised(y), { activation, leakyreluAlpha }), isBlocked: true };
}

/** The lowerings of this file. */
export const convolutionBlocks: Readonly<Record<string, BlockLowering>> = {
  Conv2D: conv,
  FusedConv2D: fused,
  Conv2DBackpropInput: convBack,
};

/**
 * A U-Net: an image to an image of the same size, under a time and a class for each sample.
 *
 * Levels of residual blocks, each at half the resolution of the last, then back up; every output on the way down is
 * joined to the input of the block that mirrors it. Time enters as sinusoidal features through a two-layer
 * perceptron, the class as a vector added to it, both added inside each block. With `patch` 2 or more the network
 * works on blocks of pixels, which makes it that many times squared cheaper.
 *
 * Sources: O. Ronneberger, P. Fischer, T. Brox, "U-Net" (2015); J. Ho, A. Jain, P. Abbeel, "Denoising diffusion
 * probabilistic models" (2020), appendix B.
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
import { silu } from "../tensor/autodiff.ts";
import { refusal } from "../tensor/check/check.ts";
import {
  decoded,
  inTurn,
  is,
  needed,
  type Rule,
  type Rules,
  showing,
  whole,
  wholeNumber,
} from "../tensor/check/decode.ts";
import { attention, residual } from "./layer/block.ts";
import { classEmbedding } from "./layer/embedding.ts";
import { conv, dense } from "./layer/linear.ts";
import { groupNorm } from "./layer/norm.ts";
import { type Layer, parametersOf } from "./layer/parameter.ts";
import { type Network, networkOf } from "./layer/network.ts";
import { patched, unpatched, upsampled } from "./layer/patch.ts";
import type { Tensor } from "../tensor/tensor.ts";

/**
 * Shape of a U-Net. Plain data: it is stored with the weights.
 *
 * @category Networks
 */
export interface UNetConfig {
  /** Height and width of the image in pixels; divisible by patch·2^(levels − 1). */
  readonly size: readonly [number, number];
  /** Channels of the image. Default: 1. */
  readonly channels?: number;
  /** Side of the blocks of pixels that the network works on. Default: 1. */
  readonly patch?: number;
  /** Channels at the first level, and number of sinusoidal features of time; even. Default: 32. */
  readonly base?: number;
  /** Channels of each level as multiples of `base`. Default: [1, 2, 2]. */
  readonly multipliers?: readonly number[];
  /** Residual blocks a level on the way down, and on the way up. Default: 2. */
  readonly blocks?: number;
  /** Levels, from 0, whose blocks are followed by attention. Default: none. */
  readonly attention?: readonly number[];
  /** Whether the middle, at the lowest resolution, has attention between two blocks. Default: true. */
  readonly middleAttention?: boolean;
  /**
   * Groups of the norms; divides every level's channels. A level with one channel a group sees neither time nor class:
   * with `base` 8 give 4 or fewer. Default: 8.
   */
  readonly groups?: number;
  /** Length of the embedding of time and class. Default: 4·base. */
  readonly embedding?: number;
  /** Number of classes; 0 for a network without. Default: 0. */
  readonly classes?: number;
}

const positive: Rule = wholeNumber(1);

const unetFields: Rules<UNetConfig> = {
  size: needed(
    is("a height and a width in pixels", (size) => Array.isArray(size) && size.length === 2),
  ),
  channels: positive,
  patch: positive,
  base: inTurn(positive, is("even", (base) => base % 2 === 0)),
  multipliers: true,
  blocks: positive,
  attention: true,
  middleAttention: true,
  groups: true,
  embedding: positive,
  classes: true,
};

/** The rules of what must fit to the number of levels. */
function fitting({ patch = 1, multipliers = [1, 2, 2] }: UNetConfig): Rules<UNetConfig> {
  const divisor = patch * 2 ** (multipliers.length - 1), isLevel = (i: number) => i in multipliers;
  type Size = UNetConfig["size"];
  type Levels = readonly number[];
  return {
    ...unetFields,
    attention: showing(
      is(`levels in [0, ${multipliers.length})`, (levels: Levels) => levels.every(isLevel)),
      (levels: Levels) => `${levels.find((level) => !isLevel(level))}`,
    ),
    size: showing(
      is(
        `multiples of ${divisor} pixels`,
        (size: Size) => size.every((side) => whole(1)(side / divisor)),
      ),
      (size: Size) => size.join("×"),
    ),
  };
}

/** A layer of an image and the embedding of time and class. */
type Block = Layer<[x: Tensor, e: Tensor]>;

type Step = { readonly layer: Block; readonly push: boolean };

const plain = ({ parameters, apply }: Layer): Block => ({
  parameters,
  apply: (params, x) => apply(params, x),
});

/**
 * Builds a U-Net.
 *
 * @category Networks
 * @param config Its shape.
 * @returns A layer of x [N, H, W, C], times (one a sample) and condition (a class or null a sample; default all
 *   null), to [N, H, W, C]. It starts at zero.
 * @throws {TypeError} If there is an entry that is not known.
 * @throws {RangeError} If the size cannot be halved often enough, the groups do not divide the channels, or another
 *   number is out of range; when applied, if x is of another shape, or as {@link networkOf} does.
 *
 * @example Two images at two times, one of class 2 and one without
 * ```ts
 * import { initialize, key, normal, unet } from "@tweedie/tweedie";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const network = unet({ size: [8, 8], base: 8, multipliers: [1, 2], blocks: 1, classes: 3 });
 * const params = initialize(network.parameters, key(0));
 * const y = network.apply(params, normal(key(1), [2, 8, 8, 1]), [10, 500], [2, null]);
 * assert.deepEqual(y.shape, [2, 8, 8, 1]);
 * ```
 */
export function unet(config: UNetConfig): Network {
  decoded(action, config, unetFields);
  const { channels = 1, patch = 1, base = 32, groups = 8, classes = 0, embedding = 4 * base } =
    config;
  const { multipliers = [1, 2, 2] } = config, widths = multipliers.map((factor) => factor * base);
  checkWidths(widths);
  decoded(action, config, fitting(config));
  const time1 = dense("time.0", base, embedding), time2 = dense("time.1", embedding, embedding);
  const label = classes > 0 ? classEmbedding("class", classes, embedding) : undefined;
  const first = conv("in", channels * patch * patch, widths[0]!);
  const { down, middle, up } = body(config, widths, embedding);
  const norm = groupNorm("out.norm", widths[0]!, groups);
  const last = conv("out.conv", widths[0]!, channels * patch * patch, { gain: 0 });
  const layers = [
    time1,
    time2,
    first,
    ...[...down, ...up].map(({ layer }) => layer),
    ...middle,
    norm,
    last,
  ];
  return networkOf(parametersOf(...layers, ...(label ? [label] : [])), {
    classes,
    features: base,
    forward: (params, x, under) => {
      checkImages(x, [...config.size, channels]);
      const t = time2.apply(params, silu(time1.apply(params, under.time)));
      const e = silu(label ? tf.add(t, label.apply(params, under.label!)) : t);
      let h = first.apply(params, patched(x, patch));
      const skips = [h];
      for (const { layer, push } of down) {
        h = layer.apply(params, h, e);
        if (push) skips.push(h);
      }
      for (const layer of middle) h = layer.apply(params, h, e);
      for (const { layer, push } of up) {
        h = layer.apply(params, push ? tf.concat([h, skips.pop()!], 3) : h, e);
      }
      return unpatched(last.apply(params, silu(norm.apply(params, h))), patch);
    },
  });
}

/** The way down, the middle and the way up; `push` marks where a skip is laid down, and taken up again. */
function body(config: UNetConfig, widths: readonly number[], embedding: number): {
  down: Step[];
  middle: Block[];
  up: Step[];
} {
  const { blocks = 2, groups = 8, attention: attended = [], middleAttention = true } = config;
  const down: Step[] = [], up: Step[] = [], depths = [widths[0]!];
  let depth = widths[0]!;
  const block = (name: string, inputs: number, outputs: number, level: number): Block => {
    const inner = residual(name, inputs, outputs, { groups, embedding });
    return attended.includes(level)
      ? chained(inner, plain(attention(`${name}.attention`, outputs, { groups })))
      : inner;
  };
  widths.forEach((width, level) => {
    for (let i = 0; i < blocks; i++, depth = width) {
      down.push({ layer: block(`down.${level}.${i}`, depth, width, level), push: true });
      depths.push(width);
    }
    if (level === widths.length - 1) return;
    down.push({
      layer: plain(conv(`down.${level}.halve`, width, width, { stride: 2 })),
      push: true,
    });
    depths.push(width);
  });
  const middle = [residual("middle.0", depth, depth, { groups, embedding })];
  if (middleAttention) {
    middle.push(
      plain(attention("middle.attention", depth, { groups })),
      residual("middle.1", depth, depth, { groups, embedding }),
    );
  }
  for (let level = widths.length - 1; level >= 0; level--) {
    const width = widths[level]!;
    for (let i = 0; i <= blocks; i++, depth = width) {
      up.push({
        layer: block(`up.${level}.${i}`, depth + depths.pop()!, width, level),
        push: true,
      });
    }
    if (level === 0) break;
    depth = widths[level - 1]!;
    up.push({ layer: doubled(`up.${level}.double`, width, depth), push: false });
  }
  return { down, middle, up };
}

const chained = (first: Block, second: Block): Block => ({
  parameters: parametersOf(first, second),
  apply: (params, x, e) => second.apply(params, first.apply(params, x, e), e),
});

function doubled(name: string, inputs: number, outputs: number): Block {
  const inner = conv(name, inputs, outputs);
  return { parameters: inner.parameters, apply: (params, x) => inner.apply(params, upsampled(x)) };
}

/** Refuses no levels, and levels of no channels or of half ones. */
function checkWidths(widths: readonly number[]): void {
  const sizes = { levels: widths.length, ...byLevel(widths) };
  for (const [name, size] of Object.entries(sizes)) {
    if (whole(1)(size)) continue;
    throw refusal(action, `${name} must be a whole number of at least 1`, size);
  }
}

const byLevel = (widths: readonly number[]): Record<string, number> =>
  Object.fromEntries(widths.map((width, level) => [`multipliers[${level}]·base`, width]));

const action = "build a U-Net";

function checkImages(x: Tensor, [height, width, channels]: readonly number[]): void {
  if (tf.util.arraysEqual(x.shape.slice(1), [height!, width!, channels!])) return;
  throw new RangeError(
    `Cannot apply the network: x must be of shape [N, ${height}, ${width}, ${channels}], got [${x.shape}]`,
  );
}

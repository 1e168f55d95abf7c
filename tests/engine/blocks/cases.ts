/**
 * Functions of images that pass through convolutions, on random shapes: what may lie in blocks, and what may not.
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
import { attention, residual } from "../../../src/network/layer/block.ts";
import { groupNorm } from "../../../src/network/layer/norm.ts";
import type { Parameters } from "../../../src/network/layer/parameter.ts";
import { silu } from "../../../src/tensor/autodiff.ts";
import type { Tensors } from "../../../src/tensor/engine.ts";
import type { Case, Chance } from "../cases.ts";

/** What is done to an image [N, H, W, C] of known channels. */
type Change = (x: tf.Tensor, all: Tensors) => tf.Tensor;

/** Random sizes of a function of images. */
interface Sizes {
  readonly n: number;
  readonly h: number;
  readonly w: number;
  /** Channels of the image, and of what becomes of it. */
  readonly channels: readonly [number, number];
}

const pick = <A>(r: Chance, list: readonly A[]): A => list[Math.floor(r() * list.length)]!;

/** Batches of one, of a few, and more than a group of samples; odd sizes; channels that are multiples of blocks or not. */
function sizes(r: Chance): Sizes {
  const n = pick(r, [1, 1, 2, 5, 32]), few = n > 5 ? [1, 2, 3] : [1, 2, 3, 4, 5, 6, 7];
  const channels = (): number => pick(r, [1, 3, 8, 12, 16, 16, 24, 32, 32, 48]);
  return { n, h: pick(r, few), w: pick(r, few), channels: [channels(), channels()] };
}

/** Numbers in [−1, 1) of a shape. */
const drawn = (r: Chance, shape: readonly number[]): tf.Tensor =>
  tf.tensor(Array.from({ length: shape.reduce((a, b) => a * b, 1) }, () => 2 * r() - 1), [
    ...shape,
  ]);

/** A function of an image that is convolved, changed, and convolved again. */
const between = (
  change: (sizes: Sizes, r: Chance) => {
    readonly change: Change;
    readonly inputs?: Readonly<Record<string, readonly number[]>>;
    readonly stride?: number;
    readonly size?: number;
    readonly by?: readonly string[];
  },
): (r: Chance) => Case =>
(r) => {
  const sized = sizes(r), { n, h, w, channels: [from, to] } = sized;
  const { change: f, inputs = {}, stride = 1, size = pick(r, [1, 2, 3]), by = [] } = change(
    sized,
    r,
  );
  const filter = [size, size, from, to], last = pick(r, [1, 16, 24]);
  const shapes = { x: [n, h, w, from], w1: filter, bias: [to], w2: [1, 1, to, last], ...inputs };
  const conv = (x: tf.Tensor, filter: tf.Tensor, strides: number, bias?: tf.Tensor): tf.Tensor4D =>
    tf.fused.conv2d({
      x: x as tf.Tensor4D,
      filter: filter as tf.Tensor4D,
      strides: Math.min(strides, size),
      pad: "same",
      ...(bias && { bias }),
    });
  return {
    inputs: Object.fromEntries(
      Object.entries(shapes).map(([name, shape]) => [name, drawn(r, shape)]),
    ),
    fn: ({ x, w1, bias, ...all }) => {
      const y = f(conv(x!, w1!, stride, bias), all);
      return { y: y.shape.at(-1) === to && y.rank === 4 ? conv(y, all["w2"]!, 1) : y };
    },
    by: ["x", "w1", "bias", ...by],
  };
};

/** A layer's weights as more inputs. */
const weights = (parameters: Parameters): Record<string, readonly number[]> =>
  Object.fromEntries(Object.entries(parameters).map(([name, { shape }]) => [name, shape]));

/** The most groups of up to 4 that channels come in, with several in each: of one, a group takes out what is added to it. */
const groupsOf = (channels: number): number =>
  [4, 3, 2].find((n) => channels % n === 0 && n < channels) ?? 1;

const plain = (
  change: Change,
  options: { readonly stride?: number; readonly size?: number } = {},
) => between(() => ({ change, ...options }));

/** The functions. */
export const cases: Readonly<Record<string, (r: Chance) => Case>> = {
  "a convolution and another": plain((x) => x),
  "a convolution with strides": plain((x) => x, { stride: 2 }),
  "a filter of five places with strides": plain((x) => x, { stride: 3, size: 5 }),
  "more padding than the filter reaches": between(({ channels: [, c] }) => ({
    inputs: { w: [1, 2, c, 16], v: [2, 2, 16, c] },
    by: ["w", "v"],
    change: (x, { w, v }) => {
      const wide = tf.conv2d(x as tf.Tensor4D, w as tf.Tensor4D, 1, [[0, 0], [1, 2], [1, 3], [
        0,
        0,
      ]]);
      return tf.conv2d(wide, v as tf.Tensor4D, [2, 1], [[0, 0], [3, 0], [0, 2], [0, 0]]);
    },
  })),
  "silu": plain((x) => silu(x)),
  "functions of each place": plain((x) =>
    tf.sub(tf.mul(tf.tanh(x), 3), tf.div(tf.sigmoid(tf.neg(x)), tf.add(tf.square(x), 1)))
  ),
  "a difference of each place": plain((x) => tf.sub(tf.sin(x), tf.div(x, tf.add(tf.cos(x), 3)))),
  "a choice of each place": plain((x) => tf.where(tf.greater(x, 0), x, tf.mul(x, 0.1))),
  "a choice by what lies turned": plain((x) =>
    tf.where(tf.reverse(tf.greater(x, 0), [1, 2]), tf.sin(x), x)
  ),
  "relu, whose gradient is true or false": plain((x) => tf.relu(tf.add(x, 0.1))),
  "a sum of three, one of them read twice": plain((x) => {
    const s = tf.sin(x);
    return tf.addN([x, tf.mul(x, x), tf.mul(s, tf.add(s, x))]);
  }),
  "numbers for each channel": between(({ n, channels: [, c] }) => ({
    inputs: { a: [c], b: [n, 1, 1, c], c: [1, 1, 1, c] },
    by: ["a", "b", "c"],
    change: (x, { a, b, c }) =>
      tf.sub(b!, tf.mul(tf.add(tf.mul(tf.sub(x, a!), c!), b!), tf.add(a!, 2))),
  })),
  "numbers for each sample": between(({ n }) => ({
    inputs: { a: [n, 1, 1, 1], b: [1, 1] },
    by: ["a", "b"],
    change: (x, { a, b }) => tf.add(tf.mul(x, a!), b!),
  })),
  "one image spread over more samples": plain((x) => {
    const [n, h, w, c] = x.shape as [number, number, number, number];
    const one = tf.slice(x, [0, 0, 0, 0], [1, -1, -1, -1]);
    const more = tf.add(tf.mul(one, tf.fill([n + 2, h, w, c], 2)), tf.ones([n + 2, 1, 1, 1]));
    return tf.maximum(more, tf.zeros([n + 2, h, w, c]));
  }),
  "one image spread over a fifth axis": plain((x) => {
    const one = tf.slice(x, [0, 0, 0, 0], [1, -1, -1, -1]);
    return tf.add(one, tf.ones([2, 1, 1, 1, 1]));
  }),
  "a map for all channels": between(({ h, w }) => ({
    inputs: { a: [h, w, 1] },
    by: ["a"],
    change: (x, { a }) => tf.mul(x, a!),
  })),
  "a number for each row of a channel": between(({ h, channels: [, c] }) => ({
    inputs: { a: [h, 1, c] },
    by: ["a"],
    change: (x, { a }) => tf.add(tf.mul(x, a!), a!),
  })),
  "an image that lies plainly": between(({ n, h, w, channels: [, c] }) => ({
    inputs: { a: [n, h, w, c], b: [n, c, h, w] },
    by: ["a", "b"],
    change: (x, { a, b }) => tf.add(tf.mul(x, a!), tf.transpose(b!, [0, 2, 3, 1])),
  })),
  "sums over places, samples, channels": plain((x) => {
    const shifted = tf.add(x, tf.mean(x, [1, 2], true));
    const sums = tf.add(tf.sum(shifted, [0, 1, 2], true), tf.sum(tf.mul(x, shifted), [1, 2], true));
    return tf.mul(tf.add(tf.mul(x, sums), tf.mean(x)), tf.sum(x, [1, 2, 3], true));
  }),
  "sums of numbers for each channel": between(({ n, channels: [, c] }) => ({
    inputs: { a: [c], b: [n, 1, 1, c] },
    by: ["a", "b"],
    change: (x, { a, b }) => {
      const y = tf.add(tf.mul(x, a!), b!);
      return tf.mul(tf.sub(y, tf.mean(y, [1, 2], true)), tf.sum(tf.sub(x, b!), [1, 2], true));
    },
  })),
  "sums without their axes": plain((x) =>
    tf.concat([tf.sum(x, [1, 2]), tf.mean(tf.square(x), [1, 2])], 1)
  ),
  "parts put together": between(({ channels: [, c] }) => ({
    change: (x) => {
      const all = tf.concat([x, tf.sin(x), x], 3), [a, b, d] = tf.split(all, 3, 3);
      const rest = tf.slice(all, [0, 0, 0, c], [-1, -1, -1, c]);
      return tf.add(tf.mul(a!, b!), tf.mul(d!, rest));
    },
  })),
  "parts that are no blocks": between(({ channels: [, c] }) => ({
    change: (x) => {
      const half = Math.ceil(c / 2);
      const a = tf.slice(x, [0, 0, 0, 0], [-1, -1, -1, half]);
      return tf.concat([tf.sin(a), tf.slice(x, [0, 0, 0, half], [-1, -1, -1, c - half])], 3);
    },
  })),
  "some of the samples": plain((x) => {
    const first = tf.slice(x, [0, 0, 0, 0], [1, -1, -1, -1]);
    return tf.concat([first, x, first], 0);
  }),
  "rows cut off": between(({ h }) => ({
    change: (x) => tf.mul(tf.slice(x, [0, h - 1, 0, 0], [-1, 1, -1, -1]), x),
  })),
  "turned and seen otherwise": between(({ n, h, w, channels: [, c] }) => ({
    change: (x) => {
      const rows = tf.reshape(x, [n, h * w, c]), turned = tf.transpose(x, [0, 2, 1, 3]);
      return tf.add(tf.reshape(rows, [n, h, w, c]), tf.reshape(turned, [n, h, w, c]));
    },
  })),
  "pixels repeated": between(({ h, w }) => ({
    change: (x) => tf.image.resizeNearestNeighbor(x as tf.Tensor4D, [2 * h, 3 * w]),
  })),
  "means of windows": plain((x) => tf.avgPool(x as tf.Tensor4D, 2, 2, "same")),
  "means of windows without a rest": plain((x) => tf.avgPool(x as tf.Tensor4D, 1, 1, "valid")),
  "the largest of windows": plain((x) => tf.maxPool(x as tf.Tensor4D, 2, 1, "same")),
  "group normalization": between(({ channels: [, c] }) => {
    const { parameters, apply } = groupNorm("norm", c, groupsOf(c));
    return {
      inputs: weights(parameters),
      by: Object.keys(parameters),
      change: (x, all) => apply(all, x),
    };
  }),
  "a residual block": between(({ n, channels: [, c] }) => {
    const { parameters, apply } = residual("block", c, c, { groups: groupsOf(c), embedding: 3 });
    return {
      inputs: { ...weights(parameters), e: [n, 3] },
      by: [...Object.keys(parameters), "e"],
      change: (x, all) => apply(all, x, all["e"]!),
    };
  }),
  "a residual block into more channels": between(({ n, channels: [, c] }) => {
    const { parameters, apply } = residual("block", c, 16, {
      groups: groupsOf(c) % 3 ? groupsOf(c) : 1,
      embedding: 3,
    });
    return {
      inputs: { ...weights(parameters), e: [n, 3] },
      by: [...Object.keys(parameters), "e"],
      change: (x, all) => apply(all, x, all["e"]!),
    };
  }),
  "attention": between(({ channels: [, c] }) => {
    const { parameters, apply } = attention("attention", c, { groups: groupsOf(c) });
    return {
      inputs: weights(parameters),
      by: Object.keys(parameters),
      change: (x, all) => apply(all, x),
    };
  }),
};

/**
 * Images in blocks: ONNX Runtime's own layout for CPUs, in which 16 channels of a pixel (8 without AVX-512) lie side by
 * side, [N, C/size, H, W, size]. Its convolutions are at home there, twice as fast as elsewhere, and whatever acts on each
 * place by itself does not mind. So an image stays in blocks from one convolution to the next, through all that is
 * written down in this folder, and is laid out plainly where something else reads it.
 *
 * The operators are the runtime's internals, and no promise: which of them are right is tried when an engine starts.
 *
 * @module
 */

import type { Graph } from "../graph/graph.ts";
import type { Recorder } from "../graph/record.ts";
import {
  namedValue,
  nchw,
  placed,
  product,
  range,
  reshaped,
  same,
  type Value,
} from "../graph/value.ts";
import type { Attributes, Operands } from "../lower/elementwise.ts";

/** Writes a kernel down in blocks; nothing where it cannot. */
export type BlockLowering = (
  rec: Recorder,
  operands: Operands,
  attributes: Attributes,
) => Value | Value[] | undefined;

/** The set that ONNX Runtime's operators on blocks belong to. */
export const nchwc = "com.microsoft.nchwc";

/** Whether images of a shape [N, H, W, C] can lie in blocks. */
export const fits = ({ block }: Recorder, shape: readonly number[]): boolean =>
  block > 0 && shape.length === 4 && shape[3]! % block === 0 && product(shape) > 0;

/** What a node has made in blocks. */
export const blocked = (
  name: string,
  { shape, type = "float32" }: Pick<Value, "shape"> & Partial<Pick<Value, "type">>,
): Value => ({ ...namedValue(name, { type, shape }, { order: nchw }), isBlocked: true });

/** A value that is said to lie plainly: for operators that act on each place by itself, and are told no place. */
export const disguised = (value: Value): Value => ({ ...value, isBlocked: false });

/** The name of a float32 image in blocks. It must fit. */
export function inBlocks(rec: Recorder, value: Value): string {
  if (value.isBlocked) return value.name;
  const isNhwc = value.values === undefined && same(value.order, range(4)) &&
    same(value.stored, value.shape);
  if (!isNhwc) return rec.node("ReorderInput", [placed(rec, value, nchw)], { domain: nchwc });
  return rec.node("ReorderInput", [value.name], {
    attributes: { channels_last: 1 },
    domain: nchwc,
  });
}

/** A value laid out plainly. */
export function plain(rec: Recorder, value: Value): Value {
  if (!value.isBlocked) return value;
  const { type, shape, name } = value, attributes = { channels: shape[3]! };
  const reordered = (from: string): string =>
    rec.node("ReorderOutput", [from], { attributes, domain: nchwc });
  // The runtime moves real numbers only.
  const to = (code: number, from: string): string =>
    rec.node("Cast", [from], { attributes: { to: code } });
  const moved = type === "float32" ? reordered(name) : to(9, reordered(to(1, name)));
  return namedValue(moved, { type, shape }, { order: nchw });
}

/**
 * Whether the runtime would find little to better in a graph: images are in blocks in nearly all of its convolutions, and
 * its filters, which could be laid out ahead, are given anew at each run. Such is a step of training.
 */
export function isLaidOut({ nodes, constants }: Graph): boolean {
  const sets = nodes.filter(({ op }) => op === "Conv").map(({ domain }) => domain);
  const others = sets.filter((set) => set !== nchwc);
  return sets.length > 16 * others.length &&
    constants.every(({ type, dims, data }) =>
      type !== "float32" || dims.length < 4 || data.length === 1
    );
}

/** A value that is one number, whatever its shape. */
export const isSingle = ({ stored }: Value): boolean => product(stored) === 1;

/** The name of a value [N, 1, 1, C], or one that repeats to it, stored as [N, C, 1, 1]. */
export function perChannel(rec: Recorder, value: Value, [n, , , c]: readonly number[]): string {
  const { shape } = value, ones = Array<number>(4 - shape.length).fill(1);
  const short = shape.length === 4 ? value : reshaped(rec, value, [...ones, ...shape]);
  return placed(rec, { ...short, shape: [n!, 1, 1, c!] }, nchw);
}

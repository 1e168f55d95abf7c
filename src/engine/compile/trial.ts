/**
 * Which of ONNX Runtime's own operators on images in blocks are right here: they are its internals, and differ with the
 * processor and the version.
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
import "../../tensor/autodiff.ts"; // The trials are differentiated.
import type { Pure, Tensors } from "../../tensor/engine.ts";
import type { Tensor4D } from "../../tensor/tensor.ts";
import { isLaidOut } from "../blocks/layout.ts";
import type { Graph } from "../graph/graph.ts";
import { type BlockForm, blockForms } from "../graph/record.ts";
import { encode } from "../onnx/proto.ts";
import { type Program, type Spec, trace, type TraceOptions } from "./trace.ts";
import type { Executor, HostTensor, SessionInfo } from "../runtime/executor.ts";

/** A layout in blocks that has been tried: how many channels, 0 for none, and what is not done in it. */
export type Blocks = Required<TraceOptions>;

/** No layout in blocks: every processor and runtime has that. */
export const noBlocks: Blocks = { block: 0, without: [] };

/** Images and filters of made-up numbers: channels of one block and of several, odd sizes. */
const specs: Readonly<Record<string, Spec>> = {
  x: { shape: [3, 6, 4, 32] },
  // More samples than the gradient of a filter takes at once.
  many: { shape: [17, 3, 2, 32] },
  one: { shape: [3, 6, 4, 1] },
  wide: { shape: [3, 3, 32, 48] },
  narrow: { shape: [1, 1, 48, 16] },
  first: { shape: [3, 3, 1, 16] },
  scale: { shape: [3, 1, 1, 32] },
  shift: { shape: [32] },
};

const conv = (x: tf.Tensor, w: tf.Tensor, stride = 1): Tensor4D =>
  tf.conv2d(x as Tensor4D, w as Tensor4D, stride, "same");

const squares = (x: tf.Tensor): tf.Scalar => tf.sum(tf.square(x));

/** What each form is asked for. All but the first begin and end with convolutions, which bring images into blocks and out. */
const trials: Readonly<Record<BlockForm, Pure>> = {
  "convolution": ({ x, one, wide, narrow, first }) => {
    const y = tf.relu(conv(x!, wide!)), small = conv(x!, wide!, 2);
    return {
      sum: tf.add(conv(y, narrow!), conv(one!, first!)),
      small,
      gradient: tf.grad((x: tf.Tensor) => squares(conv(x, wide!)))(x!),
      parts: tf.concat(tf.split(y, [16, 32], 3).reverse(), 3),
    };
  },
  "filter gradient": ({ x, many, one, wide, narrow, first }) => {
    const by = (x: tf.Tensor, w: tf.Tensor, stride = 1): tf.Tensor =>
      tf.grad((w: tf.Tensor) => squares(conv(x, w, stride)))(w);
    const y = conv(x!, wide!);
    return {
      wide: by(x!, wide!),
      many: by(many!, wide!),
      narrow: by(y, narrow!),
      strides: by(x!, wide!, 2),
      first: by(one!, first!),
    };
  },
  "affine map of channels": ({ x, wide, scale, shift }) => {
    const y = conv(tf.add(tf.mul(x!, scale!), shift!), wide!);
    const row = tf.mean(scale!, 3, true), z = tf.add(tf.mul(y, row), tf.sub(tf.add(y, row), y));
    return { z };
  },
  "product of channels": ({ x, wide }) => {
    const y = conv(x!, wide!), z = conv(tf.square(x!), wide!);
    return { sums: tf.sum(tf.mul(y, z), [1, 2]) };
  },
  "mean of channels": ({ x, wide }) => ({ mean: tf.mean(conv(x!, wide!), [1, 2]) }),
  "upsampling": ({ x, wide }) => ({
    y: tf.image.resizeNearestNeighbor(conv(x!, wide!), [12, 8]),
  }),
  "average pool": ({ x, wide }) => ({ y: tf.avgPool(conv(x!, wide!), [2, 3], 2, "same") }),
  "largest pool": ({ x, wide }) => ({ y: tf.maxPool(conv(x!, wide!), [2, 3], 2, "same") }),
};

/** Numbers that differ from each other, and are the same each time. */
const made = ({ shape }: Spec): HostTensor => ({
  type: "float32",
  dims: shape,
  data: Float32Array.from({ length: tf.util.sizeFromShape([...shape]) }, (_, i) => Math.sin(i * i)),
});

/** Loads a graph: where the runtime would find nothing to better, as it is written. */
export const loaded = (executor: Executor, graph: Graph): Promise<SessionInfo> =>
  executor.load(encode(graph), { asWritten: isLaidOut(graph) });

/** What an executor makes of a graph. */
async function answers(executor: Executor, { graph }: Program) {
  const wanted = graph.outputs.map(({ name }) => name);
  const { id } = await loaded(executor, graph);
  try {
    const feeds = graph.inputs.map(({ name }) => [name, made(specs[name]!)] as const);
    const fetches = wanted.map((name) => [name, true] as const);
    return await executor.run(id, Object.fromEntries(feeds), Object.fromEntries(fetches));
  } finally {
    await executor.free([id], []);
  }
}

/** Whether some forms are right together. */
async function isRight(executor: Executor, block: number, forms: readonly BlockForm[]) {
  const used = new Set<BlockForm>(["convolution", ...forms]);
  const options = { block, without: blockForms.filter((form) => !used.has(form)) };
  const as = (options: TraceOptions): Program => trace(all(forms), specs, {}, options);
  // The executor may refuse what is written in blocks; to write it down is ours.
  const got = await answers(executor, as(options)).catch(() => undefined);
  if (got === undefined) return false;
  const wanted = await answers(executor, as({}));
  return Object.entries(wanted).every(([name, { data }]) => {
    const numbers = data as Float32Array, size = Math.max(...numbers.map(Math.abs));
    return numbers.every((x, i) => Math.abs(Number(got[name]!.data[i]) - x) <= 1e-5 * size);
  });
}

/** The trials of some forms as one function. */
const all = (forms: readonly BlockForm[]): Pure => (given) => {
  const answers = forms.map((form) =>
    Object.entries(trials[form](given)).map(([name, y]) => [`${form}: ${name}`, y] as const)
  );
  return Object.fromEntries(answers.flat()) as Tensors;
};

const sizes = [16, 8];

/**
 * How many channels ONNX Runtime keeps side by side here, and what it does so.
 *
 * @param executor What runs the trials; nothing of them stays with it.
 * @returns The largest layout in which all is right, or else convolutions, without the forms that are not.
 */
export async function blocksOf(executor: Executor): Promise<Blocks> {
  for (const block of sizes) {
    if (await isRight(executor, block, blockForms)) return { block, without: [] };
  }
  for (const block of sizes) {
    if (!await isRight(executor, block, ["convolution"])) continue;
    const without: BlockForm[] = [];
    for (const form of blockForms) {
      if (!await isRight(executor, block, [form])) without.push(form);
    }
    return { block, without };
  }
  return noBlocks;
}

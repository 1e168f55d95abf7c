/**
 * Denoisers as ONNX files that any runtime reads, with the batch's size left open.
 *
 * A graph is traced for a number of samples that occurs nowhere else, a large prime; wherever it turns up in the shapes
 * that the graph is told, the batch is meant. So reshapes are given −1 there and ports a word; a graph that has it
 * anywhere else, such as in a mean over the batch, is refused.
 *
 * Time enters as a number. Its sinusoidal features sin(t·r) and cos(t·r) are computed in the graph, in float32, where
 * the product is off by up to 5e-5 for t in [0, 1000]. So t = n + u and r = c + d are split, n whole and c a multiple of
 * 2⁻¹³, which makes n·c exact, and t·r is a large exact angle n·c and a small one n·d + u·r, joined by the theorem of
 * addition: 1.4e-7 at most.
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
import { kinds } from "../../denoise/prediction.ts";
import { checkAmong, checkTensors, notFinite, refusal } from "../../tensor/check/check.ts";
import { decoded, type Rules } from "../../tensor/check/decode.ts";
import type { Pure } from "../../tensor/engine.ts";
import type { Network } from "../../network/layer/network.ts";
import type { Params } from "../../network/layer/parameter.ts";
import type { UNetConfig } from "../../network/unet.ts";
import type { ImageModelConfig } from "../../network/model.ts";
import { scheduleOf } from "../../noise/named.ts";
import { architectureOf, type ArchitectureOptions } from "../../network/architecture.ts";
import type { Attribute, Constant, Graph, Port } from "../graph/graph.ts";
import { denoiserFormat } from "./import.ts";
import { encode } from "../onnx/proto.ts";
import { trace } from "../compile/trace.ts";
import type { Tensor } from "../../tensor/tensor.ts";

/** The number of samples that graphs are traced for: a prime that no layer's size is a multiple of. */
const marker = 7919;

/**
 * A denoiser as an ONNX file.
 *
 * | port | type | what |
 * | --- | --- | --- |
 * | `x` | float32 [N, H, W, C] | x_t/√(alpha² + sigma²): x_t itself of variance-preserving schedules |
 * | `t` | float32 [N] | the time of each sample, 1000 at the end of the schedule's span |
 * | `label` | int32 [N] | the class of each sample, the number of classes for none; not there without classes |
 * | `prediction` | float32 [N, H, W, C] | what `kind` in the metadata says, in the unit of `x` |
 *
 * The metadata are `format`, which is tweedie.denoise, `schedule` (JSON), `kind`, `classes` (their names, JSON),
 * `layout`, which is NHWC, and `size` (height, width and channels, JSON).
 *
 * @param config What the network is, and what it was trained for.
 * @param params Its weights, which stay the caller's.
 * @param options The table of architectures.
 * @returns The file's bytes, for {@link onnxModel}, ONNX Runtime or any other reader of ONNX.
 * @throws {RangeError} If the configuration describes no network, no schedule or no kind, or a network whose graph is tied to a
 *   number of samples; if a weight is missing, of another shape or not finite. So {@link onnxModel} reads what is written here.
 *
 * @example A small network and what its file says
 * ```ts
 * import { initialize, key, unet } from "@tweedie/tweedie";
 * import { decode, exportDenoiser } from "@tweedie/tweedie/onnx";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const network = { size: [8, 8], base: 8, multipliers: [1], blocks: 1, groups: 4 } as const;
 * const params = initialize(unet(network).parameters, key(0));
 * const bytes = exportDenoiser({ schedule: { name: "linear" }, kind: "eps", network }, params);
 * assert.deepEqual(decode(bytes).inputs[0]!.dims, ["N", 8, 8, 1]);
 * ```
 */
export function exportDenoiser<NetworkConfig extends object = UNetConfig>(
  config: ImageModelConfig<NetworkConfig>,
  params: Params,
  options: ArchitectureOptions = {},
): Uint8Array<ArrayBuffer> {
  decoded("export a denoiser", options, exportOptions);
  const { build, sample, classes } = architectureOf<"denoiser", NetworkConfig>(
    "denoiser",
    config.architecture,
    options,
  );
  const network = build(config.network), shape = sample(config.network);
  checkConfig(config, network);
  checkParams(network, params);
  const specs = {
    x: { shape: [marker, ...shape] },
    t: { shape: [marker] },
    ...(network.classes > 0 && { label: { shape: [marker], dtype: "int32" as const } }),
  };
  const { graph } = trace(pure(network), specs, params);
  const metadata = metadataOf(config, { shape, classes: classes(config.network) });
  return encode(anyBatch(graph, marker), metadata);
}

const exportOptions: Rules<ArchitectureOptions> = { architectures: true };

/** Refuses what the metadata could not be read back from. */
function checkConfig(
  { schedule, kind, classes }: ImageModelConfig<object>,
  network: Network,
): void {
  scheduleOf(schedule);
  checkAmong("export a denoiser", "kind", kind, kinds);
  if (classes === undefined || classes.length === network.classes) return;
  throw refusal(
    "export a denoiser",
    `classes must be the names of ${network.classes} classes`,
    classes.length,
  );
}

/** Refuses weights that are not the network's, or no numbers. */
function checkParams({ parameters }: Network, params: Params): void {
  const action = "export a denoiser";
  checkTensors(action, params, { name: "params", like: parameters, whose: "the network" });
  for (const name of Object.keys(parameters)) {
    const wrong = notFinite(params[name]!.dataSync());
    if (wrong === undefined) continue;
    throw new RangeError(`Cannot ${action}: params must be finite, got ${wrong} in ${name}`);
  }
}

/** The network as a function of x_t, times and classes, with its weights by name. */
const pure = (network: Network): Pure => ({ x, t, label, ...weights }) => ({
  prediction: network.forward(weights, x!, {
    time: features(t!, network.features),
    ...(label && { label: tf.oneHot(label, network.classes + 1, 1, 0, "float32") }),
  }),
});

/** What `timeFeatures` computes in float64: see the head of this file. */
function features(t: Tensor, size: number): Tensor {
  const half = size / 2, rates = Array.from({ length: half }, (_, i) => 10000 ** (-i / half));
  const coarse = rates.map((rate) => Math.round(rate * 2 ** 13) / 2 ** 13);
  const fine = rates.map((rate, i) => rate - coarse[i]!);
  const time = tf.expandDims(t, 1), whole = tf.floor(time), rest = tf.sub(time, whole);
  const large = tf.mul(whole, tf.tensor1d(coarse));
  const small = tf.add(tf.mul(whole, tf.tensor1d(fine)), tf.mul(rest, tf.tensor1d(rates)));
  const [s, c] = [tf.sin(large), tf.cos(large)], [ds, dc] = [tf.sin(small), tf.cos(small)];
  return tf.concat([
    tf.add(tf.mul(s, dc), tf.mul(c, ds)),
    tf.sub(tf.mul(c, dc), tf.mul(s, ds)),
  ], 1);
}

function metadataOf(
  { schedule, kind, classes: names }: ImageModelConfig<object>,
  { shape, classes }: { readonly shape: readonly number[]; readonly classes: number },
): Record<string, string> {
  return {
    format: denoiserFormat,
    schedule: JSON.stringify(schedule),
    kind,
    classes: JSON.stringify(names ?? Array.from({ length: classes }, (_, i) => `${i}`)),
    layout: "NHWC",
    size: JSON.stringify(shape),
  };
}

/**
 * A graph for any number of samples, from one that was traced for a certain number, which must be a prime that is no
 * factor of any other size.
 *
 * @param graph The graph.
 * @param samples The number of samples that it was traced for.
 * @returns The graph with "N" in its ports.
 * @throws {RangeError} If the number is left anywhere.
 */
export function anyBatch(graph: Graph, samples: number): Graph {
  const shapes = new Map(graph.constants.map((constant) => [constant.name, constant]));
  const open = new Map<string, Constant>();
  const nodes = graph.nodes.map((node) => {
    const shape = node.op === "Reshape" ? shapes.get(node.inputs[1]!) : undefined;
    const opened = shape && openShape(shape, samples);
    if (opened === undefined) return node;
    open.set(opened.name, opened);
    return { ...node, inputs: [node.inputs[0]!, opened.name] };
  });
  const used = new Set(nodes.flatMap(({ inputs }) => inputs));
  const port = ({ dims, ...rest }: Port): Port => ({
    ...rest,
    dims: dims.map((size) => size === samples ? "N" : size),
  });
  return unmarked({
    nodes,
    constants: [...graph.constants, ...open.values()].filter(({ name }) => used.has(name)),
    inputs: graph.inputs.map(port),
    outputs: graph.outputs.map(port),
  }, samples);
}

const isMarked = (value: number | bigint, samples: number): boolean =>
  Number(value) !== 0 && Number(value) % samples === 0;

/** A shape with −1, which is "what is left", for the one size that follows the batch. */
function openShape({ name, data, ...rest }: Constant, samples: number): Constant | undefined {
  const sizes = [...data as BigInt64Array], follows = (size: bigint) => isMarked(size, samples);
  if (sizes.filter(follows).length !== 1 || sizes.includes(-1n)) return undefined;
  const open = BigInt64Array.from(sizes, (size) => follows(size) ? -1n : size);
  return { ...rest, name: `${name}.open`, data: open };
}

/** Constants up to this size may be about sizes; larger ones are weights. */
const small = 16;

/** The graph, if the number of samples is not in it, nor its inverse, by which a mean is a product. */
function unmarked(graph: Graph, samples: number): Graph {
  const inverse = Math.fround(1 / samples);
  const marks = (values: Iterable<number | bigint | string>): boolean =>
    [...values].some((value) =>
      typeof value !== "string" && (isMarked(value, samples) || value === inverse)
    );
  const ports = [...graph.inputs, ...graph.outputs].find(({ dims }) => marks(dims));
  if (ports !== undefined) throw tied(`the shape of ${ports.name}`);
  const constant = graph.constants.find(({ dims, data }) =>
    marks(dims) || (data.length <= small && marks(data))
  );
  const user = graph.nodes.find(({ inputs }) => inputs.includes(constant?.name ?? ""));
  if (constant !== undefined) throw tied(`a constant of ${user?.op}`);
  const node = graph.nodes.find(({ attributes }) =>
    marks(Object.values(attributes).flatMap(parts))
  );
  if (node !== undefined) throw tied(`an attribute of ${node.op}`);
  return graph;
}

const parts = (value: Attribute): readonly (number | string)[] =>
  typeof value === "object" ? "float" in value ? [value.float] : value : [value];

const tied = (where: string): RangeError =>
  new RangeError(
    `Cannot leave the number of samples open: a graph must depend on it through shapes alone, got it in ${where}`,
  );

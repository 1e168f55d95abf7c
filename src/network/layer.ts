/**
 * Layers over a tree of named parameters.
 *
 * A layer is data: the parameters that it needs, by their full dotted names, and a pure function of them. A network
 * is a layer made of layers, whose parameters are the union of theirs. Nothing holds weights: `initialize` makes them
 * from a key, `apply` takes them, safetensors stores them under the same names. Images are NHWC, filters HWIO, dense
 * weights [inputs, outputs].
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
import type { Schedule } from "../noise/schedule/schedule.ts";
import type { Condition } from "../denoise/prediction.ts";
import { checkBackend } from "../tensor/check/ready.ts";
import { checkKey, checkTensors, notFinite } from "../tensor/check/check.ts";
import { decoded, is, needed, type Rules, whole, wholeNumber } from "../tensor/check/decode.ts";
import { fold, type Key } from "../tensor/key.ts";
import { normals } from "../tensor/random.ts";
import { silu, softmax } from "../tensor/autodiff.ts";
import { scope } from "../tensor/scope.ts";
import type { Tensor, Tensor2D, Tensor4D } from "../tensor/tensor.ts";

/**
 * Weights by full name. The caller owns the tensors.
 *
 * @category Networks
 */
export type Params = Readonly<Record<string, Tensor>>;

/**
 * A parameter: its shape, and how it starts.
 *
 * @category Networks
 */
export interface Parameter {
  /** Shape. */
  readonly shape: readonly number[];
  /** Standard deviation of its normal start. Default: 0. */
  readonly std?: number;
  /** Mean of its start. Default: 0. */
  readonly mean?: number;
}

/**
 * Parameters by full name.
 *
 * @category Networks
 */
export type Parameters = Readonly<Record<string, Parameter>>;

/**
 * A pure function of weights and inputs, with the weights that it needs.
 *
 * @category Networks
 */
export interface Layer<Inputs extends readonly unknown[] = [x: Tensor]> {
  /** What `apply` reads from its weights. */
  readonly parameters: Parameters;
  /**
   * The function. Returns a new tensor, the scope's, or the caller's where there is none; differentiable in weights and
   * tensors.
   */
  readonly apply: (params: Params, ...inputs: Inputs) => Tensor;
}

/**
 * What a network is told of times and classes, as tensors.
 *
 * @category Networks
 */
export interface NetworkInputs {
  /** Sinusoidal features of each sample's time, {@link timeFeatures}, float32 [N, features]. */
  readonly time: Tensor;
  /** Each sample's class, one-hot, the last column for none: float32 [N, classes + 1]. Absent without classes. */
  readonly label?: Tensor;
}

/**
 * A network under a time, of the order of 0 to 1000, and a class or null for each sample (default: all null).
 *
 * It comes in two parts: `inputs` makes tensors of numbers, `forward` is a pure function of tensors, for engines to
 * compile. `apply` is the two, one after the other.
 *
 * @category Networks
 */
export interface Network
  extends Layer<[x: Tensor, times: readonly number[], condition?: Condition]> {
  /** Number of classes that it tells apart; 0 for a network without. */
  readonly classes: number;
  /** Number of sinusoidal features of time; even. */
  readonly features: number;
  /**
   * Times and classes as tensors, computed on the host in float64. They are the scope's, or the caller's where there is
   * none.
   */
  readonly inputs: (times: readonly number[], condition?: Condition) => NetworkInputs;
  /** The function of tensors: reads no values. Returns a new tensor, the scope's, or the caller's where there is none. */
  readonly forward: (params: Params, x: Tensor, inputs: NetworkInputs) => Tensor;
}

/** A block of which nothing is left but its result, so that a network holds no more at once than it has to. */
const scoped = <Inputs extends readonly unknown[]>(
  apply: (params: Params, ...inputs: Inputs) => Tensor,
): (params: Params, ...inputs: Inputs) => Tensor =>
(params, ...inputs) => scope(() => apply(params, ...inputs));

/**
 * What {@link networkOf} makes a network of.
 *
 * @category Networks
 */
export interface NetworkParts {
  /** Number of classes; 0 for none. */
  readonly classes: number;
  /** Number of sinusoidal features of time; even. */
  readonly features: number;
  /** The function of tensors, which reads no values, and may leave intermediate tensors behind. */
  readonly forward: (params: Params, x: Tensor, inputs: NetworkInputs) => Tensor;
}

const networkParts: Rules<NetworkParts> = {
  classes: needed(wholeNumber(0)),
  features: needed(is("an even number of at least 2", (count) => whole(1)(count / 2))),
  forward: true,
};

/**
 * A network from its function of tensors: with times and classes made tensors, and checked, before, and no tensors left
 * behind.
 *
 * @category Networks
 * @param parameters What the function reads from its weights.
 * @param parts Numbers of classes and of features, and the function.
 * @returns The network.
 * @throws {TypeError} If there is a part that is not known.
 * @throws {RangeError} If `classes` is not a whole number of at least 0, or `features` not an even one of at least 2;
 *   when applied, if there is no sample, or not one finite time and one class or null for each, if a class is not in
 *   [0, classes), or weights are missing, of other shapes or disposed of.
 *
 * @example A linear network that takes no notice of time
 * ```ts
 * import { dense, networkOf } from "@tweedie/tweedie/network";
 * import { initialize, key } from "@tweedie/tweedie";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import * as tf from "@tensorflow/tfjs-core";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const { parameters, apply } = dense("out", 2, 2);
 * const network = networkOf(parameters, { classes: 0, features: 2, forward: apply });
 * const params = initialize(parameters, key(0));
 * assert.deepEqual(network.apply(params, tf.zeros([3, 2]), [1, 2, 3]).shape, [3, 2]);
 * assert.throws(() => network.apply(params, tf.zeros([3, 2]), [1, 2]), RangeError);
 * ```
 */
export function networkOf(parameters: Parameters, parts: NetworkParts): Network {
  const { classes, features } = decoded("build a network", parts, networkParts);
  const weights = { name: "params", like: parameters, whose: "the network", more: true } as const;
  const inputs: Network["inputs"] = (times, condition = times.map(() => null)) => {
    checkCount("condition", condition, times.length);
    checkClasses(condition, classes);
    const wrong = notFinite(times);
    if (wrong !== undefined) throw unfit(`times must be finite, got ${wrong}`);
    const time = timeFeatures(times, features);
    if (classes === 0) return { time };
    return { time, label: oneHot(condition.map((label) => label ?? classes), classes + 1) };
  };
  const forward: Network["forward"] = scoped((params, x, under) => {
    checkSamples(x);
    checkInputs(under, { ...parts, samples: x.shape[0]! });
    checkTensors(applying, params, weights);
    return parts.forward(params, x, under);
  });
  const apply: Network["apply"] = scoped((params, x, times, condition) => {
    checkSamples(x);
    checkCount("times", times, x.shape[0]!);
    return forward(params, x, inputs(times, condition));
  });
  return { parameters, classes, features, inputs, forward, apply };
}

/** What cannot be done with the wrong inputs. */
const applying = "apply the network";

const unfit = (fault: string): RangeError => new RangeError(`Cannot ${applying}: ${fault}`);

function checkSamples({ shape, isDisposed }: Tensor): void {
  if (isDisposed) throw unfit("x must be a tensor that is not disposed of, got one that is");
  if (!(shape[0]! > 0)) throw unfit(`x must hold at least one sample, got shape [${shape}]`);
}

/** Refuses tensors of times and classes that are not those of the samples, before they are broadcast. */
function checkInputs(
  { time, label }: NetworkInputs,
  { samples, classes, features }: {
    readonly samples: number;
    readonly classes: number;
    readonly features: number;
  },
): void {
  const check = (name: string, tensor: Tensor | undefined, wanted: string): void => {
    const got = tensor === undefined ? "none" : `[${tensor.shape.join(", ")}]`;
    if (got === wanted) return;
    throw unfit(`${name} must be ${wanted}, got ${got}`);
  };
  check("time", time, `[${samples}, ${features}]`);
  check("label", label, classes > 0 ? `[${samples}, ${classes + 1}]` : "none");
}

function checkCount(name: string, list: readonly unknown[], samples: number): void {
  if (list.length === samples) return;
  throw unfit(`${name} must have one entry for each of ${samples} samples, got ${list.length}`);
}

function checkClasses(condition: Condition, classes: number): void {
  const wrong = condition.find((label) =>
    label !== null && !(Number.isInteger(label) && label >= 0 && label < classes)
  );
  if (wrong === undefined) return;
  const wanted = classes > 0 ? `null or a whole number in [0, ${classes})` : "null without classes";
  throw unfit(`class must be ${wanted}, got ${wrong}`);
}

/**
 * The union of the parameters of layers.
 *
 * @category Networks
 */
export function parametersOf(
  ...layers: readonly { readonly parameters: Parameters }[]
): Parameters {
  return Object.assign({}, ...layers.map(({ parameters }) => parameters));
}

/**
 * How many numbers parameters hold.
 *
 * @category Networks
 */
export function parameterCount(parameters: Parameters): number {
  return Object.values(parameters).reduce(
    (total, { shape }) => total + tf.util.sizeFromShape([...shape]),
    0,
  );
}

/**
 * First weights: each parameter is normal under its own key, `fold(key, name)`, so that adding a layer changes no
 * other layer's start.
 *
 * @category Networks
 * @param parameters What to make.
 * @param key The key.
 * @returns float32 tensors by name. They are the scope's, or the caller's where there is none.
 * @throws {TypeError} If there is no key.
 *
 * @example The weights of a dense layer
 * ```ts
 * import { dense } from "@tweedie/tweedie/network";
 * import { initialize, key } from "@tweedie/tweedie";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const params = initialize(dense("out", 3, 2).parameters, key(0));
 * assert.deepEqual(params["out.weight"]!.shape, [3, 2]);
 * ```
 */
export function initialize(parameters: Parameters, key: Key): Record<string, Tensor> {
  checkBackend("initialize weights");
  checkKey("initialize weights", key);
  const start = (
    [name, { shape, std = 0, mean = 0 }]: [string, Parameter],
  ): [string, Tensor] => {
    const values = normals(fold(key, name), tf.util.sizeFromShape([...shape])).map((z) =>
      mean + std * z
    );
    return [name, tf.tensor(values, [...shape], "float32")];
  };
  return Object.fromEntries(Object.entries(parameters).map(start));
}

/**
 * Options of {@link dense} and {@link conv}.
 *
 * @category Networks
 */
export interface LinearOptions {
  /** Factor on the standard deviation 1/√fan-in of the weights' start; 0 starts the layer at zero. Default: 1. */
  readonly gain?: number;
}

const linearOptions: Rules<LinearOptions> = { gain: is("finite", Number.isFinite) };

/** Refuses sizes of a layer that are not whole numbers of at least 1. */
function checkSizes(name: string, sizes: Readonly<Record<string, number>>): void {
  for (const [size, value] of Object.entries(sizes)) {
    if (Number.isSafeInteger(value) && value >= 1) continue;
    throw new RangeError(
      `Cannot build ${name}: ${size} must be a whole number of at least 1, got ${value}`,
    );
  }
}

/**
 * An affine map of the last axis, x·W + b: [N, inputs] to [N, outputs].
 *
 * @category Networks
 * @param name Prefix of `.weight` [inputs, outputs] and `.bias` [outputs].
 * @param inputs Size of the last axis.
 * @param outputs Size wanted.
 * @param options Scale of the start.
 * @returns The layer.
 * @throws {TypeError} If there is an option that is not known.
 * @throws {RangeError} If a size is not a whole number of at least 1, or the gain not finite.
 */
export function dense(
  name: string,
  inputs: number,
  outputs: number,
  options: LinearOptions = {},
): Layer {
  const { gain = 1 } = decoded(`build ${name}`, options, linearOptions),
    weight = `${name}.weight`,
    bias = `${name}.bias`;
  checkSizes(name, { inputs, outputs });
  return {
    parameters: {
      [weight]: { shape: [inputs, outputs], std: gain / Math.sqrt(inputs) },
      [bias]: { shape: [outputs] },
    },
    apply: scoped((params, x) => tf.add(tf.matMul(x, params[weight]!), params[bias]!)),
  };
}

/**
 * Options of {@link conv}.
 *
 * @category Networks
 */
export interface ConvOptions extends LinearOptions {
  /** Height and width of the filter, in pixels. Default: 3. */
  readonly size?: number;
  /** Step between outputs, in pixels. Default: 1. */
  readonly stride?: number;
}

const convOptions: Rules<ConvOptions> = {
  ...linearOptions,
  size: wholeNumber(1),
  stride: wholeNumber(1),
};

/**
 * A convolution with zero padding, [N, H, W, inputs] to [N, ⌈H/stride⌉, ⌈W/stride⌉, outputs].
 *
 * @category Networks
 * @param name Prefix of `.weight` [size, size, inputs, outputs] and `.bias` [outputs].
 * @param inputs Channels in.
 * @param outputs Channels out.
 * @param options Filter size, stride, scale of the start.
 * @returns The layer.
 * @throws {TypeError} If there is an option that is not known.
 * @throws {RangeError} If a size is not a whole number of at least 1, or the gain not finite, or the stride is more than the size
 *   of the filter.
 */
export function conv(
  name: string,
  inputs: number,
  outputs: number,
  options: ConvOptions = {},
): Layer {
  const { size = 3, stride = 1, gain = 1 } = decoded(`build ${name}`, options, convOptions),
    weight = `${name}.weight`,
    bias = `${name}.bias`;
  checkSizes(name, { inputs, outputs });
  if (stride > size) {
    // tfjs's wasm kernel is wrong there, and pixels between the filters would go unseen anyway.
    throw new RangeError(
      `Cannot build ${name}: stride must be at most size ${size}, got ${stride}`,
    );
  }
  return {
    parameters: {
      [weight]: {
        shape: [size, size, inputs, outputs],
        std: gain / Math.sqrt(inputs * size * size),
      },
      [bias]: { shape: [outputs] },
    },
    apply: (params, x) =>
      tf.fused.conv2d({
        x: x as Tensor4D,
        filter: params[weight] as Tensor4D,
        bias: params[bias]!,
        strides: stride,
        pad: "same",
      }),
  };
}

/**
 * Group normalization over pixels and the channels of a group, with a scale and a shift for each channel.
 *
 * Source: Y. Wu, K. He, "Group normalization" (2018), equations 1 and 2; eps is 1e-5.
 *
 * @category Networks
 * @param name Prefix of `.weight` and `.bias`, both [channels].
 * @param channels Channels of [N, H, W, channels].
 * @param groups Number of groups; divides `channels`.
 * @returns The layer.
 * @throws {RangeError} If `groups` does not divide `channels`.
 */
export function groupNorm(name: string, channels: number, groups: number): Layer {
  checkDivides(name, { groups, channels });
  const weight = `${name}.weight`, bias = `${name}.bias`, normalized = normalization(groups);
  return {
    parameters: { [weight]: { shape: [channels], mean: 1 }, [bias]: { shape: [channels] } },
    apply: (params, x) => normalized(x, params[weight]!, params[bias]!),
  };
}

/** Refuses a division of channels into equal parts that does not come out even. */
function checkDivides(
  name: string,
  { channels, ...parts }: { readonly channels: number; readonly [part: string]: number },
): void {
  for (const [part, count] of Object.entries(parts)) {
    if (Number.isSafeInteger(count) && count > 0 && channels % count === 0) continue;
    throw new RangeError(
      `Cannot build ${name}: ${part} must divide ${channels} channels, got ${count}`,
    );
  }
}

/** A function of x [N, H, W, C] and a weight and a bias [C]. */
type Normalization = (x: Tensor, weight: Tensor, bias: Tensor) => Tensor;

/**
 * Group normalization with its gradient in closed form, in as few passes over the image as it takes. With m and s the
 * mean and 1/standard deviation of a group of M numbers, and sums A = Σ dy, B = Σ dy·(x − m) over the pixels of a channel,
 *
 * ```text
 *   dbias = A,  dweight = s·B,  dx = s·w·dy − s·Σ(w·A)/M − s³·(x − m)·Σ(w·B)/M,  the last sums over the group's channels
 * ```
 */
function normalization(groups: number): Normalization {
  const normalized = tf.customGrad((...inputs) => {
    const [x, weight, bias, save] = inputs as unknown as [
      Tensor,
      Tensor,
      Tensor,
      tf.GradSaveFunc,
    ];
    const channels = x.shape.at(-1)!, pixels = tf.util.sizeFromShape(x.shape.slice(1, -1));
    const split = [x.shape[0]!, pixels, groups, channels / groups],
      each = [1, 1, ...split.slice(2)];
    // Not the output, nor anything between, so that the gradient can be differentiated again.
    save([x, weight]);
    const gradFunc = (dy: Tensor, saved: Tensor[]) => {
      const [x, weight] = [tf.reshape(saved[0]!, split), tf.reshape(saved[1]!, each)];
      const { mean, scale } = moments(x), slope = tf.reshape(dy, split);
      const a = tf.sum(slope, 1, true), b = centredSum(slope, x, { mean, sum: a });
      const share = (sums: Tensor): Tensor =>
        tf.div(tf.sum(tf.mul(sums, weight), 3, true), pixels * split[3]!);
      const bend = tf.mul(share(b), tf.mul(scale, tf.square(scale)));
      const level = tf.sub(tf.mul(mean, bend), tf.mul(scale, share(a)));
      const dx = tf.add(tf.sub(tf.mul(slope, tf.mul(scale, weight)), tf.mul(x, bend)), level);
      const flat = (sums: Tensor): Tensor => tf.reshape(tf.sum(sums, 0), [channels]);
      return [tf.reshape(dx, saved[0]!.shape), flat(tf.mul(b, scale)), flat(a)];
    };
    if (standardizes()) {
      const y = tf.engine().runKernel(standardize, { x }, { groups, epsilon }) as Tensor;
      return { value: tf.add(tf.mul(y, weight), bias), gradFunc };
    }
    const grouped = tf.reshape(x, split), { mean, scale } = moments(grouped);
    const factor = tf.mul(scale, tf.reshape(weight, each));
    const value = tf.add(tf.mul(tf.sub(grouped, mean), factor), tf.reshape(bias, each));
    return { value: tf.reshape(value, x.shape), gradFunc };
  });
  return (x, weight, bias) => normalized(x, weight, bias);
}

/** A kernel that some engines have: x [N, H, W, C] with zero mean and unit variance in each group. */
const standardize = "Standardize", epsilon = 1e-5;

/** Whether to use it: where there is one, and no gradient whose backward pass would have use for the moments. */
const standardizes = (): boolean =>
  tf.engine().state.gradientDepth === 0 && tf.getKernel(standardize, tf.getBackend()) != null;

/** Σ slope·(x − mean) over the pixels of each channel, from Σ slope·x: the image is read once. */
const centredSum = (
  slope: Tensor,
  x: Tensor,
  { mean, sum }: { readonly mean: Tensor; readonly sum: Tensor },
): Tensor => tf.sub(tf.sum(tf.mul(slope, x), 1, true), tf.mul(mean, sum));

/** Mean and 1/standard deviation of each group of [N, pixels, G, C/G], both [N, 1, G, 1]. */
function moments(x: Tensor): { readonly mean: Tensor; readonly scale: Tensor } {
  const mean = tf.mean(x, [1, 3], true),
    variance = tf.mean(tf.square(tf.sub(x, mean)), [1, 3], true);
  return { mean, scale: tf.rsqrt(tf.add(variance, epsilon)) };
}

/**
 * A table of vectors, one for each class and one, the last, for "no class".
 *
 * @category Networks
 * @param name Prefix of `.weight` [classes + 1, size].
 * @param classes Number of classes.
 * @param size Length of a vector.
 * @returns A layer from one-hot rows [N, classes + 1], as {@link NetworkInputs} have them, to [N, size].
 * @throws {RangeError} If a number is not a whole one of at least 1.
 */
export function classEmbedding(name: string, classes: number, size: number): Layer {
  const weight = `${name}.weight`;
  checkSizes(name, { classes, size });
  return {
    parameters: { [weight]: { shape: [classes + 1, size], std: 1 } },
    // A product with one-hot rows: its gradient is a product too, on every backend.
    apply: (params, label) => tf.matMul(label, params[weight]!),
  };
}

/**
 * Classes as one-hot rows: 1 in the column of the class, 0 elsewhere.
 *
 * @category Networks
 * @param labels One class for each row, in [0, classes).
 * @param classes Number of columns.
 * @returns float32 [N, classes]. It is the scope's, or the caller's where there is none.
 * @throws {RangeError} If a label is out of range, or the number of classes not a whole one of at least 1.
 *
 * @example Two rows of three columns
 * ```ts
 * import { oneHot } from "@tweedie/tweedie/network";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * assert.deepEqual(oneHot([2, 0], 3).arraySync(), [[0, 0, 1], [1, 0, 0]]);
 * ```
 */
export function oneHot(labels: ArrayLike<number>, classes: number): Tensor2D {
  if (!Number.isSafeInteger(classes) || classes < 1) {
    throw new RangeError(
      `Cannot make one-hot rows: classes must be a whole number of at least 1, got ${classes}`,
    );
  }
  const list = Array.from(labels), rows = new Float32Array(list.length * classes);
  list.forEach((label, row) => {
    if (!Number.isInteger(label) || label < 0 || label >= classes) {
      throw new RangeError(
        `Cannot make one-hot rows: label must be a whole number in [0, ${classes}), got ${label}`,
      );
    }
    rows[row * classes + label] = 1;
  });
  return tf.tensor2d(rows, [list.length, classes]);
}

/**
 * A time in the network's unit: 1000 at the end of the schedule's span.
 *
 * @category Networks
 * @param schedule The schedule.
 * @param t Time on it.
 * @returns 1000·t/span[1]; t itself for a discrete schedule of 1000 steps.
 */
export function networkTime(schedule: Schedule, t: number): number {
  return 1000 * t / schedule.span[1];
}

/**
 * Sinusoidal features of time: sin and cos of t·10000^(−i/half), i = 0..half − 1.
 *
 * Source: J. Ho, A. Jain, P. Abbeel, "Denoising diffusion probabilistic models" (2020), appendix B, after A. Vaswani
 * et al., "Attention is all you need" (2017), section 3.5.
 *
 * @category Networks
 * @param times One time for each sample, in steps: of the order of 0 to 1000.
 * @param size Even number of features.
 * @returns float32 [N, size], sines first. It is the scope's, or the caller's where there is none.
 * @throws {RangeError} If `size` is not an even number of at least 2, or a time is not finite.
 *
 * @example At time 0 the sines are 0 and the cosines 1
 * ```ts
 * import { timeFeatures } from "@tweedie/tweedie/network";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * assert.deepEqual(timeFeatures([0], 4).arraySync(), [[0, 0, 1, 1]]);
 * ```
 */
export function timeFeatures(times: readonly number[], size: number): Tensor2D {
  if (!Number.isSafeInteger(size / 2) || size < 2) {
    throw new RangeError(
      `Cannot make features of time: size must be an even number of at least 2, got ${size}`,
    );
  }
  const wrong = notFinite(times);
  if (wrong !== undefined) {
    throw new RangeError(`Cannot make features of time: times must be finite, got ${wrong}`);
  }
  const half = size / 2, rates = Array.from({ length: half }, (_, i) => 10000 ** (-i / half));
  return tf.tensor2d(
    times.map((t) => [...rates.map((r) => Math.sin(t * r)), ...rates.map((r) => Math.cos(t * r))]),
    [times.length, size],
  );
}

/**
 * Options of {@link attention}.
 *
 * @category Networks
 */
export interface AttentionOptions {
  /** Groups of the norm; divides the channels. Default: 8. */
  readonly groups?: number;
  /** Heads, each of which sees channels/heads of q, k and v; divides the channels. Default: 1. */
  readonly heads?: number;
}

const attentionOptions: Rules<AttentionOptions> = { groups: true, heads: true };

/**
 * Self-attention between the pixels of an image with a skip around it: x + proj(softmax(q·kᵀ/√d)·v), where q, k, v =
 * qkv(norm(x)), d channels a head, and the softmax is over the pixels of k.
 *
 * Sources: A. Vaswani et al., "Attention is all you need" (2017), equation 1; J. Ho, A. Jain, P. Abbeel, "Denoising
 * diffusion probabilistic models" (2020), appendix B.
 *
 * @category Networks
 * @param name Prefix of `.norm`, `.qkv` and `.proj`.
 * @param channels Channels of [N, H, W, channels].
 * @param options Groups of the norm, and heads.
 * @returns The layer; it starts as the identity.
 * @throws {TypeError} If there is an option that is not known.
 * @throws {RangeError} If `groups` or `heads` does not divide `channels`.
 */
export function attention(
  name: string,
  channels: number,
  options: AttentionOptions = {},
): Layer {
  const { groups = 8, heads = 1 } = decoded(`build ${name}`, options, attentionOptions),
    size = channels / heads;
  checkDivides(name, { heads, channels });
  const norm = groupNorm(`${name}.norm`, channels, groups);
  const qkv = conv(`${name}.qkv`, channels, 3 * channels, { size: 1 });
  const proj = conv(`${name}.proj`, channels, channels, { size: 1, gain: 0 });
  const apply = (params: Params, x: Tensor): Tensor => {
    const [n, height, width] = x.shape as [number, number, number], pixels = height * width;
    const joint = tf.reshape(qkv.apply(params, norm.apply(params, x)), [n, pixels, 3, heads, size]);
    const [q, k, v] = tf.split(tf.transpose(joint, [2, 0, 3, 1, 4]), 3).map((part) =>
      tf.reshape(part, [n * heads, pixels, size])
    ) as [Tensor, Tensor, Tensor];
    const weights = softmax(tf.mul(tf.matMul(q, k, false, true), 1 / Math.sqrt(size)));
    const mixed = tf.transpose(tf.reshape(tf.matMul(weights, v), [n, heads, pixels, size]), [
      0,
      2,
      1,
      3,
    ]);
    return tf.add(x, proj.apply(params, tf.reshape(mixed, [n, height, width, channels])));
  };
  return { parameters: parametersOf(norm, qkv, proj), apply: scoped(apply) };
}

/**
 * Options of {@link residual}.
 *
 * @category Networks
 */
export interface ResidualOptions {
  /**
   * Groups of the norms; divides the channels in and out. With as many groups as channels out, the second norm takes
   * out again what the vector adds, and the block is blind to it. Default: 8.
   */
  readonly groups?: number;
  /** Length of the vector. Default: the channels out. */
  readonly embedding?: number;
}

const residualOptions: Rules<ResidualOptions> = { groups: true, embedding: true };

/**
 * A residual block with a vector, such as an embedding of time, added between its convolutions:
 * skip(x) + conv(silu(norm(conv(silu(norm(x))) + dense(e)))).
 *
 * @category Networks
 * @param name Prefix of the parts' names.
 * @param inputs Channels in.
 * @param outputs Channels out; the skip is a 1×1 convolution when they differ from `inputs`.
 * @param options Groups of the norms, and length of the vector.
 * @returns A layer of x [N, H, W, inputs] and e [N, embedding]; it starts as its skip.
 * @throws {TypeError} If there is an option that is not known.
 * @throws {RangeError} If `groups` does not divide `inputs` and `outputs`, or a size is not a whole number of at least 1.
 */
export function residual(
  name: string,
  inputs: number,
  outputs: number,
  options: ResidualOptions = {},
): Layer<[x: Tensor, e: Tensor]> {
  const { groups = 8, embedding = outputs } = decoded(`build ${name}`, options, residualOptions);
  const norm1 = groupNorm(`${name}.norm1`, inputs, groups),
    norm2 = groupNorm(`${name}.norm2`, outputs, groups);
  const conv1 = conv(`${name}.conv1`, inputs, outputs),
    conv2 = conv(`${name}.conv2`, outputs, outputs, { gain: 0 });
  const time = dense(`${name}.time`, embedding, outputs);
  const skip = inputs === outputs ? undefined : conv(`${name}.skip`, inputs, outputs, { size: 1 });
  const apply = (params: Params, x: Tensor, e: Tensor): Tensor => {
    const shift = tf.reshape(time.apply(params, e), [e.shape[0]!, 1, 1, outputs]);
    const h = tf.add(conv1.apply(params, silu(norm1.apply(params, x))), shift);
    return tf.add(skip?.apply(params, x) ?? x, conv2.apply(params, silu(norm2.apply(params, h))));
  };
  return {
    parameters: parametersOf(norm1, conv1, time, norm2, conv2, ...(skip ? [skip] : [])),
    apply: scoped(apply),
  };
}

/**
 * Each pixel repeated to a 2×2 block: [N, H, W, C] to [N, 2H, 2W, C]. The result is the scope's, or the caller's where there
 * is none.
 *
 * @category Networks
 */
export function upsampled(x: Tensor): Tensor {
  const [, height, width] = x.shape as [number, number, number];
  return tf.image.resizeNearestNeighbor(x as Tensor4D, [2 * height, 2 * width]);
}

/**
 * Blocks of size×size pixels made into channels, row by row: [N, H, W, C] to [N, H/size, W/size, size²·C].
 *
 * @category Networks
 * @param x Images.
 * @param size Side of a block, in pixels; divides H and W.
 * @returns A new tensor. It is the scope's, or the caller's where there is none.
 * @throws {RangeError} If the blocks do not fit.
 *
 * @example One block
 * ```ts
 * import { patched } from "@tweedie/tweedie/network";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import * as tf from "@tensorflow/tfjs-core";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const block = patched(tf.tensor4d([1, 2, 3, 4], [1, 2, 2, 1]), 2);
 * assert.deepEqual(block.arraySync(), [[[[1, 2, 3, 4]]]]);
 * ```
 */
export function patched(x: Tensor, size: number): Tensor {
  const [n, height, width, channels] = x.shape as [number, number, number, number];
  if (!Number.isSafeInteger(size) || size < 1 || height % size !== 0 || width % size !== 0) {
    throw new RangeError(
      `Cannot cut images into blocks: size must divide ${height}×${width} pixels, got ${size}`,
    );
  }
  if (size === 1) return tf.clone(x);
  const [h, w] = [height / size, width / size];
  return scope(() => {
    const split = tf.reshape(x, [n * h, size, w, size * channels]);
    return tf.reshape(tf.transpose(split, [0, 2, 1, 3]), [n, h, w, size * size * channels]);
  });
}

/**
 * The inverse of {@link patched}: [N, h, w, size²·C] to [N, size·h, size·w, C].
 *
 * @category Networks
 * @param x Blocks.
 * @param size Side of a block, in pixels; its square divides the channels.
 * @returns A new tensor. It is the scope's, or the caller's where there is none.
 * @throws {RangeError} If the channels do not make blocks of this size.
 */
export function unpatched(x: Tensor, size: number): Tensor {
  const [n, height, width, depth] = x.shape as [number, number, number, number],
    channels = depth / (size * size);
  if (!Number.isSafeInteger(size) || size < 1 || !Number.isSafeInteger(channels)) {
    throw new RangeError(
      `Cannot join blocks into images: size must be a number whose square divides ${depth}, got ${size}`,
    );
  }
  if (size === 1) return tf.clone(x);
  return scope(() => {
    const split = tf.reshape(x, [n * height, width, size, size * channels]);
    const rows = tf.transpose(split, [0, 2, 1, 3]);
    return tf.reshape(rows, [n, height * size, width * size, channels]);
  });
}

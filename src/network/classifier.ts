/**
 * Small convolutional classifiers. That of clean images is the judge of generated ones: its class probabilities say
 * whether a sample is what it was meant to be, its penultimate features carry the Fréchet distance. That of noisy images
 * knows the time as well, and guides samplers: the gradient of its ln p_t(y | x_t) is what a class adds to the score.
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
import { type Schedule, timeNear } from "../noise/schedule/schedule.ts";
import type { NoisyClassifier } from "../denoise/energy.ts";
import { silu, softmax } from "../tensor/autodiff.ts";
import { checkTensors } from "../tensor/check/check.ts";
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
import { scope } from "../tensor/scope.ts";
import { conv, dense } from "./layer/linear.ts";
import { groupNorm } from "./layer/norm.ts";
import { type Layer, type Parameters, parametersOf, type Params } from "./layer/parameter.ts";
import { type NetworkInputs, networkOf } from "./layer/network.ts";
import { networkTime, oneHot } from "./layer/embedding.ts";
import type { Scalar, Tensor } from "../tensor/tensor.ts";

/**
 * Shape of a classifier. Plain data: it is stored with the weights.
 *
 * @category Networks
 */
export interface ClassifierConfig {
  /** Height and width of the image in pixels; multiples of 4. */
  readonly size: readonly [number, number];
  /** Number of classes. */
  readonly classes: number;
  /** Channels of the image. Default: 1. */
  readonly channels?: number;
  /** Channels of the first convolution, a multiple of 8; the later ones have twice as many. Default: 32. */
  readonly base?: number;
  /** Length of the penultimate features. Default: 64. */
  readonly features?: number;
}

/** The rule of the size of images of which two convolutions of stride 2 are made. */
export const quartered: Rule = inTurn(
  is("a height and a width in pixels", (size) => Array.isArray(size) && size.length === 2),
  showing(
    is("multiples of 4 pixels", (size: number[]) => size.every((side) => whole(1)(side / 4))),
    (size: number[]) => size.join("×"),
  ),
);

const classifierFields: Rules<ClassifierConfig> = {
  size: needed(quartered),
  classes: needed(wholeNumber(1)),
  channels: wholeNumber(1),
  base: wholeNumber(1),
  features: wholeNumber(1),
};

/** The same beside what files keep too, and the network has no use for. */
const fileFields = { ...classifierFields, names: true, schedule: true } as const;

/**
 * A classifier: `apply` gives logits [N, classes], `features` what the last layer sees, [N, features].
 *
 * @category Networks
 */
export interface Classifier extends Layer {
  /** Penultimate features of images [N, H, W, C] in [-1, 1]: [N, features], after their activation. */
  readonly features: (params: Params, x: Tensor) => Tensor;
}

/**
 * Builds a classifier: three convolutions, two of stride 2, each with group norm and SiLU, then two dense layers.
 *
 * @category Networks
 * @param config Its shape.
 * @returns The network. x is [N, H, W, C] in [-1, 1]; `apply` gives logits [N, classes].
 * @throws {TypeError} If there is an entry that is not known; `names` and `schedule`, which files keep beside it, are left aside.
 * @throws {RangeError} If the size is not made of multiples of 4, `base` is not a multiple of 8, or another number not a whole one
 *   of at least 1; when applied, if x is of another shape, or weights are missing, of other shapes or disposed of.
 *
 * @example Logits of three classes
 * ```ts
 * import { classifier, initialize, key, normal } from "@tweedie/tweedie";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const network = classifier({ size: [8, 8], classes: 3, base: 8 });
 * const logits = network.apply(initialize(network.parameters, key(0)), normal(key(1), [2, 8, 8, 1]));
 * assert.deepEqual(logits.shape, [2, 3]);
 * ```
 */
export function classifier(config: ClassifierConfig): Classifier {
  const { parameters, features, last } = body(config);
  const seen: Classifier["features"] = (params, x) => {
    checkImages(x, config);
    checkTensors("classify", params, {
      name: "params",
      like: parameters,
      whose: "the network",
      more: true,
    });
    return features(params, x);
  };
  return {
    parameters,
    features: (params, x) => scope(() => seen(params, x)),
    apply: (params, x) => scope(() => last.apply(params, seen(params, x))),
  };
}

/** What is done to a block's normalized image, by the number of the block. */
type Change = (h: Tensor, block: number) => Tensor;

/** What classifiers of clean and of noisy images have in common. */
interface Body {
  /** All of its weights. */
  readonly parameters: Parameters;
  /** Channels out of each block. */
  readonly widths: readonly number[];
  /** The penultimate features; leaves intermediate tensors behind. */
  readonly features: (params: Params, x: Tensor, change?: Change) => Tensor;
  /** From the features to the logits. */
  readonly last: Layer;
}

function body(config: ClassifierConfig): Body {
  const { size: [height, width], classes, channels = 1, base = 32, features: length = 64 } =
    decoded(
      "build a classifier",
      config,
      fileFields as Rules<ClassifierConfig>,
    );
  const inner = (height / 4) * (width / 4) * 2 * base, widths = [base, 2 * base, 2 * base];
  const blocks = [{ stride: 2 }, {}, { stride: 2 }].map((options, i) => ({
    conv: conv(`conv.${i}`, i === 0 ? channels : widths[i - 1]!, widths[i]!, options),
    norm: groupNorm(`norm.${i}`, widths[i]!, 8),
  }));
  const joined = dense("features", inner, length), last = dense("logits", length, classes);
  const features: Body["features"] = (params, x, change = (h) => h) => {
    checkImages(x, config);
    const image = blocks.reduce(
      (h, { conv, norm }, i) => silu(change(norm.apply(params, conv.apply(params, h)), i)),
      x,
    );
    return silu(joined.apply(params, tf.reshape(image, [x.shape[0]!, inner])));
  };
  const layers = [...blocks.flatMap(({ conv, norm }) => [conv, norm]), joined, last];
  return { parameters: parametersOf(...layers), widths, features, last };
}

/**
 * A network from noisy images and times to logits, in two parts as every network under a time: `inputs` makes tensors of
 * numbers, `forward` is a pure function of tensors, for engines to compile. `apply` is the two, one after the other.
 *
 * @category Networks
 */
export interface TimedClassifier extends Layer<[x: Tensor, times: readonly number[]]> {
  /** Number of classes that it chooses between. */
  readonly classes: number;
  /**
   * What it is told of each sample's time, of the order of 0 to 1000. It is the scope's, or the caller's where there is
   * none.
   */
  readonly inputs: (times: readonly number[]) => Pick<NetworkInputs, "time">;
  /**
   * The function of tensors, to logits [N, classes]: reads no values. The result is the scope's, or the caller's where there
   * is none.
   */
  readonly forward: (
    params: Params,
    x: Tensor,
    inputs: Pick<NetworkInputs, "time">,
  ) => Tensor;
}

/**
 * Builds a classifier that knows how noisy its images are: {@link classifier}, of which each norm is followed by a scale
 * and a shift of every channel that depend on the time,
 *
 * ```text
 *   h ← silu(norm(conv(h))·(1 + a(e)) + b(e))      e = silu(dense(silu(dense(features of t))))
 * ```
 *
 * with a and b affine, and zero at first. It has the weights of `classifier` by their names, and those of the time.
 *
 * Source: P. Dhariwal, A. Nichol, "Diffusion models beat GANs on image synthesis" (NeurIPS 2021), section 3.1 (adaptive
 * group normalization) and section 4 (a classifier of noisy images).
 *
 * @category Networks
 * @param config Its shape. There are `base` sinusoidal features of time, and 2·base numbers in the embedding.
 * @returns The network. x is [N, H, W, C] and of unit size at every level of noise, with one time for each image; `apply`
 *   gives logits [N, classes].
 * @throws {RangeError} As {@link classifier}; when applied, also if there is not one time for each image.
 *
 * @example Logits of two images at two times, which are those of the plain classifier until it is trained
 * ```ts
 * import { classifier, initialize, key, normal } from "@tweedie/tweedie";
 * import { timedClassifier } from "@tweedie/tweedie/network";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const config = { size: [8, 8], classes: 3, base: 8 } as const, network = timedClassifier(config);
 * const params = initialize(network.parameters, key(0)), x = normal(key(1), [2, 8, 8, 1]);
 * const logits = network.apply(params, x, [10, 900]);
 * assert.deepEqual(logits.arraySync(), classifier(config).apply(params, x).arraySync());
 * ```
 */
export function timedClassifier(config: ClassifierConfig): TimedClassifier {
  const { classes, base = 32 } = config, length = 2 * base, { widths, ...rest } = body(config);
  const time1 = dense("time.0", base, length), time2 = dense("time.1", length, length);
  const turns = widths.map((width, i) => dense(`norm.${i}.time`, length, 2 * width, { gain: 0 }));
  const { parameters, inputs, forward, apply } = networkOf(
    parametersOf(rest, time1, time2, ...turns),
    {
      classes: 0,
      features: base,
      forward: (params, x, { time }) => {
        const e = silu(time2.apply(params, silu(time1.apply(params, time))));
        const change: Change = (h, i) => modulated(h, turns[i]!.apply(params, e));
        return rest.last.apply(params, rest.features(params, x, change));
      },
    },
  );
  return {
    parameters,
    classes,
    inputs: (times) => inputs(times),
    forward,
    apply: (params, x, times) => apply(params, x, times),
  };
}

/** h·(1 + a) + b for each channel of an image [N, H, W, C], of a and b side by side, [N, 2C]. */
function modulated(h: Tensor, by: Tensor): Tensor {
  const [a, b] = tf.split(tf.reshape(by, [by.shape[0]!, 1, 1, by.shape[1]!]), 2, 3);
  return tf.add(tf.mul(h, tf.add(a!, 1)), b!);
}

/**
 * Options of {@link noisyClassifier}.
 *
 * @category Networks
 */
export interface NoisyClassifierOptions {
  /** The schedule that the network was trained under. */
  readonly schedule: Schedule;
  /** The schedule of the samples and times that it is asked about. Default: the one that it was trained under. */
  readonly under?: Schedule;
}

const noisyOptions: Rules<NoisyClassifierOptions> = { schedule: true, under: true };

/**
 * A network with its weights as a classifier of noisy samples, for `byClassifier` and, through `classifierEnergy`, for
 * `meanShifted`.
 *
 * The network is shown x_t/√(alpha² + sigma²), as `noisyClassifierLoss` trains it. Of another schedule than its own it is
 * told the time of its own with the same log-SNR, at which the noise in that unit is the same; a level beyond its own is
 * taken for the nearest.
 *
 * @category Networks
 * @param network The network.
 * @param params Its weights, which stay the caller's and must outlive the classifier.
 * @param options The schedules.
 * @returns The classifier. It answers at once, in operations that have a gradient, also within the steps that an engine
 *   compiles.
 * @throws {TypeError} If there is an option that is not known.
 *
 * @example Samples pulled towards a class
 * ```ts
 * import { byClassifier, ddim, gaussian, guided, initialize, key, last, linear, prior, run } from "@tweedie/tweedie";
 * import { noisyClassifier, timedClassifier } from "@tweedie/tweedie/network";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import { pipe } from "@tweedie/tweedie";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const schedule = linear(), network = timedClassifier({ size: [4, 4], classes: 2, base: 8 });
 * const params = initialize(network.parameters, key(1)); // not trained: any network is a classifier
 * const classify = noisyClassifier(network, params, { schedule });
 * const sampled = async (label: number | null) => {
 *   const sampler = guided(byClassifier(classify, [label], { scale: 2 }))(ddim(schedule, { steps: 5 }));
 *   const { x } = await last(pipe(sampler, run(prior([1, 4, 4, 1]), { model: gaussian(schedule), key: key(0) })));
 *   const [first, second] = classify(x, 1).dataSync();
 *   return second! - first!;
 * };
 * assert.ok(await sampled(0) < await sampled(null) && await sampled(null) < await sampled(1));
 * ```
 */
export function noisyClassifier(
  network: TimedClassifier,
  params: Params,
  options: NoisyClassifierOptions,
): NoisyClassifier {
  const { schedule, under = schedule } = decoded("make a classifier", options, noisyOptions);
  return (x, t) => {
    const level = under.at(t), size = Math.hypot(level.alpha, level.sigma);
    const time = networkTime(schedule, under === schedule ? t : timeNear(schedule, level));
    return scope(() => network.apply(params, tf.div(x, size), Array(x.shape[0]!).fill(time)));
  };
}

function checkImages({ shape }: Tensor, { size, channels = 1 }: ClassifierConfig): void {
  if (shape[0] === 0) throw unclassified("x must be of at least one image", "none");
  if (tf.util.arraysEqual(shape.slice(1), [...size, channels])) return;
  throw unclassified(`x must be of shape [N, ${size.join(", ")}, ${channels}]`, `[${shape}]`);
}

const unclassified = (wanted: string, got: string): RangeError =>
  new RangeError(`Cannot classify: ${wanted}, got ${got}`);

/**
 * The cross entropy −mean ln p(label), in nats, of logits and labels.
 *
 * @category Networks
 * @param logits [N, classes].
 * @param labels One class for each row, in [0, classes); or, as a tensor [N, classes], a distribution for each row, such
 *   as {@link oneHot} makes.
 * @returns A scalar, differentiable in the logits, twice if need be. It is the scope's, or the caller's where there is none.
 * @throws {RangeError} If there are no rows of logits, or not one label for each, or one is out of range, or the tensor's shape is
 *   not that of the logits.
 *
 * @example Ignorance of two classes costs ln 2
 * ```ts
 * import { crossEntropy } from "@tweedie/tweedie/network";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import * as tf from "@tensorflow/tfjs-core";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const [loss] = crossEntropy(tf.tensor2d([[3, 3]]), [1]).dataSync();
 * assert.ok(Math.abs(loss! - Math.LN2) < 1e-6);
 * ```
 */
export function crossEntropy(
  logits: Tensor,
  labels: ArrayLike<number> | Tensor,
): Scalar {
  const [count, classes] = logits.shape as [number, number];
  if (logits.shape.length !== 2 || count === 0) {
    throw new RangeError(
      `Cannot compute the cross entropy: logits must be of shape [N, classes] with N at least 1, got [${logits.shape}]`,
    );
  }
  return scope(() => {
    const target = labels instanceof tf.Tensor ? labels : oneHot(labels, classes);
    if (!tf.util.arraysEqual(target.shape, logits.shape)) {
      const [wanted, got] = labels instanceof tf.Tensor
        ? [`of shape [${logits.shape}]`, `[${target.shape}]`]
        : [`one for each of ${count} rows`, target.shape[0]];
      throw new RangeError(
        `Cannot compute the cross entropy: labels must be ${wanted}, got ${got}`,
      );
    }
    return lifted(logits, target) as Scalar;
  });
}

/** With the gradient (softmax − target)/N in closed form, so that the shift against overflow takes no part in it. */
const lifted = tf.customGrad((...inputs) => {
  const [logits, target, save] = inputs as unknown as [Tensor, Tensor, tf.GradSaveFunc];
  save([logits, target]);
  const value = tf.neg(tf.mean(tf.sum(tf.mul(tf.logSoftmax(logits), target), 1)));
  const gradFunc = (dy: Tensor, saved: Tensor[]) => {
    const [x, wanted] = saved as [Tensor, Tensor];
    const gradient = tf.mul(dy, tf.mul(tf.sub(softmax(x), wanted), 1 / x.shape[0]!));
    return [gradient, tf.zerosLike(wanted)];
  };
  return { value, gradFunc };
});

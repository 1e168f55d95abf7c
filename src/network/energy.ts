/**
 * Networks that are energies: a number for each sample, in nats, of which only the differences mean something,
 *
 * ```text
 *   p(x) = e^(−E(x))/Z      p(x | y) = e^(−E(x, y))/Z_y      ln p(x) − ln p(x') = E(x') − E(x)
 * ```
 *
 * E is what the network says and ‖x‖²/(2·s²), of a normal law that it is measured against: as SiLU grows no faster than x does,
 * e^(−E) has a finite integral whatever the weights.
 *
 * They have no normalization layers: a norm takes away how far an image is from others, which an energy has to see. SiLU is
 * smooth, so the score −∇E is too, and losses that differentiate it once more are well defined.
 *
 * A network with classes has one output for each, and shares all before it. Asked about no class, it is the energy of the
 * sum of its classes' e^(−E), −ln Σ_y e^(−E(x, y)).
 *
 * Sources: E. Nijkamp, M. Hill, S.-C. Zhu, Y. N. Wu, "Learning non-convergent non-persistent short-run MCMC toward energy-based
 * model" (NeurIPS 2019), appendix (the convolutions); Y. Du, I. Mordatch, "Implicit generation and modeling with energy-based
 * models" (NeurIPS 2019), section 3; W. Grathwohl et al., "Your classifier is secretly an energy based model and you should
 * treat it like one" (ICLR 2020), equation 6 (the sum over classes).
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
import { silu } from "../tensor/autodiff.ts";
import { checkTensors, refusal } from "../tensor/check/check.ts";
import { decoded, is, needed, type Rules, wholeNumber } from "../tensor/check/decode.ts";
import { logSum } from "../tensor/gradient/smooth.ts";
import { scope } from "../tensor/scope.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { quartered } from "./classifier.ts";
import { conv, dense } from "./layer/linear.ts";
import { type Layer, parametersOf, type Params } from "./layer/parameter.ts";

/**
 * A network from samples to energies.
 *
 * @category Networks
 */
export interface EnergyNetwork extends Layer<[x: Tensor, label?: Tensor]> {
  /** Shape of one sample. */
  readonly sample: readonly number[];
  /** Number of classes that it tells apart; 0 for none. */
  readonly classes: number;
  /**
   * E of samples [N, ...sample], in nats, shape [N]; of a class each where `label` is their one-hot rows [N, classes]. The
   * result is the scope's, or the caller's where there is none; differentiable in weights and samples.
   */
  readonly apply: (params: Params, x: Tensor, label?: Tensor) => Tensor;
}

/**
 * Shape of an energy of images. Plain data: it is stored with the weights.
 *
 * @category Networks
 */
export interface EnergyConfig {
  /** Height and width of the image in pixels; multiples of 4. */
  readonly size: readonly [number, number];
  /** Channels of the image. Default: 1. */
  readonly channels?: number;
  /** Channels of the first convolution; the last has four times as many. Default: 32. */
  readonly base?: number;
  /** Number of classes; 0 for none. Default: 0. */
  readonly classes?: number;
  /** Standard deviation s of the normal law that the energy is measured against, in x's unit. Default: 1. */
  readonly reference?: number;
}

/**
 * Shape of an energy of points. Plain data: it is stored with the weights.
 *
 * @category Networks
 */
export interface EnergyMlpConfig {
  /** Numbers of a sample. */
  readonly dimension: number;
  /** Numbers of a hidden layer. Default: 128. */
  readonly width?: number;
  /** Number of hidden layers. Default: 3. */
  readonly layers?: number;
  /** Number of classes; 0 for none. Default: 0. */
  readonly classes?: number;
  /** Standard deviation s of the normal law that the energy is measured against, in x's unit. Default: 1. */
  readonly reference?: number;
}

const configRules: Rules<EnergyConfig> = {
  size: needed(quartered),
  channels: wholeNumber(1),
  base: wholeNumber(1),
  classes: wholeNumber(0),
  reference: is("positive and finite", (s) => Number.isFinite(s) && s > 0),
};

/** What files keep beside a configuration, and the network has no use for. */
const beside = { names: true, architecture: true } as const;

const mlpRules: Rules<EnergyMlpConfig> = {
  dimension: needed(wholeNumber(1)),
  width: wholeNumber(1),
  layers: wholeNumber(1),
  classes: wholeNumber(0),
  reference: is("positive and finite", (s) => Number.isFinite(s) && s > 0),
};

/** What is asked for before the energies. */
interface Body {
  readonly sample: readonly number[];
  readonly classes: number;
  readonly layers: readonly Layer[];
  /** From samples to the features of which the energies are affine functions, [N, features]. */
  readonly features: (params: Params, x: Tensor) => Tensor;
  readonly width: number;
  readonly reference: number;
}

function energyOf({ sample, classes, layers, features, width, reference }: Body): EnergyNetwork {
  const last = dense("energy", width, Math.max(1, classes));
  const parameters = parametersOf(...layers, last), axes = sample.map((_, i) => i + 1);
  const apply = (params: Params, x: Tensor, label?: Tensor): Tensor => {
    checkSamples(x, sample);
    checkLabel(label, x.shape[0]!, classes);
    checkTensors("compute an energy", params, {
      name: "params",
      like: parameters,
      whose: "the network",
      more: true,
    });
    return scope(() => {
      const energies = last.apply(params, features(params, x)),
        away = tf.square(tf.div(x, reference));
      return tf.add(chosen(energies, label), tf.mul(tf.sum(away, axes), 0.5));
    });
  };
  return { parameters, sample, classes, apply };
}

/** Of energies [N, outputs] that of the label of each row; without labels, that of all together. */
function chosen(energies: Tensor, label: Tensor | undefined): Tensor {
  if (label !== undefined) return tf.sum(tf.mul(energies, label), 1);
  return energies.shape[1] === 1 ? tf.squeeze(energies, [1]) : tf.neg(logSum(tf.neg(energies)));
}

/**
 * An energy of images: a convolution, two of stride 2 and one more, with SiLU, then one affine map of all that is left.
 *
 * ```text
 *   [H, W, C] → [H, W, base] → [H/2, W/2, 2·base] → [H/4, W/4, 4·base] → [H/4, W/4, 4·base] → E
 * ```
 *
 * @category Networks
 * @param config Its shape.
 * @returns The network, for x [N, H, W, C] in [-1, 1].
 * @throws {TypeError} If there is an entry that is not known; `names` and `architecture`, which files keep beside it, are left aside.
 * @throws {RangeError} If the size is not made of multiples of 4, or another number not a whole one; when applied, if x or the
 *   labels are of another shape, or weights are missing, of other shapes or disposed of.
 *
 * @example The scores of two images
 * ```ts
 * import { initialize, key, normal } from "@tweedie/tweedie";
 * import { energyNet } from "@tweedie/tweedie/network";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import * as tf from "@tensorflow/tfjs-core";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const network = energyNet({ size: [8, 8], base: 8 }), params = initialize(network.parameters, key(0));
 * const x = normal(key(1), [2, 8, 8, 1]), score = tf.grad((x) => tf.neg(tf.sum(network.apply(params, x))))(x);
 * assert.deepEqual(network.apply(params, x).shape, [2]);
 * assert.deepEqual(score.shape, x.shape);
 * ```
 */
export function energyNet(config: EnergyConfig): EnergyNetwork {
  const { size: [height, width], channels = 1, base = 32, classes = 0, reference = 1 } = decoded(
    "build an energy",
    config,
    { ...configRules, ...beside } as Rules<EnergyConfig>,
  );
  const widths = [base, 2 * base, 4 * base, 4 * base], strides = [1, 2, 2, 1];
  // SiLU halves a normal number's size: with the usual start the energy would hardly depend on the image.
  const layers = widths.map((outputs, i) =>
    conv(`conv.${i}`, widths[i - 1] ?? channels, outputs, { stride: strides[i]!, gain: 1.7 })
  );
  const inner = (height / 4) * (width / 4) * 4 * base;
  return energyOf({
    sample: [height, width, channels],
    classes,
    layers,
    width: inner,
    reference,
    features: (params, x) =>
      tf.reshape(layers.reduce((h, layer) => silu(layer.apply(params, h)), x), [-1, inner]),
  });
}

/**
 * An energy of points: dense layers with SiLU.
 *
 * @category Networks
 * @param config Its shape.
 * @returns The network, for x [N, dimension] of about unit size.
 * @throws {TypeError} If there is an entry that is not known; `names` and `architecture` are left aside.
 * @throws {RangeError} If a number is not a whole one in its range; when applied, as {@link energyNet}.
 *
 * @example The energy of the sum of two classes
 * ```ts
 * import { initialize, key, normal } from "@tweedie/tweedie";
 * import { energyMlp, oneHot } from "@tweedie/tweedie/network";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const network = energyMlp({ dimension: 2, classes: 2 }), params = initialize(network.parameters, key(0));
 * const x = normal(key(1), [1, 2]), of = (label: number) => network.apply(params, x, oneHot([label], 2)).dataSync()[0]!;
 * const both = network.apply(params, x).dataSync()[0]!;
 * assert.ok(Math.abs(both + Math.log(Math.exp(-of(0)) + Math.exp(-of(1)))) < 1e-5);
 * ```
 */
export function energyMlp(config: EnergyMlpConfig): EnergyNetwork {
  const { dimension, width = 128, layers: count = 3, classes = 0, reference = 1 } = decoded(
    "build an energy",
    config,
    { ...mlpRules, ...beside } as Rules<EnergyMlpConfig>,
  );
  const layers = Array.from(
    { length: count },
    (_, i) => dense(`dense.${i}`, i === 0 ? dimension : width, width, { gain: 1.7 }),
  );
  return energyOf({
    sample: [dimension],
    classes,
    layers,
    width,
    reference,
    features: (params, x) => layers.reduce((h, layer) => silu(layer.apply(params, h)), x),
  });
}

function checkSamples({ shape }: Tensor, sample: readonly number[]): void {
  if (tf.util.arraysEqual(shape.slice(1), [...sample])) return;
  throw refusal("compute an energy", `x must be of shape [N, ${sample.join(", ")}]`, shape);
}

function checkLabel(label: Tensor | undefined, count: number, classes: number): void {
  if (label === undefined) return;
  const refused = (wanted: string, got: unknown) => refusal("compute an energy", wanted, got);
  if (classes === 0) {
    throw refused("label must be absent of a network without classes", label.shape);
  }
  if (tf.util.arraysEqual(label.shape, [count, classes])) return;
  throw refused(`label must be one-hot rows [${count}, ${classes}]`, label.shape);
}

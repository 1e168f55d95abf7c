/**
 * A network under a time and a class: a layer whose inputs are checked and made tensors first.
 *
 * @module
 */

import type { Condition } from "../../denoise/prediction.ts";
import { checkTensors, notFinite } from "../../tensor/check/check.ts";
import { decoded, is, needed, type Rules, whole, wholeNumber } from "../../tensor/check/decode.ts";
import type { Tensor } from "../../tensor/tensor.ts";
import { type Layer, type Parameters, type Params, scoped } from "./parameter.ts";
import { oneHot, timeFeatures } from "./embedding.ts";

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

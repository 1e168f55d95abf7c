/**
 * Training restricted Boltzmann machines: contrastive divergence from the data, from persistent chains, or by the exact gradient, as
 * objectives of {@link train}.
 *
 * ```text
 *   x⁻ = x⁺, or where the chains were          then k steps of block Gibbs sampling
 *   ∇θ = mean(−∂E/∂θ | x⁻) − mean(−∂E/∂θ | x⁺)          centred, if it is asked for, with offsets
 *   μ ← (1 − rate)·μ + rate·mean(x⁺)        λ ← (1 − rate)·λ + rate·mean(E[h | x⁺])
 * ```
 *
 * The loss that a state tells is mean F(x⁺) − mean F(x⁻), in nats: no likelihood, and it may go up and down while that rises. Of the
 * exact gradient it is mean(−ln p(x⁺)). Sources: as `energy/boltzmann/divergence.ts`; J. Melchior, A. Fischer, L. Wiskott, "How to
 * center deep Boltzmann machines" (2016), algorithm 1.
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
import { doubled } from "../../energy/boltzmann/dbm.ts";
import {
  contrasted,
  exactStatistics,
  movedOffsets,
  type Offsets,
  type RbmStatistics,
  rbmStatistics,
} from "../../energy/boltzmann/divergence.ts";
import { gibbsStep, layerDraws, type LayerSizes, sizesOf } from "../../energy/boltzmann/gibbs.ts";
import {
  checkRbm,
  drawnVisible,
  freeEnergy,
  hiddenMean,
  type Rbm,
} from "../../energy/boltzmann/rbm.ts";
import { checkKey, refusal } from "../../tensor/check/check.ts";
import {
  atLeast,
  decoded,
  is,
  oneOf,
  type Rules,
  wholeNumber,
  within,
} from "../../tensor/check/decode.ts";
import type { Tensors } from "../../tensor/engine.ts";
import { fold, type Key, split } from "../../tensor/key.ts";
import { normal, uniform } from "../../tensor/random.ts";
import { scope } from "../../tensor/scope.ts";
import type { Params } from "../../network/layer/parameter.ts";
import type { Tensor } from "../../tensor/tensor.ts";
import type { Prepared } from "../flat.ts";
import type { StatefulObjective } from "../loop/objective.ts";
import type { VisibleRows } from "./rows.ts";
import { sloped, slopeLoss } from "./slope.ts";

/**
 * Options of {@link contrastiveDivergence}.
 *
 * @category Training
 */
export interface DivergenceOptions {
  /** k, the steps of block Gibbs sampling of each update. Default: 1. */
  readonly kSteps?: number;
  /**
   * Where the chains start: `"data"`, at the batch, which is CD-k; `"persistent"`, where they were, which is PCD; or `"exact"`, no chains
   * but sums over all states of a layer of at most 16 units. Default: `"data"`.
   */
  readonly negatives?: "data" | "persistent" | "exact";
  /** Number of persistent chains. Default: 100. */
  readonly chains?: number;
  /** Share of the batch in the offsets of centring, in [0, 1]; 0 keeps those of the start. Default: there is no centring. */
  readonly centring?: number;
  /** Decay of the weights: decay·W is added to their gradient. Default: 0. */
  readonly decay?: number;
  /** Whether the variances of Gaussian visible units are `"fixed"` or `"learned"`. Default: `"fixed"`. */
  readonly variances?: "fixed" | "learned";
  /** The layer that is there twice, for the first and the last machine of a deep one. Default: none. */
  readonly doubled?: "visible" | "hidden";
}

const rules: Rules<DivergenceOptions> = {
  kSteps: wholeNumber(1),
  negatives: oneOf("data", "persistent", "exact"),
  chains: wholeNumber(1),
  centring: is("in [0, 1]", within(0, 1)),
  decay: is("at least 0", atLeast(0)),
  variances: oneOf("fixed", "learned"),
  doubled: oneOf("visible", "hidden"),
};

const action = "train a Boltzmann machine";

/** Options that fit together and to the machine. */
function checked(rbm: Rbm, options: DivergenceOptions): DivergenceOptions {
  checkRbm(action, rbm);
  const { negatives, chains, centring, variances, doubled } = decoded(action, options, rules);
  const { n, m } = grown(sizesOf(rbm), doubled);
  const isGaussian = rbm.logVariance !== undefined;
  if (chains !== undefined && negatives !== "persistent") {
    throw refusal(action, 'chains must be absent without negatives: "persistent"', chains);
  }
  if (variances !== undefined && !isGaussian) {
    throw refusal(action, "variances must be absent for binary units", variances);
  }
  const binary = {
    'negatives must not be "exact"': negatives === "exact",
    "centring must be absent": centring !== undefined,
    "doubled must be absent": doubled !== undefined,
  };
  for (const [wanted, isAsked] of Object.entries(binary)) {
    if (isGaussian && isAsked) throw refusal(action, `${wanted} for Gaussian units`, options);
  }
  if (negatives === "exact" && Math.min(n, m) > 16) {
    throw refusal(
      action,
      'the smaller layer must be of at most 16 units for negatives: "exact"',
      Math.min(n, m),
    );
  }
  return options;
}

/** The machine that is trained: a layer of it may be there twice. */
const lawOf = (rbm: Rbm, layer: DivergenceOptions["doubled"]): Rbm =>
  layer === undefined ? rbm : doubled(rbm, layer);

/** The gradient by the parameters of a machine that is there with a layer twice. */
function folded({ weights, visible, hidden }: Rbm, layer: "visible" | "hidden"): Rbm {
  const both = (tensor: Tensor, axis: number): Tensor => {
    const [a, b] = tf.split(tensor, 2, axis);
    return tf.add(a!, b!);
  };
  return layer === "visible"
    ? { weights: both(weights, 0), visible: both(visible, 0), hidden }
    : { weights: both(weights, 1), visible, hidden: both(hidden, 0) };
}

/** The sizes of a machine with a layer twice. */
const grown = (
  { n, m, isGaussian }: LayerSizes,
  layer: DivergenceOptions["doubled"],
): LayerSizes => ({
  n: layer === "visible" ? 2 * n : n,
  m: layer === "hidden" ? 2 * m : m,
  isGaussian,
});

/**
 * Contrastive divergence as an objective.
 *
 * @category Training
 * @param rbm The machine, for its sizes and the kind of its units.
 * @param options Steps, where chains start, centring, decay.
 * @returns The objective. With persistent chains or centring the run starts with what {@link divergenceStart} makes as `carried`.
 * @throws {TypeError} If an option is not known.
 * @throws {RangeError} If one is out of range, or does not fit the units; when evaluated, if a batch is not of rows of n numbers.
 *
 * @example One unit learns how often it is 1
 * ```ts
 * import { key, newTraining, train } from "@tweedie/tweedie";
 * import { byMomentum, contrastiveDivergence } from "@tweedie/tweedie/train";
 * import { initialRbm } from "@tweedie/tweedie/energy";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const rbm = initialRbm({ visible: 1, hidden: 1, key: key(0) }), optimizer = byMomentum({ rate: 0.5 });
 * const loss = contrastiveDivergence(rbm, { negatives: "exact" }), start = newTraining(rbm, { optimizer });
 * let nll = NaN;
 * for await (const state of train(start, { loss, optimizer, key: key(1) })(Array(200).fill([1, 1, 1, 0]))) nll = state.loss;
 * assert.ok(Math.abs(nll + 0.75 * Math.log(0.75) + 0.25 * Math.log(0.25)) < 1e-3);
 * ```
 */
export function contrastiveDivergence(
  rbm: Rbm,
  options: DivergenceOptions = {},
): StatefulObjective<VisibleRows> {
  const { kSteps = 1, negatives = "data", chains = 100, doubled: layer } = checked(rbm, options);
  const sizes = sizesOf(rbm), { n } = sizes, steps = negatives === "exact" ? 0 : kSteps;
  return {
    inputs: (batch, key) => {
      checkKey(action, key);
      const count = rowsIn(action, batch, n), drawn = negatives === "persistent" ? chains : count;
      const x = tf.tensor2d(Float32Array.from(batch), [count, n]);
      return { x, ...stepDraws(grown(sizes, layer), { key, count: drawn, steps }) };
    },
    prepare: (params, inputs, carried) =>
      scope((): Prepared => {
        const law = lawOf(params as Rbm, layer), twice = layer === "visible";
        const x = twice ? tf.concat([inputs["x"]!, inputs["x"]!], 1) : inputs["x"]!;
        const positive = rbmStatistics(law, x);
        const { statistics, free, ends } = negative(law, { x, inputs, carried }, {
          steps,
          negatives,
        });
        const offsets = offsetsOf(carried, positive, options);
        const gradient = ascended(
          params as Rbm,
          { law, positive, negative: statistics, offsets },
          options,
        );
        const value = tf.sub(tf.mean(freeEnergy(law, x)), free);
        return {
          inputs: sloped(params, gradient, value),
          carried: {
            ...(ends && { chains: ends }),
            ...(offsets && { visibleOffset: offsets.visible, hiddenOffset: offsets.hidden }),
          },
        };
      }),
    loss: slopeLoss,
  };
}

/** How many rows a batch has. */
export function rowsIn(action: string, batch: VisibleRows, n: number): number {
  const count = batch?.length / n;
  if (Number.isInteger(count) && count >= 1) return count;
  throw refusal(action, `a batch must be rows of ${n} numbers`, batch?.length);
}

/** The random numbers of the steps of an update: `hidden.0`, `visible.0`, .... */
export function stepDraws(
  sizes: LayerSizes,
  { key, count, steps }: { readonly key: Key; readonly count: number; readonly steps: number },
): Record<string, Tensor> {
  return Object.fromEntries(
    Array.from({ length: steps }, (_, k) => {
      const { hidden, visible } = layerDraws(sizes, { key }, count, k);
      return [[`hidden.${k}`, hidden], [`visible.${k}`, visible]] as const;
    }).flat(),
  );
}

/** What the negative means are found from. */
interface Before {
  readonly x: Tensor;
  readonly inputs: Tensors;
  readonly carried: Tensors;
}

/** The negative means, the mean free energy that goes with them, and where persistent chains end. */
function negative(
  law: Rbm,
  { x, inputs, carried }: Before,
  { steps, negatives }: {
    readonly steps: number;
    readonly negatives: "data" | "persistent" | "exact";
  },
): { readonly statistics: RbmStatistics; readonly free: Tensor; readonly ends?: Tensor } {
  if (negatives === "exact") {
    const { statistics, logZ } = exactStatistics(law);
    return { statistics, free: tf.neg(logZ) };
  }
  let at = negatives === "persistent" ? chainsIn(carried) : x;
  for (let k = 0; k < steps; k++) {
    const draws = { hidden: inputs[`hidden.${k}`]!, visible: inputs[`visible.${k}`]! };
    at = gibbsStep(law, at, draws).x;
  }
  const found = { statistics: rbmStatistics(law, at), free: tf.mean(freeEnergy(law, at)) };
  return negatives === "persistent" ? { ...found, ends: at } : found;
}

function chainsIn(carried: Tensors): Tensor {
  if (carried["chains"] !== undefined) return carried["chains"];
  throw refusal(
    action,
    "start.carried must have chains, as divergenceStart() makes them",
    Object.keys(carried),
  );
}

/** The offsets of this step. */
function offsetsOf(
  carried: Tensors,
  positive: RbmStatistics,
  { centring }: DivergenceOptions,
): Offsets | undefined {
  if (centring === undefined) return undefined;
  const { visibleOffset: visible, hiddenOffset: hidden } = carried;
  if (visible && hidden) return movedOffsets({ visible, hidden }, positive, centring);
  throw refusal(
    action,
    "start.carried must have offsets, as divergenceStart() makes them",
    Object.keys(carried),
  );
}

/** What a gradient is made of. */
interface Means {
  readonly law: Rbm;
  readonly positive: RbmStatistics;
  readonly negative: RbmStatistics;
  readonly offsets: Offsets | undefined;
}

/** The gradient by the parameters themselves. */
function ascended(
  rbm: Rbm,
  { law, positive, negative, offsets }: Means,
  { decay = 0, doubled: layer, variances = "fixed" }: DivergenceOptions,
): Params {
  // Both copies of a doubled layer bring their decay.
  const found = contrasted(law, {
    positive,
    negative,
    ...(offsets && { offsets }),
    decay: layer === undefined ? decay : decay / 2,
  });
  const gradient = layer === undefined ? found : folded(found, layer);
  if (rbm.logVariance === undefined || variances === "learned") return gradient;
  return { ...gradient, logVariance: tf.zerosLike(rbm.logVariance) };
}

/**
 * What contrastive divergence carries from step to step, at the start: persistent chains, drawn from the visible biases alone, and the
 * offsets of centring, which are the means that the biases give. It is the `carried` of `newTraining`.
 *
 * @category Training
 * @param rbm The machine.
 * @param options The objective's options, and the key of the chains.
 * @returns `chains` [chains, n], `visibleOffset` [n] and `hiddenOffset` [m], as far as there are any. The caller disposes of them.
 * @throws {TypeError} If an option is not known, or there is no key.
 * @throws {RangeError} As {@link contrastiveDivergence}.
 *
 * @example
 * ```ts
 * import { key } from "@tweedie/tweedie";
 * import { initialRbm } from "@tweedie/tweedie/energy";
 * import { divergenceStart } from "@tweedie/tweedie/train";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const rbm = initialRbm({ visible: 6, hidden: 3, key: key(0) });
 * const carried = divergenceStart(rbm, { negatives: "persistent", chains: 10, centring: 0.01, key: key(1) });
 * assert.deepEqual(carried["chains"]!.shape, [10, 6]);
 * ```
 */
export function divergenceStart(
  rbm: Rbm,
  { key, ...options }: DivergenceOptions & { readonly key: Key },
): Record<string, Tensor> {
  checkKey(action, key);
  const { negatives, chains = 100, centring, doubled: layer } = checked(rbm, options);
  return scope((): Record<string, Tensor> => {
    const law = lawOf(rbm, layer), [n, m] = law.weights.shape as [number, number];
    const none = tf.zeros([chains, m]), visible = tf.sigmoid(law.visible);
    const offsets = () => ({
      visibleOffset: visible,
      hiddenOffset: tf.reshape(hiddenMean(law, tf.reshape(visible, [1, n])), [m]),
    });
    const keys = split(fold(key, "chains"), chains);
    const drawn = () => drawnVisible(law, none, (law.logVariance ? normal : uniform)(keys, [n]));
    return {
      ...(negatives === "persistent" && { chains: drawn() }),
      ...(centring !== undefined && offsets()),
    };
  });
}

/**
 * The gradient of a Boltzmann machine's likelihood, and what contrastive divergence puts in its place.
 *
 * ```text
 *   ∂/∂θ mean(−ln p(x)) = E[−∂E/∂θ] − mean(E[−∂E/∂θ | x])        for W: E[xhᵀ] under the model less that under the data
 *   CD-k     the model's mean is taken over x after k steps of block Gibbs sampling from the data
 *   PCD      over chains that go on from where the last update left them
 * ```
 *
 * With samples of the model itself the gradient would be unbiased; CD-k's is not, since its chains start at the data (the
 * former is stochastic maximum likelihood). Its bias falls with k, and is none where the
 * model has the law of the data.
 *
 * Centring takes x − μ for x and h − λ for h, with offsets μ and λ near the means. In the parameters of the head of `rbm.ts`:
 *
 * ```text
 *   ∇W ← ∇W − μ·∇cᵀ − ∇b·λᵀ         ∇b ← ∇b − ∇W·λ         ∇c ← ∇c − ∇Wᵀ·μ         with the new ∇W in both
 * ```
 *
 * A machine of flipped bits, x' = 1 − x, then learns the mirrored parameters, W' = −W, b' = −b, c' = c + Σ_i W_i, which without
 * offsets it does not.
 *
 * Sources: G. Hinton, "Training products of experts by minimizing contrastive divergence" (2002); T. Tieleman, "Training restricted
 * Boltzmann machines using approximations to the likelihood gradient" (2008); J. Melchior, A. Fischer, L. Wiskott, "How to
 * center deep Boltzmann machines" (2016), section 3.
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
import { refusal } from "../../tensor/check/check.ts";
import { scope } from "../../tensor/scope.ts";
import type { Scalar, Tensor } from "../../tensor/tensor.ts";
import type { Dbm } from "./dbm.ts";
import { checkRbm, freeEnergy, hiddenMean, type Rbm } from "./rbm.ts";

/**
 * Means of −∂E/∂θ, by the names and shapes of the parameters: of W the mean of xhᵀ, of b that of x, of c that of h.
 *
 * @category Boltzmann machines
 */
export type RbmStatistics = Rbm;

/**
 * Means of −∂E/∂θ over visible units, with the hidden ones' means given them.
 *
 * @category Boltzmann machines
 * @param rbm The parameters.
 * @param x Visible units, shape [N, n].
 * @param shares Share of each sample in the mean, shape [N]. Default: 1/N each.
 * @returns New tensors of the parameters' shapes. They are the scope's, or the caller's where there is none.
 * @throws {RangeError} If the shapes do not fit.
 *
 * @example
 * ```ts
 * import { rbmStatistics } from "@tweedie/tweedie/energy";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import * as tf from "@tensorflow/tfjs-core";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const rbm = { weights: tf.zeros([2, 1]), visible: tf.zeros([2]), hidden: tf.zeros([1]) };
 * const { weights, visible, hidden } = rbmStatistics(rbm, tf.tensor2d([[1, 0], [1, 1]]));
 * assert.deepEqual([weights, visible, hidden].map((each) => [...each.dataSync()]), [[0.5, 0.25], [1, 0.5], [0.5]]);
 * ```
 */
export function rbmStatistics(rbm: Rbm, x: Tensor, shares?: Tensor): RbmStatistics {
  return scope(() => statistics(rbm, { x, hidden: hiddenMean(rbm, x), shares }));
}

/** The same with given hidden units. */
function statistics(
  rbm: Rbm,
  { x, hidden, shares }: {
    readonly x: Tensor;
    readonly hidden: Tensor;
    readonly shares: Tensor | undefined;
  },
): RbmStatistics {
  const { weights, visible, logVariance } = rbm, count = x.shape[0]!;
  const each = shares ? tf.reshape(shares, [-1, 1]) : 1 / count;
  const meanOf = (values: Tensor): Tensor => tf.sum(tf.mul(values, each), 0);
  const pairs = (unit: Tensor): Tensor => tf.matMul(tf.mul(unit, each), hidden, true);
  if (logVariance === undefined) {
    return { weights: pairs(x), visible: meanOf(x), hidden: meanOf(hidden) };
  }
  const scale = tf.exp(tf.mul(logVariance, -0.5)), unit = tf.mul(x, scale);
  const apart = tf.mul(tf.sub(x, visible), scale), told = tf.matMul(hidden, weights, false, true);
  return {
    weights: pairs(unit),
    visible: meanOf(tf.mul(apart, scale)),
    hidden: meanOf(hidden),
    logVariance: tf.mul(meanOf(tf.sub(tf.square(apart), tf.mul(unit, told))), 0.5),
  };
}

/**
 * All states of some binary units, shape [2^size, size]: row s holds the bits of s, the lowest first. Put together on the tensors, as
 * an engine takes no more than a few numbers from outside.
 */
function allStates(size: number): Tensor {
  return scope(() => {
    let states: Tensor = tf.tensor2d([[0], [1]]);
    for (let count = 2; count < 2 ** size; count *= 2) {
      const both = [tf.zeros([count, 1]), tf.ones([count, 1])];
      states = tf.concat(both.map((bit) => tf.concat([states, bit], 1)), 0);
    }
    return states;
  });
}

/**
 * The model's own means of −∂E/∂θ, and its ln Z, on tensors: a sum over all states of the smaller layer. For machines of binary
 * units whose smaller layer has at most 16; in float64 it is {@link modelExpectations}.
 *
 * @category Boltzmann machines
 * @param rbm The parameters.
 * @returns The means, and ln Z in nats. New tensors: the scope's, or the caller's where there is none.
 * @throws {RangeError} If the visible units are Gaussian, or the smaller layer has more than 16.
 *
 * @example
 * ```ts
 * import { exactStatistics } from "@tweedie/tweedie/energy";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import * as tf from "@tensorflow/tfjs-core";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const rbm = { weights: tf.tensor2d([[2]]), visible: tf.tensor1d([0]), hidden: tf.tensor1d([0]) };
 * const { logZ } = exactStatistics(rbm);
 * assert.ok(Math.abs(logZ.dataSync()[0]! - Math.log(3 + Math.exp(2))) < 1e-5);
 * ```
 */
export function exactStatistics(
  rbm: Rbm,
): { readonly statistics: RbmStatistics; readonly logZ: Scalar } {
  const action = "sum over all states", { n, m } = checkRbm(action, rbm);
  if (rbm.logVariance !== undefined) {
    throw refusal(action, "the visible units must be binary", "gaussian");
  }
  if (Math.min(n, m) > 16) {
    throw refusal(action, "the smaller layer must be of at most 16 units", Math.min(n, m));
  }
  return scope(() => {
    const isMirrored = m < n, law = isMirrored ? mirrored(rbm) : rbm;
    const { x: own, log } = weighed(law), shares = tf.softmax(log);
    const found = rbmStatistics(law, own, shares);
    return {
      statistics: isMirrored ? mirrored(found) : found,
      logZ: tf.logSumExp(log) as Scalar,
    };
  });
}

/** The machine with its layers exchanged. */
const mirrored = ({ weights, visible, hidden }: Rbm): Rbm => ({
  weights: tf.transpose(weights),
  visible: hidden,
  hidden: visible,
});

/** All visible states, and ln of their weights. */
const weighed = (rbm: Rbm): { readonly x: Tensor; readonly log: Tensor } => {
  const x = allStates(rbm.visible.size);
  return { x, log: tf.neg(freeEnergy(rbm, x)) };
};

/**
 * What centring takes away: near the means of the layers.
 *
 * @category Boltzmann machines
 */
export interface Offsets {
  /** μ, shape [n]. */
  readonly visible: Tensor;
  /** λ, shape [m]. */
  readonly hidden: Tensor;
}

/**
 * What a gradient is made of: means `S` of −∂E/∂θ, and offsets `O`.
 *
 * @category Boltzmann machines
 */
export interface Contrast<S, O> {
  /** Means under the data. */
  readonly positive: S;
  /** Means under the model, or what stands for it. */
  readonly negative: S;
  /** Offsets of centring. Default: 0. */
  readonly offsets?: O;
  /** Decay of the weights, which is added to their gradient as decay·W. Default: 0. */
  readonly decay?: number;
}

/**
 * The gradient of mean(−ln p(x)), or what stands for it: the negative means less the positive ones, centred if there are offsets.
 * It is what a descent takes.
 *
 * @category Boltzmann machines
 * @param rbm The parameters.
 * @param contrast Both means, offsets, decay.
 * @returns New tensors of the parameters' shapes. They are the scope's, or the caller's where there is none.
 *
 * @example The gradient is zero where data and model agree
 * ```ts
 * import { contrasted, exactStatistics } from "@tweedie/tweedie/energy";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import * as tf from "@tensorflow/tfjs-core";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const rbm = { weights: tf.tensor2d([[2]]), visible: tf.tensor1d([1]), hidden: tf.tensor1d([-1]) };
 * const { statistics } = exactStatistics(rbm);
 * const { weights } = contrasted(rbm, { positive: statistics, negative: statistics });
 * assert.equal(weights.dataSync()[0], 0);
 * ```
 */
export function contrasted(rbm: Rbm, contrast: Contrast<RbmStatistics, Offsets>): Rbm {
  const { positive, negative, offsets, decay = 0 } = contrast;
  const asDbm = (each: Rbm): Dbm => ({
    weights: [each.weights],
    biases: [each.visible, each.hidden],
  });
  return scope((): Rbm => {
    const { weights: [weights], biases: [visible, hidden] } = dbmContrasted(asDbm(rbm), {
      positive: asDbm(positive),
      negative: asDbm(negative),
      ...(offsets && { offsets: [offsets.visible, offsets.hidden] }),
      decay,
    });
    const found = { weights: weights!, visible: visible!, hidden: hidden! };
    if (!positive.logVariance || !negative.logVariance) return found;
    return { ...found, logVariance: tf.sub(negative.logVariance, positive.logVariance) };
  });
}

/**
 * The same of a deep machine, whose layers have an offset each: what is taken from ∇b_l comes from the weights below and above.
 *
 * @category Boltzmann machines
 * @param dbm The parameters.
 * @param contrast Both means, offsets of all layers, decay.
 * @returns New tensors of the parameters' shapes. They are the scope's, or the caller's where there is none.
 */
export function dbmContrasted(
  dbm: Dbm,
  { positive, negative, offsets, decay = 0 }: Contrast<Dbm, readonly Tensor[]>,
): Dbm {
  return scope((): Dbm => {
    const less = (a: readonly Tensor[], b: readonly Tensor[]) =>
      a.map((each, l) => tf.sub(each, b[l]!));
    const pairs = less(negative.weights, positive.weights);
    const alone = less(negative.biases, positive.biases);
    const decayed = (raw: Tensor, l: number): Tensor => tf.add(raw, tf.mul(dbm.weights[l]!, decay));
    if (offsets === undefined) return { weights: pairs.map(decayed), biases: alone };
    const weights = pairs.map((raw, l) =>
      decayed(
        tf.sub(raw, tf.add(outer(offsets[l]!, alone[l + 1]!), outer(alone[l]!, offsets[l + 1]!))),
        l,
      )
    );
    const biases = alone.map((raw, l) => {
      const below = weights[l - 1], above = weights[l];
      const kept = below ? tf.sub(raw, times(below, offsets[l - 1]!, true)) : raw;
      return above ? tf.sub(kept, times(above, offsets[l + 1]!)) : kept;
    });
    return { weights, biases };
  });
}

/** a·bᵀ of two vectors. */
const outer = (a: Tensor, b: Tensor): Tensor =>
  tf.mul(tf.reshape(a, [-1, 1]), tf.reshape(b, [1, -1]));

/** A matrix, or its transpose, times a vector. */
const times = (matrix: Tensor, vector: Tensor, transposed = false): Tensor =>
  tf.reshape(tf.matMul(matrix, tf.reshape(vector, [-1, 1]), transposed), [-1]);

/**
 * Offsets moved towards the means of a batch: (1 − rate)·offset + rate·mean.
 *
 * @category Boltzmann machines
 * @param offsets The offsets of before. Not disposed of.
 * @param positive Means under the batch.
 * @param rate Share of the batch, in [0, 1].
 * @returns New tensors. They are the scope's, or the caller's where there is none.
 */
export function movedOffsets(offsets: Offsets, positive: RbmStatistics, rate: number): Offsets {
  const moved = (old: Tensor, now: Tensor): Tensor =>
    tf.add(tf.mul(old, 1 - rate), tf.mul(now, rate));
  return scope(() => ({
    visible: moved(offsets.visible, positive.visible),
    hidden: moved(offsets.hidden, positive.hidden),
  }));
}

/**
 * What is watched while a Boltzmann machine learns, where its likelihood cannot be known: pseudo-likelihood, reconstruction, and the
 * gap between the free energies of data that it has seen and has not.
 *
 * ```text
 *   ln PL(x) = Σ_i ln p(x_i | x_(−i)) = Σ_i ln σ(F(x with bit i flipped) − F(x))
 *   ln PL(x) ≈ n·ln σ(F(x with bit i flipped) − F(x))                  for one i, drawn uniformly: without bias
 * ```
 *
 * A free energy alone says nothing, as Z is not in it; between two sets Z falls away: a gap that opens is overfitting. Sources:
 * J. Besag, "Statistical analysis of non-lattice data" (1975); G. Hinton, "A practical guide to training restricted Boltzmann
 * machines" (2010), sections 5 and 6; scikit-learn's `BernoulliRBM.score_samples`, which is the second line.
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
import { isKey, refusal } from "../../tensor/check/check.ts";
import { decoded, is, type Rules } from "../../tensor/check/decode.ts";
import { fold, type Key } from "../../tensor/key.ts";
import { randint } from "../../tensor/random.ts";
import { scope } from "../../tensor/scope.ts";
import type { Scalar, Tensor } from "../../tensor/tensor.ts";
import {
  checkRbm,
  checkUnits,
  freeEnergy,
  hiddenInputs,
  hiddenMean,
  type Rbm,
  visibleMean,
} from "./rbm.ts";

/**
 * Options of {@link pseudoLikelihood}.
 *
 * @category Boltzmann machines
 */
export interface PseudoLikelihoodOptions {
  /** Given, one bit of each sample is drawn under it and stands for all n. Default: all bits. */
  readonly key?: Key;
}

const pseudoRules: Rules<PseudoLikelihoodOptions> = {
  key: is("a key, as key(0) makes them", isKey, true),
};

/**
 * The logarithm of the pseudo-likelihood of binary visible units.
 *
 * @category Boltzmann machines
 * @param rbm The parameters.
 * @param x Visible units of 0 and 1, shape [N, n].
 * @param options A key, for one random bit a sample in place of all.
 * @returns Nats, shape [N]. It is the scope's, or the caller's where there is none.
 * @throws {TypeError} If there is an option that is not known.
 * @throws {RangeError} If the visible units are Gaussian, or the shapes do not fit.
 *
 * @example Of independent units it is the likelihood
 * ```ts
 * import { pseudoLikelihood } from "@tweedie/tweedie/energy";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import * as tf from "@tensorflow/tfjs-core";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const rbm = { weights: tf.zeros([2, 1]), visible: tf.tensor1d([Math.log(3), 0]), hidden: tf.zeros([1]) };
 * const [log] = pseudoLikelihood(rbm, tf.tensor2d([[1, 0]])).dataSync();
 * assert.ok(Math.abs(log! - Math.log(3 / 4 * 1 / 2)) < 1e-6);
 * ```
 */
export function pseudoLikelihood(
  rbm: Rbm,
  x: Tensor,
  options: PseudoLikelihoodOptions = {},
): Tensor {
  const action = "find a pseudo-likelihood", { n } = checkRbm(action, rbm);
  const { key } = decoded(action, options, pseudoRules);
  checkUnits(action, "x", x, n);
  if (rbm.logVariance !== undefined) {
    throw refusal(action, "the visible units must be binary", "gaussian");
  }
  return scope(() => key === undefined ? allBits(rbm, x) : oneBit(rbm, x, key));
}

/** ln σ(rise) where F rises by it when a bit is flipped. */
const logKept = (rise: Tensor): Tensor => tf.neg(tf.softplus(tf.neg(rise)));

/** All bits of as many samples at a time as fit into some megabytes. */
function allBits(rbm: Rbm, x: Tensor): Tensor {
  const [count, n] = x.shape as [number, number], m = rbm.hidden.size;
  const part = Math.max(1, Math.floor(2 ** 22 / (n * m))), found: Tensor[] = [];
  for (let at = 0; at < count; at += part) {
    const size = Math.min(part, count - at), some = tf.slice(x, [at, 0], [size, n]);
    found.push(scope(() => {
      const flip = tf.sub(1, tf.mul(some, 2)), inputs = tf.expandDims(hiddenInputs(rbm, some), 1);
      const moved = tf.add(inputs, tf.mul(tf.expandDims(flip, 2), tf.expandDims(rbm.weights, 0)));
      const told = tf.sum(tf.sub(tf.softplus(inputs), tf.softplus(moved)), 2);
      return tf.sum(logKept(tf.sub(told, tf.mul(flip, rbm.visible))), 1);
    }));
  }
  return tf.concat(found);
}

/** n times that of one bit of each sample, drawn under the key and the sample's number. */
function oneBit(rbm: Rbm, x: Tensor, key: Key): Tensor {
  const [count, n] = x.shape as [number, number];
  const bits = Array.from({ length: count }, (_, i) => randint(fold(key, i), 1, { high: n })[0]!);
  const at = tf.oneHot(tf.tensor1d(bits, "int32"), n);
  const flipped = tf.add(x, tf.mul(at, tf.sub(1, tf.mul(x, 2))));
  return tf.mul(logKept(tf.sub(freeEnergy(rbm, flipped), freeEnergy(rbm, x))), n);
}

/**
 * How far visible units are from what they come back as: the mean over all of (x − E[x | E[h | x]])². It falls while a machine learns,
 * but also where it only mixes more slowly.
 *
 * @category Boltzmann machines
 * @param rbm The parameters.
 * @param x Visible units, shape [N, n].
 * @returns One number. It is the scope's, or the caller's where there is none.
 * @throws {RangeError} If the shapes do not fit.
 *
 * @example
 * ```ts
 * import { reconstructionError } from "@tweedie/tweedie/energy";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import * as tf from "@tensorflow/tfjs-core";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const rbm = { weights: tf.tensor2d([[2]]), visible: tf.tensor1d([1]), hidden: tf.tensor1d([-1]) };
 * const [error] = reconstructionError(rbm, tf.tensor2d([[1]])).dataSync();
 * assert.ok(error! > 0 && error! < 0.1);
 * ```
 */
export const reconstructionError = (rbm: Rbm, x: Tensor): Scalar =>
  scope(() => tf.mean(tf.squaredDifference(x, visibleMean(rbm, hiddenMean(rbm, x)))) as Scalar);

/**
 * The mean free energy of held-out visible units less that of as many that were trained on: near 0 while there is no overfitting.
 *
 * @category Boltzmann machines
 * @param rbm The parameters.
 * @param trained Visible units that were trained on, shape [N, n].
 * @param heldOut Visible units that were not, shape [M, n].
 * @returns Nats. It is the scope's, or the caller's where there is none.
 * @throws {RangeError} If the shapes do not fit.
 *
 * @example
 * ```ts
 * import { freeEnergyGap } from "@tweedie/tweedie/energy";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import * as tf from "@tensorflow/tfjs-core";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const rbm = { weights: tf.tensor2d([[2]]), visible: tf.tensor1d([1]), hidden: tf.tensor1d([-1]) };
 * const x = tf.tensor2d([[1]]);
 * assert.equal(freeEnergyGap(rbm, x, x).dataSync()[0], 0);
 * ```
 */
export const freeEnergyGap = (rbm: Rbm, trained: Tensor, heldOut: Tensor): Scalar =>
  scope(() =>
    tf.sub(tf.mean(freeEnergy(rbm, heldOut)), tf.mean(freeEnergy(rbm, trained))) as Scalar
  );

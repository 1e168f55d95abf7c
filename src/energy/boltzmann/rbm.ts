/**
 * Restricted Boltzmann machines: a layer of visible and a layer of hidden units, with weights between the layers alone.
 *
 * ```text
 *   binary visible units     E(x, h) = −xᵀWh − bᵀx − cᵀh                                  x ∈ {0, 1}ⁿ   h ∈ {0, 1}ᵐ
 *   Gaussian visible units   E(x, h) = Σ (x_i − b_i)²/(2·σ_i²) − (x/σ)ᵀWh − cᵀh             x ∈ ℝⁿ
 *
 *   p(h_j = 1 | x) = σ(c + Wᵀx)_j      p(x_i = 1 | h) = σ(b + Wh)_i        or x | h ~ N(b + σ·Wh, σ²), with x/σ for x in Wᵀx
 *   F(x) = −ln Σ_h e^(−E(x, h)) = −bᵀx − Σ_j softplus(c + Wᵀx)_j           or Σ (x − b)²/(2·σ²) − Σ_j softplus(c + Wᵀ(x/σ))_j
 *   p(x) = e^(−F(x))/Z
 * ```
 *
 * There are no terms x_i·x_j and no terms h_i·h_j, which is all that "restricted" means: the terms x_i and h_j are the biases. So
 * each layer is independent given the other. The Gaussian units are scaled as in A. Krizhevsky, "Learning multiple layers of features from
 * tiny images" (2009), and Hinton's guide, section 13.2; K. Cho, A. Ilin, T. Raiko, "Improved learning of Gaussian-Bernoulli
 * restricted Boltzmann machines" (2011), divide by σ² in the second term. With binary hidden units they can be normalized whatever
 * the weights, as p(x) is a mixture of 2ᵐ Gaussians.
 *
 * Sources: P. Smolensky, "Information processing in dynamical systems" (1986); G. Hinton, "A practical guide to training
 * restricted Boltzmann machines" (2010).
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
import { isKey, refusal, shown } from "../../tensor/check/check.ts";
import { above, decoded, is, needed, type Rules, wholeNumber } from "../../tensor/check/decode.ts";
import { fold, type Key } from "../../tensor/key.ts";
import { normal } from "../../tensor/random.ts";
import { scope } from "../../tensor/scope.ts";
import type { Tensor } from "../../tensor/tensor.ts";

/**
 * The parameters of a restricted Boltzmann machine: tensors by name, as training and safetensors have weights.
 *
 * @category Boltzmann machines
 */
export type Rbm = {
  /** W, shape [n, m]: from n visible to m hidden units. */
  readonly weights: Tensor;
  /** b, biases of the visible units or, of Gaussian ones, their means without the hidden; shape [n]. */
  readonly visible: Tensor;
  /** c, biases of the hidden units, shape [m]. */
  readonly hidden: Tensor;
  /** ln σ², shape [n], of Gaussian visible units. Default: the visible units are binary. */
  readonly logVariance?: Tensor;
};

/**
 * Refuses parameters that do not fit together.
 *
 * @param action What is to be done.
 * @param rbm The parameters.
 * @returns n and m.
 * @throws {RangeError} If a tensor is missing, disposed of, or of a shape that does not fit.
 */
export function checkRbm(
  action: string,
  rbm: Rbm,
): { readonly n: number; readonly m: number } {
  const { weights, visible, hidden, logVariance } = rbm ?? {};
  for (const [name, each] of Object.entries({ weights, visible, hidden })) {
    if (each instanceof tf.Tensor) continue;
    throw new TypeError(`Cannot ${action}: rbm.${name} must be a tensor, got ${shown(each)}`);
  }
  const [n, m] = weights.shape;
  if (weights.rank !== 2 || n === 0 || m === 0) {
    throw refusal(action, "rbm.weights must be of shape [n, m]", weights.shape);
  }
  const shapes = { visible: [visible, n], hidden: [hidden, m], logVariance: [logVariance, n] };
  for (const [name, [tensor, size]] of Object.entries(shapes)) {
    const each = tensor as Tensor | undefined;
    if (each === undefined || (each.rank === 1 && each.size === size)) continue;
    throw refusal(action, `rbm.${name} must be of shape [${size}]`, each.shape);
  }
  return { n: n!, m: m! };
}

/** Refuses units of a layer that are not [N, size]. */
export function checkUnits(action: string, name: string, units: Tensor, size: number): void {
  if (units instanceof tf.Tensor && units.rank === 2 && units.shape[1] === size) return;
  throw refusal(action, `${name} must be of shape [N, ${size}]`, units?.shape);
}

/** x/σ of Gaussian visible units, x of binary ones. */
const scaled = ({ logVariance }: Rbm, x: Tensor): Tensor =>
  logVariance === undefined ? x : tf.mul(x, tf.exp(tf.mul(logVariance, -0.5)));

/**
 * What the hidden units are told: c + Wᵀx, or c + Wᵀ(x/σ) by Gaussian visible units.
 *
 * @category Boltzmann machines
 * @param rbm The parameters.
 * @param x Visible units, shape [N, n].
 * @returns Shape [N, m]. It is the scope's, or the caller's where there is none.
 *
 * @example
 * ```ts
 * import { hiddenInputs } from "@tweedie/tweedie/energy";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import * as tf from "@tensorflow/tfjs-core";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const rbm = { weights: tf.tensor2d([[2]]), visible: tf.tensor1d([1]), hidden: tf.tensor1d([-1]) };
 * assert.equal(hiddenInputs(rbm, tf.tensor2d([[1]])).dataSync()[0], 1);
 * ```
 */
export const hiddenInputs = (rbm: Rbm, x: Tensor): Tensor =>
  scope(() => tf.add(tf.matMul(scaled(rbm, x), rbm.weights), rbm.hidden));

/**
 * p(h_j = 1 | x) = σ(c + Wᵀx)_j, which is also E[h_j | x].
 *
 * @category Boltzmann machines
 * @param rbm The parameters.
 * @param x Visible units, shape [N, n].
 * @returns Shape [N, m], in [0, 1]. It is the scope's, or the caller's where there is none.
 * @throws {RangeError} If the shapes do not fit.
 *
 * @example One visible and one hidden unit
 * ```ts
 * import { hiddenMean } from "@tweedie/tweedie/energy";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import * as tf from "@tensorflow/tfjs-core";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const rbm = { weights: tf.tensor2d([[2]]), visible: tf.zeros([1]), hidden: tf.tensor1d([-1]) };
 * const [p] = hiddenMean(rbm, tf.tensor2d([[1]])).dataSync();
 * assert.ok(Math.abs(p! - 1 / (1 + Math.exp(-1))) < 1e-6);
 * ```
 */
export function hiddenMean(rbm: Rbm, x: Tensor): Tensor {
  checkUnits("find hidden units", "x", x, checkRbm("find hidden units", rbm).n);
  return scope(() => tf.sigmoid(hiddenInputs(rbm, x)));
}

/**
 * E[x | h]: σ(b + Wh), the probabilities of binary visible units, or b + σ·Wh, the means of Gaussian ones.
 *
 * @category Boltzmann machines
 * @param rbm The parameters.
 * @param h Hidden units, shape [N, m].
 * @returns Shape [N, n]. It is the scope's, or the caller's where there is none.
 * @throws {RangeError} If the shapes do not fit.
 *
 * @example
 * ```ts
 * import { visibleMean } from "@tweedie/tweedie/energy";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import * as tf from "@tensorflow/tfjs-core";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const rbm = { weights: tf.tensor2d([[2]]), visible: tf.tensor1d([1]), hidden: tf.tensor1d([-1]) };
 * const [p] = visibleMean(rbm, tf.tensor2d([[1]])).dataSync();
 * assert.ok(Math.abs(p! - 1 / (1 + Math.exp(-3))) < 1e-6);
 * ```
 */
export function visibleMean(rbm: Rbm, h: Tensor): Tensor {
  checkUnits("find visible units", "h", h, checkRbm("find visible units", rbm).m);
  return scope(() => {
    const told = tf.matMul(h, rbm.weights, false, true);
    if (rbm.logVariance === undefined) return tf.sigmoid(tf.add(told, rbm.visible));
    return tf.add(tf.mul(told, tf.exp(tf.mul(rbm.logVariance, 0.5))), rbm.visible);
  });
}

/**
 * Units that are 1 where a uniform number on [0, 1) is below their probability.
 *
 * @param p Probabilities.
 * @param u Uniform numbers, of the shape of p.
 * @returns 0 and 1 as float32. It is the scope's, or the caller's where there is none.
 */
export const bernoulli = (p: Tensor, u: Tensor): Tensor =>
  scope(() => tf.cast(tf.less(u, p), "float32"));

/**
 * Visible units drawn given the hidden.
 *
 * @param rbm The parameters.
 * @param h Hidden units, shape [N, m].
 * @param draw Shape [N, n]: uniform on [0, 1) for binary units, standard normal for Gaussian ones.
 * @returns x, shape [N, n]. It is the scope's, or the caller's where there is none.
 */
export const drawnVisible = (rbm: Rbm, h: Tensor, draw: Tensor): Tensor =>
  scope(() => {
    const mean = visibleMean(rbm, h);
    if (rbm.logVariance === undefined) return bernoulli(mean, draw);
    return tf.add(mean, tf.mul(draw, tf.exp(tf.mul(rbm.logVariance, 0.5))));
  });

/** −bᵀx, or Σ (x − b)²/(2·σ²): what the visible units alone bring to the energy; shape [N]. */
function visibleEnergy({ visible, logVariance }: Rbm, x: Tensor): Tensor {
  if (logVariance === undefined) return tf.neg(tf.sum(tf.mul(x, visible), 1));
  const squares = tf.mul(tf.squaredDifference(x, visible), tf.exp(tf.neg(logVariance)));
  return tf.mul(tf.sum(squares, 1), 0.5);
}

/**
 * E(x, h), as at the head of this file: p(x, h) = e^(−E)/Z.
 *
 * @category Boltzmann machines
 * @param rbm The parameters.
 * @param x Visible units, shape [N, n].
 * @param h Hidden units, shape [N, m].
 * @returns Nats, shape [N]. It is the scope's, or the caller's where there is none.
 * @throws {RangeError} If the shapes do not fit.
 *
 * @example
 * ```ts
 * import { rbmEnergy } from "@tweedie/tweedie/energy";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import * as tf from "@tensorflow/tfjs-core";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const rbm = { weights: tf.tensor2d([[2]]), visible: tf.tensor1d([1]), hidden: tf.tensor1d([-1]) };
 * assert.equal(rbmEnergy(rbm, tf.tensor2d([[1]]), tf.tensor2d([[1]])).dataSync()[0], -2);
 * ```
 */
export function rbmEnergy(rbm: Rbm, x: Tensor, h: Tensor): Tensor {
  const { n, m } = checkRbm("find an energy", rbm);
  checkUnits("find an energy", "x", x, n);
  checkUnits("find an energy", "h", h, m);
  return scope(() => tf.sub(visibleEnergy(rbm, x), tf.sum(tf.mul(hiddenInputs(rbm, x), h), 1)));
}

/**
 * The free energy F(x) = −ln Σ_h e^(−E(x, h)), so that p(x) = e^(−F(x))/Z. Differentiable in parameters and x.
 *
 * @category Boltzmann machines
 * @param rbm The parameters.
 * @param x Visible units, shape [N, n].
 * @returns Nats, shape [N]. It is the scope's, or the caller's where there is none.
 * @throws {RangeError} If the shapes do not fit.
 *
 * @example With no weights each hidden unit brings ln(1 + e^c)
 * ```ts
 * import { freeEnergy } from "@tweedie/tweedie/energy";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import * as tf from "@tensorflow/tfjs-core";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const rbm = { weights: tf.zeros([3, 2]), visible: tf.tensor1d([1, 2, 3]), hidden: tf.zeros([2]) };
 * const [f] = freeEnergy(rbm, tf.tensor2d([[1, 0, 1]])).dataSync();
 * assert.ok(Math.abs(f! + 4 + 2 * Math.LN2) < 1e-6);
 * ```
 */
export function freeEnergy(rbm: Rbm, x: Tensor): Tensor {
  checkUnits("find a free energy", "x", x, checkRbm("find a free energy", rbm).n);
  return scope(() => tf.sub(visibleEnergy(rbm, x), tf.sum(tf.softplus(hiddenInputs(rbm, x)), 1)));
}

/**
 * The machine whose energy is beta·E, but for a constant of x and h: its law is that of the given one at an inverse temperature.
 *
 * ```text
 *   binary     beta·W, beta·b, beta·c                  Gaussian     √beta·W, b, beta·c, σ²/beta
 * ```
 *
 * @category Boltzmann machines
 * @param rbm The parameters. Not disposed of.
 * @param beta The inverse temperature, above 0; of binary units it may be 0.
 * @returns New tensors. They are the scope's, or the caller's where there is none.
 * @throws {RangeError} If `beta` is out of range.
 *
 * @example
 * ```ts
 * import { heated } from "@tweedie/tweedie/energy";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import * as tf from "@tensorflow/tfjs-core";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const rbm = { weights: tf.tensor2d([[2]]), visible: tf.tensor1d([1]), hidden: tf.tensor1d([-1]) };
 * assert.equal(heated(rbm, 0.5).weights.dataSync()[0], 1);
 * ```
 */
export function heated(rbm: Rbm, beta: number): Rbm {
  checkRbm("heat a Boltzmann machine", rbm);
  const { weights, visible, hidden, logVariance } = rbm;
  if (!(beta >= 0 && beta < Infinity) || (beta === 0 && logVariance !== undefined)) {
    const wanted = logVariance ? "above 0 for Gaussian units" : "at least 0";
    throw refusal("heat a Boltzmann machine", `beta must be ${wanted} and finite`, beta);
  }
  return scope((): Rbm => {
    if (logVariance === undefined) {
      return {
        weights: tf.mul(weights, beta),
        visible: tf.mul(visible, beta),
        hidden: tf.mul(hidden, beta),
      };
    }
    return {
      weights: tf.mul(weights, Math.sqrt(beta)),
      visible: tf.clone(visible),
      hidden: tf.mul(hidden, beta),
      logVariance: tf.sub(logVariance, Math.log(beta)),
    };
  });
}

/**
 * Options of {@link initialRbm}.
 *
 * @category Boltzmann machines
 */
export interface InitialRbmOptions {
  /** n, a whole number of at least 1. */
  readonly visible: number;
  /** m, a whole number of at least 1. */
  readonly hidden: number;
  /** Key of the weights. */
  readonly key: Key;
  /** Standard deviation of the weights. Default: 0.01. */
  readonly std?: number;
  /** Visible units, shape [N, n], whose means and variances the machine starts with. Default: 1/2, or of Gaussian units 0 and 1. */
  readonly data?: Tensor;
  /** Of what kind the visible units are: `"binary"` or `"gaussian"`. Default: `"binary"`. */
  readonly units?: "binary" | "gaussian";
}

const initialRules: Rules<InitialRbmOptions> = {
  visible: needed(wholeNumber(1)),
  hidden: needed(wholeNumber(1)),
  key: needed(is("a key, as key(0) makes them", isKey, true)),
  std: is("above 0", above(0)),
  data: true,
  units: is("binary or gaussian", (units: unknown) => units === "binary" || units === "gaussian"),
};

/**
 * Parameters to begin with: W ~ N(0, 0.01²), c = 0, and b so that without weights the visible units have the means of the data.
 *
 * Source: G. Hinton, "A practical guide to training restricted Boltzmann machines" (2010), section 8.
 *
 * @category Boltzmann machines
 * @param options Sizes, key, data.
 * @returns The parameters. The caller disposes of them.
 * @throws {TypeError} If an option is not known, or there is no key.
 * @throws {RangeError} If an option is out of range, or the data are not of shape [N, n].
 *
 * @example
 * ```ts
 * import { initialRbm } from "@tweedie/tweedie/energy";
 * import { key } from "@tweedie/tweedie";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import * as tf from "@tensorflow/tfjs-core";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const data = tf.tensor2d([[1, 0], [1, 1], [1, 1], [0, 1]]);
 * const { visible } = initialRbm({ visible: 2, hidden: 3, key: key(0), data });
 * assert.ok([...visible.dataSync()].every((b) => Math.abs(b - Math.log(3)) < 1e-6));
 * ```
 */
export function initialRbm(options: InitialRbmOptions): Rbm {
  const action = "make a Boltzmann machine";
  const { visible: n, hidden: m, key, std = 0.01, data, units = "binary" } = decoded(
    action,
    options,
    initialRules,
  );
  if (data !== undefined) checkUnits(action, "data", data, n);
  return scope((): Rbm => {
    const weights = tf.mul(normal(fold(key, "weights"), [n, m]), std), hidden = tf.zeros([m]);
    if (units === "binary") {
      return { weights, hidden, visible: data ? logOdds(data) : tf.zeros([n]) };
    }
    if (data === undefined) {
      return { weights, hidden, visible: tf.zeros([n]), logVariance: tf.zeros([n]) };
    }
    const { mean, variance } = tf.moments(data, 0);
    // A unit that never changes has no variance to start with.
    return { weights, hidden, visible: mean, logVariance: tf.log(tf.maximum(variance, 1e-4)) };
  });
}

/**
 * ln(p/(1 − p)) of the share p of ones in each column: the biases of units that are as often 1 as in the data. A unit that is
 * never or always 1 counts as if it had been so in all but half of one sample.
 *
 * @category Boltzmann machines
 * @param data Visible units, shape [N, n].
 * @returns Shape [n]. It is the scope's, or the caller's where there is none.
 *
 * @example
 * ```ts
 * import { logOdds } from "@tweedie/tweedie/energy";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import * as tf from "@tensorflow/tfjs-core";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const [b] = logOdds(tf.tensor2d([[1], [1], [1], [0]])).dataSync();
 * assert.ok(Math.abs(b! - Math.log(3)) < 1e-6);
 * ```
 */
export function logOdds(data: Tensor): Tensor {
  return scope(() => {
    const least = 0.5 / data.shape[0]!, p = tf.clipByValue(tf.mean(data, 0), least, 1 - least);
    return tf.sub(tf.log(p), tf.log(tf.sub(1, p)));
  });
}

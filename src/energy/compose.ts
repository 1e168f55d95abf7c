/**
 * Energies and scores put together: what all of some laws allow, what any of them does, what one does and another does not.
 *
 * ```text
 *   conjunction   E = Σ w_i·E_i                              p ∝ Π p_i^(w_i)                  s = Σ w_i·s_i
 *   disjunction   E = −ln Σ w_i·e^(−E_i)/Z_i                 p ∝ Σ w_i·p_i                    s = Σ r_i·s_i
 *   negation      E = E_1 − alpha·E_2                        p ∝ p_1/p_2^alpha                s = s_1 − alpha·s_2
 *
 *   r_i = w_i·e^(−E_i)/Z_i / Σ_j w_j·e^(−E_j)/Z_j
 * ```
 *
 * Where one law of a conjunction is 0 so is the whole, E = ∞; a disjunction is 0 only where all are. A negation may have no
 * finite integral: it must fall off faster than p_2^alpha.
 *
 * A sum of scores is that of the product. So it is at no noise alone: of noisy data the product of the parts' laws is not the law
 * of the noisy product, and a chain that follows the sum of such scores has to be corrected, by moves that leave the sum's own
 * law alone.
 *
 * Sources: G. Hinton, "Training products of experts by minimizing contrastive divergence" (2002), equation 1; Y. Du, S. Li,
 * I. Mordatch, "Compositional visual generation with energy based models" (NeurIPS 2020), section 3; Y. Du et al., "Reduce,
 * reuse, recycle: compositional generation with energy-based diffusion models and MCMC" (ICML 2023), section 3.
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
import "../tensor/autodiff.ts"; // Whoever has an energy can differentiate it.
import { refusal, shown } from "../tensor/check/check.ts";
import { decoded, is, type Rules } from "../tensor/check/decode.ts";
import { logSum } from "../tensor/gradient/smooth.ts";
import { scope } from "../tensor/scope.ts";
import type { Tensor } from "../tensor/tensor.ts";

/**
 * An energy of samples [N, ...sample], in nats, up to a constant: [N], of operations that have a gradient. p ∝ e^(−E).
 *
 * @category Composition
 */
export type SampleEnergy = (x: Tensor) => Tensor;

/**
 * A score, ∇ ln p, of samples: of their shape.
 *
 * @category Composition
 */
export type SampleScore = (x: Tensor) => Tensor;

/**
 * Options of {@link conjunction} and {@link conjunctionScore}.
 *
 * @category Composition
 */
export interface ConjunctionOptions {
  /** w_i, any finite numbers: below 0 what is not to be. Default: 1 each. */
  readonly weights?: readonly number[];
}

/**
 * Options of {@link disjunction}.
 *
 * @category Composition
 */
export interface DisjunctionOptions {
  /** w_i above 0, of any sum. Default: 1 each. */
  readonly weights?: readonly number[];
  /** ln Z_i, in nats: without it the one with the deeper energy is taken to be the more probable. Default: 0 each. */
  readonly logZ?: readonly number[];
}

const isList = (fits: (x: number) => boolean) => (list: unknown): boolean =>
  Array.isArray(list) && list.every((x) => Number.isFinite(x) && fits(x));

const conjunctionRules: Rules<ConjunctionOptions> = {
  weights: is("finite numbers", isList(() => true)),
};

const disjunctionRules: Rules<DisjunctionOptions> = {
  weights: is("finite numbers above 0", isList((w) => w > 0)),
  logZ: is("finite numbers", isList(() => true)),
};

/** The functions, as many as there are numbers for them. */
function checked<F>(
  action: string,
  parts: readonly F[],
  numbers: Readonly<Record<string, readonly number[] | undefined>>,
): void {
  const given = `Cannot ${action}: parts must be`;
  if (!Array.isArray(parts) || parts.length === 0) {
    throw new TypeError(`${given} at least one function, got ${shown(parts)}`);
  }
  const at = parts.findIndex((part) => typeof part !== "function");
  if (at >= 0) throw new TypeError(`${given} functions, got ${shown(parts[at])}`);
  for (const [name, list] of Object.entries(numbers)) {
    if (list === undefined || list.length === parts.length) continue;
    throw refusal(action, `${name} must be one for each of ${parts.length} parts`, list.length);
  }
}

/** What a part says; refuses another shape, which would be spread over the samples without a word. */
export function said(part: (x: Tensor) => Tensor, x: Tensor, shape: readonly number[]): Tensor {
  const value = part(x);
  if (tf.util.arraysEqual(value.shape, [...shape])) return value;
  throw refusal("compose", `a part must answer with shape [${shape}]`, value.shape);
}

/** The shape of energies of samples. */
export const countOf = ({ shape: [count = 1] }: Tensor): readonly number[] => [count];

/** Σ w_i·f_i(x). */
const weighted = (
  parts: readonly ((x: Tensor) => Tensor)[],
  shapeOf: (x: Tensor) => readonly number[],
  weights: readonly number[] = parts.map(() => 1),
) =>
(x: Tensor): Tensor =>
  scope(() =>
    parts.map((part) => said(part, x, shapeOf(x)))
      .map((value, i) => weights[i] === 1 ? value : tf.mul(value, weights[i]!))
      .reduce((sum, each) => tf.add(sum, each))
  );

/**
 * What all laws allow: the energy of their product, Σ w_i·E_i.
 *
 * @category Composition
 * @param parts The energies.
 * @param options Their weights.
 * @returns The energy, the scope's, or the caller's where there is none.
 * @throws {TypeError} If a part is no function, or an option is not known.
 * @throws {RangeError} If there is not one weight for each part, or one is not finite; when asked, if a part is of another shape.
 *
 * @example A band of x and a band of y cross
 * ```ts
 * import { conjunction } from "@tweedie/tweedie/energy";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import * as tf from "@tensorflow/tfjs-core";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const band = (axis: number) => (x: tf.Tensor) => tf.mul(tf.square(tf.gather(x, axis, 1)), 2);
 * const energy = conjunction([band(0), band(1)]);
 * assert.deepEqual([...energy(tf.tensor([[1, 0], [1, 2]])).dataSync()], [2, 10]);
 * ```
 */
export function conjunction(
  parts: readonly SampleEnergy[],
  options: ConjunctionOptions = {},
): SampleEnergy {
  const { weights } = decoded("make a conjunction", options, conjunctionRules);
  checked("make a conjunction", parts, { weights });
  return weighted(parts, countOf, weights);
}

/**
 * What one law allows and another does not: E_1 − alpha·E_2.
 *
 * @category Composition
 * @param energy E_1.
 * @param other E_2.
 * @param alpha How much it is avoided. Default: 1.
 * @returns The energy, the scope's, or the caller's where there is none.
 * @throws {TypeError} If a part is no function.
 * @throws {RangeError} If alpha is not finite.
 *
 * @example N(0, 1) without what N(1, 2) says is N(−1, 2)
 * ```ts
 * import { negation } from "@tweedie/tweedie/energy";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import * as tf from "@tensorflow/tfjs-core";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const normal = (mean: number, variance: number) => (x: tf.Tensor) =>
 *   tf.div(tf.sum(tf.square(tf.sub(x, mean)), 1), 2 * variance);
 * const got = negation(normal(0, 1), normal(1, 2)), wanted = normal(-1, 2);
 * const x = tf.tensor([[0], [3]]), [a, b] = got(x).dataSync(), [c, d] = wanted(x).dataSync();
 * assert.ok(Math.abs(b! - a! - (d! - c!)) < 1e-6);
 * ```
 */
export const negation = (energy: SampleEnergy, other: SampleEnergy, alpha = 1): SampleEnergy =>
  conjunction([energy, other], { weights: [1, -alpha] });

/**
 * What any of the laws allows: the energy of their mixture, −ln Σ w_i·e^(−E_i)/Z_i.
 *
 * @category Composition
 * @param parts The energies.
 * @param options Their weights and the logarithms of their integrals.
 * @returns The energy, the scope's, or the caller's where there is none.
 * @throws {TypeError} If a part is no function, or an option is not known.
 * @throws {RangeError} If there is not one number for each part, or one is out of range; when asked, if a part is of another shape.
 *
 * @example Two of equal share, of different widths
 * ```ts
 * import { disjunction } from "@tweedie/tweedie/energy";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import * as tf from "@tensorflow/tfjs-core";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const normal = (variance: number) => (x: tf.Tensor) => tf.div(tf.sum(tf.square(x), 1), 2 * variance);
 * const logZ = [1, 4].map((variance) => 0.5 * Math.log(2 * Math.PI * variance));
 * const energy = disjunction([normal(1), normal(4)], { weights: [0.5, 0.5], logZ });
 * const [e] = energy(tf.tensor([[0]])).dataSync();
 * assert.ok(Math.abs(e! + Math.log(0.75 / Math.sqrt(2 * Math.PI))) < 1e-6);
 * ```
 */
export function disjunction(
  parts: readonly SampleEnergy[],
  options: DisjunctionOptions = {},
): SampleEnergy {
  const shares = sharesOf(parts, options);
  return (x) => scope(() => tf.neg(logSum(shares(x))));
}

/** ln(w_i·e^(−E_i)/Z_i) of each sample, [N, parts]. */
function sharesOf(parts: readonly SampleEnergy[], options: DisjunctionOptions) {
  const { weights, logZ } = decoded("make a disjunction", options, disjunctionRules);
  checked("make a disjunction", parts, { weights, logZ });
  const offset = parts.map((_, i) => Math.log(weights?.[i] ?? 1) - (logZ?.[i] ?? 0));
  return (x: Tensor): Tensor =>
    tf.sub(offset, tf.stack(parts.map((part) => said(part, x, countOf(x))), 1));
}

/**
 * The score of a conjunction, Σ w_i·s_i.
 *
 * @category Composition
 * @param parts The scores.
 * @param options Their weights.
 * @returns The score, the scope's, or the caller's where there is none.
 * @throws {TypeError} If a part is no function, or an option is not known.
 * @throws {RangeError} If there is not one weight for each part, or one is not finite; when asked, if a part is of another shape.
 */
export function conjunctionScore(
  parts: readonly SampleScore[],
  options: ConjunctionOptions = {},
): SampleScore {
  const { weights } = decoded("make a conjunction", options, conjunctionRules);
  checked("make a conjunction", parts, { weights });
  return weighted(parts, ({ shape }) => shape, weights);
}

/**
 * A law by its energy and its score.
 *
 * @category Composition
 */
export interface EnergyAndScore {
  /** E. */
  readonly energy: SampleEnergy;
  /** −∇E. */
  readonly score: SampleScore;
}

/**
 * The score of a disjunction: the mean of the parts' by the share that each has at x, Σ r_i·s_i.
 *
 * @category Composition
 * @param parts The energies, which say the shares, and the scores.
 * @param options Weights and logarithms of the integrals, as of {@link disjunction}.
 * @returns The score, the scope's, or the caller's where there is none.
 * @throws {TypeError} If a part is none, or an option is not known.
 * @throws {RangeError} If there is not one number for each part, or one is out of range; when asked, if a part is of another shape.
 */
export function disjunctionScore(
  parts: readonly EnergyAndScore[],
  options: DisjunctionOptions = {},
): SampleScore {
  const shares = sharesOf(parts.map(({ energy }) => energy), options);
  checked("make a disjunction", parts.map(({ score }) => score), {});
  return (x) =>
    scope(() => {
      const r = tf.softmax(shares(x)), wide = [x.shape[0]!, ...x.shape.slice(1).fill(1)];
      return parts.map(({ score }, i) =>
        tf.mul(said(score, x, x.shape), tf.reshape(tf.gather(r, i, 1), wide))
      )
        .reduce((sum, each) => tf.add(sum, each));
    });
}

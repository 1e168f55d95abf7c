/**
 * Normalised densities as values, and what builds them from each other.
 *
 * ```text
 *   ∫ p dμ = 1        mixture Σ wₖ·pₖ(x)        side by side Π pₖ(xₖ)        chained p(x)·p(y | x)
 *   KL(p ‖ q) = ∫ p·(ln p − ln q) dμ
 * ```
 *
 * All in float64 on the host, as the oracles of what is learnt and sampled elsewhere.
 *
 * Source: T. Cover, J. Thomas, "Elements of information theory" (2nd ed. 2006), section 2.3, for the relative entropy.
 *
 * @module
 */

import { refusal } from "../../tensor/check/check.ts";
import { fold, type Key } from "../../tensor/key.ts";
import { doubles } from "../../tensor/random.ts";
import { integral, logSumExp, type Measure } from "../measure.ts";

/**
 * A point of ℝᵈ as plain numbers.
 *
 * @category Densities
 */
export type Vector = readonly number[];

/**
 * A matrix as its rows.
 *
 * @category Densities
 */
export type Rows = readonly Vector[];

/**
 * A normalised density over points X: numbers, vectors, spins, pairs of them.
 *
 * @category Densities
 */
export interface Density<X> {
  /** ln p(x) in nats, normalised; −∞ outside the support. */
  readonly logDensity: (x: X) => number;
  /** Independent draws, a pure function of the key. */
  readonly draw: (key: Key, count: number) => X[];
  /** ∇ ln p(x), of the form of x, where it is closed. */
  readonly gradient?: (x: X) => X;
  /** −∫ p ln p in nats, where it is closed. */
  readonly entropy?: number;
  /** E[x], where it is closed. */
  readonly mean?: X;
  /** Cov[x], d × d over the coordinates of x in order, where it is closed; 1 × 1 for numbers. */
  readonly covariance?: Rows;
}

/** Indices with probability in proportion to the weights, by the inverse of their running sum; weight 0 is never drawn. */
export function chosen(weights: Iterable<number>, key: Key, count: number): number[] {
  let total = 0;
  const sums = Float64Array.from(weights, (weight) => total += weight);
  const first = (aim: number): number => {
    let low = 0, high = sums.length - 1;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (sums[middle]! > aim) high = middle;
      else low = middle + 1;
    }
    return low;
  };
  return Array.from(doubles(key, count), (u) => first(u * total));
}

/**
 * The relative entropy KL(p ‖ q) = ∫ p·(ln p − ln q) dμ, by the sum over a measure.
 *
 * @category Densities
 * @param p The first law; points where its density is 0 count nothing.
 * @param q The second. Where q is 0 and p is not, the entropy is infinite.
 * @param measure What both are densities of.
 * @returns Nats, at least 0 but for the error of the quadrature.
 *
 * @example A coin against a fair one
 * ```ts
 * import { counting, relativeEntropy } from "@tweedie/tweedie/energy";
 * import assert from "node:assert/strict";
 *
 * const coin = (p: number) => ({ logDensity: (x: number) => Math.log(x === 1 ? p : 1 - p) });
 * assert.ok(Math.abs(relativeEntropy(coin(1), coin(0.5), counting([0, 1])) - Math.LN2) < 1e-15);
 * ```
 */
export function relativeEntropy<X>(
  p: Pick<Density<X>, "logDensity">,
  q: Pick<Density<X>, "logDensity">,
  measure: Measure<X>,
): number {
  return integral(measure, (x) => {
    const logP = p.logDensity(x);
    return logP === -Infinity ? 0 : Math.exp(logP) * (logP - q.logDensity(x));
  });
}

/** A number or vector, or a tuple of them, as a flat list of coordinates. */
const flat = (x: unknown): number[] => [x].flat(Infinity) as number[];

/** a₁·x₁ + a₂·x₂ + …, of the form of each x. */
function combined<X>(shares: readonly number[], points: readonly X[]): X {
  if (!Array.isArray(points[0])) {
    return points.reduce((sum, x, k) => sum + shares[k]! * (x as number), 0) as X;
  }
  const rows = points as readonly (readonly unknown[])[];
  return rows[0]!.map((_, i) => combined(shares, rows.map((row) => row[i]))) as X;
}

/** The values of one field of all, or undefined where one lacks it. */
function ofAll<A>(values: readonly (A | undefined)[]): readonly A[] | undefined {
  return values.every((value) => value !== undefined) ? values as readonly A[] : undefined;
}

/**
 * The mixture Σ wₖ·pₖ: a component by its weight, then a point of that component. Mean, covariance and gradient are closed where
 * those of all components are; the entropy is not.
 *
 * @category Densities
 * @param weights One for each component, at least 0; scaled to a sum of 1.
 * @param parts The components, densities of one measure.
 * @returns The density.
 * @throws {RangeError} If the weights are not one for each part, are negative or not finite, or all 0.
 *
 * @example
 * ```ts
 * import { mixtureOf, multivariateNormal } from "@tweedie/tweedie/energy";
 * import assert from "node:assert/strict";
 *
 * const at = (mean: number) => multivariateNormal({ mean: [mean], covariance: 1 });
 * const { mean, covariance } = mixtureOf([1, 1], [at(-3), at(3)]);
 * assert.deepEqual(mean, [0]);
 * assert.deepEqual(covariance, [[10]]);
 * ```
 */
export function mixtureOf<X>(weights: readonly number[], parts: readonly Density<X>[]): Density<X> {
  const total = weights.reduce((a, b) => a + b, 0);
  if (weights.length !== parts.length || parts.length === 0) {
    throw refusal("mix", `weights must be one for each of ${parts.length} parts`, weights.length);
  }
  if (!(weights.every((w) => w >= 0) && total > 0 && total < Infinity)) {
    throw refusal("mix", "weights must be at least 0 with a finite positive sum", weights);
  }
  const shares = weights.map((w) => w / total);
  const joint = (x: X): number[] => parts.map((p, k) => Math.log(shares[k]!) + p.logDensity(x));
  const means = ofAll(parts.map(({ mean }) => mean)),
    gradients = ofAll(parts.map(({ gradient }) => gradient)),
    covariances = ofAll(parts.map(({ covariance }) => covariance));
  return {
    logDensity: (x) => logSumExp(joint(x)),
    draw: (key, count) => mixtureDraws(shares, parts, key, count),
    ...(means && { mean: combined(shares, means) }),
    ...(means && covariances && { covariance: mixtureSpread(shares, means, covariances) }),
    ...(gradients && {
      gradient: (x) => {
        const logs = joint(x), all = logSumExp(logs);
        return combined(logs.map((l) => Math.exp(l - all)), gradients.map((g) => g(x)));
      },
    }),
  };
}

/** The components in order of the draws, and of each component as many points as it was chosen. */
function mixtureDraws<X>(
  shares: readonly number[],
  parts: readonly Density<X>[],
  key: Key,
  count: number,
): X[] {
  const picks = chosen(shares, fold(key, "component"), count);
  const waiting = parts.map((part, k) =>
    part.draw(fold(fold(key, "point"), k), picks.filter((pick) => pick === k).length).values()
  );
  return picks.map((k) => waiting[k]!.next().value as X);
}

/** Σ wₖ·(Cₖ + mₖmₖᵀ) − mmᵀ, by deviations from m, so that a mean far from 0 costs no digits. */
function mixtureSpread<X>(
  shares: readonly number[],
  means: readonly X[],
  covariances: readonly Rows[],
): Rows {
  const centre = flat(combined(shares, means)), all = means.map(flat);
  return covariances[0]!.map((row, i) =>
    row.map((_, j) =>
      shares.reduce((sum, w, k) => {
        const away = (l: number) => all[k]![l]! - centre[l]!;
        return sum + w * (covariances[k]![i]![j]! + away(i) * away(j));
      }, 0)
    )
  );
}

/**
 * Independent parts side by side, p(x₁, …, xₙ) = Π pₖ(xₖ). A point is the tuple of the parts' points: of parts over numbers, a
 * vector.
 *
 * @category Densities
 * @param parts The parts.
 * @returns The density of tuples. Gradient, mean, entropy and covariance are closed where those of all parts are.
 *
 * @example
 * ```ts
 * import { densityOf, families, productOf } from "@tweedie/tweedie/energy";
 * import assert from "node:assert/strict";
 *
 * const coin = densityOf(families.bernoulli, { probability: 0.25 });
 * const { logDensity, mean } = productOf(coin, coin);
 * assert.ok(Math.abs(logDensity([1, 0]) - Math.log(0.25 * 0.75)) < 1e-15);
 * assert.ok(mean!.every((each) => Math.abs(each - 0.25) < 1e-15));
 * ```
 */
export function productOf<T extends readonly unknown[]>(
  ...parts: { readonly [K in keyof T]: Density<T[K]> }
): Density<T> {
  const all = parts as readonly Density<unknown>[];
  const gradients = ofAll(all.map(({ gradient }) => gradient)),
    means = ofAll(all.map(({ mean }) => mean)),
    entropies = ofAll(all.map(({ entropy }) => entropy)),
    covariances = ofAll(all.map(({ covariance }) => covariance));
  return {
    logDensity: (x) => all.reduce((sum, part, k) => sum + part.logDensity(x[k]), 0),
    draw: (key, count) => {
      const draws = all.map((part, k) => part.draw(fold(key, k), count));
      return Array.from({ length: count }, (_, i) => draws.map((draw) => draw[i]) as unknown as T);
    },
    ...(gradients && { gradient: (x) => gradients.map((g, k) => g(x[k])) as unknown as T }),
    ...(means && { mean: means as unknown as T }),
    ...(entropies && { entropy: entropies.reduce((a, b) => a + b, 0) }),
    ...(covariances && { covariance: blocks(covariances) }),
  };
}

/** The matrix with others along its diagonal. */
function blocks(parts: readonly Rows[]): Rows {
  const size = parts.reduce((sum, part) => sum + part.length, 0);
  let start = 0;
  return parts.flatMap((part) => {
    const before = start;
    start += part.length;
    return part.map((row) => [
      ...Array<number>(before).fill(0),
      ...row,
      ...Array<number>(size - before - row.length).fill(0),
    ]);
  });
}

/**
 * The autoregressive pair p(x)·p(y | x): x first, then y under it. Chained again and again it is any sequence.
 *
 * @category Densities
 * @param first The law of x.
 * @param next From x to the law of y.
 * @returns The density of pairs [x, y].
 *
 * @example
 * ```ts
 * import { chained, multivariateNormal } from "@tweedie/tweedie/energy";
 * import { key } from "@tweedie/tweedie";
 * import assert from "node:assert/strict";
 *
 * const at = (mean: readonly number[]) => multivariateNormal({ mean, covariance: 1e-12 });
 * const [[x, y]] = chained(at([5]), ([x]) => at([2 * x!])).draw(key(0), 1) as [[number[], number[]]];
 * assert.ok(Math.abs(y[0]! - 2 * x[0]!) < 1e-5);
 * ```
 */
export function chained<X, Y>(
  first: Density<X>,
  next: (x: X) => Density<Y>,
): Density<readonly [x: X, y: Y]> {
  return {
    logDensity: ([x, y]) => first.logDensity(x) + next(x).logDensity(y),
    draw: (key, count) =>
      first.draw(fold(key, "first"), count).map((x, i) =>
        [x, next(x).draw(fold(fold(key, "next"), i), 1)[0]!] as const
      ),
  };
}

/**
 * Normalised densities as values, what builds them from each other, and the measures over which they integrate to 1.
 *
 * ```text
 *   ∫ p dμ = 1        mixture Σ wₖ·pₖ(x)        side by side Π pₖ(xₖ)        chained p(x)·p(y | x)
 *   KL(p ‖ q) = ∫ p·(ln p − ln q) dμ
 * ```
 *
 * A sum over states and an integral over a line are one thing here: a measure μ that is a list of points with weights. All in
 * float64 on the host, as the oracles of what is learnt and sampled elsewhere.
 *
 * Sources: H. Takahasi, M. Mori, "Double exponential formulas for numerical integration" (1974), for the quadrature;
 * T. Cover, J. Thomas, "Elements of information theory" (2nd ed. 2006), section 2.3, for the relative entropy.
 *
 * @module
 */

import { checkKey, refusal } from "../../tensor/check/check.ts";
import { fillBits, fold, type Key } from "../../tensor/key.ts";

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

/**
 * A measure as points with weights: ∫ f dμ = Σ weight·f(x). Lazy, so that many states need no room.
 *
 * @category Densities
 */
export interface Measure<X> {
  /** Number of points. */
  readonly size: number;
  /** The points with their weights, from the first each time. */
  readonly nodes: () => Iterable<readonly [x: X, weight: number]>;
  /** Whether the sum is exact, each point being an atom of weight 1. Default: it is a quadrature. */
  readonly isCounting?: true;
}

/**
 * The counting measure of a finite set.
 *
 * @category Densities
 */
export type Counting<X> = Measure<X> & { readonly isCounting: true };

/** ln Σ eᵛ without overflow; −∞ of nothing. */
export function logSumExp(values: Iterable<number>): number {
  // In one pass: the sum is held relative to the greatest value so far.
  let top = -Infinity, sum = 0;
  for (const value of values) {
    if (value <= top) sum += value === -Infinity ? 0 : Math.exp(value - top);
    else if (value === Infinity || Number.isNaN(value)) return value;
    else [sum, top] = [sum * Math.exp(top - value) + 1, value];
  }
  return top + Math.log(sum);
}

/** Uniforms on [0, 1) with all 53 bits of a double; draw i does not depend on the count. */
export function doubles(key: Key, count: number): Float64Array {
  checkKey("draw from a density", key);
  if (!Number.isSafeInteger(count) || count < 0) {
    throw refusal("draw from a density", "count must be a whole number of at least 0", count);
  }
  const words = fillBits(key, new Uint32Array(2 * count));
  return Float64Array.from(
    { length: count },
    (_, i) => ((words[2 * i]! >>> 5) * 2 ** 26 + (words[2 * i + 1]! >>> 6)) * 2 ** -53,
  );
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
 * The counting measure of a finite set: integrals over it are sums.
 *
 * @category Densities
 * @param points The points, each once.
 * @returns The measure.
 *
 * @example
 * ```ts
 * import { counting, integral } from "@tweedie/tweedie/energy";
 * import assert from "node:assert/strict";
 *
 * assert.equal(integral(counting([1, 2, 3]), (x) => x ** 2), 14);
 * ```
 */
export function counting<X>(points: readonly X[]): Counting<X> {
  const nodes = function* () {
    for (const x of points) yield [x, 1] as const;
  };
  return { size: points.length, nodes, isCounting: true };
}

/**
 * Lebesgue measure of an interval by the double-exponential rule, for functions that are smooth within it. Ends may be
 * infinite, and the function may have an integrable singularity at an end that is 0 or infinite.
 *
 * ```text
 *   x = m + r·tanh s   on (m − r, m + r)        x = low + eˢ   on (low, ∞)        x = sinh s   on ℝ        s = π/2·sinh t
 * ```
 *
 * The trapezoid rule in t has an error that falls like e^(−c·n/ln n). On ℝ the nodes are densest about 0, on a half-line
 * about low + 1: a narrow law far from there needs more of them, or an interval of its own.
 *
 * @category Densities
 * @param low Lower end, finite or −∞.
 * @param high Upper end, above `low`; ∞ for a half-line or, with −∞, the whole line.
 * @param count Number of nodes, at least 3. Default: 201.
 * @returns The measure.
 * @throws {RangeError} If the interval is empty, the half-line runs to −∞, or the count is too small.
 *
 * @example The volume of a Gaussian
 * ```ts
 * import { integral, quadrature } from "@tweedie/tweedie/energy";
 * import assert from "node:assert/strict";
 *
 * const volume = integral(quadrature(-Infinity, Infinity), (x) => Math.exp(-(x ** 2) / 2));
 * assert.ok(Math.abs(volume - Math.sqrt(2 * Math.PI)) < 1e-13);
 * ```
 */
export function quadrature(low: number, high: number, count: number = 201): Measure<number> {
  const isLine = low === -Infinity && high === Infinity;
  if (!(low < high && (isLine || low > -Infinity))) {
    throw new RangeError(
      `Cannot make a quadrature: (low, high) must be an interval, (low, Infinity) or the line, got (${low}, ${high})`,
    );
  }
  if (!Number.isSafeInteger(count) || count < 3) {
    throw refusal("make a quadrature", "count must be a whole number of at least 3", count);
  }
  // Beyond these |t| nothing is left: 1 − tanh s and 1/sinh² s are under 1e-32, and a half-line's ends at 1e-34 and 1e34.
  const reach = isLine || high < Infinity ? 3.9 : 4.6;
  const step = 2 * reach / (count - 1);
  const point = high < Infinity ? bounded(low, high) : isLine ? line : halfLine(low);
  const all = Array.from({ length: count }, (_, i): readonly [number, number] => {
    const t = i * step - reach, [x, slope] = point(Math.PI / 2 * Math.sinh(t));
    return [x, slope * Math.PI / 2 * Math.cosh(t) * step];
  }).filter(([x, weight]) => x > low && x < high && weight > 0 && weight < Infinity);
  return { size: all.length, nodes: () => all };
}

/** From s to x and dx/ds. */
type Substitution = (s: number) => readonly [x: number, slope: number];

/** Each half from its own end, so that the distance from it keeps its digits where that end is 0. */
const bounded = (low: number, high: number): Substitution => (s) => {
  const r = (high - low) / 2, share = 2 / (1 + Math.exp(2 * Math.abs(s)));
  return [s < 0 ? low + r * share : high - r * share, r * share * (2 - share)];
};

const halfLine = (low: number): Substitution => (s) => [low + Math.exp(s), Math.exp(s)];

const line: Substitution = (s) => [Math.sinh(s), Math.cosh(s)];

/**
 * The product measure: points are tuples of one point of each, weights multiply. Of two intervals it is a quadrature in the
 * plane; of finite sets, their counting measure.
 *
 * @category Densities
 * @param measures The measures.
 * @returns The measure of tuples, of as many points as the product of their sizes.
 *
 * @example The unit disc's second moment in a square
 * ```ts
 * import { crossed, integral, quadrature } from "@tweedie/tweedie/energy";
 * import assert from "node:assert/strict";
 *
 * const side = quadrature(0, 1, 41);
 * assert.ok(Math.abs(integral(crossed(side, side), ([x, y]) => x * y) - 1 / 4) < 1e-12);
 * ```
 */
export function crossed<T extends readonly unknown[]>(
  ...measures: { readonly [K in keyof T]: Measure<T[K]> }
): Measure<T> & { readonly isCounting?: true } {
  const all = measures as readonly Measure<unknown>[];
  const nodes = function* (from = 0): Generator<readonly [unknown[], number]> {
    if (from === all.length) return yield [[], 1];
    for (const [x, w] of all[from]!.nodes()) {
      for (const [rest, weight] of nodes(from + 1)) yield [[x, ...rest], w * weight];
    }
  };
  return {
    size: all.reduce((size, measure) => size * measure.size, 1),
    nodes: nodes as unknown as Measure<T>["nodes"],
    ...(all.every(({ isCounting }) => isCounting) && { isCounting: true }),
  };
}

/**
 * ∫ f dμ.
 *
 * @category Densities
 * @param measure The measure.
 * @param f The function.
 * @returns The sum of weight·f(x).
 */
export function integral<X>(measure: Measure<X>, f: (x: X) => number): number {
  let sum = 0;
  for (const [x, weight] of measure.nodes()) sum += weight * f(x);
  return sum;
}

/**
 * ln ∫ e^f dμ, without overflow.
 *
 * @category Densities
 * @param measure The measure.
 * @param logF The logarithm f; −∞ where the integrand is 0.
 * @returns The logarithm of the integral.
 */
export function logIntegral<X>(measure: Measure<X>, logF: (x: X) => number): number {
  const terms = function* () {
    for (const [x, weight] of measure.nodes()) yield logF(x) + Math.log(weight);
  };
  return logSumExp(terms());
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

/**
 * Measures as points with weights: a sum over states and an integral over a line are one thing.
 *
 * ```text
 *   ∫ f dμ = Σ wᵢ·f(xᵢ)        counting: wᵢ = 1        product: tuples of points, and weights multiply
 * ```
 *
 * Source: H. Takahasi, M. Mori, "Double exponential formulas for numerical integration" (1974), for the quadrature.
 *
 * @module
 */

import { refusal } from "../tensor/check/check.ts";

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

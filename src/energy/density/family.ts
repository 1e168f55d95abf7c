/**
 * Exponential families: p(x; θ) = h(x)·e^(θ·T(x) − A(θ)), whose volume e^A is known.
 *
 * ```text
 *   A(θ) = ln ∫ h·e^(θ·T) dμ        ∇A(θ) = E[T]        ∇²A(θ) = Cov[T]
 *
 *   family        θ                         T                   A(θ)
 *   normal        μ/σ², −1/(2σ²)            x, x²               −θ₁²/(4θ₂) − ½·ln(−2θ₂)           h = (2π)^−½
 *   Poisson       ln λ                      x                   e^θ                               h = 1/x!
 *   exponential   −λ                        x                   −ln(−θ)
 *   Bernoulli     ln p/(1 − p)              x                   ln(1 + e^θ)
 *   beta          a, b                      ln x, ln(1 − x)     lnΓ(a) + lnΓ(b) − lnΓ(a + b)      h = 1/(x(1 − x))
 *   gamma         k, −λ                     ln x, x             lnΓ(k) − k·ln λ                   h = 1/x
 *   Dirichlet     a₁ … a_K                  ln x₁ … ln x_K      Σ lnΓ(aₖ) − lnΓ(Σ aₖ)             h = Π 1/xₖ
 *   Wishart       −½V⁻¹ (lower), n/2        X (lower), ln|X|    −η·ln|−Θ| + lnΓ_p(η)              h = |X|^−(p+1)/2
 * ```
 *
 * Of Wishart's symmetric matrices the lower triangle is listed row by row, T with its off-diagonal entries doubled, so that θ·T is
 * tr(ΘX) + η·ln|X|. The Dirichlet density is over the first K − 1 coordinates.
 *
 * Sources: M. Wainwright, M. Jordan, "Graphical models, exponential families, and variational inference" (2008), section 3 and
 * proposition 3.1; G. Marsaglia, W. Tsang, "A simple method for generating gamma variables" (2000); W. Smith, R. Hocking,
 * "Algorithm AS 53: Wishart variate generator" (1972), Bartlett's decomposition.
 *
 * @module
 */

import digamma from "@stdlib/math-base-special-digamma";
import gammaln from "@stdlib/math-base-special-gammaln";
import { CholeskyDecomposition, inverse, Matrix } from "ml-matrix";
import { refusal } from "../../tensor/check/check.ts";
import { fold, type Key } from "../../tensor/key.ts";
import { doubles } from "../../tensor/random.ts";
import type { Density, Rows, Vector } from "./density.ts";
import { links } from "./link.ts";
import { whiteNoise } from "./normal.ts";

/**
 * An exponential family over points X with usual parameters P.
 *
 * @category Densities
 */
export interface Family<X, P> {
  /** θ of the usual parameters; refuses those outside the family. */
  readonly natural: (parameters: P) => Vector;
  /** ln h(x); −∞ outside the support. */
  readonly logH: (x: X) => number;
  /** T(x), as long as θ. */
  readonly statistic: (x: X) => Vector;
  /** A(θ), the logarithm of the volume, in nats. */
  readonly logVolume: (theta: Vector) => number;
  /** ∇A(θ) = E[T]. */
  readonly meanStatistic: (theta: Vector) => Vector;
  /** Draws under θ. */
  readonly draw: (theta: Vector, key: Key, count: number) => X[];
  /** E[x], where it is a part of E[T]. */
  readonly mean?: (theta: Vector) => X;
}

/**
 * A member of a family as a density.
 *
 * @category Densities
 * @param family One of {@link families}, or another.
 * @param parameters Its usual parameters.
 * @returns The density.
 * @throws {RangeError} If the parameters are outside the family.
 *
 * @example
 * ```ts
 * import { densityOf, families } from "@tweedie/tweedie/energy";
 * import assert from "node:assert/strict";
 *
 * const { logDensity } = densityOf(families.poisson, { rate: 2 });
 * assert.ok(Math.abs(logDensity(3) - Math.log(8 / 6 * Math.exp(-2))) < 1e-14);
 * ```
 */
export function densityOf<X, P>(family: Family<X, P>, parameters: P): Density<X> {
  const theta = family.natural(parameters), a = family.logVolume(theta);
  return {
    logDensity: (x) => {
      const logH = family.logH(x);
      return logH === -Infinity ? logH : logH + inner(theta, family.statistic(x)) - a;
    },
    draw: (key, count) => family.draw(theta, key, count),
    ...(family.mean && { mean: family.mean(theta) }),
  };
}

const inner = (a: Vector, b: Vector): number => a.reduce((sum, value, i) => sum + value * b[i]!, 0);

/** Refuses a parameter that is not finite and above a bound. */
function checkAbove(family: string, name: string, value: number, least = 0): void {
  if (value > least && value < Infinity) return;
  throw refusal(`make a ${family} law`, `${name} must be finite and above ${least}`, value);
}

/** ln h of a support. */
const within = (isIn: boolean, logH: number = 0): number => isIn ? logH : -Infinity;

/** Draw i under its own key, for laws that need a number of uniforms that is not known. */
const each = <X>(key: Key, count: number, one: (key: Key) => X): X[] =>
  // The key and the count are checked where uniforms are.
  Array.from(doubles(key, count), (_, i) => one(fold(key, i)));

/** One Gamma(shape, 1) draw; below 1 that of shape + 1 times u^(1/shape) (Marsaglia and Tsang 2000, section 6). */
function gammaDraw(key: Key, shape: number): number {
  if (shape < 1) {
    const [u] = doubles(fold(key, "boost"), 1);
    return gammaDraw(fold(key, "above"), shape + 1) * (1 - u!) ** (1 / shape);
  }
  const d = shape - 1 / 3, c = 1 / Math.sqrt(9 * d);
  for (let attempt = 0;; attempt++) {
    const under = fold(key, attempt), [z] = whiteNoise(fold(under, "z"), 1), v = (1 + c * z!) ** 3;
    const [u] = doubles(fold(under, "u"), 1);
    if (v > 0 && Math.log(1 - u!) < z! ** 2 / 2 + d * (1 - v + Math.log(v))) return d * v;
  }
}

/** One Poisson draw by inversion, in parts whose e^−λ is a double: a sum of Poissons is one. */
function poissonDraw(key: Key, rate: number): number {
  const parts = Math.ceil(rate / 500), share = rate / parts;
  return Array.from(doubles(key, parts), (u) => {
    let n = 0, p = Math.exp(-share), sum = p;
    // The sum may stay below u by rounding.
    while (u >= sum && p > 0) sum += p *= share / ++n;
    return n;
  }).reduce((a, b) => a + b, 0);
}

const normal: Family<number, { readonly mean: number; readonly variance: number }> = {
  natural: ({ mean, variance }) => {
    checkAbove("normal", "variance", variance);
    checkAbove("normal", "mean", mean, -Infinity);
    return [mean / variance, -1 / (2 * variance)];
  },
  logH: () => -Math.log(2 * Math.PI) / 2,
  statistic: (x) => [x, x ** 2],
  logVolume: ([a, b]) => -(a! ** 2) / (4 * b!) - Math.log(-2 * b!) / 2,
  meanStatistic: ([a, b]) => [-a! / (2 * b!), (a! / (2 * b!)) ** 2 - 1 / (2 * b!)],
  draw: ([a, b], key, count) =>
    Array.from(whiteNoise(key, count), (z) => -a! / (2 * b!) + z / Math.sqrt(-2 * b!)),
  mean: ([a, b]) => -a! / (2 * b!),
};

const poisson: Family<number, { readonly rate: number }> = {
  natural: ({ rate }) => {
    checkAbove("Poisson", "rate", rate);
    return [Math.log(rate)];
  },
  logH: (x) => within(Number.isInteger(x) && x >= 0, -gammaln(x + 1)),
  statistic: (x) => [x],
  logVolume: ([theta]) => Math.exp(theta!),
  meanStatistic: ([theta]) => [Math.exp(theta!)],
  draw: ([theta], key, count) => each(key, count, (one) => poissonDraw(one, Math.exp(theta!))),
  mean: ([theta]) => Math.exp(theta!),
};

const exponential: Family<number, { readonly rate: number }> = {
  natural: ({ rate }) => {
    checkAbove("exponential", "rate", rate);
    return [-rate];
  },
  logH: (x) => within(x >= 0),
  statistic: (x) => [x],
  logVolume: ([theta]) => -Math.log(-theta!),
  meanStatistic: ([theta]) => [-1 / theta!],
  draw: ([theta], key, count) => Array.from(doubles(key, count), (u) => Math.log1p(-u) / theta!),
  mean: ([theta]) => -1 / theta!,
};

const logistic = (theta: number): number => 1 / (1 + Math.exp(-theta));

const bernoulli: Family<number, { readonly probability: number }> = {
  natural: ({ probability: p }) => {
    if (p > 0 && p < 1) return [Math.log(p) - Math.log1p(-p)];
    throw refusal("make a Bernoulli law", "probability must be in (0, 1)", p);
  },
  logH: (x) => within(x === 0 || x === 1),
  statistic: (x) => [x],
  logVolume: ([theta]) => links.softplus.g(theta!),
  meanStatistic: ([theta]) => [logistic(theta!)],
  draw: ([theta], key, count) =>
    Array.from(doubles(key, count), (u) => u < logistic(theta!) ? 1 : 0),
  mean: ([theta]) => logistic(theta!),
};

const gamma: Family<number, { readonly shape: number; readonly rate: number }> = {
  natural: ({ shape, rate }) => {
    checkAbove("gamma", "shape", shape);
    checkAbove("gamma", "rate", rate);
    return [shape, -rate];
  },
  logH: (x) => within(x > 0, -Math.log(x)),
  statistic: (x) => [Math.log(x), x],
  logVolume: ([k, b]) => gammaln(k!) - k! * Math.log(-b!),
  meanStatistic: ([k, b]) => [digamma(k!) - Math.log(-b!), -k! / b!],
  draw: ([k, b], key, count) => each(key, count, (one) => gammaDraw(one, k!) / -b!),
  mean: ([k, b]) => -k! / b!,
};

const dirichlet: Family<Vector, { readonly concentration: Vector }> = {
  natural: ({ concentration }) => {
    if (concentration.length < 2) {
      const wanted = "concentration must be of at least 2 numbers";
      throw refusal("make a Dirichlet law", wanted, concentration);
    }
    for (const a of concentration) checkAbove("Dirichlet", "each of concentration", a);
    return concentration;
  },
  logH: (x) => {
    const isIn = x.every((xk) => xk > 0) && Math.abs(x.reduce((a, b) => a + b, -1)) < 1e-9;
    return within(isIn, -x.reduce((sum, xk) => sum + Math.log(xk), 0));
  },
  statistic: (x) => x.map(Math.log),
  logVolume: (a) =>
    a.reduce((sum, ak) => sum + gammaln(ak), -gammaln(a.reduce((s, b) => s + b, 0))),
  meanStatistic: (a) => a.map((ak) => digamma(ak) - digamma(a.reduce((s, b) => s + b, 0))),
  draw: (a, key, count) =>
    each(key, count, (one) => {
      const parts = a.map((ak, k) => gammaDraw(fold(one, k), ak));
      const total = parts.reduce((s, b) => s + b, 0);
      return parts.map((part) => part / total);
    }),
  mean: (a) => a.map((ak) => ak / a.reduce((s, b) => s + b, 0)),
};

/** The Dirichlet law of two, of which one is the point. */
const beta: Family<number, { readonly a: number; readonly b: number }> = {
  natural: ({ a, b }) => {
    checkAbove("beta", "a", a);
    checkAbove("beta", "b", b);
    return [a, b];
  },
  logH: (x) => within(x > 0 && x < 1, -Math.log(x) - Math.log1p(-x)),
  statistic: (x) => [Math.log(x), Math.log1p(-x)],
  logVolume: dirichlet.logVolume,
  meanStatistic: dirichlet.meanStatistic,
  draw: (theta, key, count) => dirichlet.draw(theta, key, count).map(([x]) => x!),
  mean: ([a, b]) => a! / (a! + b!),
};

/** lnΓ_p(x) = p(p − 1)/4·ln π + Σ lnΓ(x − i/2), i from 0 to p − 1. */
function multivariateGammaln(x: number, p: number): number {
  const parts = Array.from({ length: p }, (_, i) => gammaln(x - i / 2));
  return parts.reduce((a, b) => a + b, p * (p - 1) / 4 * Math.log(Math.PI));
}

/** The lower triangle row by row, its off-diagonal entries times a factor. */
const lower = (x: Rows, factor: number): number[] =>
  x.flatMap((row, i) => row.slice(0, i + 1).map((value, j) => i === j ? value : factor * value));

/** −Θ and η of Wishart's natural parameters. */
function wishartParts(
  theta: Vector,
): { readonly minus: Matrix; readonly eta: number; readonly p: number } {
  const p = Math.round((Math.sqrt(8 * theta.length - 7) - 1) / 2);
  const at = (i: number, j: number): number => theta[i * (i + 1) / 2 + j]!;
  const rows = Array.from(
    { length: p },
    (_, i) => Array.from({ length: p }, (_, j) => -at(Math.max(i, j), Math.min(i, j))),
  );
  return { minus: new Matrix(rows), eta: theta.at(-1)!, p };
}

/** L of A = LLᵀ and ln|A|; −∞ where A is not positive definite. */
function factored(a: Matrix): { readonly l: Matrix; readonly logDeterminant: number } {
  const cholesky = new CholeskyDecomposition(a), l = cholesky.lowerTriangularMatrix;
  const log = l.diagonal().reduce((sum, value) => sum + 2 * Math.log(value), 0);
  return { l, logDeterminant: cholesky.isPositiveDefinite() ? log : -Infinity };
}

const matrixOf = (x: Rows): Matrix => new Matrix(x as number[][]);

const wishart: Family<Rows, { readonly scale: Rows; readonly freedom: number }> = {
  natural: ({ scale, freedom }) => {
    const p = scale.length,
      fit = scale.every((row, i) => row.length === p && row.every((v, j) => v === scale[j]![i]));
    if (p === 0 || !fit || !Number.isFinite(factored(matrixOf(scale)).logDeterminant)) {
      const wanted = "scale must be symmetric and positive definite";
      throw refusal("make a Wishart law", wanted, scale);
    }
    checkAbove("Wishart", "freedom", freedom, p - 1);
    return [...lower(inverse(matrixOf(scale)).mul(-0.5).to2DArray(), 1), freedom / 2];
  },
  logH: (x) => {
    const { logDeterminant } = factored(matrixOf(x));
    return logDeterminant === -Infinity ? -Infinity : -(x.length + 1) / 2 * logDeterminant;
  },
  statistic: (x) => [...lower(x, 2), factored(matrixOf(x)).logDeterminant],
  logVolume: (theta) => {
    const { minus, eta, p } = wishartParts(theta);
    return multivariateGammaln(eta, p) - eta * factored(minus).logDeterminant;
  },
  meanStatistic: (theta) => {
    const { minus, eta, p } = wishartParts(theta);
    const psi = Array.from({ length: p }, (_, i) => digamma(eta - i / 2)).reduce(
      (a, b) => a + b,
      0,
    );
    return [...lower(wishart.mean!(theta), 2), psi - factored(minus).logDeterminant];
  },
  // Bartlett: X = L·B·Bᵀ·Lᵀ of V = LLᵀ, B lower, Bᵢᵢ² ~ χ²(n − i), the others normal.
  draw: (theta, key, count) => {
    const { minus, eta, p } = wishartParts(theta), { l } = factored(inverse(minus).mul(0.5));
    return each(key, count, (one) => {
      const z = whiteNoise(fold(one, "normal"), p * p);
      const entry = (i: number, j: number): number =>
        i < j ? 0 : i > j ? z[i * p + j]! : Math.sqrt(2 * gammaDraw(fold(one, i), eta - i / 2));
      const rows = Array.from(
        { length: p },
        (_, i) => Array.from({ length: p }, (_, j) => entry(i, j)),
      );
      const root = l.mmul(new Matrix(rows));
      return root.mmul(root.transpose()).to2DArray();
    });
  },
  // n·V = 2η·½·(−Θ)⁻¹.
  mean: (theta) => {
    const { minus, eta } = wishartParts(theta);
    return inverse(minus).mul(eta).to2DArray();
  },
};

/**
 * The families by name. Rates are in the inverse of x's unit; `scale` of the Wishart law is V, with mean `freedom`·V.
 *
 * @category Densities
 * @example The gradient of the volume's logarithm is the mean of T
 * ```ts
 * import { families } from "@tweedie/tweedie/energy";
 * import assert from "node:assert/strict";
 *
 * const { natural, meanStatistic } = families.exponential;
 * assert.deepEqual(meanStatistic(natural({ rate: 4 })), [0.25]);
 * ```
 */
export const families: {
  readonly normal: Family<number, { readonly mean: number; readonly variance: number }>;
  readonly poisson: Family<number, { readonly rate: number }>;
  readonly exponential: Family<number, { readonly rate: number }>;
  readonly bernoulli: Family<number, { readonly probability: number }>;
  readonly beta: Family<number, { readonly a: number; readonly b: number }>;
  readonly gamma: Family<number, { readonly shape: number; readonly rate: number }>;
  readonly dirichlet: Family<Vector, { readonly concentration: Vector }>;
  readonly wishart: Family<Rows, { readonly scale: Rows; readonly freedom: number }>;
} = { normal, poisson, exponential, bernoulli, beta, gamma, dirichlet, wishart };

/**
 * Linear-Gaussian systems, y | x ~ N(Ax + b, R): the law of y, the system turned round, and systems one after the other.
 *
 * ```text
 *   x ~ N(μ, Λ⁻¹)  ⇒  y ~ N(Aμ + b, R + AΛ⁻¹Aᵀ)        x | y ~ N(S·(AᵀR⁻¹(y − b) + Λμ), S),   S = (Λ + AᵀR⁻¹A)⁻¹
 *   first A₁, b₁, R₁, then A₂, b₂, R₂:  A₂A₁,  A₂b₁ + b₂,  A₂R₁A₂ᵀ + R₂
 * ```
 *
 * A noising process with a Gaussian kernel is a chain of such systems: composed, it gives q(x_t | x_0); turned round under
 * q(x_{t−1} | x_0), the posterior of a denoising step.
 *
 * Source: C. Bishop, "Pattern recognition and machine learning" (2006), section 2.3.3, equations 2.113 to 2.117.
 *
 * @module
 */

import { inverse, Matrix } from "ml-matrix";
import { refusal } from "../../tensor/check/check.ts";
import type { Rows, Vector } from "./density.ts";
import { multivariateNormal, type Normal } from "./normal.ts";

/**
 * The law of y given x, N(Ax + b, R).
 *
 * @category Densities
 */
export interface LinearGaussian {
  /** A, e × d. */
  readonly matrix: Rows;
  /** b, length e. */
  readonly shift: Vector;
  /** R, e × e, symmetric and positive definite. */
  readonly noise: Rows;
}

const dot = (a: Rows, b: Rows): Matrix =>
  new Matrix(a as number[][]).mmul(new Matrix(b as number[][]));
const column = (x: Vector): number[][] => x.map((value) => [value]);
const turned = (a: Rows): number[][] => a[0]!.map((_, j) => a.map((row) => row[j]!));
const sum = (a: Matrix, b: Rows): number[][] =>
  Matrix.add(a, new Matrix(b as number[][])).to2DArray();

/** Throws unless the parts of a system fit each other and what it is applied to. */
function checkSystem(action: string, { matrix, shift, noise }: LinearGaussian, d: number): void {
  if (matrix.length === 0 || !matrix.every((row) => row.length === d)) {
    const got = matrix.map((row) => row.length);
    throw refusal(action, `matrix must be of rows of length ${d}`, got);
  }
  const e = matrix.length, sizes = [shift.length, noise.length, ...noise.map((row) => row.length)];
  if (sizes.every((size) => size === e)) return;
  throw refusal(action, `shift and noise must be of ${e} rows, as matrix is`, sizes);
}

/**
 * The system y = scale·x + √variance·z in each of d dimensions: a step of a noising process.
 *
 * @category Densities
 * @param scale Factor of x.
 * @param variance Variance of the noise in each dimension, above 0 where a law is made of it.
 * @param dimension d. Default: 1.
 * @returns The system.
 *
 * @example DDPM's step under beta = 0.19
 * ```ts
 * import { lawGiven, scaling } from "@tweedie/tweedie/energy";
 * import assert from "node:assert/strict";
 *
 * assert.deepEqual(lawGiven(scaling(0.9, 0.19), [2]).mean, [1.8]);
 * ```
 */
export function scaling(scale: number, variance: number, dimension: number = 1): LinearGaussian {
  if (!Number.isFinite(scale) || !(variance >= 0 && variance < Infinity)) {
    const wanted = "scale must be finite and variance at least 0";
    throw refusal("make a linear-Gaussian system", wanted, [scale, variance]);
  }
  const diagonal = (value: number): Rows => Matrix.eye(dimension, dimension, value).to2DArray();
  return {
    matrix: diagonal(scale),
    shift: Array<number>(dimension).fill(0),
    noise: diagonal(variance),
  };
}

/**
 * The law of y given x, N(Ax + b, R).
 *
 * @category Densities
 * @param system The system.
 * @param x Length d.
 * @returns The law, of dimension e.
 * @throws {RangeError} If the system does not fit x, or its noise is not positive definite.
 */
export function lawGiven(system: LinearGaussian, x: Vector): Normal {
  checkSystem("apply a system", system, x.length);
  const mean = dot(system.matrix, column(x)).to1DArray().map((value, i) =>
    value + system.shift[i]!
  );
  return multivariateNormal({ mean, covariance: system.noise });
}

/**
 * The law of y, N(Aμ + b, R + AΣAᵀ) (Bishop 2006, equation 2.115).
 *
 * @category Densities
 * @param prior The law of x, N(μ, Σ).
 * @param system The law of y given x; its noise may be 0 where A has full row rank.
 * @returns The law, of dimension e.
 * @throws {RangeError} If they do not fit each other, or the covariance is not positive definite.
 *
 * @example Noise of variance 1 on data of variance 3
 * ```ts
 * import { lawAfter, multivariateNormal, scaling } from "@tweedie/tweedie/energy";
 * import assert from "node:assert/strict";
 *
 * const data = multivariateNormal({ mean: [5], covariance: 3 });
 * assert.deepEqual(lawAfter(data, scaling(1, 1)).covariance, [[4]]);
 * ```
 */
export function lawAfter(prior: Normal, system: LinearGaussian): Normal {
  checkSystem("push a law through a system", system, prior.mean.length);
  const { matrix, shift, noise } = system;
  const mean = dot(matrix, column(prior.mean)).to1DArray().map((value, i) => value + shift[i]!);
  const spread = dot(matrix, prior.covariance).mmul(new Matrix(turned(matrix)));
  return multivariateNormal({ mean, covariance: sum(spread, noise) });
}

/**
 * The law of x and y side by side, whose precision is [[Λ + AᵀR⁻¹A, −AᵀR⁻¹], [−R⁻¹A, R⁻¹]] (Bishop 2006, equation 2.104).
 *
 * @category Densities
 * @param prior The law of x.
 * @param system The law of y given x.
 * @returns The law of [x, y], of dimension d + e.
 * @throws {RangeError} If they do not fit each other, or the noise is not positive definite.
 */
export function jointLaw(prior: Normal, system: LinearGaussian): Normal {
  checkSystem("join a law and a system", system, prior.mean.length);
  const after = lawAfter(prior, system), cross = dot(system.matrix, prior.covariance).to2DArray();
  const across = turned(cross);
  return multivariateNormal({
    mean: [...prior.mean, ...after.mean],
    covariance: [
      ...prior.covariance.map((row, i) => [...row, ...across[i]!]),
      ...after.covariance.map((row, i) => [...cross[i]!, ...row]),
    ],
  });
}

/**
 * The system turned round: the law of x given y, as a linear-Gaussian system of its own (Bishop 2006, equations 2.116 and
 * 2.117). Its matrix is S·AᵀR⁻¹, its shift S·(Λμ − AᵀR⁻¹b), its noise S.
 *
 * @category Densities
 * @param prior The law of x.
 * @param system The law of y given x, with noise that is positive definite.
 * @returns The law of x given y.
 * @throws {RangeError} If they do not fit each other, or the noise is not positive definite.
 *
 * @example As much noise as signal: halfway between the mean and what was seen
 * ```ts
 * import { lawGiven, multivariateNormal, reversed, scaling } from "@tweedie/tweedie/energy";
 * import assert from "node:assert/strict";
 *
 * const prior = multivariateNormal({ mean: [0], covariance: 1 });
 * const { mean, covariance } = lawGiven(reversed(prior, scaling(1, 1)), [3]);
 * assert.deepEqual([mean, covariance], [[1.5], [[0.5]]]);
 * ```
 */
export function reversed(prior: Normal, system: LinearGaussian): LinearGaussian {
  checkSystem("turn a system round", system, prior.mean.length);
  const { matrix, shift, noise } = system;
  const weight = multivariateNormal({ mean: shift, covariance: noise }).precision;
  const back = dot(turned(matrix), weight).to2DArray();
  const s = inverse(new Matrix(sum(dot(back, matrix), prior.precision))).to2DArray();
  const pull = dot(prior.precision, column(prior.mean)).sub(dot(back, column(shift)));
  return {
    matrix: dot(s, back).to2DArray(),
    shift: dot(s, pull.to2DArray()).to1DArray(),
    noise: s,
  };
}

/**
 * Systems one after the other, the first applied first.
 *
 * @category Densities
 * @param systems At least one, each of as many columns as the one before has rows.
 * @returns The law of the last y given the first x.
 * @throws {RangeError} If there is none, or they do not fit each other.
 *
 * @example Two halvings with noise
 * ```ts
 * import { composed, scaling } from "@tweedie/tweedie/energy";
 * import assert from "node:assert/strict";
 *
 * assert.deepEqual(composed(scaling(0.5, 1), scaling(0.5, 1)), scaling(0.25, 1.25));
 * ```
 */
export function composed(...systems: readonly LinearGaussian[]): LinearGaussian {
  const [first, ...rest] = systems;
  if (first === undefined) throw refusal("compose systems", "systems must be at least one", 0);
  return rest.reduce((before, after) => {
    checkSystem("compose systems", after, before.matrix.length);
    const spread = dot(after.matrix, before.noise).mmul(new Matrix(turned(after.matrix)));
    return {
      matrix: dot(after.matrix, before.matrix).to2DArray(),
      shift: sum(dot(after.matrix, column(before.shift)), column(after.shift)).map(([b]) => b!),
      noise: sum(spread, after.noise),
    };
  }, first);
}

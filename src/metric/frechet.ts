/**
 * The Fréchet distance between two Gaussians fitted to features: FID on Inception features, sFID on spatial ones,
 * "FMNIST-FID" on those of a classifier of the data at hand. The metric is the same; only the features differ.
 *
 * ```text
 *   d²(N(mu1, S1), N(mu2, S2)) = |mu1 − mu2|² + Tr(S1 + S2 − 2·(S1^½ S2 S1^½)^½)
 *   Tr (S1^½ S2 S1^½)^½        = Tr (AᵀA)^½ = the sum of the singular values of A = S2^½ S1^½
 * ```
 *
 * The symmetric form keeps every number real where the product S1·S2 of the usual formula need not be symmetric.
 * Its singular values are taken rather than the roots of the eigenvalues of AᵀA, because a root magnifies rounding:
 * a zero that comes out as 1e-16 would add 1e-8 for each direction that the features do not fill.
 *
 * The estimate is biased upwards by C/n to first order, and C depends on the model judged: compare models at the same
 * n, or extrapolate to 1/n → 0. For two samples of n from the same N(m, I) in d dimensions C = 2d + d(d + 1)/2.
 *
 * Sources: D. Dowson, B. Landau, "The Fréchet distance between multivariate normal distributions" (J. Multivariate
 * Analysis 12, 1982); M. Heusel et al., "GANs trained by a two time-scale update rule converge to a local Nash
 * equilibrium" (2017), equation 6; M. Chong, D. Forsyth, "Effectively unbiased FID and Inception score and where to
 * find them" (2020), for the bias.
 *
 * @module
 */

import { EigenvalueDecomposition, Matrix, SingularValueDecomposition } from "ml-matrix";

/**
 * A Gaussian fitted to features: plain data in float64, which may be kept as the reference of a data set.
 *
 * @category Metrics
 */
export interface FeatureMoments {
  /** Number n of feature vectors that were seen. */
  readonly count: number;
  /** mu, length d, in the unit of the features. */
  readonly mean: Float64Array;
  /** The unbiased covariance S, d·d numbers row by row, in the square of the features' unit. */
  readonly covariance: Float64Array;
}

/**
 * Mean and unbiased covariance of feature vectors, in float64 and in two passes, so that a mean far from zero costs
 * no digits.
 *
 * ```text
 *   mu = 1/n Σᵢ fᵢ        S = 1/(n − 1) Σᵢ (fᵢ − mu)(fᵢ − mu)ᵀ
 * ```
 *
 * @category Metrics
 * @param features n feature vectors, shape [n, d] row by row; any n ≥ 2, though S has rank n − 1 at most.
 * @param dimension d, the length of one feature vector.
 * @returns The moments.
 * @throws {RangeError} If the dimension is not a whole number of at least 1, if the features are not a whole number
 * of vectors, fewer than two, or not finite.
 *
 * @example Three points in the plane
 * ```ts
 * import { moments } from "@tweedie/tweedie/metric";
 * import assert from "node:assert/strict";
 *
 * const { mean, covariance } = moments(Float32Array.of(0, 0, 3, 0, 0, 6), 2);
 * assert.deepEqual([...mean], [1, 2]);
 * assert.deepEqual([...covariance], [3, -3, -3, 12]);
 * ```
 */
export function moments(features: Float32Array | Float64Array, dimension: number): FeatureMoments {
  const count = vectors(features, dimension);
  const mean = new Float64Array(dimension);
  features.forEach((value, i) => mean[i % dimension]! += value / count);
  return { count, mean, covariance: scatter(features, mean).map((sum) => sum / (count - 1)) };
}

/** The number of feature vectors, once they are known to be usable. */
function vectors(features: Float32Array | Float64Array, dimension: number): number {
  const refuse = (what: string) => new RangeError(`Cannot take moments: ${what}`);
  if (!Number.isSafeInteger(dimension) || dimension < 1) {
    throw refuse(`dimension must be a whole number of at least 1, got ${dimension}`);
  }
  const count = features.length / dimension,
    fault = features.findIndex((value) => !Number.isFinite(value));
  if (!Number.isInteger(count)) {
    throw refuse(
      `features must be whole vectors of ${dimension} numbers, got ${features.length} numbers`,
    );
  }
  if (count < 2) throw refuse(`features must hold at least 2 vectors, got ${count}`);
  if (fault >= 0) {
    throw refuse(
      `features must be finite, got ${features[fault]} in vector ${Math.floor(fault / dimension)}`,
    );
  }
  return count;
}

/** Σᵢ (fᵢ − mu)(fᵢ − mu)ᵀ, row by row. */
function scatter(features: Float32Array | Float64Array, mean: Float64Array): Float64Array {
  const d = mean.length, sums = new Float64Array(d * d), centred = new Float64Array(d);
  for (let start = 0; start < features.length; start += d) {
    for (let j = 0; j < d; j++) centred[j] = features[start + j]! - mean[j]!;
    for (let j = 0; j < d; j++) {
      for (let k = 0; k <= j; k++) sums[j * d + k]! += centred[j]! * centred[k]!;
    }
  }
  for (let j = 0; j < d; j++) for (let k = 0; k < j; k++) sums[k * d + j] = sums[j * d + k]!;
  return sums;
}

/**
 * The squared Fréchet (2-Wasserstein) distance between two Gaussians, which is the number that FID reports.
 *
 * Costs O(d³): about half a second on one CPU core at d = 256 and five seconds at 512.
 *
 * @category Metrics
 * @param a FeatureMoments of one sample.
 * @param b FeatureMoments of the other, of the same dimension. The order does not matter.
 * @returns The distance, at least 0, in the square of the features' unit; 0, up to rounding, when the moments agree.
 * @throws {RangeError} If the dimensions differ, a mean is not finite, or a covariance is not d·d finite numbers, symmetric and
 * positive semidefinite. Both to a millionth of the largest variance, which is what moments kept in float32 keep.
 *
 * @example Two Gaussians on the line: (mu1 − mu2)² + (sd1 − sd2)²
 * ```ts
 * import { frechet } from "@tweedie/tweedie";
 * import assert from "node:assert/strict";
 *
 * const line = (mean: number, deviation: number) =>
 *   ({ count: 100, mean: Float64Array.of(mean), covariance: Float64Array.of(deviation ** 2) });
 * assert.ok(Math.abs(frechet(line(1, 2), line(4, 6)) - (3 ** 2 + 4 ** 2)) < 1e-12);
 * ```
 */
export function frechet(a: FeatureMoments, b: FeatureMoments): number {
  const s1 = covariance(a), s2 = covariance(b);
  if (s1.rows !== s2.rows) {
    throw new RangeError(
      `Cannot compare moments: b must have dimension ${s1.rows}, got ${s2.rows}`,
    );
  }
  const means = a.mean.reduce((sum, mean, i) => sum + (mean - b.mean[i]!) ** 2, 0);
  // Never negative but for rounding, which is all that the maximum removes.
  return means + Math.max(0, s1.trace() + s2.trace() - 2 * nuclear(root(s2).mmul(root(s1))));
}

/** Share of the largest variance that rounding may have changed: covariances are added up, and kept, in float32 too. */
const slack = 1e-6;

/** The covariance as a matrix, once it is known to be one; exactly symmetric. */
function covariance({ mean, covariance }: FeatureMoments): Matrix {
  const d = mean.length,
    refuse = (wanted: string, got: string) =>
      new RangeError(`Cannot compare moments: covariance must be ${wanted}, got ${got}`);
  if (d === 0 || covariance.length !== d * d) {
    throw refuse(`${d} by ${d} with at least one row`, `${covariance.length} numbers`);
  }
  const fault = covariance.find((value) => !Number.isFinite(value));
  if (fault !== undefined) throw refuse("finite", `${fault}`);
  const strange = mean.find((value) => !Number.isFinite(value));
  if (strange !== undefined) {
    throw new RangeError(`Cannot compare moments: mean must be finite, got ${strange}`);
  }
  const matrix = Matrix.from1DArray(d, d, covariance), mirrored = matrix.transpose();
  const within = slack * Math.max(...matrix.diagonal().map(Math.abs));
  if (!(Matrix.sub(matrix, mirrored).abs().max() <= within)) {
    throw refuse("symmetric", "one that is not");
  }
  return Matrix.add(matrix, mirrored).mul(0.5);
}

/** The nuclear norm: the sum of the singular values. */
function nuclear(matrix: Matrix): number {
  const options = { computeLeftSingularVectors: false, computeRightSingularVectors: false };
  return new SingularValueDecomposition(matrix, options).diagonal.reduce(
    (sum, value) => sum + value,
    0,
  );
}

/** The symmetric square root V·diag(√λ)·Vᵀ of a positive semidefinite matrix V·diag(λ)·Vᵀ. */
function root(matrix: Matrix): Matrix {
  const { realEigenvalues: values, eigenvectorMatrix: vectors } = new EigenvalueDecomposition(
    matrix,
    {
      assumeSymmetric: true,
    },
  );
  // A covariance of n ≤ d vectors has zero eigenvalues, which rounding may leave a little below zero.
  const floor = -slack * Math.max(...values), least = Math.min(...values);
  if (!(least >= floor)) {
    throw new RangeError(
      `Cannot compare moments: covariance must be positive semidefinite, got an eigenvalue of ${least}`,
    );
  }
  const roots = values.map((value) => Math.sqrt(Math.max(0, value)));
  return vectors.clone().mulRowVector(roots).mmul(vectors.transpose());
}

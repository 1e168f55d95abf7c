/**
 * Multivariate normal laws, N(μ, Σ): given by covariance or by precision, parted, conditioned and compared.
 *
 * ```text
 *   ln N(x; μ, Σ) = −½·‖W(x − μ)‖² + ln|W| − d/2·ln 2π        WᵀW = Σ⁻¹ = Λ
 *   x_a | x_b ~ N(μ_a + Σ_ab·Σ_bb⁻¹·(x_b − μ_b),  Σ_aa − Σ_ab·Σ_bb⁻¹·Σ_ba)        x_a ~ N(μ_a, Σ_aa)
 *   KL(p ‖ q) = ½·(tr Λ_q·Σ_p + ‖W_q·(μ_p − μ_q)‖² − d) + ln|W_p| − ln|W_q|
 * ```
 *
 * W, which makes white noise of x, is the inverse of the Cholesky factor of Σ, or the transpose of that of Λ.
 *
 * Source: C. Bishop, "Pattern recognition and machine learning" (2006), section 2.3, equations 2.43, 2.81, 2.82 and 2.98.
 *
 * @module
 */

import { CholeskyDecomposition, inverse, Matrix } from "ml-matrix";
import { notFinite, refusal } from "../../tensor/check/check.ts";
import { decoded, is, needed, type Rules } from "../../tensor/check/decode.ts";
import type { Key } from "../../tensor/key.ts";
import { doubles } from "../../tensor/random.ts";
import type { Density, Rows, Vector } from "./density.ts";

/**
 * A normal law on ℝᵈ. All that a density may have is closed.
 *
 * @category Densities
 */
export interface Normal extends Density<Vector> {
  /** ∇ ln p(x) = −Λ(x − μ), length d. */
  readonly gradient: (x: Vector) => Vector;
  /** ½·ln|2πe·Σ|, in nats. */
  readonly entropy: number;
  /** μ, length d. */
  readonly mean: Vector;
  /** Σ, d × d, positive definite. */
  readonly covariance: Rows;
  /** Λ = Σ⁻¹, d × d. */
  readonly precision: Rows;
}

/**
 * Parameters of {@link multivariateNormal}: a covariance or a precision, not both.
 *
 * @category Densities
 */
export interface NormalParameters {
  /** μ, length d ≥ 1. */
  readonly mean: Vector;
  /** Σ, symmetric and positive definite, d × d; a number v for v·I. */
  readonly covariance?: number | Rows;
  /** Λ = Σ⁻¹ in the same forms. */
  readonly precision?: number | Rows;
}

const making = "make a normal law";

const rules: Rules<NormalParameters> = {
  mean: needed(is("a list of finite numbers", (mean: unknown) => isVector(mean))),
  covariance: true,
  precision: true,
};

const isVector = (value: unknown): boolean =>
  Array.isArray(value) && value.length > 0 &&
  value.every((number) => typeof number === "number") && notFinite(value) === undefined;

/** Share of the geometric mean of two variances by which rounding may have made a matrix unsymmetric. */
const slack = 1e-9;

/** A symmetric matrix of d rows from what was given; exactly symmetric. */
function symmetric(action: string, name: string, value: number | Rows, d: number): Matrix {
  if (typeof value === "number" && Number.isFinite(value)) return Matrix.eye(d, d, value);
  if (
    !Array.isArray(value) || value.length !== d ||
    !value.every((r) => isVector(r) && r.length === d)
  ) {
    throw refusal(action, `${name} must be a number or ${d} rows of ${d} finite numbers`, value);
  }
  const fits = value.every((row: Vector, i) =>
    row.every((a, j) =>
      Math.abs(a - value[j]![i]!) <= slack * Math.sqrt(Math.abs(row[i]! * value[j]![j]!))
    )
  );
  if (!fits) throw refusal(action, `${name} must be symmetric`, value);
  return new Matrix(value.map((row: Vector, i) => row.map((a, j) => (a + value[j]![i]!) / 2)));
}

/** The Cholesky factor L of A = LLᵀ; refuses what is not positive definite. */
function factor(action: string, name: string, a: Matrix): Matrix {
  const cholesky = new CholeskyDecomposition(a);
  if (
    cholesky.isPositiveDefinite() &&
    notFinite(cholesky.lowerTriangularMatrix.to1DArray()) === undefined
  ) {
    return cholesky.lowerTriangularMatrix;
  }
  throw refusal(action, `${name} must be positive definite`, a.to2DArray());
}

/** Λ or Σ of a symmetric positive definite matrix, exactly symmetric. */
const symmetricInverse = (a: Matrix): Matrix => {
  const turned = inverse(a);
  return turned.add(turned.transpose()).mul(0.5);
};

/** Standard normal draws in float64 by Box–Muller, one pair of uniforms for two of them. */
export function whiteNoise(key: Key, count: number): Float64Array {
  const u = doubles(key, count + (count & 1));
  return Float64Array.from({ length: count }, (_, i) => {
    // The uniform under the logarithm is in (0, 1].
    const radius = Math.sqrt(-2 * Math.log(1 - u[i & ~1]!)), angle = 2 * Math.PI * u[i | 1]!;
    return radius * (i & 1 ? Math.sin(angle) : Math.cos(angle));
  });
}

const times = (a: Rows, x: Vector): number[] =>
  a.map((row) => row.reduce((sum, value, j) => sum + value * x[j]!, 0));

const minus = (x: Vector, y: Vector): number[] => x.map((value, i) => value - y[i]!);

/**
 * The normal law N(μ, Σ) on ℝᵈ (Bishop 2006, equation 2.43).
 *
 * @category Densities
 * @param parameters See {@link NormalParameters}.
 * @returns The law.
 * @throws {TypeError} If an option is unknown.
 * @throws {RangeError} If the mean is not of finite numbers, neither or both of covariance and precision are given, or the
 * matrix is not d × d, symmetric and positive definite.
 *
 * @example
 * ```ts
 * import { multivariateNormal } from "@tweedie/tweedie/energy";
 * import assert from "node:assert/strict";
 *
 * const law = multivariateNormal({ mean: [1, 0], covariance: [[2, 1], [1, 2]] });
 * assert.ok(Math.abs(law.logDensity([1, 0]) + Math.log(2 * Math.PI * Math.sqrt(3))) < 1e-15);
 * ```
 */
export function multivariateNormal(parameters: NormalParameters): Normal {
  const { mean, covariance, precision } = decoded(making, parameters, rules);
  if ((covariance === undefined) === (precision === undefined)) {
    const got = covariance === undefined ? "neither" : "both";
    throw new RangeError(
      `Cannot ${making}: one of covariance and precision must be given, got ${got}`,
    );
  }
  const name = precision === undefined ? "covariance" : "precision", d = mean.length;
  const given = symmetric(making, name, (covariance ?? precision)!, d),
    l = factor(making, name, given);
  const other = symmetricInverse(given).to2DArray(), own = given.to2DArray();
  const [whiten, colour] = precision === undefined
    ? [inverse(l).to2DArray(), l.to2DArray()]
    : [l.transpose().to2DArray(), inverse(l).transpose().to2DArray()];
  return lawOf([...mean], {
    whiten,
    colour,
    covariance: precision === undefined ? own : other,
    precision: precision === undefined ? other : own,
  });
}

/** W, W⁻¹, Σ and Λ of a normal law. */
interface Matrices {
  readonly whiten: Rows;
  readonly colour: Rows;
  readonly covariance: Rows;
  readonly precision: Rows;
}

function lawOf(mean: Vector, { whiten, colour, covariance, precision }: Matrices): Normal {
  const d = mean.length;
  const logW = whiten.reduce((sum, row, i) => sum + Math.log(row[i]!), 0);
  const constant = logW - d / 2 * Math.log(2 * Math.PI);
  const away = (x: Vector): number[] => {
    if (x.length === d) return minus(x, mean);
    throw refusal("evaluate a normal law", `x must be of length ${d}`, x.length);
  };
  return {
    mean,
    covariance,
    precision,
    entropy: d / 2 - constant,
    logDensity: (x) => constant - times(whiten, away(x)).reduce((sum, z) => sum + z ** 2, 0) / 2,
    gradient: (x) => times(precision, away(x)).map((value) => -value),
    draw: (key, count) => {
      const z = whiteNoise(key, count * d);
      return Array.from(
        { length: count },
        (_, i) =>
          times(colour, [...z.subarray(i * d, (i + 1) * d)]).map((value, j) => mean[j]! + value),
      );
    },
  };
}

/**
 * The relative entropy of two normal laws, KL(p ‖ q) = ∫ p·ln(p/q), in closed form.
 *
 * @category Densities
 * @param p The first law.
 * @param q The second, of the same dimension.
 * @returns Nats, at least 0 but for rounding.
 * @throws {RangeError} If the dimensions differ.
 *
 * @example A shift by one standard deviation is half a nat
 * ```ts
 * import { multivariateNormal, normalDivergence } from "@tweedie/tweedie/energy";
 * import assert from "node:assert/strict";
 *
 * const at = (mean: number) => multivariateNormal({ mean: [mean], covariance: 4 });
 * assert.equal(normalDivergence(at(2), at(0)), 0.5);
 * ```
 */
export function normalDivergence(p: Normal, q: Normal): number {
  const d = p.mean.length;
  if (q.mean.length !== d) {
    throw refusal("compare normal laws", `q must be of dimension ${d}`, q.mean.length);
  }
  const trace = q.precision.reduce((sum, row, i) => sum + times([row], p.covariance[i]!)[0]!, 0);
  const gap = minus(p.mean, q.mean);
  const square = times(q.precision, gap).reduce((sum, value, i) => sum + value * gap[i]!, 0);
  return (trace + square - d) / 2 + q.entropy - p.entropy;
}

/** The part of a matrix in some rows and columns. */
const part = (a: Rows, rows: readonly number[], columns: readonly number[]): Matrix =>
  new Matrix(rows.map((i) => columns.map((j) => a[i]![j]!)));

/** Throws unless the numbers are different indices of coordinates, at least one. */
function checkIndices(action: string, indices: readonly number[], d: number): void {
  const fit = indices.every((i) => Number.isSafeInteger(i) && i >= 0 && i < d);
  if (fit && indices.length > 0 && new Set(indices).size === indices.length) return;
  throw refusal(action, `indices must be different whole numbers in [0, ${d})`, indices);
}

/**
 * The law of some coordinates, N(μ_a, Σ_aa) (Bishop 2006, equation 2.98).
 *
 * @category Densities
 * @param law The law of all of them.
 * @param indices a, the coordinates to keep, in the order wanted.
 * @returns Their law.
 * @throws {RangeError} If the indices are not different ones of the law.
 *
 * @example
 * ```ts
 * import { multivariateNormal, normalMarginal } from "@tweedie/tweedie/energy";
 * import assert from "node:assert/strict";
 *
 * const law = multivariateNormal({ mean: [1, 2], covariance: [[2, 1], [1, 3]] });
 * assert.deepEqual(normalMarginal(law, [1]).covariance, [[3]]);
 * ```
 */
export function normalMarginal(law: Normal, indices: readonly number[]): Normal {
  checkIndices("take a marginal", indices, law.mean.length);
  return multivariateNormal({
    mean: indices.map((i) => law.mean[i]!),
    covariance: part(law.covariance, indices, indices).to2DArray(),
  });
}

/**
 * What is known of a point: the coordinates b, and their values.
 *
 * @category Densities
 */
export interface Known {
  /** b, the coordinates that are known, not all of them. */
  readonly indices: readonly number[];
  /** x_b, one for each. */
  readonly values: Vector;
}

/**
 * The law of the other coordinates given some (Bishop 2006, equations 2.81 and 2.82).
 *
 * @category Densities
 * @param law The law of all of them.
 * @param known Which are known, and what they are.
 * @returns The law of those that are not, in their order.
 * @throws {RangeError} If the indices are not different ones of the law, are all of them, or the values are not as many.
 *
 * @example
 * ```ts
 * import { multivariateNormal, normalConditional } from "@tweedie/tweedie/energy";
 * import assert from "node:assert/strict";
 *
 * const law = multivariateNormal({ mean: [0, 0], covariance: [[2, 1], [1, 2]] });
 * const { mean, covariance } = normalConditional(law, { indices: [1], values: [4] });
 * assert.deepEqual([mean, covariance], [[2], [[1.5]]]);
 * ```
 */
export function normalConditional(law: Normal, { indices: b, values }: Known): Normal {
  const action = "condition a normal law", d = law.mean.length;
  checkIndices(action, b, d);
  if (b.length === d) throw refusal(action, `indices must leave one of ${d} coordinates`, b);
  if (!isVector(values) || values.length !== b.length) {
    throw refusal(action, `values must be ${b.length} finite numbers`, values);
  }
  const a = law.mean.map((_, i) => i).filter((i) => !b.includes(i));
  const cross = part(law.covariance, a, b);
  const gain = cross.mmul(symmetricInverse(part(law.covariance, b, b)));
  const shift = times(gain.to2DArray(), values.map((x, k) => x - law.mean[b[k]!]!));
  return multivariateNormal({
    mean: a.map((i, k) => law.mean[i]! + shift[k]!),
    covariance: part(law.covariance, a, a).sub(gain.mmul(cross.transpose())).to2DArray(),
  });
}

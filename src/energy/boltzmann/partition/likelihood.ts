/**
 * Likelihoods of small Boltzmann machines exactly, on plain numbers in float64, and their gradient.
 *
 * ```text
 *   ln p(x) = −F(x) − ln Z
 *   ∂ ln p(x)/∂θ = E[−∂E/∂θ | x] − E[−∂E/∂θ]                   so for W: E[xhᵀ | x] − E[xhᵀ]
 * ```
 *
 * The likelihood is that of x alone: h is never seen.
 *
 * @module
 */

import { softplus } from "../../../noise/schedule/guard.ts";
import { checkOptions, notFinite, refusal } from "../../../tensor/check/check.ts";
import {
  checkValues,
  halves,
  type PartitionOptions,
  type RbmValues,
  sigmoid,
  total,
  visited,
} from "./exact.ts";

/** The rows of visible units that numbers are. */
function rowsOf(action: string, { visible }: RbmValues, x: ArrayLike<number>): number {
  const count = x.length / visible.length;
  if (!Number.isInteger(count) || count < 1) {
    throw refusal(action, `x must be rows of ${visible.length} numbers`, x.length);
  }
  const got = notFinite(x);
  if (got !== undefined) throw refusal(action, "x must be finite", got);
  return count;
}

/** c + Wᵀ(x/σ) and the energy of the visible units alone, of the row that begins at `from`. */
function row(rbm: RbmValues, x: ArrayLike<number>, from: number) {
  const { weights, visible, hidden, logVariance } = rbm, m = hidden.length;
  const inputs = Float64Array.from(hidden), unit = new Float64Array(visible.length);
  let energy = 0;
  for (let i = 0; i < visible.length; i++) {
    const xi = x[from + i]!, scale = logVariance ? Math.exp(-logVariance[i]! / 2) : 1;
    energy += logVariance ? ((xi - visible[i]!) * scale) ** 2 / 2 : -visible[i]! * xi;
    unit[i] = xi * scale;
    if (unit[i] === 0) continue;
    for (let j = 0; j < m; j++) inputs[j]! += unit[i]! * weights[i * m + j]!;
  }
  return { inputs, unit, energy };
}

/**
 * ln p(x) of rows of visible units, exactly.
 *
 * @category Boltzmann machines
 * @param rbm The parameters.
 * @param x Rows of n numbers, one after the other.
 * @param options ln Z, where it is known already or estimated; the most states to go through for it otherwise.
 * @returns Nats, one for each row; of Gaussian units the density's logarithm.
 * @throws {RangeError} As {@link logPartition}; if x is not of rows of n finite numbers.
 *
 * @example The law of two binary units sums to 1
 * ```ts
 * import { logLikelihoods } from "@tweedie/tweedie/energy";
 * import assert from "node:assert/strict";
 *
 * const rbm = { weights: Float64Array.of(1, -2), visible: Float64Array.of(0.5, 0), hidden: Float64Array.of(1) };
 * const p = logLikelihoods(rbm, [0, 0, 0, 1, 1, 0, 1, 1]).map(Math.exp);
 * assert.ok(Math.abs(p.reduce((a, b) => a + b) - 1) < 1e-12);
 * ```
 */
export function logLikelihoods(
  rbm: RbmValues,
  x: ArrayLike<number>,
  options: PartitionOptions & { readonly logZ?: number } = {},
): Float64Array {
  const action = "find likelihoods";
  checkOptions(action, options, { most: true, logZ: true });
  const { logZ, ...sums } = options;
  checkValues(action, rbm, logZ === undefined ? sums : { most: Infinity });
  const count = rowsOf(action, rbm, x), all = logZ ?? total(halves(rbm));
  return Float64Array.from({ length: count }, (_, r) => {
    const { inputs, energy } = row(rbm, x, r * rbm.visible.length);
    return inputs.reduce((sum, input) => sum + softplus(input), -energy) - all;
  });
}

/** Adds share·(−∂E/∂θ) at given x/σ and means of h, with E[(x_i − b_i)²] beside the square of the mean. */
function added(
  sums: RbmValues,
  rbm: RbmValues,
  { unit, hidden, spread, share }: {
    readonly unit: Float64Array;
    readonly hidden: ArrayLike<number>;
    /** Variance of x/σ. */
    readonly spread: number;
    readonly share: number;
  },
): void {
  const { weights, visible, logVariance } = rbm, m = hidden.length;
  for (let j = 0; j < m; j++) sums.hidden[j]! += share * hidden[j]!;
  for (let i = 0; i < unit.length; i++) {
    let told = 0;
    for (let j = 0; j < m; j++) {
      sums.weights[i * m + j]! += share * unit[i]! * hidden[j]!;
      told += weights[i * m + j]! * hidden[j]!;
    }
    if (logVariance === undefined) sums.visible[i]! += share * unit[i]!;
    else {
      const scale = Math.exp(-logVariance[i]! / 2), apart = unit[i]! - visible[i]! * scale;
      sums.visible[i]! += share * apart * scale;
      sums.logVariance![i]! += share * (apart ** 2 + spread - unit[i]! * told) / 2;
    }
  }
}

const zeros = (rbm: RbmValues): RbmValues => ({
  weights: new Float64Array(rbm.weights.length),
  visible: new Float64Array(rbm.visible.length),
  hidden: new Float64Array(rbm.hidden.length),
  ...(rbm.logVariance && { logVariance: new Float64Array(rbm.logVariance.length) }),
});

/**
 * E[−∂E/∂θ] under the machine's own law, exactly: of W it is E[xhᵀ], of b E[x], of c E[h], for binary units.
 *
 * @category Boltzmann machines
 * @param rbm The parameters.
 * @param options The most states to go through.
 * @returns The expectations, laid out as the parameters.
 * @throws {RangeError} As {@link logPartition}.
 *
 * @example Two units that pull each other
 * ```ts
 * import { modelExpectations } from "@tweedie/tweedie/energy";
 * import assert from "node:assert/strict";
 *
 * const rbm = { weights: Float64Array.of(1), visible: Float64Array.of(0), hidden: Float64Array.of(0) };
 * const { weights } = modelExpectations(rbm);
 * assert.ok(Math.abs(weights[0]! - Math.E / (3 + Math.E)) < 1e-12);
 * ```
 */
export function modelExpectations(rbm: RbmValues, options: PartitionOptions = {}): RbmValues {
  const action = "find expectations";
  checkOptions(action, options, { most: true });
  checkValues(action, rbm, options);
  const parts = halves(rbm), logZ = total(parts), sums = zeros(rbm);
  visited(parts, (units, told, log) => {
    const share = Math.exp(log - logZ), means = told.map((each, i) => parts.summed.mean(i, each));
    const [unit, hidden] = parts.layer === "hidden"
      ? [means, units]
      : [Float64Array.from(units), means];
    added(sums, rbm, { unit, hidden, spread: rbm.logVariance ? 1 : 0, share });
  });
  return sums;
}

/**
 * E[−∂E/∂θ | x], the mean over rows of visible units.
 *
 * @category Boltzmann machines
 * @param rbm The parameters.
 * @param x Rows of n numbers, one after the other.
 * @returns The means, laid out as the parameters.
 * @throws {RangeError} If x is not of rows of n finite numbers.
 *
 * @example
 * ```ts
 * import { dataExpectations } from "@tweedie/tweedie/energy";
 * import assert from "node:assert/strict";
 *
 * const rbm = { weights: Float64Array.of(1), visible: Float64Array.of(0), hidden: Float64Array.of(0) };
 * const { weights } = dataExpectations(rbm, [1, 0]);
 * assert.ok(Math.abs(weights[0]! - 0.5 / (1 + Math.exp(-1))) < 1e-12);
 * ```
 */
export function dataExpectations(rbm: RbmValues, x: ArrayLike<number>): RbmValues {
  const action = "find expectations";
  checkValues(action, rbm, { most: Infinity });
  const count = rowsOf(action, rbm, x), sums = zeros(rbm);
  for (let r = 0; r < count; r++) {
    const { inputs, unit } = row(rbm, x, r * rbm.visible.length);
    added(sums, rbm, { unit, hidden: inputs.map(sigmoid), spread: 0, share: 1 / count });
  }
  return sums;
}

/**
 * The gradient of the mean of ln p(x) over rows, exactly: {@link dataExpectations} less {@link modelExpectations}. It points
 * to where the likelihood grows. The likelihood is that of x, as h is never seen.
 *
 * @category Boltzmann machines
 * @param rbm The parameters.
 * @param x Rows of n numbers, one after the other.
 * @param options The most states to go through.
 * @returns The gradient, laid out as the parameters.
 * @throws {RangeError} As {@link logLikelihoods}.
 *
 * @example A step along it raises the likelihood
 * ```ts
 * import { likelihoodGradient, logLikelihoods } from "@tweedie/tweedie/energy";
 * import assert from "node:assert/strict";
 *
 * const rbm = { weights: Float64Array.of(1), visible: Float64Array.of(0), hidden: Float64Array.of(0) };
 * const x = [1, 1, 0], { visible } = likelihoodGradient(rbm, x), moved = { ...rbm, visible: visible.map((g) => 0.1 * g) };
 * const sum = (of: typeof rbm) => logLikelihoods(of, x).reduce((a, b) => a + b);
 * assert.ok(sum(moved) > sum(rbm));
 * ```
 */
export function likelihoodGradient(
  rbm: RbmValues,
  x: ArrayLike<number>,
  options: PartitionOptions = {},
): RbmValues {
  const data = dataExpectations(rbm, x), model = modelExpectations(rbm, options);
  const less = (a: Float64Array, b: Float64Array): Float64Array => a.map((v, i) => v - b[i]!);
  return {
    weights: less(data.weights, model.weights),
    visible: less(data.visible, model.visible),
    hidden: less(data.hidden, model.hidden),
    ...(data.logVariance && { logVariance: less(data.logVariance, model.logVariance!) }),
  };
}

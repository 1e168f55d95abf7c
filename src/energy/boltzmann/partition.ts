/**
 * Small Boltzmann machines exactly, on plain numbers in float64: ln Z, likelihoods and their gradient, by going through the states
 * of the smaller layer.
 *
 * ```text
 *   Z = Σ_h e^(cᵀh)·Π_i (1 + e^(b_i + (Wh)_i))            2^m terms of n factors, and alike over x: 2^n of m
 *   Z = Σ_h e^(cᵀh)·Π_i √(2π·σ_i²)·e^(b_i·s_i/σ_i + s_i²/2)     s = Wh, for Gaussian visible units
 *   ∂ ln p(x)/∂θ = E[−∂E/∂θ | x] − E[−∂E/∂θ]                   so for W: E[xhᵀ | x] − E[xhᵀ]
 * ```
 *
 * All 2^(n + m) states are never needed: the work grows exponentially with the smaller of n and m alone, and linearly with the other
 * (a lecture says "exponential in n and m"). States are visited in the order of Gray's code, in which one unit changes
 * at a time, so that the inputs of the other layer change by one row of the weights.
 *
 * @module
 */

import { softplus } from "../../noise/schedule/guard.ts";
import { checkOptions, notFinite, refusal } from "../../tensor/check/check.ts";
import type { Tensor } from "../../tensor/tensor.ts";
import { checkRbm, type Rbm } from "./rbm.ts";

/**
 * The parameters of a machine as plain numbers.
 *
 * @category Boltzmann machines
 */
export interface RbmValues {
  /** W, row by row: n·m numbers. */
  readonly weights: Float64Array;
  /** b, n numbers. */
  readonly visible: Float64Array;
  /** c, m numbers. */
  readonly hidden: Float64Array;
  /** ln σ², n numbers, of Gaussian visible units. Default: the visible units are binary. */
  readonly logVariance?: Float64Array;
}

/**
 * Reads the parameters of a machine.
 *
 * @category Boltzmann machines
 * @param rbm The parameters.
 * @returns They as numbers.
 * @throws {RangeError} If they do not fit together.
 */
export async function rbmValues(rbm: Rbm): Promise<RbmValues> {
  checkRbm("read a Boltzmann machine", rbm);
  const { weights, visible, hidden, logVariance } = rbm;
  const read = async (tensor: Tensor): Promise<Float64Array> =>
    Float64Array.from(await tensor.data());
  return {
    weights: await read(weights),
    visible: await read(visible),
    hidden: await read(hidden),
    ...(logVariance && { logVariance: await read(logVariance) }),
  };
}

/**
 * What an exact sum takes.
 *
 * @category Boltzmann machines
 */
export interface PartitionCost {
  /** The layer whose states are gone through. */
  readonly layer: "visible" | "hidden";
  /** How many states these are: 2 to the number of its units. */
  readonly states: number;
  /** How many factors are multiplied: a state has one for each unit of the other layer. About 10⁸ are done a second. */
  readonly operations: number;
}

/**
 * What an exact sum over a machine's states takes, before it is begun.
 *
 * @category Boltzmann machines
 * @param rbm The parameters.
 * @returns The layer, the number of its states, and the number of operations.
 *
 * @example 784 visible units cost as much as they are many, 20 hidden ones a million times that
 * ```ts
 * import { partitionCost } from "@tweedie/tweedie/energy";
 * import assert from "node:assert/strict";
 *
 * const [n, m] = [784, 20], of = (size: number) => new Float64Array(size);
 * assert.deepEqual(partitionCost({ weights: of(n * m), visible: of(n), hidden: of(m) }), {
 *   layer: "hidden",
 *   states: 2 ** 20,
 *   operations: 784 * 2 ** 20,
 * });
 * ```
 */
export function partitionCost({ visible, hidden, logVariance }: RbmValues): PartitionCost {
  const [n, m] = [visible.length, hidden.length];
  if (logVariance === undefined && n < m) {
    return { layer: "visible", states: 2 ** n, operations: m * 2 ** n };
  }
  return { layer: "hidden", states: 2 ** m, operations: n * 2 ** m };
}

/**
 * Options of exact sums.
 *
 * @category Boltzmann machines
 */
export interface PartitionOptions {
  /** The most states to go through. Default: 2²⁰. */
  readonly most?: number;
}

/** Refuses numbers that do not fit, and sums that would take too long. */
function checkValues(action: string, rbm: RbmValues, { most = 2 ** 20 }: PartitionOptions): void {
  const { weights, visible, hidden, logVariance } = rbm, [n, m] = [visible.length, hidden.length];
  if (weights.length !== n * m || n * m === 0) {
    throw refusal(action, `weights must be ${n}·${m} numbers`, weights.length);
  }
  if (logVariance !== undefined && logVariance.length !== n) {
    throw refusal(action, `logVariance must be ${n} numbers`, logVariance.length);
  }
  for (const [name, values] of Object.entries({ weights, visible, hidden, logVariance })) {
    const got = values && notFinite(values);
    if (got !== undefined) throw refusal(action, `${name} must be finite`, got);
  }
  const { layer, states, operations } = partitionCost(rbm);
  if (states <= most) return;
  throw new RangeError(
    `Cannot ${action}: the states of the ${layer} layer must be at most ${most}, got ${states}, ` +
      `which take ${operations.toExponential(1)} operations; annealedPartition estimates ln Z`,
  );
}

/** A unit of the layer that is summed over in closed form, by what the other layer tells it. */
interface Summed {
  /** ln of the sum or integral over the unit. */
  readonly log: (i: number, told: number) => number;
  /** E[x_i/σ_i], or of a binary unit E[x_i]. */
  readonly mean: (i: number, told: number) => number;
}

const sigmoid = (a: number): number => 1 / (1 + Math.exp(-a));

const binary = (bias: Float64Array): Summed => ({
  log: (i, told) => softplus(bias[i]! + told),
  mean: (i, told) => sigmoid(bias[i]! + told),
});

function gaussian(mean: Float64Array, logVariance: Float64Array): Summed {
  const unit = mean.map((b, i) => b * Math.exp(-logVariance[i]! / 2));
  const volume = logVariance.map((log) => (Math.log(2 * Math.PI) + log) / 2);
  return {
    log: (i, told) => volume[i]! + told * (unit[i]! + told / 2),
    mean: (i, told) => unit[i]! + told,
  };
}

/** The layer whose states are gone through, and the other. */
interface Halves {
  readonly layer: "visible" | "hidden";
  /** Biases of the units that are gone through. */
  readonly bias: Float64Array;
  /** What each of them, when it is 1, tells each unit of the other layer. */
  readonly rows: readonly Float64Array[];
  readonly summed: Summed;
  /** e^b of the other layer, where that and what it is told stay within the floats. */
  readonly factors: Float64Array | undefined;
}

function halves(rbm: RbmValues): Halves {
  const { weights, visible, hidden, logVariance } = rbm, m = hidden.length;
  const { layer } = partitionCost(rbm);
  if (layer === "visible") {
    const rows = Array.from(visible, (_, i) => weights.subarray(i * m, (i + 1) * m));
    return { layer, bias: visible, rows, summed: binary(hidden), factors: factorsOf(hidden, rows) };
  }
  const rows = Array.from(hidden, (_, j) => visible.map((_, i) => weights[i * m + j]!));
  const summed = logVariance ? gaussian(visible, logVariance) : binary(visible);
  const factors = logVariance ? undefined : factorsOf(visible, rows);
  return { layer, bias: hidden, rows, summed, factors };
}

/** What is done at a state: its units, what they tell the others, and ln of its weight, the others summed over. */
type Visit = (units: Uint8Array, told: Float64Array, log: number) => void;

/** The unit that changes at a step in the order of Gray's code: the number of the step's lowest 1. */
const changed = (step: number): number => 31 - Math.clz32(step & -step);

/** Goes through all states of a layer in the order of Gray's code. */
function visited({ bias, rows, summed }: Halves, visit: Visit): void {
  const units = new Uint8Array(bias.length), told = new Float64Array(rows[0]!.length);
  let own = 0;
  for (let state = 0;;) {
    let log = own;
    for (let i = 0; i < told.length; i++) log += summed.log(i, told[i]!);
    visit(units, told, log);
    if (++state === 2 ** bias.length) return;
    const unit = changed(state), sign = units[unit] === 1 ? -1 : 1, row = rows[unit]!;
    units[unit]! ^= 1;
    own += sign * bias[unit]!;
    for (let i = 0; i < told.length; i++) told[i]! += sign * row[i]!;
  }
}

/** ln Σ e^log of numbers as they come. */
function logSum() {
  let most = -Infinity, sum = 0;
  const add = (log: number): void => {
    if (log <= most) sum += Math.exp(log - most);
    else {
      sum = sum * Math.exp(most - log) + 1;
      most = log;
    }
  };
  return { add, value: (): number => most + Math.log(sum) };
}

/** ln Z. */
function total(parts: Halves): number {
  if (parts.factors !== undefined) return factored(parts, parts.factors);
  const sum = logSum();
  visited(parts, (_, __, log) => sum.add(log));
  return sum.value();
}

/**
 * ln Z of binary units by products of 1 + e^(b_i + told_i): each change of a unit multiplies the exponentials by those of its row, so
 * that none is taken on the way; twenty times as fast.
 */
function factored({ bias, rows }: Halves, start: Float64Array): number {
  const up = rows.map((row) => row.map(Math.exp)), down = up.map((row) => row.map((f) => 1 / f));
  const units = new Uint8Array(bias.length), e = start.slice(), sum = logSum();
  let own = 0;
  for (let state = 0;;) {
    let log = own, product = 1;
    for (let i = 0; i < e.length; i++) {
      product *= 1 + e[i]!;
      if (product < 1e30) continue;
      log += Math.log(product);
      product = 1;
    }
    sum.add(log + Math.log(product));
    if (++state === 2 ** bias.length) return sum.value();
    const unit = changed(state), isOn = units[unit] === 1;
    const factors = isOn ? down[unit]! : up[unit]!;
    units[unit]! ^= 1;
    own += isOn ? -bias[unit]! : bias[unit]!;
    for (let i = 0; i < e.length; i++) e[i]! *= factors[i]!;
  }
}

/** e^b of the units that are summed over, unless what they are told could leave the floats. */
function factorsOf(bias: Float64Array, rows: readonly Float64Array[]): Float64Array | undefined {
  const isSafe = bias.every((b, i) =>
    rows.reduce((sum, row) => sum + Math.abs(row[i]!), Math.abs(b)) < 500
  );
  return isSafe ? bias.map(Math.exp) : undefined;
}

/**
 * ln Z, exactly.
 *
 * @category Boltzmann machines
 * @param rbm The parameters.
 * @param options The most states to go through.
 * @returns ln Σ_x Σ_h e^(−E(x, h)), in nats, to float64.
 * @throws {RangeError} If the parameters do not fit together or are not finite, or the states are too many, with their number.
 *
 * @example Without weights all units are by themselves
 * ```ts
 * import { logPartition } from "@tweedie/tweedie/energy";
 * import assert from "node:assert/strict";
 *
 * const zeros = (size: number) => new Float64Array(size);
 * const logZ = logPartition({ weights: zeros(12), visible: zeros(4), hidden: zeros(3) });
 * assert.ok(Math.abs(logZ - 7 * Math.LN2) < 1e-12);
 * ```
 */
export function logPartition(rbm: RbmValues, options: PartitionOptions = {}): number {
  const action = "sum over all states";
  checkOptions(action, options, { most: true });
  checkValues(action, rbm, options);
  return total(halves(rbm));
}

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

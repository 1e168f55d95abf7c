/**
 * ln Z of small Boltzmann machines exactly, on plain numbers in float64, by going through the states of the smaller layer.
 *
 * ```text
 *   Z = Σ_h e^(cᵀh)·Π_i (1 + e^(b_i + (Wh)_i))            2^m terms of n factors, and alike over x: 2^n of m
 *   Z = Σ_h e^(cᵀh)·Π_i √(2π·σ_i²)·e^(b_i·s_i/σ_i + s_i²/2)     s = Wh, for Gaussian visible units
 * ```
 *
 * All 2^(n + m) states are never needed: the work grows exponentially with the smaller of n and m alone, and linearly with the other.
 * States are visited in the order of Gray's code, in which one unit changes
 * at a time, so that the inputs of the other layer change by one row of the weights.
 *
 * @module
 */

import { softplus } from "../../../noise/schedule/guard.ts";
import { checkOptions, notFinite, refusal } from "../../../tensor/check/check.ts";
import type { Tensor } from "../../../tensor/tensor.ts";
import { checkRbm, type Rbm } from "../rbm.ts";

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
 *
 * @example
 * ```ts
 * import { rbmValues } from "@tweedie/tweedie/energy";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import * as tf from "@tensorflow/tfjs-core";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const rbm = { weights: tf.tensor2d([[2]]), visible: tf.tensor1d([1]), hidden: tf.tensor1d([-1]) };
 * assert.deepEqual([...(await rbmValues(rbm)).visible], [1]);
 * ```
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
export function checkValues(
  action: string,
  rbm: RbmValues,
  { most = 2 ** 20 }: PartitionOptions,
): void {
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

/** 1/(1 + e^(−a)). */
export const sigmoid = (a: number): number => 1 / (1 + Math.exp(-a));

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
export interface Halves {
  readonly layer: "visible" | "hidden";
  /** Biases of the units that are gone through. */
  readonly bias: Float64Array;
  /** What each of them, when it is 1, tells each unit of the other layer. */
  readonly rows: readonly Float64Array[];
  readonly summed: Summed;
  /** e^b of the other layer, where that and what it is told stay within the floats. */
  readonly factors: Float64Array | undefined;
}

export function halves(rbm: RbmValues): Halves {
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
export function visited({ bias, rows, summed }: Halves, visit: Visit): void {
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
export function total(parts: Halves): number {
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

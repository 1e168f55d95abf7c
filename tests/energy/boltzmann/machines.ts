/**
 * Small Boltzmann machines, and all that can be said of them by going through all states of all units, from the energy alone.
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
import type { Rbm } from "../../../src/energy/boltzmann/rbm.ts";
import type { RbmValues } from "../../../src/energy/boltzmann/partition/exact.ts";
import { fold, key } from "../../../src/tensor/key.ts";
import { normals } from "../../../src/tensor/random.ts";

/** A machine of random parameters: the numbers are float32's, so that its tensors hold the same. */
export function machine(n: number, m: number, seed: number, spread = 1): RbmValues {
  const part = (name: string, size: number): Float64Array =>
    Float64Array.from(normals(fold(key(seed), name), size), (z) => Math.fround(spread * z));
  return { weights: part("W", n * m), visible: part("b", n), hidden: part("c", m) };
}

/** The same with Gaussian visible units. */
export const gaussianMachine = (n: number, m: number, seed: number, spread = 1): RbmValues => ({
  ...machine(n, m, seed, spread),
  logVariance: Float64Array.from(normals(fold(key(seed), "s"), n), (z) => Math.fround(z / 2)),
});

/** The tensors of numbers; the caller disposes of them. */
export const tensors = ({ weights, visible, hidden, logVariance }: RbmValues): Rbm => ({
  weights: tf.tensor2d(Float32Array.from(weights), [visible.length, hidden.length]),
  visible: tf.tensor1d(Float32Array.from(visible)),
  hidden: tf.tensor1d(Float32Array.from(hidden)),
  ...(logVariance && { logVariance: tf.tensor1d(Float32Array.from(logVariance)) }),
});

/** The bits of a number, the lowest first. */
export const bits = (state: number, size: number): number[] =>
  Array.from({ length: size }, (_, i) => (state >> i) & 1);

/** All states of some units. */
export const states = (size: number): number[][] =>
  Array.from({ length: 2 ** size }, (_, state) => bits(state, size));

/** E(x, h) = −xᵀWh − bᵀx − cᵀh, term by term. */
export function energy(
  { weights, visible, hidden }: RbmValues,
  x: readonly number[],
  h: readonly number[],
): number {
  let sum = 0;
  x.forEach((xi, i) => {
    sum -= visible[i]! * xi;
    h.forEach((hj, j) => sum -= xi * weights[i * hidden.length + j]! * hj);
  });
  h.forEach((hj, j) => sum -= hidden[j]! * hj);
  return sum;
}

/** ln Σ e^values. */
export function logSum(values: readonly number[]): number {
  const most = Math.max(...values);
  return most + Math.log(values.reduce((sum, value) => sum + Math.exp(value - most), 0));
}

/** Everything about a machine of few binary units, by all 2^(n + m) states. */
export function brute(rbm: RbmValues) {
  const xs = states(rbm.visible.length), hs = states(rbm.hidden.length);
  const joint = xs.map((x) => hs.map((h) => -energy(rbm, x, h)));
  const free = joint.map((row) => -logSum(row)), logZ = logSum(joint.flat());
  const p = free.map((f) => Math.exp(-f - logZ));
  const given = joint.map((row, s) => row.map((log) => Math.exp(log + free[s]!)));
  return { xs, hs, joint, free, logZ, p, given };
}

/** Rows as a tensor. */
export const rows = (values: readonly (readonly number[])[]): tf.Tensor2D =>
  tf.tensor2d(values as number[][]);

/**
 * Linear systems and determinants.
 *
 * Sources: M. Hestenes, E. Stiefel, "Methods of conjugate gradients for solving linear systems" (1952), section 3; G. Golub,
 * C. Van Loan, "Matrix computations" (4th ed. 2013), sections 3.2 and 3.4.
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
import { sampleAxes, type Tensor } from "../tensor/tensor.ts";

/**
 * u with A·u = b for a symmetric positive A, each sample by itself, in as many steps as told: no number is read, so that it can
 * be compiled.
 *
 * @param times A·p, shape of p; in operations that have a gradient, if one is taken.
 * @param b In A's range, shape [N, ...].
 * @param iterations Number of steps; as many as A has different eigenvalues are enough.
 * @returns u, shape of b. Called within a scope. Its gradient is another solution of the system, and goes through no step.
 */
export function conjugateGradients(
  times: (p: Tensor) => Tensor,
  b: Tensor,
  iterations: number,
): Tensor {
  // As A is symmetric, a gradient goes back through another solution, of any order, and not through the steps, which divide by
  // what is left of a residual.
  const inverse = (b: Tensor): Tensor =>
    tf.customGrad((...inputs) => ({
      value: descended(times, inputs[0] as Tensor, iterations),
      gradFunc: (dy: Tensor) => inverse(dy),
    }))(b);
  return inverse(b);
}

/** The steps of conjugate gradients from 0. */
function descended(times: (p: Tensor) => Tensor, b: Tensor, iterations: number): Tensor {
  let u = tf.zerosLike(b), rest = b, p = b, size = dots(b, b);
  for (let i = 0; i < iterations; i++) {
    const q = times(p), step = over(size, dots(p, q));
    u = tf.add(u, tf.mul(p, step));
    rest = tf.sub(rest, tf.mul(q, step));
    const next = dots(rest, rest);
    p = tf.add(rest, tf.mul(p, over(next, size)));
    size = next;
  }
  return u;
}

/** ⟨a, b⟩ of each sample, shape [N, 1, ...]. */
const dots = (a: Tensor, b: Tensor): Tensor => tf.sum(tf.mul(a, b), sampleAxes(a), true);

/** a/b, or 0 where both are nothing. */
const over = (a: Tensor, b: Tensor): Tensor => tf.div(a, tf.maximum(b, 1e-30));

/**
 * ln|det A| by Gaussian elimination with partial pivoting.
 *
 * @param a The rows of A, which are used up.
 * @returns The logarithm; −infinity where A is singular.
 */
export function logDeterminant(a: number[][]): number {
  let sum = 0;
  for (let k = 0; k < a.length; k++) {
    const best = a.slice(k).reduce(
      (b, row, i) => Math.abs(row[k]!) > Math.abs(a[b]![k]!) ? k + i : b,
      k,
    );
    [a[k], a[best]] = [a[best]!, a[k]!];
    const pivot = a[k]!;
    sum += Math.log(Math.abs(pivot[k]!));
    for (const row of a.slice(k + 1)) {
      const share = row[k]! / pivot[k]!;
      for (let j = k; j < a.length; j++) row[j]! -= share * pivot[j]!;
    }
  }
  return sum;
}

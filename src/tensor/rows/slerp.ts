/**
 * Spherical interpolation, for latents: between two draws of N(0, I), what lies on the line has less variance than either.
 *
 * Source: K. Shoemake, "Animating rotation with quaternion curves" (SIGGRAPH 1985), section 3.3.
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
import { atHand } from "../check/ready.ts";
import { notFinite, refusal } from "../check/check.ts";
import { scope } from "../scope.ts";
import type { Tensor } from "../tensor.ts";

/**
 * Spherical interpolation of latents, sample by sample: directions on the great circle, lengths on the line between theirs.
 *
 * ```text
 *   ((1 − u)·‖a‖ + u·‖b‖)·(cos phi·m + sin phi·d)      phi = (u − ½)·omega,   omega = 2·atan2(‖b̂ − â‖, ‖b̂ + â‖)
 *   â = a/‖a‖,   b̂ = b/‖b‖      m, d of length 1 along b̂ + â, the middle, and b̂ − â, which is perpendicular to it
 * ```
 *
 * It is Shoemake's (sin((1 − u)·omega)·â + sin(u·omega)·b̂)/sin omega, written so that nothing is divided by sin
 * omega, of which rounding leaves little at either pole. The mean of two independent draws of N(0, I) has half their variance, and no sampler's prior does; their
 * slerp has all of it.
 *
 * - Parallel ends: the line between them.
 * - Opposite ends, to a millionth: no great circle is shorter than the others, and it is the one through the axis on which a
 *   is least in size, the first such axis, its positive end. So there is an answer, the same on every backend, without reading
 *   a number back. A sample of one number has no circle: it goes through 0. Near to that, at an angle of pi − e, the direction
 *   is only as certain as the ends themselves: to 1e-7/e in float32.
 * - An end of length 0 has no direction, and takes the other's.
 * - An end that is not finite is refused where its numbers are at hand: on every backend but webgpu, where its sample is NaN and
 *   the others are untouched.
 *
 * @category Tensors
 * @param a At u = 0, shape [N, ...sample].
 * @param b At u = 1, shape of a.
 * @param u Share of the way, in [0, 1] or beyond; no unit.
 * @returns float32, shape of a. It is the scope's, or the caller's where there is none.
 * @throws {RangeError} If the shapes differ, u is not finite, or an end is not, where that can be seen.
 *
 * @example Half way between two axes
 * ```ts
 * import { slerp } from "@tweedie/tweedie";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import * as tf from "@tensorflow/tfjs-core";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const [x, y] = slerp(tf.tensor([[1, 0]]), tf.tensor([[0, 3]]), 0.5).dataSync(); // of length 2
 * assert.ok(Math.abs(x! - Math.SQRT2) < 1e-6 && Math.abs(y! - Math.SQRT2) < 1e-6);
 * ```
 */
export function slerp(a: Tensor, b: Tensor, u: number): Tensor {
  if (!tf.util.arraysEqual(a.shape, b.shape)) {
    throw new RangeError(`Cannot interpolate: b must be of shape [${a.shape}], got [${b.shape}]`);
  }
  if (!Number.isFinite(u)) {
    throw new RangeError(`Cannot interpolate: u must be a finite number, got ${u}`);
  }
  for (const [name, end] of Object.entries({ a, b })) {
    const wrong = notFinite(atHand(end) ?? []);
    if (wrong !== undefined) throw refusal("interpolate", `${name} must be finite`, wrong);
  }
  if (a.size === 0) return tf.cast(a, "float32");
  return scope(() => {
    const from = polar(a), to = polar(b);
    const start = orElse(from.direction, to.direction), end = orElse(to.direction, from.direction);
    const [across, middle] = atRightAngles(tf.sub(end, start), tf.add(end, start));
    const chord = length(across), rise = length(middle);
    const m = unit(tf.where(tf.greater(rise, 1e-6), middle, sideways(start)));
    const phi = tf.mul(tf.atan2(chord, rise), 2 * u - 1);
    const turned = unit(tf.add(tf.mul(m, tf.cos(phi)), tf.mul(unit(across), tf.sin(phi))));
    const size = tf.add(tf.mul(from.length, 1 - u), tf.mul(to.length, u));
    return tf.reshape(tf.mul(turned, size), a.shape);
  });
}

/** Samples in rows [N, D]: their lengths [N, 1] and directions; a row of zeros has the direction 0. */
function polar(x: Tensor): { readonly length: Tensor; readonly direction: Tensor } {
  const rows = tf.reshape(tf.cast(x, "float32"), [x.shape[0] ?? 1, -1]);
  // The greatest entry first, so that no square overflows or vanishes.
  const most = tf.max(tf.abs(rows), 1, true), scaled = tf.div(rows, nonzero(most));
  return { length: tf.mul(length(scaled), most), direction: unit(scaled) };
}

const length = (rows: Tensor): Tensor => tf.sqrt(tf.sum(tf.square(rows), 1, true));

/** Divisors with 1 in the place of 0. */
const nonzero = (x: Tensor): Tensor => tf.where(tf.equal(x, 0), tf.onesLike(x), x);

const unit = (rows: Tensor): Tensor => tf.div(rows, nonzero(length(rows)));

/** Rows of the first, and of the second where those are 0. */
const orElse = (rows: Tensor, others: Tensor): Tensor =>
  tf.where(tf.equal(length(rows), 0), others, rows);

/** Rows that are perpendicular but for rounding, made so: the longer is the surer of its direction, and the other gives way. */
function atRightAngles(a: Tensor, b: Tensor): readonly [Tensor, Tensor] {
  const isLonger = tf.greater(length(a), length(b));
  return [
    tf.where(isLonger, a, perpendicular(a, unit(b))),
    tf.where(isLonger, perpendicular(b, unit(a)), b),
  ];
}

/** What is left of rows without their parts along unit vectors. */
const perpendicular = (rows: Tensor, along: Tensor): Tensor =>
  tf.sub(rows, tf.mul(along, tf.sum(tf.mul(rows, along), 1, true)));

/** The axis on which each row of length 1 is least in size, made perpendicular to it; of several the first. */
function sideways(rows: Tensor): Tensor {
  const count = rows.shape[1]!, size = tf.abs(rows), place = tf.range(0, count);
  const isLeast = tf.equal(size, tf.min(size, 1, true));
  const first = tf.min(tf.where(isLeast, tf.mul(tf.onesLike(rows), place), count), 1, true);
  return perpendicular(tf.cast(tf.equal(place, first), "float32"), rows);
}

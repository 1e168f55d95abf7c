/**
 * Editing: generation that starts from data, part of the way to noise.
 *
 * ```text
 *   SDEdit    x_t0 = alpha·guide + sigma·z, then any sampler from t0 down
 *   encode, interpolate, decode    x_T of each datum by the ODE, slerp between them, the ODE back
 * ```
 *
 * The more noise, the less of the guide is left: t0 trades faithfulness for realism.
 *
 * Sources: C. Meng et al., "SDEdit" (ICLR 2022), algorithm 1; K. Shoemake, "Animating rotation with quaternion curves"
 * (SIGGRAPH 1985), section 3.3, for slerp.
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
import { jump } from "../noise/forward.ts";
import { type Env, noise, type State } from "../sample/chain.ts";
import { checkedTime } from "../sample/run/fit.ts";
import { checkOptions, type Known, shown } from "../tensor/check.ts";

/** Options of {@link edited}. */
export interface EditOptions {
  /** t0, the time to start from. Default: where the sampler starts. */
  readonly t?: number;
  /** Number of transitions that count as made, for a sampler in the middle of its grid. Default: 0. */
  readonly step?: number;
}

/**
 * The start of an edit: a draw of q(x_t | x_0) of the data given (Meng et al. 2022, algorithm 1). Run it with a sampler whose
 * grid starts at t, such as `ddim(schedule, { from: t, steps })`.
 *
 * @param x0 The guide, shape [N, ...sample]. The caller's.
 * @param options The time.
 * @returns A start for `run`.
 * @throws {TypeError} If x0 is no tensor; while run, if neither t nor the sampler's first time is known.
 * @throws {RangeError} While run: if t is not a time of the schedule, or not that at which the sampler starts.
 *
 * @example Half-way noise and back
 * ```ts
 * import { ddim, edited, gaussian, key, last, linear, run } from "@tweedie/tweedie";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import * as tf from "@tensorflow/tfjs-core";
 * import { pipe } from "fp-ts/lib/function.js";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const schedule = linear(), model = gaussian(schedule), guide = tf.tensor([[0.5]]);
 * const sampler = ddim(schedule, { from: 400, steps: 10 });
 * const { t } = await last(pipe(sampler, run(edited(guide, { t: 400 }), { model, key: key(0) })));
 * assert.equal(t, 0);
 * ```
 */
export function edited(
  x0: tf.Tensor,
  options: EditOptions = {},
): (env: Env, from?: number) => State {
  checkOptions("edit", options, { t: true, step: true } satisfies Known<EditOptions>);
  if (!(x0 instanceof tf.Tensor)) {
    throw new TypeError(`Cannot edit: x0 must be a tensor, got ${shown(x0)}`);
  }
  const { step = 0 } = options;
  return (env, from) => {
    if (x0.isDisposed) {
      throw new TypeError("Cannot edit: x0 must be alive, got one that is disposed of");
    }
    const { schedule } = env.model, t = checkedTime("edit", schedule, options.t ?? from ?? NaN);
    const z = noise(env, { x: x0, t, step }, "edit"), x = jump(x0, schedule.at(t), z);
    z.dispose();
    return { x, t, step };
  };
}

/**
 * Spherical interpolation of latents, sample by sample, which keeps the norm where both ends have the same:
 *
 * ```text
 *   (sin((1 − u)·omega)·a + sin(u·omega)·b) / sin omega      cos omega = ⟨a, b⟩/(‖a‖·‖b‖)
 * ```
 *
 * The mean of two independent draws of N(0, I) has half their variance, and no sampler's prior does; their slerp has all of
 * it. Where the two are parallel it is linear.
 *
 * @param a At u = 0, shape [N, ...sample].
 * @param b At u = 1, shape of a.
 * @param u Share of the way, in [0, 1] or beyond; no unit.
 * @returns Shape of a. The caller disposes of it.
 * @throws {RangeError} If the shapes differ, or u is not finite.
 *
 * @example Half way between two axes
 * ```ts
 * import { slerp } from "@tweedie/tweedie";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import * as tf from "@tensorflow/tfjs-core";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const [x, y] = slerp(tf.tensor([[1, 0]]), tf.tensor([[0, 1]]), 0.5).dataSync();
 * assert.ok(Math.abs(x! - Math.SQRT1_2) < 1e-6 && Math.abs(y! - Math.SQRT1_2) < 1e-6);
 * ```
 */
export function slerp(a: tf.Tensor, b: tf.Tensor, u: number): tf.Tensor {
  if (!tf.util.arraysEqual(a.shape, b.shape)) {
    throw new RangeError(`Cannot interpolate: b must be of shape [${a.shape}], got [${b.shape}]`);
  }
  if (!Number.isFinite(u)) {
    throw new RangeError(`Cannot interpolate: u must be a finite number, got ${u}`);
  }
  return tf.tidy(() => {
    const along = Array.from({ length: a.rank - 1 }, (_, i) => i + 1);
    const dot = (x: tf.Tensor, y: tf.Tensor): tf.Tensor => tf.sum(tf.mul(x, y), along, true);
    const lengths = tf.sqrt(tf.maximum(tf.mul(dot(a, a), dot(b, b)), 1e-30));
    // Kept off the poles, where the weights are 0/0; there the result is linear to rounding.
    const omega = tf.acos(tf.clipByValue(tf.div(dot(a, b), lengths), -0.999999, 0.999999));
    const weight = (share: number): tf.Tensor =>
      tf.div(tf.sin(tf.mul(omega, share)), tf.sin(omega));
    return tf.add(tf.mul(a, weight(1 - u)), tf.mul(b, weight(u)));
  });
}

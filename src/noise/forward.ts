/**
 * The forward process: from data to noise in one jump, or from one noise level to a later one.
 *
 * ```text
 *   q(x_t | x_0) = N(alpha_t·x_0, sigma_t²·I)
 *   q(x_t | x_s) = N(r·x_s, (sigma_t² − r²·sigma_s²)·I),   r = alpha_t / alpha_s,   s before t
 * ```
 *
 * The second follows from the first for every schedule: the jump from 0 to t is the jump to s and then to t
 * (a semigroup), and for whole steps of a discrete schedule it is N(√(1 − beta_t)·x_{t−1}, beta_t·I). A common slip
 * puts the square root over one factor only in the two-step noise; its variance, where
 * the schedule preserves it, is 1 − alpha_t²/alpha_s² as a whole.
 *
 * Sources: J. Ho, A. Jain, P. Abbeel, "Denoising diffusion probabilistic models" (NeurIPS 2020), eqs. 2 and 4;
 * D. Kingma et al., "Variational diffusion models" (NeurIPS 2021), appendix A.1; Y. Song et al., "Score-based generative modeling
 * through SDEs" (ICLR 2021), section 3.1, for the SDE.
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
import type { Sde } from "../solve/sde/equation.ts";
import { refusal } from "../tensor/check/check.ts";
import { scope } from "../tensor/scope.ts";
import type { Level, Schedule } from "./schedule/schedule.ts";
import type { Tensor } from "../tensor/tensor.ts";

/**
 * q(x_t | x_s) = N(scale·x_s, std²·I).
 *
 * @category Schedules
 */
export interface Kernel {
  /** alpha_t / alpha_s. */
  readonly scale: number;
  /** Standard deviation, at least 0, in units of x. */
  readonly std: number;
}

/** Throws unless noise has the shape of what it is added to. */
function checkShapes(what: string, x: Tensor, eps: Tensor): void {
  if (x.shape.length === eps.shape.length && x.shape.every((n, i) => n === eps.shape[i])) return;
  throw new RangeError(`Cannot ${what}: eps must be of shape [${x.shape}], got [${eps.shape}]`);
}

/** Throws unless the numbers of a marginal are finite; other mixtures of data and noise, such as v, have negative ones. */
function checkLevel({ alpha, sigma }: Level): void {
  for (const [name, value] of Object.entries({ alpha, sigma })) {
    if (!Number.isFinite(value)) throw refusal("jump", `${name} must be a finite number`, value);
  }
}

/**
 * A draw of q(x_t | x_0), given its noise: x_t = alpha·x_0 + sigma·eps (DDPM, eq. 4).
 *
 * @category Schedules
 * @param x0 Data, shape [N, ...sample].
 * @param level Marginal at t.
 * @param eps Standard normal noise, shape of x0.
 * @returns x_t, shape of x0. It is the scope's, or the caller's where there is none.
 * @throws {RangeError} If `eps` is not of the shape of `x0`, or the level is not finite.
 *
 * @example
 * ```ts
 * import { jump } from "@tweedie/tweedie/noise";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import * as tf from "@tensorflow/tfjs-core";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const xt = jump(tf.tensor([2]), { alpha: 0.5, sigma: 0.25 }, tf.tensor([-4]));
 * assert.equal(xt.dataSync()[0], 0);
 * ```
 */
export function jump(x0: Tensor, level: Level, eps: Tensor): Tensor {
  checkShapes("jump", x0, eps);
  checkLevel(level);
  return scope(() => tf.add(tf.mul(x0, level.alpha), tf.mul(eps, level.sigma)));
}

/**
 * {@link jump} with a level for each sample, as in training.
 *
 * @category Schedules
 * @param x0 Data, shape [N, ...sample].
 * @param levels N marginals.
 * @param eps Standard normal noise, shape of x0.
 * @returns Row i is alpha_i·x0_i + sigma_i·eps_i; shape of x0. It is the scope's, or the caller's where there is none.
 * @throws {RangeError} If there are not N levels, one is not finite, or `eps` is not of the shape of `x0`.
 *
 * @example Two samples at two times
 * ```ts
 * import { jumpMany } from "@tweedie/tweedie/noise";
 * import { vp } from "@tweedie/tweedie";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import * as tf from "@tensorflow/tfjs-core";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const x0 = tf.tensor([[1, 1], [1, 1]]), eps = tf.zeros([2, 2]);
 * const xt = jumpMany(x0, [0, 1].map(vp().at), eps).dataSync();
 * assert.ok(xt[0] === 1 && Math.abs(xt[2]! - Math.exp(-10.05 / 2)) < 1e-7);
 * ```
 */
export function jumpMany(x0: Tensor, levels: readonly Level[], eps: Tensor): Tensor {
  checkShapes("jump", x0, eps);
  if (x0.shape[0] !== levels.length) {
    throw new RangeError(
      `Cannot jump: levels must be one for each of ${x0.shape[0]} samples, got ${levels.length}`,
    );
  }
  levels.forEach(checkLevel);
  const shape = [levels.length, ...x0.shape.slice(1).fill(1)];
  const column = (part: keyof Level): Tensor =>
    tf.tensor(levels.map((level) => level[part]), shape, "float32");
  return scope(() => tf.add(tf.mul(x0, column("alpha")), tf.mul(eps, column("sigma"))));
}

/**
 * The kernel of q(x_t | x_s): scale = alpha_t/alpha_s, variance = sigma_t² − scale²·sigma_s² (VDM, appendix A.1).
 *
 * @category Schedules
 * @param s The earlier marginal, nearer the data.
 * @param t The later marginal.
 * @returns Scale and standard deviation, in float64.
 * @throws {RangeError} If alpha_s is 0, a number is not finite, or t has less noise than s leads to, by more than rounding.
 *
 * @example One step of DDPM
 * ```ts
 * import { between } from "@tweedie/tweedie/noise";
 * import { linear } from "@tweedie/tweedie";
 * import assert from "node:assert/strict";
 *
 * const { at } = linear();
 * const { scale, std } = between(at(999), at(1000));
 * assert.ok(Math.abs(std ** 2 - 0.02) < 1e-12 && Math.abs(scale ** 2 - 0.98) < 1e-12);
 * ```
 */
export function between(s: Level, t: Level): Kernel {
  if (!(s.alpha > 0)) {
    throw new RangeError(`Cannot go from s to t: alpha_s must be above 0, got ${s.alpha}`);
  }
  const scale = t.alpha / s.alpha, carried = scale * s.sigma;
  const variance = (t.sigma - carried) * (t.sigma + carried);
  if (!Number.isFinite(variance)) {
    throw refusal("go from s to t", "the levels must be finite numbers", { s, t });
  }
  // Rounding may leave a tiny negative number where s and t are the same, or differ in their last digits.
  if (variance >= -1e-12 * carried * carried) {
    return { scale, std: Math.sqrt(Math.max(variance, 0)) };
  }
  throw new RangeError(
    `Cannot go from s to t: sigma_t must be at least ${carried}, got ${t.sigma} (s must be the earlier)`,
  );
}

/**
 * A draw of q(x_t | x_s), given its noise: x_t = scale·x_s + std·eps.
 *
 * @category Schedules
 * @param xs x_s, shape [N, ...sample].
 * @param s The earlier marginal, nearer the data.
 * @param t The later marginal.
 * @param eps Standard normal noise, shape of xs.
 * @returns x_t, shape of xs. It is the scope's, or the caller's where there is none.
 * @throws {RangeError} If `eps` is not of the shape of `xs`, alpha_s is 0, or t has less noise than s leads to.
 *
 * @example Repainting goes back up like this
 * ```ts
 * import { diffuse } from "@tweedie/tweedie/noise";
 * import { linear } from "@tweedie/tweedie";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import * as tf from "@tensorflow/tfjs-core";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const { at } = linear({ steps: 10, betaStart: 0.19, betaEnd: 0.19 });
 * const xt = diffuse(tf.tensor([10]), at(4), at(5), tf.zeros([1]));
 * assert.ok(Math.abs(xt.dataSync()[0]! - 9) < 1e-5);
 * ```
 */
export function diffuse(xs: Tensor, s: Level, t: Level, eps: Tensor): Tensor {
  const { scale, std } = between(s, t);
  return jump(xs, { alpha: scale, sigma: std }, eps);
}

/**
 * The SDE of a schedule, dx = f(t)·x dt + g(t) dW, which takes data at the start of the span to x_t with the schedule's
 * marginals: variance exploding, variance preserving, sub-VP and every other (Song et al., section 3.4).
 *
 * @category Schedules
 * @param schedule The schedule. Its sigma at the start may be above 0: the start is then already noised as much.
 * @returns The SDE, for times in the schedule's domain.
 *
 * @example
 * ```ts
 * import { forwardSde, vp } from "@tweedie/tweedie";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import * as tf from "@tensorflow/tfjs-core";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * assert.equal(forwardSde(vp({ betaMin: 1, betaMax: 1 })).diffusion(tf.scalar(0), 0.5), 1);
 * ```
 */
export function forwardSde(schedule: Schedule): Sde {
  return {
    drift: (x, t) => tf.mul(x, schedule.drift(t)),
    diffusion: (_, t) => schedule.diffusion(t),
    diffusionSlope: () => 0,
  };
}

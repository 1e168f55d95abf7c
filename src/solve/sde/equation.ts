/**
 * Stochastic differential equations dx = f(x, t) dt + g(x, t) dW in Itô's sense.
 *
 * An SDE is data: functions f, g and, for the schemes that need it, ∂g/∂x. Noise is diagonal: each element of x has a
 * Brownian motion of its own, and its g depends on that element and on t alone (or on t alone, or on all where the noise
 * is only to be of strong order ½).
 *
 * @module
 */

import type { Awaitable } from "../../tensor/scope.ts";
import type { Tensor } from "../../tensor/tensor.ts";

/**
 * A function of x and t: a tensor that broadcasts to the shape of x, handed over to the caller, or a number. It may answer
 * later.
 *
 * @category Differential equations
 */
export type SdeField = (x: Tensor, t: number) => Awaitable<Tensor | number>;

/**
 * An Itô SDE with diagonal noise, dx = f(x, t) dt + g(x, t) dW, as data.
 *
 * @category Differential equations
 */
export interface Sde {
  /** f(x, t), in units of x per unit of time. */
  readonly drift: SdeField;
  /** g(x, t), in units of x per square root of time. */
  readonly diffusion: SdeField;
  /** ∂g/∂x of each element by itself; 0 where the noise is additive. Default: unknown, and Milstein and Heun refuse. */
  readonly diffusionSlope?: SdeField;
}

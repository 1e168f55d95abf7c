/**
 * SDEs whose laws are known: Brownian motion, geometric or not, and Ornstein and Uhlenbeck's process.
 *
 * The stationary law of Ornstein and Uhlenbeck's process has the variance sigma²/(2·theta); texts that print sigma² have
 * theta = ½ in mind.
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
import { decoded, inTurn, is, type Rules } from "../../tensor/check/decode.ts";
import { scope } from "../../tensor/scope.ts";
import type { Sde } from "./equation.ts";

const finite = is("a finite number", Number.isFinite);
const deviation = inTurn(finite, is("at least 0", (value) => value >= 0));

/**
 * Options of {@link brownianMotion}.
 *
 * @category Differential equations
 */
export interface BrownianMotionOptions {
  /** Drift, in units of x per unit of time. Default: 0. */
  readonly drift?: number;
  /** Standard deviation after a unit of time, at least 0. Default: 1. */
  readonly sigma?: number;
}

const motionRules: Rules<BrownianMotionOptions> = { drift: finite, sigma: deviation };

/**
 * Brownian motion with drift, dx = mu dt + sigma dW: x(t) ~ N(x(0) + mu·t, sigma²·t).
 *
 * @category Differential equations
 * @param options Drift and sigma.
 * @returns The SDE. Every scheme is exact for it.
 * @throws {TypeError} If an option is unknown.
 * @throws {RangeError} If a number is not finite, or sigma is below 0.
 *
 * @example
 * ```ts
 * import { brownianMotion } from "@tweedie/tweedie/solve";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import * as tf from "@tensorflow/tfjs-core";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * assert.equal(brownianMotion({ sigma: 3 }).diffusion(tf.scalar(0), 0), 3);
 * ```
 */
export function brownianMotion(options: BrownianMotionOptions = {}): Sde {
  const { drift = 0, sigma = 1 } = decoded("make a Brownian motion", options, motionRules);
  return { drift: () => drift, diffusion: () => sigma, diffusionSlope: () => 0 };
}

/**
 * Options of {@link geometricBrownianMotion}.
 *
 * @category Differential equations
 */
export interface GeometricBrownianMotionOptions {
  /** Rate of growth of the mean, per unit of time. Default: 0. */
  readonly mu?: number;
  /** Standard deviation of the relative change, per square root of time, at least 0. Default: 1. */
  readonly sigma?: number;
}

const geometricRules: Rules<GeometricBrownianMotionOptions> = { mu: finite, sigma: deviation };

/**
 * Geometric Brownian motion, dx = mu·x dt + sigma·x dW, whose solution is known for each path:
 * x(t) = x(0)·exp((mu − sigma²/2)·t + sigma·W(t)), with mean x(0)·exp(mu·t).
 *
 * @category Differential equations
 * @param options Growth and sigma.
 * @returns The SDE.
 * @throws {TypeError} If an option is unknown.
 * @throws {RangeError} If a number is not finite, or sigma is below 0.
 *
 * @example
 * ```ts
 * import { geometricBrownianMotion } from "@tweedie/tweedie";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import * as tf from "@tensorflow/tfjs-core";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const growth = geometricBrownianMotion({ mu: 0.5 }).drift(tf.scalar(3), 0) as tf.Tensor;
 * assert.equal(growth.dataSync()[0], 1.5);
 * ```
 */
export function geometricBrownianMotion(options: GeometricBrownianMotionOptions = {}): Sde {
  const { mu = 0, sigma = 1 } = decoded(
    "make a geometric Brownian motion",
    options,
    geometricRules,
  );
  return {
    drift: (x) => tf.mul(x, mu),
    diffusion: (x) => tf.mul(x, sigma),
    diffusionSlope: () => sigma,
  };
}

/**
 * Options of {@link ornsteinUhlenbeck}.
 *
 * @category Differential equations
 */
export interface OrnsteinUhlenbeckOptions {
  /** Rate of return, per unit of time. Default: 1. */
  readonly theta?: number;
  /** Noise, in units of x per square root of time, at least 0. Default: 1. */
  readonly sigma?: number;
  /** What it returns to, in units of x. Default: 0. */
  readonly mean?: number;
}

const returnRules: Rules<OrnsteinUhlenbeckOptions> = {
  theta: finite,
  sigma: deviation,
  mean: finite,
};

/**
 * Ornstein and Uhlenbeck's process, dx = theta·(mean − x) dt + sigma dW. Over a time u, x goes to
 * N(mean + (x − mean)·e^(−theta·u), sigma²·(1 − e^(−2·theta·u))/(2·theta)); the stationary law is N(mean, sigma²/(2·theta)).
 *
 * @category Differential equations
 * @param options Rate, noise and mean.
 * @returns The SDE.
 * @throws {TypeError} If an option is unknown.
 * @throws {RangeError} If a number is not finite, or sigma is below 0.
 *
 * @example
 * ```ts
 * import { ornsteinUhlenbeck } from "@tweedie/tweedie/solve";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import * as tf from "@tensorflow/tfjs-core";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const pull = ornsteinUhlenbeck({ theta: 2, mean: 1 }).drift(tf.scalar(4), 0) as tf.Tensor;
 * assert.equal(pull.dataSync()[0], -6);
 * ```
 */
export function ornsteinUhlenbeck(options: OrnsteinUhlenbeckOptions = {}): Sde {
  const action = "make an Ornstein-Uhlenbeck process";
  const { theta = 1, sigma = 1, mean = 0 } = decoded(action, options, returnRules);
  return {
    drift: (x) => scope(() => tf.mul(tf.sub(mean, x), theta)),
    diffusion: () => sigma,
    diffusionSlope: () => 0,
  };
}

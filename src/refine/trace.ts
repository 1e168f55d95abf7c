/**
 * The trace of a Jacobian, exactly or by probes: what the flow of a model does to volumes.
 *
 * Source: W. Grathwohl et al., "FFJORD" (ICLR 2019), section 3.1.
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
import { sampleAxes, type Tensor } from "../tensor/tensor.ts";
import "../tensor/autodiff.ts";
import { type Env, sampleKeys, type State } from "../sample/path.ts";
import { decoded, oneOf, type Rules, wholeNumber } from "../tensor/check/decode.ts";
import { normal, rademacher } from "../tensor/random.ts";
import { scope } from "../tensor/scope.ts";

/**
 * Where a trace is wanted.
 *
 * @category Refinements
 */
export interface TraceAt {
  /** The environment. */
  readonly env: Env;
  /** The state; its x is the point. */
  readonly state: State;
  /** The function, from [N, ...sample] to the same shape, each sample by itself; in operations that have a gradient. */
  readonly of: (x: Tensor) => Tensor;
}

/**
 * The trace of a function's Jacobian at each sample, or an estimate of it; shape [N]. Called within a scope.
 *
 * @category Refinements
 */
export type Trace = (at: TraceAt) => Tensor;

/**
 * Options of {@link hutchinson}.
 *
 * @category Refinements
 */
export interface HutchinsonOptions {
  /** Number of probes, at least 1; the variance falls as its inverse. Default: 1. */
  readonly probes?: number;
  /** Law of the probes. Default: `"rademacher"`. */
  readonly law?: "rademacher" | "normal";
  /** Whether each step draws its own, or all share those of the first. Default: true. */
  readonly fresh?: boolean;
}

const hutchinsonRules: Rules<HutchinsonOptions> = {
  probes: wholeNumber(1),
  law: oneOf("rademacher", "normal"),
  fresh: true,
};

/**
 * The trace by one vector–Jacobian product for each dimension of a sample.
 *
 * @category Refinements
 * @param at Where.
 * @returns Shape [N]; exact to rounding.
 *
 * @example
 * ```ts
 * import { exactTrace } from "@tweedie/tweedie/refine";
 * import { gaussian, key, linear } from "@tweedie/tweedie";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import * as tf from "@tensorflow/tfjs-core";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const env = { model: gaussian(linear()), key: key(0) }, state = { x: tf.tensor([[1, 3]]), t: 1, step: 0 };
 * assert.deepEqual([...exactTrace({ env, state, of: tf.square }).dataSync()], [8]);
 * ```
 */
export function exactTrace({ state, of }: TraceAt): Tensor {
  return scope(() => tf.addN(unitVectors(state.x).map((e) => projected(of, state.x, e))));
}

/**
 * The unit vectors of a sample's dimensions.
 *
 * @param x Samples, shape [N, ...sample].
 * @returns One for each dimension, shape [1, ...sample]. They are the scope's, or the caller's where there is none.
 */
export function unitVectors({ shape: [, ...sample] }: Tensor): Tensor[] {
  const sizes = Array.from({ length: tf.util.sizeFromShape(sample) }, (_, i) => i);
  return sizes.map((i) => tf.tensor(sizes.map((j) => j === i ? 1 : 0), [1, ...sample]));
}

/** eᵀ·(∂f/∂x)·e of each sample. */
const projected = (f: (x: Tensor) => Tensor, x: Tensor, e: Tensor): Tensor =>
  // A scope for each, as what a product with the Jacobian leaves is of the size of all samples.
  scope(() => {
    const pulled = tf.grad((x) => tf.sum(tf.mul(f(x), e)))(x);
    return tf.sum(tf.mul(pulled, e), sampleAxes(x));
  });

/**
 * The trace by Hutchinson's estimator, (1/m)·Σ eᵀ·J·e with random e of covariance I: one vector–Jacobian product a probe.
 *
 * ```text
 *   variance of one probe, for symmetric J     Rademacher 2·(‖J‖² − Σ J_ii²)      normal 2·‖J‖²      Frobenius norms
 * ```
 *
 * Only the covariance of e matters for the mean. Probes are drawn under keys of the samples.
 *
 * @category Refinements
 * @param options Number and law of the probes.
 * @returns The trace, for {@link likelihood}.
 * @throws {RangeError} If an option is outside its domain.
 *
 * @example
 * ```ts
 * import { hutchinson } from "@tweedie/tweedie";
 * import assert from "node:assert/strict";
 *
 * assert.equal(typeof hutchinson({ probes: 4 }), "function");
 * ```
 */
export function hutchinson(options: HutchinsonOptions = {}): Trace {
  decoded("carry a density", options, hutchinsonRules);
  const { probes = 1, law = "rademacher", fresh = true } = options;
  const draw = law === "rademacher" ? rademacher : normal;
  return ({ env, state, of }) =>
    scope(() => {
      const [count, ...sample] = state.x.shape, step = fresh ? state.step : 0;
      const probe = (j: number): Tensor =>
        draw(sampleKeys(env, count!, `probe ${j}`, step), sample);
      const sum = Array.from({ length: probes }, (_, j) => projected(of, state.x, probe(j)));
      return tf.div(tf.addN(sum), probes);
    });
}

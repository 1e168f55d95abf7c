/**
 * One step of an explicit Runge-Kutta method for dx/dt = f(x, t) on tensors.
 *
 * ```text
 *   k_i = f(x + h·Σ_j a_ij·k_j, t + c_i·h)        the stages
 *   x(t + h) ≈ x + h·Σ_i b_i·k_i                  the step
 *   x(t + h) − x̂(t + h) = h·Σ_i error_i·k_i       its difference from an embedded step of one order less
 *   x(t + theta·h) ≈ x + h·Σ_i b_i(theta)·k_i     between its ends, theta in [0, 1]
 * ```
 *
 * Time runs either way: h is negative where it falls. Coefficients and times are float64 on the host, x is float32. All of it
 * answers at once where f does.
 *
 * Source: E. Hairer, S. Nørsett, G. Wanner, "Solving ordinary differential equations I" (2nd ed. 1993), sections II.1 and II.6.
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
import { type Awaitable, owned, scope, type Scoped } from "../tensor/scope.ts";
import type { Tableau } from "./tableau.ts";
import type { Tensor } from "../tensor/tensor.ts";

/**
 * The right-hand side f(x, t): a tensor of the shape of x, handed over to the caller. It owns neither x nor anything of
 * the solver's. It may answer later.
 *
 * @category Differential equations
 */
export type VectorField = (x: Tensor, t: number) => Awaitable<Tensor>;

/**
 * A step to be made.
 *
 * @category Differential equations
 */
export interface Move {
  /** Where it starts, of any shape. Not disposed of. */
  readonly x: Tensor;
  /** Time there. */
  readonly t: number;
  /** Length of the step; negative where time falls. */
  readonly h: number;
  /** f(x, t), where it is known, such as from the last stage of a step before. Not disposed of. Default: evaluated. */
  readonly first?: Tensor;
}

/**
 * A step that was made. Its tensors are the scope's, or the caller's where there is none.
 *
 * @category Differential equations
 */
export interface RungeKuttaStep {
  /** x(t + h), shape of x. */
  readonly x: Tensor;
  /** Estimate of its error, shape of x; absent where the tableau has none. */
  readonly error?: Tensor;
  /** The stages k_1 … k_s, each of the shape of x. */
  readonly stages: readonly Tensor[];
}

/**
 * The stages of one step, k_i = f(x + h·Σ_j a_ij·k_j, t + c_i·h).
 *
 * @category Differential equations
 * @param tableau The method.
 * @param f The right-hand side.
 * @param move Where the step starts, and how long it is.
 * @returns k_1 … k_s, at once where f answers at once. They are the scope's, or the caller's where there is none. When f
 * fails, those made are freed.
 * @throws {RangeError} If f answers in another shape than that of x.
 *
 * @example Heun's two slopes of dx/dt = −x
 * ```ts
 * import { stages } from "@tweedie/tweedie/solve";
 * import { tableaus } from "@tweedie/tweedie";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import * as tf from "@tensorflow/tfjs-core";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const slopes = await stages(tableaus.heun, (x) => tf.neg(x), { x: tf.scalar(1), t: 0, h: 0.5 });
 * assert.deepEqual(slopes.map((k) => k.dataSync()[0]), [-1, -0.5]);
 * ```
 */
export function stages(tableau: Tableau, f: VectorField, move: Move): Awaitable<Tensor[]> {
  return scope(() => slopes(tableau, f, move));
}

function* slopes({ a, c }: Tableau, f: VectorField, move: Move): Scoped<Tensor[]> {
  const { x, t, h, first } = move, k = first ? [tf.clone(first)] : [];
  for (let i = k.length; i < c.length; i++) {
    k.push(yield* slope(f, moved(x, k, a[i]!.map((weight) => h * weight)), t + c[i]! * h));
  }
  return k;
}

/** f(x, t) of the shape of x, the scope's; one of shape [N] at x of [N, 1] would be broadcast to [N, N] in silence. */
export function* slope(f: VectorField, x: Tensor, t: number): Scoped<Tensor> {
  const k = yield* owned(f(x, t), x), { shape } = x;
  // A field may answer with its own argument.
  if (tf.util.arraysEqual(k.shape, shape)) return k === x ? tf.clone(k) : k;
  throw new RangeError(
    `Cannot solve an ODE: f must answer in the shape of x, [${shape}], got [${k.shape}]`,
  );
}

/** Σ_i w_i·k_i, or undefined where all weights are 0. */
const mixed = (k: readonly Tensor[], weights: readonly number[]): Tensor | undefined =>
  k.flatMap((each, i) => weights[i] ? [tf.mul(each, weights[i]!)] : [])
    .reduce<Tensor | undefined>((sum, term) => sum ? tf.add(sum, term) : term, undefined);

/** x + Σ_i w_i·k_i. */
export const moved = (
  x: Tensor,
  k: readonly Tensor[],
  weights: readonly number[],
): Tensor =>
  scope(() => {
    const change = mixed(k, weights);
    return change ? tf.add(x, change) : tf.clone(x);
  });

/**
 * One step of a method, as a pure function.
 *
 * @category Differential equations
 * @param tableau The method.
 * @returns The step: of f and a {@link Move}, at once where f answers at once.
 *
 * @example One step of RK4 is exp(−h) to fourth order
 * ```ts
 * import { rungeKutta } from "@tweedie/tweedie/solve";
 * import { tableaus } from "@tweedie/tweedie";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import * as tf from "@tensorflow/tfjs-core";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const { x } = await rungeKutta(tableaus.rk4)((x) => tf.neg(x), { x: tf.scalar(1), t: 0, h: 0.1 });
 * assert.ok(Math.abs(x.dataSync()[0]! - Math.exp(-0.1)) < 2e-7);
 * ```
 */
export function rungeKutta(
  tableau: Tableau,
): (f: VectorField, move: Move) => Awaitable<RungeKuttaStep> {
  const { b, error } = tableau;
  return (f, move) =>
    scope(function* () {
      const { x, h } = move, k = yield* slopes(tableau, f, move);
      const scaled = (weights: readonly number[]): number[] => weights.map((weight) => h * weight);
      return {
        x: moved(x, k, scaled(b)),
        stages: k,
        ...(error && { error: scope(() => mixed(k, scaled(error)) ?? tf.zerosLike(x)) }),
      };
    });
}

/**
 * A point within a step.
 *
 * @category Differential equations
 */
export interface DensePoint {
  /** Where the step started. Not disposed of. */
  readonly x: Tensor;
  /** Its length; negative where time falls. */
  readonly h: number;
  /** Its stages. Not disposed of. */
  readonly stages: readonly Tensor[];
  /** Share of the step, in [0, 1]. */
  readonly theta: number;
}

/**
 * The solution within a step, x(t + theta·h) ≈ x + h·Σ_i b_i(theta)·k_i, without another evaluation of f.
 *
 * @category Differential equations
 * @param tableau The method that made the step.
 * @param point The step, and where in it.
 * @returns Shape of x. It is the scope's, or the caller's where there is none.
 * @throws {TypeError} If the tableau has no dense output.
 * @throws {RangeError} If theta is not in [0, 1].
 *
 * @example The middle of a long step
 * ```ts
 * import { denseOutput, stages } from "@tweedie/tweedie/solve";
 * import { tableaus } from "@tweedie/tweedie";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import * as tf from "@tensorflow/tfjs-core";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const { dormandPrince } = tableaus, move = { x: tf.scalar(1), t: 0, h: 0.5 };
 * const made = await stages(dormandPrince, (x) => tf.neg(x), move);
 * const half = denseOutput(dormandPrince, { ...move, stages: made, theta: 0.5 });
 * assert.ok(Math.abs(half.dataSync()[0]! - Math.exp(-0.25)) < 2e-5);
 * ```
 */
export function denseOutput(
  { dense }: Tableau,
  { x, h, stages: made, theta }: DensePoint,
): Tensor {
  if (!dense) {
    throw new TypeError(
      "Cannot interpolate a step: tableau.dense must be given, got a tableau without it",
    );
  }
  if (!(theta >= 0 && theta <= 1)) {
    throw new RangeError(`Cannot interpolate a step: theta must be in [0, 1], got ${theta}`);
  }
  const weights = dense.map((row) =>
    row.reduceRight((sum, coefficient) => theta * (coefficient + sum), 0)
  );
  return moved(x, made, weights.map((weight) => h * weight));
}

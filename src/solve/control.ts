/**
 * Control of the length of steps by an estimate of their error.
 *
 * A sample's error is the root mean square over its elements of error/(absolute + relative·min(|x_t|,
 * |x_(t+h)|)), and the batch's is the greatest of its samples', so that a hard sample cannot hide among easy ones; the root
 * mean square over the whole batch can be asked for instead. Of the two ends the smaller counts, where codes such as DOPRI5
 * take the larger: noise of 80 that a step takes to data of 1 would be allowed an error for 80. A step with an error above 1
 * is made again. The next step is
 *
 * ```text
 *   h · safety · error^(−(1/p − 3/4·beta)) · previous^beta     within [least, greatest], p the order
 * ```
 *
 * long: a controller with a proportional and an integral part.
 *
 * Sources: E. Hairer, S. Nørsett, G. Wanner, "Solving ordinary differential equations I" (2nd ed. 1993), section II.4 (eqs.
 * 4.11 and 4.13, and the first step); K. Gustafsson, "Control theoretic techniques for stepsize selection in explicit
 * Runge-Kutta methods" (1991).
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
import { checkOptions } from "../tensor/check/check.ts";
import { decoded, is, oneOf, type Rules, showing } from "../tensor/check/decode.ts";
import { awaited, scope, type Scoped } from "../tensor/scope.ts";
import { moved, slope, type VectorField } from "./rungekutta.ts";
import type { Tableau } from "./tableau.ts";
import type { Tensor } from "../tensor/tensor.ts";

/**
 * Step control of `solve`.
 *
 * @category Differential equations
 */
export interface StepControl {
  /** Error allowed in x, in the unit of x. Default: 1e-5. */
  readonly absolute?: number;
  /** Error allowed as a share of |x|. Default: 1e-5. */
  readonly relative?: number;
  /**
   * Whether the error is that of the worst sample (along the first axis), or the root mean square over the whole batch.
   * Default: `"sample"`.
   */
  readonly over?: "sample" | "batch";
  /** Share of the step that would just do, which is taken. In (0, 1). Default: 0.9. */
  readonly safety?: number;
  /** Least factor from one step to the next, in (0, 1). Default: 0.2. */
  readonly least?: number;
  /** Greatest factor from one step to the next, above 1. Default: 10. */
  readonly greatest?: number;
  /** Exponent of the error before: 0 looks at the last error only. At least 0. Default: 0.04. */
  readonly beta?: number;
  /** Length of the first step to try, above 0. Default: found with one more evaluation (Hairer et al., section II.4). */
  readonly firstStep?: number;
  /** Number of steps, rejected ones included, after which to stop with an error. Default: 10000. */
  readonly most?: number;
}

const share = is("in (0, 1)", (value) => value > 0 && value < 1);

const controlRules: Rules<StepControl> = {
  absolute: is("above 0", (value) => value > 0),
  relative: is("at least 0", (value) => value >= 0),
  over: showing(oneOf("sample", "batch"), String),
  safety: share,
  least: share,
  greatest: is("above 1", (value) => value > 1),
  beta: is("at least 0", (value) => value >= 0),
  firstStep: is("above 0", (value) => value > 0),
  most: is("at least 1", (value) => value >= 1),
};

/**
 * The errors that choose a step.
 *
 * @category Differential equations
 */
export interface StepErrors {
  /** Error of the step, 1 where it just does; NaN counts as too large. */
  readonly error: number;
  /** Error of the accepted step before. Default: 1e-4, the least that counts. */
  readonly previous?: number;
  /** Order p of the method. */
  readonly order: number;
}

/** The least error that counts. */
const leastError = 1e-4;

/**
 * How much longer the next step should be: safety·error^(−(1/p − 3/4·beta))·previous^beta within [least, greatest], and
 * at most 1 after an error above 1, which the part of `previous` does not soften (Hairer et al., section II.4 and the
 * code DOPRI5; Gustafsson 1991).
 *
 * @category Differential equations
 * @param errors Error of this step and of the one before, and the order.
 * @param control Safety, bounds and beta. Default: those of {@link StepControl}.
 * @returns The factor.
 *
 * @example A step sixteen times too good, of order 4, could have been twice as long
 * ```ts
 * import { stepFactor } from "@tweedie/tweedie/solve";
 * import assert from "node:assert/strict";
 *
 * assert.ok(Math.abs(stepFactor({ error: 1 / 16, order: 4 }, { safety: 0.9, beta: 0 }) - 1.8) < 1e-12);
 * ```
 */
export function stepFactor(errors: StepErrors, control: StepControl = {}): number {
  const { error, previous = leastError, order } = errors;
  const { safety = 0.9, least = 0.2, greatest = 10, beta = 0.04 } = control;
  if (!(error < Infinity)) return least;
  const exponent = 1 / order - 0.75 * beta, accepted = error <= 1;
  const wanted = safety * (accepted ? previous ** beta : 1) / error ** exponent;
  return Math.min(Math.max(wanted, least), accepted ? greatest : 1);
}

/** What a controlled step goes from. */
export interface Approach {
  /** Length to try first, above 0. */
  readonly length: number;
  /** Error of the accepted step before; absent at the start. */
  readonly previous?: number | undefined;
  /** Order p of the method. */
  readonly order: number;
}

/** A step that has been tried. */
export interface Trial<M> {
  /** Its error, 1 where it just does. */
  readonly error: number;
  /** Its length, above 0: less than asked for where the way ends before. */
  readonly length: number;
  /** What it made. */
  readonly made: M;
}

/** A step that has been accepted. */
export interface Accepted<M> {
  /** What it made. */
  readonly made: M;
  /** Length to try next. */
  readonly length: number;
  /** Its error, for the next step. */
  readonly previous: number;
  /** Number of steps made in vain before it. */
  readonly rejected: number;
}

/**
 * Steps of ever smaller lengths, until the error of one does.
 *
 * @param approach Where from.
 * @param control How lengths are chosen.
 * @param attempt A step of a length, told how many were made in vain; it may throw to give up.
 * @returns The first whose error is at most 1; a part of work, called by `yield*`. Of the others nothing is left.
 */
export function* controlled<M extends object>(
  { length: first, previous, order }: Approach,
  control: StepControl,
  attempt: (length: number, rejected: number) => Scoped<Trial<M>>,
): Scoped<Accepted<M>> {
  let length = first;
  for (let rejected = 0;; rejected++) {
    const { error, length: tried, made } = yield* awaited(scope(function* () {
      const { made, ...trial } = yield* attempt(length, rejected);
      return { ...trial, made: trial.error <= 1 ? made : undefined };
    }));
    const before = previous !== undefined && { previous };
    const factor = stepFactor({ error, order, ...before }, control);
    length = tried * (rejected > 0 ? Math.min(factor, 1) : factor);
    if (made) return { made, length, previous: Math.max(error, leastError), rejected };
  }
}

/**
 * The norm of an error in units of what is allowed at x: that of the worst sample, or of the whole batch. One number for
 * each sample is read back.
 *
 * @category Differential equations
 * @param error The error of a step, shape [N, ...sample]. Not disposed of.
 * @param ends x before and after the step, in the unit of the error; the smaller of the two sets what is allowed.
 * @param control The tolerances.
 * @returns The norm: a step is good enough up to 1. NaN where any number is.
 */
export async function errorNorm(
  error: Tensor,
  ends: readonly Tensor[],
  { absolute = 1e-5, relative = 1e-5, over = "sample" }: StepControl,
): Promise<number> {
  return await scope(function* () {
    const size = ends.map((x) => tf.abs(x)).reduce((a, b) => tf.minimum(a, b));
    const squares = tf.square(tf.div(error, tf.add(tf.mul(size, relative), absolute)));
    const norm = over === "batch" || error.rank === 0
      ? tf.sqrt(tf.mean(squares))
      : tf.sqrt(tf.mean(tf.reshape(squares, [error.shape[0]!, -1]), 1));
    // The greatest is found here, since not every backend's maximum keeps NaN.
    return (yield* awaited(norm.data<"float32">())).reduce((a, b) => Math.max(a, b), 0);
  });
}

/**
 * Where a solution starts.
 *
 * @category Differential equations
 */
export interface Outset {
  /** x(t), shape [N, ...sample] or any other. Not disposed of. */
  readonly x: Tensor;
  /** Time there. */
  readonly t: number;
  /** f(x, t). Not disposed of. */
  readonly first: Tensor;
  /** The way to go: positive where time rises. */
  readonly way: number;
}

/**
 * The length of a first step whose error is about what is allowed, at the cost of one more evaluation (Hairer et al., section
 * II.4). `solve` and `adaptiveFlow` begin with it.
 *
 * @category Differential equations
 * @param f The right-hand side.
 * @param outset Where the solution starts, and how far it goes.
 * @param method The order of the method, and the tolerances.
 * @returns The length, above 0 and at most that of the way.
 *
 * @example The faster f changes x, the shorter
 * ```ts
 * import { firstLength } from "@tweedie/tweedie/solve";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import * as tf from "@tensorflow/tfjs-core";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const x = tf.scalar(1), method = { order: 5, control: { relative: 1e-3 } };
 * const [slow, fast] = await Promise.all([1, 100].map((rate) =>
 *   firstLength((x) => tf.mul(x, -rate), { x, t: 0, first: tf.mul(x, -rate), way: 10 }, method)
 * ));
 * assert.ok(fast! < slow! / 5 && slow! < 0.2);
 * ```
 */
export async function firstLength(
  f: VectorField,
  { x, t, first, way }: Outset,
  { order, control = {} }: { readonly order: number; readonly control?: StepControl },
): Promise<number> {
  return await scope(function* () {
    const norm = (each: Tensor) => awaited(errorNorm(each, [x], control));
    const reach = Math.abs(way), size = yield* norm(x), speed = yield* norm(first);
    const trial = Math.min(size > 1e-5 && speed > 1e-5 ? 0.01 * size / speed : 1e-6, reach);
    const h = trial * Math.sign(way), second = yield* slope(f, moved(x, [first], [h]), t + h);
    const bend = yield* norm(tf.div(tf.sub(second, first), trial)), rate = Math.max(speed, bend);
    const bound = rate > 1e-15 ? (0.01 / rate) ** (1 / order) : Math.max(1e-6, trial / 1000);
    return Math.min(100 * trial, bound, reach);
  });
}

/**
 * Refuses what cannot control steps: a method that does not estimate its error, or options outside their domain. `solve`
 * and `adaptiveFlow` call it before they begin.
 *
 * @category Differential equations
 * @param tableau The method.
 * @param control How its steps are to be chosen.
 * @throws {TypeError} If the method has no estimate of its error, or no order, or an option is unknown.
 * @throws {RangeError} If an option is outside its domain.
 *
 * @example
 * ```ts
 * import { checkControl } from "@tweedie/tweedie/solve";
 * import { tableaus } from "@tweedie/tweedie";
 * import assert from "node:assert/strict";
 *
 * checkControl(tableaus.dormandPrince, { relative: 1e-3 });
 * assert.throws(() => checkControl(tableaus.rk4, {}), /tableau must have an error/);
 * ```
 */
export function checkControl(tableau: Tableau, control: StepControl): void {
  checkOptions("control the steps of an ODE", control, controlRules);
  if (!tableau.error || tableau.order === undefined) {
    throw new TypeError(
      "Cannot control the steps of an ODE: tableau must have an error and an order, got one without",
    );
  }
  decoded("solve an ODE", control, controlRules);
}

/** What is wrong with what an ODE is to be solved by. */
export const refused = (what: string, got: unknown): RangeError =>
  new RangeError(`Cannot solve an ODE: ${what}, got ${got}`);

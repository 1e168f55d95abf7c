/**
 * Solutions of dx/dt = f(x, t) on tensors as lazy streams, in steps of one length or of controlled length.
 *
 * The steps are those of an explicit Runge-Kutta method. Times are float64 on the host, x is float32, so that a tolerance below
 * about 1e-6 of x is not kept.
 *
 * Source: E. Hairer, S. Nørsett, G. Wanner, "Solving ordinary differential equations I" (2nd ed. 1993), sections II.4 to II.6.
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
import { decoded, is, needed, type Rules, showing, wholeNumber } from "../tensor/check/decode.ts";
import { awaited, scope, type Scoped } from "../tensor/scope.ts";
import {
  checkControl,
  controlled,
  errorNorm,
  firstLength,
  refused,
  type StepControl,
} from "./control.ts";
import {
  denseOutput,
  rungeKutta,
  type RungeKuttaStep,
  slope,
  type VectorField,
} from "./rungekutta.ts";
import { isFirstSameAsLast, type Tableau, tableaus } from "./tableau.ts";
import type { Tensor } from "../tensor/tensor.ts";

/**
 * A point of a solution, or of a path of an SDE.
 *
 * @category Differential equations
 */
export interface PathState {
  /** x(t). */
  readonly x: Tensor;
  /** Time. */
  readonly t: number;
  /** Number of steps made up to here, or to the end of the step that t lies in; 0 at the start. */
  readonly step: number;
}

/**
 * A point of the solution of an ODE.
 *
 * @category Differential equations
 */
export interface OdeState extends PathState {
  /** Number of steps made in vain, so far. */
  readonly rejected: number;
  /** Number of evaluations of f, so far. */
  readonly evaluations: number;
}

/**
 * Options of {@link solve}.
 *
 * @category Differential equations
 */
export interface SolveOptions {
  /** Where the solution starts, shape [N, ...sample] or any other. It stays the caller's. */
  readonly x: Tensor;
  /** First and last time; they may fall. */
  readonly span: readonly [number, number];
  /** The method. Default: `tableaus.dormandPrince`. */
  readonly tableau?: Tableau;
  /** Number of steps of one length, at least 1. Default: none, steps are controlled. */
  readonly steps?: number;
  /** Step control; refused beside `steps`. */
  readonly control?: StepControl;
  /**
   * Times to give the solution at, by dense output, in the order of travel and within the span: no step is shortened for
   * them. One that rounding has put beyond an end, by a billionth of the larger of the two, is that end. Default: the start
   * and the end of each step.
   */
  readonly times?: readonly number[];
  /** Aborts the solution. */
  readonly signal?: AbortSignal;
}

const solveRules: Rules<SolveOptions> = {
  x: true,
  span: needed(showing(
    is("finite", (span: SolveOptions["span"]) => span.every(Number.isFinite)),
    (span: SolveOptions["span"]) => `[${span.join(", ")}]`,
  )),
  tableau: true,
  steps: wholeNumber(1),
  control: true,
  times: true,
  signal: true,
};
/** Checked options. */
interface CheckedOptions extends SolveOptions {
  readonly tableau: Tableau;
  readonly control: StepControl;
}

/** Where the solver stands. */
interface Front {
  readonly x: Tensor;
  readonly t: number;
  readonly step: number;
  readonly rejected: number;
  /** f(x, t), where it is known. */
  readonly first?: Tensor;
  /** Length of the step to try next, above 0; 0 at the start, where it is still to be found. */
  readonly length: number;
  /** Error of the step before. */
  readonly previous: number;
}

/** A front and the step that led there. */
interface Advance {
  readonly next: Front;
  readonly h: number;
  readonly stages: readonly Tensor[];
}

/**
 * The solution of dx/dt = f(x, t) as a lazy stream: the start, then the end of each step, or the times asked for.
 *
 * Ownership: a yielded x lives until the next pull; the start belongs to the caller; breaking off frees everything.
 *
 * @category Differential equations
 * @param f The right-hand side.
 * @param options Start, span and method; steps of one length, or the control of their length.
 * @returns The stream, which computes nothing until it is iterated; each iteration starts afresh.
 * @throws {TypeError} If an option is unknown, `control` is given beside `steps`, or the tableau lacks what is asked of it:
 * `error` and `order` for control, `dense` for times.
 * @throws {RangeError} If an option is outside its domain, or x has no elements; while iterated, if the steps become too many or
 * too short, or f answers in another shape than that of x.
 * @throws The signal's reason, when aborted.
 *
 * @example A pendulum of small swing comes back after 2π, and backward in time too
 * ```ts
 * import { solve } from "@tweedie/tweedie";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import * as tf from "@tensorflow/tfjs-core";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const x = tf.tensor2d([[1, 0]]), turn = tf.tensor2d([[0, -1], [1, 0]]);
 * for (const end of [2 * Math.PI, -2 * Math.PI]) {
 *   let last: number[] = [];
 *   for await (const state of solve((x) => tf.matMul(x, turn), { x, span: [0, end] })) last = [...state.x.dataSync()];
 *   assert.ok(Math.abs(last[0]! - 1) < 1e-4 && Math.abs(last[1]!) < 1e-4);
 * }
 * ```
 */
export function solve(f: VectorField, options: SolveOptions): AsyncIterable<OdeState> {
  const checked = checkedOptions(options);
  return { [Symbol.asyncIterator]: () => solution(f, checked) };
}

async function* solution(
  f: VectorField,
  options: CheckedOptions,
): AsyncGenerator<OdeState, void, undefined> {
  const { x, span: [start, end], signal } = options;
  let evaluations = 0;
  const field: VectorField = (x, t) => (evaluations++, f(x, t));
  signal?.throwIfAborted();
  let front: Front = { x: tf.clone(x), t: start, step: 0, rejected: 0, length: 0, previous: 1e-4 };
  // What the states shown are made of: the front before, and the stages of the step from it.
  let passed: unknown;
  const free = (held: unknown): void => tf.dispose(held as tf.TensorContainer);
  try {
    for (const _ of shown(options, start)) yield { ...stateOf(front), evaluations };
    while (front.t !== end) {
      const before = front;
      const { next, ...step } = await scope(() => advanced(field, before, options), { signal });
      passed = { before, step };
      front = next;
      for (const state of between(before, { next, ...step }, options)) {
        yield { ...state, evaluations };
        signal?.throwIfAborted();
      }
      free(passed);
    }
  } finally {
    free([front, passed]);
  }
}

/** As often as a time is asked for; once where none are. */
const shown = ({ times }: CheckedOptions, t: number): readonly number[] =>
  times ? times.filter((time) => time === t) : [t];

const stateOf = ({ x, t, step, rejected }: Front): Omit<OdeState, "evaluations"> => (
  { x, t, step, rejected }
);

/** The states to show after a step: its end, or the times within it. */
function* between(
  { x, t }: Front,
  { next, h, stages: made }: Advance,
  { tableau, times }: CheckedOptions,
): Generator<Omit<OdeState, "evaluations">, void, undefined> {
  if (!times) return yield stateOf(next);
  const inside = times.filter((time) => (time - t) * h > 0 && (next.t - time) * h >= 0);
  for (const time of inside) {
    const theta = Math.min((time - t) / h, 1);
    const at = denseOutput(tableau, { x, h, stages: made, theta });
    try {
      yield { ...stateOf(next), x: at, t: time };
    } finally {
      at.dispose();
    }
  }
}

/** The next step, of one length with the others or of its own. */
const advanced = (f: VectorField, front: Front, options: CheckedOptions): Scoped<Advance> =>
  options.steps === undefined
    ? ofItsOwn(f, front, options)
    : even(f, front, options, options.steps);

/** The next of equal steps. */
function* even(
  f: VectorField,
  front: Front,
  { span: [start, end], tableau }: CheckedOptions,
  steps: number,
): Scoped<Advance> {
  const step = front.step + 1, t = step === steps ? end : start + (end - start) * step / steps;
  const h = t - front.t, made = yield* awaited(rungeKutta(tableau)(f, { ...front, h }));
  return { next: arrived(front, made, { t, tableau }), h, stages: made.stages };
}

/** The front at the end of a step. The last stage is the next first one where the method says so. */
function arrived(
  { first: _, ...front }: Front,
  { x, stages }: RungeKuttaStep,
  { t, tableau }: { readonly t: number; readonly tableau: Tableau },
): Front {
  const first = isFirstSameAsLast(tableau) && { first: tf.clone(stages.at(-1)!) };
  return { ...front, x, t, step: front.step + 1, ...first };
}

/** A step whose error does, with the length of the next. */
function* ofItsOwn(
  f: VectorField,
  front: Front,
  { control, tableau, signal, span: [, end] }: CheckedOptions,
): Scoped<Advance> {
  const { most = 10_000, firstStep } = control, { x, t, previous } = front, way = end - t;
  const order = tableau.order!, first = front.first ?? (yield* slope(f, x, t));
  const reach = Math.abs(way);
  let { length } = front;
  if (length === 0) {
    length = firstStep === undefined
      ? yield* awaited(firstLength(f, { x, t, first, way }, { order, control }))
      : Math.min(firstStep, reach);
  }
  const approach = { length, previous, order };
  const { made, rejected, ...next } = yield* controlled(
    approach,
    control,
    function* (wanted, vain) {
      signal?.throwIfAborted();
      const isLast = wanted >= reach * (1 - 1e-9), length = isLast ? reach : wanted;
      const h = length * Math.sign(way), steps = front.step + front.rejected + vain;
      if (t + h === t || steps >= most) throw stuck(front, h, most);
      const step = yield* awaited(rungeKutta(tableau)(f, { x, t, h, first }));
      const error = yield* awaited(errorNorm(step.error!, [x, step.x], control));
      return { error, length, made: { step, h, t: isLast ? end : t + h } };
    },
  );
  const reached = arrived(front, made.step, { t: made.t, tableau });
  return {
    next: { ...reached, ...next, rejected: front.rejected + rejected },
    h: made.h,
    stages: made.step.stages,
  };
}

function stuck({ t, step }: Front, h: number, most: number): RangeError {
  const limit = t + h === t ? "steps must be longer than the last digit of t" : `most is ${most}`;
  return new RangeError(
    `Cannot go on with the solution: ${limit}, got h = ${h} after ${step} steps at t = ${t}`,
  );
}
function checkedOptions(options: SolveOptions): CheckedOptions {
  decoded("solve an ODE", options, solveRules);
  const { x, span, steps, tableau = tableaus.dormandPrince, control = {}, times } = options;
  if (!(x.size > 0)) throw refused("x must have elements", `shape [${x.shape}]`);
  if (steps === undefined) checkControl(tableau, control);
  else if (options.control) {
    throw new TypeError(
      `Cannot solve an ODE: control must be absent beside steps, got ${steps} steps`,
    );
  }
  return {
    ...options,
    tableau,
    control,
    ...(times && { times: checkedTimes(tableau, span, times) }),
  };
}

/** Times in the order of travel within the span, once they are known to be that but for rounding. */
function checkedTimes(
  tableau: Tableau,
  [start, end]: readonly [number, number],
  times: readonly number[],
): number[] {
  if (!tableau.dense) {
    throw new TypeError(
      "Cannot solve an ODE at given times: tableau must have a dense output, got one without",
    );
  }
  // 0.1·3 is beyond 0.3.
  const slack = 1e-9 * Math.max(Math.abs(start), Math.abs(end));
  const sign = end < start ? -1 : 1, path = [start, ...times, end];
  if (!path.every((t, i) => i === 0 || (t - path[i - 1]!) * sign >= -slack)) {
    throw refused(
      `times must run from ${start} to ${end} without turning back`,
      `[${times.join(", ")}]`,
    );
  }
  const [low, high] = start < end ? [start, end] : [end, start];
  return times.map((t) => Math.min(Math.max(t, low), high)).sort((a, b) => (a - b) * sign);
}

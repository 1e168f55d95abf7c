/**
 * Explicit Runge-Kutta methods for dx/dt = f(x, t) on tensors: a table of numbers for each, and one function.
 *
 * ```text
 *   k_i = f(x + h·Σ_j a_ij·k_j, t + c_i·h)        the stages
 *   x(t + h) ≈ x + h·Σ_i b_i·k_i                  the step
 *   x(t + h) − x̂(t + h) = h·Σ_i error_i·k_i       its difference from an embedded step of one order less
 *   x(t + theta·h) ≈ x + h·Σ_i b_i(theta)·k_i     between its ends, theta in [0, 1]
 * ```
 *
 * Time runs either way: h is negative where it falls. Coefficients and times are float64 on the host, x is float32, so
 * that a tolerance below about 1e-6 of x is not kept. {@link stages} and {@link rungeKutta} are single steps, which answer
 * at once where f does; {@link solve} is a lazy stream of them, in steps of one length or of controlled length.
 *
 * Step control. A sample's error is the root mean square over its elements of error/(absolute + relative·min(|x_t|,
 * |x_(t+h)|)), and the batch's is the greatest of its samples', so that a hard sample cannot hide among easy ones; the root
 * mean square over the whole batch can be asked for instead. Of the two ends the smaller counts, where codes such as DOPRI5
 * take the larger: noise of 80 that a step takes to data of 1 would be allowed an error for 80. A step with an error above 1
 * is made again. The next step is
 * h times safety·error^(−(1/p − 3/4·beta))·previous^beta within [least, greatest], p the order: a controller with a
 * proportional and an integral part.
 *
 * Sources: E. Hairer, S. Nørsett, G. Wanner, "Solving ordinary differential equations I" (2nd ed. 1993), sections II.1,
 * II.4 (step control, eqs. 4.11 and 4.13, and the first step), II.5 (table 5.2) and II.6 (dense output); J. Dormand,
 * P. Prince, "A family of embedded Runge-Kutta formulae" (1980); K. Gustafsson, "Control theoretic techniques for
 * stepsize selection in explicit Runge-Kutta methods" (1991); L. Shampine, "Some practical Runge-Kutta formulas" (1986).
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
import { checkOptions, type Known } from "../tensor/check.ts";
import { andThen, disposing } from "../tensor/engine.ts";
import { type Awaitable } from "../tensor/scope.ts";

/**
 * The right-hand side f(x, t): a tensor of the shape of x, handed over to the caller. It owns neither x nor anything of
 * the solver's. It may answer later.
 */
export type VectorField = (x: tf.Tensor, t: number) => Awaitable<tf.Tensor>;

/** An explicit Runge-Kutta method of s stages, as data (a Butcher tableau). */
export interface Tableau {
  /** Row i holds the i weights of the stages before stage i; the first row is empty. */
  readonly a: readonly (readonly number[])[];
  /** Weights of the step, s of them; their sum is 1. */
  readonly b: readonly number[];
  /** Times of the stages, as shares of the step; each is the sum of its row of `a`. */
  readonly c: readonly number[];
  /** b less the weights of an embedded method of one order less: what estimates the step's error. Default: none. */
  readonly error?: readonly number[];
  /** Order of accuracy p of `b`; the estimate of the error shrinks as h^p. Only step control asks for it. */
  readonly order?: number;
  /** Row i holds the coefficients of theta, theta², … of b_i(theta), which is b_i at theta = 1. Default: none. */
  readonly dense?: readonly (readonly number[])[];
}

/** A step to be made. */
export interface Move {
  /** Where it starts, of any shape. Not disposed of. */
  readonly x: tf.Tensor;
  /** Time there. */
  readonly t: number;
  /** Length of the step; negative where time falls. */
  readonly h: number;
  /** f(x, t), where it is known, such as from the last stage of a step before. Not disposed of. Default: evaluated. */
  readonly first?: tf.Tensor;
}

/** A step that was made. Its tensors are the caller's. */
export interface RungeKuttaStep {
  /** x(t + h), shape of x. */
  readonly x: tf.Tensor;
  /** Estimate of its error, shape of x; absent where the tableau has none. */
  readonly error?: tf.Tensor;
  /** The stages k_1 … k_s, each of the shape of x. */
  readonly stages: readonly tf.Tensor[];
}

/** The methods by name; see {@link tableaus}. */
export interface Tableaus {
  /** Euler's method: order 1, 1 stage. */
  readonly euler: Tableau;
  /** The explicit midpoint rule: order 2, 2 stages. */
  readonly midpoint: Tableau;
  /** Heun's method, the explicit trapezoidal rule: order 2, 2 stages, with Euler's embedded. */
  readonly heun: Tableau;
  /** The classical method of Kutta: order 4, 4 stages. */
  readonly rk4: Tableau;
  /** Dormand and Prince's pair of orders 5 and 4: 7 stages, the last of which is the next step's first. */
  readonly dormandPrince: Tableau;
}

/** Weights of the Dormand-Prince step. */
const fifth = [35 / 384, 0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84, 0];

/** Weights of theta²(1 − theta)² in its dense output, which the fourth order asks for beyond Hermite's cubic. */
const bubble = [
  -12715105075 / 11282082432,
  0,
  87487479700 / 32700410799,
  -10690763975 / 1880347072,
  701980252875 / 199316789632,
  -1453857185 / 822651844,
  69997945 / 29380423,
];

/**
 * b_i(theta) = theta²(3 − 2·theta)·b_i + theta(1 − theta)²·[i first] − theta²(1 − theta)·[i last] + theta²(1 − theta)²·d_i:
 * Hermite's cubic through both ends with their slopes, and a quartic that vanishes there (Hairer et al., eq. II.6.19 f.).
 */
const quartic = (b: readonly number[], d: readonly number[]): number[][] =>
  b.map((weight, i) => {
    const first = i === 0 ? 1 : 0, last = i === b.length - 1 ? 1 : 0, extra = d[i]!;
    return [
      first,
      3 * weight - 2 * first - last + extra,
      -2 * weight + first + last - 2 * extra,
      extra,
    ];
  });

/**
 * The methods, as data. Dense output is of order 1 for Euler, 2 for midpoint and Heun, 3 for RK4, 4 for Dormand-Prince
 * (Hairer et al., sections II.1, II.5 and II.6).
 *
 * @example A method is a table: Ralston's, of order 2, is three lines of numbers
 * ```ts
 * import { rungeKutta, type Tableau, tableaus } from "@tweedie/tweedie";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import * as tf from "@tensorflow/tfjs-core";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const ralston: Tableau = { a: [[], [2 / 3]], b: [1 / 4, 3 / 4], c: [0, 2 / 3] };
 * const move = { x: tf.scalar(1), t: 0, h: 0.5 }, decay = (x: tf.Tensor) => tf.neg(x);
 * const [own, heun] = [await rungeKutta(ralston)(decay, move), await rungeKutta(tableaus.heun)(decay, move)];
 * assert.ok(Math.abs(own.x.dataSync()[0]! - heun.x.dataSync()[0]!) < 1e-6); // 1 − h + h²/2, both
 * ```
 */
export const tableaus: Tableaus = {
  euler: { a: [[]], b: [1], c: [0], order: 1, dense: [[1]] },
  midpoint: { a: [[], [1 / 2]], b: [0, 1], c: [0, 1 / 2], order: 2, dense: [[1, -1], [0, 1]] },
  heun: {
    a: [[], [1]],
    b: [1 / 2, 1 / 2],
    c: [0, 1],
    error: [-1 / 2, 1 / 2],
    order: 2,
    dense: [[1, -1 / 2], [0, 1 / 2]],
  },
  rk4: {
    a: [[], [1 / 2], [0, 1 / 2], [0, 0, 1]],
    b: [1 / 6, 1 / 3, 1 / 3, 1 / 6],
    c: [0, 1 / 2, 1 / 2, 1],
    order: 4,
    dense: [[1, -3 / 2, 2 / 3], [0, 1, -2 / 3], [0, 1, -2 / 3], [0, -1 / 2, 2 / 3]],
  },
  dormandPrince: {
    a: [
      [],
      [1 / 5],
      [3 / 40, 9 / 40],
      [44 / 45, -56 / 15, 32 / 9],
      [19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729],
      [9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656],
      [35 / 384, 0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84],
    ],
    b: fifth,
    c: [0, 1 / 5, 3 / 10, 4 / 5, 8 / 9, 1, 1],
    error: [71 / 57600, 0, -71 / 16695, 71 / 1920, -17253 / 339200, 22 / 525, -1 / 40],
    order: 5,
    dense: quartic(fifth, bubble),
  },
};

/**
 * The stages of one step, k_i = f(x + h·Σ_j a_ij·k_j, t + c_i·h).
 *
 * @param tableau The method.
 * @param f The right-hand side.
 * @param move Where the step starts, and how long it is.
 * @returns k_1 … k_s, at once where f answers at once. The caller disposes of them. When f fails, those made are freed.
 * @throws {RangeError} If f answers in another shape than that of x.
 *
 * @example Heun's two slopes of dx/dt = −x
 * ```ts
 * import { stages, tableaus } from "@tweedie/tweedie";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import * as tf from "@tensorflow/tfjs-core";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const slopes = await stages(tableaus.heun, (x) => tf.neg(x), { x: tf.scalar(1), t: 0, h: 0.5 });
 * assert.deepEqual(slopes.map((k) => k.dataSync()[0]), [-1, -0.5]);
 * ```
 */
export function stages(tableau: Tableau, f: VectorField, move: Move): Awaitable<tf.Tensor[]> {
  const { x, t, h, first } = move, made: tf.Tensor[] = first ? [tf.clone(first)] : [];
  const next = (): Awaitable<tf.Tensor[]> => {
    const i = made.length;
    if (i === tableau.c.length) return made;
    const at = i === 0 ? tf.clone(x) : moved(x, made, tableau.a[i]!.map((weight) => h * weight));
    return andThen(slope(f, at, t + tableau.c[i]! * h), (k) => {
      made.push(k);
      return next();
    });
  };
  return freedOnFailure(made, next);
}

/** f(at, t), and `at` disposed of; a field that answers with its own argument is given a copy of it. */
const slope = (f: VectorField, at: tf.Tensor, t: number): Awaitable<tf.Tensor> =>
  disposing(at, () => slopeAt(f, at, t));

/** f(at, t) of the shape of `at`, in a handle of its own. */
const slopeAt = (f: VectorField, at: tf.Tensor, t: number): Awaitable<tf.Tensor> =>
  andThen(f(at, t), (k) => k === at ? tf.clone(k) : sameShape(k, at));

/** The slope; one of shape [N] at x of [N, 1] would be broadcast to [N, N] in silence. */
function sameShape(k: tf.Tensor, { shape }: tf.Tensor): tf.Tensor {
  if (tf.util.arraysEqual(k.shape, shape)) return k;
  k.dispose();
  throw new RangeError(
    `Cannot solve an ODE: f must answer in the shape of x, [${shape}], got [${k.shape}]`,
  );
}

/** What a use gives; where it fails, at once or later, the tensors are disposed of. */
function freedOnFailure<A>(tensors: tf.Tensor[], use: () => Awaitable<A>): Awaitable<A> {
  const failed = (error: unknown): never => {
    tf.dispose(tensors);
    throw error;
  };
  try {
    const value = use();
    return value instanceof Promise ? value.catch(failed) : value;
  } catch (error) {
    return failed(error);
  }
}

/** Σ_i w_i·k_i, or undefined where all weights are 0. To be called within a tidy. */
const mixed = (k: readonly tf.Tensor[], weights: readonly number[]): tf.Tensor | undefined =>
  k.flatMap((each, i) => weights[i] ? [tf.mul(each, weights[i]!)] : [])
    .reduce<tf.Tensor | undefined>((sum, term) => sum ? tf.add(sum, term) : term, undefined);

/** x + Σ_i w_i·k_i. */
function moved(x: tf.Tensor, k: readonly tf.Tensor[], weights: readonly number[]): tf.Tensor {
  return tf.tidy(() => {
    const change = mixed(k, weights);
    return change ? tf.add(x, change) : tf.clone(x);
  });
}

/**
 * One step of a method, as a pure function.
 *
 * @param tableau The method.
 * @returns The step: of f and a {@link Move}, at once where f answers at once.
 *
 * @example One step of RK4 is exp(−h) to fourth order
 * ```ts
 * import { rungeKutta, tableaus } from "@tweedie/tweedie";
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
  return (f, move): Awaitable<RungeKuttaStep> =>
    andThen(stages(tableau, f, move), (made) => {
      const { x, h } = move, { b, error } = tableau;
      const scaled = (weights: readonly number[]): number[] => weights.map((weight) => h * weight);
      const estimate = (weights: readonly number[]): tf.Tensor =>
        tf.tidy(() => mixed(made, scaled(weights)) ?? tf.zerosLike(x));
      return {
        x: moved(x, made, scaled(b)),
        stages: made,
        ...(error && { error: estimate(error) }),
      };
    });
}

/** A point within a step. */
export interface DensePoint {
  /** Where the step started. Not disposed of. */
  readonly x: tf.Tensor;
  /** Its length; negative where time falls. */
  readonly h: number;
  /** Its stages. Not disposed of. */
  readonly stages: readonly tf.Tensor[];
  /** Share of the step, in [0, 1]. */
  readonly theta: number;
}

/**
 * The solution within a step, x(t + theta·h) ≈ x + h·Σ_i b_i(theta)·k_i, without another evaluation of f.
 *
 * @param tableau The method that made the step.
 * @param point The step, and where in it.
 * @returns Shape of x. The caller disposes of it.
 * @throws {TypeError} If the tableau has no dense output.
 * @throws {RangeError} If theta is not in [0, 1].
 *
 * @example The middle of a long step
 * ```ts
 * import { denseOutput, stages, tableaus } from "@tweedie/tweedie";
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
): tf.Tensor {
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

/** Step control of {@link solve}. */
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

const stepControl: Known<StepControl> = {
  absolute: true,
  relative: true,
  over: true,
  safety: true,
  least: true,
  greatest: true,
  beta: true,
  firstStep: true,
  most: true,
};

/** The errors that choose a step. */
export interface StepErrors {
  /** Error of the step, 1 where it just does; NaN counts as too large. */
  readonly error: number;
  /** Error of the accepted step before. Default: 1e-4, the least that counts. */
  readonly previous?: number;
  /** Order p of the method. */
  readonly order: number;
}

/**
 * How much longer the next step should be: safety·error^(−(1/p − 3/4·beta))·previous^beta within [least, greatest], and
 * at most 1 after an error above 1, which the part of `previous` does not soften (Hairer et al., section II.4 and the
 * code DOPRI5; Gustafsson 1991).
 *
 * @param errors Error of this step and of the one before, and the order.
 * @param control Safety, bounds and beta. Default: those of {@link StepControl}.
 * @returns The factor.
 *
 * @example A step sixteen times too good, of order 4, could have been twice as long
 * ```ts
 * import { stepFactor } from "@tweedie/tweedie";
 * import assert from "node:assert/strict";
 *
 * assert.ok(Math.abs(stepFactor({ error: 1 / 16, order: 4 }, { safety: 0.9, beta: 0 }) - 1.8) < 1e-12);
 * ```
 */
export function stepFactor(errors: StepErrors, control: StepControl = {}): number {
  const { error, previous = 1e-4, order } = errors;
  const { safety = 0.9, least = 0.2, greatest = 10, beta = 0.04 } = control;
  if (!(error < Infinity)) return least;
  const exponent = 1 / order - 0.75 * beta, accepted = error <= 1;
  const wanted = safety * (accepted ? previous ** beta : 1) / error ** exponent;
  return Math.min(Math.max(wanted, least), accepted ? greatest : 1);
}

/** A point of a solution, or of a path of an SDE. */
export interface PathState {
  /** x(t). */
  readonly x: tf.Tensor;
  /** Time. */
  readonly t: number;
  /** Number of steps made up to here, or to the end of the step that t lies in; 0 at the start. */
  readonly step: number;
}

/** A point of the solution of an ODE. */
export interface OdeState extends PathState {
  /** Number of steps made in vain, so far. */
  readonly rejected: number;
  /** Number of evaluations of f, so far. */
  readonly evaluations: number;
}

/** Options of {@link solve}. */
export interface SolveOptions {
  /** Where the solution starts, shape [N, ...sample] or any other. It stays the caller's. */
  readonly x: tf.Tensor;
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

const solveOptions: Known<SolveOptions> = {
  x: true,
  span: true,
  tableau: true,
  steps: true,
  control: true,
  times: true,
  signal: true,
};

/** Checked options. */
interface Plan extends SolveOptions {
  readonly tableau: Tableau;
  readonly control: StepControl;
}

/** Where the solver stands; it owns the tensors. */
interface Front {
  readonly x: tf.Tensor;
  readonly t: number;
  readonly step: number;
  readonly rejected: number;
  /** f(x, t), where it is known. */
  readonly first?: tf.Tensor;
  /** Length of the step to try next, above 0. */
  readonly length: number;
  /** Error of the step before. */
  readonly previous: number;
}

/** A front and the step that led there. */
interface Advance {
  readonly next: Front;
  readonly h: number;
  readonly stages: readonly tf.Tensor[];
}

/**
 * The solution of dx/dt = f(x, t) as a lazy stream: the start, then the end of each step, or the times asked for.
 *
 * Ownership: a yielded x lives until the next pull; the start belongs to the caller; breaking off frees everything.
 *
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
  const plan = planned(options);
  return { [Symbol.asyncIterator]: () => solution(f, plan) };
}

async function* solution(
  f: VectorField,
  plan: Plan,
): AsyncGenerator<OdeState, void, undefined> {
  let evaluations = 0;
  const field: VectorField = (x, t) => (evaluations++, f(x, t));
  const [start, end] = plan.span;
  plan.signal?.throwIfAborted();
  let front: Front = {
    x: tf.clone(plan.x),
    t: start,
    step: 0,
    rejected: 0,
    length: 0,
    previous: 1e-4,
  };
  try {
    for (const _ of shown(plan, start)) yield { ...stateOf(front), evaluations };
    if (plan.steps === undefined && start !== end) front = await begun(field, front, plan);
    while (front.t !== end) {
      const { next, h, stages: made } = await advanced(field, front, plan);
      const before = front;
      front = next;
      try {
        for (const state of between(before, { next, h, stages: made }, plan)) {
          yield { ...state, evaluations };
          plan.signal?.throwIfAborted();
        }
      } finally {
        tf.dispose([before.x, before.first ?? [], [...made]]);
      }
    }
  } finally {
    tf.dispose([front.x, front.first ?? []]);
  }
}

/** As often as a time is asked for; once where none are. */
const shown = ({ times }: Plan, t: number): readonly number[] =>
  times ? times.filter((time) => time === t) : [t];

const stateOf = ({ x, t, step, rejected }: Front): Omit<OdeState, "evaluations"> => (
  { x, t, step, rejected }
);

/** The states to show after a step: its end, or the times within it. */
function* between(
  { x, t }: Front,
  { next, h, stages: made }: Advance,
  { tableau, times }: Plan,
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

const advanced = (f: VectorField, front: Front, plan: Plan): Promise<Advance> =>
  plan.steps === undefined ? controlled(f, front, plan) : even(f, front, plan, plan.steps);

/** The next of equal steps. */
async function even(f: VectorField, front: Front, plan: Plan, steps: number): Promise<Advance> {
  const [start, end] = plan.span, step = front.step + 1;
  const t = step === steps ? end : start + (end - start) * step / steps, h = t - front.t;
  const made = await rungeKutta(plan.tableau)(f, moveOf(front, h));
  if (made.error) made.error.dispose();
  return { next: arrived(front, made, { t, plan }), h, stages: made.stages };
}

const moveOf = ({ x, t, first }: Front, h: number): Move => ({ x, t, h, ...(first && { first }) });

/** The front at the end of a step. The last stage is the next first one where the method says so. */
function arrived(
  front: Front,
  made: RungeKuttaStep,
  { t, plan }: { readonly t: number; readonly plan: Plan },
): Front {
  const { first: _, ...rest } = front, last = made.stages.at(-1)!;
  const first = isFirstSameAsLast(plan.tableau) && { first: tf.clone(last) };
  return { ...rest, x: made.x, t, step: front.step + 1, ...first };
}

/** Whether the last stage is evaluated at the end of the step: a's last row is b. */
const isFirstSameAsLast = ({ a, b, c }: Tableau): boolean =>
  b.length > 1 && c.at(-1) === 1 && b.every((weight, i) => weight === (a.at(-1)![i] ?? 0));

/** A step whose error does, with the length of the next. */
async function controlled(f: VectorField, before: Front, plan: Plan): Promise<Advance> {
  const { control, tableau } = plan, { most = 10_000 } = control, end = plan.span[1];
  const front = before.first ? before : { ...before, first: await slopeAt(f, before.x, before.t) };
  let { length, rejected } = front;
  for (;;) {
    plan.signal?.throwIfAborted();
    const reach = Math.abs(end - front.t), isLast = length >= reach * (1 - 1e-9);
    const h = (isLast ? reach : length) * Math.sign(end - front.t);
    if (front.t + h === front.t || front.step + rejected >= most) throw stuck(front, h, most);
    const made = await rungeKutta(tableau)(f, moveOf(front, h));
    const error = await errorNorm(made.error!, [front.x, made.x], control).finally(() =>
      made.error!.dispose()
    );
    const errors = { error, previous: front.previous, order: tableau.order! };
    const factor = stepFactor(errors, control);
    length = Math.abs(h) * (rejected > front.rejected ? Math.min(factor, 1) : factor);
    if (error <= 1) {
      const next = arrived(front, made, { t: isLast ? end : front.t + h, plan });
      const state = { ...next, rejected, length, previous: Math.max(error, 1e-4) };
      if (front !== before) front.first!.dispose();
      return { next: state, h, stages: made.stages };
    }
    tf.dispose([made.x, [...made.stages]]);
    rejected++;
  }
}

function stuck({ t, step }: Front, h: number, most: number): RangeError {
  const limit = t + h === t ? "steps must be longer than the last digit of t" : `most is ${most}`;
  return new RangeError(
    `Cannot go on with the solution: ${limit}, got h = ${h} after ${step} steps at t = ${t}`,
  );
}

/**
 * The norm of an error in units of what is allowed at x: that of the worst sample, or of the whole batch. One number for
 * each sample is read back.
 *
 * @param error The error of a step, shape [N, ...sample]. Not disposed of.
 * @param ends x before and after the step, in the unit of the error; the smaller of the two sets what is allowed.
 * @param control The tolerances.
 * @returns The norm: a step is good enough up to 1. NaN where any number is.
 */
export async function errorNorm(
  error: tf.Tensor,
  ends: readonly tf.Tensor[],
  { absolute = 1e-5, relative = 1e-5, over = "sample" }: StepControl,
): Promise<number> {
  const value = tf.tidy(() => {
    const size = ends.map((x) => tf.abs(x)).reduce((a, b) => tf.minimum(a, b));
    const squares = tf.square(tf.div(error, tf.add(tf.mul(size, relative), absolute)));
    if (over === "batch" || error.rank === 0) return tf.sqrt(tf.mean(squares));
    return tf.sqrt(tf.mean(tf.reshape(squares, [error.shape[0]!, -1]), 1));
  });
  try {
    // The greatest is found here, since not every backend's maximum keeps NaN.
    return (await value.data() as Float32Array).reduce((a, b) => Math.max(a, b), 0);
  } finally {
    value.dispose();
  }
}

/** Where a solution starts. */
export interface Outset {
  /** x(t), shape [N, ...sample] or any other. Not disposed of. */
  readonly x: tf.Tensor;
  /** Time there. */
  readonly t: number;
  /** f(x, t). Not disposed of. */
  readonly first: tf.Tensor;
  /** The way to go: positive where time rises. */
  readonly way: number;
}

/**
 * The length of a first step whose error is about what is allowed, at the cost of one more evaluation (Hairer et al., section
 * II.4). `solve` and `adaptiveFlow` begin with it.
 *
 * @param f The right-hand side.
 * @param outset Where the solution starts, and how far it goes.
 * @param method The order of the method, and the tolerances.
 * @returns The length, above 0 and at most that of the way.
 *
 * @example The faster f changes x, the shorter
 * ```ts
 * import { firstLength } from "@tweedie/tweedie";
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
  const reach = Math.abs(way), norm = (each: tf.Tensor) => errorNorm(each, [x], control);
  const size = await norm(x), speed = await norm(first);
  const trial = Math.min(size > 1e-5 && speed > 1e-5 ? 0.01 * size / speed : 1e-6, reach);
  const h = trial * Math.sign(way), second = await slope(f, moved(x, [first], [h]), t + h);
  const change = tf.tidy(() => tf.div(tf.sub(second, first), trial));
  const bend = await disposing([second, change], () => norm(change));
  const rate = Math.max(speed, bend);
  const bound = rate > 1e-15 ? (0.01 / rate) ** (1 / order) : Math.max(1e-6, trial / 1000);
  return Math.min(100 * trial, bound, reach);
}

/** The front with its slope and the length of its first step. */
async function begun(f: VectorField, front: Front, plan: Plan): Promise<Front> {
  const { x, t } = front, { control, tableau, span: [start, end] } = plan, way = end - start;
  const first = await slopeAt(f, x, t), method = { order: tableau.order!, control };
  const length = control.firstStep === undefined
    ? await freedOnFailure([first], () => firstLength(f, { x, t, first, way }, method))
    : Math.min(control.firstStep, Math.abs(way));
  return { ...front, first, length };
}

const refused = (what: string, got: unknown): RangeError =>
  new RangeError(`Cannot solve an ODE: ${what}, got ${got}`);

function planned(options: SolveOptions): Plan {
  checkOptions("solve an ODE", options, solveOptions);
  const { x, span, steps, tableau = tableaus.dormandPrince, control = {}, times } = options;
  if (!(x.size > 0)) throw refused("x must have elements", `shape [${x.shape}]`);
  if (!span.every(Number.isFinite)) throw refused("span must be finite", `[${span.join(", ")}]`);
  if (steps !== undefined && !(Number.isSafeInteger(steps) && steps >= 1)) {
    throw refused("steps must be a whole number of at least 1", steps);
  }
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

/**
 * Refuses what cannot control steps: a method that does not estimate its error, or options outside their domain. `solve`
 * and `adaptiveFlow` call it before they begin.
 *
 * @param tableau The method.
 * @param control How its steps are to be chosen.
 * @throws {TypeError} If the method has no estimate of its error, or no order, or an option is unknown.
 * @throws {RangeError} If an option is outside its domain.
 *
 * @example
 * ```ts
 * import { checkControl, tableaus } from "@tweedie/tweedie";
 * import assert from "node:assert/strict";
 *
 * checkControl(tableaus.dormandPrince, { relative: 1e-3 });
 * assert.throws(() => checkControl(tableaus.rk4, {}), /tableau must have an error/);
 * ```
 */
export function checkControl(tableau: Tableau, control: StepControl): void {
  checkOptions("control the steps of an ODE", control, stepControl);
  if (!tableau.error || tableau.order === undefined) {
    throw new TypeError(
      "Cannot control the steps of an ODE: tableau must have an error and an order, got one without",
    );
  }
  const { absolute = 1e-5, relative = 1e-5, safety = 0.9, least = 0.2, greatest = 10 } = control;
  const { beta = 0.04, firstStep = 1, most = 1, over = "sample" } = control;
  const rules: readonly [boolean, string, unknown][] = [
    [absolute > 0, "absolute must be above 0", absolute],
    [relative >= 0, "relative must be at least 0", relative],
    [safety > 0 && safety < 1, "safety must be in (0, 1)", safety],
    [least > 0 && least < 1, "least must be in (0, 1)", least],
    [greatest > 1, "greatest must be above 1", greatest],
    [beta >= 0, "beta must be at least 0", beta],
    [firstStep > 0, "firstStep must be above 0", firstStep],
    [most >= 1, "most must be at least 1", most],
    [over === "sample" || over === "batch", 'over must be "sample" or "batch"', over],
  ];
  for (const [holds, wanted, got] of rules) if (!holds) throw refused(wanted, got);
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

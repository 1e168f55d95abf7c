/**
 * Explicit Runge-Kutta methods as data: tables of numbers.
 *
 * Sources: E. Hairer, S. Nørsett, G. Wanner, "Solving ordinary differential equations I" (2nd ed. 1993), sections II.1,
 * II.5 (table 5.2) and II.6 (dense output); J. Dormand, P. Prince, "A family of embedded Runge-Kutta formulae" (1980);
 * L. Shampine, "Some practical Runge-Kutta formulas" (1986).
 *
 * @module
 */

/**
 * An explicit Runge-Kutta method of s stages, as data (a Butcher tableau).
 *
 * @category Differential equations
 */
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

/**
 * The methods by name; see {@link tableaus}.
 *
 * @category Differential equations
 */
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
 * @category Differential equations
 * @example A method is a table: Ralston's, of order 2, is three lines of numbers
 * ```ts
 * import { rungeKutta, type Tableau } from "@tweedie/tweedie/solve";
 * import { tableaus } from "@tweedie/tweedie";
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

/** Whether the last stage is evaluated at the end of the step: a's last row is b. */
export const isFirstSameAsLast = ({ a, b, c }: Tableau): boolean =>
  b.length > 1 && c.at(-1) === 1 && b.every((weight, i) => weight === (a.at(-1)![i] ?? 0));

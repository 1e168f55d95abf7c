/**
 * Schemes: how a path of an SDE moves over one step.
 *
 * Time runs either way. Where it falls, dW is an increment of a Brownian motion that runs with the steps, of variance |h|,
 * as in the time reversal of a diffusion; Itô's terms then take |h| where f takes h.
 *
 * | scheme | step, with I = (dW² − |h|)/2 | strong order | weak |
 * | --- | --- | --- | --- |
 * | `eulerMaruyama` | x + f·h + g·dW | ½; 1 where g does not depend on x | 1 |
 * | `milstein` | x + f·h + g·dW + g·(∂g/∂x)·I | 1 | 1 |
 * | `heun` | the trapezoidal rule for Stratonovich's form of the same SDE, whose drift is f − ½·g·∂g/∂x | 1 | 1 |
 * | `platen` | x + f·h + g·dW + (g(x + f·h + g·√abs(h)) − g)/√abs(h)·I, all at t: no derivative | 1 | 1 |
 *
 * Sources: P. Kloeden, E. Platen, "Numerical solution of stochastic differential equations" (1992), eqs. 10.2.4
 * (Euler-Maruyama), 10.3.1 (Milstein), 11.1.3 (Platen's explicit order 1) and section 15.5; W. Rümelin, "Numerical treatment
 * of stochastic differential equations" (1982), for Heun's.
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
import { type Awaitable, owned, scope, type Scoped } from "../../tensor/scope.ts";
import type { Tensor } from "../../tensor/tensor.ts";
import type { Sde, SdeField } from "./equation.ts";

/**
 * A step of an SDE to be made.
 *
 * @category Differential equations
 */
export interface SdeMove {
  /** Where it starts. Not disposed of. */
  readonly x: Tensor;
  /** Time there. */
  readonly t: number;
  /** Length of the step; negative where time falls. */
  readonly h: number;
  /** Increment of the Brownian motion, shape of x, N(0, |h|·I). Not disposed of. */
  readonly dw: Tensor;
}

/**
 * A scheme for SDEs with diagonal noise.
 *
 * @category Differential equations
 */
export interface SdeScheme {
  /** Strong order, where g depends on x. */
  readonly order: number;
  /** Whether it asks for `diffusionSlope`. */
  readonly slope: boolean;
  /** x(t + h), shape of x, handed over; at once where the SDE answers at once. */
  readonly step: (sde: Sde, move: SdeMove) => Awaitable<Tensor>;
}

/**
 * The schemes by name; see {@link sdeSchemes}.
 *
 * @category Differential equations
 */
export interface SdeSchemes {
  /** x + f·h + g·dW: strong order ½, weak order 1. */
  readonly eulerMaruyama: SdeScheme;
  /** Euler-Maruyama and ½·g·(∂g/∂x)·(dW² − |h|): strong order 1. */
  readonly milstein: SdeScheme;
  /** The trapezoidal rule in Stratonovich's form: strong order 1, and 2 where g = 0. */
  readonly heun: SdeScheme;
  /** Platen's explicit scheme, Milstein's with a difference for the derivative: strong order 1. */
  readonly platen: SdeScheme;
}

type Value = Tensor | number;

/** What fields say at one point, in turn; of the scope's. */
function* at(
  { x, t }: Pick<SdeMove, "x" | "t">,
  ...fields: readonly SdeField[]
): Scoped<Value[]> {
  const values: Value[] = [];
  // A field may answer with its argument, which stays whose it is.
  for (const field of fields) values.push(yield* owned(field(x, t), x));
  return values;
}

const sum = (first: Tensor, ...terms: Tensor[]): Tensor =>
  terms.reduce((a, b) => tf.add(a, b), first);

/** x + f·h + g·dw. */
const moved = ({ x, h, dw }: SdeMove, f: Value, g: Value): Tensor =>
  sum(x, tf.mul(f, h), tf.mul(g, dw));

/** (dW² − |h|)/2, the double integral of dW over itself. */
const twofold = ({ h, dw }: SdeMove): Tensor => tf.mul(tf.sub(tf.square(dw), Math.abs(h)), 0.5);

/** The Stratonovich drift over a step, f·h − ½·g·(∂g/∂x)·|h|. */
const stratonovich = (h: number, f: Value, g: Value, slope: Value): Tensor =>
  tf.sub(tf.mul(f, h), tf.mul(tf.mul(g, slope), Math.abs(h) / 2));

/** `diffusionSlope`, or an error without it. */
export function slopeOf({ diffusionSlope }: Sde): SdeField {
  if (diffusionSlope) return diffusionSlope;
  throw new TypeError(
    "Cannot step an SDE: sde.diffusionSlope must be given for this scheme, got none; Platen's asks for none",
  );
}

/**
 * The schemes, for diagonal noise: see the table at the top of this file. Heun's reads the SDE as Itô's, like the others,
 * and corrects the drift itself.
 *
 * @category Differential equations
 * @example One step of geometric Brownian motion: Milstein's adds (dW² − h)/2
 * ```ts
 * import { geometricBrownianMotion, sdeSchemes } from "@tweedie/tweedie";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import * as tf from "@tensorflow/tfjs-core";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const move = { x: tf.scalar(1), t: 0, h: 0.25, dw: tf.scalar(1) }, sde = geometricBrownianMotion();
 * const [euler] = (await sdeSchemes.eulerMaruyama.step(sde, move)).dataSync();
 * const [milstein] = (await sdeSchemes.milstein.step(sde, move)).dataSync();
 * assert.equal(milstein! - euler!, (1 - 0.25) / 2);
 * ```
 */
export const sdeSchemes: SdeSchemes = {
  eulerMaruyama: {
    order: 0.5,
    slope: false,
    step: ({ drift, diffusion }, move) =>
      scope(function* () {
        const [f, g] = yield* at(move, drift, diffusion);
        return moved(move, f!, g!);
      }),
  },
  milstein: {
    order: 1,
    slope: true,
    step: (sde, move) =>
      scope(function* () {
        const [f, g, slope] = yield* at(move, sde.drift, sde.diffusion, slopeOf(sde));
        return sum(moved(move, f!, g!), tf.mul(tf.mul(g!, slope!), twofold(move)));
      }),
  },
  heun: {
    order: 1,
    slope: true,
    step: (sde, { x, t, h, dw }) =>
      scope(function* () {
        const { drift, diffusion } = sde, diffusionSlope = slopeOf(sde);
        function* change(x: Tensor, t: number): Scoped<Tensor> {
          const [f, g, slope] = yield* at({ x, t }, drift, diffusion, diffusionSlope);
          return tf.add(stratonovich(h, f!, g!, slope!), tf.mul(g!, dw));
        }
        const first = yield* change(x, t), second = yield* change(tf.add(x, first), t + h);
        return sum(x, tf.mul(tf.add(first, second), 0.5));
      }),
  },
  platen: {
    order: 1,
    slope: false,
    step: ({ drift, diffusion }, move) =>
      scope(function* () {
        const [f, g] = yield* at(move, drift, diffusion), root = Math.sqrt(Math.abs(move.h));
        const aside = sum(move.x, tf.mul(f!, move.h), tf.mul(g!, root));
        const [there] = yield* at({ x: aside, t: move.t }, diffusion);
        const slope = tf.div(tf.sub(there!, g!), root);
        return sum(moved(move, f!, g!), tf.mul(slope, twofold(move)));
      }),
  },
};

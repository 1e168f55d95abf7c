/**
 * Stochastic differential equations dx = f(x, t) dt + g(x, t) dW in Itô's sense, and their paths.
 *
 * An SDE is data: functions f, g and, for the schemes that need it, ∂g/∂x. Noise is diagonal: each element of x has a
 * Brownian motion of its own, and its g depends on that element and on t alone (or on t alone, or on all where the noise
 * is only to be of strong order ½). {@link simulate} follows a Brownian path that is a function of its keys, so that
 * another number of steps, or another scheme, sees the same path: the difference is the scheme's own, strong, error.
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
 * of stochastic differential equations" (1982), for Heun's. The stationary law of Ornstein and Uhlenbeck's process has the
 * variance sigma²/(2·theta); texts that print sigma² have theta = ½ in mind.
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
import {
  decoded,
  inTurn,
  is,
  needed,
  type Rules,
  showing,
  wholeNumber,
} from "../tensor/check/decode.ts";
import { checkKey, type Key } from "../tensor/key.ts";
import type { Keys } from "../tensor/random.ts";
import { type Awaitable, own, owned, scope, type Scoped } from "../tensor/scope.ts";
import { brownianSteps } from "./brownian.ts";
import type { PathState } from "./ode.ts";
import type { Tensor } from "../tensor/tensor.ts";

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
function slopeOf({ diffusionSlope }: Sde): SdeField {
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

/**
 * Options of {@link simulate}.
 *
 * @category Differential equations
 */
export interface SimulateOptions {
  /** Where the paths start, shape [N, ...sample] or any other under one key. It stays the caller's. */
  readonly x: Tensor;
  /** First and last time; they may fall. */
  readonly span: readonly [number, number];
  /** Number of steps, at least 1, all of one length. */
  readonly steps: number;
  /** One key for the whole of x, or one for each of its N samples: the Brownian paths. */
  readonly keys: Keys;
  /** The scheme. Default: `sdeSchemes.eulerMaruyama`. */
  readonly scheme?: SdeScheme;
  /** Aborts the simulation. */
  readonly signal?: AbortSignal;
}

const simulateRules: Rules<SimulateOptions> = {
  x: true,
  span: needed(showing(
    is(
      "two different finite times",
      (span: SimulateOptions["span"]) => span.every(Number.isFinite) && span[0] !== span[1],
    ),
    (span: SimulateOptions["span"]) => `[${span.join(", ")}]`,
  )),
  steps: needed(wholeNumber(1)),
  keys: true,
  scheme: true,
  signal: true,
};

/**
 * Paths of an SDE as a lazy stream: the start, then the state after each step.
 *
 * The Brownian path under given keys depends on the length of the span alone: more steps, or another scheme, follow the
 * same path, and coarse increments are exact sums of fine ones ({@link brownianSteps}; steps that are a power of 2 are
 * cheapest).
 *
 * Ownership: a yielded x lives until the next pull; the start belongs to the caller; breaking off frees everything.
 *
 * @category Differential equations
 * @param sde The SDE.
 * @param options Start, span, steps, keys and scheme.
 * @returns The stream, which computes nothing until it is iterated; each iteration is the same.
 * @throws {TypeError} If an option is unknown, a key is none, or the scheme asks for a slope that the SDE lacks.
 * @throws {RangeError} If an option is outside its domain, x has no elements, or keys and samples do not match; while iterated,
 * if a step changes the shape of x, as a field of a shape that does not fit does.
 * @throws The signal's reason, when aborted.
 *
 * @example Noise takes data to the prior
 * ```ts
 * import { forwardSde, key, simulate, vp } from "@tweedie/tweedie";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import * as tf from "@tensorflow/tfjs-core";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const options = { x: tf.fill([2000], 3), span: [0, 1], steps: 256, keys: key(0) } as const;
 * let last: readonly number[] = [];
 * for await (const { x } of simulate(forwardSde(vp()), options)) last = [...x.dataSync()];
 * const mean = last.reduce((a, b) => a + b) / 2000, variance = last.reduce((sum, x) => sum + (x - mean) ** 2, 0) / 2000;
 * assert.ok(Math.abs(mean - 3 * vp().at(1).alpha) < 0.1 && Math.abs(variance - 1) < 0.15);
 * ```
 */
export function simulate(sde: Sde, options: SimulateOptions): AsyncIterable<PathState> {
  check(options);
  const { scheme = sdeSchemes.eulerMaruyama } = options;
  if (scheme.slope) slopeOf(sde);
  return { [Symbol.asyncIterator]: () => path(sde, scheme, options) };
}

async function* path(
  sde: Sde,
  scheme: SdeScheme,
  { x, span: [start, end], steps, keys, signal }: SimulateOptions,
): AsyncGenerator<PathState, void, undefined> {
  const time = (i: number): number => i === steps ? end : start + (end - start) * i / steps;
  const clock = Array.from({ length: steps + 1 }, (_, i) => Math.abs(time(i) - start));
  const sample = Array.isArray(keys) ? x.shape.slice(1) : x.shape;
  signal?.throwIfAborted();
  let state: PathState = { x: tf.clone(x), t: start, step: 0 };
  try {
    yield state;
    for (const dw of brownianSteps(keys, sample, clock, { horizon: clock[steps]! })) {
      const { x, t, step } = state, next = time(step + 1);
      const made = await scope(function* () {
        const move = { x, t, h: next - t, dw: own(dw) };
        signal?.throwIfAborted();
        return sameShape(yield* owned(scheme.step(sde, move), x), x);
      }, { signal });
      state = { x: made, t: next, step: step + 1 };
      x.dispose();
      yield state;
    }
  } finally {
    state.x.dispose();
  }
}

/** The state that follows; a field that broadcasts x, such as one of shape [N] for x [N, 1], would go on in silence. */
function sameShape(next: Tensor, { shape }: Tensor): Tensor {
  if (tf.util.arraysEqual(next.shape, shape)) return next;
  throw new RangeError(
    `Cannot simulate an SDE: drift and diffusion must fit x of shape [${shape}], got [${next.shape}] after a step`,
  );
}

function check(options: SimulateOptions): void {
  const { x, keys } = decoded("simulate an SDE", options, simulateRules);
  const list: readonly Key[] = Array.isArray(keys) ? keys : [keys];
  const refused = (wanted: string, got: unknown): RangeError =>
    new RangeError(`Cannot simulate an SDE: ${wanted}, got ${got}`);
  if (!(x.size > 0)) throw refused("x must have elements", `shape [${x.shape}]`);
  if (list === keys && list.length !== x.shape[0]) {
    throw refused(`keys must be one, or one for each of ${x.shape[0]} samples`, list.length);
  }
  for (const key of list) checkKey("simulate an SDE", key, list === keys ? "each of keys" : "keys");
}

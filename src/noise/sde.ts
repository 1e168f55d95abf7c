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
 * of stochastic differential equations" (1982), for Heun's; Y. Song et al., "Score-based generative modeling through
 * SDEs" (ICLR 2021), section 3.1, for the forward SDEs. The stationary law of Ornstein and Uhlenbeck's process has the
 * variance sigma²/(2·theta); texts that print sigma² have theta = ½ in mind.
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
import { checkOptions, type Known, refusal } from "../tensor/check.ts";
import { andThen, disposing } from "../tensor/engine.ts";
import { type Awaitable } from "../tensor/scope.ts";
import { checkKey, type Key } from "../tensor/key.ts";
import type { Keys } from "../tensor/random.ts";
import { brownianSteps } from "./brownian.ts";
import type { PathState } from "./ode.ts";
import type { Schedule } from "./schedule.ts";

/**
 * A function of x and t: a tensor that broadcasts to the shape of x, handed over to the caller, or a number. It may answer
 * later.
 */
export type SdeField = (x: tf.Tensor, t: number) => Awaitable<tf.Tensor | number>;

/** An Itô SDE with diagonal noise, dx = f(x, t) dt + g(x, t) dW, as data. */
export interface Sde {
  /** f(x, t), in units of x per unit of time. */
  readonly drift: SdeField;
  /** g(x, t), in units of x per square root of time. */
  readonly diffusion: SdeField;
  /** ∂g/∂x of each element by itself; 0 where the noise is additive. Default: unknown, and Milstein and Heun refuse. */
  readonly diffusionSlope?: SdeField;
}

/** A step of an SDE to be made. */
export interface SdeMove {
  /** Where it starts. Not disposed of. */
  readonly x: tf.Tensor;
  /** Time there. */
  readonly t: number;
  /** Length of the step; negative where time falls. */
  readonly h: number;
  /** Increment of the Brownian motion, shape of x, N(0, |h|·I). Not disposed of. */
  readonly dw: tf.Tensor;
}

/** A scheme for SDEs with diagonal noise. */
export interface SdeScheme {
  /** Strong order, where g depends on x. */
  readonly order: number;
  /** Whether it asks for `diffusionSlope`. */
  readonly slope: boolean;
  /** x(t + h), shape of x, handed over; at once where the SDE answers at once. */
  readonly step: (sde: Sde, move: SdeMove) => Awaitable<tf.Tensor>;
}

/** The schemes by name; see {@link sdeSchemes}. */
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

type Value = tf.Tensor | number;

/** What a use of some fields' values at one point gives; the values are disposed of after it. */
function withValues(
  fields: readonly SdeField[],
  { x, t }: Pick<SdeMove, "x" | "t">,
  use: (...values: Value[]) => Awaitable<tf.Tensor>,
): Awaitable<tf.Tensor> {
  const [field, ...rest] = fields;
  if (!field) return use();
  return andThen(field(x, t), (answer) => {
    const value = answer === x ? tf.clone(x) : answer; // a field may answer with its argument
    return disposing(value, () => withValues(rest, { x, t }, (...more) => use(value, ...more)));
  });
}

const sum = (first: tf.Tensor, ...terms: tf.Tensor[]): tf.Tensor =>
  terms.reduce((a, b) => tf.add(a, b), first);

/** x + f·h + g·dw. */
const moved = ({ x, h, dw }: SdeMove, f: Value, g: Value): tf.Tensor =>
  tf.tidy(() => sum(x, tf.mul(f, h), tf.mul(g, dw)));

/** (dW² − |h|)/2, the double integral of dW over itself. */
const twofold = ({ h, dw }: SdeMove): tf.Tensor => tf.mul(tf.sub(tf.square(dw), Math.abs(h)), 0.5);

/** The Stratonovich drift over a step, f·h − ½·g·(∂g/∂x)·|h|. */
const stratonovich = (h: number, f: Value, g: Value, slope: Value): tf.Tensor =>
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
      withValues([drift, diffusion], move, (f, g) => moved(move, f!, g!)),
  },
  milstein: {
    order: 1,
    slope: true,
    step: (sde, move) =>
      withValues(
        [sde.drift, sde.diffusion, slopeOf(sde)],
        move,
        (f, g, slope) =>
          tf.tidy(() => sum(moved(move, f!, g!), tf.mul(tf.mul(g!, slope!), twofold(move)))),
      ),
  },
  heun: {
    order: 1,
    slope: true,
    step: (sde, move) => {
      const { x, t, h, dw } = move, fields = [sde.drift, sde.diffusion, slopeOf(sde)];
      const change = (at: tf.Tensor, time: number): Awaitable<tf.Tensor> =>
        withValues(
          fields,
          { x: at, t: time },
          (f, g, slope) => tf.tidy(() => tf.add(stratonovich(h, f!, g!, slope!), tf.mul(g!, dw))),
        );
      return andThen(change(x, t), (first) =>
        disposing(first, () => {
          const ahead = tf.add(x, first);
          return andThen(disposing(ahead, () => change(ahead, t + h)), (second) =>
            disposing(second, () =>
              tf.tidy(() => sum(x, tf.mul(tf.add(first, second), 0.5)))));
        }));
    },
  },
  platen: {
    order: 1,
    slope: false,
    step: ({ drift, diffusion }, move) =>
      withValues([drift, diffusion], move, (f, g) => {
        const { t, h } = move, root = Math.sqrt(Math.abs(h));
        const aside = tf.tidy(() => sum(move.x, tf.mul(f!, move.h), tf.mul(g!, root)));
        return disposing(aside, () =>
          withValues([diffusion], { x: aside, t }, (there) =>
            tf.tidy(() => {
              const slope = tf.div(tf.sub(there!, g!), root);
              return sum(moved(move, f!, g!), tf.mul(slope, twofold(move)));
            })));
      }),
  },
};

/** Refuses parameters that are no finite numbers, or a deviation below 0. */
function checkParameters(action: string, parameters: Readonly<Record<string, number>>): void {
  for (const [name, value] of Object.entries(parameters)) {
    if (!Number.isFinite(value)) throw refusal(action, `${name} must be a finite number`, value);
  }
  const { sigma } = parameters;
  if (sigma! < 0) throw refusal(action, "sigma must be at least 0", sigma);
}

/** Options of {@link brownianMotion}. */
export interface BrownianMotionOptions {
  /** Drift, in units of x per unit of time. Default: 0. */
  readonly drift?: number;
  /** Standard deviation after a unit of time, at least 0. Default: 1. */
  readonly sigma?: number;
}

const motionOptions: Known<BrownianMotionOptions> = { drift: true, sigma: true };

/**
 * Brownian motion with drift, dx = mu dt + sigma dW: x(t) ~ N(x(0) + mu·t, sigma²·t).
 *
 * @param options Drift and sigma.
 * @returns The SDE. Every scheme is exact for it.
 * @throws {TypeError} If an option is unknown.
 * @throws {RangeError} If a number is not finite, or sigma is below 0.
 *
 * @example
 * ```ts
 * import { brownianMotion } from "@tweedie/tweedie";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import * as tf from "@tensorflow/tfjs-core";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * assert.equal(brownianMotion({ sigma: 3 }).diffusion(tf.scalar(0), 0), 3);
 * ```
 */
export function brownianMotion(options: BrownianMotionOptions = {}): Sde {
  const action = "make a Brownian motion";
  checkOptions(action, options, motionOptions);
  const { drift = 0, sigma = 1 } = options;
  checkParameters(action, { drift, sigma });
  return { drift: () => drift, diffusion: () => sigma, diffusionSlope: () => 0 };
}

/** Options of {@link geometricBrownianMotion}. */
export interface GeometricBrownianMotionOptions {
  /** Rate of growth of the mean, per unit of time. Default: 0. */
  readonly mu?: number;
  /** Standard deviation of the relative change, per square root of time, at least 0. Default: 1. */
  readonly sigma?: number;
}

const geometricOptions: Known<GeometricBrownianMotionOptions> = { mu: true, sigma: true };

/**
 * Geometric Brownian motion, dx = mu·x dt + sigma·x dW, whose solution is known for each path:
 * x(t) = x(0)·exp((mu − sigma²/2)·t + sigma·W(t)), with mean x(0)·exp(mu·t).
 *
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
  const action = "make a geometric Brownian motion";
  checkOptions(action, options, geometricOptions);
  const { mu = 0, sigma = 1 } = options;
  checkParameters(action, { mu, sigma });
  return {
    drift: (x) => tf.mul(x, mu),
    diffusion: (x) => tf.mul(x, sigma),
    diffusionSlope: () => sigma,
  };
}

/** Options of {@link ornsteinUhlenbeck}. */
export interface OrnsteinUhlenbeckOptions {
  /** Rate of return, per unit of time. Default: 1. */
  readonly theta?: number;
  /** Noise, in units of x per square root of time, at least 0. Default: 1. */
  readonly sigma?: number;
  /** What it returns to, in units of x. Default: 0. */
  readonly mean?: number;
}

const returnOptions: Known<OrnsteinUhlenbeckOptions> = { theta: true, sigma: true, mean: true };

/**
 * Ornstein and Uhlenbeck's process, dx = theta·(mean − x) dt + sigma dW. Over a time u, x goes to
 * N(mean + (x − mean)·e^(−theta·u), sigma²·(1 − e^(−2·theta·u))/(2·theta)); the stationary law is N(mean, sigma²/(2·theta)).
 *
 * @param options Rate, noise and mean.
 * @returns The SDE.
 * @throws {TypeError} If an option is unknown.
 * @throws {RangeError} If a number is not finite, or sigma is below 0.
 *
 * @example
 * ```ts
 * import { ornsteinUhlenbeck } from "@tweedie/tweedie";
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
  checkOptions(action, options, returnOptions);
  const { theta = 1, sigma = 1, mean = 0 } = options;
  checkParameters(action, { theta, sigma, mean });
  return {
    drift: (x) => tf.tidy(() => tf.mul(tf.sub(mean, x), theta)),
    diffusion: () => sigma,
    diffusionSlope: () => 0,
  };
}

/**
 * The SDE of a schedule, dx = f(t)·x dt + g(t) dW, which takes data at the start of the span to x_t with the schedule's
 * marginals: variance exploding, variance preserving, sub-VP and every other (Song et al., section 3.4).
 *
 * @param schedule The schedule. Its sigma at the start may be above 0: the start is then already noised as much.
 * @returns The SDE, for times in the schedule's domain.
 *
 * @example
 * ```ts
 * import { forwardSde, vp } from "@tweedie/tweedie";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import * as tf from "@tensorflow/tfjs-core";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * assert.equal(forwardSde(vp({ betaMin: 1, betaMax: 1 })).diffusion(tf.scalar(0), 0.5), 1);
 * ```
 */
export function forwardSde(schedule: Schedule): Sde {
  return {
    drift: (x, t) => tf.mul(x, schedule.drift(t)),
    diffusion: (_, t) => schedule.diffusion(t),
    diffusionSlope: () => 0,
  };
}

/** Options of {@link simulate}. */
export interface SimulateOptions {
  /** Where the paths start, shape [N, ...sample] or any other under one key. It stays the caller's. */
  readonly x: tf.Tensor;
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

const simulateOptions: Known<SimulateOptions> = {
  x: true,
  span: true,
  steps: true,
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
      const made = disposing(dw, () => {
        signal?.throwIfAborted();
        return scheme.step(sde, { x, t, h: next - t, dw });
      });
      state = { x: sameShape(await made, x), t: next, step: step + 1 };
      x.dispose();
      yield state;
    }
  } finally {
    state.x.dispose();
  }
}

/** The state that follows; a field that broadcasts x, such as one of shape [N] for x [N, 1], would go on in silence. */
function sameShape(next: tf.Tensor, { shape }: tf.Tensor): tf.Tensor {
  if (tf.util.arraysEqual(next.shape, shape)) return next;
  next.dispose();
  throw new RangeError(
    `Cannot simulate an SDE: drift and diffusion must fit x of shape [${shape}], got [${next.shape}] after a step`,
  );
}

function check(options: SimulateOptions): void {
  checkOptions("simulate an SDE", options, simulateOptions);
  const { x, span, steps, keys } = options;
  const list: readonly Key[] = Array.isArray(keys) ? keys : [keys];
  const refused = (wanted: string, got: unknown): RangeError =>
    new RangeError(`Cannot simulate an SDE: ${wanted}, got ${got}`);
  if (!(x.size > 0)) throw refused("x must have elements", `shape [${x.shape}]`);
  if (!(span.every(Number.isFinite) && span[0] !== span[1])) {
    throw refused("span must be two different finite times", `[${span.join(", ")}]`);
  }
  if (!(Number.isSafeInteger(steps) && steps >= 1)) {
    throw refused("steps must be a whole number of at least 1", steps);
  }
  if (list === keys && list.length !== x.shape[0]) {
    throw refused(`keys must be one, or one for each of ${x.shape[0]} samples`, list.length);
  }
  for (const key of list) checkKey("simulate an SDE", key, list === keys ? "each of keys" : "keys");
}

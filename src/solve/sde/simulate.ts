/**
 * Paths of SDEs.
 *
 * {@link simulate} follows a Brownian path that is a function of its keys, so that another number of steps, or another scheme,
 * sees the same path: the difference is the scheme's own, strong, error.
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
import {
  decoded,
  is,
  needed,
  type Rules,
  showing,
  wholeNumber,
} from "../../tensor/check/decode.ts";
import { checkKey, type Key } from "../../tensor/key.ts";
import type { Keys } from "../../tensor/random.ts";
import { own, owned, scope } from "../../tensor/scope.ts";
import { brownianSteps } from "../brownian.ts";
import type { PathState } from "../ode.ts";
import type { Tensor } from "../../tensor/tensor.ts";
import type { Sde } from "./equation.ts";
import { type SdeScheme, sdeSchemes, slopeOf } from "./scheme.ts";

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

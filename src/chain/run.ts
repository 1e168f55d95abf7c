/**
 * The driver of every chain in the library.
 *
 * Ownership: a yielded state lives until the next pull. The driver disposes of every tensor of the last state that the next
 * one does not share, also when it is broken off, aborted or thrown in. Each transition is a scope: what it makes besides its
 * state is freed. The start belongs to the caller.
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
import { isKey, notFinite, shown } from "../tensor/check/check.ts";
import { callable, decoded, is, needed, type Rules, wholeNumber } from "../tensor/check/decode.ts";
import { atHand } from "../tensor/check/ready.ts";
import { anEngine, type Engine, heeding, pacer } from "../tensor/engine.ts";
import { type Awaitable, owned, scope, tensorsIn } from "../tensor/scope.ts";
import type { Chain, ChainEnv, ChainSampler, ChainStart, ChainTransition } from "./chain.ts";
import { replaced, stepOn } from "./compiled.ts";
import type { Tensor } from "../tensor/tensor.ts";

/**
 * What a run is told beside the environment of its transitions.
 *
 * @category Chains
 */
export interface RunControl<S extends Chain> {
  /** Stop with an error when a state holds NaN or infinity. Default: true. */
  readonly finite?: boolean;
  /**
   * What runs the steps: each is compiled as a whole (network, guidance and update), with everything that it does not
   * compute with tensors left here. The model must answer at once. Default: none, each operation by itself.
   */
  readonly engine?: Engine;
  /**
   * Ends the run before the next transition, when a state has arrived: for samplers that go on for ever, such as those that
   * choose their own steps. Default: never, the run ends with its sampler.
   */
  readonly until?: (state: S) => boolean;
}

/** The rules of all options of a run of chains. */
export const chainRunRules: Rules<ChainEnv & RunControl<never>> = {
  key: needed(is("a key, as key(0) makes them", isKey, true)),
  first: wholeNumber(0),
  signal: is("an AbortSignal", (s: AbortSignal) => typeof s?.throwIfAborted === "function", true),
  noise: callable,
  density: true,
  finite: is("a boolean", (value: unknown) => typeof value === "boolean", true),
  engine: anEngine,
  until: callable,
};

/** What a driver asks, and how it calls things, where states are more than chains. */
export interface Driving<S extends Chain, E extends ChainEnv> {
  /** Refuses options that no run can be made with, and gives the environment of the transitions. */
  readonly environment: (options: E & RunControl<S>, sampler: ChainSampler<S, E>) => E;
  /** Refuses a state that no run can start from, or that no step can lead to. */
  readonly check: (state: S) => void;
  /** Where a state is besides its step, for messages, such as `", t = 0.5"`; undefined for one that is nowhere. */
  readonly where: (state: S) => string | undefined;
  /** What its parts are called in messages. */
  readonly called: Readonly<Record<string, string>>;
}

/**
 * Runs chains in one way of driving: yields the start, then each state, pulled one at a time.
 *
 * @param driving What is asked.
 * @returns The function of a start and options that gives the function of a sampler.
 */
export const driver = <S extends Chain, E extends ChainEnv>(driving: Driving<S, E>) =>
(
  start: ChainStart<S, E>,
  options: E & RunControl<S>,
) =>
(sampler: ChainSampler<S, E>): AsyncIterable<S> => {
  if (typeof sampler?.[Symbol.asyncIterator] !== "function") {
    throw new TypeError(
      `Cannot run: sampler must be a sampler, such as ddim(schedule), got ${shown(sampler)}`,
    );
  }
  return { [Symbol.asyncIterator]: () => driven(driving, { start, options, sampler }) };
};

/** What is to be run. */
interface Run<S extends Chain, E extends ChainEnv> {
  readonly start: ChainStart<S, E>;
  readonly options: E & RunControl<S>;
  readonly sampler: ChainSampler<S, E>;
}

async function* driven<S extends Chain, E extends ChainEnv>(
  driving: Driving<S, E>,
  { start, options, sampler }: Run<S, E>,
): AsyncGenerator<S, void, undefined> {
  const env = driving.environment(options, sampler), pace = pacer();
  const { engine, signal, until, finite = true } = options;
  signal?.throwIfAborted();
  if (typeof start !== "function") driving.check(start);
  let state = typeof start === "function"
    ? await scope(() => owned(start(env, sampler.from)), { signal })
    : retained(start);
  const next = (transition: ChainTransition<S, E>): Awaitable<S> => {
    const before = state, compiled = engine && stepOn(engine, transition(env), before);
    return scope<S>(() => {
      const coming = compiled ?? transition(env)(before);
      return coming instanceof Promise ? owned(coming, before) : coming;
    }, { signal });
  };
  try {
    driving.check(state);
    let held = tensorsIn(state);
    if (finite) await checkFinite(driving, state, held);
    for (const check of sampler.checks ?? []) await check(env, state);
    yield state;
    for await (const transition of heeding(sampler, signal)) {
      signal?.throwIfAborted();
      if (until?.(state)) return;
      const coming = next(transition);
      const reached = counted(state, coming instanceof Promise ? await coming : coming);
      const old = held, made = tensorsIn(reached);
      checkStep(driving, state, reached);
      state = reached;
      held = made;
      try {
        if (finite) await checkFinite(driving, state, made.filter((each) => !old.includes(each)));
      } finally {
        dropped(old, made);
      }
      await pace();
      signal?.throwIfAborted();
      yield state;
    }
  } finally {
    dropped(tensorsIn(state), []);
  }
}

/** Refuses a step that leads to another shape, which would be broadcast into garbage, or to no place. */
function checkStep<S extends Chain, E extends ChainEnv>(
  { where }: Driving<S, E>,
  before: S,
  reached: S,
): void {
  const [from, to] = [before, reached].map(({ x }) => x instanceof tf.Tensor ? x.shape : undefined);
  const isSame = from === to || (from && to && tf.util.arraysEqual(from, to));
  if (isSame && where(reached) !== undefined) return;
  dropped(tensorsIn(reached), tensorsIn(before));
  const told = (state: S, shape: readonly number[] | undefined): string =>
    `x of shape [${shape}]${where(state) ?? ", t = NaN"}`;
  throw new RangeError(
    `Cannot go on with the run: step ${before.step + 1} must lead from ${
      told(before, from)
    } to the like, got ${told(reached, to)}`,
  );
}

/**
 * The state reached, with its number: a transition that moves x and says nothing of its step is counted all the same, as draws
 * are made under that number, and the next would be drawn like this one.
 */
function counted<S extends Chain>(before: S, reached: S): S {
  if (reached.step !== before.step || reached.x === before.x) return reached;
  return { ...reached, step: before.step + 1 };
}

/**
 * Asks all that a step has made: what replaces a part of x would hide a NaN in the prediction, and a density shows nothing of
 * its own in x.
 */
async function checkFinite<S extends Chain, E extends ChainEnv>(
  { where, called }: Driving<S, E>,
  state: S,
  made: readonly Tensor[],
): Promise<void> {
  const numbers = numbersOf(state.x);
  if (numbers !== undefined && notFinite(numbers) !== undefined) throw unlike([]);
  if (await areFinite(made.filter(({ dtype }) => dtype === "float32"))) return;
  const parts = Object.entries(state).filter(([name, value]) =>
    name !== "x" && value instanceof tf.Tensor
  );
  const others: string[] = [];
  for (const [name, tensor] of parts) {
    if (!await areFinite([tensor as Tensor])) others.push(called[name] ?? name);
  }
  throw unlike(others);

  function unlike(others: readonly string[]): RangeError {
    const got = `got NaN or infinity at step ${state.step}${where(state) ?? ""}`;
    if (state.step === 0) return new RangeError(`Cannot run: the start's x must be finite, ${got}`);
    return new RangeError(
      `Cannot go on with the run: ${called["x"] ?? "x"} must be finite, ${got}${
        others.length > 0 ? `, also in ${others.join(" and ")}` : ""
      }`,
    );
  }
}

/** The numbers of a state that is no tensor: a list, an array of numbers, or an ndarray of them. */
function numbersOf(x: unknown): ArrayLike<number> | undefined {
  if (typeof x === "number") return [x];
  if (x instanceof Float32Array || x instanceof Float64Array) return x;
  const data = (x as { readonly data?: unknown } | null)?.data;
  return data instanceof Float32Array || data instanceof Float64Array ? data : undefined;
}

/** Whether numbers are finite: looked at where they are at hand; elsewhere NaN and infinity both survive a sum, of which one is read. */
async function areFinite(tensors: readonly Tensor[]): Promise<boolean> {
  const far: Tensor[] = [];
  for (const each of tensors) {
    const values = atHand(each);
    if (values === undefined) far.push(each);
    else if (notFinite(values) !== undefined) return false;
  }
  if (far.length === 0) return true;
  const total = scope(() => {
    // Those of one shape are added first: to read a sum costs more than to add.
    const sums: Tensor[] = [];
    for (const each of far) {
      const i = sums.findIndex(({ shape }) => tf.util.arraysEqual(shape, each.shape));
      if (i < 0) sums.push(each);
      else sums[i] = tf.add(sums[i]!, each);
    }
    return sums.map((each) => tf.sum(tf.mul(each, 0))).reduce((sum, each) => tf.add(sum, each));
  });
  const [value] = await total.data().finally(() => total.dispose());
  return value === 0;
}

/** Disposes of tensors that are not held. */
const dropped = (tensors: readonly Tensor[], held: readonly Tensor[]): void =>
  tensors.filter((tensor) => !held.includes(tensor)).forEach((tensor) => tensor.dispose());

const wrong = (wanted: string, got: unknown): TypeError =>
  new TypeError(`Cannot run: ${wanted}, got ${shown(got)}`);

/**
 * Refuses a state that no run can start from.
 *
 * @param state The state.
 * @throws {TypeError} If it is none, or a tensor in it is disposed of.
 */
export function checkChain(state: Chain): void {
  if (typeof state !== "object" || state === null || state.x === undefined) {
    throw wrong("the start must have an x", state);
  }
  if (tensorsIn(state).some(({ isDisposed }) => isDisposed)) {
    throw wrong("the start's tensors must be alive", "one that is disposed of");
  }
  if (!Number.isSafeInteger(state.step) || state.step < 0) {
    throw wrong("the start's step must be a whole number of at least 0", state.step);
  }
}

/** How chains without a schedule are driven. */
export const plainly = <S extends Chain, E extends ChainEnv>(): Driving<S, E> => ({
  environment: (options) => decoded("run", options, chainRunRules),
  check: checkChain,
  where: () => "",
  called: {},
});

/**
 * The same value with tensors of its own, so that it can be disposed of by itself. The copies share their numbers with
 * the originals; what is neither a tensor nor plain data is shared as it is.
 *
 * @category Chains
 * @param value A state, or any tree of plain data and tensors.
 * @returns The copy. The caller disposes of its tensors.
 *
 * @example
 * ```ts
 * import { retained } from "@tweedie/tweedie/chain";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import * as tf from "@tensorflow/tfjs-core";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const state = { x: tf.tensor([1, 2]), t: 1, step: 0 }, copy = retained(state);
 * state.x.dispose();
 * assert.deepEqual([...copy.x.dataSync()], [1, 2]);
 * ```
 */
export function retained<S>(value: S): S {
  return replaced(value, (tensor) => tf.clone(tensor));
}

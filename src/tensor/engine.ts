/**
 * What runs pure functions of tensors, and may make them faster.
 *
 * An engine takes a function from named tensors to named tensors, in tfjs operations, and gives one that answers with
 * the same numbers, to float rounding. The eager one calls the function; others trace it once for each set of shapes,
 * compile what they see and run that. So the function must be pure: what it reads besides its arguments is fixed when it
 * is first seen.
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
import { is, type Rule } from "./check/decode.ts";
import type { Awaitable } from "./scope.ts";
import type { Tensor } from "./tensor.ts";

/**
 * Tensors by name.
 *
 * @category Engines
 */
export type Tensors = Readonly<Record<string, Tensor>>;

/**
 * A pure, synchronous function from named tensors to named tensors, which the caller disposes of.
 *
 * @category Engines
 */
export type Pure = (inputs: Tensors) => Record<string, Tensor>;

/** One turn of the event loop: what waits in it (timers, signals, sockets) has its turn before the promise is kept. */
const turn = (): Promise<void> =>
  new Promise((resolve) => {
    if (typeof setImmediate === "function") setImmediate(resolve);
    else setTimeout(resolve, 0);
  });

/**
 * Lets the event loop turn now and then, in long work that awaits only what is already there: otherwise no timer fires, no
 * signal arrives and no server answers until it is over. It turns for less than a hundredth of the time that has passed, more
 * than once, since an answer to a request takes several turns.
 *
 * @category Engines
 * @param every Milliseconds of work between pauses. Default: 25.
 * @returns A function to call between pieces of work, which answers with a promise when it is time to pause.
 *
 * @example A timer fires in the middle of a loop
 * ```ts
 * import { pacer } from "@tweedie/tweedie/tensor";
 * import assert from "node:assert/strict";
 *
 * const pace = pacer();
 * let rang = false;
 * setTimeout(() => rang = true, 10);
 * const end = performance.now() + 10_000;
 * while (!rang && performance.now() < end) await pace();
 * assert.ok(rang);
 * ```
 */
export function pacer(every = 25): () => Awaitable<void> {
  let last = performance.now();
  const paused = async (worked: number): Promise<void> => {
    const until = performance.now() + worked / 150;
    do await turn(); while (performance.now() < until);
    last = performance.now();
  };
  return () => {
    const worked = performance.now() - last;
    return worked < every ? undefined : paused(worked);
  };
}

/**
 * A stream that ends with a signal's reason as soon as that comes, also where its source never answers.
 *
 * @param source The stream.
 * @param signal The signal. Default: none.
 * @returns The same items. Closing it closes the source; one that does not answer is left to itself.
 */
export async function* heeding<A>(
  source: Iterable<A> | AsyncIterable<A>,
  signal: AbortSignal | undefined,
): AsyncGenerator<A, void, undefined> {
  if (signal === undefined) return yield* source;
  const iterator = Symbol.asyncIterator in source
    ? source[Symbol.asyncIterator]()
    : source[Symbol.iterator]();
  let stop = (): void => {}, hangs = false;
  const stopped = new Promise<never>((_, reject) => {
    stop = () => reject(signal.reason);
    signal.addEventListener("abort", stop);
  });
  stopped.catch(() => undefined);
  try {
    for (;;) {
      hangs = true;
      const next = await Promise.race([iterator.next(), stopped]);
      hangs = false;
      if (next.done) return;
      yield next.value;
    }
  } finally {
    signal.removeEventListener("abort", stop);
    const closed = Promise.resolve(iterator.return?.());
    // A generator that waits for what never comes would keep its closing waiting too.
    if (hangs) closed.catch(() => undefined);
    else await closed;
  }
}

/**
 * A function on an engine.
 *
 * @category Engines
 */
export interface Compiled {
  /**
   * The function's answer. The inputs stay the caller's; the outputs, on tfjs's current backend, are handed over.
   * Rejects with an error that names the function's fault, or the engine's.
   */
  readonly run: (inputs: Tensors) => Promise<Record<string, Tensor>>;
  /** Frees what the engine holds for it. Calling it again does nothing. */
  readonly dispose: () => Promise<void>;
}

/**
 * What a step of a fold answers: the state that follows, of the names and shapes of the one before, and outputs.
 *
 * @category Engines
 */
export interface Folded {
  /** The state that follows. */
  readonly state: Record<string, Tensor>;
  /** What the caller is told. */
  readonly outputs: Record<string, Tensor>;
}

/**
 * A pure, synchronous step of a fold.
 *
 * @category Engines
 */
export type FoldStep = (state: Tensors, inputs: Tensors) => Folded;

/**
 * A fold whose state stays with the engine, for steps whose state is large and seldom looked at.
 *
 * @category Engines
 */
export interface Fold {
  /** Makes a step: inputs stay the caller's, outputs are handed over. */
  readonly step: (inputs: Tensors) => Promise<Record<string, Tensor>>;
  /** A copy of the state, handed over. */
  readonly state: () => Promise<Record<string, Tensor>>;
  /** Frees what the engine holds for it. Calling it again does nothing. */
  readonly dispose: () => Promise<void>;
}

/**
 * Something that runs pure functions of tensors.
 *
 * @category Engines
 */
export interface Engine {
  /** What runs them, in a few words, for people. */
  readonly name: string;
  /**
   * Makes a function ready.
   *
   * @param fn The function.
   * @param constants Inputs that never change, such as weights, given here once instead of at every call. They stay
   *   the caller's and must outlive the result.
   */
  readonly compile: (fn: Pure, constants?: Tensors) => Compiled;
  /**
   * Begins a fold.
   *
   * @param step The step.
   * @param start The first state. It stays the caller's, and is copied before the promise resolves.
   */
  readonly fold: (step: FoldStep, start: Tensors) => Promise<Fold>;
  /**
   * Runs a function that is another one each time, such as a step of a sampler: its operations are looked at each time
   * and compiled where they are new; the numbers that it brings along may differ. What {@link outlined} functions in it
   * compute is looked at once.
   *
   * @param fn The function: synchronous.
   * @param inputs Its inputs, which stay the caller's.
   * @returns Its answer, handed over.
   */
  readonly run: (fn: Pure, inputs: Tensors) => Promise<Record<string, Tensor>>;
  /** Frees everything. Calling it again does nothing. */
  readonly close: () => Promise<void>;
}

/** The rule of an option that is an engine. */
export const anEngine: Rule = is(
  "an engine, such as onnx() makes",
  (engine: Partial<Engine> | null) =>
    [engine?.compile, engine?.fold, engine?.run].every((part) => typeof part === "function"),
  true,
);

/**
 * A pure function with constants of its own, which an engine that traces what surrounds it takes as one piece.
 *
 * @category Engines
 */
export interface Unit {
  /** The function. */
  readonly fn: Pure;
  /** Inputs that never change. */
  readonly constants: Tensors;
}

/**
 * Takes the call of a unit down, instead of carrying it out.
 *
 * @category Engines
 */
export type Outliner = (unit: Unit, inputs: Tensors) => Record<string, Tensor>;

let outliner: Outliner | undefined;

/**
 * Carries out a synchronous body, in which calls of units are taken down, or with none also within one that does.
 *
 * @category Engines
 */
export function outlining<A>(take: Outliner | undefined, body: () => A): A {
  const before = outliner;
  outliner = take;
  try {
    return body();
  } finally {
    outliner = before;
  }
}

/**
 * Marks a pure function as one piece for engines: traced once for each set of shapes, however often what surrounds it is.
 * Elsewhere, and where a gradient is taken through it, it is the function itself.
 *
 * @category Engines
 * @param fn The function.
 * @param constants Inputs that never change, such as weights. They stay the caller's.
 * @returns The function of the other inputs.
 */
export function outlined(fn: Pure, constants: Tensors = {}): Pure {
  const unit: Unit = { fn, constants };
  return (inputs) =>
    outliner !== undefined && tf.engine().state.gradientDepth === 0
      ? outliner(unit, inputs)
      : fn({ ...constants, ...inputs });
}

/**
 * Other tensors by the same names.
 *
 * @category Engines
 */
export function mapTensors(
  tensors: Tensors,
  f: (tensor: Tensor, name: string) => Tensor,
): Record<string, Tensor> {
  return Object.fromEntries(
    Object.entries(tensors).map(([name, tensor]) => [name, f(tensor, name)]),
  );
}

/**
 * The engine that calls each function as it is, on tfjs's current backend. It holds nothing, so to close it does nothing:
 * folds are disposed of one by one.
 *
 * @category Engines
 * @example Twice what is given
 * ```ts
 * import { eager } from "@tweedie/tweedie";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import * as tf from "@tensorflow/tfjs-core";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const doubled = eager.compile(({ x }) => ({ y: tf.mul(x!, 2) }));
 * const { y } = await doubled.run({ x: tf.tensor([1, 2]) });
 * assert.deepEqual([...y!.dataSync()], [2, 4]);
 * ```
 *
 * @example A running sum
 * ```ts
 * import { eager } from "@tweedie/tweedie";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import * as tf from "@tensorflow/tfjs-core";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const sum = await eager.fold(
 *   ({ sum }, { x }) => ({ state: { sum: tf.add(sum!, x!) }, outputs: {} }),
 *   { sum: tf.scalar(0) },
 * );
 * for (const x of [1, 2, 3]) await sum.step({ x: tf.scalar(x) });
 * assert.equal((await sum.state())["sum"]!.dataSync()[0], 6);
 * await sum.dispose();
 * ```
 */
export const eager: Engine = {
  name: "tfjs, uncompiled",
  compile: (fn, constants = {}) => ({
    run: (inputs) =>
      soon(() => tf.tidy(() => cloned(answered("run", fn({ ...constants, ...inputs }))))),
    dispose: () => Promise.resolve(),
  }),
  fold: (step, start) => soon(() => eagerFold(step, start)),
  run: (fn, inputs) => soon(() => tf.tidy(() => cloned(answered("run", fn(inputs))))),
  close: () => Promise.resolve(),
};

/** What a function has answered; refuses what is not tensors by name. */
export function answered(action: string, answer: unknown): Record<string, Tensor> {
  const isRecord = answer !== null && typeof answer === "object" &&
    [Object.prototype, null].includes(Object.getPrototypeOf(answer)) &&
    Object.values(answer).every((value) => value instanceof tf.Tensor);
  if (isRecord) return answer as Record<string, Tensor>;
  const got = answer instanceof Promise
    ? "a promise"
    : Array.isArray(answer)
    ? "a list"
    : answer === null
    ? "null"
    : typeof answer;
  // Its own failure, which is to come, is no news.
  if (answer instanceof Promise) answer.catch(() => undefined);
  throw new TypeError(`Cannot ${action}: the function must answer tensors by name, got ${got}`);
}

/** A promise of what a function returns or throws. */
const soon = <A>(f: () => A): Promise<A> => new Promise((resolve) => resolve(f()));

/** Handles of their own, so that an output that is an input, or is there twice, can be disposed of by itself. */
const cloned = (tensors: Tensors): Record<string, Tensor> =>
  mapTensors(tensors, (tensor) => tf.clone(tensor));

function eagerFold(step: FoldStep, start: Tensors): Fold {
  // The state outlives the call, and the scope that the call is made in.
  const kept = (state: Tensors): Tensors => mapTensors(state, (tensor) => tf.keep(tensor));
  let held: Tensors | undefined = kept(cloned(start));
  const open = (): Tensors => {
    if (held !== undefined) return held;
    throw new TypeError("Cannot use the fold: it must be open, got one that was disposed of");
  };
  return {
    step: (inputs) =>
      soon(() => {
        const before = open();
        const { state, outputs } = tf.tidy(() =>
          made(step(before, inputs), before) as never
        ) as Folded;
        tf.dispose({ ...before });
        held = kept(state);
        return outputs;
      }),
    state: () => soon(() => cloned(open())),
    dispose: () =>
      soon(() => {
        tf.dispose({ ...held });
        held = undefined;
      }),
  };
}

/** What a step made, in handles of its own; refuses a state that is not like the one before. */
function made({ state, outputs }: Folded, before: Tensors): Folded {
  const shapes = (tensors: Tensors): string =>
    Object.entries(tensors).map(([name, { shape }]) => `${name} [${shape}]`).sort().join(", ");
  if (shapes(state) !== shapes(before)) {
    throw new RangeError(
      `Cannot fold: the state must stay ${shapes(before)}, got ${shapes(state) || "none"}`,
    );
  }
  return { state: cloned(state), outputs: cloned(outputs) };
}

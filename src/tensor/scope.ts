/**
 * Memory: what is made in a scope and is not in its result is freed when the scope ends, fails or is called off.
 *
 * tfjs frees tensors by hand, or in a `tidy` that cannot wait. A {@link scope} can: its work is a generator, in which
 * `yield* owned(promise)` waits, and between two waits tfjs's own scopes see what is made. Work that waits for nothing is carried
 * out at once, so that it can be differentiated, and traced by engines, like any function.
 *
 * ```text
 * const langevin = (env: Env, { x, t }: State, eps: number) => scope(function* () {
 *   const said = yield* owned(env.model.predict(x, t));            // this scope's from now on, also if it comes later
 *   return tf.add(x, tf.mul(said.value, eps));                     // all but this is freed
 * });
 * ```
 *
 * What a scope gives belongs to the scope around it, or to the caller. What was there before it began stays whose it was, also
 * where it is given back. A scope that waits when the one around it has failed, or when its signal has come, is called off: it
 * is not gone on with, and what it has made, or is still to be given, is freed.
 *
 * This file alone knows tfjs's private parts: the tensors of its scope, and the tape of its gradients.
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
import { checkOptions, type Known } from "./check/check.ts";
import type { Tensor } from "./tensor.ts";

/**
 * A value, or a promise of it.
 *
 * @category Memory
 */
export type Awaitable<A> = A | Promise<A>;

/**
 * Work that may have to wait, written `function*`. A part of it is called by `yield*`.
 *
 * @category Memory
 */
export type Scoped<A> = Generator<Promise<unknown>, A, unknown>;

/**
 * Options of {@link scope}.
 *
 * @category Memory
 */
export interface ScopeOptions {
  /** Calls the scope off, if it still waits 50 ms after the signal. Default: none. */
  readonly signal?: AbortSignal | undefined;
}

const none: ScopeOptions = {}, scopeOptions: Known<ScopeOptions> = { signal: true };

/** What a scope holds. */
interface Arena {
  /** What is to be freed, besides what tfjs's scope tracks; made when there is something, as most scopes never wait. */
  made: Set<Tensor> | undefined;
  /** The scopes in it that wait; likewise. */
  waiting: Set<Arena> | undefined;
  /** `"off"`: called off, so that what is still to come for it is freed as it comes. */
  state: "open" | "over" | "off";
  /** Calls it off, while it waits. */
  callOff: (reason: unknown) => void;
}

let current: Arena | undefined;

/** A tensor, as far as tfjs tells its scopes apart. */
interface Tracked {
  readonly scopeId?: number;
}

/**
 * The tensors in a value, each once.
 *
 * tfjs's own search asks for each number of an array by name: of a state of spins or bytes that takes longer than a step.
 *
 * @param value A tensor, or a tree of plain data with tensors in it.
 * @returns The tensors, in the order of the tree.
 */
export function tensorsIn(value: unknown): Tensor[] {
  const found: Tensor[] = [], seen = new Set<unknown>();
  const look = (each: unknown): void => {
    if (typeof each !== "object" || each === null || ArrayBuffer.isView(each)) return;
    if (seen.has(each)) return;
    seen.add(each);
    if (each instanceof tf.Tensor) found.push(each);
    else for (const name in each) look((each as Readonly<Record<string, unknown>>)[name]);
  };
  look(value);
  return found;
}

/**
 * Carries out work whose tensors are freed when it is over, but for those of its result.
 *
 * @category Memory
 * @param work A generator, which may wait, or a plain function, which may not.
 * @param options A signal that calls it off.
 * @returns The result: at once, unless the work waits.
 * @throws {TypeError} If an option is not known.
 * @throws What the work throws, when all is freed. Called off, it rejects with the signal's reason.
 *
 * @example Nothing is left but the sum
 * ```ts
 * import { owned, scope } from "@tweedie/tweedie";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import * as tf from "@tensorflow/tfjs-core";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const later = async () => (await Promise.resolve(), tf.tensor([1, 2]));
 * const before = tf.memory().numTensors;
 * const sum = await scope(function* () {
 *   const x = yield* owned(later());
 *   return tf.sum(tf.square(x));
 * });
 * assert.equal(sum.dataSync()[0], 5);
 * assert.equal(tf.memory().numTensors - before, 1);
 * ```
 */
export function scope<A>(work: () => Scoped<A>, options?: ScopeOptions): Awaitable<A>;
/** The same, of work that cannot wait. */
export function scope<A>(work: () => A): A;
/** The same, of work that finds out whether it has to wait. */
export function scope<A>(work: () => Scoped<A> | A, options?: ScopeOptions): Awaitable<A>;
export function scope<A>(
  work: () => Scoped<A> | A,
  options: ScopeOptions = none,
): Awaitable<A> {
  // There are many scopes in a step, and few of them have any.
  if (options !== none) checkOptions("carry out a scope", options, scopeOptions);
  const { signal } = options;
  const arena: Arena = { made: undefined, waiting: undefined, state: "open", callOff: nothing };
  const outer = current;
  let steps: Scoped<A> | undefined;
  const first = carriedOn(arena, (): Step<A> => {
    const begun = work();
    if (isScoped(begun)) return (steps = begun).next();
    if (!(begun instanceof Promise)) return { done: true, value: begun };
    begun.catch(() => undefined);
    throw new TypeError(
      "Cannot carry out a scope: work that waits must be a generator, got a promise",
    );
  });
  if (!first.done) return waited(arena, { outer, steps: steps!, first: first.value, signal });
  settle(arena, outer, first.value);
  return first.value;
}

const nothing = (): void => {};

type Step<A> = IteratorResult<Promise<unknown>, A>;

// Asked of every result: what is rare is looked at first.
const isScoped = <A>(value: Scoped<A> | A): value is Scoped<A> =>
  typeof (value as Partial<Scoped<A>> | null | undefined)?.throw === "function" &&
  Symbol.iterator in (value as Scoped<A>);

/**
 * The work from one wait to the next. It is synchronous, so that scopes that are under way at once do not see each other's
 * tensors.
 */
function carriedOn<A>(arena: Arena, resume: () => Step<A>, isLate = false): Step<A> {
  const engine = tf.engine(), around = current;
  engine.startScope("scope");
  current = arena;
  let step: Step<A> | undefined;
  try {
    return step = resume();
  } finally {
    current = around;
    const isWhole = step?.done === true && !isLate;
    // Of work that has waited nothing is left to a scope of tfjs, as none is around it any more.
    if (!isWhole) hold(arena, engine.state.activeScope.track);
    engine.endScope(isWhole ? tensorsIn(step!.value) : undefined);
    if (step === undefined) fail(arena);
  }
}

function hold(arena: Arena, tracked: readonly Tensor[]): void {
  for (const each of tracked) if (!each.isDisposed && !each.kept) hand(arena, tf.keep(each));
}

function hand(arena: Arena, tensor: Tensor): void {
  (arena.made ??= new Set()).add(tensor);
}

/** Frees all but what is in the result, which is the outer scope's, if that is under way. */
function settle(arena: Arena, outer: Arena | undefined, result: unknown): void {
  if (arena.state === "open") arena.state = "over";
  if (arena.made === undefined) return;
  const given = new Set(tensorsIn(result).map(({ id }) => id));
  for (const each of arena.made) {
    if (!given.has(each.id)) each.dispose();
    else {
      each.kept = false;
      if (outer?.state === "open") hand(outer, each);
    }
  }
  arena.made = undefined;
}

function fail(arena: Arena): void {
  settle(arena, undefined, undefined);
  arena.waiting?.forEach((each) => each.callOff(new Error("The scope around it has failed")));
  releaseTape();
}

/** Work that waits, and how it began. */
interface Waiting<A> extends ScopeOptions {
  readonly outer: Arena | undefined;
  readonly steps: Scoped<A>;
  readonly first: Promise<unknown>;
}

/** The rest of work that waits. */
function waited<A>(arena: Arena, { outer, steps, first, signal }: Waiting<A>): Promise<A> {
  if (isDifferentiated()) {
    // Who takes the gradient sees a promise, and can say what it is that must answer at once.
    first.catch(() => undefined);
    fail(arena);
    return refused();
  }
  if (outer) (outer.waiting ??= new Set()).add(arena);
  let timer: ReturnType<typeof setTimeout> | undefined;
  const stop = (): void => {
    timer = setTimeout(() => arena.callOff(signal!.reason), grace);
  };
  const over = (): void => {
    outer?.waiting?.delete(arena);
    signal?.removeEventListener("abort", stop);
    clearTimeout(timer);
  };
  if (signal?.aborted) stop();
  else signal?.addEventListener("abort", stop);
  const rest = new Promise<A>((resolve, reject) => {
    const goOn = (resume: () => Step<A>): void => {
      if (arena.state === "off") return;
      try {
        const step = carriedOn(arena, resume, true);
        if (!step.done) return wait(step.value);
        settle(arena, outer, step.value);
        over();
        resolve(step.value);
      } catch (error) {
        over();
        reject(error);
      }
    };
    const wait = (coming: Promise<unknown>): void => {
      coming.then(
        (value) => goOn(() => steps.next(value)),
        (error) => goOn(() => steps.throw(error)),
      );
    };
    arena.callOff = (reason) => {
      if (arena.state !== "open") return;
      arena.state = "off";
      over();
      arena.waiting?.forEach((each) => each.callOff(reason));
      try {
        carriedOn(arena, () => steps.return(undefined as A), true);
      } catch {
        // It is called off for the reason given: nobody is left to hear what its `finally` throws.
      }
      settle(arena, undefined, undefined);
      reject(reason);
    };
    wait(first);
  });
  // Nobody may be left who waits for a scope that is called off with the one around it.
  rest.catch(() => undefined);
  return rest;
}

/** What needs an answer at once. */
export interface AtOnce {
  /** What is being done. */
  readonly action: string;
  /** Who answers. Default: `"the model"`. */
  readonly who?: string;
  /** What to do about it. Default: nothing is said. */
  readonly advice?: string;
}

/**
 * What has come at once.
 *
 * @param answer What may be a promise.
 * @param need What needs it now.
 * @returns The answer.
 * @throws {TypeError} If it is a promise, whose failure nobody hears of any more.
 */
export function atOnce<A>(answer: Awaitable<A>, need: AtOnce): A {
  if (!(answer instanceof Promise)) return answer;
  answer.catch(() => undefined);
  const { action, who = "the model", advice } = need, end = advice ? `; ${advice}` : "";
  throw new TypeError(`Cannot ${action}: ${who} must answer at once, got a promise${end}`);
}

function refused(): Promise<never> {
  const never = Promise.reject(
    new TypeError(
      "Cannot take a gradient: what is differentiated must answer at once, got a promise",
    ),
  );
  never.catch(() => undefined);
  return never;
}

/** Milliseconds in which work that is called off may come to its end by itself. */
const grace = 50;

/**
 * Gives tensors to the scope that is under way, which frees them unless they are in its result.
 *
 * @category Memory
 * @param value A tensor, or a tree of plain data with tensors in it.
 * @param but Whose tensors stay whose they are. Default: none's.
 * @returns The value.
 */
export function own<A>(value: A, but?: unknown): A {
  if (current === undefined) return value;
  const spared = but === undefined ? undefined : new Set(tensorsIn(but).map(({ id }) => id));
  const { id } = tf.engine().state.activeScope;
  for (const each of tensorsIn(value)) {
    // What tfjs's scope tracks is freed with that, or held over a wait.
    const isTracked = !each.kept && (each as unknown as Tracked).scopeId === id;
    if (isTracked || spared?.has(each.id)) continue;
    hand(current, each);
  }
  return value;
}

/**
 * A value that may be still to come. Its tensors stay whose they are.
 *
 * @category Memory
 * @param value The value, or a promise of it.
 * @returns The value; a part of work, called by `yield*`.
 */
export function* awaited<A>(value: Awaitable<A>): Scoped<A> {
  return value instanceof Promise ? (yield value) as A : value;
}

/**
 * A value that may be still to come, and is handed over: what a model answers, what a transition gives.
 *
 * @category Memory
 * @param value The value, or a promise of it.
 * @param but Whose tensors stay whose they are, such as those of the state that a transition starts from. Default: none's.
 * @returns The value; a part of work, called by `yield*`.
 */
export function* owned<A>(value: Awaitable<A>, but?: unknown): Scoped<A> {
  if (!(value instanceof Promise)) return own(value, but);
  const arena = current;
  const here = (yield value.then((late) => {
    if (arena?.state === "off") release(late, but);
    return late;
  })) as A;
  return own(here, but);
}

/** Frees the tensors of a value that others do not hold. */
function release(value: unknown, others: unknown): void {
  const held = new Set(tensorsIn(others).map(({ id }) => id));
  for (const each of tensorsIn(value)) if (!held.has(each.id)) each.dispose();
}

/**
 * A value carried through steps, each a scope of its own: however many there are, what the scope holds does not grow.
 *
 * @category Memory
 * @param first The value to start from. Its tensors stay whose they are.
 * @param count Number of steps.
 * @param step The value that follows; of the one before, what it does not hold is freed.
 * @returns The last value; a part of work, called by `yield*`.
 *
 * @example
 * ```ts
 * import { folded, scope } from "@tweedie/tweedie";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import * as tf from "@tensorflow/tfjs-core";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const x = tf.tensor([1]);
 * const y = await scope(() => folded(x, 10, function* (x) {
 *   return tf.add(x, x);
 * }));
 * assert.equal(y.dataSync()[0], 1024);
 * ```
 */
export function* folded<A>(
  first: A,
  count: number,
  step: (value: A, index: number) => Scoped<A>,
): Scoped<A> {
  if (!Number.isSafeInteger(count) || count < 0) {
    throw new RangeError(`Cannot fold: count must be a whole number of at least 0, got ${count}`);
  }
  let value = first;
  for (let index = 0; index < count; index++) {
    const before = value;
    value = yield* awaited(scope(() => step(before, index)));
    release(before, [first, value]);
  }
  return value;
}

/** Frees what tfjs has saved for a backward pass that an error has called off, and that it would keep for ever. */
function releaseTape(): void {
  const { state } = tf.engine();
  if (state.gradientDepth > 0 || state.activeTape == null) return;
  tf.dispose(state.activeTape.map(({ saved }) => saved ?? []));
  state.activeTape = [];
}

/**
 * Whether a gradient that is being taken goes from one tensor to another.
 *
 * @param value The tensor made.
 * @param x What it may have been made of.
 * @returns Whether operations lead from x to it; true where no gradient is taken.
 */
export function follows(value: Tensor, x: Tensor): boolean {
  const { activeTape, gradientDepth } = tf.engine().state;
  if (gradientDepth === 0 || activeTape == null) return true;
  const reached = new Set([x.id]);
  for (const { inputs, outputs } of activeTape) {
    if (!Object.values(inputs).some(({ id }) => reached.has(id))) continue;
    outputs.forEach(({ id }) => reached.add(id));
  }
  return reached.has(value.id);
}

/** Whether a gradient is being taken. */
export const isDifferentiated = (): boolean => tf.engine().state.gradientDepth > 0;

/** The name of the function of tfjs that is being carried out, or of the scope in it. */
export const activeName = (): string => tf.engine().state.activeScope?.name ?? "";

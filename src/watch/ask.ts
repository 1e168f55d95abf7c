/**
 * Watchers that ask the states of Markov chains for numbers, and tell what these come to as the chains go.
 *
 * A state of M chains gives M numbers of each quantity, such as their energies. Of a state that nothing is asked of, as in a
 * burn-in or at a start of which no move is known yet, `of` gives undefined; it is passed on all the same.
 *
 * @module
 */

import { pipe } from "fp-ts/lib/function.js";
import { from } from "ix/asynciterable/asynciterablex";
import { defer } from "ix/asynciterable/defer";
import { finalize } from "ix/asynciterable/operators/finalize";
import { refusal } from "../tensor/check/check.ts";
import { callable, needed, type Rules, wholeNumber } from "../tensor/check/decode.ts";
import type { Awaitable } from "../tensor/scope.ts";
import { watched } from "./record.ts";

/**
 * The numbers of each chain, by the name of the quantity: a number of one chain, a list of several. The same names, and as many
 * chains, for every state.
 *
 * @category Watchers
 */
export type Numbers<K extends string = string> = Readonly<Record<K, number | ArrayLike<number>>>;

/**
 * What to ask of a state; undefined where nothing is to be counted.
 *
 * @category Watchers
 */
export type Asked<S, K extends string = string> = (state: S) => Awaitable<Numbers<K> | undefined>;

/**
 * What a watcher asks, and whom it tells.
 *
 * @category Watchers
 */
export interface AskOptions<S, K extends string, R> {
  /** What to ask of a state: the number of each chain, by name. */
  readonly of: Asked<S, K>;
  /** Takes what there is to tell. What it throws ends the stream. */
  readonly tell: (told: R) => void;
  /** Tell at every how many states that give numbers, at least 1; the last is always told. Default: at the last alone. */
  readonly every?: number;
}

/** The rules of these options. */
export const askRules: Rules<AskOptions<never, string, never>> = {
  of: needed(callable),
  tell: needed(callable),
  every: wholeNumber(1),
};

/** The numbers of each chain of a state, one list for each name. */
export type Lists<K extends string> = readonly (readonly [K, ArrayLike<number>])[];

/** What is made of numbers that come in one state at a time. */
export interface Taking<K extends string, R> {
  /** Takes those of a state. */
  readonly add: (lists: Lists<K>) => void;
  /** What there is to tell after so many states. */
  readonly read: (count: number) => R;
}

/**
 * Refuses numbers that are not like those before.
 *
 * @param action What they are wanted for.
 * @returns A function of the numbers of each state in turn, that gives them as lists.
 * @throws {RangeError} From that function, if there are none, or names or the number of chains are others than in the first
 * state.
 */
export function alike<K extends string>(action: string): (numbers: Numbers<K>) => Lists<K> {
  let first: string | undefined;
  return (numbers) => {
    const lists = Object.entries<number | ArrayLike<number>>(numbers).map(([name, value]) =>
      [name as K, typeof value === "number" ? [value] : value] as const
    );
    const shape = lists.map(([name, { length }]) => `${length} of ${name}`).join(", ") || "none";
    if (lists.length === 0 || !lists.every(([, { length }]) => length > 0)) {
      throw refusal(action, "of must give at least one number of each name", shape);
    }
    first ??= shape;
    if (shape === first) return lists;
    throw refusal(action, `of must give as many numbers of each state, ${first}`, shape);
  };
}

/**
 * The watcher that asks each state, and tells what is made of the numbers.
 *
 * @param action What it does.
 * @param options What to ask, whom to tell, how often.
 * @param making Makes what takes the numbers, for each stream anew.
 * @returns The watcher. When the stream is broken off or fails, what there is by then is told.
 */
export const asking = <S, K extends string, R>(
  action: string,
  { of, tell, every = Infinity }: AskOptions<S, K, R>,
  making: () => Taking<K, R>,
) =>
(source: AsyncIterable<S>): AsyncIterable<S> =>
  defer(() => {
    const { add, read } = making(), like = alike<K>(action);
    let count = 0, told = 0;
    const speak = (): void => {
      told = count;
      tell(read(count));
    };
    const look = async (state: S): Promise<void> => {
      const numbers = await of(state);
      if (numbers === undefined) return;
      add(like(numbers));
      if (++count % every === 0) speak();
    };
    return pipe(
      from(watched(look)(source)),
      finalize(() => {
        if (count > told) speak();
      }),
    );
  });

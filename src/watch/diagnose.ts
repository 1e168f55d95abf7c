/**
 * Watchers that keep numbers of the states of Markov chains for the diagnostics: R̂, effective sample sizes, standard errors.
 *
 * They keep every number, 8 bytes each, unless {@link diagnosed} is told how many it may keep. It then drops every second draw
 * when there are more, keeps the numbers of every second state from there on, and so forth: the draws kept are evenly spaced at
 * any time.
 *
 * @module
 */

import { mismatch, shown } from "../tensor/check/check.ts";
import { decoded, is, type Rules } from "../tensor/check/decode.ts";
import { summaries, type Summary } from "../metric/chain/mod.ts";
import { alike, type Asked, asking, type AskOptions, askRules, type Taking } from "./ask.ts";

/**
 * Draws by the name of the quantity: for each a list of chains, each a list of numbers.
 *
 * @category Watchers
 */
export type Traced<K extends string = string> = Record<K, number[][]>;

/** What {@link tracing} has kept. */
interface Kept<K extends string> {
  readonly draws: Traced<K>;
  readonly stride: number;
}

/** Keeps numbers, at most so many of a chain. */
function tracing<K extends string>(most: number): Taking<K, Kept<K>> {
  let draws: Partial<Traced<K>> = {}, stride = 1, index = 0, length = 0;
  return {
    add(lists): void {
      if (index++ % stride !== 0) return;
      for (const [name, list] of lists) {
        const chains = draws[name] ??= Array.from(list, () => []);
        chains.forEach((chain, m) => chain.push(list[m]!));
      }
      if (++length <= most) return;
      draws = Object.fromEntries(
        lists.map((
          [name],
        ) => [name, draws[name]!.map((chain) => chain.filter((_, s) => s % 2 === 0))]),
      ) as Traced<K>;
      stride *= 2;
      length = Math.ceil(length / 2);
    },
    read: () => ({ draws: draws as Traced<K>, stride }),
  };
}

/**
 * The draws of a stream of states, chain by chain: the energies of a run, one pixel, whatever is asked.
 *
 * @category Watchers
 * @param stream The stream, which is run to its end.
 * @param of What to ask of a state: the number of each chain, by name.
 * @returns For each name a list of chains, each a list of draws; no name where no state gave numbers.
 * @throws {TypeError} If `of` is no function.
 * @throws {RangeError} If a state gives other names, or another number of chains, than the first.
 *
 * @example Two chains, without the start
 * ```ts
 * import { traced } from "@tweedie/tweedie/watch";
 * import { essBulk } from "@tweedie/tweedie/metric";
 * import { fold, key } from "@tweedie/tweedie";
 * import { normals } from "@tweedie/tweedie/tensor";
 * import assert from "node:assert/strict";
 *
 * async function* states() {
 *   for (let step = 0; step <= 400; step++) yield { step, x: normals(fold(key(0), step), 2) };
 * }
 * const { x } = await traced(states(), ({ step, x }) => step === 0 ? undefined : { x });
 * assert.deepEqual([x.length, x[0]!.length], [2, 400]);
 * assert.ok(essBulk(x) > 600);
 * ```
 */
export async function traced<S, K extends string>(
  stream: AsyncIterable<S>,
  of: Asked<S, K>,
): Promise<Traced<K>> {
  const action = "trace chains";
  if (typeof of !== "function") throw mismatch(action, "of must be a function", shown(of));
  const { add, read } = tracing<K>(Infinity), like = alike<K>(action);
  for await (const state of stream) {
    const numbers = await of(state);
    if (numbers !== undefined) add(like(numbers));
  }
  return read(0).draws;
}

/**
 * What {@link diagnosed} tells.
 *
 * @category Watchers
 */
export interface Diagnosis<K extends string = string> {
  /** The summary of each quantity. */
  readonly summaries: Record<K, Summary>;
  /** How many states have given numbers. */
  readonly count: number;
  /** How many states there are from one whose numbers are kept to the next: 1, 2, 4, … */
  readonly stride: number;
}

/**
 * Options of {@link diagnosed}.
 *
 * @category Watchers
 */
export interface DiagnosedOptions<S, K extends string = string>
  extends AskOptions<S, K, Diagnosis<K>> {
  /**
   * The most draws of a chain that are kept, at least 24, so that 12 are left of them. ESS is of those that are kept. Default:
   * no limit.
   */
  readonly most?: number;
}

const diagnosedRules: Rules<DiagnosedOptions<never>> = {
  ...askRules,
  most: is(
    "a whole number of at least 24, or Infinity",
    (n) => n >= 24 && (n === Infinity || Number.isSafeInteger(n)),
  ),
};

/**
 * Summarises what the states of chains say, as they go and at the end, and passes them on. A summary takes a millisecond or two
 * for each thousand draws of a quantity.
 *
 * @category Watchers
 * @param options What to ask, whom to tell, how often, how much to keep.
 * @returns The watcher. When the stream is broken off or fails, what there is by then is told.
 * @throws {TypeError} If an option is unknown, or `of` or `tell` is no function.
 * @throws {RangeError} If `every` or `most` is out of its range; as the stream runs, if a state gives other names, or another
 * number of chains, than the first.
 *
 * @example R̂ on the way and at the end
 * ```ts
 * import { type Diagnosis, diagnosed } from "@tweedie/tweedie/watch";
 * import { fold, key } from "@tweedie/tweedie";
 * import { normals } from "@tweedie/tweedie/tensor";
 * import assert from "node:assert/strict";
 *
 * async function* states() {
 *   for (let step = 0; step < 400; step++) yield { x: normals(fold(key(0), step), 4) };
 * }
 * const told: Diagnosis<"x">[] = [];
 * const watch = diagnosed({
 *   of: ({ x }: { x: Float32Array }) => ({ x }),
 *   tell: (diagnosis) => void told.push(diagnosis),
 *   every: 300,
 * });
 * for await (const _ of watch(states()));
 * assert.deepEqual(told.map(({ count }) => count), [300, 400]);
 * assert.ok(told[1]!.summaries.x.rHat < 1.02);
 * ```
 */
export function diagnosed<S, K extends string>(
  options: DiagnosedOptions<S, K>,
): (source: AsyncIterable<S>) => AsyncIterable<S> {
  const action = "diagnose chains", rules = diagnosedRules as Rules<DiagnosedOptions<S, K>>;
  const { most = Infinity, ...asked } = decoded(action, options, rules);
  return asking(action, asked, () => {
    const { add, read } = tracing<K>(most);
    return {
      add,
      read(count): Diagnosis<K> {
        const { draws, stride } = read(count);
        return { summaries: summaries(draws), count, stride };
      },
    };
  });
}

/**
 * A watcher that averages numbers of the states of Markov chains as they go, and keeps nothing of them but sums: the acceptance
 * rate, the mean energy, how long a chain remembers.
 *
 * ```text
 *   cₖ = (Σ_{t ≥ k} y_t·y_{t−k} − m·(Σ_{t ≥ k} y_t + Σ_{t < n−k} y_t) + (n − k)·m²)/n      y = x − x₀, m the mean of y
 * ```
 *
 * is the autocovariance at lag k after n states, for which the first and the last few numbers have to be known.
 *
 * @module
 */

import { decoded, type Rules, wholeNumber } from "../tensor/check/decode.ts";
import { asking, type AskOptions, askRules } from "./ask.ts";

/**
 * The average of one quantity over all chains and all states so far.
 *
 * @category Watchers
 */
export interface Average {
  /** The mean. */
  readonly mean: number;
  /** The mean over the chains of their variance over n, in the square of its unit. */
  readonly variance: number;
  /**
   * rₖ, k = 0 … lags: the mean over the chains of their autocovariance at lag k, over that at 0. NaN where there are not k + 1
   * states yet, or no chain has moved.
   */
  readonly autocorrelation: Float64Array;
}

/**
 * What {@link averaged} tells.
 *
 * @category Watchers
 */
export interface Averages<K extends string = string> {
  /** The average of each quantity. */
  readonly averages: Record<K, Average>;
  /** How many states have given numbers. */
  readonly count: number;
}

/**
 * Options of {@link averaged}.
 *
 * @category Watchers
 */
export interface AveragedOptions<S, K extends string = string>
  extends AskOptions<S, K, Averages<K>> {
  /** The longest lag of the autocorrelations, at least 0. Each costs two numbers and one product a chain. Default: 0. */
  readonly lags?: number;
}

const averagedRules: Rules<AveragedOptions<never>> = { ...askRules, lags: wholeNumber(0) };

/**
 * Averages what the states of chains say, as they go and at the end, and passes them on.
 *
 * @category Watchers
 * @param options What to ask, whom to tell, how often, up to which lag.
 * @returns The watcher. When the stream is broken off or fails, what there is by then is told.
 * @throws {TypeError} If an option is unknown, or `of` or `tell` is no function.
 * @throws {RangeError} If `every` or `lags` is out of its range; as the stream runs, if a state gives other names, or another
 * number of chains, than the first.
 *
 * @example The acceptance rate, of states that tell of their last move
 * ```ts
 * import { type Averages, averaged } from "@tweedie/tweedie/watch";
 * import assert from "node:assert/strict";
 *
 * interface State { readonly step: number; readonly info?: { readonly accepted: readonly number[] } }
 * async function* states(): AsyncGenerator<State> {
 *   yield { step: 0 };
 *   yield { step: 1, info: { accepted: [1, 0] } };
 *   yield { step: 2, info: { accepted: [1, 1] } };
 * }
 * let told: Averages<"accepted"> | undefined;
 * const watch = averaged({
 *   of: ({ info }: State) => info && { accepted: info.accepted },
 *   tell: (averages) => told = averages,
 * });
 * for await (const _ of watch(states()));
 * assert.equal(told!.averages.accepted.mean, 0.75);
 * ```
 */
export function averaged<S, K extends string>(
  options: AveragedOptions<S, K>,
): (source: AsyncIterable<S>) => AsyncIterable<S> {
  const action = "average chains", rules = averagedRules as Rules<AveragedOptions<S, K>>;
  const { lags = 0, ...asked } = decoded(action, options, rules);
  return asking(action, asked, () => {
    const running = new Map<K, readonly Sums[]>();
    return {
      add(lists): void {
        for (const [name, list] of lists) {
          const chains = running.get(name) ?? Array.from(list, (x) => sumsFrom(x, lags));
          chains.forEach((sums, m) => add(sums, list[m]!));
          running.set(name, chains);
        }
      },
      read: (count) => ({
        averages: Object.fromEntries(
          [...running].map(([name, chains]) => [name, averageOf(chains, count)]),
        ) as Record<K, Average>,
        count,
      }),
    };
  });
}

/** What is known of one chain: of y = x − x₀, as a mean far from 0 would cost digits. */
interface Sums {
  /** x₀. */
  readonly first: number;
  /** Σ y_t·y_{t−k} at each lag k. */
  readonly products: Float64Array;
  /** The first y, in their order, and the last, the latest first. */
  readonly head: number[];
  readonly tail: number[];
  /** Σ y. */
  total: number;
}

const sumsFrom = (first: number, lags: number): Sums => ({
  first,
  products: new Float64Array(lags + 1),
  head: [],
  tail: [],
  total: 0,
});

function add(sums: Sums, x: number): void {
  const { first, products, head, tail } = sums, y = x - first;
  sums.total += y;
  tail.unshift(y);
  tail.forEach((before, k) => products[k]! += y * before);
  if (head.length < products.length) head.push(y);
  if (tail.length === products.length) tail.pop();
}

/** cₖ of a chain after n states. */
function autocovariances({ products, head, tail, total }: Sums, n: number): Float64Array {
  const m = total / n;
  let skipped = 0;
  return products.map((product, k) => {
    if (k >= n) return NaN;
    if (k > 0) skipped += head[k - 1]! + tail[k - 1]!;
    return (product - m * (2 * total - skipped) + (n - k) * m * m) / n;
  });
}

function averageOf(chains: readonly Sums[], n: number): Average {
  const covariances = chains.map((sums) => autocovariances(sums, n)), count = chains.length;
  const mean = chains.reduce((sum, { first, total }) => sum + (first + total / n) / count, 0);
  const c = covariances[0]!.map((_, k) =>
    covariances.reduce((sum, each) => sum + each[k]!, 0) / count
  );
  return { mean, variance: c[0]!, autocorrelation: c.map((value) => value / c[0]!) };
}

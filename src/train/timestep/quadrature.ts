/**
 * Integrals of laws of training times that have none in closed form, and their inverses.
 *
 * @module
 */

import { logSnr, type Schedule } from "../../noise/schedule/schedule.ts";
import type { TimeLaw } from "./law.ts";

/** The first t whose running sum exceeds a value, or the last t of all. */
export function firstAbove(sums: Float64Array, value: number): number {
  let low = 1, high = sums.length - 1;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (sums[middle]! > value) high = middle;
    else low = middle + 1;
  }
  return low;
}

/** Nodes and weights of Gauss and Legendre's rule of five points on [−1, 1]. */
const gauss: readonly (readonly [number, number])[] = [
  [0, 128 / 225],
  ...[-1, 1].flatMap((sign): [number, number][] => [
    [sign * Math.sqrt(5 - 2 * Math.sqrt(10 / 7)) / 3, (322 + 13 * Math.sqrt(70)) / 900],
    [sign * Math.sqrt(5 + 2 * Math.sqrt(10 / 7)) / 3, (322 - 13 * Math.sqrt(70)) / 900],
  ]),
];

const quadrature = (f: (t: number) => number, a: number, b: number): number =>
  gauss.reduce((sum, [x, w]) => sum + w * f((a + b) / 2 + (b - a) / 2 * x), 0) * (b - a) / 2;

/**
 * The integral of a law from the start of a range, by Gauss's rule between knots that are even in t and in log-SNR, so that
 * laws that climb at either end are cut finely there.
 */
export function integrated(
  { density }: TimeLaw,
  schedule: Schedule,
  range: readonly [number, number],
): (t: number) => number {
  const knots = knotsOf(schedule, range), sums = new Float64Array(knots.length);
  for (let i = 1; i < knots.length; i++) {
    sums[i] = sums[i - 1]! + quadrature(density, knots[i - 1]!, knots[i]!);
  }
  return (t) => {
    const i = firstAbove(knots, t) - 1;
    return t >= range[1] ? sums.at(-1)! : sums[i]! + quadrature(density, knots[i]!, t);
  };
}

/** Rising times from one end of the range to the other: 256 even in t, and as many in log-SNR where it is finite. */
function knotsOf(schedule: Schedule, [least, most]: readonly [number, number]): Float64Array {
  const count = 256, [first, last] = [logSnr(schedule.at(least)), logSnr(schedule.at(most))];
  const even = Array.from({ length: count + 1 }, (_, i) => least + (most - least) * i / count);
  const inside = Number.isFinite(first - last) ? even.slice(1, -1) : [];
  const noise = inside.map((_, i) => schedule.timeOf(first + (last - first) * (i + 1) / count));
  const knots = [...even.slice(1, -1), ...noise.filter((t) => t > least && t < most)];
  return Float64Array.from([least, ...new Set(knots.sort((a, b) => a - b)), most]);
}

/** The t of a range where a rising function takes a value, by bisection. */
export function inverted(
  f: (t: number) => number,
  value: number,
  [least, most]: readonly [number, number],
): number {
  let low = least, high = most;
  for (let i = 0; i < 60 && low < high; i++) {
    const middle = (low + high) / 2;
    if (f(middle) < value) low = middle;
    else high = middle;
  }
  return (low + high) / 2;
}

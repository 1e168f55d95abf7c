/**
 * A law of training times on a range: normalized, with its distribution function and the inverse of it.
 *
 * With p the law over its total on [eta, T],
 *
 * ```text
 *   cdf(t) = ∫_eta^t p,    quantile = cdf⁻¹,    weight(t) = 1/((T − eta)·p(t))
 * ```
 *
 * On a discrete schedule p is a probability, sums stand for integrals, and the weight is 1/(N·p).
 *
 * @module
 */

import type { Schedule } from "../../noise/schedule/schedule.ts";
import { firstTime } from "./uniform.ts";
import { refused, type TimeLaw } from "./law.ts";
import type { TimeSpread } from "./spread.ts";
import { firstAbove, integrated, inverted } from "./quadrature.ts";

/**
 * A law of training times, cut off and normalized: data, and the functions that follow from it.
 *
 * @category Training
 */
export interface TimeSampler {
  /** The law's name. */
  readonly name: string;
  /** Least and greatest time, eta and T. */
  readonly range: readonly [number, number];
  /** p(t), whose integral over the range is 1; the probability of t for a discrete schedule. 0 outside. */
  readonly density: (t: number) => number;
  /** Share of the law up to t, t included. */
  readonly cdf: (t: number) => number;
  /** Its inverse: the time with a share u of the law before it, u in [0, 1]. */
  readonly quantile: (u: number) => number;
  /** What makes a loss at t one of the uniform law: 1/((T − eta)·p(t)), or 1/(N·p(t)) for one of N steps. */
  readonly weight: (t: number) => number;
  /** How a batch is spread over the law. */
  readonly spread: TimeSpread;
}

/** What a law is on a range. */
type LawOnRange = Omit<TimeSampler, "name" | "spread">;

export function continuousLaw(
  law: TimeLaw,
  schedule: Schedule,
  range: readonly [number, number],
): LawOnRange {
  const [least, most] = range, { integral, inverse } = law;
  if (!integral) checkEnds(law, { least, most });
  const whole = integral ? { integral, inverse } : { integral: integrated(law, schedule, range) };
  const from = whole.integral(least), total = whole.integral(most) - from;
  checkTotal(law, total, schedule, most);
  const inside = (t: number): number => Math.min(Math.max(t, least), most);
  const density = (t: number): number => t >= least && t <= most ? law.density(t) / total : 0;
  const cdf = (t: number): number => (whole.integral(inside(t)) - from) / total;
  const quantile = (u: number): number => {
    if (!(u >= 0 && u <= 1)) throw refused("u must be in [0, 1]", u);
    return inside(whole.inverse ? whole.inverse(from + u * total) : inverted(cdf, u, range));
  };
  return { range, density, cdf, quantile, weight: (t) => 1 / ((most - least) * density(t)) };
}

export function discreteLaw(law: TimeLaw, schedule: Schedule): LawOnRange {
  const first = firstTime(schedule), last = schedule.span[1], count = last - first + 1;
  const sums = new Float64Array(count + 1);
  for (let i = 0; i < count; i++) sums[i + 1] = sums[i]! + massOf(law, first + i);
  const total = sums[count]!;
  checkTotal(law, total, schedule, last);
  const cdf = (t: number): number =>
    sums[Math.min(Math.max(Math.floor(t) - first + 1, 0), count)]! / total;
  const density = (t: number): number =>
    Number.isInteger(t) && t >= first && t <= last ? law.density(t) / total : 0;
  const quantile = (u: number): number => {
    if (!(u >= 0 && u <= 1)) throw refused("u must be in [0, 1]", u);
    return first - 1 + firstAbove(sums, u * total);
  };
  return { range: [first, last], density, cdf, quantile, weight: (t) => 1 / (count * density(t)) };
}

/** The mass of a law at a time; refuses one below 0, after which running sums would fall. */
function massOf({ name, density }: TimeLaw, t: number): number {
  const mass = density(t);
  if (!(mass < 0)) return mass;
  throw refused(`the law "${name}" must be at least 0`, `${mass} at t = ${t}`);
}

/** Refuses a law that is infinite at an end, over which no numerical integral is right. */
function checkEnds({ name, density }: TimeLaw, ends: Readonly<Record<string, number>>): void {
  for (const [end, t] of Object.entries(ends)) {
    if (Number.isFinite(density(t))) continue;
    throw refused(`${end} must be a time at which the law "${name}" is finite`, t);
  }
}

function checkTotal({ name }: TimeLaw, total: number, { steps, at }: Schedule, most: number): void {
  if (total > 0 && total < Infinity) return;
  const why = total === Infinity && at(most).alpha === 0
    ? `, as alpha is 0 at t = ${most}${steps === undefined ? "; give a most below it" : ""}`
    : "";
  throw refused(`the law "${name}" must have a finite positive total`, `${total}${why}`);
}

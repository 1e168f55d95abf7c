/**
 * Schedules from others, or from their marginals alone.
 *
 * @module
 */

import type { Known } from "../../tensor/check/check.ts";
import { checkAbove, checkSteps, guarded, known, unmade } from "./guard.ts";
import { type GridDefaults, type Level, logSnr, type Schedule } from "./schedule.ts";

/**
 * Options of {@link fromLevel}.
 *
 * @category Schedules
 */
export interface FromLevelOptions {
  /** What the schedule is called. Default: `"custom"`. */
  readonly name?: string;
  /** Least and greatest time. Default: [0, 1]. */
  readonly span?: readonly [number, number];
  /** The layout of grids where none is asked for. Default: as {@link times} has it. */
  readonly grid?: GridDefaults;
}

const fromLevelOptions: Known<FromLevelOptions> = { name: true, span: true, grid: true };
const gridDefaults: Known<GridDefaults> = { spacing: true, rho: true, shift: true };

/**
 * A schedule from alpha and sigma alone. The rest is derived numerically: f = alpha′/alpha and
 * g² = (sigma²)′ − 2 f sigma² by five-point differences 1/4000 of the span apart, good to seven digits or more for
 * the schedules of this file; the inverse of log-SNR by bisection, as far as the level has digits.
 *
 * @category Schedules
 * @param at Marginal at time t; log-SNR must fall strictly over the span.
 * @param options Name, span and layout of grids.
 * @returns A continuous schedule. Where alpha is 0, f and g are infinite.
 * @throws {RangeError} If the span is not finite and increasing, or log-SNR does not fall from one end to the other.
 *
 * @example Straight paths again
 * ```ts
 * import { fromLevel } from "@tweedie/tweedie/noise";
 * import { rectified } from "@tweedie/tweedie";
 * import assert from "node:assert/strict";
 *
 * const mine = fromLevel((t) => ({ alpha: 1 - t, sigma: t }), { name: "straight" });
 * assert.ok(Math.abs(mine.drift(0.25) - rectified().drift(0.25)) < 1e-9);
 * ```
 */
export function fromLevel(at: (t: number) => Level, options: FromLevelOptions = {}): Schedule {
  const { name = "custom", span = [0, 1], grid } = known("custom", options, fromLevelOptions);
  const [least, most] = span;
  if (grid) known(name, grid, gridDefaults);
  if (!(Math.abs(least) < Infinity)) throw unmade(name, "span[0]", "finite", least);
  checkAbove(name, "span[1]", most, least);
  const first = logSnr(at(least)), last = logSnr(at(most));
  if (!(first > last)) {
    throw unmade(name, "log-SNR", "falling over the span", `${first} to ${last}`);
  }
  const slope = (f: (t: number) => number) => (t: number): number => derivative(f, t, span);
  const drift = (t: number): number => slope((u) => at(u).alpha)(t) / at(t).alpha;
  const growth = (t: number): number =>
    slope((u) => at(u).sigma ** 2)(t) - 2 * drift(t) * at(t).sigma ** 2;
  return guarded({
    name,
    span,
    ...(grid && { grid }),
    at,
    timeOf: (wanted) => bisected((t) => logSnr(at(t)), wanted, span),
    drift,
    diffusion: (t) => Math.sqrt(Math.max(growth(t), 0)),
  }, span);
}

/** f′(t) of the quartic through five points of the span, h = 1/4000 of it apart, centred on t where they fit. */
function derivative(
  f: (t: number) => number,
  t: number,
  [least, most]: readonly [number, number],
): number {
  const h = (most - least) / 4000;
  const centre = Math.min(Math.max(t, least + 2 * h), most - 2 * h), u = (t - centre) / h;
  const [a, b, c, d, e] = [-2, -1, 0, 1, 2].map((i) =>
    f(Math.min(Math.max(centre + i * h, least), most))
  ) as [number, number, number, number, number];
  const first = (a - 8 * b + 8 * d - e) / 12, second = (-a + 16 * b - 30 * c + 16 * d - e) / 12;
  const third = (-a + 2 * b - 2 * d + e) / 2, fourth = a - 4 * b + 6 * c - 4 * d + e;
  return (first + u * (second + u * (third / 2 + u * fourth / 6))) / h;
}

/** The t of the span where a falling f takes a value, NaN where it does not. */
function bisected(
  f: (t: number) => number,
  wanted: number,
  [least, most]: readonly [number, number],
): number {
  const first = f(least), last = f(most);
  // What rounding puts beyond an end is at that end.
  const beyond = (end: number, t: number): number =>
    wanted === end || Math.abs(wanted - end) <= 1e-9 * (1 + Math.abs(end)) ? t : NaN;
  if (wanted >= first) return beyond(first, least);
  if (!(wanted > last)) return beyond(last, most);
  let low = least, high = most;
  for (let i = 0; i < 200; i++) {
    const middle = low + (high - low) / 2;
    if (f(middle) > wanted) low = middle;
    else high = middle;
  }
  return Math.abs(f(low) - wanted) < Math.abs(f(high) - wanted) ? low : high;
}

/**
 * A continuous schedule with its time measured in T equal steps: t = 0 … T for the span's two ends.
 *
 * The marginals are the continuous ones, exactly; so beta_t is 1 − exp(−∫ beta) over the step, not the
 * beta(t)/T of a chain that discretises the SDE.
 *
 * @category Schedules
 * @param schedule A continuous schedule.
 * @param steps T, a whole number of at least 1.
 * @returns A discrete schedule that also answers between whole times, by the continuous one. t = 0 is the least time
 * of the span: noise is left there where the schedule has a smallest sigma above 0. It keeps the schedule's layout of grids.
 * @throws {RangeError} If the schedule is discrete or `steps` is not a whole number of at least 1.
 *
 * @example NCSN's ten noise levels
 * ```ts
 * import { discretized } from "@tweedie/tweedie/noise";
 * import { ve } from "@tweedie/tweedie";
 * import assert from "node:assert/strict";
 *
 * const levels = discretized(ve({ sigmaMin: 0.01, sigmaMax: 1 }), 9);
 * assert.ok(Math.abs(levels.at(3).sigma / levels.at(2).sigma - 100 ** (1 / 9)) < 1e-12);
 * ```
 */
export function discretized(schedule: Schedule, steps: number): Schedule {
  const name = `${schedule.name}, ${steps} steps`, [least, most] = schedule.span;
  checkSteps(name, steps);
  if (schedule.steps !== undefined) {
    throw unmade(name, "schedule", "continuous", `one of ${schedule.steps} steps`);
  }
  const step = (most - least) / steps;
  const time = (t: number): number => t === steps ? most : least + t * step;
  return guarded({
    name,
    span: [0, steps],
    steps,
    ...(schedule.grid && { grid: schedule.grid }),
    at: (t) => schedule.at(time(t)),
    timeOf: (wanted) => (schedule.timeOf(wanted) - least) / step,
    drift: (t) => schedule.drift(time(t)) * step,
    diffusion: (t) => schedule.diffusion(time(t)) * Math.sqrt(step),
  }, [0, steps]);
}

/**
 * A schedule in the unit in which alpha² + sigma² = 1: x'_t = x_t/n with n² = alpha² + sigma², of the same log-SNR at each time.
 * It is variance-preserving, with the rate of noise
 *
 * ```text
 *   g'² = g²/n²      f' = −g'²/2      as n'/n = f + g²/(2·n²)
 * ```
 *
 * Networks see x in this unit, whatever the schedule: numbers of size 1 at every level of noise.
 *
 * @category Schedules
 * @param schedule Any schedule.
 * @returns The schedule in that unit; itself if that is its own.
 *
 * @example The exploding noise does not
 * ```ts
 * import { logSnr, unit } from "@tweedie/tweedie/noise";
 * import { ve } from "@tweedie/tweedie";
 * import assert from "node:assert/strict";
 *
 * const { alpha, sigma } = unit(ve()).at(1);
 * assert.ok(Math.abs(alpha ** 2 + sigma ** 2 - 1) < 1e-12);
 * assert.ok(Math.abs(logSnr({ alpha, sigma }) - logSnr(ve().at(1))) < 1e-12);
 * ```
 */
export function unit(schedule: Schedule): Schedule {
  const { name, span: [least, most], at, diffusion } = schedule;
  const size = (t: number): number => Math.hypot(at(t).alpha, at(t).sigma);
  const isPreserving = [0, 0.25, 0.5, 0.75, 1].every((share) =>
    Math.abs(size(least + share * (most - least)) - 1) < 1e-9
  );
  if (isPreserving) return schedule;
  const noise = (t: number): number => diffusion(t) / size(t);
  return {
    ...schedule,
    name: `${name}, in units`,
    at: (t) => ({ alpha: at(t).alpha / size(t), sigma: at(t).sigma / size(t) }),
    drift: (t) => -(noise(t) ** 2) / 2,
    diffusion: noise,
  };
}

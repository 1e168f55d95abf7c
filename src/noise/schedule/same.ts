/**
 * Numbers, levels and times that are the same but for rounding.
 *
 * @module
 */

import { refusal } from "../../tensor/check/check.ts";
import type { Level, Schedule } from "./schedule.ts";

/**
 * Whether two numbers are the same but for rounding.
 *
 * @param a A number.
 * @param b Another.
 * @param scale What rounding is relative to, where that is more than the numbers themselves. Default: 0.
 */
export function isNear(a: number, b: number, scale = 0): boolean {
  const gap = Math.abs(a - b);
  if (!Number.isFinite(gap)) return a === b;
  return gap <= Math.max(1e-9 * Math.max(Math.abs(a), Math.abs(b)), 1e-12 * scale);
}

/**
 * Whether a state at one time can stand for one at another: they are the same but for rounding, or have the same level.
 *
 * @param schedule The schedule of both.
 * @param t A time.
 * @param wanted Another.
 */
export function isLevel(schedule: Schedule, t: number, wanted: number): boolean {
  const [least, most] = schedule.span;
  if (isNear(t, wanted, most - least)) return true;
  const a = levelAt(schedule, t), b = levelAt(schedule, wanted);
  return a !== undefined && b !== undefined && isNear(a.alpha, b.alpha) && isNear(a.sigma, b.sigma);
}

/**
 * A time for data to be noised to.
 *
 * @param action What is to be done there.
 * @param schedule The schedule.
 * @param t The time.
 * @returns The time; the end of the span for one that rounding has put beyond it.
 * @throws {RangeError} If it is none of the schedule, or beyond its span.
 */
export function checkedTime(action: string, schedule: Schedule, t: number): number {
  const [least, most] = schedule.span, isNumber = typeof t === "number" && !Number.isNaN(t);
  if (isNumber && isNear(t, most)) return most;
  if (isNumber && t <= most && levelAt(schedule, t) !== undefined) return t;
  throw refusal(action, `t must be a time of "${schedule.name}", in [${least}, ${most}]`, t);
}

/** The level at a time; undefined where the schedule has none. */
export function levelAt(schedule: Schedule, t: number): Level | undefined {
  try {
    return schedule.at(t);
  } catch {
    return undefined;
  }
}

/** The level in the unit in which alpha² + sigma² is 1. */
export const inUnit = ({ alpha, sigma }: Level): Level => {
  const size = Math.hypot(alpha, sigma);
  return { alpha: alpha / size, sigma: sigma / size };
};

/** Levels that differ by rounding only, also those that another program has computed in float32. */
export const isClose = (a: Level, b: Level): boolean =>
  Math.abs(a.alpha - b.alpha) <= 1e-6 * Math.hypot(a.alpha, a.sigma) &&
  Math.abs(a.sigma - b.sigma) <= 1e-6 * Math.hypot(a.alpha, a.sigma);

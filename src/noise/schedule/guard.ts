/**
 * What the constructors of schedules share: refusals, and functions that answer only where they are defined.
 *
 * @module
 */

import { checkOptions, type Known } from "../../tensor/check/check.ts";
import type { Schedule } from "./schedule.ts";

/** The options themselves, if the schedule knows them all. */
export function known<T extends object>(name: string, options: T, all: Known<T>): T {
  checkOptions(`make the schedule "${name}"`, options, all);
  return options;
}

export const logistic = (x: number): number => 1 / (1 + Math.exp(-x));

export const softplus = (x: number): number => Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x)));

/** `count` numbers from `first` to `last`, both included; `first` alone for a count of 1. */
export function spread(first: number, last: number, count: number): number[] {
  const step = count > 1 ? (last - first) / (count - 1) : 0;
  return Array.from(
    { length: count },
    (_, i) => i > 0 && i === count - 1 ? last : first + i * step,
  );
}

/** The error for a bad argument of a schedule's constructor. */
export const unmade = (name: string, parameter: string, wanted: string, got: unknown): RangeError =>
  new RangeError(`Cannot make the schedule "${name}": ${parameter} must be ${wanted}, got ${got}`);

export function checkSteps(name: string, steps: number): void {
  if (!Number.isSafeInteger(steps) || steps < 1) {
    throw unmade(name, "steps", "a whole number of at least 1", steps);
  }
}

export function checkOpen(name: string, parameter: string, value: number): void {
  if (!(value > 0 && value < 1)) throw unmade(name, parameter, "in (0, 1)", value);
}

export function checkFrom(name: string, parameter: string, value: number, least: number): void {
  if (!(value >= least && value < Infinity)) {
    throw unmade(name, parameter, `finite and at least ${least}`, value);
  }
}

export function checkAbove(name: string, parameter: string, value: number, bound: number): void {
  if (!(value > bound && value < Infinity)) {
    throw unmade(name, parameter, `finite and above ${bound}`, value);
  }
}

export function checkEnd(name: string, end: number): void {
  if (!(end > 0 && end <= 1)) throw unmade(name, "end", "in (0, 1]", end);
}

/** A schedule whose functions refuse times outside `domain` and log-SNRs that no such time has. */
export function guarded(schedule: Schedule, domain: readonly [number, number]): Schedule {
  const { name, at, timeOf, drift, diffusion, span } = schedule, [least, most] = domain;
  // What rounding puts beyond an end is at that end.
  const slack = 1e-9 * (span[1] - span[0]);
  const inside = <A>(f: (t: number) => A) => (t: number): A => {
    if (t >= least - slack && t <= most + slack) return f(Math.min(Math.max(t, least), most));
    throw new RangeError(
      `Cannot read the schedule "${name}": t must be in [${domain.join(", ")}], got ${t}`,
    );
  };
  const inverse = (logSnr: number): number => settled(timeOf(logSnr), domain, name, logSnr);
  return {
    ...schedule,
    at: inside(at),
    timeOf: inverse,
    drift: inside(drift),
    diffusion: inside(diffusion),
  };
}

/** A time moved into the domain by what rounding may have moved it out. */
function settled(
  t: number,
  [least, most]: readonly [number, number],
  name: string,
  logSnr: number,
): number {
  const slack = 1e-9 * Math.min(1, most - least);
  if (t >= least - slack && t <= most + slack && Math.abs(t) < Infinity) {
    return Math.min(Math.max(t, least), most);
  }
  throw new RangeError(
    `Cannot invert the schedule "${name}": logSnr must be that of a time in ` +
      `[${least}, ${most}], got ${logSnr}`,
  );
}

/**
 * Schedules by name, for configurations that are stored as data. A new one is an entry of the table and of the type of its
 * names.
 *
 * @module
 */

import { checkNamed, checkOptions, type Known } from "../tensor/check/check.ts";
import {
  cosineContinuous,
  edm,
  rectified,
  sigmoidContinuous,
  subVp,
  ve,
  vp,
} from "./schedule/continuous.ts";
import { cosine, linear, scaledLinear, sigmoidBetas } from "./schedule/discrete.ts";
import type { Schedule } from "./schedule/schedule.ts";

/**
 * The name of a schedule that can be stored.
 *
 * @category Schedules
 */
export type ScheduleName =
  | "linear"
  | "scaledLinear"
  | "cosine"
  | "sigmoidBetas"
  | "vp"
  | "subVp"
  | "ve"
  | "edm"
  | "rectified"
  | "cosineContinuous"
  | "sigmoidContinuous";

/** What {@link scheduleOf} does. */
const scheduling = "make a schedule";

/** Schedules by name, for configurations that are stored as data. */
const makers: Readonly<Record<ScheduleName, (options?: object) => Schedule>> = {
  linear,
  scaledLinear,
  cosine,
  sigmoidBetas,
  vp,
  subVp,
  ve,
  edm,
  rectified: (options = {}) => {
    checkOptions(scheduling, options, {});
    return rectified();
  },
  cosineContinuous,
  sigmoidContinuous,
};

/**
 * A schedule as data: its name and its options.
 *
 * @category Schedules
 */
export interface ScheduleConfig {
  /** Which one. */
  readonly name: ScheduleName;
  /** The options of its function. Default: none. */
  readonly options?: Readonly<Record<string, number | boolean>>;
}

const scheduleFields: Known<ScheduleConfig> = { name: true, options: true };

/**
 * The names of the schedules that {@link scheduleOf} knows.
 *
 * @category Schedules
 */
export const scheduleNames: readonly ScheduleName[] = Object.keys(makers) as ScheduleName[];

/**
 * A schedule from its description.
 *
 * @category Schedules
 * @param config Name and options.
 * @returns The schedule.
 * @throws {TypeError} If there is an entry or an option that is not known.
 * @throws {RangeError} If there is none of that name, or its options are out of range.
 *
 * @example A short linear schedule
 * ```ts
 * import { linear } from "@tweedie/tweedie";
 * import { scheduleOf } from "@tweedie/tweedie/noise";
 * import assert from "node:assert/strict";
 *
 * assert.deepEqual(scheduleOf({ name: "linear", options: { steps: 10 } }).at(3), linear({ steps: 10 }).at(3));
 * ```
 */
export function scheduleOf(config: ScheduleConfig): Schedule {
  checkOptions(scheduling, config, scheduleFields);
  const { name, options = {} } = config;
  checkNamed(scheduling, "name", name, makers);
  return makers[name](options);
}

/**
 * Slips in files, frames and watchers.
 *
 * @module
 */

import { type Slip, slip } from "./slip.ts";

/** All of them. */
export const files: readonly Slip[] = [
  slip(
    "io/weights.ts",
    "{ ...classifierFields, schedule: noSchedule }",
    "classifierFields",
    "io/weights",
  ),
];

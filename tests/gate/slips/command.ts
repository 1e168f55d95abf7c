/**
 * Slips in the command line.
 *
 * @module
 */

import { type Slip, slip } from "./slip.ts";

/** All of them. */
export const command: readonly Slip[] = [
  slip("command/train/plan.ts", "reweighted: false", "reweighted: true", "command/train"),
  slip(
    "command/train/run.ts",
    "{ ...planned, ...first.digest, data",
    "{ ...planned, data",
    "command/train",
  ),
  slip(
    "command/sample/options.ts",
    "loadNoisyClassifier(path, { under: schedule })",
    "loadNoisyClassifier(path)",
    "command/sample",
  ),
  slip(
    "command/sample/options.ts",
    "byClassifier(pull.classifier, condition, { scale })",
    "byClassifier(pull.classifier, condition)",
    "command/sample",
  ),
  slip(
    "command/sample/options.ts",
    "namesOf(pull.config.names, pull.config.classes)",
    "namesOf(config.classes, config.network.classes)",
    "command/sample",
  ),
];

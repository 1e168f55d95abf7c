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
    "command/sample/run.ts",
    "loadNoisyClassifier(path, { under: schedule })",
    "loadNoisyClassifier(path)",
    "command/sample",
  ),
  slip(
    "command/sample/run.ts",
    "byClassifier(guide.classifier, condition, { scale })",
    "byClassifier(guide.classifier, condition)",
    "command/sample",
  ),
  slip(
    "command/sample/run.ts",
    "namesOf(guide.config.names, guide.config.classes)",
    "namesOf(config.classes, config.network.classes)",
    "command/sample",
  ),
  slip("cli.ts", "return unknown ? [name] : [...args];", "return [...args];", "command/option"),
  slip("command/stop.ts", "for (const each of listeners) forget(each);", "", "command/stop"),
  slip("command/stop.ts", "SIGHUP: 129, ", "", "command/stop"),
  slip(
    "command/choose.ts",
    "engine === undefined && threads !== undefined",
    "engine === null",
    "command/engine",
  ),
  slip(
    "command/path.ts",
    "each.at === at && (each.written || written)",
    "each.path === path && (each.written || written)",
    "command/path",
  ),
  slip(
    "command/sample/options.ts",
    "!await isNumbered(out, count, path)",
    "true",
    "command/path",
  ),
  slip(
    "command/sample/run.ts",
    "run(start, { ...env, first })",
    "run(start, env)",
    "command/sample",
  ),
  slip(
    "command/sample/run.ts",
    "asked.condition.slice(first, first + count)",
    "asked.condition.slice(0, count)",
    "command/sample",
  ),
  slip(
    "command/sample/run.ts",
    "options.batch ?? usualBatch(network, compiled, architecture)",
    "options.batch ?? count",
    "command/sample",
  ),
  slip("command/sample/sheet.ts", "bytes <= greatest", "bytes > 0", "command/batch"),
  slip(
    "command/sample/classes.ts",
    "return scale ?? (byClassifier ? usualScale : 1);",
    "return scale ?? usualScale;",
    "command/sample",
  ),
  slip(
    "command/train/images.ts",
    "classes: names ?? found.map(String)",
    "classes: names ?? [...found.map(String), 'more']",
    "command/images",
  ),
  slip("command/train/lock.ts", "!await file.tryLock(true)", "!file", "command/lock"),
  slip("command/train/lock.ts", "!await isAt(file, at)", "!file", "command/lock"),
  slip("command/train/run.ts", "data: await digestOf(set)", 'data: ""', "command/state"),
  slip(
    "command/train/state.ts",
    'if (!there.has("data")) here.delete("data");',
    "",
    "command/state",
  ),
  slip(
    "command/train/state.ts",
    "if (wrong !== undefined) throw",
    "if (wrong === 0) throw",
    "command/state",
  ),
  slip("command/train/options.ts", "at(span[1]).alpha === 0", "steps === 0", "command/option"),
  slip(
    "command/train/options.ts",
    "numeric({ least: 0, below: 1 }),",
    "numeric({ least: 0, most: 1 }),",
    "command/train",
  ),
  slip("command/path.ts", "number < count; number++", "number < 0; number++", "command/path"),
  slip(
    "network/architecture.ts",
    "...((base as number) < 16 && { groups: (base as number) / 2 }),",
    "",
    "command/train",
  ),
];

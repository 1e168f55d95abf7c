/**
 * Slips in samplers.
 *
 * @module
 */

import { type Slip, slip } from "./slip.ts";

/** All of them. */
export const sample: readonly Slip[] = [
  slip("sample/chain.ts", "fold(use, first + i)", "fold(use, i)", "laws/contract_streams"),
  slip("sample/chain.ts", "index++ >= count", "++index >= count", "laws/contract_streams"),
  slip("sample/chain.ts", "schedule.at(at).sigma", "1", "sample/chain"),
  slip("sample/reverse.ts", "upward ? grid.toReversed() : grid", "grid", "sample/reverse"),
  slip("sample/reverse.ts", "if (upward) checkUpward", "if (churn) checkUpward", "sample/reverse"),
  slip(
    "sample/chain.ts",
    "under ? (model) => under(change(model)) : change",
    "under ? (model) => change(under(model)) : change",
    "laws/one_model",
  ),
  slip("sample/chain.ts", "() => refine(bareOf(source))", "() => refine(source)", "laws/one_model"),
  slip(
    "sample/chain.ts",
    "t ?? from ?? schedule.span[1]",
    "t ?? schedule.span[1]",
    "sample/run/fit",
  ),
  slip(
    "sample/chain.ts",
    "if (!isLevel(env.model.schedule, state.t, t)) {",
    "if (state.t < t) {",
    "sample/run/fit",
  ),
  slip("sample/chain.ts", 'if ("logDensity" in state) {', "if (false) {", "laws/one_model"),
  slip("sample/chain.ts", "      await pace();\n", "", "sample/run/fit"),
  slip(
    "sample/chain.ts",
    "return await Promise.race([coming, promise]);",
    "return await coming;",
    "sample/run/fit",
  ),
  slip(
    "sample/chain.ts",
    'each.dtype === "float32" && !old.has(each)',
    "each === x",
    "laws/finite",
  ),
  slip(
    "sample/run/fit.ts",
    "asked(sameSchedule(model, carried))",
    "asked(model)",
    "sample/run/fit",
  ),
  slip(
    "sample/run/fit.ts",
    "asked(sameSchedule(model, carried))",
    "sameSchedule(model, carried)",
    "sample/run/fit",
  ),
  slip(
    "sample/run/fit.ts",
    "if (isOtherUnit) return rescheduled(model, schedule);",
    "if (isOtherUnit) return model;",
    "sample/run/fit",
  ),
  slip("sample/run/fit.ts", "t <= most && levelAt", "levelAt", "sample/run/fit"),
];

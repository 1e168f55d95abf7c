/**
 * Slips in samplers.
 *
 * @module
 */

import { type Slip, slip } from "./slip.ts";

/** All of them. */
export const sample: readonly Slip[] = [
  slip("chain/draw.ts", "fold(use, first + i)", "fold(use, i)", "laws/contract_streams"),
  slip("chain/chain.ts", "index++ >= count", "++index >= count", "laws/contract_streams"),
  slip("sample/run.ts", "schedule.at(at).sigma)", "schedule.at(at).sigma * 2)", "sample/path"),
  slip("sample/flow/flow.ts", "upward ? grid.toReversed() : grid", "grid", "sample/reverse"),
  slip(
    "sample/flow/flow.ts",
    "if (upward) checkUpward",
    "if (churn) checkUpward",
    "sample/reverse",
  ),
  slip(
    "chain/chain.ts",
    "under ? (env) => under(change(env)) : change",
    "under ? (env) => change(under(env)) : change",
    "laws/one_model",
  ),
  slip("chain/chain.ts", "() => refine(bare)", "() => refine(source)", "laws/one_model"),
  slip(
    "sample/run.ts",
    "t ?? from ?? schedule.span[1]",
    "t ?? schedule.span[1]",
    "sample/fit",
  ),
  slip(
    "sample/step.ts",
    "isThere = isLevel(env.model.schedule, state.t, t)",
    "isThere = state.t >= t",
    "sample/fit",
  ),
  slip("sample/step.ts", 'if (!("logDensity" in state))', "if (state)", "laws/one_model"),
  slip("chain/run.ts", "      await pace();\n", "", "sample/fit"),
  slip(
    "tensor/scope.ts",
    'else signal?.addEventListener("abort", stop);',
    "",
    "tensor/scope",
  ),
  slip(
    "chain/run.ts",
    'dtype === "float32"))) return;',
    'dtype === "float32").slice(0, 1))) return;',
    "laws/finite",
  ),
  slip(
    "sample/fit.ts",
    "asked(sameSchedule(model, carried))",
    "asked(model)",
    "sample/fit",
  ),
  slip(
    "sample/fit.ts",
    "asked(sameSchedule(model, carried))",
    "sameSchedule(model, carried)",
    "sample/fit",
  ),
  slip(
    "sample/fit.ts",
    "if (isOtherUnit) return rescheduled(model, schedule);",
    "if (isOtherUnit) return model;",
    "sample/fit",
  ),
  slip("noise/schedule/same.ts", "t <= most && levelAt", "levelAt", "sample/fit"),
  slip("sample/solver/weights.ts", 'from.alpha === 0 ? "x0" : asked', "asked", "laws/ends"),
  slip("sample/grid.ts", "times: grid, checks: [check]", "times: grid", "laws/ends"),
  slip(
    "sample/solver/weights.ts",
    "if (from.alpha === 0) return exponential()(nodes);",
    "",
    "laws/ends",
  ),
  slip(
    "sample/solver/weights.ts",
    "past[j]!.alpha > 0 ? at : Infinity",
    "at",
    "laws/ends",
  ),
  slip("sample/solver/singlestep.ts", "? [1] : []", "? [] : []", "laws/ends"),
  slip("sample/solver/pndm.ts", "alpha === 0 ? 1 : 0", "alpha === 0 ? 0 : 0", "laws/ends"),
  slip(
    "sample/solver/singlestep.ts",
    "if (from.alpha === 0 || down === 0) return [single];",
    "",
    "laws/ends",
  ),
  slip("sample/flow/flow.ts", "leg.from.alpha === 0 || ", "", "laws/ends"),
  slip(
    "sample/reverse.ts",
    'if (predictor !== "ancestral") path',
    'if (predictor === "euler-maruyama") path',
    "laws/ends",
  ),
  slip(
    "sample/flow/adaptive.ts",
    "const isAway = !isRegularAt(asked, state.t)",
    "const isAway = false",
    "laws/ends",
  ),
  slip(
    "sample/solver/pndm.ts",
    "options.warmUp !== undefined || isSteady(from, asked, single)",
    "true",
    "sample/solver",
  ),
  slip("chain/run.ts", "      checkStep(driving, state, reached);\n", "", "sample/fit"),
];

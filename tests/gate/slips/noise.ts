/**
 * Slips in schedules, grids, equations and readings of predictions.
 *
 * @module
 */

import { type Slip, slip } from "./slip.ts";

/** All of them. */
export const noise: readonly Slip[] = [
  slip("denoise/reschedule.ts", "isNoisy ? sigma", "!isNoisy ? sigma", "denoise/reschedule"),
  slip(
    "noise/schedule/schedule.ts",
    "? last : timeOf(wanted)",
    "? first : timeOf(wanted)",
    "denoise/reschedule",
  ),
  slip(
    "denoise/posterior.ts",
    "wanted <= most * (1 + 1e-12)",
    "wanted <= most",
    "denoise/posterior",
  ),
  slip(
    "denoise/oracle/mixture.ts",
    "decoded(making, mixture, mixtureRules)",
    "mixture",
    "denoise/oracle",
  ),
  slip(
    "solve/brownian.ts",
    "Math.round(t / horizon * ticks)",
    "t / horizon * ticks",
    "tensor/random",
  ),
  slip("solve/ode.ts", "* sign >= -slack", "* sign >= 0", "solve/ode"),
  slip("solve/rungekutta.ts", "tf.util.arraysEqual(k.shape, shape)", "k.size > 0", "solve/ode"),
  slip(
    "solve/control.ts",
    "reduce((a, b) => Math.max(a, b), 0)",
    "reduce((a, b) => b > a ? b : a, 0)",
    "solve/ode",
  ),
  slip(
    "solve/ode.ts",
    "else if (options.control)",
    "else if (options.control === null)",
    "solve/ode",
  ),
  slip(
    "solve/sde/simulate.ts",
    "tf.util.arraysEqual(next.shape, shape)",
    "next.size > 0",
    "solve/sde",
  ),
  slip("solve/control.ts", "accepted ? greatest : 1", "greatest", "solve/ode"),
  slip("solve/control.ts", "1 / order - 0.75 * beta", "1 / order", "solve/ode"),
  slip(
    "solve/control.ts",
    "reduce((a, b) => tf.minimum(a, b))",
    "reduce((a, b) => tf.maximum(a, b))",
    "solve/ode",
  ),
  slip(
    "sample/flow/chart.ts",
    "error: tf.mul(error, scale(to))",
    "error: tf.mul(error, 1)",
    "sample/reverse",
  ),
  slip("sample/flow/adaptive.ts", "absolute: absolute / unit }", "absolute }", "sample/reverse"),
  slip("sample/flow/adaptive.ts", "t + 1e-9 * Math.abs(t)", "t", "sample/reverse"),
  slip("sample/flow/adaptive.ts", "{ x: state.x, first }", "{ x: state.x }", "sample/reverse"),
  slip("solve/tableau.ts", "-17253 / 339200", "17253 / 339200", "solve/ode"),
  slip(
    "solve/control.ts",
    "rejected > 0 ? Math.min(factor, 1) : factor",
    "factor",
    "solve/ode",
  ),
  slip("solve/ode.ts", "(next.t - time) * h >= 0", "(next.t - time) * h > 0", "solve/ode"),
  slip(
    "solve/sde/scheme.ts",
    "tf.sub(tf.square(dw), Math.abs(h)), 0.5",
    "tf.square(dw), 0.5",
    "solve/sde",
  ),
  slip("solve/sde/scheme.ts", "Math.abs(h) / 2)", "Math.abs(h))", "solve/sde"),
  slip("solve/sde/scheme.ts", "tf.mul(g!, root)", "tf.mul(g!, -root)", "solve/sde"),
  slip("solve/sde/motion.ts", "tf.sub(mean, x), theta", "tf.sub(x, mean), theta", "solve/sde"),
  slip("solve/ode.ts", "      free(passed);\n", "", "solve/ode"),
  slip("solve/sde/simulate.ts", "dw: own(dw)", "dw", "solve/sde"),
  slip("solve/brownian.ts", "ticks / 4)", "ticks / 2)", "solve/sde"),
  slip(
    "noise/forward.ts",
    "(t.sigma - carried) * (t.sigma + carried)",
    "t.sigma ** 2",
    "noise/forward",
  ),
  slip(
    "denoise/prediction.ts",
    "if (!Number.isFinite(a) || !Number.isFinite(b)) throw",
    "if (a > b && a < b) throw",
    "laws/pure_noise",
  ),
  slip(
    "denoise/prediction.ts",
    "    ...(model.given && { given: (condition) => decorated(model.given!(condition), change) }),\n",
    "",
    "laws/one_model",
  ),
  slip("denoise/prediction.ts", "    schedule: model.schedule,\n", "", "laws/one_model"),
  slip(
    "denoise/reschedule.ts",
    'prediction.kind === "eps" && !isLost',
    'prediction.kind === "eps"',
    "laws/pure_noise",
  ),
  slip("noise/schedule/continuous.ts", 'grid: { spacing: "karras" },', "", "noise/grid"),
  slip(
    "noise/schedule/derived.ts",
    "...(schedule.grid && { grid: schedule.grid }),",
    "",
    "noise/schedule",
  ),
  slip(
    "noise/schedule/guard.ts",
    "f(Math.min(Math.max(t, least), most))",
    "f(t)",
    "noise/schedule",
  ),
  slip(
    "noise/schedule/discrete.ts",
    'known("linear", options, betaOptions)',
    "options",
    "noise/schedule",
  ),
  slip("noise/grid.ts", "if (from === final) return [final];", "", "noise/grid"),
  slip(
    "noise/grid.ts",
    'checkParts(options, ["times", "steps"], "beside times");',
    "",
    "noise/grid",
  ),
  slip(
    "noise/grid.ts",
    "return usual < from ? usual :",
    "return usual < Infinity ? usual :",
    "noise/grid",
  ),
  slip("noise/grid.ts", "slack = 1e-9 * (end - start);", "slack = 0;", "noise/grid"),
  slip(
    "noise/grid.ts",
    "decoded<object, O>(action, options, { ...namesOfGrid, ...own });",
    "",
    "sample/solver",
  ),
];

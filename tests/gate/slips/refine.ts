/**
 * Slips in refinements.
 *
 * @module
 */

import { type Slip, slip } from "./slip.ts";

/** All of them. */
export const refine: readonly Slip[] = [
  slip("refine/guide/combine.ts", "a <= b || isNear(a, b)", "a <= b", "refine/guide"),
  slip("refine/correct.ts", "2 * kept(", "kept(", "laws/contract_refinement"),
  slip("refine/correct.ts", "!final && t <=", "final && t <=", "refine/correct"),
  slip(
    "refine/correct.ts",
    'if (order === "before") {',
    'if (order !== "before") {',
    "laws/contract_refinement",
  ),
  slip(
    "refine/guide/gradient.ts",
    "tf.mul(pull, by), column(scale, from)",
    "tf.mul(pull, by), 1",
    "refine/guide",
  ),
  slip(
    "refine/known/observe.ts",
    "tf.sub(tf.mul(y(), alpha), op",
    "tf.sub(tf.mul(y(), 1), op",
    "refine/inpaint",
  ),
  slip("refine/likelihood.ts", "size * Math.log(b.alpha", "Math.log(b.alpha", "refine/likelihood"),
  slip("refine/likelihood.ts", "tf.mul(b!, -0.5)", "tf.mul(b!, 0.5)", "refine/likelihood"),
  slip(
    "refine/likelihood.ts",
    "tf.add(a, b), change / 2",
    "tf.add(a, a), change / 2",
    "refine/likelihood",
  ),
  slip("refine/trace.ts", "fresh ? state.step : 0", "0", "refine/likelihood"),
  slip(
    "tensor/rows/slerp.ts",
    "tf.mul(from.length, 1 - u)",
    "tf.mul(from.length, u)",
    "laws/contract_laws",
  ),
  slip("tensor/rows/slerp.ts", "rise), 2 * u - 1)", "rise), 1 - 2 * u)", "laws/contract_laws"),
  slip("tensor/rows/slerp.ts", "notFinite(atHand(end) ?? [])", "notFinite([])", "refine/edit"),
  slip(
    "tensor/rows/slerp.ts",
    "scaled = tf.div(rows, nonzero(most))",
    "scaled = rows",
    "refine/edit",
  ),
  slip("tensor/rows/slerp.ts", "middle, sideways(start)", "middle, middle", "refine/edit"),
  slip(
    "tensor/rows/slerp.ts",
    "tf.where(isLonger, perpendicular(b, unit(a)), b)",
    "perpendicular(b, unit(a))",
    "refine/edit",
  ),
  slip(
    "refine/edit.ts",
    "jump(x0, schedule.at(t), noise(",
    "jump(x0, { ...schedule.at(t), alpha: 1 }, noise(",
    "laws/contract_laws",
  ),
  slip(
    "refine/threshold.ts",
    "quantile(tf.abs(x0), ratio), 1, max",
    "quantile(tf.abs(x0), ratio), 0, max",
    "refine/threshold",
  ),
  slip(
    "refine/threshold.ts",
    "tf.div(tf.minimum(tf.maximum(x0, tf.neg(s)), s), s)",
    "tf.minimum(tf.maximum(x0, tf.neg(s)), s)",
    "refine/threshold",
  ),
  slip(
    "refine/known/operator.ts",
    "r2 * operator.gram + noise2",
    "r2 * operator.gram",
    "refine/inpaint",
  ),
  slip("refine/known/observe.ts", "tf.mul(gradient, scale)", "gradient", "refine/inpaint"),
  slip(
    "refine/known/observe.ts",
    "v * sigma ** 2 / (alpha ** 2 * v + sigma ** 2)",
    "sigma ** 2 / (alpha ** 2 + sigma ** 2)",
    "refine/inpaint",
  ),
  slip(
    "refine/known/repaint.ts",
    "let pass = 1; pass < jumps",
    "let pass = 0; pass < jumps",
    "refine/inpaint",
  ),
  slip("refine/known/repaint.ts", "evaluation.t > t", "evaluation.t < t", "refine/inpaint"),
  slip(
    "refine/guide/gradient.ts",
    "by = variance(at(t), at(next.t))",
    "by = variance(at(next.t), at(t))",
    "refine/guide",
  ),
  slip(
    "refine/threshold.ts",
    "value: tf.add(clip(x0), tf.mul(x0, 0))",
    "value: clip(x0)",
    "laws/finite",
  ),
  slip("refine/threshold.ts", "    clipped: true,\n", "", "laws/one_model"),
  slip(
    "refine/guide/free.ts",
    "model.bound ? inTurn",
    "model.clipped ? inTurn",
    "laws/one_model",
  ),
  slip(
    "denoise/decorate.ts",
    "({ ...model, conditioned: true })",
    "({ ..._ && { given: _ }, ...model })",
    "laws/one_model",
  ),
  slip("refine/guide/gradient.ts", "near.sigma ** 2 / near.alpha", "0", "laws/pure_noise"),
  slip(
    "refine/guide/gradient.ts",
    "timeNear(schedule, { alpha: 1, sigma: 300 })",
    "t",
    "laws/pure_noise",
  ),
  slip(
    "refine/likelihood.ts",
    "tf.sub(tau ?? size, size), 2)",
    "tf.sub(tau ?? size, size), 1)",
    "laws/pure_noise",
  ),
  slip("refine/likelihood.ts", "tf.neg(outOfNoise(", "(outOfNoise(", "laws/pure_noise"),
  slip("refine/likelihood.ts", "    checkSmooth(env);\n", "", "laws/one_model"),
  slip(
    "refine/likelihood.ts",
    '      density: rule === "jacobian" ? "map" : "flow",\n',
    "",
    "laws/one_model",
  ),
  slip(
    "refine/moved.ts",
    'if (env.density !== "flow" && !("logDensity" in state)) return;',
    'if (env.density !== "flow") return;',
    "laws/one_model",
  ),
  slip("refine/known/check.ts", "value !== 0 && value !== 1", "value > 1", "laws/finite"),
  slip(
    "refine/known/operator.ts",
    "within: (y) => shownBy(kept, y, tf.zerosLike(y)),",
    "",
    "refine/inpaint",
  ),
  slip(
    "refine/known/observe.ts",
    "tf.div(operator.apply(operator.adjoint(y)), gram)",
    "y",
    "refine/inpaint",
  ),
  slip(
    "refine/correct.ts",
    "moves(model ? { ...env, model: asIn(env, model, state.t) } : env, state)",
    "moves(env, state)",
    "laws/one_model",
  ),
  slip("chain/move/accept.ts", "tf.isNaN(logA)", "tf.isNaN(tf.zerosLike(logA))", "laws/finite"),
  slip(
    "solve/linear.ts",
    "gradFunc: (dy: Tensor) => inverse(dy),",
    "gradFunc: (dy: Tensor) => dy,",
    "laws/one_model",
  ),
  slip("refine/likelihood.ts", "if (state.t < end) {", "if (state.t < -end) {", "laws/one_model"),
  slip(
    "refine/likelihood.ts",
    "if (follows(said, x)) return;",
    "if (said) return;",
    "laws/one_model",
  ),
  slip("refine/correct.ts", "fitted(model, { schedule, times: [t] })", "model", "sample/fit"),
  slip(
    "refine/guide/free.ts",
    "given.value.size === given.value.shape[0]",
    "rescale < 0",
    "sample/fit",
  ),
  slip(
    "chain/langevin.ts",
    "tf.sub(here.energy, there.energy)",
    "tf.sub(there.energy, here.energy)",
    "refine/correct",
  ),
];

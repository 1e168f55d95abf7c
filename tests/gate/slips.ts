/**
 * Slips of the pen that the tests are known to catch: `deno task break` makes each of them in a copy, and sees a test fail.
 * Those of the samplers' steps are in `tests/laws/mutations.ts`, where a test refutes each by its statistics.
 *
 * @module
 */

/** One slip. */
export interface Slip {
  /** The file. */
  readonly file: string;
  /** What stands there, once. */
  readonly right: string;
  /** What is put in its place. */
  readonly wrong: string;
  /** The tests that must not pass with it. */
  readonly tests: string;
}

const slip = (file: string, right: string, wrong: string, tests: string): Slip => ({
  file: `src/${file}`,
  right,
  wrong,
  tests: `tests/${tests}_test.ts`,
});

/** All of them. */
export const slips: readonly Slip[] = [
  // Streams and states.
  slip("sample/chain.ts", "fold(use, first + i)", "fold(use, i)", "laws/contract_streams"),
  slip("sample/chain.ts", "index++ >= count", "++index >= count", "laws/contract_streams"),
  slip("sample/chain.ts", "schedule.at(at).sigma", "1", "sample/chain"),
  // Predictor and corrector.
  slip("refine/correct.ts", "2 * kept(", "kept(", "laws/contract_refinement"),
  slip("refine/correct.ts", "!final && state.t <=", "final && state.t <=", "refine/correct"),
  slip(
    "refine/correct.ts",
    'order === "after"\n',
    'order !== "after"\n',
    "laws/contract_refinement",
  ),
  // Guidance and what is known.
  slip("refine/guide.ts", "gradient, scale * slope", "gradient, slope", "refine/guide"),
  slip(
    "refine/inpaint.ts",
    "tf.sub(tf.mul(y, alpha), op",
    "tf.sub(tf.mul(y, 1), op",
    "refine/inpaint",
  ),
  // Likelihood.
  slip("refine/likelihood.ts", "size * Math.log(to", "Math.log(to", "refine/likelihood"),
  slip("refine/likelihood.ts", "tf.mul(b!, -0.5)", "tf.mul(b!, 0.5)", "refine/likelihood"),
  slip(
    "refine/likelihood.ts",
    "tf.add(a, b), change / 2",
    "tf.add(a, a), change / 2",
    "refine/likelihood",
  ),
  slip("refine/likelihood.ts", "fresh ? state.step : 0", "0", "refine/likelihood"),
  slip("metric/bits.ts", "Math.log2(levels / width)", "Math.log2(levels)", "metric/bits"),
  // Editing.
  slip("refine/edit.ts", "tf.mul(a, weight(1 - u))", "tf.mul(a, weight(u))", "laws/contract_laws"),
  slip(
    "refine/edit.ts",
    "jump(x0, level, z)",
    "jump(x0, { ...level, alpha: 1 }, z)",
    "laws/contract_laws",
  ),
  // The way up.
  slip("sample/reverse.ts", "upward ? grid.toReversed() : grid", "grid", "sample/reverse"),
  slip("sample/reverse.ts", "if (upward) checkUpward", "if (churn) checkUpward", "sample/reverse"),
  // Schedules.
  slip("denoise/reschedule.ts", "isNoisy ? sigma", "!isNoisy ? sigma", "denoise/reschedule"),
  slip(
    "noise/schedule.ts",
    "? last : timeOf(wanted)",
    "? first : timeOf(wanted)",
    "denoise/reschedule",
  ),
  // Training.
  slip("command/train.ts", "reweighted: false", "reweighted: true", "command/train"),
  slip("command/train.ts", "{ ...planned, ...first.digest }", "{ ...planned }", "command/train"),
  // Sampling.
  slip(
    "command/sample_options.ts",
    "loadNoisyClassifier(path, { under: schedule })",
    "loadNoisyClassifier(path)",
    "command/sample",
  ),
  slip(
    "command/sample_options.ts",
    "byClassifier(pull.classifier, condition, { scale })",
    "byClassifier(pull.classifier, condition)",
    "command/sample",
  ),
  slip(
    "command/sample_options.ts",
    "namesOf(pull.config.names, pull.config.classes)",
    "namesOf(config.classes, config.network.classes)",
    "command/sample",
  ),
  // Classifiers of noisy images.
  slip("network/classifier.ts", "tf.add(a!, 1)", "a!", "network/classifier"),
  slip("network/classifier.ts", "tf.div(x, size), Array", "x, Array", "network/classifier"),
  slip(
    "network/classifier.ts",
    "under === schedule ? t : timeNear(schedule, level)",
    "t",
    "network/classifier",
  ),
  slip("train/diffusion.ts", "{ at } = unit(schedule)", "{ at } = schedule", "train/diffusion"),
  slip(
    "io/weights.ts",
    "{ ...classifierFields, schedule: noSchedule }",
    "classifierFields",
    "io/weights",
  ),
  // Equations.
  slip("noise/ode.ts", "accepted ? greatest : 1", "greatest", "noise/ode"),
  slip("noise/ode.ts", "1 / order - 0.75 * beta", "1 / order", "noise/ode"),
  slip("noise/ode.ts", "-17253 / 339200", "17253 / 339200", "noise/ode"),
  slip(
    "noise/ode.ts",
    "rejected > front.rejected ? Math.min(factor, 1) : factor",
    "factor",
    "noise/ode",
  ),
  slip("noise/ode.ts", "(next.t - time) * h >= 0", "(next.t - time) * h > 0", "noise/ode"),
  slip(
    "noise/sde.ts",
    "tf.sub(tf.square(dw), Math.abs(h)), 0.5",
    "tf.square(dw), 0.5",
    "noise/sde",
  ),
  slip("noise/sde.ts", "Math.abs(h) / 2)", "Math.abs(h))", "noise/sde"),
  slip("noise/sde.ts", "tf.mul(g!, root)", "tf.mul(g!, -root)", "noise/sde"),
  slip("noise/sde.ts", "tf.sub(mean, x), theta", "tf.sub(x, mean), theta", "noise/sde"),
  slip("noise/brownian.ts", "ticks / 4)", "ticks / 2)", "noise/sde"),
  slip(
    "noise/forward.ts",
    "(t.sigma - carried) * (t.sigma + carried)",
    "t.sigma ** 2",
    "noise/forward",
  ),
  // Times to train at.
  slip(
    "train/timestep.ts",
    "1 / ((most - least) * density(t))",
    "1 / density(t)",
    "train/timestep",
  ),
  slip(
    "train/timestep.ts",
    "density: (t) => 2 * noiseRate(schedule, t),",
    "density: (t) => noiseRate(schedule, t),",
    "train/timestep",
  ),
  slip(
    "train/timestep.ts",
    "whole.inverse(from + u * total)",
    "whole.inverse(u * total)",
    "train/timestep",
  ),
  slip("train/timestep.ts", "(u[0]! + i) / u.length)", "(u[i]! + i) / u.length)", "train/timestep"),
  slip(
    "train/timestep.ts",
    "i % 2 === 0 ? u[i]! : opposite(u[i - 1]!)",
    "opposite(u[i]!)",
    "train/timestep",
  ),
  // What is clipped, known or measured.
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
  slip("refine/inpaint.ts", "r2 * operator.gram + noise2", "r2 * operator.gram", "refine/inpaint"),
  slip("refine/inpaint.ts", "tf.mul(pull.gradient, scale)", "pull.gradient", "refine/inpaint"),
  slip(
    "refine/inpaint.ts",
    "v * sigma ** 2 / (alpha ** 2 * v + sigma ** 2)",
    "sigma ** 2 / (alpha ** 2 + sigma ** 2)",
    "refine/inpaint",
  ),
  slip(
    "refine/inpaint.ts",
    "let pass = 1; pass < jumps",
    "let pass = 0; pass < jumps",
    "refine/inpaint",
  ),
  slip("refine/inpaint.ts", "evaluation.t > t", "evaluation.t < t", "refine/inpaint"),
  slip(
    "refine/guide.ts",
    "scale * variance(at(state.t), at(next.t))",
    "scale * variance(at(next.t), at(state.t))",
    "refine/guide",
  ),
];

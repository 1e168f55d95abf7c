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
];

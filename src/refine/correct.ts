/**
 * Correctors: refinements that stir a state at the level that it has reached, so that it forgets the errors of the steps
 * before.
 *
 * All are Langevin's, which leaves p_t alone up to the size of its step:
 *
 * ```text
 *   x ← x + eps·s(x, t) + √(2·eps)·z      z ~ N(0, I)      s = ∇ ln p_t
 * ```
 *
 * and differ in the size, which is all that a {@link LangevinCorrector} says. Texts that write x + (a/2)·s + √a·z have a = 2·eps.
 *
 * | corrector | eps |
 * |---|---|
 * | {@link langevin} | 2·a·(snr·‖z‖/‖s‖)², with the norms of each sample by itself |
 * | {@link annealedLangevin} | ratio·sigma^power |
 * | {@link fixedLangevin} | size; with the test of Metropolis and Hastings, if wanted |
 *
 * Sources: Y. Song et al., "Score-based generative modeling through SDEs" (ICLR 2021), algorithms 1, 4 and 5; Y. Song,
 * S. Ermon, "Generative modeling by estimating gradients of the data distribution" (NeurIPS 2019), algorithm 1; G. Roberts,
 * R. Tweedie, "Exponential convergence of Langevin distributions and their discrete approximations" (1996), section 1.4.
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
import { sampleAxes, type Tensor } from "../tensor/tensor.ts";
import { langevinChain, type Point } from "../chain/langevin.ts";
import type { Model } from "../denoise/prediction.ts";
import type { Level, Schedule } from "../noise/schedule/schedule.ts";
import { asked } from "../sample/step.ts";
import { type Env, noise, type Refinement, sampleKeys, type State } from "../sample/path.ts";
import { fitted } from "../sample/fit.ts";
import { mismatch, refusal, shown } from "../tensor/check/check.ts";
import {
  above,
  atLeast,
  decoded,
  is,
  needed,
  oneOf,
  type Rules,
  whole,
  wholeNumber,
} from "../tensor/check/decode.ts";
import { uniform } from "../tensor/random.ts";
import { owned, type Scoped } from "../tensor/scope.ts";
import { around, checkUnweighed } from "./moved.ts";

/** What is refused here. */
const correcting = "correct";

/**
 * What the size of a corrector's step may depend on.
 *
 * @category Refinements
 */
export interface LangevinStep {
  /** The schedule of the model. */
  readonly schedule: Schedule;
  /** Time of the state. */
  readonly t: number;
  /** Marginal at t. */
  readonly level: Level;
  /** s(x, t), shape of x. */
  readonly score: Tensor;
  /** z, standard normal, shape of x. */
  readonly z: Tensor;
}

/**
 * Langevin steps at one level, as data.
 *
 * @category Refinements
 */
export interface LangevinCorrector {
  /** Number of steps at each level, at least 0; each evaluates the model once. */
  readonly steps: number;
  /**
   * eps of a step, in the square of x's unit: one number, or one for each sample in a tensor of shape [N, 1, ...]. Called
   * within a scope.
   */
  readonly size: (step: LangevinStep) => number | Tensor;
  /**
   * Whether each sample's move is put to the test of Metropolis and Hastings, which leaves p_t alone exactly. It needs an
   * energy, a size that is one number, and one evaluation more at each level. Default: false.
   */
  readonly metropolis?: boolean;
}

/**
 * Options of {@link langevin}.
 *
 * @category Refinements
 */
export interface LangevinOptions {
  /** Signal-to-noise ratio r: about ‖eps·s‖ over ‖√(2·eps)·z‖, above 0. Default: 0.16. */
  readonly snr?: number;
  /** Number of steps at each level. Default: 1. */
  readonly steps?: number;
  /** Greatest eps, in units of sigma²; above 0. Default: none. Set it where a sample has few dimensions: see there. */
  readonly most?: number;
}

const positive = is("a number above 0", above(0));

const langevinRules: Rules<LangevinOptions> = {
  snr: positive,
  steps: wholeNumber(0),
  most: is("above 0", (value) => value > 0),
};

/**
 * Options of {@link annealedLangevin}.
 *
 * @category Refinements
 */
export interface AnnealedLangevinOptions {
  /** eps in units of sigma^power, above 0. Default: 0.1. */
  readonly ratio?: number;
  /** The power of sigma, at least 0. Default: 2. */
  readonly power?: number;
  /** Number of steps at each level. Default: 1. */
  readonly steps?: number;
}

const annealedRules: Rules<AnnealedLangevinOptions> = {
  ratio: positive,
  power: is("at least 0", atLeast(0)),
  steps: wholeNumber(0),
};

/**
 * Options of {@link fixedLangevin}.
 *
 * @category Refinements
 */
export interface FixedLangevinOptions {
  /** eps, in the square of x's unit; above 0. */
  readonly size: number;
  /** Number of steps at each level. Default: 1. */
  readonly steps?: number;
  /** Whether moves are put to the test, for models that give an energy. Default: false. */
  readonly metropolis?: boolean;
}

const fixedRules: Rules<FixedLangevinOptions> = {
  size: needed(positive),
  steps: wholeNumber(0),
  metropolis: true,
};

/**
 * Options of {@link corrected}.
 *
 * @category Refinements
 */
export interface CorrectedOptions {
  /**
   * `"after"`: predictor, then corrector at the level reached, as in algorithm 1 of Song et al. (2021). `"before"`:
   * corrector at the level of departure, then predictor, as in the code released with it: the first level is corrected
   * too, the last never. Default: `"after"`.
   */
  readonly order?: "after" | "before";
  /**
   * Whether the schedule's least time is corrected too, where it has noise left. Default: false, as what the corrector
   * adds there stays in the samples. At sigma = 0 there is no score, and nothing is ever corrected.
   */
  readonly final?: boolean;
  /** What its noise is drawn for; correctors that share a sampler need different names. Default: `"corrector"`. */
  readonly purpose?: string;
  /** Whose score stirs, such as the model without its guidance. Default: the run's, with all that changes it. */
  readonly model?: Model;
}

const correctedRules: Rules<CorrectedOptions> = {
  order: oneOf("after", "before"),
  final: true,
  purpose: true,
  model: is("a model", (model: Model) => typeof model?.schedule?.at === "function", true),
};

/**
 * Langevin steps by the signal-to-noise rule (Song et al. 2021, algorithms 4 and 5), for each sample by itself:
 *
 * ```text
 *   eps = 2·a·(snr·‖z‖/‖s‖)²      a = (alpha_t/alpha_t')², t' one step of a discrete schedule nearer to the data,
 *                                  or a thousandth of the span of a continuous one
 * ```
 *
 * a is the source's alpha_i = 1 − beta_i for its 1000 steps, and 1 where alpha does not change. The source averages the
 * norms over the batch; here a sample does not depend on its batch. Norms of many dimensions hardly vary, so that the two
 * agree there; of a few they do, eps is large where s is small by chance, and the law that the steps leave alone is not p_t:
 * of N(0, s²·I) in d dimensions they keep about the variance s²·(1 + 2/d)²/(1 − snr²), 48 % too much at d = 10 and snr 0.16,
 * 7 % at d = 100. Cap eps with `most` there, or take another rule.
 *
 * @category Refinements
 * @param options Ratio, number of steps, cap.
 * @returns The corrector, for {@link corrected}.
 * @throws {RangeError} If an option is outside its domain.
 *
 * @example
 * ```ts
 * import { langevin } from "@tweedie/tweedie";
 * import assert from "node:assert/strict";
 *
 * assert.equal(langevin({ snr: 0.1, steps: 2 }).steps, 2);
 * ```
 */
export function langevin(options: LangevinOptions = {}): LangevinCorrector {
  const { snr = 0.16, steps = 1, most = Infinity } = decoded(correcting, options, langevinRules);
  return {
    steps,
    size: ({ schedule, t, level, score, z }) => {
      const scale = 2 * kept(schedule, t) * snr ** 2;
      const eps = tf.mul(tf.div(squares(z), tf.maximum(squares(score), 1e-20)), scale);
      return most < Infinity ? tf.minimum(eps, most * level.sigma ** 2) : eps;
    },
  };
}

/** ‖x‖² of each sample, shape [N, 1, ...]. */
const squares = (x: Tensor): Tensor => tf.sum(tf.square(x), sampleAxes(x), true);

/** 1 − beta of the schedule's own step, or of a thousandth of its span. */
function kept({ span: [least, most], steps, at }: Schedule, t: number): number {
  const before = Math.max(t - (steps === undefined ? (most - least) / 1000 : 1), least);
  return (at(t).alpha / at(before).alpha) ** 2;
}

/**
 * Langevin steps in proportion to a power of the noise level: annealed Langevin (Song, Ermon 2019, algorithm 1), which has
 * the square, so that signal and noise of a step keep their ratio at every level.
 *
 * ```text
 *   eps = ratio·sigma^power
 * ```
 *
 * Literature has four forms: with `power` 2, algorithm 1 has ratio epsilon/(2·sigma_L²), and ratio 1 takes out noise of
 * variance sigma² and puts in twice as much; with `power` 1, ratio is epsilon_0 over the least or the greatest sigma.
 *
 * @category Refinements
 * @param options Ratio, power, number of steps.
 * @returns The corrector, for {@link corrected}.
 * @throws {RangeError} If an option is outside its domain.
 *
 * @example
 * ```ts
 * import { annealedLangevin } from "@tweedie/tweedie";
 * import assert from "node:assert/strict";
 *
 * assert.equal(annealedLangevin({ ratio: 0.2 }).steps, 1);
 * ```
 */
export function annealedLangevin(options: AnnealedLangevinOptions = {}): LangevinCorrector {
  const { ratio = 0.1, power = 2, steps = 1 } = decoded(correcting, options, annealedRules);
  return { steps, size: ({ level }) => ratio * level.sigma ** power };
}

/**
 * Langevin steps of one size at every level. Of N(m, v) they leave N(m, v/(1 − eps/(2·v))) alone instead; with the
 * Metropolis test, p_t itself, whatever it is:
 *
 * ```text
 *   y = x + eps·s(x) + √(2·eps)·z
 *   ln a = E(x) − E(y) + (‖z‖² − ‖z + √(eps/2)·(s(x) + s(y))‖²)/2      y is taken with probability min(1, a)
 * ```
 *
 * @category Refinements
 * @param options Size, number of steps, test.
 * @returns The corrector, for {@link corrected}.
 * @throws {RangeError} If an option is outside its domain.
 *
 * @example
 * ```ts
 * import { fixedLangevin } from "@tweedie/tweedie";
 * import assert from "node:assert/strict";
 *
 * assert.equal(fixedLangevin({ size: 0.01, metropolis: true }).metropolis, true);
 * ```
 */
export function fixedLangevin(options: FixedLangevinOptions): LangevinCorrector {
  const { size, steps = 1, metropolis = false } = decoded(correcting, options, fixedRules);
  return { steps, size: () => size, metropolis };
}

/**
 * Predictor-corrector: any sampler's steps as the predictor, Langevin's as the corrector (Song et al. 2021, algorithm 1).
 *
 * @category Refinements
 * @param corrector Such as {@link langevin}.
 * @param options Which comes first, the last level, what the noise is drawn for.
 * @returns The refinement. Each step costs `corrector.steps` evaluations more.
 * @throws {RangeError} If an option is outside its domain.
 * @throws {TypeError} While run: if a Metropolis test has no energy, or not one size for all.
 *
 * @example DDIM with a correction after each step
 * ```ts
 * import { annealedLangevin, corrected, ddim, gaussian, key, last, linear, prior, run } from "@tweedie/tweedie";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import { pipe } from "@tweedie/tweedie";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const schedule = linear(), model = gaussian(schedule, { mean: 2, variance: 0.25 });
 * const sampler = corrected(annealedLangevin({ ratio: 0.1 }))(ddim(schedule, { steps: 20 }));
 * const { x } = await last(pipe(sampler, run(prior([1000, 1]), { model, key: key(0) })));
 * const mean = [...x.dataSync()].reduce((a, b) => a + b) / 1000;
 * assert.ok(Math.abs(mean - 2) < 0.1);
 * ```
 */
export function corrected(
  corrector: LangevinCorrector,
  options: CorrectedOptions = {},
): Refinement {
  const { order = "after", final = false, purpose = "corrector", model } = decoded(
    correcting,
    options,
    correctedRules,
  );
  if (typeof corrector?.size !== "function") {
    const wanted = "corrector must be a corrector, such as langevin()";
    throw mismatch(correcting, wanted, shown(corrector));
  }
  if (!whole(0)(corrector.steps ?? 1)) {
    throw refusal(correcting, "steps must be a whole number of at least 0", corrector.steps);
  }
  const moves = along(corrector, purpose, final);
  const stirred = (env: Env, state: State): Scoped<Tensor> =>
    moves(model ? { ...env, model: asIn(env, model, state.t) } : env, state);
  return around(function* (state, env, step) {
    if (order === "before") {
      checkUnweighed(env, state);
      return yield* step({ ...state, x: yield* stirred(env, state) }, env);
    }
    const next = yield* step(state, env);
    checkUnweighed(env, next);
    return { ...next, x: yield* stirred(env, next) };
  });
}

/** A corrector's own model, under the schedule of the run. */
const asIn = ({ model: { schedule } }: Env, model: Model, t: number): Model =>
  fitted(model, { schedule, times: [t] });

/** The x that a state's becomes by all steps of a corrector; its own, where there is nothing to do. */
const along = (corrector: LangevinCorrector, purpose: string, final: boolean) =>
  function* (env: Env, state: State): Scoped<Tensor> {
    const { schedule } = env.model, { t } = state, level = schedule.at(t), { steps } = corrector;
    const isLeft = !final && t <= schedule.span[0];
    if (steps === 0 || level.sigma === 0 || isLeft) return state.x;
    const isTested = corrector.metropolis === true;
    const eps = ({ score }: Point, z: Tensor): number | Tensor =>
      corrector.size({ schedule, t, level, score, z });
    const u = (i: number): Tensor =>
      uniform(sampleKeys(env, state.x.shape[0]!, `${purpose} test ${i}`, state.step), []);
    const { x } = yield* langevinChain({ x: state.x }, {
      steps,
      at: (x) => isTested ? withEnergy(env, x, t) : withScore(env, x, t),
      eps: isTested ? (here, z) => checkedSize(eps(here, z)) : eps,
      z: (i) => noise(env, state, `${purpose} ${i}`),
      ...(isTested && { u }),
    });
    return x;
  };

/** A sample with its score. */
function* withScore(env: Env, x: Tensor, t: number): Scoped<Point> {
  return { x, score: yield* asked(env, "score", x, t) };
}

/** A sample with its energy and its score. */
function* withEnergy({ model, signal }: Env, x: Tensor, t: number): Scoped<Point> {
  const said = yield* owned(model.predict(x, t, signal));
  if (said.kind === "energy") return { x, energy: said.value, score: tf.neg(said.gradient) };
  const got = `a prediction of kind "${said.kind}"`;
  throw mismatch("test a move", "the model must give an energy", got);
}

/** One size for all: where it depends on the point the way back is another. */
function checkedSize(eps: number | Tensor): number {
  if (typeof eps === "number") return eps;
  throw mismatch("test a move", "the corrector's size must be a number", "a tensor");
}

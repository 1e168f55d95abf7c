/**
 * The reverse-time SDE of any schedule, and its family down to the probability-flow ODE.
 *
 * For the forward process dx = f·x dt + g dw every member of one family has its marginals when time falls:
 *
 * ```text
 *   dx = (f·x − (1 + lambda²)/2·g²·score) dt + lambda·g dw        lambda = 1: Anderson's reverse SDE, 0: the ODE
 * ```
 *
 * {@link reverseSde} makes steps of it; `flow` solves the ODE by Runge–Kutta.
 *
 * Sources: B. Anderson, "Reverse-time diffusion equation models" (1982), equation 5.4; Y. Song et al., "Score-based generative modeling
 * through SDEs" (ICLR 2021), equations 6, 13, 46 and appendix E. A common slip leaves the score term of the ODE outside the
 * bracket that dt multiplies, or its ½ out.
 *
 * @module
 */

import { between } from "../noise/forward.ts";
import { type GridOptions, timesAmong } from "../noise/grid.ts";
import type { Level, Schedule } from "../noise/schedule/schedule.ts";
import { refusal } from "../tensor/check/check.ts";
import { atLeast, boolean, is } from "../tensor/check/decode.ts";
import { asked, type Leg, legs, step } from "./step.ts";
import type { Sampler } from "./path.ts";
import { type LastNoise, named, noisy, over, type Own, silentLast } from "./grid.ts";
import { combined, exponential, type MultistepWeights, nodeAt } from "./solver/weights.ts";

/**
 * How a step of the reverse SDE is made.
 *
 * @category Samplers
 */
export type Predictor = "euler-maruyama" | "reverse-diffusion" | "ancestral";

/**
 * Options of {@link reverseSde}.
 *
 * @category Samplers
 */
export interface ReverseSdeOptions extends GridOptions, LastNoise {
  /** Strength of the noise, at least 0: 1 is Anderson's reverse SDE, 0 the probability-flow ODE. Default: 1. */
  readonly lambda?: number;
  /**
   * How a step is made; see {@link reverseCoefficients}. Default: `"euler-maruyama"`, which needs many steps;
   * `"ancestral"` is right for steps of any length and on every schedule.
   */
  readonly predictor?: Predictor;
}

/**
 * A step of {@link reverseCoefficients}.
 *
 * @category Samplers
 */
export interface ReverseStep extends Pick<Leg, "t" | "s" | "from" | "to"> {
  /** Strength of the noise, at least 0. */
  readonly lambda: number;
}

/** (xt + score·∇ ln p)·x_t with the score read from x0: score = (alpha·x0 − x)/sigma². */
const byScore = (
  { alpha, sigma }: Level,
  { xt, score, noise }: { readonly xt: number; readonly score: number; readonly noise: number },
): MultistepWeights => ({
  xt: xt - score / sigma ** 2,
  of: "x0",
  predictions: [score * alpha / sigma ** 2],
  noise,
});

const predictors: {
  readonly [P in Predictor]: (schedule: Schedule, step: ReverseStep) => MultistepWeights;
} = {
  "euler-maruyama": ({ drift, diffusion }, { t, s, from, lambda }) => {
    const f = drift(t), g = diffusion(t), h = t - s;
    const score = (1 + lambda ** 2) / 2 * g ** 2 * h;
    return byScore(from, { xt: 1 - f * h, score, noise: lambda * g * Math.sqrt(h) });
  },
  "reverse-diffusion": (_, { from, to, lambda }) => {
    const { scale, std } = between(to, from), score = (1 + lambda ** 2) / 2 * std ** 2;
    return byScore(from, { xt: 2 - scale, score, noise: lambda * std });
  },
  ancestral: (_, { t, s, from, to, lambda }) =>
    exponential({ eta: lambda })({ from: nodeAt(t, from), to: nodeAt(s, to), past: [] }),
};

const sdeRules: Own<ReverseSdeOptions> = {
  lambda: is("a number of at least 0", atLeast(0)),
  predictor: named(predictors),
  lastNoise: boolean,
};

/**
 * The coefficients of one step from t to s < t of the family, in float64:
 *
 * ```text
 *   euler-maruyama      x_s = x_t − (f·x_t − (1 + lambda²)/2·g²·score)·(t − s) + lambda·g·√(t − s)·z        f, g at t
 *   reverse-diffusion   x_s = (2 − a)·x_t + (1 + lambda²)/2·b²·score + lambda·b·z
 *                       where x_t = a·x_s + b·noise is the forward step (Song et al. 2021, equation 46 and appendix E)
 *   ancestral           the solution for an x0 that does not change on the way: DDPM at lambda 1, DDIM at 0
 * ```
 *
 * All are of weak order 1. The first two need finite f and g, and so alpha above 0, where they start, and steps over which
 * f and g hardly change: few steps of Euler–Maruyama overshoot without bound.
 *
 * @category Samplers
 * @param schedule The schedule.
 * @param predictor Which.
 * @param step Times, levels, strength of the noise.
 * @returns Coefficients of x_t and of the x0 prediction; standard deviation of the noise.
 *
 * @example The ancestral step at lambda 1 is DDPM's
 * ```ts
 * import { linear } from "@tweedie/tweedie";
 * import { posterior } from "@tweedie/tweedie/denoise";
 * import { reverseCoefficients } from "@tweedie/tweedie/sample";
 * import assert from "node:assert/strict";
 *
 * const schedule = linear(), from = schedule.at(500), to = schedule.at(400);
 * const step = reverseCoefficients(schedule, "ancestral", { t: 500, s: 400, from, to, lambda: 1 });
 * assert.ok(Math.abs(step.noise ** 2 - posterior(from, to).variance) < 1e-12);
 * ```
 */
export function reverseCoefficients(
  schedule: Schedule,
  predictor: Predictor,
  step: ReverseStep,
): MultistepWeights {
  return predictors[predictor](schedule, step);
}

/**
 * The reverse-time SDE by one of three predictors, and its family down to the probability-flow ODE.
 *
 * @category Samplers
 * @param schedule The schedule of the model. All predictors but the ancestral one need finite f and g where steps start.
 * @param options Grid of times, strength of the noise, predictor, noise of the last step.
 * @returns A sampler with one evaluation of the model for each step.
 * @throws {RangeError} If an option is outside its domain, or the grid starts where f or g is infinite and the predictor needs
 * them.
 *
 * @example Half way between SDE and ODE
 * ```ts
 * import { gaussian, key, prior, reverseSde, run, vp } from "@tweedie/tweedie";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import * as tf from "@tensorflow/tfjs-core";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const schedule = vp(), model = gaussian(schedule, { mean: 1, variance: 0.25 });
 * const sampler = reverseSde(schedule, { steps: 50, lambda: 0.5, final: 1e-3 });
 * let mean = 0;
 * for await (const { x } of run(prior([400, 1]), { model, key: key(0) })(sampler)) mean = tf.mean(x).dataSync()[0]!;
 * assert.ok(Math.abs(mean - 1) < 0.2);
 * ```
 */
export function reverseSde(schedule: Schedule, options: ReverseSdeOptions = {}): Sampler {
  const grid = timesAmong(action, { schedule, options }, sdeRules);
  const { lambda = 1, predictor = "euler-maruyama" } = options;
  const isSilent = silentLast(options), path = legs(schedule, grid);
  if (predictor !== "ancestral") path.forEach((leg) => checkFinite(schedule, leg, predictor));
  return over(schedule, grid, (leg) => {
    const weights = reverseCoefficients(schedule, predictor, { ...leg, lambda });
    const deviation = isSilent(leg) ? 0 : weights.noise, node = nodeAt(leg.t, leg.from);
    return step(leg, function* (state, env) {
      const x0 = yield* asked(env, "x0", state.x, leg.t);
      const mean = combined(weights, state.x, [{ node, x0 }]);
      return { x: noisy(mean, deviation, { env, state }), x0 };
    });
  });
}

const action = "make a reverse SDE";

/** Refuses a step from where f or g is infinite. */
function checkFinite(
  { drift, diffusion }: Schedule,
  { t, s, from }: Leg,
  predictor: Predictor,
): void {
  if (from.alpha > 0 && Number.isFinite(drift(t)) && Number.isFinite(diffusion(t))) return;
  throw refusal(
    action,
    `the step from ${t} to ${s} must have finite coefficients: from must be a time at which f and g are finite ` +
      `for predictor "${predictor}" ("ancestral" starts anywhere)`,
    t,
  );
}

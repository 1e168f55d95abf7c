/**
 * Log-density carried along a deterministic sampler: what a probability-flow ODE does to volumes.
 *
 * With lambda = ln(alpha/sigma) the ODE of every schedule is d(x/alpha) = eps(x, t)·d(sigma/alpha), so that along its paths
 *
 * ```text
 *   d ln p_t(x_t) = −D·d ln alpha + tau·d lambda      tau = sigma·tr ∂eps/∂x = D − alpha·tr ∂x0hat/∂x
 * ```
 *
 * for D dimensions: the continuous change of variables, d ln p = −div(f·x − g²·s/2) dt, without a division by sigma or alpha.
 * tau is between the number of dimensions in which noise rules and D. For N(m, v·I) it is D·sigma²/(alpha²·v + sigma²).
 *
 * The integral is by the trapezoid rule between the states of the sampler, so that the result is of order 2, or of
 * the sampler's order if that is less. On the grid `"logLinear"`, in steps of equal lambda, tau is flat at both ends and the
 * rule far better than its order: there a method of order 4 pays. `adaptiveFlow` makes steps as long as the error of x allows,
 * over which the trapezoid is coarse, some tenths of a nat at its defaults: weigh on a grid.
 *
 * To or from sigma = 0, where lambda is infinite, tau is taken to fall as sigma², as it does for data with a smooth density: the
 * integral is tau/2. For data on a manifold there is no density at sigma = 0, and ln p grows without bound as the final time
 * nears it. To or from alpha = 0 the same equation reads d ln p = −D·d ln sigma − (D − tau) d lambda, where D − tau falls as
 * alpha²: a step down from it adds
 *
 * ```text
 *   −D·ln(sigma_s/sigma_t) − (D − tau_s)/2
 * ```
 *
 * What has no density is refused: steps that draw noise, moves of x besides the flow (correctors, known pixels, jumps back), and
 * predictions that are clipped.
 *
 * Sources: R. Chen et al., "Neural ordinary differential equations" (NeurIPS 2018), theorem 1; W. Grathwohl et al.,
 * "FFJORD" (ICLR 2019), section 3.1; Y. Song et al., "Score-based generative modeling through SDEs" (ICLR 2021), appendix D.2.
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
import { sampleAxes, type Tensor } from "../tensor/tensor.ts";
import "../tensor/autodiff.ts";
import { logDeterminant } from "../solve/linear.ts";
import type { Level } from "../noise/schedule/schedule.ts";
import { convert, decorated, type Model, type Prediction } from "../denoise/prediction.ts";
import { checkOptions, refusal } from "../tensor/check/check.ts";
import { decoded, oneOf, type Rules } from "../tensor/check/decode.ts";
import { type Env, refined, type RunOptions, type Sampler, type State } from "../sample/path.ts";
import { run } from "../sample/run.ts";
import { isLevel } from "../noise/schedule/same.ts";
import { runRules } from "../sample/fit.ts";
import {
  atOnce,
  type Awaitable,
  awaited,
  follows,
  isDifferentiated,
  own,
  owned,
  scope,
  type Scoped,
} from "../tensor/scope.ts";
import { exactTrace, type Trace, unitVectors } from "./trace.ts";

/** What is refused here. */
const carrying = "carry a density";

/**
 * A state that knows its log-density.
 *
 * @category Refinements
 */
export interface Weighed extends State {
  /** ln p_t(x_t) of each sample, or its change since the start: see {@link likelihood}. In nats, shape [N]. */
  readonly logDensity?: Tensor;
  /** tau at this state, shape [N]; what the next step needs of it. */
  readonly tau?: Tensor;
}

/**
 * Options of {@link likelihood}.
 *
 * @category Refinements
 */
export interface LikelihoodOptions {
  /** How the trace is found. Default: {@link exactTrace}. */
  readonly trace?: Trace;
  /**
   * `"trapezoid"`: the ODE's integral, of order 2. `"jacobian"`: the volume of the sampler's own map, −ln|det ∂x_s/∂x_t|,
   * exact for what it gives at any step size; it costs D evaluations a step, reads numbers, and is for one-step samplers
   * in few dimensions. Default: `"trapezoid"`.
   */
  readonly rule?: "trapezoid" | "jacobian";
}

/**
 * The refinement that carries the log-density along a deterministic sampler, as `logDensity` of its states.
 *
 * A state that comes with a `logDensity` is believed; the run's first has none. There it is that of the prior,
 * ln N(x; 0, sigma²·I), if the step goes down to less noise, so that it is ln p_t(x_t) of each state; and 0 if it goes up,
 * so that it is the change since the data, ln p_t(x_t) − ln p_0(x_0): {@link logLikelihood} does the rest. The gradient goes
 * through the model, with its guidance and conditions, which must answer at once. Say `run<Weighed>`, for the type.
 *
 * The density is that of the flow: a sampler that draws noise has none, nor has one whose x is moved by something else, whether
 * that stands before likelihood or after it, nor one of clipped predictions.
 *
 * @category Refinements
 * @param options Trace and rule.
 * @returns The refinement. A trapezoid costs one trace a step, and one at the start.
 * @throws {RangeError} If an option is outside its domain.
 * @throws {TypeError} While run: if the model answers later, a step draws, x is moved, or predictions are clipped; under the rule
 * "jacobian", if the sampler keeps a history.
 *
 * @example Samples with their densities
 * ```ts
 * import { ddim, gaussian, key, last, likelihood, prior, run, vp, type Weighed } from "@tweedie/tweedie";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import { pipe } from "@tweedie/tweedie";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const schedule = vp(), model = gaussian(schedule, { variance: 0.25 });
 * const sampler = likelihood()(ddim(schedule, { steps: 200, spacing: "logLinear", least: 1e-3 }));
 * const { x, logDensity } = await last(pipe(sampler, run<Weighed>(prior([1, 1]), { model, key: key(0) })));
 * const exact = -2 * x.dataSync()[0]! ** 2 - Math.log(2 * Math.PI * 0.25) / 2;
 * assert.ok(Math.abs(logDensity!.dataSync()[0]! - exact) < 0.02);
 * ```
 */
export function likelihood(
  options: LikelihoodOptions = {},
): (sampler: Sampler) => Sampler<Weighed> {
  const { trace, rule = "trapezoid" } = decoded(carrying, options, likelihoodRules);
  if (rule === "jacobian" && trace) {
    throw refusal(carrying, 'trace must be absent with rule "jacobian"', trace);
  }
  return refined<State, Weighed>((transition) => (env) => {
    checkSmooth(env);
    const step = transition({
      ...env,
      density: rule === "jacobian" ? "map" : "flow",
      ...(rule === "jacobian" && { model: followed(env.model) }),
    });
    // The step is not told of the weights, so that what moves a state with weights can tell that they would be stale.
    return ({ logDensity, tau, ...state }: Weighed) =>
      scope(function* () {
        const next = yield* owned(step(state), state);
        const made = { env, state, next, logDensity, tau };
        const weights = rule === "jacobian"
          ? yield* byJacobian(made, step)
          : byTrapezoid(made, trace ?? exactTrace);
        return { ...next, ...weights };
      });
  });
}

const likelihoodRules: Rules<LikelihoodOptions> = {
  trace: true,
  rule: oneOf("trapezoid", "jacobian"),
};

/** The model, which refuses to answer within a gradient what that does not go through. */
const followed = (model: Model): Model =>
  decorated(model, (model) => ({
    predict: (x, t, signal) =>
      scope(function* () {
        const prediction = yield* owned(model.predict(x, t, signal));
        if (isDifferentiated()) checkFollows(prediction, x);
        return prediction;
      }),
  }));

/** Refuses a prediction that a gradient does not go through: its trace would be taken for 0. */
function checkFollows(prediction: Prediction, x: Tensor): void {
  const said = prediction.kind === "energy" ? prediction.gradient : prediction.value;
  if (follows(said, x)) return;
  throw new TypeError(
    "Cannot carry a density: the model must make its prediction of x in operations that have a gradient, " +
      "got one that does not depend on x",
  );
}

function checkSmooth({ model }: Env): void {
  if (!model.clipped) return;
  throw new TypeError(
    "Cannot carry a density: predictions must not be clipped, got a model under a threshold, whose flow has none",
  );
}

/** One step that has been made, and the weights of the state before. */
interface Made {
  readonly env: Env;
  readonly state: State;
  readonly next: State;
  readonly logDensity: Tensor | undefined;
  readonly tau: Tensor | undefined;
}

/** What is carried on. */
type Weights = Pick<Weighed, "logDensity" | "tau">;

/** ln p + ∫ −D d ln alpha + tau d lambda. */
function byTrapezoid(made: Made, trace: Trace): Weights {
  const { env, state, next } = made, { at } = env.model.schedule;
  const from = at(state.t), to = at(next.t);
  checkEnds(from, to);
  const before = made.tau ?? tauOf(trace, env, state, from);
  const tau = tauOf(trace, env, next, to), size = next.x.size / next.x.shape[0]!;
  const change = changeOf({ level: from, tau: before }, { level: to, tau }, size);
  const logDensity = tf.add(made.logDensity ?? firstDensity(state, next, from), change);
  return { logDensity, ...(tau && { tau }) };
}

/** Pure noise to data in one step is a map to a point, whatever the flow is. */
function checkEnds(from: Level, to: Level): void {
  const isNoise = from.alpha === 0 || to.alpha === 0, isData = from.sigma === 0 || to.sigma === 0;
  if (!isNoise || !isData) return;
  throw refusal(carrying, "steps must be at least 2 from alpha = 0 to sigma = 0", 1);
}

/** tau at a state; undefined at sigma = 0, and at alpha = 0, where it is the number of dimensions. */
function tauOf(trace: Trace, env: Env, state: State, level: Level): Tensor | undefined {
  if (level.sigma === 0 || level.alpha === 0) return undefined;
  const of = (x: Tensor): Tensor => epsAt(env, x, state.t, level);
  return tf.mul(trace({ env, state, of }), level.sigma);
}

function epsAt(env: Env, x: Tensor, t: number, level: Level): Tensor {
  const prediction = atOnce(env.model.predict(x, t), { action: carrying });
  checkFollows(prediction, x);
  return convert(prediction, "eps", x, level);
}

/** One end of a step. */
interface End {
  readonly level: Level;
  readonly tau: Tensor | undefined;
}

/** What a step adds to ln p: ∫ −D d ln alpha + tau d lambda. */
function changeOf(from: End, to: End, size: number): Tensor {
  const a = from.level, b = to.level;
  if (a.alpha === 0) return outOfNoise(b.sigma / a.sigma, to.tau, size);
  if (b.alpha === 0) return tf.neg(outOfNoise(a.sigma / b.sigma, from.tau, size));
  return tf.sub(integral(from, to), size * Math.log(b.alpha / a.alpha));
}

/** −D·ln(sigma_s/sigma_t) − (D − tau_s)/2, where D − tau falls as alpha² to 0 at t. */
const outOfNoise = (ratio: number, tau: Tensor | undefined, size: number): Tensor =>
  tf.sub(tf.div(tf.sub(tau ?? size, size), 2), size * Math.log(ratio));

/** ∫ tau dlambda over a step, with tau/2 for the end where sigma is 0. */
function integral({ level: from, tau: a }: End, { level: to, tau: b }: End): Tensor {
  if (a === undefined && b === undefined) return tf.scalar(0);
  if (a === undefined) return tf.mul(b!, -0.5);
  if (b === undefined) return tf.mul(a, 0.5);
  const change = Math.log(to.alpha / from.alpha) - Math.log(to.sigma / from.sigma);
  return tf.mul(tf.add(a, b), change / 2);
}

/** The prior's density at a start that goes down, nothing at one that goes up. */
const firstDensity = (state: State, next: State, level: Level): Tensor =>
  next.t < state.t ? logPrior(state.x, level) : tf.zeros([state.x.shape[0]!]);

/**
 * ln N(x; 0, sigma²·I) of each sample: the law that generation starts from.
 *
 * @category Refinements
 * @param x Shape [N, ...sample].
 * @param level Marginal at the start.
 * @returns Nats, shape [N]. It is the scope's, or the caller's where there is none.
 *
 * @example
 * ```ts
 * import { logPrior } from "@tweedie/tweedie/refine";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import * as tf from "@tensorflow/tfjs-core";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const [value] = logPrior(tf.tensor([[0, 2]]), { alpha: 0, sigma: 1 }).dataSync();
 * assert.ok(Math.abs(value! - (-2 - Math.log(2 * Math.PI))) < 1e-6);
 * ```
 */
export function logPrior(x: Tensor, { sigma }: Level): Tensor {
  const size = x.size / x.shape[0]!, constant = size * Math.log(2 * Math.PI * sigma ** 2) / 2;
  return scope(() =>
    tf.sub(tf.mul(tf.sum(tf.square(x), sampleAxes(x)), -0.5 / sigma ** 2), constant)
  );
}

/** ln p − ln|det ∂x_s/∂x_t| of the step itself, by one backward pass for each dimension, and elimination in float64. */
function* byJacobian(
  { env, state, next, logDensity }: Made,
  step: (state: State) => Awaitable<State>,
): Scoped<Weights> {
  if (next.history !== undefined) {
    throw new TypeError('Cannot carry a density by rule "jacobian": state.history must be absent');
  }
  const rows = jacobian(
    (x) => atOnce(step({ ...state, x }), { action: carrying, who: "the step" }).x,
    state.x,
  );
  const entries = yield* awaited(rows.data());
  const count = state.x.shape[0]!,
    size = state.x.size / count,
    dimensions = [...Array(size).keys()];
  const changes = Array.from({ length: count }, (_, n) => {
    const ofSample = dimensions.map((i) =>
      dimensions.map((j) => entries[(i * count + n) * size + j]!)
    );
    return -logDeterminant(ofSample);
  });
  const first = logDensity ?? firstDensity(state, next, env.model.schedule.at(state.t));
  return { logDensity: tf.add(first, tf.tensor1d(changes)) };
}

/** Gradients of output i of each sample, shape [D, N, D]. */
function jacobian(f: (x: Tensor) => Tensor, x: Tensor): Tensor {
  const row = (unit: Tensor): Tensor => tf.grad((x) => tf.sum(tf.mul(f(x), unit)))(x);
  return tf.stack(unitVectors(x).map((unit) => tf.reshape(row(unit), [x.shape[0]!, unit.size])));
}

/**
 * Options of {@link logLikelihood}.
 *
 * @category Refinements
 */
export interface LogLikelihoodOptions extends LikelihoodOptions, RunOptions {
  /** A deterministic sampler from data to noise: {@link flow} with `upward`, or `ddimInverse`. Its grid says where the data are. */
  readonly sampler: Sampler;
  /** Time of the data. Default: where the sampler starts; the schedule's least, if that is not known. */
  readonly t?: number;
  /** ln p_T of each sample, shape [N]; handed over to the library. Default: {@link logPrior}. */
  readonly prior?: (x: Tensor, level: Level) => Tensor;
}

/**
 * ln p_0(x_0) of data: up the ODE to the prior's density, less the change on the way (Song et al. 2021, equation 39).
 *
 * @category Refinements
 * @param x0 Data, shape [N, ...sample]. The caller's.
 * @param options The sampler, the model, the key; trace and rule.
 * @returns Nats, one number for each sample.
 * @throws What {@link likelihood} and the run throw.
 *
 * @example
 * ```ts
 * import { flow, gaussian, key, logLikelihood, tableaus, vp } from "@tweedie/tweedie";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import * as tf from "@tensorflow/tfjs-core";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const schedule = vp(), model = gaussian(schedule, { variance: 0.25 });
 * const grid = { steps: 25, spacing: "logLinear", final: 1e-5 } as const;
 * const sampler = flow(schedule, { ...grid, tableau: tableaus.rk4, upward: true });
 * const [value] = await logLikelihood(tf.tensor([[0.8]]), { sampler, t: 1e-5, model, key: key(0) });
 * assert.ok(Math.abs(value! - -1.50579) < 1e-4);
 * ```
 */
export async function logLikelihood(
  x0: Tensor,
  options: LogLikelihoodOptions,
): Promise<Float64Array> {
  checkOptions("weigh data", options, logLikelihoodRules);
  const { sampler, t: time, prior = logPrior, trace, rule, ...env } = options;
  const t = time ?? sampler.from ?? env.model.schedule.span[0];
  const weighed = likelihood({ ...(trace && { trace }), ...(rule && { rule }) })(sampler);
  let final: { readonly ends: Float32Array; readonly change: Float32Array } | undefined;
  let end = t;
  for await (const state of run<Weighed>({ x: x0, t, step: 0 }, env)(weighed)) {
    const { x, logDensity } = state;
    if (logDensity === undefined) continue;
    if (state.t < end) {
      throw refusal(
        carrying,
        "sampler must lead from data to noise (`upward`)",
        `a step to t = ${state.t}`,
      );
    }
    end = state.t;
    final = await scope(function* () {
      const ends = own(prior(x, env.model.schedule.at(end)));
      checkPrior(ends, x);
      return {
        ends: yield* awaited(ends.data<"float32">()),
        change: yield* awaited(logDensity.data<"float32">()),
      };
    });
  }
  if (final === undefined) throw refusal(carrying, "sampler must have at least one step", "none");
  const [, most] = env.model.schedule.span;
  if (options.prior === undefined && !isLevel(env.model.schedule, end, most)) {
    throw refusal(
      carrying,
      `sampler must end at t = ${most}, where the prior is, or prior be given`,
      end,
    );
  }
  return Float64Array.from(final.ends, (value, i) => value - final.change[i]!);
}

function checkPrior(values: Tensor, { shape: [count] }: Tensor): void {
  if (values.rank === 1 && values.shape[0] === count) return;
  throw refusal(
    carrying,
    `prior must give one number for each of ${count} samples`,
    `[${values.shape}]`,
  );
}

/** Here only the names are looked at: the run and the refinement look at the rest. */
const logLikelihoodRules: Rules<LogLikelihoodOptions> = {
  ...likelihoodRules,
  ...runRules,
  sampler: true,
  t: true,
  prior: true,
};

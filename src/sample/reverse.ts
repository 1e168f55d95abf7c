/**
 * The reverse-time SDE and the probability-flow ODE of any schedule, and all that lies between.
 *
 * For the forward process dx = f·x dt + g dw every member of one family has its marginals when time falls:
 *
 * ```text
 *   dx = (f·x − (1 + lambda²)/2·g²·score) dt + lambda·g dw        lambda = 1: Anderson's reverse SDE, 0: the ODE
 * ```
 *
 * {@link reverseSde} makes steps of it. {@link flow} solves the ODE by Runge–Kutta, not in (x, t), where f and g may be infinite
 * and each step would pay for the change of scale, but in a chart (y, w), in which the ODE reads dy/dw = prediction:
 *
 * | chart | w | y | dy/dw |
 * |---|---|---|---|
 * | `"flow"` | sigma/(alpha + sigma) | x/(alpha + sigma) | eps − x0: rectified flow's (x, t) |
 * | `"eps"` | sigma/alpha | x/alpha | eps: EDM's (x, sigma) |
 * | `"x0"` | alpha/sigma | x/sigma | x0 |
 * | `"v"` | φ = atan(sigma/alpha) | x/√(alpha² + sigma²) | cos φ·eps − sin φ·x0, which is v where alpha² + sigma² = 1 |
 *
 * None of them knows the schedule but by its levels. In the first three the path is a straight line where x0 and eps do not
 * change, so that Euler's step is DDIM; in the last it is an arc. `"flow"` is the default: its w is in [0, 1] and y finite
 * also where alpha or sigma is 0, so that no step is stiff for the sake of its variables.
 *
 * Sources: B. Anderson, "Reverse-time diffusion equation models" (1982), equation 5.4; Y. Song et al., "Score-based generative modeling
 * through SDEs" (ICLR 2021), equations 6, 13, 46 and appendix E; T. Karras et al., "Elucidating the design space of
 * diffusion-based generative models" (NeurIPS 2022), algorithms 1 and 2. A common slip leaves the score term of the ODE
 * outside the bracket that dt multiplies, or its ½ out.
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
import { andThen, disposing } from "../tensor/engine.ts";
import { type Awaitable } from "../tensor/scope.ts";
import { between } from "../noise/forward.ts";
import { type GridOptions, timesAmong } from "../noise/grid.ts";
import {
  checkControl,
  errorNorm,
  firstLength,
  type Outset,
  type StepControl,
  stepFactor,
} from "../solve/control.ts";
import { rungeKutta, type RungeKuttaStep, type VectorField } from "../solve/rungekutta.ts";
import { type Tableau, tableaus } from "../solve/tableau.ts";
import type { Level, Schedule } from "../noise/schedule.ts";
import { checkOptions, type Known, shown } from "../tensor/check.ts";
import { coefficients, convert } from "../denoise/prediction.ts";
import { checkLastNoise, type LastNoise } from "./ancestral.ts";
import {
  denoising,
  type Env,
  type Leg,
  legs,
  noise,
  type Sampler,
  sampler,
  type State,
  type Transition,
} from "./chain.ts";
import { combined, exponential, type MultistepWeights, over } from "./multistep.ts";

// ---------------------------------------------------------------------------------------------- The SDE

/** How a step of the reverse SDE is made. */
export type Predictor = "euler-maruyama" | "reverse-diffusion" | "ancestral";

/** Options of {@link reverseSde}. */
export interface ReverseSdeOptions extends GridOptions, LastNoise {
  /** Strength of the noise, at least 0: 1 is Anderson's reverse SDE, 0 the probability-flow ODE. Default: 1. */
  readonly lambda?: number;
  /**
   * How a step is made; see {@link reverseCoefficients}. Default: `"euler-maruyama"`, which needs many steps;
   * `"ancestral"` is right for steps of any length and on every schedule.
   */
  readonly predictor?: Predictor;
}

const reverseSdeOptions: Known<Omit<ReverseSdeOptions, keyof GridOptions>> = {
  lambda: true,
  predictor: true,
  lastNoise: true,
};

/** A step of {@link reverseCoefficients}. */
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
    exponential({ eta: lambda })({ from: { t, ...from }, to: { t: s, ...to }, past: [] }),
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
 * @param schedule The schedule.
 * @param predictor Which.
 * @param step Times, levels, strength of the noise.
 * @returns Coefficients of x_t and of the x0 prediction; standard deviation of the noise.
 *
 * @example The ancestral step at lambda 1 is DDPM's
 * ```ts
 * import { linear, posterior, reverseCoefficients } from "@tweedie/tweedie";
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
  const grid = timesAmong("make a reverse SDE", { schedule, options }, reverseSdeOptions);
  const { lambda = 1, predictor = "euler-maruyama", lastNoise } = options;
  if (!(lambda >= 0 && lambda < Infinity)) {
    throw refusal("a reverse SDE", "lambda must be a number of at least 0", lambda);
  }
  if (!Object.hasOwn(predictors, predictor)) {
    const known = Object.keys(predictors).join(", ");
    throw refusal("a reverse SDE", `predictor must be one of ${known}`, predictor);
  }
  checkLastNoise("a reverse SDE", lastNoise);
  const path = legs(schedule, grid);
  if (predictor !== "ancestral") path.forEach((leg) => checkStart(schedule, leg, predictor));
  const silent = ({ index, count }: Leg) => index === count - 1 && lastNoise !== true;
  return over(schedule, grid, (leg) => {
    const weights = reverseCoefficients(schedule, predictor, { ...leg, lambda });
    return diffusing(leg, silent(leg) ? { ...weights, noise: 0 } : weights);
  });
}

/** The noise has the ancestral samplers' purpose, so that the ancestral predictor is DDPM draw by draw. */
const diffusing = (leg: Leg, weights: MultistepWeights): Transition =>
  denoising(leg, (x0, state, env) => {
    const points = [{ node: { t: leg.t, ...leg.from }, x0 }];
    return noisy(() => combined(weights, state.x, points), weights.noise, { env, state });
  });

/** What a draw needs. */
interface Hand {
  readonly env: Env;
  readonly state: State;
}

/** A tensor plus noise of a standard deviation. */
function noisy(mean: () => tf.Tensor, deviation: number, { env, state }: Hand): tf.Tensor {
  if (deviation === 0) return mean();
  const z = noise(env, state, "ancestral");
  const sum = tf.tidy(() => tf.add(mean(), tf.mul(z, deviation)));
  z.dispose();
  return sum;
}

/** Refuses a step from where f or g is infinite. */
function checkStart(
  { drift, diffusion }: Schedule,
  { t, s, from }: Leg,
  predictor: Predictor,
): void {
  if (from.alpha > 0 && Number.isFinite(drift(t)) && Number.isFinite(diffusion(t))) return;
  throw refusal(
    "a reverse SDE",
    `the step from ${t} to ${s} must have finite coefficients: from must be a time at which f and g are finite ` +
      `for predictor "${predictor}" ("ancestral" starts anywhere)`,
    t,
  );
}

const refusal = (what: string, wanted: string, got: unknown): RangeError =>
  new RangeError(`Cannot make ${what}: ${wanted}, got ${got}`);

// ---------------------------------------------------------------------------------------------- The ODE

/** The variables in which the ODE is solved, named for the prediction that is its right-hand side. */
export type Chart = "v" | "eps" | "flow" | "x0";

/** One chart: y = x/scale(level) as a function of w = place(level). */
interface Coordinates {
  readonly place: (level: Level) => number;
  readonly scale: (level: Level) => number;
  /** sigma/alpha at w. */
  readonly ratio: (w: number) => number;
  /** Factor of the prediction in dy/dw. */
  readonly factor: (level: Level) => number;
}

const one = (): number => 1;

const charts: { readonly [C in Chart]: Coordinates } = {
  v: {
    place: ({ alpha, sigma }) => Math.atan2(sigma, alpha),
    scale: ({ alpha, sigma }) => Math.hypot(alpha, sigma),
    ratio: Math.tan,
    factor: ({ alpha, sigma }) => 1 / Math.hypot(alpha, sigma),
  },
  eps: {
    place: ({ alpha, sigma }) => sigma / alpha,
    scale: ({ alpha }) => alpha,
    ratio: (w) => w,
    factor: one,
  },
  flow: {
    place: ({ alpha, sigma }) => sigma / (alpha + sigma),
    scale: ({ alpha, sigma }) => alpha + sigma,
    ratio: (w) => w / (1 - w),
    factor: one,
  },
  x0: {
    place: ({ alpha, sigma }) => alpha / sigma,
    scale: ({ sigma }) => sigma,
    ratio: (w) => 1 / w,
    factor: one,
  },
};

/** Noise put back before each step (Karras et al. 2022, algorithm 2). */
export interface Churn {
  /** S_churn: sigma/alpha grows by min(amount/steps, √2 − 1) of itself before a step. At least 0. */
  readonly amount: number;
  /** S_tmin, the least sigma/alpha with churn. Default: 0. */
  readonly from?: number;
  /** S_tmax, the greatest sigma/alpha with churn. Default: infinity. */
  readonly to?: number;
  /** S_noise, standard deviation of the noise in units of what the schedule would have. Default: 1. */
  readonly noise?: number;
}

/** Options of {@link flow}. */
export interface FlowOptions extends GridOptions {
  /** The Runge–Kutta method. Default: `tableaus.heun`. */
  readonly tableau?: Tableau;
  /** The variables in which it works. Default: `"flow"`. */
  readonly chart?: Chart;
  /** Noise put back before each step: EDM's stochastic sampler. Default: none. */
  readonly churn?: Churn;
  /**
   * Whether the grid is travelled from its end to its start, from data to noise: to encode, or to weigh data. It must then
   * end at sigma above 0, since no model knows noise where there is none. Default: false.
   */
  readonly upward?: boolean;
}

const flowOptions: Known<Omit<FlowOptions, keyof GridOptions>> = {
  tableau: true,
  chart: true,
  churn: true,
  upward: true,
};

const churnOptions: Known<Churn> = { amount: true, from: true, to: true, noise: true };

/**
 * The probability-flow ODE by a Runge–Kutta method on a grid. A step to sigma = 0 of a method that would ask the model there, and
 * a step at whose start the chart is infinite, are Euler's, which is DDIM's.
 *
 * | known as | options |
 * |---|---|
 * | DDIM, Euler of k-diffusion and diffusers, flow-matching Euler | `{ tableau: tableaus.euler }`, in any chart but `"v"` |
 * | EDM (algorithm 1), Heun of k-diffusion and diffusers | `{ tableau: tableaus.heun, chart: "eps" }` |
 * | EDM's stochastic sampler (algorithm 2) | the same and `churn: { amount: 40, from: 0.05, to: 50, noise: 1.003 }` |
 * | flow-matching Heun | `{ tableau: tableaus.heun, chart: "flow" }` |
 *
 * @param schedule The schedule of the model; a method with stages inside a step asks the model between the grid's times.
 * @param options Grid of times, method, chart, churn.
 * @returns A sampler whose transitions hold as many evaluations of the model as the method has stages. `x0` of a state is the
 * prediction at the step's start.
 * @throws {RangeError} If an option is outside its domain, churn leaves the schedule, or the way up starts at sigma = 0.
 *
 * @example The golden value of a Gaussian: x_t = x_0·√(v_t/v_0), here from noise to data
 * ```ts
 * import { flow, gaussian, key, run, tableaus, vp } from "@tweedie/tweedie";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import * as tf from "@tensorflow/tfjs-core";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const schedule = vp({ betaMin: 1, betaMax: 1, end: 3 }), model = gaussian(schedule, { mean: 0, variance: 0.25 });
 * const start = { x: tf.tensor([[1.5698434]]), t: 3, step: 0 };
 * let end = 0;
 * for await (const { x } of run(start, { model, key: key(0) })(flow(schedule, { steps: 20, tableau: tableaus.rk4, final: 1e-6 }))) {
 *   end = x.dataSync()[0]!;
 * }
 * assert.ok(Math.abs(end - 0.8) < 1e-3);
 * ```
 */
export function flow(schedule: Schedule, options: FlowOptions = {}): Sampler {
  const grid = timesAmong("make a flow", { schedule, options }, flowOptions);
  const { tableau = tableaus.heun, chart = "flow", churn, upward = false } = options;
  checkChart(chart);
  if (churn) checkChurn(churn);
  if (upward) checkUpward(schedule, grid.at(-1)!, churn);
  return over(schedule, upward ? grid.toReversed() : grid, (leg) => {
    const raised = churn ? churned(leg, schedule, churn) : leg;
    const step = solving(raised, { schedule, ...usable(raised, tableau, chart) });
    return raised === leg ? moving(leg, step) : restless(leg, raised, { step, churn: churn! });
  });
}

/** A step in some chart by some method. */
interface Method {
  readonly tableau: Tableau;
  readonly chart: Chart;
}

/** Euler's method in a chart without poles, where the one asked for would look where it must not. */
function usable({ from, to }: Leg, tableau: Tableau, chart: Chart): Method {
  const early = to.sigma > 0 || !tableau.c.includes(1);
  return early && isRegular(chart, from, to)
    ? { tableau, chart }
    : { tableau: tableaus.euler, chart: "flow" };
}

/** Whether a chart has no pole at the ends of a step. */
function isRegular(chart: Chart, from: Level, to: Level): boolean {
  const { place, scale } = charts[chart];
  return scale(from) > 0 && scale(to) > 0 && Number.isFinite(place(from) - place(to));
}

/** The end of a step and the x0 prediction at its start; the error, in the unit of x, for step control. */
interface Solved {
  readonly x: tf.Tensor;
  readonly x0: tf.Tensor;
  readonly error?: tf.Tensor;
}

/** From x at the leg's start to x at its end; the slope dy/dw at the start is evaluated where it is not known. */
type Solve = (env: Env, x: tf.Tensor, first?: tf.Tensor) => Awaitable<Solved>;

function solving(leg: Leg, { schedule, tableau, chart }: Method & { schedule: Schedule }): Solve {
  const { place, scale } = charts[chart], start = place(leg.from), h = place(leg.to) - start;
  const step = rungeKutta(tableau);
  return (env, x, first) => {
    const y = tf.div(x, scale(leg.from)), known = first && { first };
    const made = disposing(
      y,
      () => step(field(env, { leg, schedule, chart }), { x: y, t: start, h, ...known }),
    );
    return andThen(made, (done) => read(done, x, { leg, chart }));
  };
}

/** dy/dw, by asking the model for x0 where w lies on the schedule. */
function field(
  env: Env,
  { leg, schedule, chart }: { leg: Leg; schedule: Schedule; chart: Chart },
): VectorField {
  const { scale, factor } = charts[chart], timeAt = timesIn(leg, schedule, chart);
  return (y, w) => {
    const t = timeAt(w), level = schedule.at(t), x = tf.mul(y, scale(level));
    return disposing(x, () =>
      andThen(env.model.predict(x, t, env.signal), (prediction) => {
        try {
          return tf.tidy(() => tf.mul(convert(prediction, chart, x, level), factor(level)));
        } finally {
          tf.dispose({ ...prediction });
        }
      }));
  };
}

/** The time of each w of a step. */
function timesIn(leg: Leg, schedule: Schedule, chart: Chart): (w: number) => number {
  const { place, ratio } = charts[chart];
  const first = place(leg.from), last = place(leg.to), slack = 1e-9 * Math.abs(last - first);
  return (w) => {
    if (Math.abs(w - first) <= slack) return leg.t;
    return Math.abs(w - last) <= slack ? leg.s : schedule.timeOf(-2 * Math.log(ratio(w)));
  };
}

/** x and x0 from what Runge–Kutta made, whose tensors are disposed of. */
function read(
  { x: y, stages, error }: RungeKuttaStep,
  x: tf.Tensor,
  { leg, chart }: { leg: Leg; chart: Chart },
): Solved {
  const { scale, factor } = charts[chart], [a, b] = coefficients(chart, "x0", leg.from);
  const { end, x0, off } = tf.tidy(() => ({
    end: tf.mul(y, scale(leg.to)),
    x0: tf.add(tf.mul(x, a), tf.mul(stages[0]!, b / factor(leg.from))),
    off: error && tf.mul(error, scale(leg.to)),
  }));
  tf.dispose([y, ...stages, error ?? []]);
  return { x: end, x0, ...(off && { error: off }) };
}

/** The transition of a step without noise. */
const moving = (leg: Leg, step: Solve): Transition => (env) => (state) =>
  andThen(step(env, state.x), (solved) => moved(leg, state, solved));

const moved = (leg: Leg, state: State, { x, x0, error }: Solved): State => {
  error?.dispose();
  return { ...state, x, t: leg.s, step: state.step + 1, x0 };
};

/** The transition that first adds noise, up to the level at which the raised leg starts. */
const restless =
  (leg: Leg, raised: Leg, { step, churn }: { step: Solve; churn: Churn }): Transition =>
  (env) =>
  (state) => {
    const scale = raised.from.alpha / leg.from.alpha;
    const room = Math.sqrt(raised.from.sigma ** 2 - (scale * leg.from.sigma) ** 2);
    const x = noisy(() => tf.mul(state.x, scale), room * (churn.noise ?? 1), { env, state });
    return disposing(x, () => andThen(step(env, x), (solved) => moved(leg, state, solved)));
  };

/** The leg from the higher level that churn goes to, or the leg itself. */
function churned(leg: Leg, schedule: Schedule, { amount, from = 0, to = Infinity }: Churn): Leg {
  const rho = leg.from.sigma / leg.from.alpha;
  const growth = Math.min(amount / leg.count, Math.SQRT2 - 1);
  // At alpha = 0 all is noise already.
  if (growth === 0 || leg.from.alpha === 0 || !(rho >= from && rho <= to)) return leg;
  const t = raisedTime(schedule, rho * (1 + growth), leg.t);
  return { ...leg, t, from: schedule.at(t) };
}

/** The time of a higher sigma/alpha. */
function raisedTime(schedule: Schedule, rho: number, t: number): number {
  try {
    return schedule.timeOf(-2 * Math.log(rho));
  } catch {
    const wanted =
      `churn.to must keep sigma/alpha on the schedule "${schedule.name}" (logSnr must be that of a time)`;
    throw refusal("a flow", wanted, `${rho} from t = ${t}`);
  }
}

function checkChart(chart: Chart): void {
  if (Object.hasOwn(charts, chart)) return;
  throw refusal("a flow", `chart must be one of ${Object.keys(charts).join(", ")}`, chart);
}

/** Refuses a way up from where there is no noise, or with noise on the way. */
function checkUpward(schedule: Schedule, final: number, churn: Churn | undefined): void {
  if (churn) throw refusal("a flow", "churn must be absent with upward", shown(churn));
  if (schedule.at(final).sigma > 0) return;
  throw refusal("a flow", "final must be a time with sigma above 0 with upward", final);
}

function checkChurn(churn: Churn): void {
  checkOptions("churn a flow", churn, churnOptions);
  const { amount, from = 0, to = Infinity, noise = 1 } = churn;
  const rules = {
    "churn.amount": amount,
    "churn.from": from,
    "churn.to": to,
    "churn.noise": noise,
  };
  for (const [name, value] of Object.entries(rules)) {
    if (!(value >= 0)) throw refusal("a flow", `${name} must be a number of at least 0`, value);
  }
}

// ---------------------------------------------------------------------------------------------- Steps of their own choice

/** A state of a sampler that chooses its steps. */
export interface AdaptiveState extends State {
  /** Length of the step to try next, in the chart's w; absent at the start. */
  readonly length?: number;
  /** Error of the step before, in units of what is allowed; absent at the start. */
  readonly previous?: number;
  /** Number of steps made in vain, so far. */
  readonly rejected?: number;
}

/** Options of {@link adaptiveFlow}. */
export interface AdaptiveFlowOptions {
  /** A method with an error and an order. Default: `tableaus.dormandPrince`, RK45. */
  readonly tableau?: Tableau;
  /** The variables in which it works. Default: `"flow"`. */
  readonly chart?: Chart;
  /**
   * Tolerances and limits, in the unit of x; `firstStep` is in the chart's w. Default: absolute and relative 1e-5, a first step
   * found with one more evaluation, of 1/20 of the way at most.
   */
  readonly control?: StepControl;
  /**
   * Time to end at, with sigma > 0. Default: the span's least, or, where sigma is 0 there, 1 for a discrete schedule and a
   * thousandth of the span above it for a continuous one. One above the run's start leads up, from data to noise; the run is then over
   * when `t >= final`.
   */
  readonly final?: number;
}

const adaptiveOptions: Known<AdaptiveFlowOptions> = {
  tableau: true,
  chart: true,
  control: true,
  final: true,
};

/**
 * The probability-flow ODE in steps of its own choice: the sampler goes on for ever, and the run stops when it has
 * {@link arrived}. The length of the next step rides in the state, so that a run can be forked, recorded and resumed.
 * At the final time a transition changes nothing. A step from alpha = 0 in a chart that is infinite there is made in chart `"flow"`.
 *
 * @param schedule The schedule of the model.
 * @param options Method, chart, tolerances, final time.
 * @returns A sampler without end. Its transitions read numbers, and so answer later.
 * @throws {TypeError} If the method has no error or no order.
 * @throws {RangeError} If an option is outside its domain; while running, if steps become too many or too short, or start
 * at sigma = 0.
 *
 * @example
 * ```ts
 * import { adaptiveFlow, arrived, gaussian, key, prior, run, vp } from "@tweedie/tweedie";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const schedule = vp(), model = gaussian(schedule, { mean: 2, variance: 0.01 });
 * const options = { model, key: key(0), until: arrived(1e-3) };
 * let last = 0;
 * for await (const { x } of run(prior([1, 1]), options)(adaptiveFlow(schedule, { final: 1e-3 }))) last = x.dataSync()[0]!;
 * assert.ok(Math.abs(last - 2) < 0.5);
 * ```
 */
export function adaptiveFlow(
  schedule: Schedule,
  options: AdaptiveFlowOptions = {},
): Sampler<AdaptiveState> {
  checkOptions("make an adaptive flow", options, adaptiveOptions);
  const { tableau = tableaus.dormandPrince, chart = "flow", control = {} } = options;
  const final = options.final ?? leastNoisy(schedule), slack = sliver(schedule);
  checkChart(chart);
  checkControl(tableau, control);
  if (!(schedule.at(final).sigma > 0)) {
    throw refusal("an adaptive flow", "final must be a time with sigma above 0", final);
  }
  if (!Number.isFinite(charts[chart].place(schedule.at(final)))) {
    const wanted = `final must be a time with alpha above 0 in chart "${chart}"`;
    throw refusal("an adaptive flow", wanted, final);
  }
  const plan = { schedule, tableau, chart, control, final, order: tableau.order! };
  const transition: Transition<AdaptiveState> = (env) => (state) =>
    Math.abs(state.t - final) <= slack ? { ...state, t: final } : controlled(env, state, plan);
  return sampler(function* () {
    for (;;) yield transition;
  }, { schedule, times: [final, ...schedule.span] });
}

/**
 * Whether a run towards data has reached a time, to a billionth of it: what stops {@link adaptiveFlow}, as `until` of the run,
 * also where `final` is 0.1·3 and this is 0.3.
 *
 * @param t The time.
 * @returns A test of states.
 * @throws {RangeError} If t is not a finite number.
 *
 * @example
 * ```ts
 * import { arrived } from "@tweedie/tweedie";
 * import assert from "node:assert/strict";
 *
 * assert.deepEqual([2, 1, 0].map((t) => arrived(1)({ t })), [false, true, true]);
 * ```
 */
export function arrived(t: number): (state: { readonly t: number }) => boolean {
  if (!Number.isFinite(t)) throw refusal("a test of arrival", "t must be a finite number", t);
  const least = t + 1e-9 * Math.abs(t);
  return (state) => state.t <= least;
}

/** Times nearer to one another than this are one but for rounding. */
const sliver = ({ span: [start, end] }: Schedule): number => 1e-12 * (end - start);

/** Default of `final`. */
function leastNoisy({ span: [start, end], steps, at }: Schedule): number {
  if (at(start).sigma > 0) return start;
  return steps === undefined ? start + (end - start) / 1000 : 1;
}

/** Everything that a controlled step needs to know. */
interface Plan extends Method {
  readonly schedule: Schedule;
  readonly control: StepControl;
  readonly final: number;
  readonly order: number;
}

/** One accepted step. Its first slope serves all that are tried. */
async function controlled(env: Env, state: AdaptiveState, asked: Plan): Promise<AdaptiveState> {
  env.signal?.throwIfAborted();
  const isAway = !isRegularAt(asked, state.t), plan: Plan = isAway ? away(asked) : asked;
  const { schedule, chart, final } = plan, { place, scale } = charts[chart];
  const from = schedule.at(state.t), to = schedule.at(final), w = place(from);
  const leg = { t: state.t, s: final, from, to, index: 0, count: 1 };
  const f = field(env, { leg, schedule, chart }), y = tf.div(state.x, scale(from));
  return await disposing(y, async () => {
    const first = await f(y, w), outset = { x: y, t: w, first, way: place(to) - w };
    return await disposing(first, async () => {
      const length = state.length ?? await begun(f, outset, { plan, scale: scale(from) });
      const made = await tried(env, { ...state, length }, { first, plan });
      // The length of a step in another chart tells nothing of the next.
      const { length: _, ...rest } = made;
      return isAway ? rest : made;
    });
  });
}

/** The length of the first step; what is allowed in x is allowed in y to its scale. */
async function begun(
  f: VectorField,
  outset: Outset,
  { plan: { order, control }, scale }: { readonly plan: Plan; readonly scale: number },
): Promise<number> {
  if (control.firstStep !== undefined) return control.firstStep;
  const { absolute = 1e-5 } = control, toScale = { ...control, absolute: absolute / scale };
  const length = await firstLength(f, outset, { order, control: toScale });
  // What one point says of the field does not reach across the modes of the data.
  return Math.min(length, Math.abs(outset.way) / 20);
}

/** Steps of ever smaller length, until one's error does. */
async function tried(
  env: Env,
  state: AdaptiveState & { readonly length: number },
  { first, plan }: { readonly first: tf.Tensor; readonly plan: Plan },
): Promise<AdaptiveState> {
  const { control, order } = plan, { most = 10_000 } = control;
  let { rejected = 0, length } = state;
  for (;;) {
    env.signal?.throwIfAborted();
    const leg = reach(state.t, length, plan), { h, step } = leg;
    if (leg.s === state.t || state.step + rejected >= most) throw stuck(state, h, most);
    const { error, ...solved } = await step(env, state.x, first);
    const size = await errorNorm(error!, [state.x, solved.x], control)
      .finally(() => error!.dispose());
    const factor = stepFactor(
      { error: size, order, ...(state.previous !== undefined && { previous: state.previous }) },
      control,
    );
    length = h * (rejected > (state.rejected ?? 0) ? Math.min(factor, 1) : factor);
    if (size <= 1) {
      return { ...moved(leg, state, solved), length, previous: Math.max(size, 1e-4), rejected };
    }
    tf.dispose([solved.x, solved.x0]);
    rejected++;
  }
}

/** Whether the chart of a flow has no pole where a step starts; where sigma is 0 there is no noise to follow. */
function isRegularAt({ schedule, chart }: Plan, t: number): boolean {
  const level = schedule.at(t);
  if (level.sigma > 0) return isRegular(chart, level, level);
  throw new RangeError(
    `Cannot go on with the flow: state.t must be a time with sigma above 0, got ${t}`,
  );
}

/** The same flow in the chart without poles, with a first step of its own. */
function away({ control: { firstStep: _, ...control }, ...plan }: Plan): Plan {
  return { ...plan, chart: "flow", control };
}

/** The leg of a step of a length, or of what is left of the way, and what makes it. */
function reach(t: number, length: number, plan: Plan): Leg & { h: number; step: Solve } {
  const { schedule, chart, tableau, final } = plan, { place, ratio } = charts[chart];
  const from = schedule.at(t), start = place(from), way = place(schedule.at(final)) - start;
  const h = Math.min(length, Math.abs(way));
  const isLast = h >= Math.abs(way) * (1 - 1e-9);
  const s = isLast ? final : schedule.timeOf(-2 * Math.log(ratio(start + Math.sign(way) * h)));
  const leg = { t, s, from, to: schedule.at(s), index: 0, count: 1 };
  return { ...leg, h, step: solving(leg, { schedule, tableau, chart }) };
}

const stuck = ({ step, t }: State, h: number, most: number): RangeError =>
  new RangeError(
    `Cannot go on with the flow: steps must be fewer than ${most} and longer than the last digit of t, ` +
      `got h = ${h} after ${step} steps at t = ${t}`,
  );

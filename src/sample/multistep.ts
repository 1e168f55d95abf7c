/**
 * Linear multistep solvers of the probability-flow ODE: one evaluation of the model a step, the past ones in the state.
 *
 * With rho = sigma/alpha and lambda = −ln rho the ODE is d(x/alpha) = eps d rho, or d(x/sigma) = e^lambda·x0 d lambda. A step
 * puts a polynomial through the last predictions in place of the curve and integrates it exactly:
 *
 * ```text
 *   x_s = (alpha_s/alpha_t)·x_t + alpha_s·∫ eps d rho                 of = "eps"
 *   x_s = (sigma_s/sigma_t)·x_t + sigma_s·∫ e^lambda·x0 d lambda      of = "x0"
 * ```
 *
 * so x_s = xt·x_t + Σ_j w_j·prediction_j, newest first. A solver is a row of a table: which prediction, in which variable
 * it is a polynomial (the nodes r_j, 0 at t and 1 at s), and the moments J_k = ∫ r^k of the weight. With the Lagrange
 * polynomials L_j(r) = Σ_k c_jk·r^k through the nodes, w_j = Σ_k c_jk·J_k.
 *
 * | solver | prediction | polynomial in | moments |
 * |---|---|---|---|
 * | DPM-Solver++ | x0 | lambda | k!·phi_(k+1)(−h)·h·alpha_s; its midpoint form has J_1 = J_0/2 |
 * | DEIS, DPM-Solver | eps | lambda | −k!·phi_(k+1)(h)·h·sigma_s |
 * | DEIS in t (tAB) | eps | t | alpha_s·∫ r^k d rho |
 * | LMS | eps | rho | alpha_s·(rho_s − rho_t)/(k + 1) |
 * | PNDM | eps | the number of the step | the same |
 * | UniPC | x0 | lambda | those of DPM-Solver++, but J_1 = alpha_s·B(h)/2 where it is the last |
 *
 * At alpha = 0 both integrals are infinite, but eps is x_t/sigma_t whatever the data: a step from there is DDIM's, or with noise
 * that of the reverse SDE, from x0 alone; polynomials begin after it, and what was asked there has no weight in them.
 *
 * All coefficients are float64 numbers from levels; phi_k(z) = ∫₀¹ e^((1−u)z)·u^(k−1)/(k−1)! du.
 *
 * Sources: C. Lu et al., "DPM-Solver++" (2022), section 4; Q. Zhang, Y. Chen, "Fast sampling of diffusion models with
 * exponential integrator" (ICLR 2023), equation 15 and its rho and log-rho forms; W. Zhao et al., "UniPC" (NeurIPS 2023), algorithms
 * 1 to 3; L. Liu et al., "Pseudo numerical methods for diffusion models on manifolds" (ICLR 2022), equations 11 to 13.
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
import { andThen } from "../tensor/engine.ts";
import { type GridOptions, times, timesAmong } from "../noise/grid.ts";
import type { Level, Schedule } from "../noise/schedule.ts";
import { checkOptions, type Known, refusal as refused } from "../tensor/check.ts";
import {
  along,
  type Check,
  denoised,
  type Env,
  type Evaluation,
  type Leg,
  legs,
  noise,
  type Sampler,
  sampler,
  type State,
  type Transition,
} from "./chain.ts";
import { isLevel } from "./run/fit.ts";

// ---------------------------------------------------------------------------------------------- Weights

/** A level and its time. */
export interface Node extends Level {
  /** Time on the schedule. */
  readonly t: number;
}

/** Nodes of one step of a multistep solver. */
export interface MultistepNodes {
  /** Where the step starts, with sigma > 0. */
  readonly from: Node;
  /** Where it ends. */
  readonly to: Node;
  /** Where the model was asked besides `from`, newest first. A node at `to` makes the step implicit. */
  readonly past: readonly Node[];
}

/** One step: x_s = xt·x_t + Σ predictions[j]·prediction_j + noise·z. */
export interface MultistepWeights {
  /** Coefficient of x_t. */
  readonly xt: number;
  /** What the other coefficients are of. */
  readonly of: "x0" | "eps" | "v";
  /** Coefficients of the predictions: first that at t, then the past ones, in the order of the nodes. */
  readonly predictions: readonly number[];
  /** Standard deviation of the noise added; 0 for a deterministic step. */
  readonly noise: number;
}

/** The weights of a step from its nodes: what tells one multistep solver from another. */
export type MultistepRule = (nodes: MultistepNodes) => MultistepWeights;

const factorials = [1, 1, 2, 6, 24];

/**
 * phi_k(z) = ∫₀¹ e^((1−u)z)·u^(k−1)/(k−1)! du, the functions of exponential integrators; phi_0 = e^z.
 *
 * @param k Which, a whole number from 0 to 4.
 * @param z Where, finite.
 * @returns (phi_(k−1)(z) − 1/(k−1)!)/z, by its series near 0, where that cancels.
 *
 * @example
 * ```ts
 * import { phi } from "@tweedie/tweedie";
 * import assert from "node:assert/strict";
 *
 * assert.equal(phi(2, 0), 1 / 2);
 * assert.ok(Math.abs(phi(1, 2) - (Math.exp(2) - 1) / 2) < 1e-14);
 * ```
 */
export function phi(k: number, z: number): number {
  if (k === 0) return Math.exp(z);
  if (k === 1 && z !== 0) return Math.expm1(z) / z;
  if (Math.abs(z) > 2) return (phi(k - 1, z) - 1 / factorials[k - 1]!) / z;
  let term = 1 / factorials[k]!, sum = 0;
  for (let j = 1; Math.abs(term) > 1e-18; j++) {
    sum += term;
    term *= z / (j + k);
  }
  return sum;
}

/** Weights w_j = Σ_k c_jk·J_k of values at nodes, for the polynomial through them and the moments J_k of r^k. */
function interpolated(nodes: readonly number[], moments: readonly number[]): number[] {
  return nodes.map((node, j) => {
    const others = nodes.filter((_, i) => i !== j);
    const numerator = others.reduce(timesRoot, [1]);
    const sum = numerator.reduce((total, c, k) => total + c * moments[k]!, 0);
    return sum / others.reduce((product, other) => product * (node - other), 1);
  });
}

/** The coefficients of p(r)·(r − root). */
const timesRoot = (p: readonly number[], root: number): number[] =>
  [...p, 0].map((c, k) => (p[k - 1] ?? 0) - (k < p.length ? root * c : 0));

const rhoOf = ({ alpha, sigma }: Level): number => sigma / alpha;

const lambdaOf = ({ alpha, sigma }: Level): number => Math.log(alpha / sigma);

/** What a step in lambda leaves open. */
export interface ExponentialOptions {
  /** The prediction that is a polynomial in lambda. Default: `"x0"`. */
  readonly of?: "x0" | "eps";
  /** Strength of the noise: 0 solves the ODE, 1 the reverse SDE. Default: 0. */
  readonly eta?: number;
  /**
   * Replaces the moments J_k by others, given those of the exact integral in units of J_0 and z = ∓(1 + eta²)·h. For the
   * forms of the literature that are exact only to the order they need. Default: as they are.
   */
  readonly bent?: (moments: readonly number[], z: number) => readonly number[];
}

const exponentialOptions: Known<ExponentialOptions> = { of: true, eta: true, bent: true };

/**
 * The step of exponential solvers: the prediction is a polynomial in lambda, all else is exact. With noise of strength
 * eta it is that of the reverse SDE of the same marginals:
 *
 * ```text
 *   of x0:   x_s = (sigma_s/sigma_t)·e^(−eta²h)·x_t + alpha_s·∫₀^h k·e^(−k(h−u))·x0 du + sigma_s·√(1 − e^(−2·eta²·h))·z    k = 1 + eta²
 *   of eps:  x_s = (alpha_s/alpha_t)·x_t − k·sigma_s·∫₀^h e^(h−u)·eps du + eta·sigma_s·√(e^(2h) − 1)·z
 * ```
 *
 * From alpha = 0 the step is that of x0, which is all that is known there.
 *
 * @param options Which prediction, how much noise, other moments.
 * @returns The rule. Past nodes at which lambda is infinite are of no weight.
 *
 * @example One node: DDIM
 * ```ts
 * import { exponential, posterior } from "@tweedie/tweedie";
 * import assert from "node:assert/strict";
 *
 * const from = { t: 2, alpha: 0.6, sigma: 0.8 }, to = { t: 1, alpha: 0.8, sigma: 0.6 };
 * const { xt, predictions } = exponential()({ from, to, past: [] }), ddim = posterior(from, to, { variance: 0 });
 * assert.ok(Math.abs(xt - ddim.xt) < 1e-12 && Math.abs(predictions[0]! - ddim.x0) < 1e-12);
 * ```
 */
export function exponential(options: ExponentialOptions = {}): MultistepRule {
  checkOptions("make a rule", options, exponentialOptions);
  const { of: asked = "x0", eta = 0, bent = (moments) => moments } = options;
  return ({ from, to, past }) => {
    const of = from.alpha === 0 ? "x0" : asked;
    const h = lambdaOf(to) - lambdaOf(from), k = 1 + eta ** 2;
    const z = of === "x0" ? -k * h : h;
    const nodes = past.map((node) => (lambdaOf(node) - lambdaOf(from)) / h);
    const known = nodes.filter(Number.isFinite), { xt, whole, noise } = ends(from, to, of, eta);
    const exact = [0, ...known].map((_, j) =>
      j === 0 ? 1 : factorials[j]! * phi(j + 1, z) / phi(1, z)
    );
    const weights = interpolated([0, ...known], bent(exact, z)).map((w) => whole * w);
    return { xt, of, noise, predictions: spread(weights, nodes.map(Number.isFinite)) };
  };
}

/** What does not depend on the polynomial: the coefficient of x_t, the sum of all others, the noise. */
function ends(
  from: Level,
  to: Level,
  of: "x0" | "eps",
  eta: number,
): { xt: number; whole: number; noise: number } {
  const h = lambdaOf(to) - lambdaOf(from), quiet = eta === 0;
  if (of === "eps") {
    const drop = rhoOf(from) ** 2 - rhoOf(to) ** 2;
    return {
      xt: to.alpha / from.alpha,
      whole: (1 + eta ** 2) * to.alpha * (rhoOf(to) - rhoOf(from)),
      noise: quiet ? 0 : eta * to.alpha * Math.sqrt(drop),
    };
  }
  return {
    xt: to.sigma / from.sigma * (quiet ? 1 : Math.exp(-(eta ** 2) * h)),
    whole: -to.alpha * Math.expm1(-(1 + eta ** 2) * h),
    noise: quiet ? 0 : to.sigma * Math.sqrt(-Math.expm1(-2 * eta ** 2 * h)),
  };
}

/** Weights of the past nodes that have one put back in their places, after that of the start. */
function spread([first, ...rest]: readonly number[], isKnown: readonly boolean[]): number[] {
  let next = 0;
  return [first!, ...isKnown.map((known) => known ? rest[next++]! : 0)];
}

/** A rule in eps over rho from the nodes r_j and the moments of r^k in units of the whole step. */
const overRho = (
  nodesOf: (nodes: MultistepNodes) => number[],
  moment: (k: number, nodes: MultistepNodes) => number = (k) => 1 / (k + 1),
): MultistepRule =>
(all) => {
  const { from, to, past } = all;
  if (from.alpha === 0) return exponential()(all);
  const isKnown = past.map(({ alpha }) => alpha > 0);
  const nodes = { from, to, past: past.filter((_, i) => isKnown[i]) };
  const { xt, whole } = ends(from, to, "eps", 0);
  const r = [0, ...nodesOf(nodes)], moments = r.map((_, k) => moment(k, nodes));
  const weights = interpolated(r, moments).map((w) => whole * w);
  return { xt, of: "eps", noise: 0, predictions: spread(weights, isKnown) };
};

/**
 * Adams–Bashforth in rho: eps is a polynomial in rho = sigma/alpha. Exact integrals, also down to rho = 0.
 *
 * @param nodes Nodes of the step.
 * @returns The weights.
 *
 * @example Two past nodes at equal distances: 23/12, −16/12, 5/12
 * ```ts
 * import { adams } from "@tweedie/tweedie";
 * import assert from "node:assert/strict";
 *
 * const node = (sigma: number) => ({ t: sigma, alpha: 1, sigma });
 * const { predictions } = adams({ from: node(2), to: node(1), past: [node(3), node(4)] });
 * assert.deepEqual(predictions.map((w) => Math.round(-12 * w)), [23, -16, 5]);
 * ```
 */
export function adams(nodes: MultistepNodes): MultistepWeights {
  const { from, to } = nodes, first = rhoOf(from), width = rhoOf(to) - first;
  return overRho(({ past }) => past.map((node) => (rhoOf(node) - first) / width))(nodes);
}

/**
 * PNDM's step (Liu et al. 2022, equation 12): the weights 55, −59, 37, −9 over 24 of Adams–Bashforth on equal steps, whatever
 * the steps are, in front of the exact change of level.
 *
 * @param nodes Nodes of the step.
 * @returns The weights.
 *
 * @example
 * ```ts
 * import { pseudoAdams } from "@tweedie/tweedie";
 * import assert from "node:assert/strict";
 *
 * const node = (sigma: number) => ({ t: sigma, alpha: 1, sigma });
 * const { predictions } = pseudoAdams({ from: node(2), to: node(1), past: [7, 8, 9].map(node) });
 * assert.deepEqual(predictions.map((w) => Math.round(-24 * w)), [55, -59, 37, -9]);
 * ```
 */
export function pseudoAdams(nodes: MultistepNodes): MultistepWeights {
  return overRho(({ past }) => past.map((_, j) => -1 - j))(nodes);
}

/** Gauss–Legendre on [0, 1]: eight nodes about the middle, and their weights. */
const gauss: readonly (readonly [at: number, weight: number])[] = [
  [0.1834346424956498, 0.362683783378362],
  [0.525532409916329, 0.3137066458778873],
  [0.7966664774136267, 0.2223810344533745],
  [0.9602898564975363, 0.1012285362903763],
].flatMap(([u, w]) => [[(1 - u!) / 2, w! / 2], [(1 + u!) / 2, w! / 2]] as const);

/** ∫₀¹ f on `panels` equal parts. */
function integral(f: (u: number) => number, panels: number): number {
  const part = (i: number): number =>
    gauss.reduce((sum, [at, weight]) => sum + weight * f((i + at) / panels), 0) / panels;
  return Array.from({ length: panels }, (_, i) => part(i)).reduce((a, b) => a + b, 0);
}

/** tAB-DEIS: eps is a polynomial in t. J_k = ∫ r^k d rho by parts, rho_s − k·∫ r^(k−1)·rho dr, in units of rho_s − rho_t. */
const inTime = (schedule: Schedule): MultistepRule =>
  overRho(
    ({ from, to, past }) => past.map(({ t }) => (t - from.t) / (to.t - from.t)),
    (k, { from, to }) => {
      if (k === 0) return 1;
      const rho = (u: number): number => rhoOf(schedule.at(from.t + u * (to.t - from.t)));
      const area = integral((u) => k * u ** (k - 1) * rho(u), 8);
      return (rhoOf(to) - area) / (rhoOf(to) - rhoOf(from));
    },
  );

// ---------------------------------------------------------------------------------------------- The driver

/** Whether the last steps are of lower order; `"auto"`: with fewer than 15 steps. */
export type LowerOrderFinal = boolean | "auto";

/** A multistep solver: its rule, its order and where that is lowered. */
export interface Multistep {
  /** The weights of a step. */
  readonly rule: MultistepRule;
  /** Number of predictions in a step, at least 1. */
  readonly order: number;
  /** Whether the order falls to 1 with the last step. Default: false. */
  readonly lowerOrderFinal?: LowerOrderFinal;
  /** Whether a step to sigma = 0 may be of higher order. Default: false, as lambda is infinite there. */
  readonly pastZero?: boolean;
  /**
   * Weights with which the step to t is made anew when the model has answered at t: the nodes are those of the step before,
   * with t among `past` as the first. What that changes is added to x_t before the step goes on, so that what a refinement
   * has made of x_t stays. Default: none.
   */
  readonly corrector?: MultistepRule;
}

/** A point of the path: x there, the x0 prediction there and the level. */
export interface Point {
  /** Time and marginal. */
  readonly node: Node;
  /** x there, shape [N, ...sample]; needed by predictions of eps only. */
  readonly x?: tf.Tensor;
  /** The x0 prediction there, shape of x. */
  readonly x0: tf.Tensor;
}

/** Coefficients of x and x0 in each prediction, as in `coefficients("x0", kind, level)` but for v off the unit circle. */
const parts: {
  readonly [K in MultistepWeights["of"]]: (level: Level) => readonly [x: number, x0: number];
} = {
  x0: () => [0, 1],
  eps: ({ alpha, sigma }) => [1 / sigma, -alpha / sigma],
  v: ({ alpha, sigma }) => [alpha / sigma, -(alpha ** 2 + sigma ** 2) / sigma],
};

/**
 * xt·x + Σ_j predictions[j]·prediction_j, the mean of a step. Predictions other than x0 are made from it and x of their
 * point.
 *
 * @param weights The step.
 * @param x x_t, shape [N, ...sample].
 * @param points Where the model was asked, in the order of the weights.
 * @returns A new tensor of the shape of x. The caller disposes of it.
 */
export function combined(
  weights: MultistepWeights,
  x: tf.Tensor,
  points: readonly Point[],
): tf.Tensor {
  const terms = new Map<tf.Tensor, number>([[x, weights.xt]]);
  const add = (tensor: tf.Tensor | undefined, by: number): void => {
    if (tensor && by !== 0) terms.set(tensor, (terms.get(tensor) ?? 0) + by);
  };
  weights.predictions.forEach((weight, j) => {
    const point = points[j]!, [ofX, ofX0] = parts[weights.of](point.node);
    add(point.x, weight * ofX);
    add(point.x0, weight * ofX0);
  });
  return tf.tidy(() =>
    [...terms].map(([tensor, by]) => tf.mul(tensor, by) as tf.Tensor)
      .reduce((sum, term) => tf.add(sum, term))
  );
}

/**
 * Weights of eps made those of v: the predictions are combined as v, and become eps at the start of the step,
 * eps = (alpha·v + sigma·x)/(alpha² + sigma²). Other weights stay as they are.
 *
 * @param weights Weights of eps.
 * @param from Level at the start of the step.
 * @returns Weights of v.
 */
export function asVelocity(weights: MultistepWeights, { alpha, sigma }: Level): MultistepWeights {
  if (weights.of !== "eps") return weights;
  const total = alpha ** 2 + sigma ** 2, sum = weights.predictions.reduce((a, b) => a + b, 0);
  return {
    ...weights,
    of: "v",
    xt: weights.xt + sum * sigma / total,
    predictions: weights.predictions.map((w) => w * alpha / total),
  };
}

/**
 * The driver of every multistep solver: asks the model, combines, and keeps the evaluations that the next step needs in
 * the state. The first steps are of lower order, as there is no past yet; a state that brings its past along goes on as if
 * the run had never been broken.
 *
 * @param schedule The schedule of the model.
 * @param grid Times of the steps.
 * @param solver The row of the table.
 * @returns A sampler with one evaluation of the model a step; its states carry the past ones in `history`.
 * @throws {RangeError} If the grid is outside its domain.
 *
 * @example A solver of your own: order 2 with weights 3/2 and −1/2, whatever the steps
 * ```ts
 * import { gaussian, key, linear, multistep, prior, pseudoAdams, run } from "@tweedie/tweedie";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const schedule = linear(), model = gaussian(schedule, { mean: 2, variance: 0 });
 * const own = multistep(schedule, { steps: 10 }, { rule: pseudoAdams, order: 2 });
 * let last = 0;
 * for await (const { x } of run(prior([1, 1]), { model, key: key(0) })(own)) last = x.dataSync()[0]!;
 * assert.ok(Math.abs(last - 2) < 1e-3);
 * ```
 */
export function multistep(schedule: Schedule, grid: GridOptions, solver: Multistep): Sampler {
  checkOptions("make a multistep sampler", solver, multistepParts);
  return stepped(schedule, times(schedule, grid), solver);
}

const multistepParts: Known<Multistep> = {
  rule: true,
  order: true,
  lowerOrderFinal: true,
  pastZero: true,
  corrector: true,
};

/** The sampler of a solver on the times of a grid. */
export const stepped = (schedule: Schedule, grid: readonly number[], solver: Multistep): Sampler =>
  over(schedule, grid, (leg) => multistepTransition(leg, solver, schedule));

/** The sampler with one transition for each leg of a grid; of one time it is of no steps, and takes only a state that is there. */
export function over(
  schedule: Schedule,
  grid: readonly number[],
  make: (leg: Leg) => Transition,
): Sampler {
  if (grid.length > 1) return along(legs(schedule, grid), make);
  const [from] = grid as [number];
  const check: Check = (env, { t }) => {
    if (isLevel(env.model.schedule, t, from)) return;
    throw refused("run", `the start's t must be ${from}, where the sampler starts and ends`, t);
  };
  return sampler(() => [], { from, schedule, times: grid, checks: [check] });
}

/**
 * One transition of {@link multistep}, for samplers that begin in another way.
 *
 * @param leg From where to where.
 * @param solver The row of the table.
 * @param schedule The schedule of the model.
 * @returns The transition.
 */
export function multistepTransition(leg: Leg, solver: Multistep, schedule: Schedule): Transition {
  return stepping(leg, { ...solver, schedule });
}

/** A solver and the schedule that gives its past nodes their levels. */
type Plan = Multistep & { readonly schedule: Schedule };

const stepping = (leg: Leg, plan: Plan): Transition => (env) => (state) =>
  andThen(denoised(env, state.x, leg.t, leg.from), (x0): State => {
    try {
      return advanced(leg, plan, { env, state, x0 });
    } catch (error) {
      x0.dispose();
      throw error;
    }
  });

/** What a step has at hand. */
interface Hand {
  readonly env: Env;
  readonly state: State;
  readonly x0: tf.Tensor;
}

function advanced(leg: Leg, plan: Plan, hand: Hand): State {
  const { state, x0 } = hand, past = pastOf(state, leg.t);
  const here = corrected(leg, plan, hand, past);
  const others = past.map((each) => pointOf(plan.schedule, each));
  const points = others.slice(0, orderOf(leg, plan, past.length) - 1);
  const to = nodeAt(leg.s, leg.to), nodes = points.map(({ node }) => node);
  const x = moved(plan.rule({ from: here.node, to, past: nodes }), [here, ...points], hand);
  const kept = plan.corrector ? plan.order : plan.order - 1;
  const history = [{ t: leg.t, x0, x: here.x }, ...past].slice(0, kept);
  return { ...state, x, t: leg.s, step: state.step + 1, x0, ...(kept > 0 && { history }) };
}

const nodeAt = (t: number, { alpha, sigma }: Level): Node => ({ t, alpha, sigma });

const pointOf = (schedule: Schedule, { t, x0, x }: Evaluation): Point => ({
  node: nodeAt(t, schedule.at(t)),
  x0,
  ...(x && { x }),
});

/** The evaluations that belong to this path: each noisier than the one after it. */
function pastOf({ history = [] }: State, t: number): readonly Evaluation[] {
  const end = history.findIndex((each, i) => !(each.t > (i === 0 ? t : history[i - 1]!.t)));
  return end < 0 ? history : history.slice(0, end);
}

/** Order of a step: no more than there are predictions, and falling to 1 at the end where it is to. */
function orderOf(leg: Leg, plan: Plan, past: number): number {
  const low = lowered(plan.lowerOrderFinal ?? false, leg.count) ? leg.count - leg.index : Infinity;
  const zero = leg.to.sigma === 0 && plan.pastZero !== true ? 1 : Infinity;
  return Math.min(plan.order, past + 1, low, zero);
}

/** Whether a run of so many steps ends with lower orders. */
export function lowered(rule: LowerOrderFinal, count: number): boolean {
  return rule === "auto" ? count < 15 : rule;
}

/** The point where the step starts: x_t, or what the corrector makes of it. */
function corrected(
  leg: Leg,
  plan: Plan,
  { state, x0 }: Hand,
  past: readonly Evaluation[],
): Point & { readonly x: tf.Tensor } {
  const now = { node: nodeAt(leg.t, leg.from), x0, x: state.x };
  if (!plan.corrector || !past[0]?.x) return now;
  // From alpha = 0 there is no polynomial to correct.
  if (plan.schedule.at(past[0].t).alpha === 0) return now;
  const low = lowered(plan.lowerOrderFinal ?? false, leg.count)
    ? leg.count - leg.index + 1
    : Infinity;
  const used = past.slice(0, Math.min(plan.order, low));
  const [before, ...older] = used.map((each) => pointOf(plan.schedule, each)) as [Point];
  const from = (rule: MultistepRule, others: readonly Point[]): tf.Tensor => {
    const past = others.map(({ node }) => node);
    const weights = rule({ from: before.node, to: now.node, past });
    return combined(weights, before.x!, [before, ...others]);
  };
  // The change is added to x_t, not put in its place: a refinement may have moved x_t since it was predicted.
  const x = tf.tidy(() =>
    tf.add(state.x, tf.sub(from(plan.corrector!, [now, ...older]), from(plan.rule, older)))
  );
  return { ...now, x };
}

/** The mean of a step plus its noise. */
function moved(
  weights: MultistepWeights,
  points: readonly [Point & { readonly x: tf.Tensor }, ...Point[]],
  { env, state }: Hand,
): tf.Tensor {
  if (weights.noise === 0) return combined(weights, points[0].x, points);
  const z = noise(env, state, "multistep");
  const x = tf.tidy(() => tf.add(combined(weights, points[0].x, points), tf.mul(z, weights.noise)));
  z.dispose();
  return x;
}

// ---------------------------------------------------------------------------------------------- Samplers

/** Throws unless the order is one of 1 … most. */
export function checkOrder(name: string, order: number, most: number): void {
  if (Number.isSafeInteger(order) && order >= 1 && order <= most) return;
  const all = Array.from({ length: most }, (_, i) => i + 1);
  const wanted = `${all.slice(0, -1).join(", ")} or ${most}`;
  throw refusal(name, `order must be ${wanted}`, order);
}

/** Throws unless the option is one of {@link LowerOrderFinal}, or absent. */
export function checkLowered(name: string, value: unknown): void {
  if (value === undefined || [true, false, "auto"].includes(value as boolean)) return;
  throw refusal(name, 'lowerOrderFinal must be a boolean or "auto"', value);
}

/** The error for an option outside its domain. */
export const refusal = (name: string, wanted: string, got: unknown): RangeError =>
  refused(`make ${name}`, wanted, got);

/** Options of {@link deis}. */
export interface DeisOptions extends GridOptions {
  /** Number of predictions in a step, 1, 2 or 3. Default: 2. */
  readonly order?: 1 | 2 | 3;
  /** What eps is a polynomial in: lambda (`"logRho"`), sigma/alpha (`"rho"`), or t itself. Default: `"logRho"`. */
  readonly variable?: "logRho" | "rho" | "t";
  /** Whether the last steps are of lower order; `"auto"` is true below 15 steps. Default: `"auto"`. */
  readonly lowerOrderFinal?: LowerOrderFinal;
}

const deisOptions: Known<Omit<DeisOptions, keyof GridOptions>> = {
  order: true,
  variable: true,
  lowerOrderFinal: true,
};

const variables: {
  readonly [V in "logRho" | "rho" | "t"]: (schedule: Schedule) => MultistepRule;
} = {
  logRho: () => exponential({ of: "eps" }),
  rho: () => adams,
  t: inTime,
};

/**
 * DEIS, the multistep exponential integrator in the noise (Zhang and Chen 2023, algorithm 1): `"t"` is the paper's tAB-DEIS,
 * `"rho"` its rhoAB-DEIS, `"logRho"` the form that diffusers has. All are of the order given, that of 1 is DDIM.
 *
 * @param schedule The schedule of the model.
 * @param options Grid of times, order, variable, order of the last steps.
 * @returns A sampler with one evaluation of the model a step.
 * @throws {RangeError} If an option is outside its domain.
 *
 * @example
 * ```ts
 * import { deis, gaussian, key, linear, prior, run } from "@tweedie/tweedie";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const schedule = linear(), model = gaussian(schedule, { mean: 2, variance: 0 });
 * let last = 0;
 * for await (const { x } of run(prior([1, 1]), { model, key: key(0) })(deis(schedule, { steps: 10, order: 3 }))) {
 *   last = x.dataSync()[0]!;
 * }
 * assert.ok(Math.abs(last - 2) < 1e-3);
 * ```
 */
export function deis(schedule: Schedule, options: DeisOptions = {}): Sampler {
  const grid = timesAmong("make a DEIS", { schedule, options }, deisOptions);
  const { order = 2, variable = "logRho", lowerOrderFinal = "auto" } = options;
  checkOrder("a DEIS", order, 3);
  checkLowered("a DEIS", options.lowerOrderFinal);
  if (!Object.hasOwn(variables, variable)) {
    throw refusal("a DEIS", 'variable must be "logRho", "rho" or "t"', variable);
  }
  return stepped(schedule, grid, {
    rule: variables[variable](schedule),
    order,
    lowerOrderFinal,
  });
}

/** Options of {@link lms}. */
export interface LmsOptions extends GridOptions {
  /** Number of predictions in a step, 1 to 4. Default: 4. */
  readonly order?: 1 | 2 | 3 | 4;
}

/**
 * LMS, Adams–Bashforth in sigma/alpha: the linear multistep sampler of k-diffusion, with its coefficients integrated
 * exactly. It keeps its order to the end, at sigma = 0 too.
 *
 * @param schedule The schedule of the model.
 * @param options Grid of times, order.
 * @returns A sampler with one evaluation of the model a step.
 * @throws {RangeError} If an option is outside its domain.
 *
 * @example
 * ```ts
 * import { edm, gaussian, key, lms, prior, run } from "@tweedie/tweedie";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const schedule = edm(), model = gaussian(schedule, { mean: 2, variance: 0 });
 * const sampler = lms(schedule, { steps: 10, spacing: "karras" });
 * let last = 0;
 * for await (const { x } of run(prior([1, 1]), { model, key: key(0) })(sampler)) last = x.dataSync()[0]!;
 * assert.ok(Math.abs(last - 2) < 1e-3);
 * ```
 */
export function lms(schedule: Schedule, options: LmsOptions = {}): Sampler {
  const grid = timesAmong("make an LMS", { schedule, options }, { order: true });
  const { order = 4 } = options;
  checkOrder("an LMS", order, 4);
  return stepped(schedule, grid, { rule: adams, order, pastZero: true });
}

/**
 * Singlestep solvers: each transition asks the model at several points of its own, and takes nothing from the past.
 *
 * A step is a list of stages. Stage i goes from the start of the step, in one linear combination of x_t and of all
 * predictions so far, to the point where the next prediction is asked for, or to the end:
 *
 * ```text
 *   x_(i+1) = xt_i·x_t + Σ_(j≤i) w_ij·prediction_j        prediction_j at (x_j, t_j), x_0 = x_t
 * ```
 *
 * | solver | nodes between | predictions | weights of the last stage |
 * |---|---|---|---|
 * | DPM-Solver++ 2S, 3S | the times of the grid | x0 | the polynomial in lambda, integrated exactly |
 * | KDPM2 | the geometric mean of sigma/alpha | eps | 0, 1 times the change of sigma/alpha |
 * | PNDM's first steps | the middle of t, twice, and s | eps | 1/6, 1/3, 1/3, 1/6 times the same |
 *
 * From alpha = 0, where lambda and sigma/alpha are infinite, a step is one stage, DDIM's.
 *
 * Sources: C. Lu et al., "DPM-Solver++" (2022), algorithm 1 and appendix; C. Lu et al., "DPM-Solver" (NeurIPS 2022), algorithms
 * 1 and 2; T. Karras et al. (NeurIPS 2022), algorithm 2 with the midpoint of table 3, in k-diffusion's form; L. Liu et al., "Pseudo
 * numerical methods for diffusion models on manifolds" (ICLR 2022), equations 11 to 13 and algorithm 2.
 *
 * @module
 */

import { type GridOptions, timesAmong } from "../../noise/grid.ts";
import type { Schedule } from "../../noise/schedule/schedule.ts";
import { checkOptions } from "../../tensor/check/check.ts";
import { is, oneOf, within } from "../../tensor/check/decode.ts";
import { asked, type Leg, step } from "../step.ts";
import type { Sampler, Transition } from "../path.ts";
import { noisy, over, type Own } from "../grid.ts";
import type { Corrector } from "./dpm.ts";
import { lowered, type LowerOrderFinal } from "./multistep.ts";
import {
  combined,
  exponential,
  inRho,
  type MultistepWeights,
  type Node,
  nodeAt,
  type Point,
  rhoOf,
} from "./weights.ts";

/**
 * One stage: where it goes, and how. Weights are in the order in which the model was asked.
 *
 * @category Samplers
 */
export interface Stage {
  /** Where it ends. */
  readonly to: Node;
  /** Coefficients of x_t and of the predictions so far. */
  readonly weights: MultistepWeights;
}

/**
 * A transition of stages, with the noise of the last one.
 *
 * @param leg From where to where.
 * @param stages What it goes through, one at least.
 * @param remember How many evaluations its history holds at most: the first of its own, and those before. Default: none.
 * @returns The transition.
 */
export function inStages(leg: Leg, stages: readonly Stage[], remember = 0): Transition {
  return step(leg, function* (state, env) {
    const points: Point[] = [];
    let node = nodeAt(leg.t, leg.from), x = state.x;
    for (const { to, weights } of stages) {
      points.push({ node, x, x0: yield* asked(env, "x0", x, node.t) });
      node = to;
      x = combined(weights, state.x, points);
    }
    const moved = {
      x: noisy(x, stages.at(-1)!.weights.noise, { env, state, purpose: "singlestep" }),
      x0: points.at(-1)!.x0,
    };
    if (remember === 0) return moved;
    const past = (state.history ?? []).filter(({ t }) => t > leg.t);
    const first = { t: leg.t, x0: points[0]!.x0, x: state.x };
    return { ...moved, history: [first, ...past].slice(0, remember) };
  });
}

/** DDIM's step in one stage. */
export const alone = (from: Node, to: Node): Stage => (
  { to, weights: exponential()({ from, to, past: [] }) }
);

// ---------------------------------------------------------------------------------------------- DPM-Solver++

/**
 * Options of {@link dpmSinglestep}.
 *
 * @category Samplers
 */
export interface DpmSinglestepOptions extends GridOptions {
  /** Number of evaluations in a step and order of accuracy, 1, 2 or 3. Default: 2. */
  readonly order?: 1 | 2 | 3;
  /** Which prediction is a polynomial: `"x0"` is DPM-Solver++, `"eps"` is DPM-Solver. Default: `"x0"`. */
  readonly of?: "x0" | "eps";
  /**
   * The last stage: `"heun"` integrates the polynomial through all predictions exactly, `"midpoint"` that through the first and
   * the last at order 3, and takes the middle of the line at order 2. At order 3 `"midpoint"` is of that order only where
   * its last node is at 2/3 of the step in lambda, as under spacing `"logLinear"`. Default: `"midpoint"` at order 2, `"heun"` at order 3.
   */
  readonly corrector?: Corrector;
  /**
   * Whether the last steps are of lower order, also where the grid is no multiple of the order; `"auto"` is true where it
   * must be, and where the grid ends at sigma = 0. Default: `"auto"`.
   */
  readonly lowerOrderFinal?: LowerOrderFinal;
}

/**
 * DPM-Solver++ singlestep, 2S and 3S (Lu et al. 2022, algorithm 1): the grid's times are those at which the model is asked,
 * `order` of them to a step, so that `steps` counts evaluations as it does elsewhere. With spacing `"logLinear"` the nodes
 * between are the paper's.
 *
 * @category Samplers
 * @param schedule The schedule of the model.
 * @param options Grid of times, order, form of the last stage, order of the last steps.
 * @returns A sampler whose transitions lead from the start of a step to its end.
 * @throws {RangeError} If an option is outside its domain.
 *
 * @example Nine evaluations: three to a step, but for the last two
 * ```ts
 * import { dpmSinglestep, gaussian, key, linear, prior, run } from "@tweedie/tweedie";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const schedule = linear(), model = gaussian(schedule, { mean: 2, variance: 0 });
 * const path: number[] = [];
 * for await (const { t } of run(prior([1, 1]), { model, key: key(0) })(dpmSinglestep(schedule, { steps: 9, order: 3 }))) {
 *   path.push(t);
 * }
 * assert.deepEqual(path, [1000, 667, 333, 111, 0]);
 * ```
 */
export function dpmSinglestep(schedule: Schedule, options: DpmSinglestepOptions = {}): Sampler {
  const action = "make a singlestep DPM-Solver++";
  const grid = timesAmong(action, { schedule, options }, singlestepRules);
  const { order = 2, of = "x0" } = options;
  // A step from alpha = 0 is one stage, and what follows is laid out as if it began there.
  const head = grid.length > 1 && schedule.at(grid[0]!).alpha === 0 ? [1] : [];
  const count = grid.length - 1 - head.length, toZero = schedule.at(grid.at(-1)!).sigma === 0;
  const orders = [...head, ...ordersOf(count, options, toZero)];
  const ends = orders.reduce<number[]>((sum, each) => [...sum, sum.at(-1)! + each], [0]);
  const corrector = options.corrector ?? (order === 3 ? "heun" : "midpoint");
  return over(schedule, ends.map((i) => grid[i]!), (leg) => {
    const nodes = grid.slice(ends[leg.index]!, ends[leg.index + 1]! + 1)
      .map((t) => nodeAt(t, schedule.at(t)));
    return inStages(leg, singlestepStages(nodes, { of, corrector }));
  });
}

/**
 * The stages of a step of DPM-Solver++ through given nodes, in float64.
 *
 * @category Samplers
 * @param nodes Start, nodes between, end: two to four of them.
 * @param form Which prediction, and the last stage.
 * @returns One stage fewer than there are nodes.
 *
 * @example One stage: DDIM
 * ```ts
 * import { posterior } from "@tweedie/tweedie/denoise";
 * import { singlestepStages } from "@tweedie/tweedie/sample";
 * import assert from "node:assert/strict";
 *
 * const from = { t: 2, alpha: 0.6, sigma: 0.8 }, to = { t: 1, alpha: 0.8, sigma: 0.6 };
 * const [stage] = singlestepStages([from, to]), ddim = posterior(from, to, { variance: 0 });
 * assert.ok(Math.abs(stage!.weights.predictions[0]! - ddim.x0) < 1e-12);
 * ```
 */
export function singlestepStages(
  nodes: readonly Node[],
  form: Pick<DpmSinglestepOptions, "of" | "corrector"> = {},
): Stage[] {
  checkOptions("make the stages of a step", form, { of: true, corrector: true });
  const { of = "x0", corrector = "midpoint" } = form, from = nodes[0]!;
  const half = (moments: readonly number[]) => moments.length === 2 ? [1, 1 / 2] : moments;
  const line = exponential({ of, ...(corrector === "midpoint" && { bent: half }) });
  const exact = exponential({ of });
  return nodes.slice(1).map((to, i) => {
    const past = nodes.slice(1, i + 1);
    if (past.length < 2) return { to, weights: line({ from, to, past }) };
    if (corrector === "heun") return { to, weights: exact({ from, to, past }) };
    const weights = exact({ from, to, past: past.slice(-1) }), [first, last] = weights.predictions;
    return { to, weights: { ...weights, predictions: [first!, 0, last!] } };
  });
}

/** Orders of the steps that `count` evaluations make. */
function ordersOf(
  count: number,
  { order = 2, lowerOrderFinal = "auto" }: DpmSinglestepOptions,
  toZero: boolean,
): number[] {
  if (count === 0) return [];
  const whole = count % order === 0, low = lowerOrderFinal === true || !whole || toZero;
  const full = low ? Math.ceil(count / order) - 1 : count / order;
  const rest = count - full * order, orders: number[] = Array(full).fill(order);
  if (rest === 0) return orders;
  // What is left is one step, but one whole step is taken in two, and the last to sigma = 0 is of first order.
  return rest > 1 && (rest === order || toZero) ? [...orders, rest - 1, 1] : [...orders, rest];
}

const singlestepRules: Own<DpmSinglestepOptions> = {
  order: oneOf(1, 2, 3),
  of: oneOf("x0", "eps"),
  corrector: oneOf("midpoint", "heun"),
  lowerOrderFinal: lowered,
};

// ---------------------------------------------------------------------------------------------- KDPM2

/**
 * Options of {@link kdpm2}.
 *
 * @category Samplers
 */
export interface Kdpm2Options extends GridOptions {
  /** Noise of each step, in units of the ancestral sampler's standard deviation, in [0, 1]. Default: 0. */
  readonly eta?: number;
}

const kdpm2Rules: Own<Kdpm2Options> = { eta: is("in [0, 1]", within(0, 1)) };

/**
 * KDPM2, the midpoint rule in sigma/alpha with its node at the geometric mean: two evaluations a step, order 2. With eta
 * above 0 it goes to less noise than the grid has, and adds the difference: the ancestral form, k-diffusion's
 * `dpm_2_ancestral`. A step to sigma = 0 is Euler's.
 *
 * @category Samplers
 * @param schedule The schedule of the model; it answers between its whole times.
 * @param options Grid of times, noise.
 * @returns A sampler with two evaluations of the model a step, one in a step to sigma = 0.
 * @throws {RangeError} If an option is outside its domain.
 *
 * @example
 * ```ts
 * import { edm, gaussian, kdpm2, key, prior, run } from "@tweedie/tweedie";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const schedule = edm(), model = gaussian(schedule, { mean: 2, variance: 0 });
 * const sampler = kdpm2(schedule, { steps: 10, spacing: "karras" });
 * let last = 0;
 * for await (const { x } of run(prior([1, 1]), { model, key: key(0) })(sampler)) last = x.dataSync()[0]!;
 * assert.ok(Math.abs(last - 2) < 1e-3);
 * ```
 */
export function kdpm2(schedule: Schedule, options: Kdpm2Options = {}): Sampler {
  const grid = timesAmong("make a KDPM2", { schedule, options }, kdpm2Rules), { eta = 0 } = options;
  return over(schedule, grid, (leg) => inStages(leg, geometric(leg, schedule, eta)));
}

function geometric({ t, s, from, to }: Leg, schedule: Schedule, eta: number): readonly Stage[] {
  const start = nodeAt(t, from), end = nodeAt(s, to), first = rhoOf(from), last = rhoOf(to);
  if (to.sigma === 0) return [alone(start, end)];
  const up = eta * last * Math.sqrt(1 - (last / first) ** 2), down = Math.sqrt(last ** 2 - up ** 2);
  const noise = to.alpha * up, single = noisyStage(start, end, down, noise);
  // From alpha = 0, and down to sigma = 0, there is no geometric mean.
  if (from.alpha === 0 || down === 0) return [single];
  const middleT = schedule.timeOf(-Math.log(first * down));
  const middle = nodeAt(middleT, schedule.at(middleT));
  return [
    { to: middle, weights: inRho(from, middle, [1]) },
    { to: end, weights: { ...inRho(from, to, [0, 1], down), noise } },
  ];
}

/** DDIM's step to a sigma/alpha below that of the end, and noise up to it. */
function noisyStage(from: Node, to: Node, down: number, noise: number): Stage {
  const xt = to.alpha * down / from.sigma;
  const weights = { xt, of: "x0", predictions: [to.alpha - from.alpha * xt], noise } as const;
  return { to, weights };
}

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

import * as tf from "@tensorflow/tfjs-core";
import { andThen, disposing } from "../tensor/engine.ts";
import { type Awaitable } from "../tensor/scope.ts";
import { type GridOptions, timesAmong } from "../noise/grid.ts";
import type { Level, Schedule } from "../noise/schedule.ts";
import { checkOptions, type Known } from "../tensor/check.ts";
import {
  denoised,
  type Env,
  type Leg,
  legs,
  noise,
  type Sampler,
  type State,
  type Transition,
} from "./chain.ts";
import {
  asVelocity,
  checkLowered,
  checkOrder,
  combined,
  exponential,
  type LowerOrderFinal,
  type Multistep,
  type MultistepRule,
  multistepTransition,
  type MultistepWeights,
  type Node,
  over,
  type Point,
  pseudoAdams,
  refusal,
} from "./multistep.ts";
import type { Corrector } from "./solver.ts";

/** One stage: where it goes, and how. Weights are in the order in which the model was asked. */
export interface Stage {
  /** Where it ends. */
  readonly to: Node;
  /** Coefficients of x_t and of the predictions so far. */
  readonly weights: MultistepWeights;
}

/** The end of a step: x there, and the first and the last x0 prediction. Their tensors are the caller's. */
interface Staged {
  readonly x: tf.Tensor;
  readonly first: tf.Tensor;
  readonly last: tf.Tensor;
}

/** Goes through the stages of a step. */
function staged(
  env: Env,
  start: tf.Tensor,
  { from, stages }: { readonly from: Node; readonly stages: readonly Stage[] },
): Awaitable<Staged> {
  const next = (node: Node, x: tf.Tensor, before: readonly Point[]): Awaitable<Staged> =>
    andThen(denoised(env, x, node.t, node), (x0) =>
      disposing(x0, () => {
        const points = [...before, { node, x, x0 }], { to, weights } = stages[before.length]!;
        const reached = combined(weights, start, points);
        if (points.length === stages.length) {
          return { x: reached, first: tf.clone(points[0]!.x0), last: tf.clone(x0) };
        }
        return disposing(reached, () => next(to, reached, points));
      }));
  return next(from, start, []);
}

/** A transition of stages, with the noise of the last one; `remember` puts its first evaluation into the history. */
const inStages =
  (leg: Leg, stages: readonly Stage[], remember = 0): Transition => (env) => (state) =>
    andThen(staged(env, state.x, { from: nodeAt(leg.t, leg.from), stages }), (made): State => {
      const { x: mean, first, last } = made;
      const x = noisy(mean, stages.at(-1)!.weights.noise, env, state);
      const moved = { ...state, x, t: leg.s, step: state.step + 1, x0: last };
      if (remember === 0) return (first.dispose(), moved);
      const past = (state.history ?? []).filter(({ t }) => t > leg.t);
      return {
        ...moved,
        history: [{ t: leg.t, x0: first, x: state.x }, ...past].slice(0, remember),
      };
    });

/** The mean, handed over, plus noise. */
function noisy(mean: tf.Tensor, deviation: number, env: Env, state: State): tf.Tensor {
  if (deviation === 0) return mean;
  return disposing(mean, () => {
    const z = noise(env, state, "singlestep");
    const x = tf.tidy(() => tf.add(mean, tf.mul(z, deviation)));
    z.dispose();
    return x;
  }) as tf.Tensor;
}

const nodeAt = (t: number, { alpha, sigma }: Level): Node => ({ t, alpha, sigma });

/** How far a step's stages are off for data N(0, 1/4), whose deviation the ODE takes from level to level: a share of it. */
function missed(from: Node, stages: readonly Stage[]): number {
  const variance = ({ alpha, sigma }: Level): number => alpha ** 2 / 4 + sigma ** 2;
  const pointAt = (node: Node, x: number) => (
    { node, x, eps: node.sigma * x / variance(node) }
  );
  const start = Math.sqrt(variance(from)), points = [pointAt(from, start)];
  for (const { to, weights } of stages) {
    const x = weights.predictions.reduce((sum, weight, j) => {
      const { node, x, eps } = points[j]!, x0 = node.alpha / 4 * x / variance(node);
      const said = { eps, x0, v: node.alpha * eps - node.sigma * x0 };
      return sum + weight * said[weights.of];
    }, weights.xt * start);
    points.push(pointAt(to, x));
  }
  const { node, x } = points.at(-1)!;
  return Math.abs(x / Math.sqrt(variance(node)) - 1);
}

/** Whether stages may stand where one would be off by so much. */
function isSteady(from: Node, stages: readonly Stage[], single: readonly Stage[]): boolean {
  const miss = missed(from, stages);
  return miss <= 0.02 || miss <= 3 * missed(from, single);
}

/** DDIM's step in one stage. */
const alone = (from: Node, to: Node): Stage => (
  { to, weights: exponential()({ from, to, past: [] }) }
);

const rhoOf = ({ alpha, sigma }: Level): number => sigma / alpha;

/** Weights of eps in units of the change of sigma/alpha from a node to a ratio at another's level. */
const inRho = (
  from: Level,
  to: Level,
  shares: readonly number[],
  rho = rhoOf(to),
): MultistepWeights => ({
  xt: to.alpha / from.alpha,
  of: "eps",
  predictions: shares.map((share) => share === 0 ? 0 : share * to.alpha * (rho - rhoOf(from))),
  noise: 0,
});

// ---------------------------------------------------------------------------------------------- DPM-Solver++

/** Options of {@link dpmSinglestep}. */
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
  const grid = timesAmong(`make ${singlestep}`, { schedule, options }, singlestepOptions);
  const { order = 2, of = "x0" } = options;
  checkSinglestep(options);
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
 * @param nodes Start, nodes between, end: two to four of them.
 * @param form Which prediction, and the last stage.
 * @returns One stage fewer than there are nodes.
 *
 * @example One stage: DDIM
 * ```ts
 * import { posterior, singlestepStages } from "@tweedie/tweedie";
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

const singlestep = "a singlestep DPM-Solver++";

const singlestepOptions: Known<Omit<DpmSinglestepOptions, keyof GridOptions>> = {
  order: true,
  of: true,
  corrector: true,
  lowerOrderFinal: true,
};

function checkSinglestep(
  { order = 2, of = "x0", corrector, lowerOrderFinal }: DpmSinglestepOptions,
): void {
  const name = singlestep;
  checkOrder(name, order, 3);
  checkLowered(name, lowerOrderFinal);
  if (of !== "x0" && of !== "eps") throw refusal(name, 'of must be "x0" or "eps"', of);
  if (corrector !== undefined && corrector !== "midpoint" && corrector !== "heun") {
    throw refusal(name, 'corrector must be "midpoint" or "heun"', corrector);
  }
}

// ---------------------------------------------------------------------------------------------- KDPM2

/** Options of {@link kdpm2}. */
export interface Kdpm2Options extends GridOptions {
  /** Noise of each step, in units of the ancestral sampler's standard deviation, in [0, 1]. Default: 0. */
  readonly eta?: number;
}

/**
 * KDPM2, the midpoint rule in sigma/alpha with its node at the geometric mean: two evaluations a step, order 2. With eta
 * above 0 it goes to less noise than the grid has, and adds the difference: the ancestral form, k-diffusion's
 * `dpm_2_ancestral`. A step to sigma = 0 is Euler's.
 *
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
  const grid = timesAmong("make a KDPM2", { schedule, options }, { eta: true });
  const { eta = 0 } = options;
  if (!(eta >= 0 && eta <= 1)) throw refusal("a KDPM2", "eta must be in [0, 1]", eta);
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

// ---------------------------------------------------------------------------------------------- PNDM

const isUnit = ({ alpha, sigma }: Level): boolean => Math.abs(alpha ** 2 + sigma ** 2 - 1) < 1e-9;

/** Options of {@link pndm}. */
export interface PndmOptions extends GridOptions {
  /**
   * The first steps: `"rungeKutta"` takes three of four evaluations (the paper's PNDM), `"heun"` one of two, and then
   * raises the order step by step (its PLMS, as latent diffusion has it). Default: `"rungeKutta"`, but one stage in a step
   * over so great a change of sigma/alpha that its stages would miss the path of Gaussian data of the size of images, N(0, 1/4),
   * by more than 2 % of its deviation and three times what one stage misses, as from T of `cosine()` in few steps.
   */
  readonly warmUp?: "rungeKutta" | "heun";
  /**
   * What the weights combine: the noise, as in the paper, or v, which becomes noise only afterwards, at the start of the
   * step. Diffusers does that where the network predicts v; it is of order 1, and for schedules with alpha² + sigma² = 1 only.
   * Default: `"eps"`.
   */
  readonly of?: "eps" | "v";
}

/** Stages of the first steps, and how many such steps there are. */
const warmUps: {
  readonly [W in "rungeKutta" | "heun"]: {
    steps: number;
    stages: (leg: Leg, middle: Node) => Stage[];
  };
} = {
  rungeKutta: {
    steps: 3,
    stages: ({ s, from, to }, middle) => [
      { to: middle, weights: inRho(from, middle, [1]) },
      { to: middle, weights: inRho(from, middle, [0, 1]) },
      { to: nodeAt(s, to), weights: inRho(from, to, [0, 0, 1]) },
      { to: nodeAt(s, to), weights: inRho(from, to, [1 / 6, 1 / 3, 1 / 3, 1 / 6]) },
    ],
  },
  heun: {
    steps: 1,
    stages: ({ s, from, to }) => [
      { to: nodeAt(s, to), weights: inRho(from, to, [1]) },
      { to: nodeAt(s, to), weights: inRho(from, to, [1 / 2, 1 / 2]) },
    ],
  },
};

/**
 * PNDM: classical Adams–Bashforth weights on the noise, in front of DDIM's exact change of level, after first steps of
 * pseudo Runge–Kutta (Liu et al. 2022, algorithm 2). The weights are those of equal steps in t, while the integral is
 * over sigma/alpha: the order is 2, whatever the number of predictions.
 *
 * @param schedule The schedule of the model.
 * @param options Grid of times, kind of first steps.
 * @returns A sampler; its first steps have more than one evaluation of the model. The middle of a discrete step is rounded up.
 * @throws {RangeError} If an option is outside its domain.
 *
 * @example Ten steps, nineteen evaluations
 * ```ts
 * import { gaussian, key, linear, pndm, prior, run } from "@tweedie/tweedie";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const schedule = linear(), model = gaussian(schedule, { mean: 2, variance: 0 });
 * let last = 0;
 * for await (const { x } of run(prior([1, 1]), { model, key: key(0) })(pndm(schedule, { steps: 10, spacing: "leading" }))) {
 *   last = x.dataSync()[0]!;
 * }
 * assert.ok(Math.abs(last - 2) < 1e-3);
 * ```
 */
export function pndm(schedule: Schedule, options: PndmOptions = {}): Sampler {
  const grid = timesAmong("make a PNDM", { schedule, options }, { warmUp: true, of: true });
  const { warmUp = "rungeKutta", of = "eps" } = options;
  if (!Object.hasOwn(warmUps, warmUp)) {
    throw refusal("a PNDM", 'warmUp must be "rungeKutta" or "heun"', warmUp);
  }
  if (of !== "eps" && of !== "v") throw refusal("a PNDM", 'of must be "eps" or "v"', of);
  const { steps, stages } = warmUps[warmUp], order = 4;
  const read = (weights: MultistepWeights, from: Level): MultistepWeights =>
    of === "v" ? asVelocity(weights, from) : weights;
  const rule: MultistepRule = (nodes) => read(pseudoAdams(nodes), nodes.from);
  const solver: Multistep = { rule, order, pastZero: true };
  const first = (leg: Leg): readonly Stage[] => {
    const from = nodeAt(leg.t, leg.from), single = [alone(from, nodeAt(leg.s, leg.to))];
    if (from.alpha === 0) return single;
    const asked = stages(leg, middle(leg)).map(({ to, weights }) => ({
      to,
      weights: read(weights, leg.from),
    }));
    // Stages that were asked for by name are made, wherever they lead.
    return options.warmUp !== undefined || isSteady(from, asked, single) ? asked : single;
  };
  const middle = ({ t, s }: Leg): Node => {
    const half = schedule.steps === undefined ? (t + s) / 2 : Math.ceil((t + s) / 2);
    return nodeAt(half, schedule.at(half));
  };
  const path = legs(schedule, grid), off = path.find(({ from }) => !isUnit(from));
  if (of === "v" && off) {
    throw refusal(
      "a PNDM",
      `of must be "eps" where alpha² + sigma² is not 1, as at t = ${off.t}`,
      of,
    );
  }
  const head = path[0]?.from.alpha === 0 ? 1 : 0;
  return over(
    schedule,
    grid,
    (leg) =>
      leg.index < steps + head && leg.to.sigma > 0
        ? inStages(leg, first(leg), order - 1)
        : multistepTransition(leg, solver, schedule),
  );
}

/**
 * PNDM: pseudo Runge–Kutta and pseudo Adams–Bashforth in the noise.
 *
 * Source: L. Liu, Y. Ren, Z. Lin, Z. Zhao, "Pseudo numerical methods for diffusion models on manifolds" (ICLR 2022), equations 11
 * to 13 and algorithm 2.
 *
 * @module
 */

import { type GridOptions, timesAmong } from "../../noise/grid.ts";
import type { Level, Schedule } from "../../noise/schedule/schedule.ts";
import { refusal } from "../../tensor/check/check.ts";
import { oneOf } from "../../tensor/check/decode.ts";
import { type Leg, legs } from "../step.ts";
import type { Sampler } from "../path.ts";
import { over, type Own } from "../grid.ts";
import { type Multistep, multistepTransition } from "./multistep.ts";
import { alone, inStages, type Stage } from "./singlestep.ts";
import {
  inRho,
  type MultistepNodes,
  type MultistepRule,
  type MultistepWeights,
  type Node,
  nodeAt,
  overRho,
  parts,
} from "./weights.ts";

/**
 * PNDM's step (Liu et al. 2022, equation 12): the weights 55, −59, 37, −9 over 24 of Adams–Bashforth on equal steps, whatever
 * the steps are, in front of the exact change of level.
 *
 * @category Samplers
 * @param nodes Nodes of the step.
 * @returns The weights.
 *
 * @example
 * ```ts
 * import { pseudoAdams } from "@tweedie/tweedie/sample";
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

/**
 * Weights of eps made those of v: the predictions are combined as v, and become eps at the start of the step,
 * eps = (alpha·v + sigma·x)/(alpha² + sigma²). Other weights stay as they are.
 *
 * @category Samplers
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
 * Options of {@link pndm}.
 *
 * @category Samplers
 */
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

/** A step through stages, of whose middle the schedule knows. */
type FirstStages = (from: Node, middle: Node, to: Node) => Stage[];

/** Stages of the first steps, and how many such steps there are. */
const warmUps: {
  readonly [W in "rungeKutta" | "heun"]: { readonly steps: number; readonly stages: FirstStages };
} = {
  rungeKutta: {
    steps: 3,
    stages: (from, middle, to) => [
      { to: middle, weights: inRho(from, middle, [1]) },
      { to: middle, weights: inRho(from, middle, [0, 1]) },
      { to, weights: inRho(from, to, [0, 0, 1]) },
      { to, weights: inRho(from, to, [1 / 6, 1 / 3, 1 / 3, 1 / 6]) },
    ],
  },
  heun: {
    steps: 1,
    stages: (from, _, to) => [
      { to, weights: inRho(from, to, [1]) },
      { to, weights: inRho(from, to, [1 / 2, 1 / 2]) },
    ],
  },
};

const pndmRules: Own<PndmOptions> = {
  warmUp: oneOf(...Object.keys(warmUps)),
  of: oneOf("eps", "v"),
};

/**
 * PNDM: classical Adams–Bashforth weights on the noise, in front of DDIM's exact change of level, after first steps of
 * pseudo Runge–Kutta (Liu et al. 2022, algorithm 2). The weights are those of equal steps in t, while the integral is
 * over sigma/alpha: the order is 2, whatever the number of predictions.
 *
 * @category Samplers
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
  const grid = timesAmong(action, { schedule, options }, pndmRules);
  const { warmUp = "rungeKutta", of = "eps" } = options, order = 4;
  const { steps, stages } = warmUps[warmUp], path = legs(schedule, grid);
  if (of === "v") checkUnit(path);
  const read = (weights: MultistepWeights, from: Level): MultistepWeights =>
    of === "v" ? asVelocity(weights, from) : weights;
  const rule: MultistepRule = (nodes) => read(pseudoAdams(nodes), nodes.from);
  const solver: Multistep = { rule, order, pastZero: true };
  const first = (leg: Leg): readonly Stage[] => {
    const from = nodeAt(leg.t, leg.from), to = nodeAt(leg.s, leg.to), single = [alone(from, to)];
    if (from.alpha === 0) return single;
    const asked = stages(from, middleOf(leg, schedule), to)
      .map(({ to, weights }) => ({ to, weights: read(weights, from) }));
    // Stages that were asked for by name are made, wherever they lead.
    return options.warmUp !== undefined || isSteady(from, asked, single) ? asked : single;
  };
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

const action = "make a PNDM";

/** The middle of a step in t; of a discrete one it is rounded up. */
function middleOf({ t, s }: Leg, schedule: Schedule): Node {
  const half = schedule.steps === undefined ? (t + s) / 2 : Math.ceil((t + s) / 2);
  return nodeAt(half, schedule.at(half));
}

/** Refuses weights of v where alpha² + sigma² is not 1. */
function checkUnit(path: readonly Leg[]): void {
  const off = path.find(({ from }) => Math.abs(from.alpha ** 2 + from.sigma ** 2 - 1) >= 1e-9);
  if (off === undefined) return;
  const wanted = `of must be "eps" where alpha² + sigma² is not 1, as at t = ${off.t}`;
  throw refusal(action, wanted, "v");
}

/** How far a step's stages are off for data N(0, 1/4), whose deviation the ODE takes from level to level: a share of it. */
function missed(from: Node, stages: readonly Stage[]): number {
  const deviation = ({ alpha, sigma }: Level): number => Math.sqrt(alpha ** 2 / 4 + sigma ** 2);
  const start = deviation(from), path = [{ node: from, x: start }];
  for (const { to, weights: { xt, of, predictions } } of stages) {
    const said = predictions.map((weight, j) => {
      const { node, x } = path[j]!, x0 = node.alpha / 4 * x / deviation(node) ** 2;
      return weight * (parts[of](node)[0] * x + parts[of](node)[1] * x0);
    });
    path.push({ node: to, x: said.reduce((sum, term) => sum + term, xt * start) });
  }
  const { node, x } = path.at(-1)!;
  return Math.abs(x / deviation(node) - 1);
}

/** Whether stages may stand where one would be off by so much. */
function isSteady(from: Node, stages: readonly Stage[], single: readonly Stage[]): boolean {
  const miss = missed(from, stages);
  return miss <= 0.02 || miss <= 3 * missed(from, single);
}

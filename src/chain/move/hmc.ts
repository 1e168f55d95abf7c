/**
 * Hamiltonian Monte Carlo: a move far along the flow of H(x, p) = E(x) + Σ p²/(2·m), tested by what its integration lost of H.
 *
 * ```text
 *   p ~ N(0, m)      leapfrog, L times:   p ← p − eps/2·∇E(x)      x ← x + eps·p/m      p ← p − eps/2·∇E(x)
 *   ln a = H(x, p) − H(x', p')
 *
 *   ln eps_k = mu − √k/gamma·h_k      h_k = (1 − 1/(k + t0))·h_(k−1) + (delta − a_k)/(k + t0)
 *   ln ē_k = k^(−kappa)·ln eps_k + (1 − k^(−kappa))·ln ē_(k−1)
 * ```
 *
 * The leapfrog can be reversed and keeps volumes, so the test needs no more than ln a; its error in H is of order eps². A path whose
 * H has grown by 1000 or left the numbers has diverged: its move is refused, and said to be.
 *
 * In the warm-up each chain adapts by itself: its step by the averaging of the last two lines, its masses to one over the variances
 * of windows of its own points, each twice the one before. What it adapts is part of the state. A chain whose step depends on
 * its past has not the law that it is for: throw the states of the warm-up away. It is in the warm-up that moves are taken with
 * probability delta on average; with the averaged step after it they are taken somewhat more often.
 *
 * Sources: R. Neal, "MCMC using Hamiltonian dynamics" (2011), equations 5.18 to 5.20; M. Hoffman, A. Gelman, "The No-U-Turn
 * sampler" (2014), section 3.2 and algorithm 5; B. Welford, "Note on a method for calculating corrected sums of squares and
 * products" (1962); Stan's reference manual, "HMC algorithm parameters", for the windows and the shrinkage of variances.
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
import { mismatch, refusal } from "../../tensor/check/check.ts";
import {
  above,
  decoded,
  is,
  needed,
  type Rules,
  wholeNumber,
  within,
} from "../../tensor/check/decode.ts";
import { uniform } from "../../tensor/random.ts";
import { folded, scope, type Scoped } from "../../tensor/scope.ts";
import type { Tensor } from "../../tensor/tensor.ts";
import { chain, type ChainEnv, type ChainSampler, type ChainTransition } from "../chain.ts";
import { noise, sampleKeys } from "../draw.ts";
import {
  checkWeighed,
  type MoveOptions,
  type MoveState,
  placeOf,
  settled,
  stepRules,
} from "./accept.ts";
import { checkedStart, type Known, type Target } from "./target.ts";

/**
 * What chains have adapted so far, each by itself.
 *
 * @category Moves
 */
export interface Adapted {
  /** ln of the step to take next, shape [N]. */
  readonly logStep: Tensor;
  /** ln ē, the average that the steps after the warm-up have, shape [N]. */
  readonly logMean: Tensor;
  /** h, shape [N]. */
  readonly lack: Tensor;
  /** mu, towards which steps are drawn, shape [N]. */
  readonly centre: Tensor;
  /** k, the number of steps since the averaging began. */
  readonly count: number;
  /** 1/m, shape of x. */
  readonly inverseMass: Tensor;
  /** Mean of the points of this window, shape of x. */
  readonly mean: Tensor;
  /** Sum of the squared deviations from it, shape of x. */
  readonly squares: Tensor;
  /** Number of points in this window. */
  readonly points: number;
}

/**
 * Where Hamiltonian chains stand.
 *
 * @category Moves
 */
export interface HmcState extends MoveState {
  /** What has been adapted; from the first step of a warm-up on. */
  readonly adapted?: Adapted;
}

/**
 * Options of {@link hmc}.
 *
 * @category Moves
 */
export interface HmcOptions extends MoveOptions {
  /** eps, above 0: in x's unit, if the masses are 1. With a warm-up the first of them. */
  readonly stepSize: number;
  /** L, steps of the leapfrog in a move. */
  readonly leaps: number;
  /** How far each chain's eps strays in a move, as a part of it: eps·(1 ± jitter), uniform, in [0, 1). Default: 0. */
  readonly jitter?: number;
  /** m of each coordinate: one number, or a flat list over a sample. Default: 1. */
  readonly mass?: number | readonly number[];
  /** Moves in which steps and masses are adapted. Default: 0. */
  readonly warmup?: number;
  /** delta, the mean probability of acceptance that steps are adapted to, within (0, 1). Default: 0.8. */
  readonly acceptance?: number;
}

const rules: Rules<HmcOptions> = {
  ...stepRules,
  stepSize: needed(is("a number above 0", above(0))),
  leaps: needed(wholeNumber(1)),
  jitter: is("a number of at least 0 and below 1", (j) => j >= 0 && j < 1),
  mass: is("numbers above 0", (mass: number | readonly number[]) => {
    const all = typeof mass === "number" ? [mass] : mass;
    return Array.isArray(all) && all.length > 0 && all.every(above(0));
  }),
  warmup: wholeNumber(0),
  acceptance: is("a number within (0, 1)", (a) => within(0, 1)(a) && a > 0 && a < 1),
};

/** A point with its momentum. */
export interface Phase {
  /** The point. */
  readonly place: Known;
  /** p, shape of x. */
  readonly p: Tensor;
}

/** A path of the leapfrog. */
export interface Path {
  /** eps: one number, or one for each sample, shape [N, 1, ...]. */
  readonly eps: number | Tensor;
  /** L. */
  readonly leaps: number;
  /** 1/m, shape of x or of one that broadcasts to it. */
  readonly inverseMass: Tensor;
}

/**
 * The leapfrog.
 *
 * @param target The law, by its energy.
 * @param start Where it starts; its tensors stay whose they are.
 * @param path Its steps.
 * @returns Where it ends; a part of work, called by `yield*`.
 */
export function* leapfrog(target: Target, start: Phase, path: Path): Scoped<Phase> {
  const { eps, leaps, inverseMass } = path, half = tf.mul(eps, 0.5);
  return yield* folded(start, leaps, function* ({ place, p }) {
    const middle = tf.add(p, tf.mul(place.score, half));
    const x = tf.add(place.x, tf.mul(tf.mul(middle, inverseMass), eps));
    const next = (yield* target.pointAt(x)) as Known;
    return { place: next, p: tf.add(middle, tf.mul(next.score, half)) };
  });
}

/** Of each sample one number, in the shape [N, 1, ...] that goes with x. */
const wide = (values: Tensor, x: Tensor): Tensor =>
  tf.reshape(values, [-1, ...x.shape.slice(1).fill(1)]);

/** Σ p²/(2·m) of each sample, shape [N]. */
const kinetic = (p: Tensor, inverseMass: Tensor): Tensor =>
  tf.mul(tf.sum(tf.reshape(tf.mul(tf.square(p), inverseMass), [p.shape[0]!, -1]), 1), 0.5);

/** One move: its path, and the test. */
function* moved(
  target: Target,
  env: ChainEnv,
  state: HmcState,
  { eps, leaps, inverseMass }: Path,
): Scoped<HmcState> {
  const { x } = state, { law } = target;
  const here = yield* placeOf(state, target, "score");
  const p = tf.div(noise(env, state, "momentum"), tf.sqrt(inverseMass));
  const end = yield* leapfrog(target, { place: here, p }, { eps, leaps, inverseMass });
  const there = end.place;
  const kinds = tf.sub(kinetic(p, inverseMass), kinetic(end.p, inverseMass));
  const logA = tf.add(tf.sub(here.energy, there.energy), kinds);
  // Where the end is a point and its energy is not, the energy is at fault, and not the path.
  const away = tf.isNaN(
    tf.sum(tf.reshape(tf.mul(tf.add(there.x, end.p), 0), [x.shape[0]!, -1]), 1),
  );
  const divergent = tf.logicalOr(away, tf.less(logA, -1000));
  return settled(env, state, { here, there, law, logA, purpose: "momentum", divergent });
}

/** gamma, t0 and kappa of the averaging. */
const averaging = { gamma: 0.05, t0: 10, kappa: 0.75 } as const;

/** The averaging from its beginning, at a step. */
const begun = (
  logStep: Tensor,
): Pick<Adapted, "logStep" | "logMean" | "lack" | "centre" | "count"> => ({
  logStep,
  logMean: tf.zerosLike(logStep),
  lack: tf.zerosLike(logStep),
  centre: tf.add(logStep, Math.log(10)),
  count: 0,
});

/** A window from its beginning. */
const opened = (x: Tensor): Pick<Adapted, "mean" | "squares" | "points"> => ({
  mean: tf.zerosLike(x),
  squares: tf.zerosLike(x),
  points: 0,
});

/** The averaging after one more move, taken with probability `chance`. */
function averaged(adapted: Adapted, chance: Tensor, delta: number): Adapted {
  const { gamma, t0, kappa } = averaging, k = adapted.count + 1, part = 1 / (k + t0);
  const lack = tf.add(
    tf.mul(adapted.lack, 1 - part),
    tf.mul(tf.sub(delta, chance), part),
  );
  const logStep = tf.sub(adapted.centre, tf.mul(lack, Math.sqrt(k) / gamma)), weight = k ** -kappa;
  const logMean = tf.add(tf.mul(logStep, weight), tf.mul(adapted.logMean, 1 - weight));
  return { ...adapted, logStep, logMean, lack, count: k };
}

/** The window with one more point. */
function joined(adapted: Adapted, x: Tensor): Adapted {
  const points = adapted.points + 1, away = tf.sub(x, adapted.mean);
  const mean = tf.add(adapted.mean, tf.div(away, points));
  return {
    ...adapted,
    points,
    mean,
    squares: tf.add(adapted.squares, tf.mul(away, tf.sub(x, mean))),
  };
}

/** At the end of a window: 1/m is its variance, drawn a little towards 1/1000, and all begins again. */
function massed(adapted: Adapted, x: Tensor): Adapted {
  const n = adapted.points, variance = tf.div(adapted.squares, n - 1);
  const inverseMass = tf.add(tf.mul(variance, n / (n + 5)), 1e-3 * 5 / (n + 5));
  return { ...adapted, inverseMass, ...begun(adapted.logMean), ...opened(x) };
}

/**
 * The moves of a warm-up at whose end the masses are set: windows of 25, 50, 100, … points between the first 75 moves and the last 50,
 * the last window up to these. A warm-up below 150 has one window, from its first 15 hundredths to its half: after each window the
 * averaging begins at ten times the step, and needs a score of moves to come down from there.
 *
 * @param warmup Number of moves, at least 0.
 * @returns Where the first window begins, and where each ends; none in fewer than 20 moves.
 */
export function massWindows(warmup: number): { readonly from: number; readonly ends: number[] } {
  if (warmup < 20) return { from: warmup, ends: [] };
  const isLong = warmup >= 150;
  const from = isLong ? 75 : Math.floor(0.15 * warmup);
  const to = isLong ? warmup - 50 : Math.floor(warmup / 2), ends: number[] = [];
  for (let start = from, size = isLong ? 25 : to - from; start < to; size *= 2) {
    const end = start + 3 * size > to ? to : start + size;
    ends.push(end);
    start = end;
  }
  return { from, ends };
}

/**
 * Hamiltonian Monte Carlo.
 *
 * @category Moves
 * @param target The law, by its energy.
 * @param options Steps, their number and size, masses, warm-up. `steps` counts the moves of the warm-up too.
 * @returns The chain. To go on in it from a state, also in the middle of a warm-up, leave out its first `state.step` moves.
 * @throws {TypeError} If the target has no energy, or an option is unknown.
 * @throws {RangeError} If an option is out of range; while run, if a shape is wrong or a NaN decides on a move.
 *
 * @example Two coordinates of unlike scales
 * ```ts
 * import { hmc, targetOf } from "@tweedie/tweedie/chain";
 * import { key, last, run } from "@tweedie/tweedie";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import * as tf from "@tensorflow/tfjs-core";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const target = targetOf((x) => tf.mul(tf.sum(tf.mul(tf.square(x), [1, 0.01]), 1), 0.5));
 * const chain = hmc(target, { stepSize: 0.5, leaps: 8, mass: [1, 0.01], jitter: 0.2, steps: 10 });
 * const { x } = await last(run({ x: tf.zeros([4000, 2]), step: 0 }, { key: key(0) })(chain));
 * const [first, second] = tf.mean(tf.square(x), 0).dataSync();
 * assert.ok(Math.abs(first! - 1) < 0.1 && Math.abs(second! / 100 - 1) < 0.1);
 * ```
 */
export function hmc(target: Target, options: HmcOptions): ChainSampler<HmcState, ChainEnv> {
  const action = "make a Hamiltonian chain";
  const { warmup = 0, steps = Infinity } = decoded(action, options, rules);
  checkWeighed(action, target);
  const { from, ends } = massWindows(warmup);
  return chain<HmcState>(function* () {
    for (let i = 0; i < steps; i++) {
      if (i < warmup) {
        yield warming(target, options, {
          isIn: i >= from && i < (ends.at(-1) ?? 0),
          isEnd: ends.includes(i + 1),
        });
      } else yield settling(target, options);
    }
  }, { checks: [checkedStart(target.pointAt), (_, { x }) => checkMass(action, options, x)] });
}

/** A list of masses has one for each coordinate. */
function checkMass(action: string, { mass = 1 }: HmcOptions, { shape }: Tensor): void {
  const size = tf.util.sizeFromShape(shape.slice(1));
  if (typeof mass === "number" || mass.length === size) return;
  throw refusal(action, `mass must be one for each of ${size} coordinates`, mass.length);
}

/** 1/m as it was given, of the shape [1, ...sample]. */
function inverseOf({ mass = 1 }: HmcOptions, { shape }: Tensor): Tensor {
  if (typeof mass === "number") return tf.fill([1, ...shape.slice(1)], 1 / mass);
  return tf.tensor(mass.map((m) => 1 / m), [1, ...shape.slice(1)], "float32");
}

/** eps of each chain in a move. */
function strayed(
  env: ChainEnv,
  { x, step }: HmcState,
  eps: number | Tensor,
  jitter = 0,
): number | Tensor {
  if (jitter === 0) return eps;
  const u = uniform(sampleKeys(env, x.shape[0]!, "jitter", step), [], {
    low: -jitter,
    high: jitter,
  });
  return tf.mul(eps, wide(tf.add(u, 1), x));
}

/** A move after the warm-up. */
const settling =
  (target: Target, options: HmcOptions): ChainTransition<HmcState, ChainEnv> => (env) => (state) =>
    scope(function* () {
      const { adapted, x } = state, { leaps, stepSize, jitter, warmup = 0 } = options;
      if (warmup > 0 && adapted === undefined) {
        throw mismatch(
          "go on with a Hamiltonian chain",
          "the state must have been adapted",
          "none",
        );
      }
      const eps = adapted ? wide(tf.exp(adapted.logMean), x) : stepSize;
      const inverseMass = adapted?.inverseMass ?? inverseOf(options, x);
      const path = { eps: strayed(env, state, eps, jitter), leaps, inverseMass };
      return yield* moved(target, env, state, path);
    });

/** Where a move is among the windows. */
interface Window {
  readonly isIn: boolean;
  readonly isEnd: boolean;
}

/** A move of the warm-up. */
const warming = (target: Target, options: HmcOptions, { isIn, isEnd }: Window): ChainTransition<
  HmcState,
  ChainEnv
> =>
(env) =>
(state) =>
  scope(function* () {
    const { x } = state, { leaps, jitter, acceptance = 0.8 } = options;
    const before = state.adapted ?? {
      ...begun(tf.fill([x.shape[0]!], Math.log(options.stepSize))),
      ...opened(x),
      inverseMass: tf.broadcastTo(inverseOf(options, x), x.shape),
    };
    const eps = strayed(env, state, wide(tf.exp(before.logStep), x), jitter);
    const next = yield* moved(target, env, state, { eps, leaps, inverseMass: before.inverseMass });
    const stepped = averaged(before, next.info!.acceptance, acceptance);
    const seen = isIn ? joined(stepped, next.x) : stepped;
    return { ...next, adapted: isEnd ? massed(seen, next.x) : seen };
  });

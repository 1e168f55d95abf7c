/**
 * Annealed importance sampling of ln Z: chains that go from a machine without weights to the one asked about, and are weighed on
 * the way.
 *
 * ```text
 *   at beta     W_β = beta·W      b_β = (1 − beta)·b_A + beta·b      c_β = beta·c          0 = beta_0 < ... < beta_K = 1
 *   x ~ p_0;  for k = 1 ... K     ln w ← ln w + ln p*_k(x) − ln p*_(k−1)(x)      x ← a step of block Gibbs sampling at beta_k
 *   E[w] = Z/Z_0                  ln Z_0 = m·ln 2 + Σ softplus(b_A)
 * ```
 *
 * p*(x) = e^(−F(x)). So ln Z_0 + ln mean w estimates ln Z, and as E[ln w] ≤ ln E[w] it is more often too low than too high. The same way
 * backwards, from x ~ p to beta = 0, has E[w'] = Z_0/Z, and errs to the other side: where the two meet, both are right. That
 * needs exact samples of p; those of a chain make the upper estimate only as good as the chain has mixed. The weights are summed up
 * in float32, whose rounding is some 1e-3 nats over thousands of steps.
 *
 * Sources: R. Neal, "Annealed importance sampling" (2001); R. Salakhutdinov, I. Murray, "On the quantitative analysis of deep
 * belief networks" (ICML 2008), with b_A of the data's base rates, {@link logOdds}; Y. Burda, R. Grosse, R.
 * Salakhutdinov, "Accurate and conservative estimates of MRF log-likelihood using reverse annealing" (2015).
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
import {
  type Chain,
  chain,
  type ChainEnv,
  type ChainSampler,
  type ChainTransition,
} from "../../../chain/chain.ts";
import { sampleKeys } from "../../../chain/draw.ts";
import { driver, plainly } from "../../../chain/run.ts";
import { softplus } from "../../../noise/schedule/guard.ts";
import { isKey, notFinite, refusal } from "../../../tensor/check/check.ts";
import { decoded, is, needed, type Rules, wholeNumber } from "../../../tensor/check/decode.ts";
import type { Key } from "../../../tensor/key.ts";
import { normal, uniform } from "../../../tensor/random.ts";
import { type Awaitable, scope } from "../../../tensor/scope.ts";
import type { Tensor } from "../../../tensor/tensor.ts";
import { gibbsStep, type LayerDraws, layerDraws, sizesOf } from "../gibbs.ts";
import { checkRbm, checkUnits, drawnVisible, hiddenInputs, type Rbm } from "../rbm.ts";

/**
 * Where annealed chains stand.
 *
 * @category Boltzmann machines
 */
export interface AnnealedState extends Chain {
  /** Visible units, shape [N, n]. */
  readonly x: Tensor;
  /** ln w of each chain so far, in nats, shape [N]. */
  readonly logWeight: Tensor;
}

/**
 * Options of {@link annealedImportance}.
 *
 * @category Boltzmann machines
 */
export interface AnnealedOptions {
  /** The inverse temperatures, from 0 up to 1; or how many steps there are between them, of one size. */
  readonly betas: number | readonly number[];
  /** b_A, biases of the visible units where beta is 0, shape [n]. Default: 0, or of Gaussian units the machine's own. */
  readonly base?: Tensor;
  /** Whether the way leads from the machine to the base. Default: false. */
  readonly backward?: boolean;
}

const isLadder = (betas: readonly number[]): boolean =>
  betas.length >= 2 && betas[0] === 0 && betas.at(-1) === 1 &&
  betas.every((beta, k) => k === 0 || beta > betas[k - 1]!);

const annealedRules: Rules<AnnealedOptions> = {
  betas: needed(is(
    "a whole number of at least 1, or numbers that rise from 0 to 1",
    (betas: number | readonly number[]) =>
      typeof betas === "number" ? Number.isSafeInteger(betas) && betas >= 1 : isLadder(betas),
  )),
  base: true,
  backward: is("a boolean", (value: unknown) => typeof value === "boolean", true),
};

/** The temperatures, from 0 to 1. */
const ladder = (betas: number | readonly number[]): readonly number[] =>
  typeof betas === "number" ? Array.from({ length: betas + 1 }, (_, k) => k / betas) : [...betas];

/**
 * Inverse temperatures that are denser the colder it is, for machines with large weights: a share of 1/29 of the steps up to
 * 0.5, of 8/29 up to 0.9, of 20/29 up to 1, as Salakhutdinov and Murray have 500, 4000 and 10 000.
 *
 * @category Boltzmann machines
 * @param steps Number of steps, at least 29.
 * @returns `steps + 1` numbers from 0 to 1.
 * @throws {RangeError} If `steps` is not a whole number of at least 29.
 *
 * @example
 * ```ts
 * import { coldBetas } from "@tweedie/tweedie/energy";
 * import assert from "node:assert/strict";
 *
 * const betas = coldBetas(29);
 * assert.deepEqual([betas[0], betas[1], betas[9], betas[29]], [0, 0.5, 0.9, 1]);
 * ```
 */
export function coldBetas(steps: number): number[] {
  if (!Number.isSafeInteger(steps) || steps < 29) {
    throw refusal("space temperatures", "steps must be a whole number of at least 29", steps);
  }
  const first = Math.round(steps / 29), second = Math.round((8 * steps) / 29);
  const third = steps - first - second;
  const part = (count: number, from: number, to: number): number[] =>
    Array.from({ length: count }, (_, k) => from + (to - from) * ((k + 1) / count));
  return [0, ...part(first, 0, 0.5), ...part(second, 0.5, 0.9), ...part(third, 0.9, 1)];
}

/** b_A. */
function baseOf(rbm: Rbm, base: Tensor | undefined): Tensor {
  return base ?? (rbm.logVariance ? tf.clone(rbm.visible) : tf.zerosLike(rbm.visible));
}

/** The machine at an inverse temperature. */
function between(rbm: Rbm, base: Tensor, beta: number): Rbm {
  return {
    ...rbm,
    weights: tf.mul(rbm.weights, beta),
    visible: tf.add(tf.mul(base, 1 - beta), tf.mul(rbm.visible, beta)),
    hidden: tf.mul(rbm.hidden, beta),
  };
}

/** ln p*(x) at one inverse temperature less that at another, shape [N]. */
function rise(
  rbm: Rbm,
  x: Tensor,
  { base, from, to }: { readonly base: Tensor; readonly from: number; readonly to: number },
): Tensor {
  return scope(() => {
    const inputs = hiddenInputs(rbm, x);
    const own = tf.sub(tf.softplus(tf.mul(inputs, to)), tf.softplus(tf.mul(inputs, from)));
    return tf.add(tf.sum(own, 1), visibleRise(rbm, x, { base, from, to }));
  });
}

/** What the visible units alone bring to it. */
function visibleRise(
  { visible, logVariance }: Rbm,
  x: Tensor,
  { base, from, to }: { readonly base: Tensor; readonly from: number; readonly to: number },
): Tensor {
  const moved = tf.mul(tf.sub(visible, base), to - from);
  if (logVariance === undefined) return tf.sum(tf.mul(x, moved), 1);
  // (b' − b)·(x − (b' + b)/2)/σ² for the means b and b' of before and after
  const middle = tf.add(base, tf.mul(tf.sub(visible, base), (to + from) / 2));
  const each = tf.mul(tf.mul(tf.sub(x, middle), moved), tf.exp(tf.neg(logVariance)));
  return tf.sum(each, 1);
}

/**
 * The chain of annealed importance sampling, forwards or backwards. The last state's `logWeight` goes to
 * {@link partitionEstimate}.
 *
 * @category Boltzmann machines
 * @param rbm The machine; its tensors must outlive the runs.
 * @param options Temperatures, base, direction.
 * @returns The chain, which starts with {@link annealedStart}, or backwards with samples of the machine and `logWeight` 0.
 * @throws {TypeError} If there is an option that is not known.
 * @throws {RangeError} If one is out of range, or the shapes do not fit.
 *
 * @example The weights of four chains
 * ```ts
 * import { key, last, run } from "@tweedie/tweedie";
 * import { annealedImportance, annealedStart } from "@tweedie/tweedie/energy";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import * as tf from "@tensorflow/tfjs-core";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const rbm = { weights: tf.tensor2d([[2]]), visible: tf.tensor1d([1]), hidden: tf.tensor1d([-1]) };
 * const sampler = annealedImportance(rbm, { betas: 10 }), start = annealedStart(rbm, { count: 4 });
 * const { logWeight, step } = await last(run(start, { key: key(0) })(sampler));
 * assert.deepEqual([logWeight.shape, step], [[4], 10]);
 * ```
 */
export function annealedImportance(
  rbm: Rbm,
  options: AnnealedOptions,
): ChainSampler<AnnealedState, ChainEnv> {
  const action = "anneal a Boltzmann machine", { n } = checkRbm(action, rbm);
  const { betas, base, backward = false } = decoded(action, options, annealedRules);
  if (base !== undefined && !(base.rank === 1 && base.size === n)) {
    throw refusal(action, `base must be of shape [${n}]`, base.shape);
  }
  const up = ladder(betas), steps = up.slice(1).map((to, k) => ({ from: up[k]!, to }));
  const forth = (leg: Leg): ChainTransition<AnnealedState, ChainEnv> => (env) => (state) =>
    scope(() => {
      const at = { base: baseOf(rbm, base), ...leg }, { x, step } = state;
      const logWeight = tf.add(state.logWeight, rise(rbm, x, at));
      const draws = layerDraws(sizesOf(rbm), env, x.shape[0]!, step);
      return { x: moved(rbm, x, { at, draws }), step: step + 1, logWeight };
    });
  const back = (leg: Leg): ChainTransition<AnnealedState, ChainEnv> => (env) => (state) =>
    scope(() => {
      const at = { base: baseOf(rbm, base), ...leg }, { step } = state;
      const draws = layerDraws(sizesOf(rbm), env, state.x.shape[0]!, step);
      const x = moved(rbm, state.x, { at, draws });
      return { x, step: step + 1, logWeight: tf.sub(state.logWeight, rise(rbm, x, at)) };
    });
  return chain<AnnealedState>(function* () {
    if (!backward) { for (const leg of steps) yield forth(leg); }
    else for (const leg of steps.toReversed()) yield back(leg);
  }, { checks: [(_, start) => checkStart(action, start, n)] });
}

/** Refuses chains of another machine, or without a weight each. */
function checkStart(action: string, { x, logWeight }: AnnealedState, n: number): void {
  checkUnits(action, "x", x, n);
  if (logWeight?.rank === 1 && logWeight.size === x.shape[0]) return;
  throw refusal(action, `logWeight must be of shape [${x.shape[0]}]`, logWeight?.shape);
}

/** From one inverse temperature to the next colder one. */
interface Leg {
  readonly from: number;
  readonly to: number;
}

/** A step of block Gibbs sampling at the colder end, forwards and backwards. */
const moved = (
  rbm: Rbm,
  x: Tensor,
  { at, draws }: { readonly at: Leg & { readonly base: Tensor }; readonly draws: LayerDraws },
): Tensor => gibbsStep(between(rbm, at.base, at.to), x, draws).x;

/**
 * The start of the way forwards: chains of the machine without weights.
 *
 * @category Boltzmann machines
 * @param rbm The machine.
 * @param options Number of chains, and the base.
 * @returns A start for a run of {@link annealedImportance}.
 * @throws {RangeError} If `count` is not a whole number of at least 1.
 */
export function annealedStart(
  rbm: Rbm,
  { count, base }: { readonly count: number; readonly base?: Tensor },
): (env: ChainEnv) => Awaitable<AnnealedState> {
  if (!Number.isSafeInteger(count) || count < 1) {
    throw refusal("start annealing", "count must be a whole number of at least 1", count);
  }
  return (env) =>
    scope(() => {
      const law = between(rbm, baseOf(rbm, base), 0), [n, m] = rbm.weights.shape;
      const keys = sampleKeys(env, count, "annealed start", 0);
      const draws = (rbm.logVariance ? normal : uniform)(keys, [n!]);
      const x = drawnVisible(law, tf.zeros([count, m!]), draws);
      return { x, step: 0, logWeight: tf.zeros([count]) };
    });
}

/**
 * ln Z_0 of a machine without weights: m·ln 2 + Σ softplus(b_A), or m·ln 2 + Σ ln(2π·σ²)/2 of Gaussian units.
 *
 * @category Boltzmann machines
 * @param rbm The machine, for its sizes and units.
 * @param base b_A, shape [n]. Default: as {@link annealedImportance}.
 * @returns Nats.
 */
export async function baseLogPartition(rbm: Rbm, base?: Tensor): Promise<number> {
  const { m } = checkRbm("find a partition function", rbm);
  const { logVariance } = rbm;
  const values = await (logVariance ?? base ?? rbm.visible).data();
  const each = logVariance
    ? (log: number) => (Math.log(2 * Math.PI) + log) / 2
    : (b: number) => base ? softplus(b) : Math.LN2;
  return m * Math.LN2 + Array.from(values, each).reduce((sum, value) => sum + value, 0);
}

/**
 * An estimate of ln Z with its error bar.
 *
 * @category Boltzmann machines
 */
export interface PartitionEstimate {
  /** ln Z_0 ± ln mean w, in nats. */
  readonly logZ: number;
  /** Its standard error: that of the mean of w over that mean, as ln's slope has it. Too small where `ess` is of a few chains. */
  readonly error: number;
  /** How many even weights are as good as these: (Σ w)²/Σ w², at most the number of chains. */
  readonly ess: number;
  /** ln Z_0 ± mean ln w, whose expectation is at most ln Z, or backwards from exact samples at least. */
  readonly bound: number;
  /** Its standard error. */
  readonly boundError: number;
}

/**
 * ln Z from the logarithms of weights.
 *
 * @category Boltzmann machines
 * @param logWeights ln w of each chain.
 * @param options ln Z where beta is 0, and whether the way led backwards.
 * @returns The estimate. With one chain its errors are not known: NaN.
 * @throws {RangeError} If there are none, or one is not finite.
 *
 * @example Two chains of weights 1 and 3
 * ```ts
 * import { partitionEstimate } from "@tweedie/tweedie/energy";
 * import assert from "node:assert/strict";
 *
 * const { logZ, error, ess } = partitionEstimate([0, Math.log(3)], { logZ0: 0 });
 * assert.ok(Math.abs(logZ - Math.log(2)) < 1e-12);
 * assert.ok(Math.abs(error - 0.5) < 1e-12 && Math.abs(ess - 1.6) < 1e-12);
 * ```
 */
export function partitionEstimate(
  logWeights: ArrayLike<number>,
  { logZ0, backward = false }: { readonly logZ0: number; readonly backward?: boolean },
): PartitionEstimate {
  const count = logWeights.length, lost = notFinite(logWeights), action = "estimate ln Z";
  if (count === 0) throw refusal(action, "logWeights must be of at least one chain", 0);
  if (lost !== undefined) throw refusal(action, "logWeights must be finite", lost);
  const logs = Float64Array.from(logWeights), most = logs.reduce((a, b) => Math.max(a, b));
  const w = logs.map((log) => Math.exp(log - most));
  const mean = sumOf(w) / count, meanLog = sumOf(logs) / count, sign = backward ? -1 : 1;
  return {
    logZ: logZ0 + sign * (most + Math.log(mean)),
    error: standardError(w) / mean,
    ess: sumOf(w) ** 2 / sumOf(w.map((each) => each * each)),
    bound: logZ0 + sign * meanLog,
    boundError: standardError(logs),
  };
}

const sumOf = (values: Float64Array): number => values.reduce((a, b) => a + b, 0);

/** Of the mean of independent numbers. */
function standardError(values: Float64Array): number {
  const count = values.length, mean = sumOf(values) / count;
  return Math.sqrt(sumOf(values.map((each) => (each - mean) ** 2)) / (count - 1) / count);
}

/**
 * Options of {@link annealedPartition}.
 *
 * @category Boltzmann machines
 */
export interface AnnealedPartitionOptions {
  /** Key of the chains. */
  readonly key: Key;
  /** The inverse temperatures, from 0 up to 1; or how many steps of one size. Default: 1000. */
  readonly betas?: number | readonly number[];
  /** Number of chains, forwards. Default: 100. */
  readonly chains?: number;
  /** b_A, shape [n]; best the data's {@link logOdds}. Default: 0, or of Gaussian units the machine's own. */
  readonly base?: Tensor;
  /** Samples of the machine, shape [N, n]: given, the way leads backwards from them. Default: forwards. */
  readonly samples?: Tensor;
  /** Aborts the run. */
  readonly signal?: AbortSignal;
}

const partitionRules: Rules<AnnealedPartitionOptions> = {
  key: needed(is("a key, as key(0) makes them", isKey, true)),
  betas: true,
  chains: wholeNumber(1),
  base: true,
  samples: true,
  signal: true,
};

/**
 * ln Z by annealed importance sampling, with its error bar.
 *
 * @category Boltzmann machines
 * @param rbm The machine.
 * @param options Key, temperatures, chains, base; samples of the machine to go backwards from.
 * @returns The estimate.
 * @throws {TypeError} If there is an option that is not known, or no key.
 * @throws {RangeError} If one is out of range, the shapes do not fit, or a state is not finite, with its step.
 * @throws The signal's reason, when aborted.
 *
 * @example Without weights every chain's weight is the same
 * ```ts
 * import { key } from "@tweedie/tweedie";
 * import { annealedPartition } from "@tweedie/tweedie/energy";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import * as tf from "@tensorflow/tfjs-core";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const rbm = { weights: tf.zeros([4, 3]), visible: tf.zeros([4]), hidden: tf.zeros([3]) };
 * const { logZ, error } = await annealedPartition(rbm, { key: key(0), betas: 2, chains: 5 });
 * assert.ok(Math.abs(logZ - 7 * Math.LN2) < 1e-6 && error === 0);
 * ```
 */
export async function annealedPartition(
  rbm: Rbm,
  options: AnnealedPartitionOptions,
): Promise<PartitionEstimate> {
  const action = "estimate ln Z";
  const { key, betas = 1000, chains = 100, base, samples, signal } = decoded(
    action,
    options,
    partitionRules,
  );
  if (samples !== undefined && options.chains !== undefined) {
    throw refusal(action, "chains must be absent beside samples", chains);
  }
  const backward = samples !== undefined, from = base ? { base } : {};
  const sampler = annealedImportance(rbm, { betas, backward, ...from });
  const start = samples ? given(samples) : annealedStart(rbm, { count: chains, ...from });
  const runOptions = { key, ...(signal && { signal }) };
  const last = typeof betas === "number" ? betas : betas.length - 1;
  let logWeights: ArrayLike<number> = [];
  for await (const { step, logWeight } of driver(driving)(start, runOptions)(sampler)) {
    if (step === last) logWeights = await logWeight.data();
  }
  return partitionEstimate(logWeights, { logZ0: await baseLogPartition(rbm, base), backward });
}

const driving = plainly<AnnealedState, ChainEnv>();

/** The start of the way backwards. */
const given = (samples: Tensor) => (): AnnealedState =>
  scope(() => ({ x: tf.clone(samples), step: 0, logWeight: tf.zeros([samples.shape[0]!]) }));

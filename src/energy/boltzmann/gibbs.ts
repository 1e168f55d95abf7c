/**
 * Block Gibbs sampling of a restricted Boltzmann machine: all hidden units given the visible, then all visible given the hidden.
 *
 * ```text
 *   h ~ p(h | x)      x' ~ p(x' | h)        T(x → x') = Σ_h p(h | x)·p(x' | h)        p(x)·T(x → x') = p(x')·T(x' → x)
 * ```
 *
 * The chain of x alone is in detailed balance with p(x), as the right side of T is symmetric times 1/p(x).
 *
 * @module
 */

import {
  type Chain,
  chain,
  type ChainEnv,
  type ChainSampler,
  type ChainTransition,
} from "../../chain/chain.ts";
import { sampleKeys } from "../../chain/draw.ts";
import { refusal } from "../../tensor/check/check.ts";
import { above, decoded, is, type Rules, wholeNumber } from "../../tensor/check/decode.ts";
import { normal, uniform } from "../../tensor/random.ts";
import { scope } from "../../tensor/scope.ts";
import type { Tensor } from "../../tensor/tensor.ts";
import {
  bernoulli,
  checkRbm,
  checkUnits,
  drawnVisible,
  heated,
  hiddenMean,
  type Rbm,
} from "./rbm.ts";

/**
 * Where a chain of block Gibbs sampling stands.
 *
 * @category Boltzmann machines
 */
export interface RbmState extends Chain {
  /** Visible units, shape [N, n]: 0 and 1, or numbers of Gaussian units. */
  readonly x: Tensor;
  /** What the last step went through; none at the start. */
  readonly info?: RbmInfo;
}

/**
 * What a step of block Gibbs sampling went through.
 *
 * @category Boltzmann machines
 */
export interface RbmInfo {
  /** The hidden units between x before and x after, shape [N, m]. */
  readonly hidden: Tensor;
}

/**
 * Options of {@link rbmGibbs}.
 *
 * @category Boltzmann machines
 */
export interface RbmGibbsOptions {
  /** Number of steps. Default: for ever. */
  readonly steps?: number;
  /** The inverse temperature: the law is e^(−beta·E)/Z. Default: 1. */
  readonly beta?: number;
}

const gibbsRules: Rules<RbmGibbsOptions> = {
  steps: wholeNumber(0),
  beta: is("above 0", above(0)),
};

/** The random numbers of a step for one layer, from one key a sample. */
export interface LayerDraws {
  /** Uniform on [0, 1), shape [N, m]. */
  readonly hidden: Tensor;
  /** Uniform on [0, 1), or standard normal for Gaussian units; shape [N, n]. */
  readonly visible: Tensor;
}

/**
 * The sizes of a machine's layers and of what kind its visible units are.
 *
 * @param rbm The machine.
 * @returns n, m, and whether the visible units are Gaussian.
 */
export const sizesOf = ({ weights, logVariance }: Rbm): LayerSizes => {
  const [n, m] = weights.shape as [number, number];
  return { n, m, isGaussian: logVariance !== undefined };
};

/** What a machine's random numbers depend on. */
export interface LayerSizes {
  /** Number of visible units. */
  readonly n: number;
  /** Number of hidden units. */
  readonly m: number;
  /** Whether the visible units are Gaussian. */
  readonly isGaussian: boolean;
}

/**
 * The random numbers of a step.
 *
 * @param sizes Of the machine.
 * @param env The environment of the run.
 * @param count Number of samples.
 * @param step The state's step.
 * @returns Both layers' numbers: each sample's depend on the key, its index and the step alone.
 */
export function layerDraws(
  { n, m, isGaussian }: LayerSizes,
  env: ChainEnv,
  count: number,
  step: number,
): LayerDraws {
  const keys = (purpose: string) => sampleKeys(env, count, purpose, step);
  return {
    hidden: uniform(keys("hidden units"), [m]),
    visible: (isGaussian ? normal : uniform)(keys("visible units"), [n]),
  };
}

/** The layers after a step of block Gibbs sampling: hidden units, then visible units. */
export function gibbsStep(
  rbm: Rbm,
  x: Tensor,
  draws: LayerDraws,
): { readonly x: Tensor; readonly hidden: Tensor } {
  return scope(() => {
    const hidden = bernoulli(hiddenMean(rbm, x), draws.hidden);
    return { x: drawnVisible(rbm, hidden, draws.visible), hidden };
  });
}

/**
 * Block Gibbs sampling as a chain.
 *
 * @category Boltzmann machines
 * @param rbm The machine; its tensors must outlive the runs.
 * @param options Number of steps, inverse temperature.
 * @returns The chain, of states whose x has shape [N, n].
 * @throws {TypeError} If there is an option that is not known.
 * @throws {RangeError} If one is out of range, or the parameters do not fit together; before the first step, if x does not fit.
 *
 * @example Ten steps of four chains
 * ```ts
 * import { key, last, run } from "@tweedie/tweedie";
 * import { rbmGibbs, initialRbm } from "@tweedie/tweedie/energy";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import * as tf from "@tensorflow/tfjs-core";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const rbm = initialRbm({ visible: 6, hidden: 3, key: key(0) });
 * const { x } = await last(run({ x: tf.zeros([4, 6]), step: 0 }, { key: key(1) })(rbmGibbs(rbm, { steps: 10 })));
 * assert.ok([...x.dataSync()].every((bit) => bit === 0 || bit === 1));
 * ```
 */
export function rbmGibbs(
  rbm: Rbm,
  options: RbmGibbsOptions = {},
): ChainSampler<RbmState, ChainEnv> {
  const action = "make a chain of a Boltzmann machine";
  const { steps = Infinity, beta = 1 } = decoded(action, options, gibbsRules);
  const { n } = checkRbm(action, rbm);
  const transition: ChainTransition<RbmState, ChainEnv> = (env) => ({ x, step }) =>
    scope(() => {
      const law = beta === 1 ? rbm : heated(rbm, beta);
      const next = gibbsStep(law, x, layerDraws(sizesOf(rbm), env, x.shape[0]!, step));
      return { x: next.x, step: step + 1, info: { hidden: next.hidden } };
    });
  return chain<RbmState>(function* () {
    for (let i = 0; i < steps; i++) yield transition;
  }, { checks: [(_, { x }) => checkStart(x, n, rbm)] });
}

/** Refuses a start that is not of the machine's visible units. */
function checkStart(x: Tensor, n: number, { logVariance }: Rbm): void {
  checkUnits("run a Boltzmann machine", "x", x, n);
  if (x.dtype === "float32" || logVariance === undefined) return;
  throw refusal("run a Boltzmann machine", "x must be of float32 for Gaussian units", x.dtype);
}

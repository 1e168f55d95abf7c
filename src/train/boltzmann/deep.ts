/**
 * Training deep Boltzmann machines: all layers at once, by persistent chains and a mean field.
 *
 * ```text
 *   mu = mean field given x⁺                              chains ← k steps of block Gibbs sampling
 *   ∇W_l = mean(h_(l−1)·h_lᵀ over the chains) − mean(mu_(l−1)·mu_lᵀ over the data)
 * ```
 *
 * The mean field makes the gradient that of a bound of ln p(x⁺). Chains carry the even layers; of the odd ones the means given them
 * are taken. Source: R. Salakhutdinov, G. Hinton, "Deep Boltzmann machines" (AISTATS 2009), section 3.
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
import {
  bipartite,
  type Dbm,
  dbmOf,
  dbmParams,
  dbmStatistics,
  layersOf,
  meanField,
} from "../../energy/boltzmann/dbm.ts";
import { dbmContrasted } from "../../energy/boltzmann/divergence.ts";
import { gibbsStep, type LayerSizes } from "../../energy/boltzmann/gibbs.ts";
import { drawnVisible, hiddenMean } from "../../energy/boltzmann/rbm.ts";
import { checkKey, refusal } from "../../tensor/check/check.ts";
import {
  atLeast,
  decoded,
  is,
  type Rules,
  wholeNumber,
  within,
} from "../../tensor/check/decode.ts";
import type { Tensors } from "../../tensor/engine.ts";
import { fold, type Key, split } from "../../tensor/key.ts";
import { uniform } from "../../tensor/random.ts";
import { scope } from "../../tensor/scope.ts";
import type { Tensor } from "../../tensor/tensor.ts";
import type { Prepared } from "../flat.ts";
import type { StatefulObjective } from "../loop/objective.ts";
import { rowsIn, stepDraws } from "./divergence.ts";
import type { VisibleRows } from "./rows.ts";
import { sloped, slopeLoss } from "./slope.ts";

/**
 * Options of {@link deepDivergence}.
 *
 * @category Training
 */
export interface DeepDivergenceOptions {
  /** Steps of block Gibbs sampling of each update. Default: 5. */
  readonly kSteps?: number;
  /** Number of persistent chains. Default: 100. */
  readonly chains?: number;
  /** How often the mean field is updated. Default: 10. */
  readonly meanFieldSteps?: number;
  /** Share of the batch in the offsets of centring, in [0, 1]. Default: there is no centring. */
  readonly centring?: number;
  /** Decay of the weights: decay·W is added to their gradient. Default: 0. */
  readonly decay?: number;
}

const deepRules: Rules<DeepDivergenceOptions> = {
  kSteps: wholeNumber(1),
  chains: wholeNumber(1),
  meanFieldSteps: wholeNumber(0),
  centring: is("in [0, 1]", within(0, 1)),
  decay: is("at least 0", atLeast(0)),
};

const action = "train a deep Boltzmann machine";

/** Sizes of the even layers end to end, and of the odd ones. */
const foldedSizes = ({ biases }: Dbm): LayerSizes => {
  const sum = (parity: number): number =>
    biases.reduce((total, { size }, l) => total + (l % 2 === parity ? size : 0), 0);
  return { n: sum(0), m: sum(1), isGaussian: false };
};

/**
 * Persistent contrastive divergence of a deep machine, with a mean field over the data, as an objective. Its weights are those of
 * {@link dbmParams}. The loss that a state tells is the mean energy under the data less that of the chains: no likelihood.
 *
 * @category Training
 * @param dbm The machine, for its sizes.
 * @param options Steps, chains, updates of the mean field, centring, decay.
 * @returns The objective. The run starts with what {@link deepStart} makes as `carried`.
 * @throws {TypeError} If an option is not known.
 * @throws {RangeError} If one is out of range; when evaluated, if a batch is not of rows of n numbers.
 *
 * @example
 * ```ts
 * import { key, newTraining, train } from "@tweedie/tweedie";
 * import { byMomentum, deepDivergence, deepStart, pretrainedDbm } from "@tweedie/tweedie/train";
 * import { dbmParams } from "@tweedie/tweedie/energy";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const rows = [1, 1, 0, 0, 0, 0, 1, 1], optimizer = byMomentum({ rate: 0.05 });
 * const dbm = await pretrainedDbm(rows, { sizes: [4, 3, 2], key: key(0), epochs: 5, size: 2 });
 * const carried = deepStart(dbm, { key: key(1), chains: 10 });
 * const start = newTraining(dbmParams(dbm), { optimizer, carried });
 * const loss = deepDivergence(dbm, { chains: 10 });
 * let steps = 0;
 * for await (const { loss: value } of train(start, { loss, optimizer, key: key(2) })(Array(5).fill(rows))) {
 *   if (Number.isFinite(value)) steps++;
 * }
 * assert.equal(steps, 5);
 * ```
 */
export function deepDivergence(
  dbm: Dbm,
  options: DeepDivergenceOptions = {},
): StatefulObjective<VisibleRows> {
  const { kSteps = 5, chains = 100, meanFieldSteps: steps = 10, centring, decay = 0 } = decoded(
    action,
    options,
    deepRules,
  );
  const n = dbm.biases[0]!.size, sizes = foldedSizes(dbm);
  return {
    inputs: (batch, key) => {
      checkKey(action, key);
      const count = rowsIn(action, batch, n);
      const x = tf.tensor2d(Float32Array.from(batch), [count, n]);
      return { x, ...stepDraws(sizes, { key, count: chains, steps: kSteps }) };
    },
    prepare: (params, inputs, carried) =>
      scope((): Prepared => {
        const machine = dbmOf(params), law = bipartite(machine), x = inputs["x"]!;
        let at = carriedIn(carried, "chains");
        for (let k = 0; k < kSteps; k++) {
          const draws = { hidden: inputs[`hidden.${k}`]!, visible: inputs[`visible.${k}`]! };
          at = gibbsStep(law, at, draws).x;
        }
        const positive = dbmStatistics([x, ...meanField(machine, x, { steps })]);
        const negative = dbmStatistics(layersOf(machine, at, hiddenMean(law, at)));
        const offsets = centring === undefined ? undefined : moved(carried, positive, centring);
        const contrast = { positive, negative, decay, ...(offsets && { offsets }) };
        const gradient = dbmParams(dbmContrasted(machine, contrast));
        return {
          inputs: sloped(params, gradient, risen(machine, { positive, negative })),
          carried: { chains: at, ...named(offsets ?? []) },
        };
      }),
    loss: slopeLoss,
  };
}

function carriedIn(carried: Tensors, name: string): Tensor {
  if (carried[name] !== undefined) return carried[name];
  const wanted = `start.carried must have ${name}, as deepStart() makes it`;
  throw refusal(action, wanted, Object.keys(carried));
}

/** The offsets of this step. */
const moved = (carried: Tensors, { biases }: Dbm, rate: number): Tensor[] =>
  biases.map((mean, l) =>
    tf.add(tf.mul(carriedIn(carried, `offset.${l}`), 1 - rate), tf.mul(mean, rate))
  );

const named = (offsets: readonly Tensor[]): Record<string, Tensor> =>
  Object.fromEntries(offsets.map((each, l) => [`offset.${l}`, each]));

/** The mean energy under the data less that under the chains: as E is linear in θ, the product of θ and the plain gradient. */
function risen(dbm: Dbm, means: { readonly positive: Dbm; readonly negative: Dbm }): Tensor {
  const params = dbmParams(dbm), plain = dbmParams(dbmContrasted(dbm, means));
  return tf.addN(Object.keys(plain).map((name) => tf.sum(tf.mul(plain[name]!, params[name]!))));
}

/**
 * What {@link deepDivergence} carries from step to step, at the start: chains of the even layers, drawn from the biases alone, and the
 * offsets of centring.
 *
 * @category Training
 * @param dbm The machine.
 * @param options The objective's options, and the key of the chains.
 * @returns `chains`, and `offset.0`, ... with centring. The caller disposes of them.
 * @throws {TypeError} If an option is not known, or there is no key.
 * @throws {RangeError} If one is out of range.
 */
export function deepStart(
  dbm: Dbm,
  { key, ...options }: DeepDivergenceOptions & { readonly key: Key },
): Record<string, Tensor> {
  checkKey(action, key);
  const { chains = 100, centring } = decoded(action, options, deepRules);
  return scope((): Record<string, Tensor> => {
    const { n, m } = foldedSizes(dbm), keys = split(fold(key, "chains"), chains);
    const at = drawnVisible(bipartite(dbm), tf.zeros([chains, m]), uniform(keys, [n]));
    const offsets = centring === undefined ? [] : dbm.biases.map((b) => tf.sigmoid(b));
    return { chains: at, ...named(offsets) };
  });
}

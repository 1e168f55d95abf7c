/**
 * Deep Boltzmann machines: layers of binary units, with weights between neighbouring layers alone.
 *
 * ```text
 *   E(h_0, ..., h_L) = −Σ_l h_(l−1)ᵀ·W_l·h_l − Σ_l b_lᵀ·h_l              h_0 = v is seen
 *   p(h_l = 1 | h_(l−1), h_(l+1)) = σ(b_l + W_lᵀ·h_(l−1) + W_(l+1)·h_(l+1))
 *   ln p*(v) = ln Σ_h e^(−E) ≥ −E(v, mu_1, ..., mu_L) + Σ H(mu)             H(p) = −p·ln p − (1 − p)·ln(1 − p)
 * ```
 *
 * Layers of even number are independent given those of odd number, and the other way round: so the machine is a restricted one
 * whose visible layer is h_0, h_2, ... end to end and whose hidden layer is h_1, h_3, ..., with blocks of zeros in its weights.
 * {@link bipartite} makes it; block Gibbs sampling of alternating layers, ln Z by summing and by annealing are its.
 *
 * Source: R. Salakhutdinov, G. Hinton, "Deep Boltzmann machines" (AISTATS 2009), sections 2 and 3.
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
import { refusal, shown } from "../../tensor/check/check.ts";
import { decoded, type Rules, wholeNumber } from "../../tensor/check/decode.ts";
import { scope } from "../../tensor/scope.ts";
import type { Tensor } from "../../tensor/tensor.ts";
import { checkUnits, type Rbm } from "./rbm.ts";

/**
 * The parameters of a deep Boltzmann machine of L hidden layers.
 *
 * @category Boltzmann machines
 */
export interface Dbm {
  /** W_1 to W_L: the l-th of shape [size of layer l − 1, size of layer l]. */
  readonly weights: readonly Tensor[];
  /** b_0 to b_L, each of its layer's size. */
  readonly biases: readonly Tensor[];
}

/** Refuses parameters that do not fit together; gives the sizes of the layers. */
function layerSizes(action: string, { weights, biases }: Dbm): number[] {
  if (weights.length < 1 || biases.length !== weights.length + 1) {
    const wanted = `biases must be one more than ${weights.length} weights, which must be some`;
    throw refusal(action, wanted, biases.length);
  }
  const sizes = biases.map(({ size }) => size);
  weights.forEach(({ shape }, l) => {
    if (shape.length === 2 && shape[0] === sizes[l] && shape[1] === sizes[l + 1]) return;
    throw refusal(action, `weights[${l}] must be of shape [${sizes[l]},${sizes[l + 1]}]`, shape);
  });
  return sizes;
}

function checkLayers(action: string, dbm: Dbm, layers: readonly Tensor[]): void {
  const sizes = layerSizes(action, dbm);
  if (layers.length !== sizes.length) {
    throw refusal(action, `layers must be ${sizes.length}`, layers.length);
  }
  layers.forEach((layer, l) => checkUnits(action, `layers[${l}]`, layer, sizes[l]!));
}

/**
 * The parameters as one record of tensors, as training and files have them: `weights.1`, ..., `biases.0`, ....
 *
 * @category Boltzmann machines
 * @param dbm The machine.
 * @returns The same tensors by name.
 */
export const dbmParams = ({ weights, biases }: Dbm): Record<string, Tensor> =>
  Object.fromEntries([
    ...weights.map((each, l) => [`weights.${l + 1}`, each] as const),
    ...biases.map((each, l) => [`biases.${l}`, each] as const),
  ]);

/**
 * The machine of such a record.
 *
 * @category Boltzmann machines
 * @param params Tensors by the names of {@link dbmParams}.
 * @returns The same tensors as a machine.
 * @throws {RangeError} If one is missing, or the shapes do not fit.
 */
export function dbmOf(params: Readonly<Record<string, Tensor>>): Dbm {
  const depth = Object.keys(params).filter((name) => name.startsWith("weights.")).length;
  const named = (name: string): Tensor => {
    if (params[name] !== undefined) return params[name];
    throw refusal(
      "read a deep Boltzmann machine",
      `params must have ${name}`,
      shown(Object.keys(params)),
    );
  };
  const dbm = {
    weights: Array.from({ length: depth }, (_, l) => named(`weights.${l + 1}`)),
    biases: Array.from({ length: depth + 1 }, (_, l) => named(`biases.${l}`)),
  };
  layerSizes("read a deep Boltzmann machine", dbm);
  return dbm;
}

/**
 * E(h_0, ..., h_L), as at the head of this file.
 *
 * @category Boltzmann machines
 * @param dbm The parameters.
 * @param layers h_0 = v to h_L, each of shape [N, its size].
 * @returns Nats, shape [N]. It is the scope's, or the caller's where there is none.
 * @throws {RangeError} If the shapes do not fit.
 *
 * @example Two hidden layers of one unit each
 * ```ts
 * import { dbmEnergy } from "@tweedie/tweedie/energy";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import * as tf from "@tensorflow/tfjs-core";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const one = (value: number) => tf.tensor2d([[value]]), zero = tf.zeros([1]);
 * const dbm = { weights: [one(2), one(3)], biases: [zero, zero, tf.tensor1d([1])] };
 * assert.equal(dbmEnergy(dbm, [one(1), one(1), one(1)]).dataSync()[0], -6);
 * ```
 */
export function dbmEnergy(dbm: Dbm, layers: readonly Tensor[]): Tensor {
  checkLayers("find an energy", dbm, layers);
  return scope(() => {
    const pairs = dbm.weights.map((w, l) => tf.mul(tf.matMul(layers[l]!, w), layers[l + 1]!));
    const alone = dbm.biases.map((b, l) => tf.mul(layers[l]!, b));
    return tf.neg(tf.addN([...pairs, ...alone].map((each) => tf.sum(each, 1))));
  });
}

/**
 * p(h_l = 1) given the layers beside it.
 *
 * @category Boltzmann machines
 * @param dbm The parameters.
 * @param layers All layers, of which the neighbours of l are looked at: units, or means.
 * @param l Which layer, from 0, the visible one, to L.
 * @returns Shape [N, size of layer l]. It is the scope's, or the caller's where there is none.
 * @throws {RangeError} If there is no such layer.
 *
 * @example
 * ```ts
 * import { layerMean } from "@tweedie/tweedie/energy";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import * as tf from "@tensorflow/tfjs-core";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const dbm = { weights: [tf.ones([2, 1]), tf.zeros([1, 1])], biases: [tf.zeros([2]), tf.zeros([1]), tf.zeros([1])] };
 * const layers = [[[1, 1]], [[0]], [[0]]].map((units) => tf.tensor2d(units));
 * const [p] = layerMean(dbm, layers, 1).dataSync();
 * assert.ok(Math.abs(p! - 1 / (1 + Math.exp(-2))) < 1e-6);
 * ```
 */
export function layerMean({ weights, biases }: Dbm, layers: readonly Tensor[], l: number): Tensor {
  if (biases[l] === undefined) {
    throw refusal("find a layer", `l must be in 0 to ${biases.length - 1}`, l);
  }
  return scope(() => {
    const below = weights[l - 1], above = weights[l];
    const told = [
      ...(below ? [tf.matMul(layers[l - 1]!, below)] : []),
      ...(above ? [tf.matMul(layers[l + 1]!, above, false, true)] : []),
    ];
    return tf.sigmoid(told.reduce((sum, each) => tf.add(sum, each), biases[l]!));
  });
}

/**
 * The restricted machine that a deep one is: even layers end to end as its visible units, odd layers as its hidden ones. Its block
 * Gibbs sampling is that of alternating layers, its Z is the deep machine's.
 *
 * @category Boltzmann machines
 * @param dbm The parameters. Not disposed of.
 * @returns New tensors: weights [even, odd], whose blocks between layers that are no neighbours are 0. They are the scope's, or the
 *   caller's where there is none.
 * @throws {RangeError} If the shapes do not fit.
 *
 * @example ln Z of a deep machine whose top layer has no weights
 * ```ts
 * import { bipartite, logPartition, rbmValues } from "@tweedie/tweedie/energy";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import * as tf from "@tensorflow/tfjs-core";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const dbm = { weights: [tf.zeros([3, 2]), tf.zeros([2, 4])], biases: [tf.zeros([3]), tf.zeros([2]), tf.zeros([4])] };
 * const logZ = logPartition(await rbmValues(bipartite(dbm)));
 * assert.ok(Math.abs(logZ - 9 * Math.LN2) < 1e-12);
 * ```
 */
export function bipartite(dbm: Dbm): Rbm {
  const sizes = layerSizes("fold a deep Boltzmann machine", dbm), all = sizes.map((_, l) => l);
  const even = all.filter((l) => l % 2 === 0), odd = all.filter((l) => l % 2 === 1);
  return scope((): Rbm => {
    const block = (e: number, o: number): Tensor => {
      if (o === e + 1) return dbm.weights[e]!;
      if (o === e - 1) return tf.transpose(dbm.weights[o]!);
      return tf.zeros([sizes[e]!, sizes[o]!]);
    };
    return {
      weights: tf.concat(even.map((e) => tf.concat(odd.map((o) => block(e, o)), 1)), 0),
      visible: tf.concat(even.map((l) => dbm.biases[l]!)),
      hidden: tf.concat(odd.map((l) => dbm.biases[l]!)),
    };
  });
}

/**
 * The layers that lie end to end in the units of {@link bipartite}'s machine; the first of them are the visible units.
 *
 * @category Boltzmann machines
 * @param dbm The deep machine, for its sizes.
 * @param x The even layers end to end, shape [N, ...].
 * @param hidden The odd layers end to end.
 * @returns h_0 to h_L. They are the scope's, or the caller's where there is none.
 */
export function layersOf(dbm: Dbm, x: Tensor, hidden: Tensor): Tensor[] {
  const sizes = layerSizes("take layers apart", dbm);
  return scope(() => {
    const part = (units: Tensor, parity: number): Tensor[] =>
      tf.split(units, sizes.filter((_, l) => l % 2 === parity), 1);
    const even = part(x, 0), odd = part(hidden, 1);
    return sizes.map((_, l) => (l % 2 === 0 ? even : odd)[Math.floor(l / 2)]!);
  });
}

/**
 * Options of {@link meanField}.
 *
 * @category Boltzmann machines
 */
export interface MeanFieldOptions {
  /** How often all layers are updated, odd ones first. Default: 10. */
  readonly steps?: number;
}

const meanFieldRules: Rules<MeanFieldOptions> = { steps: wholeNumber(0) };

/**
 * The mean field of the hidden layers given the visible one: fixed points of mu_l = σ(b_l + W_lᵀ·mu_(l−1) + W_(l+1)·mu_(l+1)). It begins
 * with one way up in which what comes from above is taken to be what comes from below, by doubled weights; then odd and
 * even layers are updated in turn, each of which lets {@link variationalBound} rise or stay.
 *
 * @category Boltzmann machines
 * @param dbm The parameters.
 * @param v Visible units, shape [N, n].
 * @param options Number of updates.
 * @returns mu_1 to mu_L. They are the scope's, or the caller's where there is none.
 * @throws {TypeError} If there is an option that is not known.
 * @throws {RangeError} If one is out of range, or the shapes do not fit.
 *
 * @example
 * ```ts
 * import { meanField } from "@tweedie/tweedie/energy";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import * as tf from "@tensorflow/tfjs-core";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const dbm = { weights: [tf.ones([2, 1]), tf.zeros([1, 1])], biases: [tf.zeros([2]), tf.zeros([1]), tf.zeros([1])] };
 * const [mu1, mu2] = meanField(dbm, tf.tensor2d([[1, 1]])).map((each) => each.dataSync()[0]!);
 * assert.ok(Math.abs(mu1! - 1 / (1 + Math.exp(-2))) < 1e-6 && mu2 === 0.5);
 * ```
 */
export function meanField(dbm: Dbm, v: Tensor, options: MeanFieldOptions = {}): Tensor[] {
  const action = "find a mean field", [n, ...rest] = layerSizes(action, dbm);
  const { steps = 10 } = decoded(action, options, meanFieldRules);
  checkUnits(action, "v", v, n!);
  return scope(() => {
    let layers: Tensor[] = [v];
    rest.forEach((_, l) => {
      const told = tf.matMul(layers[l]!, dbm.weights[l]!), twice = l + 1 < rest.length ? 2 : 1;
      layers.push(tf.sigmoid(tf.add(tf.mul(told, twice), dbm.biases[l + 1]!)));
    });
    for (let step = 0; step < steps; step++) {
      for (const parity of [1, 0]) {
        layers = layers.map((layer, l) =>
          l === 0 || l % 2 !== parity ? layer : layerMean(dbm, layers, l)
        );
      }
    }
    return layers.slice(1);
  });
}

/**
 * The bound −E(v, mu) + Σ H(mu) ≤ ln Σ_h e^(−E(v, h)); less ln Z it is at most ln p(v).
 *
 * @category Boltzmann machines
 * @param dbm The parameters.
 * @param v Visible units, shape [N, n].
 * @param means mu_1 to mu_L, in [0, 1]: any at all, best {@link meanField}'s.
 * @returns Nats, shape [N]. It is the scope's, or the caller's where there is none.
 * @throws {RangeError} If the shapes do not fit.
 *
 * @example Without weights above the first hidden layer it is exact
 * ```ts
 * import { meanField, variationalBound } from "@tweedie/tweedie/energy";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import * as tf from "@tensorflow/tfjs-core";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const dbm = { weights: [tf.ones([2, 1]), tf.zeros([1, 1])], biases: [tf.zeros([2]), tf.zeros([1]), tf.zeros([1])] };
 * const v = tf.tensor2d([[1, 1]]), [bound] = variationalBound(dbm, v, meanField(dbm, v)).dataSync();
 * assert.ok(Math.abs(bound! - Math.log(1 + Math.exp(2)) - Math.LN2) < 1e-5);
 * ```
 */
export function variationalBound(dbm: Dbm, v: Tensor, means: readonly Tensor[]): Tensor {
  return scope(() => {
    const entropies = means.map((mean) =>
      tf.sum(tf.add(surprise(mean), surprise(tf.sub(1, mean))), 1)
    );
    return tf.sub(tf.addN(entropies), dbmEnergy(dbm, [v, ...means]));
  });
}

/** −p·ln p, and 0 at 0. */
const surprise = (p: Tensor): Tensor => tf.neg(tf.mul(p, tf.log(tf.maximum(p, 1e-30))));

/**
 * Means of −∂E/∂θ over layers of units or means: of W_l that of h_(l−1)·h_lᵀ, of b_l that of h_l.
 *
 * @category Boltzmann machines
 * @param layers h_0 to h_L, each of shape [N, its size].
 * @returns New tensors, laid out as the parameters. They are the scope's, or the caller's where there is none.
 */
export function dbmStatistics(layers: readonly Tensor[]): Dbm {
  const count = layers[0]!.shape[0]!;
  return scope((): Dbm => ({
    weights: layers.slice(1).map((above, l) => tf.div(tf.matMul(layers[l]!, above, true), count)),
    biases: layers.map((layer) => tf.mean(layer, 0)),
  }));
}

/**
 * A deep machine put together from restricted ones that were trained greedily, each on what the one below makes of the data.
 *
 * A layer between two others hears both: so the first machine is trained with its visible layer doubled, the last with its hidden layer
 * doubled, those between as they are and then halved. The biases of a layer between are the mean of its two machines', as
 * its law is their geometric mean.
 *
 * @category Boltzmann machines
 * @param rbms From the bottom up, at least two: the hidden layer of each is as large as the visible one of the next.
 * @returns New tensors. The caller disposes of them.
 * @throws {RangeError} If there are less than two, or they do not fit on each other.
 *
 * @example
 * ```ts
 * import { stacked } from "@tweedie/tweedie/energy";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import * as tf from "@tensorflow/tfjs-core";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const part = (n: number, m: number) => ({ weights: tf.ones([n, m]), visible: tf.zeros([n]), hidden: tf.ones([m]) });
 * const { weights, biases } = stacked([part(4, 3), part(3, 2)]);
 * assert.deepEqual([weights.length, biases[1]!.dataSync()[0]], [2, 0.5]);
 * ```
 */
export function stacked(rbms: readonly Rbm[]): Dbm {
  const action = "stack Boltzmann machines", top = rbms.length - 1;
  if (top < 1) throw refusal(action, "rbms must be at least two", rbms.length);
  return scope(() => {
    const dbm: Dbm = {
      weights: rbms.map(({ weights }, l) => tf.mul(weights, l === 0 || l === top ? 1 : 0.5)),
      biases: [
        tf.clone(rbms[0]!.visible),
        ...rbms.slice(1).map(({ visible }, l) => {
          if (visible.size === rbms[l]!.hidden.size) {
            return tf.mul(tf.add(rbms[l]!.hidden, visible), 0.5);
          }
          throw refusal(
            action,
            `rbms[${l + 1}] must have ${rbms[l]!.hidden.size} visible units`,
            visible.size,
          );
        }),
        tf.clone(rbms[top]!.hidden),
      ],
    };
    layerSizes(action, dbm);
    return dbm;
  });
}

/**
 * A machine with a layer doubled, of the same weights and biases: as the first and the last of {@link stacked}'s are trained.
 *
 * @category Boltzmann machines
 * @param rbm The parameters, of binary units. Not disposed of.
 * @param layer Which layer is there twice.
 * @returns New tensors: weights [2n, m] or [n, 2m]. They are the scope's, or the caller's where there is none.
 */
export function doubled({ weights, visible, hidden }: Rbm, layer: "visible" | "hidden"): Rbm {
  return scope((): Rbm => ({
    weights: tf.concat([weights, weights], layer === "visible" ? 0 : 1),
    visible: layer === "visible" ? tf.concat([visible, visible]) : tf.clone(visible),
    hidden: layer === "hidden" ? tf.concat([hidden, hidden]) : tf.clone(hidden),
  }));
}

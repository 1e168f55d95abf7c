/**
 * Contrastive divergence of a network energy: the energy of data is lowered, that of samples of the model raised.
 *
 * ```text
 *   −∇ ln p(x+) = ∇E(x+) − E_{x− ~ p} [∇E(x−)]      p ∝ e^(−E)
 *   loss = mean E(x+) − mean E(x−) + a·mean(E(x+)² + E(x−)²)
 * ```
 *
 * The samples x− are ends of short Langevin chains under the weights of the step. They begin where a buffer of chains left off,
 * but for a share that begins afresh: with all of them fresh it is short-run, with none persistent contrastive divergence. The
 * buffer is a part of the training state, so a run that is resumed goes on with its chains. No gradient goes through the chains.
 *
 * The steps have three stabilisers, each with a cost that is its own: a temperature of the noise below 1 (chains seek modes, and
 * the differences of the energy are no more those of ln p in nats), a bound on each number of the score (moves are no longer
 * Langevin's where it acts), and the squares of the energies, which keep an otherwise free constant, and the scale, near 0.
 *
 * Sources: G. Hinton, "Training products of experts by minimizing contrastive divergence" (2002), section 2; T. Tieleman,
 * "Training restricted Boltzmann machines using approximations to the likelihood gradient" (ICML 2008); Y. Du, I. Mordatch,
 * "Implicit generation and modeling with energy-based models" (NeurIPS 2019), algorithm 1 (the buffer, the squares); E. Nijkamp
 * et al., "Learning non-convergent non-persistent short-run MCMC toward energy-based model" (NeurIPS 2019), algorithm 1.
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
import { langevinChain, type Place } from "../chain/langevin.ts";
import type { ImageBatch } from "../data/batches.ts";
import type { EnergyNetwork } from "../network/energy.ts";
import { oneHot } from "../network/layer/embedding.ts";
import type { Params } from "../network/layer/parameter.ts";
import { checkKey, notFinite, refusal } from "../tensor/check/check.ts";
import { decoded, is, type Rules, wholeNumber } from "../tensor/check/decode.ts";
import type { Tensors } from "../tensor/engine.ts";
import { fold, type Key, split } from "../tensor/key.ts";
import { type Keys, normal, uniform, uniforms } from "../tensor/random.ts";
import { awaited, scope } from "../tensor/scope.ts";
import type { Scalar, Tensor } from "../tensor/tensor.ts";
import type { StatefulObjective } from "./loop/objective.ts";

/**
 * Samples on the host, of any shape.
 *
 * @category Training
 */
export type SampleBatch = Pick<ImageBatch, "images" | "labels"> & {
  /** [N, ...sample]. */
  readonly shape: readonly number[];
};

/**
 * Options of {@link contrastiveLoss}.
 *
 * @category Training
 */
export interface ContrastiveOptions {
  /** Langevin moves before each step of training, the k of CD-k. Default: 20. */
  readonly kSteps?: number;
  /** eps of a move, x − eps·∇E + √(2·eps·temperature)·z, in the square of x's unit. Default: 0.01. */
  readonly stepSize?: number;
  /** Temperature of the noise of the moves; 1 samples from e^(−E)/Z. Default: 1. */
  readonly temperature?: number;
  /** The most that a number of the score may be, in the inverse of x's unit. Default: no bound. */
  readonly scoreBound?: number;
  /** Number of chains that are kept; 0 begins all of them afresh at each step. Default: 0. */
  readonly chains?: number;
  /** Share of the kept chains that begin afresh when they are taken, in [0, 1). Only with `chains`. Default: 0.05. */
  readonly fresh?: number;
  /** Weight a of the squares of the energies. Default: 0. */
  readonly squares?: number;
  /** Standard deviation of noise on the data, in x's unit. Default: 0. */
  readonly smoothing?: number;
}

const positive = is("positive and finite", (x) => Number.isFinite(x) && x > 0);
const notNegative = is("at least 0 and finite", (x) => Number.isFinite(x) && x >= 0);

const contrastiveRules: Rules<ContrastiveOptions> = {
  kSteps: wholeNumber(1),
  stepSize: positive,
  temperature: notNegative,
  scoreBound: positive,
  chains: wholeNumber(0),
  fresh: is("in [0, 1)", (share) => share >= 0 && share < 1),
  squares: notNegative,
  smoothing: notNegative,
};

/** What a step's memory holds of the one before. */
export interface ContrastiveMemory {
  /** Mean energy of the data of the last step, in nats. */
  readonly data: number;
  /** Mean energy of the ends of its chains. With that of the data it says whether the two are told apart. */
  readonly model: number;
}

/**
 * The loss of contrastive divergence of a network energy: short-run with `chains` 0, persistent otherwise.
 *
 * @category Training
 * @param network The network.
 * @param options The chains, the stabilisers.
 * @returns The objective. Its state carries `chains`, which {@link freshChains} begins, where they are kept; it remembers the mean
 *   energies of the last step. In a network with classes each chain has one, and those of a batch have the classes of its data.
 *   Each draw has a key of its own under the step's.
 * @throws {TypeError} If there is an option that is not known; when evaluated, if there is no key, or no labels for a network with
 *   classes.
 * @throws {RangeError} If an option is out of range; when evaluated, if the batch is not finite or not of the network's samples, if
 *   there are fewer chains than samples, or the state carries other chains than the options say.
 *
 * @example An energy of two numbers learns where its data are
 * ```ts
 * import { fold, initialize, key, newTraining, train } from "@tweedie/tweedie";
 * import { contrastiveLoss, freshChains } from "@tweedie/tweedie/train";
 * import { energyMlp } from "@tweedie/tweedie/network";
 * import { normals } from "@tweedie/tweedie/tensor";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import * as tf from "@tensorflow/tfjs-core";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const network = energyMlp({ dimension: 2, width: 16, layers: 2 }), params = initialize(network.parameters, key(0));
 * const loss = contrastiveLoss(network, { kSteps: 5, stepSize: 0.1, chains: 64 });
 * const start = newTraining(params, { carried: freshChains(network, 64, key(1)) });
 * const data = Array.from({ length: 60 }, (_, i) => ({
 *   images: normals(fold(key(2), i), 64).map((z) => 1 + 0.3 * z), // N(1, 0.3²) in both numbers
 *   shape: [32, 2],
 * }));
 * for await (const { params } of train(start, { loss, key: key(3), adam: { rate: 0.02 }, every: 60 })(data)) {
 *   const [near, far] = network.apply(params, tf.tensor([[1, 1], [-1, -1]])).dataSync();
 *   assert.ok(near! < far!);
 * }
 * ```
 */
export function contrastiveLoss(
  network: EnergyNetwork,
  options: ContrastiveOptions = {},
): StatefulObjective<SampleBatch, ContrastiveMemory | undefined> {
  const settings = decoded("make a loss", options, contrastiveRules);
  const { kSteps = 20, chains = 0, fresh = 0.05, squares = 0, smoothing = 0 } = settings;
  if (chains === 0 && settings.fresh !== undefined) {
    throw refusal("make a loss", "fresh must be absent without chains", settings.fresh);
  }
  return {
    inputs: (batch, key) => {
      checkBatch(batch, key, network);
      const { images, labels, shape: [n = 0] } = batch, { sample, classes } = network;
      const keys = (use: string): Key[] => split(fold(key, use), n);
      return scope(() => {
        const data = tf.tensor(images, [n, ...sample], "float32");
        const kept = chains > 0 &&
          keptChains(key, { chains, fresh, n, classes, ...(labels && { labels }) });
        return {
          data: smoothing > 0
            ? tf.add(data, tf.mul(normal(keys("smoothing"), sample), smoothing))
            : data,
          begin: begun(keys("begin"), sample),
          z: normal(keys("langevin"), [kSteps, ...sample]),
          ...(classes > 0 && { label: oneHot(labels!, classes) }),
          ...kept,
        };
      });
    },
    prepare: (params, inputs, { chains: before }) =>
      scope(() => {
        checkCarried(before, [chains, ...network.sample]);
        const { begin, index, isFresh } = inputs;
        const start = before === undefined
          ? begin!
          : tf.where(alike(isFresh!, begin!), begin!, tf.gather(before, index!));
        const ends = moved(network, params, { ...inputs, start }, settings);
        if (before === undefined) return { inputs: { ends } };
        return { inputs: { ends }, carried: { chains: replaced(before, index!, ends) } };
      }),
    loss: (params, { data, ends, label }) =>
      scope(() => {
        const below = network.apply(params, data!, label),
          above = network.apply(params, ends!, label);
        const low = tf.mean(below), high = tf.mean(above);
        const size = tf.add(tf.mean(tf.square(below)), tf.mean(tf.square(above)));
        const value = tf.add(tf.sub(low, high), tf.mul(size, squares)) as Scalar;
        return { value, told: { data: low, model: high } };
      }),
    remember: (_, { data, model }) => ({ data: data![0]!, model: model![0]! }),
  };
}

/** Where chains begin: uniform in [−1, 1], the range of pixels. */
const begun = (keys: Keys, sample: readonly number[]): Tensor =>
  uniform(keys, sample, { low: -1, high: 1 });

/**
 * Chains that have made no move, for the state before the first step of {@link contrastiveLoss}.
 *
 * @category Training
 * @param network The network.
 * @param count Their number, at least that of a batch; in a network with classes, chain i is of class i mod classes.
 * @param key Under which they are drawn, uniform in [−1, 1].
 * @returns What the state carries. The caller disposes of it.
 * @throws {RangeError} If the count is not a whole number of at least 1.
 */
export function freshChains(
  { sample }: EnergyNetwork,
  count: number,
  key: Key,
): { readonly chains: Tensor } {
  if (!Number.isSafeInteger(count) || count < 1) {
    throw refusal("begin chains", "count must be a whole number of at least 1", count);
  }
  return { chains: begun(split(key, count), sample) };
}

/** The ends of chains under the weights of the step. */
function moved(
  network: EnergyNetwork,
  params: Params,
  { start, z, label }: Tensors,
  { kSteps = 20, stepSize = 0.01, temperature = 1, scoreBound }: ContrastiveOptions,
): Tensor {
  const score = (x: Tensor): Tensor => {
    const s = tf.grad((x: Tensor) => tf.neg(tf.sum(network.apply(params, x, label))))(x);
    return scoreBound === undefined ? s : tf.clipByValue(s, -scoreBound, scoreBound);
  };
  const noise = tf.unstack(z!, 1);
  const { x } = scope(() =>
    langevinChain({ x: start! }, {
      steps: kSteps,
      at: (x) => awaited({ x, score: score(x) }),
      eps: () => stepSize,
      z: (i) => tf.mul(noise[i]!, Math.sqrt(temperature)),
    })
  ) as Place;
  return x;
}

/** Which chains a batch goes on with, each once, and which of them begin afresh. */
function keptChains(
  key: Key,
  { chains, fresh, n, labels, classes }: {
    readonly chains: number;
    readonly fresh: number;
    readonly n: number;
    readonly labels?: Int32Array;
    readonly classes: number;
  },
): Record<string, Tensor> {
  const order = uniforms(fold(key, "chains"), chains), kinds = Math.max(1, classes);
  const queues = Array.from(
    { length: kinds },
    (_, kind) =>
      Array.from({ length: chains }, (_, i) => i).filter((i) => i % kinds === kind)
        .sort((a, b) => order[a]! - order[b]! || a - b),
  );
  const index = Array.from({ length: n }, (_, i) => {
    const found = queues[classes > 0 ? labels![i]! : 0]!.pop();
    if (found !== undefined) return found;
    throw refusal(
      "compute the loss",
      `chains must be enough for ${n} samples${classes > 0 ? ", of each class" : ""}`,
      chains,
    );
  });
  const u = uniforms(fold(key, "fresh"), n);
  return {
    index: tf.tensor1d(index, "int32"),
    isFresh: tf.tensor1d(Array.from(u, (u) => u < fresh), "bool"),
  };
}

/** A flag for each sample as one for each of its numbers. */
const alike = (flags: Tensor, x: Tensor): Tensor =>
  tf.broadcastTo(tf.reshape(flags, [-1, ...x.shape.slice(1).fill(1)]), x.shape);

/** Chains with some of them in the place of others: each number is one or the other, with no rounding. */
function replaced(chains: Tensor, index: Tensor, ends: Tensor): Tensor {
  const rows = tf.reshape(index, [-1, 1]), [n = 0] = ends.shape;
  const put = tf.scatterND(rows, ends, chains.shape);
  const isPut = tf.scatterND(rows, tf.ones([n]), [chains.shape[0]!]);
  return tf.where(alike(tf.greater(isPut, 0), chains), put, chains);
}

/** Refuses a batch that is none of the network's. */
function checkBatch(
  { images, shape, labels }: SampleBatch,
  key: Key,
  { sample, classes }: EnergyNetwork,
): void {
  const action = "compute the loss", [n = 0] = shape;
  const refused = (wanted: string, got: unknown): RangeError => refusal(action, wanted, got);
  checkKey(action, key);
  if (!(n > 0) || !tf.util.arraysEqual(shape.slice(1), [...sample])) {
    throw refused(`batch.shape must be [N, ${sample.join(", ")}] with N at least 1`, shape);
  }
  if (images.length !== tf.util.sizeFromShape([...shape])) {
    throw refused(
      `batch.images must be as many numbers as its shape [${shape}] has`,
      images.length,
    );
  }
  const wrong = notFinite(images);
  if (wrong !== undefined) throw refused("batch.images must be finite", wrong);
  if (classes === 0) return;
  if (labels === undefined) {
    throw new TypeError(`Cannot ${action}: the batch must have labels, got none`);
  }
  if (labels.length !== n) {
    throw refused(`batch.labels must be one for each of ${n}`, labels.length);
  }
}

function checkCarried(chains: Tensor | undefined, wanted: readonly number[]): void {
  const [count] = wanted, got = chains?.shape;
  if (count === 0 ? got === undefined : got && tf.util.arraysEqual(got, [...wanted])) return;
  const must = count === 0
    ? "the state must carry no chains, as the options keep none"
    : `the state must carry chains of shape [${wanted}], as freshChains makes them`;
  throw new RangeError(`Cannot compute the loss: ${must}, got ${got ? `[${got}]` : "none"}`);
}

/**
 * The greedy start of a deep Boltzmann machine: restricted machines one on the other, each trained on what the one below makes of the
 * data. Source: R. Salakhutdinov, G. Hinton, "Deep Boltzmann machines" (AISTATS 2009), section 3.1.
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
import { type Dbm, doubled, stacked } from "../../energy/boltzmann/dbm.ts";
import { hiddenMean, initialRbm, type Rbm } from "../../energy/boltzmann/rbm.ts";
import { retained } from "../../chain/run.ts";
import { isKey } from "../../tensor/check/check.ts";
import {
  atLeast,
  decoded,
  is,
  needed,
  type Rules,
  wholeNumber,
} from "../../tensor/check/decode.ts";
import { fold, type Key } from "../../tensor/key.ts";
import { awaited, owned, scope } from "../../tensor/scope.ts";
import { newTraining, type TrainState } from "../loop/state.ts";
import { train } from "../loop/train.ts";
import { byMomentum } from "../optimizer/momentum.ts";
import { contrastiveDivergence } from "./divergence.ts";
import { rowBatches, type VisibleRows } from "./rows.ts";

/**
 * Options of {@link pretrainedDbm}.
 *
 * @category Training
 */
export interface PretrainedOptions {
  /** Sizes of the layers from the visible one up, at least three. */
  readonly sizes: readonly number[];
  /** Root of all randomness. */
  readonly key: Key;
  /** How often each machine goes through the data. Default: 10. */
  readonly epochs?: number;
  /** Rows of a batch. Default: 100. */
  readonly size?: number;
  /** Step size. Default: 0.05. */
  readonly rate?: number;
  /** Share of the velocity that is kept. Default: 0.5. */
  readonly momentum?: number;
  /** Steps of block Gibbs sampling of each update. Default: 1. */
  readonly kSteps?: number;
  /** Decay of the weights. Default: 2e-4. */
  readonly decay?: number;
  /** Aborts the training. */
  readonly signal?: AbortSignal;
}

const pretrainedRules: Rules<PretrainedOptions> = {
  sizes: needed(is(
    "at least three whole numbers of at least 1",
    (sizes: readonly number[]) =>
      Array.isArray(sizes) && sizes.length >= 3 &&
      sizes.every((size) => Number.isSafeInteger(size) && size >= 1),
  )),
  key: needed(is("a key, as key(0) makes them", isKey, true)),
  epochs: wholeNumber(1),
  size: wholeNumber(1),
  rate: true,
  momentum: true,
  kSteps: wholeNumber(1),
  decay: is("at least 0", atLeast(0)),
  signal: true,
};

/**
 * A deep machine whose layers were trained greedily: each restricted machine by CD-k on the means of the hidden units below it, the
 * first with its visible and the last with its hidden layer doubled, put together by {@link stacked}.
 *
 * @category Training
 * @param rows Visible units of 0 and 1: rows of `sizes[0]` numbers, one after the other.
 * @param options Sizes, key, epochs, constants of the descent.
 * @returns The machine. The caller disposes of its tensors.
 * @throws {TypeError} If an option is not known.
 * @throws {RangeError} If one is out of range, there are not rows enough for a batch, or a step is not finite.
 * @throws The signal's reason, when aborted.
 *
 * @example
 * ```ts
 * import { key } from "@tweedie/tweedie";
 * import { pretrainedDbm } from "@tweedie/tweedie/train";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const dbm = await pretrainedDbm([1, 1, 0, 0, 0, 0, 1, 1], { sizes: [4, 3, 2], key: key(0), epochs: 2, size: 2 });
 * assert.deepEqual(dbm.weights.map(({ shape }) => shape), [[4, 3], [3, 2]]);
 * ```
 */
export async function pretrainedDbm(rows: VisibleRows, options: PretrainedOptions): Promise<Dbm> {
  const { sizes, key } = decoded("pre-train a deep Boltzmann machine", options, pretrainedRules);
  const top = sizes.length - 2;
  return await scope(function* () {
    const rbms: Rbm[] = [];
    let below = Float32Array.from(rows);
    for (let l = 0; l <= top; l++) {
      const layer: Layer = l === 0 ? "visible" : l === top ? "hidden" : undefined;
      const [width, hidden] = [sizes[l]!, sizes[l + 1]!];
      const given = { ...options, key: fold(key, l), width, hidden, layer };
      rbms.push(yield* owned(trainedRbm(below, given)));
      if (l < top) below = yield* awaited(lifted(rbms[l]!, below, layer));
    }
    return stacked(rbms);
  }, { signal: options.signal });
}

/** The layer that is there twice. */
type Layer = "visible" | "hidden" | undefined;

/** One machine of the stack, trained on rows. */
async function trainedRbm(
  rows: Float32Array,
  options: Omit<PretrainedOptions, "sizes"> & {
    readonly width: number;
    readonly hidden: number;
    readonly layer: Layer;
  },
): Promise<Rbm> {
  const { key, width, hidden, layer, epochs = 10, size = 100, rate = 0.05 } = options;
  const { momentum = 0.5, kSteps = 1, decay = 2e-4, signal } = options;
  const batches = rowBatches(rows, { width, size, epochs, key: fold(key, "batches") });
  const optimizer = byMomentum({ rate, momentum });
  return await scope(function* () {
    const data = tf.tensor2d(rows, [rows.length / width, width]);
    const first = initialRbm({ visible: width, hidden, key: fold(key, "weights"), data });
    const loss = contrastiveDivergence(first, { kSteps, decay, ...(layer && { doubled: layer }) });
    const every = Math.floor(data.shape[0] / size) * epochs;
    const run = { loss, optimizer, key, every, ...(signal && { signal }) };
    return yield* owned(end(train(newTraining(first, { optimizer }), run)(batches)));
  });
}

/** The weights of the only state that a run yields. */
async function end(states: AsyncIterable<TrainState>): Promise<Rbm> {
  let found: Rbm | undefined;
  for await (const { params } of states) found = retained(params as Rbm);
  return found!;
}

/** The means of the hidden units over rows, in parts. */
async function lifted(
  rbm: Rbm,
  rows: Float32Array,
  layer: Layer,
): Promise<Float32Array<ArrayBuffer>> {
  const n = rbm.visible.size, m = rbm.hidden.size, count = rows.length / n;
  const out = new Float32Array(count * m);
  for (let at = 0; at < count; at += 1000) {
    const values = await scope(function* () {
      const some = rows.subarray(at * n, (at + 1000) * n);
      const x = tf.tensor2d(some, [some.length / n, n]);
      const means = layer === "visible"
        ? hiddenMean(doubled(rbm, "visible"), tf.concat([x, x], 1))
        : hiddenMean(rbm, x);
      return yield* awaited(means.data<"float32">());
    });
    out.set(values, at * m);
  }
  return out;
}

/**
 * The greedy start of a deep Boltzmann machine: restricted machines one on the other, each trained on what the one below makes of the
 * data. Source: R. Salakhutdinov, G. Hinton, "Deep Boltzmann machines" (AISTATS 2009), section 3.1.
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
import { type Dbm, doubled, stacked } from "../../energy/boltzmann/dbm.ts";
import { hiddenMean, initialRbm, type Rbm } from "../../energy/boltzmann/rbm.ts";
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
import { scope } from "../../tensor/scope.ts";
import { disposeTraining, newTraining } from "../loop/state.ts";
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
 */
export async function pretrainedDbm(rows: VisibleRows, options: PretrainedOptions): Promise<Dbm> {
  const { sizes, key } = decoded("pre-train a deep Boltzmann machine", options, pretrainedRules);
  const rbms: Rbm[] = [], top = sizes.length - 2;
  let below = Float32Array.from(rows);
  try {
    for (let l = 0; l <= top; l++) {
      const layer = l === 0 ? "visible" : l === top ? "hidden" : undefined;
      rbms.push(
        await trainedRbm(below, {
          ...options,
          key: fold(key, l),
          width: sizes[l]!,
          hidden: sizes[l + 1]!,
          layer,
        }),
      );
      if (l < top) below = await lifted(rbms[l]!, below, layer);
    }
    return stacked(rbms);
  } finally {
    rbms.forEach((each) => tf.dispose(Object.values(each)));
  }
}

/** One machine of the stack, trained on rows. */
async function trainedRbm(
  rows: Float32Array,
  options: Omit<PretrainedOptions, "sizes"> & {
    readonly width: number;
    readonly hidden: number;
    readonly layer: "visible" | "hidden" | undefined;
  },
): Promise<Rbm> {
  const { key, width, hidden, layer, epochs = 10, size = 100, rate = 0.05, momentum = 0.5 } =
    options;
  const { kSteps = 1, decay = 2e-4, signal } = options;
  const batches = rowBatches(rows, { width, size, epochs, key: fold(key, "batches") });
  const optimizer = byMomentum({ rate, momentum });
  const first = scope(() => {
    const data = tf.tensor2d(rows, [rows.length / width, width]);
    return initialRbm({ visible: width, hidden, key: fold(key, "weights"), data });
  });
  const start = newTraining(first, { optimizer });
  const loss = contrastiveDivergence(first, { kSteps, decay, ...(layer && { doubled: layer }) });
  let found: Rbm | undefined;
  try {
    const every = Math.floor(rows.length / width / size) * epochs;
    const states = train(start, { loss, optimizer, key, every, ...(signal && { signal }) })(
      batches,
    );
    for await (const { params } of states) found = copied(params as Rbm);
    return found!;
  } finally {
    disposeTraining(start);
    tf.dispose(Object.values(first));
  }
}

const copied = ({ weights, visible, hidden }: Rbm): Rbm => ({
  weights: tf.clone(weights),
  visible: tf.clone(visible),
  hidden: tf.clone(hidden),
});

/** The means of the hidden units over rows, in parts. */
async function lifted(
  rbm: Rbm,
  rows: Float32Array,
  layer: "visible" | "hidden" | undefined,
): Promise<Float32Array<ArrayBuffer>> {
  const n = rbm.visible.size,
    count = rows.length / n,
    out = new Float32Array(count * rbm.hidden.size);
  for (let at = 0; at < count; at += 1000) {
    const size = Math.min(1000, count - at);
    const means = scope(() => {
      const x = tf.tensor2d(rows.subarray(at * n, (at + size) * n), [size, n]);
      return layer === "visible"
        ? hiddenMean(doubled(rbm, "visible"), tf.concat([x, x], 1))
        : hiddenMean(rbm, x);
    });
    out.set(await means.data() as Float32Array, at * rbm.hidden.size);
    means.dispose();
  }
  return out;
}

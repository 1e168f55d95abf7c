/**
 * Thresholding: keeps the x0 prediction in the range of the data, inside each step.
 *
 * The model is made to predict the clipped x0, so that eps, v and score of the same step agree with it: they are other
 * readings of one prediction. With a sharp guidance, x0 leaves the range at most pixels; the dynamic form then scales each
 * sample by its own quantile instead of clipping it flat.
 *
 * Source: C. Saharia et al., "Photorealistic text-to-image diffusion models with deep language understanding"
 * (NeurIPS 2022), section 2.3 and appendix E.
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
import {
  above,
  atLeast,
  decoded,
  is,
  needed,
  oneOf,
  type Rules,
  within,
} from "../tensor/check/decode.ts";
import { convert, decorated, type Model } from "../denoise/prediction.ts";
import { onModel, type Refinement } from "../sample/path.ts";
import { quantile } from "../tensor/rows/quantile.ts";
import { owned, scope } from "../tensor/scope.ts";
import type { Tensor } from "../tensor/tensor.ts";

/**
 * Clipping to a fixed range.
 *
 * @category Refinements
 */
export interface ClipOptions {
  /** Tag. */
  readonly kind: "clip";
  /** x0 is clipped to [−range, range]; above 0, in the unit of the data. Default: 1. */
  readonly range?: number;
}

/**
 * Clipping each sample to its own quantile s of |x0|, then division by s.
 *
 * @category Refinements
 */
export interface DynamicOptions {
  /** Tag. */
  readonly kind: "dynamic";
  /** Which quantile of |x0| over all elements of a sample, in [0, 1]. Default: 0.995. */
  readonly ratio?: number;
  /** Greatest s, at least 1, in the unit of the data; s is never below 1. Default: 1. */
  readonly max?: number;
}

/**
 * Options of {@link thresholded}.
 *
 * @category Refinements
 */
export type ThresholdOptions = ClipOptions | DynamicOptions;

/**
 * Thresholding of the x0 prediction in each step of a sampler (Saharia et al. 2022, section 2.3):
 *
 * ```text
 *   clip:     x0 ← min(max(x0, −range), range)
 *   dynamic:  s = min(max(quantile(|x0|, ratio), 1), max)      one for each sample, interpolated linearly
 *             x0 ← min(max(x0, −s), s) / s
 * ```
 *
 * Pipe it before `guided`, so that it acts on what guidance gave. NaN and infinity stay what they are: a threshold would make
 * numbers of them. The flow of clipped predictions has no density.
 *
 * @category Refinements
 * @param options Which form, and its numbers. Default: clipping to [−1, 1].
 * @returns The refinement.
 * @throws {RangeError} If a number is outside its domain.
 *
 * @example Samples stay in the range
 * ```ts
 * import { ddim, gaussian, key, linear, prior, run, thresholded } from "@tweedie/tweedie";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const schedule = linear(), model = gaussian(schedule, { mean: 3, variance: 1 });
 * const sampler = thresholded({ kind: "clip", range: 2 })(ddim(schedule, { steps: 10 }));
 * let x: number[] = [];
 * for await (const state of run(prior([4, 1]), { model, key: key(0) })(sampler)) x = [...state.x.dataSync()];
 * assert.ok(x.every((value) => Math.abs(value) <= 2));
 * ```
 */
export function thresholded(options: ThresholdOptions = { kind: "clip" }): Refinement {
  const clip = clipper(options);
  return onModel((model) => clipped(model, clip));
}

/** A function from x0 to the clipped x0. */
type Clip = (x0: Tensor) => Tensor;

/** The model that predicts the clipped x0, also under a condition. */
const clipped = (model: Model, clip: Clip): Model =>
  decorated(model, (model) => ({
    predict: (x, t, signal) =>
      scope(function* () {
        const said = yield* owned(model.predict(x, t, signal));
        const x0 = convert(said, "x0", x, model.schedule.at(t));
        // Some backends clip NaN to a number; 0·x0 is NaN where x0 is not finite.
        return { kind: "x0", value: tf.add(clip(x0), tf.mul(x0, 0)) };
      }),
    clipped: true,
  }));

const kind = needed(oneOf("clip", "dynamic"));

const clipRules: Rules<ClipOptions> = { kind, range: is("a number above 0", above(0)) };

const dynamicRules: Rules<DynamicOptions> = {
  kind,
  ratio: is("in [0, 1]", within(0, 1)),
  max: is("a number of at least 1", atLeast(1)),
};

function clipper(options: ThresholdOptions): Clip {
  if (options?.kind === "dynamic") return dynamic(decoded("threshold", options, dynamicRules));
  const { range = 1 } = decoded("threshold", options, clipRules);
  return (x0) => tf.clipByValue(x0, -range, range);
}

function dynamic({ ratio = 0.995, max = 1 }: DynamicOptions): Clip {
  return (x0) => {
    const s = tf.clipByValue(quantile(tf.abs(x0), ratio), 1, max);
    return tf.div(tf.minimum(tf.maximum(x0, tf.neg(s)), s), s);
  };
}

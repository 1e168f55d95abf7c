/**
 * Guidance: refinements that change what the model says.
 *
 * A `Guide` is a function from a model to a model. `guided` puts the run under it: every step asks the guided model, of any
 * sampler, stochastic or not, of any order, and so does every corrector and density, wherever it stands. Where two are piped,
 * the first is the nearest to the sampler and has the last word: `pipe(sampler, thresholded(), guided(g))` thresholds what g
 * has guided. Here are guides made of guides: one in a part of the levels, and a sum.
 *
 * Source of the first: T. Kynkäänniemi et al., "Applying guidance in a limited interval improves sample and distribution
 * quality" (NeurIPS 2024), equation 5.
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
import { decorated, type Model, type Prediction } from "../../denoise/prediction.ts";
import { mapped, settled, sharing } from "../../denoise/decorate.ts";
import type { Level } from "../../noise/schedule/schedule.ts";
import { onModel, type Refinement } from "../../sample/path.ts";
import { isNear } from "../../noise/schedule/same.ts";
import { decoded, is, type Rules, showing } from "../../tensor/check/decode.ts";
import { owned, scope } from "../../tensor/scope.ts";
import { refusal } from "./scale.ts";

/**
 * A function from a model to the one that takes its place.
 *
 * @category Refinements
 */
export type Guide = (model: Model) => Model;

/**
 * A run under guidance: the name by which {@link onModel} is known where what changes the model is a {@link Guide}.
 *
 * @category Refinements
 * @param guide Such as {@link classifierFree}.
 * @returns The refinement.
 *
 * @example
 * ```ts
 * import { classifierFree, ddim, guided, linear } from "@tweedie/tweedie";
 * import assert from "node:assert/strict";
 *
 * const sampler = guided(classifierFree([3, 3], { scale: 2 }))(ddim(linear(), { steps: 10 }));
 * assert.ok(Symbol.asyncIterator in sampler);
 * ```
 */
export function guided(guide: Guide): Refinement {
  if (typeof guide !== "function") throw refusal("guide must be a function of a model", guide);
  return onModel(guide);
}

/**
 * A part of the levels. Both bounds, if there are both, must hold.
 *
 * @category Refinements
 */
export interface Interval {
  /** Least and greatest time, both included. Default: all. */
  readonly t?: readonly [number, number];
  /** Bounds of sigma/alpha: above the first, and at most the second, as in the source. Default: all. */
  readonly sigma?: readonly [number, number];
}

type Bounds = readonly [number, number];

const bounds = showing(
  is("two numbers, the first at most the second", ([least, most]: Bounds) => least <= most),
  ([least, most]: Bounds) => `[${least}, ${most}]`,
);

/** The rules of an interval. */
export const intervalRules: Rules<Interval> = { t: bounds, sigma: bounds };

/**
 * Options of {@link during}.
 *
 * @category Refinements
 */
export interface DuringOptions extends Interval {
  /** The guide everywhere else. Default: none, the model as it is. */
  readonly otherwise?: Guide;
}

const duringRules: Rules<DuringOptions> = { ...intervalRules, otherwise: true };

/**
 * A guide in a part of the levels only.
 *
 * @category Refinements
 * @param guide The guide there.
 * @param options The part, and the guide elsewhere.
 * @returns A guide, for {@link guided}.
 * @throws {RangeError} If a bound is not a number, or the first is above the second.
 *
 * @example
 * ```ts
 * import { classifierFree, during } from "@tweedie/tweedie";
 * import assert from "node:assert/strict";
 *
 * const guide = during(classifierFree([3, 3], { scale: 2 }), { sigma: [0.3, 5] });
 * assert.equal(typeof guide, "function");
 * ```
 */
export function during(guide: Guide, options: DuringOptions): Guide {
  decoded("guide", options, duringRules);
  const { t: times = everywhere, sigma = everywhere, otherwise = (model) => model } = options;
  if (typeof guide !== "function") throw refusal("guide must be a function of a model", guide);
  // Times are sums and products that grids have computed: one that is a bound but for rounding is that bound.
  const atMost = (a: number, b: number): boolean => a <= b || isNear(a, b);
  const inside = (t: number, level: Level): boolean => {
    const ratio = level.sigma / level.alpha;
    return atMost(times[0], t) && atMost(t, times[1]) &&
      !atMost(ratio, sigma[0]) && atMost(ratio, sigma[1]);
  };
  return (model) => {
    const joint = decorated(model, (model) => {
      const { schedule } = model, within = guide(model), without = otherwise(model);
      return {
        predict: (x, t, signal) =>
          (inside(t, schedule.at(t)) ? within : without).predict(x, t, signal),
        ...likeAny([within, without]),
      };
    });
    return takes(joint, [guide(model), otherwise(model)]);
  };
}

/** The model, which takes a condition if all others do. */
const takes = (model: Model, others: readonly Model[]): Model =>
  others.every(({ given }) => given) ? model : settled(model);

/** What holds of a model that answers by others, if it holds of one of them. */
const likeAny = (models: readonly Model[]): Pick<Model, "clipped" | "bound"> => ({
  ...(models.some(({ clipped }) => clipped) && { clipped: true }),
  ...(models.some(({ bound }) => bound) && { bound: true }),
});

const everywhere = [-Infinity, Infinity] as const;

/**
 * The sum of guides: what each adds to the model's prediction, added together.
 *
 * ```text
 *   prediction + Σ (guide_i(model)'s − prediction)
 * ```
 *
 * The model is evaluated once for the prediction; guides that ask for just that share it. All guides must answer in the
 * kind that the model speaks, as those of this library do.
 *
 * @category Refinements
 * @param guides Any number.
 * @returns A guide, for {@link guided}.
 * @throws {TypeError} While run: if a guide answers in another kind than the model.
 *
 * @example Of none, it is the model itself
 * ```ts
 * import { gaussian, linear, summed } from "@tweedie/tweedie";
 * import assert from "node:assert/strict";
 *
 * const model = gaussian(linear());
 * assert.equal(summed()(model), model);
 * ```
 */
export function summed(...guides: readonly Guide[]): Guide {
  if (guides.length === 0) return (model) => model;
  return (model) => {
    const sum = decorated(model, (model) => ({
      predict: (x, t, signal) =>
        scope(function* () {
          const base = yield* owned(model.predict(x, t, signal));
          const shared = sharing(model, { x, t, prediction: base });
          let sum = base;
          for (const guide of guides) {
            const guided = yield* owned(guide(shared).predict(x, t, signal));
            checkKind(guided, base);
            sum = mapped([sum, guided, base], (a, b, c) => tf.add(a, tf.sub(b, c)));
          }
          return sum;
        }),
      ...likeAny(guides.map((guide) => guide(model))),
    }));
    return takes(sum, guides.map((guide) => guide(model)));
  };
}

function checkKind(guided: Prediction, base: Prediction): void {
  if (guided.kind === base.kind) return;
  throw new TypeError(
    `Cannot add guides: each must answer in the model's kind "${base.kind}", got "${guided.kind}"`,
  );
}

/**
 * A model of one noise schedule as a model of another.
 *
 * Two marginals with the same ratio of signal to noise are the same picture in another unit: if x' = alpha'·x_0 + sigma'·eps
 * and alpha/sigma = alpha'/sigma', then (sigma/sigma')·x' is x_t. So x_0 and eps are the same, scores and energies change their
 * unit, and a network that was trained under any schedule samples and weighs under every other: variance preserving,
 * exploding, sub-preserving, or a straight line.
 *
 * Sources: D. Kingma et al., "Variational diffusion models" (NeurIPS 2021), section 5.1; T. Karras et al., "Elucidating the
 * design space of diffusion-based generative models" (NeurIPS 2022), equations 1 to 4 and appendix B.
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
import { type Level, type Schedule, timeNear } from "../noise/schedule/schedule.ts";
import { owned, scope } from "../tensor/scope.ts";
import { convert, decorated, type Model, type Prediction } from "./prediction.ts";
import type { Tensor } from "../tensor/tensor.ts";

/**
 * The same knowledge under another schedule.
 *
 * At a time t of the new schedule the model is asked at the time of its own with the same log-SNR, about x in its own unit.
 * What it says as x0 stays x0, eps stays eps, an energy stays one in the new unit; v and flow come back as x0, a score as eps.
 * Levels beyond the model's own are taken for its nearest: those with more noise in the unit of the noise, those with
 * less in the unit of the data; where there is no signal at all, eps comes back as x0.
 *
 * @category Models
 * @param model The model.
 * @param schedule The new schedule.
 * @returns The model on the new schedule, with `given` where there was one.
 *
 * @example An oracle of the variance-preserving SDE samples the exploding one
 * ```ts
 * import { ddim, gaussian, key, last, prior, rescheduled, run, ve, vp } from "@tweedie/tweedie";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import { pipe } from "@tweedie/tweedie";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const schedule = ve(), model = rescheduled(gaussian(vp(), { mean: 3, variance: 0 }), schedule);
 * const { x } = await last(pipe(ddim(schedule, { steps: 20 }), run(prior([4, 1]), { model, key: key(0) })));
 * assert.ok(x.dataSync().every((value) => Math.abs(value - 3) < 0.1)); // sigma is 0.01 at the end
 * ```
 */
export function rescheduled(model: Model, schedule: Schedule): Model {
  return decorated(model, (model) => ({
    schedule,
    predict: (x, t, signal) =>
      scope(function* () {
        const level = schedule.at(t), { time, scale } = counterpart(model.schedule, level);
        const inner = tf.mul(x, scale), said = yield* owned(model.predict(inner, time, signal));
        return restated(said, { x: inner, level, own: model.schedule.at(time), scale });
      }),
  }));
}

/** The time of a schedule with a level's log-SNR, and the factor from the level's unit to its own. */
function counterpart(own: Schedule, level: Level): { time: number; scale: number } {
  const time = timeNear(own, level);
  const { alpha, sigma } = own.at(time), isNoisy = level.sigma > level.alpha;
  return { time, scale: isNoisy ? sigma / level.sigma : alpha / level.alpha };
}

/** Where a model was asked: x in its own unit, the level that was meant, its own, and the factor between the units. */
interface Restatement {
  readonly x: Tensor;
  readonly level: Level;
  readonly own: Level;
  readonly scale: number;
}

/**
 * What a model has said of x at its own level, for whoever has x divided by the scale. Where the
 * level that was meant has no signal, eps and the score say nothing of x0 any more; it is read at the model's own level.
 */
function restated(prediction: Prediction, { x, level, own, scale }: Restatement): Prediction {
  const isLost = level.alpha === 0 && own.alpha > 0;
  if (prediction.kind === "x0" || (prediction.kind === "eps" && !isLost)) return prediction;
  if (prediction.kind === "energy") {
    return { ...prediction, gradient: tf.mul(prediction.gradient, scale) };
  }
  const kind = prediction.kind === "score" && !isLost ? "eps" : "x0";
  return { kind, value: convert(prediction, kind, x, own) };
}

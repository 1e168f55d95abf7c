/**
 * What is asked once, before the first step of a run: whether its parts fit together.
 *
 * A sampler's coefficients are those of one schedule, a model's answers mean something under one schedule, and a start has
 * the noise of one time. Where they differ the numbers come out wrong without a word, so they are compared here.
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
import { checkPrediction, decorated, type Model } from "../denoise/prediction.ts";
import { rescheduled } from "../denoise/reschedule.ts";
import { inUnit, isClose, levelAt } from "../noise/schedule/same.ts";
import type { Level } from "../noise/schedule/schedule.ts";
import { chainRunRules, checkChain } from "../chain/run.ts";
import { checkBackend } from "../tensor/check/ready.ts";
import { refusal, shown } from "../tensor/check/check.ts";
import { decoded, is, needed, type Rules } from "../tensor/check/decode.ts";
import type { Carried, RunOptions, State } from "./path.ts";

const isModel = (value: Model | null | undefined): boolean =>
  typeof value?.predict === "function" && typeof value.schedule?.at === "function";

/** The rules of all options of a run. */
export const runRules: Rules<RunOptions<never>> = {
  model: needed(is("a model: a schedule and predict", isModel, true)),
  ...chainRunRules,
};

/**
 * Refuses options that no run can be made with.
 *
 * @throws {TypeError} If an option is unknown, or model, key, noise, engine or until is none.
 * @throws {RangeError} If `first` is not a whole number of at least 0.
 */
export function checkRun(options: RunOptions<never>): void {
  decoded("run", options, runRules);
  checkBackend("run");
}

const wrong = (wanted: string, got: unknown): TypeError =>
  new TypeError(`Cannot run: ${wanted}, got ${shown(got)}`);

/**
 * The model of a run: one that answers under the sampler's schedule, and whose answers are looked at.
 *
 * Where the model's schedule has other levels at the sampler's times, but the same log-SNR, the same noise is on the same
 * data in another unit, and the model is {@link rescheduled}.
 *
 * @param model The model that was given.
 * @param carried What the sampler says of its times and its schedule; nothing is compared without them.
 * @returns The model that the steps see, before the sampler's own changes.
 * @throws {RangeError} If the two schedules differ.
 */
export function fitted(model: Model, carried: Pick<Carried, "schedule" | "times">): Model {
  return asked(sameSchedule(model, carried));
}

function sameSchedule(
  model: Model,
  { schedule, times = [] }: Pick<Carried, "schedule" | "times">,
): Model {
  if (schedule === undefined || schedule === model.schedule) return model;
  const pairs = times.map((t) => ({ t, ours: schedule.at(t), theirs: levelAt(model.schedule, t) }));
  const off = pairs.find(({ ours, theirs }) => !theirs || !isClose(ours, theirs));
  if (off === undefined) return model;
  const isOtherUnit = pairs.every(({ ours, theirs }) =>
    theirs !== undefined && isClose(inUnit(ours), inUnit(theirs))
  );
  if (isOtherUnit) return rescheduled(model, schedule);
  const told = ({ alpha, sigma }: Level): string => `alpha ${alpha}, sigma ${sigma}`;
  throw new RangeError(
    `Cannot run: the sampler's schedule must be the model's, "${model.schedule.name}", got ` +
      `"${schedule.name}" with ${told(off.ours)} at t = ${off.t}, where the model has ` +
      `${
        off.theirs ? told(off.theirs) : "no time"
      }; make the sampler on model.schedule, or give the run ` +
      "rescheduled(model, schedule)",
  );
}

/** The model whose answers are held against what was asked. */
const asked = (model: Model): Model =>
  decorated(model, (model) => ({
    // A scope would be in the way of every evaluation, and nothing is made here.
    predict: (x, t, signal) => {
      const said = model.predict(x, t, signal);
      return said instanceof Promise
        ? said.then((late) => checkPrediction(late, x))
        : checkPrediction(said, x);
    },
  }));

/**
 * Refuses a state that no run can start from. Whether its time is that of the sampler, the first transition asks.
 *
 * @param state The state.
 * @throws {TypeError} If it has no x, or one that is disposed of, or no time.
 * @throws {RangeError} If its batch is empty.
 */
export function checkStart(state: State): void {
  if (!(state?.x instanceof tf.Tensor)) throw wrong("the start must have a tensor x", state?.x);
  checkChain(state);
  if (state.x.rank === 0 || state.x.size === 0) {
    throw refusal("run", "the start's x must have at least one sample", `shape [${state.x.shape}]`);
  }
  if (!Number.isFinite(state.t)) throw wrong("the start's t must be a finite number", state.t);
}

/**
 * Runs: a sampler's chain from a first state, such as one of pure noise, under a model.
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
import type { Chain, ChainEnv, ChainSampler, ChainStart } from "../chain/chain.ts";
import { sampleKeys } from "../chain/draw.ts";
import { driver, type Driving, plainly, type RunControl } from "../chain/run.ts";
import type { Model } from "../denoise/prediction.ts";
import { checkBackend } from "../tensor/check/ready.ts";
import { normal } from "../tensor/random.ts";
import { scope } from "../tensor/scope.ts";
import { checkedTime } from "../noise/schedule/same.ts";
import { checkedShape } from "../tensor/check/check.ts";
import { checkRun, checkStart, fitted } from "./fit.ts";
import type { Env, RunOptions, Sampler, Start, State } from "./path.ts";

/**
 * The start of a generation: x_t ~ N(0, sigma_t²·I) under the environment's key, one key a sample. That is the law of x_t as
 * far as no signal is left at t: from the middle of a schedule start with data, by `edited`.
 *
 * @category Samplers
 * @param shape [N, ...sample].
 * @param t Time to start at. Default: where the sampler starts; the schedule's greatest, if that is not known.
 * @returns A start for {@link run}.
 * @throws {RangeError} If a size is not a whole number of at least 1; while run, if t is not a time of the schedule.
 *
 * @example
 * ```ts
 * import { gaussian, key, linear, prior } from "@tweedie/tweedie";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const { x, t } = prior([16, 28, 28, 1])({ model: gaussian(linear()), key: key(0) });
 * assert.deepEqual([x.shape, t], [[16, 28, 28, 1], 1000]);
 * ```
 */
export function prior(
  shape: readonly number[],
  t?: number,
): (env: Env, from?: number) => State {
  const [count, ...sample] = checkedShape("start from the prior", shape);
  return (env, from) => {
    checkBackend("start from the prior");
    const { schedule } = env.model;
    const at = checkedTime("start from the prior", schedule, t ?? from ?? schedule.span[1]);
    const x = scope(() =>
      tf.mul(normal(sampleKeys(env, count!, "prior", 0), sample), schedule.at(at).sigma)
    );
    return { x, t: at, step: 0 };
  };
}

/**
 * See {@link run}.
 *
 * @category Samplers
 */
export interface Run {
  /** Runs a chain without a model and a time. */
  <S extends Chain>(
    start: ChainStart<S, ChainEnv>,
    options: ChainEnv & RunControl<S> & { readonly model?: never },
  ): (chain: ChainSampler<S, ChainEnv>) => AsyncIterable<S>;
  /** Runs a sampler under a model. */
  <S extends State = State>(
    start: Start<S>,
    options: Omit<RunOptions<S>, "model"> & { readonly model: Model<never> },
  ): (sampler: Sampler<S>) => AsyncIterable<S>;
}

/** How samplers are driven: under one model, which fits. */
const modelled: Driving<State, Env> = {
  environment: (options, sampler: Sampler) => {
    checkRun(options);
    return { ...options, model: fitted(options.model, sampler) };
  },
  check: checkStart,
  where: ({ t }) => Number.isFinite(t) ? `, t = ${t}` : undefined,
  called: { x: "x_t", x0: "the model's prediction" },
};

const runs = (start: Start, options: RunOptions) => (sampler: Sampler): AsyncIterable<State> => {
  const isModelled = sampler?.schedule !== undefined || options?.model !== undefined;
  return driver(isModelled ? modelled : plainly<State, Env>())(start, options)(sampler);
};

/**
 * Runs a sampler: yields the start, then each x_t, pulled one at a time.
 *
 * @category Samplers
 * @param start The first state, which stays the caller's, or a function that makes it.
 * @param options Model and key; an abort signal; whether to stop at NaN and infinity; what runs the steps.
 * @returns A function of a sampler, whose result computes nothing until it is iterated.
 * @throws {RangeError} While iterated: when x_t is not finite, with the step and the time.
 * @throws {TypeError} While iterated, on an engine: when a step or the model answers later, or cannot be compiled.
 * @throws The signal's reason, when aborted.
 *
 * @example
 * ```ts
 * import { gaussian, ddim, key, linear, prior, run } from "@tweedie/tweedie";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const schedule = linear();
 * const model = gaussian(schedule, { mean: 3, variance: 0.25 });
 * let steps = 0;
 * for await (const { step } of run(prior([8, 1]), { model, key: key(0) })(ddim(schedule, { steps: 10 }))) steps = step;
 * assert.equal(steps, 10);
 * ```
 */
export const run: Run = runs as unknown as Run;

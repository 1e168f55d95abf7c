/**
 * Editing: generation that starts from data, part of the way to noise.
 *
 * ```text
 *   SDEdit    x_t0 = alpha·guide + sigma·z, then any sampler from t0 down
 *   encode, interpolate, decode    x_T of each datum by the ODE, slerp between them, the ODE back
 * ```
 *
 * The more noise, the less of the guide is left: t0 trades faithfulness for realism.
 *
 * Source: C. Meng et al., "SDEdit" (ICLR 2022), algorithm 1.
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
import { jump } from "../noise/forward.ts";
import { type Env, noise, type State } from "../sample/path.ts";
import { checkedTime } from "../noise/schedule/same.ts";
import { mismatch, shown } from "../tensor/check/check.ts";
import { decoded, type Rules } from "../tensor/check/decode.ts";
import { scope } from "../tensor/scope.ts";
import type { Tensor } from "../tensor/tensor.ts";

/**
 * Options of {@link edited}.
 *
 * @category Refinements
 */
export interface EditOptions {
  /** t0, the time to start from. Default: where the sampler starts. */
  readonly t?: number;
  /** Number of transitions that count as made, for a sampler in the middle of its grid. Default: 0. */
  readonly step?: number;
}

const editRules: Rules<EditOptions> = { t: true, step: true };

/**
 * The start of an edit: a draw of q(x_t | x_0) of the data given (Meng et al. 2022, algorithm 1). Run it with a sampler whose
 * grid starts at t, such as `ddim(schedule, { from: t, steps })`.
 *
 * @category Refinements
 * @param x0 The guide, shape [N, ...sample]. The caller's.
 * @param options The time.
 * @returns A start for `run`.
 * @throws {TypeError} If x0 is no tensor; while run, if neither t nor the sampler's first time is known.
 * @throws {RangeError} While run: if t is not a time of the schedule, or not that at which the sampler starts.
 *
 * @example Half-way noise and back
 * ```ts
 * import { ddim, edited, gaussian, key, last, linear, run } from "@tweedie/tweedie";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import * as tf from "@tensorflow/tfjs-core";
 * import { pipe } from "@tweedie/tweedie";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const schedule = linear(), model = gaussian(schedule), guide = tf.tensor([[0.5]]);
 * const sampler = ddim(schedule, { from: 400, steps: 10 });
 * const { t } = await last(pipe(sampler, run(edited(guide, { t: 400 }), { model, key: key(0) })));
 * assert.equal(t, 0);
 * ```
 */
export function edited(
  x0: Tensor,
  options: EditOptions = {},
): (env: Env, from?: number) => State {
  const { step = 0 } = decoded("edit", options, editRules);
  if (!(x0 instanceof tf.Tensor)) throw mismatch("edit", "x0 must be a tensor", shown(x0));
  return (env, from) => {
    if (x0.isDisposed) throw mismatch("edit", "x0 must be alive", "one that is disposed of");
    const { schedule } = env.model, asked = options.t ?? from;
    if (asked === undefined) {
      throw new TypeError(
        "Cannot edit: t must be given, as the sampler does not say where it starts",
      );
    }
    const t = checkedTime("edit", schedule, asked);
    const x = scope(() => jump(x0, schedule.at(t), noise(env, { x: x0, t, step }, "edit")));
    return { x, t, step };
  };
}

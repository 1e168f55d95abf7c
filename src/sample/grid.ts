/**
 * What samplers on a grid of times have in common: one transition for each leg, noise added to a mean, and a last step
 * without it.
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
import type { GridOptions } from "../noise/grid.ts";
import type { Schedule } from "../noise/schedule/schedule.ts";
import { refusal } from "../tensor/check/check.ts";
import { among, type Rule, type Rules, showing } from "../tensor/check/decode.ts";
import { along, type Leg, legs } from "./step.ts";
import {
  type Check,
  type Env,
  noise,
  type Sampler,
  sampler,
  type State,
  type Transition,
} from "./path.ts";
import { isLevel } from "../noise/schedule/same.ts";
import type { Tensor } from "../tensor/tensor.ts";

/** The rules of a sampler's options that are not those of its grid. */
export type Own<T> = Rules<Omit<T, keyof GridOptions>>;

/** The rule of a name in a table. */
export const named = (table: object): Rule => showing(among(Object.keys(table)), String);

/** The sampler with one transition for each leg of a grid; of one time it is of no steps, and takes only a state that is there. */
export function over(
  schedule: Schedule,
  grid: readonly number[],
  make: (leg: Leg) => Transition,
): Sampler {
  if (grid.length > 1) return along(legs(schedule, grid), make);
  const [from] = grid as [number];
  const check: Check = (env, { t }) => {
    if (isLevel(env.model.schedule, t, from)) return;
    throw refusal("run", `the start's t must be ${from}, where the sampler starts and ends`, t);
  };
  return sampler(() => [], { from, schedule, times: grid, checks: [check] });
}

/** Where noise is drawn, and what for. */
export interface Draw {
  /** The environment. */
  readonly env: Env;
  /** The state that the step starts from. */
  readonly state: State;
  /** One name for all ancestral samplers and their like, so that DDIM with eta 1 is DDPM draw by draw. Default: `"ancestral"`. */
  readonly purpose?: string;
}

/** mean + deviation·z, z ~ N(0, I). A deviation of 0 draws nothing. */
export const noisy = (
  mean: Tensor,
  deviation: number,
  { env, state, purpose = "ancestral" }: Draw,
): Tensor => deviation === 0 ? mean : tf.add(mean, tf.mul(noise(env, state, purpose), deviation));

/**
 * Options of ancestral samplers on the last step.
 *
 * @category Samplers
 */
export interface LastNoise {
  /**
   * Whether the last step draws noise too, where its variance is not 0: the rest of a grid that is run in parts, or
   * DDIM's sigma-hat as printed. Default: false, as in algorithm 2 of Ho et al. (2020).
   */
  readonly lastNoise?: boolean;
}

/**
 * Which legs draw nothing, whatever their variance.
 *
 * @param options The option.
 * @returns Whether a leg is the last one of a sampler without noise there.
 */
export const silentLast = ({ lastNoise = false }: LastNoise) => ({ index, count }: Leg): boolean =>
  index === count - 1 && !lastNoise;

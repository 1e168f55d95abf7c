/**
 * Chains with a time and a model: the states, samplers and refinements of diffusion.
 *
 * In one run there is one model. A refinement either changes the model (guidance, conditions, thresholds) or moves the
 * state (correctors, known pixels, densities). A sampler carries its changes of the model beside its transitions, and each
 * transition of an iteration stands under all of them: so a corrector stirs with the score of the guided model, whether it
 * was written before the guide or after it. Changes of the model keep their own order among themselves.
 *
 * @module
 */

import * as chains from "../chain/chain.ts";
import type {
  Chain,
  ChainCarried,
  ChainCheck,
  ChainEnv,
  ChainSampler,
  ChainStart,
  ChainTransition,
} from "../chain/chain.ts";
import type { RunControl } from "../chain/run.ts";
import type { Schedule } from "../noise/schedule/schedule.ts";
import type { Model } from "../denoise/prediction.ts";
import type { Tensor } from "../tensor/tensor.ts";

export { after } from "../chain/chain.ts";
export { noise, sampleKeys } from "../chain/draw.ts";
export { retained } from "../chain/run.ts";

/**
 * A past evaluation, for multistep solvers.
 *
 * @category Samplers
 */
export interface Evaluation {
  /** Time of the evaluation. */
  readonly t: number;
  /** The x0 prediction there, shape of x_t. */
  readonly x0: Tensor;
  /** x there, for solvers that need it; shape of x_t. */
  readonly x?: Tensor;
}

/**
 * Where a chain stands. Read-only plain data: it can be recorded, forked, written to disk and resumed.
 *
 * @category Samplers
 */
export interface State extends Chain {
  /** x_t, shape [N, ...sample]. */
  readonly x: Tensor;
  /** Time on the schedule. */
  readonly t: number;
  /** The x0 prediction that led here, shape of x_t; absent at the start. */
  readonly x0?: Tensor;
  /** Past evaluations of a multistep solver, newest first. */
  readonly history?: readonly Evaluation[];
}

/**
 * What a transition may read.
 *
 * @category Samplers
 */
export interface Env extends ChainEnv {
  /** The model, already refined by guidance and the like. */
  readonly model: Model;
  /** Where noise comes from: see {@link ChainEnv.noise}. */
  readonly noise?: (state: State, purpose: string) => Tensor;
}

/**
 * A Markov transition kernel. Returns new tensors, leaves those of the state alone.
 *
 * @category Samplers
 */
export type Transition<S extends Chain = State, E extends ChainEnv = Env> = ChainTransition<S, E>;

/**
 * Something that has to hold before the first step of a run; throws if it does not.
 *
 * @category Samplers
 */
export type Check = ChainCheck<State, Env>;

/**
 * What a sampler says of itself, beside its transitions. A refinement keeps what it does not change.
 *
 * @category Samplers
 */
export interface Carried<S extends Chain = State, E extends ChainEnv = Env>
  extends ChainCarried<S, E> {
  /** The schedule of the transitions' coefficients, which has to be the model's. Default: not known. */
  readonly schedule?: Schedule;
  /** The times at which the two schedules are compared. Default: none. */
  readonly times?: readonly number[];
}

/**
 * A lazy stream of transitions, one a step; each iteration starts afresh. Any async iterable of transitions is one;
 * {@link sampler} makes one that also carries what there is to know of it.
 *
 * @category Samplers
 */
export type Sampler<S extends Chain = State, E extends ChainEnv = Env> =
  & ChainSampler<S, E>
  & Carried<S, E>;

/**
 * A sampler to a sampler, whatever the state.
 *
 * @category Samplers
 */
export type Refinement = <S extends State>(sampler: Sampler<S>) => Sampler<S>;

/**
 * Options of {@link run}.
 *
 * @category Samplers
 */
export type RunOptions<S extends State = State> = Env & RunControl<S>;

/**
 * A state, or a function that makes one from the environment and the time at which the sampler starts, if that has one, and
 * hands it over, such as {@link prior}.
 *
 * @category Samplers
 */
export type Start<S extends Chain = State, E extends ChainEnv = Env> = ChainStart<S, E>;

/**
 * A sampler from a generator function: each iteration calls it afresh, so one sampler drives any number of runs.
 *
 * @category Samplers
 * @param make Makes the transitions, in order.
 * @param carried What there is to know of it. Default: nothing.
 * @returns The sampler.
 *
 * @example Write your own: shrink x to its half, three times
 * ```ts
 * import { sampler } from "@tweedie/tweedie";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import * as tf from "@tensorflow/tfjs-core";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const halving = sampler(function* () {
 *   for (let i = 0; i < 3; i++) yield () => (state) => ({ ...state, x: tf.mul(state.x, 0.5), step: state.step + 1 });
 * });
 * let pulled = 0;
 * for await (const _ of halving) pulled++;
 * assert.equal(pulled, 3);
 * ```
 */
export const sampler: <S extends Chain = State, E extends ChainEnv = Env>(
  make: () => Iterable<Transition<S, E>> | AsyncIterable<Transition<S, E>>,
  carried?: Carried<S, E>,
) => Sampler<S, E> = chains.chain;

/**
 * {@link chains.rearranged}, of samplers.
 *
 * @category Samplers
 */
export const rearranged: <S extends Chain = State, R extends S = S, E extends ChainEnv = Env>(
  refine: (transitions: AsyncIterable<Transition<S, E>>) => AsyncIterable<Transition<R, E>>,
  check?: ChainCheck<S, E>,
) => (source: Sampler<S, E>) => Sampler<R, E> = chains.rearranged;

/**
 * {@link chains.refined}, of samplers.
 *
 * @category Samplers
 */
export const refined: <S extends Chain = State, R extends S = S, E extends ChainEnv = Env>(
  refine: (transition: Transition<S, E>) => Transition<R, E>,
  check?: ChainCheck<S, E>,
) => (source: Sampler<S, E>) => Sampler<R, E> = chains.refined;

/**
 * The refinement that puts another model in place of the environment's, for the whole run: every step, corrector and density
 * asks it, wherever it stands. Of two, the one that is written last acts first on the model of the run.
 *
 * @category Samplers
 * @param change From the environment's model to the one that the steps see; pure, as it is called once a step.
 * @param check Something more that has to hold before the first step. Default: nothing.
 * @returns The refinement.
 *
 * @example Count evaluations
 * ```ts
 * import { ddim, decorated, gaussian, key, linear, onModel, prior, run } from "@tweedie/tweedie";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const schedule = linear(), model = gaussian(schedule, { mean: 0, variance: 1 });
 * let evaluations = 0;
 * const counted = onModel((m) =>
 *   decorated(m, (m) => ({ predict: (x, t) => (evaluations++, m.predict(x, t)) }))
 * );
 * let states = 0;
 * for await (const _ of run(prior([2, 1]), { model, key: key(0) })(counted(ddim(schedule, { steps: 7 })))) states++;
 * assert.deepEqual([states, evaluations], [8, 7]);
 * ```
 */
export function onModel(change: (model: Model) => Model, check?: Check): Refinement {
  return <S extends State>(source: Sampler<S>): Sampler<S> =>
    chains.underlaid<S, Env>((env) => ({ ...env, model: change(env.model) }), check)(source);
}

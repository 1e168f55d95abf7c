/**
 * What a transition draws: numbers under keys, one a sample, that depend on nothing but the run's key, the sample's index, the
 * purpose and the step.
 *
 * @module
 */

import { fold, type Key } from "../tensor/key.ts";
import { normal } from "../tensor/random.ts";
import { own } from "../tensor/scope.ts";
import type { Chain, ChainEnv } from "./chain.ts";
import type { Tensor } from "../tensor/tensor.ts";

/**
 * The keys of a batch for one use: each depends on the run's key, the sample's index in the run, the purpose and
 * the step, and on nothing else.
 *
 * @category Chains
 * @param env The environment.
 * @param count Number of samples in the batch.
 * @param purpose What the draw is for; different purposes are independent.
 * @param step The state's step.
 * @returns One key for each sample.
 * @throws {TypeError} If a density is carried along, of which nothing that is drawn has a part.
 */
export function sampleKeys(
  env: Pick<ChainEnv, "key" | "first" | "density">,
  count: number,
  purpose: string,
  step: number,
): Key[] {
  if (env.density !== undefined) throw drawn(purpose);
  // The sample comes last, so that a batch pays for purpose and step once.
  const use = fold(fold(env.key, purpose), step), first = env.first ?? 0;
  return Array.from({ length: count }, (_, i) => fold(use, first + i));
}

const drawn = (purpose: string): TypeError =>
  new TypeError(
    `Cannot carry a density: the sampler must be deterministic, got a step that draws noise ("${purpose}"); ` +
      "a flow, or a sampler without noise and without correctors, has one",
  );

/**
 * Standard normal noise for one step of a transition, of the shape of the state's x.
 *
 * @category Chains
 * @param env The environment.
 * @param state The state that the transition starts from.
 * @param purpose What the draw is for.
 * @returns float32, shape of `state.x`, from `env.noise` if there is one. It is the scope's, or the caller's where there is none.
 * @throws {RangeError} If `env.noise` returns another shape.
 */
export function noise<E extends ChainEnv, S extends Chain & { readonly x: Tensor }>(
  env: E,
  state: S,
  purpose: string,
): Tensor {
  const [count, ...sample] = state.x.shape;
  if (env.density !== undefined) throw drawn(purpose);
  if (env.noise) return injected(env.noise(state, purpose), state.x.shape);
  return normal(sampleKeys(env, count!, purpose, state.step), sample);
}

function injected(z: Tensor, shape: readonly number[]): Tensor {
  if (z.shape.join() === shape.join()) return own(z);
  z.dispose();
  throw new RangeError(
    `Cannot draw noise: env.noise must return shape [${shape}], got [${z.shape}]`,
  );
}

/**
 * What the tests of layers and networks share.
 *
 * @module
 */

import assert from "node:assert/strict";
import * as tf from "@tensorflow/tfjs-core";
import {
  initialize,
  type Layer,
  type Parameters,
  type Params,
} from "../../src/network/layer/parameter.ts";
import { key } from "../../src/tensor/key.ts";
import type { Case } from "../tensor/differences.ts";
import { live } from "../measure.ts";

/** Weights none of which is constant: a network's own start has zeros in it, its last layer among them. */
export function randomWeights(parameters: Parameters, seed = 77): Record<string, tf.Tensor> {
  const everywhere = Object.entries(parameters).map(([name, p]) =>
    [name, { ...p, std: p.std || 0.3 }] as const
  );
  return initialize(Object.fromEntries(everywhere), key(seed));
}

/** A layer as a function of its inputs, by their shapes, and then its weights. */
export function whole<Inputs extends tf.Tensor[]>(
  { parameters, apply }: Layer<Inputs>,
  inputs: readonly (readonly number[])[],
): Case {
  const names = Object.keys(parameters), count = inputs.length;
  return {
    f: (...x) =>
      apply(
        Object.fromEntries(names.map((name, i) => [name, x[count + i]!])),
        ...(x.slice(0, count) as Inputs),
      ),
    shapes: [...inputs, ...names.map((name) => parameters[name]!.shape)],
    range: [-0.8, 0.8],
  };
}

/** Calls a function that makes one tensor, disposes of it, and asserts that no other was left. */
export function assertLeavesOne(make: () => tf.Tensor): void {
  const alive = live(), made = make();
  assert.equal(live(), alive + 1);
  made.dispose();
}

/** A weight on the host. */
export const host = (params: Params, name: string): Float32Array =>
  params[name]!.dataSync<"float32">();

/** Asserts that numbers agree to a tolerance, in units of the greatest of them or of 1. */
export function assertClose(
  got: ArrayLike<number>,
  wanted: ArrayLike<number>,
  tolerance: number,
): void {
  assert.equal(got.length, wanted.length);
  const scale = Math.max(1, ...Array.from(wanted, Math.abs));
  for (let i = 0; i < wanted.length; i++) {
    assert.ok(
      Math.abs(got[i]! - wanted[i]!) <= tolerance * scale,
      `element ${i}: ${got[i]} against ${wanted[i]}`,
    );
  }
}

/** Value and gradients of a sum of sines of a function, at random inputs: the same on every backend. */
export function valueAndGradients({ f, shapes }: Case): Float32Array[] {
  return tf.tidy(() => {
    const inputs = Object.values(
      randomWeights(Object.fromEntries(shapes.map((shape, i) => [`${i}`, { shape }]))),
    );
    const value = f(...inputs), gradients = tf.grads((...x) => tf.sum(tf.sin(f(...x))))(inputs);
    return [value, ...gradients].map((tensor) => tensor.dataSync<"float32">().slice());
  });
}

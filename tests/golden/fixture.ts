/**
 * The fixtures of the golden numbers: a ramp, a model that scales its input, and torch's normals.
 *
 * torch's CPU generator is the Mersenne Twister MT19937 (M. Matsumoto, T. Nishimura, 1998); its normals are Box–Muller
 * in blocks of sixteen float32 uniforms, eight radii before eight angles.
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
import type { Kind, Model } from "../../src/denoise/prediction.ts";
import type { Schedule } from "../../src/noise/schedule/schedule.ts";

const shape = [4, 3, 8, 8] as const, size = 768;

/** x[b,c,h,w] = (((c·8 + h)·8 + w)·4 + b) / 768. */
export function ramp(): tf.Tensor {
  const perSample = size / shape[0];
  const value = (i: number) => ((i % perSample) * 4 + Math.floor(i / perSample)) / size;
  return tf.tensor(Float32Array.from({ length: size }, (_, i) => value(i)), [...shape]);
}

/** value = x·u/(u + 1), where u is the reference's time for our t. */
export function scaling(
  schedule: Schedule,
  kind: Kind,
  time: (t: number) => number = (t) => t - 1,
): Model {
  return {
    schedule,
    predict: (x, t) => ({
      kind,
      value: tf.tidy(() => tf.div(tf.mul(x, time(t)), time(t) + 1)),
    }),
  };
}

/** An endless source of tensors of torch.randn under one generator. */
export function torchNormals(seed: number): () => tf.Tensor {
  const word = twister(seed);
  return () => {
    const d = Float32Array.from({ length: size }, () => (word() & 0xffffff) * 2 ** -24);
    for (let block = 0; block < size; block += 16) boxMuller(d.subarray(block, block + 16));
    return tf.tensor(d, [...shape]);
  };
}

function boxMuller(d: Float32Array): void {
  for (let j = 0; j < 8; j++) {
    const radius = Math.sqrt(-2 * Math.log(1 - d[j]!)), angle = 2 * Math.PI * d[j + 8]!;
    d[j] = radius * Math.cos(angle);
    d[j + 8] = radius * Math.sin(angle);
  }
}

/** MT19937: 32-bit words from a 32-bit seed. */
export function twister(seed: number): () => number {
  const state = new Uint32Array(624);
  state[0] = seed;
  for (let i = 1; i < 624; i++) {
    const before = state[i - 1]! ^ (state[i - 1]! >>> 30);
    state[i] = Math.imul(1812433253, before) + i;
  }
  let index = 624;
  return () => {
    if (index === 624) {
      twist(state);
      index = 0;
    }
    return tempered(state[index++]!);
  };
}

function twist(state: Uint32Array): void {
  for (let i = 0; i < 624; i++) {
    const y = (state[i]! & 0x80000000) | (state[(i + 1) % 624]! & 0x7fffffff);
    state[i] = state[(i + 397) % 624]! ^ (y >>> 1) ^ (y & 1 ? 0x9908b0df : 0);
  }
}

function tempered(y: number): number {
  y ^= y >>> 11;
  y ^= (y << 7) & 0x9d2c5680;
  y ^= (y << 15) & 0xefc60000;
  return (y ^ (y >>> 18)) >>> 0;
}

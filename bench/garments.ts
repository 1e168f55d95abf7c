/**
 * Garments for the benchmarks: images of Fashion-MNIST as a model sees them, samples of a model class by class, and what
 * a classifier says of either.
 *
 * @module
 */

import { pipe } from "fp-ts/lib/function.js";
import * as tf from "@tensorflow/tfjs-core";
import {
  type Engine,
  type ImageSet,
  key,
  last,
  type Model,
  prior,
  type Refinement,
  run,
  type Sampler,
  thresholded,
} from "@tweedie/tweedie";
import type { LoadedClassifier } from "@tweedie/tweedie/io";
import { onnx } from "@tweedie/tweedie/onnx";

const side = 28;

/** Pixels of an image. */
export const pixels: number = side * side;

/** Images of a set in [-1, 1], one after the other, from the first or another on. */
export const scaled = ({ images }: ImageSet, count: number, first = 0): Float32Array =>
  Float32Array.from(
    images.subarray(first * pixels, (first + count) * pixels),
    (v) => v / 127.5 - 1,
  );

/** Images of a set by their numbers, [N, 28, 28, 1] in [-1, 1]. */
export function pictures(set: ImageSet, numbers: readonly number[]): tf.Tensor {
  const values = new Float32Array(numbers.length * pixels);
  numbers.forEach((n, i) => values.set(scaled(set, 1, n), i * pixels));
  return tf.tensor(values, [numbers.length, side, side, 1]);
}

/** The numbers from one on. */
export const consecutive = (first: number, count: number): number[] =>
  Array.from({ length: count }, (_, i) => first + i);

/** ONNX Runtime where native code is allowed; nothing, for wasm, where it is not. */
export async function native(): Promise<Engine | undefined> {
  const { state } = await Deno.permissions.query({ name: "ffi" });
  return state === "granted" ? await onnx() : undefined;
}

/** What a classifier says of images: features, row by row, and the likeliest class of each. */
export interface Judged {
  readonly features: Float32Array;
  readonly classes: number[];
}

/** Judges images in [-1, 1], in parts. */
export function judged({ network, params }: LoadedClassifier, images: Float32Array): Judged {
  const features: number[] = [], classes: number[] = [], part = 50 * pixels;
  for (let at = 0; at < images.length; at += part) {
    tf.tidy(() => {
      const values = images.subarray(at, at + part);
      const x = tf.tensor4d(values, [values.length / pixels, side, side, 1]);
      features.push(...network.features(params, x).dataSync());
      classes.push(...tf.argMax(network.apply(params, x), 1).dataSync());
    });
  }
  return { features: Float32Array.from(features), classes };
}

/** What {@link garments} draws. */
export interface Drawn {
  readonly model: Model;
  /** How many. */
  readonly count: number;
  /** What tells the sampler the classes of a part. */
  readonly told: (labels: readonly number[]) => Refinement;
  /** Number of the first in the stream of random numbers. Default: 0. */
  readonly first?: number;
  /** What evaluates the model. Default: tfjs. */
  readonly engine?: Engine;
  /** Images at a time. Default: 25. */
  readonly part?: number;
  /** Told how many there are, part by part. */
  readonly progress?: (count: number) => void;
}

/** Samples in [-1, 1], clipped at every step, the classes in turn. */
export async function garments(sampler: Sampler, drawn: Drawn): Promise<Float32Array> {
  const { model, count, told, first = 0, engine, part = 25, progress } = drawn;
  const out = new Float32Array(count * pixels);
  for (let from = 0; from < count; from += part) {
    const n = Math.min(part, count - from);
    const { x, x0 } = await last(pipe(
      sampler,
      thresholded(),
      told(Array.from({ length: n }, (_, i) => (from + i) % 10)),
      run(prior([n, side, side, 1]), {
        model,
        key: key(2026),
        first: first + from,
        ...(engine && { engine }),
      }),
    ));
    out.set(await x.data<"float32">(), from * pixels);
    tf.dispose([x, x0!]);
    progress?.(from + n);
  }
  return out;
}

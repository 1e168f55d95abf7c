/**
 * Repairs of tfjs's plain JavaScript backend.
 *
 * Its gradient of nearest-neighbour resizing reads every image of a batch but the first at wrong places; images that
 * share one batch entry, as channels, it gets right.
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
import { everywhere, type Repair, repairBackend } from "./repair.ts";
import type { Tensor } from "../tensor.ts";

/** [N, H, W, C] as [1, H, W, N·C]. */
function asChannels(x: Tensor): Tensor {
  const [n, height, width, channels] = x.shape as [number, number, number, number];
  return tf.reshape(tf.transpose(x, [1, 2, 0, 3]), [1, height, width, n * channels]);
}

const resizing: Repair = {
  kernels: ["ResizeNearestNeighborGrad"],
  wrong: ({ inputs }) => inputs["images"]!.shape[0]! > 1,
  right: ({ inputs: { images, dy } }, plain) => {
    const [n, height, width, channels] = images!.shape as [number, number, number, number];
    const flat = plain({ inputs: { images: asChannels(images!), dy: asChannels(dy!) } });
    return tf.transpose(tf.reshape(flat, [height, width, n, channels]), [2, 0, 1, 3]);
  },
};

/** Repairs the cpu backend. Called by `useBackend`; calling it again changes nothing. */
export function repairCpu(): void {
  repairBackend("cpu", [...everywhere, resizing]);
}

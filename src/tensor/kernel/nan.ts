/**
 * NaN that stays NaN where tfjs's kernels make a number of it.
 *
 * On wasm a NaN that meets a bound becomes the bound (`clipByValue`, `relu6`) or the other operand (`maximum` and `minimum`, where
 * it is the second), and a cast to bool keeps the last byte of the whole part; on webgpu `relu6` makes 0 of it. Here they
 * answer as the cpu backend does. Whether there is any NaN the sum says, which costs little beside a test of each element.
 *
 * What is left as it is, since it would cost too much where it matters: on wasm a convolution and an average over NaN are −∞,
 * which is no number either, but becomes 0 under a `relu`, fused with it or after it; on webgpu `topk` takes NaN for less than
 * all numbers. `tests/tensor/kernel/nan_test.ts` holds the list.
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
import type { Call, Plain, Repair } from "./repair.ts";
import type { Tensor } from "../tensor.ts";

/** Whether a tensor may hold NaN: its sum is not finite. To be called where reading waits for nothing. */
const isSuspect = (x: Tensor): boolean =>
  x.dtype === "float32" && !Number.isFinite(tf.tidy(() => tf.sum(x).dataSync()[0]!));

/** The kernel's answer, with NaN where one operand has it. */
const keptFrom = (name: string) => ({ inputs }: Call, plain: Plain): Tensor => {
  const x = inputs[name]!;
  return tf.where(tf.isNaN(x), x, plain());
};

/** What wasm gets wrong. */
export const onWasm: readonly Repair[] = [
  {
    kernels: ["ClipByValue", "Relu6"],
    wrong: ({ inputs }) => isSuspect(inputs["x"]!),
    right: keptFrom("x"),
  },
  {
    kernels: ["Maximum", "Minimum"],
    wrong: ({ inputs }) => isSuspect(inputs["b"]!),
    right: keptFrom("b"),
  },
  {
    kernels: ["Cast"],
    wrong: ({ inputs, attrs }) => attrs["dtype"] === "bool" && inputs["x"]!.dtype !== "bool",
    right: ({ inputs }) => tf.notEqual(inputs["x"]!, 0),
  },
];

/** What webgpu gets wrong, where nothing can be read in time. */
export const onWebGpu: readonly Repair[] = [
  { kernels: ["Relu6"], wrong: () => true, right: keptFrom("x") },
];

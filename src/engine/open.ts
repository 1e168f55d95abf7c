/**
 * Native speed: pure tensor functions compiled to ONNX and run by ONNX Runtime, and graphs of ONNX out and in.
 *
 * ```ts
 * import { onnx } from "@tweedie/tweedie/onnx";
 * ```
 *
 * Importing this loads no native code; {@link onnx} does.
 *
 * @module
 */

import { decoded, type Rules } from "../tensor/check/decode.ts";
import type { Engine } from "../tensor/engine.ts";
import { blocksOf, noBlocks } from "./compile/trial.ts";
import { compilerIn, type CompilerOptions, compilerOptions } from "./compile/compile.ts";
import { executor, type ExecutorOptions, executorOptions } from "./runtime/remote.ts";

export { compiler, type CompilerOptions } from "./compile/compile.ts";
export { type Program, type Spec, trace, type TraceOptions } from "./compile/trace.ts";
export type {
  Attribute,
  Constant,
  Elements,
  ElementType,
  Graph,
  Node,
  Port,
} from "./graph/graph.ts";
export type { BlockForm } from "./graph/record.ts";
export type { DType } from "./graph/value.ts";
export { exportDenoiser } from "./denoiser/export.ts";
export {
  denoiserFormat,
  type Layout,
  type OnnxModel,
  onnxModel,
  type OnnxModelOptions,
} from "./denoiser/import.ts";
export { decode, type Description, encode, opset } from "./onnx/proto.ts";
export type {
  Executor,
  Feed,
  Fetch,
  HostTensor,
  LoadOptions,
  OnnxOptions,
  SessionInfo,
  SessionPort,
} from "./runtime/executor.ts";
export { EngineUnavailable, executor, type ExecutorOptions } from "./runtime/remote.ts";

/** Options of {@link onnx}. */
export type EngineOptions = ExecutorOptions & CompilerOptions;

const engineOptions: Rules<EngineOptions> = { ...executorOptions, ...compilerOptions };

/**
 * The engine that runs pure tensor functions on ONNX Runtime: about ten times as fast as tfjs's wasm on a CPU.
 *
 * It needs `--allow-ffi` and `--allow-read`. The package `onnxruntime-node` comes from npm at its first use, 290 MB on the
 * disk, with binaries for Linux, macOS and Windows.
 *
 * @param options Provider, threads and spinning; whether in a worker; how many sets of shapes are kept; whether images may lie
 *   in the runtime's own layout, of which the engine's name tells what a trial has found right.
 * @returns The engine. Close it to end its worker.
 * @throws {TypeError} If an option is unknown, or of another type.
 * @throws {RangeError} If an option does not make sense.
 * @throws {EngineUnavailable} If a permission, the package, its binary or the provider is missing, with what to do.
 *
 * @example A function, its gradient, and both at native speed
 * ```ts
 * import { onnx } from "@tweedie/tweedie/onnx";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import * as tf from "@tensorflow/tfjs-core";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const engine = await onnx();
 * const energy = (x: tf.Tensor) => tf.sum(tf.mul(tf.square(x), 0.5));
 * const compiled = engine.compile(({ x }) => ({ energy: energy(x!), score: tf.neg(tf.grad(energy)(x!)) }));
 * const { score } = await compiled.run({ x: tf.tensor([1, -2]) });
 * assert.deepEqual([...score!.dataSync()], [-1, 2]);
 * await engine.close();
 * ```
 */
export async function onnx(options: EngineOptions = {}): Promise<Engine> {
  decoded("use the onnx engine", options, engineOptions); // before anything has been started
  const { shapes, blocked = (options.provider ?? "cpu") === "cpu", ...runtime } = options;
  const runs = await executor(runtime);
  try {
    const blocks = blocked ? await blocksOf(runs) : noBlocks, { block, without } = blocks;
    const told = [`blocks of ${block}`, ...without.map((form) => `no ${form}`)].join(", ");
    return {
      ...compilerIn(runs, { ...(shapes !== undefined && { shapes }), blocks: () => blocks }),
      name: block > 0 ? `${runs.name}, ${told}` : runs.name,
    };
  } catch (error) {
    await runs.close();
    throw error;
  }
}

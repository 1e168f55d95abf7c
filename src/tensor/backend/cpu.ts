/**
 * The plain JavaScript engine.
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
import { repairCpu } from "../kernel/cpu.ts";
import { engineIn, isStarted, load, register } from "./load.ts";

/** As much of the package's engine as is called here. */
interface CpuBackend extends tf.KernelBackend {
  write(values: Float32Array, shape: number[], dtype: tf.DataType): object;
  disposeData(id: object): boolean;
}

/** Starts the plain JavaScript engine; its first write prints a banner unless tfjs thinks that it is under test. */
export async function startCpu({ module }: { readonly module?: string | object }): Promise<void> {
  const MathBackendCPU = engineIn<[], CpuBackend>(
    "cpu",
    await load("cpu", module),
    "MathBackendCPU",
  );
  repairCpu();
  if (isStarted("cpu")) return;
  const engine = new MathBackendCPU(), testing = tf.env().getBool("IS_TEST");
  tf.env().set("IS_TEST", true);
  engine.disposeData(engine.write(new Float32Array(1), [1], "float32"));
  tf.env().set("IS_TEST", testing);
  register("cpu", engine);
}

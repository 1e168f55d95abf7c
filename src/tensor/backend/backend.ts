/**
 * Choosing the engine that runs the tensors.
 *
 * The mathematics of the library is the same on every engine; a sample differs between them by float rounding only.
 * Importing this file loads no engine: {@link useBackend} fetches and loads the one asked for, and no other. In Deno
 * none of them needs a permission but `"tensorflow"`, whose native code does.
 *
 * | name | runs on | comes from |
 * | --- | --- | --- |
 * | `"wasm"` | one CPU thread, SIMD | `@tensorflow/tfjs-backend-wasm` |
 * | `"cpu"` | plain JavaScript, the reference for tests | `@tensorflow/tfjs-backend-cpu` |
 * | `"webgpu"` | WebGPU of Deno or of the browser | `@tensorflow/tfjs-backend-webgpu` |
 * | `"tensorflow"` | native TensorFlow, CPU or CUDA | `@tensorflow/tfjs-node-gpu`, which the user installs |
 *
 * In Node and Bun the program installs the package of its engine. A program that is bundled, for a browser above all,
 * imports the package itself, so that the bundler sees it, and hands it over as {@link BackendOptions.module}.
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
import { checkOptions, type Known, shown } from "../check/check.ts";
import { startCpu } from "./cpu.ts";
import { BackendUnavailable, isRegistered, unavailable } from "./load.ts";
import { gpu, isDeno } from "./runtime.ts";
import { startTensorFlow } from "./tensorflow.ts";
import { startWasm } from "./wasm.ts";
import { gpuFaults, noAdapter, startWebGpu } from "./webgpu.ts";

export { BackendUnavailable };

/** The name of an engine. */
export type Backend = "wasm" | "cpu" | "webgpu" | "tensorflow";

/** Options of {@link useBackend}. */
export interface BackendOptions {
  /**
   * The engine's module, or its specifier, for a program that imports it itself or pins its own. Default: the package of
   * the table above, in Deno from npm (`"tensorflow"`: about 300 MB on its first use), elsewhere by its bare name.
   */
  readonly module?: string | object;
  /**
   * For `"wasm"` alone: where `tfjs-backend-wasm-simd.wasm` of the package can be fetched, which a page has to say.
   * Default: the file in the package.
   */
  readonly wasm?: string | URL;
}

const backendOptions: Known<BackendOptions> = { module: true, wasm: true };

/** One line of {@link backends}. */
export interface BackendStatus {
  /** The engine. */
  readonly name: Backend;
  /** Whether {@link useBackend} can be expected to succeed without anything more being installed. */
  readonly available: boolean;
  /** What it runs on, or what is missing. */
  readonly detail: string;
}

/** Each engine's start: leaves it registered with tfjs, or throws. */
const start: Record<Backend, (options: BackendOptions) => Promise<void>> = {
  wasm: startWasm,
  cpu: startCpu,
  webgpu: startWebGpu,
  tensorflow: startTensorFlow,
};

/**
 * Loads an engine, makes it the one that runs the tensors, and waits until it is ready.
 *
 * Tensors made under another engine stay usable: tfjs moves them when they are next used. Asking again for the
 * engine in use costs nothing worth naming.
 *
 * @param name Which engine. Default: `"wasm"`.
 * @param options See {@link BackendOptions}.
 * @throws {TypeError} If an option is unknown, or has no meaning for the engine.
 * @throws {RangeError} If there is no engine of that name.
 * @throws {BackendUnavailable} If it cannot be had here, with what to do; the engine in use before stays in use.
 *
 * @example The reference engine
 * ```ts
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import * as tf from "@tensorflow/tfjs-core";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * assert.equal(tf.getBackend(), "cpu");
 * ```
 */
export async function useBackend(
  name: Backend = "wasm",
  options: BackendOptions = {},
): Promise<void> {
  if (!Object.hasOwn(start, name)) {
    throw new RangeError(
      `Cannot use a backend: name must be one of ${Object.keys(start).join(", ")}, got ${name}`,
    );
  }
  checkOptions(`use the ${name} backend`, options, backendOptions);
  if (options.wasm !== undefined && name !== "wasm") {
    throw new TypeError(
      `Cannot use the ${name} backend: wasm must be absent but for "wasm", got ${
        shown(options.wasm)
      }`,
    );
  }
  const before = tf.getBackend();
  try {
    await start[name](options);
    if (!await tf.setBackend(name)) throw new Error("tfjs could not start it");
    await tf.ready();
  } catch (error) {
    if (before && before !== tf.getBackend()) await tf.setBackend(before);
    throw error instanceof BackendUnavailable ? error : unavailable(name, reason(error), error);
  }
}

const reason = (error: unknown): string => error instanceof Error ? error.message : String(error);

/**
 * The engines and whether they can be had here, in the order of {@link Backend}. Loads and starts nothing.
 *
 * @returns One line for each engine.
 *
 * @example
 * ```ts
 * import { backends } from "@tweedie/tweedie/backend";
 * import assert from "node:assert/strict";
 *
 * const names = (await backends()).filter((b) => b.available).map((b) => b.name);
 * assert.ok(names.includes("wasm") && names.includes("cpu"));
 * ```
 */
export async function backends(): Promise<BackendStatus[]> {
  const adapter = await gpu()?.requestAdapter(), native = isRegistered("tensorflow");
  const status = (name: "wasm" | "cpu", detail: string): BackendStatus => {
    const available = isDeno() || isRegistered(name);
    return { name, available, detail: available ? detail : "not loaded" };
  };
  return [
    status("wasm", "WebAssembly SIMD, one thread"),
    status("cpu", "plain JavaScript"),
    { name: "webgpu", available: !!adapter, detail: adapter ? described(adapter) : noAdapter },
    { name: "tensorflow", available: native, detail: native ? "loaded" : "not loaded" },
  ];
}

/** Browsers leave out most of what would tell machines apart. */
const described = ({ info: { description, vendor } }: GPUAdapter): string =>
  description || vendor || "a GPU";

/**
 * Waits for the GPU and throws if it reported an error since the last call.
 *
 * A shader that does not compile or a buffer over the device's limit gives zeros or stale memory in silence, on any
 * WebGPU implementation. Call this where a result is about to be believed: at the end of a run or of an epoch. It
 * costs one round trip to the device, and nothing where WebGPU is not in use.
 *
 * @throws {Error} If the GPU reported errors: the first few of them, one a line.
 *
 * @example
 * ```ts
 * import { checkGpu, useBackend } from "@tweedie/tweedie/backend";
 *
 * await useBackend("cpu");
 * await checkGpu(); // not on a GPU: nothing to report
 * ```
 */
export async function checkGpu(): Promise<void> {
  const found = await gpuFaults();
  if (found.length > 0) {
    throw new Error(`Cannot trust the GPU's results:\n${found.slice(0, 5).join("\n")}`);
  }
}

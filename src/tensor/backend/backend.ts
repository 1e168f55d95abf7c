/**
 * Choosing the engine that runs the tensors.
 *
 * The mathematics of the library is the same on every engine; a sample differs between them by float rounding only.
 * Importing this file loads no engine: {@link useBackend} loads the one asked for, and none of them needs a
 * permission but `"tensorflow"`, whose native code does.
 *
 * | name | runs on | comes from |
 * | --- | --- | --- |
 * | `"wasm"` | one CPU thread, SIMD | `@tensorflow/tfjs-backend-wasm` |
 * | `"cpu"` | plain JavaScript, the reference for tests | `@tensorflow/tfjs-backend-cpu` |
 * | `"webgpu"` | Deno's own WebGPU | `@tensorflow/tfjs-backend-webgpu` |
 * | `"tensorflow"` | native TensorFlow, CPU or CUDA | `@tensorflow/tfjs-node-gpu`, which the user installs |
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
import type { WebGPUBackend } from "@tensorflow/tfjs-backend-webgpu";
import nodeUtil from "node:util";
import { checkOptions, type Known, shown } from "../check.ts";

/** The name of an engine. */
export type Backend = "wasm" | "cpu" | "webgpu" | "tensorflow";

/** Options of {@link useBackend}. */
export interface BackendOptions {
  /**
   * For `"tensorflow"` alone: the specifier of the module to load, or the loaded module itself, for a program that
   * pins its own. Default: `"npm:@tensorflow/tfjs-node-gpu@^4.22.0"`, about 300 MB on its first use.
   */
  readonly module?: string | object;
}

const backendOptions: Known<BackendOptions> = { module: true };

/** One line of {@link backends}. */
export interface BackendStatus {
  /** The engine. */
  readonly name: Backend;
  /** Whether {@link useBackend} can be expected to succeed without anything more being installed. */
  readonly available: boolean;
  /** What it runs on, or what is missing. */
  readonly detail: string;
}

/** An engine was asked for that cannot be had here; `cause` holds the underlying error, if there was one. */
export class BackendUnavailable extends Error {
  /** The class's name, `"BackendUnavailable"`. */
  override readonly name: string = "BackendUnavailable";
}

const unavailable = (name: Backend, why: string, cause?: unknown): BackendUnavailable =>
  new BackendUnavailable(`Cannot use the ${name} backend: ${why}`, { cause });

const isStarted = (name: Backend): boolean => name in tf.engine().registry;
const isRegistered = (name: Backend): boolean => name in tf.engine().registryFactory;

/** Puts a running engine in the place of the package's own factory, which would report a failure by printing it. */
function register(name: Backend, engine: tf.KernelBackend): void {
  if (isStarted(name)) return;
  if (isRegistered(name)) tf.removeBackend(name);
  tf.registerBackend(name, () => engine);
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
  if (options.module !== undefined && name !== "tensorflow") {
    throw new TypeError(
      `Cannot use the ${name} backend: module must be absent but for "tensorflow", got ${
        shown(options.module)
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
  const adapter = await navigator.gpu?.requestAdapter();
  const native = isRegistered("tensorflow");
  return [
    { name: "wasm", available: true, detail: "WebAssembly SIMD, one thread" },
    { name: "cpu", available: true, detail: "plain JavaScript" },
    { name: "webgpu", available: !!adapter, detail: adapter?.info.description || noAdapter },
    { name: "tensorflow", available: native, detail: native ? "loaded" : "not loaded" },
  ];
}

/** Loads the plain JavaScript engine; its first write prints a banner unless tfjs thinks that it is under test. */
async function startCpu(): Promise<void> {
  const { MathBackendCPU } = await import("@tensorflow/tfjs-backend-cpu");
  const { repairCpu } = await import("../kernel/cpu.ts");
  repairCpu();
  if (isStarted("cpu")) return;
  const engine = new MathBackendCPU(), testing = tf.env().getBool("IS_TEST");
  tf.env().set("IS_TEST", true);
  engine.disposeData(engine.write(new Float32Array(1), [1], "float32"));
  tf.env().set("IS_TEST", testing);
  register("cpu", engine);
}

/** As much of an Emscripten module as is called here: `cwrap` binds a C function by its name and signature. */
interface Emscripten {
  cwrap(name: string, returns: "number" | null, takes: "number"[]): (...args: number[]) => number;
  tfjs?: Record<string, (...args: number[]) => number>;
}

/** Emscripten's hook for a program that instantiates the code itself. */
type Instantiate = (
  imports: WebAssembly.Imports,
  done: (i: WebAssembly.Instance) => void,
) => object;

/**
 * Starts WebAssembly without a permission. The package's own loader reads its `.wasm` file from the disk; the same
 * file imported as a module arrives compiled, and the package's Emscripten glue accepts it.
 */
async function startWasm(): Promise<void> {
  const { BackendWasm } = await import("@tensorflow/tfjs-backend-wasm");
  const { registerWasmKernels } = await import("../kernel/wasm.ts");
  registerWasmKernels();
  if (!isStarted("wasm")) register("wasm", new BackendWasm(bind(await instantiate()) as never));
}

async function instantiate(): Promise<Emscripten> {
  const glue = await import(
    "npm:@tensorflow/tfjs-backend-wasm@^4.22.0/wasm-out/tfjs-backend-wasm.js"
  );
  // @ts-ignore: TypeScript does not know source-phase imports yet; Deno runs them.
  const code: WebAssembly.Module = await import.source(
    "npm:@tensorflow/tfjs-backend-wasm@^4.22.0/dist/tfjs-backend-wasm-simd.wasm"
  );
  const make = glue.default as unknown as (
    config: { instantiateWasm: Instantiate },
  ) => Promise<Emscripten>;
  const instantiateWasm: Instantiate = (imports, done) => {
    done(new WebAssembly.Instance(code, imports));
    return {};
  };
  return make({ instantiateWasm });
}

/** Binds the six C functions through which tfjs manages memory in the module. */
function bind(module: Emscripten): Emscripten {
  module.tfjs = {
    init: module.cwrap("init", null, []),
    initWithThreadsCount: module.cwrap("init_with_threads_count", null, ["number"]),
    getThreadsCount: module.cwrap("get_threads_count", "number", []),
    registerTensor: module.cwrap("register_tensor", null, ["number", "number", "number"]),
    disposeData: module.cwrap("dispose_data", null, ["number"]),
    dispose: module.cwrap("dispose", null, []),
  };
  return module;
}

const noAdapter =
  'no GPU adapter was found; install a GPU driver (Mesa\'s "mesa-vulkan-drivers" with "libvulkan1" ' +
  'runs without a GPU) or choose "wasm"';

/** What went wrong on GPU devices since {@link checkGpu} last looked. */
const gpuErrors: string[] = [];

/** The adapter limits that tfjs's kernels can use; the rest stay at their defaults. */
const limits = [
  "maxComputeWorkgroupStorageSize",
  "maxComputeWorkgroupsPerDimension",
  "maxComputeWorkgroupSizeX",
  "maxComputeInvocationsPerWorkgroup",
  "maxStorageBufferBindingSize",
  "maxStorageBuffersPerShaderStage",
  "maxBufferSize",
] as const;

/** Starts WebGPU on a device of our own, so that its errors can be heard and addN may take more than seven tensors. */
async function startWebGpu(): Promise<void> {
  if (isStarted("webgpu")) return;
  const adapter = await navigator.gpu?.requestAdapter({ powerPreference: "high-performance" });
  if (!adapter) throw unavailable("webgpu", noAdapter);
  const { WebGPUBackend } = await import("@tensorflow/tfjs-backend-webgpu");
  const { guard, repairWebGpu } = await import("../kernel/webgpu.ts");
  repairWebGpu();
  register("webgpu", guard(new WebGPUBackend(await openDevice(adapter), adapter.info)));
}

async function openDevice(adapter: GPUAdapter): Promise<GPUDevice> {
  const device = await adapter.requestDevice({
    requiredFeatures: adapter.features.has("timestamp-query") ? ["timestamp-query"] : [],
    requiredLimits: Object.fromEntries(limits.map((name) => [name, adapter.limits[name]])),
  });
  device.addEventListener("uncapturederror", (event) => {
    gpuErrors.push((event as GPUUncapturedErrorEvent).error.message);
  });
  device.lost.then((info) =>
    gpuErrors.push(`the device was lost (${info.reason}): ${info.message}`)
  );
  return device;
}

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
  const engine = tf.engine().registry["webgpu"] as WebGPUBackend | undefined;
  if (!engine) return;
  engine.ensureCommandEncoderReady();
  engine.endComputePassEncoder();
  engine.submitQueue();
  await engine.device.queue.onSubmittedWorkDone();
  await new Promise((resolve) => setTimeout(resolve)); // the error event is a task of its own
  const found = gpuErrors.splice(0);
  if (found.length > 0) {
    throw new Error(`Cannot trust the GPU's results:\n${found.slice(0, 5).join("\n")}`);
  }
}

/** Loads native TensorFlow; its kernels call a function that Node had and Deno's `node:util` has not. */
async function startTensorFlow({ module = nodeGpu }: BackendOptions): Promise<void> {
  (nodeUtil as { isNullOrUndefined?: (x: unknown) => boolean }).isNullOrUndefined ??= (x) =>
    x == null;
  try {
    if (typeof module === "string") await import(module);
  } catch (cause) {
    throw unavailable("tensorflow", `${module} could not be loaded; ${howToInstall}`, cause);
  }
  if (isRegistered("tensorflow")) return;
  throw unavailable(
    "tensorflow",
    `the module given did not register it with tfjs-core 4.22; ${howToInstall}`,
  );
}

const nodeGpu = "npm:@tensorflow/tfjs-node-gpu@^4.22.0";

const howToInstall =
  'set "nodeModulesDir": "auto" in deno.json, run `deno install --allow-scripts=' +
  "npm:@tensorflow/tfjs-node-gpu npm:@tensorflow/tfjs-node-gpu`, and run with --allow-ffi --allow-read --allow-env, " +
  'or choose "wasm"';

/**
 * The WebAssembly engine.
 *
 * Three ways lead to its code. Deno imports the package's `.wasm` file as a module, which needs no permission; Node and
 * Bun leave it to the package's own loader, which reads the file; a page fetches it from where it is told.
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
import { registerWasmKernels } from "../kernel/wasm.ts";
import { engineIn, isStarted, load, member, register, specifierOf, unavailable } from "./load.ts";
import { builtin, isDeno } from "./runtime.ts";

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

/** The package's glue: starts the code. */
type Glue = (config: { instantiateWasm: Instantiate }) => Promise<Emscripten>;

/** Names of the package's files of code, of which the runtime's abilities choose one. */
const files = [
  "tfjs-backend-wasm.wasm",
  "tfjs-backend-wasm-simd.wasm",
  "tfjs-backend-wasm-threaded-simd.wasm",
];

/** Starts WebAssembly. */
export async function startWasm(
  { module, wasm }: { readonly module?: string | object; readonly wasm?: string | URL },
): Promise<void> {
  const loaded = await load("wasm", module);
  const BackendWasm = engineIn<[Emscripten], tf.KernelBackend>("wasm", loaded, "BackendWasm");
  registerWasmKernels();
  if (isStarted("wasm")) return;
  const engine = isDeno() && wasm === undefined
    ? new BackendWasm(
      bind(await instantiate(typeof module === "string" ? module : specifierOf("wasm"))),
    )
    : await byPackage(loaded, wasm);
  register("wasm", engine);
}

/** Starts the code as a module. The package's loader would read it from the disk, which needs a permission. */
async function instantiate(from: string): Promise<Emscripten> {
  const glue = member(await import(`${from}/wasm-out/tfjs-backend-wasm.js`), "default") as Glue;
  // As text, since other runtimes, which never come here, cannot parse a source-phase import.
  const sourceOf = new Function("specifier", "return import.source(specifier)");
  const code: WebAssembly.Module = await sourceOf(`${from}/dist/tfjs-backend-wasm-simd.wasm`);
  const instantiateWasm: Instantiate = (imports, done) => {
    done(new WebAssembly.Instance(code, imports));
    return {};
  };
  return glue({ instantiateWasm });
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

/** Starts the code by the package's own loader: from its own file, or from a place on the net. */
async function byPackage(module: object, wasm?: string | URL): Promise<tf.KernelBackend> {
  // One thread, as everywhere: threads are in a file of their own.
  tf.env().set("WASM_HAS_MULTITHREAD_SUPPORT", false);
  if (wasm !== undefined) {
    const at = await fetched(wasm);
    const setWasmPaths = member(module, "setWasmPaths") as (paths: object) => void;
    setWasmPaths(Object.fromEntries(files.map((name) => [name, at])));
  } else if (!builtin("node:fs")) {
    throw unavailable(
      "wasm",
      "wasm must be the URL of the package's dist/tfjs-backend-wasm-simd.wasm in a browser, got none",
    );
  }
  return await tf.engine().registryFactory["wasm"]!.factory();
}

/** Code that has been fetched, as a URL: the package's loader would wait for ever for code that does not compile. */
async function fetched(from: string | URL): Promise<string> {
  const response = await fetch(from), bytes = await response.arrayBuffer();
  if (response.ok && WebAssembly.validate(bytes)) return URL.createObjectURL(new Blob([bytes]));
  throw unavailable("wasm", `${from} must be a file of WebAssembly, got ${response.status}`);
}

/**
 * Native TensorFlow.
 *
 * @module
 */

import { isRegistered, load, unavailable } from "./load.ts";
import { builtin } from "./runtime.ts";

/** A function that Node had, and that TensorFlow's kernels call. */
interface Lost {
  isNullOrUndefined?: (x: unknown) => boolean;
}

/** Loads native TensorFlow, after giving `node:util` back what its kernels need of it. */
export async function startTensorFlow(
  { module }: { readonly module?: string | object },
): Promise<void> {
  const util = builtin<{ readonly default?: Lost } & Lost>("node:util");
  if (util) (util.default ?? util).isNullOrUndefined ??= (x) => x == null;
  await load("tensorflow", module, howToInstall);
  if (isRegistered("tensorflow")) return;
  throw unavailable(
    "tensorflow",
    `the module given did not register it with tfjs-core 4.22; ${howToInstall}`,
  );
}

const howToInstall =
  'set "nodeModulesDir": "auto" in deno.json, run `deno install --allow-scripts=' +
  "npm:@tensorflow/tfjs-node-gpu npm:@tensorflow/tfjs-node-gpu`, and run with --allow-ffi --allow-read --allow-env, " +
  'or choose "wasm"';

/**
 * Slips in tensors, backends and engines.
 *
 * @module
 */

import { type Slip, slip } from "./slip.ts";

/** All of them. */
export const tensor: readonly Slip[] = [
  slip(
    "tensor/ndarray.ts",
    "if (!isViewData(data)) {\n    throw new TypeError(\n      `Cannot view",
    "if (data === null) {\n    throw new TypeError(\n      `Cannot view",
    "tensor/ndarray",
  ),
  slip(
    "tensor/backend/backend.ts",
    'name !== "wasm"',
    'name === "wasm"',
    "tensor/backend",
  ),
  slip(
    "engine/open.ts",
    '  decoded("use the onnx engine", options, engineOptions);',
    "",
    "engine/runtime/executor",
  ),
  slip(
    "engine/runtime/remote.ts",
    '  decoded("use the onnx engine", options, executorOptions);',
    "",
    "engine/runtime/executor",
  ),
  slip(
    "engine/denoiser/export.ts",
    "  checkParams(network, params);",
    "",
    "engine/denoiser/export",
  ),
  slip(
    "engine/denoiser/export.ts",
    "  checkConfig(config, network);",
    "",
    "engine/denoiser/export",
  ),
  slip(
    "engine/denoiser/import.ts",
    "decoded(action, options, modelOptions);",
    "options;",
    "engine/denoiser/import",
  ),
  slip("tensor/kernel/nan.ts", '["ClipByValue", "Relu6"]', '["Relu6"]', "tensor/kernel/nan"),
  slip("tensor/kernel/nan.ts", '["Maximum", "Minimum"]', '["Maximum"]', "tensor/kernel/nan"),
  slip(
    "tensor/kernel/nan.ts",
    "!Number.isFinite(tf.tidy",
    "Number.isFinite(tf.tidy",
    "tensor/kernel/nan",
  ),
  slip(
    "tensor/kernel/nan.ts",
    'tf.notEqual(inputs["x"]!, 0)',
    'tf.greater(inputs["x"]!, 0)',
    "tensor/kernel/nan",
  ),
  slip("tensor/autodiff.ts", '"logSigmoid", ', "", "tensor/autodiff"),
  slip("tensor/autodiff.ts", '"logSoftmax", ', "", "tensor/autodiff"),
  slip("tensor/autodiff.ts", ', "softmaxCrossEntropy"', "", "tensor/autodiff"),
  slip(
    "tensor/check/check.ts",
    "return (hi as number) >>> 0 === hi &&",
    "return value ||",
    "tensor/key",
  ),
  slip(
    "tensor/key.ts",
    'checkKey("fold a key", parent, "parent");',
    "",
    "tensor/key",
  ),
  slip(
    "tensor/random.ts",
    "checkKey(action, key, name);",
    "void [action, key, name];",
    "tensor/random",
  ),
  slip(
    "tensor/random.ts",
    'decoded("draw uniforms", options, uniformOptions);',
    "options;",
    "tensor/random",
  ),
  slip(
    "tensor/check/check.ts",
    "|| Object.hasOwn(known, name)) continue",
    ") continue",
    "tensor/check/check",
  ),
  slip(
    "tensor/engine.ts",
    "worked < every ? undefined : paused(worked)",
    "undefined",
    "sample/fit",
  ),
  slip("tensor/scope.ts", "|| ArrayBuffer.isView(each)", "", "tensor/scope"),
  slip("tensor/scope.ts", "if (seen.has(each)) return;", "", "tensor/scope"),
];

/**
 * Tensors between the host and the backend in use.
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
import { checkBackend } from "../../tensor/check/ready.ts";
import { scope } from "../../tensor/scope.ts";
import { floats, type HostTensor, type HostTensors, isFloat } from "./dtype.ts";
import type { Tensor } from "../../tensor/tensor.ts";

/** A tensor, wherever it is. */
export type AnyTensor = HostTensor | Tensor;

/** What a tensor of the backend is made of. */
type Values = ["float32" | "int32" | "bool", Float32Array | Int32Array | Uint8Array];

/**
 * Uploads host tensors: floats as float32, whole numbers of up to 32 bits (and 64-bit ones that fit) as int32, booleans
 * as bool. A tensor does not share memory with its host tensor.
 *
 * @category Files
 * @param group Host tensors by name.
 * @returns tfjs tensors by name. They are the scope's, or the caller's where there is none.
 * @throws {RangeError} If a whole number does not fit int32, or the backend has no room for a tensor; no tensor is left.
 * @throws {TypeError} If no backend is in use.
 *
 * @example
 * ```ts
 * import { toTensors } from "@tweedie/tweedie/io";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const { w } = toTensors({ w: { dtype: "F16", shape: [1, 2], data: new Float16Array([1, 0.5]) } });
 * assert.deepEqual([w!.dtype, w!.shape, await w!.array()], ["float32", [1, 2], [[1, 0.5]]]);
 * w!.dispose();
 * ```
 */
export function toTensors(group: HostTensors): Record<string, Tensor> {
  // Copies, since the "cpu" backend keeps the array that it is given.
  return uploaded(group, ([dtype, data]) => [dtype, data.slice()]);
}

/**
 * Uploads host tensors that nobody else uses: {@link toTensors}, but that a tensor may keep its host tensor's memory.
 *
 * @param group Host tensors by name, which are the library's own.
 * @param own What becomes of values before they are handed over. Default: nothing.
 * @returns tfjs tensors by name. They are the scope's, or the caller's where there is none.
 */
export function uploaded(
  group: HostTensors,
  own: (values: Values) => Values = (values) => values,
): Record<string, Tensor> {
  const named = Object.entries(group).map(([name, tensor]) =>
    [name, tensor, onDevice(name, tensor)] as const
  );
  checkBackend("make a tensor");
  return scope(() =>
    Object.fromEntries(named.map(([name, tensor, values]) => {
      // A host tensor that is not float32 was widened into an array of its own.
      const [dtype, data] = values[1] === tensor.data ? own(values) : values;
      return [name, placed(name, tensor, () => tf.tensor(data, [...tensor.shape], dtype))];
    }))
  );
}

function placed(name: string, { shape }: HostTensor, make: () => Tensor): Tensor {
  try {
    return make();
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new RangeError(
      `Cannot make a tensor: ${name} must be what the backend has room for, got shape [${shape}]: ${why}`,
      { cause },
    );
  }
}

/** Element type and data, which are the host tensor's own where they need no change. */
function onDevice(name: string, tensor: HostTensor): Values {
  if (tensor.dtype === "BOOL") return ["bool", tensor.data as Uint8Array];
  if (tensor.dtype === "I32") return ["int32", tensor.data as Int32Array];
  if (isFloat(tensor.dtype)) return ["float32", floats(tensor)];
  const whole = Array.from<number | bigint, number>(tensor.data, Number);
  const over = whole.find((value) => value !== (value | 0));
  if (over === undefined) return ["int32", Int32Array.from(whole)];
  throw new RangeError(
    `Cannot make a tensor: ${name} (${tensor.dtype}) must be within int32, got ${over}`,
  );
}

/**
 * Downloads tensors: float32 as F32, int32 as I32, bool as BOOL. All reads start before the promise is returned, so
 * the tensors may be disposed of right after the call.
 *
 * @category Files
 * @param record tfjs tensors by name; the caller keeps them.
 * @returns Host tensors by name, copies of their own.
 * @throws {TypeError} If a tensor is of complex numbers or strings, or was disposed of.
 *
 * @example
 * ```ts
 * import { fromTensors } from "@tweedie/tweedie/io";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import * as tf from "@tensorflow/tfjs-core";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const b = tf.tensor1d([1, 2]);
 * assert.deepEqual(await fromTensors({ b }), { b: { dtype: "F32", shape: [2], data: new Float32Array([1, 2]) } });
 * b.dispose();
 * ```
 */
export async function fromTensors(
  record: Readonly<Record<string, Tensor>>,
): Promise<Record<string, HostTensor>> {
  return await downloaded("read tensors", record);
}

/**
 * Host tensors of tensors wherever they are: those on the host as they are, the others as {@link fromTensors} gives them.
 *
 * @param action What they are for, such as `"save checkpoint"`.
 * @param record Tensors by name; the caller keeps them, and may dispose of them right after the call.
 * @returns Host tensors by name.
 * @throws {TypeError} If what is there is no tensor, is one of complex numbers or strings, or was disposed of.
 */
export async function downloaded(
  action: string,
  record: Readonly<Record<string, AnyTensor>>,
): Promise<Record<string, HostTensor>> {
  for (const [name, tensor] of Object.entries(record)) checkReadable(action, name, tensor);
  const entries = Object.entries(record).map(async (
    [name, tensor],
  ) => [name, tensor instanceof tf.Tensor ? await fromTensor(tensor) : tensor]);
  return Object.fromEntries(await Promise.all(entries));
}

function checkReadable(action: string, name: string, tensor: unknown): void {
  const refuse = (wanted: string, got: string): TypeError =>
    new TypeError(`Cannot ${action}: ${name} must be ${wanted}, got ${got}`);
  if (!(tensor instanceof tf.Tensor)) {
    if (typeof tensor === "object" && tensor !== null && "dtype" in tensor) return;
    throw refuse("a tensor", tensor === null ? "null" : typeof tensor);
  }
  if (tensor.isDisposed) throw refuse("a tensor that lives", "one that was disposed of");
  if (tensor.dtype === "complex64" || tensor.dtype === "string") {
    throw refuse("float32, int32 or bool", tensor.dtype);
  }
}

async function fromTensor(tensor: Tensor): Promise<HostTensor> {
  const { dtype } = tensor, shape = [...tensor.shape], data = await tensor.data();
  if (dtype === "int32") return { dtype: "I32", shape, data: Int32Array.from(data) };
  if (dtype === "bool") return { dtype: "BOOL", shape, data: Uint8Array.from(data) };
  return { dtype: "F32", shape, data: Float32Array.from(data) };
}

/** The first number of a tensor that is NaN or infinite, if there is one. */
export function notFinite(tensor: HostTensor): number | undefined {
  if (!isFloat(tensor.dtype)) return undefined;
  const { data } = tensor;
  // Not by way of float32, which a float64 may overflow.
  const numbers = data instanceof Float64Array ? data : floats(tensor);
  return numbers.find((value) => !Number.isFinite(value));
}

/**
 * Refuses tensors that are not finite: who reads them could not go on with them.
 *
 * @param action What could not be done, such as `"save checkpoint"`.
 * @param tensors Host tensors by name.
 * @throws {RangeError} If there is NaN or infinity, with the tensor's name.
 */
export function checkFinite(action: string, tensors: HostTensors): void {
  for (const [name, tensor] of Object.entries(tensors)) {
    const got = notFinite(tensor);
    if (got === undefined) continue;
    throw new RangeError(`Cannot ${action}: tensor ${name} must be of finite numbers, got ${got}`);
  }
}

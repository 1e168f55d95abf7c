/**
 * Putting right what a backend of tfjs gets wrong.
 *
 * A repair names kernels, says which calls of them go wrong, and answers those from calls that go right; all other
 * calls reach tfjs's own kernel as before. What every backend needs is here: products of broadcast batches, and
 * reductions over nothing, for which tfjs answers with stale memory (wasm), throws (webgpu) or gives what is no
 * neutral element (cpu).
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
import type { Tensor } from "../tensor.ts";

/** A call of a kernel. */
export interface Call {
  /** The kernel's inputs by name; by number where they are a list. */
  readonly inputs: Readonly<Record<string, Tensor>>;
  /** Its attributes. */
  readonly attrs: Readonly<Record<string, unknown>>;
  /** Its name. */
  readonly kernel: string;
}

/** tfjs's own kernel, on other inputs or attributes than those of the call where they are given. */
export type Plain = (other?: Partial<Call>) => Tensor;

/** A repair of kernels. */
export interface Repair {
  /** Names of the kernels. */
  readonly kernels: readonly string[];
  /** Whether tfjs's kernel goes wrong on a call. */
  readonly wrong: (call: Call) => boolean;
  /** The right answer to such a call. */
  readonly right: (call: Call, plain: Plain) => Tensor;
}

const done = new Set<string>();

/**
 * Repairs a backend's kernels, once: calling it again for the same backend changes nothing.
 *
 * @param backendName The backend, whose kernels must be registered.
 * @param repairs The repairs; of several for the same kernel the last is asked first.
 */
export function repairBackend(backendName: string, repairs: readonly Repair[]): void {
  if (done.has(backendName)) return;
  done.add(backendName);
  for (const repair of repairs) {
    for (const kernelName of repair.kernels) repairKernel(backendName, kernelName, repair);
  }
}

function repairKernel(backendName: string, kernelName: string, { wrong, right }: Repair): void {
  const config = tf.getKernel(kernelName, backendName), own = config.kernelFunc;
  const kernelFunc = ((given: Omit<Call, "kernel"> & { backend: object }) => {
    const call = { ...given, kernel: kernelName };
    if (!wrong(call)) return own(call as never);
    const plain: Plain = (other) => tensor(own({ ...call, ...other } as never));
    return tf.tidy(() => right(call, plain));
  }) as unknown as tf.KernelFunc;
  tf.unregisterKernel(kernelName, backendName);
  tf.registerKernel({ ...config, kernelFunc });
}

/** A kernel's answer as a tensor; some kernels, ours among them, answer with one. */
const tensor = (info: tf.TensorInfo | tf.TensorInfo[]): Tensor =>
  info instanceof tf.Tensor ? info : tf.engine().makeTensorFromTensorInfo(info as tf.TensorInfo);

const isEmpty = (x: Tensor): boolean => x.size === 0;

/** The values of reductions over no elements: neutral elements, and 0/0 for the mean. */
const neutral: Readonly<Record<string, number>> = {
  Sum: 0,
  Prod: 1,
  Max: -Infinity,
  Min: Infinity,
  Any: 0,
  All: 1,
  Mean: NaN,
};

const reductions: readonly Repair[] = Object.entries(neutral).map(([kernel, value]) => ({
  kernels: [kernel],
  wrong: ({ inputs }) => isEmpty(inputs["x"]!),
  right: ({ inputs, attrs }) => {
    const x = inputs["x"]!, { keepDims } = attrs;
    const axes = tf.util.parseAxisParam(
      (attrs["axis"] ?? attrs["reductionIndices"]) as number[],
      x.shape,
    );
    const kept = x.shape.map((size, i) => axes.includes(i) ? 1 : size);
    const shape = keepDims ? kept : x.shape.filter((_, i) => !axes.includes(i));
    return filled(shape, value, kernel === "Mean" ? "float32" : x.dtype);
  },
}));

/** A tensor of one value, which may have no elements. */
export function filled(shape: number[], value: number, dtype: tf.DataType): Tensor {
  const values = new Float32Array(tf.util.sizeFromShape(shape)).fill(value);
  return tf.tensor(values, shape, dtype);
}

const batchOf = (x: Tensor): number[] => x.shape.slice(0, -2);

/** Whether one of two batches has to be repeated, other than a single matrix for all of the other's. */
function unequal(a: Tensor, b: Tensor): boolean {
  const batch = tf.broadcast_util.assertAndGetBroadcastShape(batchOf(a), batchOf(b));
  const count = tf.util.sizeFromShape(batch);
  return [a, b].some((x) => ![1, count].includes(tf.util.sizeFromShape(batchOf(x))));
}

/** a·b where the batches of both are broadcast, or where the sum in it runs over nothing. */
const products: Repair = {
  kernels: ["BatchMatMul"],
  wrong: ({ inputs: { a, b } }) => isEmpty(a!) || isEmpty(b!) || unequal(a!, b!),
  right: ({ inputs: { a, b }, attrs }, plain) => {
    const batch = tf.broadcast_util.assertAndGetBroadcastShape(batchOf(a!), batchOf(b!));
    const rows = a!.shape.at(attrs["transposeA"] ? -1 : -2)!;
    const columns = b!.shape.at(attrs["transposeB"] ? -2 : -1)!;
    if (isEmpty(a!) || isEmpty(b!)) return filled([...batch, rows, columns], 0, a!.dtype);
    const whole = (x: Tensor) => tf.broadcastTo(x, [...batch, ...x.shape.slice(-2)]);
    return plain({ inputs: { a: whole(a!), b: whole(b!) } });
  },
};

/** Axes counted from the end, which tfjs's kernels take for axes that do not exist. */
const scans: Repair = {
  kernels: ["Cumsum", "Cumprod"],
  wrong: ({ attrs }) => (attrs["axis"] as number) < 0,
  right: ({ inputs, attrs }, plain) =>
    plain({ attrs: { ...attrs, axis: (attrs["axis"] as number) + inputs["x"]!.rank } }),
};

/** Repairs that every backend needs. */
export const everywhere: readonly Repair[] = [...reductions, products, scans];

/**
 * A stand-in for `@tensorflow/tfjs-node`, whose own JavaScript comes with 300 MB of packages and a native addon.
 *
 * Importing it does what importing the package does: it registers a backend named "tensorflow" over a binding, and
 * kernels for it. As the package's do, its kernels ask `util.isNullOrUndefined`, which Deno has not, about the inputs
 * of each operation; tensors reach the binding when an operation first needs them. The binding here keeps arrays in
 * a map, knows three operations, and remembers what it was asked to execute.
 *
 * @module
 */

import { createRequire } from "node:module";
import * as tf from "@tensorflow/tfjs-core";

/** Node's module as the package sees it. */
const util = createRequire(import.meta.url)("util") as { isNullOrUndefined(x: unknown): boolean };

interface Held {
  readonly shape: number[];
  readonly values: Float32Array;
}

/** What the native addon offers, as far as it is used here. */
const held = new Map<number, Held>();
let made = 0;

function createTensor(shape: number[], values: Float32Array): number {
  held.set(++made, { shape, values: values.slice() });
  return made;
}

/** The names of the operations executed so far. */
export const executed: string[] = [];

/** How many tensors the binding holds. */
export const alive = (): number => held.size;

const operations: Record<string, (...inputs: Held[]) => Held> = {
  AddV2: (a, b) => ({ shape: a!.shape, values: a!.values.map((v, i) => v + b!.values[i]!) }),
  Relu: (a) => ({ shape: a!.shape, values: a!.values.map((v) => Math.max(0, v)) }),
  MatMul: (a, b) => {
    const [rows, inner] = a!.shape as [number, number], columns = b!.shape[1]!;
    const values = Float32Array.from({ length: rows * columns }, (_, at) => {
      const row = Math.floor(at / columns), column = at % columns;
      return Array.from({ length: inner }, (_, k) => k)
        .reduce(
          (sum, k) => sum + a!.values[row * inner + k]! * b!.values[k * columns + column]!,
          0,
        );
    });
    return { shape: [rows, columns], values };
  },
};

function executeOp(name: string, ids: readonly number[]): { id: number; shape: number[] } {
  executed.push(name);
  const run = operations[name];
  if (!run) throw new Error(`Op type not registered '${name}' in binary`);
  const { shape, values } = run(...ids.map((id) => held.get(id)!));
  return { id: createTensor(shape, values), shape };
}

/** A tensor of the backend: on the host until an operation needs it, then with the binding. */
interface Entry {
  readonly shape: number[];
  readonly values?: Float32Array;
  id?: number;
  references: number;
}

/** tfjs's interface over the binding. */
class StandIn extends tf.KernelBackend {
  readonly entries = new tf.DataStorage<Entry>(this, tf.engine());

  override floatPrecision(): 32 {
    return 32;
  }
  override epsilon(): number {
    return super.epsilon();
  }
  override write(values: tf.BackendValues, shape: number[]): object {
    const dataId = {};
    this.move(dataId, values, shape, "float32", 1);
    return dataId;
  }
  override move(
    dataId: object,
    values: tf.BackendValues,
    shape: number[],
    _: tf.DataType,
    references: number,
  ): void {
    this.entries.set(dataId, { shape, values: values as Float32Array, references });
  }
  override readSync(dataId: object): tf.BackendValues {
    const { id, values } = this.entries.get(dataId);
    return id === undefined ? values! : held.get(id)!.values;
  }
  override read(dataId: object): Promise<tf.BackendValues> {
    return Promise.resolve(this.readSync(dataId));
  }
  override refCount(dataId: object): number {
    return this.entries.has(dataId) ? this.entries.get(dataId).references : 0;
  }
  override incRef(dataId: object): void {
    this.entries.get(dataId).references++;
  }
  override disposeData(dataId: object, force = false): boolean {
    if (!this.entries.has(dataId)) return true;
    const entry = this.entries.get(dataId);
    if (--entry.references > 0 && !force) return false;
    if (entry.id !== undefined) held.delete(entry.id);
    return this.entries.delete(dataId);
  }
  override numDataIds(): number {
    return this.entries.numDataIds();
  }
  override memory(): { unreliable: boolean } {
    return { unreliable: true };
  }
  override dispose(): void {}

  /** Sends inputs that are still on the host, executes, and keeps the output. */
  execute(name: string, inputs: readonly tf.TensorInfo[]): tf.TensorInfo {
    if (util.isNullOrUndefined(inputs)) throw new Error("Invalid input tensors value.");
    const ids = inputs.map(({ dataId, shape }) => {
      const entry = this.entries.get(dataId);
      return entry.id ??= createTensor(shape, entry.values!);
    });
    const { id, shape } = executeOp(name, ids), dataId = {};
    this.entries.set(dataId, { shape, id, references: 1 });
    return { dataId, shape, dtype: "float32" };
  }
}

/** Kernels of tfjs, the operations that they execute, and the names of their inputs. */
const kernels: readonly (readonly [string, string, readonly string[]])[] = [
  ["Add", "AddV2", ["a", "b"]],
  ["BatchMatMul", "MatMul", ["a", "b"]],
  ["Relu", "Relu", ["x"]],
  ["Cos", "Cosine", ["x"]], // of no such name: the binding refuses it
];

for (const [kernelName, operation, names] of kernels) {
  tf.registerKernel({
    kernelName,
    backendName: "tensorflow",
    kernelFunc: ({ inputs, backend }) =>
      (backend as StandIn).execute(operation, names.map((name) => inputs[name] as tf.TensorInfo)),
  });
}
tf.registerBackend("tensorflow", () => new StandIn(), 3);

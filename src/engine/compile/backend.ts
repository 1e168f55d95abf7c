/**
 * The backend of tfjs that computes nothing: each of its kernels knows the shapes of what it would make, and writes down how.
 *
 * It is in use only while a function is traced, and known to tfjs from then on if another is in use besides.
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
import { blockLowerings } from "../blocks/kernels.ts";
import { plain } from "../blocks/layout.ts";
import type { Recorder } from "../graph/record.ts";
import { constantOf, type DType, numbersOf, product, type Value } from "../graph/value.ts";
import { contractionKernels } from "../lower/contraction.ts";
import { convolutionKernels } from "../lower/convolution.ts";
import { elementwiseKernels, type Lowerings, type Operands } from "../lower/elementwise.ts";
import { gatheringKernels } from "../lower/gather.ts";
import { poolKernels } from "../lower/pool.ts";
import { ownKernels, reducingKernels } from "../lower/reduce.ts";
import { shapeKernels } from "../lower/shape.ts";

/** All kernels that can be traced. */
export const lowerings: Lowerings = {
  ...elementwiseKernels,
  ...reducingKernels,
  ...shapeKernels,
  ...gatheringKernels,
  ...contractionKernels,
  ...convolutionKernels,
  ...poolKernels,
};

/** The backend's name. */
export const backendName = "tweedie-trace";

/** Numbers that a function brings along are written into the graph up to this many; more must be inputs. */
export const table = 4096;

/** A value, the graph that it belongs to, and how many tensors share it. */
interface Held {
  readonly value: Value;
  readonly rec: Recorder | undefined;
  refs: number;
}

/** The backend: a tensor of it stands for a value of the graph that is being written. */
export class TraceBackend extends tf.KernelBackend {
  readonly held: WeakMap<object, Held> = new WeakMap();
  count = 0;
  rec: Recorder | undefined;

  keep(value: Value): object {
    const id = {};
    this.held.set(id, { value, rec: this.rec, refs: 1 });
    this.count++;
    return id;
  }

  /** The value of a tensor: a traced one, or one from outside, which is fixed if it is small. */
  valueFor({ dataId, shape, dtype }: tf.TensorInfo): Value {
    const found = this.held.get(dataId);
    if (found?.rec === this.rec || found?.value.values !== undefined) return found!.value;
    if (found) throw foreign(shape);
    const owner = tf.engine().state.tensorInfo.get(dataId)?.backend;
    if (!owner) throw gone(shape);
    const type = traceable(dtype);
    if (product(shape) > table && !this.rec?.lifts) throw captured(shape);
    return constantOf(owner.readSync(dataId) as ArrayLike<number>, { type, shape });
  }

  override write(values: tf.BackendValues, shape: number[], dtype: tf.DataType): object {
    const type = traceable(dtype), value = constantOf(values as ArrayLike<number>, { type, shape });
    if (value.values!.length > table && !this.rec?.lifts) throw captured(shape);
    return this.keep(value);
  }

  override move(): void {
    throw new Error("Cannot move a tensor to the tracing backend");
  }

  override readSync(dataId: object): tf.BackendValues {
    const value = this.held.get(dataId)?.value;
    if (value?.values === undefined) {
      throw new TypeError(
        "Cannot compile: the function must not read a tensor's numbers, got dataSync(), arraySync() or print() " +
          `of a tensor${
            value ? ` of shape [${value.shape}]` : ""
          }; a branch on numbers is tf.where`,
      );
    }
    const numbers = numbersOf(value);
    if (value.type === "float32") return Float32Array.from(numbers);
    return value.type === "int32" ? Int32Array.from(numbers) : Uint8Array.from(numbers);
  }

  override read(dataId: object): Promise<tf.BackendValues> {
    return Promise.resolve().then(() => this.readSync(dataId));
  }

  override disposeData(dataId: object, force: boolean = false): boolean {
    const found = this.held.get(dataId);
    if (!found) return true;
    if (--found.refs > 0 && !force) return false;
    this.held.delete(dataId);
    this.count--;
    return true;
  }

  override refCount(dataId: object): number {
    return this.held.get(dataId)?.refs ?? 0;
  }

  override incRef(dataId: object): void {
    this.held.get(dataId)!.refs++;
  }

  override numDataIds(): number {
    return this.count;
  }

  override memory(): { unreliable: boolean } {
    return { unreliable: true };
  }

  override floatPrecision(): 32 {
    return 32;
  }

  override epsilon(): number {
    return 1e-7;
  }

  override dispose(): void {}
}

/** A type that can be traced; refuses others. */
export function traceable(dtype: tf.DataType): DType {
  if (dtype === "float32" || dtype === "int32" || dtype === "bool") return dtype;
  throw new TypeError(`Cannot compile: tensors must be float32, int32 or bool, got ${dtype}`);
}

const foreign = (shape: readonly number[]): TypeError =>
  new TypeError(
    `Cannot compile: a function traced within another must be given all that it uses, got a tensor of shape [${shape}] ` +
      "that the other computes",
  );

const gone = (shape: readonly number[]): TypeError =>
  new TypeError(
    `Cannot compile: tensors must be alive, got one of shape [${shape}] that was disposed of`,
  );

const captured = (shape: readonly number[]): TypeError =>
  new TypeError(
    `Cannot compile: a tensor of more than ${table} different numbers must be an input or a constant of the ` +
      `function, got one of shape [${shape}] from outside, or made inside from random numbers`,
  );

/** Every kernel of tfjs by name. */
const kernelNames: readonly string[] = Object.entries(tf).flatMap(([name, value]) =>
  typeof value === "string" && /^_?[A-Z]/.test(value) && (name === value || `_${name}` === value)
    ? [value]
    : []
);

/** Makes the backend known to tfjs, once. */
export function install(): TraceBackend {
  const present = tf.findBackend(backendName);
  if (present) return present as TraceBackend;
  // Below every other, so that tfjs never chooses it by itself.
  tf.registerBackend(backendName, () => new TraceBackend(), -1000);
  for (
    const kernelName of new Set([...kernelNames, ...Object.keys({ ...lowerings, ...ownKernels })])
  ) {
    if (tf.getKernel(kernelName, backendName)) continue; // known from before it was removed
    tf.registerKernel({ kernelName, backendName, kernelFunc: kernelOf(kernelName) });
  }
  return tf.findBackend(backendName) as TraceBackend;
}

function kernelOf(kernelName: string): tf.KernelFunc {
  const lower = lowerings[kernelName] ?? ownKernels[kernelName];
  if (lower === undefined) {
    return () => {
      throw new TypeError(
        `Cannot compile: every operation must have a lowering, got ${kernelName}, which has none`,
      );
    };
  }
  return ({ inputs, attrs, backend }) => {
    const tracer = backend as TraceBackend, { rec } = tracer;
    if (!rec) throw new Error(`Cannot run ${kernelName}: no function is being traced`);
    const operands: Operands = Object.fromEntries(
      Object.entries(inputs as Record<string, tf.TensorInfo | undefined>)
        .flatMap(([name, info]) => info ? [[name, tracer.valueFor(info)]] : []),
    );
    const result = blockLowerings[kernelName]?.(rec, operands, attrs ?? {}) ??
      lower(rec, plainly(rec, operands), attrs ?? {});
    const info = (value: Value): tf.TensorInfo => ({
      dataId: tracer.keep(value),
      shape: [...value.shape],
      dtype: value.type,
    });
    return Array.isArray(result) ? result.map(info) : info(result);
  };
}

/** Operands that lie plainly, for what knows of no blocks. */
const plainly = (rec: Recorder, operands: Operands): Operands =>
  Object.fromEntries(Object.entries(operands).map(([name, value]) => [name, plain(rec, value)]));

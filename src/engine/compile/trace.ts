/**
 * From a pure function in tfjs operations to a graph.
 *
 * For as long as the function runs, tfjs's backend is one whose kernels compute nothing: each knows the shapes of what it
 * would make, and writes down how. The function runs to its end at once, so nothing else meets that backend; gradients
 * are taken by tfjs's own tape and written down in the same way. This is the one file that knows tfjs from inside.
 *
 * What would be fixed in silence is refused: reading a traced tensor's numbers (and so every branch on them), tensors
 * from outside that are larger than a table, and a function that is not the same twice.
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
import { decoded, type Rules, wholeNumber } from "../../tensor/check/decode.ts";
import { outlining, type Pure, type Tensors, type Unit } from "../../tensor/engine.ts";
import { scope } from "../../tensor/scope.ts";
import type { Constant, Graph } from "../graph/graph.ts";
import { called, type Library } from "../graph/call.ts";
import { type Recorder, recorder } from "../graph/record.ts";
import {
  constantOf,
  type DType,
  namedValue,
  natural,
  numbersOf,
  product,
  type Value,
} from "../graph/value.ts";
import { contractionKernels } from "../lower/contraction.ts";
import { convolutionKernels } from "../lower/convolution.ts";
import { elementwiseKernels, type Lowerings, type Operands } from "../lower/elementwise.ts";
import { gatheringKernels } from "../lower/gather.ts";
import { poolKernels } from "../lower/pool.ts";
import { ownKernels, reducingKernels } from "../lower/reduce.ts";
import { shapeKernels } from "../lower/shape.ts";
import type { Tensor } from "../../tensor/tensor.ts";

/** The shape and type of a tensor. */
export interface Spec {
  /** Its shape. */
  readonly shape: readonly number[];
  /** Its elements' type. Default: `"float32"`. */
  readonly dtype?: DType;
}

/** A traced function. */
export interface Program {
  /** What it computes: inputs and outputs by the function's names. */
  readonly graph: Graph;
  /** What it answers. */
  readonly outputs: Readonly<Record<string, Required<Spec>>>;
}

/** Options of {@link trace}. */
export interface TraceOptions {
  /**
   * Channels that ONNX Runtime's own blocked layout keeps side by side, to write down convolutions in it whose filters are
   * inputs; such a graph is right for that runtime and processor alone. Default: 0, graphs that any runtime reads.
   */
  readonly block?: number;
}

const traceOptions: Rules<TraceOptions> = { block: wholeNumber(0) };

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

const backendName = "tweedie-trace";

/** Numbers that a function brings along are written into the graph up to this many; more must be inputs. */
const table = 4096;

/** A value, the graph that it belongs to, and how many tensors share it. */
interface Held {
  readonly value: Value;
  readonly rec: Recorder | undefined;
  refs: number;
}

class TraceBackend extends tf.KernelBackend {
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
function traceable(dtype: tf.DataType): DType {
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
function install(): TraceBackend {
  const present = tf.findBackend(backendName);
  if (present) return present as TraceBackend;
  // Below every other, so that tfjs never chooses it by itself.
  tf.registerBackend(backendName, () => new TraceBackend(), -1000);
  for (
    const kernelName of new Set([...kernelNames, ...Object.keys({ ...lowerings, ...ownKernels })])
  ) {
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
    const result = lower(rec, operands, attrs ?? {});
    const info = (value: Value): tf.TensorInfo => ({
      dataId: tracer.keep(value),
      shape: [...value.shape],
      dtype: value.type,
    });
    return Array.isArray(result) ? result.map(info) : info(result);
  };
}

/**
 * Traces a function.
 *
 * @param fn The function: pure, synchronous, in tfjs operations.
 * @param specs Shape and type of each input.
 * @param constants Inputs that never change, which become part of the graph.
 * @param options How it is written down.
 * @returns The graph.
 * @throws {TypeError} If an option is unknown, or the function reads numbers, brings along more than a table of them, uses an operation that has
 *   no lowering, answers something other than named tensors, or is not the same function twice.
 * @throws {RangeError} If an operation has an attribute that its lowering does not know, or an option is outside its domain.
 */
export function trace(
  fn: Pure,
  specs: Readonly<Record<string, Spec>>,
  constants: Tensors = {},
  options: TraceOptions = {},
): Program {
  decoded("compile", options, traceOptions);
  const fixed = Object.entries(constants).map(([name, tensor]) => [name, fixedOf(tensor)] as const);
  const look = (): Program =>
    outlining(undefined, () => traced(fn, { specs, fixed, rec: recorder(options) }));
  const first = look(), second = look();
  const difference = differs(first.graph, second.graph);
  if (difference === undefined) return first;
  throw new TypeError(
    `Cannot compile: the function must be pure, got another graph at a second look, first at ${difference}: ` +
      "random numbers, times and counters must be inputs",
  );
}

function fixedOf(tensor: Tensor): Value {
  const type = traceable(tensor.dtype);
  return constantOf(tensor.dataSync(), { type, shape: tensor.shape });
}

/** A function seen once, with the numbers that it brought along. */
export interface LiftedProgram extends Program {
  /** The numbers, by the names of the inputs that stand for them. */
  readonly numbers: ReadonlyMap<string, Constant>;
}

/**
 * Traces a function that is another one each time, but for its numbers: every real number that it brings along becomes
 * an input. What outlined functions in it compute is one node each.
 *
 * @param fn The function: synchronous, in tfjs operations.
 * @param specs Shape and type of each input.
 * @param pieces What is known of outlined functions, and where the graphs of new ones are put.
 * @returns The graph, and the numbers.
 * @throws {TypeError} As {@link trace}, but that the function may bring along any tensor and be another one next time.
 */
export function traceOnce(
  fn: Pure,
  specs: Readonly<Record<string, Spec>>,
  pieces: OutlinedUnits,
): LiftedProgram {
  const rec = recorder({ lift: true });
  const program = outlining(
    (unit, inputs) => outlinedCall(rec, pieces, { unit, inputs }),
    () => traced(fn, { specs, fixed: [], rec }),
  );
  return { ...program, numbers: rec.lifted };
}

/** Outlined functions that have been traced, by their shapes, and the graphs that nodes refer to by number. */
export interface OutlinedUnits {
  /** The graphs. */
  readonly library: Library;
  /** The programs. */
  readonly programs: WeakMap<Unit, Map<string, Program>>;
}

/** A node for an outlined function, which is traced the first time that it meets these shapes. */
function outlinedCall(
  rec: Recorder,
  { library, programs }: OutlinedUnits,
  { unit, inputs }: { readonly unit: Unit; readonly inputs: Tensors },
): Record<string, Tensor> {
  const tracer = install(), specs = specsOf(inputs), key = JSON.stringify(specs);
  const known = programs.get(unit) ?? new Map<string, Program>();
  programs.set(unit, known);
  const program = known.get(key) ?? trace(unit.fn, specs, unit.constants);
  known.set(key, program);
  const { graph, outputs } = program;
  const operands = graph.inputs.map(({ name }) => natural(rec, tracer.valueFor(inputs[name]!)));
  const names = called(rec, library.number(graph), graph, operands);
  return Object.fromEntries(
    Object.entries(outputs).map((
      [name, { shape, dtype: type }],
      i,
    ) => [name, tensorOf(tracer, namedValue(names[i]!, { type, shape }))]),
  );
}

/** The shapes and types of tensors. */
export const specsOf = (inputs: Tensors): Record<string, Required<Spec>> =>
  Object.fromEntries(
    Object.entries(inputs).map((
      [name, { shape, dtype }],
    ) => [name, { shape, dtype: traceable(dtype) }]),
  );

const tensorOf = (tracer: TraceBackend, value: Value): Tensor =>
  tf.engine().makeTensorFromTensorInfo({
    dataId: tracer.keep(value),
    shape: [...value.shape],
    dtype: value.type,
  }, tracer);

/** What a function is traced with. */
interface Setting {
  readonly specs: Readonly<Record<string, Spec>>;
  readonly fixed: readonly (readonly [name: string, value: Value])[];
  readonly rec: Recorder;
}

function traced(fn: Pure, { specs, fixed, rec }: Setting): Program {
  const { backendName: before } = tf.engine();
  if (!before) {
    throw new TypeError("Cannot compile: a backend must be in use, got none; await useBackend()");
  }
  const tracer = install(), outer = tracer.rec;
  tf.setBackend(backendName);
  tracer.rec = rec;
  try {
    // Of the scope's result only this function is looked at for tensors, and not all the numbers of the program.
    return scope(() => {
      const tensor = (value: Value): Tensor => tensorOf(tracer, value);
      const inputs = Object.entries(specs).map(([name, spec]) =>
        [name, tensor(declared(rec, name, spec))] as const
      );
      const constants = fixed.map(([name, value]) => [name, tensor(value)] as const);
      const answer = fn(Object.fromEntries([...constants, ...inputs]));
      const outputs = Object.entries(checkedAnswer(answer)).map(([name, output]) =>
        [name, tracer.valueFor(output)] as const
      );
      return () => programOf(rec, outputs);
    })();
  } finally {
    tracer.rec = outer;
    tf.setBackend(before);
  }
}

function declared(rec: Recorder, name: string, { shape, dtype: type = "float32" }: Spec): Value {
  rec.input({ name, type: traceable(type), dims: shape });
  return namedValue(name, { type, shape });
}

function checkedAnswer(answer: unknown): Record<string, Tensor> {
  const isRecord = answer !== null && typeof answer === "object" && !("then" in answer) &&
    Object.values(answer).every((value) => value instanceof tf.Tensor);
  if (isRecord) return answer as Record<string, Tensor>;
  const got = answer instanceof Promise ? "a promise" : typeof answer;
  // Its own failure, which is to come, is no news.
  if (answer instanceof Promise) answer.catch(() => undefined);
  throw new TypeError(`Cannot compile: the function must answer tensors by name, got ${got}`);
}

function programOf(rec: Recorder, outputs: readonly (readonly [string, Value])[]): Program {
  const ports = outputs.map(([name, value]) => (
    { name, type: value.type, dims: value.shape, from: natural(rec, value) }
  ));
  const specs = outputs.map(([name, { shape, type }]) => [name, { shape, dtype: type }] as const);
  return { graph: rec.graph(ports), outputs: Object.fromEntries(specs) };
}

/** What first differs between two graphs, in words. */
function differs(a: Graph, b: Graph): string | undefined {
  const users = (name: string): string =>
    a.nodes.filter(({ inputs }) => inputs.includes(name)).map(({ op }) => op).join(", ");
  const constant = a.constants.find(({ dims, data }, i) => {
    const other = b.constants[i];
    return !other || String(dims) !== String(other.dims) ||
      (data.length <= table && data.some((x, k) => !Object.is(x, other.data[k])));
  });
  if (constant) return `a tensor of shape [${constant.dims}] for ${users(constant.name)}`;
  const node = a.nodes.find((node, i) => JSON.stringify(node) !== JSON.stringify(b.nodes[i]));
  if (node) return `an operator ${node.op}`;
  return a.nodes.length === b.nodes.length ? undefined : "its length";
}

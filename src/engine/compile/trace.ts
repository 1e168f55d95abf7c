/**
 * From a pure function in tfjs operations to a graph.
 *
 * For as long as the function runs, tfjs's backend is one whose kernels compute nothing: each knows the shapes of what it
 * would make, and writes down how. The function runs to its end at once, so nothing else meets that backend; gradients
 * are taken by tfjs's own tape and written down in the same way. Only this file and `backend.ts` know tfjs from inside.
 *
 * What would be fixed in silence is refused: reading a traced tensor's numbers (and so every branch on them), tensors
 * from outside that are larger than a table, and a function that is not the same twice.
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
import { decoded, is, type Rules, wholeNumber } from "../../tensor/check/decode.ts";
import { answered, outlining, type Pure, type Tensors, type Unit } from "../../tensor/engine.ts";
import { scope } from "../../tensor/scope.ts";
import type { Constant, Graph } from "../graph/graph.ts";
import { called, type Library } from "../graph/call.ts";
import { type BlockForm, blockForms, type Recorder, recorder } from "../graph/record.ts";
import { constantOf, type DType, namedValue, natural, type Value } from "../graph/value.ts";
import { plain } from "../blocks/layout.ts";
import { settled } from "../blocks/pseudo.ts";
import { backendName, install, table, traceable, type TraceBackend } from "./backend.ts";
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
   * Channels that ONNX Runtime's own layout for CPUs keeps side by side, to write down images in it; such a graph is right
   * for that runtime and processor alone. Default: 0, graphs that any runtime reads.
   */
  readonly block?: number;
  /** What is not to be done in that layout. Default: nothing. */
  readonly without?: readonly BlockForm[];
}

const traceOptions: Rules<TraceOptions> = {
  block: wholeNumber(0),
  without: is(
    `forms among ${blockForms.join(", ")}`,
    (forms) => Array.isArray(forms) && forms.every((form) => blockForms.includes(form)),
  ),
};

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
 * @param pieces What is known of outlined functions, and where the graphs of new ones are put; how all is written down.
 * @returns The graph, and the numbers.
 * @throws {TypeError} As {@link trace}, but that the function may bring along any tensor and be another one next time.
 */
export function traceOnce(
  fn: Pure,
  specs: Readonly<Record<string, Spec>>,
  { options, ...pieces }: OutlinedUnits & { readonly options?: TraceOptions },
): LiftedProgram {
  const rec = recorder({ lift: true, ...options });
  const program = outlining(
    (unit, inputs) => outlinedCall(rec, pieces, { unit, inputs, ...(options && { options }) }),
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
  { unit, inputs, options }: {
    readonly unit: Unit;
    readonly inputs: Tensors;
    readonly options?: TraceOptions;
  },
): Record<string, Tensor> {
  const tracer = install(), specs = specsOf(inputs), key = JSON.stringify(specs);
  const known = programs.get(unit) ?? new Map<string, Program>();
  programs.set(unit, known);
  const program = known.get(key) ?? trace(unit.fn, specs, unit.constants, options);
  known.set(key, program);
  const { graph, outputs } = program;
  const operands = graph.inputs.map(({ name }) =>
    natural(rec, plain(rec, tracer.valueFor(inputs[name]!)))
  );
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
      const outputs = Object.entries(answered("compile", answer)).map(([name, output]) =>
        [name, tracer.valueFor(output)] as const
      );
      return () => programOf(rec, outputs);
    })();
  } finally {
    tracer.rec = outer;
    // Nobody has chosen a backend yet, and this one is not for computing; tfjs has no other way back.
    if (before) tf.setBackend(before);
    else tf.removeBackend(backendName);
  }
}

function declared(rec: Recorder, name: string, { shape, dtype: type = "float32" }: Spec): Value {
  rec.input({ name, type: traceable(type), dims: shape });
  return namedValue(name, { type, shape });
}

function programOf(rec: Recorder, outputs: readonly (readonly [string, Value])[]): Program {
  const ports = outputs.map(([name, value]) => (
    { name, type: value.type, dims: value.shape, from: natural(rec, plain(rec, value)) }
  ));
  const specs = outputs.map(([name, { shape, type }]) => [name, { shape, dtype: type }] as const);
  return { graph: settled(rec.graph(ports)), outputs: Object.fromEntries(specs) };
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

/**
 * The engine that compiles: functions are traced once for each set of shapes, encoded, and run by ONNX Runtime.
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
import type { Compiled, Engine, Fold, FoldStep, Pure, Tensors } from "../../tensor/engine.ts";
import type { Graph } from "../graph/graph.ts";
import type { DType } from "../graph/value.ts";
import type { Executor, Feed, Fetch, HostTensor } from "../runtime/executor.ts";
import { encode } from "../onnx/proto.ts";
import { expanded, library } from "../graph/call.ts";
import { glance, type Pieces, type Program, type Spec, specsOf, trace } from "./trace.ts";

/** Options of {@link compiler}. */
export interface CompilerOptions {
  /** Sets of shapes for which a function stays compiled; the one that was used longest ago makes room. Default: 8. */
  readonly shapes?: number;
}

/** A function compiled for one set of shapes. */
interface Session {
  readonly id: number;
  readonly program: Program;
}

/** A function compiled for sets of shapes. */
interface Cache {
  readonly session: (specs: Readonly<Record<string, Spec>>) => Promise<Session>;
  readonly dispose: () => Promise<void>;
}

/**
 * An engine over an executor.
 *
 * @param executor What runs the graphs. It is the engine's from here on: closing the one closes the other.
 * @param options How much is kept.
 * @returns The engine.
 * @throws {RangeError} If `shapes` is not a whole number of at least 1.
 */
export function compiler(executor: Executor, options: CompilerOptions = {}): Engine {
  const { shapes = 8 } = options;
  if (!Number.isSafeInteger(shapes) || shapes < 1) {
    throw new RangeError(
      `Cannot make an engine: shapes must be a whole number of at least 1, got ${shapes}`,
    );
  }
  let folds = 0, block: Promise<number> | undefined;
  return {
    name: executor.name,
    compile: (fn, constants = {}) => compiled(executor, { fn, constants, shapes }),
    fold: async (step, start) => {
      const name = `fold${folds++}`;
      return await folded(executor, {
        step,
        start,
        shapes,
        name,
        block: await (block ??= blockOf(executor)),
      });
    },
    run: running(executor, steps),
    close: executor.close,
  };
}

/**
 * How many channels ONNX Runtime keeps side by side in its own layout for convolutions, which is about twice as fast. The
 * runtime chooses that layout itself where filters are constants; in training they are not, and we write it down. It
 * depends on the processor and is no promise of the runtime's, so it is tried: 0 where no size gives the right numbers.
 */
async function blockOf(executor: Executor): Promise<number> {
  const wanted = await trial(executor, 0);
  for (const block of [16, 8]) {
    const got = await trial(executor, block).catch(() => undefined);
    if (got?.every((value, i) => Math.abs(value - wanted[i]!) < 1e-4)) return block;
  }
  return 0;
}

/** A convolution of made-up numbers, of which the layout has to get every one right. */
async function trial(executor: Executor, block: number): Promise<Float32Array> {
  const specs = { x: { shape: [1, 4, 3, 32] }, w: { shape: [3, 3, 32, 48] } };
  const { graph } = trace(
    ({ x, w }) => ({ y: tf.conv2d(x as tf.Tensor4D, w as tf.Tensor4D, 1, "same") }),
    specs,
    {},
    { block },
  );
  const { id } = await executor.load(encode(graph));
  try {
    const made = ({ shape }: Spec): HostTensor => {
      const data = Float32Array.from(
        { length: tf.util.sizeFromShape([...shape]) },
        (_, i) => Math.sin(i * i),
      );
      return { type: "float32", dims: shape, data };
    };
    const { y } = await executor.run(id, mapped(specs, made), { y: true });
    return y!.data as Float32Array;
  } finally {
    await executor.free([id], []);
  }
}

/** What is to be compiled. */
interface Source {
  readonly fn: Pure;
  readonly constants: Tensors;
  readonly shapes: number;
  readonly block?: number;
}

function compiled(executor: Executor, source: Source): Compiled {
  const constants = renamed(source.constants, inputName);
  const cache = cacheOf(executor, { ...source, constants, fn: apart(source.fn) });
  return {
    run: async (inputs) => {
      const given = renamed(inputs, inputName),
        { id, program } = await cache.session(specsOf(given));
      const feeds = await feedsOf(given, program),
        fetches = fetchesOf(Object.keys(program.outputs));
      return toTensors(under(await executor.run(id, feeds, fetches), outputName("")));
    },
    dispose: cache.dispose,
  };
}

/** A function whose inputs and outputs may have the same names, as one where they do not. */
const apart = (fn: Pure): Pure => (all) => renamed(fn(under(all, inputName(""))), outputName);

const mapped = <A, B>(
  record: Readonly<Record<string, A>>,
  change: (value: A, name: string) => B,
): Record<string, B> =>
  Object.fromEntries(Object.entries(record).map(([name, value]) => [name, change(value, name)]));

/** A function traced for one set of shapes after the other. */
function cacheOf(executor: Executor, { fn, constants, shapes, block = 0 }: Source): Cache {
  const sessions = sessionsOf(executor, shapes);
  return {
    session: (specs) =>
      sessions.session(JSON.stringify(specs), () => trace(fn, specs, constants, { block })),
    dispose: sessions.dispose,
  };
}

/** Sessions by key, the one used last at the end. What is asked for twice at once is loaded once. */
function sessionsOf(executor: Executor, most: number): {
  readonly session: (key: string, program: () => Program) => Promise<Session>;
  readonly dispose: () => Promise<void>;
} {
  const sessions = new Map<string, Promise<Session>>();
  const open = async (make: () => Program): Promise<Session> => {
    const program = make(), { id } = await executor.load(encode(program.graph));
    return { id, program };
  };
  const close = async (key: string): Promise<void> => {
    const session = sessions.get(key)!;
    sessions.delete(key);
    await executor.free([(await session).id], []);
  };
  return {
    session: async (key, program) => {
      const found = sessions.get(key) ?? open(program);
      sessions.delete(key);
      sessions.set(key, found);
      try {
        const session = await found;
        if (sessions.size > most) await close(sessions.keys().next().value!);
        return session;
      } catch (error) {
        sessions.delete(key);
        throw error;
      }
    },
    dispose: async () => {
      await Promise.all([...sessions.keys()].map(close));
    },
  };
}

/**
 * Functions that are others each time: looked at each time, loaded when their operations are new. Their keys are all that
 * a graph is but for its real numbers, which are fed.
 */
function running(executor: Executor, most: number): Engine["run"] {
  const pieces: Pieces = { library: library(), programs: new WeakMap() };
  const sessions = sessionsOf(executor, most);
  return async (fn, inputs) => {
    const given = renamed(inputs, inputName);
    const { graph, outputs, numbers } = glance(apart(fn), specsOf(given), pieces);
    const { id, program } = await sessions.session(keyOf(graph), () => (
      { graph: expanded(graph, pieces.library), outputs }
    ));
    const feeds = await feedsOf(given, program);
    for (const [name, { dims, data }] of numbers) {
      if (program.graph.inputs.some((port) => port.name === name)) {
        feeds[name] = { type: "float32", dims, data: data as Float32Array };
      }
    }
    const fetches = fetchesOf(Object.keys(outputs));
    return toTensors(under(await executor.run(id, feeds, fetches), outputName("")));
  };
}

const keyOf = ({ nodes, constants, inputs, outputs }: Graph): string =>
  JSON.stringify([nodes, constants.map(({ data, ...rest }) => [rest, `${data}`]), inputs, outputs]);

/** Steps of samplers that stay compiled: those of one solver differ at its first and last times. */
const steps = 8;

/** Inputs as the executor takes them; a graph may do without some of them. */
async function feedsOf(inputs: Tensors, { graph }: Program): Promise<Record<string, Feed>> {
  const feeds: Record<string, Feed> = {};
  for (const { name } of graph.inputs) if (inputs[name]) feeds[name] = await toHost(inputs[name]);
  return feeds;
}

async function toHost(tensor: tf.Tensor): Promise<HostTensor> {
  const data = await tensor.data();
  return { type: tensor.dtype as DType, dims: tensor.shape, data: data.slice() };
}

const fetchesOf = (names: readonly string[]): Record<string, Fetch> =>
  Object.fromEntries(names.map((name) => [name, true]));

function toTensors(values: Readonly<Record<string, HostTensor>>): Record<string, tf.Tensor> {
  return mapped(
    values,
    ({ data, dims, type }) =>
      tf.tensor(data as Float32Array | Int32Array | Uint8Array, [...dims], type as DType),
  );
}

/** The names of a fold's state and inputs in its graph. */
const stateName = (name: string): string => `state.${name}`,
  nextName = (name: string): string => `next.${name}`,
  inputName = (name: string): string => `input.${name}`,
  outputName = (name: string): string => `output.${name}`;

const renamed = <A>(
  record: Readonly<Record<string, A>>,
  rename: (name: string) => string,
): Record<string, A> =>
  Object.fromEntries(Object.entries(record).map(([name, value]) => [rename(name), value]));

/** The entries of a record whose names begin in one way, without that. */
const under = <A>(record: Readonly<Record<string, A>>, prefix: string): Record<string, A> =>
  Object.fromEntries(
    Object.entries(record).filter(([name]) => name.startsWith(prefix)).map((
      [name, value],
    ) => [name.slice(prefix.length), value]),
  );

/** A step of a fold as one function of its state and inputs. */
function stepped(step: FoldStep, names: readonly string[]): Pure {
  return (all) => {
    const { state, outputs } = step(under(all, stateName("")), under(all, inputName("")));
    const missing = names.find((name) => !state[name]);
    if (missing !== undefined || Object.keys(state).length !== names.length) {
      throw new TypeError(
        `Cannot compile a fold: its state must keep the names ${names}, got ${Object.keys(state)}`,
      );
    }
    return { ...renamed(state, nextName), ...renamed(outputs, outputName) };
  };
}

/** A fold whose state lies in the executor's slots, in two sets: a step reads the one and writes the other. */
async function folded(
  executor: Executor,
  { step, start, shapes, name, block }: {
    readonly step: FoldStep;
    readonly start: Tensors;
    readonly shapes: number;
    readonly name: string;
    readonly block: number;
  },
): Promise<Fold> {
  const names = Object.keys(start), specs = renamed(specsOf(start), stateName);
  const cache = cacheOf(executor, { fn: stepped(step, names), constants: {}, shapes, block });
  const slot = (entry: string, side: number): string => `${name}.${side}.${entry}`;
  let side = 0;
  for (const entry of names) await executor.put(slot(entry, 0), await toHost(start[entry]!));
  return {
    step: async (inputs) => {
      const given = renamed(inputs, inputName);
      const { id, program } = await cache.session({ ...specs, ...specsOf(given) });
      checkShapes(program, specs, names);
      const state = Object.fromEntries(names.map((entry) => [stateName(entry), slot(entry, side)]));
      const next = Object.fromEntries(
        names.map((entry) => [nextName(entry), slot(entry, 1 - side)]),
      );
      const outputs = Object.keys(program.outputs).filter((entry) =>
        entry.startsWith(outputName(""))
      );
      const answer = await executor.run(id, { ...await feedsOf(given, program), ...state }, {
        ...fetchesOf(outputs),
        ...next,
      });
      side = 1 - side;
      return toTensors(under(answer, outputName("")));
    },
    state: async () => {
      const read = async (entry: string) => [entry, await executor.get(slot(entry, side))] as const;
      return toTensors(Object.fromEntries(await Promise.all(names.map(read))));
    },
    dispose: async () => {
      await cache.dispose();
      await executor.free([], names.flatMap((entry) => [slot(entry, 0), slot(entry, 1)]));
    },
  };
}

/** Refuses a step that changes a shape: the next one could not read it. */
function checkShapes(
  { outputs }: Program,
  specs: Readonly<Record<string, Spec>>,
  names: readonly string[],
): void {
  for (const name of names) {
    const { shape } = outputs[nextName(name)]!, wanted = specs[stateName(name)]!.shape;
    if (String(shape) === String(wanted)) continue;
    throw new TypeError(
      `Cannot compile a fold: the state's ${name} must keep its shape [${wanted}], got [${shape}]`,
    );
  }
}

/**
 * The engine that compiles: functions are traced once for each set of shapes, encoded, and run by ONNX Runtime.
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
import type { Compiled, Engine, Fold, FoldStep, Pure, Tensors } from "../../tensor/engine.ts";
import type { DType } from "../graph/value.ts";
import type { Executor, Feed, Fetch, HostTensor } from "../runtime/executor.ts";
import { encode } from "../onnx/proto.ts";
import { type Program, type Spec, trace } from "./trace.ts";

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

/** Functions compiled for sets of shapes, the one used last at the end. */
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
  let folds = 0;
  return {
    name: executor.name,
    compile: (fn, constants = {}) => compiled(executor, { fn, constants, shapes }),
    fold: (step, start) => folded(executor, { step, start, shapes, name: `fold${folds++}` }),
    close: executor.close,
  };
}

/** What is to be compiled. */
interface Source {
  readonly fn: Pure;
  readonly constants: Tensors;
  readonly shapes: number;
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

const specsOf = (inputs: Tensors): Record<string, Required<Spec>> =>
  mapped(inputs, ({ shape, dtype }) => ({ shape, dtype: dtype as DType }));

const mapped = <A, B>(
  record: Readonly<Record<string, A>>,
  change: (value: A, name: string) => B,
): Record<string, B> =>
  Object.fromEntries(Object.entries(record).map(([name, value]) => [name, change(value, name)]));

/** Sessions by shapes. What is asked for twice at once is compiled once. */
function cacheOf(executor: Executor, { fn, constants, shapes }: Source): Cache {
  const sessions = new Map<string, Promise<Session>>();
  const open = async (specs: Readonly<Record<string, Spec>>): Promise<Session> => {
    const program = trace(fn, specs, constants);
    const { id } = await executor.load(encode(program.graph));
    return { id, program };
  };
  const close = async (key: string): Promise<void> => {
    const session = sessions.get(key)!;
    sessions.delete(key);
    await executor.free([(await session).id], []);
  };
  return {
    session: async (specs) => {
      const key = JSON.stringify(specs), found = sessions.get(key) ?? open(specs);
      sessions.delete(key);
      sessions.set(key, found);
      try {
        const session = await found;
        if (sessions.size > shapes) await close(sessions.keys().next().value!);
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
  { step, start, shapes, name }: {
    readonly step: FoldStep;
    readonly start: Tensors;
    readonly shapes: number;
    readonly name: string;
  },
): Promise<Fold> {
  const names = Object.keys(start), specs = renamed(specsOf(start), stateName);
  const cache = cacheOf(executor, { fn: stepped(step, names), constants: {}, shapes });
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

/**
 * The engine that compiles: functions are traced once for each set of shapes, encoded, and run by ONNX Runtime.
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
import { decoded, flag, type Rules, wholeNumber } from "../../tensor/check/decode.ts";
import {
  answered,
  type Compiled,
  type Engine,
  type Fold,
  type FoldStep,
  type Pure,
  type Tensors,
} from "../../tensor/engine.ts";
import type { Graph } from "../graph/graph.ts";
import type { DType } from "../graph/value.ts";
import type { Executor, Feed, Fetch, HostTensor } from "../runtime/executor.ts";
import { expanded, library } from "../graph/call.ts";
import { type Blocks, blocksOf, loaded, noBlocks } from "./trial.ts";
import { type OutlinedUnits, type Program, type Spec, specsOf, trace, traceOnce } from "./trace.ts";
import type { Tensor } from "../../tensor/tensor.ts";

/** Options of {@link compiler}. */
export interface CompilerOptions {
  /** Sets of shapes for which a function stays compiled; the one that was used longest ago makes room. Default: 8. */
  readonly shapes?: number;
  /**
   * Whether images may lie in ONNX Runtime's own layout for CPUs, where a trial shows it right; elsewhere its operators
   * would be carried out on the CPU all the same. Default: true.
   */
  readonly blocked?: boolean;
}

/** The domains of the options of {@link compiler}. */
export const compilerOptions: Rules<CompilerOptions> = { shapes: wholeNumber(1), blocked: flag };

/** A function compiled for one set of shapes. */
interface Session {
  /** Its number; absent where there is nothing to run. */
  readonly id?: number;
  readonly program: Program;
}

/** A function compiled for sets of shapes. */
interface Cache {
  readonly session: (
    specs: Readonly<Record<string, Spec>>,
    blocks: Blocks,
  ) => Promise<Session>;
  readonly dispose: () => Promise<void>;
}

/**
 * An engine over an executor.
 *
 * @param executor What runs the graphs. It is the engine's from here on: closing the one closes the other.
 * @param options How much is kept.
 * @returns The engine.
 * @throws {TypeError} If an option is unknown, or of another type.
 * @throws {RangeError} If `shapes` is not a whole number of at least 1.
 */
export function compiler(executor: Executor, options: CompilerOptions = {}): Engine {
  const { shapes = 8, blocked = true } = decoded("make an engine", options, compilerOptions);
  let found: Promise<Blocks> | undefined;
  const blocks = () => found ??= blocksOf(executor);
  return compilerIn(executor, { shapes, blocks: blocked ? blocks : () => noBlocks });
}

/** What finds out which blocks there are. */
type Layout = () => Blocks | Promise<Blocks>;

/** An engine that keeps so many sets of shapes, and writes images down in these blocks. */
export function compilerIn(
  executor: Executor,
  { shapes = 8, blocks }: {
    readonly shapes?: number;
    readonly blocks: Layout;
  },
): Engine {
  let folds = 0;
  return {
    name: executor.name,
    compile: (fn, constants = {}) => compiled(executor, { fn, constants, shapes, blocks }),
    fold: (step, start) =>
      folded(executor, { step, start, shapes, name: `fold${folds++}`, blocks }),
    run: running(executor, steps, blocks),
    close: executor.close,
  };
}

/** What is to be compiled. */
interface Source {
  readonly fn: Pure;
  readonly constants: Tensors;
  readonly shapes: number;
  readonly blocks: Layout;
}

function compiled(executor: Executor, source: Source): Compiled {
  const constants = renamed(source.constants, inputName);
  const cache = cacheOf(executor, { ...source, constants, fn: apart(source.fn) });
  return {
    run: async (inputs) => {
      const given = renamed(inputs, inputName), hosts = await toHosts(given);
      const blocks = await source.blocks();
      return await ran(executor, await cache.session(specsOf(given), blocks), { hosts });
    },
    dispose: cache.dispose,
  };
}

/** A function whose inputs and outputs may have the same names, as one where they do not. */
const apart = (fn: Pure): Pure => (all) =>
  renamed(answered("compile", fn(under(all, inputName("")))), outputName);

const mapped = <A, B>(
  record: Readonly<Record<string, A>>,
  change: (value: A, name: string) => B,
): Record<string, B> =>
  Object.fromEntries(Object.entries(record).map(([name, value]) => [name, change(value, name)]));

/** A function traced for one set of shapes after the other. */
function cacheOf(
  executor: Executor,
  { fn, constants, shapes }: Omit<Source, "blocks">,
): Cache {
  const sessions = sessionsOf(executor, shapes);
  return {
    session: (specs, blocks) =>
      sessions.session(
        JSON.stringify(Object.entries(specs).sort(([a], [b]) => a < b ? -1 : 1)),
        () => trace(fn, specs, constants, blocks),
      ),
    dispose: sessions.dispose,
  };
}

/**
 * Sessions by key, the one used last at the end; what is asked for twice at once is loaded once. Whoever waits for a
 * session must run it at once when it comes: runs and releases are carried out in the order in which they are asked for,
 * so one that makes room later is released after that run.
 */
function sessionsOf(executor: Executor, most: number): {
  readonly session: (key: string, program: () => Program) => Promise<Session>;
  readonly dispose: () => Promise<void>;
} {
  const sessions = new Map<string, Promise<Session>>(), closing = new Set<Promise<void>>();
  let isOpen = true;
  const open = async (make: () => Program): Promise<Session> => {
    const program = make();
    // ONNX Runtime has no use for a graph that answers nothing.
    if (program.graph.outputs.length === 0) return { program };
    return { id: (await loaded(executor, program.graph)).id, program };
  };
  const close = (key: string, found: Promise<Session>): void => {
    sessions.delete(key);
    // One that could not be opened has said so, and of one whose executor is closed nothing is left.
    const free = ({ id }: Session) => id === undefined ? undefined : executor.free([id], []);
    const released = found.then(free).catch(() => undefined).finally(() =>
      closing.delete(released)
    );
    closing.add(released);
  };
  return {
    session: (key, program) => {
      if (!isOpen) return Promise.reject(disposed("function"));
      const found = sessions.get(key) ?? open(program);
      sessions.delete(key);
      sessions.set(key, found);
      found.catch(() => sessions.get(key) === found && sessions.delete(key));
      const [oldest] = sessions;
      if (sessions.size > most) close(...oldest!);
      return found;
    },
    dispose: async () => {
      isOpen = false;
      for (const [key, found] of sessions) close(key, found);
      await Promise.all(closing);
    },
  };
}

const disposed = (what: string): TypeError =>
  new TypeError(`Cannot use the ${what}: it must be open, got one that was disposed of`);

/** The outputs of a session that are fetched back; the others stay in slots. */
async function ran(
  executor: Executor,
  { id, program }: Session,
  { hosts, kept = {} }: {
    readonly hosts: Readonly<Record<string, Feed>>;
    readonly kept?: Readonly<Record<string, Fetch>>;
  },
): Promise<Record<string, Tensor>> {
  if (id === undefined) return {};
  const fetches: Record<string, Fetch> = mapped(program.outputs, (_, name) => kept[name] ?? true);
  const answer = await executor.run(id, feedsOf(program, hosts), fetches);
  return toTensors(under(answer, outputName("")));
}

/**
 * Functions that are others each time: looked at each time, loaded when their operations are new. Their keys are all that
 * a graph is but for its real numbers, which are fed.
 */
function running(
  executor: Executor,
  most: number,
  blocks: Layout,
): Engine["run"] {
  const pieces: OutlinedUnits = { library: library(), programs: new WeakMap() };
  const sessions = sessionsOf(executor, most);
  return async (fn, inputs) => {
    const given = renamed(inputs, inputName), options = await blocks();
    const { graph, outputs, numbers } = traceOnce(apart(fn), specsOf(given), {
      ...pieces,
      options,
    });
    const brought = [...numbers].map(([name, { dims, data }]): [string, HostTensor] => [
      name,
      { type: "float32", dims, data },
    ]);
    const hosts = { ...await toHosts(given), ...Object.fromEntries(brought) };
    const program = (): Program => ({ graph: expanded(graph, pieces.library), outputs });
    return await ran(executor, await sessions.session(keyOf(graph), program), { hosts });
  };
}

const keyOf = ({ nodes, constants, inputs, outputs }: Graph): string =>
  JSON.stringify([nodes, constants.map(({ data, ...rest }) => [rest, `${data}`]), inputs, outputs]);

/** Steps of samplers that stay compiled: those of one solver differ at its first and last times. */
const steps = 8;

/** Tensors as the executor takes them, in copies that it may keep. */
async function toHosts(tensors: Tensors): Promise<Record<string, HostTensor>> {
  const host = async ([name, tensor]: [string, Tensor]): Promise<[string, HostTensor]> => {
    const data = elements(tensor.dtype, await tensor.data());
    return [name, { type: tensor.dtype as DType, dims: tensor.shape, data }];
  };
  return Object.fromEntries(await Promise.all(Object.entries(tensors).map(host)));
}

/** A copy of a tensor's numbers as its type says: tfjs leaves those that are cast between types on a CPU as they were. */
function elements(dtype: tf.DataType, data: ArrayLike<number> & { slice(): unknown }) {
  const Elements = dtype === "float32" ? Float32Array : dtype === "int32" ? Int32Array : Uint8Array;
  return data instanceof Elements ? data.slice() : Elements.from(data);
}

/** What a graph reads of all that there is; it may do without some. */
const feedsOf = ({ graph }: Program, hosts: Readonly<Record<string, Feed>>): Record<string, Feed> =>
  Object.fromEntries(graph.inputs.flatMap(({ name }) => {
    const feed = hosts[name];
    return feed === undefined ? [] : [[name, feed]];
  }));

function toTensors(values: Readonly<Record<string, HostTensor>>): Record<string, Tensor> {
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

/** A step of a fold as one function of its state and inputs. Refuses one whose state the next step could not read. */
function stepped(step: FoldStep, specs: Readonly<Record<string, Required<Spec>>>): Pure {
  const told = (each: Readonly<Record<string, Required<Spec>>>): string =>
    Object.entries(each).map(([name, { shape, dtype }]) => `${name} ${dtype} [${shape}]`).sort()
      .join(", ");
  return (all) => {
    const { state, outputs } = step(under(all, stateName("")), under(all, inputName("")));
    if (told(specsOf(state)) !== told(specs)) {
      throw new RangeError(
        `Cannot fold: the state must stay ${told(specs)}, got ${told(specsOf(state)) || "none"}`,
      );
    }
    return { ...renamed(state, nextName), ...renamed(outputs, outputName) };
  };
}

/** A fold whose state lies in the executor's slots, each of which a step reads and then writes. */
async function folded(
  executor: Executor,
  { step, start, shapes, name, blocks }: {
    readonly step: FoldStep;
    readonly start: Tensors;
    readonly name: string;
  } & Pick<Source, "shapes" | "blocks">,
): Promise<Fold> {
  const specs = specsOf(start), names = Object.keys(start);
  const cache = cacheOf(executor, { fn: stepped(step, specs), constants: {}, shapes });
  const slots = Object.fromEntries(names.map((entry) => [entry, `${name}.${entry}`]));
  let isOpen = true;
  for (const [entry, host] of Object.entries(await toHosts(start))) {
    await executor.put(slots[entry]!, host);
  }
  return {
    step: async (inputs) => {
      const given = renamed(inputs, inputName), hosts = await toHosts(given);
      const tried = await blocks();
      if (!isOpen) throw disposed("fold");
      const all = { ...renamed(specs, stateName), ...specsOf(given) };
      const session = await cache.session(all, tried);
      const feeds = { ...hosts, ...renamed(slots, stateName) };
      return await ran(executor, session, { hosts: feeds, kept: renamed(slots, nextName) });
    },
    state: async () => {
      if (!isOpen) throw disposed("fold");
      const read = async (entry: string) => [entry, await executor.get(slots[entry]!)] as const;
      return toTensors(Object.fromEntries(await Promise.all(names.map(read))));
    },
    dispose: async () => {
      isOpen = false;
      await cache.dispose();
      // An executor that is closed holds nothing any more.
      await executor.free([], Object.values(slots)).catch(() => undefined);
    },
  };
}

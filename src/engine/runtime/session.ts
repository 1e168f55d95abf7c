/**
 * ONNX Runtime in the same thread: loaded graphs by number, tensors that stay by name.
 *
 * `onnxruntime-node` is native code, and `session.run` is one synchronous call into it: nothing else happens in the
 * thread until it returns. So this runs in a worker as a rule (`remote.ts`), and here only what both have in common.
 *
 * What the binding answers is memory of its own making, copied out of the runtime. An output that was given to it
 * beforehand is filled and then copied all the same: it saves neither time nor memory, so slots take the answers as
 * they come, and a run that fails leaves them as they were.
 *
 * @module
 */

import type {
  Executor,
  Feed,
  Fetch,
  HostTensor,
  OnnxOptions,
  SessionInfo,
  SessionPort,
} from "./executor.ts";
import type { ElementType } from "../graph/graph.ts";

/** A tensor of ONNX Runtime, as much of it as is used here. */
export interface OrtTensor {
  /** Its elements' type, by ONNX Runtime's name for it. */
  readonly type: string;
  /** Its shape. */
  readonly dims: readonly number[];
  /** Its elements, row by row. */
  readonly data: unknown;
}

/** What an input or output of a session looks like. */
export interface OrtPort {
  /** Its name. */
  readonly name: string;
  /** Whether it is a tensor, and not a sequence or a map of them. */
  readonly isTensor: boolean;
  /** Its elements' type, if it is a tensor. */
  readonly type?: string;
  /** Its shape, if it is a tensor. */
  readonly shape?: readonly (number | string)[];
}

/** A session of ONNX Runtime, as much of it as is used here. */
export interface OrtSession {
  /** What it is given. */
  readonly inputMetadata: readonly OrtPort[];
  /** What it answers. */
  readonly outputMetadata: readonly OrtPort[];
  /** Runs it; null asks for an output. */
  run(
    feeds: Record<string, OrtTensor>,
    fetches: Record<string, null>,
  ): Promise<Record<string, OrtTensor>>;
  /** Frees it. */
  release(): Promise<void>;
}

/** The module `onnxruntime-node`, as much of it as is used here. */
export interface Ort {
  /** Makes sessions. */
  readonly InferenceSession: {
    /** Loads an encoded graph. */
    create(bytes: Uint8Array, options: Readonly<Record<string, unknown>>): Promise<OrtSession>;
  };
  /** Makes tensors around elements, without a copy. */
  readonly Tensor: new (
    type: ElementType,
    data: HostTensor["data"],
    dims: readonly number[],
  ) => OrtTensor;
  /** Settings of the whole process, and versions. */
  readonly env: { logLevel?: string; readonly versions: { readonly node?: string } };
}

/** Where ONNX Runtime comes from, if the program names no other module. */
export const runtime = "npm:onnxruntime-node@1.30.0";

/** ONNX Runtime cannot be had here; the message says what to do, `cause` is the underlying error, if there was one. */
export class EngineUnavailable extends Error {
  /** The class's name, `"EngineUnavailable"`. */
  override readonly name: string = "EngineUnavailable";
}

/** Says why ONNX Runtime cannot be had. */
export const unavailable = (why: string, cause?: unknown): EngineUnavailable =>
  new EngineUnavailable(`Cannot use the onnx engine: ${why}`, { cause });

const arrays = {
  float32: Float32Array,
  int32: Int32Array,
  bool: Uint8Array,
  int64: BigInt64Array,
} as const;

/**
 * Loads ONNX Runtime into this thread and makes sure that it can run something.
 *
 * @param options How it is to work; `module` is the specifier of the module to load.
 * @throws {EngineUnavailable} If the module cannot be loaded or the provider cannot be had.
 */
export async function start(
  options: OnnxOptions & { readonly module?: string } = {},
): Promise<Executor> {
  const executor = sessions(await load(options.module ?? runtime), options);
  if ((options.provider ?? "cpu") !== "cpu") await probe(executor, options.provider!);
  return executor;
}

async function load(specifier: string): Promise<Ort> {
  try {
    return await import(specifier);
  } catch (error) {
    throw unavailable(`${specifier} could not be loaded: ${advice(reason(error))}`, error);
  }
}

function advice(why: string): string {
  if (/onnxruntime_binding/.test(why) && /cannot find|no such file/i.test(why)) {
    return `it has no binary for ${Deno.build.os} on ${Deno.build.arch}; choose another engine`;
  }
  return `${why}; \`deno cache ${runtime}\` downloads it (290 MB), --allow-ffi lets it run, ` +
    "or choose another engine";
}

const reason = (error: unknown): string => error instanceof Error ? error.message : String(error);

/** The graph y = −x of one number, encoded: the smallest thing to try a provider with. */
const negation = (): Uint8Array =>
  Uint8Array.fromHex(
    "08093a320a0b0a017812017922034e65671201675a0f0a0178120a0a08080112040a020801620f0a" +
      "0179120a0a08080112040a02080142040a001014",
  );

const setUp: Readonly<Record<string, string>> = {
  webgpu: "it needs the driver of a GPU (Vulkan, Metal or Direct3D 12), or SwiftShader",
  cuda: 'it needs CUDA on Linux, "nodeModulesDir": "auto" in deno.json, and `deno install ' +
    "--allow-scripts=npm:onnxruntime-node`, which downloads it",
};

async function probe(executor: Executor, provider: string): Promise<void> {
  try {
    const { id } = await executor.load(negation());
    const x: HostTensor = { type: "float32", dims: [1], data: Float32Array.of(1) };
    await executor.run(id, { x }, { y: true });
    await executor.free([id], []);
  } catch (error) {
    await executor.close();
    const why = `the provider ${provider} does not start: ${setUp[provider]}`;
    throw unavailable(`${why} (${reason(error)})`, error);
  }
}

/**
 * How sessions are made: errors come back as errors, so what the runtime would print besides is left out. Memory is not
 * planned ahead for a whole run: a step of training would take nearly twice as much, and be no faster.
 */
function settings(
  { provider = "cpu", threads, spinning = false }: OnnxOptions,
): Record<string, unknown> {
  return {
    executionProviders: [provider],
    executionMode: "sequential",
    enableMemPattern: false,
    interOpNumThreads: 1,
    ...(threads === undefined ? {} : { intraOpNumThreads: threads }),
    logSeverityLevel: severity(provider).level,
    ...(spinning ? {} : { extra: { session: { intra_op: { spin_duration_us: "20" } } } }),
  };
}

/** A GPU's errors may come late, and then nowhere but in the log. */
const severity = (provider: string): { name: string; level: number } =>
  provider === "webgpu" ? { name: "error", level: 3 } : { name: "fatal", level: 4 };

/**
 * An executor in this thread: the thread does nothing else while a graph is loaded or run.
 *
 * @param ort The module `onnxruntime-node`; its log, which the whole process shares, is turned down to errors.
 * @param options How it is to work.
 */
export function sessions(ort: Ort, options: OnnxOptions = {}): Executor {
  const { provider = "cpu" } = options, setting = settings(options), { next, end } = queue();
  const loaded = new Map<number, OrtSession>(), slots = new Map<string, OrtTensor>();
  let count = 0;
  ort.env.logLevel = severity(provider).name;
  const tensor = ({ type, data, dims }: HostTensor): OrtTensor => new ort.Tensor(type, data, dims);
  const release = async (ids: readonly number[]): Promise<void> => {
    for (const id of ids) {
      const session = loaded.get(id);
      loaded.delete(id);
      await session?.release();
    }
  };
  return {
    name: `ONNX Runtime ${ort.env.versions.node ?? ""} (${provider})`,
    load: (bytes, { asWritten = false } = {}) =>
      next(bytes.slice(), async (own) => {
        const graphOptimizationLevel = asWritten ? "disabled" : "all";
        const made = await ort.InferenceSession.create(own, { ...setting, graphOptimizationLevel })
          .catch(failed("load a graph"));
        loaded.set(count, made);
        return described(count++, made);
      }),
    run: async (id, feeds, fetches) =>
      await next(handedOver(feeds, "Cannot run a graph: input"), async (own) => {
        const session = loaded.get(id) ?? unknownSession(id);
        const inputs = gathered(session.inputMetadata, own, slots, tensor);
        checkFetches(session.outputMetadata, fetches);
        if (Object.keys(fetches).length === 0) return {};
        const wanted = Object.fromEntries(Object.keys(fetches).map((name) => [name, null]));
        const answer = await session.run(inputs, wanted).catch(failed("run a graph"));
        return delivered(answer, fetches, slots);
      }),
    put: async (slot, value) =>
      await next(handedOver({ [slot]: value }, "Cannot put a tensor: slot"), (own) => {
        settle(slots, slot, tensor(own[slot]!));
      }),
    get: (slot) => next(slot, () => copied(slots.get(slot) ?? emptySlot("get a tensor", slot))),
    free: (ids, names) =>
      next(ids, async () => {
        names.forEach((name) => settle(slots, name));
        await release(ids);
      }),
    close: () =>
      end(async () => {
        [...slots.keys()].forEach((name) => settle(slots, name));
        await release([...loaded.keys()]);
      }),
  };
}

/** The error of calls to an executor that is closed. */
export const closed = (): Error => new Error("Cannot use the onnx engine: its executor is closed");

/** One piece of work after another, until the end: what has not begun by then is refused. */
interface Queue {
  /** Does some work, when all that came before is done. */
  readonly next: <A, B>(given: A, work: (given: A) => B | Promise<B>) => Promise<B>;
  /** Does the last of it. */
  readonly end: (work: () => Promise<void>) => Promise<void>;
}

function queue(): Queue {
  let last: Promise<unknown> = Promise.resolve(), ended: Promise<void> | undefined;
  return {
    next: (given, work) => {
      const turn = last.then(() => {
        if (ended) throw closed();
        return work(given);
      });
      last = turn.catch(() => {});
      return turn;
    },
    end: (work) => ended ??= last.then(work),
  };
}

/**
 * A tensor on its way between threads, or a slot's name. Its elements are bare memory: Deno looks at a message of its
 * workers element by element, which takes 0.3 µs for each element of a typed array, and nothing for an `ArrayBuffer`.
 */
export type Packed = { type: ElementType; dims: readonly number[]; memory: ArrayBuffer } | string;

/** Tensors ready to be handed over, and the memory that goes with them. */
export interface Parcel {
  /** The tensors, by name. */
  readonly value: Readonly<Record<string, Packed>>;
  /** Their memory, each piece once. */
  readonly transfer: ArrayBuffer[];
}

/**
 * Makes tensors ready to be handed over: elements that are a part of something larger are copied out of it.
 *
 * @param tensors The tensors, by name, or names of slots.
 * @param what How an error about one of them begins, before its name.
 * @throws {TypeError | RangeError} If a tensor's elements do not fit its type or shape, or have been handed over before.
 */
export function packed(tensors: Readonly<Record<string, Feed>>, what: string): Parcel {
  const value = Object.fromEntries(
    Object.entries(tensors).map(([name, feed]) => [name, pack(feed, `${what} ${name}`)]),
  );
  const transfer = new Set<ArrayBuffer>();
  for (const one of Object.values(value)) if (typeof one !== "string") transfer.add(one.memory);
  return { value, transfer: [...transfer] };
}

function pack(feed: Feed, what: string): Packed {
  if (typeof feed === "string") return feed;
  checkElements(feed, what);
  const { type, dims, data } = feed, { buffer, byteLength } = data;
  const ours = buffer instanceof ArrayBuffer && byteLength === buffer.byteLength;
  return { type, dims: [...dims], memory: (ours ? buffer : data.slice().buffer) as ArrayBuffer };
}

/** The other end of {@link packed}. */
export function unpacked<T extends Feed>(
  value: Readonly<Record<string, Packed>>,
): Record<string, T> {
  const unpack = (one: Packed): Feed => {
    if (typeof one === "string") return one;
    const { type, dims, memory } = one;
    return { type, dims, data: new arrays[type](memory) };
  };
  return Object.fromEntries(Object.entries(value).map(([name, one]) => [name, unpack(one) as T]));
}

/** Takes tensors over, as a worker does: what the caller still has of them is empty. */
function handedOver<T extends Feed>(
  tensors: Readonly<Record<string, T>>,
  what: string,
): Record<string, T> {
  const { value, transfer } = packed(tensors, what);
  return unpacked(structuredClone(value, { transfer }));
}

const failed = (action: string) => (error: unknown): never => {
  throw new Error(`Cannot ${action}: ${reason(error)}`, { cause: error });
};

function unknownSession(id: number): never {
  throw new RangeError(`Cannot run a graph: session must be loaded and not freed, got ${id}`);
}

function emptySlot(action: string, slot: string): never {
  throw new RangeError(`Cannot ${action}: slot must hold something, got ${slot}`);
}

function described(id: number, { inputMetadata, outputMetadata }: OrtSession): SessionInfo {
  return { id, inputs: inputMetadata.map(port), outputs: outputMetadata.map(port) };
}

/** A port by the contract: the runtime gives "" to a size without a name. */
const port = ({ name, type = "not a tensor", shape = [] }: OrtPort): SessionPort => (
  { name, type, dims: shape.map((size) => size === "" ? -1 : size) }
);

/** The inputs of a run, from where they are to come, once it is sure that they fit. */
function gathered(
  ports: readonly OrtPort[],
  feeds: Readonly<Record<string, Feed>>,
  slots: ReadonlyMap<string, OrtTensor>,
  tensor: (value: HostTensor) => OrtTensor,
): Record<string, OrtTensor> {
  checkNames("input", ports, Object.keys(feeds));
  return Object.fromEntries(ports.map((wanted) => {
    const what = `Cannot run a graph: input ${wanted.name}`, feed = feeds[wanted.name];
    if (feed === undefined) throw new TypeError(`${what} must be given, got nothing`);
    const found = typeof feed !== "string"
      ? tensor(feed)
      : slots.get(feed) ?? emptySlot(`run a graph with input ${wanted.name}`, feed);
    checkFit(port(wanted), found, what);
    return [wanted.name, found];
  }));
}

function checkNames(kind: string, ports: readonly OrtPort[], names: readonly string[]): void {
  const known = ports.map(({ name }) => name), stray = names.find((name) => !known.includes(name));
  if (stray === undefined) return;
  throw new RangeError(
    `Cannot run a graph: ${kind} must be one of ${known.join(", ") || "none"}, got ${stray}`,
  );
}

function checkElements({ type, dims, data }: HostTensor, what: string): void {
  if (!Object.hasOwn(arrays, type)) {
    throw new TypeError(`${what} must be of a type of ${Object.keys(arrays)}, got ${type}`);
  }
  if (!(data instanceof arrays[type])) {
    const got = Object.prototype.toString.call(data).slice(8, -1);
    throw new TypeError(`${what} must have a ${arrays[type].name} of elements, got ${got}`);
  }
  if (data.buffer instanceof ArrayBuffer && data.buffer.detached) {
    throw new TypeError(`${what} must have elements, got some that were handed over before`);
  }
  const size = dims.reduce((a, b) => a * b, 1);
  if (data.length === size) return;
  throw new RangeError(
    `${what} must have ${size} elements for shape [${dims.join(", ")}], got ${data.length}`,
  );
}

function checkFit({ type, dims }: SessionPort, found: OrtTensor, what: string): void {
  if (found.type !== type) throw new TypeError(`${what} must be ${type}, got ${found.type}`);
  const fits = dims.length === found.dims.length &&
    dims.every((size, i) => typeof size === "string" || size < 0 || size === found.dims[i]);
  if (fits) return;
  throw new RangeError(
    `${what} must have shape [${dims.join(", ")}], got [${found.dims.join(", ")}]`,
  );
}

function checkFetches(ports: readonly OrtPort[], fetches: Readonly<Record<string, Fetch>>): void {
  checkNames("output", ports, Object.keys(fetches));
  for (const { name, type = "not a tensor" } of ports) {
    if (!Object.hasOwn(fetches, name) || Object.hasOwn(arrays, type)) continue;
    throw new TypeError(
      `Cannot run a graph: output ${name} must be of a type of ${Object.keys(arrays)}, got ${type}`,
    );
  }
  const slots = Object.values(fetches).filter((to) => to !== true);
  const twice = slots.find((slot, i) => slots.indexOf(slot) !== i);
  if (twice === undefined) return;
  throw new RangeError(
    `Cannot run a graph: outputs must go to slots of their own, got ${twice} twice`,
  );
}

/**
 * Puts another tensor, or none, into a slot. The memory of the one that was there is given back at once: the collector knows
 * only the little that holds it, and would let that of several steps of training come together.
 */
function settle(slots: Map<string, OrtTensor>, slot: string, tensor?: OrtTensor): void {
  const { buffer } = (slots.get(slot)?.data ?? {}) as { readonly buffer?: ArrayBufferLike };
  if (buffer instanceof ArrayBuffer) buffer.transfer(0);
  if (tensor === undefined) slots.delete(slot);
  else slots.set(slot, tensor);
}

/** Puts the outputs of a run where they are to go; the caller's are answered. */
function delivered(
  answer: Readonly<Record<string, OrtTensor>>,
  fetches: Readonly<Record<string, Fetch>>,
  slots: Map<string, OrtTensor>,
): Record<string, HostTensor> {
  const back: Record<string, HostTensor> = {};
  for (const [name, to] of Object.entries(fetches)) {
    const output = answer[name]!;
    if (to === true) back[name] = hostTensor(output);
    else settle(slots, to, output);
  }
  return back;
}

/** A tensor of ours; which types come out is settled before a graph is run. */
const hostTensor = ({ type, dims, data }: OrtTensor): HostTensor => (
  { type: type as ElementType, dims: [...dims], data: data as HostTensor["data"] }
);

function copied(held: OrtTensor): HostTensor {
  const { type, dims, data } = hostTensor(held);
  return { type, dims, data: data.slice() };
}

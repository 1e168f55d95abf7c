/**
 * ONNX Runtime in a worker, so that the event loop lives while a graph runs.
 *
 * The worker is one of `node:worker_threads`: Deno's own `Worker` keeps the process alive until it is terminated, while
 * this one does so only as long as a call is under way; a program that forgets to close its executor ends all the same.
 *
 * @module
 */

import { among, decoded, flag, is, type Rules, showing } from "../../tensor/check/decode.ts";
import { Worker } from "node:worker_threads";
import type { Executor, HostTensor, LoadOptions, OnnxOptions } from "./executor.ts";
import type { Answer, Fault, Method } from "./worker.ts";
import {
  closed,
  EngineUnavailable,
  type Packed,
  packed,
  start,
  unavailable,
  unpacked,
} from "./session.ts";

export { EngineUnavailable } from "./session.ts";

/** Options of {@link executor}. */
export interface ExecutorOptions extends OnnxOptions {
  /**
   * Whether graphs run in a thread of their own. Without one the event loop stands still while a graph is loaded or
   * run: timers, servers and streams wait. Default: true.
   */
  readonly worker?: boolean;
  /** The specifier of `onnxruntime-node`, for a program that pins its own. Default: `"npm:onnxruntime-node@1.30.0"`. */
  readonly module?: string;
}

/** The domains of the options of {@link executor}. */
export const executorOptions: Rules<ExecutorOptions> = {
  provider: showing(among(["cpu", "webgpu", "cuda"]), String),
  threads: is("a positive whole number", (count) => Number.isInteger(count) && count > 0),
  spinning: showing(flag, String),
  worker: flag,
  module: is("a string", (value: unknown) => typeof value === "string", true),
};

const loadOptions: Rules<LoadOptions> = { asWritten: flag };

/**
 * Starts ONNX Runtime.
 *
 * It needs `--allow-ffi`, and `--allow-read` where the library itself is read from a disk; without them nothing is
 * downloaded and nobody is asked. The first use downloads the package `onnxruntime-node`, 290 MB on the disk.
 *
 * A worker of a process that ends is stopped; one that dies makes all calls reject, those under way too.
 *
 * @param options How it is to work.
 * @returns What runs encoded graphs; close it to free its thread and memory.
 * @throws {TypeError} If an option is unknown, or of another type.
 * @throws {RangeError} If an option does not make sense.
 * @throws {EngineUnavailable} If a permission, the package, its binary or the provider is missing, with what to do.
 */
export async function executor(options: ExecutorOptions = {}): Promise<Executor> {
  decoded("use the onnx engine", options, executorOptions);
  await checkPermissions(options.worker ?? true);
  const made = await (options.worker === false ? start(options) : remote(spawn(options)));
  // Here and not at its other end: the worker may read no other folder than its own.
  const load: Executor["load"] = async (bytes, how = {}) =>
    await made.load(bytes, decoded("load a graph", how, loadOptions));
  return { ...made, load };
}

const source = new URL("./worker.ts", import.meta.url);

async function checkPermissions(worker: boolean): Promise<void> {
  if (!await granted({ name: "ffi" })) {
    throw unavailable("it is native code; run with --allow-ffi, or choose another engine");
  }
  if (!worker || source.protocol !== "file:") return;
  if (await granted({ name: "read", path: source })) return;
  throw unavailable(`its worker reads ${source.pathname}; run with --allow-read`);
}

const granted = async (descriptor: Deno.PermissionDescriptor): Promise<boolean> =>
  (await Deno.permissions.query(descriptor)).state === "granted";

/**
 * Starts the worker. Node's workers come from files alone; this one imports its code, which may come over the network,
 * and tells if it could not.
 */
export function spawn(options: ExecutorOptions = {}): Worker {
  const code = `import { parentPort } from "node:worker_threads";
import(${JSON.stringify(source)}).catch(({ name, message }) =>
  parentPort.postMessage({ id: 0, fault: { name, message } }));`;
  const url = new URL(`data:text/javascript,${encodeURIComponent(code)}`);
  return new Worker(url, { workerData: options });
}

/** A call that waits for its answer. */
interface PendingCall {
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: Error) => void;
}

/** Messages to a worker and back. */
interface Line {
  /** Sends a call, with memory that goes with it; its answer. */
  readonly call: (
    method: Method,
    args: readonly unknown[],
    transfer?: ArrayBuffer[],
  ) => Promise<unknown>;
  /** The answer to call 0. */
  readonly started: Promise<unknown>;
  /** Rejects every call that waits. */
  readonly drop: (error: Error) => void;
}

/** Keeps the process alive as long as a call waits, and no longer. */
function line(worker: Worker): Line {
  const waiting = new Map<number, PendingCall>();
  let count = 0, dead: Error | undefined;
  const wait = (id: number): Promise<unknown> =>
    new Promise((resolve, reject) => {
      waiting.set(id, { resolve, reject });
      worker.ref();
    });
  const settle = (id: number, how: (waiting: PendingCall) => void): void => {
    const found = waiting.get(id);
    waiting.delete(id);
    if (waiting.size === 0) worker.unref();
    if (found) how(found);
  };
  const drop = (error: Error): void =>
    [...waiting.keys()].forEach((id) => settle(id, ({ reject }) => reject(error)));
  const die = (why: string, cause?: unknown): void => {
    dead ??= new Error(`Cannot use the onnx engine: its worker ${why}`, { cause });
    drop(dead);
  };
  worker.on(
    "message",
    ({ id, value, fault }: Answer) =>
      settle(id, ({ resolve, reject }) => fault ? reject(revived(fault)) : resolve(value)),
  );
  worker.on("messageerror", (error: unknown) => die("sent what cannot be read", error));
  worker.on("error", (error: unknown) => die(`died: ${(error as Error)?.message ?? error}`, error));
  worker.on("exit", (code: number) => die(`ended with code ${code}`));
  const call: Line["call"] = (method, args, transfer = []) => {
    if (dead) return Promise.reject(dead);
    worker.postMessage({ id: ++count, method, args }, transfer);
    return wait(count);
  };
  return { call, started: wait(0), drop };
}

/** Errors of the worker that are of a class of their own here too. */
const classes: Readonly<Record<string, new (message: string, options: ErrorOptions) => Error>> = {
  TypeError,
  RangeError,
  EngineUnavailable,
};

function revived({ name, message, cause }: Fault): Error {
  const options = cause === undefined ? {} : { cause: new Error(cause) };
  return new (classes[name] ?? Error)(message, options);
}

/**
 * The executor in a worker that has been started.
 *
 * @param worker A thread that runs `worker.ts`, by {@link spawn}.
 * @throws {EngineUnavailable} If ONNX Runtime does not start in it; the worker is ended.
 */
export async function remote(worker: Worker): Promise<Executor> {
  const { call, started, drop } = line(worker);
  const name = await started.catch(async (error: Error) => {
    await worker.terminate();
    throw error instanceof EngineUnavailable
      ? error
      : unavailable(`its worker does not start: ${error.message}`, error);
  });
  let closing: Promise<void> | undefined;
  const ask = <T>(method: Method, args: readonly unknown[], transfer?: ArrayBuffer[]): Promise<T> =>
    closing ? Promise.reject(closed()) : call(method, args, transfer) as Promise<T>;
  const end = async (): Promise<void> => {
    drop(closed());
    await call("close", []).catch(() => {}); // a worker that died has nothing left to free
    await worker.terminate();
  };
  return {
    name: `${name}, in a worker`,
    load: async (bytes, options) => {
      const memory = bytes.slice().buffer;
      return await ask("load", [memory, options], [memory]);
    },
    run: async (session, feeds, fetches) => {
      const { value, transfer } = packed(feeds, "Cannot run a graph: input");
      return unpacked(await ask("run", [session, value, fetches], transfer));
    },
    put: async (slot, tensor) => {
      const { value, transfer } = packed({ [slot]: tensor }, "Cannot put a tensor: slot");
      await ask("put", [slot, value], transfer);
    },
    get: async (slot) =>
      unpacked<HostTensor>(await ask<Record<string, Packed>>("get", [slot]))[slot]!,
    free: (sessions, slots) => ask("free", [sessions, slots]),
    close: () => closing ??= end(),
  };
}

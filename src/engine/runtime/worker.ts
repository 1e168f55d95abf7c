/**
 * What runs in the worker: an executor that is called by messages.
 *
 * The thread's `workerData` is the options. It first answers call 0, whose value is the executor's name, once ONNX
 * Runtime is loaded; then every {@link Call} with one {@link Answer}. Tensors are handed over both ways, not copied.
 *
 * @module
 */

import { parentPort, workerData } from "node:worker_threads";
import type { Executor, Feed, Fetch, HostTensor, LoadOptions } from "./executor.ts";
import { type Packed, packed, start, unpacked } from "./session.ts";

/** The methods that can be called. */
export type Method = Exclude<keyof Executor, "name">;

/** A call: which of the executor's methods, with what. */
export interface Call {
  /** Its number, greater than 0. */
  readonly id: number;
  /** The method. */
  readonly method: Method;
  /** What it is given. */
  readonly args: readonly unknown[];
}

/** An error as it crosses between threads. */
export interface Fault {
  /** Its class. */
  readonly name: string;
  /** Its message. */
  readonly message: string;
  /** The message of what caused it, if that is known. */
  readonly cause?: string;
}

/** The answer to a call: a value, or an error. */
export interface Answer {
  /** The call's number. */
  readonly id: number;
  /** What the method answered. */
  readonly value?: unknown;
  /** What it threw. */
  readonly fault?: Fault;
}

/** An error's words. */
function fault(error: unknown): Fault {
  if (!(error instanceof Error)) return { name: "Error", message: String(error) };
  const { name, message, cause } = error;
  return { name, message, ...(cause instanceof Error ? { cause: cause.message } : {}) };
}

/** A value, and the memory that goes with it. */
type Reply = readonly [value: unknown, transfer?: ArrayBuffer[]];

/** A call's arguments as they arrive, and what is sent back. */
type Handle = (executor: Executor, args: readonly unknown[]) => Promise<Reply>;

const bytes = (memory: unknown): Uint8Array => new Uint8Array(memory as ArrayBuffer);

const tensors = <T extends Feed>(value: unknown): Record<string, T> =>
  unpacked<T>(value as Record<string, Packed>);

const reply = (value: Record<string, HostTensor>): Reply => {
  const parcel = packed(value, "Cannot answer: output");
  return [parcel.value, parcel.transfer];
};

/** What each method does with what arrives. */
const handle: Readonly<Record<Method, Handle>> = {
  load: async (executor, [memory, options]) => [
    await executor.load(bytes(memory), options as LoadOptions | undefined),
  ],
  run: async (executor, [session, feeds, fetches]) =>
    reply(
      await executor.run(session as number, tensors(feeds), fetches as Record<string, Fetch>),
    ),
  put: async (executor, [slot, value]) => {
    await executor.put(slot as string, tensors<HostTensor>(value)[slot as string]!);
    return [undefined];
  },
  get: async (executor, [slot]) => reply({ [slot as string]: await executor.get(slot as string) }),
  free: async (executor, [sessions, slots]) => [
    await executor.free(sessions as readonly number[], slots as readonly string[]),
  ],
  close: async (executor) => [await executor.close()],
};

async function answer(id: number, work: () => Promise<Reply>): Promise<void> {
  try {
    const [value, transfer] = await work(), message: Answer = { id, value };
    parentPort?.postMessage(message, transfer ?? []);
  } catch (error) {
    const message: Answer = { id, fault: fault(error) };
    parentPort?.postMessage(message);
  }
}

/** Answers calls to an executor; its name. */
function serve(executor: Executor): string {
  parentPort?.on("message", ({ id, method, args }: Call) => {
    void answer(id, () => handle[method](executor, args));
  });
  return executor.name;
}

await answer(0, async () => [serve(await start(workerData))]);

/**
 * What runs encoded graphs: the seam between compiling and ONNX Runtime, in the same thread or in a worker.
 *
 * An executor holds two kinds of things by number or name: sessions, each a loaded graph, and slots, tensors that stay
 * with it between runs, so that a fold's state is not carried back and forth.
 *
 * @module
 */

import type { ElementType } from "../graph/graph.ts";

/**
 * A tensor as it crosses to an executor and back; its elements are handed over, not shared: an array that was given
 * away is empty, in the same thread too. One that is a part of a larger buffer, or of shared memory, is copied.
 */
export interface HostTensor {
  /** Its elements' type; int64 only for graphs that were made elsewhere. */
  readonly type: ElementType;
  /** Its shape. */
  readonly dims: readonly number[];
  /** Its elements, row by row. */
  readonly data: Float32Array | Int32Array | Uint8Array | BigInt64Array;
}

/** Where an input comes from: a tensor, or the name of a slot. */
export type Feed = HostTensor | string;

/** Where an output goes: back to the caller, or into the slot of that name, which the same run may have read. */
export type Fetch = true | string;

/** How ONNX Runtime is to work. */
export interface OnnxOptions {
  /** What it runs on. Default: `"cpu"`. */
  readonly provider?: "cpu" | "webgpu" | "cuda";
  /** Threads for one operator. Default: as many as there are cores. */
  readonly threads?: number;
  /**
   * Whether threads wait for the next operator in a busy loop for long, for benchmarks. Default: false, for 20 µs at most:
   * as fast on an idle machine, where else another program that wants the same cores makes it several times slower.
   */
  readonly spinning?: boolean;
}

/** What an input or output of a loaded graph looks like; a word or -1 stands for a size that is known when it is run. */
export interface SessionPort {
  /** Its name. */
  readonly name: string;
  /** Its elements' type. */
  readonly type: string;
  /** Its shape. */
  readonly dims: readonly (number | string)[];
}

/** A loaded graph. */
export interface SessionInfo {
  /** Its number. */
  readonly id: number;
  /** What it is given. */
  readonly inputs: readonly SessionPort[];
  /** What it answers. */
  readonly outputs: readonly SessionPort[];
}

/** How a graph is loaded. */
export interface LoadOptions {
  /**
   * Whether it is carried out as it is written. Default: false, the runtime first looks for a faster form, which takes as
   * long again as loading it, or longer.
   */
  readonly asWritten?: boolean;
}

/** Runs encoded graphs. Every method rejects once the executor is closed, or its worker has died. */
export interface Executor {
  /** What runs them, in a few words, for people. */
  readonly name: string;
  /** Loads an encoded graph; the bytes stay the caller's. */
  readonly load: (bytes: Uint8Array, options?: LoadOptions) => Promise<SessionInfo>;
  /**
   * Runs one; answers the outputs that were fetched back. Runs are carried out one after another. If one rejects, the
   * slots are as they were before it.
   */
  readonly run: (
    session: number,
    feeds: Readonly<Record<string, Feed>>,
    fetches: Readonly<Record<string, Fetch>>,
  ) => Promise<Record<string, HostTensor>>;
  /** Puts a tensor into a slot. */
  readonly put: (slot: string, tensor: HostTensor) => Promise<void>;
  /** A copy of what is in a slot. */
  readonly get: (slot: string) => Promise<HostTensor>;
  /** Frees sessions and slots. */
  readonly free: (sessions: readonly number[], slots: readonly string[]) => Promise<void>;
  /**
   * Frees everything, and ends the worker if there is one. Calls that wait are rejected at once; a run that the
   * runtime has begun cannot be stopped, and is waited for. Calling it again does nothing.
   */
  readonly close: () => Promise<void>;
}

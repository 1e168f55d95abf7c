/**
 * Samples in batches that fit into memory.
 *
 * A sample depends on the key and on its number alone, so the batches may be of any size. Of a picture at the end each
 * batch is drawn to its end before the next begins. Frames show all samples after as many steps: for these the batches
 * take turns, a step of each, and what waits is their x_t, which is small beside what a network makes of it.
 *
 * @module
 */

import type { State } from "../../sample/path.ts";
import { type Architecture, architectureOf } from "../../network/architecture.ts";
import type { Backend } from "../../tensor/backend/backend.ts";

/** Samples that are drawn at once. */
export interface Batch {
  /** Number of the first among all samples. */
  readonly first: number;
  /** How many. */
  readonly count: number;
}

/**
 * Samples in as few batches as may be, all of one size but the last, since engines compile each size anew.
 *
 * @param count Number of samples.
 * @param most The most in one batch.
 * @returns The batches, in order.
 */
export function batchesOf(count: number, most: number): Batch[] {
  const size = Math.ceil(count / Math.ceil(count / most));
  return Array.from(
    { length: Math.ceil(count / size) },
    (_, i) => ({ first: i * size, count: Math.min(size, count - i * size) }),
  );
}

/** Memory that a batch may take, in MiB: more on engines with many cores, which larger batches keep busy. */
const budgets: Readonly<Record<Backend | "onnx", number>> = {
  cpu: 256,
  wasm: 256,
  onnx: 512,
  tensorflow: 512,
  webgpu: 1024,
};

/** Arrays as large as the widest layer that live at once for one guided sample: of the shipped model 40 on onnx, 56 on wasm. */
const live = 64;

/**
 * A number of samples that are drawn at once, where none is given.
 *
 * @param network The network's configuration.
 * @param engine What runs it.
 * @param architecture What the network is. Default: the usual denoiser.
 * @returns At least 1.
 */
export function usualBatch(
  network: object,
  engine: Backend | "onnx",
  architecture: Architecture<"denoiser", object> = architectureOf("denoiser"),
): number {
  const { sample, widest = (config) => sample(config).reduce((a, b) => a * b, 1) } = architecture;
  const bytes = live * 4 * widest(network);
  return Math.max(1, Math.floor(budgets[engine] * 2 ** 20 / bytes));
}

/** A state of one of several runs. */
export interface Drawn {
  /** Number of the run. */
  readonly index: number;
  /** The state. */
  readonly state: State;
  /** Transitions that all runs have made, for progress. */
  readonly step: number;
  /** Time of the state, likewise. */
  readonly t: number;
}

/**
 * The states of several runs of one sampler.
 *
 * @param runs The runs.
 * @param byTurns Whether a state of each comes, then the next of each; otherwise all of the first, then all of the second.
 * @returns Their states, each alive until the next is asked for. All runs are closed at the end, whatever ends it.
 */
export async function* drawn(
  runs: readonly AsyncIterable<State>[],
  byTurns: boolean,
): AsyncGenerator<Drawn, void, undefined> {
  const made = runs.map(() => 0);
  for await (const { index, state } of byTurns ? alternating(runs) : consecutive(runs)) {
    made[index] = state.step;
    yield { index, state, step: made.reduce((a, b) => a + b), t: state.t };
  }
}

type Indexed = Pick<Drawn, "index" | "state">;

async function* consecutive(
  runs: readonly AsyncIterable<State>[],
): AsyncGenerator<Indexed, void, undefined> {
  for (const [index, run] of runs.entries()) {
    for await (const state of run) yield { index, state };
  }
}

async function* alternating(
  runs: readonly AsyncIterable<State>[],
): AsyncGenerator<Indexed, void, undefined> {
  const iterators = runs.map((run) => run[Symbol.asyncIterator]());
  try {
    for (let over = false; !over;) {
      for (const [index, iterator] of iterators.entries()) {
        const { done, value } = await iterator.next();
        if (done) over = true;
        else yield { index, state: value };
      }
    }
  } finally {
    for (const iterator of iterators) await iterator.return?.();
  }
}

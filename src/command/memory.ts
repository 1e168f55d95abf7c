/**
 * Memory that runs out, said in the words of the options.
 *
 * @module
 */

import { oneLine } from "./option.ts";

/** How the engines, V8 and zlib say it. */
const shortage =
  /memory access out of bounds|allocation failed|Invalid (typed )?array length|out of memory|bad_?alloc|failed to allocate/i;

/**
 * Names what was too large where memory runs out.
 *
 * @param what What must fit, such as `"Cannot sample: a batch of 700 must fit into memory"`.
 * @param body The work.
 * @returns What the work returns.
 * @throws {RangeError} If memory ran out; `cause` is the engine's error.
 */
export async function withinMemory<A>(what: string, body: () => Promise<A>): Promise<A> {
  try {
    return await body();
  } catch (cause) {
    if (!(cause instanceof Error && shortage.test(cause.message))) throw cause;
    throw new RangeError(`${what}, got ${oneLine(cause)}`, { cause });
  }
}

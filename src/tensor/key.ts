/**
 * Splittable random keys on Philox 4x32-10.
 *
 * A key is a point in a tree: `split` gives its children, `fold` the child with a given number or name. Every draw
 * is a pure function of a key, so nothing in the library hides a random state, and a sample depends neither on its
 * batch, nor on the order of the work, nor on the machine.
 *
 * Source: J. Salmon, M. Moraes, R. Dror, D. Shaw, "Parallel random numbers: as easy as 1, 2, 3" (SC 2011), section 3.3.
 *
 * @module
 */

import { checkKey, refusal } from "./check/check.ts";

/**
 * A Philox key: two unsigned 32-bit words. Plain data; make one with {@link key}.
 *
 * @category Random numbers
 */
export interface Key {
  /** High word, in [0, 2³²). */
  readonly hi: number;
  /** Low word, in [0, 2³²). */
  readonly lo: number;
}

export { checkKey } from "./check/check.ts";

/**
 * Four unsigned 32-bit words: a Philox counter, or the block of random bits that it maps to.
 *
 * @category Random numbers
 */
export type Block = readonly [number, number, number, number];

/** Which family a derived key belongs to: keeps children apart from the draws of their parent. */
const domain = { draw: 0, child: 1, name: 2 } as const;

/**
 * Ten rounds on the counter in `words[at]` to `words[at + 3]`, in place. The 64-bit products 0xd2511f53·c0 and
 * 0xcd9e8d57·c2 are taken by 16-bit halves; every number that the library draws comes through this loop.
 */
function rounds(words: Uint32Array, at: number, under: Key): void {
  let c0 = words[at]!, c1 = words[at + 1]!, c2 = words[at + 2]!, c3 = words[at + 3]!;
  let k0 = under.lo, k1 = under.hi;
  for (let round = 0; round < 10; round++) {
    const aH = c0 >>> 16, aL = c0 & 0xffff, bH = c2 >>> 16, bL = c2 & 0xffff;
    const a1 = aH * 0x1f53 + ((aL * 0x1f53) >>> 16), a2 = aL * 0xd251 + (a1 & 0xffff);
    const b1 = bH * 0x8d57 + ((bL * 0x8d57) >>> 16), b2 = bL * 0xcd9e + (b1 & 0xffff);
    const high0 = aH * 0xd251 + (a1 >>> 16) + (a2 >>> 16);
    const high1 = bH * 0xcd9e + (b1 >>> 16) + (b2 >>> 16);
    const low0 = Math.imul(c0, 0xd2511f53), low1 = Math.imul(c2, 0xcd9e8d57);
    c0 = (high1 ^ c1 ^ k0) >>> 0;
    c1 = low1 >>> 0;
    c2 = (high0 ^ c3 ^ k1) >>> 0;
    c3 = low0 >>> 0;
    k0 = (k0 + 0x9e3779b9) >>> 0;
    k1 = (k1 + 0xbb67ae85) >>> 0;
  }
  words[at] = c0;
  words[at + 1] = c1;
  words[at + 2] = c2;
  words[at + 3] = c3;
}

/**
 * The Philox 4x32-10 bijection: ten rounds of a counter under a key (SC 2011, section 3.3).
 *
 * @category Random numbers
 * @param counter Four unsigned 32-bit words.
 * @param under The key; `lo` is the first key word of the paper, `hi` the second.
 * @returns Four unsigned 32-bit words, uniform over all counters.
 * @throws {TypeError} If `under` is not a key.
 *
 * @example The first known-answer vector
 * ```ts
 * import { philox } from "@tweedie/tweedie/tensor";
 * import assert from "node:assert/strict";
 *
 * assert.deepEqual(philox([0, 0, 0, 0], { hi: 0, lo: 0 }), [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8]);
 * ```
 */
export function philox(counter: Block, under: Key): Block {
  checkKey("permute a counter", under);
  return block(counter, under);
}

function block(counter: Block, under: Key): Block {
  scratch.set(counter);
  rounds(scratch, 0, under);
  return [scratch[0]!, scratch[1]!, scratch[2]!, scratch[3]!];
}

/** Room for one block: a typed array costs more to make than the ten rounds. */
const scratch = new Uint32Array(4);

/**
 * A root key from a seed.
 *
 * @category Random numbers
 * @param seed A whole number in [0, 2⁵³): every such number gives another key.
 * @returns The key.
 * @throws {RangeError} If the seed is not a whole number in [0, 2⁵³).
 *
 * @example
 * ```ts
 * import { key } from "@tweedie/tweedie";
 * import assert from "node:assert/strict";
 *
 * assert.deepEqual(key(7), { hi: 0, lo: 7 });
 * ```
 */
export function key(seed: number): Key {
  if (!Number.isSafeInteger(seed) || seed < 0) {
    throw refusal("make a key", "seed must be a whole number in [0, 2^53)", seed);
  }
  return { hi: Math.floor(seed / 2 ** 32), lo: seed >>> 0 };
}

/**
 * The child of a key that bears a number or a name. Different data give independent keys, and no child's draws
 * overlap its parent's.
 *
 * @category Random numbers
 * @param parent The key to derive from; it may go on being used.
 * @param data A whole number in [0, 2⁵³), or a name such as `"ancestral"`.
 * @returns The derived key.
 * @throws {TypeError} If `parent` is not a key.
 * @throws {RangeError} If a number is not whole or not in [0, 2⁵³).
 *
 * @example
 * ```ts
 * import { fold, key } from "@tweedie/tweedie";
 * import assert from "node:assert/strict";
 *
 * assert.deepEqual(fold(key(1), "noise"), fold(key(1), "noise"));
 * assert.notDeepEqual(fold(key(1), 3), fold(key(1), 4));
 * ```
 */
export function fold(parent: Key, data: number | string): Key {
  checkKey("fold a key", parent, "parent");
  if (typeof data === "string") return foldName(parent, new TextEncoder().encode(data));
  if (!Number.isSafeInteger(data) || data < 0) {
    throw refusal("fold a key", "data must be a whole number in [0, 2^53) or a name", data);
  }
  return derive(parent, data >>> 0, Math.floor(data / 2 ** 32), domain.child);
}

/** Length first, then each byte: so no path of names spells another ("ab" is not "a" and then "b"). */
function foldName(parent: Key, bytes: Uint8Array): Key {
  return [bytes.length, ...bytes].reduce((key, word) => derive(key, word, 0, domain.name), parent);
}

function derive(parent: Key, low: number, high: number, kind: number): Key {
  const [lo, hi] = block([low, high, 0, kind], parent);
  return { hi, lo };
}

/**
 * The first children of a key, `fold(parent, 0)` to `fold(parent, count - 1)`.
 *
 * @category Random numbers
 * @param parent The key to derive from.
 * @param count How many children. Default: 2.
 * @returns The children.
 * @throws {TypeError} If `parent` is not a key.
 * @throws {RangeError} If `count` is not a whole number of at least 0.
 *
 * @example
 * ```ts
 * import { key, split } from "@tweedie/tweedie";
 * import assert from "node:assert/strict";
 *
 * const [weights, noise] = split(key(0));
 * assert.notDeepEqual(weights, noise);
 * ```
 */
export function split(parent: Key, count: number = 2): Key[] {
  checkKey("split a key", parent, "parent");
  if (!Number.isSafeInteger(count) || count < 0) {
    throw refusal("split a key", "count must be a whole number of at least 0", count);
  }
  return Array.from(
    { length: count },
    (_, i) => derive(parent, i >>> 0, Math.floor(i / 2 ** 32), domain.child),
  );
}

/**
 * Fills an array with the key's own stream of random bits: block i is `philox([i, 0, 0, 0], key)`.
 *
 * @category Random numbers
 * @param under The key.
 * @param words The array to fill, of any length.
 * @returns The same array.
 * @throws {TypeError} If `under` is not a key.
 *
 * @example
 * ```ts
 * import { fillBits, philox } from "@tweedie/tweedie/tensor";
 * import { key } from "@tweedie/tweedie";
 * import assert from "node:assert/strict";
 *
 * assert.deepEqual([...fillBits(key(5), new Uint32Array(4))], [...philox([0, 0, 0, 0], key(5))]);
 * ```
 */
export function fillBits(under: Key, words: Uint32Array): Uint32Array {
  checkKey("draw random bits", under);
  const whole = words.length & ~3;
  for (let at = 0; at < whole; at += 4) {
    words[at] = at / 4;
    words[at + 1] = words[at + 2] = 0;
    words[at + 3] = domain.draw;
    rounds(words, at, under);
  }
  if (whole < words.length) {
    const last = block([whole / 4, 0, 0, domain.draw], under);
    for (let at = whole; at < words.length; at++) words[at] = last[at - whole]!;
  }
  return words;
}

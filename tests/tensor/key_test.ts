import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import fc from "fast-check";
import {
  type Block,
  checkKey,
  fillBits,
  fold,
  type Key,
  key,
  philox,
  split,
} from "../../src/tensor/key.ts";

const word = fc.nat({ max: 0xffffffff });
const anyKey = fc.record({ hi: word, lo: word });
const text = (k: Key) => `${k.hi},${k.lo}`;
const hex = (block: Block) => block.map((w) => w.toString(16).padStart(8, "0")).join(" ");

describe("philox()", () => {
  const ones = 0xffffffff;
  const vectors: [Block, Key, string][] = [
    [[0, 0, 0, 0], { lo: 0, hi: 0 }, "6627e8d5 e169c58d bc57ac4c 9b00dbd8"],
    [[ones, ones, ones, ones], { lo: ones, hi: ones }, "408f276d 41c83b0e a20bc7c6 6d5451fd"],
    [
      [0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344],
      { lo: 0xa4093822, hi: 0x299f31d0 },
      "d16cfe09 94fdcceb 5001e420 24126ea1",
    ],
  ];
  for (const [counter, under, want] of vectors) {
    it(`philox() gives Random123's known answer for the counter ${hex(counter)}`, () => {
      assert.equal(hex(philox(counter, under)), want);
    });
  }

  it("philox() agrees with the rounds done in 64-bit integers", () => {
    const reference = (counter: Block, { hi, lo }: Key): bigint[] => {
      const mask = 0xffffffffn;
      let [a, b, c, d] = counter.map(BigInt) as [bigint, bigint, bigint, bigint];
      for (let round = 0n; round < 10n; round++) {
        const k0 = (BigInt(lo) + round * 0x9e3779b9n) & mask;
        const k1 = (BigInt(hi) + round * 0xbb67ae85n) & mask;
        const p = 0xd2511f53n * a, q = 0xcd9e8d57n * c;
        [a, b, c, d] = [(q >> 32n) ^ b ^ k0, q & mask, (p >> 32n) ^ d ^ k1, p & mask];
      }
      return [a, b, c, d];
    };
    fc.assert(fc.property(fc.tuple(word, word, word, word), anyKey, (counter, under) => {
      assert.deepEqual(philox(counter, under).map(BigInt), reference(counter, under));
    }));
  });
});

describe("fillBits()", () => {
  it("fillBits() writes the blocks of philox() for any key and length", () => {
    fc.assert(fc.property(anyKey, fc.nat({ max: 70 }), (under, length) => {
      const blocks = Array.from({ length: Math.ceil(length / 4) }, (_, i) => i);
      const want = blocks.flatMap((i) => philox([i, 0, 0, 0], under)).slice(0, length);
      assert.deepEqual([...fillBits(under, new Uint32Array(length))], want);
    }));
  });

  it("fillBits() goes on past block 2^16", () => {
    const under = key(2 ** 40 + 9), words = fillBits(under, new Uint32Array(4 * (2 ** 16 + 3)));
    for (const block of [2 ** 16 - 1, 2 ** 16, 2 ** 16 + 2]) {
      assert.deepEqual(
        [...words.subarray(4 * block, 4 * block + 4)],
        [...philox([block, 0, 0, 0], under)],
      );
    }
  });
});

describe("key()", () => {
  it("key() keeps every bit of a seed up to 2^53", () => {
    fc.assert(fc.property(fc.maxSafeNat(), (seed) => {
      const { hi, lo } = key(seed);
      assert.equal(hi * 2 ** 32 + lo, seed);
      assert.ok(hi >= 0 && hi < 2 ** 21 && lo >= 0 && lo < 2 ** 32);
    }));
    assert.notDeepEqual(key(2 ** 32), key(0));
  });

  for (const seed of [-1, 0.5, 2 ** 53, NaN, Infinity]) {
    it(`key() refuses the seed ${seed}`, () => {
      assert.throws(() => key(seed), {
        name: "RangeError",
        message: `Cannot make a key: seed must be a whole number in [0, 2^53), got ${seed}`,
      });
    });
  }
});

describe("fold()", () => {
  it("fold() gives 100,000 numbered children, 1,000 named ones and their parent different keys", () => {
    const parent = key(11), count = 100_000;
    const names = Array.from({ length: 1000 }, (_, i) => fold(parent, `${i}`));
    const keys = new Set([...split(parent, count), ...names, parent].map(text));
    assert.equal(keys.size, count + 1001);
  });

  it("fold() tells names from numbers, and the empty name from the parent", () => {
    const parent = key(0);
    assert.notDeepEqual(fold(parent, "7"), fold(parent, 7));
    assert.notDeepEqual(fold(parent, "\x07"), fold(parent, 7));
    assert.notDeepEqual(fold(parent, "7"), fold(fold(parent, 1), 0x37));
    assert.notDeepEqual(fold(parent, ""), fold(parent, 0));
    assert.notDeepEqual(fold(parent, ""), parent);
  });

  it("fold() by a name is not fold() by its parts", () => {
    const name = fc.string({ minLength: 0, maxLength: 6 });
    fc.assert(fc.property(anyKey, name, name, (parent, a, b) => {
      assert.notDeepEqual(fold(parent, a + b), fold(fold(parent, a), b));
    }));
  });

  it("fold() tells numbers apart beyond 32 bits", () => {
    assert.notDeepEqual(fold(key(0), 5), fold(key(0), 2 ** 32 + 5));
    assert.notDeepEqual(fold(key(5), 0), fold(key(2 ** 32 + 5), 0));
  });

  it("fold() gives no child whose bits are its parent's", () => {
    const parent = key(3), own = new Set(fillBits(parent, new Uint32Array(4000)));
    const children = split(parent, 1000).flatMap((k) => [k.hi, k.lo]);
    // 2,000 words against 4,000: 0.002 chance meetings are expected.
    assert.equal(children.filter((w) => own.has(w)).length, 0);
  });

  for (const data of [-1, 1.5, 2 ** 53, NaN]) {
    it(`fold() refuses the number ${data}`, () => {
      assert.throws(() => fold(key(0), data), {
        name: "RangeError",
        message:
          `Cannot fold a key: data must be a whole number in [0, 2^53) or a name, got ${data}`,
      });
    });
  }
});

describe("split()", () => {
  it("split() gives the folds 0, 1, 2, … and two of them by default", () => {
    fc.assert(fc.property(anyKey, fc.nat({ max: 9 }), (parent, count) => {
      const want = Array.from({ length: count }, (_, i) => fold(parent, i));
      assert.deepEqual(split(parent, count), want);
    }));
    assert.equal(split(key(0)).length, 2);
  });

  it("split() refuses a count that is not a whole number", () => {
    assert.throws(() => split(key(0), 1.5), /^RangeError: Cannot split a key: count must be/);
    assert.throws(() => split(key(0), -1), RangeError);
  });
});

describe("checkKey()", () => {
  it("checkKey() passes keys, whoever made them, and names what is none", () => {
    fc.assert(fc.property(anyKey, (k) => checkKey("run", k)));
    for (
      const [got, shown] of [
        [5, "got 5"],
        [undefined, "got undefined"],
        [null, "got null"],
        ["a", 'got "a"'],
        [{ hi: 1.5, lo: 0 }, "got"],
        [{ hi: 0, lo: -1 }, "got"],
        [[key(0)], "got"],
      ] as const
    ) {
      const message = new RegExp(
        `^Cannot run: key must be a key, as key\\(0\\) makes them, ${shown}`,
      );
      assert.throws(() => checkKey("run", got), { name: "TypeError", message });
      const wrong = got as unknown as Key;
      assert.throws(() => fold(wrong, 0), /^TypeError: Cannot fold a key: parent must be a key/);
      assert.throws(() => fold(wrong, "a"), TypeError);
      assert.throws(() => split(wrong), /^TypeError: Cannot split a key: parent must be a key/);
      assert.throws(() => fillBits(wrong, new Uint32Array(1)), TypeError);
      assert.throws(() => philox([0, 0, 0, 0], wrong), TypeError);
    }
  });
});

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import process from "node:process";
import zlib from "node:zlib";
import fc from "fast-check";
import { decode as decodePng } from "fast-png";
import { apng, png } from "../../src/io/png.ts";
import { decodeIdx } from "../../src/data/file/idx.ts";
import { crc32, gunzip } from "../../src/data/file/gzip.ts";

/** Unpacks in pieces of a size. */
function unpacked(packed: Uint8Array, size: number): Uint8Array {
  const unzip = gunzip(), pieces: Uint8Array[] = [];
  for (let at = 0; at < packed.length; at += size) {
    pieces.push(...unzip(packed.subarray(at, at + size), at + size >= packed.length));
  }
  return new Uint8Array(pieces.flatMap((piece) => [...piece]));
}

/** Runs as in a page, where there are no modules of Node. */
function withoutNode<A>(body: () => A): A {
  const found = process.getBuiltinModule;
  Object.defineProperty(process, "getBuiltinModule", { value: undefined, configurable: true });
  try {
    return body();
  } finally {
    Object.defineProperty(process, "getBuiltinModule", { value: found, configurable: true });
  }
}

/** An IDX file of some bytes, which may be said to be fewer or more than there are. */
function idx(data: Uint8Array, said = data.length): Uint8Array {
  const file = new Uint8Array(8 + data.length);
  file.set([0, 0, 8, 1]);
  new DataView(file.buffer).setUint32(4, said);
  file.set(data, 8);
  return file;
}

describe("crc32()", () => {
  it("crc32() is zlib's, of one piece or two", () => {
    fc.assert(fc.property(fc.uint8Array(), fc.uint8Array(), (a, b) => {
      assert.equal(crc32(b, crc32(a)), zlib.crc32(b, zlib.crc32(a)));
    }));
  });
});

describe("gunzip()", () => {
  it("gunzip() unpacks one member or more, in pieces of any size", () => {
    const member = fc.uint8Array({ maxLength: 300 });
    fc.assert(
      fc.property(
        fc.array(member, { minLength: 1, maxLength: 3 }),
        fc.integer({ min: 1, max: 99 }),
        (members, size) => {
          const packed = new Uint8Array(members.flatMap((bytes) => [...zlib.gzipSync(bytes)]));
          const all = new Uint8Array(members.flatMap((bytes) => [...bytes]));
          assert.deepEqual(unpacked(packed, size), all);
        },
      ),
    );
  });

  it("gunzip() throws on what is cut, and gives nothing wrong when a bit is flipped", () => {
    const data = Uint8Array.from({ length: 500 }, (_, i) => i * i % 251 >> 4);
    const packed = new Uint8Array(zlib.gzipSync(data));
    for (let length = 1; length < packed.length; length++) {
      assert.throws(() => unpacked(packed.subarray(0, length), 64), `${length} bytes`);
    }
    for (let bit = 80; bit < 8 * packed.length; bit++) {
      const flipped = packed.with(bit >> 3, packed[bit >> 3]! ^ 1 << (bit & 7));
      try {
        assert.deepEqual(unpacked(flipped, 64), data);
      } catch (error) {
        assert.ok(!(error instanceof assert.AssertionError), `bit ${bit}`);
      }
    }
  });

  it("gunzip() looks at the trailer of each member", () => {
    const [a, b] = [new Uint8Array(9).fill(1), new Uint8Array(7).fill(2)].map((bytes) =>
      new Uint8Array(zlib.gzipSync(bytes))
    );
    const spoilt = a!.with(a!.length - 8, a!.at(-8)! ^ 1);
    for (const members of [[spoilt, b!], [b!, spoilt]]) {
      const packed = new Uint8Array(members.flatMap((member) => [...member]));
      assert.throws(() => unpacked(packed, 1000), /incorrect data check/);
    }
  });
});

describe("without Node's modules", () => {
  const data = Uint8Array.from({ length: 70_000 }, (_, i) => i * i % 251);

  it("decodeIdx() unpacks, and no more than is promised", () => {
    withoutNode(() => {
      assert.deepEqual(decodeIdx(zlib.gzipSync(idx(data))), { shape: [70_000], data });
      const cases: [Uint8Array, RegExp][] = [
        [zlib.gzipSync(idx(new Uint8Array(50_000_000), 10)), /10 bytes \(shape 10\), got more$/],
        [zlib.gzipSync(idx(data, 70_001)), /70001 bytes \(shape 70001\), got 70000$/],
        [zlib.gzipSync(idx(data, 2 ** 32 - 1)), /got at most \d+ out of \d+ compressed bytes$/],
        [zlib.gzipSync(idx(data)).subarray(0, -1), /gzip data must be whole, got an error: /],
        [zlib.gzipSync(new Uint8Array(3)), /at least 4 bytes, got 3$/],
      ];
      for (const [bytes, message] of cases) {
        assert.throws(() => decodeIdx(bytes), { name: "SyntaxError", message });
      }
    });
  });

  it("png() and apng() write what can be read", async () => {
    const image = { width: 70, height: 100, channels: 1, data: data.subarray(0, 7000) } as const;
    for (const level of [0, 1, 6, 9]) {
      const got = decodePng(withoutNode(() => png(image, { level })));
      assert.deepEqual(new Uint8Array(got.data), image.data);
    }
    const film = await withoutNode(() => apng([image, image]));
    assert.deepEqual(new Uint8Array(decodePng(film).data), image.data);
  });
});

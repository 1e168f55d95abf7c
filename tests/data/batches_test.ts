import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { gzipSync } from "node:zlib";
import fc from "fast-check";
import {
  batches,
  type BatchOptions,
  type ImageBatch,
  permutation,
} from "../../src/data/batches.ts";
import { decodeIdx, readIdx } from "../../src/data/file/idx.ts";
import { classesOf, type ImageSet } from "../../src/data/images.ts";
import { fashionMnist, idxImages, type IdxImagesOptions } from "../../src/data/sets/mnist.ts";
import { fold, key } from "../../src/tensor/key.ts";

/** An IDX file with any header. */
function idx(shape: readonly number[], data: Iterable<number>, type = 8): Uint8Array {
  const header = new Uint8Array(4 + 4 * shape.length), words = new DataView(header.buffer);
  header.set([0, 0, type, shape.length]);
  shape.forEach((size, axis) => words.setUint32(4 + 4 * axis, size));
  return new Uint8Array([...header, ...data]);
}

/** An IDX file that is said to be of another shape than it has bytes. */
const lying = (shape: readonly number[], bytes: number): Uint8Array => {
  const head = idx(shape, []), file = new Uint8Array(head.length + bytes);
  file.set(head);
  return file;
};

const installed = await Deno.stat("/usr/share/datasets/fashion-mnist").then(
  () => true,
  () => false,
);

/** n one-pixel images with the values 0 to n - 1, which are their labels too. */
const dots = (n: number): ImageSet => ({
  images: Uint8Array.from({ length: n }, (_, i) => i),
  shape: [n, 1, 1, 1],
  labels: Uint8Array.from({ length: n }, (_, i) => i),
});

function taken(set: ImageSet, options: BatchOptions, count: number): ImageBatch[] {
  const all: ImageBatch[] = [];
  for (const batch of batches(set, options)) if (all.push(batch) === count) break;
  return all;
}

/** The order in which a stream of dots visits them. */
const visits = (n: number, options: BatchOptions, count: number): number[] =>
  taken(dots(n), options, count).flatMap(({ labels }) => [...labels!]);

const anyOptions = fc.record({
  size: fc.integer({ min: 1, max: 9 }),
  key: fc.nat().map(key),
  flip: fc.boolean(),
  dequantize: fc.boolean(),
});

describe("decodeIdx", () => {
  it("decodeIdx() reads any shape of bytes, compressed or not, at any place in memory", () => {
    fc.assert(
      fc.property(
        fc.array(fc.nat(4), { minLength: 1, maxLength: 5 }),
        fc.boolean(),
        (shape, zip) => {
          const data = Uint8Array.from(
            { length: shape.reduce((a, b) => a * b, 1) },
            (_, i) => i * 7,
          );
          const bytes = zip ? gzipSync(idx(shape, data)) : idx(shape, data);
          const moved = new Uint8Array([1, 2, 3, ...bytes]).subarray(3);
          const { shape: got, data: values } = decodeIdx(moved);
          assert.deepEqual([got, [...values]], [shape, [...data]]);
        },
      ),
    );
  });

  it("decodeIdx() throws on a file that is cut anywhere, compressed or not", () => {
    const plain = idx([2, 3, 4], Array.from({ length: 24 }, (_, i) => i));
    for (const whole of [plain, new Uint8Array(gzipSync(plain))]) {
      for (let length = 0; length < whole.length; length++) {
        assert.throws(() => decodeIdx(whole.subarray(0, length)), {
          name: "SyntaxError",
          message: /^Cannot decode IDX: .* must be .*, got .*[^.]$/,
        });
      }
    }
  });

  it("decodeIdx() gives no wrong number when a bit of the compressed bytes is flipped", () => {
    const plain = idx([64], Array.from({ length: 64 }, (_, i) => i * 97 % 251)),
      zip = new Uint8Array(gzipSync(plain));
    // The first ten bytes hold a time and a system, and a few bits of padding mean nothing.
    let refused = 0;
    for (let bit = 80; bit < 8 * zip.length; bit++) {
      try {
        assert.deepEqual(
          decodeIdx(zip.with(bit >> 3, zip[bit >> 3]! ^ 1 << (bit & 7))),
          decodeIdx(plain),
        );
      } catch (error) {
        refused++;
        assert.match(
          String(error),
          /^SyntaxError: Cannot decode IDX: gzip data must be whole, got an error: /,
        );
      }
    }
    assert(refused > 0.98 * (8 * zip.length - 80), `${refused} refused`);
  });

  const lies: [string, Uint8Array, RegExp][] = [
    ["too few bytes", idx([2, 3], [1, 2, 3]), /data must be 6 bytes \(shape 2x3\), got 3$/],
    ["too many bytes", idx([2], [1, 2, 3]), /data must be 2 bytes \(shape 2\), got 3$/],
    [
      "a size beyond memory",
      idx([0xffffffff, 0xffffffff, 3], [1]),
      /must be \d+ bytes \(shape 4294967295x4294967295x3\), got 1$/,
    ],
    ["half a header", idx([2, 3], []).subarray(0, 9), /header of rank 2 must be 12 bytes, got 9$/],
    [
      "floats",
      idx([1], [0, 0, 0, 0], 0x0d),
      /element type must be 8 \(unsigned byte\), got 13 \(float\)$/,
    ],
    ["an unknown type", idx([1], [0], 0x0a), /got 10 \(unknown\)$/],
    [
      "another format",
      new TextEncoder().encode("PK\x03\x04...."),
      /first two bytes must be 0, 0, got 80, 75$/,
    ],
    ["a second byte", idx([1], [0]).with(1, 1), /first two bytes must be 0, 0, got 0, 1$/],
    ["rank 0", idx([], [1]), /rank must be at least 1, got 0$/],
    ["nothing", new Uint8Array(), /file must be at least 4 bytes, got 0$/],
  ];
  for (const [what, bytes, message] of lies) {
    it(`decodeIdx() refuses ${what}`, () => {
      assert.throws(() => decodeIdx(bytes), { name: "SyntaxError", message });
    });
  }
});

describe("sizes before reading", () => {
  /** A file of some bytes that is made so long, most of it a hole. */
  async function long<A>(
    begin: Uint8Array,
    size: number,
    use: (path: string) => Promise<A>,
  ): Promise<A> {
    const path = await Deno.makeTempFile();
    try {
      await Deno.writeFile(path, begin);
      if (size > begin.length) await Deno.truncate(path, size);
      return await use(path);
    } finally {
      await Deno.remove(path);
    }
  }

  it("decodeIdx() unpacks no more than the header promises", () => {
    const packed = gzipSync(lying([10], 50_000_000));
    assert.throws(() => decodeIdx(packed), {
      name: "SyntaxError",
      message: "Cannot decode IDX: data must be 10 bytes (shape 10), got more",
    });
    assert.throws(() => decodeIdx(gzipSync(lying([10], 9))), /10 bytes \(shape 10\), got 9$/);
  });

  it("decodeIdx() and readIdx() refuse a promise that so few compressed bytes cannot keep", async () => {
    const packed = gzipSync(lying([1_000_000, 1_000_000], 3)),
      wanted = new RegExp(
        `data must be 1000000000000 bytes \\(shape 1000000x1000000\\), got at most ${
          1032 * packed.length
        } out of ${packed.length} compressed bytes`,
      );
    assert.throws(() => decodeIdx(packed), wanted);
    await assert.rejects(long(packed, 0, readIdx), wanted);
    // The most that deflate can do is not refused.
    const zeros = decodeIdx(gzipSync(lying([1000, 20_000], 20_000_000), { level: 9 }));
    assert.deepEqual([zeros.shape, zeros.data.length], [[1000, 20_000], 20_000_000]);
  });

  it("readIdx() stops unpacking at the first byte that was not promised, and at the file's end", async () => {
    await assert.rejects(long(gzipSync(lying([10], 50_000_000)), 0, readIdx), (error: Error) => {
      assert.equal(error.name, "SyntaxError");
      assert.match(error.message, /data must be 10 bytes \(shape 10\), got more, in /);
      return true;
    });
    await assert.rejects(long(gzipSync(lying([10], 9)), 0, readIdx), /\(shape 10\), got 9, in /);
    const cut = gzipSync(idx([3], [1, 2, 3])).subarray(0, -3);
    await assert.rejects(long(cut, 0, readIdx), /gzip data must be whole, got an error: .*, in /);
    await assert.rejects(long(gzipSync(new Uint8Array(3)), 0, readIdx), /at least 4 bytes, got 3/);
    await assert.rejects(long(gzipSync(idx([9, 9], []).subarray(0, 9)), 0, readIdx), /of rank 2/);
  });

  it("readIdx() gives what decodeIdx() gives, in one piece or many, of one member or two", async () => {
    const values = Uint8Array.from({ length: 300_000 }, (_, i) => (i * i) % 251);
    const plain = idx([300, 1000], values);
    const halves = [plain.subarray(0, 7), plain.subarray(7)].map((part) => gzipSync(part));
    for (const bytes of [plain, gzipSync(plain), new Uint8Array(halves.flatMap((h) => [...h]))]) {
      const got = await long(bytes, 0, readIdx);
      assert.deepEqual(got.shape, [300, 1000]);
      assert.deepEqual(Buffer.compare(got.data, values), 0);
      assert.deepEqual(Buffer.compare(decodeIdx(bytes).data, values), 0);
    }
  });

  it("readIdx() holds the header against the size, and reads no further where they differ", async () => {
    // A terabyte that is not there: who reads it does not come back.
    const terabyte = 2 ** 40;
    await assert.rejects(long(idx([10], []), terabyte, readIdx), (error: Error) => {
      const got = terabyte - 8;
      assert.ok(error.message.includes(`data must be 10 bytes (shape 10), got ${got}, in /`));
      return true;
    });
    await assert.rejects(
      long(new Uint8Array(), terabyte, readIdx),
      /element type must be 8 .*got 0 \(unknown\), in /,
    );
    await assert.rejects(
      long(idx([2 ** 20, 2 ** 20], []), terabyte + 12, readIdx),
      /Cannot decode IDX: the bytes of the data must fit into memory, got 1099511627776/,
    );
  });

  it("readIdx() refuses devices, pipes and folders at once", async () => {
    const folder = await Deno.makeTempDir(), pipe = `${folder}/pipe`;
    const { success } = await new Deno.Command("mkfifo", { args: [pipe] }).output();
    assert.ok(success);
    for (const path of ["/dev/zero", "/dev/null", pipe]) {
      await assert.rejects(readIdx(path), {
        name: "TypeError",
        message: `Cannot read ${path}: path must be that of a file, got a device or a pipe`,
      });
    }
    await assert.rejects(readIdx(folder), /must be that of a file, got a directory$/);
    await Deno.remove(folder, { recursive: true });
  });
});

describe("readIdx and fashionMnist", () => {
  it("readIdx() names the file that is damaged", async () => {
    const path = await Deno.makeTempFile();
    await Deno.writeFile(path, idx([3], [1, 2]));
    const message = `Cannot decode IDX: data must be 3 bytes (shape 3), got 2, in ${path}`;
    await assert.rejects(readIdx(path), { name: "SyntaxError", message });
    await Deno.writeFile(path, idx([2], [1, 2]));
    assert.deepEqual((await readIdx(path)).shape, [2]);
    await Deno.remove(path);
  });

  it("fashionMnist() says how to get what is not there", async () => {
    await assert.rejects(fashionMnist("/nowhere"), (error: Error) => {
      assert.match(
        error.message,
        /\/nowhere\/train-\w+-idx\d-ubyte\.gz must be there, got no such file \(`apt install dataset-fashion-mnist`/,
      );
      assert(error.cause instanceof Deno.errors.NotFound);
      return true;
    });
  });

  /** Fashion-MNIST in miniature. */
  async function miniature<A>(
    images: Uint8Array,
    labels: Uint8Array,
    use: (folder: string) => Promise<A>,
  ): Promise<A> {
    const folder = await Deno.makeTempDir();
    try {
      await Deno.writeFile(`${folder}/t10k-images-idx3-ubyte.gz`, gzipSync(images));
      await Deno.writeFile(`${folder}/t10k-labels-idx1-ubyte.gz`, gzipSync(labels));
      return await use(folder);
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  }

  it("fashionMnist() reads images, labels and class names", async () => {
    const set = await miniature(
      idx([2, 1, 3], [1, 2, 3, 4, 5, 6]),
      idx([2], [9, 0]),
      (at) => fashionMnist(at, "test"),
    );
    assert.deepEqual([set.shape, [...set.images], [...set.labels!]], [[2, 1, 3, 1], [
      1,
      2,
      3,
      4,
      5,
      6,
    ], [9, 0]]);
    assert.deepEqual([...set.labels!].map((label) => set.classes![label]), [
      "Ankle boot",
      "T-shirt/top",
    ]);
    assert.equal(set.classes!.length, 10);
  });

  it("fashionMnist() refuses files that do not fit each other", async () => {
    const images = idx([2, 1, 1], [1, 2]);
    const faults: [Uint8Array, Uint8Array, RegExp][] = [
      [images, idx([3], [0, 0, 0]), /shape of the labels must be \[2\], got \[3\], in /],
      [images, idx([2, 1], [0, 0]), /shape of the labels must be \[2\], got \[2,1\], in /],
      [images, idx([2], [0, 10]), /labels must be 0 to 9, got 10, in /],
      [idx([2], [0, 0]), idx([2], [0, 0]), /rank of the images must be 3, got 1, in /],
    ];
    for (const [images, labels, message] of faults) {
      await assert.rejects(miniature(images, labels, (at) => fashionMnist(at, "test")), {
        name: "SyntaxError",
        message,
      });
    }
  });

  it("fashionMnist() refuses another set of as many images, and what is neither half", async () => {
    const digits = idx([10_000], Array.from({ length: 10_000 }, (_, i) => i % 10));
    const images = lying([10_000, 1, 1], 10_000);
    await assert.rejects(miniature(images, digits, (at) => fashionMnist(at, "test")), {
      name: "SyntaxError",
      message: /labels must be Fashion-MNIST's, as idxImages reads other sets, got others, in /,
    });
    const set = await miniature(images, digits, (at) => idxImages(at, { split: "test" }));
    assert.ok(!("classes" in set), "digits have garments' names");
    assert.deepEqual(classesOf(set), { count: 10 });
    await assert.rejects(fashionMnist("/nowhere", "tset" as "test"), {
      name: "RangeError",
      message: 'Cannot read Fashion-MNIST: split must be "train" or "test", got "tset"',
    });
  });

  it("idxImages() takes the classes from the labels, or their names or number from an option", async () => {
    const images = idx([3, 1, 2], [1, 2, 3, 4, 5, 6]), labels = idx([3], [1, 0, 1]);
    const read = (options: IdxImagesOptions) =>
      miniature(images, labels, (at) => idxImages(at, { split: "test", ...options }));
    const bare = await read({});
    assert.deepEqual(bare, {
      images: new Uint8Array([1, 2, 3, 4, 5, 6]),
      shape: [3, 1, 2, 1],
      labels: new Uint8Array([1, 0, 1]),
    });
    assert.deepEqual(classesOf(bare), { count: 2 });
    const named = await read({ classes: ["cat", "dog"] });
    assert.deepEqual(classesOf(named), { count: 2, names: ["cat", "dog"] });
    assert.deepEqual(classesOf(await read({ classes: 26 })), { count: 26 });
    for (const classes of [["cat"], 1]) {
      await assert.rejects(read({ classes }), {
        name: "SyntaxError",
        message: /Cannot read images: labels must be 0 to 0, got 1, in /,
      });
    }
    for (const classes of [0, 1.5, NaN, [], ["a", "a"], [1], "ab", null]) {
      await assert.rejects(
        read({ classes: classes as string[] }),
        /Cannot read images: classes must be different names, or a whole number of at least 1, got /,
      );
    }
    await assert.rejects(read({ class: 2 } as IdxImagesOptions), {
      name: "TypeError",
      message: 'Cannot read images: options must be among split, classes, got "class"',
    });
  });

  it("idxImages() reads images without labels, and wants no classes of them", async () => {
    const folder = await Deno.makeTempDir(), file = `${folder}/train-images-idx3-ubyte`;
    await assert.rejects(idxImages(folder), (error: Error) => {
      assert.equal(
        error.message,
        `Cannot read images: ${file} or ${file}.gz must be there, got no such file`,
      );
      assert(error.cause instanceof Deno.errors.NotFound);
      return true;
    });
    await Deno.writeFile(file, idx([2, 1, 1], [7, 8]));
    const set = await idxImages(folder);
    assert.deepEqual(set, { images: new Uint8Array([7, 8]), shape: [2, 1, 1, 1] });
    assert.deepEqual(classesOf(set), { count: 0 });
    await assert.rejects(
      idxImages(folder, { classes: 2 }),
      /classes must be left out, as .*train-labels-idx1-ubyte is not there, got 2$/,
    );
    await Deno.remove(folder, { recursive: true });
  });

  it(`fashionMnist() reads the package's files${installed ? "" : " (not installed here: nothing to read)"}`, async () => {
    if (!installed) {
      return void await assert.rejects(fashionMnist(), /apt install dataset-fashion-mnist/);
    }
    const set = await fashionMnist(undefined, "test"), { images, shape, labels, classes } = set;
    const folder = "/usr/share/datasets/fashion-mnist";
    assert.deepEqual(classesOf(await idxImages(folder, { split: "test" })), classesOf(set));
    assert.deepEqual((await idxImages(folder)).classes, classes);
    assert.deepEqual(shape, [10000, 28, 28, 1]);
    assert.equal(images.length, 7840000);
    const counts = classes!.map((_, label) => labels!.filter((other) => other === label).length);
    assert.deepEqual(counts, Array(10).fill(1000));
    assert.equal(classes![labels![0]!], "Ankle boot");
    // The set's published mean pixel of the test half, 0.2868 of 255.
    assert.equal(
      (images.reduce((sum, x) => sum + x, 0) / images.length / 255).toFixed(4),
      "0.2868",
    );
  });
});

describe("permutation", () => {
  it("permutation() has each number once", () => {
    fc.assert(
      fc.property(fc.nat(200), fc.nat(), (n, seed) => {
        assert.deepEqual(
          permutation(key(seed), n).toSorted(),
          Uint32Array.from({ length: n }, (_, i) => i),
        );
      }),
    );
  });

  it("permutation() gives every order of four equally often", () => {
    const draws = 24000, counts = new Map<string, number>();
    for (let i = 0; i < draws; i++) {
      const order = permutation(fold(key(8), i), 4).join("");
      counts.set(order, (counts.get(order) ?? 0) + 1);
    }
    // Chi-squared with 23 degrees of freedom: mean 23, variance 46.
    const chi2 = [...counts.values()].reduce(
      (sum, count) => sum + (count - draws / 24) ** 2 / (draws / 24),
      0,
    );
    const z = (chi2 - 23) / Math.sqrt(46);
    assert.equal(counts.size, 24);
    assert(Math.abs(z) < 4, `z = ${z}`);
  });

  it("permutation() refuses what is no count, and a seed in place of a key", () => {
    assert.throws(() => permutation(5 as unknown as BatchOptions["key"], 3), {
      name: "RangeError",
      message: "Cannot permute: key must be a key, such as key(0) gives, got 5",
    });
    for (const n of [-1, 0.5, 2 ** 32, NaN]) {
      const message = `Cannot permute: n must be a whole number in [0, 2^32), got ${n}`;
      assert.throws(() => permutation(key(0), n), { name: "RangeError", message });
    }
  });
});

describe("batches", () => {
  it("batches() visits each image once an epoch, whatever the size of a batch", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 30 }), anyOptions, (n, options) => {
        const seen = visits(n, options, Math.ceil(4 * n / options.size));
        for (let epoch = 0; epoch < 4; epoch++) {
          const visited = seen.slice(epoch * n, (epoch + 1) * n).sort((a, b) => a - b);
          assert.deepEqual(visited, Array.from({ length: n }, (_, i) => i));
        }
      }),
    );
  });

  it("batches() visits the epochs in different orders, and other keys in others", () => {
    const seen = visits(50, { size: 50, key: key(1) }, 3),
      other = visits(50, { size: 50, key: key(2) }, 1);
    const orders = [seen.slice(0, 50), seen.slice(50, 100), seen.slice(100), other].map(String);
    assert.equal(new Set(orders).size, 4);
  });

  it("batches() gives the same samples in whatever size of batch", () => {
    const set = {
      images: Uint8Array.from({ length: 60 }, (_, i) => i),
      shape: [5, 2, 3, 2],
    } as const;
    const options = { key: key(4), flip: true, dequantize: true };
    const stream = (size: number): number[] =>
      taken(set, { ...options, size }, 60 / size).flatMap(({ images }) => [...images]);
    assert.deepEqual(stream(4), stream(15));
    assert.deepEqual(stream(1), stream(20));
  });

  it("batches() resumes bit for bit at any start", () => {
    const set = {
      images: Uint8Array.from({ length: 84 }, (_, i) => 3 * i),
      shape: [7, 2, 3, 2],
      labels: dots(7).labels!,
    } as const;
    fc.assert(
      fc.property(anyOptions, fc.nat(20), (options, start) => {
        const unbroken = taken(set, options, start + 3).slice(start);
        assert.deepEqual(taken(set, { ...options, start }, 3), unbroken);
        assert.deepEqual(unbroken.map(({ position }) => position), [start, start + 1, start + 2]);
      }),
    );
  });

  it("batches() can be iterated again and again, and twice at once", () => {
    const stream = batches(dots(5), { size: 2, key: key(0) });
    const first = stream[Symbol.iterator](), second = stream[Symbol.iterator]();
    const labels = (iterator: Iterator<ImageBatch>): number[] => [...iterator.next().value.labels];
    const a = [labels(first), labels(first), labels(first), labels(first)];
    assert.deepEqual([labels(second), labels(second), labels(second), labels(second)], a);
  });

  it("batches() pairs every image with its label and keeps NHWC", () => {
    const images = Uint8Array.from({ length: 72 }, (_, i) => i);
    const set: ImageSet = { images, shape: [6, 2, 3, 2], labels: dots(6).labels! };
    for (const batch of taken(set, { size: 4, key: key(2) }, 6)) {
      assert.deepEqual(batch.shape, [4, 2, 3, 2]);
      assert.equal(batch.images.length, 48);
      batch.labels!.forEach((label, i) => {
        const pixels = batch.images.subarray(12 * i, 12 * (i + 1)).map((x) =>
          Math.round((x + 1) * 127.5)
        );
        assert.deepEqual([...pixels], [...images.subarray(12 * label, 12 * (label + 1))]);
      });
    }
  });

  it("batches() leaves out labels where there are none", () => {
    const { images, shape } = dots(3);
    assert(!("labels" in taken({ images, shape }, { size: 2, key: key(0) }, 1)[0]!));
  });

  it("batches() maps 0 to -1, 255 to 1 and the bytes between evenly", () => {
    const [batch] = taken(dots(256), { size: 256, key: key(0) }, 1);
    batch!.labels!.forEach((x, i) => assert.equal(batch!.images[i], Math.fround(x / 127.5 - 1)));
  });

  const left = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12],
    right = [5, 6, 3, 4, 1, 2, 11, 12, 9, 10, 7, 8];
  const one: ImageSet = { images: new Uint8Array(left), shape: [1, 2, 3, 2] };
  const pixels = ({ images }: ImageBatch): string =>
    images.map((x) => Math.round((x + 1) * 127.5)).join();

  it("batches() with flip mirrors columns, not rows nor channels, half of the time", () => {
    const n = 4000, seen = taken(one, { size: 1, key: key(6), flip: true }, n).map(pixels);
    const flipped = seen.filter((image) => image === right.join()).length;
    assert.equal(flipped + seen.filter((image) => image === left.join()).length, n);
    const z = (flipped - n / 2) / Math.sqrt(n / 4);
    assert(Math.abs(z) < 4, `z = ${z}`);
  });

  it("batches() with flip decides anew each epoch: neighbours agree half of the time", () => {
    const n = 4000, seen = taken(one, { size: 1, key: key(6), flip: true }, n + 1).map(pixels);
    const agree = seen.slice(1).filter((image, i) => image === seen[i]).length;
    const z = (agree - n / 2) / Math.sqrt(n / 4);
    assert(Math.abs(z) < 4, `z = ${z}`);
  });

  it("batches() without flip mirrors nothing", () => {
    assert.deepEqual(
      new Set(taken(one, { size: 1, key: key(6) }, 50).map(pixels)),
      new Set([left.join()]),
    );
  });

  it("batches() with dequantize adds noise that is uniform on a byte's cell", () => {
    const set: ImageSet = { images: new Uint8Array([0, 100, 200, 255]), shape: [1, 2, 2, 1] },
      n = 5000;
    const seen = taken(set, { size: 1, key: key(9), dequantize: true }, n).map(({ images }) =>
      images
    );
    set.images.forEach((x, at) => {
      const u = seen.map((images) => (images[at]! + 1) * 128 - x);
      // A float32 near 1 is off by up to 2⁻²⁵ of a cell of 1/128.
      assert(u.every((value) => value >= -1e-5 && value <= 1 + 1e-5));
      const mean = u.reduce((a, b) => a + b) / n,
        square = u.reduce((a, b) => a + (b - 0.5) ** 2, 0) / n;
      const zMean = (mean - 1 / 2) / Math.sqrt(1 / 12 / n),
        zSquare = (square - 1 / 12) / Math.sqrt(1 / 180 / n);
      assert(Math.abs(zMean) < 4 && Math.abs(zSquare) < 4, `z = ${zMean}, ${zSquare} at ${at}`);
    });
    assert(seen.every((images) => images.every((x) => x >= -1 && x <= 1)));
  });

  it("batches() with dequantize draws independently for each pixel and each sample", () => {
    const set: ImageSet = { images: new Uint8Array([128, 128]), shape: [1, 1, 2, 1] }, n = 5000;
    const u = taken(set, { size: 1, key: key(3), dequantize: true }, n + 1).map(({ images }) =>
      images.map((x) => x * 128 - 0.5)
    );
    const pairs = {
      pixels: u.slice(1).map((a) => a[0]! * a[1]!),
      samples: u.slice(1).map((a, i) => a[0]! * u[i]![0]!),
    };
    for (const [what, products] of Object.entries(pairs)) {
      const z = products.reduce((a, b) => a + b) / n / (1 / 12 / Math.sqrt(n));
      assert(Math.abs(z) < 4, `z = ${z} between ${what}`);
    }
  });

  const set = dots(3), options = { size: 2, key: key(0) };
  const faults: [string, ImageSet, BatchOptions, RegExp][] = [
    [
      "no image",
      { images: new Uint8Array(), shape: [0, 1, 1, 1] },
      options,
      /shape must be \[N, H, W, C\], each at least 1, got \[0,1,1,1\]$/,
    ],
    [
      "too few pixels",
      { ...set, shape: [3, 2, 1, 1] },
      options,
      /images must be 6 bytes \(shape 3x2x1x1\), got 3$/,
    ],
    [
      "three axes",
      { ...set, shape: [3, 1, 1] as unknown as ImageSet["shape"] },
      options,
      /got \[3,1,1\]$/,
    ],
    [
      "too few labels",
      { ...set, labels: new Uint8Array(2) },
      options,
      /labels must be 3 numbers, got 2$/,
    ],
    [
      "a size of 0",
      set,
      { ...options, size: 0 },
      /size must be a whole number in \[1, 2\^32\), got 0$/,
    ],
    ["half a size", set, { ...options, size: 1.5 }, /size must be .*, got 1.5$/],
    [
      "labels that are none of its classes",
      { ...set, classes: ["a", "b"] },
      options,
      /labels must be in \[0, 2\), the classes, got 2$/,
    ],
    [
      "a seed in place of a key",
      set,
      { ...options, key: 5 as unknown as BatchOptions["key"] },
      /key must be a key, such as key\(0\) gives, got 5$/,
    ],
    [
      "a flip that is neither true nor false",
      set,
      { ...options, flip: 1 as unknown as boolean },
      /flip must be true or false, got 1$/,
    ],
    [
      "a negative start",
      set,
      { ...options, start: -1 },
      /start must be a whole number in \[0, 2\^32\), got -1$/,
    ],
  ];
  for (const [what, set, options, message] of faults) {
    it(`batches() refuses ${what} at once`, () => {
      assert.throws(() => batches(set, options), { name: "RangeError", message });
    });
  }

  it("batches() refuses floats for bytes, and options that it does not know", () => {
    const images = new Float32Array([0, 0.5, 1]) as unknown as Uint8Array;
    assert.throws(() => batches({ images, shape: [3, 1, 1, 1] }, options), {
      name: "TypeError",
      message: "Cannot make batches: images must be a Uint8Array, got Float32Array",
    });
    const misspelt = { ...options, dequantise: true };
    assert.throws(() => batches(set, misspelt), {
      name: "TypeError",
      message:
        'Cannot make batches: options must be among size, key, flip, dequantize, start, got "dequantise"',
    });
  });

  it("batches() names what does not fit into memory", () => {
    const one: ImageSet = { images: new Uint8Array(10_000), shape: [1, 100, 100, 1] };
    const large = batches(one, { ...options, size: 2 ** 32 - 1 })[Symbol.iterator]();
    assert.throws(() => large.next(), {
      name: "RangeError",
      message: "Cannot make batches: size must be of a size that fits into memory, got 4294967295",
    });
  });
});

import { before, describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import * as tf from "@tensorflow/tfjs-core";
import { useBackend } from "../../src/tensor/backend/backend.ts";
import {
  checkImage,
  frames,
  type Image,
  type ImageOptions,
  sameSize,
  toImage,
} from "../../src/watch/frames.ts";
import { view } from "../../src/tensor/ndarray.ts";
import { live } from "../measure.ts";

/** The picture of a batch with given values, whose tensor is disposed of; nothing else may be left. */
async function imageOf(values: number[], shape: number[], options?: ImageOptions): Promise<Image> {
  const before = live(), x = tf.tensor(values, shape);
  try {
    return await toImage(x, options);
  } finally {
    x.dispose();
    assert.equal(live(), before);
  }
}

const bytes = { range: [0, 255] } as const;

describe("toImage()", () => {
  before(() => useBackend("cpu"));

  it("toImage() tiles three 2x2 samples as a 2x2 grid, gaps and empty tiles in the background", async () => {
    const image = await imageOf([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12], [3, 2, 2, 1], {
      ...bytes,
      pad: 1,
      background: 99,
    });
    assert.deepEqual([image.width, image.height, image.channels], [5, 5, 1]);
    assert.deepEqual([...image.data], [
      ...[1, 2, 99, 5, 6],
      ...[3, 4, 99, 7, 8],
      ...[99, 99, 99, 99, 99],
      ...[9, 10, 99, 99, 99],
      ...[11, 12, 99, 99, 99],
    ]);
  });

  it("toImage() keeps colours together and enlarges pixels to squares", async () => {
    const image = await imageOf([1, 2, 3, 4, 5, 6], [2, 1, 1, 3], { ...bytes, scale: 2 });
    assert.deepEqual([image.width, image.height, image.channels], [4, 2, 3]);
    const row = [1, 2, 3, 1, 2, 3, 4, 5, 6, 4, 5, 6];
    assert.deepEqual([...image.data], [...row, ...row]);
  });

  it("toImage() tiles samples that are not square, by the grid given", async () => {
    const values = Array.from({ length: 12 }, (_, i) => i);
    const image = await imageOf(values, [2, 2, 3, 1], { ...bytes, grid: [2, 1] });
    assert.deepEqual([image.width, image.height, ...image.data], [3, 4, ...values]);
  });

  it("toImage() takes a near-square grid of at least as many tiles as samples", async () => {
    for (
      const [count, rows, columns] of [[1, 1, 1], [2, 1, 2], [5, 2, 3], [9, 3, 3], [
        10,
        3,
        4,
      ]] as const
    ) {
      const { width, height } = await imageOf(new Array(count).fill(0), [count, 1, 1, 1]);
      assert.deepEqual([height, width], [rows, columns]);
    }
  });

  it("toImage() clamps to the range and rounds half up", async () => {
    const image = await imageOf(
      [-9, 0.5, 1.49, 1.5, 254.5, 999, 1e38, -1e38],
      [1, 1, 8, 1],
      bytes,
    );
    assert.deepEqual([...image.data], [0, 1, 1, 2, 255, 255, 255, 0]);
  });

  it("toImage() draws -1 as 0, 0 as 128 and 1 as 255 unless told otherwise", async () => {
    const image = await imageOf([-1, 0, 1, 0.5], [1, 2, 2, 1]);
    assert.deepEqual([...image.data], [0, 128, 255, 191]);
  });

  it("toImage() with an automatic range spans the values of the batch", async () => {
    const image = await imageOf([-50, 0, 50, 25], [1, 1, 4, 1], { range: "auto" });
    assert.deepEqual([...image.data], [0, 128, 255, 191]);
    const flat = await imageOf([7, 7], [1, 1, 2, 1], { range: "auto" });
    assert.deepEqual([...flat.data], [0, 0]);
  });

  it("toImage() and frames() refuse NaN and infinity, on every backend, with the sample", async () => {
    for (const backend of ["cpu", "wasm"] as const) {
      await useBackend(backend);
      for (const value of [NaN, Infinity, -Infinity]) {
        for (const range of [[-1, 1], "auto"] as const) {
          await assert.rejects(imageOf([0, 0, 0, value, 0, 0], [3, 1, 2, 1], { range }), {
            name: "RangeError",
            message: `Cannot make an image: x must be finite, got ${value} in sample 1`,
          });
        }
        const x = tf.zeros([1, 1, 1, 1]), x0 = tf.fill([1, 1, 1, 1], value);
        const draw = frames({ of: "x0" })(ReadableStream.from([{ x, x0 }]));
        await assert.rejects(Array.fromAsync(draw), {
          message: `Cannot make an image: x0 must be finite, got ${value} in sample 0`,
        });
        tf.dispose([x, x0]);
      }
    }
    await useBackend("cpu");
  });

  it("toImage() refuses a picture too large for the memory before it makes anything", async () => {
    for (
      const [options, got] of [
        [{ grid: [2000, 2000] }, "3136000000 (56000x56000x1)"],
        [{ grid: [1, 1], scale: 2000 }, "3136000000 (56000x56000x1)"],
        [{ grid: [1, 2], pad: 1e9 }, "28000001568 (1000000056x28x1)"],
      ] as const
    ) {
      await assert.rejects(imageOf(new Array(784).fill(0), [1, 28, 28, 1], options), {
        name: "RangeError",
        message:
          `Cannot make an image: the picture must be of at most 1073741824 bytes, got ${got}`,
      });
    }
  });

  it("toImage() and frames() refuse options that they do not know, and tensors that are gone", async () => {
    const bad = { zoom: 3 } as ImageOptions, gone = tf.zeros([1, 1, 1, 1]);
    const message =
      "Cannot make an image: options must be among grid, range, pad, background, scale";
    await assert.rejects(imageOf([0], [1, 1, 1, 1], bad), {
      name: "TypeError",
      message: `${message}, got "zoom"`,
    });
    await assert.rejects(imageOf([0], [1, 1, 1, 1], { of: "x" } as ImageOptions), TypeError);
    assert.throws(() => frames(bad), { name: "TypeError", message: `${message}, of, got "zoom"` });
    gone.dispose();
    await assert.rejects(toImage(gone), {
      name: "TypeError",
      message: "Cannot make an image: x must be a tensor that lives, got one that was disposed of",
    });
    await assert.rejects(
      toImage([1] as unknown as tf.Tensor),
      /must be a tensor that lives, got obj/,
    );
  });

  it("toImage() refuses what is not a batch of images, and options out of range", async () => {
    for (const shape of [[4], [2, 2], [1, 2, 2], [1, 1, 2, 2], [0, 1, 1, 1]]) {
      await assert.rejects(
        imageOf(new Array(shape.reduce((a, b) => a * b)).fill(0), shape),
        RangeError,
      );
    }
    const options: ImageOptions[] = [
      { grid: [1, 1] },
      { grid: [0, 9] },
      { range: [1, 1] },
      { range: [0, NaN] },
      { range: "Auto" as "auto" },
      { range: [0, 1, 2] as unknown as [number, number] },
      { grid: 2 as unknown as [number, number] },
      { pad: -1 },
      { pad: 0.5 },
      { background: 256 },
      { scale: 0 },
    ];
    for (const bad of options) {
      await assert.rejects(imageOf([0, 0], [2, 1, 1, 1], bad), /Cannot make an image: \w+ must be/);
    }
  });
});

describe("frames()", () => {
  before(() => useBackend("cpu"));

  it("frames() draws x, or the x0 prediction where there is one", async () => {
    const x = tf.fill([1, 1, 1, 1], -1), x0 = tf.fill([1, 1, 1, 1], 1);
    const grey = async (of?: "x" | "x0") => {
      const images = frames(of ? { of } : {})(ReadableStream.from([{ x }, { x, x0 }]));
      return (await Array.fromAsync(images)).map(({ data }) => data[0]);
    };
    assert.deepEqual([await grey(), await grey("x"), await grey("x0")], [[0, 0], [0, 0], [0, 255]]);
    tf.dispose([x, x0]);
  });

  it("frames() refuses an option out of range before any state is asked for", () => {
    assert.throws(() => frames({ scale: 1.5 }), RangeError);
    assert.throws(() => frames({ of: "X0" as "x0" }), {
      name: "RangeError",
      message: 'Cannot make an image: of must be "x" or "x0", got X0',
    });
  });

  it("frames() of no states are no pictures", async () => {
    assert.deepEqual(await Array.fromAsync(frames()(ReadableStream.from([]))), []);
  });
});

describe("toImage() and frames() of arrays on the host", () => {
  const spins = Int8Array.of(1, -1, -1, 1, 1, 1),
    mine = { channels: 1, width: 3, height: 2 } as const;

  it("draw a lattice, lattices side by side, and any view, as the tensor of the same numbers", async () => {
    const one = await toImage(view(spins, [2, 3]));
    assert.deepEqual(one, { ...mine, data: Uint8Array.of(255, 0, 0, 255, 255, 255) });
    const two = await toImage(view(spins, [2, 1, 3]), { grid: [2, 1] });
    assert.deepEqual(two, one);
    const back = await toImage(view(spins, [2, 3]).step(-1, 1));
    assert.deepEqual([...back.data], [255, 255, 255, 255, 0, 0]);
    const colours = view(Float64Array.of(-1, 0, 1), [1, 1, 1, 3]);
    assert.deepEqual([...(await toImage(colours)).data], [0, 128, 255]);
    const levels = await toImage(view(Int8Array.of(0, 1, 3), [1, 3]), { range: [0, 3] });
    assert.deepEqual([...levels.data], [0, 85, 255]);
    const states = ReadableStream.from([{ x: view(spins, [2, 3]) }]);
    assert.deepEqual(await Array.fromAsync(frames()(states)), [one]);
  });

  it("refuse other shapes, and numbers that are not finite", async () => {
    const wanted = /x must be a view of shape \[height, width\], .*, got \[/;
    for (const shape of [[6], [1, 2, 3, 1, 1], [1, 1, 3, 2], [0, 6]]) {
      const data = new Int8Array(shape.reduce((a, b) => a * b, 1));
      await assert.rejects(toImage(view(data, shape)), { name: "RangeError", message: wanted });
    }
    await assert.rejects(toImage(view(Float32Array.of(0, NaN), [1, 2])), /NaN in sample 0/);
    await assert.rejects(toImage([[1]] as never), /x must be a tensor that lives, got object/);
  });
});

describe("sameSize() and checkImage()", () => {
  const image = (width: number, height: number, channels: 1 | 3 = 1): Image => (
    { width, height, channels, data: new Uint8Array(width * height * channels) }
  );

  it("sameSize() passes equal pictures on and names the first that differs", async () => {
    assert.equal((await Array.fromAsync(sameSize([image(2, 3), image(2, 3)]))).length, 2);
    for (const other of [image(3, 2), image(2, 4), image(2, 3, 3)]) {
      await assert.rejects(
        Array.fromAsync(sameSize([image(2, 3), image(2, 3), other])),
        /picture 2 must be 2x3x1 like the first/,
      );
    }
  });

  it("checkImage() refuses pictures without pixels, with odd channels or too few bytes", () => {
    checkImage(image(2, 2, 3));
    for (
      const bad of [image(0, 2), image(2, 0), image(1.5, 2), {
        ...image(2, 2),
        data: new Uint8Array(5),
      }]
    ) {
      assert.throws(() => checkImage(bad), RangeError);
    }
    assert.throws(() => checkImage({ ...image(2, 2), channels: 4 as 3 }), RangeError);
    const floats = new Float32Array(4) as unknown as Uint8Array;
    assert.throws(() => checkImage({ ...image(2, 2), data: floats }), {
      name: "TypeError",
      message: "Cannot encode an image: image must have data in a Uint8Array, got Float32Array",
    });
  });
});

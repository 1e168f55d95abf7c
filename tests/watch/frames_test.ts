import { before, describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import * as tf from "@tensorflow/tfjs-core";
import { useBackend } from "../../src/tensor/backend.ts";
import {
  checkImage,
  frames,
  type Image,
  type ImageOptions,
  sameSize,
  toImage,
} from "../../src/watch/frames.ts";

/** The picture of a batch with given values, whose tensor is disposed of; nothing else may be left. */
async function imageOf(values: number[], shape: number[], options?: ImageOptions): Promise<Image> {
  const before = tf.memory().numTensors, x = tf.tensor(values, shape);
  try {
    return await toImage(x, options);
  } finally {
    x.dispose();
    assert.equal(tf.memory().numTensors, before);
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
      [-9, 0.5, 1.49, 1.5, 254.5, 999, Infinity, -Infinity],
      [1, 1, 8, 1],
      bytes,
    );
    assert.deepEqual([...image.data], [0, 1, 1, 2, 255, 255, 255, 0]);
  });

  it("toImage() draws -1 as 0, 0 as 128 and 1 as 255 unless told otherwise, NaN as 0", async () => {
    const image = await imageOf([-1, 0, 1, NaN], [1, 2, 2, 1]);
    assert.deepEqual([...image.data], [0, 128, 255, 0]);
  });

  it("toImage() with an automatic range spans the finite values of the batch", async () => {
    const image = await imageOf([-50, 0, 50, 25, Infinity, NaN], [1, 1, 6, 1], { range: "auto" });
    assert.deepEqual([...image.data], [0, 128, 255, 191, 255, 0]);
    const flat = await imageOf([7, 7], [1, 1, 2, 1], { range: "auto" });
    assert.deepEqual([...flat.data], [0, 0]);
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
  });
});

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import fc from "fast-check";
import * as tf from "@tensorflow/tfjs-core";
import { batchesOf, drawn, usualBatch } from "../../src/command/sample/batch.ts";
import { blank, checkSheet, place, type Sheet } from "../../src/command/sample/sheet.ts";
import type { State } from "../../src/sample/path.ts";
import { useBackend } from "../../src/tensor/backend/backend.ts";
import { toImage } from "../../src/watch/frames.ts";

describe("batchesOf()", () => {
  it("batchesOf() has every sample once, in as few batches as may be, all but the last of one size", () => {
    const size = fc.integer({ min: 1, max: 500 });
    fc.assert(fc.property(size, size, (count, most) => {
      const batches = batchesOf(count, most), sizes = batches.map((batch) => batch.count);
      assert.ok(sizes.every((size) => size >= 1 && size <= most));
      assert.equal(batches.length, Math.ceil(count / most));
      assert.equal(new Set(sizes.slice(0, -1)).size, batches.length > 1 ? 1 : 0);
      const numbers = batches.flatMap(({ first, count }) =>
        Array.from({ length: count }, (_, i) => first + i)
      );
      assert.deepEqual(numbers, [...Array(count).keys()]);
    }));
    assert.deepEqual(batchesOf(7, 3).map(({ first, count }) => [first, count]), [
      [0, 3],
      [3, 3],
      [6, 1],
    ]);
  });

  it("usualBatch() is smaller for larger images and networks, larger on engines with many cores, and never none", () => {
    const shipped = { size: [28, 28], base: 32, multipliers: [1, 2, 2] } as const;
    assert.deepEqual([usualBatch(shipped, "wasm"), usualBatch(shipped, "onnx")], [41, 83]);
    assert.equal(usualBatch({ ...shipped, size: [56, 56] }, "wasm"), 10);
    assert.equal(usualBatch({ ...shipped, patch: 2 }, "wasm"), 167);
    assert.equal(usualBatch({ ...shipped, base: 64 }, "wasm"), 20);
    assert.equal(usualBatch({ ...shipped, size: [2048, 2048] }, "wasm"), 1);
  });
});

describe("drawn()", () => {
  /** A run of some steps that notes when it is at work and when it is closed. */
  const runs = (log: string[], count = 2) =>
    Array.from(
      { length: count },
      (_, i) =>
        (async function* (): AsyncGenerator<State, void, undefined> {
          try {
            for (let step = 0; step < 3; step++) {
              log.push(`${i}.${step}`);
              yield { x: undefined as never, t: 3 - step, step };
            }
          } finally {
            log.push(`${i} closed`);
          }
        })(),
    );

  it("drawn() goes through one run after the other, or takes a state of each by turns, and counts steps over all", async () => {
    const log: string[] = [];
    const steps = async (byTurns: boolean) =>
      (await Array.fromAsync(drawn(runs(log), byTurns))).map(({ index, step, t }) => [
        index,
        step,
        t,
      ]);
    assert.deepEqual(await steps(false), [
      [0, 0, 3],
      [0, 1, 2],
      [0, 2, 1],
      [1, 2, 3],
      [1, 3, 2],
      [1, 4, 1],
    ]);
    assert.deepEqual(log.splice(0), [
      "0.0",
      "0.1",
      "0.2",
      "0 closed",
      "1.0",
      "1.1",
      "1.2",
      "1 closed",
    ]);
    assert.deepEqual(await steps(true), [
      [0, 0, 3],
      [1, 0, 3],
      [0, 1, 2],
      [1, 2, 2],
      [0, 3, 1],
      [1, 4, 1],
    ]);
    assert.deepEqual(log.slice(0, 6), ["0.0", "1.0", "0.1", "1.1", "0.2", "1.2"]);
  });

  it("drawn() closes every run that has begun, when it is broken off and when one fails", async () => {
    const log: string[] = [];
    for await (const { index } of drawn(runs(log), true)) if (index === 1) break;
    assert.deepEqual(log.splice(0), ["0.0", "1.0", "0 closed", "1 closed"]);
    const failing = {
      [Symbol.asyncIterator]: () => ({ next: () => Promise.reject(Error("own")) }),
    };
    const broken = async () => {
      for await (const _ of drawn([...runs(log, 1), failing], true));
    };
    await assert.rejects(broken, /own/);
    assert.deepEqual(log, ["0.0", "0 closed"]);
  });
});

describe("place()", () => {
  it("place() puts samples where toImage() draws them, whatever the batches, grid and zoom", async () => {
    await useBackend("cpu");
    for (const channels of [1, 3] as const) {
      for (const grid of [undefined, [3, 3], [1, 8]] as const) {
        const count = 7, x = tf.randomUniform([count, 2, 3, channels], -1, 1, "float32", 5);
        const wanted = await toImage(x, { scale: 3, ...(grid && { grid }) });
        const { data } = await toImage(x, { grid: [count, 1] });
        const sheet: Sheet = { count, shape: [2, 3, channels], zoom: 3, ...(grid && { grid }) };
        const image = blank(sheet), size = 6 * channels;
        for (const { first, count } of batchesOf(7, 3)) {
          place(image, data.subarray(first * size, (first + count) * size), first, sheet);
        }
        assert.deepEqual(image, wanted);
        x.dispose();
      }
    }
  });

  it("checkSheet() says which options make a picture too large, and how large", () => {
    const shape = [28, 28, 1] as const;
    checkSheet({ count: 65536, shape, zoom: 3 });
    assert.throws(() => checkSheet({ count: 16, shape, zoom: 3, grid: [2000, 2000] }), {
      name: "RangeError",
      message:
        "Cannot make a picture: --grid 2000,2000 of 28x28 pixels at --zoom 3 must be at most 1 GiB, got 168000x168000 pixels, 26.3 GiB",
    });
    assert.throws(
      () => checkSheet({ count: 16, shape, zoom: 1000 }),
      /--count 16 of 28x28 pixels at --zoom 1000 must be at most 1 GiB, got 112000x112000 pixels, 11.7 GiB/,
    );
  });
});

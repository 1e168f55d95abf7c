import { before, describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import fc from "fast-check";
import * as tf from "@tensorflow/tfjs-core";
import { useBackend } from "../../src/tensor/backend/backend.ts";
import { every, kept, last, recorded, watched } from "../../src/watch/record.ts";
import { frames, sameSize } from "../../src/watch/frames.ts";
import { progress } from "../../src/watch/progress.ts";
import { live } from "../measure.ts";

interface Item {
  readonly x: tf.Tensor;
  readonly step: number;
}

/** A trajectory in small: each item lives until the next pull. Notes how far it was driven and that it was closed. */
function source(count: number, log: { pulled: number; closed: number }, failAt = Infinity) {
  return async function* (): AsyncGenerator<Item, void, undefined> {
    let x: tf.Tensor | undefined;
    try {
      for (let step = 0; step < count; step++) {
        if (step === failAt) throw new DOMException("stop", "AbortError");
        x?.dispose();
        x = tf.fill([1, 2, 2, 1], step / 100);
        log.pulled++;
        yield { x, step };
      }
    } finally {
      x?.dispose();
      log.closed++;
    }
  };
}

const watchers = {
  every: every(2),
  kept: kept(),
  watched: watched(() => {}),
  progress: progress({ write: () => {} }),
  "silent progress": progress(),
  frames: frames(),
  sameSize: (stream: AsyncIterable<Item>) => sameSize(frames()(stream)),
} satisfies Record<string, (stream: AsyncIterable<Item>) => AsyncIterable<unknown>>;

/** Disposes of what a watcher has handed over to its caller. */
const drop = (name: string, item: unknown): void => {
  if (name === "kept") (item as Item).x.dispose();
};

const value = (item: Item): number => Math.round(item.x.dataSync()[0]! * 100);

describe("every watcher", () => {
  before(() => useBackend("cpu"));

  for (const [name, watch] of Object.entries(watchers)) {
    /** Runs a consumer over five items; says how far the source was driven, and holds it closed and leaking nothing. */
    const drive = async (
      consume: (stream: AsyncIterable<unknown>) => Promise<void>,
      failAt?: number,
    ): Promise<number> => {
      const log = { pulled: 0, closed: 0 }, before = live();
      await consume(watch(source(5, log, failAt)()));
      assert.equal(log.closed, log.pulled > 0 ? 1 : 0);
      assert.equal(live(), before);
      return log.pulled;
    };

    it(`${name}() computes nothing before it is pulled`, async () => {
      assert.equal(await drive(() => Promise.resolve()), 0);
    });

    it(`${name}() pulls only what it is asked for and closes its source on break`, async () => {
      const pulled = await drive(async (stream) => {
        for await (const item of stream) {
          drop(name, item);
          break;
        }
      });
      assert.equal(pulled, 1);
    });

    it(`${name}() closes its source when the consumer throws`, async () => {
      const pulled = await drive(async (stream) => {
        await assert.rejects(async () => {
          for await (const item of stream) {
            drop(name, item);
            throw new Error("mine");
          }
        }, /mine/);
      });
      assert.equal(pulled, 1);
    });

    it(`${name}() hands on an abort of its source and closes it`, async () => {
      const pulled = await drive(async (stream) => {
        await assert.rejects(async () => {
          for await (const item of stream) drop(name, item);
        }, { name: "AbortError" });
      }, 4);
      assert.equal(pulled, 4);
    });

    it(`${name}() can be iterated again if its source can`, async () => {
      const log = { pulled: 0, closed: 0 };
      const stream = watch({ [Symbol.asyncIterator]: source(1, log) });
      for (let i = 0; i < 2; i++) for await (const item of stream) drop(name, item);
      assert.deepEqual(log, { pulled: 2, closed: 2 });
    });
  }
});

describe("every()", () => {
  before(() => useBackend("cpu"));

  it("every() gives items 0, n, 2n and the last, whatever the length", async () => {
    await fc.assert(
      fc.asyncProperty(fc.nat(20), fc.integer({ min: 1, max: 8 }), async (count, n) => {
        const steps = Array.from({ length: count }, (_, i) => i);
        const wanted = steps.filter((i) => i % n === 0 || i === count - 1);
        assert.deepEqual(
          await Array.fromAsync(every(n)(ReadableStream.from(steps))),
          wanted,
        );
      }),
      { numRuns: 50 },
    );
  });

  it("every() yields the last item alive although its source has ended", async () => {
    const log = { pulled: 0, closed: 0 }, before = live(), values: number[] = [];
    for await (const item of every(3)(source(6, log)())) values.push(value(item));
    assert.deepEqual(values, [0, 3, 5]);
    assert.equal(live(), before);
  });

  it("every() leaves pictures in the stream as they are", async () => {
    const images = frames({ range: [0, 1] })(source(4, { pulled: 0, closed: 0 })());
    const seen = await Array.fromAsync(every(2)(images));
    assert.deepEqual(seen.map(({ data }) => data), [0, 5, 8].map((v) => new Uint8Array(4).fill(v)));
  });

  it("every() refuses an n that is not a whole number of at least 1", () => {
    for (const n of [0, -1, 1.5, NaN]) assert.throws(() => every(n), RangeError);
  });
});

describe("last(), kept() and recorded()", () => {
  before(() => useBackend("cpu"));

  it("last() gives the last item alive, and only that one stays", async () => {
    const log = { pulled: 0, closed: 0 }, before = live();
    const item = await last(source(5, log)());
    assert.deepEqual([value(item), item.step, log.closed], [4, 4, 1]);
    assert.equal(live(), before + 1);
    tf.dispose(item.x);
  });

  it("last() refuses an empty stream", async () => {
    await assert.rejects(last(ReadableStream.from([])), RangeError);
  });

  it("kept() gives items that outlive their source, history and all", async () => {
    const bits = new Float32Array([1, 2]),
      x = tf.scalar(3),
      item = { x, history: [{ t: 1, x0: x }], bits };
    const [copy] = await Array.fromAsync(kept()(ReadableStream.from([item])));
    x.dispose();
    assert.deepEqual([copy!.x.dataSync()[0], copy!.history[0]!.x0.dataSync()[0]], [3, 3]);
    assert.equal(copy!.bits, bits);
    tf.dispose([copy!.x, copy!.history[0]!.x0]);
  });

  it("recorded() gives all items alive, in order", async () => {
    const before = live();
    const items = await recorded(source(5, { pulled: 0, closed: 0 })());
    assert.deepEqual(items.map(value), [0, 1, 2, 3, 4]);
    tf.dispose(items as unknown as tf.TensorContainer);
    assert.equal(live(), before);
  });

  it("last() and recorded() keep nothing when the source throws", async () => {
    const before = live(), log = { pulled: 0, closed: 0 };
    await assert.rejects(last(source(5, log, 3)()), { name: "AbortError" });
    await assert.rejects(recorded(source(5, log, 3)()), { name: "AbortError" });
    assert.equal(live(), before);
    assert.equal(log.closed, 2);
  });
});

describe("watched()", () => {
  it("watched() waits for the function and shows each item with its index before passing it on", async () => {
    const log: string[] = [];
    const look = async (item: string, index: number): Promise<void> => {
      await new Promise((done) => setTimeout(done));
      log.push(`saw ${index} ${item}`);
    };
    for await (const item of watched(look)(ReadableStream.from(["a", "b"]))) {
      log.push(`got ${item}`);
    }
    assert.deepEqual(log, ["saw 0 a", "got a", "saw 1 b", "got b"]);
  });

  it("watched() ends the stream with what the function throws, and closes the source", async () => {
    const log = { pulled: 0, closed: 0 };
    const stop = watched(({ step }: Item) => {
      if (step === 2) throw new Error("enough");
    });
    await assert.rejects(Array.fromAsync(stop(source(5, log)())), /enough/);
    assert.deepEqual(log, { pulled: 3, closed: 1 });
    assert.throws(() => watched(undefined as unknown as () => void), {
      name: "TypeError",
      message: "Cannot watch a stream: look must be a function, got undefined",
    });
  });
});

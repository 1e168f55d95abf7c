/** Batches of rows: each once an epoch, in an order that is drawn anew. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { key } from "../../../src/tensor/key.ts";
import { rowBatches } from "../../../src/train/boltzmann/rows.ts";

describe("rowBatches()", () => {
  it("goes through all rows once an epoch, in another order each, the same each time", () => {
    const data = Array.from({ length: 14 }, (_, i) => Math.floor(i / 2)),
      batches = rowBatches(data, { width: 2, size: 3, epochs: 2, key: key(0) });
    const found = [...batches].map((batch) => [...batch]);
    assert.equal(found.length, 4);
    found.forEach((batch) =>
      assert.ok(batch.length === 6 && batch.every((value, i) => value === batch[i - i % 2]))
    );
    for (const epoch of [found.slice(0, 2), found.slice(2)]) {
      assert.equal(new Set(epoch.flat()).size, 6);
    }
    assert.notDeepEqual(found.slice(0, 2), found.slice(2));
    assert.deepEqual([...batches].map((batch) => [...batch]), found);
    assert.throws(
      () => rowBatches([1, 2], { width: 2, size: 2, epochs: 1, key: key(0) }),
      /rows must be at least 2 of 2 numbers, got 2/,
    );
  });

  it("puts each row in each place equally often", () => {
    const often = Array.from({ length: 4 }, () => [0, 0, 0, 0]), epochs = 2000;
    let at = 0;
    for (const [value] of rowBatches([0, 1, 2, 3], { width: 1, size: 1, epochs, key: key(4) })) {
      often[at++ % 4]![value!]!++;
    }
    for (const count of often.flat()) {
      assert.ok(Math.abs(count - epochs / 4) / Math.sqrt(epochs * 3 / 16) < 4);
    }
  });
});

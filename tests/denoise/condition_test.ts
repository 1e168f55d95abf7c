import { before, describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import * as tf from "@tensorflow/tfjs-core";
import { pickedCondition, type Place, sizeOfCondition } from "../../src/denoise/condition.ts";
import { useBackend } from "../../src/tensor/backend/backend.ts";
import { live } from "../measure.ts";

describe("conditions", () => {
  before(() => useBackend("cpu"));

  it("are split, doubled and put together, whatever they are of", () => {
    const outset = live();
    const picture = tf.tensor([[1, 2], [3, 4], [5, 6]]);
    const all = { class: [7, null, 9], words: ["a", "b", "c"], picture };
    assert.equal(sizeOfCondition(all), 3);
    const half = pickedCondition([all], [[0, 1], [0, 2]]);
    assert.deepEqual([half.class, half.words], [[null, 9], ["b", "c"]]);
    assert.deepEqual(half.picture.arraySync(), [[3, 4], [5, 6]]);
    const both = pickedCondition([all, half], [[1, 0], [0, 0], [1, 1]]);
    assert.deepEqual([both.class, both.words], [[null, 7, 9], ["b", "a", "c"]]);
    assert.deepEqual(both.picture.arraySync(), [[3, 4], [1, 2], [5, 6]]);
    tf.dispose([picture, half.picture, both.picture]);
    assert.equal(live(), outset);
  });

  it("of no condition are null in lists, and refused of tensors", () => {
    const none: Place[] = [null, [0, 0]];
    assert.deepEqual(pickedCondition([["a"]], none), [null, "a"]);
    const x = tf.tensor([[1]]);
    assert.throws(() => pickedCondition([x], none), /what stands for no condition must be given/);
    x.dispose();
  });

  it("refuse parts that another lacks, and conditions of other kinds: they would be left out without a word", () => {
    const all = { n: [1, 2] }, more = { n: [0, 0], words: ["aaa", "b"] };
    for (const sources of [[all, more], [more, all]]) {
      assert.throws(
        () => pickedCondition<unknown>(sources, [[0, 0], [1, 0]]),
        /conditions must be of the parts n(, words)?, got /,
      );
    }
    for (const other of [[1, 2], 5, null]) {
      assert.throws(() => pickedCondition<unknown>([all, other], [[0, 0], [1, 0]]), RangeError);
      assert.throws(() => pickedCondition<unknown>([[1], all], [[0, 0], [1, 0]]), /of one kind/);
    }
  });

  it("refuse samples that are not there, and what is no condition", () => {
    assert.throws(() => pickedCondition([[1]], [[0, 1]]), RangeError);
    assert.throws(() => pickedCondition([[1]], [[1, 0]]), RangeError);
    const x = tf.tensor([[1]]);
    for (const place of [[0, 1], [0, -1], [1, 0]] as const) {
      assert.throws(() => pickedCondition([x], [place]), RangeError);
    }
    x.dispose();
    assert.throws(
      () => sizeOfCondition(5),
      /condition must be a list, a tensor, or a record of these, got 5/,
    );
    assert.throws(() => sizeOfCondition(null), TypeError);
    assert.throws(
      () => sizeOfCondition({ a: [1], b: [1, 2] }),
      /of one number of samples, got \[1,2\]/,
    );
    assert.throws(() => sizeOfCondition({}), RangeError);
  });
});

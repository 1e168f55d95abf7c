import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { withinMemory } from "../../src/command/memory.ts";

describe("withinMemory()", () => {
  it("withinMemory() says what must fit where memory runs out, as V8 and WebAssembly put it, and hands on other errors", async () => {
    const shortages: readonly (() => unknown)[] = [
      () => new Float32Array(2 ** 60),
      () => new ArrayBuffer(2 ** 53 - 1),
      () => {
        throw new WebAssembly.RuntimeError("memory access out of bounds");
      },
      () => {
        throw new Error("onnxruntime: Failed to allocate memory for requested buffer of size 5");
      },
    ];
    for (const body of shortages) {
      const work = withinMemory("Cannot do it: all must fit", () => Promise.resolve().then(body));
      await assert.rejects(work, /^RangeError: Cannot do it: all must fit, got /);
    }
    const own = new RangeError("own");
    await assert.rejects(withinMemory("no", () => Promise.reject(own)), own);
    assert.equal(await withinMemory("no", () => Promise.resolve(7)), 7);
  });
});

import assert from "node:assert/strict";
import { describe, it } from "@std/testing/bdd";
import { checkOptions, refusal, shown } from "../../../src/tensor/check/check.ts";

describe("checkOptions()", () => {
  const known = { steps: true, eta: true } as const;

  it("takes what it knows, and what is undefined", () => {
    checkOptions("sample", {}, known);
    checkOptions("sample", { steps: 5, eta: 0, other: undefined }, known);
  });

  it("names what it does not know, and what it does", () => {
    assert.throws(
      () => checkOptions("sample", { step: 5 }, known),
      new TypeError('Cannot sample: options must be among steps, eta, got "step"'),
    );
  });

  it("refuses what is no object", () => {
    for (const [options, got] of [[5, "5"], [null, "null"], [[1], "[1]"], ["a", '"a"']] as const) {
      assert.throws(
        () => checkOptions("sample", options, known),
        new TypeError(`Cannot sample: options must be an object, got ${got}`),
      );
    }
  });
});

describe("refusal()", () => {
  it("says what could not be done, what was wanted and what came", () => {
    const { message } = refusal("make a grid", "steps must be above 0", NaN);
    assert.equal(message, "Cannot make a grid: steps must be above 0, got NaN");
  });
});

describe("shown()", () => {
  it("writes any value in at most 80 characters", () => {
    const cycle: { self?: unknown } = {};
    cycle.self = cycle;
    const all = [undefined, NaN, -0, 1n, "a", null, [1, 2], { a: 1 }, () => 1, cycle, Symbol("s")];
    assert.deepEqual(all.map(shown), [
      "undefined",
      "NaN",
      "0",
      "1",
      '"a"',
      "null",
      "[1,2]",
      '{"a":1}',
      "a function",
      "[object Object]",
      "Symbol(s)",
    ]);
    assert.equal(shown("x".repeat(200)).length, 80);
  });
});

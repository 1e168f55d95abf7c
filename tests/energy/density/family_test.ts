import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import gammaln from "@stdlib/math-base-special-gammaln";
describe("x", () => {
  it("y", () => {
    assert.equal(gammaln(1), 0);
  });
});

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { lattice } from "../../../src/energy/grid/mod.ts";

describe("lattice()", () => {
  for (const boundary of ["free", "periodic"] as const) {
    for (const [height, width] of [[1, 1], [1, 5], [2, 2], [3, 4], [5, 3], [4, 6]] as const) {
      it(`lattice() colours ${height} × ${width}, ${boundary}, so that no neighbours are alike`, () => {
        const on = lattice(height, width, { boundary }), colour = new Int8Array(on.sites).fill(-1);
        on.colours.forEach((sites, c) => sites.forEach((i) => colour[i] = c));
        assert.ok(colour.every((c) => c >= 0));
        for (let at = 0; at < on.edges.length; at += 2) {
          assert.notEqual(colour[on.edges[at]!], colour[on.edges[at + 1]!]);
        }
        const isOdd = (side: number) => boundary === "periodic" && side > 1 && side % 2 > 0;
        assert.equal(on.colours.length, isOdd(height) || isOdd(width) ? 3 : 2);
        const rows = boundary === "free" ? height - 1 : height === 1 ? 0 : height;
        const columns = boundary === "free" ? width - 1 : width === 1 ? 0 : width;
        assert.equal(on.edges.length / 2, rows * width + columns * height);
      });
    }
  }

  it("lattice() lists each edge at both ends", () => {
    const { starts, neighbours, via, edges, sites } = lattice(3, 4, { boundary: "periodic" });
    for (let i = 0; i < sites; i++) {
      assert.equal(starts[i + 1]! - starts[i]!, 4);
      for (let at = starts[i]!; at < starts[i + 1]!; at++) {
        const ends = [edges[2 * via[at]!]!, edges[2 * via[at]! + 1]!];
        assert.deepEqual(ends.sort((a, b) => a - b), [i, neighbours[at]!].sort((a, b) => a - b));
      }
    }
  });

  it("lattice() refuses sides and boundaries that are none", () => {
    assert.throws(
      () => lattice(0, 3),
      /^RangeError: Cannot make a lattice: height must be a whole .* got 0$/,
    );
    assert.throws(() => lattice(3, NaN), /width must be .* got NaN/);
    assert.throws(() => lattice(3, 3, { boundary: "open" as "free" }), /boundary must be/);
  });
});

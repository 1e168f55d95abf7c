import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import {
  asPairwise,
  conditional,
  flipEnergy,
  fromPotentials,
  greyLevels,
  ising,
  isingEnergy,
  lattice,
  localField,
  pairwise,
  pairwiseEnergy,
  potts,
  restoration,
  siteEnergy,
} from "../../../src/energy/grid/mod.ts";
import { view } from "../../../src/tensor/ndarray.ts";
import { near } from "../../measure.ts";
import { centred } from "./move/kernel.ts";

describe("energies", () => {
  const on = lattice(3, 4, { boundary: "periodic" });
  const model = ising(on, { coupling: centred("J", 24), field: centred("h", 12) });
  const s = Int8Array.from(centred("s", 12), (u) => u < 0 ? -1 : 1);

  it("flipEnergy() and conditional() are those of the whole energy", () => {
    for (let i = 0; i < 12; i++) {
      const other = s.with(i, -s[i]!), change = isingEnergy(model, other) - isingEnergy(model, s);
      near(flipEnergy(model, s, i), change, 1e-13);
      const [up, down] = [s.with(i, 1), s.with(i, -1)].map((x) =>
        Math.exp(-0.7 * isingEnergy(model, x))
      );
      near(conditional(localField(model, s, i), 0.7), up! / (up! + down!), 1e-14);
    }
  });

  it("siteEnergy() changes as the whole energy does, and asPairwise() is the same model", () => {
    const x = Int8Array.from(s, (v) => (v + 1) / 2);
    near(pairwiseEnergy(asPairwise(model), x), isingEnergy(model, s), 1e-13);
    const grey = greyLevels(on, { levels: 3, weight: centred("J", 24), single: centred("D", 36) });
    for (let i = 0; i < 12; i++) {
      for (const a of [0, 1, 2]) {
        const change = pairwiseEnergy(grey, x.with(i, a)) - pairwiseEnergy(grey, x);
        near(siteEnergy(grey, x, i, a) - siteEnergy(grey, x, i, x[i]!), change, 1e-13);
      }
    }
  });

  it("greyLevels() does not change when a constant is added, until there is a field", () => {
    const x = Int8Array.of(0, 2, 1, 1, 0, 2, 2, 1, 0, 0, 1, 2), shifted = x.map((a) => a + 4);
    const grey = greyLevels(on, { levels: 8 });
    assert.equal(pairwiseEnergy(grey, x), pairwiseEnergy(grey, shifted));
    const held = greyLevels(on, { levels: 8, single: centred("D", 96) });
    assert.notEqual(pairwiseEnergy(held, x), pairwiseEnergy(held, shifted));
  });

  it("greyLevels() and potts() sum over edges what neighbours cost", () => {
    const x = Int8Array.of(0, 4, 1, 1, 0, 2, 2, 1, 3, 0, 1, 2), weight = centred("J", 24);
    let grey = 0, alike = 0;
    for (let e = 0; e < 24; e++) {
      const a = x[on.edges[2 * e]!]!, b = x[on.edges[2 * e + 1]!]!;
      grey += weight[e]! * Math.abs(a - b);
      if (a === b) alike -= weight[e]!;
    }
    near(pairwiseEnergy(greyLevels(on, { levels: 5, weight }), x), grey, 1e-13);
    near(pairwiseEnergy(potts(on, { levels: 5, weight }), x), alike, 1e-13);
  });

  it("fromPotentials() sums the tables of labels", () => {
    const single = centred("single", 24), pair = centred("pair", 96);
    const { model, constant } = fromPotentials(on, { single, pair });
    const y = s.map((v) => (v + 1) / 2);
    let sum = y.reduce((all, a, i) => all + single[2 * i + a]!, 0);
    for (let e = 0; e < 24; e++) {
      sum += pair[4 * e + 2 * y[on.edges[2 * e]!]! + y[on.edges[2 * e + 1]!]!]!;
    }
    near(constant - isingEnergy(model, s), sum, 1e-13);
  });

  it("ising() says which number is not finite, and how long a list must be", () => {
    assert.throws(() => ising(on, { coupling: NaN }), /coupling must be finite, got NaN/);
    const words = { field: "none" as unknown as number };
    assert.throws(
      () => ising(on, words),
      /^TypeError: .*field must be a number, or a list of 12 nu/,
    );
    assert.throws(
      () => ising(on, { field: [...s.subarray(1), NaN] }),
      /field\[11\] must be finite/,
    );
    assert.throws(() => ising(on, { field: s.subarray(1) }), /field must be .* list of 12, got 11/);
    assert.throws(
      () => ising(on, { fields: 1 } as object),
      /options must be among coupling, field/,
    );
  });

  it("restoration() scores a truth by the pixels and edges that agree, in whatever order its picture lies", () => {
    const picture = view(Int8Array.of(0, 1, 1, 1, 0, 1), [3, 2]).transpose(1, 0);
    const { model, constant } = restoration(picture, { data: 1.5, smooth: 0.7 });
    const [x, y] = [[0, 1, 0, 1, 1, 1], [1, 1, 0, 0, 1, 0]];
    const agree = y.filter((label, i) => label === x[i]).length;
    const { edges } = model.lattice;
    let alike = 0;
    for (let at = 0; at < edges.length; at += 2) alike += +(y[edges[at]!] === y[edges[at + 1]!]);
    const s = Int8Array.from(y, (label) => 2 * label - 1);
    near(constant - isingEnergy(model, s), 1.5 * agree + 0.7 * alike, 1e-14);
    assert.throws(
      () => restoration(view(Int8Array.of(1, -1), [1, 2]), { data: 1, smooth: 1 }),
      /Cannot restore a picture: x must be of labels 0 and 1, got -1/,
    );
    assert.throws(
      () => restoration(view(Int8Array.of(1, 0), [2]), { data: 1, smooth: 1 }),
      /x must be of shape \[height, width\], got \[2\]/,
    );
  });

  it("pairwise() refuses too many levels, and a table that is not symmetric or not finite", () => {
    assert.throws(() => potts(on, { levels: 129 }), /levels must be at most 128, got 129/);
    assert.throws(() => potts(on, { levels: 1 }), /levels must be a whole number of at least 2/);
    assert.throws(
      () => pairwise(on, (a, b) => a - b, { levels: 2 }),
      /cost\(0, 1\) must be finite and cost\(1, 0\), got -1/,
    );
    assert.throws(
      () => potts(on, { levels: 3, single: [1, 2] }),
      /single must be a list of 36, got 2/,
    );
    const one = { levels: 3, single: 1 as unknown as number[] };
    assert.throws(
      () => potts(on, one),
      /^TypeError: .*: single must be a list of 36 numbers, got 1$/,
    );
  });
});

/**
 * A misspelt option is refused by name, by everything that takes options; an empty batch by everything that takes samples.
 */

import { before, describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import * as tf from "@tensorflow/tfjs-core";
import { ddim, edited, gaussian, key, last, prior, run, type Sampler, vp } from "../../mod.ts";
import { useBackend } from "../../src/tensor/backend/backend.ts";
import { everyRefinement, everySampler, guides, type Known } from "./parts.ts";
import { live } from "../measure.ts";

const schedule = vp(), root = key(1);

describe("an unknown option", () => {
  let known: Known;
  before(async () => {
    await useBackend("cpu");
    known = { count: 2, mask: tf.tensor([[1, 0]]), values: tf.tensor([[0.4, 0]]) };
  });
  const refused = {
    name: "TypeError",
    message: /^Cannot [^:]+: options must be among [\w, ]+, got "stpes"$/,
  };

  for (const [name, make] of everySampler) {
    it(`is refused by ${name}`, () => {
      make(schedule, {}, {});
      assert.throws(() => make(schedule, {}, { stpes: 5 }), refused);
    });
  }

  // What takes no options does not take more.
  for (const [name, { make }] of everyRefinement.filter(([, { make }]) => make.length === 2)) {
    it(`is refused by ${name}`, () => {
      const source = ddim(schedule, { steps: 2 });
      make(known, {})(source);
      assert.throws(() => make(known, { stpes: 5 })(source), refused);
    });
  }

  for (
    const [name, { make }] of Object.entries(guides).filter(([, { make }]) => make.length === 2)
  ) {
    it(`is refused by ${name}`, () => {
      assert.throws(() => make(known, { stpes: 5 }), refused);
    });
  }
});

describe("an empty batch", () => {
  before(() => useBackend("cpu"));

  it("is refused by prior(), and by a run from it or from an edit, under every sampler", async () => {
    assert.throws(() => prior([0, 2]), /shape must be of whole numbers of at least 1, got \[0,2\]/);
    const none = tf.zeros([0, 2]), model = gaussian(schedule), before = live();
    const ended = (sampler: Sampler, start: Parameters<typeof run>[0]) =>
      last(run(start, { model, key: root, until: ({ step }) => step > 5 })(sampler));
    for (const [name, make] of everySampler) {
      const sampler = make(schedule, { steps: 3, final: 0.1 }, {});
      const from = sampler.from ?? 1, message = /the start's x must have at least one sample, got/;
      await assert.rejects(() => ended(sampler, { x: none, t: from, step: 0 }), message, name);
      await assert.rejects(() => ended(sampler, edited(none, { t: from })), message, name);
    }
    assert.equal(live(), before);
    none.dispose();
  });
});

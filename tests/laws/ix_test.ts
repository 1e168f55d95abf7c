import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { pipe } from "fp-ts/lib/function.js";
import { from, last as lastOf } from "ix/asynciterable";
import {
  batch,
  concatMap,
  filter,
  map,
  pairwise,
  scan,
  take,
  takeWhile,
  tap,
} from "ix/asynciterable/operators";
import { ddim, gaussian, key, linear, prior, run, type State } from "../../mod.ts";
import { useBackend } from "../../src/tensor/backend/backend.ts";
import { live } from "../measure.ts";

const schedule = linear(), steps = 12;

/** A run of twelve steps; counts the states that were asked for. */
async function trajectory(): Promise<{ states: AsyncIterable<State>; pulled: () => number }> {
  await useBackend("cpu");
  const model = gaussian(schedule, { mean: 1, variance: 0.25 });
  let count = 0;
  const counted = {
    ...model,
    predict: (...args: Parameters<typeof model.predict>) => (count++, model.predict(...args)),
  };
  return {
    states: run(prior([3, 2]), { model: counted, key: key(0) })(ddim(schedule, { steps })),
    pulled: () => count,
  };
}

const times = (states: AsyncIterable<State>) => pipe(states, map(({ t }) => t));

describe("ix operators on a trajectory", () => {
  it("map, filter, scan, pairwise and concatMap see every state, in order", async () => {
    const { states } = await trajectory();
    const all = await Array.fromAsync(times(states));
    assert.equal(all.length, steps + 1);
    assert.deepEqual(
      await Array.fromAsync(pipe(times(states), filter((t) => t > 500))),
      all.filter((t) => t > 500),
    );
    const falls = await Array.fromAsync(pipe(times(states), pairwise(), map(([t, s]) => t! - s!)));
    assert.ok(falls.length === steps && falls.every((fall) => fall > 0));
    const sums = pipe(times(states), scan({ seed: 0, callback: (sum, t) => sum + t }));
    assert.equal(await lastOf(from(sums)), all.reduce((a, b) => a + b));
    const doubled = await Array.fromAsync(pipe(times(states), concatMap((t) => from([t, t]))));
    assert.deepEqual(doubled, all.flatMap((t) => [t, t]));
  });

  it("take and takeWhile end the run, and free what it held", async () => {
    const { states, pulled } = await trajectory(), before = live();
    assert.equal((await Array.fromAsync(pipe(times(states), take(4)))).length, 4);
    assert.equal(pulled(), 3);
    await Array.fromAsync(pipe(states, takeWhile(({ step }) => step < 5), map(({ step }) => step)));
    assert.equal(live(), before);
  });

  it("a break behind tap or batch closes the run", async () => {
    const { states } = await trajectory(), before = live();
    const seen: number[] = [];
    for await (
      const _ of pipe(
        states,
        tap(({ step }) => void seen.push(step)),
        map(({ t }) => t),
      )
    ) if (seen.length === 3) break;
    assert.deepEqual(seen, [0, 1, 2]);
    for await (const _ of pipe(times(states), batch())) break;
    assert.equal(live(), before);
  });
});

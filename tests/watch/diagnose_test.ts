import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { type Chain, chain } from "../../src/chain/chain.ts";
import { driver, plainly } from "../../src/chain/run.ts";
import { summaries, summary } from "../../src/metric/chain/mod.ts";
import { fold, key } from "../../src/tensor/key.ts";
import { uniforms } from "../../src/tensor/random.ts";
import { diagnosed, type Diagnosis, traced } from "../../src/watch/diagnose.ts";
import { every } from "../../src/watch/record.ts";
import { chainsNamed } from "../golden/chains.ts";

const draws = chainsNamed("half 4 100");

/** States that hold the draws, one of each chain. */
async function* states(count = 100, closed: () => void = () => {}) {
  try {
    for (let step = 0; step < count; step++) {
      await Promise.resolve();
      yield { step, x: draws.map((chain) => chain[step]!) };
    }
  } finally {
    closed();
  }
}

type State = { readonly step: number; readonly x: readonly number[] };

const of = ({ x }: State) => ({ x, first: x[0]! });

const told = async (
  options: { readonly every?: number; readonly most?: number } = {},
  source: AsyncIterable<State> = states(),
): Promise<Diagnosis<"x" | "first">[]> => {
  const all: Diagnosis<"x" | "first">[] = [];
  const watch = diagnosed({ of, tell: (each) => void all.push(each), ...options });
  for await (const _ of watch(source));
  return all;
};

const part = (count: number, stride = 1): Float64Array[] =>
  draws.map((chain) => chain.subarray(0, count).filter((_, s) => s % stride === 0));

describe("traced()", () => {
  it("traced() gives the draws of each chain, of a number one chain", async () => {
    const { x, first } = await traced(states(), of);
    assert.deepEqual(x, draws.map((chain) => [...chain]));
    assert.deepEqual(first, [[...draws[0]!]]);
  });

  it("traced() passes over states of which nothing is asked, and waits for what is asked", async () => {
    const late = (state: State) => Promise.resolve(state.step < 90 ? undefined : of(state));
    const { first } = await traced(states(), late);
    assert.deepEqual(first, [[...draws[0]!.subarray(90)]]);
    assert.deepEqual(await traced(states(), () => undefined), {});
  });

  it("traced() thins by every(), which has the last state too", async () => {
    const { x } = await traced(every(33)(states()), of);
    assert.deepEqual(x[1], [0, 33, 66, 99].map((s) => draws[1]![s]));
  });

  it("traced() sees a two-state chain as often in each state as its law says, within four standard errors", async () => {
    // Flips 0 → 1 with probability 0.3 and 1 → 0 with 0.1: 3/4 of the time in 1, and rₖ = 0.6ᵏ.
    const flips = chain<Chain & { readonly x: readonly number[] }>(function* () {
      for (let i = 0; i < 4000; i++) {
        yield ({ key }) => ({ x, step }) => {
          const u = uniforms(fold(key, step), x.length);
          return { x: x.map((s, c) => u[c]! < [0.3, 0.1][s]! ? 1 - s : s), step: step + 1 };
        };
      }
    });
    const run = driver<Chain & { readonly x: readonly number[] }, { key: ReturnType<typeof key> }>(
      plainly(),
    );
    const { x } = await traced(
      run({ x: [0, 1, 0, 1], step: 0 }, { key: key(5) })(flips),
      ({ x, step }) => step < 100 ? undefined : { x },
    );
    const { mean, mcseMean, rHat, count } = summary(x);
    assert.equal(count, 4 * 3901);
    const exact = Math.sqrt(0.75 * 0.25 * (1.6 / 0.4) / count);
    assert.ok(Math.abs(mcseMean / exact - 1) < 0.1);
    const z = (mean - 0.75) / exact;
    assert.ok(Math.abs(z) < 4, `z = ${z}`);
    // Were the rates taken one for the other, it would be 1/4.
    assert.ok(Math.abs(mean - 0.25) / exact > 10 && rHat < 1.01);
  });
});

describe("diagnosed()", () => {
  it("diagnosed() tells at every n-th state and at the last, and passes all states on", async () => {
    const all = await told({ every: 40 });
    assert.deepEqual(all.map(({ count, stride }) => [count, stride]), [[40, 1], [80, 1], [100, 1]]);
    for (const { count, summaries: found } of all) {
      assert.deepEqual(found, summaries({ x: part(count), first: part(count).slice(0, 1) }));
    }
    const seen: State[] = [];
    for await (const state of diagnosed({ of, tell() {} })(states())) seen.push(state);
    assert.deepEqual(seen, await Array.fromAsync(states()));
  });

  it("diagnosed() tells once at the end, and not again where the last has been told", async () => {
    assert.deepEqual((await told()).map(({ count }) => count), [100]);
    assert.deepEqual((await told({ every: 50 })).map(({ count }) => count), [50, 100]);
    assert.deepEqual(await told({}, states(0)), []);
  });

  it("diagnosed() keeps no more than it may, evenly spaced", async () => {
    for (const [most, stride] of [[100, 1], [99, 2], [50, 2], [49, 4], [24, 8]] as const) {
      const [last] = await told({ most });
      assert.equal(last!.stride, stride);
      assert.equal(last!.count, 100);
      assert.deepEqual(last!.summaries.x, summary(part(100, stride)));
      assert.ok(last!.summaries.x.count <= 4 * most);
    }
  });

  it("diagnosed() passes on states of which nothing is asked, and does not count them", async () => {
    const all: Diagnosis[] = [], seen: number[] = [];
    const watch = diagnosed({
      of: (state: State) => state.step < 60 ? undefined : of(state),
      tell: (each) => void all.push(each),
    });
    for await (const { step } of watch(states())) seen.push(step);
    assert.equal(seen.length, 100);
    assert.deepEqual(all.map(({ count }) => count), [40]);
    assert.deepEqual(all[0]!.summaries["x"], summary(draws.map((chain) => chain.subarray(60))));
  });

  it("diagnosed() counts each stream anew", async () => {
    const all: number[] = [], watch = diagnosed({ of, tell: ({ count }) => void all.push(count) });
    for (let i = 0; i < 2; i++) for await (const _ of watch(states(20)));
    assert.deepEqual(all, [20, 20]);
  });

  it("diagnosed() tells and closes its source where it is broken off, and where tell or of throws", async () => {
    let closed = 0, counts: number[] = [];
    const watch = diagnosed({ of, tell: ({ count }) => void counts.push(count) });
    for await (const { step } of watch(states(100, () => closed++))) if (step === 29) break;
    assert.deepEqual([closed, counts], [1, [30]]);
    counts = [];
    const failing = diagnosed({
      of: (state: State) => {
        if (state.step === 20) throw new Error("of");
        return of(state);
      },
      tell: ({ count }) => void counts.push(count),
    });
    await assert.rejects(Array.fromAsync(failing(states(100, () => closed++))), /of/);
    assert.deepEqual([closed, counts], [2, [20]]);
    let calls = 0;
    const mute = diagnosed({
      of,
      every: 10,
      tell: () => {
        calls++;
        throw new Error("tell");
      },
    });
    await assert.rejects(Array.fromAsync(mute(states(100, () => closed++))), /tell/);
    assert.deepEqual([closed, calls], [3, 1]);
  });

  it("diagnosed() refuses numbers that are not like those before", async () => {
    const after = (step: number, numbers: Record<string, number[]>) =>
      Array.fromAsync(
        diagnosed<State, string>({
          of: (state) => state.step < step ? { x: [1, 2] } : numbers,
          tell() {},
        })(states(14)),
      );
    const action = "Cannot diagnose chains: ";
    const same = `${action}of must give as many numbers of each state, 2 of x, got `;
    const none = `${action}of must give at least one number of each name, got `;
    const cases: readonly (readonly [number, Record<string, number[]>, string])[] = [
      [5, { x: [1] }, `${same}1 of x`],
      [5, { y: [1, 2] }, `${same}2 of y`],
      [5, { x: [1, 2], y: [1] }, `${same}2 of x, 1 of y`],
      [0, {}, `${none}none`],
      [0, { x: [] }, `${none}0 of x`],
    ];
    for (const [step, numbers, message] of cases) {
      await assert.rejects(
        after(step, numbers),
        (error: Error) =>
          error.name === "RangeError" && error.message.replaceAll('"', "") === message,
      );
    }
  });

  it("diagnosed() and traced() refuse options that mean nothing, before a state is asked for", async () => {
    const tell = () => {};
    assert.throws(() => diagnosed({ of, tell, often: 3 } as never), {
      name: "TypeError",
      message: 'Cannot diagnose chains: options must be among of, tell, every, most, got "often"',
    });
    assert.throws(() => diagnosed({ of: 3, every: 0, most: 23 } as never), {
      name: "TypeError",
      message:
        "Cannot diagnose chains: of must be a function, got 3; tell must be a function, got " +
        "undefined; every must be a whole number of at least 1, got 0; most must be a whole number of " +
        "at least 24, or Infinity, got 23",
    });
    await assert.rejects(traced(states(), 5 as never), {
      name: "TypeError",
      message: "Cannot trace chains: of must be a function, got 5",
    });
  });
});

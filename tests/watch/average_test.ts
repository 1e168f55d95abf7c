import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { autocovariance } from "../../src/metric/chain/autocovariance.ts";
import { averaged, type Averages } from "../../src/watch/average.ts";
import { chainsNamed } from "../golden/chains.ts";
import { average, near } from "../measure.ts";

const draws = chainsNamed("half 4 100");

async function* states(chains: readonly ArrayLike<number>[]) {
  for (let s = 0; s < chains[0]!.length; s++) {
    await Promise.resolve();
    yield chains.map((chain) => chain[s]!);
  }
}

async function told(
  chains: readonly ArrayLike<number>[],
  options: { readonly every?: number; readonly lags?: number } = {},
): Promise<Averages<"x">[]> {
  const all: Averages<"x">[] = [];
  const of = (x: number[]) => ({ x });
  const watch = averaged({ of, tell: (each) => void all.push(each), ...options });
  for await (const _ of watch(states(chains)));
  return all;
}

describe("averaged()", () => {
  it("averaged() has the mean, the variance and the autocorrelations of all draws so far", async () => {
    for (const shift of [0, 1e6]) {
      const moved = draws.map((chain) => chain.map((x) => x + shift));
      for (const { averages: { x }, count } of await told(moved, { every: 7, lags: 5 })) {
        const part = moved.map((chain) => chain.subarray(0, count));
        const c = part.map((chain) => autocovariance(chain, 5));
        const pooled = [0, 1, 2, 3, 4, 5].map((k) => average(c.map((each) => each[k]!)));
        near(x.mean, average(part.flatMap((chain) => [...chain])), 1e-14 * (1 + shift));
        near(x.variance, pooled[0]!, 1e-8);
        assert.equal(x.autocorrelation.length, 6);
        x.autocorrelation.forEach((r, k) => near(r, pooled[k]! / pooled[0]!, 1e-8));
      }
    }
  });

  it("averaged() of moves is the acceptance rate, with no lag but 0 unless it is asked", async () => {
    const [last] = await told([[1, 0, 1, 1], [0, 0, 1, 0]]);
    assert.equal(last!.averages.x.mean, 0.5);
    assert.equal(last!.averages.x.variance, 0.1875);
    assert.deepEqual([...last!.averages.x.autocorrelation], [1]);
    assert.equal(last!.count, 4);
  });

  it("averaged() tells NaN of lags that are not there yet, of chains that have not moved, and of NaN", async () => {
    const [two] = await told([[1, 3]], { lags: 3 });
    assert.deepEqual([...two!.averages.x.autocorrelation], [1, -0.5, NaN, NaN]);
    const [still] = await told([[0.1, 0.1, 0.1]], { lags: 1 });
    const { mean, variance, autocorrelation } = still!.averages.x;
    assert.deepEqual([mean, variance, ...autocorrelation], [0.1, 0, NaN, NaN]);
    const [spoilt] = await told([[1, NaN, 2]]);
    assert.deepEqual([spoilt!.averages.x.mean, spoilt!.averages.x.variance], [NaN, NaN]);
  });

  it("averaged() refuses options that mean nothing", () => {
    const fault = { of: () => undefined, tell() {}, lags: -1 };
    assert.throws(() => averaged(fault), {
      name: "RangeError",
      message: "Cannot average chains: lags must be a whole number of at least 0, got -1",
    });
    assert.throws(() => averaged({} as never), {
      name: "TypeError",
      message:
        "Cannot average chains: of must be a function, got undefined; tell must be a function, got undefined",
    });
  });
});

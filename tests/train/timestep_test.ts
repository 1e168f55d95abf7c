import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { edm, linear, rectified, type Schedule, ve, vp } from "../../src/noise/schedule.ts";
import { fold, key } from "../../src/tensor/key.ts";
import { uniformTimes } from "../../src/train/timestep.ts";

const continuous: Record<string, Schedule> = {
  vp: vp(),
  ve: ve(),
  edm: edm(),
  rectified: rectified(),
};

/** One time by itself under each of many keys. */
const singles = (schedule: Schedule, count: number): number[] =>
  Array.from({ length: count }, (_, i) => uniformTimes(schedule, 1, fold(key(3), i))[0]!);

const mean = (values: readonly number[]): number => values.reduce((a, b) => a + b) / values.length;

describe("uniformTimes()", () => {
  for (const [name, schedule] of Object.entries(continuous)) {
    const [start, end] = schedule.span, least = start + 1e-3 * (end - start);

    it(`uniformTimes() puts one time into each n-th of the span of ${name}`, () => {
      for (const n of [1, 2, 7, 64]) {
        const times = uniformTimes(schedule, n, key(n)), part = (end - least) / n;
        assert.equal(times.length, n);
        times.forEach((t, i) => {
          assert.ok(
            t >= least + i * part - 1e-9 && t < least + (i + 1) * part + 1e-9,
            `${i}: ${t}`,
          );
          assert.ok(i === 0 || Math.abs(t - times[i - 1]! - part) < 1e-9);
        });
      }
    });

    it(`uniformTimes() are uniform over the span of ${name} from key to key`, () => {
      // Kolmogorov and Smirnov: √n·D exceeds 1.95 once in a thousand.
      const n = 2000, drawn = singles(schedule, n).sort((a, b) => a - b);
      const shares = drawn.map((t) => (t - least) / (end - least));
      assert.ok(shares[0]! >= 0 && shares.at(-1)! < 1);
      const d = Math.max(...shares.map((u, i) => Math.max(u - i / n, (i + 1) / n - u)));
      assert.ok(Math.sqrt(n) * d < 1.95, `${Math.sqrt(n) * d}`);
    });
  }

  it("uniformTimes() of a discrete schedule are its steps, each as often", () => {
    const steps = 8, count = 4000, schedule = linear({ steps });
    const counts = Array<number>(steps + 1).fill(0);
    for (const t of singles(schedule, count)) counts[t]!++;
    assert.equal(counts[0], 0);
    const chi = counts.slice(1).reduce(
      (sum, c) => sum + (c - count / steps) ** 2 / (count / steps),
      0,
    );
    const z = (chi - (steps - 1)) / Math.sqrt(2 * (steps - 1));
    assert.equal(counts.reduce((a, b) => a + b), count);
    assert.ok(Math.abs(z) < 4, `z = ${z}`);
  });

  it("uniformTimes() of as many times as steps are all the steps", () => {
    for (const seed of [0, 1, 2, 3]) {
      assert.deepEqual(
        uniformTimes(linear({ steps: 50 }), 50, key(seed)),
        Array.from({ length: 50 }, (_, i) => i + 1),
      );
    }
  });

  it("uniformTimes() stay within 1 to T", () => {
    const drawn = Array.from({ length: 200 }, (_, i) => uniformTimes(linear(), 64, key(i))).flat();
    assert.ok(drawn.every((t) => Number.isInteger(t) && t >= 1 && t <= 1000));
    assert.ok(drawn.includes(1) && drawn.includes(1000));
  });

  it("uniformTimes() estimate a mean over time without bias, and better than single draws", () => {
    // The mean of cos²(πt/1000) over t is 1/2, that of one draw has variance 1/8.
    const f = (t: number) => Math.cos(Math.PI * t / 1000) ** 2, schedule = vp(), n = 16, runs = 400;
    const at = (t: number) => f(1000 * (t - 0.001) / 0.999);
    const estimates = Array.from(
      { length: runs },
      (_, i) => mean(uniformTimes(schedule, n, fold(key(8), i)).map(at)),
    );
    const variance = mean(estimates.map((e) => (e - 0.5) ** 2));
    const z = (mean(estimates) - 0.5) / Math.sqrt(variance / runs);
    assert.ok(Math.abs(z) < 4, `z = ${z}`);
    assert.ok(variance < 1 / 8 / n / 10, `${variance}`);
  });

  it("uniformTimes() are a function of the key", () => {
    assert.deepEqual(uniformTimes(vp(), 5, key(1)), uniformTimes(vp(), 5, key(1)));
    assert.notDeepEqual(uniformTimes(vp(), 5, key(1)), uniformTimes(vp(), 5, key(2)));
  });

  it("uniformTimes() start where they are told to, a thousandth of the span above its start by default", () => {
    const first = (least?: number) =>
      Math.min(
        ...Array.from({ length: 300 }, (_, i) =>
          uniformTimes(vp(), 1, key(i), least === undefined ? {} : { least })[0]!),
      );
    assert.ok(first() >= 1e-3 && first() < 0.03);
    assert.ok(first(0) < 0.03);
    assert.ok(first(0.4) >= 0.4 && first(0.4) < 0.43);
    assert.deepEqual(uniformTimes(vp(), 2, key(0), { least: 1 }), [1, 1]);
  });

  it("uniformTimes() of no samples are none; a bad count or start is refused", () => {
    assert.deepEqual(uniformTimes(linear(), 0, key(0)), []);
    for (const n of [-1, 1.5, NaN]) {
      assert.throws(() => uniformTimes(linear(), n, key(0)), {
        name: "RangeError",
        message: `Cannot draw times: n must be a whole number of at least 0, got ${n}`,
      });
    }
    for (const least of [-0.1, 1.1, NaN]) {
      assert.throws(() => uniformTimes(vp(), 1, key(0), { least }), {
        name: "RangeError",
        message: `Cannot draw times: least must be in the span [0, 1], got ${least}`,
      });
    }
  });
});

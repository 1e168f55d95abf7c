import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import * as tf from "@tensorflow/tfjs-core";
import fc from "fast-check";
import { useBackend } from "../../src/tensor/backend/backend.ts";
import { brownian, type BrownianOptions } from "../../src/solve/brownian.ts";
import { fold, type Key, key, split } from "../../src/tensor/key.ts";
import {
  categorical,
  type IntegerRange,
  type Keys,
  normal,
  normals,
  rademacher,
  randint,
  uniform,
  type UniformOptions,
  uniforms,
} from "../../src/tensor/random.ts";
import { live } from "../measure.ts";

await useBackend("cpu");

type Numbers = ArrayLike<number>;

/** Reads a tensor and disposes of it. */
function read(tensor: tf.Tensor): Numbers {
  const values = tensor.dataSync();
  tensor.dispose();
  return values;
}

function mean(xs: Numbers, f: (x: number, i: number) => number = (x) => x): number {
  let total = 0;
  for (let i = 0; i < xs.length; i++) total += f(xs[i]!, i);
  return total / xs.length;
}

function assertZ(z: number, what: string): void {
  assert.ok(Math.abs(z) < 4, `${what}: z = ${z.toFixed(2)}`);
}

/** z of the correlation of two standardized sequences. */
const correlation = (a: Numbers, b: Numbers): number =>
  mean(a, (x, i) => x * b[i]!) * Math.sqrt(a.length);

/** √n times the Kolmogorov–Smirnov distance; over 2.28 with the probability of |z| > 4, by 2·exp(−2x²). */
function kolmogorov(xs: Numbers, cdf: (x: number) => number): number {
  const sorted = Float64Array.from(xs as ArrayLike<number>).sort(), n = sorted.length;
  const gaps = sorted.map((x, i) => Math.max((i + 1) / n - cdf(x), cdf(x) - i / n));
  return Math.sqrt(n) * gaps.reduce((a, b) => Math.max(a, b));
}

/** Chi-square statistic as a z, by the cube root of Wilson and Hilferty. */
function chiSquare(counts: number[], odds: number[]): number {
  const n = counts.reduce((a, b) => a + b), df = counts.length - 1;
  const x = counts.reduce((sum, c, i) => sum + (c - n * odds[i]!) ** 2 / (n * odds[i]!), 0);
  return (Math.cbrt(x / df) - (1 - 2 / (9 * df))) / Math.sqrt(2 / (9 * df));
}

const counted = (xs: Numbers, bins: number): number[] =>
  Array.from(xs).reduce((counts, x) => (counts[x]!++, counts), Array<number>(bins).fill(0));

/** The normal distribution function, to 1.5e-7 (Abramowitz and Stegun 7.1.26). */
function normalCdf(x: number): number {
  const z = Math.abs(x) / Math.SQRT2, t = 1 / (1 + 0.3275911 * z);
  const series = [0.254829592, -0.284496736, 1.421413741, -1.453152027, 1.061405429]
    .reduceRight((sum, c) => (sum + c) * t, 0);
  const upper = 0.5 * series * Math.exp(-z * z);
  return x > 0 ? 1 - upper : upper;
}

const n = 100_000;

describe("normal()", () => {
  const x = normals(key(1), n);

  it("normal() has the first four moments of N(0, 1)", () => {
    // Variances of x, x², x³, x⁴ under N(0, 1): 1, 2, 15, 96.
    const many = 1_000_000, y = normals(key(0), many);
    assertZ(mean(y) * Math.sqrt(many), "mean");
    assertZ((mean(y, (v) => v ** 2) - 1) * Math.sqrt(many / 2), "variance");
    assertZ(mean(y, (v) => v ** 3) * Math.sqrt(many / 15), "third moment");
    assertZ((mean(y, (v) => v ** 4) - 3) * Math.sqrt(many / 96), "fourth moment");
  });

  it("normal() has the distribution function of N(0, 1), tails included", () => {
    assert.ok(kolmogorov(x, normalCdf) < 2.28);
    const far = mean(x, (v) => Math.abs(v) > 3 ? 1 : 0), odds = 2 * normalCdf(-3);
    assertZ((far - odds) / Math.sqrt(odds * (1 - odds) / n), "P(|x| > 3)");
  });

  it("normal() draws are uncorrelated with their neighbours, and so are their squares", () => {
    const squares = x.map((v) => (v * v - 1) / Math.SQRT2);
    for (const lag of [1, 2, 3, 4]) {
      assertZ(correlation(x.subarray(lag), x), `lag ${lag}`);
      assertZ(correlation(squares.subarray(lag), squares), `squares, lag ${lag}`);
    }
  });

  it("normal() rows under different keys, purposes and generations are uncorrelated", () => {
    const parent = key(2), named = ["noise", "probe"].map((name) => fold(parent, name));
    const rows = [parent, key(3), ...split(parent, 4), ...named].map((k) => normals(k, 20_000));
    rows.forEach((a, i) =>
      rows.slice(i + 1).forEach((b, j) => assertZ(correlation(a, b), `rows ${i}, ${i + 1 + j}`))
    );
  });

  it("normal() under many keys puts under each what it draws alone, whatever the batch", () => {
    const keys = split(key(4), 5), shape = [3, 1, 3];
    const batch = normal(keys, shape);
    assert.deepEqual(batch.shape, [5, ...shape]);
    const rows = read(batch);
    keys.forEach((k, i) =>
      assert.deepEqual(
        Array.from(rows).slice(9 * i, 9 * i + 9),
        Array.from(read(normal(k, shape))),
      )
    );
  });

  it("normal() draws the numbers of normals(), and a longer draw begins with a shorter one", () => {
    fc.assert(fc.property(fc.maxSafeNat(), fc.nat({ max: 40 }), (seed, count) => {
      const want = normals(key(seed), 41).slice(0, count);
      assert.deepEqual(normals(key(seed), count), want);
      assert.deepEqual(Float32Array.from(read(normal(key(seed), [count]))), want);
    }));
  });

  it("normal() of an empty shape is a scalar, and of no keys an empty batch", () => {
    const scalar = normal(key(0), []), none = normal([], [2]);
    assert.deepEqual([scalar.shape, none.shape], [[], [0, 2]]);
    tf.dispose([scalar, none]);
  });
});

describe("uniform()", () => {
  const u = uniforms(key(5), n);

  it("uniform() has the distribution function of [0, 1), and 24-bit values below 1", () => {
    assert.ok(kolmogorov(u, (v) => v) < 2.28);
    assert.ok(u.every((v) => v >= 0 && v < 1 && Number.isInteger(v * 2 ** 24)));
  });

  it("uniform() draws have no serial correlation", () => {
    const standard = u.map((v) => (v - 0.5) * Math.sqrt(12));
    for (const lag of [1, 2, 4]) {
      assertZ(correlation(standard.subarray(lag), standard), `lag ${lag}`);
    }
  });

  it("uniform() maps [0, 1) onto [low, high)", () => {
    const unit = read(uniform(key(6), [50])),
      mapped = read(uniform(key(6), [50], { low: -3, high: 5 }));
    assert.deepEqual(Array.from(mapped), Array.from(unit, (v) => Math.fround(-3 + 8 * v)));
    assert.deepEqual(Array.from(unit), Array.from(uniforms(key(6), 50)));
  });

  for (const [low, high] of [[1, 0], [NaN, 1], [0, Infinity]] as const) {
    it(`uniform() refuses [${low}, ${high})`, () => {
      assert.throws(() => uniform(key(0), [1], { low, high }), {
        name: "RangeError",
        message:
          `Cannot draw uniforms: [low, high) must be a finite interval, got [${low}, ${high})`,
      });
    });
  }
});

describe("rademacher()", () => {
  it("rademacher() draws −1 and +1 with equal odds, at every place in a word", () => {
    const signs = Array.from(read(rademacher(key(7), [n])));
    assert.deepEqual([...new Set(signs)].sort(), [-1, 1]);
    assertZ(mean(signs) * Math.sqrt(n), "mean");
    for (let place = 0; place < 32; place++) {
      const at = signs.filter((_, i) => i % 32 === place);
      assertZ(mean(at) * Math.sqrt(at.length), `bit ${place}`);
    }
  });

  it("rademacher() draws are uncorrelated with their neighbours and between rows", () => {
    const rows = Array.from(read(rademacher(split(key(8), 2), [20_000])));
    for (const lag of [1, 2, 4, 8, 16, 31, 32, 20_000]) {
      assertZ(correlation(rows.slice(lag), rows), `lag ${lag}`);
    }
  });
});

describe("categorical()", () => {
  const weights = [5, 0, 1, 3, 1, 0];

  it("categorical() draws each index with its probability, and never one of probability 0", () => {
    const counts = counted(read(categorical(key(9), weights, [n])), 6);
    assert.deepEqual([counts[1], counts[5]], [0, 0]);
    const drawn = weights.flatMap((w, i) => w > 0 ? [i] : []);
    assertZ(chiSquare(drawn.map((i) => counts[i]!), drawn.map((i) => weights[i]! / 10)), "χ²");
  });

  it("categorical() with one row for each key draws from each key's own row", () => {
    const keys = split(key(10), 2);
    const draws = categorical(keys, [[0.9, 0.1], [0.1, 0.9]], [5000]);
    assert.deepEqual([draws.shape, draws.dtype], [[2, 5000], "int32"]);
    const ones = Array.from(read(tf.sum(draws, 1)));
    assertZ((ones[0]! - 500) / Math.sqrt(450), "first row");
    assertZ((ones[1]! - 4500) / Math.sqrt(450), "second row");
    draws.dispose();
  });

  it("categorical() under a key does not depend on its batch", () => {
    const keys = split(key(11), 20);
    const together = Array.from(read(categorical(keys, weights)));
    assert.deepEqual(together, keys.map((k) => read(categorical(k, weights))[0]));
    assert.ok(new Set(together).size > 2);
  });

  for (const bad of [[], [0, 0], [1, -1, 3], [NaN, 1], [Infinity, 1]]) {
    it(`categorical() refuses the probabilities [${bad}]`, () => {
      assert.throws(() => categorical(key(0), bad), {
        name: "RangeError",
        message:
          `Cannot draw categories: probabilities must be at least 0 with a finite positive sum, got [${bad}]`,
      });
    });
  }

  it("categorical() refuses rows that do not match the keys", () => {
    assert.throws(() => categorical(split(key(0), 3), [[1], [1]]), {
      name: "RangeError",
      message: "Cannot draw categories: probabilities must have a row for each of 3 keys, got 2",
    });
  });
});

describe("randint()", () => {
  it("randint() draws every whole number of the range equally often", () => {
    const draws = randint(key(12), n, { low: -3, high: 7 });
    assertZ(chiSquare(counted(draws.map((i) => i + 3), 10), Array(10).fill(0.1)), "χ²");
  });

  it("randint() uses 53 bits: a range of 2^50 has odd and even numbers", () => {
    const odd = randint(key(13), 10_000, { high: 2 ** 50 }).filter((i) => i % 2 === 1).length;
    assertZ((odd - 5000) / 50, "odd numbers");
  });

  for (const [low, high] of [[0, 0], [3, 2], [0.5, 2.5], [0, 1.5], [0, Infinity]] as const) {
    it(`randint() refuses [${low}, ${high})`, () => {
      assert.throws(() => randint(key(0), 1, { low, high }), {
        name: "RangeError",
        message:
          `Cannot draw integers: [low, high) must be a range of whole numbers, got [${low}, ${high})`,
      });
    });
  }
});

describe("brownian()", () => {
  const paths = 20_000;
  const at = (times: number[], options = {}) =>
    times.map((t) => read(brownian(key(14), [paths], [0, t], options)[0]!));

  it("brownian() paths have mean 0 and Cov(W(s), W(t)) = min(s, t)", () => {
    const times = [0.1, 0.25, 0.4375, 0.7, 1], w = at(times);
    times.forEach((s, i) => {
      assertZ(mean(w[i]!) * Math.sqrt(paths / s), `mean at ${s}`);
      times.slice(0, i + 1).forEach((r, j) => {
        const se = Math.sqrt((r * s + Math.min(r, s) ** 2) / paths);
        assertZ((mean(w[i]!, (v, p) => v * w[j]![p]!) - r) / se, `covariance at ${r}, ${s}`);
      });
    });
  });

  it("brownian() increments are normal and uncorrelated from one span to the next", () => {
    const times = [0, 0.1, 0.125, 0.5, 0.9, 1];
    const steps = brownian(key(15), [paths], times).map(read);
    const unit = steps.map((dw, i) =>
      Array.from(dw, (v) => v / Math.sqrt(times[i + 1]! - times[i]!))
    );
    unit.forEach((a, i) => {
      assert.ok(kolmogorov(a, normalCdf) < 2.28, `span ${i}`);
      unit.slice(i + 1).forEach((b, j) => assertZ(correlation(a, b), `spans ${i}, ${i + 1 + j}`));
    });
  });

  it("brownian() has the quadratic variation t", () => {
    const count = 512, times = Array.from({ length: count + 1 }, (_, i) => 0.75 * i / count);
    const steps = brownian(key(16), [40], times).map(read);
    const variation = steps.reduce((sum, dw) => sum + mean(dw, (v) => v * v), 0);
    // One path's ΣΔW² has the variance 2t²/N.
    assertZ((variation - 0.75) / Math.sqrt(2 * 0.75 ** 2 / count / 40), "ΣΔW²");
  });

  it("brownian() increments over a span are the exact float32 sum of any finer ones", () => {
    const time = fc.nat({ max: 10_000 }).map((i) => 80 * i / 10_000);
    fc.assert(
      fc.property(
        fc.maxSafeNat(),
        fc.array(time, { minLength: 2, maxLength: 6 }),
        (seed, times) => {
          const draw = (list: number[]) =>
            brownian(split(key(seed), 2), [3], list, { horizon: 80 }).map(read);
          const coarse = draw([times[0]!, times.at(-1)!])[0]!;
          const sum = draw(times).reduce((a, b) => Float32Array.from(a, (v, i) => v + b[i]!));
          assert.deepEqual(Float32Array.from(sum), Float32Array.from(coarse));
        },
      ),
      { numRuns: 100 },
    );
  });

  it("brownian() backwards in time is the negative of forwards", () => {
    const [forth] = brownian(key(17), [5], [0.2, 0.7]).map(read);
    const [back] = brownian(key(17), [5], [0.7, 0.2]).map(read);
    assert.deepEqual(Array.from(back!, (v) => -v), Array.from(forth!));
  });

  it("brownian() scales with the horizon: Var W(t) = t up to t = 400", () => {
    const [w] = at([300], { horizon: 400 });
    assertZ((mean(w!, (v) => v * v) - 300) / (300 * Math.sqrt(2 / paths)), "variance");
  });

  it("brownian() rows depend on their own key alone", () => {
    const keys = split(key(18), 3), times = [0, 0.3, 1];
    const batch = brownian(keys, [2], times);
    assert.deepEqual(batch.map((dw) => dw.shape), [[3, 2], [3, 2]]);
    const rows = batch.map((dw) => Array.from(read(dw)));
    keys.forEach((k, i) => {
      const alone = brownian(k, [2], times).map((dw) => Array.from(read(dw)));
      assert.deepEqual(rows.map((row) => row.slice(2 * i, 2 * i + 2)), alone);
    });
    assert.notDeepEqual(rows[0]!.slice(0, 2), rows[0]!.slice(2, 4));
  });

  it("brownian() refuses times outside [0, horizon] and a horizon that is not positive", () => {
    assert.throws(() => brownian(key(0), [], [0, 1.5]), {
      name: "RangeError",
      message: "Cannot draw Brownian paths: times must lie in [0, 1], got [0, 1.5]",
    });
    assert.throws(() => brownian(key(0), [], []), RangeError);
    assert.throws(() => brownian(key(0), [], [NaN, 1]), RangeError);
    assert.throws(() => brownian(key(0), [], [0, 1], { horizon: 0 }), {
      name: "RangeError",
      message: "Cannot draw Brownian paths: horizon must be positive, got 0",
    });
    assert.throws(() => brownian(key(0), [], [0, 1], { horizen: 2 } as BrownianOptions), {
      name: "TypeError",
      message: 'Cannot draw Brownian paths: options must be among horizon, got "horizen"',
    });
    assert.throws(() => brownian(key(0), [-1], [0, 1]), RangeError);
    assert.throws(() => brownian(5 as unknown as Key, [], [0, 1]), TypeError);
  });

  it("brownian() takes a time for what it rounds to: 0.1·3 is 0.3", () => {
    const [near, exact] = [0.1 * 3, 0.3].map((t) =>
      read(brownian(key(0), [2], [0, t], { horizon: 0.3 })[0]!)
    );
    assert.deepEqual(near, exact);
    const [low] = brownian(key(0), [2], [-1e-17, 0.3], { horizon: 0.3 });
    assert.deepEqual(read(low!), exact);
    // Half a tick further is outside.
    assert.throws(
      () => brownian(key(0), [2], [0, 0.3 * (1 + 2 ** -24)], { horizon: 0.3 }),
      RangeError,
    );
  });
});

describe("the random tensors", () => {
  it("the random tensors refuse what is no key, no shape and no count, by name", () => {
    const seed = 5 as unknown as Key,
      draws: Record<string, (keys: Keys, shape: number[]) => unknown> = {
        normal,
        uniform,
        rademacher,
        categorical: (keys, shape) => categorical(keys, [1, 1], shape),
      };
    for (const [name, draw] of Object.entries(draws)) {
      assert.throws(() => draw(seed, [2]), {
        name: "TypeError",
        message: /^Cannot draw .*: key must be a key, as key\(0\) makes them, got 5$/,
      }, name);
      assert.throws(() => draw([key(0), seed], [2]), /each of keys must be a key/, name);
      assert.throws(() => draw(undefined as unknown as Key, [2]), /got undefined$/, name);
      for (const shape of [[NaN], [1.5], [-1], ["2"] as unknown as number[]]) {
        assert.throws(() => draw(key(0), shape), {
          name: "RangeError",
          message: /^Cannot draw .*: shape must be a list of whole numbers of at least 0, got /,
        }, `${name} ${shape}`);
      }
    }
    for (const draw of [normals, uniforms, (k: Key, n: number) => randint(k, n, { high: 2 })]) {
      assert.throws(() => draw(seed, 2), TypeError);
      for (const count of [-1, 0.5, NaN]) {
        assert.throws(
          () => draw(key(0), count),
          /count must be a whole number of at least 0, got /,
        );
      }
    }
    assert.throws(() => uniform(key(0), [1], { min: 2 } as UniformOptions), {
      name: "TypeError",
      message: 'Cannot draw uniforms: options must be among low, high, got "min"',
    });
    assert.throws(() => randint(key(0), 1, { max: 2 } as unknown as IntegerRange), TypeError);
  });

  it("the random tensors leave nothing behind but themselves", () => {
    const before = live();
    tf.dispose([
      normal(key(0), [2]),
      uniform(key(0), [2]),
      rademacher(key(0), [2]),
      categorical(key(0), [1, 1]),
      ...brownian(key(0), [2], [0, 0.3, 1]),
    ]);
    assert.equal(live(), before);
  });
});

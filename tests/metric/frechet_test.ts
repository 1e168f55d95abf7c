import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import fc from "fast-check";
import { type FeatureMoments, frechet, moments } from "../../src/metric/frechet.ts";
import { fold, key } from "../../src/tensor/key.ts";
import { normals } from "../../src/tensor/random.ts";

const gaussian = (mean: number[], covariance: number[]): FeatureMoments => ({
  count: 1000,
  mean: Float64Array.from(mean),
  covariance: Float64Array.from(covariance),
});

const diagonal = (mean: number[], variances: number[]): FeatureMoments =>
  gaussian(
    mean,
    variances.flatMap((variance, i) => variances.map((_, j) => i === j ? variance : 0)),
  );

const close = (actual: number, wanted: number, relative: number): void =>
  assert.ok(
    Math.abs(actual - wanted) <= relative * Math.max(1, Math.abs(wanted)),
    `wanted ${wanted}, got ${actual}`,
  );

/** n vectors whose coordinates are correlated, scaled and shifted: a generic sample. */
function sample(seed: number, count: number, dimension: number, shift = 0): Float32Array {
  const z = normals(key(seed), count * dimension);
  return z.map((value, i) => shift + (1 + i % dimension) * value + (i % dimension ? z[i - 1]! : 0));
}

/** Every vector turned by the same rotation: one plane rotation after another. */
function turned(features: Float32Array, dimension: number, angle: number): Float64Array {
  const out = Float64Array.from(features), cos = Math.cos(angle), sin = Math.sin(angle);
  for (let start = 0; start < out.length; start += dimension) {
    for (let j = start; j + 1 < start + dimension; j++) {
      [out[j], out[j + 1]] = [cos * out[j]! - sin * out[j + 1]!, sin * out[j]! + cos * out[j + 1]!];
    }
  }
  return out;
}

describe("moments()", () => {
  it("moments() are the mean and the unbiased covariance, worked by hand", () => {
    const { count, mean, covariance } = moments(Float32Array.of(1, 2, 3, 4, 8, 0), 2);
    assert.equal(count, 3);
    close(mean[0]!, 4, 1e-15);
    close(mean[1]!, 2, 1e-15);
    // Deviations (−3, 0), (−1, 2), (4, −2): sums of products 26, −10, 8 over n − 1 = 2.
    [13, -5, -5, 4].forEach((wanted, i) => close(covariance[i]!, wanted, 1e-15));
  });

  it("moments() lose no digits to a mean that is large beside the spread", () => {
    const near = moments(Float64Array.of(0, 1, 2, 4), 1),
      far = moments(Float64Array.of(1e8, 1e8 + 1, 1e8 + 2, 1e8 + 4), 1);
    close(far.covariance[0]!, near.covariance[0]!, 1e-12);
  });

  it("moments() of normal draws agree with the distribution within four standard errors", () => {
    const n = 20_000, { mean, covariance } = moments(normals(key(11), 2 * n), 2);
    const scores = [
      mean[0]! / Math.sqrt(1 / n),
      mean[1]! / Math.sqrt(1 / n),
      (covariance[0]! - 1) / Math.sqrt(2 / (n - 1)),
      covariance[1]! / Math.sqrt(1 / (n - 1)),
      (covariance[3]! - 1) / Math.sqrt(2 / (n - 1)),
    ];
    scores.forEach((z) => assert.ok(Math.abs(z) < 4, `z = ${z}`));
  });

  it("moments() leave the features alone and do not keep them", () => {
    const features = sample(1, 10, 3), copy = features.slice(), made = moments(features, 3);
    assert.deepEqual(features, copy);
    const before = made.mean.slice();
    features.fill(0);
    assert.deepEqual(made.mean, before);
  });

  it("moments() refuse too few vectors, ragged and non-finite features, and a bad dimension", () => {
    const refused = (features: number[], dimension: number, message: RegExp) =>
      assert.throws(() => moments(Float32Array.from(features), dimension), {
        name: "RangeError",
        message,
      });
    refused([], 2, /features must hold at least 2 vectors, got 0$/);
    refused([1, 2], 2, /features must hold at least 2 vectors, got 1$/);
    refused([1, 2, 3], 2, /whole vectors of 2 numbers, got 3 numbers$/);
    refused([1, 2, NaN, 4], 2, /finite, got NaN in vector 1$/);
    refused([Infinity, 2, 3, 4], 2, /finite, got Infinity in vector 0$/);
    for (const dimension of [0, -1, 1.5, NaN]) {
      refused([1, 2, 3, 4], dimension, /dimension must be/);
    }
  });
});

describe("frechet()", () => {
  it("frechet() of a sample with itself is 0", () => {
    const a = moments(sample(1, 400, 8), 8);
    assert.ok(frechet(a, a) < 1e-11, `${frechet(a, a)}`);
  });

  it("frechet() of diagonal covariances is Σ (mu1 − mu2)² + (sd1 − sd2)²", () => {
    const axis = fc.record({
      m1: fc.double({ min: -5, max: 5, noNaN: true }),
      m2: fc.double({ min: -5, max: 5, noNaN: true }),
      s1: fc.double({ min: 0, max: 3, noNaN: true }),
      s2: fc.double({ min: 0, max: 3, noNaN: true }),
    });
    fc.assert(
      fc.property(fc.array(axis, { minLength: 1, maxLength: 6 }), (axes) => {
        const wanted = axes.reduce(
          (sum, { m1, m2, s1, s2 }) => sum + (m1 - m2) ** 2 + (s1 - s2) ** 2,
          0,
        );
        const a = diagonal(axes.map(({ m1 }) => m1), axes.map(({ s1 }) => s1 ** 2));
        const b = diagonal(axes.map(({ m2 }) => m2), axes.map(({ s2 }) => s2 ** 2));
        close(frechet(a, b), wanted, 1e-10);
      }),
      { seed: 1, numRuns: 60 },
    );
  });

  it("frechet() of commuting covariances depends on their eigenvalues only", () => {
    // Both have the eigenvectors (1, 1)/√2 and (1, −1)/√2; eigenvalues 9, 1 and 4, 16.
    const a = gaussian([0, 0], [5, 4, 4, 5]), b = gaussian([0, 0], [10, -6, -6, 10]);
    close(frechet(a, b), (3 - 2) ** 2 + (1 - 4) ** 2, 1e-12);
  });

  it("frechet() of covariances that do not commute agrees with the two-by-two closed form", () => {
    // Tr (S1 S2)^½ = √(Tr(S1 S2) + 2 √det(S1 S2)): with S1 = diag(4, 1), S2 = [[2, 1], [1, 2]],
    // Tr(S1 S2) = 10 and det = 4·3 = 12, so the trace term is 5 + 4 − 2 √(10 + 2√12).
    const a = diagonal([1, 0], [4, 1]), b = gaussian([0, 2], [2, 1, 1, 2]);
    close(frechet(a, b), 5 + 9 - 2 * Math.sqrt(10 + 2 * Math.sqrt(12)), 1e-13);
  });

  it("frechet() is symmetric", () => {
    const a = moments(sample(2, 300, 6), 6), b = moments(sample(3, 200, 6, 0.5), 6);
    assert.ok(frechet(a, b) > 0.1);
    close(frechet(a, b), frechet(b, a), 1e-12);
  });

  it("frechet() does not change when both samples are rotated", () => {
    const x = sample(4, 300, 5), y = sample(5, 300, 5, 1).map((value, i) => value * (1 + i % 2));
    const plain = frechet(moments(x, 5), moments(y, 5));
    for (const angle of [0.3, 1.7, 3]) {
      close(
        frechet(moments(turned(x, 5, angle), 5), moments(turned(y, 5, angle), 5)),
        plain,
        1e-11,
      );
    }
    const oneOnly = frechet(moments(turned(x, 5, 1.7), 5), moments(y, 5));
    assert.ok(Math.abs(oneOnly - plain) > 0.1, "turning only one sample must be seen");
  });

  it("frechet() sees a shift as its square, whatever the covariance", () => {
    const x = Float64Array.from(sample(6, 100, 4));
    close(frechet(moments(x, 4), moments(x.map((value) => value + 3), 4)), 4 * 9, 1e-11);
  });

  it("frechet() grows with the square of the unit", () => {
    const x = Float64Array.from(sample(7, 200, 4)), y = Float64Array.from(sample(8, 200, 4, 1));
    const scaled = (by: number) =>
      frechet(moments(x.map((v) => by * v), 4), moments(y.map((v) => by * v), 4));
    close(scaled(1000), 1e6 * scaled(1), 1e-11);
  });

  it("frechet() of covariances without full rank keeps its digits", () => {
    // Nine vectors in 24 dimensions, so fifteen directions have no variance at all. Doubling every vector
    // doubles every standard deviation: Tr S + 4 Tr S − 2·2 Tr S = Tr S, beside |mu|² for the means.
    const x = Float64Array.from(sample(9, 9, 24)), few = moments(x, 24);
    const trace = few.mean.reduce((sum, mean, i) => sum + mean ** 2 + few.covariance[i * 25]!, 0);
    close(frechet(few, moments(x.map((value) => 2 * value), 24)), trace, 1e-12);
    // Two needles at the angle θ: Tr (S1^½ S2 S1^½)^½ = |cos θ|.
    const cos = Math.cos(0.4), sin = Math.sin(0.4);
    const needle = gaussian([0, 0], [cos * cos, cos * sin, cos * sin, sin * sin]);
    close(frechet(diagonal([0, 0], [1, 0]), needle), 2 - 2 * cos, 1e-14);
    assert.equal(frechet(diagonal([0, 0], [1, 0]), diagonal([0, 0], [0, 1])), 2);
    assert.equal(frechet(diagonal([0, 0], [0, 0]), diagonal([1, 1], [0, 0])), 2);
  });

  it("frechet() is biased by (2d + d(d + 1)/2)/n for two samples of one Gaussian", () => {
    const dimension = 3, n = 400, draws = 150;
    const draw = (i: number) => moments(normals(fold(key(12), i), n * dimension), dimension);
    const values = Array.from({ length: draws }, (_, i) => frechet(draw(2 * i), draw(2 * i + 1)));
    const mean = values.reduce((a, b) => a + b) / draws;
    const variance = values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (draws - 1);
    const z = (mean - (2 * dimension + dimension * (dimension + 1) / 2) / n) /
      Math.sqrt(variance / draws);
    assert.ok(Math.abs(z) < 4, `z = ${z}`);
    assert.ok(
      mean / Math.sqrt(variance / draws) > 20,
      "the bias must stand out from its own error",
    );
  });

  it("frechet() refuses other dimensions and what is not a covariance", () => {
    const plane = diagonal([0, 0], [1, 1]);
    const refused = (other: FeatureMoments, message: RegExp) => {
      assert.throws(() => frechet(plane, other), { name: "RangeError", message });
      assert.throws(() => frechet(other, plane), { name: "RangeError" });
    };
    refused(diagonal([0, 0, 0], [1, 1, 1]), /b must have dimension 2, got 3$/);
    refused(gaussian([0, 0], [1, 0, 0]), /covariance must be 2 by 2.*got 3 numbers$/);
    refused(gaussian([], []), /at least one row/);
    refused(gaussian([0, 0], [1, 0.5, 0, 1]), /covariance must be symmetric/);
    refused(gaussian([0, 0], [1, NaN, NaN, 1]), /covariance must be finite, got NaN$/);
    refused(
      gaussian([0, 0], [1, 2, 2, 1]),
      /positive semidefinite, got an eigenvalue of -(1|1\.0|0\.9)/,
    );
    refused(gaussian([0, 0], [-1, 0, 0, -1]), /positive semidefinite/);
    refused(gaussian([0, NaN], [1, 0, 0, 1]), /mean must be finite, got NaN$/);
    refused(gaussian([0, 0], [1, 0.3, 0.3 + 1e-5, 1]), /covariance must be symmetric/);
    refused(gaussian([0, 0], [1, 0, 0, -1e-5]), /positive semidefinite/);
  });

  it("frechet() takes covariances whose halves were added up in another order, or in float32", () => {
    const exact = gaussian([0, 0], [1, 0.3, 0.3, 1]), other = diagonal([1, 1], [2, 3]);
    const within = (got: number, error: number) =>
      assert.ok(Math.abs(got - frechet(exact, other)) <= error, `${got}`);
    // 0.1 + 0.2 is not 0.3.
    within(frechet(gaussian([0, 0], [1, 0.1 + 0.2, 0.3, 1]), other), 1e-15);
    within(frechet(gaussian([0, 0], [1, 0.3 - 3e-8, 0.3 + 3e-8, 1]), other), 1e-7);
    const x = Float64Array.from(sample(11, 9, 24)), { count, mean, covariance } = moments(x, 24);
    const coarse = { count, mean, covariance: Float64Array.from(Float32Array.from(covariance)) };
    // Fifteen directions have no variance, and float32 leaves some of them a little less than none.
    assert.ok(frechet(coarse, moments(x, 24)) < 1e-5);
  });
});

/** Compositions: against Gaussians in closed form, where an expert is 0, far out, and their scores against their energies'. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import * as tf from "@tensorflow/tfjs-core";
import "../../src/tensor/autodiff.ts";
import {
  conjunction,
  conjunctionScore,
  disjunction,
  disjunctionScore,
  negation,
  type SampleEnergy,
} from "../../src/energy/compose.ts";
import { useBackend } from "../../src/tensor/backend/backend.ts";
import { live } from "../measure.ts";

await useBackend("cpu");

/** N(mean, variance) in each of two numbers: energy, score, ln Z. */
const normal = (mean: readonly [number, number], variance: number) => ({
  energy: (x: tf.Tensor) => tf.div(tf.sum(tf.square(tf.sub(x, [mean])), 1), 2 * variance),
  score: (x: tf.Tensor) => tf.div(tf.sub([mean], x), variance),
  logZ: Math.log(2 * Math.PI * variance),
});

const a = normal([1, -2], 0.5), b = normal([-1, 0.5], 2), c = normal([0, 3], 1);
const x = tf.tensor2d([[0.3, -1], [2, 2], [-3, 0.1]]);

const numbers = (tensor: tf.Tensor): number[] => [...tensor.dataSync()];

const close = (got: readonly number[], wanted: readonly number[], most = 2e-6): void =>
  got.forEach((each, i) =>
    assert.ok(Math.abs(each - wanted[i]!) <= most * (1 + Math.abs(wanted[i]!)), `${got}; ${wanted}`)
  );

/** Energies up to a constant: what they have over the first. */
const over = (energy: SampleEnergy): number[] => {
  const all = numbers(energy(x));
  return all.map((e) => e - all[0]!);
};

const scoreBy = (energy: SampleEnergy): number[] =>
  numbers(tf.grad((x: tf.Tensor) => tf.neg(tf.sum(energy(x))))(x));

describe("conjunction()", () => {
  it("adds precisions and weighs means by them", () => {
    // Precisions 2, 1/2 and 1 with weights 1, 2 and 0.5: 3.5 in all.
    const weights = [1, 2, 0.5], precision = 2 + 2 * 0.5 + 0.5 * 1;
    const mean = [0, 1].map((i) =>
      (2 * [1, -2][i]! + 1 * [-1, 0.5][i]! + 0.5 * [0, 3][i]!) / precision
    ) as [number, number];
    const product = conjunction([a.energy, b.energy, c.energy], { weights });
    close(over(product), over(normal(mean, 1 / precision).energy));
    const score = conjunctionScore([a.score, b.score, c.score], { weights });
    close(numbers(score(x)), scoreBy(product));
    close(numbers(score(x)), numbers(normal(mean, 1 / precision).score(x)));
  });

  it("is 0 where one law is", () => {
    const wall: SampleEnergy = (x) =>
      tf.where(tf.greater(tf.sum(x, 1), 0), Infinity, tf.zeros([3]));
    const [inside, outside] = numbers(conjunction([a.energy, wall])(x));
    assert.equal(inside, numbers(a.energy(x))[0]);
    assert.equal(outside, Infinity);
  });
});

describe("negation()", () => {
  it("takes precision away", () => {
    const alpha = 0.8, precision = 2 - alpha * 0.5;
    const mean = [0, 1].map((i) => (2 * [1, -2][i]! - alpha * 0.5 * [-1, 0.5][i]!) / precision);
    const got = negation(a.energy, b.energy, alpha);
    close(over(got), over(normal(mean as [number, number], 1 / precision).energy));
    close(
      over(negation(a.energy, b.energy)),
      over(conjunction([a.energy, b.energy], { weights: [1, -1] })),
    );
    assert.deepEqual(over(negation(a.energy, b.energy, 0)), over(a.energy));
  });
});

describe("disjunction()", () => {
  const weights = [0.2, 0.5, 0.3], logZ = [a.logZ, b.logZ, c.logZ];
  const parts = [a, b, c],
    mixture = disjunction(parts.map(({ energy }) => energy), { weights, logZ });

  it("is −ln of the mixture's density, and its score that of the energy", () => {
    const energies = parts.map(({ energy }) => numbers(energy(x)));
    const wanted = [0, 1, 2].map((row) =>
      -Math.log(
        parts.reduce(
          (sum, { logZ }, i) => sum + weights[i]! * Math.exp(-energies[i]![row]! - logZ),
          0,
        ),
      )
    );
    close(numbers(mixture(x)), wanted);
    close(numbers(disjunctionScore(parts, { weights, logZ })(x)), scoreBy(mixture), 1e-5);
  });

  it("is of no account of a part that is 0, and 0 only where all are", () => {
    const never: SampleEnergy = () => tf.fill([3], Infinity);
    const half: SampleEnergy = () => tf.tensor1d([0, Infinity, 2]);
    assert.deepEqual(numbers(disjunction([never, half])(x)), [-0, Infinity, 2]);
    close(scoreBy(disjunction([a.energy, never])), scoreBy(a.energy));
  });

  it("keeps its digits far out, where e^(−E) is no number", () => {
    const far = tf.tensor2d([[300, 0], [0, -300]]),
      both = disjunction([a.energy, b.energy], { logZ: logZ.slice(0, 2) });
    const wanted = numbers(b.energy(far)).map((e) => e + b.logZ);
    close(numbers(both(far)), wanted);
    const score = numbers(disjunctionScore([a, b])(far));
    close(score, numbers(b.score(far)));
  });
});

describe("compositions", () => {
  it("refuse parts that are none, and numbers that are not one for each", () => {
    assert.throws(
      () => conjunction([]),
      /Cannot make a conjunction: parts must be at least one function, got \[\]/,
    );
    assert.throws(() => disjunction([a.energy, 3 as never]), /parts must be functions, got 3/);
    assert.throws(
      () => conjunction([a.energy], { weights: [1, 2] }),
      /weights must be one for each of 1 parts, got 2/,
    );
    assert.throws(
      () => conjunction([a.energy], { weights: [NaN] }),
      /weights must be finite numbers, got/,
    );
    assert.throws(() => negation(a.energy, b.energy, Infinity), /weights must be finite numbers/);
    assert.throws(
      () => disjunction([a.energy], { weights: [0] }),
      /weights must be finite numbers above 0/,
    );
    assert.throws(
      () => disjunction([a.energy], { logZ: [] }),
      /logZ must be one for each of 1 parts, got 0/,
    );
    assert.throws(
      () => disjunctionScore([{ energy: a.energy } as never]),
      /parts must be functions/,
    );
    assert.throws(() => disjunctionScore([a], { logz: [1] } as never), /logz/);
  });

  it("refuse parts that answer with another shape, which would be spread over the samples", () => {
    const slip: SampleEnergy = (x) => tf.sum(tf.square(x)),
      wide = (x: tf.Tensor) => tf.sum(x, 1, true);
    const wanted = /Cannot compose: a part must answer with shape \[3\], got /;
    for (const part of [slip, wide]) {
      assert.throws(() => conjunction([a.energy, part])(x), wanted);
      assert.throws(() => negation(a.energy, part)(x), wanted);
      assert.throws(() => disjunction([part, a.energy])(x), wanted);
    }
    const short = /must answer with shape \[3,2\], got \[3\]/;
    assert.throws(() => conjunctionScore([a.score, a.energy])(x), short);
    assert.throws(() => disjunctionScore([{ ...a, score: a.energy }])(x), short);
  });

  it("leave nothing behind", () => {
    const alive = live();
    tf.dispose([
      conjunction([a.energy, b.energy], { weights: [1, 2] })(x),
      disjunction([a.energy, b.energy])(x),
      disjunctionScore([a, b])(x),
    ]);
    assert.equal(live(), alive);
  });
});

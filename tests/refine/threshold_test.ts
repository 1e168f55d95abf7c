import { before, describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import * as tf from "@tensorflow/tfjs-core";
import fc from "fast-check";
import { pipe } from "fp-ts/lib/function.js";
import { gaussian, mixture } from "../../src/denoise/oracle/gaussian.ts";
import { convert, type Model } from "../../src/denoise/prediction.ts";
import { linear } from "../../src/noise/schedule/discrete.ts";
import { guided } from "../../src/refine/guide/combine.ts";
import { classifierFree, conditioned } from "../../src/refine/guide/free.ts";
import { thresholded, type ThresholdOptions } from "../../src/refine/threshold.ts";
import { ddim } from "../../src/sample/ancestral.ts";
import { prior, run } from "../../src/sample/run.ts";
import type { Sampler, State } from "../../src/sample/path.ts";
import { useBackend } from "../../src/tensor/backend/backend.ts";
import { key } from "../../src/tensor/key.ts";
import { live } from "../measure.ts";

const schedule = linear(), t = 300, level = schedule.at(t);

/** The x0 that a sampler sees when the model says eps such that x0 is what is given. */
async function seen(options: ThresholdOptions | undefined, x0: number[][]): Promise<number[][]> {
  const x = tf.tensor(x0);
  const model: Model = {
    schedule,
    predict: (x) => {
      const wanted = tf.tensor(x0), value = convert({ kind: "x0", value: wanted }, "eps", x, level);
      wanted.dispose();
      return { kind: "eps", value };
    },
  };
  const sampler = thresholded(options)(ddim(schedule, { times: [t, 0] }));
  let found: number[][] = [];
  const start: State = { x, t, step: 0 };
  for await (const state of run(start, { model, key: key(0) })(sampler)) {
    if (state.x0) found = state.x0.arraySync() as number[][];
  }
  x.dispose();
  return found;
}

/** numpy's and torch's quantile: linear between order statistics. */
function quantile(values: readonly number[], ratio: number): number {
  const sorted = values.map(Math.abs).sort((a, b) => a - b), position = ratio * (sorted.length - 1);
  const low = Math.floor(position), rest = position - low;
  return sorted[low]! + rest * ((sorted[low + 1] ?? sorted[low]!) - sorted[low]!);
}

const near = (found: number[][], wanted: number[][]): void =>
  wanted.forEach((row, i) =>
    row.forEach((value, j) =>
      assert.ok(Math.abs(found[i]![j]! - value) < 1e-5, `${found} instead of ${wanted}`)
    )
  );

describe("thresholded()", () => {
  before(() => useBackend("cpu"));
  const x0 = [[0.3, -2.5, 1.5, 0.9], [-0.2, 0.1, 0.4, -0.6]];

  it("clips x0 to [−1, 1], or to the range given", async () => {
    const clip = (range: number) =>
      x0.map((row) => row.map((v) => Math.max(-range, Math.min(range, v))));
    near(await seen(undefined, x0), clip(1));
    near(await seen({ kind: "clip" }, x0), clip(1));
    near(await seen({ kind: "clip", range: 2 }, x0), clip(2));
  });

  it("with dynamic clips each sample to its own quantile s and divides by s, for any ratio and maximum", async () => {
    const row = fc.array(fc.double({ min: -4, max: 4, noNaN: true }), {
      minLength: 7,
      maxLength: 7,
    });
    await fc.assert(
      fc.asyncProperty(
        fc.array(row, { minLength: 1, maxLength: 3 }),
        fc.oneof(fc.double({ min: 0, max: 1, noNaN: true }), fc.constantFrom(0, 0.5, 1)),
        fc.double({ min: 1, max: 3, noNaN: true }),
        async (x0, ratio, max) => {
          const wanted = x0.map((row) => {
            const s = Math.min(Math.max(quantile(row, ratio), 1), max);
            return row.map((value) => Math.max(-s, Math.min(s, value)) / s);
          });
          near(await seen({ kind: "dynamic", ratio, max }, x0), wanted);
        },
      ),
      { numRuns: 60, seed: 3 },
    );
  });

  it("with dynamic leaves a sample in the range alone, and by default clips like clip", async () => {
    near([(await seen({ kind: "dynamic", max: 5 }, x0))[1]!], [x0[1]!]);
    near(await seen({ kind: "dynamic" }, x0), await seen({ kind: "clip" }, x0));
  });

  it("keeps eps in step with the clipped x0: the next state is alpha·clip(x0) + sigma·eps with its own eps", async () => {
    const model = gaussian(schedule, { mean: 3, variance: 0.01 }), at = [500, 200] as const;
    const x = tf.tensor([[0.7], [-0.4]]),
      [from, to] = at.map((t) => schedule.at(t)) as [typeof level, typeof level];
    let found: number[] = [];
    const sampler = thresholded()(ddim(schedule, { times: [...at] }));
    for await (const state of run({ x, t: 500, step: 0 }, { model, key: key(0) })(sampler)) {
      found = [...state.x.dataSync()];
    }
    [0.7, -0.4].forEach((value, i) => {
      const wanted = to.alpha * 1 + to.sigma * (value - from.alpha * 1) / from.sigma;
      assert.ok(Math.abs(found[i]! - wanted) < 1e-5);
    });
    x.dispose();
  });

  const oracle = mixture(schedule, { means: [[-1], [1]], variances: [0.1, 0.1] });
  async function last(sampler: Sampler): Promise<number[]> {
    let found: number[] = [];
    for await (const { x } of run(prior([4, 1]), { model: oracle, key: key(6) })(sampler)) {
      found = [...x.dataSync()];
    }
    return found;
  }
  const sampler = ddim(schedule, { steps: 10 }),
    strong = guided(classifierFree([0, 1, 1, 0], { scale: 8 }));

  it("acts on what guidance gave when it is piped before it", async () => {
    const wild = await last(strong(sampler)),
      tame = await last(pipe(sampler, thresholded(), strong));
    assert.ok(wild.some((value) => Math.abs(value) > 1.05), `${wild}`);
    assert.ok(tame.every((value) => Math.abs(value) <= 1 + 1e-6), `${tame}`);
  });

  it("leaves the model conditional, so that guidance can come before it too", async () => {
    const before = live();
    const found = await last(
      pipe(sampler, conditioned([0, 1, 1, 0]), thresholded({ kind: "clip", range: 0.5 })),
    );
    found.forEach((value, i) => assert.equal(Math.sign(value), [-1, 1, 1, -1][i]));
    assert.ok(found.every((value) => Math.abs(value) <= 0.5 + 1e-6));
    assert.equal(live(), before);
  });

  it("keeps images in shape and takes each one's quantile over all its elements", async () => {
    const pixels = Array.from({ length: 24 }, (_, i) => (i - 11) / 4);
    const x = tf.tensor(pixels, [2, 2, 3, 2]);
    const model: Model = { schedule, predict: (x) => ({ kind: "x0", value: tf.clone(x) }) };
    let found: number[] = [];
    const dynamic = thresholded({ kind: "dynamic", ratio: 0.8, max: 9 })(
      ddim(schedule, { times: [t, 0] }),
    );
    for await (const state of run<State>({ x, t, step: 0 }, { model, key: key(0) })(dynamic)) {
      if (state.x0) assert.deepEqual(state.x0.shape, [2, 2, 3, 2]);
      found = [...state.x.dataSync()];
    }
    const wanted = [pixels.slice(0, 12), pixels.slice(12)].flatMap((image) => {
      const s = Math.max(quantile(image, 0.8), 1);
      return image.map((value) => Math.max(-s, Math.min(s, value)) / s);
    });
    near([found], [wanted]);
    x.dispose();
  });

  it("refuses numbers outside their domain before any work", () => {
    const refused = (options: unknown, message: RegExp) =>
      assert.throws(() => thresholded(options as ThresholdOptions), {
        name: "RangeError",
        message,
      });
    refused(
      { kind: "clip", range: 0 },
      /^Cannot threshold: range must be a number above 0, got 0$/,
    );
    refused({ kind: "clip", range: NaN }, /range/);
    refused({ kind: "dynamic", ratio: 1.2 }, /ratio must be in \[0, 1\], got 1.2$/);
    refused({ kind: "dynamic", ratio: NaN }, /ratio/);
    refused({ kind: "dynamic", max: 0.5 }, /max must be a number of at least 1, got 0.5$/);
    refused({ kind: "dynamic", max: Infinity }, /max/);
    refused(
      { kind: "dynamic", ratio: 1.2, max: 0 },
      /^Cannot threshold: ratio must be in \[0, 1\], got 1.2; max must be .* at least 1, got 0$/,
    );
    refused({ kind: "soft" }, /kind must be "clip" or "dynamic", got "soft"$/);
  });
});

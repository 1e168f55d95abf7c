import { before, describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import * as tf from "@tensorflow/tfjs-core";
import { pipe } from "fp-ts/lib/function.js";
import { brightened } from "../../examples/14_brightness.ts";
import { saSolver } from "../../examples/13_sa_solver.ts";
import { ddim, gaussian, key, last, prior, run, type Sampler, vp } from "../../mod.ts";
import { useBackend } from "../../src/tensor/backend/backend.ts";
import { live } from "../measure.ts";

const schedule = vp();
const law = { mean: 0.5, variance: 0.25 }, model = gaussian(schedule, law);

describe("samplers and refinements on the kit alone", () => {
  before(() => useBackend("cpu"));

  it("SA-Solver without noise is of order p + 1 on the probability-flow ODE", async () => {
    const [start, end] = [1, 0.05].map((t) => schedule.at(t));
    const spread = ({ alpha, sigma }: { alpha: number; sigma: number }): number =>
      Math.sqrt(alpha ** 2 * law.variance + sigma ** 2);
    const from = [-1.5, 0.2, 2];
    const exact = from.map((x) =>
      end!.alpha * law.mean + (x - start!.alpha * law.mean) * spread(end!) / spread(start!)
    );
    const off = async (steps: number, order: number): Promise<number> => {
      const grid = { steps, spacing: "logLinear", final: 0.05 } as const;
      const x0 = tf.tensor(from, [3, 1]);
      const { x } = await last(
        run({ x: x0, t: 1, step: 0 }, { model, key: key(0) })(
          saSolver(schedule, grid, { order, tau: 0 }),
        ),
      );
      const error = Math.max(...[...x.dataSync()].map((v, i) => Math.abs(v - exact[i]!)));
      tf.dispose([x, x0]);
      return error;
    };
    for (const [order, few] of [[1, 16], [2, 20]] as const) {
      const slope = Math.log2(await off(few, order) / await off(2 * few, order));
      assert.ok(slope > order + 0.6 && slope < order + 1.6, `order ${order}: ${slope}`);
    }
  });

  it("SA-Solver with noise keeps the law of the data, in flat memory", async () => {
    const grid = { steps: 200, spacing: "logLinear", final: 0.01 } as const, count = 10_000;
    const { alpha, sigma } = schedule.at(0.01);
    for (const tau of [0.5, 1]) {
      const before = live(), counts: number[] = [];
      let values = new Float32Array();
      const states = run(prior([count, 1]), { model, key: key(11) });
      for await (const { x } of states(saSolver(schedule, grid, { tau }))) {
        counts.push(live());
        values = x.dataSync() as Float32Array<ArrayBuffer>;
      }
      assert.equal(live(), before);
      assert.equal(new Set(counts.slice(3)).size, 1);
      const mean = values.reduce((a, b) => a + b) / count;
      const variance = values.reduce((a, b) => a + (b - mean) ** 2, 0) / (count - 1);
      const exact = alpha ** 2 * law.variance + sigma ** 2;
      const z = [
        (mean - alpha * law.mean) / Math.sqrt(exact / count),
        (variance / exact - 1) / Math.sqrt(2 / count),
      ];
      assert.ok(z.every((each) => Math.abs(each) < 4), `tau ${tau}: z = ${z}`);
    }
  });

  it("brightness is what was asked for at scale 1, and nothing changes at scale 0 or outside the interval", async () => {
    const ends = async (sampler: Sampler): Promise<number[]> => {
      const { x } = await last(run(prior([3, 2, 2, 1]), { model, key: key(1) })(sampler));
      const values = [...x.dataSync()];
      x.dispose();
      return values;
    };
    const base = ddim(schedule, { steps: 10 }), plain = await ends(base);
    const bright = await ends(pipe(base, brightened({ mean: -0.3 })));
    for (const k of [0, 1, 2]) {
      const mean = bright.slice(4 * k, 4 * k + 4).reduce((a, b) => a + b) / 4;
      assert.ok(Math.abs(mean + 0.3) < 1e-5, `${mean}`);
    }
    assert.notDeepEqual(bright, plain);
    const near = (found: number[]): void =>
      found.forEach((v, i) => assert.ok(Math.abs(v - plain[i]!) < 1e-6));
    near(await ends(pipe(base, brightened({ mean: -0.3, scale: 0 }))));
    near(await ends(pipe(base, brightened({ mean: -0.3, sigma: [500, 600] }))));
  });
});

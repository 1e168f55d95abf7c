import { before, describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import * as tf from "@tensorflow/tfjs-core";
import { pipe } from "fp-ts/lib/function.js";
import { convert, type Kind, type Model } from "../../src/denoise/prediction.ts";
import { times } from "../../src/noise/grid.ts";
import { cosine, linear } from "../../src/noise/schedule/discrete.ts";
import type { Schedule } from "../../src/noise/schedule/schedule.ts";
import { type Env, onModel, type Sampler } from "../../src/sample/path.ts";
import { run } from "../../src/sample/run.ts";
import { thresholded } from "../../src/refine/threshold.ts";
import { ddim, ddimInverse, ddpm } from "../../src/sample/ancestral.ts";
import { dpmSolver } from "../../src/sample/solver/dpm.ts";
import { useBackend } from "../../src/tensor/backend/backend.ts";
import { key } from "../../src/tensor/key.ts";
import { ramp, scaling, torchNormals, twister } from "../golden/fixture.ts";
import { type Config, preconditioned, reproduced } from "../golden/diffusers.ts";
import cases from "../golden/schedulers.json" with { type: "json" };
import solvers from "../golden/solvers.json" with { type: "json" };
import { live } from "../measure.ts";

const L = linear(), steps = 10, leading = { steps, spacing: "leading" } as const;
const multi = { steps, spacing: "linspace", dropped: 1 } as const;
const low = { ...multi, final: 1 } as const;
const lowest = (s: Schedule, g: Parameters<typeof times>[1]) =>
  dpmSolver(s, { ...g, lowerOrderFinal: false });
const clip = thresholded({ kind: "clip" });

/**
 * The model whose x0 makes DDIM's step alpha_s·x0 + r·(x − alpha_t·x0) equal to alpha_s·clip(x0) + r·sigma_t·eps: clipping that
 * leaves eps as it was. Ours moves eps along, so that both stay readings of one prediction.
 */
function keepingEps(model: Model, grid: readonly number[], eta: number): Model {
  return {
    ...model,
    predict: async (x, t) => {
      const { schedule } = model,
        from = schedule.at(t),
        to = schedule.at(grid[grid.indexOf(t) + 1]!);
      const beta = 1 - (from.alpha / to.alpha) ** 2;
      const variance = eta ** 2 * beta * (to.sigma / from.sigma) ** 2;
      const r = Math.sqrt(to.sigma ** 2 - variance) / from.sigma;
      const weight = to.alpha / (to.alpha - from.alpha * r);
      const prediction = await model.predict(x, t);
      const value = tf.tidy(() => {
        const x0 = convert(prediction, "x0", x, from);
        return tf.add(x0, tf.mul(tf.sub(tf.clipByValue(x0, -1, 1), x0), weight));
      });
      tf.dispose({ ...prediction });
      return { kind: "x0", value };
    },
  };
}

/** How to reproduce each case with the library. */
interface Recipe {
  readonly schedule?: Schedule;
  /** Options of `times`, checked against the reference's timesteps. */
  readonly grid: Parameters<typeof times>[1];
  readonly sampler: (schedule: Schedule, grid: Parameters<typeof times>[1]) => Sampler;
  /** The first sample is at the data's end, and the model is asked at the later time. */
  readonly upwards?: true;
}

const clipped = (schedule: Schedule, grid: Parameters<typeof times>[1]) =>
  clip(ddim(schedule, grid));
const short = linear({ betaStart: 0.01, betaEnd: 0.02 });
const fifty = { steps: 50, spacing: "leading" } as const;

const recipes: Readonly<Record<string, Recipe>> = {
  "ddpm/no_noise": { grid: {}, sampler: (s, g) => clip(ddpm(s, g)) },
  "ddpm/v": { grid: {}, sampler: (s, g) => clip(ddpm(s, g)) },
  "x/ddpm/cosine": { schedule: cosine(), grid: fifty, sampler: (s, g) => clip(ddpm(s, g)) },
  "x/ddpm/thresholding": {
    grid: fifty,
    sampler: (s, g) => thresholded({ kind: "dynamic", ratio: 0.95, max: 2 })(ddpm(s, g)),
  },
  "ddim/no_noise": { grid: leading, sampler: clipped },
  "ddim/v": { grid: leading, sampler: clipped },
  // Their last step goes from index 0 to the same level, which is the identity.
  "ddim/no_set_alpha_to_one": {
    schedule: short,
    grid: leading,
    sampler: (s) => ddim(s, { times: times(s, leading).slice(0, -1) }),
  },
  "x/ddim/trailing": { grid: { steps, spacing: "trailing" }, sampler: clipped },
  // Noise takes x0 out of the range here, and the reference clips it but keeps the eps that came with it.
  "x/ddim/eta0.5": {
    grid: leading,
    sampler: (s, g) => onModel((m) => keepingEps(m, times(s, g), 0.5))(ddim(s, { ...g, eta: 0.5 })),
  },
  "ddim_inverse/no_noise": { grid: leading, sampler: ddimInverse, upwards: true },
  "dpm_multi/no_noise": { grid: low, sampler: lowest },
  "dpm_multi/v": { grid: low, sampler: lowest },
  "x/dpm_multi/o1_midpoint": { grid: low, sampler: (s, g) => dpmSolver(s, { ...g, order: 1 }) },
  "x/dpm_multi/defaults(lower_order_final,zero)": { grid: multi, sampler: dpmSolver },
};

const close = (actual: number, expected: number, scale: number, what: string): void =>
  assert.ok(
    Math.abs(actual - expected) <= 1e-4 * scale,
    `${what}: ${actual} instead of ${expected}`,
  );

const valuesOf = (x: tf.Tensor): number[] => [...x.dataSync()];

const sumAbs = (x: tf.Tensor): number =>
  valuesOf(x).reduce((sum, value) => sum + Math.abs(value), 0);

describe("torch's normals", () => {
  before(() => useBackend("cpu"));

  it("twister() gives the published first words of seed 5489", () => {
    const word = twister(5489);
    assert.deepEqual([word(), word(), word()], [3499211612, 581869302, 3890346734]);
  });
});

describe("samplers against diffusers' numbers", () => {
  before(() => useBackend("cpu"));
  let reached = 0;

  for (const { case: name, kind, first, last, starts, ends, sums, total } of cases) {
    it(`${name} agrees to 1e-4 after every step on record`, async () => {
      const { schedule = L, grid, sampler, upwards } = recipes[name]!;
      const path = upwards ? times(schedule, grid).toReversed().slice(1) : times(schedule, grid);
      assert.deepEqual(path.slice(0, starts.length), starts);
      const exits = upwards
        ? path.slice(-3)
        : path.filter((t) => t > 0 && (t > 1 || ends.includes(1)));
      assert.deepEqual(exits.slice(-3), ends);

      const env: Env = {
        model: scaling(schedule, kind as Kind),
        key: key(0),
        noise: torchNormals(0),
      };
      const x = ramp(), start = { x, t: upwards ? 0 : path[0]!, step: 0 };
      const seen = new Map<string, number>();
      let result: number[] = [];
      for await (const state of pipe(sampler(schedule, grid), run(start, env))) {
        seen.set(String(state.step - 1), sumAbs(state.x));
        result = valuesOf(state.x);
      }
      x.dispose();
      for (const [step, sum] of Object.entries(sums)) {
        if (name === "ddim/no_set_alpha_to_one" && step === "9") continue;
        close(seen.get(step)!, sum!, sum!, `sum after step ${step}`);
      }
      close([...seen.values()].at(-1)!, total, total, "sum at the end");
      first.forEach((value, i) => close(result[i]!, value, 1, `element ${i}`));
      last.forEach((value, i) => close(result.at(i - 4)!, value, 1, `element ${i - 4}`));
      reached++;
    });
  }

  it("every case on record was reached", () => {
    assert.equal(reached, Object.keys(recipes).length);
    assert.equal(reached, cases.length);
  });
});

describe("solvers against diffusers' numbers, by its own configurations", () => {
  before(() => useBackend("cpu"));
  let reached = 0;

  for (const { case: name, class: type, config, steps, init, sums, first, last } of solvers) {
    it(`${name} agrees to 1e-4 after every step`, async () => {
      const { schedule, nodes, sampler, kind, time, overAlpha, entry } = reproduced(
        type,
        config as Config,
        steps,
      );
      const inner = scaling(schedule, kind, time);
      const model = type.startsWith("EDM") ? preconditioned(inner) : inner;
      const scale = (t: number): number => overAlpha ? schedule.at(t).alpha : 1;
      const data = ramp(), x = tf.mul(data, init * scale(nodes[0]!));
      const env: Env = { model, key: key(0), noise: torchNormals(0) };
      let result: number[] = [], seen = 0;
      for await (const state of run({ x, t: nodes[0]!, step: 0 }, env)(sampler)) {
        if (state.step === 0) continue;
        result = valuesOf(state.x).map((value) => value / scale(state.t));
        const expected = sums[entry(nodes.indexOf(state.t))]!;
        const sum = result.reduce((total, value) => total + Math.abs(value), 0);
        close(sum, expected, expected, `sum at t = ${state.t}`);
        seen = state.t;
      }
      tf.dispose([data, x]);
      assert.equal(seen, nodes.at(-1));
      first.forEach((value, i) => close(result[i]!, value, 1, `element ${i}`));
      last.forEach((value, i) => close(result.at(i - 4)!, value, 1, `element ${i - 4}`));
      reached++;
    });
  }

  it("every case on record was reached, and no tensor was left", () => {
    assert.equal(reached, solvers.length);
    assert.equal(new Set(solvers.map((each) => each.case)).size, solvers.length);
    assert.equal(live(), 0);
  });
});

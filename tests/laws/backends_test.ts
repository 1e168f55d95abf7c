/**
 * One sample is one sample: it depends neither on its batch nor, beyond float rounding, on the engine.
 */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import * as tf from "@tensorflow/tfjs-core";
import { mixture } from "../../src/denoise/oracle/gaussian.ts";
import type { Model } from "../../src/denoise/prediction.ts";
import { initialize, type Parameters, type Params } from "../../src/network/layer/parameter.ts";
import { networkModel } from "../../src/network/model.ts";
import { unet } from "../../src/network/unet.ts";
import { linear } from "../../src/noise/schedule/discrete.ts";
import { ddim, ddpm } from "../../src/sample/ancestral.ts";
import { prior, run } from "../../src/sample/run.ts";
import type { Sampler } from "../../src/sample/path.ts";
import { dpmSolver } from "../../src/sample/solver/dpm.ts";
import { type Backend, checkGpu, useBackend } from "../../src/tensor/backend/backend.ts";
import { key } from "../../src/tensor/key.ts";

const schedule = linear();

/** A model, made anew on each engine, what to sample it with, and the largest difference allowed between two runs. */
interface Case {
  readonly model: () => { readonly model: Model; readonly params: Params };
  readonly sample: readonly number[];
  readonly steps: number;
  readonly samplers: (options: { steps: number }) => Record<string, Sampler>;
  readonly tolerance: number;
}

const bimodal = {
  weights: [0.3, 0.5, 0.2],
  means: [[-2, 1], [1.5, 0.5], [0, -2]],
  variances: [0.1, 0.3, 0.05],
};
const network = unet({ size: [4, 4], base: 8, multipliers: [1, 2], blocks: 1, groups: 4 });

/** The network's own start has zeros in it, its last layer among them; here every weight is random. */
const everywhere = (parameters: Parameters): Parameters =>
  Object.fromEntries(
    Object.entries(parameters).map(([name, p]) => [name, { ...p, std: p.std || 0.1 }]),
  );

const cases: Record<string, Case> = {
  "a Gaussian mixture": {
    model: () => ({ model: mixture(schedule, bimodal), params: {} }),
    sample: [2],
    steps: 12,
    samplers: (options) => ({
      "ddpm()": ddpm(schedule, options),
      "ddim()": ddim(schedule, options),
      "ddim() with eta 0.5": ddim(schedule, { ...options, eta: 0.5 }),
      "dpmSolver()": dpmSolver(schedule, options),
    }),
    tolerance: 1e-5,
  },
  "a U-Net": {
    model: () => {
      const params = initialize(everywhere(network.parameters), key(77));
      return { model: networkModel(network, params, { schedule, kind: "v" }), params };
    },
    sample: [4, 4, 1],
    steps: 3,
    samplers: (options) => ({ "ddpm()": ddpm(schedule, options) }),
    tolerance: 1e-5,
  },
};

/** The last x of a run of `count` samples from number `first` on, on one engine. */
async function drawn(
  engine: Backend,
  { model: make, sample, steps }: Case,
  sampler: Sampler,
  { first, count }: { first: number; count: number },
): Promise<number[][]> {
  await useBackend(engine);
  const { model, params } = make();
  let last: tf.TypedArray = new Float32Array(0);
  for await (
    const { x, step } of run(prior([count, ...sample]), { model, key: key(5), first })(sampler)
  ) {
    if (step === steps) last = await x.data();
  }
  tf.dispose({ ...params });
  await checkGpu();
  const size = sample.reduce((a, b) => a * b);
  return Array.from({ length: count }, (_, i) => [...last.slice(i * size, (i + 1) * size)]);
}

const distance = (a: readonly number[], b: readonly number[]): number =>
  Math.max(...a.map((v, i) => Math.abs(v - b[i]!)));

function assertClose(got: number[][], want: number[][], tolerance: number): void {
  assert.equal(got.length, want.length);
  got.forEach((row, i) => {
    assert.equal(row.length, want[i]!.length);
    const apart = distance(row, want[i]!);
    assert.ok(apart <= tolerance, `sample ${i} is ${apart} away, more than ${tolerance}`);
  });
}

const adapter = await navigator.gpu?.requestAdapter();
const required = Deno.env.get("TWEEDIE_REQUIRE_WEBGPU") === "1";

/** A test on an engine. Without a GPU adapter WebGPU's are skipped by name, or fail where one is required. */
function on(engine: Backend, name: string, body: () => Promise<void>): void {
  if (engine !== "webgpu" || adapter || required) it(name, body);
  else it.skip(`${name} (SKIPPED: no GPU adapter here)`, body);
}

const whole = { first: 0, count: 16 };

for (const [what, each] of Object.entries(cases)) {
  for (const [name, sampler] of Object.entries(each.samplers({ steps: each.steps }))) {
    describe(`${name} of ${what}`, () => {
      let reference: number[][] | undefined;
      const wanted = async () => reference ??= await drawn("cpu", each, sampler, whole);

      it(`${name} of ${what} gives 16 different samples on cpu`, async () => {
        const rows = await wanted();
        rows.forEach((a, i) =>
          rows.slice(0, i).forEach((b) => assert.ok(distance(a, b) > 100 * each.tolerance))
        );
      });

      for (const engine of ["cpu", "wasm", "webgpu"] as const) {
        on(
          engine,
          `${name} of ${what} is the same on ${engine}, in a batch and alone`,
          async () => {
            if (engine === "webgpu") await useBackend("webgpu");
            if (engine === "webgpu") tf.env().set("WEBGPU_CPU_FORWARD", false);
            // On cpu each row goes through the same operations; between engines their order differs.
            const want = await wanted(), tolerance = engine === "cpu" ? 0 : each.tolerance;
            assertClose(await drawn(engine, each, sampler, whole), want, tolerance);
            for (const first of [0, 11]) {
              const alone = await drawn(engine, each, sampler, { first, count: 1 });
              assertClose(alone, want.slice(first, first + 1), tolerance);
            }
          },
        );
      }
    });
  }
}

/**
 * A classifier of noisy images on the compiling engine: it learns, and guides the steps of samplers, as on tfjs's own.
 */

import { after, before, describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import * as tf from "@tensorflow/tfjs-core";
import { gaussian } from "../../src/denoise/oracle/gaussian.ts";
import { compiler } from "../../src/engine/compile/compile.ts";
import { start } from "../../src/engine/runtime/session.ts";
import { noisyClassifier, timedClassifier } from "../../src/network/classifier.ts";
import { ve } from "../../src/noise/schedule/continuous.ts";
import { linear } from "../../src/noise/schedule/discrete.ts";
import type { Schedule } from "../../src/noise/schedule/schedule.ts";
import { guided } from "../../src/refine/guide/combine.ts";
import { byClassifier, classifierEnergy, meanShifted } from "../../src/refine/guide/gradient.ts";
import { ddim, ddpm } from "../../src/sample/ancestral.ts";
import { prior, run } from "../../src/sample/run.ts";
import type { Sampler } from "../../src/sample/path.ts";
import { dpmSolver } from "../../src/sample/solver/dpm.ts";
import { useBackend } from "../../src/tensor/backend/backend.ts";
import type { Engine } from "../../src/tensor/engine.ts";
import { key } from "../../src/tensor/key.ts";
import { normals } from "../../src/tensor/random.ts";
import type { ImageBatch } from "../../src/data/batches.ts";
import { noisyClassifierLoss } from "../../src/train/diffusion.ts";
import { disposeTraining, newTraining } from "../../src/train/loop/state.ts";
import { train } from "../../src/train/loop/train.ts";
import { assertClose, randomWeights } from "../network/weights.ts";
import { live } from "../measure.ts";

const engine = compiler(await start());
after(() => engine.close());

const network = timedClassifier({ size: [8, 8], classes: 3, base: 8, features: 6 });

const batch = (position: number): ImageBatch => ({
  images: Float32Array.from(normals(key(position), 4 * 64)),
  shape: [4, 8, 8, 1],
  labels: Int32Array.of(0, 1, 2, 1),
  position,
});

describe("a compiled classifier of noisy images", () => {
  before(() => useBackend("wasm"));

  it("six Adam steps of noisyClassifierLoss() on the onnx engine are those of wasm", async () => {
    const params = randomWeights(network.parameters), first = newTraining(params);
    const ran = async (on: { readonly engine?: Engine }) => {
      const steps = train(first, {
        loss: noisyClassifierLoss(network, { schedule: ve() }),
        key: key(5),
        adam: { rate: 1e-3, clip: 0.5 },
        every: 6,
        ...on,
      })(Array.from({ length: 6 }, (_, i) => batch(i)));
      let losses: readonly number[] = [], weights = new Map<string, Float32Array>();
      for await (const state of steps) {
        losses = [...losses, ...state.losses];
        const copies = Object.entries(state.params).map(([name, t]) =>
          [name, t.dataSync<"float32">().slice()] as const
        );
        weights = new Map(copies);
      }
      return { losses, weights };
    };
    const wanted = await ran({}), alive = live(), got = await ran({ engine });
    assert.equal(live(), alive);
    assert.equal(new Set(wanted.losses).size, 6);
    assertClose(got.losses, wanted.losses, 1e-5);
    for (const [name, weight] of wanted.weights) {
      // The bias that a norm of single channels takes out has a gradient of rounding, of which Adam makes whole steps.
      if (name === "conv.0.bias") continue;
      assertClose(got.weights.get(name)!, weight, 1e-5);
      const before = params[name]!.dataSync();
      assert.ok(weight.some((value, i) => Math.abs(value - before[i]!) > 1e-3), name);
    }
    disposeTraining(first);
    tf.dispose(params);
  });

  const labels = [2, null, 0];
  const samplers: Record<
    string,
    (schedule: Schedule, weights: tf.NamedTensorMap) => [Sampler, Sampler]
  > = {
    "ddim(), guided": (schedule, weights) => {
      const sampler = ddim(schedule, { steps: 6 });
      const classify = noisyClassifier(network, weights, { schedule });
      return [sampler, guided(byClassifier(classify, labels, { scale: 3 }))(sampler)];
    },
    "dpmSolver() of ve(), guided by a classifier of linear()": (schedule, weights) => {
      const under = ve(), sampler = dpmSolver(under, { steps: 5 });
      const classify = noisyClassifier(network, weights, { schedule, under });
      return [sampler, guided(byClassifier(classify, labels, { scale: 3 }))(sampler)];
    },
    "ddpm(), its mean shifted": (schedule, weights) => {
      const sampler = ddpm(schedule, { steps: 6 });
      const energy = classifierEnergy(noisyClassifier(network, weights, { schedule }), labels);
      return [sampler, meanShifted(energy, { scale: 3 })(sampler)];
    },
  };

  for (const [name, make] of Object.entries(samplers)) {
    it(`${name}: the compiled steps are those of wasm`, async () => {
      const params = randomWeights(network.parameters), [plain, pulled] = make(linear(), params);
      const schedule = name.includes("ve()") ? ve() : linear();
      const model = gaussian(schedule, { mean: 0.2, variance: 0.5 });
      const ends = async (
        sampler: Sampler,
        on: { readonly engine?: Engine },
      ): Promise<number[]> => {
        let end: number[] = [];
        for await (
          const { x } of run(prior([3, 8, 8, 1]), { model, key: key(3), ...on })(sampler)
        ) {
          end = [...await x.data()];
        }
        return end;
      };
      const alive = live();
      const [alone, wanted, got] = [
        await ends(plain, {}),
        await ends(pulled, {}),
        await ends(pulled, { engine }),
      ];
      assert.equal(live(), alive);
      assertClose(got, wanted, 1e-4);
      // The samples with a class have moved by far more than that, and the other has not.
      const moved = [0, 1, 2].map((i) =>
        Math.max(
          ...wanted.slice(64 * i, 64 * i + 64).map((x, j) => Math.abs(x - alone[64 * i + j]!)),
        )
      );
      assert.ok(moved[0]! > 0.01 && moved[1]! < 1e-6 && moved[2]! > 0.01, `${moved}`);
      tf.dispose(params);
    });
  }
});

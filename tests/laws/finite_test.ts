/**
 * NaN and infinity in whatever a user hands over end in an error that names it, on every backend: none is clipped, compared,
 * cast or masked into a number that looks like one.
 */

import { after, describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import * as tf from "@tensorflow/tfjs-core";
import {
  byClassifier,
  byEnergy,
  classifierFree,
  corrected,
  ddim,
  ddpm,
  edited,
  type Engine,
  fixedLangevin,
  flow,
  guided,
  inpainted,
  key,
  last,
  likelihood,
  mask,
  mixture,
  type Model,
  observed,
  prior,
  type Refinement,
  repainted,
  run,
  type Sampler,
  type Schedule,
  thresholded,
  uniPc,
  vp,
} from "../../mod.ts";
import type { Energy, Kind } from "../../src/denoise/mod.ts";
import { compiler } from "../../src/engine/compile/compile.ts";
import { start as startOnnx } from "../../src/engine/runtime/session.ts";
import { type Backend, useBackend } from "../../src/tensor/backend/backend.ts";
import { everyRefinement, type Known } from "./parts.ts";
import { live } from "../measure.ts";

const schedule = vp(), grid = { steps: 3, spacing: "logLinear" } as const, root = key(9);
const adapter = await navigator.gpu?.requestAdapter();
const required = Deno.env.get("TWEEDIE_REQUIRE_WEBGPU") === "1";

interface Place {
  readonly backend: Backend;
  readonly engine?: Engine;
}

const executor = await startOnnx(), onnx = compiler(executor);
after(() => onnx.close());
const places: Readonly<Record<string, Place>> = {
  cpu: { backend: "cpu" },
  wasm: { backend: "wasm" },
  webgpu: { backend: "webgpu" },
  onnx: { backend: "wasm", engine: onnx },
};

const data = mixture(schedule, { means: [[-1, 0], [1, 0.5]], variances: [0.1, 0.2] });

/** A model that says one bad number, in one element of one sample, at its call number `at`. */
function spoilt(bad: number, at: number, kind: Kind | "all" = "x0"): Model {
  let calls = 0;
  const spoiling = (model: Model): Model => ({
    ...model,
    predict: (x, t) => {
      const said = model.predict(x, t) as { value: tf.Tensor };
      if (calls++ !== at) return { kind: "x0", value: said.value };
      const value = tf.tidy(() => {
        const flat = Array.from({ length: x.size }, (_, i) => kind === "all" || i === 1 ? bad : 0);
        // By way of x, so that gradients are spoilt too.
        return tf.add(said.value, tf.mul(x, tf.tensor(flat, x.shape)));
      });
      said.value.dispose();
      return { kind: kind === "all" ? "x0" : kind, value };
    },
    ...(model.given && { given: (condition) => spoiling(model.given!(condition)) }),
  });
  return spoiling(data);
}

const rows = 4;
const known = (): Known => ({
  count: rows,
  mask: tf.tensor([[0, 1]]),
  values: tf.tensor([[0, 0.4]]),
});

for (const [name, { backend, engine }] of Object.entries(places)) {
  const body = backend === "webgpu" && !adapter && !required ? it.skip : it;
  const options = (model: Model) => ({ model, key: root, ...(engine && { engine }) });
  const ended = (sampler: Sampler, model: Model = data) =>
    last(run(prior([rows, 2]), options(model))(sampler));
  const bads = backend === "webgpu" ? [NaN] : [NaN, Infinity, -Infinity];

  describe(`on ${name}, what is not finite`, () => {
    body(`${name}: a start is refused by name`, async () => {
      await useBackend(backend);
      for (const bad of bads) {
        const x = tf.tensor([[0, bad]]), before = live();
        await assert.rejects(
          () => last(run({ x, t: 1, step: 0 }, options(data))(ddim(schedule, grid))),
          /^RangeError: Cannot run: the start's x must be finite, got NaN or infinity at step 0, t = 1$/,
        );
        await assert.rejects(
          () =>
            last(run(edited(x, { t: 0.5 }), options(data))(ddim(schedule, { ...grid, from: 0.5 }))),
          /the start's x must be finite/,
        );
        assert.equal(live(), before);
        x.dispose();
      }
    });

    body(`${name}: a prediction is, at any step, under every refinement`, async () => {
      await useBackend(backend);
      const given = known();
      for (const [what, { make }] of everyRefinement) {
        // A density needs a model that a gradient goes through, at each of its own questions too.
        if (what === "likelihood" && engine) continue;
        for (const bad of bads) {
          for (const at of [0, 2]) {
            const before = live();
            await assert.rejects(
              () => ended(make(given)(ddim(schedule, grid)), spoilt(bad, at)),
              /^RangeError: Cannot go on with the run: x_t must be finite, got NaN or infinity at step \d/,
              `${what}, ${bad} at call ${at}`,
            );
            assert.equal(live(), before, what);
          }
        }
      }
      tf.dispose([given.mask, given.values]);
    });

    body(`${name}: a prediction is, by samplers of every kind, under thresholds`, async () => {
      await useBackend(backend);
      const samplers: readonly Sampler[] = [
        ddpm(schedule, grid),
        flow(schedule, grid),
        uniPc(schedule, grid),
      ];
      const thresholds: readonly Refinement[] = [
        thresholded(),
        thresholded({ kind: "dynamic", max: 2 }),
      ];
      for (const sampler of samplers) {
        for (const threshold of thresholds) {
          for (const bad of bads) {
            for (const kind of ["x0", "eps", "v", "all"] as const) {
              await assert.rejects(
                () => ended(threshold(sampler), spoilt(bad, 1, kind)),
                /x_t must be finite, got NaN or infinity at step [12], t = [\d.]+(, also in the model's prediction)?$/,
                `${bad} in ${kind}`,
              );
            }
          }
        }
      }
    });

    body(`${name}: an energy is, of a guide and of a Metropolis test`, async () => {
      await useBackend(backend);
      for (const bad of bads) {
        const energy: Energy = (x) => tf.mul(tf.sum(x, 1), bad);
        const refused = /x_t must be finite/;
        await assert.rejects(() => ended(guided(byEnergy(energy))(ddim(schedule, grid))), refused);
        const logits = (x: tf.Tensor): tf.Tensor => tf.mul(x, bad);
        const guide = guided(byClassifier(logits, [0, 1, 0, 1]));
        await assert.rejects(() => ended(guide(ddim(schedule, grid))), refused);
      }
      const model: Model = {
        schedule: schedule as Schedule,
        predict: (x) => ({
          kind: "energy",
          value: tf.mul(tf.sum(x, 1), NaN),
          gradient: tf.mul(x, 0.1),
        }),
      };
      const tested = corrected(fixedLangevin({ size: 0.01, metropolis: true }));
      await assert.rejects(() => ended(tested(ddim(schedule, grid)), model), /x_t must be finite/);
    });

    body(`${name}: masks, known values and measurements are refused by name`, async () => {
      await useBackend(backend);
      const fine = tf.tensor([[0, 1]]),
        numbers = tf.tensor([[0.5, 0.4]]),
        sampler = ddim(schedule, grid);
      for (const bad of bads) {
        const wrong = tf.tensor([[0, bad]]), hidden = tf.tensor([[bad, 0.4]]), before = live();
        await assert.rejects(
          () => ended(inpainted(wrong, numbers)(sampler)),
          /mask must be of zeros and ones, got/,
        );
        await assert.rejects(
          () => ended(inpainted(fine, wrong)(sampler)),
          /known must be finite, got/,
        );
        for (const method of ["replacement", "dps", "pigdm"] as const) {
          const seen = (kept: tf.Tensor, y: tf.Tensor) =>
            observed(mask(kept), y, { method })(sampler);
          await assert.rejects(
            () => ended(seen(wrong, numbers)),
            /mask must be of zeros and ones, got/,
          );
          await assert.rejects(() => ended(seen(fine, wrong)), /y must be finite, got/);
          // What a mask hides has no part, whatever it is.
          if (!engine) {
            const { x } = await ended(seen(fine, hidden));
            assert.ok((await x.data()).every(Number.isFinite));
          }
        }
        const { x } = await ended(inpainted(fine, hidden)(sampler));
        assert.ok((await x.data()).every(Number.isFinite));
        assert.ok(live() >= before);
        tf.dispose([wrong, hidden, x]);
      }
      for (const value of [0.5, 2, 255, -1]) {
        const wrong = tf.tensor([[0, value]]);
        await assert.rejects(
          () => ended(inpainted(wrong, numbers)(sampler)),
          new RangeError(`Cannot use what is known: mask must be of zeros and ones, got ${value}`),
        );
        await assert.rejects(
          () => ended(observed(mask(wrong), numbers)(sampler)),
          /mask must be of zeros/,
        );
        wrong.dispose();
      }
      const shapes: readonly (readonly number[])[] = [[3, 2], [4, 3], [1, 1, 2], [4, 2, 1]];
      for (const shape of shapes) {
        const other = tf.ones(shape as [number, number]);
        await assert.rejects(
          () => ended(inpainted(other, numbers)(sampler)),
          /mask must be of a shape that fits \[4,2\]/,
        );
        await assert.rejects(
          () => ended(inpainted(fine, other)(sampler)),
          /known must be of a shape that fits \[4,2\]/,
        );
        await assert.rejects(
          () => ended(observed(mask(fine), other)(sampler)),
          /y must be of a shape that fits \[4,2\]/,
        );
        other.dispose();
      }
      tf.dispose([fine, numbers]);
    });
  });
}

describe("numbers that are not finite, where a part is made", () => {
  it("are refused by name", () => {
    for (const bad of [NaN, Infinity, -Infinity]) {
      const makers: Readonly<Record<string, () => unknown>> = {
        "scale": () => classifierFree([0], { scale: bad }),
        "rescale": () => classifierFree([0], { scale: 2, rescale: bad }),
        "energy's scale": () => byEnergy((x) => tf.sum(x, 1), { scale: bad }),
        "size": () => corrected(fixedLangevin({ size: bad })),
        "range": () => thresholded({ kind: "clip", range: bad }),
        "ratio": () => thresholded({ kind: "dynamic", ratio: bad }),
        "jumps": () => repainted({ jumps: bad }),
        "condition": () => classifierFree([bad], { scale: 2 }),
        "probes": () => likelihood({ trace: undefined as never, rule: bad as never }),
      };
      for (const [name, make] of Object.entries(makers)) {
        assert.throws(make, /^(RangeError|TypeError): Cannot [a-z ]+: \w+ must be /, name);
      }
    }
  });
});

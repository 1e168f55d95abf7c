import { before, describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import * as tf from "@tensorflow/tfjs-core";
import type { Model } from "../../src/denoise/prediction.ts";
import { linear } from "../../src/noise/schedule/discrete.ts";
import { ddim, type DdimOptions } from "../../src/sample/ancestral.ts";
import type { Env, Sampler } from "../../src/sample/path.ts";
import { useBackend } from "../../src/tensor/backend/backend.ts";
import { key } from "../../src/tensor/key.ts";

const schedule = linear(), counts = [10, 20, 50, 100, 1000];

/** The exact model of N(0, variance) data, as x0. */
const exact = (variance: number): Model => ({
  schedule,
  predict: (x, t) => {
    const { alpha, sigma } = schedule.at(t);
    return {
      kind: "x0",
      value: tf.mul(x, alpha * variance / (alpha ** 2 * variance + sigma ** 2)),
    };
  },
});

/** Standard deviation at the end, from each step's own factor and noise: x = 1 without noise, x = 0 with noise 1. */
async function spread(sampler: Sampler, model: Model): Promise<number> {
  const probe = tf.tensor([[1], [0]]),
    env: Env = { model, key: key(0), noise: () => tf.tensor([[0], [1]]) };
  let variance = 1, t = schedule.span[1], step = 0;
  for await (const transition of sampler) {
    const next = await transition(env)({ x: probe, t, step });
    const [factor, deviation] = next.x.dataSync();
    variance = factor! ** 2 * variance + deviation! ** 2;
    ({ t, step } = next);
    next.x.dispose();
    next.x0!.dispose();
  }
  probe.dispose();
  return Math.sqrt(variance);
}

/** |standard deviation − that of the data| for each number of steps, on the sub-sequences T/S, 2T/S, …, T. */
async function errors(options: DdimOptions, variance: number): Promise<number[]> {
  const found = [];
  for (const steps of counts) {
    const sampler = ddim(schedule, { ...options, steps, spacing: "trailing" });
    found.push(Math.abs(await spread(sampler, exact(variance)) - Math.sqrt(variance)));
  }
  return found;
}

/** Equal to as many digits as are given, and one unit more in the last for float32. */
const agree = (found: readonly number[], wanted: readonly string[]): void =>
  wanted.forEach((digits, i) => {
    const unit = 10 ** -(digits.length - 1);
    assert.ok(Math.abs(found[i]! - Number(digits)) < unit, `${found[i]} instead of ${digits}`);
  });

describe("ddim() and its distance W2 from the data at the end", () => {
  before(() => useBackend("cpu"));

  const hat = { noise: "hat", lastNoise: true } as const;
  const rows: readonly (readonly [string, DdimOptions, number, readonly string[]])[] = [
    ["eta 0", {}, 0.25, [".13005", ".06863", ".02860", ".01455", ".00150"]],
    ["eta 0.2", { eta: 0.2 }, 0.25, [".13100", ".06980", ".02946", ".01511", ".00159"]],
    ["eta 0.5", { eta: 0.5 }, 0.25, [".13642", ".07632", ".03423", ".01820", ".00202"]],
    ["eta 1", { eta: 1 }, 0.25, [".16652", ".10849", ".05590", ".03178", ".00389"]],
    ["sigma-hat", hat, 0.25, [".089", ".0441", ".0173", ".0086", ".00085"]],
    ["sigma-hat with noise in the last step on one point", hat, 0, [
      ".321",
      ".170",
      ".076",
      ".0435",
      ".010",
    ]],
    ["sigma-hat on one point", { noise: "hat" }, 0, [
      ".0000000",
      ".0000000",
      ".0000000",
      ".0000000",
      ".0000000",
    ]],
  ];

  for (const [name, options, variance, wanted] of rows) {
    it(`${name}: exact at 10, 20, 50, 100 and 1000 steps`, async () =>
      agree(await errors(options, variance), wanted));
  }
});

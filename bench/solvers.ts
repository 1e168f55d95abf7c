/**
 * Errors of the ODE solvers at 10 and 20 evaluations of the model, on a mixture with its exact denoiser.
 *
 * `deno run -A bench/solvers.ts`: for each solver the root mean square distance of 64 samples from the exact solution of the
 * probability-flow ODE at t = 0, by the better of the grids, on linear() with 1,000 steps.
 */

import * as tf from "@tensorflow/tfjs-core";
import {
  ddim,
  deis,
  dpmSinglestep,
  dpmSolver,
  flow,
  type GridOptions,
  kdpm2,
  key,
  linear,
  lms,
  mixture,
  pndm,
  run,
  type Sampler,
  tableaus,
  uniPc,
} from "../mod.ts";
import { useBackend } from "../src/tensor/backend.ts";

await useBackend("cpu");
const schedule = linear();
const law = { means: [[-1.2], [0.9]], variances: [[0.1225], [0.25]], weights: [0.3, 0.7] };
const model = mixture(schedule, law), env = { model, key: key(0) };
const starts = Array.from({ length: 64 }, (_, i) => -2.2 + 4.4 * i / 63);

type Make = (grid: GridOptions & { readonly steps: number }) => Sampler;

/** Evaluations of a step of each solver, to have the same number of all. */
const solvers: Readonly<Record<string, readonly [evaluations: number, make: Make]>> = {
  "DDIM, Euler": [1, (grid) => ddim(schedule, grid)],
  "DPM-Solver++ 2M": [1, (grid) => dpmSolver(schedule, grid)],
  "DPM-Solver++ 3M": [1, (grid) => dpmSolver(schedule, { ...grid, order: 3 })],
  "DPM-Solver++ 3M, curvature halved": [
    1,
    (grid) => dpmSolver(schedule, { ...grid, order: 3, curvature: "halved" }),
  ],
  "DPM-Solver++ 3M, no lower end": [
    1,
    (grid) => dpmSolver(schedule, { ...grid, order: 3, lowerOrderFinal: false }),
  ],
  "DPM-Solver++ 2S": [1, (grid) => dpmSinglestep(schedule, grid)],
  "DPM-Solver++ 3S": [1, (grid) => dpmSinglestep(schedule, { ...grid, order: 3 })],
  "UniPC-2": [1, (grid) => uniPc(schedule, grid)],
  "UniPC-3": [1, (grid) => uniPc(schedule, { ...grid, order: 3 })],
  "DEIS-2": [1, (grid) => deis(schedule, grid)],
  "DEIS-3": [1, (grid) => deis(schedule, { ...grid, order: 3 })],
  "LMS-4": [1, (grid) => lms(schedule, grid)],
  "PNDM, Heun first": [1, (grid) => pndm(schedule, { ...grid, warmUp: "heun" })],
  "Heun, flow chart": [2, (grid) => flow(schedule, grid)],
  "Heun, eps chart": [2, (grid) => flow(schedule, { ...grid, chart: "eps" })],
  "KDPM2": [2, (grid) => kdpm2(schedule, grid)],
  "RK4, flow chart": [4, (grid) => flow(schedule, { ...grid, tableau: tableaus.rk4 })],
};

const grids: Readonly<Record<string, GridOptions>> = {
  trailing: { spacing: "trailing" },
  karras: { spacing: "karras", least: 1 },
  logLinear: { spacing: "logLinear", least: 1 },
};

async function end(sampler: Sampler): Promise<number[]> {
  const x = tf.tensor(starts, [starts.length, 1]);
  let found: number[] = [];
  for await (const state of run({ x, t: 1000, step: 0 }, env)(sampler)) {
    found = [...state.x.dataSync()];
  }
  x.dispose();
  return found;
}

const exact = await end(
  flow(schedule, { steps: 400, tableau: tableaus.rk4, spacing: "logLinear", least: 1e-3 }),
);

async function error(sampler: Sampler): Promise<number> {
  const squares = (await end(sampler)).map((x, i) => (x - exact[i]!) ** 2);
  return Math.sqrt(squares.reduce((a, b) => a + b) / squares.length);
}

console.log("| solver | 10 evaluations | 20 evaluations |\n| --- | --- | --- |");
for (const [name, [evaluations, make]] of Object.entries(solvers)) {
  const cells: string[] = [];
  for (const count of [10, 20]) {
    const found: [number, string][] = [];
    for (const [spacing, grid] of Object.entries(grids)) {
      const steps = Math.floor(count / evaluations);
      found.push([await error(make({ ...grid, steps })), spacing]);
    }
    const [best] = found.sort(([a], [b]) => a - b);
    cells.push(`${best![0].toExponential(2)} (${best![1]})`);
  }
  console.log(`| ${name} | ${cells.join(" | ")} |`);
}

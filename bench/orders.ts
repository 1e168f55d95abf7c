// How fast do the solvers' errors fall? Measured orders of convergence, against closed forms.
//
//   ODE   dx/dt = x·cos t from x(0) = 1, whose solution is exp(sin t), on [0, 2]
//   SDE   dx = x/2 dt + x dW from x(0) = 1, whose solution is exp(W(1)), and Ornstein-Uhlenbeck's dx = −2x dt + dW
//         against 4096 steps; mean absolute error over paths, the same for all rows
//   Samplers   from pure noise to t = 0.03 of vp(), log-SNR equally spaced, on a mixture with its exact denoiser; root mean
//         square error of 64 starts, against RK4 of 4096 steps in float64. First steps are of lower order, as in any run.
//
// Run: deno run bench/orders.ts [--paths 4000]
//
// Measured on 2026-11-28 (RK45: 2026-11-29), with 4,000 paths in float32 on tfjs's cpu backend; the figures do not depend on the machine:
//
//   ODE: method, steps         error at t = 2                          order  theory
//   euler, 32 64 128 256         4.68e-2   2.34e-2   1.17e-2   5.87e-3    1.00       1
//   midpoint, 16 32 64 128       9.32e-4   2.68e-4   7.16e-5   1.82e-5    1.89       2
//   heun, 16 32 64 128           7.53e-3   1.84e-3   4.55e-4   1.12e-4    2.02       2
//   rk4, 4 8 16                  6.76e-4   4.26e-5   2.31e-6              4.10       4
//   dormandPrince, 2 3 4         7.26e-4   7.61e-5   1.56e-5              5.54       5
//
//   RK45 with step control     error at t = 2
//   tolerance 1e-2               3.97e-4  3 steps, 0 rejected, 20 evaluations
//   tolerance 1e-3               6.02e-5  4 steps, 0 rejected, 26 evaluations
//   tolerance 1e-4               3.63e-5  5 steps, 0 rejected, 32 evaluations
//   tolerance 1e-5               3.65e-6  7 steps, 1 rejected, 50 evaluations
//   tolerance 1e-6               3.11e-7  9 steps, 1 rejected, 62 evaluations
//
//   SDE, steps 16 32 64 128    mean error at t = 1                     order  theory
//   eulerMaruyama                2.41e-1   1.76e-1   1.21e-1   8.56e-2    0.50     0.5
//   milstein                     5.30e-2   2.75e-2   1.38e-2   7.08e-3    0.97       1
//   heun                         5.30e-2   2.75e-2   1.38e-2   7.08e-3    0.97       1
//   platen                       6.70e-2   3.41e-2   1.69e-2   8.24e-3    1.01       1
//   eulerMaruyama, additive      2.67e-2   1.31e-2   6.49e-3   3.20e-3    1.02       1
//
//   Sampler, 24 48 96 192      error at t = 0.03                       order  theory
//   DDIM                         6.96e-2   3.54e-2   1.79e-2   9.02e-3    0.98       1
//   Euler                        6.96e-2   3.54e-2   1.79e-2   9.02e-3    0.98       1
//   Heun                         2.77e-3   6.77e-4   1.67e-4   4.14e-5    2.02       2
//   Heun, chart eps              1.15e-2   2.75e-3   6.74e-4   1.67e-4    2.04       2
//   RK4, 6 12 24                 2.37e-3   1.51e-4   1.00e-5              3.94       4
//   KDPM2                        5.53e-3   1.33e-3   3.26e-4   8.06e-5    2.03       2
//   DPM-Solver++ 2M midpoint     5.80e-3   1.41e-3   3.48e-4   8.63e-5    2.02       2
//   DPM-Solver++ 2M heun         8.87e-3   2.13e-3   5.23e-4   1.30e-4    2.03       2
//   DPM-Solver++ 3M              1.51e-3   1.81e-4   2.21e-5   2.71e-6    3.04       3
//   DPM-Solver++ 3M halved       1.95e-3   4.25e-4   1.03e-4   2.58e-5    2.08       2
//   DPM-Solver++ 2S              2.03e-2   5.74e-3   1.53e-3   3.94e-4    1.90       2
//   DPM-Solver++ 3S              2.61e-3   3.65e-4   4.95e-5   6.36e-6    2.89       3
//   UniP-2                       5.80e-3   1.41e-3   3.48e-4   8.63e-5    2.02       2
//   UniP-3                       1.51e-3   1.81e-4   2.21e-5   2.71e-6    3.04       3
//   UniPC-1                      1.74e-2   4.61e-3   1.18e-3   2.96e-4    1.96       2
//   UniPC-2                      1.79e-3   2.35e-4   3.03e-5   3.90e-6    2.95       3
//   UniPC-3, 24 48 96            7.78e-4   4.36e-5   3.29e-6              3.94       4
//   DEIS-2                       1.03e-2   2.81e-3   7.31e-4   1.86e-4    1.93       2
//   DEIS-3                       1.68e-3   2.19e-4   2.63e-5   3.17e-6    3.02       3
//   LMS-4, 48 96 192             7.41e-4   5.91e-5   4.38e-6              3.70       4
//   PNDM                         3.69e-3   9.31e-4   2.30e-4   5.73e-5    2.00       2
//
//   RK45 with step control     error at t = 0.03
//   tolerance 1e-2               3.18e-3  3 steps, 0 rejected, 22 evaluations
//   tolerance 1e-3               1.18e-3  4 steps, 0 rejected, 29 evaluations
//   tolerance 1e-4               9.92e-5  6 steps, 1 rejected, 49 evaluations
//   tolerance 1e-5               8.99e-6  8 steps, 1 rejected, 63 evaluations
//
// The SDE's row of heun is Milstein's: on this equation the two steps are the same polynomial in dW. UniPC is UniP with its
// corrector, which adds one to the order; "halved" is diffusers' parabola.

import { parseArgs } from "node:util";
import {
  adaptiveFlow,
  arrived,
  brownian,
  ddim,
  deis,
  dpmSinglestep,
  dpmSolver,
  flow,
  geometricBrownianMotion,
  type GridOptions,
  kdpm2,
  key,
  lms,
  mixture,
  type Model,
  pndm,
  run,
  type Sampler,
  sdeSchemes,
  simulate,
  solve,
  type State,
  tableaus,
  uniPc,
  vp,
} from "@tweedie/tweedie";
import { mixtureDenoiser } from "@tweedie/tweedie/denoise";
import {
  ornsteinUhlenbeck,
  type PathState,
  type Sde,
  type SdeScheme,
  type StepControl,
  type Tableau,
} from "@tweedie/tweedie/solve";
import { useBackend } from "@tweedie/tweedie/backend";
import * as tf from "@tensorflow/tfjs-core";

const { values } = parseArgs({ options: { paths: { type: "string", default: "4000" } } });
const paths = Number(values.paths), keys = key(11), span = [0, 1] as const;

async function end<S extends PathState>(stream: AsyncIterable<S>): Promise<[S, readonly number[]]> {
  let last: [S, readonly number[]] | undefined;
  for await (const state of stream) last = [state, [...state.x.dataSync()]];
  return last!;
}

const distance = (a: readonly number[], b: readonly number[]): number =>
  a.reduce((sum, value, i) => sum + Math.abs(value - b[i]!), 0) / a.length;

const figure = (value: number): string => value.toExponential(2).padStart(10);

/** One row: errors at rising numbers of steps, and the slope between the first and the last. */
function row(
  name: string,
  steps: readonly number[],
  errors: readonly number[],
  wanted: string,
): void {
  const order = Math.log2(errors[0]! / errors.at(-1)!) / Math.log2(steps.at(-1)! / steps[0]!);
  const cells = errors.map(figure).join("").padEnd(40);
  console.log(`${name.padEnd(26)}${cells}${order.toFixed(2).padStart(8)}${wanted.padStart(8)}`);
}

const wave = (x: tf.Tensor, t: number): tf.Tensor => tf.mul(x, Math.cos(t));

async function ode(name: string, tableau: Tableau, steps: readonly number[]): Promise<void> {
  const errors: number[] = [], x = tf.tensor1d([1]);
  for (const count of steps) {
    const [, [last]] = await end(solve(wave, { x, span: [0, 2], tableau, steps: count }));
    errors.push(Math.abs(last! - Math.exp(Math.sin(2))));
  }
  row(`${name}, ${steps.join(" ")}`, steps, errors, String(tableau.order));
}

async function controlled(tolerance: number): Promise<void> {
  const control: StepControl = { absolute: tolerance, relative: tolerance };
  const [{ step, rejected, evaluations }, [last]] = await end(
    solve(wave, { x: tf.tensor1d([1]), span: [0, 2], control }),
  );
  const error = Math.abs(last! - Math.exp(Math.sin(2)));
  const work = `${step} steps, ${rejected} rejected, ${evaluations} evaluations`;
  console.log(`tolerance ${tolerance.toExponential(0)}`.padEnd(26) + `${figure(error)}  ${work}`);
}

interface Problem {
  readonly sde: Sde;
  readonly exact: readonly number[];
}

async function strong(
  name: string,
  scheme: SdeScheme,
  { sde, exact, wanted = scheme.order }: Problem & { readonly wanted?: number },
): Promise<void> {
  const errors: number[] = [], steps = [16, 32, 64, 128];
  for (const count of steps) {
    const x = tf.ones([paths]);
    const [, last] = await end(simulate(sde, { x, span, steps: count, keys, scheme }));
    errors.push(distance(last, exact));
  }
  row(name, steps, errors, String(wanted));
}

// Samplers, on a mixture.

const schedule = vp(), final = 0.03;
const law = { means: [-1.2, 0.9], variances: [0.1225, 0.25], weights: [0.3, 0.7] };
const starts = Array.from({ length: 64 }, (_, i) => -2.2 + 4.4 * i / 63);

/** Where the starts end: RK4 in lambda = ln(alpha/sigma) for x/sigma, whose derivative is e^lambda·x0. */
function exactEnds(count = 4096): number[] {
  const denoiser = mixtureDenoiser(law), first = schedule.at(1), end = schedule.at(final);
  const start = Math.log(first.alpha / first.sigma);
  const h = (Math.log(end.alpha / end.sigma) - start) / count;
  const slope = (u: number, lambda: number): number => {
    const sigma = 1 / Math.hypot(1, Math.exp(lambda)), alpha = sigma * Math.exp(lambda);
    return alpha / sigma * denoiser([u * sigma], { alpha, sigma })[0]!;
  };
  return starts.map((x) => {
    let u = x / first.sigma;
    for (let k = 0; k < count; k++) {
      const lambda = start + k * h, a = slope(u, lambda), b = slope(u + h / 2 * a, lambda + h / 2);
      const c = slope(u + h / 2 * b, lambda + h / 2), d = slope(u + h * c, lambda + h);
      u += h / 6 * (a + 2 * b + 2 * c + d);
    }
    return u * end.sigma;
  });
}

const exactly = exactEnds();

/** The error at the end of a run, and what the run took. */
async function sampled<S extends State>(
  sampler: Sampler<S>,
): Promise<{ readonly error: number; readonly evaluations: number; readonly last: S }> {
  const oracle = mixture(schedule, law), x = tf.tensor(starts, [starts.length, 1]);
  let evaluations = 0, error = NaN, last: S | undefined;
  const predict: Model["predict"] = (x, t) => (evaluations++, oracle.predict(x, t));
  const env = { model: { schedule, predict }, key: key(0), until: arrived(final) };
  for await (const state of run({ x, t: 1, step: 0 } as S, env)(sampler)) {
    const squares = [...state.x.dataSync()].map((value, i) => (value - exactly[i]!) ** 2);
    [error, last] = [Math.sqrt(squares.reduce((a, b) => a + b) / squares.length), state];
  }
  x.dispose();
  return { error, evaluations, last: last! };
}

const common = [24, 48, 96, 192];

async function solver(
  name: string,
  make: (grid: GridOptions) => Sampler,
  { steps = common, wanted }: { readonly steps?: readonly number[]; readonly wanted: number },
): Promise<void> {
  const errors: number[] = [];
  for (const count of steps) {
    errors.push((await sampled(make({ steps: count, spacing: "logLinear", final }))).error);
  }
  const unusual = steps === common ? "" : `, ${steps.join(" ")}`;
  row(name + unusual, steps, errors, String(wanted));
}

async function adaptive(tolerance: number): Promise<void> {
  const control = { absolute: tolerance, relative: tolerance };
  const { error, evaluations, last } = await sampled(adaptiveFlow(schedule, { final, control }));
  const work = `${last.step} steps, ${last.rejected ?? 0} rejected, ${evaluations} evaluations`;
  console.log(`tolerance ${tolerance.toExponential(0)}`.padEnd(26) + `${figure(error)}  ${work}`);
}

await useBackend("cpu");

console.log("ODE: method, steps         error at t = 2                          order  theory");
await ode("euler", tableaus.euler, [32, 64, 128, 256]);
await ode("midpoint", tableaus.midpoint, [16, 32, 64, 128]);
await ode("heun", tableaus.heun, [16, 32, 64, 128]);
await ode("rk4", tableaus.rk4, [4, 8, 16]);
await ode("dormandPrince", tableaus.dormandPrince, [2, 3, 4]);
console.log("\nRK45 with step control     error at t = 2");
for (const tolerance of [1e-2, 1e-3, 1e-4, 1e-5, 1e-6]) await controlled(tolerance);

console.log("\nSDE, steps 16 32 64 128    mean error at t = 1                     order  theory");
const gbm = geometricBrownianMotion({ mu: 0.5 }), ou = ornsteinUhlenbeck({ theta: 2 });
const [w] = brownian(keys, [paths], [0, 1]), exact = [...w!.dataSync()].map(Math.exp);
for (const [name, scheme] of Object.entries(sdeSchemes)) {
  await strong(name, scheme, { sde: gbm, exact });
}
const [, fine] = await end(
  simulate(ou, { x: tf.ones([paths]), span, steps: 4096, keys }),
);
await strong("eulerMaruyama, additive", sdeSchemes.eulerMaruyama, {
  sde: ou,
  exact: fine,
  wanted: 1,
});

console.log("\nSampler, 24 48 96 192      error at t = 0.03                       order  theory");
const full = { lowerOrderFinal: false } as const;
await solver("DDIM", (grid) => ddim(schedule, grid), { wanted: 1 });
const euler = tableaus.euler, rk4 = tableaus.rk4;
await solver("Euler", (grid) => flow(schedule, { ...grid, tableau: euler }), { wanted: 1 });
await solver("Heun", (grid) => flow(schedule, grid), { wanted: 2 });
await solver("Heun, chart eps", (grid) => flow(schedule, { ...grid, chart: "eps" }), { wanted: 2 });
await solver("RK4", (grid) => flow(schedule, { ...grid, tableau: rk4 }), {
  wanted: 4,
  steps: [6, 12, 24],
});
await solver("KDPM2", (grid) => kdpm2(schedule, grid), { wanted: 2 });
for (const corrector of ["midpoint", "heun"] as const) {
  await solver(
    `DPM-Solver++ 2M ${corrector}`,
    (grid) => dpmSolver(schedule, { ...grid, ...full, corrector }),
    { wanted: 2 },
  );
}
await solver("DPM-Solver++ 3M", (grid) => dpmSolver(schedule, { ...grid, ...full, order: 3 }), {
  wanted: 3,
});
await solver(
  "DPM-Solver++ 3M halved",
  (grid) => dpmSolver(schedule, { ...grid, ...full, order: 3, curvature: "halved" }),
  { wanted: 2 },
);
await solver("DPM-Solver++ 2S", (grid) => dpmSinglestep(schedule, grid), { wanted: 2 });
await solver("DPM-Solver++ 3S", (grid) => dpmSinglestep(schedule, { ...grid, order: 3 }), {
  wanted: 3,
});
for (const order of [2, 3] as const) {
  await solver(
    `UniP-${order}`,
    (grid) => uniPc(schedule, { ...grid, ...full, order, corrected: false }),
    { wanted: order },
  );
}
for (const order of [1, 2] as const) {
  await solver(`UniPC-${order}`, (grid) => uniPc(schedule, { ...grid, ...full, order }), {
    wanted: order + 1,
  });
}
await solver("UniPC-3", (grid) => uniPc(schedule, { ...grid, ...full, order: 3 }), {
  wanted: 4,
  steps: [24, 48, 96],
});
for (const order of [2, 3] as const) {
  await solver(`DEIS-${order}`, (grid) => deis(schedule, { ...grid, ...full, order }), {
    wanted: order,
  });
}
await solver("LMS-4", (grid) => lms(schedule, grid), { wanted: 4, steps: [48, 96, 192] });
await solver("PNDM", (grid) => pndm(schedule, grid), { wanted: 2 });
console.log("\nRK45 with step control     error at t = 0.03");
for (const tolerance of [1e-2, 1e-3, 1e-4, 1e-5]) await adaptive(tolerance);

// How fast do the solvers' errors fall? Measured orders of convergence, against closed forms.
//
//   ODE   dx/dt = x·cos t from x(0) = 1, whose solution is exp(sin t), on [0, 2]
//   SDE   dx = x/2 dt + x dW from x(0) = 1, whose solution is exp(W(1)), and Ornstein-Uhlenbeck's dx = −2x dt + dW
//         against 4096 steps; mean absolute error over paths, the same for all rows
//
// Run: deno run bench/orders.ts [--paths 4000]
//
// Measured on 2026-11-22, with 4,000 paths in float32 on tfjs's cpu backend; the figures do not depend on the machine:
//
//   ODE: method, steps         error at t = 2                          order  theory
//   euler, 32 64 128 256         4.68e-2   2.34e-2   1.17e-2   5.87e-3    1.00       1
//   midpoint, 16 32 64 128       9.32e-4   2.68e-4   7.16e-5   1.82e-5    1.89       2
//   heun, 16 32 64 128           7.53e-3   1.84e-3   4.55e-4   1.12e-4    2.02       2
//   rk4, 4 8 16                  6.76e-4   4.26e-5   2.31e-6              4.10       4
//   dormandPrince, 2 3 4         7.26e-4   7.61e-5   1.56e-5              5.54       5
//
//   RK45 with step control     error at t = 2
//   tolerance 1e-2               3.80e-4  3 steps, 0 rejected, 20 evaluations
//   tolerance 1e-3               7.61e-5  4 steps, 0 rejected, 26 evaluations
//   tolerance 1e-4               4.73e-5  5 steps, 0 rejected, 32 evaluations
//   tolerance 1e-5               4.36e-6  7 steps, 1 rejected, 50 evaluations
//   tolerance 1e-6               5.50e-7  9 steps, 1 rejected, 62 evaluations
//
//   SDE, steps 16 32 64 128    mean error at t = 1                     order  theory
//   eulerMaruyama                2.41e-1   1.76e-1   1.21e-1   8.56e-2    0.50     0.5
//   milstein                     5.30e-2   2.75e-2   1.38e-2   7.08e-3    0.97       1
//   heun                         5.30e-2   2.75e-2   1.38e-2   7.08e-3    0.97       1
//   platen                       6.70e-2   3.41e-2   1.69e-2   8.24e-3    1.01       1
//   eulerMaruyama, additive      2.67e-2   1.31e-2   6.49e-3   3.20e-3    1.02       1
//
// Heun's row is Milstein's: on this equation the two steps are the same polynomial in dW.

import { parseArgs } from "node:util";
import {
  brownian,
  geometricBrownianMotion,
  key,
  ornsteinUhlenbeck,
  type PathState,
  type Sde,
  type SdeScheme,
  sdeSchemes,
  simulate,
  solve,
  type StepControl,
  type Tableau,
  tableaus,
} from "@tweedie/tweedie";
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

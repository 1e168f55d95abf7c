// 2026-11-29, two virtual cores of an Intel Xeon beside other work, onnx, Deno 2.9.6, --evaluations 20,50 --count 400:
//   Wasserstein-1 distance, 16000 samples of two modes
//                                        vp 20       50  subVp 20       50     ve 20       50
//     Euler–Maruyama                    0.0963   0.0408    0.1018   0.0437    0.1901   0.0496
//     reverse diffusion                 0.2872   0.1217    0.2976   0.1305    0.3267   0.1382
//     ancestral                         0.1746   0.0718    0.1773   0.0753    0.1687   0.0712
//     reverse diffusion and corrector   0.3317   0.1502    0.3455   0.1568    0.4202   0.1419
//     ancestral and corrector           0.1502   0.0322    0.1525   0.0366    0.1200   0.0202
//     ODE, Euler (DDIM)                 0.0829   0.0313    0.0923   0.0410    0.0607   0.0183
//     ODE, Heun                         0.0411   0.0061    0.0456   0.0156    0.0207   0.0184
//     ODE, DPM-Solver++ 3M              0.0166   0.0049    0.0263   0.0144    0.0283   0.0231
//   Fréchet distance, 400 garments
//     Euler–Maruyama                     75.09    19.19     72.56    18.05     89.71    14.01
//     reverse diffusion                 161.11    41.83    163.00    42.71    144.17    38.37
//     ancestral                          12.33     7.85     12.29     7.82     11.41     7.00
//     reverse diffusion and corrector   228.75    62.14    226.44    61.05    217.95    50.53
//     ancestral and corrector             8.35     6.85      8.34     6.86      7.48     6.42
//     ODE, Euler (DDIM)                   7.02     5.90      7.01     5.89      7.01     6.18
//     ODE, Heun                           5.71     5.74      5.71     5.74      6.07     6.08
//     ODE, DPM-Solver++ 3M                5.77     5.73      5.77     5.73      6.18     6.10
//
// Which SDE, by which solver, in how many evaluations? First a mixture on a line with its exact denoiser, 1/5 of it at −2
// and 4/5 at 2: the distance of 16,000 samples from the law (Wasserstein-1, exact in one dimension). Then garments: the Fréchet
// distance of class-conditional samples on the judge's features to the training set. One network serves every SDE by
// `rescheduled`.
//
// "and corrector" is half as many steps, each with a Langevin correction at the level that it has reached, so that all rows
// of a column cost the same evaluations.
//
// Run: deno run --allow-read --allow-ffi bench/sdes.ts [--model f.safetensors] [--judge f.safetensors] [--sdes vp,subVp,ve]
//        [--evaluations 20,50,100] [--solvers ancestral,corrector] [--count 500] [--first 0], garments from that number
//        on; --count 0 leaves them out. Without --allow-ffi on wasm.

import { parseArgs } from "node:util";
import { pipe } from "fp-ts/lib/function.js";
import * as tf from "@tensorflow/tfjs-core";
import {
  annealedLangevin,
  conditioned,
  corrected,
  ddim,
  dpmSolver,
  fashionMnist,
  flow,
  frechet,
  key,
  last,
  loadClassifier,
  loadDenoiser,
  mixture,
  prior,
  rescheduled,
  reverseSde,
  run,
  type Sampler,
  type Schedule,
  subVp,
  ve,
  vp,
} from "@tweedie/tweedie";
import { moments } from "@tweedie/tweedie/metric";
import { useBackend } from "@tweedie/tweedie/backend";
import { garments, judged, native, scaled } from "./garments.ts";

const { values: options } = parseArgs({
  options: {
    model: { type: "string", default: "examples/weights/fashion-mnist.safetensors" },
    judge: { type: "string", default: "examples/weights/fashion-mnist-classifier.safetensors" },
    sdes: { type: "string", default: "vp,subVp,ve" },
    evaluations: { type: "string", default: "20,50,100" },
    count: { type: "string", default: "500" },
    solvers: { type: "string", default: "" },
    first: { type: "string", default: "0" },
  },
});

const sdes: Readonly<Record<string, () => Schedule>> = { vp, subVp, ve };
const evaluations = options.evaluations.split(",").map(Number);

/** A solver that costs a number of evaluations. */
type Solver = (sde: Schedule, evaluations: number) => Sampler;

const grid = (sde: Schedule, steps: number) =>
  ({ steps, spacing: "logLinear", final: sde.timeOf(-2 * Math.log(0.01)) }) as const;

/** A solver in half of the evaluations, corrected in the other half. */
const correcting = (solver: string): Solver => (sde, n) => {
  // The best of 0.3, 0.45 and 0.6 on the mixture: a level that is met more often wants less.
  const corrector = annealedLangevin({ ratio: n > 40 ? 0.45 : 0.6 });
  return corrected(corrector)(solvers[solver]!(sde, n / 2));
};

const solvers: Readonly<Record<string, Solver>> = {
  "Euler–Maruyama": (sde, n) => reverseSde(sde, { ...grid(sde, n), predictor: "euler-maruyama" }),
  "reverse diffusion": (sde, n) =>
    reverseSde(sde, { ...grid(sde, n), predictor: "reverse-diffusion" }),
  "ancestral": (sde, n) => reverseSde(sde, { ...grid(sde, n), predictor: "ancestral" }),
  "reverse diffusion and corrector": correcting("reverse diffusion"),
  "ancestral and corrector": correcting("ancestral"),
  "ODE, Euler (DDIM)": (sde, n) => ddim(sde, grid(sde, n)),
  "ODE, Heun": (sde, n) => flow(sde, grid(sde, n / 2)),
  "ODE, DPM-Solver++ 3M": (sde, n) => dpmSolver(sde, { ...grid(sde, n), order: 3 }),
};

/** A table of solvers by evaluations; a cell is a number that is better the less it is. */
async function table(
  sde: string,
  cell: (solver: Solver, evaluations: number) => Promise<number>,
): Promise<void> {
  console.log(`${sde.padEnd(34)}${evaluations.map((n) => `${n}`.padStart(9)).join("")}`);
  for (const [name, solver] of Object.entries(solvers)) {
    if (!options.solvers.split(",").some((part) => name.includes(part))) continue;
    const row: string[] = [];
    for (const n of evaluations) row.push((await cell(solver, n)).toFixed(4).padStart(9));
    console.log(`  ${name.padEnd(32)}${row.join("")}`);
  }
}

// ---------------------------------------------------------------------------------------------- A mixture on a line

const law = { means: [-2, 2], variances: [0.04, 0.04], weights: [0.2, 0.8] };

/** A quantile of the law at alpha = 1 and sigma = 0.01, by bisection. */
function quantile(u: number): number {
  const deviation = Math.sqrt(0.04 + 1e-4);
  const below = (x: number): number =>
    law.means.reduce((sum, mean, i) => sum + law.weights[i]! * phi((x - mean) / deviation), 0);
  let low = -4, high = 4;
  for (let i = 0; i < 50; i++) {
    const middle = (low + high) / 2;
    if (below(middle) < u) low = middle;
    else high = middle;
  }
  return (low + high) / 2;
}

/** The standard normal distribution function, by Simpson's rule. */
function phi(z: number): number {
  const n = 60, h = z / n;
  const bell = (i: number): number =>
    (i === 0 || i === n ? 1 : i % 2 ? 4 : 2) * Math.exp(-((i * h) ** 2) / 2);
  const sum = Array.from({ length: n + 1 }, (_, i) => bell(i)).reduce((a, b) => a + b);
  return 0.5 + sum * h / 3 / Math.sqrt(2 * Math.PI);
}

const samples = 16_000;
const quantiles = Float64Array.from({ length: samples }, (_, i) => quantile((i + 0.5) / samples));

async function lineDistance(sde: Schedule, solver: Solver, n: number): Promise<number> {
  const model = mixture(sde, law), sampler = solver(sde, n);
  const { x } = await last(pipe(sampler, run(prior([samples, 1]), { model, key: key(1) })));
  const sorted = Array.from(x.dataSync()).sort((a, b) => a - b);
  tf.dispose(x);
  return sorted.reduce((sum, value, i) => sum + Math.abs(value - quantiles[i]!), 0) / samples;
}

await useBackend("cpu");
console.log(`Wasserstein-1 distance, ${samples} samples of two modes`);
for (const name of options.sdes.split(",")) {
  const sde = sdes[name]!();
  await table(name, (solver, n) => lineDistance(sde, solver, n));
}
const count = Number(options.count);
if (count === 0) Deno.exit();

// ---------------------------------------------------------------------------------------------- Garments

await useBackend();
const judge = await loadClassifier(options.judge), { model } = await loadDenoiser(options.model);
const train = await fashionMnist(undefined, "train"), width = judge.config.features ?? 64;
const reference = moments(judged(judge, scaled(train, 60_000)).features, width);

console.log(`Fréchet distance, ${count} garments`);
for (const name of options.sdes.split(",")) {
  const sde = sdes[name]!(), known = rescheduled(model, sde);
  await table(name, async (solver, n) => {
    // Each sampler is compiled once.
    const engine = await native();
    const images = await garments(solver(sde, n), {
      model: known,
      count,
      told: conditioned,
      first: Number(options.first),
      ...(engine && { engine }),
    });
    await engine?.close();
    console.error(`${name}, ${n} evaluations`);
    return frechet(moments(judged(judge, images).features, width), reference);
  });
}

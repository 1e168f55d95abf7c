// Which law of times makes a denoising loss steady? Means and deviations of its estimate by laws of the same expectation.
//
//   estimate = r(t)·w(t)·‖error‖²/d,   t ~ p,   r = 1/((T − eta)·p)      one image, one time, one draw of noise
//
//   score    w: the score error               ‖score_theta + eps/sigma‖², unweighted denoising score matching
//   bound    w: g²/2 of the score error       T − eta times its mean is the bound on −log p(x), in nats a dimension
//   simple   w: the eps error
//
// The process   dx = −x/2 dt + dw on [eta, 5] and a model that says 0, so that the score error is eps²/sigma²: all is known.
// The model     the shipped U-Net under vp() on test images of Fashion-MNIST. Its error by log-SNR is tabled once; of the
//               table follow mean and deviation under any law. Then each law draws its own times, images and noise: z is
//               how far its mean is from the table's, in standard errors. "times" is the share of the variance that is
//               owed to t and not to images and noise; "best" is the law in proportion to the root mean square of w·‖error‖²/d.
// Gradients     of a perceptron on a mixture in the plane, at the same trained weights for all: variance of the gradient of
//               batches of 128, summed over weights. "gap" is the square of how far their mean is from the first row's, over
//               what sampling alone would make of it: about 1 where the means are the same.
// Training      of that perceptron by each objective and law, against the mixture's exact score: "score" is the integral of
//               g²/2·‖score_theta − score‖² over [1e-5, 1], which bounds the divergence of the SDE's samples, and "flow"
//               the divergence of the ODE's, both in nats. "noise" is the deviation of a batch's loss over its mean.
//
// Run: deno run --allow-read --allow-ffi bench/weighting.ts [--parts process,model,gradients,training] [--draws 1024]
//        [--levels 48] [--images 128] [--steps 2000] [--keys 2]; without --allow-ffi on wasm, which takes many times as long.
//
// Measured on 2026-11-29 on two virtual cores that other work shared, onnx, Deno 2.9.6, with the weights that were shipped on
// 2026-11-28 (14,000 steps):
//
//   process: law, eta = 0.001                        mean     variance        drawn            z
//   uniform                                         2.381        601.3        2.383         0.03
//   constantRate                                    2.381        11.33        2.367        -1.26
//   constantRate, no weight                         84.99     1.192e+5        85.22         0.22
//
//   process: cut-off                                 mean      uniform constantRate        ratio       data +
//   eta = 0.00001                                   3.301     6.000e+4        21.80    0.0003633  0.000007500
//   eta = 0.0001                                    2.841         6000        16.14     0.002690   0.00007500
//   eta = 0.001                                     2.381        601.3        11.33      0.01885    0.0007496
//   eta = 0.01                                      1.923        61.89        7.392       0.1194     0.007463
//   eta = 0.1                                       1.479        8.067        4.373       0.5421      0.07137
//
//   model: log-SNR                                      t      v error    deviation    eps error
//   13.81                                      0.00001000       0.9373      0.07190       0.9373
//   10.83                                       0.0001940       0.6383       0.1478       0.6383
//   7.85                                         0.003006       0.4453       0.1384       0.4452
//   4.86                                          0.02322       0.2575       0.1127       0.2555
//   1.88                                           0.1145       0.1055      0.05620      0.09157
//   -1.10                                          0.3687      0.08341      0.03432      0.02079
//   -4.09                                          0.6371       0.1708      0.09772     0.002824
//   -7.07                                          0.8379       0.2249       0.1227    0.0001912
//   -9.56                                          0.9750       0.2037       0.1142   0.00001442
//
//   model: score                                     mean        drawn            z    deviation        drawn     variance        times
//     uniform                                       9.211        10.43         0.33        119.0        135.1        1.000         92 %
//     inverseVariance                               9.211        9.232         0.12        4.361        4.452     0.001344         49 %
//     constantRate                                  9.211        9.659         1.17        11.96        12.17      0.01011         86 %
//     likelihood                                    9.211        8.742        -0.75        19.71        19.49      0.02745         89 %
//     logitNormal                                   9.211       0.3458        -0.00     4.271e+5        4.290     1.289e+7         92 %
//     logNormal                                     9.211        9.132        -0.04        57.45        52.34       0.2332         92 %
//     best                                          9.211                                  3.029                 0.0006481          0 %
//
//   model: bound                                     mean        drawn            z    deviation        drawn     variance        times
//     uniform                                       1.189        1.211         0.08        8.669        9.260        1.000         91 %
//     inverseVariance                               1.189        1.221         1.21       0.7875       0.9002     0.008253         52 %
//     constantRate                                  1.189        1.223         1.11       0.9195       0.9156      0.01125         70 %
//     likelihood                                    1.189        1.139        -0.97        1.640        1.634      0.03577         84 %
//     logitNormal                                   1.189       0.2780        -0.00     2.631e+4        2.065     9.210e+6         92 %
//     logNormal                                     1.189        1.195         0.05        3.938        3.745       0.2063         91 %
//     best                                          1.189                                 0.4504                  0.002700          0 %
//
//   model: simple                                    mean        drawn            z    deviation        drawn     variance        times
//     uniform                                     0.03729      0.03535        -0.84      0.07321      0.07159        1.000         81 %
//     inverseVariance                             0.03729      0.04155         1.40      0.09713       0.1169        1.760         77 %
//     constantRate                                0.03729      0.03711        -0.15      0.03497      0.03458       0.2282         60 %
//     likelihood                                  0.03729      0.03702        -0.19      0.04387      0.04537       0.3591         68 %
//     logitNormal                                 0.03729      0.02760        -0.01        56.66       0.1100     5.990e+5         92 %
//     logNormal                                   0.03729      0.03748         0.27      0.01994      0.02048      0.07420         24 %
//     best                                        0.03729                                0.01729                   0.05577          0 %
//
//   model: cut-off, bound                            nats      uniform   likelihood        ratio
//     eta = 0.00001                                 2.836     1.948e+4        12.50    0.0006416
//     eta = 0.0001                                  1.859         1089        5.910     0.005426
//     eta = 0.001                                   1.158        75.15        2.688      0.03577
//     eta = 0.01                                   0.5490        5.109       0.8011       0.1568
//
//   gradients: bound                             variance     relative          gap
//     bound uniform 0.001 independent               658.8        1.000
//     bound likelihood 0.001 independent            49.94      0.07581       0.9467
//     bound uniform 0.001 systematic                609.8       0.9256       0.3280
//     bound likelihood 0.001 systematic             48.51      0.07363       0.9655
//
//   gradients: simple                            variance     relative          gap
//     simple uniform 0.001 independent             0.2113        1.000
//     simple likelihood 0.001 independent          0.2732        1.293        1.361
//     simple uniform 0.001 systematic              0.2295        1.086       0.8620
//     simple likelihood 0.001 systematic           0.3080        1.458        1.477
//
//   training: 2000 steps of 128, 2 keys; the exact score's flow is -0.0517 nats off
//
//     objective law eta                             noise        score            ±         flow            ±
//     simple uniform 0.001                         0.2403       0.5266    0.0008401       0.1691      0.06583
//     bound uniform 0.001                          0.6656       0.6445      0.07850       0.5558       0.1227
//     bound likelihood 0.001                       0.1655       0.3640     0.009422       0.1895      0.02114
//     bound uniform 0.00001                         3.208        1.839       0.5408        1.368       0.6626
//     bound likelihood 0.00001                     0.1385       0.1456    0.0002368       0.2039      0.02664
//     bound uniform 0.01                           0.2935        1.190      0.03231       0.2582      0.03031
//     bound likelihood 0.01                        0.2351        1.195      0.06076       0.1493     0.003707

import { parseArgs } from "node:util";
import * as tf from "@tensorflow/tfjs-core";
import {
  type DenoisingBatch,
  errorsOf,
  mixtureLogDensity,
  mixtureScore,
  regression,
  regressionErrors,
  variational,
  type Weighting,
} from "@tweedie/tweedie/denoise";
import {
  fashionMnist,
  flow,
  fold,
  initialize,
  type Key,
  key,
  loadDenoiser,
  logLikelihood,
  mixture,
  mlp,
  type Model,
  networkModel,
  newTraining,
  normal,
  type Objective,
  type Params,
  type Schedule,
  train,
  unet,
  vp,
  weightings,
} from "@tweedie/tweedie";
import { logSnr } from "@tweedie/tweedie/noise";
import { networkTime } from "@tweedie/tweedie/network";
import { normals, type Tensors, uniforms } from "@tweedie/tweedie/tensor";
import {
  sampleTimes,
  type TimeLaw,
  timeLaws,
  type TimeSampler,
  timeSampler,
  type TimeSpread,
} from "@tweedie/tweedie/train";
import { useBackend } from "@tweedie/tweedie/backend";
import { native, pictures } from "./garments.ts";

const { values: options } = parseArgs({
  options: {
    parts: { type: "string", default: "process,model,gradients,training" },
    draws: { type: "string", default: "1024" },
    levels: { type: "string", default: "48" },
    images: { type: "string", default: "128" },
    steps: { type: "string", default: "2000" },
    keys: { type: "string", default: "2" },
  },
});
const parts = options.parts.split(",");
const [draws, levels, images, steps, keys] = [
  options.draws,
  options.levels,
  options.images,
  options.steps,
  options.keys,
].map(Number) as [number, number, number, number, number];

const sum = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0);
const mean = (values: readonly number[]): number => sum(values) / values.length;
const variance = (values: readonly number[]): number => {
  const m = mean(values);
  return sum(values.map((v) => (v - m) ** 2)) / (values.length - 1);
};

const cell = (value: number | string, width = 13): string =>
  (typeof value === "string" ? value : value.toPrecision(4)).padStart(width);
const line = (name: string, cells: readonly (number | string)[]): void =>
  console.log(name.padEnd(40) + cells.map((value) => cell(value)).join(""));
const title = (text: string, ...columns: string[]): void => {
  console.log();
  line(text, columns);
};

// ------------------------------------------------------------------ Mean and variance under a law, by integration

/** An error whose first two moments are tabled at places in log-SNR, falling with t, and linear between. */
interface Table {
  readonly schedule: Schedule;
  readonly places: readonly number[];
  readonly first: readonly number[];
  readonly second: readonly number[];
  /** Number of errors that each place's moments are of. */
  readonly count: number;
}

/** The factor of the tabled error in an estimate at t: w·r. */
type Factor = (t: number) => number;

/** Midpoints and widths of a grid that is fine in t and in log-SNR. */
function cells(schedule: Schedule, [least, most]: readonly [number, number], n = 8000) {
  const even = (a: number, b: number) => Array.from({ length: n }, (_, i) => a + (b - a) * i / n);
  const [first, last] = [logSnr(schedule.at(least)), logSnr(schedule.at(most))];
  const inner = [...even(least, most), ...even(first, last).map(schedule.timeOf)];
  const knots = [least, ...inner.filter((t) => t > least && t < most), most].sort((a, b) => a - b);
  return knots.slice(1).map((t, i): [number, number] => [(t + knots[i]!) / 2, t - knots[i]!]);
}

/** Mean, variance and what of it is owed to times; `unsure` is the variance of the mean for the table's own sampling. */
interface Spread {
  readonly mean: number;
  readonly variance: number;
  readonly times: number;
  readonly unsure: number;
}

/** The moments of an estimate under a law. Linear in the table, so that its sampling error is a sum over places. */
function underLaw(table: Table, { range, density }: TimeSampler, factor: Factor): Spread {
  const { schedule, places, first, second, count } = table, top = places.length - 1;
  const [high, low] = [places[0]!, places[top]!], coefficients = places.map(() => 0);
  let square = 0, level = 0;
  for (const [t, width] of cells(schedule, range)) {
    const place = top * Math.min(Math.max((high - logSnr(schedule.at(t))) / (high - low), 0), 1);
    const i = Math.min(Math.floor(place), top - 1), u = place - i;
    const at = (list: readonly number[]) => (1 - u) * list[i]! + u * list[i + 1]!;
    const weight = factor(t), mass = density(t) * width;
    coefficients[i]! += mass * weight * (1 - u);
    coefficients[i + 1]! += mass * weight * u;
    square += mass * weight ** 2 * at(second);
    level += mass * (weight * at(first)) ** 2;
  }
  const mean = sum(coefficients.map((c, i) => c * first[i]!));
  return {
    mean,
    variance: square - mean ** 2,
    times: level - mean ** 2,
    unsure: sum(coefficients.map((c, i) => c ** 2 * (second[i]! - first[i]! ** 2) / count)),
  };
}

// ------------------------------------------------------------------ The Ornstein-Uhlenbeck process, where all is known

function knownProcess(): void {
  const schedule = vp({ betaMin: 1, betaMax: 1, end: 5 }), data = 0.25;
  // A model that says 0: the eps error is eps², whose moments are 1 and 3.
  const table = (eta: number): Table => {
    const places = [eta, 5].map((t) => logSnr(schedule.at(t)));
    return { schedule, places, first: [1, 1], second: [3, 3], count: Infinity };
  };
  const score = (t: number) => schedule.at(t).sigma ** -2;
  const by = (law: TimeLaw, least: number, reweighted = true): [TimeSampler, Spread] => {
    const sampler = timeSampler(schedule, { law, least, spread: "independent" });
    const factor: Factor = reweighted ? (t) => score(t) * sampler.weight(t) : score;
    return [sampler, underLaw(table(least), sampler, factor)];
  };
  title("process: law, eta = 0.001", "mean", "variance", "drawn", "z");
  const laws: [string, TimeLaw, boolean][] = [
    ["uniform", timeLaws.uniform(), true],
    ["constantRate", timeLaws.constantRate(), true],
    ["constantRate, no weight", timeLaws.constantRate(), false],
  ];
  for (const [name, law, reweighted] of laws) {
    const [sampler, { mean: exact, variance }] = by(law, 1e-3, reweighted), n = 100_000;
    const eps = normals(key(1), n);
    const drawn = mean(
      sampleTimes(sampler, n, key(2)).map((t, i) =>
        score(t) * eps[i]! ** 2 * (reweighted ? sampler.weight(t) : 1)
      ),
    );
    line(name, [exact, variance, drawn, ((drawn - exact) / Math.sqrt(variance / n)).toFixed(2)]);
  }
  title("process: cut-off", "mean", "uniform", "constantRate", "ratio", "data + ");
  for (const eta of [1e-5, 1e-4, 1e-3, 1e-2, 1e-1]) {
    const [, uniform] = by(timeLaws.uniform(), eta), [, rate] = by(timeLaws.constantRate(), eta);
    // What a sample of N(0, 1/4) has too much in variance when sampling stops at eta.
    const excess = schedule.at(eta).alpha ** 2 * data + schedule.at(eta).sigma ** 2 - data;
    const ratio = rate.variance / uniform.variance;
    line(`eta = ${eta}`, [uniform.mean, uniform.variance, rate.variance, ratio, excess]);
  }
}

// ------------------------------------------------------------------ The shipped model

const engine = await native();

/** The v error of each image of a list at a time of its own. */
type Errors = (
  t: readonly number[],
  numbers: readonly number[],
  under: Key,
) => Promise<readonly number[]>;

async function shipped(schedule: Schedule): Promise<{ errors: Errors; most: number }> {
  const { config, params, model } = await loadDenoiser(
    "examples/weights/fashion-mnist.safetensors",
  );
  const set = await fashionMnist(undefined, "test"), own = model.schedule, part = 64;
  const network = unet(config.network);
  const forward = ({ x, time, label, ...weights }: Tensors) => ({
    y: network.forward(weights, x!, { time: time!, label: label! }),
  });
  const compiled = engine?.compile(forward, params);
  const answer = (inputs: Tensors) =>
    compiled ? compiled.run(inputs) : tf.tidy(() => forward({ ...params, ...inputs }));
  const some = async (t: readonly number[], numbers: readonly number[], under: Key) => {
    const x0 = pictures(set, numbers), eps = normal(under, x0.shape);
    const { xt, target, weights } = regression({ x0, eps, t }, { schedule, kind: "v" });
    // Variance is preserved on both sides, so the same log-SNR is the same picture.
    const times = t.map((t) => networkTime(own, own.timeOf(logSnr(schedule.at(t)))));
    const inputs = { x: xt, ...network.inputs(times, numbers.map((i) => set.labels![i]!)) };
    const { y } = await answer(inputs);
    const errors = regressionErrors(y!, { target, weights }), found = [...await errors.data()];
    tf.dispose([x0, eps, target, weights, errors, y!, ...Object.values(inputs)]);
    return found;
  };
  const errors: Errors = async (t, numbers, under) => {
    const found: number[] = [];
    for (let at = 0; at < t.length; at += part) {
      const slice = <A>(list: readonly A[]) => list.slice(at, at + part);
      found.push(...await some(slice(t), slice(numbers), fold(under, at)));
      if (at % 1024 === 0) console.error(`${at} of ${t.length}`);
    }
    return found;
  };
  return { errors, most: schedule.timeOf(logSnr(own.at(own.span[1])) + 1e-6) };
}

const someImages = (n: number, under: Key): number[] =>
  [...uniforms(under, n)].map((u) => Math.floor(10_000 * u));

/** The moments of the model's error by log-SNR. */
async function tabled(
  schedule: Schedule,
  [least, most]: readonly [number, number],
  errors: Errors,
): Promise<Table> {
  const [high, low] = [logSnr(schedule.at(least)), logSnr(schedule.at(most))];
  const places = Array.from({ length: levels }, (_, i) => high + (low - high) * i / (levels - 1));
  const times = places.map((place, i) =>
    i === 0 ? least : i === levels - 1 ? most : schedule.timeOf(place)
  );
  const t = times.flatMap((t) => Array<number>(images).fill(t));
  const all = await errors(t, someImages(t.length, key(3)), key(4));
  const of = (power: number) =>
    places.map((_, i) =>
      mean(all.slice(i * images, (i + 1) * images).map((error) => error ** power))
    );
  return { schedule, places, first: of(1), second: of(2), count: images };
}

const objectives = (schedule: Schedule): Readonly<Record<string, Weighting>> => ({
  score: ({ score }) => score,
  bound: variational(schedule),
  simple: weightings.simple,
});

/** What is asked of every objective: its factor of the v error, under a law. */
type Weighed = (sampler: TimeSampler) => Factor;

const weighed = (schedule: Schedule, weighting: Weighting): Weighed => ({ weight: r }) => (t) => {
  const level = schedule.at(t);
  return r(t) * weighting(errorsOf("v", level), { level, t });
};

/** One law's own draws. */
interface Draws {
  readonly sampler: TimeSampler;
  readonly t: readonly number[];
  readonly found: readonly number[];
}

async function drawnBy(sampler: TimeSampler, errors: Errors): Promise<Draws> {
  const under = fold(key(5), sampler.name), t = sampleTimes(sampler, draws, fold(under, "t"));
  const found = await errors(t, someImages(draws, fold(under, "images")), fold(under, "noise"));
  return { sampler, t, found };
}

const percent = (share: number): string => `${(100 * share).toFixed(0)} %`;

/** A law's row: what the table says of it, what its own draws say, and how well the two agree. */
function compared({ sampler, t, found }: Draws, table: Table, { of, unit }: {
  readonly of: Weighed;
  readonly unit: number;
}): void {
  const { mean: exact, variance: v, times, unsure } = underLaw(table, sampler, of(sampler));
  const estimates = found.map((error, i) => error * of(sampler)(t[i]!));
  const z = (mean(estimates) - exact) / Math.sqrt(v / draws + unsure);
  const own = Math.sqrt(variance(estimates)), cells = [exact, mean(estimates), z.toFixed(2)];
  line(`  ${sampler.name}`, [...cells, Math.sqrt(v), own, v / unit, percent(times / v)]);
}

function profile({ schedule, places, first, second }: Table): void {
  title("model: log-SNR", "t", "v error", "deviation", "eps error");
  places.forEach((place, i) => {
    if (i % 6 > 0 && i < levels - 1) return;
    const t = schedule.timeOf(place), m = first[i]!, deviation = Math.sqrt(second[i]! - m ** 2);
    const { eps } = errorsOf("v", schedule.at(t));
    line(`  ${place.toFixed(2)}`, [t, m, deviation, m * eps]);
  });
}

/** The bound by cut-off: what it loses, and what importance sampling gains. */
function cutOffs(table: Table, most: number): void {
  const { schedule } = table, of = weighed(schedule, variational(schedule));
  title("model: cut-off, bound", "nats", "uniform", "likelihood", "ratio");
  for (const least of [1e-5, 1e-4, 1e-3, 1e-2]) {
    const [uniform, likelihood] = [timeLaws.uniform(), timeLaws.likelihood(schedule)].map((law) => {
      const sampler = timeSampler(schedule, { law, least, most });
      return underLaw(table, sampler, of(sampler));
    }) as [Spread, Spread];
    const nats = (most - least) * uniform.mean, ratio = likelihood.variance / uniform.variance;
    line(`  eta = ${least}`, [nats, uniform.variance, likelihood.variance, ratio]);
  }
}

async function model(): Promise<void> {
  const schedule = vp(), { errors, most } = await shipped(schedule);
  const range = { least: 1e-3, most, spread: "independent" } as const;
  const table = await tabled(schedule, [1e-5, most], errors);
  profile(table);
  const all: Draws[] = [];
  for (
    const law of [
      timeLaws.uniform(),
      timeLaws.inverseVariance(schedule),
      timeLaws.constantRate(),
      timeLaws.likelihood(schedule),
      timeLaws.logitNormal(schedule),
      timeLaws.logNormal(schedule),
    ]
  ) all.push(await drawnBy(timeSampler(schedule, { ...range, law }), errors));
  for (const [name, weighting] of Object.entries(objectives(schedule))) {
    const of = weighed(schedule, weighting), [{ sampler: uniform }] = all as [Draws];
    const unit = underLaw(table, uniform, of(uniform)).variance;
    title(`model: ${name}`, "mean", "drawn", "z", "deviation", "drawn", "variance", "times");
    all.forEach((draws) => compared(draws, table, { of, unit }));
    const sampler = timeSampler(schedule, { ...range, law: fitted(table, of(uniform)) });
    const { mean, variance: v, times } = underLaw(table, sampler, of(sampler));
    line("  best", [mean, "", "", Math.sqrt(v), "", v / unit, percent(times / v)]);
  }
  cutOffs(table, most);
}

/** The law in proportion to the root mean square of an estimate: none has less variance. */
function fitted({ schedule, places, second }: Table, weight: Factor): TimeLaw {
  const top = places.length - 1, [high, low] = [places[0]!, places[top]!];
  return {
    name: "best",
    density: (t) => {
      const place = top * Math.max((high - logSnr(schedule.at(t))) / (high - low), 0);
      const i = Math.min(Math.floor(place), top - 1), u = place - i;
      return weight(t) * Math.sqrt((1 - u) * second[i]! + u * second[i + 1]!);
    },
  };
}

// ------------------------------------------------------------------ Training, on a mixture in the plane

const plane = vp(), network = mlp({ dimension: 2, width: 64 }), size = 128;
const deviation = 0.05;
const law = {
  means: [[-1, -1], [-1, 1], [1, -1], [1, 1]],
  variances: Array<number>(4).fill(deviation ** 2),
  weights: [0.1, 0.2, 0.3, 0.4],
};

/** Points of the mixture, row by row. */
function points(n: number, under: Key): Float32Array {
  const z = normals(fold(under, "z"), 2 * n), u = uniforms(fold(under, "component"), n);
  const component = (u: number) => [0.1, 0.3, 0.6, Infinity].findIndex((end) => u < end);
  const of = Array.from(u, component);
  return z.map((z, i) => law.means[of[i >> 1]!]![i % 2]! + deviation * z);
}

/** How a run is trained. */
interface Recipe {
  readonly objective: "bound" | "simple";
  readonly times: "uniform" | "likelihood";
  readonly least: number;
  readonly spread?: TimeSpread;
}

const samplerOf = ({ times, least, spread = "systematic" }: Recipe): TimeSampler =>
  timeSampler(plane, {
    law: times === "uniform" ? timeLaws.uniform() : timeLaws.likelihood(plane),
    least,
    spread,
  });

/** The objective, of batches that are drawn afresh. */
function objective(recipe: Recipe): Objective<number> {
  const times = samplerOf(recipe), weighting = objectives(plane)[recipe.objective]!;
  const options = {
    schedule: plane,
    kind: "eps",
    weighting:
      ((errors, point) => weighting(errors, point) * times.weight(point.t)) satisfies Weighting,
  } as const;
  return {
    inputs: (_, under) => {
      const t = sampleTimes(times, size, fold(under, "t"));
      return tf.tidy(() => {
        const x0 = tf.tensor2d(points(size, fold(under, "x")), [size, 2]);
        const batch: DenoisingBatch = { x0, eps: normal(fold(under, "eps"), [size, 2]), t };
        return {
          ...regression(batch, options),
          ...network.inputs(t.map((t) => networkTime(plane, t))),
        };
      });
    },
    loss: (params, { xt, target, weights, time }) =>
      tf.tidy(() => {
        const answer = network.forward(params, xt!, { time: time! });
        const errors = regressionErrors(answer, { target: target!, weights: weights! });
        return tf.mean(errors) as tf.Scalar;
      }),
  };
}

/** A run: the moving average of its weights at the end, which the caller disposes of, and the losses on the way. */
async function trained(recipe: Recipe, seed: number): Promise<{ ema: Params; losses: number[] }> {
  const start = newTraining(initialize(network.parameters, fold(key(seed), "weights")));
  const losses: number[] = [];
  let ema: Params = {};
  const states = train(start, {
    loss: objective(recipe),
    key: key(seed),
    adam: { rate: 3e-3, anneal: steps },
    every: 500,
    ...(engine && { engine }),
  })(Array(steps).keys());
  for await (const state of states) {
    losses.push(...state.losses);
    tf.dispose({ ...ema });
    ema = Object.fromEntries(Object.entries(state.ema).map(([name, w]) => [name, tf.clone(w)]));
  }
  return { ema, losses };
}

/** Deviation over mean of a batch's loss in the second half, from neighbours, so that the fall itself does not count. */
function noiseOf(losses: readonly number[]): number {
  const late = losses.slice(losses.length >> 1);
  const jumps = late.slice(1).map((loss, i) => (loss - late[i]!) ** 2 / 2);
  return Math.sqrt(mean(jumps)) / mean(late);
}

/** Integral of g²/2·E‖score_theta − score‖², in nats. */
function scoreError(params: Params, n = 8192): number {
  const times = samplerOf({ objective: "bound", times: "likelihood", least: 1e-5 });
  const t = sampleTimes(times, n, key(6)), x0 = points(n, key(7)), eps = normals(key(8), 2 * n);
  const levels = t.map(plane.at), exact = mixtureScore(law);
  const xt = x0.map((x, i) => levels[i >> 1]!.alpha * x + levels[i >> 1]!.sigma * eps[i]!);
  const said = tf.tidy(() =>
    network.apply(params, tf.tensor2d(xt, [n, 2]), t.map((t) => networkTime(plane, t))).dataSync()
  );
  const errors = levels.map((level, i) => {
    const score = exact([xt[2 * i]!, xt[2 * i + 1]!], level);
    const square = sum(score.map((s, j) => (-said[2 * i + j]! / level.sigma - s) ** 2));
    return times.weight(t[i]!) * plane.diffusion(t[i]!) ** 2 / 2 * square;
  });
  return (1 - 1e-5) * mean(errors);
}

const held = points(256, key(9));

/** Nats of held data under the flow of a model, from t = 1e-5 up. */
async function nats(model: Model): Promise<number> {
  const x = tf.tensor2d(held, [256, 2]), final = 1e-5;
  const sampler = flow(plane, { steps: 40, spacing: "logLinear", final, upward: true });
  const found = await logLikelihood(x, { sampler, t: final, model, key: key(0) });
  x.dispose();
  return -mean([...found]);
}

const recipes: readonly Recipe[] = [
  { objective: "simple", times: "uniform", least: 1e-3 },
  { objective: "bound", times: "uniform", least: 1e-3 },
  { objective: "bound", times: "likelihood", least: 1e-3 },
  { objective: "bound", times: "uniform", least: 1e-5 },
  { objective: "bound", times: "likelihood", least: 1e-5 },
  { objective: "bound", times: "uniform", least: 1e-2 },
  { objective: "bound", times: "likelihood", least: 1e-2 },
];

const named = ({ objective, times, least, spread }: Recipe): string =>
  `  ${objective} ${times} ${least}${spread ? ` ${spread}` : ""}`;

async function training(): Promise<void> {
  const density = mixtureLogDensity(law), exact = await nats(mixture(plane, law));
  const entropy = -mean(
    Array.from(
      { length: 256 },
      (_, i) => density([held[2 * i]!, held[2 * i + 1]!], { alpha: 1, sigma: 0 }),
    ),
  );
  console.log(
    `\ntraining: ${steps} steps of ${size}, ${keys} keys; the exact score's flow is ${
      (exact - entropy).toFixed(4)
    } nats off`,
  );
  title("  objective law eta", "noise", "score", "±", "flow", "±");
  for (const recipe of recipes) {
    const rows: [number, number, number][] = [];
    for (let seed = 0; seed < keys; seed++) {
      const { ema, losses } = await trained(recipe, seed);
      const model = networkModel(network, ema, { schedule: plane, kind: "eps" });
      rows.push([noiseOf(losses), scoreError(ema), await nats(model) - exact]);
      tf.dispose({ ...ema });
    }
    const column = (i: 0 | 1 | 2) => rows.map((row) => row[i]);
    const spread = (i: 0 | 1 | 2) => keys > 1 ? Math.sqrt(variance(column(i)) / keys) : NaN;
    line(named(recipe), [mean(column(0)), ...[
      mean(column(1)),
      spread(1),
      mean(column(2)),
      spread(2),
    ]]);
  }
}

// ------------------------------------------------------------------ Gradients

/** The gradients of batches at the same weights: their mean, which the caller disposes of, and the trace of their covariance. */
function gradientsOf(recipe: Recipe, params: Params, batches: number) {
  const { inputs, loss } = objective(recipe), names = Object.keys(params);
  const weights = names.map((name) => params[name]!);
  const flat = (i: number): tf.Tensor1D =>
    tf.tidy(() => {
      const given = inputs(i, fold(fold(key(10), named(recipe)), i));
      const of = (...w: tf.Tensor[]) =>
        loss(Object.fromEntries(names.map((name, k) => [name, w[k]!])), given);
      return tf.concat(tf.grads(of)(weights).map((g) => tf.reshape(g, [-1]))) as tf.Tensor1D;
    });
  let mean = tf.zeros([1]), squares = 0;
  for (let i = 0; i < batches; i++) {
    const before = mean, gradient = flat(i);
    mean = tf.tidy(() => tf.add(before, tf.div(gradient, batches)));
    squares += squareOf(gradient);
    tf.dispose([before, gradient]);
  }
  return { mean, trace: (squares - batches * squareOf(mean)) / (batches - 1) };
}

const squareOf = (x: tf.Tensor): number => tf.tidy(() => tf.sum(tf.square(x)).dataSync()[0]!);

async function gradients(): Promise<void> {
  const batches = 200, base: Recipe = { objective: "bound", times: "likelihood", least: 1e-3 };
  const { ema } = await trained(base, 0);
  for (const objective of ["bound", "simple"] as const) {
    title(`gradients: ${objective}`, "variance", "relative", "gap");
    const spreads = ["independent", "systematic"] as const;
    const all = spreads.flatMap((spread) =>
      (["uniform", "likelihood"] as const).map((times) => {
        const recipe = { ...base, objective, times, spread };
        return { recipe, ...gradientsOf(recipe, ema, batches) };
      })
    );
    const [first] = all as [typeof all[number]];
    for (const { recipe, mean, trace } of all) {
      const gap = tf.tidy(() => squareOf(tf.sub(mean, first.mean)));
      const ratio = mean === first.mean ? "" : gap * batches / (trace + first.trace);
      line(named(recipe), [trace, trace / first.trace, ratio]);
    }
    tf.dispose(all.map(({ mean }) => mean));
  }
  tf.dispose({ ...ema });
}

await useBackend();
const known: Readonly<Record<string, () => void | Promise<void>>> = {
  process: knownProcess,
  model,
  gradients,
  training,
};
for (const part of parts) await known[part]!();
await engine?.close();

// What do the paths look like? Two pictures, and the numbers that go with them.
//
//   sde_and_ode_paths.png   From noise (left, t = 1) to data (right, t = 0) of vp(), on a mixture on a line with its exact
//       score: the probability-flow ODE (lambda = 0, top), half way (lambda = ½), the reverse SDE (lambda = 1, bottom).
//       Seven paths from the same seven starts, coloured by start; grey is the density of x_t, the same in all three. On
//       the right the samples at the end (bars) against the data's density (line). Paths of the ODE never cross, so colours
//       stay in order; those of the SDE forget where they have come from.
//   brownian_paths.png   Brownian motion: seven paths from 0 with the bands of one, two and three √t; one path seen in 16,
//       128 and 1,024 steps; a path in the plane, from light to dark.
//
// The table: mean and deviation of the samples and of the data; D is Kolmogorov and Smirnov's distance of the samples from the
// data's law, times √n, which exceeds 1.36 once in twenty; "roughness" is the sum of squared steps of a path, which is lambda²
// times the integral of g² (10.05 for vp()) for a diffusion, and 0 for a smooth path, as steps become short; "crossings" the
// share of pairs of samples that end in another order than they started in.
//
// Run: deno run --allow-read=examples/pictures --allow-write=examples/pictures bench/paths.ts [--samples 4000] [--out folder]
//
// Measured on 2026-11-29 in float32 on tfjs's cpu backend; the figures do not depend on the machine:
//
//   lambda                 mean  deviation       D·√n  roughness  crossings
//   the data              0.180      1.419
//   0                     0.189      1.417      0.478      0.003      0.000
//   0.5                   0.178      1.411      0.881      2.519      0.388
//   1                     0.171      1.418      0.711     10.123      0.481
//   1024 steps          squares      0.970     length     24.885
//   128 steps           squares      1.111     length      9.202
//   16 steps            squares      1.512     length      3.851
//
// One law at the end, by three kinds of path. The squares of a Brownian path's steps add up to the time that has passed, 1,
// however short they are, and their lengths to ever more: it has no derivative.

import { parseArgs } from "node:util";
import { brownian, fold, key, mixture, reverseSde, run, vp } from "@tweedie/tweedie";
import { mixtureLogDensity } from "@tweedie/tweedie/denoise";
import { normals } from "@tweedie/tweedie/tensor";
import { useBackend } from "@tweedie/tweedie/backend";
import * as tf from "@tensorflow/tfjs-core";
import {
  black,
  blank,
  blue,
  drawn,
  lay,
  mixed,
  orange,
  type Panel,
  type Place,
  point,
  saved,
  shaded,
} from "./draw.ts";

const { values: options } = parseArgs({
  options: {
    samples: { type: "string", default: "4000" },
    out: { type: "string", default: "examples/pictures" },
  },
});

const sum = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0);
const mean = (values: readonly number[]): number => sum(values) / values.length;

// ------------------------------------------------------------------ From noise to data

const schedule = vp(), final = 1e-3, columns = 480, count = 7, samples = Number(options.samples);
const law = { means: [-1.5, 1.3], variances: [0.09, 0.16], weights: [0.4, 0.6] };
const model = mixture(schedule, law), logDensity = mixtureLogDensity(law);

/** Seven starts spread evenly over the noise, and as many more as are wanted from the noise itself. */
const starts = (): Float32Array => {
  const drawn = normals(key(1), samples);
  [-1.8, -1.2, -0.6, 0, 0.6, 1.2, 1.8].forEach((x, i) => drawn[i] = x);
  return drawn;
};

/** States of all samples at all times of the grid. */
async function paths(lambda: number): Promise<readonly (readonly number[])[]> {
  const sampler = reverseSde(schedule, {
    steps: columns,
    lambda,
    final,
    predictor: "euler-maruyama",
  });
  const x: tf.Tensor = tf.tensor(starts(), [samples, 1]), states: number[][] = [];
  for await (const { x: at } of run({ x, t: 1, step: 0 }, { model, key: key(2) })(sampler)) {
    states.push([...at.dataSync()]);
  }
  x.dispose();
  return states;
}

/** Share of the normal law below z, right to 1e-7: M. Abramowitz, I. Stegun, "Handbook of mathematical functions", 7.1.26. */
function normalCdf(z: number): number {
  const u = 1 / (1 + 0.3275911 * Math.abs(z) / Math.SQRT2);
  const poly = [1.061405429, -1.453152027, 1.421413741, -0.284496736, 0.254829592]
    .reduce((value, c) => value * u + c, 0) * u;
  const tail = poly * Math.exp(-z * z / 2) / 2;
  return z > 0 ? 1 - tail : tail;
}

const cdf = (x: number): number =>
  sum(law.weights.map((w, k) => w * normalCdf((x - law.means[k]!) / Math.sqrt(law.variances[k]!))));

function distance(values: readonly number[]): number {
  const n = values.length, sorted = [...values].sort((a, b) => a - b);
  return Math.max(...sorted.map((x, i) => Math.max(cdf(x) - i / n, (i + 1) / n - cdf(x))));
}

/** Share of pairs, of the first few samples, in another order at the end. */
function crossings(first: readonly number[], last: readonly number[], n = 400): number {
  let crossed = 0;
  for (let i = 0; i < n; i++) {
    for (let j = 0; j < i; j++) {
      if ((first[i]! - first[j]!) * (last[i]! - last[j]!) < 0) crossed++;
    }
  }
  return crossed / (n * (n - 1) / 2);
}

function told(name: string, cells: readonly (number | string)[]): void {
  const text = cells.map((value) => typeof value === "string" ? value : value.toFixed(3));
  console.log(name.padEnd(16) + text.map((value) => value.padStart(11)).join(""));
}

async function reverse(): Promise<void> {
  const height = 160, gap = 8, side = 80, lambdas = [0, 0.5, 1], span = [-3.2, 3.2] as const;
  const image = blank(columns + gap + side, 3 * height + 2 * gap);
  const m = sum(law.means.map((m, k) => law.weights[k]! * m));
  const square = sum(law.means.map((m, k) => law.weights[k]! * (m * m + law.variances[k]!)));
  told("lambda", ["mean", "deviation", "D·√n", "roughness", "crossings"]);
  told("the data", [m, Math.sqrt(square - m * m), "", "", ""]);
  for (const [row, lambda] of lambdas.entries()) {
    const states = await paths(lambda), ends = states.at(-1)!, corner = row * (height + gap);
    const panel: Panel = {
      image,
      corner: [0, corner],
      size: [columns, height],
      x: [0, columns],
      y: span,
    };
    const density = ([x, y]: Place) =>
      Math.exp(logDensity([y], schedule.at(1 + (final - 1) * x / columns)));
    shaded(panel, (place) => Math.sqrt(density(place) / 0.8));
    for (let i = 0; i < count; i++) {
      const colour = mixed(blue, orange, i / (count - 1));
      drawn(panel, states.map((values, step): Place => [step, values[i]!]), colour);
    }
    histogram(
      { ...panel, corner: [columns + gap, corner], size: [side, height], x: [0, 0.8] },
      ends,
    );

    const average = mean(ends), deviation = Math.sqrt(mean(ends.map((x) => (x - average) ** 2)));
    const roughness = mean(
      Array.from({ length: 200 }, (_, i) =>
        sum(
          states.slice(1).map((values, k) => (values[i]! - states[k]![i]!) ** 2),
        )),
    );
    const d = distance(ends) * Math.sqrt(samples);
    told(String(lambda), [average, deviation, d, roughness, crossings(states[0]!, ends)]);
  }
  await saved(`${options.out}/sde_and_ode_paths.png`, image);
}

function histogram(panel: Panel, values: readonly number[], bins = 64): void {
  const [low, high] = panel.y, counts = Array<number>(bins).fill(0), width = (high - low) / bins;
  for (const value of values) {
    const bin = Math.floor((value - low) / width);
    if (bin >= 0 && bin < bins) counts[bin]!++;
  }
  lay(panel, [190, 196, 206], (column, row) => {
    const [x, y] = point(panel, column, row), bin = Math.floor((y - low) / width);
    return x < counts[bin]! / (values.length * width) ? 1 : 0;
  });
  const edge = Array.from({ length: 200 }, (_, i): Place => {
    const y = low + (high - low) * i / 199;
    return [Math.exp(logDensity([y], { alpha: 1, sigma: 0 })), y];
  });
  drawn(panel, edge, black, 1.5);
}

// ------------------------------------------------------------------ Brownian motion

/** A path at steps + 1 even times on [0, 1], of each element of a shape. */
function walk(seed: number, size: number, steps: number): readonly (readonly number[])[] {
  const times = Array.from({ length: steps + 1 }, (_, i) => i / steps);
  const at = Array<number>(size).fill(0), path = [[...at]];
  for (const dw of brownian(fold(key(3), seed), [size], times)) {
    dw.dataSync().forEach((step, i) => at[i]! += step);
    dw.dispose();
    path.push([...at]);
  }
  return path;
}

async function random(): Promise<void> {
  const side = 220, gap = 10, image = blank(3 * side + 2 * gap, side);
  const panel = (place: number): Panel => ({
    image,
    corner: [place * (side + gap), 0],
    size: [side, side],
    x: [0, 1],
    y: [-3.2, 3.2],
  });

  shaded(panel(0), ([t, x]) => 0.6 - 0.2 * Math.min(Math.floor(Math.abs(x) / Math.sqrt(t)), 3), 5);
  const many = walk(0, count, 256);
  for (let i = 0; i < count; i++) {
    const colour = mixed(blue, orange, i / (count - 1));
    drawn(panel(0), many.map((at, k): Place => [k / 256, at[i]!]), colour, 1);
  }

  const finest = 1024, one = { ...panel(1), y: [-1.2, 1.2] as const };
  const looks = [[finest, 0.8, [165, 172, 184]], [128, 1.2, blue], [16, 2.2, orange]] as const;
  for (const [steps, width, colour] of looks) {
    const path = walk(8, 1, steps);
    drawn(one, path.map(([x], k): Place => [k / steps, x!]), colour, width);
    const squares = sum(path.slice(1).map(([x], k) => (x! - path[k]![0]!) ** 2));
    const length = sum(path.slice(1).map(([x], k) => Math.abs(x! - path[k]![0]!)));
    told(`${steps} steps`, ["squares", squares, "length", length]);
  }

  const flat = walk(5, 2, 2048),
    square = { ...panel(2), x: [-1.2, 1.2] as const, y: [-1.2, 1.2] as const };
  const parts = 32, each = 2048 / parts;
  for (let part = 0; part < parts; part++) {
    const places = flat.slice(part * each, (part + 1) * each + 1).map(([x, y]): Place => [x!, y!]);
    drawn(square, places, mixed([170, 200, 240], [20, 40, 110], part / (parts - 1)), 1);
  }
  await saved(`${options.out}/brownian_paths.png`, image);
}

await useBackend("cpu");
await reverse();
await random();

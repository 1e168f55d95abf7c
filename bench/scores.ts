// What becomes of points that follow the score of a density, and of points that follow it with noise?
//
//   scores.png   A mixture of three normal laws in the plane. Left: its density in shades, its score ∇ ln p as arrows (their length
//       is |∇ ln p|^½, so that short ones are seen). Middle: 60 points from noise that follow the score alone, x + ε·∇ ln p(x): they
//       end at the modes. Right: the same 60 by Langevin's chain, x + ε·∇ ln p(x) + √(2ε)·z: where they have been after burn-in.
//
// The table, of 2,000 points after 4,000 steps of ε = 0.01: the furthest from a mode (the modes themselves are found by Newton's
// steps); the mean and the covariance of all points beside those of the density; the share of points nearest to each mode.
// The chain's own law is wider than the density by about ε/2 of the score's slope, and its points change modes now and then.
//
// Run: deno run --allow-read=examples/pictures --allow-write=examples/pictures bench/scores.ts [--steps 4000] [--out folder]
//
// Measured on 2026-11-30, tfjs's cpu backend in float32; the figures hardly depend on the machine:
//
//                 furthest       E x       E y     Var x       Cov     Var y         1         2         3
//   density                    0.070     0.070     1.303     0.052     1.285
//   no noise        2.5e-6     0.093     0.088     0.923     0.044     1.015     0.287     0.304     0.408
//   noise           2.6e+0     0.044     0.098     1.290     0.061     1.292     0.299     0.289     0.412

import { parseArgs } from "node:util";
import * as tf from "@tensorflow/tfjs-core";
import { key, run } from "@tweedie/tweedie";
import { type MoveState, retained, targetOf, ula } from "@tweedie/tweedie/chain";
import { mixtureOf, multivariateNormal } from "@tweedie/tweedie/energy";
import { normals } from "@tweedie/tweedie/tensor";
import { useBackend } from "@tweedie/tweedie/backend";
import {
  blank,
  blue,
  drawn,
  lay,
  orange,
  type Panel,
  pixel,
  type Place,
  saved,
  shaded,
} from "./draw.ts";

const { values: options } = parseArgs({
  options: {
    steps: { type: "string", default: "4000" },
    out: { type: "string", default: "examples/pictures" },
  },
});
await useBackend("cpu");

const steps = Number(options.steps), count = 2000, stepSize = 0.01, few = 60, reach = 3.2;
const centres: readonly Place[] = [[-1.2, -0.8], [1.3, -0.7], [0.1, 1.3]];
const shapes = [[[0.3, 0.1], [0.1, 0.25]], [[0.25, 0], [0, 0.4]], [[0.5, -0.1], [-0.1, 0.2]]];
const weights = [0.3, 0.3, 0.4];
const density = mixtureOf(
  weights,
  centres.map((mean, k) => multivariateNormal({ mean, covariance: shapes[k]! })),
);

/** ∇ ln p of points [N, 2], by the shares of the components. */
function score(x: tf.Tensor): tf.Tensor {
  const laws = centres.map((centre, k) => {
    const [[a, b], [, d]] = shapes[k] as [[number, number], [number, number]], det = a * d - b * b;
    const precision = tf.tensor2d([[d / det, -b / det], [-b / det, a / det]]);
    const pull = tf.neg(tf.matMul(tf.sub(x, centre) as tf.Tensor2D, precision));
    const square = tf.neg(tf.sum(tf.mul(pull, tf.sub(x, centre)), 1));
    return { pull, share: tf.add(tf.mul(square, -0.5), Math.log(weights[k]!) - Math.log(det) / 2) };
  });
  const shares = tf.softmax(tf.stack(laws.map(({ share }) => share), 1));
  return laws.map(({ pull }, k) => tf.mul(pull, tf.slice(shares, [0, k], [-1, 1])))
    .reduce((sum, each) => tf.add(sum, each));
}

/** The mode near a point: steps along the score that grow no more. */
function mode(from: Place): Place {
  let place = from;
  for (let i = 0; i < 5000; i++) {
    const [sx, sy] = density.gradient!([...place]) as [number, number];
    place = [place[0] + 0.1 * sx, place[1] + 0.1 * sy];
  }
  return place;
}
const modes = centres.map(mode);
const far = (a: Place, b: Place): number => Math.hypot(a[0] - b[0], a[1] - b[1]);
const nearest = (place: Place): number =>
  modes.map((each) => far(each, place)).reduce((best, d, k, all) => d < all[best]! ? k : best, 0);

const start: MoveState = {
  x: tf.tensor(normals(key(1), 2 * count).map((z) => 1.6 * z), [count, 2]),
  step: 0,
};

/** Where the first few points are after each step, and all of them at the end. */
async function followed(noise: boolean) {
  const paths: Place[][] = [];
  let ends: Place[] = [];
  const chain = ula(targetOf({ score }), { stepSize, noise, steps });
  for await (const { x, step } of run(retained(start), { key: key(2) })(chain)) {
    const places = x.arraySync() as [number, number][];
    paths.push(places.slice(0, few));
    if (step === steps) ends = places;
  }
  return { paths, ends };
}

const cells = (values: readonly (number | string)[]): string =>
  values.map((v) => (typeof v === "string" ? v : v.toFixed(3)).padStart(10)).join("");
function told(name: string, ends: readonly Place[]): void {
  const mean = [0, 1].map((i) => ends.reduce((sum, x) => sum + x[i]!, 0) / ends.length);
  const moment = (i: number, j: number) =>
    ends.reduce((sum, x) => sum + (x[i]! - mean[i]!) * (x[j]! - mean[j]!), 0) / ends.length;
  const shares = modes.map((_, k) => ends.filter((x) => nearest(x) === k).length / ends.length);
  const furthest = Math.max(...ends.map((x) => far(x, modes[nearest(x)]!)));
  console.log(
    name.padEnd(12) +
      cells([
        furthest.toExponential(1),
        ...mean,
        moment(0, 0),
        moment(0, 1),
        moment(1, 1),
        ...shares,
      ]),
  );
}

const size = 300, gap = 8, image = blank(3 * size + 2 * gap, size);
const panel = (i: number): Panel => ({
  image,
  corner: [i * (size + gap), 0],
  size: [size, size],
  x: [-reach, reach],
  y: [-reach, reach],
});
for (const i of [0, 1, 2]) {
  shaded(panel(i), (place) => Math.sqrt(Math.exp(density.logDensity([...place])) / 0.22));
}
const side = 17;
for (let i = 0; i < side * side; i++) {
  const at: Place = [0, 1].map((axis) =>
    (((axis === 0 ? i % side : Math.floor(i / side)) + 0.5) / side * 2 - 1) * reach
  ) as unknown as Place;
  const [sx, sy] = density.gradient!([...at]) as [number, number], size = Math.hypot(sx, sy);
  const long = 0.09 * Math.sqrt(size) / size, tip: Place = [at[0] + long * sx, at[1] + long * sy];
  const wing = (turn: number): Place => {
    const [c, s] = [Math.cos(turn), Math.sin(turn)];
    return [tip[0] - 0.35 * long * (c * sx - s * sy), tip[1] - 0.35 * long * (s * sx + c * sy)];
  };
  drawn(panel(0), [at, tip], blue, 1.2);
  drawn(panel(0), [wing(0.6), tip, wing(-0.6)], blue, 1.2);
}
function dots(i: number, places: readonly Place[], radius: number, cover: number): void {
  const middle = places.map((place) => pixel(panel(i), place));
  lay(
    panel(i),
    orange,
    (column, row) =>
      middle.some(([x, y]) => Math.hypot(x - column - 0.5, y - row - 0.5) < radius) ? cover : 0,
  );
}

console.log(
  "".padEnd(12) + cells(["furthest", "E x", "E y", "Var x", "Cov", "Var y", "1", "2", "3"]),
);
const { mean, covariance } = density as unknown as { mean: number[]; covariance: number[][] };
console.log(
  "density".padEnd(12) +
    cells(["", ...mean, covariance[0]![0]!, covariance[0]![1]!, covariance[1]![1]!]),
);
const alone = await followed(false);
told("no noise", alone.ends);
for (let i = 0; i < few; i++) {
  drawn(panel(1), alone.paths.slice(0, 600).map((places) => places[i]!), blue, 1);
}
dots(1, alone.ends.slice(0, few), 3, 1);
const noisy = await followed(true);
told("noise", noisy.ends);
dots(2, noisy.paths.filter((_, step) => step > 500 && step % 100 === 0).flat(), 1.1, 0.8);
await saved(`${options.out}/scores.png`, image);

// What do energies that were learned one by one make together? Concepts of the plane, each learned from its own samples alone by
// contrastive divergence, then multiplied, mixed and taken from each other without any further training.
//
//   ring         radius N(1.5, 0.15²), any angle
//   band         N(0, diag(0.6², 1.5²)): upright
//   ring AND band, ring OR band (with the logarithms of both integrals, by a sum on a grid), ring AND NOT band (alpha = 1)
//
// concepts.png: e^(−E) of what was learned as shades, and 300 samples by the chain that is tested (MALA) as points; from noise,
// without one sample of any composition.
//
// The table: total variation is half of the integral of |p − p*|, of the learned law p against the true law p* of the concept or
// composition (0 the same, 1 apart), both on a grid; inside is the share of samples in the least region that has 95 % of p*, with
// its standard error of as many independent samples; and the share of moves that were taken.
//
// Run: deno run --allow-read --allow-write=examples/pictures --allow-ffi bench/concepts.ts [--steps 1500]
//        [--out folder]
//
// Measured on 2026-11-30 on two virtual cores beside other work, onnx, Deno 2.9.6, in 90 s:
//
//                        variation    inside     s.e.    taken
//   ring                     0.143     0.979    0.007    0.613
//   band                     0.064     0.888    0.007    0.997
//   ring AND band            0.160     0.982    0.007    0.584
//   ring OR band             0.093     0.900    0.007    0.818
//   ring AND NOT band        0.160     0.978    0.007    0.684
//
// The errors of compositions are those of their parts: the ring is learned a little too narrow, the band a little too wide.

import { parseArgs } from "node:util";
import * as tf from "@tensorflow/tfjs-core";
import { fold, initialize, key, last, newTraining, run, split, train } from "@tweedie/tweedie";
import { mala, type MoveState, retained, targetOf } from "@tweedie/tweedie/chain";
import { conjunction, disjunction, negation, type SampleEnergy } from "@tweedie/tweedie/energy";
import { energyMlp } from "@tweedie/tweedie/network";
import { contrastiveLoss, freshChains } from "@tweedie/tweedie/train";
import { normals, uniforms } from "@tweedie/tweedie/tensor";
import type { Key } from "@tweedie/tweedie/tensor";
import { useBackend } from "@tweedie/tweedie/backend";
import { blank, lay, orange, type Panel, pixel, type Place, saved } from "./draw.ts";
import { native } from "./garments.ts";

const { values: options } = parseArgs({
  options: {
    steps: { type: "string", default: "1500" },
    out: { type: "string", default: "examples/pictures" },
  },
});

await useBackend();
const engine = await native(), reach = 3, side = 160, cell = 2 * reach / side;

/** The middles of the cells of a grid on the square, row by row from above. */
const grid: readonly Place[] = Array.from({ length: side * side }, (_, i) => [
  -reach + cell * (i % side + 0.5),
  reach - cell * (Math.floor(i / side) + 0.5),
]);

// ------------------------------------------------------------------ Concepts

interface Concept {
  /** −ln p, which has no constant to be found. */
  readonly energy: (place: Place) => number;
  readonly draw: (key: Key, count: number) => Float32Array;
}

const gauss = (x: number, s: number): number =>
  x ** 2 / (2 * s ** 2) + Math.log(s) + Math.log(2 * Math.PI) / 2;

const ring: Concept = {
  energy: ([x, y]) => {
    const r = Math.hypot(x, y);
    return gauss(r - 1.5, 0.15) + Math.log(2 * Math.PI * r);
  },
  draw: (key, count) => {
    const z = normals(fold(key, "radius"), count), u = uniforms(fold(key, "angle"), count);
    return Float32Array.from({ length: 2 * count }, (_, i) => {
      const n = i >> 1, angle = 2 * Math.PI * u[n]!;
      return (1.5 + 0.15 * z[n]!) * (i % 2 === 0 ? Math.cos(angle) : Math.sin(angle));
    });
  },
};

const band: Concept = {
  energy: ([x, y]) => gauss(x, 0.6) + gauss(y, 1.5),
  draw: (key, count) => normals(key, 2 * count).map((z, i) => z * (i % 2 === 0 ? 0.6 : 1.5)),
};

/** A concept's energy, learned from its samples. */
async function learned({ draw }: Concept, seed: Key): Promise<SampleEnergy> {
  const network = energyMlp({ dimension: 2, width: 64, layers: 3, reference: 3 });
  const steps = Number(options.steps), count = 256, chains = 1024;
  const [begin, data, drive] = split(seed, 3);
  const start = newTraining(initialize(network.parameters, begin!), {
    carried: freshChains(network, chains, begin!),
  });
  const loss = contrastiveLoss(network, { kSteps: 20, stepSize: 0.01, chains, fresh: 0.05 });
  const batches = Array.from({ length: steps }, (_, i) => i);
  const source = function* () {
    for (const i of batches) yield { images: draw(fold(data!, i), count), shape: [count, 2] };
  };
  let params = start.ema;
  const run = train(start, {
    loss,
    key: drive!,
    adam: { rate: 1e-3, anneal: steps, clip: 1 },
    decay: 0.995,
    every: Math.min(steps, 500),
    ...(engine && { engine }),
  });
  for await (const state of run(source())) params = retained(state.ema);
  return (x) => network.apply(params, x);
}

// ------------------------------------------------------------------ Laws on the grid

/** e^(−E) of all cells, scaled to a sum of 1, and ln Z. */
function law(energies: ArrayLike<number>): { readonly p: number[]; readonly logZ: number } {
  const e = Array.from(energies), least = Math.min(...e);
  const weights = e.map((each) => Math.exp(least - each)), sum = weights.reduce((a, b) => a + b, 0);
  return { p: weights.map((w) => w / sum), logZ: Math.log(sum) + 2 * Math.log(cell) - least };
}

const onGrid = (energy: SampleEnergy): ArrayLike<number> =>
  tf.tidy(() => energy(tf.tensor2d(grid.flat(), [grid.length, 2])).dataSync());

/** The cells of the least region that has a share of a law. */
function region(p: readonly number[], share: number): boolean[] {
  const order = p.map((_, i) => i).sort((a, b) => p[b]! - p[a]!), inside = p.map(() => false);
  let sum = 0;
  for (const i of order) {
    if (sum >= share) break;
    inside[i] = true;
    sum += p[i]!;
  }
  return inside;
}

// ------------------------------------------------------------------ Compositions

const energies = {
  ring: await learned(ring, fold(key(1), "ring")),
  band: await learned(band, fold(key(1), "band")),
};
const logZ = [energies.ring, energies.band].map((energy) => law(onGrid(energy)).logZ);

const compositions: Record<
  string,
  { readonly energy: SampleEnergy; readonly exact: (place: Place) => number }
> = {
  "ring": { energy: energies.ring, exact: ring.energy },
  "band": { energy: energies.band, exact: band.energy },
  "ring AND band": {
    energy: conjunction([energies.ring, energies.band]),
    exact: (x) => ring.energy(x) + band.energy(x),
  },
  "ring OR band": {
    energy: disjunction([energies.ring, energies.band], { weights: [0.5, 0.5], logZ }),
    exact: (x) => -Math.log((Math.exp(-ring.energy(x)) + Math.exp(-band.energy(x))) / 2),
  },
  "ring AND NOT band": {
    energy: negation(energies.ring, energies.band),
    exact: (x) => ring.energy(x) - band.energy(x),
  },
};

const count = 1000, size = 200, gap = 8, names = Object.keys(compositions);
const image = blank(names.length * (size + gap) - gap, size);
console.log(["".padEnd(20), "variation", "   inside", "    s.e.", "   taken"].join(" "));
for (const [i, name] of names.entries()) {
  const { energy, exact } = compositions[name]!;
  const { p } = law(onGrid(energy)), truth = law(grid.map(exact)).p;
  const variation = p.reduce((sum, each, i) => sum + Math.abs(each - truth[i]!) / 2, 0);
  const start = Float32Array.from(
    uniforms(fold(key(2), name), 2 * count),
    (u) => reach * (2 * u - 1),
  );
  const chain = mala(targetOf(energy), { stepSize: 0.02, steps: 500 });
  const begin: MoveState = { x: tf.tensor(start, [count, 2]), step: 0 };
  const { x, info } = await last(run(begin, { key: fold(key(3), name) })(chain));
  const places = x.arraySync() as [number, number][], inside = region(truth, 0.95);
  const within = places.filter(([x, y]) => {
    const column = Math.floor((x + reach) / cell), row = Math.floor((reach - y) / cell);
    return column >= 0 && column < side && row >= 0 && row < side && inside[row * side + column];
  }).length / count;
  const taken = tf.mean(info!.acceptance).dataSync()[0]!;
  const numbers = [variation, within, Math.sqrt(0.95 * 0.05 / count), taken];
  console.log([name.padEnd(20), ...numbers.map((v) => v.toFixed(3).padStart(8))].join(" "));

  const panel: Panel = {
    image,
    corner: [i * (size + gap), 0],
    size: [size, size],
    x: [-reach, reach],
    y: [-reach, reach],
  };
  const most = Math.max(...p);
  lay(panel, [110, 122, 140], (column, row) => {
    const at = Math.floor((row + 0.5) / size * side) * side +
      Math.floor((column + 0.5) / size * side);
    return Math.round(8 * Math.sqrt(p[at]! / most)) / 8;
  });
  const dots = places.slice(0, 300).map((place) => pixel(panel, place));
  lay(
    panel,
    orange,
    (column, row) =>
      dots.some(([x, y]) => Math.hypot(x - column - 0.5, y - row - 0.5) < 1.3) ? 1 : 0,
  );
}
await saved(`${options.out}/concepts.png`, image);
await engine?.close();

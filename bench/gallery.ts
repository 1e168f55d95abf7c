// The pictures of docs/gallery.md, made by the shipped model of Fashion-MNIST, each from one key.
//
// Run: deno run --allow-read --allow-write=examples/pictures --allow-ffi bench/gallery.ts [--model f.safetensors]
//        [--only halves,interpolation] [--out examples/pictures] [--key 0]

import { parseArgs } from "node:util";
import { pipe } from "fp-ts/lib/function.js";
import * as tf from "@tensorflow/tfjs-core";
import {
  classifierFree,
  conditioned,
  corrected,
  ddim,
  ddpm,
  downsample,
  dpmSolver,
  edited,
  fashionMnist,
  flow,
  guided,
  inpainted,
  key,
  langevin,
  last,
  loadDenoiser,
  observed,
  png,
  prior,
  repainted,
  run,
  type Sampler,
  slerp,
  type Start,
  thresholded,
  toImage,
} from "@tweedie/tweedie";
import { writeAtomically } from "@tweedie/tweedie/io";
import { useBackend } from "@tweedie/tweedie/backend";
import { onnx } from "@tweedie/tweedie/onnx";
import { pictures } from "./garments.ts";

const { values: options } = parseArgs({
  options: {
    model: { type: "string", default: "examples/weights/fashion-mnist.safetensors" },
    out: { type: "string", default: "examples/pictures" },
    only: { type: "string", default: "" },
    key: { type: "string", default: "0" },
  },
});

await useBackend();
const engine = await onnx();
const { model } = await loadDenoiser(options.model), { schedule } = model;
const test = await fashionMnist(undefined, "test");

/** Rows of pictures, each a batch of as many as there are columns. */
type Rows = tf.Tensor[];

/** The last state of a run. */
async function ended(sampler: Sampler, start: Start, seed = 0): Promise<tf.Tensor> {
  const { x, x0 } = await last(
    run(start, { model, engine, key: key(Number(options.key) + seed) })(sampler),
  );
  x0?.dispose();
  return x;
}

const picture = (of: (row: number, column: number) => number): tf.Tensor =>
  tf.tensor(
    Float32Array.from({ length: 784 }, (_, i) => of(Math.floor(i / 28), i % 28)),
    [1, 28, 28, 1],
  );

/** Test images, by their numbers. */
const images = (numbers: readonly number[]): tf.Tensor => pictures(test, numbers);

/** The number of the n-th test image of a class, from 0. */
const numberOf = (label: number, n = 0): number =>
  [...test.labels!.keys()].filter((i) => test.labels![i] === label)[n]!;

const noise = (count: number) => prior([count, 28, 28, 1]);

const classes = Array.from({ length: 10 }, (_, label) => label);

// Half an image is hidden, and the model, which is told no class, paints it.
async function halves(): Promise<Rows> {
  const known = images(classes.map((label) => numberOf(label, 1)));
  const upper = tf.concat([tf.ones([1, 14, 28, 1]), tf.zeros([1, 14, 28, 1])], 1);
  const plain = pipe(ddpm(schedule, { steps: 50 }), thresholded(), inpainted(upper, known));
  const again = pipe(
    ddpm(schedule, { steps: 25 }),
    thresholded(),
    inpainted(upper, known),
    repainted({ length: 5, jumps: 4 }),
  );
  const hidden = tf.mul(known, upper);
  const rows = [known, hidden, await ended(plain, noise(10))];
  for (const draw of [0, 1, 2]) rows.push(await ended(again, noise(10), draw));
  return rows;
}

// Two images, each traced to the noise that it comes from, and what comes from the noise between.
async function interpolation(): Promise<Rows> {
  const pairs = [[0, 3], [2, 4], [9, 7], [8, 5]] as const;
  const from = images(pairs.map(([a]) => numberOf(a, 2)));
  const to = images(pairs.map(([, b]) => numberOf(b, 2)));
  const grid = { steps: 50, final: 0.005 }, t = grid.final;
  const up = flow(schedule, { ...grid, upward: true }), down = flow(schedule, grid);
  const a = await ended(up, { x: from, t, step: 0 });
  const b = await ended(up, { x: to, t, step: 0 });
  const between = tf.concat(Array.from({ length: 8 }, (_, i) => slerp(a, b, i / 7)));
  const x = await ended(down, { x: between, t: schedule.span[1], step: 0 });
  return columns([from, ...tf.split(x, 8), to]);
}

/** Columns of pictures as rows. */
const columns = (list: Rows): Rows =>
  Array.from(
    { length: list[0]!.shape[0]! },
    (_, row) => tf.concat(list.map((column) => tf.slice(column, row, 1))),
  );

// One class from one noise, at several scales of guidance.
async function guidance(): Promise<Rows> {
  const shirts = Array(10).fill(6), rows: Rows = [];
  for (const scale of [0, 1, 2, 4, 8]) {
    rows.push(
      await ended(
        pipe(
          dpmSolver(schedule, { steps: 25 }),
          thresholded(),
          guided(classifierFree(shirts, { scale })),
        ),
        noise(10),
      ),
    );
  }
  return rows;
}

/** A drawing in one grey. */
const drawing = (inside: (row: number, column: number) => boolean): tf.Tensor =>
  picture((row, column) => inside(row, column) ? 0.3 : -1);

const inBox = (row: number, column: number, [top, left, bottom, right]: readonly number[]) =>
  row >= top! && row < bottom! && column >= left! && column < right!;

// Drawings of a few boxes, and garments that are to be another one, with more and more noise.
async function edits(): Promise<Rows> {
  const boxes = (...list: number[][]) =>
    drawing((row, column) => list.some((box) => inBox(row, column, box)));
  const guides = tf.concat([
    boxes([5, 9, 25, 19], [5, 3, 10, 25]), // T-shirt
    boxes([3, 9, 7, 19], [7, 9, 26, 13], [7, 15, 26, 19]), // trouser
    boxes([12, 4, 24, 24], [6, 9, 8, 19], [8, 9, 12, 11], [8, 17, 12, 19]), // bag
    boxes([6, 15, 22, 24], [15, 3, 22, 24]), // ankle boot
    images([numberOf(1, 3), numberOf(7, 3)]), // a trouser to be a dress, a sneaker to be a sandal
  ]);
  const labels = [0, 1, 8, 9, 3, 5], list = [guides];
  for (const share of [0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]) {
    const t = share * schedule.span[1];
    list.push(
      await ended(
        pipe(
          ddim(schedule, { from: t, steps: Math.round(40 * share) }),
          thresholded(),
          guided(classifierFree(labels, { scale: 2 })),
        ),
        edited(guides, { t }),
      ),
    );
  }
  return columns(list);
}

// 7×7 means of blocks, and images that have them.
async function enlargement(): Promise<Rows> {
  const operator = downsample(4), full = images(classes.map((label) => numberOf(label, 4)));
  const small = operator.apply(full), rows = [full, tf.mul(operator.adjoint(small), 16)];
  const sampler = pipe(ddpm(schedule, { steps: 30 }), thresholded());
  const by = (method: "replacement" | "pigdm") => observed(operator, small, { method })(sampler);
  return [
    ...rows,
    await ended(by("replacement"), noise(10)),
    await ended(by("pigdm"), noise(10)),
    await ended(by("pigdm"), noise(10), 1),
  ];
}

// A predictor alone, and with a corrector, at as many evaluations.
async function correction(): Promise<Rows> {
  const told = conditioned(classes), predictor = (steps: number) => ddpm(schedule, { steps });
  return [
    await ended(pipe(predictor(10), thresholded(), told), noise(10)),
    await ended(pipe(predictor(20), thresholded(), told), noise(10)),
    await ended(
      pipe(predictor(10), corrected(langevin({ snr: 0.1 })), thresholded(), told),
      noise(10),
    ),
  ];
}

const made: Readonly<Record<string, () => Promise<Rows>>> = {
  halves,
  interpolation,
  guidance,
  edits,
  enlargement,
  correction,
};

for (const [name, make] of Object.entries(made)) {
  if (options.only && !options.only.split(",").includes(name)) continue;
  const rows = await make(), grid = [rows.length, rows[0]!.shape[0]!] as const;
  const image = await toImage(tf.concat(rows), { grid, pad: 1, background: 128, scale: 2 });
  const bytes = png(image, { level: 9 }), path = `${options.out}/${name}.png`;
  await writeAtomically(path, bytes);
  console.log(`${path}: ${image.width}×${image.height}, ${bytes.length} bytes`);
}
await engine.close();

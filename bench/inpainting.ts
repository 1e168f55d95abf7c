// 2026-11-29, two virtual cores of an Intel Xeon beside other work, onnx, Deno 2.9.6, --count 500; the difference of known pixels is 0:
//   right half of 500 hidden, told nothing asked        right, %        features          layers            seam         Fréchet
//   the originals                                   92.6 ± 1.2               −               −               −     5.59 ± 1.30
//   replacement:25                          25      76.6 ± 1.9   9.660 ± 0.190   1.381 ± 0.027   0.082 ± 0.008    16.11 ± 1.87
//   replacement:100                        100      74.2 ± 2.0   9.696 ± 0.196   1.413 ± 0.028   0.086 ± 0.009    14.32 ± 1.57
//   repaint:25:5:4                         100      83.6 ± 1.7   7.706 ± 0.162   1.012 ± 0.023   0.001 ± 0.007    10.96 ± 1.94
//   repaint:25:1:4                         100      82.0 ± 1.7   7.492 ± 0.164   0.984 ± 0.023  -0.007 ± 0.007    10.39 ± 2.06
//   repaint:25:5:4 − replacement:25                  7.0 ± 1.9  -1.953 ± 0.195  -0.370 ± 0.025  -0.080 ± 0.007    -5.15 ± 1.55
//   repaint:25:5:4 − replacement:100                 9.4 ± 2.1  -1.990 ± 0.196  -0.402 ± 0.026  -0.085 ± 0.007    -3.37 ± 1.14
//   repaint:25:1:4 − replacement:25                  5.4 ± 2.0  -2.168 ± 0.198  -0.397 ± 0.025  -0.089 ± 0.007    -5.73 ± 1.45
//   repaint:25:1:4 − replacement:100                 7.8 ± 2.1  -2.204 ± 0.203  -0.429 ± 0.026  -0.093 ± 0.008    -3.94 ± 1.37
//   lower half of 500 hidden, told nothing asked        right, %        features          layers            seam         Fréchet
//   the originals                                   92.6 ± 1.2               −               −               −     5.59 ± 1.30
//   replacement:25                          25      61.0 ± 2.2  13.102 ± 0.250   1.744 ± 0.032   0.124 ± 0.007    17.91 ± 2.11
//   replacement:100                        100      62.0 ± 2.2  12.940 ± 0.238   1.754 ± 0.032   0.108 ± 0.006    17.08 ± 2.11
//   repaint:25:5:4                         100      71.8 ± 2.0  10.982 ± 0.232   1.408 ± 0.032   0.036 ± 0.005    12.75 ± 1.67
//   repaint:25:1:4                         100      72.4 ± 2.0  10.883 ± 0.238   1.343 ± 0.031   0.021 ± 0.004    11.26 ± 1.76
//   repaint:25:5:4 − replacement:25                 10.8 ± 2.6  -2.121 ± 0.332  -0.336 ± 0.040  -0.088 ± 0.007    -5.16 ± 1.73
//   repaint:25:5:4 − replacement:100                 9.8 ± 2.6  -1.958 ± 0.301  -0.346 ± 0.036  -0.072 ± 0.007    -4.33 ± 2.21
//   repaint:25:1:4 − replacement:25                 11.4 ± 2.6  -2.219 ± 0.335  -0.401 ± 0.038  -0.103 ± 0.007    -6.66 ± 1.39
//   repaint:25:1:4 − replacement:100                10.4 ± 2.6  -2.057 ± 0.306  -0.411 ± 0.036  -0.086 ± 0.006    -5.82 ± 1.46
// At as many evaluations RePaint's completions are of the right class more often by 8 to 10 points, four standard errors,
// nearer to the original by features and layers, by six to fifteen, and leave next to no seam. More steps without going back
// gain nothing.
//
// Does RePaint complete half an image better than plain replacement does? Test images of Fashion-MNIST lose their lower
// or their right half and get it back from the shipped model, which is told no class, or the true one.
//
//   right      share in percent that the shipped classifier puts into the image's own class
//   features   distance of its penultimate features from those of the original
//   layers     the like over its three convolutions, as in LPIPS with every weight 1: at each place of a layer the
//              channels of both images are scaled to length 1; squared distance, mean over places, sum over layers
//   seam       mean difference of the pixels on both sides of the border, less that of the original
//   Fréchet    distance of the features, in distribution, from those of 10,000 images to train on
//   known      greatest difference of a known pixel from the original; of `inpainted` 0, or this stops
//
// After each ± is a standard error, by leaving out one image at a time, and for Fréchet a 20th of them. Differences
// are over the same images.
//
// A method is replacement:STEPS, repaint:STEPS:LENGTH:JUMPS, observed:STEPS, pigdm:STEPS:SCALE or dps:STEPS:SCALE, with
// so many steps of DDPM. An evaluation of the last two has a gradient through the network besides.
//
// Run: deno run --allow-read --allow-ffi bench/inpainting.ts [--model f.safetensors] [--judge f.safetensors] [--count 500]
//        [--masks lower,right] [--told nothing,class] [--methods replacement:25,repaint:25:5:4]
//        [--minutes 30], of each table, which then has the images that were done by all methods in that time

import { parseArgs } from "node:util";
import { pipe } from "fp-ts/lib/function.js";
import * as tf from "@tensorflow/tfjs-core";
import {
  conditioned,
  ddpm,
  fashionMnist,
  frechet,
  gaussian,
  inpainted,
  key,
  last,
  loadClassifier,
  loadDenoiser,
  mask,
  type Model,
  observed,
  onModel,
  type Params,
  prior,
  type Refinement,
  repainted,
  run,
  type Sampler,
  smooth,
  thresholded,
} from "@tweedie/tweedie";
import { conv, groupNorm } from "@tweedie/tweedie/network";
import { type FeatureMoments, moments } from "@tweedie/tweedie/metric";
import type { ObservedOptions } from "@tweedie/tweedie/refine";
import { useBackend } from "@tweedie/tweedie/backend";
import { onnx } from "@tweedie/tweedie/onnx";
import { consecutive, pictures, pixels } from "./garments.ts";

const { values: options } = parseArgs({
  options: {
    model: { type: "string", default: "examples/weights/fashion-mnist.safetensors" },
    judge: { type: "string", default: "examples/weights/fashion-mnist-classifier.safetensors" },
    count: { type: "string", default: "500" },
    masks: { type: "string", default: "lower,right" },
    told: { type: "string", default: "nothing" },
    methods: {
      type: "string",
      default: "replacement:25,replacement:100,repaint:25:5:4,repaint:25:1:4",
    },
    minutes: { type: "string", default: "Infinity" },
  },
});
const listed = (text: string): string[] => text.split(",").filter(Boolean);

await useBackend();
const engine = await onnx();
const { model } = await loadDenoiser(options.model), { schedule } = model;
const judge = await loadClassifier(options.judge);
const count = Number(options.count), part = 25;
const train = await fashionMnist(undefined, "train"), test = await fashionMnist(undefined, "test");

// Ways to complete an image.

/** What is known of a batch: 1 where, and what. */
interface Known {
  readonly where: tf.Tensor;
  readonly images: tf.Tensor;
}

/** A refinement of DDPM with a number of steps. */
interface Method {
  readonly name: string;
  readonly steps: number;
  /** Whether known pixels come out bit for bit. */
  readonly exact: boolean;
  readonly of: (known: Known) => Refinement;
}

const replacing = ({ where, images }: Known): Refinement => inpainted(where, images);

const seen = (options: ObservedOptions) => ({ where, images }: Known): Refinement =>
  observed(mask(where), tf.mul(where, images), options);

/** What the first word of a method makes of its numbers. */
const makers: Readonly<Record<string, (...numbers: number[]) => Omit<Method, "name">>> = {
  replacement: (steps = 25) => ({ steps, exact: true, of: replacing }),
  repaint: (steps = 25, length = 5, jumps = 4) => ({
    steps,
    exact: true,
    of: (known) => (sampler) => repainted({ length, jumps })(replacing(known)(sampler)),
  }),
  observed: (steps = 25) => ({ steps, exact: false, of: seen({ method: "replacement" }) }),
  pigdm: (steps = 25, scale = 1) => ({ steps, exact: false, of: seen({ method: "pigdm", scale }) }),
  dps: (steps = 25, scale = 1) => ({ steps, exact: false, of: seen({ method: "dps", scale }) }),
};

function methodOf(name: string): Method {
  const [word, ...numbers] = name.split(":"), make = makers[word!];
  if (make) return { name, ...make(...numbers.map(Number)) };
  throw new RangeError(`Cannot complete: a method must be ${Object.keys(makers)}, got ${name}`);
}

const samplerOf = ({ steps, of }: Method, known: Known): Sampler =>
  pipe(ddpm(schedule, { steps }), thresholded(), of(known));

/** Evaluations of the model for an image, counted on a model that costs nothing. */
async function evaluations(method: Method): Promise<number> {
  let asked = 0;
  const counted = (model: Model): Model => ({
    ...model,
    predict: (x, t) => (asked++, model.predict(x, t)),
  });
  const known = { where: tf.ones([1, 1]), images: tf.zeros([1, 1]) };
  const { x, x0 } = await last(pipe(
    samplerOf(method, known),
    onModel(counted),
    run(prior([1, 1]), { model: gaussian(schedule), key: key(0) }),
  ));
  tf.dispose([x, x0!, { ...known }]);
  return asked;
}

// The judge.

/** What the convolutional layers of the classifier put out. */
function layers(params: Params, x: tf.Tensor): tf.Tensor[] {
  const { base = 32, channels = 1 } = judge.config, outputs: tf.Tensor[] = [];
  [[channels, base, 2], [base, 2 * base, 1], [2 * base, 2 * base, 2]].forEach(
    ([from, to, stride], i) => {
      const convolution = conv(`conv.${i}`, from!, to!, { stride: stride! });
      const made = convolution.apply(params, outputs.at(-1) ?? x);
      outputs.push(smooth.silu(groupNorm(`norm.${i}`, to!, 8).apply(params, made)));
    },
  );
  return outputs;
}

/** Σ over layers of the mean over places of |a/|a| − b/|b||². */
function layerDistance(params: Params, x: tf.Tensor, y: tf.Tensor): tf.Tensor {
  const unit = (a: tf.Tensor): tf.Tensor =>
    tf.div(a, tf.sqrt(tf.add(tf.sum(tf.square(a), -1, true), 1e-10)));
  const of = layers(params, y);
  return tf.addN(
    layers(params, x).map((a, i) =>
      tf.mean(tf.sum(tf.square(tf.sub(unit(a), unit(of[i]!))), -1), [1, 2])
    ),
  );
}

const { network } = judge;

const judging = engine.compile(
  ({ x, ...params }) => ({ features: network.features(params, x!) }),
  judge.params,
);

const comparing = engine.compile(({ x, y, ...params }) => {
  const features = network.features(params, x!);
  return {
    features,
    classes: tf.argMax(network.apply(params, x!), 1),
    far: tf.norm(tf.sub(features, network.features(params, y!)), 2, 1),
    layers: layerDistance(params, x!, y!),
  };
}, judge.params);

/** What the judge says of completed images, one by one. */
interface Judged {
  readonly right: number[];
  readonly features: number[];
  readonly layers: number[];
  readonly seam: number[];
  /** Penultimate features. */
  readonly rows: Float32Array[];
  /** Greatest difference of a known pixel. */
  known: number;
}

async function judged(
  images: tf.Tensor,
  from: number,
  { where, images: y }: Known,
  to: Judged,
): Promise<void> {
  const said = await comparing.run({ x: images, y });
  const classes = await said.classes!.data(), rows = await said.features!.data();
  const width = rows.length / classes.length;
  classes.forEach((c, i) => {
    to.right.push(c === test.labels![from + i] ? 100 : 0);
    to.rows.push(rows.slice(i * width, (i + 1) * width) as Float32Array);
  });
  to.features.push(...await said.far!.data());
  to.layers.push(...await said.layers!.data());
  to.seam.push(...await seams(images, y, where));
  const gap = tf.tidy(() => tf.max(tf.abs(tf.mul(where, tf.sub(images, y)))));
  to.known = Math.max(to.known, (await gap.data())[0]!);
  tf.dispose([said, gap]);
}

/** Mean of |x_i − x_j| over neighbours of which one is known and one is not, less that of the originals. */
async function seams(x: tf.Tensor, y: tf.Tensor, where: tf.Tensor): Promise<number[]> {
  const known = await where.data(), made = await x.data(), given = await y.data();
  const border = [...known.keys()].flatMap((i) =>
    [i + 28, i + 1].filter((j) => j < pixels && known[i] !== known[j] && (j > i + 1 || j % 28 > 0))
      .map((j) => [i, j] as const)
  );
  const jump = (of: ArrayLike<number>, at: number): number =>
    border.reduce((sum, [i, j]) => sum + Math.abs(of[at + i]! - of[at + j]!), 0) / border.length;
  return Array.from(
    { length: x.shape[0]! },
    (_, n) => jump(made, n * pixels) - jump(given, n * pixels),
  );
}

/** Mean and covariance of the features of the first 10,000 images to train on. */
async function trained(): Promise<FeatureMoments> {
  const features: number[] = [], size = 100, total = 10_000;
  for (let at = 0; at < total; at += size) {
    const x = pictures(train, consecutive(at, size)), said = await judging.run({ x });
    features.push(...await said.features!.data());
    tf.dispose([x, said]);
  }
  return moments(Float32Array.from(features), features.length / total);
}

// Numbers and their errors.

/** A number of so many images, and its standard error from leaving out one group of them at a time. */
function jackknife(of: (kept: number[]) => number, count: number, most = count): [number, number] {
  const all = Array.from({ length: count }, (_, i) => i), groups = Math.min(count, most);
  const partial = Array.from({ length: groups }, (_, g) => of(all.filter((i) => i % groups !== g)));
  const mean = partial.reduce((a, b) => a + b) / groups;
  const spread = partial.reduce((sum, value) => sum + (value - mean) ** 2, 0);
  return [of(all), Math.sqrt(spread * (groups - 1) / groups)];
}

/** A number of some of the images that were judged. */
type Figure = (judged: Judged) => (kept: number[]) => number;

const meanOf = (name: "right" | "features" | "layers" | "seam"): Figure => (judged) => (kept) =>
  kept.reduce((sum, i) => sum + judged[name][i]!, 0) / kept.length;

const reference = await trained(), width = judge.config.features ?? 64;

const distance: Figure = ({ rows }) => (kept) => {
  const features = new Float32Array(kept.length * width);
  kept.forEach((i, at) => features.set(rows[i]!, at * width));
  return frechet(moments(features, width), reference);
};

const figures = [
  { of: meanOf("right"), digits: 1 },
  { of: meanOf("features"), digits: 3 },
  { of: meanOf("layers"), digits: 3 },
  { of: meanOf("seam"), digits: 3 },
  { of: distance, digits: 2, groups: 20 },
] as const;

/** The figures of a method, or what they have more than those of another. */
const cells = (judged: Judged, than?: Judged): string[] =>
  figures.map(({ of, digits, ...rest }) => {
    const groups = "groups" in rest ? rest.groups : undefined;
    const more = (kept: number[]): number => of(judged)(kept) - (than ? of(than)(kept) : 0);
    const [value, error] = jackknife(more, judged.right.length, groups);
    return `${value.toFixed(digits)} ± ${error.toFixed(digits)}`;
  });

const row = (name: string, asked: string | number, cells: readonly string[]): string =>
  name.padEnd(36) + `${asked}`.padStart(6) + cells.map((cell) => cell.padStart(16)).join("");

// The comparison.

const halves: Readonly<Record<string, (row: number, column: number) => boolean>> = {
  lower: (row) => row < 14,
  right: (_, column) => column < 14,
};

/** 1 where a pixel is known, with the half of that name hidden. */
function maskOf(hidden: string): tf.Tensor {
  const known = halves[hidden];
  if (!known) {
    throw new RangeError(`Cannot hide: a mask must be ${Object.keys(halves)}, got ${hidden}`);
  }
  const at = (i: number): number => known(Math.floor(i / 28), i % 28) ? 1 : 0;
  return tf.tensor(Array.from({ length: pixels }, (_, i) => at(i)), [1, 28, 28, 1]);
}

/** What a method makes of a batch of test images, told their classes or nothing. */
async function completed(
  method: Method,
  { where, images }: Known,
  { classes, from }: { readonly classes: (number | null)[]; readonly from: number },
): Promise<tf.Tensor> {
  const { x, x0 } = await last(pipe(
    samplerOf(method, { where, images }),
    conditioned(classes),
    run(prior([...images.shape]), { model, engine, key: key(2026), first: from }),
  ));
  x0!.dispose();
  return x;
}

const none = (): Judged => ({ right: [], features: [], layers: [], seam: [], rows: [], known: 0 });
const original = "the originals";

/** Each method's completions of the same images, judged, part by part. */
async function compared(
  methods: readonly Method[],
  where: tf.Tensor,
  told: string,
): Promise<Map<string, Judged>> {
  const found = new Map(
    [original, ...methods.map(({ name }) => name)].map((name) => [name, none()]),
  );
  const start = performance.now(), late = () => performance.now() - start > 6e4 * minutes;
  for (let from = 0; from < count && !(from > 0 && late()); from += part) {
    const to = Math.min(from + part, count),
      known = { where, images: pictures(test, consecutive(from, to - from)) };
    const labels = [...test.labels!.subarray(from, to)];
    const classes = told === "class" ? labels : labels.map(() => null);
    await judged(known.images, from, known, found.get(original)!);
    for (const method of methods) {
      const x = await completed(method, known, { classes, from }), all = found.get(method.name)!;
      await judged(x, from, known, all);
      x.dispose();
      if (method.exact && all.known !== 0) {
        throw new RangeError(
          `Cannot go on: known pixels of ${method.name} are off by ${all.known}`,
        );
      }
      console.error(`${to}, ${method.name}: ${cells(all).slice(0, 4).join(", ")}`);
    }
    known.images.dispose();
  }
  return found;
}

const methods = listed(options.methods).map(methodOf), minutes = Number(options.minutes);
const asked = new Map(
  await Promise.all(
    methods.map(async (method) => [method.name, await evaluations(method)] as const),
  ),
);
for (const told of listed(options.told)) {
  for (const half of listed(options.masks)) {
    const where = maskOf(half), found = await compared(methods, where, told);
    where.dispose();
    const number = found.get(original)!.right.length;
    console.log(row(
      `${half} half of ${number} hidden, told ${told === "class" ? "the class" : "nothing"}`,
      "asked",
      ["right, %", "features", "layers", "seam", "Fréchet", "known"],
    ));
    for (const [name, all] of found) {
      console.log(row(name, asked.get(name) ?? "", [...cells(all), all.known.toExponential(1)]));
    }
    for (const [name, all] of [...found].slice(1)) {
      for (const [plain, than] of found) {
        if (name.startsWith("replacement") || !plain.startsWith("replacement")) continue;
        console.log(row(`${name} − ${plain}`, "", cells(all, than)));
      }
    }
  }
}
await engine.close();

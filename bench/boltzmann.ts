// How well do Boltzmann machines learn, by likelihoods in nats? Bars and stripes exactly, binarised Fashion-MNIST with an error bar.
//
//   bars      4 × 4 pictures of full rows or full columns: 2·2⁴ of them, of which all-off and all-on are there twice, so 30, with
//             an entropy of ln 32 − ln 2/8 = 3.379 nats. A machine of 16 + 12 units, the mean of −ln p(x) of all of them exactly, by
//             the number of updates on all of them at once: by the exact gradient, CD-1, CD-10 and persistent chains, each with
//             centring and without; the better of two step sizes by its end.
//   fashion   784 + 64 units on the 60,000 images, a pixel being 1 above half: persistent chains with centring. ln Z by annealing
//             forwards, with its standard error; backwards from the persistent chains, an upper estimate only so far as they mix;
//             the mean of ln p(x) of the 10,000 test images; beside it that of independent bits. Filters and samples as pictures.
//   deep      196 + 100 + 50 units on the images of half the size: the greedy start and what training all layers makes of it, the bound
//             of ln p(x) by the mean field less ln Z by annealing; samples beside images; a linear classifier of 1000 labelled
//             images on pixels, and on the mean field of the first hidden layer after either.
//
//   mixing    how long block Gibbs sampling takes between two modes: machines of n + n units, each of which pulls each of the other layer
//             by g/n in units of ±1, which from g = 1 on are all up or all down. The relaxation time 1/(1 − λ) in steps, λ being the
//             second eigenvalue of the exact kernel, lumped to the number of ones; beside it λ as chains of rbmGibbs() have it.
//
// Run: deno run --allow-read --allow-write --allow-ffi bench/boltzmann.ts [--parts bars,fashion,deep,mixing] [--out folder] [--hidden 64]
//        [--epochs 10] [--updates 4000]; without --allow-ffi on wasm, which takes three times as long.
//
// Measured on 2026-11-30 on two virtual cores that other work shared, onnx, Deno 2.9.6:
//
//   bars: mean of −ln p(x) in nats; 3.379 is the least, 11.090 that of random bits
//   updates                          200      1000      2000      4000      rate   seconds
//   exact                         10.253     3.809     3.532     3.449       0.3      15.7
//   exact, centred                 9.821     3.620     3.475     3.425       0.3      21.8
//   CD-1                          11.093    10.467     9.379     5.592      0.05       5.4
//   CD-1, centred                  9.853     4.026     4.266     4.254       0.3       5.3
//   CD-10                         10.348     4.129     4.086     3.821       0.3      22.5
//   CD-10, centred                 9.866     3.689     3.587     3.571       0.3      13.4
//   PCD                           11.088    10.380     9.313     4.699      0.05       6.9
//   PCD, centred                  11.087    10.061     7.007     4.169      0.05      10.4
//
//   fashion: 784 + 64 units, 6000 updates in 152 s
//   reconstruction error           0.053
//   pseudo-likelihood           -143.495
//   ln p, independent bits      -383.140
//   annealing                       ln Z     error     bound       ESS ln p(test)  seconds
//   300 even steps               848.403     0.875   843.007       1.3  -162.139       2.4
//   3000 even steps              849.162     0.367   846.839       7.0  -162.899      28.2
//   3000 cold steps              849.578     0.420   845.816       5.4  -163.315      68.1
//   3000 back from chains        847.920     0.365   853.712       7.1  -161.656     119.7
//
//   deep: 196 + 100 + 50 units, 44 s of greedy training, then 3600 updates in 89 s
//   ln p, independent bits       -93.601
//                                   ln Z     error       ESS     bound of ln p(test)
//   greedy                       306.751     0.061      73.2   -71.083
//   all layers                   329.059     0.134      36.2   -36.905
//     a linear classifier of 1000 labels, share right of 10,000
//   pixels                         0.693
//   mean field, no training        0.660
//   mean field, greedy             0.691
//   mean field, all layers         0.701
//
//   mixing: relaxation time of block Gibbs sampling in steps, of n + n units; λ exactly, and of chains
//   n                            g = 0.5     g = 1  g = 1.25   g = 1.5  λ, g = 1 of chains
//   4                              1.290     2.839     5.135     10.43    0.6478    0.6486
//   8                              1.306     3.542     8.777     29.90    0.7177    0.7174
//   16                             1.318     4.566     19.47     196.9    0.7810    0.7793
//   32                             1.325     6.031     69.94      7710    0.8342    0.8348
//   64                             1.329     8.117     702.9  1.209e+7    0.8768    0.8770
//
// Few weights carry the estimate of ln Z of the 784 + 64 units, so that its error bar is itself rough: from −163.3 to −161.7, forwards
// and backwards, is what is known of ln p(test).

import { parseArgs } from "node:util";
import { EigenvalueDecomposition, Matrix } from "ml-matrix";
import * as tf from "@tensorflow/tfjs-core";
import {
  byMomentum,
  type Engine,
  fashionMnist,
  fold,
  type Image,
  type ImageSet,
  key,
  last,
  newTraining,
  run,
  savePng,
  train,
} from "@tweedie/tweedie";
import {
  annealedPartition,
  bipartite,
  coldBetas,
  type Dbm,
  dbmOf,
  dbmParams,
  freeEnergy,
  hiddenMean,
  initialRbm,
  logLikelihoods,
  logOdds,
  meanField,
  pseudoLikelihood,
  type Rbm,
  rbmGibbs,
  rbmValues,
  reconstructionError,
  variationalBound,
  visibleMean,
} from "@tweedie/tweedie/energy";
import {
  byAdam,
  contrastiveDivergence,
  deepDivergence,
  deepStart,
  disposeTraining,
  type DivergenceOptions,
  divergenceStart,
  type Optimizer,
  pretrainedDbm,
  rowBatches,
  type TrainState,
} from "@tweedie/tweedie/train";
import { retained } from "@tweedie/tweedie/chain";
import { useBackend } from "@tweedie/tweedie/backend";
import { native } from "./garments.ts";

const { values: options } = parseArgs({
  options: {
    parts: { type: "string", default: "bars,fashion,deep,mixing" },
    out: { type: "string", default: "." },
    hidden: { type: "string", default: "64" },
    epochs: { type: "string", default: "10" },
    updates: { type: "string", default: "4000" },
  },
});

const root = key(2026);
await useBackend("wasm");
const engine: Engine | undefined = await native();

const mean = (values: ArrayLike<number>): number =>
  Array.from(values).reduce((a, b) => a + b) / values.length;

const row = (cells: readonly (string | number)[]): void =>
  console.log(
    cells.map((cell, i) =>
      i === 0
        ? `${cell}`.padEnd(26)
        : `${typeof cell === "number" ? cell.toFixed(3) : cell}`.padStart(10)
    ).join(""),
  );

/** A state's weights with tensors of their own. */
const kept = <P extends Record<string, tf.Tensor>>(params: object): P =>
  Object.fromEntries(
    Object.entries(params).map(([name, each]) => [name, tf.clone(each as tf.Tensor)]),
  ) as P;

/** Pictures of 0 to 1, side by side, with a border between. */
async function sheet(
  file: string,
  values: ArrayLike<number>,
  { side, columns }: { side: number; columns: number },
): Promise<void> {
  const size = side * side,
    count = values.length / size,
    lines = Math.ceil(count / columns),
    pitch = side + 1;
  const width = columns * pitch + 1,
    height = lines * pitch + 1,
    data = new Uint8Array(width * height).fill(96);
  for (let at = 0; at < values.length; at++) {
    const i = Math.floor(at / size), y = Math.floor((at % size) / side), x = at % side;
    const place = (Math.floor(i / columns) * pitch + 1 + y) * width + (i % columns) * pitch + 1 + x;
    data[place] = Math.max(0, Math.min(255, Math.round(255 * values[at]!)));
  }
  const image: Image = { width, height, channels: 1, data };
  await savePng(`${options.out}/${file}`)(ReadableStream.from([image]));
  console.log(`  ${options.out}/${file}`);
}

// Bars and stripes

const bars = Array.from({ length: 16 }, (_, state) => {
  const bits = Array.from({ length: 16 }, (_, i) => (state >> Math.floor(i / 4)) & 1);
  return [bits, bits.map((_, i) => (state >> (i % 4)) & 1)];
}).flat(2);

/** The mean of −ln p(x) on the way, at some numbers of updates. */
async function learnt(
  given: DivergenceOptions,
  rate: number,
  marks: readonly number[],
): Promise<number[]> {
  const rbm = initialRbm({
    visible: 16,
    hidden: 12,
    key: fold(root, "bars"),
    data: tf.tensor2d(bars, [32, 16]),
  });
  const optimizer = byMomentum({ rate, momentum: 0 }),
    carried = divergenceStart(rbm, { ...given, key: fold(root, "chains") });
  const start = newTraining(rbm, { optimizer, carried }), found: number[] = [];
  const states = train(start, {
    loss: contrastiveDivergence(rbm, given),
    optimizer,
    key: root,
    every: marks[0]!,
    ...(engine && { engine }),
  });
  for await (const { step, params } of states(Array(marks.at(-1)!).fill(bars))) {
    if (marks.includes(step)) {
      found.push(-mean(logLikelihoods(await rbmValues(params as Rbm), bars)));
    }
  }
  disposeTraining(start);
  return found;
}

async function barsAndStripes(): Promise<void> {
  const updates = Number(options.updates),
    marks = [0.05, 0.25, 0.5, 1].map((share) => share * updates);
  console.log(
    `bars: mean of −ln p(x) in nats; ${(Math.log(32) - Math.log(2) / 8).toFixed(3)} is the least, ${
      (16 * Math.LN2).toFixed(3)
    } that of random bits`,
  );
  row(["updates", ...marks.map(String), "rate", "seconds"]);
  const kinds: Record<string, DivergenceOptions> = {
    exact: { negatives: "exact" },
    "CD-1": {},
    "CD-10": { kSteps: 10 },
    PCD: { negatives: "persistent", chains: 100 },
  };
  for (const [name, kind] of Object.entries(kinds)) {
    for (const centring of [undefined, 0.01]) {
      const began = performance.now(), given = { ...kind, ...(centring && { centring }) };
      const tried: { rate: number; found: number[] }[] = [];
      for (const rate of [0.05, 0.3]) {
        tried.push({ rate, found: await learnt(given, rate, marks) });
      }
      const { rate, found } = tried.reduce((best, each) =>
        each.found.at(-1)! < best.found.at(-1)! ? each : best
      );
      const seconds = (performance.now() - began) / 2000;
      row([centring ? `${name}, centred` : name, ...found, `${rate}`, seconds.toFixed(1)]);
    }
  }
}

// Fashion-MNIST

/** Pixels above half as 1, of images or of means of 2 × 2 pixels. */
function binary({ images, shape }: ImageSet, half: boolean): Float32Array {
  if (!half) return Float32Array.from(images, (v) => Number(v > 127));
  const [count] = shape, out = new Float32Array(count * 196);
  for (let at = 0; at < out.length; at++) {
    const from = Math.floor(at / 196) * 784 + 2 * (28 * Math.floor((at % 196) / 14) + at % 14);
    out[at] = Number(
      images[from]! + images[from + 1]! + images[from + 28]! + images[from + 29]! > 4 * 127,
    );
  }
  return out;
}

/** A number of each of many rows, by parts. */
async function each(
  rows: Float32Array,
  width: number,
  of: (x: tf.Tensor) => tf.Tensor,
): Promise<Float32Array> {
  const found: number[] = [];
  for (let at = 0; at < rows.length; at += 1000 * width) {
    const part = tf.tidy(() => {
      const some = rows.subarray(at, at + 1000 * width);
      return of(tf.tensor2d(some, [some.length / width, width]));
    });
    found.push(...await part.data());
    part.dispose();
  }
  return Float32Array.from(found);
}

/** Mean of ln p of independent bits as often 1 as in the data. */
const independent = (base: tf.Tensor, test: Float32Array): number => {
  const b = base.dataSync(),
    norm = Array.from(b).reduce((sum, each) => sum + Math.log1p(Math.exp(each)), 0);
  let sum = 0;
  for (let at = 0; at < test.length; at++) sum += test[at]! * b[at % b.length]!;
  return sum / (test.length / b.length) - norm;
};

/** The end of a run of several stages, each with its own optimizer. */
async function staged(
  first: TrainState,
  stages: readonly { readonly optimizer: Optimizer; readonly epochs: number }[],
  run: (from: TrainState, optimizer: Optimizer, epochs: number) => AsyncIterable<TrainState>,
): Promise<TrainState> {
  let from = first;
  for (const { optimizer, epochs } of stages) {
    for await (const state of run(from, optimizer, epochs)) {
      const next = retained(state);
      if (from !== first) disposeTraining(from);
      from = next;
    }
  }
  return from;
}

async function fashion(): Promise<void> {
  const m = Number(options.hidden), epochs = Number(options.epochs), began = performance.now();
  const rows = binary(await fashionMnist(undefined, "train"), false),
    test = binary(await fashionMnist(undefined, "test"), false);
  const base = tf.tidy(() => logOdds(tf.tensor2d(rows.subarray(0, 20_000 * 784), [20_000, 784])));
  const rbm: Rbm = {
    ...initialRbm({ visible: 784, hidden: m, key: fold(root, "fashion") }),
    visible: base,
  };
  const given: DivergenceOptions = {
    negatives: "persistent",
    chains: 100,
    centring: 0.01,
    decay: 1e-4,
  };
  const loss = contrastiveDivergence(rbm, given);
  const start = newTraining(rbm, {
    optimizer: byMomentum({ momentum: 0.5 }),
    carried: divergenceStart(rbm, { ...given, key: fold(root, "chains") }),
  });
  const end = await staged(
    start,
    [
      { optimizer: byMomentum({ rate: 0.02, momentum: 0.5 }), epochs: Math.ceil(epochs * 0.7) },
      { optimizer: byMomentum({ rate: 0.002, momentum: 0.5 }), epochs: Math.floor(epochs * 0.3) },
    ],
    (from, optimizer, count) =>
      train(from, { loss, optimizer, key: root, every: 600 * count, ...(engine && { engine }) })(
        rowBatches(rows, { width: 784, size: 100, epochs: count, key: fold(root, from.step) }),
      ),
  );
  const law = kept<Rbm>(end.params), seconds = (performance.now() - began) / 1000;
  console.log(`fashion: 784 + ${m} units, ${end.step} updates in ${seconds.toFixed(0)} s`);
  const some = tf.tensor2d(test.subarray(0, 1000 * 784), [1000, 784]);
  row(["reconstruction error", reconstructionError(law, some).dataSync()[0]!]);
  row(["pseudo-likelihood", mean(pseudoLikelihood(law, some, { key: root }).dataSync())]);
  const free = -mean(await each(test, 784, (x) => freeEnergy(law, x)));
  row(["ln p, independent bits", independent(base, test)]);
  row(["annealing", "ln Z", "error", "bound", "ESS", "ln p(test)", "seconds"]);
  const told = async (
    name: string,
    betas: number | readonly number[],
    samples?: tf.Tensor,
  ): Promise<void> => {
    const from = performance.now();
    const { logZ, error, bound, ess } = await annealedPartition(law, {
      key: fold(root, name),
      betas,
      base,
      ...(samples && { samples }),
    });
    row([
      name,
      logZ,
      error,
      bound,
      ess.toFixed(1),
      free - logZ,
      ((performance.now() - from) / 1000).toFixed(1),
    ]);
  };
  await told("300 even steps", 300);
  await told("3000 even steps", 3000);
  await told("3000 cold steps", coldBetas(3000));
  await told("3000 back from chains", 3000, end.carried!["chains"]!);
  const filters = tf.tidy(() => {
    const w = tf.transpose(law.weights), top = tf.max(tf.abs(w), 1, true);
    return tf.add(tf.mul(tf.div(w, top), 0.5), 0.5);
  });
  await sheet("boltzmann_filters.png", filters.dataSync(), { side: 28, columns: 8 });
  const { x } = await last(
    run({ x: end.carried!["chains"]!, step: 0 }, { key: fold(root, "samples") })(
      rbmGibbs(law, { steps: 200 }),
    ),
  );
  const shown = tf.tidy(() => visibleMean(law, hiddenMean(law, tf.slice(x, [0, 0], [50, 784]))));
  await sheet("boltzmann_samples.png", [...test.subarray(0, 50 * 784), ...shown.dataSync()], {
    side: 28,
    columns: 10,
  });
}

// A deep machine

/** The share of test labels that a linear classifier finds, trained on features of few images. */
async function classified(
  features: (set: "train" | "test") => Promise<Float32Array>,
  labels: Record<"train" | "test", ArrayLike<number>>,
  count: number,
): Promise<number> {
  const train1 = await features("train"), width = train1.length / count;
  const x = tf.tensor2d(train1, [count, width]),
    y = tf.oneHot(tf.tensor1d(Array.from(labels.train).slice(0, count), "int32"), 10);
  const first = { w: tf.zeros([width, 10]), b: tf.zeros([10]) }, optimizer = byAdam({ rate: 0.01 });
  const start = newTraining(first, { optimizer });
  const loss = ({ w, b }: Record<string, tf.Tensor>): tf.Scalar =>
    tf.add(
      tf.neg(tf.mean(tf.sum(tf.mul(tf.logSoftmax(tf.add(tf.matMul(x, w!), b!)), y), 1))),
      tf.mul(tf.sum(tf.square(w!)), 1e-3),
    ) as tf.Scalar;
  let right = NaN;
  for await (
    const { params } of train(start, { loss, optimizer, key: root, every: 300 })(Array(300).fill(0))
  ) {
    const found = await each(
      await features("test"),
      width,
      (z) => tf.cast(tf.argMax(tf.add(tf.matMul(z, params["w"]!), params["b"]!), 1), "float32"),
    );
    right = mean(Array.from(found, (label, i) => Number(label === labels.test[i])));
  }
  return right;
}

async function deep(): Promise<void> {
  const sets = {
    train: await fashionMnist(undefined, "train"),
    test: await fashionMnist(undefined, "test"),
  };
  const rows = binary(sets.train, true),
    test = binary(sets.test, true),
    sizes = [196, 100, 50],
    count = 1000;
  const epochs = Math.max(1, Math.round(Number(options.epochs) * 0.6));
  let began = performance.now();
  const first = await pretrainedDbm(rows, {
    sizes,
    key: fold(root, "greedy"),
    epochs: Math.ceil(epochs / 3),
    rate: 0.05,
  });
  const pretraining = (performance.now() - began) / 1000;
  const given = { chains: 100, kSteps: 2, meanFieldSteps: 10, centring: 0.01, decay: 1e-4 };
  const loss = deepDivergence(first, given);
  const start = newTraining(dbmParams(first), {
    optimizer: byMomentum({ momentum: 0.5 }),
    carried: deepStart(first, { ...given, key: fold(root, "deep") }),
  });
  began = performance.now();
  const end = await staged(
    start,
    [
      { optimizer: byMomentum({ rate: 0.01, momentum: 0.5 }), epochs: Math.ceil(epochs * 0.7) },
      { optimizer: byMomentum({ rate: 0.001, momentum: 0.5 }), epochs: Math.floor(epochs * 0.3) },
    ],
    (from, optimizer, many) =>
      train(from, { loss, optimizer, key: root, every: 600 * many, ...(engine && { engine }) })(
        rowBatches(rows, { width: 196, size: 100, epochs: many, key: fold(root, from.step) }),
      ),
  );
  const whole = dbmOf(kept(end.params));
  console.log(
    `deep: ${sizes.join(" + ")} units, ${
      pretraining.toFixed(0)
    } s of greedy training, then ${end.step} updates in ${
      ((performance.now() - began) / 1000).toFixed(0)
    } s`,
  );
  const base = tf.tidy(() => logOdds(tf.tensor2d(rows, [60_000, 196])));
  row(["ln p, independent bits", independent(base, test)]);
  row(["", "ln Z", "error", "ESS", "bound of ln p(test)", ""]);
  for (const [name, dbm] of [["greedy", first], ["all layers", whole]] as const) {
    const law = bipartite(dbm), wide = tf.concat([base, tf.zeros([50])]);
    const { logZ, error, ess } = await annealedPartition(law, {
      key: fold(root, name),
      betas: 2000,
      base: wide,
      chains: 100,
    });
    const bound = mean(
      await each(test, 196, (x) => variationalBound(dbm, x, meanField(dbm, x, { steps: 20 }))),
    );
    row([name, logZ, error, ess.toFixed(1), bound - logZ]);
  }
  const labels = { train: sets.train.labels!, test: sets.test.labels! };
  const pixels = (set: "train" | "test") =>
    Promise.resolve(set === "train" ? rows.slice(0, count * 196) : test);
  const field = (dbm: Dbm) => async (set: "train" | "test") =>
    await each(await pixels(set), 196, (x) => meanField(dbm, x, { steps: 20 })[0]!);
  console.log(`  a linear classifier of ${count} labels, share right of 10,000`);
  row(["pixels", await classified(pixels, labels, count)]);
  row(["mean field, no training", await classified(field(untrained(sizes)), labels, count)]);
  row(["mean field, greedy", await classified(field(first), labels, count)]);
  row(["mean field, all layers", await classified(field(whole), labels, count)]);
  const law = bipartite(whole);
  const { x } = await last(
    run({ x: end.carried!["chains"]!, step: 0 }, { key: fold(root, "deep samples") })(
      rbmGibbs(law, { steps: 200 }),
    ),
  );
  const shown = tf.tidy(() => tf.slice(visibleMean(law, hiddenMean(law, x)), [0, 0], [50, 196]));
  await sheet("boltzmann_deep.png", [...test.subarray(0, 50 * 196), ...shown.dataSync()], {
    side: 14,
    columns: 10,
  });
}

/** A deep machine of random weights. */
function untrained(sizes: readonly number[]): Dbm {
  const rbms = sizes.slice(1).map((hidden, l) =>
    initialRbm({ visible: sizes[l]!, hidden, key: fold(root, l), std: 0.1 })
  );
  return {
    weights: rbms.map(({ weights }) => weights),
    biases: sizes.map((size) => tf.zeros([size])),
  };
}

// Mixing

/** The machine of n + n units of ±1 with E = −(g/n)·Σ s_i·t_j, in units of 0 and 1. */
const pulled = (n: number, g: number) => ({ w: 4 * g / n, b: -2 * g });

const logistic = (a: number): number => 1 / (1 + Math.exp(-a));

/** ln of the number of ways to choose k of n. */
function logChoose(n: number, k: number): number {
  let sum = 0;
  for (let i = 1; i <= k; i++) sum += Math.log((n - k + i) / i);
  return sum;
}

/** The second eigenvalue of the kernel of the number of ones, and its function. */
function slowest(n: number, g: number): { readonly lambda: number; readonly of: number[] } {
  const { w, b } = pulled(n, g), counts = Array.from({ length: n + 1 }, (_, k) => k);
  const binomial = (k: number, p: number): number =>
    Math.exp(logChoose(n, k) + k * Math.log(p) + (n - k) * Math.log(1 - p));
  const given = counts.map((k) => counts.map((l) => binomial(l, logistic(b + w * k))));
  const logs = counts.map((k) => logChoose(n, k) + b * k + n * Math.log1p(Math.exp(b + w * k)));
  const root = logs.map((log) => Math.exp((log - Math.max(...logs)) / 2));
  const symmetric = counts.map((k) =>
    counts.map((j) =>
      root[k]! / root[j]! * counts.reduce((sum, l) => sum + given[k]![l]! * given[l]![j]!, 0)
    )
  );
  const { realEigenvalues, eigenvectorMatrix } = new EigenvalueDecomposition(
    new Matrix(symmetric),
    { assumeSymmetric: true },
  );
  const at = counts.toSorted((i, j) => realEigenvalues[j]! - realEigenvalues[i]!)[1]!;
  return {
    lambda: realEigenvalues[at]!,
    of: counts.map((k) => eigenvectorMatrix.get(k, at) / root[k]!),
  };
}

/** The same eigenvalue as the correlation of its function from one step of chains to the next. */
async function seen(n: number, g: number, of: readonly number[]): Promise<number> {
  const { w, b } = pulled(n, g), count = 2000;
  const rbm: Rbm = {
    weights: tf.fill([n, n], w),
    visible: tf.fill([n], b),
    hidden: tf.fill([n], b),
  };
  const half = tf.tidy(() => tf.concat([tf.zeros([count / 2, n]), tf.ones([count / 2, n])]));
  let before: number[] | undefined, both = 0, alone = 0;
  for await (
    const { x, step } of run({ x: half, step: 0 }, { key: fold(root, n) })(
      rbmGibbs(rbm, { steps: 60 }),
    )
  ) {
    const now = Array.from(tf.tidy(() => tf.sum(x, 1)).dataSync(), (k) => of[Math.round(k)]!);
    if (step > 20) {
      now.forEach((value, i) => (both += value * before![i]!, alone += before![i]! ** 2));
    }
    before = now;
  }
  return both / alone;
}

async function mixing(): Promise<void> {
  console.log(
    "mixing: relaxation time of block Gibbs sampling in steps, of n + n units; λ exactly, and of chains",
  );
  const strengths = [0.5, 1, 1.25, 1.5];
  row(["n", ...strengths.map((g) => `g = ${g}`), "λ, g = 1", "of chains"]);
  for (const n of [4, 8, 16, 32, 64]) {
    const times = strengths.map((g) => (1 / (1 - slowest(n, g).lambda)).toPrecision(4)),
      { lambda, of } = slowest(n, 1);
    row([n, ...times, lambda.toFixed(4), (await seen(n, 1, of)).toFixed(4)]);
  }
}

const parts: Readonly<Record<string, () => Promise<void>>> = {
  bars: barsAndStripes,
  mixing,
  fashion,
  deep,
};
for (const part of options.parts.split(",")) {
  const work = parts[part];
  if (work === undefined) {
    throw new RangeError(
      `Cannot run: parts must be among ${Object.keys(parts).join(", ")}, got ${part}`,
    );
  }
  await work();
}
await engine?.close();

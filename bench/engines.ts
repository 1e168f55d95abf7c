// 2026-11-30, two virtual cores of an AMD EPYC with AVX2 (blocks of 8), Deno 2.9.6, ONNX Runtime 1.30.0, PyTorch 2.15.0:
//   matrix product 2048×2048: 186 GFLOPS at best; 509 MFLOP an image forward, three times that in training
//   medians of 9, ms            onnx    eager  compile   eager/onnx  compile/onnx
//   forward,  batch  1         12.66    15.38    11.39         1.21          0.90
//   forward,  batch 16         57.51    69.23    60.15         1.20          1.05
//   forward,  batch 64        223.93   281.14   243.02         1.26          1.09
//   training, batch 32        448.30   510.38   467.63         1.14          1.04
//   minutes before: 1.17, 1.37 and 0.99 times eager at 16, 64 and in training; on the same cores in another hour, all a
//   third slower: 1.58, 1.26, 1.38 and 1.15
//   wasm, in turn with onnx, medians of 3: 77, 864 and 2,215 ms at 1, 16 and 64 images
//   peak memory of training, MiB: onnx 769 to 777; without blocks, two days before, 771 to 790 in turn with it
//   beside a program that keeps one core busy, graphs of this engine in ONNX Runtime alone, medians of 15, ms:
//     threads that wait           not in a loop   20 µs (ours)   for long
//     training, batch 32                    621            639        830
//     forward, batch 32                     230            206        225
//
// How fast are the engines? The U-Net of 28×28 images, the same weights and threads for all, forward and in training:
// tfjs on WebAssembly, the ONNX engine, PyTorch 2.x eager and compiled. The contestants take turns, repetition by
// repetition, each with its own best setting, so that a busy moment of the machine strikes all of them.
//
// Run: deno run --allow-read --allow-write --allow-run --allow-env --allow-ffi --allow-sys bench/engines.ts
//        [--python PATH] [--threads 2,1] [--batches 1,16,64] [--training 32] [--repeats 15] [--only wasm,onnx,eager,compile]
//   --spinning lets the ONNX engine's threads wait in a busy loop, as PyTorch's do (OMP_WAIT_POLICY is theirs)
//   --check    compares values and ten losses with PyTorch's instead, and fails beyond 1e-5
//   --memory   peak memory of the training step instead: run with --only for one of wasm, onnx; PyTorch's beside it
//
// PyTorch is another program's, never needed by the library: --python names an interpreter with torch (and, for ONNX
// Runtime's matrix product, onnx and onnxruntime); without one it is left out.

import { parameterCount } from "@tweedie/tweedie/network";
import { parseArgs } from "node:util";
import { fileURLToPath } from "node:url";
import * as tf from "@tensorflow/tfjs-core";
import {
  eager,
  type Engine,
  initialize,
  key,
  newTraining,
  normal,
  type Objective,
  train,
  type TrainState,
  unet,
} from "@tweedie/tweedie";
import { mapTensors } from "@tweedie/tweedie/tensor";
import type { NetworkInputs, Parameters, UNetConfig } from "@tweedie/tweedie/network";
import { writeSafetensors } from "@tweedie/tweedie/io";
import { type Backend, useBackend } from "@tweedie/tweedie/backend";

const { values: options } = parseArgs({
  options: {
    python: { type: "string" },
    threads: { type: "string", default: String(navigator.hardwareConcurrency) },
    batches: { type: "string", default: "1,16,64" },
    training: { type: "string", default: "32" },
    repeats: { type: "string", default: "15" },
    only: { type: "string", default: "wasm,onnx,eager,compile" },
    net: { type: "string", default: '{"attention":[2],"classes":10}' },
    spinning: { type: "boolean", default: false },
    check: { type: "boolean", default: false },
    memory: { type: "boolean", default: false },
  },
});

const config: UNetConfig = { size: [28, 28], ...JSON.parse(options.net) };
const threads = options.threads.split(",").map(Number), repeats = Number(options.repeats);
const wanted = options.only.split(",");
const adamOptions = { rate: 1e-3, clip: 1 };

/** One forward pass at a batch size, or one step of training at it. */
interface Task {
  readonly op: "forward" | "train";
  readonly batch: number;
}

/** One that can be timed at tasks; `prepare` warms up and answers what to run, or nothing where it cannot. */
interface Contestant {
  readonly name: string;
  readonly prepare: (task: Task) => Promise<Prepared | undefined>;
}

interface Prepared {
  /** One timed repetition, in milliseconds. */
  readonly run: () => Promise<number>;
  /** The setting that was found best, in words. */
  readonly setting: string;
  readonly dispose: () => Promise<void>;
}

const timed = async (run: () => Promise<void>): Promise<number> => {
  const start = performance.now();
  await run();
  return performance.now() - start;
};

/** The start of training with nothing at zero, so that every weight has a part in what is compared. */
function lively(parameters: Parameters): Parameters {
  return Object.fromEntries(
    Object.entries(parameters).map(([name, { shape, std, mean = 0 }]) => {
      const inputs = shape.slice(0, -1).reduce((a, b) => a * b, 1);
      return [name, {
        shape,
        mean,
        std: std || (shape.length > 1 ? 0.5 / Math.sqrt(inputs) : 0.1),
      }];
    }),
  );
}

/** What every contestant is given at a batch size: images, times, classes and a target for the loss. */
interface Given {
  readonly x: tf.Tensor;
  readonly target: tf.Tensor;
  readonly times: number[];
  readonly labels: number[];
  readonly under: NetworkInputs;
}

function given(batch: number): Given {
  const shape = [batch, ...config.size, config.channels ?? 1], numbers = [...Array(batch).keys()];
  const times = numbers.map((i) => i * 37 % 1000), { classes } = network;
  const labels = numbers.map((i) => classes > 0 ? i % classes : 0);
  const under = network.inputs(times, classes > 0 ? labels : undefined);
  return { x: normal(key(1), shape), target: normal(key(2), shape), times, labels, under };
}

// ---- our engines -------------------------------------------------------------------------------------------------

/** An engine of the library on a tfjs backend; `engine` runs the network's function, uncompiled or compiled. */
function ours(name: string, backend: Backend, engine: Engine): Contestant {
  const prepare = async ({ op, batch }: Task): Promise<Prepared> => {
    await useBackend(backend);
    const inputs = given(batch);
    // A compiled step keeps its state to itself for some steps, as in `tweedie train`.
    const every = engine === eager ? 1 : 5;
    const made = op === "forward" ? forward(engine, inputs) : training(engine, inputs, every);
    for (let i = 0; i < 2; i++) await made.run();
    return {
      setting: engine.name,
      run: async () => {
        await useBackend(backend);
        return await timed(async () => void await made.run()) / made.steps;
      },
      dispose: made.dispose,
    };
  };
  return { name, prepare };
}

/** A forward pass that ends with its numbers on the host. */
function forward(engine: Engine, inputs: Given) {
  // Times and classes are inputs, too: a compiler must not work out in advance what follows from them.
  const compiled = engine.compile((all) => ({
    y: network.forward(all, all["x"]!, all as unknown as NetworkInputs),
  }), params);
  const run = async (): Promise<Float32Array> => {
    const { y } = await compiled.run({ x: inputs.x, ...inputs.under });
    const values = await y!.data<"float32">();
    tf.dispose(y!);
    return values;
  };
  return { run, steps: 1, dispose: compiled.dispose };
}

/** Steps of training on one batch: loss, gradient, clipping, Adam and moving average; answers the loss. */
function training(engine: Engine, inputs: Given, every = 1) {
  const start = newTraining(params);
  const objective: Objective<Given> = {
    inputs: ({ x, target, under }) => mapTensors({ x, target, ...under }, (each) => tf.clone(each)),
    loss: (weights, { x, target, time, label }) => {
      const answer = network.forward(weights, x!, { time: time!, ...(label && { label }) });
      return tf.mean(tf.square(tf.sub(answer, target!))) as tf.Scalar;
    },
  };
  const chosen = engine === eager ? {} : { engine };
  const options = { loss: objective, key: key(3), adam: adamOptions, every, ...chosen };
  const states = train(start, options)(endless(inputs))[Symbol.asyncIterator]();
  const run = async (): Promise<number> => {
    const next: IteratorResult<TrainState, void> = await states.next();
    return next.value!.loss;
  };
  return { run, steps: every, dispose: async () => void await states.return?.() };
}

function* endless<T>(value: T): Generator<T, void, undefined> {
  while (true) yield value;
}

/** The ONNX engine, or nothing where it cannot be had. */
async function onnxEngine(): Promise<Engine | undefined> {
  const source: string = new URL("../src/engine/open.ts", import.meta.url).href;
  try {
    const { onnx } = await import(source);
    return await onnx({ threads: threads[0], spinning: options.spinning });
  } catch (error) {
    console.error(`The ONNX engine is left out: ${(error as Error).message.split("\n")[0]}`);
    return undefined;
  }
}

// ---- PyTorch -----------------------------------------------------------------------------------------------------

/** A setting of bench/torch_unet.py. */
type Setting = Readonly<Record<string, string | number | boolean>>;

/** bench/torch_unet.py, as a process that answers requests. */
interface Twin {
  readonly ask: (request: object) => Promise<Record<string, unknown> | null>;
  readonly close: () => Promise<void>;
}

function startTwin(python: string, weights: string): Twin {
  const script = fileURLToPath(new URL("torch_unet.py", import.meta.url));
  const child = new Deno.Command(python, {
    args: [script, weights],
    stdin: "piped",
    stdout: "piped",
    stderr: "null",
  })
    .spawn();
  const writer = child.stdin.getWriter(), answers = lines(child.stdout);
  const ask = async (request: object) => {
    await writer.write(new TextEncoder().encode(`${JSON.stringify(request)}\n`));
    const { value } = await answers.next();
    if (value === undefined) throw new Error("Cannot ask PyTorch: its process has ended");
    const answer = JSON.parse(value);
    if (answer?.error) throw new Error(`PyTorch: ${answer.error}`);
    return answer;
  };
  const close = async () => {
    await writer.close();
    await answers.return();
    await child.status;
  };
  return { ask, close };
}

async function* lines(bytes: ReadableStream<Uint8Array>): AsyncGenerator<string, void, undefined> {
  let rest = "";
  for await (
    const text of bytes.pipeThrough(new TextDecoderStream() as never) as ReadableStream<string>
  ) {
    const parts = (rest + text).split("\n");
    rest = parts.pop()!;
    yield* parts;
  }
}

const layouts: Setting[] = [{}, { channels_last: true }];
const compiledForward: Setting[] = [{ compile: true }, { compile: true, freezing: true }];

/** The settings among which PyTorch's best is sought. A compiler chooses its layouts itself. */
function settings(compile: boolean, op: Task["op"]): Setting[] {
  const kinds = op === "forward"
    ? compile ? compiledForward : layouts
    : (compile ? [{ compile: true }] : layouts).flatMap((setting) =>
      ["foreach", "fused"].map((adam) => ({ ...setting, adam }))
    );
  return kinds.flatMap((setting) => threads.map((n) => ({ ...setting, threads: n })));
}

/** PyTorch under the best of its settings, each tried five times before. */
function torch(name: string, twin: Twin, compile: boolean): Contestant {
  const prepare = async (task: Task): Promise<Prepared | undefined> => {
    let best: { ms: number; setting: Setting } | undefined;
    for (const setting of settings(compile, task.op)) {
      const ms = await tried(twin, { ...task, setting });
      if (ms !== undefined && !(best && best.ms <= ms)) best = { ms, setting };
    }
    if (!best) return undefined;
    const { setting } = best;
    return {
      setting: JSON.stringify(setting),
      run: async () => (await twin.ask({ ...task, setting }))!["ms"] as number,
      dispose: () => Promise.resolve(),
    };
  };
  return { name, prepare };
}

/** The best of five repetitions, or nothing where this setting does not work here. */
async function tried(
  twin: Twin,
  request: Task & { setting: Setting },
): Promise<number | undefined> {
  const found: number[] = [];
  try {
    for (let i = 0; i < 5; i++) found.push((await twin.ask(request))!["ms"] as number);
  } catch (error) {
    console.error(`${JSON.stringify(request)}: ${(error as Error).message.split("\n")[0]}`);
    return undefined;
  }
  console.error(`${JSON.stringify(request)}: ${sorted(found)[0]!.toFixed(2)} ms`);
  return sorted(found)[0];
}

// ---- counting and reporting ----------------------------------------------------------------------------------------

const sorted = (list: readonly number[]): number[] => [...list].sort((a, b) => a - b);
const median = (list: readonly number[]): number => sorted(list)[list.length >> 1]!;
const product = (shape: readonly number[]): number => shape.reduce((a, b) => a * b, 1);

/** Multiplications and additions of the convolutions and matrix products of one image's forward pass. */
async function operations(): Promise<number> {
  await useBackend("cpu");
  const inputs = given(1);
  const { kernels } = await tf.profile(() => network.forward(params, inputs.x, inputs.under));
  return kernels.reduce((sum, { name, inputShapes, outputShapes }) => {
    const [a, b] = inputShapes as number[][], out = (outputShapes as number[][])[0]!;
    if (name.includes("Conv2D")) return sum + 2 * product(out) * product(b!.slice(0, 3));
    if (!name.includes("MatMul")) return sum;
    return sum + 2 * product(out) * product(a!) / product(out.slice(0, -1));
  }, 0);
}

/** The best rate of a large matrix product, in operations a millisecond, by PyTorch and by ONNX Runtime. */
async function peak(twin: Twin, size = 2048): Promise<number> {
  const setting = { threads: threads[0] }, rates: Record<string, number> = {};
  for (const by of ["torch", "onnxruntime"]) {
    const found: number[] = [];
    for (let i = 0; i < 7; i++) {
      const answer = await twin.ask({ op: "matmul", size, by, setting });
      if (answer) found.push(answer["ms"] as number);
    }
    if (found.length > 0) rates[by] = 2 * size ** 3 / sorted(found)[0]!;
  }
  for (const [by, rate] of Object.entries(rates)) {
    console.log(`matrix product ${size}×${size}, ${by}: ${(rate / 1e6).toFixed(0)} GFLOPS at best`);
  }
  return Math.max(...Object.values(rates));
}

/** Lets the contestants take turns at a task, another one first each time, and prints what came of it. */
async function compare(
  task: Task,
  contestants: readonly Contestant[],
  flops: number,
  best?: number,
) {
  const racing: (Prepared & { name: string; times: number[] })[] = [];
  for (const { name, prepare } of contestants) {
    try {
      const prepared = await prepare(task);
      if (prepared) racing.push({ ...prepared, name, times: [] });
    } catch (error) {
      console.error(`${name} is left out: ${(error as Error).message.split("\n")[0]}`);
    }
  }
  for (let i = 0; i < repeats; i++) {
    for (let j = 0; j < racing.length; j++) {
      const one = racing[(i + j) % racing.length]!;
      await new Promise((resolve) => setTimeout(resolve, 20)); // the last one's threads stop spinning
      one.times.push(await one.run());
    }
  }
  report(task, racing, task.batch * flops * (task.op === "train" ? 3 : 1), best);
  for (const { dispose } of racing) await dispose();
}

/** One table: medians, minima, images a second, how many times as long as the fastest of our own, share of the peak. */
function report(
  { op, batch }: Task,
  racing: readonly { name: string; setting: string; times: number[] }[],
  flops: number,
  best?: number,
): void {
  const own = racing.find(({ name }) => name === "onnx") ?? racing[0];
  console.log(`\n${op}, batch ${batch}: ${repeats} repetitions in turn`);
  for (const { name, setting, times } of racing) {
    const ms = median(times), share = best ? flops / ms / best : NaN;
    console.log([
      name.padEnd(8),
      `median ${ms.toFixed(2).padStart(9)} ms`,
      `min ${sorted(times)[0]!.toFixed(2).padStart(9)} ms`,
      `${(1e3 * batch / ms).toFixed(0).padStart(5)} images/s`,
      `${(ms / median(own!.times)).toFixed(2).padStart(6)} × ${own!.name}`,
      Number.isNaN(share) ? "" : `${(100 * share).toFixed(0).padStart(3)} % of the peak`,
      setting,
    ].join("  "));
  }
}

// ---- the same numbers ----------------------------------------------------------------------------------------------

/** Compares values on each engine, and ten losses of training, with PyTorch's; answers whether all are within 1e-5. */
async function check(twin: Twin, engines: readonly [string, Backend, Engine][]): Promise<boolean> {
  const inputs = given(2), path = await Deno.makeTempFile({ suffix: ".safetensors" });
  const reals = (tensor: tf.Tensor) =>
    ({ dtype: "F32", shape: tensor.shape, data: tensor.dataSync<"float32">() }) as const;
  const wholes = (list: number[]) =>
    ({ dtype: "I32", shape: [list.length], data: Int32Array.from(list) }) as const;
  await writeSafetensors(path, {
    x: reals(inputs.x),
    target: reals(inputs.target),
    times: wholes(inputs.times),
    labels: wholes(inputs.labels),
  });
  const steps = 10,
    { values } = (await twin.ask({ op: "values", input: path })) as { values: number[] };
  const { losses } = (await twin.ask({ op: "losses", input: path, steps, ...adamOptions })) as {
    losses: number[];
  };
  await Deno.remove(path);
  console.log(`PyTorch's losses: ${losses.map((loss) => loss.toFixed(6)).join(" ")}`);
  let fine = true;
  const told = (what: string, got: ArrayLike<number>, want: readonly number[]) => {
    const far = Math.max(...want.map((value, i) => Math.abs(value - got[i]!)));
    fine &&= far <= 1e-5;
    console.log(
      `${what}: at most ${far.toExponential(1)} from PyTorch's ${far <= 1e-5 ? "" : "TOO FAR"}`,
    );
  };
  for (const [name, backend, engine] of engines) {
    await useBackend(backend);
    const one = forward(engine, inputs);
    told(`${name}, ${values.length} values`, await one.run(), values);
    await one.dispose();
    if (engine === eager && backend === "cpu") continue; // its gradients take minutes
    const ten = training(engine, inputs), got: number[] = [];
    for (let i = 0; i < steps; i++) got.push(await ten.run());
    told(`${name}, ${steps} losses`, got, losses);
    await ten.dispose();
  }
  return fine;
}

// ---- memory ----------------------------------------------------------------------------------------------------------

const mebibytes = (bytes: number): string => `${(bytes / 2 ** 20).toFixed(0)} MiB`;

async function ownPeak(): Promise<number> {
  const status = await Deno.readTextFile("/proc/self/status");
  return 1024 * Number(/VmHWM:\s*(\d+)/.exec(status)![1]);
}

/** Peak resident memory of this process, and of PyTorch's, up to the first steps and over five steps after. */
async function memory(twin: Twin | undefined, engines: readonly [string, Backend, Engine][]) {
  const batch = Number(options.training), [name, backend, engine] = engines.at(-1)!;
  console.log(`Deno with the network's weights: ${mebibytes(await ownPeak())}`);
  await useBackend(backend);
  const steps = training(engine, given(batch));
  for (let i = 0; i < 2; i++) await steps.run();
  console.log(`${name}, the first two steps at batch ${batch}: ${mebibytes(await ownPeak())}`);
  await Deno.writeTextFile("/proc/self/clear_refs", "5");
  for (let i = 0; i < 5; i++) await steps.run();
  console.log(`${name}, five more: ${mebibytes(await ownPeak())}`);
  await steps.dispose();
  if (!twin) return;
  const peaked = async () => mebibytes((await twin.ask({ op: "rss" }))!["bytes"] as number);
  const request = { op: "train", batch, setting: { threads: threads[0] } };
  console.log(`PyTorch with the network's weights: ${await peaked()}`);
  await twin.ask(request);
  console.log(`PyTorch, the first steps at batch ${batch}: ${await peaked()}`);
  await twin.ask({ op: "reset" });
  for (let i = 0; i < 5; i++) await twin.ask(request);
  console.log(`PyTorch, five more: ${await peaked()}`);
}

// ---- the run -----------------------------------------------------------------------------------------------------------

await useBackend("cpu");
const network = unet(config), params = initialize(lively(network.parameters), key(0));
console.log(`U-Net ${JSON.stringify(config)}: ${parameterCount(network.parameters)} parameters`);
console.log(`${Deno.version.deno} Deno, ${threads[0]} threads`);

const weights = await Deno.makeTempFile({ suffix: ".safetensors" });
await writeSafetensors(
  weights,
  Object.fromEntries(
    Object.entries(params).map(([name, tensor]) => [
      name,
      { dtype: "F32", shape: tensor.shape, data: tensor.dataSync<"float32">() },
    ]),
  ),
  { config: JSON.stringify(config) },
);

const twin = options.python ? startTwin(options.python, weights) : undefined;
if (twin) console.log(`PyTorch ${(await twin.ask({ op: "about" }))!["version"]}`);
else console.log("PyTorch is left out: no --python was given");

const compiler = wanted.includes("onnx") ? await onnxEngine() : undefined;
const engines: [string, Backend, Engine][] = [];
if (options.check) engines.push(["cpu", "cpu", eager]);
if (wanted.includes("wasm")) engines.push(["wasm", "wasm", eager]);
// A compiled engine keeps its inputs and outputs where they cost least to read.
if (compiler) engines.push(["onnx", "cpu", compiler]);

let failed = false;
try {
  if (options.check) {
    if (!twin) throw new Error("Cannot check: --python must name an interpreter with torch");
    failed = !await check(twin, engines);
  } else if (options.memory) {
    await memory(twin, engines);
  } else {
    const contestants = [
      ...engines.map(([name, backend, engine]) => ours(name, backend, engine)),
      ...(twin && wanted.includes("eager") ? [torch("eager", twin, false)] : []),
      ...(twin && wanted.includes("compile") ? [torch("compile", twin, true)] : []),
    ];
    const flops = await operations(), best = twin && await peak(twin);
    console.log(`${(flops / 1e6).toFixed(0)} MFLOP an image forward, three times that in training`);
    for (const batch of options.batches.split(",").filter(Boolean).map(Number)) {
      await compare({ op: "forward", batch }, contestants, flops, best);
    }
    for (const batch of options.training.split(",").filter(Boolean).map(Number)) {
      await compare({ op: "train", batch }, contestants, flops, best);
    }
  }
} finally {
  await twin?.close();
  await compiler?.close();
  await Deno.remove(weights);
}
if (failed) Deno.exit(1);

/**
 * What the tests of the command line share: running it, in this process or in one of its own, tiny data sets, tiny
 * weights, pictures read back.
 *
 * @module
 */

import assert from "node:assert/strict";
import { gzipSync } from "node:zlib";
import { fileURLToPath } from "node:url";
import { decode } from "fast-png";
import { main } from "../../src/cli.ts";
import { timedClassifier } from "../../src/network/classifier.ts";
import type { Parameters } from "../../src/network/layer/parameter.ts";
import { unet } from "../../src/network/unet.ts";
import type { NoisyClassifierConfig } from "../../src/io/weights.ts";
import type { ImageModelConfig } from "../../src/network/model.ts";
import { type HostTensors, writeSafetensors } from "../../src/io/safetensors.ts";
import { fold, key } from "../../src/tensor/key.ts";
import { normals } from "../../src/tensor/random.ts";

const root = new URL("../../", import.meta.url);

/** What a run of the command line gave. */
export interface Ended {
  /** Exit code. */
  readonly code: number;
  /** What it wrote to its standard error. */
  readonly said: string;
}

/** Arguments of `deno` that run the command line with some permissions. */
export const denoArgs = (permissions: readonly string[]): string[] => [
  "run",
  "--quiet",
  "--no-prompt",
  "--cached-only",
  `--config=${fileURLToPath(new URL("deno.json", root))}`,
  "--frozen",
  ...permissions,
  fileURLToPath(new URL("src/cli.ts", root)),
];

const everything = ["--allow-read", "--allow-write"];

/** Calls the command line within this process, one call at a time: quick, for what does not concern the process. */
export async function called(...args: string[]): Promise<Ended & { readonly shown: string }> {
  const { error, log } = console, { stderr } = Deno;
  let said = "", shown = "";
  console.error = (text: string) => void (said += `${text}\n`);
  console.log = (text: string) => void (shown += `${text}\n`);
  stderr.writeSync = (bytes: Uint8Array) => {
    said += new TextDecoder().decode(bytes);
    return bytes.length;
  };
  try {
    return { code: await main(args), said, shown };
  } finally {
    Object.assign(console, { error, log });
    delete (stderr as { writeSync?: unknown }).writeSync;
  }
}

/** A command line that runs in a process of its own. */
export interface Running {
  /** Sends a signal. */
  readonly kill: (signal: Deno.Signal) => void;
  /** Waits until its standard error matches; fails when it ends before. */
  readonly saying: (pattern: RegExp) => Promise<void>;
  /** Its end; the exit code is that of a shell, 128 and the signal's number, where a signal ended it. */
  readonly ended: Promise<Ended & { readonly out: Uint8Array<ArrayBuffer> }>;
}

/** Starts the command line in a process of its own. */
export function started(
  args: readonly string[],
  options: { readonly permissions?: readonly string[]; readonly cwd?: string } = {},
): Running {
  const { permissions = everything, cwd } = options;
  const child = new Deno.Command(Deno.execPath(), {
    args: [...denoArgs(permissions), ...args],
    ...(cwd === undefined ? {} : { cwd }),
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  let said = "", heard = Promise.withResolvers<void>();
  const listening = (async () => {
    const text = child.stderr.pipeThrough(new TextDecoderStream() as never);
    for await (const part of text as ReadableStream<string>) {
      said += part;
      heard.resolve();
      heard = Promise.withResolvers();
    }
  })();
  let over = false;
  const ended = (async () => {
    const out = await new Response(child.stdout).bytes(), { code } = await child.status;
    await listening;
    over = true;
    heard.resolve();
    return { code, said, out };
  })();
  const saying = async (pattern: RegExp): Promise<void> => {
    while (!pattern.test(said)) {
      assert.ok(!over, `ended before it said ${pattern}: ${said}`);
      await heard.promise;
    }
  };
  return { kill: (signal) => child.kill(signal), saying, ended };
}

/** Waits for something that happens to the files of a folder while a command line runs; fails when it ends before. */
export async function happening(
  folder: string,
  run: Running,
  wanted: (event: Deno.FsEvent) => boolean,
): Promise<void> {
  const events = Deno.watchFs(folder);
  let found = false, over = false;
  run.ended.then(() => {
    over = true;
    if (!found) events.close();
  });
  for await (const event of events) {
    found = wanted(event);
    if (found) break;
  }
  assert.ok(found || !over, "ended before it happened");
}

/** Runs a line of bash in which `"$@"` is the command line. */
export async function shell(
  line: string,
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
): Promise<Ended & { readonly shown: string }> {
  const { code, stdout, stderr } = await new Deno.Command("bash", {
    args: ["-c", line, "bash", Deno.execPath(), ...denoArgs(everything), ...args],
    env,
    stdin: "null",
  }).output();
  const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
  return { code, said: text(stderr), shown: text(stdout) };
}

/** A folder that is gone afterwards. */
export async function within<A>(use: (folder: string) => Promise<A>): Promise<A> {
  const folder = await Deno.makeTempDir({ prefix: "tweedie-" });
  try {
    return await use(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** Names and sizes of all files of a folder: what must be the same after a refusal. */
export function listed(folder: string): string[] {
  return [...Deno.readDirSync(folder)].map(({ name, isFile }) =>
    `${name} ${isFile ? Deno.statSync(`${folder}/${name}`).size : "folder"}`
  ).sort();
}

/** An IDX file. */
export function idx(shape: readonly number[], data: Iterable<number>): Uint8Array {
  const header = new Uint8Array(4 + 4 * shape.length), words = new DataView(header.buffer);
  header.set([0, 0, 8, shape.length]);
  shape.forEach((size, axis) => words.setUint32(4 + 4 * axis, size));
  return new Uint8Array([...header, ...data]);
}

/** The option that names the ten classes of {@link dataset} as Fashion-MNIST does. */
export const garments: readonly string[] = [
  "--classes",
  "T-shirt/top,Trouser,Pullover,Dress,Coat,Sandal,Shirt,Sneaker,Bag,Ankle boot",
];

/** Writes 20 images of 8 x 8 pixels with labels, those of ten classes unless given. */
export async function dataset(
  folder: string,
  options: { readonly zip?: boolean; readonly labels?: readonly number[] } = {},
): Promise<string> {
  const { zip = false, labels = Array.from({ length: 20 }, (_, i) => i % 10) } = options;
  const pixels = Array.from({ length: 20 * 64 }, (_, i) => (i * 37 + (i >> 6) * 11) % 256);
  const put = (name: string, bytes: Uint8Array) =>
    Deno.writeFile(
      `${folder}/train-${name}-ubyte${zip ? ".gz" : ""}`,
      zip ? gzipSync(bytes) : bytes,
    );
  await Deno.mkdir(folder, { recursive: true });
  await put("images-idx3", idx([20, 8, 8], pixels));
  await put("labels-idx1", idx([labels.length], labels));
  return folder;
}

/** The description of a tiny denoiser. */
export const tiny: ImageModelConfig = {
  schedule: { name: "cosineContinuous" },
  kind: "v",
  network: {
    size: [8, 8],
    channels: 1,
    base: 16,
    multipliers: [1],
    blocks: 1,
    patch: 4,
    middleAttention: false,
    classes: 3,
  },
  classes: ["Trouser", "Bag", "Ankle boot"],
};

/** Weights for a description, normal of deviation 0.3, so that classes and times matter. */
export const weightsOf = (config: ImageModelConfig = tiny): HostTensors =>
  randomWeights(unet(config.network).parameters);

function randomWeights(parameters: Parameters): HostTensors {
  return Object.fromEntries(
    Object.entries(parameters).map(([name, { shape }]) => {
      const numbers = normals(fold(key(5), name), shape.reduce((a, b) => a * b, 1));
      const data = Float32Array.from(numbers, (value) => 0.3 * value);
      return [name, { dtype: "F32", shape, data }];
    }),
  );
}

/** Writes the weights of a tiny denoiser. */
export async function weights(path: string, config: ImageModelConfig = tiny): Promise<string> {
  const metadata = { format: "tweedie.denoise", model: JSON.stringify(config) };
  await writeSafetensors(path, weightsOf(config), metadata);
  return path;
}

/** The description of a tiny classifier of noisy images, of the classes of the tiny denoiser in another order. */
export const tinyGuide: NoisyClassifierConfig = {
  schedule: { name: "vp" },
  size: [8, 8],
  classes: 3,
  base: 8,
  names: ["Bag", "Ankle boot", "Trouser"],
};

/** Weights of a classifier of noisy images. */
export const guideWeights = (config: NoisyClassifierConfig = tinyGuide): HostTensors =>
  randomWeights(timedClassifier(config).parameters);

/** Writes the weights of a tiny classifier of noisy images. */
export async function guide(
  path: string,
  config: NoisyClassifierConfig = tinyGuide,
): Promise<string> {
  const metadata = { format: "tweedie.classify", model: JSON.stringify(config) };
  await writeSafetensors(path, guideWeights(config), metadata);
  return path;
}

/** Asserts that two files are the same, byte for byte; of two that are not, it says where, since a list would be long. */
export function same(actual: Uint8Array, wanted: Uint8Array, message: string = ""): void {
  const differing = wanted.findIndex((byte, i) => byte !== actual[i]);
  const what = `${message} first difference at byte ${differing} of ${wanted.length}`;
  assert.ok(differing < 0 && actual.length === wanted.length, what);
}

/** A PNG's pixels, cut into tiles of a side, row by row. */
export function tiles(bytes: Uint8Array, side: number): number[][] {
  const { width, height, data } = decode(bytes);
  return Array.from({ length: (width / side) * (height / side) }, (_, tile) => {
    const left = (tile % (width / side)) * side, top = Math.floor(tile / (width / side)) * side;
    return Array.from(
      { length: side * side },
      (_, i) => data[(top + Math.floor(i / side)) * width + left + i % side]!,
    );
  });
}

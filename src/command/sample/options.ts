/**
 * `tweedie sample`: its options, and the pipeline that they describe.
 *
 * @module
 */

import { Command, Option } from "commander";
import { pipe } from "fp-ts/lib/function.js";
import { checkGpu } from "../../tensor/backend.ts";
import { key as newKey } from "../../tensor/key.ts";
import type { Condition } from "../../denoise/prediction.ts";
import type { GridOptions, Spacing } from "../../noise/grid.ts";
import type { Schedule } from "../../noise/schedule.ts";
import { ddim, ddpm } from "../../sample/ancestral.ts";
import { prior, type Refinement, run, type Sampler } from "../../sample/chain.ts";
import { dpmSolver } from "../../sample/solver.ts";
import { byClassifier, classifierFree, guided } from "../../refine/guide.ts";
import { thresholded } from "../../refine/threshold.ts";
import { type FrameOptions, frames, type Image } from "../../watch/frames.ts";
import { progress } from "../../watch/progress.ts";
import { every as everyNth, watched } from "../../watch/record.ts";
import type { EngineOptions, ImageModelConfig } from "../../network/model.ts";
import { apng, type ApngOptions, png, saveApng, savePng, savePngs } from "../../io/png.ts";
import { checkWritable, writeAtomically } from "../../io/file.ts";
import { toStdout } from "../../io/process.ts";
import { raw, y4m } from "../../io/video.ts";
import { loadDenoiser, type LoadedNoisyClassifier, loadNoisyClassifier } from "../../io/weights.ts";
import {
  addEngine,
  type EngineArguments,
  engineNotes,
  enginePermissions,
  onEngine,
  refuseThreads,
} from "../engine.ts";
import {
  limited,
  misused,
  numeric,
  positive,
  positives,
  refuseGiven,
  refuseSamePath,
} from "../option.ts";
import { interruptible, turn } from "../stop.ts";

type Format = "png" | "pngs" | "apng" | "y4m" | "rgb24" | "gray";

/** What commander gives: one entry for each option below. */
interface SampleArguments extends EngineArguments {
  readonly checkpoint: string;
  readonly sampler: "ddim" | "ddpm" | "dpm";
  readonly steps: number;
  readonly eta: number;
  readonly spacing?: Spacing;
  readonly class?: string;
  readonly classifier?: string;
  readonly scale: number;
  readonly count: number;
  readonly key: number;
  readonly clip: boolean;
  readonly frames: Format;
  readonly out: string;
  readonly final?: string;
  readonly every: number;
  readonly of: "x" | "x0";
  readonly grid?: number[];
  readonly zoom: number;
  readonly fps: number;
}

const notes = `
The same key gives the same samples, however many: the first of --count 16 is
the one of --count 1, to rounding on onnx.

${engineNotes}

Permissions: --allow-read for the weights; to write files, --allow-read and
--allow-write for their folders; ${enginePermissions}

Examples:
  A grid of ten garments, one of each class:
    tweedie sample --checkpoint fashion.safetensors --count 10 --out grid.png
  Every x_t as an animation, and the last one as a picture:
    tweedie sample --checkpoint fashion.safetensors --class "Ankle boot" \\
      --frames apng --out boots.png --final boot.png
  Ankle boots of a model that is not told so, by the gradient of a classifier of
  noisy images:
    tweedie sample --checkpoint fashion.safetensors --class "Ankle boot" \\
      --classifier guide.safetensors --scale 3 --out guided.png
  The prediction of x0 at each step, in numbered files, by another sampler:
    tweedie sample --checkpoint fashion.safetensors --sampler dpm --steps 20 \\
      --of x0 --frames pngs --out x0-%03d.png
  Frames into another program:
    tweedie sample --checkpoint fashion.safetensors --frames y4m --out - |
      ffmpeg -i - -pix_fmt yuv420p out.mp4
  Raw frames, of which a reader must know the size: 4 x 4 samples of 28 pixels,
  3 times enlarged, are 336 x 336:
    tweedie sample --checkpoint fashion.safetensors --frames rgb24 --out - |
      ffmpeg -f rawvideo -pix_fmt rgb24 -video_size 336x336 -i - out.gif`;

/** The command `tweedie sample`. */
export function sampleCommand(): Command {
  const command = new Command("sample")
    .description("Sample a trained denoiser and write its pictures, frame by frame")
    .requiredOption("--checkpoint <file>", "weights or checkpoint that tweedie train wrote");
  addSampler(command);
  addPictures(command);
  return command.addHelpText("after", notes).action((options: SampleArguments) => {
    refuseUsage(options, command);
    return interruptible((signal) => sampleWith(options, signal));
  });
}

const spacings: readonly Spacing[] = [
  "uniform",
  "leading",
  "trailing",
  "linspace",
  "quadratic",
  "karras",
  "logLinear",
];

function addSampler(command: Command): void {
  command
    .addOption(
      new Option("--sampler <name>", "how to step: DDIM, DDPM or DPM-Solver++")
        .choices(["ddim", "ddpm", "dpm"]).default("ddim"),
    )
    .option("--steps <n>", "number of steps", limited(1e6), 50)
    .option(
      "--eta <number>",
      "share of noise in a DDIM step: 0 none, 1 that of DDPM",
      numeric({ least: 0 }),
      0,
    )
    .addOption(
      new Option("--spacing <name>", "how the times are laid out (default: the sampler's own)")
        .choices(spacings),
    )
    .option(
      "--class <list>",
      "names or numbers, separated by commas, taken in turn; none for no class (default: all)",
    )
    .option(
      "--scale <number>",
      "strength of guidance: 0 ignores the class, 1 is as it was learned",
      numeric(),
      2,
    )
    .option(
      "--classifier <file>",
      "guide by this classifier of noisy images; the model is told no class (default: classifier-free)",
    )
    .option("--count <n>", "number of samples", limited(65536), 16)
    .option("--key <seed>", "seed of all randomness", numeric({ least: 0, whole: true }), 0)
    .option("--no-clip", "do not clip predictions of x0 to the range of pixels");
  addEngine(command);
}

function addPictures(command: Command): void {
  command.optionsGroup("Pictures:")
    .addOption(
      new Option(
        "--frames <format>",
        "png: the last frame; pngs: numbered files; apng: an animation; the rest: video",
      )
        .choices(Object.keys(extensions)).default("png"),
    )
    .requiredOption(
      "--out <file>",
      "where to put it; - is standard output; a pattern such as out/%04d.png for pngs",
    )
    .option("--final <file>", "also write the last frame here, as a PNG")
    .option("--every <n>", "keep every n-th frame, and the last", positive, 1)
    .addOption(
      new Option("--of <what>", "the state itself, or its prediction of x0").choices(["x", "x0"])
        .default("x"),
    )
    .option("--grid <rows,columns>", "layout of the samples (default: near-square)", positives)
    .option("--zoom <n>", "enlargement", limited(1000), 3)
    .option("--fps <number>", "frames a second", numeric({ least: 0.1 }), 12);
}

/** How the files of each format end; null where any name will do. */
const extensions: Readonly<Record<Format, RegExp | null>> = {
  png: /\.png$/i,
  pngs: /\.png$/i,
  apng: /\.a?png$/i,
  y4m: /\.y4m$/i,
  rgb24: null,
  gray: null,
};

function refuseUsage(options: SampleArguments, command: Command): void {
  const { sampler, frames: format, out, final, grid, count } = options;
  refuseThreads(options, command);
  if (sampler !== "ddim") refuseGiven(command, ["eta"], "--sampler ddim");
  refuseSamePath(command, ["--out <file>", out], ["--final <file>", final]);
  if (out !== "-" && extensions[format]?.test(out) === false) {
    const ending = format === "y4m" ? ".y4m" : ".png";
    misused(command, `option '--out <file>' must end in ${ending} for ${format}, got ${out}`);
  }
  if (final !== undefined && !extensions.png!.test(final)) {
    misused(command, `option '--final <file>' must end in .png, got ${final}`);
  }
  if (grid && (grid.length !== 2 || grid[0]! * grid[1]! < count)) {
    misused(command, `option '--grid' must be rows,columns with room for ${count}, got ${grid}`);
  }
}

async function sampleWith(options: SampleArguments, signal: AbortSignal): Promise<void> {
  const write = writer(options, signal);
  await checkOutputs(options);
  await onEngine(options, (given) => sampleOn(options, { ...given, write, signal }));
}

async function sampleOn(
  options: SampleArguments,
  { write, signal, ...given }: EngineOptions & {
    readonly write: Write;
    readonly signal: AbortSignal;
  },
): Promise<void> {
  const { count, key, steps, final } = options;
  const { model, config } = await loadDenoiser(options.checkpoint);
  const pull = options.classifier === undefined
    ? undefined
    : await guideOf(options.classifier, model.schedule, config);
  const { size: [height, width], channels = 1 } = config.network;
  const start = prior([count, height, width, channels]);
  const pictures = pipe(
    samplerFor(options, { schedule: model.schedule, config, ...(pull && { pull }) }),
    run(start, { ...given, model, key: newKey(key), signal }),
    watched(between),
    progress({ total: steps, label: "sampling" }),
    everyNth(options.every),
    frames(frameOptions(options)),
  );
  let latest: Image | undefined;
  await write(watched<Image>((image) => void (latest = image))(pictures));
  if (final !== undefined && latest !== undefined) await writeAtomically(final, png(latest));
}

/** Between two steps: hears requests to stop, and stops where a GPU's result cannot be believed. */
async function between(): Promise<void> {
  await turn();
  await checkGpu();
}

/** Whether all can be written where it is to go, before the work. */
async function checkOutputs({ frames: format, out, final }: SampleArguments): Promise<void> {
  // A pattern is looked at by what fills it in, which is before the first picture too.
  for (const path of [out === "-" || format === "pngs" ? undefined : out, final]) {
    if (path !== undefined) await checkWritable(path);
  }
  if (out === "-" && Deno.stdout.isTerminal()) {
    throw new TypeError(
      "Cannot write to standard output: it must be a pipe or a file, got a terminal",
    );
  }
}

function frameOptions({ of, zoom, grid }: SampleArguments): FrameOptions {
  return { of, scale: zoom, ...(grid === undefined ? {} : { grid: [grid[0]!, grid[1]!] }) };
}

/** The classifier of a file, of images of the model's shape. */
async function guideOf(
  path: string,
  schedule: Schedule,
  { network: { size, channels = 1 } }: ImageModelConfig,
): Promise<LoadedNoisyClassifier> {
  const pull = await loadNoisyClassifier(path, { under: schedule }), { config } = pull;
  const shape = [...size, channels], known = [...config.size, config.channels ?? 1];
  if (shape.every((length, i) => length === known[i])) return pull;
  throw new RangeError(
    `Cannot guide by ${path}: its images must be of the model's shape [${shape}], got [${known}]`,
  );
}

/** What a sampler is made for. */
interface Sampled {
  readonly schedule: Schedule;
  readonly config: ImageModelConfig;
  /** The classifier that guides. Default: none, classifier-free. */
  readonly pull?: LoadedNoisyClassifier;
}

/** The sampler with all its refinements. */
function samplerFor(options: SampleArguments, { schedule, config, pull }: Sampled): Sampler {
  const names = pull
    ? namesOf(pull.config.names, pull.config.classes)
    : namesOf(config.classes, config.network.classes);
  const condition = conditionOf(options.class, options.count, names);
  const asIs: Refinement = (sampler) => sampler, { scale } = options;
  return pipe(
    stepper(options, schedule),
    options.clip ? thresholded() : asIs,
    condition.every((label) => label === null) ? asIs : guided(
      pull
        ? byClassifier(pull.classifier, condition, { scale })
        : classifierFree(condition, { scale }),
    ),
  );
}

/** The names of classes, or their numbers. */
const namesOf = (names: readonly string[] | undefined, count = 0): readonly string[] =>
  names ?? Array.from({ length: count }, (_, i) => `${i}`);

function stepper(options: SampleArguments, schedule: Schedule): Sampler {
  const { steps, eta, spacing } = options;
  const grid: GridOptions = spacing === undefined ? { steps } : { steps, spacing };
  if (options.sampler === "ddpm") return ddpm(schedule, grid);
  return options.sampler === "dpm" ? dpmSolver(schedule, grid) : ddim(schedule, { ...grid, eta });
}

/** What takes the frames. */
type Write = (images: AsyncIterable<Image>) => Promise<unknown>;

/** What takes the frames, by format and destination. */
function writer(
  { frames: format, out, fps }: SampleArguments,
  signal: AbortSignal,
): Write {
  const animation = { delay: Math.round(1000 / fps), hold: 1500 };
  if (format === "pngs") return savePngs(out);
  if (format === "png" && out !== "-") return savePng(out);
  if (format === "apng" && out !== "-") return saveApng(out, animation);
  const bytes = encoder(format, fps, animation);
  return (images) =>
    out === "-" ? toStdout({ signal })(bytes(images)) : writeAtomically(out, bytes(images));
}

/** Frames to a stream of bytes. */
function encoder(
  format: Exclude<Format, "pngs">,
  fps: number,
  animation: ApngOptions,
): (images: AsyncIterable<Image>) => AsyncIterable<Uint8Array> {
  if (format === "y4m") return y4m({ fps });
  if (format === "rgb24" || format === "gray") return raw({ format });
  return async function* (images) {
    if (format === "apng") return yield await apng(images, animation);
    let latest: Image | undefined;
    for await (const image of images) latest = image;
    if (latest !== undefined) yield png(latest);
  };
}

/** One class for each sample: those asked for, in turn. */
function conditionOf(list: string | undefined, count: number, names: readonly string[]): Condition {
  const wanted = list === undefined
    ? [...names.keys()]
    : list.split(",").map((text) => classOf(text.trim(), names));
  return Array.from({ length: count }, (_, i) => wanted[i % wanted.length] ?? null);
}

function classOf(text: string, names: readonly string[]): number | null {
  if (text.toLowerCase() === "none") return null;
  const byName = names.findIndex((name) => name.toLowerCase() === text.toLowerCase());
  const index = byName >= 0 ? byName : /^\d+$/.test(text) ? Number(text) : -1;
  if (index >= 0 && index < names.length) return index;
  const wanted = names.length === 0
    ? "none, for the model knows no classes"
    : `none, a number in [0, ${names.length - 1}] or one of ${names.join(", ")}`;
  throw new RangeError(`Cannot choose a class: it must be ${wanted}, got ${text || "nothing"}`);
}

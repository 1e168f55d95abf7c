/**
 * `tweedie sample`: the pipeline that its options describe.
 *
 * @module
 */

import { pipe } from "fp-ts/lib/function.js";
import { checkGpu } from "../../tensor/backend/backend.ts";
import { refusal } from "../../tensor/check/check.ts";
import { key as newKey } from "../../tensor/key.ts";
import type { Condition, Model } from "../../denoise/prediction.ts";
import type { GridOptions, Spacing } from "../../noise/grid.ts";
import type { Schedule } from "../../noise/schedule/schedule.ts";
import { ddim, ddpm } from "../../sample/ancestral.ts";
import { prior, run } from "../../sample/run.ts";
import type { Refinement, Sampler, State } from "../../sample/path.ts";
import { dpmSolver } from "../../sample/solver/dpm.ts";
import { guided } from "../../refine/guide/combine.ts";
import { classifierFree } from "../../refine/guide/free.ts";
import { byClassifier } from "../../refine/guide/gradient.ts";
import { thresholded } from "../../refine/threshold.ts";
import { type Image, toImage } from "../../watch/frames.ts";
import { progress } from "../../watch/progress.ts";
import { watched } from "../../watch/record.ts";
import { type Architecture, architectureOf } from "../../network/architecture.ts";
import type { EngineOptions } from "../../network/model.ts";
import { checkWritable, writeAtomically } from "../../io/file.ts";
import { png } from "../../io/png.ts";
import { loadDenoiser, type LoadedNoisyClassifier, loadNoisyClassifier } from "../../io/weights.ts";
import { type EngineArguments, onEngine } from "../choose.ts";
import { withinMemory } from "../memory.ts";
import { say } from "../option.ts";
import { turn } from "../stop.ts";
import { type Batch, batchesOf, type Drawn, drawn, usualBatch } from "./batch.ts";
import { conditionOf, knowsNone, namesOf, scaleOf } from "./classes.ts";
import { blank, checkSheet, place, type Sheet } from "./sheet.ts";
import { type Format, type Write, writer } from "./write.ts";

/** All spacings of times. */
export const spacings: readonly Spacing[] = [
  "uniform",
  "leading",
  "trailing",
  "linspace",
  "quadratic",
  "karras",
  "logLinear",
];

/** Those that pick among the times of a discrete schedule. */
const discreteSpacings: readonly Spacing[] = ["leading", "trailing", "linspace"];

/** What is asked for: one entry for each option. */
export interface SampleArguments extends EngineArguments {
  readonly checkpoint: string;
  readonly sampler: "ddim" | "ddpm" | "dpm";
  readonly steps: number;
  readonly eta: number;
  readonly spacing?: Spacing;
  readonly class?: string;
  readonly classes?: true;
  readonly classifier?: string;
  readonly scale?: number;
  readonly count: number;
  readonly batch?: number;
  readonly key: number;
  readonly clip: boolean;
  readonly frames: Format;
  readonly out: string;
  readonly final?: string;
  readonly every: number;
  readonly of: "x" | "x0";
  readonly grid?: readonly number[];
  readonly zoom: number;
  readonly fps: number;
}

/**
 * Samples, and writes pictures.
 *
 * @param options What is asked for.
 * @param signal Stops it.
 */
export async function sampleWith(options: SampleArguments, signal: AbortSignal): Promise<void> {
  const write = writer(options, signal);
  await checkOutputs(options);
  await onEngine(options, (given) => sampleOn(options, { ...given, write, signal }));
}

/** What a run has besides its options. */
type Given = EngineOptions & { readonly write: Write; readonly signal: AbortSignal };

async function sampleOn(
  options: SampleArguments,
  { write, signal, engine }: Given,
): Promise<void> {
  const { steps, final, frames: format } = options, asked = await askedFor(options);
  const { network, architecture, shape } = asked, { count } = options;
  const [height, width, channels] = shape;
  const sheet = sheetOf(options, shape);
  checkSheet(sheet);
  const compiled = options.engine === "auto" ? engine ? "onnx" : "wasm" : options.engine;
  const batches = batchesOf(count, options.batch ?? usualBatch(network, compiled, architecture));
  const env = { model: asked.model, key: newKey(options.key), signal, ...(engine && { engine }) };
  const runs = batches.map(({ first, count }) => {
    const condition = asked.condition.slice(first, first + count);
    const start = prior([count, height, width, channels]);
    return run(start, { ...env, first })(samplerFor(options, { ...asked, condition }));
  });
  const pictures = pipe(
    drawn(runs, format !== "png"),
    watched(between),
    progress({ total: steps * batches.length, label: "sampling" }),
    pictured(options, { sheet, batches }),
  );
  let latest: Image | undefined;
  const what = `${batches[0]!.count} samples of ${height}x${width}x${channels} at once`;
  await withinMemory(
    `Cannot sample: ${what} must fit into memory (a smaller --batch needs less)`,
    () => write(watched<Image>((image) => void (latest = image))(pictures)),
  );
  if (final !== undefined && latest !== undefined) await writeAtomically(final, png(latest));
}

/** What is to be sampled. */
interface Asked {
  readonly model: Model;
  /** The configuration of its network, and what that network is. */
  readonly network: object;
  readonly architecture: Architecture<"denoiser", object>;
  /** The shape of its images. */
  readonly shape: ImageShape;
  /** The classifier that guides. Default: none, classifier-free. */
  readonly guide?: LoadedNoisyClassifier;
  /** The class of each sample. */
  readonly condition: Condition;
  readonly scale: number;
}

/** Loads what is asked for, and refuses what does not fit it. */
async function askedFor(options: SampleArguments): Promise<Asked> {
  const { checkpoint, classifier, count, scale } = options;
  const { model, config } = await loadDenoiser<object>(checkpoint), { network } = config;
  const architecture = architectureOf("denoiser", config.architecture);
  const shape = imageShape(architecture.sample(network)), classes = architecture.classes(network);
  checkSpacing(options, model.schedule);
  const guide = classifier === undefined
    ? undefined
    : await guideOf(classifier, model.schedule, shape);
  const names = guide
    ? namesOf(guide.config.names, guide.config.classes)
    : namesOf(config.classes, classes);
  const condition = conditionOf(options.class, count, names);
  const known = classes === 0 || await knowsNone(checkpoint);
  const strength = { scale, condition, byClassifier: guide !== undefined, knowsNone: known };
  const asked = { model, network, architecture, shape, condition, scale: scaleOf(strength, say) };
  return { ...asked, ...(guide && { guide }) };
}

/** Refuses a spacing that the model's time has not got, and says which it has. */
function checkSpacing({ spacing }: SampleArguments, { name, steps }: Schedule): void {
  if (spacing === undefined || steps !== undefined || !discreteSpacings.includes(spacing)) return;
  const fitting = spacings.filter((each) => !discreteSpacings.includes(each)).join(", ");
  throw new RangeError(
    `Cannot sample: --spacing must be one of ${fitting} for this model, whose time is continuous (${name}), got ${spacing}`,
  );
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

function sheetOf({ count, grid, zoom }: SampleArguments, shape: Sheet["shape"]): Sheet {
  return { count, shape, zoom, ...(grid && { grid: [grid[0]!, grid[1]!] }) };
}

/** Pictures of all samples, every so many steps and after the last. */
function pictured(
  { frames: format, every, steps, of }: SampleArguments,
  { sheet, batches }: { readonly sheet: Sheet; readonly batches: readonly Batch[] },
): (states: AsyncIterable<Drawn>) => AsyncIterable<Image> {
  const isKept = (step: number): boolean =>
    step === steps || (format !== "png" && step % every === 0);
  return async function* (states) {
    let image: Image | undefined, placed = 0;
    for await (const { index, state } of states) {
      if (!isKept(state.step)) continue;
      image ??= blank(sheet);
      place(image, await bytesOf(state, of), batches[index]!.first, sheet);
      if (++placed < batches.length) continue;
      yield image;
      [image, placed] = [undefined, 0];
    }
  };
}

/** The bytes of the samples of a state, one sample behind the other. */
async function bytesOf({ x, x0 }: State, of: "x" | "x0"): Promise<Uint8Array> {
  return (await toImage(of === "x0" ? x0 ?? x : x, { grid: [x.shape[0]!, 1] })).data;
}

/** Height, width and channels of images. */
type ImageShape = readonly [height: number, width: number, channels: 1 | 3];

/** The shape of a model's samples, if they are images. */
function imageShape(shape: readonly number[]): ImageShape {
  if (shape.length === 3) return shape as unknown as ImageShape;
  throw refusal("sample", "the model must be one of images", shape);
}

/** The classifier of a file, of images of the model's shape. */
async function guideOf(
  path: string,
  schedule: Schedule,
  shape: ImageShape,
): Promise<LoadedNoisyClassifier> {
  const guide = await loadNoisyClassifier(path, { under: schedule }), { config } = guide;
  const known = architectureOf("noisyClassifier", config.architecture).sample(config);
  if (shape.every((length, i) => length === known[i])) return guide;
  throw new RangeError(
    `Cannot guide by ${path}: its images must be of the model's shape [${shape}], got [${known}]`,
  );
}

/** The sampler of a batch with all its refinements. */
function samplerFor(
  options: SampleArguments,
  { model: { schedule }, guide, condition, scale }: Asked,
): Sampler {
  const asIs: Refinement = (sampler) => sampler;
  return pipe(
    stepper(options, schedule),
    options.clip ? thresholded() : asIs,
    condition.every((label) => label === null) ? asIs : guided(
      guide
        ? byClassifier(guide.classifier, condition, { scale })
        : classifierFree(condition, { scale }),
    ),
  );
}

function stepper(options: SampleArguments, schedule: Schedule): Sampler {
  const { steps, eta, spacing } = options;
  const grid: GridOptions = spacing === undefined ? { steps } : { steps, spacing };
  if (options.sampler === "ddpm") return ddpm(schedule, grid);
  return options.sampler === "dpm" ? dpmSolver(schedule, grid) : ddim(schedule, { ...grid, eta });
}

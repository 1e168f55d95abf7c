/**
 * The options of `tweedie train`, and how it reports.
 *
 * @module
 */

import { Command, InvalidArgumentError, Option } from "commander";
import type { EngineOptions } from "../../network/model.ts";
import { type ScheduleName, scheduleNames, scheduleOf } from "../../noise/named.ts";
import { architectureOf, type ImageChoice } from "../../network/architecture.ts";
import type { FieldKind } from "../../network/field.ts";
import type { UNetConfig } from "../../network/unet.ts";
import type { Kind } from "../../denoise/prediction.ts";
import { type FitOptions, type ImageFit, imageFits } from "../../data/picture/fit.ts";
import {
  addEngine,
  type EngineArguments,
  engineNotes,
  enginePermissions,
  onEngine,
  uselessThreads,
} from "../choose.ts";
import { withinMemory } from "../memory.ts";
import {
  labels,
  limited,
  misused,
  numeric,
  positive,
  positives,
  refuseMisuse,
  say,
  useless,
} from "../option.ts";
import { type NamedFile, real, refuseSameFile } from "../path.ts";
import { Interrupted, interruptible } from "../stop.ts";
import { type TrainImages, trainingSet } from "./images.ts";
import { lockOf } from "./lock.ts";
import { isCheckpoint } from "./state.ts";
import {
  checkSides,
  denoiserOfImages,
  planSize,
  type TimesName,
  timesNames,
  type TimesPlan,
  type TrainPlan,
  type TrainTarget,
} from "./plan.ts";
import { reported } from "./report.ts";
import { trainRun } from "./run.ts";

/** What commander gives: one entry for each option below. */
interface TrainArguments extends EngineArguments {
  readonly task: "denoise" | "classify";
  readonly data: string;
  readonly size?: number[];
  readonly channels?: "1" | "3";
  readonly fit: ImageFit;
  readonly classes?: string[];
  readonly checkpoint: string;
  readonly weights?: string;
  readonly start?: string;
  readonly steps: number;
  readonly batch: number;
  readonly key: number;
  readonly rate: number;
  readonly warmup: number;
  readonly constant?: boolean;
  readonly clip: number;
  readonly decay: number;
  readonly average: number;
  readonly flip?: boolean;
  readonly dequantize?: boolean;
  readonly schedule?: ScheduleName;
  readonly predict: Kind;
  readonly times: TimesName;
  readonly least?: number;
  readonly nullShare: number;
  readonly every: number;
}

const notes = `
A run may be killed at any moment: the same command goes on from the last
checkpoint, to the same weights, bit for bit. Ctrl-C writes a checkpoint first.
While it works, a file beside the checkpoint and one beside the weights, .lock,
keep a second run away from them.
It may go on with another engine, and then ends with the same weights only to
rounding, which training amplifies. Standard error has a line at each
checkpoint, on a terminal one that is renewed.

${engineNotes}

Permissions: --allow-read for the data and for what it starts from,
--allow-read and --allow-write for the folders of the checkpoint and of the
weights; ${enginePermissions}

Examples:
  Train a denoiser on Fashion-MNIST:
    tweedie train --checkpoint run.safetensors --weights fashion.safetensors
  A small one, to see that all works:
    tweedie train --checkpoint try.safetensors --steps 20 --batch 4 --base 16 --every 5
  Train on from weights that were trained before:
    tweedie train --start fashion.safetensors --checkpoint on.safetensors --weights better.safetensors
  Train the classifier that judges samples:
    tweedie train --task classify --checkpoint judge.ckpt.safetensors --weights judge.safetensors --steps 4000
  Train a classifier of noisy images, whose gradient guides samples:
    tweedie train --task classify --schedule cosineContinuous --checkpoint guide.ckpt.safetensors --weights guide.safetensors`;

/** The command `tweedie train`. */
export function trainCommand(): Command {
  const command = new Command("train").description(
    "Train a denoiser or a classifier on images; goes on from its checkpoint if there is one",
  );
  addFiles(command);
  addOptimizer(command);
  addDenoiser(command);
  return command.addHelpText("after", notes).action(async (options: TrainArguments) => {
    refuseMisuse(command, misuses(options, command));
    await refuseReplacing(options, command);
    await interruptible((signal) => trainWith(options, signal));
  });
}

/** The schedule of a denoiser for which none is given. */
const usual: ScheduleName = "cosineContinuous";

function addFiles(command: Command): void {
  command
    .addOption(
      new Option("--task <task>", "what to train").choices(["denoise", "classify"])
        .default("denoise"),
    )
    .addOption(
      new Option(
        "--schedule <name>",
        `noise schedule: of a denoiser, ${usual} unless given; of a classifier, that of the noisy images that it learns, clean ones unless given`,
      ).choices(scheduleNames),
    )
    .option(
      "--data <folder>",
      "folder of PNG and JPEG pictures, in a sub-folder for each class or in none; of train-images-idx3-ubyte and train-labels-idx1-ubyte, gzipped (.gz) or not; of CIFAR-10's data_batch_1.bin and so on; or of an .npz or .npy file, or this itself",
      "/usr/share/datasets/fashion-mnist",
    )
    .option(
      "--classes <names>",
      "names of the classes, separated by commas: one for each label (default: the names of the folders, or the labels; those of Fashion-MNIST for that)",
      labels,
    )
    .addOption(
      new Option(
        "--size <height,width>",
        "size of the images, or one number for a square, to which pictures are brought (default: their own, which must be one)",
      ).argParser(sides),
    )
    .addOption(
      new Option(
        "--fit <how>",
        "how, by an area filter: cover: resized to cover it, cut to the centre; pad: made smaller where too large, on black; crop: cut to the centre as they are",
      ).choices(imageFits).default("cover"),
    )
    .addOption(
      new Option("--channels <n>", "1: grey, 3: colour (default: as the pictures are)")
        .choices(["1", "3"]),
    )
    .requiredOption("--checkpoint <file>", "where the run keeps its state")
    .option("--weights <file>", "where to put the averaged weights at the end, in float16")
    .option("--start <file>", "weights to start from, in place of random ones; or a checkpoint")
    .option("--every <n>", "steps between checkpoints", positive, 200);
  addEngine(command);
}

/** A side, or a height and a width. */
function sides(text: string): number[] {
  const list = positives(text);
  if (list.length <= 2) return list;
  throw new InvalidArgumentError("It must be a side, or a height and a width.");
}

function addOptimizer(command: Command): void {
  const count = numeric({ least: 0, whole: true }), size = numeric({ least: 0 });
  command.optionsGroup("Optimization:")
    .option("--steps <n>", "number of steps", positive, 5000)
    .option("--batch <n>", "images a step", positive, 32)
    .option("--key <seed>", "seed of all randomness", count, 0)
    .option("--rate <number>", "greatest step size of AdamW", size, 2e-3)
    .option("--warmup <n>", "steps over which the step size rises", count, 200)
    .option("--constant", "keep the step size after the rise, instead of a cosine fall to zero")
    .option("--clip <norm>", "greatest norm of the gradient; 0 for no limit", size, 1)
    .option("--decay <number>", "weight decay", size, 0)
    .option(
      "--average <number>",
      "decay of the moving average of the weights, below 1",
      numeric({ least: 0, below: 1 }),
      0.999,
    )
    .option("--flip", "mirror images left to right at random")
    .option("--dequantize", "add uniform noise below the step of the grey values");
}

function addDenoiser(command: Command): void {
  command.optionsGroup("Denoiser (--task denoise):")
    .addOption(
      new Option("--predict <kind>", "what the network predicts").choices(["eps", "x0", "v"])
        .default("v"),
    )
    .addOption(
      new Option(
        "--times <law>",
        "law of the times of the samples: uniform in t, uniform in log-SNR (likelihood), or in the middle of either",
      ).choices(timesNames).default("uniform"),
    )
    .option(
      "--least <t>",
      "least of these times, on a continuous schedule (default: its least, or a thousandth of its span where sigma is 0 there)",
      numeric({ least: 0 }),
    )
    .option(
      "--null-share <number>",
      "share of samples that lose their class",
      numeric({ least: 0, most: 1 }),
      0.1,
    );
  for (const [name, choice] of Object.entries(denoiserOfImages.choices)) {
    command.addOption(choiceOption(name, choice, fields[name]!.kind));
  }
}

const { fields } = architectureOf("denoiser");

/** The option of a choice about the network, read as the sort of its field asks. */
function choiceOption(name: string, { text, usual, most }: ImageChoice, kind: FieldKind): Option {
  const flag = `--${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
  if (kind === "flag") return new Option(flag, text);
  if (kind === "counts") {
    return new Option(`${flag} <list>`, text).argParser(positives).default(usual, `${usual}`);
  }
  const reader = most === undefined ? positive : limited(most);
  return new Option(`${flag} <n>`, text).argParser(reader).default(usual);
}

/** Options that a classifier has no use for. */
const denoiserOnly = [
  "predict",
  "times",
  "least",
  "nullShare",
  ...Object.keys(denoiserOfImages.choices),
];

/** All that is wrong with options beside each other. */
function misuses(options: TrainArguments, command: Command): string[] {
  const threads = uselessThreads(options, command);
  if (options.task === "classify") {
    return [...threads, ...useless(command, denoiserOnly, "--task denoise")];
  }
  const { name, span, steps, at } = scheduleOf({ name: options.schedule ?? usual });
  const isBlind = options.predict === "eps" && at(span[1]).alpha === 0;
  return [
    ...threads,
    ...(steps === undefined ? [] : useless(command, ["least"], "a --schedule of continuous time")),
    ...(isBlind
      ? [
        `option '--predict <kind>' must be x0 or v for ${name}, which ends in noise alone, got eps`,
      ]
      : []),
  ];
}

/** Refuses outputs that would replace each other, or what is read. */
async function refuseReplacing(options: TrainArguments, command: Command): Promise<void> {
  const { checkpoint, weights, start, data } = options;
  const read = ["images-idx3", "labels-idx1"].flatMap((name): NamedFile[] => {
    const path = `${data}/train-${name}-ubyte`;
    return [path, `${path}.gz`].map((path) => ({ option: "--data <folder>", path }));
  });
  const lock = async (option: string, path?: string): Promise<NamedFile> => (
    { option, path: path && await lockOf(path), written: true }
  );
  for (const path of [checkpoint, weights]) {
    if (path === undefined || !await isDatum(path, data)) continue;
    misused(command, `option '--data <folder>' must not be written into, got ${path}`);
  }
  await refuseSameFile(
    command,
    { option: "--data <folder>", path: data },
    ...read,
    { option: "--checkpoint <file>", path: checkpoint, written: true },
    await lock("--checkpoint <file>", checkpoint),
    { option: "--weights <file>", path: weights, written: true },
    await lock("--weights <file>", weights),
    { option: "--start <file>", path: start },
  );
  if (weights !== undefined && await isCheckpoint(weights)) {
    misused(command, `option '--weights <file>' must not replace a checkpoint, got ${weights}`);
  }
}

/** Whether a file is one that training reads from a folder, and would no more be what it was. */
async function isDatum(path: string, data: string): Promise<boolean> {
  const at = await real(path), folder = await real(data);
  return at.startsWith(`${folder}/`) && /\.(png|jpe?g|np[yz]|bin)$/i.test(at);
}

function fitOf({ size, channels, fit }: TrainArguments): FitOptions {
  return {
    fit,
    ...(size && { size: [size[0]!, size.at(-1)!] as const }),
    ...(channels && { channels: Number(channels) as 1 | 3 }),
  };
}

async function trainWith(options: TrainArguments, signal: AbortSignal): Promise<void> {
  const { data, classes } = options;
  const set = await trainingSet(data, classes, {
    ...fitOf(options),
    signal,
    say: (text) => say(`tweedie: ${text}\n`),
  });
  const plan = planOf(options, set);
  const size = planSize(plan, set.shape);
  const what = `${plan.batch} images at once and ${size} weights`;
  await withinMemory(
    `Cannot train: ${what} must fit into memory (a smaller --batch or --base needs less)`,
    () => onEngine(options, (given) => trainOn({ ...given, set, signal }, { options, plan, size })),
  );
}

async function trainOn(
  given: EngineOptions & { readonly set: TrainImages; readonly signal: AbortSignal },
  { options, plan, size }: {
    readonly options: TrainArguments;
    readonly plan: TrainPlan;
    readonly size: number;
  },
): Promise<void> {
  const { checkpoint, weights, start, every } = options, { steps, batch } = plan;
  const { signal } = given;
  const terminal = Deno.stderr.isTerminal();
  const named = {
    ...(weights === undefined ? {} : { weights }),
    ...(start === undefined ? {} : { start }),
  };
  const files = { checkpoint, every, ...named };
  const watch = reported({ steps, batch, write: say, terminal, signal });
  let made: number | undefined;
  try {
    for await (const { step } of watch(trainRun(plan, { ...given, files }))) {
      if (made === undefined) say(`tweedie: ${opening(step, plan)}, ${size} weights\n`);
      made = step;
    }
  } catch (error) {
    if (!(error instanceof Interrupted) || made === undefined) throw error;
    throw new Interrupted(error.signal, `at step ${made}; the same command goes on from there`);
  }
  if (weights !== undefined) say(`tweedie: the weights are in ${weights}\n`);
}

/** What is about to happen, in words. */
function opening(step: number, { steps, batch }: TrainPlan): string {
  if (step === steps) return `all ${steps} steps were made before`;
  return `${step === 0 ? `${steps} steps` : `steps ${step + 1} to ${steps}`} of ${batch} images`;
}

function planOf(options: TrainArguments, set: TrainImages): TrainPlan {
  const {
    steps,
    batch,
    key: seed,
    rate,
    warmup,
    clip,
    decay,
    average,
    flip = false,
    dequantize = false,
  } = options;
  const adam = {
    rate,
    warmup,
    ...(clip > 0 ? { clip } : {}),
    decay,
    beta2: 0.99,
    ...(options.constant ? {} : { anneal: steps }),
  };
  return {
    target: targetOf(options, set),
    steps,
    batch,
    seed,
    adam,
    decay: average,
    flip,
    dequantize,
  };
}

function targetOf(options: TrainArguments, set: TrainImages): TrainTarget {
  const [, height, width, channels] = set.shape,
    size = [height, width] as const,
    names = set.classes ?? [];
  // The flags of the network that there is; another would bring what its sides must be.
  const { patch = 1, multipliers = [1] } = options as Partial<
    Pick<UNetConfig, "patch" | "multipliers">
  >;
  checkSides(size, { task: options.task, patch, multipliers });
  if (options.task === "classify") {
    if (names.length === 0) {
      throw new Error(
        `Cannot train a classifier: images must have classes, got none in ${options.data}`,
      );
    }
    const schedule = options.schedule && { schedule: { name: options.schedule } };
    return {
      task: "classify",
      model: { size, channels, classes: names.length, names, ...schedule },
    };
  }
  const { choices, config } = denoiserOfImages, { nullShare } = options;
  const given = options as unknown as Readonly<Record<string, unknown>>;
  const chosen = Object.fromEntries(Object.keys(choices).map((name) => [name, given[name]]));
  const network = config({ size, channels, classes: names.length }, chosen);
  const model = {
    schedule: { name: options.schedule ?? usual },
    kind: options.predict,
    network,
    classes: names,
  };
  return { task: "denoise", model, nullShare, ...timesOf(options) };
}

/** The law of the times, where it is not what a plan without one has. */
function timesOf({ times: law, least }: TrainArguments): { readonly times?: TimesPlan } {
  if (law === "uniform" && least === undefined) return {};
  return { times: { law, ...(least === undefined ? {} : { least }) } };
}

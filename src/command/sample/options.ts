/**
 * `tweedie sample`: its options, and the pipeline that they describe.
 *
 * @module
 */

import { Command, Option } from "commander";
import { addEngine, engineNotes, enginePermissions, uselessThreads } from "../choose.ts";
import {
  limited,
  misused,
  numeric,
  positive,
  positives,
  refuseMisuse,
  useless,
} from "../option.ts";
import { isNumbered, refuseSameFile } from "../path.ts";
import { interruptible } from "../stop.ts";
import { isNone, showClasses, usualScale } from "./classes.ts";
import { type SampleArguments, sampleWith, spacings } from "./run.ts";
import type { Format } from "./write.ts";

const notes = `
The same key gives the same samples, however many: the first of --count 16 is
the one of --count 1, to rounding. Many are drawn in batches. A frame shows all
samples after as many steps, for which the batches take turns; for a picture of
the end alone they are drawn one after another.

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
  return command.addHelpText("after", notes).action(async (options: SampleArguments) => {
    if (options.classes) return await showClasses(options.checkpoint);
    if (options.out === undefined) misused(command, "required option '--out <file>' not specified");
    refuseMisuse(command, misuses(options, command));
    await refuseReplacing(options, command);
    await interruptible((signal) => sampleWith(options, signal));
  });
}

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
      new Option(
        "--spacing <name>",
        "how the times are laid out; leading, trailing and linspace are for models of discrete time (default: the schedule's own)",
      ).choices(spacings),
    )
    .option(
      "--class <list>",
      "names or numbers, separated by commas, taken in turn; none for no class (default: all)",
    )
    .option("--classes", "show the model's classes, by number and name, and end")
    .option(
      "--scale <number>",
      `strength of guidance: 0 ignores the class, 1 is as it was learned (default: ${usualScale}, or 1 of a model that knows nothing without a class)`,
      numeric(),
    )
    .option(
      "--classifier <file>",
      "guide by this classifier of noisy images; the model is told no class (default: classifier-free)",
    )
    .option("--count <n>", "number of samples", limited(65536), 16)
    .option(
      "--batch <n>",
      "the most that are drawn at once; fewer need less memory (default: by network and engine)",
      limited(65536),
    )
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
    .option(
      "--out <file>",
      "where to put it; - is standard output; a pattern such as out/%04d.png for pngs",
    )
    .option("--final <file>", "also write the last frame here, as a PNG")
    .option("--every <n>", "keep every n-th frame, and the last; not for png", positive, 1)
    .addOption(
      new Option("--of <what>", "the state itself, or its prediction of x0").choices(["x", "x0"])
        .default("x"),
    )
    .option("--grid <rows,columns>", "layout of the samples (default: near-square)", positives)
    .option("--zoom <n>", "enlargement", limited(1000), 3)
    .option("--fps <number>", "frames a second, of apng and y4m", numeric({ least: 0.1 }), 12);
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

/** All that is wrong with options beside each other. */
function misuses(options: SampleArguments, command: Command): string[] {
  const { sampler, frames: format, out, final, grid, count } = options;
  const asked = options.class?.split(",").length ?? 0,
    isFilm = format === "apng" || format === "y4m";
  const faults: (string | false)[] = [
    ...uselessThreads(options, command),
    ...(sampler === "ddim" ? [] : useless(command, ["eta"], "--sampler ddim")),
    ...(isNone(options.class) ? useless(command, ["scale", "classifier"], "a --class") : []),
    asked > count &&
    `option '--count <n>' must be at least ${asked}, one for each --class, got ${count}`,
    ...(format === "png" ? useless(command, ["every"], "--frames other than png") : []),
    ...(isFilm ? [] : useless(command, ["fps"], "--frames apng or y4m")),
    out !== "-" && extensions[format]?.test(out) === false &&
    `option '--out <file>' must end in ${
      format === "y4m" ? ".y4m" : ".png"
    } for ${format}, got ${out}`,
    final !== undefined && !extensions.png!.test(final) &&
    `option '--final <file>' must end in .png, got ${final}`,
    grid !== undefined && (grid.length !== 2 || grid[0]! * grid[1]! < count) &&
    `option '--grid' must be rows,columns with room for ${count}, got ${grid}`,
  ];
  return faults.filter((fault) => fault !== false);
}

/** Refuses outputs that would replace each other, or what is read. */
async function refuseReplacing(options: SampleArguments, command: Command): Promise<void> {
  const { frames: format, out, final, checkpoint, classifier, steps, every } = options;
  const others = [
    { option: "--checkpoint <file>", path: checkpoint },
    { option: "--classifier <file>", path: classifier },
    { option: "--final <file>", path: final, written: true },
  ];
  if (format !== "pngs") {
    const pictures = { option: "--out <file>", path: out, written: true };
    return await refuseSameFile(command, pictures, ...others);
  }
  await refuseSameFile(command, ...others);
  const count = Math.ceil(steps / every) + 1;
  for (const { option, path } of others) {
    if (path === undefined || !await isNumbered(out, count, path)) continue;
    misused(command, `option '${option}' must not be one of the frames ${out}, got ${path}`);
  }
}

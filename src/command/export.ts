/**
 * `tweedie export`: a trained denoiser in a format that others read.
 *
 * @module
 */

import { Command, Option } from "commander";
import { useBackend } from "../tensor/backend/backend.ts";
import { checkWritable, writeAtomically } from "../io/file.ts";
import { loadDenoiser } from "../io/weights.ts";
import { misused, say } from "./option.ts";
import { refuseSameFile } from "./path.ts";

/** What commander gives: one entry for each option below. */
interface ExportArguments {
  readonly checkpoint: string;
  readonly to: "onnx";
  readonly out: string;
}

const notes = `
The file takes any number of samples N at once:
  x           float32 [N, height, width, channels]   noisy images
  t           float32 [N]    their time, 1000 at the end of the schedule's span
  label       int32 [N]      their class; the number of classes for none
  prediction  float32, like x; its metadata say what it is: kind, schedule
              (JSON), classes (JSON), layout, size (JSON)

Permissions: --allow-read for the weights, --allow-read and --allow-write for
the folder of the file.

Examples:
  Export the averaged weights of a run:
    tweedie export --checkpoint run.safetensors --out fashion.onnx
  Read them in Python:
    onnxruntime.InferenceSession("fashion.onnx").run(None, {"x": x, "t": t, "label": label})`;

/** The command `tweedie export`. */
export function exportCommand(): Command {
  return new Command("export")
    .description("Write a trained denoiser as a file that other programs read")
    .requiredOption("--checkpoint <file>", "weights or checkpoint that tweedie train wrote")
    .addOption(new Option("--to <format>", "format").choices(["onnx"]).default("onnx"))
    .requiredOption("--out <file>", "where to put it")
    .addHelpText("after", notes)
    .action(async (options: ExportArguments, command: Command) => {
      await refuseUsage(options, command);
      await exportWith(options);
    });
}

async function refuseUsage({ checkpoint, out }: ExportArguments, command: Command): Promise<void> {
  if (!/\.onnx$/i.test(out)) {
    misused(command, `option '--out <file>' must end in .onnx, got ${out}`);
  }
  await refuseSameFile(
    command,
    { option: "--checkpoint <file>", path: checkpoint },
    { option: "--out <file>", path: out, written: true },
  );
}

async function exportWith({ checkpoint, out }: ExportArguments): Promise<void> {
  await checkWritable(out);
  const { decode, exportDenoiser } = await import("../engine/open.ts");
  // Nothing is computed, so the backend that needs nothing will do.
  await useBackend("cpu");
  const { config, params } = await loadDenoiser(checkpoint);
  const bytes = exportDenoiser(config, params);
  await writeAtomically(out, bytes);
  const { inputs } = decode(bytes), megabytes = (bytes.length / 1e6).toFixed(1);
  const list = inputs.map(({ name, dims }) => `${name} [${dims.join(", ")}]`).join(", ");
  say(`tweedie: ${megabytes} MB in ${out}, from ${list} to prediction (${config.kind})\n`);
}

/**
 * The command line: `tweedie train`, `tweedie sample` and `tweedie export`.
 *
 * Everything for people (progress, messages, errors) goes to stderr; stdout carries frames alone. An error is one line
 * that says what was wanted and what was got.
 *
 * | exit code | meaning |
 * | --- | --- |
 * | 0 | done |
 * | 1 | an error: a file, an engine, a reader that closed the pipe |
 * | 2 | wrong usage |
 * | 129, 130, 143 | stopped by SIGHUP, by Ctrl-C, by SIGTERM |
 *
 * Permissions, of which no command needs others:
 *
 * | command | least permissions |
 * | --- | --- |
 * | `train` | `--allow-read=<data folder>,<folders of the files> --allow-write=<folders of the files>` |
 * | `sample --out file` | `--allow-read=<weights>,<folder of the file> --allow-write=<folder of the file>` |
 * | `sample --out -` | `--allow-read=<weights>` |
 * | `export` | `--allow-read=<weights>,<folder of the file> --allow-write=<folder of the file>` |
 * | with `--engine onnx`, besides | `--allow-ffi`, and in a clone `--allow-read=src/engine/runtime`, its worker's code |
 * | with `--engine tensorflow`, besides | `--allow-read --allow-env --allow-ffi` |
 *
 * `--engine auto`, which is what `train` and `sample` do unless told, is onnx where `--allow-ffi` is given and it starts,
 * and wasm elsewhere; it says which. So the permission decides whether native code is fetched and run.
 *
 * @module
 */

import { Command, CommanderError } from "commander";
import { exportCommand } from "./command/export.ts";
import { oneLine } from "./command/option.ts";
import { sampleCommand } from "./command/sample/options.ts";
import { Interrupted } from "./command/stop.ts";
import { trainCommand } from "./command/train/options.ts";

/** That of deno.json. */
const version = "0.2.0";

const epilog = `
Frames go to standard output, everything else to standard error.
Exit codes: 0 done, 1 error, 2 wrong usage, 130 Ctrl-C, 143 SIGTERM, 129 SIGHUP.
A second Ctrl-C ends at once.

Examples:
  tweedie train --checkpoint run.safetensors --weights fashion.safetensors
  tweedie sample --checkpoint fashion.safetensors --out grid.png
  tweedie export --checkpoint fashion.safetensors --out fashion.onnx

Where there is no tweedie yet, this installs it:
  deno install --global --name tweedie --allow-read --allow-write jsr:@tweedie/tweedie/cli
With --allow-ffi besides, train and sample run natively, many times as fast.`;

/**
 * Runs the command line.
 *
 * @param args The arguments, such as `["sample", "--help"]`.
 * @returns The exit code: 0, or 1 after an error, 2 after wrong usage, and what the table above says of requests to stop.
 */
export async function main(args: readonly string[]): Promise<number> {
  try {
    const root = program();
    await root.parseAsync(known(root, args), { from: "user" });
    return 0;
  } catch (error) {
    return report(error);
  }
}

/** The whole command line: a new one each time, since commander keeps what it parsed. */
function program(): Command {
  const root = new Command("tweedie")
    .description("Energy-based, score-based and diffusion models on Deno")
    .version(version, "-V, --version", "show the version")
    .helpOption("-h, --help", "show this help")
    .helpCommand("help [command]", "show the help of a command")
    .exitOverride()
    .configureOutput({
      writeOut: (text) => console.log(text.replace(/\n$/, "")),
      writeErr: (text) => console.error(text.replace(/\n$/, "")),
      outputError: (text, write) => write(text.replace(/^error: /, "tweedie: ")),
      // Commander's own answers look for variables of the environment, which is a permission more.
      getOutHasColors: () => false,
      getErrHasColors: () => false,
    })
    .addHelpText("after", epilog);
  for (const command of [trainCommand(), sampleCommand(), exportCommand()]) {
    root.addCommand(command.copyInheritedSettings(root).helpOption("-h, --help", "show this help"));
    command.showHelpAfterError(`(tweedie ${command.name()} --help shows the options)`);
  }
  return root.showHelpAfterError("(tweedie --help shows the commands)");
}

/**
 * The arguments, of which a command that there is not is left alone: with a request for help behind it, commander would
 * show that of the whole and call it a success.
 */
function known(root: Command, args: readonly string[]): string[] {
  const help = /^(-h|--help|help)$/, name = args.find((arg) => !help.test(arg));
  const unknown = name !== undefined && !name.startsWith("-") &&
    !root.commands.some((command) => command.name() === name);
  return unknown ? [name] : [...args];
}

/** One line on stderr, never a stack trace. */
function report(error: unknown): number {
  // Commander has said what was wrong by now.
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2;
  console.error(`tweedie: ${oneLine(error)}`);
  return error instanceof Interrupted ? error.exitCode : 1;
}

if (import.meta.main) Deno.exit(await main(Deno.args));

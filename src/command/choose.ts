/**
 * `--engine`: what runs the tensors of a command.
 *
 * A name is what it says, or an error: only `auto` chooses, and says on stderr what. It takes ONNX Runtime where that may
 * run and starts, and wasm elsewhere. It never takes a GPU: `webgpu` has only been held to the other engines on software
 * drivers, which are slower than wasm, and small networks wait for it at every read. A user who has a GPU names it.
 *
 * @module
 */

import { type Command, Option } from "commander";
import { type Backend, useBackend } from "../tensor/backend/backend.ts";
import type { Engine } from "../tensor/engine.ts";
import type { EngineOptions } from "../network/model.ts";
import { limited, oneLine, say, useless } from "./option.ts";

/** What can be asked for. */
export type EngineName = "auto" | "onnx" | Backend;

/** What commander gives of the options of {@link addEngine}. */
export interface EngineArguments {
  /** Which engine. */
  readonly engine: EngineName;
  /** Threads of ONNX Runtime. Default: one for each core. */
  readonly threads?: number;
}

/** What starts ONNX Runtime. */
export type StartOnnx = (options: { readonly threads?: number }) => Promise<Engine>;

const names: readonly EngineName[] = ["auto", "wasm", "onnx", "webgpu", "tensorflow", "cpu"];

/** Adds `--engine` and `--threads`. */
export function addEngine(command: Command): Command {
  return command
    .addOption(
      new Option("--engine <name>", "what computes; auto is onnx where it starts, or wasm")
        .choices(names).default("auto"),
    )
    .option("--threads <n>", "threads, of onnx alone (default: one for each core)", limited(1024));
}

/** What is wrong with threads for engines that have one, or choose themselves. */
export const uselessThreads = ({ engine }: EngineArguments, command: Command): string[] =>
  engine === "onnx" || engine === "auto" ? [] : useless(command, ["threads"], "--engine onnx");

/** What the help of a command says about engines. */
export const engineNotes =
  `Engines give the same numbers to rounding. auto says which it took: onnx, many
times as fast, needs --allow-ffi, and fetches onnxruntime-node, 290 MB, once.`;

/** What onnx needs besides, for the same help. */
export const enginePermissions = `for onnx --allow-ffi,
and in a clone --allow-read for src/engine/runtime.`;

/**
 * Readies an engine, works on it, and closes it whatever comes.
 *
 * @param options Which engine, and its threads.
 * @param body The work. It is given the engine if that compiles; what is not compiled runs on tfjs's backend, which is
 *   in place.
 * @param start What starts ONNX Runtime. Default: `onnx()`, which is not loaded where it is not wanted.
 * @returns What the work returns.
 * @throws {EngineUnavailable | BackendUnavailable} If the engine that was named cannot be had.
 * @throws {TypeError} If there are threads, and `auto` finds none but wasm.
 */
export async function onEngine<A>(
  options: EngineArguments,
  body: (given: EngineOptions) => Promise<A>,
  start: StartOnnx = startOnnx,
): Promise<A> {
  const engine = await readied(options, start);
  try {
    return await body(engine === undefined ? {} : { engine });
  } finally {
    await engine?.close();
  }
}

const startOnnx: StartOnnx = async (options) => {
  const { onnx } = await import("../engine/open.ts");
  return await onnx(options);
};

async function readied(
  { engine: name, threads }: EngineArguments,
  start: StartOnnx,
): Promise<Engine | undefined> {
  const compiles = name === "auto" || name === "onnx";
  await useBackend(compiles ? "wasm" : name);
  if (!compiles) return undefined;
  const given = threads === undefined ? {} : { threads };
  if (name === "onnx") return await start(given);
  const engine = await fastest(() => start(given));
  if (engine === undefined && threads !== undefined) {
    throw new TypeError(
      `Cannot use --threads ${threads}: --engine must be onnx, got wasm, which has one thread`,
    );
  }
  return engine;
}

/** ONNX Runtime, if it may run and starts. */
async function fastest(start: () => Promise<Engine>): Promise<Engine | undefined> {
  if ((await Deno.permissions.query({ name: "ffi" })).state !== "granted") {
    return fallen("onnx needs --allow-ffi: see docs/engines.md");
  }
  try {
    const engine = await start();
    say(`tweedie: engine onnx (${engine.name})\n`);
    return engine;
  } catch (error) {
    return fallen(`no onnx: ${reason(error)}; see docs/engines.md`);
  }
}

/** Says that it is wasm, and why not the faster one. */
function fallen(why: string): undefined {
  say(`tweedie: engine wasm (${why})\n`);
}

const reason = (error: unknown): string =>
  oneLine(error).replace(/^Cannot use the onnx engine: /, "");

/**
 * A training run on the disk: its checkpoint, and the weights that others use.
 *
 * Nothing is written that would be refused when it is read: a checkpoint of weights that are not finite would take the
 * place of a good one.
 *
 * @module
 */

import { basename, dirname, join } from "node:path";
import { fold, key as newKey } from "../../tensor/key.ts";
import { scope } from "../../tensor/scope.ts";
import type { ArchitectureOptions } from "../../network/architecture.ts";
import { initialize, type Parameters, type Params } from "../../network/layer/parameter.ts";
import { newTraining, type TrainState } from "../../train/loop/state.ts";
import { type Checkpoint, loadCheckpoint, saveCheckpoint } from "../../io/checkpoint.ts";
import { floats, type HostTensors } from "../../io/safetensors.ts";
import {
  saveClassifier,
  saveDenoiser,
  saveNoisyClassifier,
  type SaveOptions,
  type Trained,
} from "../../io/model/save.ts";
import { checkWeights, readWeights } from "../../io/weights.ts";
import { fromTensors, toTensors } from "../../io/tensors/device.ts";
import { withTensors } from "../../io/tensors/open.ts";
import { real } from "../path.ts";
import type { TrainPlan } from "./plan.ts";

/** A point of the loss curve: a step, and the mean loss of the steps since the last point. */
export type CurvePoint = readonly [step: number, loss: number];

/** The loss curve, and the losses since its last point. */
export interface Journal {
  readonly curve: CurvePoint[];
  readonly losses: number[];
}

/** What a run starts from, and how its plan names that. */
export async function firstWeights(
  path: string | undefined,
  { seed, target }: TrainPlan,
  parameters: Parameters,
): Promise<{ readonly params: () => Params; readonly digest: Pick<TrainPlan, "start"> }> {
  if (path === undefined) {
    return { params: () => initialize(parameters, fold(newKey(seed), "weights")), digest: {} };
  }
  await checkMeaning(path, target);
  const tensors = await readWeights(path, target.task, parameters);
  const hash = await crypto.subtle.digest("SHA-256", await Deno.readFile(path));
  return { params: () => toTensors(tensors), digest: { start: new Uint8Array(hash).toHex() } };
}

/** What a file says of itself; nothing, where it is none that can be read. */
async function metadataOf(path: string): Promise<Readonly<Record<string, string>>> {
  return await withTensors(path, ({ metadata }) => Promise.resolve(metadata)).catch(() => ({}));
}

/** Whether a file is there, and holds a run that could go on. */
export async function isCheckpoint(path: string): Promise<boolean> {
  return (await metadataOf(path))["format"] === "tweedie.checkpoint";
}

/** Refuses weights that mean something else: another prediction, or classes by other names. */
async function checkMeaning(path: string, target: TrainPlan["target"]): Promise<void> {
  const { model, meta } = await metadataOf(path);
  const own = Object(model ? parsed(model) : Object(Object(parsed(meta)).plan).target?.model);
  const wanted = target.model as { readonly kind?: unknown; readonly classes?: unknown };
  for (const name of ["kind", "classes"] as const) {
    const [found, asked] = [own[name], wanted[name]].map((each) => JSON.stringify(each));
    // Another number of classes is told by the weights themselves.
    const isOther = name === "kind" || own.classes?.length === (wanted.classes as unknown[]).length;
    if (found === undefined || found === asked || !isOther) continue;
    throw new RangeError(
      `Cannot start from ${path}: its ${
        name === "kind" ? "prediction" : "classes"
      } must be ${asked}, got ${found}`,
    );
  }
}

function parsed(text: string | undefined): unknown {
  try {
    return JSON.parse(text ?? "null");
  } catch {
    return null;
  }
}

export function firstState(first: () => Params): TrainState {
  return scope(() => newTraining(first()));
}

/**
 * Writes a checkpoint.
 *
 * @param path Where to.
 * @param state The state of the run.
 * @param plan Its plan.
 * @param journal Its losses.
 * @throws {RangeError} If a weight is not finite: what was there is left as it was.
 */
export async function saveState(
  path: string,
  state: TrainState,
  plan: TrainPlan,
  { curve, losses }: Journal,
): Promise<void> {
  const groups = {
    model: await fromTensors(state.params),
    ema: await fromTensors(state.ema),
    "adam.mean": await fromTensors(state.moments.mean),
    "adam.square": await fromTensors(state.moments.square),
  };
  for (const [group, tensors] of Object.entries(groups)) {
    checkFinite(
      tensors,
      (name, value) =>
        `Cannot go on with training: ${group}.${name} must be finite, got ${value} at step ${state.step}, ` +
        `after a loss of ${state.loss}; ${path} is left as it was, and a smaller --rate may help`,
    );
  }
  await saveCheckpoint(path, { groups, meta: { plan, step: state.step, curve, losses } });
}

/** Refuses tensors that a reader would refuse. */
function checkFinite(
  tensors: HostTensors,
  message: (name: string, value: number) => string,
): void {
  for (const [name, tensor] of Object.entries(tensors)) {
    const wrong = floats(tensor).find((value) => !Number.isFinite(value));
    if (wrong !== undefined) throw new RangeError(message(name, wrong));
  }
}

/** A run as it was left. */
export type SavedRun = Journal & { readonly state: TrainState };

/**
 * The run of a checkpoint, if the file is there.
 *
 * @param path Where it is.
 * @param plan What the run is to be.
 * @param parameters What its network needs.
 * @returns The run; nothing if there is no file.
 * @throws {RangeError} If it is of another plan.
 * @throws {SyntaxError} If it is damaged.
 */
export async function opened(
  path: string,
  plan: TrainPlan,
  parameters: Parameters,
): Promise<SavedRun | undefined> {
  if (!await isThere(path)) return undefined;
  const { groups, meta } = await loadCheckpoint(path);
  checkPlan(plan, meta["plan"], path);
  const journal = journalOf(meta, path), step = stepOf(meta, plan, path);
  for (const name of ["model", "ema", "adam.mean", "adam.square"]) {
    checkWeights(groups[name] ?? {}, parameters, path);
  }
  const group = (name: string): Params => toTensors(groups[name]!);
  const moments = { mean: group("adam.mean"), square: group("adam.square") };
  const state = { step, params: group("model"), ema: group("ema"), moments };
  return { ...journal, state: { ...state, loss: NaN, losses: [] } };
}

async function isThere(path: string): Promise<boolean> {
  try {
    await Deno.stat(path);
    return true;
  } catch (cause) {
    if (cause instanceof Deno.errors.NotFound) return false;
    throw cause;
  }
}

function stepOf({ step }: Checkpoint["meta"], plan: TrainPlan, path: string): number {
  if (Number.isSafeInteger(step) && step as number >= 0 && step as number <= plan.steps) {
    return step as number;
  }
  throw unfit(path, "step", `a whole number in [0, ${plan.steps}]`, step);
}

/** The curve and the losses since; checkpoints of older versions have no such losses. */
function journalOf({ curve, losses = [] }: Checkpoint["meta"], path: string): Journal {
  const areNumbers = (list: unknown): list is number[] =>
    Array.isArray(list) && list.every(Number.isFinite);
  const arePoints = (list: unknown): list is CurvePoint[] =>
    Array.isArray(list) && list.every((point) => areNumbers(point) && point.length === 2);
  if (!arePoints(curve)) throw unfit(path, "curve", "pairs of numbers", curve);
  if (!areNumbers(losses)) throw unfit(path, "losses", "numbers", losses);
  return { curve, losses };
}

function unfit(path: string, name: string, wanted: string, got: unknown): SyntaxError {
  return new SyntaxError(
    `Cannot go on from ${path}: its ${name} must be ${wanted}, got ${
      (JSON.stringify(got) ?? "none").slice(0, 80)
    }`,
  );
}

/**
 * Takes away what a run that was killed while it wrote a file has left beside it: half a file, of no use to anybody. The
 * file must be locked, or it could be another run's that is being written.
 */
export async function clear(path: string): Promise<void> {
  const at = await real(path), folder = dirname(at), name = basename(at);
  for await (const { name: other, isFile } of Deno.readDir(folder)) {
    const rest = other.startsWith(`${name}.`) ? other.slice(name.length) : "";
    if (isFile && /^\.[0-9a-f]{8}\.part$/.test(rest)) await Deno.remove(join(folder, other));
  }
}

/** Refuses a checkpoint of another plan, naming the first entries that differ. */
function checkPlan(wanted: TrainPlan, got: unknown, path: string): void {
  const here = new Map(flat(wanted)), there = new Map(flat(got));
  // Older versions did not look at the data.
  if (!there.has("data")) here.delete("data");
  const differing = [...new Set([...here.keys(), ...there.keys()])].filter((name) =>
    here.get(name) !== there.get(name)
  );
  if (differing.length === 0) return;
  const list = differing.slice(0, 4).map((name) =>
    `${name || "plan"} ${there.get(name) ?? "none"} (here ${here.get(name) ?? "none"})`
  );
  throw new RangeError(
    `Cannot go on from ${path}: its plan must be that of this run, got ${list.join(", ")}${
      differing.length > 4 ? ", ..." : ""
    }; give the options that it was started with, or another checkpoint`,
  );
}

/** The leaves of plain data with their dotted names. */
function flat(value: unknown, prefix: string = ""): [string, string][] {
  if (value === null || typeof value !== "object") return [[prefix, String(value)]];
  return Object.entries(value).flatMap(([name, part]) =>
    flat(part, prefix === "" ? name : `${prefix}.${name}`)
  );
}

/**
 * Writes the moving average for others to use: float16, with what is needed to build the model again.
 *
 * @param path Where to.
 * @param state The state of the run.
 * @param plan Its plan.
 * @param curve Its losses.
 * @param options The table of architectures.
 * @throws {RangeError} If a weight is too large for float16.
 */
export async function saveWeights(
  path: string,
  state: TrainState,
  plan: TrainPlan,
  curve: readonly CurvePoint[],
  options: ArchitectureOptions = {},
): Promise<void> {
  const params = await fromTensors(state.ema);
  const halves = Object.entries(params).map(([name, { shape, data }]) =>
    [name, { dtype: "F16", shape, data: Float16Array.from(data as Float32Array) }] as const
  );
  checkFinite(Object.fromEntries(halves), (name) => {
    const largest = floats(params[name]!).find((value) => !Number.isFinite(Math.f16round(value)));
    return `Cannot write ${path}: ${name} must be within float16, at most 65504, got ${largest}; the checkpoint holds it`;
  });
  const metadata = {
    plan: JSON.stringify(plan),
    step: String(state.step),
    curve: JSON.stringify(curve),
  };
  await savedAs(plan.target)(path, { config: plan.target.model as never, params }, {
    ...options,
    dtype: "F16",
    metadata,
  });
}

/** What writes the weights of a target. */
function savedAs(target: TrainPlan["target"]): (
  path: string,
  trained: Trained<never>,
  options: SaveOptions,
) => Promise<void> {
  if (target.task === "denoise") return saveDenoiser;
  return target.model.schedule === undefined ? saveClassifier : saveNoisyClassifier;
}

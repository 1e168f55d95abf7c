/**
 * States of a chain in files: where a run stands, with all that rides in its state, so that another program goes on from
 * there bit for bit.
 *
 * A file is a safetensors file. Its metadata hold the state as JSON, in which a tensor is `{"tensor": name}` and an object
 * `{"fields": {…}}`, so that no field's name can be taken for another thing. A tensor that stands in a state twice, as the
 * newest evaluation of a multistep solver does, is stored once.
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
import type { State } from "../../sample/path.ts";
import { writeSafetensors } from "../safetensors.ts";
import { checkFinite, downloaded, uploaded } from "../tensors/device.ts";
import { type Header, isRecord, shown } from "../tensors/header.ts";
import { withTensors } from "../tensors/open.ts";
import { checkPlain, toJson } from "../tensors/plain.ts";
import { holdsInstead } from "./contents.ts";
import type { Tensor } from "../../tensor/tensor.ts";

/** A state as it stands in a file. */
type Tree =
  | null
  | boolean
  | number
  | string
  | readonly Tree[]
  | { readonly tensor: string }
  | { readonly fields: Readonly<Record<string, Tree>> };

const format = "tweedie.state";

const version = "1";

const action = "save state";

/** How deep a state may be: so much that nobody needs it, and so little that a file cannot exhaust the stack. */
const deepest = 64;

/**
 * Writes a state: x, time and step, the prediction that led there, the history of a multistep solver, and whatever else a
 * refinement has put into it, tensors and plain data. The file that it replaces stays whole until the new one is.
 *
 * Model, key and sampler are not in the state: who goes on gives the same ones, and gets bit for bit what the unbroken run
 * gives.
 *
 * @category Files
 * @param path Where to put it.
 * @param state The state, which stays the caller's; it may be disposed of right after the call.
 * @returns When the file is there. Needs the permissions to read and to write its folder.
 * @throws {TypeError} If it is no state, or holds what is neither a tensor nor plain data with finite numbers.
 * @throws {RangeError} If a tensor holds NaN or infinity, from which no run could go on.
 * @throws {Error} If the file cannot be written; `cause` is the system's error.
 *
 * @example Stop after three of six steps, and go on
 * ```ts
 * import { after, ddim, gaussian, key, last, linear, loadState, prior, run, saveState } from "@tweedie/tweedie";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const schedule = linear(), options = { model: gaussian(schedule), key: key(0) };
 * const sampler = ddim(schedule, { steps: 6 }), path = `${await Deno.makeTempDir()}/state.safetensors`;
 * for await (const state of run(prior([2, 1]), options)(sampler)) {
 *   if (state.step === 3) await saveState(path, state);
 * }
 *
 * const state = await loadState(path), whole = await last(run(prior([2, 1]), options)(sampler));
 * const rest = await last(run(state, options)(after(state.step)(sampler)));
 * assert.deepEqual(rest.x.dataSync(), whole.x.dataSync());
 * ```
 */
export async function saveState(path: string, state: State): Promise<void> {
  const { tree, tensors } = taken(state);
  checkState(tree, (wanted, got) => new TypeError(`Cannot ${action}: ${wanted}, got ${got}`));
  const host = await downloaded(action, tensors);
  checkFinite(action, host);
  await writeSafetensors(path, host, { format, version, state: toJson(tree) });
}

/** A state's tree and its tensors; those that share their numbers, shape and type are one. */
function taken(state: unknown): {
  readonly tree: Tree;
  readonly tensors: Readonly<Record<string, Tensor>>;
} {
  const tensors = new Map<string, Tensor>();
  const nameOf = (tensor: Tensor, at: string): string => {
    for (const [name, other] of tensors) if (isSame(tensor, other)) return name;
    let name = at;
    while (tensors.has(name)) name += "'";
    tensors.set(name, tensor);
    return name;
  };
  const visit = (value: unknown, at: readonly (string | number)[]): Tree => {
    const place = ["state", ...at].join(".");
    if (at.length > deepest) throw tooDeep(place);
    if (value instanceof tf.Tensor) return { tensor: nameOf(value, at.join(".")) };
    if (Array.isArray(value)) return Array.from(value, (inner, i) => visit(inner, [...at, i]));
    if (!isPlain(value)) {
      checkPlain(action, value, place);
      return value as Tree;
    }
    const fields = Object.entries(value).filter(([, inner]) => inner !== undefined)
      .map(([name, inner]) => [name, visit(inner, [...at, name])]);
    return { fields: Object.fromEntries(fields) };
  };
  return { tree: visit(state, []), tensors: Object.fromEntries(tensors) };
}

const tooDeep = (place: string): TypeError =>
  new TypeError(
    `Cannot ${action}: the state must be at most ${deepest} levels deep, got more at ${
      place.slice(0, 80)
    }`,
  );

/** Whether a value is an object literal. */
const isPlain = (value: unknown): value is Record<string, unknown> =>
  isRecord(value) && [Object.prototype, null].includes(Object.getPrototypeOf(value));

const isSame = (a: Tensor, b: Tensor): boolean =>
  a.dataId === b.dataId && a.dtype === b.dtype && tf.util.arraysEqual(a.shape, b.shape);

/** Refuses what no run could start from. */
function checkState(tree: unknown, fault: (wanted: string, got: string) => Error): void {
  const fields = isRecord(tree) && isRecord(tree["fields"]) ? tree["fields"] : undefined;
  if (fields === undefined) throw fault("the state must be an object", shown(tree));
  const { x, t, step } = fields;
  if (!isRecord(x) || !("tensor" in x)) throw fault("state.x must be a tensor", shown(x));
  if (!Number.isFinite(t)) throw fault("state.t must be a finite number", shown(t));
  if (!(Number.isSafeInteger(step) && step as number >= 0)) {
    throw fault("state.step must be a whole number of at least 0", shown(step));
  }
}

/**
 * Reads a state that {@link saveState} wrote.
 *
 * @category Files
 * @param path Where it is.
 * @returns The state, on the backend in use, with all that it held. The caller disposes of its tensors:
 * `tf.dispose({ ...state })`. Its type is the caller's to know: that of the sampler that it came from.
 * @throws {SyntaxError} If the file is damaged, or holds no state, with what it holds instead and what reads that.
 * @throws {TypeError} If the path is that of a directory, a device or a pipe; if no backend is in use.
 * @throws {Deno.errors.NotFound} If there is no such file.
 *
 * @example
 * ```ts
 * import { loadState, saveState } from "@tweedie/tweedie";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import * as tf from "@tensorflow/tfjs-core";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const path = `${await Deno.makeTempDir()}/state.safetensors`;
 * await saveState(path, { x: tf.tensor1d([1, 2]), t: 500, step: 7 });
 * const { x, t, step } = await loadState(path);
 * assert.deepEqual([...x.dataSync(), t, step], [1, 2, 500, 7]);
 * ```
 */
export async function loadState<S extends State = State>(path: string): Promise<S> {
  return await withTensors(path, async (file) => {
    const tree = treeIn(file, path), names = namesIn(tree, path);
    checkNames(names, file, path);
    const tensors = uploaded(await file.read([...names])), spare = new Set(names);
    // A tensor that stands there twice is a copy the second time, so that each can be disposed of by itself.
    const placed = (name: string): Tensor =>
      spare.delete(name) ? tensors[name]! : tf.clone(tensors[name]!);
    return restored(tree, placed) as S;
  });
}

const unfit = (path: string, wanted: string, got: unknown): SyntaxError =>
  new SyntaxError(`Cannot load state: ${path} must ${wanted}, got ${got}`);

/** The state as it stands in a file's header. */
function treeIn({ metadata }: Header, path: string): Tree {
  const wanted = `${format} ${version}`;
  const got = [metadata["format"] ?? "no format", metadata["version"]].join(" ").trim();
  if (got !== wanted) throw unfit(path, `be of format ${wanted}`, got + holdsInstead(metadata));
  let tree: unknown;
  try {
    tree = JSON.parse(metadata["state"] ?? "");
  } catch {
    throw unfit(path, "hold its state as JSON in its metadata", shown(metadata["state"]));
  }
  checkState(tree, (wanted, got) => unfit(path, `hold a state: ${wanted}`, got));
  return tree as Tree;
}

/** The names of all tensors of a tree, whose every part is looked at. */
function namesIn(tree: unknown, path: string): ReadonlySet<string> {
  const names = new Set<string>();
  const visit = (part: unknown, depth: number): void => {
    if (depth > deepest) throw unfit(path, `be at most ${deepest} levels deep`, "more");
    if (typeof part !== "object" || part === null) return;
    if (Array.isArray(part)) return part.forEach((inner) => visit(inner, depth + 1));
    const { tensor, fields, ...rest } = part as Record<string, unknown>;
    const isOne = (tensor === undefined) !== (fields === undefined);
    if (isOne && Object.keys(rest).length === 0) {
      if (typeof tensor === "string") return void names.add(tensor);
      if (isRecord(fields)) {
        return Object.values(fields).forEach((inner) => visit(inner, depth + 1));
      }
    }
    throw unfit(path, 'hold objects as {"tensor": …} or {"fields": …}', shown(part));
  };
  visit(tree, 0);
  return names;
}

function checkNames(names: ReadonlySet<string>, { entries }: Header, path: string): void {
  const there = new Set(entries.map(({ name }) => name));
  const odd = [...names, ...there].find((name) => !names.has(name) || !there.has(name));
  if (odd === undefined) return;
  const got = there.has(odd) ? `${shown(odd)} besides` : `none of name ${shown(odd)}`;
  throw unfit(path, "hold the tensors that its state names", got);
}

/** The state of a tree. */
function restored(tree: Tree, tensor: (name: string) => Tensor): unknown {
  if (typeof tree !== "object" || tree === null) return tree;
  if (Array.isArray(tree)) return tree.map((inner) => restored(inner, tensor));
  if ("tensor" in tree) return tensor((tree as { readonly tensor: string }).tensor);
  const { fields } = tree as { readonly fields: Readonly<Record<string, Tree>> };
  return Object.fromEntries(
    Object.entries(fields).map(([name, inner]) => [name, restored(inner, tensor)]),
  );
}

/**
 * Checkpoints of training: everything that a run needs to go on bit for bit, in one safetensors file.
 *
 * A checkpoint is groups of named tensors (say `model`, `ema`, `adam.m`, `adam.v`) and plain data (step, key, position
 * in the data, configuration). In the file a tensor is called `group.name`; the plain data are JSON in the metadata,
 * where every number keeps its value. The file replaces the older one in one move, so a crash leaves the one or the other.
 *
 * @module
 */

import {
  type HostTensor,
  type HostTensors,
  type Safetensors,
  writeSafetensors,
} from "./safetensors.ts";
import { checkFinite, downloaded } from "./tensors/device.ts";
import { isRecord, shown } from "./tensors/header.ts";
import { withTensors } from "./tensors/open.ts";
import { checkPlain, toJson } from "./tensors/plain.ts";
import { compareShapes } from "./tensors/shape.ts";
import type { Tensor } from "../tensor/tensor.ts";

/**
 * A checkpoint: tensors in groups, and plain data.
 *
 * @category Files
 */
export interface Checkpoint<Tensor = HostTensor> {
  /** Tensors by group and name. No group's name may go on from another's with a dot, as `adam.m` does from `adam`. */
  readonly groups: Readonly<Record<string, Readonly<Record<string, Tensor>>>>;
  /** Plain data: null, booleans, finite numbers, strings, arrays and objects of these. */
  readonly meta: Readonly<Record<string, unknown>>;
}

const format = "tweedie.checkpoint";

const version = "1";

/**
 * Writes a checkpoint. The file that it replaces stays whole until the new one is.
 *
 * @category Files
 * @param path Where to put it.
 * @param checkpoint Groups of tensors, on the host or on the backend as a training's state has them, and plain data. The
 * caller keeps the tensors, and may dispose of them right after the call.
 * @returns When the file is there.
 * @throws {TypeError} If `meta` holds what JSON cannot keep (NaN, infinity, a bigint, a function, a class instance), or a
 * tensor is not what it says.
 * @throws {RangeError} If a group's name goes on from another's, a shape does not fit its data, or a tensor holds NaN or
 * infinity, with which nobody could go on.
 *
 * @example Save, load, go on
 * ```ts
 * import { key, loadCheckpoint, saveCheckpoint } from "@tweedie/tweedie";
 * import assert from "node:assert/strict";
 *
 * const path = await Deno.makeTempFile();
 * const w = { dtype: "F32", shape: [2], data: new Float32Array([0.1, 0.2]) } as const;
 * const checkpoint = { groups: { model: { w }, "adam.m": { w } }, meta: { step: 12, key: key(3), rate: 2e-4 } };
 * await saveCheckpoint(path, checkpoint); // or { groups: { model: state.params, … }, … } of a training's state
 * assert.deepEqual(await loadCheckpoint(path), checkpoint);
 * await Deno.remove(path);
 * ```
 */
export async function saveCheckpoint(
  path: string,
  { groups, meta }: Checkpoint<HostTensor | Tensor>,
): Promise<void> {
  checkRecord("groups", groups);
  for (const [name, group] of Object.entries(groups)) checkRecord(`group ${name}`, group);
  checkRecord("meta", meta);
  const names = Object.keys(groups);
  checkGroups(names);
  checkPlain(saving, meta, "meta");
  const named = Object.entries(groups).flatMap(([group, named]) =>
    Object.entries(named).map(([name, tensor]) => [`${group}.${name}`, tensor] as const)
  );
  const tensors = await downloaded(saving, Object.fromEntries(named));
  checkFinite(saving, tensors);
  const metadata = { format, version, groups: JSON.stringify(names), meta: toJson(meta) };
  await writeSafetensors(path, tensors, metadata);
}

const saving = "save checkpoint";

function checkRecord(name: string, value: unknown): void {
  if (isRecord(value)) return;
  throw new TypeError(`Cannot ${saving}: ${name} must be an object, got ${shown(value)}`);
}

/** `adam` and `adam.m` cannot be told apart in `adam.m.w`. */
function checkGroups(names: readonly string[]): void {
  for (const name of names) {
    const other = names.find((other) => other !== name && name.startsWith(`${other}.`));
    if (other === undefined) continue;
    throw new RangeError(
      `Cannot save checkpoint: group "${name}" must not go on from another with a dot, got "${other}" too`,
    );
  }
}

/**
 * Reads a checkpoint that {@link saveCheckpoint} wrote.
 *
 * @category Files
 * @param path Where it is.
 * @returns Groups of tensors and plain data.
 * @throws {SyntaxError} If the file is damaged, or is a safetensors file but no checkpoint of this version.
 * @throws {TypeError} If the path is that of a directory, a device or a pipe.
 * @throws {Deno.errors.NotFound} If there is no such file.
 */
export async function loadCheckpoint(path: string): Promise<Checkpoint> {
  return await withTensors(path, async ({ entries, metadata, read }) => {
    checkFormat(metadata, path);
    const names = parsed(metadata, "groups", isNames, path),
      meta = parsed(metadata, "meta", isRecord, path);
    const all = entries.map(({ name }) => name);
    checkHomes(all, names, path);
    return { groups: grouped(await read(all), names), meta };
  });
}

const isNames = (value: unknown): value is string[] =>
  Array.isArray(value) && value.every((name) => typeof name === "string");

function fault(path: string, wanted: string, got: string): SyntaxError {
  return new SyntaxError(`Cannot load checkpoint: ${path} must ${wanted}, got ${got}`);
}

function checkFormat(metadata: Safetensors["metadata"], path: string): void {
  const wanted = `${format} ${version}`,
    got = `${metadata.format ?? "no format"} ${metadata.version ?? ""}`;
  if (got !== wanted) throw fault(path, `be of format ${wanted}`, got.trim());
}

/** The JSON under a name of the metadata, if it is of the kind that is wanted. */
function parsed<A>(
  metadata: Safetensors["metadata"],
  name: string,
  isWanted: (value: unknown) => value is A,
  path: string,
): A {
  const text = metadata[name] ?? "";
  try {
    const value: unknown = JSON.parse(text);
    if (isWanted(value)) return value;
  } catch { /* The fault is the same. */ }
  throw fault(
    path,
    `hold ${name} as JSON in its metadata`,
    text === "" ? "nothing" : text.slice(0, 80),
  );
}

const homeOf = (full: string, names: readonly string[]): string | undefined =>
  names.find((name) => full.startsWith(`${name}.`));

function checkHomes(all: readonly string[], names: readonly string[], path: string): void {
  const stray = all.find((full) => homeOf(full, names) === undefined);
  if (stray === undefined) return;
  throw fault(path, `name its tensors by its groups ${names.join(", ")}`, stray);
}

function grouped(tensors: HostTensors, names: readonly string[]): Record<string, HostTensors> {
  const all = Object.entries(tensors).map(([full, tensor]) =>
    [homeOf(full, names), full, tensor] as const
  );
  const named = (group: string): HostTensors =>
    Object.fromEntries(
      all.filter(([home]) => home === group)
        .map(([, full, tensor]) => [full.slice(group.length + 1), tensor]),
    );
  return Object.fromEntries(names.map((group) => [group, named(group)]));
}

/**
 * Compares the names and shapes of loaded tensors with those of a model, and lists all that differ in one error.
 *
 * @category Files
 * @param got Loaded tensors, or anything else with shapes, by name.
 * @param wanted The shapes to be expected, by name.
 * @param path Where the tensors came from, for the message.
 * @throws {RangeError} If a tensor is missing, not expected, or of another shape; with the count of each, and the first
 * names.
 *
 * @example A model with a wider layer
 * ```ts
 * import { checkShapes } from "@tweedie/tweedie/io";
 * import assert from "node:assert/strict";
 *
 * const got = { w: { shape: [2, 3] }, b: { shape: [3] } };
 * checkShapes(got, { w: [2, 3], b: [3] }, "run.safetensors");
 * assert.throws(() => checkShapes(got, { w: [2, 4], b: [3] }, "run.safetensors"), /w \[2,4\], got \[2,3\]/);
 * ```
 */
export function checkShapes(
  got: Readonly<Record<string, { readonly shape: readonly number[] }>>,
  wanted: Readonly<Record<string, readonly number[]>>,
  path: string,
): void {
  compareShapes(got, wanted, `load ${path}`);
}

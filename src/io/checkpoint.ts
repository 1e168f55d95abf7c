/**
 * Checkpoints of training: everything that a run needs to go on bit for bit, in one safetensors file.
 *
 * A checkpoint is groups of named tensors (say `model`, `ema`, `adam.m`, `adam.v`) and plain data (step, key, position
 * in the data, configuration). In the file a tensor is called `group.name`; the plain data are JSON in the metadata,
 * where every number keeps its value. The file replaces the older one in one move, so a crash leaves the one or the other.
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
import {
  floats,
  type HostTensor,
  type HostTensors,
  readSafetensors,
  type Safetensors,
  writeSafetensors,
} from "./safetensors.ts";

/** A checkpoint: tensors in groups, and plain data. */
export interface Checkpoint {
  /** Tensors by group and name. No group's name may go on from another's with a dot, as `adam.m` does from `adam`. */
  readonly groups: Readonly<Record<string, HostTensors>>;
  /** Plain data: null, booleans, finite numbers, strings, arrays and objects of these. */
  readonly meta: Readonly<Record<string, unknown>>;
}

const format = "tweedie.checkpoint";

const version = "1";

/** How many names a message lists of each kind. */
const listed = 4;

/**
 * Writes a checkpoint. The file that it replaces stays whole until the new one is.
 *
 * @param path Where to put it.
 * @param checkpoint Groups of tensors and plain data.
 * @returns When the file is there.
 * @throws {TypeError} If `meta` holds what JSON cannot keep (NaN, infinity, a bigint, a function, a class instance), or a
 * tensor is not what it says.
 * @throws {RangeError} If a group's name goes on from another's, or a shape does not fit its data.
 *
 * @example Save, load, go on
 * ```ts
 * import { key, loadCheckpoint, saveCheckpoint } from "@tweedie/tweedie";
 * import assert from "node:assert/strict";
 *
 * const path = await Deno.makeTempFile();
 * const w = { dtype: "F32", shape: [2], data: new Float32Array([0.1, 0.2]) } as const;
 * const checkpoint = { groups: { model: { w }, "adam.m": { w } }, meta: { step: 12, key: key(3), rate: 2e-4 } };
 * await saveCheckpoint(path, checkpoint);
 * assert.deepEqual(await loadCheckpoint(path), checkpoint);
 * await Deno.remove(path);
 * ```
 */
export async function saveCheckpoint(path: string, { groups, meta }: Checkpoint): Promise<void> {
  const names = Object.keys(groups);
  checkGroups(names);
  checkPlain(meta, "meta");
  const tensors = Object.entries(groups).flatMap(([group, named]) =>
    Object.entries(named).map(([name, tensor]) => [`${group}.${name}`, tensor])
  );
  const metadata = { format, version, groups: JSON.stringify(names), meta: toJson(meta) };
  await writeSafetensors(path, Object.fromEntries(tensors), metadata);
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

/** Throws where a value would not come back from JSON as it was. */
function checkPlain(value: unknown, at: string): void {
  if (typeof value === "object" && value !== null) {
    if (!Array.isArray(value) && Object.getPrototypeOf(value) !== Object.prototype) {
      throw notPlain(value, at);
    }
    for (const [name, inner] of Object.entries(value)) {
      if (inner !== undefined || Array.isArray(value)) checkPlain(inner, `${at}.${name}`);
    }
  } else if (
    !(value === null || typeof value === "string" || typeof value === "boolean" ||
      Number.isFinite(value))
  ) {
    throw notPlain(value, at);
  }
}

function notPlain(value: unknown, at: string): TypeError {
  const got = typeof value === "object"
    ? Object.prototype.toString.call(value)
    : `${typeof value} ${String(value)}`;
  return new TypeError(
    `Cannot save checkpoint: ${at} must be plain data with finite numbers, got ${got}`,
  );
}

/** JSON that also keeps the sign of zero. */
function toJson(value: unknown): string {
  const mark = crypto.randomUUID();
  const text = JSON.stringify(value, (_, inner) => Object.is(inner, -0) ? mark : inner);
  return text.replaceAll(`"${mark}"`, "-0");
}

/**
 * Reads a checkpoint that {@link saveCheckpoint} wrote.
 *
 * @param path Where it is.
 * @returns Groups of tensors and plain data.
 * @throws {SyntaxError} If the file is damaged, or is a safetensors file but no checkpoint of this version.
 * @throws {Deno.errors.NotFound} If there is no such file.
 */
export async function loadCheckpoint(path: string): Promise<Checkpoint> {
  const { tensors, metadata } = await readSafetensors(path);
  checkFormat(metadata, path);
  const names = parsed(metadata, "groups", isNames, path),
    meta = parsed(metadata, "meta", isRecord, path);
  return { groups: grouped(tensors, names, path), meta };
}

const isNames = (value: unknown): value is string[] =>
  Array.isArray(value) && value.every((name) => typeof name === "string");

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

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

function grouped(
  tensors: HostTensors,
  names: readonly string[],
  path: string,
): Record<string, HostTensors> {
  const homes = Object.entries(tensors).map(([full, tensor]) => {
    const group = names.find((name) => full.startsWith(`${name}.`));
    if (group === undefined) {
      throw fault(path, `name its tensors by its groups ${names.join(", ")}`, full);
    }
    return { group, name: full.slice(group.length + 1), tensor };
  });
  const within = Object.groupBy(homes, ({ group }) => group);
  const named = (group: string): HostTensors =>
    Object.fromEntries((within[group] ?? []).map(({ name, tensor }) => [name, tensor]));
  return Object.fromEntries(names.map((group) => [group, named(group)]));
}

/**
 * Compares the names and shapes of loaded tensors with those of a model, and lists all that differ in one error.
 *
 * @param got Loaded tensors, or anything else with shapes, by name.
 * @param wanted The shapes to be expected, by name.
 * @param path Where the tensors came from, for the message.
 * @throws {RangeError} If a tensor is missing, not expected, or of another shape; with the count of each, and the first
 * names.
 *
 * @example A model with a wider layer
 * ```ts
 * import { checkShapes } from "@tweedie/tweedie";
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
  const has = (name: string): boolean => Object.hasOwn(got, name);
  const missing = Object.keys(wanted).filter((name) => !has(name));
  const unexpected = Object.keys(got).filter((name) => !Object.hasOwn(wanted, name));
  const reshaped = Object.entries(wanted)
    .filter(([name, shape]) => has(name) && `${got[name]!.shape}` !== `${shape}`)
    .map(([name, shape]) => `${name} [${shape}], got [${got[name]!.shape}]`);
  const faults = [
    list("missing", missing),
    list("unexpected", unexpected),
    list("of another shape", reshaped),
  ];
  if (faults.every((fault) => fault === "")) return;
  const count = Object.keys(wanted).length;
  throw new RangeError(
    `Cannot load ${path}: it must hold the model's ${count} tensors, got ${
      faults.filter(Boolean).join("; ")
    }`,
  );
}

/** `3 missing (a, b, c)`, or nothing. */
function list(what: string, names: readonly string[]): string {
  if (names.length === 0) return "";
  const rest = names.length > listed ? ", ..." : "";
  return `${names.length} ${what} (${names.slice(0, listed).join(", ")}${rest})`;
}

/**
 * Uploads host tensors: floats as float32, whole numbers of up to 32 bits (and 64-bit ones that fit) as int32, booleans
 * as bool. A tensor does not share memory with its host tensor.
 *
 * @param group Host tensors by name.
 * @returns tfjs tensors by name. The caller disposes of them.
 * @throws {RangeError} If a whole number does not fit int32.
 *
 * @example
 * ```ts
 * import { toTensors } from "@tweedie/tweedie";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const { w } = toTensors({ w: { dtype: "F16", shape: [1, 2], data: new Float16Array([1, 0.5]) } });
 * assert.deepEqual([w!.dtype, w!.shape, await w!.array()], ["float32", [1, 2], [[1, 0.5]]]);
 * w!.dispose();
 * ```
 */
export function toTensors(group: HostTensors): Record<string, tf.Tensor> {
  const values = Object.entries(group).map(([name, tensor]) =>
    [name, tensor, onDevice(name, tensor)] as const
  );
  return Object.fromEntries(
    values.map(([name, { shape }, [dtype, data]]) => [name, tf.tensor(data, [...shape], dtype)]),
  );
}

/** Element type and a copy of the data, since the "cpu" backend keeps the array that it is given. */
function onDevice(
  name: string,
  tensor: HostTensor,
): ["float32" | "int32" | "bool", Float32Array | Int32Array | Uint8Array] {
  if (tensor.dtype === "BOOL") return ["bool", Uint8Array.from(tensor.data as Uint8Array)];
  if (tensor.dtype.includes("F")) return ["float32", Float32Array.from(floats(tensor))];
  const whole = Array.from<number | bigint, number>(tensor.data, Number);
  const over = whole.find((value) => value !== (value | 0));
  if (over === undefined) return ["int32", Int32Array.from(whole)];
  throw new RangeError(
    `Cannot make a tensor: ${name} (${tensor.dtype}) must be within int32, got ${over}`,
  );
}

/**
 * Downloads tensors: float32 as F32, int32 as I32, bool as BOOL. All reads start before the promise is returned, so
 * the tensors may be disposed of right after the call.
 *
 * @param record tfjs tensors by name; the caller keeps them.
 * @returns Host tensors by name, copies of their own.
 * @throws {TypeError} If a tensor is of complex numbers or strings.
 *
 * @example
 * ```ts
 * import { fromTensors } from "@tweedie/tweedie";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import * as tf from "@tensorflow/tfjs-core";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const b = tf.tensor1d([1, 2]);
 * assert.deepEqual(await fromTensors({ b }), { b: { dtype: "F32", shape: [2], data: new Float32Array([1, 2]) } });
 * b.dispose();
 * ```
 */
export async function fromTensors(
  record: Readonly<Record<string, tf.Tensor>>,
): Promise<Record<string, HostTensor>> {
  const wrong = Object.entries(record).find(([, { dtype }]) =>
    dtype === "complex64" || dtype === "string"
  );
  if (wrong) {
    throw new TypeError(
      `Cannot read tensors: ${wrong[0]} must be float32, int32 or bool, got ${wrong[1].dtype}`,
    );
  }
  const entries = Object.entries(record).map(async (
    [name, tensor],
  ) => [name, await fromTensor(tensor)]);
  return Object.fromEntries(await Promise.all(entries));
}

async function fromTensor(tensor: tf.Tensor): Promise<HostTensor> {
  const { dtype } = tensor, shape = [...tensor.shape], data = await tensor.data();
  if (dtype === "int32") return { dtype: "I32", shape, data: Int32Array.from(data) };
  if (dtype === "bool") return { dtype: "BOOL", shape, data: Uint8Array.from(data) };
  return { dtype: "F32", shape, data: Float32Array.from(data) };
}

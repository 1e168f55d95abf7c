/**
 * Refusals in one grammar: what could not be done, which parameter, what was wanted, what came.
 *
 * ```text
 *   Cannot <action>: <parameter> must be <wanted>, got <got>
 * ```
 *
 * @module
 */

/** The names of all options of an interface, so that the compiler sees when one is added or renamed. */
export type Known<T> = { readonly [K in keyof T]-?: true };

/**
 * An error for a parameter outside its domain.
 *
 * @param action What could not be done, such as `"make a DDIM sampler"`.
 * @param wanted The parameter and its domain, such as `"eta must be a number of at least 0"`.
 * @param got What came.
 * @returns The error, to throw.
 */
export const refusal = (action: string, wanted: string, got: unknown): RangeError =>
  new RangeError(`Cannot ${action}: ${wanted}, got ${shown(got)}`);

/** An error of what is of the wrong kind, where words tell better what came. */
export const mismatch = (action: string, wanted: string, got: string): TypeError =>
  new TypeError(`Cannot ${action}: ${wanted}, got ${got}`);

/** What JSON would write as null. */
const isBare = (value: unknown): boolean =>
  value === undefined || (typeof value === "number" && !Number.isFinite(value));

/** A value as it is written, cut off where it is long. */
export function shown(value: unknown): string {
  if (typeof value === "number" || typeof value === "bigint" || value === undefined) {
    return String(value);
  }
  if (typeof value === "function") return `a function`;
  let text: string | undefined;
  try {
    text = JSON.stringify(value, (_, part) => isBare(part) ? `\u0000${part}` : part)
      ?.replaceAll(/"\\u0000([^"]*)"/g, "$1");
  } catch {
    // A cycle, or a number that JSON does not have.
  }
  text ??= String(value);
  return text.length > 80 ? `${text.slice(0, 77)}...` : text;
}

/**
 * Refuses options that a function does not know: a misspelt one would be ignored without a word.
 *
 * @param action What the function does, such as `"make a grid"`.
 * @param options What it was given. A name whose value is undefined counts as absent.
 * @param known All that it knows.
 * @throws {TypeError} If the options are no object, or one of them is not known.
 *
 * @example
 * ```ts
 * import { checkOptions } from "./check.ts";
 * import assert from "node:assert/strict";
 *
 * const known = { steps: true, eta: true } as const;
 * checkOptions("sample", { steps: 5 }, known);
 * assert.throws(() => checkOptions("sample", { step: 5 }, known), /options must be among steps, eta, got "step"/);
 * ```
 */
export function checkOptions(
  action: string,
  options: unknown,
  known: Readonly<Record<string, unknown>>,
): void {
  if (typeof options !== "object" || options === null || Array.isArray(options)) {
    throw new TypeError(`Cannot ${action}: options must be an object, got ${shown(options)}`);
  }
  for (const [name, value] of Object.entries(options)) {
    if (value === undefined || Object.hasOwn(known, name)) continue;
    const names = Object.keys(known).join(", ") || "none";
    throw new TypeError(`Cannot ${action}: options must be among ${names}, got "${name}"`);
  }
}

/**
 * The shape of a batch.
 *
 * @param action What is to be done with it.
 * @param shape [N, ...sample].
 * @returns The shape.
 * @throws {TypeError} If it is no list of numbers.
 * @throws {RangeError} If it is empty, or one is not a whole number of at least 1.
 */
export function checkedShape(action: string, shape: readonly number[]): readonly number[] {
  if (!Array.isArray(shape) && !ArrayBuffer.isView(shape)) {
    throw new TypeError(`Cannot ${action}: shape must be a list of numbers, got ${shown(shape)}`);
  }
  const all = [...shape];
  if (all.length > 0 && all.every((size) => Number.isSafeInteger(size) && size >= 1)) return all;
  throw refusal(action, "shape must be of whole numbers of at least 1", all);
}

/**
 * Refuses what is not in a list of words.
 *
 * @param action What the function does, such as `"export a denoiser"`.
 * @param name The option's name.
 * @param value What it was given.
 * @param known The words.
 * @throws {RangeError} If it is none of them.
 */
export function checkAmong(
  action: string,
  name: string,
  value: unknown,
  known: readonly unknown[],
): void {
  if (known.includes(value)) return;
  throw refusal(action, `${name} must be one of ${known.join(", ")}`, value);
}

/**
 * Refuses a name that is not in a table.
 *
 * @param action What the function does, such as `"make a flow"`.
 * @param name The option's name.
 * @param value What it was given.
 * @param table What there is, by name.
 * @throws {RangeError} If it is none of them.
 */
export function checkNamed(action: string, name: string, value: string, table: object): void {
  if (Object.hasOwn(table, value)) return;
  const known = Object.keys(table).join(", ");
  throw new RangeError(`Cannot ${action}: ${name} must be one of ${known}, got ${value}`);
}

/**
 * Refuses what is no shape of a tensor.
 *
 * @param action What it is for.
 * @param shape What was given.
 * @throws {RangeError} If it is not a list of whole numbers of at least 0.
 */
export function checkShape(action: string, shape: unknown): void {
  const isSize = (size: unknown): boolean => Number.isSafeInteger(size) && (size as number) >= 0;
  if (Array.isArray(shape) && shape.every(isSize)) return;
  throw refusal(action, "shape must be a list of whole numbers of at least 0", shape);
}

/**
 * Refuses what is no key: of a number, say, every draw would be the same, and without a word.
 *
 * @category Tensors
 * @param action What the function does, such as `"draw times"`.
 * @param key What it was given.
 * @param name The parameter's name. Default: `"key"`.
 * @throws {TypeError} If it is not two unsigned 32-bit words, `hi` and `lo`.
 *
 * @example
 * ```ts
 * import { checkKey } from "@tweedie/tweedie/tensor";
 * import { key } from "@tweedie/tweedie";
 * import assert from "node:assert/strict";
 *
 * checkKey("draw", key(5));
 * assert.throws(() => checkKey("draw", 5), /^TypeError: Cannot draw: key must be a key, as key\(0\) makes them, got 5$/);
 * ```
 */
export function checkKey(action: string, key: unknown, name = "key"): void {
  if (isKey(key)) return;
  throw new TypeError(
    `Cannot ${action}: ${name} must be a key, as key(0) makes them, got ${shown(key)}`,
  );
}

/** Whether a value is two unsigned 32-bit words. Asked of each key of each draw. */
export function isKey(value: unknown): boolean {
  const { hi, lo } = (value ?? {}) as { readonly hi?: unknown; readonly lo?: unknown };
  return (hi as number) >>> 0 === hi && (lo as number) >>> 0 === lo;
}

/** The first number of a list that is not finite, or undefined. */
export function notFinite(values: ArrayLike<number>): number | undefined {
  for (let i = 0; i < values.length; i++) {
    // A quarter of the time of Number.isFinite, in a loop over all weights at every step.
    const value = values[i]!;
    if (value - value !== 0) return value;
  }
  return undefined;
}

/** As much of a tensor as is looked at here. */
interface TensorLike {
  readonly shape: readonly number[];
  readonly isDisposed: boolean;
}

/** What {@link checkTensors} is told of tensors. */
export interface TensorsWanted {
  /** The parameter that they are, such as `"params"`. */
  readonly name: string;
  /** The shapes that they must have, by name; any when absent. */
  readonly like?: Readonly<Record<string, { readonly shape: readonly number[] }>>;
  /** What has these shapes, such as `"the network"`. */
  readonly whose?: string;
  /** Whether there may be others beside those wanted. Default: false. */
  readonly more?: boolean;
}

/**
 * Refuses named tensors that are disposed of, or not of the names and shapes wanted.
 *
 * @param action What the function does, such as `"apply the network"`.
 * @param tensors What it was given, by name.
 * @param wanted What it wanted.
 * @throws {RangeError} If a tensor is disposed of, missing, of another shape or not wanted, with its name.
 *
 * @example
 * ```ts
 * import { checkTensors } from "./check.ts";
 * import assert from "node:assert/strict";
 *
 * const w = { shape: [2], isDisposed: true };
 * assert.throws(() => checkTensors("train", { w }, { name: "params" }), /params must be of tensors that are not disposed of, got w$/);
 * ```
 */
export function checkTensors(
  action: string,
  tensors: Readonly<Record<string, TensorLike>>,
  { name, like, whose = "", more = false }: TensorsWanted,
): void {
  const refused = (wanted: string, got: string): RangeError =>
    new RangeError(`Cannot ${action}: ${name} must ${wanted}, got ${got}`);
  if (like !== undefined) {
    const unfit = (got: string): RangeError => refused(`have the weights of ${whose}`, got);
    for (const [weight, { shape }] of Object.entries(like)) {
      const found = Object.hasOwn(tensors, weight) ? tensors[weight] : undefined;
      if (found === undefined) throw unfit(`none called ${weight}`);
      if (shape.length !== found.shape.length || shape.some((n, i) => n !== found.shape[i])) {
        throw unfit(`${weight} of shape [${found.shape}] for [${shape}]`);
      }
    }
    const other = more ? undefined : Object.keys(tensors).find((key) => !Object.hasOwn(like, key));
    if (other !== undefined) throw unfit(`also ${other}`);
  }
  const gone = Object.keys(tensors).find((key) => tensors[key]!.isDisposed);
  if (gone !== undefined) throw refused("be of tensors that are not disposed of", gone);
}

/**
 * Fields of configurations: what each must be, in words and as a test, so that a description that comes from a file is looked
 * at before anything is built from it.
 *
 * @module
 */

/**
 * What sort of value a field has.
 *
 * @category Networks
 */
export type FieldKind =
  | "count"
  | "counts"
  | "size"
  | "number"
  | "flag"
  | "names"
  | "object"
  | "choice";

/**
 * What one entry of a configuration must be.
 *
 * @category Networks
 */
export interface Field {
  /** Its sort, for who reads one from text. */
  readonly kind: FieldKind;
  /** In words, such as `"a whole number of at least 1"`. */
  readonly wanted: string;
  /** Whether a value is that. */
  readonly fits: (value: unknown) => boolean;
  /** What the network takes where it is absent. Default: none, or one that other fields decide. */
  readonly usual?: unknown;
}

/**
 * The fields of a configuration by name; those that may be absent allow undefined.
 *
 * @category Networks
 */
export type Fields = Readonly<Record<string, Field>>;

const isWhole = (least: number) => (value: unknown): boolean =>
  Number.isSafeInteger(value) && (value as number) >= least;

const isListOf = (fits: (value: unknown) => boolean) => (value: unknown): boolean =>
  Array.isArray(value) && value.every(fits);

const lengthOf = (value: unknown): number => (value as readonly unknown[]).length;

/**
 * A field that may be absent.
 *
 * @category Networks
 * @param field The field.
 * @param usual What is taken then.
 * @returns The field.
 */
export const optional = (field: Field, usual?: unknown): Field => ({
  ...field,
  fits: (value) => value === undefined || field.fits(value),
  ...(usual !== undefined && { usual }),
});

/**
 * A whole number of at least a bound.
 *
 * @category Networks
 */
export const count = (least: number = 1): Field => ({
  kind: "count",
  wanted: `a whole number of at least ${least}`,
  fits: isWhole(least),
});

/**
 * Whole numbers of at least 1, one or more.
 *
 * @category Networks
 */
export const counts: Field = {
  kind: "counts",
  wanted: "whole numbers of at least 1, one or more",
  fits: (value) => isListOf(isWhole(1))(value) && lengthOf(value) > 0,
};

/**
 * Whole numbers of at least 0, or none.
 *
 * @category Networks
 */
export const indices: Field = {
  kind: "counts",
  wanted: "whole numbers of at least 0",
  fits: isListOf(isWhole(0)),
};

/**
 * Height and width.
 *
 * @category Networks
 */
export const size: Field = {
  kind: "size",
  wanted: "two whole numbers of at least 1",
  fits: (value) => isListOf(isWhole(1))(value) && lengthOf(value) === 2,
};

/**
 * A number above 0.
 *
 * @category Networks
 */
export const positive: Field = {
  kind: "number",
  wanted: "positive and finite",
  fits: (value) => Number.isFinite(value) && (value as number) > 0,
};

/**
 * True or false.
 *
 * @category Networks
 */
export const flag: Field = {
  kind: "flag",
  wanted: "true or false",
  fits: (value) => typeof value === "boolean",
};

/**
 * Names.
 *
 * @category Networks
 */
export const names: Field = {
  kind: "names",
  wanted: "a list of names",
  fits: isListOf((name) => typeof name === "string"),
};

/**
 * Named values.
 *
 * @category Networks
 */
export const object: Field = {
  kind: "object",
  wanted: "an object",
  fits: (value) => typeof value === "object" && value !== null && !Array.isArray(value),
};

/**
 * One of a few values.
 *
 * @category Networks
 * @param wanted In words.
 * @param values The values.
 * @returns The field.
 */
export const choice = (wanted: string, values: readonly unknown[]): Field => ({
  kind: "choice",
  wanted,
  fits: (value) => values.includes(value),
});

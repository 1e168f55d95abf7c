/**
 * Options as they come, to options as they are wanted: all that is wrong with them is said at once.
 *
 * A rule looks at one option; the rules of a function's options are a record, in which the compiler sees a name that is added or
 * left out. Each gives Either its faults or the value, and they are put together by the applicative that collects.
 *
 * @module
 */

import {
  chain,
  type Either,
  getApplicativeValidation,
  isLeft,
  left,
  mapLeft,
  right,
} from "fp-ts/lib/Either.js";
import { shown } from "./check.ts";

/** What is wrong with an option. */
export interface Fault {
  /** The option and its domain, such as `"eta must be a number of at least 0"`. */
  readonly wanted: string;
  /** What came, as it is shown. */
  readonly got: string;
  /** Whether it is of another type, and not only out of range. */
  readonly isType: boolean;
}

/** An option, or what is wrong with it. */
export type Decoded<A> = Either<readonly Fault[], A>;

/** A look at an option that is there, or has to be. */
export interface Rule {
  (name: string, value: unknown): Decoded<unknown>;
  /** Whether an option that is not there is looked at too, as undefined. Default: false. */
  readonly needed?: true;
}

/** A rule for each option; `true` where any value will do, or is looked at elsewhere. */
export type Rules<T> = { readonly [K in keyof T]-?: Rule | true };

/**
 * The rule of a domain in words.
 *
 * @param wanted The domain, such as `"a number of at least 0"`.
 * @param fits Whether a value is in it.
 * @param isType Whether what is not in it is of another type. Default: false.
 * @returns The rule.
 *
 * @example
 * ```ts
 * import { above, decoded, is, within } from "./decode.ts";
 * import assert from "node:assert/strict";
 *
 * const rules = { eta: is("in [0, 1]", within(0, 1)), steps: is("above 0", above(0)) };
 * assert.throws(
 *   () => decoded("sample", { eta: 2, steps: 0, speed: 1 }, rules),
 *   /^TypeError: Cannot sample: options must be among eta, steps, got "speed"; eta must be in \[0, 1\], got 2; steps must be above 0, got 0$/,
 * );
 * ```
 */
export function is(wanted: string, fits: (value: number) => boolean, isType?: boolean): Rule;
/** The same of values that are no numbers. */
export function is<A>(wanted: string, fits: (value: A) => boolean, isType?: boolean): Rule;
export function is<A>(wanted: string, fits: (value: A) => boolean, isType = false): Rule {
  return (name, value) =>
    fits(value as A)
      ? right(value)
      : left([{ wanted: `${name} must be ${wanted}`, got: shown(value), isType }]);
}

/** A finite number of at least another. */
export const atLeast = (least: number) => (value: number): boolean =>
  value >= least && value < Infinity;

/** A finite number above another. */
export const above = (least: number) => (value: number): boolean =>
  value > least && value < Infinity;

/** A number between two, both included. */
export const within = (least: number, most: number) => (value: number): boolean =>
  value >= least && value <= most;

/** A whole number of at least another. */
export const whole = (least: number) => (value: unknown): boolean =>
  Number.isSafeInteger(value) && value as number >= least;

/** The rule of a few words. */
export function oneOf(...words: readonly unknown[]): Rule {
  const told = words.map((word) => typeof word === "string" ? `"${word}"` : `${word}`);
  const wanted = `${told.slice(0, -1).join(", ")} or ${told.at(-1)}`;
  return is(wanted, (value: unknown) => words.includes(value));
}

/** The rule of true and false. */
export const boolean: Rule = is("true or false", (value: unknown) => typeof value === "boolean");

/** The same where anything else is of another type. */
export const flag: Rule = is("a boolean", (value: unknown) => typeof value === "boolean", true);

/** The rule of functions. */
export const callable: Rule = is(
  "a function",
  (value: unknown) => typeof value === "function",
  true,
);

/** The rule of words without quotes, of which there may be one. */
export const among = (words: readonly unknown[]): Rule =>
  is(`one of ${words.join(", ")}`, (value: unknown) => words.includes(value));

/** The rule of whole numbers of at least another. */
export const wholeNumber = (least: number): Rule =>
  is(`a whole number of at least ${least}`, whole(least));

/** The rule of an option that must be there. */
export const needed = (rule: Rule): Rule =>
  Object.assign<Rule, { needed: true }>((name, value) => rule(name, value), { needed: true });

/** The rule of two, of which the second looks at what the first lets through. */
export const inTurn = (first: Rule, second: Rule): Rule => (name, value) =>
  chain(() => second(name, value))(first(name, value));

/** A rule that shows what came in another way. */
export const showing = <A>(rule: Rule, show: (value: A) => string): Rule => (name, value) =>
  mapLeft((faults: readonly Fault[]) => faults.map((each) => ({ ...each, got: show(value as A) })))(
    rule(name, value),
  );

/** The applicative in which the faults of both are kept. */
const both = getApplicativeValidation<readonly Fault[]>({ concat: (a, b) => [...a, ...b] });

/**
 * Options, if each of them is in its domain.
 *
 * @param action What the function does, such as `"make a DDIM sampler"`.
 * @param options What it was given. A name whose value is undefined counts as absent.
 * @param rules A rule for each option that there is.
 * @returns The options.
 * @throws {TypeError} If they are no object, one is not known, or one is of another type; with all faults.
 * @throws {RangeError} If one is out of range; with all faults.
 */
export function decoded<T extends object, O extends T>(
  action: string,
  options: O,
  rules: Rules<T>,
): O {
  if (typeof options !== "object" || options === null || Array.isArray(options)) {
    throw new TypeError(`Cannot ${action}: options must be an object, got ${shown(options)}`);
  }
  const given = Object.entries(options).filter(([, value]) => value !== undefined);
  const looked = [...given, ...missing(options, rules)]
    .map(([name, value]) => ruleOf<T>(rules, name)(name, value))
    .reduce(
      (all, each) => both.ap(both.map(all, () => () => options), each),
      right(options),
    );
  if (isLeft(looked)) throw refused(action, looked.left);
  return options;
}

/** Options that are needed and not there; none beside a name that is not known, which may be one of them misspelt. */
function missing<T extends object>(options: T, rules: Rules<T>): [string, unknown][] {
  const isAbsent = (name: string): boolean => options[name as keyof T] === undefined;
  if (!Object.keys(options).every((name) => Object.hasOwn(rules, name) || isAbsent(name))) {
    return [];
  }
  return Object.entries<Rule | true>(rules).flatMap(([name, rule]) =>
    rule !== true && rule.needed && isAbsent(name) ? [[name, undefined]] : []
  );
}

/** The rule of a name; a name that is not known is a fault. */
function ruleOf<T>(rules: Rules<T>, name: string): Rule {
  if (!Object.hasOwn(rules, name)) {
    const known = Object.keys(rules).join(", ") || "none";
    const wanted = `options must be among ${known}`;
    return () => left([{ wanted, got: `"${name}"`, isType: true }]);
  }
  const rule = rules[name as keyof T] as Rule | true;
  return rule === true ? (_, value) => right(value) : rule;
}

/** One error of all faults: those of types first, as those of range may follow from them. */
function refused(action: string, faults: readonly Fault[]): Error {
  const types = faults.filter(({ isType }) => isType), ranges = faults.filter((f) => !f.isType);
  const told = [...types, ...ranges].map(({ wanted, got }) => `${wanted}, got ${got}`);
  const message = `Cannot ${action}: ${told.join("; ")}`;
  return types.length > 0 ? new TypeError(message) : new RangeError(message);
}

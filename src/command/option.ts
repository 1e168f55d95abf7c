/**
 * What the commands share: readers of options, text to values, with an error that says what was wanted; refusals of
 * options that do not go together; lines for people.
 *
 * @module
 */

import { type Command, InvalidArgumentError } from "commander";

/** A reader of an option's text. */
export type Reader<A> = (text: string) => A;

/** Bounds of a number; `whole` refuses fractions and what float64 cannot count exactly. */
export interface Bounds {
  /** The least that is taken. */
  readonly least?: number;
  /** The most that is taken. */
  readonly most?: number;
  /** The least that is not taken any more. */
  readonly below?: number;
  /** Whether it must be whole. */
  readonly whole?: boolean;
}

/** A number within bounds. */
export function numeric(options: Bounds = {}): Reader<number> {
  const { least = -Infinity, most = Infinity, below = Infinity, whole = false } = options;
  const bounds = [
    least > -Infinity && `of at least ${least}`,
    most < Infinity && `${least > -Infinity ? "" : "of "}at most ${most}`,
    below < Infinity && `below ${below}`,
  ].filter((bound) => bound !== false);
  const wanted = `a ${whole ? "whole " : ""}number ${bounds.join(" and ")}`.trimEnd();
  return (text) => {
    const value = Number(text);
    const right = text.trim() !== "" && Number.isFinite(value) && value >= least && value <= most &&
      value < below &&
      (!whole || Number.isSafeInteger(value));
    if (!right) throw new InvalidArgumentError(`It must be ${wanted}.`);
    return value;
  };
}

/** A whole number of at least 1. */
export const positive: Reader<number> = numeric({ least: 1, whole: true });

/** A whole number from 1 to a bound, above which memory would run out before a message could be made. */
export const limited = (most: number): Reader<number> => numeric({ least: 1, most, whole: true });

/** Whole numbers of at least 1, separated by commas. */
export const positives: Reader<number[]> = (text) => {
  try {
    return text.split(",").map(positive);
  } catch {
    throw new InvalidArgumentError(
      "It must be whole numbers of at least 1, separated by commas.",
    );
  }
};

/** Names, separated by commas: each once, and none of them "none", which asks for no class. */
export const labels: Reader<string[]> = (text) => {
  const list = text.split(",").map((name) => name.trim());
  if (unnamable(list) === undefined) return list;
  throw new InvalidArgumentError(
    'It must be names, separated by commas, each of its own, and none of them "none".',
  );
};

/** The first name that `tweedie sample --class` could not ask for: one that is none, has a comma, or was there before. */
export function unnamable(names: readonly string[]): string | undefined {
  const seen = new Set<string>();
  return names.find((name) => {
    const plain = name.trim().toLowerCase(), isOf = plain === "" || plain === "none";
    if (isOf || seen.has(plain) || plain.includes(",")) return true;
    seen.add(plain);
    return false;
  });
}

/** What is wrong with options that were given and would have no effect, by their names in the code. */
export function useless(command: Command, names: readonly string[], wanted: string): string[] {
  const given = command.options.filter((option) =>
    names.includes(option.attributeName()) &&
    command.getOptionValueSource(option.attributeName()) === "cli"
  );
  return given.map(({ flags }) => `option '${flags}' needs ${wanted}`);
}

/** Ends with all that is wrong with how the command was called, if anything is. */
export function refuseMisuse(command: Command, faults: readonly string[]): void {
  if (faults.length > 0) misused(command, faults.join("; "));
}

/** Ends with a message about how the command was called. */
export function misused(command: Command, message: string): never {
  return command.error(`error: ${message}`);
}

/** What an error says, in one line, and without the places in the code that Deno adds where an import fails. */
export function oneLine(error: unknown): string {
  const message = error instanceof Error ? error.message : String(error);
  return message.replace(/\n\s+at .*/g, "").replace(/\s*\n\s*/g, "; ");
}

/** A line for people, on the standard error; a standard error that is closed must not end the work. */
export function say(text: string): void {
  try {
    Deno.stderr.writeSync(new TextEncoder().encode(text));
  } catch {
    // Nobody listens.
  }
}

/**
 * Which class each sample is to be of, and how strongly.
 *
 * @module
 */

import type { Condition } from "../../denoise/prediction.ts";
import { withTensors } from "../../io/tensors/open.ts";
import { loadDenoiser } from "../../io/weights.ts";
import { useBackend } from "../../tensor/backend/backend.ts";
import { refusal } from "../../tensor/check/check.ts";
import { owned, scope } from "../../tensor/scope.ts";

/** The names of classes, or their numbers. */
export const namesOf = (names: readonly string[] | undefined, count = 0): readonly string[] =>
  names ?? Array.from({ length: count }, (_, i) => `${i}`);

/**
 * Writes the classes of a model to the standard output, a line each: its number and its name.
 *
 * @param path A file that {@link loadDenoiser} reads.
 */
export async function showClasses(path: string): Promise<void> {
  await useBackend("cpu");
  await scope(function* () {
    const { config: { classes, network } } = yield* owned(loadDenoiser(path));
    const names = namesOf(classes, network.classes);
    console.log(names.map((name, i) => `${i} ${name}`).join("\n") || "no classes");
  });
}

/** Whether a list of classes asks for none but that there be none. */
export const isNone = (list: string | undefined): boolean =>
  list !== undefined && list.split(",").every((name) => name.trim().toLowerCase() === "none");

/**
 * One class for each sample: those asked for, in turn.
 *
 * @param list Names or numbers, separated by commas. Default: all.
 * @param count Number of samples.
 * @param names What the classes are called.
 * @returns The condition.
 * @throws {RangeError} If there is no such class.
 */
export function conditionOf(
  list: string | undefined,
  count: number,
  names: readonly string[],
): Condition {
  const wanted = list === undefined
    ? [...names.keys()]
    : list.split(",").map((text) => classOf(text.trim(), names));
  return Array.from({ length: count }, (_, i) => wanted[i % wanted.length] ?? null);
}

function classOf(text: string, names: readonly string[]): number | null {
  if (text.toLowerCase() === "none") return null;
  const byName = names.findIndex((name) => name.toLowerCase() === text.toLowerCase());
  const index = byName >= 0 ? byName : /^\d+$/.test(text) ? Number(text) : -1;
  if (index >= 0 && index < names.length) return index;
  const wanted = names.length === 0
    ? "none, for the model knows no classes"
    : `none, a number in [0, ${names.length - 1}] or one of ${names.join(", ")}`;
  throw new RangeError(`Cannot choose a class: it must be ${wanted}, got ${text || "nothing"}`);
}

/** As much of a plan of training as is read here. */
interface PlannedTarget {
  readonly target?: { readonly nullShare?: unknown };
}

/**
 * Whether a model has learned what images are without a class, which guidance without a classifier leans on.
 *
 * @param path A file that {@link loadDenoiser} has read.
 * @returns False if the file says that no image was ever shown without its class; true if it says nothing of it.
 */
export async function knowsNone(path: string): Promise<boolean> {
  const metadata = await withTensors(path, ({ metadata }) => Promise.resolve(metadata));
  const stored = (text: string | undefined): unknown => {
    try {
      return JSON.parse(text ?? "null");
    } catch {
      return null;
    }
  };
  const meta = Object(stored(metadata["meta"])) as { readonly plan?: unknown };
  const plan = Object(stored(metadata["plan"]) ?? meta.plan) as PlannedTarget;
  return Object(plan.target)["nullShare"] !== 0;
}

/** What guides, and how strongly. */
export interface Strength {
  /** The scale that was asked for. Default: none was. */
  readonly scale?: number | undefined;
  /** The classes of the samples. */
  readonly condition: Condition;
  /** Whether a classifier guides. */
  readonly byClassifier: boolean;
  /** Whether the model knows what is without a class. */
  readonly knowsNone: boolean;
}

/** The scale of guidance where none is given. */
export const usualScale = 2;

/**
 * The scale of guidance.
 *
 * @param strength What was asked for, of what model.
 * @param say Takes a warning, where the samples will lean on what the model has not learned.
 * @returns The scale: the usual one, or 1, the model as it was learned, of one that knows nothing but classes.
 * @throws {RangeError} If a scale is given and nothing guides.
 */
export function scaleOf(
  { scale, condition, byClassifier, knowsNone }: Strength,
  say: (text: string) => void,
): number {
  if (scale !== undefined && condition.every((label) => label === null)) {
    throw refusal("guide", "--scale must be left out, as the model knows no classes", scale);
  }
  const warn = (what: string): void =>
    say(`tweedie: ${what}: the model never saw an image without its class (--null-share 0)\n`);
  if (knowsNone) return scale ?? usualScale;
  if (byClassifier) warn("--classifier asks the model without a class, which it has not learned");
  else if (condition.includes(null)) warn("no class asks for what the model has not learned");
  else if (scale === undefined) warn("scale 1");
  else if (scale !== 1) warn(`--scale ${scale} leans on what the model has not learned`);
  return scale ?? (byClassifier ? usualScale : 1);
}

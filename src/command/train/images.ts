/**
 * Images with classes from wherever `--data` leads: IDX files, CIFAR-10, NumPy's arrays, a folder of pictures.
 *
 * The classes are those that the labels have: their names come from the user, from the folders of the pictures, or are their
 * numbers. Only Fashion-MNIST itself, known by its bytes, brings names of its own.
 *
 * @module
 */

import { sha256 } from "../../data/file/file.ts";
import type { ImageLabels, ImageSet } from "../../data/images.ts";
import type { FitOptions } from "../../data/picture/fit.ts";
import { openImages } from "../../data/read.ts";
import { type PictureSource, skippedWords } from "../../data/sets/folder.ts";
import { unnamable } from "../option.ts";

/** What a run trains on. */
export type TrainImages = ImageSet | PictureSource;

/**
 * What tells one set from another: its shape, images and classes; of a folder of pictures, its files.
 *
 * @param images The images.
 * @returns SHA-256 in hexadecimal.
 */
export async function digestOf(images: TrainImages): Promise<string> {
  if ("digest" in images) return images.digest;
  const { shape, labels } = images, parts = [await sha256(images.images)];
  parts.push(labels ? await sha256(bytesOf(labels)) : "");
  return await sha256(new TextEncoder().encode(JSON.stringify([shape, ...parts])));
}

const bytesOf = ({ buffer, byteOffset, byteLength }: ImageLabels): Uint8Array =>
  new Uint8Array(buffer, byteOffset, byteLength);

/** Pictures of a folder that take no more than this are decoded once and kept: 512 MiB. */
const hold = 2 ** 29;

/** How a training set is read. */
export interface TrainingSetOptions extends FitOptions {
  /** Calls it off. */
  readonly signal?: AbortSignal;
  /** Takes what there is to say of the pictures of a folder. Default: it is not said. */
  readonly say?: (text: string) => void;
}

/**
 * Reads a training set.
 *
 * @param path What `openImages` takes: IDX files, CIFAR-10's, NumPy's, or pictures.
 * @param names Names of the classes: one for each number up to the greatest label, or one for each label that occurs, in
 *   order. Default: those of the folders, the numbers, or the garments of Fashion-MNIST.
 * @param options Size, channels, and how images get them.
 * @returns The images; labels from 0 up, and a name for each, where there are labels.
 * @throws {Error} If nothing is there, with how to get Fashion-MNIST.
 * @throws {SyntaxError} If a file is damaged, or the files do not fit each other.
 * @throws {RangeError} If the names do not fit the labels, or pictures are of several sizes.
 */
export async function trainingSet(
  path: string,
  names?: readonly string[],
  { say, ...options }: TrainingSetOptions = {},
): Promise<TrainImages> {
  const { kind, images } = await openImages(path, { ...options, hold }).catch((error) => {
    throw explained(error);
  });
  const { labels } = images;
  if (names !== undefined && labels === undefined) {
    throw new RangeError(
      `Cannot name the classes: --classes must be left out without labels, got ${names.join(", ")}`,
    );
  }
  if (kind === "pictures" && names === undefined) checkNames(images.classes ?? []);
  const named = labels === undefined
    ? images
    : { ...images, ...classesOf(labels, names ?? images.classes) };
  if ("files" in named) say?.(told(named));
  return named;
}

/** Adds what helps on the command line. */
function explained(error: unknown): unknown {
  if (!(error instanceof Error)) return error;
  const { message } = error;
  if (/must be there, got no such file/.test(message)) {
    return new Error(`${message}${hint}`, { cause: error });
  }
  if (!/size must be given/.test(message)) return error;
  return new RangeError(`${message}; --size 32 makes squares of them, --size 48,64 others`, {
    cause: error,
  });
}

const hint =
  " (`apt install dataset-fashion-mnist` or https://github.com/zalandoresearch/fashion-mnist has " +
  "Fashion-MNIST)";

/** Refuses names of folders that `tweedie sample --class` could not ask for. */
function checkNames(names: readonly string[]): void {
  const wrong = unnamable(names);
  if (wrong === undefined) return;
  throw new RangeError(
    `Cannot name the classes: folders must have names without commas, each of its own whatever its case, and none of ` +
      `them "none", got ${wrong}; --classes names them otherwise`,
  );
}

/** The pictures of a folder, in words. */
function told({ shape: [count, ...sample], classes, skipped }: PictureSource): string {
  const list = classes === undefined
    ? "without classes"
    : `of ${classes.slice(0, 12).join(", ")}${classes.length > 12 ? ", ..." : ""}`;
  const left = skipped.length === 0 ? "" : `; left out: ${skippedWords(skipped)}`;
  return `${count} pictures ${list}, as images of ${sample.join("x")}${left}`;
}

/** Labels from 0 up, and their names. */
function classesOf(
  labels: ImageLabels,
  names: readonly string[] | undefined,
): Required<Pick<ImageSet, "labels" | "classes">> {
  const found = [...new Set(labels)].sort((a, b) => a - b), greatest = found.at(-1) ?? 0;
  if (names !== undefined && names.length > greatest) return { labels, classes: names };
  if (names !== undefined && names.length !== found.length) {
    const list = found.length > 12 ? [...found.slice(0, 12), "..."] : found;
    throw new RangeError(
      `Cannot name the classes: --classes must be ${found.length} names, for the labels ${
        list.join(", ")
      }, got ${names.length}: ${names.join(", ")}`,
    );
  }
  const index = new Map(found.map((label, i) => [label, i]));
  return {
    labels: labels.map((label) => index.get(label)!),
    classes: names ?? found.map(String),
  };
}

/**
 * Images with classes from a folder of IDX files.
 *
 * The classes are those that the labels have: their names come from the user, or are their numbers. Only Fashion-MNIST
 * itself, known by its bytes, brings names of its own.
 *
 * @module
 */

import type { ImageSet } from "../../data/images.ts";
import { idxImages } from "../../data/sets/mnist.ts";

/** SHA-256 in hexadecimal. */
export async function sha256(bytes: Uint8Array): Promise<string> {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", bytes as Uint8Array<ArrayBuffer>))
    .toHex();
}

/**
 * What tells one set from another: its shape, images and classes.
 *
 * @param set The set.
 * @returns SHA-256 in hexadecimal.
 */
export async function digestOf({ images, shape, labels }: ImageSet): Promise<string> {
  const parts = [await sha256(images), labels ? await sha256(labels) : ""];
  return await sha256(new TextEncoder().encode(JSON.stringify([shape, ...parts])));
}

/**
 * Reads a training set.
 *
 * @param folder Where `train-images-idx3-ubyte` and `train-labels-idx1-ubyte` are, gzipped (`.gz`) or not.
 * @param names Names of the classes: one for each number up to the greatest label, or one for each label that occurs, in
 *   order. Default: the numbers, or the garments of Fashion-MNIST.
 * @returns The images, labels from 0 up, and a name for each.
 * @throws {Error} If a file is not there, with how to get Fashion-MNIST.
 * @throws {SyntaxError} If a file is damaged, or the two do not fit each other.
 * @throws {RangeError} If the names do not fit the labels.
 */
export async function trainingSet(folder: string, names?: readonly string[]): Promise<ImageSet> {
  const set = await idxImages(folder).catch((error) => {
    throw isAbsence(error) ? new Error(`${error.message}${hint}`, { cause: error }) : error;
  });
  if (set.labels !== undefined) return { ...set, ...classesOf(set.labels, names ?? set.classes) };
  throw new Error(
    `Cannot read images: labels must be there, got none in ${folder} (train-labels-idx1-ubyte, .gz or not)`,
  );
}

const hint =
  " (`apt install dataset-fashion-mnist` or https://github.com/zalandoresearch/fashion-mnist has " +
  "Fashion-MNIST)";

const isAbsence = (error: unknown): error is Error =>
  error instanceof Error && /must be there/.test(error.message);

/** Labels from 0 up, and their names. */
function classesOf(
  labels: Uint8Array,
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

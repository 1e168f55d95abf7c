/**
 * Images with classes from a folder of IDX files.
 *
 * The classes are those that the labels have: their names come from the user, or are their numbers. Only Fashion-MNIST
 * itself, known by its bytes, brings names of its own.
 *
 * @module
 */

import { type IdxArray, type ImageSet, readIdx } from "../../train/data.ts";

/** Names of the classes of Fashion-MNIST, and what its training set is known by: SHA-256 of labels and of images. */
const fashion = {
  shape: [60000, 28, 28],
  digests: [
    "657fbd221bfc9f4198cc14b5619cc33ec57c58dd0e47af4d99d6650759e869a7",
    "2e487a6c89124f78f2d7521542223cafe96f7123c3ca13d447772ac6ecbb3012",
  ],
  names: [
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
  ],
} as const;

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
  const [images, labels] = await Promise.all([
    readEither(`${folder}/train-images-idx3-ubyte`),
    readEither(`${folder}/train-labels-idx1-ubyte`),
  ]);
  const [n, height, width] = images.shape as [number, number, number];
  if (images.shape.length !== 3) {
    throw unfit(folder, "rank of the images", "3", images.shape.length);
  }
  if (`${labels.shape}` !== `${n}`) {
    throw unfit(folder, "shape of the labels", `[${n}]`, `[${labels.shape}]`);
  }
  const classes = classesOf(labels.data, names ?? await ownNames(images, labels));
  return { images: images.data, shape: [n, height, width, 1], ...classes };
}

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

/** The names of Fashion-MNIST, if that is what these are. */
async function ownNames(
  images: IdxArray,
  labels: IdxArray,
): Promise<readonly string[] | undefined> {
  if (`${images.shape}` !== `${fashion.shape}`) return undefined;
  const [ofLabels, ofImages] = fashion.digests;
  const same = await sha256(labels.data) === ofLabels && await sha256(images.data) === ofImages;
  return same ? fashion.names : undefined;
}

/** An IDX file by its name without `.gz`, compressed or not; where both are there, the compressed one. */
async function readEither(path: string): Promise<IdxArray> {
  let missing: unknown;
  for (const file of [`${path}.gz`, path]) {
    try {
      return await readIdx(file);
    } catch (cause) {
      const absent = cause instanceof Deno.errors.NotFound ||
        cause instanceof Deno.errors.NotADirectory;
      if (!absent) throw cause;
      missing = cause;
    }
  }
  throw new Error(
    `Cannot read images: ${path} or ${path}.gz must be there, got no such file (` +
      "`apt install dataset-fashion-mnist` or https://github.com/zalandoresearch/fashion-mnist has Fashion-MNIST)",
    { cause: missing },
  );
}

const unfit = (folder: string, what: string, wanted: string, got: unknown): SyntaxError =>
  new SyntaxError(`Cannot read images: ${what} must be ${wanted}, got ${got}, in ${folder}`);

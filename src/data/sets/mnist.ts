/**
 * Sets of images in IDX files, as MNIST and its successors are published: Fashion-MNIST, and any other.
 *
 * Sources: H. Xiao, K. Rasul, R. Vollgraf, "Fashion-MNIST: a novel image dataset for benchmarking machine learning
 * algorithms" (2017), table 1 (class names).
 *
 * @module
 */

import { isDeno } from "../../tensor/backend/runtime.ts";
import { refusal } from "../../tensor/check/check.ts";
import { decoded, is, oneOf, type Rules, whole } from "../../tensor/check/decode.ts";
import { type IdxArray, readIdx } from "../file/idx.ts";
import type { ImageSet } from "../images.ts";

/**
 * Which half of a set: that to train on, or that to test with.
 *
 * @category Data
 */
export type Split = "train" | "test";

/**
 * Options of {@link idxImages}.
 *
 * @category Data
 */
export interface IdxImagesOptions {
  /** Which half, the files `train-…` or the files `t10k-…`. Default: `"train"`. */
  readonly split?: Split;
  /**
   * The names of the classes, or how many there are. Default: the names of Fashion-MNIST's where the labels are that
   * set's, and otherwise as many as the labels reach, without names.
   */
  readonly classes?: readonly string[] | number;
}

const splits = oneOf("train", "test");

/** How the files of each half begin. */
const stems: Readonly<Record<Split, string>> = { train: "train", test: "t10k" };

const fashionClasses = [
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
] as const;

/** Sizes and SHA-256 of Fashion-MNIST's labels, by which the set is known. */
const fashion: Readonly<Record<Split, { readonly count: number; readonly digest: string }>> = {
  train: {
    count: 60000,
    digest: "657fbd221bfc9f4198cc14b5619cc33ec57c58dd0e47af4d99d6650759e869a7",
  },
  test: {
    count: 10000,
    digest: "3d0e6c6ea990b53b6f8f500a41cac93881d981b315f84578b7d915342ade01e9",
  },
};

/** Whether a set's labels are those of Fashion-MNIST, to the last. */
async function isFashion(labels: Uint8Array, split: Split): Promise<boolean> {
  const { count, digest } = fashion[split];
  if (labels.length !== count) return false;
  const hash = await crypto.subtle.digest("SHA-256", new Uint8Array(labels));
  const hex = [...new Uint8Array(hash)].map((byte) => byte.toString(16).padStart(2, "0"));
  return hex.join("") === digest;
}

const imagesRules: Rules<IdxImagesOptions> = {
  split: splits,
  classes: is("different names, or a whole number of at least 1", areClasses),
};

/**
 * A set of grey images and, if they are there, their labels, from IDX files of the names that MNIST has given them:
 * `train-images-idx3-ubyte`, `train-labels-idx1-ubyte`, and `t10k-…` to test with, gzipped (`.gz`) or not.
 *
 * @category Data
 * @param folder Where the files are.
 * @param options Which half; the names or the number of the classes.
 * @returns Images [N, H, W, 1], with labels where there is such a file.
 * @throws {Error} If the file of the images is not there.
 * @throws {SyntaxError} If the files are damaged or do not fit each other, or a label is none of the classes.
 * @throws {TypeError | RangeError} If an option is not known or out of its range; classes without labels are refused.
 *
 * @example A set of two classes, which are named here
 * ```ts
 * import { classesOf } from "@tweedie/tweedie/data";
 * import { idxImages } from "@tweedie/tweedie";
 * import assert from "node:assert/strict";
 *
 * const folder = await Deno.makeTempDir();
 * const two = [0, 0, 0, 2], one = [0, 0, 0, 1];
 * await Deno.writeFile(`${folder}/train-images-idx3-ubyte`, new Uint8Array([0, 0, 8, 3, ...two, ...one, ...one, 7, 255]));
 * await Deno.writeFile(`${folder}/train-labels-idx1-ubyte`, new Uint8Array([0, 0, 8, 1, ...two, 1, 0]));
 * assert.deepEqual(classesOf(await idxImages(folder)), { count: 2 });
 * const { classes, labels } = await idxImages(folder, { classes: ["cat", "dog"] });
 * assert.equal(classes![labels![0]!], "dog");
 * await Deno.remove(folder, { recursive: true });
 * ```
 */
export async function idxImages(
  folder: string,
  options: IdxImagesOptions = {},
): Promise<ImageSet> {
  const action = "read images";
  const { split = "train", classes } = decoded(action, options, imagesRules);
  const place = { action, folder }, { images, labels } = await halfOf(folder, split);
  if (isAbsent(images)) throw absence(images, action);
  if (!isAbsent(labels)) {
    const set = together(images, labels, place);
    const known = classes ?? (await isFashion(labels.data, split) ? fashionClasses : undefined);
    return withClasses(set, known, place);
  }
  if (classes === undefined) return together(images, undefined, place);
  throw refusal(action, `classes must be left out, as ${labels.path} is not there`, classes);
}

/** Different names, or their number. */
function areClasses(classes: unknown): boolean {
  if (!Array.isArray(classes)) return whole(1)(classes);
  const areNames = classes.length > 0 && classes.every((name) => typeof name === "string");
  return areNames && new Set(classes).size === classes.length;
}

/** What a fault is a fault of. */
interface Place {
  readonly action: string;
  readonly folder: string;
}

const unfit = ({ action, folder }: Place, what: string, wanted: unknown, got: unknown) =>
  new SyntaxError(`Cannot ${action}: ${what} must be ${wanted}, got ${got}, in ${folder}`);

/** The set with its classes, of which its labels must be. */
function withClasses(
  set: ImageSet,
  classes: IdxImagesOptions["classes"],
  place: Place,
): ImageSet {
  if (classes === undefined) return set;
  const count = typeof classes === "number" ? classes : classes.length;
  const wrong = set.labels?.find((label) => label >= count);
  if (wrong !== undefined) throw unfit(place, "labels", `0 to ${count - 1}`, wrong);
  return { ...set, ...(typeof classes === "number" ? { classCount: classes } : { classes }) };
}

/**
 * Fashion-MNIST: 28x28 grey images of ten kinds of clothes. Other sets in the same files are {@link idxImages}' to read.
 *
 * @category Data
 * @param folder Where the four files are, gzipped (`.gz`) or not. Default: where Debian's package
 * `dataset-fashion-mnist` puts them.
 * @param split Which half. Default: `"train"`.
 * @returns Images [60000, 28, 28, 1] or [10000, 28, 28, 1], labels and class names.
 * @throws {Error} If the files are not there, with how to get them.
 * @throws {SyntaxError} If they are damaged, or do not fit each other; if they are as many images as Fashion-MNIST's, and
 * others, such as MNIST's.
 * @throws {RangeError} If `split` is neither half.
 *
 * @example
 * ```ts ignore
 * import { fashionMnist } from "@tweedie/tweedie";
 *
 * const { classes, labels } = await fashionMnist();
 * console.log(classes![labels![0]!]); // Ankle boot
 * ```
 */
export async function fashionMnist(
  folder: string = "/usr/share/datasets/fashion-mnist",
  split: Split = "train",
): Promise<ImageSet> {
  const action = "read Fashion-MNIST", place = { action, folder };
  decoded(action, { split }, { split: splits });
  const { images, labels } = await halfOf(folder, split);
  if (isAbsent(images)) throw absence(images, action, advice);
  if (isAbsent(labels)) throw absence(labels, action, advice);
  const set = withClasses(together(images, labels, place), fashionClasses, place);
  if (set.shape[0] === fashion[split].count && !await isFashion(labels.data, split)) {
    throw unfit(place, "labels", "Fashion-MNIST's, as idxImages reads other sets", "others");
  }
  return set;
}

const advice =
  " (`apt install dataset-fashion-mnist` or https://github.com/zalandoresearch/fashion-mnist has it)";

/** A file that is not there. */
interface Absent {
  /** Its path, without `.gz`. */
  readonly path: string;
  /** The system's error. */
  readonly cause: unknown;
}

type Found = IdxArray | Absent;

const isAbsent = (found: Found): found is Absent => "cause" in found;

const absence = ({ path, cause }: Absent, action: string, hint = ""): Error =>
  new Error(
    `Cannot ${action}: ${path} or ${path}.gz must be there, got no such file${hint}`,
    { cause },
  );

/** The two files of a half of a set. */
async function halfOf(
  folder: string,
  split: Split,
): Promise<{ readonly images: Found; readonly labels: Found }> {
  const stem = `${folder}/${stems[split]}`;
  const [images, labels] = await Promise.all([
    readEither(`${stem}-images-idx3-ubyte`),
    readEither(`${stem}-labels-idx1-ubyte`),
  ]);
  return { images, labels };
}

/** An IDX file by its name without `.gz`, compressed or not; where both are there, the compressed one. */
async function readEither(path: string): Promise<Found> {
  let missing: unknown;
  for (const file of [`${path}.gz`, path]) {
    try {
      return await readIdx(file);
    } catch (cause) {
      if (!isMissing(cause)) throw cause;
      missing = cause;
    }
  }
  return { path, cause: missing };
}

const isMissing = (error: unknown): boolean =>
  isDeno() &&
  (error instanceof Deno.errors.NotFound || error instanceof Deno.errors.NotADirectory);

/** Images, and the labels that go with them. */
function together(images: IdxArray, labels: IdxArray | undefined, place: Place): ImageSet {
  const [n, h, w] = images.shape as [number, number, number];
  if (images.shape.length !== 3) throw unfit(place, "rank of the images", 3, images.shape.length);
  const set: ImageSet = { images: images.data, shape: [n, h, w, 1] };
  if (labels === undefined) return set;
  if (`${labels.shape}` !== `${n}`) {
    throw unfit(place, "shape of the labels", `[${n}]`, `[${labels.shape}]`);
  }
  return { ...set, labels: labels.data };
}

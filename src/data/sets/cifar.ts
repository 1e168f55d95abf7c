/**
 * The binary files of CIFAR-10: records of a class and 32x32 pixels in three planes.
 *
 * Source: A. Krizhevsky, "Learning multiple layers of features from tiny images" (2009), and the description of the binary
 * version at https://www.cs.toronto.edu/~kriz/cifar.html.
 *
 * @module
 */

import { decoded, oneOf, type Rules } from "../../tensor/check/decode.ts";
import { entriesOf, type OpenFile, room, withFile } from "../file/file.ts";
import type { ImageSet } from "../images.ts";
import type { Split } from "./mnist.ts";

/**
 * Options of {@link cifarImages}.
 *
 * @category Data
 */
export interface CifarOptions {
  /** Which half of a folder, the files `data_batch_….bin` or the file `test_batch.bin`. Default: `"train"`. */
  readonly split?: Split;
}

const cifarOptions: Rules<CifarOptions> = { split: oneOf("train", "test") };

const action = "read CIFAR-10", side = 32, plane = side * side;

/** Bytes of an image with its class. */
const record = 1 + 3 * plane;

/** The names of the files of each half. */
export const cifarNames: Readonly<Record<Split, RegExp>> = {
  train: /^data_batch_\d+\.bin$/,
  test: /^test_batch\.bin$/,
};

/**
 * Images and classes of CIFAR-10, from its binary files.
 *
 * @category Data
 * @param path The folder of the files, or one file of records.
 * @param options Which half of a folder.
 * @returns Images [N, 32, 32, 3] with labels, the files of a folder in the order of their names; the names of the ten classes,
 * where `batches.meta.txt` is beside them.
 * @throws {Error} If there are no such files.
 * @throws {SyntaxError} If a file is not of whole records, or a label is none of the classes.
 * @throws {RangeError} If there is no room in memory.
 * @throws {TypeError} If an option is not known.
 *
 * @example A file of one record
 * ```ts
 * import { cifarImages } from "@tweedie/tweedie/data";
 * import assert from "node:assert/strict";
 *
 * const path = await Deno.makeTempFile({ suffix: ".bin" });
 * await Deno.writeFile(path, new Uint8Array([7, ...Array(1024).fill(1), ...Array(1024).fill(2), ...Array(1024).fill(3)]));
 * const { images, shape, labels } = await cifarImages(path);
 * assert.deepEqual([shape, [...labels!], [...images.subarray(0, 4)]], [[1, 32, 32, 3], [7], [1, 2, 3, 1]]);
 * await Deno.remove(path);
 * ```
 */
export async function cifarImages(path: string, options: CifarOptions = {}): Promise<ImageSet> {
  const { split = "train" } = decoded(action, options, cifarOptions);
  const entries = await entriesOf(path);
  const paths = entries?.filter(({ name, kind }) => kind === "file" && cifarNames[split].test(name))
    .map(({ name }) => `${path}/${name}`) ?? [path];
  if (paths.length === 0) {
    const wanted = split === "train" ? "data_batch_1.bin and so on" : "test_batch.bin";
    throw new Error(`Cannot ${action}: ${wanted} must be there, got no such file in ${path}`);
  }
  const counts: number[] = [];
  for (const each of paths) counts.push(await withFile(each, (file) => countOf(file, each)));
  const count = counts.reduce((a, b) => a + b, 0), labels = new Uint8Array(count);
  const images = room(action, "the images", count * 3 * plane);
  let done = 0;
  for (const [i, each] of paths.entries()) {
    await withFile(each, (file) => read(file, counts[i]!, { images, labels, first: done }));
    done += counts[i]!;
  }
  const classes = await namesBeside(entries ? path : path.replace(/[^/\\]*$/, "") || ".");
  const known = classes?.length ?? 10, wrong = labels.find((label) => label >= known);
  if (wrong !== undefined) throw unfit("labels", `0 to ${known - 1}`, wrong, path);
  const shape = [count, side, side, 3] as const;
  return { images, shape, labels, ...(classes ? { classes } : { classCount: 10 }) };
}

const unfit = (what: string, wanted: string, got: unknown, path: string): SyntaxError =>
  new SyntaxError(`Cannot ${action}: ${what} must be ${wanted}, got ${got}, in ${path}`);

function countOf({ size }: OpenFile, path: string): Promise<number> {
  if (size > 0 && size % record === 0) return Promise.resolve(size / record);
  throw unfit("size", `a multiple of ${record} bytes`, size, path);
}

/** Records that are read at a time. */
const few = 256;

/** Reads the records of a file: planes become channels. */
async function read(
  file: OpenFile,
  count: number,
  { images, labels, first }: {
    readonly images: Uint8Array;
    readonly labels: Uint8Array;
    readonly first: number;
  },
): Promise<void> {
  for (let from = 0; from < count; from += few) {
    const records = Math.min(few, count - from);
    const bytes = await file.fill(new Uint8Array(records * record), from * record);
    for (let i = 0; i < records; i++) {
      const at = i * record, to = first + from + i;
      labels[to] = bytes[at]!;
      for (let p = 0; p < plane; p++) {
        for (let c = 0; c < 3; c++) {
          images[(to * plane + p) * 3 + c] = bytes[at + 1 + c * plane + p]!;
        }
      }
    }
  }
}

/** The names in `batches.meta.txt`, one a line, where it is there. */
async function namesBeside(folder: string): Promise<readonly string[] | undefined> {
  const name = "batches.meta.txt", entries = await entriesOf(folder);
  if (!entries?.some((entry) => entry.name === name && entry.kind === "file")) return undefined;
  const path = `${folder}/${name}`, most = 65536;
  const text = await withFile(path, async (file) => {
    if (file.size > most) throw unfit("size", `at most ${most} bytes`, file.size, path);
    return new TextDecoder().decode(await file.fill(new Uint8Array(file.size), 0));
  });
  const names = text.split("\n").map((line) => line.trim()).filter((line) => line !== "");
  return names.length > 0 ? names : undefined;
}

/**
 * Sets of images in NumPy's files: arrays in an archive, `.npz`, or in files of their own, `.npy`.
 *
 * Source: NumPy documentation, "numpy.savez" and "numpy.lib.format".
 *
 * @module
 */

import { entriesOf, room, withFile } from "../file/file.ts";
import { decodeNpy, type NpyArray, readNpy } from "../file/npy.ts";
import { zipBytes, zipEntries, type ZipEntry } from "../file/zip.ts";
import type { ImageLabels, ImageSet } from "../images.ts";

const action = "read images";

/** What arrays of images and of labels are called, the likeliest first. */
const imageNames = ["images", "x_train", "train_images", "x", "data"];
const labelNames = ["labels", "y_train", "train_labels", "y", "targets"];

/**
 * Images of a file of NumPy's, and their labels if they are there.
 *
 * In an `.npz` the images are the array called `images`, `x_train`, `train_images`, `x` or `data`, or the only one that is not
 * called like labels: `labels`, `y_train`, `train_labels`, `y` or `targets`. Beside `name.npy` the labels are
 * `name-labels.npy`, `name_labels.npy` or `labels.npy`.
 *
 * Images are [N, H, W] or [N, H, W, C] with C 1 or 3: whole numbers from 0 to 255; truth values, which become 0 and 255; or
 * floats, in [0, 1] or, where any is negative, in [−1, 1], which are rounded to the nearest of 256 values. Labels are whole
 * numbers [N] or [N, 1].
 *
 * @category Data
 * @param path The `.npz` or `.npy` file.
 * @returns Images [N, H, W, C], with labels where there are any.
 * @throws {SyntaxError} If a file is damaged, or its arrays are not such.
 * @throws {RangeError} If there is no room in memory.
 * @throws {Error} If the file is not there, or has no array of images.
 *
 * @example
 * ```ts
 * import { numpyImages } from "@tweedie/tweedie/data";
 * import assert from "node:assert/strict";
 *
 * // numpy.save(path, numpy.array([[[0, 255]]], numpy.uint8))
 * const header = "{'descr': '|u1', 'fortran_order': False, 'shape': (1, 1, 2), }".padEnd(117) + "\\n";
 * const path = await Deno.makeTempFile({ suffix: ".npy" });
 * await Deno.writeFile(path, new Uint8Array([
 *   ...[0x93, ..."NUMPY"].map((letter) => typeof letter === "number" ? letter : letter.charCodeAt(0)),
 *   ...[1, 0, header.length, 0, ...new TextEncoder().encode(header), 0, 255],
 * ]));
 * assert.deepEqual(await numpyImages(path), { images: new Uint8Array([0, 255]), shape: [1, 1, 2, 1] });
 * await Deno.remove(path);
 * ```
 */
export async function numpyImages(path: string): Promise<ImageSet> {
  const { images, labels } = await (/\.npz$/i.test(path) ? archived(path) : beside(path));
  const set = imagesOf(images, path);
  return labels === undefined ? set : { ...set, labels: labelsOf(labels, set.shape[0], path) };
}

/** Whether a file is called like the labels of another. */
export const isLabelsFile = (name: string): boolean => /(^|[-_])labels\.npy$/i.test(name);

interface Arrays {
  readonly images: NpyArray;
  readonly labels?: NpyArray;
}

async function archived(path: string): Promise<Arrays> {
  try {
    return await withFile(path, async (file) => {
      const entries = await zipEntries(file);
      const read = async (entry: ZipEntry): Promise<NpyArray> =>
        decodeNpy(await zipBytes(file, entry));
      const [images, labels] = chosen(entries, path);
      return { images: await read(images), ...(labels && { labels: await read(labels) }) };
    });
  } catch (cause) {
    if (!(cause instanceof SyntaxError)) throw cause;
    throw new SyntaxError(`${cause.message}, in ${path}`, { cause });
  }
}

/** Which arrays are the images and the labels. */
function chosen(
  entries: readonly ZipEntry[],
  path: string,
): readonly [images: ZipEntry, labels: ZipEntry | undefined] {
  const stem = ({ name }: ZipEntry): string => name.replace(/\.npy$/, "");
  const called = (names: readonly string[]): ZipEntry | undefined =>
    names.map((name) => entries.find((entry) => stem(entry) === name)).find((entry) => entry);
  const others = entries.filter((entry) => !labelNames.includes(stem(entry)));
  const images = called(imageNames) ?? (others.length === 1 ? others[0] : undefined);
  if (images !== undefined) return [images, called(labelNames)];
  throw new Error(
    `Cannot ${action}: one array must be called ${imageNames.slice(0, -1).join(", ")} or ${
      imageNames.at(-1)
    }, got ${entries.map(stem).slice(0, 12).join(", ") || "none"} in ${path}`,
  );
}

async function beside(path: string): Promise<Arrays> {
  const images = await readNpy(path), [, folder, stem] = /^(.*[/\\])?(.*?)(?:\.npy)?$/i.exec(path)!;
  const entries = await entriesOf(folder || ".");
  const name = [`${stem}-labels.npy`, `${stem}_labels.npy`, "labels.npy"].find((name) =>
    entries?.some((entry) => entry.name === name && entry.kind === "file")
  );
  return name === undefined
    ? { images }
    : { images, labels: await readNpy(`${folder ?? ""}${name}`) };
}

const unfit = (what: string, wanted: string, got: unknown, path: string): SyntaxError =>
  new SyntaxError(`Cannot ${action}: ${what} must be ${wanted}, got ${got}, in ${path}`);

function imagesOf({ shape, dtype, data }: NpyArray, path: string): ImageSet {
  const [n = 0, h = 0, w = 0, c = 1] = shape, isOf = [3, 4].includes(shape.length);
  if (!isOf || n * h * w === 0 || (c !== 1 && c !== 3)) {
    throw unfit(
      "the images",
      "of shape [N, H, W] or [N, H, W, C] with C 1 or 3",
      `[${shape.join(", ")}]`,
      path,
    );
  }
  return { images: bytesOf(data, dtype, path), shape: [n, h, w, c] };
}

/** Pixels from 0 to 255. */
function bytesOf(data: NpyArray["data"], dtype: string, path: string): Uint8Array {
  if (dtype === "u1") return data as Uint8Array;
  const out = room(action, "the images", data.length), isFloat = dtype.startsWith("f");
  let least = 0, greatest = 0;
  for (let i = 0; i < data.length; i++) {
    const value = Number(data[i]);
    if (Number.isNaN(value)) throw unfit("pixels", "numbers", "NaN", path);
    if (value < least) least = value;
    if (value > greatest) greatest = value;
  }
  const most = isFloat || dtype === "b1" ? 1 : 255, from = isFloat && least < 0 ? -1 : 0;
  if (least < from || greatest > most) {
    const wanted = isFloat ? "floats in [0, 1] or in [-1, 1]" : `whole numbers in [0, ${most}]`;
    throw unfit("pixels", wanted, least < from ? least : greatest, path);
  }
  for (let i = 0; i < data.length; i++) {
    out[i] = Math.round((Number(data[i]) - from) * (255 / (most - from)));
  }
  return out;
}

function labelsOf({ shape, dtype, data }: NpyArray, count: number, path: string): ImageLabels {
  const fits = shape[0] === count && (shape.length === 1 || (shape.length === 2 && shape[1] === 1));
  if (!fits) throw unfit("the labels", `of shape [${count}]`, `[${shape.join(", ")}]`, path);
  if (dtype.startsWith("f")) throw unfit("labels", "whole numbers", `floats, ${dtype}`, path);
  const numbers = Array.from(data, Number);
  const wrong = numbers.find((label) => label < 0 || label > 65535);
  if (wrong !== undefined) throw unfit("labels", "whole numbers in [0, 65535]", wrong, path);
  return numbers.some((label) => label > 255)
    ? Uint16Array.from(numbers)
    : Uint8Array.from(numbers);
}

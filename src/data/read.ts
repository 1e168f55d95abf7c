/**
 * Images by a path: what lies there says how it is read.
 *
 * @module
 */

import { decoded } from "../tensor/check/decode.ts";
import { entriesOf, isFile, withFile } from "./file/file.ts";
import type { ImageSet } from "./images.ts";
import { fitted } from "./picture/fit.ts";
import { cifarImages, cifarNames } from "./sets/cifar.ts";
import {
  pictures,
  type PicturesOptions,
  type PictureSource,
  picturesRules,
} from "./sets/folder.ts";
import { idxImages } from "./sets/mnist.ts";
import { isLabelsFile, numpyImages } from "./sets/numpy.ts";

/**
 * Options of {@link openImages}.
 *
 * @category Data
 */
export type OpenImagesOptions = PicturesOptions;

/**
 * Images by their path, and where they are.
 *
 * @category Data
 */
export interface OpenedImages {
  /** All of them, in memory; or, of a folder of pictures, decoded as they are asked for. */
  readonly images: ImageSet | PictureSource;
  /** What they are. */
  readonly kind: "idx" | "cifar" | "numpy" | "pictures";
}

const action = "read images";

/**
 * Opens images for training by what lies at a path:
 *
 * - a folder of `train-images-idx3-ubyte`, `.gz` or not: {@link idxImages};
 * - a folder of `data_batch_….bin`, or such a file: {@link cifarImages};
 * - an `.npz` or `.npy` file, or a folder of one: {@link numpyImages};
 * - a folder of PNG and JPEG files, or of folders of them: {@link pictures}.
 *
 * @category Data
 * @param path A folder or a file.
 * @param options Size, channels, and how images get them, whatever they are; how many bytes of pictures may be held.
 * @returns The images, and what they are.
 * @throws {Error} If nothing of that is there, or more than one, with what was looked for.
 * @throws What the reader of the kind throws, and {@link fitted}.
 *
 * @example
 * ```ts
 * import { openImages, png } from "@tweedie/tweedie";
 * import assert from "node:assert/strict";
 *
 * const folder = await Deno.makeTempDir();
 * await Deno.writeFile(`${folder}/a.png`, png({ width: 2, height: 1, channels: 1, data: new Uint8Array([3, 5]) }));
 * const { kind, images } = await openImages(folder, { size: [1, 1] });
 * assert.deepEqual([kind, images.shape], ["pictures", [1, 1, 1, 1]]);
 * await Deno.remove(folder, { recursive: true });
 * ```
 */
export async function openImages(
  path: string,
  options: OpenImagesOptions = {},
): Promise<OpenedImages> {
  decoded(action, options, picturesRules);
  const { hold: _hold, signal: _signal, ...fit } = options, kinds = await kindsOf(path);
  const [found] = kinds;
  if (found === undefined) {
    throw new Error(
      `Cannot ${action}: train-images-idx3-ubyte (.gz or not), data_batch_1.bin, one .npz or .npy file, or PNG or JPEG ` +
        `files, right there or in a folder for each class, must be there, got no such file at ${path}`,
    );
  }
  if (kinds.length > 1) {
    throw new Error(
      `Cannot ${action}: ${path} must hold images of one kind, got ${
        kinds.map(({ what }) => what).join(" and ")
      }`,
    );
  }
  const { kind, at } = found;
  if (kind === "pictures") return { kind, images: await pictures(at, options) };
  const read = { idx: idxImages, cifar: cifarImages, numpy: numpyImages }[kind];
  return { kind, images: fitted(await read(at), fit) };
}

/** What was found: its kind, in words, and where. */
interface Kind {
  readonly kind: OpenedImages["kind"];
  readonly what: string;
  readonly at: string;
}

async function kindsOf(path: string): Promise<Kind[]> {
  // Before the folder is listed, so that no permission is asked for but for these.
  const idx = "train-images-idx3-ubyte", kinds: Kind[] = [];
  for (const name of [`${idx}.gz`, idx]) {
    if (kinds.length === 0 && await isFile(`${path}/${name}`)) {
      kinds.push({ kind: "idx", what: name, at: path });
    }
  }
  if (await isFile(path)) return await kindOfFile(path);
  const entries = (await entriesOf(path) ?? []).filter(({ name }) => !name.startsWith("."));
  const files = entries.filter(({ kind }) => kind === "file").map(({ name }) => name);
  const batch = files.find((name) => cifarNames.train.test(name));
  if (batch !== undefined) kinds.push({ kind: "cifar", what: batch, at: path });
  const arrays = files.filter((name) => /\.np[yz]$/i.test(name) && !isLabelsFile(name));
  for (const name of arrays) kinds.push({ kind: "numpy", what: name, at: `${path}/${name}` });
  const isPicture = (name: string): boolean => /\.(png|jpe?g)$/i.test(name);
  const picture = files.find(isPicture) ?? await pictureWithin(path, entries, isPicture);
  if (picture !== undefined) kinds.push({ kind: "pictures", what: picture, at: path });
  return kinds;
}

/** The first picture of the sub-folders. */
async function pictureWithin(
  path: string,
  entries: readonly { readonly name: string; readonly kind: string }[],
  isPicture: (name: string) => boolean,
): Promise<string | undefined> {
  for (const { name: folder, kind } of entries) {
    if (kind !== "folder") continue;
    const inside = await entriesOf(`${path}/${folder}`) ?? [];
    const found = inside.find(({ name }) => !name.startsWith(".") && isPicture(name));
    if (found !== undefined) return `${folder}/${found.name}`;
  }
  return undefined;
}

/** What a file is by its first bytes, or by its name and size. */
async function kindOfFile(path: string): Promise<Kind[]> {
  const { head, size } = await withFile(path, async (file) => ({
    head: await file.fill(new Uint8Array(Math.min(6, file.size)), 0),
    size: file.size,
  }));
  const text = String.fromCharCode(...head);
  const isArchive = text.startsWith("PK") && /\.npz$/i.test(path);
  if (isArchive || text === "\x93NUMPY") return [{ kind: "numpy", what: path, at: path }];
  const isCifar = /\.bin$/i.test(path) && size > 0 && size % 3073 === 0;
  return isCifar ? [{ kind: "cifar", what: path, at: path }] : [];
}

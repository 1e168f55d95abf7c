/**
 * Folders of PNG and JPEG files: images that are decoded as they are asked for.
 *
 * A folder is looked through once, when it is opened: the header of each file first, then each file whole, one at a time.
 * That says which are damaged, and gives the digest of them all; nothing stays in memory but names and classes, unless the
 * images are small enough together to be held.
 *
 * @module
 */

import { decoded, is, type Rules } from "../../tensor/check/decode.ts";
import { entriesOf, type OpenFile, room, sha256, withFile } from "../file/file.ts";
import type { ImageSource } from "../images.ts";
import { decodePicture } from "../picture/decode.ts";
import { fitInto, type FitOptions, fitRules, type ImageFit } from "../picture/fit.ts";
import { headerSizes, PictureFault, type PictureHeader, pictureHeader } from "../picture/header.ts";

/**
 * Options of {@link pictures}.
 *
 * @category Data
 */
export interface PicturesOptions extends FitOptions {
  /** The images are kept in memory if they have at most so many bytes together. Default: 0, they are decoded at each use. */
  readonly hold?: number;
  /** Calls the opening off. */
  readonly signal?: AbortSignal;
}

/** The rules of all options of {@link pictures}. */
export const picturesRules: Rules<PicturesOptions> = {
  ...fitRules,
  hold: is("a number of bytes of at least 0", (value) => value >= 0),
  signal: true,
};

/**
 * A file that is no image of a source, and why.
 *
 * @category Data
 */
export interface SkippedFile {
  /** Its path, from the folder. */
  readonly path: string;
  /** What it must be and is not. */
  readonly reason: string;
}

/**
 * Images out of the files of a folder.
 *
 * @category Data
 */
export interface PictureSource extends ImageSource {
  /** The file of each image, its path from the folder. */
  readonly files: readonly string[];
  /** Files that were left out. */
  readonly skipped: readonly SkippedFile[];
  /** SHA-256 of names, sizes and bytes of the files, and of what is made of them. */
  readonly digest: string;
}

const action = "read pictures";

/**
 * Opens a folder of PNG and JPEG files as images of one size. Its sub-folders are the classes, in the order of their names
 * (that of their code units); a folder without sub-folders has none.
 *
 * Pictures may be grey or in colour, of 8 or 16 bits, of any size; what is transparent is on black. Names that begin with a
 * dot, and files that are no pictures by their names, are passed over; damaged pictures are left out and listed.
 *
 * @category Data
 * @param folder The folder.
 * @param options Size, channels and how pictures get them; how much may be held in memory.
 * @returns The images, in the order of classes and names, for {@link batches}; or all at once by {@link inMemory}.
 * @throws {TypeError} If an option is not known.
 * @throws {RangeError} If an option is out of range, or the pictures are of several sizes and none is given.
 * @throws {Error} If none is whole, with the names of the first few and why; if a class has none; if pictures lie both in the
 * folder and in sub-folders, or in folders in these; later, if a file is not any more what it was.
 *
 * @example Two classes, of a picture each
 * ```ts
 * import { batches, key, pictures, png } from "@tweedie/tweedie";
 * import assert from "node:assert/strict";
 *
 * const folder = await Deno.makeTempDir();
 * const grey = (level: number) => png({ width: 1, height: 1, channels: 1, data: new Uint8Array([level]) });
 * for (const [name, level] of [["dogs", 255], ["cats", 0]] as const) {
 *   await Deno.mkdir(`${folder}/${name}`);
 *   await Deno.writeFile(`${folder}/${name}/1.png`, grey(level));
 * }
 * const source = await pictures(folder);
 * assert.deepEqual([source.shape, source.classes], [[2, 1, 1, 1], ["cats", "dogs"]]);
 * for await (const { images, labels } of batches(source, { size: 2, key: key(0) })) {
 *   assert.deepEqual([...images], [...labels!].map((label) => label === 0 ? -1 : 1));
 *   break;
 * }
 * await Deno.remove(folder, { recursive: true });
 * ```
 */
export async function pictures(
  folder: string,
  options: PicturesOptions = {},
): Promise<PictureSource> {
  decoded(action, options, picturesRules);
  const { hold = 0, fit = "cover", signal } = options;
  const { found, classes, skipped } = await filesOf(folder), headed: Headed[] = [];
  for (const each of found) {
    signal?.throwIfAborted();
    await attempted(each, skipped, async () => {
      headed.push({ ...each, header: await withFile(each.at, headerOf) });
    });
  }
  if (headed.length === 0) throw noneGood(folder, skipped);
  const sample = shapeOf(headed, options), length = sample[0] * sample[1] * sample[2];
  const isHeld = headed.length * length <= hold;
  const held = isHeld ? room(action, "the images", headed.length * length) : undefined;
  const good: Seen[] = [], digests: unknown[] = [], out = new Uint8Array(length);
  for (const each of headed) {
    signal?.throwIfAborted();
    await attempted(each, skipped, async () => {
      const bytes = await bytesOf(each.at);
      fitInto(await decodePicture(bytes), sample, fit, out.fill(0));
      held?.set(out, good.length * length);
      const digest = await sha256(bytes);
      digests.push([each.path, bytes.length, digest]);
      good.push({ ...each, digest });
    });
  }
  skipped.sort((a, b) => a.path < b.path ? -1 : 1);
  if (good.length === 0) throw noneGood(folder, skipped);
  const digest = await sha256(
    new TextEncoder().encode(JSON.stringify([sample, fit, digests])),
  );
  return {
    shape: [good.length, ...sample],
    ...(classes && labelled(good, classes, skipped)),
    pixels: held
      ? heldPixels(held.subarray(0, good.length * length), length)
      : decodedPixels(good, sample, fit),
    files: good.map(({ path }) => path),
    skipped,
    digest,
  };
}

/** A file of a folder. */
interface Named {
  /** From the folder. */
  readonly path: string;
  /** Where it is. */
  readonly at: string;
  /** Number of its class. */
  readonly label: number;
}

/** A file that has been read. */
interface Seen extends Named {
  /** SHA-256 of its bytes. */
  readonly digest: string;
}

/** A file whose header has been read. */
interface Headed extends Named {
  readonly header: PictureHeader;
}

/** Names of pictures, and those of pictures of other kinds, which are said to be left out. */
const pictureName = /\.(png|jpe?g)$/i, foreignName = /\.(gif|webp|bmp|tiff?|avif|heic|jp2|jxl)$/i;

/** What lies in a folder. */
interface Found {
  readonly found: Named[];
  /** None where there are no sub-folders. */
  readonly classes?: readonly string[];
  readonly skipped: SkippedFile[];
}

async function filesOf(folder: string): Promise<Found> {
  const skipped: SkippedFile[] = [], here = await listed(folder, { at: "", label: 0, skipped });
  if (here === undefined) throw refused("the folder must be there", `none at ${folder}`);
  const { found, folders: classes } = here;
  if (classes.length === 0) return { found, skipped };
  if (found.length > 0) {
    throw refused(
      "pictures must lie either in sub-folders, which are their classes, or in none",
      `${found[0]!.path} beside ${classes[0]}/ in ${folder}`,
    );
  }
  if (classes.length > 65536) throw refused("classes must be at most 65536", `${classes.length}`);
  for (const [label, name] of classes.entries()) {
    const { found: inside, folders } = (await listed(folder, { at: `${name}/`, label, skipped }))!;
    if (folders.length > 0) {
      throw refused(
        "the sub-folders, which are the classes, must hold pictures and no folders",
        `${name}/${folders[0]} in ${folder}`,
      );
    }
    found.push(...inside);
  }
  return { found, classes, skipped };
}

/** The pictures and the folders right in a folder. */
async function listed(
  folder: string,
  { at, label, skipped }: Pick<Named, "at" | "label"> & Pick<Found, "skipped">,
): Promise<{ readonly found: Named[]; readonly folders: string[] } | undefined> {
  const entries = await entriesOf(`${folder}/${at}`), found: Named[] = [];
  if (entries === undefined) return undefined;
  const seen = entries.filter(({ name }) => !name.startsWith("."));
  for (const { name, kind } of seen) {
    const path = at + name;
    if (kind === "folder") continue;
    if (foreignName.test(name)) {
      skipped.push({ path, reason: `must be a PNG or a JPEG, got ${name.replace(/.*\./, ".")}` });
    } else if (!pictureName.test(name)) continue;
    else if (kind === "file") found.push({ path, at: `${folder}/${path}`, label });
    else skipped.push({ path, reason: "must be a file, got a link to nothing or a device" });
  }
  return { found, folders: seen.filter(({ kind }) => kind === "folder").map(({ name }) => name) };
}

const refused = (wanted: string, got: string): Error =>
  new Error(`Cannot ${action}: ${wanted}, got ${got}`);

/** Does something with a file; where the file is to blame, lists it as left out. */
async function attempted(
  { path }: Named,
  skipped: SkippedFile[],
  use: () => Promise<void>,
): Promise<void> {
  try {
    await use();
  } catch (error) {
    const reason = reasonOf(error);
    if (reason === undefined) throw error;
    skipped.push({ path, reason });
  }
}

/** Why a file cannot be read, where that is its own fault. */
function reasonOf(error: unknown): string | undefined {
  if (error instanceof PictureFault) return error.message;
  const { name, message } = Object(error) as Error;
  return name === "NotFound" || name === "PermissionDenied"
    ? `must be readable, got "${message}"`
    : undefined;
}

/** How many names a message gives. */
const few = 5;

/**
 * Files that were left out, in words: how many, and the first few with the reasons.
 *
 * @param skipped The files.
 * @returns Such as `2 files: a.png must be whole, got 7 bytes; b.jpg …`.
 */
export function skippedWords(skipped: readonly SkippedFile[]): string {
  const named = skipped.slice(0, few).map(({ path, reason }) => `${path} ${reason}`);
  const rest = skipped.length > few ? "; ..." : "";
  const count = skipped.length === 1 ? "1 file" : `${skipped.length} files`;
  return `${count}: ${named.join("; ")}${rest}`;
}

const noneGood = (folder: string, skipped: readonly SkippedFile[]): Error =>
  refused(
    `a picture in ${folder} must be a whole PNG or JPEG`,
    skipped.length === 0 ? "no pictures" : `none in ${skippedWords(skipped)}`,
  );

/** The header of a file, by as few of its bytes as it takes. */
async function headerOf(file: OpenFile): Promise<PictureHeader> {
  if (file.size > mostBytes) {
    throw new PictureFault(`must be of at most ${mostBytes} bytes, got ${file.size}`);
  }
  for (const size of headerSizes) {
    const head = await file.fill(new Uint8Array(Math.min(size, file.size)), 0);
    const header = pictureHeader(head, file.size);
    if (header !== undefined) return header;
  }
  throw new PictureFault(`must have a frame header, got none in ${headerSizes.at(-1)} bytes`);
}

/** The largest file that is read, in bytes. */
const mostBytes = 2 ** 28;

const bytesOf = (path: string): Promise<Uint8Array> =>
  withFile(path, async (file) => {
    await headerOf(file);
    return await file.fill(room(action, path, file.size), 0);
  });

/** Height, width and channels of the images. */
function shapeOf(
  headed: readonly Headed[],
  { size, channels }: FitOptions,
): readonly [number, number, 1 | 3] {
  const depth = channels ?? (headed.some(({ header }) => header.isColour) ? 3 : 1);
  if (size !== undefined) return [...size, depth];
  const [{ header: { height, width }, path }] = headed as [Headed];
  const other = headed.find(({ header }) => header.height !== height || header.width !== width);
  if (other === undefined) return [height, width, depth];
  throw new RangeError(
    `Cannot ${action}: size must be given where pictures are of several, got ${height}x${width} (${path}) and ` +
      `${other.header.height}x${other.header.width} (${other.path})`,
  );
}

/** Labels and classes, of each of which there must be a picture. */
function labelled(
  good: readonly Named[],
  classes: readonly string[],
  skipped: readonly SkippedFile[],
): Required<Pick<ImageSource, "labels" | "classes">> {
  const numbers = good.map(({ label }) => label), there = new Set(numbers);
  const empty = classes.find((_, label) => !there.has(label));
  if (empty !== undefined) {
    const bad = skipped.filter(({ path }) => path.startsWith(`${empty}/`));
    throw refused(
      `each sub-folder, which is a class, must hold a whole PNG or JPEG`,
      `none in ${empty}/${bad.length > 0 ? ` of ${skippedWords(bad)}` : ""}`,
    );
  }
  const labels = classes.length > 256 ? Uint16Array.from(numbers) : Uint8Array.from(numbers);
  return { labels, classes };
}

function heldPixels(held: Uint8Array, length: number): ImageSource["pixels"] {
  const parts = Array.from(
    { length: length === 0 ? 0 : Math.floor(held.length / length) },
    (_, i) => held.subarray(i * length, (i + 1) * length),
  );
  // deno-lint-ignore require-await -- a number that is wrong rejects, as with pictures on disk
  return async (numbers) => {
    const out = room(action, "the images", numbers.length * length);
    Array.from(numbers).forEach((number, i) => out.set(imageOf(parts, number), i * length));
    return out;
  };
}

/** An image by its number. */
function imageOf<A>(images: readonly A[], number: number): A {
  const image = images[number];
  if (image !== undefined) return image;
  throw new RangeError(
    `Cannot ${action}: numbers must be whole and in [0, ${images.length}), got ${number}`,
  );
}

function decodedPixels(
  files: readonly Seen[],
  sample: readonly [number, number, 1 | 3],
  fit: ImageFit,
): ImageSource["pixels"] {
  const length = sample[0] * sample[1] * sample[2];
  return async (numbers, signal) => {
    const out = room(action, "the images", numbers.length * length);
    for (let i = 0; i < numbers.length; i++) {
      signal?.throwIfAborted();
      const { at, digest } = imageOf(files, numbers[i]!);
      try {
        const bytes = await bytesOf(at);
        if (await sha256(bytes) !== digest) throw new PictureFault("is another picture now");
        const picture = await decodePicture(bytes);
        fitInto(picture, sample, fit, out.subarray(i * length, (i + 1) * length));
      } catch (cause) {
        const reason = reasonOf(cause);
        if (reason === undefined) throw cause;
        throw new Error(`Cannot ${action}: ${at} ${reason}, and was whole before`, { cause });
      }
    }
    return out;
  };
}

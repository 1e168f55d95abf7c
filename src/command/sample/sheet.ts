/**
 * Pictures of many samples, put together on the host from the bytes of each.
 *
 * @module
 */

import type { Image } from "../../watch/frames.ts";

/** How samples stand in a picture. */
export interface Sheet {
  /** Number of samples. */
  readonly count: number;
  /** Height, width and channels of one. */
  readonly shape: readonly [height: number, width: number, channels: 1 | 3];
  /** Rows and columns of samples. Default: near-square, no fewer columns than rows. */
  readonly grid?: readonly [rows: number, columns: number];
  /** Each pixel becomes zoom × zoom pixels. */
  readonly zoom: number;
}

/** The greatest picture, in bytes: 1 GiB, of which an encoder makes as much again. */
const greatest = 2 ** 30;

const gridOf = ({ count, grid }: Sheet): readonly [number, number] => {
  const columns = Math.ceil(Math.sqrt(count));
  return grid ?? [Math.ceil(count / columns), columns];
};

/** Width and height of a picture in pixels. */
function sizeOf(sheet: Sheet): readonly [width: number, height: number] {
  const { shape: [height, width], zoom } = sheet, [rows, columns] = gridOf(sheet);
  return [columns * width * zoom, rows * height * zoom];
}

/**
 * Refuses a picture that does not fit into memory.
 *
 * @param sheet How samples stand in it.
 * @throws {RangeError} If it is larger than 1 GiB.
 */
export function checkSheet(sheet: Sheet): void {
  const { count, grid, zoom, shape: [tall, wide, channels] } = sheet;
  const [width, height] = sizeOf(sheet), bytes = width * height * channels;
  if (bytes <= greatest) return;
  const what = grid ? `--grid ${grid}` : `--count ${count}`;
  throw new RangeError(
    `Cannot make a picture: ${what} of ${wide}x${tall} pixels at --zoom ${zoom} must be at most 1 GiB, ` +
      `got ${width}x${height} pixels, ${(bytes / 2 ** 30).toPrecision(3)} GiB`,
  );
}

/** A black picture. */
export function blank(sheet: Sheet): Image {
  const [width, height] = sizeOf(sheet), [, , channels] = sheet.shape;
  return { width, height, channels, data: new Uint8Array(width * height * channels) };
}

/**
 * Puts samples into their places in a picture, which it changes.
 *
 * @param image The picture.
 * @param samples Their bytes, one sample behind the other.
 * @param first Number of the first of them.
 * @param sheet How samples stand in the picture.
 */
export function place(
  { width, data }: Image,
  samples: Uint8Array,
  first: number,
  sheet: Sheet,
): void {
  const { shape: [height, across, channels], zoom } = sheet, [, columns] = gridOf(sheet);
  const line = across * channels, stride = width * channels, long = line * zoom;
  for (let from = 0, row = first * height; from < samples.length; from += line, row++) {
    const sample = Math.floor(row / height), top = Math.floor(sample / columns) * height;
    const at = (top + row % height) * zoom * stride + (sample % columns) * long;
    for (let i = 0; i < long; i++) {
      data[at + i] = samples[from + Math.floor(i / (channels * zoom)) * channels + i % channels]!;
    }
    for (let copy = 1; copy < zoom; copy++) {
      data.copyWithin(at + copy * stride, at, at + long);
    }
  }
}

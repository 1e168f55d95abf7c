/**
 * What the tests of data share: pictures, arrays and archives as bytes.
 *
 * @module
 */

import { zipSync, zlibSync } from "fflate";
import { crc32 } from "node:zlib";
import { encode } from "fast-png";
import jpeg from "jpeg-js";

/** A picture that differs from pixel to pixel, and from seed to seed. */
export const pattern = (length: number, seed = 0): Uint8Array =>
  Uint8Array.from({ length }, (_, i) => (i * 37 + (i >> 5) * 11 + seed * 101) % 256);

/** A PNG by fast-png, of any number of channels and depth. */
export const pngOf = (
  [height, width, channels]: readonly [number, number, number],
  data: Uint8Array | Uint16Array = pattern(height * width * channels),
  depth: 8 | 16 = 8,
): Uint8Array => encode({ width, height, channels, depth, data });

/** A JPEG of a smooth picture, in colour. */
export function jpegOf([height, width]: readonly [number, number], quality = 90): Uint8Array {
  const data = new Uint8Array(4 * height * width);
  for (let i = 0; i < height * width; i++) {
    const x = (i % width) / width, y = Math.floor(i / width) / height;
    data.set([255 * x, 255 * y, 128, 255], 4 * i);
  }
  return new Uint8Array(jpeg.encode({ width, height, data }, quality).data);
}

/** A chunk of a PNG. */
export function chunk(type: string, data: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(12 + data.length), view = new DataView(bytes.buffer);
  view.setUint32(0, data.length);
  bytes.set(new TextEncoder().encode(type), 4);
  bytes.set(data, 8);
  view.setUint32(8 + data.length, crc32(bytes.subarray(4, 8 + data.length)));
  return bytes;
}

/** A PNG of raw chunks: rows with their filters, and whatever stands before them. */
export function rawPng(
  { width, height, depth, colour }: Readonly<
    Record<"width" | "height" | "depth" | "colour", number>
  >,
  rows: Uint8Array,
  before: readonly Uint8Array[] = [],
): Uint8Array {
  const header = new Uint8Array(13), view = new DataView(header.buffer);
  view.setUint32(0, width);
  view.setUint32(4, height);
  header.set([depth, colour], 8);
  return new Uint8Array([
    ...[0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a],
    ...chunk("IHDR", header),
    ...before.flatMap((each) => [...each]),
    ...chunk("IDAT", zlibSync(rows)),
    ...chunk("IEND", new Uint8Array()),
  ]);
}

/** A `.npy` file. */
export function npy(descr: string, shape: readonly number[], data: ArrayBufferView): Uint8Array {
  const axes = `(${shape.join(", ")}${shape.length === 1 ? "," : ""})`;
  const text = `{'descr': '${descr}', 'fortran_order': False, 'shape': ${axes}, }`;
  const header = new TextEncoder().encode(
    text.padEnd(Math.ceil((text.length + 11) / 64) * 64 - 11) + "\n",
  );
  return new Uint8Array([
    ...[0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59, 1, 0, header.length & 255, header.length >> 8],
    ...header,
    ...new Uint8Array(data.buffer, data.byteOffset, data.byteLength),
  ]);
}

/** An `.npz` file, deflated or stored. */
export const npz = (arrays: Readonly<Record<string, Uint8Array>>, level: 0 | 6 = 6): Uint8Array =>
  zipSync(
    Object.fromEntries(Object.entries(arrays).map(([name, bytes]) => [`${name}.npy`, bytes])),
    {
      level,
    },
  );

/** Records of CIFAR-10: a class, and planes of 1024 bytes. */
export const cifar = (labels: readonly number[]): Uint8Array =>
  new Uint8Array(labels.flatMap((label, i) => [label, ...pattern(3072, i)]));

/** Writes files of a folder, and the folders that they are in. */
export async function put(
  folder: string,
  files: Readonly<Record<string, Uint8Array>>,
): Promise<void> {
  for (const [name, bytes] of Object.entries(files)) {
    await Deno.mkdir(`${folder}/${name}`.replace(/[^/]*$/, ""), { recursive: true });
    await Deno.writeFile(`${folder}/${name}`, bytes);
  }
}

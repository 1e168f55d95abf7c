/**
 * PNG and JPEG files to pixels: grey or RGB, on black where they are transparent.
 *
 * The decoders are fast-png and jpeg-js, which are loaded when the first picture is. A PNG is handed over without the chunks
 * that do not change its pixels, some of which are compressed themselves, and only once its data have been seen to unpack to
 * what its header says.
 *
 * Values are taken as they are stored: no colour profile, gamma or rotation by Exif is applied.
 *
 * Source: "Portable Network Graphics (PNG) Specification (Third Edition)", W3C, sections 5.3 (chunk layout), 11.3.1.1 (tRNS)
 * and 13.12 (sample depth rescaling).
 *
 * @module
 */

import { room } from "../file/file.ts";
import { PictureFault, type PictureHeader, pictureHeader } from "./header.ts";

/** A picture's pixels. */
export interface Picture {
  /** Rows of pixels. */
  readonly height: number;
  /** Columns of pixels. */
  readonly width: number;
  /** 1: grey, 3: RGB. */
  readonly channels: 1 | 3;
  /** The pixels, 0 to 255, row by row, the channels together; whole numbers where they are bytes. */
  readonly data: Uint8Array | Float32Array;
}

/**
 * Decodes a PNG or JPEG file.
 *
 * @param bytes The whole file.
 * @returns Its pixels.
 * @throws {PictureFault} If it is damaged, or of a kind or a size that is not read.
 */
export async function decodePicture(bytes: Uint8Array): Promise<Picture> {
  const header = pictureHeader(bytes, bytes.length);
  if (header === undefined) throw new PictureFault("must be whole, got its beginning");
  const { kind, height, width } = header;
  const picture = await (kind === "PNG" ? pngPicture(bytes, header) : jpegPicture(bytes, header));
  if (picture.height === height && picture.width === width) return picture;
  throw new PictureFault(`must be of one size, got ${picture.height}x${picture.width} as well`);
}

/** Gives what a decoder throws the grammar of this file. */
async function damaged<A>(decode: () => A | Promise<A>): Promise<A> {
  try {
    return await decode();
  } catch (cause) {
    if (cause instanceof PictureFault) throw cause;
    const message = cause instanceof Error ? cause.message : String(cause);
    throw new PictureFault(`must be whole, got "${message}"`, { cause });
  }
}

async function jpegPicture(bytes: Uint8Array, header: PictureHeader): Promise<Picture> {
  // Of the package's types, those of Node's Buffer are not there in every runtime.
  const { default: { decode } } = await import("jpeg-js");
  const { height, width, data } = await damaged(() =>
    decode(bytes, {
      useTArray: true,
      formatAsRGBA: false,
      tolerantDecoding: false,
      maxResolutionInMP: 100,
      maxMemoryUsageInMB: 1024,
      ...(header.isPlain && { colorTransform: false }),
    })
  );
  if (header.isColour) return { height, width, channels: 3, data };
  return { height, width, channels: 1, data: data.filter((_, i) => i % 3 === 0) };
}

/** A chunk of a PNG: its type, where it begins and ends, and its data. */
interface Chunk {
  readonly type: string;
  readonly whole: Uint8Array;
  readonly data: Uint8Array;
}

/** The chunks that pixels are made of, in order; a palette that is only a proposal is none of them. */
function chunksOf(bytes: Uint8Array, { isIndexed }: PictureHeader): Chunk[] {
  const needed = ["IHDR", ...(isIndexed ? ["PLTE"] : []), "tRNS", "IDAT", "IEND"];
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const chunks: Chunk[] = [];
  for (let at = 8; at + 12 <= bytes.length;) {
    const length = view.getUint32(at), end = at + 12 + length;
    if (end > bytes.length) break;
    const type = String.fromCharCode(...bytes.subarray(at + 4, at + 8));
    if (needed.includes(type)) {
      const whole = bytes.subarray(at, end), data = bytes.subarray(at + 8, end - 4);
      chunks.push({ type, whole, data });
    }
    if (type === "IEND") return chunks;
    at = end;
  }
  throw new PictureFault("must be whole, got its end before IEND");
}

/** Bytes that are unpacked at a time: what they may unpack to is held before it is counted. */
const piece = 16384;

/** Refuses data that unpack to more, or to less, than the header says. */
async function checkUnpacked(chunks: readonly Chunk[], { unpacked }: PictureHeader): Promise<void> {
  const { Unzlib } = await import("fflate");
  let count = 0;
  const counter = new Unzlib((data) => void (count += data.length));
  for (const { type, data } of chunks) {
    if (type !== "IDAT") continue;
    for (let at = 0; at < data.length && count <= unpacked; at += piece) {
      counter.push(data.subarray(at, at + piece));
    }
  }
  if (count !== unpacked) {
    throw new PictureFault(
      `must unpack to the ${unpacked} bytes of its size, got ${
        count > unpacked ? "more" : `${count}`
      }`,
    );
  }
}

async function pngPicture(bytes: Uint8Array, header: PictureHeader): Promise<Picture> {
  const { decode } = await import("fast-png");
  return await damaged(async () => {
    const chunks = chunksOf(bytes, header);
    await checkUnpacked(chunks, header);
    const parts = [bytes.subarray(0, 8), ...chunks.map(({ whole }) => whole)];
    const slim = room(
      "decode a PNG",
      "its chunks",
      parts.reduce((sum, { length }) => sum + length, 0),
    );
    parts.reduce((at, part) => (slim.set(part, at), at + part.length), 0);
    const png = decode(slim, { checkCrc: true });
    return header.isIndexed ? painted(png) : flattened(png);
  });
}

/** As much of what fast-png gives as is used here. */
interface Decoded {
  readonly height: number;
  readonly width: number;
  /** Samples; those of fewer than 8 bits are packed, the first one highest, in rows of whole bytes. */
  readonly data: ArrayLike<number>;
  readonly depth: number;
  /** Channels, of which the last is opacity where there are 2 or 4. */
  readonly channels: number;
  /** Colours by index: three channels, and opacity where not all are opaque. */
  readonly palette?: readonly (readonly number[])[];
  /** The grey level, or the colour, that is transparent. */
  readonly transparency?: ArrayLike<number>;
}

/** Samples of one channel, each a number of its own. */
function spread({ height, width, depth, data }: Decoded): ArrayLike<number> {
  if (depth >= 8) return data;
  const samples = new Uint8Array(height * width), line = Math.ceil(width * depth / 8);
  for (let i = 0; i < samples.length; i++) {
    const bit = (i % width) * depth, byte = data[Math.floor(i / width) * line + (bit >> 3)]!;
    samples[i] = byte >> (8 - depth - (bit & 7)) & (1 << depth) - 1;
  }
  return samples;
}

/** RGB by the palette, on black. */
function painted(png: Decoded): Picture {
  const { height, width, palette = [] } = png, indices = spread(png);
  const data = new Float32Array(3 * height * width);
  for (let i = 0; i < indices.length; i++) {
    const colour = palette[indices[i]!];
    if (colour === undefined) {
      throw new PictureFault(
        `must have ${palette.length} colours, got one of number ${indices[i]}`,
      );
    }
    for (let c = 0; c < 3; c++) data[3 * i + c] = colour[c]! * ((colour[3] ?? 255) / 255);
  }
  return { height, width, channels: 3, data };
}

/** Grey or RGB from 0 to 255, on black. */
function flattened(png: Decoded): Picture {
  const { height, width, depth, channels, transparency } = png, samples = spread(png);
  const most = 2 ** depth - 1, kept = channels < 3 ? 1 : 3, hasOpacity = channels % 2 === 0;
  if (depth === 8 && !hasOpacity && transparency === undefined) {
    return { height, width, channels: kept, data: samples as Uint8Array };
  }
  const data = new Float32Array(height * width * kept);
  for (let i = 0, at = 0; i < data.length; i += kept, at += channels) {
    let isClear = transparency !== undefined;
    for (let c = 0; c < kept; c++) isClear &&= samples[at + c] === transparency![c];
    const opacity = isClear ? 0 : hasOpacity ? samples[at + kept]! / most : 1;
    for (let c = 0; c < kept; c++) data[i + c] = samples[at + c]! * 255 / most * opacity;
  }
  return { height, width, channels: kept, data };
}

/**
 * What the first bytes of a PNG or JPEG file say: its size and its colours, so that a file can be refused before memory is
 * taken for its pixels.
 *
 * Sources: "Portable Network Graphics (PNG) Specification (Third Edition)", W3C, sections 5.2 (signature) and 11.2.1 (IHDR);
 * ITU-T T.81 (JPEG), annex B (markers and frame header); "The ICC and Adobe APP14 marker", Adobe Technical Note 5116,
 * section 18 (the transform flag).
 *
 * @module
 */

/** What a file says of its picture. */
export interface PictureHeader {
  /** How it is compressed. */
  readonly kind: "PNG" | "JPEG";
  /** Rows of pixels. */
  readonly height: number;
  /** Columns of pixels. */
  readonly width: number;
  /** Whether it has colours; a palette counts as colours. */
  readonly isColour: boolean;
  /** Whether a PNG's pixels are indices into its palette. */
  readonly isIndexed: boolean;
  /** Bytes that a PNG's rows unpack to, filters included; 0 of a JPEG. */
  readonly unpacked: number;
  /** Whether a JPEG's three channels are red, green and blue as they stand. */
  readonly isPlain: boolean;
}

/** A picture that is refused; the message goes on after `must`, as in `be whole, got …`. */
export class PictureFault extends Error {
  override readonly name: string = "PictureFault";
}

const must = (wanted: string, got: unknown): PictureFault =>
  new PictureFault(`must ${wanted}, got ${got}`);

/** The most pixels that a picture may have: 64 Mi, of which decoding makes several copies. */
const mostPixels = 2 ** 26;

/** Most bytes that a byte of deflate unpacks to; and most pixels that a byte of JPEG stands for, a bit for 64 of them. */
const ratios = { PNG: 1032, JPEG: 512 } as const;

/** So many first bytes hold the header of any picture that is read; most often the first few do. */
export const headerSizes: readonly number[] = [4096, 2 ** 20];

/**
 * Reads the header of a PNG or JPEG file.
 *
 * @param bytes The file, or its first bytes.
 * @param size How many bytes the file has.
 * @returns What it says; nothing where more bytes are needed.
 * @throws {PictureFault} If it is no PNG and no JPEG, or of a kind that is not read, or of more pixels than memory should
 * hold, or than so few bytes can stand for.
 */
export function pictureHeader(bytes: Uint8Array, size: number): PictureHeader | undefined {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (isPng(bytes)) return checked(pngHeader(view, size), size);
  if (bytes[0] === 0xff && bytes[1] === 0xd8) {
    const found = jpegHeader(view, size);
    return found && checked(found, size);
  }
  throw must("be a PNG or a JPEG", size === 0 ? "no bytes" : "other bytes");
}

const signature = [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a];

const isPng = (bytes: Uint8Array): boolean => signature.every((byte, i) => bytes[i] === byte);

/** Channels by PNG's colour type. */
const pngChannels: Readonly<Record<number, number>> = { 0: 1, 2: 3, 3: 1, 4: 2, 6: 4 };

/** Bits a channel by colour type. */
const pngDepths: Readonly<Record<number, readonly number[]>> = {
  0: [1, 2, 4, 8, 16],
  2: [8, 16],
  3: [1, 2, 4, 8],
  4: [8, 16],
  6: [8, 16],
};

function pngHeader(view: DataView, size: number): PictureHeader {
  if (view.byteLength < 33) throw must("be whole", `${size} bytes`);
  if (view.getUint32(8) !== 13 || view.getUint32(12) !== 0x49484452) {
    throw must("begin with IHDR", "another chunk");
  }
  const width = view.getUint32(16), height = view.getUint32(20);
  const depth = view.getUint8(24), colour = view.getUint8(25), interlace = view.getUint8(28);
  if (!pngDepths[colour]?.includes(depth) || view.getUint16(26) !== 0 || interlace > 1) {
    throw must(
      "be of a kind that PNG has",
      `colour type ${colour} of ${depth} bits, interlace ${interlace}`,
    );
  }
  if (interlace === 1 && depth < 8) {
    throw must("have 8 or 16 bits where it is interlaced", `${depth}`);
  }
  const bits = depth * pngChannels[colour]!;
  const unpacked = interlace === 1
    ? passes.reduce((sum, pass) => sum + passBytes(pass, { width, height, bits }), 0)
    : passBytes([0, 0, 1, 1], { width, height, bits });
  const isColour = colour === 2 || colour === 3 || colour === 6;
  return {
    kind: "PNG",
    height,
    width,
    isColour,
    isIndexed: colour === 3,
    unpacked,
    isPlain: false,
  };
}

/** The passes of Adam7: first column and row, and steps between columns and rows. */
const passes = [
  [0, 0, 8, 8],
  [4, 0, 8, 8],
  [0, 4, 4, 8],
  [2, 0, 4, 4],
  [0, 2, 2, 4],
  [1, 0, 2, 2],
  [0, 1, 1, 2],
] as const;

function passBytes(
  [left, top, across, down]: readonly [number, number, number, number],
  { width, height, bits }: Readonly<Record<"width" | "height" | "bits", number>>,
): number {
  const columns = Math.ceil((width - left) / across), rows = Math.ceil((height - top) / down);
  return columns > 0 && rows > 0 ? rows * (1 + Math.ceil(columns * bits / 8)) : 0;
}

/** Walks over the segments to the frame header. */
function jpegHeader(view: DataView, size: number): PictureHeader | undefined {
  let isPlain = false;
  const short = (): undefined => {
    const most = Math.min(size, headerSizes.at(-1)!);
    if (view.byteLength >= most) throw must("have a frame header", `none in ${most} bytes`);
  };
  for (let at = 2;;) {
    if (at + 4 > view.byteLength) return short();
    if (view.getUint8(at) !== 0xff) throw must("be whole", "no marker where one must stand");
    const marker = view.getUint8(at + 1);
    // Fill bytes before a marker.
    if (marker === 0xff) {
      at++;
      continue;
    }
    const length = view.getUint16(at + 2);
    if (marker < 0xc0 || marker === 0xd9 || marker === 0xda || length < 2) {
      throw must("have a frame header before its data", `marker ${marker.toString(16)}`);
    }
    if (marker === 0xee && length >= 14) {
      if (at + 16 > view.byteLength) return short();
      const isAdobe = [0x41, 0x64, 0x6f, 0x62, 0x65].every((letter, i) =>
        view.getUint8(at + 4 + i) === letter
      );
      isPlain = isAdobe && view.getUint8(at + 15) === 0;
    }
    const isFrame = marker <= 0xcf && marker !== 0xc4 && marker !== 0xc8 && marker !== 0xcc;
    if (isFrame) {
      if (at + 10 > view.byteLength) return short();
      return frameHeader(view, at, isPlain);
    }
    at += 2 + length;
  }
}

function frameHeader(view: DataView, at: number, isPlain: boolean): PictureHeader {
  const marker = view.getUint8(at + 1), depth = view.getUint8(at + 4);
  const height = view.getUint16(at + 5), width = view.getUint16(at + 7);
  const channels = view.getUint8(at + 9);
  if (marker > 0xc2) {
    throw must(
      "be a baseline or progressive JPEG",
      `a lossless, hierarchical or arithmetic one (marker ${marker.toString(16)})`,
    );
  }
  if (depth !== 8) throw must("have 8 bits a channel", depth);
  if (channels !== 1 && channels !== 3) {
    throw must("be grey or of three channels", channels === 4 ? "four, as CMYK has" : channels);
  }
  const isColour = channels === 3;
  return {
    kind: "JPEG",
    height,
    width,
    isColour,
    isIndexed: false,
    unpacked: 0,
    isPlain: isPlain && isColour,
  };
}

/** Refuses sizes that memory should not hold, and those that the file cannot keep. */
function checked(header: PictureHeader, size: number): PictureHeader {
  const { kind, height, width, unpacked } = header, pixels = height * width;
  if (pixels < 1 || pixels > mostPixels) {
    throw must(`have 1 to ${mostPixels} pixels`, `${height}x${width}`);
  }
  if ((kind === "PNG" ? unpacked : pixels) > ratios[kind] * size) {
    throw must(`be of a size that its bytes can stand for`, `${height}x${width} in ${size} bytes`);
  }
  return header;
}

/**
 * NumPy's array files, `.npy`: a header, in which a Python dictionary says type, order and shape, and the numbers.
 *
 * Source: NumPy documentation, "numpy.lib.format", versions 1.0 to 3.0.
 *
 * @module
 */

import { type OpenFile, room, withFile } from "./file.ts";
import { widenHalves } from "./half.ts";

/** An array of numbers with a shape. */
export interface NpyArray {
  /** Size of each axis. */
  readonly shape: readonly number[];
  /** NumPy's name of the type without the order of bytes, such as `"u1"` or `"f4"`. */
  readonly dtype: string;
  /** The numbers, the last axis fastest. */
  readonly data: ArrayLike<number> | ArrayLike<bigint>;
}

/** What a header says. */
interface Layout {
  readonly shape: readonly number[];
  readonly dtype: string;
  readonly isLittle: boolean;
  /** Where the numbers begin. */
  readonly start: number;
  /** Bytes of the numbers. */
  readonly length: number;
}

const unfit = (what: string, wanted: string, got: unknown): SyntaxError =>
  new SyntaxError(`Cannot decode NPY: ${what} must be ${wanted}, got ${got}`);

/** How arrays of each type are made of bytes in this machine's order. */
const types: Readonly<Record<string, (buffer: ArrayBuffer) => NpyArray["data"]>> = {
  b1: (buffer) => new Uint8Array(buffer),
  u1: (buffer) => new Uint8Array(buffer),
  i1: (buffer) => new Int8Array(buffer),
  u2: (buffer) => new Uint16Array(buffer),
  i2: (buffer) => new Int16Array(buffer),
  u4: (buffer) => new Uint32Array(buffer),
  i4: (buffer) => new Int32Array(buffer),
  u8: (buffer) => new BigUint64Array(buffer),
  i8: (buffer) => new BigInt64Array(buffer),
  f2: (buffer) => widenHalves(new Uint16Array(buffer)),
  f4: (buffer) => new Float32Array(buffer),
  f8: (buffer) => new Float64Array(buffer),
};

const isLittleHere = new Uint8Array(new Uint16Array([1]).buffer)[0] === 1;

/** No header that NumPy writes is longer. */
const longest = 65536;

/**
 * Decodes a `.npy` file.
 *
 * @param bytes The whole file.
 * @returns Shape, type and numbers, copied.
 * @throws {SyntaxError} If it is damaged, its numbers are in Fortran's order, or of a type that is not read.
 */
export function decodeNpy(bytes: Uint8Array): NpyArray {
  const layout = layoutOf(bytes, bytes.length);
  return arrayOf(bytes.slice(layout.start), layout);
}

/**
 * Reads a `.npy` file: its header first, and no more than that says.
 *
 * @param path Where it is.
 * @returns Shape, type and numbers.
 * @throws {SyntaxError} As {@link decodeNpy}, with the path.
 * @throws {RangeError} If there is no room in memory.
 * @throws {Deno.errors.NotFound} If there is no such file.
 */
export async function readNpy(path: string): Promise<NpyArray> {
  try {
    return await withFile(path, read);
  } catch (cause) {
    if (!(cause instanceof SyntaxError)) throw cause;
    throw new SyntaxError(`${cause.message}, in ${path}`, { cause });
  }
}

async function read(file: OpenFile): Promise<NpyArray> {
  const head = await file.fill(new Uint8Array(Math.min(longest, file.size)), 0);
  const layout = layoutOf(head, file.size);
  return arrayOf(
    await file.fill(room("decode NPY", "the array", layout.length), layout.start),
    layout,
  );
}

function layoutOf(head: Uint8Array, size: number): Layout {
  const magic = [0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59];
  if (head.length < 12 || magic.some((byte, i) => head[i] !== byte)) {
    throw unfit("the file", "one of NumPy's arrays", `${size} other bytes`);
  }
  const view = new DataView(head.buffer, head.byteOffset, head.byteLength), version = head[6]!;
  if (version < 1 || version > 3) throw unfit("the version", "1, 2 or 3", version);
  const begin = version === 1 ? 10 : 12;
  const length = version === 1 ? view.getUint16(8, true) : view.getUint32(8, true);
  const start = begin + length;
  if (start > head.length) throw unfit("the header", `within ${head.length} bytes`, length);
  const text = new TextDecoder().decode(head.subarray(begin, start));
  const layout = { ...dictionary(text), start };
  if (layout.length !== size - start) {
    throw unfit(
      "the numbers",
      `${layout.length} bytes (${layout.dtype}, shape ${layout.shape.join("x") || "of one"})`,
      size - start,
    );
  }
  return layout;
}

/** Reads `{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }`, its entries in any order. */
function dictionary(text: string): Omit<Layout, "start"> {
  const of = (pattern: RegExp): string | undefined => pattern.exec(text)?.[1];
  const descr = of(/'descr'\s*:\s*'([^']*)'/), order = of(/'fortran_order'\s*:\s*(True|False)/);
  const axes = of(/'shape'\s*:\s*\(([\d\s,]*)\)/);
  if (descr === undefined || order === undefined || axes === undefined) {
    throw unfit(
      "the header",
      "of descr, fortran_order and shape",
      JSON.stringify(text.slice(0, 80)),
    );
  }
  if (order === "True") {
    throw unfit("the numbers", "in C order (numpy.ascontiguousarray makes them so)", "Fortran's");
  }
  const [, byteOrder, dtype] = /^([<>|=])(\w+)$/.exec(descr) ?? [];
  const size = Number(dtype?.slice(1));
  if (dtype === undefined || !Object.hasOwn(types, dtype) || (byteOrder === "|") !== (size === 1)) {
    throw unfit("the type", `one of ${Object.keys(types).join(", ")}`, JSON.stringify(descr));
  }
  const shape = axes.split(",").map((axis) => axis.trim()).filter((axis) => axis !== "").map(
    Number,
  );
  const length = shape.reduce((a, b) => a * b, size);
  if (!Number.isSafeInteger(length)) throw unfit("the shape", "of a size that there is", axes);
  const isLittle = byteOrder === "<" || (byteOrder === "=" && isLittleHere);
  return { shape, dtype, isLittle, length };
}

/** The numbers, whose bytes are turned round where their order is another than this machine's. */
function arrayOf(bytes: Uint8Array<ArrayBuffer>, { shape, dtype, isLittle }: Layout): NpyArray {
  const size = Number(dtype.slice(1));
  if (size > 1 && isLittle !== isLittleHere) {
    for (let at = 0; at < bytes.length; at += size) bytes.subarray(at, at + size).reverse();
  }
  return { shape, dtype, data: types[dtype]!(bytes.buffer) };
}

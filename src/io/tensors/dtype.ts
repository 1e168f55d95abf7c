/**
 * Tensors on the host, in all element types that can be told apart in a file.
 *
 * Sources: IEEE 754-2019 (half, single and double precision); "OCP 8-bit floating point specification (OFP8)", Open Compute
 * Project (2023), section 5 (E4M3 and E5M2).
 *
 * @module
 */

import { widenHalves } from "../../data/file/half.ts";

/**
 * The array that holds each element type on the host.
 *
 * @category Files
 */
export interface HostArrays {
  /** Booleans, a byte each, 0 or 1. */
  readonly BOOL: Uint8Array;
  /** Unsigned bytes. */
  readonly U8: Uint8Array;
  /** Signed bytes. */
  readonly I8: Int8Array;
  /** Unsigned 16-bit whole numbers. */
  readonly U16: Uint16Array;
  /** Signed 16-bit whole numbers. */
  readonly I16: Int16Array;
  /** Unsigned 32-bit whole numbers. */
  readonly U32: Uint32Array;
  /** Signed 32-bit whole numbers. */
  readonly I32: Int32Array;
  /** Unsigned 64-bit whole numbers. */
  readonly U64: BigUint64Array;
  /** Signed 64-bit whole numbers. */
  readonly I64: BigInt64Array;
  /** IEEE half precision, in runtimes that have `Float16Array`; others read it as F32, which loses nothing. */
  readonly F16: Float16Array;
  /** The upper halves of float32 numbers, as bits: {@link floats} widens them. */
  readonly BF16: Uint16Array;
  /** Bytes of 4 bits of exponent and 3 of fraction, without infinities, as OCP's FP8: {@link floats} widens them. */
  readonly F8_E4M3: Uint8Array;
  /** Bytes of 5 bits of exponent and 2 of fraction, the upper halves of half precision: {@link floats} widens them. */
  readonly F8_E5M2: Uint8Array;
  /** IEEE single precision. */
  readonly F32: Float32Array;
  /** IEEE double precision. */
  readonly F64: Float64Array;
}

/**
 * An element type, by its name in the file.
 *
 * @category Files
 */
export type Dtype = keyof HostArrays;

/**
 * A tensor on the host: plain data, not bound to any engine.
 *
 * @category Files
 */
export interface HostTensor<D extends Dtype = Dtype> {
  /** Element type. */
  readonly dtype: D;
  /** Size of each axis; empty for a scalar. */
  readonly shape: readonly number[];
  /** The elements, the last axis fastest; as many as the product of `shape`. */
  readonly data: HostArrays[D];
}

/**
 * Host tensors by name.
 *
 * @category Files
 */
export type HostTensors = Readonly<Record<string, HostTensor>>;

/** The array of each element type; that of F16 is looked up when it is used, as not every runtime has it. */
export const constructors = {
  BOOL: Uint8Array,
  U8: Uint8Array,
  I8: Int8Array,
  U16: Uint16Array,
  I16: Int16Array,
  U32: Uint32Array,
  I32: Int32Array,
  U64: BigUint64Array,
  I64: BigInt64Array,
  get F16(): typeof Float16Array {
    return Float16Array;
  },
  BF16: Uint16Array,
  F8_E4M3: Uint8Array,
  F8_E5M2: Uint8Array,
  F32: Float32Array,
  F64: Float64Array,
} as const;

/** Whether a name is that of an element type. */
export const isDtype = (name: unknown): name is Dtype =>
  typeof name === "string" && Object.hasOwn(constructors, name);

/** Whether an element type is one of floats. */
export const isFloat = (dtype: Dtype): boolean => dtype.includes("F");

const hasHalf = (): boolean => typeof Float16Array !== "undefined";

/** Bytes of one element. */
export const widthOf = (dtype: Dtype): number =>
  dtype === "F16" ? 2 : constructors[dtype].BYTES_PER_ELEMENT;

/** Whether an array is of the kind that holds an element type. */
export const isHeld = (dtype: Dtype, data: unknown): boolean =>
  dtype === "F16" && !hasHalf() ? false : data instanceof constructors[dtype];

/** The name of the array that holds an element type. */
export const holderOf = (dtype: Dtype): string =>
  dtype === "F16" ? "Float16Array" : constructors[dtype].name;

/**
 * A tensor of the bytes that a file holds.
 *
 * @param dtype Element type in the file.
 * @param shape Size of each axis.
 * @param buffer The elements' bytes, which the tensor may keep.
 * @returns The tensor; of F16, where there is no `Float16Array`, its numbers as F32.
 */
export function tensorOn(
  dtype: Dtype,
  shape: readonly number[],
  buffer: ArrayBuffer,
): HostTensor {
  if (dtype !== "F16" || hasHalf()) return { dtype, shape, data: new constructors[dtype](buffer) };
  return { dtype: "F32", shape, data: widenHalves(new Uint16Array(buffer)) };
}

/**
 * A tensor's elements as float32: bfloat16, float16 and the two kinds of float8 widened without loss, others rounded to the nearest.
 *
 * @category Files
 * @param tensor The tensor.
 * @returns As many floats as the tensor has elements: its own array when that is float32 already, else a new one.
 *
 * @example The bits 0x3fc0 are 1.5 in bfloat16
 * ```ts
 * import { floats } from "@tweedie/tweedie/io";
 * import assert from "node:assert/strict";
 *
 * const half = { dtype: "BF16", shape: [2], data: new Uint16Array([0x3fc0, 0xc000]) } as const;
 * assert.deepEqual([...floats(half)], [1.5, -2]);
 * ```
 */
export function floats(tensor: HostTensor): Float32Array {
  const { dtype, data } = tensor;
  if (data instanceof Float32Array) return data;
  if (dtype === "BF16") {
    return new Float32Array(Uint32Array.from(data as Uint16Array, widened).buffer);
  }
  if (dtype === "F8_E4M3") return Float32Array.from(data as Uint8Array, (bits) => quarters[bits]!);
  if (dtype === "F8_E5M2") {
    return widenHalves(Uint16Array.from(data as Uint8Array, upper));
  }
  if (data instanceof BigInt64Array || data instanceof BigUint64Array) {
    return Float32Array.from(data, Number);
  }
  return new Float32Array(data);
}

/** The float32 bits of a bfloat16. */
const widened = (bits: number): number => bits << 16;

/** The float16 bits of a float8 with 5 bits of exponent. */
const upper = (bits: number): number => bits << 8;

/** The values of float8 with 4 bits of exponent, whose bias is 7; all ones are NaN, of either sign. */
const quarters = Float32Array.from({ length: 256 }, (_, bits) => {
  const exponent = bits >> 3 & 15, fraction = bits & 7, sign = bits & 128 ? -1 : 1;
  if ((bits & 127) === 127) return NaN;
  if (exponent === 0) return sign * fraction * 2 ** -9;
  return sign * (1 + fraction / 8) * 2 ** (exponent - 7);
});

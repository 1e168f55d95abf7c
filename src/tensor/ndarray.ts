/**
 * Tensors as views on the host, and back.
 *
 * A view is a flat array with a shape, a stride for each axis and an offset: element (i, j, ...) is
 * `data[offset + i·stride[0] + j·stride[1] + ...]`. Picking a channel, cropping, transposing and mirroring make other
 * views of the same data and copy nothing. Views are made by ndarray; whatever has these four fields is read.
 *
 * Source: M. Lysenko, "ndarray", https://github.com/scijs/ndarray.
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
import { shown } from "./check/check.ts";
// @ts-types="npm:@types/ndarray@^1.1.0"
import ndarray from "ndarray";
import type { Tensor } from "./tensor.ts";

/**
 * The arrays that a view can lie over.
 *
 * @category Tensors
 */
export type ViewData =
  | Float32Array
  | Float64Array
  | Int32Array
  | Int16Array
  | Int8Array
  | Uint16Array
  | Uint8Array
  | Uint8ClampedArray;

/**
 * What it takes to find an element: any ndarray has it.
 *
 * @category Tensors
 */
export interface ArrayView<D extends ViewData = ViewData> {
  /** The elements, and possibly others between them. */
  readonly data: D;
  /** Size of each axis. */
  readonly shape: readonly number[];
  /** Steps in `data` from one element to the next along each axis; may be negative or zero. */
  readonly stride: readonly number[];
  /** Where the first element is in `data`. */
  readonly offset: number;
}

/**
 * A view with ndarray's methods; see its manual for those that are not listed here.
 *
 * @category Tensors
 */
export interface HostView<D extends ViewData = ViewData> extends ArrayView<D> {
  /** Number of elements. */
  readonly size: number;
  /** The element at an index. */
  readonly get: (...index: number[]) => number;
  /** Sets the element at an index; the value is the last argument. */
  readonly set: (...indexAndValue: number[]) => number;
  /** The view at a fixed index of each axis that has a number; those with null stay. */
  readonly pick: (...index: (number | null)[]) => HostView<D>;
  /** The view from an index on. */
  readonly lo: (...index: number[]) => HostView<D>;
  /** The view up to an index. */
  readonly hi: (...index: number[]) => HostView<D>;
  /** Every so many elements along each axis, backwards if negative. */
  readonly step: (...steps: number[]) => HostView<D>;
  /** The axes in another order. */
  readonly transpose: (...axes: number[]) => HostView<D>;
}

/**
 * A view of an array, the last axis fastest. Shares the array.
 *
 * @category Tensors
 * @param data The elements.
 * @param shape Size of each axis; empty for a scalar.
 * @returns The view.
 * @throws {TypeError} If the data are not one of the {@link ViewData}.
 * @throws {RangeError} If the shape does not have as many elements as the data.
 *
 * @example The second channel of a pixel row
 * ```ts
 * import { view } from "@tweedie/tweedie/tensor";
 * import assert from "node:assert/strict";
 *
 * const row = view(new Uint8Array([1, 2, 3, 4, 5, 6]), [2, 3]);
 * assert.equal(row.pick(null, 1).get(1), 5);
 * ```
 */
export function view<D extends ViewData>(data: D, shape: readonly number[]): HostView<D> {
  if (!isViewData(data)) {
    throw new TypeError(
      `Cannot view an array: data must be a typed array that fits int32 or float32, got ${
        shown(data)
      }`,
    );
  }
  if (!isShape(shape) || tf.util.sizeFromShape([...shape]) !== data.length) {
    throw new RangeError(
      `Cannot view an array: shape must have ${data.length} elements, got [${shape}]`,
    );
  }
  return ndarray(data, [...shape]) as unknown as HostView<D>;
}

const isShape = (shape: readonly number[]): boolean =>
  Array.isArray(shape) && shape.every((size) => Number.isSafeInteger(size) && size >= 0);

/**
 * Downloads a tensor as a view.
 *
 * @category Tensors
 * @param tensor float32, int32 or bool, of any shape; the caller keeps it.
 * @returns A view of a copy: Float32Array, Int32Array or Uint8Array.
 * @throws {TypeError} If the tensor is of complex numbers or strings.
 *
 * @example
 * ```ts
 * import { toNdarray } from "@tweedie/tweedie/tensor";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import * as tf from "@tensorflow/tfjs-core";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const x = tf.tensor2d([[1, 2], [3, 4]]);
 * assert.equal((await toNdarray(x)).get(1, 0), 3);
 * x.dispose();
 * ```
 */
export async function toNdarray(
  tensor: Tensor,
): Promise<HostView<Float32Array | Int32Array | Uint8Array>> {
  const { dtype, shape } = tensor;
  if (dtype === "complex64" || dtype === "string") {
    throw new TypeError(`Cannot view a tensor: dtype must be float32, int32 or bool, got ${dtype}`);
  }
  // A copy, since the "cpu" backend hands out the very array that the tensor lies in.
  return view((await tensor.data()).slice(), shape);
}

/**
 * Uploads a view, in whatever order its strides give.
 *
 * @category Tensors
 * @param array Any view, an ndarray for one; the caller keeps it, and no memory is shared.
 * @returns A tensor of its shape: float32 for floats, int32 for whole numbers. The caller disposes of it.
 * @throws {TypeError} If the data are not one of the {@link ViewData}.
 * @throws {RangeError} If shape and strides do not fit each other, or reach out of the data.
 *
 * @example A mirrored image
 * ```ts
 * import { fromNdarray, view } from "@tweedie/tweedie/tensor";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const x = fromNdarray(view(new Float32Array([1, 2, 3, 4]), [2, 2]).step(1, -1));
 * assert.deepEqual(await x.array(), [[2, 1], [4, 3]]);
 * x.dispose();
 * ```
 */
export function fromNdarray(array: ArrayView): Tensor {
  const elements = elementsOf(array);
  return tf.tensor(
    elements,
    [...array.shape],
    elements instanceof Int32Array ? "int32" : "float32",
  );
}

/** A copy of the elements of a view, the last axis fastest; refuses a view that reaches out of its data. */
export function elementsOf(array: ArrayView): Float32Array | Int32Array {
  const { data, shape } = array, size = (checkReach(array), tf.util.sizeFromShape([...shape]));
  const isReal = data instanceof Float32Array || data instanceof Float64Array;
  return gathered(array, isReal ? new Float32Array(size) : new Int32Array(size));
}

/** Copies the elements, the last axis fastest. */
function gathered<A extends Float32Array | Int32Array>(
  { data, shape, stride, offset }: ArrayView,
  out: A,
): A {
  const copy = (axis: number, from: number, to: number): number => {
    if (axis === shape.length) return out[to] = data[from]!, to + 1;
    for (let i = 0; i < shape[axis]!; i++) to = copy(axis + 1, from + i * stride[axis]!, to);
    return to;
  };
  copy(0, offset, 0);
  return out;
}

/** Throws unless every element that the view has is in its data. */
function checkReach({ data, shape, stride, offset }: ArrayView): void {
  const at = "Cannot make a tensor from an array";
  if (!isViewData(data)) {
    throw new TypeError(
      `${at}: data must be a float array or whole numbers that fit int32, got ${typeName(data)}`,
    );
  }
  if (
    !isShape(shape) || stride.length !== shape.length ||
    ![...stride, offset].every(Number.isSafeInteger)
  ) {
    throw new RangeError(
      `${at}: shape [${shape}] must have a whole stride an axis, got [${stride}] from ${offset}`,
    );
  }
  const ends = shape.map((size, axis) => (size - 1) * stride[axis]!);
  const least = ends.reduce((a, b) => a + Math.min(b, 0), offset),
    most = ends.reduce((a, b) => a + Math.max(b, 0), offset);
  if (tf.util.sizeFromShape([...shape]) === 0 || (least >= 0 && most < data.length)) return;
  throw new RangeError(`${at}: indices must be in [0, ${data.length}), got ${least} to ${most}`);
}

const viewable = [
  Float32Array,
  Float64Array,
  Int32Array,
  Int16Array,
  Int8Array,
  Uint16Array,
  Uint8Array,
  Uint8ClampedArray,
] as const;

const isViewData = (data: unknown): data is ViewData =>
  viewable.some((kind) => data instanceof kind);

const typeName = (data: unknown): string => Object.prototype.toString.call(data).slice(8, -1);

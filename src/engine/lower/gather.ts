/**
 * Kernels that read and write by index.
 *
 * @module
 */

import type { Recorder } from "../graph/record.ts";
import {
  constantOf,
  elementwise,
  namedValue,
  natural,
  product,
  range,
  reshaped,
  uniform,
  type Value,
} from "../graph/value.ts";
import { cast, type Lowerings } from "./elementwise.ts";
import { matmul } from "./contraction.ts";
import { axisOf, unsupported } from "./shape.ts";

/** Rows of a table: 1 in the column that an index names, as a comparison with the columns' numbers. */
function oneHot(rec: Recorder, indices: Value, depth: number): Value {
  const columns = constantOf(range(depth), { type: "int32", shape: [depth] });
  const rows = reshaped(rec, cast(rec, indices, "int32"), [...indices.shape, 1]);
  return elementwise(rec, "Equal", [rows, columns], "bool");
}

/** Where to write what: rows of places, and numbers. */
function scattered(
  rec: Recorder,
  base: Value,
  { indices, updates, reduction }: {
    readonly indices: Value;
    readonly updates: Value;
    readonly reduction: "add" | "none";
  },
): Value {
  const places = rec.node("Cast", [natural(rec, indices)], { attributes: { to: 7 } });
  const name = rec.node("ScatterND", [natural(rec, base), places, natural(rec, updates)], {
    attributes: { reduction },
  });
  return namedValue(name, { type: base.type, shape: base.shape });
}

/** The lowerings of this file. */
export const gatheringKernels: Lowerings = {
  OneHot: (rec, { indices }, { depth, onValue = 1, offValue = 0, dtype = "int32" }) => {
    const hit = oneHot(rec, indices!, depth);
    if (onValue === 1 && offValue === 0) return cast(rec, hit, dtype);
    const [on, off] = [uniform(onValue, [], dtype), uniform(offValue, [], dtype)];
    return elementwise(rec, "Where", [hit, on, off], dtype);
  },
  GatherV2: (rec, { x, indices }, { axis, batchDims = 0 }) => {
    if (batchDims !== 0) throw unsupported("GatherV2", "batchDims", "0", batchDims);
    const along = axisOf(x!, axis), { shape, type } = x!;
    const name = rec.node("Gather", [natural(rec, x!), natural(rec, indices!)], {
      attributes: { axis: along },
    });
    const result = [...shape.slice(0, along), ...indices!.shape, ...shape.slice(along + 1)];
    return namedValue(name, { type, shape: result });
  },
  GatherNd: (rec, { params, indices }) => {
    const depth = indices!.shape.at(-1)!, { type } = params!;
    const places = rec.node("Cast", [natural(rec, indices!)], { attributes: { to: 7 } });
    const shape = [...indices!.shape.slice(0, -1), ...params!.shape.slice(depth)];
    return namedValue(rec.node("GatherND", [natural(rec, params!), places]), { type, shape });
  },
  ScatterNd: (rec, { indices, updates }, { shape }) =>
    scattered(rec, uniform(0, shape, updates!.type), {
      indices: indices!,
      updates: updates!,
      reduction: "add",
    }),
  TensorScatterUpdate: (rec, { tensor, indices, updates }) =>
    scattered(rec, tensor!, { indices: indices!, updates: updates!, reduction: "none" }),
  UnsortedSegmentSum: (rec, { x, segmentIds }, { numSegments }) => {
    const rows = x!.shape[0]!, rest = x!.shape.slice(1);
    const hits = cast(rec, oneHot(rec, segmentIds!, numSegments), "float32");
    const table = reshaped(rec, x!, [rows, product(rest)]);
    const sums = matmul(rec, hits, table, { transposeA: true });
    return reshaped(rec, sums, [numSegments, ...rest]);
  },
};

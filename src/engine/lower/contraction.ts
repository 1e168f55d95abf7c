/**
 * Kernels that multiply matrices.
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
import type { Recorder } from "../graph/record.ts";
import {
  namedValue,
  natural,
  placed,
  product,
  range,
  reshaped,
  same,
  type Value,
} from "../graph/value.ts";
import { elementwiseKernels, type Lowerings } from "./elementwise.ts";
import { unsupported } from "./shape.ts";

/** Which operands are to be read with their last two axes exchanged. */
export interface Sides {
  /** The first. Default: false. */
  readonly transposeA?: boolean;
  /** The second. Default: false. */
  readonly transposeB?: boolean;
}

/** A matrix in memory. */
interface Operand {
  readonly name: string;
  /** Whether it lies in memory with its last two axes exchanged. */
  readonly turned: boolean;
}

/** A value as an operand: as it lies, if that is row by row or column by column. */
function operand(rec: Recorder, value: Value): Operand {
  const rank = value.shape.length, straight = range(rank);
  const turned = [...range(rank - 2), rank - 1, rank - 2];
  const lying = value.order.filter((axis) => value.stored[axis] !== 1);
  const fits = (order: readonly number[]): boolean =>
    same(lying, order.filter((axis) => value.stored[axis] !== 1));
  if (value.values === undefined && !fits(straight) && fits(turned)) {
    return { name: placed(rec, value, turned), turned: true };
  }
  return { name: placed(rec, value, straight), turned: false };
}

/** Products of matrices, [..., M, K] × [..., K, N], with broadcasting over the leading axes. */
export function matmul(rec: Recorder, a: Value, b: Value, sides: Sides = {}): Value {
  const { transposeA = false, transposeB = false } = sides, rank = a.shape.length;
  const rows = a.shape[rank - (transposeA ? 1 : 2)]!,
    columns = b.shape[b.shape.length - (transposeB ? 2 : 1)]!;
  const batch = tf.broadcast_util.assertAndGetBroadcastShape(
    [...a.shape.slice(0, -2)],
    [...b.shape.slice(0, -2)],
  );
  if (product(batch) === 1 && rank > 2) {
    const flat = (value: Value): Value => reshaped(rec, value, value.shape.slice(-2));
    return reshaped(rec, matmul(rec, flat(a), flat(b), sides), [...batch, rows, columns]);
  }
  const left = operand(rec, a), right = operand(rec, b), shape = [...batch, rows, columns];
  const turned = [left.turned !== transposeA, right.turned !== transposeB] as const;
  return namedValue(multiplied(rec, [left.name, right.name], { rank, turned }), {
    type: "float32",
    shape,
  });
}

/** A product of two stored matrices, or stacks of them, each turned or not. */
export function multiplied(
  rec: Recorder,
  names: readonly [string, string],
  { rank, turned }: { readonly rank: number; readonly turned: readonly [boolean, boolean] },
): string {
  if (rank === 2) {
    const attributes = { transA: turned[0] ? 1 : 0, transB: turned[1] ? 1 : 0 };
    return rec.node("Gemm", names, { attributes });
  }
  // ONNX Runtime makes one operator of a product and a transpose of its operand; others can read this too.
  const perm = [...range(rank - 2), rank - 1, rank - 2];
  const straight = names.map((name, i) =>
    turned[i] ? rec.node("Transpose", [name], { attributes: { perm } }) : name
  );
  return rec.node("MatMul", straight);
}

/** Activations that tfjs fuses into products and convolutions. */
export function activated(
  rec: Recorder,
  value: Value,
  { activation, leakyreluAlpha, weights }: {
    readonly activation?: string | undefined;
    readonly leakyreluAlpha?: number;
    readonly weights?: Value | undefined;
  },
): Value {
  if (activation === undefined || activation === "linear") return value;
  const kernel = activations[activation];
  if (kernel === undefined) {
    throw unsupported(
      "a fused kernel",
      "activation",
      Object.keys(activations).join(", "),
      activation,
    );
  }
  const operands = weights ? { x: value, alpha: weights } : { x: value };
  return elementwiseKernels[kernel]!(rec, operands, { alpha: leakyreluAlpha }) as Value;
}

const activations: Readonly<Record<string, string>> = {
  relu: "Relu",
  relu6: "Relu6",
  elu: "Elu",
  sigmoid: "Sigmoid",
  prelu: "Prelu",
  leakyrelu: "LeakyRelu",
};

/** The lowerings of this file. */
export const contractionKernels: Lowerings = {
  BatchMatMul: (rec, { a, b }, { transposeA, transposeB }) => {
    const rank = Math.max(a!.shape.length, b!.shape.length);
    const full = (value: Value): Value =>
      reshaped(rec, value, [...Array<number>(rank - value.shape.length).fill(1), ...value.shape]);
    return matmul(rec, full(a!), full(b!), { transposeA, transposeB });
  },
  _FusedMatMul: (rec, { a, b, bias, preluActivationWeights }, attributes) => {
    const { transposeA, transposeB, activation, leakyreluAlpha } = attributes;
    const sum = matmul(rec, a!, b!, { transposeA, transposeB });
    const biased = bias ? elementwiseKernels["Add"]!(rec, { a: sum, b: bias }, {}) as Value : sum;
    return activated(rec, biased, { activation, leakyreluAlpha, weights: preluActivationWeights });
  },
  Einsum: (rec, operands, { equation }) => {
    const all = Object.values(operands);
    const { allDims, summedDims, idDims } = tf.backend_util.decodeEinsumEquation(
      equation,
      all.length,
    );
    const size = (dim: number): number =>
      all.map(({ shape }, i) => shape[idDims[i]!.indexOf(dim)]).find((found) =>
        found !== undefined
      )!;
    const shape = range(allDims.length - summedDims.length).map(size);
    const name = rec.node("Einsum", all.map((value) => natural(rec, value)), {
      attributes: { equation },
    });
    return namedValue(name, { type: "float32", shape });
  },
};

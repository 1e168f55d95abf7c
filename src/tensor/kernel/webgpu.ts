/**
 * Repairs of tfjs's WebGPU backend, and a guard over its device.
 *
 * Most of its shaders know tensors of up to four axes. An operation that treats each axis by itself (padding,
 * tiling, reversing, accumulating) is right at any rank once the axes before and after the one in hand are merged:
 *
 * ```text
 *   [d₁, …, d_k, …, d_r]  →  [d₁⋯d_{k−1}, d_k, d_{k+1}⋯d_r]
 * ```
 *
 * Accumulating backwards is wrong at any rank: the shader that is compiled for the first length is used for all. So
 * it is done by reversing, accumulating forwards and reversing again.
 *
 * What a device cannot do it does not report in time: a buffer beyond its limits or one of no elements gives zeros or
 * what the memory held before. {@link guard} refuses both before anything is sent.
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
import { onWebGpu } from "./nan.ts";
import { type Call, everywhere, filled, type Repair, repairBackend } from "./repair.ts";
import { longSums } from "./sum.ts";
import type { Tensor } from "../tensor.ts";

/** As much of the package's `WebGPUBackend` as is called here. */
export interface GpuBackend extends tf.KernelBackend {
  /** The device that it runs on. */
  readonly device: GPUDevice;
  /** Runs a program on operands. */
  runWebGPUProgram: (
    program: { readonly outputShape: number[] },
    operands: readonly tf.TensorInfo[],
    ...rest: unknown[]
  ) => tf.TensorInfo;
  /** Opens an encoder of commands, if there is none. */
  ensureCommandEncoderReady(): void;
  /** Closes the pass of commands. */
  endComputePassEncoder(): void;
  /** Sends what has been encoded. */
  submitQueue(): void;
}

const size = tf.util.sizeFromShape;

/** x with the axes before and after one merged: [outer, length, inner]. */
const around = (x: Tensor, axis: number): Tensor =>
  tf.reshape(x, [size(x.shape.slice(0, axis)), x.shape[axis]!, size(x.shape.slice(axis + 1))]);

/** Applies functions of [outer, length, inner] that change its length, one axis after the other. */
function eachAxis(
  x: Tensor,
  axes: readonly number[],
  f: (sheet: Tensor, axis: number) => Tensor,
): Tensor {
  return axes.reduce((y, axis) => {
    const sheet = f(around(y, axis), axis);
    return tf.reshape(sheet, y.shape.with(axis, sheet.shape[1]!));
  }, x);
}

const highRank = ({ inputs }: Call): boolean => inputs["x"]!.rank > 4;

/** The axes whose entry in a list is not the one that leaves them as they are. */
const touched = <T>(list: readonly T[], idle: (entry: T) => boolean): number[] =>
  list.flatMap((entry, axis) => idle(entry) ? [] : [axis]);

type Paddings = readonly (readonly [before: number, after: number])[];

const scans: Repair = {
  kernels: ["Cumsum", "Cumprod"],
  wrong: (call) => highRank(call) || !!call.attrs["reverse"],
  right: ({ inputs, attrs: { axis, exclusive, reverse } }, plain) => {
    const x = inputs["x"]!, turned = (t: Tensor) => reverse ? tf.reverse(t, 1) : t;
    const sheet = turned(around(x, axis as number));
    const sums = plain({ inputs: { x: sheet }, attrs: { axis: 1, exclusive, reverse: false } });
    return tf.reshape(turned(sums), x.shape);
  },
};

const paddings: Repair = {
  kernels: ["PadV2", "MirrorPad"],
  wrong: highRank,
  right: ({ inputs, attrs }, plain) => {
    const amounts = attrs["paddings"] as Paddings;
    return eachAxis(
      inputs["x"]!,
      touched(amounts, ([before, after]) => before === 0 && after === 0),
      (x, axis) =>
        plain({ inputs: { x }, attrs: { ...attrs, paddings: [[0, 0], amounts[axis], [0, 0]] } }),
    );
  },
};

const tiles: Repair = {
  kernels: ["Tile"],
  wrong: highRank,
  right: ({ inputs, attrs }, plain) => {
    const reps = attrs["reps"] as number[];
    return eachAxis(
      inputs["x"]!,
      touched(reps, (times) => times === 1),
      (x, axis) => plain({ inputs: { x }, attrs: { reps: [1, reps[axis]!, 1] } }),
    );
  },
};

const reversals: Repair = {
  kernels: ["Reverse"],
  wrong: highRank,
  right: ({ inputs, attrs }, plain) =>
    eachAxis(
      inputs["x"]!,
      tf.util.parseAxisParam(attrs["dims"] as number[], inputs["x"]!.shape),
      (x) => plain({ inputs: { x }, attrs: { dims: [1] } }),
    ),
};

const choices: Repair = {
  kernels: ["Select"],
  wrong: ({ inputs: { t } }) => t!.rank > 4,
  right: ({ inputs }, plain) => {
    const shape = inputs["t"]!.shape, condition = inputs["condition"]!;
    // A condition of one axis chooses whole slices.
    const rows = [condition.size, size(shape) / condition.size];
    const full = tf.broadcastTo(tf.reshape(condition, [condition.size, 1]), rows);
    const flat = (x: Tensor) => tf.reshape(x, rows);
    const found = plain({
      inputs: { condition: full, t: flat(inputs["t"]!), e: flat(inputs["e"]!) },
    });
    return tf.reshape(found, shape);
  },
};

const device = (): GPUDevice => (tf.backend() as GpuBackend).device;

/** A shader binds its result and its operands. */
const operands = (): number => device().limits.maxStorageBuffersPerShaderStage - 1;

const sums: Repair = {
  kernels: ["AddN"],
  wrong: ({ inputs }) => Object.keys(inputs).length > operands(),
  right: ({ inputs }) => {
    const all = Object.values(inputs), most = operands();
    const groups = Array.from(
      { length: Math.ceil(all.length / most) },
      (_, i) => tf.addN(all.slice(i * most, (i + 1) * most)),
    );
    return tf.addN(groups);
  },
};

const places: Repair = {
  kernels: ["ArgMax", "ArgMin"],
  wrong: ({ inputs }) => inputs["x"]!.rank === 1,
  right: (_, plain) => tf.reshape(plain(), []),
};

const lines: Repair = {
  kernels: ["LinSpace"],
  wrong: ({ attrs }) => attrs["num"] === 1,
  right: ({ attrs }) => filled([1], attrs["start"] as number, "float32"),
};

/** Rows whose number is beyond the last segment, which the shader adds to some other, land in one that is cut off. */
const segments: Repair = {
  kernels: ["UnsortedSegmentSum"],
  wrong: () => true,
  right: ({ inputs: { x, segmentIds }, attrs }, plain) => {
    const count = attrs["numSegments"] as number;
    const ids = tf.minimum(segmentIds!, tf.scalar(count, "int32"));
    const sums = plain({ inputs: { x: x!, segmentIds: ids }, attrs: { numSegments: count + 1 } });
    return tf.slice(sums, 0, count);
  },
};

interface ConvAttrs {
  readonly strides: number | [number, number];
  readonly dilations: number | [number, number];
  readonly pad: "same" | "valid" | number;
  readonly dimRoundingMode?: "floor" | "round" | "ceil";
}

type Shape4 = [number, number, number, number];

const convolutions: Repair = {
  kernels: ["Conv2D"],
  wrong: ({ inputs }) => inputs["x"]!.size === 0,
  right: ({ inputs: { x, filter }, attrs }) => {
    const { strides, dilations, pad, dimRoundingMode } = attrs as unknown as ConvAttrs;
    const shapes = [x!.shape as Shape4, filter!.shape as Shape4] as const;
    const { outShape } = tf.backend_util.computeConv2DInfo(
      ...shapes,
      strides,
      dilations,
      pad,
      dimRoundingMode,
    );
    return filled(outShape, 0, "float32");
  },
};

/** Repairs the webgpu backend. Called by `useBackend`; calling it again changes nothing. */
export function repairWebGpu(): void {
  repairBackend("webgpu", [
    longSums,
    scans,
    paddings,
    tiles,
    reversals,
    choices,
    sums,
    places,
    lines,
    segments,
    convolutions,
    ...onWebGpu,
    ...everywhere,
  ]);
}

/** Bytes of an element of any type on the device. */
const elementBytes = 4;

/**
 * Makes a backend refuse what its device would answer with zeros or stale memory.
 *
 * From here on each program that is run throws a RangeError, before anything is sent to the device, if one of its
 * tensors has more bytes than the device binds, or if one of its operands has no elements but its result has.
 *
 * @param backend The backend, which is changed.
 * @returns The same backend.
 */
export function guard(backend: GpuBackend): GpuBackend {
  const { maxStorageBufferBindingSize, maxBufferSize } = backend.device.limits;
  const most = Math.floor(Math.min(maxStorageBufferBindingSize, maxBufferSize) / elementBytes);
  const run = backend.runWebGPUProgram.bind(backend);
  backend.runWebGPUProgram = (program, operands, ...rest) => {
    const shapes = operands.map(({ shape }) => shape);
    for (const shape of [program.outputShape, ...shapes]) checkSize(shape, most);
    if (size(program.outputShape) > 0) shapes.forEach(checkNotEmpty);
    return run(program, operands, ...rest);
  };
  return backend;
}

function checkSize(shape: number[], most: number): void {
  if (size(shape) <= most) return;
  throw new RangeError(
    `Cannot run on the GPU: a tensor must have at most ${most} elements, got shape [${shape}]`,
  );
}

function checkNotEmpty(shape: number[]): void {
  if (size(shape) > 0) return;
  throw new RangeError(
    `Cannot run on the GPU: an operand must have elements, got shape [${shape}]`,
  );
}

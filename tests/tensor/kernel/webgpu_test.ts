/**
 * tfjs's WebGPU backend, repaired, gives the reference engine's numbers, values and gradients.
 */

import { describe } from "@std/testing/bdd";
import assert from "node:assert/strict";
import fc from "fast-check";
import * as tf from "@tensorflow/tfjs-core";
import { checkGpu, useBackend } from "../../../src/tensor/backend/backend.ts";
import { key } from "../../../src/tensor/key.ts";
import { normal } from "../../../src/tensor/random.ts";
import { cases } from "../cases.ts";
import { fields } from "../differences.ts";
import { assertSame, both, onGpu, useGpu } from "./gpu.ts";
import { live } from "../../measure.ts";

/** Numbers that are on the engine's device before they are used. */
const resident = (shape: readonly number[], number = 1): tf.Tensor =>
  tf.mul(normal(key(number), shape), 1);

const small = fc.integer({ min: 1, max: 4 });

/** A shape of a rank and the axes in an order. */
const shapeOf = (rank: number) => fc.array(small, { minLength: rank, maxLength: rank });
const high = fc.integer({ min: 5, max: 6 }).chain(shapeOf);
const any = fc.integer({ min: 1, max: 6 }).chain(shapeOf);

/** Per axis of a shape an arbitrary thing. */
const each = <T>(shape: readonly number[], thing: (size: number) => fc.Arbitrary<T>) =>
  fc.tuple(...shape.map(thing)) as fc.Arbitrary<T[]>;

type Computation = () => tf.Tensor[];

/** What tfjs's own kernels get wrong, on random shapes. */
const repaired: Record<string, fc.Arbitrary<Computation>> = {
  "cumsum() and cumprod() of any axis, direction and rank": any.chain((shape) =>
    fc.tuple(
      fc.constantFrom(tf.cumsum, tf.cumprod),
      fc.constant(shape),
      fc.integer({ min: -shape.length, max: shape.length - 1 }),
      fc.boolean(),
      fc.boolean(),
    )
  ).map(([f, shape, axis, exclusive, reverse]) => () => [
    f(resident(shape), axis, exclusive, reverse),
  ]),
  "pad() of rank 5 and 6": high.chain((shape) =>
    fc.tuple(fc.constant(shape), each(shape, () => fc.tuple(fc.nat(2), fc.nat(2))))
  ).map(([shape, paddings]) => () => [tf.pad(resident(shape), paddings, 0.25)]),
  "mirrorPad() of rank 5 and 6": high.chain((shape) =>
    fc.tuple(
      fc.constant(shape),
      each(shape, (size) => fc.tuple(fc.nat(size - 1), fc.nat(size - 1))),
      fc.constantFrom("reflect" as const, "symmetric" as const),
    )
  ).map(([shape, paddings, mode]) => () => [tf.mirrorPad(resident(shape), paddings, mode)]),
  "tile() of rank 5 and 6": high.chain((shape) =>
    fc.tuple(fc.constant(shape), each(shape, () => fc.integer({ min: 1, max: 2 })))
  ).map(([shape, reps]) => () => [tf.tile(resident(shape), reps)]),
  "broadcastTo() of rank 5 and 6": high.chain((shape) =>
    fc.tuple(fc.constant(shape), each(shape, (size) => fc.constantFrom(1, size)))
  ).map(([shape, from]) => () => [tf.broadcastTo(resident(from), shape)]),
  "reverse() of rank 5 and 6": high.chain((shape) =>
    fc.tuple(fc.constant(shape), fc.subarray([...shape.keys()], { minLength: 1 }))
  ).map(([shape, axes]) => () => [tf.reverse(resident(shape), axes)]),
  "where() and divNoNan() of rank 5 and 6": high.chain((shape) =>
    fc.tuple(fc.constant(shape), each(shape, (size) => fc.constantFrom(1, size)))
  ).map(([shape, part]) => () => {
    const x = resident(shape), y = resident(part, 2);
    return [tf.where(tf.greater(y, 0), x, tf.neg(y)), tf.divNoNan(x, tf.maximum(y, 0))];
  }),
  "matMul() of batches broadcast both ways": fc.integer({ min: 1, max: 3 }).chain(shapeOf).chain(
    (batch) =>
      fc.tuple(
        each(batch, (size) => fc.constantFrom(1, size)),
        each(batch, (size) => fc.constantFrom(1, size)),
        fc.nat(batch.length),
        fc.tuple(small, small, small),
        fc.tuple(fc.boolean(), fc.boolean()),
      ),
  ).map(([a, b, cut, [m, k, n], [ta, tb]]) => () => [
    tf.matMul(
      resident([...a, ...(ta ? [k, m] : [m, k])]),
      resident([...b.slice(cut), ...(tb ? [n, k] : [k, n])], 2),
      ta,
      tb,
    ),
  ]),
  "addN() of up to 40 tensors": fc.integer({ min: 1, max: 40 }).map((count) => () => [
    tf.addN(Array.from({ length: count }, (_, i) => resident([3], i))),
  ]),
};

/** What goes wrong at single places. */
const corners: Record<string, Computation> = {
  "reductions over nothing": () => {
    const reduce = [tf.sum, tf.prod, tf.max, tf.min, tf.mean] as ((
      x: tf.Tensor,
      axis?: number,
      keep?: boolean,
    ) => tf.Tensor)[];
    const logical = [tf.any, tf.all] as typeof reduce;
    const none = tf.zeros([0, 3]), whole = tf.zeros([0], "int32"), never = tf.zeros([2, 0], "bool");
    return [
      ...reduce.flatMap((f) => [f(none, 0), f(none), f(none, 0, true), f(none, 1)]),
      ...logical.flatMap((f) => [f(never, 1), f(never, 0), f(never)]),
      tf.sum(whole),
      tf.prod(whole),
    ];
  },
  "gradients over nothing": () =>
    [tf.sum, tf.max, tf.prod].map((f) => tf.grad((x) => f(tf.square(x)))(tf.zeros([0, 3]))),
  "products over nothing": () => [
    tf.matMul(tf.zeros([2, 0]), tf.zeros([0, 3])),
    tf.matMul(tf.zeros([2, 0]), tf.zeros([3, 0]), false, true),
    tf.matMul(tf.zeros([0, 2]), tf.zeros([2, 3])),
  ],
  "convolutions of no images": () => [
    tf.conv2d(
      tf.zeros([0, 4, 5, 2]) as tf.Tensor4D,
      tf.ones([3, 3, 2, 4]) as tf.Tensor4D,
      2,
      "same",
    ),
  ],
  "argMax() and argMin() of one axis": () => [
    tf.argMax(resident([7])),
    tf.argMin(resident([40])),
    tf.argMax(resident([3, 4]), 0),
  ],
  "linspace() of one number": () => [tf.linspace(2, 5, 1), tf.linspace(2, 5, 4)],
  "the gradient of a nearest-neighbour resize of a batch": () => [
    tf.engine().runKernel("ResizeNearestNeighborGrad", {
      images: tf.zeros([2, 2, 2, 1]),
      dy: resident([2, 4, 4, 1]),
    }, { alignCorners: false }) as tf.Tensor,
  ],
};

describe("webgpu kernels", () => {
  for (const [name, drawn] of Object.entries(repaired)) {
    onGpu(`${name} gives the reference's numbers on webgpu`, async () => {
      const computations = fc.sample(drawn, { numRuns: 12, seed: 5 });
      assertSame(await both(() => computations.flatMap((f) => f())), 1e-5);
    });
  }

  for (const [name, computation] of Object.entries(corners)) {
    onGpu(`${name} give the reference's numbers on webgpu`, async () => {
      assertSame(await both(computation), 1e-6);
    });
  }

  onGpu("cumsum() backwards of a second length is not that of the first on webgpu", async () => {
    await useGpu();
    const sums = [3, 6, 2].map((n) => tf.cumsum(tf.ones([2, n]), 1, false, true));
    const [, second] = await Promise.all(sums.map((t) => t.data()));
    assert.deepEqual([...second!], [6, 5, 4, 3, 2, 1, 6, 5, 4, 3, 2, 1]);
    tf.dispose(sums);
  });

  onGpu("a tensor beyond the device's limit is refused and nothing is lost on webgpu", async () => {
    await useGpu();
    const { device } = tf.backend() as unknown as { device: GPUDevice };
    const { maxStorageBufferBindingSize, maxBufferSize } = device.limits;
    const most = Math.floor(Math.min(maxStorageBufferBindingSize, maxBufferSize) / 4);
    const x = tf.tensor1d([1, 2]), alive = live();
    assert.throws(() => tf.tidy(() => tf.broadcastTo(tf.reshape(x, [2, 1]), [2, most])), {
      name: "RangeError",
      message: `Cannot run on the GPU: a tensor must have at most ${most} elements, ` +
        `got shape [2,${most}]`,
    });
    assert.equal(live(), alive);
    const doubled = tf.mul(x, 2);
    assert.deepEqual([...await doubled.data()], [2, 4]);
    await checkGpu();
    tf.dispose([x, doubled]);
  });

  onGpu("a shader is not given an operand of no elements on webgpu", async () => {
    await useGpu();
    tf.tidy(() =>
      assert.throws(() => tf.argMax(tf.zeros([0, 3]), 0), {
        name: "RangeError",
        message: "Cannot run on the GPU: an operand must have elements, got shape [3,0]",
      })
    );
    await checkGpu();
  });

  onGpu("repairs leave no tensor behind on webgpu", async () => {
    const computations = Object.values(repaired).flatMap((drawn) =>
      fc.sample(drawn, { numRuns: 2, seed: 9 })
    );
    for (const engine of ["cpu", "webgpu"] as const) {
      await useBackend(engine);
      const alive = live();
      for (const f of [...computations, ...Object.values(corners)]) tf.dispose(tf.tidy(f));
      assert.equal(live(), alive);
    }
  });
});

/** WGSL allows a sine an error of 2⁻¹¹, and the fields are made with one. */
const tolerance = 1e-3;

describe("gradients on webgpu", () => {
  for (const [name, one] of Object.entries(cases)) {
    onGpu(`${name} has the reference's gradients on webgpu to order 2`, async () => {
      assertSame(await both(() => fields(one, 2).flat()), tolerance);
    });
  }
});

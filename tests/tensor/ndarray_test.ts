import { beforeEach, describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import fc from "fast-check";
import * as tf from "@tensorflow/tfjs-core";
import {
  type ArrayView,
  fromNdarray,
  toNdarray,
  view,
  type ViewData,
} from "../../src/tensor/ndarray.ts";
import { useBackend } from "../../src/tensor/backend/backend.ts";
import { live } from "../measure.ts";

const counting = (n: number): Float32Array => Float32Array.from({ length: n }, (_, i) => i);

const product = (shape: readonly number[]): number => shape.reduce((a, b) => a * b, 1);

/** Every index of a shape, the last axis fastest. */
const indices = (shape: readonly number[]): number[][] =>
  shape.reduce<number[][]>(
    (all, size) => all.flatMap((index) => Array.from({ length: size }, (_, i) => [...index, i])),
    [[]],
  );

async function uploaded(array: ArrayView): Promise<unknown> {
  const tensor = fromNdarray(array), values = await tensor.array();
  tensor.dispose();
  return values;
}

describe("view", () => {
  it("view() finds elements with the last axis fastest, and shares the array", () => {
    const data = counting(24), a = view(data, [2, 3, 4]);
    assert.deepEqual([a.get(1, 2, 3), a.get(0, 1, 0), a.size, a.offset], [23, 4, 24, 0]);
    assert.deepEqual([a.shape, a.stride], [[2, 3, 4], [12, 4, 1]]);
    a.set(0, 0, 1, 50);
    assert.equal(data[1], 50);
  });

  it("view() refuses a shape of another size", () => {
    for (const shape of [[2, 2], [3, 3], [], [-2, -3], [1.5, 4], [NaN]]) {
      const message = `Cannot view an array: shape must have 6 elements, got [${shape}]`;
      assert.throws(() => view(counting(6), shape), { name: "RangeError", message });
    }
    const none = undefined as unknown as number[];
    assert.throws(() => view(counting(6), none), /shape must have 6 elements, got \[undefined\]$/);
  });

  it("view() refuses data that are no typed array", () => {
    for (const data of [[1, 2], undefined, new Uint32Array(2)]) {
      assert.throws(() => view(data as unknown as Float32Array, [2]), {
        name: "TypeError",
        message:
          /^Cannot view an array: data must be a typed array that fits int32 or float32, got /,
      });
    }
  });

  it("view() does not keep the shape that it is given", () => {
    const shape = [2, 3], a = view(counting(6), shape);
    shape[0] = 9;
    assert.deepEqual(a.shape, [2, 3]);
  });
});

describe("toNdarray", () => {
  beforeEach(() => useBackend("cpu"));

  it("toNdarray() downloads float32, int32 and bool of any rank", async () => {
    const cases: [tf.Tensor, number[], ViewData][] = [
      [tf.tensor(counting(8), [2, 2, 2]), [2, 2, 2], counting(8)],
      [tf.tensor1d([-1, 5], "int32"), [2], new Int32Array([-1, 5])],
      [tf.tensor1d([1, 0], "bool"), [2], new Uint8Array([1, 0])],
      [tf.scalar(2.5), [], new Float32Array([2.5])],
      [tf.zeros([0, 3]), [0, 3], new Float32Array()],
    ];
    for (const [tensor, shape, data] of cases) {
      const array = await toNdarray(tensor);
      assert.deepEqual([array.shape, array.data], [shape, data]);
      tensor.dispose();
    }
  });

  it("toNdarray() hands out a copy, and keeps no tensor", async () => {
    const x = tf.tensor1d([1, 2]), before = live(), array = await toNdarray(x);
    array.set(0, 9);
    assert.deepEqual([...await x.data()], [1, 2]);
    assert.equal(live(), before);
    x.dispose();
  });

  it("toNdarray() refuses strings", async () => {
    const x = tf.tensor1d(["a"]);
    const message = "Cannot view a tensor: dtype must be float32, int32 or bool, got string";
    await assert.rejects(toNdarray(x), { name: "TypeError", message });
    x.dispose();
  });
});

describe("fromNdarray", () => {
  beforeEach(() => useBackend("cpu"));

  it("fromNdarray() and toNdarray() are each other's inverse", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.nat(4), { maxLength: 4 }), async (shape) => {
        const x = fromNdarray(view(counting(product(shape)), shape)), back = await toNdarray(x);
        assert.deepEqual([x.shape, x.dtype, back.data], [
          shape,
          "float32",
          counting(product(shape)),
        ]);
        x.dispose();
      }),
    );
  });

  it("fromNdarray() follows transposed, cropped, picked and mirrored views", async () => {
    const axis = fc.record({
      size: fc.integer({ min: 1, max: 5 }),
      low: fc.nat(1),
      cut: fc.nat(1),
      step: fc.constantFrom(-2, -1, 1, 2),
    });
    const axes = fc.array(axis, { minLength: 1, maxLength: 4 });
    let strided = 0;
    await fc.assert(
      fc.asyncProperty(
        axes,
        fc.infiniteStream(fc.nat(100)),
        fc.boolean(),
        async (of, turns, pick) => {
          const shape = of.map(({ size }) => size), low = of.map(({ size, low }) => low % size);
          const order = shape.map((_, i) => [turns.next().value!, i] as const).sort(([a], [b]) =>
            a - b
          ).map(([, i]) => i);
          const high = of.map(({ size, cut }, i) => Math.max(size - low[i]! - cut, 1));
          const cut = view(counting(product(shape)), shape).lo(...low).hi(...high).step(
            ...of.map(({ step }) => step),
          ).transpose(...order);
          const array = pick ? cut.pick(0) : cut;
          const wanted = indices(array.shape).map((index) => array.get(...index)),
            x = fromNdarray(array);
          assert.deepEqual([x.shape, [...await x.data()]], [[...array.shape], wanted]);
          if (array.stride.some((stride) => stride < 0) && array.size > 2) strided++;
          x.dispose();
        },
      ),
      { numRuns: 300, seed: 3 },
    );
    assert(strided > 20, `${strided} mirrored`);
  });

  it("fromNdarray() reads any object of the four fields, zero strides included", async () => {
    const repeated = { data: new Float32Array([1, 2]), shape: [2, 2], stride: [0, 1], offset: 0 };
    assert.deepEqual(await uploaded(repeated), [[1, 2], [1, 2]]);
    const planes = { data: counting(8), shape: [2, 2, 2], stride: [2, 1, 4], offset: 0 }; // CHW as HWC
    assert.deepEqual(await uploaded(planes), [[[0, 4], [1, 5]], [[2, 6], [3, 7]]]);
  });

  it("fromNdarray() makes float32 of floats and int32 of whole numbers", () => {
    const dtypes = [
      new Float64Array(1),
      new Float32Array(1),
      new Uint8Array(1),
      new Int16Array(1),
      new Uint8ClampedArray(1),
    ]
      .map((data) => {
        const x = fromNdarray(view(data, [1]));
        x.dispose();
        return x.dtype;
      });
    assert.deepEqual(dtypes, ["float32", "float32", "int32", "int32", "int32"]);
  });

  it("fromNdarray() shares no memory with the view, and makes one tensor", async () => {
    const data = counting(2), before = live(), x = fromNdarray(view(data, [2]));
    data.fill(9);
    assert.deepEqual([...await x.data()], [0, 1]);
    assert.equal(live(), before + 1);
    x.dispose();
  });

  const good = { data: counting(6), shape: [2, 3], stride: [3, 1], offset: 0 };
  const faults: [string, object, string, RegExp][] = [
    ["too far", { offset: 1 }, "RangeError", /indices must be in \[0, 6\), got 1 to 6$/],
    ["below zero", { stride: [3, -1] }, "RangeError", /indices must be in \[0, 6\), got -2 to 3$/],
    ["below zero and back", { stride: [3, -1], offset: 1 }, "RangeError", /got -1 to 4$/],
    [
      "a stride too few",
      { stride: [1] },
      "RangeError",
      /shape \[2,3\] must have a whole stride an axis, got \[1\] from 0$/,
    ],
    ["half a stride", { stride: [3, 0.5] }, "RangeError", /whole stride an axis, got \[3,0.5\]/],
    ["half an offset", { offset: 0.5 }, "RangeError", /from 0.5$/],
    ["a negative size", { shape: [-2, -3] }, "RangeError", /shape \[-2,-3\] must/],
    [
      "numbers beyond int32",
      { data: new Uint32Array(6) },
      "TypeError",
      /fit int32, got Uint32Array$/,
    ],
    ["bigints", { data: new BigInt64Array(6) }, "TypeError", /got BigInt64Array$/],
    ["a list", { data: [1, 2, 3, 4, 5, 6] }, "TypeError", /got Array$/],
  ];
  for (const [what, wrong, name, message] of faults) {
    it(`fromNdarray() refuses a view with ${what}`, () => {
      assert.throws(() => fromNdarray({ ...good, ...wrong } as ArrayView), { name, message });
    });
  }

  it("fromNdarray() takes an empty view wherever it points", () => {
    const x = fromNdarray({ ...good, shape: [2, 0], offset: 99 });
    assert.deepEqual([x.shape, x.size], [[2, 0], 0]);
    x.dispose();
  });
});

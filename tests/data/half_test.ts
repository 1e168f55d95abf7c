import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import fc from "fast-check";
import { decodeSafetensors, encodeSafetensors, floats } from "../../src/io/safetensors.ts";
import { narrowHalves, widenHalves } from "../../src/data/file/half.ts";

const bits = Uint16Array.from({ length: 65536 }, (_, i) => i);
const halves = new Float16Array(bits.buffer);

/** The bits that the runtime itself rounds numbers to. */
const rounded = (numbers: readonly number[]): Uint16Array =>
  new Uint16Array(new Float16Array(numbers).buffer);

/** Runs without the runtime's half precision, as in Node 20. */
function withoutHalf<A>(body: () => A): A {
  const found = Object.getOwnPropertyDescriptor(globalThis, "Float16Array")!;
  delete (globalThis as { Float16Array?: unknown }).Float16Array;
  try {
    return body();
  } finally {
    Object.defineProperty(globalThis, "Float16Array", found);
  }
}

describe("widenHalves() and narrowHalves()", () => {
  it("widenHalves() gives Float16Array's numbers, of all 65,536 patterns", () => {
    const wide = widenHalves(bits);
    bits.forEach((i) => assert.ok(Object.is(wide[i], halves[i]), `${i}: ${wide[i]}`));
  });

  it("narrowHalves() gives Float16Array's bits at all patterns, between them and next to there", () => {
    const near = [...halves].flatMap((x, i) => {
      const middle = (x + halves[(i + 1) & 65535]!) / 2;
      return [x, middle, middle * (1 + 2 ** -52), middle * (1 - 2 ** -52), middle + 5e-324];
    });
    const ends = [65519.99, 65520, -65520, 1e300, -0, 5e-324, 2 ** -25, 2 ** -25 * (1 + 2 ** -52)];
    const all = [...near, ...ends];
    const got = narrowHalves(all), want = rounded(all);
    // A runtime may keep the sign of NaN, which means nothing.
    const wrong = all.findIndex((x, i) => got[i] !== want[i] && !Number.isNaN(x));
    assert.equal(wrong, -1, `${all[wrong]}: ${got[wrong]}, not ${want[wrong]}`);
    assert.ok(all.every((x, i) => !Number.isNaN(x) || Number.isNaN(widenHalves([got[i]!])[0])));
  });

  it("narrowHalves() gives Float16Array's bits of any numbers", () => {
    const number = fc.oneof(fc.double(), fc.double({ min: -70_000, max: 70_000 }), fc.float());
    fc.assert(fc.property(fc.array(number), (x) => {
      const numbers = x.filter((value) => !Number.isNaN(value));
      assert.deepEqual(narrowHalves(numbers), rounded(numbers));
    }));
  });
});

describe("safetensors without Float16Array", () => {
  const x = { dtype: "F32", shape: [3], data: new Float32Array([0.5, -1 / 3, 1e-7]) } as const;
  const file = encodeSafetensors({ x }, {}, { dtype: "F16" });

  it("half precision arrives as F32 with the same numbers, and is written again as it was", () => {
    const there = decodeSafetensors(file).tensors["x"]!;
    assert.equal(there.dtype, "F16");
    withoutHalf(() => {
      const here = decodeSafetensors(file).tensors["x"]!;
      assert.equal(here.dtype, "F32");
      assert.deepEqual(here.data, new Float32Array(there.data as Float16Array));
      assert.deepEqual(encodeSafetensors({ x: here }, {}, { dtype: "F16" }), file);
      assert.deepEqual(encodeSafetensors({ x }, {}, { dtype: "F16" }), file);
    });
  });

  it("what cannot be held here is refused as any other array", () => {
    withoutHalf(() => {
      const tensor = { dtype: "F16", shape: [1], data: new Uint16Array(1) } as never;
      assert.throws(() => encodeSafetensors({ tensor }), {
        name: "TypeError",
        message:
          'Cannot encode safetensors: tensor "tensor" of type F16 must have data in Float16Array, got Uint16Array',
      });
      const large = { dtype: "F32", shape: [1], data: new Float32Array([65520]) } as const;
      assert.throws(
        () => encodeSafetensors({ large }, {}, { dtype: "F16" }),
        /must be within ±65504 to be stored as F16, got 65520$/,
      );
    });
  });

  it("float8 with 5 bits of exponent is widened without it", () => {
    const tensor = { dtype: "F8_E5M2", shape: [256], data: new Uint8Array(bits.slice(0, 256)) };
    const want = new Float32Array(new Float16Array(bits.slice(0, 256).map((x) => x << 8).buffer));
    assert.deepEqual([...withoutHalf(() => floats(tensor as never))], [...want]);
  });
});

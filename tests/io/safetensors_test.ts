import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import fc from "fast-check";
import {
  decodeSafetensors,
  type Dtype,
  encodeSafetensors,
  floats,
  type HostTensor,
  type HostTensors,
  readSafetensors,
  writeSafetensors,
} from "../../src/io/safetensors.ts";

/** Written by safetensors 0.8.0 with numpy 2.4.6 on Python 3.11: `save({w, b}, {"of": "numpy"})`, all float32. */
const single = Uint8Array.fromHex(
  "90000000000000007b225f5f6d657461646174615f5f223a7b226f66223a226e756d7079227d2c2262223a7b226474797065223a22" +
    "463332222c227368617065223a5b325d2c22646174615f6f666673657473223a5b302c385d7d2c2277223a7b226474797065223a22" +
    "463332222c227368617065223a5b322c335d2c22646174615f6f666673657473223a5b382c33325d7d7d202020200000e040000000" +
    "c10000c03f000010c059d900330000807f00e07f47abaaaa3e",
);

/** By the same: float16 h, int64 i, bool m, scalar float64 d, uint8 u, and e of shape [0, 3]. */
const mixed = Uint8Array.fromHex(
  "50010000000000007b2269223a7b226474797065223a22493634222c227368617065223a5b315d2c22646174615f6f666673657473" +
    "223a5b302c385d7d2c2264223a7b226474797065223a22463634222c227368617065223a5b5d2c22646174615f6f66667365747322" +
    "3a5b382c31365d7d2c2265223a7b226474797065223a22463332222c227368617065223a5b302c335d2c22646174615f6f66667365" +
    "7473223a5b31362c31365d7d2c2268223a7b226474797065223a22463136222c227368617065223a5b335d2c22646174615f6f6666" +
    "73657473223a5b31362c32325d7d2c2275223a7b226474797065223a225538222c227368617065223a5b315d2c22646174615f6f66" +
    "6673657473223a5b32322c32335d7d2c226d223a7b226474797065223a22424f4f4c222c227368617065223a5b335d2c2264617461" +
    "5f6f666673657473223a5b32332c32365d7d7d20202020202020fbffffffffffffff182d4454fb2109405535fffb0100c8010001",
);

/** By the same, through `serialize`: bfloat16 x = 1.5, -2, infinity. */
const brain = Uint8Array.fromHex(
  "38000000000000007b2278223a7b226474797065223a2242463136222c227368617065223a5b335d2c22646174615f6f6666736574" +
    "73223a5b302c365d7d7d20c03f00c0807f",
);

/** By the same, through `serialize`: x of float8_e4m3fn = 1, -2, 448, 2⁻⁹ and y of float8_e5m2 = 1, infinity. */
const quarter = Uint8Array.fromHex(
  "78000000000000007b2278223a7b226474797065223a2246385f45344d33222c227368617065223a5b345d2c22646174615f6f666673" +
    "657473223a5b302c345d7d2c2279223a7b226474797065223a2246385f45354d32222c227368617065223a5b325d2c22646174615f6f" +
    "666673657473223a5b342c365d7d7d202020202038c07e013c7c",
);

const widths: Record<Dtype, number> = {
  BOOL: 1,
  U8: 1,
  I8: 1,
  U16: 2,
  I16: 2,
  F16: 2,
  BF16: 2,
  F8_E4M3: 1,
  F8_E5M2: 1,
  U32: 4,
  I32: 4,
  F32: 4,
  U64: 8,
  I64: 8,
  F64: 8,
};

const makers: { [D in Dtype]: (buffer: ArrayBuffer) => HostTensor<D>["data"] } = {
  BOOL: (buffer) => new Uint8Array(buffer),
  U8: (buffer) => new Uint8Array(buffer),
  I8: (buffer) => new Int8Array(buffer),
  U16: (buffer) => new Uint16Array(buffer),
  I16: (buffer) => new Int16Array(buffer),
  F16: (buffer) => new Float16Array(buffer),
  BF16: (buffer) => new Uint16Array(buffer),
  F8_E4M3: (buffer) => new Uint8Array(buffer),
  F8_E5M2: (buffer) => new Uint8Array(buffer),
  U32: (buffer) => new Uint32Array(buffer),
  I32: (buffer) => new Int32Array(buffer),
  F32: (buffer) => new Float32Array(buffer),
  U64: (buffer) => new BigUint64Array(buffer),
  I64: (buffer) => new BigInt64Array(buffer),
  F64: (buffer) => new Float64Array(buffer),
};

/** A tensor of any type and shape with any bits. */
const anyTensor: fc.Arbitrary<HostTensor> = fc
  .record({
    dtype: fc.constantFrom(...Object.keys(widths) as Dtype[]),
    shape: fc.array(fc.nat(3), { maxLength: 4 }),
    seed: fc.nat(255),
  })
  .map(({ dtype, shape, seed }) => {
    const bytes = Uint8Array.from(
      { length: shape.reduce((a, b) => a * b, widths[dtype]) },
      (_, i) => i * 37 + seed,
    );
    return { dtype, shape, data: makers[dtype](bytes.buffer) };
  });

const anyName = fc.oneof(
  fc.string({ unit: "binary" }),
  fc.constantFrom("__proto__", "7", 'a"b\\', "constructor"),
).filter((name) => name !== "__metadata__");

const anyTensors: fc.Arbitrary<HostTensors> = fc.array(fc.tuple(anyName, anyTensor), {
  maxLength: 5,
})
  .map((entries) => Object.fromEntries(entries));

const anyMetadata = fc.array(
  fc.tuple(fc.string({ unit: "binary" }), fc.string({ unit: "binary" })),
  { maxLength: 3 },
)
  .map((entries): Record<string, string> => Object.fromEntries(entries));

const bytesOf = ({ data }: HostTensor): Uint8Array =>
  new Uint8Array(data.buffer, data.byteOffset, data.byteLength);

/** What makes two tensors the same to the last bit, NaN included. */
const bits = (tensors: HostTensors): unknown =>
  Object.entries(tensors)
    .map((
      [name, tensor],
    ) => [name, tensor.dtype, tensor.shape, tensor.data.constructor.name, bytesOf(tensor).toHex()])
    .sort(([a], [b]) => (a! < b! ? -1 : 1));

/** A file with any header and so many bytes of data. */
function file(header: string | Uint8Array, dataLength: number): Uint8Array {
  const json = typeof header === "string" ? new TextEncoder().encode(header) : header;
  const bytes = new Uint8Array(8 + json.length + dataLength);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(json.length), true);
  bytes.set(json, 8);
  return bytes;
}

const u8 = (...values: number[]): HostTensor<"U8"> => ({
  dtype: "U8",
  shape: [values.length],
  data: new Uint8Array(values),
});

const f32 = (...values: number[]): HostTensor<"F32"> => ({
  dtype: "F32",
  shape: [values.length],
  data: new Float32Array(values),
});

describe("decodeSafetensors", () => {
  it("decodeSafetensors() reads floats and metadata that Python wrote", () => {
    const { tensors, metadata } = decodeSafetensors(single);
    assert.deepEqual(metadata, { of: "numpy" });
    assert.deepEqual(tensors, {
      b: { dtype: "F32", shape: [2], data: new Float32Array([7, -8]) },
      w: {
        dtype: "F32",
        shape: [2, 3],
        data: new Float32Array([1.5, -2.25, 3e-8, Infinity, 65504, 1 / 3]),
      },
    });
  });

  it("decodeSafetensors() reads every kind of tensor that Python wrote", () => {
    assert.deepEqual(decodeSafetensors(mixed), {
      tensors: {
        i: { dtype: "I64", shape: [1], data: new BigInt64Array([-5n]) },
        d: { dtype: "F64", shape: [], data: new Float64Array([Math.PI]) },
        e: { dtype: "F32", shape: [0, 3], data: new Float32Array() },
        h: { dtype: "F16", shape: [3], data: new Float16Array([1 / 3, -65504, 2 ** -24]) },
        u: { dtype: "U8", shape: [1], data: new Uint8Array([200]) },
        m: { dtype: "BOOL", shape: [3], data: new Uint8Array([1, 0, 1]) },
      },
      metadata: {},
    });
  });

  it("decodeSafetensors() reads bfloat16 that Python wrote", () => {
    const { x } = decodeSafetensors(brain).tensors;
    assert.deepEqual([...floats(x!)], [1.5, -2, Infinity]);
  });

  it("decodeSafetensors() reads both kinds of float8 that Python wrote", () => {
    const { x, y } = decodeSafetensors(quarter).tensors;
    assert.deepEqual([x!.dtype, ...floats(x!)], ["F8_E4M3", 1, -2, 448, 2 ** -9]);
    assert.deepEqual([y!.dtype, ...floats(y!)], ["F8_E5M2", 1, Infinity]);
  });

  it("decodeSafetensors() takes metadata that are null for none, as the format's own reader does", () => {
    const header = '{"__metadata__":null,"w":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}';
    assert.deepEqual(decodeSafetensors(file(header, 1)), { tensors: { w: u8(0) }, metadata: {} });
  });

  it("decodeSafetensors() throws on a file that is cut anywhere", () => {
    let cuts = 0;
    for (
      const whole of [single, mixed, brain, encodeSafetensors({}), encodeSafetensors({ e: u8() })]
    ) {
      for (let length = 0; length < whole.length; length++, cuts++) {
        assert.throws(
          () => decodeSafetensors(whole.subarray(0, length)),
          SyntaxError,
          `cut at ${length}`,
        );
      }
    }
    assert.equal(cuts, 184 + 370 + 70 + 16 + 8 + 56);
  });

  it("decodeSafetensors() says which part of a file is cut short, and by how much", () => {
    for (let length = 0; length < single.length; length++) {
      const wanted = length < 8
        ? `file must be at least 8 bytes, got ${length}`
        : length < 152
        ? `header must be 144 bytes, got ${length - 8}`
        : `data must be 32 bytes, got ${length - 152}`;
      assert.throws(() => decodeSafetensors(single.slice(0, length)), {
        message: `Cannot decode safetensors: ${wanted}`,
      });
    }
  });

  it("decodeSafetensors() throws on any file that is cut or goes on", () => {
    fc.assert(
      fc.property(
        anyTensors,
        anyMetadata,
        fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
        (...a) => {
          const whole = encodeSafetensors(a[0], a[1]), longer = new Uint8Array(whole.length + 1);
          longer.set(whole);
          assert.throws(
            () => decodeSafetensors(whole.subarray(0, Math.floor(a[2] * whole.length))),
            SyntaxError,
          );
          assert.throws(
            () => decodeSafetensors(longer),
            /Cannot decode safetensors: data must be \d+ bytes, got \d+$/,
          );
        },
      ),
    );
  });

  it("decodeSafetensors() answers a changed byte with a SyntaxError or a result, and with nothing else", () => {
    let refused = 0;
    fc.assert(
      fc.property(fc.nat(mixed.length - 1), fc.nat(255), (at, value) => {
        const damaged = mixed.with(at, value);
        try {
          decodeSafetensors(damaged);
        } catch (error) {
          refused++;
          assert(error instanceof SyntaxError, String(error));
          assert.match(error.message, /^Cannot decode safetensors: .* must be .*, got .*[^.]$/);
        }
      }),
      { numRuns: 1000, seed: 1 },
    );
    assert(refused > 500, `${refused} refused`);
  });

  const good = '"dtype":"F32","shape":[2]';
  const lies: [string, string | Uint8Array, number, RegExp][] = [
    ["a header that is not JSON", '{"w":', 0, /header must be JSON, got an error: /],
    ["a header that is a list", "[]", 0, /header must be JSON that begins with "{", got 91$/],
    ["an empty header", "", 0, /header must be JSON that begins with "{", got "nothing"$/],
    ["spaces before the header", " {}", 0, /begins with "{", got 32$/],
    [
      "a header that is not UTF-8",
      new Uint8Array([0x7b, 0x22, 0xff, 0x22, 0x3a, 0x31, 0x7d]),
      0,
      /header must be UTF-8/,
    ],
    ["two headers", "{}{}", 0, /header must be JSON/],
    ["a tensor that is a number", '{"w":3}', 0, /tensor "w" must be an object, got 3$/],
    [
      "no type",
      '{"w":{"shape":[0],"data_offsets":[0,0]}}',
      0,
      /dtype of tensor "w" must be one of BOOL, .*got undefined$/,
    ],
    [
      "an unknown type",
      '{"w":{"dtype":"F8_E8M0","shape":[1],"data_offsets":[0,1]}}',
      1,
      /one of .*, got "F8_E8M0"$/,
    ],
    [
      "an inherited type",
      '{"w":{"dtype":"toString","shape":[1],"data_offsets":[0,1]}}',
      1,
      /one of .*, got "toString"$/,
    ],
    [
      "no shape",
      '{"w":{"dtype":"U8","data_offsets":[0,1]}}',
      1,
      /shape of tensor "w" must be whole numbers, got undefined$/,
    ],
    [
      "a negative size",
      '{"w":{"dtype":"U8","shape":[-1,-1],"data_offsets":[0,1]}}',
      1,
      /whole numbers, got \[-1,-1\]$/,
    ],
    [
      "half a size",
      '{"w":{"dtype":"F64","shape":[0.5],"data_offsets":[0,4]}}',
      4,
      /whole numbers, got \[0.5\]$/,
    ],
    [
      "no offsets",
      `{"w":{${good}}}`,
      8,
      /data_offsets of tensor "w" must be \[begin, end\].*, got undefined$/,
    ],
    ["one offset", `{"w":{${good},"data_offsets":[8]}}`, 8, /begin <= end, got \[8\]$/],
    ["three offsets", `{"w":{${good},"data_offsets":[0,8,8]}}`, 8, /begin <= end, got \[0,8,8\]$/],
    [
      "offsets as text",
      `{"w":{${good},"data_offsets":["0","8"]}}`,
      8,
      /begin <= end, got \["0","8"\]$/,
    ],
    ["offsets backwards", `{"w":{${good},"data_offsets":[8,0]}}`, 8, /begin <= end, got \[8,0\]$/],
    [
      "a range too short",
      `{"w":{${good},"data_offsets":[0,4]}}`,
      4,
      /tensor "w" must be 8 bytes \(F32 of shape \[2\]\), got 4$/,
    ],
    [
      "a range too long",
      `{"w":{${good},"data_offsets":[0,12]}}`,
      12,
      /must be 8 bytes \(F32 of shape \[2\]\), got 12$/,
    ],
    [
      "a hole at the start",
      `{"w":{${good},"data_offsets":[4,12]}}`,
      12,
      /begin of tensor "w" must be 0, got 4$/,
    ],
    [
      "a hole in the middle",
      `{"a":{${good},"data_offsets":[0,8]},"b":{${good},"data_offsets":[12,20]}}`,
      20,
      /begin of tensor "b" must be 8, got 12$/,
    ],
    [
      "an overlap",
      `{"b":{${good},"data_offsets":[4,12]},"a":{${good},"data_offsets":[0,8]}}`,
      12,
      /begin of tensor "b" must be 8, got 4$/,
    ],
    [
      "two tensors in one place",
      `{"a":{${good},"data_offsets":[0,8]},"b":{${good},"data_offsets":[0,8]}}`,
      8,
      /begin of tensor "b" must be 8, got 0$/,
    ],
    ["bytes left over", `{"w":{${good},"data_offsets":[0,8]}}`, 9, /data must be 8 bytes, got 9$/],
    [
      "bytes that are not there",
      `{"w":{${good},"data_offsets":[0,8]}}`,
      7,
      /data must be 8 bytes, got 7$/,
    ],
    [
      "a size beyond all numbers",
      `{"w":{"dtype":"U8","shape":[${"9007199254740991,".repeat(30)}0],"data_offsets":[0,0]}}`,
      0,
      /tensor "w" must be NaN bytes/,
    ],
    [
      "a name that comes twice",
      `{"w":{${good},"data_offsets":[0,8]},"w":{${good},"data_offsets":[0,8]}}`,
      8,
      /header must be free of names that come twice, got "w"$/,
    ],
    [
      "a name that comes twice in disguise",
      `{"w":{${good},"data_offsets":[0,8]} , "\\u0077" :{${good},"data_offsets":[0,8]}}`,
      8,
      /free of names that come twice, got "\\u0077"$/,
    ],
    [
      "a field that comes twice",
      `{"w":{${good},"shape":[2],"data_offsets":[0,8]}}`,
      8,
      /come twice, got "shape"$/,
    ],
    [
      "metadata that come twice",
      '{"__metadata__":{},"__metadata__":{}}',
      0,
      /come twice, got "__metadata__"$/,
    ],
    [
      "metadata that are numbers",
      '{"__metadata__":{"a":1}}',
      0,
      /__metadata__ must be an object of strings, got {"a":1}$/,
    ],
    ["metadata that are a list", '{"__metadata__":["a"]}', 0, /an object of strings, got \["a"\]$/],
    [
      "lists in lists deeper than the stack",
      `{"w":${"[".repeat(1e6)}${"]".repeat(1e6)}}`,
      0,
      /tensor "w" must be an object, got \[{77}\.\.\.$/,
    ],
  ];
  for (const [what, header, length, message] of lies) {
    it(`decodeSafetensors() refuses ${what}`, () => {
      assert.throws(() => decodeSafetensors(file(header, length)), {
        name: "SyntaxError",
        message,
      });
    });
  }

  it("decodeSafetensors() refuses a header over 100 MB before it looks for it", () => {
    const bytes = new Uint8Array(8);
    new DataView(bytes.buffer).setBigUint64(0, 100_000_001n, true);
    assert.throws(
      () => decodeSafetensors(bytes),
      /header length must be at most 100000000 bytes, got 100000001$/,
    );
    new DataView(bytes.buffer).setBigUint64(0, 100_000_000n, true);
    assert.throws(() => decodeSafetensors(bytes), /header must be 100000000 bytes, got 0$/);
    assert.throws(
      () => decodeSafetensors(new Uint8Array(8).fill(255)),
      /at most 100000000 bytes, got 18446744073709551615$/,
    );
  });

  it("decodeSafetensors() lets a name be a value, an escape or a brace elsewhere", () => {
    const header = '{"__metadata__":{"a":"a","b":"a","}":"{","\\"":"\\\\","c\\\\":"\\""},' +
      '"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"c":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}';
    const { tensors, metadata } = decodeSafetensors(file(header, 2));
    assert.deepEqual(Object.keys(tensors), ["a", "c"]);
    assert.deepEqual(metadata, { a: "a", b: "a", "}": "{", '"': "\\", "c\\": '"' });
  });

  it("decodeSafetensors() reads ranges in any order and at odd bytes, from bytes at an odd place", () => {
    const header = '{"late":{"dtype":"F64","shape":[1],"data_offsets":[1,9]},' +
      '"first":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"none":{"dtype":"F32","shape":[0],"data_offsets":[1,1]}}';
    const bytes = file(header, 9), odd = new Uint8Array(bytes.length + 3).subarray(3);
    bytes[bytes.length - 9] = 5;
    bytes.set(new Uint8Array(new Float64Array([Math.E]).buffer), bytes.length - 8);
    odd.set(bytes);
    const { late, first, none } = decodeSafetensors(odd).tensors;
    assert.deepEqual([[...late!.data], [...first!.data], [...none!.data]], [[Math.E], [5], []]);
  });

  it("decodeSafetensors() shares no memory with the bytes, those of a Buffer of Node included", () => {
    for (const bytes of [single.slice(), Buffer.from(single)]) {
      const { w } = decodeSafetensors(bytes).tensors;
      bytes.fill(0);
      assert.equal(w!.data[0], 1.5);
    }
  });
});

describe("encodeSafetensors", () => {
  it("encodeSafetensors() gives the very bytes that Python gives", () => {
    const { tensors, metadata } = decodeSafetensors(single);
    assert.equal(encodeSafetensors(tensors, metadata).toHex(), single.toHex());
    for (const bytes of [brain, quarter]) {
      assert.equal(encodeSafetensors(decodeSafetensors(bytes).tensors).toHex(), bytes.toHex());
    }
  });

  it("encodeSafetensors() and back keeps every bit, name and shape", () => {
    fc.assert(
      fc.property(anyTensors, anyMetadata, (tensors, metadata) => {
        const back = decodeSafetensors(encodeSafetensors(tensors, metadata));
        assert.deepEqual(bits(back.tensors), bits(tensors));
        assert.deepEqual(Object.entries(back.metadata), Object.entries(metadata));
      }),
      { numRuns: 300 },
    );
  });

  it("encodeSafetensors() pads the header to eight bytes and aligns every tensor", () => {
    fc.assert(
      fc.property(anyTensors, (tensors) => {
        const bytes = encodeSafetensors(tensors),
          length = Number(new DataView(bytes.buffer).getBigUint64(0, true));
        assert.equal(length % 8, 0);
        for (
          const info of Object.values(
            JSON.parse(new TextDecoder().decode(bytes.subarray(8, 8 + length))),
          )
        ) {
          const { dtype, data_offsets } = info as { dtype: Dtype; data_offsets: [number, number] };
          assert.equal(data_offsets[0] % widths[dtype], 0);
        }
      }),
    );
  });

  it("encodeSafetensors() gives the same bytes in whatever order the tensors come", () => {
    fc.assert(
      fc.property(anyTensors, (tensors) => {
        const reversed = Object.fromEntries(Object.entries(tensors).reverse());
        assert.equal(encodeSafetensors(reversed).toHex(), encodeSafetensors(tensors).toHex());
      }),
    );
  });

  it("encodeSafetensors() writes a view of a larger buffer, and only the view", () => {
    const w = {
      dtype: "F32",
      shape: [2],
      data: new Float32Array([1, 2, 3, 4]).subarray(1, 3),
    } as const;
    assert.deepEqual([...decodeSafetensors(encodeSafetensors({ w })).tensors.w!.data], [2, 3]);
  });

  it("encodeSafetensors() rounds to float16 once, ties to even", () => {
    const cases = [
      [2049, 2048], // ties
      [2051, 2052],
      [1 + 2 ** -11, 1],
      [1 + 2 ** -11 + 2 ** -30, 1 + 2 ** -10], // by way of float32 this would be a tie
      [2 ** -25, 0],
      [1.5 * 2 ** -25, 2 ** -24],
      [65519.99, 65504],
      [-Infinity, -Infinity],
      [NaN, NaN],
      [-0, -0],
    ] as const;
    const w: HostTensor = {
      dtype: "F64",
      shape: [cases.length],
      data: Float64Array.from(cases, ([x]) => x),
    };
    const back = decodeSafetensors(encodeSafetensors({ w }, {}, { dtype: "F16" })).tensors.w!;
    assert.equal(back.dtype, "F16");
    assert.deepEqual([...back.data], cases.map(([, y]) => y));
  });

  it("encodeSafetensors() stores the named floats as wanted and leaves whole numbers alone", () => {
    const half: HostTensor = { dtype: "BF16", shape: [1], data: new Uint16Array([0x3fc0]) };
    const tensors = { a: f32(1.5), b: f32(0.1), half, n: u8(3) };
    const dtypes = (dtype: Parameters<typeof encodeSafetensors>[2]): string[] =>
      Object.values(decodeSafetensors(encodeSafetensors(tensors, {}, dtype)).tensors).map((t) =>
        t.dtype
      );
    assert.deepEqual(dtypes({}), ["F32", "F32", "BF16", "U8"]);
    assert.deepEqual(dtypes({ dtype: { a: "F16" } }), ["F32", "F16", "BF16", "U8"]);
    assert.deepEqual(dtypes({ dtype: "F32" }), ["F32", "F32", "F32", "U8"]);
    const all = decodeSafetensors(encodeSafetensors(tensors, {}, { dtype: "F16" })).tensors;
    assert.deepEqual([...floats(all.a!), ...floats(all.half!), ...all.n!.data], [1.5, 1.5, 3]);
  });

  const faults: [string, unknown, Record<string, unknown>, unknown, RegExp][] = [
    [
      "the metadata's name",
      { __metadata__: u8(1) },
      {},
      RangeError,
      /"__metadata__" must have another name/,
    ],
    [
      "an unknown type",
      { w: { ...u8(1), dtype: "F8" } },
      {},
      TypeError,
      /tensor "w" must have one of BOOL, .*, got "F8"$/,
    ],
    [
      "data of another type",
      { w: { ...u8(1), dtype: "F32" } },
      {},
      TypeError,
      /F32 must have data in Float32Array, got Uint8Array$/,
    ],
    [
      "data in a list",
      { w: { ...u8(1), data: [1] } },
      {},
      TypeError,
      /U8 must have data in Uint8Array, got Array$/,
    ],
    [
      "too many elements",
      { w: { ...u8(1, 2), shape: [1] } },
      {},
      RangeError,
      /as its shape \[1\], got 2$/,
    ],
    [
      "a negative shape",
      { w: { ...u8(1, 2), shape: [-1, -2] } },
      {},
      RangeError,
      /as its shape \[-1,-2\], got 2$/,
    ],
    [
      "a shape that is no list, which would be read as an object",
      { w: { ...u8(1), shape: new Int32Array([1]) } },
      {},
      RangeError,
      /as its shape \{"0":1\}, got 1$/,
    ],
    [
      "a tensor that is a number",
      { w: 3 },
      {},
      TypeError,
      /tensor "w" must be an object, got 3$/,
    ],
    ["tensors in a list", [u8(1)], {}, TypeError, /tensors must be an object, got \[/],
    [
      "metadata in a list, which no reader would take",
      {},
      ["a"] as unknown as Record<string, unknown>,
      TypeError,
      /metadata must be an object, got \["a"\]$/,
    ],
    [
      "metadata that are numbers",
      {},
      { step: 3 },
      TypeError,
      /metadata "step" must be a string, got 3$/,
    ],
  ];
  for (const [what, tensors, metadata, error, message] of faults) {
    it(`encodeSafetensors() refuses ${what}`, () => {
      const encode = () =>
        encodeSafetensors(tensors as HostTensors, metadata as Record<string, string>);
      assert.throws(encode, (thrown) => {
        assert(thrown instanceof (error as ErrorConstructor));
        assert.match(thrown.message, message);
        return true;
      });
    });
  }

  it("encodeSafetensors() refuses options that it does not know, or that say nothing", () => {
    const encode = (options: unknown) => () =>
      encodeSafetensors({ w: f32(1), n: u8(1) }, {}, options as { dtype: "F16" });
    const start = "Cannot encode safetensors: ";
    const cases: [unknown, string][] = [
      [{ type: "F16" }, 'options must be among dtype, got "type"'],
      [{ dtype: "F8" }, 'dtype must be "F32" or "F16", got "F8"'],
      [{ dtype: null }, 'dtype must be "F32" or "F16", got null'],
      [{ dtype: { w: "I32" } }, 'dtype of "w" must be "F32" or "F16", got "I32"'],
      [
        { dtype: { v: "F16" } },
        'dtype of "v" must be that of a tensor of floats, got "no such tensor"',
      ],
      [{ dtype: { n: "F16" } }, 'dtype of "n" must be that of a tensor of floats, got "U8"'],
    ];
    for (const [options, message] of cases) {
      assert.throws(encode(options), { message: start + message });
    }
  });

  it("encodeSafetensors() refuses a header over 100 MB, which no reader would take", () => {
    const message =
      "Cannot encode safetensors: header must be at most 100000000 bytes, got 100000024";
    assert.throws(() => encodeSafetensors({}, { a: "x".repeat(100_000_000 - 2) }), {
      name: "RangeError",
      message,
    });
  });

  it("encodeSafetensors() refuses a number that float16 cannot hold", () => {
    assert.throws(
      () => encodeSafetensors({ w: f32(1, Infinity, -65520) }, {}, { dtype: "F16" }),
      {
        name: "RangeError",
        message: /tensor "w" must be within ±65504 to be stored as F16, got -65520$/,
      },
    );
  });
});

describe("floats", () => {
  it("floats() widens every bfloat16 to the float32 with its upper bits", () => {
    const data = Uint16Array.from({ length: 65536 }, (_, i) => i);
    const wide = floats({ dtype: "BF16", shape: [65536], data }),
      back = new Uint32Array(wide.buffer);
    assert(data.every((upper, i) => back[i] === upper * 65536 || Number.isNaN(wide[i])));
    assert.equal(wide.filter(Number.isNaN).length, 2 * 127);
  });

  it("floats() widens every float8 to the number that ml_dtypes 0.6 takes it for", async () => {
    const data = Uint8Array.from({ length: 256 }, (_, i) => i), shape = [256];
    const digests = {
      F8_E4M3: [2, "0c5d81084420441d5c98db2c276b865fc29738d60fba9c32b55aa8214762b794"],
      F8_E5M2: [6, "f3e7031368f3245d56c8114ed15a46144bf609430c117e10fc3e0f5114d773b3"],
    } as const;
    for (const [dtype, [nan, digest]] of Object.entries(digests)) {
      const wide = floats({ dtype, shape, data } as HostTensor);
      assert.equal(wide.filter(Number.isNaN).length, nan);
      const finite = wide.map((value) => Number.isNaN(value) ? 0 : value);
      const hash = await crypto.subtle.digest("SHA-256", new Uint8Array(finite.buffer));
      assert.equal(new Uint8Array(hash).toHex(), digest, dtype);
    }
  });

  it("floats() hands out float32 as it is and converts all others", () => {
    const own = f32(1, 2);
    assert.equal(floats(own), own.data);
    assert.deepEqual(
      [...floats({ dtype: "I64", shape: [2], data: new BigInt64Array([-3n, 4n]) })],
      [-3, 4],
    );
    assert.deepEqual([...floats({ dtype: "F64", shape: [1], data: new Float64Array([0.1]) })], [
      Math.fround(0.1),
    ]);
    assert.deepEqual([...floats({ dtype: "F16", shape: [1], data: new Float16Array([0.1]) })], [
      Math.f16round(0.1),
    ]);
    assert.deepEqual([...floats({ dtype: "U16", shape: [1], data: new Uint16Array([0x3fc0]) })], [
      0x3fc0,
    ]);
  });
});

describe("safetensors files", () => {
  it("writeSafetensors() writes what encodeSafetensors() gives, and readSafetensors() reads it", async () => {
    const folder = await Deno.makeTempDir(), path = `${folder}/a.safetensors`;
    const tensors = { b: f32(0.1, 2), a: u8(1, 2, 3) }, metadata = { of: "a test" };
    await writeSafetensors(path, tensors, metadata, { dtype: "F16" });
    assert.equal(
      (await Deno.readFile(path)).toHex(),
      encodeSafetensors(tensors, metadata, { dtype: "F16" }).toHex(),
    );
    await writeSafetensors(path, tensors, metadata);
    assert.deepEqual(await readSafetensors(path), { tensors, metadata });
    assert.deepEqual(Array.from(Deno.readDirSync(folder), ({ name }) => name), ["a.safetensors"]);
    await Deno.remove(folder, { recursive: true });
  });

  it("writeSafetensors() leaves the old file as it is when the tensors are wrong", async () => {
    const folder = await Deno.makeTempDir(), path = `${folder}/a.safetensors`;
    await writeSafetensors(path, { a: u8(1) });
    await assert.rejects(writeSafetensors(path, { a: { ...u8(1), shape: [2] } }), RangeError);
    assert.deepEqual((await readSafetensors(path)).tensors, { a: u8(1) });
    await Deno.remove(folder, { recursive: true });
  });

  it("readSafetensors() names the file that is damaged or missing", async () => {
    const path = await Deno.makeTempFile();
    await Deno.writeFile(path, single.subarray(0, 180));
    const message = `Cannot decode safetensors: data must be 32 bytes, got 28, in ${path}`;
    await assert.rejects(readSafetensors(path), { name: "SyntaxError", message });
    await Deno.remove(path);
    await assert.rejects(readSafetensors(path), (error: Error) => error.message.includes(path));
  });

  it("readSafetensors() holds the header against the size, and reads no further where they differ", async () => {
    const path = await Deno.makeTempFile(), terabyte = 2 ** 40;
    /** A file of a terabyte that is not there: who reads it does not come back. */
    const begun = async (bytes: Uint8Array) => {
      await Deno.writeFile(path, bytes);
      await Deno.truncate(path, terabyte);
      return await readSafetensors(path).then(() => "read", (error: Error) => error.message);
    };
    assert.match(await begun(new Uint8Array()), /header must be JSON that begins with "{", got "/);
    assert.match(
      await begun(new Uint8Array(8).fill(255)),
      /header length must be at most 100000000/,
    );
    assert.match(await begun(single), /data must be 32 bytes, got 1099511627624, in \/.*$/);
    const range = [0, terabyte - 8 - 77],
      large = `{"w":{"dtype":"U8","shape":[${range[1]}],` +
        `"data_offsets":${JSON.stringify(range)}}}`;
    assert.match(
      await begun(file(large.padEnd(77), 0)),
      /^Cannot decode safetensors: the bytes of tensor "w" must fit into memory, got 1099511627691$/,
    );
    await Deno.remove(path);
  });

  it("readSafetensors() refuses devices and folders at once", async () => {
    const folder = await Deno.makeTempDir();
    for (
      const [path, kind] of [["/dev/zero", "a device or a pipe"], [folder, "a directory"]] as const
    ) {
      await assert.rejects(readSafetensors(path), {
        name: "TypeError",
        message: `Cannot read ${path}: path must be that of a file, got ${kind}`,
      });
    }
    await Deno.remove(folder);
  });
});

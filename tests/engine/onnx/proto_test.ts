import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import {
  type AttributeProto,
  type ModelProto,
  ModelProtoSchema,
  StringStringEntryProtoSchema,
} from "onnx-buf";
import type { Attribute, Constant, Graph, Node } from "../../../src/engine/graph/graph.ts";
import { decode, encode } from "../../../src/engine/onnx/proto.ts";

const node = (part: Partial<Node> = {}): Node => ({
  op: "Neg",
  inputs: ["x"],
  outputs: ["y"],
  attributes: {},
  domain: "",
  ...part,
});

const graph = (part: Partial<Graph> = {}): Graph => ({
  nodes: [node()],
  constants: [],
  inputs: [{ name: "x", type: "float32", dims: [2] }],
  outputs: [{ name: "y", type: "float32", dims: [2] }],
  ...part,
});

const read = (bytes: Uint8Array): ModelProto => fromBinary(ModelProtoSchema, bytes);

const text = (word: string): number[] => [...new TextEncoder().encode(word)];

/** A field whose value is bytes: its number and kind in one byte, the length, the bytes. */
const field = (number: number, ...value: number[]): number[] => [
  8 * number + 2,
  value.length,
  ...value,
];

describe("encode()", () => {
  it("gives the bytes that onnx.proto asks for", () => {
    const w: Constant = { name: "w", type: "float32", dims: [2], data: new Float32Array([1, -2]) };
    const nodes = [node({ op: "Add", inputs: ["x", "w"] })];
    // A ValueInfoProto: name 1, type 2 { tensor_type 1 { elem_type 1, shape 2 { dim 1 { dim_value 1 } } } }.
    const port = (name: string) => [
      ...field(1, ...text(name)),
      ...field(2, ...field(1, 0x08, 1, ...field(2, ...field(1, 0x08, 2)))),
    ];
    assert.deepEqual([...encode(graph({ nodes, constants: [w] }), { k: "v" })], [
      ...[0x08, 9], // ir_version 1
      ...field(2, ...text("tweedie")), // producer_name
      ...field(
        7, // graph
        ...field(
          1, // node: input 1, output 2, name 3, op_type 4
          ...field(1, ...text("x")),
          ...field(1, ...text("w")),
          ...field(2, ...text("y")),
          ...field(3, ...text("y")),
          ...field(4, ...text("Add")),
        ),
        ...field(2, ...text("tweedie")), // name
        ...field(
          5, // initializer: dims 1, data_type 2, name 8, raw_data 9, low byte first
          ...[0x08, 2, 0x10, 1],
          ...field(8, ...text("w")),
          ...field(9, 0, 0, 0x80, 0x3f, 0, 0, 0, 0xc0),
        ),
        ...field(11, ...port("x")), // input
        ...field(12, ...port("y")), // output
      ),
      ...field(8, ...field(1), 0x10, 18), // opset_import: domain 1, version 2
      ...field(14, ...field(1, ...text("k")), ...field(2, ...text("v"))), // metadata_props
    ]);
  });

  it("writes each kind of attribute as its own type", () => {
    const attributes: Record<string, Attribute> = {
      count: -3,
      mode: "linear",
      axes: [1, -1],
      none: [],
      alpha: { float: 0.5 },
      zero: 0,
    };
    const written = read(encode(graph({ nodes: [node({ attributes })] }))).graph!.node[0]!;
    const value = ({ type, i, s, ints, f }: AttributeProto) =>
      ({ 1: f, 2: i, 3: new TextDecoder().decode(s), 7: ints } as Record<number, unknown>)[type];
    assert.deepEqual(
      written.attribute.map((attribute) => [attribute.name, attribute.type, value(attribute)]),
      [
        ["count", 2, -3n],
        ["mode", 3, "linear"],
        ["axes", 7, [1n, -1n]],
        ["none", 7, []],
        ["alpha", 1, 0.5],
        ["zero", 2, 0n],
      ],
    );
  });

  it("writes constants of every type, also views of a part of their memory", () => {
    const constants: Constant[] = [
      { name: "f", type: "float32", dims: [2], data: new Float32Array([9, 1, 2]).subarray(1) },
      { name: "i", type: "int32", dims: [], data: new Int32Array([-1]) },
      { name: "l", type: "int64", dims: [1, 1], data: new BigInt64Array([-2n]) },
      { name: "b", type: "bool", dims: [3], data: new Uint8Array([1, 0, 1]) },
      { name: "e", type: "float32", dims: [0, 4], data: new Float32Array() },
    ];
    const { initializer } = read(encode(graph({ constants }))).graph!;
    assert.deepEqual(
      initializer.map(({ name, dataType, dims, rawData }) => [name, dataType, dims, [...rawData]]),
      [
        ["f", 1, [2n], [0, 0, 0x80, 0x3f, 0, 0, 0, 0x40]],
        ["i", 6, [], [255, 255, 255, 255]],
        ["l", 7, [1n, 1n], [254, 255, 255, 255, 255, 255, 255, 255]],
        ["b", 9, [3n], [1, 0, 1]],
        ["e", 1, [0n, 4n], []],
      ],
    );
  });

  it("imports other operator sets only where a node is of one", () => {
    const sets = (...domains: string[]) =>
      read(encode(graph({ nodes: domains.map((domain) => node({ domain })) }))).opsetImport
        .map(({ domain, version }) => `${domain} ${version}`);
    assert.deepEqual(sets(""), [" 18"]);
    assert.deepEqual(sets("com.microsoft.nchwc", "", "com.microsoft", "com.microsoft"), [
      " 18",
      "com.microsoft 1",
      "com.microsoft.nchwc 1",
    ]);
  });

  it("gives the same bytes for metadata in another order", () => {
    assert.deepEqual(encode(graph(), { a: "1", b: "2" }), encode(graph(), { b: "2", a: "1" }));
  });

  it("refuses a constant whose elements do not fill its shape", () => {
    const constants: Constant[] = [
      { name: "w", type: "int64", dims: [2, 3], data: new BigInt64Array(5) },
    ];
    assert.throws(() => encode(graph({ constants })), {
      name: "RangeError",
      message:
        "Cannot encode a graph: constant w of shape [2,3] must have 48 bytes of int64, got 40",
    });
  });

  it("refuses an attribute that is neither a whole number nor marked as a real one", () => {
    for (const value of [0.5, [1, NaN]]) {
      const nodes = [node({ attributes: { alpha: value } })];
      assert.throws(() => encode(graph({ nodes })), {
        name: "RangeError",
        message: /attribute alpha of Neg must be a whole number, got (0.5|NaN)/,
      });
    }
  });
});

describe("decode()", () => {
  it("tells what encode() wrote", () => {
    const bytes = encode(
      graph({
        nodes: [
          node({ outputs: ["h"] }),
          node({ op: "FusedMatMul", inputs: ["h", "h"], domain: "com.microsoft" }),
          node({ inputs: ["h"], outputs: ["z"] }),
        ],
        inputs: [{ name: "x", type: "int64", dims: ["N", 28, "C"] }],
        outputs: [{ name: "y", type: "bool", dims: [] }],
      }),
      { schedule: '{"name":"linear"}', kind: "ε" },
    );
    assert.deepEqual(decode(bytes), {
      inputs: [{ name: "x", type: "int64", dims: ["N", 28, "C"] }],
      outputs: [{ name: "y", type: "bool", dims: [] }],
      metadata: { schedule: '{"name":"linear"}', kind: "ε" },
      opset: 18,
      operators: ["Neg", "com.microsoft.FusedMatMul"],
      files: [],
    });
  });

  it("leaves out inputs that are constants, as older files list them", () => {
    const constants: Constant[] = [
      { name: "w", type: "float32", dims: [1], data: new Float32Array(1) },
    ];
    const inputs = ["x", "w"].map((name) => ({ name, type: "float32" as const, dims: [1] }));
    assert.deepEqual(decode(encode(graph({ constants, inputs }))).inputs.map(({ name }) => name), [
      "x",
    ]);
  });

  it("names the other files that constants lie in", () => {
    const constants = ["a", "b", "c"].map((name): Constant => (
      { name, type: "float32", dims: [1], data: new Float32Array(1) }
    ));
    const model = read(encode(graph({ constants })));
    for (const { name, externalData } of model.graph!.initializer.slice(1)) {
      const entries = { offset: "0", location: `${name}.data` };
      for (const [key, value] of Object.entries(entries)) {
        externalData.push(create(StringStringEntryProtoSchema, { key, value }));
      }
    }
    assert.deepEqual(decode(toBinary(ModelProtoSchema, model)).files, ["b.data", "c.data"]);
  });

  it("refuses a file that was cut off at any byte before its metadata", () => {
    const whole = encode(graph());
    for (let length = 0; length < whole.length; length++) {
      assert.throws(() => decode(whole.subarray(0, length)), SyntaxError, `${length} bytes`);
    }
    assert.doesNotThrow(() => decode(whole));
  });

  it("refuses other files with a message that says what they are not", () => {
    const png = new Uint8Array([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]);
    for (const bytes of [png, new TextEncoder().encode("{}"), new Uint8Array(64)]) {
      assert.throws(() => decode(bytes), {
        name: "SyntaxError",
        message: /^Cannot read an ONNX file: it must be .*, got /,
      });
    }
  });
});

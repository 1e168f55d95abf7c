/**
 * Graphs to and from the bytes of ONNX files.
 *
 * A file is one message of protocol buffers, a `ModelProto`: a graph, the versions of the operator sets that it uses,
 * and words by name, the metadata. Written are version 9 of the format and version 18 of ONNX's own operators; elements
 * lie in the file as they lie in memory, low byte first, as on every processor that Deno runs on.
 *
 * Source: the Open Neural Network Exchange, "Open Neural Network Exchange Intermediate Representation (ONNX IR)
 * Specification" and `onnx.proto`.
 *
 * @module
 */

import { create, fromBinary, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import {
  AttributeProto_AttributeType as Kind,
  type AttributeProtoSchema,
  type ModelProto,
  ModelProtoSchema,
  type NodeProtoSchema,
  type TensorProto,
  TensorProto_DataType as DataType,
  type TensorProtoSchema,
  type ValueInfoProto,
  type ValueInfoProtoSchema,
} from "onnx-buf";
import type { Attribute, Constant, ElementType, Graph, Node, Port } from "../graph/graph.ts";
import type { SessionPort } from "../runtime/executor.ts";

/** Version of ONNX's own operators that graphs are written for. */
export const opset = 18;

/** Version of the file's format. */
const irVersion = 9n;

const dataTypes: Readonly<Record<ElementType, DataType>> = {
  float32: DataType.FLOAT,
  int32: DataType.INT32,
  int64: DataType.INT64,
  bool: DataType.BOOL,
};

const bytesOf: Readonly<Record<ElementType, number>> = { float32: 4, int32: 4, int64: 8, bool: 1 };

/**
 * A graph as an ONNX file.
 *
 * @param graph The graph. A node whose operator is of another set than ONNX's own has the set imported in version 1.
 * @param metadata Words by name, written in the order of the names. Default: none.
 * @returns The file's bytes: the same for the same graph.
 * @throws {RangeError} If a constant has not as many elements as its shape says, or an attribute that is a plain number
 *   is not a whole one.
 *
 * @example One node
 * ```ts
 * import { decode, encode } from "@tweedie/tweedie/onnx";
 * import assert from "node:assert/strict";
 *
 * const port = { type: "float32", dims: ["N", 2] } as const;
 * const bytes = encode({
 *   nodes: [{ op: "Neg", inputs: ["x"], outputs: ["y"], attributes: {}, domain: "" }],
 *   constants: [],
 *   inputs: [{ name: "x", ...port }],
 *   outputs: [{ name: "y", ...port }],
 * }, { author: "nobody" });
 * assert.deepEqual(decode(bytes).operators, ["Neg"]);
 * assert.deepEqual(decode(bytes).metadata, { author: "nobody" });
 * ```
 */
export function encode(
  graph: Graph,
  metadata: Readonly<Record<string, string>> = {},
): Uint8Array<ArrayBuffer> {
  return toBinary(
    ModelProtoSchema,
    create(ModelProtoSchema, {
      irVersion,
      producerName: "tweedie",
      opsetImport: setsOf(graph),
      graph: {
        name: "tweedie",
        node: graph.nodes.map(nodeProto),
        initializer: graph.constants.map(tensorProto),
        input: graph.inputs.map(portProto),
        output: graph.outputs.map(portProto),
      },
      metadataProps: Object.keys(metadata).sort().map((key) => ({ key, value: metadata[key]! })),
    }),
  );
}

/** ONNX's own operator set, and those others that a node is of. */
function setsOf({ nodes }: Graph): { domain: string; version: bigint }[] {
  const others = new Set(nodes.map(({ domain }) => domain).filter((domain) => domain !== ""));
  return [
    { domain: "", version: BigInt(opset) },
    ...[...others].sort().map((domain) => ({ domain, version: 1n })),
  ];
}

function nodeProto(node: Node): MessageInitShape<typeof NodeProtoSchema> {
  const { op, inputs, outputs, attributes, domain } = node;
  return {
    input: [...inputs],
    output: [...outputs],
    name: outputs.find((name) => name !== "") ?? op,
    opType: op,
    ...(domain !== "" && { domain }),
    attribute: Object.entries(attributes).map(([name, value]) => ({
      name,
      ...valueOf(value, `attribute ${name} of ${op}`),
    })),
  };
}

function valueOf(value: Attribute, what: string): MessageInitShape<typeof AttributeProtoSchema> {
  if (typeof value === "string") return { type: Kind.STRING, s: new TextEncoder().encode(value) };
  if (typeof value === "number") return { type: Kind.INT, i: integer(value, what) };
  if ("float" in value) return { type: Kind.FLOAT, f: value.float };
  return { type: Kind.INTS, ints: value.map((item) => integer(item, what)) };
}

function integer(value: number, what: string): bigint {
  if (Number.isSafeInteger(value)) return BigInt(value);
  throw new RangeError(`Cannot encode a graph: ${what} must be a whole number, got ${value}`);
}

function tensorProto(
  { name, type, dims, data }: Constant,
): MessageInitShape<typeof TensorProtoSchema> {
  const wanted = dims.reduce((a, b) => a * b, 1) * bytesOf[type];
  if (data.byteLength !== wanted) {
    throw new RangeError(
      `Cannot encode a graph: constant ${name} of shape [${dims}] must have ${wanted} bytes of ${type}, got ${data.byteLength}`,
    );
  }
  // A view of the same memory: encoding copies it as a whole.
  const rawData = new Uint8Array(data.buffer as ArrayBuffer, data.byteOffset, data.byteLength);
  return { name, dataType: dataTypes[type], dims: dims.map(BigInt), rawData };
}

function portProto({ name, type, dims }: Port): MessageInitShape<typeof ValueInfoProtoSchema> {
  const dim = dims.map((size) => ({
    value: typeof size === "string"
      ? { case: "dimParam" as const, value: size }
      : { case: "dimValue" as const, value: BigInt(size) },
  }));
  const value = { elemType: dataTypes[type], shape: { dim } };
  return { name, type: { value: { case: "tensorType", value } } };
}

/** What an ONNX file says about itself. */
export interface Description {
  /** What the graph is given; its constants are not among them. A type is a word such as float32 or double. */
  readonly inputs: readonly SessionPort[];
  /** What the graph answers. */
  readonly outputs: readonly SessionPort[];
  /** Words by name. */
  readonly metadata: Readonly<Record<string, string>>;
  /** Version of ONNX's own operators. */
  readonly opset: number;
  /** The operators that the graph's nodes apply, each once and sorted, with the domain before those of other sets. */
  readonly operators: readonly string[];
  /** Other files that some of its constants lie in, by their paths from its folder. */
  readonly files: readonly string[];
}

/**
 * What an ONNX file says about itself, whoever wrote it.
 *
 * @param bytes The file.
 * @returns Inputs, outputs, metadata and operators. A size that is not known is a word, or -1.
 * @throws {SyntaxError} If the bytes are no ONNX file, or one that was cut off.
 *
 * @example Bytes that are something else
 * ```ts
 * import { decode } from "@tweedie/tweedie/onnx";
 * import assert from "node:assert/strict";
 *
 * assert.throws(() => decode(new TextEncoder().encode("a letter")), SyntaxError);
 * ```
 */
export function decode(bytes: Uint8Array): Description {
  const { graph, opsetImport, metadataProps } = parsed(bytes);
  const own = opsetImport.find(({ domain }) => domain === "" || domain === "ai.onnx");
  if (graph === undefined) throw refused("with a graph", "none");
  if (own === undefined && opsetImport.length === 0) throw refused("with operator sets", "none");
  const constants = new Set(graph.initializer.map(({ name }) => name));
  const operators = graph.node.map(({ domain, opType }) => domain ? `${domain}.${opType}` : opType);
  return {
    inputs: graph.input.filter(({ name }) => !constants.has(name)).map(portOf),
    outputs: graph.output.map(portOf),
    metadata: Object.fromEntries(metadataProps.map(({ key, value }) => [key, value])),
    opset: Number(own?.version ?? 0),
    operators: [...new Set(operators)].sort(),
    files: [...new Set(graph.initializer.flatMap(placesOf))].sort(),
  };
}

/** Where a constant lies, if not in the file itself. */
const placesOf = ({ externalData }: TensorProto): string[] =>
  externalData.filter(({ key }) => key === "location").map(({ value }) => value);

function parsed(bytes: Uint8Array): ModelProto {
  if (bytes.length === 0) throw refused("whole", "no bytes");
  try {
    return fromBinary(ModelProtoSchema, bytes, { readUnknownFields: false });
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw refused("whole", `${bytes.length} bytes that are not (${why})`, cause);
  }
}

const refused = (wanted: string, got: string, cause?: unknown): SyntaxError =>
  new SyntaxError(`Cannot read an ONNX file: it must be ${wanted}, got ${got}`, { cause });

/** Names of element types that ONNX names otherwise. */
const typeNames: Readonly<Record<string, string>> = { float: "float32", double: "float64" };

function portOf({ name, type }: ValueInfoProto): SessionPort {
  if (type?.value.case !== "tensorType") {
    return { name, type: type?.value.case?.replace("Type", "") ?? "unknown", dims: [] };
  }
  const { elemType, shape } = type.value.value;
  const word = DataType[elemType]?.toLowerCase() ?? `type ${elemType}`;
  const dims = shape?.dim.map(({ value }) =>
    value.case === "dimValue" ? Number(value.value) : value.value || -1
  );
  return { name, type: typeNames[word] ?? word, dims: dims ?? [] };
}

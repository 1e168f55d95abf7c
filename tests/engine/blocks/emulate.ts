/**
 * Graphs with ONNX Runtime's own operators on images in blocks, run by ONNX's: each such operator is done on the images laid
 * out plainly. So layouts can be tested that this machine's runtime has not got.
 *
 * @module
 */

import assert from "node:assert/strict";
import type { Constant, Graph, Node, Port } from "../../../src/engine/graph/graph.ts";
import { elements, type Recorder, recorder } from "../../../src/engine/graph/record.ts";
import { reshapedTo, transposedTo } from "../../../src/engine/graph/value.ts";
import { encode } from "../../../src/engine/onnx/proto.ts";
import type { Executor, HostTensor } from "../../../src/engine/runtime/executor.ts";

type Known = Map<string, HostTensor>;

/** One operator on blocks of some size, on operands whose sizes are known. */
interface Task {
  readonly node: Node;
  readonly block: number;
  readonly dims: (input: number) => readonly number[];
}

const whole = (n: number): number => {
  assert.ok(Number.isInteger(n), `${n} blocks`);
  return n;
};

/** An image out of its blocks. */
function unblocked(rec: Recorder, name: string, dims: readonly number[], block: number): string {
  const [n, c, h, w] = dims as [number, number, number, number];
  const blocks = reshapedTo(rec, name, [n, whole(c / block), h, w, block]);
  return reshapedTo(rec, transposedTo(rec, blocks, [0, 1, 4, 2, 3]), dims);
}

/** A filter as ONNX has it, from how the runtime wants it. */
function filterOf(rec: Recorder, { node, block, dims }: Task): string {
  const [o, i, h, w] = dims(1) as [number, number, number, number], [, c] = dims(0);
  const isDeep = node.attributes["group"] === 1 && c! >= block;
  const sizes = isDeep
    ? [whole(o / block), whole(i / block), h, w, block, block]
    : [whole(o / block), i, h, w, block];
  const perm = isDeep ? [0, 5, 1, 4, 2, 3] : [0, 4, 1, 2, 3];
  return reshapedTo(rec, transposedTo(rec, reshapedTo(rec, "1", sizes), perm), [o, i, h, w]);
}

/** The image that an operator makes, laid out plainly. */
function plainly(rec: Recorder, task: Task): string {
  const { node: { op, attributes, inputs }, block, dims } = task, x = dims(0);
  const image = (input: number): string => unblocked(rec, `${input}`, dims(input), block);
  switch (op) {
    case "ReorderInput":
      return attributes["channels_last"] === 1 ? transposedTo(rec, "0", [0, 3, 1, 2]) : "0";
    case "Upsample": {
      const scales = attributes["scales"] as readonly number[];
      return rec.node("Resize", [image(0), "", rec.constant("float32", [4], () => scales)], {
        attributes: {
          mode: "nearest",
          coordinate_transformation_mode: "asymmetric",
          nearest_mode: "floor",
        },
      });
    }
    case "Conv": {
      const isPlain = attributes["group"] === 1 && x[1]! < block;
      const given = [isPlain ? "0" : image(0), filterOf(rec, task), ...(inputs[2] ? ["2"] : [])];
      const y = rec.node("Conv", given, { attributes });
      return inputs[3] === undefined ? y : rec.node("Add", [y, image(3)]);
    }
    default:
      assert.ok(["GlobalAveragePool", "AveragePool", "MaxPool"].includes(op), op);
      return rec.node(op, [image(0)], { attributes });
  }
}

/** The runtime's code for each type, as casts name it. */
const codes = { float32: 1, int32: 6, int64: 7, bool: 9 } as const;

type Type = keyof typeof codes;

/** What is wanted of a graph, and of which type it is. */
type Wanted = readonly (readonly [name: string, type: Type])[];

/** Some nodes on what is known; the sizes of what they make come out beside it. */
async function ran(
  executor: Executor,
  nodes: readonly Node[],
  { known, wanted }: { readonly known: Known; readonly wanted: Wanted },
): Promise<void> {
  const made = new Set(nodes.flatMap(({ outputs }) => outputs));
  const read = new Set(nodes.flatMap(({ inputs }) => inputs));
  const flat: Constant = { name: "flat", type: "int64", dims: [1], data: BigInt64Array.of(-1n) };
  const node = (op: string, inputs: string[], output: string, attributes = {}): Node => (
    { op, inputs, outputs: [output], attributes, domain: "" }
  );
  const ends = wanted.flatMap(([name]) => [
    node("Reshape", [name, "flat"], `${name} flat`),
    node("Cast", [`${name} flat`], `${name} data`, { to: codes.float32 }),
    node("Shape", [name], `${name} dims`),
  ]);
  const given = [...read].filter((name) => known.has(name) && !made.has(name));
  const outputs = wanted.flatMap(([name]): Port[] => [
    { name: `${name} data`, type: "float32", dims: ["n"] },
    { name: `${name} dims`, type: "int64", dims: ["n"] },
  ]);
  const graph: Graph = {
    nodes: [...nodes, ...ends],
    constants: [flat],
    inputs: given.map((name) => {
      const { type, dims } = known.get(name)!;
      return { name, type, dims };
    }),
    outputs,
  };
  const { id } = await executor.load(encode(graph));
  // What is handed over is empty afterwards.
  const feeds = given.map((name) => {
    const found = known.get(name)!;
    return [name, { ...found, data: found.data.slice() }] as const;
  });
  const fetches = outputs.map(({ name }) => [name, true] as const);
  const answer = await executor.run(id, Object.fromEntries(feeds), Object.fromEntries(fetches));
  await executor.free([id], []);
  for (const [name, type] of wanted) {
    const dims = Array.from(answer[`${name} dims`]!.data as BigInt64Array, Number);
    const data = elements(type, answer[`${name} data`]!.data as Float32Array);
    known.set(name, { type, dims, data });
  }
}

/** Operators that tell of numbers, and those that move them as they are. */
const telling = ["Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Equal", "Not", "And", "Or"];
const moving = ["Slice", "Reshape", "Transpose", "Identity", "Expand", "Concat", "Gather"];

/** The type of what a node makes; of the operators that functions of images are written down with. */
function typeOf({ op, inputs, attributes }: Node, types: ReadonlyMap<string, Type>): Type {
  if (op === "Cast") {
    return (Object.keys(codes) as Type[]).find((type) => codes[type] === attributes["to"])!;
  }
  if (moving.includes(op)) return types.get(inputs[0]!) ?? "float32";
  return telling.includes(op) ? "bool" : "float32";
}

/** One operator on blocks. */
async function inBlocks(
  executor: Executor,
  node: Node,
  block: number,
  known: Known,
): Promise<void> {
  const rec = recorder(), operands: Known = new Map();
  node.inputs.forEach((name, i) => name !== "" && operands.set(`${i}`, known.get(name)!));
  const task = { node, block, dims: (input: number) => operands.get(`${input}`)!.dims };
  operands.forEach(({ type, dims }, name) => rec.input({ name, type, dims }));
  const isOut = node.op === "ReorderOutput";
  if (isOut) assert.deepEqual(node.attributes, { channels: task.dims(0)[1] });
  const from = isOut ? unblocked(rec, "0", task.dims(0), block) : plainly(rec, task);
  const { nodes, constants } = rec.graph([{ name: "y", type: "float32", dims: [], from }]);
  for (const { name, type, dims, data } of constants) operands.set(name, { type, dims, data });
  await ran(executor, nodes, { known: operands, wanted: [["y", "float32"]] });
  const y = operands.get("y")!;
  known.set(node.outputs[0]!, isOut ? y : { ...y, data: blocked(y, block) });
}

/** The numbers of an image, in blocks. */
function blocked({ dims, data }: HostTensor, block: number): Float32Array {
  const [n, c, h, w] = dims as [number, number, number, number];
  const result = new Float32Array(data.length), blocks = whole(c / block);
  for (let i = 0; i < n; i++) {
    for (let k = 0; k < c; k++) {
      for (let p = 0; p < h * w; p++) {
        const at = ((i * blocks + Math.floor(k / block)) * h * w + p) * block + k % block;
        result[at] = (data as Float32Array)[(i * c + k) * h * w + p]!;
      }
    }
  }
  return result;
}

/**
 * The outputs of a graph.
 *
 * @param executor What runs ONNX's operators.
 * @param graph The graph, with operators on blocks; its real outputs are all of real numbers.
 * @param options The blocks' size, and the inputs by name.
 * @returns The outputs by name.
 */
export async function emulated(
  executor: Executor,
  { nodes, constants, outputs }: Graph,
  { block, inputs }: {
    readonly block: number;
    readonly inputs: Readonly<Record<string, HostTensor>>;
  },
): Promise<Record<string, HostTensor>> {
  const known: Known = new Map(Object.entries(inputs));
  for (const { name, type, dims, data } of constants) known.set(name, { type, dims, data });
  const types = new Map([...known].map(([name, { type }]) => [name, type as Type]));
  for (const node of nodes) {
    for (const name of node.outputs) types.set(name, typeOf(node, types));
  }
  const isOwn = ({ domain }: Node): boolean => domain !== "";
  for (let at = 0; at < nodes.length;) {
    const own = nodes.findIndex((node, i) => i >= at && isOwn(node)),
      end = own < 0 ? nodes.length : own;
    const plain = nodes.slice(at, end), later = nodes.slice(end).flatMap(({ inputs }) => inputs);
    const needed = new Set([...later, ...outputs.map(({ name }) => name)]);
    const wanted = plain.flatMap((node) =>
      node.outputs.filter((name) => needed.has(name)).map((name) =>
        [name, types.get(name)!] as const
      )
    );
    if (wanted.length > 0) await ran(executor, plain, { known, wanted });
    if (own >= 0) await inBlocks(executor, nodes[own]!, block, known);
    at = end + 1;
  }
  return Object.fromEntries(outputs.map(({ name }) => [name, known.get(name)!]));
}

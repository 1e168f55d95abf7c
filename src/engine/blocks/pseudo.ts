/**
 * Operators on images in blocks that are settled when a graph is whole.
 *
 * What an image is multiplied by, and what is added to it, are most often parts of something larger: a shift belongs to the
 * scale before it, a sum to the convolution that makes one of its terms, a product to the sum over it. While a graph is
 * written down nobody knows yet who else will read a part. So these are written as operators of our own, looked up by
 * those that can take them in, and become ONNX Runtime's at the end.
 *
 * @module
 */

import type { Constant, Graph, Node } from "../graph/graph.ts";
import type { Recorder } from "../graph/record.ts";
import { tidied } from "../graph/tidy.ts";
import type { Value } from "../graph/value.ts";
import { blocked, nchwc, perChannel } from "./layout.ts";

const domain = "tweedie.blocks";

/** A node of ours that has made a value. */
function made(rec: Recorder, { name }: Value, op: string): Node | undefined {
  const node = rec.maker(name);
  return node?.domain === domain && node.op === op ? node : undefined;
}

/** a + b of images in blocks. */
export const sum = (rec: Recorder, a: Value, b: Value): Value =>
  blocked(rec.node("Sum", [a.name, b.name], { domain }), a);

/** a·b of images in blocks. */
export const times = (rec: Recorder, a: Value, b: Value): Value =>
  blocked(rec.node("Product", [a.name, b.name], { domain }), a);

/** The factors of an image in blocks that is a product. */
export const factorsOf = (rec: Recorder, value: Value): readonly string[] | undefined =>
  made(rec, value, "Product")?.inputs;

/** An affine map of each channel of each sample, scale·x + shift; "" leaves one out. */
interface Affine {
  readonly x: string;
  readonly scale: string;
  readonly shift: string;
}

function affine(rec: Recorder, { x, scale, shift }: Affine, { shape }: Value): Value {
  const [n, h, w, c] = shape as [number, number, number, number];
  const attributes = { dims: [n, c, h, w] };
  return blocked(rec.node("Affine", [x, scale, shift], { attributes, domain }), { shape });
}

/** The affine map that has made a value, or the identity. */
function affineOf(rec: Recorder, value: Value): Affine {
  const node = made(rec, value, "Affine");
  if (node === undefined) return { x: value.name, scale: "", shift: "" };
  const [x, scale, shift] = node.inputs as [string, string, string];
  return { x, scale, shift };
}

/** x·v of an image in blocks and a number for each channel. */
export function scaled(rec: Recorder, x: Value, v: Value): Value {
  const by = perChannel(rec, v, x.shape), before = affineOf(rec, x);
  // A shift is not scaled: of x − m and its factor, x·f − m·f would lose the digits that x and m share.
  const { x: of, scale } = before.shift === "" ? before : { x: x.name, scale: "" };
  return affine(
    rec,
    { x: of, scale: scale === "" ? by : rec.node("Mul", [scale, by]), shift: "" },
    x,
  );
}

/** x + v, or with a `sign` x − v. */
export function shifted(rec: Recorder, x: Value, v: Value, sign: "Add" | "Sub" = "Add"): Value {
  const by = perChannel(rec, v, x.shape), { x: of, scale, shift } = affineOf(rec, x);
  const signed = sign === "Add" ? by : rec.node("Neg", [by]);
  return affine(rec, {
    x: of,
    scale,
    shift: shift === "" ? signed : rec.node(sign, [shift, by]),
  }, x);
}

/** An image in blocks as another one and a shift of its channels [N, C, 1, 1], if it was made so. */
export function unshifted(
  rec: Recorder,
  value: Value,
): { readonly x: Value; readonly shift: string } | undefined {
  const { x, scale, shift } = affineOf(rec, value);
  if (shift === "" || scale !== "") return undefined;
  return { x: blocked(x, value), shift };
}

/** Whether a node can take in one term more: a convolution without one, or an affine map. */
const isOpen = ({ op, domain: set, inputs }: Node): boolean =>
  inputs.length < 4 && (set === domain ? op === "Affine" : set === nchwc && op === "Conv");

/** A node with a fourth input. */
const withTerm = (node: Node, term: string): Node => {
  const [x = "", second = "", third = ""] = node.inputs;
  return { ...node, inputs: [x, second, third, term] };
};

/**
 * A graph in ONNX Runtime's operators.
 *
 * A sum becomes the fourth input of the convolution or affine map that makes one of its terms, where nothing else reads that
 * term: one pass over the image less.
 */
export function settled(graph: Graph): Graph {
  if (graph.nodes.every((node) => node.domain !== domain && node.domain !== nchwc)) return graph;
  const { nodes, constants } = joined(graph), extra: Constant[] = [];
  const known = new Map<string, string>();
  const whole = (dims: readonly number[]): string => {
    const name = known.get(`${dims}`) ?? `%dims${known.size}`;
    if (!known.has(`${dims}`)) {
      extra.push({
        name,
        type: "int64",
        dims: [dims.length],
        data: BigInt64Array.from(dims, BigInt),
      });
    }
    known.set(`${dims}`, name);
    return name;
  };
  const plainNodes = nodes.flatMap((node) => {
    if (node.domain !== domain) return [node];
    if (node.op === "Sum") return [{ ...node, op: "Add", domain: "" }];
    if (node.op === "Product") return [{ ...node, op: "Mul", domain: "" }];
    return depthwise(node, whole);
  });
  const one: Constant = { name: "%one", type: "float32", dims: [], data: Float32Array.of(1) };
  return tidied({ ...graph, nodes: plainNodes, constants: [...constants, ...extra, one] });
}

/** A graph whose sums are taken in where they can be. */
function joined(graph: Graph): Graph {
  const makers = new Map<string, Node>(), readers = new Map<string, number>();
  for (const node of graph.nodes) {
    node.outputs.forEach((name) => makers.set(name, node));
    node.inputs.forEach((name) => readers.set(name, (readers.get(name) ?? 0) + 1));
  }
  const single = (name = ""): Node | undefined =>
    readers.get(name) === 1 ? makers.get(name) : undefined;
  const put = (node: Node): void => node.outputs.forEach((name) => makers.set(name, node));
  const renamed = (node: Node, total: string): void => {
    node.outputs.forEach((name) => makers.delete(name));
    put({ ...node, outputs: [total] });
  };
  /** Has the maker of one term, or of what it took in before, take in the other. */
  const take = (term: string, other: string, total: string): boolean => {
    const node = single(term), inner = node && single(node.inputs[3]);
    const isOwn = node !== undefined && (node.domain === domain || node.domain === nchwc);
    if (!isOwn || (!isOpen(node) && !(inner && isOpen(inner)))) return false;
    if (!isOpen(node)) put(withTerm(inner!, other));
    renamed(isOpen(node) ? withTerm(node, other) : node, total);
    return true;
  };
  for (const { op, domain: set, inputs: [a = "", b = ""], outputs: [total = ""] } of graph.nodes) {
    if (set === domain && op === "Sum") void (take(a, b, total) || take(b, a, total));
  }
  return { ...graph, nodes: sorted(graph.nodes, makers) };
}

/** The makers of names, each after those that it reads from, otherwise in the order of before. */
function sorted(nodes: readonly Node[], makers: ReadonlyMap<string, Node>): Node[] {
  const result = new Set<Node>(), stack: Node[] = [];
  for (const { outputs: [first = ""] } of nodes) {
    if (makers.has(first)) stack.push(makers.get(first)!);
    while (stack.length > 0) {
      const next = stack.at(-1)!, before = next.inputs.flatMap((name) => makers.get(name) ?? []);
      const missing = before.filter((node) => !result.has(node));
      if (missing.length === 0) result.add(stack.pop()!);
      else stack.push(...missing.reverse());
    }
  }
  return [...result];
}

/** An affine map as a convolution in as many groups as there are channels of samples, of one place each. */
function depthwise(node: Node, whole: (dims: readonly number[]) => string): Node[] {
  const [x, scale, shift, term] = node.inputs as [string, string, string, string?];
  const dims = node.attributes["dims"] as readonly number[], [n, c, h, w] = dims;
  const [y] = node.outputs as [string], group = n! * c!, nodes: Node[] = [];
  const made = (op: string, inputs: readonly string[], end: string): string => {
    nodes.push({ op, inputs, outputs: [`${y}/${end}`], attributes: {}, domain: "" });
    return `${y}/${end}`;
  };
  const as = (name: string, dims: readonly number[], end: string): string =>
    made("Reshape", [name, whole(dims)], end);
  const filter = [group, 1, 1, 1], flat = [1, group, h!, w!];
  const inputs = [
    as(x, flat, "x"),
    scale === "" ? made("Expand", ["%one", whole(filter)], "scale") : as(scale, filter, "scale"),
    shift === "" ? "" : as(shift, [group], "shift"),
    term === undefined ? "" : as(term, flat, "term"),
  ];
  while (inputs.at(-1) === "") inputs.pop();
  const attributes = { kernel_shape: [1, 1], group };
  nodes.push({ op: "Conv", inputs, outputs: [`${y}/y`], attributes, domain: nchwc });
  nodes.push({
    op: "Reshape",
    inputs: [`${y}/y`, whole(dims)],
    outputs: [y],
    attributes: {},
    domain: "",
  });
  return nodes;
}

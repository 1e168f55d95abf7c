/**
 * Writing a graph down, one node at a time: equal nodes are written once, and what nothing needs is left out at the end.
 *
 * @module
 */

import type { Attribute, Constant, Elements, ElementType, Graph, Node, Port } from "./graph.ts";

/** What a node may have besides its operator and inputs. */
export interface NodeOptions {
  /** Its attributes. Default: none. */
  readonly attributes?: Readonly<Record<string, Attribute>>;
  /** Number of its outputs. Default: 1. */
  readonly outputs?: number;
  /** The operator's set. Default: ONNX's own. */
  readonly domain?: string;
}

/** A graph that is being written. It is a diary, not a value: its functions add to it. */
export interface Recorder {
  /** Adds a node, or finds the equal one that is there; the name of its first output. */
  readonly node: (op: string, inputs: readonly string[], options?: NodeOptions) => string;
  /** The same, for nodes with several outputs. */
  readonly nodes: (op: string, inputs: readonly string[], options?: NodeOptions) => string[];
  /**
   * Adds a constant, or finds the equal one; its name. Large ones are equal if `source` is the same object: the array
   * that they were made from.
   */
  readonly constant: (
    type: ElementType,
    dims: readonly number[],
    values: () => ArrayLike<number>,
    source?: object,
  ) => string;
  /** Declares an input. */
  readonly input: (port: Port) => void;
  /** The graph that computes what is named, and no more. */
  readonly graph: (outputs: readonly (Port & { readonly from: string })[]) => Graph;
  /** The real numbers that became inputs, by the inputs' names; see {@link RecorderOptions.lift}. */
  readonly lifted: ReadonlyMap<string, Constant>;
  /** See {@link RecorderOptions.lift}. */
  readonly lifts: boolean;
  /** See {@link RecorderOptions.block}. */
  readonly block: number;
  /** Whether a form of ONNX Runtime's own layout may be used. */
  readonly uses: (form: BlockForm) => boolean;
  /** The node that has made what is named; nothing for a constant or an input. */
  readonly maker: (name: string) => Node | undefined;
}

/** What is done on images in ONNX Runtime's own layout for CPUs; each is tried by itself. */
export type BlockForm =
  | "convolution"
  | "filter gradient"
  | "affine map of channels"
  | "product of channels"
  | "mean of channels"
  | "upsampling"
  | "average pool"
  | "largest pool";

/** All of them. */
export const blockForms: readonly BlockForm[] = [
  "convolution",
  "filter gradient",
  "affine map of channels",
  "product of channels",
  "mean of channels",
  "upsampling",
  "average pool",
  "largest pool",
];

/** Options of {@link recorder}. */
export interface RecorderOptions {
  /**
   * Whether real numbers become inputs instead of constants, so that graphs that differ in nothing but numbers are the
   * same graph. Default: false.
   */
  readonly lift?: boolean;
  /** Channels that ONNX Runtime's own blocked layout keeps side by side; 0 for none. Default: 0. */
  readonly block?: number;
  /** What is not to be done in it. Default: nothing. */
  readonly without?: readonly BlockForm[];
}

const size = (dims: readonly number[]): number => dims.reduce((a, b) => a * b, 1);

/** Numbers as elements of a type. */
export function elements(type: ElementType, values: ArrayLike<number>): Elements {
  switch (type) {
    case "float32":
      return Float32Array.from(values);
    case "int32":
      return Int32Array.from(values);
    case "bool":
      return Uint8Array.from(values);
    case "int64":
      return BigInt64Array.from(values, BigInt);
  }
}

/** Constants up to this size are compared element by element. */
const small = 64;

/** Begins a graph. */
export function recorder(
  { lift = false, block = 0, without = [] }: RecorderOptions = {},
): Recorder {
  const nodes: Node[] = [], constants: Constant[] = [], inputs: Port[] = [];
  const lifted = new Map<string, Constant>(), makers = new Map<string, Node>();
  const seen = new Map<string, string[]>(), sources = new Map<object, number>();
  const once = (key: string, make: () => string[]): string[] => {
    const found = seen.get(key) ?? make();
    seen.set(key, found);
    return found;
  };
  // No function names its inputs and outputs like this.
  const fresh = (): string => `%${count++}`;
  let count = 0;
  const identity = (source: object): number => {
    const id = sources.get(source) ?? sources.size;
    sources.set(source, id);
    return id;
  };
  const manyNodes: Recorder["nodes"] = (op, from, options = {}) => {
    const { attributes = {}, outputs = 1, domain = "" } = options;
    return once(JSON.stringify([domain, op, from, attributes, outputs]), () => {
      const names = Array.from({ length: outputs }, fresh);
      const node = { op, inputs: from, outputs: names, attributes, domain };
      nodes.push(node);
      names.forEach((name) => makers.set(name, node));
      return names;
    });
  };
  const constant: Recorder["constant"] = (type, dims, values, source) => {
    const store = (data: Elements): string[] => {
      const name = fresh(), constant = { name, type, dims, data };
      if (lift && type === "float32") {
        lifted.set(name, constant);
        inputs.push({ name, type, dims });
      } else constants.push(constant);
      return [name];
    };
    if (size(dims) > small && source !== undefined) {
      const key = `large ${type} ${dims} ${identity(source)}`;
      return once(key, () => store(elements(type, values())))[0]!;
    }
    const data = elements(type, values());
    // Lifted numbers that happen to be equal in one step are not in the next.
    if (size(dims) > small || (lift && type === "float32")) return store(data)[0]!;
    return once(`small ${type} ${dims}: ${[...data].map(exactly)}`, () => store(data))[0]!;
  };
  return {
    nodes: manyNodes,
    node: (op, from, options) => manyNodes(op, from, options)[0]!,
    constant,
    lifted,
    lifts: lift,
    block,
    uses: (form) => block > 0 && !without.includes(form),
    maker: (name) => makers.get(name),
    input: (port) => void inputs.push(port),
    graph: (outputs) => pruned({ nodes: [...nodes], constants, inputs, outputs: [] }, outputs),
  };
}

/** A number's text, which tells −0 from 0: 1/x differs. */
const exactly = (value: number | bigint): string => Object.is(value, -0) ? "-0" : String(value);

/** A graph that computes the outputs, without what they do not need. */
function pruned(graph: Graph, outputs: readonly (Port & { readonly from: string })[]): Graph {
  const ends = outputs.map(({ from, name }): Node => (
    { op: "Identity", inputs: [from], outputs: [name], attributes: {}, domain: "" }
  ));
  return needed({
    ...graph,
    nodes: [...graph.nodes, ...ends],
    outputs: outputs.map(({ name, type, dims }) => ({ name, type, dims })),
  });
}

/** A graph without what its outputs do not need. */
export function needed(graph: Graph): Graph {
  const names = new Set(graph.outputs.map(({ name }) => name)), nodes: Node[] = [];
  for (const node of graph.nodes.toReversed()) {
    if (!node.outputs.some((name) => names.has(name))) continue;
    node.inputs.forEach((name) => names.add(name));
    nodes.push(node);
  }
  return {
    ...graph,
    nodes: nodes.reverse(),
    constants: graph.constants.filter(({ name }) => names.has(name)),
    // Declared inputs stay, lifted ones only where they are read.
    inputs: graph.inputs.filter(({ name }) => !name.startsWith("%") || names.has(name)),
  };
}

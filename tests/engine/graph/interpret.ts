/**
 * What a graph computes, by the operators' definitions in ONNX and nothing else: slow, and as plain as can be.
 *
 * @module
 */

import type { Graph, Node } from "../../../src/engine/graph/graph.ts";

/** Numbers, row by row. */
export interface Numbers {
  /** The shape. */
  readonly dims: readonly number[];
  /** The numbers. */
  readonly data: readonly number[];
}

const size = (dims: readonly number[]): number => dims.reduce((a, b) => a * b, 1);

/** An array from what is at each place. */
function filled(dims: readonly number[], at: (place: readonly number[]) => number): Numbers {
  const data = Array.from({ length: size(dims) }, (_, i) => {
    let rest = i;
    const place = dims.map(() => 0);
    for (let axis = dims.length - 1; axis >= 0; axis--) {
      place[axis] = rest % dims[axis]!;
      rest = Math.floor(rest / dims[axis]!);
    }
    return at(place);
  });
  return { dims, data };
}

/** The number at a place, whose last axes are the array's; axes of size 1 repeat. */
function looked({ dims, data }: Numbers, place: readonly number[]): number {
  const own = place.slice(place.length - dims.length);
  return data[dims.reduce((at, n, axis) => at * n + (n === 1 ? 0 : own[axis]!), 0)]!;
}

/** The shape that shapes broadcast to. */
function joint(...shapes: (readonly number[])[]): number[] {
  const rank = Math.max(...shapes.map(({ length }) => length));
  return Array.from({ length: rank }, (_, axis) => {
    const sizes = shapes.map((dims) => dims[axis - rank + dims.length] ?? 1);
    const found = sizes.find((n) => n !== 1) ?? 1;
    if (sizes.some((n) => n !== 1 && n !== found)) throw new Error(`[${shapes.join("] and [")}]`);
    return found;
  });
}

const binary = (f: (a: number, b: number) => number) => (a: Numbers, b: Numbers): Numbers =>
  filled(
    joint(a.dims, b.dims),
    (place) => Math.fround(f(looked(a, place), looked(b, place))),
  );

type Operator = (node: Node, ...inputs: Numbers[]) => Numbers;

const operators: Readonly<Record<string, Operator>> = {
  Identity: (_, x) => x!,
  Neg: (_, x) => ({ ...x!, data: x!.data.map((v) => -v) }),
  Add: (_, a, b) => binary((x, y) => x + y)(a!, b!),
  Mul: (_, a, b) => binary((x, y) => x * y)(a!, b!),
  Div: (_, a, b) => binary((x, y) => x / y)(a!, b!),
  Reshape: ({ attributes }, x, shape) => {
    const copies = attributes["allowzero"] !== 1;
    const dims = shape!.data.map((n, axis) => n === 0 && copies ? x!.dims[axis] ?? NaN : n);
    if (size(dims) !== x!.data.length) throw new Error(`[${x!.dims}] as [${dims}]`);
    return { dims, data: x!.data };
  },
  Expand: (_, x, shape) => filled(joint(x!.dims, shape!.data), (place) => looked(x!, place)),
  Transpose: ({ attributes }, x) => {
    const perm = attributes["perm"] as readonly number[];
    if ([...perm].sort((a, b) => a - b).some((axis, i) => axis !== i)) throw new Error(`${perm}`);
    return filled(perm.map((axis) => x!.dims[axis]!), (place) => {
      const back = x!.dims.map((_, axis) => place[perm.indexOf(axis)]!);
      return looked(x!, back);
    });
  },
};

/**
 * The outputs of a graph.
 *
 * @param graph The graph.
 * @param inputs Its inputs, by name.
 * @returns The outputs, by name.
 * @throws {Error} If a node reads what is not there, or makes what is there.
 */
export function interpret(
  graph: Graph,
  inputs: Readonly<Record<string, Numbers>> = {},
): Record<string, Numbers> {
  const known = new Map<string, Numbers>(Object.entries(inputs));
  const add = (name: string, value: Numbers): void => {
    if (known.has(name)) throw new Error(`${name} is made twice`);
    known.set(name, value);
  };
  const read = (name: string): Numbers => {
    const found = known.get(name);
    if (found === undefined) throw new Error(`${name} is not there`);
    return found;
  };
  for (const { name, dims, data } of graph.constants) {
    add(name, { dims, data: [...data].map(Number) });
  }
  for (const node of graph.nodes) {
    const operator = operators[node.op];
    if (operator === undefined || node.domain !== "") throw new Error(`${node.domain} ${node.op}`);
    add(node.outputs[0]!, operator(node, ...node.inputs.map(read)));
  }
  return Object.fromEntries(graph.outputs.map(({ name }) => [name, read(name)]));
}

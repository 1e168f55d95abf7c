/**
 * Graphs within graphs: a node that stands for a whole graph until it is written out.
 *
 * A function that is traced again and again, such as a step of a sampler, holds a network that is the same every time.
 * The network is traced once; each step then has one node for it.
 *
 * @module
 */

import type { Constant, Graph, Node } from "./graph.ts";
import type { Recorder } from "./record.ts";

const domain = "tweedie";

/** Graphs by number, for the nodes that stand for them. */
export interface Library {
  /** The number of a graph, the same for the same object. */
  readonly number: (graph: Graph) => number;
  /** The graph of a number. */
  readonly graph: (number: number) => Graph;
}

/** An empty library. */
export function library(): Library {
  const graphs: Graph[] = [];
  return {
    number: (graph) => graphs.includes(graph) ? graphs.indexOf(graph) : graphs.push(graph) - 1,
    graph: (number) => graphs[number]!,
  };
}

/**
 * Writes down a call of a graph.
 *
 * @param rec Where.
 * @param number The graph's number in a library.
 * @param graph The graph.
 * @param inputs The name of what each of its inputs reads, in their order.
 * @returns The name of each of its outputs, in their order.
 */
export function called(
  rec: Recorder,
  number: number,
  graph: Graph,
  inputs: readonly string[],
): string[] {
  const attributes = { graph: number };
  return rec.nodes("Call", inputs, { attributes, outputs: graph.outputs.length, domain });
}

/** A graph with every call written out. */
export function expanded(graph: Graph, graphs: Library): Graph {
  const nodes: Node[] = [], constants: Constant[] = [...graph.constants];
  for (const [i, node] of graph.nodes.entries()) {
    if (node.domain !== domain) {
      nodes.push(node);
      continue;
    }
    const inner = expanded(graphs.graph(node.attributes["graph"] as number), graphs);
    const names = new Map<string, string>([["", ""]]);
    inner.inputs.forEach(({ name }, k) => names.set(name, node.inputs[k]!));
    inner.outputs.forEach(({ name }, k) => names.set(name, node.outputs[k]!));
    const here = (name: string): string => names.get(name) ?? `${name}/${i}`;
    nodes.push(...inner.nodes.map((each) => ({
      ...each,
      inputs: each.inputs.map(here),
      outputs: each.outputs.map(here),
    })));
    constants.push(...inner.constants.map((each) => ({ ...each, name: here(each.name) })));
  }
  return { ...graph, nodes, constants };
}

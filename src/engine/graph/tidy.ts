/**
 * What a graph takes in memory besides its numbers, done without: for graphs that are run as they are written.
 *
 * @module
 */

import type { Graph, Node } from "./graph.ts";
import { needed } from "./record.ts";

/**
 * A graph with the same answers in less memory.
 *
 * @param graph The graph.
 * @returns One that reshapes nothing twice, copies no answer, and joins parts as soon as each is made.
 */
export const tidied = (graph: Graph): Graph => joinedSoon(answering(needed(reshapedOnce(graph))));

/** A graph in which nothing is reshaped twice, which would keep it for longer. */
function reshapedOnce(graph: Graph): Graph {
  const sources = new Map<string, string>();
  // A size of 0 may stand for the one that was there.
  const bound = new Set(
    graph.constants.filter(({ type, data }) => type === "int64" && [...data].some((x) => !x))
      .map(({ name }) => name),
  );
  const nodes = graph.nodes.map((node): Node => {
    const { op, inputs: [from = "", dims = ""], outputs: [name = ""] } = node;
    if (op !== "Reshape" || bound.has(dims)) return node;
    const source = sources.get(from) ?? from;
    sources.set(name, source);
    return { ...node, inputs: [source, dims] };
  });
  return { ...graph, nodes };
}

/** A graph that makes what is answered under its name, in place of copies that would take memory once more. */
function answering(graph: Graph): Graph {
  const answers = new Set(graph.outputs.map(({ name }) => name)), names = new Map<string, string>();
  const makers = new Set(graph.nodes.flatMap(({ outputs }) => outputs));
  const kept = graph.nodes.filter(({ op, inputs: [from = ""], outputs: [to = ""] }) => {
    const isCopy = op === "Identity" && answers.has(to) && makers.has(from) && !names.has(from) &&
      !answers.has(from);
    if (isCopy) names.set(from, to);
    return !isCopy;
  });
  const renamed = (name: string): string => names.get(name) ?? name;
  const nodes = kept.map((node) => ({
    ...node,
    inputs: node.inputs.map(renamed),
    outputs: node.outputs.map(renamed),
  }));
  return { ...graph, nodes };
}

/**
 * A graph whose long concatenations, such as that of all gradients of a step, have their parts made in the order of before.
 *
 * ONNX Runtime goes through a graph from its ends, and of what a node reads makes first what is written last: the gradient of
 * the first layer, for which all that the others need is made and kept. So the reshapes of parts are written in the opposite
 * order, just before they are joined.
 */
function joinedSoon(graph: Graph): Graph {
  const place = new Map(graph.nodes.flatMap(({ outputs }, i) => outputs.map((name) => [name, i])));
  const readers = new Map<string, number>();
  graph.nodes.flatMap(({ inputs }) => inputs)
    .forEach((name) => readers.set(name, (readers.get(name) ?? 0) + 1));
  const answers = new Set(graph.outputs.map(({ name }) => name)), moved = new Set<Node>();
  const isAlone = (name: string): boolean => readers.get(name) === 1 && !answers.has(name);
  /** The reshapes of its parts, those of the last part first; reshapes of one part are as far as it. */
  const partsOf = ({ op, inputs }: Node): Node[] => {
    if (op !== "Concat" || inputs.length < 3) return [];
    const parts = inputs.filter(isAlone).flatMap((name) => graph.nodes[place.get(name) ?? -1] ?? [])
      .filter(({ op }) => op === "Reshape");
    const from = ({ inputs: [name = ""] }: Node): number => place.get(name) ?? -1;
    return parts.sort((a, b) => from(b) - from(a));
  };
  const before = new Map(graph.nodes.map((node) => [node, partsOf(node)]));
  [...before.values()].flat().forEach((node) => moved.add(node));
  const nodes = graph.nodes.filter((node) => !moved.has(node))
    .flatMap((node) => [...before.get(node)!, node]);
  return { ...graph, nodes };
}

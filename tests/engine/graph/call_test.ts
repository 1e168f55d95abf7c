import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import fc from "fast-check";
import { called, expanded, library } from "../../../src/engine/graph/call.ts";
import type { Graph } from "../../../src/engine/graph/graph.ts";
import { type Recorder, recorder } from "../../../src/engine/graph/record.ts";
import { interpret } from "./interpret.ts";

const declare = (rec: Recorder, ...names: string[]): void =>
  names.forEach((name) => rec.input({ name, type: "float32", dims: [2] }));

const ports = (froms: readonly string[]) =>
  froms.map((from, i) => ({ name: `out${i}`, type: "float32", dims: [2], from }) as const);

/** Some names for what is computed from some others. */
type Body = (rec: Recorder, inputs: readonly string[]) => string[];

/** What a body computes, as a graph of its own. */
function graphOf(body: Body, inputs: readonly string[]): Graph {
  const rec = recorder();
  declare(rec, ...inputs);
  return rec.graph(ports(body(rec, inputs)));
}

/** (a, b) to (2·a + b, −b): with a constant, and names that other graphs have too. */
const inner: Body = (rec, [a, b]) => {
  const two = rec.constant("float32", [], () => [2]);
  return [rec.node("Add", [rec.node("Mul", [a!, two]), b!]), rec.node("Neg", [b!])];
};

const numbers = (graph: Graph, ...inputs: number[][]): (readonly number[])[] =>
  Object.values(interpret(
    graph,
    Object.fromEntries(graph.inputs.map(({ name }, i) => [name, { dims: [2], data: inputs[i]! }])),
  )).map(({ data }) => data);

describe("expanded()", () => {
  it("expanded() computes what the graph does with the calls written in place", () => {
    const graphs = library(), network = graphOf(inner, ["x", "y"]);
    const calling = (rec: Recorder, inputs: readonly string[]): string[] =>
      called(rec, graphs.number(network), network, inputs);
    const outer = (body: Body): Body => (rec, [x, y]) => {
      const [s, t] = body(rec, [x!, y!]), [u, v] = body(rec, [t!, s!]);
      return [rec.node("Mul", [u!, x!]), v!, s!];
    };
    const graph = graphOf(outer(calling), ["x", "y"]), wanted = graphOf(outer(inner), ["x", "y"]);
    assert.deepEqual(graph.nodes.map(({ op }) => op).filter((op) => op === "Call"), [
      "Call",
      "Call",
    ]);
    const full = expanded(graph, graphs);
    assert.deepEqual(full.nodes.filter(({ domain }) => domain !== ""), []);
    assert.deepEqual(numbers(full, [1, 2], [3, 5]), numbers(wanted, [1, 2], [3, 5]));
    assert.deepEqual([full.inputs, full.outputs], [graph.inputs, graph.outputs]);
  });

  it("expanded() computes the same for random graphs of calls within calls", () => {
    const plan = fc.array(
      fc.array(fc.tuple(fc.nat(9), fc.nat(9)), { minLength: 1, maxLength: 3 }),
      {
        minLength: 1,
        maxLength: 4,
      },
    );
    fc.assert(
      fc.property(plan, (levels) => {
        const graphs = library();
        // Each level calls the one below as often as it has pairs, with names that it chooses.
        const layered =
          (below: Body, pairs: readonly (readonly [number, number])[]): Body => (rec, inputs) => {
            const known = [...inputs];
            for (const [i, j] of pairs) {
              known.push(...below(rec, [known[i % known.length]!, known[j % known.length]!]));
            }
            return known.slice(-2);
          };
        let inPlace: Body = inner, calling: Body = inner;
        for (const pairs of levels) {
          const graph = graphOf(calling, ["x", "y"]);
          inPlace = layered(inPlace, pairs);
          calling = layered(
            (rec, inputs) => called(rec, graphs.number(graph), graph, inputs),
            pairs,
          );
        }
        const x = [1, -2], y = [3, 0.5];
        assert.deepEqual(
          numbers(expanded(graphOf(calling, ["x", "y"]), graphs), x, y),
          numbers(graphOf(inPlace, ["x", "y"]), x, y),
        );
      }),
      { numRuns: 100, seed: 4 },
    );
  });

  it("expanded() is the graph itself where nothing is called", () => {
    const graph = graphOf(inner, ["x", "y"]);
    assert.deepEqual(expanded(graph, library()), graph);
  });

  it("expanded() passes on an input that a called graph answers as it is", () => {
    const graphs = library(), same = graphOf((_, [a]) => [a!], ["x"]);
    const graph = graphOf((rec, [x]) => called(rec, graphs.number(same), same, [x!]), ["x"]);
    assert.deepEqual(numbers(expanded(graph, graphs), [4, 5]), [[4, 5]]);
  });
});

describe("called()", () => {
  it("called() with the same inputs twice is one node, with others another", () => {
    const graphs = library(), network = graphOf(inner, ["x", "y"]), number = graphs.number(network);
    const rec = recorder();
    declare(rec, "a", "b");
    const first = called(rec, number, network, ["a", "b"]);
    assert.equal(first.length, 2);
    assert.deepEqual(called(rec, number, network, ["a", "b"]), first);
    assert.notDeepEqual(called(rec, number, network, ["b", "a"]), first);
    assert.notDeepEqual(called(rec, number + 1, network, ["a", "b"]), first);
  });
});

describe("library()", () => {
  it("library() numbers each graph once and finds it by its number", () => {
    const { number, graph } = library(),
      [a, b] = [graphOf(inner, ["x", "y"]), graphOf(inner, ["x", "y"])];
    assert.deepEqual([number(a!), number(b!), number(a!)], [0, 1, 0]);
    assert.equal(graph(0), a);
    assert.equal(graph(1), b);
  });
});

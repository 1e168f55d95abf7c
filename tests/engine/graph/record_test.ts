import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import type { Graph } from "../../../src/engine/graph/graph.ts";
import { elements, type Recorder, recorder } from "../../../src/engine/graph/record.ts";
import { interpret } from "./interpret.ts";

const port = (name: string, from: string, dims: readonly number[] = []) => (
  { name, type: "float32", dims, from } as const
);

const input = (rec: Recorder, ...names: string[]): void =>
  names.forEach((name) => rec.input({ name, type: "float32", dims: [] }));

const number = (rec: Recorder, x: number): string => rec.constant("float32", [], () => [x]);

const ops = ({ nodes }: Graph): string[] => nodes.map(({ op }) => op);

describe("recorder()", () => {
  it("recorder() writes equal nodes once", () => {
    const rec = recorder();
    input(rec, "a", "b");
    const sum = rec.node("Add", ["a", "b"]);
    assert.equal(rec.node("Add", ["a", "b"]), sum);
    assert.equal(rec.node("Add", ["a", "b"], { attributes: {}, outputs: 1, domain: "" }), sum);
    const different = [
      rec.node("Add", ["b", "a"]),
      rec.node("Mul", ["a", "b"]),
      rec.node("Add", ["a", "b", ""]),
      rec.node("Add", ["a", "b"], { attributes: { axis: 0 } }),
      rec.node("Add", ["a", "b"], { attributes: { axis: 1 } }),
      rec.node("Add", ["a", "b"], { attributes: { axis: { float: 1 } } }),
      rec.node("Add", ["a", "b"], { attributes: { axis: [1] } }),
      rec.node("Add", ["a", "b"], { attributes: { axis: "1" } }),
      rec.node("Add", ["a", "b"], { domain: "com.microsoft" }),
      rec.node("Add", ["a", "b"], { outputs: 2 }),
    ];
    assert.equal(new Set([sum, ...different]).size, different.length + 1);
  });

  it("recorder() names each output of a node with several, and the same ones again", () => {
    const rec = recorder();
    input(rec, "a");
    const halves = rec.nodes("Split", ["a"], { attributes: { axis: 0 }, outputs: 2 });
    assert.equal(new Set(halves).size, 2);
    assert.deepEqual(rec.nodes("Split", ["a"], { attributes: { axis: 0 }, outputs: 2 }), halves);
  });

  it("recorder() leaves out nodes and constants that nothing needs, and no input", () => {
    const rec = recorder();
    input(rec, "a", "b");
    const two = number(rec, 2), three = number(rec, 3), kept = rec.node("Mul", ["a", two]);
    rec.node("Add", [rec.node("Mul", ["b", three]), kept]);
    const graph = rec.graph([port("y", kept)]);
    assert.deepEqual(ops(graph), ["Mul", "Identity"]);
    assert.deepEqual(graph.constants.map(({ data }) => [...data]), [[2]]);
    assert.deepEqual(graph.inputs.map(({ name }) => name), ["a", "b"]);
    assert.deepEqual(graph.outputs, [{ name: "y", type: "float32", dims: [] }]);
  });

  it("recorder() keeps a node of which one output is needed, in its order", () => {
    const rec = recorder();
    input(rec, "a");
    const [, second] = rec.nodes("Split", ["a"], { outputs: 2 });
    const graph = rec.graph([port("y", rec.node("Neg", [second!]))]);
    assert.deepEqual(ops(graph), ["Split", "Neg", "Identity"]);
    assert.equal(graph.nodes[0]!.outputs.length, 2);
  });

  it("recorder() gives an output its name though it is an input, a constant, or there twice", () => {
    const rec = recorder();
    input(rec, "a");
    const two = number(rec, 2), sum = rec.node("Add", ["a", two]);
    const graph = rec.graph([port("i", "a"), port("c", two), port("y", sum), port("z", sum)]);
    const found = interpret(graph, { a: { dims: [], data: [5] } });
    assert.deepEqual(Object.entries(found).map(([name, { data }]) => [name, ...data]), [
      ["i", 5],
      ["c", 2],
      ["y", 7],
      ["z", 7],
    ]);
  });

  it("recorder() goes on after a graph was taken, which stays as it was", () => {
    const rec = recorder();
    input(rec, "a");
    const first = rec.node("Neg", ["a"]), graph = rec.graph([port("y", first)]);
    const second = rec.node("Neg", [first]);
    assert.deepEqual(ops(graph), ["Neg", "Identity"]);
    assert.deepEqual(ops(rec.graph([port("y", second)])), ["Neg", "Neg", "Identity"]);
  });

  it("recorder() tells −0 from 0, of which the reciprocals differ", () => {
    const rec = recorder(), plus = number(rec, 0), minus = number(rec, -0);
    assert.notEqual(plus, minus);
    assert.equal(number(rec, -0), minus);
    const one = number(rec, 1);
    const graph = rec.graph([
      port("plus", rec.node("Div", [one, plus])),
      port("minus", rec.node("Div", [one, minus])),
    ]);
    const { plus: up, minus: down } = interpret(graph);
    assert.deepEqual([up!.data, down!.data], [[Infinity], [-Infinity]]);
  });

  it("recorder() writes NaN down once, and apart from every number", () => {
    const rec = recorder(), nan = number(rec, NaN);
    assert.equal(number(rec, 0 / 0), nan);
    assert.equal(
      new Set([nan, number(rec, 0), number(rec, Infinity), number(rec, -Infinity)]).size,
      4,
    );
    const [constant] = rec.graph([port("y", nan)]).constants;
    assert.deepEqual([...constant!.data], [NaN]);
  });

  it("recorder() tells constants apart by type, shape and every number", () => {
    const rec = recorder();
    const constants = [
      rec.constant("float32", [], () => [1]),
      rec.constant("int32", [], () => [1]),
      rec.constant("int64", [], () => [1]),
      rec.constant("bool", [], () => [1]),
      rec.constant("float32", [1], () => [1]),
      rec.constant("float32", [2, 1], () => [1, 2]),
      rec.constant("float32", [1, 2], () => [1, 2]),
      rec.constant("float32", [1, 2], () => [1, 3]),
    ];
    assert.equal(new Set(constants).size, constants.length);
    assert.equal(rec.constant("float32", [1, 2], () => [1, 3]), constants.at(-1));
    // What float32 cannot tell apart is the same constant.
    assert.equal(number(rec, 0.1), number(rec, Math.fround(0.1)));
  });

  it("recorder() writes a large constant once for one source, and does not look at it twice", () => {
    const rec = recorder(), source = {}, values = Array.from({ length: 100 }, (_, i) => i);
    let looks = 0;
    const large = (source?: object, dims: readonly number[] = [100]): string =>
      rec.constant("float32", dims, () => (looks++, values), source);
    const first = large(source);
    assert.equal(large(source), first);
    assert.equal(looks, 1);
    assert.notEqual(large({}), first);
    assert.notEqual(large(), first);
    assert.notEqual(large(source, [10, 10]), first);
    assert.equal(looks, 4);
  });

  it("recorder() with `lift` makes inputs of real numbers, one for each, and of those that are read", () => {
    const rec = recorder({ lift: true });
    input(rec, "a");
    const two = number(rec, 2),
      again = number(rec, 2),
      shape = rec.constant("int64", [1], () => [1]);
    assert.notEqual(two, again);
    number(rec, 7);
    const sum = rec.node("Add", [rec.node("Mul", ["a", two]), again]);
    const graph = rec.graph([port("y", rec.node("Reshape", [sum, shape]), [1])]);
    assert.deepEqual(graph.inputs.map(({ name }) => name), ["a", two, again]);
    assert.deepEqual(graph.constants.map(({ name }) => name), [shape]);
    assert.deepEqual([...rec.lifted.get(two)!.data], [2]);
    assert.deepEqual([rec.lifts, recorder().lifts, recorder({ block: 8 }).block], [true, false, 8]);
    const found = interpret(
      graph,
      Object.fromEntries([
        ["a", { dims: [], data: [5] }],
        ...graph.inputs.slice(1).map(({ name }) => [name, { dims: [], data: [2] }] as const),
      ]),
    );
    assert.deepEqual(found["y"], { dims: [1], data: [12] });
  });
});

describe("elements()", () => {
  it("elements() are of the array that a type is stored in", () => {
    assert.deepEqual(elements("float32", [0.5, -0]), Float32Array.of(0.5, -0));
    assert.deepEqual(elements("int32", [3, -1]), Int32Array.of(3, -1));
    assert.deepEqual(elements("bool", [1, 0]), Uint8Array.of(1, 0));
    assert.deepEqual(elements("int64", [3, -1]), BigInt64Array.of(3n, -1n));
  });
});
